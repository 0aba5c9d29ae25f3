//! When a checkpoint is written.

use super::Replica;
use crate::step::Effect;
use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::log::{IoFailure, LogError};

/// Log behind the newest checkpoint from which on an orderly stop writes another.
const STOP_LOG_BYTES_MIN: u64 = 8 << 20;

/// Paths and data up to which an orderly stop does: a larger tree would make it slow.
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
}

impl Replica {
    /// As ZooKeeper staggers them: somewhere in the second half of what may lie between two, so
    /// that the servers of an ensemble do not all write at once.
    pub(super) fn plan_checkpoint(&mut self) {
        let checkpoints = &mut self.checkpoints;
        checkpoints.random ^= checkpoints.random << 13;
        checkpoints.random ^= checkpoints.random >> 7;
        checkpoints.random ^= checkpoints.random << 17;
        let stagger = |all: u64| match all {
            0 => u64::MAX,
            all => (all / 2 + checkpoints.random % (all / 2).max(1)).max(1),
        };
        checkpoints.since = Distance::default();
        checkpoints.at = Distance {
            transactions: stagger(u64::from(self.settings.snap_count)),
            bytes: stagger(self.settings.snap_log_bytes),
        };
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
        let small = self.database.tree.data_bytes() < STOP_TREE_BYTES_MAX;
        let worth = small && self.checkpoints.since.bytes >= STOP_LOG_BYTES_MIN;
        (worth && !self.checkpoints.under_way).then(|| self.begin_checkpoint())
    }

    /// Whether a checkpoint is being written.
    pub fn is_checkpointing(&self) -> bool {
        self.checkpoints.under_way
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
            Ok(_) => Ok(()),
            Err(failure) if failure.shortage().is_some() => {
                out.push(Effect::Notice(format!("checkpoint not written, the log is kept: {failure}")));
                Ok(())
            }
            Err(failure) => Err(LogError::Failed(failure)),
        }
    }
}
