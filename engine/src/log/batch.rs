//! A batch while it gathers.
//!
//! The bytes lie where the disk will read them from: at an address that O_DIRECT takes, with room in
//! front for the segment's header, which the first batch of a segment carries with it.

use std::ops::Range;

use super::format::{
    Alignment, BATCH_HEADER_BYTES, BatchHeader, Checksum, DatabaseId, SEGMENT_HEADER_BYTES, SegmentHeader,
    Sequence, encode_entry_header,
};
use crate::id::Zxid;

/// Addresses are multiples of this: the largest logical block of any disk that we know.
const ADDRESS_ALIGNMENT: usize = 4096;
const ENTRIES_AT: usize = SEGMENT_HEADER_BYTES + BATCH_HEADER_BYTES;

/// Where a batch goes: known only when it is written, since the batch before it may still gather.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub database: DatabaseId,
    pub sequence: Sequence,
    pub offset: u64,
    pub previous: Checksum,
    pub alignment: Alignment,
    /// The newest committed transaction, as far as is known.
    pub committed: Zxid,
}

/// One batch: entries in the order of their zxids.
#[derive(Debug)]
pub(super) struct Batch {
    /// `start` bytes of nothing, then the segment header's room, the batch's header and entries. Its
    /// capacity never changes while it holds a batch, so `start` keeps the address aligned.
    bytes: Vec<u8>,
    start: usize,
    entries: u32,
    first: Zxid,
    last: Zxid,
    /// When its first entry came.
    pub since_us: u64,
}

impl Batch {
    /// An empty batch after `last`, in the memory of `reused`.
    pub fn new(reused: Vec<u8>, last: Zxid, now_us: u64) -> Batch {
        let mut batch = Batch { bytes: reused, start: 0, entries: 0, first: last, last, since_us: now_us };
        batch.place(ENTRIES_AT, &[]);
        batch
    }

    /// Makes the content `content` and zeros up to `len` bytes, in aligned memory for at least that.
    fn place(&mut self, len: usize, content: &[u8]) {
        self.bytes.clear();
        self.bytes.reserve(len + ADDRESS_ALIGNMENT);
        let misaligned = self.bytes.as_ptr().addr() % ADDRESS_ALIGNMENT;
        self.start = (ADDRESS_ALIGNMENT - misaligned) % ADDRESS_ALIGNMENT;
        self.bytes.resize(self.start, 0);
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.start + len, 0);
    }

    fn reserve(&mut self, extra: usize) {
        if self.bytes.capacity() - self.bytes.len() >= extra {
            return;
        }
        let grown = Vec::with_capacity((self.bytes.len() + extra + ADDRESS_ALIGNMENT).next_power_of_two());
        let old = std::mem::replace(&mut self.bytes, grown);
        let content = &old[self.start..];
        self.place(content.len(), content);
    }

    /// Bytes of header and entries.
    pub fn bytes(&self) -> usize {
        self.bytes.len() - self.start - SEGMENT_HEADER_BYTES
    }

    pub fn last(&self) -> Zxid {
        self.last
    }

    /// Adds a transaction. The caller keeps zxids in order and lengths within their bound.
    pub fn push(&mut self, zxid: Zxid, transaction: &[u8]) {
        let header = encode_entry_header(zxid, transaction.len() as u32);
        self.reserve(header.len() + transaction.len() + ADDRESS_ALIGNMENT);
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(transaction);
        if self.entries == 0 {
            self.first = zxid;
        }
        self.entries += 1;
        self.last = zxid;
    }

    /// Adds transactions that lie as entries already. The caller answers for them.
    pub fn push_entries(&mut self, first: Zxid, last: Zxid, count: u32, entries: &[u8]) {
        self.reserve(entries.len() + ADDRESS_ALIGNMENT);
        self.bytes.extend_from_slice(entries);
        if self.entries == 0 {
            self.first = first;
        }
        self.entries += count;
        self.last = last;
    }

    /// Pads, and fills the batch's header in.
    pub fn seal(&mut self, place: Place) -> Checksum {
        let bytes = self.bytes();
        let content = &mut self.bytes[self.start + SEGMENT_HEADER_BYTES..];
        let (header, entries) = content.split_at_mut(BATCH_HEADER_BYTES);
        let checksum = BatchHeader {
            bytes: bytes as u32,
            previous: place.previous,
            sequence: place.sequence,
            offset: place.offset,
            first_zxid: self.first,
            last_zxid: self.last,
            entries: self.entries,
            entries_checksum: Checksum(crc32c::crc32c(entries)),
            committed: place.committed.min(self.last),
        }
        .encode(place.database, header);
        let padding = place.alignment.round_up(bytes as u64) as usize - bytes;
        self.reserve(padding);
        self.bytes.resize(self.bytes.len() + padding, 0);
        checksum
    }

    /// Fills the segment's header in, in front of the batch, and returns its checksum.
    pub fn fill_segment_header(&mut self, mut header: SegmentHeader) -> Checksum {
        header.first_zxid = self.first;
        header.encode(&mut self.bytes[self.start..self.start + SEGMENT_HEADER_BYTES])
    }

    /// The sealed bytes and where in them the write begins and ends.
    pub fn into_write(self, with_segment_header: bool) -> (Vec<u8>, Range<usize>) {
        let begin = if with_segment_header { self.start } else { self.start + SEGMENT_HEADER_BYTES };
        let end = self.bytes.len();
        (self.bytes, begin..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_stay_aligned_in_memory_however_far_the_batch_grows() {
        let place = Place {
            database: DatabaseId(1),
            sequence: Sequence::FIRST,
            offset: 4096,
            previous: Checksum(0),
            alignment: Alignment::SECTOR,
            committed: Zxid(10),
        };
        let mut memory = Vec::new();
        for entries in [0, 1, 7, 300, 5000] {
            let mut batch = Batch::new(memory, Zxid(9), 0);
            for zxid in 0..entries {
                batch.push(Zxid(10 + zxid), &[zxid as u8; 301]);
            }
            batch.seal(place);
            let (bytes, range) = batch.into_write(false);
            assert_eq!(bytes[range.clone()].as_ptr().addr() % ADDRESS_ALIGNMENT, 0);
            assert_eq!(range.len() % 512, 0);
            assert!(range.len() >= BATCH_HEADER_BYTES + entries as usize * 313);
            let (header, _) = BatchHeader::decode(DatabaseId(1), &bytes[range]).unwrap();
            assert_eq!(header.entries as u64, entries);
            assert_eq!(header.committed, Zxid(10).min(header.last_zxid));
            memory = bytes;
        }
    }
}
