//! Why a server does not go on with its data, in words for the operator: which file, what is wrong with it and
//! where, and what can be done.

use std::fmt;
use std::path::{Path, PathBuf};

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::log::{DatabaseId, Verdict};

use super::layout::segment_name;
use super::twin::TwinFault;

/// Why a server does not go on with a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The directory's layout is of a later release.
    UnknownDirectory {
        /// The directory.
        path: PathBuf,
        /// The layout it has.
        format: u32,
    },
    /// A record that is kept twice is unusable.
    Record {
        /// Its file.
        path: PathBuf,
        /// Why.
        fault: TwinFault,
        /// What helps, if it is not a backup.
        cure: Option<&'static str>,
    },
    /// The epochs say what no server does.
    EpochsContradict {
        /// Their file.
        path: PathBuf,
        /// The epoch promised.
        accepted: u32,
        /// The epoch lived in.
        current: u32,
    },
    /// The directory has content and no manifest.
    NoManifest {
        /// The directory.
        path: PathBuf,
        /// What is in it.
        found: PathBuf,
    },
    /// The directory holds a ZooKeeper's data and none of ours: an empty tree in its place would be
    /// the loss of it to every client.
    ZooKeeperData {
        /// One of ZooKeeper's files.
        found: PathBuf,
    },
    /// The directory holds a database of ours, and a ZooKeeper's data that it was not made from.
    TwoHistories {
        /// The directory.
        path: PathBuf,
        /// One of ZooKeeper's files.
        found: PathBuf,
    },
    /// An import into the directory was begun, and its data is not all there.
    ImportUnfinished {
        /// The directory.
        path: PathBuf,
    },
    /// What is to be made is there already.
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// ZooKeeper's files do not say what the server knew.
    ZooKeeper(String),
    /// A checkpoint of a later release.
    UnknownCheckpoint {
        /// Its file.
        path: PathBuf,
        /// The version it has.
        version: u32,
    },
    /// A checkpoint of another database.
    ForeignCheckpoint {
        /// Its file.
        path: PathBuf,
        /// Its database.
        found: DatabaseId,
    },
    /// The log cannot be used.
    Log {
        /// What is wrong with it.
        verdict: Verdict,
        /// The directory of its files.
        log: PathBuf,
        /// The checkpoint behind which it is needed; `None`: there is none, so all of it is.
        checkpoint: Option<PathBuf>,
        /// Damaged checkpoints, which would have needed less of it.
        damaged: Vec<(PathBuf, String)>,
    },
    /// The log lacks its end.
    LogEndsEarly {
        /// Its last transaction.
        last: Zxid,
        /// The checkpoint or mark that knows more.
        path: PathBuf,
        /// Up to where.
        known: Zxid,
        /// The directory of its files.
        log: PathBuf,
        /// What was found at its end.
        verdict: Verdict,
    },
}

/// What helps where data is damaged or gone, for this server alone cannot know what it was.
const RESTORE: &str = "a standalone server needs its data directory restored from a backup; one of an ensemble is \
                       given an empty one while most of the others serve, and takes the data from them";
/// What helps where a server does not know what it promised: an older promise would be as wrong as none.
pub(super) const REJOIN: &str =
    "give this server an empty data directory while most of the others serve: it takes the data from them";
/// What helps against a format of later releases.
const UPGRADE: &str = "start the release that wrote it, or a later one";
/// What helps against a file of another database.
const PUT_BACK: &str = "put back the file that belongs here, or restore the data directory from a backup";

impl Refusal {
    /// What an operator can do about it.
    fn cure(&self) -> Option<&'static str> {
        match self {
            Refusal::UnknownDirectory { .. }
            | Refusal::UnknownCheckpoint { .. }
            | Refusal::Log { verdict: Verdict::UnknownVersion { .. }, .. } => Some(UPGRADE),
            Refusal::ForeignCheckpoint { .. }
            | Refusal::NoManifest { .. }
            | Refusal::Log { verdict: Verdict::ForeignDatabase { .. }, .. } => Some(PUT_BACK),
            Refusal::Record { cure: Some(cure), .. } => Some(cure),
            Refusal::EpochsContradict { .. } => Some(REJOIN),
            Refusal::Record { cure: None, .. } | Refusal::Log { .. } | Refusal::LogEndsEarly { .. } => {
                Some(RESTORE)
            }
            Refusal::ZooKeeperData { .. } => {
                Some("make one with `ringkeeper import`, or name another dataDir")
            }
            Refusal::TwoHistories { .. } => Some("move away the one that does not count"),
            Refusal::ImportUnfinished { .. } => Some("repeat the import, or name another directory"),
            Refusal::NotEmpty { .. } => Some("name a directory without one"),
            // Its text says it.
            Refusal::ZooKeeper(_) => None,
        }
    }

    fn write_what(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::UnknownDirectory { path, format } => {
                write!(f, "{} has format {format}, which this release does not know", path.display())
            }
            Refusal::Record { path, fault, .. } => write!(f, "{}: {fault}", path.display()),
            Refusal::EpochsContradict { path, accepted, current } => write!(
                f,
                "{}: epoch {current} is current, though only {accepted} was accepted",
                path.display()
            ),
            Refusal::NoManifest { path, found } => write!(
                f,
                "{} has no file `database`, and yet there is {}: its database is unknown",
                path.display(),
                found.display()
            ),
            Refusal::ZooKeeperData { found } => write!(
                f,
                "{} is ZooKeeper's own data, and there is no database of ours made from it",
                found.display()
            ),
            Refusal::TwoHistories { path, found } => write!(
                f,
                "{} has a database of ours, yet {} was written by a ZooKeeper and is not in it: which of \
                 the two counts is not known",
                path.display(),
                found.display()
            ),
            Refusal::ImportUnfinished { path } => {
                write!(f, "{} has no database: an import into it was not completed", path.display())
            }
            Refusal::NotEmpty { path } => write!(f, "{} has a database already", path.display()),
            Refusal::ZooKeeper(text) => f.write_str(text),
            Refusal::UnknownCheckpoint { path, version } => {
                write!(f, "{} has format version {version}, which this release does not know", path.display())
            }
            Refusal::ForeignCheckpoint { path, found } => {
                write!(f, "{} belongs to another database, {found}", path.display())
            }
            Refusal::Log { verdict, log, checkpoint, damaged } => {
                write!(f, "{}", Located { verdict, log })?;
                if checkpoint.is_none() {
                    f.write_str("; without a valid checkpoint the whole log is needed")?;
                }
                for (path, why) in damaged {
                    write!(f, "; {} would have served, but is {why}", path.display())?;
                }
                Ok(())
            }
            Refusal::LogEndsEarly { last, path, known, log, verdict } => {
                write!(
                    f,
                    "the log ends at {last}, but {} knows that it was durable up to {known}: transactions \
                     are lost from {}",
                    path.display(),
                    log.display()
                )?;
                match verdict {
                    Verdict::TornTail { segment, offset, why } | Verdict::Hole { segment, offset, why } => {
                        let file = log.join(segment_name(*segment));
                        write!(f, "; {} is damaged at offset {offset}: {why}", file.display())
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_what(f)?;
        self.cure().map_or(Ok(()), |cure| write!(f, "; to go on: {cure}"))
    }
}

/// A verdict on a log, with the file that it is about.
pub struct Located<'v> {
    /// The verdict.
    pub verdict: &'v Verdict,
    /// The directory of the log's files.
    pub log: &'v Path,
}

impl fmt::Display for Located<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.verdict.fmt(f)?;
        let file = match self.verdict {
            Verdict::Clean => return Ok(()),
            Verdict::BeginsLate { .. } => self.log.to_path_buf(),
            Verdict::TornTail { segment, .. }
            | Verdict::Hole { segment, .. }
            | Verdict::Corrupt { segment, .. }
            | Verdict::Gap { missing: segment }
            | Verdict::UnknownVersion { segment, .. }
            | Verdict::ForeignDatabase { segment, .. } => self.log.join(segment_name(*segment)),
        };
        write!(f, " ({})", file.display())
    }
}
