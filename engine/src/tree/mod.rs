//! The znodes: one [`TreeWriter`], a [`TreeReader`] a core.
//!
//! The writer changes the tree between [`TreeWriter::begin`] and [`Batch::publish`]. Data versions
//! and the index change at once, children sets at the end, so that a batch of creations under one
//! parent replaces its set once. What keeps a reader from seeing half of it is the stamp: each
//! thing that a read uses says which transaction touched it last, the stamp is raised before the
//! change can be seen, and a read that meets a stamp above what its core has delivered is done
//! again later (see [`View`]).

pub mod acl;
pub mod children;
pub mod digest;
pub mod ephemeral;
pub mod index;
pub mod node;
pub mod path;
pub mod quota;
mod view;
pub mod walk;
pub mod watch;

pub use view::{Absent, NotYet, TreeReader, View};

use crate::error::ErrorCode;
use crate::id::Zxid;
use crate::jute::records::{Stat, StatPersisted};
use acl::{AclList, AclRef, AclTable};
use ephemeral::Ephemerals;
use foldhash::fast::FixedState;
use index::{Guard, Index, IndexWriter, NodeId, pin};
use node::{ChildrenVersion, DataVersion, Node, NodeKind};
use quota::{Quotas, StatsTrack};
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

/// What a watch may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// A node came to be: `NodeCreated` there, `NodeChildrenChanged` at its parent.
    Created,
    /// A node went: `NodeDeleted` there, `NodeChildrenChanged` at its parent.
    Deleted,
    /// A node's data changed: `NodeDataChanged` there.
    Data,
}

/// One change of the tree, for the watches.
#[derive(Clone, Debug)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The transaction that did it.
    pub zxid: Zxid,
    /// The path's place in [`Changes::text`].
    path: Range<usize>,
    /// Who may read the node; none if everyone may.
    pub acl: Option<AclRef>,
    /// Who may read its parent; none if everyone may.
    pub parent_acl: Option<AclRef>,
}

/// The changes of a batch, in order; the paths share one buffer.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    text: String,
    items: Vec<Change>,
}

impl Changes {
    /// Each change with its path.
    pub fn iter(&self) -> impl Iterator<Item = (&Change, &str)> {
        self.items.iter().map(|change| (change, &self.text[change.path.clone()]))
    }

    /// One of them.
    pub fn get(&self, index: usize) -> (&Change, &str) {
        let change = &self.items[index];
        (change, &self.text[change.path.clone()])
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Forgets all, keeping the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.items.clear();
    }

    fn push(&mut self, kind: ChangeKind, zxid: Zxid, path: &str, acl: &AclRef, parent_acl: Option<&AclRef>) {
        let start = self.text.len();
        self.text.push_str(path);
        let guarded = |acl: &AclRef| (acl.world & crate::op::perms::READ == 0).then(|| Arc::clone(acl));
        self.items.push(Change {
            kind,
            zxid,
            path: start..self.text.len(),
            acl: guarded(acl),
            parent_acl: parent_acl.and_then(guarded),
        });
    }
}

/// A node to be created.
#[derive(Clone, Debug)]
pub struct NewNode<'a> {
    /// Where.
    pub path: &'a str,
    /// Its data.
    pub data: Option<&'a [u8]>,
    /// Its list.
    pub acl: AclRef,
    /// Persistent, ephemeral, container or TTL.
    pub kind: NodeKind,
    /// The bits of the parent's new count of creations; −1: one more than it has, as far as it goes.
    /// That −1 is also the last count itself makes no difference: one can only come from the count
    /// before it, or from itself.
    pub parent_cversion: i32,
}

/// The writer's half of the tree; there is one.
pub struct TreeWriter {
    index: IndexWriter<Node>,
    /// Children of nodes that the open batch changed.
    dirty: HashMap<NodeId, ChildrenVersion, FixedState>,
    /// Nodes that the open batch removed.
    removed: Vec<NodeId>,
    /// Lists in use.
    pub acls: AclTable,
    ephemerals: Ephemerals,
    containers: BTreeSet<Box<str>>,
    ttls: BTreeSet<Box<str>>,
    quotas: Quotas,
    data_bytes: i64,
}

impl TreeWriter {
    /// The tree of a new server: the root, `/zookeeper`, its quota and configuration nodes.
    /// `seed` keys the hashes.
    pub fn new(seed: u64) -> Self {
        let mut tree = TreeWriter {
            index: IndexWriter::new(seed),
            dirty: HashMap::with_hasher(FixedState::with_seed(seed)),
            removed: Vec::new(),
            acls: AclTable::new(seed),
            ephemerals: Ephemerals::default(),
            containers: BTreeSet::new(),
            ttls: BTreeSet::new(),
            quotas: Quotas::default(),
            data_bytes: 0,
        };
        let open = Arc::new(AclList::open());
        for path in ["/", path::ZOOKEEPER, path::QUOTA, path::CONFIG] {
            let stat =
                StatPersisted { aversion: if path == path::CONFIG { -1 } else { 0 }, ..Default::default() };
            let acl = if path == path::CONFIG { Arc::new(AclList::read_only()) } else { Arc::clone(&open) };
            tree.restore(path, Some(b""), acl, &stat, false).expect("parents come first");
        }
        tree
    }

    /// A reader's half.
    pub fn reader(&self) -> TreeReader {
        TreeReader::new(self.index.reader())
    }

    /// Nodes, the server's own included; ZooKeeper's count has the root twice.
    pub fn node_count(&self) -> usize {
        self.index.len()
    }

    /// Bytes of paths and data.
    pub fn data_bytes(&self) -> i64 {
        self.data_bytes
    }

    /// The ephemeral nodes of each session.
    pub fn ephemerals(&self) -> &Ephemerals {
        &self.ephemerals
    }

    /// Paths of container nodes.
    pub fn containers(&self) -> impl Iterator<Item = &str> {
        self.containers.iter().map(|path| &**path)
    }

    /// Paths of TTL nodes.
    pub fn ttls(&self) -> impl Iterator<Item = &str> {
        self.ttls.iter().map(|path| &**path)
    }

    /// The innermost subtree with a quota that `path` belongs to.
    pub fn quota_of<'a>(&self, path: &'a str) -> Option<&'a str> {
        self.quotas.innermost(path)
    }

    /// Lookups by the writer, between batches.
    pub fn get<'g>(&'g self, path: &str, guard: &'g Guard) -> Option<&'g Node> {
        Some(self.index.index().get(path::normal(path), guard)?.1)
    }

    /// Opens a batch.
    pub fn begin(&mut self) -> Batch<'_> {
        Batch { guard: pin(), tree: self }
    }

    /// Puts a node of a checkpoint back; its parent must be there. A node that is there already
    /// takes the checkpoint's data, as the server's own nodes do.
    ///
    /// # Errors
    /// [`ErrorCode::NoNode`] when the parent is missing.
    pub fn restore(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl: AclRef,
        stat: &StatPersisted,
        extended_types: bool,
    ) -> Result<(), ErrorCode> {
        let guard = pin();
        let kind = NodeKind::from_owner(stat.ephemeral_owner, extended_types);
        let version = DataVersion {
            stamp: Zxid::ZERO,
            mzxid: Zxid::from_jute(stat.mzxid),
            mtime: stat.mtime,
            version: stat.version,
            aversion: stat.aversion,
            acl,
            data: data.map(Into::into),
        };
        let own = ChildrenVersion {
            cversion: stat.cversion.cast_unsigned(),
            pzxid: Zxid::from_jute(stat.pzxid),
            set: Default::default(),
        };
        if let Some((_, node)) = self.index.index().get(path, &guard) {
            // The server's own nodes are made before a checkpoint is read; their czxid is zero in
            // every tree.
            self.data_bytes -= node.data(&guard).data_length() as i64;
            self.data_bytes += version.data_length() as i64;
            node.replace_data(version, &guard);
            let set = node.children(&guard).map(|children| children.set.clone()).unwrap_or_default();
            node.replace_children(ChildrenVersion { set, ..own }, &guard);
            return Ok(());
        }
        let parent = match path::split(path) {
            Some((parent, name)) if !name.is_empty() => {
                Some(self.index.index().get(parent, &guard).ok_or(ErrorCode::NoNode)?.0)
            }
            _ => None,
        };
        self.data_bytes += (path.len() + version.data_length()) as i64;
        let czxid = Zxid::from_jute(stat.czxid);
        let node = Node::new(path, czxid, stat.ctime, kind, version);
        if own.cversion != 0 || own.pzxid != czxid {
            node.replace_children(own, &guard);
        }
        let id = self.index.insert(node, &guard);
        self.note_created(path, kind);
        if let Some(parent) = parent.and_then(|parent| self.index.index().node(parent, &guard)) {
            let mut children = parent.children_to_change(&guard);
            children.set.insert(id);
            parent.replace_children(children, &guard);
        }
        Ok(())
    }

    /// After the last [`Self::restore`] and the replay: counts every quota anew, since a fuzzy
    /// checkpoint caught the counts and what they count at different moments.
    pub fn recount_quotas(&mut self) {
        let subjects: Vec<Box<str>> = self.quotas.subjects().map(Into::into).collect();
        let mut batch = self.begin();
        for subject in subjects {
            batch.count_quota(&subject, Zxid::ZERO);
        }
        batch.publish();
    }

    fn note_created(&mut self, path: &str, kind: NodeKind) {
        match kind {
            NodeKind::Persistent => {}
            NodeKind::Ephemeral(session) => self.ephemerals.add(session, path),
            NodeKind::Container => drop(self.containers.insert(path.into())),
            NodeKind::Ttl { .. } => drop(self.ttls.insert(path.into())),
        }
        if let Some(subject) = quota::limited_by(path) {
            self.quotas.add(subject);
        }
    }

    fn note_deleted(&mut self, path: &str, kind: NodeKind) {
        match kind {
            NodeKind::Persistent => {}
            NodeKind::Ephemeral(session) => self.ephemerals.remove(session, path),
            NodeKind::Container => drop(self.containers.remove(path)),
            NodeKind::Ttl { .. } => drop(self.ttls.remove(path)),
        }
        if let Some(subject) = quota::limited_by(path) {
            self.quotas.remove(subject);
        }
    }
}

/// An open batch of changes. Readers see them as they are made, but know by their stamps that
/// they are too new to be used before the batch's events have been delivered.
pub struct Batch<'t> {
    tree: &'t mut TreeWriter,
    guard: Guard,
}

impl Batch<'_> {
    /// The tree under the batch.
    pub fn tree(&self) -> &TreeWriter {
        self.tree
    }

    /// The tree under the batch, for its tables.
    pub fn tree_mut(&mut self) -> &mut TreeWriter {
        self.tree
    }

    /// Makes the children sets of the batch visible; the rest is already.
    pub fn publish(self) {
        let Batch { tree, guard } = self;
        for (id, children) in tree.dirty.drain() {
            if let Some(node) = tree.index.index().node(id, &guard) {
                node.replace_children(children, &guard);
            }
        }
        for id in tree.removed.drain(..) {
            tree.index.retire(id, &guard);
        }
    }

    fn index(&self) -> &Index<Node> {
        self.tree.index.index()
    }

    /// Stat as clients see it, the batch's changes included.
    fn stat_of(&self, id: NodeId, node: &Node) -> Stat {
        let children = self.tree.dirty.get(&id).or_else(|| node.children(&self.guard));
        node.stat(node.data(&self.guard), children)
    }

    /// Creates a node.
    ///
    /// # Errors
    /// `NoNode` without the parent, also where a replay over a fuzzy checkpoint meets a younger node
    /// of its path; `NodeExists` with the node, whose parent's counter is raised all the same: the
    /// replay depends on it.
    pub fn create(
        &mut self,
        new: &NewNode<'_>,
        zxid: Zxid,
        time: i64,
        changes: &mut Changes,
    ) -> Result<Stat, ErrorCode> {
        let (parent_path, name) = path::split(new.path).ok_or(ErrorCode::BadArguments)?;
        let index = self.tree.index.index();
        let (parent_id, parent) = index.get(parent_path, &self.guard).ok_or(ErrorCode::NoNode)?;
        if parent.czxid > zxid {
            return Err(ErrorCode::NoNode);
        }
        let exists = name.is_empty() || index.get(new.path, &self.guard).is_some();
        parent.raise_children_stamp(zxid);
        let children = self.tree.dirty.entry(parent_id);
        let children = children.or_insert_with(|| parent.children_to_change(&self.guard));
        let cversion = match new.parent_cversion {
            -1 => children.cversion.saturating_add(1),
            given => given.cast_unsigned(),
        };
        // A fuzzy checkpoint may have caught either of them later than the transaction.
        children.cversion = children.cversion.max(cversion);
        children.pzxid = children.pzxid.max(zxid);
        if exists {
            return Err(ErrorCode::NodeExists);
        }
        let data = DataVersion {
            stamp: zxid,
            mzxid: zxid,
            mtime: time,
            version: 0,
            aversion: 0,
            acl: Arc::clone(&new.acl),
            data: new.data.map(Into::into),
        };
        let bytes = data.data_length() as i64;
        let node = Node::new(new.path, zxid, time, new.kind, data);
        let stat = node.stat(node.data(&self.guard), None);
        let parent_acl = &parent.data(&self.guard).acl;
        changes.push(ChangeKind::Created, zxid, new.path, &new.acl, Some(parent_acl));
        let id = self.tree.index.insert(node, &self.guard);
        let children = self.tree.dirty.get_mut(&parent_id).expect("changed above");
        children.set.insert(id);
        self.tree.data_bytes += new.path.len() as i64 + bytes;
        self.tree.note_created(new.path, new.kind);
        if let Some(subject) = quota::counted_by(new.path) {
            self.count_quota(subject, zxid);
        }
        self.charge_quota(new.path, zxid, bytes, 1);
        Ok(stat)
    }

    /// Deletes a node. Only a replay over a fuzzy checkpoint can meet one that has children: they
    /// were caught later than their parent, and what made them is still to be replayed, so they go
    /// too. A node that is younger than the transaction is the one that came after it: it stays.
    ///
    /// # Errors
    /// `NoNode` without the parent or the node.
    pub fn delete(&mut self, path: &str, zxid: Zxid, changes: &mut Changes) -> Result<(), ErrorCode> {
        let (parent_path, _) = path::split(path).ok_or(ErrorCode::BadArguments)?;
        if let Some((id, node)) = self.index().get(path, &self.guard) {
            if node.czxid > zxid {
                return Err(ErrorCode::NoNode);
            }
            self.remove_descendants(id, zxid, changes);
        }
        let index = self.tree.index.index();
        let (parent_id, parent) = index.get(parent_path, &self.guard).ok_or(ErrorCode::NoNode)?;
        let found = index.get(path, &self.guard);
        parent.raise_children_stamp(zxid);
        let children = self.tree.dirty.entry(parent_id);
        let children = children.or_insert_with(|| parent.children_to_change(&self.guard));
        children.pzxid = children.pzxid.max(zxid);
        let (id, node) = found.ok_or(ErrorCode::NoNode)?;
        children.set.remove(id);
        let data = node.data(&self.guard);
        let bytes = data.data_length() as i64;
        let kind = node.kind;
        let parent_acl = &parent.data(&self.guard).acl;
        changes.push(ChangeKind::Deleted, zxid, path, &data.acl, Some(parent_acl));
        self.tree.dirty.remove(&id);
        self.tree.index.remove(id, path, &self.guard);
        self.tree.removed.push(id);
        self.tree.data_bytes -= path.len() as i64 + bytes;
        self.tree.note_deleted(path, kind);
        self.charge_quota(path, zxid, -bytes, -1);
        Ok(())
    }

    fn remove_descendants(&mut self, id: NodeId, zxid: Zxid, changes: &mut Changes) {
        let Some(node) = self.index().node(id, &self.guard) else { return };
        let Some(children) = self.tree.dirty.get(&id).or_else(|| node.children(&self.guard)) else { return };
        let mut paths: Vec<Box<str>> = Vec::new();
        children.set.for_each(|child| {
            paths.extend(self.index().node(child, &self.guard).map(|child| child.path().into()));
        });
        for path in paths {
            // Failing means that the child is younger still; the replay will make it whole.
            let _ = self.delete(&path, zxid.max(self.czxid_of(&path)), changes);
        }
    }

    fn czxid_of(&self, path: &str) -> Zxid {
        self.index().get(path, &self.guard).map_or(Zxid::ZERO, |found| found.1.czxid)
    }

    /// Replaces a node's data. A version that is younger than the transaction stays: it came from
    /// a fuzzy checkpoint that the transaction is replayed over.
    ///
    /// # Errors
    /// `NoNode`.
    pub fn set_data(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        version: i32,
        zxid: Zxid,
        time: i64,
        changes: &mut Changes,
    ) -> Result<Stat, ErrorCode> {
        let (id, node) = self.index().get(path::normal(path), &self.guard).ok_or(ErrorCode::NoNode)?;
        let old = node.data(&self.guard);
        if old.mzxid > zxid {
            return Ok(self.stat_of(id, node));
        }
        let before = old.data_length() as i64;
        let new = DataVersion {
            stamp: zxid,
            mzxid: zxid,
            mtime: time,
            version,
            aversion: old.aversion,
            acl: Arc::clone(&old.acl),
            data: data.map(Into::into),
        };
        let difference = new.data_length() as i64 - before;
        changes.push(ChangeKind::Data, zxid, path, &new.acl, None);
        node.replace_data(new, &self.guard);
        let stat = self.stat_of(id, node);
        self.tree.data_bytes += difference;
        self.charge_quota(path, zxid, difference, 0);
        Ok(stat)
    }

    /// Replaces a node's list.
    ///
    /// # Errors
    /// `NoNode`, also for a node that is younger than the transaction: it came from a fuzzy
    /// checkpoint, and no later transaction would give it its own list back.
    pub fn set_acl(&mut self, path: &str, acl: AclRef, aversion: i32, zxid: Zxid) -> Result<Stat, ErrorCode> {
        let found = self.index().get(path::normal(path), &self.guard);
        let (id, node) = found.filter(|(_, node)| node.czxid <= zxid).ok_or(ErrorCode::NoNode)?;
        let new = DataVersion { stamp: zxid, aversion, acl, ..node.data(&self.guard).clone() };
        node.replace_data(new, &self.guard);
        Ok(self.stat_of(id, node))
    }

    /// The counts of the innermost quota that `path` belongs to go up by `bytes` and `nodes`.
    /// ZooKeeper changes the count node's data without a version, a time or a watch.
    fn charge_quota(&mut self, path: &str, zxid: Zxid, bytes: i64, nodes: i64) {
        let Some(subject) = self.tree.quotas.innermost(path) else { return };
        let Some((_, node)) = self.index().get(&quota::stat_path(subject), &self.guard) else { return };
        let track = StatsTrack::parse(node.data(&self.guard).data.as_deref());
        // A client may have written any number there; Java's wrap, too.
        let counts = StatsTrack::counts(track.count().wrapping_add(nodes), track.bytes().wrapping_add(bytes));
        Self::replace_counts(node, &counts, zxid, &self.guard);
    }

    /// The counts of a subtree that just got a count node.
    fn count_quota(&mut self, subject: &str, zxid: Zxid) {
        let (mut nodes, mut bytes) = (0, 0);
        let mut open: Vec<NodeId> = self.index().get(subject, &self.guard).map(|f| f.0).into_iter().collect();
        while let Some(id) = open.pop() {
            let Some(node) = self.index().node(id, &self.guard) else { continue };
            nodes += 1;
            bytes += node.data(&self.guard).data_length() as i64;
            if let Some(children) = self.tree.dirty.get(&id).or_else(|| node.children(&self.guard)) {
                children.set.for_each(|child| open.push(child));
            }
        }
        let Some((_, node)) = self.index().get(&quota::stat_path(subject), &self.guard) else { return };
        Self::replace_counts(node, &StatsTrack::counts(nodes, bytes), zxid, &self.guard);
    }

    fn replace_counts(node: &Node, counts: &StatsTrack, zxid: Zxid, guard: &Guard) {
        let old = node.data(guard);
        let data = Some(counts.to_text().into_bytes().into());
        node.replace_data(DataVersion { stamp: zxid.max(old.stamp), data, ..old.clone() }, guard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::acl::AclEntry;

    fn open() -> AclRef {
        Arc::new(AclList::open())
    }

    fn create(tree: &mut TreeWriter, path: &str, zxid: u64, parent_cversion: i32) {
        let new = NewNode { path, data: Some(b""), acl: open(), kind: NodeKind::Persistent, parent_cversion };
        let mut batch = tree.begin();
        // Failing is what a replay over a fuzzy checkpoint may do.
        let _ = batch.create(&new, Zxid(zxid), 0, &mut Changes::default());
        batch.publish();
    }

    fn delete(tree: &mut TreeWriter, path: &str, zxid: u64) {
        let mut batch = tree.begin();
        let _ = batch.delete(path, Zxid(zxid), &mut Changes::default());
        batch.publish();
    }

    /// A checkpoint that began at zxid 1 and caught `/a` as transaction 7 made it.
    fn caught_late() -> TreeWriter {
        let mut tree = TreeWriter::new(1);
        let stat = StatPersisted { czxid: 7, mzxid: 7, pzxid: 7, ..Default::default() };
        tree.restore("/a", Some(b""), open(), &stat, false).unwrap();
        tree
    }

    #[test]
    fn a_replay_leaves_the_list_of_a_node_that_is_younger_than_the_transaction() {
        let mut tree = caught_late();
        let secret = AclEntry { perms: 1, scheme: "ip".into(), id: "10.0.0.1".into() };
        let mut batch = tree.begin();
        // Of the `/a` that transaction 6 deletes.
        let _ = batch.set_acl("/a", Arc::new(AclList::new(vec![secret])), 1, Zxid(5));
        batch.publish();
        delete(&mut tree, "/a", 6);
        create(&mut tree, "/a", 7, 1);
        let guard = pin();
        let data = tree.get("/a", &guard).unwrap().data(&guard);
        assert_eq!((&data.acl, data.aversion), (&open(), 0));
    }

    #[test]
    fn a_replay_leaves_the_counters_of_a_parent_that_is_younger_than_the_transaction() {
        let mut tree = caught_late();
        // Under the `/a` that transaction 6 deletes.
        create(&mut tree, "/a/b", 3, 1);
        delete(&mut tree, "/a/b", 4);
        delete(&mut tree, "/a", 6);
        create(&mut tree, "/a", 7, 1);
        let guard = pin();
        let node = tree.get("/a", &guard).unwrap();
        let stat = node.stat(node.data(&guard), node.children(&guard));
        assert_eq!((stat.cversion, stat.num_children, stat.pzxid), (0, 0, 7));
        assert!(tree.get("/a/b", &guard).is_none());
    }

    #[test]
    fn the_counter_of_a_parent_is_compared_without_a_sign_and_stays_at_its_end() {
        let counts = |start: i32, given: [i32; 3]| {
            let mut tree = TreeWriter::new(1);
            let stat = StatPersisted { czxid: 1, mzxid: 1, pzxid: 1, cversion: start, ..Default::default() };
            tree.restore("/a", Some(b""), open(), &stat, false).unwrap();
            ["/a/b", "/a/c", "/a/d"].iter().zip(given).zip(2..).for_each(|((path, count), zxid)| {
                create(&mut tree, path, zxid, count);
            });
            let guard = pin();
            let children = tree.get("/a", &guard).unwrap().children(&guard).unwrap();
            assert_eq!(children.pzxid, Zxid(4), "also when the count stays");
            children.cversion
        };
        assert_eq!(counts(i32::MAX, [i32::MIN, i32::MIN + 1, i32::MAX]), 0x8000_0001);
        assert_eq!(counts(-3, [-2, -1, -1]), u32::MAX);
        assert_eq!(counts(-1, [-2, -1, i32::MAX]), u32::MAX, "a replay over what is later");
    }

    #[test]
    fn counts_that_a_client_wrote_cannot_overflow() {
        let mut tree = TreeWriter::new(1);
        create(&mut tree, "/a", 1, 1);
        create(&mut tree, "/zookeeper/quota/a", 2, 1);
        create(&mut tree, "/zookeeper/quota/a/zookeeper_limits", 3, 1);
        create(&mut tree, "/zookeeper/quota/a/zookeeper_stats", 4, 2);
        let counts = StatsTrack::counts(i64::MAX, i64::MAX).to_text();
        let mut batch = tree.begin();
        let path = "/zookeeper/quota/a/zookeeper_stats";
        batch.set_data(path, Some(counts.as_bytes()), 1, Zxid(5), 0, &mut Changes::default()).unwrap();
        batch.publish();
        create(&mut tree, "/a/b", 6, 1);
    }
}
