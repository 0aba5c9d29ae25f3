//! Clients that do not take what they asked for, clients that come back at once, and clients that all come
//! at once: none may cost the server its memory, its connections or its end, nor each other their time.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use ringkeeper_tests::body;
use ringkeeper_tests::server::{Kind, Options, Server};
use ringkeeper_tests::wire::{Client, ConnectRequest, Encoder, Received, Session, op};
use rustix::process::{Pid, Signal, kill_process};

/// How much a server may grow for one client that does not read: a few times the output at which
/// its requests wait.
const GROWTH_KIB_MAX: u64 = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(60);

fn start() -> Server {
    let messages = Some("info,ringkeeper_net::client::core=debug".to_owned());
    let options = Options { config: vec!["tickTime=200".to_owned()], messages, ..Options::default() };
    Server::start(Kind::Ringkeeper, options).unwrap_or_else(|e| panic!("{e}"))
}

/// Waits until the server has forgotten the session's connection.
fn await_gone(server: &Server, session: &Session) {
    let line = format!("gone session=0x{:x}", session.granted.session_id);
    server.await_output(&line, PATIENCE).unwrap_or_else(|e| panic!("{e}"));
}

/// Creates a node with a megabyte, almost.
fn create_large(session: &mut Session) {
    session.ask(op::CREATE, &body::create("/large", &[7; 1_000_000], 0));
}

/// Frames of a write and, behind it, of `reads` reads of the large node.
fn a_write_and_reads(reads: i32) -> Vec<Vec<u8>> {
    let mut write = Encoder::request(1000, op::SET_DATA);
    write.string("/zookeeper/quota").buffer(Some(b"")).int(-1);
    let read = |xid| {
        let mut read = Encoder::request(1001 + xid, op::GET_DATA);
        read.string("/large").boolean(false);
        read.bytes
    };
    std::iter::once(write.bytes).chain((0..reads).map(read)).collect()
}

#[test]
fn a_client_that_does_not_read_is_gone_when_its_session_is() {
    let server = start();
    let mut session = Session::begin(server.address(), 4000);
    create_large(&mut session);
    session.client.send(&a_write_and_reads(50)).unwrap_or_else(|e| panic!("{e}"));
    let alive = || {
        let answer = server.four_letter_word("mntr").unwrap_or_else(|e| panic!("{e}"));
        let line = answer.lines().find_map(|line| line.strip_prefix("zk_num_alive_connections\t"));
        line.and_then(|number| number.parse::<u32>().ok()).unwrap_or_else(|| panic!("{answer}"))
    };
    assert_eq!(alive(), 2, "the client and the operator");
    await_gone(&server, &session);
    assert_eq!(alive(), 1);
}

#[test]
fn answers_that_are_not_read_are_not_made() {
    let mut server = start();
    let mut session = Session::begin(server.address(), 4000);
    create_large(&mut session);
    let before = server.resident_kib().unwrap_or_else(|e| panic!("{e}"));
    let reads = 300;
    session.client.send(&a_write_and_reads(reads)).unwrap_or_else(|e| panic!("{e}"));
    // Another session's answer comes after what the first one's made of the same batch.
    let mut other = Session::begin(server.address(), 4000);
    for _ in 0..20 {
        other.ask(op::SYNC, &body::path("/"));
    }
    let after = server.resident_kib().unwrap_or_else(|e| panic!("{e}"));
    assert!(after < before + GROWTH_KIB_MAX, "from {before} KiB to {after} KiB");
    for expected in 0..=reads {
        let reply = session.reply().unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((reply.xid, reply.error), (1000 + expected, 0));
    }
    assert!(server.exited().is_none());
}

#[test]
fn a_short_request_does_not_become_a_reply_of_any_length() {
    let mut server = start();
    let mut session = Session::begin(server.address(), 30_000);
    create_large(&mut session);
    let before = server.resident_kib().unwrap_or_else(|e| panic!("{e}"));
    let mut body = Encoder::default();
    for _ in 0..2000 {
        body.int(op::GET_DATA).boolean(false).int(-1).string("/large").boolean(false);
    }
    body.int(-1).boolean(true).int(-1);
    let reply = session.request(op::MULTI_READ, &body.bytes).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(reply.error, -5);
    let after = server.resident_kib().unwrap_or_else(|e| panic!("{e}"));
    // A reply at its bound, in a buffer that doubled once more, and the connection's own.
    assert!(after < before + 3 * GROWTH_KIB_MAX + 1024, "from {before} KiB to {after} KiB");
    assert!(server.exited().is_none());
}

#[test]
fn clients_that_come_back_at_once_do_not_keep_the_server_from_stopping() {
    const CLIENTS: usize = 16;
    let mut server = start();
    let address = server.address();
    let done = AtomicBool::new(false);
    let (connected, connections) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let (done, connected) = (&done, connected.clone());
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    // Refused once the server is gone.
                    let Ok(mut client) = Client::open(address) else { continue };
                    let sent = client.send(&[ConnectRequest::new_session(4000).encode()]);
                    while sent.is_ok() && !done.load(Ordering::Relaxed) {
                        match client.receive(Duration::from_millis(20)) {
                            Received::Closed => break,
                            Received::Silence => {}
                            // Nobody listens once all are there.
                            Received::Frame(_) => drop(connected.send(())),
                        }
                    }
                }
            });
        }
        let came = (0..CLIENTS).filter(|_| connections.recv_timeout(PATIENCE).is_ok()).count();
        let stopped = server.stop();
        done.store(true, Ordering::Relaxed);
        assert_eq!(came, CLIENTS);
        assert!(stopped.is_ok_and(|status| status.is_some_and(|status| status.success())));
    });
}

/// Clients that come at once, where the kernel lets so many wait.
const HERD: usize = 1000;
/// The kernel tries again after a second whatever a listening socket had no room for.
const AT_ONCE: Duration = Duration::from_millis(500);

fn signal(server: &Server, signal: Signal) {
    let pid = server.process_id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs");
    kill_process(pid, signal).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn a_herd_of_clients_waits_for_the_server_and_not_for_the_kernel() {
    let options = Options { config: vec!["maxClientCnxns=0".to_owned()], ..Options::default() };
    let server = Server::start(Kind::Ringkeeper, options).unwrap_or_else(|e| panic!("{e}"));
    let allowed = fs::read_to_string("/proc/sys/net/core/somaxconn").ok().and_then(|n| n.trim().parse().ok());
    let herd = HERD.min(allowed.unwrap_or(HERD));
    signal(&server, Signal::STOP);
    let come = || Client::open_within(server.address(), AT_ONCE);
    let clients: Vec<_> = (0..herd).map(|_| come()).take_while(Result::is_ok).flatten().collect();
    signal(&server, Signal::CONT);
    assert_eq!(clients.len(), herd, "the next one was not let in at once");
    let mut clients = clients;
    let request = [ConnectRequest::new_session(10_000).encode()];
    clients.iter_mut().for_each(|client| client.send(&request).unwrap_or_else(|e| panic!("{e}")));
    for client in &mut clients {
        assert!(matches!(client.receive(PATIENCE), Received::Frame(_)), "no session");
    }
}
