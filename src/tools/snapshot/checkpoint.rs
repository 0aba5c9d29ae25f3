//! One of our checkpoints, block by block, on behind damage.

use std::io;
use std::sync::Arc;

use ringkeeper_engine::jute::records::StatPersisted;
use ringkeeper_engine::snap::salvage::{self, Refused, Salvage};
use ringkeeper_engine::snap::{AclIndex, BlockKind, NodeRecord, Record};
use ringkeeper_net::disk;

use super::{AclList, Damage, Head, Item, Node, Session, Tail, Visit};
use crate::tools::bytes::FileBytes;
use crate::tools::out::{Progress, Trouble};
use crate::tools::show::{Hex, acl_entries, count};

/// Delivers a checkpoint's items.
pub(super) fn read(file: &mut FileBytes, progress: &mut Progress, visit: Visit<'_>) -> Result<(), Trouble> {
    let path = file.path().to_path_buf();
    let salvage = match Salvage::open(file) {
        Ok(salvage) => salvage,
        Err(Refused::Io(error)) => return Err(Trouble::Input(path, error)),
        Err(Refused::UnknownVersion(version)) => {
            let why = format!("format version {version}, which this release does not know");
            return Err(Trouble::Unusable(path, why));
        }
    };
    visit(Item::Head(head(&salvage)))?;
    let named = path.file_name().and_then(|name| name.to_str()).and_then(disk::parse_checkpoint_name);
    if let (Some(named), Some((_, first))) = (named, salvage.header())
        && named != first
    {
        let what = format!("replay begins behind {first}, not as its name says");
        visit(Item::Damage(Damage { offset: 0, bytes: None, what }))?;
    }
    for damage in salvage.damage() {
        visit(Item::Damage(described(damage)))?;
    }
    let acls = lists(&salvage);
    let mut seen = Seen::default();
    for number in 0..salvage.block_count() {
        let block = salvage.read_block(file, number).map_err(Trouble::input(&path))?;
        if let Some(damage) = block.damage() {
            visit(Item::Damage(described(&damage)))?;
        }
        for record in block.iter() {
            deliver(record, block.offset(), block.damage().is_some(), &acls, &mut seen, visit)?;
        }
        seen.damaged |= block.damage().is_some();
        progress.at(block.end());
    }
    for place in file.unreadable() {
        let what = format!("cannot be read from the disk: {}", place.error);
        visit(Item::Damage(Damage { offset: place.offset, bytes: Some(place.bytes), what }))?;
    }
    check_totals(&salvage, &seen, file.length(), visit)?;
    let last_zxid = salvage.totals().map(|totals| totals.last_zxid);
    Ok(visit(Item::End(Tail { digest: None, last_zxid }))?)
}

#[derive(Default)]
struct Seen {
    nodes: u64,
    sessions: u64,
    data_bytes: u64,
    /// A block was.
    damaged: bool,
}

fn head(salvage: &Salvage) -> Head {
    let header = salvage.header();
    Head {
        format: "ringkeeper",
        database: header.map(|(database, _)| database.to_string()),
        first_zxid: header.map(|(_, first)| Hex(first.0)),
        last_zxid: salvage.totals().map(|totals| Hex(totals.last_zxid.0)),
        compression: None,
    }
}

fn described(damage: &salvage::Damage) -> Damage {
    let lost = match damage.lost {
        None => String::new(),
        Some((BlockKind::Nodes, records)) => format!(": {}", count(records, "node", "nodes")),
        Some((BlockKind::Sessions, records)) => format!(": {}", count(records, "session", "sessions")),
        Some((BlockKind::Acls, records)) => {
            format!(": {}", count(records, "access control list", "access control lists"))
        }
    };
    Damage { offset: damage.offset, bytes: Some(damage.bytes), what: format!("{}{lost}", damage.what) }
}

/// Each list taken apart once.
fn lists(salvage: &Salvage) -> Vec<AclList> {
    salvage.acls().map(|bytes| bytes.and_then(acl_entries).map(Arc::from)).collect()
}

fn deliver(
    record: Record<'_>,
    offset: u64,
    suspect: bool,
    acls: &[AclList],
    seen: &mut Seen,
    visit: Visit<'_>,
) -> io::Result<()> {
    match record {
        Record::Node(node) => {
            seen.nodes += 1;
            seen.data_bytes += node.data.map_or(0, |data| data.len() as u64);
            let AclIndex(index) = node.acl;
            let acl = acls.get(index as usize).cloned().flatten();
            let (path, data) = (node.path, node.data);
            visit(Item::Node(Node { offset, path, data, acl, stat: stat(&node), suspect }))
        }
        Record::Session(session) => {
            seen.sessions += 1;
            visit(Item::Session(Session { id: session.id, timeout_ms: session.timeout_ms.into(), suspect }))
        }
    }
}

fn stat(node: &NodeRecord<'_>) -> StatPersisted {
    StatPersisted {
        czxid: node.czxid.to_jute(),
        mzxid: node.mzxid.to_jute(),
        ctime: node.ctime,
        mtime: node.mtime,
        version: node.version,
        cversion: node.cversion,
        aversion: node.aversion,
        ephemeral_owner: node.ephemeral_owner,
        pzxid: node.pzxid.to_jute(),
    }
}

/// What the file's end counts has to be there; where a block is damaged, what it lacks is known.
fn check_totals(salvage: &Salvage, seen: &Seen, length: u64, visit: Visit<'_>) -> io::Result<()> {
    let Some(totals) = salvage.totals().filter(|_| !seen.damaged) else { return Ok(()) };
    let found = (seen.nodes, seen.sessions, seen.data_bytes, salvage.acls().count() as u64);
    if found == (totals.nodes, totals.sessions, totals.data_bytes, totals.acls) {
        return Ok(());
    }
    let what = format!(
        "the footer counts {} nodes, {} sessions and {} bytes of data, the blocks hold {}, {} and {}",
        totals.nodes, totals.sessions, totals.data_bytes, seen.nodes, seen.sessions, seen.data_bytes
    );
    visit(Item::Damage(Damage { offset: length, bytes: None, what }))
}
