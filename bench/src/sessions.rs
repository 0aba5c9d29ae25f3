//! `sessions`: many sessions that do nothing. How fast they are opened, what each takes of the server's
//! memory, what all of them cost while they are idle, how fast they are closed.

use crate::failure::Failure;
use crate::generator::{Generator, HANDSHAKES_MAX};
use crate::raw::median;
use crate::report;
use crate::subjects::{Options as Common, Subject};
use clap::Args;
use procfs::process::Process;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The most: a machine has not many more ports for connections to one server.
const SESSIONS_MAX: usize = 28_000;
/// Descriptors beside the connections.
const SPARE: u64 = 200;
/// The sessions' timeout is 30 s, and nothing keeps them alive while they are idle.
const IDLE_MAX_S: f64 = 15.0;

/// The command line of `sessions`.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Sessions.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    sessions: usize,
    /// Handshakes that wait for their answers at any time. More than a server's listening socket keeps (50
    /// with Java's default), and the kernel drops connections that are tried again after a second.
    #[arg(long, value_name = "N", default_value_t = HANDSHAKES_MAX)]
    window: usize,
}

/// One turn of one server.
#[derive(Clone, Debug, Serialize)]
struct Turn {
    subject: String,
    sessions: usize,
    opened_per_s: f64,
    /// Resident bytes that each took.
    bytes_each: Option<f64>,
    /// CPU time a second while all were idle.
    idle_cores: Option<f64>,
    closed_per_s: f64,
}

/// Runs it.
///
/// # Errors
/// An option that makes no sense, or a server that does not start or refuses sessions.
pub fn run(options: &Options) -> Result<(), Failure> {
    if !(1..=SESSIONS_MAX).contains(&options.sessions) {
        let wrong = format!("--sessions {}: expected 1 to {SESSIONS_MAX}", options.sessions);
        return Err(Failure::Option(wrong));
    }
    if options.window == 0 {
        return Err(Failure::Option("--window 0: expected 1 or more".into()));
    }
    if options.common.seconds > IDLE_MAX_S {
        let wrong = format!("--seconds {}: expected at most {IDLE_MAX_S} idle", options.common.seconds);
        return Err(Failure::Option(wrong));
    }
    let subjects = options.common.subjects(true)?;
    raise_descriptors(options.sessions)?;
    let mut turns = Vec::new();
    println!(
        "{:<12}{:>9}{:>15}{:>13}{:>18}{:>15}",
        "server", "sessions", "opened/second", "bytes each", "idle, % of a core", "closed/second"
    );
    for _ in 0..options.common.rounds(1) {
        for subject in &subjects {
            let turn = turn(options, subject)?;
            let or_none =
                |value: Option<f64>, digits| value.map_or("–".to_owned(), |v| format!("{v:.digits$}"));
            println!(
                "{:<12}{:>9}{:>15.0}{:>13}{:>18}{:>15.0}",
                turn.subject,
                turn.sessions,
                turn.opened_per_s,
                or_none(turn.bytes_each, 0),
                or_none(turn.idle_cores.map(|cores| cores * 100.0), 2),
                turn.closed_per_s
            );
            turns.push(turn);
        }
    }
    for subject in subjects.iter().skip(1) {
        let opened = |name: &str| {
            let of = turns.iter().filter(|turn| turn.subject == name).map(|turn| turn.opened_per_s);
            median(&mut of.collect::<Vec<_>>())
        };
        let ratio = opened(&subjects[0].name()) / opened(&subject.name());
        println!("opened a second, {} over {}: {ratio:.2}", subjects[0].name(), subject.name());
    }
    options.common.json.as_ref().map_or(Ok(()), |path| report::write_json(&turns, path))
}

fn turn(options: &Options, subject: &Subject) -> Result<Turn, Failure> {
    let cluster = subject.start(1, &options.common)?;
    // What the first sessions set up is not theirs alone.
    Generator::open(&cluster.addresses(), 1, 1)?.close()?;
    let before = cluster.resident().ok();
    let begun = Instant::now();
    let generator = Generator::open_within(&cluster.addresses(), options.sessions, 1, options.window)?;
    let opened_per_s = options.sessions as f64 / begun.elapsed().as_secs_f64();
    let after = cluster.resident().ok();

    let cpu = || cluster.pids().into_iter().map(cpu_s).sum::<Option<f64>>();
    let (cpu_before, idle_since) = (cpu(), Instant::now());
    sleep(Duration::from_secs_f64(options.common.seconds));
    let (cpu_after, idle_s) = (cpu(), idle_since.elapsed().as_secs_f64());

    let closing = Instant::now();
    generator.close()?;
    let each = |before: u64, after: u64| (after as f64 - before as f64) / options.sessions as f64;
    Ok(Turn {
        subject: subject.name(),
        sessions: options.sessions,
        opened_per_s,
        bytes_each: before.zip(after).map(|(before, after)| each(before, after)),
        idle_cores: cpu_before.zip(cpu_after).map(|(before, after)| (after - before) / idle_s),
        closed_per_s: options.sessions as f64 / closing.elapsed().as_secs_f64(),
    })
}

/// CPU time of a process and its threads.
fn cpu_s(pid: i32) -> Option<f64> {
    let stat = Process::new(pid).and_then(|process| process.stat()).ok()?;
    Some((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
}

/// Each connection is a descriptor here, and in a server that is started here.
fn raise_descriptors(sessions: usize) -> Result<(), Failure> {
    let limit = getrlimit(Resource::Nofile);
    let needed = sessions as u64 + SPARE;
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let raised =
        Rlimit { current: limit.maximum.map_or(Some(needed), |most| Some(most.min(needed))), ..limit };
    let set = setrlimit(Resource::Nofile, raised);
    match raised.current {
        Some(current) if set.is_ok() && current >= needed => Ok(()),
        _ => Err(Failure::Option(format!(
            "--sessions {sessions}: this process may have fewer open files; raise its limit (ulimit -n)"
        ))),
    }
}
