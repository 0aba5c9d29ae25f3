//! A small record kept twice, 4 KiB apart, so that one bad sector does not take it. It is replaced as a
//! whole: written beside, synced, renamed.
//!
//! ```text
//! file = copy, zeros up to 4096, copy
//! copy = magic 4, length u32, checksum u32, the record in bincode (little-endian, fixed integers)
//! ```

use std::fmt;
use std::fs;
use std::path::Path;

use bincode::{Decode, Encode};

use super::{DiskError, changes, is_disk_full, sync_directory};

const MAGIC: [u8; 4] = *b"RKTW";
const LENGTH_AT: usize = MAGIC.len();
const CHECKSUM_AT: usize = LENGTH_AT + 4;
const RECORD_AT: usize = CHECKSUM_AT + 4;
const SECOND_COPY_AT: usize = 4096;
const RECORD_BYTES_MAX: usize = 1024;
const _: () = assert!(RECORD_AT + RECORD_BYTES_MAX <= SECOND_COPY_AT);

/// Why neither copy, or not both, can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TwinFault {
    /// Both copies are damaged.
    Damaged,
    /// Both are whole and say different things, which no crash can cause.
    Differ,
}

impl fmt::Display for TwinFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TwinFault::Damaged => "both copies of its record are damaged",
            TwinFault::Differ => "its two copies are whole and contradict each other",
        })
    }
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard()
        .with_little_endian()
        .with_fixed_int_encoding()
        .with_limit::<RECORD_BYTES_MAX>()
}

/// The file's bytes for a record.
pub(super) fn encode<T: Encode>(record: &T) -> Vec<u8> {
    let record = bincode::encode_to_vec(record, config()).expect("a small record of plain numbers");
    let mut copy = Vec::with_capacity(RECORD_AT + record.len());
    copy.extend_from_slice(&MAGIC);
    copy.extend_from_slice(&(record.len() as u32).to_le_bytes());
    copy.extend_from_slice(&crc32c::crc32c(&record).to_le_bytes());
    copy.extend_from_slice(&record);
    let mut file = copy.clone();
    file.resize(SECOND_COPY_AT, 0);
    file.extend_from_slice(&copy);
    file
}

fn decode_copy<T: Decode<()>>(bytes: &[u8]) -> Option<T> {
    let number = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    if bytes.get(..LENGTH_AT)? != MAGIC {
        return None;
    }
    let length = number(LENGTH_AT)? as usize;
    let record = bytes.get(RECORD_AT..)?.get(..length)?;
    if crc32c::crc32c(record) != number(CHECKSUM_AT)? {
        return None;
    }
    let (value, used) = bincode::decode_from_slice(record, config()).ok()?;
    (used == record.len()).then_some(value)
}

/// Where the copies begin in the file, in bytes.
pub const COPIES_AT: [u64; 2] = [0, SECOND_COPY_AT as u64];

/// Both copies, as far as each is whole.
pub(super) fn copies<T: Decode<()>>(file: &[u8]) -> [Option<T>; 2] {
    let first = decode_copy::<T>(&file[..file.len().min(SECOND_COPY_AT)]);
    let second = decode_copy::<T>(file.get(SECOND_COPY_AT..).unwrap_or_default());
    [first, second]
}

/// The record, and whether one of its copies was damaged.
pub(super) fn decode<T: Decode<()> + PartialEq>(file: &[u8]) -> Result<(T, bool), TwinFault> {
    match copies::<T>(file).into() {
        (Some(first), Some(second)) if first == second => Ok((first, false)),
        (Some(_), Some(_)) => Err(TwinFault::Differ),
        (Some(record), None) | (None, Some(record)) => Ok((record, true)),
        (None, None) => Err(TwinFault::Damaged),
    }
}

/// Reads a record; `None` if there is no such file. A damaged copy is written anew from the other one.
pub fn read_twin<T: Encode + Decode<()> + PartialEq>(
    path: &Path,
) -> Result<Option<Result<T, TwinFault>>, DiskError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DiskError::io("reading", path)(error)),
    };
    Ok(Some(match decode::<T>(&bytes) {
        Ok((record, damaged)) => {
            if damaged {
                match write_twin(path, &record) {
                    Ok(()) => {
                        tracing::warn!("one of the two copies in {} was damaged: mended", path.display());
                    }
                    // The other copy serves; the next reading mends.
                    Err(DiskError::Io { error, .. }) if is_disk_full(&error) => tracing::warn!(
                        "one of the two copies in {} is damaged, and not mended: {error}",
                        path.display()
                    ),
                    Err(error) => return Err(error),
                }
            }
            Ok(record)
        }
        Err(fault) => Err(fault),
    }))
}

/// Puts a record in the place of what was there: after a crash the file holds one or the other.
pub fn write_twin<T: Encode>(path: &Path, record: &T) -> Result<(), DiskError> {
    let beside = path.with_extension("tmp");
    let written = changes::create(&beside).and_then(|file| {
        changes::write_at(&file, &beside, &encode(record), 0)?;
        changes::sync(&file, &beside)
    });
    if written.is_err() {
        // On a full disk its space is missed; what cannot be removed is overwritten the next time.
        let _ = changes::remove(&beside);
    }
    written.map_err(DiskError::io("writing", &beside))?;
    changes::rename(&beside, path).map_err(DiskError::io("renaming to", path))?;
    sync_directory(path.parent().expect("a file in a directory"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Encode, Decode)]
    struct Sample {
        number: u64,
        small: u32,
    }

    const SAMPLE: Sample = Sample { number: 0x1122_3344_5566_7788, small: 7 };

    #[test]
    fn a_twin_keeps_its_golden_bytes() {
        let bytes = encode(&SAMPLE);
        let hex: String = bytes[..RECORD_AT + 12].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, concat!("524b5457", "0c000000", "a7dafcdc", "8877665544332211", "07000000"));
        assert!(bytes[RECORD_AT + 12..SECOND_COPY_AT].iter().all(|&byte| byte == 0));
        assert_eq!(bytes[SECOND_COPY_AT..], bytes[..RECORD_AT + 12]);
    }

    #[test]
    fn one_copy_may_be_damaged_and_two_whole_ones_may_not_differ() {
        let bytes = encode(&SAMPLE);
        assert_eq!(decode(&bytes), Ok((SAMPLE, false)));
        for at in (0..RECORD_AT + 12).flat_map(|at| [at, SECOND_COPY_AT + at]) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(decode(&damaged), Ok((SAMPLE, true)), "{at}");
            damaged[(at + SECOND_COPY_AT) % (2 * SECOND_COPY_AT)] ^= 1;
            assert_eq!(decode::<Sample>(&damaged), Err(TwinFault::Damaged), "{at}");
        }
        for length in 0..bytes.len() {
            let short = decode(&bytes[..length]);
            let expected = if length < RECORD_AT + 12 { Err(TwinFault::Damaged) } else { Ok((SAMPLE, true)) };
            assert_eq!(short, expected, "{length}");
        }
        let mut differing = bytes.clone();
        let other = encode(&Sample { small: 8, ..SAMPLE });
        differing[SECOND_COPY_AT..].copy_from_slice(&other[SECOND_COPY_AT..]);
        assert_eq!(decode::<Sample>(&differing), Err(TwinFault::Differ));
    }

    #[test]
    fn a_damaged_copy_is_mended_when_it_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        assert!(read_twin::<Sample>(&path).unwrap().is_none());
        write_twin(&path, &SAMPLE).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[20] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(read_twin(&path).unwrap(), Some(Ok(SAMPLE)));
        assert_eq!(fs::read(&path).unwrap(), encode(&SAMPLE));
    }
}
