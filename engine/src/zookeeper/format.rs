//! What logs and snapshots have in common: the header, the names of files, a fault and its place.

use std::fmt;

use super::stream::Compression;
use crate::id::Zxid;
use crate::jute::records::FileHeader;
use crate::jute::{self, Write};

/// First bytes of a log.
pub const LOG_MAGIC: [u8; 4] = *b"ZKLG";
/// First bytes of a snapshot, when it is not compressed.
pub const SNAPSHOT_MAGIC: [u8; 4] = *b"ZKSN";
/// The version of both that every release since 3.0 writes.
pub const VERSION: i32 = 2;
/// The database id that ZooKeeper writes into logs.
pub const LOG_DATABASE: i64 = 0;
/// The database id that ZooKeeper writes into snapshots.
pub const SNAPSHOT_DATABASE: i64 = -1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 16;

const LOG_PREFIX: &str = "log.";
const SNAPSHOT_PREFIX: &str = "snapshot.";

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// In bytes from the file's beginning; of what is unpacked, if the file is compressed.
    pub offset: u64,
    /// What is.
    pub what: String,
}

impl Fault {
    pub(super) fn new(offset: u64, what: impl Into<String>) -> Fault {
        Fault { offset, what: what.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "damaged at offset {}: {}", self.offset, self.what)
    }
}

impl std::error::Error for Fault {}

/// Reads a header.
///
/// # Errors
/// What of it is not as `magic` and this version have it.
pub(super) fn read_header(bytes: &[u8], magic: [u8; 4]) -> Result<FileHeader, Fault> {
    let header: FileHeader =
        jute::from_bytes(bytes).map_err(|_| Fault::new(0, format!("{} bytes are no header", bytes.len())))?;
    if header.magic != i32::from_be_bytes(magic) {
        let name = String::from_utf8_lossy(&magic);
        return Err(Fault::new(0, format!("the file does not begin with {name}")));
    }
    if header.version != VERSION {
        let version = header.version;
        return Err(Fault::new(4, format!("format version {version}, which this release does not know")));
    }
    Ok(header)
}

pub(super) fn write_header(magic: [u8; 4], dbid: i64, out: &mut Vec<u8>) {
    FileHeader { magic: i32::from_be_bytes(magic), version: VERSION, dbid }.write(out);
}

/// A file that ZooKeeper's name says something of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileName {
    /// A snapshot: its replay begins behind that zxid.
    Snapshot(Zxid),
    /// A log: that zxid is of its first transaction.
    Log(Zxid),
}

impl FileName {
    /// Reads a name as ZooKeeper writes it: `log.HEX`, `snapshot.HEX`, `snapshot.HEX.gz`,
    /// `snapshot.HEX.snappy`.
    pub fn parse(name: &str) -> Option<FileName> {
        if let Some(zxid) = name.strip_prefix(LOG_PREFIX) {
            return parse_zxid(zxid).map(FileName::Log);
        }
        let rest = name.strip_prefix(SNAPSHOT_PREFIX)?;
        let packed = rest.split_once('.').filter(|(_, extension)| {
            [Compression::Gzip, Compression::Snappy].iter().any(|packed| packed.extension() == *extension)
        });
        parse_zxid(packed.map_or(rest, |(zxid, _)| zxid)).map(FileName::Snapshot)
    }

    /// The zxid in the name.
    pub fn zxid(self) -> Zxid {
        match self {
            FileName::Snapshot(zxid) | FileName::Log(zxid) => zxid,
        }
    }
}

/// A log's name.
pub fn log_name(first: Zxid) -> String {
    format!("{LOG_PREFIX}{:x}", first.0)
}

/// A snapshot's name.
pub fn snapshot_name(zxid: Zxid, compression: Compression) -> String {
    let dot = if compression == Compression::None { "" } else { "." };
    format!("{SNAPSHOT_PREFIX}{:x}{dot}{}", zxid.0, compression.extension())
}

/// Java reads a signed number: what it writes has at most 63 bits.
fn parse_zxid(text: &str) -> Option<Zxid> {
    let zxid = Zxid(u64::from_str_radix(text, 16).ok().filter(|zxid| i64::try_from(*zxid).is_ok())?);
    text.eq_ignore_ascii_case(&format!("{:x}", zxid.0)).then_some(zxid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_zookeeper_writes_them_and_no_others() {
        for zxid in [Zxid(0), Zxid(0x1_0000_0005), Zxid(i64::MAX as u64)] {
            assert_eq!(FileName::parse(&log_name(zxid)), Some(FileName::Log(zxid)));
            for compression in [Compression::None, Compression::Gzip, Compression::Snappy] {
                let name = snapshot_name(zxid, compression);
                assert_eq!(FileName::parse(&name), Some(FileName::Snapshot(zxid)), "{name}");
            }
        }
        assert_eq!(snapshot_name(Zxid(0x1f), Compression::Snappy), "snapshot.1f.snappy");
        let others =
            ["log", "log.", "log.x", "log.+1", "log.01", "log.8000000000000000", "log.1.bak", "xlog.1"];
        for name in others.iter().chain(&["snapshot.1.zip", "snapshot.1.", "snapshot.", "snapshot.1.gz.tmp"])
        {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
    }
}
