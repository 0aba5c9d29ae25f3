//! What servers say to each other, typed, and its bytes on ZooKeeper's wire. Two protocols:
//!
//! | file | port | what it carries |
//! |---|---|---|
//! | `election` | election | the handshake of a connection, and notifications of votes |
//! | `packet` | quorum | the record `QuorumPacket`, off a stream |
//! | `learner` | quorum | what a learner and its leader say, each as a value of its own type |
//!
//! Decoding is total: no byte can make it panic, loop, or keep more than its bound.

pub mod election;
pub mod learner;
pub mod packet;

use ringkeeper_engine::jute::DecodeError;
use std::fmt;

pub use election::{InitialMessage, Notification, PeerState, Round, Vote};
pub use learner::{LearnerInfo, ToLeader, ToLearner, Transaction};
pub use packet::QuorumPacket;

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
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MessageError::Record(error) => error.fmt(f),
            MessageError::Value { field, value } => write!(f, "{field} is {value}"),
            MessageError::TooLong { what, bytes } => write!(f, "{what} of {bytes} bytes"),
            MessageError::Address(what) => write!(f, "election address: {what}"),
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
