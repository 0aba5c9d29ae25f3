//! What must hold between servers. The names are those of the properties at the end of `Zab.tla`.

use ringkeeper_engine::id::{Epoch, ServerId, Zxid};
use ringkeeper_quorum::message::Transaction;
use std::collections::{BTreeMap, BTreeSet};

/// What a server applied, in its order: the simulated tree.
pub type Tree = Vec<(Zxid, u64)>;

/// What a client wrote: the transaction's whole content.
pub fn value(transaction: &Transaction) -> u64 {
    let bytes: [u8; 8] = transaction.bytes[..].try_into().expect("eight bytes");
    u64::from_be_bytes(bytes)
}

/// Sees everything, and panics when a law is broken.
#[derive(Debug, Default)]
pub struct Oracle {
    /// The one order: what any server applied, at its place.
    decided: Tree,
    /// What leaders proposed, and in which epoch.
    proposed: BTreeMap<u64, Zxid>,
    /// What clients were told is written.
    pub acked: BTreeSet<u64>,
    /// Who led, and where the history ended that the epoch began with.
    established: BTreeMap<Epoch, (ServerId, Zxid)>,
}

impl Oracle {
    /// A leader proposes.
    pub fn on_propose(&mut self, zxid: Zxid, value: u64) {
        assert!(self.proposed.insert(value, zxid).is_none());
    }

    /// A server applies: PrefixConsistency, Integrity, Agreement, TotalOrder, and the primary orders,
    /// since all servers apply one sequence whose zxids ascend.
    pub fn on_deliver(&mut self, server: ServerId, tree: &mut Tree, transaction: &Transaction) {
        tree.push((transaction.zxid, value(transaction)));
        self.decide(server, tree.len() - 1, tree[tree.len() - 1]);
    }

    fn decide(&mut self, server: ServerId, place: usize, entry: (Zxid, u64)) {
        match self.decided.get(place) {
            Some(decided) => assert_eq!(
                *decided, entry,
                "agreement: server {} applies another transaction in place {place}",
                server.0
            ),
            None => {
                let last = self.decided.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
                assert!(entry.0 > last, "total order: {} after {last}", entry.0);
                assert_eq!(self.proposed.get(&entry.1), Some(&entry.0), "integrity: nobody proposed this");
                self.decided.push(entry);
            }
        }
    }

    /// A server starts with what it has on disk, or took over a whole tree. It may be the first to
    /// apply what its log says is committed.
    pub fn on_tree(&mut self, server: ServerId, tree: &Tree) {
        for (place, entry) in tree.iter().enumerate() {
            self.decide(server, place, *entry);
        }
    }

    /// A leader may propose: Leadership, PrimaryIntegrity.
    pub fn on_established(&mut self, leader: ServerId, epoch: Epoch, initial: Zxid) {
        // A server may learn late that it leads, when a later epoch has begun already.
        let earlier = self.decided.iter().rev().find(|(zxid, _)| zxid.epoch() < epoch);
        let last = earlier.map_or(Zxid::ZERO, |(zxid, _)| *zxid);
        assert!(initial >= last, "server {} leads without {last}, which was decided", leader.0);
        let other = self.established.insert(epoch, (leader, initial));
        assert_eq!(other, None, "leadership: two leaders of one epoch");
    }

    /// A learner serves: it has all that its epoch began with.
    pub fn on_serving(&self, learner: ServerId, leader: ServerId, epoch: Epoch, committed: Zxid) {
        let (of_epoch, initial) = self.established[&epoch];
        assert_eq!(of_epoch, leader);
        assert!(committed >= initial, "server {} serves without {initial}", learner.0);
    }

    /// The one order so far.
    pub fn decided(&self) -> &Tree {
        &self.decided
    }

    /// Every write that a client was told of is in the one order.
    pub fn check_acked(&self) {
        let decided: BTreeSet<u64> = self.decided.iter().map(|(_, value)| *value).collect();
        assert!(self.acked.is_subset(&decided), "an acked write is lost");
    }

    /// How many epochs had a leader.
    pub fn epochs(&self) -> usize {
        self.established.len()
    }
}
