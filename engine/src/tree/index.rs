//! The lock-free index: from a path to its node, one writer, any number of readers.
//!
//! Three parts, each with one job:
//! - [`Slot`]: a cell whose value readers borrow under a [`Guard`] while the writer replaces it.
//!   The only unsafe code of this crate is here.
//! - `Arena`: node numbers to nodes. A [`NodeId`] is four bytes where a pointer would be eight, it
//!   can be stored in a plain set of integers, and a stale one finds another node or none, never
//!   freed memory.
//! - `Table`: open addressing from hash to node number, a word an entry. It grows without a
//!   pause: entries move a stripe at a time while readers look in both tables.
//!
//! Why a reader never misses a node that stays: an entry is never moved within a table, a removed
//! one becomes a tombstone (never empty) so that no probe sequence is cut, and while a table is
//! being replaced its entries stay where they were until the whole table goes.

#![allow(unsafe_code, reason = "one of the three addresses; see Slot")]
#![cfg_attr(loom, allow(unused_unsafe, reason = "the model of reclamation is safe code"))]

#[cfg(not(all(test, loom)))]
use crossbeam::epoch;
use crossbeam::queue::SegQueue;
use epoch::{Atomic, Owned, Shared};
#[cfg(all(test, loom))]
use epoch_model as epoch;
use foldhash::fast::FixedState;
#[cfg(all(test, loom))]
use loom::sync::atomic::AtomicU64;
use std::hash::BuildHasher;
#[cfg(not(all(test, loom)))]
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

/// Keeps what a reader has borrowed alive. Hold it briefly: while one is held, nothing that was
/// replaced since is freed.
pub struct Guard(epoch::Guard);

/// Starts a read.
pub fn pin() -> Guard {
    Guard(epoch::pin())
}

impl Guard {
    /// Lets reclamation pass, for long walks. Nothing borrowed before may be used after, which the
    /// exclusive borrow enforces.
    pub fn repin(&mut self) {
        self.0.repin();
    }

    /// Runs `f` once no reader that is reading now is still reading.
    fn defer(&self, f: impl FnOnce() + Send + 'static) {
        self.0.defer(f);
    }
}

/// A cell that readers borrow from while the writer replaces its value.
pub struct Slot<T>(Atomic<T>);

impl<T: Send + Sync + 'static> Slot<T> {
    /// A cell with nothing in it.
    pub fn empty() -> Self {
        Slot(Atomic::null())
    }

    /// A cell with a value.
    pub fn new(value: T) -> Self {
        Slot(Atomic::new(value))
    }

    /// The current value. It is borrowed from the cell and from the guard: the one keeps it from
    /// being dropped with the cell, the other from being freed once it is replaced.
    pub fn load<'g>(&'g self, guard: &'g Guard) -> Option<&'g T> {
        // SAFETY: the pointer is null or came from `Owned` in `new` or `replace`. It is freed only
        // through `defer_destroy`, or by `drop`, which the borrow of the cell puts off. Every
        // `Guard` pins the one global collector, so nothing unlinked after `guard` was pinned is
        // freed before `guard` ends, and the borrow ends with `guard`.
        unsafe { self.0.load(Ordering::Acquire, &guard.0).as_ref() }
    }

    /// Puts `value` in; readers that borrowed the old one keep it until their guards end.
    pub fn replace(&self, value: Option<T>, guard: &Guard) {
        let new = value.map_or(Shared::null(), |value| Owned::new(value).into_shared(&guard.0));
        let old = self.0.swap(new, Ordering::AcqRel, &guard.0);
        if !old.is_null() {
            // SAFETY: `old` was unlinked by the swap above, so it can be reached by no later load,
            // and only the swap that took it out destroys it. `T: Send + 'static`, so it may be
            // dropped later and on another thread.
            unsafe { guard.0.defer_destroy(old) };
        }
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        // SAFETY: `&mut self` means that no reader borrows from the cell: a borrow of its value
        // needs a borrow of the cell.
        unsafe {
            let pointer = std::mem::replace(&mut self.0, Atomic::null());
            if !pointer.load(Ordering::Relaxed, epoch::unprotected()).is_null() {
                drop(pointer.into_owned());
            }
        }
    }
}

/// A node's number in its tree. Numbers of removed nodes are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// What the index stores: something with a path.
pub trait Keyed: Send + Sync + 'static {
    /// The path, which is the same for as long as the node lives.
    fn key(&self) -> &str;
}

/// Loom visits every order of a few steps, Miri interprets each, and a fuzzer's trees are small and many:
/// there everything is small.
const SMALL: bool = cfg!(any(loom, miri, fuzzing));
/// Slots of the arena's first segment; each next one is twice as large.
const FIRST_SEGMENT: usize = if SMALL { 4 } else { 1024 };
const SEGMENTS: usize = 22;

type Segment<T> = OnceLock<Box<[Slot<T>]>>;

struct Arena<T> {
    segments: [Segment<T>; SEGMENTS],
}

impl<T: Keyed> Arena<T> {
    fn new() -> Self {
        Arena { segments: std::array::from_fn(|_| OnceLock::new()) }
    }

    /// Segment and offset of a number: segment *s* starts at `FIRST_SEGMENT * (2^s - 1)`.
    fn position(id: NodeId) -> (usize, usize) {
        let biased = id.0 as usize + FIRST_SEGMENT;
        let segment = (biased / FIRST_SEGMENT).ilog2() as usize;
        (segment, biased - (FIRST_SEGMENT << segment))
    }

    fn slot(&self, id: NodeId) -> Option<&Slot<T>> {
        let (segment, offset) = Self::position(id);
        self.segments.get(segment)?.get()?.get(offset)
    }

    fn slot_or_grow(&self, id: NodeId) -> &Slot<T> {
        let (segment, offset) = Self::position(id);
        let slots = self.segments[segment]
            .get_or_init(|| (0..FIRST_SEGMENT << segment).map(|_| Slot::empty()).collect());
        &slots[offset]
    }
}

/// A table entry that was never used: a probe ends here.
const EMPTY: u64 = 0;
/// A table entry whose node was removed: a probe goes on.
const TOMBSTONE: u64 = 1;
/// Added to the node number in an entry, so that no entry looks empty or removed.
const ID_BIAS: u64 = 2;
const SMALLEST_TABLE: usize = if SMALL { 4 } else { 1024 };
/// Old entries moved at each insertion or removal while a table is being replaced.
const STRIPE: usize = if SMALL { 2 } else { 64 };

/// An entry is the upper half of the hash and the node number. The stored half of the hash gives
/// the position too, so that growing needs no look at the nodes.
struct Table {
    entries: Box<[AtomicU64]>,
}

impl Table {
    fn with_capacity(capacity: usize) -> Arc<Self> {
        #[cfg(not(all(test, loom)))]
        let entries = bytemuck::zeroed_slice_box(capacity);
        #[cfg(all(test, loom))]
        let entries = (0..capacity).map(|_| AtomicU64::new(EMPTY)).collect();
        Arc::new(Table { entries })
    }

    fn mask(&self) -> usize {
        self.entries.len() - 1
    }

    fn entry(tag: u32, id: NodeId) -> u64 {
        u64::from(tag) << 32 | (u64::from(id.0) + ID_BIAS)
    }

    /// Node numbers with that tag, in probe order, each with its position.
    fn candidates(&self, tag: u32) -> impl Iterator<Item = (usize, NodeId)> + '_ {
        let mask = self.mask();
        let start = tag as usize & mask;
        (0..self.entries.len())
            .map(move |step| (start + step) & mask)
            .map(|at| (at, self.entries[at].load(Ordering::Acquire)))
            .take_while(|&(_, entry)| entry != EMPTY)
            .filter(move |&(_, entry)| entry != TOMBSTONE && (entry >> 32) as u32 == tag)
            .map(|(at, entry)| (at, NodeId(((entry & 0xffff_ffff) - ID_BIAS) as u32)))
    }

    /// Writer only. Returns whether a tombstone was taken.
    fn insert(&self, tag: u32, id: NodeId) -> bool {
        let mask = self.mask();
        let mut at = tag as usize & mask;
        loop {
            let found = self.entries[at].load(Ordering::Relaxed);
            if found == EMPTY || found == TOMBSTONE {
                self.entries[at].store(Table::entry(tag, id), Ordering::Release);
                return found == TOMBSTONE;
            }
            at = (at + 1) & mask;
        }
    }

    /// Writer only. Returns whether the node was here.
    fn remove(&self, tag: u32, id: NodeId) -> bool {
        let position = self.candidates(tag).find(|&(_, found)| found == id).map(|(at, _)| at);
        if let Some(at) = position {
            self.entries[at].store(TOMBSTONE, Ordering::Release);
        }
        position.is_some()
    }
}

/// The table in use and, while it is being filled, the one before it.
struct Tables {
    current: Arc<Table>,
    previous: Option<Arc<Table>>,
}

/// The readers' half.
pub struct Index<T> {
    arena: Arena<T>,
    tables: Slot<Tables>,
    hasher: FixedState,
}

impl<T: Keyed> Index<T> {
    fn tag(&self, key: &str) -> u32 {
        (self.hasher.hash_one(key.as_bytes()) >> 32) as u32
    }

    /// The node of that path.
    pub fn get<'g>(&'g self, key: &str, guard: &'g Guard) -> Option<(NodeId, &'g T)> {
        let tag = self.tag(key);
        let tables = self.tables.load(guard)?;
        let found = self.probe(&tables.current, tag, key, guard);
        found.or_else(|| self.probe(tables.previous.as_deref()?, tag, key, guard))
    }

    fn probe<'g>(&'g self, table: &Table, tag: u32, key: &str, guard: &'g Guard) -> Option<(NodeId, &'g T)> {
        table.candidates(tag).find_map(|(_, id)| {
            let node = self.arena.slot(id)?.load(guard)?;
            (node.key() == key).then_some((id, node))
        })
    }

    /// The node of that number; none if it is gone.
    pub fn node<'g>(&'g self, id: NodeId, guard: &'g Guard) -> Option<&'g T> {
        self.arena.slot(id)?.load(guard)
    }
}

/// The writer's half; there is one.
pub struct IndexWriter<T> {
    index: Arc<Index<T>>,
    current: Arc<Table>,
    previous: Option<Arc<Table>>,
    /// How far the previous table has been moved.
    moved: usize,
    /// Entries of the current table that are not empty.
    used: usize,
    len: usize,
    next: u32,
    free: Vec<NodeId>,
    /// Numbers that no reader can hold any more, sent back by reclamation.
    reclaimed: Arc<SegQueue<NodeId>>,
}

impl<T: Keyed> IndexWriter<T> {
    /// An empty index. `seed` keys the hash, so that no client can choose paths that collide.
    pub fn new(seed: u64) -> Self {
        let current = Table::with_capacity(SMALLEST_TABLE);
        let tables = Slot::new(Tables { current: Arc::clone(&current), previous: None });
        let index = Index { arena: Arena::new(), tables, hasher: FixedState::with_seed(seed) };
        IndexWriter {
            index: Arc::new(index),
            current,
            previous: None,
            moved: 0,
            used: 0,
            len: 0,
            next: 0,
            free: Vec::new(),
            reclaimed: Arc::new(SegQueue::new()),
        }
    }

    /// A reader's half.
    pub fn reader(&self) -> Arc<Index<T>> {
        Arc::clone(&self.index)
    }

    /// Lookups by the writer.
    pub fn index(&self) -> &Index<T> {
        &self.index
    }

    /// Nodes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a node whose path has none. Readers see it from now on.
    pub fn insert(&mut self, node: T, guard: &Guard) -> NodeId {
        let tag = self.index.tag(node.key());
        let id = self.allocate(guard);
        self.index.arena.slot_or_grow(id).replace(Some(node), guard);
        if !self.current.insert(tag, id) {
            self.used += 1;
        }
        self.len += 1;
        self.grow(guard);
        id
    }

    /// Takes a node out. Readers that hold its number can look at it until [`Self::retire`].
    pub fn remove(&mut self, id: NodeId, key: &str, guard: &Guard) {
        let tag = self.index.tag(key);
        let here = self.current.remove(tag, id);
        let before = self.previous.as_ref().is_some_and(|table| table.remove(tag, id));
        assert!(here || before, "removed a node that the index does not hold");
        self.len -= 1;
        self.grow(guard);
    }

    /// Frees a removed node's number once no reader can hold it: call it when nothing that readers
    /// can reach names it any more.
    pub fn retire(&self, id: NodeId, guard: &Guard) {
        let reclaimed = Arc::clone(&self.reclaimed);
        guard.defer(move || reclaimed.push(id));
    }

    fn allocate(&mut self, guard: &Guard) -> NodeId {
        while let Some(id) = self.reclaimed.pop() {
            self.index.arena.slot_or_grow(id).replace(None, guard);
            self.free.push(id);
        }
        self.free.pop().unwrap_or_else(|| {
            let id = NodeId(self.next);
            self.next = self.next.checked_add(1).expect("fewer than 2^32 nodes");
            id
        })
    }

    fn grow(&mut self, guard: &Guard) {
        if let Some(previous) = &self.previous {
            let end = (self.moved + STRIPE).min(previous.entries.len());
            for entry in &previous.entries[self.moved..end] {
                let entry = entry.load(Ordering::Relaxed);
                if entry == EMPTY || entry == TOMBSTONE {
                    continue;
                }
                let id = NodeId(((entry & 0xffff_ffff) - ID_BIAS) as u32);
                if !self.current.insert((entry >> 32) as u32, id) {
                    self.used += 1;
                }
            }
            self.moved = end;
            if end == previous.entries.len() {
                self.previous = None;
                self.publish_tables(guard);
            }
        } else if self.used * 8 > self.current.entries.len() * 5 {
            // While the old table is moved, each step may insert one node more: a table full of
            // tombstones holds few nodes, yet takes many steps.
            let steps = self.current.entries.len() / STRIPE;
            let capacity = (self.len.max(steps) * 4).next_power_of_two().max(SMALLEST_TABLE);
            let grown = Table::with_capacity(capacity);
            self.previous = Some(std::mem::replace(&mut self.current, grown));
            self.moved = 0;
            self.used = 0;
            self.publish_tables(guard);
        }
    }

    fn publish_tables(&self, guard: &Guard) {
        let tables = Tables { current: Arc::clone(&self.current), previous: self.previous.clone() };
        self.index.tables.replace(Some(tables), guard);
    }
}

#[cfg(all(test, loom))]
mod epoch_model;
#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;
