//! The layout of a log segment, byte by byte: the one place that knows an offset.
//!
//! ```text
//! segment = header (4096 bytes) batch* rest
//! batch   = header (64 bytes) entry* zeros up to the segment's alignment
//! entry   = zxid u64, length u32, the transaction's bytes as its maker encoded them
//! ```
//!
//! Every number is little-endian. The laws that the layout keeps:
//!
//! - A segment's header and its first batch are one write, so a segment has either both or nothing.
//! - Batches end on the alignment (a sector or more), so a write never touches a sector that holds
//!   what was acknowledged before: a torn write can only harm itself.
//! - Each batch carries the checksum of what came before it, across segments: the chain. The header
//!   says where the log before it ends, and what comes behind that end has no meaning. So a log is cut
//!   by beginning a new segment and never by changing an old one, and a cut is as atomic as any write.
//! - Each batch carries its segment and offset, so what a recycled file held before, or a write that
//!   the disk put in the wrong place, is not mistaken for it.
//! - A batch's header has a checksum of its own, begun with the database's random id. So a length is
//!   trusted only when it is ours, and recovery's search for batches behind damage finds none in the
//!   bytes that a client chose.
//! - No transaction is empty. A header holds the last zxid, four bytes later the entries' checksum; of an
//!   empty transaction the entry is its zxid and four bytes. A change of the zxid would change the checksum
//!   of the entry to just what hides it from the header's, so a header torn there would be taken for whole.
//! - Each batch says what was known to be committed when it was written. So a server of an ensemble
//!   that starts applies that much, and waits to hear of the rest.
//!
//! A change of layout is a new `VERSION`; what every version keeps is the place of the magic, of the
//! version and of the header's checksum (its last four bytes).

use std::fmt;

use crate::id::Zxid;

/// First bytes of a segment.
pub const MAGIC: [u8; 4] = *b"RKLG";
/// The version that this code writes.
pub const VERSION: u32 = 2;
/// Bytes of a segment's header; the first batch begins here.
pub const SEGMENT_HEADER_BYTES: usize = 4096;
/// Bytes of a batch's header.
pub const BATCH_HEADER_BYTES: usize = BATCH_COMMITTED_AT + 8;
/// Bytes before each entry's transaction.
pub const ENTRY_HEADER_BYTES: usize = ENTRY_LENGTH_AT + 4;
/// The longest transaction that the log takes. It bounds a batch, so also what recovery allocates.
pub const ENTRY_BYTES_MAX: usize = 256 << 20;

const MAGIC_AT: usize = 0;
const VERSION_AT: usize = MAGIC_AT + MAGIC.len();
const DATABASE_AT: usize = VERSION_AT + 4;
const SEQUENCE_AT: usize = DATABASE_AT + 8;
const FIRST_ZXID_AT: usize = SEQUENCE_AT + 8;
const PREVIOUS_ZXID_AT: usize = FIRST_ZXID_AT + 8;
const PREVIOUS_SEQUENCE_AT: usize = PREVIOUS_ZXID_AT + 8;
const PREVIOUS_END_AT: usize = PREVIOUS_SEQUENCE_AT + 8;
const PREVIOUS_CHECKSUM_AT: usize = PREVIOUS_END_AT + 8;
const ALIGNMENT_AT: usize = PREVIOUS_CHECKSUM_AT + 4;
const FLAGS_AT: usize = ALIGNMENT_AT + 4;
const CAPACITY_AT: usize = FLAGS_AT + 4 + 4;
const UNUSED_AT: usize = CAPACITY_AT + 8;
const CHECKSUM_AT: usize = SEGMENT_HEADER_BYTES - 4;
const _: () = assert!(UNUSED_AT == 80 && UNUSED_AT <= CHECKSUM_AT);

const FLAG_RECYCLED: u32 = 1;
const FLAG_UNSYNCED: u32 = 2;

const BATCH_MAGIC: [u8; 4] = *b"RKBT";
const BATCH_MAGIC_AT: usize = 0;
const BATCH_CHECKSUM_AT: usize = BATCH_MAGIC_AT + BATCH_MAGIC.len();
const BATCH_BYTES_AT: usize = BATCH_CHECKSUM_AT + 4;
const BATCH_PREVIOUS_AT: usize = BATCH_BYTES_AT + 4;
const BATCH_SEQUENCE_AT: usize = BATCH_PREVIOUS_AT + 4;
const BATCH_OFFSET_AT: usize = BATCH_SEQUENCE_AT + 8;
const BATCH_FIRST_AT: usize = BATCH_OFFSET_AT + 8;
const BATCH_LAST_AT: usize = BATCH_FIRST_AT + 8;
const BATCH_ENTRIES_AT: usize = BATCH_LAST_AT + 8;
const BATCH_ENTRIES_CHECKSUM_AT: usize = BATCH_ENTRIES_AT + 4;
const BATCH_COMMITTED_AT: usize = BATCH_ENTRIES_CHECKSUM_AT + 4;
const _: () = assert!(BATCH_HEADER_BYTES == 64 && BATCH_HEADER_BYTES.is_multiple_of(8));
const _: () = assert!(BATCH_HEADER_BYTES <= Alignment::MIN as usize);

const ENTRY_ZXID_AT: usize = 0;
const ENTRY_LENGTH_AT: usize = ENTRY_ZXID_AT + 8;
const _: () = assert!(ENTRY_HEADER_BYTES == 12);
const _: () = assert!(ENTRY_BYTES_MAX < u32::MAX as usize / 2);

/// The random number that a data directory got at its creation. A file of another one is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DatabaseId(pub u64);

impl fmt::Display for DatabaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A segment's number, from 1 on, never used twice in one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl Sequence {
    /// Of the first segment of a log.
    pub const FIRST: Sequence = Sequence(1);

    /// Of the segment after this one.
    pub const fn next(self) -> Sequence {
        Sequence(self.0 + 1)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A CRC32C, as a link of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Checksum(pub u32);

/// What each batch is padded to, in bytes: a power of two from 512 to 4096. A file that is opened with
/// O_DIRECT needs at least its device's logical block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alignment(u32);

impl Alignment {
    const MIN: u32 = 512;
    /// A sector.
    pub const SECTOR: Alignment = Alignment(Self::MIN);
    /// A page; also the block of disks that have no smaller one.
    pub const PAGE: Alignment = Alignment(SEGMENT_HEADER_BYTES as u32);

    /// `None` unless `bytes` is a power of two from 512 to 4096.
    pub const fn new(bytes: u32) -> Option<Alignment> {
        if bytes.is_power_of_two() && bytes >= Self::MIN && bytes <= Self::PAGE.0 {
            Some(Alignment(bytes))
        } else {
            None
        }
    }

    /// In bytes.
    pub const fn bytes(self) -> u32 {
        self.0
    }

    /// The next multiple at or after `bytes`.
    pub const fn round_up(self, bytes: u64) -> u64 {
        bytes.next_multiple_of(self.0 as u64)
    }
}

/// Where the log before a segment ends: the end of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The segment that holds that end.
    pub sequence: Sequence,
    /// The offset behind the last batch that counts, in bytes.
    pub end: u64,
    /// That batch's checksum; the segment header's if no batch of it counts.
    pub checksum: Checksum,
}

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Whose log this is.
    pub database: DatabaseId,
    /// Its number, the same as in the file's name.
    pub sequence: Sequence,
    /// The first zxid of its first batch.
    pub first_zxid: Zxid,
    /// The last zxid of the log before it; what a log without `previous` continues from.
    pub previous_zxid: Zxid,
    /// The end of the log before it; `None` where a log begins (a new database, or a checkpoint that
    /// a leader sent).
    pub previous: Option<Link>,
    /// What its batches are padded to.
    pub alignment: Alignment,
    /// The file held another segment before, so what is behind its last batch is not zeros.
    pub recycled: bool,
    /// Its batches behind the first were not made durable one by one, so a power failure may leave
    /// holes among them.
    pub unsynced: bool,
    /// The file's length in bytes, durable before its first batch; zero if that was not noted. A
    /// shorter file has lost its end.
    pub capacity: u64,
}

/// Why the first 4 KiB of a file are not a segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// Too short, no magic or a wrong checksum.
    Damaged(&'static str),
    /// Undamaged, and of a version that this code does not know.
    UnknownVersion(u32),
}

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

impl SegmentHeader {
    /// Fills `out` (exactly 4096 bytes) and returns the checksum that the first batch continues.
    pub fn encode(&self, out: &mut [u8]) -> Checksum {
        assert_eq!(out.len(), SEGMENT_HEADER_BYTES);
        out.fill(0);
        out[MAGIC_AT..VERSION_AT].copy_from_slice(&MAGIC);
        put_u32(out, VERSION_AT, VERSION);
        put_u64(out, DATABASE_AT, self.database.0);
        put_u64(out, SEQUENCE_AT, self.sequence.0);
        put_u64(out, FIRST_ZXID_AT, self.first_zxid.0);
        put_u64(out, PREVIOUS_ZXID_AT, self.previous_zxid.0);
        if let Some(link) = self.previous {
            put_u64(out, PREVIOUS_SEQUENCE_AT, link.sequence.0);
            put_u64(out, PREVIOUS_END_AT, link.end);
            put_u32(out, PREVIOUS_CHECKSUM_AT, link.checksum.0);
        }
        put_u32(out, ALIGNMENT_AT, self.alignment.bytes());
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        put_u32(out, FLAGS_AT, flag(self.recycled, FLAG_RECYCLED) | flag(self.unsynced, FLAG_UNSYNCED));
        put_u64(out, CAPACITY_AT, self.capacity);
        let checksum = crc32c::crc32c(&out[..CHECKSUM_AT]);
        put_u32(out, CHECKSUM_AT, checksum);
        Checksum(checksum)
    }

    /// Reads a header from a file's beginning, with the checksum that its first batch continues.
    pub fn decode(bytes: &[u8]) -> Result<(SegmentHeader, Checksum), HeaderFault> {
        let Some(bytes) = bytes.get(..SEGMENT_HEADER_BYTES) else {
            return Err(HeaderFault::Damaged("the file is shorter than a header"));
        };
        if bytes[MAGIC_AT..VERSION_AT] != MAGIC {
            return Err(HeaderFault::Damaged("it does not begin as a segment does"));
        }
        let checksum = Checksum(get_u32(bytes, CHECKSUM_AT));
        if crc32c::crc32c(&bytes[..CHECKSUM_AT]) != checksum.0 {
            return Err(HeaderFault::Damaged("its checksum is wrong"));
        }
        let version = get_u32(bytes, VERSION_AT);
        if version != VERSION {
            return Err(HeaderFault::UnknownVersion(version));
        }
        let alignment = Alignment::new(get_u32(bytes, ALIGNMENT_AT))
            .ok_or(HeaderFault::Damaged("its alignment is no power of two from 512 to 4096"))?;
        let link = Link {
            sequence: Sequence(get_u64(bytes, PREVIOUS_SEQUENCE_AT)),
            end: get_u64(bytes, PREVIOUS_END_AT),
            checksum: Checksum(get_u32(bytes, PREVIOUS_CHECKSUM_AT)),
        };
        let header = SegmentHeader {
            database: DatabaseId(get_u64(bytes, DATABASE_AT)),
            sequence: Sequence(get_u64(bytes, SEQUENCE_AT)),
            first_zxid: Zxid(get_u64(bytes, FIRST_ZXID_AT)),
            previous_zxid: Zxid(get_u64(bytes, PREVIOUS_ZXID_AT)),
            previous: (link.sequence.0 != 0).then_some(link),
            alignment,
            recycled: get_u32(bytes, FLAGS_AT) & FLAG_RECYCLED != 0,
            unsynced: get_u32(bytes, FLAGS_AT) & FLAG_UNSYNCED != 0,
            capacity: get_u64(bytes, CAPACITY_AT),
        };
        if header.previous.is_some_and(|link| link.sequence >= header.sequence) {
            return Err(HeaderFault::Damaged("it follows a segment that is not before it"));
        }
        Ok((header, checksum))
    }

    /// The database that a damaged header names. Nothing is checked, so it is a guess: a batch whose
    /// checksum begins with it proves it.
    pub fn peek_database(bytes: &[u8]) -> Option<DatabaseId> {
        bytes.get(..SEGMENT_HEADER_BYTES).map(|bytes| DatabaseId(get_u64(bytes, DATABASE_AT)))
    }
}

/// A batch's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Bytes of header and entries, without the padding.
    pub bytes: u32,
    /// Checksum of the batch before it, or of the segment's header.
    pub previous: Checksum,
    /// The segment that it was written to.
    pub sequence: Sequence,
    /// Where in that segment, in bytes.
    pub offset: u64,
    /// Zxid of its first entry; of the last one before it if it has none.
    pub first_zxid: Zxid,
    /// Zxid of its last entry; of the last one before it if it has none.
    pub last_zxid: Zxid,
    /// How many entries. A batch of none marks that all before it is durable.
    pub entries: u32,
    /// CRC32C of the entries' bytes.
    pub entries_checksum: Checksum,
    /// The newest transaction that was known to be committed when this was written; not newer than
    /// `last_zxid`.
    pub committed: Zxid,
}

impl BatchHeader {
    /// Fills `out` (exactly 64 bytes) and returns the batch's checksum. It covers the header, and by
    /// `entries_checksum` the entries; the padding is covered by nothing, for it means nothing.
    pub fn encode(&self, database: DatabaseId, out: &mut [u8]) -> Checksum {
        assert_eq!(out.len(), BATCH_HEADER_BYTES);
        out[BATCH_MAGIC_AT..BATCH_CHECKSUM_AT].copy_from_slice(&BATCH_MAGIC);
        put_u32(out, BATCH_BYTES_AT, self.bytes);
        put_u32(out, BATCH_PREVIOUS_AT, self.previous.0);
        put_u64(out, BATCH_SEQUENCE_AT, self.sequence.0);
        put_u64(out, BATCH_OFFSET_AT, self.offset);
        put_u64(out, BATCH_FIRST_AT, self.first_zxid.0);
        put_u64(out, BATCH_LAST_AT, self.last_zxid.0);
        put_u32(out, BATCH_ENTRIES_AT, self.entries);
        put_u32(out, BATCH_ENTRIES_CHECKSUM_AT, self.entries_checksum.0);
        put_u64(out, BATCH_COMMITTED_AT, self.committed.0);
        let checksum = Self::checksum(database, out);
        put_u32(out, BATCH_CHECKSUM_AT, checksum.0);
        checksum
    }

    /// Whether what may be a damaged header still has a batch's magic, or its place.
    pub fn resembles(bytes: &[u8], sequence: Sequence, offset: u64) -> bool {
        let Some(bytes) = bytes.get(..BATCH_HEADER_BYTES) else { return false };
        bytes[BATCH_MAGIC_AT..BATCH_CHECKSUM_AT] == BATCH_MAGIC
            || (get_u64(bytes, BATCH_SEQUENCE_AT), get_u64(bytes, BATCH_OFFSET_AT)) == (sequence.0, offset)
    }

    /// Reads a header from the beginning of `bytes`, with the batch's checksum. `None` if there is no
    /// batch of this database: whether it is this segment's is the caller's question.
    pub fn decode(database: DatabaseId, bytes: &[u8]) -> Option<(BatchHeader, Checksum)> {
        let bytes = bytes.get(..BATCH_HEADER_BYTES)?;
        if bytes[BATCH_MAGIC_AT..BATCH_CHECKSUM_AT] != BATCH_MAGIC {
            return None;
        }
        let checksum = Checksum(get_u32(bytes, BATCH_CHECKSUM_AT));
        if Self::checksum(database, bytes) != checksum {
            return None;
        }
        let header = BatchHeader {
            bytes: get_u32(bytes, BATCH_BYTES_AT),
            previous: Checksum(get_u32(bytes, BATCH_PREVIOUS_AT)),
            sequence: Sequence(get_u64(bytes, BATCH_SEQUENCE_AT)),
            offset: get_u64(bytes, BATCH_OFFSET_AT),
            first_zxid: Zxid(get_u64(bytes, BATCH_FIRST_AT)),
            last_zxid: Zxid(get_u64(bytes, BATCH_LAST_AT)),
            entries: get_u32(bytes, BATCH_ENTRIES_AT),
            entries_checksum: Checksum(get_u32(bytes, BATCH_ENTRIES_CHECKSUM_AT)),
            committed: Zxid(get_u64(bytes, BATCH_COMMITTED_AT)),
        };
        (header.bytes as usize >= BATCH_HEADER_BYTES).then_some((header, checksum))
    }

    fn checksum(database: DatabaseId, header: &[u8]) -> Checksum {
        let seed = crc32c::crc32c(&database.0.to_le_bytes());
        Checksum(crc32c::crc32c_append(seed, &header[BATCH_BYTES_AT..BATCH_HEADER_BYTES]))
    }
}

/// The header of an entry of `length` bytes.
pub fn encode_entry_header(zxid: Zxid, length: u32) -> [u8; ENTRY_HEADER_BYTES] {
    let mut out = [0; ENTRY_HEADER_BYTES];
    put_u64(&mut out, ENTRY_ZXID_AT, zxid.0);
    put_u32(&mut out, ENTRY_LENGTH_AT, length);
    out
}

/// An entry's zxid and length. `None` if `bytes` is shorter than an entry's header.
pub fn decode_entry_header(bytes: &[u8]) -> Option<(Zxid, usize)> {
    let bytes = bytes.get(..ENTRY_HEADER_BYTES)?;
    Some((Zxid(get_u64(bytes, ENTRY_ZXID_AT)), get_u32(bytes, ENTRY_LENGTH_AT) as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            database: DatabaseId(0x1122_3344_5566_7788),
            sequence: Sequence(3),
            first_zxid: Zxid(0x1_0000_0007),
            previous_zxid: Zxid(0x1_0000_0006),
            previous: Some(Link { sequence: Sequence(2), end: 8192, checksum: Checksum(0xa1b2_c3d4) }),
            alignment: Alignment::SECTOR,
            recycled: true,
            unsynced: true,
            capacity: 0x40_0000,
        }
    }

    fn batch() -> BatchHeader {
        BatchHeader {
            bytes: 71,
            previous: Checksum(0x0102_0304),
            sequence: Sequence(3),
            offset: 4096,
            first_zxid: Zxid(0x1_0000_0007),
            last_zxid: Zxid(0x1_0000_0009),
            entries: 1,
            entries_checksum: Checksum(0x0506_0708),
            committed: Zxid(0x1_0000_0005),
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn segment_header_keeps_its_golden_bytes() {
        let mut bytes = [0xff; SEGMENT_HEADER_BYTES];
        let checksum = header().encode(&mut bytes);
        assert_eq!(
            hex(&bytes[..80]),
            concat!(
                "524b4c47",         // magic
                "02000000",         // version
                "8877665544332211", // database
                "0300000000000000", // sequence
                "0700000001000000", // first zxid
                "0600000001000000", // previous zxid
                "0200000000000000", // previous sequence
                "0020000000000000", // previous end
                "d4c3b2a1",         // previous checksum
                "00020000",         // alignment
                "03000000",         // flags: recycled, unsynced
                "00000000",         // nothing
                "0000400000000000", // capacity
            )
        );
        assert!(bytes[UNUSED_AT..CHECKSUM_AT].iter().all(|&byte| byte == 0));
        assert_eq!(hex(&bytes[CHECKSUM_AT..]), "dfb60be1");
        assert_eq!(SegmentHeader::decode(&bytes), Ok((header(), checksum)));
    }

    #[test]
    fn batch_header_keeps_its_golden_bytes() {
        let mut bytes = [0xff; BATCH_HEADER_BYTES];
        let database = DatabaseId(0x1122_3344_5566_7788);
        let checksum = batch().encode(database, &mut bytes);
        assert_eq!(
            hex(&bytes),
            concat!(
                "524b4254",         // magic
                "00bd400a",         // checksum
                "47000000",         // bytes
                "04030201",         // previous checksum
                "0300000000000000", // sequence
                "0010000000000000", // offset
                "0700000001000000", // first zxid
                "0900000001000000", // last zxid
                "01000000",         // entries
                "08070605",         // checksum of the entries
                "0500000001000000", // committed
            )
        );
        assert_eq!(BatchHeader::decode(database, &bytes), Some((batch(), checksum)));
        assert_eq!(BatchHeader::decode(DatabaseId(1), &bytes), None, "another database's");
    }

    #[test]
    fn entry_header_keeps_its_golden_bytes() {
        let bytes = encode_entry_header(Zxid(0x1_0000_0007), 3);
        assert_eq!(hex(&bytes), "070000000100000003000000");
        assert_eq!(decode_entry_header(&bytes), Some((Zxid(0x1_0000_0007), 3)));
        assert_eq!(decode_entry_header(&bytes[..11]), None);
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_seen() {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        header().encode(&mut bytes);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(SegmentHeader::decode(&bytes), Err(HeaderFault::Damaged(_))), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        let mut bytes = [0; BATCH_HEADER_BYTES];
        batch().encode(DatabaseId(5), &mut bytes);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(BatchHeader::decode(DatabaseId(5), &bytes), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    /// A torn write leaves a new header's beginning and an old one's end.
    #[test]
    fn what_two_headers_make_together_is_none() {
        let encoded = |zxid: u64, transaction: &[u8]| {
            let mut entry = encode_entry_header(Zxid(zxid), transaction.len() as u32).to_vec();
            entry.extend_from_slice(transaction);
            let entries_checksum = Checksum(crc32c::crc32c(&entry));
            let zxid = Zxid(zxid);
            let header = BatchHeader { first_zxid: zxid, last_zxid: zxid, entries_checksum, ..batch() };
            let mut bytes = [0; BATCH_HEADER_BYTES];
            header.encode(DatabaseId(5), &mut bytes);
            bytes
        };
        let taken = |transaction: &[u8]| {
            let (old, new) = (encoded(8, transaction), encoded(16, transaction));
            let torn = |at: usize| [&new[..at], &old[at..]].concat();
            let mixed = (0..BATCH_HEADER_BYTES).map(torn).filter(|torn| *torn != old && *torn != new);
            mixed.filter(|torn| BatchHeader::decode(DatabaseId(5), torn).is_some()).count()
        };
        assert_eq!([&b"x"[..], b"of several bytes"].map(taken), [0, 0]);
        assert!(taken(b"") > 0, "why an empty transaction is not taken");
    }

    #[test]
    fn an_undamaged_header_of_another_version_is_named_as_such() {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        header().encode(&mut bytes);
        put_u32(&mut bytes, VERSION_AT, 1);
        let checksum = crc32c::crc32c(&bytes[..CHECKSUM_AT]);
        put_u32(&mut bytes, CHECKSUM_AT, checksum);
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderFault::UnknownVersion(1)));
    }
}
