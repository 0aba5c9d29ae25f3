//! What a leader says of sessions that end, and that clients come back to.

use super::*;

const EPHEMERAL: i32 = 1;

/// Its leader proposes and commits what another server was told as a learner of it.
fn learns(bench: &mut Bench, told: &[ToLearner]) {
    for message in told.iter().filter(|message| matches!(message, ToLearner::Proposal(_))) {
        bench.leader(message.clone());
    }
    let newest = bench.replica.zab.last();
    bench.leader(ToLearner::Commit(newest));
}

/// Asks as the learner, and acks what that is answered with; returns what the learner was told.
fn asks(leader: &mut Bench, xid: i32, op: OpCode, body: Vec<u8>) -> Vec<ToLearner> {
    leader.learner(request(SESSION, xid, op, body));
    let told = leader.take_to_learner();
    leader.learner(ToLeader::Ack(leader.replica.zab.last()));
    told
}

/// ZOOKEEPER-4306: the end of a session with ever so many ephemeral nodes was a transaction that no server could
/// read back.
#[test]
fn a_leader_ends_a_session_of_many_ephemeral_nodes_by_a_short_transaction_that_ends_them_at_a_learner() {
    let bytes_max = 4000;
    let settings = Settings { transaction_bytes_max: bytes_max, ..Settings::default() };
    let (mut leader, mut learner) = (Bench::with(settings).leads(true), Bench::following());
    for number in 0..100 {
        let body = create_with(&format!("/{number:0100}"), EPHEMERAL);
        learns(&mut learner, &asks(&mut leader, number + 1, OpCode::Create, body));
    }
    let ephemerals = |bench: &Bench| bench.replica.database.tree.ephemerals().count();
    assert_eq!([&leader, &learner].map(ephemerals), [100, 100]);
    let told = asks(&mut leader, 101, OpCode::CloseSession, Vec::new());
    let length = |message: &ToLearner| match message {
        ToLearner::Proposal(transaction) => Some(transaction.bytes.len()),
        _ => None,
    };
    let lengths: Vec<usize> = told.iter().filter_map(length).collect();
    assert!(matches!(lengths[..], [length] if length <= bytes_max), "{lengths:?}");
    learns(&mut learner, &told);
    assert_eq!([&leader, &learner].map(ephemerals), [0, 0]);
    assert_eq!(leader.replica.applied(), learner.replica.applied());
}

#[test]
fn a_session_that_is_about_to_end_is_not_taken_up_again() {
    let mut bench = Bench::leading();
    let asks = ToLeader::Revalidate { session: SESSION, timeout_ms: 5000 };
    // Its end is proposed, and nobody has acked it.
    bench.learner(request(SESSION, 1, OpCode::CloseSession, Vec::new()));
    bench.messages.clear();
    bench.learner(asks);
    assert_eq!(bench.take_to_learner(), [ToLearner::Revalidate { session: SESSION, valid: false }]);
    bench.reopen(CONNECTION);
    // What it asked for late fails, and is said to the learner, which waits for it.
    bench.learner(request(SESSION, 2, OpCode::Create, create("/a")));
    let (header, bytes) = bench.proposal();
    let error = jute::from_bytes::<ErrorTxn>(&bytes[32..]).expect("an error");
    assert_eq!((header.cxid, error.err), (2, ErrorCode::SessionExpired.code()));
    assert_eq!(bench.take_replies(), ["refused"]);
}

/// When the leader ends a session that shows no sign of life any more, from now on.
fn lives_for(bench: &mut Bench) -> u64 {
    let begun = bench.now_ms;
    loop {
        bench.now_ms += 100;
        // The learner lives.
        bench.learner(ToLeader::Ping { zxid: 0, touched: Vec::new() });
        bench.input(Input::Tick { heard_all: true });
        let told = bench.take_to_learner();
        if told.iter().any(|message| matches!(message, ToLearner::Proposal(_))) {
            return bench.now_ms - begun;
        }
        assert!(bench.now_ms < begun + 60_000, "it does not expire");
    }
}

#[test]
fn who_comes_back_through_a_learner_has_the_whole_timeout_again_and_the_one_it_asks_for() {
    for timeout_ms in [5000, 12_000] {
        let mut bench = Bench::leading();
        bench.now_ms += 4000;
        bench.learner(ToLeader::Revalidate { session: SESSION, timeout_ms });
        bench.take_to_learner();
        let (least, lived) = (timeout_ms as u64, lives_for(&mut bench));
        assert!((least..least + 2600).contains(&lived), "{lived} of {least}: timeout, lag and tick");
    }
}

#[test]
fn a_session_that_began_through_a_learner_is_that_learners() {
    let mut bench = Bench::leading();
    let begun = SessionId(0x0100_0000_0000_0001);
    bench.learner(request(begun, 0, OpCode::CreateSession, 4000i32.to_be_bytes().to_vec()));
    bench.proposal();
    let another = request(begun, 1, OpCode::Create, create("/a"));
    bench.replica.on_from_learner(at(bench.now_ms), Link(LINK.0 + 1), another);
    bench.settle();
    let (header, bytes) = bench.proposal();
    let error = jute::from_bytes::<ErrorTxn>(&bytes[32..]).expect("an error");
    assert_eq!((header.cxid, error.err), (1, ErrorCode::SessionMoved.code()));
    bench.learner(request(begun, 1, OpCode::Create, create("/a")));
    assert_eq!(bench.proposal().0.op, OpCode::Create.code());
}

/// What waits for the next epoch is proposed before what comes when it has just begun.
#[test]
fn a_learners_requests_keep_their_order_over_the_end_of_an_epoch() {
    let mut bench = Bench::in_epochs_of(4, Settings::default()).leads(true);
    let asks = |xid: i32| request(SESSION, xid, OpCode::Create, create(&format!("/{xid}")));
    (1..=6).for_each(|xid| bench.learner(asks(xid)));
    bench.learner(ToLeader::Ack(zxid(4)));
    bench.wait_ms(1);
    bench.learner(ToLeader::AckEpoch { current: Some(Epoch(1)), last: zxid(4) });
    let mut out = Vec::new();
    for message in [ToLeader::Ack(Zxid(2 << 32)), asks(7)] {
        let input = Input::Peer(zab::Input::FromLearner(LINK, message));
        bench.replica.step(at(bench.now_ms), input, &mut out);
    }
    bench.take(out);
    bench.settle();
    let xid_of = |message: ToLearner| match message {
        ToLearner::Proposal(transaction) => Reader::new(&transaction.bytes).read::<TxnHeader>().ok(),
        _ => None,
    };
    let proposed = bench.take_to_learner().into_iter().filter_map(xid_of);
    assert_eq!(proposed.map(|header| header.cxid).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
}
