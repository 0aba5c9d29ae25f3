//! A checkpoint's nodes into a new tree, by several threads at once: each fills in the nodes of some blocks,
//! then, once all are there, some parts of the index, then gives some nodes their children. Nobody reads the
//! tree meanwhile.

use super::TreeWriter;
use super::acl::AclId;
use super::index::{Entry, Filling, Guard, NUMBERS_MAX, NodeId, Numbers, pin};
use super::kept::{Place, Uses, Value};
use super::node::{Children, ChildrenId, ChildrenVersion, DataVersion, NewNodeVersion, NodeKind};
use super::shared::{ROOT, Shared};
use super::walk::Ordinal;
use super::{path, quota};
use crate::id::Zxid;
use crate::snap::{Held, NodeRecord};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A tree that is being filled; threads share it.
pub struct Fill {
    shared: Arc<Shared>,
    filling: Filling,
    next_children: AtomicU32,
    extended_types: bool,
    /// The bytes that the records are parts of, if they stay.
    held: Option<Arc<dyn Held>>,
}

/// Children of one node that follow each other.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    /// Whose.
    pub parent: Ordinal,
    /// The path of that node, as the children say it.
    parent_path: &'a str,
    children: Range<u32>,
}

/// What a thread has to tell of the nodes that it filled in.
#[derive(Debug, Default)]
pub struct Part<'a> {
    runs: Vec<Run<'a>>,
    /// By access control list: how many nodes have it.
    uses: Vec<u32>,
    data_bytes: i64,
    /// Values that stay where they are.
    kept: u64,
    /// Nodes that the writer's tables must know.
    noted: Vec<(&'a str, NodeKind)>,
    /// By partition of the index.
    entries: Vec<Vec<Entry>>,
}

impl Fill {
    /// Of a tree without nodes, made with [`TreeWriter::to_fill`]. Long values that are part of what is
    /// `held` stay there.
    pub fn new(tree: &TreeWriter, extended_types: bool, held: Option<Arc<dyn Held>>) -> Self {
        let (shared, filling) = (Arc::clone(&tree.shared), tree.index.filling());
        Fill { shared, filling, next_children: AtomicU32::new(0), extended_types, held }
    }

    /// Fills in one node. Every number below its own is or will be another's.
    ///
    /// # Errors
    /// What makes it no node of a tree.
    pub fn node<'a>(
        &self,
        ordinal: Ordinal,
        record: &NodeRecord<'a>,
        acl: AclId,
        part: &mut Part<'a>,
        guard: &Guard,
    ) -> Result<(), String> {
        let (id, wrong) = (NodeId(ordinal.0), |what: &str| Err(format!("{}: {what}", record.path)));
        let place = match (record.parent, path::place(record.path)) {
            (None, None) if id == ROOT && record.path == "/" => None,
            (Some(parent), Some((above, name))) if parent < ordinal => Some((parent, above, name)),
            _ => return wrong("its place in the tree is not that of its path"),
        };
        let kind = NodeKind::from_owner(record.ephemeral_owner, self.extended_types);
        let counted = record.cversion != 0 || record.pzxid != record.czxid;
        let data = DataVersion {
            stamp: record.mzxid,
            mzxid: record.mzxid,
            mtime: record.mtime,
            version: record.version,
            aversion: record.aversion,
            acl,
            kind,
            children: counted.then(|| self.new_children(record, guard)),
            data: self.value(record.data, part),
        };
        let (czxid, ctime) = (record.czxid, record.ctime);
        let name = place.map_or("", |place| place.2).as_bytes();
        let parent = place.map(|place| NodeId(place.0.0));
        NewNodeVersion { parent, name, czxid, ctime, data }.put(self.shared.nodes.cell_or_grow(id), guard);
        if let Some((parent, above, _)) = place {
            let tag = self.shared.tag(record.path);
            if part.entries.is_empty() {
                part.entries.resize_with(self.filling.partitions(), Vec::new);
            }
            part.entries[self.filling.partition_of(tag)].push((tag, id));
            match part.runs.last_mut() {
                Some(run)
                    if run.parent == parent && run.parent_path == above && run.children.end == ordinal.0 =>
                {
                    run.children.end += 1;
                }
                _ => {
                    let children = ordinal.0..ordinal.0 + 1;
                    part.runs.push(Run { parent, parent_path: above, children });
                }
            }
        }
        if part.uses.len() <= acl.0 as usize {
            part.uses.resize(acl.0 as usize + 1, 0);
        }
        part.uses[acl.0 as usize] += 1;
        part.data_bytes += (record.path.len() + data.data_length()) as i64;
        if kind != NodeKind::Persistent || quota::limited_by(record.path).is_some() {
            part.noted.push((record.path, kind));
        }
        Ok(())
    }

    fn value<'a>(&self, data: Option<&'a [u8]>, part: &mut Part<'_>) -> Value<'a> {
        let place = || Place::of(data?, self.held.as_ref()?.bytes());
        let Some(place) = place() else { return data.into() };
        part.kept += 1;
        Value::Kept(place)
    }

    fn new_children(&self, record: &NodeRecord<'_>, guard: &Guard) -> ChildrenId {
        let (cversion, pzxid) = (record.cversion.cast_unsigned(), record.pzxid);
        let version = ChildrenVersion { cversion, pzxid, ..Default::default() };
        self.add_children(Children::new(Zxid::ZERO, Some(version)), guard)
    }

    fn add_children(&self, children: Children, guard: &Guard) -> ChildrenId {
        let number = self.next_children.fetch_add(1, Ordering::Relaxed);
        self.shared.children.cell_or_grow(NodeId(number)).replace(Some(children), guard);
        ChildrenId(number)
    }

    /// How many partitions the index has.
    pub fn partitions(&self) -> usize {
        self.filling.partitions()
    }

    /// Fills in one partition of the index, from all parts; what runs over it is left in `over`.
    ///
    /// # Errors
    /// A node that is there twice.
    pub fn index<'p, 'a: 'p>(
        &self,
        partition: usize,
        parts: impl Iterator<Item = &'p Part<'a>>,
        over: &mut Vec<Entry>,
        guard: &Guard,
    ) -> Result<(), String> {
        let entries = parts.filter_map(|part| part.entries.get(partition)).flatten().copied();
        let inserted = self.filling.insert(partition, entries, |a, b| self.same(a, b, guard), over);
        inserted.map_err(|id| self.twice(id, guard))
    }

    /// Fills in what ran over, when all partitions are done.
    ///
    /// # Errors
    /// As [`Self::index`].
    pub fn index_rest(&self, over: Vec<Entry>, guard: &Guard) -> Result<(), String> {
        let inserted = self.filling.insert_rest(over, |a, b| self.same(a, b, guard));
        inserted.map_err(|id| self.twice(id, guard))
    }

    /// Whether two nodes are one of their parent.
    fn same(&self, a: NodeId, b: NodeId, guard: &Guard) -> bool {
        let place = |id| self.shared.node(id, guard).map(|node| (node.parent(), node.name()));
        place(a) == place(b)
    }

    fn twice(&self, id: NodeId, guard: &Guard) -> String {
        let mut path = String::new();
        if let Some(node) = self.shared.node(id, guard) {
            self.shared.write_path(node, guard, &mut path);
        }
        format!("{path}: it is there twice")
    }

    /// The runs of all parts, those of one parent together.
    pub fn runs<'p, 'a: 'p>(parts: impl Iterator<Item = &'p mut Part<'a>>) -> Vec<Run<'a>> {
        let mut runs: Vec<Run<'a>> = parts.flat_map(|part| std::mem::take(&mut part.runs)).collect();
        runs.sort_by_key(|run| (run.parent, run.children.start));
        // One node's children, in blocks that follow each other, are one run again.
        runs.dedup_by(|next, run| {
            let goes_on = (run.parent, run.children.end) == (next.parent, next.children.start)
                && run.parent_path == next.parent_path;
            if goes_on {
                run.children.end = next.children.end;
            }
            goes_on
        });
        runs
    }

    /// Gives nodes their children: those whose first run is in `range`. To be called when every node is
    /// filled in.
    ///
    /// # Errors
    /// What makes them no children of that node.
    pub fn children(&self, runs: &[Run<'_>], range: Range<usize>, guard: &Guard) -> Result<(), String> {
        let mut path = String::new();
        for of_one in runs[range.start..].chunk_by(|a, b| a.parent == b.parent) {
            let at = element_offset(runs, of_one);
            if at >= range.end {
                break;
            }
            let parent = of_one[0].parent;
            if at > 0 && runs[at - 1].parent == parent {
                continue;
            }
            let id = NodeId(parent.0);
            let node = self.shared.node(id, guard).ok_or("a node's parent is missing")?;
            path.clear();
            self.shared.write_path(node, guard, &mut path);
            if let Some(run) = of_one.iter().find(|run| run.parent_path != path) {
                return Err(format!("what is under {} says that it is under {path}", run.parent_path));
            }
            let known = self.shared.children(node, guard);
            let version = known.and_then(|children| children.version(guard)).cloned();
            let unborn = || ChildrenVersion { pzxid: node.czxid(), ..Default::default() };
            let mut version = version.unwrap_or_else(unborn);
            of_one.iter().for_each(|run| version.set.extend(run.children.clone()));
            match known {
                Some(children) => children.replace(version, guard),
                None => {
                    let children = Some(self.add_children(Children::new(Zxid::ZERO, Some(version)), guard));
                    let data = DataVersion { children, ..node.data() };
                    NewNodeVersion::of(node, data).put(self.shared.nodes.cell_or_grow(id), guard);
                }
            }
        }
        Ok(())
    }

    /// After all: the tree knows what was filled in.
    pub fn finish<'p, 'a: 'p>(
        self,
        tree: &mut TreeWriter,
        nodes: u32,
        parts: impl Iterator<Item = &'p Part<'a>>,
    ) {
        tree.index.filled((nodes as usize).saturating_sub(1));
        tree.nodes = Numbers::from(nodes);
        tree.children = Numbers::from(self.next_children.into_inner());
        let mut kept = 0;
        for part in parts {
            for (number, &uses) in part.uses.iter().enumerate().filter(|(_, uses)| **uses > 0) {
                tree.acls.hold(AclId(number as u32), uses);
            }
            tree.data_bytes += part.data_bytes;
            kept += part.kept;
            part.noted.iter().for_each(|&(path, kind)| tree.note_created(path, kind));
        }
        if let Some(held) = self.held.filter(|_| kept > 0) {
            self.shared.kept.begin(held, &pin());
            tree.kept = Uses::of(kept);
        }
        tree.add_own_nodes();
    }
}

/// Where a part of a slice begins in it.
fn element_offset<T>(all: &[T], part: &[T]) -> usize {
    all.element_offset(&part[0]).expect("a part of it")
}

impl TreeWriter {
    /// A tree without nodes, not even the root, with room for so many; for [`Fill`]. `None` for more than
    /// a tree can have.
    pub fn to_fill(seed: u64, nodes: u64) -> Option<TreeWriter> {
        let nodes = usize::try_from(nodes).ok().filter(|&nodes| nodes < NUMBERS_MAX)?;
        Some(TreeWriter::bare(seed, nodes))
    }
}
