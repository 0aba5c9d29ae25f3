//! `catch-up`: how soon a follower that missed many transactions has them all. It is away in one of two
//! ways: killed and started again, or halted until its leader gave it up and then let go on. The second has
//! no start of a process in it, and so none of a JVM.
//!
//! It has caught up when it answers a read with the last write. The clock begins when it may work again; a
//! second one when its connection to the leader stands, as the kernel's table of connections shows.

use crate::failure::Failure;
use crate::local::connections_to;
use crate::measure::{Effort, explain_limit, percent_of_generator};
use crate::raw::median;
use crate::report;
use crate::servers::read_once;
use crate::subjects::{Options as Common, Subject, check_counts};
use crate::wire::{self, NODES_MAX, Path, Scanner, Template};
use crate::workload::{self, PERSISTENT};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

const ROOT: &str = "/ringkeeper-bench-catch-up";
const SESSION_TIMEOUT_MS: i32 = 10_000;
/// Writes in flight.
const DEPTH: usize = 1000;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// The command line of `catch-up`.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Servers of the ensemble.
    #[arg(long, value_name = "N", default_value_t = 3)]
    copies: usize,
    /// Writes that the follower misses.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    transactions: usize,
    /// Nodes that they change, one after the other. What a server sends of a small tree is the tree.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    nodes: u64,
    /// Bytes of each value.
    #[arg(long, value_name = "B", default_value_t = 100)]
    value_bytes: usize,
    /// How the follower is away.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WAYS", default_value = "killed,halted")]
    ways: Vec<Way>,
}

/// How a follower is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Way {
    /// SIGKILL, and a new process.
    Killed,
    /// SIGSTOP until its leader has closed its connection, then SIGCONT.
    Halted,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Killed => "killed",
            Way::Halted => "halted",
        }
    }
}

/// One time that a follower was away. Times are in milliseconds.
#[derive(Clone, Debug, Serialize)]
struct Turn {
    subject: String,
    way: Way,
    missed: usize,
    /// Since it was started, or let go on.
    caught_up_ms: f64,
    /// Since its connection to the leader stood.
    after_connecting_ms: f64,
    /// Share of the first that this process worked, or waited for a core, to look whether it is so.
    generator_share: f64,
}

/// Runs it.
///
/// # Errors
/// An option that makes no sense, an ensemble that does not start, or a follower that does not come back.
pub fn run(options: &Options) -> Result<(), Failure> {
    check_counts("--copies", &[options.copies])?;
    if options.copies < 3 {
        return Err(Failure::Option(format!("--copies {}: expected 3 or more", options.copies)));
    }
    if options.transactions == 0 {
        return Err(Failure::Option("--transactions 0: expected 1 or more".into()));
    }
    if !(1..=NODES_MAX).contains(&options.nodes) {
        return Err(Failure::Option(format!("--nodes {}: expected 1 to {NODES_MAX}", options.nodes)));
    }
    let subjects = options.common.subjects(false)?;
    if subjects.iter().any(|subject| matches!(subject, Subject::Running(_))) {
        return Err(Failure::Option(
            "--server: catch-up kills and halts servers, so it starts its own; expected --subjects".into(),
        ));
    }
    let mut turns = Vec::new();
    println!(
        "{:<12}{:<8}{:>10}{:>14}{:>22}{:>14}",
        "server", "was", "missed", "caught up ms", "after connecting ms", "generator %"
    );
    for _ in 0..options.common.rounds(3) {
        for subject in &subjects {
            for turn in turns_of(options, subject)? {
                println!(
                    "{:<12}{:<8}{:>10}{:>14.0}{:>22.0}{:>14}",
                    turn.subject,
                    turn.way.name(),
                    turn.missed,
                    turn.caught_up_ms,
                    turn.after_connecting_ms,
                    percent_of_generator(turn.generator_share)
                );
                turns.push(turn);
            }
        }
    }
    explain_limit(turns.iter().map(|turn| turn.generator_share));
    for (subject, way) in
        subjects.iter().flat_map(|subject| options.ways.iter().map(move |way| (subject, way)))
    {
        let of = |figure: fn(&Turn) -> f64| {
            let own = turns.iter().filter(|turn| turn.subject == subject.name() && turn.way == *way);
            median(&mut own.map(figure).collect::<Vec<_>>())
        };
        println!(
            "{}, {}: median {:.0} ms, after connecting {:.0} ms",
            subject.name(),
            way.name(),
            of(|turn| turn.caught_up_ms),
            of(|turn| turn.after_connecting_ms)
        );
    }
    options.common.json.as_ref().map_or(Ok(()), |path| report::write_json(&turns, path))
}

/// One ensemble, and its follower away in each of the ways.
fn turns_of(options: &Options, subject: &Subject) -> Result<Vec<Turn>, Failure> {
    let mut cluster = subject.start(options.copies, &options.common)?;
    let leader = cluster.await_leader()?;
    let follower = (0..options.copies).find(|server| *server != leader).expect("there are three or more");
    let addresses = cluster.addresses();
    let mut writer = Session::open(addresses[leader]).map_err(broken)?;
    writer.create(options).map_err(broken)?;
    // Neither a cold leader nor a log that has just begun is what is measured.
    let begun = Instant::now();
    while begun.elapsed().as_secs_f64() < options.common.warmup {
        writer.write(DEPTH, options).map_err(broken)?;
    }
    let mut turns = Vec::new();
    for way in &options.ways {
        let followers = cluster.quorum_port(leader)?;
        let joined = || connections_to(followers) >= options.copies - 1;
        await_that("the followers to have joined", joined)?;
        match way {
            Way::Killed => cluster.kill(follower)?,
            Way::Halted => cluster.halt(follower)?,
        }
        let last = writer.write(options.transactions, options).map_err(broken)?;
        await_that("the leader to give its follower up", || !joined())?;
        let (effort, begun) = (Effort::begin()?, Instant::now());
        match way {
            Way::Killed => cluster.spawn(follower)?,
            Way::Halted => cluster.resume(follower)?,
        }
        await_that("the follower to connect to its leader", joined)?;
        let connected = begun.elapsed();
        await_that("the follower to catch up", || has(addresses[follower], last))?;
        let caught_up = begun.elapsed();
        turns.push(Turn {
            subject: subject.name(),
            way: *way,
            missed: options.transactions,
            caught_up_ms: caught_up.as_secs_f64() * 1e3,
            after_connecting_ms: (caught_up - connected).as_secs_f64() * 1e3,
            generator_share: effort.share()?,
        });
    }
    Ok(turns)
}

fn broken(error: io::Error) -> Failure {
    Failure::Connection(error.to_string())
}

fn await_that(what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), Failure> {
    let begun = Instant::now();
    while !is_so() {
        if begun.elapsed() > PATIENCE {
            return Err(Failure::system(format!("waiting for {what}"), "it takes too long"));
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Whether a server answers a read, and from a tree that has this transaction.
fn has(server: SocketAddr, zxid: i64) -> bool {
    read_once(server, Path::new(ROOT).name("").first()).is_ok_and(|newest| newest >= zxid)
}

/// A session of one client.
struct Session {
    stream: TcpStream,
    scanner: Scanner,
    xid: i32,
}

impl Session {
    fn open(server: SocketAddr) -> io::Result<Session> {
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&wire::handshake(SESSION_TIMEOUT_MS))?;
        wire::read_handshake(&mut stream).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Session { stream, scanner: Scanner::default(), xid: 0 })
    }

    /// Makes the nodes.
    fn create(&mut self, options: &Options) -> io::Result<()> {
        self.ask(&workload::create(&Path::new(ROOT), b"", PERSISTENT), 1, 1)?;
        let value = workload::value(options.value_bytes, 0);
        let create = workload::create(&Path::new(ROOT).name(""), &value, PERSISTENT);
        self.ask(&create, options.nodes as usize, options.nodes).map(drop)
    }

    /// Sets the nodes, so many times in all, the first one at last; returns the last write's zxid.
    fn write(&mut self, count: usize, options: &Options) -> io::Result<i64> {
        let set = workload::set(&Path::new(ROOT).name(""), &workload::value(options.value_bytes, 1));
        self.ask(&set, count - 1, options.nodes)?;
        self.ask(&set, 1, options.nodes)
    }

    /// Asks so often, of one node after the other, and waits for the answers; returns the last one's zxid.
    fn ask(&mut self, request: &Template, count: usize, nodes: u64) -> io::Result<i64> {
        let (mut zxid, mut wrong, mut frames, mut buffer) = (0, None, Vec::new(), vec![0; 64 << 10]);
        for sent in (0..count).step_by(DEPTH) {
            let until = (sent + DEPTH).min(count);
            frames.clear();
            for number in sent..until {
                self.xid += 1;
                request.encode(self.xid, number as u64 % nodes, &mut frames);
            }
            self.stream.write_all(&frames)?;
            let mut answered = sent;
            while answered < until {
                let bytes = match self.stream.read(&mut buffer)? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    bytes => &buffer[..bytes],
                };
                let fed = self.scanner.feed(bytes, |reply| {
                    (answered, zxid) = (answered + 1, reply.zxid);
                    wrong = wrong.or(Some(reply.err).filter(|err| *err != 0));
                });
                fed.map_err(|error| io::Error::other(error.to_string()))?;
            }
        }
        wrong.map_or(Ok(zxid), |code| Err(io::Error::other(format!("error {code}"))))
    }
}
