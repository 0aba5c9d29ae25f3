//! `sessions`: many sessions that do nothing. How fast they are opened, what each takes of the server's
//! memory, what all of them cost while they are idle, how fast they are closed.

use crate::failure::Failure;
use crate::generator::{Generator, HANDSHAKES_MAX};
use crate::measure::{Effort, explain_limit, percent_of_generator};
use crate::raw::median;
use crate::report;
use crate::subjects::{Options as Common, Subject};
use clap::Args;
use procfs::process::Process;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use std::collections::BTreeMap;
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
    /// Share of the time that the generator worked or waited for a core, while sessions were opened.
    opening_generator_share: f64,
    /// The same while they were closed.
    closing_generator_share: f64,
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
        "{:<12}{:>9}{:>15}{:>13}{:>19}{:>15}{:>31}",
        "server",
        "sessions",
        "opened/second",
        "bytes each",
        "idle, % of a core",
        "closed/second",
        "generator %: opening, closing"
    );
    for _ in 0..options.common.rounds(1) {
        for subject in &subjects {
            let turn = turn(options, subject)?;
            let or_none =
                |value: Option<f64>, digits| value.map_or("–".to_owned(), |v| format!("{v:.digits$}"));
            println!(
                "{:<12}{:>9}{:>15.0}{:>13}{:>19}{:>15.0}{:>22}{:>9}",
                turn.subject,
                turn.sessions,
                turn.opened_per_s,
                or_none(turn.bytes_each, 0),
                or_none(turn.idle_cores.map(|cores| cores * 100.0), 3),
                turn.closed_per_s,
                percent_of_generator(turn.opening_generator_share),
                percent_of_generator(turn.closing_generator_share)
            );
            turns.push(turn);
        }
    }
    explain_limit(turns.iter().flat_map(|turn| [turn.opening_generator_share, turn.closing_generator_share]));
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
    let (effort, begun) = (Effort::begin()?, Instant::now());
    let generator = Generator::open_within(&cluster.addresses(), options.sessions, 1, options.window)?;
    let opened_per_s = options.sessions as f64 / begun.elapsed().as_secs_f64();
    let opening_generator_share = effort.share()?;
    let after = cluster.resident().ok();

    let pids = cluster.pids();
    let (before_idle, idle_since) = (threads_cpu_ns(&pids), Instant::now());
    sleep(Duration::from_secs_f64(options.common.seconds));
    let (after_idle, idle_s) = (threads_cpu_ns(&pids), idle_since.elapsed().as_secs_f64());
    let idle_ns = before_idle.zip(after_idle).map(|(before, after)| used_ns(&before, &after));

    let (effort, closing) = (Effort::begin()?, Instant::now());
    generator.close()?;
    let closed_per_s = options.sessions as f64 / closing.elapsed().as_secs_f64();
    let each = |before: u64, after: u64| (after as f64 - before as f64) / options.sessions as f64;
    Ok(Turn {
        subject: subject.name(),
        sessions: options.sessions,
        opened_per_s,
        bytes_each: before.zip(after).map(|(before, after)| each(before, after)),
        idle_cores: idle_ns.map(|ns| ns as f64 / 1e9 / idle_s),
        closed_per_s,
        opening_generator_share,
        closing_generator_share: effort.share()?,
    })
}

/// CPU time of each thread of some processes, by its id, in nanoseconds. What `stat` has of a process comes in
/// steps of 10 ms, which is more than an idle server may take.
fn threads_cpu_ns(pids: &[i32]) -> Option<BTreeMap<i32, u64>> {
    let mut all = BTreeMap::new();
    for &pid in pids {
        for task in Process::new(pid).and_then(|process| process.tasks()).ok()? {
            // A thread may end between the listing and the look.
            let of = task.and_then(|task| Ok((task.tid, task.schedstat()?.sum_exec_runtime)));
            all.extend(of.ok());
        }
    }
    (!all.is_empty()).then_some(all)
}

/// What was used from one look to the next, also by threads that began meanwhile; those that ended take
/// theirs along.
fn used_ns(before: &BTreeMap<i32, u64>, after: &BTreeMap<i32, u64>) -> u64 {
    let of = |(tid, &now): (&i32, &u64)| now.saturating_sub(before.get(tid).copied().unwrap_or(0));
    after.iter().map(of).sum()
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

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::time::{ClockId, clock_gettime};

    #[test]
    fn less_cpu_time_than_a_tick_of_ten_milliseconds_is_seen() {
        let own_ns = || {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
        };
        let tid = rustix::thread::gettid().as_raw_nonzero().get();
        let look = || threads_cpu_ns(&[std::process::id() as i32]).unwrap();
        let (before, begun_ns) = (look(), own_ns());
        while own_ns() - begun_ns < 2_000_000 {
            std::hint::spin_loop();
        }
        // Another thread of the tests may be at work, too.
        let own = BTreeMap::from([(tid, look()[&tid])]);
        let used = used_ns(&before, &own);
        assert!((1_500_000..9_000_000).contains(&used), "{used}");
    }

    #[test]
    fn threads_that_begin_count_and_those_that_end_take_nothing_away() {
        let (before, after) = (BTreeMap::from([(1, 10), (2, 90)]), BTreeMap::from([(1, 15), (3, 4)]));
        assert_eq!(used_ns(&before, &after), 9);
    }
}
