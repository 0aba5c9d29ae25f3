//! An open batch of changes: what a transaction may do to the tree.

use super::acl::AclId;
use super::changes::{ChangeKind, Changes};
use super::index::{Guard, NodeId};
use super::kept::Value;
use super::node::{Children, ChildrenVersion, DataSet, DataVersion, NewNodeVersion, Node, NodeKind};
use super::quota::{self, StatsTrack};
use super::shared::{Shared, tag_of};
use super::{Found, TreeWriter, path};
use crate::error::ErrorCode;
use crate::id::Zxid;
use crate::jute::records::Stat;
use std::sync::Arc;

/// A node to be created.
#[derive(Clone, Debug)]
pub struct NewNode<'a> {
    /// Where.
    pub path: &'a str,
    /// Its data.
    pub data: Option<&'a [u8]>,
    /// Its list.
    pub acl: AclId,
    /// Persistent, ephemeral, container or TTL.
    pub kind: NodeKind,
    /// The bits of the parent's new count of creations; −1: one more than it has, as far as it goes.
    /// That −1 is also the last count itself makes no difference: one can only come from the count
    /// before it, or from itself.
    pub parent_cversion: i32,
}

/// An open batch of changes. Readers see them as they are made, but know by their stamps that
/// they are too new to be used before the batch's events have been delivered.
pub struct Batch<'t> {
    tree: &'t mut TreeWriter,
    shared: Arc<Shared>,
    guard: Guard,
    /// Whose children were touched last, and by what.
    touched: Option<(NodeId, Zxid)>,
}

impl<'t> Batch<'t> {
    pub(super) fn new(tree: &'t mut TreeWriter, guard: Guard) -> Self {
        Batch { shared: Arc::clone(&tree.shared), tree, guard, touched: None }
    }

    /// The tree under the batch.
    pub fn tree(&self) -> &TreeWriter {
        self.tree
    }

    /// The tree under the batch, for its tables.
    pub fn tree_mut(&mut self) -> &mut TreeWriter {
        self.tree
    }

    /// As [`TreeWriter::warm`].
    pub fn warm<'p>(&self, paths: impl Iterator<Item = &'p [u8]>) {
        self.shared.warm(paths, &self.guard);
    }

    /// Makes the children sets of the batch visible; the rest is already.
    pub fn publish(mut self) {
        self.settle();
        self.tree.collect(&self.guard);
    }

    /// The same in the middle of a batch: the tree can be read as the last change has left it.
    pub fn settle(&mut self) {
        let Batch { tree, shared, guard, .. } = self;
        let replaced = tree.dirty.len();
        for (id, children) in tree.dirty.drain() {
            let node = shared.node(id, guard);
            if let Some(cell) = node.and_then(|node| shared.children(node, guard)) {
                cell.replace(children, guard);
            }
        }
        let removed = tree.removed.len();
        for (id, children) in tree.removed.drain(..) {
            tree.nodes.retire(id, guard);
            if let Some(children) = children {
                tree.children.retire(NodeId(children.0), guard);
            }
        }
        tree.garbage += replaced + removed * 2;
        tree.kept.settle(guard);
    }

    /// The node's children, the batch's changes included.
    fn children_now(&self, id: NodeId, data: &DataVersion<'_>) -> Option<&ChildrenVersion> {
        let published = || self.shared.children_of(data, &self.guard)?.version(&self.guard);
        self.tree.dirty.get(&id).or_else(published)
    }

    /// The node's children as the batch goes on changing them. Their stamp is raised first: a reader
    /// that sees anything of what the transaction does sees that too.
    fn touch_children(&mut self, id: NodeId, zxid: Zxid) -> &mut ChildrenVersion {
        let (shared, guard) = (&*self.shared, &self.guard);
        // As every operation but the first of a multi of many creations under one parent.
        let again = self.touched.replace((id, zxid)) == Some((id, zxid));
        if again && self.tree.dirty.contains_key(&id) {
            return self.tree.dirty.get_mut(&id).expect("seen above");
        }
        let node = shared.node(id, guard).expect("a node that was just found");
        let cell = shared.children(node, guard);
        match cell {
            Some(children) => children.raise_stamp(zxid),
            None => self.tree.give_children(id, node, Children::new(zxid, None), guard),
        }
        let start = || {
            let unborn = || ChildrenVersion { pzxid: node.czxid(), ..Default::default() };
            cell.and_then(|children| children.version(guard)).cloned().unwrap_or_else(unborn)
        };
        self.tree.dirty.entry(id).or_insert_with(start)
    }

    /// Creates a node; `parent` says where its parent was found.
    ///
    /// # Errors
    /// `NoNode` without the parent, also where a replay over a fuzzy checkpoint meets a younger node
    /// of its path; `NodeExists` with the node, whose parent's counter is raised all the same: the
    /// replay depends on it; `BadArguments` for what no node's path can be.
    pub fn create(
        &mut self,
        new: &NewNode<'_>,
        parent: Option<Found>,
        zxid: Zxid,
        time: i64,
        changes: &mut Changes,
    ) -> Result<Stat, ErrorCode> {
        let (parent_path, name) = path::place(new.path).ok_or(ErrorCode::BadArguments)?;
        let (parent_id, parent) = self.tree.get_at(parent_path, parent, &self.shared, &self.guard)?;
        if parent.czxid() > zxid {
            return Err(ErrorCode::NoNode);
        }
        let parent_acl = parent.data().acl;
        let hash = self.shared.hash(new.path);
        let exists = self.shared.get_hashed(new.path, hash, &self.guard).is_some();
        let children = self.touch_children(parent_id, zxid);
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
            acl: new.acl,
            kind: new.kind,
            children: None,
            data: new.data.into(),
        };
        let bytes = data.data_length() as i64;
        let (shared, guard) = (&*self.shared, &self.guard);
        let acls = (shared.acl(new.acl, guard), shared.acl(parent_acl, guard));
        changes.push(ChangeKind::Created, zxid, new.path, acls.0, Some(acls.1));
        let version =
            NewNodeVersion { parent: Some(parent_id), name: name.as_bytes(), czxid: zxid, ctime: time, data };
        let id = self.tree.insert(tag_of(hash), &version, guard);
        let stat = shared.node(id, guard).expect("just created").stat(&data, None);
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
    /// too, and no watch is told, for nobody watches a replay. A node that is younger than the
    /// transaction is the one that came after it: it stays.
    ///
    /// # Errors
    /// `NoNode` without the parent or the node; `BadArguments` for the root and what is no node's path,
    /// which no request can delete either.
    pub fn delete(&mut self, path: &str, zxid: Zxid, changes: &mut Changes) -> Result<(), ErrorCode> {
        let (parent_path, _) = path::place(path).ok_or(ErrorCode::BadArguments)?;
        let found = self.shared.get(path, &self.guard).map(|(id, node)| (id, node.czxid()));
        if found.is_some_and(|(_, czxid)| czxid > zxid) {
            return Err(ErrorCode::NoNode);
        }
        let (parent_id, parent) = self.shared.get(parent_path, &self.guard).ok_or(ErrorCode::NoNode)?;
        let parent_acl = parent.data().acl;
        let children = self.touch_children(parent_id, zxid);
        children.pzxid = children.pzxid.max(zxid);
        let (id, _) = found.ok_or(ErrorCode::NoNode)?;
        self.remove_descendants(id, path, zxid);
        let (shared, guard) = (&*self.shared, &self.guard);
        let acl = shared.node(id, guard).expect("just found").data().acl;
        let acls = (shared.acl(acl, guard), shared.acl(parent_acl, guard));
        changes.push(ChangeKind::Deleted, zxid, path, acls.0, Some(acls.1));
        if let Some(children) = self.tree.dirty.get_mut(&parent_id) {
            children.set.remove(id);
        }
        self.remove(id, path, zxid);
        Ok(())
    }

    /// Takes a node without children out, not of its parent's children.
    fn remove(&mut self, id: NodeId, path: &str, zxid: Zxid) {
        let (shared, guard) = (&*self.shared, &self.guard);
        let data = shared.node(id, guard).expect("a node that was just found").data();
        let bytes = data.data_length() as i64;
        let tree = &mut *self.tree;
        tree.dirty.remove(&id);
        tree.removals += 1;
        tree.index.remove(shared.tag(path), id, guard);
        tree.removed.push((id, data.children));
        tree.acls.release(data.acl);
        tree.data_bytes -= path.len() as i64 + bytes;
        if data.data.is_kept() {
            tree.kept.leave();
        }
        tree.note_deleted(path, data.kind);
        self.charge_quota(path, zxid, -bytes, -1);
    }

    /// Takes out all below a node, children before their parents. What is still to be done is kept in a
    /// vector, with one path for all: a path may have half a million levels, and the stack has not.
    fn remove_descendants(&mut self, id: NodeId, path: &str, zxid: Zxid) {
        let mut path = path.to_owned();
        // Each with the length of its parent's path, and whether what is below it is done.
        let mut open: Vec<(NodeId, usize, bool)> = Vec::new();
        self.open_children(id, path.len(), &mut open);
        while let Some((id, above, done)) = open.pop() {
            let node = self.shared.node(id, &self.guard);
            let node = node.expect("a children set names nodes that are there");
            let zxid = zxid.max(node.czxid());
            path.truncate(above);
            path.push('/');
            path.push_str(std::str::from_utf8(node.name()).expect("a name is part of a path"));
            let here = open.len();
            if !done {
                open.push((id, above, true));
                self.open_children(id, path.len(), &mut open);
            }
            if done || open.len() == here + 1 {
                open.truncate(here);
                self.remove(id, &path, zxid);
            }
        }
    }

    fn open_children(&self, id: NodeId, path_length: usize, open: &mut Vec<(NodeId, usize, bool)>) {
        let node = self.shared.node(id, &self.guard);
        if let Some(children) = node.and_then(|node| self.children_now(id, &node.data())) {
            children.set.for_each(|child| open.push((child, path_length, false)));
        }
    }

    /// Replaces a node's data; `found` says where it was. A version that is younger than the transaction
    /// stays: it came from a fuzzy checkpoint that the transaction is replayed over.
    ///
    /// # Errors
    /// `NoNode`.
    pub fn set_data(
        &mut self,
        path: &str,
        found: Option<Found>,
        set: &DataSet<'_>,
        changes: &mut Changes,
    ) -> Result<Stat, ErrorCode> {
        let DataSet { mzxid, mtime, version, data } = *set;
        let (shared, guard) = (&*self.shared, &self.guard);
        let (id, node) = self.tree.get_at(path, found, shared, guard)?;
        let old = node.data();
        if old.mzxid > mzxid {
            return Ok(node.stat(&old, self.children_now(id, &old)));
        }
        let new = DataVersion { stamp: mzxid, mzxid, mtime, version, data: data.into(), ..old };
        let difference = new.data_length() as i64 - old.data_length() as i64;
        changes.push(ChangeKind::Data, mzxid, path, shared.acl(new.acl, guard), None);
        self.tree.replace_data(id, node, set, guard);
        if old.data.is_kept() {
            self.tree.kept.leave();
        }
        let stat = node.stat(&new, self.children_now(id, &new));
        self.tree.data_bytes += difference;
        self.charge_quota(path, mzxid, difference, 0);
        Ok(stat)
    }

    /// Sets the data of the node that shows the ensemble's configuration, which each server keeps by
    /// itself: `version` is that of the configuration, and may be of a transaction that is not `last`
    /// yet, or of an epoch (`ZKDatabase.initConfigInZKDatabase`).
    pub(crate) fn set_config(
        &mut self,
        text: &[u8],
        version: Zxid,
        last: Zxid,
        time: i64,
        changes: &mut Changes,
    ) {
        let (shared, guard) = (&*self.shared, &self.guard);
        let Some((id, node)) = shared.get(path::CONFIG, guard) else { return };
        let old = node.data();
        // A checkpoint that was read back is stamped with the version, which nobody may ever reach.
        let new = DataVersion {
            stamp: last,
            mzxid: version,
            mtime: time,
            version: -1,
            data: Value::Inline(text),
            ..old
        };
        self.tree.data_bytes += new.data_length() as i64 - old.data_length() as i64;
        changes.push(ChangeKind::Data, last, path::CONFIG, shared.acl(new.acl, guard), None);
        self.tree.replace(id, node, new, guard);
    }

    /// Replaces a node's list.
    ///
    /// # Errors
    /// `NoNode`, also for a node that is younger than the transaction: it came from a fuzzy
    /// checkpoint, and no later transaction would give it its own list back.
    pub fn set_acl(&mut self, path: &str, acl: AclId, aversion: i32, zxid: Zxid) -> Result<Stat, ErrorCode> {
        let (shared, guard) = (&*self.shared, &self.guard);
        let found = shared.get(path, guard);
        let (id, node) = found.filter(|(_, node)| node.czxid() <= zxid).ok_or(ErrorCode::NoNode)?;
        let old = node.data();
        let new = DataVersion { stamp: zxid, aversion, acl, ..old };
        self.tree.acls.hold(acl, 1);
        self.tree.acls.release(old.acl);
        self.tree.replace(id, node, new, guard);
        Ok(node.stat(&new, self.children_now(id, &new)))
    }

    /// The counts of the innermost quota that `path` belongs to go up by `bytes` and `nodes`.
    /// ZooKeeper changes the count node's data without a version, a time or a watch.
    fn charge_quota(&mut self, path: &str, zxid: Zxid, bytes: i64, nodes: i64) {
        let Some(subject) = self.tree.quotas.innermost(path) else { return };
        let Some((id, node)) = self.shared.get(&quota::stat_path(subject), &self.guard) else { return };
        let track = StatsTrack::parse(self.shared.value(node.data().data, &self.guard));
        // A client may have written any number there; Java's wrap, too.
        let counts = StatsTrack::counts(track.count().wrapping_add(nodes), track.bytes().wrapping_add(bytes));
        replace_counts(self.tree, (id, node), &counts, zxid, &self.guard);
    }

    /// The counts of a subtree that just got a count node, or whose counts are not to be trusted.
    pub(super) fn count_quota(&mut self, subject: &str, zxid: Zxid) {
        let (shared, guard) = (&*self.shared, &self.guard);
        let (mut nodes, mut bytes) = (0, 0);
        let mut open: Vec<NodeId> = shared.get(subject, guard).map(|found| found.0).into_iter().collect();
        while let Some(id) = open.pop() {
            let Some(node) = shared.node(id, guard) else { continue };
            nodes += 1;
            let data = node.data();
            bytes += data.data_length() as i64;
            if let Some(children) = self.children_now(id, &data) {
                children.set.for_each(|child| open.push(child));
            }
        }
        let Some(found) = shared.get(&quota::stat_path(subject), guard) else { return };
        replace_counts(self.tree, found, &StatsTrack::counts(nodes, bytes), zxid, guard);
    }
}

impl TreeWriter {
    /// The node of a path, by where it was found if that still holds.
    #[inline]
    fn get_at<'g>(
        &self,
        path: &str,
        found: Option<Found>,
        shared: &'g Shared,
        guard: &'g Guard,
    ) -> Result<(NodeId, Node<'g>), ErrorCode> {
        if let Some(Found { id, removals }) = found
            && removals == self.removals
            && let Some(node) = shared.node(id, guard)
        {
            debug_assert_eq!(shared.get(path, guard).map(|(id, _)| id), Some(id), "it is found where it was");
            return Ok((id, node));
        }
        shared.get(path, guard).ok_or(ErrorCode::NoNode)
    }
}

fn replace_counts(
    tree: &mut TreeWriter,
    (id, node): (NodeId, Node<'_>),
    counts: &StatsTrack,
    zxid: Zxid,
    guard: &Guard,
) {
    let (old, text) = (node.data(), counts.to_text());
    let new = DataVersion { stamp: zxid.max(old.stamp), data: Value::Inline(text.as_bytes()), ..old };
    tree.replace(id, node, new, guard);
}
