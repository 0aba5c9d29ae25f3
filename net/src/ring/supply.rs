//! How many buffers the sockets of a ring share. They are used in turn, so those of a short round stay in the
//! processor's cache: there are more when there were too few, and fewer again when half of them were enough for
//! long.

use std::cell::{Cell, RefCell};

/// How many there may be: as many reads may be done and not looked at yet. A power of two.
pub const BUFFERS_MAX: u16 = 1024;
/// How few.
pub const BUFFERS_MIN: u16 = 16;
/// What each has room for.
pub const BUFFER_BYTES: usize = 64 << 10;
/// Buffers begin so far behind each other's places: at the same places they would fight for the same sets of the
/// processor's cache.
const STAGGER_BYTES: usize = 320;
/// So many reads are long.
const LONG_READS: u32 = 65_536;

/// See the module.
#[derive(Debug, Default)]
pub struct Supply {
    /// How many there are.
    there: Cell<u16>,
    /// Those of them that are neither filled nor lent.
    free: Cell<u16>,
    /// The fewest that were, in so many reads.
    least_free: Cell<u16>,
    reads: Cell<u32>,
    /// How many are to go when they come back.
    excess: Cell<u16>,
    /// Numbers of those that went.
    gone: RefCell<Vec<u16>>,
    /// How many numbers there are.
    numbers: Cell<u16>,
}

impl Supply {
    /// One was filled.
    pub fn taken(&self) {
        self.free.set(self.free.get() - 1);
        self.least_free.set(self.least_free.get().min(self.free.get()));
    }

    /// This one is free again. Whether it stays; its number may be another's otherwise.
    pub fn back(&self, number: u16) -> bool {
        self.reads.set(self.reads.get() + 1);
        if self.reads.get() >= LONG_READS {
            let half = self.there.get() / 2;
            let enough = half >= BUFFERS_MIN && self.least_free.get() >= half;
            self.excess.set(if enough { half } else { 0 });
            self.least_free.set(self.there.get());
            self.reads.set(0);
        }
        if self.excess.get() > 0 {
            self.excess.set(self.excess.get() - 1);
            self.there.set(self.there.get() - 1);
            self.gone.borrow_mut().push(number);
            return false;
        }
        self.free.set(self.free.get() + 1);
        true
    }

    /// Somebody found none: whether to look again. Adds some by their numbers, unless there are free ones by
    /// now. Where there are as many as there may be, a crowd waits, of which only few would find one each time.
    pub fn lack(&self, mut add: impl FnMut(u16)) -> bool {
        self.excess.set(0);
        self.least_free.set(0);
        if self.there.get() == BUFFERS_MAX {
            return false;
        }
        if self.free.get() > 0 {
            return true;
        }
        let there = self.there.get();
        let more = there.max(BUFFERS_MIN).min(BUFFERS_MAX - there);
        for _ in 0..more {
            let number =
                self.gone.borrow_mut().pop().unwrap_or_else(|| self.numbers.replace(self.numbers.get() + 1));
            add(number);
        }
        self.there.set(there + more);
        self.free.set(more);
        true
    }
}

/// Where in its memory a buffer begins.
pub fn stagger(number: u16) -> usize {
    STAGGER_BYTES * usize::from(number % BUFFERS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many reads at a time.
    fn read(supply: &Supply, at_once: u16) {
        for _ in 0..at_once {
            if supply.free.get() == 0 {
                assert!(supply.lack(|_| ()));
            }
            supply.taken();
        }
        for number in 0..at_once {
            supply.back(number);
        }
    }

    #[test]
    fn there_are_as_many_as_are_filled_at_once_and_not_twice_as_many_for_long() {
        let supply = Supply::default();
        for (at_once, there) in [(1, 16), (17, 32), (1000, 1024), (1024, 1024)] {
            read(&supply, at_once);
            assert_eq!((supply.there.get(), supply.free.get()), (there, there));
        }
        (0..LONG_READS / 100).for_each(|_| read(&supply, 100));
        assert_eq!(supply.there.get(), 1024, "a window that had more in it");
        (0..4 * LONG_READS / 100).for_each(|_| read(&supply, 100));
        assert_eq!(supply.there.get(), 128);
        (0..9 * LONG_READS).for_each(|_| read(&supply, 1));
        assert_eq!((supply.there.get(), supply.free.get()), (16, 16));
        read(&supply, 1024);
        assert_eq!((supply.numbers.get(), supply.gone.borrow().len()), (1024, 0), "no number is new");
    }

    #[test]
    fn who_finds_none_while_others_find_some_adds_none() {
        let supply = Supply::default();
        let mut added = 0;
        assert!((0..100).all(|_| supply.lack(|_| added += 1)));
        assert_eq!(added, BUFFERS_MIN);
        read(&supply, BUFFERS_MAX);
        assert!(!supply.lack(|_| ()), "a crowd has memory of its own");
    }
}
