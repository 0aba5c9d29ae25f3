//! The children of a node: an immutable set of node numbers that shares structure with the
//! versions before it, so that a list of 100,000 names is one consistent version, taken while
//! writes flow, and adding a child copies a few hundred bytes.
//!
//! A B+ tree of integers. Nodes that nobody else sees are changed in place, so a batch of
//! creations under one parent copies each touched node once.

use super::index::NodeId;
use std::sync::Arc;

const LEAF_MAX: usize = 128;
const FANOUT_MAX: usize = 16;

#[derive(Clone, Debug)]
enum Branch {
    Leaf(Arc<Vec<u32>>),
    /// Each child with the smallest number that it may hold.
    Inner(Arc<Vec<(u32, Branch)>>),
}

/// A set of node numbers; cloning it costs one reference count.
#[derive(Clone, Debug)]
pub struct ChildSet {
    root: Branch,
    len: u32,
}

impl Default for ChildSet {
    fn default() -> Self {
        ChildSet { root: Branch::Leaf(Arc::default()), len: 0 }
    }
}

/// Position of the branch that holds `id`; smaller numbers than any belong to the first.
fn child_of(children: &[(u32, Branch)], id: u32) -> usize {
    children.partition_point(|&(first, _)| first <= id).saturating_sub(1)
}

impl Branch {
    /// Adds `id`; a node that became too large returns its right half.
    fn insert(&mut self, id: u32, added: &mut bool) -> Option<(u32, Branch)> {
        match self {
            Branch::Leaf(ids) => {
                let Err(at) = ids.binary_search(&id) else { return None };
                *added = true;
                let ids = Arc::make_mut(ids);
                ids.insert(at, id);
                if ids.len() <= LEAF_MAX {
                    return None;
                }
                // Numbers mostly come in rising order: then the left half stays full.
                let half = if at + 1 == ids.len() { LEAF_MAX } else { LEAF_MAX / 2 };
                let right = ids.split_off(half);
                Some((right[0], Branch::Leaf(Arc::new(right))))
            }
            Branch::Inner(children) => {
                let children = Arc::make_mut(children);
                let at = child_of(children, id);
                children[at].0 = children[at].0.min(id);
                let split = children[at].1.insert(id, added)?;
                children.insert(at + 1, split);
                if children.len() <= FANOUT_MAX {
                    return None;
                }
                let half = if at + 2 == children.len() { FANOUT_MAX } else { FANOUT_MAX / 2 };
                let right = children.split_off(half);
                Some((right[0].0, Branch::Inner(Arc::new(right))))
            }
        }
    }

    fn remove(&mut self, id: u32) -> bool {
        match self {
            Branch::Leaf(ids) => {
                let Ok(at) = ids.binary_search(&id) else { return false };
                Arc::make_mut(ids).remove(at);
                true
            }
            Branch::Inner(children) => {
                let at = child_of(children, id);
                if !children[at].1.contains(id) {
                    return false;
                }
                let children = Arc::make_mut(children);
                children[at].1.remove(id);
                if children[at].1.is_empty() && children.len() > 1 {
                    children.remove(at);
                }
                true
            }
        }
    }

    fn contains(&self, id: u32) -> bool {
        match self {
            Branch::Leaf(ids) => ids.binary_search(&id).is_ok(),
            Branch::Inner(children) => children[child_of(children, id)].1.contains(id),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Branch::Leaf(ids) => ids.is_empty(),
            Branch::Inner(children) => children.iter().all(|(_, child)| child.is_empty()),
        }
    }

    fn for_each(&self, f: &mut impl FnMut(NodeId)) {
        match self {
            Branch::Leaf(ids) => ids.iter().for_each(|&id| f(NodeId(id))),
            Branch::Inner(children) => children.iter().for_each(|(_, child)| child.for_each(f)),
        }
    }
}

impl ChildSet {
    /// How many.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a child; adding it twice changes nothing.
    pub fn insert(&mut self, id: NodeId) {
        let mut added = false;
        if let Some(right) = self.root.insert(id.0, &mut added) {
            let left = std::mem::replace(&mut self.root, Branch::Leaf(Arc::default()));
            self.root = Branch::Inner(Arc::new(vec![(0, left), right]));
        }
        self.len += u32::from(added);
    }

    /// Takes a child out; returns whether it was there.
    pub fn remove(&mut self, id: NodeId) -> bool {
        let removed = self.root.remove(id.0);
        self.len -= u32::from(removed);
        while let Branch::Inner(children) = &self.root {
            if children.len() > 1 {
                break;
            }
            self.root = children[0].1.clone();
        }
        removed
    }

    /// Visits every child, in no order that a client may rely on.
    pub fn for_each(&self, mut f: impl FnMut(NodeId)) {
        self.root.for_each(&mut f);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn collect(set: &ChildSet) -> Vec<u32> {
        let mut ids = Vec::new();
        set.for_each(|id| ids.push(id.0));
        ids
    }

    /// Miri interprets every step, and has no files to keep failures in.
    fn config() -> ProptestConfig {
        if cfg!(miri) {
            ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() }
        } else {
            ProptestConfig::default()
        }
    }

    const STEPS_MAX: usize = if cfg!(miri) { 300 } else { 4000 };

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn behaves_as_a_set_and_leaves_older_versions_alone(
            steps in prop::collection::vec((any::<bool>(), 0u32..3000), 0..STEPS_MAX),
        ) {
            let (mut set, mut model) = (ChildSet::default(), BTreeSet::new());
            let mut kept: Option<(ChildSet, BTreeSet<u32>)> = None;
            for (number, (add, id)) in steps.into_iter().enumerate() {
                if add || number % 3 != 0 {
                    set.insert(NodeId(id));
                    model.insert(id);
                } else {
                    prop_assert_eq!(set.remove(NodeId(id)), model.remove(&id));
                }
                if number % 500 == 499 {
                    if let Some((old, old_model)) = kept.take() {
                        prop_assert_eq!(collect(&old), old_model.into_iter().collect::<Vec<_>>());
                    }
                    kept = Some((set.clone(), model.clone()));
                }
            }
            prop_assert_eq!(set.len(), model.len());
            prop_assert_eq!(collect(&set), model.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn rising_numbers_fill_the_leaves() {
        let mut set = ChildSet::default();
        let many = if cfg!(miri) { 500 } else { 100_000 };
        (0..many).for_each(|id| set.insert(NodeId(id)));
        assert_eq!(set.len(), many as usize);
        (0..many).for_each(|id| assert!(set.remove(NodeId(id))));
        assert!(set.is_empty());
        assert!(collect(&set).is_empty());
    }
}
