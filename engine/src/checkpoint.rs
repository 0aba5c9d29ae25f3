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
        cversion: children.map_or(0, |children| children.cversion.cast_signed()),
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
    use crate::apply::zxid_of;
    use crate::error::ErrorCode;
    use crate::jute::Write;
    use crate::limits::Settings;
    use crate::log::DatabaseId;
    use crate::op::OpCode;
    use crate::prep::{Prep, Stamp, WriteRequest};
    use crate::tree::acl::AclList;
    use crate::tree::index::pin;
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

    const SESSION: SessionId = SessionId(0x0100_0000_0000_0001);

    /// A server's half that this test needs: what it did, and what it would replay.
    struct Server {
        prep: Prep,
        database: Database,
        log: Vec<Vec<u8>>,
    }

    impl Server {
        fn new() -> Self {
            let prep = Prep::new(Arc::new(Settings::default()), 1);
            Server { prep, database: Database::new(1), log: Vec::new() }
        }

        /// Proposes; nothing is applied before [`Self::apply`].
        fn run(&mut self, op: OpCode, body: &[u8]) -> Result<(), ErrorCode> {
            let request = WriteRequest { session: SESSION, xid: 1, op, body, auth: &[], internal: true };
            let zxid = Zxid(self.log.len() as u64 + 2);
            let mut txn = Vec::new();
            let stamp = Stamp { zxid, time: zxid.0 as i64 };
            self.prep.prepare(&self.database.tree, &request, stamp, &mut txn)?;
            self.log.push(txn);
            Ok(())
        }

        fn apply(&mut self) {
            for txn in &self.log {
                if zxid_of(txn).unwrap() > self.database.last {
                    self.database.replay(txn).unwrap();
                }
            }
            self.prep.applied(self.database.last);
        }

        fn create(&mut self, op: OpCode, path: &str, flags: i32) -> Result<(), ErrorCode> {
            let mut body = Vec::new();
            path.write(&mut body);
            Some(&b"data"[..]).write(&mut body);
            body.extend_from_slice(&AclList::open().bytes);
            flags.write(&mut body);
            self.run(op, &body)
        }

        /// Whether the node is there.
        fn has(&self, path: &str) -> bool {
            self.database.tree.get(path, &pin()).is_some()
        }
    }

    /// A checkpoint of the database, read into another one.
    fn written_and_read(database: &Database, first: Zxid) -> Database {
        let mut writer = CheckpointWriter::new(DatabaseId(9), first);
        let sessions: Vec<_> = database.sessions.iter().map(|(id, timeout)| (*id, *timeout)).collect();
        let drain = |_: &mut CheckpointWriter| Ok::<(), ()>(());
        let newest = write(&mut writer, first, &sessions, &database.tree.reader(), drain).unwrap();
        let file: Vec<u8> = writer.finish(newest).flatten().collect();
        let mut restored = Database::new(2);
        read(&mut restored, &Checkpoint::open(&file).unwrap(), false).unwrap();
        assert_eq!(contents(&restored), contents(database));
        restored
    }

    #[test]
    fn a_database_comes_back_as_it_was_with_transactions_replayed_twice() {
        let mut server = Server::new();
        server.run(OpCode::CreateSession, &5000i32.to_be_bytes()).unwrap();
        for (path, flags) in [("/a", 0), ("/a/b", 0), ("/a/e", 1), ("/a/s-", 2), ("/a/s-", 3)] {
            server.create(OpCode::Create2, path, flags).unwrap();
        }
        server.create(OpCode::CreateContainer, "/c", 4).unwrap();
        let mut delete = Vec::new();
        "/a/b".write(&mut delete);
        delete.extend_from_slice(&(-1i32).to_be_bytes());
        server.run(OpCode::Delete, &delete).unwrap();
        server.apply();

        // A checkpoint that claims to have begun before anything: all is replayed over it.
        let mut restored = written_and_read(&server.database, Zxid::ZERO);
        for txn in &server.log {
            restored.replay(txn).unwrap();
        }
        assert_eq!(contents(&restored), contents(&server.database));
        assert_eq!(restored.tree.ephemerals().count(), 2);
        assert_eq!(restored.tree.containers().collect::<Vec<_>>(), ["/c"]);
    }

    /// ZOOKEEPER-4706: a counter of 32 bits that wraps gives out names below those that are there.
    #[test]
    fn names_count_up_to_the_end_of_32_bits_and_never_wrap() {
        let cases = [
            (i32::MAX.cast_unsigned() - 1, [Ok("2147483646"), Ok("2147483647"), Ok("2147483648")]),
            (u32::MAX - 2, [Ok("4294967293"), Ok("4294967294"), Err(ErrorCode::BadArguments)]),
        ];
        for ((counter, names), one_by_one) in cases.iter().flat_map(|case| [(case, true), (case, false)]) {
            let mut server = Server::new();
            let stat = StatPersisted {
                czxid: 1,
                mzxid: 1,
                pzxid: 1,
                cversion: counter.cast_signed(),
                ..Default::default()
            };
            server.database.last = Zxid(1);
            let open = Arc::new(AclList::open());
            server.database.tree.restore("/p", None, open, &stat, false).unwrap();
            let before = written_and_read(&server.database, Zxid(1));
            for name in names {
                let created = server.create(OpCode::Create, "/p/", 2);
                assert_eq!(created, name.map(|_| ()), "{name:?}");
                if one_by_one {
                    server.apply();
                }
            }
            // Whoever wants no number is served on, also past the end.
            server.create(OpCode::Create, "/p/plain", 0).unwrap();
            server.create(OpCode::CreateContainer, "/p/container", 4).unwrap();
            let more = server.create(OpCode::Create, "/p/", 2);
            assert_eq!(more.is_ok(), names[2].is_ok());
            server.apply();
            assert!(names.iter().flatten().all(|name| server.has(&format!("/p/{name}"))));
            let counted = u64::from(*counter) + server.log.len() as u64;
            let expected = u32::try_from(counted).unwrap_or(u32::MAX);
            let guard = pin();
            let children = server.database.tree.get("/p", &guard).unwrap().children(&guard).unwrap();
            assert_eq!((children.cversion, children.pzxid), (expected, server.database.last));

            // What a restart makes of it: from the checkpoint before, and from one that caught all.
            let after = written_and_read(&server.database, Zxid(1));
            for mut restored in [before, after] {
                server.log.iter().for_each(|txn| restored.replay(txn).unwrap());
                assert_eq!(contents(&restored), contents(&server.database));
            }
        }
    }
}
