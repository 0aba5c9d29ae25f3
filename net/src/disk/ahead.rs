//! The log, read and verified by a thread of its own: while a checkpoint is read, and while what was read
//! is applied.
//!
//! What the thread read goes to the one who applies it in pieces, over a bounded channel, and the pieces
//! come back for their memory. What is found of the log is the reader's, which stops where the log does,
//! whatever is still under way.

use std::ops::Range;
use std::sync::mpsc::{Receiver, SendError, Sender, SyncSender, channel, sync_channel};
use std::thread;

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::log::{self, DatabaseId, Recovery, Replay};

use super::DiskError;
use super::segments::SegmentFiles;

/// Bytes of transactions from which on a piece is sent.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces that wait for the one who applies them.
const PIECES_MAX: usize = 64;

/// What the log's reader finds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    /// A transaction, and where its bytes are in the piece.
    Transaction(Zxid, Range<usize>),
    /// Everything up to there was committed.
    Committed(Zxid),
}

/// Items that follow each other.
#[derive(Debug, Default)]
struct Piece {
    bytes: Vec<u8>,
    items: Vec<Item>,
}

/// The pieces of a log that is being read.
pub(super) struct Ahead {
    pieces: Receiver<Piece>,
    back: Sender<Piece>,
}

/// What cannot be applied.
#[derive(Debug)]
pub(super) struct Refused {
    at: At,
    why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Transaction(Zxid),
    Committed(Zxid),
}

/// Reads the log behind `after` while `work` runs. `None` if there can be no thread for it; `work` has
/// not run then. A `work` that drops its [`Ahead`] ends the reading early.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn read_ahead<T>(
    files: &mut SegmentFiles,
    database: DatabaseId,
    after: Zxid,
    work: impl FnOnce(Ahead) -> T,
) -> Result<Option<(T, Recovery)>, DiskError> {
    let mut source = files.reader()?;
    thread::scope(|scope| {
        let (send, pieces) = sync_channel(PIECES_MAX);
        let (back, empty) = channel();
        let read = move || {
            let mut sending = Sending { piece: Piece::default(), send, empty };
            let found = log::replay(&mut source, database, after, &mut sending);
            // Nobody may want the rest.
            let _ = sending.send();
            found
        };
        let Ok(reader) = thread::Builder::new().name("log-reader".into()).spawn_scoped(scope, read) else {
            return Ok(None);
        };
        let done = work(Ahead { pieces, back });
        let found = reader.join().expect("a panic ends the process")?;
        Ok(Some((done, found)))
    })
}

/// The reader's end.
struct Sending {
    piece: Piece,
    send: SyncSender<Piece>,
    empty: Receiver<Piece>,
}

impl Sending {
    fn send(&mut self) -> Result<(), SendError<Piece>> {
        let next = self.empty.try_recv().unwrap_or_default();
        self.send.send(std::mem::replace(&mut self.piece, next))
    }

    fn send_if_full(&mut self) -> Result<(), String> {
        match self.piece.bytes.len() < PIECE_BYTES {
            true => Ok(()),
            false => self.send().map_err(|_| "nobody reads on".to_owned()),
        }
    }
}

impl Replay for Sending {
    fn transaction(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<(), String> {
        let begin = self.piece.bytes.len();
        self.piece.bytes.extend_from_slice(bytes);
        self.piece.items.push(Item::Transaction(zxid, begin..self.piece.bytes.len()));
        self.send_if_full()
    }

    fn committed(&mut self, upto: Zxid) -> Result<(), String> {
        self.piece.items.push(Item::Committed(upto));
        Ok(())
    }
}

impl Ahead {
    /// Hands everything on, as far as it is taken.
    pub fn deliver(self, replay: &mut impl Replay) -> Result<(), Refused> {
        for mut piece in &self.pieces {
            for item in &piece.items {
                let (at, taken) = match item {
                    Item::Transaction(zxid, range) => {
                        (At::Transaction(*zxid), replay.transaction(*zxid, &piece.bytes[range.clone()]))
                    }
                    Item::Committed(upto) => (At::Committed(*upto), replay.committed(*upto)),
                };
                taken.map_err(|why| Refused { at, why })?;
            }
            if piece.bytes.capacity() <= 2 * PIECE_BYTES {
                piece.bytes.clear();
                piece.items.clear();
                // The reader may have ended.
                let _ = self.back.send(piece);
            }
        }
        Ok(())
    }
}

/// Refuses at the same place again: for the log's reader to say where that is.
impl Replay for Refused {
    fn transaction(&mut self, zxid: Zxid, _: &[u8]) -> Result<(), String> {
        self.refuse(At::Transaction(zxid))
    }

    fn committed(&mut self, upto: Zxid) -> Result<(), String> {
        self.refuse(At::Committed(upto))
    }
}

impl Refused {
    fn refuse(&self, at: At) -> Result<(), String> {
        if at == self.at { Err(self.why.clone()) } else { Ok(()) }
    }
}
