//! Values that stay where the checkpoint has them until they change: the node names the place, the tree
//! holds the checkpoint's bytes for as long as a node does.
//!
//! Who reads a node finds its bytes, for they go only when every guard has ended that was there when the last
//! node let go. One reader comes later: a walk that has the number of a node that was removed. It finds
//! either, and may pass over what is gone.

use super::index::{Guard, Slot};
use crate::snap::Held;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shorter values are copied into their nodes. A page is where leaving them begins to pay: a node's own
/// memory is less than the copy by most of a page then, and a read's second wait for the memory is short
/// beside what it takes to send as much.
pub const KEPT_BYTES_MIN: usize = if cfg!(any(miri, fuzzing)) { 2 } else { 4096 };

/// Where a value is in its checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// From the beginning of the checkpoint's bytes.
    pub offset: u64,
    /// Bytes of the value.
    pub len: u32,
}

impl Place {
    /// Bytes of a place in a node.
    pub(super) const BYTES: usize = 8 + 4;

    pub(super) fn to_bytes(self) -> [u8; Place::BYTES] {
        let mut bytes = [0; Place::BYTES];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Place {
        let (offset, len) = bytes.split_at(8);
        Place {
            offset: u64::from_le_bytes(offset.try_into().expect("eight bytes")),
            len: u32::from_le_bytes(len.try_into().expect("four bytes")),
        }
    }

    /// Of a value that is part of `all`, if it is to stay there.
    pub(super) fn of(value: &[u8], all: &[u8]) -> Option<Place> {
        if value.len() < KEPT_BYTES_MIN {
            return None;
        }
        let offset = all.element_offset(value.first()?)? as u64;
        Some(Place { offset, len: u32::try_from(value.len()).ok()? })
    }
}

/// A node's data, or where they are. Null and empty are different to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'g> {
    /// There are none.
    Null,
    /// In the node.
    Inline(&'g [u8]),
    /// In the checkpoint.
    Kept(Place),
}

impl Value<'_> {
    /// Bytes of it.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Value::Null => 0,
            Value::Inline(bytes) => bytes.len(),
            Value::Kept(place) => place.len as usize,
        }
    }

    /// Whether it has no bytes, as null has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub(super) fn is_kept(&self) -> bool {
        matches!(self, Value::Kept(_))
    }
}

impl<'g> From<Option<&'g [u8]>> for Value<'g> {
    #[inline]
    fn from(bytes: Option<&'g [u8]>) -> Self {
        bytes.map_or(Value::Null, Value::Inline)
    }
}

/// The checkpoint's bytes, for readers.
pub(super) struct Kept(Slot<Arc<dyn Held>>);

impl Kept {
    pub fn none() -> Self {
        Kept(Slot::empty())
    }

    /// To be called while nobody reads.
    pub fn begin(&self, held: Arc<dyn Held>, guard: &Guard) {
        self.0.replace(Some(held), guard);
    }

    /// A value; `None` if the bytes are gone.
    #[inline(never)]
    pub fn get<'g>(&'g self, place: Place, guard: &'g Guard) -> Option<&'g [u8]> {
        let offset = place.offset as usize;
        Some(&self.0.load(guard)?.bytes()[offset..offset + place.len as usize])
    }
}

/// How many nodes name a value that was kept; the writer's.
#[derive(Default)]
pub(super) struct Uses {
    left: u64,
    /// Whether the bytes are held.
    held: bool,
    /// No reader but a late walk can name a value any more, when it is true.
    unread: Option<Arc<AtomicBool>>,
}

impl Uses {
    /// By so many nodes of a tree that holds a checkpoint's bytes.
    pub fn of(left: u64) -> Self {
        Uses { left, held: true, unread: None }
    }

    pub fn count(&self) -> u64 {
        self.left
    }

    /// A node names none any more.
    pub fn leave(&mut self) {
        self.left -= 1;
    }

    /// To be called when readers cannot come to what left.
    #[inline]
    pub fn settle(&mut self, guard: &Guard) {
        if self.held && self.left == 0 && self.unread.is_none() {
            let unread = Arc::new(AtomicBool::new(false));
            self.unread = Some(Arc::clone(&unread));
            guard.defer(move || unread.store(true, Ordering::Release));
        }
    }

    /// Lets the bytes go once they can.
    pub fn reclaim(&mut self, kept: &Kept, guard: &Guard) {
        if self.unread.as_ref().is_some_and(|unread| unread.load(Ordering::Acquire)) {
            kept.0.replace(None, guard);
            *self = Uses::default();
        }
    }

    /// One while the bytes wait for readers to end.
    pub fn away(&self) -> usize {
        usize::from(self.unread.is_some())
    }
}
