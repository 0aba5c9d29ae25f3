//! What a leader tells ZooKeeper's servers of the tree behind each proposal (`TxnDigest`). Ringkeepers are
//! told nothing: they apply the same bytes with the same code.

use super::Replica;
use crate::message::{Batch, ToLearner, Transaction};
use bytes::{BufMut, BytesMut};
use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::jute::records::TxnDigest;
use ringkeeper_engine::zookeeper::outlook::Outlook;
use std::collections::VecDeque;

/// Nothing is said of a larger tree: to look at all of it at once holds everybody up, half a second a million nodes.
const NODES_MAX: usize = 1_000_000;
/// From so many copies on they are made anew.
const COPIES_MAX: usize = 100_000;

/// Of what is proposed and may still be sent to somebody.
#[derive(Default)]
pub(super) struct Digests {
    outlook: Option<Outlook>,
    behind: VecDeque<(Zxid, TxnDigest)>,
}

impl Digests {
    /// Nobody wants to know any more, or the tree is another.
    pub fn forget(&mut self) {
        *self = Digests::default();
    }

    /// The message, with the digest of the transaction in it. Only ZooKeeper's servers get transactions one by
    /// one.
    pub fn with(&self, message: ToLearner) -> ToLearner {
        match message {
            ToLearner::Proposal(transaction) => ToLearner::Proposal(self.complete(transaction)),
            ToLearner::Inform(transaction) => ToLearner::Inform(self.complete(transaction)),
            ToLearner::InformAndActivate { transaction, leader } => {
                ToLearner::InformAndActivate { transaction: self.complete(transaction), leader }
            }
            other => other,
        }
    }

    fn complete(&self, Transaction { zxid, bytes }: Transaction) -> Transaction {
        let Ok(index) = self.behind.binary_search_by_key(&zxid, |(zxid, _)| *zxid) else {
            return Transaction { zxid, bytes };
        };
        let TxnDigest { version, tree_digest } = self.behind[index].1;
        let mut completed = BytesMut::with_capacity(bytes.len() + 12);
        completed.put_slice(&bytes);
        completed.put_i32(version);
        completed.put_i64(tree_digest);
        Transaction { zxid, bytes: completed.freeze() }
    }
}

impl Replica {
    /// Looks at what is about to be proposed.
    pub(super) fn foresee(&mut self, proposals: &Batch) {
        let applied = self.applied();
        let is_whole = applied >= self.fuzzy_until;
        if !self.settings.digest_enabled || !self.zab.leads_zookeepers() || !is_whole {
            return self.digests.forget();
        }
        let (tree, Digests { outlook, behind }) = (&self.database.tree, &mut self.digests);
        while behind.pop_front_if(|(zxid, _)| *zxid <= applied).is_some() {}
        let undelivered = || self.zab.undelivered().collect::<Vec<Batch>>();
        let outlook = match outlook {
            Some(outlook) if outlook.copied() < COPIES_MAX => outlook,
            Some(outlook) => match outlook.begin_again(tree, transactions(&undelivered())) {
                Ok(()) => outlook,
                Err(_) => return self.digests.forget(),
            },
            None if tree.node_count() > NODES_MAX => return,
            None => {
                let (new, undelivered) = (outlook.insert(Outlook::new(tree)), undelivered());
                let mut pending = transactions(&undelivered);
                match pending.try_for_each(|transaction| new.propose(tree, transaction).map(drop)) {
                    Ok(()) => new,
                    Err(_) => return self.digests.forget(),
                }
            }
        };
        for (zxid, transaction) in proposals.iter() {
            match outlook.propose(tree, transaction) {
                Ok(digest) => behind.push_back((zxid, digest)),
                // A check that stands alone is in no log of ZooKeeper's.
                Err(_) => return self.digests.forget(),
            }
        }
    }
}

fn transactions(batches: &[Batch]) -> impl Iterator<Item = &[u8]> {
    batches.iter().flat_map(Batch::iter).map(|(_, bytes)| bytes)
}
