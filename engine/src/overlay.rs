//! Proposed, not yet committed changes: what preparation must see and readers must not.

use crate::id::Zxid;
use crate::tree::TreeWriter;
use crate::tree::acl::AclRef;
use crate::tree::index::Guard;
use crate::tree::node::NodeKind;
use foldhash::fast::FixedState;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// A node as the proposals so far leave it, as far as preparation needs it.
#[derive(Clone, Debug)]
pub struct Record {
    /// Counts setData.
    pub version: i32,
    /// Counts creations of children.
    pub cversion: i32,
    /// Counts setACL.
    pub aversion: i32,
    /// Children.
    pub children: u32,
    /// Persistent, ephemeral, container or TTL.
    pub kind: NodeKind,
    /// Who may do what.
    pub acl: AclRef,
    /// Bytes of data, for quotas.
    pub data_length: usize,
}

/// The last proposal that touched a path, and what it leaves there; `None` is a deletion.
#[derive(Clone, Debug)]
struct Change {
    zxid: Zxid,
    record: Option<Record>,
}

/// Changes by path, forgotten as they are applied.
pub struct Overlay {
    changes: HashMap<Arc<str>, Change, FixedState>,
    /// In the order of the proposals.
    order: VecDeque<(Zxid, Arc<str>)>,
    /// What the multi that is being prepared replaced, so that it can be taken back.
    undo: Option<Vec<(Arc<str>, Option<Change>)>>,
}

impl Overlay {
    /// Nothing proposed; `seed` keys the hash.
    pub fn new(seed: u64) -> Self {
        Overlay {
            changes: HashMap::with_hasher(FixedState::with_seed(seed)),
            order: VecDeque::new(),
            undo: None,
        }
    }

    /// The node of a path after every proposal so far.
    pub fn get(&self, path: &str, tree: &TreeWriter, guard: &Guard) -> Option<Record> {
        if let Some(change) = self.changes.get(path) {
            return change.record.clone();
        }
        let node = tree.get(path, guard)?;
        let data = node.data(guard);
        let children = node.children(guard);
        Some(Record {
            version: data.version,
            cversion: children.map_or(0, |children| children.cversion),
            aversion: data.aversion,
            children: children.map_or(0, |children| children.set.len() as u32),
            kind: node.kind,
            acl: Arc::clone(&data.acl),
            data_length: data.data_length(),
        })
    }

    /// A proposal leaves `record` at `path`; `None` deletes it.
    pub fn put(&mut self, zxid: Zxid, path: &str, record: Option<Record>) {
        let change = Change { zxid, record };
        let path = match self.changes.get_key_value(path) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::from(path),
        };
        let before = self.changes.insert(Arc::clone(&path), change);
        if let Some(undo) = &mut self.undo {
            undo.push((Arc::clone(&path), before));
        }
        self.order.push_back((zxid, path));
    }

    /// Begins a multi: what follows can be taken back.
    pub fn begin_multi(&mut self) {
        self.undo = Some(Vec::new());
    }

    /// Keeps what the multi did.
    pub fn keep_multi(&mut self) {
        self.undo = None;
    }

    /// Takes back what the multi did.
    pub fn roll_back_multi(&mut self) {
        for (path, before) in self.undo.take().into_iter().flatten().rev() {
            self.order.pop_back();
            match before {
                Some(change) => drop(self.changes.insert(path, change)),
                None => drop(self.changes.remove(&path)),
            }
        }
    }

    /// Forgets the changes of transactions that the tree has now.
    pub fn applied(&mut self, zxid: Zxid) {
        while let Some((_, path)) = self.order.pop_front_if(|(changed, _)| *changed <= zxid) {
            if self.changes.get(&path).is_some_and(|change| change.zxid <= zxid) {
                self.changes.remove(&path);
            }
        }
    }

    /// Forgets everything: the proposals were discarded.
    pub fn clear(&mut self) {
        self.changes.clear();
        self.order.clear();
        self.undo = None;
    }

    /// Proposed changes, in order: each path with the kind of its node, or `None` where it goes.
    pub fn proposed(&self) -> impl Iterator<Item = (&str, Option<NodeKind>)> {
        self.order.iter().filter_map(|(_, path)| {
            let change = self.changes.get(path)?;
            Some((&**path, change.record.as_ref().map(|record| record.kind)))
        })
    }

    /// Paths that a proposal touches.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether nothing is proposed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::acl::AclList;
    use crate::tree::index::pin;

    fn record(version: i32) -> Option<Record> {
        Some(Record {
            version,
            cversion: 0,
            aversion: 0,
            children: 0,
            kind: NodeKind::Persistent,
            acl: Arc::new(AclList::open()),
            data_length: 0,
        })
    }

    #[test]
    fn a_failed_multi_leaves_no_trace() {
        let tree = TreeWriter::new(1);
        let mut overlay = Overlay::new(1);
        let version = |overlay: &Overlay| overlay.get("/a", &tree, &pin()).map(|record| record.version);
        overlay.put(Zxid(1), "/a", record(1));
        overlay.begin_multi();
        overlay.put(Zxid(2), "/a", record(2));
        overlay.put(Zxid(2), "/a", None);
        overlay.put(Zxid(2), "/b", record(0));
        overlay.roll_back_multi();
        assert_eq!(version(&overlay), Some(1));
        assert_eq!(overlay.len(), 1);
        overlay.put(Zxid(2), "/a", record(5));
        overlay.applied(Zxid(1));
        assert_eq!(version(&overlay), Some(5), "a newer proposal is still open");
        overlay.applied(Zxid(2));
        assert!(overlay.is_empty() && overlay.order.is_empty());
    }
}
