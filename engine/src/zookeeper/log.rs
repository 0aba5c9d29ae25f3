//! A log's bytes in, transactions with their offsets and faults out; and the way back.
//!
//! ```text
//! log    = header record* zeros      header: "ZKLG", version 2, database 0
//! record = checksum 8, length 4, transaction, "B"     checksum: Adler-32 of the transaction
//! ```
//!
//! ZooKeeper preallocates a log with zeros, and takes the first record of length zero, and any record
//! that the file cuts short, for the end, without a look at what lies behind. Here that end counts only
//! if no transaction lies behind it: what a crash tore was the last thing that was written.

use super::format::{Fault, HEADER_BYTES, LOG_DATABASE, LOG_MAGIC, read_header, write_header};
use super::stream::Input;
use super::transaction::{self, Transaction};
use crate::id::Zxid;
use crate::jute::records::{FileHeader, TxnHeader};
use crate::jute::{self, Write};
use crate::op::OpCode;

/// Bytes of a record before its transaction.
pub const RECORD_HEADER_BYTES: usize = 8 + 4;
/// Behind each transaction.
const END_OF_RECORD: u8 = b'B';

/// A log.
#[derive(Clone, Copy, Debug)]
pub struct LogFile<'a> {
    file: &'a [u8],
    header: FileHeader,
}

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Where it begins, in bytes from the file's beginning.
    pub offset: u64,
    /// Adler-32 of the transaction.
    pub checksum: u32,
    /// What it holds.
    pub transaction: Transaction<'a>,
}

/// How a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Behind a whole record; at most zeros follow.
    Whole {
        /// Where, in bytes.
        offset: u64,
    },
    /// In a record that was not written whole. Nothing of a transaction lies behind it.
    Torn {
        /// Where it begins, in bytes.
        offset: u64,
        /// From there to the last byte that is not zero.
        bytes: u64,
        /// What it lacks.
        what: &'static str,
    },
}

/// The records of a log. A damaged one is a fault, and the next one comes after it where it can be found.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    file: &'a [u8],
    /// Where the bytes in `file` begin in it.
    base: u64,
    at: usize,
    last: Zxid,
    end: Option<End>,
}

/// Whether a file is a log that was created and whose header never reached the disk.
pub fn is_unwritten(file: &[u8]) -> bool {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    write_header(LOG_MAGIC, LOG_DATABASE, &mut header);
    file.len() < HEADER_BYTES && header.starts_with(file) || file.iter().all(|byte| *byte == 0)
}

impl<'a> LogFile<'a> {
    /// Opens the bytes of a whole file.
    ///
    /// # Errors
    /// What is wrong with its header.
    pub fn open(file: &'a [u8]) -> Result<LogFile<'a>, Fault> {
        Ok(LogFile { file, header: read_header(file, LOG_MAGIC)? })
    }

    /// Its header.
    pub fn header(&self) -> FileHeader {
        self.header
    }

    /// Its records, from the first on.
    pub fn entries(&self) -> Entries<'a> {
        Entries { file: self.file, base: 0, at: HEADER_BYTES, last: Zxid::ZERO, end: None }
    }
}

/// A record whose length is credible.
struct Frame<'a> {
    checksum: i64,
    transaction: &'a [u8],
}

/// Why no record begins at a place.
enum NoFrame {
    /// A torn write or the end looks like this.
    End(&'static str),
    /// Nothing that was ever written does.
    Damage(String),
}

fn frame(rest: &[u8]) -> Result<Frame<'_>, NoFrame> {
    let Some((header, behind)) = rest.split_at_checked(RECORD_HEADER_BYTES) else {
        return Err(NoFrame::End("the file ends in the beginning of a record"));
    };
    let mut reader = jute::Reader::new(header);
    let field = "the header has twelve bytes";
    let (checksum, length): (i64, i32) = (reader.read().expect(field), reader.read().expect(field));
    let Ok(length) = usize::try_from(length) else {
        return Err(NoFrame::Damage(format!("a record has the length {length}")));
    };
    match (length, behind.get(length)) {
        (0, _) => Err(NoFrame::End("a record has no length")),
        (_, None) => Err(NoFrame::End("the file ends in a record")),
        (_, Some(&END_OF_RECORD)) => Ok(Frame { checksum, transaction: &behind[..length] }),
        (_, Some(_)) => Err(NoFrame::End("a record has no end")),
    }
}

/// What is found behind a place where no record begins.
enum Behind {
    Nothing,
    Record(usize),
    /// The search was given up: the file is made to make it long.
    Unknown,
}

/// Looks for a whole record of a transaction behind `last`, from `from` on.
fn find_record(file: &[u8], from: usize, last: Zxid) -> Behind {
    const SMALLEST_BYTES: usize = RECORD_HEADER_BYTES + transaction::HEADER_BYTES + 1;
    const PASSES_MAX: usize = 8;
    let mut checked_max = file.len().saturating_mul(PASSES_MAX);
    for at in from..(file.len() + 1).saturating_sub(SMALLEST_BYTES) {
        let record = &file[at..];
        // A checksum has 32 bits in a field of 64.
        if record[..4] != [0; 4] {
            continue;
        }
        let Ok(Frame { checksum, transaction }) = frame(record) else { continue };
        let header = jute::from_bytes::<TxnHeader>(transaction);
        let credible =
            |header: TxnHeader| OpCode::from_code(header.op).is_some() && Zxid::from_jute(header.zxid) > last;
        if !header.is_ok_and(credible) {
            continue;
        }
        let Some(left) = checked_max.checked_sub(transaction.len()) else { return Behind::Unknown };
        checked_max = left;
        if checksum == adler(transaction) && Transaction::decode(transaction).is_ok() {
            return Behind::Record(at);
        }
    }
    Behind::Nothing
}

fn adler(bytes: &[u8]) -> i64 {
    i64::from(simd_adler32::adler32(&bytes))
}

impl<'a> Entries<'a> {
    /// How the log ends; `None` while there are more records.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    fn take(&mut self, frame: &Frame<'a>) -> Result<Entry<'a>, Fault> {
        let offset = self.base + self.at as u64;
        self.at += RECORD_HEADER_BYTES + frame.transaction.len() + 1;
        let checksum = adler(frame.transaction);
        if frame.checksum != checksum {
            let found = frame.checksum;
            return Err(Fault::new(
                offset,
                format!("the checksum is {checksum:#x}, not {found:#x} as written"),
            ));
        }
        let within = offset + RECORD_HEADER_BYTES as u64;
        let transaction = Transaction::decode(frame.transaction)
            .map_err(|fault| Fault { offset: within + fault.offset, ..fault })?;
        self.last = Zxid::from_jute(transaction.header.zxid);
        Ok(Entry { offset, checksum: checksum as u32, transaction })
    }

    /// No record begins here: either the log ends, or it is damaged.
    fn stop(&mut self, none: NoFrame) -> Option<Result<Entry<'a>, Fault>> {
        let (at, offset) = (self.at, self.base + self.at as u64);
        let lost = self.file[at..].iter().rposition(|byte| *byte != 0);
        let Some(bytes) = lost.map(|last| last as u64 + 1) else {
            self.end = Some(End::Whole { offset });
            return None;
        };
        let what = match &none {
            NoFrame::End(what) => (*what).to_owned(),
            NoFrame::Damage(what) => what.clone(),
        };
        let torn = match none {
            NoFrame::End(what) => End::Torn { offset, bytes, what },
            NoFrame::Damage(_) => End::Torn { offset, bytes, what: "a record has no length" },
        };
        let fault = |more: String| Some(Err(Fault::new(offset, what.clone() + &more)));
        match find_record(self.file, at + 1, self.last) {
            Behind::Record(next) => {
                self.at = next;
                return fault(format!(", yet a transaction follows at offset {}", self.base + next as u64));
            }
            Behind::Unknown => {
                self.end = Some(torn);
                return fault(", and what follows is no log".into());
            }
            Behind::Nothing => self.end = Some(torn),
        }
        match none {
            NoFrame::End(_) => None,
            NoFrame::Damage(_) => fault(String::new()),
        }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.end.is_some() {
            return None;
        }
        match frame(&self.file[self.at..]) {
            Ok(frame) => Some(self.take(&frame)),
            Err(none) => self.stop(none),
        }
    }
}

/// A log that comes piece by piece. Held is the piece that is read, and from the place on where no record
/// begins the rest of the file: whether the log ends there can only be told from all that follows.
pub struct LogPieces<'i> {
    input: &'i mut dyn Input,
    held: Vec<u8>,
    base: u64,
    at: usize,
    last: Zxid,
    end: Option<End>,
    /// The file's last byte is held.
    whole: bool,
}

impl<'i> LogPieces<'i> {
    /// Begins a log.
    pub fn new(input: &'i mut dyn Input) -> LogPieces<'i> {
        let (at, last) = (HEADER_BYTES, Zxid::ZERO);
        LogPieces { input, held: Vec::new(), base: 0, at, last, end: None, whole: false }
    }

    /// Reads the header; `None` if the log was created and the header never reached the disk.
    ///
    /// # Errors
    /// What is wrong with it. The records can be read in spite of that.
    pub fn header(&mut self) -> Result<Option<FileHeader>, Fault> {
        while !self.whole && (self.held.len() < HEADER_BYTES || is_unwritten(&self.held)) {
            self.more()?;
        }
        if is_unwritten(&self.held) { Ok(None) } else { read_header(&self.held, LOG_MAGIC).map(Some) }
    }

    /// The next record; `None` at the end.
    pub fn next_entry(&mut self) -> Option<Result<Entry<'_>, Fault>> {
        while !self.whole && self.held.get(self.at..).is_none_or(|rest| frame(rest).is_err()) {
            if let Err(fault) = self.more() {
                self.whole = true;
                return Some(Err(fault));
            }
        }
        let (file, base, at, last, end) = (&self.held[..], self.base, self.at, self.last, self.end);
        let mut entries = Entries { file, base, at: at.min(file.len()), last, end };
        let next = entries.next();
        (self.at, self.last, self.end) = (entries.at, entries.last, entries.end);
        next
    }

    /// How the log ends; `None` while there are more records.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// The bytes from an offset on, as far as they are held; of the last record and all behind it, they are.
    pub fn held_from(&self, offset: u64) -> &[u8] {
        let within = offset.checked_sub(self.base).and_then(|within| usize::try_from(within).ok());
        within.and_then(|within| self.held.get(within..)).unwrap_or_default()
    }

    /// Reads as much again as is held, so that a record is not looked at once a piece.
    fn more(&mut self) -> Result<(), Fault> {
        let taken = self.at.min(self.held.len());
        // What is in front of the first record is looked at once more.
        if self.base > 0 || taken > HEADER_BYTES {
            self.held.drain(..taken);
            (self.base, self.at) = (self.base + taken as u64, self.at - taken);
        }
        let wanted = 2 * self.held.len();
        loop {
            let before = self.held.len();
            let reached = self.base + before as u64;
            self.input.append_piece(&mut self.held).map_err(|what| Fault::new(reached, what))?;
            self.whole = self.held.len() == before;
            if self.whole || self.held.len() >= wanted {
                return Ok(());
            }
        }
    }
}

/// Appends a log's header.
pub fn write_log_header(out: &mut Vec<u8>) {
    write_header(LOG_MAGIC, LOG_DATABASE, out);
}

/// Appends a record of a transaction's bytes, its digest included if it has one.
pub fn write_record(transaction: &[u8], out: &mut Vec<u8>) {
    adler(transaction).write(out);
    transaction.write(out);
    out.push(END_OF_RECORD);
}
