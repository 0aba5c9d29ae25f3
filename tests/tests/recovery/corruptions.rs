//! A thousand targeted damages to the files of a real run, each handled as the table says: the server goes on
//! with everything that was acknowledged, or it refuses and names what is damaged. None loses a transaction in
//! silence. What must happen follows from which bytes were changed, and is decided here without recovery's help.
//!
//! Half as many more strike the files of a server that was killed, as it left them: the end of its log may be
//! newer than its mark, and whole files are lost too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ringkeeper_engine::id::{Epoch, Zxid};
use ringkeeper_engine::log::format::{BATCH_HEADER_BYTES, BatchHeader};
use ringkeeper_engine::log::{SyncMode, Verdict};
use ringkeeper_engine::snap::{Checkpoint, Record};
use ringkeeper_net::disk::{DataDirectory, DiskError, Epochs, Recovered, Restore, SegmentFiles};

use crate::data::{Data, End, SEGMENT_HEADER, Segment};

const CASES: usize = 1000;
const CASES_KILLED: usize = 400;
const CASES_LOST: usize = 100;
const SEED: u64 = 0x5eed;

/// What recovery read: a checkpoint, record by record, and the transactions behind it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Restored {
    records: Vec<String>,
    transactions: BTreeMap<u64, Vec<u8>>,
}

impl Restore for Restored {
    fn checkpoint(&mut self, checkpoint: &Checkpoint<'_>) -> Result<(), String> {
        *self = Restored::default();
        let records = &mut self.records;
        let visit = |record: Record<'_>| {
            records.push(match record {
                Record::Node(node) => format!("{node:?} {:?}", checkpoint.acl(node.acl)),
                Record::Session(session) => format!("{session:?}"),
            });
        };
        checkpoint.visit(visit).map_err(|fault| fault.to_string())
    }

    fn transaction(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<(), String> {
        self.transactions.insert(zxid.0, bytes.to_vec());
        Ok(())
    }
}

fn recover(path: &Path) -> Result<(Restored, Recovered), DiskError> {
    let directory = DataDirectory::open(path, path)?;
    let mut files = SegmentFiles::new(&directory, SyncMode::Fdatasync);
    let mut restored = Restored::default();
    let recovered = directory.recover(&mut files, &mut restored)?;
    Ok((restored, recovered))
}

/// What an undamaged directory holds.
struct Truth {
    /// Of each checkpoint, by the zxid in its name.
    checkpoints: BTreeMap<u64, Vec<String>>,
    transactions: BTreeMap<u64, Vec<u8>>,
    last: Zxid,
}

impl Truth {
    fn of(data: &Data) -> Truth {
        let mut truth =
            Truth { checkpoints: BTreeMap::new(), transactions: BTreeMap::new(), last: Zxid::ZERO };
        let copy = data.copy();
        loop {
            let (restored, recovered) = recover(&copy.path).expect("an undamaged directory");
            assert_eq!(recovered.log, Verdict::Clean);
            let checkpoint = recovered.checkpoint.expect("a checkpoint");
            truth.last = recovered.tail.zxid();
            truth.checkpoints.insert(checkpoint.first_zxid.0, restored.records);
            truth.transactions.extend(restored.transactions);
            fs::remove_file(&checkpoint.path).expect("a checkpoint");
            if copy.checkpoints().is_empty() {
                return truth;
            }
        }
    }

    /// Whether everything that was acknowledged is in what was restored.
    fn is_in(&self, restored: &Restored, recovered: &Recovered) -> bool {
        let Some(first) = recovered.checkpoint.as_ref().map(|name| name.first_zxid.0) else { return false };
        recovered.tail.zxid() == self.last
            && self.checkpoints.get(&first) == Some(&restored.records)
            && self.transactions.range(first + 1..).eq(&restored.transactions)
    }

    /// The same as it was before the last transactions came, of which no mark knows.
    fn beginning_is_in(&self, restored: &Restored, recovered: &Recovered, mark: Zxid) -> bool {
        let last = recovered.tail.zxid();
        let transactions = self.transactions.range(..=last.0).map(|(zxid, bytes)| (*zxid, bytes.clone()));
        let truth =
            Truth { checkpoints: self.checkpoints.clone(), transactions: transactions.collect(), last };
        (mark..=self.last).contains(&last) && truth.is_in(restored, recovered)
    }
}

/// What a damaged byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// Nothing that recovery reads, or padding.
    Unneeded,
    /// The header, or a batch with transactions, of a segment that is needed.
    Log,
    /// The batch without transactions that ends the log: what it says, the mark beside the log says too.
    LogMark,
    /// The last batch, where no mark knows of it: what strikes it cannot be told from a crash.
    LastBatch,
    /// The checkpoint that would serve.
    Checkpoint,
    /// One of a record's two copies.
    Copy(u8),
}

/// A piece of a file that damage is aimed at.
#[derive(Clone, Debug)]
struct Target {
    path: PathBuf,
    range: Range<usize>,
    part: Part,
}

/// `mark`: what the directory's mark says.
fn targets(data: &Data, mark: Zxid) -> Vec<Target> {
    let mut targets = Vec::new();
    let checkpoints = data.checkpoints();
    let serving = checkpoints.last().expect("a checkpoint");
    for path in &checkpoints {
        let part = if path == serving { Part::Checkpoint } else { Part::Unneeded };
        targets.extend(checkpoint_targets(path, part));
    }
    let first = u64::from_str_radix(serving.file_stem().unwrap().to_str().unwrap(), 16).expect("its zxid");
    let segments = data.written();
    // Up to the newest segment that begins at or before what is needed.
    let oldest = segments.iter().rposition(|segment| segment.header.previous_zxid.0 <= first);
    let oldest = oldest.expect("the log reaches back to the checkpoint");
    for (number, segment) in segments.iter().enumerate() {
        let newest = number + 1 == segments.len();
        targets.extend(segment_targets(segment, number >= oldest, newest.then_some(mark)));
    }
    for record in ["database", "mark", "epochs"] {
        let length = fs::metadata(data.file(record)).expect("a record").len() as usize;
        let bytes = length - 4096;
        for copy in [0, 1] {
            let range = usize::from(copy) * 4096..usize::from(copy) * 4096 + bytes;
            targets.push(Target { path: data.file(record), range, part: Part::Copy(copy) });
        }
    }
    let written: BTreeSet<_> = segments.iter().map(|segment| segment.path.clone()).collect();
    let prepared = data.segments().into_iter().filter(|path| !written.contains(path));
    targets.extend(prepared.map(|path| Target { path, range: 0..SEGMENT_HEADER, part: Part::Unneeded }));
    targets
}

fn checkpoint_targets(path: &Path, part: Part) -> Vec<Target> {
    let bytes = fs::read(path).expect("a checkpoint");
    let length = bytes.len();
    let index = u64::from_le_bytes(bytes[length - 56..length - 48].try_into().unwrap()) as usize;
    let mut ends = vec![0, 32];
    let mut offset = 32;
    while offset < index {
        let records = u32::from_le_bytes(bytes[offset + 4..offset + 8].try_into().unwrap()) as usize;
        ends.extend([offset + 24, offset + 24 + records]);
        offset += 24 + records;
    }
    ends.extend([length - 64, length]);
    let pieces = ends.windows(2).filter(|pair| pair[0] < pair[1]);
    pieces.map(|pair| Target { path: path.into(), range: pair[0]..pair[1], part }).collect()
}

/// `mark`: what the mark says, for the newest segment.
fn segment_targets(segment: &Segment, needed: bool, mark: Option<Zxid>) -> Vec<Target> {
    let bytes = fs::read(&segment.path).expect("a segment");
    let path = &segment.path;
    let of = |part| if needed { part } else { Part::Unneeded };
    let target = |range, part| Target { path: path.clone(), range, part: of(part) };
    let mut targets = vec![target(0..SEGMENT_HEADER, Part::Log)];
    for pair in segment.offsets.windows(2) {
        let used = u32::from_le_bytes(bytes[pair[0] + 8..pair[0] + 12].try_into().unwrap()) as usize;
        let last_zxid =
            BatchHeader::decode(segment.header.database, &bytes[pair[0]..]).expect("it is whole").0.last_zxid;
        let is_last = pair[1] == *segment.offsets.last().unwrap();
        let part = match mark {
            Some(_) if used == BATCH_HEADER_BYTES => Part::LogMark,
            Some(mark) if is_last && last_zxid > mark => Part::LastBatch,
            _ => Part::Log,
        };
        targets.push(target(pair[0]..pair[0] + used, part));
        targets.push(target(pair[0] + used..pair[1], Part::Unneeded));
    }
    targets.push(target(*segment.offsets.last().unwrap()..bytes.len(), Part::Unneeded));
    targets.retain(|target| !target.range.is_empty());
    targets
}

/// A way to damage a file at a target.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip,
    ZeroSector,
    ZeroPage,
    Noise,
    Truncate,
    /// Another batch's or block's first sector, put here.
    Misdirect,
    /// This sector and another one, exchanged.
    Swap,
}

const DAMAGES: [Damage; 7] = [
    Damage::Flip,
    Damage::ZeroSector,
    Damage::ZeroPage,
    Damage::Noise,
    Damage::Truncate,
    Damage::Misdirect,
    Damage::Swap,
];

/// The file with the damage.
fn damaged(
    bytes: &[u8],
    target: &Target,
    other: &Target,
    damage: Damage,
    random: &mut fastrand::Rng,
) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let at = random.usize(target.range.clone());
    let block = |size: usize| at / size * size..(at / size * size + size).min(bytes.len());
    let from = other.range.start / 512 * 512;
    let length = 512.min(bytes.len() - from).min(bytes.len() - target.range.start / 512 * 512);
    let to = target.range.start / 512 * 512;
    match damage {
        Damage::Flip => out[at] ^= 1 << random.u8(0..8),
        Damage::ZeroSector => out[block(512)].fill(0),
        Damage::ZeroPage => out[block(4096)].fill(0),
        Damage::Noise => out[block(512)].iter_mut().for_each(|byte| *byte = random.u8(..)),
        Damage::Truncate => out.truncate(at),
        Damage::Misdirect => out.copy_within(from..from + length, to),
        Damage::Swap => {
            out[to..to + length].copy_from_slice(&bytes[from..from + length]);
            out[from..from + length].copy_from_slice(&bytes[to..to + length]);
        }
    }
    out
}

/// What the changed bytes belong to.
fn parts(all: &[Target], path: &Path, before: &[u8], after: &[u8]) -> BTreeSet<Part> {
    let own = all.iter().filter(|target| target.path == path);
    let hit = own.filter(|target| target.range.clone().any(|at| before.get(at) != after.get(at)));
    hit.map(|target| target.part).collect()
}

/// What was done about a damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Handled {
    /// It touched nothing that counts.
    Unharmed,
    /// It took the log's closing mark, and the log was cut behind the last transaction.
    MarkCut,
    /// The checkpoint before served, and the damaged one was named.
    OlderCheckpoint,
    /// The record was written anew from its other copy.
    Mended,
    /// Refused, and what is damaged was named.
    Refused,
    /// The log was cut before its last batch, of which no mark knew, as after a crash; that was said, unless
    /// nothing of the batch was left to be seen.
    Cut,
}

/// Recovers, and says what was done, or what is wrong with that.
fn handle(
    data: &Data,
    truth: &Truth,
    path: &Path,
    before: &[u8],
    parts: &BTreeSet<Part>,
    shortened: bool,
    mark: Zxid,
) -> Result<Handled, String> {
    let recovered = recover(&data.path);
    let stem = path.file_stem().unwrap().to_str().unwrap();
    let (restored, recovered) = match recovered {
        Ok(found) => found,
        Err(DiskError::Refused(refusal)) => {
            let said = refusal.to_string();
            let segment = stem.parse::<u64>().map(|number| format!("segment {number}"));
            let named = said.contains(stem) || segment.is_ok_and(|segment| said.contains(&segment));
            let both_copies = parts.contains(&Part::Copy(0)) && parts.contains(&Part::Copy(1));
            let of_log = parts.contains(&Part::Log) || parts.contains(&Part::LastBatch);
            let entitled = of_log || both_copies || shortened;
            return match (named || said.contains("/mark knows"), entitled) {
                (true, true) => Ok(Handled::Refused),
                (false, _) => Err(format!("refused without its name: {said}")),
                (_, false) => Err(format!("refused without need: {said}")),
            };
        }
        Err(error) => return Err(format!("another error: {error}")),
    };
    if parts.contains(&Part::LastBatch)
        && matches!(recovered.log, Verdict::TornTail { .. } | Verdict::Clean)
        && truth.beginning_is_in(&restored, &recovered, mark)
    {
        return Ok(Handled::Cut);
    }
    if !truth.is_in(&restored, &recovered) {
        return Err(format!(
            "LOST: {:?}, log up to {}, {}",
            recovered.checkpoint,
            recovered.tail.zxid(),
            recovered.log
        ));
    }
    let named = recovered.damaged.iter().any(|(name, _)| name.path == path);
    match parts.iter().max().unwrap_or(&Part::Unneeded) {
        // A prepared segment that is not empty looks begun: its torn beginning is cut, which costs nothing.
        Part::Unneeded if !named && recovered.log.is_sound() => Ok(Handled::Unharmed),
        Part::LogMark if matches!(recovered.log, Verdict::TornTail { .. } | Verdict::Clean) => {
            Ok(Handled::MarkCut)
        }
        Part::Checkpoint if named => Ok(Handled::OlderCheckpoint),
        Part::Copy(_) if fs::read(path).expect("the record") == before => Ok(Handled::Mended),
        part => Err(format!("{part:?} damaged, nothing said: {recovered:?}")),
    }
}

#[test]
fn a_thousand_corruptions_are_handled_and_none_loses_anything_in_silence() {
    let data = Data::fill("fdatasync", End::Stopped);
    let directory = DataDirectory::open(&data.path, &data.path).expect("it opens");
    directory.write_epochs(Epochs { accepted: Epoch(9), current: Epoch(8) }).expect("space");
    drop(directory);
    // So that more of the log is needed than its last segment.
    fs::remove_file(data.newest_checkpoint()).expect("a checkpoint");
    let truth = Truth::of(&data);
    let targets = targets(&data, truth.last);
    let needed = targets.iter().filter(|target| target.part != Part::Unneeded).count();
    assert!(needed > 50, "{needed} targets");
    let mut found = Found::default();
    corrupt(&data, &truth, &targets, truth.last, CASES, &mut found);
    found.conclude(CASES);
    assert_eq!(found.counts.len(), 5, "every way of handling was needed: {:?}", found.counts);
}

#[test]
fn corruptions_of_what_a_killed_server_left_lose_at_most_its_last_write_in_silence() {
    let data = Data::fill("fdatasync", End::Killed);
    data.put_back_mark();
    let mark = fs::read(data.mark()).expect("a server that has begun a segment has left a mark");
    let mark = Zxid(u64::from_le_bytes(mark[12..20].try_into().expect("eight bytes")));
    let directory = DataDirectory::open(&data.path, &data.path).expect("it opens");
    directory.write_epochs(Epochs { accepted: Epoch(9), current: Epoch(8) }).expect("space");
    drop(directory);
    let truth = Truth::of(&data);
    assert!(mark <= truth.last);
    let targets = targets(&data, mark);
    let is_open = targets.iter().any(|target| target.part == Part::LastBatch);
    let mut found = Found::default();
    corrupt(&data, &truth, &targets, mark, CASES_KILLED, &mut found);
    lose_files(&data, &truth, &targets, mark, &mut found);
    found.conclude(CASES_KILLED + CASES_LOST);
    // A slow machine may have had the idle moment after which a mark knows of the last batch too.
    assert_eq!(found.counts.contains_key(&Handled::Cut), is_open, "{:?}", found.counts);
}

/// What became of the cases.
#[derive(Default)]
struct Found {
    counts: BTreeMap<Handled, usize>,
    wrong: Vec<String>,
}

impl Found {
    fn take(&mut self, handled: Result<Handled, String>, what: impl FnOnce() -> String) {
        match handled {
            Ok(handled) => *self.counts.entry(handled).or_default() += 1,
            Err(why) => self.wrong.push(format!("{}: {why}", what())),
        }
    }

    fn conclude(&self, cases: usize) {
        let handled: usize = self.counts.values().sum();
        println!("{handled} of {cases} corruptions handled: {:?}", self.counts);
        assert!(self.wrong.is_empty(), "{} wrong:\n{}", self.wrong.len(), self.wrong.join("\n"));
        assert_eq!(handled, cases);
    }
}

/// Damages copies of a directory, each at one target.
fn corrupt(data: &Data, truth: &Truth, targets: &[Target], mark: Zxid, cases: usize, found: &mut Found) {
    let is_needed = |target: &&Target| target.part != Part::Unneeded;
    let (needed, spared): (Vec<&Target>, Vec<&Target>) = targets.iter().partition(is_needed);
    let last = targets.iter().find(|target| target.part == Part::LastBatch);
    let mut random = fastrand::Rng::with_seed(SEED);
    for done in 0..cases {
        // Each needed target comes again and again, each time with another damage; every tenth is one that
        // must not matter, and another tenth strikes what no mark knows of, if there is that.
        let target = match (done % 10, last) {
            (9, _) => spared[random.usize(..spared.len())],
            (4, Some(last)) => last,
            _ => needed[done % needed.len()],
        };
        let damage = DAMAGES[(done / needed.len() + done) % DAMAGES.len()];
        let alike: Vec<&Target> = targets.iter().filter(|other| other.path == target.path).collect();
        let other = alike[random.usize(..alike.len())];
        let before = fs::read(&target.path).expect("a file");
        let mut after = damaged(&before, target, other, damage, &mut random);
        if after == before {
            // Zeros over zeros, or a sector over itself.
            after = damaged(&before, target, other, Damage::Flip, &mut random);
        }
        let parts = parts(targets, &target.path, &before, &after);
        let copy = data.copy();
        let path = copy.path.join(target.path.strip_prefix(&data.path).expect("a file of it"));
        fs::write(&path, &after).expect("the damage");
        let handled = handle(&copy, truth, &path, &before, &parts, after.len() < before.len(), mark);
        found.take(handled, || format!("{damage:?} at {:?} of {}", target.range, path.display()));
    }
}

/// Removes files of copies of a directory: one, the newest few segments, all segments, or any.
fn lose_files(data: &Data, truth: &Truth, targets: &[Target], mark: Zxid, found: &mut Found) {
    let segments = data.segments();
    let all: BTreeSet<PathBuf> = targets.iter().map(|target| target.path.clone()).collect();
    let all: Vec<PathBuf> = all.into_iter().collect();
    let mut random = fastrand::Rng::with_seed(SEED);
    for case in 0..CASES_LOST {
        let lost: Vec<PathBuf> = match case % 4 {
            0 => vec![all[case / 4 % all.len()].clone()],
            1 => segments[segments.len() - 1 - case / 4 % segments.len()..].to_vec(),
            2 => segments.iter().filter(|_| random.bool()).cloned().collect(),
            _ => all.iter().filter(|path| !path.ends_with("mark") && random.u8(..4) == 0).cloned().collect(),
        };
        let copy = data.copy();
        for path in &lost {
            let path = copy.path.join(path.strip_prefix(&data.path).expect("a file of it"));
            fs::remove_file(path).expect("it was there");
        }
        let handled = match recover(&copy.path) {
            Err(DiskError::Refused(_)) => Ok(Handled::Refused),
            Err(error) => Err(format!("another error: {error}")),
            Ok((restored, recovered)) if truth.is_in(&restored, &recovered) => Ok(Handled::Unharmed),
            Ok((_, recovered)) => {
                Err(format!("LOST: log up to {}, {}", recovered.tail.zxid(), recovered.log))
            }
        };
        found.take(handled, || format!("without {lost:?}, mark {mark}"));
    }
}
