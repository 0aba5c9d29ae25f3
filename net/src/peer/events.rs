//! What the tasks and threads of the peers' connections tell the loop: that something is there to be
//! looked at, each thing once until it was looked at. Nothing is decided here.

use crate::moves::Opened;
use crate::ring::{Stream, Wake};
use crossbeam::queue::SegQueue;
use ringkeeper_engine::id::ServerId;
use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::zookeeper::restore::Staged;
use ringkeeper_quorum::zab::{Attempt, Link};
use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

/// Which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// On the election port, by a number of its own.
    Election(u64),
    /// Of a learner of this server.
    Learner(Link),
    /// To the leader.
    Leader(Attempt),
}

/// A port of this server that others connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// For votes.
    Election,
    /// For learners.
    Quorum,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Port::Election => "the election port",
            Port::Quorum => "the quorum port",
        })
    }
}

/// What is there to be looked at, on this thread.
pub enum Event {
    /// Somebody connected.
    Accepted(Port, Stream, SocketAddr),
    /// Bytes came, or the connection ended.
    Arrived(Key),
    /// More of a transfer has left.
    Transferred(Key),
    /// It is time to try to reach a server again.
    Retry(ServerId),
    /// It is time to look who connected and said nothing.
    Sweep,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    arrived: BTreeSet<Key>,
    transferred: BTreeSet<Key>,
}

/// The queue of this thread.
pub struct Events {
    queue: RefCell<Queue>,
    wake: Wake,
}

impl Events {
    /// Nothing yet; each event wakes `wake`.
    pub fn new(wake: Wake) -> Events {
        Events { queue: RefCell::default(), wake }
    }

    /// Adds one.
    pub fn push(&self, event: Event) {
        self.queue.borrow_mut().events.push_back(event);
        self.wake.wake();
    }

    /// Bytes came, or the connection ended.
    pub fn arrived(&self, key: Key) {
        if self.queue.borrow_mut().arrived.insert(key) {
            self.push(Event::Arrived(key));
        }
    }

    /// More of a transfer has left.
    pub fn transferred(&self, key: Key) {
        if self.queue.borrow_mut().transferred.insert(key) {
            self.push(Event::Transferred(key));
        }
    }

    /// The oldest.
    pub fn take(&self) -> Option<Event> {
        let mut queue = self.queue.borrow_mut();
        let event = queue.events.pop_front()?;
        match &event {
            Event::Arrived(key) => _ = queue.arrived.remove(key),
            Event::Transferred(key) => _ = queue.transferred.remove(key),
            Event::Accepted(..) | Event::Retry(_) | Event::Sweep => {}
        }
        Some(event)
    }
}

/// What a thread has done.
pub enum Done {
    /// Connected to the election port of a server, or did not; for a server with a higher number this is
    /// all that was wanted.
    Election(ServerId, io::Result<(TcpStream, SocketAddr)>),
    /// Connected to the leader, or did not.
    Leader(Attempt, io::Result<(TcpStream, SocketAddr)>),
    /// Took more of the tree that the leader sends.
    StageTook(Attempt),
    /// Has the whole tree, or knows why not; with the chunks that are not of it.
    Staged(Attempt, Result<Box<Staged>, String>, Receiver<Vec<u8>>),
    /// Listens for this server's peers at another address.
    Opened(Port, Opened),
    /// Searched the log for where a learner's ends.
    Sought(Link, Option<Zxid>),
}

/// The queue of other threads.
#[derive(Clone)]
pub struct Results {
    queue: Arc<SegQueue<Done>>,
    wake: Wake,
}

impl Results {
    /// Nothing yet; each result wakes `wake`.
    pub fn new(wake: Wake) -> Results {
        Results { queue: Arc::default(), wake }
    }

    /// Adds one.
    pub fn put(&self, done: Done) {
        self.queue.push(done);
        self.wake.wake();
    }

    /// The oldest.
    pub fn take(&self) -> Option<Done> {
        self.queue.pop()
    }
}
