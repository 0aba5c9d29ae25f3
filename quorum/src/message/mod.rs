//! What servers say to each other, typed, and its bytes on ZooKeeper's wire. Two protocols:
//!
//! | file | port | what it carries |
//! |---|---|---|
//! | `election` | election | the handshake of a connection, and notifications of votes |
//! | `packet` | quorum | the record `QuorumPacket`, off a stream |
//! | `learner` | quorum | what a learner and its leader say, each as a value of its own type |
//! | `batch`, `requests` | quorum | what two Ringkeepers say many of at a time: transactions, and clients' requests |
//!
//! Decoding is total: no byte can make it panic, loop, or keep more than its bound.

pub mod batch;
pub mod election;
pub mod learner;
pub mod packet;
pub mod requests;

use ringkeeper_engine::jute::DecodeError;
use std::fmt;

pub use batch::{Batch, BatchBuilder};
pub use election::{InitialMessage, Notification, PeerState, Round, Vote};
pub use learner::{LearnerInfo, ToLeader, ToLearner, Transaction};
pub use packet::QuorumPacket;
pub use requests::{Forwarded, Requests};

/// Why bytes from a peer are not the message that they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// A field of a record is wrong.
    Record(DecodeError),
    /// A value that the field cannot have.
    Value {
        /// The field.
        field: &'static str,
        /// What it says.
        value: i64,
    },
    /// More bytes than the bound allows.
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its bytes.
        bytes: usize,
    },
    /// An election address that is none.
    Address(&'static str),
    /// Transactions that are no batch.
    Batch(&'static str),
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MessageError::Record(error) => error.fmt(f),
            MessageError::Value { field, value } => write!(f, "{field} is {value}"),
            MessageError::TooLong { what, bytes } => write!(f, "{what} of {bytes} bytes"),
            MessageError::Address(what) => write!(f, "election address: {what}"),
            MessageError::Batch(what) => write!(f, "batch of transactions: {what}"),
        }
    }
}

impl std::error::Error for MessageError {}

impl From<DecodeError> for MessageError {
    fn from(error: DecodeError) -> Self {
        MessageError::Record(error)
    }
}

/// Result of decoding.
pub type Result<T> = std::result::Result<T, MessageError>;

/// A server's number as the wire carries it.
fn server_id(field: &'static str, value: i64) -> Result<ringkeeper_engine::id::ServerId> {
    let id = u8::try_from(value).map_err(|_| MessageError::Value { field, value })?;
    Ok(ringkeeper_engine::id::ServerId(id))
}

/// An epoch where the wire has a long for it.
fn epoch(field: &'static str, value: i64) -> Result<ringkeeper_engine::id::Epoch> {
    let epoch = u32::try_from(value).map_err(|_| MessageError::Value { field, value })?;
    Ok(ringkeeper_engine::id::Epoch(epoch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;
    use ringkeeper_engine::jute::Write;

    const BYTES_MAX: usize = 300;

    /// A packet as somebody may send it: its type and lengths are about right, or not.
    fn packets() -> impl Strategy<Value = Vec<u8>> {
        let length = prop_oneof![8 => 0i32..60, 1 => any::<i32>()];
        let identities = prop_oneof![4 => Just(-1i32), 2 => 0i32..3, 1 => any::<i32>()];
        let rest = prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..120);
        let kind = prop_oneof![3 => -1i32..22, 1 => 99i32..104];
        (kind, any::<i64>(), length, identities, rest).prop_map(|(kind, zxid, length, identities, rest)| {
            let mut out = Vec::new();
            kind.write(&mut out);
            zxid.write(&mut out);
            length.write(&mut out);
            let data = rest.len().min(length.max(0) as usize);
            out.extend_from_slice(&rest[..data]);
            identities.write(&mut out);
            out.extend_from_slice(&rest[data..]);
            out
        })
    }

    /// What was read of a packet is what is read of it once it was written again.
    fn survives<M: PartialEq + fmt::Debug>(
        message: &M,
        encode: impl Fn(&M, &mut Vec<u8>),
        decode: impl Fn(&QuorumPacket<'_>, &Bytes) -> Result<M>,
    ) {
        let mut out = Vec::new();
        encode(message, &mut out);
        let stream = Bytes::from(out);
        let (packet, length) = QuorumPacket::decode(&stream, usize::MAX).unwrap().unwrap();
        assert_eq!(length, stream.len());
        assert_eq!(decode(&packet, &stream).as_ref(), Ok(message));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_packet_or_a_part_of_one_or_an_error(bytes in packets()) {
            let stream = Bytes::from(bytes);
            if let Ok(Some((packet, length))) = QuorumPacket::decode(&stream, BYTES_MAX) {
                prop_assert!(length <= stream.len());
                prop_assert!(matches!(QuorumPacket::decode(&stream[..length - 1], BYTES_MAX), Ok(None)));
                if let Ok(message) = ToLeader::decode(&packet, &stream) {
                    survives(&message, ToLeader::encode, ToLeader::decode);
                }
                if let Ok(message) = ToLearner::decode(&packet, &stream) {
                    survives(&message, ToLearner::encode, ToLearner::decode);
                }
            }
        }

        #[test]
        fn any_bytes_are_a_notification_or_an_error(
            state in -1i32..5,
            rest in prop::collection::vec(prop_oneof![3 => Just(0u8), 1 => any::<u8>()], 0..80),
        ) {
            let bytes = [&state.to_be_bytes()[..], &rest].concat();
            if let Ok(notification) = Notification::decode(&bytes) {
                let mut out = Vec::new();
                notification.encode(&mut out);
                let again = Notification::decode(&out).unwrap();
                prop_assert_eq!((again.vote, again.round, again.state), (notification.vote, notification.round, notification.state));
            }
        }

        #[test]
        fn any_bytes_are_a_handshake_or_a_part_of_one_or_an_error(
            version in prop_oneof![Just(-65536i64), Just(-65535), any::<i64>()],
            server in prop_oneof![0i64..300, any::<i64>()],
            length in prop_oneof![4 => 0i32..30, 1 => any::<i32>()],
            address in "[a-z0-9:|\\[\\]]{0,40}",
        ) {
            let mut bytes = Vec::new();
            version.write(&mut bytes);
            server.write(&mut bytes);
            length.write(&mut bytes);
            bytes.extend_from_slice(address.as_bytes());
            if let Ok(Some((message, length))) = InitialMessage::decode(&bytes) {
                prop_assert!(length <= bytes.len());
                if !message.addresses.is_empty() {
                    let mut out = Vec::new();
                    message.encode(&mut out);
                    prop_assert_eq!(InitialMessage::decode(&out), Ok(Some((message, out.len()))));
                }
            }
        }
    }
}
