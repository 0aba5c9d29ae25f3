//! What bounds clients: connections of one address, the length of a request, requests in flight; and
//! the switch that ignores access control lists.

use ringkeeper_tests::body;
use ringkeeper_tests::differential::subject;
use ringkeeper_tests::server::{Options, Server};
use ringkeeper_tests::wire::{Client, ConnectRequest, Encoder, Received, Session, op};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

fn start(config: &[&str], properties: &[&str]) -> Server {
    let owned = |lines: &[&str]| lines.iter().map(|line| line.to_string()).collect();
    let options = Options { config: owned(config), properties: owned(properties), ..Options::default() };
    Server::start(subject(), options).unwrap_or_else(|e| panic!("{e}"))
}

fn session(server: &Server) -> Session {
    Session::begin(server.address(), 10_000)
}

/// A node that only somebody at another address may use.
fn create_for_somebody_else(path: &str) -> Vec<u8> {
    let mut body = Encoder::default();
    body.string(path).buffer(Some(b"")).int(1).int(31).string("ip").string("10.1.2.3").int(0);
    body.bytes
}

#[test]
fn an_address_has_so_many_connections_and_gets_them_back() {
    let server = start(&["maxClientCnxns=3"], &[]);
    let mut held: Vec<Session> = (0..3).map(|_| session(&server)).collect();
    let mut turned_away = Client::open(server.address()).expect("the kernel accepts it");
    assert!(matches!(turned_away.receive(PATIENCE), Received::Closed));
    held[0].request(op::CLOSE_SESSION, &[]).expect("a reply");
    drop(held.remove(0));
    // The server sees the end of the connection a moment after its client does.
    let request = ConnectRequest::new_session(10_000);
    let deadline = std::time::Instant::now() + PATIENCE;
    while Session::connect(server.address(), &request).is_err() {
        assert!(std::time::Instant::now() < deadline, "no connection although one went");
    }
}

#[test]
fn a_request_above_jute_maxbuffer_closes_its_connection_alone() {
    let server = start(&[], &["jute.maxbuffer=20000"]);
    let (mut guilty, mut bystander) = (session(&server), session(&server));
    guilty.ask(op::CREATE, &body::create("/a", b"", 0));
    let reply = guilty.request(op::SET_DATA, &body::set_data("/a", &[7; 19_000])).expect("a reply");
    assert_eq!(reply.error, 0, "just below the bound");
    assert!(guilty.request(op::SET_DATA, &body::set_data("/a", &[7; 20_000])).is_err());
    bystander.ask(op::SET_DATA, &body::set_data("/a", b"still here"));
}

#[test]
fn a_small_outstanding_limit_slows_but_loses_nothing() {
    let server = start(&["globalOutstandingLimit=2"], &[]);
    let mut sessions = [session(&server), session(&server)];
    let path = ["/0", "/1"];
    for (session, path) in sessions.iter_mut().zip(path) {
        let reply = session.request(op::CREATE, &body::create(path, b"", 0));
        assert_eq!(reply.expect("a reply").error, 0);
    }
    for _ in 0..300 {
        for (session, path) in sessions.iter_mut().zip(path) {
            session.post(op::SET_DATA, &body::set_data(path, b"x")).expect("it is sent");
        }
    }
    for session in &mut sessions {
        for _ in 0..300 {
            assert_eq!(session.reply().expect("a reply").error, 0);
        }
    }
}

#[test]
fn skip_acl_ignores_lists() {
    for (config, expected) in [(&["skipACL=yes"][..], 0), (&[][..], -102)] {
        let server = start(config, &[]);
        let mut session = session(&server);
        session.ask(op::CREATE, &create_for_somebody_else("/a"));
        let reply = session.request(op::SET_DATA, &body::set_data("/a", b"x")).expect("a reply");
        assert_eq!(reply.error, expected, "with {config:?}");
    }
}
