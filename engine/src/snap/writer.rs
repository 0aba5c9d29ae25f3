//! Records in, finished blocks of bytes out: the caller appends them to a file in the order in which
//! they come, at whatever pace the disk is given.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;

use super::format::{
    AclIndex, BLOCK_BYTES, BLOCK_HEADER_BYTES, BlockHeader, BlockKind, Footer, HEADER_BYTES, Header,
    NodeRecord, Seed, SessionRecord, encode_node, encode_session,
};
use crate::id::Zxid;
use crate::log::DatabaseId;

/// Keys the hash of access control lists. Clients choose those, but a collision only slows a checkpoint
/// down by the lists that one client made.
const HASH_SEED: u64 = 0x726b_736e_6170_6163;

/// A block while it fills.
#[derive(Debug)]
struct Filling {
    kind: BlockKind,
    bytes: Vec<u8>,
    records: u32,
}

impl Filling {
    fn new(kind: BlockKind, mut memory: Vec<u8>) -> Filling {
        memory.clear();
        memory.resize(BLOCK_HEADER_BYTES, 0);
        Filling { kind, bytes: memory, records: 0 }
    }
}

/// Makes one checkpoint.
#[derive(Debug)]
pub struct CheckpointWriter {
    seed: Seed,
    finished: VecDeque<Vec<u8>>,
    /// The memory of a block that was written.
    spare: Vec<u8>,
    nodes: Filling,
    sessions: Filling,
    acls: Filling,
    acl_numbers: HashMap<Box<[u8]>, AclIndex, FixedState>,
    index: Vec<u8>,
    /// Where the next block goes.
    offset: u64,
    counts: Footer,
}

impl CheckpointWriter {
    /// Begins one. `first_zxid`: everything up to it had been applied before the walk began, so replay
    /// begins behind it.
    pub fn new(database: DatabaseId, first_zxid: Zxid) -> CheckpointWriter {
        let (header, seed) = Header { database, first_zxid }.encode();
        CheckpointWriter {
            seed,
            finished: VecDeque::from([header.to_vec()]),
            spare: Vec::new(),
            nodes: Filling::new(BlockKind::Nodes, Vec::new()),
            sessions: Filling::new(BlockKind::Sessions, Vec::new()),
            acls: Filling::new(BlockKind::Acls, Vec::new()),
            acl_numbers: HashMap::with_hasher(FixedState::with_seed(HASH_SEED)),
            index: Vec::new(),
            offset: HEADER_BYTES as u64,
            counts: Footer {
                last_zxid: first_zxid,
                index_at: 0,
                blocks: 0,
                nodes: 0,
                sessions: 0,
                acls: 0,
                data_bytes: 0,
            },
        }
    }

    /// The number of an access control list, given as the bytes of jute's vector of ACL; written at
    /// its first use.
    pub fn intern_acl(&mut self, list: &[u8]) -> AclIndex {
        if let Some(index) = self.acl_numbers.get(list) {
            return *index;
        }
        let index = AclIndex(u32::try_from(self.counts.acls).expect("fewer lists than nodes"));
        self.acl_numbers.insert(list.into(), index);
        self.counts.acls += 1;
        let length = u32::try_from(list.len()).expect("a transaction bounds it");
        self.acls.bytes.extend_from_slice(&length.to_le_bytes());
        self.acls.bytes.extend_from_slice(list);
        self.acls.records += 1;
        self.finish_full(BlockKind::Acls);
        index
    }

    /// Adds a znode, a parent before its children, best the children of one node together. `node.acl` comes
    /// from `intern_acl`, `node.parent` counts the calls of this.
    pub fn node(&mut self, node: &NodeRecord<'_>) {
        assert!((node.acl.0 as u64) < self.counts.acls, "an access control list that was not interned");
        encode_node(node, &mut self.nodes.bytes);
        self.nodes.records += 1;
        self.counts.nodes += 1;
        self.counts.data_bytes += node.data.map_or(0, |data| data.len() as u64);
        self.finish_full(BlockKind::Nodes);
    }

    /// Adds a session.
    pub fn session(&mut self, session: &SessionRecord) {
        encode_session(session, &mut self.sessions.bytes);
        self.sessions.records += 1;
        self.counts.sessions += 1;
        self.finish_full(BlockKind::Sessions);
    }

    /// Bytes to append to the file, if some are finished.
    pub fn take_bytes(&mut self) -> Option<Vec<u8>> {
        self.finished.pop_front()
    }

    /// Gives memory back that came with bytes: the next block's would have to be cleared by the kernel first.
    pub fn give_back(&mut self, memory: Vec<u8>) {
        self.spare = memory;
    }

    /// Ends the checkpoint. `last_zxid`: nothing behind it had been applied when the walk ended. The
    /// file may get its name only when the log is durable up to there: the walk has seen parts of those
    /// transactions, and only their replay makes them whole. Returns what is left to append.
    pub fn finish(mut self, last_zxid: Zxid) -> impl Iterator<Item = Vec<u8>> {
        assert!(last_zxid >= self.counts.last_zxid, "a walk that ends before it begins");
        for kind in [BlockKind::Nodes, BlockKind::Sessions, BlockKind::Acls] {
            self.finish_block(kind);
        }
        let footer = Footer { last_zxid, index_at: self.offset, ..self.counts };
        footer.encode(self.seed, &mut self.index);
        self.finished.push_back(self.index);
        self.finished.into_iter()
    }

    fn filling(&mut self, kind: BlockKind) -> &mut Filling {
        match kind {
            BlockKind::Nodes => &mut self.nodes,
            BlockKind::Sessions => &mut self.sessions,
            BlockKind::Acls => &mut self.acls,
        }
    }

    fn finish_full(&mut self, kind: BlockKind) {
        if self.filling(kind).bytes.len() >= BLOCK_BYTES {
            self.finish_block(kind);
        }
    }

    fn finish_block(&mut self, kind: BlockKind) {
        if self.filling(kind).records == 0 {
            return;
        }
        let next = Filling::new(kind, std::mem::take(&mut self.spare));
        let mut block = std::mem::replace(self.filling(kind), next);
        let bytes = u32::try_from(block.bytes.len() - BLOCK_HEADER_BYTES).expect("a transaction bounds it");
        let header = BlockHeader { bytes, kind: block.kind, records: block.records, offset: self.offset };
        let checksum = header.encode(self.seed, &mut block.bytes);
        self.index.extend_from_slice(&header.encode_index(checksum));
        self.counts.blocks += 1;
        self.offset = header.end();
        self.finished.push_back(block.bytes);
    }
}
