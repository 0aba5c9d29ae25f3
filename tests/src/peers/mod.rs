//! Ensembles of Java servers and of ours, for what their connections must do.
//!
//! - `java`: Java servers of an ensemble, as child processes.
//! - `node`: a server of ours without clients: `Zab` on real sockets, its log in memory, its tree the
//!   engine's. As a leader it prepares what Java's followers forward for their clients, as far as the tests
//!   need it.

pub mod java;
pub mod node;

use crate::process::free_port;
use ringkeeper_engine::id::ServerId;
use ringkeeper_quorum::members::Members;
use std::time::{Duration, Instant};

/// How long something may take; generous, for a busy machine that starts JVMs.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks at a condition that nothing announces.
const POLL_PAUSE: Duration = Duration::from_millis(10);

/// Waits until `condition` gives something.
///
/// # Panics
/// It does not in time; `what` is what was waited for.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(POLL_PAUSE);
    }
}

/// An ensemble's configuration on free loopback ports: servers by number, from 1 on; those named are
/// observers.
pub fn members(servers: u8, observers: &[u8]) -> Members {
    let mut ports = free_ports(usize::from(servers) * 2).into_iter();
    let mut port = || ports.next().expect("enough were found");
    let line = |id: u8| {
        let role = if observers.contains(&id) { "observer" } else { "participant" };
        format!("server.{id}=127.0.0.1:{}:{}:{role}\n", port(), port())
    };
    let text: String = (1..=servers).map(line).collect();
    Members::parse(&text).expect("a configuration")
}

/// A server's quorum and election ports.
///
/// # Panics
/// It is not in the configuration.
pub fn ports(members: &Members, server: u8) -> (u16, u16) {
    let address = &members.servers()[&ServerId(server)].addresses[0];
    (address.quorum_port, address.election_port)
}

/// Ports that are free now, all different.
///
/// # Panics
/// None is free.
pub fn free_ports(count: usize) -> Vec<u16> {
    (0..count).map(|_| free_port().unwrap_or_else(|e| panic!("{e}"))).collect()
}
