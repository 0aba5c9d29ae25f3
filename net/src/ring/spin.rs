//! Whether a thread looks for work before it sleeps.
//!
//! A processor that has nothing to do halts, and the interrupt that ends that costs more than a short wait
//! does: some tens of microseconds in a virtual machine, for every hop of a request that comes alone. So
//! where work comes at once nearly every time that a thread looks for it, it goes on looking for a moment.
//! Where it does not, as on an idle server or behind a disk, the thread sleeps at once, and looks now and
//! then whether that has changed.

use std::cell::Cell;
use std::time::Duration;

/// Of so many waits, one is begun with a look, whatever the looks before it found.
const WAITS_PER_TRIAL: u32 = 64;
/// What the share of looks that found work is counted in.
const WHOLE: u32 = 1 << 16;
/// The share from which on looking pays: what the others cost is less than what these save.
const SHARE_MIN: u32 = WHOLE / 5 * 4;
/// A look counts as a sixteenth of the share.
const WEIGHT: u32 = 16;

/// Decides by what looking led to.
pub struct Spin {
    limit: Duration,
    waits: Cell<u32>,
    /// The share of looks that found work, of late.
    share: Cell<u32>,
}

impl Spin {
    /// Looks for work as long as `limit` at a time. Zero: never.
    pub fn new(limit: Duration) -> Spin {
        Spin { limit, waits: Cell::new(0), share: Cell::new(0) }
    }

    /// How long to look for work now, if at all.
    pub fn patience(&self) -> Option<Duration> {
        let waits = self.waits.replace(self.waits.get().wrapping_add(1));
        let looks = self.share.get() >= SHARE_MIN || waits.is_multiple_of(WAITS_PER_TRIAL);
        (looks && !self.limit.is_zero()).then_some(self.limit)
    }

    /// A look found work, or did not.
    pub fn looked(&self, found: bool) {
        let share = self.share.get() * (WEIGHT - 1) / WEIGHT;
        self.share.set(if found { share + WHOLE / WEIGHT } else { share });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of a thousand waits begin with a look, of which so many in ten find work.
    fn looks(spin: &Spin, found_of_ten: u32) -> u32 {
        let mut looks = 0;
        for _ in 0..1000 {
            if spin.patience().is_some() {
                spin.looked(looks % 10 < found_of_ten);
                looks += 1;
            }
        }
        looks
    }

    #[test]
    fn a_thread_looks_for_work_only_where_it_comes_nearly_always() {
        let spin = Spin::new(Duration::from_micros(50));
        assert!(looks(&spin, 0) <= 16, "an idle thread sleeps");
        assert!(looks(&spin, 5) <= 32, "half of them cost more than they save");
        _ = looks(&spin, 10);
        _ = looks(&spin, 10);
        assert_eq!(looks(&spin, 10), 1000);
        assert!(looks(&spin, 5) < 100, "it stops when that ends");
        assert_eq!(looks(&Spin::new(Duration::ZERO), 10), 0);
    }
}
