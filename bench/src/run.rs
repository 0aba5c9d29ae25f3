//! `run`: prepares the nodes, measures, removes the nodes, closes the sessions.

use crate::failure::Failure;
use crate::generator::Generator;
use crate::load::{Batch, Measured, Sweep};
use crate::measure::Recorder;
use crate::wire::{DIRECTORY_NODES, Path, Template};
use crate::workload::{self, Settings, Workload};

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
pub fn run(settings: &Settings) -> Result<Recorder, Failure> {
    settings.check()?;
    let mut generator = Generator::open(settings.server, settings.clients, settings.depth)?;
    let sessions: Vec<i64> = generator.sessions().collect();
    let made = prepare(&mut generator, settings, &sessions)?;

    let mut load = Measured::new(settings, &sessions, generator.now_ns());
    generator.drive(&mut load)?;
    let (recorder, created) = load.finish();

    if !settings.keep {
        remove(&mut generator, settings, &sessions, &created, made)?;
    }
    generator.close()?;
    Ok(recorder)
}

/// What a run found missing and made, so that it removes no other's nodes.
struct Made {
    /// How many of the root's prefixes, counted from the longest.
    prefixes: usize,
    /// Whether all directories and nodes are its own.
    nodes: bool,
}

fn one(template: Template) -> Batch {
    Batch { template, count: 1, step: 0 }
}

fn directories(settings: &Settings) -> (Path, u64) {
    (settings.below_root("").directory(), settings.keys.div_ceil(DIRECTORY_NODES))
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
        let batch = one(workload::create(&Path::new(prefix), b""));
        prefixes = match sweep("creating the root", vec![batch], &[NODE_EXISTS])? {
            0 => prefixes + 1,
            _ => 0,
        };
    }
    if settings.workload == Workload::Create {
        let own = sessions.iter().map(|&s| one(workload::create(&settings.session_directory(s), b"")));
        sweep("creating the sessions' directories", own.collect(), &[])?;
        return Ok(Made { prefixes, nodes: false });
    }
    let value = workload::value(settings.value_bytes, settings.seed);
    let (directory, count) = directories(settings);
    let template = workload::create(&directory, b"");
    let batch = Batch { template, count, step: DIRECTORY_NODES };
    let directories_found = sweep("creating the directories", vec![batch], &[NODE_EXISTS])?;
    let node = directory.name();
    let batch = Batch { template: workload::create(&node, &value), count: settings.keys, step: 1 };
    let nodes_found = sweep("creating the nodes", vec![batch], &[NODE_EXISTS])?;
    if nodes_found > 0 {
        let batch = Batch { template: workload::set(&node, &value), count: settings.keys, step: 1 };
        sweep("setting the nodes", vec![batch], &[])?;
    }
    Ok(Made { prefixes, nodes: directories_found + nodes_found == 0 })
}

/// Removes what the run made, leaves first.
fn remove(
    generator: &mut Generator,
    settings: &Settings,
    sessions: &[i64],
    created: &[u64],
    made: Made,
) -> Result<(), Failure> {
    let mut sweep = |batches: Vec<Batch>, accepted: &'static [i32]| -> Result<(), Failure> {
        let mut sweep = Sweep::new("removing the run's nodes", batches, accepted);
        generator.drive(&mut sweep)?;
        sweep.refused().map(|_| ())
    };
    if settings.workload == Workload::Create {
        let names = sessions.iter().zip(created).map(|(&session, &count)| {
            let template = workload::delete(&settings.session_directory(session).name());
            Batch { template, count, step: 1 }
        });
        // A create that failed left nothing.
        sweep(names.collect(), &[NO_NODE])?;
        let own = sessions.iter().map(|&s| one(workload::delete(&settings.session_directory(s))));
        sweep(own.collect(), &[])?;
    }
    if made.nodes {
        let (directory, count) = directories(settings);
        let template = workload::delete(&directory.clone().name());
        sweep(vec![Batch { template, count: settings.keys, step: 1 }], &[])?;
        let template = workload::delete(&directory);
        sweep(vec![Batch { template, count, step: DIRECTORY_NODES }], &[NOT_EMPTY])?;
    }
    let prefixes: Vec<&str> = settings.root_prefixes().collect();
    for prefix in prefixes.into_iter().rev().take(made.prefixes) {
        // Another run may have put its nodes there meanwhile.
        sweep(vec![one(workload::delete(&Path::new(prefix)))], &[NOT_EMPTY, NO_NODE])?;
    }
    Ok(())
}
