//! A session's requests are answered in order, and it never sees time go back.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fastrand::Rng;
use ringkeeper_tests::wire::{Reply, error_name, op};

use crate::client::{
    Client, NO_NODE, NODE_EXISTS, Record, Request, create, data_of, delete, get, multi, pipeline, read, set,
};
use crate::{Writing, seed, start, times};

/// Requests of one piece.
const BURST_MAX: usize = 60;
/// Requests without an answer.
const DUE_MAX: usize = 200;
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Sessions that pipeline reads and writes of a subtree of their own, where each answer is known.
pub fn a_sessions_requests_are_answered_in_order(cores: usize) {
    let server = start(cores);
    let address = server.address();
    let seed = seed();
    thread::scope(|scope| {
        let sessions: Vec<_> = (0..4)
            .map(|number| scope.spawn(move || Script::new(address, number, seed).run(times(4000))))
            .collect();
        sessions.into_iter().for_each(|session| session.join().expect("a session"));
    });
}

/// What a reply must say.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Error(i32),
    Done,
    Path(String),
    /// Data and version.
    Data(String, i32),
    /// Version.
    Stat(i32),
    Names(Vec<String>),
}

/// One session and the subtree that only it changes.
struct Script {
    client: Client,
    rng: Rng,
    root: String,
    nodes: BTreeMap<&'static str, (String, i32)>,
    /// Operation and answer of each request that is sent and not answered.
    due: VecDeque<(i32, Answer)>,
    made: usize,
}

impl Script {
    fn new(address: SocketAddr, number: usize, seed: u64) -> Self {
        let mut client = Client::connect(address);
        let root = format!("/session{number}");
        client.must(create(&root, ""));
        let rng = Rng::with_seed(seed + number as u64);
        Script { client, rng, root, nodes: BTreeMap::new(), due: VecDeque::new(), made: 0 }
    }

    fn run(&mut self, count: usize) {
        while self.made < count {
            let burst: Vec<Request> = (0..self.rng.usize(1..=BURST_MAX)).map(|_| self.next()).collect();
            self.client.send(&burst);
            let keep = self.rng.usize(..DUE_MAX);
            while self.due.len() > keep {
                self.check();
            }
        }
        while !self.due.is_empty() {
            self.check();
        }
    }

    fn check(&mut self) {
        let reply = self.client.reply();
        let (op, want) = self.due.pop_front().expect("a reply is due");
        assert_eq!(answer(op, &reply), want, "operation {op} in {}", self.root);
    }

    /// The next request, and the answer that it must get after all before it.
    fn next(&mut self) -> Request {
        self.made += 1;
        let name = NAMES[self.rng.usize(..NAMES.len())];
        let path = format!("{}/{name}", self.root);
        let value = self.made.to_string();
        let known = self.nodes.get(name).cloned();
        let (request, answer) = match self.rng.usize(..8) {
            0 => (create(&path, &value), self.create(name, &value)),
            1 => (delete(&path), self.nodes.remove(name).map_or(Answer::Error(NO_NODE), |_| Answer::Done)),
            2 => (set(&path, &value), self.set(name, &value)),
            3 | 4 => {
                let answer =
                    known.map_or(Answer::Error(NO_NODE), |(data, version)| Answer::Data(data, version));
                (get(&path), answer)
            }
            5 => {
                let answer = known.map_or(Answer::Error(NO_NODE), |(_, version)| Answer::Stat(version));
                (read(op::EXISTS, &path, false), answer)
            }
            6 => {
                let names = self.nodes.keys().map(ToString::to_string).collect();
                (read(op::GET_CHILDREN, &self.root, false), Answer::Names(names))
            }
            _ => {
                let first = NAMES[0];
                let parts = [set(&path, &value), set(&format!("{}/{first}", self.root), &value)];
                let whole = self.nodes.contains_key(name) && self.nodes.contains_key(first);
                let answer = if whole {
                    self.set(name, &value);
                    self.set(first, &value);
                    Answer::Done
                } else {
                    Answer::Error(NO_NODE)
                };
                (multi(&parts), answer)
            }
        };
        self.due.push_back((request.op, answer));
        request
    }

    fn create(&mut self, name: &'static str, value: &str) -> Answer {
        if self.nodes.contains_key(name) {
            return Answer::Error(NODE_EXISTS);
        }
        self.nodes.insert(name, (value.to_owned(), 0));
        Answer::Path(format!("{}/{name}", self.root))
    }

    fn set(&mut self, name: &str, value: &str) -> Answer {
        let Some((data, version)) = self.nodes.get_mut(name) else { return Answer::Error(NO_NODE) };
        value.clone_into(data);
        *version += 1;
        Answer::Stat(*version)
    }
}

fn answer(op: i32, reply: &Reply) -> Answer {
    let mut record = Record::of(&reply.body);
    if op == op::MULTI {
        return multi_answer(&mut record);
    }
    if reply.error != 0 {
        return Answer::Error(reply.error);
    }
    match op {
        op::CREATE => Answer::Path(record.text().to_owned()),
        op::DELETE => Answer::Done,
        op::GET_DATA => {
            let (data, stat) = data_of(reply);
            Answer::Data(data.to_owned(), stat.version)
        }
        op::GET_CHILDREN => {
            let mut names: Vec<String> = record.texts().into_iter().map(str::to_owned).collect();
            names.sort_unstable();
            Answer::Names(names)
        }
        _ => Answer::Stat(record.stat().version),
    }
}

/// Done, or the first error that is not «rolled back» or «not tried».
fn multi_answer(record: &mut Record<'_>) -> Answer {
    const RUNTIME_INCONSISTENCY: i32 = -2;
    let mut error = None;
    while let Some((op, _)) = record.result() {
        if op == op::ERROR {
            let code = record.int();
            if code != 0 && code != RUNTIME_INCONSISTENCY {
                error = error.or(Some(code));
            }
        } else {
            record.stat();
        }
    }
    error.map_or(Answer::Done, Answer::Error)
}

/// Sessions that move from connection to connection, and so from core to core, while others write.
/// That zxids of replies never go back, [`Client`] checks itself.
pub fn time_never_goes_back_across_reconnects(cores: usize) {
    let server = start(cores);
    let address = server.address();
    Client::connect(address).must(create("/shared", "0"));
    let (writing, seed) = (AtomicBool::new(true), seed());
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut client = Client::connect(address);
            let mut number = 0;
            while writing.load(Ordering::Acquire) {
                pipeline(
                    &mut client,
                    200,
                    32,
                    |_| {
                        number += 1;
                        set("/shared", &number.to_string())
                    },
                    |_, reply| assert_eq!(reply.error, 0, "{}", error_name(reply.error)),
                );
            }
        });
        let guard = Writing(&writing);
        let movers: Vec<_> =
            (0..3).map(|number| scope.spawn(move || move_about(address, number, seed))).collect();
        movers.into_iter().for_each(|mover| mover.join().expect("a session that moves"));
        drop(guard);
        writer.join().expect("the writer");
    });
}

/// Each connection reads what others write and what it wrote itself, then is given up: after its
/// last answer, with requests under way, or while it is still open.
fn move_about(address: SocketAddr, number: usize, seed: u64) {
    let mut client = Client::connect(address);
    let mut rng = Rng::with_seed(seed + number as u64);
    let own = format!("/own{number}");
    client.must(create(&own, "0"));
    let (mut shared, mut acknowledged, mut written) = (0, 0, 0u64);
    for _ in 0..times(60) {
        // Right away, before this core has anything else to deliver.
        client.send(&[get("/shared"), get(&own)]);
        for _ in 0..rng.usize(1..4) {
            let value = |reply: &Reply| data_of(reply).0.parse::<u64>().expect("a number");
            let (now, mine) = (value(&client.reply()), value(&client.reply()));
            assert!(now >= shared, "/shared went from {shared} back to {now}");
            assert!(mine >= acknowledged, "{own} lost the write of {acknowledged}: it is {mine}");
            assert!(mine <= written, "{own} is {mine}, but only {written} were written");
            shared = now;
            written += 1;
            assert_eq!(client.must(set(&own, &written.to_string())).error, 0);
            acknowledged = written;
            client.send(&[get("/shared"), get(&own)]);
        }
        match rng.usize(..3) {
            0 => {
                client.reply();
                client.reply();
                client.hang_up();
            }
            1 => {
                let more: Vec<Request> = (0..20)
                    .map(|_| {
                        written += 1;
                        set(&own, &written.to_string())
                    })
                    .collect();
                client.send(&more);
                client.hang_up();
            }
            _ => {}
        }
        client.reconnect();
    }
}
