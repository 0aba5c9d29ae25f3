//! How the next segment's file comes to be, before it is needed.
//!
//! A first write into an unwritten extent makes each fsync commit the file system's journal, so the
//! file is filled with written zeros and made durable, in small steps, while the log goes on in the
//! segment before it. This is also where a full disk is met, so never in the middle of a log write.

use super::format::Sequence;
use super::writer::IoFailure;

/// Bytes that one step fills: small, so that the disk is free for the log in between.
const ZERO_STEP_BYTES: u64 = 1 << 20;
/// How long to wait before a full disk is tried again.
const DISK_FULL_RETRY_US: u64 = 1_000_000;

/// Work on files that no reply waits for. The executor does one at a time and hands it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// Create the segment's file, empty; what has its name is an unused leftover: truncate it.
    Create {
        /// Whose file.
        sequence: Sequence,
    },
    /// Write `bytes` zeros at `offset`.
    Zero {
        /// Whose file.
        sequence: Sequence,
        /// Where, in bytes; a multiple of 4096.
        offset: u64,
        /// How many; a multiple of 4096, at most 1 MiB.
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
    zeroed: u64,
    wanted: u64,
    synced: bool,
    retry_at_us: Option<u64>,
}

impl Preparation {
    /// `synced` is false where no write of the log is.
    pub fn new(sequence: Sequence, bytes: u64, synced: bool) -> Preparation {
        Preparation { sequence, stage: Stage::Create, zeroed: 0, wanted: bytes, synced, retry_at_us: None }
    }

    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// The file's length in bytes, once it holds `bytes` durable zeros. Asking for more than it has
    /// sends it back to grow.
    pub fn ready_for(&mut self, bytes: u64) -> Option<u64> {
        if bytes > self.wanted {
            self.wanted = bytes;
            if self.stage != Stage::Create {
                self.stage = Stage::Zero;
            }
        }
        (self.stage == Stage::Ready).then_some(self.zeroed)
    }

    /// Whether the disk was full at the last attempt.
    pub fn waits_for_space(&self) -> bool {
        self.retry_at_us.is_some()
    }

    /// When the next step is due, if it has to wait.
    pub fn retry_at_us(&self) -> Option<u64> {
        self.retry_at_us
    }

    /// The next step, `None` if there is none now.
    pub fn next(&self, now_us: u64) -> Option<Upkeep> {
        if self.retry_at_us.is_some_and(|at| now_us < at) {
            return None;
        }
        let sequence = self.sequence;
        match self.stage {
            Stage::Create => Some(Upkeep::Create { sequence }),
            Stage::Zero => Some(Upkeep::Zero {
                sequence,
                offset: self.zeroed,
                bytes: (self.wanted - self.zeroed).min(ZERO_STEP_BYTES),
            }),
            Stage::Sync => Some(Upkeep::Sync { sequence }),
            Stage::SyncDirectory => Some(Upkeep::SyncDirectory),
            Stage::Ready => None,
        }
    }

    /// Takes a step's completion. A full disk begins anew later (a sync that failed for lack of space
    /// may have lost pages, so nothing of the file is kept); any other failure is the caller's to die
    /// of.
    pub fn completed(
        &mut self,
        step: Upkeep,
        result: Result<(), IoFailure>,
        now_us: u64,
    ) -> Result<(), IoFailure> {
        if let Err(failure) = result {
            if !failure.is_disk_full() {
                return Err(failure);
            }
            self.stage = Stage::Create;
            self.zeroed = 0;
            self.retry_at_us = Some(now_us + DISK_FULL_RETRY_US);
            return Ok(());
        }
        match step {
            Upkeep::Create { .. } => self.stage = Stage::Zero,
            Upkeep::Zero { offset, bytes, .. } => {
                self.zeroed = offset + bytes;
                if self.zeroed >= self.wanted {
                    self.stage = if self.synced { Stage::Sync } else { Stage::Ready };
                }
            }
            // More may have been asked for while the sync was on its way.
            Upkeep::Sync { .. } if self.stage == Stage::Sync => self.stage = Stage::SyncDirectory,
            Upkeep::SyncDirectory if self.stage == Stage::SyncDirectory => self.stage = Stage::Ready,
            Upkeep::Sync { .. } | Upkeep::SyncDirectory | Upkeep::Close { .. } => {}
        }
        if self.zeroed > 0 {
            self.retry_at_us = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps_until_ready(preparation: &mut Preparation) -> Vec<Upkeep> {
        let mut steps = Vec::new();
        while let Some(step) = preparation.next(0) {
            steps.push(step);
            preparation.completed(step, Ok(()), 0).unwrap();
        }
        steps
    }

    #[test]
    fn a_file_is_durable_under_its_name_before_it_is_used() {
        let sequence = Sequence(4);
        let mut preparation = Preparation::new(sequence, (1 << 20) + 4096, true);
        assert_eq!(
            steps_until_ready(&mut preparation),
            [
                Upkeep::Create { sequence },
                Upkeep::Zero { sequence, offset: 0, bytes: 1 << 20 },
                Upkeep::Zero { sequence, offset: 1 << 20, bytes: 4096 },
                Upkeep::Sync { sequence },
                Upkeep::SyncDirectory,
            ]
        );
        assert_eq!(preparation.ready_for(8192), Some((1 << 20) + 4096));
        assert_eq!(preparation.ready_for((1 << 20) + 8192), None, "grows for a batch that does not fit");
        assert_eq!(
            steps_until_ready(&mut preparation),
            [
                Upkeep::Zero { sequence, offset: (1 << 20) + 4096, bytes: 4096 },
                Upkeep::Sync { sequence },
                Upkeep::SyncDirectory,
            ]
        );
        assert_eq!(preparation.ready_for((1 << 20) + 8192), Some((1 << 20) + 8192));
    }

    #[test]
    fn growing_while_a_sync_is_in_flight_syncs_again() {
        let syncs = [Upkeep::Sync { sequence: Sequence(4) }, Upkeep::SyncDirectory];
        for (steps, expected) in [2, 3].into_iter().zip(syncs) {
            let mut preparation = Preparation::new(Sequence(4), 8192, true);
            for _ in 0..steps {
                let step = preparation.next(0).unwrap();
                preparation.completed(step, Ok(()), 0).unwrap();
            }
            let sync = preparation.next(0).unwrap();
            assert_eq!(sync, expected);
            assert_eq!(preparation.ready_for(12288), None);
            preparation.completed(sync, Ok(()), 0).unwrap();
            assert_eq!(preparation.ready_for(12288), None);
            assert_eq!(steps_until_ready(&mut preparation).len(), 3);
            assert_eq!(preparation.ready_for(12288), Some(12288));
        }
    }

    #[test]
    fn a_full_disk_begins_anew_later_and_another_failure_is_fatal() {
        let full = || IoFailure { errno: Some(28), message: "no space".into() };
        let mut preparation = Preparation::new(Sequence(4), 8192, true);
        for failing in 0..4 {
            for _ in 0..failing {
                let step = preparation.next(0).unwrap();
                preparation.completed(step, Ok(()), 0).unwrap();
            }
            let step = preparation.next(0).unwrap();
            preparation.completed(step, Err(full()), 0).unwrap();
            assert!(preparation.waits_for_space());
            assert_eq!(preparation.next(DISK_FULL_RETRY_US - 1), None);
            assert_eq!(
                preparation.next(DISK_FULL_RETRY_US),
                Some(Upkeep::Create { sequence: Sequence(4) }),
                "step {failing}"
            );
            preparation = Preparation::new(Sequence(4), 8192, true);
        }
        let step = preparation.next(0).unwrap();
        let failure = IoFailure { errno: Some(5), message: "I/O error".into() };
        assert_eq!(preparation.completed(step, Err(failure.clone()), 0), Err(failure));
    }
}
