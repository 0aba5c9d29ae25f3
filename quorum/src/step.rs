//! What goes into a replica and what comes out: values, one batch each.

use crate::zab::{self, Attempt, Epochs};
use bytes::Bytes;
use ringkeeper_engine::auth::AuthInfo;
use ringkeeper_engine::database::Database;
use ringkeeper_engine::id::{SessionId, Tick, Zxid};
use ringkeeper_engine::log::{Cut, IoFailure, LogError, LogWrite, SegmentFile, Upkeep};
use ringkeeper_engine::op::OpCode;
use ringkeeper_engine::session::PASSWORD_BYTES;
use ringkeeper_engine::stats::{CoreReport, Inquiry, Report};
use ringkeeper_engine::tree::{Changes, TreeReader};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A client connection: its core, and its number there, which is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// The core that owns it.
    pub core: u16,
    /// Its number on that core.
    pub number: u64,
}

/// A batch that has more memory than this is not used again.
pub(crate) const KEPT_BYTES_MAX: usize = 4 << 20;

/// What one core's connections ask for: everything that gathered since its last batch.
#[derive(Debug, Default)]
pub struct RequestBatch {
    /// The records of the requests, one after the other.
    pub bytes: Vec<u8>,
    /// The requests, in the order in which they came.
    pub items: Vec<Request>,
    /// What the clients have proved; requests name theirs by position.
    pub auths: Vec<AuthInfo>,
}

impl RequestBatch {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Memory that it holds, in bytes.
    fn capacity_bytes(&self) -> usize {
        self.bytes.capacity()
            + self.items.capacity() * size_of::<Request>()
            + self.auths.capacity() * size_of::<AuthInfo>()
    }

    /// The position of `auth`, added if the last one is another.
    pub fn auth(&mut self, auth: &AuthInfo) -> u32 {
        if self.auths.last().is_none_or(|last| !Arc::ptr_eq(last, auth)) {
            self.auths.push(Arc::clone(auth));
        }
        self.auths.len() as u32 - 1
    }

    /// Copies a record in.
    pub fn body(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    pub(crate) fn proved(&self, position: u32) -> &AuthInfo {
        &self.auths[position as usize]
    }
}

/// Batches of requests that were taken, empty: the memory of the next ones. While a write of the log is under
/// way a core sends several, and each that is made anew costs pages that the kernel has to clear.
#[derive(Debug, Default)]
pub struct Emptied {
    batches: Vec<RequestBatch>,
    /// Memory of all.
    bytes: usize,
}

impl Emptied {
    /// Forgets what is in the batch, and keeps its memory unless there is enough.
    pub fn keep(&mut self, mut batch: RequestBatch) {
        batch.bytes.clear();
        batch.items.clear();
        batch.auths.clear();
        let bytes = batch.capacity_bytes();
        if bytes > 0 && self.bytes + bytes <= KEPT_BYTES_MAX {
            self.bytes += bytes;
            self.batches.push(batch);
        }
    }

    /// The same of several.
    pub fn keep_all(&mut self, other: Emptied) {
        other.batches.into_iter().for_each(|batch| self.keep(batch));
    }

    /// An empty batch.
    pub fn take(&mut self) -> RequestBatch {
        let batch = self.batches.pop().unwrap_or_default();
        self.bytes -= batch.capacity_bytes();
        batch
    }

    /// One of so many equal shares, when the others are still to be taken.
    pub(crate) fn share(&mut self, of: usize) -> Emptied {
        if of == 1 {
            return std::mem::take(self);
        }
        let mut share = Emptied::default();
        for _ in 0..self.batches.len().div_ceil(of) {
            share.keep(self.take());
        }
        share
    }
}

/// One thing that a connection asks the replica for.
#[derive(Debug)]
pub enum Request {
    /// A request that must be ordered: a write, sync, getEphemerals, or a read between writes of its
    /// session.
    Ordered {
        /// Whose it is.
        connection: ConnectionId,
        /// Its session.
        session: SessionId,
        /// The client's number for it.
        xid: i32,
        /// What it asks for.
        op: OpCode,
        /// Its record in the batch's bytes.
        body: Range<usize>,
        /// What the client has proved, by position in the batch.
        auth: u32,
    },
    /// A client wants a new session.
    Open {
        /// Who asks.
        connection: ConnectionId,
        /// Negotiated, in milliseconds.
        timeout_ms: u32,
        /// The newest transaction that the client has seen.
        last_seen: Zxid,
    },
    /// A client comes back to its session.
    Reopen {
        /// Who asks.
        connection: ConnectionId,
        /// Which.
        session: SessionId,
        /// What it gives as its password.
        password: [u8; PASSWORD_BYTES],
        /// Negotiated, in milliseconds.
        timeout_ms: u32,
        /// The newest transaction that the client has seen.
        last_seen: Zxid,
    },
    /// A session gave a sign of life.
    Touch {
        /// Which.
        session: SessionId,
        /// When.
        at: Tick,
    },
    /// A connection is gone; its session lives on until it expires.
    Gone {
        /// Which.
        connection: ConnectionId,
        /// The session that it spoke for.
        session: SessionId,
    },
    /// An operator wants to know something of every part of the server.
    Report {
        /// Who asks.
        connection: ConnectionId,
        /// What for.
        inquiry: Inquiry,
    },
    /// A core's part of a report.
    Collected {
        /// Which report.
        ticket: u64,
        /// What the core knows.
        report: Box<CoreReport>,
    },
}

impl Request {
    /// Where the record of an ordered request is in the batch's bytes.
    pub(crate) fn body(&self) -> Option<Range<usize>> {
        match self {
            Request::Ordered { body, .. } => Some(body.clone()),
            _ => None,
        }
    }
}

/// What one core's connections are told, in order. Delivering all of it brings the core to `zxid`.
#[derive(Debug)]
pub struct ReplyBatch {
    /// The newest transaction whose changes are in here.
    pub zxid: Zxid,
    /// Whole reply frames, one after the other.
    pub bytes: Bytes,
    /// What the watches may be told, the same for every core.
    pub changes: Arc<Changes>,
    /// Replies and changes as they follow each other.
    pub items: Vec<Reply>,
    /// Batches of requests that were taken.
    pub emptied: Emptied,
}

/// One thing that a core is told.
#[derive(Debug)]
pub enum Reply {
    /// Changes, by position.
    Changes(Range<u32>),
    /// The answer to an ordered request: a frame in the batch's bytes.
    Answer {
        /// Whose.
        connection: ConnectionId,
        /// The frame, with its length in front.
        frame: Range<usize>,
        /// The session ended with this; the connection closes after it.
        last: bool,
    },
    /// The session that the connection asked for is there.
    Opened {
        /// Whose.
        connection: ConnectionId,
        /// The session.
        session: SessionId,
        /// In milliseconds.
        timeout_ms: u32,
    },
    /// There is no such session, or the password is wrong.
    Refused {
        /// Whose.
        connection: ConnectionId,
    },
    /// The session expired, or another connection speaks for it now.
    Close {
        /// Whose.
        connection: ConnectionId,
        /// Why.
        reason: CloseReason,
    },
    /// What is done for clients from here on.
    Serving(Service),
    /// The tree that is read from here on. Nobody is served meanwhile.
    Tree(TreeReader),
    /// The core is to send its part of a report.
    Collect {
        /// Which report.
        ticket: u64,
        /// What for.
        inquiry: Inquiry,
    },
    /// The report that the connection asked for.
    Report {
        /// Whose.
        connection: ConnectionId,
        /// What every part of the server knows.
        report: Box<Report>,
    },
}

/// What a server does for its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Nothing: every connection is closed, and none is opened. Other services follow this one alone.
    Nothing,
    /// It answers reads of clients that asked for no more, from its tree as it was when the quorum was lost.
    ReadOnly,
    /// Everything.
    Full,
}

/// Why a connection is closed by the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The session expired.
    Expired,
    /// The client came back over another connection.
    Moved,
    /// The client has seen a transaction that this server has not.
    Behind,
    /// The server serves nobody.
    NotServing,
    /// There is no quorum, and the session needs one.
    NeedsQuorum,
}

/// What a replica is told.
#[derive(Debug)]
pub enum Input {
    /// Requests of one core.
    Requests(RequestBatch),
    /// A log write came back.
    Written(LogWrite, Result<(), IoFailure>),
    /// A step of the log's upkeep came back.
    Upkeep(Upkeep, Result<(), IoFailure>),
    /// The file of a segment that recovery needs no more, out of the log.
    Spare(SegmentFile),
    /// A checkpoint is on stable storage, or could not be written.
    Checkpointed(Result<Zxid, IoFailure>),
    /// The mark that was asked for is on stable storage, or could not be written.
    Marked(Result<(), IoFailure>),
    /// The network of the ensemble told something.
    Peer(zab::Input),
    /// The whole tree that the leader announced has come.
    Staged(Attempt, Box<StagedTree>),
    /// The epochs are on stable storage, or could not be written.
    EpochsPersisted(Result<Epochs, IoFailure>),
    /// Where the log is to be cut, or why that is not known.
    CutFound(Result<Cut, IoFailure>),
    /// The leader's tree is a checkpoint on stable storage, or could not be written.
    Installed(Result<(), IoFailure>),
    /// Time passed.
    Tick {
        /// Whether every request that came so far was taken.
        heard_all: bool,
    },
}

/// A tree that the leader sent.
pub struct StagedTree {
    /// Tree and sessions; it ends where the leader said.
    pub database: Database,
    /// The newest transaction that shows in it.
    pub newest: Zxid,
}

impl fmt::Debug for StagedTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StagedTree({} to {})", self.database.last, self.newest)
    }
}

/// What a replica wants done.
#[derive(Debug)]
pub enum Effect {
    /// Write this to the log and bring it back.
    Write(LogWrite),
    /// Do this to the log's files and bring it back.
    Upkeep(Upkeep),
    /// Tell a core.
    Deliver {
        /// Which.
        core: u16,
        /// What.
        batch: ReplyBatch,
    },
    /// Write a checkpoint of the tree.
    Checkpoint {
        /// Everything up to here is in the tree; what comes later may be.
        first: Zxid,
        /// Sessions with their timeouts in milliseconds.
        sessions: Vec<(SessionId, u32)>,
    },
    /// Note beside the log, durably, that it is durable up to here, and say when that is done: recovery
    /// then takes no damage before this for a crash's. One at a time.
    Mark(Zxid),
    /// Do this on the network of the ensemble.
    Peer(zab::Effect),
    /// Write the epochs, durably, and say when that is done. In the order asked for.
    PersistEpochs(Epochs),
    /// Find where to cut the log so that this is the last transaction that is left, and make checkpoints
    /// and mark forget what is behind it. No write of the log is under way, and none begins before the
    /// answer is there.
    FindCut(Zxid),
    /// Write a checkpoint of the tree as it is now, which ends at this transaction, in the place of all
    /// that is newer. No write of the log is under way, and none begins before the answer is there.
    Install {
        /// Where the tree ends.
        zxid: Zxid,
        /// Sessions with their timeouts in milliseconds.
        sessions: Vec<(SessionId, u32)>,
    },
    /// Something for the operator.
    Notice(String),
    /// This server cannot go on.
    Fatal(LogError),
}
