//! What `mntr`, `srvr` and `stat` say of an ensemble, beside ZooKeeper's own.

use std::collections::{BTreeMap, BTreeSet};

use ringkeeper_tests::body;
use ringkeeper_tests::ensemble::node::{Mode, Node};
use ringkeeper_tests::ensemble::{Ensemble, Plan};
use ringkeeper_tests::wire::{Session, op};

use super::{PATIENCE, TIMEOUT_MS};

/// What there is in an ensemble alone, or tells of one; a role has each of these or has it not.
const OF_ENSEMBLES: &[&str] = &[
    "commit_count",
    "diff_count",
    "global_sessions",
    "last_proposal_size",
    "leader_uptime",
    "learner_commit_received_count",
    "learner_proposal_received_count",
    "learners",
    "local_sessions",
    "looking_count",
    "max_proposal_size",
    "min_proposal_size",
    "observer_master_id",
    "peer_state",
    "pending_syncs",
    "proposal_count",
    "quit_leading_due_to_disloyal_voter",
    "quorum_size",
    "revalidate_count",
    "server_state",
    "snap_count",
    "synced_followers",
    "synced_non_voting_followers",
    "synced_observers",
];

/// The same, as least, greatest, mean, sum and number.
const TIMES: &[&str] = &[
    "election_time",
    "follower_sync_time",
    "leader_unavailable_time",
    "observer_sync_time",
    "unavailable_time",
];

/// What is no matter of chance, after the same requests.
const SAME: &[&str] = &[
    "commit_count",
    "global_sessions",
    "learner_commit_received_count",
    "learner_proposal_received_count",
    "learners",
    "local_sessions",
    "peer_state",
    "pending_syncs",
    "proposal_count",
    "quorum_size",
    "server_state",
    "synced_followers",
    "synced_non_voting_followers",
    "synced_observers",
];

/// What ZooKeeper adds to each transaction: the digest of its tree, and the digest's version.
const DIGEST_BYTES: u32 = 12;

type Figures = BTreeMap<String, String>;

fn figures(node: &Node) -> Figures {
    let answer = node.four_letter_word("mntr").expect("it answers");
    let line = |line: &str| {
        let (key, value) = line.strip_prefix("zk_")?.split_once('\t')?;
        Some((key.to_owned(), value.to_owned()))
    };
    answer.lines().filter_map(line).collect()
}

fn number(figures: &Figures, name: &str) -> u32 {
    figures[name].parse().unwrap_or_else(|_| panic!("{name} is no number: {}", figures[name]))
}

/// What an ensemble with an observer says after a few writes: the leader, one follower, and the observer.
fn said_by(letter: &str) -> [Figures; 3] {
    let mut ensemble = Ensemble::start(&Plan { observers: letter.to_owned(), ..Plan::of(&letter.repeat(3)) });
    let leader = ensemble.await_leader();
    ensemble.await_mode(4, &[Mode::Observer]);
    let mut session = Session::begin(ensemble.node(leader).address(), TIMEOUT_MS);
    session.ask(op::CREATE, &body::create("/node", b"", 0));
    for length in [10, 300, 20] {
        session.ask(op::SET_DATA, &body::set_data("/node", &vec![b'x'; length]));
    }
    let zxid = session.ask(op::EXISTS, &body::read("/node", false)).zxid.cast_unsigned();
    let applied =
        |ensemble: &Ensemble| ensemble.ids().iter().all(|id| ensemble.node(*id).zxid() == Some(zxid));
    ensemble.await_that("everybody has everything", PATIENCE, applied);
    let follower = ensemble.followers()[0];
    let figures = [leader, follower, 4].map(|id| figures(ensemble.node(id)));
    // Which server leads is a matter of chance.
    assert_eq!(figures[2]["observer_master_id"], leader.to_string());
    let sizes =
        ["last", "min", "max"].map(|of| figures[0][&format!("{of}_proposal_size")].as_str()).join("/");
    for word in ["srvr", "stat"] {
        let answer = ensemble.node(leader).four_letter_word(word).expect("an answer");
        assert_eq!(answer.lines().last(), Some(&*format!("Proposal sizes last/min/max: {sizes}")), "{word}");
    }
    figures
}

/// A monitor that is told our address in the place of a ZooKeeper's finds the figures that it knows, and where
/// the same happened the same figures.
#[test]
fn a_monitor_finds_what_zookeeper_says_of_an_ensemble() {
    let (java, ours) = (said_by("n"), said_by("r"));
    let times =
        TIMES.iter().flat_map(|name| ["avg", "min", "max", "cnt", "sum"].map(|of| format!("{of}_{name}")));
    let names: BTreeSet<String> = OF_ENSEMBLES.iter().map(|name| (*name).to_owned()).chain(times).collect();
    for (java, ours) in java.iter().zip(&ours) {
        let role = &java["server_state"];
        let has = |figures: &Figures| -> BTreeSet<String> {
            names.iter().filter(|name| figures.contains_key(*name)).cloned().collect()
        };
        assert_eq!(has(ours), has(java), "{role}");
        // How long the hops of a request took is ours alone.
        let is_own = |name: &str| name.starts_with("stage_");
        let unknown: Vec<&String> =
            ours.keys().filter(|name| !java.contains_key(*name) && !is_own(name)).collect();
        assert!(unknown.is_empty(), "{role}: ZooKeeper has no {unknown:?}");
        for name in SAME {
            assert_eq!(ours.get(*name), java.get(*name), "{role}: {name}");
        }
        assert!(number(ours, "cnt_unavailable_time") > 0, "{role}");
    }
    let [java, ours] = [&java[0], &ours[0]];
    for size in ["last_proposal_size", "min_proposal_size", "max_proposal_size"] {
        assert_eq!(number(ours, size) + DIGEST_BYTES, number(java, size), "{size}");
    }
    // How empty servers are brought up to date is the leader's choice, and one may come twice.
    for leader in [ours, java] {
        assert!(number(leader, "diff_count") + number(leader, "snap_count") >= 3);
    }
}
