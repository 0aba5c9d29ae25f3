//! Experiments whose point is a curve: each is a list of steps for `sweep`, and what its plot shows.

use crate::failure::Failure;
use crate::mix::Mix;
use crate::plot::{Axis, Curve};
use crate::subjects::Options;
use crate::sweep::{Found, Pace, Step, curves, draw, sweep};
use crate::workload::Operation;
use clap::Args;
use std::path::PathBuf;

/// Concurrency of a closed loop, from one request at a time on: sessions and requests of each.
const CONCURRENCY: [(usize, usize); 8] =
    [(1, 1), (2, 1), (8, 1), (32, 1), (16, 4), (16, 16), (16, 64), (32, 128)];
/// Where a server is saturated.
const SATURATED: (usize, usize) = (16, 64);

fn operations(text: &str) -> Result<Mix, Failure> {
    text.parse().map_err(|error| Failure::Option(format!("--op {text}: {error}")))
}

/// The command line of `latency`.
#[derive(Args)]
pub struct LatencyOptions {
    #[command(flatten)]
    common: Options,
    /// What is asked, as `run --op`.
    #[arg(long, value_name = "OPERATIONS", default_value = "get=80,set=20")]
    op: String,
    /// Offered loads, in percent of each server's own closed-loop throughput.
    #[arg(
        long,
        value_name = "PERCENT",
        value_delimiter = ',',
        default_value = "5,10,25,50,70,80,90,100,110"
    )]
    load: Vec<f64>,
    /// Offered loads a second, the same for each server, instead.
    #[arg(long, value_name = "PER_SECOND", value_delimiter = ',', conflicts_with = "load")]
    rates: Vec<u64>,
    /// Bytes of each value.
    #[arg(long, value_name = "B", default_value_t = 100)]
    value_bytes: usize,
    /// Latency against offered load as SVG.
    #[arg(long, value_name = "FILE", default_value = "latency.svg")]
    svg: PathBuf,
}

/// Latency against offered load, up to saturation and beyond. Open loop: what a server cannot take
/// in time waits, and its waiting counts.
///
/// # Errors
/// An option that makes no sense, or a run that fails.
pub fn latency(options: &LatencyOptions) -> Result<(), Failure> {
    let wrong = options.load.iter().find(|load| !(**load > 0.0 && **load <= 1000.0));
    if let Some(load) = wrong {
        return Err(Failure::Option(format!("--load {load}: expected more than 0, at most 1000 percent")));
    }
    let mix = operations(&options.op)?;
    let (clients, depth) = SATURATED;
    let step = |curve: &str, x, pace| Step {
        curve: curve.into(),
        x,
        servers: 1,
        clients,
        // Room for what waits while a slow server falls behind.
        depth: if pace == Pace::Closed { depth } else { depth * 64 },
        mix: mix.clone(),
        pace,
    };
    let mut steps = vec![step("closed loop", 100.0, Pace::Closed)];
    if options.rates.is_empty() {
        steps.extend(options.load.iter().map(|&load| step("open loop", load, Pace::Share(load / 100.0))));
    }
    steps.extend(options.rates.iter().map(|&rate| step("open loop", rate as f64, Pace::PerSecond(rate))));
    let x = if options.rates.is_empty() { "load %" } else { "offered/s" };
    let found = sweep(&options.common, x, &steps, options.value_bytes)?;
    let open: Vec<Found> = found.into_iter().filter(|found| found.step.pace != Pace::Closed).collect();
    let offered = |found: &Found| found.report.settings.rate_per_s.unwrap_or(0) as f64;
    let mut all = Vec::new();
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        let us = |found: &Found| found.report.all_latencies().value_at_quantile(quantile) as f64 / 1e3;
        let of_quantile = curves(&open, |found| (offered(found), us(found)));
        all.extend(of_quantile.into_iter().map(|curve| Curve {
            name: format!("{} {name}", curve.name.trim_end_matches(", open loop")),
            ..curve
        }));
    }
    let title = format!("Latency against offered load, {}", options.op);
    draw(&title, Axis::log("offered, a second"), Axis::log("latency, µs"), all, &options.svg)
}

/// The command line of `throughput`.
#[derive(Args)]
pub struct ThroughputOptions {
    #[command(flatten)]
    common: Options,
    /// What is asked, each by itself.
    #[arg(long, value_name = "OPERATIONS", value_delimiter = ',', default_value = "set,create,get")]
    op: Vec<String>,
    /// Bytes of each value.
    #[arg(long, value_name = "B", default_value_t = 100)]
    value_bytes: usize,
    /// Throughput against concurrency as SVG.
    #[arg(long, value_name = "FILE", default_value = "throughput.svg")]
    svg: PathBuf,
}

/// Throughput against concurrency, operation by operation.
///
/// # Errors
/// As [`latency`].
pub fn throughput(options: &ThroughputOptions) -> Result<(), Failure> {
    let mut steps = Vec::new();
    for op in &options.op {
        let mix = operations(op)?;
        steps.extend(CONCURRENCY.map(|(clients, depth)| Step {
            curve: op.clone(),
            x: (clients * depth) as f64,
            servers: 1,
            clients,
            depth,
            mix: mix.clone(),
            pace: Pace::Closed,
        }));
    }
    let found = sweep(&options.common, "concurrency", &steps, options.value_bytes)?;
    let curves = curves(&found, |found| (found.step.x, found.report.operations_per_s));
    let title = "Throughput against concurrency";
    draw(title, Axis::log("requests in flight"), Axis::log("a second"), curves, &options.svg)
}

/// The command line of `tradeoff`.
#[derive(Args)]
pub struct TradeoffOptions {
    #[command(flatten)]
    common: Options,
    /// What is asked, as `run --op`.
    #[arg(long, value_name = "OPERATIONS", default_value = "set")]
    op: String,
    /// Bytes of each value.
    #[arg(long, value_name = "B", default_value_t = 100)]
    value_bytes: usize,
    /// Latency against throughput as SVG.
    #[arg(long, value_name = "FILE", default_value = "tradeoff.svg")]
    svg: PathBuf,
}

/// Throughput, latency and concurrency: any two decide the third, and each server has its own curve.
///
/// # Errors
/// As [`latency`].
pub fn tradeoff(options: &TradeoffOptions) -> Result<(), Failure> {
    let mix = operations(&options.op)?;
    let steps = CONCURRENCY.map(|(clients, depth)| Step {
        curve: options.op.clone(),
        x: (clients * depth) as f64,
        servers: 1,
        clients,
        depth,
        mix: mix.clone(),
        pace: Pace::Closed,
    });
    let found = sweep(&options.common, "concurrency", &steps, options.value_bytes)?;
    let mut all = Vec::new();
    for (name, of) in [("p50", 0.5), ("p99", 0.99)] {
        let us = |found: &Found| found.report.all_latencies().value_at_quantile(of) as f64 / 1e3;
        let of_quantile = curves(&found, |found| (found.report.operations_per_s, us(found)));
        all.extend(
            of_quantile.into_iter().map(|curve| Curve { name: format!("{} {name}", curve.name), ..curve }),
        );
    }
    let title = format!("Latency against throughput, from one request in flight to many, {}", options.op);
    draw(&title, Axis::log("a second"), Axis::log("latency, µs"), all, &options.svg)
}

/// The command line of `read-ratio`.
#[derive(Args)]
pub struct ReadRatioOptions {
    #[command(flatten)]
    common: Options,
    /// Shares of reads.
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', default_value = "0,20,40,60,80,90,100")]
    percent: Vec<u8>,
    /// Numbers of servers.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1")]
    ensembles: Vec<usize>,
    /// Sessions.
    #[arg(long, value_name = "N", default_value_t = SATURATED.0)]
    clients: usize,
    /// Requests in flight per session.
    #[arg(long, value_name = "D", default_value_t = SATURATED.1)]
    depth: usize,
    /// Bytes of each value.
    #[arg(long, value_name = "B", default_value_t = 100)]
    value_bytes: usize,
    /// Throughput against the share of reads as SVG.
    #[arg(long, value_name = "FILE", default_value = "read-ratio.svg")]
    svg: PathBuf,
}

/// Throughput by share of reads and number of servers.
///
/// # Errors
/// As [`latency`].
pub fn read_ratio(options: &ReadRatioOptions) -> Result<(), Failure> {
    options.common.check_counts("--ensembles", &options.ensembles)?;
    let mut steps = Vec::new();
    for &servers in &options.ensembles {
        for &percent in &options.percent {
            steps.push(Step {
                curve: format!("{servers} {}", if servers == 1 { "server" } else { "servers" }),
                x: f64::from(percent),
                servers,
                clients: options.clients,
                depth: options.depth,
                mix: Mix::read_write(percent)?,
                pace: Pace::Closed,
            });
        }
    }
    let found = sweep(&options.common, "reads %", &steps, options.value_bytes)?;
    let curves = curves(&found, |found| (found.step.x, found.report.operations_per_s));
    let title = "Throughput by share of reads";
    draw(title, Axis::linear("reads, %"), Axis::log("a second"), curves, &options.svg)
}

/// The command line of `ensemble`.
#[derive(Args)]
pub struct EnsembleOptions {
    #[command(flatten)]
    common: Options,
    /// Numbers of servers.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,3,5")]
    copies: Vec<usize>,
    /// Bytes of each value.
    #[arg(long, value_name = "B", default_value_t = 100)]
    value_bytes: usize,
    /// Latency against the number of copies as SVG.
    #[arg(long, value_name = "FILE", default_value = "ensemble.svg")]
    svg: PathBuf,
}

/// What more copies cost: writes one at a time and at depth, reads at depth, by number of servers.
/// Clients are spread over all of them.
///
/// # Errors
/// As [`latency`].
pub fn ensemble(options: &EnsembleOptions) -> Result<(), Failure> {
    options.common.check_counts("--copies", &options.copies)?;
    let loads = [
        ("set, 1 × 1", Operation::Set, (1, 1)),
        ("set, 32 × 1", Operation::Set, (32, 1)),
        ("set, 16 × 64", Operation::Set, SATURATED),
        ("get, 16 × 64", Operation::Get, SATURATED),
    ];
    let steps = options.copies.iter().flat_map(|&servers| {
        loads.map(|(curve, operation, (clients, depth))| Step {
            curve: curve.into(),
            x: servers as f64,
            servers,
            clients,
            depth,
            mix: Mix::one(operation),
            pace: Pace::Closed,
        })
    });
    let steps: Vec<Step> = steps.collect();
    let found = sweep(&options.common, "servers", &steps, options.value_bytes)?;
    let curves = curves(&found, |found| (found.step.x, found.latency_us().p50));
    let title = "Median latency by number of copies";
    draw(title, Axis::linear("servers"), Axis::log("latency, µs"), curves, &options.svg)
}
