//! The memory map of a checkpoint: the one place in this crate's disk half that is `unsafe`.
//!
//! A page that the disk does not give is a signal (SIGBUS), which ends the process without a reason. So
//! nothing is looked at before `fetch` has had it read: what cannot be read is an error of that, with its
//! place. The kernel may drop a page later and read it again, which it once could; if the disk does not give
//! it then, the signal comes after all. A tree that leaves values in a map lives with that: nothing can be
//! answered in the place of such a value, so the process ends, and its last line names the file. What the disk
//! gives then may be other bytes, too: who copies values to where they get another checksum verifies them again.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};

use memmap2::{Advice, Mmap};

/// A file's bytes, read by the kernel when they are first looked at.
#[derive(Debug)]
pub(super) struct Map {
    map: Mmap,
    file: File,
    is_locked: bool,
}

/// What is said if a page of a map is the end. It is never freed: the signal may come at any moment.
struct LastLine {
    map: Range<usize>,
    text: String,
}

/// Of the map that values were left in last; a process has one tree.
static LAST_LINE: AtomicPtr<LastLine> = AtomicPtr::new(ptr::null_mut());

/// Bytes of one read, where the kernel cannot say through the map whether pages are readable.
const PIECE_BYTES: usize = 64 * 1024;
/// What a disk gives or does not give, as far as the page cache asks for it.
const PAGE_BYTES: usize = 4096;

impl Map {
    /// Maps a file that is finished: one that got its name by a rename.
    #[allow(unsafe_code)]
    pub fn new(file: File) -> io::Result<Map> {
        let is_locked = file.try_lock_shared().is_ok();
        // SAFETY: the bytes of a map must not change while they are borrowed. A checkpoint's file is
        // written under another name and renamed when it is complete. It is written again only when it
        // is obsolete, as the beginning of the next one, by who has its lock alone (`may_be_written`):
        // while this map has its share of the lock, nobody. Where there are no locks, none is written again.
        // The directory's lock keeps other servers out.
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

    fn addresses(&self) -> Range<usize> {
        let Range { start, end } = self.map.as_ptr_range();
        start.addr()..end.addr()
    }

    /// From now on, until [`Self::end_watch`], the process says which file it is if a page of this map is
    /// what ends it.
    pub fn watch(&self, path: &Path) {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(handle_bus_errors);
        let path = path.display();
        let text = format!(
            "error: {path}: cannot be read any more, and values of the tree are in it: the server ends. When it \
             is started again, it verifies the file, and takes the checkpoint before if this one is damaged\n"
        );
        let line = Box::new(LastLine { map: self.addresses(), text });
        LAST_LINE.store(Box::into_raw(line), Ordering::Release);
    }

    #[allow(unsafe_code)]
    pub fn end_watch(&self) {
        let line = LAST_LINE.load(Ordering::Acquire);
        // SAFETY: it is null or came from `watch`, and is never freed.
        let is_own = unsafe { line.as_ref() }.is_some_and(|line| line.map == self.addresses());
        if is_own {
            // If another has come, that stays.
            let _ = LAST_LINE.compare_exchange(line, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

/// Says the last line; then the signal does what it does without a handler.
#[allow(unsafe_code)]
extern "C" fn on_bus_error(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives a handler with SA_SIGINFO a `siginfo_t`; the line is null or came from `watch`,
    // and is never freed. A handler may load an atomic, read memory that nobody writes, and call these three.
    unsafe {
        let at = (*info).si_addr().addr();
        if let Some(line) = LAST_LINE.load(Ordering::Acquire).as_ref()
            && line.map.contains(&at)
        {
            libc::write(libc::STDERR_FILENO, line.text.as_ptr().cast(), line.text.len());
        }
        // Only now: the default is the end, also where another thread meets such a page meanwhile.
        libc::signal(libc::SIGBUS, libc::SIG_DFL);
        libc::raise(libc::SIGBUS);
    }
}

#[allow(unsafe_code)]
fn handle_bus_errors() {
    // SAFETY: a zeroed `sigaction` has no flags and an empty mask; the handler has the type that SA_SIGINFO
    // says, and does only what one may. SA_ONSTACK: as the standard library's, on the stack that it sets aside.
    // If this fails, the signal ends the process without a word, as it did.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_bus_error as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGBUS, &action, ptr::null_mut());
    }
}

/// Whether a file that is to be written over is in no map, which its lock alone says. Until it is closed no map
/// of it is kept.
pub(super) fn may_be_written(file: &File) -> bool {
    file.try_lock().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::OpenOptionsExt;

    #[test]
    fn a_file_is_written_over_when_no_map_has_it() {
        let path = tempfile::NamedTempFile::new().unwrap();
        path.as_file().set_len(PAGE_BYTES as u64).unwrap();
        let writer = || File::options().write(true).open(path.path()).unwrap();
        let maps = [(); 2].map(|()| Map::new(path.reopen().unwrap()).unwrap());
        assert!(maps.iter().all(Map::is_locked));
        for map in maps {
            assert!(!may_be_written(&writer()));
            drop(map);
        }
        let writer = writer();
        assert!(may_be_written(&writer));
        let late = Map::new(path.reopen().unwrap()).unwrap();
        assert!(!late.is_locked(), "it is not kept: its file is being written");
    }

    #[test]
    fn a_file_that_cannot_be_locked_is_not_written_over() {
        let path = tempfile::NamedTempFile::new().unwrap();
        // A handle without a file behind it, of which the kernel says as little as where there are no locks.
        let handle = File::options().read(true).custom_flags(libc::O_PATH).open(path.path()).unwrap();
        assert!(!may_be_written(&handle));
    }

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
