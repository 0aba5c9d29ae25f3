//! The data directory: the system calls that the engine's log and checkpoints need.
//!
//! ```text
//! DIR/LOCK                       held by the server that runs on it
//! DIR/database                   the database's id and the directory's format, twice
//! DIR/imported                   the last transaction that came from ZooKeeper's files, if some did
//! DIR/mark                       how far the log is known to be durable, twice
//! DIR/epochs                     what this server promised to its ensemble, twice
//! DIR/log/000000000001.rklog     segments, by sequence
//! DIR/log/000000000001.rkspare   old segments' files, to be segments again
//! DIR/log/importing              the end of a ZooKeeper's log, until it is the first segment
//! DIR/snap/0000000100000005.rksnap  checkpoints, by the zxid that their replay begins behind
//! ```
//!
//! | file | what lives there |
//! |---|---|
//! | `layout` | names, the lock, opening and creating the directory |
//! | `changes` | every call that changes the directory |
//! | `aligned` | writes and reads past the page cache |
//! | `twin` | a small record kept twice |
//! | `records` | the records that are: epochs, and the log's mark |
//! | `segments` | the log's files: the writer's operations with blocking calls |
//! | `reading` | reading them back, and what lies at their ends |
//! | `checkpoints` | writing a checkpoint so that it is there whole or not at all, and mapping it |
//! | `map` | the memory map |
//! | `ahead` | the log read by a thread of its own, ahead of what is done with it |
//! | `recover` | newest valid checkpoint, then the log behind it |
//! | `refusal` | why a directory is not gone on with, and what can be done |
//! | `zookeeper` | ZooKeeper's own files: taken over, imported, exported |
//! | `retain` | removal of what recovery does not need |
//!
//! Everything here blocks: it is for the start of a server and for background threads. The log's live
//! writes go through the ring.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ringkeeper_engine::log::IoFailure;
use ringkeeper_engine::tree::kept::KeptFault;

mod ahead;
mod aligned;
mod changes;
mod checkpoints;
mod layout;
mod map;
mod reading;
mod records;
mod recover;
mod refusal;
mod retain;
mod segments;
mod twin;
pub mod zookeeper;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod recorder;
#[cfg(test)]
mod tests;

pub use checkpoints::{CheckpointFile, CheckpointName, MappedCheckpoint};
pub use layout::{DataDirectory, Manifest, parse_checkpoint_name, parse_segment_name};
pub use reading::SegmentReader;
pub use records::{Epochs, Record, RecordFile, look_at_records};
pub use recover::{Recovered, Restore};
pub use refusal::{Located, Refusal};
pub use retain::Removed;
pub use segments::SegmentFiles;
pub use twin::{COPIES_AT, TwinFault, read_twin, write_twin};

/// What went wrong with a file.
#[derive(Debug)]
pub enum DiskError {
    /// A system call failed.
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// Another server runs on this directory.
    Locked(PathBuf),
    /// A checkpoint that values of the tree are in is damaged.
    Kept(KeptFault),
    /// The directory or one of its files is not what this server may go on with.
    Refused(Refusal),
}

impl DiskError {
    /// What the kernel said, for the engine.
    pub fn to_failure(&self) -> IoFailure {
        let errno = match self {
            DiskError::Io { error, .. } => error.raw_os_error(),
            DiskError::Locked(_) | DiskError::Kept(_) | DiskError::Refused(_) => None,
        };
        IoFailure { errno, message: self.to_string() }
    }

    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
        move |error| DiskError::Io { doing, path: path.to_path_buf(), error }
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskError::Io { doing, path, error } => write!(f, "{doing} {}: {error}", path.display()),
            DiskError::Locked(path) => {
                write!(
                    f,
                    "{} is in use by another server: stop that one, or name another dataDir",
                    path.display()
                )
            }
            DiskError::Kept(fault) => {
                write!(f, "{fault}: when the server is started again, it takes the checkpoint before")
            }
            DiskError::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl std::error::Error for DiskError {}

impl From<KeptFault> for DiskError {
    fn from(fault: KeptFault) -> DiskError {
        DiskError::Kept(fault)
    }
}

impl From<Refusal> for DiskError {
    fn from(refusal: Refusal) -> DiskError {
        DiskError::Refused(refusal)
    }
}

/// Makes creations, renames and removals in a directory durable.
fn sync_directory(path: &Path) -> Result<(), DiskError> {
    changes::sync_directory(path).map_err(DiskError::io("syncing", path))
}

/// No space on the device, or over its quota.
fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
