//! What has to be on the disk before this server goes on with its ensemble, and finds the disk full: the
//! epochs, a cut of the log, the tree that the leader sent. It is asked for again until there is space.
//! Meanwhile nothing is promised that is not on disk, and nothing ends: a server that ended would find the
//! same disk at its next start, and so would the others that have filled theirs at the same time.

use super::Replica;
use crate::step::Effect;
use crate::zab::Epochs;
use ringkeeper_engine::id::Tick;
use ringkeeper_engine::log::{IoFailure, LogError};

/// Between two attempts, in milliseconds.
const RETRY_MS: u64 = 1000;

/// What found no space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Epochs,
    /// A cut, or a tree.
    Change,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// The epochs that were asked for last. Older ones are never asked for again.
    pub epochs: Epochs,
    epochs_refused: bool,
    change_refused: bool,
    retry_at: Tick,
}

impl Space {
    pub fn is_awaited(&self) -> bool {
        self.epochs_refused || self.change_refused
    }
}

impl Replica {
    /// Whether something waits until the disk is no longer full that this server cannot go on without.
    pub fn waits_for_space(&self) -> bool {
        self.space.is_awaited()
    }

    pub(super) fn on_refused(
        &mut self,
        now: Tick,
        what: Refused,
        failure: IoFailure,
        out: &mut Vec<Effect>,
    ) -> Result<(), LogError> {
        if !failure.is_disk_full() {
            return Err(LogError::Failed(failure));
        }
        if !self.space.is_awaited() {
            out.push(Effect::Notice(format!(
                "the disk is full ({failure}): this server goes on with its ensemble when there is space"
            )));
        }
        match what {
            Refused::Epochs => self.space.epochs_refused = true,
            Refused::Change => self.space.change_refused = true,
        }
        self.space.retry_at = now.plus_ms(RETRY_MS);
        Ok(())
    }

    pub(super) fn on_found_space(&mut self, what: Refused, out: &mut Vec<Effect>) {
        let was_awaited = self.space.is_awaited();
        match what {
            Refused::Epochs => self.space.epochs_refused = false,
            Refused::Change => self.space.change_refused = false,
        }
        if was_awaited && !self.space.is_awaited() {
            out.push(Effect::Notice("there is space on the disk again: what waited is on it".into()));
        }
    }

    pub(super) fn ask_for_space_when_due(&mut self, now: Tick, out: &mut Vec<Effect>) {
        if !self.space.is_awaited() || now < self.space.retry_at {
            return;
        }
        self.space.retry_at = now.plus_ms(RETRY_MS);
        if self.space.epochs_refused {
            out.push(Effect::PersistEpochs(self.space.epochs));
        }
        if self.space.change_refused {
            out.push(self.change_again());
        }
    }
}
