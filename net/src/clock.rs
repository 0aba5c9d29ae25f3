//! The clocks, read here and nowhere else; everything that decides gets the time as an argument.

use ringkeeper_engine::id::{Now, Tick};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

    /// How long until the ticks are a multiple of `period_ms` again. Timers of one period, on whatever threads,
    /// then end together, and cost an idle server one wake-up.
    pub fn until_multiple(&self, period_ms: u64) -> Duration {
        let period_us = period_ms * 1000;
        Duration::from_micros(period_us - self.us() % period_us)
    }

    /// This moment.
    pub fn now(&self) -> Now {
        let us = self.us();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { tick: Tick(us / 1000), us, wall_ms: wall.as_millis() as i64 }
    }
}
