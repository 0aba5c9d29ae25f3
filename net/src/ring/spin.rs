//! How long a thread looks for work before it sleeps.
//!
//! A processor that has nothing to do halts, and the interrupt that ends that costs more than a short wait
//! does: some tens of microseconds in a virtual machine, for every hop of a request that comes alone. So
//! while waits are short, a thread goes on looking. An idle thread's waits are long: it sleeps at once.

use std::cell::Cell;
use std::time::Duration;

/// A wait counts as a sixteenth of the mean: a pause between two bursts does not end the looking, and a few
/// short waits of an idle server do not begin it.
const WEIGHT: u64 = 16;
/// A wait that is longer than so many times the limit counts as that.
const LIMITS_MAX: u64 = 4;

/// Decides by what waits were like.
pub struct Spin {
    limit_ns: u64,
    mean_ns: Cell<u64>,
}

impl Spin {
    /// Looks for work as long as `limit`, if waits are shorter in the mean. Zero: never.
    pub fn new(limit: Duration) -> Spin {
        let limit_ns = limit.as_nanos() as u64;
        Spin { limit_ns, mean_ns: Cell::new(limit_ns * LIMITS_MAX) }
    }

    /// Whether it ever looks.
    pub fn is_on(&self) -> bool {
        self.limit_ns > 0
    }

    /// How long to look for work now.
    pub fn patience(&self) -> Duration {
        Duration::from_nanos(if self.mean_ns.get() < self.limit_ns { self.limit_ns } else { 0 })
    }

    /// A wait took so long, whether it was slept through or not.
    pub fn waited(&self, wait: Duration) {
        let wait_ns = (wait.as_nanos() as u64).min(self.limit_ns * LIMITS_MAX);
        self.mean_ns.set((self.mean_ns.get() * (WEIGHT - 1) + wait_ns) / WEIGHT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_thread_sleeps_and_a_busy_one_looks_for_work() {
        let spin = Spin::new(Duration::from_micros(100));
        let short = Duration::from_micros(20);
        let after = |wait| {
            spin.waited(wait);
            !spin.patience().is_zero()
        };
        assert!(spin.patience().is_zero(), "nothing is known yet");
        let waits = (1..100).find(|_| after(short)).expect("it begins");
        assert!((10..50).contains(&waits), "{waits} waits");
        (0..100).for_each(|_| _ = after(short));
        assert!(after(Duration::from_secs(1)), "one pause");
        let waits = (1..100).find(|_| !after(Duration::from_millis(20))).expect("it ends");
        assert!(waits < 10, "{waits} waits");
        let never = Spin::new(Duration::ZERO);
        (0..100).for_each(|_| never.waited(Duration::ZERO));
        assert!(never.patience().is_zero() && !never.is_on());
    }
}
