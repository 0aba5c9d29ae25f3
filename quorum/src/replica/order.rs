//! The replica and its [`Zab`]: what is told to it, and what it asks for.

use super::Replica;
use crate::message::Transaction;
use crate::step::Effect;
use crate::zab;
use ringkeeper_engine::id::{Now, Zxid};
use ringkeeper_engine::log::LogError;

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
        if self.prepared.is_empty() {
            return Ok(());
        }
        let proposals = self.prepared.take();
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
        self.ask(now, input, out)
    }

    pub(super) fn ask(&mut self, now: Now, input: zab::Input, out: &mut Vec<Effect>) -> Result<(), LogError> {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let mut asked = std::mem::take(&mut self.asked);
            self.zab.step(now.tick, input, &mut asked);
            for effect in asked.drain(..) {
                match effect {
                    zab::Effect::Append(_, transaction) => self.append(now, transaction)?,
                    zab::Effect::Deliver(transactions) => self.apply(&transactions),
                    zab::Effect::PersistEpochs(epochs) => {
                        // Nobody asks a standalone server what it promised.
                        next = Some(zab::Input::EpochsPersisted(epochs));
                    }
                    zab::Effect::Notice(text) => out.push(Effect::Notice(text)),
                    _ => {}
                }
            }
            self.asked = asked;
        }
        self.log.set_committed(self.zab.committed());
        Ok(())
    }

    fn append(&mut self, now: Now, transaction: Transaction) -> Result<(), LogError> {
        self.window_bytes += transaction.bytes.len();
        if !self.unlogged.is_empty() {
            self.unlogged.push_back(transaction);
            return Ok(());
        }
        match self.log.append(transaction.zxid, &transaction.bytes, now.us) {
            Err(LogError::Full) => {
                self.unlogged.push_back(transaction);
                Ok(())
            }
            appended => appended,
        }
    }
}
