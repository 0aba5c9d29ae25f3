//! What the server is for its clients, by turns: nothing, the leader, or a learner of one.
//!
//! A server that stops serving closes its clients' connections, as ZooKeeper's does. It must: of a request
//! that is under way nobody here knows whether it will be committed, and a client takes any answer but the
//! end of its connection for a decision; and a read that is answered meanwhile, or a ping, tells the client
//! that what it sees is up to date. Its session lives on, and it comes back to it here or elsewhere.

use super::learner::Learner;
use super::{Owner, Replica};
use crate::step::{CloseReason, ConnectionId, Reply, Service};
use crate::zab::Serving;
use ringkeeper_engine::id::{Now, Tick};
use ringkeeper_engine::session::Sessions;

impl Replica {
    pub(super) fn on_serve(&mut self, now: Now, serving: Serving) {
        let before = std::mem::replace(&mut self.serving, serving);
        match (before, serving) {
            // A later epoch of the same leader: what is under way goes on.
            (Serving::Leader(_), Serving::Leader(_)) | (Serving::Learner { .. }, Serving::Learner { .. }) => {
            }
            (_, Serving::No) => self.stop_serving(now),
            (_, Serving::Leader(_)) => self.track_all_sessions(now.tick),
            (_, Serving::Learner { .. }) => {}
        }
    }

    /// Whether requests of clients are taken.
    pub fn serves(&self) -> bool {
        self.service == Service::Full
    }

    /// What is done for clients.
    pub fn service(&self) -> Service {
        self.service
    }

    /// Lets clients in, once the tree is as it was at one moment. To those of a leader that serves none
    /// (`leaderServes`) it stays what it was while it looked for one, as ZooKeeper's does.
    pub(super) fn announce(&mut self, now: Tick) {
        let is_whole = self.applied() >= self.fuzzy_until;
        let takes_clients = match self.serving {
            Serving::No => false,
            Serving::Leader(_) => self.settings.leader_serves,
            Serving::Learner { .. } => true,
        };
        if self.service == Service::Nothing && takes_clients && is_whole {
            self.begin_service(Service::Full, now);
        }
    }

    pub(super) fn begin_service(&mut self, service: Service, now: Tick) {
        // Nobody could give a sign of life.
        self.local.restart_clocks(now);
        self.service = service;
        self.outboxes.iter_mut().for_each(|outbox| outbox.push(Reply::Serving(service)));
    }

    /// Every connection ends; no answer is given any more.
    pub(super) fn end_service(&mut self) {
        self.pending.clear();
        self.learner = Learner::default();
        self.moves.clear();
        self.local.disown_all();
        if std::mem::replace(&mut self.service, Service::Nothing) != Service::Nothing {
            self.outboxes.iter_mut().for_each(|outbox| outbox.push(Reply::Serving(Service::Nothing)));
        }
    }

    /// Every session gets its full timeout again: nobody knows when it was last heard of.
    pub(super) fn track_all_sessions(&mut self, now: Tick) {
        self.sessions = Sessions::new(self.settings.tick_ms);
        for (session, timeout_ms) in &self.database.sessions {
            self.sessions.track(*session, *timeout_ms, now);
        }
    }

    fn stop_serving(&mut self, now: Now) {
        assert!(self.prepared.is_empty(), "what was prepared was proposed before the role ended");
        self.prep.discard_proposals();
        self.digests.forget();
        self.members_prepared = None;
        self.sessions = Sessions::new(self.settings.tick_ms);
        self.to_close.clear();
        self.syncs.clear();
        self.held_forwarded.clear();
        self.end_service();
        for batch in std::mem::take(&mut self.held) {
            self.on_requests(now, batch);
        }
    }

    pub(super) fn close(&mut self, connection: ConnectionId, reason: CloseReason) {
        self.outboxes[connection.core as usize].close(connection, reason);
    }

    /// The connection to this server that spoke for a session is to end.
    pub(super) fn close_owner(&mut self, owner: Option<Owner>, reason: CloseReason) {
        if let Some(Owner::Here(connection)) = owner {
            self.close(connection, reason);
        }
    }

    /// As the four-letter words name it.
    pub(super) fn state_name(&self) -> &'static str {
        match self.serving {
            _ if self.standalone => "standalone",
            _ if self.service == Service::ReadOnly => "read-only",
            _ if self.service == Service::Nothing => "looking",
            Serving::No => "looking",
            Serving::Leader(_) => "leader",
            Serving::Learner { observer: false, .. } => "follower",
            Serving::Learner { observer: true, .. } => "observer",
        }
    }
}
