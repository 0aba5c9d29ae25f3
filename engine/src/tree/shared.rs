//! What writer and readers share: the arenas, the index, and how a path leads to a node through them.
//!
//! The index knows a node by the hash of its path. The node itself has its own name and its parent's
//! number; that it is the one of the path shows on the way up, where every node has its part of it.

use super::acl::{AclArena, AclId, AclRef};
use super::index::{Arena, Bytes, Guard, Index, NodeId, Slot};
use super::kept::{Kept, Value};
use super::node::{Children, DataVersion, Node};
use foldhash::fast::FixedState;
use std::hash::BuildHasher;
use std::hint::black_box;
use std::sync::Arc;

/// The root's number, in every tree.
pub(super) const ROOT: NodeId = NodeId(0);

/// Paths that are looked up together.
pub const WARMED_AT_ONCE: usize = 128;

/// See the module.
pub(super) struct Shared {
    pub nodes: Arena<Bytes>,
    pub children: Arena<Slot<Children>>,
    pub acls: Arc<AclArena>,
    pub kept: Kept,
    pub index: Arc<Index>,
    pub hasher: FixedState,
}

/// The half of a path's hash that the index keeps.
#[inline]
pub(super) fn tag_of(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// Whether two parts of paths are the same. They are short: of up to sixteen bytes the first and the last
/// eight, or four, are all, and this is done before a call of the comparison for any length has begun.
#[inline]
fn are_same(a: &[u8], b: &[u8]) -> bool {
    #[inline]
    fn ends<const N: usize>(a: &[u8], b: &[u8]) -> bool {
        a.first_chunk::<N>() == b.first_chunk::<N>() && a.last_chunk::<N>() == b.last_chunk::<N>()
    }
    a.len() == b.len()
        && match a.len() {
            0..4 => a.iter().zip(b).all(|(a, b)| a == b),
            4..8 => ends::<4>(a, b),
            8..17 => ends::<8>(a, b),
            _ => a == b,
        }
}

impl Shared {
    /// A path's hash.
    #[inline]
    pub fn hash(&self, path: &str) -> u64 {
        self.hasher.hash_one(path.as_bytes())
    }

    /// What the index knows a path by.
    pub fn tag(&self, path: &str) -> u32 {
        tag_of(self.hash(path))
    }

    /// Brings what is looked at on the way to nodes to the core's cache, for the first
    /// [`WARMED_AT_ONCE`] of these paths: each step for all of them before the next.
    pub fn warm<'p>(&self, paths: impl Iterator<Item = &'p [u8]>, guard: &Guard) {
        let (mut tags, mut count) = ([0; WARMED_AT_ONCE], 0);
        for (tag, path) in tags.iter_mut().zip(paths) {
            *tag = tag_of(self.hasher.hash_one(path));
            count += 1;
        }
        let tags = &tags[..count];
        self.index.warm(tags, guard);
        let (mut ids, mut count) = ([ROOT; WARMED_AT_ONCE], 0);
        for id in tags.iter().filter_map(|tag| self.index.likely(*tag, guard)) {
            black_box(self.node(id, guard).is_some());
            (ids[count], count) = (id, count + 1);
        }
        for node in ids[..count].iter().filter_map(|id| self.node(*id, guard)) {
            black_box(node.parent());
        }
    }

    /// The node of that number; none if it is gone.
    #[inline]
    pub fn node<'g>(&'g self, id: NodeId, guard: &'g Guard) -> Option<Node<'g>> {
        Node::load(self.nodes.cell(id)?, guard)
    }

    /// The node of a path. The empty path is the root's too.
    pub fn get<'g>(&'g self, path: &str, guard: &'g Guard) -> Option<(NodeId, Node<'g>)> {
        self.get_hashed(path, self.hash(path), guard)
    }

    /// The same, with the path's hash. Its few callers are the paths of reads and writes.
    #[inline(always)]
    pub fn get_hashed<'g>(&'g self, path: &str, hash: u64, guard: &'g Guard) -> Option<(NodeId, Node<'g>)> {
        if path.is_empty() || path == "/" {
            return Some((ROOT, self.node(ROOT, guard)?));
        }
        self.index.find(tag_of(hash), guard, |id| {
            let node = self.node(id, guard)?;
            self.is_at(node, path.as_bytes(), guard).then_some((id, node))
        })
    }

    /// Whether the path is the node's: its own name is the last part, its parent's the one before. The
    /// nodes above are there for as long as a node can be seen.
    #[inline]
    fn is_at(&self, node: Node<'_>, path: &[u8], guard: &Guard) -> bool {
        let (mut node, mut path) = (node, path);
        while let Some(parent) = node.parent() {
            let name = node.name();
            let Some(slash) = path.len().checked_sub(name.len() + 1) else { return false };
            if path[slash] != b'/' || !are_same(&path[slash + 1..], name) {
                return false;
            }
            let above = &path[..slash];
            let Some(parent) = self.node(parent, guard) else { return false };
            (node, path) = (parent, above);
        }
        path.is_empty()
    }

    /// A node's children, if it ever had one.
    pub fn children<'g>(&'g self, node: Node<'g>, guard: &'g Guard) -> Option<&'g Children> {
        self.children_of(&node.data(), guard)
    }

    /// The same, of a node whose data was read.
    #[inline]
    pub fn children_of<'g>(&'g self, data: &DataVersion<'_>, guard: &'g Guard) -> Option<&'g Children> {
        self.children.cell(NodeId(data.children?.0))?.load(guard)
    }

    /// The data of a node that was found under the guard.
    #[inline]
    pub fn value<'g>(&'g self, value: Value<'g>, guard: &'g Guard) -> Option<&'g [u8]> {
        match value {
            Value::Null => None,
            Value::Inline(bytes) => Some(bytes),
            Value::Kept(place) => {
                let kept = self.kept.get(place, guard);
                Some(kept.expect("a checkpoint is held for as long as a node that names it can be found"))
            }
        }
    }

    /// The list of that number, which a node under the guard has.
    pub fn acl<'g>(&'g self, id: AclId, guard: &'g Guard) -> &'g AclRef {
        let list = self.acls.cell(NodeId(id.0)).and_then(|cell| cell.load(guard));
        list.expect("a list stays for as long as a node that has it can be seen")
    }

    /// Appends the path of a node. The nodes above are there for as long as it can be seen.
    pub fn write_path(&self, node: Node<'_>, guard: &Guard, out: &mut String) {
        let mut names = Vec::new();
        let mut at = Some(node);
        while let Some((node, parent)) = at.and_then(|node| Some((node, node.parent()?))) {
            names.push(node.name());
            at = self.node(parent, guard);
        }
        if names.is_empty() {
            out.push('/');
        }
        for name in names.iter().rev() {
            out.push('/');
            out.push_str(std::str::from_utf8(name).expect("a name is part of a path"));
        }
    }
}
