//! The log, read and verified by a thread of its own: while a checkpoint is read, and while what was read
//! is applied. A second one looks meanwhile at what lies behind the log's end.
//!
//! What the thread read goes to the one who applies it in pieces, and the pieces come back for their memory:
//! the reader waits for some when too many bytes are out. What is found of the log is the reader's, which
//! stops where the log does, whatever is still under way.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::log::{self, DatabaseId, Recovery, Replay};

use super::DiskError;
use super::reading::Endings;
use super::recover::Restore;
use super::segments::SegmentFiles;

/// Bytes of transactions from which on a piece is sent: a part of what a core's own cache holds.
const PIECE_BYTES: usize = 256 << 10;
/// Bytes that are out at most, unless one piece has more: a transaction may be that long. The reader is much
/// faster than who applies what it reads, and each further piece would be memory that was never touched.
const OUT_BYTES_MAX: usize = 4 << 20;

/// Transactions that follow each other.
#[derive(Debug, Default)]
struct Piece {
    bytes: Vec<u8>,
    /// Where the bytes of each are.
    transactions: Vec<(Zxid, Range<usize>)>,
    /// The newest of which the log says here that it was committed. It is said of transactions before those
    /// that it follows, and those are most often in the same piece.
    committed: Zxid,
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
    files: &SegmentFiles,
    database: DatabaseId,
    after: Zxid,
    work: impl FnOnce(Ahead) -> T,
) -> Result<Option<(T, Recovery)>, DiskError> {
    let mut source = files.reader()?;
    let (endings, look) = Endings::of_newest(files, database)?;
    source.know(endings);
    thread::scope(|scope| {
        let (send, pieces) = channel();
        let (back, returned) = channel();
        let read = move || {
            let (piece, out) = (Piece::default(), VecDeque::new());
            let mut sending = Sending { piece, send, returned, out, out_bytes: 0 };
            let found = log::replay(&mut source, database, after, &mut sending);
            // Nobody may want the rest.
            let _ = sending.send();
            found
        };
        let Ok(reader) = thread::Builder::new().name("log-reader".into()).spawn_scoped(scope, read) else {
            return Ok(None);
        };
        // Where there can be no thread for it, the reader looks there itself.
        let _ = thread::Builder::new().name("log-end".into()).spawn_scoped(scope, move || look.run());
        let done = work(Ahead { pieces, back });
        let found = reader.join().expect("a panic ends the process")?;
        Ok(Some((done, found)))
    })
}

/// The reader's end.
struct Sending {
    piece: Piece,
    send: Sender<Piece>,
    /// Empty ones, in the order in which they were sent.
    returned: Receiver<Piece>,
    /// Bytes of each that is out.
    out: VecDeque<usize>,
    out_bytes: usize,
}

/// There is nobody any more to read for.
struct Unwanted;

impl Sending {
    fn send(&mut self) -> Result<(), Unwanted> {
        let mut next = self.returned.try_recv().ok();
        self.out_bytes -= next.as_ref().and_then(|_| self.out.pop_front()).unwrap_or(0);
        let bytes = self.piece.bytes.len();
        while !self.out.is_empty() && self.out_bytes + bytes > OUT_BYTES_MAX {
            next = Some(self.returned.recv().map_err(|_| Unwanted)?);
            self.out_bytes -= self.out.pop_front().unwrap_or(0);
        }
        let piece = std::mem::replace(&mut self.piece, next.unwrap_or_default());
        self.send.send(piece).map_err(|_| Unwanted)?;
        self.out.push_back(bytes);
        self.out_bytes += bytes;
        Ok(())
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
        self.piece.transactions.push((zxid, begin..self.piece.bytes.len()));
        self.send_if_full()
    }

    fn committed(&mut self, upto: Zxid) -> Result<(), String> {
        self.piece.committed = upto;
        Ok(())
    }
}

impl Ahead {
    /// Hands everything on, as far as it is taken.
    pub fn deliver(self, restore: &mut impl Restore) -> Result<(), Refused> {
        for mut piece in &self.pieces {
            if piece.committed > Zxid::ZERO {
                let at = At::Committed(piece.committed);
                restore.committed(piece.committed).map_err(|why| Refused { at, why })?;
            }
            let all = piece.transactions.iter().map(|(zxid, range)| (*zxid, &piece.bytes[range.clone()]));
            let taken = restore.transactions(all);
            taken.map_err(|(zxid, why)| Refused { at: At::Transaction(zxid), why })?;
            if piece.bytes.capacity() > 2 * PIECE_BYTES {
                piece = Piece::default();
            }
            piece.bytes.clear();
            piece.transactions.clear();
            piece.committed = Zxid::ZERO;
            // The reader may have ended.
            let _ = self.back.send(piece);
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

#[cfg(test)]
mod tests {
    use super::*;
    use ringkeeper_engine::snap::Checkpoint;

    /// What a reader of so long transactions sends, and how many bytes were out at most.
    fn run(lengths: &[usize], taken: usize) -> (Vec<Zxid>, usize) {
        let (send, pieces) = channel();
        let (back, returned) = channel();
        thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let (piece, out) = (Piece::default(), VecDeque::new());
                let mut sending = Sending { piece, send, returned, out, out_bytes: 0 };
                let mut most = 0;
                for (zxid, length) in (1..).zip(lengths) {
                    let zxid = Zxid(zxid);
                    if sending.transaction(zxid, &vec![zxid.0 as u8; *length]).is_err() {
                        break;
                    }
                    most = most.max(sending.out_bytes);
                }
                let _ = sending.send();
                most
            });
            struct Takes(Vec<Zxid>, usize);
            impl Restore for Takes {
                fn checkpoint(&mut self, _: &Checkpoint<'_>) -> Result<(), String> {
                    unreachable!("only the log is read")
                }

                fn transaction(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<(), String> {
                    assert!(bytes.iter().step_by(4099).all(|byte| *byte == zxid.0 as u8));
                    self.0.push(zxid);
                    if self.0.len() < self.1 { Ok(()) } else { Err("enough".to_owned()) }
                }
            }
            let mut takes = Takes(Vec::new(), taken);
            let refused = Ahead { pieces, back }.deliver(&mut takes).err().map(|refused| refused.at);
            let last = takes.0.last().map(|zxid| At::Transaction(*zxid));
            assert_eq!(refused, last.filter(|_| takes.0.len() == taken));
            (takes.0, reader.join().unwrap())
        })
    }

    #[test]
    fn all_is_delivered_in_order_and_no_more_is_out_than_may_be() {
        let long = [1, PIECE_BYTES, 3 * PIECE_BYTES, 0, OUT_BYTES_MAX + 1, 7];
        let many = vec![PIECE_BYTES / 2 + 1; 300];
        for lengths in [&[][..], &long, &many] {
            let (zxids, most) = run(lengths, usize::MAX);
            assert_eq!(zxids, (1..=lengths.len() as u64).map(Zxid).collect::<Vec<_>>());
            assert!(most <= OUT_BYTES_MAX + 1, "{most}");
        }
        let (zxids, _) = run(&many, 5);
        assert_eq!(zxids.len(), 5, "the reader ends too when nobody reads on");
    }

    #[test]
    fn what_was_committed_is_said_before_what_is_in_the_same_piece() {
        #[derive(Default)]
        struct Order(Vec<At>);
        impl Restore for Order {
            fn checkpoint(&mut self, _: &Checkpoint<'_>) -> Result<(), String> {
                unreachable!("only the log is read")
            }

            fn transaction(&mut self, zxid: Zxid, _: &[u8]) -> Result<(), String> {
                self.0.push(At::Transaction(zxid));
                Ok(())
            }

            fn committed(&mut self, upto: Zxid) -> Result<(), String> {
                self.0.push(At::Committed(upto));
                Ok(())
            }
        }
        let (send, pieces) = channel();
        let (back, returned) = channel();
        let (piece, out) = (Piece::default(), VecDeque::new());
        let mut sending = Sending { piece, send, returned, out, out_bytes: 0 };
        for zxid in 1..=3 {
            sending.committed(Zxid(zxid - 1)).unwrap();
            sending.transaction(Zxid(zxid), b"").unwrap();
        }
        assert!(sending.send().is_ok());
        sending.transaction(Zxid(4), b"").unwrap();
        assert!(sending.send().is_ok());
        drop(sending);
        let mut order = Order::default();
        assert!(Ahead { pieces, back }.deliver(&mut order).is_ok());
        let transaction = |zxid| At::Transaction(Zxid(zxid));
        assert_eq!(
            order.0,
            [At::Committed(Zxid(2)), transaction(1), transaction(2), transaction(3), transaction(4)]
        );
    }
}
