//! The children of a node: an immutable set of node numbers that shares structure with the
//! versions before it, so that a list of 100,000 names is one consistent version, taken while
//! writes flow, and adding a child copies a few hundred bytes.
//!
//! A B+ tree of integers, of which the first few need no memory of their own. Nodes that nobody else
//! sees are changed in place, so a batch of creations under one parent copies each touched node once.

use super::index::NodeId;
use std::ops::Range;
use std::sync::Arc;

const FEW_MAX: usize = 3;
const LEAF_MAX: usize = 128;
const FANOUT_MAX: usize = 16;

#[derive(Clone, Debug)]
enum Branch {
    /// Sorted; only a root is one.
    Few(u8, [u32; FEW_MAX]),
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
        ChildSet { root: Branch::Few(0, [0; FEW_MAX]), len: 0 }
    }
}

/// Position of the branch that holds `id`; smaller numbers than any belong to the first.
fn child_of(children: &[(u32, Branch)], id: u32) -> usize {
    children.partition_point(|&(first, _)| first <= id).saturating_sub(1)
}

/// Room for one more, without the doubling by which a vector grows: a tree has very many of these.
fn make_room<T>(items: &mut Vec<T>, max: usize) {
    if items.len() == items.capacity() {
        let more = (items.len() / 4).max(4).min((max - items.len()).max(1));
        items.reserve_exact(more);
    }
}

impl Branch {
    /// Adds `id`; a node that became too large returns its right half.
    fn insert(&mut self, id: u32, added: &mut bool) -> Option<(u32, Branch)> {
        match self {
            Branch::Few(count, few) => {
                let ids = &few[..usize::from(*count)];
                let Err(at) = ids.binary_search(&id) else { return None };
                *added = true;
                if ids.len() < FEW_MAX {
                    few[at..].rotate_right(1);
                    few[at] = id;
                    *count += 1;
                } else {
                    let mut ids = ids.to_vec();
                    ids.insert(at, id);
                    *self = Branch::Leaf(Arc::new(ids));
                }
                None
            }
            Branch::Leaf(ids) => {
                let Err(at) = ids.binary_search(&id) else { return None };
                *added = true;
                if ids.len() == LEAF_MAX {
                    // Numbers mostly come in rising order: then the left half stays full.
                    let half = if at == LEAF_MAX { LEAF_MAX } else { LEAF_MAX / 2 };
                    let mut right = ids[half..].to_vec();
                    if at < half {
                        let left = Arc::make_mut(ids);
                        left.truncate(half);
                        left.insert(at, id);
                    } else {
                        if half < LEAF_MAX {
                            *ids = Arc::new(ids[..half].to_vec());
                        }
                        right.insert(at - half, id);
                    }
                    return Some((right[0], Branch::Leaf(Arc::new(right))));
                }
                let ids = Arc::make_mut(ids);
                make_room(ids, LEAF_MAX);
                ids.insert(at, id);
                None
            }
            Branch::Inner(children) => {
                let children = Arc::make_mut(children);
                let at = child_of(children, id);
                children[at].0 = children[at].0.min(id);
                let split = children[at].1.insert(id, added)?;
                make_room(children, FANOUT_MAX + 1);
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
            Branch::Few(count, few) => {
                let Ok(at) = few[..usize::from(*count)].binary_search(&id) else { return false };
                few[at..].rotate_left(1);
                *count -= 1;
                true
            }
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
            Branch::Few(count, few) => few[..usize::from(*count)].contains(&id),
            Branch::Leaf(ids) => ids.binary_search(&id).is_ok(),
            Branch::Inner(children) => children[child_of(children, id)].1.contains(id),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Branch::Few(count, _) => *count == 0,
            Branch::Leaf(ids) => ids.is_empty(),
            Branch::Inner(children) => children.iter().all(|(_, child)| child.is_empty()),
        }
    }

    fn try_for_each(&self, f: &mut impl FnMut(NodeId) -> bool) -> bool {
        match self {
            Branch::Few(count, few) => few[..usize::from(*count)].iter().all(|&id| f(NodeId(id))),
            Branch::Leaf(ids) => ids.iter().all(|&id| f(NodeId(id))),
            Branch::Inner(children) => children.iter().all(|(_, child)| child.try_for_each(f)),
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
            let left = std::mem::replace(&mut self.root, Branch::Few(0, [0; FEW_MAX]));
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
        if let Branch::Leaf(ids) = &self.root
            && ids.len() <= FEW_MAX
        {
            let mut few = [0; FEW_MAX];
            few[..ids.len()].copy_from_slice(ids);
            self.root = Branch::Few(ids.len() as u8, few);
        }
        removed
    }

    /// Adds numbers that are larger than any in the set, as a restart finds them.
    pub fn extend(&mut self, ids: Range<u32>) {
        let mut next = ids.start;
        if self.is_empty() {
            // Whole leaves at once; the loop below adds what the last one leaves over.
            let full = (ids.len() / LEAF_MAX) as u32;
            let leaf = |number: u32| {
                let first = ids.start + number * LEAF_MAX as u32;
                (first, Branch::Leaf(Arc::new((first..first + LEAF_MAX as u32).collect())))
            };
            let mut level: Vec<(u32, Branch)> = (0..full).map(leaf).collect();
            while level.len() > 1 {
                let mut rest = level.into_iter();
                let next = || {
                    let children: Vec<(u32, Branch)> = rest.by_ref().take(FANOUT_MAX).collect();
                    Some((children.first()?.0, Branch::Inner(Arc::new(children))))
                };
                level = std::iter::from_fn(next).collect();
            }
            if let Some((_, root)) = level.pop() {
                self.root = root;
                self.len = full * LEAF_MAX as u32;
                next += self.len;
            }
        }
        (next..ids.end).for_each(|id| self.insert(NodeId(id)));
    }

    /// Visits every child, in no order that a client may rely on.
    pub fn for_each(&self, mut f: impl FnMut(NodeId)) {
        self.try_for_each(|id| {
            f(id);
            true
        });
    }

    /// Visits children until `f` says no.
    pub fn try_for_each(&self, mut f: impl FnMut(NodeId) -> bool) {
        self.root.try_for_each(&mut f);
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
    fn a_range_is_the_same_set_at_once_as_one_by_one() {
        let sizes = [(0, 0), (0, 3), (5, 9), (1, 128), (1, 129), (7, 4000), (0, 40_000)];
        for (first, second) in sizes.into_iter().take(if cfg!(miri) { 5 } else { usize::MAX }) {
            let mut set = ChildSet::default();
            set.extend(first..second);
            set.extend(second + 2..second + 200);
            let expected: Vec<u32> = (first..second).chain(second + 2..second + 200).collect();
            assert_eq!((set.len(), collect(&set)), (expected.len(), expected.clone()));
            expected.iter().for_each(|&id| assert!(set.remove(NodeId(id))));
            assert!(set.is_empty() && collect(&set).is_empty());
        }
    }

    #[test]
    fn leaves_of_rising_numbers_are_full_and_have_no_room_to_spare() {
        fn spare(branch: &Branch) -> usize {
            match branch {
                Branch::Few(..) => 0,
                Branch::Leaf(ids) => ids.capacity() - ids.len(),
                Branch::Inner(children) => children.iter().map(|(_, child)| spare(child)).sum(),
            }
        }
        let mut set = ChildSet::default();
        for id in 0..if cfg!(miri) { 300 } else { 10_000 } {
            // As batches do: every version is shared once.
            let _before = set.clone();
            set.insert(NodeId(id));
        }
        assert!(spare(&set.root) < LEAF_MAX, "{}", spare(&set.root));
        assert!(size_of::<ChildSet>() <= 24);
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
