//! The walk of a fuzzy checkpoint: every node, parents before children, while transactions are
//! applied. What it catches of a transaction that is applied meanwhile is made whole by replaying
//! the log from the walk's first zxid.
//!
//! It holds no guard for long, though a throttled checkpoint sleeps between two nodes: it keeps the children sets that it has still to visit, which share
//! structure with the tree's, and finds the nodes again by their numbers. A number that was used
//! again meanwhile shows by its path; that node is younger than the walk, so the replay makes it.

use super::TreeReader;
use super::index::NodeId;
use super::node::{ChildrenVersion, DataVersion, Node};
use super::path;
use crate::id::Zxid;

/// What is visited under one guard: bytes of data, with so many more for each node.
const BYTES_PER_GUARD: usize = 1 << 20;
const NODE_BYTES: usize = 4096;

/// A node as the walk caught it.
#[derive(Clone, Copy)]
pub struct Caught<'v> {
    /// The node.
    pub node: &'v Node,
    /// Its data and list.
    pub data: &'v DataVersion,
    /// Its children, if it ever had one.
    pub children: Option<&'v ChildrenVersion>,
}

impl Caught<'_> {
    /// The newest transaction that shows in it.
    pub fn newest(&self) -> Zxid {
        let children = self.children.map_or(Zxid::ZERO, |children| children.pzxid);
        self.node.czxid.max(self.data.stamp).max(self.data.mzxid).max(children)
    }
}

impl TreeReader {
    /// Calls `visit` for each node.
    ///
    /// # Errors
    /// The first that `visit` returns.
    pub fn walk<E>(&self, mut visit: impl FnMut(Caught<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut view = self.view(Zxid(u64::MAX));
        let mut levels: Vec<Level> = Vec::new();
        let Ok(Ok(root)) = view.node("/") else { return Ok(()) };
        levels.extend(catch(&view, root, &mut visit)?);
        let mut visited_bytes = 0;
        while let Some((parent, rest)) = levels.last_mut() {
            let Some(id) = rest.pop() else {
                levels.pop();
                continue;
            };
            if visited_bytes > BYTES_PER_GUARD {
                visited_bytes = 0;
                view.repin();
            }
            let Some(node) = view.child(id) else { continue };
            visited_bytes += NODE_BYTES + view.data(node).map_or(0, DataVersion::data_length);
            if path::split(node.path()).is_some_and(|split| split.0 == &**parent) {
                levels.extend(catch(&view, node, &mut visit)?);
            }
        }
        Ok(())
    }
}

/// Children that are still to be visited, last first, and the path of the parent that they must
/// still have.
type Level = (Box<str>, Vec<NodeId>);

/// Visits a node; returns its children, if it has some.
fn catch<E>(
    view: &super::View<'_>,
    node: &Node,
    visit: &mut impl FnMut(Caught<'_>) -> Result<(), E>,
) -> Result<Option<Level>, E> {
    let newest = "nothing is newer than the highest zxid";
    let (data, children) = (view.data(node).expect(newest), view.children(node).expect(newest));
    visit(Caught { node, data, children })?;
    Ok(children.filter(|children| !children.set.is_empty()).map(|children| {
        let mut ids = Vec::with_capacity(children.set.len());
        children.set.for_each(|id| ids.push(id));
        (node.path().into(), ids)
    }))
}

#[cfg(test)]
mod tests {
    use crate::id::Zxid;
    use crate::tree::acl::AclList;
    use crate::tree::node::NodeKind;
    use crate::tree::{Changes, NewNode, TreeWriter};
    use std::collections::BTreeSet;
    use std::sync::Arc;

    #[test]
    fn every_node_is_visited_once_and_after_its_parent() {
        let mut tree = TreeWriter::new(1);
        let acl = Arc::new(AclList::open());
        let mut expected: BTreeSet<String> =
            ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"].map(String::from).into();
        let mut batch = tree.begin();
        for n in 0..1000 {
            let path = if n < 10 { format!("/{n}") } else { format!("/{}/{n}", n % 10) };
            let kind = NodeKind::Persistent;
            let new = NewNode { path: &path, data: None, acl: Arc::clone(&acl), kind, parent_cversion: -1 };
            batch.create(&new, Zxid(n + 1), 0, &mut Changes::default()).unwrap();
            expected.insert(path);
        }
        batch.publish();
        let mut seen = BTreeSet::new();
        tree.reader()
            .walk(|caught| {
                let path = caught.node.path();
                let parent = super::path::split(path).map(|split| split.0).filter(|_| path != "/");
                assert!(parent.is_none_or(|parent| seen.contains(parent)), "{path} before its parent");
                assert!(seen.insert(path.to_owned()), "{path} twice");
                Ok::<(), ()>(())
            })
            .unwrap();
        assert_eq!(seen, expected);
    }
}
