//! Applying what is committed, answering it, and telling the cores.

use super::Replica;
use super::answers::Outbox;
use crate::message::Transaction;
use crate::step::{CloseReason, Effect};
use ringkeeper_engine::apply::Outcome;
use ringkeeper_engine::id::Zxid;
use std::sync::Arc;

impl Replica {
    /// Applies these, and answers them.
    pub(super) fn apply(&mut self, transactions: &[Transaction]) {
        let mut batch = self.database.begin();
        for Transaction { zxid, bytes } in transactions {
            let before = self.changes.len() as u32;
            let applied = batch.apply(bytes, &mut self.changes).expect("we made it ourselves");
            let changes = before..self.changes.len() as u32;
            if !changes.is_empty() {
                self.outboxes.iter_mut().for_each(|outbox| outbox.changed(changes.clone()));
            }
            self.window_bytes -= bytes.len();
            self.checkpoints.applied(bytes.len());
            let mut answered = None;
            while let Some(pending) = self.pending.pop_front_if(|pending| pending.after <= *zxid) {
                let outbox = &mut self.outboxes[pending.connection.core as usize];
                answered = Some(pending.connection).filter(|_| pending.is_transaction()).or(answered);
                pending.answer(outbox, batch.tree(), *zxid, Some(&applied.outcome));
            }
            if applied.outcome == Outcome::SessionClosed {
                let owner = self.sessions.remove(applied.session).and_then(|session| session.owner);
                // Who asked for it has its answer, after which its connection closes anyway.
                if let Some(owner) = owner.filter(|owner| answered != Some(*owner)) {
                    self.outboxes[owner.core as usize].close(owner, CloseReason::Expired);
                }
            }
        }
        batch.publish();
        self.prep.applied(self.applied());
    }

    pub(super) fn release_pending(&mut self, applied: Zxid) {
        while let Some(pending) = self.pending.pop_front_if(|pending| pending.after <= applied) {
            let outbox = &mut self.outboxes[pending.connection.core as usize];
            pending.answer(outbox, &self.database.tree, applied, None);
        }
    }

    pub(super) fn deliver(&mut self, out: &mut Vec<Effect>) {
        let zxid = self.applied();
        let advanced = zxid != self.delivered;
        if !advanced && self.outboxes.iter().all(Outbox::is_empty) {
            return;
        }
        let changes = Arc::new(std::mem::take(&mut self.changes));
        for (core, outbox) in self.outboxes.iter_mut().enumerate() {
            if advanced || !outbox.is_empty() {
                let batch = outbox.take(zxid, Arc::clone(&changes));
                out.push(Effect::Deliver { core: core as u16, batch });
            }
        }
        self.delivered = zxid;
        self.checkpoint_when_due(out);
    }
}
