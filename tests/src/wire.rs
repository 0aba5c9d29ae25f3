//! ZooKeeper's client protocol as a test speaks it: a jute codec and a blocking client.
//!
//! Written apart from the engine's codec on purpose (see the crate's first comment). The client
//! judges nothing: it hands frames to whoever asks, in the order of their arrival.

use std::collections::VecDeque;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::Duration;

/// The largest frame that the client takes from a server.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// Bytes of a reply header: xid, zxid, error.
pub const REPLY_HEADER_BYTES: usize = 16;

/// Transaction ids that the protocol gives a meaning of their own.
pub mod xid {
    /// A watch event.
    pub const NOTIFICATION: i32 = -1;
    /// A ping and its reply.
    pub const PING: i32 = -2;
    /// An auth packet and its reply.
    pub const AUTH: i32 = -4;
    /// setWatches and setWatches2, by custom of the clients.
    pub const SET_WATCHES: i32 = -8;
}

/// Operation codes, as in ZooKeeper's `ZooDefs.OpCode`.
#[allow(missing_docs)]
pub mod op {
    pub const CREATE: i32 = 1;
    pub const DELETE: i32 = 2;
    pub const EXISTS: i32 = 3;
    pub const GET_DATA: i32 = 4;
    pub const SET_DATA: i32 = 5;
    pub const GET_ACL: i32 = 6;
    pub const SET_ACL: i32 = 7;
    pub const GET_CHILDREN: i32 = 8;
    pub const SYNC: i32 = 9;
    pub const PING: i32 = 11;
    pub const GET_CHILDREN2: i32 = 12;
    pub const CHECK: i32 = 13;
    pub const MULTI: i32 = 14;
    pub const CREATE2: i32 = 15;
    pub const RECONFIG: i32 = 16;
    pub const CHECK_WATCHES: i32 = 17;
    pub const REMOVE_WATCHES: i32 = 18;
    pub const CREATE_CONTAINER: i32 = 19;
    pub const DELETE_CONTAINER: i32 = 20;
    pub const CREATE_TTL: i32 = 21;
    pub const MULTI_READ: i32 = 22;
    pub const AUTH: i32 = 100;
    pub const SET_WATCHES: i32 = 101;
    pub const SASL: i32 = 102;
    pub const GET_EPHEMERALS: i32 = 103;
    pub const GET_ALL_CHILDREN_NUMBER: i32 = 104;
    pub const SET_WATCHES2: i32 = 105;
    pub const ADD_WATCH: i32 = 106;
    pub const WHO_AM_I: i32 = 107;
    pub const CREATE_SESSION: i32 = -10;
    pub const CLOSE_SESSION: i32 = -11;
    pub const ERROR: i32 = -1;
}

/// Error codes with their names, as in ZooKeeper's `KeeperException.Code`.
pub const ERRORS: [(i32, &str); 28] = [
    (0, "ok"),
    (-1, "SystemError"),
    (-2, "RuntimeInconsistency"),
    (-3, "DataInconsistency"),
    (-4, "ConnectionLoss"),
    (-5, "MarshallingError"),
    (-6, "Unimplemented"),
    (-7, "OperationTimeout"),
    (-8, "BadArguments"),
    (-13, "NewConfigNoQuorum"),
    (-14, "ReconfigInProgress"),
    (-101, "NoNode"),
    (-102, "NoAuth"),
    (-103, "BadVersion"),
    (-108, "NoChildrenForEphemerals"),
    (-110, "NodeExists"),
    (-111, "NotEmpty"),
    (-112, "SessionExpired"),
    (-114, "InvalidACL"),
    (-115, "AuthFailed"),
    (-118, "SessionMoved"),
    (-119, "NotReadOnly"),
    (-120, "EphemeralOnLocalSession"),
    (-121, "NoWatcher"),
    (-123, "ReconfigDisabled"),
    (-124, "SessionClosedRequireSaslAuth"),
    (-125, "QuotaExceeded"),
    (-127, "ThrottledOp"),
];

/// The name of an error code, or the number.
pub fn error_name(code: i32) -> String {
    ERRORS.iter().find(|(c, _)| *c == code).map_or_else(|| code.to_string(), |(_, name)| (*name).to_owned())
}

/// Writes jute: big-endian numbers, length-prefixed strings and vectors, −1 for null.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    /// What has been written.
    pub bytes: Vec<u8>,
}

impl Encoder {
    /// A request's first eight bytes.
    pub fn request(xid: i32, op: i32) -> Self {
        let mut encoder = Encoder::default();
        encoder.int(xid).int(op);
        encoder
    }

    /// One byte, 0 or 1.
    pub fn boolean(&mut self, value: bool) -> &mut Self {
        self.bytes.push(u8::from(value));
        self
    }

    /// Four bytes.
    pub fn int(&mut self, value: i32) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Eight bytes.
    pub fn long(&mut self, value: i64) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// A buffer or a string (the two are one on the wire); `None` is jute's null.
    ///
    /// # Panics
    /// The value is longer than jute can say.
    pub fn buffer(&mut self, value: Option<&[u8]>) -> &mut Self {
        match value {
            None => self.int(-1),
            Some(bytes) => {
                self.int(i32::try_from(bytes.len()).expect("a test's buffer fits jute"));
                self.bytes.extend_from_slice(bytes);
                self
            }
        }
    }

    /// A string.
    pub fn string(&mut self, value: &str) -> &mut Self {
        self.buffer(Some(value.as_bytes()))
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// A list of one entry: all permissions for world:anyone.
    pub fn open_acl(&mut self) -> &mut Self {
        self.int(1).int(31).string("world").string("anyone")
    }
}

/// A frame that a server should not have sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// What was to be read.
    pub what: &'static str,
    /// Where, in bytes from the frame's start.
    pub at: usize,
}

/// Reads jute and remembers which bytes hold values that are only compared by relation.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The places of zxids, times, session ids and passwords.
    pub relative: Vec<Range<usize>>,
}

impl<'a> Decoder<'a> {
    /// Starts at the frame's first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Decoder { bytes, at: 0, relative: Vec::new() }
    }

    /// Takes `count` bytes.
    ///
    /// # Errors
    /// The frame ends before.
    pub fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..count).ok_or(DecodeError { what, at: self.at })?;
        self.at += count;
        Ok(taken)
    }

    /// Four bytes.
    ///
    /// # Errors
    /// The frame ends before.
    pub fn int(&mut self, what: &'static str) -> Result<i32, DecodeError> {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(self.take(4, what)?);
        Ok(i32::from_be_bytes(bytes))
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// The frame ends before.
    pub fn long(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take(8, what)?);
        Ok(i64::from_be_bytes(bytes))
    }

    /// Eight bytes that differ between servers as such and are compared by relation.
    ///
    /// # Errors
    /// The frame ends before.
    pub fn relative_long(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        self.relative.push(self.at..self.at + 8);
        self.long(what)
    }

    /// One byte that must be 0 or 1.
    ///
    /// # Errors
    /// The frame ends before, or the byte is another.
    pub fn boolean(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        let at = self.at;
        match self.take(1, what)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(DecodeError { what, at }),
        }
    }

    /// A buffer or string; `None` is null.
    ///
    /// # Errors
    /// The frame ends before, or the length is below −1.
    pub fn buffer(&mut self, what: &'static str) -> Result<Option<&'a [u8]>, DecodeError> {
        let at = self.at;
        match self.int(what)? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) => self.take(length, what).map(Some),
                Err(_) => Err(DecodeError { what, at }),
            },
        }
    }

    /// Bytes not read yet.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        self.at = self.bytes.len();
        rest
    }

    /// Whether everything has been read.
    pub fn at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Where the next byte is read, from the frame's start.
    pub fn position(&self) -> usize {
        self.at
    }
}

/// The first frame of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectRequest {
    /// 0 from every known client.
    pub protocol_version: i32,
    /// The newest zxid that the client has seen.
    pub last_zxid_seen: i64,
    /// The wish, in milliseconds.
    pub timeout_ms: i32,
    /// 0 for a new session.
    pub session_id: i64,
    /// 16 bytes.
    pub password: Vec<u8>,
    /// The trailing byte that clients before 3.4 do not send.
    pub read_only: Option<bool>,
}

impl ConnectRequest {
    /// Asks for a new session.
    pub fn new_session(timeout_ms: i32) -> Self {
        ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout_ms,
            session_id: 0,
            password: vec![0; 16],
            read_only: Some(false),
        }
    }

    /// The frame without its length.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::default();
        encoder.int(self.protocol_version).long(self.last_zxid_seen).int(self.timeout_ms);
        encoder.long(self.session_id).buffer(Some(&self.password));
        if let Some(read_only) = self.read_only {
            encoder.boolean(read_only);
        }
        encoder.bytes
    }
}

/// The server's answer to the first frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectResponse {
    /// 0.
    pub protocol_version: i32,
    /// What was agreed, in milliseconds; 0 refuses the session.
    pub timeout_ms: i32,
    /// The session.
    pub session_id: i64,
    /// What renews it.
    pub password: Vec<u8>,
    /// The trailing byte, if it was sent.
    pub read_only: Option<bool>,
}

impl ConnectResponse {
    /// Decodes the frame.
    ///
    /// # Errors
    /// It is no connect response.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let protocol_version = decoder.int("protocolVersion")?;
        let timeout_ms = decoder.int("timeOut")?;
        let session_id = decoder.relative_long("sessionId")?;
        let password = decoder.buffer("passwd")?.unwrap_or_default().to_vec();
        let end = decoder.position();
        decoder.relative.push(end - password.len()..end);
        let read_only = if decoder.at_end() { None } else { Some(decoder.boolean("readOnly")?) };
        Ok(ConnectResponse { protocol_version, timeout_ms, session_id, password, read_only })
    }
}

/// What came from the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A frame, without its length.
    Frame(Vec<u8>),
    /// The server has closed the connection, in whatever way.
    Closed,
    /// Nothing came in the time given.
    Silence,
}

/// One connection, without any idea of a session.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    /// Connects the socket.
    ///
    /// # Errors
    /// The connection is refused.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect(address)?)
    }

    /// Connects the socket in this time: a server that is stopped takes no more than its backlog.
    ///
    /// # Errors
    /// The connection is refused, or not made in time.
    pub fn open_within(address: SocketAddr, patience: Duration) -> io::Result<Self> {
        Self::over(TcpStream::connect_timeout(&address, patience)?)
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        // A server that refuses may have closed the socket already; the next receive shows it.
        let _ = stream.set_nodelay(true);
        let reader = BufReader::with_capacity(64 << 10, stream.try_clone()?);
        Ok(Client { stream, reader })
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// The server has closed the connection.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Writes frames, each with its length before it, in one piece.
    ///
    /// # Errors
    /// The server has closed the connection.
    ///
    /// # Panics
    /// A frame is longer than its length field can say.
    pub fn send(&mut self, frames: &[Vec<u8>]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for frame in frames {
            let length = i32::try_from(frame.len()).expect("a test's frame fits its length field");
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(frame);
        }
        self.send_raw(&bytes)
    }

    /// Ends our direction of the connection; the server sees the end of the stream.
    pub fn shut_write(&mut self) {
        // A connection that is gone already needs no end.
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// Waits for the next frame.
    pub fn receive(&mut self, patience: Duration) -> Received {
        let mut length = [0; 4];
        match self.read_exact(&mut length, patience) {
            Received::Frame(_) => {}
            other => return other,
        }
        match usize::try_from(i32::from_be_bytes(length)) {
            Ok(length) if length <= FRAME_BYTES_MAX => {
                let mut frame = vec![0; length];
                match self.read_exact(&mut frame, patience) {
                    Received::Frame(_) => Received::Frame(frame),
                    other => other,
                }
            }
            // No server sends such a length: the stream is of no more use.
            _ => Received::Closed,
        }
    }

    fn read_exact(&mut self, bytes: &mut [u8], patience: Duration) -> Received {
        if self.stream.set_read_timeout(Some(patience)).is_err() {
            return Received::Closed;
        }
        match self.reader.read_exact(bytes) {
            Ok(()) => Received::Frame(Vec::new()),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Received::Silence,
            Err(_) => Received::Closed,
        }
    }
}

/// A reply: its header and what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The request's xid.
    pub xid: i32,
    /// The newest transaction that the reply reflects.
    pub zxid: i64,
    /// 0, or an error code.
    pub error: i32,
    /// The record after the header.
    pub body: Vec<u8>,
}

impl Reply {
    /// Splits a frame after its header.
    ///
    /// # Errors
    /// It is shorter than a header.
    pub fn decode(frame: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(frame);
        let xid = decoder.int("xid")?;
        let zxid = decoder.relative_long("zxid")?;
        let error = decoder.int("err")?;
        Ok(Reply { xid, zxid, error, body: decoder.rest().to_vec() })
    }
}

/// A connection with a session: the convenient client for tests that compare nothing byte by byte.
#[derive(Debug)]
pub struct Session {
    /// The connection.
    pub client: Client,
    /// What the server granted.
    pub granted: ConnectResponse,
    /// Watch events that came between replies, as frames.
    pub events: VecDeque<Vec<u8>>,
    next_xid: i32,
    patience: Duration,
}

impl Session {
    /// Connects and asks for a session, new or renewed.
    ///
    /// # Errors
    /// The server refuses, closes the connection or stays silent.
    pub fn connect(address: SocketAddr, request: &ConnectRequest) -> io::Result<Self> {
        Self::connect_within(address, request, Duration::from_secs(30))
    }

    /// The same, with a bound on each wait, those for replies too.
    ///
    /// # Errors
    /// `PermissionDenied` if the server says that there is no such session; else it closes the connection or
    /// stays silent.
    pub fn connect_within(
        address: SocketAddr,
        request: &ConnectRequest,
        patience: Duration,
    ) -> io::Result<Self> {
        let mut client = Client::open_within(address, patience)?;
        client.send(&[request.encode()])?;
        match client.receive(patience) {
            Received::Frame(frame) => {
                let granted = ConnectResponse::decode(&mut Decoder::new(&frame))
                    .map_err(|e| io::Error::other(format!("connect response: no {} at {}", e.what, e.at)))?;
                if granted.timeout_ms <= 0 {
                    return Err(io::Error::new(ErrorKind::PermissionDenied, "the session was refused"));
                }
                Ok(Session { client, granted, events: VecDeque::new(), next_xid: 1, patience })
            }
            Received::Closed => Err(io::Error::from(ErrorKind::ConnectionReset)),
            Received::Silence => Err(io::Error::from(ErrorKind::TimedOut)),
        }
    }

    /// Bounds the wait for a reply.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// A new session, which must be granted.
    ///
    /// # Panics
    /// It is not.
    pub fn begin(address: SocketAddr, timeout_ms: i32) -> Self {
        Self::connect(address, &ConnectRequest::new_session(timeout_ms)).unwrap_or_else(|e| panic!("{e}"))
    }

    /// What a client sends to come back to this session.
    pub fn renewal(&self) -> ConnectRequest {
        ConnectRequest {
            session_id: self.granted.session_id,
            password: self.granted.password.clone(),
            ..ConnectRequest::new_session(self.granted.timeout_ms)
        }
    }

    /// Sends a request that must succeed; returns its reply.
    ///
    /// # Panics
    /// It does not.
    pub fn ask(&mut self, op: i32, body: &[u8]) -> Reply {
        let reply = self.request(op, body).unwrap_or_else(|e| panic!("operation {op}: {e}"));
        assert_eq!(reply.error, 0, "operation {op}: {}", error_name(reply.error));
        reply
    }

    /// Sends one request and waits for its reply; events that come before it are kept.
    ///
    /// # Errors
    /// The connection ends, stays silent, or answers another request first.
    pub fn request(&mut self, op: i32, body: &[u8]) -> io::Result<Reply> {
        let xid = self.post(op, body)?;
        let reply = self.reply()?;
        if reply.xid == xid {
            Ok(reply)
        } else {
            Err(io::Error::other(format!("reply to {} where {xid} was due", reply.xid)))
        }
    }

    /// Sends a request without waiting; returns its xid.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn post(&mut self, op: i32, body: &[u8]) -> io::Result<i32> {
        let xid = match op {
            op::PING => xid::PING,
            op::AUTH => xid::AUTH,
            _ => {
                self.next_xid += 1;
                self.next_xid - 1
            }
        };
        let mut encoder = Encoder::request(xid, op);
        encoder.raw(body);
        self.client.send(&[encoder.bytes])?;
        Ok(xid)
    }

    /// Waits for the next reply; events that come before it are kept.
    ///
    /// # Errors
    /// The connection ends or stays silent.
    pub fn reply(&mut self) -> io::Result<Reply> {
        loop {
            match self.client.receive(self.patience) {
                Received::Frame(frame) => {
                    let reply = Reply::decode(&frame)
                        .map_err(|e| io::Error::other(format!("reply: no {} at {}", e.what, e.at)))?;
                    if reply.xid == xid::NOTIFICATION {
                        self.events.push_back(frame);
                    } else {
                        return Ok(reply);
                    }
                }
                Received::Closed => return Err(io::Error::from(ErrorKind::ConnectionReset)),
                Received::Silence => return Err(io::Error::from(ErrorKind::TimedOut)),
            }
        }
    }
}
