//! Readers without a quorum.

use super::*;

const OWN: SessionId = SessionId(0x0200_0000_0000_0001);
const OTHER: ConnectionId = ConnectionId { core: 0, number: 2 };

fn settings(local: bool) -> Settings {
    Settings { local_sessions_enabled: local, read_only_mode_enabled: true, ..Settings::default() }
}

/// A server that looked for a leader until it gave in.
fn alone(local: bool) -> Bench {
    let mut bench = Bench::with(settings(local));
    loop {
        bench.now_ms += 50;
        bench.input(Input::Tick { heard_all: true });
        let waited = bench.now_ms;
        match &bench.take_replies()[..] {
            [] => assert!(waited < 4000),
            replies => {
                assert_eq!(replies, ["serving ReadOnly"]);
                assert!((2900..3400).contains(&waited), "a tick of 3,000 ms, not {waited}");
                return bench;
            }
        }
    }
}

#[test]
fn readers_are_served_until_there_is_a_leader() {
    let mut bench = alone(true);
    assert!(!bench.replica.serves());
    bench.open(CONNECTION);
    assert_eq!(bench.take_replies(), [format!("opened {OWN}")]);
    let path = jute::to_bytes(&Some(std::borrow::Cow::Borrowed("/")));
    for (xid, op, body, error) in [
        (1, OpCode::Create, create("/a"), ErrorCode::NotReadOnly.code()),
        (2, OpCode::Create, create_with("/a", 1), ErrorCode::NotReadOnly.code()),
        (3, OpCode::Sync, path.clone(), ErrorCode::NotReadOnly.code()),
        (4, OpCode::Multi, Vec::new(), ErrorCode::NotReadOnly.code()),
        (5, OpCode::Reconfig, Vec::new(), ErrorCode::NotReadOnly.code()),
        (6, OpCode::GetEphemerals, path.clone(), 0),
        (7, OpCode::Exists, [&path[..], &[0]].concat(), 0),
    ] {
        bench.ask(OWN, xid, op, &body);
        assert_eq!(bench.take_replies(), [format!("answer {xid} err {error}")], "{op:?}");
    }
    // Its client may come back to it; and one that ends it has its answer.
    bench.come_back(OTHER, OWN);
    assert_eq!(bench.take_replies(), ["close 1 Moved".to_owned(), format!("opened {OWN}")]);
    bench.open(CONNECTION);
    bench.take_replies();
    bench.ask(SessionId(OWN.0 + 1), 1, OpCode::CloseSession, &[]);
    assert_eq!(bench.take_replies(), ["answer 1 err 0"]);
    bench.elected(3);
    assert_eq!(bench.take_replies(), ["serving Nothing"]);
    // The session is this server's also when it follows.
    let mut bench = bench.synchronised();
    bench.come_back(OTHER, OWN);
    assert_eq!(bench.take_replies(), [format!("opened {OWN}")]);
}

/// ZOOKEEPER-3526: sessions of readers moved the zxid that the next leader was told.
#[test]
fn readers_change_nothing_of_what_a_server_says_of_its_log() {
    let mut bench = Bench::with(settings(true)).follows();
    for n in 1..=3 {
        bench.leader(ToLearner::Proposal(transaction(zxid(n), SESSION, 1, OpCode::Error, &[0; 4])));
    }
    bench.leader(ToLearner::Commit(zxid(2)));
    let attempt = bench.replica.zab.attempt().expect("it follows");
    bench.input(Input::Peer(zab::Input::LeaderLost(attempt)));
    assert_eq!(bench.take_replies(), ["serving Nothing"]);
    while bench.take_replies() != ["serving ReadOnly"] {
        assert!(bench.now_ms < 10_000);
        bench.wait_ms(50);
    }
    for number in 0..5_u64 {
        bench.open(ConnectionId { number: 10 + number, ..CONNECTION });
        bench.ask(SessionId(OWN.0 + number.cast_signed()), 1, OpCode::CloseSession, &[]);
    }
    assert_eq!(bench.take_replies().len(), 10, "each is opened, and ends");
    bench.messages.clear();
    // Server 2 looks in its second round, and says so.
    bench.rounds += 1;
    bench.wait_ms(3000);
    let mut votes = bench.messages.iter().filter_map(|effect| match effect {
        zab::Effect::Notify(_, notification) => Some(notification.vote.zxid),
        _ => None,
    });
    assert!(votes.next().is_some_and(|vote| vote == zxid(3)) && votes.all(|vote| vote == zxid(3)));
    bench.elected(3);
    let attempt = bench.replica.zab.attempt().expect("it follows");
    bench.input(Input::Peer(zab::Input::Connected(attempt)));
    bench.messages.clear();
    bench.leader(ToLearner::LeaderInfo { epoch: Epoch(2), extended: true });
    let told = bench.take_to_leader();
    assert_eq!(told, [ToLeader::AckEpoch { current: Some(Epoch(1)), last: zxid(3) }]);
}

#[test]
fn who_needs_a_quorum_is_sent_away_and_not_told_that_a_session_is_over() {
    let mut bench = alone(true);
    bench.reopen(CONNECTION);
    assert_eq!(bench.take_replies(), ["close 1 NeedsQuorum"], "of the ensemble");
    bench.come_back(CONNECTION, SessionId(99));
    assert_eq!(bench.take_replies(), ["refused"], "of nobody");
    let last_seen = Zxid(9);
    bench.client(Request::Open { connection: CONNECTION, timeout_ms: 5000, last_seen });
    assert_eq!(bench.take_replies(), ["close 1 Behind"]);
    // Without local sessions nobody can be served.
    let mut bench = alone(false);
    bench.open(CONNECTION);
    bench.come_back(CONNECTION, SessionId(99));
    assert_eq!(bench.take_replies(), ["close 1 NeedsQuorum", "close 1 NeedsQuorum"]);
}

#[test]
fn nobody_is_served_without_a_quorum_where_that_is_not_asked_for() {
    let mut bench = Bench::with(Settings { local_sessions_enabled: true, ..Settings::default() });
    bench.now_ms += 60_000;
    bench.input(Input::Tick { heard_all: true });
    assert_eq!(bench.take_replies(), [""; 0]);
}
