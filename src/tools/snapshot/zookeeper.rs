//! One of ZooKeeper's snapshots, up to the first damage: nothing in the format says where a node begins,
//! so behind a wrong length there is no way on. Only the seal at its end vouches for what stands before.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use ringkeeper_engine::zookeeper::snapshot::{self, Snapshot};
use ringkeeper_engine::zookeeper::stream::Compression;
use ringkeeper_engine::zookeeper::{Fault, FileName};

use super::{AclList, Damage, Digest, Head, Item, Node, Session, Tail, Visit};
use crate::tools::bytes::FileBytes;
use crate::tools::out::{Progress, Trouble};
use crate::tools::show::{AclEntry, Hex, acl_entries};

/// How a file is packed shows in so many bytes.
const MAGIC_BYTES_MAX: u64 = 16;

/// Delivers a snapshot's items.
pub(super) fn read(file: &mut FileBytes, progress: &mut Progress, visit: Visit<'_>) -> Result<(), Trouble> {
    let path = file.path().to_path_buf();
    let named = path.file_name().and_then(|name| name.to_str()).and_then(FileName::parse);
    let first_zxid = named.map(|name| Hex(name.zxid().0));
    let mut tail = Tail::default();
    let beginning = file.read(0, MAGIC_BYTES_MAX).map_err(Trouble::input(&path))?;
    let head = Head {
        format: "zookeeper",
        database: None,
        first_zxid,
        last_zxid: None,
        compression: match Compression::of_file(beginning) {
            Compression::None => None,
            Compression::Gzip => Some("gzip"),
            Compression::Snappy => Some("snappy"),
        },
    };
    let mut pieces = file.pieces();
    let taken = pieces.taken();
    // Of the file's own bytes: what is unpacked may be many times as long.
    let mut advance = || progress.at(taken.get());
    match Snapshot::open_pieces(&mut pieces) {
        Ok(mut snapshot) => {
            visit(Item::Head(Head {
                database: snapshot.header().map(|header| header.dbid.to_string()),
                ..head
            }))?;
            tail = items(&mut snapshot, &mut advance, visit)?;
        }
        Err(fault) => {
            visit(Item::Head(head))?;
            damage(fault, visit)?;
        }
    }
    pieces.finish().map_err(Trouble::input(&path))?;
    for place in file.unreadable() {
        let what = format!("cannot be read from the disk: {}", place.error);
        visit(Item::Damage(Damage { offset: place.offset, bytes: Some(place.bytes), what }))?;
    }
    Ok(visit(Item::End(tail))?)
}

fn damage(fault: Fault, visit: Visit<'_>) -> io::Result<()> {
    visit(Item::Damage(Damage { offset: fault.offset, bytes: None, what: fault.what }))
}

/// `advance` is called between two of them.
fn items(snapshot: &mut Snapshot<'_>, advance: &mut dyn FnMut(), visit: Visit<'_>) -> io::Result<Tail> {
    let mut acls = HashMap::new();
    let open: AclList = Some(Arc::from([AclEntry::open()]));
    acls.insert(snapshot::OPEN_ACL, open);
    loop {
        advance();
        let offset = snapshot.offset();
        match snapshot.next() {
            Ok(Some(item)) => deliver(item, offset, &mut acls, visit)?,
            Ok(None) => break,
            Err(fault) => {
                damage(fault, visit)?;
                return Ok(Tail::default());
            }
        }
    }
    let snapshot::Trailer { digest, last_zxid } = snapshot.trailer();
    let digest = digest.map(|found| Digest {
        zxid: Hex(found.zxid.0),
        version: found.version,
        tree: Hex(found.digest as u64),
    });
    Ok(Tail { digest, last_zxid })
}

fn deliver(
    item: snapshot::Item<'_>,
    offset: u64,
    acls: &mut HashMap<i64, AclList>,
    visit: Visit<'_>,
) -> io::Result<()> {
    match item {
        snapshot::Item::Session { id, timeout_ms } => {
            visit(Item::Session(Session { id, timeout_ms: timeout_ms.into(), suspect: false }))
        }
        snapshot::Item::Acl { number, list } => {
            acls.insert(number, acl_entries(list.0).map(Arc::from));
            Ok(())
        }
        snapshot::Item::Node(node) => {
            let acl = acls.get(&node.acl).cloned().flatten();
            if acl.is_none() {
                let what = format!("there is no access control list {}, which {} has", node.acl, node.path);
                visit(Item::Damage(Damage { offset, bytes: None, what }))?;
            }
            let path = if node.path.is_empty() { "/" } else { &*node.path };
            visit(Item::Node(Node { offset, path, data: node.data, acl, stat: node.stat, suspect: false }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringkeeper_engine::id::Zxid;
    use ringkeeper_engine::jute::records::StatPersisted;
    use ringkeeper_engine::zookeeper::snapshot::{OPEN_ACL, SnapshotNode, SnapshotWriter, Trailer};

    #[test]
    fn the_bar_of_a_packed_snapshot_never_passes_its_files_end() {
        let mut writer = SnapshotWriter::new(Compression::Gzip);
        writer.count(0);
        writer.count(0);
        for number in 0..100 {
            let path = if number == 0 { String::new() } else { format!("/{number}") };
            let data = Some(&[7; 10_000][..]);
            let stat = StatPersisted::default();
            writer.item(&snapshot::Item::Node(SnapshotNode { path: path.into(), data, acl: OPEN_ACL, stat }));
        }
        let mut bytes = writer.take_bytes();
        bytes.extend(writer.finish(&Trailer { digest: None, last_zxid: Some(Zxid(1)) }));
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("snapshot.1.gz");
        std::fs::write(&path, &bytes).expect("a file");
        let (mut progress, bar) = Progress::watched(bytes.len() as u64);
        let mut furthest = 0;
        let mut visit = |_: Item<'_>| {
            furthest = furthest.max(bar.position());
            Ok(())
        };
        read(&mut FileBytes::open(&path).expect("a file"), &mut progress, &mut visit).expect("it is read");
        assert_eq!(furthest, bytes.len() as u64);
    }
}
