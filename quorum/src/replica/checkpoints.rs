//! When a checkpoint is written.

use super::Replica;
use crate::step::Effect;
use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::log::{IoFailure, LogError};

/// Log behind the newest checkpoint from which on an orderly stop writes another.
const STOP_LOG_BYTES_MIN: u64 = 8 << 20;

/// Paths and data up to which an orderly stop waits for one: of a larger tree it would be slow.
const STOP_TREE_BYTES_MAX: i64 = 1 << 30;

/// How far the log has gone on since a checkpoint.
#[derive(Clone, Copy, Debug, Default)]
struct Distance {
    transactions: u64,
    bytes: u64,
}

impl Distance {
    fn reaches(self, limit: Distance) -> bool {
        self.transactions >= limit.transactions || self.bytes >= limit.bytes
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Checkpoints {
    random: u64,
    since: Distance,
    at: Distance,
    under_way: bool,
}

impl Checkpoints {
    /// `seed` staggers them.
    pub fn new(seed: u64) -> Self {
        Checkpoints {
            random: seed | 1,
            since: Distance::default(),
            at: Distance::default(),
            under_way: false,
        }
    }

    /// A transaction of so many bytes was applied.
    pub fn applied(&mut self, bytes: usize) {
        self.since.transactions += 1;
        self.since.bytes += bytes as u64;
    }

    fn is_due(&self) -> bool {
        self.since.reaches(self.at) && !self.under_way
    }

    /// As ZooKeeper staggers them: somewhere in the second half of what may lie between two (zero: that does
    /// not count), so that the servers of an ensemble do not all write at once.
    fn plan(&mut self, most: Distance) {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let stagger = |all: u64| match all {
            0 => u64::MAX,
            all => (all / 2 + self.random % (all / 2).max(1)).max(1),
        };
        self.at = Distance { transactions: stagger(most.transactions), bytes: stagger(most.bytes) };
        self.since = Distance::default();
    }
}

impl Replica {
    /// From now on the log counts towards the next one.
    pub(super) fn plan_checkpoint(&mut self) {
        self.checkpoints.plan(Distance {
            transactions: u64::from(self.settings.snap_count),
            bytes: self.settings.snap_log_bytes,
        });
    }

    /// After a restart: how much log was replayed, which the next checkpoint saves the restart after it.
    pub fn replayed(&mut self, transactions: u64, bytes: u64) {
        self.checkpoints.since = Distance { transactions, bytes };
    }

    pub(super) fn checkpoint_when_due(&mut self, out: &mut Vec<Effect>) {
        // A log that is about to change is left alone until it has.
        if self.checkpoints.is_due() && !self.log_queue.is_changing() {
            let (first, sessions) = self.begin_checkpoint();
            out.push(Effect::Checkpoint { first, sessions });
        }
    }

    /// What a checkpoint at an orderly stop holds, if a restart would be slow without one.
    pub fn checkpoint_at_stop(&mut self) -> Option<(Zxid, Vec<(SessionId, u32)>)> {
        let worth = self.stop_waits() && self.checkpoints.since.bytes >= STOP_LOG_BYTES_MIN;
        (worth && !self.checkpoints.under_way).then(|| self.begin_checkpoint())
    }

    /// Whether a checkpoint is being written.
    pub(super) fn is_checkpointing(&self) -> bool {
        self.checkpoints.under_way
    }

    /// Whether a checkpoint is being written that an orderly stop waits for.
    pub fn is_checkpointing_at_stop(&self) -> bool {
        self.checkpoints.under_way && self.stop_waits()
    }

    fn stop_waits(&self) -> bool {
        self.database.tree.data_bytes() < STOP_TREE_BYTES_MAX
    }

    fn begin_checkpoint(&mut self) -> (Zxid, Vec<(SessionId, u32)>) {
        self.checkpoints.under_way = true;
        self.plan_checkpoint();
        (self.applied(), self.sessions_on_disk())
    }

    /// The sessions of the tree with their timeouts in milliseconds.
    pub fn sessions_on_disk(&self) -> Vec<(SessionId, u32)> {
        self.database.sessions.iter().map(|(id, timeout)| (*id, *timeout)).collect()
    }

    /// A checkpoint that found no space, or could open no file, is tried again when the next is due.
    pub(super) fn on_checkpointed(
        &mut self,
        result: Result<Zxid, IoFailure>,
        out: &mut Vec<Effect>,
    ) -> Result<(), LogError> {
        self.checkpoints.under_way = false;
        match result {
            Ok(_) => {
                self.marking.ask();
                self.mark_when_asked(out);
                Ok(())
            }
            Err(failure) if failure.shortage().is_some() => {
                out.push(Effect::Notice(format!("checkpoint not written, the log is kept: {failure}")));
                Ok(())
            }
            Err(failure) => Err(LogError::Failed(failure)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_comes_in_the_second_half_of_what_may_lie_between_two_and_not_at_all_servers_at_once() {
        let plans = |seed| {
            let mut checkpoints = Checkpoints::new(seed);
            let mut plan = || {
                checkpoints.plan(Distance { transactions: 100_000, bytes: 4 << 30 });
                checkpoints.at
            };
            (0..100).map(|_| plan()).collect::<Vec<_>>()
        };
        let (one, another) = (plans(0x1234_5678_9abc), plans(0xdef0_1234_5678));
        for Distance { transactions, bytes } in one.iter().chain(&another) {
            assert!((50_000..100_000).contains(transactions), "{transactions}");
            assert!((2 << 30..4 << 30).contains(bytes), "{bytes}");
        }
        let alike = one.iter().zip(&another).filter(|(one, another)| one.bytes == another.bytes).count();
        assert_eq!(alike, 0);
        let early = one.iter().filter(|at| at.transactions < 75_000).count();
        assert!((20..80).contains(&early), "{early} of 100 in the first half of that half");
    }

    #[test]
    fn transactions_and_bytes_of_the_log_each_make_one_due_and_zero_never_does() {
        let due_after = |transactions, bytes, each: usize| {
            let mut checkpoints = Checkpoints::new(7);
            checkpoints.plan(Distance { transactions, bytes });
            let applied = (1..=1000).find(|_| {
                checkpoints.applied(each);
                checkpoints.is_due()
            });
            checkpoints.under_way = true;
            assert!(!checkpoints.is_due(), "one at a time");
            applied
        };
        let by_bytes = due_after(0, 100_000, 1000).expect("due by its bytes alone");
        assert!((50..=100).contains(&by_bytes), "{by_bytes}");
        let by_count = due_after(100, 0, 1000).expect("due by its transactions alone");
        assert!((50..100).contains(&by_count), "{by_count}");
        assert_eq!(due_after(0, 0, 1000), None);
        // Whichever is first.
        assert!(due_after(100, 10_000, 1000).is_some_and(|applied| applied <= 10));
    }
}
