//! A database into a checkpoint, and back.

use crate::database::Database;
use crate::id::{SessionId, Zxid};
use crate::jute::records::StatPersisted;
use crate::snap::{Block, Checkpoint, CheckpointWriter, NodeRecord, SessionRecord};
use crate::tree::TreeReader;
use crate::tree::acl::{AclRef, RawAcl};
use crate::tree::walk::Caught;

/// Writes the tree and the sessions; `drain` is called as bytes come to be. Returns the newest
/// transaction that shows in what was written, for [`CheckpointWriter::finish`].
///
/// # Errors
/// The first that `drain` returns.
pub fn write<E>(
    writer: &mut CheckpointWriter,
    first: Zxid,
    sessions: &[(SessionId, u32)],
    tree: &TreeReader,
    mut drain: impl FnMut(&mut CheckpointWriter) -> Result<(), E>,
) -> Result<Zxid, E> {
    let mut newest = first;
    for (id, timeout_ms) in sessions {
        writer.session(&SessionRecord { id: *id, timeout_ms: *timeout_ms });
    }
    tree.walk(|caught| {
        newest = newest.max(caught.newest());
        write_node(writer, &caught);
        drain(writer)
    })?;
    Ok(newest)
}

fn write_node(writer: &mut CheckpointWriter, caught: &Caught<'_>) {
    let Caught { node, data, children } = *caught;
    let acl = writer.intern_acl(&data.acl.bytes);
    writer.node(&NodeRecord {
        path: node.path(),
        data: data.data.as_deref(),
        acl,
        czxid: node.czxid,
        mzxid: data.mzxid,
        pzxid: children.map_or(node.czxid, |children| children.pzxid),
        ctime: node.ctime,
        mtime: data.mtime,
        version: data.version,
        cversion: children.map_or(0, |children| children.cversion),
        aversion: data.aversion,
        ephemeral_owner: node.kind.to_owner(),
    });
}

/// Reads a checkpoint into a database that holds nothing yet.
///
/// # Errors
/// What is damaged, and where.
pub fn read(
    database: &mut Database,
    checkpoint: &Checkpoint<'_>,
    extended_types: bool,
) -> Result<(), String> {
    let interned: Result<Vec<AclRef>, _> =
        checkpoint.acls().iter().map(|list| database.tree.acls.intern(RawAcl(list))).collect();
    let acls = interned.map_err(|error| format!("an access control list is damaged: {error}"))?;
    for number in 0..checkpoint.block_count() {
        match checkpoint.block(number).map_err(|fault| fault.to_string())? {
            Block::Nodes(nodes) => {
                for node in nodes {
                    let node = node.map_err(|fault| fault.to_string())?;
                    read_node(database, &node, &acls, extended_types)?;
                }
            }
            Block::Sessions(sessions) => {
                for session in sessions {
                    let session = session.map_err(|fault| fault.to_string())?;
                    database.sessions.insert(session.id, session.timeout_ms);
                }
            }
            Block::Acls => {}
        }
    }
    database.last = checkpoint.first_zxid();
    Ok(())
}

fn read_node(
    database: &mut Database,
    node: &NodeRecord<'_>,
    acls: &[AclRef],
    extended_types: bool,
) -> Result<(), String> {
    let stat = StatPersisted {
        czxid: node.czxid.to_jute(),
        mzxid: node.mzxid.to_jute(),
        ctime: node.ctime,
        mtime: node.mtime,
        version: node.version,
        cversion: node.cversion,
        aversion: node.aversion,
        ephemeral_owner: node.ephemeral_owner,
        pzxid: node.pzxid.to_jute(),
    };
    let acl = std::sync::Arc::clone(&acls[node.acl.0 as usize]);
    let restored = database.tree.restore(node.path, node.data, acl, &stat, extended_types);
    restored.map_err(|_| format!("{} comes before its parent", node.path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Settings;
    use crate::log::DatabaseId;
    use crate::op::OpCode;
    use crate::prep::{Prep, Stamp, WriteRequest};
    use crate::tree::acl::AclList;
    use std::sync::Arc;

    /// What a client can see of every node, and every session.
    fn contents(database: &Database) -> Vec<String> {
        let mut lines: Vec<String> =
            database.sessions.iter().map(|(id, timeout)| format!("{id} {timeout}")).collect();
        let visit = |caught: Caught<'_>| {
            let stat = caught.node.stat(caught.data, caught.children);
            lines.push(format!(
                "{} {:?} {:?} {:?}",
                caught.node.path(),
                caught.data.data,
                caught.data.acl,
                stat
            ));
            Ok::<(), ()>(())
        };
        database.tree.reader().walk(visit).unwrap();
        lines.sort();
        lines
    }

    fn request(path: &str, flags: i32) -> Vec<u8> {
        use crate::jute::Write;
        let mut body = Vec::new();
        path.write(&mut body);
        Some(&b"data"[..]).write(&mut body);
        body.extend_from_slice(&AclList::open().bytes);
        flags.write(&mut body);
        body
    }

    #[test]
    fn a_database_comes_back_as_it_was_with_transactions_replayed_twice() {
        let settings = Arc::new(Settings::default());
        let mut prep = Prep::new(settings, 1);
        let mut database = Database::new(1);
        let mut log: Vec<Vec<u8>> = Vec::new();
        let mut run = |database: &mut Database, op, body: &[u8]| {
            let session = SessionId(0x0100_0000_0000_0001);
            let request = WriteRequest { session, xid: 1, op, body, auth: &[], internal: true };
            let zxid = database.last.next();
            let mut txn = Vec::new();
            prep.prepare(&database.tree, &request, Stamp { zxid, time: zxid.0 as i64 }, &mut txn).unwrap();
            database.replay(&txn).unwrap();
            prep.applied(zxid);
            log.push(txn);
        };
        run(&mut database, OpCode::CreateSession, &5000i32.to_be_bytes());
        for (path, flags) in [("/a", 0), ("/a/b", 0), ("/a/e", 1), ("/a/s-", 2), ("/a/s-", 3)] {
            run(&mut database, OpCode::Create2, &request(path, flags));
        }
        run(&mut database, OpCode::CreateContainer, &request("/c", 4));
        let mut delete = Vec::new();
        crate::jute::Write::write("/a/b", &mut delete);
        delete.extend_from_slice(&(-1i32).to_be_bytes());
        run(&mut database, OpCode::Delete, &delete);

        // A checkpoint that claims to have begun before anything: all is replayed over it.
        let mut writer = CheckpointWriter::new(DatabaseId(9), Zxid::ZERO);
        let sessions: Vec<_> = database.sessions.iter().map(|(id, timeout)| (*id, *timeout)).collect();
        let drain = |_: &mut CheckpointWriter| Ok::<(), ()>(());
        let newest = write(&mut writer, Zxid::ZERO, &sessions, &database.tree.reader(), drain).unwrap();
        let file: Vec<u8> = writer.finish(newest).flatten().collect();
        let mut restored = Database::new(2);
        read(&mut restored, &Checkpoint::open(&file).unwrap(), false).unwrap();
        assert_eq!(contents(&restored), contents(&database));
        for txn in &log {
            restored.replay(txn).unwrap();
        }
        assert_eq!(contents(&restored), contents(&database));
        assert_eq!(restored.tree.ephemerals().count(), 2);
        assert_eq!(restored.tree.containers().collect::<Vec<_>>(), ["/c"]);
    }
}
