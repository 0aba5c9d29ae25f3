//! `ringkeeper snapshot`: dump, verify, summary and compare, over both formats.
//!
//! | file | what lives there |
//! |---|---|
//! | `checkpoint` | one of our checkpoints, block by block, on behind damage |
//! | `zookeeper` | one of ZooKeeper's snapshots, up to the first damage |
//! | `dump`, `verify`, `summary`, `compare` | what the commands do with the items that those two deliver |

mod checkpoint;
mod compare;
mod dump;
mod summary;
mod verify;
mod zookeeper;

use std::fmt::{self, Display};
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::jute::records::StatPersisted;
use ringkeeper_engine::tree::node::NodeKind;
use serde::Serialize;

use super::args::SnapshotCommand;
use super::bytes::FileBytes;
use super::find::{self, Format, Found, Sort};
use super::out::{Findings, Progress, Trouble, conclude};
use super::show::{AclEntry, Hex, Plain};

/// Runs a command.
pub fn main(command: &SnapshotCommand) -> ExitCode {
    conclude(match command {
        SnapshotCommand::Dump(args) => dump::run(args),
        SnapshotCommand::Verify(args) => verify::run(args),
        SnapshotCommand::Summary(args) => summary::run(args),
        SnapshotCommand::Compare(args) => {
            // As with `diff`, that two files differ is an answer, and one that cannot be read is not.
            let compared = compare::run(args);
            if let Ok(compare::Compared { damaged: 1.., .. }) = compared {
                return ExitCode::from(2);
            }
            compared.map(|compared| Findings { faults: compared.differences, unread: 0 })
        }
    })
}

/// What a file's beginning says.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<String>,
    /// Replay of the log begins behind this.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_zxid: Option<Hex>,
    /// Replay has to reach this.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_zxid: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compression: Option<&'static str>,
}

impl Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.format {
            "ringkeeper" => f.write_str("a checkpoint")?,
            _ => f.write_str("ZooKeeper's snapshot")?,
        }
        if let Some(database) = &self.database {
            write!(f, " of database {database}")?;
        }
        if let Some(first) = self.first_zxid {
            write!(f, ", replay begins behind {first}")?;
        }
        if let Some(last) = self.last_zxid {
            write!(f, ", and has to reach {last}")?;
        }
        match self.compression {
            Some(compression) => write!(f, ", packed with {compression}"),
            None => Ok(()),
        }
    }
}

/// A list of access rights; `None` if it is lost with what held it.
type AclList = Option<Arc<[AclEntry]>>;

/// A znode.
#[derive(Clone, Debug)]
struct Node<'a> {
    /// Of the node, or of the block that holds it, in bytes.
    offset: u64,
    /// The root's is `/`.
    path: &'a str,
    data: Option<&'a [u8]>,
    acl: AclList,
    stat: StatPersisted,
    /// The checksum of what holds it is wrong.
    suspect: bool,
}

impl Node<'_> {
    fn kind(&self) -> NodeKind {
        NodeKind::from_owner(self.stat.ephemeral_owner, true)
    }

    fn data_bytes(&self) -> u64 {
        self.data.map_or(0, |data| data.len() as u64)
    }

    /// The newest transaction that changed its data or its children.
    fn changed(&self) -> Zxid {
        let StatPersisted { mzxid, pzxid, .. } = self.stat;
        Zxid::from_jute(mzxid).max(Zxid::from_jute(pzxid))
    }
}

/// A session.
#[derive(Clone, Copy, Debug)]
struct Session {
    id: SessionId,
    timeout_ms: i64,
    suspect: bool,
}

/// A damaged place.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Damage {
    /// In bytes from the file's beginning; of what is unpacked, if the file is compressed.
    offset: u64,
    /// How much of the file is concerned, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    what: String,
}

impl Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "damaged at offset {}: {}", self.offset, Plain(&self.what))?;
        match self.bytes {
            Some(bytes) => write!(f, " ({bytes} bytes)"),
            None => Ok(()),
        }
    }
}

/// The digest of the tree that ZooKeeper writes behind the nodes.
#[derive(Clone, Copy, Debug, Serialize)]
struct Digest {
    zxid: Hex,
    version: i32,
    tree: Hex,
}

/// What is known only at the end.
#[derive(Clone, Copy, Debug, Default)]
struct Tail {
    digest: Option<Digest>,
    last_zxid: Option<Zxid>,
}

/// What a snapshot consists of, in the order of the file.
#[derive(Debug)]
enum Item<'a> {
    Head(Head),
    Node(Node<'a>),
    Session(Session),
    Damage(Damage),
    End(Tail),
}

/// Takes the items of a file.
type Visit<'v> = &'v mut dyn FnMut(Item<'_>) -> io::Result<()>;

/// Delivers all items of a file; `progress` is told the offset. Returns how many places are damaged.
///
/// A server that runs writes its next checkpoint over the file of one that it needs no more, under another
/// name: what looks like damage then is none, and ends the reading.
fn read(found: &Found, progress: &mut Progress, visit: Visit<'_>) -> Result<u64, Trouble> {
    let mut file = FileBytes::open(&found.path).map_err(Trouble::input(&found.path))?;
    let name = (found.format == Format::Ringkeeper).then(|| file.held_name());
    let (mut damaged, mut retired) = (0, false);
    let mut counting = |item: Item<'_>| {
        if matches!(item, Item::Damage(_)) {
            retired = name.as_ref().is_some_and(|name| !name.holds());
            if retired {
                return Err(io::Error::other("retired"));
            }
            damaged += 1;
        }
        visit(item)
    };
    let read = match found.format {
        Format::Ringkeeper => checkpoint::read(&mut file, progress, &mut counting),
        Format::ZooKeeper => zookeeper::read(&mut file, progress, &mut counting),
    };
    if retired {
        return Err(Trouble::Retired(found.path.clone()));
    }
    read?;
    progress.file_done(file.length());
    Ok(damaged)
}

/// The file that is meant, the newest of a directory.
fn newest(path: &Path) -> Result<Found, Trouble> {
    let mut files = find::files(path, Sort::Snapshots)?;
    Ok(files.pop().expect("there is one at least"))
}

/// A file's length, for a progress bar.
fn length(found: &Found) -> u64 {
    std::fs::metadata(&found.path).map_or(0, |facts| facts.len())
}

/// The path above; `None` above the root.
fn parent(path: &str) -> Option<&str> {
    match path.rsplit_once('/') {
        Some(("", "")) | None => None,
        Some(("", _)) => Some("/"),
        Some((parent, _)) => Some(parent),
    }
}

/// How deep a path is; the root is at 0.
fn depth(path: &str) -> usize {
    if path == "/" { 0 } else { path.bytes().filter(|byte| *byte == b'/').count() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringkeeper_engine::log::DatabaseId;
    use ringkeeper_engine::snap::{AclIndex, CheckpointWriter, NodeRecord};
    use std::fs;

    /// A checkpoint that is longer than what is read at a time.
    fn long_checkpoint() -> Vec<u8> {
        let mut writer = CheckpointWriter::new(DatabaseId(7), Zxid(5));
        let (AclIndex(acl), data) = (writer.intern_acl(&[0; 4]), [3; 4000]);
        let mut bytes = Vec::new();
        for number in 0..1500 {
            writer.node(&NodeRecord {
                path: &format!("/{number:05}"),
                parent: None,
                data: Some(&data),
                acl: AclIndex(acl),
                czxid: Zxid(1),
                mzxid: Zxid(1),
                pzxid: Zxid(1),
                ctime: 0,
                mtime: 0,
                version: 0,
                cversion: 0,
                aversion: 0,
                ephemeral_owner: 0,
            });
            while let Some(piece) = writer.take_bytes() {
                bytes.extend(piece);
            }
        }
        writer.finish(Zxid(5)).for_each(|piece| bytes.extend(piece));
        bytes
    }

    #[test]
    fn a_checkpoint_that_a_running_server_writes_over_is_not_called_damaged() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("0000000000000005.rksnap");
        let bytes = long_checkpoint();
        let found = Found { format: Format::Ringkeeper, path: path.clone() };
        let spare = home.path().join("spare.rksnap.tmp");
        for (renamed, written_over) in [(false, false), (true, false), (true, true), (false, true)] {
            fs::write(&path, &bytes).unwrap();
            let mut nodes = 0;
            let read = read(&found, &mut Progress::of_nodes(), &mut |item| {
                nodes += u64::from(matches!(item, Item::Node(_)));
                if nodes == 1 && matches!(item, Item::Node(_)) {
                    let now = if renamed { &spare } else { &path };
                    fs::rename(&path, now)?;
                    if written_over {
                        let file = fs::File::options().write(true).open(now)?;
                        io::Write::write_all(&mut &file, &vec![9; bytes.len()])?;
                    }
                }
                Ok(())
            });
            match (renamed, written_over) {
                (_, false) => assert!(matches!(read, Ok(0)) && nodes == 1500, "{read:?}, {nodes} nodes"),
                (true, true) => assert!(matches!(read, Err(Trouble::Retired(_))) && nodes > 0, "{read:?}"),
                (false, true) => assert!(matches!(read, Ok(1..)), "damage is damage: {read:?}"),
            }
        }
    }
}
