//! Reading the log's files back.
//!
//! A log that is written past the page cache is not in there, and to put it there takes longer than to read
//! it: so it is read past the cache too, into memory that is used over and over.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::mpsc::{Receiver, Sender, channel};

use ringkeeper_engine::log::{
    DatabaseId, Ending, SegmentFile, SegmentSource, Sequence, SyncMode, look_from_end,
};

use super::DiskError;
use super::aligned::{AlignedBuffer, is_aligned};
use super::segments::SegmentFiles;

/// Bytes of one read past the page cache: as many as keep a disk busy.
const PIECE_BYTES: usize = 1 << 20;

/// A log's files, for recovery: their list is taken at the beginning.
#[derive(Debug)]
pub struct SegmentReader<'f> {
    files: &'f SegmentFiles,
    list: Vec<SegmentFile>,
    open: Option<Open>,
    endings: Option<Endings>,
}

/// The file that is read.
#[derive(Debug)]
struct Open {
    sequence: Sequence,
    file: File,
    past_cache: Option<Piece>,
}

/// What was last read past the cache, from `begin` on.
#[derive(Debug)]
struct Piece {
    begin: u64,
    bytes: AlignedBuffer,
}

impl<'f> SegmentReader<'f> {
    pub(super) fn new(files: &'f SegmentFiles) -> Result<SegmentReader<'f>, DiskError> {
        Ok(SegmentReader { files, list: files.list()?, open: None, endings: None })
    }

    /// Has recovery told what is found of the files' ends.
    pub(super) fn know(&mut self, endings: Endings) {
        self.endings = Some(endings);
    }

    fn open(&mut self, sequence: Sequence) -> io::Result<&mut Open> {
        let open = match self.open.take() {
            Some(open) if open.sequence == sequence => open,
            before => {
                let path = self.files.path(sequence);
                let direct = || File::options().read(true).custom_flags(libc::O_DIRECT).open(&path).ok();
                let piece = || Piece { begin: 0, bytes: AlignedBuffer::new(PIECE_BYTES) };
                match (self.files.sync() == SyncMode::Direct).then(direct).flatten() {
                    Some(file) => {
                        let mut piece = before.and_then(|before| before.past_cache).unwrap_or_else(piece);
                        piece.bytes.clear();
                        Open { sequence, file, past_cache: Some(piece) }
                    }
                    None => Open { sequence, file: File::open(&path)?, past_cache: None },
                }
            }
        };
        Ok(self.open.insert(open))
    }
}

impl SegmentSource for SegmentReader<'_> {
    type Error = DiskError;

    fn segments(&self) -> Vec<SegmentFile> {
        self.list.clone()
    }

    fn read_at(&mut self, sequence: Sequence, offset: u64, into: &mut [u8]) -> Result<(), DiskError> {
        let path = self.files.path(sequence);
        let open = self.open(sequence).map_err(DiskError::io("opening", &path))?;
        let read = match &mut open.past_cache {
            Some(piece) if !is_aligned(offset, into) => piece.read_at(&open.file, offset, into),
            _ => open.file.read_exact_at(into, offset),
        };
        read.map_err(DiskError::io("reading", &path))
    }

    fn ending(&mut self, sequence: Sequence) -> Option<Ending> {
        self.endings.as_mut().and_then(|endings| endings.of(sequence))
    }
}

impl Piece {
    /// Reads what lies anywhere, as it fits.
    fn read_at(&mut self, file: &File, mut offset: u64, mut into: &mut [u8]) -> io::Result<()> {
        while !into.is_empty() {
            let held =
                offset.checked_sub(self.begin).and_then(|skip| self.bytes.content().get(skip as usize..));
            let Some(held) = held.filter(|held| !held.is_empty()) else {
                self.begin = offset / PIECE_BYTES as u64 * PIECE_BYTES as u64;
                self.bytes.read(file, self.begin)?;
                if self.begin + self.bytes.content().len() as u64 <= offset {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                continue;
            };
            let taken = held.len().min(into.len());
            into[..taken].copy_from_slice(&held[..taken]);
            into = &mut into[taken..];
            offset += taken as u64;
        }
        Ok(())
    }
}

/// What another thread finds of the ends of the newest files.
#[derive(Debug)]
pub(super) struct Endings {
    found: Receiver<(Sequence, Ending)>,
    known: Vec<(Sequence, Ending)>,
}

/// That thread's part.
pub(super) struct EndingsLook<'f> {
    source: SegmentReader<'f>,
    database: DatabaseId,
    send: Sender<(Sequence, Ending)>,
}

impl Endings {
    /// What is needed of a log that is read: the segment that its end lies in, and the one that was prepared
    /// behind.
    const FILES: usize = 2;

    /// To be told, and to be done by another thread.
    pub fn of_newest(
        files: &SegmentFiles,
        database: DatabaseId,
    ) -> Result<(Endings, EndingsLook<'_>), DiskError> {
        let (send, found) = channel();
        let source = SegmentReader::new(files)?;
        Ok((Endings { found, known: Vec::new() }, EndingsLook { source, database, send }))
    }

    fn of(&mut self, sequence: Sequence) -> Option<Ending> {
        loop {
            if let Some((_, ending)) = self.known.iter().find(|(known, _)| *known == sequence) {
                return Some(*ending);
            }
            // What it does not tell before it ends, it does not know.
            self.known.push(self.found.recv().ok()?);
        }
    }
}

impl EndingsLook<'_> {
    /// Looks, until all is found, or a file cannot be read: then recovery meets that too.
    pub fn run(mut self) {
        for file in self.source.segments().into_iter().rev().take(Endings::FILES) {
            let Ok(ending) = look_from_end(&mut self.source, self.database, file) else { return };
            if self.send.send((file.sequence, ending)).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::DataDirectory;
    use std::fs;

    #[test]
    fn what_is_read_past_the_cache_is_what_the_file_holds_wherever_it_lies() {
        let parent = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(parent.path(), parent.path()).unwrap();
        let bytes: Vec<u8> = (0..3 * PIECE_BYTES + 5000).map(|at| (at * 7 + at / 251) as u8).collect();
        for sync in [SyncMode::Direct, SyncMode::Fdatasync] {
            let files = SegmentFiles::new(&directory, sync);
            for (number, length) in [(1, bytes.len()), (2, 4096), (3, 100)] {
                fs::write(files.path(Sequence(number)), &bytes[..length]).unwrap();
            }
            let mut reader = files.reader().unwrap();
            let mut check = |number, offset: usize, length: usize| {
                // At an address that fits, and beside one.
                for beside in [0, 1] {
                    let mut memory = vec![0; length + 2 * 4096];
                    let start = memory.as_ptr().align_offset(4096) + beside;
                    let into = &mut memory[start..start + length];
                    reader.read_at(Sequence(number), offset as u64, into).unwrap();
                    assert!(into == &bytes[offset..offset + length], "{number} {offset} {length}");
                }
            };
            for length in [0, 1, 4096, 5000, PIECE_BYTES, PIECE_BYTES + 8192] {
                for offset in [0, 1, 512, 4096, PIECE_BYTES - 1, PIECE_BYTES - 4096] {
                    check(1, offset, length);
                }
            }
            check(1, bytes.len() - 1, 1);
            check(3, 0, 100);
            check(2, 0, 4096);
            check(1, bytes.len() - 5000, 5000);
            let behind = reader.read_at(Sequence(3), 0, &mut [0; 101]);
            assert!(matches!(behind, Err(DiskError::Io { .. })), "{behind:?}");
        }
    }

    #[test]
    fn an_end_that_nobody_looked_at_is_not_known() {
        let parent = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(parent.path(), parent.path()).unwrap();
        let files = SegmentFiles::new(&directory, SyncMode::Direct);
        for number in 1..=3 {
            fs::write(files.path(Sequence(number)), [0; 8192]).unwrap();
        }
        let looked = |run: bool| {
            let (endings, look) = Endings::of_newest(&files, directory.database()).unwrap();
            let mut reader = files.reader().unwrap();
            reader.know(endings);
            if run {
                look.run();
            } else {
                drop(look);
            }
            [1, 3, 2].map(|number| reader.ending(Sequence(number)).is_some())
        };
        assert_eq!(looked(true), [false, true, true], "only the newest two are");
        assert_eq!(looked(false), [false; 3]);
    }
}
