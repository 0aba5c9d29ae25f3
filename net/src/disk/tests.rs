//! The data directory on a real file system: write, checkpoint, crash, damage, recover, retain.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::log::{
    Alignment, IoFailure, LogError, LogWriter, Sequence, Settings, SyncMode, Tail, Verdict,
};
use ringkeeper_engine::snap::{AclIndex, Block, Checkpoint, CheckpointWriter, NodeRecord};

use super::layout::SPARE_CHECKPOINT;
use super::*;

/// A state that can be compared: each transaction sets one key.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct State {
    nodes: BTreeMap<String, Vec<u8>>,
}

impl State {
    pub fn up_to(last: u64) -> State {
        let mut state = State::default();
        (1..=last).for_each(|zxid| state.apply(zxid));
        state
    }

    fn apply(&mut self, zxid: u64) {
        self.nodes.insert(format!("/{}", zxid % 7), transaction(zxid));
    }
}

impl Restore for State {
    fn checkpoint(&mut self, checkpoint: &Checkpoint<'_>) -> Result<(), String> {
        self.nodes.clear();
        for number in 0..checkpoint.block_count() {
            let Block::Nodes(nodes) = checkpoint.block(number).map_err(|fault| fault.to_string())? else {
                continue;
            };
            for node in nodes {
                let node = node.map_err(|fault| fault.to_string())?;
                self.nodes.insert(node.path.into(), node.data.unwrap().into());
            }
        }
        Ok(())
    }

    fn transaction(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<(), String> {
        assert_eq!(bytes, transaction(zxid.0));
        self.apply(zxid.0);
        Ok(())
    }
}

fn transaction(zxid: u64) -> Vec<u8> {
    zxid.to_string().repeat(20 + zxid as usize % 300).into_bytes()
}

fn settings(sync: SyncMode) -> Settings {
    let alignment = if sync == SyncMode::Direct { Alignment::PAGE } else { Alignment::SECTOR };
    Settings { sync, segment_bytes: 8192, alignment, ..Settings::default() }
}

/// A server's disk half.
pub(super) struct Server {
    pub directory: DataDirectory,
    pub files: SegmentFiles,
    pub writer: LogWriter,
    pub last: u64,
}

impl Server {
    pub fn start(path: &Path, sync: SyncMode) -> Result<(Server, State, Recovered), DiskError> {
        let directory = DataDirectory::open(path, path)?;
        let mut files = SegmentFiles::new(&directory, sync);
        let mut state = State::default();
        let recovered = directory.recover(&mut files, &mut state)?;
        let writer = LogWriter::new(settings(sync), directory.database(), recovered.tail);
        let last = recovered.tail.zxid().0;
        Ok((Server { directory, files, writer, last }, state, recovered))
    }

    /// Does one step of one lane, `false` if there is none.
    pub fn step(&mut self) -> bool {
        if let Some(write) = self.writer.take_write(0).unwrap() {
            let result = self.files.write(&write);
            let _ = self.writer.on_written(write, result).unwrap();
        } else if let Some(step) = self.writer.take_upkeep(0).unwrap() {
            let result = self.files.upkeep(step);
            self.writer.on_upkeep(step, result, 0).unwrap();
        } else {
            return false;
        }
        true
    }

    fn settle(&mut self) {
        while self.step() {}
    }

    pub fn append(&mut self) {
        self.last += 1;
        self.writer.append(Zxid(self.last), &transaction(self.last), 0).unwrap();
    }

    fn write(&mut self, count: u64) {
        for _ in 0..count {
            self.append();
            self.settle();
        }
        assert_eq!(self.writer.durable(), Zxid(self.last));
    }

    fn checkpoint(&self, first: u64) -> CheckpointName {
        self.finish_checkpoint(CheckpointFile::create(&self.directory, Zxid(first), true).unwrap(), first)
    }

    pub fn finish_checkpoint(&self, mut file: CheckpointFile, first: u64) -> CheckpointName {
        let mut writer = CheckpointWriter::new(self.directory.database(), Zxid(first));
        let acl = writer.intern_acl(b"open");
        for (path, data) in &State::up_to(self.last).nodes {
            writer.node(&record(path, data, acl));
            file.drain(&mut writer).unwrap();
        }
        file.finish(writer, Zxid(self.last)).unwrap()
    }
}

fn record<'a>(path: &'a str, data: &'a [u8], acl: AclIndex) -> NodeRecord<'a> {
    NodeRecord {
        path,
        parent: None,
        data: Some(data),
        acl,
        czxid: Zxid(1),
        mzxid: Zxid(1),
        pzxid: Zxid(1),
        ctime: 0,
        mtime: 0,
        version: 0,
        cversion: 0,
        aversion: 0,
        ephemeral_owner: 0,
    }
}

fn refusal(path: &Path) -> Refusal {
    match Server::start(path, SyncMode::Fdatasync) {
        Err(DiskError::Refused(refusal)) => refusal,
        Err(error) => panic!("{error}"),
        Ok((_, _, recovered)) => panic!("served: {recovered:?}"),
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn segment(path: &Path, sequence: u64) -> PathBuf {
    path.join("log").join(layout::segment_name(Sequence(sequence)))
}

/// A directory with 60 transactions and checkpoints begun behind 20 and 40.
fn filled() -> (tempfile::TempDir, [CheckpointName; 2]) {
    let directory = tempfile::tempdir().unwrap();
    let (mut server, _, _) = Server::start(directory.path(), SyncMode::Fdatasync).unwrap();
    server.write(25);
    let older = server.checkpoint(20);
    server.write(20);
    let newer = server.checkpoint(40);
    server.write(15);
    (directory, [older, newer])
}

#[test]
fn what_was_acknowledged_is_there_after_each_restart_in_every_mode() {
    for sync in [SyncMode::Fdatasync, SyncMode::Dsync, SyncMode::Direct, SyncMode::None] {
        let directory = tempfile::tempdir().unwrap();
        let mut last = 0;
        for _ in 0..4 {
            let (mut server, state, recovered) = Server::start(directory.path(), sync).unwrap();
            assert_eq!((recovered.log, recovered.transactions), (Verdict::Clean, last), "{sync:?}");
            assert_eq!(state, State::up_to(last));
            server.write(23);
            last += 23;
        }
    }
}

#[test]
fn recovery_takes_the_newest_checkpoint_and_replays_only_what_is_behind_it() {
    let (directory, [_, newer]) = filled();
    let (_, state, recovered) = Server::start(directory.path(), SyncMode::Fdatasync).unwrap();
    assert_eq!(recovered.checkpoint, Some(newer));
    assert_eq!(recovered.transactions, 20);
    assert_eq!(state, State::up_to(60));
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_serves() {
    let (directory, [older, newer]) = filled();
    let length = fs::metadata(&newer.path).unwrap().len() as usize;
    let whole = fs::read(&newer.path).unwrap();
    for at in [0, 30, 40, 200, length / 2, length - 100, length - 1] {
        flip(&newer.path, at);
        let (_, state, recovered) = Server::start(directory.path(), SyncMode::Fdatasync).unwrap();
        assert_eq!(recovered.checkpoint.as_ref(), Some(&older), "{at}");
        assert_eq!(recovered.damaged.len(), 1);
        assert!(recovered.damaged[0].1.contains("offset"), "{:?}", recovered.damaged);
        assert_eq!(state, State::up_to(60));
        fs::write(&newer.path, &whole).unwrap();
    }
    fs::write(&newer.path, b"").unwrap();
    let (_, state, recovered) = Server::start(directory.path(), SyncMode::Fdatasync).unwrap();
    assert_eq!((recovered.checkpoint, state), (Some(older), State::up_to(60)));
}

#[test]
fn a_checkpoint_that_cannot_be_opened_is_named_and_the_one_before_serves() {
    // The kernel gives up such a link (ELOOP); it opens a directory, and does not map it (ENODEV).
    let to_itself = |path: &Path| std::os::unix::fs::symlink(path, path);
    let directory = |path: &Path| fs::create_dir(path);
    for put in [to_itself as fn(&Path) -> std::io::Result<()>, directory] {
        let (path, [older, newer]) = filled();
        fs::remove_file(&newer.path).unwrap();
        put(&newer.path).unwrap();
        let (server, state, recovered) = Server::start(path.path(), SyncMode::Fdatasync).unwrap();
        assert_eq!((recovered.checkpoint, state), (Some(older), State::up_to(60)));
        let [(name, why)] = &recovered.damaged[..] else { panic!("{:?}", recovered.damaged) };
        assert_eq!(*name, newer);
        assert!(why.starts_with("it cannot be opened: "), "{why}");
        drop(server);
    }
}

/// Takes what recovery reads; the newest checkpoint's file loses its bytes while it is read, so that looking
/// at what the map has of it is the signal that a sector which cannot be read is.
struct Unreadable<'p> {
    state: State,
    newest: Option<&'p Path>,
}

impl Restore for Unreadable<'_> {
    fn checkpoint(&mut self, checkpoint: &Checkpoint<'_>) -> Result<(), String> {
        if let Some(path) = self.newest.take() {
            fs::File::options().write(true).open(path).unwrap().set_len(0).unwrap();
        }
        self.state.checkpoint(checkpoint)
    }

    fn transaction(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<(), String> {
        self.state.transaction(zxid, bytes)
    }
}

#[test]
fn a_checkpoint_that_cannot_be_read_is_named_with_its_place_and_the_one_before_serves() {
    let (path, [older, newer]) = filled();
    let directory = DataDirectory::open(path.path(), path.path()).unwrap();
    let mut files = SegmentFiles::new(&directory, SyncMode::Fdatasync);
    let mut restore = Unreadable { state: State::default(), newest: Some(&newer.path) };
    let recovered = directory.recover(&mut files, &mut restore).unwrap();
    assert_eq!((recovered.checkpoint, restore.state), (Some(older), State::up_to(60)));
    let [(name, why)] = &recovered.damaged[..] else { panic!("{:?}", recovered.damaged) };
    assert_eq!(*name, newer);
    // The first block, which lies behind the header.
    assert!(why.starts_with("unreadable at offset 32: "), "{why}");
}

#[test]
fn without_a_valid_checkpoint_the_whole_log_serves_and_half_of_it_never() {
    let (directory, [older, newer]) = filled();
    flip(&older.path, 100);
    flip(&newer.path, 100);
    let (_, state, recovered) = Server::start(directory.path(), SyncMode::Fdatasync).unwrap();
    assert_eq!((recovered.checkpoint, recovered.damaged.len()), (None, 2));
    assert_eq!(state, State::up_to(60));
    fs::remove_file(segment(directory.path(), 1)).unwrap();
    let Refusal::Log { verdict, checkpoint: None, damaged, .. } = refusal(directory.path()) else {
        panic!("another refusal")
    };
    assert_eq!(verdict, Verdict::Gap { missing: Sequence(1) });
    assert_eq!(damaged.len(), 2);
}

#[test]
fn a_log_that_lost_its_end_is_refused_even_if_the_checkpoint_that_knows_is_damaged() {
    let (directory, [_, newer]) = filled();
    for name in fs::read_dir(directory.path().join("log")).unwrap() {
        fs::remove_file(name.unwrap().path()).unwrap();
    }
    let (path, log, verdict) = (newer.path.clone(), directory.path().join("log"), Verdict::Clean);
    let ends_early = Refusal::LogEndsEarly { last: Zxid(40), path, known: Zxid(45), log, verdict };
    assert_eq!(refusal(directory.path()), ends_early);
    flip(&newer.path, 100);
    assert!(matches!(refusal(directory.path()), Refusal::LogEndsEarly { known: Zxid(40), .. }));
}

#[test]
fn a_torn_end_is_cut_and_damage_before_it_is_refused() {
    let (directory, _) = filled();
    let log = directory.path().join("log");
    let mut segments: Vec<PathBuf> = fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    // The last file is the prepared one.
    let last = &segments[segments.len() - 2];
    let bytes = fs::read(last).unwrap();
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    flip(last, end);
    let (mut server, state, recovered) = Server::start(directory.path(), SyncMode::Fdatasync).unwrap();
    assert!(matches!(recovered.log, Verdict::TornTail { .. }), "{}", recovered.log);
    assert_eq!(state, State::up_to(59));
    server.write(3);
    drop(server);
    let (_, state, recovered) = Server::start(directory.path(), SyncMode::Fdatasync).unwrap();
    assert_eq!((recovered.log, state), (Verdict::Clean, State::up_to(62)));
    flip(last, 4096 + 70);
    assert!(matches!(refusal(directory.path()), Refusal::Log { verdict: Verdict::Corrupt { .. }, .. }));
}

#[test]
fn files_of_another_database_or_release_are_refused() {
    let (directory, [_, newer]) = filled();
    let (other, [_, foreign]) = filled();
    let own = fs::read(&newer.path).unwrap();
    fs::copy(&foreign.path, &newer.path).unwrap();
    assert!(matches!(refusal(directory.path()), Refusal::ForeignCheckpoint { .. }));
    let mut later = own.clone();
    later[4] = 3;
    let checksum = crc32c::crc32c(&later[..28]);
    later[28..32].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&newer.path, later).unwrap();
    assert!(matches!(refusal(directory.path()), Refusal::UnknownCheckpoint { version: 3, .. }));
    fs::write(&newer.path, own).unwrap();
    fs::copy(segment(other.path(), 1), segment(directory.path(), 1)).unwrap();
    // Segment 1 is not needed behind the checkpoint: only what is needed is read.
    Server::start(directory.path(), SyncMode::Fdatasync).unwrap();
    let newest = fs::read_dir(other.path().join("log")).unwrap().count() as u64 - 1;
    fs::copy(segment(other.path(), newest), segment(directory.path(), newest)).unwrap();
    assert!(matches!(
        refusal(directory.path()),
        Refusal::Log { verdict: Verdict::ForeignDatabase { .. }, .. }
    ));
}

#[test]
fn retention_leaves_what_two_checkpoints_need_and_recovery_still_serves() {
    let (directory, [older, newer]) = filled();
    let (mut server, _, _) = Server::start(directory.path(), SyncMode::Fdatasync).unwrap();
    let removed =
        server.directory.remove_obsolete(&mut server.files, 2, |name| name.is_valid(|_| {})).unwrap();
    assert!(!removed.segments.is_empty() && removed.checkpoints.is_empty(), "{removed:?}");
    server.write(5);
    let newest = server.checkpoint(62);
    let removed =
        server.directory.remove_obsolete(&mut server.files, 0, |name| name.is_valid(|_| {})).unwrap();
    assert_eq!(removed.checkpoints, [older.first_zxid]);
    assert!(!removed.segments.is_empty());
    let mut read = 0;
    assert!(newest.is_valid(|bytes| read += bytes));
    assert!(read > 0 && read < fs::metadata(&newest.path).unwrap().len(), "{read}");
    server.write(5);
    drop(server);
    flip(&newest.path, 100);
    let (_, state, recovered) = Server::start(directory.path(), SyncMode::Fdatasync).unwrap();
    assert_eq!(recovered.checkpoint, Some(newer));
    assert_eq!(state, State::up_to(70));
}

#[test]
fn a_checkpoint_is_written_over_an_obsolete_one_and_ends_where_it_ends() {
    let (directory, [older, _]) = filled();
    let (mut server, _, _) = Server::start(directory.path(), SyncMode::Fdatasync).unwrap();
    let spare = server.directory.snap().join(SPARE_CHECKPOINT);
    let mut file = fs::File::options().append(true).open(&older.path).unwrap();
    file.write_all(&[0xff; 1 << 20]).unwrap();
    fs::rename(&older.path, &spare).unwrap();
    server.write(5);
    let newest = server.checkpoint(62);
    assert!(!spare.exists() && newest.is_valid(|_| {}));
    assert!(fs::metadata(&newest.path).unwrap().len() < 1 << 20);
}

#[test]
fn an_interrupted_checkpoint_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (server, _, _) = Server::start(directory.path(), SyncMode::Fdatasync).unwrap();
    let mut writer = CheckpointWriter::new(server.directory.database(), Zxid(0));
    let mut file = CheckpointFile::create(&server.directory, Zxid(0), true).unwrap();
    assert!(file.drain(&mut writer).unwrap() > 0);
    drop(file);
    assert_eq!(fs::read_dir(server.directory.snap()).unwrap().count(), 0);
}

#[test]
fn checkpoints_behind_a_cut_are_removed() {
    let (directory, [older, newer]) = filled();
    let (server, _, _) = Server::start(directory.path(), SyncMode::Fdatasync).unwrap();
    server.directory.forget_behind(Zxid(44)).unwrap();
    assert!(older.path.exists() && !newer.path.exists(), "the newer has seen up to 45");
}

#[test]
fn a_failed_write_names_the_file_and_ends_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let (mut server, _, _) = Server::start(directory.path(), SyncMode::Fdatasync).unwrap();
    server.settle();
    fs::remove_file(segment(directory.path(), 1)).unwrap();
    server.writer.append(Zxid(1), b"x", 0).unwrap();
    let write = server.writer.take_write(0).unwrap().unwrap();
    let result = server.files.write(&write);
    let Err(LogError::Failed(IoFailure { errno, message })) = server.writer.on_written(write, result) else {
        panic!("a missing file is no failure");
    };
    assert_eq!(errno, Some(libc::ENOENT));
    assert!(message.contains("000000000001.rklog"), "{message}");
    assert!(server.writer.append(Zxid(2), b"x", 0).is_err());
}

#[test]
fn a_new_directory_begins_at_zero() {
    let directory = tempfile::tempdir().unwrap();
    let (server, state, recovered) = Server::start(directory.path(), SyncMode::Fdatasync).unwrap();
    assert!(server.directory.is_new());
    assert_eq!(recovered.tail, Tail::origin(Zxid::ZERO, Sequence::FIRST));
    assert_eq!(state, State::default());
}
