//! `run`: prepares the nodes, measures, removes the nodes, closes the sessions.

use crate::failure::Failure;
use crate::generator::Generator;
use crate::load::{Batch, Measured, Sweep};
use crate::local;
use crate::measure::Recorder;
use crate::report::Report;
use crate::stages::{Counted, ServerStages};
use crate::wire::{DIRECTORY_NODES, Path, Template};
use crate::workload::{self, Operation, Own, OwnTemplates, PERSISTENT, Settings};

/// `KeeperException.Code`: the node exists.
const NODE_EXISTS: i32 = -110;
/// `KeeperException.Code`: the node has children.
const NOT_EMPTY: i32 = -111;
/// `KeeperException.Code`: no such node.
const NO_NODE: i32 = -101;

/// Runs a load.
///
/// # Errors
/// Any of [`Failure`]; nothing is measured then, and nodes may be left on the server.
pub fn run(settings: &Settings) -> Result<Report, Failure> {
    settings.check()?;
    let mut settings = settings.clone();
    if settings.pids.is_empty() {
        settings.pids = local::processes(&settings.servers);
    }
    let (recorder, stages_by_server) = measure(&settings)?;
    Ok(Report { stages_by_server, ..Report::new(&settings, recorder)? })
}

fn measure(settings: &Settings) -> Result<(Recorder, Vec<ServerStages>), Failure> {
    let mut generator = Generator::open(&settings.servers, settings.clients, settings.depth)?;
    let sessions: Vec<i64> = generator.sessions().collect();
    let made = prepare(&mut generator, settings, &sessions)?;

    let before = Counted::ask(&settings.servers);
    let mut load = Measured::new(settings, &sessions, generator.now_ns());
    generator.drive(&mut load)?;
    let (recorder, created) = load.finish();
    let stages = Counted::ask(&settings.servers).since(&before);

    if !settings.keep {
        remove(&mut generator, settings, &sessions, &created, made)?;
    }
    generator.close()?;
    Ok((recorder, stages))
}

/// What a run found missing and made, so that it removes no other's nodes.
struct Made {
    /// How many of the root's prefixes, counted from the longest.
    prefixes: usize,
    /// Whether all directories and nodes are its own.
    nodes: bool,
}

fn one(template: Template) -> Batch {
    Batch { template, first: 0, count: 1, step: 0 }
}

fn directories(settings: &Settings) -> (Path, u64) {
    (settings.below_root("").directory(), settings.keys.div_ceil(DIRECTORY_NODES))
}

/// Where each session's nodes lie, parents first; none if the run creates nothing.
fn own_directories(settings: &Settings, sessions: &[i64]) -> Vec<Vec<Path>> {
    let mut levels = Vec::new();
    if settings.mix.any(|operation| !operation.needs_nodes()) {
        levels.push(sessions.iter().map(|&session| settings.session_directory(session)).collect());
    }
    if settings.mix.any(|operation| operation == Operation::Sequential) {
        levels.push(sessions.iter().map(|&session| settings.sequence_directory(session)).collect());
    }
    levels
}

/// Makes every node that is missing. Returns what it made.
fn prepare(generator: &mut Generator, settings: &Settings, sessions: &[i64]) -> Result<Made, Failure> {
    let mut sweep = |what, batches: Vec<Batch>, accepted: &'static [i32]| -> Result<u64, Failure> {
        let mut sweep = Sweep::new(what, batches, accepted);
        generator.drive(&mut sweep)?;
        sweep.refused()
    };
    let mut prefixes = 0;
    for prefix in settings.root_prefixes() {
        let batch = one(workload::create(&Path::new(prefix), b"", PERSISTENT));
        prefixes = match sweep("creating the root", vec![batch], &[NODE_EXISTS])? {
            0 => prefixes + 1,
            _ => 0,
        };
    }
    for level in own_directories(settings, sessions) {
        let batches = level.iter().map(|path| one(workload::create(path, b"", PERSISTENT)));
        sweep("creating the sessions' directories", batches.collect(), &[])?;
    }
    if !settings.mix.any(Operation::needs_nodes) {
        return Ok(Made { prefixes, nodes: false });
    }
    let value = workload::value(settings.value_bytes, settings.seed);
    let (directory, count) = directories(settings);
    let template = workload::create(&directory, b"", PERSISTENT);
    let batch = Batch { template, first: 0, count, step: DIRECTORY_NODES };
    let directories_found = sweep("creating the directories", vec![batch], &[NODE_EXISTS])?;
    let node = directory.name("");
    let all = |template| vec![Batch { template, first: 0, count: settings.keys, step: 1 }];
    let template = workload::create(&node, &value, PERSISTENT);
    let nodes_found = sweep("creating the nodes", all(template), &[NODE_EXISTS])?;
    if nodes_found > 0 {
        sweep("setting the nodes", all(workload::set(&node, &value)), &[])?;
    }
    Ok(Made { prefixes, nodes: directories_found + nodes_found == 0 })
}

/// Removes what the run made, leaves first.
fn remove(
    generator: &mut Generator,
    settings: &Settings,
    sessions: &[i64],
    own: &[Own],
    made: Made,
) -> Result<(), Failure> {
    let mut sweep = |batches: Vec<Batch>, accepted: &'static [i32]| -> Result<(), Failure> {
        let mut sweep = Sweep::new("removing the run's nodes", batches, accepted);
        generator.drive(&mut sweep)?;
        sweep.refused().map(|_| ())
    };
    let leaves = sessions.iter().zip(own).flat_map(|(&session, own)| {
        let templates = OwnTemplates::new(settings, session, b"");
        let batch = |template, first, end: u64| Batch { template, first, count: end - first, step: 1 };
        [
            batch(templates.delete, own.deleted, own.created),
            batch(templates.delete_sequential, 0, own.sequential),
            batch(templates.delete_ephemeral, 0, own.ephemeral),
        ]
    });
    // A create that failed left nothing.
    sweep(leaves.collect(), &[NO_NODE])?;
    for level in own_directories(settings, sessions).iter().rev() {
        sweep(level.iter().map(|path| one(workload::delete(path))).collect(), &[])?;
    }
    if made.nodes {
        let (directory, count) = directories(settings);
        let template = workload::delete(&directory.clone().name(""));
        sweep(vec![Batch { template, first: 0, count: settings.keys, step: 1 }], &[])?;
        let template = workload::delete(&directory);
        sweep(vec![Batch { template, first: 0, count, step: DIRECTORY_NODES }], &[NOT_EMPTY])?;
    }
    let prefixes: Vec<&str> = settings.root_prefixes().collect();
    for prefix in prefixes.into_iter().rev().take(made.prefixes) {
        // Another run may have put its nodes there meanwhile.
        sweep(vec![one(workload::delete(&Path::new(prefix)))], &[NOT_EMPTY, NO_NODE])?;
    }
    Ok(())
}
