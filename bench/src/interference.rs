//! `interference`: what readers feel of writers. One client reads, one request at a time, in turns by itself
//! and beside an open loop of writes to the same nodes. A server whose reads wait for no lock and for no disk
//! answers both alike, as far as the machine has processors for all.

use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::mix::Mix;
use crate::raw::median;
use crate::report::{self, Percentiles, Report};
use crate::subjects::{Options as Common, Subject};
use crate::workload::{Operation, Settings};
use clap::Args;
use serde::Serialize;
use std::thread;

/// The writers begin so long before the reads are measured, and end so long after: both have made their nodes
/// by then, a JVM that has just started too, and their load is even.
const MARGIN_S: f64 = 2.0;
/// Nodes; few, since each reader makes sure of them one at a time.
const KEYS: u64 = 100;
/// A server that takes a smaller share of the rate is asked too much, and its reads tell nothing.
const RATE_MIN: f64 = 0.95;

/// The command line of `interference`.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Writes a second.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 20_000)]
    rate: u64,
    /// Clients that write.
    #[arg(long, value_name = "N", default_value_t = 16)]
    writers: usize,
    /// Clients that read.
    #[arg(long, value_name = "N", default_value_t = 1)]
    readers: usize,
    /// Bytes of each value.
    #[arg(long, value_name = "B", default_value_t = 100)]
    value_bytes: usize,
}

/// One turn of one server; latencies of its reads in microseconds.
#[derive(Clone, Debug, Serialize)]
struct Turn {
    subject: String,
    alone: Percentiles,
    beside_writes: Percentiles,
    writes_per_s: f64,
    /// What must be known beside the figures.
    remarks: Vec<String>,
}

/// A percentile, and its name.
type Figure = (&'static str, fn(&Percentiles) -> f64);
const FIGURES: [Figure; 3] = [("p50", |at| at.p50), ("p99", |at| at.p99), ("p99.9", |at| at.p99_9)];

/// Runs it.
///
/// # Errors
/// An option that makes no sense, a server that does not start, or cannot take the writes.
pub fn run(options: &Options) -> Result<(), Failure> {
    if options.rate == 0 || options.writers == 0 || options.readers == 0 {
        return Err(Failure::Option("--rate, --writers and --readers: expected 1 or more".into()));
    }
    let subjects = options.common.subjects(true)?;
    println!("reads, µs: by themselves, and beside {} writes a second", options.rate);
    println!("{:<12}{:>22}{:>22}{:>22}{:>12}", "server", "p50", "p99", "p99.9", "writes/s");
    let mut turns = Vec::new();
    for _ in 0..options.common.rounds(5) {
        for subject in &subjects {
            let turn = turn(options, subject)?;
            print!("{:<12}", turn.subject);
            for (_, of) in FIGURES {
                print!("{:>22}", format!("{:.0} → {:.0}", of(&turn.alone), of(&turn.beside_writes)));
            }
            println!("{:>12.0}  {}", turn.writes_per_s, turn.remarks.join("; "));
            turns.push(turn);
        }
    }
    for subject in &subjects {
        let name = subject.name();
        for (figure, of) in FIGURES {
            let own = turns.iter().filter(|turn| turn.subject == name);
            let mut ratios: Vec<f64> = own.map(|turn| of(&turn.beside_writes) / of(&turn.alone)).collect();
            println!(
                "{name:<12}{figure:<6} beside writes / alone: median {:.2}, {:.2} to {:.2}",
                median(&mut ratios),
                ratios[0],
                ratios[ratios.len() - 1]
            );
        }
    }
    options.common.json.as_ref().map_or(Ok(()), |path| report::write_json(&turns, path))
}

fn turn(options: &Options, subject: &Subject) -> Result<Turn, Failure> {
    let cluster = subject.start(1, &options.common)?;
    let reads = Settings {
        clients: options.readers,
        depth: 1,
        mix: Mix::one(Operation::Get),
        keys: KEYS,
        value_bytes: options.value_bytes,
        keep: true,
        ..options.common.settings(&cluster)
    };
    let alone = crate::run::run(&reads)?;
    let (beside, writes) = beside_writes(options, &cluster, &reads)?;
    let writes_per_s = writes.operations.first().map_or(0.0, |operation| operation.per_s);
    if writes_per_s < RATE_MIN * options.rate as f64 {
        let why = format!("{} took {writes_per_s:.0} of {} writes a second", subject.name(), options.rate);
        return Err(Failure::Option(format!("--rate: {why}")));
    }
    let runs = [("reads alone", &alone), ("reads beside writes", &beside), ("writes", &writes)];
    let remarks = runs.into_iter().flat_map(|(name, report)| {
        report.remarks().into_iter().map(move |remark| format!("{name}: {remark}"))
    });
    Ok(Turn {
        subject: subject.name(),
        remarks: remarks.collect(),
        alone: percentiles(&alone)?,
        beside_writes: percentiles(&beside)?,
        writes_per_s,
    })
}

/// The reads once more, well inside the time of the writes.
fn beside_writes(
    options: &Options,
    cluster: &Cluster,
    reads: &Settings,
) -> Result<(Report, Report), Failure> {
    let writes = Settings {
        clients: options.writers,
        depth: 64,
        mix: Mix::one(Operation::Set),
        rate_per_s: Some(options.rate),
        warmup_s: 0.0,
        duration_s: reads.warmup_s + reads.duration_s + 2.0 * MARGIN_S,
        pids: cluster.pids(),
        ..reads.clone()
    };
    let reads = Settings { warmup_s: reads.warmup_s + MARGIN_S, ..reads.clone() };
    thread::scope(|scope| {
        let writing = scope.spawn(|| crate::run::run(&writes));
        let read = crate::run::run(&reads);
        let under_way = !writing.is_finished();
        let written = writing.join().unwrap_or_else(|_| {
            Err(Failure::system("writing beside the reads", "the writers' thread failed"))
        })?;
        match under_way {
            true => Ok((read?, written)),
            false => Err(Failure::system("reading beside writes", "the writes ended before the reads")),
        }
    })
}

fn percentiles(report: &Report) -> Result<Percentiles, Failure> {
    let operation = report.operations.first();
    operation
        .map(|operation| operation.latency_us)
        .ok_or_else(|| Failure::system("measuring", "nothing was answered"))
}
