//! A transaction that the server itself makes longer than any request: it is refused, or made short, and
//! never such that a server cannot read it back. ZooKeeper writes one above `jute.maxbuffer` and its
//! extra size into its log and ends at its next start (ZOOKEEPER-4306).

use ringkeeper_tests::body;
use ringkeeper_tests::server::{Kind, Options, Server};
use ringkeeper_tests::wire::{Decoder, Encoder, Session, error_name, op};
use std::time::Duration;

const TIMEOUT_MS: i32 = 30_000;
const PATIENCE: Duration = Duration::from_secs(60);

fn start(properties: &[&str]) -> Server {
    let properties = properties.iter().map(|line| line.to_string()).collect();
    let options = Options { properties, ..Options::default() };
    Server::start(Kind::Ringkeeper, options).unwrap_or_else(|e| panic!("{e}"))
}

fn begin(server: &Server) -> Session {
    Session::begin(server.address(), TIMEOUT_MS)
}

fn children(session: &mut Session, path: &str) -> i32 {
    let reply = session.ask(op::GET_CHILDREN, &body::read(path, false));
    Decoder::new(&reply.body).int("count").expect("a list")
}

/// A session that has proved so much that a list for `auth`, 16 bytes of a request, becomes 40 KiB of
/// a transaction.
fn proved(server: &Server) -> Session {
    let mut session = begin(server);
    for user in 0..40 {
        let credentials = format!("{user}{}:p", "u".repeat(1000));
        session.ask(op::AUTH, &body::auth("digest", credentials.as_bytes()));
    }
    session
}

/// A multi of that many creates for `auth`.
fn creates(count: usize) -> Vec<u8> {
    let create = |number| {
        let mut body = Encoder::default();
        body.string(&format!("/a/{number}")).buffer(Some(b""));
        body.int(1).int(31).string("auth").string("").int(0);
        body.bytes
    };
    let all: Vec<Vec<u8>> = (0..count).map(create).collect();
    body::multi(all.iter().map(|create| (op::CREATE, &create[..])))
}

/// The error codes of a multi's results; those that succeeded have none.
fn errors(reply: &[u8]) -> Vec<String> {
    let mut decoder = Decoder::new(reply);
    let mut errors = Vec::new();
    loop {
        let kind = decoder.int("type").expect("a result's header");
        let done = decoder.boolean("done").expect("a result's header");
        decoder.int("err").expect("a result's header");
        match kind {
            _ if done => return errors,
            op::ERROR => errors.push(error_name(decoder.int("error").expect("an error's code"))),
            op::CREATE => drop(decoder.buffer("path").expect("a created path")),
            other => panic!("a result of type {other}"),
        }
    }
}

#[test]
fn a_multi_that_becomes_too_long_is_refused_as_a_whole() {
    let mut server = start(&[]);
    let mut session = proved(&server);
    session.ask(op::CREATE, &body::create("/a", b"", 0));
    // 100 lists of 40 KiB: twice what a transaction may have.
    let reply = session.ask(op::MULTI, &creates(100));
    let errors_told = errors(&reply.body);
    assert_eq!(errors_told.len(), 100);
    let (failed, rest) = errors_told.split_at(errors_told.iter().position(|e| e != "ok").expect("a failure"));
    assert!(failed.len() > 40, "{} operations fit", failed.len());
    assert_eq!(rest[0], "MarshallingError");
    assert!(rest[1..].iter().all(|error| error == "RuntimeInconsistency"));
    assert_eq!(children(&mut session, "/a"), 0);
    // Half of it is no trouble, and comes back.
    assert!(errors(&session.ask(op::MULTI, &creates(40)).body).is_empty());
    server.restart().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(children(&mut begin(&server), "/a"), 40);
}

#[test]
fn the_extra_size_of_a_transaction_is_a_setting() {
    let mut server = start(&["zookeeper.jute.maxbuffer.extrasize=8000000"]);
    let mut session = proved(&server);
    session.ask(op::CREATE, &body::create("/a", b"", 0));
    assert!(errors(&session.ask(op::MULTI, &creates(100)).body).is_empty());
    server.restart().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(children(&mut begin(&server), "/a"), 100);
}

#[test]
fn a_session_with_ever_so_many_ephemeral_nodes_ends() {
    const NODES: i32 = 1000;
    // Their names have 110 KB, three times what a transaction may have here.
    let mut server = start(&["jute.maxbuffer=20000"]);
    let (mut owner, mut witness) = (begin(&server), begin(&server));
    owner.ask(op::CREATE, &body::create("/a", b"", 0));
    for number in 0..NODES {
        owner.ask(op::CREATE, &body::create(&format!("/a/{number:0100}"), b"", 1));
    }
    witness.ask(op::ADD_WATCH, &body::add_watch("/a", 1));
    owner.ask(op::CLOSE_SESSION, &[]);
    assert_eq!(children(&mut witness, "/a"), 0);
    assert_eq!(witness.events.len(), NODES as usize, "each node's end is told");
    let count = |server: &Server| {
        let answer = server.four_letter_word("mntr").unwrap_or_else(|e| panic!("{e}"));
        let line = answer.lines().find_map(|line| line.strip_prefix("zk_ephemerals_count\t"));
        line.and_then(|count| count.parse::<i32>().ok()).unwrap_or_else(|| panic!("{answer}"))
    };
    assert_eq!(count(&server), 0);
    server.restart().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((count(&server), children(&mut begin(&server), "/a")), (0, 0));
}

#[test]
fn a_session_with_ever_so_many_ephemeral_nodes_expires() {
    let server = start(&["jute.maxbuffer=20000"]);
    let mut owner = Session::begin(server.address(), 4000);
    let mut witness = begin(&server);
    for number in 0..500 {
        owner.ask(op::CREATE, &body::create(&format!("/{number:0100}"), b"", 1));
    }
    witness.ask(op::EXISTS, &body::read(&format!("/{:0100}", 499), true));
    drop(owner);
    let event = witness.client.receive(PATIENCE);
    assert!(matches!(event, ringkeeper_tests::wire::Received::Frame(_)), "{event:?}");
    assert_eq!(children(&mut witness, "/"), 1, "/zookeeper");
}
