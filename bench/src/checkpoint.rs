//! `checkpoint`: what writers feel of a checkpoint. Two servers hold the same large tree; one writes a
//! checkpoint after every few log bytes, so that one is nearly always under way, the other none. They take
//! turns under the same open loop of writes, so that the machine's mood meets both.

use crate::failure::Failure;
use crate::fill::{Fill, Shape, Step};
use crate::generator::Generator;
use crate::report::{self, Percentiles};
use crate::servers::{Kind, Server};
use crate::workload::Settings;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// The command line of `checkpoint`.
#[derive(Args)]
pub struct Options {
    /// This project's server.
    #[arg(long, value_name = "FILE", default_value = "target/release/ringkeeper")]
    binary: PathBuf,
    /// Where the data directories are made.
    #[arg(long, value_name = "DIRECTORY", default_value = ".")]
    dir: PathBuf,
    /// Nodes with a value.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    nodes: u64,
    /// Bytes of each value.
    #[arg(long, value_name = "B", default_value_t = 100)]
    value_bytes: usize,
    /// Writes a second.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 5000)]
    rate: u64,
    /// Log bytes from one checkpoint to the next: `snapshot.logBytes`.
    #[arg(long, value_name = "B", default_value_t = 256 * 1024)]
    log_bytes: u64,
    /// A further line of zoo.cfg, for both; may be given again.
    #[arg(long, value_name = "KEY=VALUE")]
    config: Vec<String>,
    /// Turns of each.
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// Each turn's measurement.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    duration_s: f64,
    /// Write all turns as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One turn of one server; latencies in microseconds.
#[derive(Clone, Debug, Serialize)]
struct Turn {
    checkpoints: bool,
    /// Checkpoints that were written in this turn.
    written: usize,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    /// What must be known beside the figures.
    remarks: Vec<String>,
}

/// Runs the experiment and prints what was found.
///
/// # Errors
/// An option that makes no sense, a server that does not start, or refuses something.
pub fn run(options: &Options) -> Result<(), Failure> {
    if options.nodes == 0 || options.rounds == 0 || options.rate == 0 {
        return Err(Failure::Option("--nodes, --rounds and --rate: expected 1 or more".into()));
    }
    let servers = [server(options, 0)?, server(options, options.log_bytes)?];
    let mut turns = Vec::new();
    for round in 0..options.rounds {
        for (server, checkpoints) in servers.iter().zip([false, true]) {
            let turn = turn(options, server, checkpoints)?;
            println!(
                "round {}: {:<20} p50 {:>7.0} µs, p99 {:>7.0} µs, p99.9 {:>7.0} µs, {} checkpoints  {}",
                round + 1,
                if checkpoints { "with checkpoints" } else { "without" },
                turn.p50_us,
                turn.p99_us,
                turn.p999_us,
                turn.written,
                turn.remarks.join("; ")
            );
            turns.push(turn);
        }
    }
    for (name, figure) in [
        ("p50", (|turn| turn.p50_us) as fn(&Turn) -> f64),
        ("p99", |turn| turn.p99_us),
        ("p99.9", |turn| turn.p999_us),
    ] {
        let mut ratios: Vec<f64> =
            turns.chunks_exact(2).map(|pair| figure(&pair[1]) / figure(&pair[0])).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        println!(
            "{name:<6} with / without: median {:.2}, {:.2} to {:.2}",
            ratios[ratios.len() / 2],
            ratios[0],
            ratios[ratios.len() - 1]
        );
    }
    match &options.json {
        Some(path) => report::write_turns(&turns, path),
        None => Ok(()),
    }
}

/// A server with the tree; `log_bytes` 0 is one that writes no checkpoint.
fn server(options: &Options, log_bytes: u64) -> Result<Server, Failure> {
    let mut config = options.config.clone();
    config.push(format!("snapshot.logBytes={log_bytes}"));
    let mut server = Server::prepare(Kind::Ringkeeper(options.binary.clone()), &options.dir, &config)?;
    server.start("/")?;
    let shape = Shape { nodes: options.nodes, value_bytes: options.value_bytes, multi: 500 };
    let mut generator = Generator::open(&[server.address()], 4, 4)?;
    generator.drive(&mut Fill::new(shape, Step::Directories))?;
    generator.drive(&mut Fill::new(shape, Step::Nodes))?;
    generator.close()?;
    Ok(server)
}

fn turn(options: &Options, server: &Server, checkpoints: bool) -> Result<Turn, Failure> {
    let settings = Settings {
        value_bytes: options.value_bytes,
        duration_s: options.duration_s,
        rate_per_s: Some(options.rate),
        pids: server.pid().into_iter().collect(),
        keep: true,
        ..Settings::of(vec![server.address()])
    };
    let before = server.checkpoints();
    let report = crate::run::run(&settings)?;
    let written = server.checkpoints() - before;
    let operation = report.operations.first();
    let Percentiles { p50, p99, p99_9, .. } =
        operation.ok_or_else(|| Failure::system("measuring", "nothing was answered"))?.latency_us;
    Ok(Turn { checkpoints, written, p50_us: p50, p99_us: p99, p999_us: p99_9, remarks: report.remarks() })
}
