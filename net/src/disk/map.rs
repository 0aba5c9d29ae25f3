//! The memory map of a checkpoint: the one place in this crate's disk half that is `unsafe`.
//!
//! A page that the disk does not give is a signal (SIGBUS), which ends the process without a reason. So
//! nothing is looked at before `fetch` has had it read: what cannot be read is an error of that, with its
//! place. The kernel may drop a page later and read it again, which it once could; if the disk does not give
//! it then, the signal comes after all. Who goes on looking at a map when it was read, as a tree does that
//! leaves values in it, lives with that.

use std::fs::{File, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use memmap2::{Advice, Mmap};

/// A file's bytes, read by the kernel when they are first looked at.
#[derive(Debug)]
pub(super) struct Map {
    map: Mmap,
    file: File,
    is_locked: bool,
}

/// Bytes of one read, where the kernel cannot say through the map whether pages are readable.
const PIECE_BYTES: usize = 64 * 1024;
/// What a disk gives or does not give, as far as the page cache asks for it.
const PAGE_BYTES: usize = 4096;

impl Map {
    /// Maps a file that is finished: one that got its name by a rename and is never written again.
    #[allow(unsafe_code)]
    pub fn new(file: File) -> io::Result<Map> {
        let is_locked = file.try_lock_shared().is_ok();
        // SAFETY: the bytes of a map must not change while they are borrowed. A checkpoint's file is
        // written under another name and renamed when it is complete. It is written again only when it
        // is obsolete, as the beginning of the next one, by who has its lock alone (`may_be_written`):
        // while this map has its share of the lock, nobody. Where there are no locks, no map is kept
        // (`is_locked`), and that is done by the thread that alone maps checkpoints once the server runs,
        // between two of its maps. The directory's lock keeps other servers out.
        let map = unsafe { Mmap::map(&file) }?;
        Ok(Map { map, file, is_locked })
    }

    /// Whether it may be kept while checkpoints are written.
    pub fn is_locked(&self) -> bool {
        self.is_locked
    }

    /// Has the kernel read all of it, now and at once. It may not, and then it reads what is looked at.
    pub fn read_ahead(&self) {
        let _ = self.map.advise(Advice::WillNeed);
    }

    /// Returns once these bytes are in memory; else the place of the first that cannot be read, in bytes from
    /// the file's beginning, and why.
    pub fn fetch(&self, range: Range<usize>) -> Result<(), (usize, io::Error)> {
        if self.map.advise_range(Advice::PopulateRead, range.start, range.len()).is_ok() {
            return Ok(());
        }
        // The kernel is older than that (Linux 5.14), or something is wrong; it does not say where.
        let read =
            |from: usize, to: usize| self.file.read_exact_at(&mut [0; PIECE_BYTES][..to - from], from as u64);
        for from in range.clone().step_by(PIECE_BYTES) {
            let to = (from + PIECE_BYTES).min(range.end);
            if read(from, to).is_ok() {
                continue;
            }
            let pages = (from - from % PAGE_BYTES..to).step_by(PAGE_BYTES);
            for page in pages.map(|page| page.max(from)) {
                let end = (page - page % PAGE_BYTES + PAGE_BYTES).min(to);
                read(page, end).map_err(|error| (page, error))?;
            }
        }
        Ok(())
    }

    pub fn bytes(&self) -> &[u8] {
        &self.map
    }
}

/// Whether a file that is to be written over is in no map. Nobody can map it before it is closed.
pub(super) fn may_be_written(file: &File) -> bool {
    !matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_an_error_with_its_place_and_no_signal() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let all = 5 * PIECE_BYTES;
        path.as_file().set_len(all as u64).unwrap();
        let map = Map::new(path.reopen().unwrap()).unwrap();
        map.fetch(0..all).unwrap();
        let left = 2 * PIECE_BYTES + 3 * PAGE_BYTES;
        path.as_file().set_len(left as u64).unwrap();
        map.fetch(0..left).unwrap();
        assert!(map.bytes()[..left].iter().all(|byte| *byte == 0));
        for (range, first) in
            [(0..all, left), (7..left + 1, left), (left + 9..all, left + 9), (left - 1..all, left)]
        {
            let (at, error) = map.fetch(range.clone()).unwrap_err();
            assert_eq!((at, error.kind()), (first, io::ErrorKind::UnexpectedEof), "{range:?}");
        }
    }
}
