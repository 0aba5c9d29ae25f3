//! Whole trees, on threads of their own: sent to a learner while transactions go on, and taken from a
//! leader.

use super::connection::{ChunkSender, Gone};
use super::events::{Done, Results};
use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::tree::TreeReader;
use ringkeeper_engine::tree::kept::KeptFault;
use ringkeeper_engine::zookeeper::export::write_stream;
use ringkeeper_engine::zookeeper::restore::stage;
use ringkeeper_engine::zookeeper::stream::Input;
use ringkeeper_quorum::zab::Attempt;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

/// Bytes that the walk gathers before they are sent.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that wait for the network, or for who decodes them.
pub const CHUNKS_MAX: usize = 4;

/// A tree that a learner is to be sent.
pub struct Tree {
    /// Sees the tree, which goes on changing.
    pub reader: TreeReader,
    /// The sessions with their timeouts in milliseconds, as they are now.
    pub sessions: Vec<(SessionId, u32)>,
    /// About how long it is when it is sent.
    pub bytes: usize,
}

impl Tree {
    /// Sends it from a thread of its own.
    ///
    /// # Errors
    /// There can be no more threads.
    pub fn send(self, zxid: Zxid, chunks: ChunkSender) -> io::Result<()> {
        let walk = move || {
            let send = |chunk| chunks.send(Ok(chunk)).map_err(|Gone| Unsent::Gone);
            let sent = write_stream(&self.reader, &self.sessions, zxid, CHUNK_BYTES, send);
            if let Err(Unsent::Damaged(fault)) = sent {
                // The connection ends for it. So does the server, when the next checkpoint meets it.
                let _ = chunks.send(Err(fault.to_string()));
            }
        };
        thread::Builder::new().name("send-tree".into()).spawn(walk).map(drop)
    }
}

/// Why a tree is not sent.
enum Unsent {
    /// The connection is gone: nobody needs it.
    Gone,
    /// What is on this server's disk is not what was written.
    Damaged(KeptFault),
}

impl From<KeptFault> for Unsent {
    fn from(fault: KeptFault) -> Unsent {
        Unsent::Damaged(fault)
    }
}

/// A tree that comes from the leader.
pub struct Staging {
    chunks: SyncSender<Vec<u8>>,
}

impl Staging {
    /// Begins to decode on a thread of its own. `seed` keys the tree's hashes.
    ///
    /// # Errors
    /// There can be no more threads.
    pub fn begin(attempt: Attempt, zxid: Zxid, seed: u64, results: Results) -> io::Result<Staging> {
        let (chunks, came) = sync_channel(CHUNKS_MAX);
        let decode = move || {
            let mut stream = Chunks { came, results: results.clone(), attempt };
            let staged = stage(&mut stream, zxid, seed).map(Box::new).map_err(|fault| fault.to_string());
            results.put(Done::Staged(attempt, staged, stream.came));
        };
        thread::Builder::new().name("stage-tree".into()).spawn(decode)?;
        Ok(Staging { chunks })
    }

    /// Hands over what came, or gives it back if there is no room: `Done::StageTook` says when to try
    /// again. What is not the tree's comes back with `Done::Staged`.
    pub fn give(&self, bytes: Vec<u8>) -> Vec<u8> {
        match self.chunks.try_send(bytes) {
            Ok(()) => Vec::new(),
            Err(TrySendError::Full(bytes) | TrySendError::Disconnected(bytes)) => bytes,
        }
    }
}

struct Chunks {
    came: Receiver<Vec<u8>>,
    results: Results,
    attempt: Attempt,
}

impl Input for Chunks {
    fn append_piece(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        // No more chunks: the connection is gone, and the tree ends too early.
        if let Ok(chunk) = self.came.recv() {
            out.extend_from_slice(&chunk);
            self.results.put(Done::StageTook(self.attempt));
        }
        Ok(())
    }
}
