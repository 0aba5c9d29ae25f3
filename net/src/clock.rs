//! The clocks, read here and nowhere else; everything that decides gets the time as an argument.

use ringkeeper_engine::id::{Now, Tick};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The origin of the server's ticks, shared by its threads.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Ticks count from now.
    pub fn start() -> Self {
        Clock { start: Instant::now() }
    }

    /// Microseconds since the start.
    pub fn us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    /// This moment.
    pub fn now(&self) -> Now {
        let us = self.us();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { tick: Tick(us / 1000), us, wall_ms: wall.as_millis() as i64 }
    }
}
