//! The walk of a fuzzy checkpoint: every node, parents before children and the children of one node
//! together, while transactions are applied. What it catches of a transaction that is applied meanwhile is
//! made whole by replaying the log from the walk's first zxid.
//!
//! It holds no guard for long, though a throttled checkpoint sleeps between two nodes: it keeps the numbers
//! of the nodes whose children it has still to visit, and the children set that it is in, which shares
//! structure with the tree's. A number that was used again meanwhile is a younger node's than the walk, so
//! the replay makes that node: the walk passes it over.

use super::TreeReader;
use super::acl::AclRef;
use super::index::NodeId;
use super::node::{ChildrenVersion, DataVersion, Node};
use super::shared::ROOT;
use super::view::View;
use crate::id::Zxid;

/// What is visited under one guard: bytes of data, with so many more for each node.
const BYTES_PER_GUARD: usize = 1 << 20;
const NODE_BYTES: usize = 4096;

/// A node's place in the order of the walk, from zero, which is the root's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ordinal(pub u32);

/// A node as the walk caught it.
#[derive(Clone, Copy)]
pub struct Caught<'v> {
    /// Its parent's place, and its parent's path; none for the root.
    pub parent: Option<(Ordinal, &'v str)>,
    /// The node.
    pub node: Node<'v>,
    /// Its list's number, and what else changes.
    pub data: DataVersion<'v>,
    /// Its data; null and empty are different.
    pub value: Option<&'v [u8]>,
    /// Its list.
    pub acl: &'v AclRef,
    /// Its children, if it ever had one.
    pub children: Option<&'v ChildrenVersion>,
}

impl Caught<'_> {
    /// The newest transaction that shows in it.
    pub fn newest(&self) -> Zxid {
        let children = self.children.map_or(Zxid::ZERO, |children| children.pzxid);
        self.node.czxid().max(self.data.stamp).max(self.data.mzxid).max(children)
    }

    /// Its name under its parent; empty for the root.
    pub fn name(&self) -> &str {
        std::str::from_utf8(self.node.name()).expect("a name is part of a path")
    }

    /// Appends its path.
    pub fn write_path(&self, out: &mut String) {
        if let Some((_, parent)) = self.parent.filter(|parent| parent.1 != "/") {
            out.push_str(parent);
        }
        out.push('/');
        out.push_str(self.name());
    }

    /// Its path.
    pub fn path(&self) -> String {
        let mut path = String::new();
        self.write_path(&mut path);
        path
    }
}

/// Where a walk is.
struct Walk<'t> {
    view: View<'t>,
    first: Zxid,
    /// Nodes whose children are still to be visited.
    open: Vec<(Ordinal, NodeId)>,
    next: Ordinal,
    visited_bytes: usize,
}

impl TreeReader {
    /// Calls `visit` for each node that was there when the transaction `first` was applied and is still;
    /// the highest zxid visits all.
    ///
    /// # Errors
    /// The first that `visit` returns.
    pub fn walk<E>(&self, first: Zxid, mut visit: impl FnMut(Caught<'_>) -> Result<(), E>) -> Result<(), E> {
        let view = self.view(Zxid(u64::MAX));
        let mut walk = Walk { view, first, open: Vec::new(), next: Ordinal(0), visited_bytes: 0 };
        walk.catch(ROOT, None, &mut visit)?;
        while let Some((ordinal, id)) = walk.open.pop() {
            let Some(node) = walk.find(id) else { continue };
            let Ok(Some(children)) = walk.view.children(node) else { continue };
            let (path, set) = (walk.view.path(node), children.set.clone());
            let mut failed = None;
            set.try_for_each(|id| {
                walk.catch(id, Some((ordinal, &path)), &mut visit)
                    .map_err(|error| failed = Some(error))
                    .is_ok()
            });
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Walk<'_> {
    /// The node of a number, if it is older than the walk.
    fn find(&self, id: NodeId) -> Option<Node<'_>> {
        self.view.child(id).filter(|node| node.czxid() <= self.first)
    }

    fn catch<E>(
        &mut self,
        id: NodeId,
        parent: Option<(Ordinal, &str)>,
        visit: &mut impl FnMut(Caught<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.visited_bytes > BYTES_PER_GUARD {
            self.visited_bytes = 0;
            self.view.repin();
        }
        let Some(node) = self.find(id) else { return Ok(()) };
        let newest = "nothing is newer than the highest zxid";
        let (data, children) = (self.view.data(node).expect(newest), self.view.children(node).expect(newest));
        let Some(value) = self.view.value_if_there(&data) else { return Ok(()) };
        let has_children = children.is_some_and(|children| !children.set.is_empty());
        let bytes = NODE_BYTES + data.data_length();
        visit(Caught { parent, node, data, value, acl: self.view.acl(data.acl), children })?;
        self.visited_bytes += bytes;
        if has_children {
            self.open.push((self.next, id));
        }
        self.next.0 += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::id::Zxid;
    use crate::tree::acl::AclList;
    use crate::tree::node::NodeKind;
    use crate::tree::{Changes, NewNode, TreeWriter};
    use std::collections::BTreeSet;

    #[test]
    fn every_node_is_visited_once_and_after_its_parent() {
        let mut tree = TreeWriter::new(1);
        let acl = tree.acls.intern_list(&AclList::open());
        let mut expected: BTreeSet<String> =
            ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"].map(String::from).into();
        let mut batch = tree.begin();
        for n in 0..1000 {
            let path = if n < 10 { format!("/{n}") } else { format!("/{}/{n}", n % 10) };
            let kind = NodeKind::Persistent;
            let new = NewNode { path: &path, data: None, acl, kind, parent_cversion: -1 };
            batch.create(&new, None, Zxid(n + 1), 0, &mut Changes::default()).unwrap();
            expected.insert(path);
        }
        batch.publish();
        let (mut seen, mut order) = (BTreeSet::new(), Vec::<String>::new());
        tree.reader()
            .walk(Zxid(u64::MAX), |caught| {
                let path = caught.path();
                let above = caught.parent.map(|(ordinal, path)| (order[ordinal.0 as usize].clone(), path));
                assert!(above.is_none_or(|(found, path)| found == path), "{path} before its parent");
                assert!(seen.insert(path.clone()), "{path} twice");
                order.push(path);
                Ok::<(), ()>(())
            })
            .unwrap();
        assert_eq!(seen, expected);
    }
}
