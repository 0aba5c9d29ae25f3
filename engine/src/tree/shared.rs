//! What writer and readers share: the arenas, the index, and how a path leads to a node through them.
//!
//! The index knows a node by its parent's number and its own name, so a lookup walks down from the root,
//! and a node needs no path. A reader that walks while the writer deletes meets old versions or none;
//! the numbers on its way stay what they were until its guard ends.

use super::acl::{AclArena, AclId, AclRef};
use super::index::{Arena, Bytes, Guard, Index, NodeId, Slot};
use super::node::{Children, Node};
use foldhash::fast::FixedState;
use std::hash::{BuildHasher, Hasher};
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

/// How far a path leads.
#[derive(Clone, Copy)]
pub(super) struct Walked<'g> {
    pub id: NodeId,
    pub node: Node<'g>,
    /// Whether this is the node of the path, not only its nearest ancestor.
    pub whole: bool,
}

impl Shared {
    /// The half of the hash that the index keeps.
    pub fn tag(&self, parent: NodeId, name: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u32(parent.0);
        hasher.write(name);
        (hasher.finish() >> 32) as u32
    }

    /// The node of that number; none if it is gone.
    pub fn node<'g>(&'g self, id: NodeId, guard: &'g Guard) -> Option<Node<'g>> {
        Node::load(self.nodes.cell(id)?, guard)
    }

    /// The child of that name.
    pub fn child<'g>(&'g self, parent: NodeId, name: &[u8], guard: &'g Guard) -> Option<(NodeId, Node<'g>)> {
        self.index.find(self.tag(parent, name), guard, |id| {
            self.node(id, guard).filter(|node| node.is(parent, name)).map(|node| (id, node))
        })
    }

    /// Follows a path as far as it leads; none if it does not begin at the root. The empty path is the
    /// root's too.
    pub fn walk<'g>(&'g self, path: &str, guard: &'g Guard) -> Option<Walked<'g>> {
        let mut at = Walked { id: ROOT, node: self.node(ROOT, guard)?, whole: true };
        if path.is_empty() || path == "/" {
            return Some(at);
        }
        for name in path.strip_prefix('/')?.split('/') {
            match self.child(at.id, name.as_bytes(), guard) {
                Some((id, node)) => at = Walked { id, node, whole: true },
                None => return Some(Walked { whole: false, ..at }),
            }
        }
        Some(at)
    }

    /// The node of a path.
    pub fn get<'g>(&'g self, path: &str, guard: &'g Guard) -> Option<(NodeId, Node<'g>)> {
        self.walk(path, guard).filter(|walked| walked.whole).map(|walked| (walked.id, walked.node))
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
