//! One client: its session, its connection, its requests in flight. Requests gather in a buffer
//! and leave with one write; replies come in the order of the requests, which is checked.

use crate::failure::Failure;
use crate::wire::{self, Scanner};
use crate::workload::Operation;
use ringkeeper_engine::jute::records::ReplyHeader;
use ringkeeper_engine::op::{NOTIFICATION_XID, OpCode, PING_XID};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What every client asks for; the load itself keeps its session alive.
const SESSION_TIMEOUT_MS: i32 = 30_000;
/// What the answer to a handshake has, and a little more.
const HANDSHAKE_BYTES: usize = 64;

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
    server: SocketAddr,
    /// What has come of the handshake's answer.
    answer: Vec<u8>,
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
    /// Begins to connect, and sends the handshake if the server is as near as this machine is; nothing waits.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub fn connect(server: SocketAddr) -> Result<Client, Failure> {
        let open = || -> rustix::io::Result<OwnedFd> {
            let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
            net::sockopt::set_tcp_nodelay(&socket, true)?;
            match net::connect(&socket, &server) {
                Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
                Err(error) => Err(error),
            }
        };
        let socket = open().map_err(|error| Failure::Connect { server, why: error.to_string() })?;
        let mut client = Client {
            server,
            answer: Vec::new(),
            stream: socket.into(),
            session: 0,
            scanner: Scanner::default(),
            out: wire::handshake(SESSION_TIMEOUT_MS),
            out_sent: 0,
            in_flight: VecDeque::new(),
            next_xid: 1,
            closing: false,
        };
        client.send_handshake()?;
        Ok(client)
    }

    /// Sends the handshake, as far as the connection takes it. `false`: not all of it yet.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub fn send_handshake(&mut self) -> Result<bool, Failure> {
        let server = self.server;
        self.flush().map_err(|failure| match failure {
            Failure::Connection(why) => Failure::Connect { server, why },
            other => other,
        })
    }

    /// Whether the connection has taken all that was to be sent.
    pub fn has_sent_all(&self) -> bool {
        self.out.is_empty()
    }

    /// Bytes that the connection has not taken yet.
    pub fn unsent(&self) -> usize {
        self.out.len() - self.out_sent
    }

    /// Whether the server has opened the session.
    pub fn is_open(&self) -> bool {
        self.session != 0
    }

    /// Takes the handshake's answer, if it has come. `false`: it has not.
    ///
    /// # Errors
    /// The server refuses the session, or the connection breaks.
    pub fn open_session(&mut self) -> Result<bool, Failure> {
        let mut bytes = [0; HANDSHAKE_BYTES];
        let failed = |why: String| Failure::Handshake { why };
        let count = match self.stream.read(&mut bytes) {
            Ok(0) => return Err(failed("it closes the connection".into())),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(false);
            }
            Err(error) => return Err(failed(error.to_string())),
        };
        self.answer.extend_from_slice(&bytes[..count]);
        let session = wire::handshake_answer(&self.answer).map_err(|error| failed(error.to_string()))?;
        self.session = session.unwrap_or(0);
        if self.is_open() {
            self.answer = Vec::new();
        }
        Ok(self.is_open())
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
