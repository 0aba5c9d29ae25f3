//! ZooKeeper's own files on the disk: a data directory of ours made from them, and the other way. They
//! are only ever read; what is written goes into directories that hold none.
//!
//! ZooKeeper's directory is taken over where it is: our files come to lie beside `version-2`, in the
//! places where a directory of ours has them. So the configuration stays as it is, and a ZooKeeper that
//! is started there again finds what it left. What it then writes shows in the names of its files: from
//! there on two histories differ, and neither server may go on with the other's part unseen.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ringkeeper_engine::checkpoint;
use ringkeeper_engine::database::Database;
use ringkeeper_engine::id::{Epoch, SessionId, Zxid};
use ringkeeper_engine::log::format::SEGMENT_HEADER_BYTES;
use ringkeeper_engine::log::{LogError, LogWriter, Sequence, Settings, SyncMode, Tail};
use ringkeeper_engine::snap::{Checkpoint, CheckpointWriter};
use ringkeeper_engine::zookeeper::FileName;
use ringkeeper_engine::zookeeper::export::{DigestFields, Written, write_snapshot, write_transaction};
use ringkeeper_engine::zookeeper::format::{log_name, snapshot_name};
use ringkeeper_engine::zookeeper::log::write_log_header;
use ringkeeper_engine::zookeeper::replay::Replay;
use ringkeeper_engine::zookeeper::restore::{Digests, Extent, Refusal as Refused, Restored, restore_part};
use ringkeeper_engine::zookeeper::stream::{Compression, Input};

use super::checkpoints::CheckpointFile;
use super::layout::{DataDirectory, Imported as Record, ZOOKEEPER_DATA, names};
use super::recover::Restore;
use super::refusal::Refusal;
use super::segments::SegmentFiles;
use super::{DiskError, Epochs, changes, sync_directory};

const MYID: &str = "myid";
/// Bytes of a ZooKeeper's last transactions that become our log; what is before them is in the checkpoint. More
/// than an ensemble has under way at a time: of what none else has, a leader demands that it is cut.
const TAIL_BYTES_MAX: usize = 32 << 20;
/// What a server promised to its ensemble, and keeps across a restart: without them it could promise one
/// epoch twice, and two leaders would write different transactions of one number.
const EPOCHS: [&str; 2] = ["currentEpoch", "acceptedEpoch"];
/// Of a file that is being written. ZooKeeper takes no such name for one of its own.
const TEMPORARY_PREFIX: &str = "exporting.";

/// A data directory and, if that has its own, the directory of its log.
#[derive(Clone, Copy, Debug)]
pub struct Place<'p> {
    /// `dataDir`.
    pub data: &'p Path,
    /// `dataLogDir`.
    pub log: &'p Path,
}

impl Place<'_> {
    /// Whether there is something to read from.
    fn check(&self) -> Result<(), DiskError> {
        for path in [self.data, self.log] {
            let facts = fs::metadata(path).map_err(DiskError::io("reading", path))?;
            if !facts.is_dir() {
                return Err(Refusal::ZooKeeper(format!("{} is no directory", path.display())).into());
            }
        }
        Ok(())
    }
}

/// Bytes that are read of a file of ZooKeeper's at a time. (No map: nothing keeps a ZooKeeper from
/// writing to its files meanwhile.)
const PIECE_BYTES: u64 = 1 << 20;

/// A file of ZooKeeper's, piece by piece.
struct Pieces {
    file: File,
    progress: Progress,
}

impl Input for Pieces {
    fn append_piece(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        let read = Read::by_ref(&mut self.file).take(PIECE_BYTES).read_to_end(out);
        let read = read.map_err(|error| format!("it cannot be read: {error}"))?;
        (self.progress)(read as u64);
        Ok(())
    }
}

/// Is told how many bytes more of the files were read.
pub type Progress = Rc<dyn Fn(u64)>;

/// For whom shows nothing.
pub fn no_progress() -> Progress {
    Rc::new(|_| {})
}

/// What was read from ZooKeeper's files.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The snapshot that served; `None` if the logs alone did.
    pub snapshot: Option<PathBuf>,
    /// Logs that were read.
    pub logs: usize,
    /// Transactions that were replayed.
    pub transactions: u64,
    /// The last one.
    pub last: Zxid,
    /// Nodes, the server's own included.
    pub nodes: usize,
    /// Sessions.
    pub sessions: usize,
    /// What the digests say.
    pub digests: Digests,
    /// ZooKeeper's `currentEpoch` and `acceptedEpoch`, where it has them; they are this server's, too.
    pub epochs: [Option<u32>; 2],
    /// ZooKeeper's `myid`, if it has one.
    pub myid: Option<String>,
    /// What is worth knowing besides.
    pub notices: Vec<String>,
}

/// What was written for a ZooKeeper.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The snapshot.
    pub snapshot: PathBuf,
    /// The log, if there are transactions behind the checkpoint that the export began with.
    pub log: Option<PathBuf>,
    /// Transactions in it.
    pub transactions: u64,
    /// The last one.
    pub last: Zxid,
    /// Sessions in the snapshot.
    pub sessions: usize,
    /// What the snapshot is made of.
    pub written: Written,
    /// What an operator is to know of what recovery passed over.
    pub notices: Vec<String>,
}

/// ZooKeeper's files of a place, with their paths.
fn files(place: Place<'_>) -> Result<Vec<(FileName, PathBuf)>, DiskError> {
    let data = place.data.join(ZOOKEEPER_DATA);
    let log = place.log.join(ZOOKEEPER_DATA);
    let mut found = Vec::new();
    let mut list = |directory: &Path, wanted: fn(&FileName) -> bool, other: &str| {
        if !directory.is_dir() {
            return Ok(());
        }
        for name in names(directory)? {
            let path = directory.join(&name);
            match FileName::parse(&name) {
                Some(name) if wanted(&name) => found.push((name, path)),
                // ZooKeeper refuses this too: one of the directories is not the one that it was.
                Some(_) => {
                    let text = format!(
                        "{} lies where only {other} do; check dataDir and dataLogDir",
                        path.display()
                    );
                    return Err(DiskError::from(Refusal::ZooKeeper(text)));
                }
                None => {}
            }
        }
        Ok(())
    };
    if data == log {
        list(&data, |_| true, "")?;
    } else {
        list(&data, |name| matches!(name, FileName::Snapshot(_)), "snapshots")?;
        list(&log, |name| matches!(name, FileName::Log(_)), "logs")?;
    }
    Ok(found)
}

fn read_text(path: &Path) -> Result<Option<String>, DiskError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DiskError::io("reading", path)(error)),
    }
}

/// ZooKeeper's epochs; they lie beside its snapshots.
fn epochs(data: &Path) -> Result<[Option<u32>; 2], DiskError> {
    let mut epochs = [None; 2];
    for (epoch, name) in epochs.iter_mut().zip(EPOCHS) {
        let path = data.join(ZOOKEEPER_DATA).join(name);
        let Some(text) = read_text(&path)? else { continue };
        let number = text.parse().map_err(|_| {
            Refusal::ZooKeeper(format!("{} says `{text}`, which is no epoch", path.display()))
        })?;
        *epoch = Some(number);
    }
    Ok(epochs)
}

/// The same as this server keeps them. Where one is missing, ZooKeeper takes that of the last transaction
/// (`QuorumPeer.loadDataBase`). `None` of a server that was never in an ensemble.
fn kept_epochs(epochs: [Option<u32>; 2], last: Zxid) -> Option<Epochs> {
    epochs.iter().flatten().next()?;
    let [current, accepted] = epochs.map(|epoch| epoch.map_or(last.epoch(), Epoch));
    Some(Epochs { accepted: accepted.max(current), current })
}

/// Takes a ZooKeeper's directory over, if it is one and no database of ours is in it yet. `seed` keys
/// the tree's hashes.
///
/// # Errors
/// As [`import`].
pub fn take_over(place: Place<'_>, seed: u64) -> Result<Option<Imported>, DiskError> {
    if DataDirectory::is_at(place.data)? {
        return Ok(None);
    }
    let empty = files(place)?.is_empty() && epochs(place.data)?.iter().flatten().all(|epoch| *epoch == 0);
    if empty { Ok(None) } else { import(place, place, seed, &no_progress()).map(Some) }
}

/// The bytes of ZooKeeper's files of a place: an import reads so many at most.
///
/// # Errors
/// The disk's, and a file where none of its kind belongs.
pub fn bytes(place: Place<'_>) -> Result<u64, DiskError> {
    let lengths =
        files(place)?.into_iter().map(|(_, path)| fs::metadata(path).map_or(0, |facts| facts.len()));
    Ok(lengths.sum())
}

/// Makes a data directory of ours from a ZooKeeper's, which stays as it is. `seed` keys the tree's
/// hashes; `progress` is told what was read.
///
/// # Errors
/// `Refused` if ZooKeeper's files do not say what it knew, or there is a database in `to`.
pub fn import(from: Place<'_>, to: Place<'_>, seed: u64, progress: &Progress) -> Result<Imported, DiskError> {
    let own_place = from.data == to.data && from.log == to.log;
    if !own_place {
        from.check()?;
    }
    let (files, epochs) = (files(from)?, epochs(from.data)?);
    let mut occupied = if own_place { Vec::new() } else { self::files(to)? };
    if let Some((_, found)) = occupied.pop() {
        return Err(Refusal::ZooKeeperData { found }.into());
    }
    if files.is_empty() {
        let inside = names(from.data)?.iter().any(|name| FileName::parse(name).is_some());
        let hint = if inside { "; name the directory that it is in, its dataDir" } else { "" };
        let missing = format!(
            "{} has no {ZOOKEEPER_DATA} with a snapshot or a log of ZooKeeper{hint}",
            from.data.display()
        );
        let epoch = epochs
            .iter()
            .flatten()
            .max()
            .map_or(String::new(), |epoch| format!(", though its epoch is {epoch}: its data is gone"));
        return Err(Refusal::ZooKeeper(missing + &epoch).into());
    }
    let file_names: Vec<FileName> = files.iter().map(|(name, _)| *name).collect();
    let path = |number: usize| files[number].1.display().to_string();
    let open = |number: usize, progress: Progress| {
        let path: &PathBuf = &files[number].1;
        let file = File::open(path).map_err(DiskError::io("opening", path))?;
        Ok::<Box<dyn Input>, DiskError>(Box::new(Pieces { file, progress }))
    };
    let read = |number| open(number, progress.clone());
    let refused = |refusal: Refused| Refusal::ZooKeeper(refusal.display(path).to_string());
    let kept = |last| kept_epochs(epochs, last);
    // The promises are what makes it a server of an ensemble, where the end of a log may have to be cut.
    let tail_bytes_max = if kept(Zxid::ZERO).is_some() { TAIL_BYTES_MAX } else { 0 };
    let restored = restore_part(&file_names, seed, Extent { upto: None, tail_bytes_max }, read)?;
    let mut restored = restored.map_err(refused)?;
    let notices = notices(&restored, path);
    let database = restored.database;
    let (last, nodes, sessions) = (database.last, database.tree.node_count(), database.sessions.len());
    let tail = std::mem::take(&mut restored.tail);
    let database = match tail.first() {
        None => database,
        Some((first, _)) => {
            drop(database);
            let upto = Some(Zxid(first.0 - 1));
            let again = |number| open(number, no_progress());
            let before = restore_part(&file_names, seed, Extent { upto, tail_bytes_max: 0 }, again)?;
            before.map_err(refused)?.database
        }
    };
    let newest_name = file_names.iter().map(|name| name.zxid().0).max().unwrap_or(0);
    let record = Record { zxid: last.0, newest_name };
    DataDirectory::create_filled(to.data, to.log, record, |directory| {
        write_checkpoint(directory, &database)?;
        if !tail.is_empty() {
            write_log(directory, database.last, &tail)?;
        }
        directory.write_mark(last)?;
        kept(last).map_or(Ok(()), |epochs| directory.write_epochs(epochs))
    })?;
    let myid = copy_myid(from.data, to.data)?;
    Ok(Imported {
        snapshot: restored.snapshot.map(|number| files[number].1.clone()),
        logs: restored.logs,
        transactions: restored.transactions,
        last,
        nodes,
        sessions,
        digests: restored.digests,
        epochs,
        myid,
        notices,
    })
}

/// What is worth knowing of what was restored; `path` names its files.
fn notices(restored: &Restored, path: impl Fn(usize) -> String) -> Vec<String> {
    let mut notices = Vec::new();
    for (number, fault) in &restored.damaged {
        notices.push(format!("{} is {fault}; an older one serves", path(*number)));
    }
    for (number, offset, bytes) in &restored.torn {
        let path = path(*number);
        notices.push(match bytes {
            0 => format!("{path} has no transaction: it was only just created"),
            _ => format!(
                "{path} ends in a write that did not complete: {bytes} bytes at offset {offset} are cut"
            ),
        });
    }
    if restored.orphans > 0 {
        notices.push(format!("{} ephemeral nodes had no session and are gone", restored.orphans));
    }
    if let Some(zxid) = restored.digests.first_different {
        let Digests { compared, different, .. } = restored.digests;
        notices.push(format!("the tree is not what ZooKeeper's digest says at {different} of {compared} transactions, the first is {zxid}"));
    }
    if restored.logs == 0 {
        notices.push("there are no logs; if ZooKeeper had a dataLogDir, name it".to_owned());
    }
    notices
}

fn write_checkpoint(directory: &DataDirectory, database: &Database) -> Result<(), DiskError> {
    let mut file = CheckpointFile::create(directory, database.last, false)?;
    let mut writer = CheckpointWriter::new(directory.database(), database.last);
    let sessions: Vec<(SessionId, u32)> = database.sessions.iter().map(|(id, ms)| (*id, *ms)).collect();
    let tree = database.tree.reader();
    checkpoint::write(&mut writer, database.last, &sessions, &tree, |writer| file.drain(writer).map(drop))?;
    file.finish(writer, database.last)?;
    Ok(())
}

/// Writes a log that begins behind `after`, as one segment.
fn write_log(directory: &DataDirectory, after: Zxid, log: &[(Zxid, Vec<u8>)]) -> Result<(), DiskError> {
    let path = directory.imported_log();
    // First only to know how long it gets: a segment says that in its header.
    let mut bytes = 0;
    writes(directory, after, log, 1 << 32, |offset, piece| {
        bytes = offset + piece.len() as u64;
        Ok(())
    })?;
    let length = bytes.next_multiple_of(SEGMENT_HEADER_BYTES as u64);
    let file = changes::create(&path).map_err(DiskError::io("creating", &path))?;
    let write = |offset, piece: &[u8]| {
        changes::write_at(&file, &path, piece, offset).map_err(DiskError::io("writing", &path))
    };
    writes(directory, after, log, length, write)?;
    write(bytes, &[0; SEGMENT_HEADER_BYTES][..(length - bytes) as usize])?;
    changes::sync(&file, &path).map_err(DiskError::io("syncing", &path))?;
    sync_directory(&directory.log())
}

/// What is written to a segment of so many bytes for these transactions, in its order.
fn writes(
    directory: &DataDirectory,
    after: Zxid,
    log: &[(Zxid, Vec<u8>)],
    segment_bytes: u64,
    mut write: impl FnMut(u64, &[u8]) -> Result<(), DiskError>,
) -> Result<(), DiskError> {
    let wrong = |error: LogError| Refusal::ZooKeeper(format!("the end of its log cannot be taken: {error}"));
    let settings = Settings { sync: SyncMode::Fdatasync, segment_bytes, ..Settings::default() };
    let tail = Tail::origin(after, Sequence::FIRST);
    let mut writer = LogWriter::new(settings, directory.database(), tail);
    let mut rest = log.iter().peekable();
    loop {
        match rest.peek().map(|(zxid, bytes)| writer.append(*zxid, bytes, 0)) {
            Some(Ok(())) => {
                rest.next();
                continue;
            }
            None if !writer.has_pending() => return Ok(()),
            None | Some(Err(LogError::Full)) => {}
            Some(Err(error)) => return Err(wrong(error).into()),
        }
        if let Some(piece) = writer.take_write(0).map_err(wrong)? {
            write(piece.offset, piece.bytes())?;
            writer.on_written(piece, Ok(())).map_err(wrong)?;
        } else if let Some(step) = writer.take_upkeep(0).map_err(wrong)? {
            writer.on_upkeep(step, Ok(()), 0).map_err(wrong)?;
        }
    }
}

/// The server's number goes with its data.
fn copy_myid(from: &Path, to: &Path) -> Result<Option<String>, DiskError> {
    let Some(text) = read_text(&from.join(MYID))? else { return Ok(None) };
    let path = to.join(MYID);
    if !path.exists() {
        let written = File::create(&path).and_then(|mut file| {
            writeln!(file, "{text}")?;
            file.sync_all()
        });
        written.map_err(DiskError::io("writing", &path))?;
        sync_directory(to)?;
    }
    Ok(Some(text))
}

/// Writes a data directory of ours, on which no server runs, as a ZooKeeper's. `seed` keys the tree's
/// hashes; `progress` is told how many nodes are written, of how many.
///
/// # Errors
/// `Refused` if the directory cannot be recovered, or ZooKeeper's files are in `to` already.
pub fn export(
    from: Place<'_>,
    to: Place<'_>,
    compression: Compression,
    digests: DigestFields,
    seed: u64,
    progress: &dyn Fn(u64, u64),
) -> Result<Exported, DiskError> {
    from.check()?;
    if !DataDirectory::is_at(from.data)? {
        let text = format!("{} has no database", from.data.display());
        return Err(Refusal::ZooKeeper(text).into());
    }
    if let Some((_, found)) = files(to)?.pop() {
        let text =
            format!("{} is there already: ZooKeeper would mix it with what is exported", found.display());
        return Err(Refusal::ZooKeeper(text).into());
    }
    let directory = DataDirectory::open(from.data, from.log)?;
    let (snapshots, logs) = (to.data.join(ZOOKEEPER_DATA), to.log.join(ZOOKEEPER_DATA));
    for sub in [&snapshots, &logs] {
        fs::create_dir_all(sub).map_err(DiskError::io("creating", sub))?;
    }
    let mut exporting = Exporting::new(seed, digests, &logs);
    let recovered = directory.recover(&mut SegmentFiles::new(&directory, SyncMode::None), &mut exporting);
    if let Some(failed) = exporting.failed.take() {
        return Err(failed);
    }
    let notices = recovered?.notices(&directory);
    exporting.replay.database.replayed();
    if let Some(Epochs { accepted, current }) = directory.read_epochs()? {
        for (epoch, name) in [current, accepted].iter().zip(EPOCHS) {
            let mut file = NewFile::create(&snapshots, name)?;
            file.append(epoch.0.to_string().as_bytes())?;
            file.finish(&snapshots.join(name))?;
        }
    }
    let database = &exporting.replay.database;
    let snapshot = snapshots.join(snapshot_name(database.last, compression));
    let mut file = NewFile::create(&snapshots, "snapshot")?;
    let (mut done, all) = (0, database.tree.node_count() as u64);
    let written = write_snapshot(database, compression, digests, |bytes| {
        done += 1;
        progress(done, all);
        file.append(bytes)
    })?;
    let sessions = database.sessions.len();
    let rest = exporting.put_rest();
    if let Some(failed) = exporting.failed.take() {
        return Err(failed);
    }
    let last = rest.map_err(Refusal::ZooKeeper)?;
    copy_myid(from.data, to.data)?;
    // Both are on the disk before one of them has its name: half of an export is none.
    file.complete()?;
    let (log, transactions) = match exporting.log {
        Some(mut log) => {
            let transactions = log.transactions;
            let path = logs.join(log_name(log.first));
            log.file.complete()?;
            log.file.finish(&path)?;
            (Some(path), transactions)
        }
        None => (None, 0),
    };
    file.finish(&snapshot)?;
    Ok(Exported { snapshot, log, transactions, last, sessions, written, notices })
}

/// Takes what recovery reads, and makes a ZooKeeper's log of it. The tree is as it was at the last transaction
/// that is known to be committed: a leader may cut what follows it off the log, and a ZooKeeper that has it in
/// its snapshot would keep it all the same.
struct Exporting<'d> {
    replay: Replay,
    seed: u64,
    digests: DigestFields,
    log: Option<NewLog>,
    directory: &'d Path,
    committed: Zxid,
    /// Why the log could not be written: no fault of what recovery reads.
    failed: Option<DiskError>,
    /// Not known to be.
    held: VecDeque<(Zxid, Vec<u8>)>,
}

struct NewLog {
    first: Zxid,
    transactions: u64,
    file: NewFile,
}

impl Restore for Exporting<'_> {
    fn checkpoint(&mut self, checkpoint: &Checkpoint<'_>) -> Result<(), String> {
        let mut database = Database::new(self.seed);
        // Which of the two an owner's number means changes nothing in what is written.
        checkpoint::read(&mut database, checkpoint, true)?;
        self.replay = match self.digests {
            DigestFields::Written => Replay::new(database, checkpoint.last_zxid()),
            DigestFields::LeftOut => Replay::without_digests(database),
        };
        self.committed = checkpoint.last_zxid();
        Ok(())
    }

    fn transaction(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<(), String> {
        if zxid <= self.committed {
            return self.put(zxid, bytes);
        }
        self.held.push_back((zxid, bytes.to_vec()));
        Ok(())
    }

    fn committed(&mut self, upto: Zxid) -> Result<(), String> {
        self.committed = self.committed.max(upto);
        while let Some((zxid, bytes)) = self.held.pop_front_if(|(zxid, _)| *zxid <= self.committed) {
            self.put(zxid, &bytes)?;
        }
        Ok(())
    }
}

impl<'d> Exporting<'d> {
    fn new(seed: u64, digests: DigestFields, directory: &'d Path) -> Self {
        let database = Database::new(seed);
        let replay = match digests {
            DigestFields::Written => Replay::new(database, Zxid::ZERO),
            DigestFields::LeftOut => Replay::without_digests(database),
        };
        let (log, committed, held) = (None, Zxid::ZERO, VecDeque::new());
        Exporting { replay, seed, digests, log, directory, committed, failed: None, held }
    }

    /// Puts what is not known to be committed into the log; returns the last transaction.
    fn put_rest(&mut self) -> Result<Zxid, String> {
        self.committed(Zxid(u64::MAX))?;
        Ok(self.replay.database.last)
    }

    fn put(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<(), String> {
        let mut out = Vec::new();
        let log = match &mut self.log {
            Some(log) => log,
            None => {
                write_log_header(&mut out);
                let file = NewFile::create(self.directory, "log");
                let file = file.map_err(|error| note(&mut self.failed, error))?;
                self.log.insert(NewLog { first: zxid, transactions: 0, file })
            }
        };
        let wrong = |fault| format!("transaction {zxid} cannot be written for ZooKeeper: {fault}");
        write_transaction(&mut self.replay, bytes, &mut out).map_err(wrong)?;
        log.transactions += 1;
        log.file.append(&out).map_err(|error| note(&mut self.failed, error))
    }
}

/// Keeps a failure of the disk, and says it.
fn note(failed: &mut Option<DiskError>, error: DiskError) -> String {
    failed.insert(error).to_string()
}

/// A file that gets its name when it is whole. Dropped before, it leaves nothing.
struct NewFile {
    file: BufWriter<File>,
    temporary: Option<PathBuf>,
}

impl NewFile {
    fn create(directory: &Path, what: &str) -> Result<NewFile, DiskError> {
        let temporary = directory.join(format!("{TEMPORARY_PREFIX}{what}"));
        let file = File::create(&temporary).map_err(DiskError::io("creating", &temporary))?;
        Ok(NewFile { file: BufWriter::new(file), temporary: Some(temporary) })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        let path = self.temporary.as_deref().unwrap_or(Path::new(""));
        self.file.write_all(bytes).map_err(DiskError::io("writing", path))
    }

    /// Makes it durable, without its name.
    fn complete(&mut self) -> Result<(), DiskError> {
        let path = self.temporary.as_deref().unwrap_or(Path::new(""));
        let written = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        written.map_err(DiskError::io("writing", path))
    }

    fn finish(mut self, path: &Path) -> Result<(), DiskError> {
        self.complete()?;
        if let Some(temporary) = &self.temporary {
            fs::rename(temporary, path).map_err(DiskError::io("renaming to", path))?;
        }
        self.temporary = None;
        sync_directory(path.parent().expect("a file in a directory"))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // What cannot be removed is no file of ZooKeeper's, and is written over the next time.
            let _ = fs::remove_file(temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringkeeper_engine::jute;
    use ringkeeper_engine::jute::records::{CreateSessionTxn, TxnHeader};
    use ringkeeper_engine::op::OpCode;

    /// A server that is replaced by one of the other kind, there and back, keeps its promises.
    #[test]
    fn what_was_promised_to_an_ensemble_goes_with_the_data() {
        let home = tempfile::tempdir().expect("a directory");
        let [ours, zookeepers, again] = ["ours", "zookeeper", "again"].map(|name| home.path().join(name));
        fn place(path: &Path) -> Place<'_> {
            Place { data: path, log: path }
        }
        let promised = Epochs { accepted: Epoch(7), current: Epoch(6) };
        DataDirectory::open(&ours, &ours).unwrap().write_epochs(promised).unwrap();
        export(place(&ours), place(&zookeepers), Compression::None, DigestFields::Written, 1, &|_, _| {})
            .unwrap();
        let said = |name| fs::read_to_string(zookeepers.join(ZOOKEEPER_DATA).join(name)).unwrap();
        assert_eq!(EPOCHS.map(said), ["6", "7"]);
        import(place(&zookeepers), place(&again), 1, &no_progress()).unwrap();
        let taken = DataDirectory::open(&again, &again).unwrap().read_epochs().unwrap();
        assert_eq!(taken, Some(promised));
    }

    #[test]
    fn what_is_not_known_to_be_committed_is_in_the_log_alone() {
        let home = tempfile::tempdir().expect("a directory");
        let mut exporting = Exporting::new(1, DigestFields::Written, home.path());
        let transaction = |zxid: i64| {
            let op = OpCode::CreateSession.code();
            let header = TxnHeader { client_id: zxid, cxid: 0, zxid, time: 0, op };
            [jute::to_bytes(&header), jute::to_bytes(&CreateSessionTxn { time_out: 5 })].concat()
        };
        for zxid in 1..=4 {
            exporting.transaction(Zxid(zxid), &transaction(zxid as i64)).unwrap();
            exporting.committed(Zxid(zxid.saturating_sub(2))).unwrap();
        }
        let put = |exporting: &Exporting<'_>| {
            let transactions = exporting.log.as_ref().map_or(0, |log| log.transactions);
            (exporting.replay.database.last, transactions)
        };
        assert_eq!(put(&exporting), (Zxid(2), 2));
        assert_eq!(exporting.put_rest(), Ok(Zxid(4)));
        assert_eq!(put(&exporting), (Zxid(4), 4));
    }

    /// What a server begins with: how far its tree is, and the log behind that.
    #[derive(Default)]
    struct Begun {
        tree: Zxid,
        log: Vec<u64>,
    }

    impl Restore for Begun {
        fn checkpoint(&mut self, checkpoint: &Checkpoint<'_>) -> Result<(), String> {
            *self = Begun { tree: checkpoint.last_zxid(), log: Vec::new() };
            Ok(())
        }

        fn transaction(&mut self, zxid: Zxid, _: &[u8]) -> Result<(), String> {
            self.log.push(zxid.0);
            Ok(())
        }
    }

    /// A ZooKeeper's directory with sessions `1..=count` of epoch 1, of which nobody knows which are
    /// committed.
    fn zookeeper_with_log(path: &Path, count: u64) {
        let ours = tempfile::tempdir().unwrap();
        drop(DataDirectory::open(ours.path(), ours.path()).unwrap());
        let at = |path| Place { data: path, log: path };
        export(at(ours.path()), at(path), Compression::None, DigestFields::Written, 1, &|_, _| {}).unwrap();
        let (mut bytes, mut replay) = (Vec::new(), Replay::new(Database::new(1), Zxid::ZERO));
        write_log_header(&mut bytes);
        for counter in 1..=count {
            let (zxid, op) = ((1 << 32 | counter) as i64, OpCode::CreateSession.code());
            let header = TxnHeader { client_id: zxid, cxid: 0, zxid, time: 0, op };
            let transaction =
                [jute::to_bytes(&header), jute::to_bytes(&CreateSessionTxn { time_out: 5 })].concat();
            write_transaction(&mut replay, &transaction, &mut bytes).unwrap();
        }
        fs::write(path.join(ZOOKEEPER_DATA).join(log_name(Zxid(1 << 32 | 1))), bytes).unwrap();
    }

    fn recovered(directory: &DataDirectory) -> Begun {
        let mut begun = Begun::default();
        directory.recover(&mut SegmentFiles::new(directory, SyncMode::None), &mut begun).unwrap();
        begun
    }

    /// The end of a ZooKeeper's log may be what its ensemble never committed, and then has to be cut.
    #[test]
    fn the_log_of_an_ensembles_server_is_a_log_and_can_be_cut() {
        let path = tempfile::tempdir().unwrap();
        let (path, last) = (path.path(), 1 << 32 | 20);
        zookeeper_with_log(path, 20);
        for name in EPOCHS {
            fs::write(path.join(ZOOKEEPER_DATA).join(name), "1").unwrap();
        }
        let place = Place { data: path, log: path };
        let imported = take_over(place, 1).unwrap().expect("it is a ZooKeeper's");
        assert_eq!((imported.last, imported.sessions, imported.transactions), (Zxid(last), 20, 20));
        let directory = DataDirectory::open(path, path).unwrap();
        let begun = recovered(&directory);
        assert_eq!((begun.tree, begun.log), (Zxid::ZERO, ((1 << 32 | 1)..=last).collect()));
        let cut = directory.find_cut(&mut SegmentFiles::new(&directory, SyncMode::None), Zxid(last - 7));
        let tail = Tail::origin(Zxid(last), Sequence(2));
        let mut writer = LogWriter::new(Settings::default(), directory.database(), tail);
        writer.truncate(cut.unwrap(), 0).unwrap();
        assert_eq!(writer.last_appended(), Zxid(last - 7));
    }

    #[test]
    fn of_a_long_log_the_end_is_a_log_and_what_is_before_it_a_tree() {
        let path = tempfile::tempdir().unwrap();
        zookeeper_with_log(path.path(), 20);
        let file = path.path().join(ZOOKEEPER_DATA).join(log_name(Zxid(1 << 32 | 1)));
        let names = [FileName::Snapshot(Zxid::ZERO), FileName::Log(Zxid(1 << 32 | 1))];
        let snapshot = files(Place { data: path.path(), log: path.path() }).unwrap();
        let snapshot = snapshot.iter().find(|(name, _)| matches!(name, FileName::Snapshot(_))).unwrap();
        let restored = |extent| {
            let read = |number| fs::read(if number == 0 { &snapshot.1 } else { &file });
            restore_part(&names, 1, extent, read).unwrap().unwrap()
        };
        let one = restored(Extent { upto: None, tail_bytes_max: 1 << 20 }).tail[0].1.len();
        let all = restored(Extent { upto: None, tail_bytes_max: 5 * one + 1 });
        let tail: Vec<u64> = all.tail.iter().map(|(zxid, _)| zxid.counter().into()).collect();
        assert_eq!((tail, all.database.sessions.len()), ((16..=20).collect(), 20));
        let before = restored(Extent { upto: Some(Zxid(1 << 32 | 15)), tail_bytes_max: 0 });
        assert_eq!((before.database.last, before.database.sessions.len()), (Zxid(1 << 32 | 15), 15));
    }

    /// A crash between any two steps of a takeover is followed by a takeover, or by a server with all of it.
    #[test]
    fn an_interrupted_takeover_is_begun_anew_or_done() {
        let path = tempfile::tempdir().unwrap();
        let path = path.path();
        zookeeper_with_log(path, 20);
        fs::write(path.join(ZOOKEEPER_DATA).join(EPOCHS[0]), "1").unwrap();
        let place = Place { data: path, log: path };
        take_over(place, 1).unwrap().expect("it is a ZooKeeper's");
        let (segment, importing) = (path.join("log/000000000001.rklog"), path.join("log/importing"));
        // The manifest is there, and the segment has not got its name.
        fs::rename(&segment, &importing).unwrap();
        assert_eq!(recovered(&DataDirectory::open(path, path).unwrap()).log.len(), 20);
        // There is no manifest.
        fs::rename(&segment, &importing).unwrap();
        fs::remove_file(path.join("database")).unwrap();
        take_over(place, 1).unwrap().expect("it is not done");
        assert_eq!(recovered(&DataDirectory::open(path, path).unwrap()).log.len(), 20);
        // With a segment it is a directory that lost its manifest.
        fs::remove_file(path.join("database")).unwrap();
        let lost = take_over(place, 1).expect_err("a server was at work");
        assert!(matches!(lost, DiskError::Refused(Refusal::NoManifest { .. })), "{lost}");
    }

    #[test]
    fn an_epoch_that_zookeeper_has_no_file_of_is_that_of_its_last_transaction() {
        let last = Zxid(5 << 32 | 9);
        let epochs = |accepted, current| Some(Epochs { accepted: Epoch(accepted), current: Epoch(current) });
        for (files, kept) in [
            ([None, None], None),
            ([Some(7), Some(8)], epochs(8, 7)),
            ([Some(7), None], epochs(7, 7)),
            ([None, Some(6)], epochs(6, 5)),
            ([Some(0), Some(0)], epochs(0, 0)),
        ] {
            assert_eq!(kept_epochs(files, last), kept, "{files:?}");
        }
    }
}
