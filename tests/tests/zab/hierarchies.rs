//! Groups and weights, as ZooKeeper's own class answered (`testdata/hierarchies`): beside its servers ours must
//! call the same sets of voters a quorum.

use ringkeeper_engine::id::ServerId;
use ringkeeper_quorum::members::Members;
use std::collections::BTreeSet;

const CASES: &str = include_str!("../../testdata/hierarchies/cases.txt");

/// The lines that say what a configuration is, as its text form has them.
fn members(case: &str) -> String {
    let line = |word: &str| match word.split_once('=').expect("a key and a value") {
        (key, role) if key.starts_with("server.") => format!("{key}=127.0.0.1:1:2:{role}"),
        _ => word.to_owned(),
    };
    case.split(' ').map(line).collect::<Vec<_>>().join("\n")
}

/// What `Hierarchies.java` writes of ours; why we refuse one need not be ZooKeeper's reason.
fn said(case: &str) -> Vec<String> {
    let Ok(members) = Members::parse(&members(case)) else { return vec!["refused".to_owned()] };
    let voters: Vec<ServerId> = members.verifier().voters().collect();
    let sets = (0..1u32 << voters.len()).map(|bits| {
        (0..).zip(&voters).filter(|(at, _)| bits >> at & 1 == 1).map(|(_, id)| *id).collect::<BTreeSet<_>>()
    });
    let mut quorums: Vec<BTreeSet<ServerId>> =
        sets.filter(|set| members.verifier().is_quorum(|voter| set.contains(&voter))).collect();
    quorums.sort_by_key(BTreeSet::len);
    let mut least: Vec<BTreeSet<ServerId>> = Vec::new();
    for quorum in quorums {
        if !least.iter().any(|part| part.is_subset(&quorum)) {
            least.push(quorum);
        }
    }
    let joined = |set: &BTreeSet<ServerId>| {
        set.iter().map(|ServerId(id)| id.to_string()).collect::<Vec<_>>().join(":")
    };
    let mut lines: Vec<String> = least.iter().map(joined).collect();
    lines.sort();
    if lines.is_empty() { vec!["none".to_owned()] } else { lines }
}

#[test]
fn groups_and_weights_decide_as_zookeepers_do() {
    let lines: Vec<&str> = CASES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let cases = lines.chunk_by(|_, next| next.starts_with("    "));
    let mut counted = 0;
    for case in cases {
        let right = case[1..].iter().map(|line| line.split_once(": ").map_or(*line, |(refused, _)| refused));
        assert_eq!(said(case[0]), right.map(str::trim).collect::<Vec<_>>(), "{}", case[0]);
        counted += 1;
    }
    assert!(counted >= 20, "{counted} cases");
}
