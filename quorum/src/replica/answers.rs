//! What waits to be answered, and what a core is about to be told.

use super::lent::Lent;
use super::reads::Read;
use crate::step::{CloseReason, ConnectionId, Emptied, Reply, ReplyBatch};
use ringkeeper_engine::apply::Outcome;
use ringkeeper_engine::error::ErrorCode;
use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::jute::Write;
use ringkeeper_engine::jute::records::ReplyHeader;
use ringkeeper_engine::op::OpCode;
use ringkeeper_engine::tree::{Changes, TreeReader, TreeWriter};
use std::ops::Range;
use std::sync::Arc;

/// An answer that waits for its transaction, or for those proposed before it.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// The transaction that must be applied first.
    pub after: Zxid,
    /// Whose answer.
    pub connection: ConnectionId,
    /// What it will say.
    pub kind: PendingKind,
}

#[derive(Clone, Debug)]
pub(super) enum PendingKind {
    /// What the transaction did.
    Transaction { xid: i32, op: OpCode },
    /// The request failed; no transaction was needed.
    Failed { xid: i32, error: ErrorCode },
    /// sync: its path, as it came.
    Sync { xid: i32, body: Box<[u8]> },
    /// A read, of the tree as it is then.
    Read { xid: i32, read: Read },
    /// getEphemerals under a prefix.
    Ephemerals { xid: i32, session: SessionId, prefix: Option<Box<str>> },
    /// A session began, or was renewed.
    Opened { session: SessionId, timeout_ms: u32 },
    /// A session cannot be renewed.
    Refused,
    /// The client ended a session that no transaction ends.
    Closed { xid: i32 },
}

impl Pending {
    /// Whether it answers the transaction that it waits for.
    pub fn is_transaction(&self) -> bool {
        matches!(self.kind, PendingKind::Transaction { .. })
    }

    /// Whether it reads the tree.
    pub fn is_read(&self) -> bool {
        matches!(self.kind, PendingKind::Read { .. })
    }

    /// Puts the answer into its core's outbox. The tree of a read is settled.
    pub fn answer(self, outbox: &mut Outbox, tree: &TreeWriter, zxid: Zxid, outcome: Option<&Outcome<'_>>) {
        let connection = self.connection;
        match self.kind {
            PendingKind::Transaction { xid, op } => {
                let outcome = outcome.expect("a transaction is answered when it is applied");
                let last = *outcome == Outcome::SessionClosed;
                outbox.frame(connection, xid, zxid, outcome.code(), last, |out| outcome.write_reply(op, out));
            }
            PendingKind::Failed { xid, error } => {
                outbox.frame(connection, xid, zxid, error.code(), false, |_| {});
            }
            PendingKind::Sync { xid, body } => {
                outbox.frame(connection, xid, zxid, 0, false, |out| out.extend_from_slice(&body));
            }
            PendingKind::Read { xid, read } => outbox.read(connection, xid, zxid, &read, tree),
            PendingKind::Ephemerals { xid, session, prefix } => {
                let matches = |path: &&str| prefix.as_deref().is_none_or(|prefix| path.starts_with(prefix));
                let paths: Vec<&str> = tree.ephemerals().of(session).filter(matches).collect();
                outbox.frame(connection, xid, zxid, 0, false, |out| paths.write(out));
            }
            PendingKind::Opened { session, timeout_ms } => {
                outbox.push(Reply::Opened { connection, session, timeout_ms });
            }
            PendingKind::Closed { xid } => outbox.frame(connection, xid, zxid, 0, true, |_| {}),
            PendingKind::Refused => outbox.push(Reply::Refused { connection }),
        }
    }
}

/// Items that room is made for at once.
const NEXT_ITEMS_MAX: usize = 4096;

/// What a core is told next.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    lent: Lent<Vec<u8>>,
    items: Vec<Reply>,
}

impl Outbox {
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub fn push(&mut self, reply: Reply) {
        self.items.push(reply);
    }

    pub fn push_tree(&mut self, tree: TreeReader) {
        // What was told of the tree before means nothing in this one.
        self.items.retain(|item| !matches!(item, Reply::Changes(_)));
        self.items.push(Reply::Tree(tree));
    }

    pub fn close(&mut self, connection: ConnectionId, reason: CloseReason) {
        self.items.push(Reply::Close { connection, reason });
    }

    /// Changes that follow each other are one item.
    pub fn changed(&mut self, changes: Range<u32>) {
        match self.items.last_mut() {
            Some(Reply::Changes(last)) if last.end == changes.start => last.end = changes.end,
            _ => self.items.push(Reply::Changes(changes)),
        }
    }

    fn frame(
        &mut self,
        connection: ConnectionId,
        xid: i32,
        zxid: Zxid,
        err: i32,
        last: bool,
        record: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.begin(xid, zxid, err);
        if err == 0 {
            record(&mut self.bytes);
        }
        self.end(connection, start, last);
    }

    fn read(&mut self, connection: ConnectionId, xid: i32, zxid: Zxid, read: &Read, tree: &TreeWriter) {
        let mut start = self.begin(xid, zxid, 0);
        // Whatever the tree has is applied here, also a configuration's node that is ahead of the log.
        if let Err(error) = read.answer(&tree.reader().view(Zxid(u64::MAX)), &mut self.bytes) {
            self.bytes.truncate(start);
            start = self.begin(xid, zxid, error.code());
        }
        self.end(connection, start, false);
    }

    /// Begins a frame; returns where.
    fn begin(&mut self, xid: i32, zxid: Zxid, err: i32) -> usize {
        let start = self.bytes.len();
        0i32.write(&mut self.bytes);
        ReplyHeader { xid, zxid: zxid.to_jute(), err }.write(&mut self.bytes);
        start
    }

    fn end(&mut self, connection: ConnectionId, start: usize, last: bool) {
        let length = (self.bytes.len() - start - 4) as i32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
        self.items.push(Reply::Answer { connection, frame: start..self.bytes.len(), last });
    }

    pub fn take(&mut self, zxid: Zxid, changes: Arc<Changes>, emptied: Emptied) -> ReplyBatch {
        let next = self.lent.take();
        let bytes = self.lent.lend(std::mem::replace(&mut self.bytes, next));
        // The next ones are mostly as many.
        let next = Vec::with_capacity(self.items.len().min(NEXT_ITEMS_MAX));
        let items = std::mem::replace(&mut self.items, next);
        ReplyBatch { zxid, bytes, changes, items, emptied }
    }
}
