//! A session that moves to another connection while the old one still lives: one connection speaks for
//! it at a time. ZooKeeper closes the old socket before it answers the new one's handshake, so nothing
//! that comes late over the old one is done or answered, and its watches go with it. (Its own race is
//! left out: of renewals that come at the same moment, 3.8.0 may let two connections live.) The script
//! `sessions.zkt` compares the two servers; here are the races, and both cases of two client cores:
//! connections on one core and on two.

use ringkeeper_tests::body;
use ringkeeper_tests::differential::subject;
use ringkeeper_tests::server::{Options, Server};
use ringkeeper_tests::wire::{Decoder, Encoder, Received, Session, op, xid};
use std::sync::{Barrier, mpsc};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
const TIMEOUT_MS: i32 = 60_000;
/// Requests that one connection has under way.
const DEPTH: usize = 32;

macro_rules! on_one_and_two_cores {
    ($($law:ident;)*) => {
        mod one_core { $(#[test] fn $law() { crate::$law(&crate::start(1)); })* }
        mod two_cores { $(#[test] fn $law() { crate::$law(&crate::start(2)); })* }
    };
}

on_one_and_two_cores! {
    what_comes_late_is_neither_done_nor_answered;
    a_connection_that_is_busy_loses_its_session_at_one_moment;
    of_many_renewals_at_once_one_holds;
    watches_stay_with_their_connection;
}

fn start(cores: usize) -> Server {
    let config = vec![format!("cores={cores}"), "maxClientCnxns=0".to_owned()];
    Server::start(subject(), Options { config, ..Options::default() }).unwrap_or_else(|e| panic!("{e}"))
}

fn connect(server: &Server) -> Session {
    Session::begin(server.address(), TIMEOUT_MS)
}

fn renew(server: &Server, session: &Session) -> Session {
    Session::connect(server.address(), &session.renewal()).unwrap_or_else(|e| panic!("{e}"))
}

/// How often the data of a node was set, by its Stat: `czxid mzxid ctime mtime version`.
fn version(session: &mut Session, path: &str) -> i32 {
    let reply = session.ask(op::EXISTS, &body::read(path, false));
    let mut decoder = Decoder::new(&reply.body);
    decoder.take(32, "zxids and times").and_then(|_| decoder.int("version")).expect("a Stat")
}

/// The server ended the connection, and says nothing more over it.
fn is_closed(session: &mut Session, after: &str) {
    match session.client.receive(PATIENCE) {
        Received::Closed => {}
        Received::Frame(frame) => panic!("answered {after}: {frame:02x?}"),
        Received::Silence => panic!("open after {after}"),
    }
}

fn what_comes_late_is_neither_done_nor_answered(server: &Server) {
    let late: [(i32, Vec<u8>); 13] = [
        (op::PING, Vec::new()),
        (op::GET_DATA, body::read("/late", false)),
        (op::EXISTS, body::read("/none", true)),
        (op::GET_CHILDREN2, body::read("/", false)),
        (op::SET_DATA, body::set_data("/late", b"x")),
        (op::CREATE, body::create("/late-", b"", 3)),
        (op::MULTI, body::multi([(op::DELETE, &body::delete("/late")[..])])),
        (op::SYNC, body::path("/")),
        (op::GET_EPHEMERALS, body::path("/")),
        (op::SET_WATCHES, body::set_watches(0, &["/late"])),
        (op::AUTH, body::auth("digest", b"bob:secret")),
        (op::WHO_AM_I, Vec::new()),
        (op::CLOSE_SESSION, Vec::new()),
    ];
    let mut witness = connect(server);
    for (op, record) in late {
        // Where the kernel puts a connection is chance: a few give both cases.
        for _ in 0..4 {
            let mut old = connect(server);
            old.ask(op::CREATE, &body::create("/late", b"", 1));
            let mut new = renew(server, &old);
            assert_eq!(new.granted.session_id, old.granted.session_id);
            // It may see already that the connection is closed.
            let _ = old.post(op, &record);
            is_closed(&mut old, &format!("operation {op}"));
            assert_eq!(version(&mut new, "/late"), 0, "after operation {op}");
            let names = witness.ask(op::GET_CHILDREN, &body::read("/", false)).body;
            assert_eq!(Decoder::new(&names).int("count"), Ok(2), "/late and /zookeeper after {op}");
            new.ask(op::PING, &[]);
            new.ask(op::CLOSE_SESSION, &[]);
        }
    }
}

/// Sets and reads a node without a pause until the connection ends; returns how many writes were
/// answered and the newest zxid of all answers. Says through `begun` that it is at work.
fn keep_busy(mut session: Session, begun: &mpsc::Sender<()>) -> (i32, i64) {
    let (mut answered, mut newest) = (0, 0);
    loop {
        for position in 0..DEPTH {
            let (op, record) = match position % 2 {
                0 => (op::SET_DATA, body::set_data("/own", b"busy")),
                _ => (op::GET_DATA, body::read("/own", false)),
            };
            if session.post(op, &record).is_err() {
                break;
            }
        }
        for position in 0..DEPTH {
            let Ok(reply) = session.reply() else { return (answered, newest) };
            assert_eq!(reply.error, 0);
            answered += i32::from(position % 2 == 0);
            newest = newest.max(reply.zxid);
        }
        // Nobody listens after the first.
        let _ = begun.send(());
    }
}

fn a_connection_that_is_busy_loses_its_session_at_one_moment(server: &Server) {
    let mut session = connect(server);
    session.ask(op::CREATE, &body::create("/mark", b"", 0));
    session.ask(op::CREATE, &body::create("/own", b"", 1));
    for _ in 0..30 {
        let before = version(&mut session, "/own");
        let request = session.renewal();
        session = std::thread::scope(|scope| {
            let (begun, at_work) = mpsc::channel();
            let old = scope.spawn(move || keep_busy(session, &begun));
            at_work.recv_timeout(PATIENCE).unwrap_or_else(|e| panic!("the old connection: {e}"));
            let mut new = Session::connect(server.address(), &request).unwrap_or_else(|e| panic!("{e}"));
            let done = version(&mut new, "/own");
            let marked = new.ask(op::SET_DATA, &body::set_data("/mark", b"moved")).zxid;
            let (answered, newest) = old.join().expect("the old connection ends without an error");
            assert!(newest < marked, "answered over the old connection after the move");
            assert!(answered <= done - before, "{answered} answered, {} done", done - before);
            assert_eq!(version(&mut new, "/own"), done, "a write came over the old connection");
            new
        });
    }
}

fn of_many_renewals_at_once_one_holds(server: &Server) {
    const CLIENTS: usize = 8;
    let mut holder = connect(server);
    holder.ask(op::CREATE, &body::create("/own", b"", 1));
    for _ in 0..20 {
        let request = holder.renewal();
        let start = Barrier::new(CLIENTS);
        let mut clients: Vec<Session> = std::thread::scope(|scope| {
            let connect = || {
                start.wait();
                // Another may take the session before this one is told that it has it.
                Session::connect(server.address(), &request).ok()
            };
            let threads: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(connect)).collect();
            threads.into_iter().filter_map(|thread| thread.join().expect("it connects or not")).collect()
        });
        is_closed(&mut holder, "others took its session");
        clients.retain_mut(|client| {
            let _ = client.client.send(&[Encoder::request(xid::PING, op::PING).bytes]);
            matches!(client.client.receive(PATIENCE), Received::Frame(_))
        });
        assert_eq!(clients.len(), 1, "connections that hold the session");
        holder = clients.remove(0);
        assert_eq!(version(&mut holder, "/own"), 0);
    }
}

fn watches_stay_with_their_connection(server: &Server) {
    let mut writer = connect(server);
    writer.ask(op::CREATE, &body::create("/watched", b"", 0));
    for round in 0..8 {
        let mut old = connect(server);
        old.ask(op::GET_DATA, &body::read("/watched", true));
        old.ask(op::GET_CHILDREN, &body::read("/watched", true));
        let absent = old.request(op::EXISTS, &body::read("/watched/none", true));
        assert!(absent.is_ok_and(|reply| reply.error != 0));
        old.ask(op::ADD_WATCH, &body::add_watch("/watched", 1));
        let mut new = renew(server, &old);
        writer.ask(op::SET_DATA, &body::set_data("/watched", b"x"));
        writer.ask(op::CREATE, &body::create(&format!("/watched/{round}"), b"", 0));
        let now = new.ask(op::SYNC, &body::path("/")).zxid;
        assert!(new.events.is_empty(), "an event of the old connection's watch");
        is_closed(&mut old, "the move");
        // What it sets itself it is told, also what it missed.
        new.ask(op::SET_WATCHES, &body::set_watches(0, &["/watched"]));
        assert_eq!(new.events.len(), 1);
        new.ask(op::SET_WATCHES, &body::set_watches(now, &["/watched"]));
        writer.ask(op::SET_DATA, &body::set_data("/watched", b"y"));
        new.ask(op::SYNC, &body::path("/"));
        assert_eq!(new.events.len(), 2);
        new.ask(op::CLOSE_SESSION, &[]);
    }
}
