//! `compare`: this project's server beside a peer, load by load, in alternation, each on a fresh data
//! directory on the same disk; the hollow server beside both. What counts is the ratio within a round, for
//! both servers meet the machine's mood of that moment; its spread over the rounds says how far to trust it.

use crate::etcd;
use crate::failure::Failure;
use crate::merge::merge;
use crate::mix::Mix;
use crate::report::{self, Report};
use crate::run::run;
use crate::servers::Kind;
use crate::subjects::{Options as Common, Subject};
use crate::workload::{Operation, Settings};
use clap::{Args, ValueEnum};
use figures::{Figure, Row, rows};
use serde::Serialize;
use std::path::PathBuf;

mod figures;
mod html;

/// A fresh server's load before its measurements may take so long.
const JIT_WARMUP_MAX_S: f64 = 600.0;

/// With whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Peer {
    /// Debian's ZooKeeper, or another by --peer-class-path.
    Zookeeper,
    /// Another build of this project's server, by --peer-binary.
    Other,
    /// etcd, of --etcd.
    Etcd,
}

/// The command line of `compare`.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// With whom.
    #[arg(long, value_enum, default_value_t = Peer::Zookeeper)]
    peer: Peer,
    /// Debian's etcd-server, or another.
    #[arg(long, value_name = "FILE", default_value = "/usr/bin/etcd")]
    etcd: PathBuf,
    /// Load on each fresh server before its first measurement, of every operation of the loads in turn, for so
    /// long in all: a JVM compiles what it runs most only after a while. All servers get the same.
    #[arg(long, value_name = "SECONDS", default_value_t = 8.0)]
    jit_warmup: f64,
    /// Only loads whose name has this in it.
    #[arg(long, value_name = "WORD", default_value = "")]
    only: String,
    /// The report for a person: one file, no network.
    #[arg(long, value_name = "FILE", default_value = "compare.html")]
    html: PathBuf,
}

/// One load.
#[derive(Clone, Debug, Serialize)]
pub struct Load {
    /// What it is called.
    pub name: &'static str,
    /// What is asked.
    pub mix: Mix,
    /// Sessions.
    pub clients: usize,
    /// Requests in flight per session.
    pub depth: usize,
    /// Open loop at so many a second.
    pub rate_per_s: Option<u64>,
    /// What is compared.
    pub figures: &'static [Figure],
}

/// Reads first and creates last: what a load leaves behind must not slow the next.
fn loads() -> Vec<Load> {
    use Figure::{CpuPerOperation, P50, P99, P99_9, PerSecond};
    const MANY: &[Figure] = &[PerSecond, CpuPerOperation];
    const ONE: &[Figure] = &[P50, P99];
    let load = |name, mix: &str, clients, depth, figures| Load {
        name,
        mix: mix.parse().expect("a mix"),
        clients,
        depth,
        rate_per_s: None,
        figures,
    };
    vec![
        load("get, 16 × 64", "get", 16, 64, MANY),
        load("get, 32 × 1", "get", 32, 1, &[PerSecond, P50, P99]),
        load("get, 1 × 1", "get", 1, 1, ONE),
        load("set, 16 × 64", "set", 16, 64, MANY),
        load("set, 32 × 1", "set", 32, 1, &[PerSecond, P50, P99]),
        load("set, 1 × 1", "set", 1, 1, ONE),
        Load {
            rate_per_s: Some(10_000),
            ..load("80 % get, 20 % set, open loop at 10,000/s", "get=80,set=20", 16, 64, &[P50, P99, P99_9])
        },
        load("80 % get, 20 % set, 16 × 64", "get=80,set=20", 16, 64, MANY),
        load("multi of 3 sets, 16 × 64", "multi", 16, 64, MANY),
        load("create, 16 × 64", "create", 16, 64, MANY),
    ]
}

/// All rounds of one server, load by load.
#[derive(Debug, Serialize)]
pub struct Column {
    /// The server.
    pub name: String,
    /// By load, then by round.
    pub reports: Vec<Vec<Report>>,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// The machine.
    pub machine: String,
    /// How long each measurement was.
    pub seconds: f64,
    /// Load on a fresh server before the first of them, in all.
    pub jit_warmup_s: f64,
    /// Load before each.
    pub warmup_s: f64,
    /// The loads.
    pub loads: Vec<Load>,
    /// This project's server, the peer, the ceiling.
    pub columns: Vec<Column>,
    /// The figures.
    pub rows: Vec<Row>,
}

impl Comparison {
    /// How long each server was loaded, as a sentence.
    pub fn duration(&self) -> String {
        let Comparison { seconds, jit_warmup_s, warmup_s, .. } = self;
        format!(
            "Each fresh server was warmed up for {jit_warmup_s} s, with every operation of the loads in turn; \
             then each load was measured for {seconds} s, after {warmup_s} s of its own."
        )
    }
}

/// Runs it.
///
/// # Errors
/// A server does not start, a run fails, or a file cannot be written.
pub fn run_it(options: &Options) -> Result<(), Failure> {
    options.common.no_choice("this project's, --peer and the ceiling")?;
    if options.peer != Peer::Other && options.common.start.other().is_some() {
        return Err(Failure::Option("--peer-binary: expected --peer other with it".into()));
    }
    if !(0.0..=JIT_WARMUP_MAX_S).contains(&options.jit_warmup) {
        let wrong = format!("--jit-warmup {}: expected 0 to {JIT_WARMUP_MAX_S} seconds", options.jit_warmup);
        return Err(Failure::Option(wrong));
    }
    let peer =
        match options.peer {
            Peer::Zookeeper => options.common.start.zookeeper(),
            Peer::Other => options.common.start.other().ok_or_else(|| {
                Failure::Option("--peer other: expected --peer-binary with its file".into())
            })?,
            Peer::Etcd if !options.etcd.exists() => {
                let etcd = options.etcd.display();
                let wrong =
                    format!("--peer etcd: {etcd} is not there; install etcd-server, or name it by --etcd");
                return Err(Failure::Option(wrong));
            }
            Peer::Etcd => Kind::Etcd(options.etcd.clone()),
        };
    options.common.subjects(true)?;
    let own = options.common.start.ringkeeper();
    let subjects = [own, peer, Kind::Hollow].map(Subject::Start);
    let known = |load: &Load| options.peer != Peer::Etcd || load.mix.operations().all(etcd::knows);
    let named = |load: &Load| load.name.contains(&options.only);
    let loads: Vec<Load> = loads().into_iter().filter(|load| known(load) && named(load)).collect();
    if loads.is_empty() {
        let names: Vec<_> = self::loads().iter().map(|load| load.name).collect();
        let wrong = format!("--only {}: no load has that; there are: {}", options.only, names.join("; "));
        return Err(Failure::Option(wrong));
    }
    let mut columns: Vec<Column> = subjects
        .iter()
        .map(|subject| Column { name: subject.name(), reports: vec![Vec::new(); loads.len()] })
        .collect();
    let rounds = options.common.rounds(5);
    for round in 1..=rounds {
        for (subject, column) in subjects.iter().zip(&mut columns) {
            measure(options, subject, &loads, column)?;
            println!("round {round} of {rounds}: {}", column.name);
        }
    }
    let rows = rows(&loads, &columns);
    let (seconds, warmup_s, jit_warmup_s) =
        (options.common.seconds, options.common.warmup, options.jit_warmup);
    let comparison = Comparison { machine: machine(), seconds, jit_warmup_s, warmup_s, loads, columns, rows };
    figures::print(&comparison);
    report::write_file(&options.html, &html::page(&comparison)?)?;
    println!("report in {}", options.html.display());
    options.common.json.as_ref().map_or(Ok(()), |path| report::write_json(&comparison, path))
}

/// One turn of one server: a fresh one, warmed up alike, through all loads.
fn measure(options: &Options, subject: &Subject, loads: &[Load], column: &mut Column) -> Result<(), Failure> {
    let cluster = subject.start(1, &options.common)?;
    let run = if matches!(subject, Subject::Start(Kind::Etcd(_))) { etcd::run } else { run };
    let operations = to_warm_up(loads);
    let each_s = options.jit_warmup / operations.len() as f64;
    for operation in operations.into_iter().filter(|_| each_s > 0.0) {
        let mix = Mix::one(operation);
        run(&Settings { mix, warmup_s: 0.0, duration_s: each_s, ..options.common.settings(&cluster) })?;
    }
    for (load, reports) in loads.iter().zip(&mut column.reports) {
        let mut settings = options.common.settings(&cluster);
        settings.mix = load.mix.clone();
        (settings.clients, settings.depth) = (load.clients, load.depth);
        settings.rate_per_s = load.rate_per_s;
        // Deleting what a load of creates made takes as long as the load.
        settings.keep = true;
        reports.push(run(&settings)?);
    }
    Ok(())
}

/// The operations of all loads, those that leave most behind (removed again) long before the first measurement.
fn to_warm_up(loads: &[Load]) -> Vec<Operation> {
    let of_loads = |&operation: &Operation| loads.iter().any(|load| load.mix.any(|of| of == operation));
    let last_first = [Operation::Create, Operation::Multi, Operation::Set, Operation::Get];
    last_first.into_iter().filter(of_loads).collect()
}

/// All rounds of a load as one.
fn whole(reports: &[Report]) -> Option<Report> {
    merge(reports, true)
}

/// What it ran on, as far as the kernel says.
fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let models = || cpus.lines().filter_map(|line| line.strip_prefix("model name"));
    let model = models().next().map_or("unknown processor", |line| line.trim_start_matches([' ', '\t', ':']));
    let memory = read("/proc/meminfo");
    let kib = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().split(' ').next()?.parse().ok());
    let gib = kib.map_or(0.0, |kib: f64| kib / f64::from(1 << 20));
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    format!(
        "{model}, {} logical processors, {gib:.0} GiB of memory, Linux {}, load average {} at the end",
        models().count(),
        kernel.trim(),
        load.split(' ').next().unwrap_or("unknown")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_of_the_loads_is_warmed_up() {
        for load in loads() {
            let warmed = to_warm_up(std::slice::from_ref(&load));
            assert!(load.mix.operations().all(|operation| warmed.contains(&operation)), "{}", load.name);
            assert_eq!(warmed.len(), load.mix.operations().count(), "{}", load.name);
        }
        assert_eq!(to_warm_up(&loads()).last(), Some(&Operation::Get), "the first load reads");
    }
}
