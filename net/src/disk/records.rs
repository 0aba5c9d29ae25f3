//! What a data directory remembers beside its log and checkpoints, each in a small record kept twice: the
//! epochs of its ensemble, and how far its log is known to be durable.

use bincode::{Decode, Encode};
use ringkeeper_engine::id::{Epoch, Zxid};

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::DiskError;
use super::layout::{DATABASE, DataDirectory, IMPORTED, Imported, Manifest};
use super::refusal::{REJOIN, Refusal};
use super::twin::{self, read_twin, write_twin};

const EPOCHS: &str = "epochs";
const MARK: &str = "mark";

/// What a server has promised to its ensemble. One record, so that a crash never leaves one of the two
/// numbers new and the other old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    /// The newest epoch whose leader it has promised to follow; never below `current`.
    pub accepted: Epoch,
    /// The epoch of the last leader that it has taken its history from.
    pub current: Epoch,
}

/// The record of `DIR/epochs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct EpochsRecord {
    pub accepted: u32,
    pub current: u32,
}

/// The record of `DIR/mark`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct MarkRecord {
    pub zxid: u64,
}

impl DataDirectory {
    /// The epochs; `None` if this server was never in an ensemble.
    ///
    /// # Errors
    /// `Refused` if neither copy of them can be believed: a guess could make it vote twice.
    pub fn read_epochs(&self) -> Result<Option<Epochs>, DiskError> {
        let path = self.path().join(EPOCHS);
        match read_twin::<EpochsRecord>(&path)? {
            None => Ok(None),
            Some(Ok(EpochsRecord { accepted, current })) if current <= accepted => {
                Ok(Some(Epochs { accepted: Epoch(accepted), current: Epoch(current) }))
            }
            Some(Ok(EpochsRecord { accepted, current })) => {
                Err(Refusal::EpochsContradict { path, accepted, current }.into())
            }
            Some(Err(fault)) => Err(Refusal::Record { path, fault, cure: Some(REJOIN) }.into()),
        }
    }

    /// Makes the epochs durable, both at once.
    pub fn write_epochs(&self, epochs: Epochs) -> Result<(), DiskError> {
        assert!(epochs.current <= epochs.accepted, "{epochs:?}");
        let record = EpochsRecord { accepted: epochs.accepted.0, current: epochs.current.0 };
        write_twin(&self.path().join(EPOCHS), &record)
    }

    /// How far the log is known to be durable, by the mark: recovery refuses a log that ends before.
    pub(super) fn read_mark(&self) -> Result<Option<Zxid>, DiskError> {
        let path = self.path().join(MARK);
        match read_twin::<MarkRecord>(&path)? {
            None => Ok(None),
            Some(Ok(mark)) => Ok(Some(Zxid(mark.zxid))),
            Some(Err(fault)) => {
                let cure = "without this file the log's end is believed as it is found: move it away, or \
                             restore the data directory from a backup";
                Err(Refusal::Record { path, fault, cure: Some(cure) }.into())
            }
        }
    }

    /// Notes, durably, that the log is durable up to `upto`. That is what tells damage at the log's end
    /// from a crash's: the end of a burst has nothing behind it in the log that would show it.
    ///
    /// No two threads may do this at once.
    pub fn write_mark(&self, upto: Zxid) -> Result<(), DiskError> {
        write_twin(&self.path().join(MARK), &MarkRecord { zxid: upto.0 })
    }

    /// Takes a mark back that says more than `last_kept`, before the log is cut there.
    pub(super) fn lower_mark(&self, last_kept: Zxid) -> Result<(), DiskError> {
        match self.read_mark()? {
            Some(zxid) if zxid > last_kept => self.write_mark(last_kept),
            _ => Ok(()),
        }
    }

    /// Where the mark is.
    pub(super) fn mark_path(&self) -> std::path::PathBuf {
        self.path().join(MARK)
    }
}

/// What a record says, for who only looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// Of `DIR/database`.
    Database(Manifest),
    /// Of `DIR/imported`: the last transaction that came from ZooKeeper's files.
    Imported(Zxid),
    /// Of `DIR/mark`: how far the log is known to be durable.
    Mark(Zxid),
    /// Of `DIR/epochs`: the epoch promised, and the epoch lived in.
    Epochs(Epoch, Epoch),
}

/// A record's file.
#[derive(Debug)]
pub struct RecordFile {
    /// Where.
    pub path: PathBuf,
    /// Both copies, in the order of [`twin::COPIES_AT`]; none of one that is damaged.
    pub copies: [Option<Record>; 2],
}

/// No record's file is longer: two copies.
const FILE_BYTES_MAX: u64 = 2 * twin::COPIES_AT[1];

/// Reads the records of a data directory and leaves them as they are, damaged ones too.
///
/// # Errors
/// A file that is there and cannot be read, by its name.
pub fn look_at_records(directory: &Path) -> Result<Vec<RecordFile>, (PathBuf, io::Error)> {
    type Decode = fn(&[u8]) -> [Option<Record>; 2];
    let kinds: [(&str, Decode); 4] = [
        (DATABASE, |file| twin::copies(file).map(|copy| copy.map(Record::Database))),
        (IMPORTED, |file| {
            twin::copies::<Imported>(file).map(|copy| copy.map(|copy| Record::Imported(Zxid(copy.zxid))))
        }),
        (MARK, |file| {
            twin::copies::<MarkRecord>(file).map(|copy| copy.map(|copy| Record::Mark(Zxid(copy.zxid))))
        }),
        (EPOCHS, |file| {
            let epochs = |copy: EpochsRecord| Record::Epochs(Epoch(copy.accepted), Epoch(copy.current));
            twin::copies(file).map(|copy| copy.map(epochs))
        }),
    ];
    let mut found = Vec::new();
    for (name, decode) in kinds {
        let path = directory.join(name);
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)) {
            Ok(_) => found.push(RecordFile { path, copies: decode(&bytes) }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err((path, error)),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn records_keep_their_golden_bytes() {
        let epochs = twin::encode(&EpochsRecord { accepted: 8, current: 7 });
        assert_eq!(hex(&epochs[..20]), concat!("524b5457", "08000000", "9a0e13d7", "08000000", "07000000"));
        let mark = twin::encode(&MarkRecord { zxid: 0x7_0000_0009 });
        assert_eq!(hex(&mark[..20]), concat!("524b5457", "08000000", "bd732f9e", "0900000007000000"));
    }

    #[test]
    fn epochs_are_kept_and_never_guessed() {
        let path = tempfile::tempdir().unwrap();
        let path = path.path();
        let directory = DataDirectory::open(path, path).unwrap();
        assert_eq!(directory.read_epochs().unwrap(), None);
        let epochs = |accepted, current| Epochs { accepted: Epoch(accepted), current: Epoch(current) };
        directory.write_epochs(epochs(5, 4)).unwrap();
        directory.write_epochs(epochs(6, 5)).unwrap();
        assert_eq!(directory.read_epochs().unwrap(), Some(epochs(6, 5)));
        drop(directory);
        // Copies that differ, of which each is whole.
        let file = path.join(EPOCHS);
        let bytes = fs::read(&file).unwrap();
        let other = twin::encode(&EpochsRecord { accepted: 5, current: 4 });
        fs::write(&file, [&bytes[..4096], &other[4096..]].concat()).unwrap();
        let refused = DataDirectory::open(path, path).expect_err("one of them may be a vote that was given");
        assert!(refused.to_string().contains("epochs: its two copies"), "{refused}");
        write_twin(&file, &EpochsRecord { accepted: 4, current: 5 }).unwrap();
        let refused = DataDirectory::open(path, path).expect_err("no server gets there");
        assert!(matches!(refused, DiskError::Refused(Refusal::EpochsContradict { .. })), "{refused}");
    }

    #[test]
    fn whoever_looks_at_records_sees_both_copies_and_mends_none() {
        let path = tempfile::tempdir().unwrap();
        let path = path.path();
        assert!(look_at_records(path).unwrap().is_empty());
        let directory = DataDirectory::open(path, path).unwrap();
        directory.write_mark(Zxid(9)).unwrap();
        directory.write_epochs(Epochs { accepted: Epoch(6), current: Epoch(5) }).unwrap();
        let whole = look_at_records(path).unwrap();
        let says: Vec<_> = whole.iter().map(|file| file.copies).collect();
        let database = Record::Database(Manifest { format: 1, database: directory.database().0 });
        let expected = [database, Record::Mark(Zxid(9)), Record::Epochs(Epoch(6), Epoch(5))];
        assert_eq!(says, expected.map(|record| [Some(record); 2]));
        let mark = path.join(MARK);
        let mut bytes = fs::read(&mark).unwrap();
        bytes[twin::COPIES_AT[1] as usize + 9] ^= 1;
        fs::write(&mark, &bytes).unwrap();
        assert_eq!(look_at_records(path).unwrap()[1].copies, [Some(Record::Mark(Zxid(9))), None]);
        assert_eq!(fs::read(&mark).unwrap(), bytes);
    }

    #[test]
    fn a_mark_is_lowered_before_a_cut_and_never_raised_by_it() {
        let path = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(path.path(), path.path()).unwrap();
        assert_eq!(directory.read_mark().unwrap(), None);
        directory.lower_mark(Zxid(5)).unwrap();
        assert_eq!(directory.read_mark().unwrap(), None);
        directory.write_mark(Zxid(9)).unwrap();
        for (last_kept, left) in [(12, 9), (9, 9), (7, 7), (8, 7)] {
            directory.lower_mark(Zxid(last_kept)).unwrap();
            assert_eq!(directory.read_mark().unwrap(), Some(Zxid(left)));
        }
    }
}
