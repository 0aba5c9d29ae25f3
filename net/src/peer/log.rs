//! What a learner missed, out of the log on disk: found, and sent, on threads of their own.
//!
//! A live log is read from beside its writer. Only what is durable and was applied is asked for, so every
//! batch that matters is whole; what retention takes away meanwhile ends the transfer, and the learner,
//! which comes back, gets a tree.

use super::connection::ChunkSender;
use super::events::{Done, Results};
use crate::disk::{DataDirectory, DiskError, SegmentFiles};
use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::log::SegmentSource;
use ringkeeper_engine::log::SyncMode;
use ringkeeper_engine::log::format::{
    BATCH_HEADER_BYTES, Link as LogLink, SEGMENT_HEADER_BYTES, SegmentHeader,
};
use ringkeeper_engine::log::reader::{Position, entries, next_header};
use ringkeeper_quorum::message::packet::PacketType;
use ringkeeper_quorum::message::{BatchBuilder, QuorumPacket, ToLearner};
use ringkeeper_quorum::zab::Link;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;

/// Bytes of packets that gather before they are sent.
const CHUNK_BYTES: usize = 256 << 10;

/// A log as learners are served from it.
pub trait LearnerLog: Send + Sync {
    /// The newest transaction that is not newer than `last`, if the log has everything after it and that
    /// is not so much that a whole tree is less.
    ///
    /// # Errors
    /// Why the log cannot be read.
    fn seek(&self, last: Zxid) -> Result<Option<Zxid>, String>;

    /// Visits the transactions after `after`, in their order, until `visit` breaks.
    ///
    /// # Errors
    /// Why the log cannot be read on, or that it has not all of them.
    fn read(&self, after: Zxid, visit: &mut Visit<'_>) -> Result<(), String>;
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
    let (mut packets, mut last, mut gone) = (Vec::new(), part.after, false);
    let mut batch = BatchBuilder::default();
    let read = log.read(part.after, &mut |zxid, bytes| {
        if zxid > part.upto {
            return ControlFlow::Break(());
        }
        if part.extended {
            batch.push(zxid, bytes);
        } else {
            QuorumPacket::new(PacketType::Proposal, zxid.to_jute(), Some(bytes)).encode(&mut packets);
            QuorumPacket::new(PacketType::Commit, zxid.to_jute(), None).encode(&mut packets);
        }
        last = zxid;
        if packets.len() + batch.bytes() >= CHUNK_BYTES {
            put_batch(&mut batch, &mut packets);
            gone = chunks.send(Ok(std::mem::take(&mut packets))).is_err();
        }
        if gone || zxid == part.upto { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    put_batch(&mut batch, &mut packets);
    let whole = read.and_then(|()| match last == part.upto {
        true => Ok(packets),
        false => Err(format!("the log ends at {last} where {} was expected", part.upto)),
    });
    // It fails when the connection is gone: then nobody needs it.
    let _ = chunks.send(whole.map_err(|error| format!("the log was not sent: {error}")));
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
}

impl SegmentLog {
    /// Of this directory; where a learner missed more than `bytes_max`, a tree is sent instead.
    pub fn new(directory: Arc<DataDirectory>, bytes_max: u64) -> SegmentLog {
        SegmentLog { directory, bytes_max }
    }

    /// The segments from the one on that `after` lies in or before, as each names the one before it; none
    /// if the log begins behind it.
    fn segments(&self, files: &mut SegmentFiles, after: Zxid) -> Result<Vec<Segment>, DiskError> {
        let mut reader = files.reader()?;
        let (mut found, mut wanted) = (Vec::new(), None::<LogLink>);
        for file in reader.segments().into_iter().rev() {
            let end = match wanted {
                Some(link) if link.sequence != file.sequence => continue,
                Some(link) => link.end,
                None => file.bytes,
            };
            let mut bytes = vec![0; SEGMENT_HEADER_BYTES.min(file.bytes as usize)];
            reader.read_at(file.sequence, 0, &mut bytes)?;
            // One that is being prepared has no header yet, or that of the segment that it was.
            let header = SegmentHeader::decode(&bytes).ok().filter(|(header, _)| {
                header.sequence == file.sequence && header.database == self.directory.database()
            });
            let Some((header, checksum)) = header else { continue };
            let begin = Position::begin(&header, checksum);
            found.push(Segment { header, begin, end: end.min(file.bytes) });
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

    /// Visits what is after `after`, if the log goes back to there; whether it does.
    fn visit(&self, after: Zxid, visit: &mut Visit<'_>) -> Result<bool, DiskError> {
        // Nothing is written through it.
        let mut files = SegmentFiles::new(&self.directory, SyncMode::None);
        let segments = self.segments(&mut files, after)?;
        let mut reader = files.reader()?;
        let (found, mut buffer) = (!segments.is_empty(), Vec::new());
        for Segment { header: segment, begin: mut position, end } in segments {
            while position.offset + BATCH_HEADER_BYTES as u64 <= end {
                buffer.resize(BATCH_HEADER_BYTES, 0);
                reader.read_at(position.sequence, position.offset, &mut buffer)?;
                let Ok((header, checksum)) = next_header(segment.database, &position, &buffer) else { break };
                if header.last_zxid > after {
                    if position.offset + u64::from(header.bytes) > end {
                        break;
                    }
                    buffer.resize(header.bytes as usize, 0);
                    reader.read_at(position.sequence, position.offset, &mut buffer)?;
                    // It is being written: nobody asked for what is in it.
                    let Ok(entries) = entries(&header, &position, &buffer) else { break };
                    for (zxid, bytes) in entries.filter(|(zxid, _)| *zxid > after) {
                        if visit(zxid, bytes).is_break() {
                            return Ok(found);
                        }
                    }
                }
                position = position.behind(&header, checksum, &segment);
            }
        }
        Ok(found)
    }
}

/// What is told of each transaction: its number and its bytes.
pub type Visit<'v> = dyn FnMut(Zxid, &[u8]) -> ControlFlow<()> + 'v;

/// A segment of the log, up to where the next one goes on.
struct Segment {
    header: SegmentHeader,
    begin: Position,
    /// In bytes from the file's beginning.
    end: u64,
}

impl LearnerLog for SegmentLog {
    fn seek(&self, last: Zxid) -> Result<Option<Zxid>, String> {
        let mut files = SegmentFiles::new(&self.directory, SyncMode::None);
        let segments = self.segments(&mut files, last).map_err(|error| error.to_string())?;
        let Some(first) = segments.first() else { return Ok(None) };
        let before = first.header.previous_zxid;
        let (mut common, mut bytes_after) = (before, 0);
        let read = self.visit(before, &mut |zxid, bytes| {
            if zxid <= last {
                common = zxid;
            } else {
                bytes_after += bytes.len() as u64;
            }
            if bytes_after > self.bytes_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        read.map_err(|error| error.to_string())?;
        Ok((bytes_after <= self.bytes_max).then_some(common))
    }

    fn read(&self, after: Zxid, visit: &mut Visit<'_>) -> Result<(), String> {
        match self.visit(after, visit) {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("the log begins behind {after}")),
            Err(error) => Err(error.to_string()),
        }
    }
}
