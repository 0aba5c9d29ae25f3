//! A server's disk: the log, the epochs and a checkpoint. What was written and not yet synced is in
//! queues; a crash keeps any beginning of each, and the log and the epochs know nothing of each
//! other.

use super::oracle::Tree;
use fastrand::Rng;
use ringkeeper_engine::id::Zxid;
use ringkeeper_quorum::message::Transaction;
use ringkeeper_quorum::zab::{Epochs, Generation, Recovered};
use std::collections::VecDeque;

/// An operation on the log that is under way.
#[derive(Clone, Debug)]
pub enum LogOp {
    /// A transaction, and what was known to be committed when it was written.
    Append(Generation, Transaction, Zxid),
    /// Everything after the zxid goes.
    Rewind(Generation, Zxid),
    /// A checkpoint replaces everything.
    Install(Generation, Zxid, Tree),
}

impl LogOp {
    /// The generation, and where the log ends when this is done.
    pub fn done(&self) -> (Generation, Zxid) {
        match self {
            LogOp::Append(generation, transaction, _) => (*generation, transaction.zxid),
            LogOp::Rewind(generation, zxid) | LogOp::Install(generation, zxid, _) => (*generation, *zxid),
        }
    }
}

/// One disk.
#[derive(Debug, Default)]
pub struct Disk {
    epochs: Epochs,
    /// The newest checkpoint, and the zxid that it has everything up to.
    checkpoint: (Zxid, Tree),
    /// What follows the checkpoint.
    log: Vec<Transaction>,
    /// The newest transaction that the log says was committed.
    committed: Zxid,
    /// Under way.
    pub log_ops: VecDeque<LogOp>,
    /// Under way.
    pub epoch_ops: VecDeque<Epochs>,
}

impl Disk {
    /// The oldest operation on the log is done.
    pub fn sync_log(&mut self) -> Option<LogOp> {
        let op = self.log_ops.pop_front()?;
        self.apply(op.clone());
        Some(op)
    }

    /// The oldest write of the epochs is done.
    pub fn sync_epochs(&mut self) -> Option<Epochs> {
        self.epochs = self.epoch_ops.pop_front()?;
        Some(self.epochs)
    }

    fn apply(&mut self, op: LogOp) {
        match op {
            LogOp::Append(_, transaction, committed) => {
                let last = self.log.last().map_or(self.checkpoint.0, |last| last.zxid);
                assert!(transaction.zxid > last, "{} written after {last}", transaction.zxid);
                self.committed = self.committed.max(committed);
                self.log.push(transaction);
            }
            LogOp::Rewind(_, zxid) => {
                assert!(zxid >= self.checkpoint.0, "cut before the checkpoint");
                self.log.retain(|transaction| transaction.zxid <= zxid);
                self.committed = self.committed.min(zxid);
            }
            LogOp::Install(_, zxid, tree) => {
                self.checkpoint = (zxid, tree);
                self.log.clear();
                self.committed = zxid;
            }
        }
    }

    /// Writes a checkpoint of what was applied, and removes the log before it.
    pub fn write_checkpoint(&mut self, tree: &Tree) {
        let cut_under_way = self.log_ops.iter().any(|op| !matches!(op, LogOp::Append(..)));
        let applied = tree.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
        if !cut_under_way && applied > self.checkpoint.0 {
            self.checkpoint = (applied, tree.clone());
            self.log.retain(|transaction| transaction.zxid > applied);
        }
    }

    /// The server ends: some of what was under way is on disk, the rest never will be.
    pub fn crash(&mut self, rng: &mut Rng) {
        for _ in 0..rng.usize(0..=self.log_ops.len()) {
            self.sync_log();
        }
        for _ in 0..rng.usize(0..=self.epoch_ops.len()) {
            self.sync_epochs();
        }
        self.log_ops.clear();
        self.epoch_ops.clear();
    }

    /// The newest transaction of the log that is not newer than `last`, if all after it is there and is
    /// shorter than the tree.
    pub fn seek(&self, last: Zxid) -> Option<Zxid> {
        let found = self.log.iter().rposition(|transaction| transaction.zxid <= last);
        let common = found.map_or(self.checkpoint.0, |at| self.log[at].zxid);
        let short = self.log.len() - found.map_or(0, |at| at + 1) <= self.checkpoint.1.len();
        (common <= last && short).then_some(common)
    }

    /// The transactions of the log after `after`, up to `upto`.
    pub fn read(&self, after: Zxid, upto: Zxid) -> Vec<Transaction> {
        let within = |entry: &&Transaction| entry.zxid > after && entry.zxid <= upto;
        let found: Vec<Transaction> = self.log.iter().filter(within).cloned().collect();
        assert_eq!(found.last().map(|last| last.zxid), Some(upto), "what is to be sent is on disk");
        found
    }

    /// What a server that starts finds: its state, and its tree.
    pub fn recover(&self) -> (Recovered, Tree) {
        let (floor, mut tree) = self.checkpoint.clone();
        let known = self.log.iter().take_while(|transaction| transaction.zxid <= self.committed);
        tree.extend(known.map(|transaction| (transaction.zxid, super::oracle::value(transaction))));
        let applied = tree.last().map_or(floor, |(zxid, _)| (*zxid).max(floor));
        (Recovered { epochs: self.epochs, applied, floor, log: self.log.clone() }, tree)
    }
}
