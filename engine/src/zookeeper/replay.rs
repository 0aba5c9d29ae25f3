//! Transactions applied one after the other, with the digest of the tree behind each of them.

use std::collections::BTreeSet;

use super::transaction::Transaction;
use crate::database::Database;
use crate::id::{SessionId, Zxid};
use crate::jute;
use crate::tree::digest::TreeDigest;

/// A database that transactions are replayed into. A fuzzy beginning has no digest: one is taken of the
/// whole tree as soon as it is the tree of one moment, and from there on each transaction changes it by
/// what it does to the nodes that it touches.
pub struct Replay {
    /// As the transactions leave it.
    pub database: Database,
    fuzzy_until: Zxid,
    digest: Option<TreeDigest>,
}

impl Replay {
    /// Goes on from a database that holds parts of transactions up to `fuzzy_until`.
    pub fn new(database: Database, fuzzy_until: Zxid) -> Replay {
        let mut replay = Replay { database, fuzzy_until, digest: None };
        replay.begin_digest();
        replay
    }

    /// Goes on from a database, and takes no digests.
    pub fn without_digests(database: Database) -> Replay {
        Replay { database, fuzzy_until: Zxid(u64::MAX), digest: None }
    }

    /// The digest of the tree, if it is the tree of one moment and digests are taken.
    pub fn digest(&self) -> Option<TreeDigest> {
        self.digest
    }

    /// Applies a transaction.
    ///
    /// # Errors
    /// None for one that was decoded.
    pub fn apply(&mut self, transaction: &Transaction<'_>) -> jute::Result<()> {
        let Some(digest) = self.digest else {
            self.database.replay(&transaction.to_apply())?;
            self.begin_digest();
            return Ok(());
        };
        let session = SessionId(transaction.header.client_id);
        let touched: BTreeSet<String> = transaction.touches(self.database.tree.ephemerals().of(session))?;
        let paths = || touched.iter().map(String::as_str);
        let before = TreeDigest::of_paths(&self.database.tree, paths());
        self.database.replay(&transaction.to_apply())?;
        let after = TreeDigest::of_paths(&self.database.tree, paths());
        self.digest = Some(digest.minus(before).plus(after));
        Ok(())
    }

    fn begin_digest(&mut self) {
        if self.database.last >= self.fuzzy_until {
            self.digest = Some(TreeDigest::of_tree(&self.database.tree.reader()));
        }
    }
}
