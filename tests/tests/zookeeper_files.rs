//! ZooKeeper's own files, made by a real ZooKeeper: read, and written again byte for byte.
//!
//! The ZooKeeper is Debian's 3.8.0, or the one that `REFERENCE_CLASS_PATH` names.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ringkeeper_engine::tree::digest::TreeDigest;
use ringkeeper_engine::zookeeper::FileName;
use ringkeeper_engine::zookeeper::log::{self, End, LogFile};
use ringkeeper_engine::zookeeper::restore::{Refusal, Restored, restore};
use ringkeeper_engine::zookeeper::snapshot::{Item, Snapshot, SnapshotWriter};
use ringkeeper_engine::zookeeper::stream::Compression;
use ringkeeper_tests::differences::unexpected;
use ringkeeper_tests::differential::reference;
use ringkeeper_tests::script::{Run, Script};
use ringkeeper_tests::server::Server;
use ringkeeper_tests::transcript::transcript;

/// Every kind of transaction, of node, of list and of data, over several logs and snapshots.
const HISTORY: &str = include_str!("../testdata/zookeeper_files/history.zkt");

/// A ZooKeeper that has lived through the script, stopped; its files go when it is dropped.
fn lived_through(script: &str) -> Server {
    let script = Script::parse(script).unwrap_or_else(|e| panic!("{e}"));
    let mut server = Server::start(reference(), script.options.clone()).unwrap_or_else(|e| panic!("{e}"));
    let run = Run::play(&script, &mut server);
    assert!(run.broken_off.is_none(), "{:?}\n{}", run.broken_off, server.output_tail());
    assert_eq!(unexpected(&script, &transcript(&script, &run)), [""; 0]);
    server.stop().unwrap_or_else(|e| panic!("{e}"));
    server
}

/// ZooKeeper's files of one kind, by name.
fn files(data: &Path) -> BTreeMap<FileName, PathBuf> {
    let entries = fs::read_dir(data.join("version-2")).expect("ZooKeeper made it");
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    paths.filter_map(|path| Some((FileName::parse(path.file_name()?.to_str()?)?, path.clone()))).collect()
}

/// The records of a log, written again.
fn log_again(file: &[u8]) -> (Vec<u8>, usize) {
    let log = LogFile::open(file).unwrap();
    let (mut out, mut count) = (Vec::new(), 0);
    log::write_log_header(&mut out);
    let mut entries = log.entries();
    for entry in &mut entries {
        let entry = entry.unwrap();
        assert_eq!(entry.offset, out.len() as u64);
        log::write_record(entry.transaction.bytes, &mut out);
        count += 1;
    }
    assert_eq!(entries.end(), Some(End::Whole { offset: out.len() as u64 }));
    out.resize(file.len(), 0);
    (out, count)
}

/// A snapshot's items, written again and not packed; and how many there were.
fn snapshot_again(file: &[u8]) -> (Vec<u8>, usize) {
    // What comes first says how much of it follows.
    let mut counts = [0, 0];
    let mut snapshot = Snapshot::open(file).unwrap();
    while let Some(item) = snapshot.next().unwrap() {
        match item {
            Item::Session { .. } => counts[0] += 1,
            Item::Acl { .. } => counts[1] += 1,
            Item::Node(_) => {}
        }
    }
    let trailer = snapshot.trailer();
    let mut writer = SnapshotWriter::new(Compression::None);
    let mut snapshot = Snapshot::open(file).unwrap();
    let mut number = 0;
    writer.count(counts[0]);
    if counts[0] == 0 {
        writer.count(counts[1]);
    }
    while let Some(item) = snapshot.next().unwrap() {
        writer.item(&item);
        number += 1;
        if number == counts[0] {
            writer.count(counts[1]);
        }
    }
    let mut out = writer.take_bytes();
    out.extend(writer.finish(&trailer));
    (out, number)
}

#[test]
fn logs_and_snapshots_written_again_have_the_same_bytes() {
    let server = lived_through(HISTORY);
    let (mut logs, mut snapshots, mut transactions) = (0, 0, 0);
    for (name, path) in files(&server.data_dir) {
        let file = fs::read(&path).unwrap();
        match name {
            FileName::Log(_) => {
                let (again, count) = log_again(&file);
                assert!(again == file, "{}", path.display());
                (logs, transactions) = (logs + 1, transactions + count);
            }
            FileName::Snapshot(_) => {
                let (again, _) = snapshot_again(&file);
                assert!(again == file, "{}", path.display());
                snapshots += 1;
            }
        }
    }
    assert!(logs > 2 && snapshots > 2 && transactions > 50, "{logs} {snapshots} {transactions}");
}

/// Restores from some of ZooKeeper's files.
fn restored(files: &[(FileName, PathBuf)]) -> Result<Restored, Refusal> {
    let names: Vec<FileName> = files.iter().map(|(name, _)| *name).collect();
    restore(&names, 1, |number| fs::read(&files[number].1)).unwrap()
}

#[test]
fn every_snapshot_with_the_logs_behind_it_makes_the_tree_whose_digest_zookeeper_wrote() {
    let server = lived_through(HISTORY);
    let files: Vec<(FileName, PathBuf)> = files(&server.data_dir).into_iter().collect();
    let is_snapshot = |name: &FileName| matches!(name, FileName::Snapshot(_));
    let snapshots = files.iter().filter(|(name, _)| is_snapshot(name)).count();
    let mut found = Vec::new();
    for kept in 0..=snapshots {
        let mut seen = 0;
        let some: Vec<(FileName, PathBuf)> = files
            .iter()
            .filter(|(name, _)| {
                seen += usize::from(is_snapshot(name));
                !is_snapshot(name) || seen <= kept
            })
            .cloned()
            .collect();
        let restored =
            restored(&some).unwrap_or_else(|e| panic!("{}", e.display(|n| format!("{:?}", some[n]))));
        assert_eq!(restored.snapshot.is_some(), kept > 0);
        assert_eq!(restored.digests.different, 0, "{:?}", restored.digests);
        assert!(restored.digests.compared >= restored.transactions.min(1), "{:?}", restored.digests);
        let Restored { database, transactions, .. } = restored;
        let digest = TreeDigest::of_tree(&database.tree.reader());
        found.push((database.last, digest, database.sessions, database.tree.node_count(), transactions));
    }
    let first = found[0].clone();
    assert!(first.4 > 50);
    for other in &found {
        assert_eq!((&other.0, &other.1, &other.2, &other.3), (&first.0, &first.1, &first.2, &first.3));
    }
}
