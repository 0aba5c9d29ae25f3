//! A leader's part for its learners' clients (`LearnerHandler`, `PrepRequestProcessor`).
//!
//! A request that a learner forwarded always becomes a transaction, one of an error if need be: the
//! learner waits for it to answer its client.

use super::requests::internal;
use super::{Owner, Replica};
use crate::message::{Forwarded, ToLeader, ToLearner};
use crate::step::{CloseReason, Effect};
use crate::zab::{self, Link};
use bytes::Bytes;
use ringkeeper_engine::auth::AuthInfo;
use ringkeeper_engine::error::ErrorCode;
use ringkeeper_engine::id::{Now, SessionId};
use ringkeeper_engine::jute;
use ringkeeper_engine::jute::records::{CreateSessionTxn, ErrorTxn};
use ringkeeper_engine::op::OpCode;
use ringkeeper_engine::prep::WriteRequest;

impl Replica {
    /// A learner says something to the replica.
    pub(super) fn on_from_learner(&mut self, now: Now, link: Link, message: ToLeader) {
        match message {
            ToLeader::Ping { touched, .. } => {
                touched.into_iter().for_each(|(session, _)| self.sessions.touch(session, now.tick));
            }
            ToLeader::Revalidate { session, timeout_ms } => {
                self.on_revalidate(now, link, session, timeout_ms.max(0) as u32);
            }
            ToLeader::Request { session, xid, op, body, auth } => {
                let auth = AuthInfo::from(auth.unwrap_or_default());
                self.on_request(now, link, Forwarded { session, xid, op, body: &body, auth: &auth });
            }
            ToLeader::Requests(requests) => {
                requests.iter().for_each(|request| self.on_request(now, link, request));
            }
            _ => {}
        }
    }

    fn on_request(&mut self, now: Now, link: Link, request: Forwarded<'_>) {
        let Forwarded { session, xid, op, body, auth } = request;
        if self.next_zxid().is_none() || !self.held_forwarded.is_empty() {
            let (body, auth) = (Bytes::copy_from_slice(body), Some(auth.to_vec()));
            return self.held_forwarded.push_back((link, ToLeader::Request { session, xid, op, body, auth }));
        }
        let request =
            |op| WriteRequest { session, xid, op, body, auth, internal: false, no_ephemerals: None };
        match OpCode::from_code(op) {
            // Answered behind all that was proposed before it, whoever asks.
            Some(OpCode::Sync) => self.syncs.push_back((self.proposed(), link)),
            Some(op) if is_ordered(op) => self.on_forwarded(now, link, &request(op)),
            _ => self.prepare_error(now, session, xid, ErrorCode::Unimplemented),
        }
    }

    /// Takes forwarded requests that waited until proposals could be made again.
    pub(super) fn take_held_forwarded(&mut self, now: Now) {
        while self.next_zxid().is_some()
            && let Some((link, message)) = self.held_forwarded.pop_front()
        {
            let behind = std::mem::take(&mut self.held_forwarded);
            self.on_from_learner(now, link, message);
            self.held_forwarded.extend(behind);
        }
    }

    fn on_forwarded(&mut self, now: Now, link: Link, request: &WriteRequest<'_>) {
        let (session, xid) = (request.session, request.xid);
        let result = match request.op {
            OpCode::CreateSession => self.on_forwarded_session(now, link, request).map(|()| None),
            OpCode::CloseSession => Ok(None),
            _ => self.check_owner(session, Owner::Learner(link)),
        };
        let prepared =
            result.and_then(|no_ephemerals| self.prepare(now, &WriteRequest { no_ephemerals, ..*request }));
        if let Err(error) = prepared {
            self.prepare_error(now, session, xid, error);
        }
    }

    fn on_forwarded_session(
        &mut self,
        now: Now,
        link: Link,
        request: &WriteRequest<'_>,
    ) -> Result<(), ErrorCode> {
        let CreateSessionTxn { time_out } = jute::from_bytes(request.body)?;
        let session = self.sessions.track(request.session, time_out.max(0) as u32, now.tick);
        session.owner = Some(Owner::Learner(link));
        Ok(())
    }

    /// `SessionTrackerImpl.checkSession`: whoever asks first after an election is the owner. Returns what the
    /// creation of an ephemeral node fails with: a session that is local to its learner can have none.
    fn check_owner(&mut self, session: SessionId, asks: Owner) -> Result<Option<ErrorCode>, ErrorCode> {
        if self.sessions.get(session).is_none() && self.may_be_local_elsewhere(session) {
            return Ok(Some(ErrorCode::SessionExpired));
        }
        let known = self.sessions.get_mut(session).filter(|known| !known.closing);
        let known = known.ok_or(ErrorCode::SessionExpired)?;
        match *known.owner.get_or_insert(asks) {
            owner if owner == asks => Ok(None),
            _ => Err(ErrorCode::SessionMoved),
        }
    }

    fn on_revalidate(&mut self, now: Now, link: Link, session: SessionId, timeout_ms: u32) {
        let valid = self.sessions.get(session).is_some_and(|known| !known.closing);
        if valid {
            let tracked = self.sessions.track(session, timeout_ms, now.tick);
            let before = tracked.owner.replace(Owner::Learner(link));
            self.close_owner(before, CloseReason::Moved);
            // Whoever waited for it is its owner, and has just been closed.
            self.moves.remove(&session);
        }
        self.messages.push(zab::Effect::ToLearner(link, ToLearner::Revalidate { session, valid }));
    }

    fn prepare_error(&mut self, now: Now, session: SessionId, xid: i32, error: ErrorCode) {
        let body = jute::to_bytes(&ErrorTxn { err: error.code() });
        let request = WriteRequest { xid, ..internal(session, OpCode::Error, &body) };
        self.prepare(now, &request).expect("an error can always be recorded");
    }

    /// A learner is about to be told that something is committed: SYNCs that it asked for earlier come
    /// first, since what it asked for later may be among that.
    pub(super) fn sync_before(&mut self, link: Link, message: &ToLearner, out: &mut Vec<Effect>) {
        let upto = match message {
            ToLearner::Commit(upto) | ToLearner::CommitAndActivate { zxid: upto, .. } => *upto,
            ToLearner::Inform(transaction) | ToLearner::InformAndActivate { transaction, .. } => {
                transaction.zxid
            }
            _ => return,
        };
        let mut position = 0;
        while let Some((after, asked)) = self.syncs.get(position).copied().filter(|(after, _)| *after < upto)
        {
            if asked != link {
                position += 1;
                continue;
            }
            self.syncs.remove(position);
            let told = self.told.iter().rev().find(|(told, _)| *told == link).map(|(_, upto)| *upto);
            if matches!(message, ToLearner::Commit(_)) && told.unwrap_or(self.applied()) < after {
                // One commit stands for all up to it.
                out.push(Effect::Peer(zab::Effect::ToLearner(link, ToLearner::Commit(after))));
            }
            out.push(Effect::Peer(zab::Effect::ToLearner(link, ToLearner::Sync)));
        }
        if !self.syncs.is_empty() {
            self.told.push((link, upto));
        }
    }

    /// Answers SYNCs of learners whose turn has come. What was committed before has been sent.
    pub(super) fn release_syncs(&mut self) {
        self.told.clear();
        let committed = self.zab.committed().max(self.applied());
        while let Some((_, link)) = self.syncs.pop_front_if(|(after, _)| *after <= committed) {
            self.messages.push(zab::Effect::ToLearner(link, ToLearner::Sync));
        }
    }
}

/// Whether a learner may forward it to be made a transaction.
fn is_ordered(op: OpCode) -> bool {
    match op {
        OpCode::Create
        | OpCode::Create2
        | OpCode::CreateContainer
        | OpCode::CreateTtl
        | OpCode::Delete
        | OpCode::DeleteContainer
        | OpCode::SetData
        | OpCode::SetAcl
        | OpCode::Check
        | OpCode::Multi
        | OpCode::Reconfig
        | OpCode::CreateSession
        | OpCode::CloseSession => true,
        OpCode::Error
        | OpCode::Exists
        | OpCode::GetData
        | OpCode::GetAcl
        | OpCode::GetChildren
        | OpCode::Sync
        | OpCode::Ping
        | OpCode::GetChildren2
        | OpCode::CheckWatches
        | OpCode::RemoveWatches
        | OpCode::MultiRead
        | OpCode::Auth
        | OpCode::SetWatches
        | OpCode::Sasl
        | OpCode::GetEphemerals
        | OpCode::GetAllChildrenNumber
        | OpCode::SetWatches2
        | OpCode::AddWatch
        | OpCode::WhoAmI => false,
    }
}
