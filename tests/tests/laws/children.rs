//! A list of 50,000 children is one version of the set, while children come and go.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fastrand::Rng;
use ringkeeper_tests::wire::{error_name, op};

use crate::client::{Client, Record, Request, create, delete, multi, pipeline, read};
use crate::{Writing, seed, start, times};

const CHILDREN: usize = 50_000;
/// Creations in one multi while the list is made.
const CHUNK: usize = 1000;
const DEPTH: usize = 32;

/// What one list says, in a size that can be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    count: usize,
    /// Sum of the names' hashes: the order of a list has no meaning.
    names: u64,
    cversion: i32,
}

/// The set as its only writer knows it.
struct Model {
    names: Vec<String>,
    seen: Seen,
    hashes: RandomState,
    made: usize,
}

impl Model {
    fn add(&mut self) -> Request {
        let name = format!("child-{:07}", self.made);
        self.made += 1;
        self.change(&name, true);
        let request = create(&format!("/list/{name}"), "");
        self.names.push(name);
        request
    }

    fn take(&mut self, rng: &mut Rng) -> Request {
        let name = self.names.swap_remove(rng.usize(..self.names.len()));
        self.change(&name, false);
        delete(&format!("/list/{name}"))
    }

    fn change(&mut self, name: &str, added: bool) {
        let hash = self.hashes.hash_one(name);
        let Seen { count, names, cversion } = &mut self.seen;
        (*count, *names) = match added {
            true => (*count + 1, names.wrapping_add(hash)),
            false => (*count - 1, names.wrapping_sub(hash)),
        };
        *cversion += 1;
    }
}

/// Each list must be what its one writer made of it by the list's own pzxid.
pub fn a_large_list_is_one_version(cores: usize) {
    let server = start(cores);
    let address = server.address();
    let mut client = Client::connect(address);
    client.must(create("/list", ""));
    let hashes = RandomState::new();
    let seen = Seen { count: 0, names: 0, cversion: 0 };
    let mut model = Model { names: Vec::new(), seen, hashes: hashes.clone(), made: 0 };
    for _ in 0..CHILDREN / CHUNK {
        let parts: Vec<Request> = (0..CHUNK).map(|_| model.add()).collect();
        client.must(multi(&parts));
    }
    let mut versions = HashMap::from([(client.newest, model.seen.clone())]);
    let writing = AtomicBool::new(true);
    let lists: Vec<(i64, Seen)> = thread::scope(|scope| {
        let readers: Vec<_> = (0..2).map(|_| scope.spawn(|| look(address, &writing, &hashes))).collect();
        let guard = Writing(&writing);
        change(&mut client, &mut model, &mut versions);
        drop(guard);
        readers.into_iter().flat_map(|reader| reader.join().expect("a reader")).collect()
    });
    for (pzxid, seen) in &lists {
        assert_eq!(versions.get(pzxid), Some(seen), "the list of zxid {pzxid}");
    }
    let distinct: std::collections::HashSet<i64> = lists.iter().map(|list| list.0).collect();
    println!("{} lists of {} versions, of {} that were made", lists.len(), distinct.len(), versions.len());
    assert!(distinct.len() > 1, "the lists were read while nothing changed");
}

/// Adds and removes, one at a time and several in a multi; notes what is there after each zxid.
fn change(client: &mut Client, model: &mut Model, versions: &mut HashMap<i64, Seen>) {
    let mut rng = Rng::with_seed(seed());
    let mut after = Vec::new();
    let make = |_| {
        let request = match rng.usize(..5) {
            0 | 1 => model.add(),
            2 | 3 => model.take(&mut rng),
            _ => multi(&[model.add(), model.take(&mut rng), model.add(), model.take(&mut rng)]),
        };
        after.push(model.seen.clone());
        request
    };
    let mut zxids = Vec::new();
    pipeline(client, times(20_000), DEPTH, make, |number, reply| {
        assert_eq!(reply.error, 0, "change {number}: {}", error_name(reply.error));
        zxids.push(reply.zxid);
    });
    versions.extend(zxids.into_iter().zip(after));
}

fn look(address: SocketAddr, writing: &AtomicBool, hashes: &RandomState) -> Vec<(i64, Seen)> {
    let mut client = Client::connect(address);
    let mut lists = Vec::new();
    while writing.load(Ordering::Acquire) || lists.len() < 3 {
        let reply = client.must(read(op::GET_CHILDREN2, "/list", false));
        let mut record = Record::of(&reply.body);
        let mut names = record.texts();
        let stat = record.stat();
        assert_eq!(stat.num_children as usize, names.len(), "numChildren and the list differ");
        assert!(stat.pzxid <= reply.zxid, "a list of {} in a reply of {}", stat.pzxid, reply.zxid);
        let sum = names.iter().fold(0u64, |sum, name| sum.wrapping_add(hashes.hash_one(*name)));
        names.sort_unstable();
        assert!(names.is_sorted_by(|a, b| a < b), "a name is twice in a list");
        let seen = Seen { count: names.len(), names: sum, cversion: stat.cversion };
        lists.push((stat.pzxid, seen));
    }
    lists
}
