//! Quorums by groups and weights (`group.N`, `weight.N`), with real processes.

use std::time::Instant;

use ringkeeper_tests::body;
use ringkeeper_tests::ensemble::check::{check, equal, trees};
use ringkeeper_tests::ensemble::load::{Load, Rate};
use ringkeeper_tests::ensemble::{Ensemble, Plan};
use ringkeeper_tests::server::Options;
use ringkeeper_tests::wire::{Session, op};

use super::{PATIENCE, TIMEOUT_MS, report};

fn start(line_up: &str, config: &[&str]) -> Ensemble {
    let config = config.iter().map(|line| (*line).to_owned()).collect();
    let options = Options { config, ..Options::default() };
    Ensemble::start(&Plan { options, ..Plan::of(line_up) })
}

fn await_nobody_serves(ensemble: &mut Ensemble, what: &str) {
    let nobody = |ensemble: &Ensemble| ensemble.awake().iter().all(|id| ensemble.node(*id).mode().is_none());
    ensemble.await_that(what, PATIENCE, nobody);
}

/// Of three servers the third, with the highest number, weighs nothing: it never leads, the others do not
/// notice whether it is there, and it is no help to either of them alone.
pub fn a_server_without_weight_counts_for_nothing(line_up: &str) {
    let mut ensemble = start(line_up, &["group.1=1:2:3", "weight.1=1", "weight.2=1", "weight.3=0"]);
    let leader = ensemble.await_leader();
    assert_ne!(leader, 3, "it leads without weight");
    let weighty = [1, 2].map(|id| ensemble.node(id).address());
    let load = Load::start(&weighty, Rate::default());
    load.await_more(200);
    let from = Instant::now();
    ensemble.node_mut(3).kill();
    load.await_more(200);
    ensemble.start_one(3);
    ensemble.await_all();
    ensemble.node_mut(3).pause();
    load.await_more(400);
    ensemble.node_mut(3).resume();
    ensemble.await_all();
    assert_eq!(ensemble.leader(), Some(leader), "nobody needed another leader");
    let summary = check(&mut ensemble, load, from);
    assert_eq!(summary.reconnects, 0, "its end or its stop was noticed");
    report("a server without weight", line_up, summary);
    for gone in [1, 2] {
        ensemble.node_mut(gone).kill();
        await_nobody_serves(&mut ensemble, "one of two votes is left, and a server without weight");
        ensemble.start_one(gone);
        assert_ne!(ensemble.await_leader(), 3, "it leads without weight");
        ensemble.await_all();
    }
    equal(&ensemble, &trees(&ensemble));
}

/// Nine servers in three groups of three: two servers in each of two groups serve, and five servers do not where
/// they are more than half of one group alone.
pub fn groups_decide_and_not_heads(line_up: &str) {
    let mut ensemble = start(line_up, &["group.1=1:2:3", "group.2=4:5:6", "group.3=7:8:9"]);
    [3, 6, 7, 8, 9].iter().for_each(|id| ensemble.node_mut(*id).kill());
    ensemble.await_all();
    let session = |ensemble: &Ensemble, id| Session::begin(ensemble.node(id).address(), TIMEOUT_MS);
    session(&ensemble, 1).ask(op::CREATE, &body::create("/four", b"", 0));
    [4, 5].iter().for_each(|id| ensemble.node_mut(*id).kill());
    [3, 6, 7].iter().for_each(|id| ensemble.start_one(*id));
    await_nobody_serves(&mut ensemble, "five of nine servers, and one group of three");
    [4, 5, 8, 9].iter().for_each(|id| ensemble.start_one(*id));
    ensemble.await_all();
    session(&ensemble, 9).ask(op::CREATE, &body::create("/nine", b"", 0));
    equal(&ensemble, &trees(&ensemble));
}
