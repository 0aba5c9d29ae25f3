//! A series of runs against several servers in turn, one result a step and a server. The rounds of a step
//! are added as histograms.

use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::merge::merge;
use crate::mix::Mix;
use crate::plot::{Axis, Chart, Curve};
use crate::report::{self, LATENCY_HEADS, Percentiles, Report};
use crate::run::run;
use crate::servers::Kind;
use crate::subjects::{Options, Subject};
use serde::Serialize;
use std::path::Path;

/// How a step is paced.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// Each answer makes room for the next request.
    Closed,
    /// Open loop, at a share of the throughput of the last closed step on the same servers.
    Share(f64),
    /// Open loop, so many a second.
    PerSecond(u64),
}

/// One measurement of an experiment.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Which curve it belongs to.
    pub curve: String,
    /// Where on it.
    pub x: f64,
    /// How many servers.
    pub servers: usize,
    /// Sessions.
    pub clients: usize,
    /// Requests in flight per session.
    pub depth: usize,
    /// What is asked.
    pub mix: Mix,
    /// Open or closed.
    pub pace: Pace,
}

/// What a step found on one subject.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// The servers' name.
    pub subject: String,
    #[serde(flatten)]
    pub step: Step,
    /// All rounds.
    pub report: Report,
}

impl Found {
    /// Latencies of all operations together.
    pub fn latency_us(&self) -> Percentiles {
        Percentiles::of(&self.report.all_latencies())
    }

    /// Requests in flight on average, by Little's law: requests a second times mean latency.
    pub fn in_flight(&self) -> f64 {
        self.report.count() as f64 / self.report.seconds * self.latency_us().mean / 1e6
    }

    /// Which curve of which server.
    pub fn name(&self) -> String {
        let curve = &self.step.curve;
        if curve.is_empty() { self.subject.clone() } else { format!("{}, {curve}", self.subject) }
    }
}

/// Runs every step on every subject, printing each as it is done.
///
/// # Errors
/// A server does not start, or a run fails.
pub fn sweep(options: &Options, x: &str, steps: &[Step], value_bytes: usize) -> Result<Vec<Found>, Failure> {
    let subjects = options.subjects(steps.iter().any(|step| step.servers == 1))?;
    let mut counts: Vec<usize> = steps.iter().map(|step| step.servers).collect();
    counts.dedup();
    let mut reports: Vec<Vec<Vec<Report>>> = vec![vec![Vec::new(); steps.len()]; subjects.len()];
    println!("{:<12}{:<22}{x:>12}{LATENCY_HEADS}{:>11}{:>9}", "server", "load", "in flight", "CPU µs");
    let rounds = options.rounds(1);
    for round in 0..rounds {
        for (subject, reports) in subjects.iter().zip(&mut reports) {
            for &count in counts.iter().filter(|&&count| can_be(subject, count)) {
                let cluster = subject.start(count, options)?;
                let mut closed_per_s = None;
                let of_count = steps.iter().zip(reports.iter_mut()).filter(|(step, _)| step.servers == count);
                for (step, reports) in of_count {
                    let report = measure(options, &cluster, step, value_bytes, closed_per_s)?;
                    if step.pace == Pace::Closed {
                        closed_per_s = Some(report.operations_per_s);
                    }
                    reports.push(report);
                    if round + 1 == rounds {
                        print(&found(subject, step, reports));
                    }
                }
            }
        }
    }
    let all = subjects.iter().zip(&reports).flat_map(|(subject, reports)| {
        let done = steps.iter().zip(reports).filter(|(_, reports)| !reports.is_empty());
        done.map(|(step, reports)| found(subject, step, reports))
    });
    let all: Vec<Found> = all.collect();
    if let Some(path) = &options.json {
        report::write_json(&all, path)?;
    }
    Ok(all)
}

/// Whether there is an ensemble of so many servers: the hollow one is alone.
fn can_be(subject: &Subject, servers: usize) -> bool {
    servers == 1 || !matches!(subject, Subject::Start(Kind::Hollow))
}

fn measure(
    options: &Options,
    cluster: &Cluster,
    step: &Step,
    value_bytes: usize,
    closed_per_s: Option<f64>,
) -> Result<Report, Failure> {
    let mut settings = options.settings(cluster);
    (settings.clients, settings.depth) = (step.clients, step.depth);
    (settings.mix, settings.value_bytes) = (step.mix.clone(), value_bytes);
    settings.rate_per_s = match step.pace {
        Pace::Closed => None,
        Pace::PerSecond(rate) => Some(rate),
        Pace::Share(share) => closed_per_s.map(|per_s| ((per_s * share) as u64).max(1)),
    };
    run(&settings)
}

fn found(subject: &Subject, step: &Step, reports: &[Report]) -> Found {
    let report = merge(reports, true).expect("one round or more");
    Found { subject: subject.name(), step: step.clone(), report }
}

fn print(found: &Found) {
    let latency = found.latency_us();
    let cpu = found.report.server.map_or(f64::NAN, |server| server.cpu_us_per_operation);
    println!(
        "{:<12}{:<22}{:>12}{:>12.0}{:>11.1}{:>11.1}{:>11.1}{:>11.1}{:>12.1}{:>11.1}{cpu:>9.2}  {}",
        found.subject,
        found.step.curve,
        found.step.x,
        found.report.operations_per_s,
        latency.p50,
        latency.p90,
        latency.p99,
        latency.p99_9,
        latency.max,
        found.in_flight(),
        found.report.remarks().join("; ")
    );
}

/// The steps as curves: one for each curve of each subject.
pub fn curves(found: &[Found], point: impl Fn(&Found) -> (f64, f64)) -> Vec<Curve> {
    let mut subjects: Vec<&str> = Vec::new();
    let mut curves: Vec<Curve> = Vec::new();
    for one in found {
        if !subjects.contains(&&one.subject[..]) {
            subjects.push(&one.subject);
        }
        let group = subjects.iter().position(|name| *name == one.subject).unwrap_or(0);
        let name = one.name();
        match curves.iter_mut().find(|curve| curve.name == name) {
            Some(curve) => curve.points.push(point(one)),
            None => curves.push(Curve { name, group, points: vec![point(one)] }),
        }
    }
    curves
}

/// Draws a chart into a file and says so.
///
/// # Errors
/// It cannot be drawn or written.
pub fn draw(title: &str, x: Axis, y: Axis, curves: Vec<Curve>, path: &Path) -> Result<(), Failure> {
    report::write_file(path, &Chart { title: title.to_owned(), x, y, curves }.svg()?)?;
    println!("plot in {}", path.display());
    Ok(())
}
