//! Names in a data directory, its lock, and how it is opened or made.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bincode::{Decode, Encode};
use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::log::{DatabaseId, Sequence};
use ringkeeper_engine::zookeeper::FileName;

use super::refusal::Refusal;
use super::twin::{read_twin, write_twin};
use super::{DiskError, changes, sync_directory};

/// The layout of the directory that this code makes.
const FORMAT: u32 = 1;
const LOCK: &str = "LOCK";
pub(super) const DATABASE: &str = "database";
const LOG: &str = "log";
const SNAP: &str = "snap";
/// Where ZooKeeper keeps its files in a data directory.
pub(super) const ZOOKEEPER_DATA: &str = "version-2";
/// What of ZooKeeper's the directory was made from.
pub(super) const IMPORTED: &str = "imported";
/// In the log's directory: the end of a ZooKeeper's log, before there is a manifest. No segment yet, since a
/// directory with segments and without a manifest is one that lost it.
const IMPORTING: &str = "importing";
const SEGMENT_SUFFIX: &str = ".rklog";
const SPARE_SUFFIX: &str = ".rkspare";
const CHECKPOINT_SUFFIX: &str = ".rksnap";
/// Of a checkpoint that is being written.
const TEMPORARY_SUFFIX: &str = ".tmp";
/// What was an old checkpoint and is to be the next one; as temporary as one that is being written.
pub(super) const SPARE_CHECKPOINT: &str = "spare.rksnap.tmp";

/// What `DIR/database` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Manifest {
    /// The layout of the directory.
    pub format: u32,
    /// The random id that every file of it carries.
    pub database: u64,
}

/// What `DIR/imported` says, of a directory that was made from ZooKeeper's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Imported {
    /// The last transaction that came from there.
    pub zxid: u64,
    /// The newest zxid in a name of those files: a newer one was written since.
    pub newest_name: u64,
}

/// A data directory that this server holds.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    /// The same, unless the log has a disk of its own.
    log_path: PathBuf,
    database: DatabaseId,
    created: bool,
    /// Unlocked when it is closed, also by a crash.
    _locks: Vec<File>,
}

impl DataDirectory {
    /// Opens the directory, with the log in `log_path`, or makes it if it is missing or empty. Removes what an interrupted
    /// checkpoint left.
    ///
    /// # Errors
    /// `Locked` if another server holds it; `Refused` if it is not a directory of ours.
    pub fn open(path: &Path, log_path: &Path) -> Result<DataDirectory, DiskError> {
        let locks = match path == log_path {
            true => vec![lock(path)?],
            false => vec![lock(path)?, lock(log_path)?],
        };
        let (manifest, created) = match manifest(path)? {
            Some(manifest) => {
                let imported = read_imported(path)?;
                let known = imported.map(|imported| Zxid(imported.zxid.max(imported.newest_name)));
                let newer = |found: &FileName| known.is_none_or(|known| found.zxid() > known);
                if let Some(found) = zookeeper_data(path, newer).or_else(|| zookeeper_data(log_path, newer)) {
                    return Err(Refusal::TwoHistories { path: path.into(), found }.into());
                }
                finish_import(log_path)?;
                (manifest, false)
            }
            None => (create(path, log_path)?, true),
        };
        let database = DatabaseId(manifest.database);
        let (path, log_path) = (path.to_path_buf(), log_path.to_path_buf());
        let directory = DataDirectory { path, log_path, database, created, _locks: locks };
        directory.remove_temporaries()?;
        directory.settle()?;
        directory.read_epochs()?;
        Ok(directory)
    }

    /// Makes a directory of what was read from ZooKeeper's files: `fill` writes a checkpoint of it. An
    /// interrupted one is begun anew; nothing but its manifest, which comes last, makes it a directory.
    ///
    /// # Errors
    /// `Locked` if another server holds it; `Refused` if there is anything in it already.
    pub(super) fn create_filled(
        path: &Path,
        log_path: &Path,
        imported: Imported,
        fill: impl FnOnce(&DataDirectory) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        let locks = match path == log_path {
            true => vec![lock(path)?],
            false => vec![lock(path)?, lock(log_path)?],
        };
        if manifest(path)?.is_some() {
            return Err(Refusal::NotEmpty { path: path.into() }.into());
        }
        let snap = path.join(SNAP);
        make_directory(&snap)?;
        let log = log_path.join(LOG);
        let unfinished = log.join(IMPORTING);
        if unfinished.exists() {
            changes::remove(&unfinished).map_err(DiskError::io("removing", &unfinished))?;
        }
        // With segments there is a server that has been at work, and its manifest is lost.
        make_empty(path, &[log])?;
        if let Some(interrupted) = read_imported(path)? {
            // It has what ZooKeeper's files have; of a server that was at work there would be a log.
            let own = |name: &str| parse_checkpoint_name(name).is_some_and(|zxid| zxid.0 <= interrupted.zxid);
            for name in names(&snap)?.iter().filter(|name| own(name) || name.ends_with(TEMPORARY_SUFFIX)) {
                let file = snap.join(name);
                changes::remove(&file).map_err(DiskError::io("removing", &file))?;
            }
        }
        make_empty(path, &[snap])?;
        write_twin(&path.join(IMPORTED), &imported)?;
        let manifest = new_manifest()?;
        let (database, created) = (DatabaseId(manifest.database), true);
        let (own, log_path) = (path.to_path_buf(), log_path.to_path_buf());
        let directory = DataDirectory { path: own, log_path, database, created, _locks: locks };
        fill(&directory)?;
        write_manifest(path, &manifest)?;
        finish_import(&directory.log_path)
    }

    /// Where the log of an import is until that is done.
    pub(super) fn imported_log(&self) -> PathBuf {
        self.log().join(IMPORTING)
    }

    /// Whether there is a directory of ours at `path`.
    ///
    /// # Errors
    /// `Refused` if it is of another release, or its manifest is damaged.
    pub fn is_at(path: &Path) -> Result<bool, DiskError> {
        Ok(manifest(path)?.is_some())
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The id of the database in it.
    pub fn database(&self) -> DatabaseId {
        self.database
    }

    /// Whether it was made by this opening, so that nothing is in it.
    pub fn is_new(&self) -> bool {
        self.created
    }

    /// The last transaction of what this was made from, if that was ZooKeeper's.
    pub(super) fn imported(&self) -> Result<Option<Zxid>, DiskError> {
        Ok(read_imported(&self.path)?.map(|imported| Zxid(imported.zxid)))
    }

    /// Where segments are.
    pub fn log(&self) -> PathBuf {
        self.log_path.join(LOG)
    }

    /// Where checkpoints are.
    pub fn snap(&self) -> PathBuf {
        self.path.join(SNAP)
    }

    fn remove_temporaries(&self) -> Result<(), DiskError> {
        for name in names(&self.snap())? {
            if name.ends_with(TEMPORARY_SUFFIX) {
                let path = self.snap().join(name);
                changes::remove(&path).map_err(DiskError::io("removing", &path))?;
            }
        }
        Ok(())
    }

    /// Makes durable what a server before this one changed and did not live to sync: names that it gave,
    /// among them the directories' own. What is built on them must not outlive them.
    fn settle(&self) -> Result<(), DiskError> {
        let own = if self.path == self.log_path { &[&self.path][..] } else { &[&self.path, &self.log_path] };
        for path in [&self.snap(), &self.log()].iter().chain(own) {
            sync_directory(path)?;
        }
        for path in own {
            match sync_parent(path) {
                // A directory that this server may not list is not one that it made.
                Err(DiskError::Io { error, .. }) if error.kind() == io::ErrorKind::PermissionDenied => {}
                synced => synced?,
            }
        }
        Ok(())
    }
}

/// Makes the log of an import that was done the first segment, unless it is that already: a crash may have come
/// between.
fn finish_import(log_path: &Path) -> Result<(), DiskError> {
    let log = log_path.join(LOG);
    let imported = log.join(IMPORTING);
    if !imported.exists() {
        return Ok(());
    }
    let segment = log.join(segment_name(Sequence::FIRST));
    changes::rename(&imported, &segment).map_err(DiskError::io("renaming to", &segment))?;
    sync_directory(&log)
}

fn sync_parent(path: &Path) -> Result<(), DiskError> {
    let whole = path.canonicalize().map_err(DiskError::io("looking for", path))?;
    whole.parent().map_or(Ok(()), sync_directory)
}

/// Makes a directory and those above it that are missing, durably.
fn make_directory(path: &Path) -> Result<(), DiskError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_directory(parent)?;
    }
    changes::make_directory(path).map_err(DiskError::io("creating", path))?;
    sync_parent(path)
}

/// Makes a directory and keeps other servers out of it.
fn lock(path: &Path) -> Result<File, DiskError> {
    make_directory(path)?;
    let lock_path = path.join(LOCK);
    let lock = File::options().create(true).truncate(false).write(true).open(&lock_path);
    let lock = lock.map_err(DiskError::io("opening", &lock_path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(DiskError::Locked(path.to_path_buf())),
        Err(TryLockError::Error(error)) => Err(DiskError::io("locking", &lock_path)(error)),
    }
}

fn manifest(path: &Path) -> Result<Option<Manifest>, DiskError> {
    match read_twin::<Manifest>(&path.join(DATABASE))? {
        Some(Ok(manifest)) if manifest.format == FORMAT => Ok(Some(manifest)),
        Some(Ok(manifest)) => {
            Err(Refusal::UnknownDirectory { path: path.into(), format: manifest.format }.into())
        }
        Some(Err(fault)) => Err(Refusal::Record { path: path.join(DATABASE), fault, cure: None }.into()),
        None => Ok(None),
    }
}

fn read_imported(path: &Path) -> Result<Option<Imported>, DiskError> {
    let path = path.join(IMPORTED);
    match read_twin::<Imported>(&path)? {
        Some(Err(fault)) => Err(Refusal::Record { path, fault, cure: None }.into()),
        Some(Ok(imported)) => Ok(Some(imported)),
        None => Ok(None),
    }
}

/// One of ZooKeeper's own files that `counts`, if there are any.
fn zookeeper_data(path: &Path, counts: impl Fn(&FileName) -> bool) -> Option<PathBuf> {
    let directory = path.join(ZOOKEEPER_DATA);
    let files = names(&directory).ok()?;
    let data = files.into_iter().find(|name| FileName::parse(name).is_some_and(|name| counts(&name)))?;
    Some(directory.join(data))
}

fn create(path: &Path, log_path: &Path) -> Result<Manifest, DiskError> {
    let any = |_: &FileName| true;
    if let Some(found) = zookeeper_data(path, any).or_else(|| zookeeper_data(log_path, any)) {
        return Err(Refusal::ZooKeeperData { found }.into());
    }
    if read_imported(path)?.is_some() {
        return Err(Refusal::ImportUnfinished { path: path.into() }.into());
    }
    make_empty(path, &[log_path.join(LOG), path.join(SNAP)])?;
    let manifest = new_manifest()?;
    write_manifest(path, &manifest)?;
    Ok(manifest)
}

/// Makes the directories in which nothing may be yet.
fn make_empty(path: &Path, directories: &[PathBuf]) -> Result<(), DiskError> {
    for sub in directories {
        make_directory(sub)?;
        // Without its manifest a directory with content is not a new one: it must not get another id.
        if let Some(name) = names(sub)?.into_iter().next() {
            return Err(Refusal::NoManifest { path: path.into(), found: sub.join(name) }.into());
        }
    }
    Ok(())
}

fn new_manifest() -> Result<Manifest, DiskError> {
    let mut id = [0; 8];
    let random = Path::new("/dev/urandom");
    let read = File::open(random).and_then(|mut file| file.read_exact(&mut id));
    read.map_err(DiskError::io("reading", random))?;
    Ok(Manifest { format: FORMAT, database: u64::from_le_bytes(id) })
}

fn write_manifest(path: &Path, manifest: &Manifest) -> Result<(), DiskError> {
    write_twin(&path.join(DATABASE), manifest)
}

/// Names of a directory's files.
pub(super) fn names(path: &Path) -> Result<Vec<String>, DiskError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(DiskError::io("listing", path))? {
        let entry = entry.map_err(DiskError::io("listing", path))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}

pub(super) fn segment_name(sequence: Sequence) -> String {
    format!("{:012}{SEGMENT_SUFFIX}", sequence.0)
}

/// The segment that a file of this name holds; `None` if it is no segment's name.
pub fn parse_segment_name(name: &str) -> Option<Sequence> {
    let sequence = Sequence(name.strip_suffix(SEGMENT_SUFFIX)?.parse().ok()?);
    (segment_name(sequence) == name).then_some(sequence)
}

/// Of a file that is out of the log and waits to be a segment again.
pub(super) fn spare_name(spare: Sequence) -> String {
    format!("{:012}{SPARE_SUFFIX}", spare.0)
}

pub(super) fn parse_spare_name(name: &str) -> Option<Sequence> {
    let spare = Sequence(name.strip_suffix(SPARE_SUFFIX)?.parse().ok()?);
    (spare_name(spare) == name).then_some(spare)
}

pub(super) fn checkpoint_name(first_zxid: Zxid) -> String {
    format!("{:016x}{CHECKPOINT_SUFFIX}", first_zxid.0)
}

/// The zxid that replay begins behind, of a checkpoint of this name; `None` if it is no checkpoint's name.
pub fn parse_checkpoint_name(name: &str) -> Option<Zxid> {
    let zxid = Zxid(u64::from_str_radix(name.strip_suffix(CHECKPOINT_SUFFIX)?, 16).ok()?);
    (checkpoint_name(zxid) == name).then_some(zxid)
}

pub(super) fn temporary_name(first_zxid: Zxid) -> String {
    checkpoint_name(first_zxid) + TEMPORARY_SUFFIX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::twin;

    #[test]
    fn names_are_read_as_they_are_written_and_no_others() {
        assert_eq!(segment_name(Sequence(7)), "000000000007.rklog");
        assert_eq!(checkpoint_name(Zxid(0x1_0000_0005)), "0000000100000005.rksnap");
        for number in [0, 1, 999_999_999_999, 1_000_000_000_000, u64::MAX] {
            assert_eq!(parse_segment_name(&segment_name(Sequence(number))), Some(Sequence(number)));
            assert_eq!(parse_spare_name(&spare_name(Sequence(number))), Some(Sequence(number)));
            assert_eq!(parse_segment_name(&spare_name(Sequence(number))), None);
            assert_eq!(parse_checkpoint_name(&checkpoint_name(Zxid(number))), Some(Zxid(number)));
        }
        for name in ["7.rklog", "+00000000007.rklog", "000000000007.rklog~", ".rklog", "snap"] {
            assert_eq!(parse_segment_name(name), None);
        }
        assert_eq!(parse_checkpoint_name("0000000100000005.rksnap.tmp"), None);
        assert_eq!(parse_checkpoint_name("00000001000000AB.rksnap"), None);
    }

    #[test]
    fn a_manifest_keeps_its_golden_bytes() {
        let bytes = twin::encode(&Manifest { format: 1, database: 0x1122_3344_5566_7788 });
        let hex: String = bytes[..24].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, concat!("524b5457", "0c000000", "f1826039", "01000000", "8877665544332211"));
    }

    #[test]
    fn a_directory_is_made_once_and_held_by_one() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("new/data");
        let first = DataDirectory::open(&path, &path).unwrap();
        assert!(first.is_new());
        assert!(matches!(DataDirectory::open(&path, &path), Err(DiskError::Locked(_))));
        let database = first.database();
        fs::write(first.snap().join(temporary_name(Zxid(1))), b"half").unwrap();
        drop(first);
        let again = DataDirectory::open(&path, &path).unwrap();
        assert_eq!((again.database(), again.is_new()), (database, false));
        assert_eq!(names(&again.snap()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn zookeepers_data_is_not_shadowed_by_an_empty_tree() {
        let path = tempfile::tempdir().unwrap();
        let path = path.path().join("data");
        fs::create_dir_all(path.join(ZOOKEEPER_DATA)).unwrap();
        drop(DataDirectory::open(&path, &path).unwrap());
        fs::remove_file(path.join(DATABASE)).unwrap();
        fs::write(path.join(ZOOKEEPER_DATA).join("snapshot.0"), b"ZKSN").unwrap();
        let refused = DataDirectory::open(&path, &path);
        assert!(matches!(refused, Err(DiskError::Refused(Refusal::ZooKeeperData { .. }))));
    }

    #[test]
    fn what_is_made_of_zookeepers_files_is_there_whole_or_begun_anew() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        fs::create_dir_all(path.join(ZOOKEEPER_DATA)).unwrap();
        let newest = path.join(ZOOKEEPER_DATA).join("log.5");
        fs::write(&newest, b"ZKLG").unwrap();
        let imported = Imported { zxid: 7, newest_name: 5 };
        let half = |directory: &DataDirectory| {
            fs::write(directory.snap().join(checkpoint_name(Zxid(7))), b"whole").unwrap();
            Err(DiskError::Locked(directory.path().into()))
        };
        let whole = |directory: &DataDirectory| half(directory).or(Ok(()));
        let fill = |fill: &dyn Fn(&DataDirectory) -> Result<(), DiskError>| {
            DataDirectory::create_filled(&path, &path, imported, fill)
        };
        let refused = |opened: Result<DataDirectory, DiskError>| match opened {
            Err(DiskError::Refused(refusal)) => refusal,
            other => panic!("{other:?}"),
        };
        for _ in 0..2 {
            assert!(matches!(fill(&half), Err(DiskError::Locked(_))));
            assert!(matches!(refused(DataDirectory::open(&path, &path)), Refusal::ZooKeeperData { .. }));
        }
        fill(&whole).unwrap();
        assert!(matches!(fill(&whole), Err(DiskError::Refused(Refusal::NotEmpty { .. }))));
        let directory = DataDirectory::open(&path, &path).unwrap();
        assert!(!directory.is_new());
        fs::write(directory.log().join(segment_name(Sequence(1))), b"").unwrap();
        drop(directory);

        // A server has been at work: what is lost then is not made again of what ZooKeeper left.
        fs::rename(path.join(DATABASE), parent.path().join(DATABASE)).unwrap();
        assert!(matches!(fill(&whole), Err(DiskError::Refused(Refusal::NoManifest { .. }))));
        fs::rename(parent.path().join(DATABASE), path.join(DATABASE)).unwrap();
        // ZooKeeper began again after transaction 7.
        fs::write(path.join(ZOOKEEPER_DATA).join("snapshot.7"), b"ZKSN").unwrap();
        drop(DataDirectory::open(&path, &path).unwrap());
        fs::write(path.join(ZOOKEEPER_DATA).join("log.8"), b"ZKLG").unwrap();
        assert!(matches!(refused(DataDirectory::open(&path, &path)), Refusal::TwoHistories { .. }));
    }

    #[test]
    fn a_directory_that_lost_its_manifest_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let directory = DataDirectory::open(&path, &path).unwrap();
        fs::write(directory.log().join(segment_name(Sequence(1))), b"").unwrap();
        drop(directory);
        let manifest = path.join(DATABASE);
        let mut bytes = fs::read(&manifest).unwrap();
        fs::remove_file(&manifest).unwrap();
        assert!(matches!(
            DataDirectory::open(&path, &path),
            Err(DiskError::Refused(Refusal::NoManifest { .. }))
        ));
        bytes[13] ^= 1;
        bytes[4096 + 13] ^= 1;
        fs::write(&manifest, &bytes).unwrap();
        assert!(matches!(DataDirectory::open(&path, &path), Err(DiskError::Refused(Refusal::Record { .. }))));
        write_twin(&manifest, &Manifest { format: 9, database: 1 }).unwrap();
        assert!(matches!(
            DataDirectory::open(&path, &path),
            Err(DiskError::Refused(Refusal::UnknownDirectory { format: 9, .. }))
        ));
    }
}
