//! Connections between servers. Each direction keeps its order; what is under way when a path is cut
//! waits until it is healed, as TCP would send it again, unless an end gives up before.

use super::oracle::Tree;
use bytes::Bytes;
use ringkeeper_quorum::message::ToLearner;
use ringkeeper_quorum::zab::{Attempt, Link};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a direction of a connection carries.
#[derive(Clone, Debug)]
pub enum Frame {
    /// A packet's bytes.
    Packet(Bytes),
    /// A whole tree.
    Tree(Tree),
    /// The other side closed.
    End,
}

/// A life of a server: which, and its how manieth start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life {
    /// Index of the server.
    pub server: usize,
    /// Its start.
    pub start: u64,
}

/// What a follower of ZooKeeper 3.8 bears while it is brought up to date.
#[derive(Debug, Default)]
pub struct JavaFollower {
    between: bool,
}

impl JavaFollower {
    /// Hears its leader.
    ///
    /// # Panics
    /// It ends over this message, half synchronised.
    pub fn hear(&mut self, message: &ToLearner) {
        match message {
            ToLearner::NewLeader { .. } => self.between = true,
            ToLearner::UpToDate => self.between = false,
            ToLearner::Commit(_) | ToLearner::CommitAndActivate { .. } => {
                assert!(!self.between, "ZOOKEEPER-4394: {message} between NEWLEADER and UPTODATE");
            }
            _ => {}
        }
    }
}

/// A learner's connection to its leader.
#[derive(Debug)]
pub struct Connection {
    /// Who connected.
    pub learner: Life,
    /// The learner's number for it.
    pub attempt: Attempt,
    /// Who was connected to.
    pub leader: Life,
    /// What the learner bears if it is ZooKeeper's.
    pub java: JavaFollower,
    /// Under way to the leader, and to the learner.
    pub frames: [VecDeque<Frame>; 2],
    /// Whether a delivery is due, by direction.
    pub pumping: [bool; 2],
    /// Whether the ends still listen: the leader, the learner.
    pub open: [bool; 2],
}

/// The direction to the leader.
pub const TO_LEADER: usize = 0;
/// The direction to the learner.
pub const TO_LEARNER: usize = 1;

impl Connection {
    /// From whom and to whom a direction goes.
    pub fn path(&self, direction: usize) -> (Life, Life) {
        if direction == TO_LEADER { (self.learner, self.leader) } else { (self.leader, self.learner) }
    }
}

/// Who can reach whom.
#[derive(Debug, Default)]
pub struct Network {
    /// Learners' connections.
    pub connections: BTreeMap<Link, Connection>,
    /// Cut paths, by server indices.
    cut: BTreeSet<(usize, usize)>,
    next: u64,
}

impl Network {
    /// A new connection.
    pub fn open(&mut self, learner: Life, attempt: Attempt, leader: Life) -> Link {
        self.next += 1;
        let link = Link(self.next);
        let connection = Connection {
            learner,
            attempt,
            leader,
            java: JavaFollower::default(),
            frames: [VecDeque::new(), VecDeque::new()],
            pumping: [false; 2],
            open: [true; 2],
        };
        self.connections.insert(link, connection);
        link
    }

    /// Whether packets go from one server to another.
    pub fn reaches(&self, from: usize, to: usize) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// Cuts a path, one way.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    /// Heals all paths.
    pub fn heal(&mut self) {
        self.cut.clear();
    }
}
