//! One connection: bytes in as they come, bytes out as they gather. Two tasks move them; what they mean
//! is decided elsewhere, between two turns of the loop.
//!
//! Both directions are bounded. What came and was not taken stops the reading, so the peer's writes wait;
//! what does not leave is refused from a bound on. What is queued while a write is under way leaves in one
//! write after it. Proposals are not copied before there is room for them: of a learner that has missed
//! many, the leader would copy them all before the first one leaves.

use super::events::{Events, Key};
use crate::ring::{self, Stream, Wake};
use ringkeeper_quorum::message::Batch;
use ringkeeper_quorum::message::learner::encode_proposals;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

/// Read buffer of a connection that carries transactions.
pub const READ_BYTES: usize = 256 << 10;
/// Bytes that came and wait to be taken, above which no more are read.
const INPUT_BYTES_MAX: usize = 1 << 20;
/// A write buffer that grew above this is not kept.
const KEPT_OUTPUT_BYTES: usize = 1 << 20;
/// Bytes that wait above which proposals wait as they are; also what is written of those at a time.
const COPIED_BYTES_MAX: usize = 256 << 10;
/// Bytes of proposals from which on the next ones are another packet.
const PROPOSALS_BYTES: usize = 64 << 10;

/// A piece of a transfer that a thread makes, or why it cannot go on.
pub type Chunk = Result<Vec<u8>, String>;

enum Piece {
    /// Packets, one after the other.
    Packets(Vec<u8>),
    /// The packet of these proposals, and their bytes.
    Proposals(Vec<Batch>, usize),
    /// A message that a newer one replaces as long as it has not left.
    Newest(Vec<u8>),
    /// What a thread makes; it ends when the thread does.
    Transfer(Receiver<Chunk>),
}

#[derive(Default)]
struct Output {
    queue: VecDeque<Piece>,
    /// Of packets that are queued or being written.
    bytes: usize,
    /// How many these may be, if more than usual, until all have left.
    behind_transfer_max: usize,
    /// The last write's buffer, empty.
    spare: Vec<u8>,
}

struct Shared {
    stream: Stream,
    address: SocketAddr,
    key: Key,
    events: Rc<Events>,
    input: RefCell<Vec<u8>>,
    /// The bound of `input` where one message is longer than usual.
    input_bytes_max: Cell<usize>,
    /// Why it ended, once it has.
    ended: RefCell<Option<String>>,
    closed: Cell<bool>,
    output: RefCell<Output>,
    output_bytes_max: usize,
    reader: Wake,
    writer: Wake,
}

/// See the module. It closes when it is dropped.
pub struct Connection(Rc<Shared>);

/// Too much waits to be written.
#[derive(Debug)]
pub struct Overfull {
    /// How much, in bytes.
    pub bytes: usize,
    /// Of how much.
    pub bytes_max: usize,
}

impl Connection {
    /// Begins to read and write. `key` is how `events` tells of what came; `output_bytes_max` bounds what
    /// waits to be written.
    pub fn new(
        stream: Stream,
        address: SocketAddr,
        key: Key,
        events: Rc<Events>,
        read_bytes: usize,
        output_bytes_max: usize,
    ) -> Connection {
        let shared = Rc::new(Shared {
            stream,
            address,
            key,
            events,
            input: RefCell::default(),
            input_bytes_max: Cell::new(INPUT_BYTES_MAX),
            ended: RefCell::default(),
            closed: Cell::new(false),
            output: RefCell::default(),
            output_bytes_max,
            reader: Wake::new(),
            writer: Wake::new(),
        });
        ring::spawn(Rc::clone(&shared).read(read_bytes));
        ring::spawn(Rc::clone(&shared).write());
        Connection(shared)
    }

    /// The other end.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Takes what came, if it is so many bytes at least.
    pub fn take_input(&self, bytes_min: usize) -> Vec<u8> {
        self.0.input_bytes_max.set(INPUT_BYTES_MAX.max(bytes_min));
        self.0.reader.wake();
        let mut input = self.0.input.borrow_mut();
        if input.len() < bytes_min { Vec::new() } else { std::mem::take(&mut input) }
    }

    /// Puts back what was taken and cannot be used yet. Nothing came meanwhile.
    pub fn put_back(&self, bytes: Vec<u8>) {
        let mut input = self.0.input.borrow_mut();
        assert!(input.is_empty(), "bytes come between two turns alone");
        *input = bytes;
    }

    /// Why it ended, once it has. What came before may still wait.
    pub fn ended(&self) -> Option<String> {
        self.0.ended.borrow().clone()
    }

    /// Queues packets: `write` appends them.
    ///
    /// # Errors
    /// When more waits than may.
    pub fn send(&self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Overfull> {
        let mut output = self.0.output.borrow_mut();
        if !matches!(output.queue.back(), Some(Piece::Packets(_))) {
            let spare = std::mem::take(&mut output.spare);
            output.queue.push_back(Piece::Packets(spare));
        }
        let Some(Piece::Packets(packets)) = output.queue.back_mut() else { unreachable!("pushed above") };
        let before = packets.len();
        write(packets);
        let added = packets.len() - before;
        output.bytes += added;
        self.queued(&output)
    }

    /// Queues proposals.
    ///
    /// # Errors
    /// When more waits than may.
    pub fn send_proposals(&self, batch: &Batch) -> Result<(), Overfull> {
        let mut output = self.0.output.borrow_mut();
        let added = batch.entries().len();
        if let Some(Piece::Proposals(batches, bytes)) = output.queue.back_mut()
            && *bytes < PROPOSALS_BYTES
        {
            batches.push(batch.clone());
            *bytes += added;
        } else if output.bytes > COPIED_BYTES_MAX {
            output.queue.push_back(Piece::Proposals(vec![batch.clone()], added));
        } else {
            drop(output);
            return self.send(|out| encode_proposals(std::slice::from_ref(batch), out));
        }
        output.bytes += added;
        self.queued(&output)
    }

    fn queued(&self, output: &Output) -> Result<(), Overfull> {
        self.0.writer.wake();
        let bytes_max = self.0.output_bytes_max.max(output.behind_transfer_max);
        if output.bytes > bytes_max { Err(Overfull { bytes: output.bytes, bytes_max }) } else { Ok(()) }
    }

    /// Queues a message in the place of the one before it, if that has not left.
    pub fn send_newest(&self, message: Vec<u8>) {
        let mut output = self.0.output.borrow_mut();
        if let Some(Piece::Newest(older)) = output.queue.back_mut() {
            *older = message;
        } else {
            output.queue.push_back(Piece::Newest(message));
        }
        self.0.writer.wake();
    }

    /// Queues what a thread will make, `chunks_max` chunks of which wait at most: the thread is to be given
    /// the end that is returned, and what is made ends with it. Until it and all behind it have left, so many
    /// bytes may wait, if that is more than usual.
    pub fn send_transfer(&self, chunks_max: usize, behind_max: usize) -> ChunkSender {
        let (sender, chunks) = sync_channel(chunks_max);
        let mut output = self.0.output.borrow_mut();
        output.queue.push_back(Piece::Transfer(chunks));
        output.behind_transfer_max = output.behind_transfer_max.max(behind_max);
        ChunkSender { sender: Some(sender), writer: self.0.writer.clone() }
    }
}

/// Where a thread puts the chunks of a transfer.
pub struct ChunkSender {
    /// Gone only while this is dropped.
    sender: Option<SyncSender<Chunk>>,
    writer: Wake,
}

impl ChunkSender {
    /// Waits for room, and puts a chunk there.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send(&self, chunk: Chunk) -> Result<(), Gone> {
        let sent = self.sender.as_ref().is_some_and(|sender| sender.send(chunk).is_ok());
        self.writer.wake();
        if sent { Ok(()) } else { Err(Gone) }
    }
}

impl Drop for ChunkSender {
    fn drop(&mut self) {
        self.sender = None;
        self.writer.wake();
    }
}

/// The connection that a transfer was for is gone.
#[derive(Debug)]
pub struct Gone;

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.closed.set(true);
        self.0.stream.shutdown();
        self.0.output.borrow_mut().queue.clear();
        self.0.reader.wake();
        self.0.writer.wake();
    }
}

impl Shared {
    async fn read(self: Rc<Self>, read_bytes: usize) {
        let mut buffer = Vec::with_capacity(read_bytes);
        let why = loop {
            while self.input.borrow().len() >= self.input_bytes_max.get() && !self.closed.get() {
                self.reader.woken().await;
            }
            let (result, bytes) = self.stream.read(buffer).await;
            if self.closed.get() {
                return;
            }
            match result {
                Ok(0) => break "the peer closed it".to_owned(),
                Ok(_) => buffer = self.take_in(bytes, read_bytes),
                Err(error) => break error.to_string(),
            }
            self.events.arrived(self.key);
        };
        self.end(why);
    }

    /// Adds what came to the input; returns the buffer of the next read. One that is nearly full becomes the
    /// input as it is: it is kept as long as the transactions in it.
    fn take_in(&self, bytes: Vec<u8>, read_bytes: usize) -> Vec<u8> {
        let mut input = self.input.borrow_mut();
        if input.is_empty() && bytes.len() >= read_bytes / 4 * 3 {
            *input = bytes;
            return Vec::with_capacity(read_bytes);
        }
        input.extend_from_slice(&bytes);
        bytes
    }

    fn end(&self, why: String) {
        if !self.closed.get() {
            self.ended.borrow_mut().get_or_insert(why);
            self.events.arrived(self.key);
        }
    }

    async fn write(self: Rc<Self>) {
        while !self.closed.get() {
            let piece = self.output.borrow_mut().queue.pop_front();
            let written = match piece {
                None => {
                    self.output.borrow_mut().behind_transfer_max = 0;
                    self.writer.woken().await;
                    continue;
                }
                Some(Piece::Packets(packets)) => {
                    let bytes = packets.len();
                    self.write_packets(packets, bytes).await
                }
                Some(Piece::Proposals(batches, bytes)) => {
                    let (packets, bytes) = self.encode(batches, bytes);
                    self.write_packets(packets, bytes).await
                }
                Some(Piece::Newest(message)) => self.stream.write_all(message).await.0,
                Some(Piece::Transfer(chunks)) => self.transfer(chunks).await,
            };
            if let Err(error) = written {
                return self.end(error.to_string());
            }
        }
    }

    /// Writes packets, as which so many bytes were queued.
    async fn write_packets(&self, packets: Vec<u8>, bytes: usize) -> io::Result<()> {
        let (written, mut buffer) = self.stream.write_all(packets).await;
        let mut output = self.output.borrow_mut();
        output.bytes -= bytes;
        if buffer.capacity() <= KEPT_OUTPUT_BYTES {
            buffer.clear();
            output.spare = buffer;
        }
        written
    }

    /// The packets of these proposals, and of as many of those behind them as are written at a time.
    fn encode(&self, batches: Vec<Batch>, bytes: usize) -> (Vec<u8>, usize) {
        let mut output = self.output.borrow_mut();
        let mut packets = std::mem::take(&mut output.spare);
        let (mut next, mut total) = (Some((batches, bytes)), 0);
        while let Some((batches, bytes)) = next.take() {
            encode_proposals(&batches, &mut packets);
            total += bytes;
            if packets.len() < COPIED_BYTES_MAX
                && let Some(Piece::Proposals(batches, bytes)) =
                    output.queue.pop_front_if(|piece| matches!(piece, Piece::Proposals(..)))
            {
                next = Some((batches, bytes));
            }
        }
        (packets, total)
    }

    async fn transfer(&self, chunks: Receiver<Chunk>) -> io::Result<()> {
        while !self.closed.get() {
            match chunks.try_recv() {
                Ok(Ok(chunk)) => {
                    self.stream.write_all(chunk).await.0?;
                    self.events.transferred(self.key);
                }
                Ok(Err(why)) => return Err(io::Error::other(why)),
                Err(TryRecvError::Empty) => self.writer.woken().await,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
        Ok(())
    }
}
