//! What is done to the log, in the order in which it was asked for: transactions are appended, the log is
//! cut, or begins anew behind a tree that the leader sent. The last two need files read or written, and
//! nothing is written to the log meanwhile.

use super::Replica;
use crate::message::Batch;
use crate::step::{Effect, StagedTree};
use crate::zab::Generation;
use ringkeeper_engine::id::{Now, Zxid};
use ringkeeper_engine::log::{Cut, LogError};
use std::collections::VecDeque;

/// A change of what the log had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// It is cut behind this transaction.
    Cut(Zxid),
    /// It begins anew behind this one, at which the tree ends.
    Begin(Zxid),
}

#[derive(Debug)]
enum LogOp {
    Append(Batch),
    /// Generations as `zab` counts them.
    Change(Generation, Change),
}

impl LogOp {
    fn bytes(&self) -> u64 {
        match self {
            LogOp::Append(batch) => batch.entries().len() as u64,
            LogOp::Change(..) => 0,
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LogQueue {
    ops: VecDeque<LogOp>,
    /// Of the transactions in them.
    bytes: u64,
    under_way: Option<(Generation, Change)>,
    /// Of the log as it is.
    pub generation: Generation,
}

impl LogQueue {
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.under_way.is_none()
    }

    /// Whether the log is, or is about to be, another than what was written.
    pub fn is_changing(&self) -> bool {
        self.under_way.is_some() || self.ops.iter().any(|op| matches!(op, LogOp::Change(..)))
    }

    /// Bytes of transactions that the log is not given yet.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn push(&mut self, op: LogOp) {
        self.bytes += op.bytes();
        self.ops.push_back(op);
    }

    fn pop(&mut self) {
        let op = self.ops.pop_front();
        self.bytes -= op.map_or(0, |op| op.bytes());
    }

    /// Forgets what would be appended and then be cut off again. What is left ends in a change.
    fn drop_appends(&mut self) {
        self.ops.retain(|op| matches!(op, LogOp::Change(..)));
        self.bytes = 0;
    }
}

impl Replica {
    pub(super) fn append(&mut self, now: Now, batch: Batch) -> Result<(), LogError> {
        self.window_bytes += batch.transaction_bytes();
        if !self.log_queue.is_empty() {
            self.log_queue.push(LogOp::Append(batch));
            return Ok(());
        }
        match self.write_batch(now, &batch) {
            Err(LogError::Full) => {
                let rest = batch.after(self.log.last_appended());
                rest.into_iter().for_each(|rest| self.log_queue.push(LogOp::Append(rest)));
                Ok(())
            }
            appended => appended,
        }
    }

    /// Appends what the log does not have of it.
    fn write_batch(&mut self, now: Now, batch: &Batch) -> Result<(), LogError> {
        let (count, last) = (batch.count() as u32, batch.last());
        if self.log.append_entries(batch.first(), last, count, batch.entries(), now.us)? {
            return Ok(());
        }
        let appended = self.log.last_appended();
        let mut rest = batch.iter().filter(|(zxid, _)| *zxid > appended);
        rest.try_for_each(|(zxid, transaction)| self.log.append(zxid, transaction, now.us))
    }

    pub(super) fn rewind(&mut self, generation: Generation, last_kept: Zxid) {
        self.window_bytes = self.zab.undelivered_bytes();
        self.log_queue.push(LogOp::Change(generation, Change::Cut(last_kept)));
    }

    /// The tree that the leader sent takes the place of this one.
    pub(super) fn install(&mut self, wall_ms: i64, generation: Generation, zxid: Zxid) {
        let StagedTree { database, newest } = *self.staged.take().expect("it was staged");
        assert_eq!(database.last, zxid, "the tree ends where its leader said");
        self.database = database;
        self.fuzzy_until = newest;
        self.delivered = zxid;
        self.window_bytes = self.zab.undelivered_bytes();
        self.show_members(wall_ms);
        let reader = self.database.tree.reader();
        self.outboxes.iter_mut().for_each(|outbox| outbox.push_tree(reader.clone()));
        self.plan_checkpoint();
        // Nothing of the log before counts any more.
        self.log_queue.drop_appends();
        self.log_queue.push(LogOp::Change(generation, Change::Begin(zxid)));
    }

    pub(super) fn feed_log(&mut self, now: Now, out: &mut Vec<Effect>) -> Result<(), LogError> {
        while self.log_queue.under_way.is_none()
            && let Some(op) = self.log_queue.ops.front()
        {
            match op {
                LogOp::Append(batch) => {
                    let batch = batch.clone();
                    match self.write_batch(now, &batch) {
                        Ok(()) => {}
                        Err(LogError::Full) => break,
                        Err(error) => return Err(error),
                    }
                }
                LogOp::Change(generation, change) => {
                    let (generation, change) = (*generation, *change);
                    if !self.may_change(change) {
                        break;
                    }
                    self.log_queue.under_way = Some((generation, change));
                    out.push(self.ask_for(change));
                }
            }
            self.log_queue.pop();
        }
        if let Some(step) = self.log.take_upkeep(now.us)? {
            out.push(Effect::Upkeep(step));
        }
        if self.log_queue.under_way.is_none()
            && let Some(write) = self.log.take_write(now.us)?
        {
            out.push(Effect::Write(write));
        }
        Ok(())
    }

    /// Whether nobody reads or writes what the change is about. What is kept by a cut is to be on disk.
    fn may_change(&self, change: Change) -> bool {
        let is_quiet = !self.log.is_writing() && !self.marking.is_under_way() && !self.is_checkpointing();
        is_quiet && (matches!(change, Change::Begin(_)) || !self.log.has_pending())
    }

    fn ask_for(&self, change: Change) -> Effect {
        match change {
            Change::Cut(last_kept) => Effect::FindCut(last_kept),
            Change::Begin(zxid) => Effect::Install { zxid, sessions: self.sessions_on_disk() },
        }
    }

    /// The change under way found no space. Where the leader has sent another tree since, that is what is
    /// asked for: the one before is no longer there, and nothing before the newest one counts.
    pub(super) fn change_again(&mut self) -> Effect {
        let begins = |op: &LogOp| matches!(op, LogOp::Change(_, Change::Begin(_)));
        if let Some(newest) = self.log_queue.ops.iter().rposition(begins)
            && let Some(LogOp::Change(generation, change)) = self.log_queue.ops.drain(..=newest).next_back()
        {
            self.log_queue.under_way = Some((generation, change));
        }
        let (_, change) = self.log_queue.under_way.expect("it was refused, and nothing else came to be");
        self.ask_for(change)
    }

    pub(super) fn on_cut_found(&mut self, now: Now, cut: Cut) -> Result<(), LogError> {
        self.change_log(now, cut)
    }

    pub(super) fn on_installed(&mut self, now: Now) -> Result<(), LogError> {
        let Some((_, Change::Begin(zxid))) = self.log_queue.under_way else {
            panic!("an answer to what was not asked for")
        };
        self.change_log(now, Cut::anew(zxid))
    }

    fn change_log(&mut self, now: Now, cut: Cut) -> Result<(), LogError> {
        let (generation, _) = self.log_queue.under_way.take().expect("it was asked for");
        self.log_queue.generation = generation;
        self.marking.on_changed();
        self.log.truncate(cut, now.us)
    }
}
