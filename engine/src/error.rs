//! The error codes that a client can be sent, with ZooKeeper's numbers (`KeeperException.Code`).

/// A client's mistake, or the server's refusal, as the reply header carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum ErrorCode {
    /// An operation of a multi that was not tried, since an earlier one failed.
    RuntimeInconsistency = -2,
    /// The request could not be decoded.
    MarshallingError = -5,
    /// The server does not know, or does not offer, the operation.
    Unimplemented = -6,
    /// The arguments make no sense: a bad path, flag or time to live.
    BadArguments = -8,
    /// The session is not known to this server.
    UnknownSession = -12,
    /// The new configuration has no quorum of connected servers.
    NewConfigNoQuorum = -13,
    /// Another reconfiguration is under way.
    ReconfigInProgress = -14,
    /// The node does not exist.
    NoNode = -101,
    /// The client has no permission.
    NoAuth = -102,
    /// The expected version is not the node's.
    BadVersion = -103,
    /// An ephemeral node cannot have children.
    NoChildrenForEphemerals = -108,
    /// The node exists already.
    NodeExists = -110,
    /// The node has children.
    NotEmpty = -111,
    /// The session has ended.
    SessionExpired = -112,
    /// The ACL is empty, or names a scheme or an id that is not valid.
    InvalidAcl = -114,
    /// Authentication failed.
    AuthFailed = -115,
    /// The session is served by another connection.
    SessionMoved = -118,
    /// The server is read-only, the request is not.
    NotReadOnly = -119,
    /// A local session cannot do this.
    EphemeralOnLocalSession = -120,
    /// No such watch is set.
    NoWatcher = -121,
    /// `reconfigEnabled` is off.
    ReconfigDisabled = -123,
    /// The server requires SASL authentication.
    SessionClosedRequireSaslAuth = -124,
    /// A hard quota is used up.
    QuotaExceeded = -125,
    /// The request was throttled.
    ThrottledOp = -127,
}

impl ErrorCode {
    /// The number in the reply header.
    pub const fn code(self) -> i32 {
        self as i32
    }
}

/// The code of a reply that succeeded.
pub const OK: i32 = 0;
