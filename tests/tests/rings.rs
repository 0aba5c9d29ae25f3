//! Both runtimes that `ring` chooses from serve alike: what was acknowledged is read back, watches fire before
//! newer reads, and a kill and a stop lose neither nodes nor sessions. Every other test has the default.

use ringkeeper_tests::body;
use ringkeeper_tests::differential::subject;
use ringkeeper_tests::ensemble::check::check;
use ringkeeper_tests::ensemble::load::{Load, Rate};
use ringkeeper_tests::ensemble::{Ensemble, Plan};
use ringkeeper_tests::server::{Options, Server};
use ringkeeper_tests::wire::{Decoder, Reply, Session, op};
use std::fs;
use std::time::Instant;

const TIMEOUT_MS: i32 = 60_000;
/// `KeeperException.Code`.
const NO_NODE: i32 = -101;
/// `EventType`.
const DATA_CHANGED: i32 = 3;
const CHILDREN_CHANGED: i32 = 4;
/// Bytes of the values: of many that share a read of the socket and a write of the log, and of some that are
/// longer than either takes at a time.
const LONG: [usize; 4] = [0, 5_000, 70_000, 900_000];
const SHORT: usize = 400;

#[test]
fn our_own_ring_serves_and_comes_back() {
    serves_and_comes_back("own", 1);
}

#[test]
fn tokio_uring_serves_and_comes_back_with_one_core() {
    serves_and_comes_back("tokio-uring", 1);
}

#[test]
fn tokio_uring_serves_and_comes_back_with_two_cores() {
    serves_and_comes_back("tokio-uring", 2);
}

/// Whether the process is one of tokio-uring, whose runtime sleeps in epoll.
fn has_epoll(server: &Server) -> bool {
    let open = format!("/proc/{}/fd", server.process_id().expect("it runs"));
    let mut open = fs::read_dir(open).expect("it may be looked at").flatten();
    open.any(|file| fs::read_link(file.path()).is_ok_and(|to| to.ends_with("anon_inode:[eventpoll]")))
}

fn renew(server: &Server, session: &Session) -> Session {
    Session::connect(server.address(), &session.renewal()).unwrap_or_else(|e| panic!("{e}"))
}

/// The nodes and their values, each unlike the others.
fn nodes(prefix: &str) -> Vec<(String, Vec<u8>)> {
    let lengths = LONG.into_iter().chain((0..SHORT).map(|number| number % 200));
    lengths.enumerate().map(|(n, length)| (format!("/all/{prefix}{n}"), vec![n as u8; length])).collect()
}

/// All creates at once; their answers come in order, each of a newer transaction.
fn write(session: &mut Session, nodes: &[(String, Vec<u8>)]) {
    let post = |(path, value): &(String, Vec<u8>)| session.post(op::CREATE, &body::create(path, value, 0));
    let sent: Vec<i32> = nodes.iter().map(post).collect::<Result<_, _>>().expect("the server takes all");
    let replies: Vec<Reply> =
        sent.iter().map(|_| session.reply().unwrap_or_else(|e| panic!("{e}"))).collect();
    assert!(replies.iter().map(|reply| (reply.xid, reply.error)).eq(sent.into_iter().map(|xid| (xid, 0))));
    assert!(replies.is_sorted_by(|one, next| one.zxid < next.zxid));
}

fn all_are_there(session: &mut Session, nodes: &[(String, Vec<u8>)]) {
    for (path, value) in nodes {
        let reply = session.ask(op::GET_DATA, &body::read(path, false));
        let found = Decoder::new(&reply.body).buffer("data").expect("data").unwrap_or_default();
        assert!(found == value, "{path}: {} bytes of {}", found.len(), value.len());
    }
}

/// The kinds and paths of the events that came.
fn events(session: &mut Session) -> Vec<(i32, String)> {
    let event = |frame: Vec<u8>| {
        let body = Reply::decode(&frame).expect("a header").body;
        let mut decoder = Decoder::new(&body);
        let (kind, _state) = (decoder.int("type").expect("a type"), decoder.int("state").expect("a state"));
        let path = decoder.buffer("path").expect("a path").unwrap_or_default();
        (kind, String::from_utf8(path.to_vec()).expect("a path"))
    };
    session.events.drain(..).map(event).collect()
}

fn serves_and_comes_back(ring: &str, cores: usize) {
    let config = vec![format!("ring={ring}"), format!("cores={cores}")];
    let options = Options { config, ..Options::default() };
    let mut server = Server::start(subject(), options).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(has_epoll(&server), ring == "tokio-uring", "it runs on the ring that it was told");
    let (mut writer, mut watcher) =
        (Session::begin(server.address(), TIMEOUT_MS), Session::begin(server.address(), TIMEOUT_MS));
    writer.ask(op::CREATE, &body::create("/all", b"", 0));
    writer.ask(op::CREATE, &body::create("/alive", b"1", 1));

    watcher.ask(op::GET_CHILDREN, &body::read("/all", true));
    watcher.ask(op::GET_DATA, &body::read("/alive", true));
    let first = nodes("a");
    write(&mut writer, &first);
    writer.ask(op::SET_DATA, &body::set_data("/alive", b"2"));
    all_are_there(&mut watcher, &first);
    let mut seen = events(&mut watcher);
    seen.sort_unstable();
    assert_eq!(seen, [(DATA_CHANGED, "/alive".into()), (CHILDREN_CHANGED, "/all".into())]);

    server.restart().unwrap_or_else(|e| panic!("after a kill: {e}"));
    (writer, watcher) = (renew(&server, &writer), renew(&server, &watcher));
    all_are_there(&mut watcher, &first);
    watcher.ask(op::GET_DATA, &body::read("/alive", true));
    let second = nodes("b");
    write(&mut writer, &second);

    let ended = server.stop().unwrap_or_else(|e| panic!("{e}"));
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}: {}", server.output());
    server.restart().unwrap_or_else(|e| panic!("after a stop: {e}"));
    (writer, watcher) = (renew(&server, &writer), renew(&server, &watcher));
    all_are_there(&mut watcher, &first);
    all_are_there(&mut watcher, &second);
    watcher.ask(op::GET_DATA, &body::read("/alive", false));
    writer.ask(op::CLOSE_SESSION, &[]);
    let gone = watcher.request(op::EXISTS, &body::read("/alive", false)).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(gone.error, NO_NODE, "an ephemeral node ends with its session and no sooner");
}

#[test]
fn an_ensemble_on_tokio_uring_loses_its_leader_and_no_write() {
    let options = Options { config: vec!["ring=tokio-uring".into()], ..Options::default() };
    let mut ensemble = Ensemble::start(&Plan { options, ..Plan::of("rrr") });
    let load = Load::start(&ensemble.addresses(), Rate::default());
    load.await_more(200);
    let (begun, leader) = (Instant::now(), ensemble.await_leader());
    ensemble.node_mut(leader).kill();
    load.await_more(200);
    ensemble.start_one(leader);
    ensemble.await_all();
    let summary = check(&mut ensemble, load, begun);
    assert!(summary.acked >= 400, "{summary:?}");
}
