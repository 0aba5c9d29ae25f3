//! A data directory that a real server filled, and ways to damage a copy of it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::log::format::{SEGMENT_HEADER_BYTES, SegmentHeader};
use ringkeeper_engine::log::reader::SegmentReader;
use ringkeeper_net::disk::{Record, look_at_records};
use ringkeeper_tests::wire::{Encoder, Session, op};
use tempfile::TempDir;

use crate::run::{Running, start, until};

/// Small, so that a run of a second has many segments.
const SEGMENT_BYTES: u64 = 65_536;
/// Many checkpoints, so that files are used again.
const CHECKPOINTS: &str = "snapCount=80";
/// None: a checkpoint is written whenever it is, and sees what is written meanwhile. The rows of the table
/// are about damage that no checkpoint knows of.
const NO_CHECKPOINTS: &str = "snapCount=1000000";
const NODES: usize = 40;
const ROUNDS: usize = 40;
/// So many batches of the newest segment are there before the last writes come, and so many of those.
const BATCHES_BEFORE: usize = 8;
const LAST_WRITES: usize = 6;

/// A tree as its writer knows it.
pub type Nodes = BTreeMap<String, Vec<u8>>;

/// How a server that filled a directory ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// SIGTERM.
    Stopped,
    /// SIGKILL in the middle of its work: the log has no mark of its last moments.
    Killed,
}

/// A directory, and every acknowledged write to it in order.
pub struct Data {
    pub path: PathBuf,
    writes: Vec<(String, Vec<u8>)>,
    /// The mark of a server that was killed.
    mark_left: Vec<u8>,
    _home: TempDir,
}

impl Data {
    /// Fills a new directory: a server that takes checkpoints has it, then one that takes none.
    pub fn fill(sync: &str, end: End) -> Data {
        let home = tempfile::Builder::new().prefix("ringkeeper-recovery-").tempdir().expect("a directory");
        let path = home.path().join("data");
        let mut data = Data { path, writes: Vec::new(), mark_left: Vec::new(), _home: home };
        data.fill_with_checkpoints(sync, end);
        data.fill_without_checkpoints(sync, end);
        data
    }

    fn serve(&self, sync: &str, checkpoints: &str) -> Running {
        let (sync, segments) = (format!("log.sync={sync}"), format!("log.segmentBytes={SEGMENT_BYTES}"));
        start(&self.path, &["--set", &segments, "--set", checkpoints, "--set", &sync]).serves()
    }

    fn fill_with_checkpoints(&mut self, sync: &str, end: End) {
        let server = self.serve(sync, CHECKPOINTS);
        let mut session = server.session().expect("a session");
        self.write(&mut session, "/t", b"");
        for node in 0..NODES {
            self.write(&mut session, &format!("/t/n{node:02}"), b"first");
        }
        for round in 0.. {
            self.write_some(&mut session, NODES);
            // A row of the table is about a file that is used again, which takes checkpoints: on a busy machine
            // they are late. What is prepared by now takes no other file.
            until(|| self.is_prepared(), "a segment is prepared");
            if round >= ROUNDS && !self.files("log", "rkspare").is_empty() {
                break;
            }
            assert!(round < 20 * ROUNDS, "no file to be used again");
        }
        // It is not to expire among what is written last.
        session.request(op::CLOSE_SESSION, &[]).expect("a reply");
        match end {
            End::Stopped => assert_eq!(server.stop().0, Some(0)),
            End::Killed => server.kill(),
        }
    }

    fn fill_without_checkpoints(&mut self, sync: &str, end: End) {
        let server = self.serve(sync, NO_CHECKPOINTS);
        let mut session = server.session().expect("a session");
        self.write_some(&mut session, 1);
        let first = self.newest_segment().header.sequence;
        // Rows about a server that was stopped strike the segment before, too.
        let wanted = if end == End::Stopped { first.next() } else { first };
        let newest = loop {
            let newest = self.newest_segment();
            if newest.header.sequence >= wanted && newest.offsets.len() > BATCHES_BEFORE {
                break newest;
            }
            self.write_some(&mut session, 1);
        };
        // Rows are about the segment that is ready for what comes next, and about what the mark says of the
        // newest: neither is waited for by what is written.
        until(|| self.is_prepared(), "a segment is prepared");
        until(|| self.marked() > Some(newest.header.previous_zxid), "the newest segment is marked");
        self.write_some(&mut session, LAST_WRITES);
        match end {
            End::Stopped => assert_eq!(server.stop().0, Some(0)),
            End::Killed => {
                server.kill();
                // Most rows are about damage that no mark knows of.
                self.mark_left = fs::read(self.mark()).expect("a mark");
                fs::remove_file(self.mark()).expect("a mark");
            }
        }
        assert_eq!(
            self.newest_segment().path,
            newest.path,
            "the last writes are in the segment that is marked"
        );
    }

    /// Whether the segment behind the newest one has its file. To be called when nothing is being written.
    fn is_prepared(&self) -> bool {
        let newest = self.segments().pop().expect("a segment");
        let is_whole = fs::metadata(&newest).is_ok_and(|file| file.len() == SEGMENT_BYTES);
        is_whole && Segment::read(newest).is_none()
    }

    /// How far the mark says that the log is durable.
    fn marked(&self) -> Option<Zxid> {
        let records = look_at_records(&self.path).expect("records");
        let copies = records.into_iter().flat_map(|file| file.copies).flatten();
        let marks =
            copies.filter_map(|record| if let Record::Mark(zxid) = record { Some(zxid) } else { None });
        marks.max()
    }

    /// Gives so many nodes, one after the other, another value each.
    fn write_some(&mut self, session: &mut Session, count: usize) {
        for number in self.writes.len()..self.writes.len() + count {
            let node = number % NODES;
            let value = format!("{number}:{node} ").repeat(130 + node);
            self.write(session, &format!("/t/n{node:02}"), value.as_bytes());
        }
    }

    fn write(&mut self, session: &mut Session, path: &str, value: &[u8]) {
        let known = self.writes.iter().any(|(known, _)| known == path);
        put(session, path, value, known).expect("a reply");
        self.writes.push((path.to_owned(), value.to_vec()));
    }

    /// What is there when the last `lost` writes are not.
    pub fn nodes(&self, lost: usize) -> Nodes {
        self.writes[..self.writes.len() - lost].iter().cloned().collect()
    }

    /// A copy to damage.
    pub fn copy(&self) -> Data {
        let home = tempfile::Builder::new().prefix("ringkeeper-recovery-").tempdir().expect("a directory");
        let path = home.path().join("data");
        copy_directory(&self.path, &path).expect("a copy");
        Data { path, writes: self.writes.clone(), mark_left: self.mark_left.clone(), _home: home }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn mark(&self) -> PathBuf {
        self.file("mark")
    }

    /// Puts back the mark that a server left that was killed: it knows that the newest segment was begun.
    pub fn put_back_mark(&self) {
        fs::write(self.mark(), &self.mark_left).expect("the mark");
    }

    fn files(&self, directory: &str, ending: &str) -> Vec<PathBuf> {
        let names = fs::read_dir(self.path.join(directory)).expect("a directory");
        let mut paths: Vec<PathBuf> = names.map(|entry| entry.expect("an entry").path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == ending));
        paths.sort();
        paths
    }

    /// All segments, oldest first.
    pub fn segments(&self) -> Vec<PathBuf> {
        self.files("log", "rklog")
    }

    /// All checkpoints, oldest first.
    pub fn checkpoints(&self) -> Vec<PathBuf> {
        self.files("snap", "rksnap")
    }

    /// The segments that were written to, oldest first.
    pub fn written(&self) -> Vec<Segment> {
        self.segments().into_iter().filter_map(Segment::read).collect()
    }

    pub fn newest_segment(&self) -> Segment {
        self.written().pop().expect("a segment that was written to")
    }

    pub fn newest_checkpoint(&self) -> PathBuf {
        self.checkpoints().pop().expect("a checkpoint")
    }

    /// Leaves the oldest checkpoint alone, so that a long piece of the log is needed.
    pub fn keep_oldest_checkpoint(&self) {
        self.checkpoints().iter().skip(1).for_each(|path| remove(path));
    }
}

/// A segment that was written to.
pub struct Segment {
    pub path: PathBuf,
    pub header: SegmentHeader,
    /// Where its batches begin, and where the last one ends.
    pub offsets: Vec<usize>,
}

impl Segment {
    /// `None` for one that was not written to.
    pub fn read(path: PathBuf) -> Option<Segment> {
        let bytes = match fs::read(&path) {
            // The server that runs here has just put it aside.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            read => read.expect("a segment"),
        };
        let sequence = path.file_stem()?.to_str()?.parse().ok()?;
        let mut reader = SegmentReader::open(&bytes).ok()?;
        let header = *reader.header();
        let mut offsets = vec![reader.position().offset as usize];
        while reader.next().is_some() {
            offsets.push(reader.position().offset as usize);
        }
        (header.sequence.0 == sequence).then_some(Segment { path, header, offsets })
    }

    /// The beginning of a batch, counted from the last one back.
    pub fn batch_from_end(&self, number: usize) -> usize {
        self.offsets[self.offsets.len() - 2 - number]
    }
}

/// Creates a node, or sets its data.
pub fn put(session: &mut Session, path: &str, value: &[u8], known: bool) -> io::Result<()> {
    let mut body = Encoder::default();
    body.string(path).buffer(Some(value));
    let reply = match known {
        true => session.request(op::SET_DATA, &body.int(-1).bytes)?,
        false => session.request(op::CREATE, &body.open_acl().int(0).bytes)?,
    };
    match reply.error {
        0 => Ok(()),
        error => Err(io::Error::other(format!("{path}: error {error}"))),
    }
}

/// Reads a node.
pub fn get(session: &mut Session, path: &str) -> io::Result<Vec<u8>> {
    let mut body = Encoder::default();
    body.string(path).boolean(false);
    let reply = session.request(op::GET_DATA, &body.bytes)?;
    if reply.error != 0 {
        return Err(io::Error::other(format!("{path}: error {}", reply.error)));
    }
    let data = ringkeeper_tests::wire::Decoder::new(&reply.body).buffer("data").ok().flatten();
    Ok(data.unwrap_or_default().to_vec())
}

/// What a server shows of the nodes that a directory has.
pub fn shown(server: &Running, nodes: &Nodes) -> Nodes {
    let mut session = server.session().expect("a session");
    nodes.keys().map(|path| (path.clone(), get(&mut session, path).expect("a node"))).collect()
}

/// Flips one bit.
pub fn flip(path: &Path, at: usize) {
    change(path, |bytes| bytes[at] ^= 1);
}

/// Changes a file's bytes.
pub fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("a file");
    change(&mut bytes);
    fs::write(path, bytes).expect("a file");
}

pub fn remove(path: &Path) {
    fs::remove_file(path).expect("a file");
}

/// Gives a file's header another version, with the checksum that fits.
pub fn set_version(path: &Path, header_bytes: usize, version: u32) {
    change(path, |bytes| {
        bytes[4..8].copy_from_slice(&version.to_le_bytes());
        let checksum_at = header_bytes - 4;
        let checksum = crc32c::crc32c(&bytes[..checksum_at]);
        bytes[checksum_at..header_bytes].copy_from_slice(&checksum.to_le_bytes());
    });
}

pub const SEGMENT_HEADER: usize = SEGMENT_HEADER_BYTES;

pub fn copy_directory(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let (path, target) = (entry.as_ref().expect("an entry").path(), to.join(entry?.file_name()));
        match path.is_dir() {
            true => copy_directory(&path, &target)?,
            false => fs::copy(&path, &target).map(|_| ())?,
        }
    }
    Ok(())
}
