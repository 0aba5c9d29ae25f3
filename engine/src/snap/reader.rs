//! A checkpoint's bytes in, verified records out, borrowing from them: so values can stay in a map.
//!
//! `open` verifies header, index and access control lists; each other block is verified when it is
//! asked for, so that blocks can be read in parallel. A damaged or unreadable file says what is, and where.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::format::{
    AclIndex, BLOCK_HEADER_BYTES, BlockHeader, BlockKind, Cursor, FOOTER_BYTES, Footer, HEADER_BYTES, Header,
    HeaderFault, NODE_BYTES_MIN, NodeRecord, Seed, SessionRecord, decode_node, decode_session,
};
use crate::id::Zxid;
use crate::log::DatabaseId;

/// Has the bytes of a file read before anybody looks at them: what cannot be read of a memory map is a
/// signal that ends the process, unless it is known before.
pub trait Fetch: fmt::Debug + Sync {
    /// Returns once these bytes can be looked at.
    ///
    /// # Errors
    /// `Fault::Unreadable`, with the place of the first that cannot.
    fn fetch(&self, range: Range<usize>) -> Result<(), Fault>;
}

/// Holds a whole file's bytes, always the same, for whoever goes on using some of them when the file was read.
pub trait Held: Fetch + Send {
    /// All of them.
    fn bytes(&self) -> &[u8];

    /// What they are of, for who says that they are damaged.
    fn name(&self) -> String;
}

impl Fetch for Vec<u8> {
    fn fetch(&self, _: Range<usize>) -> Result<(), Fault> {
        Ok(())
    }
}

impl Held for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }

    fn name(&self) -> String {
        "a checkpoint in memory".to_owned()
    }
}

/// Why a checkpoint cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// What holds its bytes does not give them.
    Unreadable {
        /// Where, in bytes from the file's beginning.
        offset: u64,
        /// What the kernel said.
        why: String,
    },
    /// It is damaged.
    Damaged {
        /// Where, in bytes from the file's beginning.
        offset: u64,
        /// What is.
        what: &'static str,
    },
    /// It has a version that this code does not know.
    UnknownVersion(u32),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Unreadable { offset, why } => write!(f, "unreadable at offset {offset}: {why}"),
            Fault::Damaged { offset, what } => write!(f, "damaged at offset {offset}: {what}"),
            Fault::UnknownVersion(version) => {
                write!(f, "format version {version}, which this release does not know")
            }
        }
    }
}

impl std::error::Error for Fault {}

/// An open checkpoint.
#[derive(Clone, Debug)]
pub struct Checkpoint<'a> {
    file: &'a [u8],
    /// None of bytes that are in memory.
    fetch: Option<&'a dyn Fetch>,
    /// What the bytes are in, if it may stay.
    held: Option<&'a Arc<dyn Held>>,
    header: Header,
    seed: Seed,
    footer: Footer,
    index: Vec<(BlockHeader, u32)>,
    acls: Vec<&'a [u8]>,
}

/// One verified block.
#[derive(Clone, Debug)]
pub enum Block<'a> {
    /// Znodes.
    Nodes(Nodes<'a>),
    /// Sessions.
    Sessions(Sessions<'a>),
    /// Access control lists, which `Checkpoint::acl` knows.
    Acls,
}

/// What a checkpoint is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A znode.
    Node(NodeRecord<'a>),
    /// A session.
    Session(SessionRecord),
}

/// A block's records, and how many of them are left.
#[derive(Clone, Debug)]
struct Records<'a> {
    bytes: &'a [u8],
    /// Where the records end in the file.
    end: u64,
    left: u32,
}

impl<'a> Records<'a> {
    /// The next record; a fault if there are fewer or more than the block's header says.
    fn next<T>(&mut self, decode: impl FnOnce(&mut Cursor<'a>) -> Option<T>) -> Option<Result<T, Fault>> {
        let offset = self.end - self.bytes.len() as u64;
        let damaged = |what| Some(Err(Fault::Damaged { offset, what }));
        if self.left == 0 {
            let behind = std::mem::take(&mut self.bytes);
            if behind.is_empty() {
                return None;
            }
            return damaged("the block goes on behind its last record");
        }
        let mut cursor = Cursor(self.bytes);
        match decode(&mut cursor) {
            Some(record) => {
                self.bytes = cursor.0;
                self.left -= 1;
                Some(Ok(record))
            }
            None => {
                (self.bytes, self.left) = (&[], 0);
                damaged("no record begins here")
            }
        }
    }
}

/// The znodes of a block. After an error there are no more.
#[derive(Clone, Debug)]
pub struct Nodes<'a> {
    records: Records<'a>,
    acls: u64,
}

impl<'a> Iterator for Nodes<'a> {
    type Item = Result<NodeRecord<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let acls = self.acls;
        self.records.next(|cursor| decode_node(cursor).filter(|node| (node.acl.0 as u64) < acls))
    }
}

/// The sessions of a block. After an error there are no more.
#[derive(Clone, Debug)]
pub struct Sessions<'a> {
    records: Records<'a>,
}

impl Iterator for Sessions<'_> {
    type Item = Result<SessionRecord, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.records.next(decode_session)
    }
}

impl<'a> Checkpoint<'a> {
    /// Opens the bytes of a whole file, which are in memory.
    pub fn open(file: &'a [u8]) -> Result<Checkpoint<'a>, Fault> {
        Checkpoint::open_with(file, None, None)
    }

    /// Opens the bytes of a whole file, each part of which is fetched before it is looked at.
    pub fn open_fetched(file: &'a [u8], fetch: &'a dyn Fetch) -> Result<Checkpoint<'a>, Fault> {
        Checkpoint::open_with(file, Some(fetch), None)
    }

    /// The same, of bytes that whoever reads the checkpoint may hold for longer.
    pub fn open_held(held: &'a Arc<dyn Held>) -> Result<Checkpoint<'a>, Fault> {
        Checkpoint::open_with(held.bytes(), Some(&**held), Some(held))
    }

    fn open_with(
        file: &'a [u8],
        fetch: Option<&'a dyn Fetch>,
        held: Option<&'a Arc<dyn Held>>,
    ) -> Result<Checkpoint<'a>, Fault> {
        if let Some(fetch) = fetch {
            fetch.fetch(0..file.len().min(HEADER_BYTES))?;
            fetch.fetch(file.len().saturating_sub(FOOTER_BYTES)..file.len())?;
            // Where the footer says nonsense, decoding says so.
            let index_at = file.last_chunk().map_or(0, Footer::index_at);
            fetch.fetch(file.len().min(usize::try_from(index_at).unwrap_or(usize::MAX))..file.len())?;
        }
        let (header, seed) = Header::decode(file).map_err(|fault| match fault {
            HeaderFault::Damaged(what) => Fault::Damaged { offset: 0, what },
            HeaderFault::UnknownVersion(version) => Fault::UnknownVersion(version),
        })?;
        let footer_at = file.len().saturating_sub(FOOTER_BYTES) as u64;
        let damaged = |what| Fault::Damaged { offset: footer_at, what };
        let (footer, entries) = Footer::decode(seed, file).map_err(damaged)?;
        let mut index = Vec::with_capacity(entries.len());
        let mut offset = HEADER_BYTES as u64;
        for entry in entries {
            let (block, checksum) = BlockHeader::decode_index(entry)
                .filter(|(block, _)| block.offset == offset)
                .ok_or(damaged("the index names a block of no kind or place"))?;
            offset = block.end();
            index.push((block, checksum));
        }
        if offset != footer.index_at {
            return Err(damaged("the blocks do not reach up to the index"));
        }
        let mut checkpoint = Checkpoint { file, fetch, held, header, seed, footer, index, acls: Vec::new() };
        checkpoint.count(BlockKind::Nodes, footer.nodes)?;
        checkpoint.count(BlockKind::Sessions, footer.sessions)?;
        checkpoint.count(BlockKind::Acls, footer.acls)?;
        checkpoint.read_acls()?;
        Ok(checkpoint)
    }

    fn count(&self, kind: BlockKind, expected: u64) -> Result<(), Fault> {
        let blocks = self.index.iter().filter(|(block, _)| block.kind == kind);
        let too_many = |block: &BlockHeader| {
            kind == BlockKind::Nodes && u64::from(block.records) * NODE_BYTES_MIN > u64::from(block.bytes)
        };
        if let Some((block, _)) = blocks.clone().find(|(block, _)| too_many(block)) {
            let what = "the block claims more records than it has bytes for";
            return Err(Fault::Damaged { offset: block.offset, what });
        }
        if blocks.map(|(block, _)| block.records as u64).sum::<u64>() != expected {
            let what = "the footer's counts contradict the index";
            return Err(Fault::Damaged { offset: self.footer.index_at, what });
        }
        Ok(())
    }

    fn read_acls(&mut self) -> Result<(), Fault> {
        for number in 0..self.index.len() {
            if self.index[number].0.kind != BlockKind::Acls {
                continue;
            }
            let mut records = self.records(number)?;
            while let Some(list) = records.next(|cursor| {
                let bytes = cursor.u32()? as usize;
                cursor.take(bytes)
            }) {
                self.acls.push(list?);
            }
        }
        Ok(())
    }

    /// What holds the bytes that every record is part of, if it may be held for longer.
    pub fn held(&self) -> Option<&Arc<dyn Held>> {
        self.held
    }

    /// Whose checkpoint this is.
    pub fn database(&self) -> DatabaseId {
        self.header.database
    }

    /// Replay of the log begins behind this.
    pub fn first_zxid(&self) -> Zxid {
        self.header.first_zxid
    }

    /// Replay of the log has to reach this.
    pub fn last_zxid(&self) -> Zxid {
        self.footer.last_zxid
    }

    /// How many znodes there are.
    pub fn node_count(&self) -> u64 {
        self.footer.nodes
    }

    /// How many sessions there are.
    pub fn session_count(&self) -> u64 {
        self.footer.sessions
    }

    /// Bytes of data in all znodes.
    pub fn data_bytes(&self) -> u64 {
        self.footer.data_bytes
    }

    /// All access control lists, by their numbers, each as the bytes of jute's vector of ACL.
    pub fn acls(&self) -> &[&'a [u8]] {
        &self.acls
    }

    /// One of them; every number that a record of this file has is there.
    pub fn acl(&self, index: AclIndex) -> &'a [u8] {
        self.acls[index.0 as usize]
    }

    /// How many blocks there are.
    pub fn block_count(&self) -> usize {
        self.index.len()
    }

    /// Bytes of a block in the file.
    pub fn block_bytes(&self, number: usize) -> u64 {
        let block = &self.index[number].0;
        block.end() - block.offset
    }

    /// By block: how many znodes come before it.
    pub fn nodes_before(&self) -> Vec<u64> {
        let nodes = |block: &BlockHeader| if block.kind == BlockKind::Nodes { block.records } else { 0 };
        let count = |before: &mut u64, (block, _): &(BlockHeader, u32)| {
            let own = *before;
            *before += u64::from(nodes(block));
            Some(own)
        };
        self.index.iter().scan(0, count).collect()
    }

    /// Verifies a block and gives its records. Blocks of one kind hold them in the order in which they
    /// were written.
    pub fn block(&self, number: usize) -> Result<Block<'a>, Fault> {
        let records = self.records(number)?;
        Ok(match self.index[number].0.kind {
            BlockKind::Nodes => Block::Nodes(Nodes { records, acls: self.footer.acls }),
            BlockKind::Sessions => Block::Sessions(Sessions { records }),
            BlockKind::Acls => Block::Acls,
        })
    }

    /// Verifies the block that a byte of the file is in, and returns what bytes that block has. What is in no
    /// block is in none that is damaged.
    pub fn verify_at(&self, offset: u64) -> Result<Range<u64>, Fault> {
        let number = self.index.partition_point(|(block, _)| block.end() <= offset);
        let Some((block, _)) = self.index.get(number) else { return Ok(offset..offset + 1) };
        self.records(number)?;
        Ok(block.offset..block.end())
    }

    /// Calls `visit` for each record, in the order of the file.
    pub fn visit(&self, mut visit: impl FnMut(Record<'a>)) -> Result<(), Fault> {
        for number in 0..self.index.len() {
            match self.block(number)? {
                Block::Nodes(mut nodes) => nodes.try_for_each(|node| node.map(|n| visit(Record::Node(n))))?,
                Block::Sessions(mut sessions) => {
                    sessions.try_for_each(|session| session.map(|s| visit(Record::Session(s))))?;
                }
                Block::Acls => {}
            }
        }
        Ok(())
    }

    fn records(&self, number: usize) -> Result<Records<'a>, Fault> {
        let (block, checksum) = self.index[number];
        let (begin, end) = (block.offset as usize, block.end() as usize);
        if let Some(fetch) = self.fetch {
            fetch.fetch(begin..end)?;
        }
        let bytes = &self.file[begin..end];
        let damaged = |what| Fault::Damaged { offset: block.offset, what };
        block.check(self.seed, checksum, bytes).map_err(damaged)?;
        Ok(Records { bytes: &bytes[BLOCK_HEADER_BYTES..], end: block.end(), left: block.records })
    }
}
