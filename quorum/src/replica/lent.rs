//! Memory that a batch goes out with, and that is used again when nobody needs the batch any more: what is
//! made anew for each would have to be cleared by the kernel each time.

use crate::step::KEPT_BYTES_MAX;
use bytes::Bytes;
use ringkeeper_engine::tree::Changes;
use std::collections::VecDeque;
use std::sync::Arc;

/// A few batches are under way at a time.
const KEPT: usize = 4;

/// What may be used again.
pub(super) trait Reusable: Sized {
    /// As it goes out; clones share the memory.
    type Shared: Clone;

    /// Whether it has a size that is worth keeping.
    fn is_kept(&self) -> bool;

    /// For many to read.
    fn share(self) -> Self::Shared;

    /// Empty, if nobody has it any more; else what came in.
    fn take_back(shared: Self::Shared) -> Result<Self, Self::Shared>;
}

impl Reusable for Vec<u8> {
    type Shared = Bytes;

    fn is_kept(&self) -> bool {
        (1..=KEPT_BYTES_MAX).contains(&self.capacity())
    }

    fn share(self) -> Bytes {
        Bytes::from(self)
    }

    fn take_back(mut shared: Bytes) -> Result<Self, Bytes> {
        if !shared.is_unique() {
            return Err(shared);
        }
        // Its content is not carried over.
        shared.truncate(0);
        Ok(Vec::from(shared))
    }
}

impl Reusable for Changes {
    type Shared = Arc<Changes>;

    fn is_kept(&self) -> bool {
        (1..=KEPT_BYTES_MAX).contains(&self.capacity_bytes())
    }

    fn share(self) -> Arc<Changes> {
        Arc::new(self)
    }

    fn take_back(shared: Arc<Changes>) -> Result<Self, Arc<Changes>> {
        let mut changes = Arc::try_unwrap(shared)?;
        changes.clear();
        Ok(changes)
    }
}

/// Those that went out, oldest first.
#[derive(Debug)]
pub(super) struct Lent<T: Reusable>(VecDeque<T::Shared>);

impl<T: Reusable> Default for Lent<T> {
    fn default() -> Self {
        Lent(VecDeque::new())
    }
}

impl<T: Reusable + Default> Lent<T> {
    /// An empty one, with the memory of one that is back, if there is one.
    pub fn take(&mut self) -> T {
        let Some(oldest) = self.0.pop_front() else { return T::default() };
        T::take_back(oldest).unwrap_or_else(|out| {
            self.0.push_front(out);
            T::default()
        })
    }

    /// Gives one out.
    pub fn lend(&mut self, value: T) -> T::Shared {
        let is_kept = value.is_kept();
        let shared = value.share();
        if is_kept {
            self.keep(shared.clone());
        }
        shared
    }

    /// One that went out already; its size is worth keeping.
    pub fn keep(&mut self, shared: T::Shared) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(shared);
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
        let out: Vec<Bytes> = (0..10).map(|_| lent.lend(vec![0; 9])).collect();
        drop(out);
        assert_eq!((0..10).filter(|_| lent.take().capacity() > 0).count(), KEPT);
    }
}
