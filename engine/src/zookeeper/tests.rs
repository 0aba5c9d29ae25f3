//! Files as ZooKeeper would leave them, whole, torn and damaged: what is read of each.

use std::sync::Arc;

use proptest::prelude::*;

use super::FileName;
use super::export::{DigestFields, write_snapshot, write_stream, write_transaction};
use super::log::{End, LogFile, LogPieces, write_log_header, write_record};
use super::replay::Replay;
use super::restore::{Refusal, Restored, restore, stage};
use super::snapshot::{Item, OPEN_ACL, Snapshot, SnapshotNode, SnapshotWriter, Trailer};
use super::stream::{Compression, Input};
use super::transaction::Transaction;
use crate::database::Database;
use crate::id::{SessionId, Zxid};
use crate::jute::records::{
    CreateSessionTxn, ErrorTxn, MultiTxn, PathRecord, SetDataTxn, StatPersisted, Txn, TxnHeader,
};
use crate::jute::{Write, to_bytes};
use crate::op::OpCode;
use crate::tree::acl::{AclEntry, AclList, RawAcl};
use crate::tree::digest::TreeDigest;
use crate::tree::kept::KeptFault;

const SESSION: i64 = 0x0100_0000_0000_0007;

fn transaction(zxid: u64, op: OpCode, record: &[u8]) -> Vec<u8> {
    let time = 1_600_000_000_000 + zxid as i64;
    let mut out =
        to_bytes(&TxnHeader { client_id: SESSION, cxid: 1, zxid: zxid as i64, time, op: op.code() });
    out.extend_from_slice(record);
    out
}

fn create(zxid: u64, path: &str, ephemeral: bool, parent_cversion: Option<i32>) -> Vec<u8> {
    let mut record = Vec::new();
    path.write(&mut record);
    path.as_bytes().write(&mut record);
    record.extend_from_slice(&AclList::open().bytes);
    ephemeral.write(&mut record);
    parent_cversion.iter().for_each(|cversion| cversion.write(&mut record));
    transaction(zxid, OpCode::Create, &record)
}

fn set_data(zxid: u64, path: &str, version: i32) -> Vec<u8> {
    transaction(
        zxid,
        OpCode::SetData,
        &to_bytes(&SetDataTxn { path: path.into(), data: Some(b"new"), version }),
    )
}

/// Ten transactions, from zxid 1 on.
fn history() -> Vec<Vec<u8>> {
    let parts = MultiTxn {
        txns: vec![
            Txn { op: OpCode::SetData.code(), data: Some(&SET) },
            Txn { op: OpCode::Error.code(), data: Some(&ERR) },
        ],
    };
    const SET: [u8; 14] = *b"\0\0\0\x02/b\xff\xff\xff\xff\0\0\0\x01";
    const ERR: [u8; 4] = [255, 255, 255, 153];
    vec![
        transaction(1, OpCode::CreateSession, &to_bytes(&CreateSessionTxn { time_out: 5000 })),
        create(2, "/a", false, Some(1)),
        create(3, "/b", false, None),
        create(4, "/a/e", true, Some(1)),
        set_data(5, "/b", 1),
        transaction(6, OpCode::Error, &to_bytes(&ErrorTxn { err: -101 })),
        transaction(7, OpCode::Multi, &to_bytes(&parts)),
        create(8, "/a/c", false, Some(2)),
        transaction(9, OpCode::Delete, &to_bytes(&PathRecord { path: "/a/c".into() })),
        create(10, "/a/d", false, Some(3)),
    ]
}

/// A log of transactions with ZooKeeper's digests, and where each record begins.
fn log_of(transactions: &[Vec<u8>], padding: usize) -> (Vec<u8>, Vec<usize>) {
    let (mut file, mut begins) = (Vec::new(), Vec::new());
    write_log_header(&mut file);
    for bytes in transactions {
        begins.push(file.len());
        write_record(bytes, &mut file);
    }
    begins.push(file.len());
    file.resize(file.len() + padding, 0);
    (file, begins)
}

fn replayed(transactions: &[Vec<u8>]) -> Replay {
    let mut replay = Replay::new(Database::new(1), Zxid::ZERO);
    for bytes in transactions {
        replay.apply(&Transaction::decode(bytes).unwrap()).unwrap();
    }
    replay
}

fn snapshot_of(transactions: &[Vec<u8>], compression: Compression) -> Vec<u8> {
    let mut file = Vec::new();
    let drain = |bytes: &[u8]| {
        file.extend_from_slice(bytes);
        Ok::<(), ()>(())
    };
    write_snapshot(&replayed(transactions).database, compression, DigestFields::Written, drain).unwrap();
    file
}

fn log(first: u64, file: Vec<u8>) -> (FileName, Vec<u8>) {
    (FileName::Log(Zxid(first)), file)
}

fn snapshot(zxid: u64, file: Vec<u8>) -> (FileName, Vec<u8>) {
    (FileName::Snapshot(Zxid(zxid)), file)
}

fn restored(files: &[(FileName, Vec<u8>)]) -> Result<Restored, Refusal> {
    let names: Vec<FileName> = files.iter().map(|(name, _)| *name).collect();
    restore(&names, 1, |number| Ok::<_, ()>(files[number].1.clone())).unwrap()
}

fn digest(database: &Database) -> TreeDigest {
    TreeDigest::of_tree(&database.tree.reader())
}

/// What is read of a log, by the beginnings of the records; and its faults.
fn read(file: &[u8]) -> (Vec<u64>, Vec<String>, Option<End>) {
    let (mut good, mut faults) = (Vec::new(), Vec::new());
    let log = LogFile::open(file).unwrap();
    let mut entries = log.entries();
    for entry in &mut entries {
        match entry {
            Ok(entry) => good.push(entry.offset),
            Err(fault) => faults.push(fault.to_string()),
        }
    }
    (good, faults, entries.end())
}

#[test]
fn a_log_that_is_cut_anywhere_ends_before_its_torn_record() {
    let (file, begins) = log_of(&history(), 100);
    for cut in 16..file.len() {
        let (good, faults, end) = read(&file[..cut]);
        let whole = begins.iter().skip(1).filter(|end| **end <= cut).count();
        assert_eq!((good.len(), faults.len()), (whole, 0), "cut at {cut}");
        let torn = cut > begins[whole] && file[begins[whole]..cut].iter().any(|byte| *byte != 0);
        assert_eq!(matches!(end, Some(End::Torn { .. })), torn, "cut at {cut}: {end:?}");
    }
    for cut in 0..16 {
        assert!(LogFile::open(&file[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn a_record_that_zeros_took_is_no_end_while_a_transaction_follows() {
    let (file, begins) = log_of(&history(), 100);
    for lost in 0..9 {
        let mut file = file.clone();
        file[begins[lost]..begins[lost + 1]].fill(0);
        let (good, faults, _) = read(&file);
        assert_eq!((good.len(), faults.len()), (9, 1), "record {lost}: {faults:?}");
        assert!(
            faults[0].contains(&format!("a transaction follows at offset {}", begins[lost + 1])),
            "{faults:?}"
        );
    }
    let mut file = file.clone();
    file[begins[9]..begins[10]].fill(0);
    assert_eq!(
        read(&file),
        (
            begins[..9].iter().map(|at| *at as u64).collect(),
            vec![],
            Some(End::Whole { offset: begins[9] as u64 })
        )
    );
}

#[test]
fn no_damaged_byte_of_a_record_goes_unseen() {
    let (file, begins) = log_of(&history(), 100);
    let all: Vec<u64> = begins[..10].iter().map(|at| *at as u64).collect();
    for at in 16..begins[10] {
        let mut file = file.clone();
        file[at] ^= 0x11;
        let (good, faults, end) = read(&file);
        assert!(good.iter().all(|offset| all.contains(offset)), "byte {at}");
        let record = begins.partition_point(|begin| *begin <= at) - 1;
        assert!(!good.contains(&(begins[record] as u64)), "byte {at}");
        // Of the last record, a damaged length or end looks as a torn write does.
        let torn = record == 9 && matches!(end, Some(End::Torn { .. }));
        assert!(!faults.is_empty() || torn, "byte {at}: {end:?}");
    }
}

#[test]
fn the_newest_snapshot_and_the_logs_behind_it_are_restored() {
    let transactions = history();
    let all = digest(&replayed(&transactions).database);
    let (first, second) = (log_of(&transactions[..6], 50).0, log_of(&transactions[6..], 0).0);
    for compression in [Compression::None, Compression::Gzip, Compression::Snappy] {
        let files = [
            snapshot(0, snapshot_of(&[], compression)),
            log(1, first.clone()),
            snapshot(4, snapshot_of(&transactions[..4], compression)),
            log(7, second.clone()),
        ];
        let found = restored(&files).unwrap();
        assert_eq!((found.snapshot, found.logs, found.transactions), (Some(2), 2, 6));
        assert_eq!((digest(&found.database), found.database.last), (all, Zxid(10)));
        assert_eq!(found.database.sessions.get(&SessionId(SESSION)), Some(&5000));
        assert_eq!((found.digests.compared, found.digests.different), (1, 0));
    }
}

#[test]
fn what_cannot_be_known_is_refused() {
    let transactions = history();
    let newest = || snapshot(8, snapshot_of(&transactions[..8], Compression::None));
    let oldest = || snapshot(2, snapshot_of(&transactions[..2], Compression::None));
    let damaged = || (newest().0, newest().1[..300].to_vec());
    let whole = || log(1, log_of(&transactions, 0).0);
    let part = |from: usize, to: usize| log(from as u64, log_of(&transactions[from - 1..to], 9).0);
    let is = |files: &[(FileName, Vec<u8>)], expected: &str| {
        let refusal =
            restored(files).err().map(|refusal| refusal.display(|n| format!("file {n}")).to_string());
        let refusal = refusal.unwrap_or_else(|| panic!("restored where {expected} was expected"));
        assert!(refusal.contains(expected), "{refusal}");
    };
    is(&[], "neither a snapshot nor a log");
    is(&[damaged()], "no snapshot is whole; file 0 is damaged at offset 300");
    is(&[(newest().0, Vec::new()), part(3, 10)], "the logs begin with file 1, which is not the first");
    is(
        &[damaged(), oldest(), part(5, 10)],
        "transaction 0x5 at offset 16 does not follow 0x2: transactions are",
    );
    is(&[damaged(), oldest(), part(2, 5)], "the logs end at 0x5, but file 0 knows of 0x8");
    is(&[oldest(), part(1, 6), part(6, 10)], "the logs contradict each other");
    let mut hole = whole();
    let begins = log_of(&transactions, 0).1;
    hole.1[begins[5]] ^= 1;
    is(&[oldest(), hole.clone()], &format!("file 1 is damaged at offset {}: the checksum is", begins[5]));
    // Before the snapshot nothing is needed of it.
    assert_eq!(restored(&[newest(), part(8, 10)]).unwrap().database.last, Zxid(10));
    // A damaged snapshot is no loss while the one before it and all of the log are there.
    let found = restored(&[damaged(), oldest(), whole()]).unwrap();
    assert_eq!((found.snapshot, found.damaged.len(), found.transactions), (Some(1), 1, 8));
    // The whole log alone says all.
    assert_eq!(restored(&[damaged(), whole()]).unwrap().transactions, 10);
    // A torn end is cut, also where the next log goes on from it.
    let mut torn = part(1, 6);
    torn.1.truncate(begins[6] - 3);
    let found = restored(&[oldest(), torn, part(6, 10), log(11, vec![0; 64])]).unwrap();
    assert_eq!((found.database.last, found.torn.len()), (Zxid(10), 2));
}

/// What a leader sends of a tree, and something behind it.
fn stream_of(transactions: &[Vec<u8>], chunk_bytes: usize) -> Vec<u8> {
    let database = replayed(transactions).database;
    let sessions: Vec<(SessionId, u32)> =
        database.sessions.iter().map(|(id, timeout)| (*id, *timeout)).collect();
    let mut stream = Vec::new();
    write_stream(&database.tree.reader(), &sessions, database.last, chunk_bytes, |chunk| {
        stream.extend_from_slice(&chunk);
        Ok::<(), KeptFault>(())
    })
    .unwrap();
    stream
}

/// A stream whose pieces come as they like.
struct Pieces<'s>(std::slice::Chunks<'s, u8>);

impl Input for Pieces<'_> {
    fn append_piece(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        self.0.next().into_iter().for_each(|piece| out.extend_from_slice(piece));
        Ok(())
    }
}

#[test]
fn a_tree_that_a_leader_sends_arrives_and_what_follows_it_is_left() {
    let transactions = history();
    let expected = replayed(&transactions).database;
    for chunk_bytes in [0, 100, 1 << 20] {
        let mut stream = stream_of(&transactions, chunk_bytes);
        stream.extend_from_slice(b"packets");
        for piece in [1, 7, stream.len()] {
            let staged = stage(&mut Pieces(stream.chunks(piece)), Zxid(10), 1).unwrap();
            assert_eq!(digest(&staged.database), digest(&expected));
            assert_eq!(
                (staged.database.last, staged.database.sessions),
                (Zxid(10), expected.sessions.clone())
            );
            assert!(b"packets".starts_with(&staged.rest[..]), "{:?}", staged.rest);
        }
    }
}

/// A node that changes while the tree is sent arrives as it was or as it is, or not at all; and the
/// transactions that changed it make it right.
#[test]
fn a_tree_that_changes_while_it_is_sent_is_made_right_by_what_follows() {
    let path = |n: u64| format!("/f-{n}");
    let before: Vec<Vec<u8>> = (1..=20).map(|n| create(n, &path(n), false, Some(n as i32))).collect();
    let mut acl = Vec::new();
    path(20).as_str().write(&mut acl);
    let list = |id: &str| AclList::new(vec![AclEntry { perms: 1, scheme: "ip".into(), id: id.into() }]);
    acl.extend_from_slice(&list("::2").bytes);
    1i32.write(&mut acl);
    let mut own_list = Vec::new();
    "/g".write(&mut own_list);
    None::<&[u8]>.write(&mut own_list);
    own_list.extend_from_slice(&list("::1").bytes);
    false.write(&mut own_list);
    22i32.write(&mut own_list);
    let meanwhile = [
        transaction(21, OpCode::SetAcl, &acl),
        transaction(22, OpCode::Delete, &to_bytes(&PathRecord { path: path(19).into() })),
        create(23, &path(19), false, Some(21)),
        create(24, "/f-19/below", false, Some(1)),
        set_data(25, &path(18), 1),
        transaction(26, OpCode::Delete, &to_bytes(&PathRecord { path: path(17).into() })),
        transaction(27, OpCode::Create, &own_list),
    ];
    // The walk is somewhere else each time.
    for chunks_before in 0..24 {
        let mut database = replayed(&before).database;
        let reader = database.tree.reader();
        let (mut stream, mut chunks) = (Vec::new(), 0);
        write_stream(&reader, &[], Zxid(20), 0, |chunk| {
            if chunks == chunks_before {
                meanwhile.iter().for_each(|transaction| database.replay(transaction).unwrap());
            }
            chunks += 1;
            stream.extend_from_slice(&chunk);
            Ok::<(), KeptFault>(())
        })
        .unwrap();
        // Java cannot read a node whose list is not there.
        let (mut pieces, mut known) = (Pieces(stream.chunks(50)), vec![OPEN_ACL]);
        let mut items = Snapshot::open_stream(&mut pieces).unwrap();
        while let Some(item) = items.next().unwrap() {
            match item {
                Item::Acl { number, .. } => known.push(number),
                Item::Node(node) => assert!(known.contains(&node.acl), "{}", node.path),
                Item::Session { .. } => {}
            }
        }
        let mut staged = stage(&mut Pieces(stream.chunks(50)), Zxid(20), 1).unwrap().database;
        meanwhile.iter().for_each(|transaction| staged.replay(transaction).unwrap());
        let all = replayed(&[&before[..], &meanwhile[..]].concat()).database;
        assert_eq!(digest(&staged), digest(&all), "{chunks_before}");
        let lists = |database: &Database| {
            let mut lists = Vec::new();
            let visit = |caught: crate::tree::walk::Caught<'_>| {
                lists.push((caught.path(), caught.acl.entries.clone()));
                Ok::<(), ()>(())
            };
            database.tree.reader().walk(Zxid(u64::MAX), visit).unwrap();
            lists.sort_by(|one, other| one.0.cmp(&other.0));
            lists
        };
        assert_eq!(lists(&staged), lists(&all), "{chunks_before}");
    }
}

#[test]
fn a_tree_that_a_leader_does_not_end_is_damaged() {
    let stream = stream_of(&history(), 100);
    for cut in 0..stream.len() {
        assert!(stage(&mut Pieces(stream[..cut].chunks(64)), Zxid(10), 1).is_err(), "cut at {cut}");
    }
    for at in 0..stream.len() {
        let mut stream = stream.clone();
        stream[at] ^= 0x91;
        // There is no checksum: what is not the format is found, and nothing worse happens.
        let _ = stage(&mut Pieces(stream.chunks(64)), Zxid(10), 1);
    }
    let mut unsigned = stream.clone();
    *unsigned.last_mut().unwrap() ^= 1;
    let fault = stage(&mut Pieces(unsigned.chunks(64)), Zxid(10), 1).err().unwrap();
    assert!(fault.what.contains("does not end with its signature"), "{fault}");
    let endless = [&[0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff][..], &[b'/'; 1000]].concat();
    let fault = stage(&mut Pieces(endless.chunks(64)), Zxid(10), 1).err().unwrap();
    assert!(fault.what.contains("a field of 2147483651 bytes"), "{fault}");
}

#[test]
fn an_ephemeral_node_without_its_session_is_gone() {
    let without: Vec<Vec<u8>> = history().into_iter().skip(1).collect();
    let found = restored(&[snapshot(10, snapshot_of(&without, Compression::None))]).unwrap();
    assert_eq!((found.orphans, found.database.tree.ephemerals().count()), (1, 0));
}

/// A snapshot's nodes by hand: `(path, list's number, czxid)`.
fn fuzzy(nodes: &[(&str, i64, i64)]) -> Vec<u8> {
    let mut writer = SnapshotWriter::new(Compression::None);
    writer.count(0);
    writer.count(1);
    let list = AclList::read_only();
    writer.item(&Item::Acl { number: 1, list: RawAcl(&list.bytes) });
    for (path, acl, czxid) in nodes {
        let stat = StatPersisted { czxid: *czxid, mzxid: *czxid, pzxid: *czxid, ..Default::default() };
        writer.item(&Item::Node(SnapshotNode { path: (*path).into(), data: Some(b"old"), acl: *acl, stat }));
    }
    writer.finish(&Trailer::default())
}

#[test]
fn a_list_that_a_fuzzy_snapshot_lacks_is_made_by_the_replay_or_refused() {
    let own = [("", -1, 0), ("/zookeeper", -1, 0)];
    let nodes = |more: &[(&'static str, i64, i64)]| fuzzy(&[&own, more].concat());
    let mut set_acl = Vec::new();
    "/a".write(&mut set_acl);
    set_acl.extend_from_slice(&AclList::read_only().bytes);
    7i32.write(&mut set_acl);
    let set_acl = transaction(3, OpCode::SetAcl, &set_acl);
    let later = [set_acl, create(4, "/a/b", false, Some(1))];
    let list_of = |database: &Database, path: &str| {
        let guard = crate::tree::index::pin();
        let node = database.tree.get(path, &guard).unwrap();
        Arc::clone(database.tree.acl(node.data().acl, &guard))
    };
    let caught = nodes(&[("/a", 9, 1), ("/a/b", 8, 4)]);
    let found = restored(&[snapshot(2, caught.clone()), log(3, log_of(&later, 0).0)]).unwrap();
    assert_eq!(*list_of(&found.database, "/a"), AclList::read_only());
    assert_eq!(*list_of(&found.database, "/a/b"), AclList::open());
    let files =
        [snapshot(2, nodes(&[("/a", 9, 1)])), log(3, log_of(&[create(3, "/c", false, Some(1))], 0).0)];
    assert_eq!(restored(&files).err(), Some(Refusal::NoList { path: "/a".into() }));
    assert!(matches!(restored(&[snapshot(2, caught)]).err(), Some(Refusal::EndsEarly { .. })));
    for (wrong, what) in [
        (nodes(&[("/a", 1, 1), ("/a", 1, 1)]), "comes twice"),
        (nodes(&[("/a/b", 1, 1)]), "before its parent"),
        (nodes(&[("a", 1, 1)]), "is no path"),
        (nodes(&[("", 1, 1)]), "comes twice"),
    ] {
        let refusal = restored(&[snapshot(2, wrong)]).err().unwrap();
        assert!(refusal.display(|_| String::new()).to_string().contains(what), "{refusal:?}");
    }
}

/// All that a snapshot says, if it is whole.
fn said(file: &[u8]) -> Option<Vec<String>> {
    let mut snapshot = Snapshot::open(file).ok()?;
    let mut said = Vec::new();
    while let Some(item) = snapshot.next().ok()? {
        said.push(format!("{item:?}"));
    }
    said.push(format!("{:?}", snapshot.trailer()));
    Some(said)
}

#[test]
fn no_damaged_byte_changes_what_a_snapshot_says() {
    for compression in [Compression::None, Compression::Gzip, Compression::Snappy] {
        let file = snapshot_of(&history(), compression);
        let whole = said(&file).expect("it is whole");
        for cut in 0..file.len() {
            // Cut behind a seal it is a snapshot of an older release.
            let older = compression == Compression::None && [21, 54].contains(&(file.len() - cut));
            assert_eq!(said(&file[..cut]).is_some(), older, "{compression:?}: cut at {cut}");
        }
        let mut unseen = 0;
        for at in 0..file.len() {
            let mut file = file.clone();
            file[at] ^= 0x11;
            match said(&file) {
                None => {}
                Some(read) => {
                    assert_eq!(read, whole, "{compression:?}: byte {at}");
                    unseen += 1;
                }
            }
        }
        // The database id, gzip's time and system, and what snappy can say in two ways.
        assert!(unseen < 20, "{unseen}");
    }
}

#[test]
fn a_small_file_cannot_claim_much() {
    let mut file = snapshot_of(&[], Compression::None);
    file.truncate(16);
    0i32.write(&mut file);
    0i32.write(&mut file);
    i32::MAX.write(&mut file);
    assert!(matches!(Snapshot::open(&file).unwrap().next(), Err(fault) if fault.what.contains("too early")));
    let mut snappy = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x06".to_vec();
    snappy.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
    assert!(Snapshot::open(&snappy).is_err_and(|fault| fault.what.contains("cannot unpack to 4294967295")));
}

#[test]
fn what_is_exported_as_a_log_is_restored_with_its_digests() {
    let mut replay = Replay::new(Database::new(1), Zxid::ZERO);
    let mut file = Vec::new();
    write_log_header(&mut file);
    for bytes in history() {
        let applied = Transaction::decode(&bytes).unwrap().to_apply().into_owned();
        write_transaction(&mut replay, &applied, &mut file).unwrap();
    }
    let found = restored(&[log(1, file)]).unwrap();
    assert_eq!((found.digests.compared, found.digests.different), (10, 0));
    assert_eq!(digest(&found.database), digest(&replay.database));
}

/// Before 3.6, and with `closeSessionTxn.enabled=false`, a closeSession has no record; the latter's may
/// have a digest all the same (`SerializeUtils.deserializeTxn`). What it removes is what the session owns.
#[test]
fn a_close_session_without_a_record_removes_what_the_session_owns() {
    use crate::jute::records::TxnDigest;
    let bare = transaction(11, OpCode::CloseSession, &[]);
    let with_record =
        transaction(11, OpCode::CloseSession, &[0, 0, 0, 1, 0, 0, 0, 4, b'/', b'a', b'/', b'e']);
    let expected = replayed(&[history(), vec![with_record]].concat());
    let mut with_digest = bare.clone();
    let TreeDigest(tree_digest) = expected.digest().unwrap();
    TxnDigest { version: 2, tree_digest }.write(&mut with_digest);
    for (close, compared) in [(bare, 0), (with_digest, 1)] {
        let found = restored(&[log(1, log_of(&[history(), vec![close]].concat(), 0).0)]).unwrap();
        assert_eq!((found.digests.compared, found.digests.different), (compared, 0));
        assert_eq!((found.database.sessions.len(), found.orphans), (0, 0));
        assert!(found.database.tree.get("/a/e", &crate::tree::index::pin()).is_none());
        assert_eq!(digest(&found.database), digest(&expected.database));
    }
}

/// What stands behind the nodes in the releases: nothing, a digest as text or as a number, and from 3.9
/// on the last zxid (`FileSnap.deserialize`, `DataTree.ZxidDigest.deserialize`).
#[test]
fn digests_of_older_releases_are_read() {
    use super::snapshot::TreeDigestAt;
    use simd_adler32::adler32;
    const TRAILER_BYTES: usize = 21 + 13 + 20;
    let whole = snapshot_of(&history(), Compression::None);
    let older = whole[..whole.len() - TRAILER_BYTES].to_vec();
    let with_digest = |version: i32, digest: &[u8]| {
        let mut file = older.clone();
        10i64.write(&mut file);
        version.write(&mut file);
        file.extend_from_slice(digest);
        let seal = i64::from(adler32(&file.as_slice()));
        seal.write(&mut file);
        "/".write(&mut file);
        file
    };
    let read = |file: &[u8]| {
        let mut snapshot = Snapshot::open(file)?;
        while snapshot.next()?.is_some() {}
        Ok::<_, super::Fault>(snapshot.trailer())
    };
    let at = |version, digest| Some(TreeDigestAt { zxid: Zxid(10), version, digest });
    let text = to_bytes(&std::borrow::Cow::Borrowed("1234abcd"));
    for (file, digest) in [
        (older.clone(), None),
        (with_digest(0, &text), at(0, 0x1234_abcd)),
        (with_digest(1, &text), at(1, 0x1234_abcd)),
        (with_digest(1, &[0xff; 4]), at(1, 0)),
        (with_digest(2, &0x1234_abcdi64.to_be_bytes()), at(2, 0x1234_abcd)),
    ] {
        assert_eq!(read(&file).unwrap(), Trailer { digest, last_zxid: None });
        // One of another version says nothing of the tree here, but that the transaction was seen.
        let compared = u64::from(digest.is_some_and(|digest| digest.version == 2));
        let found = restored(&[snapshot(10, file)]).unwrap();
        assert_eq!((found.database.last, found.digests.compared), (Zxid(10), compared));
    }
    let mut damaged = with_digest(1, &text);
    let at = older.len() + 8 + 4 + 4;
    damaged[at] ^= 1;
    assert!(read(&damaged).is_err());
    assert!(read(&with_digest(1, &to_bytes(&std::borrow::Cow::Borrowed("no number")))).is_err());
}

/// A file in pieces of so many bytes.
struct InPieces<'f>(std::slice::Chunks<'f, u8>);

impl Input for InPieces<'_> {
    fn append_piece(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        out.extend_from_slice(self.0.next().unwrap_or_default());
        Ok(())
    }
}

fn said_in_pieces(file: &[u8], piece: usize) -> Option<Vec<String>> {
    let mut pieces = InPieces(file.chunks(piece));
    let mut snapshot = Snapshot::open_pieces(&mut pieces).ok()?;
    let mut said = Vec::new();
    while let Some(item) = snapshot.next().ok()? {
        said.push(format!("{item:?}"));
    }
    said.push(format!("{:?}", snapshot.trailer()));
    Some(said)
}

proptest! {
    #[test]
    fn pieces_say_what_the_whole_file_says(
        piece in 1usize..200,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cut in prop::option::of(any::<prop::sample::Index>()),
        padding in 0usize..300,
    ) {
        let damaged = |mut file: Vec<u8>| {
            damage.iter().for_each(|(at, byte)| { let at = at.index(file.len()); file[at] ^= byte });
            file.truncate(cut.map_or(file.len(), |cut| cut.index(file.len())));
            file
        };
        for compression in [Compression::None, Compression::Gzip, Compression::Snappy] {
            let file = damaged(snapshot_of(&history(), compression));
            prop_assert_eq!(said(&file), said_in_pieces(&file, piece));
        }
        let file = damaged(log_of(&history(), padding).0);
        let mut pieces = InPieces(file.chunks(piece));
        let mut log = LogPieces::new(&mut pieces);
        let opened = LogFile::open(&file);
        let header = log.header();
        if super::log::is_unwritten(&file) {
            prop_assert_eq!(header, Ok(None));
        } else {
            prop_assert_eq!(header, opened.as_ref().map(|log| Some(log.header())).map_err(Clone::clone));
        }
        if let Ok(whole) = opened {
            let mut entries = whole.entries();
            for entry in &mut entries {
                prop_assert_eq!(log.next_entry(), Some(entry));
            }
            prop_assert_eq!(log.next_entry(), None);
            prop_assert_eq!(log.end(), entries.end());
        }
    }

    #[test]
    fn any_bytes_are_read_to_an_end(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        at in 0usize..2000,
        kind in 0usize..4,
    ) {
        let mut file = match kind {
            0 => log_of(&history(), 20).0,
            1 => snapshot_of(&history(), Compression::None),
            2 => snapshot_of(&history(), Compression::Gzip),
            _ => snapshot_of(&history(), Compression::Snappy),
        };
        let at = at % file.len();
        file.splice(at..(at + bytes.len() / 2).min(file.len()), bytes.iter().copied());
        for file in [&file, &bytes] {
            let _ = restored(&[snapshot(5, file.clone())]);
            let _ = restored(&[log(1, file.clone())]);
            let _ = Transaction::decode(file);
        }
    }
}

#[test]
fn the_digest_behind_a_proposal_is_known_before_the_tree_has_it() {
    use super::outlook::Outlook;
    let current = |bytes: &Vec<u8>| Transaction::decode(bytes).unwrap().to_apply().into_owned();
    let history: Vec<Vec<u8>> = history().iter().map(current).collect();
    let mut replay = Replay::new(Database::new(1), Zxid::ZERO);
    let digests: Vec<i64> = history
        .iter()
        .map(|bytes| {
            replay.apply(&Transaction::decode(bytes).unwrap()).unwrap();
            replay.digest().unwrap().0
        })
        .collect();
    for (begin, ahead) in (0..history.len()).flat_map(|begin| (1..=4).map(move |ahead| (begin, ahead))) {
        let mut database = Database::new(1);
        history[..begin].iter().for_each(|bytes| database.replay(bytes).unwrap());
        let mut outlook = Outlook::new(&database.tree);
        for next in begin..history.len() {
            let applied = begin.max((next + 1).saturating_sub(ahead));
            let has = begin.max(next.saturating_sub(ahead));
            history[has..applied].iter().for_each(|bytes| database.replay(bytes).unwrap());
            if next % 3 == 0 {
                let pending = history[applied..next].iter().map(Vec::as_slice);
                outlook.begin_again(&database.tree, pending).unwrap();
            }
            let foreseen = outlook.propose(&database.tree, &history[next]).unwrap();
            assert_eq!(
                foreseen.tree_digest, digests[next],
                "from {begin}, {ahead} ahead, transaction {next}"
            );
        }
    }
}
