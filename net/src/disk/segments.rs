//! The log's files: the writer's operations done with blocking calls (for tests, tools and as the
//! ring's stand-in), and how the ring opens a segment.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ringkeeper_engine::log::format::SEGMENT_HEADER_BYTES;
use ringkeeper_engine::log::{
    Alignment, DatabaseId, IoFailure, LogWrite, SegmentFile, Sequence, SyncMode, Upkeep, may_become,
};

use super::aligned::{AlignedZeros, open_past_cache};
use super::layout::{DataDirectory, names, parse_segment_name, parse_spare_name, segment_name, spare_name};
use super::reading::SegmentReader;
use super::{DiskError, changes, is_disk_full, sync_directory};

/// The file that finds out what the file system takes.
const PROBE: &str = "direct.probe";

/// The files of one log.
#[derive(Debug)]
pub struct SegmentFiles {
    directory: PathBuf,
    sync: SyncMode,
    /// The segment that is being prepared.
    preparing: Option<(Sequence, File)>,
    zeros: AlignedZeros,
    /// Segments that are written to, opened as the mode says.
    writing: HashMap<Sequence, File>,
}

impl SegmentFiles {
    /// The log of a data directory.
    pub fn new(directory: &DataDirectory, sync: SyncMode) -> SegmentFiles {
        SegmentFiles {
            directory: directory.log(),
            sync,
            preparing: None,
            zeros: AlignedZeros::default(),
            writing: HashMap::new(),
        }
    }

    /// Whether the log's file system takes O_DIRECT, found out by a write, since some refuse only that;
    /// and what batches must then be padded to.
    ///
    /// # Errors
    /// What the kernel refused it with.
    pub fn probe_direct(&self) -> io::Result<Alignment> {
        const EINVAL: i32 = 22;
        let path = self.directory.join(PROBE);
        let flags = libc::O_DSYNC | libc::O_DIRECT;
        let opened = File::options().create(true).truncate(true).write(true).custom_flags(flags).open(&path);
        let probed = opened.and_then(|file| {
            let mut zeros = AlignedZeros::default();
            let mut write = |alignment: Alignment| {
                let bytes = zeros.take(alignment.bytes() as usize);
                file.write_all_at(bytes, 0).map(|()| alignment)
            };
            match write(Alignment::SECTOR) {
                Err(error) if error.raw_os_error() == Some(EINVAL) => write(Alignment::PAGE),
                // A full disk says nothing of blocks; those that every disk takes are safe.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(Alignment::PAGE),
                written => written,
            }
        });
        // One that stays is overwritten the next time.
        let _ = fs::remove_file(&path);
        probed
    }

    /// Where a segment is.
    pub fn path(&self, sequence: Sequence) -> PathBuf {
        self.directory.join(segment_name(sequence))
    }

    /// Opens a prepared segment for the log's writes, as the mode says: with `Dsync` and `Direct` a
    /// write that is done is durable, with `Fdatasync` the sync is the caller's.
    pub fn open_for_writes(&self, sequence: Sequence) -> io::Result<File> {
        let flags = match self.sync {
            SyncMode::Fdatasync | SyncMode::None => 0,
            SyncMode::Dsync => libc::O_DSYNC,
            SyncMode::Direct => libc::O_DSYNC | libc::O_DIRECT,
        };
        File::options().write(true).custom_flags(flags).open(self.path(sequence))
    }

    /// The segment that was prepared last, opened for the log's writes.
    ///
    /// # Errors
    /// As the kernel says; or none was prepared.
    pub fn open_prepared(&self) -> Result<(Sequence, File), IoFailure> {
        let Some((sequence, _)) = self.preparing else {
            return Err(failure(
                "opening",
                &self.directory,
                &io::Error::other("no segment is being prepared"),
            ));
        };
        let opened = self.open_for_writes(sequence);
        opened.map(|file| (sequence, file)).map_err(|error| failure("opening", &self.path(sequence), &error))
    }

    fn spare_path(&self, spare: Sequence) -> PathBuf {
        self.directory.join(spare_name(spare))
    }

    /// Does one step of the writer's upkeep lane.
    pub fn upkeep(&mut self, step: Upkeep) -> Result<(), IoFailure> {
        let (doing, path) = match step {
            Upkeep::Rename { spare, .. } => ("renaming", self.spare_path(spare)),
            Upkeep::Remove { spare } => ("removing", self.spare_path(spare)),
            Upkeep::Create { sequence } => ("creating", self.path(sequence)),
            Upkeep::Zero { sequence, .. } => ("preparing", self.path(sequence)),
            Upkeep::Sync { sequence } => ("syncing", self.path(sequence)),
            Upkeep::SyncDirectory => ("syncing", self.directory.clone()),
            Upkeep::Close { sequence } => ("closing", self.path(sequence)),
        };
        let result = match step {
            Upkeep::Create { sequence } => self.create(sequence),
            Upkeep::Rename { spare, sequence } => self.recycle(spare, sequence),
            Upkeep::Remove { spare } => changes::remove(&self.spare_path(spare)),
            Upkeep::Zero { sequence, offset, bytes } => self.zero(sequence, offset, bytes),
            Upkeep::Sync { sequence } => self.prepared(sequence).and_then(|file| changes::sync(file, &path)),
            Upkeep::SyncDirectory => changes::sync_directory(&self.directory),
            Upkeep::Close { sequence } => {
                self.writing.remove(&sequence);
                Ok(())
            }
        };
        result.map_err(|error| failure(doing, &path, &error))
    }

    /// Does one write of the log, and makes it durable as the mode says.
    pub fn write(&mut self, write: &LogWrite) -> Result<(), IoFailure> {
        let path = self.path(write.segment);
        let result = self.write_and_sync(write);
        result.map_err(|error| failure("writing", &path, &error))
    }

    fn write_and_sync(&mut self, write: &LogWrite) -> io::Result<()> {
        if !self.writing.contains_key(&write.segment) {
            let file = self.open_for_writes(write.segment)?;
            self.writing.insert(write.segment, file);
        }
        let file = &self.writing[&write.segment];
        let path = self.path(write.segment);
        changes::write_at(file, &path, write.bytes(), write.offset)?;
        match self.sync {
            SyncMode::Fdatasync => changes::sync_data(file, &path),
            SyncMode::None if write.begins_segment() => changes::sync_data(file, &path),
            SyncMode::Dsync | SyncMode::Direct | SyncMode::None => Ok(()),
        }
    }

    fn create(&mut self, sequence: Sequence) -> io::Result<()> {
        let path = self.path(sequence);
        changes::create(&path)?;
        self.preparing = Some((sequence, open_past_cache(&path)?));
        Ok(())
    }

    fn recycle(&mut self, spare: Sequence, sequence: Sequence) -> io::Result<()> {
        let from = self.spare_path(spare);
        // Before it is renamed: what fails leaves the spare where it was, to be tried again.
        let file = open_past_cache(&from)?;
        changes::rename(&from, &self.path(sequence))?;
        self.preparing = Some((sequence, file));
        Ok(())
    }

    fn zero(&mut self, sequence: Sequence, offset: u64, bytes: u64) -> io::Result<()> {
        let mut zeros = std::mem::take(&mut self.zeros);
        let path = self.path(sequence);
        let written = self
            .prepared(sequence)
            .and_then(|file| changes::write_at(file, &path, zeros.take(bytes as usize), offset));
        self.zeros = zeros;
        if written.as_ref().is_err_and(is_disk_full) {
            // It begins anew later: what it has taken by now is for others, a checkpoint perhaps.
            self.prepared(sequence).and_then(|file| changes::empty(file, &path))?;
        }
        written
    }

    fn prepared(&self, sequence: Sequence) -> io::Result<&File> {
        match &self.preparing {
            Some((prepared, file)) if *prepared == sequence => Ok(file),
            _ => Err(io::Error::other("the segment is not being prepared")),
        }
    }

    /// Takes segments out of the log, in the order given, durably, and keeps their files as spares for
    /// `LogWriter::add_spare`.
    pub fn retire(&mut self, segments: &[Sequence]) -> Result<Vec<SegmentFile>, DiskError> {
        let mut spares = Vec::new();
        for &sequence in segments {
            let path = self.path(sequence);
            let bytes = fs::metadata(&path).map_err(DiskError::io("reading", &path))?.len();
            changes::rename(&path, &self.spare_path(sequence)).map_err(DiskError::io("renaming", &path))?;
            spares.push(SegmentFile { sequence, bytes });
        }
        sync_directory(&self.directory)?;
        Ok(spares)
    }

    /// The spares that an earlier server left, with the segment `next` that it prepared and did not
    /// write to: it becomes a spare too.
    pub fn spares(&mut self, next: Sequence, database: DatabaseId) -> Result<Vec<SegmentFile>, DiskError> {
        self.set_aside(next, database)?;
        self.files_named(parse_spare_name)
    }

    /// Makes the segment `next` a spare if it was prepared and not written to. At an orderly stop that
    /// saves the next start from reading it whole, to know that.
    pub fn set_aside(&mut self, next: Sequence, database: DatabaseId) -> Result<(), DiskError> {
        let unused: Vec<_> = self.list()?.into_iter().filter(|file| file.sequence >= next).collect();
        if let [file] = unused[..]
            && file.sequence == next
            && self.is_unused(file, database)?
        {
            // Its number as a spare: nothing newer is in it.
            let (from, to) = (self.path(next), self.spare_path(Sequence(next.0 - 1)));
            changes::rename(&from, &to).map_err(DiskError::io("renaming", &from))?;
            sync_directory(&self.directory)?;
        }
        Ok(())
    }

    fn is_unused(&self, file: SegmentFile, database: DatabaseId) -> Result<bool, DiskError> {
        let path = self.path(file.sequence);
        let mut beginning = vec![0; file.bytes.min(SEGMENT_HEADER_BYTES as u64 + 512) as usize];
        let read = File::open(&path).and_then(|file| file.read_exact_at(&mut beginning, 0));
        read.map_err(DiskError::io("reading", &path))?;
        Ok(may_become(file.sequence, database, &beginning))
    }

    /// What recovery does before there is a writer: makes durable what it read, since a server before
    /// this one may not have lived to sync it, and removes the segments that are not used.
    pub(super) fn settle(&mut self, unused: &[Sequence]) -> Result<(), DiskError> {
        for file in self.list()? {
            let path = self.path(file.sequence);
            let synced = File::open(&path).and_then(|file| changes::sync(&file, &path));
            synced.map_err(DiskError::io("syncing", &path))?;
        }
        sync_directory(&self.directory)?;
        for &sequence in unused {
            let path = self.path(sequence);
            changes::remove(&path).map_err(DiskError::io("removing", &path))?;
            sync_directory(&self.directory)?;
        }
        Ok(())
    }

    /// Makes the whole log durable, for the sync mode that does not.
    pub fn sync_all(&self) -> Result<(), DiskError> {
        for file in self.list()? {
            let path = self.path(file.sequence);
            match File::open(&path).and_then(|file| changes::sync_data(&file, &path)) {
                // It became a spare, so nobody needs it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                synced => synced.map_err(DiskError::io("syncing", &path))?,
            }
        }
        Ok(())
    }

    /// All segments, in order.
    pub fn list(&self) -> Result<Vec<SegmentFile>, DiskError> {
        self.files_named(parse_segment_name)
    }

    fn files_named(&self, parse: fn(&str) -> Option<Sequence>) -> Result<Vec<SegmentFile>, DiskError> {
        let mut files = Vec::new();
        for name in names(&self.directory)? {
            let Some(sequence) = parse(&name) else { continue };
            let path = self.directory.join(name);
            let bytes = match fs::metadata(&path) {
                Ok(file) => file.len(),
                // Another thread has renamed it meanwhile: it is what is asked for no more.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(DiskError::io("reading", &path)(error)),
            };
            files.push(SegmentFile { sequence, bytes });
        }
        files.sort_unstable_by_key(|file| file.sequence);
        Ok(files)
    }

    /// The files as recovery reads them: their list is taken now.
    pub fn reader(&self) -> Result<SegmentReader<'_>, DiskError> {
        SegmentReader::new(self)
    }

    pub(super) fn sync(&self) -> SyncMode {
        self.sync
    }
}

fn failure(doing: &str, path: &Path, error: &io::Error) -> IoFailure {
    IoFailure { errno: error.raw_os_error(), message: format!("{doing} {}: {error}", path.display()) }
}
