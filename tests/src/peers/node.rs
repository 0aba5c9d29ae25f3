//! A server of ours without clients, on a thread of its own.

use bytes::Bytes;
use ringkeeper_engine::database::Database;
use ringkeeper_engine::id::{ServerId, SessionId, Tick, Zxid};
use ringkeeper_engine::jute::Write;
use ringkeeper_engine::jute::records::{CreateSessionTxn, TxnHeader};
use ringkeeper_engine::op::OpCode;
use ringkeeper_engine::tree::acl::AclList;
use ringkeeper_engine::tree::digest::{self, TreeDigest};
use ringkeeper_engine::tree::index::pin;
use ringkeeper_engine::zookeeper::replay::Replay;
use ringkeeper_engine::zookeeper::transaction::Transaction as Decoded;
use ringkeeper_net::peer::log::{LearnerLog, Visit};
use ringkeeper_net::peer::tree::Tree;
use ringkeeper_net::peer::{Peers, PeersConfig};
use ringkeeper_net::ring::{self, Runtime, Wake};
use ringkeeper_quorum::members::Members;
use ringkeeper_quorum::message::{Batch, Forwarded, ToLeader, ToLearner, Transaction};
use ringkeeper_quorum::zab::{
    Attempt, Config, Effect, Generation, Input, Link, Recovered, Serving, Timing, Zab,
};
use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often time passes for it.
const TICK: Duration = Duration::from_millis(10);

/// What is on its disk, which is memory.
#[derive(Default)]
pub struct Disk {
    /// Epochs, the end of the log, and what of it was applied.
    pub recovered: Recovered,
    /// The tree, as a checkpoint would have it.
    pub tree: Option<Replay>,
}

/// What others may know of it.
#[derive(Clone, Debug)]
pub struct View {
    /// What it does for its clients.
    pub serving: Serving,
    /// The newest transaction of its log.
    pub last: Zxid,
    /// The newest that it has applied.
    pub applied: Zxid,
    /// DIFF, TRUNC or SNAP of each synchronisation with a leader.
    pub synchronised: Vec<&'static str>,
    /// The digest of its tree.
    pub digest: Option<TreeDigest>,
    /// Digests that came with transactions: how many were compared, and the first that differed.
    pub compared: u64,
    /// See `compared`.
    pub different: Option<Zxid>,
    /// What it told its operator.
    pub notices: Vec<String>,
    /// Learners that were sent a part of the log on disk.
    pub logs_sent: u32,
    /// Learners that were sent a whole tree.
    pub trees_sent: u32,
}

enum Command {
    Create(String, Vec<u8>),
    Paths,
    Stop,
}

struct Shared {
    view: Mutex<View>,
    changed: Condvar,
    commands: Mutex<VecDeque<Command>>,
    wake: Wake,
    paths: Mutex<Option<BTreeMap<String, Option<Vec<u8>>>>>,
}

/// One of them. It ends when it is dropped.
pub struct Node {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Disk>>,
}

/// How a node differs from others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Habits {
    /// Bytes of applied transactions in memory.
    pub window_bytes: usize,
    /// Learners that missed no more transactions are served from the log beyond that.
    pub log_transactions: usize,
}

impl Node {
    /// Starts it with what is on its disk.
    ///
    /// # Panics
    /// Its ports are taken.
    pub fn start(id: u8, members: &Members, disk: Disk, habits: Habits) -> Node {
        let view = View {
            serving: Serving::No,
            last: Zxid::ZERO,
            applied: Zxid::ZERO,
            synchronised: Vec::new(),
            digest: None,
            compared: 0,
            different: None,
            notices: Vec::new(),
            logs_sent: 0,
            trees_sent: 0,
        };
        let shared = Arc::new(Shared {
            view: Mutex::new(view),
            changed: Condvar::new(),
            commands: Mutex::default(),
            wake: Wake::new(),
            paths: Mutex::default(),
        });
        let log = Arc::new(MemoryLog { max: habits.log_transactions, ..MemoryLog::default() });
        let mut peers = PeersConfig::new(ServerId(id), members.clone());
        peers.log = Some(Arc::clone(&log) as Arc<dyn LearnerLog>);
        let timing = Timing { tick_ms: 2000, init_limit: 10, sync_limit: 5, ..Timing::default() };
        let config = Config {
            me: ServerId(id),
            members: members.clone(),
            next_members: None,
            timing,
            window_bytes: habits.window_bytes,
            reconfig_enabled: false,
            epoch_transactions_max: u32::MAX,
        };
        let (its, name) = (Arc::clone(&shared), format!("node-{id}"));
        let run = move || {
            let ran = ring::run(Runtime::Own, async move {
                let peers = Peers::start(peers, its.wake.clone()).expect("its ports");
                Machine::new(config, disk, peers, its, log).run().await
            });
            ran.expect("a ring")
        };
        let thread = std::thread::Builder::new().name(name).spawn(run).expect("a thread");
        Node { shared, thread: Some(thread) }
    }

    /// Waits until `condition` holds of what is known of it, and returns that.
    ///
    /// # Panics
    /// It does not in time.
    pub fn wait(&self, what: &str, mut condition: impl FnMut(&View) -> bool) -> View {
        let view = self.shared.view.lock().expect("no holder panics");
        let waited = self.shared.changed.wait_timeout_while(view, super::PATIENCE, |view| !condition(view));
        let (view, timeout) = waited.expect("no holder panics");
        assert!(!timeout.timed_out(), "waited in vain: {what}: {:?}", *view);
        view.clone()
    }

    /// What is known of it now.
    ///
    /// # Panics
    /// Its thread did.
    pub fn view(&self) -> View {
        self.shared.view.lock().expect("no holder panics").clone()
    }

    fn command(&self, command: Command) {
        self.shared.commands.lock().expect("no holder panics").push_back(command);
        self.shared.wake.wake();
    }

    /// Has it propose a node, if it leads.
    pub fn create(&self, path: &str, data: &[u8]) {
        self.command(Command::Create(path.to_owned(), data.to_vec()));
    }

    /// All nodes of its tree with their data.
    ///
    /// # Panics
    /// Its thread did.
    pub fn paths(&self) -> BTreeMap<String, Option<Vec<u8>>> {
        self.command(Command::Paths);
        super::wait_for("the tree", || self.shared.paths.lock().expect("no holder panics").take())
    }

    /// Ends it; what is on its disk is returned.
    ///
    /// # Panics
    /// It did.
    pub fn stop(mut self) -> Disk {
        self.command(Command::Stop);
        let thread = self.thread.take().expect("it runs");
        thread.join().expect("it ends in order")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.command(Command::Stop);
            // A panic of its own was reported where it happened.
            let _ = thread.join();
        }
    }
}

/// The log, as learners are served from it.
#[derive(Default)]
struct MemoryLog {
    entries: Mutex<Vec<Transaction>>,
    max: usize,
}

impl MemoryLog {
    fn entries(&self) -> MutexGuard<'_, Vec<Transaction>> {
        self.entries.lock().expect("no holder panics")
    }
}

impl LearnerLog for MemoryLog {
    fn seek(&self, last: Zxid) -> Result<Option<Zxid>, String> {
        let log = self.entries();
        let missed = log.iter().filter(|entry| entry.zxid > last).count();
        let before = log.iter().map(|entry| entry.zxid).take_while(|zxid| *zxid <= last).last();
        let all = log.first().is_some_and(|first| first.zxid == Zxid(1 << 32 | 1));
        Ok(before.or(all.then_some(Zxid::ZERO)).filter(|_| missed <= self.max))
    }

    fn read(&self, after: Zxid, upto: Zxid, visit: &mut Visit<'_>) -> Result<(), String> {
        let log = self.entries().clone();
        let mut rest = log.iter().filter(|entry| entry.zxid > after && entry.zxid <= upto);
        let _ = rest.try_for_each(|entry| visit(entry.zxid, &entry.bytes));
        if log.last().is_some_and(|last| last.zxid >= upto) {
            Ok(())
        } else {
            Err(format!("it ends before {upto}"))
        }
    }
}

struct Machine {
    zab: Zab,
    peers: Peers,
    shared: Arc<Shared>,
    log: Arc<MemoryLog>,
    disk: Disk,
    tree: Replay,
    begun: Instant,
    /// What its disk has done.
    inputs: VecDeque<Input>,
    attempt: Attempt,
    proposals: Vec<Transaction>,
    stopping: bool,
    view: View,
}

impl Machine {
    fn new(
        config: Config,
        mut disk: Disk,
        peers: Peers,
        shared: Arc<Shared>,
        log: Arc<MemoryLog>,
    ) -> Machine {
        let tree = disk.tree.take().unwrap_or_else(|| Replay::new(Database::new(1), Zxid::ZERO));
        log.entries().clone_from(&disk.recovered.log);
        let view = shared.view.lock().expect("no holder panics").clone();
        Machine {
            zab: Zab::new(config, disk.recovered.clone()),
            peers,
            shared,
            log,
            disk,
            tree,
            begun: Instant::now(),
            inputs: VecDeque::new(),
            attempt: Attempt(0),
            proposals: Vec::new(),
            stopping: false,
            view,
        }
    }

    fn now(&self) -> Tick {
        Tick(self.begun.elapsed().as_millis() as u64)
    }

    async fn run(mut self) -> Disk {
        let wake = self.shared.wake.clone();
        let ticking = wake.clone();
        ring::spawn(async move {
            loop {
                ring::sleep(TICK).await;
                ticking.wake();
            }
        });
        let (mut out, mut ticked) = (Vec::new(), Tick(0));
        self.zab.start(self.now(), &mut out);
        while !self.stopping {
            self.effects(mem::take(&mut out));
            while let Some(input) = self.inputs.pop_front().or_else(|| self.peers.take()) {
                match &input {
                    Input::Connected(attempt) => self.attempt = *attempt,
                    Input::FromLeader(_, ToLearner::Diff(_)) => self.view.synchronised.push("DIFF"),
                    Input::FromLeader(_, ToLearner::Trunc(_)) => self.view.synchronised.push("TRUNC"),
                    Input::FromLeader(_, ToLearner::Snap(_)) => self.view.synchronised.push("SNAP"),
                    _ => {}
                }
                self.zab.step(self.now(), input, &mut out);
                self.effects(mem::take(&mut out));
            }
            self.commands();
            let proposals = mem::take(&mut self.proposals);
            if let Some(batch) = Batch::of(&proposals) {
                self.zab.step(self.now(), Input::Propose(batch), &mut out);
                self.effects(mem::take(&mut out));
                wake.wake();
            }
            if self.now() > ticked {
                ticked = self.now();
                self.zab.step(ticked, Input::Tick, &mut out);
            }
            self.effects(mem::take(&mut out));
            self.show();
            if self.inputs.is_empty() {
                wake.woken().await;
            }
        }
        let recovered = &mut self.disk.recovered;
        recovered.applied = self.tree.database.last;
        recovered.floor = recovered.applied;
        let applied = recovered.applied;
        recovered.log.retain(|entry| entry.zxid > applied);
        self.disk.tree = Some(self.tree);
        self.disk
    }

    fn show(&mut self) {
        self.view.serving = self.zab.serving();
        self.view.last = self.zab.last();
        self.view.applied = self.tree.database.last;
        self.view.digest = self.tree.digest();
        self.shared.view.lock().expect("no holder panics").clone_from(&self.view);
        self.shared.changed.notify_all();
    }

    fn commands(&mut self) {
        let commands = mem::take(&mut *self.shared.commands.lock().expect("no holder panics"));
        for command in commands {
            match command {
                Command::Create(path, data) => {
                    let mut record = Vec::new();
                    path.as_str().write(&mut record);
                    Some(&data[..]).write(&mut record);
                    record.extend_from_slice(&AclList::open().bytes);
                    false.write(&mut record);
                    (-1i32).write(&mut record);
                    self.propose(SessionId(0), 0, OpCode::Create, &record);
                }
                Command::Paths => {
                    let (mut paths, guard) = (BTreeMap::new(), pin());
                    let reader = self.tree.database.tree.reader();
                    let visit = |caught: ringkeeper_engine::tree::walk::Caught<'_>| {
                        paths.insert(caught.path(), caught.value.map(<[u8]>::to_vec));
                        Ok::<(), std::convert::Infallible>(())
                    };
                    let Ok(()) = reader.walk(Zxid(u64::MAX), visit);
                    drop(guard);
                    *self.shared.paths.lock().expect("no holder panics") = Some(paths);
                }
                Command::Stop => self.stopping = true,
            }
        }
    }

    /// Prepares a transaction, if this server leads.
    fn propose(&mut self, session: SessionId, cxid: i32, op: OpCode, record: &[u8]) {
        let Some(next) = self.zab.next_zxid() else { return };
        let zxid = Zxid(next.0 + self.proposals.len() as u64);
        let time = 1_700_000_000_000 + zxid.counter() as i64;
        let mut bytes = Vec::new();
        TxnHeader { client_id: session.0, cxid, zxid: zxid.to_jute(), time, op: op.code() }.write(&mut bytes);
        bytes.extend_from_slice(record);
        self.proposals.push(Transaction { zxid, bytes: Bytes::from(bytes) });
    }

    fn effects(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.view.logs_sent += u32::from(matches!(effect, Effect::SendLog { .. }));
            if let Some(rest) = self.peers.run(effect) {
                self.effect(rest);
            }
        }
    }

    fn effect(&mut self, effect: Effect) {
        let recovered = &mut self.disk.recovered;
        match effect {
            Effect::SendTree(link, zxid) => {
                self.view.trees_sent += 1;
                let database = &self.tree.database;
                let sessions = database.sessions.iter().map(|(id, timeout)| (*id, *timeout)).collect();
                self.peers.send_tree(link, zxid, Tree { reader: database.tree.reader(), sessions, bytes: 0 });
            }
            Effect::PersistEpochs(epochs) => {
                recovered.epochs = epochs;
                self.inputs.push_back(Input::EpochsPersisted(epochs));
            }
            Effect::Append(generation, batch) => {
                self.log.entries().extend(batch.clone().into_transactions());
                recovered.log.extend(batch.into_transactions());
                let zxid = recovered.log.last().expect("it is never empty").zxid;
                self.durable(generation, zxid);
            }
            Effect::Rewind(generation, zxid) => {
                self.log.entries().retain(|entry| entry.zxid <= zxid);
                recovered.log.retain(|entry| entry.zxid <= zxid);
                self.durable(generation, zxid);
            }
            Effect::Install(generation, zxid) => {
                let staged = self.peers.take_staged(self.attempt).expect("a tree was staged");
                self.tree = Replay::new(staged.database, staged.newest);
                self.log.entries().clear();
                recovered.log.clear();
                self.durable(generation, zxid);
            }
            Effect::Deliver(batches) => {
                let transactions = batches.into_iter().flat_map(Batch::into_transactions);
                transactions.for_each(|entry| self.apply(&entry));
            }
            Effect::FromLeader(ToLearner::Ping(zxid), _) => {
                let message = ToLeader::Ping { zxid, touched: Vec::new() };
                self.peers.run(Effect::ToLeader(self.attempt, message));
            }
            Effect::FromLearner(link, _, message) => self.asked(link, message),
            Effect::Notice(text) => self.view.notices.push(text),
            Effect::Serve(_) | Effect::FromLeader(..) => {}
            other => panic!("the network did not take {other:?}"),
        }
    }

    fn durable(&mut self, generation: Generation, upto: Zxid) {
        if let Some(Input::Durable(last, zxid)) = self.inputs.back_mut()
            && *last == generation
        {
            *zxid = upto;
        } else {
            self.inputs.push_back(Input::Durable(generation, upto));
        }
    }

    fn apply(&mut self, transaction: &Transaction) {
        let decoded = Decoded::decode(&transaction.bytes).expect("a transaction");
        self.tree.apply(&decoded).expect("a transaction");
        let told = decoded.digest.filter(|told| told.version == digest::VERSION);
        if let (Some(told), Some(found)) = (told, self.tree.digest()) {
            self.view.compared += 1;
            if found != TreeDigest(told.tree_digest) {
                self.view.different.get_or_insert(transaction.zxid);
            }
        }
    }

    /// What a client of a learner asks for.
    fn asked(&mut self, link: Link, message: ToLeader) {
        match message {
            ToLeader::Requests(requests) => requests.iter().for_each(|request| {
                let Forwarded { session, xid, op, .. } = request;
                let (body, auth) = (Bytes::copy_from_slice(request.body), Some(request.auth.to_vec()));
                self.asked(link, ToLeader::Request { session, xid, op, body, auth });
            }),
            ToLeader::Revalidate { session, .. } => {
                let answer = ToLearner::Revalidate { session, valid: true };
                self.peers.run(Effect::ToLearner(link, answer));
            }
            ToLeader::Request { session, xid, op, body, .. } => match OpCode::from_code(op) {
                Some(OpCode::CreateSession) => {
                    let timeout = i32::from_be_bytes(body[..4].try_into().expect("a timeout"));
                    let mut record = Vec::new();
                    CreateSessionTxn { time_out: timeout }.write(&mut record);
                    self.propose(session, xid, OpCode::CreateSession, &record);
                }
                Some(OpCode::CloseSession) => {
                    let mut record = Vec::new();
                    0i32.write(&mut record);
                    self.propose(session, xid, OpCode::CloseSession, &record);
                }
                Some(OpCode::Create) => {
                    // Its record has flags where the transaction has whether it is ephemeral, and the
                    // parent's version.
                    let mut record = body[..body.len() - 4].to_vec();
                    (body[body.len() - 1] == 1).write(&mut record);
                    (-1i32).write(&mut record);
                    self.propose(session, xid, OpCode::Create, &record);
                }
                Some(OpCode::Sync) => _ = self.peers.run(Effect::ToLearner(link, ToLearner::Sync)),
                _ => self.view.notices.push(format!("request {op} is not for tests")),
            },
            _ => {}
        }
    }
}
