//! `tree`: what a large tree costs. Each server in turn, on an empty directory of its own, is filled by
//! multis; its memory is read; it is stopped and started again, and the time to its first answered read
//! taken. Both run in one experiment, round after round, so that the machine's mood meets both.

use crate::failure::Failure;
use crate::fill::{Fill, Shape, Step};
use crate::generator::Generator;
use crate::measure::{Effort, explain_limit, percent_of_generator};
use crate::report;
use crate::servers::{self, Kind, Resident, Server};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// After a change of the tree, before its memory is read: allocators give pages back with some delay.
const SETTLE: Duration = Duration::from_secs(3);

/// A million bytes.
const MB: f64 = 1e6;

/// What is measured.
struct Experiment {
    /// The servers, in the order in which they take turns; the first is compared with the others.
    pub kinds: Vec<Kind>,
    /// The tree.
    pub shape: Shape,
    /// Turns of each.
    pub rounds: usize,
    /// Sessions.
    pub clients: usize,
    /// Multis in flight per session.
    pub depth: usize,
    /// Where and how they are started.
    pub servers: servers::Options,
    /// Whether the nodes are deleted at the end, and the memory read once more.
    pub delete: bool,
}

/// The command line of `tree`.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    servers: servers::Options,
    /// Nodes with a value.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    nodes: u64,
    /// Bytes of each value.
    #[arg(long, value_name = "B", default_value_t = 100)]
    value_bytes: usize,
    /// Operations to a multi.
    #[arg(long, value_name = "N", default_value_t = 500)]
    multi: u64,
    /// Turns of each server.
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// Sessions.
    #[arg(long, value_name = "N", default_value_t = 4)]
    clients: usize,
    /// Multis in flight per session.
    #[arg(long, value_name = "D", default_value_t = 4)]
    depth: usize,
    /// Delete the nodes at the end, and read the memory once more.
    #[arg(long)]
    delete: bool,
    /// Write all turns as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs the experiment and prints what was found.
///
/// # Errors
/// An option that makes no sense, a server that does not start, or refuses something.
pub fn run(options: Options) -> Result<(), Failure> {
    if options.nodes == 0 || options.multi == 0 || options.rounds == 0 || options.clients == 0 {
        return Err(Failure::Option("--nodes, --multi, --rounds and --clients: expected 1 or more".into()));
    }
    let shape = Shape { nodes: options.nodes, value_bytes: options.value_bytes, multi: options.multi };
    let experiment = Experiment {
        kinds: options.servers.kinds(),
        servers: options.servers,
        shape,
        rounds: options.rounds,
        clients: options.clients,
        depth: options.depth,
        delete: options.delete,
    };
    let turns = turns(&experiment)?;
    print(&experiment, &turns);
    match &options.json {
        Some(path) => report::write_turns(&turns, path),
        None => Ok(()),
    }
}

/// One turn of one server.
#[derive(Clone, Debug, Serialize)]
pub struct Turn {
    /// Which server.
    pub server: &'static str,
    /// Nodes created a second.
    pub filled_per_s: f64,
    /// Share of that time that the generator worked or waited for a core.
    pub generator_share: f64,
    /// Resident bytes of the empty server that it allocated.
    pub empty_bytes: u64,
    /// The same with the tree.
    pub full_bytes: u64,
    /// Resident bytes a node beyond path and value.
    pub bytes_beyond: f64,
    /// From the start of the process to its first answered read, in seconds.
    pub restart_s: f64,
    /// Resident bytes after the restart: allocated.
    pub restarted_bytes: u64,
    /// Resident bytes after the restart: of files.
    pub restarted_file_bytes: u64,
    /// Resident bytes after the nodes were deleted.
    pub deleted_bytes: Option<u64>,
}

/// Runs all turns, printing each as it is done.
fn turns(experiment: &Experiment) -> Result<Vec<Turn>, Failure> {
    let mut turns = Vec::new();
    for round in 0..experiment.rounds {
        for kind in &experiment.kinds {
            let turn = turn(experiment, kind)?;
            println!(
                "round {}: {:<11} {:>9.0} nodes/s (generator {} %), {:>7.1} bytes a node beyond path and value, \
                 restart {:.3} s",
                round + 1,
                turn.server,
                turn.filled_per_s,
                percent_of_generator(turn.generator_share),
                turn.bytes_beyond,
                turn.restart_s
            );
            turns.push(turn);
        }
    }
    explain_limit(turns.iter().map(|turn| turn.generator_share));
    Ok(turns)
}

fn turn(experiment: &Experiment, kind: &Kind) -> Result<Turn, Failure> {
    let servers = &experiment.servers;
    let mut server = Server::prepare(kind.clone(), &servers.dir, &servers.config_of(kind))?;
    server.start("/")?;
    sleep(SETTLE);
    let empty = server.resident()?;
    let mut generator = Generator::open(&[server.address()], experiment.clients, experiment.depth)?;
    generator.drive(&mut Fill::new(experiment.shape, Step::Directories))?;
    let (effort, begun) = (Effort::begin()?, Instant::now());
    generator.drive(&mut Fill::new(experiment.shape, Step::Nodes))?;
    let (filled_s, generator_share) = (begun.elapsed().as_secs_f64(), effort.share()?);
    generator.close()?;
    sleep(SETTLE);
    let full = server.resident()?;
    server.stop()?;
    let restart = server.start(&Shape::path(experiment.shape.nodes - 1))?;
    sleep(SETTLE);
    let restarted = server.resident()?;
    let deleted = if experiment.delete { Some(delete(experiment, &server)?) } else { None };
    server.stop()?;
    let nodes = experiment.shape.nodes as f64;
    let grown = full.anonymous.saturating_sub(empty.anonymous) as f64;
    Ok(Turn {
        server: kind.name(),
        filled_per_s: nodes / filled_s,
        generator_share,
        empty_bytes: empty.anonymous,
        full_bytes: full.anonymous,
        bytes_beyond: (grown - experiment.shape.payload_bytes() as f64) / nodes,
        restart_s: restart.as_secs_f64(),
        restarted_bytes: restarted.anonymous,
        restarted_file_bytes: restarted.of_files,
        deleted_bytes: deleted.map(|resident| resident.anonymous),
    })
}

fn delete(experiment: &Experiment, server: &Server) -> Result<Resident, Failure> {
    let mut generator = Generator::open(&[server.address()], experiment.clients, experiment.depth)?;
    generator.drive(&mut Fill::new(experiment.shape, Step::Delete))?;
    generator.close()?;
    sleep(SETTLE);
    server.resident()
}

/// The middle of some figures; of an even number, the mean of the middle two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

/// A figure of a turn.
type Figure = fn(&Turn) -> f64;

/// The medians, and how many times better the first server is.
fn print(experiment: &Experiment, turns: &[Turn]) {
    let of = |kind: &Kind, figure: Figure| {
        median(turns.iter().filter(|turn| turn.server == kind.name()).map(figure).collect())
    };
    let figures: [(&str, bool, Figure); 7] = [
        ("filled, nodes/s", true, |turn| turn.filled_per_s),
        ("bytes a node beyond path and value", false, |turn| turn.bytes_beyond),
        ("resident when full, MB", false, |turn| turn.full_bytes as f64 / MB),
        ("restart to the first read, s", false, |turn| turn.restart_s),
        ("resident after it, allocated, MB", false, |turn| turn.restarted_bytes as f64 / MB),
        ("resident after it, files, MB", false, |turn| turn.restarted_file_bytes as f64 / MB),
        ("resident once all is deleted, MB", false, |turn| {
            turn.deleted_bytes.map_or(f64::NAN, |bytes| bytes as f64 / MB)
        }),
    ];
    println!();
    for (name, more_is_better, figure) in figures {
        let values: Vec<f64> = experiment.kinds.iter().map(|kind| of(kind, figure)).collect();
        print!("{name:<36}");
        for (kind, value) in experiment.kinds.iter().zip(&values) {
            print!("  {} {value:.3}", kind.name());
        }
        if let [own, peer] = values[..] {
            print!("  ratio {:.2}", if more_is_better { own / peer } else { peer / own });
        }
        println!();
    }
}
