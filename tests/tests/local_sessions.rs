//! Sessions that a server keeps to itself, and readers without a quorum, answered as ZooKeeper answers: one
//! script is played to an ensemble, in each configuration, and what is answered is compared with what
//! ZooKeeper 3.9.5 was recorded to answer. `recorded_from_zookeeper` plays it to a live one, or to ours beside
//! Java's; with `LOCAL_SESSIONS=write` that is recorded anew.
//!
//! Where ours answers otherwise on purpose, [`DIFFERENCES`] has the line and the reason.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ringkeeper_engine::id::SessionId;
use ringkeeper_engine::session::password;
use ringkeeper_tests::body;
use ringkeeper_tests::ensemble::node::Mode;
use ringkeeper_tests::ensemble::{Ensemble, Plan};
use ringkeeper_tests::server::Options;
use ringkeeper_tests::wire::{
    ConnectRequest, ConnectResponse, Decoder, Encoder, Received, Session, error_name, op,
};

/// Longer than a run.
const TIMEOUT_MS: i32 = 60_000;
/// A server that says nothing for so long says nothing.
const PATIENCE: Duration = Duration::from_secs(3);

/// What ZooKeeper says, what ours says, and why.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    (
        "a reader of the local session here: ZooKeeper forgets it with its leader, ours waits for its client",
        "refused, read-only Some(true)",
        "the same, read-only Some(true)",
    ),
    (
        "a reader that began without a quorum, with one: the same",
        "refused, read-only Some(false)",
        "the same, read-only Some(false)",
    ),
    (
        "a reader without local sessions: no client understands what ZooKeeper answers",
        "a frame of 16 bytes that is no answer",
        "closed",
    ),
    (
        "a reader whose session nobody knows, without local sessions: it may live where the quorum is",
        "the same, read-only Some(true)",
        "closed",
    ),
];

/// Local sessions, and whether they are upgraded.
const CONFIGURATIONS: [(bool, bool); 3] = [(true, true), (true, false), (false, false)];

#[test]
fn ours_answers_what_zookeeper_was_recorded_to_answer() {
    for configuration in CONFIGURATIONS {
        let path = recording(configuration);
        let recorded = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        compare(&recorded, &play("rrr", configuration));
    }
}

#[test]
#[ignore = "starts Java's servers: those of REFERENCE_CLASS_PATH; the line-up is LINE_UP, or Java's alone"]
fn recorded_from_zookeeper() {
    let line_up = std::env::var("LINE_UP").unwrap_or_else(|_| "nnn".to_owned());
    for configuration in CONFIGURATIONS {
        let (path, played) = (recording(configuration), play(&line_up, configuration));
        if std::env::var("LOCAL_SESSIONS").is_ok_and(|what| what == "write") {
            fs::write(&path, played).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        } else {
            compare(&fs::read_to_string(&path).expect("a recording"), &played);
        }
    }
}

fn recording((local, upgraded): (bool, bool)) -> PathBuf {
    let name = match (local, upgraded) {
        (true, true) => "upgraded",
        (true, false) => "local",
        (false, _) => "global",
    };
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/local_sessions/{name}.txt"))
}

fn compare(recorded: &str, played: &str) {
    let differs = |(recorded, played): &(&str, &str)| {
        let same_question = recorded.split_once(": ").zip(played.split_once(": "));
        let meant = same_question.is_some_and(|((asked, java), (again, ours))| {
            asked == again && DIFFERENCES.iter().any(|(_, theirs, own)| (*theirs, *own) == (java, ours))
        });
        recorded != played && !meant
    };
    let wrong: Vec<_> = recorded.lines().zip(played.lines()).filter(differs).collect();
    assert_eq!(wrong, [], "recorded, and played:\n{played}");
    assert_eq!(recorded.lines().count(), played.lines().count());
}

/// What was asked and answered, a line each.
#[derive(Default)]
struct Talk {
    text: String,
}

impl Talk {
    fn note(&mut self, what: &str, answer: impl std::fmt::Display) {
        writeln!(self.text, "{what}: {answer}").expect("a string");
    }

    /// A first frame, and what comes of it.
    fn greet(&mut self, what: &str, address: SocketAddr, request: &ConnectRequest) -> Option<Session> {
        let (answer, session) = greet(address, request);
        self.note(what, answer);
        session
    }

    /// A request, and its answer.
    fn ask(&mut self, what: &str, session: &mut Session, op: i32, body: &[u8]) {
        let answer = match session.request(op, body) {
            Err(error) => format!("{:?}", error.kind()),
            Ok(reply) if op == op::MULTI && reply.error == 0 => format!("ok {:?}", parts(&reply.body)),
            Ok(reply) => format!("{} and {} bytes", error_name(reply.error), reply.body.len()),
        };
        self.note(what, answer);
    }

    /// The same without a quorum, where the tree does not change: every answer is of the same moment.
    fn ask_reader(&mut self, what: &str, session: &mut Session, request: (i32, &[u8]), zxid: Option<u64>) {
        let answer = match session.request(request.0, request.1) {
            Err(error) => format!("{:?}", error.kind()),
            Ok(reply) => {
                let moment = match reply.zxid.cast_unsigned() {
                    now if Some(now) == zxid => "now".to_owned(),
                    other => other.to_string(),
                };
                format!("{} and {} bytes, as of {moment}", error_name(reply.error), reply.body.len())
            }
        };
        self.note(what, answer);
    }

    /// How many sessions the server has.
    fn count(&mut self, ensemble: &Ensemble, id: u8) {
        let dump = ensemble.node(id).four_letter_word("dump").unwrap_or_default();
        let of_dump = |line: &str| match line.split_once(" Sets (") {
            Some((name, counts)) if name.ends_with("Session") => Some(format!("{name} {}", all(counts))),
            _ => line.starts_with("Global Sessions(").then(|| line.to_owned()),
        };
        let dump: Vec<String> = dump.lines().filter_map(of_dump).collect();
        let (local, global) = sessions(ensemble, id);
        self.note("sessions", format!("{local} local, {global} global, {dump:?}"));
    }
}

/// The server's count of local sessions and of the ensemble's.
fn sessions(ensemble: &Ensemble, id: u8) -> (i64, i64) {
    let measure = |name| ensemble.node(id).measure(name).and_then(|count| count.parse().ok());
    (measure("zk_local_sessions").expect("a count"), measure("zk_global_sessions").expect("a count"))
}

/// The second of the numbers `1)/(2):`.
fn all(counts: &str) -> &str {
    counts.split_once(")/(").map_or(counts, |(_, all)| all.trim_end_matches("):"))
}

/// The codes of a multi's parts; 0 of one that was done.
fn parts(body: &[u8]) -> Vec<i32> {
    let (mut decoder, mut codes) = (Decoder::new(body), Vec::new());
    while let (Ok(op), Ok(false)) = (decoder.int("type"), decoder.boolean("done")) {
        codes.push(decoder.int("err").expect("a code"));
        match op {
            op::ERROR => codes.extend(decoder.int("code")),
            op::CREATE => drop(decoder.buffer("path")),
            other => panic!("a part of type {other}"),
        }
    }
    codes
}

fn greet(address: SocketAddr, request: &ConnectRequest) -> (String, Option<Session>) {
    let mut client = ringkeeper_tests::wire::Client::open(address).expect("it listens");
    client.send(&[request.encode()]).expect("it reads");
    let frame = match client.receive(PATIENCE) {
        Received::Frame(frame) => frame,
        Received::Closed => return ("closed".to_owned(), None),
        Received::Silence => return ("nothing".to_owned(), None),
    };
    let Ok(granted) = ConnectResponse::decode(&mut Decoder::new(&frame)) else {
        return (format!("a frame of {} bytes that is no answer", frame.len()), None);
    };
    let read_only = granted.read_only;
    if granted.session_id == 0 {
        assert_eq!((granted.timeout_ms, &granted.password), (0, &vec![0; 16]));
        return (format!("refused, read-only {read_only:?}"), None);
    }
    assert_eq!(granted.password, password(SessionId(granted.session_id)));
    assert_eq!(granted.timeout_ms, TIMEOUT_MS);
    let whose = if granted.session_id == request.session_id { "the same" } else { "a new session" };
    // Asked for again, over a connection that can ask for more.
    drop(client);
    let renewal =
        ConnectRequest { session_id: granted.session_id, password: granted.password, ..request.clone() };
    let session = Session::connect(address, &renewal).expect("it comes back to where it was");
    (format!("{whose}, read-only {read_only:?}"), Some(session))
}

fn wish(read_only: Option<bool>) -> ConnectRequest {
    ConnectRequest { read_only, ..ConnectRequest::new_session(TIMEOUT_MS) }
}

fn renewal(session: &Session, read_only: bool) -> ConnectRequest {
    ConnectRequest { read_only: Some(read_only), ..session.renewal() }
}

fn two_creations(path: &str, flags: i32) -> Vec<u8> {
    let records =
        [body::create(&format!("{path}-a"), b"", 0), body::create(&format!("{path}-b"), b"", flags)];
    body::multi(records.iter().map(|record| (op::CREATE, &record[..])))
}

fn play(line_up: &str, (local, upgraded): (bool, bool)) -> String {
    let options = Options {
        config: vec![
            format!("localSessionsEnabled={local}"),
            format!("localSessionsUpgradingEnabled={upgraded}"),
        ],
        properties: vec!["readonlymode.enabled=true".to_owned()],
        ..Options::default()
    };
    let mut ensemble = Ensemble::start(&Plan { options, ..Plan::of(line_up) });
    let mut talk = Talk::default();
    let leader = ensemble.await_leader();
    let [follower, other] = ensemble.followers()[..] else { panic!("two follow") };
    for (role, id, elsewhere) in [("leader", leader, follower), ("follower", follower, leader)] {
        with_a_quorum(&mut talk, &ensemble, role, id, elsewhere);
    }
    let address = ensemble.node(follower).address();
    let mut held = Session::begin(address, TIMEOUT_MS);
    if upgraded || !local {
        held.ask(op::CREATE, &body::create("/held", b"", 1));
    }
    let here = Session::begin(address, TIMEOUT_MS);
    let there = Session::begin(ensemble.node(leader).address(), TIMEOUT_MS);
    for id in [leader, other] {
        ensemble.node_mut(id).kill();
    }
    ensemble.await_mode(follower, &[Mode::ReadOnly]);
    let reader = without_a_quorum(&mut talk, &ensemble, follower, [&held, &here, &there]);
    for id in [leader, other] {
        ensemble.start_one(id);
    }
    ensemble.await_all();
    talk.note("isro with a quorum", ensemble.node(follower).four_letter_word("isro").expect("it answers"));
    if upgraded || !local {
        talk.greet(
            "the session of the ensemble, elsewhere",
            ensemble.node(leader).address(),
            &held.renewal(),
        );
    }
    if let Some(reader) = reader {
        talk.greet("the reader", address, &renewal(&reader, true));
    }
    talk.text
}

fn with_a_quorum(talk: &mut Talk, ensemble: &Ensemble, role: &str, id: u8, elsewhere: u8) {
    let (address, elsewhere) = (ensemble.node(id).address(), ensemble.node(elsewhere).address());
    talk.note("at the", role);
    for read_only in [None, Some(false), Some(true)] {
        talk.greet(&format!("a client that says {read_only:?} of reading"), address, &wish(read_only));
    }
    talk.note("isro", ensemble.node(id).four_letter_word("isro").expect("it answers"));
    talk.count(ensemble, id);
    let mut session = Session::begin(address, TIMEOUT_MS);
    for (what, op, flags) in [
        ("create", op::CREATE, 0),
        ("create2", op::CREATE2, 2),
        ("createContainer", op::CREATE_CONTAINER, 4),
        ("create with a flag that is none", op::CREATE, 9),
    ] {
        let path = format!("/{role}-{what}");
        talk.ask(what, &mut session, op, &body::create(&path, b"", flags));
    }
    let path = format!("/{role}-create");
    talk.ask("setData", &mut session, op::SET_DATA, &body::set_data(&path, b"x"));
    talk.ask("delete", &mut session, op::DELETE, &body::delete(&path));
    talk.ask("sync", &mut session, op::SYNC, &body::path("/"));
    talk.ask("multi", &mut session, op::MULTI, &two_creations(&format!("/{role}-m"), 0));
    talk.count(ensemble, id);
    // Its client comes back, here and elsewhere.
    let back = talk.greet("back", address, &session.renewal());
    talk.greet("elsewhere", elsewhere, &session.renewal());
    let mut session =
        back.map_or(session, |back| talk.greet("back again", address, &back.renewal()).unwrap_or(back));
    let wrong = ConnectRequest { password: vec![1; 16], ..session.renewal() };
    talk.greet("with a wrong password", address, &wrong);
    if let Some(back) = talk.greet("with the right one", address, &session.renewal()) {
        session = back;
    }
    talk.ask("end", &mut session, op::CLOSE_SESSION, &[]);
    talk.note("after the end", format!("{:?}", session.client.receive(PATIENCE)));
    talk.greet("back after the end", address, &session.renewal());
    talk.count(ensemble, id);
    // With an ephemeral node.
    let path = format!("/{role}-ephemeral");
    for (what, op, record) in [
        ("ephemeral create", op::CREATE, body::create(&path, b"", 1)),
        ("ephemeral create2 in sequence", op::CREATE2, body::create(&path, b"", 3)),
        ("multi with an ephemeral create", op::MULTI, two_creations(&path, 1)),
    ] {
        let mut session = Session::begin(address, TIMEOUT_MS);
        talk.ask(what, &mut session, op, &record);
        talk.count(ensemble, id);
        talk.greet("elsewhere then", elsewhere, &session.renewal());
        let Some(mut session) = talk.greet("back then", address, &session.renewal()) else { continue };
        talk.ask("end", &mut session, op::CLOSE_SESSION, &[]);
        talk.count(ensemble, id);
    }
}

/// Returns a session that lives on.
fn without_a_quorum(
    talk: &mut Talk,
    ensemble: &Ensemble,
    id: u8,
    [held, here, there]: [&Session; 3],
) -> Option<Session> {
    let (node, address) = (ensemble.node(id), ensemble.node(id).address());
    talk.note("without", "a quorum");
    let (before, _) = sessions(ensemble, id);
    let count = |talk: &mut Talk| {
        let (local, global) = sessions(ensemble, id);
        talk.note("sessions", format!("{} local ones more, {global} global", local - before));
    };
    for word in ["isro", "srvr", "stat"] {
        let text = node.four_letter_word(word).expect("it answers");
        let telling = |line: &&str| ["read-only", "Clients:", "ro"].iter().any(|part| line.contains(part));
        talk.note(word, text.lines().filter(telling).collect::<Vec<_>>().join(" / "));
    }
    talk.greet("a client that says nothing of reading", address, &wish(None));
    talk.greet("a client that wants more", address, &wish(Some(false)));
    talk.greet("of the ensemble, wanting more", address, &renewal(held, false));
    talk.greet("of the ensemble, reading", address, &renewal(held, true));
    talk.greet("local here, reading", address, &renewal(here, true));
    talk.greet("local elsewhere, reading", address, &renewal(there, true));
    let unknown = 0x0700_0000_0000_0007;
    let mut request = ConnectRequest { session_id: unknown, ..wish(Some(true)) };
    talk.greet("of nobody, with a wrong password", address, &request);
    request.password = password(SessionId(unknown)).to_vec();
    talk.greet("of nobody", address, &request);
    let ahead = ConnectRequest { last_zxid_seen: i64::MAX, ..wish(Some(true)) };
    talk.greet("a reader that has seen more", address, &ahead);
    let mut reader = talk.greet("a reader", address, &wish(Some(true)))?;
    let mut ttl = body::create("/new", b"", 5);
    ttl.extend_from_slice(&1000i64.to_be_bytes());
    let mut acl = Encoder::default();
    acl.string("/held").open_acl().int(-1);
    let set = body::set_data("/zookeeper/quota", b"");
    let multi = body::multi([(op::SET_DATA, &set[..])]);
    let read = body::read("/zookeeper/quota", true);
    let both = body::multi([(op::GET_DATA, &read[..]), (op::GET_CHILDREN, &read[..])]);
    let requests: [(&str, i32, Vec<u8>); 24] = [
        ("exists", op::EXISTS, body::read("/none", true)),
        ("getData", op::GET_DATA, read.clone()),
        ("getChildren", op::GET_CHILDREN, read.clone()),
        ("getChildren2", op::GET_CHILDREN2, read.clone()),
        ("getACL", op::GET_ACL, body::path("/zookeeper/quota")),
        ("getEphemerals", op::GET_EPHEMERALS, body::path("/")),
        ("getAllChildrenNumber", op::GET_ALL_CHILDREN_NUMBER, body::path("/zookeeper")),
        ("multiRead", op::MULTI_READ, both),
        ("addWatch", op::ADD_WATCH, body::add_watch("/zookeeper", 1)),
        ("whoAmI", op::WHO_AM_I, Vec::new()),
        ("ping", op::PING, Vec::new()),
        ("auth", op::AUTH, body::auth("digest", b"bob:secret")),
        ("create", op::CREATE, body::create("/new", b"", 0)),
        ("ephemeral create", op::CREATE, body::create("/new", b"", 1)),
        ("create2", op::CREATE2, body::create("/new", b"", 0)),
        ("createContainer", op::CREATE_CONTAINER, body::create("/new", b"", 4)),
        ("createTTL", op::CREATE_TTL, ttl),
        ("delete", op::DELETE, body::delete("/none")),
        ("setData", op::SET_DATA, set),
        ("setACL", op::SET_ACL, acl.bytes),
        ("sync", op::SYNC, body::path("/")),
        ("multi", op::MULTI, multi),
        ("multi of nothing", op::MULTI, body::multi([])),
        ("reconfig", op::RECONFIG, body::reconfig(None, Some("1"), None, -1)),
    ];
    for (what, op, record) in requests {
        talk.ask_reader(what, &mut reader, (op, &record), node.zxid());
    }
    count(talk);
    let lives = talk.greet("another reader", address, &wish(Some(true)));
    talk.ask("end", &mut reader, op::CLOSE_SESSION, &[]);
    talk.note("after the end", format!("{:?}", reader.client.receive(PATIENCE)));
    talk.greet("back after the end", address, &renewal(&reader, true));
    count(talk);
    lives
}
