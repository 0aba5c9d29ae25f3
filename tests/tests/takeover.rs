//! What ZooKeeper's servers left, taken over by ours, of an ensemble of which not all are there.

use std::fs;
use std::path::Path;

use ringkeeper_engine::database::Database;
use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::jute::records::{CreateSessionTxn, TxnHeader};
use ringkeeper_engine::jute::to_bytes;
use ringkeeper_engine::op::OpCode;
use ringkeeper_engine::zookeeper::export::{write_snapshot, write_transaction};
use ringkeeper_engine::zookeeper::format::{log_name, snapshot_name};
use ringkeeper_engine::zookeeper::log::write_log_header;
use ringkeeper_engine::zookeeper::replay::Replay;
use ringkeeper_engine::zookeeper::stream::Compression;
use ringkeeper_tests::ensemble::check::{digests, equal, trees};
use ringkeeper_tests::ensemble::node::Mode;
use ringkeeper_tests::ensemble::{Ensemble, Plan};

/// What a ZooKeeper leaves that has lived in `epoch` and logged these transactions, of which each opens a
/// session.
fn leave(data: &Path, epoch: u64, log: impl Iterator<Item = u64>) {
    let folder = data.join("version-2");
    fs::create_dir_all(&folder).expect("a directory");
    let mut bytes = Vec::new();
    let written = write_snapshot(&Database::new(1), Compression::None, |piece| {
        bytes.extend_from_slice(piece);
        Ok::<(), ()>(())
    });
    written.expect("nothing fails in memory");
    fs::write(folder.join(snapshot_name(Zxid::ZERO, Compression::None)), &bytes).expect("a file");
    bytes.clear();
    write_log_header(&mut bytes);
    let mut replay = Replay::new(Database::new(1), Zxid::ZERO);
    let log: Vec<u64> = log.collect();
    for zxid in &log {
        let (client_id, op) = (*zxid as i64, OpCode::CreateSession.code());
        let header = TxnHeader { client_id, cxid: 0, zxid: client_id, time: 0, op };
        let transaction = [to_bytes(&header), to_bytes(&CreateSessionTxn { time_out: 60_000 })].concat();
        write_transaction(&mut replay, &transaction, &mut bytes).expect("a transaction");
    }
    fs::write(folder.join(log_name(Zxid(log[0]))), bytes).expect("a file");
    for name in ["currentEpoch", "acceptedEpoch"] {
        fs::write(folder.join(name), epoch.to_string()).expect("a file");
    }
}

/// The first server's log ends in what only a leader proposed that was gone before anybody heard it; the
/// second, which is of that kind, has lived in the epoch after that. The third is away, so each is needed.
fn two_serve_though_one_has_to_forget_the_end_of_its_log(line_up: &str) -> String {
    let first = |counter: u64| 1 << 32 | counter;
    let mut ensemble = Ensemble::prepare(&Plan::of(line_up));
    leave(&ensemble.node(1).data_dir(), 1, (1..=20).map(first));
    leave(&ensemble.node(2).data_dir(), 2, (1..=15).map(first));
    ensemble.start_one(1);
    ensemble.start_one(2);
    ensemble.await_all();
    assert_eq!([1, 2].map(|id| ensemble.node(id).mode()), [Some(Mode::Follower), Some(Mode::Leader)]);
    digests(&ensemble);
    let mut trees = trees(&ensemble);
    // What was left here has an empty one, and a Java leader that reads it leaves it so.
    trees.values_mut().for_each(|tree| _ = tree.remove("/zookeeper/config"));
    equal(&ensemble, &trees);
    ensemble.node(1).output()
}

#[test]
fn a_server_that_was_taken_over_forgets_what_was_never_committed() {
    let said = two_serve_though_one_has_to_forget_the_end_of_its_log("rrr");
    assert!(!said.contains("cannot be cut"), "it had to ask for a whole tree: {said}");
}

#[test]
fn a_server_that_was_taken_over_forgets_what_javas_leader_never_committed() {
    let said = two_serve_though_one_has_to_forget_the_end_of_its_log("rjr");
    assert!(!said.contains("cannot be cut"), "it had to ask for a whole tree: {said}");
}

#[test]
fn a_zookeeper_forgets_what_our_leader_says_was_never_committed() {
    let said = two_serve_though_one_has_to_forget_the_end_of_its_log("jrr");
    assert!(said.contains("Truncating log to get in sync with the leader 0x10000000f"), "{said}");
}
