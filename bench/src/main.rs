//! `ringkeeper-bench`: a load generator for any server that speaks ZooKeeper's client protocol.
//!
//! `group-commit` measures the log alone and `one-write` the shortest write, both beside what `raw` says
//! the machine takes. All else is the load generator:
//! `main` reads the command line, `workload` says what is asked, `run` prepares, measures and
//! removes, `generator` is the event loop over `client`s, `load` decides each request, `wire`
//! encodes requests and finds replies, `measure` collects, `report` tells. One thread: the
//! generator shares the machine with the server that it measures, so it must be cheap, and it
//! measures its own share.

mod checkpoint;
mod client;
mod failure;
mod fill;
mod generator;
mod group_commit;
mod load;
mod measure;
mod one_write;
mod raw;
mod report;
mod run;
mod servers;
#[cfg(test)]
mod stub;
mod tree;
mod wire;
mod workload;

use clap::{Args, Parser, Subcommand};
use failure::Failure;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use workload::{Settings, Workload};

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
    /// The log's settings against each other: latency and throughput of its own writer on a directory,
    /// beside what the disk takes.
    GroupCommit(group_commit::Options),
    /// One client, one write at a time, beside a durable append and an echo.
    OneWrite(one_write::Options),
    /// A large tree: how fast it is filled, the memory it takes, how soon a restart answers.
    Tree(tree::Options),
    /// What writers feel of a checkpoint of a large tree.
    Checkpoint(checkpoint::Options),
}

#[derive(Args)]
struct RunOptions {
    /// The server's client port.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:2181")]
    server: String,
    /// Sessions, each with a connection of its own.
    #[arg(long, value_name = "N", default_value_t = 16)]
    clients: usize,
    /// The most requests in flight per client.
    #[arg(long, value_name = "D", default_value_t = 64)]
    depth: usize,
    /// What is asked.
    #[arg(long, value_enum, default_value_t = Workload::Set)]
    op: Workload,
    /// Share of reads in the mix.
    #[arg(long, value_name = "PERCENT", default_value_t = 80)]
    read_percent: u8,
    /// Bytes of each value.
    #[arg(long, value_name = "B", default_value_t = 100)]
    value_bytes: usize,
    /// Nodes to choose from, evenly.
    #[arg(long, value_name = "K", default_value_t = 1000)]
    keys: u64,
    /// Load before the measurement.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    warmup_s: f64,
    /// The measurement.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    duration_s: f64,
    /// Open loop: this many requests a second of all clients together, latency counted from each
    /// one's intended start. Without it each answer makes room for the next request.
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<u64>,
    /// The server's process, if it runs on this machine: its CPU, memory, writes and waits.
    #[arg(long)]
    pid: Option<i32>,
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
    fn settings(self) -> Result<Settings, Failure> {
        Ok(Settings {
            server: resolve(&self.server)?,
            clients: self.clients,
            depth: self.depth,
            workload: self.op,
            read_percent: self.read_percent,
            value_bytes: self.value_bytes,
            keys: self.keys,
            warmup_s: self.warmup_s,
            duration_s: self.duration_s,
            rate_per_s: self.rate,
            pid: self.pid,
            root: self.root,
            keep: self.keep,
            seed: self.seed,
            json: self.json,
            hgrm: self.hgrm,
        })
    }
}

fn resolve(server: &str) -> Result<SocketAddr, Failure> {
    let mut found = server
        .to_socket_addrs()
        .map_err(|error| Failure::Option(format!("--server {server}: expected HOST:PORT ({error})")))?;
    found.next().ok_or_else(|| Failure::Option(format!("--server {server}: the host has no address")))
}

fn run(options: RunOptions) -> Result<(), Failure> {
    let settings = options.settings()?;
    let recorder = run::run(&settings)?;
    let report = report::Report::new(&settings, &recorder)?;
    print!("{report}");
    if let Some(path) = &settings.json {
        report::write_json(&report, path)?;
    }
    if let Some(path) = &settings.hgrm {
        report::write_hgrm(&recorder, path)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let ran = match Cli::parse().command {
        Command::Run(options) => run(options),
        Command::GroupCommit(options) => group_commit::run(&options),
        Command::OneWrite(options) => one_write::run(&options),
        Command::Tree(options) => tree::run(options),
        Command::Checkpoint(options) => checkpoint::run(&options),
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
