//! The ring: the only file that names io_uring, so that it can be replaced alone.
//!
//! One ring a thread, of one of two runtimes. The own one enters the kernel once a turn, to tell it
//! everything and to wait; tokio-uring waits in epoll instead, and pays for each operation with several
//! more system calls. Buffers are given to the kernel and come home with the completion. A read that the
//! kernel owns is never abandoned: it ends when its socket is shut down.
//!
//! | file | what lives there |
//! |---|---|
//! | here | what the rest of the server sees, and `driver`: everything unsafe |
//! | `incoming` | what comes over a connection, in memory that all of a thread share |
//! | `supply` | how many pieces that memory has |
//! | `slots` | what the kernel was given |
//! | `wake` | wakes a task, from any thread |
//! | `tasks` | the own runtime's tasks, timers and wake-ups |
//! | `spin` | how long it looks for work before it sleeps |
//! | `refusal` | why there is no ring |

#![allow(unsafe_code, reason = "one of the three addresses; see `driver` and LogBuffer")]

use std::future::Future;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

pub use incoming::Incoming;
use refusal::explain;
use spin::Spin;
pub use wake::Wake;

mod incoming;
mod refusal;
mod slots;
mod spin;
mod supply;
mod tasks;
#[cfg(test)]
mod tests;
mod wake;

/// Entries of a ring's submission queue.
const RING_ENTRIES: u32 = 1024;

/// What runs a thread's tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Runtime {
    /// Ours.
    #[default]
    Own,
    /// tokio-uring.
    TokioUring,
}

/// Runs `future` on this thread's own ring.
///
/// # Errors
/// When the kernel refuses the ring: the message says what forbids it and what to change.
pub fn run<F: Future>(runtime: Runtime, future: F) -> io::Result<F::Output> {
    run_awake(runtime, Duration::ZERO, future)
}

/// The same. Where that nearly always finds some, the own runtime looks for work as long as `spin` before it
/// sleeps; tokio-uring never does.
///
/// # Errors
/// As [`run`].
pub fn run_awake<F: Future>(runtime: Runtime, spin: Duration, future: F) -> io::Result<F::Output> {
    match runtime {
        Runtime::Own => tasks::Executor::run(RING_ENTRIES, Spin::new(spin), future).map_err(explain),
        Runtime::TokioUring => {
            let mut builder = tokio_uring::builder();
            builder.entries(RING_ENTRIES);
            let runtime = tokio_uring::Runtime::new(&builder).map_err(explain)?;
            Ok(runtime.block_on(future))
        }
    }
}

/// Runs a task beside the others of this thread.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    match tasks::current() {
        Some(executor) => executor.spawn(task, false),
        None => drop(tokio_uring::spawn(task)),
    }
}

/// The same, for a task that goes before the others whenever it can go on, as what the thread runs for does:
/// others wait for what it waits for. tokio-uring knows no such tasks.
pub fn spawn_urgent(task: impl Future<Output = ()> + 'static) {
    match tasks::current() {
        Some(executor) => executor.spawn(task, true),
        None => drop(tokio_uring::spawn(task)),
    }
}

/// Waits.
pub async fn sleep(time: Duration) {
    match tasks::current() {
        Some(executor) => executor.sleep_until(Instant::now() + time).await,
        None => tokio::time::sleep(time).await,
    }
}

/// A listening socket.
pub struct Listener(Either<driver::Arrivals, tokio_uring::net::TcpListener>);

/// Of the own runtime, with what asks the kernel; or tokio-uring's.
enum Either<O, T> {
    Own(Rc<driver::Driver>, O),
    TokioUring(T),
}

impl<O: Clone, T: Clone> Clone for Either<O, T> {
    fn clone(&self) -> Self {
        match self {
            Either::Own(driver, own) => Either::Own(Rc::clone(driver), own.clone()),
            Either::TokioUring(theirs) => Either::TokioUring(theirs.clone()),
        }
    }
}

impl Listener {
    /// Of a socket that listens already, for the ring that runs on this thread.
    pub fn new(socket: std::net::TcpListener) -> Self {
        Listener(match tasks::current() {
            Some(executor) => {
                let driver = Rc::clone(&executor.driver);
                Either::Own(Rc::clone(&driver), driver::Arrivals::new(driver, socket))
            }
            None => Either::TokioUring(tokio_uring::net::TcpListener::from_std(socket)),
        })
    }

    /// The next connection.
    ///
    /// # Errors
    /// As the kernel says; the listener stays usable.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match &self.0 {
            Either::Own(driver, arrivals) => loop {
                let stream = match arrivals.next().await {
                    // Who is gone already is nobody to wait for: others come behind.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                    next => next?,
                };
                // One that was reset while it waited has no peer any more.
                let Ok(peer) = stream.peer_addr() else { continue };
                return Ok((Stream(Either::Own(Rc::clone(driver), Rc::new(stream))), peer));
            },
            Either::TokioUring(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Stream(Either::TokioUring(Rc::new(stream))), peer))
            }
        }
    }
}

/// A connection; clones are the same one.
#[derive(Clone)]
pub struct Stream(Either<Rc<std::net::TcpStream>, Rc<tokio_uring::net::TcpStream>>);

impl Stream {
    /// Of a socket that is connected already, for the ring that runs on this thread.
    pub fn new(socket: std::net::TcpStream) -> Self {
        Stream(match tasks::current() {
            Some(executor) => Either::Own(Rc::clone(&executor.driver), Rc::new(socket)),
            None => Either::TokioUring(Rc::new(tokio_uring::net::TcpStream::from_std(socket))),
        })
    }

    /// Reads into `buffer`, whose content is replaced. Zero bytes: the peer is done.
    pub async fn read(&self, mut buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        buffer.clear();
        match &self.0 {
            Either::Own(driver, socket) => driver.receive(Rc::clone(socket), buffer).await,
            Either::TokioUring(stream) => stream.read(buffer).await,
        }
    }

    /// Writes all of `buffer`.
    pub async fn write_all(&self, buffer: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        match &self.0 {
            Either::Own(driver, socket) => driver.send_all(socket, buffer).await,
            Either::TokioUring(stream) => stream.write_all(buffer).await,
        }
    }

    /// Ends reads and writes that are under way, and refuses later ones.
    pub fn shutdown(&self) {
        // Failing means that the peer was faster.
        let _ = match &self.0 {
            Either::Own(_, socket) => socket.shutdown(Shutdown::Both),
            Either::TokioUring(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

/// A file; clones are the same one.
#[derive(Clone)]
pub struct File(Either<Rc<std::fs::File>, Rc<tokio_uring::fs::File>>);

impl File {
    /// Of a file that is open already, for the ring that runs on this thread.
    pub fn new(file: std::fs::File) -> File {
        File(match tasks::current() {
            Some(executor) => Either::Own(Rc::clone(&executor.driver), Rc::new(file)),
            None => Either::TokioUring(Rc::new(tokio_uring::fs::File::from_std(file))),
        })
    }

    /// Writes `range` of `buffer` at `offset`.
    pub async fn write_at(
        &self,
        buffer: Vec<u8>,
        range: Range<usize>,
        offset: u64,
    ) -> (io::Result<()>, Vec<u8>) {
        match &self.0 {
            Either::Own(driver, file) => driver.write_all_at(file, buffer, range, offset).await,
            Either::TokioUring(file) => {
                let (result, buffer) = file.write_all_at(LogBuffer { buffer, range }, offset).await;
                (result, buffer.buffer)
            }
        }
    }

    /// The same, and fdatasync behind it: once both are done, the bytes are durable. If not, what the disk holds
    /// is unknown.
    pub async fn write_and_sync_at(
        &self,
        buffer: Vec<u8>,
        range: Range<usize>,
        offset: u64,
    ) -> (io::Result<()>, Vec<u8>) {
        match &self.0 {
            Either::Own(driver, file) => driver.write_and_sync_at(file, buffer, range, offset).await,
            Either::TokioUring(file) => {
                let (mut result, buffer) = self.write_at(buffer, range, offset).await;
                if result.is_ok() {
                    result = file.sync_data().await;
                }
                (result, buffer)
            }
        }
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

/// The own runtime's side of the kernel: operations in, completions out.
mod driver {
    use super::slots::{Arriving, Slot, Slots};
    use super::supply::{BUFFER_BYTES, BUFFERS_MAX, Supply, stagger};
    use io_uring::cqueue::buffer_select;
    use io_uring::squeue::{Entry, Flags};
    use io_uring::types::{BufRingEntry, Fd, FsyncFlags, SubmitArgs, Timespec};
    use io_uring::{IoUring, opcode};
    use std::cell::{Cell, RefCell, UnsafeCell};
    use std::fs::File;
    use std::future::{Future, poll_fn};
    use std::io;
    use std::net::{TcpListener, TcpStream};
    use std::ops::{Deref, Range};
    use std::os::fd::{AsRawFd, FromRawFd};
    use std::pin::Pin;
    use std::rc::Rc;
    use std::sync::atomic::{AtomicU16, Ordering};
    use std::task::{Context, Poll};
    use std::time::Instant;

    /// Of an operation whose completion nobody looks at.
    const NOBODY: u64 = u64::MAX;

    /// See the module.
    pub struct Driver {
        ring: RefCell<IoUring>,
        /// Behind the ring, which is closed first. `None` where the kernel knows no such thing.
        shared: Option<SharedBuffers>,
        slots: RefCell<Slots>,
        /// Flags of a receive.
        receive_flags: u16,
        /// One request accepts all connections.
        accepts_many: bool,
        /// Writes and syncs of files that are under way.
        disk_operations: Cell<u32>,
    }

    /// The kernel waits for bytes before it looks for them (`IORING_RECVSEND_POLL_FIRST`): who has just sent
    /// a request waits for its answer, so the look would find none.
    const WAIT_FIRST: u16 = 1;

    impl Driver {
        /// A ring of its own for this thread.
        pub fn new(entries: u32) -> io::Result<Driver> {
            let mut newest = IoUring::builder();
            newest.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
            // Before Linux 6.1 there are no such rings.
            let (ring, receive_flags, accepts_many) = match newest.build(entries) {
                Ok(ring) => (ring, WAIT_FIRST, true),
                Err(_) => (IoUring::new(entries)?, 0, false),
            };
            let shared = accepts_many.then(|| SharedBuffers::register(&ring).ok()).flatten();
            Ok(Driver {
                ring: RefCell::new(ring),
                shared,
                slots: RefCell::default(),
                receive_flags,
                accepts_many,
                disk_operations: Cell::new(0),
            })
        }

        /// Gives the kernel an operation that touches only what `owned` keeps alive.
        fn begin<T: Unpin + 'static>(self: &Rc<Self>, entry: Entry, owned: T) -> Operation<T> {
            let index = self.slots.borrow_mut().take(Slot::Pending(None));
            self.push(&entry.user_data(index as u64));
            Operation { driver: Rc::clone(self), index, owned: Some(owned) }
        }

        /// The same of two, of which the first has the flag that links the second to it.
        fn begin_linked<A: Unpin + 'static, B: Unpin + 'static>(
            self: &Rc<Self>,
            first: Entry,
            first_owned: A,
            second: Entry,
            second_owned: B,
        ) -> (Operation<A>, Operation<B>) {
            let [one, two] = [(); 2].map(|()| self.slots.borrow_mut().take(Slot::Pending(None)));
            self.push_all(&[first.user_data(one as u64), second.user_data(two as u64)]);
            (
                Operation { driver: Rc::clone(self), index: one, owned: Some(first_owned) },
                Operation { driver: Rc::clone(self), index: two, owned: Some(second_owned) },
            )
        }

        fn push(&self, entry: &Entry) {
            self.push_all(std::slice::from_ref(entry));
        }

        /// All of them together or none yet: a link does not reach beyond what the kernel takes at a time.
        fn push_all(&self, entries: &[Entry]) {
            loop {
                // SAFETY: what the entries point to is in memory that `begin` got with them, at an address
                // that a move of its owner does not change. Until the completion nothing else has it:
                // an operation that is dropped before leaves it in its slot.
                if unsafe { self.ring.borrow_mut().submission().push_multiple(entries) }.is_ok() {
                    return;
                }
                // Full: the kernel takes what there is, or is busy until completions are taken.
                if self.ring.borrow().submit().is_err() {
                    self.complete();
                }
            }
        }

        /// Tells the kernel what was begun. With `until`, waits for a completion, until then if that is
        /// a moment. Wakes whose operations are done.
        pub fn turn(&self, until: Option<Option<Instant>>) {
            {
                let ring = self.ring.borrow();
                let submitter = ring.submitter();
                let entered = match until {
                    None => submitter.submit(),
                    Some(None) => submitter.submit_and_wait(1),
                    Some(Some(at)) => {
                        let timespec = Timespec::from(at.saturating_duration_since(Instant::now()));
                        submitter.submit_with_args(1, &SubmitArgs::new().timespec(&timespec))
                    }
                };
                match entered.map_err(|error| (error.raw_os_error(), error)) {
                    Ok(_) | Err((Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN), _)) => {}
                    Err((_, error)) => panic!("the ring does not work: {error}"),
                }
            }
            self.complete();
        }

        /// Whether a file is being written.
        pub fn waits_for_disk(&self) -> bool {
            self.disk_operations.get() > 0
        }

        /// As [`Self::begin`], for the disk.
        async fn on_disk<T: Unpin + 'static>(
            self: &Rc<Self>,
            entry: Entry,
            owned: T,
        ) -> (io::Result<usize>, T) {
            self.disk_operations.set(self.disk_operations.get() + 1);
            let done = self.begin(entry, owned).await;
            self.disk_operations.set(self.disk_operations.get() - 1);
            done
        }

        /// Tells the kernel what was begun.
        pub fn submit(&self) {
            if !self.ring.borrow_mut().submission().is_empty() {
                // What it does not take now it takes with the next turn.
                let _ = self.ring.borrow().submit();
            }
        }

        /// Whether a turn would find a completion, or something that the kernel wants to do for one.
        pub fn has_news(&self) -> bool {
            let mut ring = self.ring.borrow_mut();
            !ring.completion().is_empty() || ring.submission().taskrun()
        }

        fn complete(&self) {
            loop {
                let next = self.ring.borrow_mut().completion().next();
                let Some(completion) = next else { return };
                if completion.user_data() == NOBODY {
                    continue;
                }
                let index = completion.user_data() as usize;
                let mut slots = self.slots.borrow_mut();
                let waker = match &mut slots.all[index] {
                    Slot::Arriving(arriving) => {
                        arriving.came.push_back(connection(completion.result()));
                        arriving.ended = !io_uring::cqueue::more(completion.flags());
                        let waker = arriving.waker.take();
                        if arriving.abandoned.is_some() {
                            arriving.came.clear();
                            if arriving.ended {
                                slots.release(index);
                            }
                        }
                        waker
                    }
                    slot => {
                        let buffer = buffer_select(completion.flags());
                        if let (Some(shared), true) = (&self.shared, buffer.is_some()) {
                            shared.supply.taken();
                        }
                        match std::mem::replace(slot, Slot::Done(completion.result(), buffer)) {
                            Slot::Pending(waker) => waker,
                            Slot::Abandoned { .. } => {
                                slots.release(index);
                                self.give_back(buffer);
                                None
                            }
                            _ => unreachable!("a completion of nothing"),
                        }
                    }
                };
                drop(slots);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }

        /// Cancels what is left in the kernel, and waits for it. One by one: kernels before 5.19 know no
        /// way to cancel all, and would be waited for in vain.
        pub fn end(&self) {
            let busy = |slot: &Slot| match slot {
                Slot::Pending(_) | Slot::Abandoned { .. } => true,
                Slot::Arriving(arriving) => !arriving.ended,
                Slot::Free | Slot::Done(..) => false,
            };
            let left: Vec<usize> = {
                let slots = self.slots.borrow();
                let numbered = slots.all.iter().enumerate();
                numbered.filter(|(_, slot)| busy(slot)).map(|(index, _)| index).collect()
            };
            for index in left {
                self.push(&opcode::AsyncCancel::new(index as u64).build().user_data(NOBODY));
            }
            while self.slots.borrow().all.iter().any(busy) {
                self.turn(Some(None));
            }
        }

        /// Reads into the unused capacity of an empty buffer.
        pub async fn read(self: &Rc<Self>, file: Rc<File>, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
            self.fill(file, buffer, |fd, to, bytes| opcode::Read::new(fd, to, bytes).build()).await
        }

        /// The same, from a socket.
        pub async fn receive(
            self: &Rc<Self>,
            socket: Rc<TcpStream>,
            buffer: Vec<u8>,
        ) -> (io::Result<usize>, Vec<u8>) {
            let flags = self.receive_flags;
            let entry = |fd, to, bytes| opcode::Recv::new(fd, to, bytes).ioprio(flags).build();
            self.fill(socket, buffer, entry).await
        }

        /// Whether there are shared buffers.
        pub fn shares_reads(&self) -> bool {
            self.shared.is_some()
        }

        /// The same, into a buffer that is shared. `None`: none is free, or there are none.
        pub async fn receive_shared(self: &Rc<Self>, socket: &Rc<TcpStream>) -> Option<io::Result<Lent>> {
            let shared = self.shared.as_ref()?;
            loop {
                let entry = opcode::Recv::new(Fd(socket.as_raw_fd()), std::ptr::null_mut(), 0);
                let entry = entry.buf_group(SHARED_GROUP).ioprio(self.receive_flags).build();
                let mut receive = self.begin(entry.flags(Flags::BUFFER_SELECT), Rc::clone(socket));
                let (result, lent, _) = poll_fn(|context| receive.poll_done(context)).await;
                match result {
                    Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                        if !shared.make_room() {
                            return None;
                        }
                    }
                    result => return Some(result.map(|_| lent)),
                }
            }
        }

        fn give_back(&self, buffer: Option<u16>) {
            if let (Some(shared), Some(buffer)) = (&self.shared, buffer) {
                shared.take_back(buffer);
            }
        }

        async fn fill<S: AsRawFd + 'static>(
            self: &Rc<Self>,
            source: Rc<S>,
            mut buffer: Vec<u8>,
            entry: impl FnOnce(Fd, *mut u8, u32) -> Entry,
        ) -> (io::Result<usize>, Vec<u8>) {
            assert!(buffer.is_empty() && buffer.capacity() > 0, "an empty buffer with room");
            let bytes = buffer.capacity().min(i32::MAX as usize);
            let entry = entry(Fd(source.as_raw_fd()), buffer.as_mut_ptr(), bytes as u32);
            let (result, (_, mut buffer)) = self.begin(entry, (source, buffer)).await;
            if let Ok(filled) = result {
                assert!(filled <= bytes);
                // SAFETY: the kernel has written so many bytes from the beginning of the buffer on, and
                // was given no more than its capacity.
                unsafe { buffer.set_len(filled) };
            }
            (result, buffer)
        }

        /// Sends all of a buffer.
        pub async fn send_all(
            self: &Rc<Self>,
            socket: &Rc<TcpStream>,
            mut buffer: Vec<u8>,
        ) -> (io::Result<()>, Vec<u8>) {
            let mut sent = 0;
            while sent < buffer.len() {
                let rest = &buffer[sent..];
                let bytes = rest.len().min(i32::MAX as usize) as u32;
                let entry = opcode::Send::new(Fd(socket.as_raw_fd()), rest.as_ptr(), bytes);
                let entry = entry.flags(libc::MSG_NOSIGNAL).build();
                let (result, (_, back)) = self.begin(entry, (Rc::clone(socket), buffer)).await;
                buffer = back;
                match result {
                    Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), buffer),
                    Ok(bytes) => sent += bytes,
                    Err(error) => return (Err(error), buffer),
                }
            }
            (Ok(()), buffer)
        }

        /// Writes a range of a buffer at an offset of a file.
        pub async fn write_all_at(
            self: &Rc<Self>,
            file: &Rc<File>,
            mut buffer: Vec<u8>,
            mut range: Range<usize>,
            mut offset: u64,
        ) -> (io::Result<()>, Vec<u8>) {
            while !range.is_empty() {
                let entry = write_entry(file, &buffer, &range, offset);
                let (result, (_, back)) = self.on_disk(entry, (Rc::clone(file), buffer)).await;
                buffer = back;
                if let Err(error) = pass_written(result, &mut range, &mut offset) {
                    return (Err(error), buffer);
                }
            }
            (Ok(()), buffer)
        }

        /// The same, and fdatasync, which the kernel begins when the write is done, without a way through here.
        pub async fn write_and_sync_at(
            self: &Rc<Self>,
            file: &Rc<File>,
            mut buffer: Vec<u8>,
            mut range: Range<usize>,
            mut offset: u64,
        ) -> (io::Result<()>, Vec<u8>) {
            loop {
                let write = write_entry(file, &buffer, &range, offset).flags(Flags::IO_LINK);
                let sync = opcode::Fsync::new(Fd(file.as_raw_fd())).flags(FsyncFlags::DATASYNC).build();
                let (write, sync) =
                    self.begin_linked(write, (Rc::clone(file), buffer), sync, Rc::clone(file));
                self.disk_operations.set(self.disk_operations.get() + 1);
                // The sync is last, whatever becomes of the write.
                let (synced, _) = sync.await;
                let (written, (_, back)) = write.await;
                self.disk_operations.set(self.disk_operations.get() - 1);
                buffer = back;
                // A write of less than all breaks the link: nothing was synced.
                let is_all = written.as_ref().is_ok_and(|bytes| *bytes == range.len());
                match pass_written(written, &mut range, &mut offset) {
                    Ok(()) if is_all => return (synced.map(drop), buffer),
                    Ok(()) => {}
                    Err(error) => return (Err(error), buffer),
                }
            }
        }
    }

    /// Writes a range of a buffer, or the beginning of it, at an offset of a file.
    fn write_entry(file: &File, buffer: &[u8], range: &Range<usize>, offset: u64) -> Entry {
        let bytes = &buffer[range.clone()];
        let length = bytes.len().min(i32::MAX as usize) as u32;
        opcode::Write::new(Fd(file.as_raw_fd()), bytes.as_ptr(), length).offset(offset).build()
    }

    /// Leaves in range and offset what is yet to be written after a write of them: all if it was interrupted.
    fn pass_written(result: io::Result<usize>, range: &mut Range<usize>, offset: &mut u64) -> io::Result<()> {
        match result {
            Ok(0) if !Range::is_empty(range) => Err(io::ErrorKind::WriteZero.into()),
            Ok(bytes) => {
                range.start += bytes;
                *offset += bytes as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The only group of buffers.
    const SHARED_GROUP: u16 = 0;
    /// Memory that sockets are read into: the kernel takes a buffer when bytes have come, and a connection that
    /// waits for some has none.
    struct SharedBuffers {
        /// Where the kernel finds those that are free.
        entries: Box<UnsafeCell<Entries>>,
        /// How many were ever put there.
        given: Cell<u16>,
        supply: Supply,
        /// All of them by number, each as unused capacity; one that is not there has none.
        all: RefCell<Vec<Vec<u8>>>,
    }

    #[repr(C, align(4096))]
    struct Entries([[u64; 2]; BUFFERS_MAX as usize]);

    const _: () = assert!(size_of::<BufRingEntry>() == 16 && BUFFERS_MAX.is_power_of_two());

    impl SharedBuffers {
        /// None are there yet.
        fn register(ring: &IoUring) -> io::Result<SharedBuffers> {
            let entries = Box::new(UnsafeCell::new(Entries([[0; 2]; BUFFERS_MAX as usize])));
            let at = entries.get() as u64;
            let submitter = ring.submitter();
            // SAFETY: so many entries lie there, at the beginning of a page, until the ring is closed: the driver
            // drops it before this, and nothing moves what is in the box.
            unsafe { submitter.register_buf_ring_with_flags(at, BUFFERS_MAX, SHARED_GROUP, 0) }?;
            let (given, supply, all) = (Cell::new(0), Supply::default(), RefCell::default());
            Ok(SharedBuffers { entries, given, supply, all })
        }

        /// None was free: whether to try again.
        fn make_room(&self) -> bool {
            self.supply.lack(|id| {
                let new = Vec::with_capacity(stagger(id) + BUFFER_BYTES);
                let mut all = self.all.borrow_mut();
                match all.get_mut(usize::from(id)) {
                    Some(gone) => *gone = new,
                    None => all.push(new),
                }
                drop(all);
                self.give(id);
            })
        }

        /// Nobody looks at this one any more.
        fn take_back(&self, id: u16) {
            match self.supply.back(id) {
                true => self.give(id),
                false => self.all.borrow_mut()[usize::from(id)] = Vec::new(),
            }
        }

        /// Lets the kernel have a buffer that is nobody's.
        fn give(&self, id: u16) {
            let mut all = self.all.borrow_mut();
            let room = &mut all[usize::from(id)].spare_capacity_mut()[stagger(id)..];
            let given = self.given.get();
            let entries = self.entries.get().cast::<BufRingEntry>();
            // SAFETY: there are never more buffers than entries, so that the kernel has done with this one, and
            // it looks at none behind the count of those given, which is stored last. The buffer is nobody's: its
            // memory stays where it is as long as the ring, and only `Lent` looks at it, once the kernel says that
            // it has filled it and until it is given again.
            unsafe {
                let entry = &mut *entries.add(usize::from(given % BUFFERS_MAX));
                entry.set_addr(room.as_mut_ptr() as u64);
                entry.set_len(BUFFER_BYTES as u32);
                entry.set_bid(id);
                let count = AtomicU16::from_ptr(BufRingEntry::tail(entries).cast_mut());
                count.store(given.wrapping_add(1), Ordering::Release);
            }
            self.given.set(given.wrapping_add(1));
        }
    }

    /// Bytes that came, in a buffer that the kernel has again when this is dropped; with none, nothing came.
    pub struct Lent(Option<(Rc<Driver>, u16, usize)>);

    impl Deref for Lent {
        type Target = [u8];

        fn deref(&self) -> &[u8] {
            let Some((driver, id, filled)) = &self.0 else { return &[] };
            let all = driver.shared.as_ref().expect("it took one of them").all.borrow();
            let buffer = &all[usize::from(*id)];
            assert!(stagger(*id) + filled <= buffer.capacity());
            // SAFETY: the kernel has written so many bytes from there on, and touches them no more until this is
            // dropped; nor does anything change the vector before.
            unsafe { std::slice::from_raw_parts(buffer.as_ptr().add(stagger(*id)), *filled) }
        }
    }

    impl Drop for Lent {
        fn drop(&mut self) {
            if let Some((driver, id, _)) = self.0.take() {
                driver.give_back(Some(id));
            }
        }
    }

    /// The connection that an accept ended with.
    fn connection(result: i32) -> io::Result<TcpStream> {
        if result < 0 {
            return Err(io::Error::from_raw_os_error(-result));
        }
        // SAFETY: the kernel has just made this descriptor for us; nobody else has it.
        Ok(unsafe { TcpStream::from_raw_fd(result) })
    }

    /// The connections of a listening socket. The kernel is asked once for all of them, where it can be: of
    /// many that come together each would else wait for a turn of its own.
    pub struct Arrivals {
        driver: Rc<Driver>,
        socket: Rc<TcpListener>,
        /// The kernel's request, if it has one.
        index: Cell<Option<usize>>,
    }

    impl Arrivals {
        /// Of a socket that listens already.
        pub fn new(driver: Rc<Driver>, socket: TcpListener) -> Arrivals {
            Arrivals { driver, socket: Rc::new(socket), index: Cell::new(None) }
        }

        /// The next one.
        pub async fn next(&self) -> io::Result<TcpStream> {
            poll_fn(|context| self.poll_next(context)).await
        }

        fn poll_next(&self, context: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
            let index = self.index.get().unwrap_or_else(|| self.begin());
            let mut slots = self.driver.slots.borrow_mut();
            let Slot::Arriving(arriving) = &mut slots.all[index] else {
                unreachable!("the slot is this one's")
            };
            let Some(next) = arriving.came.pop_front() else {
                arriving.waker = Some(context.waker().clone());
                return Poll::Pending;
            };
            if arriving.ended && arriving.came.is_empty() {
                slots.release(index);
                self.index.set(None);
            }
            Poll::Ready(next)
        }

        fn begin(&self) -> usize {
            let index = self.driver.slots.borrow_mut().take(Slot::Arriving(Arriving::default()));
            let socket = Fd(self.socket.as_raw_fd());
            let entry = if self.driver.accepts_many {
                opcode::AcceptMulti::new(socket).flags(libc::SOCK_CLOEXEC).build()
            } else {
                let (none, no_length) = (std::ptr::null_mut(), std::ptr::null_mut());
                opcode::Accept::new(socket, none, no_length).flags(libc::SOCK_CLOEXEC).build()
            };
            self.driver.push(&entry.user_data(index as u64));
            self.index.set(Some(index));
            index
        }
    }

    impl Drop for Arrivals {
        fn drop(&mut self) {
            let Some(index) = self.index.get() else { return };
            let mut slots = self.driver.slots.borrow_mut();
            let Slot::Arriving(arriving) = &mut slots.all[index] else {
                unreachable!("the slot is this one's")
            };
            if arriving.ended {
                slots.release(index);
                return;
            }
            arriving.came.clear();
            arriving.abandoned = Some(Rc::clone(&self.socket));
            drop(slots);
            let cancel = opcode::AsyncCancel::new(index as u64).build().user_data(NOBODY);
            self.driver.push(&cancel);
        }
    }

    /// An operation of the kernel, with what it touches.
    struct Operation<T: Unpin + 'static> {
        driver: Rc<Driver>,
        index: usize,
        /// Gone once it is done.
        owned: Option<T>,
    }

    impl<T: Unpin> Operation<T> {
        /// Also which buffer the kernel took for it.
        fn poll_done(&mut self, context: &mut Context<'_>) -> Poll<(io::Result<usize>, Lent, T)> {
            let (result, buffer) = {
                let mut slots = self.driver.slots.borrow_mut();
                match &mut slots.all[self.index] {
                    Slot::Done(result, buffer) => {
                        let done = (*result, *buffer);
                        slots.release(self.index);
                        done
                    }
                    Slot::Pending(waker) => {
                        *waker = Some(context.waker().clone());
                        return Poll::Pending;
                    }
                    Slot::Free | Slot::Abandoned { .. } | Slot::Arriving(_) => {
                        unreachable!("the slot is this operation's")
                    }
                }
            };
            let owned = self.owned.take().expect("polled again after its end");
            let result = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
            let filled = result.as_ref().map_or(0, |filled| *filled);
            let lent = Lent(buffer.map(|buffer| (Rc::clone(&self.driver), buffer, filled)));
            Poll::Ready((result, lent, owned))
        }
    }

    impl<T: Unpin> Future for Operation<T> {
        type Output = (io::Result<usize>, T);

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
            self.poll_done(context).map(|(result, _, owned)| (result, owned))
        }
    }

    impl<T: Unpin + 'static> Drop for Operation<T> {
        fn drop(&mut self) {
            let Some(owned) = self.owned.take() else { return };
            let mut slots = self.driver.slots.borrow_mut();
            match slots.all[self.index] {
                Slot::Pending(_) => slots.all[self.index] = Slot::Abandoned { _kept: Box::new(owned) },
                Slot::Done(_, buffer) => {
                    slots.release(self.index);
                    self.driver.give_back(buffer);
                }
                _ => slots.release(self.index),
            }
        }
    }
}
