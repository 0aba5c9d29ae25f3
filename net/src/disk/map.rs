//! The memory map of a checkpoint: the one place in this crate's disk half that is `unsafe`.

use std::fs::File;
use std::io;

use memmap2::{Advice, Mmap};

/// A file's bytes, read by the kernel when they are first looked at.
#[derive(Debug)]
pub(super) struct Map(Mmap);

impl Map {
    /// Maps a file that is finished: one that got its name by a rename and is never written again.
    #[allow(unsafe_code)]
    pub fn new(file: &File) -> io::Result<Map> {
        // SAFETY: the bytes of a map must not change while they are borrowed. A checkpoint's file is
        // written under another name and renamed when it is complete. It is written again only when it
        // is obsolete, as the beginning of the next one, by the thread that alone maps checkpoints once
        // the server runs, between two of its maps; and the directory's lock keeps other servers out.
        unsafe { Mmap::map(file) }.map(Map)
    }

    /// Has the kernel read all of it, now and at once. It may not, and then it reads what is looked at.
    pub fn read_ahead(&self) {
        let _ = self.0.advise(Advice::WillNeed);
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}
