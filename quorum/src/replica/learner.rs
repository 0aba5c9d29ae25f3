//! A learner's part: it forwards what must be ordered, and answers when the transaction comes back
//! (`FollowerRequestProcessor`, `CommitProcessor`, `LearnerSessionTracker`).
//!
//! A session's requests are answered in their order. A transaction answers the oldest request of its
//! session if it has that request's number and operation; else it belongs to an earlier connection of
//! that session, or to the leader itself.

use super::answers::{Outbox, Pending, PendingKind};
use super::{Owner, Replica};
use crate::message::{Requests, ToLeader, ToLearner};
use crate::step::{CloseReason, ConnectionId, Effect, Service};
use crate::zab;
use bytes::Bytes;
use ringkeeper_engine::apply::{Applied, Outcome};
use ringkeeper_engine::auth::AuthInfo;
use ringkeeper_engine::error::ErrorCode;
use ringkeeper_engine::id::{Now, SessionId, Zxid};
use ringkeeper_engine::jute::Reader;
use ringkeeper_engine::jute::records::{PathVersion, TxnHeader};
use ringkeeper_engine::log::LogError;
use ringkeeper_engine::op::OpCode;
use ringkeeper_engine::prep::WriteRequest;
use ringkeeper_engine::tree::TreeWriter;
use ringkeeper_engine::zookeeper::transaction::Transaction as Decoded;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Bytes of records above which requests to the leader are another packet.
const REQUESTS_BYTES: usize = 1 << 20;

/// `after` of an answer that waits for something that has no zxid yet.
const NOT_YET: Zxid = Zxid(u64::MAX);

/// What waits for the leader.
#[derive(Debug, Default)]
pub(super) struct Learner {
    /// Requests of each session, in their order.
    waiting: BTreeMap<SessionId, VecDeque<Pending>>,
    /// SYNCs that the leader has not answered, in their order.
    syncs: VecDeque<(SessionId, ConnectionId)>,
    /// Clients that come back to their sessions.
    returning: BTreeMap<SessionId, (ConnectionId, u32)>,
    /// Sessions that showed a sign of life since the last ping, with their timeouts.
    touched: BTreeMap<SessionId, u32>,
    /// Sessions whose oldest request may be answered.
    ready: BTreeSet<SessionId>,
    /// How many of the requests read the tree.
    reads: usize,
}

impl Learner {
    pub fn outstanding(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }

    /// Whether an answer may need the tree.
    pub fn has_reads(&self) -> bool {
        self.reads > 0
    }

    pub fn wait(&mut self, session: SessionId, pending: Pending) {
        self.reads += usize::from(pending.is_read());
        if pending.after != NOT_YET {
            self.ready.insert(session);
        }
        self.waiting.entry(session).or_default().push_back(pending);
    }

    fn pop_if(&mut self, session: SessionId, is_it: impl FnOnce(&mut Pending) -> bool) -> Option<Pending> {
        let waiting = self.waiting.get_mut(&session)?;
        let popped = waiting.pop_front_if(is_it);
        if waiting.is_empty() {
            self.waiting.remove(&session);
        }
        self.reads -= usize::from(popped.as_ref().is_some_and(Pending::is_read));
        popped
    }

    /// A transaction is about to be applied: what its session asked for before it, and what waits for
    /// nothing else, is answered from the tree as it is.
    pub fn before(&mut self, transaction: &[u8], outboxes: &mut [Outbox], tree: &TreeWriter, upto: Zxid) {
        if self.ready.is_empty() {
            return;
        }
        if let Ok(TxnHeader { client_id, .. }) = Reader::new(transaction).read()
            && self.ready.contains(&SessionId(client_id))
        {
            self.answer_ready(SessionId(client_id), outboxes, tree, upto);
        }
    }

    /// A transaction was applied. Returns whom it answered.
    pub fn on_applied(
        &mut self,
        applied: &Applied<'_>,
        outboxes: &mut [Outbox],
        tree: &TreeWriter,
    ) -> Option<ConnectionId> {
        let failed = matches!(applied.outcome, Outcome::Failed(_)) && applied.op == OpCode::Error;
        let is_it = |pending: &mut Pending| match pending.kind {
            PendingKind::Transaction { xid, op } => xid == applied.cxid && (op == applied.op || failed),
            PendingKind::Opened { .. } => {
                applied.cxid == 0 && (applied.op == OpCode::CreateSession || failed)
            }
            _ => false,
        };
        let mut pending = self.pop_if(applied.session, is_it)?;
        let (connection, outcome) = (pending.connection, &applied.outcome);
        let outbox = &mut outboxes[connection.core as usize];
        if *outcome == Outcome::Failed(ErrorCode::SessionMoved.code()) {
            outbox.close(connection, CloseReason::Moved);
        } else {
            if failed && matches!(pending.kind, PendingKind::Opened { .. }) {
                pending.kind = PendingKind::Refused;
            }
            pending.answer(outbox, tree, applied.zxid, Some(outcome));
        }
        self.answer_ready(applied.session, outboxes, tree, applied.zxid);
        Some(connection)
    }

    /// Answers what waits for nothing any more, up to the first request that does.
    fn answer_ready(&mut self, session: SessionId, outboxes: &mut [Outbox], tree: &TreeWriter, upto: Zxid) {
        while let Some(pending) = self.pop_if(session, |pending| pending.after <= upto) {
            let outbox = &mut outboxes[pending.connection.core as usize];
            pending.answer(outbox, tree, upto, None);
        }
        // What stood before it may have waited for a transaction, so that it was not ready so far.
        let next = self.waiting.get(&session).and_then(VecDeque::front);
        if next.is_some_and(|next| next.after != NOT_YET) {
            self.ready.insert(session);
        } else {
            self.ready.remove(&session);
        }
    }

    fn forget(&mut self, session: SessionId, connection: ConnectionId) {
        if let Some(waiting) = self.waiting.get_mut(&session) {
            let is_gone = |pending: &Pending| pending.connection == connection;
            self.reads -= waiting.iter().filter(|pending| is_gone(pending) && pending.is_read()).count();
            waiting.retain(|pending| !is_gone(pending));
            self.ready.insert(session);
        }
    }
}

/// Why what a leader sends is not to be logged: once it is on disk, no start would get past it.
fn unreadable(message: &ToLearner) -> Option<String> {
    // A ZooKeeper's leader proposes it, though no ZooKeeper can read it again (ZOOKEEPER-2623).
    let is_check = |bytes: &[u8]| {
        let mut reader = Reader::new(bytes);
        let header = reader.read::<TxnHeader>();
        header.is_ok_and(|header| header.op == OpCode::Check.code())
            && reader.read::<PathVersion<'_>>().is_ok()
    };
    let one = |zxid: Zxid, bytes: &[u8]| match Decoded::decode(bytes) {
        Err(_) if is_check(bytes) => None,
        Err(fault) => Some(format!("{zxid} is no transaction: {fault}")),
        Ok(decoded) if Zxid::from_jute(decoded.header.zxid) != zxid => {
            Some(format!("{zxid} says that it is {}", Zxid::from_jute(decoded.header.zxid)))
        }
        Ok(_) => None,
    };
    match message {
        ToLearner::Proposal(transaction)
        | ToLearner::Inform(transaction)
        | ToLearner::InformAndActivate { transaction, .. } => one(transaction.zxid, &transaction.bytes),
        ToLearner::Proposals(batch) => batch.iter().find_map(|(zxid, bytes)| one(zxid, bytes)),
        _ => None,
    }
}

impl Replica {
    /// Something came from the network of the ensemble.
    pub(super) fn on_peer(
        &mut self,
        now: Now,
        input: zab::Input,
        out: &mut Vec<Effect>,
    ) -> Result<(), LogError> {
        if let zab::Input::FromLeader(attempt, message) = &input
            && let Some(why) = unreadable(message)
        {
            out.push(Effect::Notice(format!("the leader is left: {why}")));
            return self.order(now, zab::Input::LeaderLost(*attempt), out);
        }
        self.order(now, input, out)
    }

    /// A request of a client of this server.
    pub(super) fn forward(
        &mut self,
        now: Now,
        connection: ConnectionId,
        request: &WriteRequest<'_>,
        auth: &AuthInfo,
    ) {
        let WriteRequest { session, xid, op, body, .. } = *request;
        if self.owner(session) != Some(Owner::Here(connection)) {
            return self.close(connection, CloseReason::Moved);
        }
        self.on_sign_of_life(session);
        let reads_only = self.service() == Service::ReadOnly;
        let upgraded = match self.needs_ensemble(request) && !reads_only {
            true => self.upgrade_at_leader(now, session),
            false => Ok(()),
        };
        let (after, kind) = match op {
            OpCode::CloseSession if self.is_local(session) => (Zxid::ZERO, self.close_local(session, xid)),
            _ if reads_only && op != OpCode::GetEphemerals => {
                (Zxid::ZERO, PendingKind::Failed { xid, error: ErrorCode::NotReadOnly })
            }
            OpCode::Sync => match super::requests::sync(body, xid) {
                Ok(kind) => (NOT_YET, kind),
                Err(error) => (Zxid::ZERO, PendingKind::Failed { xid, error }),
            },
            OpCode::GetEphemerals => match super::requests::ephemerals(body, xid, session) {
                Ok(kind) => (Zxid::ZERO, kind),
                Err(error) => (Zxid::ZERO, PendingKind::Failed { xid, error }),
            },
            _ => match upgraded {
                // The leader says which part of a multi failed.
                Err(error) if op != OpCode::Multi => (Zxid::ZERO, PendingKind::Failed { xid, error }),
                _ => (NOT_YET, PendingKind::Transaction { xid, op }),
            },
        };
        if matches!(kind, PendingKind::Sync { .. }) {
            self.learner.syncs.push_back((session, connection));
        }
        self.learner.wait(session, Pending { after, connection, kind });
        if after == NOT_YET {
            self.ask_leader(session, xid, op, body, auth);
        }
    }

    /// Asks the leader to order a request. A Ringkeeper is asked for many at a time.
    pub(super) fn ask_leader(
        &mut self,
        session: SessionId,
        xid: i32,
        op: OpCode,
        body: &[u8],
        auth: &AuthInfo,
    ) {
        let op = op.code();
        if !self.zab.has_extended_leader() {
            let (body, auth) = (Bytes::copy_from_slice(body), Some(auth.to_vec()));
            return self.tell_leader(ToLeader::Request { session, xid, op, body, auth });
        }
        let attempt = self.zab.attempt();
        if let Some(zab::Effect::ToLeader(to, ToLeader::Requests(requests))) = self.messages.last_mut()
            && Some(*to) == attempt
            && requests.bytes() < REQUESTS_BYTES
        {
            return requests.push(session, xid, op, body, auth);
        }
        let mut requests = Requests::default();
        requests.push(session, xid, op, body, auth);
        self.tell_leader(ToLeader::Requests(requests));
    }

    /// A client of this server wants a session.
    pub(super) fn forward_open(&mut self, now: Now, connection: ConnectionId, timeout_ms: u32) {
        let session = self.new_session(now, connection, timeout_ms);
        let kind = PendingKind::Opened { session, timeout_ms };
        self.learner.wait(session, Pending { after: NOT_YET, connection, kind });
        self.ask_for_session(session, timeout_ms);
    }

    /// A client comes back to this server with a session, which the leader knows of.
    pub(super) fn revalidate(&mut self, connection: ConnectionId, session: SessionId, timeout_ms: u32) {
        let earlier = self.learner.returning.insert(session, (connection, timeout_ms));
        if let Some((earlier, _)) = earlier {
            self.close(earlier, CloseReason::Moved);
        }
        self.tell_leader(ToLeader::Revalidate { session, timeout_ms: timeout_ms as i32 });
    }

    /// The leader says something to the replica; what it is about includes all up to `upto`.
    pub(super) fn on_from_leader(&mut self, now: Now, message: ToLearner, upto: Zxid) {
        match message {
            ToLearner::Ping(zxid) => {
                let touched = std::mem::take(&mut self.learner.touched);
                let touched = touched.into_iter().map(|(session, ms)| (session, ms as i32)).collect();
                self.tell_leader(ToLeader::Ping { zxid, touched });
            }
            ToLearner::Sync => {
                let Some((session, connection)) = self.learner.syncs.pop_front() else { return };
                let waiting = self.learner.waiting.get_mut(&session).into_iter().flatten();
                let mut syncs = waiting.filter(|pending| {
                    let is_sync = matches!(pending.kind, PendingKind::Sync { .. });
                    is_sync && pending.after == NOT_YET && pending.connection == connection
                });
                if let Some(sync) = syncs.next() {
                    sync.after = upto;
                    self.learner.ready.insert(session);
                }
            }
            ToLearner::Revalidate { session, valid } => {
                let Some((connection, timeout_ms)) = self.learner.returning.remove(&session) else { return };
                if valid {
                    self.take_back(now, connection, session, timeout_ms);
                } else {
                    self.answer_after(self.applied(), connection, PendingKind::Refused);
                }
            }
            _ => {}
        }
    }

    pub(super) fn on_sign_of_life(&mut self, session: SessionId) {
        if let Some(known) = self.sessions.get(session) {
            self.learner.touched.insert(session, known.timeout_ms);
        }
    }

    /// A client's connection to this learner is gone.
    pub(super) fn forget_waiting(&mut self, session: SessionId, connection: ConnectionId) {
        self.learner.forget(session, connection);
    }

    /// Answers what waits for no transaction of its own.
    pub(super) fn release_waiting(&mut self) {
        let applied = self.database.last;
        for session in self.learner.ready.clone() {
            self.learner.answer_ready(session, &mut self.outboxes, &self.database.tree, applied);
        }
    }

    pub(super) fn tell_leader(&mut self, message: ToLeader) {
        if let Some(attempt) = self.zab.attempt() {
            self.messages.push(zab::Effect::ToLeader(attempt, message));
        }
    }
}
