//! What an operator is told of a leader's learners.

use super::super::core::Core;
use super::{Leading, LearnerStage};
use ringkeeper_engine::stats::LeaderReport;

impl Leading {
    pub(in crate::zab) fn report(&self, core: &Core) -> LeaderReport {
        let synced = self.learners.values().filter(|learner| learner.stage >= LearnerStage::Syncing);
        let mut report = LeaderReport { learners: self.learners.len(), ..LeaderReport::default() };
        for learner in synced {
            if learner.observer {
                report.synced_observers += 1;
            } else {
                report.synced_followers += 1;
                let votes = core.config.members.is_voter(learner.server);
                report.synced_non_voting_followers += usize::from(!votes);
            }
        }
        report
    }
}
