//! Group commit: transactions in, writes out, completions in, durability as a token.
//!
//! At most one write is in flight. While it is, the next batch gathers, so one sync serves all that
//! came meanwhile, and the more comes the more it serves; `max_delay_us` only makes a batch wait when
//! nothing is in flight. One write at a time is also what recovery stands on: a batch is written only
//! when the one before it is durable, so damage with a later batch behind it is never a crash's.
//!
//! The caller drives two independent lanes and hands each operation back when it is done:
//! `take_write` → `on_written`, and `take_upkeep` → `on_upkeep` (files being prepared and closed).

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

use super::batch::{Batch, Place};
use super::format::{
    Alignment, BATCH_HEADER_BYTES, DatabaseId, ENTRY_BYTES_MAX, ENTRY_HEADER_BYTES, Link,
    SEGMENT_HEADER_BYTES, SegmentHeader, Sequence,
};
use super::preparation::{Preparation, Upkeep};
use super::recovery::{Cut, SegmentFile, Tail};
use crate::id::Zxid;

/// Buffers kept for reuse: one in flight, one gathering.
const POOL_BUFFERS: usize = 2;
/// Spares kept beside the log, of what retention hands over: about what lies between two checkpoints
/// under a heavy load, so that then no zeros have to be written.
const SPARES_MAX: usize = 8;

/// How a write is made durable before it counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SyncMode {
    /// Write, then fdatasync.
    Fdatasync,
    /// The file is opened with O_DSYNC.
    Dsync,
    /// The file is opened with O_DIRECT and O_DSYNC.
    Direct,
    /// Not at all, but for a segment's first write: a power failure may lose what was acknowledged
    /// (`forceSync=no`).
    None,
}

/// The log's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How a write is made durable.
    pub sync: SyncMode,
    /// How long a batch waits for company when nothing is in flight, in microseconds. 0: not at all.
    pub max_delay_us: u32,
    /// A batch that has this many bytes is written without further company. One transaction may
    /// exceed it.
    pub max_batch_bytes: u32,
    /// What may wait to be written, in bytes; beyond it `append` refuses.
    pub max_pending_bytes: u64,
    /// A segment's length; a multiple of 4096.
    pub segment_bytes: u64,
    /// What each batch is padded to.
    pub alignment: Alignment,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            sync: SyncMode::Direct,
            max_delay_us: 0,
            max_batch_bytes: 1 << 20,
            max_pending_bytes: 64 << 20,
            segment_bytes: 64 << 20,
            alignment: Alignment::SECTOR,
        }
    }
}

/// What the kernel said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoFailure {
    /// The error number, if the kernel gave one.
    pub errno: Option<i32>,
    /// What failed, on which file.
    pub message: String,
}

impl IoFailure {
    /// What there was not enough of, if that is all that is wrong.
    pub fn shortage(&self) -> Option<Shortage> {
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        const ENOSPC: i32 = 28;
        const EDQUOT: i32 = 122;
        match self.errno? {
            ENOSPC | EDQUOT => Some(Shortage::Space),
            ENFILE | EMFILE => Some(Shortage::Files),
            _ => None,
        }
    }
}

/// What passes: an operation that failed for it alone is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// No space on the device, or over its quota.
    Space,
    /// The process, or the machine, has as many files open as it may. What failed is an opening: nothing was
    /// done to the disk.
    Files,
}

impl Shortage {
    /// That there is enough again, in words.
    pub fn over(self) -> &'static str {
        match self {
            Shortage::Space => "there is space on the disk again",
            Shortage::Files => "files can be opened again",
        }
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Shortage::Space => "the disk is full",
            Shortage::Files => "no more files can be opened",
        })
    }
}

impl fmt::Display for IoFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Why the log does not take or write something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogError {
    /// A write or sync failed. What the disk holds is unknown, so this log is at its end.
    Failed(IoFailure),
    /// As much waits to be written as may wait.
    Full,
    /// The transaction has more bytes than the log takes.
    TooLong(usize),
    /// The transaction has no bytes: see [`format`](super::format).
    Empty,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Failed(failure) => write!(f, "the log failed: {failure}"),
            LogError::Full => f.write_str("as much waits for the log as may wait"),
            LogError::TooLong(bytes) => {
                write!(f, "a transaction of {bytes} bytes; the log takes {ENTRY_BYTES_MAX}")
            }
            LogError::Empty => f.write_str("a transaction without bytes"),
        }
    }
}

impl std::error::Error for LogError {}

/// One write, to be durable (as `SyncMode` says) before it is handed back.
#[derive(Debug)]
pub struct LogWrite {
    /// The segment's file.
    pub segment: Sequence,
    /// Where in the file, in bytes; a multiple of the alignment.
    pub offset: u64,
    /// Owns the bytes; `range` says which of them to write. May be moved through the kernel and put
    /// back; its address and capacity must not change meanwhile.
    pub buffer: Vec<u8>,
    /// What to write, a multiple of the alignment in length and, as an address, of 4096.
    pub range: Range<usize>,
    generation: u64,
    upto: Zxid,
}

impl LogWrite {
    /// The bytes to write.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.range.clone()]
    }

    /// Whether this is a segment's first write, which `SyncMode::None` makes durable too: so all that
    /// a power failure can damage in that mode is batches behind a header that says so.
    pub fn begins_segment(&self) -> bool {
        self.offset == 0
    }
}

/// Proof that the log is on stable storage up to a zxid. Only the writer makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Durable {
    upto: Zxid,
    generation: u64,
}

impl Durable {
    /// Every transaction up to here is durable.
    pub fn upto(self) -> Zxid {
        self.upto
    }

    /// Of which log: a truncation begins the next generation.
    pub fn generation(self) -> u64 {
        self.generation
    }
}

#[derive(Clone, Copy, Debug)]
struct Current {
    sequence: Sequence,
    /// Where the next batch goes.
    offset: u64,
    capacity: u64,
    /// Its file held another segment before.
    recycled: bool,
}

/// The log's writing half.
#[derive(Debug)]
pub struct LogWriter {
    settings: Settings,
    database: DatabaseId,
    generation: u64,
    /// Where the chain ends: behind the last write handed out.
    link: Option<Link>,
    written: Zxid,
    appended: Zxid,
    durable: Zxid,
    /// What each batch says of it when it is written.
    committed: Zxid,
    current: Option<Current>,
    /// The last batch handed out has no entries.
    marked: bool,
    preparation: Preparation,
    closing: VecDeque<Sequence>,
    /// Files of old segments, all of a new one's length, oldest first.
    spares: VecDeque<Sequence>,
    /// Those that are to be removed.
    surplus: VecDeque<Sequence>,
    /// Batches that take no more, oldest first.
    full: VecDeque<Batch>,
    gathering: Option<Batch>,
    pending_bytes: u64,
    in_flight: Option<Sequence>,
    upkeep_in_flight: bool,
    pool: Vec<Vec<u8>>,
    failed: Option<IoFailure>,
}

impl LogWriter {
    /// Continues the log behind `tail`, in a new segment. What recovery found behind the tail counts
    /// no more from the first write on, and not before.
    pub fn new(settings: Settings, database: DatabaseId, tail: Tail) -> LogWriter {
        assert!(settings.segment_bytes.is_multiple_of(SEGMENT_HEADER_BYTES as u64));
        assert!(settings.segment_bytes > SEGMENT_HEADER_BYTES as u64);
        LogWriter {
            settings,
            database,
            generation: 1,
            link: tail.link,
            written: tail.zxid,
            appended: tail.zxid,
            durable: tail.zxid,
            committed: Zxid::ZERO,
            current: None,
            marked: false,
            preparation: Preparation::new(tail.next_sequence, settings.segment_bytes),
            closing: VecDeque::new(),
            spares: VecDeque::new(),
            surplus: VecDeque::new(),
            full: VecDeque::new(),
            gathering: None,
            pending_bytes: 0,
            in_flight: None,
            upkeep_in_flight: false,
            pool: Vec::new(),
            failed: None,
        }
    }

    /// Takes over the file of a segment that recovery needs no more, to use it again or to have it
    /// removed. It is to be out of the log by then, under a spare's name; its number is that of the
    /// newest batch that it can hold, or a later one.
    pub fn add_spare(&mut self, spare: SegmentFile) {
        let fits = spare.bytes == self.settings.segment_bytes && spare.sequence < self.preparation.sequence();
        if fits && self.spares.len() < SPARES_MAX {
            self.spares.push_back(spare.sequence);
        } else {
            self.surplus.push_back(spare.sequence);
        }
    }

    /// Adds a transaction to the batch that gathers. `Full` is back-pressure: try again after the next
    /// completion. Zxids rise: one that does not is our own bug.
    pub fn append(&mut self, zxid: Zxid, transaction: &[u8], now_us: u64) -> Result<(), LogError> {
        self.alive()?;
        assert!(zxid > self.appended, "{zxid} appended after {}", self.appended);
        if transaction.is_empty() {
            return Err(LogError::Empty);
        }
        if transaction.len() > ENTRY_BYTES_MAX {
            return Err(LogError::TooLong(transaction.len()));
        }
        let bytes = (ENTRY_HEADER_BYTES + transaction.len()) as u64;
        if self.pending_bytes > 0 && self.pending_bytes + bytes > self.settings.max_pending_bytes {
            return Err(LogError::Full);
        }
        self.pending_bytes += bytes;
        self.push(zxid, transaction, now_us);
        Ok(())
    }

    /// Adds `count` transactions that lie as entries of a batch do, if they are few enough for one batch;
    /// returns whether they are, else they are for `append`. The caller answers for the entries.
    ///
    /// # Errors
    /// As `append`.
    pub fn append_entries(
        &mut self,
        first: Zxid,
        last: Zxid,
        count: u32,
        entries: &[u8],
        now_us: u64,
    ) -> Result<bool, LogError> {
        self.alive()?;
        let limit = (self.settings.max_batch_bytes as usize).saturating_sub(BATCH_HEADER_BYTES);
        if entries.len() > limit || first <= self.appended {
            return Ok(false);
        }
        let bytes = entries.len() as u64;
        if self.pending_bytes > 0 && self.pending_bytes + bytes > self.settings.max_pending_bytes {
            return Err(LogError::Full);
        }
        self.pending_bytes += bytes;
        self.gather(entries.len(), now_us, last, |batch| batch.push_entries(first, last, count, entries));
        Ok(true)
    }

    /// Adds a batch without entries behind the last one, unless there is one or nothing was written:
    /// it shows recovery that all before it was durable, so that later damage to that is not taken for
    /// a crash's. For an orderly stop.
    pub fn mark(&mut self, now_us: u64) -> Result<(), LogError> {
        self.alive()?;
        if self.has_pending() || (self.current.is_some() && !self.marked) {
            self.mark_behind(now_us);
        }
        Ok(())
    }

    /// The write to begin now: `None` while one is in flight, nothing waits, a batch waits for company,
    /// or the next segment is not ready (`take_upkeep` gets it so).
    pub fn take_write(&mut self, now_us: u64) -> Result<Option<LogWrite>, LogError> {
        self.alive()?;
        if self.in_flight.is_some() || self.write_due_at_us().is_none_or(|due| now_us < due) {
            return Ok(None);
        }
        let Some(bytes) = self.full.front().or(self.gathering.as_ref()).map(Batch::bytes) else {
            return Ok(None);
        };
        let padded = self.settings.alignment.round_up(bytes as u64);
        let Some(current) = self.room_for(padded) else {
            return Ok(None);
        };
        let mut batch = self.full.pop_front().or_else(|| self.gathering.take()).expect("seen above");
        let begins_segment = current.offset == 0;
        let offset = if begins_segment { SEGMENT_HEADER_BYTES as u64 } else { current.offset };
        let previous = if begins_segment {
            batch.fill_segment_header(SegmentHeader {
                database: self.database,
                sequence: current.sequence,
                first_zxid: Zxid::ZERO,
                previous_zxid: self.written,
                previous: self.link,
                alignment: self.settings.alignment,
                recycled: current.recycled,
                unsynced: self.settings.sync == SyncMode::None,
                capacity: current.capacity,
            })
        } else {
            self.link.expect("a segment with a batch").checksum
        };
        let checksum = batch.seal(Place {
            database: self.database,
            sequence: current.sequence,
            offset,
            previous,
            alignment: self.settings.alignment,
            committed: self.committed,
        });
        let end = offset + padded;
        self.link = Some(Link { sequence: current.sequence, end, checksum });
        self.written = batch.last();
        self.marked = bytes == BATCH_HEADER_BYTES;
        self.current = Some(Current { offset: end, ..current });
        self.pending_bytes -= (bytes - BATCH_HEADER_BYTES) as u64;
        self.in_flight = Some(current.sequence);
        let upto = batch.last();
        let (buffer, range) = batch.into_write(begins_segment);
        Ok(Some(LogWrite {
            segment: current.sequence,
            offset: if begins_segment { 0 } else { offset },
            buffer,
            range,
            generation: self.generation,
            upto,
        }))
    }

    /// Takes a write back. `None`: it belongs to a log since truncated. A failure is fatal: now and at
    /// every later call.
    pub fn on_written(
        &mut self,
        write: LogWrite,
        result: Result<(), IoFailure>,
    ) -> Result<Option<Durable>, LogError> {
        self.alive()?;
        assert!(self.in_flight.take().is_some(), "a completion of no write");
        if let Err(failure) = result {
            return Err(self.fail(failure));
        }
        self.recycle(write.buffer);
        if write.generation != self.generation {
            return Ok(None);
        }
        assert!(write.upto >= self.durable);
        self.durable = write.upto;
        Ok(Some(Durable { upto: write.upto, generation: write.generation }))
    }

    /// The next step of the upkeep lane, `None` if there is none now or one is in flight.
    pub fn take_upkeep(&mut self, now_us: u64) -> Result<Option<Upkeep>, LogError> {
        self.alive()?;
        if self.upkeep_in_flight {
            return Ok(None);
        }
        // After a truncation the last write to the old segment may still be in flight.
        let closing = self.closing.pop_front_if(|sequence| Some(*sequence) != self.in_flight);
        let step = closing.map(|sequence| Upkeep::Close { sequence });
        let hurry = self.needs_segment_soon();
        let step = step.or_else(|| self.preparation.next(now_us, self.spares.front().copied(), hurry));
        let step = step.or_else(|| self.surplus.pop_front().map(|spare| Upkeep::Remove { spare }));
        self.upkeep_in_flight = step.is_some();
        Ok(step)
    }

    /// Takes a step of the upkeep lane back. A shortage is waited for; any other failure is fatal.
    pub fn on_upkeep(
        &mut self,
        step: Upkeep,
        result: Result<(), IoFailure>,
        now_us: u64,
    ) -> Result<(), LogError> {
        self.alive()?;
        assert!(self.upkeep_in_flight, "a completion of no step");
        self.upkeep_in_flight = false;
        if matches!(step, Upkeep::Rename { .. }) && result.is_ok() {
            self.spares.pop_front();
        }
        let result = match step {
            Upkeep::Close { .. } | Upkeep::Remove { .. } => result,
            _ => self.preparation.completed(step, result, now_us),
        };
        result.map_err(|failure| self.fail(failure))
    }

    /// Forgets what follows `cut` and makes its kept entries, then whatever is appended, its
    /// successors. What waits is dropped; a write in flight completes into nothing. The file is not
    /// changed: the next segment says where the log before it ends.
    pub fn truncate(&mut self, cut: Cut, now_us: u64) -> Result<(), LogError> {
        self.alive()?;
        self.generation += 1;
        self.full.clear();
        self.gathering = None;
        self.pending_bytes = 0;
        self.link = cut.link;
        self.written = cut.zxid;
        self.appended = cut.zxid;
        self.durable = self.durable.min(cut.zxid);
        if let Some(current) = self.current.take() {
            self.closing.push_back(current.sequence);
        }
        for (zxid, transaction) in &cut.kept {
            self.pending_bytes += (ENTRY_HEADER_BYTES + transaction.len()) as u64;
            self.push(*zxid, transaction, now_us);
        }
        // Written even when nothing follows: else a restart would find the old end again.
        self.mark_behind(now_us);
        Ok(())
    }

    /// When `take_write` will have something, provided that nothing is in flight and a segment is
    /// ready. `None`: nothing waits.
    pub fn write_due_at_us(&self) -> Option<u64> {
        if self.full.is_empty() {
            self.gathering.as_ref().map(|batch| batch.since_us + self.settings.max_delay_us as u64)
        } else {
            Some(0)
        }
    }

    /// Whether the next segment is filled less than twice as far as the current one is: it is to be
    /// ready when that is half full. Also when there is none, or none with room for what waits.
    fn needs_segment_soon(&self) -> bool {
        let Some(current) = self.current else { return true };
        let waiting = self.full.front().or(self.gathering.as_ref()).map_or(0, |batch| batch.bytes() as u64);
        let padded = self.settings.alignment.round_up(waiting);
        current.offset + padded > current.capacity
            || self.preparation.is_behind(2 * current.offset, current.capacity)
    }

    /// Whether a write is in flight.
    pub fn is_writing(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether something waits to be written.
    pub fn has_pending(&self) -> bool {
        self.gathering.is_some() || !self.full.is_empty()
    }

    /// Bytes that wait to be written.
    pub fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }

    /// Bytes that may be appended before `append` says `Full`.
    pub fn room_bytes(&self) -> u64 {
        self.settings.max_pending_bytes.saturating_sub(self.pending_bytes)
    }

    /// What there was not enough of when the next segment was last tried. Writes go on in the segment
    /// that there is.
    pub fn shortage(&self) -> Option<Shortage> {
        self.preparation.shortage()
    }

    /// Everything up to here is known to be committed: what is written from now on says so.
    pub fn set_committed(&mut self, upto: Zxid) {
        self.committed = upto;
    }

    /// The last zxid that was appended.
    pub fn last_appended(&self) -> Zxid {
        self.appended
    }

    /// The last zxid that is durable.
    pub fn durable(&self) -> Zxid {
        self.durable
    }

    /// The log's generation, as in `Durable`.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The segment that is written to; `None` before the first write.
    pub fn current_segment(&self) -> Option<Sequence> {
        self.current.map(|current| current.sequence)
    }

    fn mark_behind(&mut self, now_us: u64) {
        self.full.extend(self.gathering.take());
        let empty = self.batch(now_us);
        self.full.push_back(empty);
    }

    fn push(&mut self, zxid: Zxid, transaction: &[u8], now_us: u64) {
        let bytes = ENTRY_HEADER_BYTES + transaction.len();
        self.gather(bytes, now_us, zxid, |batch| batch.push(zxid, transaction));
    }

    /// Puts so many bytes of entries into the batch that gathers, or into another if they do not fit.
    fn gather(&mut self, bytes: usize, now_us: u64, last: Zxid, push: impl FnOnce(&mut Batch)) {
        let mut batch = self.batch(now_us);
        let limit = self.settings.max_batch_bytes as usize;
        if batch.bytes() + bytes > limit && batch.bytes() > BATCH_HEADER_BYTES {
            self.full.push_back(batch);
            batch = self.batch(now_us);
        }
        push(&mut batch);
        self.appended = last;
        if batch.bytes() >= limit {
            self.full.push_back(batch);
        } else {
            self.gathering = Some(batch);
        }
    }

    /// The batch that gathers, or a new one.
    fn batch(&mut self, now_us: u64) -> Batch {
        self.gathering
            .take()
            .unwrap_or_else(|| Batch::new(self.pool.pop().unwrap_or_default(), self.appended, now_us))
    }

    /// The segment to write `padded` bytes to, beginning the next one if this one is full.
    fn room_for(&mut self, padded: u64) -> Option<Current> {
        if let Some(current) = self.current
            && current.offset + padded <= current.capacity
        {
            return Some(current);
        }
        let capacity = SEGMENT_HEADER_BYTES as u64 + padded.next_multiple_of(SEGMENT_HEADER_BYTES as u64);
        let prepared = self.preparation.ready_for(capacity)?;
        let sequence = self.preparation.sequence();
        self.preparation = Preparation::new(sequence.next(), self.settings.segment_bytes);
        let begun = Current { sequence, offset: 0, capacity: prepared.bytes, recycled: prepared.recycled };
        if let Some(old) = self.current.replace(begun) {
            self.closing.push_back(old.sequence);
        }
        self.current
    }

    fn recycle(&mut self, buffer: Vec<u8>) {
        let keep = 2 * self.settings.max_batch_bytes as usize + 4 * SEGMENT_HEADER_BYTES;
        if self.pool.len() < POOL_BUFFERS && buffer.capacity() <= keep {
            self.pool.push(buffer);
        }
    }

    fn alive(&self) -> Result<(), LogError> {
        match &self.failed {
            Some(failure) => Err(LogError::Failed(failure.clone())),
            None => Ok(()),
        }
    }

    fn fail(&mut self, failure: IoFailure) -> LogError {
        self.failed = Some(failure.clone());
        LogError::Failed(failure)
    }
}
