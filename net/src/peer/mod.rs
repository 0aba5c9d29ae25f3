//! The other servers of the ensemble: ZooKeeper's election and quorum ports on the replica core's ring.
//!
//! | file | what lives there |
//! |---|---|
//! | here | what the replica core sees: effects of [`ringkeeper_quorum::zab`] in, its inputs out |
//! | `election` | one connection for each pair of servers, that of the higher number; votes |
//! | `quorum` | learners' connections to this server, and its own to its leader; packets |
//! | `tree` | whole trees, sent and taken, on threads |
//! | `log` | what a learner missed, from the log on disk, on threads |
//! | `own` | listening on this server's own addresses, which a reconfiguration may move |
//! | `dial` | names and connecting, on threads |
//! | `connection` | bytes in and out of one socket, bounded |
//! | `events` | what tasks and threads bring back |
//! | `warnings` | complaints about peers, bounded too |
//!
//! Laws: no name server, dead address, slow peer, large tree or disk holds up the loop. Everything that a
//! peer can send or make this server keep is bounded, and what is not the protocol ends its connection,
//! with its address and what was wrong, and nothing else. A connection that breaks is told at once.
//!
//! ZooKeeper bounds what waits for a slow learner by time alone: its leader ends the connection when the
//! oldest proposal was not acked for `syncLimit` ticks (`LearnerHandler.SyncLimitCheck`), and the queue has
//! no bound. Here that limit stands (`zab`), and a bound in bytes beside it.

mod connection;
pub(crate) mod dial;
mod election;
mod events;
pub mod log;
mod own;
mod quorum;
pub mod tree;
mod warnings;

#[cfg(test)]
mod tests;

use self::dial::Resolve;
use self::election::Election;
use self::events::{Done, Event, Events, Key, Port, Results};
use self::log::{LearnerLog, Part};
use self::quorum::Quorum;
use self::tree::Tree;
use self::warnings::Warnings;
use crate::moves::{Moves, Opened};
use crate::ring::{self, Listener, Wake};
use ringkeeper_engine::id::{ServerId, Zxid};
use ringkeeper_engine::log::ENTRY_BYTES_MAX;
use ringkeeper_engine::zookeeper::restore::Staged;
use ringkeeper_quorum::members::{HostPort, Member, Members};
use ringkeeper_quorum::zab::{Attempt, Effect, Input, Link};
use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracing::warn;

/// Connections that have not said who they are, a port. Each is a server that has just connected.
const STRANGERS_MAX: usize = 64;
/// How often it is looked who connected and said nothing.
const SWEEP: Duration = Duration::from_millis(500);
/// Between two attempts to listen on this server's own addresses, as ZooKeeper's.
const LISTEN_PAUSE: Duration = Duration::from_secs(1);
/// How long to wait when the kernel gives no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the connections are told.
#[derive(Clone)]
pub struct PeersConfig {
    /// This server.
    pub me: ServerId,
    /// The ensemble, this server in it.
    pub members: Members,
    /// What is about to be the ensemble.
    pub next_members: Option<Members>,
    /// `quorumListenOnAllIPs`: listen on every address of this machine, not only on those that the
    /// configuration names.
    pub listen_on_all_ips: bool,
    /// `zookeeper.electionPortBindRetry`: how often this server tries to listen on its own addresses, a
    /// second apart, while their names cannot be resolved or lead to another machine. 0 is without end.
    pub listen_attempts_max: u32,
    /// How the names of servers become addresses.
    pub resolve: Resolve,
    /// Connections that the kernel keeps until they are accepted.
    pub backlog: i32,
    /// TCP keep-alive (`zookeeper.tcpKeepAlive`).
    pub keep_alive: bool,
    /// `zookeeper.cnxTimeout`: how long an election port may take to be reached, and how long somebody who
    /// connects may take to say who it is.
    pub election_timeout: Duration,
    /// How long the leader's port may take to be reached: `connectToLearnerMasterLimit`, or else
    /// `initLimit`, in ticks.
    pub leader_timeout: Duration,
    /// Longest packet of a server that has said who it is, in bytes: the longest transaction or request, and
    /// what is around it, such as who asks.
    pub packet_bytes_max: usize,
    /// Bytes that may wait for a learner before its connection ends; behind a tree also as many as that is long.
    pub learner_bytes_max: usize,
    /// The log that learners are served from, beyond what is in memory.
    pub log: Option<Arc<dyn LearnerLog>>,
    /// Keys the hashes of a tree that comes from the leader.
    pub seed: u64,
}

impl PeersConfig {
    /// ZooKeeper's defaults.
    pub fn new(me: ServerId, members: Members) -> PeersConfig {
        PeersConfig {
            me,
            members,
            next_members: None,
            listen_on_all_ips: false,
            listen_attempts_max: 60,
            resolve: dial::by_system(),
            backlog: 128,
            keep_alive: false,
            election_timeout: Duration::from_secs(5),
            leader_timeout: Duration::from_secs(20),
            packet_bytes_max: 2 * ENTRY_BYTES_MAX,
            learner_bytes_max: 512 << 20,
            log: None,
            seed: 0,
        }
    }

    fn member(&self, server: ServerId) -> Option<&Member> {
        let next = || self.next_members.as_ref()?.servers().get(&server);
        self.members.servers().get(&server).or_else(next)
    }

    /// Whether the server belongs to the ensemble, or is about to.
    fn is_member(&self, server: ServerId) -> bool {
        self.member(server).is_some()
    }

    fn hosts(&self, server: ServerId, port: Port) -> Vec<HostPort> {
        let Some(member) = self.member(server) else { return Vec::new() };
        let at = |address: &ringkeeper_quorum::members::PeerAddress| HostPort {
            host: address.host.clone(),
            port: match port {
                Port::Election => address.election_port,
                Port::Quorum => address.quorum_port,
            },
        };
        member.addresses.iter().map(at).collect()
    }
}

/// What the rooms share.
struct Context {
    config: PeersConfig,
    /// This server's election addresses, as the last configuration had them that named it: one that lost its
    /// place still has to say where it is, or it is not heard.
    own: Vec<HostPort>,
    events: Rc<Events>,
    results: Results,
    /// What is to be told, oldest first.
    ready: VecDeque<Input>,
    warnings: Warnings,
}

/// See the module.
pub struct Peers {
    context: Context,
    election: Election,
    quorum: Quorum,
    /// What this server's own sockets are moved by.
    moves: Moves<Port>,
    /// Whether a sweep is due.
    sweeping: bool,
    stopped: Rc<Cell<bool>>,
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.stopped.set(true);
    }
}

impl Peers {
    /// Listens on both ports, for the ring that runs on this thread. `wake` is woken when [`Self::take`]
    /// has something.
    ///
    /// # Errors
    /// This server is not in the configuration; an address of its own cannot be resolved or listened on.
    pub fn start(config: PeersConfig, wake: Wake) -> io::Result<Peers> {
        let sockets = own::listeners(&config)?;
        Self::on(sockets, config, wake)
    }

    /// The same, but tries as often as the configuration says, on a thread: a name server may take its time.
    /// `None` if the server is to stop, of which `wake` tells.
    ///
    /// # Errors
    /// As [`Self::start`], once all attempts have failed.
    pub async fn start_patiently(
        config: PeersConfig,
        wake: Wake,
        stop: &AtomicBool,
    ) -> io::Result<Option<Peers>> {
        let mut listening = own::listen_patiently(config.clone(), LISTEN_PAUSE, wake.clone())?;
        loop {
            if stop.load(Ordering::Acquire) {
                return Ok(None);
            }
            if let Some(sockets) = listening.take() {
                // What else it told of is looked for by whoever waits next.
                wake.wake();
                return Self::on(sockets?, config, wake).map(Some);
            }
            wake.woken().await;
        }
    }

    fn on(
        sockets: Vec<(Port, SocketAddr, TcpListener)>,
        config: PeersConfig,
        wake: Wake,
    ) -> io::Result<Peers> {
        let (events, results) = (Rc::new(Events::new(wake.clone())), Results::new(wake));
        let later = results.clone();
        let give = move |port, opened| later.put(Done::Opened(port, opened));
        let (moves, opened) = own::moves(&config, sockets, give)?;
        let own = config.hosts(config.me, Port::Election);
        let (ready, warnings) = (VecDeque::new(), Warnings::default());
        let context = Context { config, own, events, results, ready, warnings };
        let (election, quorum) = (Election::default(), Quorum::default());
        let (sweeping, stopped) = (false, Rc::default());
        let peers = Peers { context, election, quorum, moves, sweeping, stopped };
        opened.into_iter().for_each(|(port, opened)| peers.accept(port, opened));
        Ok(peers)
    }

    fn accept(&self, port: Port, opened: Opened) {
        let (events, stopped) = (Rc::clone(&self.context.events), Rc::clone(&self.stopped));
        ring::spawn(accept(opened, port, events, stopped));
    }

    /// Does what the effect asks of the network; returns those that ask for something else.
    /// [`Effect::SendTree`] is among these: [`Self::send_tree`] takes the tree with it.
    pub fn run(&mut self, effect: Effect) -> Option<Effect> {
        let context = &mut self.context;
        match effect {
            Effect::Notify(to, notification) => self.election.notify(context, to, &notification),
            Effect::Connect(attempt, leader) => self.quorum.connect(context, attempt, leader),
            Effect::ToLeader(attempt, message) => self.quorum.tell_leader(context, attempt, &message),
            Effect::CloseLeader(attempt) => self.quorum.close_leader(attempt),
            Effect::ToLearner(link, message) => self.quorum.tell_learner(context, link, &message),
            Effect::CloseLearner(link) => self.quorum.close_learner(link),
            Effect::SeekLog(link, last) => self.quorum.seek_log(context, link, last),
            Effect::SendLog { link, after, upto, extended } => {
                self.quorum.send_log(context, link, Part { after, upto, extended });
            }
            other => return Some(other),
        }
        None
    }

    /// Does what [`Effect::SendTree`] asks for.
    pub fn send_tree(&mut self, link: Link, zxid: Zxid, tree: Tree) {
        self.quorum.send_tree(&mut self.context, link, zxid, tree);
    }

    /// Whether there is room for what comes from the leader.
    pub fn hear_leader(&mut self, has_room: bool) {
        self.quorum.hear_leader(&mut self.context, has_room);
    }

    /// What happened, one after the other; `None` when everything has been told.
    pub fn take(&mut self) -> Option<Input> {
        loop {
            if let Some(input) = self.context.ready.pop_front() {
                return Some(input);
            }
            if let Some(done) = self.context.results.take() {
                self.done(done);
            } else {
                let event = self.context.events.take()?;
                self.happened(event);
            }
        }
    }

    /// The tree that [`Input::SnapshotStaged`] told of, once.
    pub fn take_staged(&mut self, attempt: Attempt) -> Option<Box<Staged>> {
        self.quorum.take_staged(attempt)
    }

    /// From here on the ensemble is another. What is connected stays so; where it moves this server, others come
    /// there from here on.
    pub fn set_members(&mut self, members: Members) {
        let next = &mut self.context.config.next_members;
        next.take_if(|next| next.version() <= members.version());
        let before = std::mem::replace(&mut self.context.config.members, members);
        self.election.members_changed(&before, &self.context.config.members);
        let own = self.context.config.hosts(self.context.config.me, Port::Election);
        if !own.is_empty() {
            self.context.own = own;
            self.moves.want(own::places(&self.context.config));
        }
    }

    /// The ensemble is about to be another, whose servers are reached from here on.
    pub fn set_next_members(&mut self, members: Members) {
        self.context.config.next_members = Some(members);
    }

    fn done(&mut self, done: Done) {
        let context = &mut self.context;
        match done {
            Done::Election(server, dialled) => self.election.dialled(context, server, dialled),
            Done::Leader(attempt, dialled) => self.quorum.dialled(context, attempt, dialled),
            Done::StageTook(attempt) => self.quorum.stage_took(context, attempt),
            Done::Staged(attempt, staged, rest) => self.quorum.staged(context, attempt, staged, &rest),
            Done::Opened(port, opened) => self.accept(port, opened),
            Done::Sought(link, common) => context.ready.push_back(Input::LogSought(link, common)),
        }
    }

    fn happened(&mut self, event: Event) {
        let context = &mut self.context;
        match event {
            Event::Accepted(port, stream, address) => {
                let strangers = match port {
                    Port::Election => self.election.strangers(),
                    Port::Quorum => self.quorum.strangers(),
                };
                if strangers >= STRANGERS_MAX {
                    let what = format!("{port:?} port: {strangers} connections have not said who they are");
                    context.warnings.say(address, &format!("{what}; it is refused"));
                    stream.shutdown();
                    return;
                }
                match port {
                    Port::Election => self.election.accepted(context, stream, address),
                    Port::Quorum => self.quorum.accepted(context, stream, address),
                }
                self.sweep_later();
            }
            Event::Arrived(Key::Election(number)) => self.election.arrived(context, number),
            Event::Arrived(Key::Learner(link)) => self.quorum.learner_arrived(context, link),
            Event::Arrived(Key::Leader(attempt)) => self.quorum.leader_arrived(context, attempt),
            Event::Transferred(Key::Learner(link)) => context.ready.push_back(Input::TransferProgress(link)),
            Event::Transferred(_) => {}
            Event::Retry(server) => self.election.retry(context, server),
            Event::Sweep => {
                self.sweeping = false;
                self.election.sweep(context);
                self.quorum.sweep(context);
                if self.election.strangers() + self.quorum.strangers() > 0 {
                    self.sweep_later();
                }
            }
        }
    }

    /// Nothing ticks while everybody who is connected is known.
    fn sweep_later(&mut self) {
        if !std::mem::replace(&mut self.sweeping, true) {
            let events = Rc::clone(&self.context.events);
            ring::spawn(async move {
                ring::sleep(SWEEP).await;
                events.push(Event::Sweep);
            });
        }
    }
}

async fn accept(opened: Opened, port: Port, events: Rc<Events>, stopped: Rc<Cell<bool>>) {
    let (listener, closed) = (Listener::new(opened.socket), opened.closed);
    while !stopped.get() {
        match listener.accept().await {
            Ok(_) if stopped.get() => return,
            Ok((stream, address)) => events.push(Event::Accepted(port, stream, address)),
            Err(_) if closed.is_so() => return,
            Err(error) => {
                warn!("{port:?} port: a connection was not accepted: {error}");
                ring::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
