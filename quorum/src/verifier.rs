//! What a quorum is: more than half of the voters, or more than half of the groups, each by more
//! than half of its weight (`QuorumMaj` and `QuorumHierarchical`). Any two quorums share a server;
//! everything that the protocol promises rests on that.

use ringkeeper_engine::id::{ServerId, Zxid};
use std::collections::{BTreeMap, BTreeSet};

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

    fn is_quorum(&self, within: impl Fn(ServerId) -> bool) -> bool {
        self.voters.iter().filter(|voter| within(**voter)).count() > self.voters.len() / 2
    }
}

/// Voters in groups, each with a weight. One group alone is a weighted majority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Group and weight.
    voters: BTreeMap<ServerId, (u64, u64)>,
    /// The weight of each group that weighs anything, of those in it that do not vote too.
    groups: BTreeMap<u64, u64>,
}

impl Hierarchy {
    /// The members that vote.
    pub fn voters(&self) -> impl Iterator<Item = ServerId> {
        self.voters.keys().copied()
    }

    /// What the server's vote weighs; zero for one without.
    pub fn weight(&self, server: ServerId) -> u64 {
        self.voters.get(&server).map_or(0, |(_, weight)| *weight)
    }

    fn is_quorum(&self, within: impl Fn(ServerId) -> bool) -> bool {
        let mut reached: BTreeMap<u64, u64> = BTreeMap::new();
        for (_, (group, weight)) in self.voters.iter().filter(|(voter, _)| within(**voter)) {
            *reached.entry(*group).or_default() += weight;
        }
        let won = self
            .groups
            .iter()
            .filter(|(group, all)| reached.get(group).copied().unwrap_or(0) > **all / 2)
            .count();
        won > self.groups.len() / 2
    }
}

/// Decides what a quorum is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verifier {
    /// One server, one vote.
    Majority(Majority),
    /// By groups and weights.
    Hierarchical(Hierarchy),
    /// While one configuration gives way to another: a quorum of the one and of the other.
    Both(Box<[Verifier; 2]>),
}

impl From<Majority> for Verifier {
    fn from(majority: Majority) -> Self {
        Verifier::Majority(majority)
    }
}

impl Verifier {
    /// One vote each; there is at least one.
    pub fn majority(voters: impl IntoIterator<Item = ServerId>) -> Self {
        Verifier::Majority(Majority::new(voters))
    }

    /// By group and weight; there is at least one voter, and the sum of all weights has 64 bits.
    pub fn hierarchical(voters: BTreeMap<ServerId, (u64, u64)>) -> Self {
        Verifier::hierarchical_beside(voters, [])
    }

    /// The same with groups that also hold `others`, by group and weight, who do not vote: what they weigh is
    /// part of what more than half is needed of, and nobody ever has it. `QuorumHierarchical` counts so.
    pub fn hierarchical_beside(
        voters: BTreeMap<ServerId, (u64, u64)>,
        others: impl IntoIterator<Item = (u64, u64)>,
    ) -> Self {
        assert!(!voters.is_empty(), "an ensemble has a voter");
        let mut groups: BTreeMap<u64, u64> = BTreeMap::new();
        for (group, weight) in voters.values().copied().chain(others) {
            *groups.entry(group).or_default() += weight;
        }
        // A group without weight takes no part, as in ZooKeeper.
        groups.retain(|_, weight| *weight > 0);
        Verifier::Hierarchical(Hierarchy { voters, groups })
    }

    /// A quorum of both.
    pub fn both(before: Verifier, after: Verifier) -> Self {
        Verifier::Both(Box::new([before, after]))
    }

    /// The members that vote.
    pub fn voters(&self) -> Box<dyn Iterator<Item = ServerId> + '_> {
        match self {
            Verifier::Majority(majority) => Box::new(majority.voters.iter().copied()),
            Verifier::Hierarchical(hierarchy) => Box::new(hierarchy.voters()),
            Verifier::Both(both) => {
                let [before, after] = &**both;
                let added = after.voters().filter(|voter| !before.is_voter(*voter));
                Box::new(before.voters().chain(added))
            }
        }
    }

    /// Whether the server votes.
    pub fn is_voter(&self, server: ServerId) -> bool {
        match self {
            Verifier::Majority(majority) => majority.voters.contains(&server),
            Verifier::Hierarchical(hierarchy) => hierarchy.voters.contains_key(&server),
            Verifier::Both(both) => both.iter().any(|verifier| verifier.is_voter(server)),
        }
    }

    /// What a server's vote weighs. One that weighs nothing is never elected.
    pub fn weight(&self, server: ServerId) -> u64 {
        match self {
            Verifier::Majority(majority) => u64::from(majority.voters.contains(&server)),
            Verifier::Hierarchical(hierarchy) => hierarchy.weight(server),
            Verifier::Both(both) => both.iter().map(|verifier| verifier.weight(server)).max().unwrap_or(0),
        }
    }

    /// Whether the voters for which `within` holds are a quorum.
    pub fn is_quorum(&self, within: impl Fn(ServerId) -> bool) -> bool {
        self.has_quorum(&within)
    }

    fn has_quorum(&self, within: &dyn Fn(ServerId) -> bool) -> bool {
        match self {
            Verifier::Majority(majority) => majority.is_quorum(within),
            Verifier::Hierarchical(hierarchy) => hierarchy.is_quorum(within),
            Verifier::Both(both) => both.iter().all(|verifier| verifier.has_quorum(within)),
        }
    }

    /// The newest transaction that a quorum has on disk, given what each voter has. A server that
    /// does not vote is not counted.
    pub fn durable_at_quorum(&self, acked: impl Fn(ServerId) -> Zxid) -> Zxid {
        self.newest_at_quorum(&acked)
    }

    fn newest_at_quorum(&self, acked: &dyn Fn(ServerId) -> Zxid) -> Zxid {
        match self {
            // Asked for each write of the log: they are few, and a list of them would be allocated.
            Verifier::Majority(majority) => {
                let voters = || majority.voters.iter().map(|voter| acked(*voter));
                let have = |zxid: &Zxid| voters().filter(|acked| acked >= zxid).count();
                let at_quorum = |zxid: &Zxid| have(zxid) > majority.voters.len() / 2;
                voters().filter(at_quorum).max().unwrap_or(Zxid::ZERO)
            }
            Verifier::Hierarchical(hierarchy) => {
                let mut zxids: Vec<Zxid> = self.voters().map(acked).collect();
                zxids.sort_unstable_by(|a, b| b.cmp(a));
                let reached = |zxid: &Zxid| hierarchy.is_quorum(|voter| acked(voter) >= *zxid);
                zxids.into_iter().find(reached).unwrap_or(Zxid::ZERO)
            }
            Verifier::Both(both) => {
                let newest = both.iter().map(|verifier| verifier.newest_at_quorum(acked));
                newest.min().unwrap_or(Zxid::ZERO)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_is_more_than_half() {
        let quorum = |acked: &[u64]| {
            let majority = Verifier::majority((0..acked.len() as u8).map(ServerId));
            majority.durable_at_quorum(|voter| Zxid(acked[voter.0 as usize])).0
        };
        assert_eq!(quorum(&[7]), 7);
        assert_eq!(quorum(&[7, 3]), 3);
        assert_eq!(quorum(&[7, 3, 5]), 5);
        assert_eq!(quorum(&[7, 3, 5, 9]), 5);
        assert_eq!(quorum(&[0, 0, 5, 9, 9]), 5);
    }

    /// Every hierarchy of up to four servers in up to three groups with weights of up to two.
    fn hierarchies() -> impl Iterator<Item = Verifier> {
        (1..=4u32).flat_map(|servers| {
            (0..9u32.pow(servers)).map(move |mut code| {
                let mut place = || {
                    let (group, weight) = (code % 3, code / 3 % 3);
                    code /= 9;
                    (u64::from(group), u64::from(weight))
                };
                Verifier::hierarchical((0..servers as u8).map(|id| (ServerId(id), place())).collect())
            })
        })
    }

    #[test]
    fn any_two_quorums_share_a_server() {
        for verifier in hierarchies() {
            let all = verifier.voters().count() as u32;
            let quorums: Vec<u32> =
                (0..1u32 << all).filter(|set| verifier.is_quorum(|voter| set >> voter.0 & 1 == 1)).collect();
            for a in &quorums {
                assert!(quorums.iter().all(|b| a & b != 0), "{verifier:?}");
            }
        }
    }

    #[test]
    fn one_group_of_equal_weights_is_a_majority() {
        for servers in 1..=6u8 {
            let majority = Verifier::majority((0..servers).map(ServerId));
            let weighted = Verifier::hierarchical((0..servers).map(|id| (ServerId(id), (1, 1))).collect());
            for set in 0..1u32 << servers {
                let within = |voter: ServerId| set >> voter.0 & 1 == 1;
                assert_eq!(majority.is_quorum(within), weighted.is_quorum(within));
                let acked = |voter: ServerId| Zxid(u64::from(set) * u64::from(voter.0) % 7);
                assert_eq!(majority.durable_at_quorum(acked), weighted.durable_at_quorum(acked));
            }
        }
    }

    #[test]
    fn a_group_without_weight_takes_no_part() {
        let verifier = Verifier::hierarchical(
            [(1, (1, 1)), (2, (1, 1)), (3, (1, 1)), (4, (2, 0)), (5, (2, 0))]
                .map(|(id, place)| (ServerId(id), place))
                .into(),
        );
        assert!(verifier.is_quorum(|voter| voter.0 <= 2));
        assert!(!verifier.is_quorum(|voter| voter.0 >= 3));
        assert_eq!((verifier.weight(ServerId(4)), verifier.weight(ServerId(3))), (0, 1));
    }
}
