//! A znode: what never changes in it, and the two versions that do.

use super::acl::AclRef;
use super::children::ChildSet;
use super::index::{Guard, Keyed, Slot};
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

/// Data, ACL and their versions: replaced as a whole by setData and setACL.
#[derive(Clone, Debug)]
pub struct DataVersion {
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
    pub acl: AclRef,
    /// Null and empty are different to a client.
    pub data: Option<Box<[u8]>>,
}

impl DataVersion {
    /// Bytes of the data.
    pub fn data_length(&self) -> usize {
        self.data.as_ref().map_or(0, |data| data.len())
    }
}

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

/// A znode. Readers borrow it under a guard; the writer replaces its versions.
pub struct Node {
    path: Box<str>,
    /// The transaction that created it.
    pub czxid: Zxid,
    /// Its time.
    pub ctime: i64,
    /// Persistent, ephemeral, container or TTL.
    pub kind: NodeKind,
    data: Slot<DataVersion>,
    /// Empty for a node that never had a child: then `pzxid` is `czxid`.
    children: Slot<ChildrenVersion>,
    /// The newest transaction that touched the children. It is raised before anything that the
    /// transaction does can be seen, so a reader that sees any of it sees this too.
    children_stamp: AtomicU64,
}

impl Keyed for Node {
    fn key(&self) -> &str {
        &self.path
    }
}

impl Node {
    /// A node without children.
    pub fn new(path: &str, czxid: Zxid, ctime: i64, kind: NodeKind, data: DataVersion) -> Self {
        Node {
            path: path.into(),
            czxid,
            ctime,
            kind,
            data: Slot::new(data),
            children: Slot::empty(),
            children_stamp: AtomicU64::new(0),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its name under its parent.
    pub fn name(&self) -> &str {
        super::path::split(&self.path).map_or("", |split| split.1)
    }

    /// The current data version.
    pub fn data<'g>(&'g self, guard: &'g Guard) -> &'g DataVersion {
        self.data.load(guard).expect("a node has data from its creation on")
    }

    /// The current children; `None` if it never had one.
    pub fn children<'g>(&'g self, guard: &'g Guard) -> Option<&'g ChildrenVersion> {
        self.children.load(guard)
    }

    /// The current children as a batch of changes starts from them.
    pub(super) fn children_to_change(&self, guard: &Guard) -> ChildrenVersion {
        let unborn = || ChildrenVersion { pzxid: self.czxid, ..Default::default() };
        self.children(guard).cloned().unwrap_or_else(unborn)
    }

    /// See `children_stamp`. Load it after what it guards.
    pub fn children_stamp(&self) -> Zxid {
        Zxid(self.children_stamp.load(Ordering::Acquire))
    }

    pub(super) fn raise_children_stamp(&self, zxid: Zxid) {
        self.children_stamp.store(zxid.0, Ordering::Release);
    }

    pub(super) fn replace_data(&self, data: DataVersion, guard: &Guard) {
        self.data.replace(Some(data), guard);
    }

    pub(super) fn replace_children(&self, children: ChildrenVersion, guard: &Guard) {
        self.children.replace(Some(children), guard);
    }

    /// Stat as clients see it, from one data version and one children version.
    pub fn stat(&self, data: &DataVersion, children: Option<&ChildrenVersion>) -> Stat {
        let count = children.map_or(0, |children| children.set.len() as i32);
        Stat {
            czxid: self.czxid.to_jute(),
            mzxid: data.mzxid.to_jute(),
            ctime: self.ctime,
            mtime: data.mtime,
            version: data.version,
            cversion: children.map_or(0, |c| c.cversion.cast_signed()).wrapping_mul(2).wrapping_sub(count),
            aversion: data.aversion,
            ephemeral_owner: self.kind.client_owner(),
            data_length: data.data_length() as i32,
            num_children: count,
            pzxid: children.map_or(self.czxid, |children| children.pzxid).to_jute(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
