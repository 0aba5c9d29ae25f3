//! The ring: the only file that names the io_uring runtime, so that it can be replaced alone.
//!
//! One runtime a thread. Buffers are given to the kernel and come home with the completion. A read
//! that the kernel owns is never abandoned: it ends when its socket is shut down.

#![allow(unsafe_code, reason = "one of the three addresses; see LogBuffer")]

use std::future::Future;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Entries of a ring's submission queue.
const RING_ENTRIES: u32 = 1024;

/// Runs `future` on this thread's own ring.
///
/// # Errors
/// When the kernel refuses the ring: the message says what forbids it and what to change.
pub fn run<F: Future>(future: F) -> io::Result<F::Output> {
    let mut builder = tokio_uring::builder();
    builder.entries(RING_ENTRIES);
    let runtime = tokio_uring::Runtime::new(&builder).map_err(explain)?;
    Ok(runtime.block_on(future))
}

/// What stands between this process and a ring.
fn explain(error: io::Error) -> io::Error {
    const ENOSYS: i32 = 38;
    const ENOMEM: i32 = 12;
    let forbidden = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let why = match (error.raw_os_error(), forbidden.trim()) {
        (Some(ENOSYS), _) => {
            "this kernel has no io_uring, or a seccomp profile hides it: use Linux 5.11 or newer, and in a \
             container a seccomp profile that allows io_uring_setup, io_uring_enter and io_uring_register"
                .to_owned()
        }
        (Some(ENOMEM), _) => {
            "the limit of locked memory is too low: raise it (ulimit -l, LimitMEMLOCK)".to_owned()
        }
        (_, "2") => {
            "kernel.io_uring_disabled is 2: set it to 0 (sysctl -w kernel.io_uring_disabled=0)".to_owned()
        }
        (_, "1") => {
            "kernel.io_uring_disabled is 1, so only privileged processes may use io_uring: set it to 0, \
                     or put the server's group into kernel.io_uring_group"
                .to_owned()
        }
        _ => "a seccomp profile or security module forbids it: in a container, allow io_uring_setup, \
              io_uring_enter and io_uring_register"
            .to_owned(),
    };
    io::Error::new(error.kind(), format!("the kernel refuses io_uring ({error}): {why}"))
}

/// Runs a task beside the others of this thread.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    drop(tokio_uring::spawn(task));
}

/// Waits.
pub async fn sleep(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Wakes one task, from this thread or another. Waking it twice before it looks is waking it once.
#[derive(Clone, Debug, Default)]
pub struct Wake(Arc<tokio::sync::Notify>);

impl Wake {
    /// Nobody is woken yet.
    pub fn new() -> Self {
        Wake::default()
    }

    /// Wakes the task, now or when it waits next.
    pub fn wake(&self) {
        self.0.notify_one();
    }

    /// Waits to be woken.
    pub async fn woken(&self) {
        self.0.notified().await;
    }
}

/// A listening socket.
pub struct Listener(tokio_uring::net::TcpListener);

impl Listener {
    /// Of a socket that listens already.
    pub fn new(socket: std::net::TcpListener) -> Self {
        Listener(tokio_uring::net::TcpListener::from_std(socket))
    }

    /// The next connection.
    ///
    /// # Errors
    /// As the kernel says; the listener stays usable.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        Ok((Stream(Rc::new(stream)), peer))
    }
}

/// A connection; clones are the same one.
#[derive(Clone)]
pub struct Stream(Rc<tokio_uring::net::TcpStream>);

impl Stream {
    /// Reads into `buffer`, whose content is replaced. Zero bytes: the peer is done.
    pub async fn read(&self, mut buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        buffer.clear();
        self.0.read(buffer).await
    }

    /// Writes all of `buffer`.
    pub async fn write_all(&self, buffer: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        self.0.write_all(buffer).await
    }

    /// Ends reads and writes that are under way, and refuses later ones.
    pub fn shutdown(&self) {
        // Failing means that the peer was faster.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// A file; clones are the same one.
#[derive(Clone)]
pub struct File(Rc<tokio_uring::fs::File>);

impl File {
    /// Of a file that is open already.
    pub fn new(file: std::fs::File) -> File {
        File(Rc::new(tokio_uring::fs::File::from_std(file)))
    }

    /// Writes `range` of `buffer` at `offset`.
    pub async fn write_at(
        &self,
        buffer: Vec<u8>,
        range: Range<usize>,
        offset: u64,
    ) -> (io::Result<()>, Vec<u8>) {
        let (result, buffer) = self.0.write_all_at(LogBuffer { buffer, range }, offset).await;
        (result, buffer.buffer)
    }

    /// fdatasync.
    ///
    /// # Errors
    /// As the kernel says; what the disk holds is then unknown.
    pub async fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data().await
    }
}

/// A part of a buffer, lent to the kernel.
struct LogBuffer {
    buffer: Vec<u8>,
    range: Range<usize>,
}

// SAFETY: the pointer is into the vector's heap memory, which stays where it is while this value
// moves, and nothing resizes the vector between here and the completion, which gives it back. All
// bytes of the range are initialised, since the range lies within the vector's length: slicing
// checks it at each call.
unsafe impl tokio_uring::buf::IoBuf for LogBuffer {
    fn stable_ptr(&self) -> *const u8 {
        self.buffer[self.range.clone()].as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.buffer[self.range.clone()].len()
    }

    fn bytes_total(&self) -> usize {
        self.bytes_init()
    }
}
