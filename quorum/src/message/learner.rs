//! What a learner and its leader say to each other on the quorum port, protocol 0x10000, each
//! message as a value; and its `QuorumPacket`.
//!
//! Between two Ringkeepers both sides add [`EXTENSION`] behind their version, which Java's servers
//! skip: `LearnerHandler.run` and `Learner.registerWithLeader` read only the fields that they know.
//! Where both did, an ack or a commit stands for all transactions up to its zxid, the leader proposes
//! many transactions in one packet (PROPOSALS), and the learner forwards many requests in one (REQUESTS). A
//! Ringkeeper that says another version is spoken to as a Java server is.

use super::batch::Batch;
use super::packet::{PacketType, QuorumPacket};
use super::requests::Requests;
use super::{MessageError, Result, server_id};
use bytes::Bytes;
use ringkeeper_engine::auth::AuthId;
use ringkeeper_engine::id::{Epoch, ServerId, SessionId, Zxid};
use ringkeeper_engine::jute::records::Id;
use ringkeeper_engine::jute::{DecodeError, Reader, Write};
use std::fmt;

/// The learner protocol's version, since ZooKeeper 3.4.
pub const PROTOCOL_VERSION: i32 = 0x10000;

/// Says that the sender is a Ringkeeper, and the version of what we agree on among ourselves.
pub const EXTENSION: [u8; 8] = *b"RKPEER\0\x02";

/// Where a packet has no transaction to name.
const NO_ZXID: i64 = -1;

/// A transaction as the leader proposes it: its header, record and digest in jute, the same bytes
/// in the log and on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Its place in the order.
    pub zxid: Zxid,
    /// Its jute bytes.
    pub bytes: Bytes,
}

/// Who a learner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnerInfo {
    /// Its number.
    pub server: ServerId,
    /// The version of its configuration.
    pub config_version: u64,
    /// Whether it is a Ringkeeper.
    pub extended: bool,
}

/// What a learner tells its leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToLeader {
    /// FOLLOWERINFO: a participant introduces itself (CEPOCH).
    FollowerInfo {
        /// The newest epoch that it accepted.
        accepted: Epoch,
        /// Who it is.
        info: LearnerInfo,
    },
    /// OBSERVERINFO: an observer introduces itself.
    ObserverInfo {
        /// The newest epoch that it accepted.
        accepted: Epoch,
        /// Who it is.
        info: LearnerInfo,
    },
    /// ACKEPOCH: it accepted the leader's epoch.
    AckEpoch {
        /// Its current epoch; `None` if it had accepted the epoch before, so that this must not
        /// count once more.
        current: Option<Epoch>,
        /// The end of its log.
        last: Zxid,
    },
    /// ACK: the transaction is on its disk; with a counter of zero, everything before NEWLEADER is.
    Ack(Zxid),
    /// PING, answered: the sessions that showed a sign of life, with their timeouts in milliseconds.
    Ping {
        /// What the leader's ping said.
        zxid: i64,
        /// Sessions and timeouts.
        touched: Vec<(SessionId, i32)>,
    },
    /// REVALIDATE: a client came back to this server with its session.
    Revalidate {
        /// Which.
        session: SessionId,
        /// Negotiated, in milliseconds.
        timeout_ms: i32,
    },
    /// REQUEST: a client's write or sync, to be ordered.
    Request {
        /// The client's session.
        session: SessionId,
        /// The client's number for it.
        xid: i32,
        /// The operation.
        op: i32,
        /// The request's record.
        body: Bytes,
        /// What the client has proved; Java may send none.
        auth: Option<Vec<AuthId>>,
    },
    /// REQUESTS: the same, of several clients, between two Ringkeepers.
    Requests(Requests),
}

/// What a leader tells a learner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToLearner {
    /// LEADERINFO: the leader's new epoch (NEWEPOCH).
    LeaderInfo {
        /// The epoch.
        epoch: Epoch,
        /// Whether both sides are Ringkeepers.
        extended: bool,
    },
    /// DIFF: what the learner has is right; the rest follows.
    Diff(Zxid),
    /// TRUNC: what the learner has after this transaction is not in the leader's log.
    Trunc(Zxid),
    /// SNAP: a whole tree follows, which has everything up to here.
    Snap(Zxid),
    /// NEWLEADER: the learner has been sent the leader's log.
    NewLeader {
        /// The leader's epoch.
        epoch: Epoch,
        /// The leader's newest configuration, in its text form.
        members: Option<Bytes>,
    },
    /// UPTODATE: the epoch is established; the learner may serve.
    UpToDate,
    /// PROPOSAL: log this.
    Proposal(Transaction),
    /// PROPOSALS: log these, between two Ringkeepers. Observers are sent what is committed alone.
    Proposals(Batch),
    /// COMMIT: apply this. A Ringkeeper that hears it from another applies what its own disk has, and the
    /// rest when its disk has that, too: then it is committed, though perhaps not before.
    Commit(Zxid),
    /// COMMITANDACTIVATE: apply this change of the configuration.
    CommitAndActivate {
        /// The transaction.
        zxid: Zxid,
        /// Who leads from then on.
        leader: ServerId,
    },
    /// INFORM: an observer logs and applies this.
    Inform(Transaction),
    /// INFORMANDACTIVATE: an observer logs and applies this change of the configuration.
    InformAndActivate {
        /// The transaction.
        transaction: Transaction,
        /// Who leads from then on.
        leader: ServerId,
    },
    /// PING: are you there?
    Ping(i64),
    /// REVALIDATE, answered.
    Revalidate {
        /// Which session.
        session: SessionId,
        /// Whether it lives.
        valid: bool,
    },
    /// SYNC: everything that was committed when the learner asked has been sent before this.
    Sync,
}

fn epoch_zxid(epoch: Epoch) -> i64 {
    (u64::from(epoch.0) << 32) as i64
}

impl LearnerInfo {
    /// The record `LearnerInfo`: long, int, long; then the extension.
    fn to_bytes(self) -> Vec<u8> {
        let mut data = Vec::with_capacity(20 + EXTENSION.len());
        i64::from(self.server.0).write(&mut data);
        PROTOCOL_VERSION.write(&mut data);
        (self.config_version as i64).write(&mut data);
        if self.extended {
            data.extend_from_slice(&EXTENSION);
        }
        data
    }

    fn decode(data: &[u8]) -> Result<Self> {
        let mut r = Reader::new(data);
        let server = server_id("server number", r.read()?)?;
        let version: i32 = r.read()?;
        if version < PROTOCOL_VERSION {
            return Err(MessageError::Value { field: "learner protocol version", value: version.into() });
        }
        let config_version: i64 = if r.rest().is_empty() { 0 } else { r.read()? };
        let extended = r.rest().starts_with(&EXTENSION);
        Ok(LearnerInfo { server, config_version: config_version as u64, extended })
    }
}

impl ToLeader {
    /// Appends the message's packet.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut data = Vec::new();
        let (kind, zxid) = match self {
            ToLeader::FollowerInfo { accepted, info } => {
                data = info.to_bytes();
                (PacketType::FollowerInfo, epoch_zxid(*accepted))
            }
            ToLeader::ObserverInfo { accepted, info } => {
                data = info.to_bytes();
                (PacketType::ObserverInfo, epoch_zxid(*accepted))
            }
            ToLeader::AckEpoch { current, last } => {
                current.map_or(-1, |epoch| epoch.0 as i32).write(&mut data);
                (PacketType::AckEpoch, last.to_jute())
            }
            ToLeader::Ack(zxid) => {
                return QuorumPacket::new(PacketType::Ack, zxid.to_jute(), None).encode(out);
            }
            ToLeader::Ping { zxid, touched } => {
                for (session, timeout) in touched {
                    session.0.write(&mut data);
                    timeout.write(&mut data);
                }
                (PacketType::Ping, *zxid)
            }
            ToLeader::Revalidate { session, timeout_ms } => {
                session.0.write(&mut data);
                timeout_ms.write(&mut data);
                (PacketType::Revalidate, NO_ZXID)
            }
            ToLeader::Requests(requests) => return requests.encode(NO_ZXID, out),
            ToLeader::Request { session, xid, op, body, auth } => {
                session.0.write(&mut data);
                xid.write(&mut data);
                op.write(&mut data);
                data.extend_from_slice(body);
                let id = |auth: &'_ AuthId| Id {
                    scheme: Some(auth.scheme.to_string().into()),
                    id: Some(auth.id.to_string().into()),
                };
                let auth = auth.as_ref().map(|auth| auth.iter().map(id).collect());
                let packet =
                    QuorumPacket { kind: PacketType::Request, zxid: NO_ZXID, data: Some(&data), auth };
                return packet.encode(out);
            }
        };
        QuorumPacket::new(kind, zxid, Some(&data)).encode(out);
    }

    /// The message of a packet that was read off `stream`.
    ///
    /// # Errors
    /// A type that a learner does not send, data that are missing or too short.
    pub fn decode(packet: &QuorumPacket<'_>, stream: &Bytes) -> Result<Self> {
        let zxid = Zxid::from_jute(packet.zxid);
        Ok(match packet.kind {
            PacketType::FollowerInfo => {
                ToLeader::FollowerInfo { accepted: zxid.epoch(), info: LearnerInfo::decode(packet.data()?)? }
            }
            PacketType::ObserverInfo => {
                ToLeader::ObserverInfo { accepted: zxid.epoch(), info: LearnerInfo::decode(packet.data()?)? }
            }
            PacketType::AckEpoch => {
                let current: i32 = packet.record()?;
                let current = (current != -1).then_some(Epoch(current as u32));
                ToLeader::AckEpoch { current, last: zxid }
            }
            PacketType::Ack => ToLeader::Ack(zxid),
            PacketType::Ping => {
                let mut r = Reader::new(packet.data.unwrap_or_default());
                let mut touched = Vec::with_capacity(r.rest().len() / 12);
                while !r.rest().is_empty() {
                    touched.push((SessionId(r.read()?), r.read()?));
                }
                ToLeader::Ping { zxid: packet.zxid, touched }
            }
            PacketType::Revalidate => {
                let mut r = Reader::new(packet.data()?);
                ToLeader::Revalidate { session: SessionId(r.read()?), timeout_ms: r.read()? }
            }
            PacketType::Request => {
                let mut r = Reader::new(packet.data()?);
                let (session, xid, op) = (SessionId(r.read()?), r.read()?, r.read()?);
                let text = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().unwrap_or("").into();
                let id = |id: &Id<'_>| AuthId { scheme: text(&id.scheme), id: text(&id.id) };
                let auth = packet.auth.as_ref().map(|auth| auth.iter().map(id).collect());
                ToLeader::Request { session, xid, op, body: stream.slice_ref(r.rest()), auth }
            }
            PacketType::Requests => ToLeader::Requests(Requests::decode(packet.data()?, stream)?),
            other => return Err(wrong_side(other)),
        })
    }
}

/// Its name, and whom or what it is about.
impl fmt::Display for ToLeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ToLeader::FollowerInfo { accepted, info } => {
                write!(f, "FOLLOWERINFO of server {}, accepted epoch {}", info.server.0, accepted.0)
            }
            ToLeader::ObserverInfo { accepted, info } => {
                write!(f, "OBSERVERINFO of server {}, accepted epoch {}", info.server.0, accepted.0)
            }
            ToLeader::AckEpoch { last, .. } => write!(f, "ACKEPOCH {last}"),
            ToLeader::Ack(zxid) => write!(f, "ACK {zxid}"),
            ToLeader::Ping { .. } => write!(f, "PING"),
            ToLeader::Revalidate { session, .. } => write!(f, "REVALIDATE of session {session}"),
            ToLeader::Request { session, .. } => write!(f, "REQUEST of session {session}"),
            ToLeader::Requests(_) => write!(f, "REQUESTS"),
        }
    }
}

/// Bytes of proposals that a packet has at most, unless one alone has more. What clients ask for at once may be
/// more by far, and a learner takes no packet that is longer than the longest transaction can be.
const PROPOSALS_BYTES_MAX: usize = 16 << 20;

/// Appends PROPOSALS with all of these, which follow each other: one packet, unless that is too long.
pub fn encode_proposals(batches: &[Batch], out: &mut Vec<u8>) {
    let Some(newest) = batches.last() else { return };
    let bytes: usize = batches.iter().map(|batch| batch.entries().len()).sum();
    if bytes <= PROPOSALS_BYTES_MAX {
        let entries =
            |out: &mut Vec<u8>| batches.iter().for_each(|batch| out.extend_from_slice(batch.entries()));
        return QuorumPacket::encode_with(PacketType::Proposals, newest.last().to_jute(), entries, out);
    }
    for (last, entries) in batches.iter().flat_map(|batch| batch.pieces(PROPOSALS_BYTES_MAX)) {
        QuorumPacket::new(PacketType::Proposals, last.to_jute(), Some(entries)).encode(out);
    }
}

impl ToLearner {
    /// Appends the message's packet.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let plain = |kind, zxid| QuorumPacket::new(kind, zxid, None);
        let mut data = Vec::new();
        let packet = match self {
            ToLearner::LeaderInfo { epoch, extended } => {
                PROTOCOL_VERSION.write(&mut data);
                if *extended {
                    data.extend_from_slice(&EXTENSION);
                }
                QuorumPacket::new(PacketType::LeaderInfo, epoch_zxid(*epoch), Some(&data))
            }
            ToLearner::Diff(zxid) => plain(PacketType::Diff, zxid.to_jute()),
            ToLearner::Trunc(zxid) => plain(PacketType::Trunc, zxid.to_jute()),
            ToLearner::Snap(zxid) => plain(PacketType::Snap, zxid.to_jute()),
            ToLearner::NewLeader { epoch, members } => {
                QuorumPacket::new(PacketType::NewLeader, epoch_zxid(*epoch), members.as_deref())
            }
            ToLearner::UpToDate => plain(PacketType::UpToDate, NO_ZXID),
            ToLearner::Proposal(Transaction { zxid, bytes }) => {
                QuorumPacket::new(PacketType::Proposal, zxid.to_jute(), Some(bytes))
            }
            ToLearner::Proposals(batch) => return encode_proposals(std::slice::from_ref(batch), out),
            ToLearner::Commit(zxid) => plain(PacketType::Commit, zxid.to_jute()),
            ToLearner::CommitAndActivate { zxid, leader } => {
                i64::from(leader.0).write(&mut data);
                QuorumPacket::new(PacketType::CommitAndActivate, zxid.to_jute(), Some(&data))
            }
            ToLearner::Inform(Transaction { zxid, bytes }) => {
                QuorumPacket::new(PacketType::Inform, zxid.to_jute(), Some(bytes))
            }
            ToLearner::InformAndActivate { transaction, leader } => {
                i64::from(leader.0).write(&mut data);
                data.extend_from_slice(&transaction.bytes);
                let zxid = transaction.zxid.to_jute();
                QuorumPacket::new(PacketType::InformAndActivate, zxid, Some(&data))
            }
            ToLearner::Ping(zxid) => plain(PacketType::Ping, *zxid),
            ToLearner::Revalidate { session, valid } => {
                session.0.write(&mut data);
                valid.write(&mut data);
                QuorumPacket::new(PacketType::Revalidate, NO_ZXID, Some(&data))
            }
            ToLearner::Sync => plain(PacketType::Sync, 0),
        };
        packet.encode(out);
    }

    /// The message of a packet that was read off `stream`.
    ///
    /// # Errors
    /// A type that a leader does not send, data that are missing or too short.
    pub fn decode(packet: &QuorumPacket<'_>, stream: &Bytes) -> Result<Self> {
        let zxid = Zxid::from_jute(packet.zxid);
        let transaction = |bytes| Transaction { zxid, bytes: stream.slice_ref(bytes) };
        Ok(match packet.kind {
            PacketType::LeaderInfo => {
                let mut r = Reader::new(packet.data()?);
                r.read::<i32>()?;
                ToLearner::LeaderInfo { epoch: zxid.epoch(), extended: r.rest().starts_with(&EXTENSION) }
            }
            PacketType::Diff => ToLearner::Diff(zxid),
            PacketType::Trunc => ToLearner::Trunc(zxid),
            PacketType::Snap => ToLearner::Snap(zxid),
            PacketType::NewLeader => {
                let members = packet.data.map(|data| stream.slice_ref(data));
                ToLearner::NewLeader { epoch: zxid.epoch(), members }
            }
            PacketType::UpToDate => ToLearner::UpToDate,
            PacketType::Proposal => ToLearner::Proposal(transaction(packet.data()?)),
            PacketType::Proposals => ToLearner::Proposals(Batch::decode(stream.slice_ref(packet.data()?))?),
            PacketType::Commit => ToLearner::Commit(zxid),
            PacketType::CommitAndActivate => {
                ToLearner::CommitAndActivate { zxid, leader: server_id("next leader", packet.record()?)? }
            }
            PacketType::Inform => ToLearner::Inform(transaction(packet.data()?)),
            PacketType::InformAndActivate => {
                let mut r = Reader::new(packet.data()?);
                let leader = server_id("next leader", r.read()?)?;
                ToLearner::InformAndActivate { transaction: transaction(r.rest()), leader }
            }
            PacketType::Ping => ToLearner::Ping(packet.zxid),
            PacketType::Revalidate => {
                let mut r = Reader::new(packet.data()?);
                ToLearner::Revalidate { session: SessionId(r.read()?), valid: r.read()? }
            }
            PacketType::Sync => ToLearner::Sync,
            other => return Err(wrong_side(other)),
        })
    }
}

/// Its name, and which transaction or epoch it is about.
impl fmt::Display for ToLearner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ToLearner::LeaderInfo { epoch, .. } => write!(f, "LEADERINFO of epoch {}", epoch.0),
            ToLearner::Diff(zxid) => write!(f, "DIFF {zxid}"),
            ToLearner::Trunc(zxid) => write!(f, "TRUNC {zxid}"),
            ToLearner::Snap(zxid) => write!(f, "SNAP {zxid}"),
            ToLearner::NewLeader { epoch, .. } => write!(f, "NEWLEADER of epoch {}", epoch.0),
            ToLearner::UpToDate => write!(f, "UPTODATE"),
            ToLearner::Proposal(transaction) => write!(f, "PROPOSAL {}", transaction.zxid),
            ToLearner::Proposals(batch) => write!(f, "PROPOSALS {} to {}", batch.first(), batch.last()),
            ToLearner::Commit(zxid) => write!(f, "COMMIT {zxid}"),
            ToLearner::CommitAndActivate { zxid, .. } => write!(f, "COMMITANDACTIVATE {zxid}"),
            ToLearner::Inform(transaction) => write!(f, "INFORM {}", transaction.zxid),
            ToLearner::InformAndActivate { transaction, .. } => {
                write!(f, "INFORMANDACTIVATE {}", transaction.zxid)
            }
            ToLearner::Ping(_) => write!(f, "PING"),
            ToLearner::Revalidate { session, .. } => write!(f, "REVALIDATE of session {session}"),
            ToLearner::Sync => write!(f, "SYNC"),
        }
    }
}

fn wrong_side(kind: PacketType) -> MessageError {
    MessageError::Record(DecodeError::Unknown { at: 4, value: kind as i32 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1 << 20;

    fn transaction() -> Transaction {
        Transaction { zxid: Zxid(0x2_0000_0001), bytes: Bytes::from_static(b"txn") }
    }

    fn info(extended: bool) -> LearnerInfo {
        LearnerInfo { server: ServerId(2), config_version: 0x1_0000_0000, extended }
    }

    /// Packet type, zxid and data, by the code of `Learner`, `Follower`, `LearnerHandler` and
    /// `Leader` that writes each; `None` is a null buffer.
    fn to_leader() -> Vec<(ToLeader, i32, i64, Option<Vec<u8>>)> {
        let plain_info = b"\0\0\0\0\0\0\0\x02\0\x01\0\0\0\0\0\x01\0\0\0\0".to_vec();
        let extended_info = [&plain_info[..], &EXTENSION].concat();
        let auth = |scheme: &str, id: &str| AuthId { scheme: scheme.into(), id: id.into() };
        vec![
            (
                ToLeader::FollowerInfo { accepted: Epoch(3), info: info(false) },
                11,
                0x3_0000_0000,
                Some(plain_info),
            ),
            (ToLeader::ObserverInfo { accepted: Epoch(0), info: info(true) }, 16, 0, Some(extended_info)),
            (
                ToLeader::AckEpoch { current: Some(Epoch(2)), last: Zxid(0x2_0000_0009) },
                18,
                0x2_0000_0009,
                Some(vec![0, 0, 0, 2]),
            ),
            (ToLeader::AckEpoch { current: None, last: Zxid(5) }, 18, 5, Some(vec![255; 4])),
            (ToLeader::Ack(Zxid(0x2_0000_0000)), 3, 0x2_0000_0000, None),
            (
                ToLeader::Ping { zxid: 9, touched: vec![(SessionId(0x1_0000_0000), 4000)] },
                5,
                9,
                Some(vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 15, 160]),
            ),
            (ToLeader::Ping { zxid: 9, touched: vec![] }, 5, 9, Some(vec![])),
            (
                ToLeader::Revalidate { session: SessionId(7), timeout_ms: 4000 },
                6,
                -1,
                Some(vec![0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 15, 160]),
            ),
            (
                ToLeader::Request {
                    session: SessionId(7),
                    xid: 3,
                    op: 1,
                    body: Bytes::from_static(b"/a"),
                    auth: Some(vec![auth("ip", "::1")]),
                },
                1,
                -1,
                Some(b"\0\0\0\0\0\0\0\x07\0\0\0\x03\0\0\0\x01/a".to_vec()),
            ),
        ]
    }

    fn to_learner() -> Vec<(ToLearner, i32, i64, Option<Vec<u8>>)> {
        let epoch = 0x2_0000_0000;
        let version = vec![0, 1, 0, 0];
        let extended = [&version[..], &EXTENSION].concat();
        let next = vec![0, 0, 0, 0, 0, 0, 0, 3];
        vec![
            (ToLearner::LeaderInfo { epoch: Epoch(2), extended: false }, 17, epoch, Some(version)),
            (ToLearner::LeaderInfo { epoch: Epoch(2), extended: true }, 17, epoch, Some(extended)),
            (ToLearner::Diff(Zxid(4)), 13, 4, None),
            (ToLearner::Trunc(Zxid(4)), 14, 4, None),
            (ToLearner::Snap(Zxid(4)), 15, 4, None),
            (
                ToLearner::NewLeader { epoch: Epoch(2), members: Some(Bytes::from_static(b"version=0")) },
                10,
                epoch,
                Some(b"version=0".to_vec()),
            ),
            (ToLearner::NewLeader { epoch: Epoch(2), members: None }, 10, epoch, None),
            (ToLearner::UpToDate, 12, -1, None),
            (ToLearner::Proposal(transaction()), 2, epoch + 1, Some(b"txn".to_vec())),
            (
                ToLearner::Proposals(Batch::one(Zxid(epoch as u64 + 1), b"txn")),
                101,
                epoch + 1,
                Some(b"\x01\0\0\0\x02\0\0\0\x03\0\0\0txn".to_vec()),
            ),
            (ToLearner::Commit(Zxid(4)), 4, 4, None),
            (ToLearner::CommitAndActivate { zxid: Zxid(4), leader: ServerId(3) }, 9, 4, Some(next.clone())),
            (ToLearner::Inform(transaction()), 8, epoch + 1, Some(b"txn".to_vec())),
            (
                ToLearner::InformAndActivate { transaction: transaction(), leader: ServerId(3) },
                19,
                epoch + 1,
                Some([&next[..], b"txn"].concat()),
            ),
            (ToLearner::Ping(9), 5, 9, None),
            (
                ToLearner::Revalidate { session: SessionId(7), valid: true },
                6,
                -1,
                Some(vec![0, 0, 0, 0, 0, 0, 0, 7, 1]),
            ),
            (ToLearner::Sync, 7, 0, None),
        ]
    }

    #[test]
    fn each_message_has_zookeepers_packet() {
        for (message, kind, zxid, data) in to_leader() {
            let mut out = Vec::new();
            message.encode(&mut out);
            let stream = Bytes::from(out);
            let (packet, length) = QuorumPacket::decode(&stream, MAX).unwrap().unwrap();
            assert_eq!((packet.kind as i32, packet.zxid, packet.data), (kind, zxid, data.as_deref()));
            assert_eq!((length, ToLeader::decode(&packet, &stream)), (stream.len(), Ok(message)));
        }
        for (message, kind, zxid, data) in to_learner() {
            let mut out = Vec::new();
            message.encode(&mut out);
            let stream = Bytes::from(out);
            let (packet, length) = QuorumPacket::decode(&stream, MAX).unwrap().unwrap();
            assert_eq!((packet.kind as i32, packet.zxid, packet.data), (kind, zxid, data.as_deref()));
            assert_eq!((length, ToLearner::decode(&packet, &stream)), (stream.len(), Ok(message)));
        }
    }

    #[test]
    fn more_proposals_than_a_packet_may_have_are_several_packets() {
        let transaction = |counter: u64, mib: usize| Transaction {
            zxid: Zxid(1 << 32 | counter),
            bytes: Bytes::from(vec![counter as u8; mib << 20]),
        };
        let batches = [
            Batch::of(&[transaction(1, 9), transaction(2, 9), transaction(3, 20), transaction(4, 1)]),
            Batch::of(&[transaction(5, 1)]),
        ];
        let batches: Vec<Batch> = batches.into_iter().flatten().collect();
        let mut bytes = Vec::new();
        encode_proposals(&batches, &mut bytes);
        let stream = Bytes::from(bytes);
        let (mut at, mut lasts, mut entries) = (0, Vec::new(), Vec::new());
        while let Some((packet, length)) = QuorumPacket::decode(&stream[at..], 21 << 20).unwrap() {
            let ToLearner::Proposals(batch) = ToLearner::decode(&packet, &stream).unwrap() else {
                panic!("proposals")
            };
            lasts.push(batch.last().counter());
            entries.extend_from_slice(batch.entries());
            at += length;
        }
        assert_eq!((at, lasts), (stream.len(), vec![1, 2, 3, 4, 5]));
        assert_eq!(entries, batches.iter().flat_map(|batch| batch.entries().to_vec()).collect::<Vec<_>>());
    }

    #[test]
    fn data_cut_short_are_an_error() {
        // What Java takes as well: an info without a configuration, a request without a record.
        let whole = |kind, length| matches!((kind, length), (11 | 16, 12 | 20..) | (1, 16..));
        for (_, kind, zxid, data) in to_leader().into_iter().filter(|(_, kind, ..)| *kind != 3) {
            let data = Bytes::from(data.unwrap());
            let packet = |data| QuorumPacket::new(PacketType::of(kind).unwrap(), zxid, data);
            for length in (0..data.len()).filter(|length| (kind, *length) != (5, 0)) {
                let read = ToLeader::decode(&packet(Some(&data[..length])), &data);
                assert_eq!(read.is_ok(), whole(kind, length), "type {kind}, {length} bytes");
            }
            assert_eq!(ToLeader::decode(&packet(None), &data).is_ok(), kind == 5);
        }
    }

    #[test]
    fn a_message_of_the_other_side_is_refused() {
        let empty = Bytes::new();
        for kind in [PacketType::Diff, PacketType::UpToDate, PacketType::Commit, PacketType::Sync] {
            assert!(ToLeader::decode(&QuorumPacket::new(kind, 0, None), &empty).is_err());
        }
        for kind in [PacketType::FollowerInfo, PacketType::AckEpoch, PacketType::Ack, PacketType::Request] {
            assert!(ToLearner::decode(&QuorumPacket::new(kind, 0, None), &empty).is_err());
        }
    }
}
