//! The replica and its [`Zab`]: what is told to it, and what it asks for.
//!
//! A leader proposes as its log writes: what is prepared while a write is under way is proposed, and written,
//! when that is done, in one batch. Proposed at once it would only wait for the logs, and each of its parts
//! would cost every server a message, a wake-up, and an answer. Where the others' logs are faster than this
//! one, nothing waits for it: what they have committed makes way. Nor does what is long.

use super::Replica;
use crate::message::ToLeader;
use crate::step::Effect;
use crate::zab;
use ringkeeper_engine::id::{Now, Zxid};
use ringkeeper_engine::log::LogError;

/// Bytes of transactions from which on they are proposed at once: their parts fill packets of their own.
const GATHERED_BYTES_MAX: usize = 16 << 10;

/// Whether what was prepared can be proposed as well after this input: the zxids that it got are the next
/// ones then, too, or the role is over.
fn leaves_zxids(input: &zab::Input) -> bool {
    match input {
        zab::Input::Durable(..) => true,
        zab::Input::FromLearner(_, message) => {
            matches!(message, ToLeader::Ack(_) | ToLeader::Request { .. } | ToLeader::Requests(_))
        }
        _ => false,
    }
}

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
        self.ask(now, zab::Input::Propose(proposals), out)
    }

    /// Whether what was prepared is yet to be proposed, with what comes until the log's write is done.
    pub(super) fn gathers_proposals(&self) -> bool {
        let waits = self.log.is_writing() && self.zab.committed() < self.zab.last();
        let is_short = self.prepared.bytes() < GATHERED_BYTES_MAX && self.members_prepared.is_none();
        self.may_gather() && waits && is_short
    }

    /// Whether the next zxids stay what they are: not while the ensemble or the epoch changes. A server alone
    /// has nobody to tell.
    fn may_gather(&self) -> bool {
        !self.standalone && self.zab.takes_changes()
    }

    /// Tells `zab` what happened, and does what it asks for. What was prepared got its zxids before
    /// that happened, so it is proposed first, unless that changes nothing.
    pub(super) fn order(
        &mut self,
        now: Now,
        input: zab::Input,
        out: &mut Vec<Effect>,
    ) -> Result<(), LogError> {
        if !(self.may_gather() && leaves_zxids(&input)) {
            self.propose(now, out)?;
        }
        self.ask(now, input, out)
    }

    pub(super) fn ask(&mut self, now: Now, input: zab::Input, out: &mut Vec<Effect>) -> Result<(), LogError> {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let mut asked = std::mem::take(&mut self.asked);
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
                    zab::Effect::PersistEpochs(epochs) => out.push(Effect::PersistEpochs(epochs)),
                    zab::Effect::FromLearner(link, _, message) => self.on_from_learner(now, link, message),
                    zab::Effect::FromLeader(message, upto) => self.on_from_leader(now, message, upto),
                    zab::Effect::Members(members, by) => {
                        self.on_members(now, &members, by);
                        out.push(Effect::Peer(zab::Effect::Members(members, by)));
                    }
                    zab::Effect::Notice(text) => out.push(Effect::Notice(text)),
                    network @ (zab::Effect::Notify(..)
                    | zab::Effect::Connect(..)
                    | zab::Effect::ToLeader(..)
                    | zab::Effect::CloseLeader(_)
                    | zab::Effect::ToLearner(..)
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
