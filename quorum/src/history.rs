//! The end of a server's log, in memory: what is not applied yet, and behind it as much as a learner
//! may have missed.

use crate::message::batch::follows;
use crate::message::{Batch, BatchBuilder, Transaction};
use ringkeeper_engine::id::Zxid;
use std::collections::VecDeque;

/// Transactions in the order of their zxids. The newest before them is the *floor*: the tree or
/// the log has it and all before it.
#[derive(Clone, Debug)]
pub struct History {
    floor: Zxid,
    batches: VecDeque<Batch>,
    /// Of the transactions.
    bytes: usize,
}

/// Bytes of a batch of what was one by one.
const GATHERED_BYTES: usize = 64 << 10;

impl History {
    /// Of the transactions after `floor`.
    pub fn new(floor: Zxid, entries: impl IntoIterator<Item = Transaction>) -> Self {
        let mut history = History { floor, batches: VecDeque::new(), bytes: 0 };
        let mut gathered = BatchBuilder::default();
        for entry in entries {
            gathered.push(entry.zxid, &entry.bytes);
            if gathered.bytes() >= GATHERED_BYTES {
                gathered.take().into_iter().for_each(|batch| history.push(batch));
            }
        }
        gathered.take().into_iter().for_each(|batch| history.push(batch));
        history
    }

    /// The newest transaction before those in memory.
    pub fn floor(&self) -> Zxid {
        self.floor
    }

    /// The newest transaction.
    pub fn last(&self) -> Zxid {
        self.batches.back().map_or(self.floor, Batch::last)
    }

    /// Whether the log goes on with `zxid`: the next in its epoch, or one of a later epoch.
    pub fn continues_with(&self, zxid: Zxid) -> bool {
        follows(self.last(), zxid)
    }

    /// Adds the transactions that follow.
    pub fn push(&mut self, batch: Batch) {
        assert!(self.continues_with(batch.first()), "{} after {}", batch.first(), self.last());
        self.bytes += batch.transaction_bytes();
        self.batches.push_back(batch);
    }

    /// The transactions after `after`, up to `upto`. What is below the floor is left out.
    pub fn range(&self, after: Zxid, upto: Zxid) -> impl Iterator<Item = Batch> {
        let start = self.count(|batch| batch.last() <= after);
        let end = self.count(|batch| batch.first() <= upto).max(start);
        self.batches.range(start..end).filter_map(move |batch| batch.after(after)?.upto(upto))
    }

    /// The same, one by one.
    pub fn transactions(&self, after: Zxid, upto: Zxid) -> impl Iterator<Item = Transaction> {
        self.range(after, upto).flat_map(Batch::into_transactions)
    }

    /// The newest transaction that is not newer than `zxid`; `None` below the floor.
    pub fn newest_upto(&self, zxid: Zxid) -> Option<Zxid> {
        match self.count(|batch| batch.first() <= zxid).checked_sub(1) {
            Some(index) => self.batches[index].newest_upto(zxid),
            None => (self.floor <= zxid).then_some(self.floor),
        }
    }

    /// Of how many batches `is_before` is true: of these, and of none behind them. Looked for from the end,
    /// near which it mostly is: a binary search of all would wait for memory at each of its steps.
    fn count(&self, is_before: impl Fn(&Batch) -> bool) -> usize {
        let len = self.batches.len();
        let mut near = 1;
        while near < len && !is_before(&self.batches[len - near]) {
            near *= 2;
        }
        let (mut low, mut high) = (len.saturating_sub(near), len);
        while low < high {
            let middle = low.midpoint(high);
            match is_before(&self.batches[middle]) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    /// Forgets everything after `last_kept`.
    pub fn truncate_after(&mut self, last_kept: Zxid) {
        while let Some(newest) = self.batches.pop_back_if(|newest| newest.last() > last_kept) {
            self.bytes -= newest.transaction_bytes();
            newest.upto(last_kept).into_iter().for_each(|kept| self.push(kept));
        }
        self.floor = self.floor.min(last_kept);
    }

    /// Forgets everything: the tree now has all up to `zxid`.
    pub fn reset(&mut self, zxid: Zxid) {
        *self = History::new(zxid, []);
    }

    /// Forgets the oldest transactions while there are more than `bytes_max`, but none after `kept`.
    pub fn trim(&mut self, kept: Zxid, bytes_max: usize) {
        while self.bytes > bytes_max
            && let Some(oldest) = self.batches.pop_front_if(|oldest| oldest.first() <= kept)
        {
            let all = oldest.transaction_bytes();
            if oldest.last() <= kept && self.bytes - all >= bytes_max {
                self.bytes -= all;
                self.floor = oldest.last();
                continue;
            }
            let mut left = self.bytes;
            let needed = oldest.iter().take_while(|(zxid, bytes)| {
                let goes = left > bytes_max && *zxid <= kept;
                left -= if goes { bytes.len() } else { 0 };
                goes
            });
            let cut = needed.last().map_or(self.floor, |(zxid, _)| zxid);
            let (_, rest) = oldest.split_after(cut);
            self.bytes = left;
            self.floor = cut;
            if let Some(rest) = rest {
                self.batches.push_front(rest);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn history(floor: u64, zxids: &[u64]) -> History {
        let bytes = Bytes::from_static(b"0123456789");
        History::new(
            Zxid(floor),
            zxids.iter().map(|zxid| Transaction { zxid: Zxid(*zxid), bytes: bytes.clone() }),
        )
    }

    const E: u64 = 1 << 32;

    /// The same transactions, in batches of every division.
    fn divided(floor: u64, zxids: &[u64]) -> impl Iterator<Item = History> {
        let divisions = 0..1u32 << zxids.len().saturating_sub(1);
        divisions.map(move |division| {
            let mut divided = History::new(Zxid(floor), []);
            let mut batch = BatchBuilder::default();
            for (at, zxid) in zxids.iter().enumerate() {
                batch.push(Zxid(*zxid), b"0123456789");
                if division >> at & 1 == 0 {
                    divided.push(batch.take().expect("just pushed"));
                }
            }
            batch.take().into_iter().for_each(|batch| divided.push(batch));
            divided
        })
    }

    fn zxids(history: &History, after: u64, upto: u64) -> Vec<u64> {
        let apart: Vec<u64> =
            history.transactions(Zxid(after), Zxid(upto)).map(|entry| entry.zxid.0).collect();
        let batches = history.range(Zxid(after), Zxid(upto));
        assert_eq!(
            batches
                .flat_map(|batch| batch.iter().map(|(zxid, _)| zxid.0).collect::<Vec<_>>())
                .collect::<Vec<_>>(),
            apart
        );
        apart
    }

    fn check(history: &History) {
        let all = history.batches.iter().map(Batch::transaction_bytes).sum::<usize>();
        assert_eq!(history.bytes, all);
    }

    #[test]
    fn a_log_goes_on_without_a_gap() {
        let history = history(E + 3, &[E + 4, 2 * E + 1]);
        for (zxid, goes_on) in
            [(E + 5, false), (2 * E + 1, false), (2 * E + 2, true), (2 * E + 3, false), (3 * E + 1, true)]
        {
            assert_eq!(history.continues_with(Zxid(zxid)), goes_on, "{zxid:x}");
        }
    }

    #[test]
    fn ranges_and_positions() {
        for history in divided(3, &[4, 5, E + 1]) {
            assert_eq!(zxids(&history, 3, 5), [4, 5]);
            assert_eq!(zxids(&history, 0, 4), [4]);
            assert_eq!(zxids(&history, 5, 9 * E), [E + 1]);
            assert_eq!(zxids(&history, 5, 4), [0; 0]);
            assert_eq!(zxids(&history, E + 1, 2 * E), [0; 0]);
            for (zxid, newest) in [(2, None), (3, Some(3)), (4, Some(4)), (E, Some(5)), (3 * E, Some(E + 1))]
            {
                assert_eq!(history.newest_upto(Zxid(zxid)), newest.map(Zxid), "{zxid:x}");
            }
        }
    }

    #[test]
    fn what_is_not_applied_is_not_forgotten() {
        for mut history in divided(3, &[4, 5, 6]) {
            let before = history.clone();
            history.trim(Zxid(6), 30);
            assert_eq!(history.floor(), Zxid(3), "there is room for all");
            history.trim(Zxid(4), 5);
            assert_eq!((history.floor(), history.last()), (Zxid(4), Zxid(6)));
            check(&history);
            assert_eq!((zxids(&history, 3, 6), zxids(&before, 3, 6)), (vec![5, 6], vec![4, 5, 6]));
            history.trim(Zxid(6), 15);
            assert_eq!(zxids(&history, 3, 6), [6]);
            check(&history);
            history.trim(Zxid(6), 0);
            assert_eq!((history.floor(), history.last(), history.bytes), (Zxid(6), Zxid(6), 0));
        }
    }

    #[test]
    fn a_log_is_cut_where_it_is_to_be_also_within_what_came_together() {
        for mut history in divided(3, &[4, 5, 6]) {
            history.truncate_after(Zxid(5));
            assert_eq!((zxids(&history, 3, 9), history.last()), (vec![4, 5], Zxid(5)));
            check(&history);
            history.push(Batch::one(Zxid(6), b"another"));
            history.truncate_after(Zxid(4));
            assert_eq!((history.floor(), history.last()), (Zxid(3), Zxid(4)));
            check(&history);
            history.truncate_after(Zxid(2));
            assert_eq!((history.floor(), history.last()), (Zxid(2), Zxid(2)));
            history.reset(Zxid(9));
            assert_eq!((history.floor(), history.last()), (Zxid(9), Zxid(9)));
        }
    }
}
