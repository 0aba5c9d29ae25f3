//! Requests that are none: each operation's request cut after every byte, each of its numbers and
//! lengths replaced by values that lie, each of its strings made invalid UTF-8.
//!
//! The result is a script, so that a Java ZooKeeper says what the answers are.

use std::fmt::Write as _;

use crate::script::{Action, Field, ParseError, Request, Script};
use crate::wire::op;

/// One well-formed request of every operation that a client may send.
///
/// Left out: a check outside a multi and createSession, which Java answers with nothing or a second
/// handshake; and deleteContainer, whose path 3.8.0 reads in a way of its own.
pub const REQUESTS: [&str; 29] = [
    "create /m/new \"data\" acl=r@digest:bob:x,rw@world:anyone",
    "create /m/eph \"\" flags=ephemeral",
    "create2 /m/s- \"data\" flags=sequential",
    "createContainer /m/box \"data\"",
    "createTTL /m/ttl \"data\" ttl=1000",
    "delete /m/gone -1",
    "exists /m watch",
    "getData /m watch",
    "setData /m \"data\" -1",
    "getACL /m",
    "setACL /m rwcda@world:anyone -1",
    "getChildren /m watch",
    "getChildren2 /m watch",
    "sync /m",
    "ping",
    "multi { create /m/x \"1\"; setData /m/x \"2\" 0; check /m/x 1; delete /m/x 1 }",
    "multiRead { getData /m; getChildren /m }",
    "reconfig joining=a leaving=b members=c config=1",
    "checkWatches /m data",
    "removeWatches /m any",
    "setWatches since=0 data=/m,/n exist=/x child=/m",
    "setWatches2 since=0 data=/m exist=/x child=/m persistent=/p recursive=/q",
    "addWatch /m/w persistent",
    "getEphemerals /m",
    "getAllChildrenNumber /m",
    "whoAmI",
    "auth digest \"bob:secret\"",
    "sasl \"token\"",
    "raw 77 \"unknown\"",
];

/// What a number or a length is replaced by.
const LIES: [i32; 4] = [-2, -1, 0, i32::MAX];

/// What a string's first bytes are replaced by: a byte that no UTF-8 holds, a start without its
/// rest, an overlong slash, a surrogate, a zero.
const BROKEN_TEXT: [&[u8]; 5] = [b"\xff", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\0"];

/// A request's bytes, and where in them something can be spoilt.
#[derive(Clone, Debug, Default)]
pub struct Spoilable {
    /// The operation.
    pub op: i32,
    /// The record, without its header.
    pub body: Vec<u8>,
    /// Where four bytes hold a number or a length.
    pub numbers: Vec<usize>,
    /// Where a string's bytes lie.
    pub texts: Vec<std::ops::Range<usize>>,
}

impl Spoilable {
    /// Encodes a request of a script.
    ///
    /// # Errors
    /// The line is none of the language.
    ///
    /// # Panics
    /// The line is no single request.
    pub fn of(line: &str) -> Result<Self, ParseError> {
        let script = Script::parse(&format!("A {line}"))?;
        let Some(Action::Requests(requests)) = script.steps.first().map(|step| &step.action) else {
            panic!("`{line}` is no request");
        };
        Ok(Spoilable::encode(&requests[0]))
    }

    fn encode(request: &Request) -> Self {
        let mut all = Spoilable { op: request.op, ..Spoilable::default() };
        for field in &request.fields {
            match field {
                Field::Int(value) => {
                    all.numbers.push(all.body.len());
                    all.body.extend_from_slice(&value.to_be_bytes());
                }
                Field::Long(value) => all.body.extend_from_slice(&value.to_be_bytes()),
                Field::Boolean(value) => all.body.push(u8::from(*value)),
                Field::Raw(bytes) => all.body.extend_from_slice(bytes),
                Field::Zxid(_) => all.body.extend_from_slice(&[0; 8]),
                Field::Text(text) => {
                    all.numbers.push(all.body.len());
                    let bytes = text.bytes.as_deref().unwrap_or_default();
                    let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
                    let length = if text.bytes.is_none() { -1 } else { length };
                    all.body.extend_from_slice(&length.to_be_bytes());
                    let start = all.body.len();
                    all.body.extend_from_slice(bytes);
                    all.texts.push(start..all.body.len());
                }
            }
        }
        all
    }

    /// Every spoilt body.
    pub fn spoilt(&self) -> Vec<Vec<u8>> {
        let mut all: Vec<Vec<u8>> = (0..self.body.len()).map(|end| self.body[..end].to_vec()).collect();
        // A persistent watch on a null path keeps 3.8.0 from ever closing its connection.
        let null_hangs = matches!(self.op, op::ADD_WATCH | op::SET_WATCHES2);
        for at in &self.numbers {
            for lie in LIES.into_iter().filter(|lie| *lie != -1 || !null_hangs) {
                let mut body = self.body.clone();
                body[*at..*at + 4].copy_from_slice(&lie.to_be_bytes());
                all.push(body);
            }
        }
        for span in &self.texts {
            for broken in BROKEN_TEXT.iter().filter(|broken| broken.len() <= span.len()) {
                let mut body = self.body.clone();
                body[span.start..span.start + broken.len()].copy_from_slice(broken);
                all.push(body);
            }
        }
        all
    }
}

/// The script of all spoilt requests, and of frames too short for a header.
///
/// Session B does nothing but read; it must not notice.
///
/// # Errors
/// A request of the table is none of the language.
pub fn script() -> Result<String, ParseError> {
    let mut text = String::from(
        "A connect timeout=600000\nB connect timeout=600000\nA create /m \"\"\nB create /b \"mine\"\n\
         B create /b/e \"\" flags=ephemeral\n",
    );
    text.insert_str(0, "@config maxSessionTimeout=600000\n");
    for line in REQUESTS {
        let request = Spoilable::of(line)?;
        let _ = writeln!(text, "# {line}");
        for body in request.spoilt() {
            let _ = writeln!(
                text,
                "A raw {} x:{} xid=9 ! \"\"{}",
                request.op,
                hex(&body),
                may_differ(request.op)
            );
            // An unknown operation is refused and costs the connection.
            if request.op == 77 {
                text.push_str("A closed\n");
            }
            // So may auth and SASL, which are read as the frame arrives.
            if matches!(request.op, op::AUTH | op::SASL | 77) {
                text.push_str("A reconnect timeout=600000\n");
            }
        }
        text.push_str("B getData /b\n");
    }
    for length in 0..8 {
        let _ = writeln!(text, "A frame x:{}", "00".repeat(length));
        text.push_str("A closed\nA reconnect timeout=600000\n");
    }
    for length in ["ffffffff", "fffffffe", "80000000", "7fffffff", "00100000"] {
        let _ = writeln!(text, "A send x:{length}");
        text.push_str("A closed\nA reconnect timeout=600000\n");
    }
    text.push_str("B walk /b\nB getEphemerals /\nA walk /\n");
    Ok(text)
}

/// The known differences that a spoilt request of this operation may show.
fn may_differ(operation: i32) -> &'static str {
    match operation {
        op::MULTI => " ~?multi-create-mode-spoilt,error-with-a-record",
        op::CHECK_WATCHES => " ~?check-of-a-path-that-is-none,check-of-anothers-watch",
        _ => "",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
