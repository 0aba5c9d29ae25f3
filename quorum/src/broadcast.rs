//! Broadcast: proposals go out in the order of their zxids, and are committed in that order once
//! a quorum has them on disk.

use crate::verifier::Verifier;
use ringkeeper_engine::id::{ServerId, Zxid};
use std::collections::BTreeMap;

/// A configuration, and the proposals that need its quorum.
#[derive(Clone, Debug)]
struct Judge {
    verifier: Verifier,
    /// The first of them.
    from: Zxid,
}

/// The leader's side.
#[derive(Clone, Debug)]
pub struct Broadcast {
    /// The configuration in force, and behind it the one that is to take its place: what is proposed
    /// until then needs a quorum of each.
    judges: Vec<Judge>,
    /// The newest transaction that each server has on disk, and all before it.
    acked: BTreeMap<ServerId, Zxid>,
    proposed: Zxid,
    committed: Zxid,
}

impl Broadcast {
    /// A leader whose log ends at `last`, all of it committed.
    pub fn new(verifier: impl Into<Verifier>, last: Zxid) -> Self {
        let judge = Judge { verifier: verifier.into(), from: Zxid::ZERO };
        Broadcast { judges: vec![judge], acked: BTreeMap::new(), proposed: last, committed: last }
    }

    /// The newest proposal makes another configuration: it, and what follows, needs its quorum, too.
    pub fn begin_change(&mut self, verifier: Verifier) {
        self.judges.push(Judge { verifier, from: self.proposed });
    }

    /// The newest configuration is in force: nothing needs a quorum of the one before any more, what was
    /// proposed meanwhile neither. Servers of that one may have left without an ack of it. Whoever is
    /// elected has the change in its log, since a quorum of those servers has it, and so needs a quorum of
    /// the newest. ZooKeeper waits for both, for ever if need be.
    pub fn end_change(&mut self) {
        let ended = self.judges.len().saturating_sub(1);
        self.judges.drain(..ended);
        self.judge();
    }

    /// The newest transaction that `server` has on disk, and all before it.
    pub fn acked(&self, server: ServerId) -> Zxid {
        self.acked.get(&server).copied().unwrap_or_default()
    }

    /// Proposes the next transactions, up to this one.
    pub fn propose(&mut self, upto: Zxid) {
        assert!(upto > self.proposed, "{upto} proposed after {}", self.proposed);
        self.proposed = upto;
    }

    /// `server` has everything up to `upto` on disk. Returns the newest committed transaction.
    pub fn ack(&mut self, server: ServerId, upto: Zxid) -> Zxid {
        let acked = self.acked.entry(server).or_default();
        *acked = upto.max(*acked);
        self.judge();
        self.committed
    }

    fn judge(&mut self) {
        let mut durable = self.proposed;
        for judge in &self.judges {
            let has = judge.verifier.durable_at_quorum(|voter| self.acked(voter));
            // What comes before its first is not its affair.
            durable = durable.min(has.max(Zxid(judge.from.0.saturating_sub(1))));
        }
        self.committed = self.committed.max(durable);
        self.check();
    }

    /// Forgets what `server` had: it comes back, and says anew what it has.
    pub fn forget(&mut self, server: ServerId) {
        self.acked.remove(&server);
    }

    /// The newest proposal.
    pub fn proposed(&self) -> Zxid {
        self.proposed
    }

    /// Whether everything that is not committed needs the same quorum.
    pub fn is_calm(&self) -> bool {
        self.judges.len() == 1
    }

    /// The newest committed transaction.
    pub fn committed(&self) -> Zxid {
        self.committed
    }

    /// What must always hold.
    fn check(&self) {
        assert!(self.committed <= self.proposed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_commits_before_a_quorum_has_it() {
        let mut broadcast = Broadcast::new(Verifier::majority([1, 2, 3].map(ServerId)), Zxid(10));
        broadcast.propose(Zxid(11));
        broadcast.propose(Zxid(12));
        assert_eq!(broadcast.ack(ServerId(1), Zxid(12)), Zxid(10));
        assert_eq!(broadcast.ack(ServerId(2), Zxid(11)), Zxid(11));
        assert_eq!(broadcast.ack(ServerId(9), Zxid(12)), Zxid(11), "no voter");
        assert_eq!(broadcast.ack(ServerId(3), Zxid(12)), Zxid(12));
    }

    #[test]
    fn what_is_proposed_while_the_servers_change_needs_a_quorum_of_both() {
        let verifier = |voters: [u8; 3]| Verifier::majority(voters.map(ServerId));
        let mut broadcast = Broadcast::new(verifier([1, 2, 3]), Zxid(10));
        broadcast.propose(Zxid(11));
        broadcast.propose(Zxid(12));
        broadcast.begin_change(verifier([3, 4, 5]));
        broadcast.propose(Zxid(13));
        broadcast.ack(ServerId(1), Zxid(13));
        assert_eq!(broadcast.ack(ServerId(2), Zxid(13)), Zxid(11), "it came before the change");
        broadcast.ack(ServerId(4), Zxid(12));
        assert_eq!(broadcast.ack(ServerId(5), Zxid(12)), Zxid(12));
        broadcast.ack(ServerId(4), Zxid(13));
        assert_eq!(broadcast.ack(ServerId(5), Zxid(12)), Zxid(12));
        broadcast.end_change();
        assert_eq!(broadcast.committed(), Zxid(12));
        broadcast.propose(Zxid(14));
        assert_eq!(broadcast.ack(ServerId(5), Zxid(14)), Zxid(13), "the old servers count no more");
    }

    /// Server 2 became an observer with the change, and never acks what was proposed behind it.
    #[test]
    fn what_waits_for_a_server_that_left_is_committed_with_the_change() {
        let mut broadcast = Broadcast::new(Verifier::majority([2, 3].map(ServerId)), Zxid(10));
        broadcast.propose(Zxid(11));
        broadcast.begin_change(Verifier::majority([1, 3].map(ServerId)));
        broadcast.propose(Zxid(12));
        broadcast.ack(ServerId(1), Zxid(12));
        broadcast.ack(ServerId(3), Zxid(12));
        assert_eq!(broadcast.ack(ServerId(2), Zxid(11)), Zxid(11));
        broadcast.end_change();
        assert_eq!(broadcast.committed(), Zxid(12));
    }

    #[test]
    fn a_quorum_of_one_commits_what_it_has_on_disk() {
        let mut broadcast = Broadcast::new(Verifier::majority([ServerId(0)]), Zxid::ZERO);
        broadcast.propose(Zxid(1));
        assert_eq!(broadcast.ack(ServerId(0), Zxid(1)), Zxid(1));
    }
}
