//! A multi becomes visible at once or not at all.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ringkeeper_tests::wire::{Reply, error_name, op};

use crate::client::{
    Client, NO_NODE, Record, Stat, create, data_of, delete, get, multi, multi_read, pipeline, read, set,
};
use crate::{Writing, start, times};

const DEPTH: usize = 64;

/// Two writers set `/a` and `/b` to one value, and make and remove pairs of nodes, each by a multi.
pub fn a_multi_is_seen_whole(cores: usize) {
    let server = start(cores);
    let address = server.address();
    let mut client = Client::connect(address);
    client.must(multi(&[create("/a", "none"), create("/b", "none"), create("/pairs", "")]));
    let writing = AtomicBool::new(true);
    let rounds: usize = thread::scope(|scope| {
        let readers: Vec<_> = (0..2).map(|_| scope.spawn(|| look(address, &writing))).collect();
        let guard = Writing(&writing);
        let writers: Vec<_> = (0..2).map(|writer| scope.spawn(move || write(address, writer))).collect();
        writers.into_iter().for_each(|writer| writer.join().expect("a writer"));
        drop(guard);
        readers.into_iter().map(|reader| reader.join().expect("a reader")).sum()
    });
    println!("{rounds} rounds of reads");
}

fn write(address: SocketAddr, writer: usize) {
    let mut client = Client::connect(address);
    let (x, y) = (format!("/pairs/x{writer}"), format!("/pairs/y{writer}"));
    let make = |number: usize| match number % 4 {
        0 => multi(&[create(&x, ""), create(&y, "")]),
        2 => multi(&[delete(&x), delete(&y)]),
        _ => {
            let value = format!("{writer}-{number}");
            multi(&[set("/a", &value), set("/b", &value)])
        }
    };
    pipeline(&mut client, times(6000), DEPTH, make, |number, reply| {
        assert_eq!(reply.error, 0, "multi {number}: {}", error_name(reply.error));
    });
}

fn look(address: SocketAddr, writing: &AtomicBool) -> usize {
    let mut client = Client::connect(address);
    let pairs = read(op::GET_CHILDREN, "/pairs", false);
    let both = multi_read(&[get("/a"), get("/b")]);
    let nodes = multi_read(&[get("/pairs/x0"), get("/pairs/y0"), pairs.clone()]);
    let burst = [both.clone(), get("/a"), get("/b"), both, nodes, pairs];
    let mut rounds = 0;
    while writing.load(Ordering::Acquire) || rounds < 100 {
        client.send(&burst);
        let before = pair(&client.reply());
        let a = data_of(&client.reply()).1;
        let b = data_of(&client.reply()).1;
        let after = pair(&client.reply());
        let seen = [before.mzxid, a.mzxid, b.mzxid, after.mzxid];
        assert!(seen.is_sorted(), "one burst saw the transactions {seen:?} in this order");
        pair_of_nodes(&client.reply());
        whole_pairs(&Record::of(&client.reply().body).texts());
        rounds += 1;
    }
    rounds
}

/// The Stat that the two nodes of a multiRead agree on.
fn pair(reply: &Reply) -> Stat {
    let mut record = Record::of(&reply.body);
    let mut next = || {
        assert_eq!(record.result(), Some((op::GET_DATA, 0)));
        (record.text(), record.stat())
    };
    let (a, b) = (next(), next());
    assert_eq!(a, b, "half of a multi is to be seen");
    a.1
}

fn pair_of_nodes(reply: &Reply) {
    let mut record = Record::of(&reply.body);
    let mut there = || match record.result() {
        Some((op::GET_DATA, 0)) => {
            record.text();
            record.stat();
            true
        }
        Some((op::ERROR, NO_NODE)) => {
            record.int();
            false
        }
        other => panic!("{other:?} in a multiRead"),
    };
    let (x, y) = (there(), there());
    assert_eq!(x, y, "one node of a multi is there, the other is not");
    assert_eq!(record.result(), Some((op::GET_CHILDREN, 0)));
    let names = record.texts();
    whole_pairs(&names);
    assert_eq!(names.contains(&"x0"), x, "node and list are of two moments: {names:?}");
}

fn whole_pairs(names: &[&str]) {
    for writer in 0..2 {
        let (x, y) = (format!("x{writer}"), format!("y{writer}"));
        let half = names.contains(&x.as_str()) != names.contains(&y.as_str());
        assert!(!half, "half of a multi is in the list: {names:?}");
    }
}
