//! The end of a server's log, in memory: what is not applied yet, and behind it as much as a learner
//! may have missed.

use crate::message::Transaction;
use ringkeeper_engine::id::Zxid;
use std::collections::VecDeque;

/// Transactions in the order of their zxids. The newest before them is the *floor*: the tree or
/// the log has it and all before it.
#[derive(Clone, Debug)]
pub struct History {
    floor: Zxid,
    entries: VecDeque<Transaction>,
    bytes: usize,
}

impl History {
    /// Of the transactions after `floor`.
    pub fn new(floor: Zxid, entries: impl IntoIterator<Item = Transaction>) -> Self {
        let mut history = History { floor, entries: VecDeque::new(), bytes: 0 };
        entries.into_iter().for_each(|entry| history.push(entry));
        history
    }

    /// The newest transaction before those in memory.
    pub fn floor(&self) -> Zxid {
        self.floor
    }

    /// The newest transaction.
    pub fn last(&self) -> Zxid {
        self.entries.back().map_or(self.floor, |last| last.zxid)
    }

    /// Whether the log goes on with `zxid`: the next in its epoch, or one of a later epoch.
    pub fn continues_with(&self, zxid: Zxid) -> bool {
        let last = self.last();
        if zxid.epoch() == last.epoch() { zxid == last.next() } else { zxid > last }
    }

    /// Adds the transaction that follows.
    pub fn push(&mut self, transaction: Transaction) {
        assert!(self.continues_with(transaction.zxid), "{} after {}", transaction.zxid, self.last());
        self.bytes += transaction.bytes.len();
        self.entries.push_back(transaction);
    }

    fn index_after(&self, zxid: Zxid) -> usize {
        self.entries.partition_point(|entry| entry.zxid <= zxid)
    }

    /// The transactions after `after`, up to `upto`. What is below the floor is left out.
    pub fn range(&self, after: Zxid, upto: Zxid) -> impl ExactSizeIterator<Item = &Transaction> {
        let (start, end) = (self.index_after(after), self.index_after(upto));
        self.entries.range(start..end.max(start))
    }

    /// The newest transaction that is not newer than `zxid`; `None` below the floor.
    pub fn newest_upto(&self, zxid: Zxid) -> Option<Zxid> {
        match self.index_after(zxid).checked_sub(1) {
            Some(index) => Some(self.entries[index].zxid),
            None => (self.floor <= zxid).then_some(self.floor),
        }
    }

    /// Forgets everything after `last_kept`.
    pub fn truncate_after(&mut self, last_kept: Zxid) {
        let gone = self.entries.drain(self.index_after(last_kept)..);
        self.bytes -= gone.map(|entry| entry.bytes.len()).sum::<usize>();
        self.floor = self.floor.min(last_kept);
    }

    /// Forgets everything: the tree now has all up to `zxid`.
    pub fn reset(&mut self, zxid: Zxid) {
        *self = History::new(zxid, []);
    }

    /// The transactions after `after`, up to `upto`, which are applied now. They are handed over if none is
    /// to be kept for others.
    pub fn deliver(&mut self, after: Zxid, upto: Zxid, bytes_max: usize) -> Vec<Transaction> {
        if bytes_max == 0 && self.floor == after {
            let entries: Vec<Transaction> = self.entries.drain(..self.index_after(upto)).collect();
            self.bytes -= entries.iter().map(|entry| entry.bytes.len()).sum::<usize>();
            self.floor = entries.last().map_or(after, |last| last.zxid);
            return entries;
        }
        self.range(after, upto).cloned().collect()
    }

    /// Forgets the oldest transactions while there are more than `bytes_max`, but none after `kept`.
    pub fn trim(&mut self, kept: Zxid, bytes_max: usize) {
        while self.bytes > bytes_max
            && let Some(oldest) = self.entries.pop_front_if(|oldest| oldest.zxid <= kept)
        {
            self.bytes -= oldest.bytes.len();
            self.floor = oldest.zxid;
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
        let history = history(3, &[4, 5, E + 1]);
        let range = |after, upto| {
            history.range(Zxid(after), Zxid(upto)).map(|entry| entry.zxid.0).collect::<Vec<_>>()
        };
        assert_eq!(range(3, 5), [4, 5]);
        assert_eq!(range(5, 9 * E), [E + 1]);
        assert_eq!(range(5, 4), [0; 0]);
        for (zxid, newest) in [(2, None), (3, Some(3)), (4, Some(4)), (E, Some(5)), (3 * E, Some(E + 1))] {
            assert_eq!(history.newest_upto(Zxid(zxid)), newest.map(Zxid), "{zxid:x}");
        }
    }

    #[test]
    fn what_is_delivered_is_the_same_whatever_is_kept_of_it() {
        for (bytes_max, floor) in [(0, 5), (10, 4), (1000, 3)] {
            let mut history = history(3, &[4, 5, 6]);
            if bytes_max == 10 {
                history.truncate_after(Zxid(5));
            }
            let delivered = history.deliver(Zxid(3), Zxid(5), bytes_max);
            assert_eq!(delivered.iter().map(|entry| entry.zxid.0).collect::<Vec<_>>(), [4, 5]);
            history.trim(Zxid(5), bytes_max);
            assert_eq!(history.floor(), Zxid(floor), "{bytes_max}");
            let kept = history.entries.iter().map(|entry| entry.bytes.len()).sum::<usize>();
            assert_eq!(history.bytes, kept);
        }
    }

    #[test]
    fn what_is_not_applied_is_not_forgotten() {
        let mut history = history(3, &[4, 5, 6]);
        history.trim(Zxid(4), 5);
        assert_eq!((history.floor(), history.last()), (Zxid(4), Zxid(6)));
        history.truncate_after(Zxid(5));
        assert_eq!((history.floor(), history.last()), (Zxid(4), Zxid(5)));
        history.truncate_after(Zxid(2));
        assert_eq!((history.floor(), history.last()), (Zxid(2), Zxid(2)));
        history.reset(Zxid(9));
        assert_eq!((history.floor(), history.last()), (Zxid(9), Zxid(9)));
    }
}
