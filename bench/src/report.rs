//! What a run's figures look like: a table, JSON, and percentile distributions (`.hgrm`).

use crate::failure::Failure;
use crate::measure::{Latencies, Recorder, is_the_limit};
use crate::stages::ServerStages;
use crate::workload::{Operation, Settings};
use base64::Engine;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

/// An open loop whose generator looked at one request in a hundred so late measured itself.
const LATE_US_MAX: f64 = 1000.0;
/// An open loop that was answered a smaller share of its rate has a queue that grows.
const TAKEN_MIN: f64 = 0.99;
/// Lines for each halving of the distance to 100 % in a percentile distribution.
const TICKS_PER_HALF_DISTANCE: u32 = 5;
const NS_PER_US: f64 = 1e3;

/// A finished run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// What was asked.
    pub settings: Settings,
    /// How long was measured.
    pub seconds: f64,
    /// Requests answered within the measurement, of all operations together.
    pub operations_per_s: f64,
    /// Each by itself.
    pub operations: Vec<OperationReport>,
    /// Failed requests by the protocol's error code.
    pub errors: BTreeMap<i32, u64>,
    /// The servers' processes, where they could be looked at.
    pub server: Option<ServerReport>,
    /// The generator.
    pub generator: GeneratorReport,
    /// Inside each server, where it says so.
    #[serde(default)]
    pub stages_by_server: Vec<ServerStages>,
}

/// One operation of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OperationReport {
    /// Which.
    pub operation: Operation,
    /// Requests whose latency is known; an open loop's are those whose time came in the measurement, however
    /// late they were answered.
    pub count: u64,
    /// Requests answered within the measurement.
    pub per_s: f64,
    /// From the (intended) start to the answer.
    pub latency_us: Percentiles,
    /// HdrHistogram V2 compressed, in base64; values in nanoseconds. Such histograms can be added.
    #[serde(serialize_with = "write_histogram", deserialize_with = "read_histogram")]
    pub histogram: Histogram<u64>,
}

/// Some of a histogram.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Percentiles {
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub max: f64,
}

/// The servers' processes together.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ServerReport {
    /// CPU time.
    pub cpu_us_per_operation: f64,
    /// CPU time a second.
    pub cores_busy: f64,
    /// Resident memory at the end.
    pub resident_mib: f64,
    /// Bytes sent to the disk.
    pub written_bytes_per_operation: f64,
    /// Times that a thread slept of itself.
    pub waits_per_operation: f64,
}

/// The generator's thread.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct GeneratorReport {
    /// CPU time.
    pub cpu_us_per_operation: f64,
    /// Share of the time that it worked.
    pub busy_share: f64,
    /// Share of the time that it was ready to work and had no core.
    pub delayed_share: f64,
    /// In an open loop: how long after its time the generator looked at a request.
    pub lateness_us: Option<Percentiles>,
    /// Whether the figures are its own rather than the server's.
    pub was_the_limit: bool,
}

impl Percentiles {
    /// Of a histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Percentiles {
        let us = |quantile| histogram.value_at_quantile(quantile) as f64 / NS_PER_US;
        Percentiles {
            mean: histogram.mean() / NS_PER_US,
            p50: us(0.5),
            p90: us(0.9),
            p99: us(0.99),
            p99_9: us(0.999),
            max: histogram.max() as f64 / NS_PER_US,
        }
    }
}

impl OperationReport {
    /// Of all latencies, and the answers a second.
    pub fn new(operation: Operation, histogram: Histogram<u64>, per_s: f64) -> OperationReport {
        let (count, latency_us) = (histogram.len(), Percentiles::of(&histogram));
        OperationReport { operation, count, per_s, latency_us, histogram }
    }
}

impl Report {
    /// Of what a run recorded.
    ///
    /// # Errors
    /// The run was not brought to its end.
    pub fn new(settings: &Settings, recorder: Recorder) -> Result<Report, Failure> {
        let seconds = recorder.seconds();
        let answered = recorder.answered();
        let per_operation = |amount: f64| amount / answered.max(1) as f64;
        let server = recorder.server().map(|server| ServerReport {
            cpu_us_per_operation: per_operation(server.cpu_s * 1e6),
            cores_busy: server.cpu_s / seconds,
            resident_mib: server.resident_bytes as f64 / f64::from(1 << 20),
            written_bytes_per_operation: per_operation(server.written_bytes as f64),
            waits_per_operation: per_operation(server.waits as f64),
        });
        let own = recorder
            .own()
            .ok_or_else(|| Failure::system("the measurement", "it was not brought to its end"))?;
        let (busy_share, delayed_share) = (own.cpu_s / seconds, own.delayed_s / seconds);
        let lateness_us = settings.rate_per_s.map(|_| Percentiles::of(recorder.lateness()));
        let generator = GeneratorReport {
            cpu_us_per_operation: per_operation(own.cpu_s * 1e6),
            busy_share,
            delayed_share,
            lateness_us,
            was_the_limit: is_the_limit(busy_share + delayed_share)
                || lateness_us.is_some_and(|late| late.p99 > LATE_US_MAX),
        };
        let errors = recorder.errors().clone();
        let operations = recorder.into_latencies().map(|Latencies { operation, histogram, answered }| {
            OperationReport::new(operation, histogram, answered as f64 / seconds)
        });
        Ok(Report {
            settings: settings.clone(),
            seconds,
            operations_per_s: answered as f64 / seconds,
            operations: operations.collect(),
            errors,
            server,
            generator,
            stages_by_server: Vec::new(),
        })
    }

    /// Requests whose latency is known.
    pub fn count(&self) -> u64 {
        self.operations.iter().map(|operation| operation.count).sum()
    }

    /// Requests answered within the measurement.
    pub fn answered(&self) -> f64 {
        self.operations_per_s * self.seconds
    }

    /// What a reader of the figures must know beside them: one sentence each.
    pub fn remarks(&self) -> Vec<String> {
        let failed = self.errors.iter().map(|(code, count)| format!("{count} failed with error {code}"));
        let mut remarks: Vec<String> = failed.collect();
        let took = self.operations_per_s;
        if let Some(rate) = self.settings.rate_per_s.filter(|&rate| took < TAKEN_MIN * rate as f64) {
            remarks.push(format!("took {took:.0} of {rate} a second"));
        }
        if self.generator.was_the_limit {
            remarks.push("the generator was the limit".to_owned());
        }
        remarks
    }

    /// All operations' latencies in one.
    pub fn all_latencies(&self) -> Histogram<u64> {
        let mut all = crate::measure::histogram();
        for operation in &self.operations {
            // A histogram that was read from a file may have other bounds; ours takes all.
            for value in operation.histogram.iter_recorded() {
                all.saturating_record_n(value.value_iterated_to(), value.count_at_value());
            }
        }
        all
    }
}

/// Writes a report as JSON.
///
/// # Errors
/// The file cannot be written.
pub fn write_json(report: &impl Serialize, path: &Path) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(report).map_err(|error| Failure::system("the JSON", error))?;
    write_file(path, &(text + "\n"))
}

/// Writes one percentile distribution for each operation: to `path` if there is one operation, or
/// with the operation's name before the extension.
///
/// # Errors
/// A file cannot be written.
pub fn write_hgrm(report: &Report, path: &Path) -> Result<(), Failure> {
    let several = report.operations.len() > 1;
    for OperationReport { operation, histogram, .. } in &report.operations {
        let path = if several { with_name(path, operation.name()) } else { path.to_owned() };
        write_file(&path, &distribution(histogram))?;
    }
    Ok(())
}

/// Writes the turns of an experiment as JSON.
///
/// # Errors
/// The file cannot be written.
pub fn write_turns(turns: &impl Serialize, path: &Path) -> Result<(), Failure> {
    let text =
        serde_json::to_string_pretty(turns).map_err(|error| Failure::system("encoding turns", error))?;
    write_file(path, &text)
}

fn with_name(path: &Path, name: &str) -> PathBuf {
    let extension = path.extension().unwrap_or("hgrm".as_ref()).to_string_lossy();
    path.with_extension(format!("{name}.{extension}"))
}

/// Writes a text.
///
/// # Errors
/// The file cannot be written.
pub fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| Failure::system(format!("writing {}", path.display()), error))
}

fn write_histogram<S: serde::Serializer>(histogram: &Histogram<u64>, to: S) -> Result<S::Ok, S::Error> {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut bytes).map_err(serde::ser::Error::custom)?;
    to.serialize_str(&base64::engine::general_purpose::STANDARD.encode(bytes))
}

fn read_histogram<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Histogram<u64>, D::Error> {
    let text = String::deserialize(from)?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(serde::de::Error::custom)?;
    Deserializer::new().deserialize(&mut &bytes[..]).map_err(serde::de::Error::custom)
}

/// The text that HdrHistogram's plotters read (`outputPercentileDistribution` of its Java library);
/// values in microseconds.
fn distribution(histogram: &Histogram<u64>) -> String {
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut count = 0;
    for value in histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        count += value.count_since_last_iteration();
        let us = value.value_iterated_to() as f64 / NS_PER_US;
        let quantile = value.quantile_iterated_to();
        let _ = write!(text, "{us:12.3} {quantile:14.12} {count:10}");
        let _ =
            if quantile < 1.0 { writeln!(text, " {:14.2}", 1.0 / (1.0 - quantile)) } else { writeln!(text) };
    }
    let (mean, deviation) = (histogram.mean() / NS_PER_US, histogram.stdev() / NS_PER_US);
    let max = histogram.max() as f64 / NS_PER_US;
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let _ = writeln!(text, "#[Max     = {max:12.3}, Total count    = {:12}]", histogram.len());
    let _ = writeln!(text, "#[Buckets = {:12}, SubBuckets     = {:12}]", histogram.buckets(), 2048);
    text
}

/// The heads of a table of latencies, after a first column.
pub const LATENCY_HEADS: &str = "  per second     p50 µs     p90 µs     p99 µs   p99.9 µs      max µs";

impl fmt::Display for OperationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (per_s, l) = (self.per_s, self.latency_us);
        write!(f, "{per_s:>12.0}{:>11.1}{:>11.1}{:>11.1}", l.p50, l.p90, l.p99)?;
        write!(f, "{:>11.1}{:>12.1}", l.p99_9, l.max)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { clients, depth, value_bytes, keys, servers, .. } = &self.settings;
        let pace = match self.settings.rate_per_s {
            Some(rate) => format!("open loop at {rate}/s"),
            None => "closed loop".to_owned(),
        };
        let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
        writeln!(
            f,
            "{}: {clients} clients × {depth} in flight, {pace}, values of {value_bytes} bytes, {keys} keys, {:.1} s",
            servers.join(", "),
            self.seconds
        )?;
        writeln!(f, "{:<11}{LATENCY_HEADS}", "")?;
        for operation in &self.operations {
            writeln!(f, "{:<11}{operation}", operation.operation.name())?;
        }
        if let Some(s) = &self.server {
            writeln!(
                f,
                "server: {:.2} µs of CPU, {:.0} bytes written, {:.3} waits an operation; {:.2} cores, {:.0} MiB",
                s.cpu_us_per_operation,
                s.written_bytes_per_operation,
                s.waits_per_operation,
                s.cores_busy,
                s.resident_mib
            )?;
        }
        if self.server.is_none() {
            writeln!(f, "server: no process is known for its CPU and memory; --pid names it")?;
        }
        let g = &self.generator;
        write!(
            f,
            "generator: {:.2} µs of CPU an operation; {:.0} % busy, {:.0} % waiting for a core",
            g.cpu_us_per_operation,
            g.busy_share * 100.0,
            g.delayed_share * 100.0
        )?;
        if let Some(late) = &g.lateness_us {
            write!(f, "; late by {:.0} µs (p50), {:.0} µs (p99)", late.p50, late.p99)?;
        }
        writeln!(f)?;
        self.stages_by_server.iter().try_for_each(|stages| write!(f, "{stages}"))?;
        self.remarks().iter().try_for_each(|remark| writeln!(f, "NOTE: {remark}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::histogram;

    #[test]
    fn a_distribution_ends_with_the_greatest_value_and_counts_all() {
        let mut values = histogram();
        (1..=1000u64).for_each(|us| values.record(us * 1000).unwrap());
        let text = distribution(&values);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .filter(|l| !l.starts_with('#'))
            .skip(2)
            .map(|l| l.split_whitespace().collect())
            .collect();
        let last = lines.last().unwrap();
        assert_eq!(last[1..], ["1.000000000000", "1000"]);
        assert!((last[0].parse::<f64>().unwrap() - 1000.0).abs() < 1.0, "{last:?}");
        let counts: Vec<u64> = lines.iter().map(|line| line[2].parse().unwrap()).collect();
        assert!(counts.is_sorted());
        assert!(lines.iter().any(|line| line[1] == "0.500000000000" && line[2] == "500"), "{text}");
    }

    #[test]
    fn a_reports_histogram_can_be_read_back_and_added() {
        let mut values = histogram();
        values.record_n(5_000, 3).unwrap();
        let report = OperationReport::new(Operation::Get, values.clone(), 2.0);
        let text = serde_json::to_string(&report).unwrap();
        let back: OperationReport = serde_json::from_str(&text).unwrap();
        values.add(&back.histogram).unwrap();
        assert_eq!((values.len(), back.count, back.per_s), (6, 3, 2.0));
        let damaged = text.replace(r#""histogram":""#, r#""histogram":"x"#);
        assert!(serde_json::from_str::<OperationReport>(&damaged).is_err());
    }

    #[test]
    fn several_operations_get_a_file_each() {
        assert_eq!(with_name(Path::new("/x/a.hgrm"), "get"), Path::new("/x/a.get.hgrm"));
        assert_eq!(with_name(Path::new("a"), "set"), Path::new("a.set.hgrm"));
    }
}
