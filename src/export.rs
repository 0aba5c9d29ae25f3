//! `ringkeeper export`: a ZooKeeper's data directory from one of ours.

use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;

use ringkeeper_engine::limits::JUTE_MAX_BUFFER;
use ringkeeper_engine::zookeeper::stream::Compression;
use ringkeeper_net::disk::zookeeper::{Exported, Place, export};

use crate::cli::{ExportArgs, Packing};

/// What a ZooKeeper reads without being told otherwise: its jute.maxbuffer and as much again.
const READABLE_BYTES: usize = 2 * JUTE_MAX_BUFFER;

/// Exports as the command line asks. What was written goes to standard output, notices and errors to
/// standard error.
pub fn main(args: &ExportArgs) -> ExitCode {
    let from = Place { data: &args.from, log: args.log_dir.as_ref().unwrap_or(&args.from) };
    let to = Place { data: &args.to, log: args.to_log_dir.as_ref().unwrap_or(&args.to) };
    let compression = match args.compression {
        Packing::None => Compression::None,
        Packing::Gzip => Compression::Gzip,
        Packing::Snappy => Compression::Snappy,
    };
    match export(from, to, compression, RandomState::new().hash_one("export")) {
        Ok(exported) => {
            notices(&exported).iter().for_each(|notice| eprintln!("warning: {notice}"));
            println!("exported {}: {}", from.data.display(), summary(&exported));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What ZooKeeper has to be told before it starts on the files.
fn notices(exported: &Exported) -> Vec<String> {
    let mut notices = Vec::new();
    if exported.written.ttl_nodes > 0 {
        notices.push(format!(
            "{} nodes have a time to live: without zookeeper.extendedTypesEnabled=true ZooKeeper removes them",
            exported.written.ttl_nodes
        ));
    }
    if exported.written.longest_bytes > READABLE_BYTES {
        let longest = exported.written.longest_bytes;
        notices
            .push(format!("a node has {longest} bytes: ZooKeeper needs a larger jute.maxbuffer to read it"));
    }
    notices
}

fn summary(exported: &Exported) -> String {
    let Exported { snapshot, last, sessions, written, .. } = exported;
    let nodes = written.nodes;
    let mut text = format!("{} with zxid {last}, {nodes} nodes, {sessions} sessions", snapshot.display());
    if let Some(log) = &exported.log {
        text.push_str(&format!("; {} with {} transactions", log.display(), exported.transactions));
    }
    text
}
