//! Round trips, golden bytes, and damage at every byte.

use proptest::prelude::*;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Mutex;

use super::format::{AclIndex, NodeRecord, SessionRecord};
use super::reader::{Checkpoint, Fault, Fetch, Record};
use super::writer::CheckpointWriter;
use crate::id::{SessionId, Zxid};
use crate::log::DatabaseId;
use crate::tree::walk::Ordinal;

const DATABASE: DatabaseId = DatabaseId(0x1122_3344_5566_7788);

/// A node with bytes of its own.
#[derive(Clone, Debug, Default, PartialEq)]
struct Owned {
    path: String,
    parent: Option<Ordinal>,
    data: Option<Vec<u8>>,
    acl: Vec<u8>,
    zxids: [u64; 3],
    times: [i64; 2],
    versions: [i32; 3],
    owner: i64,
}

impl Owned {
    fn record(&self, acl: AclIndex) -> NodeRecord<'_> {
        NodeRecord {
            path: &self.path,
            parent: self.parent,
            data: self.data.as_deref(),
            acl,
            czxid: Zxid(self.zxids[0]),
            mzxid: Zxid(self.zxids[1]),
            pzxid: Zxid(self.zxids[2]),
            ctime: self.times[0],
            mtime: self.times[1],
            version: self.versions[0],
            cversion: self.versions[1],
            aversion: self.versions[2],
            ephemeral_owner: self.owner,
        }
    }

    fn from_record(node: &NodeRecord<'_>, checkpoint: &Checkpoint<'_>) -> Owned {
        Owned {
            path: node.path.into(),
            parent: node.parent,
            data: node.data.map(Into::into),
            acl: checkpoint.acl(node.acl).into(),
            zxids: [node.czxid.0, node.mzxid.0, node.pzxid.0],
            times: [node.ctime, node.mtime],
            versions: [node.version, node.cversion, node.aversion],
            owner: node.ephemeral_owner,
        }
    }
}

fn write(nodes: &[Owned], sessions: &[SessionRecord]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut writer = CheckpointWriter::new(DATABASE, Zxid(0x1_0000_0005));
    sessions.iter().for_each(|session| writer.session(session));
    for node in nodes {
        let acl = writer.intern_acl(&node.acl);
        writer.node(&node.record(acl));
        while let Some(bytes) = writer.take_bytes() {
            file.extend_from_slice(&bytes);
        }
    }
    writer.finish(Zxid(0x1_0000_0009)).for_each(|bytes| file.extend_from_slice(&bytes));
    file
}

fn read(file: &[u8]) -> Result<(Vec<Owned>, Vec<SessionRecord>), Fault> {
    let checkpoint = Checkpoint::open(file)?;
    let (mut nodes, mut sessions) = (Vec::new(), Vec::new());
    checkpoint.visit(|record| match record {
        Record::Node(node) => nodes.push(Owned::from_record(&node, &checkpoint)),
        Record::Session(session) => sessions.push(session),
    })?;
    Ok((nodes, sessions))
}

fn owned() -> impl Strategy<Value = Owned> {
    let zxids = prop_oneof![Just([7, 7, 7]), any::<[u64; 3]>()];
    let times = prop_oneof![Just([1_700_000_000_000; 2]), any::<[i64; 2]>()];
    let versions = prop_oneof![Just([0; 3]), any::<[i32; 3]>()];
    let owner = prop_oneof![Just(0), any::<i64>()];
    let data = prop::option::of(prop::collection::vec(any::<u8>(), 0..300));
    let acl = prop::sample::select(vec![b"".to_vec(), b"one".to_vec(), vec![7; 90]]);
    let place = ("(/[a-zé]{1,9}){1,4}", prop::option::of(0u32..1000));
    (place, data, acl, zxids, times, versions, owner).prop_map(
        |((path, parent), data, acl, zxids, times, versions, owner)| Owned {
            path,
            parent: parent.map(Ordinal),
            data,
            acl,
            zxids,
            times,
            versions,
            owner,
        },
    )
}

fn sample() -> (Vec<Owned>, Vec<SessionRecord>) {
    let node = |path: &str| Owned {
        path: path.into(),
        parent: None,
        data: None,
        acl: b"open".to_vec(),
        zxids: [0x1_0000_0001; 3],
        times: [0x0102_0304; 2],
        versions: [0; 3],
        owner: 0,
    };
    let nodes = vec![
        Owned { versions: [0, 2, 0], zxids: [0, 0, 3], times: [0; 2], ..node("/") },
        Owned { data: Some(b"value".to_vec()), parent: Some(Ordinal(0)), ..node("/a") },
        Owned {
            data: Some(vec![]),
            parent: Some(Ordinal(1)),
            acl: b"mine".to_vec(),
            zxids: [1, 2, 1],
            times: [5, 6],
            versions: [1, 0, 4],
            owner: 77,
            ..node("/a/b")
        },
    ];
    (nodes, vec![SessionRecord { id: SessionId(0x7700_0000_0000_0001), timeout_ms: 30_000 }])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read(
        nodes in prop::collection::vec(owned(), 0..60),
        timeouts in prop::collection::vec(any::<(i64, u32)>(), 0..9),
    ) {
        let session = |(id, timeout_ms)| SessionRecord { id: SessionId(id), timeout_ms };
        let sessions: Vec<_> = timeouts.into_iter().map(session).collect();
        let (mut found_nodes, found_sessions) = read(&write(&nodes, &sessions)).unwrap();
        // Nodes keep their order among themselves.
        prop_assert_eq!(found_nodes.len(), nodes.len());
        for (found, node) in found_nodes.drain(..).zip(nodes) {
            prop_assert_eq!(found, node);
        }
        prop_assert_eq!(found_sessions, sessions);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
        let _ = read(&bytes);
    }
}

#[test]
fn a_checkpoint_of_many_blocks_keeps_order_and_counts() {
    let (template, _) = sample();
    let node = |number: usize| Owned {
        path: format!("/n{number:05}"),
        data: Some(vec![number as u8; if number == 700 { 600_000 } else { number % 1500 }]),
        acl: format!("list {}", number % 5000).into_bytes(),
        ..template[1].clone()
    };
    let nodes: Vec<Owned> = (0..3000).map(node).collect();
    let sessions: Vec<_> =
        (0..30_000).map(|id| SessionRecord { id: SessionId(id), timeout_ms: id as u32 }).collect();
    let file = write(&nodes, &sessions);
    let checkpoint = Checkpoint::open(&file).unwrap();
    assert!(checkpoint.block_count() > 10);
    assert_eq!(checkpoint.node_count(), 3000);
    assert_eq!(checkpoint.session_count(), 30_000);
    assert_eq!(checkpoint.acls().len(), 3000);
    assert_eq!(
        checkpoint.data_bytes(),
        nodes.iter().map(|node| node.data.as_ref().unwrap().len() as u64).sum()
    );
    assert_eq!((checkpoint.first_zxid(), checkpoint.last_zxid()), (Zxid(0x1_0000_0005), Zxid(0x1_0000_0009)));
    assert_eq!(read(&file).unwrap(), (nodes, sessions));
}

#[test]
fn a_checkpoint_keeps_its_golden_bytes() {
    let (nodes, sessions) = sample();
    let file = write(&nodes, &sessions);
    assert_eq!(read(&file).unwrap(), (nodes, sessions));
    assert_eq!(
        hex(&file),
        concat!(
            "524b534e02000000",                                 // magic, version
            "88776655443322110500000001000000",                 // database, first zxid
            "0000000089190ff7",                                 // nothing, checksum
            "bb6ad59a9700000001000000030000002000000000000000", // block: checksum, 151 bytes, nodes, 3 records, offset 32
            "020100000000000000ffffffff", // "/": children; 1 byte of path, list 0, no parent
            "00000000000000000000000000000000", // czxid, ctime
            "030000000000000002000000",   // pzxid, cversion
            "2f",
            "10020000000000000000000000", // "/a": data; 2 bytes of path, list 0, parent 0
            "01000000010000000403020100000000", // czxid, ctime
            "05000000",                   // 5 bytes of data
            "2f6176616c7565",
            "1d040000000100000001000000", // "/a/b": changed, ACL changed, owned, data; list 1, parent 1
            "01000000000000000500000000000000", // czxid, ctime
            "0200000000000000060000000000000001000000", // mzxid, mtime, version
            "04000000",                   // aversion
            "4d00000000000000",           // owner
            "00000000",                   // 0 bytes of data
            "2f612f62",
            "aa948be80c0000000200000001000000cf00000000000000", // block: sessions
            "010000000000007730750000",                         // id, timeout
            "095659df100000000300000002000000f300000000000000", // block: access control lists
            "040000006f70656e",                                 // "open"
            "040000006d696e65",                                 // "mine"
            "200000000000000097000000bb6ad59a0100000003000000", // index: offset, bytes, checksum, kind, records
            "cf000000000000000c000000aa948be80200000001000000",
            "f30000000000000010000000095659df0300000002000000",
            "09000000010000001b01000000000000", // footer: last zxid, offset of the index
            "0300000000000000",                 // blocks
            "030000000000000001000000000000000200000000000000", // nodes, sessions, lists
            "0500000000000000",                 // bytes of data
            "26247de2524b5345",                 // checksum, magic
        )
    );
}

#[test]
fn every_flipped_byte_is_named() {
    let (nodes, sessions) = sample();
    let file = write(&nodes, &sessions);
    for at in 0..file.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut damaged = file.clone();
            damaged[at] ^= mask;
            let fault = read(&damaged).expect_err("a flip is seen");
            let Fault::Damaged { offset, .. } = fault else { panic!("{at}: {fault}") };
            assert!(offset <= at as u64 || offset > file.len() as u64 - 200, "{at}: {fault}");
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let (nodes, sessions) = sample();
    let file = write(&nodes, &sessions);
    for length in 0..file.len() {
        assert!(read(&file[..length]).is_err(), "{length}");
    }
    let mut longer = file.clone();
    longer.push(0);
    assert!(read(&longer).is_err());
}

#[test]
fn a_block_of_another_checkpoint_is_refused() {
    let (nodes, sessions) = sample();
    let file = write(&nodes, &sessions);
    let mut writer = CheckpointWriter::new(DATABASE, Zxid(0x1_0000_0006));
    for node in &nodes {
        let acl = writer.intern_acl(&node.acl);
        writer.node(&node.record(acl));
    }
    sessions.iter().for_each(|session| writer.session(session));
    let other: Vec<u8> = writer.finish(Zxid(0x1_0000_0009)).flatten().collect();
    assert_eq!(file.len(), other.len());
    let mut mixed = file.clone();
    let middle = 32..file.len() - 64 - 3 * 24;
    mixed[middle.clone()].copy_from_slice(&other[middle]);
    assert!(matches!(read(&mixed), Err(Fault::Damaged { .. })));
}

#[test]
fn an_undamaged_file_of_another_version_is_named_as_such() {
    let (nodes, sessions) = sample();
    let mut file = write(&nodes, &sessions);
    file[4] = 3;
    let checksum = crc32c::crc32c(&file[..28]);
    file[28..32].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(read(&file), Err(Fault::UnknownVersion(3)));
}

/// A file of which one byte cannot be read.
#[derive(Debug)]
struct Unreadable {
    at: usize,
    fetched: Mutex<BTreeSet<usize>>,
}

impl Fetch for Unreadable {
    fn fetch(&self, range: Range<usize>) -> Result<(), Fault> {
        self.fetched.lock().unwrap().extend(range.clone());
        let fault = Fault::Unreadable { offset: self.at as u64, why: "an error".into() };
        if range.contains(&self.at) { Err(fault) } else { Ok(()) }
    }
}

#[test]
fn no_byte_is_looked_at_before_it_was_fetched() {
    let node = Owned { path: "/a".into(), acl: b"one".to_vec(), ..Owned::default() };
    let file = write(&[node], &[SessionRecord { id: SessionId(7), timeout_ms: 4000 }]);
    for at in 0..=file.len() {
        let fetch = Unreadable { at, fetched: Mutex::default() };
        let read = Checkpoint::open_fetched(&file, &fetch).and_then(|opened| opened.visit(|_| ()));
        match read {
            Ok(()) => assert_eq!((at, fetch.fetched.into_inner().unwrap().len()), (file.len(), file.len())),
            Err(fault) => assert_eq!(fault.to_string(), format!("unreadable at offset {at}: an error")),
        }
    }
}
