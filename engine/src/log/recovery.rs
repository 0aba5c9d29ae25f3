//! The log after a crash: what is read, what is cut, what is refused.
//!
//! A crash can only harm the one write that was in flight, and nothing was written behind that; a
//! segment's file has its name and its whole length on disk before that write. So:
//!
//! | found | verdict |
//! |---|---|
//! | batches up to a clean end | `Clean` |
//! | a damaged batch or segment beginning, no batch behind it | `TornTail`: cut |
//! | a damaged batch or header, a batch of ours behind it | `Corrupt`: refused |
//! | the same in a segment that says that it was written without syncs | `Hole`: cut |
//! | a segment shorter than it was, or nothing left of it and a later one there | `Corrupt`: refused |
//! | a segment that the chain names is missing, or numbers are | `Gap`: refused |
//! | a file of a number that no segment gets | `Corrupt`: refused |
//! | an undamaged header of another version or database | `UnknownVersion`, `ForeignDatabase`: refused |
//! | the log begins behind the zxid that the checkpoint reaches | `BeginsLate`: refused |
//!
//! Two things look alike: a torn write, and damage to the very last batch, which was acknowledged. The
//! log alone cannot tell them apart, so it says which write it cuts, and whoever knows from elsewhere
//! how far the log was durable (a checkpoint, the data directory's mark) refuses a log that ends before.
//! `LogWriter::mark` at an orderly stop puts a batch behind the last one, so that the damage has an
//! offset too.

use std::fmt;

use super::ending::{Ending, Rest, is_batch, is_zero};
use super::format::{
    BatchHeader, Checksum, DatabaseId, HeaderFault, Link, SEGMENT_HEADER_BYTES, SegmentHeader, Sequence,
};
use super::reader::{BatchFault, Entries, Position, entries, next_header, traces};
use crate::id::Zxid;

/// Bytes read at a time, unless one batch is longer.
pub(super) const READ_BYTES: usize = 1 << 20;
/// No file is shorter once it is prepared: a header and a batch.
const UNUSED_BYTES_MIN: u64 = SEGMENT_HEADER_BYTES as u64 + SECTOR_BYTES;
/// Where batches can begin when the header that would say is damaged.
pub(super) const SECTOR_BYTES: u64 = 512;

/// A segment's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFile {
    /// As its name says.
    pub sequence: Sequence,
    /// Its length.
    pub bytes: u64,
}

/// A log has not so many segments in any lifetime; a higher number would leave none for what follows.
const SEQUENCE_MAX: Sequence = Sequence(u64::MAX / 2);

/// The files of a log, to be read piece by piece.
pub trait SegmentSource {
    /// A read that failed.
    type Error;

    /// All segments, in the order of their sequences.
    fn segments(&self) -> Vec<SegmentFile>;

    /// Fills `into` from `offset` on; only asked for what is within the file's length.
    fn read_at(&mut self, sequence: Sequence, offset: u64, into: &mut [u8]) -> Result<(), Self::Error>;

    /// What [`look_from_end`](super::look_from_end) found of a file, if somebody did that meanwhile: it is
    /// waited for. Else recovery looks for itself.
    fn ending(&mut self, sequence: Sequence) -> Option<Ending> {
        let _ = sequence;
        None
    }
}

/// The end of a log, for a writer to continue from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    pub(super) link: Option<Link>,
    pub(super) zxid: Zxid,
    pub(super) next_sequence: Sequence,
}

impl Tail {
    /// Of a log that begins: behind `zxid`, in segment `next_sequence`.
    pub const fn origin(zxid: Zxid, next_sequence: Sequence) -> Tail {
        Tail { link: None, zxid, next_sequence }
    }

    /// The last zxid.
    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// Whether the log's own files reach up to the last zxid. Else only a checkpoint does, and the log
    /// begins anew behind it.
    pub fn is_in_log(&self) -> bool {
        self.link.is_some()
    }

    /// The segment that a writer begins.
    pub fn next_sequence(&self) -> Sequence {
        self.next_sequence
    }
}

/// Where a log is cut in two: for `LogWriter::truncate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    pub(super) link: Option<Link>,
    pub(super) zxid: Zxid,
    /// What is kept of the batch that the cut goes through.
    pub(super) kept: Vec<(Zxid, Vec<u8>)>,
}

/// What recovery found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that was written is whole.
    Clean,
    /// The last write is not whole and nothing is behind it: what a crash in the middle of it leaves.
    /// It counts no more.
    TornTail {
        /// In which segment.
        segment: Sequence,
        /// Where it began, in bytes.
        offset: u64,
        /// What is not whole.
        why: String,
    },
    /// A batch is damaged or missing among others, in a segment that was written without syncs: what
    /// a power failure leaves then. The log counts up to there.
    Hole {
        /// In which segment.
        segment: Sequence,
        /// Where, in bytes.
        offset: u64,
        /// What is there.
        why: String,
    },
    /// What was durable is damaged.
    Corrupt {
        /// In which segment.
        segment: Sequence,
        /// Where, in bytes.
        offset: u64,
        /// What is damaged and how that is known.
        why: String,
    },
    /// A segment is missing.
    Gap {
        /// Its number.
        missing: Sequence,
    },
    /// The log does not reach back to what the checkpoint holds.
    BeginsLate {
        /// Transactions behind this one are needed.
        needed_after: Zxid,
        /// Those behind this one are there.
        begins_after: Zxid,
    },
    /// A segment of another version.
    UnknownVersion {
        /// Which segment.
        segment: Sequence,
        /// The version it has.
        version: u32,
    },
    /// A segment of another database.
    ForeignDatabase {
        /// Which segment.
        segment: Sequence,
        /// The database it belongs to.
        found: DatabaseId,
    },
}

impl Verdict {
    /// Whether a server may go on from what was read.
    pub fn is_sound(&self) -> bool {
        matches!(self, Verdict::Clean | Verdict::TornTail { .. } | Verdict::Hole { .. })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Clean => f.write_str("the log is clean"),
            Verdict::TornTail { segment, offset, why } => write!(
                f,
                "the log's last write, in segment {segment} at offset {offset}, is not whole ({why}), as a \
                 crash in the middle of it leaves it: cut"
            ),
            Verdict::Hole { segment, offset, why } => write!(
                f,
                "the log was written without syncs (log.sync=none) and has a hole in segment {segment} at \
                 offset {offset} ({why}): cut, the transactions behind it are lost"
            ),
            Verdict::Corrupt { segment, offset, why } => {
                write!(f, "the log is damaged in segment {segment} at offset {offset}: {why}")
            }
            Verdict::Gap { missing } => write!(f, "segment {missing} of the log is missing"),
            Verdict::BeginsLate { needed_after, begins_after } => {
                write!(f, "the log begins after {begins_after}, but what follows {needed_after} is needed")
            }
            Verdict::UnknownVersion { segment, version } => {
                write!(f, "segment {segment} has format version {version}, which this release does not know")
            }
            Verdict::ForeignDatabase { segment, found } => {
                write!(f, "segment {segment} belongs to another database, {found}")
            }
        }
    }
}

/// What `recover` returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// What was found.
    pub verdict: Verdict,
    /// How many transactions were delivered.
    pub entries: u64,
    /// Where what was written ends, wherever the checkpoint does; `None` if no segment was written to.
    pub reached: Option<Zxid>,
    tail: Tail,
    unused: Vec<Sequence>,
}

impl Recovery {
    /// The end to continue from; the verdict instead where nothing may continue.
    pub fn tail(&self) -> Result<Tail, &Verdict> {
        if self.verdict.is_sound() { Ok(self.tail) } else { Err(&self.verdict) }
    }

    /// Prepared segments behind the one that a writer begins: each is to be removed, in this order and
    /// durably, before there is a writer. What it prepares anew would else look like a segment that lost
    /// its content, with a later one behind it.
    pub fn unused(&self) -> &[Sequence] {
        &self.unused
    }
}

enum Stop<E> {
    Io(E),
    Verdict(Verdict),
}

impl<E> From<Verdict> for Stop<E> {
    fn from(verdict: Verdict) -> Stop<E> {
        Stop::Verdict(verdict)
    }
}

/// Takes what recovery reads of a log.
pub trait Replay {
    /// The next transaction.
    ///
    /// # Errors
    /// Why it cannot be decoded: that is corruption too.
    fn transaction(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<(), String>;

    /// Everything up to `upto` was known to be committed before what comes next was written. It never
    /// goes back.
    ///
    /// # Errors
    /// Why that cannot be applied.
    fn committed(&mut self, upto: Zxid) -> Result<(), String>;
}

struct Everything<D>(D);

impl<D: FnMut(Zxid, &[u8]) -> Result<(), String>> Replay for Everything<D> {
    fn transaction(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<(), String> {
        (self.0)(zxid, bytes)
    }

    fn committed(&mut self, _: Zxid) -> Result<(), String> {
        Ok(())
    }
}

/// Reads the log behind `after`: calls `deliver` for each transaction in order, and says what was
/// found. What was delivered before a verdict that is not sound is to be thrown away. `deliver` may
/// refuse what it cannot decode: that is corruption too.
pub fn recover<S: SegmentSource>(
    source: &mut S,
    database: DatabaseId,
    after: Zxid,
    deliver: impl FnMut(Zxid, &[u8]) -> Result<(), String>,
) -> Result<Recovery, S::Error> {
    replay(source, database, after, &mut Everything(deliver))
}

/// The same, for who wants to know what was committed.
pub fn replay<S: SegmentSource>(
    source: &mut S,
    database: DatabaseId,
    after: Zxid,
    replay: &mut impl Replay,
) -> Result<Recovery, S::Error> {
    let (mut count, mut committed) = (0, after);
    let result = Log::open(source, database).walk(after, &mut |Step { entries, header, .. }| {
        if header.committed > committed {
            committed = header.committed;
            replay.committed(committed)?;
        }
        for (zxid, transaction) in entries.filter(|(zxid, _)| *zxid > after) {
            replay.transaction(zxid, transaction)?;
            count += 1;
        }
        Ok(())
    });
    let Walked { verdict, tail, reached } = match result {
        Ok(walked) => walked,
        Err(Stop::Verdict(verdict)) => Walked::nowhere(verdict, after),
        Err(Stop::Io(error)) => return Err(error),
    };
    let files = if verdict.is_sound() { source.segments() } else { Vec::new() };
    let unused = files.iter().map(|file| file.sequence).filter(|sequence| *sequence > tail.next_sequence);
    Ok(Recovery { verdict, entries: count, reached, tail, unused: unused.rev().collect() })
}

/// Where to cut so that `last_kept` is the last transaction that is left; the log is known from `after`
/// on. The verdict instead if the log does not hold that place.
pub fn find_cut<S: SegmentSource>(
    source: &mut S,
    database: DatabaseId,
    after: Zxid,
    last_kept: Zxid,
) -> Result<Result<Cut, Verdict>, S::Error> {
    let mut cut = None;
    let result = Log::open(source, database).walk(after, &mut |Step { before, behind, entries, .. }| {
        if behind.last_zxid <= last_kept {
            cut = Some(Cut { link: Some(behind.link()), zxid: behind.last_zxid, kept: Vec::new() });
        } else if before.last_zxid <= last_kept {
            let kept = entries
                .take_while(|(zxid, _)| *zxid <= last_kept)
                .map(|(zxid, transaction)| (zxid, transaction.to_vec()))
                .collect();
            cut = Some(Cut { link: Some(before.link()), zxid: before.last_zxid, kept });
        }
        Ok(())
    });
    match result {
        Ok(Walked { verdict, .. }) if !verdict.is_sound() => Ok(Err(verdict)),
        Ok(_) => Ok(cut.ok_or(Verdict::BeginsLate { needed_after: last_kept, begins_after: after })),
        Err(Stop::Verdict(verdict)) => Ok(Err(verdict)),
        Err(Stop::Io(error)) => Err(error),
    }
}

impl Cut {
    /// No cut, but a log that begins behind `zxid`: what is before it counts no more.
    pub const fn anew(zxid: Zxid) -> Cut {
        Cut { link: None, zxid, kept: Vec::new() }
    }
}

impl Position {
    fn link(&self) -> Link {
        Link { sequence: self.sequence, end: self.offset, checksum: self.previous }
    }
}

type WholeBatch<'b> = (BatchHeader, Checksum, Entries<'b>);

/// One batch of a log.
struct Step<'b> {
    header: BatchHeader,
    /// Where the log stood before it.
    before: Position,
    /// Where it stands behind it.
    behind: Position,
    /// Its transactions.
    entries: Entries<'b>,
}

/// What the reading of a log came to.
struct Walked {
    verdict: Verdict,
    tail: Tail,
    /// As in [`Recovery`].
    reached: Option<Zxid>,
}

impl Walked {
    fn nowhere(verdict: Verdict, after: Zxid) -> Walked {
        Walked { verdict, tail: Tail::origin(after, Sequence::FIRST), reached: None }
    }
}

/// Called for each batch.
type Visit<'v> = &'v mut dyn FnMut(Step<'_>) -> Result<(), String>;

/// The first 4 KiB of a file.
enum Header {
    Own(SegmentHeader, Checksum),
    /// Of what the file was before it was recycled.
    Earlier,
    Damaged(&'static str),
}

/// What a segment's beginning says.
enum Beginning {
    /// Header and first batch are whole.
    Written(SegmentHeader, Checksum),
    /// They are not.
    Doubtful(Doubtful),
}

/// A segment that was not written to, or torn in its first write, or is damaged: what is behind its
/// beginning tells.
struct Doubtful {
    file: SegmentFile,
    /// What is there in place of header and first batch.
    why: String,
    /// It is what the file held before it was recycled.
    old_content: bool,
}

#[derive(Clone, Copy)]
struct Written {
    file: SegmentFile,
    header: SegmentHeader,
    checksum: Checksum,
}

struct Log<'s, S: SegmentSource> {
    database: DatabaseId,
    files: Vec<SegmentFile>,
    source: &'s mut S,
    /// A piece of one file.
    window: Vec<u8>,
    window_of: Option<(Sequence, u64)>,
}

impl<'s, S: SegmentSource> Log<'s, S> {
    fn open(source: &'s mut S, database: DatabaseId) -> Self {
        let files = source.segments();
        assert!(files.is_sorted_by_key(|file| file.sequence), "segments come in order");
        Log { database, files, source, window: Vec::new(), window_of: None }
    }

    /// Bytes of a file from `offset` on: `bytes` of them, fewer where the file ends.
    fn read(&mut self, file: SegmentFile, offset: u64, bytes: usize) -> Result<&[u8], Stop<S::Error>> {
        let available = file.bytes.saturating_sub(offset).min(bytes as u64) as usize;
        let held = match self.window_of {
            Some((sequence, begin)) if sequence == file.sequence && offset >= begin => {
                let skip = (offset - begin).min(self.window.len() as u64) as usize;
                (self.window.len() - skip >= available).then_some(skip)
            }
            _ => None,
        };
        let skip = match held {
            Some(skip) => skip,
            None => {
                let rest = file.bytes.saturating_sub(offset);
                let wanted = (available.max(READ_BYTES) as u64).min(rest) as usize;
                self.window_of = None;
                self.window.resize(wanted, 0);
                self.source.read_at(file.sequence, offset, &mut self.window).map_err(Stop::Io)?;
                self.window_of = Some((file.sequence, offset));
                0
            }
        };
        Ok(&self.window[skip..skip + available])
    }

    /// A segment's own header, unless it is damaged.
    fn header(&mut self, file: SegmentFile) -> Result<Header, Stop<S::Error>> {
        let database = self.database;
        let segment = file.sequence;
        let bytes = self.read(file, 0, SEGMENT_HEADER_BYTES)?;
        match SegmentHeader::decode(bytes) {
            Err(HeaderFault::UnknownVersion(version)) => {
                Err(Verdict::UnknownVersion { segment, version }.into())
            }
            Err(HeaderFault::Damaged(why)) => Ok(Header::Damaged(why)),
            Ok((header, _)) if header.database != database => {
                Err(Verdict::ForeignDatabase { segment, found: header.database }.into())
            }
            Ok((header, _)) if header.sequence > segment => {
                let why = format!("the file holds segment {}", header.sequence);
                Err(Verdict::Corrupt { segment, offset: 0, why }.into())
            }
            Ok((header, _)) if header.sequence < segment => Ok(Header::Earlier),
            Ok((header, _)) if file.bytes < header.capacity => {
                let why = format!("the file ends here and was {} bytes long", header.capacity);
                Err(Verdict::Corrupt { segment, offset: file.bytes, why }.into())
            }
            Ok((header, checksum)) => Ok(Header::Own(header, checksum)),
        }
    }

    /// Looks for a batch of this segment at or behind `from`, and for anything at or behind `begin`.
    fn rest(&mut self, file: SegmentFile, from: u64, begin: u64) -> Result<Rest, Stop<S::Error>> {
        let known = self.source.ending(file.sequence);
        if let Some(rest) = known.and_then(|ending| ending.rest(from, begin)) {
            return Ok(rest);
        }
        let database = self.database;
        let mut rest = Rest::Nothing;
        let mut offset = begin;
        while offset < file.bytes {
            let piece = self.read(file, offset, READ_BYTES)?;
            for (index, sector) in piece.chunks(SECTOR_BYTES as usize).enumerate() {
                if is_zero(sector) {
                    continue;
                }
                rest = Rest::Remains;
                let at = offset + index as u64 * SECTOR_BYTES;
                if at >= from && is_batch(database, file.sequence, at, sector) {
                    return Ok(Rest::Batch(at));
                }
            }
            offset += piece.len() as u64;
        }
        Ok(rest)
    }

    fn corrupt<T>(file: SegmentFile, offset: u64, why: impl fmt::Display) -> Result<T, Stop<S::Error>> {
        Err(Verdict::Corrupt { segment: file.sequence, offset, why: why.to_string() }.into())
    }

    fn beginning(&mut self, file: SegmentFile) -> Result<Beginning, Stop<S::Error>> {
        let first = SEGMENT_HEADER_BYTES as u64;
        // What a recycled file held before is no trace of a write.
        let (why, old_content) = match self.header(file)? {
            Header::Own(header, checksum) => match self.batch(file, &Position::begin(&header, checksum))? {
                Ok(_) => return Ok(Beginning::Written(header, checksum)),
                Err(fault) if !fault.can_be_torn() => return Self::corrupt(file, first, fault),
                Err(fault) => (fault.to_string(), false),
            },
            Header::Earlier => ("the segment's header is an earlier segment's".to_string(), true),
            Header::Damaged(why) => (format!("the segment's header is damaged ({why})"), false),
        };
        Ok(Beginning::Doubtful(Doubtful { file, why, old_content }))
    }

    /// What is true of a segment that does not begin as one that was written to: `None` if it was not.
    fn judge(
        &mut self,
        Doubtful { file, why, old_content }: Doubtful,
    ) -> Result<Option<Verdict>, Stop<S::Error>> {
        // The first write is header and first batch at once, so only a second batch proves that it was
        // durable.
        match self.rest(file, SEGMENT_HEADER_BYTES as u64 + SECTOR_BYTES, 0)? {
            Rest::Batch(at) => Self::corrupt(file, 0, format!("{why}, yet a later batch is at offset {at}")),
            Rest::Remains if !old_content => {
                Ok(Some(Verdict::TornTail { segment: file.sequence, offset: 0, why }))
            }
            Rest::Remains | Rest::Nothing => Ok(None),
        }
    }

    /// The batch at `position`, if it is whole, with its checksum.
    fn batch(
        &mut self,
        file: SegmentFile,
        position: &Position,
    ) -> Result<Result<WholeBatch<'_>, BatchFault>, Stop<S::Error>> {
        let database = self.database;
        let bytes = self.read(file, position.offset, SECTOR_BYTES as usize)?;
        let (header, checksum) = match next_header(database, position, bytes) {
            Ok(found) => found,
            Err(fault) => return Ok(Err(fault)),
        };
        let bytes = self.read(file, position.offset, header.bytes as usize)?;
        Ok(entries(&header, position, bytes).map(|entries| (header, checksum, entries)))
    }

    /// The newest segment that was written to, if one was; the `doubtful` ones behind it.
    fn newest_written(&mut self, doubtful: &mut Vec<Doubtful>) -> Result<Option<Written>, Stop<S::Error>> {
        // A file may be called anything.
        let given = Sequence::FIRST..=SEQUENCE_MAX;
        if let Some(file) = self.files.iter().find(|file| !given.contains(&file.sequence)) {
            return Self::corrupt(*file, 0, "no segment of a log has this number");
        }
        for index in (0..self.files.len()).rev() {
            let file = self.files[index];
            match self.beginning(file)? {
                Beginning::Written(header, checksum) => {
                    self.no_gap_behind(index + 1, header.sequence.next())?;
                    return Ok(Some(Written { file, header, checksum }));
                }
                // A segment is prepared in full before it is begun, and the next only then.
                Beginning::Doubtful(_) if file.bytes < UNUSED_BYTES_MIN && index + 1 < self.files.len() => {
                    let why = "the file ends here, yet a later segment was prepared";
                    return Self::corrupt(file, file.bytes, why);
                }
                Beginning::Doubtful(segment) => doubtful.push(segment),
            }
        }
        self.no_gap_behind(0, Sequence::FIRST)?;
        Ok(None)
    }

    /// Segments are prepared one behind the other, so an unused one proves that there were all before
    /// it.
    fn no_gap_behind(&self, index: usize, mut expected: Sequence) -> Result<(), Verdict> {
        for file in &self.files[index..] {
            if file.sequence != expected {
                return Err(Verdict::Gap { missing: expected });
            }
            expected = expected.next();
        }
        Ok(())
    }

    /// The segments that hold what is behind `after`, newest first, by the links in their headers.
    fn chain(&mut self, newest: Written, after: Zxid) -> Result<Vec<Written>, Stop<S::Error>> {
        let mut chain = vec![newest];
        loop {
            let header = chain[chain.len() - 1].header;
            if header.previous_zxid <= after {
                return Ok(chain);
            }
            let Some(link) = header.previous else {
                let begins_after = header.previous_zxid;
                return Err(Verdict::BeginsLate { needed_after: after, begins_after }.into());
            };
            let Ok(index) = self.files.binary_search_by_key(&link.sequence, |file| file.sequence) else {
                return Err(Verdict::Gap { missing: link.sequence }.into());
            };
            let file = self.files[index];
            match self.header(file)? {
                Header::Own(header, checksum) => chain.push(Written { file, header, checksum }),
                Header::Earlier => {
                    return Self::corrupt(file, 0, "the segment's header is an earlier segment's");
                }
                Header::Damaged(why) => {
                    return Self::corrupt(file, 0, format!("the segment's header is damaged ({why})"));
                }
            }
        }
    }

    fn walk(&mut self, after: Zxid, visit: Visit<'_>) -> Result<Walked, Stop<S::Error>> {
        let mut doubtful = Vec::new();
        let walked = match self.newest_written(&mut doubtful) {
            Ok(Some(newest)) => self.walk_to(newest, after, visit),
            Ok(None) => Ok(Walked::nowhere(Verdict::Clean, after)),
            Err(stop) => Err(stop),
        };
        // The newest are judged last, since all of them is read for that, and count first.
        let mut torn = None;
        for segment in doubtful {
            torn = self.judge(segment)?.or(torn);
        }
        let mut walked = walked?;
        // The write that is torn was acknowledged to nobody; what was behind a hole may have been.
        if let (Some(torn), Verdict::Clean | Verdict::TornTail { .. }) = (torn, &walked.verdict) {
            walked.verdict = torn;
        }
        Ok(walked)
    }

    /// Reads the log up to the end of its newest segment.
    fn walk_to(&mut self, newest: Written, after: Zxid, visit: Visit<'_>) -> Result<Walked, Stop<S::Error>> {
        let next_sequence = newest.file.sequence.next();
        let mut chain = self.chain(newest, after)?;
        while let Some(segment) = chain.pop() {
            let next = chain.last().map(|next| next.header);
            // A later segment that was synced proves that this one was durable by then.
            let may_have_holes = segment.header.unsynced && chain.iter().all(|later| later.header.unsynced);
            let (end, verdict) = self.walk_segment(&segment, next, may_have_holes, visit)?;
            if next.is_none() || matches!(verdict, Verdict::Hole { .. }) {
                // A checkpoint that reaches beyond the log came from elsewhere: the log begins anew.
                let tail = if end.last_zxid < after {
                    Tail::origin(after, next_sequence)
                } else {
                    Tail { link: Some(end.link()), zxid: end.last_zxid, next_sequence }
                };
                return Ok(Walked { verdict, tail, reached: Some(end.last_zxid) });
            }
        }
        unreachable!("the chain has a newest segment")
    }

    /// Reads one segment up to where the next one says that it ends, the newest up to its own end.
    fn walk_segment(
        &mut self,
        segment: &Written,
        next: Option<SegmentHeader>,
        may_have_holes: bool,
        visit: Visit<'_>,
    ) -> Result<(Position, Verdict), Stop<S::Error>> {
        let file = segment.file;
        let mut position = Position::begin(&segment.header, segment.checksum);
        loop {
            if let Some(next) = next
                && let Some(link) = next.previous
                && position.offset >= link.end
            {
                if position.link() != link || position.last_zxid != next.previous_zxid {
                    let why = format!("segment {} follows another end than this one", next.sequence);
                    return Self::corrupt(file, position.offset, why);
                }
                return Ok((position, Verdict::Clean));
            }
            let batch = self.batch(file, &position)?;
            match batch {
                Ok((header, checksum, entries)) => {
                    let behind = position.behind(&header, checksum, &segment.header);
                    if let Err(why) = visit(Step { header, before: position, behind, entries }) {
                        return Self::corrupt(file, position.offset, why);
                    }
                    position = behind;
                }
                Err(fault) if fault.can_be_torn() && next.is_none() => {
                    return Ok((position, self.torn(segment, &position, fault)?));
                }
                Err(fault) if fault.can_be_torn() && may_have_holes => {
                    let (segment, offset) = (file.sequence, position.offset);
                    return Ok((position, Verdict::Hole { segment, offset, why: fault.to_string() }));
                }
                Err(fault) => return Self::corrupt(file, position.offset, fault),
            }
        }
    }

    /// What it means that the newest segment has no whole batch at `position`.
    fn torn(
        &mut self,
        segment: &Written,
        position: &Position,
        fault: BatchFault,
    ) -> Result<Verdict, Stop<S::Error>> {
        let (file, offset) = (segment.file, position.offset);
        let database = self.database;
        let sector = self.read(file, offset, SECTOR_BYTES as usize)?;
        // A recycled file's older batches are no trace of a write here.
        let begun = fault != BatchFault::NoBatch || traces(database, position, sector);
        let segment_number = file.sequence;
        match self.rest(file, offset + SECTOR_BYTES, offset)? {
            Rest::Batch(at) => {
                let why = format!("{fault}, yet a later batch is at offset {at}");
                if segment.header.unsynced {
                    return Ok(Verdict::Hole { segment: segment_number, offset, why });
                }
                Self::corrupt(file, offset, why)
            }
            Rest::Remains if begun || !segment.header.recycled => {
                Ok(Verdict::TornTail { segment: segment_number, offset, why: fault.to_string() })
            }
            Rest::Remains | Rest::Nothing => Ok(Verdict::Clean),
        }
    }
}
