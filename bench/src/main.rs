//! `ringkeeper-bench`: a load generator for any server that speaks ZooKeeper's client protocol, and the
//! experiments that are made of it.
//!
//! | room | what lives there |
//! |---|---|
//! | `workload` `mix` | what is asked: settings, operations, chance |
//! | `run` `load` `fill` | a run: prepare, measure, remove |
//! | `generator` `client` `wire` | the event loop, its sessions, their frames |
//! | `measure` `local` `report` `merge` `progress` | what is collected, and how it is told |
//! | `servers` `java` `cluster` `subjects` | the servers that an experiment starts or finds |
//! | `sweep` `curves` `plot` | experiments whose point is a curve |
//! | `compare` `etcd` | this server beside a peer |
//! | `watches` `sessions` `failover` `catch_up` `tree` `checkpoint` `interference` | experiments of their own kind |
//! | `group_commit` `one_write` `raw` | the log and the shortest write, beside what the machine takes |
//! | `hollow` | the ceiling |
//!
//! The generator is one thread: it shares the machine with the server that it measures, so it must be
//! cheap, and it measures its own share.

mod catch_up;
mod checkpoint;
mod client;
mod cluster;
mod compare;
mod curves;
mod etcd;
mod failover;
mod failure;
mod fill;
mod generator;
mod group_commit;
mod hollow;
mod interference;
mod java;
mod load;
mod local;
mod measure;
mod merge;
mod mix;
mod one_write;
mod plot;
mod progress;
mod raw;
mod report;
mod run;
mod servers;
mod sessions;
mod stages;
#[cfg(test)]
mod stub;
mod subjects;
mod sweep;
mod tree;
mod watches;
mod wire;
mod workload;

use clap::{Args, Parser, Subcommand};
use failure::Failure;
use mix::Mix;
use std::path::PathBuf;
use std::process::ExitCode;
use subjects::resolve;
use workload::{Distribution, Settings};

/// Loads a server that speaks ZooKeeper's client protocol, and measures it.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One load, one result.
    Run(RunOptions),
    /// Reports of several runs, or of several generators at once, as one.
    Merge(merge::Options),
    /// This server beside a peer, in alternation, as a table and an HTML report.
    Compare(compare::Options),
    /// Latency against offered load, open loop, up to saturation and beyond.
    Latency(curves::LatencyOptions),
    /// Throughput against concurrency, operation by operation.
    Throughput(curves::ThroughputOptions),
    /// Latency against throughput: what concurrency buys and costs.
    Tradeoff(curves::TradeoffOptions),
    /// Throughput by share of reads and number of servers.
    ReadRatio(curves::ReadRatioOptions),
    /// Latency and throughput by number of servers.
    Ensemble(curves::EnsembleOptions),
    /// Many watches, all fired: until the last event has come.
    Watches(watches::Options),
    /// Many idle sessions: opening, memory, idle cost, closing.
    Sessions(sessions::Options),
    /// The gap in service when the leader of an ensemble dies.
    Failover(failover::Options),
    /// How soon a follower that missed many transactions has them all.
    CatchUp(catch_up::Options),
    /// The log's settings against each other: latency and throughput of its own writer on a directory,
    /// beside what the disk takes.
    GroupCommit(group_commit::Options),
    /// One client, one write at a time, beside a durable append, an echo, and the hollow server.
    OneWrite(one_write::Options),
    /// The ceiling: a server on the same ring that answers and writes, and keeps nothing.
    Hollow(hollow::Options),
    /// A large tree: how fast it is filled, the memory it takes, how soon a restart answers.
    Tree(tree::Options),
    /// What writers feel of a checkpoint of a large tree.
    Checkpoint(checkpoint::Options),
    /// What readers feel of writers.
    Interference(interference::Options),
}

#[derive(Args)]
struct RunOptions {
    /// Client ports; clients are spread over several.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', default_value = "127.0.0.1:2181")]
    server: Vec<String>,
    /// Sessions, each with a connection of its own.
    #[arg(long, value_name = "N", default_value_t = 16)]
    clients: usize,
    /// The most requests in flight per client.
    #[arg(long, value_name = "D", default_value_t = 64)]
    depth: usize,
    /// What is asked: set, create, get, exists, children, multi, delete (of what the client created before;
    /// it creates when nothing is left), sequential, ephemeral; several with their weights as
    /// get=80,set=20; or mix, which is get and set by --read-percent.
    #[arg(long, value_name = "OPERATIONS", default_value = "set")]
    op: String,
    /// Share of reads in the mix.
    #[arg(long, value_name = "PERCENT", default_value_t = 80)]
    read_percent: u8,
    /// Nodes that a multi sets.
    #[arg(long, value_name = "N", default_value_t = 3)]
    multi_operations: u64,
    /// Bytes of each value.
    #[arg(long, value_name = "B", default_value_t = 100)]
    value_bytes: usize,
    /// Nodes to choose from.
    #[arg(long, value_name = "K", default_value_t = 1000)]
    keys: u64,
    /// How often each is chosen.
    #[arg(long, value_enum, default_value_t = Distribution::Uniform)]
    distribution: Distribution,
    /// The exponent of Zipf's law.
    #[arg(long, value_name = "S", default_value_t = 0.99)]
    zipf_exponent: f64,
    /// Load before the measurement.
    #[arg(long, visible_alias = "warmup-s", value_name = "SECONDS", default_value_t = 1.0)]
    warmup: f64,
    /// The measurement.
    #[arg(long, visible_alias = "duration-s", value_name = "SECONDS", default_value_t = 5.0)]
    seconds: f64,
    /// Open loop: this many requests a second of all clients together, latency counted from each
    /// one's intended start. Without it each answer makes room for the next request.
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<u64>,
    /// The servers' processes, if they run on this machine: their CPU, memory, writes and waits. Those of a
    /// --server on a loopback address are found without; of any other address, this machine's own included,
    /// nothing is known without it.
    #[arg(long, value_delimiter = ',')]
    pid: Vec<i32>,
    /// Where the nodes lie.
    #[arg(long, value_name = "PATH", default_value = "/ringkeeper-bench")]
    root: String,
    /// Leave the nodes when done.
    #[arg(long)]
    keep: bool,
    /// Seed of the choice of keys and operations.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write percentile distributions, one file an operation.
    #[arg(long, value_name = "FILE")]
    hgrm: Option<PathBuf>,
}

impl RunOptions {
    fn settings(&self) -> Result<Settings, Failure> {
        let mix = match &self.op[..] {
            "mix" => Mix::read_write(self.read_percent)?,
            text => text.parse().map_err(|error| Failure::Option(format!("--op {text}: {error}")))?,
        };
        Ok(Settings {
            servers: self.server.iter().map(|server| resolve(server)).collect::<Result<_, _>>()?,
            clients: self.clients,
            depth: self.depth,
            mix,
            multi_operations: self.multi_operations,
            value_bytes: self.value_bytes,
            keys: self.keys,
            distribution: self.distribution,
            zipf_exponent: self.zipf_exponent,
            warmup_s: self.warmup,
            duration_s: self.seconds,
            rate_per_s: self.rate,
            pids: self.pid.clone(),
            root: self.root.clone(),
            keep: self.keep,
            seed: self.seed,
        })
    }
}

fn run(options: &RunOptions) -> Result<(), Failure> {
    let report = run::run(&options.settings()?)?;
    print!("{report}");
    if let Some(path) = &options.json {
        report::write_json(&report, path)?;
    }
    options.hgrm.as_ref().map_or(Ok(()), |path| report::write_hgrm(&report, path))
}

fn main() -> ExitCode {
    let ran = match Cli::parse().command {
        Command::Run(options) => run(&options),
        Command::Merge(options) => merge::run(&options),
        Command::Compare(options) => compare::run_it(&options),
        Command::Latency(options) => curves::latency(&options),
        Command::Throughput(options) => curves::throughput(&options),
        Command::Tradeoff(options) => curves::tradeoff(&options),
        Command::ReadRatio(options) => curves::read_ratio(&options),
        Command::Ensemble(options) => curves::ensemble(&options),
        Command::Watches(options) => watches::run(&options),
        Command::Sessions(options) => sessions::run(&options),
        Command::Failover(options) => failover::run(&options),
        Command::CatchUp(options) => catch_up::run(&options),
        Command::GroupCommit(options) => group_commit::run(&options),
        Command::OneWrite(options) => one_write::run(&options),
        Command::Hollow(options) => hollow::run(&options),
        Command::Tree(options) => tree::run(options),
        Command::Checkpoint(options) => checkpoint::run(&options),
        Command::Interference(options) => interference::run(&options),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            // As the server's own commands: 2 for what was asked, 1 for what went wrong.
            ExitCode::from(if matches!(failure, Failure::Option(_)) { 2 } else { 1 })
        }
    }
}
