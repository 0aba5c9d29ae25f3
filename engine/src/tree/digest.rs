//! The digest of the tree: a sum over its nodes that two servers with the same tree agree on
//! (`DigestCalculator`, version 2). A sum, so that a transaction changes it by what it does to the nodes
//! that it touches.
//!
//! The subtree below `/zookeeper` is left out: each server keeps the counts of quotas there by itself.
//! ZooKeeper hashes a path in the encoding of its JVM's locale; here it is UTF-8.

use super::TreeReader;
use super::index::pin;
use super::node::{ChildrenVersion, DataVersion, Node};
use super::walk::Caught;
use super::{TreeWriter, path};
use crate::id::Zxid;
use crate::jute::Write;
use crate::jute::records::StatPersisted;

/// The version that this code calculates.
pub const VERSION: i32 = 2;
/// Of whom it is not taken.
const LEFT_OUT: &str = "/zookeeper/";

/// The digest of a tree, or of some nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeDigest(pub i64);

impl TreeDigest {
    /// With those nodes more.
    pub fn plus(self, nodes: TreeDigest) -> TreeDigest {
        TreeDigest(self.0.wrapping_add(nodes.0))
    }

    /// With those nodes less.
    pub fn minus(self, nodes: TreeDigest) -> TreeDigest {
        TreeDigest(self.0.wrapping_sub(nodes.0))
    }

    /// Of one node.
    pub fn of_node(path: &str, data: Option<&[u8]>, stat: &StatPersisted) -> TreeDigest {
        if path.starts_with(LEFT_OUT) {
            return TreeDigest(0);
        }
        // The root is the node without a name.
        let path = if path == "/" { "" } else { path };
        let mut fields = Vec::with_capacity(64);
        for zxid in [stat.czxid, stat.mzxid, stat.pzxid, stat.ctime, stat.mtime] {
            zxid.write(&mut fields);
        }
        for count in [stat.version, stat.cversion, stat.aversion] {
            count.write(&mut fields);
        }
        stat.ephemeral_owner.write(&mut fields);
        let mut hash = crc32fast::Hasher::new();
        hash.update(path.as_bytes());
        hash.update(data.unwrap_or_default());
        hash.update(&fields);
        TreeDigest(i64::from(hash.finalize()))
    }

    /// Of every node.
    pub fn of_tree(tree: &TreeReader) -> TreeDigest {
        let mut sum = TreeDigest::default();
        let visit = |caught: Caught<'_>| {
            let stat = persisted(caught.node, &caught.data, caught.children);
            sum = sum.plus(TreeDigest::of_node(&caught.path(), caught.value, &stat));
            Ok::<(), std::convert::Infallible>(())
        };
        let Ok(()) = tree.walk(Zxid(u64::MAX), visit);
        sum
    }

    /// Of the nodes of those paths that are there, between two batches.
    pub fn of_paths<'p>(tree: &TreeWriter, paths: impl IntoIterator<Item = &'p str>) -> TreeDigest {
        let guard = pin();
        let of_path = |path: &str| {
            let node = tree.get(path, &guard)?;
            let data = node.data();
            let stat = persisted(node, &data, tree.children(node, &guard));
            Some(TreeDigest::of_node(path, tree.value(&data, &guard), &stat))
        };
        paths.into_iter().filter_map(of_path).fold(TreeDigest::default(), TreeDigest::plus)
    }
}

/// A node's Stat as ZooKeeper persists it.
pub fn persisted(
    node: Node<'_>,
    data: &DataVersion<'_>,
    children: Option<&ChildrenVersion>,
) -> StatPersisted {
    StatPersisted {
        czxid: node.czxid().to_jute(),
        mzxid: data.mzxid.to_jute(),
        ctime: node.ctime(),
        mtime: data.mtime,
        version: data.version,
        cversion: children.map_or(0, |children| children.cversion.cast_signed()),
        aversion: data.aversion,
        ephemeral_owner: data.kind.to_owner(),
        pzxid: children.map_or(node.czxid(), |children| children.pzxid).to_jute(),
    }
}

/// The nodes that a creation or deletion at `path` changes: itself and its parent.
pub fn with_parent(path: &str) -> impl Iterator<Item = &str> {
    std::iter::once(path::normal(path)).chain(path::split(path).map(|(parent, _)| parent))
}
