//! One client: its session, its connection, its requests in flight. Requests gather in a buffer
//! and leave with one write; replies come in the order of the requests, which is checked.

use crate::failure::Failure;
use crate::wire::{self, Scanner};
use crate::workload::Operation;
use ringkeeper_engine::jute::records::ReplyHeader;
use ringkeeper_engine::op::{NOTIFICATION_XID, OpCode, PING_XID};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// What every client asks for; the load itself keeps its session alive.
const SESSION_TIMEOUT_MS: i32 = 30_000;
/// How long a server may take for a handshake.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);

/// A request whose reply is to come.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    /// What was asked.
    pub operation: Operation,
    /// When it was to start, in nanoseconds of the generator's clock.
    pub intended_ns: u64,
}

/// What came from the server.
#[derive(Clone, Copy, Debug)]
pub enum Received {
    /// The answer to a request.
    Reply(Pending, ReplyHeader),
    /// A watch fired.
    Event,
}

/// A session and its connection.
pub struct Client {
    stream: TcpStream,
    session: i64,
    scanner: Scanner,
    out: Vec<u8>,
    out_sent: usize,
    in_flight: VecDeque<(i32, Pending)>,
    next_xid: i32,
    closing: bool,
}

impl Client {
    /// Connects, and sends the handshake without waiting for its answer.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub fn connect(server: SocketAddr) -> Result<Client, Failure> {
        let open = || -> std::io::Result<TcpStream> {
            let mut stream = TcpStream::connect_timeout(&server, HANDSHAKE_PATIENCE)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(HANDSHAKE_PATIENCE))?;
            stream.write_all(&wire::handshake(SESSION_TIMEOUT_MS))?;
            Ok(stream)
        };
        let stream = open().map_err(|error| Failure::Connect { server, why: error.to_string() })?;
        Ok(Client {
            stream,
            session: 0,
            scanner: Scanner::default(),
            out: Vec::new(),
            out_sent: 0,
            in_flight: VecDeque::new(),
            next_xid: 1,
            closing: false,
        })
    }

    /// Takes the handshake's answer; from then on nothing blocks.
    ///
    /// # Errors
    /// The server refuses the session, or the connection breaks.
    pub fn open_session(&mut self) -> Result<(), Failure> {
        self.session = wire::read_handshake(&mut self.stream)
            .map_err(|error| Failure::Handshake { why: error.to_string() })?;
        self.stream.set_nonblocking(true).map_err(|error| Failure::Connection(error.to_string()))
    }

    /// The session's id.
    pub fn session(&self) -> i64 {
        self.session
    }

    /// Requests in flight.
    pub fn depth(&self) -> usize {
        self.in_flight.len()
    }

    /// Puts a request into the buffer: `encode` appends its frame.
    pub fn push(&mut self, pending: Pending, encode: impl FnOnce(i32, &mut Vec<u8>)) {
        let xid = self.next_xid;
        // Negative numbers are the protocol's own.
        self.next_xid = self.next_xid.checked_add(1).unwrap_or(1);
        encode(xid, &mut self.out);
        self.in_flight.push_back((xid, pending));
    }

    /// Asks for the end of the session.
    pub fn push_close(&mut self) {
        self.closing = true;
        let pending = Pending { operation: Operation::Close, intended_ns: 0 };
        self.push(pending, |xid, out| {
            let header = [8, xid, OpCode::CloseSession.code()];
            header.iter().for_each(|field| out.extend_from_slice(&field.to_be_bytes()));
        });
    }

    /// Writes what is buffered. `false`: the socket is full, and the rest waits for it.
    ///
    /// # Errors
    /// The connection breaks.
    pub fn flush(&mut self) -> Result<bool, Failure> {
        while self.out_sent < self.out.len() {
            match self.stream.write(&self.out[self.out_sent..]) {
                Ok(bytes) => self.out_sent += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) => return Err(Failure::Connection(error.to_string())),
            }
        }
        self.out.clear();
        self.out_sent = 0;
        Ok(true)
    }

    /// Reads once into `buffer`. `None`: nothing was there.
    ///
    /// # Errors
    /// The connection breaks, or the server ends it before the session's close was answered.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Failure> {
        match self.stream.read(buffer) {
            Ok(0) if self.closing && self.in_flight.is_empty() => Ok(None),
            Ok(0) => Err(Failure::Closed { session: self.session, in_flight: self.in_flight.len() }),
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
            Err(error) => Err(Failure::Connection(error.to_string())),
        }
    }

    /// Finds the replies and watch events in received bytes.
    ///
    /// # Errors
    /// Bytes that are no reply, or a reply out of order.
    pub fn replies(&mut self, bytes: &[u8], mut on_received: impl FnMut(Received)) -> Result<(), Failure> {
        let (in_flight, mut disorder) = (&mut self.in_flight, None);
        let scanned = self.scanner.feed(bytes, |reply| {
            if reply.xid == NOTIFICATION_XID {
                on_received(Received::Event);
            }
            if matches!(reply.xid, NOTIFICATION_XID | PING_XID) || disorder.is_some() {
                return;
            }
            match in_flight.pop_front() {
                Some((xid, pending)) if xid == reply.xid => on_received(Received::Reply(pending, reply)),
                expected => {
                    disorder =
                        Some(Failure::Disorder { found: reply.xid, expected: expected.map(|(xid, _)| xid) });
                }
            }
        });
        scanned.map_err(|error| Failure::Connection(error.to_string()))?;
        disorder.map_or(Ok(()), Err)
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
