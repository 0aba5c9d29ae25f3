//! A file that is read piece by piece, so that it may be larger than the memory, and read on where the
//! disk has bad sectors.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ringkeeper_engine::snap::salvage;
use ringkeeper_engine::zookeeper::stream::Input;

/// Bytes read at a time, unless more are asked for at once.
const WINDOW_BYTES: u64 = 1 << 20;
/// What is given up where the disk cannot read.
const PIECE_BYTES: usize = 4096;

/// A place that the disk cannot read; it is shown as zeros.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// Where, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// What the kernel said.
    pub error: String,
}

/// An open file.
#[derive(Debug)]
pub struct FileBytes {
    path: PathBuf,
    file: File,
    length: u64,
    window: Vec<u8>,
    window_at: u64,
    unreadable: Vec<Unreadable>,
}

/// A file's name at one moment.
#[derive(Clone, Debug)]
pub struct HeldName {
    path: PathBuf,
    /// Device and number of the file that had it.
    identity: Option<(u64, u64)>,
}

impl HeldName {
    /// Whether the name stands for that file yet. A server that runs renames the files of segments that it
    /// needs no more, before it writes over them.
    pub fn holds(&self) -> bool {
        let named = std::fs::metadata(&self.path).map(|facts| (facts.dev(), facts.ino()));
        named.ok() == self.identity
    }
}

impl FileBytes {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// The kernel's; and what is not a regular file has no bytes of its own.
    pub fn open(path: &Path) -> io::Result<FileBytes> {
        // A look before the opening: opening a pipe would wait for its writer.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let path = path.to_path_buf();
        Ok(FileBytes { path, file, length, window: Vec::new(), window_at: 0, unreadable: Vec::new() })
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length when it was opened.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// What could not be read so far.
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// Bytes from `offset` on: `bytes` of them, fewer where the file ends.
    ///
    /// # Errors
    /// The kernel's, unless it is the disk that cannot read.
    pub fn read(&mut self, offset: u64, bytes: u64) -> io::Result<&[u8]> {
        let wanted = self.length.saturating_sub(offset).min(bytes) as usize;
        let held = offset
            .checked_sub(self.window_at)
            .filter(|skip| *skip + wanted as u64 <= self.window.len() as u64);
        let skip = match held {
            Some(skip) => skip as usize,
            None => {
                let length = self.length.saturating_sub(offset).min(bytes.max(WINDOW_BYTES));
                self.window.clear();
                self.window.resize(length as usize, 0);
                self.window_at = offset;
                let mut window = std::mem::take(&mut self.window);
                let filled = self.fill(offset, &mut window);
                self.window = window;
                filled?;
                0
            }
        };
        // A file that was made shorter meanwhile fills less of the window.
        let end = (skip + wanted).min(self.window.len());
        Ok(&self.window[skip.min(end)..end])
    }

    /// Its name, to be asked later whether it is this file's yet.
    pub fn held_name(&self) -> HeldName {
        let identity = self.file.metadata().map(|facts| (facts.dev(), facts.ino())).ok();
        HeldName { path: self.path.clone(), identity }
    }

    /// Forgets what was read, so that a file which is being written is looked at anew.
    pub fn forget(&mut self) {
        self.window.clear();
    }

    fn fill(&mut self, offset: u64, into: &mut Vec<u8>) -> io::Result<()> {
        match read_full(&self.file, offset, into) {
            Ok(filled) => into.truncate(filled),
            Err(error) if is_the_disks(&error) => {
                for (piece, at) in into.chunks_mut(PIECE_BYTES).zip((offset..).step_by(PIECE_BYTES)) {
                    match read_full(&self.file, at, piece) {
                        Ok(_) => {}
                        Err(error) if is_the_disks(&error) => {
                            piece.fill(0);
                            let unreadable = Unreadable {
                                offset: at,
                                bytes: piece.len() as u64,
                                error: error.to_string(),
                            };
                            if self.unreadable.iter().all(|known| known.offset != at) {
                                self.unreadable.push(unreadable);
                            }
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// A file from its beginning to its end. What keeps it from being read is kept.
#[derive(Debug)]
pub struct Pieces<'f> {
    file: &'f mut FileBytes,
    taken: Rc<Cell<u64>>,
    error: Option<io::Error>,
}

impl FileBytes {
    /// Its bytes, front to back.
    pub fn pieces(&mut self) -> Pieces<'_> {
        Pieces { file: self, taken: Rc::default(), error: None }
    }
}

impl Pieces<'_> {
    /// How many of its bytes were taken by now, for who cannot ask while somebody else takes them.
    pub fn taken(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.taken)
    }

    /// To be called at the end.
    ///
    /// # Errors
    /// The kernel's, if that was why it ended.
    pub fn finish(self) -> io::Result<()> {
        self.error.map_or(Ok(()), Err)
    }
}

impl Input for Pieces<'_> {
    fn append_piece(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        match self.file.read(self.taken.get(), WINDOW_BYTES) {
            Ok(piece) => {
                self.taken.set(self.taken.get() + piece.len() as u64);
                out.extend_from_slice(piece);
                Ok(())
            }
            Err(error) => {
                let what = format!("it cannot be read: {error}");
                self.error = Some(error);
                Err(what)
            }
        }
    }
}

fn is_the_disks(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    error.raw_os_error() == Some(EIO)
}

/// Reads until `into` is full or the file ends, and returns how much that was.
fn read_full(file: &File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match file.read_at(&mut into[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl salvage::Source for FileBytes {
    type Error = io::Error;

    fn bytes(&self) -> u64 {
        self.length
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let found = self.read(offset, into.len() as u64)?;
        into[..found.len()].copy_from_slice(found);
        into[found.len()..].fill(0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_what_the_file_holds_wherever_they_begin() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let content: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
        io::Write::write_all(&mut file, &content).unwrap();
        let mut bytes = FileBytes::open(file.path()).unwrap();
        for (offset, length) in
            [(0, 10), (5, 2_000_000), (2_999_990, 100), (3_000_000, 1), (1 << 40, 8), (0, 0)]
        {
            let end = (offset + length).min(content.len());
            let expected = content.get(offset..end).unwrap_or_default();
            assert_eq!(bytes.read(offset as u64, length as u64).unwrap(), expected, "{offset} {length}");
        }
    }

    #[test]
    fn what_has_no_bytes_of_its_own_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(FileBytes::open(directory.path()).is_err());
        assert!(FileBytes::open(Path::new("/dev/zero")).is_err());
    }
}
