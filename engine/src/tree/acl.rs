//! Access control lists: interned once, shared by every node that has the same one.

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

/// Lists in use, by their jute bytes.
pub struct AclTable {
    lists: HashMap<Box<[u8]>, AclRef, FixedState>,
    /// Size at which lists that no node uses any more are dropped.
    purge_at: usize,
}

const PURGE_FIRST: usize = 1024;

impl AclTable {
    /// An empty table; `seed` keys its hash.
    pub fn new(seed: u64) -> Self {
        AclTable { lists: HashMap::with_hasher(FixedState::with_seed(seed)), purge_at: PURGE_FIRST }
    }

    /// The shared list of those bytes.
    ///
    /// # Errors
    /// When the bytes are not an ACL vector.
    pub fn intern(&mut self, raw: RawAcl<'_>) -> jute::Result<AclRef> {
        if let Some(list) = self.lists.get(raw.0) {
            return Ok(Arc::clone(list));
        }
        if self.lists.len() >= self.purge_at {
            self.lists.retain(|_, list| Arc::strong_count(list) > 1);
            self.purge_at = (self.lists.len() * 2).max(PURGE_FIRST);
        }
        let list = Arc::new(raw.decode()?);
        self.lists.insert(raw.0.into(), Arc::clone(&list));
        Ok(list)
    }

    /// How many lists there are.
    pub fn len(&self) -> usize {
        self.lists.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
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
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(first.world, crate::op::perms::ALL);
    }

    #[test]
    fn lists_that_no_node_uses_are_dropped() {
        let mut table = AclTable::new(1);
        for n in 0..PURGE_FIRST * 3 {
            let entry = AclEntry { perms: 1, scheme: "ip".into(), id: n.to_string().into() };
            table.intern(RawAcl(&AclList::new(vec![entry]).bytes)).unwrap();
        }
        assert!(table.len() <= PURGE_FIRST);
    }
}
