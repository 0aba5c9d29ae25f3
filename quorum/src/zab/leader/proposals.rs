//! Broadcast as the leader sees it: what is proposed, and who is told that it is committed.
//!
//! A Ringkeeper applies what it was told is committed, and has on its own disk. So one that is a quorum
//! together with its leader is told as soon as the leader's disk has the transaction, and need not wait for
//! its own ack to go there and back: when it applies the transaction, both have it.

use super::super::core::Core;
use super::super::{Effect, MembersBy};
use super::{Leading, LearnerStage, Stage};
use crate::message::{Batch, ToLearner, Transaction};
use crate::reconfig::designated_leader;
use ringkeeper_engine::id::Zxid;

impl Leading {
    /// Proposes what the replica prepared.
    pub(in crate::zab) fn leader_process_requests(
        &mut self,
        core: &mut Core,
        batch: Batch,
        out: &mut Vec<Effect>,
    ) {
        assert_eq!(Some(batch.first()), self.zxid_behind(core, 0), "proposals have no gap");
        assert_eq!(batch.first().epoch(), batch.last().epoch(), "proposals are of the leader's epoch");
        if core.config.reconfig_enabled {
            for (zxid, transaction) in batch.iter() {
                self.broadcast.propose(zxid);
                let version = core.seen.version();
                core.see_transaction(transaction, out).expect("this server made it");
                if core.seen.version() != version {
                    self.broadcast.begin_change(core.seen.verifier().clone());
                    self.change = Some(zxid);
                }
            }
        } else {
            self.broadcast.propose(batch.last());
        }
        for (link, learner) in &mut self.learners {
            if learner.stage >= LearnerStage::Syncing && !learner.observer {
                learner.sent = batch.last();
                learner.owes_since.get_or_insert(core.now);
                learner.propose(batch.clone(), |message| out.push(Effect::ToLearner(*link, message)));
            }
        }
        self.owes_since.get_or_insert(core.now);
        core.append(batch, out);
    }

    /// Tells everybody what is committed.
    pub(super) fn commit(&mut self, core: &mut Core, out: &mut Vec<Effect>) {
        if self.retires_since.is_some() {
            return;
        }
        if let Some(change) = self.change.filter(|change| *change <= self.broadcast.committed()) {
            self.commit_upto(core, Zxid(change.0 - 1), out);
            self.commit_change(core, change, out);
            if self.retires_since.is_some() {
                return;
            }
        }
        self.commit_upto(core, self.broadcast.committed(), out);
    }

    fn commit_upto(&mut self, core: &mut Core, committed: Zxid, out: &mut Vec<Effect>) {
        let before = core.committed;
        // An epoch without a proposal commits none.
        if committed > before && committed.counter() > 0 {
            core.commit(committed);
            self.send_commits(core, before, committed, LearnerStage::Syncing, out);
        }
    }

    /// Commits another configuration, which is in force from here on.
    fn commit_change(&mut self, core: &mut Core, change: Zxid, out: &mut Vec<Effect>) {
        let (me, before) = (core.config.me, core.config.members.clone());
        let transactions: Vec<Transaction> = core.history.transactions(core.committed, change).collect();
        core.commit(change);
        self.change = None;
        let acked = |server| self.broadcast.acked(server);
        let designated = designated_leader(me, &before, &core.seen, acked).unwrap_or(me);
        core.activate(core.seen.clone(), Some(me), Some(designated), MembersBy::Transaction, out);
        if designated == me {
            self.broadcast.end_change();
        } else {
            self.retires_since = Some(core.now);
        }
        for (link, learner) in self.learners.iter_mut() {
            if learner.stage < LearnerStage::Syncing {
                continue;
            }
            let mut send = |message| out.push(Effect::ToLearner(*link, message));
            if learner.observer {
                for transaction in &transactions {
                    send(ToLearner::InformAndActivate {
                        transaction: transaction.clone(),
                        leader: designated,
                    });
                }
                learner.sent = change;
            } else {
                let message = ToLearner::CommitAndActivate { zxid: change, leader: designated };
                match learner.extended {
                    true => send(message),
                    false => learner.commit(message, send),
                }
            }
        }
    }

    /// Tells followers that are a quorum together with this server what this server's disk has.
    pub(super) fn commit_with_follower(&mut self, core: &Core, out: &mut Vec<Effect>) {
        let durable = core.durable.unwrap_or_default().min(self.broadcast.proposed());
        let is_calm = self.change.is_none() && self.retires_since.is_none() && self.broadcast.is_calm();
        if self.stage != Stage::Broadcast || !is_calm || durable <= core.committed || durable.counter() == 0 {
            return;
        }
        for (link, learner) in &mut self.learners {
            // One that has not acked an epoch's NEWLEADER counts for nothing in it.
            let counts = learner.stage == LearnerStage::Active && !learner.turning && !learner.observer;
            if !learner.extended || !counts || learner.told >= durable {
                continue;
            }
            let both = |voter| voter == core.config.me || voter == learner.server;
            if core.verifier.is_voter(learner.server) && core.verifier.is_quorum(both) {
                learner.told = durable;
                out.push(Effect::ToLearner(*link, ToLearner::Commit(durable)));
            }
        }
    }

    /// Tells learners of at least this stage what is committed since `before`.
    pub(super) fn send_commits(
        &mut self,
        core: &Core,
        before: Zxid,
        committed: Zxid,
        stage: LearnerStage,
        out: &mut Vec<Effect>,
    ) {
        for (link, learner) in &mut self.learners {
            if learner.stage < stage {
                continue;
            }
            let mut send = |message| out.push(Effect::ToLearner(*link, message));
            if learner.observer {
                learner.sent = committed;
            }
            match (learner.extended, learner.observer) {
                (true, observer) => {
                    let unknown = core.history.range(before, committed).filter(|_| observer);
                    unknown.for_each(|batch| send(ToLearner::Proposals(batch)));
                    if learner.told < committed {
                        learner.told = committed;
                        send(ToLearner::Commit(committed));
                    }
                }
                (false, true) => {
                    let informs = core.history.transactions(before, committed).map(ToLearner::Inform);
                    informs.for_each(send);
                }
                (false, false) => {
                    for transaction in core.history.transactions(before, committed) {
                        learner.commit(ToLearner::Commit(transaction.zxid), &mut send);
                    }
                }
            }
        }
    }
}
