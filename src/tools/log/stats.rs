//! `ringkeeper log stats`: what a log is made of, counted.

use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Display};
use std::io;
use std::path::Path;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{Batch, Entry, Item, Visitor};
use crate::tools::args::TransactionFilter;
use crate::tools::out::{Findings, Out};
use crate::tools::show::{self, Hex};
use crate::tools::transaction::Kind;

/// Exact to a thousandth.
const SIGNIFICANT_DIGITS: u8 = 3;

pub(super) struct Stats<'f> {
    out: Out,
    filter: &'f TransactionFilter,
    files: u64,
    transactions: u64,
    bytes: u64,
    operations: BTreeMap<Kind, Sum>,
    /// Those inside multis.
    inner: BTreeMap<Kind, Sum>,
    sizes: Histogram<u64>,
    data: Histogram<u64>,
    batches: Batches,
    sessions: HashSet<i64>,
    zxids: Option<(u64, u64)>,
    clock: Clock,
}

/// So many of something, and their bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    count: u64,
    bytes: u64,
}

struct Batches {
    entries: Histogram<u64>,
    bytes: Histogram<u64>,
    sum: Sum,
    padding: u64,
}

/// Transactions in time. Only neighbours are compared, so a clock that was set back costs nothing but
/// its own second.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    span_ms: Option<(i64, i64)>,
    second: i64,
    in_second: u64,
    busiest: u64,
}

impl Clock {
    fn add(&mut self, ms: i64) {
        let (first, last) = self.span_ms.unwrap_or((ms, ms));
        self.span_ms = Some((first.min(ms), last.max(ms)));
        let second = ms.div_euclid(1000);
        if second != self.second {
            (self.second, self.in_second) = (second, 0);
        }
        self.in_second += 1;
        self.busiest = self.busiest.max(self.in_second);
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new(SIGNIFICANT_DIGITS).expect("a precision that the histogram has")
}

fn record(histogram: &mut Histogram<u64>, value: u64) {
    // Without an upper bound it grows to any value.
    histogram.record(value).expect("the histogram resizes itself");
}

impl<'f> Stats<'f> {
    pub fn new(out: Out, filter: &'f TransactionFilter) -> Stats<'f> {
        let batches = Batches { entries: histogram(), bytes: histogram(), sum: Sum::default(), padding: 0 };
        Stats {
            out,
            filter,
            files: 0,
            transactions: 0,
            bytes: 0,
            operations: BTreeMap::new(),
            inner: BTreeMap::new(),
            sizes: histogram(),
            data: histogram(),
            batches,
            sessions: HashSet::new(),
            zxids: None,
            clock: Clock::default(),
        }
    }

    fn entry(&mut self, entry: &Entry<'_>) {
        let Entry { bytes, suspect, transaction, .. } = entry;
        if suspect.is_some() || !self.filter.takes(transaction) {
            return;
        }
        self.transactions += 1;
        self.bytes += bytes;
        record(&mut self.sizes, *bytes);
        self.sessions.insert(transaction.session.0);
        self.clock.add(transaction.time_ms);
        let zxid = transaction.zxid.0;
        let (first, last) = self.zxids.unwrap_or((zxid, zxid));
        self.zxids = Some((first.min(zxid), last.max(zxid)));
        let sum = self.operations.entry(transaction.action.kind).or_default();
        (sum.count, sum.bytes) = (sum.count + 1, sum.bytes + bytes);
        for action in transaction.action.all() {
            if let Some(Some(data)) = action.data {
                record(&mut self.data, data.len() as u64);
            }
        }
        for inner in &transaction.action.operations {
            let sum = self.inner.entry(inner.kind).or_default();
            sum.count += 1;
            sum.bytes += inner.data.flatten().map_or(0, |data| data.len() as u64);
        }
    }

    fn batch(&mut self, batch: &Batch) {
        let Batch { bytes, padding, entries, .. } = *batch;
        record(&mut self.batches.entries, entries.into());
        record(&mut self.batches.bytes, bytes);
        self.batches.padding += padding;
        let sum = &mut self.batches.sum;
        (sum.count, sum.bytes) = (sum.count + 1, sum.bytes + bytes + padding);
    }

    fn report(&self, findings: Findings) -> Report {
        let span = self.clock.span_ms;
        let span_ms = span.map_or(0, |(first, last)| last.saturating_sub(first));
        Report {
            r#type: "stats",
            files: self.files,
            transactions: self.transactions,
            bytes: self.bytes,
            first_zxid: self.zxids.map(|(first, _)| Hex(first)),
            last_zxid: self.zxids.map(|(_, last)| Hex(last)),
            first_time: span.map(|(first, _)| show::time(first)),
            last_time: span.map(|(_, last)| show::time(last)),
            span_ms,
            per_second: (span_ms > 0).then(|| self.transactions as f64 * 1000.0 / span_ms as f64),
            busiest_second: self.clock.busiest,
            sessions: self.sessions.len() as u64,
            operations: operations(&self.operations),
            in_multis: operations(&self.inner),
            transaction_bytes: Spread::of(&self.sizes),
            data_bytes: Spread::of(&self.data),
            batches: (self.batches.sum.count > 0).then(|| BatchReport {
                count: self.batches.sum.count,
                bytes: self.batches.sum.bytes,
                padding: self.batches.padding,
                transactions_per_batch: Spread::of(&self.batches.entries),
                bytes_per_batch: Spread::of(&self.batches.bytes),
            }),
            damaged: findings.faults,
        }
    }
}

impl Visitor for Stats<'_> {
    fn visit(&mut self, file: &Path, item: Item<'_>) -> io::Result<()> {
        match item {
            Item::Record(record) => self.out.either(&record)?,
            Item::Head(_) => self.files += 1,
            Item::Batch(batch) => self.batch(&batch),
            Item::Entry(entry) => self.entry(&entry),
            Item::Damage(damage) => eprintln!("error: {}: {damage}", show::name(file)),
            Item::End(..) => {}
        }
        Ok(())
    }

    fn finish(&mut self, findings: Findings) -> io::Result<()> {
        let report = self.report(findings);
        self.out.either(&report)?;
        self.out.flush()
    }
}

fn operations(sums: &BTreeMap<Kind, Sum>) -> Vec<Operation> {
    let mut all: Vec<Operation> = sums
        .iter()
        .map(|(kind, sum)| Operation { op: kind.name(), count: sum.count, bytes: sum.bytes })
        .collect();
    all.sort_by_key(|operation| std::cmp::Reverse(operation.count));
    all
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    r#type: &'static str,
    files: u64,
    transactions: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_zxid: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_zxid: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_time: Option<String>,
    span_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_second: Option<f64>,
    busiest_second: u64,
    sessions: u64,
    operations: Vec<Operation>,
    in_multis: Vec<Operation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction_bytes: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_bytes: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batches: Option<BatchReport>,
    damaged: u64,
}

#[derive(Serialize)]
struct Operation {
    op: &'static str,
    count: u64,
    bytes: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchReport {
    count: u64,
    /// Padding included.
    bytes: u64,
    padding: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    transactions_per_batch: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_batch: Option<Spread>,
}

/// How numbers are distributed.
#[derive(Serialize)]
struct Spread {
    min: u64,
    mean: f64,
    p50: u64,
    p90: u64,
    p99: u64,
    max: u64,
}

impl Spread {
    fn of(histogram: &Histogram<u64>) -> Option<Spread> {
        (!histogram.is_empty()).then(|| Spread {
            min: histogram.min(),
            mean: (histogram.mean() * 10.0).round() / 10.0,
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            max: histogram.max(),
        })
    }
}

impl Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spread { min, mean, p50, p90, p99, max } = self;
        write!(f, "min {min}, p50 {p50}, p90 {p90}, p99 {p99}, max {max}, mean {mean:.1}")
    }
}

fn share(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 * 100.0 / of as f64 }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "files              {}", self.files)?;
        writeln!(f, "transactions       {}, {} bytes", self.transactions, self.bytes)?;
        if let (Some(first), Some(last)) = (self.first_zxid, self.last_zxid) {
            writeln!(f, "zxid               {first} to {last}")?;
        }
        if let (Some(first), Some(last)) = (&self.first_time, &self.last_time) {
            writeln!(f, "time               {first} to {last}, {:.3} s", self.span_ms as f64 / 1000.0)?;
        }
        if let Some(per_second) = self.per_second {
            writeln!(f, "a second           {per_second:.1}, {} in the busiest", self.busiest_second)?;
        }
        writeln!(f, "sessions           {}", self.sessions)?;
        for Operation { op, count, bytes } in &self.operations {
            let share = share(*count, self.transactions);
            writeln!(f, "  {op:<16} {count} ({share:.1} %), {bytes} bytes")?;
        }
        if !self.in_multis.is_empty() {
            writeln!(f, "in multis")?;
        }
        for Operation { op, count, bytes } in &self.in_multis {
            writeln!(f, "  {op:<16} {count}, {bytes} bytes of data")?;
        }
        let mut spread = |name: &str, spread: &Option<Spread>| match spread {
            Some(spread) => writeln!(f, "{name:<18} {spread}"),
            None => Ok(()),
        };
        spread("transaction bytes", &self.transaction_bytes)?;
        spread("data bytes", &self.data_bytes)?;
        if let Some(batches) = &self.batches {
            spread("batch transactions", &batches.transactions_per_batch)?;
            spread("batch bytes", &batches.bytes_per_batch)?;
            let BatchReport { count, bytes, padding, .. } = batches;
            writeln!(
                f,
                "batches            {count}, {bytes} bytes, {padding} of them padding ({:.1} %)",
                share(*padding, *bytes)
            )?;
        }
        write!(f, "damaged places     {}", self.damaged)
    }
}
