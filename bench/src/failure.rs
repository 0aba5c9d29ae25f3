//! Why a run ends without a result.

use std::fmt;
use std::net::SocketAddr;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// An option that makes no sense.
    Option(String),
    /// The server cannot be reached.
    Connect {
        /// Its address.
        server: SocketAddr,
        /// What the system says.
        why: String,
    },
    /// The server gives no session.
    Handshake {
        /// What it answered.
        why: String,
    },
    /// A connection broke, or carries what is no reply.
    Connection(String),
    /// The server ended a connection.
    Closed {
        /// Whose.
        session: i64,
        /// Requests that were never answered.
        in_flight: usize,
    },
    /// Replies are not in the order of the requests.
    Disorder {
        /// The xid of the reply.
        found: i32,
        /// The xid of the oldest request in flight.
        expected: Option<i32>,
    },
    /// Requests are in flight and no reply came for a long time.
    Silence {
        /// How many.
        in_flight: usize,
        /// For how long.
        seconds: u64,
    },
    /// A request that prepares or ends the run was refused.
    Preparation {
        /// What was to be done.
        what: &'static str,
        /// The error code of the protocol.
        code: i32,
    },
    /// A call of the system, a file of `/proc`, or an output file.
    System {
        /// What was to be done.
        what: String,
        /// What the system says.
        why: String,
    },
}

impl Failure {
    /// Of a failed call of the system.
    pub fn system(what: impl Into<String>, why: impl fmt::Display) -> Failure {
        Failure::System { what: what.into(), why: why.to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Option(text) => write!(f, "{text}"),
            Failure::Connect { server, why } => write!(f, "cannot connect to {server}: {why}"),
            Failure::Handshake { why } => write!(f, "no session from the server: {why}"),
            Failure::Connection(why) => write!(f, "connection to the server: {why}"),
            Failure::Closed { session, in_flight } => {
                write!(f, "the server closed session 0x{session:x} with {in_flight} requests in flight")
            }
            Failure::Disorder { found, expected: Some(expected) } => {
                write!(f, "a reply with xid {found} came where {expected} is the oldest request")
            }
            Failure::Disorder { found, expected: None } => {
                write!(f, "a reply with xid {found} came where no request is in flight")
            }
            Failure::Silence { in_flight, seconds } => {
                write!(f, "{in_flight} requests in flight and no reply for {seconds} s")
            }
            Failure::Preparation { what, code } => write!(f, "{what}: the server answers error {code}"),
            Failure::System { what, why } => write!(f, "{what}: {why}"),
        }
    }
}

impl std::error::Error for Failure {}
