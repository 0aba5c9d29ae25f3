//! The decision table of recovery: each row damages a copy of a directory that a real server filled, starts
//! the real server on it, and demands what it does and what it says.

use std::fs;

use ringkeeper_engine::id::Epoch;
use ringkeeper_engine::log::format::BATCH_HEADER_BYTES;
use ringkeeper_engine::log::reader::SegmentReader;
use ringkeeper_net::disk::{DataDirectory, Epochs};

use crate::data::{Data, End, SEGMENT_HEADER, change, flip, remove, set_version, shown};
use crate::run::{Started, start};

/// Which directory a row damages.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    /// Of a server that was stopped.
    Stopped,
    /// Of a server that was killed in the middle of its work.
    Killed,
    /// The same, with `log.sync=none`.
    KilledUnsynced,
}

/// What the server does.
#[derive(Clone, Copy)]
enum Does {
    /// Serves everything that was acknowledged.
    Serves,
    /// Serves all but the last write, of which nothing proves that it was ever whole.
    ServesAllButOne,
    /// Serves what is before a hole.
    ServesTheBeginning,
    /// Ends with code 1, having served nobody.
    Refuses,
}
use Does::{Refuses, Serves, ServesAllButOne, ServesTheBeginning};
use Of::{Killed, KilledUnsynced, Stopped};

/// The case, the directory, the damage, what the server does, what it says (all of it) and, if it says
/// nothing, that it warns of nothing.
type Row = (&'static str, Of, fn(&Data), Does, &'static [&'static str]);

const ROWS: &[Row] = &[
    ("clean, after a stop", Stopped, |_| (), Serves, &[]),
    ("clean, after a kill", Killed, |_| (), Serves, &[]),
    ("clean, after a kill without syncs", KilledUnsynced, |_| (), Serves, &[]),
    // The end of the log.
    ("torn last batch", Killed, |data| damage_batch(data, 0), ServesAllButOne, TORN),
    ("torn last batch without syncs", KilledUnsynced, |data| damage_batch(data, 0), ServesAllButOne, TORN),
    ("damaged last batch, marked", Stopped, |data| damage_batch(data, 1), Refuses, LATER_BATCH),
    ("damaged mark in the log", Stopped, |data| damage_batch(data, 0), Serves, TORN),
    (
        "lost end of the log",
        Stopped,
        lose_end,
        Refuses,
        &["error: the log ends at", "mark knows that it was durable up to"],
    ),
    (
        "lost end, damaged besides",
        Stopped,
        lose_end_and_damage,
        Refuses,
        &["mark knows that", ".rklog is damaged at offset"],
    ),
    ("missing last segment", Killed, |data| remove(&data.newest_segment().path), Refuses, MISSING),
    (
        "missing last segment, and none prepared behind it",
        Stopped,
        |data| remove(&data.newest_segment().path),
        Refuses,
        &["mark knows that it was durable up to"],
    ),
    ("missing prepared segment", Killed, |data| remove(&data.segments().pop().unwrap()), Serves, &[]),
    (
        "empty last segment",
        Killed,
        |data| change(&data.newest_segment().path, Vec::clear),
        Refuses,
        &["at offset 0: the file ends here, yet a later segment was prepared"],
    ),
    (
        "empty prepared segment",
        Killed,
        |data| change(&data.segments().pop().unwrap(), Vec::clear),
        Serves,
        &[],
    ),
    (
        "shortened segment",
        Stopped,
        |data| change(&data.newest_segment().path, |bytes| bytes.truncate(61_440)),
        Refuses,
        &["at offset 61440: the file ends here and was 65536 bytes long"],
    ),
    ("recycled segment with old content", Killed, is_recycled, Serves, &[]),
    // What is before it.
    ("damaged batch before the durable mark", Stopped, |data| damage_batch(data, 2), Refuses, LATER_BATCH),
    ("damaged batch before a durable one", Killed, |data| damage_batch(data, 1), Refuses, LATER_BATCH),
    (
        "zeroed sector before a durable one",
        Killed,
        zero_batch,
        Refuses,
        &["no batch of this segment begins here, yet a later batch is at offset"],
    ),
    ("misdirected write", Stopped, misdirect, Refuses, &["error: the log is damaged in segment"]),
    (
        "damaged batch in an older segment",
        Stopped,
        damage_older_batch,
        Refuses,
        &["error: the log is damaged in segment", "the batch's entries have a wrong checksum"],
    ),
    (
        "damaged header of the newest segment",
        Stopped,
        |data| flip(&data.newest_segment().path, 9),
        Refuses,
        &["the segment's header is damaged (its checksum is wrong), yet a later batch"],
    ),
    (
        "damaged header of an older segment",
        Stopped,
        damage_older_header,
        Refuses,
        &["at offset 0: the segment's header is damaged (its checksum is wrong)"],
    ),
    (
        "hole in a log without syncs",
        KilledUnsynced,
        zero_batch,
        ServesTheBeginning,
        &["WARN", "log.sync=none", "has a hole in segment", "the transactions behind it are lost"],
    ),
    (
        "the same, and the next segment torn in its first write",
        KilledUnsynced,
        |data| {
            zero_batch(data);
            change(&data.segments().pop().unwrap(), |bytes| bytes[..100].fill(7));
        },
        ServesTheBeginning,
        &["WARN", "log.sync=none", "has a hole in segment", "the transactions behind it are lost"],
    ),
    ("log gap", Stopped, remove_middle, Refuses, MISSING),
    (
        "unknown version of a segment",
        Stopped,
        |data| set_version(&data.newest_segment().path, SEGMENT_HEADER, 9),
        Refuses,
        &["has format version 9, which this release does not know"],
    ),
    ("segment of another database", Stopped, foreign_segment, Refuses, &["belongs to another database"]),
    // Checkpoints.
    ("damaged newest checkpoint", Stopped, |data| flip(&data.newest_checkpoint(), 2), Serves, ONE_BEFORE),
    (
        "damaged block inside a checkpoint",
        Stopped,
        |data| flip(&data.newest_checkpoint(), 500),
        Serves,
        &["WARN", "the one before it serves: damaged at offset", "the block's checksum is wrong"],
    ),
    (
        "empty newest checkpoint",
        Stopped,
        |data| change(&data.newest_checkpoint(), Vec::clear),
        Serves,
        ONE_BEFORE,
    ),
    (
        "shortened newest checkpoint",
        Stopped,
        |data| change(&data.newest_checkpoint(), |bytes| bytes.truncate(2000)),
        Serves,
        ONE_BEFORE,
    ),
    (
        "unfinished checkpoint",
        Stopped,
        |data| fs::write(data.file("snap/00000000ffffffff.rksnap.tmp"), b"RKSN").unwrap(),
        Serves,
        &[],
    ),
    (
        "no valid checkpoint",
        Stopped,
        |data| data.checkpoints().iter().for_each(|path| flip(path, 500)),
        Refuses,
        &["error: ", "would have served, but is damaged at offset"],
    ),
    (
        "no checkpoint though the log says there was one",
        Stopped,
        |data| data.checkpoints().iter().for_each(|path| remove(path)),
        Refuses,
        &["error: segment", "of the log is missing", "; without a valid checkpoint the whole log is needed"],
    ),
    (
        "no checkpoint and no log",
        Stopped,
        lose_everything,
        Refuses,
        &["error: the log ends at 0x0, but", "mark knows that"],
    ),
    ("no log", Stopped, lose_log, Refuses, &["error: the log ends at", "transactions are lost"]),
    ("no log of a server that was never idle", Killed, lose_log_but_mark, Refuses, LOST),
    ("no newest segments of the same", Killed, lose_newest_but_mark, Refuses, LOST),
    (
        "unknown version of a checkpoint",
        Stopped,
        |data| set_version(&data.newest_checkpoint(), 32, 9),
        Refuses,
        &[".rksnap has format version 9, which this release does not know"],
    ),
    (
        "checkpoint of another database",
        Stopped,
        foreign_checkpoint,
        Refuses,
        &[".rksnap belongs to another database"],
    ),
    // Records that are kept twice.
    (
        "one damaged copy of the mark",
        Stopped,
        |data| flip(&data.mark(), 13),
        Serves,
        &["WARN", "one of the two copies in", "mark was damaged: mended"],
    ),
    (
        "both copies of the mark damaged",
        Stopped,
        |data| {
            flip(&data.mark(), 13);
            flip(&data.mark(), 4109)
        },
        Refuses,
        &["mark: both copies of its record are damaged; to go on: without this file"],
    ),
    (
        "one damaged copy of the epochs",
        Stopped,
        |data| {
            epochs(data, 7);
            flip(&data.file("epochs"), 4109)
        },
        Serves,
        &["epochs was damaged: mended"],
    ),
    (
        "both copies of the epochs damaged",
        Stopped,
        |data| {
            epochs(data, 7);
            change(&data.file("epochs"), |bytes| bytes.fill(0))
        },
        Refuses,
        &["epochs: both copies of its record are damaged"],
    ),
    (
        "epoch copies that differ",
        Stopped,
        differing_epochs,
        Refuses,
        &["epochs: its two copies are whole and contradict each other"],
    ),
    (
        "one damaged copy of the database's id",
        Stopped,
        |data| flip(&data.file("database"), 0),
        Serves,
        &["database was damaged: mended"],
    ),
    (
        "both copies of the database's id damaged",
        Stopped,
        |data| change(&data.file("database"), |bytes| bytes.truncate(5)),
        Refuses,
        &["database: both copies of its record are damaged"],
    ),
    (
        "no database id",
        Stopped,
        |data| remove(&data.file("database")),
        Refuses,
        &["has no file `database`, and yet there is"],
    ),
    (
        "unknown version of the directory",
        Stopped,
        unknown_directory,
        Refuses,
        &["has format 9, which this release does not know"],
    ),
];

const TORN: &[&str] = &["WARN", "the log's last write, in segment", "is not whole", "cut"];
const LATER_BATCH: &[&str] = &["error: the log is damaged in segment", "yet a later batch is at offset"];
const LOST: &[&str] = &["error: the log ends at", "mark knows that", "transactions are lost"];
const MISSING: &[&str] = &["error: segment ", " of the log is missing"];
const ONE_BEFORE: &[&str] = &["WARN", ".rksnap is damaged, the one before it serves"];

/// Flips a bit in the transactions of a batch of the newest segment, counted from the last back.
fn damage_batch(data: &Data, from_end: usize) {
    let segment = data.newest_segment();
    let at = segment.batch_from_end(from_end);
    // A mark has a header alone.
    let bytes = u32::from_le_bytes(fs::read(&segment.path).unwrap()[at + 8..at + 12].try_into().unwrap());
    flip(&segment.path, at + bytes as usize - 1);
}

fn zero_batch(data: &Data) {
    let segment = data.newest_segment();
    let at = segment.batch_from_end(2);
    change(&segment.path, |bytes| bytes[at..at + 512].fill(0));
}

/// As a disk that lost its newest blocks: the mark in the log, and the batch before it.
fn lose_end(data: &Data) {
    let segment = data.newest_segment();
    let (from, to) = (segment.batch_from_end(1), *segment.offsets.last().unwrap());
    change(&segment.path, |bytes| bytes[from..to].fill(0));
}

fn lose_end_and_damage(data: &Data) {
    lose_end(data);
    damage_batch(data, 0);
}

/// Not a damage: the newest segment's file held another one before.
fn is_recycled(data: &Data) {
    let segment = data.newest_segment();
    assert!(segment.header.recycled, "the run was too short to use a file again");
    let bytes = fs::read(&segment.path).unwrap();
    assert!(bytes[*segment.offsets.last().unwrap()..].iter().any(|&byte| byte != 0), "old content behind");
}

/// A batch where another one belongs, as a disk that mistook an address.
fn misdirect(data: &Data) {
    let segment = data.newest_segment();
    let (from, to) = (segment.batch_from_end(4), segment.batch_from_end(3));
    let target = segment.batch_from_end(2);
    change(&segment.path, |bytes| bytes.copy_within(from..to, target));
}

/// One that only an older checkpoint needs.
fn damage_older_batch(data: &Data) {
    data.keep_oldest_checkpoint();
    let segments = data.written();
    let segment = &segments[segments.len() - 2];
    flip(&segment.path, segment.offsets[segment.offsets.len() / 2] + BATCH_HEADER_BYTES + 4);
}

fn damage_older_header(data: &Data) {
    data.keep_oldest_checkpoint();
    let segments = data.written();
    flip(&segments[segments.len() - 2].path, 70);
}

fn remove_middle(data: &Data) {
    data.keep_oldest_checkpoint();
    let segments = data.written();
    remove(&segments[segments.len() - 2].path);
}

fn lose_log(data: &Data) {
    data.segments().iter().for_each(|path| remove(path));
}

/// The checkpoints hold all that their names say: that more was written, the mark alone knows.
fn lose_log_but_mark(data: &Data) {
    data.put_back_mark();
    lose_log(data);
}

/// As if nothing had been written since the last but one segment.
fn lose_newest_but_mark(data: &Data) {
    data.put_back_mark();
    let newest = data.newest_segment().path;
    data.segments().iter().filter(|path| **path >= newest).for_each(|path| remove(path));
}

fn lose_everything(data: &Data) {
    lose_log(data);
    data.checkpoints().iter().for_each(|path| remove(path));
}

/// A small directory of another database.
fn other() -> Data {
    Data::fill("fdatasync", End::Killed)
}

fn foreign_segment(data: &Data) {
    fs::copy(other().newest_segment().path, data.newest_segment().path).unwrap();
}

fn foreign_checkpoint(data: &Data) {
    fs::copy(other().newest_checkpoint(), data.newest_checkpoint()).unwrap();
}

fn epochs(data: &Data, epoch: u32) {
    let directory = DataDirectory::open(&data.path, &data.path).unwrap();
    directory.write_epochs(Epochs { accepted: Epoch(epoch), current: Epoch(epoch) }).unwrap();
}

fn differing_epochs(data: &Data) {
    epochs(data, 7);
    let older = fs::read(data.file("epochs")).unwrap();
    epochs(data, 8);
    change(&data.file("epochs"), |bytes| bytes[4096..].copy_from_slice(&older[4096..]));
}

fn unknown_directory(data: &Data) {
    change(&data.file("database"), |bytes| {
        for copy in [0, 4096] {
            bytes[copy + 12] = 9;
            let checksum = crc32c::crc32c(&bytes[copy + 12..copy + 24]);
            bytes[copy + 8..copy + 12].copy_from_slice(&checksum.to_le_bytes());
        }
    });
}

#[test]
fn each_row_of_the_table_does_and_says_what_it_must() {
    let of = [Stopped, Killed, KilledUnsynced].map(|of| {
        let data = match of {
            Stopped => Data::fill("fdatasync", End::Stopped),
            Killed => Data::fill("fdatasync", End::Killed),
            KilledUnsynced => Data::fill("none", End::Killed),
        };
        assert!(data.checkpoints().len() >= 3 && data.written().len() >= 3, "a run with a history");
        let unused = data.segments().len() - data.written().len();
        assert!(of != Stopped || unused == 0, "an orderly stop leaves a prepared segment to be read");
        (of, data)
    });
    let mut wrong = Vec::new();
    for row in ROWS {
        let data = &of.iter().find(|(of, _)| *of == row.1).unwrap().1;
        if let Err(why) = check(row, &data.copy()) {
            wrong.push(format!("{}: {why}", row.0));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), ROWS.len(), wrong.join("\n"));
}

fn check(&(_, _, damage, does, says): &Row, data: &Data) -> Result<(), String> {
    damage(data);
    let (all, all_but_one) = (data.nodes(0), data.nodes(1));
    let said = match (does, start(&data.path, &[])) {
        (Refuses, Started::Ended { code: Some(1), said }) => said,
        (Refuses, Started::Ended { code, said }) => return Err(format!("code {code:?}: {said}")),
        (Refuses, Started::Serves(server)) => return Err(format!("it serves: {}", server.said())),
        (_, Started::Ended { code, said }) => return Err(format!("it ended with {code:?}: {said}")),
        (does, Started::Serves(server)) => {
            let found = shown(&server, &all);
            let right = match does {
                Serves => found == all,
                ServesAllButOne => found == all_but_one,
                _ => (2..20).any(|lost| found == data.nodes(lost)),
            };
            let (code, said) = server.stop();
            if !right || code != Some(0) {
                return Err(format!("another tree, or code {code:?}: {said}"));
            }
            said
        }
    };
    // Whoever reads it has to know which file it is about, and what to do.
    let place = data.path.display().to_string();
    let always: &[&str] = if matches!(does, Refuses) { &["error: ", &place, "; to go on: "] } else { &[] };
    match says.iter().chain(always).find(|part| !said.contains(**part)) {
        Some(part) => Err(format!("`{part}` is not in: {said}")),
        None if says.is_empty() && said.contains("WARN") => Err(format!("it warns: {said}")),
        None => Ok(()),
    }
}

#[test]
fn a_row_stays_as_it_was_decided_when_the_server_starts_again() {
    let data = Data::fill("fdatasync", End::Killed).copy();
    damage_batch(&data, 0);
    let torn = data.newest_segment().path;
    for _ in 0..2 {
        let server = start(&data.path, &[]).serves();
        assert_eq!(shown(&server, &data.nodes(0)), data.nodes(1));
        assert_eq!(server.stop().0, Some(0));
    }
    // What was cut is still there, and counts for nothing.
    let bytes = fs::read(torn).unwrap();
    assert!(SegmentReader::open(&bytes).is_ok());
}
