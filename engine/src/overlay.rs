//! Proposed, not yet committed changes: what preparation must see and readers must not.

use crate::id::{SessionId, Zxid};
use crate::tree::TreeWriter;
use crate::tree::acl::AclRef;
use crate::tree::index::Guard;
use crate::tree::node::NodeKind;
use foldhash::fast::FixedState;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// A node as the proposals so far leave it, as far as preparation needs it.
#[derive(Clone, Debug)]
pub struct Record {
    /// Counts setData.
    pub version: i32,
    /// Counts creations of children, up to `u32::MAX`.
    pub cversion: u32,
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
    /// In the order of the proposals, each with the session whose ephemeral node it leaves.
    order: VecDeque<(Zxid, Arc<str>, Option<SessionId>)>,
    /// Paths where the order leaves, or left, an ephemeral node of each session, with how often: what
    /// closing a session has to look at.
    ephemerals: HashMap<SessionId, BTreeMap<Arc<str>, u32>, FixedState>,
    /// Whether a multi is being prepared.
    in_multi: bool,
    /// What that multi replaced, so that it can be taken back.
    undo: Vec<(Arc<str>, Option<Change>)>,
}

impl Overlay {
    /// Nothing proposed; `seed` keys the hash.
    pub fn new(seed: u64) -> Self {
        Overlay {
            changes: HashMap::with_hasher(FixedState::with_seed(seed)),
            order: VecDeque::new(),
            ephemerals: HashMap::with_hasher(FixedState::with_seed(seed)),
            in_multi: false,
            undo: Vec::new(),
        }
    }

    /// The node of a path after every proposal so far.
    pub fn get(&self, path: &str, tree: &TreeWriter, guard: &Guard) -> Option<Record> {
        if let Some(change) = self.changes.get(path) {
            return change.record.clone();
        }
        let node = tree.get(path, guard)?;
        let data = node.data();
        let children = tree.children(node, guard);
        Some(Record {
            version: data.version,
            cversion: children.map_or(0, |children| children.cversion),
            aversion: data.aversion,
            children: children.map_or(0, |children| children.set.len() as u32),
            kind: data.kind,
            acl: Arc::clone(tree.acl(data.acl, guard)),
            data_length: data.data_length(),
        })
    }

    /// A proposal leaves `record` at `path`; `None` deletes it.
    pub fn put(&mut self, zxid: Zxid, path: &str, record: Option<Record>) {
        let owner = match record.as_ref().map(|record| record.kind) {
            Some(NodeKind::Ephemeral(owner)) => Some(owner),
            _ => None,
        };
        let change = Change { zxid, record };
        let (path, before) = match self.changes.get_mut(path) {
            // A multi of many creations under one parent changes the parent with each: what the first of
            // them put down for the way back and for the order holds for all.
            Some(known)
                if owner.is_none()
                    && known.zxid == zxid
                    && !known
                        .record
                        .as_ref()
                        .is_some_and(|known| matches!(known.kind, NodeKind::Ephemeral(_))) =>
            {
                *known = change;
                return;
            }
            Some(known) => {
                let before = std::mem::replace(known, change);
                let (path, _) = self.changes.get_key_value(path).expect("just found");
                (Arc::clone(path), Some(before))
            }
            None => {
                let path: Arc<str> = Arc::from(path);
                self.changes.insert(Arc::clone(&path), change);
                (path, None)
            }
        };
        if self.in_multi {
            self.undo.push((Arc::clone(&path), before));
        }
        if let Some(owner) = owner {
            *self.ephemerals.entry(owner).or_default().entry(Arc::clone(&path)).or_default() += 1;
        }
        self.order.push_back((zxid, path, owner));
    }

    /// An entry left the order.
    fn forget(&mut self, path: &str, owner: Option<SessionId>) {
        let Some(owner) = owner else { return };
        let Some(paths) = self.ephemerals.get_mut(&owner) else { return };
        if let Some(count) = paths.get_mut(path) {
            *count -= 1;
            if *count == 0 {
                paths.remove(path);
            }
        }
        if paths.is_empty() {
            self.ephemerals.remove(&owner);
        }
    }

    /// Begins a multi: what follows can be taken back.
    pub fn begin_multi(&mut self) {
        self.in_multi = true;
    }

    /// Keeps what the multi did.
    pub fn keep_multi(&mut self) {
        self.in_multi = false;
        self.undo.clear();
    }

    /// Takes back what the multi did.
    pub fn roll_back_multi(&mut self) {
        self.in_multi = false;
        while let Some((path, before)) = self.undo.pop() {
            if let Some((_, _, owner)) = self.order.pop_back() {
                self.forget(&path, owner);
            }
            match before {
                Some(change) => drop(self.changes.insert(path, change)),
                None => drop(self.changes.remove(&path)),
            }
        }
    }

    /// Forgets the changes of transactions that the tree has now.
    pub fn applied(&mut self, zxid: Zxid) {
        while let Some((_, path, owner)) = self.order.pop_front_if(|(changed, _, _)| *changed <= zxid) {
            self.forget(&path, owner);
            if let Entry::Occupied(change) = self.changes.entry(path)
                && change.get().zxid <= zxid
            {
                change.remove();
            }
        }
    }

    /// Forgets everything: the proposals were discarded.
    pub fn clear(&mut self) {
        self.changes.clear();
        self.order.clear();
        self.ephemerals.clear();
        self.keep_multi();
    }

    /// The ephemeral nodes of a session after every proposal so far.
    pub fn ephemerals_of(&self, session: SessionId, tree: &TreeWriter) -> BTreeSet<Box<str>> {
        let in_tree = tree.ephemerals().of(session);
        let proposed = self.ephemerals.get(&session).into_iter().flat_map(|paths| paths.keys());
        let is_there = |path: &&str| match self.changes.get(*path) {
            Some(change) => {
                change.record.as_ref().is_some_and(|record| record.kind == NodeKind::Ephemeral(session))
            }
            None => true,
        };
        in_tree.chain(proposed.map(|path| &**path)).filter(is_there).map(Into::into).collect()
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
    fn a_sessions_ephemerals_are_those_that_the_proposals_leave() {
        let tree = TreeWriter::new(1);
        let mut overlay = Overlay::new(1);
        let [mine, other] = [SessionId(1), SessionId(2)];
        let ephemeral = |owner| record(0).map(|record| Record { kind: NodeKind::Ephemeral(owner), ..record });
        let paths = |overlay: &Overlay| overlay.ephemerals_of(mine, &tree).into_iter().collect::<Vec<_>>();
        overlay.put(Zxid(1), "/a", ephemeral(mine));
        overlay.put(Zxid(2), "/b", ephemeral(mine));
        overlay.put(Zxid(3), "/a", None);
        overlay.put(Zxid(4), "/c", ephemeral(other));
        overlay.begin_multi();
        overlay.put(Zxid(5), "/d", ephemeral(mine));
        assert_eq!(paths(&overlay), ["/b".into(), "/d".into()]);
        overlay.roll_back_multi();
        assert_eq!(paths(&overlay), ["/b".into()]);
        overlay.put(Zxid(5), "/a", ephemeral(mine));
        overlay.applied(Zxid(1));
        assert_eq!(paths(&overlay), ["/a".into(), "/b".into()]);
        overlay.applied(Zxid(5));
        assert!(paths(&overlay).is_empty() && overlay.ephemerals.is_empty());
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
