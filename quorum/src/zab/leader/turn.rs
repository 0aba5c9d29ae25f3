//! The move of a leader to a later epoch in place, when the zxids of the present one run out, or a server
//! that accepted a later one comes.

use super::super::core::Core;
use super::super::{Effect, Link, Quit};
use super::{Leading, Learner, LearnerStage, Stage};
use crate::message::ToLearner;
use ringkeeper_engine::id::Epoch;

impl Leading {
    /// Whether the epoch's zxids run out: three quarters of them are used. A learner that is about to
    /// join the present epoch is waited for, though not for ever.
    pub(super) fn is_epoch_used_up(&mut self, core: &Core) -> bool {
        if self.change.is_some() || self.retires_since.is_some() {
            return false;
        }
        let max = core.config.epoch_transactions_max;
        let used = self.broadcast.proposed().counter();
        if used < max - max / 4 {
            self.used_up_since = None;
            return false;
        }
        let since = *self.used_up_since.get_or_insert(core.now);
        let waits = used < max || core.now.since(since) < core.sync_ms();
        !(waits && self.learners.values().any(Learner::joins))
    }

    /// Moves to a later epoch in place: no election, and no client notices. The leader's log has
    /// everything that it ever proposed, so no follower can know more; what remains is that a quorum
    /// promises the epoch, and has on disk what it begins with. A Java server knows no such move,
    /// and comes back as one that has been away.
    pub(super) fn turn(&mut self, core: &mut Core, out: &mut Vec<Effect>) -> Result<(), Quit> {
        let Some(epoch) = self.epoch.max(self.accepted).0.checked_add(1) else {
            return Err(Quit::because("the last epoch that there is was accepted"));
        };
        let joining = self.learners.extract_if(.., |_, learner| learner.joins());
        out.extend(joining.map(|(link, _)| Effect::CloseLearner(link)));
        self.electing.clear();
        self.refused.clear();
        self.disloyal.clear();
        self.synced.clear();
        self.epoch = Epoch(epoch);
        self.turning = true;
        self.started = core.now;
        self.stage = Stage::Accepting;
        core.accept(self.epoch, core.config.me, out);
        Ok(())
    }

    /// The epoch is on disk: tells it to those who wait for one, and in a move to the followers.
    pub(super) fn introduce(&mut self, core: &Core, out: &mut Vec<Effect>) -> Result<(), Quit> {
        let java = |learner: &Learner| {
            learner.stage == LearnerStage::Active && !learner.extended && !learner.observer
        };
        let gone = self.learners.extract_if(.., |_, learner| java(learner));
        out.extend(gone.map(|(link, _)| Effect::CloseLearner(link)));
        if self.turning && !self.is_supported(core) {
            return Err(Quit::because("a new epoch needs an election among Java servers"));
        }
        let links: Vec<(Link, LearnerStage, bool)> =
            self.learners.iter().map(|(link, learner)| (*link, learner.stage, learner.observer)).collect();
        for (link, stage, observer) in links {
            match stage {
                LearnerStage::Waiting => self.send_leaderinfo(link, out),
                LearnerStage::Active if !observer => self.send_turn(link, out),
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn leader_process_turn_ack(&mut self, core: &Core, link: Link) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        let acked = std::mem::take(&mut learner.turning);
        if acked && !learner.observer && core.verifier.is_voter(learner.server) {
            self.synced.insert(learner.server);
        }
    }

    fn send_turn(&mut self, link: Link, out: &mut Vec<Effect>) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        learner.turning = true;
        out.push(Effect::ToLearner(link, ToLearner::LeaderInfo { epoch: self.epoch, extended: true }));
    }

    /// The epoch is established. Observers, which know only what is committed, take it on now.
    pub(super) fn end_turn(&mut self, core: &Core, out: &mut Vec<Effect>) {
        let java = |learner: &Learner| learner.stage == LearnerStage::Active && !learner.extended;
        let gone = self.learners.extract_if(.., |_, learner| java(learner));
        out.extend(gone.map(|(link, _)| Effect::CloseLearner(link)));
        let active = self.learners.iter().filter(|(_, learner)| learner.stage == LearnerStage::Active);
        let links: Vec<(Link, bool)> = active.map(|(link, learner)| (*link, learner.observer)).collect();
        for (link, observer) in links {
            if observer {
                self.send_turn(link, out);
                self.send_newleader(core, link, out);
            }
            self.send_uptodate(link, out);
        }
    }
}
