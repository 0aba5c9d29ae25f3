//! A learner whose disk takes a tree, while its leader goes on.

use super::*;
use ringkeeper_engine::jute::records::SetDataTxn;

const DATA_BYTES: usize = 100_000;

/// A transaction of some length.
fn long(zxid: Zxid) -> Batch {
    let set = SetDataTxn { path: "/".into(), data: Some(&[7; DATA_BYTES]), version: 1 };
    let Transaction { zxid, bytes } = transaction(zxid, SESSION, 1, OpCode::SetData, &jute::to_bytes(&set));
    Batch::one(zxid, &bytes)
}

/// A learner that was sent a tree, and whose disk takes none.
fn installing() -> Bench {
    let mut bench = Bench::new();
    bench.elected(3);
    bench.input(Input::Peer(zab::Input::Connected(Attempt(1))));
    bench.leader(ToLearner::LeaderInfo { epoch: Epoch(1), extended: true });
    bench.leader(ToLearner::Snap(Zxid(9)));
    let mut database = Database::new(2);
    database.last = Zxid(9);
    bench.refused_with = Some(ENOSPC);
    bench.input(Input::Staged(Attempt(1), Box::new(StagedTree { database, newest: Zxid(9) })));
    bench.messages.clear();
    bench
}

/// Hears proposals of the new epoch for as long as there is room; returns how many.
fn hear_all_there_is_room_for(bench: &mut Bench) -> u64 {
    let mut count = 0;
    while bench.replica.can_log() {
        count += 1;
        bench.leader(ToLearner::Proposals(long(zxid(count))));
        assert!(count * DATA_BYTES as u64 <= 2 * LOGGED_BYTES_MAX, "as many as come are taken");
    }
    count
}

#[test]
fn what_is_proposed_while_a_tree_goes_to_disk_waits_at_the_leaders_socket() {
    let mut bench = installing();
    bench.leader(ToLearner::NewLeader { epoch: Epoch(1), members: None });
    let count = hear_all_there_is_room_for(&mut bench);
    assert!(count * DATA_BYTES as u64 > LOGGED_BYTES_MAX / 2, "{count} are a few");
    bench.refused_with = None;
    bench.wait_ms(1000);
    assert!(bench.replica.can_log(), "all of it is on disk");
    bench.leader(ToLearner::UpToDate);
    bench.leader(ToLearner::Commit(zxid(count)));
    assert_eq!(bench.take_replies(), ["tree", "serving Full"]);
    assert_eq!(bench.replica.applied(), zxid(count));
}

#[test]
fn a_tree_that_takes_its_time_to_disk_is_no_silence_of_either_side() {
    let mut bench = installing();
    hear_all_there_is_room_for(&mut bench);
    let init_ms = Timing::default().tick_ms * Timing::default().init_limit;
    let ping_ms = Timing::default().tick_ms / 2;
    let end = bench.now_ms + 3 * init_ms;
    while bench.now_ms < end {
        bench.messages.clear();
        // NEWLEADER and pings wait behind what there is no room for.
        bench.wait_ms(ping_ms);
        let told = bench.take_to_leader();
        assert!(matches!(&told[..], [ToLeader::Ping { .. }]), "{told:?}");
    }
    bench.refused_with = None;
    bench.wait_ms(1000);
    assert!(bench.replica.can_log());
    bench.leader(ToLearner::NewLeader { epoch: Epoch(1), members: None });
    bench.leader(ToLearner::UpToDate);
    assert_eq!(bench.take_replies(), ["tree", "serving Full"]);
    // From here on its leader is to be heard.
    bench.wait_ms(init_ms);
    assert_eq!(bench.take_replies(), ["serving Nothing"]);
}

#[test]
fn a_log_that_does_not_keep_up_hides_no_silence_of_the_leader_from_who_serves() {
    let mut bench = Bench::following();
    bench.disk_hangs = true;
    hear_all_there_is_room_for(&mut bench);
    bench.messages.clear();
    bench.wait_ms(Timing::default().tick_ms * Timing::default().sync_limit + 1);
    assert_eq!(bench.take_to_leader(), []);
    assert_eq!(bench.take_replies(), ["serving Nothing"]);
}
