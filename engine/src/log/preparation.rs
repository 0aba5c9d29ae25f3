//! How a segment's file comes to be.
//!
//! A first write into blocks that hold nothing yet makes each fsync commit the file system's journal, so
//! a segment is a file that was written before: a spare, which held a segment that recovery needs no
//! more, or a new one that is filled with zeros. Zeros go to the disk in small steps with pauses, while
//! the log goes on in the segment before: the log's own writes must not queue behind them. Only where the
//! log would have to wait for the segment is there no pause. This is also where a full disk is met, so
//! never in the middle of a log write.

use super::format::{
    BATCH_HEADER_BYTES, BatchHeader, DatabaseId, SEGMENT_HEADER_BYTES, SegmentHeader, Sequence,
};
use super::writer::{IoFailure, Shortage};

/// Bytes that one step fills: as long as the disk takes for them, a write of the log may have to wait.
pub const ZERO_STEP_BYTES: u64 = 256 << 10;
/// A segment that the log waits for may be as short as this: one of full length takes the disk long.
const SHORT_BYTES: u64 = 8 << 20;
/// The pause between two steps: 64 MiB/s at most.
const ZERO_PAUSE_US: u64 = 4_000;
/// How long to wait before what failed for a shortage is tried again.
const RETRY_US: u64 = 1_000_000;

/// Work on files that no reply waits for. The executor does one at a time and hands it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// Create the segment's file, empty; what has its name is an unused leftover: truncate it.
    Create {
        /// Whose file.
        sequence: Sequence,
    },
    /// Make a spare the segment's file, in the place of what has its name.
    Rename {
        /// The spare's number.
        spare: Sequence,
        /// Whose file it becomes.
        sequence: Sequence,
    },
    /// Write `bytes` zeros at `offset`.
    Zero {
        /// Whose file.
        sequence: Sequence,
        /// Where, in bytes; a multiple of 4096.
        offset: u64,
        /// How many; a multiple of 4096, at most [`ZERO_STEP_BYTES`].
        bytes: u64,
    },
    /// fsync the file, its length included.
    Sync {
        /// Whose file.
        sequence: Sequence,
    },
    /// fsync the directory, so that the file has its name after a crash.
    SyncDirectory,
    /// The log will not write to this segment again: close the file.
    Close {
        /// Whose file.
        sequence: Sequence,
    },
    /// Remove a spare that the log has no use for.
    Remove {
        /// The spare's number.
        spare: Sequence,
    },
}

/// Whether what begins with `beginning` (the header and the sector behind it, less where the file ends)
/// may be used for segment `sequence`: it holds no batch of that number, so nothing in it can later be
/// taken for what the log wrote. Zeros, and what an earlier segment left, do.
pub fn may_become(sequence: Sequence, database: DatabaseId, beginning: &[u8]) -> bool {
    let Some((header, rest)) = beginning.split_at_checked(SEGMENT_HEADER_BYTES) else { return false };
    if rest.len() < BATCH_HEADER_BYTES {
        return false;
    }
    let earlier = |number: Sequence, of: DatabaseId| number < sequence && of == database;
    let header_is_unused = header.iter().all(|&byte| byte == 0)
        || SegmentHeader::decode(header).is_ok_and(|(header, _)| earlier(header.sequence, header.database));
    let batch = BatchHeader::decode(database, rest);
    header_is_unused && batch.is_none_or(|(batch, _)| batch.sequence < sequence)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Create,
    Zero,
    Sync,
    SyncDirectory,
    Ready,
}

/// One segment on its way.
#[derive(Debug)]
pub(super) struct Preparation {
    sequence: Sequence,
    stage: Stage,
    /// A spare's length.
    spare_bytes: u64,
    zeroed: u64,
    wanted: u64,
    recycled: bool,
    /// Why the last attempt failed, if no file was finished since.
    shortage: Option<Shortage>,
    retry_at_us: Option<u64>,
    /// No zeros before this time, unless the log needs them.
    pause_until_us: u64,
}

/// A file that is ready to be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prepared {
    /// Its length, all of it durable.
    pub bytes: u64,
    /// It was a spare, so it does not hold zeros.
    pub recycled: bool,
}

impl Preparation {
    /// Of a segment that has `bytes`, as spares have. Its file is made durable in every sync mode, so that
    /// recovery can tell what a crash leaves.
    pub fn new(sequence: Sequence, bytes: u64) -> Preparation {
        Preparation {
            sequence,
            stage: Stage::Create,
            spare_bytes: bytes,
            zeroed: 0,
            wanted: bytes,
            recycled: false,
            shortage: None,
            retry_at_us: None,
            pause_until_us: 0,
        }
    }

    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// The file, once it has `bytes` and is durable. Asking for more than it has sends it back to grow; while
    /// it grows, it ends where it is long enough: the log waits.
    pub fn ready_for(&mut self, bytes: u64) -> Option<Prepared> {
        if self.stage == Stage::Zero && self.zeroed >= bytes.max(SHORT_BYTES) {
            self.wanted = self.zeroed;
            self.stage = Stage::Sync;
        }
        if bytes > self.wanted {
            self.wanted = bytes;
            if self.stage != Stage::Create {
                self.stage = Stage::Zero;
            }
        }
        (self.stage == Stage::Ready).then_some(Prepared { bytes: self.zeroed, recycled: self.recycled })
    }

    /// Whether less of it is filled than `used` is of `capacity`.
    pub fn is_behind(&self, used: u64, capacity: u64) -> bool {
        u128::from(self.zeroed) * u128::from(capacity) < u128::from(used) * u128::from(self.wanted)
    }

    /// What there was not enough of at the last attempt.
    pub fn shortage(&self) -> Option<Shortage> {
        self.shortage
    }

    /// The next step, `None` if there is none now. A `spare` that is there is taken; no pause is made in
    /// a `hurry`.
    pub fn next(&self, now_us: u64, spare: Option<Sequence>, hurry: bool) -> Option<Upkeep> {
        if self.retry_at_us.is_some_and(|at| now_us < at) {
            return None;
        }
        let sequence = self.sequence;
        match (self.stage, spare) {
            (Stage::Create, Some(spare)) => Some(Upkeep::Rename { spare, sequence }),
            (Stage::Create, None) => Some(Upkeep::Create { sequence }),
            (Stage::Zero, _) if !hurry && now_us < self.pause_until_us => None,
            (Stage::Zero, _) => Some(Upkeep::Zero {
                sequence,
                offset: self.zeroed,
                bytes: (self.wanted - self.zeroed).min(ZERO_STEP_BYTES),
            }),
            (Stage::Sync, _) => Some(Upkeep::Sync { sequence }),
            (Stage::SyncDirectory, _) => Some(Upkeep::SyncDirectory),
            (Stage::Ready, _) => None,
        }
    }

    /// Takes a step's completion. What failed for a shortage begins anew later (a sync that failed for lack
    /// of space may have lost pages, so nothing of the file is kept); any other failure is the caller's to
    /// die of.
    pub fn completed(
        &mut self,
        step: Upkeep,
        result: Result<(), IoFailure>,
        now_us: u64,
    ) -> Result<(), IoFailure> {
        if let Err(failure) = result {
            let Some(shortage) = failure.shortage() else { return Err(failure) };
            self.stage = Stage::Create;
            self.zeroed = 0;
            self.recycled = false;
            self.shortage = Some(shortage);
            self.retry_at_us = Some(now_us + RETRY_US);
            return Ok(());
        }
        match step {
            Upkeep::Create { .. } => self.stage = Stage::Zero,
            Upkeep::Rename { .. } => {
                self.recycled = true;
                self.filled_to(self.spare_bytes);
            }
            Upkeep::Zero { offset, bytes, .. } => {
                self.pause_until_us = now_us + ZERO_PAUSE_US;
                self.filled_to(offset + bytes);
            }
            // More may have been asked for while the sync was on its way.
            Upkeep::Sync { .. } if self.stage == Stage::Sync => self.stage = Stage::SyncDirectory,
            Upkeep::SyncDirectory if self.stage == Stage::SyncDirectory => {
                self.stage = Stage::Ready;
                self.shortage = None;
            }
            Upkeep::Sync { .. } | Upkeep::SyncDirectory | Upkeep::Close { .. } | Upkeep::Remove { .. } => {}
        }
        if self.zeroed > 0 {
            self.retry_at_us = None;
        }
        Ok(())
    }

    fn filled_to(&mut self, bytes: u64) {
        self.zeroed = bytes;
        self.stage = if bytes < self.wanted { Stage::Zero } else { Stage::Sync };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(bytes: u64) -> Option<Prepared> {
        Some(Prepared { bytes, recycled: false })
    }

    fn steps_until_ready(preparation: &mut Preparation) -> Vec<Upkeep> {
        let mut steps = Vec::new();
        while let Some(step) = preparation.next(0, None, true) {
            steps.push(step);
            preparation.completed(step, Ok(()), 0).unwrap();
        }
        steps
    }

    #[test]
    fn a_file_is_durable_under_its_name_before_it_is_used() {
        let sequence = Sequence(4);
        let mut preparation = Preparation::new(sequence, ZERO_STEP_BYTES + 4096);
        assert_eq!(
            steps_until_ready(&mut preparation),
            [
                Upkeep::Create { sequence },
                Upkeep::Zero { sequence, offset: 0, bytes: ZERO_STEP_BYTES },
                Upkeep::Zero { sequence, offset: ZERO_STEP_BYTES, bytes: 4096 },
                Upkeep::Sync { sequence },
                Upkeep::SyncDirectory,
            ]
        );
        assert_eq!(preparation.ready_for(8192), fresh(ZERO_STEP_BYTES + 4096));
        assert_eq!(
            preparation.ready_for(ZERO_STEP_BYTES + 8192),
            None,
            "grows for a batch that does not fit"
        );
        assert_eq!(
            steps_until_ready(&mut preparation),
            [
                Upkeep::Zero { sequence, offset: ZERO_STEP_BYTES + 4096, bytes: 4096 },
                Upkeep::Sync { sequence },
                Upkeep::SyncDirectory,
            ]
        );
        assert_eq!(preparation.ready_for(ZERO_STEP_BYTES + 8192), fresh(ZERO_STEP_BYTES + 8192));
    }

    #[test]
    fn a_log_that_waits_gets_a_short_segment() {
        let sequence = Sequence(4);
        let mut preparation = Preparation::new(sequence, 64 << 20);
        let mut steps = 0;
        let bytes = loop {
            let step = preparation.next(0, None, true).expect("it is not ready");
            // It asks while a step is under way, and after it.
            let before = preparation.ready_for(SHORT_BYTES + 4096);
            preparation.completed(step, Ok(()), 0).unwrap();
            steps += 1;
            if let Some(prepared) = before.or(preparation.ready_for(SHORT_BYTES + 4096)) {
                break prepared.bytes;
            }
        };
        assert_eq!(bytes, SHORT_BYTES + ZERO_STEP_BYTES);
        assert_eq!(steps, bytes / ZERO_STEP_BYTES + 3, "created, filled, synced, and its name");
        assert_eq!(preparation.next(0, None, true), None);
    }

    #[test]
    fn growing_while_a_sync_is_in_flight_syncs_again() {
        let syncs = [Upkeep::Sync { sequence: Sequence(4) }, Upkeep::SyncDirectory];
        for (steps, expected) in [2, 3].into_iter().zip(syncs) {
            let mut preparation = Preparation::new(Sequence(4), 8192);
            for _ in 0..steps {
                let step = preparation.next(0, None, true).unwrap();
                preparation.completed(step, Ok(()), 0).unwrap();
            }
            let sync = preparation.next(0, None, true).unwrap();
            assert_eq!(sync, expected);
            assert_eq!(preparation.ready_for(12288), None);
            preparation.completed(sync, Ok(()), 0).unwrap();
            assert_eq!(preparation.ready_for(12288), None);
            assert_eq!(steps_until_ready(&mut preparation).len(), 3);
            assert_eq!(preparation.ready_for(12288), fresh(12288));
        }
    }

    #[test]
    fn a_shortage_begins_anew_later_and_another_failure_is_fatal() {
        let mut preparation = Preparation::new(Sequence(4), 8192);
        let shortages = [28, 122].map(|errno| (errno, Shortage::Space)).into_iter();
        let shortages = shortages.chain([23, 24].map(|errno| (errno, Shortage::Files)));
        for ((errno, shortage), failing) in shortages.flat_map(|short| (0..4).map(move |step| (short, step)))
        {
            for _ in 0..failing {
                let step = preparation.next(0, None, true).unwrap();
                preparation.completed(step, Ok(()), 0).unwrap();
            }
            let step = preparation.next(0, None, true).unwrap();
            preparation
                .completed(step, Err(IoFailure { errno: Some(errno), message: "short".into() }), 0)
                .unwrap();
            assert_eq!(preparation.shortage(), Some(shortage));
            assert_eq!(preparation.next(RETRY_US - 1, None, true), None);
            assert_eq!(
                preparation.next(RETRY_US, None, true),
                Some(Upkeep::Create { sequence: Sequence(4) }),
                "step {failing}"
            );
            preparation = Preparation::new(Sequence(4), 8192);
        }
        let step = preparation.next(0, None, true).unwrap();
        let failure = IoFailure { errno: Some(5), message: "I/O error".into() };
        assert_eq!(preparation.completed(step, Err(failure.clone()), 0), Err(failure));
    }

    #[test]
    fn a_spare_becomes_a_segment_without_a_byte_written() {
        let (sequence, spare) = (Sequence(4), Sequence(2));
        let mut preparation = Preparation::new(sequence, 8192);
        let rename = preparation.next(0, Some(spare), false).unwrap();
        assert_eq!(rename, Upkeep::Rename { spare, sequence });
        preparation.completed(rename, Ok(()), 0).unwrap();
        assert_eq!(steps_until_ready(&mut preparation), [Upkeep::Sync { sequence }, Upkeep::SyncDirectory]);
        assert_eq!(preparation.ready_for(8192), Some(Prepared { bytes: 8192, recycled: true }));
        assert_eq!(preparation.ready_for(12288), None);
        let grow = Upkeep::Zero { sequence, offset: 8192, bytes: 4096 };
        assert_eq!(preparation.next(0, Some(spare), false), Some(grow), "one spare is enough");
    }

    #[test]
    fn zeros_pause_unless_the_log_would_wait() {
        let mut preparation = Preparation::new(Sequence(4), 4 * ZERO_STEP_BYTES);
        for now_us in [0, 0] {
            let step = preparation.next(now_us, None, false).unwrap();
            preparation.completed(step, Ok(()), now_us).unwrap();
        }
        assert_eq!(preparation.next(ZERO_PAUSE_US - 1, None, false), None);
        let next = Upkeep::Zero { sequence: Sequence(4), offset: ZERO_STEP_BYTES, bytes: ZERO_STEP_BYTES };
        assert_eq!(preparation.next(ZERO_PAUSE_US, None, false), Some(next));
        assert_eq!(preparation.next(0, None, true), Some(next));
        assert!(!preparation.is_behind(1, 4) && preparation.is_behind(2, 4));
    }

    #[test]
    fn what_may_hold_a_batch_of_its_own_number_becomes_no_segment() {
        use crate::id::Zxid;
        use crate::log::format::{Alignment, Checksum};
        let database = DatabaseId(7);
        let file = |header: Option<u64>, batch: Option<u64>| {
            let mut bytes = vec![0; SEGMENT_HEADER_BYTES + 512];
            let (first, rest) = bytes.split_at_mut(SEGMENT_HEADER_BYTES);
            if let Some(sequence) = header {
                SegmentHeader {
                    database,
                    sequence: Sequence(sequence),
                    first_zxid: Zxid(1),
                    previous_zxid: Zxid(0),
                    previous: None,
                    alignment: Alignment::SECTOR,
                    recycled: false,
                    unsynced: false,
                    capacity: 0,
                }
                .encode(first);
            }
            if let Some(sequence) = batch {
                let header = BatchHeader {
                    bytes: BATCH_HEADER_BYTES as u32,
                    previous: Checksum(0),
                    sequence: Sequence(sequence),
                    offset: SEGMENT_HEADER_BYTES as u64,
                    first_zxid: Zxid(1),
                    last_zxid: Zxid(1),
                    entries: 0,
                    entries_checksum: Checksum(0),
                    committed: Zxid(0),
                };
                header.encode(database, &mut rest[..BATCH_HEADER_BYTES]);
            }
            bytes
        };
        let may = |bytes: &[u8]| may_become(Sequence(5), database, bytes);
        assert!(may(&file(None, None)) && may(&file(Some(3), Some(3))) && may(&file(Some(4), None)));
        for (header, batch) in [(Some(5), Some(4)), (Some(6), None), (Some(4), Some(5)), (None, Some(5))] {
            assert!(!may(&file(header, batch)), "{header:?} {batch:?}");
        }
        let mut torn = file(Some(4), Some(4));
        torn[1000] ^= 1;
        assert!(!may(&torn), "a header that is neither");
        assert!(!may(&file(None, None)[..SEGMENT_HEADER_BYTES]) && !may(&[]));
        assert!(!may_become(Sequence(5), DatabaseId(8), &file(Some(4), Some(4))));
    }
}
