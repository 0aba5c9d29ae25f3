//! Total decoding of batches: any bytes in, either a batch that is whole and in its place or what is
//! wrong with it. Nothing here allocates.

use std::fmt;

use super::format::{
    BATCH_HEADER_BYTES, BatchHeader, Checksum, DatabaseId, ENTRY_HEADER_BYTES, HeaderFault,
    SEGMENT_HEADER_BYTES, SegmentHeader, Sequence, decode_entry_header,
};
use crate::id::Zxid;

/// Where a log stands: behind one batch, before the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// In which segment.
    pub sequence: Sequence,
    /// Where the next batch begins, in bytes.
    pub offset: u64,
    /// What the next batch has to name as its predecessor.
    pub previous: Checksum,
    /// The last zxid so far.
    pub last_zxid: Zxid,
}

impl Position {
    /// Before the first batch of a segment.
    pub fn begin(header: &SegmentHeader, checksum: Checksum) -> Position {
        Position {
            sequence: header.sequence,
            offset: SEGMENT_HEADER_BYTES as u64,
            previous: checksum,
            last_zxid: header.previous_zxid,
        }
    }

    /// Behind a batch that was read here.
    pub fn behind(self, header: &BatchHeader, checksum: Checksum, segment: &SegmentHeader) -> Position {
        Position {
            sequence: self.sequence,
            offset: segment.alignment.round_up(self.offset + header.bytes as u64),
            previous: checksum,
            last_zxid: header.last_zxid,
        }
    }
}

/// What is wrong with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchFault {
    /// No batch of this segment begins here.
    NoBatch,
    /// The entries' checksum is wrong.
    DamagedEntries,
    /// A whole batch, which follows another one than the one before it.
    BrokenChain,
    /// It goes on behind the file's end.
    BehindEnd,
    /// Undamaged, and yet its entries contradict its header or their zxids do not rise.
    Nonsense,
}

impl BatchFault {
    /// Whether a write that a crash tore can look so.
    pub fn can_be_torn(self) -> bool {
        match self {
            BatchFault::NoBatch | BatchFault::DamagedEntries => true,
            BatchFault::BrokenChain | BatchFault::BehindEnd | BatchFault::Nonsense => false,
        }
    }
}

impl fmt::Display for BatchFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BatchFault::NoBatch => "no batch of this segment begins here",
            BatchFault::DamagedEntries => "the batch's entries have a wrong checksum",
            BatchFault::BrokenChain => "the batch follows another one than the one before it",
            BatchFault::BehindEnd => "the batch goes on behind the file's end",
            BatchFault::Nonsense => "the batch's entries contradict its header",
        })
    }
}

/// A batch header that was written to this very place of this very segment, wherever the chain is.
pub fn header_in_place(
    database: DatabaseId,
    sequence: Sequence,
    offset: u64,
    bytes: &[u8],
) -> Option<(BatchHeader, Checksum)> {
    BatchHeader::decode(database, bytes)
        .filter(|(header, _)| header.sequence == sequence && header.offset == offset)
}

/// Whether a write to `position` left something at its beginning, though no whole header. In a recycled
/// file the bytes of an earlier segment have that place too: a whole header there is no trace.
pub fn traces(database: DatabaseId, position: &Position, bytes: &[u8]) -> bool {
    BatchHeader::resembles(bytes, position.sequence, position.offset)
        && BatchHeader::decode(database, bytes).is_none()
}

/// The header of the batch that continues the log at `position`; `bytes` begins there.
pub fn next_header(
    database: DatabaseId,
    position: &Position,
    bytes: &[u8],
) -> Result<(BatchHeader, Checksum), BatchFault> {
    let (header, checksum) =
        header_in_place(database, position.sequence, position.offset, bytes).ok_or(BatchFault::NoBatch)?;
    if header.previous != position.previous {
        return Err(BatchFault::BrokenChain);
    }
    Ok((header, checksum))
}

/// The entries of the batch that `header` heads at `position`; `bytes` begins with that header. All of
/// them are checked before the first is given out.
pub fn entries<'a>(
    header: &BatchHeader,
    position: &Position,
    bytes: &'a [u8],
) -> Result<Entries<'a>, BatchFault> {
    let bytes = bytes.get(BATCH_HEADER_BYTES..header.bytes as usize).ok_or(BatchFault::BehindEnd)?;
    if crc32c::crc32c(bytes) != header.entries_checksum.0 {
        return Err(BatchFault::DamagedEntries);
    }
    let mut rest = Entries { bytes };
    let mut last = position.last_zxid;
    let mut count = 0u32;
    while !rest.bytes.is_empty() {
        let (zxid, _) = rest.next().ok_or(BatchFault::Nonsense)?;
        let misplaced = count == 0 && zxid != header.first_zxid;
        if zxid <= last || misplaced {
            return Err(BatchFault::Nonsense);
        }
        last = zxid;
        count += 1;
    }
    if header.committed > header.last_zxid {
        return Err(BatchFault::Nonsense);
    }
    if count != header.entries || last != header.last_zxid || (count == 0 && last != header.first_zxid) {
        return Err(BatchFault::Nonsense);
    }
    Ok(Entries { bytes })
}

/// The transactions of a batch, in order: zxid and bytes.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    bytes: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = (Zxid, &'a [u8]);

    fn next(&mut self) -> Option<(Zxid, &'a [u8])> {
        let (zxid, length) = decode_entry_header(self.bytes)?;
        let transaction = self.bytes.get(ENTRY_HEADER_BYTES..)?.get(..length)?;
        self.bytes = &self.bytes[ENTRY_HEADER_BYTES + length..];
        Some((zxid, transaction))
    }
}

/// A whole segment in memory, batch by batch, up to the first that is not there. For tools and tests;
/// what its end means is recovery's question.
#[derive(Clone, Debug)]
pub struct SegmentReader<'a> {
    bytes: &'a [u8],
    header: SegmentHeader,
    position: Position,
    fault: Option<BatchFault>,
}

impl<'a> SegmentReader<'a> {
    /// Reads the segment's header.
    pub fn open(bytes: &'a [u8]) -> Result<SegmentReader<'a>, HeaderFault> {
        let (header, checksum) = SegmentHeader::decode(bytes)?;
        let position = Position::begin(&header, checksum);
        Ok(SegmentReader { bytes, header, position, fault: None })
    }

    /// The segment's header.
    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// Where it stands: behind the last batch given out.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Why the iteration ended, once it has.
    pub fn fault(&self) -> Option<BatchFault> {
        self.fault
    }

    fn read(&self) -> Result<(BatchHeader, Checksum, Entries<'a>), BatchFault> {
        let offset = usize::try_from(self.position.offset).unwrap_or(usize::MAX);
        let bytes = self.bytes.get(offset..).unwrap_or(&[]);
        let (header, checksum) = next_header(self.header.database, &self.position, bytes)?;
        let entries = entries(&header, &self.position, bytes)?;
        Ok((header, checksum, entries))
    }
}

impl<'a> Iterator for SegmentReader<'a> {
    type Item = (BatchHeader, Entries<'a>);

    fn next(&mut self) -> Option<(BatchHeader, Entries<'a>)> {
        match self.read() {
            Ok((header, checksum, entries)) => {
                self.position = self.position.behind(&header, checksum, &self.header);
                Some((header, entries))
            }
            Err(fault) => {
                self.fault = Some(fault);
                None
            }
        }
    }
}
