//! A log's files in memory, and a writer that fills them: what the targets of the log share.

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::log::format::{BATCH_HEADER_BYTES, BatchHeader, SEGMENT_HEADER_BYTES, SegmentHeader};
use ringkeeper_engine::log::recovery::Cut;
use ringkeeper_engine::log::{
    DatabaseId, LogWrite, LogWriter, Recovery, SegmentFile, SegmentSource, Sequence, Settings, Tail, Upkeep,
    recover,
};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Range;

/// Whose log it is.
pub const DATABASE: DatabaseId = DatabaseId(0x0123_4567_89ab_cdef);

/// Time does not pass, and nothing is waited for.
const NOW_US: u64 = 1 << 40;

/// Recovery takes numbers of segments up to 2⁶³ − 1; one writer's session here makes a few.
const NUMBER_MAX: Sequence = Sequence(i64::MAX as u64 - (1 << 16));

/// Whether a log can go on: the numbers of segments end, where no log that was written gets to.
pub fn has_numbers_left(tail: &Tail) -> bool {
    tail.next_sequence() <= NUMBER_MAX
}

/// A transaction as it was appended, or as it was found.
pub type Transaction = (Zxid, Vec<u8>);

/// Segments by their names.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Their contents.
    pub segments: BTreeMap<Sequence, Vec<u8>>,
    /// Old segments that wait to be used again.
    spares: BTreeMap<Sequence, Vec<u8>>,
}

impl SegmentSource for Files {
    type Error = Infallible;

    fn segments(&self) -> Vec<SegmentFile> {
        let segments = self.segments.iter();
        segments.map(|(&sequence, file)| SegmentFile { sequence, bytes: file.len() as u64 }).collect()
    }

    /// Panics on a read outside of the file: the trait forbids those.
    fn read_at(&mut self, sequence: Sequence, offset: u64, into: &mut [u8]) -> Result<(), Infallible> {
        let offset = offset as usize;
        into.copy_from_slice(&self.segments[&sequence][offset..offset + into.len()]);
        Ok(())
    }
}

impl Files {
    fn upkeep(&mut self, step: Upkeep) {
        match step {
            Upkeep::Create { sequence } => drop(self.segments.insert(sequence, Vec::new())),
            Upkeep::Zero { sequence, offset, bytes } => {
                self.put(sequence, offset as usize, &vec![0; bytes as usize]);
            }
            Upkeep::Rename { spare, sequence } => {
                let file = self.spares.remove(&spare).expect("a spare");
                self.segments.insert(sequence, file);
            }
            Upkeep::Remove { spare } => drop(self.spares.remove(&spare).expect("a spare")),
            Upkeep::Sync { .. } | Upkeep::SyncDirectory | Upkeep::Close { .. } => {}
        }
    }

    /// Writes into a file, which grows if it must.
    pub fn put(&mut self, sequence: Sequence, offset: usize, bytes: &[u8]) {
        let file = self.segments.entry(sequence).or_default();
        file.resize(file.len().max(offset + bytes.len()), 0);
        file[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// Recovers all of it: what recovery says, and what it delivered.
    pub fn recover(&mut self, after: Zxid) -> (Recovery, Vec<Transaction>) {
        let mut found: Vec<Transaction> = Vec::new();
        let Ok(recovery) = recover(self, DATABASE, after, |zxid, bytes| {
            let last = found.last().map_or(after, |(last, _)| *last);
            assert!(zxid > last, "{zxid} delivered after {last}");
            found.push((zxid, bytes.to_vec()));
            Ok(())
        });
        assert_eq!(recovery.entries, found.len() as u64, "recovery counts what it delivers");
        (recovery, found)
    }
}

/// One write that was acknowledged.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// In which segment.
    pub segment: Sequence,
    /// Its bytes there that have a meaning: the segment's header if it has one, the batch without its
    /// padding.
    pub place: Range<usize>,
    /// The last transaction in it or before it.
    pub upto: Zxid,
}

/// A writer on files in memory.
pub struct Session {
    /// What it wrote.
    pub files: Files,
    /// The writer itself.
    pub writer: LogWriter,
    /// Its writes, oldest first, less those whose segments became spares.
    pub acknowledged: Vec<Acknowledged>,
    /// A checkpoint holds everything up to here.
    pub after: Zxid,
}

impl Session {
    /// Goes on behind `tail`.
    pub fn new(files: Files, settings: Settings, tail: Tail) -> Session {
        let writer = LogWriter::new(settings, DATABASE, tail);
        Session { files, writer, acknowledged: Vec::new(), after: Zxid::ZERO }
    }

    /// The next write, once the files are ready for it.
    pub fn take_write(&mut self) -> Option<LogWrite> {
        loop {
            if let Some(write) = self.writer.take_write(NOW_US).expect("nothing failed") {
                return Some(write);
            }
            let step = self.writer.take_upkeep(NOW_US).expect("nothing failed")?;
            self.files.upkeep(step);
            self.writer.on_upkeep(step, Ok(()), NOW_US).expect("nothing failed");
        }
    }

    /// Does all that there is to do.
    pub fn settle(&mut self) {
        while let Some(write) = self.take_write() {
            let offset = write.offset as usize;
            let file = &self.files.segments[&write.segment];
            assert!(file.len() >= offset + write.bytes().len(), "a write within what was prepared");
            self.files.put(write.segment, offset, write.bytes());
            let batch_at = if offset == 0 { SEGMENT_HEADER_BYTES } else { 0 };
            let (header, _) = BatchHeader::decode(DATABASE, &write.bytes()[batch_at..]).expect("a batch");
            assert!(header.bytes as usize >= BATCH_HEADER_BYTES);
            let place = offset..offset + batch_at + header.bytes as usize;
            self.acknowledged.push(Acknowledged { segment: write.segment, place, upto: header.last_zxid });
            let durable = self.writer.on_written(write, Ok(())).expect("nothing failed");
            assert_eq!(durable.map(|durable| durable.upto()), Some(header.last_zxid));
        }
    }

    /// A checkpoint holds everything up to `after`: segments without anything behind that are spares now.
    /// Returns how many acknowledged writes they held.
    pub fn retire(&mut self, after: Zxid) -> usize {
        self.after = after;
        let writes = self.acknowledged.len();
        let headers = self.files.segments.values().map(|file| SegmentHeader::decode(file));
        let headers: Vec<SegmentHeader> = headers.filter_map(|found| Some(found.ok()?.0)).collect();
        for pair in headers.windows(2) {
            let (old, next) = (pair[0].sequence, &pair[1]);
            if next.previous_zxid > after || Some(old) >= self.writer.current_segment() {
                break;
            }
            let file = self.files.segments.remove(&old).expect("its header was read");
            let spare = SegmentFile { sequence: old, bytes: file.len() as u64 };
            self.files.spares.insert(old, file);
            self.writer.add_spare(spare);
            self.acknowledged.retain(|write| write.segment != old);
        }
        writes - self.acknowledged.len()
    }

    /// Cuts the log, and makes the cut durable. What was acknowledged behind it counts no more; returns
    /// how many writes still do.
    pub fn truncate(&mut self, cut: Cut, last_kept: Zxid) -> usize {
        self.acknowledged.retain(|write| write.upto <= last_kept);
        let kept = self.acknowledged.len();
        self.writer.truncate(cut, 0).expect("nothing failed");
        self.settle();
        kept
    }
}

/// Goes on from what recovery found sound: appends, and demands that a second recovery finds the same
/// transactions and the new ones behind them.
pub fn goes_on(files: Files, settings: Settings, after: Zxid, tail: Tail, found: &[Transaction]) {
    if !has_numbers_left(&tail) {
        return;
    }
    let mut session = Session::new(files, settings, tail);
    let mut expected = found.to_vec();
    for bytes in [&b"the first behind the crash"[..], &[7; 700]] {
        // No zxid follows the highest.
        let Some(next) = session.writer.last_appended().0.checked_add(1) else { return };
        session.writer.append(Zxid(next), bytes, 0).expect("nothing failed");
        expected.push((Zxid(next), bytes.to_vec()));
        session.settle();
    }
    let (recovery, found) = session.files.recover(after);
    assert!(recovery.verdict.is_sound(), "after going on from a sound log: {}", recovery.verdict);
    assert_eq!(found, expected, "what is found after going on");
}
