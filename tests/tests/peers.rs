//! Servers of ours and Java's in one ensemble, on ZooKeeper's election and quorum ports.

use ringkeeper_quorum::zab::Serving;
use ringkeeper_tests::body;
use ringkeeper_tests::peers::java::Java;
use ringkeeper_tests::peers::node::{Disk, Habits, Node};
use ringkeeper_tests::peers::{members, wait_for};
use ringkeeper_tests::wire::{Session, op};

fn write(session: &mut Session, paths: impl IntoIterator<Item = String>) {
    for path in paths {
        session.ask(op::CREATE, &body::create(&path, path.as_bytes(), 0));
    }
}

fn zxid(java: &Java) -> u64 {
    wait_for("a zxid", || java.status()).1
}

#[test]
fn ours_follows_java() {
    let members = members(4, &[4]);
    let mut first = Java::start(1, &members);
    let second = Java::start(2, &members);
    let mut session = first.session();
    write(&mut session, (0..50).map(|n| format!("/before-{n}")));
    let observer = Node::start(4, &members, Disk::default(), Habits::default());
    let serves = |view: &ringkeeper_tests::peers::node::View| matches!(view.serving, Serving::Learner { .. });
    let view = observer.wait("the observer serves", serves);
    println!("observer: {view:?}");
    write(&mut session, (0..50).map(|n| format!("/observed-{n}")));
    let end = zxid(&first);
    let view = observer.wait("what was written arrives", |view| view.applied.0 == end);
    assert_eq!(view.different, None);
    let follower = Node::start(3, &members, Disk::default(), Habits::default());
    let view = follower.wait("the follower serves", serves);
    println!("follower: {view:?}");
    drop(session);
    let mut session = second.session();
    first.kill();
    write(&mut session, (0..50).map(|n| format!("/with-ours-{n}")));
    let end = zxid(&second);
    let view = follower.wait("what was written arrives", |view| view.applied.0 == end);
    println!("follower: {view:?}");
}
