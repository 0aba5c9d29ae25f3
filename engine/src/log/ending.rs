//! What lies at a segment's end, looked at from there.
//!
//! The log's last file is full of zeros or of what it held before, and so is the one before it behind its
//! last batch. That no batch was written there is known when all of it was read, which takes as long as the
//! reading of a log. It needs nothing of the log, so it can be done at the same time.

use super::format::{DatabaseId, Sequence};
use super::reader::header_in_place;
use super::recovery::{READ_BYTES, SECTOR_BYTES, SegmentFile, SegmentSource};

/// Addresses of memory that a read past the page cache takes.
const ADDRESS_ALIGNMENT: usize = 4096;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// No batch of this segment begins there or behind, in bytes. A multiple of a sector.
    batchless_from: u64,
    /// Only zeros are there and behind; the sector before is of something else. A multiple of a sector, but
    /// where the file's length is none.
    zeros_from: u64,
}

/// What lies behind a place of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// A batch that was written to this place.
    Batch(u64),
    /// None, but bytes that are not zero.
    Remains,
    /// None.
    Nothing,
}

impl Ending {
    /// Whether there is a batch at or behind `from`, or anything at or behind `begin`, both multiples of a
    /// sector; `None` if that is not known. So it says that there is a batch by saying nothing: which is the
    /// first, only a search from the front can say.
    pub(super) fn rest(&self, from: u64, begin: u64) -> Option<Rest> {
        match (from >= self.batchless_from, begin >= self.zeros_from) {
            (false, _) => None,
            (true, true) => Some(Rest::Nothing),
            (true, false) => Some(Rest::Remains),
        }
    }
}

/// Looks at a file from its end on, up to the last batch of the segment or the file's beginning.
///
/// # Errors
/// A read that failed.
pub fn look_from_end<S: SegmentSource>(
    source: &mut S,
    database: DatabaseId,
    file: SegmentFile,
) -> Result<Ending, S::Error> {
    let mut bytes = vec![0; READ_BYTES.min(file.bytes as usize) + ADDRESS_ALIGNMENT];
    let start = bytes.as_ptr().align_offset(ADDRESS_ALIGNMENT);
    let (mut end, mut zeros_from) = (file.bytes, None);
    while end > 0 {
        let begin = (end - 1) / READ_BYTES as u64 * READ_BYTES as u64;
        let piece = &mut bytes[start..start + (end - begin) as usize];
        source.read_at(file.sequence, begin, piece)?;
        for (index, sector) in piece.chunks(SECTOR_BYTES as usize).enumerate().rev() {
            if is_zero(sector) {
                continue;
            }
            let at = begin + index as u64 * SECTOR_BYTES;
            let zeros_from = *zeros_from.get_or_insert(at + sector.len() as u64);
            if is_batch(database, file.sequence, at, sector) {
                return Ok(Ending { batchless_from: at + SECTOR_BYTES, zeros_from });
            }
        }
        end = begin;
    }
    Ok(Ending { batchless_from: 0, zeros_from: zeros_from.unwrap_or(0) })
}

/// Whether a sector is zeros.
pub(super) fn is_zero(sector: &[u8]) -> bool {
    // Without an early end, so that it is done many bytes at a time.
    sector.iter().fold(0, |any, byte| any | byte) == 0
}

/// Whether a batch of this segment, that was written to this place, begins with this sector.
pub(super) fn is_batch(database: DatabaseId, segment: Sequence, at: u64, sector: &[u8]) -> bool {
    header_in_place(database, segment, at, sector).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Zxid;
    use crate::log::format::{BATCH_HEADER_BYTES, BatchHeader, Checksum};
    use crate::log::simulated_disk::Image;

    const DATABASE: DatabaseId = DatabaseId(7);
    const SEGMENT: Sequence = Sequence(3);
    const SECTOR: usize = SECTOR_BYTES as usize;

    fn put_batch(file: &mut [u8], at: usize, sequence: Sequence) {
        let none = Zxid::ZERO;
        let header = BatchHeader {
            bytes: BATCH_HEADER_BYTES as u32,
            previous: Checksum(0),
            sequence,
            offset: at as u64,
            first_zxid: none,
            last_zxid: none,
            entries: 0,
            entries_checksum: Checksum(0),
            committed: none,
        };
        header.encode(DATABASE, &mut file[at..at + BATCH_HEADER_BYTES]);
    }

    fn ending(bytes: &[u8]) -> Ending {
        let mut image = Image::default();
        image.files.insert(SEGMENT, bytes.to_vec());
        let file = SegmentFile { sequence: SEGMENT, bytes: bytes.len() as u64 };
        let Ok(ending) = look_from_end(&mut image, DATABASE, file);
        ending
    }

    /// What a search from the front finds.
    fn slow(bytes: &[u8], from: usize, begin: usize) -> Rest {
        let at = |at: &usize| {
            let header = BatchHeader::decode(DATABASE, &bytes[*at..]);
            header.is_some_and(|(header, _)| header.sequence == SEGMENT && header.offset == *at as u64)
        };
        match (from..bytes.len()).step_by(SECTOR).find(at) {
            Some(at) => Rest::Batch(at as u64),
            None if bytes[begin.min(bytes.len())..].iter().any(|byte| *byte != 0) => Rest::Remains,
            None => Rest::Nothing,
        }
    }

    #[test]
    fn a_look_from_the_end_says_what_a_search_from_the_front_finds() {
        // Each sector: zeros, a byte at its end, a batch of this segment, one of an earlier one.
        for number in 0..4u32.pow(5) {
            for length in [5 * SECTOR, 4 * SECTOR + 100] {
                let mut bytes = vec![0; 5 * SECTOR];
                for sector in 0..5 {
                    match number / 4u32.pow(sector as u32) % 4 {
                        0 => {}
                        1 => bytes[(sector + 1) * SECTOR - 1] = 1,
                        2 => put_batch(&mut bytes, sector * SECTOR, SEGMENT),
                        _ => put_batch(&mut bytes, sector * SECTOR, Sequence(2)),
                    }
                }
                bytes.truncate(length);
                let ending = ending(&bytes);
                for from in (0..=5 * SECTOR).step_by(SECTOR) {
                    for begin in (0..=from).step_by(SECTOR) {
                        let expected = slow(&bytes, from, begin);
                        let known = (!matches!(expected, Rest::Batch(_))).then_some(expected);
                        assert_eq!(ending.rest(from as u64, begin as u64), known, "{number} {from} {begin}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_long_file_is_looked_at_piece_by_piece_and_no_further_than_its_last_batch() {
        let mut bytes = vec![0; 3 * READ_BYTES + SECTOR];
        let whole = |bytes: &[u8], at: usize| ending(bytes).rest(at as u64, at as u64);
        assert_eq!(whole(&bytes, 0), Some(Rest::Nothing));
        bytes[READ_BYTES] = 1;
        assert_eq!(whole(&bytes, 0), Some(Rest::Remains));
        assert_eq!(whole(&bytes, READ_BYTES + SECTOR), Some(Rest::Nothing));
        put_batch(&mut bytes, READ_BYTES - SECTOR, SEGMENT);
        assert_eq!(whole(&bytes, READ_BYTES), Some(Rest::Remains));
        assert_eq!(whole(&bytes, READ_BYTES - SECTOR), None);
    }
}
