//! What changed, for the watches.

use super::acl::AclRef;
use crate::id::Zxid;
use std::ops::Range;
use std::sync::Arc;

/// What a watch may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// A node came to be: `NodeCreated` there, `NodeChildrenChanged` at its parent.
    Created,
    /// A node went: `NodeDeleted` there, `NodeChildrenChanged` at its parent.
    Deleted,
    /// A node's data changed: `NodeDataChanged` there.
    Data,
}

/// One change of the tree, for the watches.
#[derive(Clone, Debug)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The transaction that did it.
    pub zxid: Zxid,
    /// The path's place in [`Changes::text`].
    pub(super) path: Range<usize>,
    /// Who may read the node; none if everyone may.
    pub acl: Option<AclRef>,
    /// Who may read its parent; none if everyone may.
    pub parent_acl: Option<AclRef>,
}

/// The changes of a batch, in order; the paths share one buffer.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    text: String,
    items: Vec<Change>,
}

impl Changes {
    /// Each change with its path.
    pub fn iter(&self) -> impl Iterator<Item = (&Change, &str)> {
        self.items.iter().map(|change| (change, &self.text[change.path.clone()]))
    }

    /// One of them.
    pub fn get(&self, index: usize) -> (&Change, &str) {
        let change = &self.items[index];
        (change, &self.text[change.path.clone()])
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Memory that it holds, in bytes.
    pub fn capacity_bytes(&self) -> usize {
        self.text.capacity() + self.items.capacity() * size_of::<Change>()
    }

    /// Forgets all, keeping the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.items.clear();
    }

    pub(super) fn push(
        &mut self,
        kind: ChangeKind,
        zxid: Zxid,
        path: &str,
        acl: &AclRef,
        parent_acl: Option<&AclRef>,
    ) {
        let start = self.text.len();
        self.text.push_str(path);
        let guarded = |acl: &AclRef| (acl.world & crate::op::perms::READ == 0).then(|| Arc::clone(acl));
        self.items.push(Change {
            kind,
            zxid,
            path: start..self.text.len(),
            acl: guarded(acl),
            parent_acl: parent_acl.and_then(guarded),
        });
    }
}
