//! Local sessions at a leader and at a learner.

use super::*;

const OWN: SessionId = SessionId(0x0200_0000_0000_0001);
const OTHER: ConnectionId = ConnectionId { core: 0, number: 2 };
const EPHEMERAL: i32 = 1;

fn settings(upgrading: bool) -> Settings {
    Settings {
        tick_ms: 100,
        local_sessions_enabled: true,
        local_sessions_upgrading_enabled: upgrading,
        ..Settings::default()
    }
}

fn multi(path: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for (op, flags) in [(OpCode::Create, 0), (OpCode::Create2, EPHEMERAL)] {
        op.code().write(&mut body);
        false.write(&mut body);
        (-1i32).write(&mut body);
        body.extend_from_slice(&create_with(&format!("{path}{flags}"), flags));
    }
    (-1i32).write(&mut body);
    true.write(&mut body);
    (-1i32).write(&mut body);
    body
}

/// Number and operation of each transaction that the learner was sent.
fn proposals(bench: &mut Bench) -> Vec<(i64, i32, OpCode)> {
    let of = |message| match message {
        ToLearner::Proposal(transaction) => {
            let header: TxnHeader = Reader::new(&transaction.bytes).read().expect("a transaction");
            Some((header.client_id, header.cxid, OpCode::from_code(header.op).expect("an operation")))
        }
        _ => None,
    };
    let all = bench.take_to_learner().into_iter().filter_map(of).collect();
    bench.learner(ToLeader::Ack(bench.replica.zab.last()));
    all
}

#[test]
fn a_local_session_begins_and_ends_without_a_transaction_and_is_none_of_other_servers() {
    for mut bench in [Bench::with(settings(true)).leads(true), Bench::with(settings(true)).follows()] {
        bench.open(CONNECTION);
        assert_eq!(bench.take_replies(), [format!("opened {OWN}")]);
        assert!(bench.messages.is_empty(), "{:?}", bench.messages);
        assert_eq!(bench.replica.sessions_on_disk(), [(SESSION, 5000)]);
        // Its client comes back, here.
        bench.come_back(OTHER, OWN);
        assert_eq!(bench.take_replies(), ["close 1 Moved".to_owned(), format!("opened {OWN}")]);
        bench.ask(OWN, 1, OpCode::Create, &create("/a"));
        assert_eq!(bench.take_replies(), ["close 1 Moved"]);
        bench.come_back(CONNECTION, OWN);
        bench.take_replies();
        bench.ask(OWN, 2, OpCode::CloseSession, &[]);
        assert_eq!(bench.take_replies(), ["answer 2 err 0"]);
        assert!(bench.messages.is_empty(), "{:?}", bench.messages);
        assert!(bench.replica.local.is_empty());
    }
    let mut bench = Bench::with(settings(true)).leads(true);
    bench.open(CONNECTION);
    bench.learner(ToLeader::Revalidate { session: OWN, timeout_ms: 5000 });
    assert_eq!(bench.take_to_learner(), [ToLearner::Revalidate { session: OWN, valid: false }]);
}

/// Its session may become one of the ensemble first, which takes two proposals: where the epoch has but one
/// left, the request waits for the next epoch, and the leader goes on meanwhile.
#[test]
fn a_request_of_a_local_session_waits_where_the_epoch_has_one_proposal_left() {
    let mut bench = Bench::in_epochs_of(4, settings(true)).leads(true);
    bench.open(CONNECTION);
    bench.reopen(OTHER);
    bench.take_replies();
    let [a, b, c, d] = ["/a", "/b", "/c", "/d"].map(create);
    let of_ensemble =
        [(1, &a), (2, &b), (3, &c)].map(|(xid, body)| (OTHER, SESSION, xid, OpCode::Create, &body[..]));
    let all = [&of_ensemble[..], &[(CONNECTION, OWN, 4, OpCode::Create, &d[..])]].concat();
    bench.ask_together(&all);
    assert_eq!(proposals(&mut bench).len(), 3);
    assert_eq!(bench.take_replies(), ["answer 1 err 0", "answer 2 err 0", "answer 3 err 0"]);
    assert!(!bench.replica.can_take(), "it is held");
    bench.wait_ms(1);
    bench.learner(ToLeader::AckEpoch { current: Some(Epoch(1)), last: zxid(3) });
    bench.learner(ToLeader::Ack(Zxid(2 << 32)));
    assert_eq!(proposals(&mut bench), [(OWN.0, 4, OpCode::Create)]);
    assert_eq!(bench.take_replies(), ["answer 4 err 0"]);
}

#[test]
fn a_local_session_that_is_silent_ends_by_this_servers_clock() {
    for mut bench in [Bench::with(settings(true)).leads(true), Bench::with(settings(true)).follows()] {
        bench.open(CONNECTION);
        bench.take_replies();
        let begun = bench.now_ms;
        let mut lived = None;
        for ms in (begun..begun + 20_000).step_by(100) {
            bench.now_ms = ms;
            if ms < begun + 4000 {
                bench.client(Request::Touch { session: OWN, at: Tick(ms) });
            }
            // The other servers live.
            match bench.replica.serving {
                Serving::Leader(_) => bench.learner(ToLeader::Ping { zxid: 0, touched: Vec::new() }),
                _ => bench.leader(ToLearner::Ping(0)),
            }
            bench.input(Input::Tick { heard_all: true });
            if bench.take_replies() == ["close 1 Expired"] {
                lived = Some(ms - begun);
                break;
            }
        }
        let lived = lived.expect("it expires");
        assert!((8900..9500).contains(&lived), "{lived}: timeout, lag and tick after the last sign of life");
        assert!(bench.replica.local.is_empty());
    }
}

#[test]
fn the_first_ephemeral_node_makes_a_local_session_one_of_the_ensemble() {
    for (op, body) in [(OpCode::Create2, create_with("/e", EPHEMERAL)), (OpCode::Multi, multi("/m"))] {
        let mut bench = Bench::with(settings(true)).leads(true);
        bench.open(CONNECTION);
        bench.ask(OWN, 1, OpCode::Create, &create("/a"));
        bench.ask(OWN, 2, op, &body);
        bench.ask(OWN, 3, op, &body);
        let id = OWN.0;
        let begun = (id, 0, OpCode::CreateSession);
        let mut expected = vec![(id, 1, OpCode::Create), begun, (id, 2, op)];
        // What fails in a multi is a transaction, too.
        let (failed, last) = match op {
            OpCode::Multi => (0, Some((id, 3, op))),
            _ => (ErrorCode::NodeExists.code(), None),
        };
        expected.extend(last);
        assert_eq!(proposals(&mut bench), expected);
        let answers = [format!("opened {OWN}"), "answer 1 err 0".into(), "answer 2 err 0".into()];
        assert_eq!(bench.take_replies(), [&answers[..], &[format!("answer 3 err {failed}")]].concat());
        assert_eq!(bench.replica.sessions_on_disk(), [(OWN, 5000), (SESSION, 5000)]);
        // From here on any server takes it.
        bench.learner(ToLeader::Revalidate { session: OWN, timeout_ms: 5000 });
        assert_eq!(bench.take_replies(), ["close 1 Moved"]);

        let mut bench = Bench::with(settings(true)).follows();
        bench.open(CONNECTION);
        bench.ask(OWN, 1, OpCode::Create, &create("/a"));
        bench.ask(OWN, 2, op, &body);
        bench.ask(OWN, 3, OpCode::CloseSession, &[]);
        let asked: Vec<(i32, i32)> = bench
            .take_to_leader()
            .iter()
            .filter_map(|message| match message {
                ToLeader::Request { xid, op, session: OWN, .. } => Some((*xid, *op)),
                _ => None,
            })
            .collect();
        let codes = |asked: [(i32, OpCode); 4]| asked.map(|(xid, op)| (xid, op.code()));
        let in_order = [(1, OpCode::Create), (0, OpCode::CreateSession), (2, op), (3, OpCode::CloseSession)];
        assert_eq!(asked, codes(in_order));
        // The transaction that begins it answers nobody.
        bench.take_replies();
        bench.leader(ToLearner::Proposal(transaction(zxid(1), OWN, 1, OpCode::Error, &[0; 4])));
        let begin = transaction(zxid(2), OWN, 0, OpCode::CreateSession, &5000i32.to_be_bytes());
        bench.leader(ToLearner::Proposal(begin));
        bench.leader(ToLearner::Commit(zxid(2)));
        assert_eq!(bench.take_replies(), ["answer 1 err 0"]);
        assert_eq!(bench.replica.sessions_on_disk(), [(OWN, 5000), (SESSION, 5000)]);
    }
}

#[test]
fn where_sessions_stay_local_they_get_no_ephemeral_node() {
    let refused = ErrorCode::EphemeralOnLocalSession.code();
    for mut bench in [Bench::with(settings(false)).leads(true), Bench::with(settings(false)).follows()] {
        bench.open(CONNECTION);
        bench.take_replies();
        bench.ask(OWN, 1, OpCode::Create, &create_with("/e", EPHEMERAL));
        assert_eq!(bench.take_replies(), [format!("answer 1 err {refused}")]);
        assert!(bench.messages.is_empty(), "{:?}", bench.messages);
        assert!(bench.replica.is_local(OWN));
    }
    // A leader hears of a learner's local session only that it is none of its own.
    let mut bench = Bench::with(settings(true)).leads(true);
    let theirs = SessionId(0x0100_0000_0000_0001);
    bench.learner(request(theirs, 1, OpCode::Create, create("/a")));
    assert_eq!(bench.proposal().0.op, OpCode::Create.code());
    let expired = ErrorCode::SessionExpired.code();
    bench.learner(request(theirs, 2, OpCode::Create, create_with("/e", EPHEMERAL)));
    let (_, bytes) = bench.proposal();
    assert_eq!(jute::from_bytes::<ErrorTxn>(&bytes[32..]).unwrap().err, expired);
    bench.learner(request(theirs, 3, OpCode::Multi, multi("/m")));
    let (header, bytes) = bench.proposal();
    assert_eq!(header.op, OpCode::Multi.code());
    assert!(bytes.windows(4).any(|four| four == expired.to_be_bytes()), "{bytes:02x?}");
    // One of its own that it does not know is over.
    bench.learner(request(SessionId(OWN.0 + 99), 4, OpCode::Create, create("/b")));
    let (_, bytes) = bench.proposal();
    assert_eq!(jute::from_bytes::<ErrorTxn>(&bytes[32..]).unwrap().err, expired);
}

#[test]
fn a_local_session_outlives_the_loss_of_the_leader() {
    let mut bench = Bench::with(settings(true)).follows();
    bench.open(CONNECTION);
    bench.take_replies();
    bench.input(Input::Peer(zab::Input::LeaderLost(Attempt(1))));
    assert_eq!(bench.take_replies(), ["serving Nothing"]);
    // However long that takes.
    bench.now_ms += 60_000;
    bench.input(Input::Tick { heard_all: true });
    bench.elected(3);
    let mut bench = bench.synchronised();
    bench.input(Input::Tick { heard_all: true });
    bench.come_back(OTHER, OWN);
    assert_eq!(bench.take_replies(), [format!("opened {OWN}")]);
}
