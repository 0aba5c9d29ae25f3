//! What a learner missed, out of the log on disk: found, and sent, on threads of their own.
//!
//! A live log is read from beside its writer. Only what is durable and was applied is asked for, so every
//! batch that matters is whole, unless its file is damaged, or retention takes it away meanwhile. No learner
//! hears what lies behind such a place: the transfer ends, and the learner, which comes back, gets a tree.

use super::connection::ChunkSender;
use super::events::{Done, Results};
use crate::disk::{DataDirectory, DiskError, SegmentFiles, SegmentReader};
use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::log::SegmentSource;
use ringkeeper_engine::log::SyncMode;
use ringkeeper_engine::log::format::{
    BATCH_HEADER_BYTES, BatchHeader, Checksum, Link as LogLink, SEGMENT_HEADER_BYTES, SegmentHeader,
};
use ringkeeper_engine::log::reader::{BatchFault, Entries, Position, entries, next_header};
use ringkeeper_quorum::message::batch::follows;
use ringkeeper_quorum::message::packet::PacketType;
use ringkeeper_quorum::message::{BatchBuilder, QuorumPacket, ToLearner};
use ringkeeper_quorum::zab::Link;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Bytes of packets that gather before they are sent.
const CHUNK_BYTES: usize = 256 << 10;

/// A log as learners are served from it.
pub trait LearnerLog: Send + Sync {
    /// The newest transaction that is not newer than `last`, if the log has everything after it and that
    /// is not so much that a whole tree is less. Asked for what is older than the newest one.
    ///
    /// # Errors
    /// Why the log cannot be read, or that it ends there.
    fn seek(&self, last: Zxid) -> Result<Option<Zxid>, String>;

    /// Visits the transactions after `after` and up to `upto`, in their order and without a gap, until
    /// `visit` breaks.
    ///
    /// # Errors
    /// Why the log cannot be read on, or that it has not all of them.
    fn read(&self, after: Zxid, upto: Zxid, visit: &mut Visit<'_>) -> Result<(), String>;
}

/// Which part of the log a learner is sent.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// What the learner has.
    pub after: Zxid,
    /// The last one to send.
    pub upto: Zxid,
    /// Whether it takes many in one packet, and no COMMIT behind each.
    pub extended: bool,
}

/// Searches the log on a thread of its own, for `Done::Sought`.
///
/// # Errors
/// There can be no more threads.
pub fn seek(log: Arc<dyn LearnerLog>, link: Link, last: Zxid, results: Results) -> io::Result<()> {
    let search = move || {
        let found = log.seek(last).unwrap_or_else(|error| {
            tracing::warn!("the log was not searched for a learner's end {last}: {error}");
            None
        });
        results.put(Done::Sought(link, found));
    };
    thread::Builder::new().name("seek-log".into()).spawn(search).map(drop)
}

/// Sends a part of the log from a thread of its own.
///
/// # Errors
/// There can be no more threads.
pub fn send(log: Arc<dyn LearnerLog>, part: Part, chunks: ChunkSender) -> io::Result<()> {
    thread::Builder::new().name("send-log".into()).spawn(move || send_part(&*log, part, &chunks)).map(drop)
}

fn send_part(log: &dyn LearnerLog, part: Part, chunks: &ChunkSender) {
    let mut packets = Vec::new();
    let mut batch = BatchBuilder::default();
    let read = log.read(part.after, part.upto, &mut |zxid, bytes| {
        if part.extended {
            batch.push(zxid, bytes);
        } else {
            QuorumPacket::new(PacketType::Proposal, zxid.to_jute(), Some(bytes)).encode(&mut packets);
            QuorumPacket::new(PacketType::Commit, zxid.to_jute(), None).encode(&mut packets);
        }
        if packets.len() + batch.bytes() < CHUNK_BYTES {
            return ControlFlow::Continue(());
        }
        put_batch(&mut batch, &mut packets);
        match chunks.send(Ok(std::mem::take(&mut packets))) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    });
    put_batch(&mut batch, &mut packets);
    // It fails when the connection is gone: then nobody needs it.
    let _ = chunks.send(match read {
        Ok(()) => Ok(packets),
        Err(error) => Err(format!("the log was not sent: {error}")),
    });
}

fn put_batch(batch: &mut BatchBuilder, packets: &mut Vec<u8>) {
    if let Some(batch) = batch.take() {
        ToLearner::Proposals(batch).encode(packets);
    }
}

/// The log of a data directory.
pub struct SegmentLog {
    directory: Arc<DataDirectory>,
    bytes_max: u64,
    /// Learners whose logs end before this zxid are not served: what follows could not be read, once.
    served_from: AtomicU64,
}

/// What is told of each transaction: its number and its bytes.
pub type Visit<'v> = dyn FnMut(Zxid, &[u8]) -> ControlFlow<()> + 'v;

/// A segment of the log.
struct Segment {
    header: SegmentHeader,
    begin: Position,
    /// Where the next segment says that this one ends, and with which batch; none of the newest one, which
    /// is being written.
    ending: Option<LogLink>,
    /// Of its file.
    bytes: u64,
}

impl SegmentLog {
    /// Of this directory; where a learner missed more than `bytes_max`, a tree is sent instead.
    pub fn new(directory: Arc<DataDirectory>, bytes_max: u64) -> SegmentLog {
        SegmentLog { directory, bytes_max, served_from: AtomicU64::new(0) }
    }

    /// The segments from the one on that `after` lies in or before, as each names the one before it; none
    /// if the log begins behind it.
    fn segments(&self, files: &mut SegmentFiles, after: Zxid) -> Result<Vec<Segment>, DiskError> {
        let mut reader = files.reader()?;
        let (mut found, mut wanted) = (Vec::new(), None::<LogLink>);
        for file in reader.segments().into_iter().rev() {
            if wanted.is_some_and(|link| link.sequence != file.sequence) {
                continue;
            }
            let mut bytes = vec![0; SEGMENT_HEADER_BYTES.min(file.bytes as usize)];
            reader.read_at(file.sequence, 0, &mut bytes)?;
            // One that is being prepared has no header yet, or that of the segment that it was.
            let header = SegmentHeader::decode(&bytes).ok().filter(|(header, _)| {
                header.sequence == file.sequence && header.database == self.directory.database()
            });
            let Some((header, checksum)) = header else { continue };
            let begin = Position::begin(&header, checksum);
            found.push(Segment { header, begin, ending: wanted, bytes: file.bytes });
            if header.previous_zxid <= after {
                found.reverse();
                return Ok(found);
            }
            wanted = header.previous;
            if wanted.is_none() {
                break;
            }
        }
        Ok(Vec::new())
    }

    /// Visits what is after `after`, if the log goes back to there; whether it does. A segment that another
    /// one goes on behind has to be whole up to there; the newest one may end anywhere.
    fn visit(&self, after: Zxid, visit: &mut Visit<'_>) -> Result<bool, String> {
        // Nothing is written through it.
        let mut files = SegmentFiles::new(&self.directory, SyncMode::None);
        let segments = self.segments(&mut files, after).map_err(|error| error.to_string())?;
        let mut reader = files.reader().map_err(|error| error.to_string())?;
        let mut buffer = Vec::new();
        for segment in &segments {
            let mut at = segment.begin;
            let visited = visit_segment(&mut reader, segment, &mut at, after, &mut buffer, visit);
            let flow = visited.map_err(|stop| match stop {
                Stop::Disk(error) => format!("{error}, at offset {}", at.offset),
                Stop::Fault(fault) => {
                    let path = files.path(at.sequence);
                    format!("{}: damaged at offset {}: {fault}", path.display(), at.offset)
                }
                Stop::Gap(last, zxid) => {
                    let path = files.path(at.sequence);
                    format!(
                        "{}: at offset {} it goes on with {zxid} behind {last}",
                        path.display(),
                        at.offset
                    )
                }
            })?;
            if flow.is_break() {
                break;
            }
        }
        Ok(!segments.is_empty())
    }
}

/// Why a segment is not read on.
enum Stop {
    Disk(DiskError),
    Fault(BatchFault),
    /// Behind the first of these comes the second, which does not follow it.
    Gap(Zxid, Zxid),
}

impl From<DiskError> for Stop {
    fn from(error: DiskError) -> Stop {
        Stop::Disk(error)
    }
}

/// Visits what a segment has after `after`; `at` goes from batch to batch, and stays where one is not right.
fn visit_segment(
    reader: &mut SegmentReader<'_>,
    segment: &Segment,
    at: &mut Position,
    after: Zxid,
    buffer: &mut Vec<u8>,
    visit: &mut Visit<'_>,
) -> Result<ControlFlow<()>, Stop> {
    loop {
        if let Some(link) = segment.ending
            && link.end == at.offset
        {
            return match link.checksum == at.previous {
                true => Ok(ControlFlow::Continue(())),
                false => Err(Stop::Fault(BatchFault::BrokenChain)),
            };
        }
        let (header, checksum, entries) = match read_batch(reader, segment, at, after, buffer) {
            // It is being written: nobody asked for what is in it.
            Err(Stop::Fault(_)) if segment.ending.is_none() => return Ok(ControlFlow::Continue(())),
            read => read?,
        };
        if header.entries > 0 && !follows(at.last_zxid, header.first_zxid) {
            return Err(Stop::Gap(at.last_zxid, header.first_zxid));
        }
        let mut last = at.last_zxid;
        for (zxid, bytes) in entries.into_iter().flatten() {
            if !follows(last, zxid) {
                return Err(Stop::Gap(last, zxid));
            }
            last = zxid;
            if zxid > after && visit(zxid, bytes).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        *at = at.behind(&header, checksum, &segment.header);
    }
}

/// The header of the batch at `at`, and what is in it unless all of that is older than `after`.
fn read_batch<'b>(
    reader: &mut SegmentReader<'_>,
    segment: &Segment,
    at: &Position,
    after: Zxid,
    buffer: &'b mut Vec<u8>,
) -> Result<(BatchHeader, Checksum, Option<Entries<'b>>), Stop> {
    let left =
        segment.ending.map_or(segment.bytes, |link| link.end.min(segment.bytes)).saturating_sub(at.offset);
    if left < BATCH_HEADER_BYTES as u64 {
        return Err(Stop::Fault(BatchFault::BehindEnd));
    }
    buffer.resize(BATCH_HEADER_BYTES, 0);
    reader.read_at(at.sequence, at.offset, buffer)?;
    let (header, checksum) = next_header(segment.header.database, at, buffer).map_err(Stop::Fault)?;
    if left < u64::from(header.bytes) {
        return Err(Stop::Fault(BatchFault::BehindEnd));
    }
    if header.last_zxid <= after {
        return Ok((header, checksum, None));
    }
    buffer.resize(header.bytes as usize, 0);
    reader.read_at(at.sequence, at.offset, buffer)?;
    let entries = entries(&header, at, buffer).map_err(Stop::Fault)?;
    Ok((header, checksum, Some(entries)))
}

impl LearnerLog for SegmentLog {
    fn seek(&self, last: Zxid) -> Result<Option<Zxid>, String> {
        let mut files = SegmentFiles::new(&self.directory, SyncMode::None);
        let segments = self.segments(&mut files, last).map_err(|error| error.to_string())?;
        let Some(first) = segments.first() else { return Ok(None) };
        let before = first.header.previous_zxid;
        let (mut common, mut bytes_after, mut goes_on) = (before, 0, false);
        self.visit(before, &mut |zxid, bytes| {
            if zxid <= last {
                common = zxid;
            } else {
                bytes_after += bytes.len() as u64;
                goes_on = true;
            }
            if bytes_after > self.bytes_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if bytes_after > self.bytes_max {
            return Ok(None);
        }
        if !goes_on {
            return Err(format!("it ends at {common}"));
        }
        match Zxid(self.served_from.load(Ordering::Relaxed)) {
            from if common < from => Err(format!("what comes before {from} could not be read, once")),
            _ => Ok(Some(common)),
        }
    }

    fn read(&self, after: Zxid, upto: Zxid, visit: &mut Visit<'_>) -> Result<(), String> {
        let (mut last, mut has_left) = (after, false);
        let read = self.visit(after, &mut |zxid, bytes| {
            if zxid > upto {
                return ControlFlow::Break(());
            }
            last = zxid;
            has_left = visit(zxid, bytes).is_break();
            if has_left || zxid == upto { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let whole = match read {
            Ok(true) if has_left || last == upto => Ok(()),
            Ok(true) => Err(format!("the log ends at {last} where {upto} was expected")),
            Ok(false) => Err(format!("the log begins behind {after}")),
            Err(error) => Err(error),
        };
        if whole.is_err() {
            self.served_from.fetch_max(last.0.saturating_add(1), Ordering::Relaxed);
        }
        whole
    }
}
