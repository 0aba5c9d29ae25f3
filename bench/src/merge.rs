//! `merge`: several reports as one. Histograms are added, never percentiles.

use crate::failure::Failure;
use crate::measure::histogram;
use crate::report::{self, GeneratorReport, OperationReport, Percentiles, Report, ServerReport};
use crate::workload::Operation;
use clap::Args;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The command line of `merge`.
#[derive(Args)]
pub struct Options {
    /// Reports that `run --json` wrote.
    #[arg(required = true, value_name = "FILE")]
    reports: Vec<PathBuf>,
    /// The runs were one after the other, not at the same time: the seconds add up, not the rates.
    #[arg(long)]
    in_turn: bool,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write percentile distributions, one file an operation.
    #[arg(long, value_name = "FILE")]
    hgrm: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// A file cannot be read or written, or is no report.
pub fn run(options: &Options) -> Result<(), Failure> {
    let reports = options.reports.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let report = merge(&reports, options.in_turn)
        .ok_or_else(|| Failure::Option("merge: expected one report or more".into()))?;
    print!("{report}");
    if let Some(path) = &options.json {
        report::write_json(&report, path)?;
    }
    options.hgrm.as_ref().map_or(Ok(()), |path| report::write_hgrm(&report, path))
}

fn read(path: &Path) -> Result<Report, Failure> {
    let doing = || format!("reading {}", path.display());
    let text = std::fs::read(path).map_err(|error| Failure::system(doing(), error))?;
    serde_json::from_slice(&text).map_err(|error| Failure::system(doing(), error))
}

/// One report of several: of generators that ran at the same time, or of runs in turn. `None`: of none.
pub fn merge(reports: &[Report], in_turn: bool) -> Option<Report> {
    let first = reports.first()?;
    let seconds = if in_turn {
        reports.iter().map(|report| report.seconds).sum()
    } else {
        reports.iter().map(|report| report.seconds).fold(0.0, f64::max)
    };
    let mut latencies: BTreeMap<Operation, (Histogram<u64>, f64)> = BTreeMap::new();
    let mut errors = BTreeMap::new();
    for report in reports {
        for operation in &report.operations {
            let (to, answered) = latencies.entry(operation.operation).or_insert_with(|| (histogram(), 0.0));
            *answered += operation.per_s * report.seconds;
            // Of other bounds perhaps, so value by value.
            for value in operation.histogram.iter_recorded() {
                to.saturating_record_n(value.value_iterated_to(), value.count_at_value());
            }
        }
        report.errors.iter().for_each(|(code, count)| *errors.entry(*code).or_default() += count);
    }
    let operations: Vec<OperationReport> = latencies
        .into_iter()
        .map(|(operation, (histogram, answered))| {
            OperationReport::new(operation, histogram, answered / seconds)
        })
        .collect();
    let answered = reports.iter().map(Report::answered).sum::<f64>();
    let mut settings = first.settings.clone();
    if !in_turn {
        settings.clients = reports.iter().map(|report| report.settings.clients).sum();
        settings.rate_per_s = reports.iter().map(|report| report.settings.rate_per_s).sum();
    }
    Some(Report {
        settings,
        seconds,
        operations_per_s: answered / seconds,
        operations,
        errors,
        server: server(reports, in_turn, seconds, answered),
        generator: generator(reports),
        // Percentiles of several cannot be added.
        stages_by_server: if reports.len() == 1 { first.stages_by_server.clone() } else { Vec::new() },
    })
}

/// What the servers used, where every report knows it. Generators that ran at the same time all saw the
/// same processes.
fn server(reports: &[Report], in_turn: bool, seconds: f64, answered: f64) -> Option<ServerReport> {
    let all = reports.iter().map(|report| Some((report, report.server?))).collect::<Option<Vec<_>>>()?;
    let shares = if in_turn { 1.0 } else { all.len() as f64 };
    let amount = |of: fn(&Report, &ServerReport) -> f64| {
        all.iter().map(|(report, server)| of(report, server)).sum::<f64>() / shares
    };
    let cpu_s = amount(|report, server| server.cores_busy * report.seconds);
    let per_operation = |amount: f64| amount / answered.max(1.0);
    Some(ServerReport {
        cpu_us_per_operation: per_operation(cpu_s * 1e6),
        cores_busy: cpu_s / seconds,
        resident_mib: all.iter().map(|(_, server)| server.resident_mib).fold(0.0, f64::max),
        written_bytes_per_operation: per_operation(amount(|report, server| {
            server.written_bytes_per_operation * report.answered()
        })),
        waits_per_operation: per_operation(amount(|report, server| {
            server.waits_per_operation * report.answered()
        })),
    })
}

/// The generators: the mean of their costs, the worst of their lateness.
fn generator(reports: &[Report]) -> GeneratorReport {
    let all = || reports.iter().map(|report| &report.generator);
    let answered: f64 = reports.iter().map(Report::answered).sum();
    let cpu_us: f64 =
        reports.iter().map(|report| report.generator.cpu_us_per_operation * report.answered()).sum();
    let mean = |of: fn(&GeneratorReport) -> f64| all().map(of).sum::<f64>() / reports.len() as f64;
    let late = |a: Percentiles, b: Percentiles| if a.p99 >= b.p99 { a } else { b };
    GeneratorReport {
        cpu_us_per_operation: cpu_us / answered.max(1.0),
        busy_share: mean(|generator| generator.busy_share),
        delayed_share: mean(|generator| generator.delayed_share),
        lateness_us: all().filter_map(|generator| generator.lateness_us).reduce(late),
        was_the_limit: all().any(|generator| generator.was_the_limit),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::workload::tests::settings;

    /// Of 2 s.
    pub fn report(operation: Operation, latencies_us: &[u64], cores_busy: f64) -> Report {
        let mut values = histogram();
        latencies_us.iter().for_each(|us| values.record(us * 1000).unwrap());
        let count = latencies_us.len() as f64;
        let operations = vec![OperationReport::new(operation, values, count / 2.0)];
        let server = ServerReport {
            cpu_us_per_operation: cores_busy * 2e6 / count,
            cores_busy,
            resident_mib: 10.0,
            written_bytes_per_operation: 100.0,
            waits_per_operation: 1.0,
        };
        let generator = GeneratorReport {
            cpu_us_per_operation: 1.0,
            busy_share: 0.5,
            delayed_share: 0.0,
            lateness_us: None,
            was_the_limit: false,
        };
        Report {
            settings: settings("127.0.0.1:1".parse().unwrap()),
            seconds: 2.0,
            operations_per_s: count / 2.0,
            operations,
            errors: BTreeMap::new(),
            server: Some(server),
            generator,
            stages_by_server: Vec::new(),
        }
    }

    #[test]
    fn latencies_are_added_not_averaged() {
        let many: Vec<u64> = (1..=99).map(|_| 10).collect();
        let mut two = [report(Operation::Get, &many, 1.0), report(Operation::Get, &[1000], 1.0)];
        two.iter_mut().for_each(|report| report.errors = BTreeMap::from([(-101, 1)]));
        let merged = merge(&two, false).unwrap();
        assert_eq!(merged.operations.len(), 1);
        let latency = merged.operations[0].latency_us;
        assert!((latency.p99 - 10.0).abs() < 0.1 && (latency.max - 1000.0).abs() < 1.0, "{latency:?}");
        assert_eq!(merged.errors, BTreeMap::from([(-101, 2)]));
    }

    #[test]
    fn generators_at_the_same_time_add_rates_and_runs_in_turn_add_seconds() {
        let two = [report(Operation::Get, &[10; 100], 1.5), report(Operation::Set, &[20; 50], 1.5)];
        let together = merge(&two, false).unwrap();
        assert_eq!((together.seconds, together.operations_per_s), (2.0, 75.0));
        assert_eq!((together.operations.len(), together.settings.clients), (2, 6));
        // Both saw the same server.
        assert!((together.server.unwrap().cores_busy - 1.5).abs() < 1e-9);
        let in_turn = merge(&two, true).unwrap();
        assert_eq!((in_turn.seconds, in_turn.operations_per_s, in_turn.settings.clients), (4.0, 37.5, 3));
        assert!((in_turn.server.unwrap().cores_busy - 1.5).abs() < 1e-9);
        assert!(merge(&[], false).is_none());
    }
}
