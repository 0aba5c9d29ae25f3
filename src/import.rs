//! `ringkeeper import`: a data directory of ours from a ZooKeeper's.

use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;

use ringkeeper_net::disk::zookeeper::{Imported, Place, import};

use crate::cli::ImportArgs;

/// Imports as the command line asks. What was imported goes to standard output, notices and errors to
/// standard error.
pub fn main(args: &ImportArgs) -> ExitCode {
    let from = Place { data: &args.from, log: args.log_dir.as_ref().unwrap_or(&args.from) };
    let to = Place { data: &args.to, log: args.to_log_dir.as_ref().unwrap_or(&args.to) };
    match import(from, to, RandomState::new().hash_one("import")) {
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

fn summary(imported: &Imported) -> String {
    let Imported { last, nodes, sessions, logs, transactions, .. } = imported;
    let mut text = format!("zxid {last}, {nodes} nodes, {sessions} sessions; read from ");
    if let Some(snapshot) = &imported.snapshot {
        text.push_str(&format!("{} and ", snapshot.display()));
    }
    text.push_str(&format!("{transactions} transactions in {logs} logs"));
    let said = [
        ("digests agree", imported.digests.compared - imported.digests.different),
        ("current epoch", imported.epochs[0].unwrap_or_default()),
        ("accepted epoch", imported.epochs[1].unwrap_or_default()),
    ];
    for (name, number) in said.iter().filter(|(_, number)| *number > 0) {
        text.push_str(&format!("; {name}: {number}"));
    }
    if let Some(myid) = &imported.myid {
        text.push_str(&format!("; myid {myid}"));
    }
    text
}
