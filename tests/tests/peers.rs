//! Servers of ours and Java's in one ensemble, on ZooKeeper's election and quorum ports.

use bytes::Bytes;
use ringkeeper_engine::id::{ServerId, Zxid};
use ringkeeper_engine::jute::Write as _;
use ringkeeper_engine::jute::records::TxnHeader;
use ringkeeper_quorum::members::Members;
use ringkeeper_quorum::message::Transaction;
use ringkeeper_quorum::zab::Serving;
use ringkeeper_tests::body;
use ringkeeper_tests::peers::java::Java;
use ringkeeper_tests::peers::node::{Disk, Habits, Node, View};
use ringkeeper_tests::peers::{members, ports, wait_for};
use ringkeeper_tests::wire::{Decoder, Session, op};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

const IN_MEMORY: Habits = Habits { window_bytes: 1 << 20, log_transactions: 0 };

fn create(session: &mut Session, paths: impl IntoIterator<Item = String>) {
    for path in paths {
        session.ask(op::CREATE, &body::create(&path, path.as_bytes(), 0));
    }
}

fn zxid(java: &Java) -> Zxid {
    Zxid(wait_for("a zxid", || java.status()).1)
}

fn learns(view: &View) -> bool {
    matches!(view.serving, Serving::Learner { .. })
}

fn leads(view: &View) -> bool {
    matches!(view.serving, Serving::Leader(_))
}

/// All that a client sees: nodes below the root with their data.
fn seen_by(java: &Java) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut session = java.session();
    session.ask(op::SYNC, &body::path("/"));
    let (mut open, mut found) = (vec!["/".to_owned()], BTreeMap::new());
    while let Some(path) = open.pop() {
        let reply = session.ask(op::GET_DATA, &body::read(&path, false));
        let data = Decoder::new(&reply.body).buffer("data").expect("data").map(<[u8]>::to_vec);
        let reply = session.ask(op::GET_CHILDREN, &body::read(&path, false));
        let mut names = Decoder::new(&reply.body);
        let above = if path == "/" { "" } else { &path };
        for _ in 0..names.int("count").expect("a count") {
            let name = names.buffer("name").expect("a name").expect("a name");
            open.push(format!("{above}/{}", String::from_utf8_lossy(name)));
        }
        // Every server keeps what is below by itself.
        if !path.starts_with("/zookeeper/") {
            found.insert(path, data.filter(|data| !data.is_empty()));
        }
    }
    found
}

/// The same of a server of ours.
fn held_by(node: &Node) -> BTreeMap<String, Option<Vec<u8>>> {
    let paths = node.paths().into_iter().filter(|(path, _)| !path.starts_with("/zookeeper/"));
    paths.map(|(path, data)| (path, data.filter(|data| !data.is_empty()))).collect()
}

#[test]
fn ours_follows_java_as_an_observer_and_as_a_follower() {
    let members = members(4, &[4]);
    let mut first = Java::start(1, &members);
    let second = Java::start(2, &members);
    let mut session = first.session();
    create(&mut session, (0..50).map(|n| format!("/before-{n}")));
    // An empty server is sent a whole tree.
    let observer = Node::start(4, &members, Disk::default(), IN_MEMORY);
    assert_eq!(observer.wait("the observer serves", learns).synchronised, ["SNAP"]);
    create(&mut session, (0..50).map(|n| format!("/observed-{n}")));
    let end = zxid(&first);
    let view = observer.wait("what was written arrives", |view| view.applied == end);
    assert!(view.different.is_none() && view.compared >= 50, "{view:?}");
    assert_eq!(held_by(&observer), seen_by(&first));
    drop(observer);
    // Its acks count: it is one of a quorum of two.
    let follower = Node::start(3, &members, Disk::default(), IN_MEMORY);
    assert_eq!(follower.wait("the follower serves", learns).synchronised, ["SNAP"]);
    first.kill();
    let mut session = second.session();
    create(&mut session, (0..50).map(|n| format!("/with-ours-{n}")));
    let end = zxid(&second);
    let view = follower.wait("what was written arrives", |view| view.applied == end);
    assert!(view.different.is_none() && view.compared >= 50, "{view:?}");
    first.restart();
    first.wait_for_mode("follower");
    // What it misses is sent.
    let disk = follower.stop();
    create(&mut session, (0..50).map(|n| format!("/missed-{n}")));
    let end = zxid(&second);
    let follower = Node::start(3, &members, disk, IN_MEMORY);
    let view = follower.wait("the follower has what it missed", |view| learns(view) && view.applied == end);
    assert_eq!((view.synchronised, view.different), (vec!["DIFF"], None));
    // What only it has is cut.
    let mut disk = follower.stop();
    let zxid = end.next();
    let mut bytes = Vec::new();
    TxnHeader { client_id: 1, cxid: 1, zxid: zxid.to_jute(), time: 1, op: -1 }.write(&mut bytes);
    (-101i32).write(&mut bytes);
    disk.recovered.log.push(Transaction { zxid, bytes: Bytes::from(bytes) });
    let follower = Node::start(3, &members, disk, IN_MEMORY);
    let view = follower.wait("the follower has cut its log", learns);
    assert_eq!((view.synchronised, view.last), (vec!["TRUNC"], end));
    create(&mut session, (0..50).map(|n| format!("/afterwards-{n}")));
    let end = self::zxid(&second);
    let view = follower.wait("what was written arrives", |view| view.applied == end);
    assert_eq!(view.different, None);
    assert_eq!(held_by(&follower), seen_by(&second));
}

#[test]
fn java_follows_ours_from_memory_from_the_log_and_by_a_tree() {
    let members = members(4, &[4]);
    let habits = Habits { window_bytes: 0, log_transactions: 150 };
    let leader = Node::start(3, &members, Disk::default(), habits);
    let mut first = Java::start(1, &members);
    leader.wait("ours leads", leads);
    first.wait_for_mode("follower");
    (0..100).for_each(|n| leader.create(&format!("/n-{n}"), b"data"));
    let mut session = first.session();
    create(&mut session, (0..20).map(|n| format!("/forwarded-{n}")));
    // It missed what is in the log alone.
    let second = Java::start(2, &members);
    second.wait_for_mode("follower");
    assert_eq!(seen_by(&second), held_by(&leader));
    let view = leader.view();
    assert_eq!((view.logs_sent, view.trees_sent), (1, 0));
    // It missed more than is sent of the log, and the tree changes while it is sent.
    (0..3000).for_each(|n| leader.create(&format!("/n-{}/more-{n}", n % 100), b"data"));
    let observer = Java::start(4, &members);
    let mut written = 0;
    while observer.status().is_none() {
        written += 1;
        leader.create(&format!("/meanwhile-{written}"), b"data");
        leader.create(&format!("/n-{}/meanwhile-{written}", written % 100), b"data");
        leader
            .wait("it goes on", |view| view.applied == view.last && view.applied.counter() > 3120 + written);
    }
    observer.wait_for_mode("observer");
    assert_eq!(seen_by(&observer), held_by(&leader));
    let view = leader.view();
    assert_eq!((view.logs_sent, view.trees_sent), (1, 1));
    // Its ack alone is enough with ours.
    first.kill();
    let mut session = second.session();
    create(&mut session, (0..50).map(|n| format!("/last-{n}")));
    assert_eq!(seen_by(&observer), held_by(&leader));
    for java in [&first, &second, &observer] {
        assert!(!java.log().contains("Digests are not matching"), "{}", java.log());
    }
}

#[test]
fn whoever_is_left_leads() {
    let members = members(3, &[]);
    let first = Java::start(1, &members);
    let mut third = Java::start(3, &members);
    third.wait_for_mode("leader");
    let ours = Node::start(2, &members, Disk::default(), IN_MEMORY);
    ours.wait("ours follows", learns);
    create(&mut third.session(), (0..10).map(|n| format!("/java-led-{n}")));
    let end = zxid(&third);
    ours.wait("what was written arrives", |view| view.applied == end);
    third.kill();
    let begun = Instant::now();
    ours.wait("ours leads", leads);
    println!("Java's leader killed: ours leads after {:?}", begun.elapsed());
    create(&mut first.session(), (0..10).map(|n| format!("/ours-led-{n}")));
    third.restart();
    third.wait_for_mode("follower");
    // A client's session ends meanwhile or does not; what is written is compared.
    assert_eq!(seen_by(&third), seen_by(&first));
    let disk = ours.stop();
    let begun = Instant::now();
    third.wait_for_mode("leader");
    println!("ours stopped: Java leads after {:?}", begun.elapsed());
    create(&mut first.session(), (0..10).map(|n| format!("/java-led-again-{n}")));
    let ours = Node::start(2, &members, disk, IN_MEMORY);
    let end = zxid(&third);
    let view = ours.wait("ours follows", |view| learns(view) && view.applied >= end);
    assert!(view.different.is_none() && view.compared >= 10, "what ours led to is Java's tree: {view:?}");
    assert_eq!(held_by(&ours), seen_by(&third));
}

#[test]
fn two_of_ours_go_on_without_java() {
    let members = members(3, &[]);
    let first = Node::start(1, &members, Disk::default(), IN_MEMORY);
    let mut third = Java::start(3, &members);
    third.wait_for_mode("leader");
    let second = Node::start(2, &members, Disk::default(), IN_MEMORY);
    second.wait("ours follows", learns);
    create(&mut third.session(), (0..10).map(|n| format!("/java-led-{n}")));
    let end = zxid(&third);
    for ours in [&first, &second] {
        ours.wait("what was written arrives", |view| view.applied == end);
    }
    third.kill();
    let begun = Instant::now();
    let epoch = second.wait("ours leads", leads).last;
    first.wait("ours follows ours", |view| learns(view) && leader_of(view) == Some(ServerId(2)));
    println!("Java's leader killed: ours leads ours after {:?}", begun.elapsed());
    garbage(&members, 1);
    garbage(&members, 2);
    (0..1000).for_each(|n| second.create(&format!("/ours-led-{n}"), b"data"));
    let end = second.wait("what was proposed is committed", |view| {
        view.applied.counter() == 1000 && view.applied.epoch() > epoch.epoch()
    });
    let view = first.wait("what was proposed arrives", |view| view.applied == end.applied);
    assert_eq!(view.digest, end.digest);
    let sought = |view: &View| view.notices.iter().filter(|notice| notice.contains("looking")).count();
    assert_eq!((sought(&first.view()), sought(&second.view())), (2, 2), "garbage disturbs no role");
    third.restart();
    third.wait_for_mode("follower");
    assert_eq!(seen_by(&third), held_by(&first));
    drop(second);
    third.wait_for_mode("leader");
    first.wait("ours follows", |view| learns(view) && leader_of(view) == Some(ServerId(3)));
}

fn leader_of(view: &View) -> Option<ServerId> {
    match view.serving {
        Serving::Learner { leader, .. } => Some(leader),
        _ => None,
    }
}

/// Says what is no protocol to a server's ports, and opens more connections than it takes.
fn garbage(members: &Members, server: u8) {
    let (quorum, election) = ports(members, server);
    let long = |byte: u8| vec![byte; 100_000];
    let http = b"GET / HTTP/1.1\r\n\r\n".to_vec();
    let handshake = |rest: &[u8]| {
        let mut bytes = (-65536i64).to_be_bytes().to_vec();
        bytes.extend_from_slice(&200i64.to_be_bytes());
        bytes.extend_from_slice(&11i32.to_be_bytes());
        bytes.extend_from_slice(b"127.0.0.1:1");
        bytes.extend_from_slice(rest);
        bytes
    };
    let said = [
        http,
        long(0),
        long(0xff),
        long(7),
        handshake(&long(0xff)),
        handshake(&long(0)),
        handshake(&long(1)),
    ];
    for port in [quorum, election] {
        for bytes in &said {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
            // The server may be faster in ending it.
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
        let silent: Vec<TcpStream> =
            (0..200).map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens")).collect();
        let mut refused = &silent[silent.len() - 1];
        // Sooner than those end who are given time to say who they are.
        refused.set_read_timeout(Some(Duration::from_secs(4))).expect("a timeout");
        let refused = match refused.read(&mut [0]) {
            Ok(bytes) => bytes == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        };
        assert!(refused, "more than enough have said nothing");
    }
}
