//! One client connection, as its core knows it.

use super::commands::Word;
use crate::ring::{Stream, Wake};
use ringkeeper_engine::auth::AuthInfo;
use ringkeeper_engine::id::{SessionId, Tick};
use ringkeeper_engine::op::OpCode;
use ringkeeper_engine::order::SessionOrder;
use ringkeeper_engine::stats::{LastOperation, Traffic};
use ringkeeper_quorum::step::ConnectionId;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing came yet but perhaps part of a first frame.
    New,
    /// An operator's four letters are being answered; nothing else is read.
    Command(Word),
    /// The replica is asked for a session; nothing else is read.
    Opening {
        /// Whether the client's handshake had the read-only byte, so that the answer has it too.
        knows_read_only: bool,
        /// When a new session was asked for; coming back to one is no operation.
        creating_since: Option<Tick>,
    },
    /// A client with a session.
    Open {
        /// Which.
        session: SessionId,
        /// In milliseconds.
        timeout_ms: u32,
    },
}

/// A request that waits for its turn.
#[derive(Debug)]
pub struct Waiting {
    /// The client's number for it.
    pub xid: i32,
    /// What it asks for.
    pub op: OpCode,
    /// Its record.
    pub body: Box<[u8]>,
    /// When it came.
    pub at: Tick,
}

/// A request that the replica has.
#[derive(Debug)]
pub struct Sent {
    /// The client's number for it.
    pub xid: i32,
    /// What it asks for.
    pub op: OpCode,
    /// When it came.
    pub at: Tick,
    /// The node that is watched from its answer on.
    pub watch: Option<Box<str>>,
}

/// See the module.
pub struct Connection {
    /// Who it is.
    pub id: ConnectionId,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Its socket, to be shut down.
    pub stream: Stream,
    /// Wakes the task that writes.
    pub writer: Wake,
    /// Wakes the task that reads, when it had to stop.
    pub reader: Wake,
    /// How far it has come.
    pub stage: Stage,
    /// What the client has proved.
    pub auth: AuthInfo,
    /// Bytes of a frame that is not whole yet, or that must not be read yet.
    pub input: Vec<u8>,
    /// Whole frames to be written.
    pub output: Vec<u8>,
    /// When the first of them was put there, in microseconds since the server's start.
    pub output_us: u64,
    /// Which requests wait.
    pub order: SessionOrder<Waiting>,
    /// The requests that the replica has.
    pub sent: VecDeque<Sent>,
    /// How many of them are reads.
    pub reads_sent: u32,
    /// The connection closes once the output is written; nothing more is read.
    pub closing: bool,
    /// When that was seen first.
    pub closing_since: Option<Tick>,
    /// Bytes of the requests that wait for their turn.
    pub waiting_bytes: usize,
    /// It gave a sign of life since the replica was last told.
    pub touched: Option<Tick>,
    /// When it was made.
    pub since: Tick,
    /// When it was made, in milliseconds since 1970.
    pub established_ms: i64,
    /// Frames and latencies.
    pub traffic: Traffic,
    /// The last request.
    pub last: Option<LastOperation>,
}

impl Connection {
    /// Its session, once it has one.
    pub fn session(&self) -> Option<SessionId> {
        match self.stage {
            Stage::Open { session, .. } => Some(session),
            _ => None,
        }
    }

    /// A request waits for its turn.
    pub fn wait(&mut self, request: Waiting) {
        self.waiting_bytes += request.body.len();
        self.order.wait(request);
    }

    /// Whether an operator's four letters are being answered.
    pub fn is_answering_command(&self) -> bool {
        matches!(self.stage, Stage::Command(_))
    }

    /// Closes it once what is in the output is written.
    pub fn close_after_output(&mut self) {
        self.closing = true;
        self.writer.wake();
        self.reader.wake();
    }

    /// Closes it at once.
    pub fn abort(&mut self) {
        self.closing = true;
        self.output.clear();
        self.stream.shutdown();
        self.writer.wake();
        self.reader.wake();
    }
}
