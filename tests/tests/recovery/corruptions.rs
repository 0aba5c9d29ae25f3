//! A thousand targeted damages to the files of a real run, each handled as the table says: the server goes on
//! with everything that was acknowledged, or it refuses and names what is damaged. None loses a transaction in
//! silence. What must happen follows from which bytes were changed, and is decided here without recovery's help.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ringkeeper_engine::id::{Epoch, Zxid};
use ringkeeper_engine::log::format::BATCH_HEADER_BYTES;
use ringkeeper_engine::log::{SyncMode, Verdict};
use ringkeeper_engine::snap::{Checkpoint, Record};
use ringkeeper_net::disk::{DataDirectory, DiskError, Epochs, Recovered, Restore, SegmentFiles};

use crate::data::{Data, End, SEGMENT_HEADER, Segment};

const CASES: usize = 1000;
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

fn targets(data: &Data) -> Vec<Target> {
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
        targets.extend(segment_targets(segment, number >= oldest, number + 1 == segments.len()));
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

fn segment_targets(segment: &Segment, needed: bool, newest: bool) -> Vec<Target> {
    let bytes = fs::read(&segment.path).expect("a segment");
    let path = &segment.path;
    let of = |part| if needed { part } else { Part::Unneeded };
    let target = |range, part| Target { path: path.clone(), range, part: of(part) };
    let mut targets = vec![target(0..SEGMENT_HEADER, Part::Log)];
    for pair in segment.offsets.windows(2) {
        let used = u32::from_le_bytes(bytes[pair[0] + 8..pair[0] + 12].try_into().unwrap()) as usize;
        let is_mark = newest && used == BATCH_HEADER_BYTES;
        targets.push(target(pair[0]..pair[0] + used, if is_mark { Part::LogMark } else { Part::Log }));
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
}

/// Recovers, and says what was done, or what is wrong with that.
fn handle(
    data: &Data,
    truth: &Truth,
    path: &Path,
    before: &[u8],
    parts: &BTreeSet<Part>,
    shortened: bool,
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
            let entitled = parts.contains(&Part::Log) || both_copies || shortened;
            return match (named || said.contains("/mark knows"), entitled) {
                (true, true) => Ok(Handled::Refused),
                (false, _) => Err(format!("refused without its name: {said}")),
                (_, false) => Err(format!("refused without need: {said}")),
            };
        }
        Err(error) => return Err(format!("another error: {error}")),
    };
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
    let targets = targets(&data);
    let needed = targets.iter().filter(|target| target.part != Part::Unneeded);
    let (needed, spared): (Vec<&Target>, Vec<&Target>) =
        (needed.collect(), targets.iter().filter(|target| target.part == Part::Unneeded).collect());
    assert!(needed.len() > 50, "{} targets", needed.len());
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut counts: BTreeMap<Handled, usize> = BTreeMap::new();
    let (mut wrong, mut done) = (Vec::new(), 0);
    while done < CASES {
        // Each needed target comes again and again, each time with another damage; every tenth is one that
        // must not matter.
        let target =
            if done % 10 == 9 { spared[random.usize(..spared.len())] } else { needed[done % needed.len()] };
        let damage = DAMAGES[(done / needed.len() + done) % DAMAGES.len()];
        let alike: Vec<&Target> = targets.iter().filter(|other| other.path == target.path).collect();
        let other = alike[random.usize(..alike.len())];
        let before = fs::read(&target.path).expect("a file");
        let mut after = damaged(&before, target, other, damage, &mut random);
        if after == before {
            // Zeros over zeros, or a sector over itself.
            after = damaged(&before, target, other, Damage::Flip, &mut random);
        }
        let parts = parts(&targets, &target.path, &before, &after);
        let copy = data.copy();
        let path = copy.path.join(target.path.strip_prefix(&data.path).expect("a file of it"));
        fs::write(&path, &after).expect("the damage");
        match handle(&copy, &truth, &path, &before, &parts, after.len() < before.len()) {
            Ok(handled) => *counts.entry(handled).or_default() += 1,
            Err(why) => wrong.push(format!("{damage:?} at {:?} of {}: {why}", target.range, path.display())),
        }
        done += 1;
    }
    let handled: usize = counts.values().sum();
    println!("{handled} of {done} corruptions handled: {counts:?}");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(handled, CASES);
    assert_eq!(counts.len(), 5, "every way of handling was needed: {counts:?}");
}
