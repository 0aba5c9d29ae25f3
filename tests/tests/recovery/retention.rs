//! What is removed behind checkpoints, as `autopurge.snapRetainCount` and `autopurge.purgeInterval` say.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::data::{Nodes, put, remove, shown};
use crate::run::{PAUSE, Running, start};

const PATIENCE: Duration = Duration::from_secs(60);
/// Small, so that a moment's writes make many segments and checkpoints.
const SETTINGS: [&str; 4] = ["--set", "log.segmentBytes=65536", "--set", "snapCount=80"];
const NODES: usize = 20;
/// Checkpoints of a run: twice as many as are ever kept here where any are removed.
const CHECKPOINTS: usize = 10;

/// A directory in which so many checkpoints were written, and what is in it.
struct Run {
    data: PathBuf,
    nodes: Nodes,
    /// Every checkpoint that was written, oldest first, those that are gone too.
    written: Vec<PathBuf>,
    _home: TempDir,
}

/// Files of a directory of the data directory, by their ending.
fn files(data: &Path, directory: &str, ending: &str) -> Vec<PathBuf> {
    let names = fs::read_dir(data.join(directory)).expect("a directory");
    let mut paths: Vec<PathBuf> = names.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == ending));
    paths.sort();
    paths
}

fn segments(data: &Path) -> Vec<u64> {
    let number = |path: &PathBuf| path.file_stem()?.to_str()?.parse().ok();
    files(data, "log", "rklog").iter().filter_map(number).collect()
}

/// The checkpoints that a server says it has written.
fn checkpoints_said(server: &Running) -> Vec<PathBuf> {
    let of_line = |line: &str| {
        let (path, _) = line.split_once(" written in ")?;
        Some(PathBuf::from(path.rsplit_once("checkpoint ")?.1))
    };
    server.said().lines().filter_map(of_line).collect()
}

/// Writes until there were enough checkpoints; then waits until no more of them are there than the newest
/// `kept`, and those are, and kills the server.
fn run(settings: &[&str], kept: usize) -> Run {
    let home = tempfile::Builder::new().prefix("ringkeeper-retention-").tempdir().expect("a directory");
    let data = home.path().join("data");
    let server = start(&data, &[&SETTINGS[..], settings].concat()).serves();
    let mut session = server.session().expect("a session");
    let mut nodes = Nodes::new();
    let deadline = Instant::now() + PATIENCE;
    while checkpoints_said(&server).len() < CHECKPOINTS {
        assert!(Instant::now() < deadline, "no checkpoints: {}", server.said());
        for node in 0..NODES {
            let (path, value) = (format!("/n{node:02}"), format!("{node} ").repeat(300).into_bytes());
            let value = [value, nodes.len().to_string().into_bytes()].concat();
            put(&mut session, &path, &value, nodes.contains_key(&path)).expect("a reply");
            nodes.insert(path, value);
        }
    }
    // A checkpoint that is under way yet comes, and what it makes obsolete goes a moment after.
    let written = loop {
        let written = checkpoints_said(&server);
        let there = files(&data, "snap", "rksnap");
        if there == written[written.len().saturating_sub(kept)..] {
            break written;
        }
        assert!(Instant::now() < deadline, "there are {there:?}: {}", server.said());
        std::thread::sleep(PAUSE);
    };
    server.kill();
    Run { data, nodes, written, _home: home }
}

/// A server on it shows every node, from the oldest of its checkpoints and the log behind.
fn serves_from_the_oldest(run: &Run) {
    files(&run.data, "snap", "rksnap").iter().skip(1).for_each(|path| remove(path));
    let server = start(&run.data, &SETTINGS).serves();
    assert_eq!(shown(&server, &run.nodes), run.nodes);
}

#[test]
fn a_purge_interval_of_0_removes_nothing_and_spares_nothing() {
    // The other setting has then no meaning.
    let settings = ["--set", "autopurge.purgeInterval=0", "--set", "autopurge.snapRetainCount=3"];
    let run = run(&settings, usize::MAX);
    assert!(run.written.len() >= CHECKPOINTS);
    let segments = segments(&run.data);
    assert!(segments.len() > 3, "{segments:?}");
    assert_eq!(segments, (1..=segments.len() as u64).collect::<Vec<_>>());
    let all = fs::read_dir(run.data.join("log")).expect("the log").count();
    assert_eq!(all, segments.len(), "nothing else is there, no segment that waits to be used again");
    serves_from_the_oldest(&run);
}

#[test]
fn so_many_checkpoints_are_retained_as_are_asked_for_and_the_log_behind_them() {
    for (settings, kept) in [
        (&["--set", "autopurge.snapRetainCount=5"][..], 5),
        (&["--set", "autopurge.purgeInterval=24"], 3),
        // Fewer than 3 are never kept, as ZooKeeper says.
        (&["--set", "autopurge.snapRetainCount=1"], 3),
    ] {
        let run = run(settings, kept);
        let segments = segments(&run.data);
        assert!(segments[0] > 1, "{segments:?}");
        serves_from_the_oldest(&run);
    }
}
