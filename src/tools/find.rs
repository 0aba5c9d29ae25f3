//! Which files are meant by a file or a directory, and whose format they have.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ringkeeper_engine::log::format::MAGIC as SEGMENT_MAGIC;
use ringkeeper_engine::snap::format::MAGIC as CHECKPOINT_MAGIC;
use ringkeeper_net::disk;

use super::out::Trouble;

/// Where logs are in a directory that a server has: in itself, or in one of these.
const LOG_FOLDERS: [&str; 3] = [".", "log", ZOOKEEPER_FOLDER];
/// The same of snapshots.
const SNAPSHOT_FOLDERS: [&str; 3] = [".", "snap", ZOOKEEPER_FOLDER];
const ZOOKEEPER_FOLDER: &str = "version-2";

/// Whose format a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Ours.
    Ringkeeper,
    /// ZooKeeper's.
    ZooKeeper,
}

/// A file and its format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Whose.
    pub format: Format,
    /// Where.
    pub path: PathBuf,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Logs.
    Logs,
    /// Snapshots and checkpoints.
    Snapshots,
}

impl Sort {
    fn folders(self) -> &'static [&'static str] {
        match self {
            Sort::Logs => &LOG_FOLDERS,
            Sort::Snapshots => &SNAPSHOT_FOLDERS,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Sort::Logs => "no log: neither *.rklog nor log.*",
            Sort::Snapshots => "no snapshot: neither *.rksnap nor snapshot.*",
        }
    }

    fn own_magic(self) -> [u8; 4] {
        match self {
            Sort::Logs => SEGMENT_MAGIC,
            Sort::Snapshots => CHECKPOINT_MAGIC,
        }
    }

    /// By a file's name, with what orders it among its like.
    fn by_name(self, name: &str) -> Option<(Format, u64)> {
        let hexadecimal = |text: &str| u64::from_str_radix(text, 16).ok();
        match self {
            Sort::Logs => match disk::parse_segment_name(name) {
                Some(sequence) => Some((Format::Ringkeeper, sequence.0)),
                None => Some((Format::ZooKeeper, hexadecimal(name.strip_prefix("log.")?)?)),
            },
            Sort::Snapshots => match disk::parse_checkpoint_name(name) {
                Some(zxid) => Some((Format::Ringkeeper, zxid.0)),
                None => {
                    let name = name.strip_prefix("snapshot.")?;
                    let zxid = name.strip_suffix(".gz").or(name.strip_suffix(".snappy")).unwrap_or(name);
                    Some((Format::ZooKeeper, hexadecimal(zxid)?))
                }
            },
        }
    }
}

/// The files that `path` stands for, oldest first; one at least.
///
/// # Errors
/// There is no such file, or none of this sort in the directory.
pub fn files(path: &Path, sort: Sort) -> Result<Vec<Found>, Trouble> {
    let facts = fs::metadata(path).map_err(Trouble::input(path))?;
    if !facts.is_dir() {
        return Ok(vec![Found {
            format: format(path, sort).map_err(Trouble::input(path))?,
            path: path.into(),
        }]);
    }
    let mut found = Vec::new();
    for folder in sort.folders() {
        let folder = if *folder == "." { path.to_path_buf() } else { path.join(folder) };
        match fs::read_dir(&folder) {
            Ok(entries) => {
                for entry in entries {
                    let entry = entry.map_err(Trouble::input(&folder))?;
                    let name = entry.file_name();
                    if let Some((format, order)) = name.to_str().and_then(|name| sort.by_name(name)) {
                        found.push((order, Found { format, path: entry.path() }));
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
            Err(error) => return Err(Trouble::Input(folder, error)),
        }
    }
    if found.is_empty() {
        return Err(Trouble::Unusable(path.into(), format!("there is {} in it", sort.words())));
    }
    found.sort_by(|(a_order, a), (b_order, b)| {
        (a.path.parent(), a_order, &a.path).cmp(&(b.path.parent(), b_order, &b.path))
    });
    Ok(found.into_iter().map(|(_, found)| found).collect())
}

/// By the first bytes; a damaged or empty beginning by the name.
fn format(path: &Path, sort: Sort) -> io::Result<Format> {
    let mut magic = [0; 4];
    let ours = match File::open(path)?.read_exact(&mut magic) {
        Ok(()) => magic == sort.own_magic(),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
        Err(error) => return Err(error),
    };
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let by_name = sort.by_name(name).map(|(format, _)| format);
    let suffix = name.contains(".rklog") || name.contains(".rksnap");
    Ok(match by_name {
        _ if ours || suffix => Format::Ringkeeper,
        Some(format) => format,
        None => Format::ZooKeeper,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_stands_for_what_servers_keep_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert!(matches!(files(path, Sort::Logs), Err(Trouble::Unusable(..))));
        for folder in ["log", "snap", "version-2"] {
            fs::create_dir(path.join(folder)).unwrap();
        }
        for name in [
            "log/000000000010.rklog",
            "log/000000000009.rklog",
            "log/notes",
            "snap/0000000100000005.rksnap",
            "snap/0000000100000006.rksnap.tmp",
            "version-2/log.a",
            "version-2/log.1",
            "version-2/snapshot.a.gz",
            "version-2/acceptedEpoch",
        ] {
            fs::write(path.join(name), b"").unwrap();
        }
        let names = |path: &Path, sort| -> Vec<String> {
            let found = files(path, sort).unwrap();
            found
                .iter()
                .map(|f| f.path.strip_prefix(directory.path()).unwrap().display().to_string())
                .collect()
        };
        let own = ["log/000000000009.rklog", "log/000000000010.rklog"];
        let zookeeper = ["version-2/log.1", "version-2/log.a"];
        assert_eq!(names(path, Sort::Logs), [&own[..], &zookeeper].concat());
        assert_eq!(names(&path.join("log"), Sort::Logs), own);
        assert_eq!(names(&path.join("version-2"), Sort::Logs), zookeeper);
        assert_eq!(names(path, Sort::Snapshots), ["snap/0000000100000005.rksnap", "version-2/snapshot.a.gz"]);
        fs::write(path.join("copy"), b"RKLG").unwrap();
        assert_eq!(files(&path.join("copy"), Sort::Logs).unwrap()[0].format, Format::Ringkeeper);
        fs::write(path.join("other"), b"ZKLG").unwrap();
        assert_eq!(files(&path.join("other"), Sort::Logs).unwrap()[0].format, Format::ZooKeeper);
    }
}
