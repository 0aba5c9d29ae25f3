//! Writes past the page cache, which else would hold what background work writes and give it to the disk at
//! once, between the log's writes: those then wait for all of it. And reads past it.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Addresses, lengths and places in a file that O_DIRECT takes on any disk that we know.
const ALIGNMENT: usize = 4096;

/// Opens a file for writes past the page cache. A file system that refuses that gets them through it.
pub(super) fn open_past_cache(path: &Path) -> io::Result<File> {
    let open = |flags| File::options().write(true).custom_flags(flags).open(path);
    open(libc::O_DIRECT).or_else(|_| open(0))
}

/// Whether a read past the page cache takes this place and this memory as they are.
pub(super) fn is_aligned(offset: u64, memory: &[u8]) -> bool {
    offset.is_multiple_of(ALIGNMENT as u64)
        && memory.as_ptr().addr().is_multiple_of(ALIGNMENT)
        && memory.len().is_multiple_of(ALIGNMENT)
}

/// Zeros at an address that O_DIRECT takes.
#[derive(Debug, Default)]
pub(super) struct AlignedZeros {
    bytes: Vec<u8>,
}

impl AlignedZeros {
    /// So many of them.
    pub fn take(&mut self, bytes: usize) -> &[u8] {
        if self.bytes.len() < bytes + ALIGNMENT {
            self.bytes = vec![0; bytes + ALIGNMENT];
        }
        let begin = self.bytes.as_ptr().align_offset(ALIGNMENT);
        &self.bytes[begin..begin + bytes]
    }
}

/// Bytes at an address that O_DIRECT takes, gathered up to a fixed size.
#[derive(Debug)]
pub(super) struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
    size: usize,
    filled: usize,
}

impl AlignedBuffer {
    /// An empty one. `size` is a multiple of [`ALIGNMENT`].
    pub fn new(size: usize) -> AlignedBuffer {
        assert_eq!(size % ALIGNMENT, 0, "what is written from it is written whole");
        let bytes = vec![0; size + ALIGNMENT];
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        AlignedBuffer { bytes, start, size, filled: 0 }
    }

    /// Adds as many of `bytes` as there is room for, and returns how many.
    pub fn fill(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.size - self.filled);
        let at = self.start + self.filled;
        self.bytes[at..at + taken].copy_from_slice(&bytes[..taken]);
        self.filled += taken;
        taken
    }

    /// Fills it with what a file has at `offset`, a multiple of [`ALIGNMENT`]: all of it, unless the file ends.
    pub fn read(&mut self, file: &File, offset: u64) -> io::Result<()> {
        self.filled = 0;
        // Only at its end does a file give less than asked for, in a number that no further read takes.
        while self.filled < self.size && self.filled.is_multiple_of(ALIGNMENT) {
            let room = self.start + self.filled..self.start + self.size;
            match file.read_at(&mut self.bytes[room], offset + self.filled as u64)? {
                0 => break,
                bytes => self.filled += bytes,
            }
        }
        Ok(())
    }

    /// What it was filled with.
    pub fn content(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.filled]
    }

    /// Whether there is no more room.
    pub fn is_full(&self) -> bool {
        self.filled == self.size
    }

    /// Forgets the content.
    pub fn clear(&mut self) {
        self.filled = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_filled_in_pieces_and_stays_where_it_is() {
        let mut buffer = AlignedBuffer::new(ALIGNMENT);
        assert_eq!(buffer.content().as_ptr().addr() % ALIGNMENT, 0);
        assert_eq!((buffer.fill(&[1; 4000]), buffer.is_full()), (4000, false));
        assert_eq!((buffer.fill(&[2; 100]), buffer.is_full()), (96, true));
        assert_eq!((buffer.fill(&[3; 4]), &buffer.content()[3999..4001]), (0, &[1, 2][..]));
        buffer.clear();
        assert_eq!((buffer.fill(b"x"), buffer.content()), (1, &b"x"[..]));
        assert_eq!(buffer.content().as_ptr().addr() % ALIGNMENT, 0);
    }
}
