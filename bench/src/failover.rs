//! `failover`: the gap in service when the leader dies. Some clients write, one write at a time, each to a
//! server of its own at first; the leader is killed; a client that hears nothing goes on with the next server.

use crate::failure::Failure;
use crate::measure::{Effort, explain_limit, percent_of_generator};
use crate::plot::{Axis, Curve};
use crate::raw::median;
use crate::report;
use crate::subjects::{Options as Common, Subject, check_counts};
use crate::sweep::draw;
use crate::wire::{self, Path, Scanner, Template};
use crate::workload::{self, PERSISTENT};
use clap::Args;
use serde::Serialize;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const ROOT: &str = "/ringkeeper-bench-failover";
const NODE_EXISTS: i32 = -110;
const SESSION_TIMEOUT_MS: i32 = 10_000;
/// How long the service may be gone.
const GAP_MAX: Duration = Duration::from_secs(60);
/// A client whose newest answer is no older is served.
const SERVED: Duration = Duration::from_millis(200);
/// Before a client tries the next server, when none took it.
const PAUSE: Duration = Duration::from_millis(5);

/// The command line of `failover`.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Servers of the ensemble.
    #[arg(long, value_name = "N", default_value_t = 3)]
    copies: usize,
    /// Clients that write.
    #[arg(long, value_name = "N", default_value_t = 6)]
    clients: usize,
    /// A client that waits so long for an answer goes to the next server.
    #[arg(long, value_name = "MS", default_value_t = 500)]
    patience_ms: u64,
    /// Writes answered over time, as SVG.
    #[arg(long, value_name = "FILE", default_value = "failover.svg")]
    svg: PathBuf,
}

/// One death of a leader. Times are in milliseconds since it was killed.
#[derive(Clone, Debug, Serialize)]
struct Turn {
    subject: String,
    /// Without any answered write, of any client.
    gap_ms: f64,
    /// Until every client had a write answered again.
    last_client_ms: f64,
    /// Answered writes a second before.
    before_per_s: f64,
    /// The greatest share of the time that a client of the generator worked or waited for a core.
    generator_share: f64,
    /// When the writes were answered.
    answered_ms: Vec<f64>,
}

/// Runs it.
///
/// # Errors
/// An option that makes no sense, an ensemble that does not start, or does not come back.
pub fn run(options: &Options) -> Result<(), Failure> {
    check_counts("--copies", &[options.copies])?;
    if options.copies < 3 {
        return Err(Failure::Option(format!("--copies {}: expected 3 or more", options.copies)));
    }
    if options.clients == 0 || options.patience_ms == 0 {
        return Err(Failure::Option("--clients and --patience-ms: expected 1 or more".into()));
    }
    let subjects = options.common.subjects(false)?;
    if subjects.iter().any(|subject| matches!(subject, Subject::Running(_))) {
        return Err(Failure::Option(
            "--server: failover kills servers, so it starts its own; expected --subjects".into(),
        ));
    }
    let mut turns = Vec::new();
    println!(
        "{:<12}{:>16}{:>10}{:>21}{:>18}",
        "server", "writes/s before", "gap ms", "last client back ms", "busiest client %"
    );
    for _ in 0..options.common.rounds(3) {
        for subject in &subjects {
            let turn = turn(options, subject)?;
            println!(
                "{:<12}{:>16.0}{:>10.0}{:>21.0}{:>18}",
                turn.subject,
                turn.before_per_s,
                turn.gap_ms,
                turn.last_client_ms,
                percent_of_generator(turn.generator_share)
            );
            turns.push(turn);
        }
    }
    explain_limit(turns.iter().map(|turn| turn.generator_share));
    for subject in &subjects {
        let of = turns.iter().filter(|turn| turn.subject == subject.name()).map(|turn| turn.gap_ms);
        println!("{}: median gap {:.0} ms", subject.name(), median(&mut of.collect::<Vec<_>>()));
    }
    if let Some(path) = &options.common.json {
        report::write_json(&turns, path)?;
    }
    let curves = subjects.iter().enumerate().filter_map(|(group, subject)| {
        let turn = turns.iter().find(|turn| turn.subject == subject.name())?;
        let begin = turn.answered_ms.first().copied()?;
        let count = |(number, &at): (usize, &f64)| ((at - begin) / 1e3, number as f64);
        // As many points as a plot can show.
        let every = (turn.answered_ms.len() / 1000).max(1);
        let points = turn.answered_ms.iter().enumerate().step_by(every).map(count).collect();
        Some(Curve { name: turn.subject.clone(), group, points })
    });
    let title = format!("Writes while the leader of {} dies: flat is the gap", options.copies);
    draw(&title, Axis::linear("seconds"), Axis::linear("writes answered"), curves.collect(), &options.svg)
}

fn turn(options: &Options, subject: &Subject) -> Result<Turn, Failure> {
    let mut cluster = subject.start(options.copies, &options.common)?;
    let addresses = cluster.addresses();
    Writer::open(addresses[0], options, 0).map_err(|error| Failure::Connection(error.to_string()))?;
    let (stop, begun) = (AtomicBool::new(false), Instant::now());
    let newest: Vec<AtomicU64> = (0..options.clients).map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        let clients: Vec<_> = newest
            .iter()
            .enumerate()
            .map(|(client, newest)| {
                let (stop, addresses) = (&stop, &addresses);
                scope.spawn(move || write_until(stop, begun, addresses, options, client, newest))
            })
            .collect();
        thread::sleep(Duration::from_secs_f64(options.common.warmup));
        await_all_served(&newest, begun);
        let killed = kill(&mut cluster, begun);
        if killed.is_ok() {
            thread::sleep(Duration::from_secs_f64(options.common.seconds));
            await_all_served(&newest, begun);
        }
        stop.store(true, Ordering::Release);
        let clients = clients.into_iter().map(|client| client.join().expect("a client does not panic"));
        let (answered, shares): (Vec<Vec<Duration>>, Vec<f64>) =
            clients.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        let generator_share = shares.into_iter().fold(0.0, f64::max);
        evaluate(subject, killed?, &answered, generator_share)
    })
}

/// Whether a client had an answer lately.
fn is_served(newest: &AtomicU64, begun: Instant) -> bool {
    let newest = Duration::from_nanos(newest.load(Ordering::Acquire));
    newest > Duration::ZERO && begun.elapsed().saturating_sub(newest) < SERVED
}

/// Waits, for a while, until every client has had an answer lately.
fn await_all_served(newest: &[AtomicU64], begun: Instant) {
    let waited = Instant::now();
    while newest.iter().any(|at| !is_served(at, begun)) && waited.elapsed() < GAP_MAX {
        thread::sleep(PAUSE);
    }
}

/// Kills the leader; returns when.
fn kill(cluster: &mut crate::cluster::Cluster, begun: Instant) -> Result<Duration, Failure> {
    let leader = cluster.await_leader()?;
    let at = begun.elapsed();
    cluster.kill(leader)?;
    Ok(at)
}

/// The gap, from when each client's writes were answered.
fn evaluate(
    subject: &Subject,
    killed: Duration,
    clients: &[Vec<Duration>],
    generator_share: f64,
) -> Result<Turn, Failure> {
    let ms = |at: Duration| (at.as_secs_f64() - killed.as_secs_f64()) * 1e3;
    let mut answered_ms: Vec<f64> = clients.iter().flatten().map(|&at| ms(at)).collect();
    answered_ms.sort_unstable_by(f64::total_cmp);
    let before = answered_ms.iter().filter(|at| **at < 0.0).count();
    let back = clients.iter().map(|client| {
        let first = |gap: &[Duration]| ms(gap[1]);
        // A client of a server that lives hears nothing for a while, too: its longest pause is the gap.
        let pauses = client.windows(2).filter(|pair| ms(pair[1]) > 0.0);
        pauses.max_by_key(|pair| pair[1] - pair[0]).map(first)
    });
    let last_client_ms = back.collect::<Option<Vec<_>>>().map(|all| all.into_iter().fold(0.0, f64::max));
    let gone = || Failure::system("waiting for the ensemble to serve again", "a client never got an answer");
    let after = answered_ms.windows(2).filter(|pair| pair[1] > 0.0);
    let gap_ms = after.map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    let since = answered_ms.first().map_or(1.0, |first| -first / 1e3);
    Ok(Turn {
        subject: subject.name(),
        gap_ms,
        last_client_ms: last_client_ms.ok_or_else(gone)?,
        before_per_s: before as f64 / since.max(1e-9),
        generator_share,
        answered_ms,
    })
}

/// Writes, one at a time, to one server after the other. Returns when each write was answered, and the share of
/// the time that this took of its thread.
///
/// # Errors
/// The thread cannot be looked at.
fn write_until(
    stop: &AtomicBool,
    begun: Instant,
    servers: &[SocketAddr],
    options: &Options,
    client: usize,
    newest: &AtomicU64,
) -> Result<(Vec<Duration>, f64), Failure> {
    let effort = Effort::begin()?;
    let mut answered = Vec::new();
    let mut next = client;
    while !stop.load(Ordering::Acquire) {
        let server = servers[next % servers.len()];
        next += 1;
        let Ok(mut writer) = Writer::open(server, options, client) else {
            thread::sleep(PAUSE);
            continue;
        };
        while !stop.load(Ordering::Acquire) && writer.write().is_ok_and(|code| code == 0) {
            let at = begun.elapsed();
            newest.store(at.as_nanos() as u64, Ordering::Release);
            answered.push(at);
        }
    }
    Ok((answered, effort.share()?))
}

/// A session that sets one node.
struct Writer {
    stream: TcpStream,
    template: Template,
    xid: i32,
}

impl Writer {
    fn open(server: SocketAddr, options: &Options, client: usize) -> io::Result<Writer> {
        let patience = Duration::from_millis(options.patience_ms);
        let mut stream = TcpStream::connect_timeout(&server, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(&wire::handshake(SESSION_TIMEOUT_MS))?;
        wire::read_handshake(&mut stream).map_err(|error| io::Error::other(error.to_string()))?;
        let node = Path::new(&format!("{ROOT}-{client}"));
        let mut writer = Writer { stream, template: workload::create(&node, b"", PERSISTENT), xid: 0 };
        match writer.write()? {
            0 | NODE_EXISTS => {}
            code => return Err(io::Error::other(format!("error {code}"))),
        }
        writer.template = workload::set(&node, &workload::value(100, 1));
        Ok(writer)
    }

    /// One write; its error code.
    fn write(&mut self) -> io::Result<i32> {
        self.xid += 1;
        let mut frame = Vec::new();
        self.template.encode(self.xid, 0, &mut frame);
        self.stream.write_all(&frame)?;
        let (mut scanner, mut code, mut buffer) = (Scanner::default(), None, [0; 512]);
        while code.is_none() {
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                bytes => scanner
                    .feed(&buffer[..bytes], |reply| code = Some(reply.err))
                    .map_err(|error| io::Error::other(error.to_string()))?,
            }
        }
        Ok(code.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject::Running(Vec::new())
    }

    #[test]
    fn a_gap_is_the_longest_time_without_any_answer_after_the_kill() {
        let at = |all: &[u64]| all.iter().map(|&ms| Duration::from_millis(ms)).collect::<Vec<_>>();
        let clients = [at(&[10, 90, 100, 400, 410]), at(&[20, 50, 130, 700, 710])];
        let turn = evaluate(&subject(), Duration::from_millis(110), &clients, 0.1).unwrap();
        // From 130 to 400 nobody was answered; the second client was back at 700.
        assert!((turn.gap_ms - 290.0).abs() < 1e-6, "{turn:?}");
        assert!((turn.last_client_ms - 590.0).abs() < 1e-6, "{turn:?}");
        assert!((turn.before_per_s - 50.0).abs() < 1e-6, "{turn:?}");
    }

    #[test]
    fn a_client_that_never_comes_back_is_no_result() {
        let clients = [vec![Duration::from_millis(10)]];
        assert!(evaluate(&subject(), Duration::from_millis(20), &clients, 0.1).is_err());
    }
}
