//! What goes over the wire: request templates that are encoded once and patched at each use, and a
//! scanner that finds the replies in a stream of bytes cut anywhere. Neither allocates for an
//! operation; a reply's body is counted and skipped, so no length from a server sets memory aside.

use ringkeeper_engine::jute::records::{
    ConnectRequest, ConnectResponse, MultiHeader, ReplyHeader, RequestHeader, SetDataRequest,
};
use ringkeeper_engine::jute::{DecodeError, Write, from_bytes};
use ringkeeper_engine::op::OpCode;
use std::fmt;

/// Digits of a directory's number in a path.
const DIRECTORY_DIGITS: usize = 6;
/// Digits of a node's number in a path.
const NAME_DIGITS: usize = 9;
/// Nodes in a numbered directory.
pub const DIRECTORY_NODES: u64 = 100;
/// The most nodes that the digits can name.
pub const NODES_MAX: u64 = 10u64.pow(DIRECTORY_DIGITS as u32) * DIRECTORY_NODES;

/// Bytes of a frame's length.
const LENGTH_BYTES: usize = 4;
const XID_AT: usize = LENGTH_BYTES;
/// Bytes of a reply's header: xid, zxid, err.
const REPLY_HEADER_BYTES: usize = 16;
const HEAD_BYTES: usize = LENGTH_BYTES + REPLY_HEADER_BYTES;
/// A handshake's answer is 36 or 37 bytes with ZooKeeper's passwords of 16; room for longer ones.
const HANDSHAKE_BYTES_MAX: usize = 1024;

/// A frame of one request, complete but for its xid and the numbers in its paths.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    places: Vec<Place>,
    /// Numbers of nodes are taken modulo this.
    nodes: u64,
}

/// Where a number goes in a frame.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: usize,
    what: Number,
    /// The number is that of the node so many behind the template's own.
    ahead: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Directory,
    Name,
}

impl Template {
    /// Of the request `op` with `body`, whose path starts the body. `body` is given the path with zeros
    /// in the places of its numbers.
    pub fn new(op: OpCode, path: &Path, body: impl FnOnce(&str, &mut Vec<u8>)) -> Template {
        let mut template = Template::begin(op);
        template.places(path, 0);
        body(&path.text, &mut template.bytes);
        template.end();
        template
    }

    /// A multi that sets `operations` nodes behind each other, numbered modulo `nodes`.
    pub fn multi(path: &Path, operations: u64, nodes: u64, value: &[u8]) -> Template {
        let mut template = Template { nodes, ..Template::begin(OpCode::Multi) };
        for ahead in 0..operations {
            MultiHeader { op: OpCode::SetData.code(), done: false, err: -1 }.write(&mut template.bytes);
            template.places(path, ahead);
            let path = (&path.text[..]).into();
            SetDataRequest { path, data: Some(value), version: -1 }.write(&mut template.bytes);
        }
        MultiHeader { op: -1, done: true, err: -1 }.write(&mut template.bytes);
        template.end();
        template
    }

    fn begin(op: OpCode) -> Template {
        let mut bytes = vec![0; LENGTH_BYTES];
        RequestHeader { xid: 0, op: op.code() }.write(&mut bytes);
        Template { bytes, places: Vec::new(), nodes: u64::MAX }
    }

    /// Notes the numbers of a path that is written next.
    fn places(&mut self, path: &Path, ahead: u64) {
        // The path's own length comes before its characters.
        let path_at = self.bytes.len() + LENGTH_BYTES;
        let numbers = [(path.directory_at, Number::Directory), (path.name_at, Number::Name)];
        let places = numbers.into_iter().filter_map(|(at, what)| Some((at?, what)));
        self.places.extend(places.map(|(at, what)| Place { at: path_at + at, what, ahead }));
    }

    fn end(&mut self) {
        let length = (self.bytes.len() - LENGTH_BYTES) as u32;
        self.bytes[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    }

    /// Appends the frame for the node numbered `node`, below [`NODES_MAX`].
    pub fn encode(&self, xid: i32, node: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let frame = &mut out[start..];
        frame[XID_AT..XID_AT + 4].copy_from_slice(&xid.to_be_bytes());
        for place in &self.places {
            let node = if place.ahead == 0 { node } else { (node + place.ahead) % self.nodes };
            match place.what {
                Number::Directory => {
                    write_digits(&mut frame[place.at..place.at + DIRECTORY_DIGITS], node / DIRECTORY_NODES);
                }
                Number::Name => write_digits(&mut frame[place.at..place.at + NAME_DIGITS], node),
            }
        }
    }
}

/// Where a template's requests go: a path with places for numbers.
#[derive(Clone, Debug, Default)]
pub struct Path {
    text: String,
    directory_at: Option<usize>,
    name_at: Option<usize>,
}

impl Path {
    /// Starts with fixed text.
    pub fn new(text: &str) -> Path {
        Path { text: text.to_owned(), ..Path::default() }
    }

    /// Goes on with the node's directory.
    pub fn directory(mut self) -> Path {
        self.text.push('/');
        self.directory_at = Some(self.text.len());
        self.text.push_str(&"0".repeat(DIRECTORY_DIGITS));
        self
    }

    /// Goes on with the node's own name: `prefix` and its number.
    pub fn name(mut self, prefix: &str) -> Path {
        self.text.push('/');
        self.text.push_str(prefix);
        self.name_at = Some(self.text.len());
        self.text.push_str(&"0".repeat(NAME_DIGITS));
        self
    }

    /// The path of the node with the number 0.
    pub fn first(&self) -> &str {
        &self.text
    }

    /// Goes on with fixed text.
    pub fn then(mut self, text: &str) -> Path {
        self.text.push_str(text);
        self
    }
}

/// Writes `number` with leading zeros; digits that do not fit are left out.
fn write_digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// The frame that opens a session.
pub fn handshake(timeout_ms: i32) -> Vec<u8> {
    let mut frame = vec![0; LENGTH_BYTES];
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: 0,
        time_out: timeout_ms,
        session_id: 0,
        passwd: Some(&[0; 16]),
    }
    .write(&mut frame);
    // Clients since 3.4 say whether a read-only server would do.
    false.write(&mut frame);
    let length = (frame.len() - LENGTH_BYTES) as u32;
    frame[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    frame
}

/// Reads a handshake's answer: the session's id.
///
/// # Errors
/// The connection breaks, or the answer is none, or the server refuses the session.
pub fn read_handshake(from: &mut impl std::io::Read) -> Result<i64, HandshakeError> {
    let mut length = [0; LENGTH_BYTES];
    from.read_exact(&mut length)?;
    let mut body = vec![0; handshake_length(length)?];
    from.read_exact(&mut body)?;
    session_of(&body)
}

/// The session's id, once `bytes` are all of a handshake's answer.
///
/// # Errors
/// The answer is none, or the server refuses the session.
pub fn handshake_answer(bytes: &[u8]) -> Result<Option<i64>, HandshakeError> {
    let Some((&length, rest)) = bytes.split_first_chunk() else { return Ok(None) };
    rest.get(..handshake_length(length)?).map(session_of).transpose()
}

fn handshake_length(bytes: [u8; LENGTH_BYTES]) -> Result<usize, HandshakeError> {
    let length = i32::from_be_bytes(bytes);
    let known = usize::try_from(length).ok().filter(|&bytes| bytes <= HANDSHAKE_BYTES_MAX);
    known.ok_or(HandshakeError::Length(length))
}

fn session_of(body: &[u8]) -> Result<i64, HandshakeError> {
    let answer: ConnectResponse<'_> = from_bytes(body).map_err(HandshakeError::Body)?;
    if answer.session_id == 0 || answer.time_out <= 0 {
        return Err(HandshakeError::Refused);
    }
    Ok(answer.session_id)
}

/// Why a session was not opened.
#[derive(Debug)]
pub enum HandshakeError {
    /// The connection broke.
    Io(std::io::Error),
    /// The answer's length is none that a handshake has.
    Length(i32),
    /// The answer is not a handshake's.
    Body(DecodeError),
    /// The server gives no session.
    Refused,
}

impl From<std::io::Error> for HandshakeError {
    fn from(error: std::io::Error) -> Self {
        HandshakeError::Io(error)
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandshakeError::Io(error) => write!(f, "{error}"),
            HandshakeError::Length(length) => write!(f, "its answer to the handshake claims {length} bytes"),
            HandshakeError::Body(error) => write!(f, "its answer to the handshake: {error}"),
            HandshakeError::Refused => write!(f, "it refuses a new session"),
        }
    }
}

/// A frame from the server that cannot be a reply: the length that it claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoReply(pub i32);

impl fmt::Display for NoReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a frame of {} bytes, where a reply has at least {REPLY_HEADER_BYTES}", self.0)
    }
}

/// Finds replies in a stream.
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    /// The first bytes of a frame whose head was cut.
    head: [u8; HEAD_BYTES],
    head_have: usize,
    /// A frame whose head is known, and how much of its body is to come.
    open: Option<(ReplyHeader, usize)>,
}

impl Scanner {
    /// Takes the next bytes of the stream, and calls `on_reply` for each reply that they complete,
    /// in order.
    ///
    /// # Errors
    /// A frame too short for a reply; the stream cannot be followed further.
    pub fn feed(&mut self, mut bytes: &[u8], mut on_reply: impl FnMut(ReplyHeader)) -> Result<(), NoReply> {
        loop {
            if let Some((reply, left)) = &mut self.open {
                let skipped = bytes.len().min(*left);
                bytes = &bytes[skipped..];
                *left -= skipped;
                if *left > 0 {
                    return Ok(());
                }
                on_reply(*reply);
                self.open = None;
            }
            let opened = if self.head_have == 0
                && let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>()
            {
                bytes = rest;
                head_of(head)?
            } else {
                let taken = bytes.len().min(HEAD_BYTES - self.head_have);
                self.head[self.head_have..self.head_have + taken].copy_from_slice(&bytes[..taken]);
                self.head_have += taken;
                bytes = &bytes[taken..];
                if self.head_have < HEAD_BYTES {
                    return Ok(());
                }
                self.head_have = 0;
                head_of(&self.head)?
            };
            self.open = Some(opened);
        }
    }
}

/// A frame's head: the reply's header and how many bytes of body follow.
fn head_of(head: &[u8; HEAD_BYTES]) -> Result<(ReplyHeader, usize), NoReply> {
    let length = i32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let body = usize::try_from(length).ok().and_then(|length| length.checked_sub(REPLY_HEADER_BYTES));
    let header = from_bytes(&head[LENGTH_BYTES..]).map_err(|_| NoReply(length))?;
    Ok((header, body.ok_or(NoReply(length))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ringkeeper_engine::jute::Reader;

    fn reply(xid: i32, err: i32, body: usize) -> Vec<u8> {
        let mut frame = ((REPLY_HEADER_BYTES + body) as u32).to_be_bytes().to_vec();
        ReplyHeader { xid, zxid: 7, err }.write(&mut frame);
        frame.resize(HEAD_BYTES + body, 0xff);
        frame
    }

    #[test]
    fn a_patched_template_is_the_request_encoded_in_full() {
        let path = Path::new("/bench").directory().name("");
        let template = Template::new(OpCode::SetData, &path, |path, out| {
            SetDataRequest { path: path.into(), data: Some(b"xyz"), version: -1 }.write(out);
        });
        let mut out = b"before".to_vec();
        template.encode(77, 123_456, &mut out);
        let frame = &out[b"before".len()..];
        let mut reader = Reader::new(frame);
        assert_eq!(reader.read::<i32>().unwrap() as usize, frame.len() - LENGTH_BYTES);
        let header: RequestHeader = reader.read().unwrap();
        assert_eq!(header, RequestHeader { xid: 77, op: OpCode::SetData.code() });
        let request: SetDataRequest<'_> = reader.read().unwrap();
        assert_eq!(request.path, "/bench/001234/000123456");
        assert_eq!((request.data, request.version), (Some(&b"xyz"[..]), -1));
        assert!(reader.rest().is_empty());
    }

    #[test]
    fn a_multi_sets_nodes_behind_each_other_and_begins_again() {
        let path = Path::new("/bench").directory().name("");
        let mut out = Vec::new();
        Template::multi(&path, 3, 250, b"xyz").encode(5, 249, &mut out);
        let mut reader = Reader::new(&out[LENGTH_BYTES..]);
        assert_eq!(reader.read::<RequestHeader>().unwrap().op, OpCode::Multi.code());
        for node in ["/bench/000002/000000249", "/bench/000000/000000000", "/bench/000000/000000001"] {
            assert_eq!(reader.read::<MultiHeader>().unwrap().op, OpCode::SetData.code());
            assert_eq!(reader.read::<SetDataRequest<'_>>().unwrap().path, node);
        }
        assert!(reader.read::<MultiHeader>().unwrap().done);
        assert!(reader.rest().is_empty());
    }

    #[test]
    fn the_largest_node_number_fits_its_digits() {
        let mut place = [0; NAME_DIGITS];
        write_digits(&mut place, NODES_MAX - 1);
        assert_eq!(&place, b"099999999");
        let mut place = [0; DIRECTORY_DIGITS];
        write_digits(&mut place, (NODES_MAX - 1) / DIRECTORY_NODES);
        assert_eq!(&place, b"999999");
    }

    #[test]
    fn a_frame_shorter_than_a_reply_is_named() {
        for length in [-1, 0, 15, i32::MIN] {
            let mut bytes = length.to_be_bytes().to_vec();
            bytes.resize(HEAD_BYTES, 0);
            assert_eq!(Scanner::default().feed(&bytes, |_| panic!("a reply")), Err(NoReply(length)));
        }
    }

    #[test]
    fn a_claimed_handshake_length_allocates_nothing() {
        let bytes = i32::MAX.to_be_bytes();
        assert!(matches!(read_handshake(&mut &bytes[..]), Err(HandshakeError::Length(i32::MAX))));
        assert!(matches!(handshake_answer(&bytes), Err(HandshakeError::Length(i32::MAX))));
    }

    #[test]
    fn a_handshakes_answer_may_come_in_pieces() {
        let mut answer = vec![0; LENGTH_BYTES];
        ConnectResponse { protocol_version: 0, time_out: 5, session_id: 77, passwd: Some(&[1; 16]) }
            .write(&mut answer);
        let length = (answer.len() - LENGTH_BYTES) as u32;
        answer[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        for cut in 0..answer.len() {
            assert!(matches!(handshake_answer(&answer[..cut]), Ok(None)), "{cut}");
        }
        assert!(matches!(handshake_answer(&answer), Ok(Some(77))));
    }

    proptest! {
        #[test]
        fn replies_are_the_same_however_the_stream_is_cut(
            bodies in prop::collection::vec(0usize..70, 1..20),
            cuts in prop::collection::vec(0usize..2000, 0..40),
        ) {
            let mut stream = Vec::new();
            let mut expected = Vec::new();
            for (index, &body) in bodies.iter().enumerate() {
                let err = -(body as i32 % 3);
                stream.extend(reply(index as i32, err, body));
                expected.push((index as i32, err));
            }
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let (mut scanner, mut found) = (Scanner::default(), Vec::new());
            for part in cuts.windows(2) {
                scanner.feed(&stream[part[0]..part[1]], |r| found.push((r.xid, r.err))).unwrap();
            }
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn no_bytes_panic_the_scanner(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Scanner::default().feed(&bytes, |_| ());
        }
    }
}
