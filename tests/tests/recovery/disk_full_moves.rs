//! A full disk while data goes from ZooKeeper's files to ours and back, whenever the space ends: the original
//! stays as it is, what is written is not taken for whole by anybody, the reason is said, and with space the
//! same command does it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ringkeeper_engine::database::Database;
use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::zookeeper::FileName;
use ringkeeper_engine::zookeeper::export::{DigestFields, write_snapshot};
use ringkeeper_engine::zookeeper::format::{log_name, snapshot_name};
use ringkeeper_engine::zookeeper::log::{write_log_header, write_record};
use ringkeeper_engine::zookeeper::stream::Compression;
use ringkeeper_tests::server::ringkeeper_binary;
use ringkeeper_tests::wire::{Encoder, op};

use crate::data::{Nodes, copy_directory, put, shown};
use crate::disk_full::{Ballast, on_small_disk_of};
use crate::run::{Started, start};

const NODES: i64 = 300;
/// Space that is left, in KiB; the last is enough for all that is done here.
const LEFT_KIB: [u64; 9] = [0, 4, 12, 24, 48, 96, 192, 384, 3000];
/// So that there is space for one.
const SEGMENT: [&str; 2] = ["--set", "log.segmentBytes=65536"];
const NO_SPACE: &str = "No space left on device";

fn nodes() -> Nodes {
    (1..=NODES).map(|zxid| (format!("/n{zxid:04}"), format!("{zxid:0999}").into_bytes())).collect()
}

/// What a ZooKeeper leaves that has logged a creation of each node; with epochs, as a server of an ensemble
/// does, of which the end of the log is kept as a log.
fn leave(data: &Path, of_ensemble: bool) {
    let folder = data.join("version-2");
    fs::create_dir_all(&folder).expect("a directory");
    let mut bytes = Vec::new();
    let written = write_snapshot(&Database::new(1), Compression::None, DigestFields::Written, |piece| {
        bytes.extend_from_slice(piece);
        Ok::<(), ()>(())
    });
    written.expect("nothing fails in memory");
    fs::write(folder.join(snapshot_name(Zxid::ZERO, Compression::None)), &bytes).expect("a file");
    bytes.clear();
    write_log_header(&mut bytes);
    for (zxid, (path, value)) in (1..).zip(&nodes()) {
        let mut out = Encoder::default();
        out.long(7).int(0).long(zxid).long(zxid).int(op::CREATE);
        out.string(path).buffer(Some(value)).open_acl().boolean(false).int(zxid as i32);
        write_record(&out.bytes, &mut bytes);
    }
    fs::write(folder.join(log_name(Zxid(1))), bytes).expect("a file");
    for name in ["currentEpoch", "acceptedEpoch"].iter().filter(|_| of_ensemble) {
        fs::write(folder.join(name), "0").expect("a file");
    }
}

fn on_small_disk(name: &str, test: impl FnOnce(&Path)) {
    on_small_disk_of(&format!("disk_full_moves::{name}"), test);
}

/// Every file below a directory.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![directory.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a directory") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => drop(all.insert(path.clone(), fs::read(path).expect("a file"))),
            }
        }
    }
    all
}

/// How a command ended, and what it said.
fn ringkeeper(words: &[&str]) -> (Option<i32>, String) {
    let output =
        Command::new(ringkeeper_binary().expect("the binary")).args(words).output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary directory")
}

/// Does it with ever more space, until it is done: `attempt` says what went wrong. Returns how often it failed.
fn with_ever_more_space(disk: &Path, mut attempt: impl FnMut() -> Result<(), String>) -> usize {
    for (failed, kib) in LEFT_KIB.into_iter().enumerate() {
        let ballast = Ballast::fill(disk);
        ballast.leave(kib << 10);
        let Err(said) = attempt() else { return failed };
        drop(ballast);
        assert!(said.contains("error: ") && said.contains(NO_SPACE), "{kib} KiB left: {said}");
        assert!(!said.contains("damaged"), "{kib} KiB left: {said}");
    }
    panic!("it failed with space");
}

/// Starts a server, which must show every node.
fn shows_all(data: &Path) {
    let server = start(data, &SEGMENT).serves();
    assert_eq!(shown(&server, &nodes()), nodes());
    assert_eq!(server.stop().0, Some(0));
}

#[test]
fn a_takeover_that_finds_no_space_leaves_zookeepers_files_and_is_done_later() {
    on_small_disk("a_takeover_that_finds_no_space_leaves_zookeepers_files_and_is_done_later", |disk| {
        for of_ensemble in [false, true] {
            let data = disk.join("data");
            leave(&data, of_ensemble);
            let original = contents(&data.join("version-2"));
            let failed = with_ever_more_space(disk, || {
                let started = start(&data, &SEGMENT);
                assert_eq!(contents(&data.join("version-2")), original);
                match started {
                    Started::Ended { code, said } => {
                        assert_eq!(code, Some(1), "{said}");
                        Err(said)
                    }
                    // There may be no space for a session yet.
                    Started::Serves(_) => Ok(()),
                }
            });
            assert!(failed > 4, "{failed}");
            shows_all(&data);
            assert_eq!(contents(&data.join("version-2")), original);
            fs::remove_dir_all(data).expect("it was there");
        }
    });
}

#[test]
fn an_import_that_finds_no_space_is_never_taken_for_whole_and_is_done_later() {
    on_small_disk("an_import_that_finds_no_space_is_never_taken_for_whole_and_is_done_later", |disk| {
        for of_ensemble in [false, true] {
            let (from, to) = (tempfile::tempdir().expect("a directory"), disk.join("ours"));
            leave(from.path(), of_ensemble);
            let original = contents(from.path());
            let failed = with_ever_more_space(disk, || {
                let (code, said) = ringkeeper(&["import", text(from.path()), "--to", text(&to)]);
                assert_eq!(contents(from.path()), original);
                if code == Some(0) {
                    return Ok(());
                }
                assert_eq!(code, Some(1), "{said}");
                is_not_served(&to);
                Err(said)
            });
            assert!(failed > 4, "{failed}");
            shows_all(&to);
            fs::remove_dir_all(to).expect("it was there");
        }
    });
}

/// A server that is started on a copy of what an import left refuses, unless nothing at all was written.
fn is_not_served(left: &Path) {
    let is_nothing = !left.exists() || contents(left).values().all(Vec::is_empty);
    let copy = tempfile::tempdir().expect("a directory");
    let path = copy.path().join("copy");
    if !is_nothing {
        copy_directory(left, &path).expect("a copy");
        if let Started::Serves(server) = start(&path, &[]) {
            panic!("{:?} is served: {}", contents(left).keys(), server.said());
        }
    }
}

#[test]
fn an_export_that_finds_no_space_leaves_nothing_for_zookeeper_and_is_done_later() {
    on_small_disk("an_export_that_finds_no_space_leaves_nothing_for_zookeeper_and_is_done_later", |disk| {
        let (from, to) = (tempfile::tempdir().expect("a directory"), disk.join("theirs"));
        let from = from.path().join("ours");
        let server = start(&from, &["--set", "snapCount=160"]).serves();
        let mut session = server.session().expect("a session");
        nodes().iter().for_each(|(path, value)| put(&mut session, path, value, false).expect("a reply"));
        assert_eq!(server.stop().0, Some(0));
        let original = contents(&from);
        let failed = with_ever_more_space(disk, || {
            let (code, said) = ringkeeper(&["export", text(&from), "--to", text(&to)]);
            assert_eq!(contents(&from), original);
            if code == Some(0) {
                return Ok(());
            }
            assert_eq!(code, Some(1), "{said}");
            let left = if to.exists() { contents(&to) } else { BTreeMap::new() };
            let name = |path: &PathBuf| path.file_name().and_then(|name| FileName::parse(name.to_str()?));
            assert!(left.keys().all(|path| name(path).is_none()), "{:?}", left.keys());
            Err(said)
        });
        assert!(failed > 4, "{failed}");
        let again = tempfile::tempdir().expect("a directory");
        let (code, said) = ringkeeper(&["import", text(&to), "--to", text(&again.path().join("ours"))]);
        assert_eq!(code, Some(0), "{said}");
        shows_all(&again.path().join("ours"));
    });
}
