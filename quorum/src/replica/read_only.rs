//! Serving readers while there is no quorum (`readonlymode.enabled`; `ReadOnlyZooKeeperServer`).
//!
//! A server that has looked for a leader for a while serves clients that said that reads are enough for
//! them, from its tree as it is, until it finds one. Their sessions are local: without
//! `localSessionsEnabled` it can give none, as ZooKeeper's cannot. A session of the ensemble is not taken
//! over, since only the leader knows whether it lives; its client keeps its number and comes back with it.
//! Nothing that is seen here is newer than what a quorum has committed.

use super::Replica;
use super::answers::PendingKind;
use crate::step::{CloseReason, ConnectionId, Request, Service};
use crate::zab;
use ringkeeper_engine::id::{Now, SessionId};
use ringkeeper_engine::session::{PASSWORD_BYTES, password};

/// An election that goes well takes less than this (`QuorumPeer`'s grace period), in milliseconds.
const GRACE_MS_MIN: u64 = 2000;

impl Replica {
    /// Begins to serve readers when there has been no leader for a while, and ends that when there is one.
    pub(super) fn mind_quorum(&mut self, now: Now) {
        if !self.settings.read_only_mode_enabled || self.standalone {
            return;
        }
        if !self.zab.is_looking() {
            self.looking_since = None;
            if self.service == Service::ReadOnly {
                self.end_service();
                self.notice("there may be a quorum again: clients that only read are let go".to_owned());
            }
            return;
        }
        let since = *self.looking_since.get_or_insert(now.tick);
        let grace_ms = u64::from(self.settings.tick_ms).max(GRACE_MS_MIN);
        let is_whole = self.applied() >= self.fuzzy_until;
        if self.service == Service::Nothing && is_whole && now.tick.since(since) >= grace_ms {
            self.begin_service(Service::ReadOnly, now.tick);
            self.notice(format!("no quorum for {grace_ms} ms: clients that only read are served"));
        }
    }

    fn notice(&mut self, text: String) {
        self.messages.push(zab::Effect::Notice(text));
    }

    /// A client that only reads wants a session.
    pub(super) fn open_reader(&mut self, now: Now, connection: ConnectionId, timeout_ms: u32) {
        if self.has_local_sessions() {
            self.open_local(now, connection, timeout_ms);
        } else {
            self.close(connection, CloseReason::NeedsQuorum);
        }
    }

    /// A client that only reads comes back to its session.
    pub(super) fn reopen_reader(
        &mut self,
        now: Now,
        connection: ConnectionId,
        session: SessionId,
        given: &[u8; PASSWORD_BYTES],
        timeout_ms: u32,
    ) {
        let is_wrong = *given != password(session);
        if self.database.sessions.contains_key(&session) || !(is_wrong || self.has_local_sessions()) {
            self.close(connection, CloseReason::NeedsQuorum);
        } else if is_wrong || !self.is_local(session) {
            self.answer_after(self.applied(), connection, PendingKind::Refused);
        } else {
            self.take_back(now, connection, session, timeout_ms);
        }
    }

    /// A request that came when nobody, or only readers, were served.
    pub(super) fn turn_away(&mut self, item: &Request) {
        if let Request::Ordered { connection, .. }
        | Request::Open { connection, .. }
        | Request::Reopen { connection, .. } = item
        {
            self.close(*connection, CloseReason::NotServing);
        }
    }
}
