//! Proposed, not yet committed changes: what preparation must see and readers must not.

use crate::id::{SessionId, Zxid};
use crate::tree::acl::AclRef;
use crate::tree::index::Guard;
use crate::tree::node::NodeKind;
use crate::tree::{Found, TreeWriter};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
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
    /// Where the tree has the node; a node that is proposed is nowhere yet.
    pub found: Option<Found>,
}

/// The last proposal that touched a path, and what it leaves there; `None` is a deletion.
#[derive(Clone, Debug)]
struct Change {
    zxid: Zxid,
    record: Option<Record>,
}

/// A path that proposals touch. Its memory is used again for another.
struct Touched {
    /// The tree's hash of the path.
    hash: u64,
    path: String,
    change: Change,
    /// Entries of the order that are about it.
    entries: u32,
}

/// Number of a [`Touched`].
type Number = u32;

/// One proposal's change of one path.
struct Entry {
    zxid: Zxid,
    touched: Number,
    /// The session whose ephemeral node it leaves.
    owner: Option<SessionId>,
}

/// Where a path is, found once for looking and for changing. It holds until changes are forgotten, or the
/// path gets another one.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    hash: u64,
    touched: Option<Number>,
}

/// A longer path is not kept for its memory.
const KEPT_PATH_BYTES: usize = 256;

/// Changes by path, forgotten as they are applied.
pub struct Overlay {
    all: Vec<Touched>,
    free: Vec<Number>,
    by_path: HashTable<Number>,
    /// In the order of the proposals.
    order: VecDeque<Entry>,
    /// Paths where the order leaves, or left, an ephemeral node of each session, with how often: what
    /// closing a session has to look at.
    ephemerals: HashMap<SessionId, BTreeMap<Arc<str>, u32>, FixedState>,
    /// Whether a multi is being prepared.
    in_multi: bool,
    /// What that multi replaced, so that it can be taken back.
    undo: Vec<(Number, Option<Change>)>,
}

impl Overlay {
    /// Nothing proposed; `seed` keys the hash.
    pub fn new(seed: u64) -> Self {
        Overlay {
            all: Vec::new(),
            free: Vec::new(),
            by_path: HashTable::new(),
            order: VecDeque::new(),
            ephemerals: HashMap::with_hasher(FixedState::with_seed(seed)),
            in_multi: false,
            undo: Vec::new(),
        }
    }

    fn find(&self, hash: u64, path: &str) -> Option<Number> {
        self.by_path.find(hash, |number| self.all[*number as usize].path == path).copied()
    }

    /// Where a path is in these changes and in `tree`.
    pub fn spot(&self, path: &str, tree: &TreeWriter) -> Spot {
        let hash = tree.hash(path);
        Spot { hash, touched: self.find(hash, path) }
    }

    /// Whether a path has a node after every proposal so far. `tree` is that of [`Self::spot`].
    pub fn is_there(&self, path: &str, spot: Spot, tree: &TreeWriter, guard: &Guard) -> bool {
        match spot.touched {
            Some(touched) => self.all[touched as usize].change.record.is_some(),
            None => tree.find(path, spot.hash, guard).is_some(),
        }
    }

    /// The node of a path after every proposal so far. `tree` is that of [`Self::spot`].
    pub fn get(&self, path: &str, spot: Spot, tree: &TreeWriter, guard: &Guard) -> Option<Record> {
        if let Some(touched) = spot.touched {
            return self.all[touched as usize].change.record.clone();
        }
        let (found, node) = tree.find(path, spot.hash, guard)?;
        let data = node.data();
        let children = tree.children_of(&data, guard);
        Some(Record {
            version: data.version,
            cversion: children.map_or(0, |children| children.cversion),
            aversion: data.aversion,
            children: children.map_or(0, |children| children.set.len() as u32),
            kind: data.kind,
            acl: Arc::clone(tree.acl(data.acl, guard)),
            data_length: data.data_length(),
            found: Some(found),
        })
    }

    /// A proposal leaves `record` at `path`; `None` deletes it.
    pub fn put(&mut self, zxid: Zxid, path: &str, spot: Spot, record: Option<Record>) {
        let owner = match record.as_ref().map(|record| record.kind) {
            Some(NodeKind::Ephemeral(owner)) => Some(owner),
            _ => None,
        };
        let change = Change { zxid, record };
        let (number, before) = match spot.touched {
            Some(number) => {
                let known = &mut self.all[number as usize].change;
                let owned = |record: &Record| matches!(record.kind, NodeKind::Ephemeral(_));
                let is_shared =
                    owner.is_none() && known.zxid == zxid && !known.record.as_ref().is_some_and(owned);
                let before = std::mem::replace(known, change);
                // A multi of many creations under one parent changes the parent with each: what the first
                // of them put down for the way back and for the order holds for all.
                if is_shared {
                    return;
                }
                (number, Some(before))
            }
            None => (self.insert(spot.hash, path, change), None),
        };
        if self.in_multi {
            self.undo.push((number, before));
        }
        if let Some(owner) = owner {
            *self.ephemerals.entry(owner).or_default().entry(Arc::from(path)).or_default() += 1;
        }
        self.all[number as usize].entries += 1;
        self.order.push_back(Entry { zxid, touched: number, owner });
    }

    fn insert(&mut self, hash: u64, path: &str, change: Change) -> Number {
        let number = match self.free.pop() {
            Some(number) => {
                let touched = &mut self.all[number as usize];
                touched.path.push_str(path);
                (touched.hash, touched.change) = (hash, change);
                number
            }
            None => {
                self.all.push(Touched { hash, path: path.to_owned(), change, entries: 0 });
                (self.all.len() - 1) as Number
            }
        };
        self.by_path.insert_unique(hash, number, |number| self.all[*number as usize].hash);
        number
    }

    /// No proposal touches this path any more.
    fn remove(&mut self, number: Number) {
        let touched = &mut self.all[number as usize];
        touched.change.record = None;
        touched.path.clear();
        if touched.path.capacity() > KEPT_PATH_BYTES {
            touched.path = String::new();
        }
        if let Ok(entry) = self.by_path.find_entry(touched.hash, |known| *known == number) {
            entry.remove();
        }
        self.free.push(number);
    }

    /// An entry left the order; returns whether it was the last one of its path.
    fn forget(&mut self, entry: &Entry) -> bool {
        let touched = &mut self.all[entry.touched as usize];
        touched.entries -= 1;
        let is_last = touched.entries == 0;
        let Some(owner) = entry.owner else { return is_last };
        let Some(paths) = self.ephemerals.get_mut(&owner) else { return is_last };
        if let Some(count) = paths.get_mut(&*touched.path) {
            *count -= 1;
            if *count == 0 {
                paths.remove(&*touched.path);
            }
        }
        if paths.is_empty() {
            self.ephemerals.remove(&owner);
        }
        is_last
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
        while let Some((number, before)) = self.undo.pop() {
            if let Some(entry) = self.order.pop_back() {
                self.forget(&entry);
            }
            match before {
                Some(change) => self.all[number as usize].change = change,
                None => self.remove(number),
            }
        }
    }

    /// Where the nodes that transactions touch were found, for those that are applied now, in their order.
    pub fn finds(&self) -> Finds<'_> {
        Finds { overlay: self, next: 0 }
    }

    /// Forgets the changes of transactions that the tree has now.
    pub fn applied(&mut self, zxid: Zxid) {
        while let Some(entry) = self.order.pop_front_if(|entry| entry.zxid <= zxid) {
            // What a newer proposal left there is still open: it has an entry of its own.
            if self.forget(&entry) {
                self.remove(entry.touched);
            }
        }
    }

    /// Forgets everything: the proposals were discarded.
    pub fn clear(&mut self) {
        self.all.clear();
        self.free.clear();
        self.by_path.clear();
        self.order.clear();
        self.ephemerals.clear();
        self.keep_multi();
    }

    /// The ephemeral nodes of a session after every proposal so far.
    pub fn ephemerals_of(&self, session: SessionId, tree: &TreeWriter) -> BTreeSet<Box<str>> {
        let in_tree = tree.ephemerals().of(session);
        let proposed = self.ephemerals.get(&session).into_iter().flat_map(|paths| paths.keys());
        let is_there = |path: &&str| match self.find(tree.hash(path), path) {
            Some(touched) => {
                let record = self.all[touched as usize].change.record.as_ref();
                record.is_some_and(|record| record.kind == NodeKind::Ephemeral(session))
            }
            None => true,
        };
        in_tree.chain(proposed.map(|path| &**path)).filter(is_there).map(Into::into).collect()
    }

    /// Paths that a proposal touches.
    pub fn len(&self) -> usize {
        self.by_path.len()
    }

    /// Whether nothing is proposed.
    pub fn is_empty(&self) -> bool {
        self.by_path.is_empty()
    }
}

/// Where the nodes that transactions touch were found, transaction after transaction.
pub struct Finds<'o> {
    overlay: &'o Overlay,
    /// In the order of the proposals.
    next: usize,
}

impl Finds<'_> {
    /// Where what a transaction touches first was found: the node of a setData, the parent of a create.
    #[inline]
    pub fn of(&mut self, zxid: Zxid) -> Option<Found> {
        let Overlay { order, all, .. } = self.overlay;
        while order.get(self.next).is_some_and(|entry| entry.zxid < zxid) {
            self.next += 1;
        }
        let entry = order.get(self.next).filter(|entry| entry.zxid == zxid)?;
        all[entry.touched as usize].change.record.as_ref()?.found
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
            found: None,
        })
    }

    fn put(overlay: &mut Overlay, zxid: Zxid, path: &str, record: Option<Record>, tree: &TreeWriter) {
        let spot = overlay.spot(path, tree);
        overlay.put(zxid, path, spot, record);
    }

    #[test]
    fn a_sessions_ephemerals_are_those_that_the_proposals_leave() {
        let tree = TreeWriter::new(1);
        let mut overlay = Overlay::new(1);
        let [mine, other] = [SessionId(1), SessionId(2)];
        let ephemeral = |owner| record(0).map(|record| Record { kind: NodeKind::Ephemeral(owner), ..record });
        let paths = |overlay: &Overlay| overlay.ephemerals_of(mine, &tree).into_iter().collect::<Vec<_>>();
        put(&mut overlay, Zxid(1), "/a", ephemeral(mine), &tree);
        put(&mut overlay, Zxid(2), "/b", ephemeral(mine), &tree);
        put(&mut overlay, Zxid(3), "/a", None, &tree);
        put(&mut overlay, Zxid(4), "/c", ephemeral(other), &tree);
        overlay.begin_multi();
        put(&mut overlay, Zxid(5), "/d", ephemeral(mine), &tree);
        assert_eq!(paths(&overlay), ["/b".into(), "/d".into()]);
        overlay.roll_back_multi();
        assert_eq!(paths(&overlay), ["/b".into()]);
        put(&mut overlay, Zxid(5), "/a", ephemeral(mine), &tree);
        overlay.applied(Zxid(1));
        assert_eq!(paths(&overlay), ["/a".into(), "/b".into()]);
        overlay.applied(Zxid(5));
        assert!(paths(&overlay).is_empty() && overlay.ephemerals.is_empty());
    }

    #[test]
    fn a_failed_multi_leaves_no_trace() {
        let tree = TreeWriter::new(1);
        let mut overlay = Overlay::new(1);
        let version = |overlay: &Overlay| {
            overlay.get("/a", overlay.spot("/a", &tree), &tree, &pin()).map(|record| record.version)
        };
        put(&mut overlay, Zxid(1), "/a", record(1), &tree);
        overlay.begin_multi();
        put(&mut overlay, Zxid(2), "/a", record(2), &tree);
        put(&mut overlay, Zxid(2), "/a", None, &tree);
        put(&mut overlay, Zxid(2), "/b", record(0), &tree);
        overlay.roll_back_multi();
        assert_eq!(version(&overlay), Some(1));
        assert_eq!(overlay.len(), 1);
        put(&mut overlay, Zxid(2), "/a", record(5), &tree);
        overlay.applied(Zxid(1));
        assert_eq!(version(&overlay), Some(5), "a newer proposal is still open");
        overlay.applied(Zxid(2));
        assert!(overlay.is_empty() && overlay.order.is_empty());
    }
}
