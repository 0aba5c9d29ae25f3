//! ZooKeeper's own files: those of a real ZooKeeper read, taken over, and written again byte for byte;
//! and a real ZooKeeper on those that we wrote.
//!
//! The ZooKeeper is Debian's 3.8.0, or the one that `REFERENCE_CLASS_PATH` names. Snappy needs snappy-java
//! on its class path: Debian's names it; where another has none, a test says that it was skipped.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use ringkeeper_engine::id::SessionId;
use ringkeeper_engine::tree::digest::TreeDigest;
use ringkeeper_engine::zookeeper::FileName;
use ringkeeper_engine::zookeeper::log::{self, End, LogFile};
use ringkeeper_engine::zookeeper::restore::{Refusal, Restored, restore};
use ringkeeper_engine::zookeeper::snapshot::{self, Snapshot, SnapshotWriter};
use ringkeeper_engine::zookeeper::stream::Compression;
use ringkeeper_tests::differences::unexpected;
use ringkeeper_tests::differential::reference;
use ringkeeper_tests::script::{Item, Run, Script};
use ringkeeper_tests::server::{Kind, Server, ringkeeper_binary};
use ringkeeper_tests::transcript::transcript;
use ringkeeper_tests::wire::{REPLY_HEADER_BYTES, op};

/// Every kind of transaction, of node, of list and of data, over several logs and snapshots.
const HISTORY: &str = include_str!("../testdata/zookeeper_files/history.zkt");

/// What a client does with a server that goes on from it.
const MORE: &str = include_str!("../testdata/zookeeper_files/more.zkt");

/// Reads every node.
const WALK: &str = "W connect timeout=3000000\nW auth digest \"super:admin\"\nW walk /\n";

fn script(text: &str) -> Script {
    Script::parse(text).unwrap_or_else(|e| panic!("{e}"))
}

fn play(text: &str, server: &mut Server) -> Run {
    let script = script(text);
    let run = Run::play(&script, server);
    assert!(run.broken_off.is_none(), "{:?}\n{}", run.broken_off, server.output_tail());
    assert_eq!(unexpected(&script, &transcript(&script, &run)), [""; 0]);
    run
}

fn stop(server: &mut Server) {
    server.stop().unwrap_or_else(|e| panic!("{e}"));
}

/// Starts a server on files that lie there.
fn go_on(server: &mut Server) {
    server.restart().unwrap_or_else(|e| panic!("{e}"));
}

/// A ZooKeeper that has not lived through anything.
fn start() -> Server {
    Server::start(reference(), script(HISTORY).options).unwrap_or_else(|e| panic!("{e}"))
}

/// A ZooKeeper that has lived through the script, stopped; its files go when it is dropped.
fn lived_through(text: &str, more: &[&str]) -> Server {
    let mut options = script(text).options;
    options.properties.extend(more.iter().map(|property| (*property).to_owned()));
    let mut server = Server::start(reference(), options).unwrap_or_else(|e| panic!("{e}"));
    play(text, &mut server);
    stop(&mut server);
    server
}

/// What every node looks like to a client: the answers to getChildren2, getData and getACL without their
/// headers, and of the first without the children, which come in no order.
fn walk(server: &mut Server) -> Vec<Vec<u8>> {
    const STAT_BYTES: usize = 68;
    let run = play(WALK, server);
    let answers = run.records.into_iter().filter_map(|record| match record.item {
        Item::Reply { op: op::GET_CHILDREN2, frame, .. } => Some(frame[frame.len() - STAT_BYTES..].to_vec()),
        Item::Reply { op: op::GET_DATA | op::GET_ACL, frame, .. } => {
            Some(frame[REPLY_HEADER_BYTES..].to_vec())
        }
        _ => None,
    });
    answers.collect()
}

fn ringkeeper(words: &[&str]) -> (bool, String) {
    let binary = ringkeeper_binary().unwrap_or_else(|e| panic!("{e}"));
    let output = Command::new(binary).args(words).output().expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary directory")
}

/// How the ZooKeeper can pack a snapshot.
fn packed() -> &'static [&'static str] {
    match reference() {
        Kind::ZooKeeper { class_path } if has_snappy(&class_path) => &["gzip", "snappy"],
        _ => &["gzip"],
    }
}

/// Whether a class path has snappy-java: by its jar's name, in a directory of jars, or where the manifest of
/// Debian's ZooKeeper says.
fn has_snappy(class_path: &str) -> bool {
    const DEBIAN: [&str; 2] = ["/usr/share/java/zookeeper.jar", "/usr/share/java/snappy-java.jar"];
    let is_snappy = |path: &Path| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("snappy-java"))
    };
    class_path.split(':').any(|place| match place.strip_suffix("/*") {
        Some(directory) => fs::read_dir(directory)
            .is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(|entry| is_snappy(&entry.path())))),
        None => is_snappy(Path::new(place)) || place == DEBIAN[0] && Path::new(DEBIAN[1]).exists(),
    })
}

/// ZooKeeper's files, by name.
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
            snapshot::Item::Session { .. } => counts[0] += 1,
            snapshot::Item::Acl { .. } => counts[1] += 1,
            snapshot::Item::Node(_) => {}
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
    let server = lived_through(HISTORY, &[]);
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

/// Restores from each snapshot alone with the logs, and from the logs alone. Returns how many snapshots
/// there are, and how many of them were written while transactions were applied.
fn restore_from_each_snapshot(data: &Path) -> (usize, usize) {
    let files: Vec<(FileName, PathBuf)> = files(data).into_iter().collect();
    let is_snapshot = |name: &FileName| matches!(name, FileName::Snapshot(_));
    let snapshots: Vec<_> = files.iter().filter(|(name, _)| is_snapshot(name)).cloned().collect();
    let logs = files.iter().filter(|(name, _)| !is_snapshot(name));
    let (mut found, mut fuzzy) = (Vec::new(), 0);
    for snapshot in snapshots.iter().map(Some).chain([None]) {
        let some: Vec<_> = snapshot.into_iter().chain(logs.clone()).cloned().collect();
        let restored = restored(&some);
        let restored = restored.unwrap_or_else(|e| panic!("{}", e.display(|n| format!("{:?}", some[n]))));
        assert_eq!(restored.snapshot.is_some(), snapshot.is_some());
        assert_eq!(restored.digests.different, 0, "{snapshot:?} {:?}", restored.digests);
        fuzzy += snapshot.map_or(0, |(name, path)| {
            let file = fs::read(path).unwrap();
            let mut snapshot = Snapshot::open(&file).unwrap();
            while snapshot.next().unwrap().is_some() {}
            usize::from(snapshot.trailer().digest.is_some_and(|digest| digest.zxid > name.zxid()))
        });
        let Restored { database, .. } = restored;
        let digest = TreeDigest::of_tree(&database.tree.reader());
        found.push((database.last, digest, database.sessions, database.tree.node_count()));
    }
    for other in &found {
        assert_eq!(other, &found[0]);
    }
    (snapshots.len(), fuzzy)
}

#[test]
fn every_snapshot_with_the_logs_behind_it_makes_the_tree_whose_digest_zookeeper_wrote() {
    let server = lived_through(HISTORY, &[]);
    assert!(restore_from_each_snapshot(&server.data_dir).0 > 2);
}

#[test]
fn so_does_a_snapshot_that_was_written_while_transactions_were_applied() {
    const NODES: usize = 6000;
    const BATCH: usize = 200;
    let mut text = "@property zookeeper.snapCount=3000\n@property zookeeper.preAllocSize=64\n".to_owned();
    text.push_str("A connect timeout=30000\nB connect timeout=30000\n");
    let mut pipeline = |operations: &mut dyn Iterator<Item = String>| {
        let operations: Vec<String> = operations.collect();
        text.push_str(&format!("A pipeline {{ {} }} ~?any\n", operations.join("; ")));
    };
    for first in (0..NODES).step_by(BATCH) {
        pipeline(&mut (first..first + BATCH).map(|n| format!("create /n{n:05} \"{n}\"")));
    }
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..100 {
        pipeline(&mut (0..BATCH).map(|_| {
            let n = random.usize(..NODES);
            match random.u8(..6) {
                0 => format!("delete /n{n:05} -1"),
                1 => format!("create /n{n:05} \"again\""),
                2 => format!("create /n{n:05}/c{} \"child\" flags=ephemeral", random.u8(..3)),
                3 => format!("delete /n{n:05}/c{} -1", random.u8(..3)),
                4 => format!("setACL /n{n:05} r@world:anyone,cdrwa@ip:127.0.0.{} -1", random.u8(..)),
                _ => format!("setData /n{n:05} \"{}\" -1", random.u32(..)),
            }
        }));
    }
    let server = lived_through(&text, &[]);
    let (snapshots, fuzzy) = restore_from_each_snapshot(&server.data_dir);
    assert!(snapshots > 3 && fuzzy > 0, "{fuzzy} of {snapshots}");
}

/// Snapshots of a ZooKeeper that packs them by this method.
fn packed_are_as_plain_ones(method: &str, compression: Compression) {
    let property = format!("zookeeper.snapshot.compression.method={method}");
    let server = lived_through(HISTORY, &[&property]);
    let files = files(&server.data_dir);
    let mut snapshots = 0;
    for (_, path) in files.iter().filter(|(name, _)| matches!(name, FileName::Snapshot(_))) {
        let file = fs::read(path).unwrap();
        assert_eq!(Snapshot::open(&file).unwrap().compression(), compression, "{}", path.display());
        // Its seals are of the bytes that were unpacked; those of the plain one are of what was written.
        let (plain, _) = snapshot_again(&file);
        let seals = |file: &[u8]| {
            let mut snapshot = Snapshot::open(file).unwrap();
            while snapshot.next().unwrap().is_some() {}
            (snapshot.offset(), snapshot.checksum())
        };
        assert_eq!(seals(&plain), seals(&file), "{}", path.display());
        snapshots += 1;
    }
    assert!(snapshots > 2, "{snapshots}");
    let restored = restored(&files.into_iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(restored.digests.different, 0, "{:?}", restored.digests);
}

#[test]
fn snapshots_packed_by_gzip_have_the_bytes_of_plain_ones() {
    packed_are_as_plain_ones("gz", Compression::Gzip);
}

#[test]
fn snapshots_packed_by_snappy_have_the_bytes_of_plain_ones() {
    if !packed().contains(&"snappy") {
        // Past the capture of a passing test's output: `tests/run` counts these lines.
        const SKIPPED: &[u8] = b"SKIPPED snapshots_packed_by_snappy_have_the_bytes_of_plain_ones: \
            REFERENCE_CLASS_PATH has no snappy-java, so that ZooKeeper neither writes such snapshots here nor \
            starts on those of export --compression snappy\n";
        return io::stderr().write_all(SKIPPED).expect("standard error");
    }
    packed_are_as_plain_ones("snappy", Compression::Snappy);
}

#[test]
fn a_log_on_its_own_disk_is_imported_and_exported() {
    let log = tempfile::tempdir().expect("a directory");
    let mut options = script(HISTORY).options;
    options.config.push(format!("dataLogDir={}", text(log.path())));
    let mut server = Server::start(reference(), options).unwrap_or_else(|e| panic!("{e}"));
    play(HISTORY, &mut server);
    let seen = walk(&mut server);
    stop(&mut server);
    let (data, made) = (text(&server.data_dir).to_owned(), tempfile::tempdir().expect("a directory"));
    let [to, back, back_log] = ["ours", "back", "log"].map(|name| made.path().join(name));
    let (done, said) = ringkeeper(&["import", &data, "--log-dir", text(log.path()), "--to", text(&to)]);
    assert!(done && said.contains("digests agree"), "{said}");
    let again = ringkeeper(&["import", &data, "--log-dir", text(log.path()), "--to", text(&to)]);
    assert!(!again.0 && again.1.contains("has a database already"), "{}", again.1);
    let words = ["export", text(&to), "--to", text(&back), "--to-log-dir", text(&back_log)];
    let (done, said) = ringkeeper(&words);
    assert!(done, "{said}");
    assert!(back_log.join("version-2").is_dir());
    a_log_apart_is_imported_and_exported_as_one_beside(&server.data_dir, log.path(), &back, &back_log);
    let mut zookeeper = start();
    stop(&mut zookeeper);
    replace(&zookeeper.data_dir, &back);
    go_on(&mut zookeeper);
    assert_same(&walk(&mut zookeeper), &seen);
    // Ours takes both directories over where they are.
    server.kind = Kind::Ringkeeper;
    go_on(&mut server);
    assert_same(&walk(&mut server), &seen);
    assert!(log.path().join("log").is_dir() && server.data_dir.join("snap").is_dir());
}

/// Ours with a log on its own disk too: what is exported of it is what is exported of one in one place.
fn a_log_apart_is_imported_and_exported_as_one_beside(data: &Path, log: &Path, back: &Path, back_log: &Path) {
    let made = tempfile::tempdir().expect("a directory");
    let [to, to_log, again, again_log] =
        ["ours", "ours-log", "again", "again-log"].map(|name| made.path().join(name));
    let words =
        ["import", text(data), "--log-dir", text(log), "--to", text(&to), "--to-log-dir", text(&to_log)];
    let (done, said) = ringkeeper(&words);
    assert!(done, "{said}");
    assert!(to.join("snap").is_dir() && !to.join("log").exists() && to_log.join("log").is_dir());
    let words = [
        "export",
        text(&to),
        "--log-dir",
        text(&to_log),
        "--to",
        text(&again),
        "--to-log-dir",
        text(&again_log),
    ];
    let (done, said) = ringkeeper(&words);
    assert!(done, "{said}");
    for (left, right) in [(&again, back), (&again_log, back_log)] {
        let bytes = |place: &Path| contents(&place.join("version-2")).into_values().collect::<Vec<_>>();
        assert!(bytes(left) == bytes(right), "{} {}", left.display(), right.display());
    }
}

/// Every file below a directory, with its bytes.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(directory).expect("it is there");
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    paths.map(|path| (path.clone(), fs::read(&path).expect("a file"))).collect()
}

/// The sessions that a server has, with their timeouts, from its files.
fn sessions(data: &Path) -> BTreeMap<SessionId, u32> {
    restored(&files(data).into_iter().collect::<Vec<_>>())
        .map(|restored| restored.database.sessions)
        .expect("it is whole")
}

/// Puts ZooKeeper's files in the place of a server's own.
fn replace(data: &Path, from: &Path) {
    fs::remove_dir_all(data.join("version-2")).expect("it was there");
    fs::create_dir(data.join("version-2")).expect("it is not");
    for (path, bytes) in contents(&from.join("version-2")) {
        fs::write(data.join("version-2").join(path.file_name().expect("a file")), bytes).expect("written");
    }
}

fn assert_same(left: &[Vec<u8>], right: &[Vec<u8>]) {
    assert_eq!(left.len(), right.len());
    for (number, (left, right)) in left.iter().zip(right).enumerate() {
        assert_eq!(left, right, "answer {number}");
    }
}

/// ZooKeeper compares the digests that it finds in its files with those of its tree.
fn assert_digests_match(server: &Server) {
    let report = server.four_letter_word("mntr").expect("it answers");
    let count = report.lines().find(|line| line.starts_with("zk_digest_mismatches_count"));
    assert_eq!(count.and_then(|line| line.split_whitespace().nth(1)), Some("0"), "{report}");
}

#[test]
fn a_zookeepers_directory_is_taken_over_and_given_back() {
    let mut server = lived_through(HISTORY, &[]);
    go_on(&mut server);
    let seen = walk(&mut server);
    stop(&mut server);
    let original = contents(&server.data_dir.join("version-2"));
    let sessions_before = sessions(&server.data_dir);

    // Ours goes on where ZooKeeper stopped, and leaves its files alone.
    server.kind = Kind::Ringkeeper;
    go_on(&mut server);
    assert!(server.output().contains("took over ZooKeeper's data"), "{}", server.output_tail());
    assert_same(&walk(&mut server), &seen);
    play(MORE, &mut server);
    let seen = walk(&mut server);
    stop(&mut server);
    assert_eq!(contents(&server.data_dir.join("version-2")), original);
    // Not a second time.
    go_on(&mut server);
    stop(&mut server);

    // A ZooKeeper starts on what is exported, and shows the same.
    let exported = tempfile::tempdir().expect("a directory");
    for compression in ["none"].iter().chain(packed()) {
        let to = exported.path().join(compression);
        let words = ["export", text(&server.data_dir), "--to", text(&to), "--compression", compression];
        let (done, said) = ringkeeper(&words);
        assert!(done, "{said}");
        assert!(said.contains("extendedTypesEnabled"), "{said}");
        let all = sessions(&to);
        assert!(sessions_before.iter().all(|session| all.get(session.0) == Some(session.1)), "{all:?}");
        let mut zookeeper = start();
        stop(&mut zookeeper);
        replace(&zookeeper.data_dir, &to);
        go_on(&mut zookeeper);
        assert_same(&walk(&mut zookeeper), &seen);
        assert_digests_match(&zookeeper);
        stop(&mut zookeeper);
        let there = sessions(&zookeeper.data_dir);
        assert!(all.iter().all(|session| there.get(session.0) == Some(session.1)), "{all:?} {there:?}");
        assert!(ringkeeper(&words).1.contains("is there already"));
    }

    // The transactions alone, all that came after ZooKeeper's own: it replays them and finds the digests
    // right. Without our later checkpoints the export begins with the one that was made of its files.
    let checkpoints = contents(&server.data_dir.join("snap"));
    for path in checkpoints.keys().skip(1) {
        fs::remove_file(path).expect("removed");
    }
    let to = exported.path().join("log");
    let (done, said) = ringkeeper(&["export", text(&server.data_dir), "--to", text(&to)]);
    assert!(done, "{said}");
    let mut zookeeper = start();
    stop(&mut zookeeper);
    replace(&zookeeper.data_dir, &server.data_dir);
    let logs = files(&to);
    let (_, log) = logs.iter().find(|(name, _)| matches!(name, FileName::Log(_))).expect("a log");
    fs::copy(log, zookeeper.data_dir.join("version-2").join(log.file_name().expect("a file")))
        .expect("copied");
    go_on(&mut zookeeper);
    assert_same(&walk(&mut zookeeper), &seen);
    assert_digests_match(&zookeeper);

    // What that ZooKeeper writes on is not seen by ours, which therefore refuses to go on beside it.
    stop(&mut zookeeper);
    replace(&server.data_dir, &zookeeper.data_dir);
    let refused = server.restart().expect_err("two histories").to_string();
    assert!(refused.contains("which of the two counts is not known"), "{refused}");
}

/// Whether each snapshot, and each transaction of a log, has the tree's digest.
fn has_digests(data: &Path) -> BTreeMap<FileName, bool> {
    let has = |(name, path): (FileName, PathBuf)| {
        let file = fs::read(path).expect("a file");
        let has = match name {
            FileName::Log(_) => {
                let log = LogFile::open(&file).expect("a log");
                let found: Vec<bool> =
                    log.entries().map(|entry| entry.expect("whole").transaction.digest.is_some()).collect();
                found.contains(&true)
            }
            FileName::Snapshot(_) => {
                let mut snapshot = Snapshot::open(&file).expect("a snapshot");
                while snapshot.next().expect("whole").is_some() {}
                snapshot.trailer().digest.is_some()
            }
        };
        (name, has)
    };
    files(data).into_iter().map(has).collect()
}

#[test]
fn a_zookeeper_without_digests_is_taken_over_and_given_back() {
    const WITHOUT: &str = "zookeeper.digest.enabled=false";
    let mut server = lived_through(HISTORY, &[WITHOUT]);
    go_on(&mut server);
    let seen = walk(&mut server);
    stop(&mut server);
    let theirs = has_digests(&server.data_dir);
    assert!(theirs.len() > 4 && theirs.values().all(|has| !has), "{theirs:?}");
    let made = tempfile::tempdir().expect("a directory");
    let ours = made.path().join("ours");
    let (done, said) = ringkeeper(&["import", text(&server.data_dir), "--to", text(&ours), "--json"]);
    assert!(done && said.contains("\"digestsCompared\":0") && said.contains("\"notices\":[]"), "{said}");

    server.kind = Kind::Ringkeeper;
    go_on(&mut server);
    assert_same(&walk(&mut server), &seen);
    play(MORE, &mut server);
    let seen = walk(&mut server);
    stop(&mut server);
    for compression in ["none"].iter().chain(packed()) {
        let to = made.path().join(compression);
        let words = [
            "export",
            text(&server.data_dir),
            "--to",
            text(&to),
            "--no-digest",
            "--compression",
            compression,
        ];
        let (done, said) = ringkeeper(&words);
        assert!(done, "{said}");
        let written = has_digests(&to);
        assert!(written.len() == 2 && written.values().all(|has| !has), "{written:?}");
        let mut options = script(HISTORY).options;
        options.properties.push(WITHOUT.to_owned());
        let mut zookeeper = Server::start(reference(), options).unwrap_or_else(|e| panic!("{e}"));
        stop(&mut zookeeper);
        replace(&zookeeper.data_dir, &to);
        go_on(&mut zookeeper);
        assert_same(&walk(&mut zookeeper), &seen);
        assert!(!zookeeper.output().contains("CRC corruption"), "{}", zookeeper.output_tail());
        let all = sessions(&to);
        stop(&mut zookeeper);
        let there = sessions(&zookeeper.data_dir);
        assert!(all.iter().all(|session| there.get(session.0) == Some(session.1)), "{all:?} {there:?}");
    }
}
