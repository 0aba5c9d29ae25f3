//! What has to be on the disk before this server goes on with its ensemble, and finds the disk full or no
//! more files that can be opened: the epochs, a cut of the log, the tree that the leader sent. It is asked
//! for again until it is there. Meanwhile nothing is promised that is not on disk, and nothing ends: a server that ended would find the
//! same disk at its next start, and so would the others that have filled theirs at the same time.

use super::Replica;
use crate::step::Effect;
use crate::zab::Epochs;
use ringkeeper_engine::id::Tick;
use ringkeeper_engine::log::{IoFailure, LogError, Shortage};

/// Between two attempts, in milliseconds.
const RETRY_MS: u64 = 1000;

/// What could not be done.
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
    /// What was said that there is not enough of.
    shortage: Option<Shortage>,
    retry_at: Tick,
}

impl Space {
    pub fn is_awaited(&self) -> bool {
        self.epochs_refused || self.change_refused
    }
}

impl Replica {
    /// Whether something waits until a shortage is over that this server cannot go on without.
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
        let Some(shortage) = failure.shortage() else { return Err(LogError::Failed(failure)) };
        if !self.space.is_awaited() {
            self.space.shortage = Some(shortage);
            out.push(Effect::Notice(format!(
                "{shortage} ({failure}): this server goes on with its ensemble when that is over"
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
        if was_awaited
            && !self.space.is_awaited()
            && let Some(shortage) = self.space.shortage.take()
        {
            out.push(Effect::Notice(format!("{}: what waited is on the disk", shortage.over())));
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
