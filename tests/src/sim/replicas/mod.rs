//! Ensembles of real replicas: preparation, order, log, application, recovery and the codecs as a server
//! runs them, on simulated disks, network and clock. One seed is one history.
//!
//! | file | what lives there |
//! |---|---|
//! | `disk` | the bytes of each server's files, and what a crash leaves of them |
//! | `clients` | sessions, requests, and what they may be told |
//! | `effects` | what replicas ask for, done |
//!
//! Servers crash and restart, paths are cut, clients come back elsewhere or die, while all write. Then
//! everything heals: the servers must serve and agree to the byte, with every node that a client was told
//! of, and without those of sessions that are over. In some runs a client changes the ensemble meanwhile:
//! servers leave, come back, gain and lose their votes.

use self::clients::{Client, TIMEOUT_MS};
use self::disk::Disk;
use super::groups::{self, Places};
use super::network::JavaFollower;
use fastrand::Rng;
use ringkeeper_engine::id::{Now, ServerId, SessionId, Tick, Zxid};
use ringkeeper_engine::limits::Settings;
use ringkeeper_engine::log::{LogWrite, Upkeep};
use ringkeeper_engine::tree::digest::{TreeDigest, persisted};
use ringkeeper_quorum::members::Members;
use ringkeeper_quorum::reconfig::Rules;
use ringkeeper_quorum::replica::{LOGGED_BYTES_MAX, Replica, ReplicaConfig};
use ringkeeper_quorum::step::{ConnectionId, Input, Request, RequestBatch, Service};
use ringkeeper_quorum::zab::{self, Attempt, Config, Epochs, Link, Timing};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::fmt::Write;
use std::sync::Arc;

pub mod clients;
pub mod disk;
mod effects;

/// How often servers are told that time passes, in milliseconds.
const TICK_MS: u64 = 10;
/// How long healed servers may take to serve and agree, in milliseconds.
const PROGRESS_MS_MAX: u64 = 30_000;

/// Requests that are answered with success in a history at least.
const ANSWERS_MIN: u64 = 200;
/// How often everything goes wrong for as long again in one in which it hardly went well.
const RAGES_MAX: u32 = 5;

/// Shows the configuration.
const CONFIG_NODE: &str = "/zookeeper/config";

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Servers with a vote.
    pub voters: u8,
    /// Groups and weights of the voters; none where more than half of them are a quorum.
    pub places: Places,
    /// Servers without.
    pub observers: u8,
    /// Clients.
    pub clients: usize,
    /// Bytes that wait for the log at which a learner leaves what its leader says where it is.
    pub logged_bytes_max: u64,
    /// Bytes of applied transactions that a server keeps for learners.
    pub window_bytes: usize,
    /// Most transactions in an epoch.
    pub epoch_transactions_max: u32,
    /// Transactions between two checkpoints.
    pub snap_count: u32,
    /// How long everything goes wrong, in milliseconds.
    pub rage_ms: u64,
    /// Between two faults, in milliseconds.
    pub fault_ms: u64,
    /// One in so many of the larger changes of a disk finds it full, zero for none.
    pub full_in: u8,
    /// Whether sessions are local until they have an ephemeral node, and whether readers are served without
    /// a quorum.
    pub local_sessions: bool,
    /// Whether the ensemble is changed while all goes wrong.
    pub reconfigures: bool,
    /// Servers, by bits, that introduce themselves to their leader as Java's do: requests and proposals go
    /// one by one between the two.
    pub plain: u8,
}

impl Plan {
    /// Chosen by the seed.
    pub fn of_seed(seed: u64) -> Plan {
        let mut rng = Rng::with_seed(seed ^ 0x7265_706c);
        let voters = *rng.choice(&[1, 3, 3, 3, 5]).expect("choices");
        let mut places_rng = Rng::with_seed(seed ^ 0x6772_6f75);
        let grouped = voters > 1 && places_rng.u8(0..3) == 0;
        let mut logged_rng = Rng::with_seed(seed ^ 0x6c6f_6767);
        Plan {
            voters,
            places: if grouped { groups::draw(&mut places_rng, voters) } else { Places::new() },
            observers: *rng.choice(&[0, 0, 1]).expect("choices"),
            clients: *rng.choice(&[2, 5, 9]).expect("choices"),
            logged_bytes_max: *logged_rng.choice(&[1, 200, LOGGED_BYTES_MAX]).expect("choices"),
            window_bytes: *rng.choice(&[0, 2000, 1 << 20]).expect("choices"),
            epoch_transactions_max: *rng.choice(&[u32::MAX, u32::MAX, 200]).expect("choices"),
            snap_count: *rng.choice(&[20, 100, 100_000]).expect("choices"),
            rage_ms: 8000,
            fault_ms: *rng.choice(&[150, 500, 1500]).expect("choices"),
            plain: *rng.choice(&[0, 0, 0b0101, 0b10, u8::MAX]).expect("choices"),
            reconfigures: voters > 1 && rng.u8(0..3) == 0,
            local_sessions: rng.bool(),
            full_in: *rng.choice(&[0, 2, 10]).expect("choices"),
        }
    }

    fn servers(&self) -> u8 {
        self.voters + self.observers
    }

    fn members(&self) -> Members {
        let role = |id| if id > self.voters { "observer" } else { "participant" };
        let mut lines: Vec<String> = (1..=self.servers()).map(|id| line(id, role(id), false)).collect();
        lines.extend(groups::lines(&self.places));
        Members::parse(&lines.join("\n")).expect("a configuration")
    }
}

/// A server's line in a configuration.
/// A server's line. A leader whose port for learners moves hands over.
fn line(id: u8, role: &str, is_moved: bool) -> String {
    let port = |base: u16| base + u16::from(id);
    let quorum = if is_moved { 2500 } else { 2000 };
    format!("server.{id}=localhost:{}:{}:{role};{}", port(quorum), port(3000), port(4000))
}

/// One life of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Life {
    server: usize,
    start: u64,
}

#[derive(Debug)]
enum Event {
    Tick,
    Client(usize),
    Fault,
    Restart(usize),
    /// Something comes to a replica.
    Arrives(Life, Input),
    /// Work on its disk is done.
    Done(Life, Work),
    /// The oldest frame of a connection's direction arrives.
    Frame {
        link: Link,
        to_leader: bool,
    },
    Notified {
        from: Life,
        to: usize,
        bytes: Vec<u8>,
    },
    Connects {
        from: Life,
        attempt: Attempt,
        to: usize,
    },
}

#[derive(Debug)]
enum Work {
    Write(LogWrite),
    Upkeep(Upkeep),
    Checkpoint(Zxid, Vec<(SessionId, u32)>),
    Install(Zxid, Vec<(SessionId, u32)>),
    Mark(Zxid),
    Epochs(Epochs),
    FindCut(Zxid),
    Sought(Link, Zxid),
}

#[derive(Debug)]
enum Frame {
    Packet(Vec<u8>),
    /// The leader's tree, as it is when this is sent.
    Tree(Zxid),
    End,
}

/// A connection of a learner to its leader.
#[derive(Debug)]
struct Connection {
    learner: Life,
    attempt: Attempt,
    leader: Life,
    /// What the learner bears if it is ZooKeeper's.
    java: JavaFollower,
    to_leader: VecDeque<Frame>,
    to_learner: VecDeque<Frame>,
    /// When the last frame of each direction arrives.
    busy_until: [u64; 2],
}

struct Server {
    start: u64,
    replica: Option<Replica>,
    disk: Disk,
    /// Work on the disk that a crash may leave half done.
    working: Vec<Work>,
    staged_seed: u64,
    next_connection: u64,
    /// Connections of clients, and whose they are.
    connections: BTreeMap<u64, usize>,
    service: Service,
    /// Servers whose election port was reached since they were last told to be gone.
    contacts: BTreeSet<usize>,
}

/// An ensemble of real replicas.
pub struct Ensemble {
    rng: Rng,
    plan: Plan,
    seed: u64,
    members: Members,
    servers: Vec<Server>,
    clients: Vec<Client>,
    now_us: u64,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    bodies: BTreeMap<u64, Event>,
    next_event: u64,
    links: BTreeMap<Link, Connection>,
    next_link: u64,
    /// Pairs of servers that cannot reach each other.
    cut: BTreeSet<(usize, usize)>,
    raging: bool,
    /// The digest of the tree after each transaction that somebody looked at, or that a leader told of.
    digests: BTreeMap<Zxid, TreeDigest>,
    trace: bool,
}

impl Drop for Ensemble {
    /// A broken law names its seed.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {} at {} ms: {:?}", self.seed, self.now_us / 1000, self.plan);
        }
    }
}

/// Plays one seed: panics if a law is broken. Returns a line of what happened.
pub fn play(seed: u64) -> String {
    play_with(seed, Plan::of_seed(seed))
}

/// Plays one seed by this plan.
pub fn play_with(seed: u64, plan: Plan) -> String {
    let mut ensemble = Ensemble::new(seed, plan);
    for _ in 0..RAGES_MAX {
        ensemble.run_ms(ensemble.plan.rage_ms);
        if ensemble.answered() >= ANSWERS_MIN {
            break;
        }
    }
    ensemble.heal();
    ensemble.demand_agreement();
    ensemble.summary()
}

impl Ensemble {
    /// All servers start, with nothing on disk.
    pub fn new(seed: u64, plan: Plan) -> Ensemble {
        let server = |index| Server {
            start: 0,
            replica: None,
            disk: Disk::default(),
            working: Vec::new(),
            staged_seed: index,
            next_connection: 0,
            connections: BTreeMap::new(),
            service: Service::Nothing,
            contacts: BTreeSet::new(),
        };
        let servers = (0..u64::from(plan.servers())).map(server).collect();
        let client = |number: usize| match plan.local_sessions && number % 2 == 1 {
            true => Client::plain(number),
            false => Client::new(number),
        };
        let mut clients: Vec<Client> = (0..plan.clients).map(client).collect();
        clients[0].changes_servers = plan.reconfigures.then_some(plan.servers());
        clients[0].changes_groups = !plan.places.is_empty();
        let mut ensemble = Ensemble {
            rng: Rng::with_seed(seed),
            seed,
            members: plan.members(),
            servers,
            clients,
            now_us: 0,
            events: BinaryHeap::new(),
            bodies: BTreeMap::new(),
            next_event: 0,
            links: BTreeMap::new(),
            next_link: 0,
            cut: BTreeSet::new(),
            raging: true,
            digests: BTreeMap::new(),
            trace: std::env::var_os("ZAB_TRACE").is_some(),
            plan,
        };
        (0..ensemble.servers.len()).for_each(|index| ensemble.start(index));
        ensemble.after_us(TICK_MS * 1000, Event::Tick);
        ensemble.after_us(ensemble.plan.fault_ms * 1000, Event::Fault);
        (0..ensemble.clients.len()).for_each(|client| ensemble.after_us(0, Event::Client(client)));
        ensemble
    }

    fn now(&self) -> Now {
        let ms = self.now_us / 1000;
        Now { tick: Tick(ms), us: self.now_us, wall_ms: ms as i64 }
    }

    fn after_us(&mut self, delay_us: u64, event: Event) {
        self.next_event += 1;
        self.events.push(Reverse((self.now_us + delay_us, self.next_event)));
        self.bodies.insert(self.next_event, event);
    }

    fn latency_us(&mut self) -> u64 {
        if self.rng.u8(0..50) == 0 { self.rng.u64(0..20_000) } else { self.rng.u64(50..800) }
    }

    fn log(&self, text: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:>9.3} {}", self.now_us as f64 / 1000.0, text());
        }
    }

    fn life(&self, server: usize) -> Life {
        Life { server, start: self.servers[server].start }
    }

    fn is_alive(&self, life: Life) -> bool {
        self.life(life.server) == life && self.servers[life.server].replica.is_some()
    }

    fn reaches(&self, a: usize, b: usize) -> bool {
        !self.cut.contains(&(a.min(b), a.max(b)))
    }

    fn start(&mut self, index: usize) {
        let now = self.now();
        let server = &mut self.servers[index];
        let (restart, log, in_log) = server.disk.recover(self.seed + index as u64);
        server.start += 1;
        server.service = Service::Nothing;
        server.contacts.clear();
        let settings = Settings {
            tick_ms: 100,
            min_session_timeout_ms: 100,
            snap_count: self.plan.snap_count,
            local_sessions_enabled: self.plan.local_sessions,
            local_sessions_upgrading_enabled: self.plan.local_sessions,
            read_only_mode_enabled: self.plan.local_sessions,
            reconfig_enabled: self.plan.reconfigures,
            skip_acl: self.plan.reconfigures,
            ..Settings::default()
        };
        let id = ServerId(index as u8 + 1);
        let config = ReplicaConfig {
            settings: Arc::new(settings),
            server: id,
            cores: 1,
            rules: Rules::default(),
            logged_bytes_max: self.plan.logged_bytes_max,
            first_session: SessionId((i64::from(id.0) << 56) + ((server.start as i64) << 32)),
            seed: self.seed,
        };
        let zab_config = Config {
            me: id,
            members: server.disk.members.as_ref().unwrap_or(&self.members).clone(),
            next_members: server.disk.next.clone(),
            timing: Timing { tick_ms: 100, ..Timing::default() },
            window_bytes: self.plan.window_bytes,
            reconfig_enabled: self.plan.reconfigures,
            epoch_transactions_max: self.plan.epoch_transactions_max,
        };
        let data = (restart.database, restart.held);
        let mut replica = Replica::in_ensemble(config, zab_config, server.disk.epochs, data, log, now);
        if in_log {
            replica.log_found();
        }
        let (applied, mut out) = (replica.applied(), Vec::new());
        server.replica = Some(replica);
        self.log(|| format!("{}: starts, applied {applied}", index + 1));
        self.servers[index].replica.as_mut().expect("just made").start(now, &mut out);
        self.effects(index, out);
        self.flush(index);
    }

    fn crash(&mut self, index: usize) {
        let life = self.life(index);
        let server = &mut self.servers[index];
        let Some(replica) = server.replica.take() else { return };
        server.service = Service::Nothing;
        for work in std::mem::take(&mut server.working) {
            match work {
                Work::Write(write) => server.disk.tear(&write, &mut self.rng),
                // What is renamed or replaced as a whole is there or not.
                Work::Upkeep(step) if self.rng.bool() => server.disk.upkeep(step),
                Work::Epochs(epochs) if self.rng.bool() => server.disk.epochs = epochs,
                Work::Mark(upto) if self.rng.bool() => server.disk.mark = upto,
                Work::Install(zxid, sessions) => {
                    let steps = self.rng.usize(0..3);
                    server.disk.install(&replica.reader(), zxid, &sessions, steps);
                }
                _ => {}
            }
        }
        for client in std::mem::take(&mut server.connections).into_values() {
            self.clients[client].disconnected();
        }
        self.log(|| format!("{}: crashes", index + 1));
        for peer in (0..self.servers.len()).filter(|peer| *peer != index) {
            self.tell_unreachable(peer, index);
        }
        let own = |c: &Connection| c.learner == life || c.leader == life;
        let links: Vec<Link> = self.links.iter().filter(|(_, c)| own(c)).map(|(link, _)| *link).collect();
        links.into_iter().for_each(|link| self.break_link(link));
    }

    fn tell_unreachable(&mut self, at: usize, peer: usize) {
        self.servers[at].contacts.remove(&peer);
        let peer = ServerId(peer as u8 + 1);
        let input = Input::Peer(zab::Input::ElectionLink { peer, up: false });
        let (life, delay) = (self.life(at), self.latency_us());
        self.after_us(delay, Event::Arrives(life, input));
    }

    /// A learner's connection breaks; what was under way is lost.
    fn break_link(&mut self, link: Link) {
        let Some(connection) = self.links.remove(&link) else { return };
        let Connection { learner, attempt, leader, .. } = connection;
        let delay = self.latency_us();
        self.after_us(delay, Event::Arrives(learner, Input::Peer(zab::Input::LeaderLost(attempt))));
        self.after_us(delay, Event::Arrives(leader, Input::Peer(zab::Input::LearnerLost(link))));
    }

    /// Lets the ensemble live for a while.
    pub fn run_ms(&mut self, ms: u64) {
        let end = self.now_us + ms * 1000;
        while let Some(Reverse((at, number))) = self.events.peek().copied()
            && at <= end
        {
            self.events.pop();
            self.now_us = at;
            let event = self.bodies.remove(&number).expect("each event has a body");
            self.happen(event);
        }
        self.now_us = end;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick => {
                for index in 0..self.servers.len() {
                    self.input(self.life(index), Input::Tick { heard_all: true });
                }
                self.after_us(TICK_MS * 1000, Event::Tick);
            }
            Event::Client(client) => {
                self.client_acts(client);
                let delay = self.rng.u64(1000..40_000);
                self.after_us(delay, Event::Client(client));
            }
            Event::Fault if self.raging => {
                self.fault();
                let delay = self.rng.u64(0..self.plan.fault_ms * 2000);
                self.after_us(delay, Event::Fault);
            }
            Event::Restart(index) if self.servers[index].replica.is_none() => self.start(index),
            Event::Fault | Event::Restart(_) => {}
            Event::Arrives(life, input) => self.input(life, input),
            Event::Done(life, work) => self.done(life, work),
            Event::Frame { link, to_leader } => self.frame_arrives(link, to_leader),
            Event::Notified { from, to, bytes } => self.notified(from, to, &bytes),
            Event::Connects { from, attempt, to } => self.connects(from, attempt, to),
        }
    }

    fn input(&mut self, life: Life, input: Input) {
        if !self.is_alive(life) {
            return;
        }
        if !matches!(input, Input::Tick { .. } | Input::Requests(_)) {
            self.log(|| format!("{}: {}", life.server + 1, short(&input)));
        }
        let (now, mut out) = (self.now(), Vec::new());
        self.servers[life.server].replica.as_mut().expect("alive").step(now, input, &mut out);
        self.effects(life.server, out);
        self.flush(life.server);
    }

    fn flush(&mut self, index: usize) {
        let (now, mut out) = (self.now(), Vec::new());
        let Some(replica) = &mut self.servers[index].replica else { return };
        replica.flush(now, &mut out);
        self.effects(index, out);
        self.look_at(index);
    }

    /// Servers that have applied the same have the same tree.
    fn look_at(&mut self, index: usize) {
        if self.rng.u8(0..50) > 0 {
            return;
        }
        let server = &self.servers[index];
        let Some(replica) = server.replica.as_ref().filter(|_| server.service == Service::Full) else {
            return;
        };
        let (applied, digest) = (replica.applied(), tree_of(replica));
        self.same_digest(index, applied, digest);
    }

    /// A server has, or is told of, that tree behind that transaction.
    fn same_digest(&mut self, index: usize, behind: Zxid, digest: TreeDigest) {
        let known = *self.digests.entry(behind).or_insert(digest);
        assert_eq!(known, digest, "server {}: another tree at {behind}", index + 1);
    }

    fn fault(&mut self) {
        let index = self.rng.usize(0..self.servers.len());
        match self.rng.u8(0..8) {
            0..=2 => {
                self.crash(index);
                let delay = self.rng.u64(0..1_500_000);
                self.after_us(delay, Event::Restart(index));
            }
            // Nobody has a quorum, for so long that readers are served.
            3 if self.plan.local_sessions => (0..self.servers.len()).for_each(|index| self.isolate(index)),
            3 => {
                for index in 0..self.servers.len() {
                    self.crash(index);
                    let delay = self.rng.u64(0..500_000);
                    self.after_us(delay, Event::Restart(index));
                }
            }
            4 => self.isolate(index),
            5 => self.cut.clear(),
            6 => {
                let links: Vec<Link> = self.links.keys().copied().collect();
                if let Some(link) = self.rng.choice(&links) {
                    self.break_link(*link);
                }
            }
            _ => {
                let client = self.rng.usize(0..self.clients.len());
                if self.rng.u8(0..4) == 0 && client > 0 {
                    self.clients[client].dead = true;
                }
                self.leave(client);
            }
        }
    }

    /// A server reaches no other.
    fn isolate(&mut self, index: usize) {
        for peer in (0..self.servers.len()).filter(|peer| *peer != index) {
            self.cut.insert((index.min(peer), index.max(peer)));
            self.tell_unreachable(index, peer);
            self.tell_unreachable(peer, index);
        }
        let own = |c: &Connection| c.learner.server == index || c.leader.server == index;
        let links: Vec<Link> = self.links.iter().filter(|(_, c)| own(c)).map(|(link, _)| *link).collect();
        links.into_iter().for_each(|link| self.break_link(link));
    }

    /// A client's connection ends by itself.
    fn leave(&mut self, client: usize) {
        let Some((server, connection)) = self.clients[client].at else { return };
        self.servers[server].connections.remove(&connection.number);
        if let Some(gone) = self.clients[client].disconnected() {
            self.ask(server, RequestBatch { items: vec![gone], ..RequestBatch::default() });
        }
    }

    fn ask(&mut self, server: usize, batch: RequestBatch) {
        let (life, delay) = (self.life(server), 20);
        self.after_us(delay, Event::Arrives(life, Input::Requests(batch)));
    }

    fn client_acts(&mut self, number: usize) {
        let now = self.now().tick;
        if self.clients[number].dead {
            return;
        }
        if let Some((server, _)) = self.clients[number].at {
            if let Some(batch) = self.clients[number].ask(now, &mut self.rng) {
                self.ask(server, batch);
            }
            return;
        }
        let index = self.rng.usize(0..self.servers.len());
        let server = &mut self.servers[index];
        if server.service == Service::Nothing {
            return;
        }
        server.next_connection += 1;
        // Numbers are not used again by a later life.
        let connection = ConnectionId { core: 0, number: server.next_connection };
        server.connections.insert(connection.number, number);
        let batch = self.clients[number].connect(index, connection, server.service);
        self.ask(index, batch);
    }

    /// Nothing fails from here on.
    pub fn heal(&mut self) {
        self.log(|| "everything heals".to_owned());
        self.raging = false;
        self.cut.clear();
        for index in 0..self.servers.len() {
            if self.servers[index].replica.is_none() {
                self.start(index);
            }
        }
    }

    /// All must serve, and go on; then, when nobody writes any more, be the same to the byte.
    pub fn demand_agreement(&mut self) {
        if self.plan.reconfigures {
            self.readmit_all();
        }
        let enough = ANSWERS_MIN.max(self.answered() + 50);
        let end = self.now_us + PROGRESS_MS_MAX * 1000;
        loop {
            let all_serve = self.servers.iter().all(|server| server.service == Service::Full);
            if all_serve && self.answered() >= enough {
                break;
            }
            assert!(self.now_us < end, "liveness: nobody served in time:\n{}", self.describe());
            self.run_ms(20);
        }
        // The dead stay away, and so do all the others now but for their signs of life.
        for number in 0..self.clients.len() {
            self.leave(number);
            self.clients[number].dead = true;
        }
        self.await_ends_of_sessions();
        let state = |server: &Server| {
            let replica = server.replica.as_ref().expect("it runs");
            (replica.applied(), tree_of(replica), server.disk.members.clone())
        };
        let states: Vec<_> = self.servers.iter().map(state).collect();
        assert!(states.iter().all(|state| *state == states[0]), "agreement: {states:?}\n{}", self.describe());
        self.check_nodes();
    }

    /// All sessions are silent, and are closed. Where their closings use an epoch up, servers that speak as
    /// Java's elect anew, and the next leader gives the rest their whole timeout again.
    fn await_ends_of_sessions(&mut self) {
        let end = self.now_us + 3 * (u64::from(TIMEOUT_MS) + 2000) * 1000;
        let are_over = |server: &Server| {
            server.replica.as_ref().is_some_and(|replica| replica.sessions_on_disk().is_empty())
        };
        while !self.servers.iter().all(are_over) {
            assert!(self.now_us < end, "liveness: silent sessions live on:\n{}", self.describe());
            self.run_ms(20);
        }
        // What does not change the sessions comes to an end, too.
        self.run_ms(2000);
    }

    /// Whoever is no member any more need not serve: all are made members again.
    fn readmit_all(&mut self) {
        self.clients[0].readmits = true;
        let end = self.now_us + PROGRESS_MS_MAX * 1000;
        while self.clients[0].readmits {
            assert!(self.now_us < end, "liveness: no change in time:\n{}", self.describe());
            self.run_ms(20);
        }
    }

    /// Everything that clients were told is there, and nothing of sessions that are over.
    fn check_nodes(&self) {
        let replica = self.servers[0].replica.as_ref().expect("it runs");
        let mut paths = BTreeSet::new();
        let Ok(()) = replica.reader().walk(Zxid(u64::MAX), |caught| {
            paths.insert(caught.path());
            Ok::<(), std::convert::Infallible>(())
        });
        for client in &self.clients {
            for path in &client.created {
                assert!(paths.contains(path), "durability: {path} was acknowledged and is gone");
            }
            for path in &client.ephemerals {
                assert!(!paths.contains(path), "{path} outlives its session");
            }
        }
        assert_eq!(replica.sessions_on_disk(), [], "every session is over");
    }

    fn describe(&self) -> String {
        let mut text = String::new();
        for (index, server) in self.servers.iter().enumerate() {
            let applied = server.replica.as_ref().map(Replica::applied);
            writeln!(text, "{}: {:?} applied {applied:?}", index + 1, server.service).expect("a string");
        }
        for client in &self.clients {
            writeln!(text, "{}", client.describe()).expect("a string");
        }
        text
    }

    fn answered(&self) -> u64 {
        self.clients.iter().map(|client| client.answered).sum()
    }

    /// What happened, in a line.
    pub fn summary(&self) -> String {
        let answered = self.answered();
        let lost: usize = self.clients.iter().map(|client| client.lost.len()).sum();
        let starts: u64 = self.servers.iter().map(|server| server.start).sum();
        let refused: u64 = self.clients.iter().map(|client| client.refused_writes).sum();
        let (seed, looks, changes) = (self.seed, self.digests.len(), self.clients[0].changes);
        format!(
            "seed {seed}: {answered} answers, {refused} to readers, {lost} sessions lost, {starts} starts, \
             {looks} looks, {changes} changes"
        )
    }
}

fn short(input: &Input) -> String {
    let mut text = format!("{input:?}");
    if text.len() > 200 {
        let cut = (0..=200).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(cut);
    }
    text
}

/// All but what a server sets by itself: it shows the configuration that it goes by before it has applied
/// the transaction that made it.
fn tree_of(replica: &Replica) -> TreeDigest {
    let mut sum = TreeDigest::default();
    let Ok(()) = replica.reader().walk(Zxid(u64::MAX), |caught| {
        let path = caught.path();
        if path != CONFIG_NODE {
            let stat = persisted(caught.node, &caught.data, caught.children);
            sum = sum.plus(TreeDigest::of_node(&path, caught.value, &stat));
        }
        Ok::<(), std::convert::Infallible>(())
    });
    sum
}
