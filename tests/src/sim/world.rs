//! Servers, time, clients, and what happens next.

use super::disk::Disk;
use super::groups::{self, Places};
use super::network::{Frame, Life, Network, TO_LEADER, TO_LEARNER};
use super::oracle::{Oracle, Tree};
use bytes::Bytes;
use fastrand::Rng;
use ringkeeper_engine::id::{Epoch, ServerId, Tick, Zxid};
use ringkeeper_quorum::election::ElectionTiming;
use ringkeeper_quorum::members::Members;
use ringkeeper_quorum::message::{
    Batch, Notification, PeerState, QuorumPacket, Round, ToLeader, ToLearner, Transaction, Vote,
};
use ringkeeper_quorum::zab::{Attempt, Config, Input, Link, Serving, Timing, Zab};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::fmt::Write;

pub(super) mod effects;

/// How often servers are told that time passes, in milliseconds.
const TICK_MS: u64 = 10;
/// How long healed servers may take to serve and agree, in milliseconds.
const PROGRESS_MS_MAX: u64 = 30_000;

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Servers with a vote.
    pub voters: u8,
    /// Servers without.
    pub observers: u8,
    /// Groups and weights of the voters; none where more than half of them are a quorum.
    pub places: Places,
    /// Whether servers take each other for Java's, which know no batches, cumulative acks and commits.
    pub plain: u8,
    /// Bytes of applied transactions that a server keeps for learners.
    pub window_bytes: usize,
    /// Whether a learner that missed more than that gets a whole tree, though the log is on disk.
    pub whole_trees: bool,
    /// Most transactions in an epoch.
    pub epoch_transactions_max: u32,
    /// How long everything goes wrong, in milliseconds.
    pub rage_ms: u64,
    /// Between two writes, in milliseconds.
    pub write_ms: u64,
    /// Between two faults, in milliseconds.
    pub fault_ms: u64,
    /// Whether an election ends as soon as a quorum agrees, heedless of who may know more.
    pub hasty: bool,
    /// Between two decrees that name a leader, whatever it knows; 0 for elections by the book alone. An
    /// election only proposes a leader: nothing is lost or kept by what it says.
    pub wild_ms: u64,
    /// Whether servers hear nothing of each other's votes: only decrees end an election.
    pub deaf: bool,
    /// One in so many moments at which a server's role or log changes is its last; 0 for none.
    pub ambush: u32,
}

impl Settings {
    /// Chosen by the seed.
    pub fn of_seed(seed: u64) -> Settings {
        let mut rng = Rng::with_seed(seed ^ 0x5e77_1465);
        let mut voters = *rng.choice(&[1, 2, 3, 3, 3, 3, 4, 5, 5]).expect("choices");
        let wild_ms = *rng.choice(&[0, 0, 3, 10, 40, 150]).expect("choices");
        let observers = *rng.choice(&[0, 0, 1, 2]).expect("choices");
        let mut places = Places::new();
        if voters >= 3 && rng.u8(0..8) < 3 {
            voters = rng.u8(2..=6);
            places = groups::draw(&mut rng, voters);
        }
        Settings {
            voters,
            observers,
            places,
            plain: *rng.choice(&[0, 0, 0, u8::MAX, 0b0101_0101, 0b1010]).expect("choices"),
            window_bytes: *rng.choice(&[0, 100, 400, 1 << 20]).expect("choices"),
            whole_trees: rng.bool(),
            epoch_transactions_max: *rng.choice(&[u32::MAX, u32::MAX, 20, 150]).expect("choices"),
            rage_ms: 10_000,
            write_ms: *rng.choice(&[5, 20, 60]).expect("choices"),
            fault_ms: *rng.choice(&[80, 300, 900]).expect("choices"),
            hasty: rng.u8(0..4) == 0,
            wild_ms,
            deaf: wild_ms > 0 && rng.bool(),
            ambush: *rng
                .choice(if wild_ms > 0 { &[3, 6, 20, 60] } else { &[0, 8, 30, 100] })
                .expect("choices"),
        }
    }

    fn members(&self) -> Members {
        let mut text = String::new();
        for id in 1..=self.voters + self.observers {
            let role = if id > self.voters { ":observer" } else { "" };
            writeln!(text, "server.{id}=localhost:{}:{}{role}", 2000 + u16::from(id), 3000 + u16::from(id))
                .expect("a string");
        }
        for line in groups::lines(&self.places) {
            writeln!(text, "{line}").expect("a string");
        }
        Members::parse(&text).expect("a configuration")
    }
}

#[derive(Debug)]
enum Event {
    Tick,
    Client,
    Notify { from: Life, to: usize, number: u64, bytes: Bytes },
    ElectionLink { at: Life, peer: usize, up: bool },
    Connect { from: Life, attempt: Attempt, to: usize },
    Pump { link: Link, direction: usize },
    LogSync(Life),
    EpochSync(Life),
    LogSought { at: Life, link: Link, last: Zxid },
    Ambush(Life),
    Decree,
    Restart(usize),
    HealNetwork,
}

/// One server.
pub struct Server {
    /// Its number.
    pub id: ServerId,
    /// How often it was started.
    pub start: u64,
    /// `None` while it is down.
    pub zab: Option<Zab>,
    /// What a crash leaves.
    pub disk: Disk,
    /// What it applied.
    pub tree: Tree,
    /// Whether it stays down.
    pub away: bool,
    /// How many times slower than usual its disk is.
    pub slow: u64,
    staged: Option<Tree>,
    /// Of its election.
    round: Round,
    contacts: BTreeSet<usize>,
    /// Its own proposals, which clients wait for.
    pending: BTreeMap<Zxid, u64>,
    log_syncing: bool,
    epoch_syncing: bool,
}

/// An ensemble.
pub struct World {
    /// Chance.
    pub rng: Rng,
    /// What was asked for.
    pub settings: Settings,
    /// All servers.
    pub servers: Vec<Server>,
    /// Their connections.
    pub network: Network,
    /// What must hold.
    pub oracle: Oracle,
    /// How often a server that served its clients stopped to.
    pub interruptions: u64,
    /// Prints what happens.
    pub trace: bool,
    members: Members,
    seed: u64,
    now_us: u64,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    bodies: BTreeMap<u64, Event>,
    next_event: u64,
    next_value: u64,
    /// The newest notification between two servers, and when it arrives.
    notified: BTreeMap<(usize, usize), (u64, u64)>,
    steps: u64,
}

impl Drop for World {
    /// A broken law names its seed.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {} at {} ms: {:?}", self.seed, self.now_us / 1000, self.settings);
        }
    }
}

impl World {
    /// All servers start, with nothing on disk.
    pub fn new(seed: u64, settings: Settings) -> World {
        let members = settings.members();
        let server = |id| Server {
            id: ServerId(id),
            start: 0,
            zab: None,
            disk: Disk::default(),
            tree: Tree::new(),
            away: false,
            slow: 1,
            staged: None,
            round: Round(0),
            contacts: BTreeSet::new(),
            pending: BTreeMap::new(),
            log_syncing: false,
            epoch_syncing: false,
        };
        let mut world = World {
            rng: Rng::with_seed(seed),
            servers: (1..=settings.voters + settings.observers).map(server).collect(),
            settings,
            network: Network::default(),
            oracle: Oracle::default(),
            interruptions: 0,
            trace: std::env::var_os("ZAB_TRACE").is_some(),
            members,
            seed,
            now_us: 0,
            events: BinaryHeap::new(),
            bodies: BTreeMap::new(),
            next_event: 0,
            next_value: 0,
            notified: BTreeMap::new(),
            steps: 0,
        };
        (0..world.servers.len()).for_each(|server| world.start(server));
        world.after_us(TICK_MS * 1000, Event::Tick);
        world.after_us(0, Event::Client);
        world.after_us(0, Event::Decree);
        world
    }

    /// The time, in milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.now_us / 1000
    }

    fn after_us(&mut self, delay_us: u64, event: Event) {
        self.next_event += 1;
        self.events.push(Reverse((self.now_us + delay_us, self.next_event)));
        self.bodies.insert(self.next_event, event);
    }

    fn latency_us(&mut self) -> u64 {
        if self.rng.u8(0..50) == 0 { self.rng.u64(0..50_000) } else { self.rng.u64(50..800) }
    }

    fn log(&self, text: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:>9.3} {}", self.now_us as f64 / 1000.0, text());
        }
    }

    /// The server's present life.
    pub fn life(&self, server: usize) -> Life {
        Life { server, start: self.servers[server].start }
    }

    fn is_alive(&self, life: Life) -> bool {
        self.life(life.server) == life && self.servers[life.server].zab.is_some()
    }

    /// Starts a server that is down.
    pub fn start(&mut self, index: usize) {
        let (recovered, tree) = self.servers[index].disk.recover();
        self.log(|| {
            format!(
                "{}: starts with {:?} {} tree {}",
                index + 1,
                recovered.epochs,
                recovered.log.last().map_or(recovered.floor, |l| l.zxid),
                recovered.applied
            )
        });
        let server = &mut self.servers[index];
        self.oracle.on_tree(server.id, &tree);
        server.start += 1;
        server.tree = tree;
        server.staged = None;
        server.contacts.clear();
        server.pending.clear();
        server.log_syncing = false;
        server.epoch_syncing = false;
        // Rivals are to wait for each other's followers.
        let init_limit = if self.settings.wild_ms > 0 { 40 } else { 10 };
        let finalize_ms = if self.settings.hasty { 0 } else { 200 };
        let election = ElectionTiming { finalize_ms, ..ElectionTiming::default() };
        let config = Config {
            me: server.id,
            members: self.members.clone(),
            next_members: None,
            timing: Timing { tick_ms: 100, init_limit, sync_limit: 5, election, ..Timing::default() },
            window_bytes: self.settings.window_bytes,
            reconfig_enabled: false,
            epoch_transactions_max: self.settings.epoch_transactions_max,
        };
        server.zab = Some(Zab::new(config, recovered));
        let mut out = Vec::new();
        let now = Tick(self.now_ms());
        self.servers[index].zab.as_mut().expect("just started").start(now, &mut out);
        self.effects(index, out);
    }

    /// Ends a server. Its peers see their connections break at once if its system still runs, or
    /// after a while.
    pub fn crash(&mut self, index: usize, silent: bool) {
        let life = self.life(index);
        self.log(|| format!("{}: crashes, silent {silent}", index + 1));
        let server = &mut self.servers[index];
        if server.zab.take().is_none() {
            return;
        }
        server.disk.crash(&mut self.rng);
        for peer in (0..self.servers.len()).filter(|peer| *peer != index) {
            let delay = if silent { 3_000_000 } else { self.latency_us() };
            if silent || self.network.reaches(index, peer) {
                self.after_us(delay, Event::ElectionLink { at: self.life(peer), peer: index, up: false });
            }
        }
        let links: Vec<(Link, usize)> = self
            .network
            .connections
            .iter()
            .filter_map(|(link, c)| match () {
                () if c.learner == life => Some((*link, TO_LEADER)),
                () if c.leader == life => Some((*link, TO_LEARNER)),
                () => None,
            })
            .collect();
        for (link, direction) in links {
            let connection = self.network.connections.get_mut(&link).expect("just found");
            connection.open[1 - direction] = false;
            if silent {
                connection.frames[direction].clear();
                connection.pumping[direction] = true;
                connection.frames[direction].push_back(Frame::End);
                self.after_us(3_000_000, Event::Pump { link, direction });
            } else {
                self.send(link, direction, Frame::End);
            }
        }
    }

    /// A learner's connection breaks; what was under way is lost.
    pub fn break_connection(&mut self, link: Link) {
        self.log(|| format!("connection {} breaks", link.0));
        for direction in [TO_LEADER, TO_LEARNER] {
            if let Some(connection) = self.network.connections.get_mut(&link) {
                connection.frames[direction].clear();
            }
            self.send(link, direction, Frame::End);
        }
    }

    /// An election connection breaks; what was under way is lost.
    pub fn break_election(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            self.notified.remove(&(from, to));
            self.after_us(0, Event::ElectionLink { at: self.life(from), peer: to, up: false });
        }
    }

    /// Starts a server that is down, in a while.
    pub fn restart_within_ms(&mut self, index: usize, ms: u64) {
        let delay = self.rng.u64(0..ms * 1000);
        self.after_us(delay, Event::Restart(index));
    }

    /// All paths are whole again in a while.
    pub fn heal_network_within_ms(&mut self, ms: u64) {
        let delay = self.rng.u64(0..ms * 1000);
        self.after_us(delay, Event::HealNetwork);
    }

    /// All paths are whole again.
    pub fn heal_network(&mut self) {
        self.network.heal();
        let links: Vec<Link> = self.network.connections.keys().copied().collect();
        for (link, direction) in links.into_iter().flat_map(|link| [(link, TO_LEADER), (link, TO_LEARNER)]) {
            self.pump_later(link, direction);
        }
    }

    /// A quorum, no larger than need be, works from now on; the others are down, for good or until
    /// everything heals.
    pub fn heal_core(&mut self) {
        let core = groups::least_quorum(self.members.verifier(), &mut self.rng);
        self.log(|| format!("{core:?} heal"));
        self.settings.ambush = 0;
        self.settings.wild_ms = 0;
        self.settings.deaf = false;
        self.heal_network();
        for index in 0..self.servers.len() {
            let server = &mut self.servers[index];
            server.slow = 1;
            server.away = !core.contains(&server.id);
            if server.away {
                self.crash(index, false);
            } else if server.zab.is_none() {
                self.start(index);
            }
        }
    }

    /// Everything works from now on.
    pub fn heal(&mut self) {
        self.log(|| "everything heals".to_owned());
        for index in 0..self.servers.len() {
            self.servers[index].away = false;
            if self.servers[index].zab.is_none() {
                self.start(index);
            }
        }
    }

    /// Lets the ensemble live for a while.
    pub fn run_ms(&mut self, ms: u64) {
        let end = self.now_us + ms * 1000;
        while self.events.peek().is_some_and(|Reverse((at, _))| *at <= end) {
            self.next();
        }
        self.now_us = end;
    }

    fn next(&mut self) {
        let Some(Reverse((at, number))) = self.events.pop() else { return };
        self.now_us = at;
        match self.bodies.remove(&number).expect("each event has a body") {
            Event::Tick => {
                for index in 0..self.servers.len() {
                    self.input(self.life(index), Input::Tick);
                }
                self.after_us(TICK_MS * 1000, Event::Tick);
            }
            Event::Client => {
                self.write();
                let delay = self.rng.u64(0..self.settings.write_ms * 2000);
                self.after_us(delay, Event::Client);
            }
            Event::Notify { from, to, number, bytes } => self.notify(from, to, number, bytes),
            Event::ElectionLink { at, peer, up } => {
                let contacts = &mut self.servers[at.server].contacts;
                if up {
                    contacts.insert(peer);
                } else {
                    contacts.remove(&peer);
                }
                self.input(at, Input::ElectionLink { peer: self.servers[peer].id, up });
            }
            Event::Connect { from, attempt, to } => self.connect(from, attempt, to),
            Event::Pump { link, direction } => self.pump(link, direction),
            Event::LogSync(life) if self.is_alive(life) => self.log_sync(life),
            Event::EpochSync(life) if self.is_alive(life) => self.epoch_sync(life),
            Event::LogSync(_) | Event::EpochSync(_) => {}
            Event::LogSought { at, link, last } if self.is_alive(at) => {
                let common = self.servers[at.server].disk.seek(last);
                let common = common.filter(|_| !self.settings.whole_trees);
                self.input(at, Input::LogSought(link, common));
            }
            Event::LogSought { .. } => {}
            Event::Ambush(life) => self.ambush(life),
            Event::Decree if self.settings.wild_ms > 0 => {
                super::faults::decree(self);
                let delay = self.rng.u64(0..self.settings.wild_ms * 2000);
                self.after_us(delay, Event::Decree);
            }
            Event::Decree => {}
            Event::HealNetwork => self.heal_network(),
            Event::Restart(index) => {
                if self.servers[index].zab.is_none() && !self.servers[index].away {
                    self.start(index);
                }
            }
        }
    }

    fn notify(&mut self, from: Life, to: usize, number: u64, bytes: Bytes) {
        if self.notified.get(&(from.server, to)).is_none_or(|(newest, _)| *newest != number) {
            return;
        }
        if !self.network.reaches(from.server, to) {
            self.after_us(50_000, Event::Notify { from, to, number, bytes });
            return;
        }
        if self.servers[to].zab.is_none() {
            let delay = self.latency_us();
            self.after_us(delay, Event::ElectionLink { at: from, peer: to, up: false });
            return;
        }
        let at = self.life(to);
        if !self.servers[to].contacts.contains(&from.server) {
            self.after_us(0, Event::ElectionLink { at, peer: from.server, up: true });
        }
        if self.network.reaches(to, from.server) && !self.servers[from.server].contacts.contains(&to) {
            self.after_us(0, Event::ElectionLink { at: from, peer: to, up: true });
        }
        let notification = Notification::decode(&bytes).expect("our own notification");
        self.input(at, Input::Notification { from: self.servers[from.server].id, notification });
    }

    fn connect(&mut self, from: Life, attempt: Attempt, to: usize) {
        let both = self.network.reaches(from.server, to) && self.network.reaches(to, from.server);
        if !both {
            // As a connect that nobody answers ends some time.
            self.after_us(1_000_000, Event::Connect { from, attempt, to });
        } else if self.servers[to].zab.is_none() {
            self.input(from, Input::LeaderLost(attempt));
        } else if self.is_alive(from) {
            self.network.open(from, attempt, self.life(to));
            self.input(from, Input::Connected(attempt));
        }
    }

    fn send(&mut self, link: Link, direction: usize, frame: Frame) {
        if let Some(connection) = self.network.connections.get_mut(&link) {
            connection.frames[direction].push_back(frame);
            self.pump_later(link, direction);
        }
    }

    fn pump_later(&mut self, link: Link, direction: usize) {
        let Some(connection) = self.network.connections.get_mut(&link) else { return };
        if !connection.pumping[direction] && !connection.frames[direction].is_empty() {
            connection.pumping[direction] = true;
            let delay = self.latency_us();
            self.after_us(delay, Event::Pump { link, direction });
        }
    }

    fn pump(&mut self, link: Link, direction: usize) {
        let Some(connection) = self.network.connections.get_mut(&link) else { return };
        connection.pumping[direction] = false;
        let (from, to) = connection.path(direction);
        if !self.network.reaches(from.server, to.server) {
            return;
        }
        let connection = self.network.connections.get_mut(&link).expect("just found");
        let frame = connection.frames[direction].pop_front();
        let (open, attempt) = (connection.open[direction], connection.attempt);
        if open && let Some(frame) = frame {
            let input = match (frame, direction) {
                (Frame::End, _) => {
                    connection.open[direction] = false;
                    if direction == TO_LEADER { Input::LearnerLost(link) } else { Input::LeaderLost(attempt) }
                }
                (Frame::Packet(bytes), TO_LEADER) => {
                    let (packet, _) =
                        QuorumPacket::decode(&bytes, 1 << 20).expect("a packet").expect("whole");
                    Input::FromLearner(link, ToLeader::decode(&packet, &bytes).expect("our own packet"))
                }
                (Frame::Packet(bytes), _) => {
                    let (packet, _) =
                        QuorumPacket::decode(&bytes, 1 << 20).expect("a packet").expect("whole");
                    let message = ToLearner::decode(&packet, &bytes).expect("our own packet");
                    if self.settings.plain >> to.server & 1 == 1 {
                        connection.java.hear(&message);
                    }
                    Input::FromLeader(attempt, message)
                }
                (Frame::Tree(tree), _) => {
                    self.servers[to.server].staged = Some(tree);
                    Input::SnapshotStaged(attempt)
                }
            };
            self.input(to, input);
        }
        self.pump_later(link, direction);
        self.network
            .connections
            .retain(|_, c| c.open != [false; 2] || c.frames.iter().any(|f| !f.is_empty()));
    }

    fn disk_us(&mut self, index: usize) -> u64 {
        self.rng.u64(50..1500) * self.servers[index].slow
    }

    fn log_sync(&mut self, life: Life) {
        let server = &mut self.servers[life.server];
        server.log_syncing = false;
        let mut last = None;
        for _ in 0..self.rng.usize(0..=server.disk.log_ops.len().min(8)) {
            last = server.disk.sync_log();
        }
        if let Some(op) = last {
            let (generation, zxid) = op.done();
            self.input(life, Input::Durable(generation, zxid));
        }
        self.schedule_disk(life.server);
    }

    fn epoch_sync(&mut self, life: Life) {
        let server = &mut self.servers[life.server];
        server.epoch_syncing = false;
        if let Some(epochs) = server.disk.sync_epochs() {
            self.input(life, Input::EpochsPersisted(epochs));
        }
        self.schedule_disk(life.server);
    }

    fn schedule_disk(&mut self, index: usize) {
        let life = self.life(index);
        if !self.servers[index].log_syncing && !self.servers[index].disk.log_ops.is_empty() {
            self.servers[index].log_syncing = true;
            let delay = self.disk_us(index);
            self.after_us(delay, Event::LogSync(life));
        }
        if !self.servers[index].epoch_syncing && !self.servers[index].disk.epoch_ops.is_empty() {
            self.servers[index].epoch_syncing = true;
            let delay = self.disk_us(index);
            self.after_us(delay, Event::EpochSync(life));
        }
    }

    /// A client writes, at any server that leads.
    fn write(&mut self) {
        let leaders: Vec<usize> = (0..self.servers.len())
            .filter(|index| self.servers[*index].zab.as_ref().is_some_and(|zab| zab.next_zxid().is_some()))
            .collect();
        let Some(index) = self.rng.choice(&leaders).copied() else { return };
        let Some(mut zxid) = self.servers[index].zab.as_ref().and_then(Zab::next_zxid) else { return };
        let mut batch = Vec::new();
        for _ in 0..self.rng.usize(1..4) {
            if zxid.counter() > self.settings.epoch_transactions_max {
                break;
            }
            self.next_value += 1;
            let value = self.next_value;
            self.oracle.on_propose(zxid, value);
            self.servers[index].pending.insert(zxid, value);
            let bytes = Bytes::copy_from_slice(&value.to_be_bytes());
            batch.push(Transaction { zxid, bytes });
            zxid = zxid.next();
        }
        let batch = Batch::of(&batch).expect("one was proposed");
        self.input(self.life(index), Input::Propose(batch));
    }

    fn leader(&self) -> Option<(ServerId, Epoch)> {
        let leaders = self.servers.iter().filter_map(|server| match server.zab.as_ref()?.serving() {
            Serving::Leader(epoch) => Some((server.id, epoch)),
            _ => None,
        });
        let leaders: VecDeque<_> = leaders.collect();
        (leaders.len() == 1).then(|| leaders[0])
    }

    /// Whether all serve with one leader, and have applied all that was decided.
    pub fn is_settled(&self) -> bool {
        let Some((leader, epoch)) = self.leader() else { return false };
        self.servers.iter().filter(|server| !server.away).all(|server| {
            let Some(zab) = &server.zab else { return false };
            let follows = match zab.serving() {
                Serving::Leader(_) => true,
                Serving::Learner { leader: its, epoch: its_epoch, .. } => (its, its_epoch) == (leader, epoch),
                Serving::No => false,
            };
            follows && server.tree == *self.oracle.decided() && zab.last() == zab.delivered()
        })
    }

    /// Nothing fails any more: all must serve, agree, and go on.
    pub fn demand_progress(&mut self) {
        let end = self.now_ms() + PROGRESS_MS_MAX;
        let before = self.oracle.decided().len();
        self.settings.write_ms = 200;
        while !(self.is_settled() && self.oracle.decided().len() >= before + 5) {
            if self.now_ms() >= end {
                panic!("liveness: after {PROGRESS_MS_MAX} ms without a fault:\n{}", self.describe());
            }
            self.run_ms(20);
        }
        self.oracle.check_acked();
    }

    /// Every server in a line.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for server in &self.servers {
            let id = server.id.0;
            match &server.zab {
                None => writeln!(text, "{id}: down").expect("a string"),
                Some(zab) => writeln!(
                    text,
                    "{id}: {:?} {:?} {:?} last {} committed {} delivered {} of {}",
                    zab.state(),
                    zab.serving(),
                    zab.epochs(),
                    zab.last(),
                    zab.committed(),
                    server.tree.len(),
                    self.oracle.decided().len(),
                )
                .expect("a string"),
            }
        }
        text
    }

    /// What happened, in a line.
    pub fn summary(&self) -> String {
        format!(
            "seed {}: {} steps, {} epochs, {} decided, {} acked, {} ms",
            self.seed,
            self.steps,
            self.oracle.epochs(),
            self.oracle.decided().len(),
            self.oracle.acked.len(),
            self.now_ms(),
        )
    }

    /// All others tell a server that looks for a leader that they vote for this one.
    pub fn elect(&mut self, index: usize, leader: ServerId) {
        let vote = Vote { epoch: Epoch(u32::MAX), zxid: Zxid::ZERO, leader: Some(leader) };
        for voter in (0..usize::from(self.settings.voters)).filter(|voter| *voter != index) {
            if self.is_looking(index) {
                let (round, state) = (self.servers[index].round, PeerState::Looking);
                let notification = Notification { vote, round, state, version: 2, members: None };
                let from = self.servers[voter].id;
                self.input(self.life(index), Input::Notification { from, notification });
            }
        }
    }

    /// Whether a server may be elected.
    pub fn has_weight(&self, server: ServerId) -> bool {
        self.members.verifier().weight(server) > 0
    }

    /// Whether a server looks for a leader.
    pub fn is_looking(&self, index: usize) -> bool {
        self.servers[index].zab.as_ref().is_some_and(|zab| zab.state() == PeerState::Looking)
    }
}
