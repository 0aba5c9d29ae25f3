//! `QuorumPacket`, the one record that leader and learners exchange. Packets follow each other on
//! the stream with no length in front, so a reader learns where one ends by decoding it.

use super::{MessageError, Result};
use ringkeeper_engine::jute::records::Id;
use ringkeeper_engine::jute::{DecodeError, Read, Reader, Write};

/// What a packet is about, with ZooKeeper's numbers (`Leader`), which end at 19. Those from 100 on are
/// ours, and go between two Ringkeepers alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "ZooKeeper's own names, explained at ToLeader and ToLearner")]
#[repr(i32)]
pub enum PacketType {
    Request = 1,
    Proposal = 2,
    Ack = 3,
    Commit = 4,
    Ping = 5,
    Revalidate = 6,
    Sync = 7,
    Inform = 8,
    CommitAndActivate = 9,
    NewLeader = 10,
    FollowerInfo = 11,
    UpToDate = 12,
    Diff = 13,
    Trunc = 14,
    Snap = 15,
    ObserverInfo = 16,
    LeaderInfo = 17,
    AckEpoch = 18,
    InformAndActivate = 19,
    Proposals = 101,
    Requests = 102,
}

impl PacketType {
    /// ZooKeeper's.
    const ALL: [PacketType; 19] = [
        PacketType::Request,
        PacketType::Proposal,
        PacketType::Ack,
        PacketType::Commit,
        PacketType::Ping,
        PacketType::Revalidate,
        PacketType::Sync,
        PacketType::Inform,
        PacketType::CommitAndActivate,
        PacketType::NewLeader,
        PacketType::FollowerInfo,
        PacketType::UpToDate,
        PacketType::Diff,
        PacketType::Trunc,
        PacketType::Snap,
        PacketType::ObserverInfo,
        PacketType::LeaderInfo,
        PacketType::AckEpoch,
        PacketType::InformAndActivate,
    ];

    pub(super) fn of(value: i32) -> Result<Self> {
        let known = match value {
            101 => Some(PacketType::Proposals),
            102 => Some(PacketType::Requests),
            _ => {
                let index = usize::try_from(value).ok().and_then(|value| value.checked_sub(1));
                index.and_then(|index| Self::ALL.get(index)).copied()
            }
        };
        known.ok_or(MessageError::Value { field: "packet type", value: value.into() })
    }
}

/// One packet. Its data borrow from the stream's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumPacket<'a> {
    /// What it is about.
    pub kind: PacketType,
    /// A transaction, an epoch (in the high half), or −1.
    pub zxid: i64,
    /// The rest, by type.
    pub data: Option<&'a [u8]>,
    /// Who asks, in a request that a learner forwards.
    pub auth: Option<Vec<Id<'a>>>,
}

impl<'a> QuorumPacket<'a> {
    /// One without identities.
    pub fn new(kind: PacketType, zxid: i64, data: Option<&'a [u8]>) -> Self {
        QuorumPacket { kind, zxid, data, auth: None }
    }

    /// Reads a packet off the start of a stream: the packet and its length, or `None` if more bytes
    /// are needed. `bytes_max` bounds a packet.
    ///
    /// # Errors
    /// An unknown type, a length that cannot be, a packet above the bound.
    pub fn decode(bytes: &'a [u8], bytes_max: usize) -> Result<Option<(Self, usize)>> {
        let mut r = Reader::new(bytes);
        match Self::read(&mut r, bytes_max) {
            Ok(packet) => Ok(Some((packet, r.position()))),
            Err(MessageError::Record(DecodeError::Truncated { .. })) if bytes.len() <= bytes_max => Ok(None),
            Err(MessageError::Record(DecodeError::Truncated { .. })) => {
                Err(MessageError::TooLong { what: "packet", bytes: bytes.len() })
            }
            Err(error) => Err(error),
        }
    }

    fn read(r: &mut Reader<'a>, bytes_max: usize) -> Result<Self> {
        let kind = PacketType::of(r.read()?)?;
        let zxid = r.read()?;
        let mut ahead = *r;
        let length: i32 = ahead.read()?;
        if usize::try_from(length).is_ok_and(|length| length > bytes_max) {
            return Err(MessageError::TooLong { what: "packet", bytes: length as usize });
        }
        let data = r.read()?;
        let mut ahead = *r;
        let auth = if ahead.read::<i32>()? < 0 { r.read::<i32>().map(|_| None)? } else { Some(r.read()?) };
        Ok(QuorumPacket { kind, zxid, data, auth })
    }

    /// Appends the packet.
    pub fn encode(&self, out: &mut Vec<u8>) {
        (self.kind as i32).write(out);
        self.zxid.write(out);
        self.data.write(out);
        self.auth.write(out);
    }

    /// Appends a packet without identities, whose data `data` appends.
    pub(super) fn encode_with(
        kind: PacketType,
        zxid: i64,
        data: impl FnOnce(&mut Vec<u8>),
        out: &mut Vec<u8>,
    ) {
        (kind as i32).write(out);
        zxid.write(out);
        0i32.write(out);
        let start = out.len();
        data(out);
        let length = (out.len() - start) as i32;
        out[start - 4..start].copy_from_slice(&length.to_be_bytes());
        (-1i32).write(out);
    }

    /// The data, which this type of packet must have.
    pub(super) fn data(&self) -> Result<&'a [u8]> {
        Ok(self.data.ok_or(DecodeError::Null { at: 12 })?)
    }

    /// A record at the start of the data; what follows is ignored, as Java ignores it.
    pub(super) fn record<T: Read<'a>>(&self) -> Result<T> {
        Ok(T::read(&mut Reader::new(self.data()?))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `QuorumPacket.serialize` over `BinaryOutputArchive`: int, long, buffer, vector.
    #[test]
    fn a_packet_has_zookeepers_bytes() {
        let plain = QuorumPacket::new(PacketType::Ack, 0x1_0000_0002, None);
        let mut out = Vec::new();
        plain.encode(&mut out);
        assert_eq!(out, [0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 255, 255, 255, 255, 255, 255, 255, 255]);
        let id = Id { scheme: Some("ip".into()), id: Some("::1".into()) };
        let full = QuorumPacket { data: Some(b"ab"), auth: Some(vec![id]), ..plain };
        let first = out.len();
        full.encode(&mut out);
        assert_eq!(out[first + 12..first + 18], [0, 0, 0, 2, b'a', b'b']);
        assert_eq!(out[first + 18..], *b"\0\0\0\x01\0\0\0\x02ip\0\0\0\x03::1");
        assert_eq!(QuorumPacket::decode(&out, 100).unwrap().unwrap().1, first);
        assert_eq!(QuorumPacket::decode(&out[first..], 100), Ok(Some((full, out.len() - first))));
        for length in first..out.len() {
            assert_eq!(QuorumPacket::decode(&out[first..length], 100), Ok(None));
        }
    }

    #[test]
    fn what_cannot_be_a_packet_is_refused_before_it_is_kept() {
        let head = |kind: i32, length: i32| {
            let mut out = Vec::new();
            kind.write(&mut out);
            7i64.write(&mut out);
            length.write(&mut out);
            out
        };
        assert!(QuorumPacket::decode(&head(0, -1), 100).is_err());
        assert!(QuorumPacket::decode(&head(20, -1), 100).is_err());
        assert!(QuorumPacket::decode(&head(i32::MIN, -1), 100).is_err());
        assert!(QuorumPacket::decode(&head(2, -2), 100).is_err());
        assert!(QuorumPacket::decode(&head(2, 101), 100).is_err());
        let mut many = head(1, -1);
        i32::MAX.write(&mut many);
        assert_eq!(QuorumPacket::decode(&many, 100), Ok(None));
        many.resize(101, 0);
        assert!(QuorumPacket::decode(&many, 100).is_err(), "identities without end");
    }

    #[test]
    fn every_type_has_its_number() {
        for (index, kind) in PacketType::ALL.into_iter().enumerate() {
            assert_eq!((kind as i32, PacketType::of(kind as i32)), (index as i32 + 1, Ok(kind)));
        }
        for kind in [PacketType::Proposals, PacketType::Requests] {
            assert_eq!(PacketType::of(kind as i32), Ok(kind));
        }
    }
}
