//! A whole server: recovers the data, starts the threads, stops them.

use crate::background::{self, CheckpointPolicy, Results};
use crate::client::admission::Admission;
use crate::client::commands::{Commands, Facts};
use crate::client::core::{Core, CoreState};
use crate::client::doors::{self, Clients, Doors};
use crate::client::tasks::Tasks;
use crate::clock::Clock;
use crate::disk::zookeeper::{self, Place};
use crate::disk::{DataDirectory, DiskError, SegmentFiles};
use crate::drive::{CoreLink, Drive};
use crate::listen::{ListenOptions, bind};
use crate::log_lane::{LogLane, ReadySegment};
use crate::mailbox::{Mail, Receiver, Sender, mailbox};
use crate::moves::Moves;
use crate::peer::log::SegmentLog;
use crate::peer::{Peers, PeersConfig};
use crate::restore::{Apply, Restart, Restored};
use crate::ring::{self, Runtime, Wake};
use crate::stages::{Stages, Stamps};
use ringkeeper_engine::database::Database;
use ringkeeper_engine::id::{ServerId, Zxid};
use ringkeeper_engine::limits::Settings;
use ringkeeper_engine::log::{self, LogError, LogWriter, SyncMode};
use ringkeeper_engine::session;
use ringkeeper_engine::tree::watch::Watches;
use ringkeeper_quorum::members::Members;
use ringkeeper_quorum::message::Transaction;
use ringkeeper_quorum::reconfig::Rules;
use ringkeeper_quorum::replica::{LOGGED_BYTES_MAX, Replica, ReplicaConfig};
use ringkeeper_quorum::step::{ReplyBatch, RequestBatch};
use ringkeeper_quorum::zab::{self, Epochs, Timing};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tracing::{info, warn};

/// Batches that a mailbox holds.
const MAILBOX_BATCHES: usize = 64;

/// Everything that a server is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// How clients are listened for.
    pub listening: ListenOptions,
    /// Client cores.
    pub cores: u16,
    /// What runs the threads' tasks.
    pub runtime: Runtime,
    /// How long a thread looks for work before it sleeps, where that nearly always finds some.
    pub spin: Duration,
    /// Whether it is counted how long requests are at each stage.
    pub stage_trace: bool,
    /// Where the data is.
    pub data_dir: PathBuf,
    /// Where its log is.
    pub data_log_dir: PathBuf,
    /// This server's number; a standalone one is 1, as ZooKeeper's.
    pub server: ServerId,
    /// The ensemble that it belongs to; `None`: it is standalone.
    pub ensemble: Option<EnsembleOptions>,
    /// Bounds and switches.
    pub settings: Settings,
    /// The log's settings.
    pub log: log::Settings,
    /// A log write that takes longer is reported, in milliseconds.
    pub slow_sync_ms: u64,
    /// How checkpoints are written and kept.
    pub checkpoints: CheckpointPolicy,
    /// What the four-letter words say of the configuration. The port and the directories are those
    /// that the server finds itself with.
    pub facts: Facts,
}

/// What a server is told of its ensemble.
#[derive(Clone, Debug)]
pub struct EnsembleOptions {
    /// Who belongs to it, this server too.
    pub members: Members,
    /// Who was about to belong to it when this server was last at work.
    pub next_members: Option<Members>,
    /// How long things may take.
    pub timing: Timing,
    /// Transactions that an epoch may have; at three quarters of them the leader moves to the next.
    pub epoch_transactions_max: u32,
    /// `quorumListenOnAllIPs`.
    pub listen_on_all_ips: bool,
    /// `electionPortBindRetry`: attempts to listen on this server's own addresses; 0 is without end.
    pub listen_attempts_max: u32,
    /// `tcpKeepAlive`.
    pub keep_alive: bool,
    /// `cnxTimeout`.
    pub election_timeout: Duration,
    /// How long the leader's port may take to be reached.
    pub leader_timeout: Duration,
    /// What reconfigurations may do.
    pub rules: Rules,
    /// The file that this server's configuration was read from; it and its dynamic file are written anew
    /// when the ensemble changes. `None` keeps nothing.
    pub config_file: Option<PathBuf>,
}

/// Bytes of applied transactions that are kept in memory for learners that missed them.
const WINDOW_BYTES: usize = 32 << 20;
/// Bytes of log above which a learner that missed them is sent a tree instead.
const LEARNER_LOG_BYTES_MAX: u64 = 1 << 30;

/// Why a server did not start, or stopped.
#[derive(Debug)]
pub enum ServeError {
    /// A system call failed.
    Io(String, io::Error),
    /// The data directory cannot be used.
    Disk(DiskError),
    /// The log cannot be written.
    Log(LogError),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::Io(doing, error) => write!(f, "{doing}: {error}"),
            ServeError::Disk(error) => error.fmt(f),
            ServeError::Log(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ServeError {}

impl From<DiskError> for ServeError {
    fn from(error: DiskError) -> Self {
        ServeError::Disk(error)
    }
}

/// Runs a server until SIGTERM or SIGINT. `ready` is told the address once clients can connect.
///
/// # Errors
/// Why it did not start, or could not go on.
pub fn serve(options: Options, ready: impl FnOnce(SocketAddr)) -> Result<(), ServeError> {
    // Asked first, so that a kernel that forbids it is all that the operator reads of.
    ring::run(options.runtime, async {}).map_err(|error| ServeError::Io("starting".into(), error))?;
    let seed = RandomState::new().hash_one("ringkeeper");
    // First: a mistake in the address should not wait for the recovery.
    let not_listening = |error| ServeError::Io(format!("listening on {}", options.listen), error);
    let bound = bind(options.listen, options.listening, options.cores).map_err(not_listening)?;
    let address = bound.address();
    take_over(&options, seed)?;
    let directory = Arc::new(DataDirectory::open(&options.data_dir, &options.data_log_dir)?);
    let options = Options { log: possible(&directory, options.log), ..options };
    let Recovery { database, held, log, replayed, in_log } = recover(&directory, &options, seed)?;
    let clock = Clock::start();
    let now = clock.now();
    let config = ReplicaConfig {
        settings: Arc::new(options.settings.clone()),
        server: options.server,
        cores: options.cores,
        first_session: session::first_id(options.server.0, now.wall_ms),
        rules: options.ensemble.as_ref().map(|ensemble| ensemble.rules).unwrap_or_default(),
        logged_bytes_max: LOGGED_BYTES_MAX,
        seed,
    };
    let mut replica = match &options.ensemble {
        None => Replica::new(config, database, log, now),
        Some(ensemble) => {
            let zab_config = zab::Config {
                me: options.server,
                members: ensemble.members.clone(),
                next_members: ensemble.next_members.clone(),
                timing: ensemble.timing,
                window_bytes: WINDOW_BYTES,
                reconfig_enabled: options.settings.reconfig_enabled,
                epoch_transactions_max: ensemble.epoch_transactions_max,
            };
            let last = held.last().map_or(database.last, |last| last.zxid);
            let epochs = epochs(&directory, last)?;
            Replica::in_ensemble(config, zab_config, epochs, (database, held), log, now)
        }
    };
    replica.replayed(replayed.0, replayed.1);
    if in_log {
        replica.log_found();
    }
    let wake = Wake::new();
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(Arc::clone(&stop), wake.clone())?;
    let facts = Facts {
        client_port: Arc::new(address.port().into()),
        data_dir: directory.snap(),
        data_log_dir: directory.log(),
        ..options.facts.clone()
    };
    let stages = Arc::new(Stages::new(options.cores, options.stage_trace));
    let how = (options.listen, options.listening, options.cores);
    let opened = doors::open(bound, how, Arc::clone(&facts.client_port));
    let (clients, doors) =
        opened.map_err(|error| ServeError::Io(format!("listening on {address}"), error))?;
    let commands = Arc::new(Commands::new(facts, Arc::clone(&stages)));
    let mut cores = prepare_cores(&options, (commands, &stages), doors, &replica, clock, &wake);
    let own = (cores.len() == 1).then(|| cores.remove(0));
    let control = Control { clock, stamps: Stamps::of_replica(&stages, clock), wake, stop };
    let (mut links, core_threads) = start_cores(cores, &control, (options.runtime, options.spin))?;
    let own = own.map(|(link, core)| {
        links.push(link);
        core
    });
    ready(address);
    run_replica(&options, directory, replica, (links, clients), control, own)?;
    for (stop, thread) in core_threads {
        stop.wake();
        if let Ok(ran) = thread.join() {
            ran.map_err(|error| ServeError::Io("a client core".into(), error))?;
        }
    }
    Ok(())
}

/// Makes a panic of any thread or task the end of the process, with its message: a server of which a
/// part is gone would keep its port, its data and its clients' patience.
pub fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

/// What all threads share.
struct Control {
    clock: Clock,
    /// The replica core's.
    stamps: Stamps,
    /// Wakes the replica core.
    wake: Wake,
    /// The server is to stop.
    stop: Arc<AtomicBool>,
}

fn run_replica(
    options: &Options,
    directory: Arc<DataDirectory>,
    replica: Replica,
    (cores, clients): (Vec<CoreLink>, Moves<Clients>),
    control: Control,
    own: Option<CoreParts>,
) -> Result<(), ServeError> {
    let Control { clock, stamps, wake, stop } = control;
    let results = Results::new(wake.clone());
    let files = || SegmentFiles::new(&directory, options.log.sync);
    let no_thread = |error| ServeError::Io("starting a thread".into(), error);
    let ready = ReadySegment::default();
    let upkeep = background::start_upkeep(files(), ready.clone(), results.clone()).map_err(no_thread)?;
    let sync = options.log.sync;
    let marks = background::start_marks(Arc::clone(&directory), sync, results.clone()).map_err(no_thread)?;
    let policy = options.checkpoints;
    let checkpoints = background::start_checkpoints(Arc::clone(&directory), policy, sync, results.clone());
    let checkpoints = checkpoints.map_err(no_thread)?;
    let epochs = background::start_epochs(Arc::clone(&directory), results.clone()).map_err(no_thread)?;
    let log = LogLane::new(files(), ready, options.log.sync, options.slow_sync_ms);
    let peers_config = options.ensemble.as_ref().map(|ensemble| peers_config(options, ensemble, &directory));
    let mut drive = Drive {
        replica,
        cores,
        first_core: 0,
        clock,
        stamps,
        prepared_us: None,
        proposed: VecDeque::new(),
        wake,
        results,
        upkeep,
        marks,
        checkpoints,
        epochs,
        log,
        peers: None,
        clients,
        config_file: options.ensemble.as_ref().and_then(|ensemble| ensemble.config_file.clone()),
        server: options.server,
        stop,
    };
    let ran = ring::run_awake(options.runtime, options.spin, async {
        if let Some(config) = peers_config {
            let started = Peers::start_patiently(config, drive.wake.clone(), &drive.stop).await;
            let peers = started.map_err(|error| ServeError::Io("the ensemble".into(), error))?;
            let Some(peers) = peers else { return Ok(None) };
            drive.peers = Some(peers);
        }
        let Some(core) = own else { return drive.run().await.map_err(ServeError::Log) };
        // A single client core shares the replica's thread: a request then costs no wake-up of another
        // thread and none back.
        let (stop, stopped) = (core.stop.clone(), Wake::new());
        let (core, ended) = (run_core(core), stopped.clone());
        ring::spawn(async move {
            core.await;
            ended.wake();
        });
        let last = drive.run().await.map_err(ServeError::Log)?;
        stop.wake();
        stopped.woken().await;
        Ok(last)
    });
    if let Some(last) = ran.map_err(|error| ServeError::Io("starting".into(), error))?? {
        let set_aside = files().set_aside(last.next(), directory.database());
        // The next start reads it, and is slower for that alone.
        set_aside.unwrap_or_else(|error| warn!("the prepared segment stays: {error}"));
    }
    Ok(())
}

/// Begins with a ZooKeeper's data, if there is some and none of ours.
fn take_over(options: &Options, seed: u64) -> Result<(), DiskError> {
    let place = Place { data: &options.data_dir, log: &options.data_log_dir };
    let Some(imported) = zookeeper::take_over(place, seed)? else { return Ok(()) };
    imported.notices.iter().for_each(|notice| warn!("{notice}"));
    info!(
        "took over ZooKeeper's data in {}: zxid {}, {} nodes, {} sessions; its files stay as they are, ours \
         lie beside them",
        options.data_dir.display(),
        imported.last,
        imported.nodes,
        imported.sessions
    );
    Ok(())
}

/// The log's settings, as far as its file system allows them.
fn possible(directory: &DataDirectory, asked: log::Settings) -> log::Settings {
    if asked.sync != SyncMode::Direct {
        return asked;
    }
    match SegmentFiles::new(directory, asked.sync).probe_direct() {
        Ok(alignment) => log::Settings { alignment, ..asked },
        Err(error) => {
            warn!(
                "log.sync=dsync instead of direct: the file system of {} refuses O_DIRECT ({error})",
                directory.log().display()
            );
            log::Settings { sync: SyncMode::Dsync, ..asked }
        }
    }
}

/// What a start begins with.
struct Recovery {
    database: Database,
    /// The end of the log, of which it is not known whether it is committed.
    held: Vec<Transaction>,
    log: LogWriter,
    /// Transactions of the log, and their bytes.
    replayed: (u64, u64),
    /// Whether the log's files reach where it goes on.
    in_log: bool,
}

/// The newest checkpoint and the log behind it, as a database and a log that goes on.
fn recover(directory: &DataDirectory, options: &Options, seed: u64) -> Result<Recovery, ServeError> {
    let mut files = SegmentFiles::new(directory, options.log.sync);
    let apply = if options.ensemble.is_some() { Apply::Committed } else { Apply::All };
    let mut restored = Restored::new(seed, options.settings.extended_types_enabled, apply);
    let recovered = directory.recover(&mut files, &mut restored)?;
    recovered.notices(directory).iter().for_each(|notice| warn!("{notice}"));
    let Restart { database, held, log_bytes } = restored.finish();
    info!(
        "data in {}: zxid {}, {} nodes, {} sessions, {} transactions replayed",
        directory.path().display(),
        database.last,
        database.tree.node_count(),
        database.sessions.len(),
        recovered.transactions
    );
    let (tail, replayed) = (recovered.tail, (recovered.transactions, log_bytes));
    let spares = files.spares(tail.next_sequence(), directory.database())?;
    let mut log = LogWriter::new(options.log, directory.database(), tail);
    spares.into_iter().for_each(|spare| log.add_spare(spare));
    Ok(Recovery { database, held, log, replayed, in_log: tail.is_in_log() })
}

/// The epochs; a server that comes into its first ensemble has lived in that of its log, as ZooKeeper
/// takes it (`QuorumPeer.loadDataBase`).
fn epochs(directory: &DataDirectory, last: Zxid) -> Result<Epochs, DiskError> {
    let unknown = Epochs { accepted: last.epoch(), current: last.epoch() };
    let known = directory.read_epochs()?;
    Ok(known.map_or(unknown, |known| Epochs { accepted: known.accepted, current: known.current }))
}

/// What the network of the ensemble is told.
fn peers_config(
    options: &Options,
    ensemble: &EnsembleOptions,
    directory: &Arc<DataDirectory>,
) -> PeersConfig {
    PeersConfig {
        listen_on_all_ips: ensemble.listen_on_all_ips,
        listen_attempts_max: ensemble.listen_attempts_max,
        keep_alive: ensemble.keep_alive,
        election_timeout: ensemble.election_timeout,
        leader_timeout: ensemble.leader_timeout,
        log: Some(Arc::new(SegmentLog::new(Arc::clone(directory), LEARNER_LOG_BYTES_MAX))),
        seed: RandomState::new().hash_one("staged"),
        ..PeersConfig::new(options.server, ensemble.members.clone())
    }
}

fn stop_on_signals(stop: Arc<AtomicBool>, wake: Wake) -> Result<(), ServeError> {
    let doing = |error| ServeError::Io("waiting for signals".into(), error);
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(doing)?;
    let wait = move || {
        for signal in signals.forever() {
            info!("stopping: signal {signal}");
            stop.store(true, Ordering::Release);
            wake.wake();
        }
    };
    thread::Builder::new().name("signals".into()).spawn(wait).map_err(doing)?;
    Ok(())
}

type CoreThread = (Wake, thread::JoinHandle<io::Result<()>>);

/// What a core needs, on whatever thread it runs.
struct CoreParts {
    state: CoreState,
    clock: Clock,
    doors: Doors,
    requests_in: Sender<Mail<RequestBatch>>,
    admission: Arc<Admission>,
    replies_out: Receiver<Mail<ReplyBatch>>,
    wake: Wake,
    stop: Wake,
}

fn prepare_cores(
    options: &Options,
    (commands, stages): (Arc<Commands>, &Arc<Stages>),
    doors: Vec<Doors>,
    replica: &Replica,
    clock: Clock,
    replica_wake: &Wake,
) -> Vec<(CoreLink, CoreParts)> {
    let settings = Arc::new(options.settings.clone());
    let admission = Arc::new(Admission::new(settings.max_client_cnxns, settings.max_cnxns));
    let core = |(number, doors): (usize, Doors)| {
        let (wake, flush, stop) = (Wake::new(), Wake::new(), Wake::new());
        let (requests_in, requests) = mailbox(MAILBOX_BATCHES, flush.clone(), replica_wake.clone());
        let (inquiries_in, inquiries) = mailbox(MAILBOX_BATCHES, flush.clone(), replica_wake.clone());
        let (replies, replies_out) = mailbox(MAILBOX_BATCHES, replica_wake.clone(), wake.clone());
        let state = CoreState {
            number: number as u16,
            settings: Arc::clone(&settings),
            commands: Arc::clone(&commands),
            tree: replica.reader(),
            horizon: replica.applied(),
            service: replica.service(),
            watches: Watches::new(RandomState::new().hash_one(number)),
            spare_input: Vec::new(),
            spare_outputs: Default::default(),
            outgoing: RequestBatch::default(),
            flush,
            later: Vec::new(),
            now: clock.now(),
            stamps: Stamps::of_core(stages, number as u16, clock),
            outgoing_us: 0,
            traffic: Default::default(),
            touched: Vec::new(),
            in_flight: 0,
            asking: 0,
            in_flight_max: (settings.global_outstanding_limit / u32::from(options.cores)).max(1),
            inquiries: inquiries_in,
        };
        let link = CoreLink { requests, inquiries, replies, undelivered: Default::default() };
        let admission = Arc::clone(&admission);
        (link, CoreParts { state, clock, doors, requests_in, admission, replies_out, wake, stop })
    };
    doors.into_iter().enumerate().map(core).collect()
}

/// Starts a thread a core.
fn start_cores(
    cores: Vec<(CoreLink, CoreParts)>,
    control: &Control,
    (runtime, spin): (Runtime, Duration),
) -> Result<(Vec<CoreLink>, Vec<CoreThread>), ServeError> {
    let (mut links, mut threads) = (Vec::new(), Vec::new());
    for (link, parts) in cores {
        let (stop_all, replica_wake) = (Arc::clone(&control.stop), control.wake.clone());
        let (stop, name) = (parts.stop.clone(), format!("client-{}", parts.state.number));
        let run = move || {
            let ran = ring::run_awake(runtime, spin, async { run_core(parts).await });
            // A core that ends by itself could not start: without it the server is none.
            stop_all.store(true, Ordering::Release);
            replica_wake.wake();
            ran
        };
        let thread = thread::Builder::new().name(name).spawn(run);
        threads.push((stop, thread.map_err(|error| ServeError::Io("starting a core".into(), error))?));
        links.push(link);
    }
    Ok((links, threads))
}

async fn run_core(parts: CoreParts) {
    let CoreParts { state, clock, doors, requests_in, admission, replies_out, wake, stop } = parts;
    let core = Core::new(state, clock, requests_in, admission);
    Tasks::run(core, doors, replies_out, wake, stop).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const CHILD: &str = "RINGKEEPER_TEST_PANICS";

    #[test]
    fn a_panic_of_a_task_ends_the_process_with_its_reason() {
        let name = "serve::tests::a_panic_of_a_task_ends_the_process_with_its_reason";
        if std::env::var_os(CHILD).is_some() {
            end_on_panic();
            let task = || {
                ring::run(Runtime::Own, async {
                    ring::spawn(async { panic!("the reason") });
                    ring::sleep(std::time::Duration::from_secs(60)).await;
                })
            };
            let _ = thread::spawn(task).join();
            return;
        }
        let mut child = Command::new(std::env::current_exe().unwrap());
        let output = child.args([name, "--exact", "--nocapture"]).env(CHILD, "1").output().unwrap();
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("the reason"), "{output:?}");
    }
}
