//! A database as ZooKeeper's files: one snapshot of one moment, and the transactions that led there with
//! their digests.

use std::collections::BTreeMap;

use super::format::Fault;
use super::log::write_record;
use super::replay::Replay;
use super::snapshot::{Item, OPEN_ACL, SnapshotNode, SnapshotWriter, Trailer, TreeDigestAt};
use super::stream::Compression;
use super::transaction::Transaction;
use crate::database::Database;
use crate::id::{SessionId, Zxid};
use crate::jute::Write;
use crate::jute::records::TxnDigest;
use crate::op::perms;
use crate::tree::TreeReader;
use crate::tree::acl::{AclEntry, AclList, RawAcl};
use crate::tree::digest::{self, TreeDigest, persisted};
use crate::tree::kept::{KeptFault, Recheck};
use crate::tree::node::NodeKind;
use crate::tree::walk::Caught;
use std::borrow::Cow;

/// Whether the files say what the tree's digest is. A ZooKeeper of 3.9 reads only snapshots that are as its own
/// setting `zookeeper.digest.enabled` says (`FileSnap.deserialize`): it tells the digest from what may follow
/// it by that alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DigestFields {
    /// As ZooKeeper has it unless it is told otherwise.
    #[default]
    Written,
    /// For a ZooKeeper without digests.
    LeftOut,
}

/// What a snapshot was made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// How many nodes it has.
    pub nodes: u64,
    /// How many of them have a time to live: ZooKeeper needs a setting to know them for what they are.
    pub ttl_nodes: u64,
    /// Bytes of the longest path or data: ZooKeeper reads none that is longer than its settings allow.
    pub longest_bytes: usize,
}

/// Writes the snapshot of a database that nobody changes meanwhile. `drain` is given the file's bytes.
///
/// # Errors
/// The first that `drain` returns.
pub fn write_snapshot<E>(
    database: &Database,
    compression: Compression,
    digests: DigestFields,
    mut drain: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Written, E> {
    let mut writer = SnapshotWriter::new(compression);
    writer.count(database.sessions.len());
    for (id, timeout_ms) in &database.sessions {
        let timeout_ms = i32::try_from(*timeout_ms).unwrap_or(i32::MAX);
        writer.item(&Item::Session { id: *id, timeout_ms });
    }
    let reader = database.tree.reader();
    let lists = lists(&reader);
    writer.count(lists.values().filter(|number| **number != OPEN_ACL).count());
    for (list, number) in lists.iter().filter(|(_, number)| **number != OPEN_ACL) {
        writer.item(&Item::Acl { number: *number, list: RawAcl(list) });
    }
    let (mut written, mut digest) = (Written::default(), TreeDigest::default());
    reader.walk(Zxid(u64::MAX), |caught| {
        let Caught { node, data, value, acl, children, .. } = caught;
        let stat = persisted(node, &data, children);
        let path = if caught.parent.is_none() { String::new() } else { caught.path() };
        let (acl, kind, data) = (lists[&*acl.bytes], data.kind, value);
        writer.item(&Item::Node(SnapshotNode { path: Cow::Borrowed(&path), data, acl, stat }));
        written.nodes += 1;
        written.ttl_nodes += u64::from(matches!(kind, NodeKind::Ttl { .. }));
        written.longest_bytes = written.longest_bytes.max(path.len()).max(data.map_or(0, <[u8]>::len));
        if digests == DigestFields::Written {
            digest = digest.plus(TreeDigest::of_node(&path, data, &stat));
        }
        drain(&writer.take_bytes())
    })?;
    let zxid = database.last;
    let digest = match digests {
        DigestFields::Written => Some(TreeDigestAt { zxid, version: digest::VERSION, digest: digest.0 }),
        DigestFields::LeftOut => None,
    };
    drain(&writer.finish(&Trailer { digest, last_zxid: Some(zxid) }))?;
    Ok(written)
}

/// Writes what a leader sends behind SNAP of `zxid`: the tree, while transactions are applied, and the
/// sessions with their timeouts in milliseconds as they were at `zxid`. Whoever reads it needs the
/// transactions after `zxid`: nodes that are younger are left out, and one whose list is younger than the
/// beginning of the walk gets one that allows nobody anything. `drain` is given the bytes, about
/// `chunk_bytes` at a time.
///
/// # Errors
/// The first that `drain` returns; or a value is damaged that was left in a checkpoint.
pub fn write_stream<E: From<KeptFault>>(
    tree: &TreeReader,
    sessions: &[(SessionId, u32)],
    zxid: Zxid,
    chunk_bytes: usize,
    mut drain: impl FnMut(Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let mut writer = SnapshotWriter::stream();
    writer.count(sessions.len());
    for (id, timeout_ms) in sessions {
        let timeout_ms = i32::try_from(*timeout_ms).unwrap_or(i32::MAX);
        writer.item(&Item::Session { id: *id, timeout_ms });
    }
    let mut lists = lists(tree);
    // Java refuses an empty list.
    let nobody = AclList::new(vec![AclEntry { perms: 0, scheme: "world".into(), id: "anyone".into() }]);
    let next = lists.len() as i64 + 1;
    let nobody = *lists.entry(nobody.bytes).or_insert(next);
    writer.count(lists.values().filter(|number| **number != OPEN_ACL).count());
    for (list, number) in lists.iter().filter(|(_, number)| **number != OPEN_ACL) {
        writer.item(&Item::Acl { number: *number, list: RawAcl(list) });
    }
    let held = tree.held();
    let mut recheck = Recheck::of(held.as_ref())?;
    let mut path = String::new();
    tree.walk(zxid, |caught| {
        recheck.verify(&caught.data.data)?;
        let Caught { node, data, value, acl, children, .. } = caught;
        let stat = persisted(node, &data, children);
        path.clear();
        if caught.parent.is_some() {
            caught.write_path(&mut path);
        }
        let acl = lists.get(&*acl.bytes).copied().unwrap_or(nobody);
        writer.item(&Item::Node(SnapshotNode { path: Cow::Borrowed(&path), data: value, acl, stat }));
        if writer.pending_bytes() < chunk_bytes { Ok(()) } else { drain(writer.take_bytes()) }
    })?;
    drain(writer.finish_stream())
}

/// Every list in use, with its number.
fn lists(tree: &TreeReader) -> BTreeMap<Box<[u8]>, i64> {
    let mut lists = BTreeMap::new();
    let visit = |caught: Caught<'_>| {
        let list = caught.acl;
        if !lists.contains_key(&list.bytes) {
            let open = list.entries.len() == 1 && list.world == perms::ALL;
            let number = if open { OPEN_ACL } else { lists.len() as i64 + 1 };
            lists.insert(list.bytes.clone(), number);
        }
        Ok::<(), std::convert::Infallible>(())
    };
    let Ok(()) = tree.walk(Zxid(u64::MAX), visit);
    lists
}

/// Applies a transaction of ours (header and record), and appends its record of a ZooKeeper's log to
/// `out`, with the tree's digest if `replay` has it.
///
/// # Errors
/// When ZooKeeper could not read it.
pub fn write_transaction(replay: &mut Replay, applied: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let decoded = Transaction::decode(applied)?;
    replay.apply(&decoded).map_err(|error| Fault { offset: 0, what: error.to_string() })?;
    let mut bytes = applied.to_vec();
    if let Some(TreeDigest(tree_digest)) = replay.digest() {
        TxnDigest { version: digest::VERSION, tree_digest }.write(&mut bytes);
    }
    write_record(&bytes, out);
    Ok(())
}
