//! Reading the tree without a lock, as one moment of it.
//!
//! A core may use what transactions up to its *horizon* did: the newest transaction whose watch
//! events it has delivered. Whatever a newer one touched answers [`NotYet`]; the core then
//! delivers more events and does the whole read again. So every value that a read returns belongs
//! to the horizon, all of them to the same moment, and no event from before it is still behind.

use super::acl::{AclId, AclRef};
use super::index::{Guard, NodeId, pin};
use super::kept::Value;
use super::node::{ChildrenVersion, DataVersion, Node};
use super::path;
use super::shared::Shared;
use crate::id::Zxid;
use crate::jute::records::Stat;
use std::sync::Arc;

/// The read met a transaction whose events are not delivered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotYet;

/// The node is not there at the horizon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absent;

/// A core's half of the tree.
#[derive(Clone)]
pub struct TreeReader {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for TreeReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TreeReader")
    }
}

impl TreeReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        TreeReader { shared }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Starts reading at `horizon`. Hold the view briefly: nothing is freed meanwhile.
    pub fn view(&self, horizon: Zxid) -> View<'_> {
        View { shared: &self.shared, guard: pin(), horizon }
    }
}

/// The tree as of one transaction.
pub struct View<'t> {
    shared: &'t Shared,
    guard: Guard,
    horizon: Zxid,
}

impl View<'_> {
    /// Lets reclamation pass between two reads.
    pub fn repin(&mut self) {
        self.guard.repin();
    }

    /// The node of a path. That a node is absent is known from the children of its nearest
    /// ancestor, since a deletion shows there.
    ///
    /// # Errors
    /// [`NotYet`] when a newer transaction touched the answer.
    pub fn node(&self, path: &str) -> Result<Result<Node<'_>, Absent>, NotYet> {
        if let Some((_, node)) = self.shared.get(path, &self.guard) {
            self.allow(node.czxid())?;
            return Ok(Ok(node));
        }
        if let Some(ancestor) = self.nearest_ancestor(path) {
            self.allow(ancestor.czxid())?;
            if let Some(children) = self.shared.children(ancestor, &self.guard) {
                self.allow(children.stamp())?;
            }
        }
        Ok(Err(Absent))
    }

    /// The nearest ancestor of an absent node. Whoever has a node has all above it, so a bisection
    /// finds it: a path may have a million ancestors, and each look at one hashes all of it. What
    /// changes meanwhile shows in the stamp, since the last look was at a child that was absent; the
    /// ancestor is loaded behind it, as its first child gave it the stamp.
    fn nearest_ancestor(&self, path: &str) -> Option<Node<'_>> {
        let find = |ancestor: &str| self.shared.get(ancestor, &self.guard);
        let parent = path::split(path)?.0;
        if let Some((_, parent)) = find(parent) {
            return Some(parent);
        }
        let ends: Vec<usize> = parent.match_indices('/').map(|(at, _)| at).collect();
        let mut nearest = None;
        let (mut present, mut absent) = (0, ends.len());
        while present < absent {
            let middle = present + (absent - present) / 2;
            match find(&parent[..ends[middle]]) {
                Some((id, _)) => (nearest, present) = (Some(id), middle + 1),
                None => absent = middle,
            }
        }
        self.shared.node(nearest?, &self.guard)
    }

    /// A node's data and ACL.
    ///
    /// # Errors
    /// [`NotYet`] when a newer transaction changed them.
    pub fn data<'v>(&'v self, node: Node<'v>) -> Result<DataVersion<'v>, NotYet> {
        let data = node.data();
        self.allow(data.stamp)?;
        Ok(data)
    }

    /// The data themselves.
    #[inline]
    pub fn value<'v>(&'v self, data: &DataVersion<'v>) -> Option<&'v [u8]> {
        self.shared.value(data.data, &self.guard)
    }

    /// The same of a node whose number may be that of one that was removed before the view began; `None`
    /// if its data went since.
    pub(super) fn value_if_there<'v>(&'v self, data: &DataVersion<'v>) -> Option<Option<&'v [u8]>> {
        match data.data {
            Value::Kept(place) => self.shared.kept.get(place, &self.guard).map(Some),
            _ => Some(self.value(data)),
        }
    }

    /// The list that a node has.
    pub fn acl(&self, id: AclId) -> &AclRef {
        self.shared.acl(id, &self.guard)
    }

    /// A node's children. A version of the node from before its first child tells of none: the child is
    /// newer than the version, which the view's horizon is not.
    ///
    /// # Errors
    /// [`NotYet`] when a newer transaction changed them.
    pub fn children<'v>(&'v self, node: Node<'v>) -> Result<Option<&'v ChildrenVersion>, NotYet> {
        let Some(children) = self.shared.children(node, &self.guard) else { return Ok(None) };
        let version = children.version(&self.guard);
        self.allow(children.stamp())?;
        Ok(version)
    }

    /// A node's Stat.
    ///
    /// # Errors
    /// [`NotYet`] when a newer transaction changed it.
    pub fn stat(&self, node: Node<'_>) -> Result<Stat, NotYet> {
        let data = self.data(node)?;
        Ok(node.stat(&data, self.children(node)?))
    }

    /// A child by the number that a children set holds. It is there for as long as the set is.
    pub fn child(&self, id: NodeId) -> Option<Node<'_>> {
        self.shared.node(id, &self.guard)
    }

    /// The path of a node.
    pub fn path(&self, node: Node<'_>) -> String {
        let mut path = String::new();
        self.shared.write_path(node, &self.guard, &mut path);
        path
    }

    fn allow(&self, stamp: Zxid) -> Result<(), NotYet> {
        if stamp > self.horizon { Err(NotYet) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::acl::AclList;
    use crate::tree::node::NodeKind;
    use crate::tree::{Changes, NewNode, TreeWriter};
    use std::time::{Duration, Instant};

    #[test]
    fn a_deep_path_that_is_absent_is_as_cheap_as_a_long_one() {
        let tree = TreeWriter::new(1);
        let reader = tree.reader();
        let path = "/a".repeat(500_000);
        let begun = Instant::now();
        assert_eq!(reader.view(Zxid::ZERO).node(&path).map(|found| found.is_ok()), Ok(false));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }

    #[test]
    fn absence_is_judged_by_the_nearest_ancestor_there_is() {
        let mut tree = TreeWriter::new(1);
        let acl = tree.acls.intern_list(&AclList::open());
        let mut batch = tree.begin();
        for (number, path) in ["/a", "/a/b", "/a/b/c", "/x"].into_iter().enumerate() {
            let kind = NodeKind::Persistent;
            let new = NewNode { path, data: None, acl, kind, parent_cversion: -1 };
            batch.create(&new, None, Zxid(number as u64 + 1), 0, &mut Changes::default()).unwrap();
        }
        batch.publish();
        let reader = tree.reader();
        let absent = |path: &str, horizon| reader.view(Zxid(horizon)).node(path).map(|found| found.is_err());
        for path in ["/a/b/n", "/a/b/n/n", "/a/b/n/n/n/n/n"] {
            assert_eq!(absent(path, 3), Ok(true), "{path}");
            assert_eq!(absent(path, 2), Err(NotYet), "{path}: /a/b got a child");
        }
        assert_eq!(absent("/n/n/n", 3), Err(NotYet), "/ got a child");
        assert_eq!(absent("/n/n/n", 4), Ok(true));
        assert_eq!(absent("no/slash/in/front", 0), Ok(true));
    }
}
