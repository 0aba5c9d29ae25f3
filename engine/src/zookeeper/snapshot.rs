//! A snapshot's bytes in, sessions, access control lists and nodes out; and the way back.
//!
//! ```text
//! snapshot = header sessions lists nodes seal [digest seal] [last zxid seal]
//! sessions = count 4, (id 8, timeout 4)*
//! lists    = count 4, (number 8, vector of ACL)*
//! nodes    = (path, data, list's number 8, StatPersisted 60)*, "/"     the root's path is empty
//! digest   = zxid 8, version 4, digest 8      of the tree, from 3.6 on
//! seal     = Adler-32 of all before it 8, "/"
//! ```
//!
//! A leader that sends its tree to a learner leaves out the header and what follows the nodes, and ends
//! with a signature (`LearnerHandler`):
//!
//! ```text
//! stream   = sessions lists nodes "BenWasHere"
//! ```
//!
//! The last zxid is there from 3.9 on. ZooKeeper's own reader decides by its settings which of the two
//! it looks for; here the seals decide.

use std::borrow::Cow;

use super::format::{Fault, HEADER_BYTES, SNAPSHOT_DATABASE, SNAPSHOT_MAGIC, read_header, write_header};
use super::stream::{Compression, Input, Raw, Sink, Source};
use crate::id::{SessionId, Zxid};
use crate::jute::records::{FileHeader, StatPersisted};
use crate::jute::{self, Reader, Write};
use crate::tree::acl::RawAcl;

/// The list's number that stands for "everyone may do everything", and that no list is written for.
pub const OPEN_ACL: i64 = -1;
/// Bytes of a node behind its data.
const STAT_BYTES: usize = 6 * 8 + 3 * 4;
const NODE_TAIL_BYTES: usize = 8 + STAT_BYTES;
const SESSION_BYTES: usize = 12;
/// Enough for all that can follow the nodes.
const TRAILER_BYTES_MAX: usize = 4096;
/// Digests below this version are written as text.
const BINARY_DIGEST_VERSION: i32 = 2;
const NODES_END: &str = "/";
/// What ends a tree that a leader sends.
const SIGNATURE: &str = "BenWasHere";

/// A node as a snapshot has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotNode<'s> {
    /// Empty for the root.
    pub path: Cow<'s, str>,
    /// Null and empty are different.
    pub data: Option<&'s [u8]>,
    /// Its list's number.
    pub acl: i64,
    /// Its Stat.
    pub stat: StatPersisted,
}

/// What a snapshot is made of, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item<'s> {
    /// A session.
    Session {
        /// Its id.
        id: SessionId,
        /// Its timeout, in milliseconds.
        timeout_ms: i32,
    },
    /// An access control list.
    Acl {
        /// What nodes call it.
        number: i64,
        /// Its entries, as jute.
        list: RawAcl<'s>,
    },
    /// A node, behind its parent.
    Node(SnapshotNode<'s>),
}

/// The digest of the tree at one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeDigestAt {
    /// The transaction; zero if the server had none to tell of.
    pub zxid: Zxid,
    /// How it was calculated.
    pub version: i32,
    /// The digest.
    pub digest: i64,
}

/// What follows the nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trailer {
    /// When the walk had ended, the tree had this digest.
    pub digest: Option<TreeDigestAt>,
    /// When the walk had ended, this was the newest transaction.
    pub last_zxid: Option<Zxid>,
}

/// Where a snapshot is read.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Sessions { left: i32 },
    Acls { left: i32 },
    Nodes,
    Ended,
}

/// A snapshot, front to back. Its nodes can be believed only when the end has been reached: the seal
/// is there.
pub struct Snapshot<'a> {
    source: Source<'a>,
    /// None in what a leader sends.
    header: Option<FileHeader>,
    stage: Stage,
    trailer: Trailer,
}

impl<'a> Snapshot<'a> {
    /// Opens the bytes of a whole file, packed or not.
    ///
    /// # Errors
    /// What is wrong with its header.
    pub fn open(file: &'a [u8]) -> Result<Snapshot<'a>, Fault> {
        Snapshot::begin(Raw::of_slice(file))
    }

    /// Opens a file that comes piece by piece, packed or not.
    ///
    /// # Errors
    /// As [`Snapshot::open`].
    pub fn open_pieces(input: &'a mut dyn Input) -> Result<Snapshot<'a>, Fault> {
        Snapshot::begin(Raw::of_input(input))
    }

    fn begin(raw: Raw<'a>) -> Result<Snapshot<'a>, Fault> {
        let mut source = Source::open(raw)?;
        let header = read_header(source.peek_up_to(HEADER_BYTES)?, SNAPSHOT_MAGIC)?;
        source.consume(HEADER_BYTES);
        let left = count(&mut source, "sessions")?;
        let (header, stage) = (Some(header), Stage::Sessions { left });
        Ok(Snapshot { source, header, stage, trailer: Trailer::default() })
    }

    /// Opens what a leader sends; what follows it is not touched.
    ///
    /// # Errors
    /// What is wrong with its beginning.
    pub fn open_stream(input: &'a mut dyn Input) -> Result<Snapshot<'a>, Fault> {
        let mut source = Source::of_peer(input);
        let left = count(&mut source, "sessions")?;
        Ok(Snapshot { source, header: None, stage: Stage::Sessions { left }, trailer: Trailer::default() })
    }

    /// What was read behind the end of a stream.
    pub fn into_rest(self) -> Vec<u8> {
        self.source.into_rest()
    }

    /// Its header; a stream has none.
    pub fn header(&self) -> Option<FileHeader> {
        self.header
    }

    /// How it is packed.
    pub fn compression(&self) -> Compression {
        self.source.compression()
    }

    /// Where the next item begins.
    pub fn offset(&self) -> u64 {
        self.source.offset()
    }

    /// Adler-32 of all that has been read.
    pub fn checksum(&self) -> u32 {
        self.source.checksum()
    }

    /// What followed the nodes; only known at the end.
    pub fn trailer(&self) -> Trailer {
        self.trailer
    }

    /// The next item; `None` at the end, when every seal has been found right.
    ///
    /// # Errors
    /// What is damaged. There is nothing more to be read then.
    #[allow(clippy::should_implement_trait, reason = "an item borrows from the snapshot")]
    pub fn next(&mut self) -> Result<Option<Item<'_>>, Fault> {
        loop {
            match self.stage {
                Stage::Sessions { left: 0 } => {
                    let left = count(&mut self.source, "access control lists")?;
                    self.stage = Stage::Acls { left };
                }
                Stage::Sessions { left } => {
                    self.source.peek(SESSION_BYTES)?;
                    self.stage = Stage::Sessions { left: left - 1 };
                    let mut reader = Reader::new(self.source.consume(SESSION_BYTES));
                    let field = "a session has twelve bytes";
                    let id = SessionId(reader.read().expect(field));
                    return Ok(Some(Item::Session { id, timeout_ms: reader.read().expect(field) }));
                }
                Stage::Acls { left: 0 } => self.stage = Stage::Nodes,
                Stage::Acls { left } => {
                    let bytes = acl_bytes(&mut self.source)?;
                    self.stage = Stage::Acls { left: left - 1 };
                    let mut reader = Reader::new(self.source.consume(bytes));
                    let number = reader.read().expect("it was measured");
                    return Ok(Some(Item::Acl { number, list: RawAcl(reader.rest()) }));
                }
                Stage::Nodes => match node_bytes(&mut self.source)? {
                    Some(bytes) => {
                        let offset = self.source.offset();
                        let node = node(self.source.consume(bytes));
                        let node = node.map_err(|error| Fault::new(offset, error.to_string()))?;
                        return Ok(Some(Item::Node(node)));
                    }
                    None => {
                        match self.header {
                            Some(_) => self.trailer = read_trailer(&mut self.source)?,
                            None => take_signature(&mut self.source)?,
                        }
                        self.stage = Stage::Ended;
                    }
                },
                Stage::Ended => return Ok(None),
            }
        }
    }
}

fn count(source: &mut Source<'_>, of: &str) -> Result<i32, Fault> {
    let offset = source.offset();
    let count = length(source, 0)?;
    if count < 0 {
        return Err(Fault::new(offset, format!("{count} {of}")));
    }
    source.consume(4);
    Ok(count)
}

/// The number that begins `ahead` bytes from here.
fn length(source: &mut Source<'_>, ahead: usize) -> Result<i32, Fault> {
    let bytes = source.peek(ahead + 4)?;
    Ok(jute::from_bytes(&bytes[ahead..]).expect("four bytes were peeked"))
}

/// Where a string or buffer ends whose length begins `ahead` bytes from here.
fn end_of(source: &mut Source<'_>, ahead: usize) -> Result<usize, Fault> {
    let offset = source.offset() + ahead as u64;
    match length(source, ahead)? {
        -1 => Ok(ahead + 4),
        found => match usize::try_from(found) {
            Ok(bytes) => Ok(ahead + 4 + bytes),
            Err(_) => Err(Fault::new(offset, format!("a field has the length {found}"))),
        },
    }
}

/// The bytes of a numbered list.
fn acl_bytes(source: &mut Source<'_>) -> Result<usize, Fault> {
    let mut end = 8;
    let entries = length(source, end)?;
    if entries < 0 {
        return Err(Fault::new(source.offset() + end as u64, format!("a list of {entries} entries")));
    }
    end += 4;
    for _ in 0..entries {
        let scheme_end = end_of(source, end + 4)?;
        end = end_of(source, scheme_end)?;
    }
    source.peek(end)?;
    Ok(end)
}

/// The bytes of a node; `None` at the end of the nodes, which is consumed.
fn node_bytes(source: &mut Source<'_>) -> Result<Option<usize>, Fault> {
    let path_end = end_of(source, 0)?;
    let path = source.peek(path_end)?;
    if path[4..] == *NODES_END.as_bytes() {
        source.consume(path_end);
        return Ok(None);
    }
    let end = end_of(source, path_end)? + NODE_TAIL_BYTES;
    source.peek(end)?;
    Ok(Some(end))
}

fn node(bytes: &[u8]) -> jute::Result<SnapshotNode<'_>> {
    let mut reader = Reader::new(bytes);
    Ok(SnapshotNode { path: reader.read()?, data: reader.read()?, acl: reader.read()?, stat: reader.read()? })
}

/// Takes a seal off what follows the nodes.
fn take_seal(reader: &mut Reader<'_>, checksum: u32) -> Option<()> {
    let (sealed, path): (i64, Option<&[u8]>) = (reader.read().ok()?, reader.read().ok()?);
    (sealed == i64::from(checksum) && path == Some(NODES_END.as_bytes())).then_some(())
}

fn take_signature(source: &mut Source<'_>) -> Result<(), Fault> {
    let offset = source.offset();
    let mut expected = Vec::new();
    SIGNATURE.write(&mut expected);
    if source.peek(expected.len())? != expected {
        return Err(Fault::new(offset, "the tree does not end with its signature"));
    }
    source.consume(expected.len());
    Ok(())
}

/// Reads the seal of the nodes and what follows it, up to the end of the file.
fn read_trailer(source: &mut Source<'_>) -> Result<Trailer, Fault> {
    let (offset, sealed) = (source.offset(), source.checksum());
    let mut reader = Reader::new(source.peek_up_to(TRAILER_BYTES_MAX)?);
    take_seal(&mut reader, sealed).ok_or_else(|| Fault::new(offset, "the seal of the nodes is wrong"))?;
    let seal_bytes = reader.position();
    source.consume(seal_bytes);
    let digest = sealed_field(source, digest)?;
    let last_zxid = sealed_field(source, |reader| reader.read().ok().map(Zxid::from_jute))?;
    let offset = source.offset();
    match source.peek_up_to(1)? {
        [] => Ok(Trailer { digest, last_zxid }),
        _ => Err(Fault::new(offset, "the file goes on behind its end, or a seal there is wrong")),
    }
}

/// Reads a field with its seal; `None`, and nothing is consumed, if the seal does not say that it is one.
fn sealed_field<T>(
    source: &mut Source<'_>,
    read: impl FnOnce(&mut Reader<'_>) -> Option<T>,
) -> Result<Option<T>, Fault> {
    let mut sum = source.running_checksum();
    let bytes = source.peek_up_to(TRAILER_BYTES_MAX)?;
    let mut reader = Reader::new(bytes);
    let Some(value) = read(&mut reader) else { return Ok(None) };
    sum.write(&bytes[..reader.position()]);
    let sealed = take_seal(&mut reader, sum.finish());
    let end = reader.position();
    Ok(sealed.map(|()| {
        source.consume(end);
        value
    }))
}

fn digest(reader: &mut Reader<'_>) -> Option<TreeDigestAt> {
    let zxid = Zxid::from_jute(reader.read().ok()?);
    let version: i32 = reader.read().ok()?;
    let digest = if version < BINARY_DIGEST_VERSION {
        // Null, if the server had none (`DataTree.ZxidDigest.deserialize`).
        match reader.read::<Option<&[u8]>>().ok()? {
            Some(text) => i64::from_str_radix(str::from_utf8(text).ok()?, 16).ok()?,
            None => 0,
        }
    } else {
        reader.read().ok()?
    };
    Some(TreeDigestAt { zxid, version, digest })
}

/// Makes one snapshot: sessions, lists, nodes, in this order, each of the first two announced by their
/// number.
pub struct SnapshotWriter {
    sink: Sink,
    record: Vec<u8>,
}

impl SnapshotWriter {
    /// Begins one.
    pub fn new(compression: Compression) -> SnapshotWriter {
        let mut writer = SnapshotWriter { sink: Sink::new(compression), record: Vec::new() };
        write_header(SNAPSHOT_MAGIC, SNAPSHOT_DATABASE, &mut writer.record);
        writer.flush();
        writer
    }

    /// Begins what a leader sends.
    pub fn stream() -> SnapshotWriter {
        SnapshotWriter { sink: Sink::new(Compression::None), record: Vec::new() }
    }

    /// Says how many sessions, or lists, follow.
    pub fn count(&mut self, count: usize) {
        i32::try_from(count).expect("fewer than nodes fit into memory").write(&mut self.record);
        self.flush();
    }

    /// Appends an item.
    pub fn item(&mut self, item: &Item<'_>) {
        let out = &mut self.record;
        match item {
            Item::Session { id, timeout_ms } => {
                id.0.write(out);
                timeout_ms.write(out);
            }
            Item::Acl { number, list } => {
                number.write(out);
                list.write(out);
            }
            Item::Node(node) => {
                node.path.write(out);
                node.data.write(out);
                node.acl.write(out);
                node.stat.write(out);
            }
        }
        self.flush();
    }

    /// How many bytes [`Self::take_bytes`] would return.
    pub fn pending_bytes(&self) -> usize {
        self.sink.pending_bytes()
    }

    /// Bytes to append to the file.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        self.sink.take_bytes()
    }

    /// Ends the nodes and the file; returns what is left to append.
    pub fn finish(mut self, trailer: &Trailer) -> Vec<u8> {
        NODES_END.write(&mut self.record);
        self.seal();
        if let Some(TreeDigestAt { zxid, version, digest }) = trailer.digest {
            zxid.to_jute().write(&mut self.record);
            version.write(&mut self.record);
            digest.write(&mut self.record);
            self.seal();
        }
        if let Some(zxid) = trailer.last_zxid {
            zxid.to_jute().write(&mut self.record);
            self.seal();
        }
        self.sink.finish()
    }

    /// Ends the nodes and what a leader sends; returns what is left to append.
    pub fn finish_stream(mut self) -> Vec<u8> {
        NODES_END.write(&mut self.record);
        SIGNATURE.write(&mut self.record);
        self.flush();
        self.sink.finish()
    }

    fn flush(&mut self) {
        self.sink.write(&self.record);
        self.record.clear();
    }

    fn seal(&mut self) {
        self.flush();
        i64::from(self.sink.checksum()).write(&mut self.record);
        NODES_END.write(&mut self.record);
        self.flush();
    }
}
