//! The hollow server's writes: gathered while one is on its way, made durable, forgotten.

use crate::failure::Failure;
use ringkeeper_net::ring::{self, Wake};
use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Addresses that O_DIRECT takes on any disk that we know.
const ADDRESS_ALIGNMENT: usize = 4096;
/// Lengths and offsets that O_DIRECT takes, the shortest that a disk may know first.
const STEPS: [usize; 2] = [512, 4096];
const FILL_BYTES: usize = 1 << 20;
/// What a real log has before each batch: length, checksums, range of zxids.
const BATCH_HEADER_BYTES: usize = 48;

/// The file, filled with zeros and open.
pub struct Prepared {
    file: File,
    path: PathBuf,
    bytes: u64,
    step: usize,
    flags: &'static str,
}

impl Prepared {
    /// Makes a file of so many bytes in a directory.
    ///
    /// # Errors
    /// As the disk says.
    pub fn create(directory: &Path, bytes: u64) -> Result<Prepared, Failure> {
        let path = directory.join("hollow.log");
        let failed = |error| Failure::system(format!("filling {}", path.display()), error);
        fill(&path, bytes).map_err(failed)?;
        let (file, step, flags) = open(&path).map_err(failed)?;
        Ok(Prepared { file, path, bytes, step, flags })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How a write is made durable.
    pub fn flags(&self) -> &'static str {
        self.flags
    }

    /// Every write is a multiple of this.
    pub fn step(&self) -> usize {
        self.step
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // The directory that it is in may be gone already.
        let _ = fs::remove_file(&self.path);
    }
}

fn fill(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    let zeros = vec![0; FILL_BYTES];
    for _ in 0..bytes / FILL_BYTES as u64 {
        file.write_all(&zeros)?;
    }
    file.sync_all()
}

/// Opens it for durable writes: past the page cache, where the file system can.
fn open(path: &Path) -> io::Result<(File, usize, &'static str)> {
    let open = |flags| File::options().write(true).custom_flags(libc::O_DSYNC | flags).open(path);
    for step in STEPS {
        let mut probe = Batch::default();
        probe.append(&[0]);
        let range = probe.padded(step);
        if let Ok(file) = open(libc::O_DIRECT)
            && file.write_all_at(&probe.bytes[range], 0).is_ok()
        {
            return Ok((file, step, "O_DIRECT|O_DSYNC"));
        }
    }
    Ok((open(0)?, STEPS[0], "O_DSYNC"))
}

/// Stands for a write that is to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// Bytes at an address that O_DIRECT takes.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    start: usize,
    waiting: Vec<Wake>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.bytes.len() <= self.start
    }

    fn append(&mut self, bytes: &[u8]) {
        // Room for the padding too, which must not move it.
        let needed = self.bytes.len() + bytes.len() + BATCH_HEADER_BYTES + 2 * ADDRESS_ALIGNMENT;
        if self.bytes.capacity() < needed {
            let mut larger: Vec<u8> = Vec::with_capacity(needed.max(1 << 20) * 2);
            let start = larger.as_ptr().align_offset(ADDRESS_ALIGNMENT);
            larger.resize(start, 0);
            larger.extend_from_slice(&self.bytes[self.start..]);
            (self.bytes, self.start) = (larger, start);
        }
        if self.is_empty() {
            self.bytes.resize(self.start + BATCH_HEADER_BYTES, 0);
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Fills it up with zeros to a multiple of `step`; where it lies then.
    fn padded(&mut self, step: usize) -> std::ops::Range<usize> {
        let length = (self.bytes.len() - self.start).next_multiple_of(step);
        self.bytes.resize(self.start + length, 0);
        self.start..self.start + length
    }

    fn clear(&mut self) {
        self.bytes.truncate(self.start);
    }
}

/// See the module.
pub struct Log {
    file: ring::File,
    prepared: Prepared,
    gathering: RefCell<Batch>,
    /// The number of the batch that gathers.
    number: Cell<u64>,
    /// Batches below this one are durable.
    durable: Cell<u64>,
    wake: Wake,
}

impl Log {
    /// On the ring of this thread.
    pub fn new(prepared: Prepared) -> Log {
        let file = prepared.file.try_clone().expect("a descriptor");
        Log {
            file: ring::File::new(file),
            prepared,
            gathering: RefCell::default(),
            number: Cell::new(0),
            durable: Cell::new(0),
            wake: Wake::new(),
        }
    }

    /// Puts bytes into the batch that gathers.
    pub fn append(&self, bytes: &[u8]) {
        self.gathering.borrow_mut().append(bytes);
    }

    /// Stands for all that was appended so far.
    pub fn ticket(&self) -> Ticket {
        Ticket(self.number.get())
    }

    /// To be woken when the batch that gathers is durable.
    pub fn wait(&self, waiting: Wake) {
        self.gathering.borrow_mut().waiting.push(waiting);
        self.wake.wake();
    }

    /// Whether it is.
    pub fn is_durable(&self, ticket: Ticket) -> bool {
        ticket < Ticket(self.durable.get())
    }

    /// Writes what gathers, one batch at a time.
    ///
    /// # Errors
    /// A write fails: nothing after it would be durable.
    pub async fn write_for_ever(&self) -> Result<(), Failure> {
        let (mut spare, mut at) = (Batch::default(), 0);
        loop {
            self.wake.woken().await;
            while !self.gathering.borrow().is_empty() {
                let mut batch = self.gathering.replace(spare);
                self.number.set(self.number.get() + 1);
                let range = batch.padded(self.prepared.step);
                let length = range.len() as u64;
                if at + length > self.prepared.bytes {
                    at = 0;
                }
                let (written, home) = self.file.write_at(batch.bytes, range, at).await;
                batch.bytes = home;
                written.map_err(|error| {
                    Failure::system(format!("writing {}", self.prepared.path.display()), error)
                })?;
                at += length;
                self.durable.set(self.number.get());
                batch.waiting.drain(..).for_each(|waiting| waiting.wake());
                batch.clear();
                spare = batch;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_lies_where_the_disk_takes_it_however_far_it_grows() {
        let mut batch = Batch::default();
        for round in 0..3 {
            for _ in 0..40_000 {
                batch.append(&[7; 100]);
            }
            let range = batch.padded(512);
            assert_eq!(batch.bytes[range.clone()].as_ptr().addr() % ADDRESS_ALIGNMENT, 0, "{round}");
            assert_eq!(range.len() % 512, 0);
            let content = &batch.bytes[range][BATCH_HEADER_BYTES..][..4_000_000];
            assert!(content.iter().all(|&byte| byte == 7));
            batch.clear();
            assert!(batch.is_empty());
        }
    }
}
