//! What an orderly stop leaves for the next start.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ringkeeper_tests::wire::Session;

use crate::data::{Nodes, put, shown};
use crate::run::start;

const PATIENCE: Duration = Duration::from_secs(60);
/// By itself a checkpoint goes on for days. Two are due soon one after the other, and the first is under way
/// then.
const SETTINGS: [&str; 4] = ["--set", "snapshot.bytesPerSecondMax=1", "--set", "snapCount=20"];
/// Of a node: more of them than the log that a stop leaves without a checkpoint.
const BYTES: usize = 512 << 10;

fn write(session: &mut Session, nodes: &mut Nodes, count: usize) {
    for _ in 0..count {
        let path = format!("/n{}", nodes.len());
        put(session, &path, &vec![b'a'; BYTES], false).expect("a reply");
        nodes.insert(path, vec![b'a'; BYTES]);
    }
}

/// The checkpoints that are there, whole or being written.
fn checkpoints(data: &Path, whole: bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(data.join("snap")).expect("a directory");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rksnap") == whole);
    paths.sort();
    paths
}

/// A checkpoint that is under way is not lost, and what is behind it is not read again.
#[test]
fn a_stop_completes_the_checkpoint_that_is_under_way_and_takes_another_where_it_is_worth_it() {
    for (more, expected) in [(0, 1), (20, 2)] {
        let home = tempfile::tempdir().expect("a directory");
        let data = home.path().join("data");
        let server = start(&data, &SETTINGS).serves();
        let mut session = server.session().expect("a session");
        let (mut nodes, deadline) = (Nodes::new(), Instant::now() + PATIENCE);
        while checkpoints(&data, false).is_empty() {
            assert!(Instant::now() < deadline, "no checkpoint: {}", server.said());
            write(&mut session, &mut nodes, 1);
        }
        write(&mut session, &mut nodes, more);
        let (code, said) = server.stop();
        assert_eq!(code, Some(0), "{said}");
        assert!(checkpoints(&data, false).is_empty(), "{said}");
        let there = checkpoints(&data, true);
        assert_eq!(there.len(), expected, "{there:?}: {said}");
        let server = start(&data, &SETTINGS).serves();
        assert_eq!(shown(&server, &nodes), nodes);
        let nothing_behind_it = server.said().contains(", 0 transactions replayed");
        assert!(more == 0 || nothing_behind_it, "{}", server.said());
        server.kill();
    }
}
