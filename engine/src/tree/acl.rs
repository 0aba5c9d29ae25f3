//! Access control lists: interned once, named by their number in every node that has the same one.

use super::index::{Arena, Guard, NodeId, Numbers, Slot, pin};
use crate::jute::{self, Read, Reader, Write, records};
use foldhash::fast::FixedState;
use std::collections::HashMap;
use std::sync::Arc;

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclEntry {
    /// Bits of [`crate::op::perms`].
    pub perms: i32,
    /// Authentication scheme.
    pub scheme: Box<str>,
    /// Who, in the scheme's terms.
    pub id: Box<str>,
}

/// A list, with its jute bytes (a vector of ACL records) made once.
#[derive(Debug, PartialEq, Eq)]
pub struct AclList {
    /// In the order that the client gave.
    pub entries: Vec<AclEntry>,
    /// As jute.
    pub bytes: Box<[u8]>,
    /// What `world:anyone` may do: the answer for most nodes, without a look at the entries.
    pub world: i32,
}

/// A shared list.
pub type AclRef = Arc<AclList>;

impl AclList {
    /// From entries that were checked before.
    pub fn new(entries: Vec<AclEntry>) -> Self {
        let mut bytes = Vec::new();
        (entries.len() as i32).write(&mut bytes);
        for entry in &entries {
            entry.perms.write(&mut bytes);
            entry.scheme.as_ref().write(&mut bytes);
            entry.id.as_ref().write(&mut bytes);
        }
        let anyone = |entry: &&AclEntry| &*entry.scheme == "world" && &*entry.id == "anyone";
        let world = entries.iter().filter(anyone).fold(0, |perms, entry| perms | entry.perms);
        AclList { entries, bytes: bytes.into(), world }
    }

    fn single(perms: i32) -> Self {
        AclList::new(vec![AclEntry { perms, scheme: "world".into(), id: "anyone".into() }])
    }

    /// `OPEN_ACL_UNSAFE`: everyone may do everything.
    pub fn open() -> Self {
        AclList::single(crate::op::perms::ALL)
    }

    /// `READ_ACL_UNSAFE`: everyone may read.
    pub fn read_only() -> Self {
        AclList::single(crate::op::perms::READ)
    }
}

/// The bytes of an ACL vector inside a transaction, checked but not taken apart: most are known
/// to the table already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawAcl<'a>(pub &'a [u8]);

impl<'a> Read<'a> for RawAcl<'a> {
    fn read(r: &mut Reader<'a>) -> jute::Result<Self> {
        let whole = r.rest();
        let start = r.position();
        let count: i32 = r.read()?;
        for _ in 0..count.max(0) {
            let _perms: i32 = r.read()?;
            let _scheme: Option<&[u8]> = r.read()?;
            let _id: Option<&[u8]> = r.read()?;
        }
        Ok(RawAcl(&whole[..r.position() - start]))
    }
}

impl Write for RawAcl<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0);
    }
}

impl RawAcl<'_> {
    fn decode(self) -> jute::Result<AclList> {
        let entries: Vec<records::Acl<'_>> = jute::from_bytes(self.0)?;
        let text = |field: Option<std::borrow::Cow<'_, str>>| field.unwrap_or_default().into_owned().into();
        let entry = |acl: records::Acl<'_>| AclEntry {
            perms: acl.perms,
            scheme: text(acl.id.scheme),
            id: text(acl.id.id),
        };
        Ok(AclList::new(entries.into_iter().map(entry).collect()))
    }
}

/// A list's number in its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclId(pub u32);

/// Lists by their numbers, for readers.
pub type AclArena = Arena<Slot<AclRef>>;

/// Lists in use, by their jute bytes; the writer's.
pub struct AclTable {
    ids: HashMap<Arc<[u8]>, AclId, FixedState>,
    /// The one that was asked for last: most nodes have the same.
    last: Option<(Arc<[u8]>, AclId)>,
    /// By number: the nodes that have the list.
    uses: Vec<u32>,
    arena: Arc<AclArena>,
    numbers: Numbers,
    /// Size at which lists that no node has any more are dropped.
    purge_at: usize,
}

const PURGE_FIRST: usize = 1024;

impl AclTable {
    /// An empty table; `seed` keys its hash.
    pub fn new(seed: u64) -> Self {
        AclTable {
            ids: HashMap::with_hasher(FixedState::with_seed(seed)),
            last: None,
            uses: Vec::new(),
            arena: Arc::default(),
            numbers: Numbers::from(0),
            purge_at: PURGE_FIRST,
        }
    }

    /// The readers' half.
    pub fn arena(&self) -> Arc<AclArena> {
        Arc::clone(&self.arena)
    }

    /// The number of the list of those bytes. Until a node has it, the next call may forget it.
    ///
    /// # Errors
    /// When the bytes are not an ACL vector.
    pub fn intern(&mut self, raw: RawAcl<'_>) -> jute::Result<AclId> {
        if let Some((bytes, id)) = &self.last
            && **bytes == *raw.0
        {
            return Ok(*id);
        }
        if let Some((bytes, id)) = self.ids.get_key_value(raw.0) {
            self.last = Some((Arc::clone(bytes), *id));
            return Ok(*id);
        }
        let list = raw.decode()?;
        let guard = pin();
        if self.ids.len() >= self.purge_at {
            self.purge(&guard);
        }
        let number = self.numbers.take();
        self.arena.cell_or_grow(number).replace(Some(Arc::new(list)), &guard);
        let id = AclId(number.0);
        if self.uses.len() <= id.0 as usize {
            self.uses.resize(id.0 as usize + 1, 0);
        }
        self.ids.insert(raw.0.into(), id);
        Ok(id)
    }

    /// The number of a list.
    pub fn intern_list(&mut self, list: &AclList) -> AclId {
        self.intern(RawAcl(&list.bytes)).expect("a list's own bytes are a list")
    }

    /// So many more nodes have the list, or somebody who is about to give it to some.
    pub fn hold(&mut self, id: AclId, nodes: u32) {
        self.uses[id.0 as usize] += nodes;
    }

    /// One of those has it no more.
    pub fn release(&mut self, id: AclId) {
        self.uses[id.0 as usize] -= 1;
    }

    /// Drops the lists that no node has. A reader may hold a version of a node that had one, so the
    /// number comes back late.
    fn purge(&mut self, guard: &Guard) {
        let (uses, numbers) = (&self.uses, &mut self.numbers);
        self.last = None;
        self.ids.retain(|_, id| {
            let used = uses[id.0 as usize] > 0;
            if !used {
                numbers.retire(NodeId(id.0), guard);
            }
            used
        });
        self.purge_at = (self.ids.len() * 2).max(PURGE_FIRST);
    }

    /// Empties what came back from reclamation.
    pub(super) fn reclaim(&mut self, guard: &Guard) {
        self.numbers.reclaim(&self.arena, guard);
    }

    /// Numbers that wait for reclamation.
    pub(super) fn away(&self) -> usize {
        self.numbers.away()
    }

    /// How many lists there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lists_are_one() {
        let mut table = AclTable::new(1);
        let open = AclList::open();
        let first = table.intern(RawAcl(&open.bytes)).unwrap();
        let second = table.intern(RawAcl(&open.bytes)).unwrap();
        assert_eq!(first, second);
        let guard = pin();
        let list = table.arena.cell(NodeId(first.0)).unwrap().load(&guard).unwrap();
        assert_eq!(list.world, crate::op::perms::ALL);
    }

    #[test]
    fn lists_that_no_node_has_are_dropped_and_others_stay() {
        let mut table = AclTable::new(1);
        let list = |n: usize| {
            AclList::new(vec![AclEntry { perms: 1, scheme: "ip".into(), id: n.to_string().into() }])
        };
        let kept: Vec<(usize, AclId)> = (0..100).map(|n| (n, table.intern_list(&list(n)))).collect();
        kept.iter().for_each(|(_, id)| table.hold(*id, 1));
        for n in 100..PURGE_FIRST * 3 {
            table.intern_list(&list(n));
            table.reclaim(&pin());
        }
        assert!(table.len() <= PURGE_FIRST);
        for (n, id) in kept {
            assert_eq!(table.intern_list(&list(n)), id);
            let guard = pin();
            assert_eq!(**table.arena.cell(NodeId(id.0)).unwrap().load(&guard).unwrap(), list(n));
        }
    }
}
