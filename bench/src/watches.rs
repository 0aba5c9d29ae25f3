//! `watches`: many watches, all fired. Every client watches every node; then one more client sets all nodes
//! in one go, and the time is taken until the last event has come.

use crate::client::{Client, Pending};
use crate::failure::Failure;
use crate::generator::{Generator, Load};
use crate::load::{Batch, Sweep};
use crate::measure::{Effort, explain_limit, histogram, percent_of_generator};
use crate::plot::{Axis, Curve};
use crate::raw::median;
use crate::report;
use crate::subjects::{Options as Common, Subject};
use crate::sweep::draw;
use crate::wire::{Path, Template};
use crate::workload::{self, Operation, PERSISTENT};
use clap::Args;
use hdrhistogram::Histogram;
use ringkeeper_engine::jute::records::ReplyHeader;
use ringkeeper_engine::op::OpCode;
use serde::Serialize;
use std::path::PathBuf;

const ROOT: &str = "/ringkeeper-bench-watches";
/// Requests in flight per client while watches are set.
const DEPTH: usize = 256;
/// How long all events may take.
const PATIENCE_NS: u64 = 120_000_000_000;
const NODES_MAX: u64 = 1_000_000;
const CLIENTS_MAX: usize = 10_000;

/// The command line of `watches`.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Clients that watch.
    #[arg(long, value_name = "N", default_value_t = 100)]
    clients: usize,
    /// Nodes, each watched by all of them.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    nodes: u64,
    /// Share of events that have come against time, as SVG.
    #[arg(long, value_name = "FILE", default_value = "watches.svg")]
    svg: PathBuf,
}

/// One turn of one server.
#[derive(Clone, Debug, Serialize)]
struct Turn {
    subject: String,
    watches: u64,
    /// Watches set a second.
    set_per_s: f64,
    /// Resident bytes that each took.
    bytes_each: Option<f64>,
    /// From the first write's start until all writes were answered.
    written_ms: f64,
    /// Until half of the events had come.
    half_ms: f64,
    /// Until the last event had come.
    last_ms: f64,
    /// Share of the time that the generator worked or waited for a core, while watches were set.
    setting_generator_share: f64,
    /// The same until the last event had come.
    events_generator_share: f64,
    #[serde(skip)]
    arrivals: Histogram<u64>,
}

/// Runs it.
///
/// # Errors
/// An option that makes no sense, a server that does not start, or events that do not come.
pub fn run(options: &Options) -> Result<(), Failure> {
    if !(1..=CLIENTS_MAX).contains(&options.clients) {
        let wrong = format!("--clients {}: expected 1 to {CLIENTS_MAX}", options.clients);
        return Err(Failure::Option(wrong));
    }
    if !(1..=NODES_MAX).contains(&options.nodes) {
        return Err(Failure::Option(format!("--nodes {}: expected 1 to {NODES_MAX}", options.nodes)));
    }
    let subjects = options.common.subjects(false)?;
    let mut turns = Vec::new();
    println!(
        "{:<12}{:>9}{:>13}{:>13}{:>15}{:>12}{:>12}{:>31}",
        "server",
        "watches",
        "set a second",
        "bytes each",
        "all written ms",
        "half ms",
        "last ms",
        "generator %: setting, events"
    );
    for _ in 0..options.common.rounds(1) {
        for subject in &subjects {
            let turn = turn(options, subject)?;
            println!(
                "{:<12}{:>9}{:>13.0}{:>13}{:>15.1}{:>12.1}{:>12.1}{:>23}{:>8}",
                turn.subject,
                turn.watches,
                turn.set_per_s,
                turn.bytes_each.map_or("–".to_owned(), |bytes| format!("{bytes:.0}")),
                turn.written_ms,
                turn.half_ms,
                turn.last_ms,
                percent_of_generator(turn.setting_generator_share),
                percent_of_generator(turn.events_generator_share)
            );
            turns.push(turn);
        }
    }
    explain_limit(turns.iter().flat_map(|turn| [turn.setting_generator_share, turn.events_generator_share]));
    for subject in subjects.iter().skip(1) {
        let last = |name: &str| {
            let of = turns.iter().filter(|turn| turn.subject == name).map(|turn| turn.last_ms);
            median(&mut of.collect::<Vec<_>>())
        };
        let ratio = last(&subject.name()) / last(&subjects[0].name());
        println!("last event, {} over {}: {ratio:.2}", subject.name(), subjects[0].name());
    }
    if let Some(path) = &options.common.json {
        report::write_json(&turns, path)?;
    }
    let curves = subjects.iter().enumerate().filter_map(|(group, subject)| {
        let turn = turns.iter().find(|turn| turn.subject == subject.name())?;
        let share = |share: f64| (turn.arrivals.value_at_quantile(share) as f64 / 1e6, share * 100.0);
        let points = (0..=50).map(|step| share(f64::from(step) / 50.0)).collect();
        Some(Curve { name: turn.subject.clone(), group, points })
    });
    let title =
        format!("{} watches fired by {} writes", options.clients as u64 * options.nodes, options.nodes);
    let (x, y) = (Axis::linear("ms since the first write"), Axis::linear("events that have come, %"));
    draw(&title, x, y, curves.collect(), &options.svg)
}

fn turn(options: &Options, subject: &Subject) -> Result<Turn, Failure> {
    let cluster = subject.start(1, &options.common)?;
    let mut generator = Generator::open(&cluster.addresses(), options.clients + 1, DEPTH)?;
    let sweep = |generator: &mut Generator, what, batch: Batch, accepted| -> Result<(), Failure> {
        let mut sweep = Sweep::new(what, [batch], accepted);
        generator.drive(&mut sweep)?;
        sweep.refused().map(drop)
    };
    const NODE_EXISTS: &[i32] = &[-110];
    let (root, node) = (Path::new(ROOT), Path::new(ROOT).name("n-"));
    let one = |template| Batch { template, first: 0, count: 1, step: 0 };
    let all = |template| Batch { template, first: 0, count: options.nodes, step: 1 };
    sweep(&mut generator, "creating the root", one(workload::create(&root, b"", PERSISTENT)), NODE_EXISTS)?;
    sweep(&mut generator, "creating the nodes", all(workload::create(&node, b"", PERSISTENT)), NODE_EXISTS)?;

    let before = cluster.resident().ok();
    let (effort, begin_ns) = (Effort::begin()?, generator.now_ns());
    generator.drive(&mut Watch {
        template: workload::read(OpCode::GetData, &node, true),
        nodes: options.nodes,
        asked: vec![0; options.clients],
    })?;
    let watches = options.clients as u64 * options.nodes;
    let set_per_s = watches as f64 * 1e9 / (generator.now_ns() - begin_ns) as f64;
    let setting_generator_share = effort.share()?;
    let after = cluster.resident().ok();

    let mut fire = Fire {
        template: workload::set(&node, b""),
        writer: options.clients,
        nodes: options.nodes,
        asked: 0,
        begin_ns: generator.now_ns(),
        written_ns: 0,
        arrivals: histogram(),
        expected: watches,
    };
    let effort = Effort::begin()?;
    generator.drive(&mut fire)?;
    let events_generator_share = effort.share()?;
    sweep(&mut generator, "removing the nodes", all(workload::delete(&node)), &[])?;
    sweep(&mut generator, "removing the root", one(workload::delete(&root)), &[])?;
    generator.close()?;
    Ok(Turn {
        subject: subject.name(),
        watches,
        set_per_s,
        bytes_each: before.zip(after).map(|(before, after)| (after as f64 - before as f64) / watches as f64),
        written_ms: (fire.written_ns - fire.begin_ns) as f64 / 1e6,
        half_ms: fire.arrivals.value_at_quantile(0.5) as f64 / 1e6,
        last_ms: fire.arrivals.max() as f64 / 1e6,
        setting_generator_share,
        events_generator_share,
        arrivals: fire.arrivals,
    })
}

/// Every client but the last reads every node with a watch.
struct Watch {
    template: Template,
    nodes: u64,
    asked: Vec<u64>,
}

impl Load for Watch {
    fn tick(&mut self, _now_ns: u64, _due: &mut Vec<usize>) -> Result<Option<u64>, Failure> {
        Ok(None)
    }

    fn request(&mut self, client: usize, now_ns: u64, to: &mut Client) -> bool {
        let Some(asked) = self.asked.get_mut(client).filter(|asked| **asked < self.nodes) else {
            return false;
        };
        let pending = Pending { operation: Operation::Get, intended_ns: now_ns };
        to.push(pending, |xid, out| self.template.encode(xid, *asked, out));
        *asked += 1;
        true
    }

    fn reply(&mut self, _pending: Pending, _reply: ReplyHeader, _now_ns: u64) {}

    fn is_over(&self) -> bool {
        self.asked.iter().all(|&asked| asked == self.nodes)
    }
}

/// The last client sets every node; all others count events.
struct Fire {
    template: Template,
    writer: usize,
    nodes: u64,
    asked: u64,
    begin_ns: u64,
    written_ns: u64,
    /// When each event came, since the beginning.
    arrivals: Histogram<u64>,
    expected: u64,
}

impl Load for Fire {
    fn tick(&mut self, now_ns: u64, _due: &mut Vec<usize>) -> Result<Option<u64>, Failure> {
        let end_ns = self.begin_ns + PATIENCE_NS;
        if now_ns >= end_ns {
            let why = format!("{} of {} came", self.arrivals.len(), self.expected);
            return Err(Failure::system("waiting for the events of all watches", why));
        }
        Ok(Some(end_ns))
    }

    fn request(&mut self, client: usize, now_ns: u64, to: &mut Client) -> bool {
        if client != self.writer || self.asked == self.nodes {
            return false;
        }
        let pending = Pending { operation: Operation::Set, intended_ns: now_ns };
        to.push(pending, |xid, out| self.template.encode(xid, self.asked, out));
        self.asked += 1;
        true
    }

    fn reply(&mut self, _pending: Pending, _reply: ReplyHeader, now_ns: u64) {
        self.written_ns = now_ns;
    }

    fn event(&mut self, _client: usize, now_ns: u64) {
        self.arrivals.saturating_record((now_ns - self.begin_ns).max(1));
    }

    fn is_over(&self) -> bool {
        self.asked == self.nodes && self.arrivals.len() >= self.expected
    }
}
