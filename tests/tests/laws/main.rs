//! The four laws of reading (see the architecture in `README.md`), against a server under full load:
//! 1. a session's requests are answered in order and never see time go back, across reconnects too;
//! 2. a multi becomes visible at once or not at all;
//! 3. registering a watch and reading its node are one step;
//! 4. a reply that reflects a zxid leaves after that session's events up to it.
//!
//! Each law runs with one client core and with two. `LAWS_FACTOR` multiplies the work (1 is a few
//! seconds a law), `LAWS_SEED` replays random choices.

mod children;
mod client;
mod multis;
mod order;
mod watches;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use ringkeeper_tests::differential::subject;
use ringkeeper_tests::server::{Options, Server};

/// A test for each number of client cores.
macro_rules! on_one_and_two_cores {
    ($($law:ident in $module:ident;)*) => {
        mod one_core {
            $(#[test] fn $law() { crate::$module::$law(1); })*
        }
        mod two_cores {
            $(#[test] fn $law() { crate::$module::$law(2); })*
        }
    };
}

on_one_and_two_cores! {
    a_multi_is_seen_whole in multis;
    no_watch_is_lost in watches;
    an_event_comes_before_newer_reads in watches;
    reads_between_writes_stand_where_they_were_sent in watches;
    a_large_list_is_one_version in children;
    a_sessions_requests_are_answered_in_order in order;
    time_never_goes_back_across_reconnects in order;
}

fn start(cores: usize) -> Server {
    let config = vec![format!("cores={cores}"), "maxClientCnxns=0".to_owned()];
    Server::start(subject(), Options { config, ..Options::default() }).unwrap_or_else(|e| panic!("{e}"))
}

/// A count of steps, times `LAWS_FACTOR`.
fn times(count: usize) -> usize {
    count * usize::try_from(number("LAWS_FACTOR").unwrap_or(1)).expect("a factor")
}

fn seed() -> u64 {
    let seed = number("LAWS_SEED").unwrap_or_else(|| {
        u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos())
    });
    println!("LAWS_SEED={seed}");
    seed
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Whether the writers still write. Dropping it says that they do not, so that a writer that panics
/// leaves no reader behind.
struct Writing<'a>(&'a AtomicBool);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
