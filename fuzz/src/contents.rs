//! All that clients can see of a database, as plain maps: what two databases are compared by.

use ringkeeper_engine::checkpoint;
use ringkeeper_engine::database::Database;
use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::jute::records::Stat;
use ringkeeper_engine::log::DatabaseId;
use ringkeeper_engine::snap::{Checkpoint, CheckpointWriter, Held};
use ringkeeper_engine::tree::TreeReader;
use ringkeeper_engine::tree::index::pin;
use ringkeeper_engine::tree::kept::KeptFault;
use ringkeeper_engine::tree::node::NodeKind;
use ringkeeper_engine::tree::path;
use ringkeeper_engine::tree::walk::Caught;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Null and empty are different.
    pub data: Option<Vec<u8>>,
    /// Its list, as the bytes of jute's vector of ACL.
    pub acl: Vec<u8>,
    /// As a client sees it.
    pub stat: Stat,
    /// Persistent, ephemeral, container or TTL.
    pub kind: NodeKind,
    /// Paths of its children.
    pub children: BTreeSet<String>,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// By path.
    pub nodes: BTreeMap<String, Node>,
    /// Timeouts in milliseconds.
    pub sessions: BTreeMap<SessionId, u32>,
    /// By session, from the table that closing one looks at.
    pub ephemerals: BTreeMap<SessionId, BTreeSet<String>>,
    /// Paths, from the table that the server removes them by.
    pub containers: BTreeSet<String>,
    /// The same for TTL nodes.
    pub ttls: BTreeSet<String>,
    /// Nodes, as the server counts them.
    pub count: usize,
    /// Bytes of paths and data, as the server counts them.
    pub data_bytes: i64,
}

impl Contents {
    /// Walks a database as a checkpoint does.
    pub fn of(database: &Database) -> Contents {
        let mut nodes = BTreeMap::new();
        let guard = pin();
        let reader = database.tree.reader();
        let view = reader.view(Zxid(u64::MAX));
        let walked = reader.walk(Zxid(u64::MAX), |caught: Caught<'_>| {
            let mut children = BTreeSet::new();
            if let Some(version) = caught.children {
                version.set.for_each(|id| {
                    let child = view.child(id).expect("a listed child is there");
                    assert!(children.insert(view.path(child)), "a child is listed once");
                });
            }
            let node = Node {
                data: caught.value.map(<[u8]>::to_vec),
                acl: caught.acl.bytes.to_vec(),
                stat: caught.node.stat(&caught.data, caught.children),
                kind: caught.data.kind,
                children,
            };
            let path = caught.path();
            assert!(database.tree.get(&path, &guard).is_some(), "{path:?} is found by its path");
            assert!(nodes.insert(path, node).is_none(), "a node is walked once");
            Ok::<(), ()>(())
        });
        assert_eq!(walked, Ok(()));
        let tree = &database.tree;
        let owned = |paths: &BTreeSet<Box<str>>| paths.iter().map(|path| path.to_string()).collect();
        Contents {
            nodes,
            sessions: database.sessions.clone(),
            ephemerals: tree.ephemerals().iter().map(|(session, paths)| (session, owned(paths))).collect(),
            containers: tree.containers().map(String::from).collect(),
            ttls: tree.ttls().map(String::from).collect(),
            count: tree.node_count(),
            data_bytes: tree.data_bytes(),
        }
    }

    /// Demands that two databases are equal, and names the nodes that are not.
    pub fn is(&self, expected: &Contents, what: &str) {
        for path in self.nodes.keys().chain(expected.nodes.keys()) {
            assert_eq!(self.nodes.get(path), expected.nodes.get(path), "{path:?}, {what}");
        }
        assert!(self == expected, "{what}: {self:?}, expected {expected:?}");
    }

    /// Demands what holds for every tree.
    pub fn is_a_tree(&self) {
        assert_eq!(self.count, self.nodes.len(), "nodes are counted as they are walked");
        let bytes = |(path, node): (&String, &Node)| path.len() + node.data.as_ref().map_or(0, Vec::len);
        let all: usize = self.nodes.iter().map(bytes).sum();
        assert_eq!(self.data_bytes, all as i64, "bytes are counted as they are walked");
        for (path, node) in &self.nodes {
            assert_eq!(node.stat.num_children as usize, node.children.len(), "{path:?}");
            assert_eq!(node.stat.data_length as usize, node.data.as_ref().map_or(0, Vec::len), "{path:?}");
            let Some((parent, _)) = path::split(path).filter(|_| path != "/") else { continue };
            let parent = self.nodes.get(parent).unwrap_or_else(|| panic!("{path:?} has no parent"));
            assert!(parent.children.contains(path), "{path:?} is not listed");
        }
        let kinds = |wanted: fn(&NodeKind) -> bool| -> BTreeSet<String> {
            let nodes = self.nodes.iter().filter(|(_, node)| wanted(&node.kind));
            nodes.map(|(path, _)| path.clone()).collect()
        };
        assert_eq!(self.containers, kinds(|kind| *kind == NodeKind::Container), "containers");
        assert_eq!(self.ttls, kinds(|kind| matches!(kind, NodeKind::Ttl { .. })), "TTL nodes");
        let mut ephemerals: BTreeMap<SessionId, BTreeSet<String>> = BTreeMap::new();
        for (path, node) in &self.nodes {
            if let NodeKind::Ephemeral(session) = node.kind {
                ephemerals.entry(session).or_default().insert(path.clone());
            }
        }
        assert_eq!(self.ephemerals, ephemerals, "ephemeral nodes");
    }
}

/// A checkpoint that is about to be written, with all that it needs of the database: which can change
/// meanwhile.
pub struct Walk {
    /// Replay begins behind this.
    pub first: Zxid,
    sessions: Vec<(SessionId, u32)>,
    reader: TreeReader,
}

impl Walk {
    /// Begins now.
    pub fn of(database: &Database) -> Walk {
        let sessions = database.sessions.iter().map(|(id, timeout)| (*id, *timeout)).collect();
        Walk { first: database.last, sessions, reader: database.tree.reader() }
    }

    /// The file's bytes; `during` is called between two nodes.
    pub fn write(&self, mut during: impl FnMut()) -> Vec<u8> {
        let mut writer = CheckpointWriter::new(DatabaseId(9), self.first);
        let written = checkpoint::write(&mut writer, self.first, &self.sessions, &self.reader, |_| {
            during();
            Ok::<(), KeptFault>(())
        });
        writer.finish(written.expect("nothing fails here")).flatten().collect()
    }
}

/// A database out of a checkpoint, which has its long values there.
pub fn read_checkpoint(file: &[u8]) -> Database {
    let mut database = Database::new(2);
    let held: Arc<dyn Held> = Arc::new(file.to_vec());
    let opened = Checkpoint::open_held(&held).expect("a checkpoint that was just written");
    checkpoint::read(&mut database, &opened, true).expect("a checkpoint that was just written");
    database
}
