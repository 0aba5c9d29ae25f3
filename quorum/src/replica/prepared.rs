//! Transactions that were prepared and are not proposed yet. Their bytes are made here once, in one
//! buffer a batch; log, window and wire share it.

use super::lent::Lent;
use crate::message::{Batch, BatchBuilder};
use ringkeeper_engine::id::Zxid;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    gathered: BatchBuilder,
    /// Of the batches before.
    lent: Lent<Vec<u8>>,
}

impl Prepared {
    /// How many.
    pub fn len(&self) -> usize {
        self.gathered.count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all.
    pub fn bytes(&self) -> usize {
        self.gathered.bytes()
    }

    /// The newest.
    pub fn last(&self) -> Option<Zxid> {
        self.gathered.last()
    }

    /// Where the next transaction's bytes go.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        if self.gathered.capacity() == 0 {
            self.gathered = BatchBuilder::within(self.lent.take());
        }
        self.gathered.begin()
    }

    /// What was put into the buffer since the last one is the transaction of `zxid`.
    pub fn push(&mut self, zxid: Zxid) {
        self.gathered.end(zxid);
    }

    /// All of them, in their order.
    pub fn take(&mut self) -> Option<Batch> {
        let memory = self.gathered.capacity();
        let batch = self.gathered.take()?;
        self.lent.keep(&batch.shared(), memory);
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_transaction_gets_the_bytes_that_were_put_down_for_it() {
        let mut prepared = Prepared::default();
        let mut alive = Vec::new();
        for round in 0..30u8 {
            for zxid in 1..4u8 {
                prepared.buffer().extend(std::iter::repeat_n(zxid + round, usize::from(zxid - 1)));
                prepared.push(Zxid(u64::from(zxid)));
            }
            assert_eq!((prepared.len(), prepared.bytes(), prepared.last()), (3, 3 * 12 + 3, Some(Zxid(3))));
            let taken = prepared.take().expect("three");
            let bytes: Vec<&[u8]> = taken.iter().map(|(_, bytes)| bytes).collect();
            assert_eq!(bytes, [&[][..], &[2 + round], &[3 + round; 2]]);
            assert!(prepared.is_empty() && prepared.bytes() == 0);
            // Some are needed for long, some are not.
            alive.push(taken);
            alive.drain(..alive.len().saturating_sub(usize::from(round % 7)));
            for (age, taken) in alive.iter().rev().enumerate() {
                let (_, newest) = taken.iter().last().expect("three");
                assert_eq!(newest, [3 + round - age as u8; 2]);
            }
        }
    }
}
