//! The layout of a checkpoint, byte by byte: the one place that knows an offset.
//!
//! ```text
//! checkpoint = header (32 bytes) block* index footer (64 bytes)
//! block      = header (24 bytes) record*         records of one kind, about 256 KiB of them
//! index      = (24 bytes a block)*               where each block is, so that they are read in parallel
//! ```
//!
//! Every number is little-endian. Blocks follow each other without a hole, and each byte is under one
//! checksum. The header's checksum is the beginning of every other one, so that no block of another
//! file passes for this one's. Access control lists are written once and named by their number; the
//! blocks that hold them come in any order among the others.
//!
//! A znode has a number by its place among all of the file, from zero, and names its parent's, which is
//! smaller: so each block can be read without the others, and a node's number in memory is that in the file.
//!
//! A change of layout is a new `VERSION`; what every version keeps is the header's length, its first eight
//! bytes and its checksum.

use crate::id::{SessionId, Zxid};
use crate::log::DatabaseId;
use crate::tree::walk::Ordinal;

/// First bytes of a checkpoint.
pub const MAGIC: [u8; 4] = *b"RKSN";
/// The version that this code writes.
pub const VERSION: u32 = 2;
/// A block is finished when it has this many bytes of records; one record may exceed it.
pub const BLOCK_BYTES: usize = 256 << 10;
/// Bytes of the file's header.
pub const HEADER_BYTES: usize = CHECKSUM_AT + 4;
/// Bytes of a block's header.
pub const BLOCK_HEADER_BYTES: usize = BLOCK_OFFSET_AT + 8;
/// Bytes of the index for a block.
pub const INDEX_ENTRY_BYTES: usize = INDEX_RECORDS_AT + 4;
/// Bytes of the file's end.
pub const FOOTER_BYTES: usize = END_MAGIC_AT + END_MAGIC.len();

const VERSION_AT: usize = MAGIC.len();
const DATABASE_AT: usize = VERSION_AT + 4;
const FIRST_ZXID_AT: usize = DATABASE_AT + 8;
const UNUSED_AT: usize = FIRST_ZXID_AT + 8;
const CHECKSUM_AT: usize = UNUSED_AT + 4;
const _: () = assert!(HEADER_BYTES == 32);

const BLOCK_CHECKSUM_AT: usize = 0;
const BLOCK_BYTES_AT: usize = BLOCK_CHECKSUM_AT + 4;
const BLOCK_KIND_AT: usize = BLOCK_BYTES_AT + 4;
const BLOCK_RECORDS_AT: usize = BLOCK_KIND_AT + 4;
const BLOCK_OFFSET_AT: usize = BLOCK_RECORDS_AT + 4;
const _: () = assert!(BLOCK_HEADER_BYTES == 24);

const INDEX_OFFSET_AT: usize = 0;
const INDEX_BYTES_AT: usize = INDEX_OFFSET_AT + 8;
const INDEX_CHECKSUM_AT: usize = INDEX_BYTES_AT + 4;
const INDEX_KIND_AT: usize = INDEX_CHECKSUM_AT + 4;
const INDEX_RECORDS_AT: usize = INDEX_KIND_AT + 4;
const _: () = assert!(INDEX_ENTRY_BYTES == 24);

const LAST_ZXID_AT: usize = 0;
const INDEX_AT: usize = LAST_ZXID_AT + 8;
const BLOCKS_AT: usize = INDEX_AT + 8;
const NODES_AT: usize = BLOCKS_AT + 8;
const SESSIONS_AT: usize = NODES_AT + 8;
const ACLS_AT: usize = SESSIONS_AT + 8;
const DATA_BYTES_AT: usize = ACLS_AT + 8;
const FOOTER_CHECKSUM_AT: usize = DATA_BYTES_AT + 8;
const END_MAGIC_AT: usize = FOOTER_CHECKSUM_AT + 4;
const END_MAGIC: [u8; 4] = *b"RKSE";
const _: () = assert!(FOOTER_BYTES == 64);

const FLAG_CHANGED: u8 = 1;
const FLAG_CHILDREN: u8 = 2;
const FLAG_ACL_CHANGED: u8 = 4;
const FLAG_OWNED: u8 = 8;
const FLAG_DATA: u8 = 16;
const FLAGS: u8 = FLAG_CHANGED | FLAG_CHILDREN | FLAG_ACL_CHANGED | FLAG_OWNED | FLAG_DATA;

/// The parent of the root.
const NO_PARENT: u32 = u32::MAX;
/// No record of a znode is shorter: flags, length of the path, list, parent, czxid, ctime.
pub(super) const NODE_BYTES_MIN: u64 = 1 + 4 + 4 + 4 + 8 + 8;

/// An access control list's number within one checkpoint, in the order of first use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclIndex(pub u32);

/// A znode, as ZooKeeper persists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeRecord<'a> {
    /// Its full path.
    pub path: &'a str,
    /// Its parent's place in the file; none for the root.
    pub parent: Option<Ordinal>,
    /// Its data; null and empty are different.
    pub data: Option<&'a [u8]>,
    /// Its access control list.
    pub acl: AclIndex,
    /// The transaction that created it.
    pub czxid: Zxid,
    /// The transaction of the last setData.
    pub mzxid: Zxid,
    /// The transaction of the last creation or deletion of a child.
    pub pzxid: Zxid,
    /// When it was created, in milliseconds since 1970.
    pub ctime: i64,
    /// When its data was last set, in milliseconds since 1970.
    pub mtime: i64,
    /// Counts setData.
    pub version: i32,
    /// Counts creations of children alone (`StatPersisted`), not what a client sees.
    pub cversion: i32,
    /// Counts setACL.
    pub aversion: i32,
    /// A session, or a container's or TTL node's mark.
    pub ephemeral_owner: i64,
}

/// A session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// Its timeout, in milliseconds.
    pub timeout_ms: u32,
}

/// What a block's records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum BlockKind {
    /// Znodes.
    Nodes = 1,
    /// Sessions.
    Sessions = 2,
    /// Access control lists, numbered from zero on.
    Acls = 3,
}

impl BlockKind {
    fn from_number(number: u32) -> Option<BlockKind> {
        match number {
            1 => Some(BlockKind::Nodes),
            2 => Some(BlockKind::Sessions),
            3 => Some(BlockKind::Acls),
            _ => None,
        }
    }
}

/// The file's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub database: DatabaseId,
    pub first_zxid: Zxid,
}

/// Why the first bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    Damaged(&'static str),
    UnknownVersion(u32),
}

/// A block's header, without its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockHeader {
    /// Of its records.
    pub bytes: u32,
    pub kind: BlockKind,
    pub records: u32,
    /// Where the block begins, its header included.
    pub offset: u64,
}

/// The file's end, and the index before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub last_zxid: Zxid,
    pub index_at: u64,
    pub blocks: u64,
    pub nodes: u64,
    pub sessions: u64,
    pub acls: u64,
    pub data_bytes: u64,
}

/// The checksum that every other of the file begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seed(u32);

fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn get_u64(bytes: &[u8], at: usize) -> u64 {
    get_u32(bytes, at) as u64 | (get_u32(bytes, at + 4) as u64) << 32
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

impl Header {
    pub fn encode(&self) -> ([u8; HEADER_BYTES], Seed) {
        let mut out = [0; HEADER_BYTES];
        out[..VERSION_AT].copy_from_slice(&MAGIC);
        put_u32(&mut out, VERSION_AT, VERSION);
        put_u64(&mut out, DATABASE_AT, self.database.0);
        put_u64(&mut out, FIRST_ZXID_AT, self.first_zxid.0);
        let checksum = crc32c::crc32c(&out[..CHECKSUM_AT]);
        put_u32(&mut out, CHECKSUM_AT, checksum);
        (out, Seed(checksum))
    }

    pub fn decode(bytes: &[u8]) -> Result<(Header, Seed), HeaderFault> {
        let bytes =
            bytes.get(..HEADER_BYTES).ok_or(HeaderFault::Damaged("the file is shorter than a header"))?;
        if bytes[..VERSION_AT] != MAGIC {
            return Err(HeaderFault::Damaged("the file does not begin as a checkpoint does"));
        }
        let checksum = get_u32(bytes, CHECKSUM_AT);
        if crc32c::crc32c(&bytes[..CHECKSUM_AT]) != checksum {
            return Err(HeaderFault::Damaged("the header's checksum is wrong"));
        }
        let version = get_u32(bytes, VERSION_AT);
        if version != VERSION {
            return Err(HeaderFault::UnknownVersion(version));
        }
        let database = DatabaseId(get_u64(bytes, DATABASE_AT));
        let first_zxid = Zxid(get_u64(bytes, FIRST_ZXID_AT));
        Ok((Header { database, first_zxid }, Seed(checksum)))
    }

    /// What the checksums of a file can begin with whose header is damaged: the checksum that it has,
    /// and the one that it should have.
    pub fn seeds(bytes: &[u8; HEADER_BYTES]) -> [Seed; 2] {
        [Seed(get_u32(bytes, CHECKSUM_AT)), Seed(crc32c::crc32c(&bytes[..CHECKSUM_AT]))]
    }
}

impl BlockHeader {
    /// Fills the header of a block in, which `block` begins with, and returns the checksum of all of it.
    pub fn encode(&self, seed: Seed, block: &mut [u8]) -> u32 {
        assert_eq!(block.len(), BLOCK_HEADER_BYTES + self.bytes as usize);
        put_u32(block, BLOCK_BYTES_AT, self.bytes);
        put_u32(block, BLOCK_KIND_AT, self.kind as u32);
        put_u32(block, BLOCK_RECORDS_AT, self.records);
        put_u64(block, BLOCK_OFFSET_AT, self.offset);
        let checksum = crc32c::crc32c_append(seed.0, &block[BLOCK_BYTES_AT..]);
        put_u32(block, BLOCK_CHECKSUM_AT, checksum);
        checksum
    }

    /// Whether `block` is the whole of the block that the index describes.
    pub fn check(&self, seed: Seed, checksum: u32, block: &[u8]) -> Result<(), &'static str> {
        if block.len() != BLOCK_HEADER_BYTES + self.bytes as usize {
            return Err("the block has another length than the index says");
        }
        if crc32c::crc32c_append(seed.0, &block[BLOCK_BYTES_AT..]) != checksum
            || get_u32(block, BLOCK_CHECKSUM_AT) != checksum
        {
            return Err("the block's checksum is wrong");
        }
        let found = (
            get_u32(block, BLOCK_BYTES_AT),
            BlockKind::from_number(get_u32(block, BLOCK_KIND_AT)),
            get_u32(block, BLOCK_RECORDS_AT),
            get_u64(block, BLOCK_OFFSET_AT),
        );
        if found != (self.bytes, Some(self.kind), self.records, self.offset) {
            return Err("the block's header contradicts the index");
        }
        Ok(())
    }

    /// What a block's first bytes say of it, with its checksum; nothing is checked. `None` if its kind
    /// is unknown.
    pub fn peek(header: &[u8; BLOCK_HEADER_BYTES]) -> Option<(BlockHeader, u32)> {
        let block = BlockHeader {
            bytes: get_u32(header, BLOCK_BYTES_AT),
            kind: BlockKind::from_number(get_u32(header, BLOCK_KIND_AT))?,
            records: get_u32(header, BLOCK_RECORDS_AT),
            offset: get_u64(header, BLOCK_OFFSET_AT),
        };
        Some((block, get_u32(header, BLOCK_CHECKSUM_AT)))
    }

    pub fn encode_index(&self, checksum: u32) -> [u8; INDEX_ENTRY_BYTES] {
        let mut out = [0; INDEX_ENTRY_BYTES];
        put_u64(&mut out, INDEX_OFFSET_AT, self.offset);
        put_u32(&mut out, INDEX_BYTES_AT, self.bytes);
        put_u32(&mut out, INDEX_CHECKSUM_AT, checksum);
        put_u32(&mut out, INDEX_KIND_AT, self.kind as u32);
        put_u32(&mut out, INDEX_RECORDS_AT, self.records);
        out
    }

    /// A block's header and checksum, from the index. `None` if its kind is unknown.
    pub fn decode_index(entry: &[u8; INDEX_ENTRY_BYTES]) -> Option<(BlockHeader, u32)> {
        let header = BlockHeader {
            bytes: get_u32(entry, INDEX_BYTES_AT),
            kind: BlockKind::from_number(get_u32(entry, INDEX_KIND_AT))?,
            records: get_u32(entry, INDEX_RECORDS_AT),
            offset: get_u64(entry, INDEX_OFFSET_AT),
        };
        Some((header, get_u32(entry, INDEX_CHECKSUM_AT)))
    }

    /// Where the next block begins.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(BLOCK_HEADER_BYTES as u64 + self.bytes as u64)
    }
}

impl Footer {
    /// Appends the footer to the index, and the checksum of both.
    pub fn encode(&self, seed: Seed, index: &mut Vec<u8>) {
        let mut out = [0; FOOTER_BYTES];
        put_u64(&mut out, LAST_ZXID_AT, self.last_zxid.0);
        put_u64(&mut out, INDEX_AT, self.index_at);
        put_u64(&mut out, BLOCKS_AT, self.blocks);
        put_u64(&mut out, NODES_AT, self.nodes);
        put_u64(&mut out, SESSIONS_AT, self.sessions);
        put_u64(&mut out, ACLS_AT, self.acls);
        put_u64(&mut out, DATA_BYTES_AT, self.data_bytes);
        let checksum =
            crc32c::crc32c_append(crc32c::crc32c_append(seed.0, index), &out[..FOOTER_CHECKSUM_AT]);
        put_u32(&mut out, FOOTER_CHECKSUM_AT, checksum);
        out[END_MAGIC_AT..].copy_from_slice(&END_MAGIC);
        index.extend_from_slice(&out);
    }

    /// Reads the footer off the file's end, with the index before it.
    pub fn decode(seed: Seed, file: &[u8]) -> Result<(Footer, &[[u8; INDEX_ENTRY_BYTES]]), &'static str> {
        Footer::decode_tail(seed, file, 0)
    }

    /// The same from the last bytes of a file, which begin at `tail_at`.
    pub fn decode_tail(
        seed: Seed,
        tail: &[u8],
        tail_at: u64,
    ) -> Result<(Footer, &[[u8; INDEX_ENTRY_BYTES]]), &'static str> {
        let (before, out) =
            tail.split_last_chunk::<FOOTER_BYTES>().ok_or("the file is shorter than a footer")?;
        if out[END_MAGIC_AT..] != END_MAGIC {
            return Err("the file does not end as a checkpoint does");
        }
        let footer = Footer {
            last_zxid: Zxid(get_u64(out, LAST_ZXID_AT)),
            index_at: Footer::index_at(out),
            blocks: get_u64(out, BLOCKS_AT),
            nodes: get_u64(out, NODES_AT),
            sessions: get_u64(out, SESSIONS_AT),
            acls: get_u64(out, ACLS_AT),
            data_bytes: get_u64(out, DATA_BYTES_AT),
        };
        let index = footer.index_at.checked_sub(tail_at).and_then(|at| usize::try_from(at).ok());
        let index = index.and_then(|at| before.get(at..));
        let index = index.ok_or("the footer names an index outside of the file")?;
        let checksum =
            crc32c::crc32c_append(crc32c::crc32c_append(seed.0, index), &out[..FOOTER_CHECKSUM_AT]);
        if checksum != get_u32(out, FOOTER_CHECKSUM_AT) {
            return Err("the footer's checksum is wrong");
        }
        let (index, rest) = index.as_chunks::<INDEX_ENTRY_BYTES>();
        if !rest.is_empty() || index.len() as u64 != footer.blocks {
            return Err("the index has another length than the footer says");
        }
        Ok((footer, index))
    }

    /// Where the index begins, by what the file's last bytes say; nothing is checked.
    pub fn index_at(out: &[u8; FOOTER_BYTES]) -> u64 {
        get_u64(out, INDEX_AT)
    }
}

/// Appends a record. The common node (never changed since its creation, no child ever) has no bytes for
/// what did not happen to it.
pub(super) fn encode_node(node: &NodeRecord<'_>, out: &mut Vec<u8>) {
    let changed = node.mzxid != node.czxid || node.mtime != node.ctime || node.version != 0;
    let children = node.pzxid != node.czxid || node.cversion != 0;
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    out.push(
        flag(changed, FLAG_CHANGED)
            | flag(children, FLAG_CHILDREN)
            | flag(node.aversion != 0, FLAG_ACL_CHANGED)
            | flag(node.ephemeral_owner != 0, FLAG_OWNED)
            | flag(node.data.is_some(), FLAG_DATA),
    );
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a transaction bounds it").to_le_bytes();
    out.extend_from_slice(&length(node.path.as_bytes()));
    out.extend_from_slice(&node.acl.0.to_le_bytes());
    out.extend_from_slice(&node.parent.map_or(NO_PARENT, |parent| parent.0).to_le_bytes());
    out.extend_from_slice(&node.czxid.0.to_le_bytes());
    out.extend_from_slice(&node.ctime.to_le_bytes());
    if changed {
        out.extend_from_slice(&node.mzxid.0.to_le_bytes());
        out.extend_from_slice(&node.mtime.to_le_bytes());
        out.extend_from_slice(&node.version.to_le_bytes());
    }
    if children {
        out.extend_from_slice(&node.pzxid.0.to_le_bytes());
        out.extend_from_slice(&node.cversion.to_le_bytes());
    }
    if node.aversion != 0 {
        out.extend_from_slice(&node.aversion.to_le_bytes());
    }
    if node.ephemeral_owner != 0 {
        out.extend_from_slice(&node.ephemeral_owner.to_le_bytes());
    }
    if let Some(data) = node.data {
        out.extend_from_slice(&length(data));
    }
    out.extend_from_slice(node.path.as_bytes());
    out.extend_from_slice(node.data.unwrap_or_default());
}

/// Takes the bytes of one record off, piece by piece.
pub(super) struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    pub fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn zxid(&mut self) -> Option<Zxid> {
        self.array().map(u64::from_le_bytes).map(Zxid)
    }
}

/// Reads a record. `None` if the bytes are none.
pub(super) fn decode_node<'a>(cursor: &mut Cursor<'a>) -> Option<NodeRecord<'a>> {
    let [flags] = cursor.array()?;
    if flags & !FLAGS != 0 {
        return None;
    }
    let path_bytes = cursor.u32()? as usize;
    let acl = AclIndex(cursor.u32()?);
    let parent = Some(cursor.u32()?).filter(|&parent| parent != NO_PARENT).map(Ordinal);
    let czxid = cursor.zxid()?;
    let ctime = cursor.i64()?;
    let mut node = NodeRecord {
        path: "",
        parent,
        data: None,
        acl,
        czxid,
        mzxid: czxid,
        pzxid: czxid,
        ctime,
        mtime: ctime,
        version: 0,
        cversion: 0,
        aversion: 0,
        ephemeral_owner: 0,
    };
    if flags & FLAG_CHANGED != 0 {
        node.mzxid = cursor.zxid()?;
        node.mtime = cursor.i64()?;
        node.version = cursor.i32()?;
    }
    if flags & FLAG_CHILDREN != 0 {
        node.pzxid = cursor.zxid()?;
        node.cversion = cursor.i32()?;
    }
    if flags & FLAG_ACL_CHANGED != 0 {
        node.aversion = cursor.i32()?;
    }
    if flags & FLAG_OWNED != 0 {
        node.ephemeral_owner = cursor.i64()?;
    }
    let data_bytes = if flags & FLAG_DATA != 0 { Some(cursor.u32()? as usize) } else { None };
    node.path = std::str::from_utf8(cursor.take(path_bytes)?).ok()?;
    if let Some(bytes) = data_bytes {
        node.data = Some(cursor.take(bytes)?);
    }
    Some(node)
}

pub(super) fn encode_session(session: &SessionRecord, out: &mut Vec<u8>) {
    out.extend_from_slice(&session.id.0.to_le_bytes());
    out.extend_from_slice(&session.timeout_ms.to_le_bytes());
}

pub(super) fn decode_session(cursor: &mut Cursor<'_>) -> Option<SessionRecord> {
    Some(SessionRecord { id: SessionId(cursor.i64()?), timeout_ms: cursor.u32()? })
}
