//! A leader's and a learner's part, step by step: what a replica of an ensemble of three is told, and what
//! it does then. The other servers are only their messages.

use super::*;
use crate::message::{Batch, Forwarded, LearnerInfo, Notification, PeerState, Round, ToLearner, Vote};
use crate::step::{CloseReason, Reply, Request};
use crate::zab::Attempt;
use bytes::Bytes;
use ringkeeper_engine::error::ErrorCode;
use ringkeeper_engine::id::Epoch;
use ringkeeper_engine::jute::records::{ErrorTxn, SetDataRequest, TxnHeader};
use ringkeeper_engine::jute::{self, Reader, Write};
use ringkeeper_engine::log::{self, DatabaseId, LogWrite, Sequence, Tail};
use ringkeeper_engine::op::OpCode;
use ringkeeper_engine::session::password;
use ringkeeper_engine::tree::acl::AclList;

mod installing;
mod local;
mod readers;
mod roles;
mod sessions;
mod syncs;

const SESSION: SessionId = SessionId(0x0300_0000_0000_0007);
const LINK: Link = Link(5);
const CONNECTION: ConnectionId = ConnectionId { core: 0, number: 1 };

fn at(ms: u64) -> Now {
    Now { tick: Tick(ms), us: ms * 1000, wall_ms: ms as i64 }
}

const ENOSPC: i32 = 28;
const EMFILE: i32 = 24;

/// One replica, and what it asked for.
struct Bench {
    replica: Replica,
    now_ms: u64,
    messages: Vec<zab::Effect>,
    replies: Vec<String>,
    changes: Vec<String>,
    /// Whether writes of the log stay under way.
    disk_hangs: bool,
    /// With what the kernel refuses to put anything but them on the disk.
    refused_with: Option<i32>,
    notices: Vec<String>,
    writing: Vec<LogWrite>,
    /// Elections so far.
    rounds: i64,
}

impl Bench {
    /// Server 2 of three, which knows one session, with an empty log.
    fn new() -> Bench {
        Bench::with(Settings::default())
    }

    fn with(settings: Settings) -> Bench {
        Bench::in_epochs_of(u32::MAX, settings)
    }

    fn in_epochs_of(epoch_transactions_max: u32, settings: Settings) -> Bench {
        let mut database = Database::new(1);
        database.sessions.insert(SESSION, 5000);
        let log =
            LogWriter::new(log::Settings::default(), DatabaseId(1), Tail::origin(Zxid::ZERO, Sequence(1)));
        let config = ReplicaConfig {
            settings: Arc::new(settings),
            server: ServerId(2),
            cores: 1,
            first_session: SessionId(0x0200_0000_0000_0001),
            rules: Rules::default(),
            logged_bytes_max: LOGGED_BYTES_MAX,
            seed: 1,
        };
        let servers = (1..4).map(|id| format!("server.{id}=localhost:200{id}:300{id}\n")).collect::<String>();
        let zab_config = zab::Config {
            me: ServerId(2),
            members: Members::parse(&servers).expect("a configuration"),
            next_members: None,
            timing: Timing::default(),
            window_bytes: 8 << 20,
            epoch_transactions_max,
            reconfig_enabled: false,
        };
        let data = (database, Vec::new());
        let mut replica = Replica::in_ensemble(config, zab_config, Epochs::default(), data, log, at(0));
        let mut out = Vec::new();
        replica.start(at(0), &mut out);
        let (messages, replies, changes) = (Vec::new(), Vec::new(), Vec::new());
        let mut bench = Bench {
            replica,
            now_ms: 1,
            messages,
            replies,
            changes,
            rounds: 0,
            disk_hangs: false,
            refused_with: None,
            notices: Vec::new(),
            writing: Vec::new(),
        };
        bench.take(out);
        bench.settle();
        bench
    }

    fn leading() -> Bench {
        Bench::leading_a(true)
    }

    /// Leads a Ringkeeper, or a Java server.
    fn leading_a(extended: bool) -> Bench {
        Bench::new().leads(extended)
    }

    fn following() -> Bench {
        Bench::new().follows()
    }

    fn leads(mut self, extended: bool) -> Bench {
        let bench = &mut self;
        bench.elected(2);
        let info = LearnerInfo { server: ServerId(1), config_version: 0, extended };
        bench.learner(ToLeader::FollowerInfo { accepted: Epoch(0), info });
        bench.learner(ToLeader::AckEpoch { current: Some(Epoch(0)), last: Zxid::ZERO });
        bench.learner(ToLeader::Ack(Zxid(1 << 32)));
        assert_eq!(bench.take_replies(), ["serving Full"]);
        bench.messages.clear();
        self
    }

    fn follows(mut self) -> Bench {
        self.elected(3);
        self.synchronised()
    }

    /// It has found its leader, and follows it in the next epoch.
    fn synchronised(mut self) -> Bench {
        let epoch = Epoch(self.replica.zab.epochs().accepted.0 + 1);
        let bench = &mut self;
        let attempt = bench.replica.zab.attempt().expect("it follows");
        bench.input(Input::Peer(zab::Input::Connected(attempt)));
        bench.leader(ToLearner::LeaderInfo { epoch, extended: true });
        bench.leader(ToLearner::Diff(Zxid::ZERO));
        bench.leader(ToLearner::NewLeader { epoch, members: None });
        assert!(!bench.replica.serves(), "the epoch is not established");
        bench.leader(ToLearner::UpToDate);
        assert_eq!(bench.take_replies(), ["serving Full"]);
        bench.messages.clear();
        self
    }

    fn elected(&mut self, leader: u8) {
        let vote = Vote { epoch: Epoch(9), zxid: Zxid::ZERO, leader: Some(ServerId(leader)) };
        self.rounds += 1;
        for from in [1, 3].map(ServerId) {
            let (round, state) = (Round(self.rounds), PeerState::Looking);
            let notification = Notification { vote, round, state, version: 2, members: None };
            self.input(Input::Peer(zab::Input::Notification { from, notification }));
        }
    }

    fn input(&mut self, input: Input) {
        let mut out = Vec::new();
        self.now_ms += 1;
        self.replica.step(at(self.now_ms), input, &mut out);
        self.take(out);
        self.settle();
    }

    /// Does what its disk is asked for until there is nothing more.
    fn settle(&mut self) {
        loop {
            let mut out = Vec::new();
            self.now_ms += 1;
            self.replica.flush(at(self.now_ms), &mut out);
            if !self.take(out) {
                break;
            }
        }
    }

    fn take(&mut self, out: Vec<Effect>) -> bool {
        let busy = !out.is_empty();
        for effect in out {
            let done = match effect {
                Effect::Write(write) if self.disk_hangs => {
                    self.writing.push(write);
                    continue;
                }
                Effect::Write(write) => Input::Written(write, Ok(())),
                Effect::Upkeep(step) => Input::Upkeep(step, Ok(())),
                Effect::Mark(_) => Input::Marked(Ok(())),
                Effect::PersistEpochs(epochs) => Input::EpochsPersisted(self.space_for(epochs)),
                Effect::Install { zxid, .. } => {
                    self.changes.push(format!("install {zxid}"));
                    Input::Installed(self.space_for(()))
                }
                Effect::Peer(effect) => {
                    self.messages.push(effect);
                    continue;
                }
                Effect::Deliver { batch, .. } => {
                    let told = batch.items.iter().filter_map(|item| show(item, &batch.bytes));
                    self.replies.extend(told);
                    continue;
                }
                Effect::Notice(text) => {
                    self.notices.push(text);
                    continue;
                }
                other => panic!("{other:?}"),
            };
            self.input(done);
        }
        busy
    }

    fn space_for<T>(&self, done: T) -> Result<T, IoFailure> {
        match self.refused_with {
            errno @ Some(_) => Err(IoFailure { errno, message: "why".to_owned() }),
            None => Ok(done),
        }
    }

    /// Lets so much time pass.
    fn wait_ms(&mut self, ms: u64) {
        self.now_ms += ms;
        self.input(Input::Tick { heard_all: true });
    }

    fn leader(&mut self, message: ToLearner) {
        let attempt = self.replica.zab.attempt().expect("it follows");
        self.input(Input::Peer(zab::Input::FromLeader(attempt, message)));
    }

    fn learner(&mut self, message: ToLeader) {
        self.input(Input::Peer(zab::Input::FromLearner(LINK, message)));
    }

    fn client(&mut self, item: Request) {
        self.input(Input::Requests(RequestBatch { items: vec![item], ..RequestBatch::default() }));
    }

    fn ask(&mut self, session: SessionId, xid: i32, op: OpCode, record: &[u8]) {
        self.ask_together(&[(CONNECTION, session, xid, op, record)]);
    }

    /// Requests that come in one batch.
    fn ask_together(&mut self, requests: &[(ConnectionId, SessionId, i32, OpCode, &[u8])]) {
        let mut batch = RequestBatch::default();
        for (connection, session, xid, op, record) in requests.iter().copied() {
            let body = batch.body(record);
            let auth = batch.auth(&(Arc::new([]) as Arc<[_]>));
            batch.items.push(Request::Ordered { connection, session, xid, op, body, auth });
        }
        self.input(Input::Requests(batch));
    }

    fn open(&mut self, connection: ConnectionId) {
        self.client(Request::Open { connection, timeout_ms: 5000, last_seen: Zxid::ZERO });
    }

    fn reopen(&mut self, connection: ConnectionId) {
        self.come_back(connection, SESSION);
    }

    fn come_back(&mut self, connection: ConnectionId, session: SessionId) {
        let (timeout_ms, last_seen) = (5000, Zxid::ZERO);
        let password = password(session);
        self.client(Request::Reopen { connection, session, password, timeout_ms, last_seen });
    }

    fn take_replies(&mut self) -> Vec<String> {
        std::mem::take(&mut self.replies)
    }

    /// What the leader was told since the last time, but for acks; requests one by one.
    fn take_to_leader(&mut self) -> Vec<ToLeader> {
        let messages = std::mem::take(&mut self.messages).into_iter();
        let to_leader = messages.flat_map(|effect| match effect {
            zab::Effect::ToLeader(_, ToLeader::Ack(_)) => Vec::new(),
            zab::Effect::ToLeader(_, ToLeader::Requests(requests)) => requests.iter().map(one).collect(),
            zab::Effect::ToLeader(_, message) => vec![message],
            _ => Vec::new(),
        });
        to_leader.collect()
    }

    /// What the learner was told since the last time; proposals one by one.
    fn take_to_learner(&mut self) -> Vec<ToLearner> {
        let messages = std::mem::take(&mut self.messages).into_iter();
        let to_learner = messages.flat_map(|effect| match effect {
            zab::Effect::ToLearner(_, ToLearner::Proposals(batch)) => {
                batch.into_transactions().map(ToLearner::Proposal).collect()
            }
            zab::Effect::ToLearner(_, message) => vec![message],
            _ => Vec::new(),
        });
        to_learner.collect()
    }

    /// The transaction that the learner was sent, and its number, acked by the learner.
    fn proposal(&mut self) -> (TxnHeader, Bytes) {
        let mut messages = self.take_to_learner();
        messages.retain(|message| !matches!(message, ToLearner::Commit(_)));
        let [ToLearner::Proposal(transaction)] = &messages[..] else { panic!("{messages:?}") };
        let header: TxnHeader = Reader::new(&transaction.bytes).read().expect("a transaction");
        let zxid = transaction.zxid;
        let bytes = transaction.bytes.clone();
        self.learner(ToLeader::Ack(zxid));
        (header, bytes)
    }
}

/// The request as Java's learners send it.
fn one(request: Forwarded<'_>) -> ToLeader {
    let Forwarded { session, xid, op, body, auth } = request;
    ToLeader::Request { session, xid, op, body: Bytes::copy_from_slice(body), auth: Some(auth.to_vec()) }
}

fn show(item: &Reply, bytes: &[u8]) -> Option<String> {
    Some(match item {
        Reply::Answer { frame, .. } => {
            let mut reader = Reader::new(&bytes[frame.clone()][4..]);
            let (xid, _, err): (i32, i64, i32) =
                (reader.read().ok()?, reader.read().ok()?, reader.read().ok()?);
            format!("answer {xid} err {err}")
        }
        Reply::Opened { session, .. } => format!("opened {session}"),
        Reply::Refused { .. } => "refused".to_owned(),
        Reply::Close { connection, reason } => format!("close {} {reason:?}", connection.number),
        Reply::Serving(serving) => format!("serving {serving:?}"),
        Reply::Tree(_) => "tree".to_owned(),
        _ => return None,
    })
}

fn create(path: &str) -> Vec<u8> {
    create_with(path, 0)
}

fn create_with(path: &str, flags: i32) -> Vec<u8> {
    let mut body = Vec::new();
    path.write(&mut body);
    Some(&b""[..]).write(&mut body);
    body.extend_from_slice(&AclList::open().bytes);
    flags.write(&mut body);
    body
}

fn request(session: SessionId, xid: i32, op: OpCode, body: Vec<u8>) -> ToLeader {
    ToLeader::Request { session, xid, op: op.code(), body: body.into(), auth: None }
}

/// A transaction of another server, without what it does.
fn transaction(zxid: Zxid, session: SessionId, xid: i32, op: OpCode, record: &[u8]) -> Transaction {
    let header = TxnHeader { client_id: session.0, cxid: xid, zxid: zxid.to_jute(), time: 0, op: op.code() };
    let mut bytes = jute::to_bytes(&header);
    bytes.extend_from_slice(record);
    Transaction { zxid, bytes: bytes.into() }
}

const fn zxid(counter: u64) -> Zxid {
    Zxid(1 << 32 | counter)
}

#[test]
fn what_a_learner_forwards_becomes_a_transaction_also_if_it_fails() {
    let mut bench = Bench::leading();
    bench.learner(request(SESSION, 1, OpCode::Create, create("/a")));
    let (header, _) = bench.proposal();
    assert_eq!((header.client_id, header.cxid, header.op), (SESSION.0, 1, OpCode::Create.code()));
    for (xid, op, body, error) in [
        (2, OpCode::Create, create("/a"), ErrorCode::NodeExists),
        (3, OpCode::GetData, Vec::new(), ErrorCode::Unimplemented),
        (4, OpCode::SetData, Vec::new(), ErrorCode::MarshallingError),
    ] {
        bench.learner(request(SESSION, xid, op, body));
        let (header, bytes) = bench.proposal();
        let ErrorTxn { err } = jute::from_bytes(&bytes[32..]).expect("an error");
        assert_eq!((header.cxid, header.op, err), (xid, OpCode::Error.code(), error.code()));
    }
    // A session that nobody knows, and one whose client has moved to the leader.
    bench.learner(request(SessionId(99), 1, OpCode::Create, create("/b")));
    let (_, bytes) = bench.proposal();
    assert_eq!(jute::from_bytes::<ErrorTxn>(&bytes[32..]).unwrap().err, ErrorCode::SessionExpired.code());
    bench.reopen(CONNECTION);
    assert_eq!(bench.take_replies(), [format!("opened {SESSION}")]);
    bench.learner(request(SESSION, 5, OpCode::Create, create("/b")));
    let (_, bytes) = bench.proposal();
    assert_eq!(jute::from_bytes::<ErrorTxn>(&bytes[32..]).unwrap().err, ErrorCode::SessionMoved.code());
}

#[test]
fn a_sync_is_answered_behind_what_was_proposed_before_it_and_before_what_came_later() {
    for extended in [true, false] {
        let mut bench = Bench::leading_a(extended);
        bench.learner(request(SESSION, 1, OpCode::Sync, Vec::new()));
        assert_eq!(bench.take_to_learner(), [ToLearner::Sync], "nothing is under way");
        for (xid, op) in [(2, OpCode::Create), (3, OpCode::Sync), (4, OpCode::Create)] {
            bench.learner(request(SESSION, xid, op, create(&format!("/{xid}"))));
        }
        bench.learner(ToLeader::Ack(zxid(1)));
        bench.learner(ToLeader::Ack(zxid(2)));
        let mut told = bench.take_to_learner();
        told.retain(|message| !matches!(message, ToLearner::Proposal(_)));
        let (first, second) = (ToLearner::Commit(zxid(1)), ToLearner::Commit(zxid(2)));
        told.dedup();
        assert_eq!(told, [first, ToLearner::Sync, second]);
    }
}

#[test]
fn a_learner_that_is_a_quorum_with_the_leader_hears_of_a_commit_before_its_ack_unless_it_is_javas() {
    for extended in [true, false] {
        let mut bench = Bench::leading_a(extended);
        bench.learner(request(SESSION, 1, OpCode::Create, create("/a")));
        let commit = ToLearner::Commit(zxid(1));
        let told = bench.take_to_learner();
        assert_eq!(told.contains(&commit), extended, "the leader's disk has it");
        assert_eq!(bench.replica.applied(), Zxid::ZERO, "no quorum has it, as far as the leader knows");
        bench.learner(ToLeader::Ack(zxid(1)));
        assert_eq!(bench.take_to_learner().contains(&commit), !extended, "said once");
        assert_eq!(bench.replica.applied(), zxid(1));
    }
}

#[test]
fn sessions_are_the_leaders_and_live_while_a_learner_says_so() {
    let mut bench = Bench::leading();
    let mine = SessionId(0x0100_0000_0000_0001);
    bench.learner(request(mine, 0, OpCode::CreateSession, 4000i32.to_be_bytes().to_vec()));
    let (header, _) = bench.proposal();
    assert_eq!((header.client_id, header.op), (mine.0, OpCode::CreateSession.code()));
    for (session, valid) in [(mine, true), (SessionId(99), false)] {
        bench.messages.clear();
        bench.learner(ToLeader::Revalidate { session, timeout_ms: 4000 });
        assert_eq!(bench.take_to_learner(), [ToLearner::Revalidate { session, valid }]);
    }
    for ms in (bench.now_ms..20_000).step_by(500) {
        bench.now_ms = ms;
        bench.learner(ToLeader::Ping { zxid: 0, touched: vec![(mine, 4000)] });
        bench.input(Input::Tick { heard_all: true });
    }
    let proposals = bench.take_to_learner().into_iter().filter_map(|message| match message {
        ToLearner::Proposal(transaction) => Reader::new(&transaction.bytes).read::<TxnHeader>().ok(),
        _ => None,
    });
    let closed: Vec<(i64, i32)> = proposals.map(|header| (header.client_id, header.op)).collect();
    assert_eq!(closed, [(SESSION.0, OpCode::CloseSession.code())], "of the silent one alone");
}

#[test]
fn a_learner_forwards_and_answers_in_the_order_of_its_clients_requests() {
    let mut bench = Bench::following();
    bench.client(Request::Open { connection: CONNECTION, timeout_ms: 5000, last_seen: Zxid::ZERO });
    let own = SessionId(0x0200_0000_0000_0001);
    let body = Bytes::from_static(&[0, 0, 0x13, 0x88]);
    let (op, auth) = (OpCode::CreateSession.code(), Some(Vec::new()));
    assert_eq!(bench.take_to_leader(), [ToLeader::Request { session: own, xid: 0, op, body, auth }]);
    let begin = transaction(zxid(1), own, 0, OpCode::CreateSession, &5000i32.to_be_bytes());
    bench.leader(ToLearner::Proposal(begin));
    assert_eq!(bench.take_replies(), [""; 0], "proposed is not committed");
    bench.leader(ToLearner::Commit(zxid(1)));
    assert_eq!(bench.take_replies(), [format!("opened {own}")]);

    let path = jute::to_bytes(&Some(std::borrow::Cow::Borrowed("/")));
    bench.ask(own, 1, OpCode::Create, &create("/a"));
    bench.ask(own, 2, OpCode::Sync, &path);
    bench.ask(own, 3, OpCode::Delete, b"nonsense");
    let asked: Vec<i32> = bench.take_to_leader().iter().filter_map(xid_of).collect();
    assert_eq!(asked, [1, 2, 3], "it decides nothing itself");
    // Another session's transaction of the same number answers nobody here.
    bench.leader(ToLearner::Proposal(transaction(zxid(2), SESSION, 1, OpCode::Error, &[0; 4])));
    bench.leader(ToLearner::Proposal(transaction(zxid(3), own, 1, OpCode::Error, &(-101i32).to_be_bytes())));
    let marshalling = ErrorCode::MarshallingError.code().to_be_bytes();
    bench.leader(ToLearner::Proposal(transaction(zxid(4), own, 3, OpCode::Error, &marshalling)));
    bench.leader(ToLearner::Commit(zxid(3)));
    assert_eq!(bench.take_replies(), ["answer 1 err -101"]);
    bench.leader(ToLearner::Sync);
    assert_eq!(bench.take_replies(), ["answer 2 err 0"]);
    bench.leader(ToLearner::Commit(zxid(4)));
    assert_eq!(bench.take_replies(), ["answer 3 err -5"]);
    // The leader ends the session.
    bench.leader(ToLearner::Proposal(transaction(zxid(5), own, 0, OpCode::CloseSession, &[0; 4])));
    bench.leader(ToLearner::Commit(zxid(5)));
    assert_eq!(bench.take_replies(), ["close 1 Expired"]);
}

fn xid_of(message: &ToLeader) -> Option<i32> {
    match message {
        ToLeader::Request { xid, .. } => Some(*xid),
        _ => None,
    }
}

/// What is committed is applied once this server has it on disk, which may be behind the leader's answer.
#[test]
fn a_sync_is_answered_behind_what_was_asked_before_it_and_is_applied_late() {
    // Also where nothing of the session's own is before it, but what others wrote.
    for (writer, answers) in
        [(SESSION, &["answer 1 err 0", "answer 2 err 0"][..]), (SessionId(9), &["answer 2 err 0"])]
    {
        let mut bench = Bench::following();
        bench.reopen(CONNECTION);
        bench.leader(ToLearner::Revalidate { session: SESSION, valid: true });
        bench.take_replies();
        if writer == SESSION {
            bench.ask(SESSION, 1, OpCode::Create, &create("/a"));
        }
        bench.ask(SESSION, 2, OpCode::Sync, &jute::to_bytes(&Some(std::borrow::Cow::Borrowed("/"))));
        bench.disk_hangs = true;
        let error =
            |zxid, session, xid| ToLearner::Proposal(transaction(zxid, session, xid, OpCode::Error, &[0; 4]));
        bench.leader(error(zxid(1), writer, 1));
        bench.leader(error(zxid(2), SessionId(9), 7));
        bench.leader(ToLearner::Commit(zxid(2)));
        bench.leader(ToLearner::Sync);
        assert_eq!(bench.take_replies(), [""; 0]);
        while let Some(write) = bench.writing.pop() {
            bench.input(Input::Written(write, Ok(())));
        }
        assert_eq!(bench.take_replies(), answers);
    }
}

#[test]
fn a_learner_asks_the_leader_about_sessions_and_says_who_is_alive() {
    let mut bench = Bench::following();
    let other = ConnectionId { core: 0, number: 2 };
    bench.reopen(CONNECTION);
    bench.reopen(other);
    let asks = ToLeader::Revalidate { session: SESSION, timeout_ms: 5000 };
    assert_eq!(bench.take_to_leader(), [asks.clone(), asks]);
    assert_eq!(bench.take_replies(), ["close 1 Moved"], "the client came twice");
    bench.leader(ToLearner::Revalidate { session: SESSION, valid: true });
    assert_eq!(bench.take_replies(), [format!("opened {SESSION}")]);
    // Who comes later and is not known to the leader gets nothing, and disturbs nobody.
    bench.reopen(CONNECTION);
    bench.leader(ToLearner::Revalidate { session: SESSION, valid: false });
    assert_eq!(bench.take_replies(), ["refused"]);
    bench.take_to_leader();
    bench.client(Request::Touch { session: SESSION, at: Tick(bench.now_ms) });
    bench.client(Request::Touch { session: SessionId(99), at: Tick(bench.now_ms) });
    for touched in [vec![(SESSION, 5000)], vec![]] {
        bench.leader(ToLearner::Ping(7));
        assert_eq!(bench.take_to_leader(), [ToLeader::Ping { zxid: 7, touched }]);
    }
    // A request over a connection that has no session here is not forwarded.
    bench.ask(SESSION, 1, OpCode::Create, &create("/a"));
    assert_eq!(bench.take_replies(), ["close 1 Moved"]);
    assert_eq!(bench.take_to_leader(), []);
}

#[test]
fn who_loses_its_leader_or_its_quorum_serves_nobody_and_answers_nothing() {
    let mut bench = Bench::following();
    bench.reopen(CONNECTION);
    bench.leader(ToLearner::Revalidate { session: SESSION, valid: true });
    bench.ask(SESSION, 1, OpCode::Create, &create("/a"));
    bench.take_replies();
    bench.input(Input::Peer(zab::Input::LeaderLost(Attempt(1))));
    assert_eq!(bench.take_replies(), ["serving Nothing"]);
    bench.ask(SESSION, 2, OpCode::Create, &create("/b"));
    bench.client(Request::Open { connection: CONNECTION, timeout_ms: 5000, last_seen: Zxid::ZERO });
    assert_eq!(bench.take_replies(), ["close 1 NotServing", "close 1 NotServing"]);

    let mut bench = Bench::leading();
    bench.reopen(CONNECTION);
    bench.ask(SESSION, 1, OpCode::Create, &create("/a"));
    bench.take_replies();
    bench.input(Input::Peer(zab::Input::LearnerLost(LINK)));
    assert_eq!(bench.take_replies(), ["serving Nothing"], "it may be committed, or not");
    assert_eq!(bench.replica.applied(), Zxid::ZERO);
}

#[test]
fn a_tree_that_the_leader_sent_is_served_once_it_is_of_one_moment_and_on_disk() {
    let mut bench = Bench::new();
    bench.elected(3);
    bench.input(Input::Peer(zab::Input::Connected(Attempt(1))));
    bench.leader(ToLearner::LeaderInfo { epoch: Epoch(1), extended: true });
    bench.leader(ToLearner::Snap(Zxid(9)));
    let mut database = Database::new(2);
    database.last = Zxid(9);
    // It shows more than it says.
    let tree = Box::new(StagedTree { database, newest: Zxid(10) });
    bench.input(Input::Staged(Attempt(1), tree));
    assert_eq!(bench.changes, ["install 0x9"]);
    assert_eq!(bench.replica.log().durable(), Zxid(9), "the log begins anew behind it");
    assert_eq!(bench.take_replies(), ["tree"]);
    bench.leader(ToLearner::Proposal(transaction(Zxid(10), SESSION, 1, OpCode::Error, &[0; 4])));
    bench.leader(ToLearner::NewLeader { epoch: Epoch(1), members: None });
    bench.leader(ToLearner::UpToDate);
    assert_eq!(bench.take_replies(), [""; 0], "what shows of 10 is not all of it");
    bench.leader(ToLearner::Commit(Zxid(10)));
    assert_eq!(bench.take_replies(), ["serving Full"]);
}

#[test]
fn a_learner_that_can_put_nothing_on_disk_promises_nothing_and_goes_on_when_that_is_over() {
    goes_on_after(ENOSPC, "the disk is full (why): ", "there is space on the disk again: ");
    goes_on_after(EMFILE, "no more files can be opened (why): ", "files can be opened again: ");
}

fn goes_on_after(errno: i32, is: &str, over: &str) {
    let is_ack = |effect: &zab::Effect| {
        matches!(effect, zab::Effect::ToLeader(_, ToLeader::Ack(_) | ToLeader::AckEpoch { .. }))
    };
    let mut bench = Bench::new();
    bench.elected(3);
    bench.refused_with = Some(errno);
    bench.notices.clear();
    bench.input(Input::Peer(zab::Input::Connected(Attempt(1))));
    bench.leader(ToLearner::LeaderInfo { epoch: Epoch(1), extended: true });
    bench.wait_ms(1000);
    assert!(!bench.messages.iter().any(is_ack), "the epoch is not on disk");
    assert!(bench.replica.waits_for_space());
    bench.refused_with = None;
    bench.wait_ms(1000);
    assert!(bench.messages.iter().any(is_ack) && !bench.replica.waits_for_space());
    bench.refused_with = Some(errno);
    bench.messages.clear();
    bench.leader(ToLearner::Snap(Zxid(9)));
    let tree = |last| {
        let mut database = Database::new(2);
        database.last = last;
        Box::new(StagedTree { database, newest: last })
    };
    bench.input(Input::Staged(Attempt(1), tree(Zxid(9))));
    bench.leader(ToLearner::NewLeader { epoch: Epoch(1), members: None });
    bench.wait_ms(1000);
    assert!(!bench.messages.iter().any(is_ack), "the tree is not on disk");
    let said = |text: &&String| text.starts_with(is) || text.starts_with(over);
    let said: Vec<_> = bench.notices.iter().filter(said).collect();
    let [first, then, again] = &said[..] else { panic!("{:?}", bench.notices) };
    assert!(first.starts_with(is) && then.starts_with(over) && first == again, "{said:?}");
    assert_eq!(bench.changes, ["install 0x9"; 2]);
    bench.refused_with = None;
    bench.wait_ms(1000);
    assert_eq!(bench.changes, ["install 0x9"; 3]);
    assert!(bench.messages.iter().any(is_ack) && !bench.replica.waits_for_space());
    bench.leader(ToLearner::UpToDate);
    assert_eq!(bench.take_replies(), ["tree", "serving Full"]);
}

#[test]
fn of_two_trees_that_found_no_space_the_newest_is_asked_for_again() {
    let mut bench = Bench::new();
    for (attempt, last) in [(1, Zxid(9)), (2, Zxid(12))] {
        bench.elected(3);
        bench.input(Input::Peer(zab::Input::Connected(Attempt(attempt))));
        bench.leader(ToLearner::LeaderInfo { epoch: Epoch(attempt as u32), extended: true });
        bench.refused_with = Some(ENOSPC);
        bench.leader(ToLearner::Snap(last));
        let mut database = Database::new(2);
        database.last = last;
        bench.input(Input::Staged(Attempt(attempt), Box::new(StagedTree { database, newest: last })));
        bench.refused_with = None;
        if attempt == 1 {
            bench.input(Input::Peer(zab::Input::LeaderLost(Attempt(1))));
        }
    }
    assert_eq!(bench.changes, ["install 0x9"]);
    bench.wait_ms(1000);
    assert_eq!(bench.changes, ["install 0x9", "install 0xc"]);
    assert_eq!(bench.replica.log().durable(), Zxid(12));
}

#[test]
fn javas_leader_hears_no_answer_to_a_ping_before_the_ack_of_newleader() {
    let mut bench = Bench::new();
    bench.elected(3);
    bench.input(Input::Peer(zab::Input::Connected(Attempt(1))));
    bench.leader(ToLearner::LeaderInfo { epoch: Epoch(1), extended: false });
    bench.leader(ToLearner::Diff(zxid(1)));
    bench.disk_hangs = true;
    bench.leader(ToLearner::Proposal(transaction(zxid(1), SESSION, 1, OpCode::Error, &[0; 4])));
    bench.leader(ToLearner::Commit(zxid(1)));
    bench.leader(ToLearner::NewLeader { epoch: Epoch(1), members: None });
    bench.messages.clear();
    bench.leader(ToLearner::Ping(7));
    assert_eq!(bench.take_to_leader(), []);
    bench.disk_hangs = false;
    for write in std::mem::take(&mut bench.writing) {
        bench.input(Input::Written(write, Ok(())));
    }
    let is_ack = |effect: &zab::Effect| matches!(effect, zab::Effect::ToLeader(_, ToLeader::Ack(zxid)) if *zxid == Zxid(1 << 32));
    assert!(bench.messages.iter().any(is_ack));
    bench.leader(ToLearner::Ping(8));
    assert_eq!(bench.take_to_leader(), [ToLeader::Ping { zxid: 8, touched: Vec::new() }]);
}

#[test]
fn an_attempt_that_is_over_installs_nothing() {
    let mut bench = Bench::following();
    let tree = || Box::new(StagedTree { database: Database::new(2), newest: Zxid::ZERO });
    bench.input(Input::Staged(Attempt(0), tree()));
    assert_eq!(bench.changes, [""; 0]);
    assert!(bench.replica.staged.is_none());
}

#[test]
fn connections_are_closed_for_a_reason_of_their_own() {
    let mut bench = Bench::leading();
    bench.reopen(CONNECTION);
    bench.take_replies();
    // The client comes back through a learner.
    bench.learner(ToLeader::Revalidate { session: SESSION, timeout_ms: 5000 });
    assert_eq!(bench.take_replies(), [format!("close 1 {:?}", CloseReason::Moved)]);
    bench.ask(SESSION, 1, OpCode::Create, &create("/a"));
    assert_eq!(bench.take_replies(), ["close 1 Moved"]);
}

/// No byte of a leader ends this server, or comes on its disk to end each start.
#[test]
fn what_is_no_transaction_ends_the_connection_and_is_not_logged() {
    let whole = transaction(zxid(1), SESSION, 1, OpCode::CloseSession, &[]);
    let cut = Transaction { bytes: whole.bytes.slice(..20), ..whole.clone() };
    let other = Transaction { zxid: zxid(1), ..transaction(zxid(2), SESSION, 1, OpCode::CloseSession, &[]) };
    let read = transaction(zxid(1), SESSION, 1, OpCode::GetData, b"\0\0\0\x02/a\0");
    for wrong in [cut, other, read] {
        let batch = Batch::one(wrong.zxid, &wrong.bytes);
        for message in [ToLearner::Proposal(wrong.clone()), ToLearner::Proposals(batch)] {
            let mut bench = Bench::following();
            bench.leader(message);
            assert!(bench.messages.iter().any(|effect| matches!(effect, zab::Effect::CloseLeader(_))));
            assert_eq!(bench.take_replies(), ["serving Nothing"]);
            assert_eq!(bench.replica.zab.last(), Zxid::ZERO);
        }
    }
    let check = transaction(zxid(2), SESSION, 2, OpCode::Check, b"\0\0\0\x02/a\0\0\0\0");
    let mut bench = Bench::following();
    bench.leader(ToLearner::Proposal(whole));
    bench.leader(ToLearner::Proposal(check));
    assert_eq!((bench.take_replies().len(), bench.replica.zab.last()), (0, zxid(2)));
}

#[test]
fn a_learner_that_misses_much_more_log_than_the_tree_is_long_is_sent_the_tree() {
    let mut bench = Bench::leading();
    bench.learner(request(SESSION, 1, OpCode::Create, create("/a")));
    let data = vec![7; 200_000];
    let set = SetDataRequest { path: "/a".into(), data: Some(&data), version: -1 };
    for xid in 2..=20 {
        bench.learner(request(SESSION, xid, OpCode::SetData, jute::to_bytes(&set)));
    }
    bench.learner(ToLeader::Ack(zxid(20)));
    assert_eq!(bench.replica.zab.delivered(), zxid(20));
    // Of some 200 kB.
    for (last, link, tree) in [(zxid(19), 6, false), (zxid(16), 7, false), (zxid(2), 8, true)] {
        let said = |message| Input::Peer(zab::Input::FromLearner(Link(link), message));
        let info = LearnerInfo { server: ServerId(3), config_version: 0, extended: true };
        bench.messages.clear();
        bench.input(said(ToLeader::FollowerInfo { accepted: Epoch(0), info }));
        bench.input(said(ToLeader::AckEpoch { current: Some(Epoch(0)), last }));
        let is_sent = bench.messages.iter().any(|effect| matches!(effect, zab::Effect::SendTree(..)));
        assert_eq!(is_sent, tree, "{last}");
    }
}
