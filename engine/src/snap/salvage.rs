//! What can be read of a checkpoint, however damaged: for tools that show it to somebody. A server never
//! serves what comes from here; it takes the checkpoint before (`reader`).
//!
//! The file is read piece by piece, so it may be larger than the memory. Where the index is whole, a
//! damaged block costs itself alone. Where it is not, blocks are found by their own headers, which carry
//! their place in the file. What a damaged block still says is given out as not to be trusted.

use super::format::{
    AclIndex, BLOCK_HEADER_BYTES, BlockHeader, BlockKind, Cursor, FOOTER_BYTES, Footer, HEADER_BYTES, Header,
    HeaderFault, INDEX_ENTRY_BYTES, Seed, decode_node, decode_session,
};
use super::reader::Record;
use crate::id::Zxid;
use crate::log::DatabaseId;

/// Bytes searched at a time for the next block behind damage.
const SEARCH_BYTES: usize = 1 << 20;
/// A search verifies candidates of at most so many times the file's length altogether, so that bytes
/// which pretend to be blocks cannot make it endless.
const SEARCH_WORK_MAX: u64 = 16;

/// A file, to be read piece by piece.
pub trait Source {
    /// A read that failed.
    type Error;

    /// The file's length.
    fn bytes(&self) -> u64;

    /// Fills `into` from `offset` on; only asked for what is within the file's length.
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Self::Error>;
}

/// A damaged place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where, in bytes from the file's beginning.
    pub offset: u64,
    /// How much of the file is concerned.
    pub bytes: u64,
    /// What is wrong there.
    pub what: &'static str,
    /// What was there, if that is known.
    pub lost: Option<(BlockKind, u64)>,
}

/// What the file's end says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Replay of the log has to reach this.
    pub last_zxid: Zxid,
    /// How many znodes there are.
    pub nodes: u64,
    /// How many sessions there are.
    pub sessions: u64,
    /// How many access control lists there are.
    pub acls: u64,
    /// Bytes of data in all znodes.
    pub data_bytes: u64,
}

/// A block's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    header: BlockHeader,
    checksum: u32,
}

/// A checkpoint whose damage is known as far as header, index and access control lists go.
#[derive(Clone, Debug)]
pub struct Salvage {
    header: Option<Header>,
    totals: Option<Totals>,
    seed: Seed,
    blocks: Vec<Place>,
    acls: Vec<Option<Box<[u8]>>>,
    damage: Vec<Damage>,
}

/// A block that was read.
#[derive(Clone, Debug)]
pub struct SalvagedBlock {
    place: Place,
    bytes: Vec<u8>,
    damage: Option<Damage>,
}

/// The records of a block, up to the first that is none.
struct SalvagedRecords<'b> {
    kind: BlockKind,
    left: u32,
    cursor: Cursor<'b>,
}

impl SalvagedBlock {
    /// What is damaged in it. Its records are not to be trusted then.
    pub fn damage(&self) -> Option<Damage> {
        self.damage
    }

    /// Where it begins, in bytes from the file's beginning.
    pub fn offset(&self) -> u64 {
        self.place.header.offset
    }

    /// Where it ends, in bytes from the file's beginning.
    pub fn end(&self) -> u64 {
        self.place.header.end()
    }

    /// What it holds, up to the first record that cannot be read.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        self.records()
    }

    fn records(&self) -> SalvagedRecords<'_> {
        let BlockHeader { kind, records, .. } = self.place.header;
        let bytes = self.bytes.get(BLOCK_HEADER_BYTES..).unwrap_or_default();
        SalvagedRecords { kind, left: records, cursor: Cursor(bytes) }
    }
}

impl<'b> Iterator for SalvagedRecords<'b> {
    type Item = Record<'b>;

    fn next(&mut self) -> Option<Record<'b>> {
        self.left = self.left.checked_sub(1)?;
        let record = match self.kind {
            BlockKind::Nodes => decode_node(&mut self.cursor).map(Record::Node),
            BlockKind::Sessions => decode_session(&mut self.cursor).map(Record::Session),
            BlockKind::Acls => None,
        };
        self.left = if record.is_some() { self.left } else { 0 };
        record
    }
}

/// Why nothing can be read.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused<E> {
    /// A read failed.
    Io(E),
    /// The file has a version that this code does not know.
    UnknownVersion(u32),
}

impl<E> From<E> for Refused<E> {
    fn from(error: E) -> Self {
        Refused::Io(error)
    }
}

impl Salvage {
    /// Finds the blocks and reads the access control lists. Other blocks are read when they are asked
    /// for.
    ///
    /// # Errors
    /// A read that failed, or a version that is not known.
    pub fn open<S: Source>(source: &mut S) -> Result<Salvage, Refused<S::Error>> {
        let mut beginning = [0; HEADER_BYTES];
        let length = source.bytes().min(HEADER_BYTES as u64) as usize;
        source.read_at(0, &mut beginning[..length])?;
        let mut damage = Vec::new();
        let (header, seeds) = match Header::decode(&beginning[..length]) {
            Ok((header, seed)) => (Some(header), [seed, seed]),
            Err(HeaderFault::UnknownVersion(version)) => return Err(Refused::UnknownVersion(version)),
            Err(HeaderFault::Damaged(what)) => {
                damage.push(Damage { offset: 0, bytes: length as u64, what, lost: None });
                (None, Header::seeds(&beginning))
            }
        };
        let mut salvage =
            Salvage { header, totals: None, seed: seeds[0], blocks: Vec::new(), acls: Vec::new(), damage };
        salvage.find_blocks(source, seeds)?;
        salvage.read_acls(source)?;
        Ok(salvage)
    }

    /// Whose checkpoint this is, and the zxid that replay of the log begins behind.
    pub fn header(&self) -> Option<(DatabaseId, Zxid)> {
        self.header.map(|header| (header.database, header.first_zxid))
    }

    /// What the file's end says.
    pub fn totals(&self) -> Option<Totals> {
        self.totals
    }

    /// The damage that was found so far.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// How many blocks were found.
    pub fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// Access control lists, by their numbers, each as the bytes of jute's vector of ACL; `None` for one
    /// that is lost.
    pub fn acls(&self) -> impl Iterator<Item = Option<&[u8]>> {
        self.acls.iter().map(Option::as_deref)
    }

    /// One of them, unless it is lost.
    pub fn acl(&self, index: AclIndex) -> Option<&[u8]> {
        self.acls.get(index.0 as usize)?.as_deref()
    }

    /// Reads one block. Those of access control lists have been looked at before, and hold no record.
    ///
    /// # Errors
    /// A read that failed.
    pub fn read_block<S: Source>(&self, source: &mut S, number: usize) -> Result<SalvagedBlock, S::Error> {
        let place = self.blocks[number];
        if place.header.kind == BlockKind::Acls {
            return Ok(SalvagedBlock { place, bytes: Vec::new(), damage: None });
        }
        let (bytes, fault) = self.read(source, place)?;
        let mut block = SalvagedBlock { place, bytes, damage: None };
        let mut records = block.records();
        let count = records.by_ref().count() as u64;
        let whole = count == u64::from(place.header.records) && records.cursor.0.is_empty();
        let what = fault.or((!whole).then_some("the block's records contradict its header"));
        block.damage = what.map(|what| damaged_block(place, what));
        Ok(block)
    }

    /// A block's bytes, and what is wrong with them.
    fn read<S: Source>(
        &self,
        source: &mut S,
        place: Place,
    ) -> Result<(Vec<u8>, Option<&'static str>), S::Error> {
        let block = place.header;
        let mut bytes = vec![0; (block.end() - block.offset) as usize];
        source.read_at(block.offset, &mut bytes)?;
        let fault = block.check(self.seed, place.checksum, &bytes).err();
        Ok((bytes, fault))
    }

    /// By the index, or by the blocks' own headers.
    fn find_blocks<S: Source>(&mut self, source: &mut S, seeds: [Seed; 2]) -> Result<(), S::Error> {
        let length = source.bytes();
        if length < (HEADER_BYTES + FOOTER_BYTES) as u64 {
            let what = "the file is shorter than a header and a footer";
            self.damage.push(Damage { offset: length, bytes: 0, what, lost: None });
            return Ok(());
        }
        let footer_at = length - FOOTER_BYTES as u64;
        let mut last = [0; FOOTER_BYTES];
        source.read_at(footer_at, &mut last)?;
        // Where the end names no place that can be an index, the end itself is looked at, to say why.
        let named = Footer::index_at(&last);
        let tail_at = if (HEADER_BYTES as u64..=footer_at).contains(&named) { named } else { footer_at };
        let mut tail = vec![0; (length - tail_at) as usize];
        source.read_at(tail_at, &mut tail)?;
        let mut why = "";
        for seed in seeds {
            match Footer::decode_tail(seed, &tail, tail_at) {
                Ok((footer, entries)) => {
                    self.seed = seed;
                    self.take_index(footer, entries);
                    return Ok(());
                }
                Err(what) => why = what,
            }
        }
        self.damage.push(Damage { offset: footer_at, bytes: FOOTER_BYTES as u64, what: why, lost: None });
        self.scan(source, seeds)
    }

    fn take_index(&mut self, footer: Footer, entries: &[[u8; INDEX_ENTRY_BYTES]]) {
        let Footer { last_zxid, nodes, sessions, acls, data_bytes, .. } = footer;
        self.totals = Some(Totals { last_zxid, nodes, sessions, acls, data_bytes });
        for (entry, at) in entries.iter().zip((footer.index_at..).step_by(INDEX_ENTRY_BYTES)) {
            match BlockHeader::decode_index(entry) {
                Some((header, checksum)) if header.end() <= footer.index_at => {
                    self.blocks.push(Place { header, checksum });
                }
                _ => {
                    let what = "the index names a block of no kind or place";
                    let bytes = INDEX_ENTRY_BYTES as u64;
                    self.damage.push(Damage { offset: at, bytes, what, lost: None });
                }
            }
        }
    }

    fn scan<S: Source>(&mut self, source: &mut S, seeds: [Seed; 2]) -> Result<(), S::Error> {
        let mut search =
            Search { seeds, seed: None, work_left: source.bytes().saturating_mul(SEARCH_WORK_MAX) };
        let mut offset = HEADER_BYTES as u64;
        while let Some(place) = search.next(source, offset)? {
            if place.header.offset != offset {
                self.damage.push(hole(offset, place.header.offset));
            }
            offset = place.header.end();
            self.blocks.push(place);
        }
        self.seed = search.seed.unwrap_or(self.seed);
        // What is left should be the index and the footer, which are known to be damaged.
        let left = source.bytes() - offset;
        if left != (self.blocks.len() * INDEX_ENTRY_BYTES + FOOTER_BYTES) as u64 {
            self.damage.push(hole(offset, source.bytes()));
        }
        Ok(())
    }

    /// The numbers of lists behind a hole that may have held some are unknown: those are lost too.
    fn read_acls<S: Source>(&mut self, source: &mut S) -> Result<(), S::Error> {
        let mut expected = HEADER_BYTES as u64;
        let mut numbered = true;
        for place in self.blocks.clone() {
            numbered &= self.totals.is_some() || place.header.offset == expected;
            expected = place.header.end();
            if place.header.kind != BlockKind::Acls {
                continue;
            }
            let (bytes, fault) = self.read(source, place)?;
            let mut cursor = Cursor(&bytes[BLOCK_HEADER_BYTES..]);
            let mut read = 0;
            while read < place.header.records && fault.is_none() && numbered {
                let list = cursor.u32().and_then(|bytes| cursor.take(bytes as usize));
                let Some(list) = list else { break };
                self.acls.push(Some(list.into()));
                read += 1;
            }
            if read == place.header.records {
                continue;
            }
            let known = self.totals.map_or(0, |totals| totals.acls);
            // A list has four bytes at least: a block cannot claim more than fit into it.
            let left = (place.header.records - read).min(cursor.0.len() as u32 / 4);
            let lost = (self.acls.len() as u64 + u64::from(left)).min(known);
            self.acls.resize((lost as usize).max(self.acls.len()), None);
            let what = match (fault, numbered) {
                (Some(what), _) => what,
                (None, true) => "the block's records contradict its header",
                (None, false) => "the numbers of these access control lists are lost with what came before",
            };
            self.damage.push(damaged_block(place, what));
        }
        Ok(())
    }
}

fn damaged_block(place: Place, what: &'static str) -> Damage {
    let Place { header, .. } = place;
    let lost = Some((header.kind, header.records.into()));
    Damage { offset: header.offset, bytes: header.end() - header.offset, what, lost }
}

fn hole(from: u64, to: u64) -> Damage {
    Damage { offset: from, bytes: to - from, what: "no block begins here", lost: None }
}

/// Looks for blocks without an index.
struct Search {
    seeds: [Seed; 2],
    /// The one that a block was verified with.
    seed: Option<Seed>,
    work_left: u64,
}

impl Search {
    /// The first whole block at or behind `from`.
    fn next<S: Source>(&mut self, source: &mut S, from: u64) -> Result<Option<Place>, S::Error> {
        let length = source.bytes();
        let mut begin = from;
        let mut piece = Vec::new();
        while begin + (BLOCK_HEADER_BYTES as u64) < length {
            // The piece at the block that is expected here is small: most are found at once.
            let wanted = if begin == from { BLOCK_HEADER_BYTES } else { SEARCH_BYTES };
            piece.resize((length - begin).min(wanted as u64) as usize, 0);
            source.read_at(begin, &mut piece)?;
            for (header, at) in piece.array_windows::<BLOCK_HEADER_BYTES>().zip(begin..) {
                let candidate = BlockHeader::peek(header)
                    .filter(|(block, _)| block.offset == at && block.end() <= length && block.records > 0);
                if let Some((header, checksum)) = candidate
                    && self.is_whole(source, header, checksum)?
                {
                    return Ok(Some(Place { header, checksum }));
                }
            }
            begin += (piece.len() + 1 - BLOCK_HEADER_BYTES) as u64;
        }
        Ok(None)
    }

    fn is_whole<S: Source>(
        &mut self,
        source: &mut S,
        header: BlockHeader,
        checksum: u32,
    ) -> Result<bool, S::Error> {
        let bytes = header.end() - header.offset;
        let Some(work_left) = self.work_left.checked_sub(bytes) else { return Ok(false) };
        self.work_left = work_left;
        let mut block = vec![0; bytes as usize];
        source.read_at(header.offset, &mut block)?;
        let seeds = self.seed.map_or(self.seeds, |seed| [seed, seed]);
        let seed = seeds.into_iter().find(|seed| header.check(*seed, checksum, &block).is_ok());
        self.seed = self.seed.or(seed);
        Ok(seed.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SessionId;
    use crate::snap::{Checkpoint, CheckpointWriter, NodeRecord, SessionRecord};

    struct Bytes(Vec<u8>);

    impl Source for Bytes {
        type Error = std::convert::Infallible;

        fn bytes(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Self::Error> {
            into.copy_from_slice(&self.0[offset as usize..][..into.len()]);
            Ok(())
        }
    }

    /// Two blocks of nodes, one of sessions, one of lists.
    fn file() -> Vec<u8> {
        let mut writer = CheckpointWriter::new(DatabaseId(7), Zxid(3));
        let acls = [writer.intern_acl(b"one"), writer.intern_acl(b"two")];
        for number in 0..9u64 {
            let data = vec![number as u8; 60_000];
            writer.node(&NodeRecord {
                path: &format!("/{number}"),
                parent: None,
                data: Some(&data),
                acl: acls[number as usize % 2],
                czxid: Zxid(number),
                mzxid: Zxid(number),
                pzxid: Zxid(number),
                ctime: 0,
                mtime: 0,
                version: 0,
                cversion: 0,
                aversion: 0,
                ephemeral_owner: 0,
            });
        }
        writer.session(&SessionRecord { id: SessionId(5), timeout_ms: 6 });
        let mut file = Vec::new();
        while let Some(bytes) = writer.take_bytes() {
            file.extend(bytes);
        }
        file.extend(writer.finish(Zxid(9)).flatten());
        file
    }

    struct Read {
        trusted: Vec<String>,
        suspect: Vec<String>,
        damage: Vec<Damage>,
    }

    fn read(file: Vec<u8>) -> Read {
        let mut source = Bytes(file);
        let salvage = Salvage::open(&mut source).unwrap();
        let mut read = Read { trusted: vec![], suspect: vec![], damage: salvage.damage().to_vec() };
        for number in 0..salvage.block_count() {
            let Ok(block) = salvage.read_block(&mut source, number);
            for record in block.iter() {
                let text = match record {
                    Record::Node(node) => format!("{} {:?}", node.path, salvage.acl(node.acl)),
                    Record::Session(session) => session.id.to_string(),
                };
                let list = if block.damage().is_some() { &mut read.suspect } else { &mut read.trusted };
                list.push(text);
            }
            read.damage.extend(block.damage());
        }
        read
    }

    #[test]
    fn a_whole_file_gives_what_the_server_reads() {
        let file = file();
        let checkpoint = Checkpoint::open(&file).unwrap();
        let mut expected = Vec::new();
        let visit = |record: Record<'_>| match record {
            Record::Node(node) => {
                expected.push(format!("{} {:?}", node.path, Some(checkpoint.acl(node.acl))))
            }
            Record::Session(session) => expected.push(session.id.to_string()),
        };
        checkpoint.visit(visit).unwrap();
        let read = read(file.clone());
        assert_eq!((read.trusted, read.suspect, read.damage), (expected, vec![], vec![]));
    }

    #[test]
    fn every_flipped_byte_is_named_and_costs_one_block_at_most() {
        let file = file();
        let whole = read(file.clone()).trusted;
        // Every byte of headers, index and footer, and some of the records.
        let ends = [HEADER_BYTES + BLOCK_HEADER_BYTES + 40, file.len() - 700];
        let places = (0..ends[0]).chain((ends[0]..ends[1]).step_by(9973)).chain(ends[1]..file.len());
        for at in places {
            let mut damaged = file.clone();
            damaged[at] ^= 0x10;
            let found = read(damaged);
            assert!(!found.damage.is_empty(), "{at}");
            assert!(found.trusted.len() + found.suspect.len() >= whole.len() - 5, "{at}");
            let nodes = |all: &[String]| all.iter().filter(|text| text.starts_with('/')).count();
            assert!(nodes(&found.trusted) >= 4, "{at}: {:?}", found.damage);
        }
    }

    #[test]
    fn a_file_that_was_cut_short_gives_every_block_before_the_cut() {
        let file = file();
        for cut in (0..file.len()).step_by(4999) {
            let found = read(file[..cut].to_vec());
            assert!(!found.damage.is_empty(), "{cut}");
            let nodes = found.trusted.iter().filter(|text| text.starts_with('/')).count();
            let expected = if cut > 5 * 60_200 { 5 } else { 0 };
            assert!(nodes >= expected, "{cut}: {nodes} nodes");
        }
    }

    #[test]
    fn bytes_that_pretend_to_be_blocks_end_the_search() {
        let mut file = file();
        let length = file.len();
        file.truncate(length - 1);
        for (chunk, at) in file[64..].chunks_exact_mut(32).zip((64u64..).step_by(32)) {
            chunk[..4].fill(1);
            chunk[4..8].copy_from_slice(&((length as u64).saturating_sub(at + 64) as u32 / 2).to_le_bytes());
            chunk[8..16].copy_from_slice(&[1, 0, 0, 0, 9, 0, 0, 0]);
            chunk[16..24].copy_from_slice(&at.to_le_bytes());
        }
        assert_eq!(read(file).trusted, [""; 0]);
    }

    #[test]
    fn a_small_block_cannot_claim_many_lists() {
        let (header, seed) = Header { database: DatabaseId(1), first_zxid: Zxid(1) }.encode();
        let records = u32::MAX;
        let offset = HEADER_BYTES as u64;
        let block = BlockHeader { bytes: 8, kind: BlockKind::Acls, records, offset };
        let mut bytes = vec![0; BLOCK_HEADER_BYTES + 8];
        let checksum = block.encode(seed, &mut bytes);
        let mut index = block.encode_index(checksum).to_vec();
        let (index_at, acls) = (block.end(), records.into());
        let last_zxid = Zxid(1);
        let footer = Footer { last_zxid, index_at, blocks: 1, nodes: 0, sessions: 0, acls, data_bytes: 0 };
        footer.encode(seed, &mut index);
        let salvage = Salvage::open(&mut Bytes([&header[..], &bytes, &index].concat())).unwrap();
        assert_eq!((salvage.acls().count(), salvage.damage().len()), (2, 1));
    }
}
