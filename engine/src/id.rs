//! The newtypes that every other module speaks in. Each meaning has its own type, so that a zxid
//! cannot be passed where a session id is meant.

use std::fmt;

/// A ZooKeeper transaction id: the leader's epoch in the high 32 bits, a counter in the low 32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zxid(pub u64);

impl Zxid {
    /// Before every transaction.
    pub const ZERO: Zxid = Zxid(0);

    /// The epoch of the leader that proposed it.
    pub const fn epoch(self) -> Epoch {
        Epoch((self.0 >> 32) as u32)
    }

    /// The position within the epoch.
    pub const fn counter(self) -> u32 {
        self.0 as u32
    }

    /// The zxid that follows this one.
    pub const fn next(self) -> Zxid {
        Zxid(self.0 + 1)
    }

    /// As jute carries it.
    pub const fn to_jute(self) -> i64 {
        self.0 as i64
    }

    /// From jute's signed long, bit for bit.
    pub const fn from_jute(value: i64) -> Zxid {
        Zxid(value as u64)
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// A leader's term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

/// `myid`: a server's number in its ensemble.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u8);

/// A client session. The high byte is the server that created it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub i64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// Milliseconds of a clock that never goes back. Its origin is the driver's choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

impl Tick {
    /// This moment plus `ms` milliseconds.
    pub const fn plus_ms(self, ms: u64) -> Tick {
        Tick(self.0 + ms)
    }

    /// Milliseconds since `earlier`; zero if it is later.
    pub const fn since(self, earlier: Tick) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// One moment on the two clocks: the monotonic one decides, the wall clock only fills `ctime` and
/// `mtime`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock.
    pub tick: Tick,
    /// The same clock in microseconds, for the log.
    pub us: u64,
    /// Milliseconds since 1970.
    pub wall_ms: i64,
}
