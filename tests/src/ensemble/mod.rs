//! Ensembles of real processes on loopback, Java's servers and ours side by side.
//!
//! - `node`: one server of an ensemble: its ports and data, what it says of itself, and how it is stopped,
//!   killed, paused and replaced.
//! - `load`: clients that write and wander between servers, and record what was acknowledged.
//! - `tree`: all that a server shows of its tree.
//! - `check`: what must hold of trees and records afterwards.
//!
//! Which kinds of servers there are is decided here, in [`kind`]; a line-up is a word of their letters. Gaps
//! are measured and JVMs are large, so one ensemble runs at a time.

pub mod check;
pub mod load;
pub mod node;
pub mod tree;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::differential;
use crate::process::POLL_PAUSE;
use crate::server::{Kind, Options};
use node::{Mode, Node, Ports, Role};

/// How long an ensemble may take to serve; generous, for a busy machine that starts several JVMs.
const READY_MAX: Duration = Duration::from_secs(90);

/// Prints Java's log; a JVM passes over a jar that is not there.
const LOG_OF_3_8: &str = "/usr/share/java/slf4j-simple.jar";

/// What every server of an ensemble is told: a silent peer is given up after three seconds, a joining one may
/// take ten, and a session lives as long as it asks for.
const CONFIG: [&str; 5] =
    ["tickTime=200", "initLimit=50", "syncLimit=15", "minSessionTimeout=400", "maxSessionTimeout=60000"];

/// The kind of server that a letter stands for: `j` is Debian's ZooKeeper, `n` the newer one that
/// `REFERENCE_CLASS_PATH` names (Debian's if it names none), `r` is ours.
///
/// # Panics
/// The letter stands for none.
pub fn kind(letter: char) -> Kind {
    match letter {
        'j' => match Kind::debian() {
            Kind::ZooKeeper { class_path } => {
                Kind::ZooKeeper { class_path: format!("{class_path}:{LOG_OF_3_8}") }
            }
            Kind::Ringkeeper => unreachable!("Debian's is a ZooKeeper"),
        },
        'n' => differential::reference(),
        'r' => Kind::Ringkeeper,
        other => panic!("no kind of server is called `{other}`"),
    }
}

/// The servers to start: participants from number 1, observers behind them.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// A letter a participant, see [`kind`].
    pub participants: String,
    /// A letter an observer.
    pub observers: String,
    /// Whether the lines of the servers have the ports for clients, as reconfiguration wants it; without it
    /// each server has its own in `clientPort`.
    pub clients_in_members: bool,
    /// What is added to each server's configuration and properties.
    pub options: Options,
}

impl Plan {
    /// Participants alone.
    pub fn of(participants: &str) -> Self {
        Plan { participants: participants.to_owned(), ..Plan::default() }
    }
}

/// An ensemble; its processes end with it.
#[derive(Debug)]
pub struct Ensemble {
    nodes: BTreeMap<u8, Node>,
    _turn: MutexGuard<'static, ()>,
}

impl Ensemble {
    /// Starts all servers and waits until each of them serves.
    ///
    /// # Panics
    /// One cannot be started, or they never serve; the message has the ends of their outputs.
    pub fn start(plan: &Plan) -> Self {
        let mut ensemble = Ensemble::prepare(plan);
        for id in ensemble.ids() {
            ensemble.start_one(id);
        }
        ensemble.await_all();
        ensemble
    }

    /// Writes the configurations and starts nothing.
    ///
    /// # Panics
    /// A directory cannot be made, or no port is free.
    pub fn prepare(plan: &Plan) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        // A test that failed while it had the turn has ended its processes all the same.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let participants = plan.participants.chars().map(|letter| (letter, Role::Participant));
        let observers = plan.observers.chars().map(|letter| (letter, Role::Observer));
        let servers: Vec<_> = (1..).zip(participants.chain(observers)).collect();
        let ports: Vec<_> = servers.iter().map(|_| Ports::free().unwrap_or_else(|e| panic!("{e}"))).collect();
        let mut common: Vec<String> = CONFIG.iter().map(|line| (*line).to_owned()).collect();
        common.extend(plan.options.config.iter().cloned());
        for ((id, (_, role)), ports) in servers.iter().zip(&ports) {
            common.push(ports.line(*id, *role, plan.clients_in_members));
        }
        let options = Options { config: common, ..plan.options.clone() };
        let nodes = servers.iter().zip(ports).map(|((id, (letter, role)), ports)| {
            let node = Node::new(*id, kind(*letter), *role, ports, options.clone());
            (*id, node.unwrap_or_else(|e| panic!("server {id}: {e}")))
        });
        Ensemble { nodes: nodes.collect(), _turn: turn }
    }

    /// All numbers.
    pub fn ids(&self) -> Vec<u8> {
        self.nodes.keys().copied().collect()
    }

    /// The numbers of the servers that vote.
    pub fn voters(&self) -> Vec<u8> {
        self.nodes.values().filter(|n| n.role == Role::Participant).map(|n| n.id).collect()
    }

    /// The numbers of the servers whose processes run and are not paused.
    pub fn awake(&self) -> Vec<u8> {
        self.nodes.values().filter(|n| n.is_awake()).map(|n| n.id).collect()
    }

    /// A server.
    ///
    /// # Panics
    /// There is none of this number.
    pub fn node(&self, id: u8) -> &Node {
        &self.nodes[&id]
    }

    /// A server.
    ///
    /// # Panics
    /// There is none of this number.
    pub fn node_mut(&mut self, id: u8) -> &mut Node {
        self.nodes.get_mut(&id).expect("the ensemble has a server of this number")
    }

    /// The clients' addresses of all servers, running or not.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.values().map(Node::address).collect()
    }

    /// Starts a server that does not run.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn start_one(&mut self, id: u8) {
        self.node_mut(id).start().unwrap_or_else(|e| panic!("server {id}: {e}"));
    }

    /// Waits until every server that is awake serves, one of them leads, and the others are as new.
    ///
    /// # Panics
    /// It does not come to that.
    pub fn await_all(&mut self) {
        self.await_that("all serve", READY_MAX, |ensemble| {
            let modes: Vec<Mode> =
                ensemble.awake().iter().filter_map(|id| ensemble.node(*id).mode()).collect();
            let leaders = modes.iter().filter(|mode| **mode == Mode::Leader).count();
            leaders == 1
                && modes.len() == ensemble.awake().len()
                && modes.iter().all(|mode| matches!(mode, Mode::Leader | Mode::Follower | Mode::Observer))
        });
    }

    /// Waits until one of the servers that are awake leads; returns its number.
    ///
    /// # Panics
    /// None does.
    pub fn await_leader(&mut self) -> u8 {
        self.await_that("one leads", READY_MAX, |ensemble| ensemble.leader().is_some());
        self.leader().expect("it led a moment ago")
    }

    /// The server that leads now, if one does.
    pub fn leader(&self) -> Option<u8> {
        self.awake().into_iter().find(|id| self.node(*id).mode() == Some(Mode::Leader))
    }

    /// The voting servers that do not lead now.
    pub fn followers(&self) -> Vec<u8> {
        let leader = self.leader();
        self.voters().into_iter().filter(|id| Some(*id) != leader && self.node(*id).is_awake()).collect()
    }

    /// Waits until the server is in one of these modes.
    ///
    /// # Panics
    /// It never is.
    pub fn await_mode(&mut self, id: u8, modes: &[Mode]) {
        let what = format!("server {id} is one of {modes:?}");
        let is = |ensemble: &Ensemble| ensemble.node(id).mode().is_some_and(|mode| modes.contains(&mode));
        self.await_that(&what, READY_MAX, is);
    }

    /// Waits until a condition holds that nothing announces.
    ///
    /// # Panics
    /// It does not in that time, or a server has ended by itself; the message has the ends of all outputs.
    pub fn await_that(&mut self, what: &str, patience: Duration, holds: impl Fn(&Ensemble) -> bool) {
        let deadline = Instant::now() + patience;
        loop {
            let ended = self.nodes.values_mut().find_map(|node| Some((node.id, node.exited()?)));
            if let Some((id, status)) = ended {
                panic!("server {id} ended with {status}; outputs:\n{}", self.tails());
            }
            if holds(self) {
                return;
            }
            assert!(Instant::now() < deadline, "never: {what}; outputs:\n{}", self.tails());
            thread::sleep(POLL_PAUSE);
        }
    }

    /// Stops a server in order, as an operator does.
    ///
    /// # Panics
    /// It does not end.
    pub fn stop(&mut self, id: u8) {
        let ended: io::Result<()> = self.node_mut(id).stop();
        ended.unwrap_or_else(|e| panic!("server {id}: {e}\n{}", self.tails()));
    }

    /// The ends of all outputs, for an error message.
    pub fn tails(&self) -> String {
        let tail =
            |node: &Node| format!("--- server {} ({:?})\n{}\n", node.id, node.mode(), node.output_tail());
        self.nodes.values().map(tail).collect()
    }
}
