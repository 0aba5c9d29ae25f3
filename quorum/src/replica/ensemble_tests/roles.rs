//! Of an earlier role nothing is left that could be taken for the later one's.

use super::*;

/// Leads once more, of the same follower, which has all that this server has.
fn leads_again(bench: &mut Bench) {
    bench.elected(2);
    let (accepted, last) = (bench.replica.zab.epochs().accepted, bench.replica.zab.last());
    let info = LearnerInfo { server: ServerId(1), config_version: 0, extended: true };
    bench.learner(ToLeader::FollowerInfo { accepted, info });
    bench.learner(ToLeader::AckEpoch { current: Some(bench.replica.zab.epochs().current), last });
    let epoch = bench.replica.zab.epochs().accepted;
    bench.learner(ToLeader::Ack(Zxid(u64::from(epoch.0) << 32)));
    bench.learner(ToLeader::Ack(last));
}

fn proposals(bench: &mut Bench) -> Vec<(i64, i32)> {
    let headers = bench.take_to_learner().into_iter().filter_map(|message| match message {
        ToLearner::Proposal(transaction) => Reader::new(&transaction.bytes).read::<TxnHeader>().ok(),
        _ => None,
    });
    headers.map(|header| (header.client_id, header.op)).collect()
}

#[test]
fn what_was_proposed_and_came_to_nothing_is_in_no_later_leaders_way() {
    let mut bench = Bench::leading();
    bench.learner(request(SESSION, 1, OpCode::Create, create("/a")));
    bench.input(Input::Peer(zab::Input::LearnerLost(LINK)));
    // Another leader has a tree without it. Paths are hashed in it as they were.
    bench.elected(3);
    let attempt = bench.replica.zab.attempt().expect("it follows");
    bench.input(Input::Peer(zab::Input::Connected(attempt)));
    bench.leader(ToLearner::LeaderInfo { epoch: Epoch(2), extended: true });
    let mut database = Database::new(1);
    database.sessions.insert(SESSION, 5000);
    database.last = Zxid(9);
    bench.leader(ToLearner::Snap(Zxid(9)));
    bench.input(Input::Staged(attempt, Box::new(StagedTree { database, newest: Zxid(9) })));
    bench.leader(ToLearner::NewLeader { epoch: Epoch(2), members: None });
    bench.leader(ToLearner::UpToDate);
    bench.input(Input::Peer(zab::Input::LeaderLost(attempt)));
    leads_again(&mut bench);
    bench.messages.clear();
    bench.learner(request(SESSION, 2, OpCode::Create, create("/a")));
    assert_eq!(proposals(&mut bench), [(SESSION.0, OpCode::Create.code())]);
}

#[test]
fn what_waited_for_an_epoch_that_never_came_is_not_done_in_another() {
    let mut bench = Bench::in_epochs_of(4, Settings::default()).leads(true);
    let theirs = SessionId(0x0100_0000_0000_0001);
    bench.learner(request(theirs, 0, OpCode::CreateSession, 30_000i32.to_be_bytes().to_vec()));
    bench.reopen(CONNECTION);
    (1..4).for_each(|xid| bench.learner(request(theirs, xid, OpCode::Create, create(&format!("/{xid}")))));
    bench.learner(ToLeader::Ack(zxid(4)));
    bench.take_replies();
    // Requests of a learner's client and of an own one, and the end of a silent session.
    bench.learner(request(theirs, 4, OpCode::Create, create("/theirs")));
    bench.ask(SESSION, 1, OpCode::Create, &create("/own"));
    let end = bench.now_ms + 8000;
    while bench.now_ms < end {
        bench.learner(ToLeader::Ping { zxid: 0, touched: vec![(theirs, 30_000)] });
        bench.wait_ms(500);
    }
    assert!(!bench.replica.can_take() && !bench.replica.to_close.is_empty());
    bench.input(Input::Peer(zab::Input::LearnerLost(LINK)));
    assert_eq!(bench.take_replies(), ["serving Nothing", "close 1 NotServing"]);
    bench.messages.clear();
    leads_again(&mut bench);
    bench.wait_ms(1);
    assert_eq!(proposals(&mut bench), []);
    assert_eq!(bench.take_replies(), ["serving Full"]);
    assert!(bench.replica.can_take());
}

#[test]
fn a_session_that_an_earlier_leader_began_is_this_ones_when_it_is_committed() {
    let mut bench = Bench::following();
    let begun = SessionId(0x0100_0000_0000_0001);
    let begin = transaction(zxid(1), begun, 0, OpCode::CreateSession, &30_000i32.to_be_bytes());
    bench.leader(ToLearner::Proposal(begin));
    bench.input(Input::Peer(zab::Input::LeaderLost(Attempt(1))));
    leads_again(&mut bench);
    assert_eq!(bench.replica.applied(), zxid(1));
    bench.messages.clear();
    bench.learner(request(begun, 1, OpCode::Create, create("/a")));
    assert_eq!(proposals(&mut bench), [(begun.0, OpCode::Create.code())]);
}

#[test]
fn what_is_committed_after_all_answers_nobody_who_was_sent_away() {
    let mut bench = Bench::leading();
    bench.reopen(CONNECTION);
    bench.ask(SESSION, 1, OpCode::Create, &create("/a"));
    bench.take_replies();
    bench.input(Input::Peer(zab::Input::LearnerLost(LINK)));
    assert_eq!(bench.take_replies(), ["serving Nothing"]);
    leads_again(&mut bench);
    assert_eq!((bench.replica.applied(), bench.take_replies()), (zxid(1), vec!["serving Full".to_owned()]));
}

/// Answers to SYNC have no number: the oldest one that was asked for is meant.
#[test]
fn what_was_asked_of_an_earlier_leader_is_not_answered_by_a_later_one() {
    let mut bench = Bench::following();
    let path = jute::to_bytes(&Some(std::borrow::Cow::Borrowed("/")));
    let other = ConnectionId { core: 0, number: 2 };
    for (connection, xid) in [(CONNECTION, 1), (other, 2)] {
        bench.reopen(connection);
        bench.leader(ToLearner::Revalidate { session: SESSION, valid: true });
        assert_eq!(bench.take_replies(), [format!("opened {SESSION}")]);
        bench.ask_together(&[(connection, SESSION, xid, OpCode::Sync, &path)]);
        if xid == 1 {
            bench.input(Input::Peer(zab::Input::LeaderLost(Attempt(1))));
            assert_eq!(bench.take_replies(), ["serving Nothing"]);
            bench = bench.follows();
        }
    }
    bench.leader(ToLearner::Sync);
    assert_eq!(bench.take_replies(), ["answer 2 err 0"]);
}

#[test]
fn what_a_learner_waited_for_in_an_earlier_epoch_is_not_said_in_a_later_one() {
    let mut bench = Bench::leading();
    bench.learner(request(SESSION, 1, OpCode::Create, create("/a")));
    bench.learner(request(SESSION, 2, OpCode::Sync, Vec::new()));
    bench.input(Input::Peer(zab::Input::LearnerLost(LINK)));
    bench.messages.clear();
    leads_again(&mut bench);
    assert_eq!(bench.replica.applied(), zxid(1));
    let told = bench.take_to_learner();
    assert!(!told.contains(&ToLearner::Sync), "{told:?}");
}

/// The connection that it came over is closed with all others, and nobody waits for its end any more.
#[test]
fn a_session_that_was_moving_between_cores_is_taken_back_at_once_by_a_later_leader() {
    let mut bench = Bench::leading();
    bench.replica.outboxes.push(Outbox::default());
    let elsewhere = |number| ConnectionId { core: 1, number };
    bench.reopen(CONNECTION);
    bench.reopen(elsewhere(2));
    assert_eq!(bench.take_replies(), [format!("opened {SESSION}"), "close 1 Moved".to_owned()]);
    bench.input(Input::Peer(zab::Input::LearnerLost(LINK)));
    leads_again(&mut bench);
    assert_eq!(bench.take_replies().last().map(String::as_str), Some("serving Full"));
    bench.reopen(elsewhere(3));
    assert_eq!(bench.take_replies(), [format!("opened {SESSION}")]);
}
