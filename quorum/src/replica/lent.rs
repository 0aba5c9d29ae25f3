//! Memory that a batch goes out with, and that is used again when nobody needs the batch any more: what is
//! made anew for each would have to be cleared by the kernel each time.

use crate::step::KEPT_BYTES_MAX;
use bytes::Bytes;
use ringkeeper_engine::tree::Changes;
use std::collections::VecDeque;
use std::sync::Arc;

/// So many batches may be under way at a time: under load several are made while a write of the log is.
const KEPT: usize = 32;
/// Memory of all that are kept.
const KEPT_BYTES_ALL_MAX: usize = 4 * KEPT_BYTES_MAX;

/// What may be used again.
pub(super) trait Reusable: Sized {
    /// As it goes out; clones share the memory.
    type Shared: Clone;

    /// Memory that it holds, in bytes.
    fn memory(&self) -> usize;

    /// For many to read.
    fn share(self) -> Self::Shared;

    /// Whether nobody has it any more.
    fn is_back(shared: &Self::Shared) -> bool;

    /// Empty, if nobody has it any more.
    fn take_back(shared: Self::Shared) -> Option<Self>;
}

impl Reusable for Vec<u8> {
    type Shared = Bytes;

    fn memory(&self) -> usize {
        self.capacity()
    }

    fn share(self) -> Bytes {
        Bytes::from(self)
    }

    fn is_back(shared: &Bytes) -> bool {
        shared.is_unique()
    }

    fn take_back(mut shared: Bytes) -> Option<Self> {
        // Its content is not carried over.
        shared.truncate(0);
        Some(Vec::from(shared))
    }
}

impl Reusable for Changes {
    type Shared = Arc<Changes>;

    fn memory(&self) -> usize {
        self.capacity_bytes()
    }

    fn share(self) -> Arc<Changes> {
        Arc::new(self)
    }

    fn is_back(shared: &Arc<Changes>) -> bool {
        Arc::strong_count(shared) == 1
    }

    fn take_back(shared: Arc<Changes>) -> Option<Self> {
        let mut changes = Arc::try_unwrap(shared).ok()?;
        changes.clear();
        Some(changes)
    }
}

/// Those that went out, oldest first.
#[derive(Debug)]
pub(super) struct Lent<T: Reusable> {
    /// Each with its memory.
    out: VecDeque<(T::Shared, usize)>,
    /// Memory of all.
    bytes: usize,
}

impl<T: Reusable> Default for Lent<T> {
    fn default() -> Self {
        Lent { out: VecDeque::new(), bytes: 0 }
    }
}

impl<T: Reusable + Default> Lent<T> {
    /// An empty one, with the memory of the newest one that is back, if there is one: the others' is out of
    /// the core's cache. They come back in their order.
    pub fn take(&mut self) -> T {
        let back = self.out.iter().take_while(|(shared, _)| T::is_back(shared)).count();
        let Some((newest, memory)) = back.checked_sub(1).and_then(|newest| self.out.remove(newest)) else {
            return T::default();
        };
        self.bytes -= memory;
        // Nobody can have got it since.
        T::take_back(newest).unwrap_or_default()
    }

    /// Gives one out.
    pub fn lend(&mut self, value: T) -> T::Shared {
        let memory = value.memory();
        let shared = value.share();
        self.keep(&shared, memory);
        shared
    }

    /// One that goes out, and has so much memory.
    pub fn keep(&mut self, shared: &T::Shared, memory: usize) {
        if !(1..=KEPT_BYTES_MAX).contains(&memory) {
            return;
        }
        self.out.push_back((shared.clone(), memory));
        self.bytes += memory;
        while (self.out.len() > KEPT || self.bytes > KEPT_BYTES_ALL_MAX)
            && let Some((_, memory)) = self.out.pop_front()
        {
            self.bytes -= memory;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_when_nobody_has_it_and_no_more_of_it_than_is_bounded() {
        let mut lent = Lent::<Vec<u8>>::default();
        let first = lent.lend(vec![1; 1000]);
        assert_eq!(lent.take().capacity(), 0, "it is still out");
        let address = first.as_ptr();
        drop(first);
        let again = lent.take();
        assert_eq!((again.as_ptr(), again.len()), (address, 0));
        assert_eq!(lent.take().capacity(), 0, "it is taken");
        drop(lent.lend(vec![0; KEPT_BYTES_MAX + 1]));
        assert_eq!(lent.take().capacity(), 0, "it is too large to be kept");
        for (size, kept) in [(9, KEPT), (KEPT_BYTES_MAX, KEPT_BYTES_ALL_MAX / KEPT_BYTES_MAX)] {
            let out: Vec<Bytes> = (0..KEPT + 9).map(|_| lent.lend(vec![0; size])).collect();
            drop(out);
            assert_eq!((0..KEPT + 9).filter(|_| lent.take().capacity() > 0).count(), kept);
        }
    }
}
