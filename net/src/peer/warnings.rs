//! Complaints about peers, so many at most in a while: a flood of garbage is to fill neither the disk with
//! them nor the time that is for the others.

use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tracing::warn;

const AT_ONCE: u32 = 20;
const WHILE: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Default)]
pub struct Warnings {
    since: Option<Instant>,
    said: u32,
    unsaid: u32,
}

impl Warnings {
    /// Says what is wrong with whoever is at `address`.
    pub fn say(&mut self, address: SocketAddr, what: &str) {
        let now = Instant::now();
        if self.since.is_none_or(|since| now.duration_since(since) > WHILE) {
            if self.unsaid > 0 {
                warn!("{} more complaints about peers were left out", self.unsaid);
            }
            *self = Warnings { since: Some(now), said: 0, unsaid: 0 };
        }
        if self.said == AT_ONCE {
            self.unsaid += 1;
        } else {
            self.said += 1;
            warn!("{address}: {what}");
        }
    }
}
