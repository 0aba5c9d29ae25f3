//! Checkpoints as files: there whole or not at all. One is written under a temporary name, synced,
//! renamed, and the directory synced.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::snap::{Checkpoint, CheckpointWriter, Fault, Fetch, Held};

use super::aligned::{AlignedBuffer, open_past_cache};
use super::layout::{
    DataDirectory, SPARE_CHECKPOINT, checkpoint_name, names, parse_checkpoint_name, temporary_name,
};
use super::map::{self, Map};
use super::{DiskError, changes, sync_directory};

/// Bytes of one write past the page cache: a write of the log waits for one of these at most. As much as
/// keeps a disk busy.
const PIECE_BYTES: usize = 256 * 1024;

/// A checkpoint's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointName {
    /// What its name says: its replay begins behind this.
    pub first_zxid: Zxid,
    /// Where it is.
    pub path: PathBuf,
}

impl CheckpointName {
    /// Whether all of it can be read and is whole. `pace` is told the bytes of each block once that is read.
    pub fn is_valid(&self, mut pace: impl FnMut(u64)) -> bool {
        let Ok(map) = MappedCheckpoint::open(&self.path) else { return false };
        let Ok(checkpoint) = map.checkpoint() else { return false };
        (0..checkpoint.block_count()).all(|number| {
            let block = checkpoint.block(number);
            pace(checkpoint.block_bytes(number));
            block.is_ok()
        })
    }
}

/// A checkpoint that is being written, by a thread that may block. Dropped before it is finished, it
/// leaves nothing.
#[derive(Debug)]
pub struct CheckpointFile {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    /// Bytes in the file.
    length: u64,
    past_cache: Option<PastCache>,
    finished: bool,
}

/// The way past the page cache, while the log is written.
#[derive(Debug)]
struct PastCache {
    file: File,
    /// What comes behind the bytes in the file.
    piece: AlignedBuffer,
}

impl CheckpointFile {
    /// Begins the file of a checkpoint whose replay begins behind `first_zxid`. If `beside_log`, its bytes
    /// go to the disk piece by piece; else the page cache has them, for a restart that follows soon.
    pub fn create(
        directory: &DataDirectory,
        first_zxid: Zxid,
        beside_log: bool,
    ) -> Result<CheckpointFile, DiskError> {
        let temporary = directory.snap().join(temporary_name(first_zxid));
        let path = directory.snap().join(checkpoint_name(first_zxid));
        let spare = directory.snap().join(SPARE_CHECKPOINT);
        let file = reuse(&spare, &temporary).and_then(|reused| match reused {
            Some(file) => Ok(file),
            None => changes::create(&temporary),
        });
        let file = file.map_err(DiskError::io("creating", &temporary))?;
        let past_cache = || -> io::Result<PastCache> {
            Ok(PastCache { file: open_past_cache(&temporary)?, piece: AlignedBuffer::new(PIECE_BYTES) })
        };
        let past_cache = beside_log.then(past_cache).transpose();
        let past_cache = past_cache.map_err(DiskError::io("opening", &temporary))?;
        Ok(CheckpointFile { file, temporary, path, length: 0, past_cache, finished: false })
    }

    /// Appends what the writer has finished, and returns how many bytes that were.
    pub fn drain(&mut self, writer: &mut CheckpointWriter) -> Result<u64, DiskError> {
        let mut written = 0;
        while let Some(bytes) = writer.take_bytes() {
            self.append(&bytes)?;
            written += bytes.len() as u64;
            writer.give_back(bytes);
        }
        Ok(written)
    }

    /// Ends the checkpoint and gives the file its name; it replaces one of the same name. Only to be
    /// called when the log is durable up to `last_zxid`.
    pub fn finish(mut self, writer: CheckpointWriter, last_zxid: Zxid) -> Result<CheckpointName, DiskError> {
        for bytes in writer.finish(last_zxid) {
            self.append(&bytes)?;
        }
        if let Some(past_cache) = self.past_cache.take() {
            // The end of the file fills no piece.
            self.write(&self.file, past_cache.piece.content())?;
            self.length += past_cache.piece.content().len() as u64;
        }
        let cut = changes::cut(&self.file, &self.temporary, self.length);
        cut.map_err(DiskError::io("cutting", &self.temporary))?;
        changes::sync(&self.file, &self.temporary).map_err(DiskError::io("syncing", &self.temporary))?;
        changes::rename(&self.temporary, &self.path).map_err(DiskError::io("renaming to", &self.path))?;
        self.finished = true;
        sync_directory(self.path.parent().expect("a file in a directory"))?;
        let name = self.path.file_name().and_then(|name| name.to_str()).and_then(parse_checkpoint_name);
        Ok(CheckpointName { first_zxid: name.expect("it was made from one"), path: self.path.clone() })
    }

    fn append(&mut self, mut bytes: &[u8]) -> Result<(), DiskError> {
        let Some(mut past_cache) = self.past_cache.take() else {
            self.write(&self.file, bytes)?;
            self.length += bytes.len() as u64;
            return Ok(());
        };
        while !bytes.is_empty() {
            let taken = past_cache.piece.fill(bytes);
            bytes = &bytes[taken..];
            if past_cache.piece.is_full() {
                self.write(&past_cache.file, past_cache.piece.content())?;
                self.length += PIECE_BYTES as u64;
                past_cache.piece.clear();
            }
        }
        self.past_cache = Some(past_cache);
        Ok(())
    }

    fn write(&self, file: &File, bytes: &[u8]) -> Result<(), DiskError> {
        let written = changes::write_at(file, &self.temporary, bytes, self.length);
        written.map_err(DiskError::io("writing", &self.temporary))
    }
}

/// An old checkpoint's file to be written over, under another name. One that the tree has values in is no
/// more than removed: its space is free when the last of them has changed.
fn reuse(spare: &Path, temporary: &Path) -> io::Result<Option<File>> {
    if !spare.is_file() {
        return Ok(None);
    }
    let file = changes::open(spare)?;
    if !map::may_be_written(&file) {
        return changes::remove(spare).map(|()| None);
    }
    changes::rename(spare, temporary).map(|()| Some(file))
}

impl Drop for CheckpointFile {
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be removed now is removed when the directory is opened next.
            let _ = changes::remove(&self.temporary);
        }
    }
}

/// A checkpoint's file in memory.
#[derive(Debug)]
pub struct MappedCheckpoint {
    map: Map,
}

impl MappedCheckpoint {
    /// Maps a file.
    pub fn open(path: &Path) -> Result<MappedCheckpoint, DiskError> {
        let map = File::open(path).and_then(Map::new);
        Ok(MappedCheckpoint { map: map.map_err(DiskError::io("mapping", path))? })
    }

    /// Has all of it read, for who is going to look at all of it and waits for nothing else.
    pub fn read_ahead(&self) {
        self.map.read_ahead();
    }

    /// What a tree can leave values in; none where a file that is mapped cannot be told from others.
    pub fn kept(self: &Arc<Self>, path: &Path) -> Option<Arc<dyn Held>> {
        if !self.map.is_locked() {
            return None;
        }
        self.map.watch(path);
        Some(Arc::new(KeptCheckpoint { map: Some(Arc::clone(self)), path: path.to_path_buf() }))
    }

    /// Verifies header, index and access control lists, and gives the records.
    pub fn checkpoint(&self) -> Result<Checkpoint<'_>, Fault> {
        Checkpoint::open_fetched(self.map.bytes(), self)
    }
}

/// A checkpoint's file in memory for as long as the tree has values in it.
#[derive(Debug)]
struct KeptCheckpoint {
    map: Option<Arc<MappedCheckpoint>>,
    /// Where it was mapped; it may have lost its name since.
    path: PathBuf,
}

impl KeptCheckpoint {
    fn map(&self) -> &MappedCheckpoint {
        self.map.as_ref().expect("it is there until it is dropped")
    }
}

impl Fetch for KeptCheckpoint {
    fn fetch(&self, range: Range<usize>) -> Result<(), Fault> {
        self.map().fetch(range)
    }
}

impl Held for KeptCheckpoint {
    fn bytes(&self) -> &[u8] {
        self.map().map.bytes()
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

impl Drop for KeptCheckpoint {
    fn drop(&mut self) {
        self.map().map.end_watch();
        let Some(last) = self.map.take().and_then(Arc::into_inner) else { return };
        // Who lets go last is a thread that serves: to unmap gigabytes, and perhaps to free their file, is
        // for another. Without one it is done here.
        let _ = thread::Builder::new().name("unmap".into()).spawn(move || drop(last));
    }
}

impl Fetch for MappedCheckpoint {
    fn fetch(&self, range: Range<usize>) -> Result<(), Fault> {
        let fetched = self.map.fetch(range);
        fetched.map_err(|(offset, error)| Fault::Unreadable { offset: offset as u64, why: error.to_string() })
    }
}

/// All checkpoints of a directory, oldest first.
pub(super) fn list(directory: &DataDirectory) -> Result<Vec<CheckpointName>, DiskError> {
    let snap = directory.snap();
    let names = names(&snap)?;
    let mut all: Vec<CheckpointName> = names
        .iter()
        .filter_map(|name| {
            let first_zxid = parse_checkpoint_name(name)?;
            Some(CheckpointName { first_zxid, path: snap.join(name) })
        })
        .collect();
    all.sort_unstable_by_key(|name| name.first_zxid);
    Ok(all)
}
