//! Reads between writes of one session, which it sent without waiting for answers. A core would have to hold
//! each write until the reads before it are answered, and so let one write a sync through; here they are
//! answered in their order, of the tree as the write before them has left it.

use super::answers::{Pending, PendingKind};
use super::{Owner, Replica};
use crate::step::{CloseReason, ConnectionId};
use crate::zab::Serving;
use ringkeeper_engine::auth::AuthInfo;
use ringkeeper_engine::error::ErrorCode;
use ringkeeper_engine::id::{Now, SessionId, Zxid};
use ringkeeper_engine::jute;
use ringkeeper_engine::jute::records::PathWatchRequest;
use ringkeeper_engine::limits::Settings;
use ringkeeper_engine::op::OpCode;
use ringkeeper_engine::read::{ReadContext, ReadError, path_of};
use ringkeeper_engine::tree::View;
use std::sync::Arc;

/// Whether a read may be answered here. The watch that it sets is its core's matter.
pub fn is_read(op: OpCode) -> bool {
    matches!(
        op,
        OpCode::Exists | OpCode::GetData | OpCode::GetChildren | OpCode::GetChildren2 | OpCode::GetAcl
    )
}

/// One read.
#[derive(Clone, Debug)]
pub(super) struct Read {
    op: OpCode,
    body: Box<[u8]>,
    auth: AuthInfo,
    settings: Arc<Settings>,
}

impl Read {
    /// Appends the reply's record to `out`; what is there after an error is not part of it.
    pub fn answer(&self, view: &View<'_>, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let reads = ReadContext { view, auth: &self.auth, settings: &self.settings };
        let answer = match self.op {
            OpCode::GetAcl => path_of(&self.body).map_err(ReadError::Client).and_then(|asked| {
                let path = asked.path;
                reads.get_acl(&path, out)
            }),
            op => {
                let PathWatchRequest { path, .. } = jute::from_bytes(&self.body)?;
                match op {
                    OpCode::Exists => reads.exists(&path, out),
                    OpCode::GetData => reads.get_data(&path, out),
                    _ => reads.get_children(&path, op == OpCode::GetChildren2, out),
                }
            }
        };
        answer.map_err(|error| match error {
            ReadError::Client(code) => code,
            ReadError::Later | ReadError::Broken => unreachable!("nothing newer was applied"),
        })
    }
}

impl Replica {
    /// A read came behind a write of its session.
    pub(super) fn on_read(
        &mut self,
        now: Now,
        (connection, session): (ConnectionId, SessionId),
        xid: i32,
        op: OpCode,
        body: &[u8],
        auth: &AuthInfo,
    ) {
        if self.owner(session) != Some(Owner::Here(connection)) {
            return self.close(connection, CloseReason::Moved);
        }
        let (auth, settings) = (Arc::clone(auth), Arc::clone(&self.settings));
        let kind = PendingKind::Read { xid, read: Read { op, body: body.into(), auth, settings } };
        if matches!(self.serving, Serving::Leader(_)) {
            self.touch(session, now.tick);
            self.answer_after(self.proposed(), connection, kind);
        } else {
            self.on_sign_of_life(session);
            self.learner.wait(session, Pending { after: Zxid::ZERO, connection, kind });
        }
    }
}
