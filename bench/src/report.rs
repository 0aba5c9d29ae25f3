//! What a run's figures look like: a table, JSON, and percentile distributions (`.hgrm`).

use crate::failure::Failure;
use crate::measure::{Latencies, Recorder};
use crate::workload::Settings;
use base64::Engine;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

/// Share of the time that the generator works or waits for a core, from which on it counts as the
/// limit of the run.
const LIMIT_SHARE: f64 = 0.9;
/// Lines for each halving of the distance to 100 % in a percentile distribution.
const TICKS_PER_HALF_DISTANCE: u32 = 5;
const NS_PER_US: f64 = 1e3;

/// A finished run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    settings: Settings,
    seconds: f64,
    operations_per_s: f64,
    operations: Vec<OperationReport>,
    /// Failed requests by the protocol's error code.
    errors: BTreeMap<i32, u64>,
    server: Option<ServerReport>,
    generator: GeneratorReport,
}

#[derive(Clone, Debug, Serialize)]
struct OperationReport {
    operation: &'static str,
    count: u64,
    per_s: f64,
    latency_us: Percentiles,
    /// HdrHistogram V2 compressed, in base64; values in nanoseconds. Such histograms can be added.
    histogram: String,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Percentiles {
    mean: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p99_9: f64,
    max: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct ServerReport {
    cpu_us_per_operation: f64,
    cores_busy: f64,
    resident_mib: f64,
    written_bytes_per_operation: f64,
    waits_per_operation: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct GeneratorReport {
    cpu_us_per_operation: f64,
    /// Share of the time that it worked.
    busy_share: f64,
    /// Share of the time that it was ready to work and had no core.
    delayed_share: f64,
    /// In an open loop: how long after its time the generator looked at a request.
    lateness_us: Option<Percentiles>,
    was_the_limit: bool,
}

impl Percentiles {
    fn of(histogram: &Histogram<u64>) -> Percentiles {
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

impl Report {
    /// Of what a run recorded.
    ///
    /// # Errors
    /// A histogram cannot be serialised.
    pub fn new(settings: &Settings, recorder: &Recorder) -> Result<Report, Failure> {
        let seconds = recorder.seconds();
        let count = recorder.count();
        let per_operation = |amount: f64| amount / count.max(1) as f64;
        let operations = recorder
            .latencies()
            .map(|Latencies { operation, histogram }| {
                Ok(OperationReport {
                    operation: operation.name(),
                    count: histogram.len(),
                    per_s: histogram.len() as f64 / seconds,
                    latency_us: Percentiles::of(histogram),
                    histogram: encoded(histogram)?,
                })
            })
            .collect::<Result<_, Failure>>()?;
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
        let generator = GeneratorReport {
            cpu_us_per_operation: per_operation(own.cpu_s * 1e6),
            busy_share,
            delayed_share,
            lateness_us: settings.rate_per_s.map(|_| Percentiles::of(recorder.lateness())),
            was_the_limit: busy_share + delayed_share >= LIMIT_SHARE,
        };
        Ok(Report {
            settings: settings.clone(),
            seconds,
            operations_per_s: count as f64 / seconds,
            operations,
            errors: recorder.errors().clone(),
            server,
            generator,
        })
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
pub fn write_hgrm(recorder: &Recorder, path: &Path) -> Result<(), Failure> {
    let several = recorder.latencies().count() > 1;
    for Latencies { operation, histogram } in recorder.latencies() {
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

fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| Failure::system(format!("writing {}", path.display()), error))
}

fn encoded(histogram: &Histogram<u64>) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new()
        .serialize(histogram, &mut bytes)
        .map_err(|error| Failure::system("serialising a histogram", error))?;
    Ok(base64::engine::general_purpose::STANDARD.encode(bytes))
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

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { clients, depth, value_bytes, keys, server, .. } = &self.settings;
        let pace = match self.settings.rate_per_s {
            Some(rate) => format!("open loop at {rate}/s"),
            None => "closed loop".to_owned(),
        };
        writeln!(
            f,
            "{server}: {clients} clients × {depth} in flight, {pace}, values of {value_bytes} bytes, {keys} keys, {:.1} s",
            self.seconds
        )?;
        writeln!(
            f,
            "{:<9}{:>12}{:>11}{:>11}{:>11}{:>11}{:>12}",
            "", "per second", "p50 µs", "p90 µs", "p99 µs", "p99.9 µs", "max µs"
        )?;
        for OperationReport { operation, per_s, latency_us: l, .. } in &self.operations {
            writeln!(
                f,
                "{operation:<9}{per_s:>12.0}{:>11.1}{:>11.1}{:>11.1}{:>11.1}{:>12.1}",
                l.p50, l.p90, l.p99, l.p99_9, l.max
            )?;
        }
        for (code, count) in &self.errors {
            writeln!(f, "failed: {count} with error {code}")?;
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
        if g.was_the_limit {
            writeln!(f, "The generator was the limit, not the server.")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::histogram;
    use hdrhistogram::serialization::Deserializer;

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
        let bytes = base64::engine::general_purpose::STANDARD.decode(encoded(&values).unwrap()).unwrap();
        let back: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
        values.add(&back).unwrap();
        assert_eq!((values.len(), back.len()), (6, 3));
    }

    #[test]
    fn several_operations_get_a_file_each() {
        assert_eq!(with_name(Path::new("/x/a.hgrm"), "get"), Path::new("/x/a.get.hgrm"));
        assert_eq!(with_name(Path::new("a"), "set"), Path::new("a.set.hgrm"));
    }
}
