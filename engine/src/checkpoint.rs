//! A database into a checkpoint, and back: by one thread, or by as many as there are.

use crate::database::Database;
use crate::id::{SessionId, Zxid};
use crate::snap::{Block, Checkpoint, CheckpointWriter, NodeRecord, SessionRecord};
use crate::tree::acl::{AclId, RawAcl};
use crate::tree::fill::{Fill, Part, Run};
use crate::tree::index::{Entry, pin};
use crate::tree::kept::{KeptFault, Recheck};
use crate::tree::walk::{Caught, Ordinal};
use crate::tree::{TreeReader, TreeWriter};
use std::ops::Range;

/// Writes the tree and the sessions; `drain` is called as bytes come to be. Returns the newest
/// transaction that shows in what was written, for [`CheckpointWriter::finish`].
///
/// # Errors
/// The first that `drain` returns; or a value is damaged that was left in another checkpoint.
pub fn write<E: From<KeptFault>>(
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
    let held = tree.held();
    let mut recheck = Recheck::of(held.as_ref())?;
    let mut path = String::new();
    tree.walk(first, |caught| {
        recheck.verify(&caught.data.data)?;
        newest = newest.max(caught.newest());
        path.clear();
        caught.write_path(&mut path);
        write_node(writer, &caught, &path);
        drain(writer)
    })?;
    Ok(newest)
}

fn write_node(writer: &mut CheckpointWriter, caught: &Caught<'_>, path: &str) {
    let Caught { parent, node, data, value, acl, children } = *caught;
    let acl = writer.intern_acl(&acl.bytes);
    writer.node(&NodeRecord {
        path,
        parent: parent.map(|parent| parent.0),
        data: value,
        acl,
        czxid: node.czxid(),
        mzxid: data.mzxid,
        pzxid: children.map_or(node.czxid(), |children| children.pzxid),
        ctime: node.ctime(),
        mtime: data.mtime,
        version: data.version,
        cversion: children.map_or(0, |children| children.cversion.cast_signed()),
        aversion: data.aversion,
        ephemeral_owner: data.kind.to_owner(),
    });
}

/// Reads a checkpoint into a database, in the place of what it holds.
///
/// # Errors
/// What is damaged, and where.
pub fn read(
    database: &mut Database,
    checkpoint: &Checkpoint<'_>,
    extended_types: bool,
) -> Result<(), String> {
    let reading = Reading::begin(database.tree.seed(), checkpoint, extended_types)?;
    let mut parts = vec![reading.blocks(0..checkpoint.block_count())?];
    let over = reading.index(&parts, 0..reading.partitions())?;
    reading.index_rest(over)?;
    let runs = reading.runs(&mut parts);
    reading.children(&runs, 0..runs.len())?;
    *database = reading.finish(parts);
    Ok(())
}

/// A checkpoint that is being read. Its steps are [`Self::blocks`] for all blocks, [`Self::index`] for all
/// partitions, [`Self::index_rest`], [`Self::runs`], [`Self::children`] for all runs, [`Self::finish`]. Any
/// number of threads may share a step that is for all of something, each taking ranges of its own.
pub struct Reading<'c, 'a> {
    checkpoint: &'c Checkpoint<'a>,
    tree: TreeWriter,
    fill: Fill,
    acls: Vec<AclId>,
    nodes_before: Vec<u64>,
}

/// What was in some blocks.
#[derive(Debug, Default)]
pub struct Blocks<'a> {
    nodes: Part<'a>,
    sessions: Vec<SessionRecord>,
}

impl<'c, 'a> Reading<'c, 'a> {
    /// Begins; `seed` keys the hashes.
    ///
    /// # Errors
    /// What is damaged, and where.
    pub fn begin(seed: u64, checkpoint: &'c Checkpoint<'a>, extended_types: bool) -> Result<Self, String> {
        let tree = TreeWriter::to_fill(seed, checkpoint.node_count());
        let mut tree = tree.ok_or_else(|| format!("{} nodes are too many", checkpoint.node_count()))?;
        let mut acls = Vec::with_capacity(checkpoint.acls().len());
        for list in checkpoint.acls() {
            let list = tree.acls.intern(RawAcl(list));
            let list = list.map_err(|error| format!("an access control list is damaged: {error}"))?;
            // No node has it yet.
            tree.acls.hold(list, 1);
            acls.push(list);
        }
        let fill = Fill::new(&tree, extended_types, checkpoint.held().cloned());
        Ok(Reading { checkpoint, tree, fill, acls, nodes_before: checkpoint.nodes_before() })
    }

    /// Verifies blocks, by their numbers, and takes what is in them.
    ///
    /// # Errors
    /// What is damaged, and where.
    pub fn blocks(&self, numbers: Range<usize>) -> Result<Blocks<'a>, String> {
        let (mut taken, guard) = (Blocks::default(), pin());
        for number in numbers {
            match self.checkpoint.block(number).map_err(|fault| fault.to_string())? {
                Block::Nodes(nodes) => {
                    for (ordinal, node) in (self.nodes_before[number] as u32..).zip(nodes) {
                        let node = node.map_err(|fault| fault.to_string())?;
                        let acl = self.acls[node.acl.0 as usize];
                        self.fill.node(Ordinal(ordinal), &node, acl, &mut taken.nodes, &guard)?;
                    }
                }
                Block::Sessions(sessions) => {
                    for session in sessions {
                        taken.sessions.push(session.map_err(|fault| fault.to_string())?);
                    }
                }
                Block::Acls => {}
            }
        }
        Ok(taken)
    }

    /// Into how many parts the index falls.
    pub fn partitions(&self) -> usize {
        self.fill.partitions()
    }

    /// Makes parts of the index, by their numbers. Returns what [`Self::index_rest`] is to be given.
    ///
    /// # Errors
    /// A node that is there twice.
    pub fn index(&self, blocks: &[Blocks<'a>], partitions: Range<usize>) -> Result<Vec<Entry>, String> {
        let (mut over, guard) = (Vec::new(), pin());
        for partition in partitions {
            self.fill.index(partition, blocks.iter().map(|blocks| &blocks.nodes), &mut over, &guard)?;
        }
        Ok(over)
    }

    /// Adds to the index what ran over its parts.
    ///
    /// # Errors
    /// A node that is there twice.
    pub fn index_rest(&self, over: Vec<Entry>) -> Result<(), String> {
        self.fill.index_rest(over, &pin())
    }

    /// What is left to do when all blocks are taken.
    pub fn runs(&self, blocks: &mut [Blocks<'a>]) -> Vec<Run<'a>> {
        Fill::runs(blocks.iter_mut().map(|blocks| &mut blocks.nodes))
    }

    /// Gives nodes their children, by the runs that begin with them.
    ///
    /// # Errors
    /// What is damaged.
    pub fn children(&self, runs: &[Run<'a>], numbers: Range<usize>) -> Result<(), String> {
        self.fill.children(runs, numbers, &pin())
    }

    /// All that the checkpoint holds.
    pub fn finish(self, blocks: Vec<Blocks<'a>>) -> Database {
        let Reading { checkpoint, mut tree, fill, acls, .. } = self;
        let parts = blocks.iter().map(|blocks| &blocks.nodes);
        fill.finish(&mut tree, checkpoint.node_count() as u32, parts);
        acls.into_iter().for_each(|list| tree.acls.release(list));
        let sessions = blocks.iter().flat_map(|blocks| &blocks.sessions);
        let sessions = sessions.map(|session| (session.id, session.timeout_ms)).collect();
        Database::of(tree, sessions, checkpoint.first_zxid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::zxid_of;
    use crate::error::ErrorCode;
    use crate::jute::Write;
    use crate::jute::records::StatPersisted;
    use crate::limits::Settings;
    use crate::log::DatabaseId;
    use crate::op::OpCode;
    use crate::prep::{Prep, Stamp, WriteRequest};
    use crate::tree::acl::{AclEntry, AclList};
    use std::sync::Arc;

    /// What a client can see of every node, and every session.
    fn contents(database: &Database) -> Vec<String> {
        let mut lines: Vec<String> =
            database.sessions.iter().map(|(id, timeout)| format!("{id} {timeout}")).collect();
        let visit = |caught: Caught<'_>| {
            let stat = caught.node.stat(&caught.data, caught.children);
            lines.push(format!("{} {:?} {:?} {stat:?}", caught.path(), caught.value, caught.acl));
            Ok::<(), ()>(())
        };
        database.tree.reader().walk(Zxid(u64::MAX), visit).unwrap();
        lines.sort();
        lines
    }

    /// A checkpoint of nodes, each with its parent's number and its own path.
    fn file(nodes: &[(Option<u32>, &str)]) -> Vec<u8> {
        let mut writer = CheckpointWriter::new(DatabaseId(9), Zxid(5));
        let acl = writer.intern_acl(&AclList::open().bytes);
        for (parent, path) in nodes {
            writer.node(&NodeRecord {
                path,
                parent: parent.map(Ordinal),
                data: Some(path.as_bytes()),
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
            });
        }
        writer.finish(Zxid(5)).flatten().collect()
    }

    #[test]
    fn children_come_back_in_any_order_and_without_a_count() {
        let nodes = [
            (None, "/"),
            (Some(0), "/b"),
            (Some(1), "/b/x"),
            (Some(0), "/a"),
            (Some(3), "/a/x"),
            (Some(1), "/b/y"),
            (Some(0), "/c"),
        ];
        let file = file(&nodes);
        let checkpoint = Checkpoint::open(&file).unwrap();
        let mut database = Database::new(1);
        read(&mut database, &checkpoint, false).unwrap();
        let guard = pin();
        let count = |path: &str| {
            let node = database.tree.get(path, &guard).unwrap();
            database.tree.children(node, &guard).map_or(0, |children| children.set.len())
        };
        assert_eq!([count("/"), count("/a"), count("/b"), count("/c")], [4, 1, 2, 0]);
        for (_, path) in nodes {
            let data = database.tree.get(path, &guard).unwrap().data();
            assert_eq!(database.tree.value(&data, &guard), Some(path.as_bytes()));
        }
        // The server's own are there too, though the file lacks them.
        assert!(database.tree.get("/zookeeper/config", &guard).is_some());
    }

    #[test]
    fn every_node_has_its_own_list_back_however_many_there_are() {
        let mut tree = TreeWriter::new(1);
        let list = |n: u32| AclEntry { perms: 1, scheme: "ip".into(), id: n.to_string().into() };
        let stat = |n| StatPersisted { czxid: n, mzxid: n, pzxid: n, ..Default::default() };
        for n in 1..3000 {
            let acl = tree.acls.intern_list(&AclList::new(vec![list(n)]));
            tree.restore(&format!("/{n}"), None, acl, &stat(1), false).unwrap();
        }
        tree.begin().publish();
        let restored = written_and_read(&Database::of(tree, Default::default(), Zxid(1)), Zxid(1));
        let guard = pin();
        for n in 1..3000 {
            let node = restored.tree.get(&format!("/{n}"), &guard).unwrap();
            assert_eq!(restored.tree.acl(node.data().acl, &guard).entries, [list(n)]);
        }
    }

    #[test]
    fn what_is_no_tree_is_refused_by_name() {
        for (nodes, what) in [
            (&[(None, "/a")][..], "/a: its place"),
            (&[(None, "/"), (None, "/a")], "/a: its place"),
            (&[(None, "/"), (Some(1), "/a")], "/a: its place"),
            (&[(None, "/"), (Some(7), "/a")], "/a: its place"),
            (&[(None, "/"), (Some(0), "/")], "/: its place"),
            (&[(None, "/"), (Some(0), "")], ": its place"),
            (&[(None, "/"), (Some(0), "/a"), (Some(0), "/a")], "/a: it is there twice"),
            (&[(None, "/"), (Some(0), "/a"), (Some(1), "/b/c")], "what is under /b says"),
        ] {
            let file = file(nodes);
            let refused = read(&mut Database::new(1), &Checkpoint::open(&file).unwrap(), false).unwrap_err();
            assert!(refused.starts_with(what), "{refused}");
        }
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
            let request = WriteRequest {
                session: SESSION,
                xid: 1,
                op,
                body,
                auth: &[],
                internal: true,
                no_ephemerals: None,
            };
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
        let drain = |_: &mut CheckpointWriter| Ok::<(), KeptFault>(());
        // The walk catches all, also what is younger than the checkpoint claims to be.
        let newest = write(&mut writer, database.last, &sessions, &database.tree.reader(), drain).unwrap();
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
            let open = server.database.tree.acls.intern_list(&AclList::open());
            server.database.tree.restore("/p", None, open, &stat, false).unwrap();
            server.database.tree.begin().publish();
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
            let tree = &server.database.tree;
            let children = tree.children(tree.get("/p", &guard).unwrap(), &guard).unwrap();
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
