//! Tree and sessions as the log makes them: what a checkpoint holds and a restart rebuilds.

use crate::apply::{Applied, Outcome, apply};
use crate::id::{SessionId, Zxid};
use crate::jute;
use crate::tree::{Batch, Changes, Found, TreeWriter};
use std::collections::BTreeMap;

/// Everything that transactions decide.
pub struct Database {
    /// The znodes.
    pub tree: TreeWriter,
    /// Timeouts of the sessions, in milliseconds.
    pub sessions: BTreeMap<SessionId, u32>,
    /// The newest transaction applied.
    pub last: Zxid,
    /// What nobody watches; kept for its memory.
    unwatched: Changes,
    /// Transactions that were replayed since readers last saw all.
    unseen: u32,
}

/// Transactions of a replay that share one publication: each would replace the children of its parent.
const REPLAYED_AT_ONCE: u32 = 1000;

impl Database {
    /// Of a new server; `seed` keys the hashes.
    pub fn new(seed: u64) -> Self {
        Database::of(TreeWriter::new(seed), BTreeMap::new(), Zxid::ZERO)
    }

    /// Of what was read.
    pub fn of(tree: TreeWriter, sessions: BTreeMap<SessionId, u32>, last: Zxid) -> Self {
        Database { tree, sessions, last, unwatched: Changes::default(), unseen: 0 }
    }

    /// Shows clients the ensemble's configuration of this version, at this time in milliseconds since
    /// 1970: no transaction does it. Nobody is served meanwhile.
    pub fn set_config(&mut self, text: &str, version: Zxid, time: i64, changes: &mut Changes) {
        let mut batch = self.tree.begin();
        batch.set_config(text.as_bytes(), version, self.last, time, changes);
        batch.publish();
    }

    /// Opens a batch of transactions.
    pub fn begin(&mut self) -> DatabaseBatch<'_> {
        DatabaseBatch { tree: self.tree.begin(), sessions: &mut self.sessions, last: &mut self.last }
    }

    /// Applies one transaction of the log, where nobody watches.
    ///
    /// # Errors
    /// When the bytes are not a transaction.
    pub fn replay(&mut self, transaction: &[u8]) -> jute::Result<()> {
        let replayed = self.replay_unseen(transaction);
        self.tree.begin().publish();
        replayed
    }

    /// Applies one transaction of the log at a restart, when nobody reads: all of it can be seen when
    /// [`Self::replayed`] has been called.
    ///
    /// # Errors
    /// When the bytes are not a transaction.
    pub fn replay_unseen(&mut self, transaction: &[u8]) -> jute::Result<()> {
        self.replay_all_unseen(std::iter::once(transaction)).map_err(|(_, error)| error)
    }

    /// The same with transactions that follow each other.
    ///
    /// # Errors
    /// When the bytes of one are no transaction: how many were before it.
    pub fn replay_all_unseen<'b>(
        &mut self,
        mut transactions: impl Iterator<Item = &'b [u8]>,
    ) -> Result<(), (usize, jute::DecodeError)> {
        let mut done = 0;
        let mut next = transactions.next();
        while next.is_some() {
            let tree = self.tree.begin();
            let mut batch = DatabaseBatch { tree, sessions: &mut self.sessions, last: &mut self.last };
            while let Some(transaction) = next
                && self.unseen < REPLAYED_AT_ONCE
            {
                self.unwatched.clear();
                batch.apply(transaction, &mut self.unwatched).map_err(|error| (done, error))?;
                (done, self.unseen) = (done + 1, self.unseen + 1);
                next = transactions.next();
            }
            if self.unseen == REPLAYED_AT_ONCE {
                self.unseen = 0;
                batch.publish();
            }
        }
        Ok(())
    }

    /// After the last transaction of a restart, or of a part of it.
    pub fn replayed(&mut self) {
        self.tree.recount_quotas();
    }
}

/// An open batch.
pub struct DatabaseBatch<'d> {
    tree: Batch<'d>,
    sessions: &'d mut BTreeMap<SessionId, u32>,
    last: &'d mut Zxid,
}

impl DatabaseBatch<'_> {
    /// Applies one transaction.
    ///
    /// # Errors
    /// When the bytes are not a transaction.
    pub fn apply<'a>(&mut self, transaction: &'a [u8], changes: &mut Changes) -> jute::Result<Applied<'a>> {
        self.apply_found(transaction, None, changes)
    }

    /// The same with one that was prepared on this tree: `found` says where.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn apply_found<'a>(
        &mut self,
        transaction: &'a [u8],
        found: Option<Found>,
        changes: &mut Changes,
    ) -> jute::Result<Applied<'a>> {
        let applied = apply(&mut self.tree, transaction, found, changes)?;
        match applied.outcome {
            Outcome::SessionCreated { timeout_ms } => {
                self.sessions.insert(applied.session, timeout_ms);
            }
            Outcome::SessionClosed => {
                self.sessions.remove(&applied.session);
            }
            _ => {}
        }
        *self.last = applied.zxid;
        Ok(applied)
    }

    /// The tree as the batch has left it.
    pub fn tree(&self) -> &TreeWriter {
        self.tree.tree()
    }

    /// The tree can be read as the last transaction has left it.
    pub fn settle(&mut self) {
        self.tree.settle();
    }

    /// Lets readers see it whole.
    pub fn publish(self) {
        self.tree.publish();
    }
}
