//! Requests of a learner's clients, many in one packet: between two Ringkeepers alone. Java's REQUEST
//! carries one, with all that its client has proved; here what several clients have in common is said once.
//!
//! ```text
//! data    = count i32, that many vectors of Id, request*            (jute, big-endian)
//! request = session i64, xid i32, op i32, position i32 of what the client has proved, record buffer
//! ```

use super::packet::{PacketType, QuorumPacket};
use super::{MessageError, Result};
use bytes::Bytes;
use ringkeeper_engine::auth::{AuthId, AuthInfo};
use ringkeeper_engine::id::SessionId;
use ringkeeper_engine::jute::records::Id;
use ringkeeper_engine::jute::{Reader, Write};
use std::ops::Range;
use std::sync::Arc;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    auths: Vec<AuthInfo>,
    items: Vec<Item>,
    /// The records, and perhaps more.
    bytes: Records,
}

/// The records' memory: grows while requests gather, and is a packet's where they came in one.
#[derive(Clone, Debug)]
enum Records {
    Gathering(Vec<u8>),
    Come(Bytes),
}

impl Default for Records {
    fn default() -> Self {
        Records::Gathering(Vec::new())
    }
}

impl std::ops::Deref for Records {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Records::Gathering(bytes) => bytes,
            Records::Come(bytes) => bytes,
        }
    }
}

#[derive(Clone, Debug)]
struct Item {
    session: SessionId,
    xid: i32,
    op: i32,
    auth: u32,
    body: Range<usize>,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded<'r> {
    /// The client's session.
    pub session: SessionId,
    /// The client's number for it.
    pub xid: i32,
    /// The operation.
    pub op: i32,
    /// The request's record.
    pub body: &'r [u8],
    /// What the client has proved.
    pub auth: &'r AuthInfo,
}

fn id(auth: &AuthId) -> Id<'_> {
    Id { scheme: Some(auth.scheme.as_ref().into()), id: Some(auth.id.as_ref().into()) }
}

impl Requests {
    /// Adds one.
    pub fn push(&mut self, session: SessionId, xid: i32, op: i32, body: &[u8], auth: &AuthInfo) {
        if self.auths.last().is_none_or(|last| !Arc::ptr_eq(last, auth)) {
            self.auths.push(Arc::clone(auth));
        }
        let Records::Gathering(bytes) = &mut self.bytes else { panic!("it came from a peer") };
        let start = bytes.len();
        bytes.extend_from_slice(body);
        let (auth, body) = (self.auths.len() as u32 - 1, start..bytes.len());
        self.items.push(Item { session, xid, op, auth, body });
    }

    /// Bytes of the records.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Each, in its order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Forwarded<'_>> {
        self.items.iter().map(|Item { session, xid, op, auth, body }| Forwarded {
            session: *session,
            xid: *xid,
            op: *op,
            body: &self.bytes[body.clone()],
            auth: &self.auths[*auth as usize],
        })
    }

    pub(super) fn encode(&self, zxid: i64, out: &mut Vec<u8>) {
        let data = |out: &mut Vec<u8>| {
            (self.auths.len() as i32).write(out);
            for auth in &self.auths {
                auth.iter().map(id).collect::<Vec<_>>().write(out);
            }
            for Item { session, xid, op, auth, body } in &self.items {
                session.0.write(out);
                xid.write(out);
                op.write(out);
                (*auth as i32).write(out);
                self.bytes[body.clone()].write(out);
            }
        };
        QuorumPacket::encode_with(PacketType::Requests, zxid, data, out);
    }

    pub(super) fn decode(data: &[u8], stream: &Bytes) -> Result<Requests> {
        let bytes = stream.slice_ref(data);
        let mut r = Reader::new(data);
        let count: i32 = r.read()?;
        let mut auths = Vec::new();
        for _ in 0..count {
            let ids: Vec<Id<'_>> = r.read()?;
            let text = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().unwrap_or("").into();
            auths.push(ids.iter().map(|id| AuthId { scheme: text(&id.scheme), id: text(&id.id) }).collect());
        }
        let mut items = Vec::new();
        while !r.rest().is_empty() {
            let (session, xid, op, auth): (_, _, _, i32) =
                (SessionId(r.read()?), r.read()?, r.read()?, r.read()?);
            let wrong =
                MessageError::Value { field: "position of what a client has proved", value: auth.into() };
            let auth = u32::try_from(auth).ok().filter(|at| (*at as usize) < auths.len()).ok_or(wrong)?;
            let body: Option<&[u8]> = r.read()?;
            let (body, end) = (r.require(body)?, r.position());
            items.push(Item { session, xid, op, auth, body: end - body.len()..end });
        }
        Ok(Requests { auths, items, bytes: Records::Come(bytes) })
    }
}

/// Equal requests are equal wherever they lie.
impl PartialEq for Requests {
    fn eq(&self, other: &Requests) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Requests {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ToLeader;

    fn requests() -> Requests {
        let ip = |id: &str| AuthInfo::from([AuthId { scheme: "ip".into(), id: id.into() }]);
        let (first, second) = (ip("::1"), AuthInfo::from([]));
        let mut requests = Requests::default();
        requests.push(SessionId(7), 1, 5, b"/a", &first);
        requests.push(SessionId(7), 2, 5, b"", &first);
        requests.push(SessionId(8), -4, 1, b"/bc", &second);
        requests
    }

    #[test]
    fn many_requests_lie_in_one_packet_and_say_once_who_asks() {
        let mut out = Vec::new();
        ToLeader::Requests(requests()).encode(&mut out);
        let expected = [
            &b"\0\0\0\x66\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\x66"[..],
            b"\0\0\0\x02\0\0\0\x01\0\0\0\x02ip\0\0\0\x03::1\0\0\0\0",
            b"\0\0\0\0\0\0\0\x07\0\0\0\x01\0\0\0\x05\0\0\0\0\0\0\0\x02/a",
            b"\0\0\0\0\0\0\0\x07\0\0\0\x02\0\0\0\x05\0\0\0\0\0\0\0\0",
            b"\0\0\0\0\0\0\0\x08\xff\xff\xff\xfc\0\0\0\x01\0\0\0\x01\0\0\0\x03/bc",
            b"\xff\xff\xff\xff",
        ];
        assert_eq!(out, expected.concat());
        let stream = Bytes::from(out);
        let (packet, length) = QuorumPacket::decode(&stream, 1000).unwrap().unwrap();
        assert_eq!(
            (length, ToLeader::decode(&packet, &stream)),
            (stream.len(), Ok(ToLeader::Requests(requests())))
        );
    }

    #[test]
    fn requests_cut_short_or_of_nobody_are_an_error() {
        let mut out = Vec::new();
        ToLeader::Requests(requests()).encode(&mut out);
        let data = Bytes::from(out).slice(16..);
        let data = data.slice(..data.len() - 4);
        let whole = [25, 51, 75, data.len()];
        for length in 0..=data.len() {
            assert_eq!(
                Requests::decode(&data[..length], &data).is_ok(),
                whole.contains(&length),
                "{length} bytes"
            );
        }
        for auth in [2i32, -1] {
            let mut wrong = data.to_vec();
            wrong[41..45].copy_from_slice(&auth.to_be_bytes());
            let wrong = Bytes::from(wrong);
            assert!(Requests::decode(&wrong, &wrong).is_err(), "position {auth}");
        }
    }
}
