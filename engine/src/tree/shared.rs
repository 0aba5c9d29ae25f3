//! What writer and readers share: the arenas, the index, and how a path leads to a node through them.
//!
//! The index knows a node by the hash of its path. The node itself has its own name and its parent's
//! number; that it is the one of the path shows on the way up, where every node has its part of it.

use super::acl::{AclArena, AclId, AclRef};
use super::index::{Arena, Bytes, Guard, Index, NodeId, Slot};
use super::node::{Children, Node};
use foldhash::fast::FixedState;
use std::hash::BuildHasher;
use std::sync::Arc;

/// The root's number, in every tree.
pub(super) const ROOT: NodeId = NodeId(0);

/// See the module.
pub(super) struct Shared {
    pub nodes: Arena<Bytes>,
    pub children: Arena<Slot<Children>>,
    pub acls: Arc<AclArena>,
    pub index: Arc<Index>,
    pub hasher: FixedState,
}

impl Shared {
    /// A path's hash.
    pub fn hash(&self, path: &str) -> u64 {
        self.hasher.hash_one(path.as_bytes())
    }

    /// The half of it that the index keeps.
    pub fn tag(&self, path: &str) -> u32 {
        (self.hash(path) >> 32) as u32
    }

    fn tag_of(&self, path: &[u8]) -> u32 {
        (self.hasher.hash_one(path) >> 32) as u32
    }

    /// Brings what the index has of paths to the core's cache; see [`Index::warm`].
    pub fn warm<'p>(&self, paths: impl Iterator<Item = &'p [u8]>, guard: &Guard) {
        self.index.warm(paths.map(|path| self.tag_of(path)), guard);
    }

    /// The node of that number; none if it is gone.
    pub fn node<'g>(&'g self, id: NodeId, guard: &'g Guard) -> Option<Node<'g>> {
        Node::load(self.nodes.cell(id)?, guard)
    }

    /// The node of a path. The empty path is the root's too.
    pub fn get<'g>(&'g self, path: &str, guard: &'g Guard) -> Option<(NodeId, Node<'g>)> {
        self.get_hashed(path, self.hash(path), guard)
    }

    /// The same, with the path's hash.
    pub fn get_hashed<'g>(&'g self, path: &str, hash: u64, guard: &'g Guard) -> Option<(NodeId, Node<'g>)> {
        if path.is_empty() || path == "/" {
            return Some((ROOT, self.node(ROOT, guard)?));
        }
        self.index.find((hash >> 32) as u32, guard, |id| {
            let node = self.node(id, guard)?;
            self.is_at(node, path.as_bytes(), guard).then_some((id, node))
        })
    }

    /// Whether the path is the node's: its own name is the last part, its parent's the one before. The
    /// nodes above are there for as long as a node can be seen.
    fn is_at(&self, node: Node<'_>, path: &[u8], guard: &Guard) -> bool {
        let (mut node, mut path) = (node, path);
        while let Some(parent) = node.parent() {
            let Some(above) = path.strip_suffix(node.name()).and_then(|path| path.strip_suffix(b"/")) else {
                return false;
            };
            let Some(parent) = self.node(parent, guard) else { return false };
            (node, path) = (parent, above);
        }
        path.is_empty()
    }

    /// A node's children, if it ever had one.
    pub fn children<'g>(&'g self, node: Node<'g>, guard: &'g Guard) -> Option<&'g Children> {
        let id = node.data().children?;
        self.children.cell(NodeId(id.0))?.load(guard)
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
