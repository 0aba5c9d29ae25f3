//! Local sessions (`localSessionsEnabled`): those that this server alone knows, so that their beginning and
//! their end cost no transaction (`LocalSessionTracker`, `UpgradeableSessionTracker`).
//!
//! - They live and expire by this server's clock, and nothing of them is on disk.
//! - A client comes back to its local session at this server; any other knows of none, and says so.
//! - Before a local session makes its first ephemeral node it becomes a session of the ensemble, with the
//!   same number and over the same connection: the transaction that begins it goes before the request
//!   (`localSessionsUpgradingEnabled`). From that moment on it is none of these.
//! - When the server loses its leader its clients lose their connections; their local sessions wait for them
//!   to come back, as those of the ensemble do. ZooKeeper forgets them.

use super::answers::PendingKind;
use super::requests::internal;
use super::{Owner, Replica};
use crate::step::{CloseReason, ConnectionId, Reply, Service};
use crate::zab::Serving;
use ringkeeper_engine::auth::AuthInfo;
use ringkeeper_engine::error::ErrorCode;
use ringkeeper_engine::id::{Now, SessionId, Tick};
use ringkeeper_engine::jute;
use ringkeeper_engine::jute::records::CreateSessionTxn;
use ringkeeper_engine::op::OpCode;
use ringkeeper_engine::prep::{WriteRequest, creates_ephemeral};
use ringkeeper_engine::session::{Session, Sessions};

/// The server that made a session, by the number's high byte (`getServerIdFromSessionId`).
fn maker(session: SessionId) -> i64 {
    session.0 >> 56
}

impl Replica {
    /// Whether new sessions are local. A standalone server is a whole ensemble.
    pub(super) fn has_local_sessions(&self) -> bool {
        self.settings.local_sessions_enabled && !self.standalone
    }

    pub(super) fn is_local(&self, session: SessionId) -> bool {
        self.local.get(session).is_some()
    }

    /// A session that this server knows, local or not.
    pub(super) fn known(&self, session: SessionId) -> Option<&Session<Owner>> {
        self.sessions.get(session).or_else(|| self.local.get(session))
    }

    pub(super) fn owner(&self, session: SessionId) -> Option<Owner> {
        self.known(session).and_then(|session| session.owner)
    }

    /// The sessions among which this one is or would be.
    pub(super) fn sessions_with(&mut self, session: SessionId) -> &mut Sessions<Owner> {
        if self.is_local(session) { &mut self.local } else { &mut self.sessions }
    }

    /// A sign of life, as whoever decides when the session expires hears it.
    pub(super) fn touch(&mut self, session: SessionId, at: Tick) {
        if self.is_local(session) {
            self.local.touch(session, at);
        } else if matches!(self.serving, Serving::Leader(_)) {
            self.sessions.touch(session, at);
        } else {
            self.on_sign_of_life(session);
        }
    }

    pub(super) fn open_local(&mut self, now: Now, connection: ConnectionId, timeout_ms: u32) {
        let session = self.new_session_id();
        self.local.track(session, timeout_ms, now.tick).owner = Some(Owner::Here(connection));
        let opened = Reply::Opened { connection, session, timeout_ms };
        self.outboxes[connection.core as usize].push(opened);
    }

    /// The client ends its local session; the answer is still due.
    pub(super) fn close_local(&mut self, session: SessionId, xid: i32) -> PendingKind {
        self.local.remove(session);
        PendingKind::Closed { xid }
    }

    pub(super) fn end_local_sessions(&mut self, now: Tick) {
        let Some(heard_until) = self.heard_until(now).filter(|_| self.service != Service::Nothing) else {
            return;
        };
        for session in self.local.expired(heard_until) {
            let owner = self.local.remove(session).and_then(|session| session.owner);
            self.close_owner(owner, CloseReason::Expired);
        }
    }

    /// Whether the request makes an ephemeral node for a local session.
    pub(super) fn needs_ensemble(&self, request: &WriteRequest<'_>) -> bool {
        self.is_local(request.session) && creates_ephemeral(request.op, request.body)
    }

    /// A local session becomes one of the ensemble: its timeout, if that is allowed.
    fn upgrade(&mut self, now: Now, session: SessionId) -> Result<u32, ErrorCode> {
        if !self.settings.local_sessions_upgrading_enabled {
            return Err(ErrorCode::EphemeralOnLocalSession);
        }
        let local = self.local.remove(session).ok_or(ErrorCode::UnknownSession)?;
        self.sessions.track(session, local.timeout_ms, now.tick).owner = local.owner;
        Ok(local.timeout_ms)
    }

    /// The same at the leader, before it prepares the session's request.
    ///
    /// # Errors
    /// [`ErrorCode::EphemeralOnLocalSession`] where sessions stay local.
    pub(super) fn upgrade_here(&mut self, now: Now, session: SessionId) -> Result<(), ErrorCode> {
        let timeout_ms = self.upgrade(now, session)?;
        let body = jute::to_bytes(&CreateSessionTxn { time_out: timeout_ms as i32 });
        self.prepare(now, &internal(session, OpCode::CreateSession, &body)).map(drop)
    }

    /// The same at a learner, before it forwards the session's request.
    ///
    /// # Errors
    /// [`ErrorCode::EphemeralOnLocalSession`] where sessions stay local.
    pub(super) fn upgrade_at_leader(&mut self, now: Now, session: SessionId) -> Result<(), ErrorCode> {
        let timeout_ms = self.upgrade(now, session)?;
        self.ask_for_session(session, timeout_ms);
        Ok(())
    }

    /// The leader is to begin a session of the ensemble.
    pub(super) fn ask_for_session(&mut self, session: SessionId, timeout_ms: u32) {
        let body = jute::to_bytes(&CreateSessionTxn { time_out: timeout_ms as i32 });
        self.ask_leader(session, 0, OpCode::CreateSession, &body, &AuthInfo::from([]));
    }

    /// Whether a session that this leader does not know may be local to the learner that forwards its
    /// request (`LeaderSessionTracker.checkSession`).
    pub(super) fn may_be_local_elsewhere(&self, session: SessionId) -> bool {
        self.has_local_sessions() && maker(session) != maker(self.next_session)
    }
}
