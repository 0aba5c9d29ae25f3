//! Recovery on arbitrary files. The input is a list of pieces that make them: raw bytes, and headers
//! and batches with fields of any value under right checksums, since no fuzzer guesses a checksum.
//!
//! The laws: recovery ends, reads only what is there, delivers rising zxids, and says the same twice.
//! What it calls sound can be gone on from, and be cut at each of its transactions.

use crate::log_files::{DATABASE, Files, Transaction, goes_on, has_numbers_left};
use arbitrary::{Result, Unstructured};
use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::log::format::{
    Alignment, BATCH_HEADER_BYTES, BatchHeader, Checksum, Link, SEGMENT_HEADER_BYTES, SegmentHeader,
    encode_entry_header,
};
use ringkeeper_engine::log::reader::SegmentReader;
use ringkeeper_engine::log::recovery::find_cut;
use ringkeeper_engine::log::{DatabaseId, Sequence, Settings, Tail};

/// Recovery may set aside a batch's length; the files have less than this.
const FILES_BYTES_MAX: usize = 1 << 20;
const VERSION_AT: usize = 4;
const HEADER_CHECKSUM_AT: usize = SEGMENT_HEADER_BYTES - 4;

/// Runs one input.
pub fn run(input: &[u8]) {
    let mut choices = Unstructured::new(input);
    let mut made = Made::default();
    while !choices.is_empty() && made.bytes < FILES_BYTES_MAX {
        if made.piece(&mut choices).is_err() {
            break;
        }
    }
    let after = Zxid(made.after);
    let (recovery, found) = made.files.recover(after);
    assert_eq!(made.files.recover(after), (recovery.clone(), found.clone()), "the same twice");
    assert!(!recovery.verdict.to_string().is_empty());
    for file in made.files.segments.values() {
        if let Ok(mut reader) = SegmentReader::open(file) {
            let entries: usize = reader.by_ref().map(|(_, entries)| entries.count()).sum();
            assert!(entries <= file.len(), "an entry has bytes");
            assert!(reader.fault().is_some(), "an end has a reason");
        }
    }
    let Ok(tail) = recovery.tail() else { return };
    let settings = Settings { segment_bytes: 4 * 4096, ..Settings::default() };
    goes_on(made.files.clone(), settings, after, tail, &found);
    if let Some((last_kept, _)) = found.get(found.len() / 2).filter(|_| has_numbers_left(&tail)) {
        cuts(made.files, settings, after, tail, *last_kept, &found);
    }
}

/// Cuts a sound log behind `last_kept`, and demands what is before it and nothing else.
fn cuts(
    mut files: Files,
    settings: Settings,
    after: Zxid,
    tail: Tail,
    last_kept: Zxid,
    found: &[Transaction],
) {
    let Ok(Ok(cut)) = find_cut(&mut files, DATABASE, after, last_kept) else {
        panic!("a transaction that recovery delivers is no place to cut");
    };
    let mut session = crate::log_files::Session::new(files, settings, tail);
    session.truncate(cut, last_kept);
    let (recovery, left) = session.files.recover(after);
    assert!(recovery.verdict.is_sound(), "after a cut: {}", recovery.verdict);
    let kept = found.iter().filter(|(zxid, _)| *zxid <= last_kept).count();
    assert_eq!(left, found[..kept], "what is left of a cut log");
}

/// Files while they are made; the rest is what fits behind the last piece.
#[derive(Default)]
struct Made {
    files: Files,
    bytes: usize,
    after: u64,
    segment: u64,
    offset: usize,
    previous: u32,
    last_zxid: u64,
}

/// Mostly what fits, sometimes another small number or any number.
fn near(choices: &mut Unstructured<'_>, fits: u64) -> Result<u64> {
    Ok(match choices.int_in_range(0..=15)? {
        0 => choices.arbitrary()?,
        1 => u64::from(choices.arbitrary::<u8>()?),
        2 => fits.wrapping_add(1),
        _ => fits,
    })
}

impl Made {
    fn put(&mut self, bytes: &[u8]) {
        self.files.put(Sequence(self.segment), self.offset, bytes);
        self.offset += bytes.len();
        self.bytes += bytes.len();
    }

    fn piece(&mut self, choices: &mut Unstructured<'_>) -> Result<()> {
        match choices.int_in_range(0..=7)? {
            0 => {
                let length = choices.int_in_range(0..=64)?;
                let bytes = choices.bytes(length.min(choices.len()))?;
                self.put(bytes);
            }
            1 => {
                let zeros = *choices.choose(&[1, 512, 4096])?;
                self.put(&vec![0; zeros]);
            }
            2 | 3 => self.header(choices)?,
            4 => {
                self.offset = usize::from(choices.arbitrary::<u16>()?);
            }
            5 => self.after = near(choices, self.last_zxid)?,
            _ => self.batch(choices)?,
        }
        Ok(())
    }

    fn header(&mut self, choices: &mut Unstructured<'_>) -> Result<()> {
        let link = Link {
            sequence: Sequence(near(choices, self.segment)?),
            end: near(choices, self.offset as u64)?,
            checksum: Checksum(self.previous),
        };
        self.segment = near(choices, self.segment.wrapping_add(1))?;
        self.offset = 0;
        let capacity = *choices.choose(&[0, 8192, 24576])?;
        let capacity = near(choices, capacity)?;
        let header = SegmentHeader {
            database: DatabaseId(near(choices, DATABASE.0)?),
            sequence: Sequence(near(choices, self.segment)?),
            first_zxid: Zxid(near(choices, self.last_zxid.wrapping_add(1))?),
            previous_zxid: Zxid(near(choices, self.last_zxid)?),
            previous: (self.segment > 1 && choices.ratio(7u8, 8)?).then_some(link),
            alignment: *choices.choose(&[Alignment::SECTOR, Alignment::PAGE])?,
            recycled: choices.arbitrary()?,
            capacity,
            unsynced: choices.arbitrary()?,
        };
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        self.previous = header.encode(&mut bytes).0;
        if choices.ratio(1u8, 16)? {
            bytes[VERSION_AT + choices.int_in_range(0..=64)?] = choices.arbitrary()?;
            self.previous = crc32c::crc32c(&bytes[..HEADER_CHECKSUM_AT]);
            bytes[HEADER_CHECKSUM_AT..].copy_from_slice(&self.previous.to_le_bytes());
        }
        self.put(&bytes);
        Ok(())
    }

    fn batch(&mut self, choices: &mut Unstructured<'_>) -> Result<()> {
        let mut entries = Vec::new();
        let (mut count, mut last) = (0, self.last_zxid);
        for _ in 0..choices.int_in_range(0..=3)? {
            last = near(choices, last.wrapping_add(1))?;
            let length: u8 = choices.arbitrary()?;
            let stated = near(choices, u64::from(length))? as u32;
            entries.extend_from_slice(&encode_entry_header(Zxid(last), stated));
            entries.extend(std::iter::repeat_n(length, usize::from(length)));
            count += 1;
        }
        let first = if count == 0 { self.last_zxid } else { self.last_zxid.wrapping_add(1) };
        let mut bytes = vec![0; BATCH_HEADER_BYTES];
        let header = BatchHeader {
            bytes: near(choices, (BATCH_HEADER_BYTES + entries.len()) as u64)? as u32,
            previous: Checksum(near(choices, u64::from(self.previous))? as u32),
            sequence: Sequence(near(choices, self.segment)?),
            offset: near(choices, self.offset as u64)?,
            first_zxid: Zxid(near(choices, first)?),
            last_zxid: Zxid(near(choices, last)?),
            entries: near(choices, count)? as u32,
            entries_checksum: Checksum(near(choices, u64::from(crc32c::crc32c(&entries)))? as u32),
            committed: Zxid(near(choices, first.saturating_sub(1))?),
        };
        self.previous = header.encode(DATABASE, &mut bytes).0;
        self.last_zxid = last;
        bytes.extend_from_slice(&entries);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        self.put(&bytes);
        Ok(())
    }
}
