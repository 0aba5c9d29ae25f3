//! Files whose every byte is known: our segments and checkpoints, ZooKeeper's logs and snapshots, all
//! of the same small history, with fixed times.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::jute::Write as _;
use ringkeeper_engine::jute::records::StatPersisted;
use ringkeeper_engine::log::format::{
    Alignment, BATCH_HEADER_BYTES, BatchHeader, Checksum, Link, SEGMENT_HEADER_BYTES, SegmentHeader,
    encode_entry_header,
};
use ringkeeper_engine::log::{DatabaseId, Sequence};
use ringkeeper_engine::snap::{CheckpointWriter, NodeRecord, SessionRecord};
use ringkeeper_engine::tree::acl::{AclEntry, AclList, RawAcl};
use ringkeeper_engine::tree::path;
use ringkeeper_engine::tree::walk::Ordinal;
use ringkeeper_engine::zookeeper::log::{write_log_header, write_record};
use ringkeeper_engine::zookeeper::snapshot::{Item, OPEN_ACL, SnapshotNode, SnapshotWriter, Trailer};
use ringkeeper_engine::zookeeper::stream::Compression;
use ringkeeper_tests::server;
use ringkeeper_tests::wire::{Encoder, op};
use tempfile::TempDir;

pub const DATABASE: DatabaseId = DatabaseId(0x1122_3344_5566_7788);
pub const SESSION: i64 = 0x0100_0000_0000_0001;
/// 2023-11-14T22:13:20Z
const EPOCH_MS: i64 = 1_700_000_000_000;

/// What a tool printed, and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the tools print UTF-8");
        Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// A tool's command, in the directory where the files are.
pub fn command(directory: &Path, words: &[&str]) -> Command {
    let binary = server::ringkeeper_binary().expect("the binary is there, or can be built");
    let mut command = Command::new(binary);
    command.args(words).current_dir(directory).stdin(Stdio::null());
    command
}

/// Runs a tool to its end.
pub fn run(directory: &Path, words: &[&str]) -> Ran {
    command(directory, words).output().expect("the binary runs").into()
}

/// The transactions of the history, in order, as both formats log them.
pub fn history() -> Vec<Vec<u8>> {
    let transactions: [(i32, Body); 11] = [
        (op::CREATE_SESSION, Box::new(|out| _ = out.int(30_000))),
        (op::CREATE, Box::new(|out| create(out, "/config", b"timeout=5\n", 1))),
        (op::CREATE2, Box::new(|out| create(out, "/config/binary", b"\xff\x00", 1))),
        (op::CREATE_CONTAINER, Box::new(|out| _ = out.string("/jobs").buffer(None).open_acl().int(2))),
        (
            op::CREATE_TTL,
            Box::new(|out| {
                _ = out.string("/jobs/1").buffer(Some(b"")).open_acl().int(1).long(60_000);
            }),
        ),
        (op::SET_DATA, Box::new(|out| _ = out.string("/config").buffer(Some(b"timeout=7\n")).int(1))),
        (
            op::SET_ACL,
            Box::new(|out| {
                _ = out.string("/config").int(1).int(1).string("digest").string("bob:x=").int(1);
            }),
        ),
        (op::MULTI, Box::new(multi)),
        (op::MULTI, Box::new(failed_multi)),
        (op::DELETE, Box::new(|out| _ = out.string("/config/binary"))),
        (op::CLOSE_SESSION, Box::new(|out| _ = out.int(1).string("/config/lock"))),
    ];
    let numbered = (1..).zip(transactions);
    numbered.map(|(number, (op, body))| transaction(number, op, &body)).collect()
}

type Body = Box<dyn Fn(&mut Encoder)>;

/// A transaction's bytes.
pub fn transaction(zxid: i64, op: i32, body: &dyn Fn(&mut Encoder)) -> Vec<u8> {
    let mut out = Encoder::default();
    out.long(SESSION).int(zxid as i32 - 1).long(zxid).long(EPOCH_MS + zxid * 250).int(op);
    body(&mut out);
    out.bytes
}

fn create(out: &mut Encoder, path: &str, data: &[u8], parent_cversion: i32) {
    out.string(path).buffer(Some(data)).open_acl().boolean(false).int(parent_cversion);
}

fn part(out: &mut Encoder, op: i32, body: impl Fn(&mut Encoder)) {
    let mut inner = Encoder::default();
    body(&mut inner);
    out.int(op).buffer(Some(&inner.bytes));
}

fn multi(out: &mut Encoder) {
    out.int(3);
    part(out, op::CREATE, |out| {
        out.string("/config/lock").buffer(Some(b"me")).open_acl().boolean(true).int(2);
    });
    part(out, op::SET_DATA, |out| _ = out.string("/config").buffer(Some(b"timeout=9\n")).int(2));
    part(out, op::CHECK, |out| _ = out.string("/jobs").int(0));
}

fn failed_multi(out: &mut Encoder) {
    out.int(2);
    part(out, op::ERROR, |out| _ = out.int(0));
    part(out, op::ERROR, |out| _ = out.int(-110));
}

/// The length of a segment's file.
pub const FILE_BYTES: usize = 16 << 10;

/// What a segment's header says of how it is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sort {
    pub unsynced: bool,
    pub capacity: u64,
}

/// A segment that is being made.
pub struct Segment {
    pub bytes: Vec<u8>,
    /// Where each batch begins.
    pub batches: Vec<usize>,
    header: SegmentHeader,
    /// Of what came last.
    checksum: Checksum,
    last: Zxid,
}

impl Segment {
    /// An empty one: the first of a log, or one that goes on behind another.
    pub fn new(sequence: u64, before: Option<&Segment>) -> Segment {
        Segment::of(sequence, before, Sort::default())
    }

    /// The same, of a certain sort.
    pub fn of(sequence: u64, before: Option<&Segment>, sort: Sort) -> Segment {
        let previous = before.map(|before| Link {
            sequence: before.header.sequence,
            end: before.bytes.len() as u64,
            checksum: before.checksum,
        });
        let last = before.map_or(Zxid::ZERO, |before| before.last);
        let header = SegmentHeader {
            database: DATABASE,
            sequence: Sequence(sequence),
            first_zxid: last.next(),
            previous_zxid: last,
            previous,
            alignment: Alignment::SECTOR,
            recycled: false,
            unsynced: sort.unsynced,
            capacity: sort.capacity,
        };
        let mut bytes = vec![0; SEGMENT_HEADER_BYTES];
        let checksum = header.encode(&mut bytes);
        Segment { bytes, batches: Vec::new(), header, checksum, last }
    }

    /// Appends one batch.
    pub fn batch(mut self, transactions: &[Vec<u8>]) -> Segment {
        let mut entries = Vec::new();
        let first = self.last.next();
        for transaction in transactions {
            self.last = self.last.next();
            entries.extend(encode_entry_header(self.last, transaction.len() as u32));
            entries.extend(transaction);
        }
        let header = BatchHeader {
            bytes: (BATCH_HEADER_BYTES + entries.len()) as u32,
            previous: self.checksum,
            sequence: self.header.sequence,
            offset: self.bytes.len() as u64,
            first_zxid: first,
            last_zxid: self.last,
            entries: transactions.len() as u32,
            entries_checksum: Checksum(crc32c::crc32c(&entries)),
            committed: Zxid(first.0.saturating_sub(1)),
        };
        let mut encoded = [0; BATCH_HEADER_BYTES];
        self.checksum = header.encode(DATABASE, &mut encoded);
        self.batches.push(self.bytes.len());
        self.bytes.extend(encoded);
        self.bytes.extend(entries);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    /// The file: the batches, and zeros that were written in advance.
    pub fn file(&self) -> Vec<u8> {
        let mut file = self.bytes.clone();
        file.resize(FILE_BYTES, 0);
        file
    }
}

/// Where our logs lie in a fixture's directory.
pub fn segment_path(directory: &Path, sequence: u64) -> PathBuf {
    directory.join(format!("own/log/{sequence:012}.rklog"))
}

/// The two segments of the history: four batches, then three.
pub fn segments() -> [Segment; 2] {
    segments_of(Sort::default())
}

/// The same, of a certain sort.
pub fn segments_of(sort: Sort) -> [Segment; 2] {
    let history = history();
    let first = Segment::of(1, None, sort)
        .batch(&history[..1])
        .batch(&history[1..4])
        .batch(&history[4..5])
        .batch(&history[5..6]);
    let second =
        Segment::of(2, Some(&first), sort).batch(&history[6..8]).batch(&history[8..10]).batch(&history[10..]);
    [first, second]
}

/// A directory with `own` (log and snap) and `zk/version-2`.
pub fn directory() -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path();
    for folder in ["own/log", "own/snap", "zk/version-2"] {
        fs::create_dir_all(path.join(folder)).expect("a new directory");
    }
    let write = |name: &str, bytes: &[u8]| fs::write(path.join(name), bytes).expect("a new file");
    let [first, second] = segments();
    write("own/log/000000000001.rklog", &first.file());
    write("own/log/000000000002.rklog", &second.file());
    write("own/log/000000000003.rklog", &[0; 8192]);
    write("own/database", &twin(&[&1u32.to_le_bytes()[..], &DATABASE.0.to_le_bytes()].concat()));
    write("own/mark", &twin(&11u64.to_le_bytes()));
    write("own/epochs", &twin(&[3u32.to_le_bytes(), 2u32.to_le_bytes()].concat()));
    write("zk/version-2/log.1", &zookeeper_log());
    write("own/snap/0000000000000005.rksnap", &checkpoint(5));
    write("own/snap/0000000000000008.rksnap", &checkpoint(8));
    write("zk/version-2/snapshot.5", &zookeeper_snapshot(5, Compression::None));
    write("zk/version-2/snapshot.8.gz", &zookeeper_snapshot(8, Compression::Gzip));
    directory
}

/// Where the second copy of a record is.
pub const SECOND_COPY_AT: usize = 4096;

/// A small record, kept twice.
pub fn twin(record: &[u8]) -> Vec<u8> {
    let numbers = [record.len() as u32, crc32c::crc32c(record)].map(u32::to_le_bytes).concat();
    let copy = [&b"RKTW"[..], &numbers, record].concat();
    let mut file = copy.clone();
    file.resize(SECOND_COPY_AT, 0);
    [file, copy].concat()
}

/// The history in ZooKeeper's format.
pub fn zookeeper_log() -> Vec<u8> {
    let mut log = Vec::new();
    write_log_header(&mut log);
    for (transaction, zxid) in history().iter().zip(1i64..) {
        // As releases since 3.6 do, a digest of the tree stands behind some.
        let mut with_digest = transaction.clone();
        if zxid % 2 == 0 {
            2i32.write(&mut with_digest);
            (0xabc + zxid).write(&mut with_digest);
        }
        write_record(&with_digest, &mut log);
    }
    log.resize(8192, 0);
    log
}

/// What a snapshot has to hold.
struct Node {
    path: &'static str,
    data: Option<&'static [u8]>,
    czxid: i64,
    mzxid: i64,
    pzxid: i64,
    version: i32,
    cversion: i32,
    owner: i64,
    digest_acl: bool,
}

/// The tree behind transaction 5 or 8, without ZooKeeper's own nodes.
fn nodes(last: i64) -> Vec<Node> {
    let node = |path, data, czxid, pzxid, cversion, owner| Node {
        path,
        data,
        czxid,
        mzxid: czxid,
        pzxid,
        version: 0,
        cversion,
        owner,
        digest_acl: false,
    };
    let mut all = vec![
        node("/", None, 0, 4, 2, 0),
        node("/config", Some(&b"timeout=5\n"[..]), 2, 3, 1, 0),
        node("/config/binary", Some(b"\xff\x00"), 3, 3, 0, 0),
        node("/jobs", None, 4, 5, 1, i64::MIN),
        node("/jobs/1", Some(b""), 5, 5, 0, 0xff << 56 | 60_000),
    ];
    if last == 8 {
        let config = Node {
            mzxid: 8,
            version: 2,
            digest_acl: true,
            ..node("/config", Some(b"timeout=9\n"), 2, 8, 2, 0)
        };
        all[1] = config;
        all.push(node("/config/lock", Some(b"me"), 8, 8, 0, SESSION));
    }
    all
}

fn time(zxid: i64) -> i64 {
    if zxid == 0 { 0 } else { EPOCH_MS + zxid * 250 }
}

fn digest_acl() -> AclList {
    AclList::new(vec![AclEntry { perms: 1, scheme: "digest".into(), id: "bob:x=".into() }])
}

/// Our checkpoint of the tree behind `last`.
pub fn checkpoint(last: i64) -> Vec<u8> {
    let mut writer = CheckpointWriter::new(DATABASE, Zxid::from_jute(last));
    writer.session(&SessionRecord { id: SessionId(SESSION), timeout_ms: 30_000 });
    let lists = [writer.intern_acl(&AclList::open().bytes), writer.intern_acl(&digest_acl().bytes)];
    let nodes = nodes(last);
    for node in &nodes {
        let above = path::split(node.path).filter(|_| node.path != "/");
        let parent = above.map(|(above, _)| nodes.iter().position(|node| node.path == above).unwrap());
        writer.node(&NodeRecord {
            path: node.path,
            parent: parent.map(|place| Ordinal(place as u32)),
            data: node.data,
            acl: lists[usize::from(node.digest_acl)],
            czxid: Zxid::from_jute(node.czxid),
            mzxid: Zxid::from_jute(node.mzxid),
            pzxid: Zxid::from_jute(node.pzxid),
            ctime: time(node.czxid),
            mtime: time(node.mzxid),
            version: node.version,
            cversion: node.cversion,
            aversion: i32::from(node.digest_acl),
            ephemeral_owner: node.owner,
        });
    }
    let mut file = Vec::new();
    while let Some(bytes) = writer.take_bytes() {
        file.extend(bytes);
    }
    file.extend(writer.finish(Zxid::from_jute(last)).flatten());
    file
}

/// ZooKeeper's snapshot of the same.
pub fn zookeeper_snapshot(last: i64, compression: Compression) -> Vec<u8> {
    const DIGEST_ACL: i64 = 2;
    let mut writer = SnapshotWriter::new(compression);
    writer.count(1);
    writer.item(&Item::Session { id: SessionId(SESSION), timeout_ms: 30_000 });
    writer.count(1);
    writer.item(&Item::Acl { number: DIGEST_ACL, list: RawAcl(&digest_acl().bytes) });
    for node in nodes(last) {
        writer.item(&Item::Node(SnapshotNode {
            path: node.path.trim_end_matches('/').into(),
            data: node.data,
            acl: if node.digest_acl { DIGEST_ACL } else { OPEN_ACL },
            stat: StatPersisted {
                czxid: node.czxid,
                mzxid: node.mzxid,
                ctime: time(node.czxid),
                mtime: time(node.mzxid),
                version: node.version,
                cversion: node.cversion,
                aversion: i32::from(node.digest_acl),
                ephemeral_owner: node.owner,
                pzxid: node.pzxid,
            },
        }));
    }
    let mut file = writer.take_bytes();
    file.extend(writer.finish(&Trailer { digest: None, last_zxid: Some(Zxid::from_jute(last)) }));
    file
}
