//! What the machine itself takes: a durable append of so many bytes, and an echo over loopback.

use crate::failure::Failure;
use ringkeeper_engine::log::SyncMode;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The file that raw appends go to: filled with zeros first, as a log's segment is.
const FILE_BYTES: u64 = 64 << 20;
/// Addresses and offsets that O_DIRECT takes on any disk that we know.
const PAGE_BYTES: usize = 4096;
/// The longest append.
const APPEND_BYTES_MAX: usize = 8 << 20;

/// Makes a file of so many bytes, filled with zeros and synced.
///
/// # Errors
/// As the disk says.
pub fn fill(path: &Path, bytes: u64) -> Result<(), Failure> {
    let fill = || -> io::Result<()> {
        let mut file = File::create(path)?;
        io::copy(&mut io::repeat(0).take(bytes), &mut file)?;
        file.sync_all()
    };
    fill().map_err(|error| Failure::system(format!("filling {}", path.display()), error))
}

/// A file that is appended to with blocking calls, from one thread, one append at a time.
pub struct RawDisk {
    path: PathBuf,
    bytes: Vec<u8>,
    at: u64,
}

impl RawDisk {
    /// Makes the file in a directory.
    ///
    /// # Errors
    /// As the disk says.
    pub fn create(directory: &Path) -> Result<RawDisk, Failure> {
        let path = directory.join("raw-append");
        fill(&path, FILE_BYTES)?;
        Ok(RawDisk { path, bytes: vec![0xa5; APPEND_BYTES_MAX + PAGE_BYTES], at: 0 })
    }

    /// Appends `bytes` durably, as `sync` says, for `time` or `count` times, whichever ends first; returns
    /// how long each took.
    ///
    /// # Errors
    /// As the disk says; a file system may refuse O_DIRECT.
    pub fn append(
        &mut self,
        sync: SyncMode,
        bytes: usize,
        count: usize,
        time: Duration,
    ) -> Result<Vec<Duration>, Failure> {
        let flags = match sync {
            SyncMode::Fdatasync | SyncMode::None => 0,
            SyncMode::Dsync => libc::O_DSYNC,
            SyncMode::Direct => libc::O_DSYNC | libc::O_DIRECT,
        };
        let bytes = bytes.clamp(1, APPEND_BYTES_MAX);
        let skip = self.bytes.as_ptr().align_offset(PAGE_BYTES);
        let source = &self.bytes[skip..skip + bytes];
        let at = &mut self.at;
        let mut append = || -> io::Result<Vec<Duration>> {
            let file = File::options().write(true).custom_flags(flags).open(&self.path)?;
            let (begun, mut took) = (Instant::now(), Vec::new());
            while took.len() < count && begun.elapsed() < time {
                if *at + bytes as u64 > FILE_BYTES {
                    *at = 0;
                }
                let begun = Instant::now();
                file.write_all_at(source, *at)?;
                if sync == SyncMode::Fdatasync {
                    file.sync_data()?;
                }
                took.push(begun.elapsed());
                *at += bytes as u64;
            }
            Ok(took)
        };
        append().map_err(|error| Failure::system(format!("appending to {}", self.path.display()), error))
    }
}

impl Drop for RawDisk {
    fn drop(&mut self) {
        // The directory that it is in may be gone already.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A thread that sends back what it gets, and a connection to it.
pub struct Echo {
    stream: TcpStream,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Starts it.
    ///
    /// # Errors
    /// As the system says.
    pub fn start() -> Result<Echo, Failure> {
        let start = || -> io::Result<Echo> {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let stream = TcpStream::connect(listener.local_addr()?)?;
            let (mut served, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            served.set_nodelay(true)?;
            let thread = std::thread::spawn(move || {
                let mut buffer = vec![0; PAGE_BYTES];
                // It ends with the other side of the connection.
                while let Ok(bytes @ 1..) = served.read(&mut buffer) {
                    if served.write_all(&buffer[..bytes]).is_err() {
                        return;
                    }
                }
            });
            Ok(Echo { stream, thread: Some(thread) })
        };
        start().map_err(|error| Failure::system("starting an echo", error))
    }

    /// Sends `bytes` there and back, `count` times; returns how long each took.
    ///
    /// # Errors
    /// As the system says.
    pub fn exchange(&mut self, bytes: usize, count: usize) -> Result<Vec<Duration>, Failure> {
        let out = vec![1; bytes.min(PAGE_BYTES)];
        let mut back = out.clone();
        let mut exchange = || -> io::Result<Duration> {
            let begun = Instant::now();
            self.stream.write_all(&out)?;
            self.stream.read_exact(&mut back)?;
            Ok(begun.elapsed())
        };
        (0..count)
            .map(|_| exchange())
            .collect::<io::Result<_>>()
            .map_err(|error| Failure::system("an echo", error))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // Failing means that the thread has ended.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The middle of some times, in microseconds; 0 of none.
pub fn median_us(times: &[Duration]) -> f64 {
    let mut times: Vec<_> = times.iter().map(|time| time.as_secs_f64() * 1e6).collect();
    median(&mut times)
}

/// The middle one; 0 of none.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
