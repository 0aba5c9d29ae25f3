//! The znodes: one [`TreeWriter`], a [`TreeReader`] a core.
//!
//! The writer changes the tree between [`TreeWriter::begin`] and [`Batch::publish`]. Data versions
//! and the index change at once, children sets at the end, so that a batch of creations under one
//! parent replaces its set once. What keeps a reader from seeing half of it is the stamp: each
//! thing that a read uses says which transaction touched it last, the stamp is raised before the
//! change can be seen, and a read that meets a stamp above what its core has delivered is done
//! again later (see [`View`]).
//!
//! | file | what lives there |
//! |---|---|
//! | `index` | cells, arenas, the lock-free index: all that is unsafe |
//! | `node`, `children`, `acl` | a znode in its bytes, its children, its list |
//! | `kept` | values that stay where the checkpoint has them |
//! | `shared`, `view`, `walk` | from a path to a node; reading at one moment; visiting all |
//! | `batch`, `changes` | changing, and what the watches are told |
//! | `fill` | a checkpoint's nodes, by several threads at once |
//! | `ephemeral`, `quota`, `watch`, `path` | who owns, who counts, who waits, how paths are cut |
//! | `digest` | a sum over all nodes, for comparing |

pub mod acl;
mod batch;
mod changes;
pub mod children;
pub mod digest;
pub mod ephemeral;
pub mod fill;
pub mod index;
pub mod kept;
pub mod node;
pub mod path;
pub mod quota;
mod shared;
mod view;
pub mod walk;
pub mod watch;

pub use batch::{Batch, NewNode};
pub use changes::{Change, ChangeKind, Changes};
pub use shared::WARMED_AT_ONCE;
pub use view::{Absent, NotYet, TreeReader, View};

use crate::error::ErrorCode;
use crate::id::Zxid;
use crate::jute::records::StatPersisted;
use acl::{AclId, AclList, AclRef, AclTable};
use ephemeral::Ephemerals;
use foldhash::fast::FixedState;
use index::{Arena, COLLECTED_AT_ONCE, Guard, IndexWriter, NodeId, Numbers, pin};
use kept::{Kept, Uses};
use node::{Children, ChildrenId, ChildrenVersion, DataSet, DataVersion, NewNodeVersion, Node, NodeKind};
use quota::Quotas;
use shared::{ROOT, Shared};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The writer's half of the tree; there is one.
pub struct TreeWriter {
    seed: u64,
    shared: Arc<Shared>,
    index: IndexWriter,
    nodes: Numbers,
    children: Numbers,
    /// Children of nodes that the open batch changed.
    dirty: HashMap<NodeId, ChildrenVersion, FixedState>,
    /// Nodes that the open batch removed.
    removed: Vec<(NodeId, Option<ChildrenId>)>,
    /// Lists in use.
    pub acls: AclTable,
    kept: Uses,
    ephemerals: Ephemerals,
    containers: BTreeSet<Box<str>>,
    ttls: BTreeSet<Box<str>>,
    quotas: Quotas,
    data_bytes: i64,
    /// Values that were replaced and may not be freed yet.
    garbage: usize,
    /// Calls of [`Self::reclaim`] after which nothing that was replaced before is left.
    unsettled: u8,
    /// Nodes that were ever removed.
    removals: u64,
}

/// Where a path's node was found. It is there for as long as none is removed: until then no path gets another
/// node, and no number another path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    id: NodeId,
    removals: u64,
}

/// A value is freed two epochs after it was replaced, and a call moves on by one at most.
const SETTLES_AFTER: u8 = 4;
/// Collections of one call of [`TreeWriter::reclaim`], so that it stays short.
const COLLECTIONS_MAX: usize = 64;

impl TreeWriter {
    /// The tree of a new server: the root, `/zookeeper`, its quota and configuration nodes.
    /// `seed` keys the hashes.
    pub fn new(seed: u64) -> Self {
        let mut tree = TreeWriter::bare(seed, 0);
        tree.add_own_nodes();
        tree
    }

    /// Without any node, not even the root, and with room for so many in the index.
    fn bare(seed: u64, nodes: usize) -> Self {
        let acls = AclTable::new(seed);
        let index = IndexWriter::with_capacity(nodes);
        let shared = Shared {
            nodes: Arena::new(),
            children: Arena::new(),
            acls: acls.arena(),
            kept: Kept::none(),
            index: index.reader(),
            hasher: FixedState::with_seed(seed),
        };
        TreeWriter {
            seed,
            shared: Arc::new(shared),
            index,
            nodes: Numbers::from(0),
            children: Numbers::from(0),
            dirty: HashMap::with_hasher(FixedState::with_seed(seed)),
            removed: Vec::new(),
            acls,
            kept: Uses::default(),
            ephemerals: Ephemerals::default(),
            containers: BTreeSet::new(),
            ttls: BTreeSet::new(),
            quotas: Quotas::default(),
            data_bytes: 0,
            garbage: 0,
            unsettled: 0,
            removals: 0,
        }
    }

    /// Adds those of the server's own nodes that are missing.
    fn add_own_nodes(&mut self) {
        for path in ["/", path::ZOOKEEPER, path::QUOTA, path::CONFIG] {
            if self.get(path, &pin()).is_some() {
                continue;
            }
            let is_config = path == path::CONFIG;
            let stat = StatPersisted { aversion: if is_config { -1 } else { 0 }, ..Default::default() };
            let list = if is_config { AclList::read_only() } else { AclList::open() };
            let acl = self.acls.intern_list(&list);
            self.restore(path, Some(b""), acl, &stat, false).expect("parents come first");
        }
        self.begin().publish();
    }

    /// What keys its hashes.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A reader's half.
    pub fn reader(&self) -> TreeReader {
        TreeReader::new(Arc::clone(&self.shared))
    }

    /// Nodes, the server's own included; ZooKeeper's count has the root twice.
    pub fn node_count(&self) -> usize {
        self.index.len() + 1
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
    pub fn get<'g>(&'g self, path: &str, guard: &'g Guard) -> Option<Node<'g>> {
        Some(self.shared.get(path, guard)?.1)
    }

    /// The hash that the tree knows a path by.
    pub fn hash(&self, path: &str) -> u64 {
        self.shared.hash(path)
    }

    /// As [`Self::get`], with the path's hash, and where it was found.
    #[inline]
    pub fn find<'g>(&'g self, path: &str, hash: u64, guard: &'g Guard) -> Option<(Found, Node<'g>)> {
        let (id, node) = self.shared.get_hashed(path, hash, guard)?;
        Some((Found { id, removals: self.removals }, node))
    }

    /// Before many paths are looked up: brings what leads to them to the core's cache, so that one does
    /// not wait for the memory after the other. Takes the first [`WARMED_AT_ONCE`].
    pub fn warm<'p>(&self, paths: impl Iterator<Item = &'p [u8]>, guard: &Guard) {
        self.shared.warm(paths, guard);
    }

    /// A node's children; `None` if it never had one.
    pub fn children<'g>(&'g self, node: Node<'g>, guard: &'g Guard) -> Option<&'g ChildrenVersion> {
        self.children_of(&node.data(), guard)
    }

    /// The same, of a node whose data was read.
    #[inline]
    pub fn children_of<'g>(
        &'g self,
        data: &DataVersion<'_>,
        guard: &'g Guard,
    ) -> Option<&'g ChildrenVersion> {
        self.shared.children_of(data, guard)?.version(guard)
    }

    /// A node's data.
    #[inline]
    pub fn value<'g>(&'g self, data: &DataVersion<'g>, guard: &'g Guard) -> Option<&'g [u8]> {
        self.shared.value(data.data, guard)
    }

    /// The list that a node has.
    pub fn acl<'g>(&'g self, id: AclId, guard: &'g Guard) -> &'g AclRef {
        self.shared.acl(id, guard)
    }

    /// Opens a batch.
    pub fn begin(&mut self) -> Batch<'_> {
        Batch::new(self, pin())
    }

    /// Puts a node of a checkpoint back; its parent must be there. A node that is there already
    /// takes the checkpoint's data, as the server's own nodes do. Readers see the children when the
    /// next batch is published.
    ///
    /// # Errors
    /// [`ErrorCode::NoNode`] when the parent is missing, [`ErrorCode::BadArguments`] for what no node's
    /// path can be.
    pub fn restore(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl: AclId,
        stat: &StatPersisted,
        extended_types: bool,
    ) -> Result<(), ErrorCode> {
        let guard = pin();
        let shared = Arc::clone(&self.shared);
        let (czxid, mzxid, pzxid) =
            (Zxid::from_jute(stat.czxid), Zxid::from_jute(stat.mzxid), Zxid::from_jute(stat.pzxid));
        let kind = NodeKind::from_owner(stat.ephemeral_owner, extended_types);
        let version = DataVersion {
            stamp: mzxid,
            mzxid,
            mtime: stat.mtime,
            version: stat.version,
            aversion: stat.aversion,
            acl,
            kind,
            children: None,
            data: data.into(),
        };
        let bytes = version.data_length() as i64;
        let id = if let Some((id, node)) = shared.get(path, &guard) {
            // The server's own nodes are made before a checkpoint is read; their czxid is zero in
            // every tree.
            let old = node.data();
            self.data_bytes += bytes - old.data_length() as i64;
            self.acls.hold(acl, 1);
            self.acls.release(old.acl);
            self.replace(id, node, DataVersion { children: old.children, kind: old.kind, ..version }, &guard);
            id
        } else {
            let (parent, name) = match path::place(path) {
                Some((above, name)) => (Some(shared.get(above, &guard).ok_or(ErrorCode::NoNode)?.0), name),
                None if path == "/" => (None, ""),
                None => return Err(ErrorCode::BadArguments),
            };
            self.data_bytes += path.len() as i64 + bytes;
            let (name, ctime) = (name.as_bytes(), stat.ctime);
            let version = NewNodeVersion { parent, name, czxid, ctime, data: version };
            let id = self.insert(shared.tag(path), &version, &guard);
            self.note_created(path, kind);
            if let Some(parent) = parent {
                self.dirty_children(parent, &guard).set.insert(id);
            }
            id
        };
        if stat.cversion != 0 || pzxid != czxid {
            let own = self.dirty_children(id, &guard);
            (own.cversion, own.pzxid) = (stat.cversion.cast_unsigned(), pzxid);
        }
        Ok(())
    }

    /// The children of a node that is restored.
    fn dirty_children(&mut self, id: NodeId, guard: &Guard) -> &mut ChildrenVersion {
        let shared = Arc::clone(&self.shared);
        let node = shared.node(id, guard).expect("a node that is there");
        let cell = shared.children(node, guard);
        if cell.is_none() {
            self.give_children(id, node, Children::new(Zxid::ZERO, None), guard);
        }
        let published = cell.and_then(|children| children.version(guard)).cloned();
        let unborn = || ChildrenVersion { pzxid: node.czxid(), ..Default::default() };
        self.dirty.entry(id).or_insert_with(|| published.unwrap_or_else(unborn))
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

    /// Frees some of what no reader can see any more; to be called now and then, also when nothing
    /// changes, or a mass deletion would keep its memory until the next change.
    pub fn reclaim(&mut self) {
        if self.garbage == 0 && self.unsettled == 0 && self.away() == 0 {
            return;
        }
        self.unsettled = self.unsettled.saturating_sub(1);
        let guard = pin();
        for _ in 0..(self.garbage.max(self.away()) / COLLECTED_AT_ONCE + 1).min(COLLECTIONS_MAX) {
            guard.collect();
            self.garbage = self.garbage.saturating_sub(COLLECTED_AT_ONCE);
        }
        self.take_numbers_back(&guard);
    }

    /// Numbers that wait for readers to end.
    fn away(&self) -> usize {
        self.nodes.away() + self.children.away() + self.acls.away() + self.kept.away()
    }

    /// As much as the batch replaced is freed of what came before, so that it never piles up.
    fn collect(&mut self, guard: &Guard) {
        if self.garbage > 0 {
            self.unsettled = SETTLES_AFTER;
        }
        while self.garbage >= COLLECTED_AT_ONCE {
            guard.collect();
            self.garbage -= COLLECTED_AT_ONCE;
        }
        self.take_numbers_back(guard);
    }

    fn take_numbers_back(&mut self, guard: &Guard) {
        let shared = Arc::clone(&self.shared);
        let before = self.away();
        self.nodes.reclaim(&shared.nodes, guard);
        self.children.reclaim(&shared.children, guard);
        self.acls.reclaim(guard);
        self.kept.reclaim(&shared.kept, guard);
        // What was in their cells is to be freed next.
        self.garbage += before - self.away();
    }

    fn insert(&mut self, tag: u32, version: &NewNodeVersion<'_>, guard: &Guard) -> NodeId {
        let id = self.nodes.take();
        self.acls.hold(version.data.acl, 1);
        version.put(self.shared.nodes.cell_or_grow(id), guard);
        match version.parent {
            Some(_) => self.index.insert(tag, id, guard),
            None => assert_eq!(id, ROOT, "the root comes first"),
        }
        id
    }

    fn replace(&mut self, id: NodeId, node: Node<'_>, data: DataVersion<'_>, guard: &Guard) {
        NewNodeVersion::of(node, data).put(self.shared.nodes.cell_or_grow(id), guard);
        if node.is_kept() && !data.data.is_kept() {
            self.kept.leave();
        }
        self.garbage += 1;
    }

    /// As [`Self::replace`], where nothing but what setData changes differs.
    fn replace_data(&mut self, id: NodeId, node: Node<'_>, set: &DataSet<'_>, guard: &Guard) {
        node.put_with(set, self.shared.nodes.cell_or_grow(id), guard);
        self.garbage += 1;
    }

    /// Before a node's first child.
    fn give_children(&mut self, id: NodeId, node: Node<'_>, children: Children, guard: &Guard) {
        let number = self.children.take();
        self.shared.children.cell_or_grow(number).replace(Some(children), guard);
        let children = Some(ChildrenId(number.0));
        self.replace(id, node, DataVersion { children, ..node.data() }, guard);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::acl::AclEntry;
    use crate::tree::kept::Value;
    use crate::tree::quota::StatsTrack;

    fn open(tree: &mut TreeWriter) -> AclId {
        tree.acls.intern_list(&AclList::open())
    }

    fn create(tree: &mut TreeWriter, path: &str, zxid: u64, parent_cversion: i32) {
        let (acl, kind) = (open(tree), NodeKind::Persistent);
        let new = NewNode { path, data: Some(b""), acl, kind, parent_cversion };
        let mut batch = tree.begin();
        // Failing is what a replay over a fuzzy checkpoint may do.
        let _ = batch.create(&new, None, Zxid(zxid), 0, &mut Changes::default());
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
        let acl = open(&mut tree);
        tree.restore("/a", Some(b""), acl, &stat, false).unwrap();
        tree.begin().publish();
        tree
    }

    #[test]
    fn a_replay_leaves_the_list_of_a_node_that_is_younger_than_the_transaction() {
        let mut tree = caught_late();
        let secret = AclEntry { perms: 1, scheme: "ip".into(), id: "10.0.0.1".into() };
        let acl = tree.acls.intern_list(&AclList::new(vec![secret]));
        let mut batch = tree.begin();
        // Of the `/a` that transaction 6 deletes.
        let _ = batch.set_acl("/a", acl, 1, Zxid(5));
        batch.publish();
        delete(&mut tree, "/a", 6);
        create(&mut tree, "/a", 7, 1);
        let (open, guard) = (open(&mut tree), pin());
        let data = tree.get("/a", &guard).unwrap().data();
        assert_eq!((data.acl, data.aversion), (open, 0));
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
        let stat = node.stat(&node.data(), tree.children(node, &guard));
        assert_eq!((stat.cversion, stat.num_children, stat.pzxid), (0, 0, 7));
        assert!(tree.get("/a/b", &guard).is_none());
    }

    /// `/a/a/a...`, as a checkpoint could bring it, without a look at every level's path from above.
    fn chain(tree: &mut TreeWriter, levels: usize) {
        let (acl, guard) = (open(tree), pin());
        let (mut path, mut parent) = (String::new(), ROOT);
        for _ in 0..levels {
            path.push_str("/a");
            let data = DataVersion {
                stamp: Zxid(1),
                mzxid: Zxid(1),
                mtime: 0,
                version: 0,
                aversion: 0,
                acl,
                kind: NodeKind::Persistent,
                children: None,
                data: Value::Inline(b"data"),
            };
            let node = NewNodeVersion { parent: Some(parent), name: b"a", czxid: Zxid(1), ctime: 0, data };
            let id = tree.insert(tree.shared.tag(&path), &node, &guard);
            tree.data_bytes += (path.len() + 4) as i64;
            tree.dirty_children(parent, &guard).set.insert(id);
            parent = id;
        }
        tree.begin().publish();
    }

    #[test]
    fn a_deep_subtree_goes_without_a_deep_stack() {
        let deletes = || {
            let mut tree = TreeWriter::new(1);
            let before = (tree.node_count(), tree.data_bytes());
            chain(&mut tree, 20_000);
            delete(&mut tree, "/a", 2);
            assert_eq!((tree.node_count(), tree.data_bytes()), before);
            let guard = pin();
            let root = tree.get("/", &guard).unwrap();
            assert_eq!(tree.children(root, &guard).unwrap().set.len(), 1, "its own");
        };
        // Thirteen bytes a level.
        let small = std::thread::Builder::new().stack_size(256 * 1024);
        small.spawn(deletes).unwrap().join().unwrap();
    }

    #[test]
    fn children_that_were_caught_later_than_their_parent_go_with_it() {
        let mut tree = TreeWriter::new(1);
        let before = (tree.node_count(), tree.data_bytes());
        for (path, zxid) in [("/a", 1), ("/a/b", 9), ("/a/b/c", 9), ("/a/b/d", 3), ("/a/e", 2), ("/f", 4)] {
            create(&mut tree, path, zxid, -1);
        }
        let mut changes = Changes::default();
        let mut batch = tree.begin();
        batch.delete("/a", Zxid(5), &mut changes).unwrap();
        batch.delete("/f", Zxid(6), &mut changes).unwrap();
        batch.publish();
        assert_eq!((tree.node_count(), tree.data_bytes()), before);
        assert_eq!(changes.iter().map(|(_, path)| path).collect::<Vec<_>>(), ["/a", "/f"]);
        for (path, zxid) in [("/a", 7), ("/a/b", 8), ("/a/b/c", 9)] {
            create(&mut tree, path, zxid, -1);
        }
        let guard = pin();
        let children = |path: &str| {
            let node = tree.get(path, &guard).unwrap();
            tree.children(node, &guard).map_or(0, |children| children.set.len())
        };
        assert_eq!([children("/"), children("/a"), children("/a/b")], [2, 1, 1]);
    }

    #[test]
    fn the_counter_of_a_parent_is_compared_without_a_sign_and_stays_at_its_end() {
        let counts = |start: i32, given: [i32; 3]| {
            let mut tree = TreeWriter::new(1);
            let stat = StatPersisted { czxid: 1, mzxid: 1, pzxid: 1, cversion: start, ..Default::default() };
            let acl = open(&mut tree);
            tree.restore("/a", Some(b""), acl, &stat, false).unwrap();
            ["/a/b", "/a/c", "/a/d"].iter().zip(given).zip(2..).for_each(|((path, count), zxid)| {
                create(&mut tree, path, zxid, count);
            });
            let guard = pin();
            let children = tree.children(tree.get("/a", &guard).unwrap(), &guard).unwrap();
            assert_eq!(children.pzxid, Zxid(4), "also when the count stays");
            children.cversion
        };
        assert_eq!(counts(i32::MAX, [i32::MIN, i32::MIN + 1, i32::MAX]), 0x8000_0001);
        assert_eq!(counts(-3, [-2, -1, -1]), u32::MAX);
        assert_eq!(counts(-1, [-2, -1, i32::MAX]), u32::MAX, "a replay over what is later");
    }

    #[test]
    fn no_transaction_deletes_the_root_or_makes_a_node_that_its_path_does_not_lead_to() {
        let mut tree = TreeWriter::new(1);
        create(&mut tree, "/a", 1, 1);
        let before = (tree.node_count(), tree.data_bytes());
        let mut batch = tree.begin();
        let deleted = batch.delete("/", Zxid(2), &mut Changes::default());
        batch.publish();
        assert_eq!(deleted, Err(ErrorCode::BadArguments));
        // A parent's and a name, but not that parent's path, a slash and the name.
        create(&mut tree, "//c", 2, 2);
        let acl = open(&mut tree);
        let restored = tree.restore("//c", None, acl, &StatPersisted::default(), false);
        assert_eq!(restored, Err(ErrorCode::BadArguments));
        assert_eq!((tree.node_count(), tree.data_bytes()), before);
        create(&mut tree, "/b", 3, 2);
        let guard = pin();
        assert!(["/", "/a", "/b", path::QUOTA].iter().all(|path| tree.get(path, &guard).is_some()));
    }

    #[test]
    fn a_mass_deletion_gives_memory_back_without_another_change() {
        let mut tree = TreeWriter::new(1);
        let many = 5000;
        (2..many).for_each(|n| create(&mut tree, &format!("/{n}"), n, -1));
        (2..many).for_each(|n| delete(&mut tree, &format!("/{n}"), n + many));
        let begun = std::time::Instant::now();
        while tree.away() > 0 || tree.garbage > 0 {
            tree.reclaim();
            // Other tests of this process hold guards, briefly.
            assert!(begun.elapsed().as_secs() < 60, "{} numbers are still away", tree.away());
        }
        let guard = pin();
        let used = |id: &u32| tree.shared.node(NodeId(*id), &guard).is_some();
        assert_eq!((0..many as u32 * 2).filter(used).count(), tree.node_count());
    }

    #[test]
    fn what_was_found_before_a_removal_is_looked_for_again() {
        let mut tree = TreeWriter::new(1);
        create(&mut tree, "/a", 1, 1);
        let find = |tree: &TreeWriter| tree.find("/a", tree.hash("/a"), &pin()).unwrap().0;
        let before = find(&tree);
        create(&mut tree, "/b", 2, 2);
        assert_eq!(find(&tree), before, "creations move nothing");
        delete(&mut tree, "/a", 3);
        // Whatever number it gets, its own or that of the first.
        create(&mut tree, "/a", 4, 4);
        let data = |tree: &TreeWriter| {
            let guard = pin();
            tree.value(&tree.get("/a", &guard).unwrap().data(), &guard).map(<[u8]>::to_vec)
        };
        for (found, zxid, text) in [(before, 5, b"old"), (find(&tree), 6, b"new")] {
            let set = DataSet { mzxid: Zxid(zxid), mtime: 0, version: 1, data: Some(text) };
            let mut batch = tree.begin();
            batch.set_data("/a", Some(found), &set, &mut Changes::default()).unwrap();
            batch.publish();
            assert_eq!(data(&tree).as_deref(), Some(&text[..]));
        }
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
        let set = DataSet { mzxid: Zxid(5), mtime: 0, version: 1, data: Some(counts.as_bytes()) };
        batch.set_data(path, None, &set, &mut Changes::default()).unwrap();
        batch.publish();
        create(&mut tree, "/a/b", 6, 1);
    }
}
