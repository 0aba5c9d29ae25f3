//! The replica and its [`Zab`]: what is told to it, and what it asks for.

use super::Replica;
use crate::message::{ToLearner, Transaction};
use crate::step::Effect;
use crate::zab;
use ringkeeper_engine::apply;
use ringkeeper_engine::id::{Now, Zxid};
use ringkeeper_engine::log::LogError;

/// What is sent of a node besides its path and its data (`DataNode`): its list and its Stat.
const NODE_BYTES: u64 = 80;

impl Replica {
    /// The zxid of the transaction that is prepared next; `None` while nothing can be proposed.
    pub(super) fn next_zxid(&self) -> Option<Zxid> {
        self.zab.zxid_behind(self.prepared.len())
    }

    /// The newest proposal.
    pub(super) fn proposed(&self) -> Zxid {
        self.prepared.last().unwrap_or(self.zab.last())
    }

    /// Proposes what was prepared.
    pub(super) fn propose(&mut self, now: Now, out: &mut Vec<Effect>) -> Result<(), LogError> {
        let Some(proposals) = self.prepared.take() else { return Ok(()) };
        self.foresee(&proposals);
        self.ask(now, zab::Input::Propose(proposals), out)
    }

    /// Tells `zab` what happened, and does what it asks for. What was prepared got its zxids before
    /// that happened, so it is proposed first.
    pub(super) fn order(
        &mut self,
        now: Now,
        input: zab::Input,
        out: &mut Vec<Effect>,
    ) -> Result<(), LogError> {
        self.propose(now, out)?;
        let input = match input {
            zab::Input::FromLeader(attempt, message) => match check(&message) {
                Ok(()) => zab::Input::FromLeader(attempt, message),
                // In the log it would be the end of this server, and of every start after it.
                Err(why) => {
                    out.push(Effect::Notice(format!("the leader is left: {why}")));
                    out.push(Effect::Peer(zab::Effect::CloseLeader(attempt)));
                    zab::Input::LeaderLost(attempt)
                }
            },
            input => input,
        };
        self.ask(now, input, out)
    }

    /// About how long the tree is when it is sent whole.
    pub fn tree_bytes(&self) -> u64 {
        let tree = &self.database.tree;
        tree.data_bytes().max(0) as u64 + tree.node_count() as u64 * NODE_BYTES
    }

    pub(super) fn ask(&mut self, now: Now, input: zab::Input, out: &mut Vec<Effect>) -> Result<(), LogError> {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let mut asked = std::mem::take(&mut self.asked);
            self.zab.set_tree_bytes(self.tree_bytes());
            self.zab.step(now.tick, input, &mut asked);
            for effect in asked.drain(..) {
                if let zab::Effect::ToLearner(link, message) = &effect {
                    self.sync_before(*link, message, out);
                }
                match effect {
                    zab::Effect::Append(_, batch) => self.append(now, batch)?,
                    zab::Effect::Deliver(batches) => self.apply(now, &batches),
                    zab::Effect::Rewind(generation, last_kept) => self.rewind(generation, last_kept),
                    zab::Effect::Install(generation, zxid) => self.install(now.wall_ms, generation, zxid),
                    zab::Effect::Serve(serving) => self.on_serve(now, serving),
                    // Nobody asks a standalone server what it promised.
                    zab::Effect::PersistEpochs(epochs) if self.standalone => {
                        next = Some(zab::Input::EpochsPersisted(epochs));
                    }
                    zab::Effect::PersistEpochs(epochs) => {
                        self.space.epochs = epochs;
                        out.push(Effect::PersistEpochs(epochs));
                    }
                    zab::Effect::FromLearner(link, _, message) => self.on_from_learner(now, link, message),
                    zab::Effect::FromLeader(message, upto) => self.on_from_leader(now, message, upto),
                    zab::Effect::Members(members, by) => {
                        self.on_members(now, &members, by);
                        out.push(Effect::Peer(zab::Effect::Members(members, by)));
                    }
                    zab::Effect::Notice(text) => out.push(Effect::Notice(text)),
                    zab::Effect::ToLearner(link, message) => {
                        let message = self.digests.with(message);
                        out.push(Effect::Peer(zab::Effect::ToLearner(link, message)));
                    }
                    network @ (zab::Effect::Notify(..)
                    | zab::Effect::Connect(..)
                    | zab::Effect::ToLeader(..)
                    | zab::Effect::CloseLeader(_)
                    | zab::Effect::SendTree(..)
                    | zab::Effect::SeekLog(..)
                    | zab::Effect::SendLog { .. }
                    | zab::Effect::MembersSeen(_)
                    | zab::Effect::CloseLearner(_)) => out.push(Effect::Peer(network)),
                }
            }
            self.asked = asked;
        }
        self.log.set_committed(self.zab.committed());
        Ok(())
    }
}

/// Whether this server can apply what the leader proposes.
fn check(message: &ToLearner) -> Result<(), String> {
    match message {
        ToLearner::Proposal(Transaction { zxid, bytes })
        | ToLearner::Inform(Transaction { zxid, bytes })
        | ToLearner::InformAndActivate { transaction: Transaction { zxid, bytes }, .. } => {
            apply::check(*zxid, bytes)
        }
        ToLearner::Proposals(batch) => batch.iter().try_for_each(|(zxid, bytes)| apply::check(zxid, bytes)),
        _ => Ok(()),
    }
}
