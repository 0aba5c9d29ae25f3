//! `ringkeeper export`: a ZooKeeper's data directory from one of ours.

use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;

use ringkeeper_engine::limits::JUTE_MAX_BUFFER;
use ringkeeper_engine::zookeeper::export::DigestFields;
use ringkeeper_engine::zookeeper::stream::Compression;
use ringkeeper_net::disk::zookeeper::{Exported, Place, export};
use serde::Serialize;

use crate::cli::{ExportArgs, Packing};
use crate::tools::out::Progress;
use crate::tools::show::{self, Hex};

/// What a ZooKeeper reads without being told otherwise: its jute.maxbuffer and as much again.
const READABLE_BYTES: usize = 2 * JUTE_MAX_BUFFER;

/// Exports as the command line asks. What was written goes to standard output, notices, errors and, on a
/// terminal, how far it has come to standard error.
pub fn main(args: &ExportArgs) -> ExitCode {
    let from = Place { data: &args.from, log: args.log_dir.as_ref().unwrap_or(&args.from) };
    let to = Place { data: &args.to, log: args.to_log_dir.as_ref().unwrap_or(&args.to) };
    let compression = match args.compression {
        Packing::None => Compression::None,
        Packing::Gzip => Compression::Gzip,
        Packing::Snappy => Compression::Snappy,
    };
    let digests = if args.no_digest { DigestFields::LeftOut } else { DigestFields::Written };
    let bar = RefCell::new(Progress::of_nodes());
    let progress = |done: u64, all: u64| bar.borrow_mut().at_of(done, all);
    let exported = export(from, to, compression, digests, RandomState::new().hash_one("export"), &progress);
    drop(bar);
    match exported {
        Ok(exported) if args.json => {
            let value = serde_json::to_string(&Json::new(&exported)).expect("text and numbers");
            println!("{value}");
            ExitCode::SUCCESS
        }
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

/// What `--json` prints.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    r#type: &'static str,
    last_zxid: Hex,
    nodes: u64,
    sessions: usize,
    snapshot: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    transactions: u64,
    notices: Vec<String>,
}

impl Json {
    fn new(exported: &Exported) -> Json {
        Json {
            r#type: "export",
            last_zxid: Hex(exported.last.0),
            nodes: exported.written.nodes,
            sessions: exported.sessions,
            snapshot: show::name(&exported.snapshot),
            log: exported.log.as_deref().map(show::name),
            transactions: exported.transactions,
            notices: notices(exported),
        }
    }
}

/// What was passed over, and what ZooKeeper has to be told before it starts on the files.
fn notices(exported: &Exported) -> Vec<String> {
    let mut notices = exported.notices.clone();
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
