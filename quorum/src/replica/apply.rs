//! Applying what is committed, answering it, and telling the cores.

use super::answers::Outbox;
use super::{Owner, Replica};
use crate::message::Batch;
use crate::step::{CloseReason, Effect, Service};
use crate::zab::Serving;
use ringkeeper_engine::apply::Outcome;
use ringkeeper_engine::id::{Now, Zxid};
use ringkeeper_engine::tree::Changes;
use std::sync::Arc;

/// Transactions that are published together at most. What they replace is freed behind them: a follower that
/// has missed many would else hold a version of each node for every time that it was changed.
const PUBLISHED_AT_ONCE: usize = 4096;

impl Replica {
    /// Applies these, and answers them.
    pub(super) fn apply(&mut self, now: Now, batches: &[Batch]) {
        let mut applied_before = self.database.last;
        let mut batch = self.database.begin();
        let mut finds = self.prep.finds();
        let learns = matches!(self.serving, Serving::Learner { .. });
        // Nobody has a watch where nobody is served.
        let (is_watched, mut unwatched) = (self.service != Service::Nothing, Changes::default());
        for (position, (zxid, bytes)) in batches.iter().flat_map(Batch::iter).enumerate() {
            if position > 0 && position.is_multiple_of(PUBLISHED_AT_ONCE) {
                batch.publish();
                batch = self.database.begin();
                unwatched.clear();
            }
            if learns {
                if self.learner.has_reads() {
                    batch.settle();
                }
                self.learner.before(bytes, &mut self.outboxes, batch.tree(), applied_before);
            }
            applied_before = zxid;
            let before = self.changes.len() as u32;
            let changes = if is_watched { &mut self.changes } else { &mut unwatched };
            let applied = batch.apply_found(bytes, finds.of(zxid), changes);
            let applied = applied.expect("its maker's server applied it");
            let changes = before..self.changes.len() as u32;
            if !changes.is_empty() {
                self.outboxes.iter_mut().for_each(|outbox| outbox.changed(changes.clone()));
            }
            self.window_bytes -= bytes.len();
            self.checkpoints.applied(bytes.len());
            let mut answered = None;
            while let Some(pending) = self.pending.pop_front_if(|pending| pending.after <= zxid) {
                if pending.is_read() {
                    batch.settle();
                }
                let outbox = &mut self.outboxes[pending.connection.core as usize];
                answered = Some(pending.connection).filter(|_| pending.is_transaction()).or(answered);
                pending.answer(outbox, batch.tree(), zxid, Some(&applied.outcome));
            }
            if learns {
                if self.learner.has_reads() {
                    batch.settle();
                }
                let learner = &mut self.learner;
                answered = learner.on_applied(&applied, &mut self.outboxes, batch.tree()).or(answered);
            }
            match applied.outcome {
                Outcome::SessionCreated { timeout_ms }
                    if matches!(self.serving, Serving::Leader(_))
                        && self.sessions.get(applied.session).is_none() =>
                {
                    // What an earlier leader proposed, and this one's epoch began with.
                    self.sessions.track(applied.session, timeout_ms, now.tick);
                }
                Outcome::SessionClosed => {
                    let owner = self.sessions.remove(applied.session).and_then(|session| session.owner);
                    // Who asked for it has its answer, after which its connection closes anyway.
                    if let Some(Owner::Here(owner)) = owner
                        && answered != Some(owner)
                    {
                        self.outboxes[owner.core as usize].close(owner, CloseReason::Expired);
                    }
                }
                _ => {}
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
        let next = self.lent_changes.take();
        let changes = self.lent_changes.lend(std::mem::replace(&mut self.changes, next));
        let cores = self.outboxes.len();
        for (core, outbox) in self.outboxes.iter_mut().enumerate() {
            if advanced || !outbox.is_empty() {
                let batch = outbox.take(zxid, Arc::clone(&changes), self.emptied.share(cores - core));
                out.push(Effect::Deliver { core: core as u16, batch });
            }
        }
        self.delivered = zxid;
        self.checkpoint_when_due(out);
    }
}
