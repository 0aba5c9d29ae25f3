//! `group-commit`: the log's settings against each other, on a directory of one's choice.
//!
//! Each combination of sync mode, delay, batch size and number of writers is measured in several rounds,
//! and next to each round the disk alone: blocking appends of the same length made durable in the same
//! way. So the share of the disk's limit that a combination reaches is known whatever else the machine
//! does.

use crate::failure::Failure;
use crate::raw::{RawDisk, median, median_us};
use crate::report::write_json;
use clap::{Args, ValueEnum};
use measure::{Ground, Load, Measured, Span, measure};
use ringkeeper_engine::log::{Settings, SyncMode};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

mod measure;
mod plot;

/// The most raw appends of one round.
const RAW_COUNT_MAX: usize = 1_000_000;

/// The longest round.
const SECONDS_MAX: f64 = 3600.0;

/// How a write is made durable, as `log.sync` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Sync {
    Fdatasync,
    Dsync,
    Direct,
    None,
}

impl Sync {
    fn mode(self) -> SyncMode {
        match self {
            Sync::Fdatasync => SyncMode::Fdatasync,
            Sync::Dsync => SyncMode::Dsync,
            Sync::Direct => SyncMode::Direct,
            Sync::None => SyncMode::None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Sync::Fdatasync => "fdatasync",
            Sync::Dsync => "dsync",
            Sync::Direct => "direct",
            Sync::None => "none",
        }
    }
}

/// Measures the log's group commit.
#[derive(Args)]
pub struct Options {
    /// Directory on the file system that is measured.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// `log.sync`.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "fdatasync,dsync,direct,none")]
    sync: Vec<Sync>,
    /// `log.groupCommit.maxDelayUs`.
    #[arg(long, value_name = "US", value_delimiter = ',', default_value = "0,200,1000")]
    delay_us: Vec<u32>,
    /// `log.groupCommit.maxBatchBytes`.
    #[arg(long, value_name = "B", value_delimiter = ',', default_value = "4096,16384,65536,1048576")]
    batch_bytes: Vec<u32>,
    /// Writers, each with one transaction at a time.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,8,64,512")]
    writers: Vec<usize>,
    /// Bytes of a transaction; a setData of 100 bytes has about 170.
    #[arg(long, value_name = "B", default_value_t = 170)]
    transaction_bytes: usize,
    /// Rounds of each combination.
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// Each round of a combination, and of the disk alone next to it.
    #[arg(long, visible_alias = "duration-s", value_name = "SECONDS", default_value_t = 0.2)]
    seconds: f64,
    /// Writes all figures as JSON.
    #[arg(long, value_name = "FILE", default_value = "group-commit.json")]
    json: PathBuf,
    /// Draws latency against throughput, the share of the disk's own limit, and what delay and batch size do.
    #[arg(long, value_name = "FILE", default_value = "group-commit.svg")]
    svg: PathBuf,
    /// Writes when each write of the last combination's last round was in flight, for chrome://tracing or
    /// Perfetto.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

/// One combination's figures.
#[derive(Clone, Debug, Serialize)]
struct Point {
    sync: Sync,
    delay_us: u32,
    batch_bytes: u32,
    writers: usize,
    /// Durable transactions a second.
    per_s: f64,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    p99_9_us: u64,
    /// Writes of the log a second.
    writes_per_s: f64,
    /// Transactions in a write.
    transactions_per_write: f64,
    /// Bytes of a write.
    bytes_per_write: f64,
    /// Share of the time in which a write was in flight.
    in_flight: f64,
    /// The disk alone: the median of a durable append of the same length.
    raw_us: f64,
    /// The disk's rate of such appends times the transactions of one.
    limit_per_s: f64,
    /// Throughput as a share of that, which was measured beside it: the median of the rounds.
    of_disk_limit: f64,
}

/// Runs it.
///
/// # Errors
/// As the disk and the ring say.
pub fn run(options: &Options) -> Result<(), Failure> {
    if !(options.seconds > 0.0 && options.seconds <= SECONDS_MAX) {
        let wrong = format!("--seconds {}: expected more than 0, at most {SECONDS_MAX}", options.seconds);
        return Err(Failure::Option(wrong));
    }
    if options.writers.contains(&0) {
        return Err(Failure::Option("--writers 0: expected 1 or more".into()));
    }
    let mut disk = RawDisk::create(&options.dir)?;
    let mut ground = Ground::create(&options.dir, Settings::default().segment_bytes)?;
    let mut points = Vec::new();
    let mut spans = Vec::new();
    println!(
        "{:9} {:>8} {:>9} {:>7} {:>10} {:>8} {:>8} {:>9} {:>8} {:>9} {:>9} {:>23}",
        "sync",
        "delay µs",
        "batch B",
        "writers",
        "per second",
        "p50 µs",
        "p99 µs",
        "writes/s",
        "in write",
        "in flight",
        "raw µs",
        "of the disk's own limit"
    );
    for combination in options.combinations() {
        let (point, traced) = options.measure(combination, &mut ground, &mut disk)?;
        println!("{point}");
        points.push(point);
        spans = traced;
    }
    write_json(&points, &options.json)?;
    plot::draw(&points, &options.svg)?;
    println!("figures in {}, plot in {}", options.json.display(), options.svg.display());
    match &options.trace {
        Some(path) => write_json(&trace_events(&spans), path),
        None => Ok(()),
    }
}

#[derive(Clone, Copy)]
struct Combination {
    sync: Sync,
    delay_us: u32,
    batch_bytes: u32,
    writers: usize,
}

impl Options {
    fn combinations(&self) -> Vec<Combination> {
        let mut all = Vec::new();
        for &sync in &self.sync {
            for &delay_us in &self.delay_us {
                for &batch_bytes in &self.batch_bytes {
                    let with = |&writers| Combination { sync, delay_us, batch_bytes, writers };
                    all.extend(self.writers.iter().map(with));
                }
            }
        }
        all
    }

    fn measure(
        &self,
        of: Combination,
        ground: &mut Ground,
        disk: &mut RawDisk,
    ) -> Result<(Point, Vec<Span>), Failure> {
        let settings = Settings {
            sync: of.sync.mode(),
            max_delay_us: of.delay_us,
            max_batch_bytes: of.batch_bytes,
            ..Settings::default()
        };
        let load = Load {
            writers: of.writers,
            transaction_bytes: self.transaction_bytes,
            duration: Duration::from_secs_f64(self.seconds),
            traced: self.trace.is_some(),
        };
        let mut sum: Option<Measured> = None;
        let (mut raw, mut shares) = (Vec::new(), Vec::new());
        for _ in 0..self.rounds.max(1) {
            let round = measure(ground, settings, load)?;
            let appends = disk.append(of.sync.mode(), round.write_bytes(), RAW_COUNT_MAX, load.duration)?;
            let seconds: f64 = appends.iter().map(Duration::as_secs_f64).sum();
            let disk_writes_per_s = appends.len() as f64 / seconds;
            shares.push(round.writes as f64 / round.seconds / disk_writes_per_s);
            raw.push(median_us(&appends));
            match &mut sum {
                Some(sum) => sum.add(round),
                None => sum = Some(round),
            }
        }
        let all = sum.expect("one round at least");
        let (of_disk_limit, per_s) = (median(&mut shares), all.transactions() as f64 / all.seconds);
        let percentile = |share| all.latency_us.value_at_quantile(share);
        let writes = all.writes.max(1) as f64;
        let point = Point {
            sync: of.sync,
            delay_us: of.delay_us,
            batch_bytes: of.batch_bytes,
            writers: of.writers,
            per_s,
            p50_us: percentile(0.5),
            p90_us: percentile(0.9),
            p99_us: percentile(0.99),
            p99_9_us: percentile(0.999),
            writes_per_s: all.writes as f64 / all.seconds,
            transactions_per_write: all.transactions() as f64 / writes,
            bytes_per_write: all.bytes as f64 / writes,
            in_flight: all.in_flight_us as f64 / 1e6 / all.seconds,
            raw_us: median(&mut raw),
            limit_per_s: per_s / of_disk_limit,
            of_disk_limit,
        };
        Ok((point, all.spans))
    }
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:9} {:>8} {:>9} {:>7} {:>10.0} {:>8} {:>8} {:>9.0} {:>8.1} {:>8.1}% {:>9.1} {:>22.1}%",
            self.sync.name(),
            self.delay_us,
            self.batch_bytes,
            self.writers,
            self.per_s,
            self.p50_us,
            self.p99_us,
            self.writes_per_s,
            self.transactions_per_write,
            100.0 * self.in_flight,
            self.raw_us,
            100.0 * self.of_disk_limit
        )
    }
}

/// One span of Chrome's trace format.
#[derive(Serialize)]
struct TraceEvent {
    name: &'static str,
    ph: &'static str,
    pid: u32,
    tid: u32,
    /// In microseconds.
    ts: u64,
    dur: u64,
    args: Span,
}

fn trace_events(spans: &[Span]) -> Vec<TraceEvent> {
    let event = |&args: &Span| TraceEvent {
        name: "log write",
        ph: "X",
        pid: 1,
        tid: 1,
        ts: args.begin_us,
        dur: args.end_us.saturating_sub(args.begin_us),
        args,
    };
    spans.iter().map(event).collect()
}
