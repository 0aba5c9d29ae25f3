//! Broadcast: proposals go out in the order of their zxids, and are committed in that order once
//! a quorum has them on disk.

use crate::verifier::Verifier;
use ringkeeper_engine::id::{ServerId, Zxid};
use std::collections::BTreeMap;

/// The leader's side.
#[derive(Clone, Debug)]
pub struct Broadcast {
    verifier: Verifier,
    /// The newest transaction that each server has on disk, and all before it.
    acked: BTreeMap<ServerId, Zxid>,
    proposed: Zxid,
    committed: Zxid,
}

impl Broadcast {
    /// A leader whose log ends at `last`, all of it committed.
    pub fn new(verifier: impl Into<Verifier>, last: Zxid) -> Self {
        Broadcast { verifier: verifier.into(), acked: BTreeMap::new(), proposed: last, committed: last }
    }

    /// The zxid of the next proposal.
    pub fn next_zxid(&self) -> Zxid {
        self.proposed.next()
    }

    /// Proposes the transaction of `zxid`, which is the next.
    pub fn propose(&mut self, zxid: Zxid) {
        assert_eq!(zxid, self.next_zxid(), "proposals have no gap");
        self.proposed = zxid;
    }

    /// `server` has everything up to `upto` on disk. Returns the newest committed transaction.
    pub fn ack(&mut self, server: ServerId, upto: Zxid) -> Zxid {
        let acked = self.acked.entry(server).or_default();
        *acked = upto.max(*acked);
        let durable =
            self.verifier.durable_at_quorum(|voter| self.acked.get(&voter).copied().unwrap_or_default());
        self.committed = self.committed.max(durable.min(self.proposed));
        self.check();
        self.committed
    }

    /// Forgets what `server` had: it comes back, and says anew what it has.
    pub fn forget(&mut self, server: ServerId) {
        self.acked.remove(&server);
    }

    /// The newest proposal.
    pub fn proposed(&self) -> Zxid {
        self.proposed
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
    fn a_quorum_of_one_commits_what_it_has_on_disk() {
        let mut broadcast = Broadcast::new(Verifier::majority([ServerId(0)]), Zxid::ZERO);
        broadcast.propose(Zxid(1));
        assert_eq!(broadcast.ack(ServerId(0), Zxid(1)), Zxid(1));
    }
}
