//! A log that our writer wrote, then damaged. The input chooses the workload and the damage.
//!
//! The laws: what recovery delivers is a beginning of what was appended, byte for byte. If it calls the
//! log sound, each acknowledged write that it does not find is damaged: nothing undamaged is lost. If it
//! calls it clean, what it does not find has left no trace. Without damage it finds everything. From a
//! sound log the writer goes on.

use crate::log_files::{Acknowledged, Files, Session, Transaction, goes_on};
use arbitrary::{Result, Unstructured};
use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::log::format::SegmentHeader;
use ringkeeper_engine::log::recovery::find_cut;
use ringkeeper_engine::log::{Alignment, Sequence, Settings, SyncMode, Tail, Verdict};
use std::ops::Range;

const STEPS_MAX: usize = 24;
const DAMAGES_MAX: usize = 3;
const SECTOR_BYTES: usize = 512;

/// Runs one input.
pub fn run(input: &[u8]) {
    let mut choices = Unstructured::new(input);
    // Running out of bytes only ends the choosing: there is always a log to recover.
    let _ = damage_and_recover(&mut choices);
}

/// What was appended.
#[derive(Default)]
struct History {
    /// Less what was cut away.
    known: Vec<Transaction>,
    truncations: Vec<Truncation>,
    /// Each transaction's bytes are the complement of what they would be.
    inverted: bool,
}

/// A cut is durable by the writes behind it: with all of them damaged, what it cut away is found again.
struct Truncation {
    before: Vec<Transaction>,
    /// How many acknowledged writes were before the cut.
    writes_kept: usize,
}

fn settings(choices: &mut Unstructured<'_>) -> Result<Settings> {
    Ok(Settings {
        sync: SyncMode::Fdatasync,
        max_batch_bytes: *choices.choose(&[512, 4096, 16384])?,
        segment_bytes: 4096 * choices.int_in_range(2..=6)?,
        alignment: *choices.choose(&[Alignment::SECTOR, Alignment::PAGE])?,
        ..Settings::default()
    })
}

fn damage_and_recover(choices: &mut Unstructured<'_>) -> Result<()> {
    let settings = settings(choices)?;
    // Another history of the same length: what an old backup, or a write that the disk dropped, leaves.
    let (mut other, mut other_history) = (Files::default(), History::default());
    if choices.ratio(1u8, 4)? {
        let fresh = Session::new(Files::default(), settings, Tail::origin(Zxid::ZERO, Sequence::FIRST));
        let mut same_choices = Unstructured::new(choices.peek_bytes(choices.len()).unwrap_or_default());
        let (mut session, mut history) = (fresh, History { inverted: true, ..History::default() });
        let _ = work(&mut same_choices, &mut session, &mut history);
        session.settle();
        (other, other_history) = (session.files, history);
    }
    let mut session = Session::new(Files::default(), settings, Tail::origin(Zxid::ZERO, Sequence::FIRST));
    let mut history = History::default();
    let worked = work(choices, &mut session, &mut history);
    session.settle();
    if worked.is_ok() && choices.ratio(1u8, 4)? {
        tear(choices, &mut session, &mut history)?;
    }
    let whole = session.files.clone();
    let mut damages = 0;
    while damages < DAMAGES_MAX && !choices.is_empty() {
        damages += 1;
        if damage(choices, &mut session.files, [&whole, &other], &session.acknowledged).is_err() {
            break;
        }
    }
    judge(session, settings, [&whole, &other], [&history, &other_history]);
    Ok(())
}

/// Appends, gathers, marks and truncates, as the input says.
fn work(choices: &mut Unstructured<'_>, session: &mut Session, history: &mut History) -> Result<()> {
    for _ in 0..choices.int_in_range(1..=STEPS_MAX)? {
        match choices.int_in_range(0..=10)? {
            0..=5 => append(choices, session, history)?,
            6 | 7 => session.settle(),
            8 => {
                session.writer.mark(0).expect("nothing failed");
                session.settle();
            }
            9 => {
                session.settle();
                truncate(choices, session, history)?;
            }
            _ => {
                session.settle();
                let last = session.writer.last_appended().0;
                let after = choices.int_in_range(session.after.0..=last)?;
                let gone = session.retire(Zxid(after));
                for cut in &mut history.truncations {
                    cut.writes_kept = cut.writes_kept.saturating_sub(gone);
                }
            }
        }
    }
    Ok(())
}

fn append(choices: &mut Unstructured<'_>, session: &mut Session, history: &mut History) -> Result<()> {
    let gap = choices.int_in_range(1..=3)?;
    let zxid = Zxid(session.writer.last_appended().0 + gap);
    let length = *choices.choose(&[1, 2, 30, 300, 500, 3000, 9000])?;
    let mut bytes: Vec<u8> = (0..length).map(|index| (zxid.0 as usize * 31 + index) as u8).collect();
    // What a client sends may be a copy of what lies in the log.
    if choices.ratio(1u8, 4)?
        && let Some((_, file)) = session.files.segments.last_key_value()
    {
        let from = choices.choose_index(file.len().max(1))? / SECTOR_BYTES * SECTOR_BYTES;
        let copied = file[from..].iter().take(length);
        bytes.iter_mut().zip(copied).for_each(|(byte, copy)| *byte = *copy);
    }
    if history.inverted {
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
    }
    session.writer.append(zxid, &bytes, 0).expect("the log takes it");
    history.known.push((zxid, bytes));
    Ok(())
}

fn truncate(choices: &mut Unstructured<'_>, session: &mut Session, history: &mut History) -> Result<()> {
    // What a checkpoint holds is not cut.
    let first = history.known.partition_point(|(zxid, _)| *zxid <= session.after);
    if first == history.known.len() {
        return Ok(());
    }
    let last = choices.int_in_range(first..=history.known.len() - 1)?;
    let last_kept = history.known[last].0;
    let Ok(found) = find_cut(&mut session.files, crate::log_files::DATABASE, session.after, last_kept);
    let cut = found.expect("a whole log holds what was appended to it");
    let before = std::mem::take(&mut history.known);
    history.known = before[..=last].to_vec();
    let writes_kept = session.truncate(cut, last_kept);
    for earlier in &mut history.truncations {
        earlier.writes_kept = earlier.writes_kept.min(writes_kept);
    }
    history.truncations.push(Truncation { before, writes_kept });
    Ok(())
}

/// A crash in the middle of a write: some of its sectors are there, some half.
fn tear(choices: &mut Unstructured<'_>, session: &mut Session, history: &mut History) -> Result<()> {
    append(choices, session, history)?;
    let write = session.take_write().expect("a transaction waits");
    for (number, sector) in write.bytes().chunks(SECTOR_BYTES).enumerate() {
        let kept = match choices.int_in_range(0..=2)? {
            0 => 0,
            1 => sector.len(),
            _ => choices.choose_index(sector.len())?,
        };
        let at = write.offset as usize + number * SECTOR_BYTES;
        session.files.put(write.segment, at, &sector[..kept]);
    }
    Ok(())
}

/// A place in the files: mostly where something was written.
fn place(
    choices: &mut Unstructured<'_>,
    files: &Files,
    writes: &[Acknowledged],
) -> Result<(Sequence, Range<usize>)> {
    let (segment, whole) = if choices.ratio(7u8, 8)? && !writes.is_empty() {
        let write = choices.choose(writes)?;
        (write.segment, write.place.clone())
    } else {
        let segments: Vec<Sequence> = files.segments.keys().copied().collect();
        let segment = *choices.choose(&segments)?;
        (segment, 0..files.segments[&segment].len())
    };
    let length = files.segments.get(&segment).map_or(0, Vec::len);
    let start = whole.start + choices.choose_index(whole.len().max(1))?;
    let (start, end) = match choices.int_in_range(0..=2)? {
        0 => (whole.start, whole.end),
        1 => (start / SECTOR_BYTES * SECTOR_BYTES, start / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES),
        _ => (start, start + choices.int_in_range(1..=64)?),
    };
    Ok((segment, start.min(length)..end.min(length)))
}

/// One thing that a disk, or a hand, can do to a log.
fn damage(
    choices: &mut Unstructured<'_>,
    files: &mut Files,
    sources: [&Files; 2],
    writes: &[Acknowledged],
) -> Result<()> {
    let kind = choices.int_in_range(0..=7)?;
    let [whole, other] = sources;
    let source = if choices.ratio(1u8, 2)? { other } else { whole };
    let (segment, range) = place(choices, files, writes)?;
    let Some(file) = files.segments.get_mut(&segment) else { return Ok(()) };
    match kind {
        0 if !range.is_empty() => file[range.start] ^= 1 << choices.int_in_range(0..=7)?,
        1 => file[range].fill(0),
        2 => {
            let bytes = choices.bytes(range.len().min(choices.len()))?;
            file[range.start..range.start + bytes.len()].copy_from_slice(bytes);
        }
        3 => file.truncate(range.start),
        4 => drop(files.segments.remove(&segment)),
        5 => file.extend(std::iter::repeat_n(choices.arbitrary::<u8>()?, choices.int_in_range(1..=9000)?)),
        // A write that went to the wrong place.
        6 => {
            let (from, copied) = place(choices, source, writes)?;
            let copied = source.segments.get(&from).and_then(|file| file.get(copied)).unwrap_or_default();
            let bytes = copied.len().min(file.len() - range.start);
            file[range.start..range.start + bytes].copy_from_slice(&copied[..bytes]);
        }
        7 => {
            let same_place = choices.arbitrary()?;
            let from = if same_place { segment } else { place(choices, source, writes)?.0 };
            let content = source.segments.get(&from).cloned().unwrap_or_default();
            files.segments.insert(segment, content);
        }
        _ => {}
    }
    Ok(())
}

/// Recovers, and holds the result to the laws.
fn judge(session: Session, settings: Settings, sources: [&Files; 2], histories: [&History; 2]) {
    let [whole, other_files] = sources;
    let [history, other] = histories;
    let Session { mut files, acknowledged: writes, after, .. } = session;
    let at = |files: &Files, write: &Acknowledged| {
        files.segments.get(&write.segment).and_then(|file| file.get(write.place.clone())).map(<[u8]>::to_vec)
    };
    let damaged: Vec<bool> = writes.iter().map(|write| at(&files, write) != at(whole, write)).collect();
    let (recovery, found) = files.recover(after);
    let verdict = &recovery.verdict;

    let undone = |truncation: &&Truncation| damaged[truncation.writes_kept..].iter().all(|damaged| *damaged);
    let mut possible: Vec<&Vec<Transaction>> = vec![&history.known];
    possible.extend(history.truncations.iter().filter(undone).map(|truncation| &truncation.before));
    // What is delivered before a refusal is thrown away: it may be what a cut of the log had taken back.
    if !verdict.is_sound() {
        possible.extend(history.truncations.iter().map(|truncation| &truncation.before));
    }
    // With nothing left that is its own alone, a log that was replaced as a whole is sound, where only what
    // is behind the checkpoint is read.
    let own = |write: &Acknowledged| write.upto > after && at(other_files, write) != at(whole, write);
    let replaced = writes.iter().zip(&damaged).all(|(write, damaged)| *damaged || !own(write));
    if !verdict.is_sound() || replaced {
        possible.push(&other.known);
        possible.extend(other.truncations.iter().map(|truncation| &truncation.before));
    }
    assert!(
        possible.iter().any(|known| behind(after, known).starts_with(&found)),
        "what was delivered is no beginning of what was appended; {verdict}"
    );
    let Ok(tail) = recovery.tail() else {
        let untouched = files.segments == whole.segments;
        assert!(!untouched, "an undamaged log, or one with a torn last write, is refused: {verdict}");
        return;
    };
    let last = found.last().map_or(after, |(zxid, _)| *zxid);
    for (write, damaged) in writes.iter().zip(&damaged).filter(|(write, _)| write.upto > last) {
        assert!(damaged, "{write:?} is lost and was not damaged; {verdict}");
        if *verdict == Verdict::Clean && behind(after, &history.known).starts_with(&found) {
            assert!(left_no_trace(&files, write), "{write:?} is lost without a word");
        }
    }
    goes_on(files, settings, after, tail, &found);
}

/// The transactions that a checkpoint up to `after` does not hold.
fn behind(after: Zxid, known: &[Transaction]) -> &[Transaction] {
    &known[known.partition_point(|(zxid, _)| *zxid <= after)..]
}

/// Whether a write's place shows nothing of it: there is none, it holds zeros, or its file is that of an
/// earlier segment or was one, where a damaged batch looks as what was there before.
fn left_no_trace(files: &Files, write: &Acknowledged) -> bool {
    let Some(file) = files.segments.get(&write.segment) else { return true };
    let place = file.get(write.place.start..).unwrap_or_default();
    let recycled = |header: SegmentHeader| header.sequence < write.segment || header.recycled;
    let recycled = SegmentHeader::decode(file).is_ok_and(|(header, _)| recycled(header));
    recycled || place.iter().take(write.place.len()).all(|byte| *byte == 0)
}
