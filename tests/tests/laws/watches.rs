//! Registering a watch and reading its node are one step, and its event comes before anything newer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use ringkeeper_tests::ensemble::{Ensemble, Plan};
use ringkeeper_tests::wire::{Reply, error_name, op};

use crate::client::{
    CHILDREN_CHANGED, CREATED, Client, DATA_CHANGED, DELETED, Event, NO_NODE, Record, Request, Stat,
    add_watch, create, data_of, delete, get_acl, multi, pipeline, read, set, sync,
};
use crate::{Writing, seed, start, times};

const DEPTH: usize = 32;
/// Nodes of each sort.
const NODES: usize = 4;
/// Clients that set one-shot watches.
const READERS: usize = 3;
/// How long all readers may take to come to rest.
const REST_MAX: Duration = Duration::from_secs(60);

/// A path and what is watched there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Watched {
    /// `/w/data*`: always there.
    Data(String),
    /// `/w/node*`: comes and goes.
    Exists(String),
    /// `/w/parent*`: always there, its children come and go.
    Children(String),
}

impl Watched {
    fn all() -> impl Iterator<Item = Watched> {
        (0..NODES).flat_map(|n| {
            [
                Watched::Data(format!("/w/data{n}")),
                Watched::Exists(format!("/w/node{n}")),
                Watched::Children(format!("/w/parent{n}")),
            ]
        })
    }

    /// What an event at one of the paths is about.
    fn of(event: &Event) -> Watched {
        let path = event.path.clone();
        match event.kind {
            CHILDREN_CHANGED => Watched::Children(path),
            DATA_CHANGED if path.starts_with("/w/data") => Watched::Data(path),
            CREATED | DELETED | DATA_CHANGED if path.starts_with("/w/node") => Watched::Exists(path),
            _ => panic!("{event:?} has no watch"),
        }
    }

    /// The read that can register the watch.
    fn request(&self, watch: bool) -> Request {
        match self {
            Watched::Data(path) => read(op::GET_DATA, path, watch),
            Watched::Exists(path) => read(op::EXISTS, path, watch),
            Watched::Children(path) => read(op::GET_CHILDREN2, path, watch),
        }
    }

    /// The transaction that the read saw; none of a node that is not there.
    fn zxid(&self, reply: &Reply) -> Option<i64> {
        let mut record = Record::of(&reply.body);
        match self {
            Watched::Exists(_) if reply.error == NO_NODE => None,
            _ if reply.error != 0 => panic!("{self:?}: {}", error_name(reply.error)),
            Watched::Data(_) => Some(data_of(reply).1.mzxid),
            Watched::Exists(_) => Some(record.stat().mzxid),
            Watched::Children(_) => {
                record.texts();
                Some(record.stat().pzxid)
            }
        }
    }
}

/// Each watch that is set gets one event, and each change one event of a persistent watch.
pub fn no_watch_is_lost(cores: usize) {
    let server = start(cores);
    let address = server.address();
    let mut writer = Writer::new(address);
    let writing = AtomicBool::new(true);
    let (rest, at_rest) = mpsc::channel();
    thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                let rest = rest.clone();
                let writing = &writing;
                scope.spawn(move || Reader::new(address).run(writing, &rest))
            })
            .collect();
        drop(rest);
        let mut watchers = [("/w", 1), ("/w", 0), ("/w/parent0", 0), ("/w/data0", 0)].map(|(path, mode)| {
            let mut client = Client::connect(address);
            client.must(add_watch(path, mode));
            (path, mode, client)
        });
        let guard = Writing(&writing);
        let changes = scope.spawn(move || {
            writer.run(times(8000));
            writer
        });
        let mut writer = changes.join().expect("the writer");
        drop(guard);
        for _ in 0..READERS {
            at_rest.recv_timeout(REST_MAX).expect("a reader comes to rest");
        }
        writer.change_each_once();
        let counts: Vec<usize> = readers.into_iter().map(|reader| reader.join().expect("a reader")).collect();
        println!("{counts:?} one-shot watches, {} changes", writer.told.len());
        for (path, mode, client) in &mut watchers {
            client.must(sync("/"));
            let got: Vec<Event> = client.events.drain(..).collect();
            let want: Vec<Event> = writer.told.iter().filter_map(|told| told.to(path, *mode)).collect();
            let differ = got.iter().zip(&want).position(|(got, want)| got != want);
            let differ = differ.map(|at| (at, &got[at], &want[at]));
            assert_eq!(differ, None, "got and wanted at a watch of mode {mode} on {path}");
            assert_eq!(got.len(), want.len(), "events at a watch of mode {mode} on {path}");
        }
    });
}

/// A change as the writer made it.
struct Told {
    zxid: i64,
    kind: i32,
    path: String,
}

impl Told {
    /// The event at a persistent (0) or recursive (1) watch on `path`.
    fn to(&self, path: &str, mode: i32) -> Option<Event> {
        let event = |kind, path: &str| Some(Event { zxid: self.zxid, kind, path: path.to_owned() });
        let parent = self.path.rsplit_once('/').map(|split| split.0);
        match mode {
            1 if self.path.starts_with(&format!("{path}/")) => event(self.kind, &self.path),
            0 if self.path == path => event(self.kind, path),
            0 if self.kind != DATA_CHANGED && parent == Some(path) => event(CHILDREN_CHANGED, path),
            _ => None,
        }
    }
}

/// The only writer: it knows which nodes are there.
struct Writer {
    address: SocketAddr,
    client: Client,
    rng: Rng,
    nodes: [bool; NODES],
    children: [bool; NODES],
    told: Vec<Told>,
}

impl Writer {
    fn new(address: SocketAddr) -> Self {
        let mut client = Client::connect(address);
        client.must(create("/w", ""));
        for watched in Watched::all() {
            if let Watched::Data(path) | Watched::Children(path) = watched {
                client.must(create(&path, ""));
            }
        }
        let rng = Rng::with_seed(seed());
        Writer { address, client, rng, nodes: [false; NODES], children: [false; NODES], told: Vec::new() }
    }

    fn set(&mut self, path: String, changes: &mut Vec<(i32, String)>) -> Request {
        let request = set(&path, "changed");
        changes.push((DATA_CHANGED, path));
        request
    }

    fn toggle(there: &mut bool, path: String, changes: &mut Vec<(i32, String)>) -> Request {
        *there = !*there;
        let (kind, request) = if *there { (CREATED, create(&path, "")) } else { (DELETED, delete(&path)) };
        changes.push((kind, path));
        request
    }

    fn change(&mut self, sort: usize, n: usize, changes: &mut Vec<(i32, String)>) -> Request {
        match sort {
            0 => self.set(format!("/w/data{n}"), changes),
            1 if self.nodes[n] && self.rng.bool() => self.set(format!("/w/node{n}"), changes),
            1 => Self::toggle(&mut self.nodes[n], format!("/w/node{n}"), changes),
            _ => Self::toggle(&mut self.children[n], format!("/w/parent{n}/child"), changes),
        }
    }

    fn run(&mut self, count: usize) {
        let mut client = Client::connect(self.address);
        let mut changes = Vec::new();
        let make = |number| {
            let mut own = Vec::new();
            let sort = self.rng.usize(..4);
            let n = self.rng.usize(..NODES);
            let request = match sort {
                3 => {
                    let parts: Vec<Request> = (0..3).map(|sort| self.change(sort, n, &mut own)).collect();
                    multi(&parts)
                }
                sort => self.change(sort, n, &mut own),
            };
            changes.extend(own.into_iter().map(|change| (number, change)));
            request
        };
        let mut zxids = Vec::new();
        pipeline(&mut client, count, DEPTH, make, |number, reply| {
            assert_eq!(reply.error, 0, "change {number}: {}", error_name(reply.error));
            zxids.push(reply.zxid);
        });
        let told = changes.into_iter().map(|(number, (kind, path))| Told { zxid: zxids[number], kind, path });
        self.told.extend(told);
    }

    /// After this every watch has had its event.
    fn change_each_once(&mut self) {
        for (sort, n) in (0..3).flat_map(|sort| (0..NODES).map(move |n| (sort, n))) {
            let mut changes = Vec::new();
            let request = self.change(sort, n, &mut changes);
            let zxid = self.client.must(request).zxid;
            self.told.extend(changes.into_iter().map(|(kind, path)| Told { zxid, kind, path }));
        }
    }
}

/// Sets one-shot watches, and each again when its event has come.
struct Reader {
    client: Client,
    /// Watches without their event yet, and what the read that set them saw.
    set: HashMap<Watched, Option<i64>>,
    set_count: usize,
    seen_count: usize,
}

impl Reader {
    fn new(address: SocketAddr) -> Self {
        Reader { client: Client::connect(address), set: HashMap::new(), set_count: 0, seen_count: 0 }
    }

    fn register(&mut self, watches: Vec<(Watched, i64)>) {
        let requests: Vec<Request> = watches.iter().map(|(watched, _)| watched.request(true)).collect();
        self.client.send(&requests);
        for (watched, event) in watches {
            let reply = self.client.reply();
            let zxid = watched.zxid(&reply);
            assert!(
                zxid.is_none_or(|zxid| zxid >= event),
                "{watched:?} at {zxid:?} after its event of {event}"
            );
            self.set_count += 1;
            // Its event may be in the queue already: it came behind the read.
            let before = self.set.insert(watched, zxid);
            assert_eq!(before, None, "the watch was set and had no event");
        }
    }

    /// Takes an event; returns the watch that is free again.
    fn take(&mut self, event: &Event) -> (Watched, i64) {
        let watched = Watched::of(event);
        let set = self.set.remove(&watched);
        let Some(zxid) = set else { panic!("{event:?} without a watch, or its second") };
        assert!(zxid.is_none_or(|zxid| event.zxid > zxid), "{event:?} of a watch set at {zxid:?}");
        self.seen_count += 1;
        let known = if event.kind == DELETED { 0 } else { event.zxid };
        (watched, known)
    }

    fn take_all(&mut self) -> Vec<(Watched, i64)> {
        let events: Vec<Event> = self.client.events.drain(..).collect();
        events.iter().map(|event| self.take(event)).collect()
    }

    /// What has a watch without an event is as it was when the watch was set. Returns what fired.
    fn look_again(&mut self) -> Vec<(Watched, i64)> {
        let watches: Vec<Watched> = self.set.keys().cloned().collect();
        let requests: Vec<Request> = watches.iter().map(|watched| watched.request(false)).collect();
        self.client.send(&requests);
        let mut fired = Vec::new();
        for watched in watches {
            let reply = self.client.reply();
            fired.extend(self.take_all());
            if let Some(set_at) = self.set.get(&watched) {
                assert_eq!(watched.zxid(&reply), *set_at, "{watched:?} has changed, and its watch is lost");
            }
        }
        fired
    }

    /// Returns how many watches it set.
    fn run(mut self, writing: &AtomicBool, rest: &mpsc::Sender<()>) -> usize {
        self.register(Watched::all().map(|watched| (watched, 0)).collect());
        loop {
            // Read before the sync: what was written by then has its events before the sync's reply.
            let quiet = !writing.load(Ordering::Acquire);
            self.client.must(sync("/"));
            let mut fired = self.take_all();
            fired.extend(self.look_again());
            if fired.is_empty() && quiet {
                break;
            }
            self.register(fired);
        }
        let waiting = self.set.len();
        assert_eq!(waiting, NODES * 3, "watches that have neither had an event nor wait for one");
        assert_eq!(self.set_count - self.seen_count, waiting);
        rest.send(()).expect("the test waits");
        for _ in 0..waiting {
            let event = self.client.event();
            self.take(&event);
        }
        self.client.must(sync("/"));
        assert_eq!(self.client.events.len(), 0, "more events than watches");
        assert_eq!(self.set_count, self.seen_count, "watches set and events seen");
        self.set_count
    }
}

/// A writer sets `/p` and then `/q`, again and again, to one rising number, and adds a child to
/// `/list` between.
pub fn an_event_comes_before_newer_reads(cores: usize) {
    let server = start(cores);
    let address = server.address();
    let mut client = Client::connect(address);
    for path in ["/p", "/q", "/list"] {
        client.must(create(path, "0"));
    }
    let writing = AtomicBool::new(true);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..3).map(|_| scope.spawn(|| Ordered::new(address).run(&writing))).collect();
        let guard = Writing(&writing);
        let make = |number: usize| match number % 4 {
            0 => set("/p", &(number / 4 + 1).to_string()),
            1 => create(&format!("/list/{number}"), ""),
            2 => set("/q", &(number / 4 + 1).to_string()),
            _ => delete(&format!("/list/{}", number - 2)),
        };
        pipeline(&mut client, times(12_000), DEPTH, make, |number, reply| {
            assert_eq!(reply.error, 0, "write {number}: {}", error_name(reply.error));
        });
        drop(guard);
        let events: usize = readers.into_iter().map(|reader| reader.join().expect("a reader")).sum();
        println!("{events} events");
        assert!(events > 100, "only {events} events: the readers hardly met the writer");
    });
}

/// A reader that knows what its watches must have told it.
struct Ordered {
    client: Client,
    /// `/p` as the read saw that set the watch which has had no event yet.
    p: Option<(u64, Stat)>,
    /// `/list`'s pzxid, likewise.
    list: Option<i64>,
    events: usize,
}

impl Ordered {
    fn new(address: SocketAddr) -> Self {
        Ordered { client: Client::connect(address), p: None, list: None, events: 0 }
    }

    fn reply(&mut self) -> Reply {
        let reply = self.client.reply();
        for event in std::mem::take(&mut self.client.events) {
            self.events += 1;
            let set_at = match event.path.as_str() {
                "/p" => self.p.take().map(|(_, stat)| stat.mzxid),
                _ => self.list.take(),
            };
            assert!(set_at.is_some_and(|zxid| zxid < event.zxid), "{event:?} of a watch set at {set_at:?}");
        }
        reply
    }

    fn number(&mut self) -> (u64, Stat) {
        let reply = self.reply();
        let (text, stat) = data_of(&reply);
        (text.parse().expect("a number"), stat)
    }

    /// `/p`, which may be newer than what the watch saw only if its event has come.
    fn p(&mut self, sets_watch: bool) {
        let seen = self.number();
        if let Some(known) = &self.p {
            assert_eq!(known, &seen, "/p is newer, and its event has not come");
        } else if sets_watch {
            self.p = Some(seen);
        }
    }

    /// `/q`, which follows `/p`: if it is ahead of what the watch saw, `/p` has changed since.
    fn q(&mut self) {
        let (number, _) = self.number();
        if let Some((known, _)) = &self.p {
            assert!(number <= *known, "/q is {number}, /p was {known} and its event has not come");
        }
    }

    fn list(&mut self, sets_watch: bool) {
        let reply = self.reply();
        let mut record = Record::of(&reply.body);
        record.texts();
        let stat = record.stat();
        match self.list {
            Some(known) => assert_eq!(known, stat.pzxid, "/list is newer, and its event has not come"),
            None if sets_watch => self.list = Some(stat.pzxid),
            None => {}
        }
    }

    /// Returns how many events came.
    fn run(mut self, writing: &AtomicBool) -> usize {
        let p = |watch| read(op::GET_DATA, "/p", watch);
        let list = |watch| read(op::GET_CHILDREN2, "/list", watch);
        let q = read(op::GET_DATA, "/q", false);
        let burst =
            [q.clone(), p(true), q.clone(), list(true), p(false), list(false), q.clone(), p(false), q];
        while writing.load(Ordering::Acquire) {
            self.client.send(&burst);
            self.q();
            self.p(true);
            self.q();
            self.list(true);
            self.p(false);
            self.list(false);
            self.q();
            self.p(false);
            self.q();
        }
        self.events
    }
}

/// Writes and reads of one session, sent without waiting: a read sees every write before it and none
/// behind it, and a watch that it sets is told of the next one.
pub fn reads_between_writes_stand_where_they_were_sent(cores: usize) {
    let server = start(cores);
    read_between_writes(server.address());
}

/// The same through a follower: its clients' writes are decided elsewhere, their reads are answered here.
#[test]
fn reads_between_writes_of_a_follower_stand_where_they_were_sent() {
    let ensemble = Ensemble::start(&Plan::of("rrr"));
    let follower = ensemble.followers()[0];
    read_between_writes(ensemble.node(follower).address());
}

fn read_between_writes(address: SocketAddr) {
    let mut client = Client::connect(address);
    client.must(create("/p", ""));
    for round in 0..times(200) {
        let (name, late) = (format!("/p/n{round}"), format!("/p/late{round}"));
        client.send(&[
            create(&name, "a"),
            read(op::GET_DATA, &name, true),
            read(op::GET_CHILDREN, "/p", true),
            read(op::EXISTS, &late, true),
            set(&name, "b"),
            create(&late, ""),
            read(op::GET_DATA, &name, false),
            delete(&late),
            read(op::EXISTS, &late, false),
            get_acl(&late),
        ]);
        assert_eq!(client.reply().error, 0);
        assert_eq!(data_of(&client.reply()).0, "a");
        let children = client.reply();
        assert_eq!(Record::of(&children.body).texts().len(), round + 1);
        assert_eq!(client.reply().error, NO_NODE);
        (0..2).for_each(|_| assert_eq!(client.reply().error, 0));
        assert_eq!(data_of(&client.reply()).0, "b");
        assert_eq!(client.reply().error, 0);
        (0..2).for_each(|_| assert_eq!(client.reply().error, NO_NODE));
        let mut told: Vec<(i32, String)> = client.events.drain(..).map(|e| (e.kind, e.path)).collect();
        told.sort();
        let parent = "/p".to_owned();
        assert_eq!(told, [(CREATED, late), (DATA_CHANGED, name), (CHILDREN_CHANGED, parent)]);
    }
}
