//! What a quorum is.

use ringkeeper_engine::id::{ServerId, Zxid};
use std::collections::BTreeSet;

/// A majority of the voting members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Majority {
    voters: BTreeSet<ServerId>,
}

impl Majority {
    /// Of these members; there is at least one.
    pub fn new(voters: impl IntoIterator<Item = ServerId>) -> Self {
        let voters: BTreeSet<ServerId> = voters.into_iter().collect();
        assert!(!voters.is_empty(), "an ensemble has a voter");
        Majority { voters }
    }

    /// The members that vote.
    pub fn voters(&self) -> &BTreeSet<ServerId> {
        &self.voters
    }

    /// The newest transaction that a quorum has on disk, given what each voter has. A server that
    /// does not vote is not counted.
    pub fn durable_at_quorum(&self, acked: impl Fn(ServerId) -> Zxid) -> Zxid {
        let mut zxids: Vec<Zxid> = self.voters.iter().map(|voter| acked(*voter)).collect();
        zxids.sort_unstable_by(|a, b| b.cmp(a));
        zxids[self.voters.len() / 2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_is_more_than_half() {
        let quorum = |acked: &[u64]| {
            let majority = Majority::new((0..acked.len() as u8).map(ServerId));
            majority.durable_at_quorum(|voter| Zxid(acked[voter.0 as usize])).0
        };
        assert_eq!(quorum(&[7]), 7);
        assert_eq!(quorum(&[7, 3]), 3);
        assert_eq!(quorum(&[7, 3, 5]), 5);
        assert_eq!(quorum(&[7, 3, 5, 9]), 5);
        assert_eq!(quorum(&[0, 0, 5, 9, 9]), 5);
    }
}
