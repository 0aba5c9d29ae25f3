//! `ringkeeper log` and `ringkeeper snapshot`, the real binary on files whose every byte is known: what
//! it prints is kept in `tests/testdata/tools`, written anew with `GOLDEN=write`.

#[path = "tools/fixture.rs"]
mod fixture;
#[path = "tools/progress.rs"]
mod progress;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use fixture::{Ran, Sort, command, directory, run, segment_path, segments, segments_of};
use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::log::format::BATCH_HEADER_BYTES;
use ringkeeper_engine::log::{SegmentFile, SegmentSource, Sequence, Verdict, recover};
use ringkeeper_tests::differential::subject;
use ringkeeper_tests::server::{Options, Server};
use ringkeeper_tests::wire::{ConnectRequest, Encoder, Session, op};
use serde_json::Value;

/// Whether the golden files are written rather than compared.
const GOLDEN: &str = "GOLDEN";

fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/tools").join(name);
    if std::env::var_os(GOLDEN).is_some_and(|value| value == "write") {
        fs::write(&path, found).expect("the golden file can be written");
    }
    let expected = fs::read_to_string(&path).expect("the golden file is there");
    assert_eq!(found, expected, "{name}; {GOLDEN}=write keeps what was printed");
}

/// Each line as JSON.
fn values(ran: &Ran) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    ran.out.lines().map(parse).collect()
}

fn of_type<'v>(values: &'v [Value], name: &str) -> Vec<&'v Value> {
    values.iter().filter(|value| value["type"] == name).collect()
}

/// The zxids of the transactions that nothing casts a doubt on.
fn zxids(values: &[Value]) -> Vec<String> {
    let sure = of_type(values, "transaction").into_iter().filter(|value| value.get("suspect").is_none());
    sure.map(|value| value["zxid"].as_str().expect("a zxid is text").to_owned()).collect()
}

/// All files below a directory, with what is in them.
fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    let mut folders = vec![directory.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a directory") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => all.push((path.clone(), fs::read(path).expect("a file"))),
            }
        }
    }
    all.sort();
    all
}

#[test]
fn what_is_printed_is_kept_to_the_letter() {
    let directory = directory();
    let path = directory.path();
    let before = contents(path);
    let print = |name: &str, code: i32, words: &[&str]| {
        let ran = run(path, words);
        assert_eq!((ran.code, ran.err.as_str()), (Some(code), ""), "{words:?}: {}", ran.out);
        golden(name, &ran.out);
    };
    print("log-dump.txt", 0, &["log", "dump", "--data", "own"]);
    print("log-dump.json", 0, &["log", "dump", "--json", "--data", "own"]);
    print("log-dump-zookeeper.txt", 0, &["log", "dump", "zk"]);
    print("log-dump-zookeeper.json", 0, &["log", "dump", "--json", "--data=base64", "zk/version-2/log.1"]);
    print("log-verify.txt", 0, &["log", "verify", "own", "zk"]);
    print("log-verify.json", 0, &["log", "verify", "--json", "own", "zk"]);
    print("log-stats.txt", 0, &["log", "stats", "own"]);
    print("log-stats.json", 0, &["log", "stats", "--json", "zk"]);
    print("snapshot-dump.txt", 0, &["snapshot", "dump", "--data", "own"]);
    print("snapshot-dump.json", 0, &["snapshot", "dump", "--json", "--data", "own"]);
    print("snapshot-dump-zookeeper.txt", 0, &["snapshot", "dump", "zk"]);
    print("snapshot-dump-zookeeper.json", 0, &["snapshot", "dump", "--json", "zk/version-2/snapshot.5"]);
    print("snapshot-verify.txt", 0, &["snapshot", "verify", "own", "zk"]);
    print("snapshot-verify.json", 0, &["snapshot", "verify", "--json", "own", "zk"]);
    print("snapshot-summary.txt", 0, &["snapshot", "summary", "own"]);
    print("snapshot-summary.json", 0, &["snapshot", "summary", "--json", "--depth", "1", "zk"]);
    let old = "zk/version-2/snapshot.5";
    print("snapshot-compare.txt", 1, &["snapshot", "compare", "--data", old, "own"]);
    print("snapshot-compare.json", 1, &["snapshot", "compare", "--json", "--data", old, "own"]);
    print(
        "snapshot-compare-subtrees.txt",
        1,
        &["snapshot", "compare", "--bytes", "1", "--nodes", "9", old, "own"],
    );
    assert!(contents(path) == before, "a tool has changed a file");
    for name in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/tools")).expect("goldens") {
        let name = name.expect("a golden file").path();
        if name.extension().is_some_and(|extension| extension == "json") {
            let text = fs::read_to_string(&name).expect("a golden file");
            values(&Ran { code: None, out: text, err: String::new() });
        }
    }
}

#[test]
fn both_formats_of_one_tree_are_equal() {
    let directory = directory();
    let ran = run(directory.path(), &["snapshot", "compare", "own", "zk"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    let all = ["stat", "acl", "data", "ephemerals"].join(",");
    let words = ["snapshot", "compare", "--ignore", &all, "zk/version-2/snapshot.5", "own"];
    let ran = run(directory.path(), &words);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
}

#[test]
fn filters_take_what_they_say() {
    let directory = directory();
    let dump = |words: &[&str]| -> Vec<u64> {
        let words = [&["log", "dump", "--json"], words, &["own"]].concat();
        let ran = run(directory.path(), &words);
        assert_eq!(ran.code, Some(0), "{words:?}: {}", ran.err);
        let number = |text: &String| u64::from_str_radix(&text[2..], 16).expect("hexadecimal");
        zxids(&values(&ran)).iter().map(number).collect()
    };
    assert_eq!(dump(&["--from", "0x3", "--to", "5"]), [3, 4, 5]);
    assert_eq!(dump(&["--path", "/config/"]), [2, 3, 6, 7, 8, 10, 11]);
    assert_eq!(dump(&["--path", "/config/lock"]), [8, 11]);
    assert_eq!(dump(&["--path", "/conf"]), [0; 0]);
    assert_eq!(dump(&["--op", "setdata,check"]), [6, 8]);
    assert_eq!(dump(&["--op", "error"]), [9]);
    assert_eq!(dump(&["--session", "0x100000000000001", "--op", "delete"]), [10]);
    assert_eq!(dump(&["--session", "1"]), [0; 0]);
    let nodes = |words: &[&str]| -> Vec<String> {
        let words = [&["snapshot", "dump", "--json"], words, &["own"]].concat();
        let ran = run(directory.path(), &words);
        let text = |value: &&Value| value["path"].as_str().expect("a path").to_owned();
        of_type(&values(&ran), "node").iter().map(text).collect()
    };
    assert_eq!(nodes(&["--path", "/config"]), ["/config", "/config/binary", "/config/lock"]);
    assert_eq!(nodes(&["--session", "0x100000000000001"]), ["/config/lock"]);
    assert_eq!(nodes(&["--from", "6"]), ["/config", "/config/lock"]);
    assert_eq!(nodes(&["--to", "3"]), ["/config/binary"]);
}

/// The segments as recovery reads them.
struct Memory(Vec<Vec<u8>>);

impl SegmentSource for Memory {
    type Error = std::convert::Infallible;

    fn segments(&self) -> Vec<SegmentFile> {
        let numbered = self.0.iter().zip(1..);
        numbered
            .map(|(file, number)| SegmentFile { sequence: Sequence(number), bytes: file.len() as u64 })
            .collect()
    }

    fn read_at(&mut self, sequence: Sequence, offset: u64, into: &mut [u8]) -> Result<(), Self::Error> {
        let file = &self.0[sequence.0 as usize - 1];
        into.copy_from_slice(&file[offset as usize..][..into.len()]);
        Ok(())
    }
}

/// Flips a bit at each kind of place, or cuts the file there; what the tool says is what a start would.
#[test]
fn a_log_is_called_damaged_where_recovery_refuses_it() {
    let capacity = fixture::FILE_BYTES as u64;
    let synced = damage_everywhere(Sort { unsynced: false, capacity });
    assert!(synced > 60, "{synced}");
    // A hole is no damage there.
    let unsynced = damage_everywhere(Sort { unsynced: true, capacity });
    assert!((20..synced).contains(&unsynced), "{unsynced} of {synced}");
}

/// How often the log was damaged and is called so.
fn damage_everywhere(sort: Sort) -> i32 {
    let segments = segments_of(sort);
    let files = segments.each_ref().map(|segment| segment.file());
    let mut places: Vec<(usize, usize)> = Vec::new();
    for (number, segment) in segments.iter().enumerate() {
        places.extend([0, 5, 9, 17, 40, 2000, 4093].map(|at| (number, at)));
        for batch in &segment.batches {
            let within = [0, 5, 9, 13, 17, 25, 33, 50, BATCH_HEADER_BYTES + 2, BATCH_HEADER_BYTES + 30, 510];
            places.extend(within.map(|at| (number, batch + at)));
        }
        places.push((number, segment.bytes.len() + 700));
    }
    let directory = directory();
    fs::remove_file(segment_path(directory.path(), 3)).expect("it is there");
    // It would know of what is lost; that is another test's.
    fs::remove_file(directory.path().join("own/mark")).expect("it is there");
    let mut damaged_places = 0;
    let flips = places.into_iter().map(|place| (place, false));
    let cuts = [(0, fixture::FILE_BYTES - 512), (1, fixture::FILE_BYTES - 1)].map(|place| (place, true));
    for ((number, at), cut) in flips.chain(cuts) {
        let mut damaged = files.clone();
        match cut {
            true => damaged[number].truncate(at),
            false => damaged[number][at] ^= 0x20,
        }
        for (file, sequence) in damaged.iter().zip(1..) {
            fs::write(segment_path(directory.path(), sequence), file).expect("it can be written");
        }
        let mut memory = Memory(damaged.to_vec());
        let decode = |_: Zxid, _: &[u8]| Ok(());
        let Ok(recovery) = recover(&mut memory, fixture::DATABASE, Zxid::ZERO, decode);
        let ran = run(directory.path(), &["log", "verify", "--json", "own"]);
        let expected = i32::from(!recovery.verdict.is_sound());
        let context = || format!("segment {}, byte {at}: {}\n{}", number + 1, recovery.verdict, ran.out);
        assert_eq!(ran.code, Some(expected), "{}", context());
        let all = values(&ran);
        let found = of_type(&all, "damage");
        assert_eq!(found.is_empty(), expected == 0, "{}", context());
        damaged_places += expected;
        if expected == 1 {
            // What is named is the sector or batch that was changed, or what hangs on it.
            let named = |damage: &&Value| damage["offset"].as_u64().expect("an offset") <= at as u64;
            assert!(found.iter().any(named), "{}", context());
        }
        let is_hole = matches!(recovery.verdict, Verdict::Hole { .. });
        let holes = of_type(&all, "file").into_iter().filter(|file| file["state"] == "hole").count();
        assert_eq!(holes, usize::from(is_hole), "{}", context());
    }
    damaged_places
}

#[test]
fn a_record_is_shown_with_both_copies_and_the_log_must_reach_its_mark() {
    let directory = directory();
    let own = |name: &str| directory.path().join("own").join(name);
    let verify = || {
        let ran = run(directory.path(), &["log", "verify", "own"]);
        (ran.code, ran.out)
    };
    for (name, second) in [("mark", false), ("epochs", true), ("database", true)] {
        let whole = fs::read(own(name)).expect("it is there");
        let offset = if second { fixture::SECOND_COPY_AT } else { 0 };
        let mut damaged = whole.clone();
        damaged[offset + 13] ^= 1;
        fs::write(own(name), &damaged).expect("it can be written");
        let (code, out) = verify();
        let said = format!("own/{name}: damaged at offset {offset}: this copy of the record");
        assert!(code == Some(1) && out.contains(&said) && out.contains("one copy is whole"), "{out}");
        fs::write(own(name), &whole[..20]).expect("it can be written");
        let (code, out) = verify();
        assert!(code == Some(1) && out.contains("damaged at offset 4096"), "{out}");
        fs::write(own(name), whole).expect("it can be written");
    }
    let marks = [fixture::twin(&11u64.to_le_bytes()), fixture::twin(&12u64.to_le_bytes())];
    fs::write(own("mark"), [&marks[0][..4096], &marks[1][4096..]].concat()).expect("it can be written");
    let (code, out) = verify();
    assert!(code == Some(1) && out.contains("whole and contradict each other"), "{out}");
    fs::write(own("mark"), &marks[1]).expect("it can be written");
    let (code, out) = verify();
    let said = "the log ends at 0xb and was durable up to 0xc: transactions are lost";
    assert!(code == Some(1) && out.contains(said), "{out}");
    // A hole is no damage by itself; one before the mark is.
    let [first, second] = segments_of(Sort { unsynced: true, capacity: 0 });
    let mut holed = first.file();
    holed[first.batches[2] + 2] ^= 1;
    fs::write(segment_path(directory.path(), 1), holed).expect("it can be written");
    fs::write(segment_path(directory.path(), 2), second.file()).expect("it can be written");
    for (mark, code) in [(4u64, 0), (5, 1)] {
        // The log reaches up to 4; that a checkpoint reaches up to 8 helps nobody who needs what came after.
        fs::write(own("mark"), fixture::twin(&mark.to_le_bytes())).expect("it can be written");
        assert_eq!(verify().0, Some(code), "{}", verify().1);
    }
}

#[test]
fn reading_goes_on_behind_damage() {
    let [first, _] = segments();
    let dump = |damage: &dyn Fn(&mut Vec<u8>)| {
        let directory = directory();
        let mut file = first.file();
        damage(&mut file);
        fs::write(segment_path(directory.path(), 1), file).expect("it can be written");
        let ran = run(directory.path(), &["log", "dump", "--json", "own"]);
        assert_eq!((ran.code, ran.err.is_empty()), (Some(1), false), "{}", ran.out);
        values(&ran)
    };
    let all = |without: &[u64]| -> Vec<String> {
        (1..=11).filter(|zxid| !without.contains(zxid)).map(|zxid| format!("0x{zxid:x}")).collect()
    };
    let second = first.batches[1];
    let header_of_second = dump(&|file| file[second] ^= 1);
    assert_eq!(zxids(&header_of_second), all(&[2, 3, 4]));
    assert_eq!(of_type(&header_of_second, "damage")[0]["offset"], second as u64);
    let entries_of_second = dump(&|file| file[second + BATCH_HEADER_BYTES + 60] ^= 1);
    assert_eq!(zxids(&entries_of_second), all(&[2, 3, 4]));
    let suspects = of_type(&entries_of_second, "transaction");
    let suspects: Vec<_> = suspects.iter().filter(|value| value["suspect"] == "checksum").collect();
    assert_eq!(suspects.len(), 3, "what it still says is shown");
    assert_eq!(zxids(&dump(&|file| file[30] ^= 1)), all(&[]), "batches do not need their segment's header");
    assert_eq!(zxids(&dump(&|file| file.truncate(second + 100))), all(&[2, 3, 4, 5, 6]));
    assert_eq!(zxids(&dump(&|file| file[..].fill(0))), all(&[1, 2, 3, 4, 5, 6]));
}

#[test]
fn a_missing_or_foreign_segment_is_named() {
    let history = fixture::history();
    let first = fixture::Segment::new(1, None).batch(&history[..3]);
    let second = fixture::Segment::new(2, Some(&first)).batch(&history[3..6]);
    let third = fixture::Segment::new(3, Some(&second)).batch(&history[6..]);
    let directory = directory();
    let log = |sequence| segment_path(directory.path(), sequence);
    for (sequence, segment) in (1..).zip([&first, &second, &third]) {
        fs::write(log(sequence), segment.file()).expect("it can be written");
    }
    let verify = || run(directory.path(), &["log", "verify", "own"]);
    assert_eq!(verify().code, Some(0), "{}", verify().out);
    fs::remove_file(log(1)).expect("it is there");
    assert_eq!(verify().code, Some(0), "retention removes the oldest");
    fs::write(log(1), first.file()).expect("it can be written");
    fs::remove_file(log(2)).expect("it is there");
    let ran = verify();
    assert_eq!(ran.code, Some(1));
    assert!(ran.out.contains("segment 2, which it follows, is missing"), "{}", ran.out);
    fs::copy(log(1), log(2)).expect("it can be written");
    assert_eq!(verify().code, Some(1), "a copy of another segment is none");
    fs::rename(log(3), log(1)).expect("it can be renamed");
    assert!(verify().out.contains("the file holds segment 3"), "{}", verify().out);
}

/// The last batch as a crash, or a write that is under way, leaves it.
fn torn(directory: &Path) {
    let [_, second] = segments();
    let mut file = second.file();
    let last = second.batches[2];
    file[last + BATCH_HEADER_BYTES + 4..last + 512].fill(0);
    fs::write(segment_path(directory, 2), file).expect("it can be written");
}

#[test]
fn an_incomplete_last_write_is_not_called_damage() {
    let directory = directory();
    torn(directory.path());
    fs::remove_file(directory.path().join("own/mark")).expect("it is there");
    let verify = || run(directory.path(), &["log", "verify", "own"]);
    let ran = verify();
    assert_eq!(ran.code, Some(0), "{}", ran.out);
    assert!(ran.out.contains("the last write did not complete"), "{}", ran.out);
    let lock = File::create(directory.path().join("own/LOCK")).expect("a new file");
    lock.try_lock().expect("nobody holds it");
    let ran = verify();
    assert_eq!(ran.code, Some(0), "{}", ran.out);
    assert!(ran.out.contains("the next batch is being written"), "{}", ran.out);
    let log = directory.path().join("zk/version-2/log.1");
    let mut bytes = fixture::zookeeper_log();
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("it is not empty");
    bytes[end - 10..=end].fill(0);
    fs::write(&log, bytes).expect("it can be written");
    let ran = run(directory.path(), &["log", "verify", "zk"]);
    assert_eq!(ran.code, Some(0), "{}", ran.out);
    assert!(ran.out.contains("the last write did not complete"), "{}", ran.out);
}

#[test]
fn zookeepers_damaged_log_is_read_on() {
    let directory = directory();
    let path = directory.path().join("zk/version-2/log.1");
    let whole = fixture::zookeeper_log();
    let dump = |damage: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        fs::write(&path, bytes).expect("it can be written");
        let ran = run(directory.path(), &["log", "dump", "--json", "zk"]);
        assert_eq!(ran.code, Some(1), "{}", ran.out);
        values(&ran)
    };
    // The first record: 12 bytes, 36 of a createSession, its end. The second begins at 65.
    let found = dump(&|bytes| bytes[65 + 50] ^= 1);
    assert_eq!(zxids(&found).len(), 10);
    assert_eq!(of_type(&found, "damage")[0]["offset"], 65);
    let found = dump(&|bytes| bytes[65 + 9] = 0x7f);
    assert_eq!(zxids(&found).len(), 10, "the record behind a wrong length is found");
    assert_eq!(zxids(&dump(&|bytes| bytes[2] ^= 1)).len(), 11, "records do not need the header");
}

#[test]
fn a_damaged_snapshot_is_named_and_read_as_far_as_it_goes() {
    let directory = directory();
    let path = directory.path().join("own/snap/0000000000000008.rksnap");
    let whole = fixture::checkpoint(8);
    let length = whole.len();
    for at in (0..length).step_by(7).chain(length - 70..length) {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        fs::write(&path, bytes).expect("it can be written");
        let ran = run(directory.path(), &["snapshot", "dump", "--json", "own"]);
        assert_eq!(ran.code, Some(1), "byte {at}: {}", ran.out);
        let all = values(&ran);
        assert!(!of_type(&all, "damage").is_empty(), "byte {at}");
        let ran = run(directory.path(), &["snapshot", "verify", "own"]);
        assert_eq!(ran.code, Some(1), "byte {at}: {}", ran.out);
    }
    fs::write(&path, &whole[..length - 30]).expect("it can be written");
    let ran = run(directory.path(), &["snapshot", "dump", "--json", "own"]);
    assert_eq!((ran.code, of_type(&values(&ran), "node").len()), (Some(1), 6), "{}", ran.out);
    let ran = run(directory.path(), &["snapshot", "compare", "own", "zk"]);
    assert_eq!(ran.code, Some(2), "{}", ran.out);
    let path = directory.path().join("zk/version-2/snapshot.8.gz");
    let packed = fs::read(&path).expect("it is there");
    fs::write(&path, &packed[..packed.len() - 9]).expect("it can be written");
    let ran = run(directory.path(), &["snapshot", "dump", "--json", "zk"]);
    assert_eq!(ran.code, Some(1), "{}", ran.out);
    assert!(!of_type(&values(&ran), "damage").is_empty());
}

#[test]
fn zookeepers_damaged_log_is_called_so_with_its_place() {
    let directory = directory();
    let path = directory.path().join("zk/version-2/log.1");
    let whole = fixture::zookeeper_log();
    let end = whole.iter().rposition(|byte| *byte != 0).expect("it is not empty");
    // Behind the file's header, up to the last record, which a crash may have torn.
    let last = end - 60;
    for at in (16..last).step_by(11) {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        fs::write(&path, bytes).expect("it can be written");
        let ran = run(directory.path(), &["log", "verify", "--json", "zk"]);
        assert_eq!(ran.code, Some(1), "byte {at}: {}", ran.out);
        let all = values(&ran);
        let damage = of_type(&all, "damage");
        let named = |damage: &&Value| damage["offset"].as_u64().is_some_and(|offset| offset <= at as u64);
        assert!(damage.iter().any(named), "byte {at}: {}", ran.out);
        let total = of_type(&all, "total")[0];
        assert_eq!(total["damaged"], damage.len() as u64, "byte {at}");
        // At most what was hit, and what a wrong length hides, is missing.
        assert!(total["transactions"].as_u64().is_some_and(|count| (8..=10).contains(&count)), "{total}");
    }
}

#[test]
fn statistics_of_a_damaged_log_are_of_what_is_whole_and_say_what_is_not() {
    let directory = directory();
    let [first, _] = segments();
    let mut own = first.file();
    own[first.batches[1] + BATCH_HEADER_BYTES + 60] ^= 1;
    fs::write(segment_path(directory.path(), 1), own).expect("it can be written");
    let mut theirs = fixture::zookeeper_log();
    theirs[65 + 50] ^= 1;
    fs::write(directory.path().join("zk/version-2/log.1"), theirs).expect("it can be written");
    for (place, whole, file) in [("own", 8, "000000000001.rklog: "), ("zk", 10, "log.1: ")] {
        let ran = run(directory.path(), &["log", "stats", "--json", place]);
        assert_eq!(ran.code, Some(1), "{}", ran.out);
        let all = values(&ran);
        let stats = of_type(&all, "stats")[0];
        assert_eq!((&stats["transactions"], &stats["damaged"]), (&whole.into(), &1.into()), "{stats}");
        assert!(ran.err.contains("error: ") && ran.err.contains(file), "{}", ran.err);
        let ran = run(directory.path(), &["log", "stats", place]);
        assert_eq!(ran.code, Some(1), "{}", ran.out);
        assert!(ran.out.contains("damaged places     1"), "{}", ran.out);
    }
}

/// Nothing but the seal at its end vouches for what a plain snapshot holds, and it does for every byte.
#[test]
fn every_damaged_byte_of_zookeepers_plain_snapshot_is_noticed() {
    let directory = directory();
    fs::remove_file(directory.path().join("zk/version-2/snapshot.8.gz")).expect("it is there");
    let path = directory.path().join("zk/version-2/snapshot.5");
    let whole = fs::read(&path).expect("it is there");
    let flips = (0..whole.len()).step_by(13).map(|at| (at, false));
    let cuts = [30, whole.len() / 2, whole.len() - 3].map(|at| (at, true));
    for (at, cut) in flips.chain(cuts) {
        let mut bytes = whole.clone();
        match cut {
            true => bytes.truncate(at),
            false => bytes[at] ^= 4,
        }
        fs::write(&path, bytes).expect("it can be written");
        for words in [["snapshot", "verify"], ["snapshot", "dump"], ["snapshot", "summary"]] {
            let ran = run(directory.path(), &[&words[..], &["--json", "zk/version-2/snapshot.5"]].concat());
            assert_eq!(ran.code, Some(1), "{words:?} byte {at}: {}{}", ran.out, ran.err);
            let said = ran.out.clone() + &ran.err;
            assert!(said.contains("snapshot.5") && said.contains("damage"), "{words:?} byte {at}: {said}");
        }
    }
    let own = directory.path().join("own/snap/0000000000000008.rksnap");
    let mut bytes = fixture::checkpoint(8);
    bytes[100] ^= 4;
    fs::write(own, bytes).expect("it can be written");
    let ran = run(directory.path(), &["snapshot", "summary", "own"]);
    assert!(ran.code == Some(1) && ran.out.contains("damaged places 1"), "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("0000000000000008.rksnap: damaged at offset"), "{}", ran.err);
}

#[test]
fn what_cannot_be_done_is_said_and_the_rest_is_done() {
    let directory = directory();
    let path = directory.path();
    fs::create_dir(path.join("empty")).expect("a new directory");
    for words in [
        &["log", "dump", "empty"][..],
        &["snapshot", "dump", "empty"],
        &["snapshot", "summary", "absent"],
        &["snapshot", "compare", "own", "absent"],
        &["log", "dump", "/dev/zero"],
        &["log", "dump"],
        &["log", "dump", "--from", "x", "own"],
        &["log", "dump", "--op", "getData", "own"],
        &["snapshot", "dump", "--path", "relative", "own"],
    ] {
        let ran = run(path, words);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{words:?}");
        assert!(ran.err.starts_with("error: "), "{words:?}: {}", ran.err);
    }
    let ran = run(path, &["log", "verify", "absent", "own"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.out.contains("11 transactions") && ran.err.contains("absent"), "{}{}", ran.out, ran.err);
}

#[test]
fn what_is_imported_or_exported_has_to_be_there() {
    let directory = directory();
    for (words, why) in [
        (&["import", "absent"][..], "error: reading absent: No such file or directory"),
        (&["import", "zk/version-2/snapshot.8.gz"], "snapshot.8.gz is no directory"),
        (&["import", "own"], "own has no version-2 with a snapshot or a log of ZooKeeper\n"),
        (&["import", "zk/version-2"], "ZooKeeper; name the directory that it is in, its dataDir\n"),
        (&["export", "absent"], "error: reading absent: No such file or directory"),
        (&["export", "zk"], "zk has no database\n"),
    ] {
        let ran = run(directory.path(), &[words, &["--to", "made"]].concat());
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{words:?}");
        assert!(ran.err.contains(why), "{words:?}: {}", ran.err);
        assert!(!directory.path().join("made").exists(), "{words:?}");
    }
}

#[test]
fn an_export_says_what_recovery_passed_over() {
    let directory = directory();
    let whole = run(directory.path(), &["export", "own", "--to", "whole"]);
    assert!(whole.code == Some(0) && !whole.err.contains("damaged"), "{}", whole.err);
    let newest = directory.path().join("own/snap/0000000000000008.rksnap");
    let mut bytes = fs::read(&newest).expect("it is there");
    bytes[100] ^= 1;
    fs::write(&newest, bytes).expect("it can be written");
    let ran = run(directory.path(), &["export", "own", "--to", "again"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("0000000000000008.rksnap is damaged, the one before it serves"), "{}", ran.err);
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let directory = directory();
    let log = directory.path().join("zk/version-2/log.1");
    let mut bytes = fixture::zookeeper_log();
    bytes.truncate(16);
    for zxid in 1..20_000 {
        let body = |out: &mut Encoder| _ = out.string("/a-path-that-fills-the-pipe");
        let transaction = fixture::transaction(zxid, op::DELETE, &body);
        ringkeeper_engine::zookeeper::log::write_record(&transaction, &mut bytes);
    }
    fs::write(log, bytes).expect("it can be written");
    let mut child = command(directory.path(), &["log", "dump", "zk"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut first = [0; 100];
    child.stdout.take().expect("a pipe").read_exact(&mut first).expect("some output");
    let ran = child.wait_with_output().expect("it ends");
    assert_eq!(
        (ran.status.code(), ran.stderr.len()),
        (Some(0), 0),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

#[test]
fn a_running_servers_log_is_never_called_damaged() {
    let config = ["log.segmentBytes=1048576", "snapCount=200"].map(str::to_owned).to_vec();
    let server = Server::start(subject(), Options { config, ..Options::default() });
    let mut server = server.unwrap_or_else(|error| panic!("{error}"));
    let request = ConnectRequest::new_session(30_000);
    let mut session = Session::connect(server.address(), &request).expect("a session");
    let mut body = Encoder::default();
    body.string("/a").buffer(Some(&[7; 3000])).open_acl().int(0);
    session.request(op::CREATE, &body.bytes).expect("a reply");
    let mut body = Encoder::default();
    body.string("/a").buffer(Some(&[8; 3000])).int(-1);
    let last = |all: &[Value]| -> u64 {
        let files = of_type(all, "file");
        let zxids = files.iter().filter_map(|file| file["lastZxid"].as_str());
        zxids.map(|zxid| u64::from_str_radix(&zxid[2..], 16).expect("hexadecimal")).max().unwrap_or(0)
    };
    let mut seen = 0;
    for _ in 0..8 {
        for _ in 0..100 {
            session.post(op::SET_DATA, &body.bytes).expect("it is sent");
        }
        // The writes are under way while these read.
        for words in [["log", "verify", "--json", "data"], ["snapshot", "verify", "--json", "data"]] {
            let home = server.data_dir.parent().expect("a home");
            let ran = run(home, &words);
            // There may be no snapshot yet.
            let none = words[0] == "snapshot" && ran.err.contains("no snapshot");
            assert!(ran.code == Some(0) || none, "{}{}", ran.out, ran.err);
            if words[0] == "log" {
                let now = last(&values(&ran));
                assert!(now >= seen, "transactions went away: {seen}, then {now}");
                seen = now;
            }
        }
        for _ in 0..100 {
            session.reply().expect("a reply");
        }
    }
    server.stop().expect("it stops");
    let ran = run(server.data_dir.parent().expect("a home"), &["log", "verify", "--json", "data"]);
    assert!(last(&values(&ran)) >= 802, "{}", ran.out);
    server.restart().expect("no tool has changed what it needs");
}

#[test]
fn every_command_has_an_example() {
    let here = Path::new(".");
    for words in [
        &["log"][..],
        &["log", "dump"],
        &["log", "verify"],
        &["log", "stats"],
        &["snapshot"],
        &["snapshot", "dump"],
        &["snapshot", "verify"],
        &["snapshot", "summary"],
        &["snapshot", "compare"],
    ] {
        let ran = run(here, &[words, &["--help"]].concat());
        let example = format!("  ringkeeper {}", words.join(" "));
        assert!(ran.code == Some(0) && ran.out.contains(&example), "{words:?}: {}", ran.out);
    }
}
