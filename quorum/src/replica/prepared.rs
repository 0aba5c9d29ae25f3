//! Transactions that were prepared and are not proposed yet. Their bytes are made here once, in one
//! buffer a batch; log, window and wire share it.

use super::lent::Lent;
use crate::message::Transaction;
use ringkeeper_engine::id::Zxid;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    bytes: Vec<u8>,
    /// Each with where its bytes end.
    ends: Vec<(Zxid, usize)>,
    /// Of the batches before.
    lent: Lent<Vec<u8>>,
}

impl Prepared {
    /// How many.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The newest.
    pub fn last(&self) -> Option<Zxid> {
        self.ends.last().map(|(zxid, _)| *zxid)
    }

    /// Where the next transaction's bytes go.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = self.lent.take();
        }
        &mut self.bytes
    }

    /// What was put into the buffer since the last one is the transaction of `zxid`.
    pub fn push(&mut self, zxid: Zxid) {
        self.ends.push((zxid, self.bytes.len()));
    }

    /// All of them, in their order.
    pub fn take(&mut self) -> Vec<Transaction> {
        let all = self.lent.lend(std::mem::take(&mut self.bytes));
        let mut start = 0;
        let slice = |(zxid, end)| {
            let bytes = all.slice(start..end);
            start = end;
            Transaction { zxid, bytes }
        };
        self.ends.drain(..).map(slice).collect()
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
            assert_eq!((prepared.len(), prepared.bytes(), prepared.last()), (3, 3, Some(Zxid(3))));
            let taken = prepared.take();
            let bytes: Vec<&[u8]> = taken.iter().map(|transaction| &transaction.bytes[..]).collect();
            assert_eq!(bytes, [&[][..], &[2 + round], &[3 + round; 2]]);
            assert!(prepared.is_empty() && prepared.bytes() == 0);
            // Some are needed for long, some are not.
            alive.push(taken);
            alive.drain(..alive.len().saturating_sub(usize::from(round % 7)));
            for (age, taken) in alive.iter().rev().enumerate() {
                assert_eq!(taken[2].bytes[..], [3 + round - age as u8; 2]);
            }
        }
    }
}
