//! Taking requests: sessions, preparation, proposals.

use super::answers::{Pending, PendingKind};
use super::reads::is_read;
use super::{Move, Owner, Replica};
use crate::step::{CloseReason, ConnectionId, Request, RequestBatch, Service};
use crate::zab::Serving;
use ringkeeper_engine::auth::AuthId;
use ringkeeper_engine::error::ErrorCode;
use ringkeeper_engine::id::{Now, SessionId, Zxid};
use ringkeeper_engine::jute::records::{CreateSessionTxn, GetEphemeralsRequest};
use ringkeeper_engine::jute::{self, Write};
use ringkeeper_engine::op::OpCode;
use ringkeeper_engine::prep::{Stamp, WriteRequest, path_bytes};
use ringkeeper_engine::session::{PASSWORD_BYTES, password};
use ringkeeper_engine::tree::WARMED_AT_ONCE;
use ringkeeper_engine::tree::index::pin;
use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::iter;

impl Replica {
    pub(super) fn on_requests(&mut self, now: Now, batch: RequestBatch) {
        if self.held.is_empty() {
            let rest = self.take_requests(now, batch);
            self.held.extend(rest);
        } else {
            self.held.push_back(batch);
        }
    }

    /// Whether the request needs proposals, and they cannot be made while the leader moves to a later epoch.
    fn must_wait(&self, request: &Request) -> bool {
        let proposals = match request {
            // Its session may become one of the ensemble first.
            Request::Ordered { session, .. } if self.is_local(*session) => 2,
            Request::Ordered { .. } => 1,
            Request::Open { .. } if !self.has_local_sessions() => 1,
            _ => 0,
        };
        matches!(self.serving, Serving::Leader(_)) && !self.can_propose(proposals)
    }

    /// Takes requests that waited until proposals could be made again.
    pub(super) fn take_held(&mut self, now: Now) {
        while self.next_zxid().is_some()
            && let Some(batch) = self.held.pop_front()
        {
            if let Some(rest) = self.take_requests(now, batch) {
                // The first of them takes more proposals than the epoch has left.
                self.held.push_front(rest);
                break;
            }
        }
    }

    /// Takes as many of these as can be; returns the rest.
    fn take_requests(&mut self, now: Now, mut batch: RequestBatch) -> Option<RequestBatch> {
        // Once, not for each of them.
        let reading = pin();
        let mut all = std::mem::take(&mut batch.items);
        let mut items = all.drain(..);
        for position in 0.. {
            if position % WARMED_AT_ONCE == 0 {
                let next = items.as_slice().iter().take(WARMED_AT_ONCE);
                let paths = next.filter_map(|item| path_bytes(&batch.bytes[item.body()?]));
                self.database.tree.warm(paths, &reading);
            }
            let Some(item) = items.next() else { break };
            if self.must_wait(&item) {
                batch.items = iter::once(item).chain(items).collect();
                return Some(batch);
            }
            if self.service() == Service::Nothing {
                self.turn_away(&item);
            }
            let leads = matches!(self.serving, Serving::Leader(_));
            match item {
                Request::Ordered { .. } | Request::Open { .. } | Request::Reopen { .. }
                    if self.service() == Service::Nothing => {}
                Request::Ordered { connection, session, xid, op, body, auth } if is_read(op) => {
                    let (body, auth) = (&batch.bytes[body], batch.proved(auth));
                    self.on_read(now, (connection, session), xid, op, body, auth);
                }
                Request::Ordered { connection, session, xid, op, body, auth } => {
                    let request = WriteRequest {
                        session,
                        xid,
                        op,
                        body: &batch.bytes[body],
                        auth: batch.proved(auth),
                        internal: false,
                        no_ephemerals: None,
                    };
                    if leads {
                        self.on_ordered(now, connection, &request);
                    } else {
                        self.forward(now, connection, &request, batch.proved(auth));
                    }
                }
                Request::Open { connection, timeout_ms, last_seen } => {
                    if self.is_behind(connection, last_seen) {
                        continue;
                    }
                    if !self.serves() {
                        self.open_reader(now, connection, timeout_ms);
                    } else if self.has_local_sessions() {
                        self.open_local(now, connection, timeout_ms);
                    } else if leads {
                        self.open_session(now, connection, timeout_ms);
                    } else {
                        self.forward_open(now, connection, timeout_ms);
                    }
                }
                Request::Reopen { connection, session, password, timeout_ms, last_seen } => {
                    if self.is_behind(connection, last_seen) {
                        continue;
                    }
                    self.reopen_session(now, connection, session, &password, timeout_ms);
                }
                Request::Touch { session, at } => self.touch(session, at),
                Request::Gone { connection, session } => self.on_gone(connection, session),
                Request::Report { connection, inquiry } => self.begin_report(connection, inquiry),
                Request::Collected { ticket, report } => self.collect(now, ticket, *report),
            }
        }
        drop(items);
        batch.items = all;
        self.emptied.keep(batch);
        None
    }

    /// Whether the client has seen more than this server knows; it must try another.
    fn is_behind(&mut self, connection: ConnectionId, last_seen: Zxid) -> bool {
        let behind = last_seen > self.applied();
        if behind {
            self.close(connection, CloseReason::Behind);
        }
        behind
    }

    pub(super) fn new_session(&mut self, now: Now, connection: ConnectionId, timeout_ms: u32) -> SessionId {
        let session = self.new_session_id();
        self.sessions.track(session, timeout_ms, now.tick).owner = Some(Owner::Here(connection));
        session
    }

    pub(super) fn new_session_id(&mut self) -> SessionId {
        let session = self.next_session;
        self.next_session = SessionId(session.0 + 1);
        session
    }

    fn open_session(&mut self, now: Now, connection: ConnectionId, timeout_ms: u32) {
        let session = self.new_session(now, connection, timeout_ms);
        let body = jute::to_bytes(&CreateSessionTxn { time_out: timeout_ms as i32 });
        let request = internal(session, OpCode::CreateSession, &body);
        let prepared = self.prepare(now, &request).expect("a session can always begin");
        self.answer_after(prepared, connection, PendingKind::Opened { session, timeout_ms });
    }

    fn reopen_session(
        &mut self,
        now: Now,
        connection: ConnectionId,
        session: SessionId,
        given: &[u8; PASSWORD_BYTES],
        timeout_ms: u32,
    ) {
        if !self.serves() {
            return self.reopen_reader(now, connection, session, given, timeout_ms);
        }
        let leads = matches!(self.serving, Serving::Leader(_));
        let known = self.known(session).is_some_and(|session| !session.closing);
        if *given != password(session) || (leads && !known) {
            self.answer_after(self.proposed(), connection, PendingKind::Refused);
        } else if leads || self.is_local(session) {
            self.take_back(now, connection, session, timeout_ms);
        } else {
            self.revalidate(connection, session, timeout_ms);
        }
    }

    /// A session lives, and this connection speaks for it from here on.
    pub(super) fn take_back(
        &mut self,
        now: Now,
        connection: ConnectionId,
        session: SessionId,
        timeout_ms: u32,
    ) {
        let tracked = self.sessions_with(session).track(session, timeout_ms, now.tick);
        let before = match tracked.owner.replace(Owner::Here(connection)) {
            Some(Owner::Here(before)) => Some(before),
            Some(Owner::Learner(_)) | None => None,
        };
        if let Some(before) = before {
            self.close(before, CloseReason::Moved);
        }
        let elsewhere = before.filter(|before| before.core != connection.core);
        if let Some(waiting) = self.moves.get_mut(&session) {
            // Whom it was for has just been closed, and was never told that the session is its own.
            waiting.to = connection;
        } else if let Some(from) = elsewhere {
            self.moves.insert(session, Move { from, to: connection });
        } else {
            self.answer_opened(connection, session);
        }
    }

    /// The answer to a connection that comes back to its session.
    fn answer_opened(&mut self, connection: ConnectionId, session: SessionId) {
        let alive = self.known(session).filter(|session| !session.closing);
        let kind = alive.map_or(PendingKind::Refused, |alive| PendingKind::Opened {
            session,
            timeout_ms: alive.timeout_ms,
        });
        let after = match self.serving {
            Serving::Leader(_) => self.proposed(),
            Serving::Learner { .. } | Serving::No => self.applied(),
        };
        self.answer_after(after, connection, kind);
    }

    /// A connection is gone: nothing more is answered over it.
    fn on_gone(&mut self, connection: ConnectionId, session: SessionId) {
        self.forget_waiting(session, connection);
        if let Some(known) = self.sessions_with(session).get_mut(session)
            && known.owner == Some(Owner::Here(connection))
        {
            known.owner = None;
            if !self.is_local(session) && !matches!(self.serving, Serving::Leader(_)) {
                // A learner knows the sessions of its connections alone.
                self.sessions.remove(session);
            }
        }
        if let Entry::Occupied(waiting) = self.moves.entry(session)
            && waiting.get().from == connection
        {
            let Move { to, .. } = waiting.remove();
            self.answer_opened(to, session);
        }
    }

    fn on_ordered(&mut self, now: Now, connection: ConnectionId, request: &WriteRequest<'_>) {
        let (session, xid, op) = (request.session, request.xid, request.op);
        let state = self.known(session).map(|session| (session.owner, session.closing));
        let refused = match state {
            None => Some(ErrorCode::UnknownSession),
            Some((owner, _)) if owner != Some(Owner::Here(connection)) => {
                return self.close(connection, CloseReason::Moved);
            }
            Some((_, true)) if op != OpCode::CloseSession => Some(ErrorCode::SessionExpired),
            Some(_) => None,
        };
        self.touch(session, now.tick);
        let mut request = *request;
        if self.needs_ensemble(&request) {
            request.no_ephemerals = self.upgrade_here(now, session).err();
        }
        let last = self.proposed();
        let result = match (refused, op) {
            (Some(error), _) => Err(error),
            (None, OpCode::CloseSession) if self.is_local(session) => {
                Ok((last, self.close_local(session, xid)))
            }
            (None, OpCode::Sync) => sync(request.body, xid).map(|kind| (last, kind)),
            (None, OpCode::GetEphemerals) => ephemerals(request.body, xid, session).map(|kind| (last, kind)),
            (None, _) => self.prepare(now, &request).map(|zxid| (zxid, PendingKind::Transaction { xid, op })),
        };
        match result {
            Ok((after, kind)) => self.answer_after(after, connection, kind),
            Err(error) => self.answer_after(last, connection, PendingKind::Failed { xid, error }),
        }
    }

    /// Whether so many transactions can be prepared now.
    fn can_propose(&self, count: usize) -> bool {
        count == 0 || self.zab.zxid_behind(self.prepared.len() + count - 1).is_some()
    }

    pub(super) fn answer_after(&mut self, after: Zxid, connection: ConnectionId, kind: PendingKind) {
        self.pending.push_back(Pending { after, connection, kind });
    }

    /// Makes the request a transaction, which is proposed with the next flush.
    pub(super) fn prepare(&mut self, now: Now, request: &WriteRequest<'_>) -> Result<Zxid, ErrorCode> {
        let zxid = self.next_zxid().expect("requests wait while nothing can be proposed");
        let stamp = Stamp { zxid, time: now.wall_ms };
        if request.op == OpCode::Reconfig && self.settings.reconfig_enabled && !self.standalone {
            self.prepare_reconfig(request, stamp)?;
        } else {
            self.prep.prepare(&self.database.tree, request, stamp, self.prepared.buffer())?;
        }
        if request.op == OpCode::CloseSession
            && let Some(session) = self.sessions.get_mut(request.session)
        {
            session.closing = true;
        }
        self.prepared.push(zxid);
        Ok(zxid)
    }

    pub(super) fn prepare_close(&mut self, now: Now, session: SessionId) {
        let closed = self.prepare(now, &internal(session, OpCode::CloseSession, &[]));
        closed.expect("a session can always end");
    }

    pub(super) fn prepare_delete_container(&mut self, now: Now, path: &str) {
        if self.next_zxid().is_none() {
            return;
        }
        let mut body = Vec::new();
        path.write(&mut body);
        // Somebody may have used the container since it was looked at: then it stays.
        let _ = self.prepare(now, &internal(SessionId(0), OpCode::DeleteContainer, &body));
    }
}

/// A request that the server itself makes.
pub(super) fn internal(session: SessionId, op: OpCode, body: &[u8]) -> WriteRequest<'_> {
    const NOBODY: &[AuthId] = &[];
    WriteRequest { session, xid: 0, op, body, auth: NOBODY, internal: true, no_ephemerals: None }
}

pub(super) fn sync(body: &[u8], xid: i32) -> Result<PendingKind, ErrorCode> {
    let path: Option<Cow<'_, str>> = jute::from_bytes(body)?;
    Ok(PendingKind::Sync { xid, body: jute::to_bytes(&path).into() })
}

pub(super) fn ephemerals(body: &[u8], xid: i32, session: SessionId) -> Result<PendingKind, ErrorCode> {
    let GetEphemeralsRequest { prefix_path } = jute::from_bytes(body)?;
    let everything = |prefix: &str| matches!(prefix.trim(), "" | "/");
    let prefix = prefix_path.filter(|prefix| !everything(prefix)).map(|prefix| prefix.as_ref().into());
    Ok(PendingKind::Ephemerals { xid, session, prefix })
}
