//! Voters in groups, each with a weight, for ensembles whose quorums are hierarchical. A server without weight
//! votes, is told everything and counts for nothing; groups may have no weight at all.

use fastrand::Rng;
use ringkeeper_engine::id::ServerId;
use ringkeeper_quorum::verifier::Verifier;
use std::collections::{BTreeMap, BTreeSet};

/// The group and the weight of each voter, by number from 1.
pub type Places = Vec<(u8, u8)>;

/// Places of so many voters; somebody has weight.
pub fn draw(rng: &mut Rng, voters: u8) -> Places {
    loop {
        let groups = rng.u8(1..=3);
        let mut place = |_| (rng.u8(1..=groups), *rng.choice(&[0, 1, 1, 2, 3]).expect("choices"));
        let places: Places = (0..voters).map(&mut place).collect();
        if places.iter().any(|(_, weight)| *weight > 0) {
            return places;
        }
    }
}

/// The lines of a configuration for them; none for a majority.
pub fn lines(places: &Places) -> Vec<String> {
    let mut groups: BTreeMap<u8, Vec<String>> = BTreeMap::new();
    for (id, (group, _)) in (1..).zip(places) {
        groups.entry(*group).or_default().push(u8::to_string(&id));
    }
    let groups = groups.iter().map(|(group, ids)| format!("group.{group}={}", ids.join(":")));
    let weights = (1..).zip(places).map(|(id, (_, weight)): (u8, _)| format!("weight.{id}={weight}"));
    groups.chain(weights).collect()
}

/// Servers that are a quorum, and would be none without any one of them; and, now and then, some without
/// weight beside them, which make no difference.
pub fn least_quorum(verifier: &Verifier, rng: &mut Rng) -> BTreeSet<ServerId> {
    let mut order: Vec<ServerId> = verifier.voters().collect();
    rng.shuffle(&mut order);
    let mut quorum: BTreeSet<ServerId> = order.iter().copied().collect();
    for id in order {
        quorum.remove(&id);
        let is_needed = !verifier.is_quorum(|voter| quorum.contains(&voter));
        if is_needed || verifier.weight(id) == 0 && rng.bool() {
            quorum.insert(id);
        }
    }
    quorum
}

#[test]
fn a_least_quorum_needs_all_who_have_weight() {
    let mut rng = Rng::with_seed(1);
    for _ in 0..500 {
        let voters = rng.u8(1..7);
        let places: BTreeMap<ServerId, (u64, u64)> = (1..)
            .zip(draw(&mut rng, voters))
            .map(|(id, (group, weight))| (ServerId(id), (group.into(), weight.into())))
            .collect();
        let verifier = Verifier::hierarchical(places);
        let quorum = least_quorum(&verifier, &mut rng);
        assert!(verifier.is_quorum(|voter| quorum.contains(&voter)), "{verifier:?}: {quorum:?}");
        for without in quorum.iter().filter(|id| verifier.weight(**id) > 0) {
            let rest = |voter| quorum.contains(&voter) && voter != *without;
            assert!(!verifier.is_quorum(rest), "{verifier:?}: {quorum:?} needs no {without:?}");
        }
    }
}
