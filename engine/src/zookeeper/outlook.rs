//! The digest of the tree behind each transaction that is proposed, while those before it are not applied.
//!
//! A ZooKeeper compares what its leader says of the tree with its own behind each transaction that it applies
//! (`DataTree.compareDigest`). So the leader has to know it before the transaction is in any tree: the nodes
//! that proposals touch are copied once, and what is proposed is applied to the copies, by the code that
//! applies it to the tree. What the copies change by, the digest does.

use super::format::Fault;
use super::transaction::Transaction;
use crate::database::Database;
use crate::id::SessionId;
use crate::jute;
use crate::jute::records::TxnDigest;
use crate::tree::acl::{AclId, AclList};
use crate::tree::digest::{self, TreeDigest, persisted};
use crate::tree::index::pin;
use crate::tree::{TreeWriter, path};
use std::collections::BTreeSet;

/// The nodes that proposals touched, as the newest of them leaves them.
pub struct Outlook {
    copies: Database,
    /// Which nodes were copied, those among them that are not there.
    known: BTreeSet<Box<str>>,
    /// The copies' list: no digest tells one from another.
    acl: AclId,
    digest: TreeDigest,
}

impl Outlook {
    /// Of a tree between two batches, to which all that is proposed is yet to come. Looks at every node.
    pub fn new(tree: &TreeWriter) -> Outlook {
        let (copies, known, acl) = nothing_copied();
        Outlook { copies, known, acl, digest: TreeDigest::of_tree(&tree.reader()) }
    }

    /// How many nodes were copied.
    pub fn copied(&self) -> usize {
        self.known.len()
    }

    /// Forgets the copies, once `tree` has all that was proposed but `pending`.
    ///
    /// # Errors
    /// As [`Self::propose`].
    pub fn begin_again<'b>(
        &mut self,
        tree: &TreeWriter,
        pending: impl IntoIterator<Item = &'b [u8]>,
    ) -> Result<(), Fault> {
        (self.copies, self.known, self.acl) = nothing_copied();
        let digest = self.digest;
        pending.into_iter().try_for_each(|transaction| self.propose(tree, transaction).map(drop))?;
        self.digest = digest;
        Ok(())
    }

    /// The digest behind `transaction`, the next that is proposed. `tree` may have any of those before it.
    ///
    /// # Errors
    /// Bytes that are no transaction.
    pub fn propose(&mut self, tree: &TreeWriter, transaction: &[u8]) -> Result<TxnDigest, Fault> {
        let decoded = Transaction::decode(transaction)?;
        let wrong = |error: jute::DecodeError| Fault { offset: 0, what: error.to_string() };
        let session = SessionId(decoded.header.client_id);
        let touched: BTreeSet<String> = decoded.touches(tree.ephemerals().of(session)).map_err(wrong)?;
        touched.iter().for_each(|path| self.copy(tree, path));
        self.copies.tree.begin().publish();
        let paths = || touched.iter().map(String::as_str);
        let before = TreeDigest::of_paths(&self.copies.tree, paths());
        self.copies.replay(&decoded.to_apply()).map_err(wrong)?;
        let after = TreeDigest::of_paths(&self.copies.tree, paths());
        self.digest = self.digest.minus(before).plus(after);
        Ok(TxnDigest { version: digest::VERSION, tree_digest: self.digest.0 })
    }

    /// Copies a node and those above it, unless they were: then a proposal may have changed them.
    fn copy(&mut self, tree: &TreeWriter, path: &str) {
        let unknown: Vec<&str> =
            path::self_and_ancestors(path).take_while(|path| !self.known.contains(*path)).collect();
        let guard = pin();
        for path in unknown.into_iter().rev() {
            self.known.insert(path.into());
            let Some(node) = tree.get(path, &guard) else { continue };
            let data = node.data();
            let stat = persisted(node, &data, tree.children(node, &guard));
            let copied = self.copies.tree.restore(path, tree.value(&data, &guard), self.acl, &stat, true);
            copied.expect("the node above it was copied");
        }
    }
}

fn nothing_copied() -> (Database, BTreeSet<Box<str>>, AclId) {
    let mut copies = Database::new(0);
    let acl = copies.tree.acls.intern_list(&AclList::open());
    copies.tree.acls.hold(acl, 1);
    (copies, BTreeSet::new(), acl)
}
