//! A znode as it is kept: one run of bytes with its name, its Stat, its access control list's number and
//! its data. Whatever changes replaces the whole run, so a reader that holds one sees one version.
//!
//! ```text
//! flags 1 · name's length 1 · list's number 1 · parent 4 · czxid 8 · ctime 8
//! [name's length 4] name [list's number 4] [mzxid 8 mtime 8 version 4] [aversion 4] [stamp 8] [kind 1 owner 8]
//! [children's number 4] data | [offset 8 · length 4]
//! ```
//!
//! What is in brackets is there when a flag says so: the common node (never changed, no child ever) has
//! 23 bytes besides name and data. The path is not in it: the node above holds the rest. Where no data are, by
//! the flag, and yet something is left, that says where in its checkpoint the value is (`kept`).
//!
//! Children change too often to be part of this. A node that had one names a [`Children`] by number.

use super::acl::AclId;
use super::children::ChildSet;
use super::index::{Bytes, Guard, NodeId, Slot};
use super::kept::{Place, Value};
use crate::id::{SessionId, Zxid};
use crate::jute::records::Stat;
use std::sync::atomic::{AtomicU64, Ordering};

/// What `ephemeralOwner` means (`EphemeralType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// Lives until it is deleted.
    Persistent,
    /// Goes with its session.
    Ephemeral(SessionId),
    /// Removed by the server once its last child is.
    Container,
    /// Removed by the server once it has had no children and no change for `ttl_ms`.
    Ttl {
        /// Time to live, in milliseconds.
        ttl_ms: i64,
    },
}

const CONTAINER_OWNER: i64 = i64::MIN;
const EXTENDED_MASK: i64 = 0xff << 56;
const EXTENDED_FEATURE_MASK: i64 = 0xffff << 40;
/// The longest time to live: 40 bits of milliseconds.
pub const TTL_MS_MAX: i64 = !(EXTENDED_MASK | EXTENDED_FEATURE_MASK);

impl NodeKind {
    /// Reads `ephemeralOwner`. TTL nodes exist only with `extendedTypesEnabled`: without it the
    /// same number is a session's.
    pub fn from_owner(owner: i64, extended_types: bool) -> NodeKind {
        if extended_types && owner & EXTENDED_MASK == EXTENDED_MASK && owner & EXTENDED_FEATURE_MASK == 0 {
            return NodeKind::Ttl { ttl_ms: owner & TTL_MS_MAX };
        }
        match owner {
            0 => NodeKind::Persistent,
            CONTAINER_OWNER => NodeKind::Container,
            session => NodeKind::Ephemeral(SessionId(session)),
        }
    }

    /// `ephemeralOwner` as the node keeps it.
    pub fn to_owner(self) -> i64 {
        match self {
            NodeKind::Persistent => 0,
            NodeKind::Ephemeral(session) => session.0,
            NodeKind::Container => CONTAINER_OWNER,
            NodeKind::Ttl { ttl_ms } => EXTENDED_MASK | ttl_ms,
        }
    }

    /// `ephemeralOwner` as a client sees it: zero for all but ephemeral nodes.
    fn client_owner(self) -> i64 {
        match self {
            NodeKind::Ephemeral(session) => session.0,
            _ => 0,
        }
    }
}

/// A [`Children`]'s number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildrenId(pub u32);

/// The children and what counts them.
#[derive(Clone, Debug, Default)]
pub struct ChildrenVersion {
    /// Creations alone, as ZooKeeper stores it; clients see `2 * cversion - children`. ZooKeeper counts
    /// in signed 32 bits and its counter stays where they end; the same bits without a sign go on as
    /// far again, and stay at `u32::MAX`.
    pub cversion: u32,
    /// The last creation or deletion of a child.
    pub pzxid: Zxid,
    /// Who they are.
    pub set: ChildSet,
}

/// The children of a node that had one, or is about to.
pub struct Children {
    /// The newest transaction that touched the children. It is raised before anything that the
    /// transaction does can be seen, so a reader that sees any of it sees this too.
    stamp: AtomicU64,
    version: Slot<ChildrenVersion>,
}

impl Children {
    /// Those of a node that never had one, touched by `stamp`.
    pub fn new(stamp: Zxid, version: Option<ChildrenVersion>) -> Self {
        Children { stamp: AtomicU64::new(stamp.0), version: version.map_or_else(Slot::empty, Slot::new) }
    }

    /// Load it after what it guards.
    pub fn stamp(&self) -> Zxid {
        Zxid(self.stamp.load(Ordering::Acquire))
    }

    pub(super) fn raise_stamp(&self, zxid: Zxid) {
        self.stamp.store(zxid.0, Ordering::Release);
    }

    /// The current version; `None` if there never was a child.
    pub fn version<'g>(&'g self, guard: &'g Guard) -> Option<&'g ChildrenVersion> {
        self.version.load(guard)
    }

    pub(super) fn replace(&self, version: ChildrenVersion, guard: &Guard) {
        self.version.replace(Some(version), guard);
    }
}

const CHANGED: u8 = 1;
const ACL_CHANGED: u8 = 1 << 1;
const STAMPED: u8 = 1 << 2;
const OWNED: u8 = 1 << 3;
const HAS_CHILDREN: u8 = 1 << 4;
const HAS_DATA: u8 = 1 << 5;
const LONG_NAME: u8 = 1 << 6;
const LARGE_ACL: u8 = 1 << 7;

const NAME_LENGTH_AT: usize = 1;
const ACL_AT: usize = NAME_LENGTH_AT + 1;
const PARENT_AT: usize = ACL_AT + 1;
const CZXID_AT: usize = PARENT_AT + 4;
const CTIME_AT: usize = CZXID_AT + 8;
const HEAD_BYTES: usize = CTIME_AT + 8;
const _: () = assert!(HEAD_BYTES == 23);
/// The parent of the root.
const NO_PARENT: u32 = u32::MAX;

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

#[inline]
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

const KIND_EPHEMERAL: u8 = 1;
const KIND_CONTAINER: u8 = 2;
const KIND_TTL: u8 = 3;

fn get_kind(bytes: &[u8]) -> NodeKind {
    let value = u64_at(bytes, 1) as i64;
    match bytes[0] {
        KIND_CONTAINER => NodeKind::Container,
        KIND_TTL => NodeKind::Ttl { ttl_ms: value },
        _ => NodeKind::Ephemeral(SessionId(value)),
    }
}

/// The few bytes of a node that its flags tell of.
struct Options {
    bytes: [u8; OPTIONS_BYTES_MAX],
    len: usize,
}

/// mzxid, mtime and version.
const CHANGED_BYTES: usize = 8 + 8 + 4;
const OPTIONS_BYTES_MAX: usize = 4 + CHANGED_BYTES + 4 + 8 + 9 + 4;

impl Options {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

/// A znode to be kept: its place, its birth, and the rest.
#[derive(Clone, Copy, Debug)]
pub struct NewNodeVersion<'a> {
    /// The node above; none for the root.
    pub parent: Option<NodeId>,
    /// Its name there.
    pub name: &'a [u8],
    /// The transaction that created it.
    pub czxid: Zxid,
    /// Its time.
    pub ctime: i64,
    /// All that can change.
    pub data: DataVersion<'a>,
}

impl<'a> NewNodeVersion<'a> {
    /// Another version of a node.
    pub(super) fn of(node: Node<'a>, data: DataVersion<'a>) -> Self {
        let (parent, name) = (node.parent(), node.name());
        NewNodeVersion { parent, name, czxid: node.czxid(), ctime: node.ctime(), data }
    }

    /// Puts it into a cell, in the place of the version before.
    pub(super) fn put(&self, cell: &Bytes, guard: &Guard) {
        let (data, mut options, mut flags) =
            (&self.data, Options { bytes: [0; OPTIONS_BYTES_MAX], len: 0 }, 0);
        let mut option = |flag: u8, set: bool, bytes: &[u8]| {
            if set {
                flags |= flag;
                options.put(bytes);
            }
        };
        let short_acl = u8::try_from(data.acl.0);
        option(LARGE_ACL, short_acl.is_err(), &data.acl.0.to_le_bytes());
        let changed = data.mzxid != self.czxid || data.mtime != self.ctime || data.version != 0;
        option(CHANGED, changed, &data.mzxid.0.to_le_bytes());
        option(CHANGED, changed, &data.mtime.to_le_bytes());
        option(CHANGED, changed, &data.version.to_le_bytes());
        option(ACL_CHANGED, data.aversion != 0, &data.aversion.to_le_bytes());
        option(STAMPED, data.stamp != data.mzxid, &data.stamp.0.to_le_bytes());
        let (kind, owner) = match data.kind {
            NodeKind::Persistent => (0, 0),
            NodeKind::Ephemeral(session) => (KIND_EPHEMERAL, session.0),
            NodeKind::Container => (KIND_CONTAINER, 0),
            NodeKind::Ttl { ttl_ms } => (KIND_TTL, ttl_ms),
        };
        option(OWNED, kind != 0, &[kind]);
        option(OWNED, kind != 0, &owner.to_le_bytes());
        let children = data.children.map_or(0, |children| children.0);
        option(HAS_CHILDREN, data.children.is_some(), &children.to_le_bytes());
        option(HAS_DATA, matches!(data.data, Value::Inline(_)), &[]);
        let short_name = u8::try_from(self.name.len());
        option(LONG_NAME, short_name.is_err(), &[]);

        let mut head = [0; HEAD_BYTES + 4];
        head[0] = flags;
        head[NAME_LENGTH_AT] = short_name.unwrap_or(0);
        head[ACL_AT] = short_acl.unwrap_or(0);
        let parent = self.parent.map_or(NO_PARENT, |parent| parent.0);
        head[PARENT_AT..CZXID_AT].copy_from_slice(&parent.to_le_bytes());
        head[CZXID_AT..CTIME_AT].copy_from_slice(&self.czxid.0.to_le_bytes());
        head[CTIME_AT..HEAD_BYTES].copy_from_slice(&self.ctime.to_le_bytes());
        head[HEAD_BYTES..].copy_from_slice(&(self.name.len() as u32).to_le_bytes());
        let head = if short_name.is_ok() { &head[..HEAD_BYTES] } else { &head[..] };
        let place;
        let value = match data.data {
            Value::Null => &[],
            Value::Inline(bytes) => bytes,
            Value::Kept(kept) => {
                place = kept.to_bytes();
                &place[..]
            }
        };
        cell.put([head, self.name, &options.bytes[..options.len], value], guard);
    }
}

/// A znode, one version of it. It is what the tree wrote, so its layout is taken as right.
#[derive(Clone, Copy)]
pub struct Node<'g>(&'g [u8]);

/// What changes in a node: data, list and their versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataVersion<'g> {
    /// The transaction that made this version, setACL included; what a read compares with the
    /// events that it has delivered.
    pub stamp: Zxid,
    /// The transaction of the last setData.
    pub mzxid: Zxid,
    /// Its time.
    pub mtime: i64,
    /// Counts setData.
    pub version: i32,
    /// Counts setACL.
    pub aversion: i32,
    /// Who may do what.
    pub acl: AclId,
    /// Persistent, ephemeral, container or TTL.
    pub kind: NodeKind,
    /// Its children, if it ever had one.
    pub children: Option<ChildrenId>,
    /// Its data, or where they are: who has the tree asks it for them.
    pub data: Value<'g>,
}

/// What setData makes of a node.
#[derive(Clone, Copy, Debug)]
pub struct DataSet<'a> {
    /// Its transaction.
    pub mzxid: Zxid,
    /// Its time.
    pub mtime: i64,
    /// The new version.
    pub version: i32,
    /// The new data.
    pub data: Option<&'a [u8]>,
}

impl DataVersion<'_> {
    /// Bytes of the data.
    pub fn data_length(&self) -> usize {
        self.data.len()
    }
}

impl<'g> Node<'g> {
    /// The node in a cell.
    #[inline]
    pub(super) fn load(cell: &'g Bytes, guard: &'g Guard) -> Option<Node<'g>> {
        cell.load(guard).map(Node)
    }

    /// The node above; none for the root.
    #[inline]
    pub fn parent(self) -> Option<NodeId> {
        let parent = u32_at(self.0, PARENT_AT);
        (parent != NO_PARENT).then_some(NodeId(parent))
    }

    /// The transaction that created it.
    #[inline]
    pub fn czxid(self) -> Zxid {
        Zxid(u64_at(self.0, CZXID_AT))
    }

    /// Its time.
    #[inline]
    pub fn ctime(self) -> i64 {
        u64_at(self.0, CTIME_AT) as i64
    }

    #[inline]
    fn name_range(self) -> std::ops::Range<usize> {
        match self.0[0] & LONG_NAME {
            0 => HEAD_BYTES..HEAD_BYTES + usize::from(self.0[NAME_LENGTH_AT]),
            _ => HEAD_BYTES + 4..HEAD_BYTES + 4 + u32_at(self.0, HEAD_BYTES) as usize,
        }
    }

    /// Its name under its parent, UTF-8; empty for the root.
    #[inline]
    pub fn name(self) -> &'g [u8] {
        &self.0[self.name_range()]
    }

    /// Data, list and their versions.
    #[inline]
    pub fn data(self) -> DataVersion<'g> {
        let flags = self.0[0];
        let mut rest = &self.0[self.name_range().end..];
        let mut take = |bytes: usize| {
            let (taken, behind) = rest.split_at(bytes);
            rest = behind;
            taken
        };
        let acl = match flags & LARGE_ACL {
            0 => u32::from(self.0[ACL_AT]),
            _ => u32_at(take(4), 0),
        };
        let (mut mzxid, mut mtime, mut version) = (self.czxid(), self.ctime(), 0);
        if flags & CHANGED != 0 {
            let changed = take(CHANGED_BYTES);
            mzxid = Zxid(u64_at(changed, 0));
            mtime = u64_at(changed, 8) as i64;
            version = u32_at(changed, 16) as i32;
        }
        let aversion = if flags & ACL_CHANGED != 0 { u32_at(take(4), 0) as i32 } else { 0 };
        let stamp = if flags & STAMPED != 0 { Zxid(u64_at(take(8), 0)) } else { mzxid };
        let kind = if flags & OWNED != 0 { get_kind(take(9)) } else { NodeKind::Persistent };
        let children = (flags & HAS_CHILDREN != 0).then(|| ChildrenId(u32_at(take(4), 0)));
        let data = match flags & HAS_DATA {
            0 if rest.is_empty() => Value::Null,
            0 => Value::Kept(Place::from_bytes(rest)),
            _ => Value::Inline(rest),
        };
        let acl = AclId(acl);
        DataVersion { stamp, mzxid, mtime, version, aversion, acl, kind, children, data }
    }

    /// Whether its data are in the checkpoint.
    #[inline]
    pub(super) fn is_kept(self) -> bool {
        self.0[0] & HAS_DATA == 0 && self.data().data.is_kept()
    }

    /// Puts the version that setData makes of this one into a cell: the rest goes over in its bytes.
    pub(super) fn put_with(self, set: &DataSet<'_>, cell: &Bytes, guard: &Guard) {
        let mut flags = self.0[0];
        let acl_bytes = if flags & LARGE_ACL == 0 { 0 } else { 4 };
        let (head, rest) = self.0.split_at(self.name_range().end + acl_bytes);
        let mut options = Options { bytes: [0; OPTIONS_BYTES_MAX], len: 0 };
        options.put(&set.mzxid.0.to_le_bytes());
        options.put(&set.mtime.to_le_bytes());
        options.put(&set.version.to_le_bytes());
        let mut at = if flags & CHANGED == 0 { 0 } else { CHANGED_BYTES };
        for (flag, bytes, is_kept) in
            [(ACL_CHANGED, 4, true), (STAMPED, 8, false), (OWNED, 9, true), (HAS_CHILDREN, 4, true)]
        {
            if flags & flag != 0 {
                if is_kept {
                    options.put(&rest[at..at + bytes]);
                }
                at += bytes;
            }
        }
        flags = flags & !(STAMPED | HAS_DATA) | CHANGED;
        if set.data.is_some() {
            flags |= HAS_DATA;
        }
        let data = set.data.unwrap_or_default();
        cell.put([&[flags], &head[1..], &options.bytes[..options.len], data], guard);
    }

    /// Stat as clients see it, from one data version and one children version.
    pub fn stat(self, data: &DataVersion<'_>, children: Option<&ChildrenVersion>) -> Stat {
        let count = children.map_or(0, |children| children.set.len() as i32);
        Stat {
            czxid: self.czxid().to_jute(),
            mzxid: data.mzxid.to_jute(),
            ctime: self.ctime(),
            mtime: data.mtime,
            version: data.version,
            cversion: children.map_or(0, |c| c.cversion.cast_signed()).wrapping_mul(2).wrapping_sub(count),
            aversion: data.aversion,
            ephemeral_owner: data.kind.client_owner(),
            data_length: data.data_length() as i32,
            num_children: count,
            pzxid: children.map_or(self.czxid(), |children| children.pzxid).to_jute(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::index::{Cell, pin};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn owners_are_read_as_zookeeper_reads_them() {
        let ttl = NodeKind::Ttl { ttl_ms: 5000 };
        assert_eq!(ttl.to_owner(), 0xff00_0000_0000_1388_u64 as i64);
        assert_eq!(NodeKind::from_owner(ttl.to_owner(), true), ttl);
        assert!(matches!(NodeKind::from_owner(ttl.to_owner(), false), NodeKind::Ephemeral(_)));
        assert_eq!(NodeKind::from_owner(i64::MIN, true), NodeKind::Container);
        assert_eq!(NodeKind::from_owner(0, true), NodeKind::Persistent);
        let session = NodeKind::Ephemeral(SessionId(0x0100_0000_0000_0007));
        assert_eq!(NodeKind::from_owner(session.to_owner(), true), session);
    }

    /// Numbers that are often equal, often small, and sometimes anything.
    fn number() -> impl Strategy<Value = i64> {
        prop_oneof![Just(0i64), Just(7), 0i64..300, any::<i64>()]
    }

    fn kind() -> impl Strategy<Value = NodeKind> {
        prop_oneof![
            Just(NodeKind::Persistent),
            Just(NodeKind::Container),
            number().prop_map(|id| NodeKind::Ephemeral(SessionId(id))),
            number().prop_map(|ttl_ms| NodeKind::Ttl { ttl_ms }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_put_is_what_is_read(
            (parent, name, czxid, ctime) in (any::<Option<u16>>(), 0usize..600, number(), number()),
            (stamp, mzxid, mtime, acl) in (number(), number(), number(), number()),
            (version, aversion, kind) in (number(), number(), kind()),
            (children, bytes, place) in (any::<Option<u32>>(), any::<Option<Vec<u8>>>(), any::<Option<(u64, u32)>>()),
        ) {
            let name = "n".repeat(name);
            let data = DataVersion {
                stamp: Zxid::from_jute(stamp),
                mzxid: Zxid::from_jute(mzxid),
                mtime,
                version: version as i32,
                aversion: aversion as i32,
                acl: AclId(acl as u32),
                kind,
                children: children.map(ChildrenId),
                data: match place {
                    Some((offset, len)) => Value::Kept(Place { offset, len }),
                    None => bytes.as_deref().into(),
                },
            };
            let parent = parent.map(|parent| NodeId(parent.into()));
            let new = NewNodeVersion { parent, name: name.as_bytes(), czxid: Zxid::from_jute(czxid), ctime, data };
            let (cell, guard) = (Bytes::empty(), pin());
            new.put(&cell, &guard);
            let node = Node::load(&cell, &guard).unwrap();
            prop_assert_eq!((node.parent(), node.name()), (parent, name.as_bytes()));
            prop_assert_eq!((node.czxid(), node.ctime()), (new.czxid, ctime));
            prop_assert_eq!(node.data(), data);
            let half = bytes.as_deref().map(|bytes| &bytes[bytes.len() / 2..]);
            let set = DataSet { mzxid: new.czxid, mtime: ctime, version: 7, data: half };
            let next = Bytes::empty();
            node.put_with(&set, &next, &guard);
            let (stamp, DataSet { mzxid, mtime, version, data: half }) = (set.mzxid, set);
            let expected = DataVersion { stamp, mzxid, mtime, version, data: half.into(), ..data };
            let after = Node::load(&next, &guard).unwrap();
            prop_assert_eq!((after.parent(), after.name()), (parent, name.as_bytes()));
            prop_assert_eq!((after.czxid(), after.ctime()), (new.czxid, ctime));
            prop_assert_eq!(after.data(), expected);
        }
    }

    #[test]
    fn the_common_node_has_twenty_three_bytes_besides_name_and_data() {
        let czxid = Zxid(0x1_0000_0001);
        let data = DataVersion {
            stamp: czxid,
            mzxid: czxid,
            mtime: 5,
            version: 0,
            aversion: 0,
            acl: AclId(3),
            kind: NodeKind::Persistent,
            children: None,
            data: Value::Inline(b"data"),
        };
        let (cell, guard) = (Bytes::empty(), pin());
        NewNodeVersion { parent: Some(NodeId(9)), name: b"name", czxid, ctime: 5, data }.put(&cell, &guard);
        assert_eq!(cell.load(&guard).unwrap().len(), 23 + 4 + 4);
    }
}
