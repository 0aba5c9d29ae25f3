//! The log's files: the writer's operations done with blocking calls (for tests, tools and as the
//! ring's stand-in), how the ring opens a segment, and reading them back.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use ringkeeper_engine::log::{IoFailure, LogWrite, SegmentFile, SegmentSource, Sequence, SyncMode, Upkeep};

use super::layout::{DataDirectory, names, parse_segment_name, segment_name};
use super::{DiskError, sync_directory};

/// The files of one log.
#[derive(Debug)]
pub struct SegmentFiles {
    directory: PathBuf,
    sync: SyncMode,
    /// The segment that is being prepared: written through the page cache in every mode.
    preparing: Option<(Sequence, File)>,
    /// Segments that are written to, opened as the mode says.
    writing: HashMap<Sequence, File>,
    /// Segments that are read.
    reading: Option<(Sequence, File)>,
}

impl SegmentFiles {
    /// The log of a data directory.
    pub fn new(directory: &DataDirectory, sync: SyncMode) -> SegmentFiles {
        let directory = directory.log();
        SegmentFiles { directory, sync, preparing: None, writing: HashMap::new(), reading: None }
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

    /// Does one step of the writer's upkeep lane.
    pub fn upkeep(&mut self, step: Upkeep) -> Result<(), IoFailure> {
        let (doing, path) = match step {
            Upkeep::Create { sequence } => ("creating", self.path(sequence)),
            Upkeep::Zero { sequence, .. } => ("preparing", self.path(sequence)),
            Upkeep::Sync { sequence } => ("syncing", self.path(sequence)),
            Upkeep::SyncDirectory => ("syncing", self.directory.clone()),
            Upkeep::Close { sequence } => ("closing", self.path(sequence)),
        };
        let result = match step {
            Upkeep::Create { sequence } => self.create(sequence),
            Upkeep::Zero { sequence, offset, bytes } => {
                self.prepared(sequence).and_then(|file| file.write_all_at(&vec![0; bytes as usize], offset))
            }
            Upkeep::Sync { sequence } => self.prepared(sequence).and_then(|file| file.sync_all()),
            Upkeep::SyncDirectory => File::open(&self.directory).and_then(|directory| directory.sync_all()),
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
        file.write_all_at(write.bytes(), write.offset)?;
        match self.sync {
            SyncMode::Fdatasync => file.sync_data(),
            SyncMode::Dsync | SyncMode::Direct | SyncMode::None => Ok(()),
        }
    }

    fn create(&mut self, sequence: Sequence) -> io::Result<()> {
        let file = File::options().create(true).truncate(true).write(true).open(self.path(sequence))?;
        self.preparing = Some((sequence, file));
        Ok(())
    }

    fn prepared(&self, sequence: Sequence) -> io::Result<&File> {
        match &self.preparing {
            Some((prepared, file)) if *prepared == sequence => Ok(file),
            _ => Err(io::Error::other("the segment is not being prepared")),
        }
    }

    /// Removes segments, in the order given, durably.
    pub fn remove(&mut self, segments: &[Sequence]) -> Result<(), DiskError> {
        self.reading = None;
        for &sequence in segments {
            let path = self.path(sequence);
            fs::remove_file(&path).map_err(DiskError::io("removing", &path))?;
        }
        sync_directory(&self.directory)
    }

    /// All segments, in order.
    pub fn list(&self) -> Result<Vec<SegmentFile>, DiskError> {
        let mut files = Vec::new();
        for name in names(&self.directory)? {
            let Some(sequence) = parse_segment_name(&name) else { continue };
            let path = self.directory.join(name);
            let bytes = fs::metadata(&path).map_err(DiskError::io("reading", &path))?.len();
            files.push(SegmentFile { sequence, bytes });
        }
        files.sort_unstable_by_key(|file| file.sequence);
        Ok(files)
    }

    /// The files as recovery reads them: their list is taken now.
    pub fn reader(&mut self) -> Result<SegmentReader<'_>, DiskError> {
        let list = self.list()?;
        Ok(SegmentReader { list, files: self })
    }
}

/// A log's files, for recovery.
#[derive(Debug)]
pub struct SegmentReader<'f> {
    list: Vec<SegmentFile>,
    files: &'f mut SegmentFiles,
}

impl SegmentSource for SegmentReader<'_> {
    type Error = DiskError;

    fn segments(&self) -> Vec<SegmentFile> {
        self.list.clone()
    }

    fn read_at(&mut self, sequence: Sequence, offset: u64, into: &mut [u8]) -> Result<(), DiskError> {
        let path = self.files.path(sequence);
        if self.files.reading.as_ref().is_none_or(|(open, _)| *open != sequence) {
            let file = File::open(&path).map_err(DiskError::io("opening", &path))?;
            self.files.reading = Some((sequence, file));
        }
        let (_, file) = self.files.reading.as_ref().expect("opened above");
        file.read_exact_at(into, offset).map_err(DiskError::io("reading", &path))
    }
}

fn failure(doing: &str, path: &std::path::Path, error: &io::Error) -> IoFailure {
    IoFailure { errno: error.raw_os_error(), message: format!("{doing} {}: {error}", path.display()) }
}
