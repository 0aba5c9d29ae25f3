//! `ringkeeper import`: a data directory of ours from a ZooKeeper's.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::rc::Rc;

use ringkeeper_net::disk::DiskError;
use ringkeeper_net::disk::zookeeper::{Imported, Place, bytes, import};
use serde::Serialize;

use crate::cli::ImportArgs;
use crate::tools::out::Progress;
use crate::tools::show::{self, Hex};

/// Imports as the command line asks. What was imported goes to standard output, notices, errors and, on a
/// terminal, how far it has come to standard error.
pub fn main(args: &ImportArgs) -> ExitCode {
    let from = Place { data: &args.from, log: args.log_dir.as_ref().unwrap_or(&args.from) };
    let to = Place { data: &args.to, log: args.to_log_dir.as_ref().unwrap_or(&args.to) };
    match with_progress(from, to) {
        Ok(imported) if args.json => {
            let value = serde_json::to_string(&Json::new(&imported)).expect("text and numbers");
            println!("{value}");
            ExitCode::SUCCESS
        }
        Ok(imported) => {
            imported.notices.iter().for_each(|notice| eprintln!("warning: {notice}"));
            println!("imported {} into {}: {}", from.data.display(), to.data.display(), summary(&imported));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn with_progress(from: Place<'_>, to: Place<'_>) -> Result<Imported, DiskError> {
    let bar = RefCell::new(Progress::new(bytes(from)?, false));
    let read = Cell::new(0);
    let progress = move |more: u64| {
        read.set(read.get() + more);
        bar.borrow_mut().at(read.get());
    };
    import(from, to, RandomState::new().hash_one("import"), &(Rc::new(progress) as _))
}

/// What `--json` prints.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'i> {
    r#type: &'static str,
    last_zxid: Hex,
    nodes: usize,
    sessions: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<String>,
    logs: usize,
    transactions: u64,
    digests_compared: u64,
    digests_different: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_epoch: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted_epoch: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    myid: Option<&'i str>,
    notices: &'i [String],
}

impl Json<'_> {
    fn new(imported: &Imported) -> Json<'_> {
        Json {
            r#type: "import",
            last_zxid: Hex(imported.last.0),
            nodes: imported.nodes,
            sessions: imported.sessions,
            snapshot: imported.snapshot.as_deref().map(show::name),
            logs: imported.logs,
            transactions: imported.transactions,
            digests_compared: imported.digests.compared,
            digests_different: imported.digests.different,
            current_epoch: imported.epochs[0],
            accepted_epoch: imported.epochs[1],
            myid: imported.myid.as_deref(),
            notices: &imported.notices,
        }
    }
}

fn summary(imported: &Imported) -> String {
    let Imported { last, nodes, sessions, logs, transactions, .. } = imported;
    let mut text = format!("zxid {last}, {nodes} nodes, {sessions} sessions; read from ");
    if let Some(snapshot) = &imported.snapshot {
        text.push_str(&format!("{} and ", snapshot.display()));
    }
    text.push_str(&format!("{transactions} transactions in {logs} logs"));
    let said = [
        ("digests agree", imported.digests.compared - imported.digests.different),
        ("current epoch", imported.epochs[0].unwrap_or_default().into()),
        ("accepted epoch", imported.epochs[1].unwrap_or_default().into()),
    ];
    for (name, number) in said.iter().filter(|(_, number)| *number > 0) {
        text.push_str(&format!("; {name}: {number}"));
    }
    if let Some(myid) = &imported.myid {
        text.push_str(&format!("; myid {myid}"));
    }
    text
}
