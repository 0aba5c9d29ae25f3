//! What readers look at while the writer changes it: cells, numbered arenas of them, and the lock-free
//! index from a hash to a number. One writer, any number of readers.
//!
//! Parts, each with one job:
//! - [`Slot`] and [`Bytes`]: cells whose value readers borrow under a [`Guard`] while the writer replaces
//!   it, a Rust value the one, a run of bytes of any length in one allocation the other. The only unsafe
//!   code of this crate is here.
//! - [`Arena`]: numbers to cells. A number is four bytes where a pointer would be eight, it can be stored in
//!   a plain set of integers, and a stale one finds another value or none, never freed memory.
//! - [`Numbers`]: which numbers of an arena are free; one that was retired is used again only when no reader
//!   can hold it.
//! - [`Index`]: open addressing from hash to number, a word an entry. It grows and shrinks without a pause:
//!   entries move a stripe at a time while readers look in both tables.
//!
//! Why a reader never misses an entry that stays: an entry is never moved within a table, a removed one
//! becomes a tombstone (never empty) so that no probe sequence is cut, and while a table is being replaced
//! its entries stay where they were until the whole table goes.

#![allow(unsafe_code, reason = "one of the three addresses; see Slot, Bytes and Arena")]
#![cfg_attr(loom, allow(unused_unsafe, reason = "the model of reclamation is safe code"))]

#[cfg(not(all(test, loom)))]
use crossbeam::epoch;
use crossbeam::queue::SegQueue;
use epoch::{Atomic, Owned, Shared};
#[cfg(all(test, loom))]
use epoch_model as epoch;
#[cfg(all(test, loom))]
use loom::sync::atomic::AtomicU64;
#[cfg(not(all(test, loom)))]
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::hint::black_box;
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

/// What one [`Guard::collect`] frees at most, by the collector's own constants: eight bags of 64.
pub const COLLECTED_AT_ONCE: usize = 512;

impl Guard {
    /// Lets reclamation pass, for long walks. Nothing borrowed before may be used after, which the
    /// exclusive borrow enforces.
    pub fn repin(&mut self) {
        self.0.repin();
    }

    /// Hands what this thread replaced to the collector, and frees some of what no reader can hold any
    /// more, [`COLLECTED_AT_ONCE`] values at most.
    pub fn collect(&self) {
        self.0.flush();
    }

    /// Runs `f` once no reader that is reading now is still reading.
    pub(super) fn defer(&self, f: impl FnOnce() + Send + 'static) {
        self.0.defer(f);
    }
}

/// A cell of an [`Arena`].
pub trait Cell: Send + Sync + 'static {
    /// A cell with nothing in it.
    fn empty() -> Self;
    /// Takes the value out; readers that borrowed it keep it until their guards end.
    fn clear(&self, guard: &Guard);
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

impl<T: Send + Sync + 'static> Cell for Slot<T> {
    fn empty() -> Self {
        Slot::empty()
    }

    fn clear(&self, guard: &Guard) {
        self.replace(None, guard);
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

/// Bytes behind their length, in one allocation that a thin pointer names. (Crossbeam's own slices derive a
/// mutable borrow from a shared one, which Miri refuses.)
#[cfg(not(all(test, loom)))]
#[repr(transparent)]
pub struct Run([u8]);

#[cfg(not(all(test, loom)))]
impl Run {
    const HEAD: Layout = Layout::new::<usize>();

    fn layout(len: usize) -> Layout {
        let (layout, offset) =
            Self::HEAD.extend(Layout::array::<u8>(len).expect("fewer bytes than memory")).expect("the same");
        debug_assert_eq!(offset, Self::HEAD.size());
        layout.pad_to_align()
    }

    // SAFETY: the caller's law is that `pointer` came from `init` and was not given to `drop`.
    unsafe fn whole(pointer: usize) -> *mut [u8] {
        let head = pointer as *mut usize;
        // SAFETY: `init` made room for the length, wrote it, and made room for as many bytes behind it.
        unsafe { std::ptr::slice_from_raw_parts_mut(head.add(1).cast(), head.read()) }
    }
}

#[cfg(not(all(test, loom)))]
impl epoch::Pointable for Run {
    const ALIGN: usize = Self::HEAD.align();
    /// The parts that the bytes are to be.
    type Init = [*const [u8]; 4];

    // SAFETY: the caller's law is that the parts can be read; whoever gets the pointer owes it to `drop`.
    unsafe fn init(parts: Self::Init) -> usize {
        let len = parts.iter().map(|part| part.len()).sum();
        let layout = Self::layout(len);
        // SAFETY: the layout has the length, and as many bytes as the parts behind it; the pointer is
        // aligned for it. The parts can be read, and are none of the new memory.
        unsafe {
            let head = alloc(layout).cast::<usize>();
            if head.is_null() {
                handle_alloc_error(layout);
            }
            head.write(len);
            let mut end = head.add(1).cast::<u8>();
            for part in parts {
                end.copy_from_nonoverlapping(part.cast(), part.len());
                end = end.add(part.len());
            }
            head as usize
        }
    }

    // SAFETY: the caller's law is that of `whole`, and that nobody writes or drops for as long as `'a`.
    unsafe fn deref<'a>(pointer: usize) -> &'a Self {
        // SAFETY: by the caller's law; every byte is initialised since `init`.
        unsafe { &*(Self::whole(pointer) as *const Run) }
    }

    // SAFETY: the caller's law is that of `deref`, and that nobody else looks meanwhile.
    unsafe fn deref_mut<'a>(pointer: usize) -> &'a mut Self {
        // SAFETY: by the caller's law, as in `deref`.
        unsafe { &mut *(Self::whole(pointer) as *mut Run) }
    }

    // SAFETY: the caller's law is that of `whole`, and that nobody has a reference of `deref` any more.
    unsafe fn drop(pointer: usize) {
        // SAFETY: by the caller's law; the layout is the one of `init`.
        unsafe { dealloc(pointer as *mut u8, Self::layout((pointer as *const usize).read())) }
    }
}

/// A cell of bytes, length and bytes in one allocation. Readers borrow them while the writer puts
/// others in.
#[cfg(not(all(test, loom)))]
pub struct Bytes(Atomic<Run>);

#[cfg(not(all(test, loom)))]
impl Bytes {
    /// The current bytes, borrowed as [`Slot::load`] borrows.
    pub fn load<'g>(&'g self, guard: &'g Guard) -> Option<&'g [u8]> {
        // SAFETY: as in `Slot::load`, with `put` in the place of `replace`: the bytes are written
        // before `put` publishes the pointer, and none is after.
        unsafe { Some(&self.0.load(Ordering::Acquire, &guard.0).as_ref()?.0) }
    }

    /// Puts the bytes of `parts`, one after the other, in the place of what is there; readers that
    /// borrowed that keep it until their guards end.
    #[inline]
    pub fn put(&self, parts: [&[u8]; 4], guard: &Guard) {
        let new = Owned::<Run>::init(parts.map(std::ptr::from_ref));
        self.exchange(new.into_shared(&guard.0), guard);
    }

    fn exchange(&self, new: Shared<'_, Run>, guard: &Guard) {
        let old = self.0.swap(new, Ordering::AcqRel, &guard.0);
        if !old.is_null() {
            // SAFETY: as in `Slot::replace`.
            unsafe { guard.0.defer_destroy(old) };
        }
    }
}

#[cfg(not(all(test, loom)))]
impl Cell for Bytes {
    fn empty() -> Self {
        Bytes(Atomic::null())
    }

    fn clear(&self, guard: &Guard) {
        self.exchange(Shared::null(), guard);
    }
}

#[cfg(not(all(test, loom)))]
impl Drop for Bytes {
    fn drop(&mut self) {
        // SAFETY: as for `Slot`.
        unsafe {
            let pointer = std::mem::replace(&mut self.0, Atomic::null());
            if !pointer.load(Ordering::Relaxed, epoch::unprotected()).is_null() {
                drop(pointer.into_owned());
            }
        }
    }
}

/// The model checker knows values of one size only.
#[cfg(all(test, loom))]
pub struct Bytes(Slot<Box<[u8]>>);

#[cfg(all(test, loom))]
impl Bytes {
    pub fn load<'g>(&'g self, guard: &'g Guard) -> Option<&'g [u8]> {
        self.0.load(guard).map(|bytes| &bytes[..])
    }

    pub fn put(&self, parts: [&[u8]; 4], guard: &Guard) {
        self.0.replace(Some(parts.concat().into()), guard);
    }
}

#[cfg(all(test, loom))]
impl Cell for Bytes {
    fn empty() -> Self {
        Bytes(Slot::empty())
    }

    fn clear(&self, guard: &Guard) {
        self.0.clear(guard);
    }
}

/// A number in an arena; of the nodes' arena, unless its user says otherwise. Numbers of removed values
/// are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// Loom visits every order of a few steps, Miri interprets each, and a fuzzer's trees are small and many:
/// there everything is small.
const SMALL: bool = cfg!(any(loom, miri, fuzzing));
/// Slots of the arena's first segment; each next one is twice as large.
const FIRST_SEGMENT: usize = if SMALL { 4 } else { 1024 };
const SEGMENTS: usize = if SMALL { 31 } else { 23 };
/// Numbers that an arena can give out.
pub const NUMBERS_MAX: usize = FIRST_SEGMENT * ((1 << (SEGMENTS - 1)) - 1);
const _: () = assert!(NUMBERS_MAX <= u32::MAX as usize);

/// Numbers to cells. Memory is set aside a segment at a time, and costs nothing before it is used.
pub struct Arena<C> {
    segments: [OnceLock<Box<[C]>>; SEGMENTS],
}

impl<C: Cell> Arena<C> {
    /// An empty arena.
    pub fn new() -> Self {
        Arena { segments: std::array::from_fn(|_| OnceLock::new()) }
    }

    /// Segment and offset of a number: segment *s* starts at `FIRST_SEGMENT * (2^s - 1)`.
    #[inline]
    fn position(id: NodeId) -> (usize, usize) {
        let biased = id.0 as usize + FIRST_SEGMENT;
        let segment = (biased / FIRST_SEGMENT).ilog2() as usize;
        (segment, biased - (FIRST_SEGMENT << segment))
    }

    /// The cell of a number, if its segment was ever used.
    #[inline]
    pub fn cell(&self, id: NodeId) -> Option<&C> {
        let (segment, offset) = Self::position(id);
        self.segments.get(segment)?.get()?.get(offset)
    }

    /// The cell of a number that [`Numbers`] gave out.
    pub fn cell_or_grow(&self, id: NodeId) -> &C {
        let (segment, offset) = Self::position(id);
        &self.segments[segment].get_or_init(|| Self::segment(FIRST_SEGMENT << segment))[offset]
    }

    /// Cells that the kernel gives as pages when they are first touched.
    #[cfg(not(all(test, loom)))]
    fn segment(cells: usize) -> Box<[C]> {
        const { assert!(size_of::<C>() == size_of::<usize>()) };
        // SAFETY: a cell is one `Atomic`, which is one machine word; a null pointer is the zero
        // word, and that is an empty cell (`a_zeroed_cell_is_empty` holds both).
        unsafe { Box::new_zeroed_slice(cells).assume_init() }
    }

    #[cfg(all(test, loom))]
    fn segment(cells: usize) -> Box<[C]> {
        (0..cells).map(|_| C::empty()).collect()
    }
}

impl<C: Cell> Default for Arena<C> {
    fn default() -> Self {
        Arena::new()
    }
}

/// Which numbers of an arena are free; the writer's.
pub struct Numbers {
    next: u32,
    free: Vec<NodeId>,
    /// Numbers that no reader can hold any more, sent back by reclamation.
    reclaimed: Arc<SegQueue<NodeId>>,
    /// Numbers that were retired and are not back.
    away: usize,
}

impl Numbers {
    /// All from `first` on.
    pub fn from(first: u32) -> Self {
        Numbers { next: first, free: Vec::new(), reclaimed: Arc::default(), away: 0 }
    }

    /// A free number.
    pub fn take(&mut self) -> NodeId {
        self.free.pop().unwrap_or_else(|| {
            let id = NodeId(self.next);
            assert!((self.next as usize) < NUMBERS_MAX, "fewer nodes than numbers");
            self.next += 1;
            id
        })
    }

    /// Frees a number once no reader can hold it: call it when nothing that readers can reach names
    /// it any more.
    pub fn retire(&mut self, id: NodeId, guard: &Guard) {
        let reclaimed = Arc::clone(&self.reclaimed);
        self.away += 1;
        guard.defer(move || reclaimed.push(id));
    }

    /// Empties the cells of the numbers that came back, which are free from now on.
    pub fn reclaim<C: Cell>(&mut self, arena: &Arena<C>, guard: &Guard) {
        while let Some(id) = self.reclaimed.pop() {
            if let Some(cell) = arena.cell(id) {
                cell.clear(guard);
            }
            self.away -= 1;
            self.free.push(id);
        }
    }

    /// Numbers that were retired and are not back.
    pub fn away(&self) -> usize {
        self.away
    }
}

/// A table entry that was never used: a probe ends here.
const EMPTY: u64 = 0;
/// A table entry whose number was removed: a probe goes on.
const TOMBSTONE: u64 = 1;
/// Added to the number in an entry, so that no entry looks empty or removed.
const ID_BIAS: u64 = 2;
const SMALLEST_TABLE: usize = if SMALL { 4 } else { 1024 };
/// Old entries moved at each insertion or removal while a table is being replaced.
const STRIPE: usize = if SMALL { 2 } else { 64 };

/// An entry is half of the hash, the tag, and the number. The tag gives the position too, so that growing
/// needs no look at the values.
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

    #[inline]
    fn mask(&self) -> usize {
        self.entries.len() - 1
    }

    fn entry(tag: u32, id: NodeId) -> u64 {
        u64::from(tag) << 32 | (u64::from(id.0) + ID_BIAS)
    }

    /// Numbers with that tag, in probe order, each with its position.
    #[inline]
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

    /// Writer only. Returns whether the number was here.
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
pub struct Index {
    tables: Slot<Tables>,
}

impl Index {
    /// Looks at where each tag's entries begin, so that they are in the core's cache when they are asked
    /// for: loads that do not wait for each other take hardly longer than one.
    pub fn warm(&self, tags: &[u32], guard: &Guard) {
        let Some(tables) = self.tables.load(guard) else { return };
        let (entries, mask) = (&tables.current.entries, tables.current.mask());
        for tag in tags {
            black_box(entries[*tag as usize & mask].load(Ordering::Relaxed));
        }
    }

    /// The number that a tag most likely means: one that is not looked at.
    pub fn likely(&self, tag: u32, guard: &Guard) -> Option<NodeId> {
        self.tables.load(guard)?.current.candidates(tag).next().map(|(_, id)| id)
    }

    /// The first number with that tag that `is` gives something for.
    #[inline]
    pub fn find<R>(&self, tag: u32, guard: &Guard, mut is: impl FnMut(NodeId) -> Option<R>) -> Option<R> {
        let tables = self.tables.load(guard)?;
        let found = tables.current.candidates(tag).find_map(|(_, id)| is(id));
        found.or_else(|| tables.previous.as_deref()?.candidates(tag).find_map(|(_, id)| is(id)))
    }
}

/// The writer's half; there is one.
pub struct IndexWriter {
    index: Arc<Index>,
    current: Arc<Table>,
    previous: Option<Arc<Table>>,
    /// How far the previous table has been moved.
    moved: usize,
    /// Entries of the current table that are not empty.
    used: usize,
    len: usize,
}

impl IndexWriter {
    /// An empty index.
    pub fn new() -> Self {
        IndexWriter::with_capacity(0)
    }

    /// An empty index with room for `len` entries.
    pub fn with_capacity(len: usize) -> Self {
        let current = Table::with_capacity(Self::entries_for(len));
        let tables = Slot::new(Tables { current: Arc::clone(&current), previous: None });
        let index = Arc::new(Index { tables });
        IndexWriter { index, current, previous: None, moved: 0, used: 0, len: 0 }
    }

    /// Entries of a table that is three quarters full with `len`, or less.
    fn entries_for(len: usize) -> usize {
        (len * 4 / 3 + 1).next_power_of_two().max(SMALLEST_TABLE)
    }

    /// A reader's half.
    pub fn reader(&self) -> Arc<Index> {
        Arc::clone(&self.index)
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a number under a tag. Readers find it from now on, so what it names must be there.
    pub fn insert(&mut self, tag: u32, id: NodeId, guard: &Guard) {
        if !self.current.insert(tag, id) {
            self.used += 1;
        }
        self.len += 1;
        self.adapt(guard);
    }

    /// Takes an entry out.
    pub fn remove(&mut self, tag: u32, id: NodeId, guard: &Guard) {
        let here = self.current.remove(tag, id);
        let before = self.previous.as_ref().is_some_and(|table| table.remove(tag, id));
        assert!(here || before, "removed a number that the index does not hold");
        self.len -= 1;
        self.adapt(guard);
    }

    /// Moves a stripe of the previous table; starts a new one where the current one is too full, or far
    /// too large.
    fn adapt(&mut self, guard: &Guard) {
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
            return;
        }
        let entries = self.current.entries.len();
        let full = self.used * 4 > entries * 3;
        if full || (entries > SMALLEST_TABLE && self.len * 8 < entries) {
            // While the old table is moved, each step may insert one entry more: a table full of
            // tombstones holds few numbers, yet takes many steps.
            let capacity = Self::entries_for(self.len + entries / STRIPE + self.len / 8);
            let replacement = Table::with_capacity(capacity);
            self.previous = Some(std::mem::replace(&mut self.current, replacement));
            self.moved = 0;
            self.used = 0;
            self.publish_tables(guard);
        }
    }

    fn publish_tables(&self, guard: &Guard) {
        let tables = Tables { current: Arc::clone(&self.current), previous: self.previous.clone() };
        self.index.tables.replace(Some(tables), guard);
    }

    /// To be filled by several threads at once; see [`Filling`].
    pub fn filling(&self) -> Filling {
        assert!(self.previous.is_none() && self.used == 0, "an index that was used already");
        let entries = (self.current.entries.len() / PARTITIONS).max(1);
        Filling { table: Arc::clone(&self.current), entries }
    }

    /// After all threads are done with [`Self::filling`]: they inserted `len` entries.
    pub fn filled(&mut self, len: usize) {
        (self.used, self.len) = (len, len);
    }
}

impl Default for IndexWriter {
    fn default() -> Self {
        IndexWriter::new()
    }
}

/// A number to be inserted, and its tag.
pub type Entry = (u32, NodeId);

/// Parts of a table that threads fill, each one of its own: small enough for a core's cache, so that what
/// comes in any order costs no wait for the memory.
const PARTITIONS: usize = 64;
/// Of 4 KiB.
const ENTRIES_A_PAGE: usize = 512;

/// The table of a new index, which has room for all that is to come, while threads fill it together. Each
/// partition is one thread's.
pub struct Filling {
    table: Arc<Table>,
    /// Entries of a partition.
    entries: usize,
}

impl Filling {
    /// How many partitions there are.
    pub fn partitions(&self) -> usize {
        self.table.entries.len() / self.entries
    }

    /// Where a tag belongs.
    pub fn partition_of(&self, tag: u32) -> usize {
        (tag as usize & self.table.mask()) / self.entries
    }

    /// Adds entries of one partition, once what they name is there. Those that would go on into the next
    /// partition are left in `over`, for [`Self::insert_rest`].
    ///
    /// # Errors
    /// The first number of which `same` says that it means the same as one before it.
    pub fn insert(
        &self,
        partition: usize,
        entries: impl IntoIterator<Item = Entry>,
        same: impl Fn(NodeId, NodeId) -> bool,
        over: &mut Vec<Entry>,
    ) -> Result<(), NodeId> {
        let end = (partition + 1) * self.entries;
        // A page that is read before it is written is mapped twice, and all threads are told of the second.
        for first in self.table.entries[partition * self.entries..end].iter().step_by(ENTRIES_A_PAGE) {
            let _ = first.compare_exchange(EMPTY, EMPTY, Ordering::Relaxed, Ordering::Relaxed);
        }
        for (tag, id) in entries {
            assert_eq!(self.partition_of(tag), partition, "another partition's");
            let places = (tag as usize & self.table.mask())..end;
            if !self.insert_in(places, (tag, id), &same)? {
                over.push((tag, id));
            }
        }
        Ok(())
    }

    /// Adds what all partitions left over, when no thread fills one any more.
    ///
    /// # Errors
    /// As [`Self::insert`].
    ///
    /// # Panics
    /// When more were added than there is room for.
    pub fn insert_rest(&self, rest: Vec<Entry>, same: impl Fn(NodeId, NodeId) -> bool) -> Result<(), NodeId> {
        for (tag, id) in rest {
            let (start, len) = (tag as usize & self.table.mask(), self.table.entries.len());
            let places = (start..len).chain(0..start);
            assert!(self.insert_in(places, (tag, id), &same)?, "more entries than there is room for");
        }
        Ok(())
    }

    /// Whether one of the places was free.
    fn insert_in(
        &self,
        places: impl IntoIterator<Item = usize>,
        (tag, id): Entry,
        same: impl Fn(NodeId, NodeId) -> bool,
    ) -> Result<bool, NodeId> {
        for place in places {
            let found = self.table.entries[place].load(Ordering::Relaxed);
            if found == EMPTY {
                self.table.entries[place].store(Table::entry(tag, id), Ordering::Release);
                return Ok(true);
            }
            let other = NodeId(((found & 0xffff_ffff) - ID_BIAS) as u32);
            if (found >> 32) as u32 == tag && same(other, id) {
                return Err(id);
            }
        }
        Ok(false)
    }
}

#[cfg(all(test, loom))]
mod epoch_model;
#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(test)]
mod map;
#[cfg(all(test, not(loom)))]
mod tests;
