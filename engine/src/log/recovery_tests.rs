//! Recovery's decision table: each row makes the damage and demands the verdict. Then the exhaustive
//! ones: every truncation and every flipped bit of a small log.

use super::crash_tests::{DATABASE, Session, recovered, settings, transaction};
use super::format::{
    BATCH_HEADER_BYTES, Checksum, ENTRY_HEADER_BYTES, Link, SEGMENT_HEADER_BYTES, SegmentHeader,
    encode_entry_header,
};
use super::reader::SegmentReader;
use super::recovery::{Cut, Tail, Verdict, find_cut, recover};
use super::simulated_disk::{Fate, Image, SimulatedDisk};
use super::writer::{IoFailure, LogError, LogWriter, Settings, SyncMode};
use crate::id::Zxid;
use crate::log::{DatabaseId, Sequence};

const FIRST_BATCH: usize = SEGMENT_HEADER_BYTES;

fn origin() -> Tail {
    Tail::origin(Zxid::ZERO, Sequence::FIRST)
}

/// A log of `count` transactions, each in a batch of its own.
fn session(count: u64) -> Session {
    let mut session = Session::new(SimulatedDisk::default(), origin());
    for zxid in 1..=count {
        session.append(zxid);
        session.settle();
    }
    assert_eq!(session.acknowledged, Zxid(count));
    session
}

fn session_of(sync: SyncMode, count: u64) -> Session {
    let mut session = Session::with(SimulatedDisk::default(), origin(), sync);
    for zxid in 1..=count {
        session.append(zxid);
        session.settle();
    }
    session
}

fn image(session: &Session) -> Image {
    session.disk.crash(|| Fate::New)
}

/// Where the batches of a segment begin, and where the last one ends.
fn batch_offsets(image: &Image, sequence: u64) -> Vec<usize> {
    let mut reader = SegmentReader::open(&image.files[&Sequence(sequence)]).unwrap();
    let mut offsets = vec![reader.position().offset as usize];
    while reader.next().is_some() {
        offsets.push(reader.position().offset as usize);
    }
    offsets
}

fn file(image: &mut Image, sequence: u64) -> &mut Vec<u8> {
    image.files.get_mut(&Sequence(sequence)).unwrap()
}

/// The newest segment that was written to.
fn newest(image: &Image) -> u64 {
    image.files.iter().rev().find(|(_, bytes)| SegmentReader::open(bytes).is_ok()).unwrap().0.0
}

fn verdict(image: &Image) -> Verdict {
    recovered(&mut image.clone()).0
}

fn up_to(last: u64) -> Vec<u64> {
    (1..=last).collect()
}

#[track_caller]
fn assert_corrupt(image: &Image, sequence: u64, at: usize) {
    match verdict(image) {
        Verdict::Corrupt { segment: Sequence(found), offset, .. } => {
            assert_eq!((found, offset), (sequence, at as u64));
        }
        other => panic!("corruption became: {other}"),
    }
}

#[test]
fn row_clean() {
    let image = image(&session(40));
    assert!(image.files.len() > 3, "several segments");
    let (verdict, found, _) = recovered(&mut image.clone());
    assert_eq!((verdict, found), (Verdict::Clean, up_to(40)));
}

#[test]
fn row_no_log_and_empty_files() {
    let mut image = Image::default();
    assert_eq!(recovered(&mut image), (Verdict::Clean, vec![], Some(origin())));
    image.files.insert(Sequence(1), vec![]);
    assert_eq!(recovered(&mut image), (Verdict::Clean, vec![], Some(origin())));
    image.files.insert(Sequence(1), vec![0; 12288]);
    image.files.insert(Sequence(2), vec![]);
    assert_eq!(recovered(&mut image), (Verdict::Clean, vec![], Some(origin())));
    assert!(!image.files.contains_key(&Sequence(2)), "the second is not used");
}

#[test]
fn row_empty_segment_with_a_prepared_one_behind_it() {
    let whole = image(&session(40));
    let last = newest(&whole);
    assert!(whole.files.contains_key(&Sequence(last + 1)), "the next one is prepared");
    for length in [0, 100, 4096] {
        let mut image = whole.clone();
        file(&mut image, last).truncate(length);
        assert_corrupt(&image, last, length);
    }
}

#[test]
fn row_hole_counts_more_than_a_torn_beginning_of_the_next_segment() {
    let mut image = image(&session_of(SyncMode::None, 40));
    let last = newest(&image);
    let at = batch_offsets(&image, last)[1];
    file(&mut image, last)[at..at + 512].fill(0);
    file(&mut image, last + 1)[..100].fill(7);
    match verdict(&image) {
        Verdict::Hole { segment: Sequence(found), offset, .. } => {
            assert_eq!((found, offset), (last, at as u64));
        }
        other => panic!("acknowledged transactions were lost, and what is said is: {other}"),
    }
}

#[test]
fn row_hole_in_a_log_without_syncs_is_cut_and_said() {
    let session = session_of(SyncMode::None, 40);
    let whole = image(&session);
    let last = newest(&whole);
    for sequence in 1..=last {
        let offsets = batch_offsets(&whole, sequence);
        for (number, &at) in offsets[..offsets.len() - 1].iter().enumerate().skip(1) {
            let mut image = whole.clone();
            file(&mut image, sequence)[at..at + 512].fill(0);
            let lost = (sequence, number) == (last, offsets.len() - 2);
            let (verdict, found, tail) = recovered(&mut image);
            match verdict {
                Verdict::Hole { segment: Sequence(found), offset, .. } if !lost => {
                    assert_eq!((found, offset), (sequence, at as u64));
                }
                // Nothing is behind the last one, and of one sector nothing is left.
                Verdict::Clean | Verdict::TornTail { .. } if lost => {}
                other => panic!("{sequence} {number}: {other}"),
            }
            let last_found = *found.last().unwrap();
            assert_eq!(found, up_to(last_found));
            let mut session = Session::new(image.into(), tail.unwrap());
            session.append(last_found + 1);
            session.settle();
            let after = recovered(&mut session.disk.crash(|| Fate::New));
            assert_eq!((after.0, after.1), (Verdict::Clean, up_to(last_found + 1)), "what was cut stays cut");
        }
        // A segment's first write was synced in this mode too.
        let mut image = whole.clone();
        file(&mut image, sequence)[8] ^= 1;
        assert_corrupt(&image, sequence, 0);
    }
}

#[test]
fn row_hole_before_a_segment_with_syncs_is_corruption() {
    let mut image = image(&session_of(SyncMode::None, 20));
    let (_, _, tail) = recovered(&mut image);
    let mut session = Session::new(image.into(), tail.unwrap());
    session.append(21);
    session.settle();
    let mut image = self::image(&session);
    let at = batch_offsets(&image, 1)[1];
    file(&mut image, 1)[at] ^= 1;
    assert_corrupt(&image, 1, at);
}

#[test]
fn row_file_of_a_number_that_no_segment_gets() {
    for number in [0, u64::MAX] {
        let mut image = image(&session(5));
        image.files.insert(Sequence(number), vec![]);
        assert_corrupt(&image, number, 0);
    }
}

#[test]
fn row_torn_last_batch_is_cut() {
    let whole = image(&session(40));
    let last = newest(&whole);
    let offsets = batch_offsets(&whole, last);
    assert!(offsets.len() > 2);
    let at = offsets[offsets.len() - 2];
    for damage in [at, at + BATCH_HEADER_BYTES + 4] {
        let mut image = whole.clone();
        file(&mut image, last)[damage] ^= 1;
        let (verdict, found, tail) = recovered(&mut image);
        assert!(
            matches!(verdict, Verdict::TornTail { segment: Sequence(s), offset, .. } if s == last && offset == at as u64),
            "{verdict}"
        );
        assert_eq!(found, up_to(39));
        // The writer goes on behind the cut, and what was cut stays cut.
        let mut session = Session::new(image.into(), tail.unwrap());
        session.append(40);
        session.append(41);
        session.settle();
        let after = recovered(&mut session.disk.crash(|| Fate::New));
        assert_eq!((after.0, after.1), (Verdict::Clean, up_to(41)));
    }
}

#[test]
fn row_torn_first_batch_of_a_segment_is_cut() {
    let mut session = session(1);
    while session.writer.current_segment() == Some(Sequence(1)) {
        let next = session.writer.last_appended().0 + 1;
        session.append(next);
        session.settle();
    }
    let last = session.acknowledged.0;
    let whole = image(&session);
    for damage in [0, 20, FIRST_BATCH - 1, FIRST_BATCH, FIRST_BATCH + BATCH_HEADER_BYTES + 4] {
        let mut image = whole.clone();
        file(&mut image, 2)[damage] ^= 1;
        let (verdict, found, _) = recovered(&mut image);
        assert!(matches!(verdict, Verdict::TornTail { segment: Sequence(2), offset: 0, .. }), "{verdict}");
        assert_eq!(found, up_to(last - 1));
    }
}

#[test]
fn row_damaged_batch_with_later_ones_is_never_cut() {
    let whole = image(&session(40));
    for sequence in 1..=newest(&whole) {
        let offsets = batch_offsets(&whole, sequence);
        let in_last = sequence == newest(&whole);
        for &at in &offsets[..offsets.len() - 1 - in_last as usize] {
            for damage in [at, at + BATCH_HEADER_BYTES + 4] {
                let mut image = whole.clone();
                file(&mut image, sequence)[damage] ^= 1;
                let reported = if in_last && at == FIRST_BATCH { 0 } else { at };
                assert_corrupt(&image, sequence, reported);
            }
            let mut image = whole.clone();
            file(&mut image, sequence)[at..at + 512].fill(0);
            let reported = if in_last && at == FIRST_BATCH { 0 } else { at };
            assert_corrupt(&image, sequence, reported);
        }
    }
}

#[test]
fn row_batch_of_another_history_is_corruption() {
    // The same segment, offsets and zxids, but another first transaction: what an old backup, or a
    // write that the disk dropped, would put there.
    let whole = image(&session(5));
    let mut other = Session::new(SimulatedDisk::default(), origin());
    other.writer.append(Zxid(1), &vec![9; transaction(1).len()], 0).unwrap();
    other.settle();
    for zxid in 2..=5 {
        other.append(zxid);
        other.settle();
    }
    let offsets = batch_offsets(&whole, 1);
    for number in 1..5 {
        let mut mixed = whole.clone();
        let batch = offsets[number]..offsets[number + 1];
        file(&mut mixed, 1)[batch.clone()].copy_from_slice(&file(&mut image(&other), 1)[batch]);
        assert_corrupt(&mixed, 1, offsets[number]);
    }
}

#[test]
fn row_marked_log_does_not_take_rot_in_its_last_transaction_for_a_crash() {
    for count in 30..=45 {
        let mut session = session(count);
        let (last, offsets) =
            (newest(&image(&session)), batch_offsets(&image(&session), newest(&image(&session))));
        session.writer.mark(0).unwrap();
        session.settle();
        session.writer.mark(0).unwrap();
        assert!(!session.writer.has_pending(), "marked once");
        let mut image = image(&session);
        let at = offsets[offsets.len() - 2];
        file(&mut image, last)[at + BATCH_HEADER_BYTES + 4] ^= 1;
        // In the newest segment a damaged first batch is reported as its beginning.
        let reported = if at == FIRST_BATCH && last == newest(&image) { 0 } else { at };
        assert_corrupt(&image, last, reported);
    }
}

#[test]
fn row_damaged_header() {
    let whole = image(&session(40));
    for sequence in 1..=newest(&whole) {
        let mut image = whole.clone();
        file(&mut image, sequence)[8] ^= 1;
        assert_corrupt(&image, sequence, 0);
    }
}

#[test]
fn row_missing_segment() {
    let whole = image(&session(40));
    for sequence in 1..=newest(&whole) {
        let mut image = whole.clone();
        image.files.remove(&Sequence(sequence));
        assert_eq!(verdict(&image), Verdict::Gap { missing: Sequence(sequence) });
    }
}

#[test]
fn row_shortened_segment() {
    let whole = image(&session(40));
    for sequence in [1, newest(&whole)] {
        let offsets = batch_offsets(&whole, sequence);
        let length = whole.files[&Sequence(sequence)].len();
        for at in offsets.into_iter().filter(|at| *at < length) {
            let mut image = whole.clone();
            file(&mut image, sequence).truncate(at);
            assert_corrupt(&image, sequence, at);
        }
    }
    let mut image = whole.clone();
    file(&mut image, 1).clear();
    assert_corrupt(&image, 1, 0);
}

#[test]
fn row_recycled_segment_with_old_content() {
    // The spare is a renamed old segment, then begun, then torn: old batches count for nothing.
    let session = session(40);
    let whole = image(&session);
    let spare = newest(&whole) + 1;
    let mut image = whole.clone();
    image.files.insert(Sequence(spare), whole.files[&Sequence(1)].clone());
    assert_eq!(verdict(&image), Verdict::Clean, "renamed, not begun");

    let mut begun = whole.files[&Sequence(newest(&whole))].clone();
    let (mut header, _) = SegmentHeader::decode(&begun).unwrap();
    header.recycled = true;
    let mut reader = SegmentReader::open(&begun).unwrap();
    let (_, entries) = reader.next().unwrap();
    let kept: Vec<u64> = entries.map(|(zxid, _)| zxid.0).collect();
    assert!(!kept.is_empty());
    // Rewrite the newest segment as a recycled one: its first batch, then an older segment's bytes.
    let end = reader.position().offset as usize;
    let old = &whole.files[&Sequence(1)];
    let mut batch = super::batch::Batch::new(Vec::new(), header.previous_zxid, 0);
    for zxid in &kept {
        batch.push(Zxid(*zxid), &transaction(*zxid));
    }
    let previous = batch.fill_segment_header(header);
    batch.seal(super::batch::Place {
        database: DATABASE,
        sequence: header.sequence,
        offset: FIRST_BATCH as u64,
        previous,
        alignment: header.alignment,
        committed: Zxid::ZERO,
    });
    let (bytes, range) = batch.into_write(true);
    begun[..end].copy_from_slice(&bytes[range]);
    begun[end..].copy_from_slice(&old[end..]);
    let last = newest(&whole);
    image = whole.clone();
    *file(&mut image, last) = begun;
    let (verdict, found, _) = recovered(&mut image);
    assert_eq!((verdict, found.last()), (Verdict::Clean, kept.last()));

    // Its only batch is damaged: old content behind it does not make that clean.
    for damage in [FIRST_BATCH + 3, FIRST_BATCH + 20, FIRST_BATCH + BATCH_HEADER_BYTES + 4] {
        let mut image = image.clone();
        file(&mut image, last)[damage] ^= 1;
        let (verdict, found, _) = recovered(&mut image);
        assert!(matches!(verdict, Verdict::TornTail { segment: Sequence(s), .. } if s == last), "{verdict}");
        assert_eq!(found.last().unwrap() + 1, kept[0]);
    }
}

#[test]
fn row_unknown_version_and_foreign_database() {
    let whole = image(&session(10));
    let mut image = whole.clone();
    let bytes = file(&mut image, 1);
    bytes[4] = 9;
    let checksum = crc32c::crc32c(&bytes[..FIRST_BATCH - 4]);
    bytes[FIRST_BATCH - 4..FIRST_BATCH].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(verdict(&image), Verdict::UnknownVersion { segment: Sequence(1), version: 9 });

    let recovery = recover(&mut whole.clone(), DatabaseId(7), Zxid::ZERO, |_, _| Ok(())).unwrap();
    assert!(matches!(recovery.verdict, Verdict::ForeignDatabase { found: DATABASE, .. }));
    assert!(recovery.tail().is_err());
}

#[test]
fn row_log_begins_behind_the_checkpoint() {
    let mut session = Session::new(SimulatedDisk::default(), Tail::origin(Zxid(50), Sequence(9)));
    session.append(51);
    session.settle();
    let mut image = image(&session);
    let recovery = recover(&mut image, DATABASE, Zxid(49), |_, _| Ok(())).unwrap();
    assert_eq!(recovery.verdict, Verdict::BeginsLate { needed_after: Zxid(49), begins_after: Zxid(50) });
    let recovery = recover(&mut image, DATABASE, Zxid(50), |_, _| Ok(())).unwrap();
    assert_eq!((recovery.verdict, recovery.entries), (Verdict::Clean, 1));
    // A checkpoint from a leader, ahead of the log: the log begins anew behind it.
    let recovery = recover(&mut image, DATABASE, Zxid(60), |_, _| Ok(())).unwrap();
    assert_eq!(recovery.tail(), Ok(Tail::origin(Zxid(60), Sequence(10))));
}

#[test]
fn row_transaction_that_cannot_be_decoded() {
    let mut image = image(&session(3));
    let recovery = recover(&mut image, DATABASE, Zxid(1), |zxid, _| {
        if zxid == Zxid(3) { Err("no such operation".into()) } else { Ok(()) }
    })
    .unwrap();
    assert!(matches!(recovery.verdict, Verdict::Corrupt { ref why, .. } if why == "no such operation"));
    assert_eq!(recovery.entries, 1);
}

#[test]
fn every_truncation_is_seen() {
    let whole = image(&session(9));
    assert_eq!(newest(&whole), 1);
    for length in 0..whole.files[&Sequence(1)].len() {
        let mut image = whole.clone();
        file(&mut image, 1).truncate(length);
        match verdict(&image) {
            Verdict::Corrupt { offset, .. } => assert_eq!(offset, length as u64),
            other => panic!("{length}: {other}"),
        }
    }
}

#[test]
fn every_flipped_byte_is_corruption_or_the_last_batch_or_padding() {
    let session = session(9);
    let whole = image(&session);
    let offsets = batch_offsets(&whole, 1);
    let last = offsets[offsets.len() - 2];
    for at in 0..whole.files[&Sequence(1)].len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut image = whole.clone();
            file(&mut image, 1)[at] ^= mask;
            let (verdict, found, _) = recovered(&mut image);
            match verdict {
                Verdict::Clean => {
                    assert_eq!(found, up_to(9));
                    assert!(whole.files[&Sequence(1)][at] == 0, "{at} is no padding");
                }
                Verdict::TornTail { offset, .. } if at < last => panic!("cut at {offset} for a flip at {at}"),
                Verdict::TornTail { .. } => assert!(found == up_to(8) || found == up_to(9)),
                Verdict::Corrupt { .. } => assert!(at < last),
                other => panic!("{at}: {other}"),
            }
        }
    }
}

#[test]
fn a_client_cannot_make_bytes_that_recovery_takes_for_a_batch() {
    // A torn batch whose transaction holds a batch header of another database, at a sector's start.
    let mut foreign = Session::new(SimulatedDisk::default(), origin());
    foreign.writer = LogWriter::new(settings(), DatabaseId(1), origin());
    for zxid in 1..=3 {
        foreign.append(zxid);
        foreign.settle();
    }
    let forged = image(&foreign).files[&Sequence(1)].clone();
    let mut session = session(1);
    let at = batch_offsets(&image(&session), 1)[1];
    let mut bytes = vec![1; 2048];
    let begin = at + BATCH_HEADER_BYTES + ENTRY_HEADER_BYTES;
    bytes.copy_from_slice(&forged[begin..begin + 2048]);
    session.writer.append(Zxid(2), &bytes, 0).unwrap();
    session.settle();
    let mut image = image(&session);
    file(&mut image, 1)[at] ^= 1;
    assert!(matches!(verdict(&image), Verdict::TornTail { .. }));
}

#[test]
fn truncation_takes_effect_with_its_first_write_and_keeps_half_a_batch() {
    for last_kept in [0, 1, 4, 5, 6, 7] {
        let mut session = session(4);
        for zxid in 5..=7 {
            session.append(zxid);
        }
        session.settle();
        let before = image(&session);
        let cut: Cut = find_cut(&mut before.clone(), DATABASE, Zxid::ZERO, Zxid(last_kept)).unwrap().unwrap();
        session.append(8);
        session.writer.truncate(cut, 0).unwrap();
        assert_eq!(recovered(&mut image(&session)).1, up_to(7), "nothing written yet");
        session.append(last_kept + 1);
        session.settle();
        assert_eq!(session.acknowledged, Zxid(last_kept + 1));
        let (verdict, found, _) = recovered(&mut image(&session));
        assert_eq!((verdict, found), (Verdict::Clean, up_to(last_kept + 1)));
    }
}

#[test]
fn completion_of_a_log_since_truncated_is_no_durability() {
    let mut session = session(4);
    let cut = find_cut(&mut image(&session), DATABASE, Zxid::ZERO, Zxid(2)).unwrap().unwrap();
    session.append(5);
    let write = session.writer.take_write(0).unwrap().unwrap();
    session.writer.truncate(cut, 0).unwrap();
    assert_eq!(session.writer.on_written(write, Ok(())), Ok(None));
    assert_eq!(session.writer.last_appended(), Zxid(2));
}

#[test]
fn a_failed_write_ends_every_later_call() {
    let mut session = session(1);
    session.append(2);
    let write = session.writer.take_write(0).unwrap().unwrap();
    let failure = IoFailure { errno: Some(5), message: "segment 1: I/O error".into() };
    let failed = LogError::Failed(failure.clone());
    let writer = &mut session.writer;
    assert_eq!(writer.on_written(write, Err(failure)), Err(failed.clone()));
    assert_eq!(writer.append(Zxid(3), b"x", 0), Err(failed.clone()));
    assert_eq!(writer.mark(0), Err(failed.clone()));
    assert_eq!(writer.take_write(0).unwrap_err(), failed);
    assert_eq!(writer.take_upkeep(0), Err(failed.clone()));
    assert_eq!(writer.durable(), Zxid(1));
}

#[test]
fn a_batch_gathers_while_a_write_is_in_flight_and_waits_only_as_long_as_set() {
    let settings = Settings { max_delay_us: 100, max_pending_bytes: 3000, ..settings() };
    let mut session = Session::new(SimulatedDisk::default(), origin());
    session.writer = LogWriter::new(settings, DATABASE, origin());
    session.settle();
    let writer = &mut session.writer;
    writer.append(Zxid(1), &[1; 10], 1000).unwrap();
    assert_eq!(writer.write_due_at_us(), Some(1100));
    assert!(writer.take_write(1099).unwrap().is_none());
    let first = writer.take_write(1100).unwrap().unwrap();
    for zxid in 2..=9 {
        writer.append(Zxid(zxid), &[1; 300], 2000).unwrap();
    }
    assert!(writer.take_write(9000).unwrap().is_none(), "one write at a time");
    assert_eq!(writer.append(Zxid(10), &[1; 600], 2000), Err(LogError::Full));
    let durable = writer.on_written(first, Ok(())).unwrap().unwrap();
    assert_eq!((durable.upto(), durable.generation()), (Zxid(1), 1));
    let second = writer.take_write(2100).unwrap().unwrap();
    assert_eq!(second.bytes().len(), (BATCH_HEADER_BYTES + 8 * 312).next_multiple_of(512));
    assert_eq!(writer.on_written(second, Ok(())).unwrap().unwrap().upto(), Zxid(9));
    assert_eq!(writer.room_bytes(), 3000);
}

#[test]
fn a_write_has_no_more_than_a_batch_may_unless_one_transaction_does() {
    let mut session = session(1);
    let first = {
        session.append(2);
        session.writer.take_write(0).unwrap().unwrap()
    };
    // All of these wait for the write in flight, and none of them for the next.
    let lengths = [500, 500, 3000, 100, 4000, 9000, 10, 10, 700, 700, 700, 700, 700];
    for (zxid, length) in (3..).zip(lengths) {
        session.writer.append(Zxid(zxid), &vec![1; length], 0).unwrap();
    }
    let _ = session.writer.on_written(first, Ok(())).unwrap();
    let (mut writes, mut longest) = (0, 0);
    while session.writer.has_pending() {
        let Some(write) = session.writer.take_write(0).unwrap() else {
            let step = session.writer.take_upkeep(0).unwrap().expect("a segment is prepared");
            session.disk.upkeep(step);
            session.writer.on_upkeep(step, Ok(()), 0).unwrap();
            continue;
        };
        let header = if write.begins_segment() { SEGMENT_HEADER_BYTES } else { 0 };
        let batch = write.bytes().len() - header;
        (writes, longest) = (writes + 1, longest.max(batch));
        assert!(
            batch <= settings().max_batch_bytes as usize || batch == longest && longest > 9000,
            "{batch}"
        );
        let _ = session.writer.on_written(write, Ok(())).unwrap();
    }
    assert_eq!(session.writer.durable(), Zxid(15));
    // 500 and 500; 3000 and 100; 4000; 9000; the rest.
    let expected = (BATCH_HEADER_BYTES + ENTRY_HEADER_BYTES + 9000).next_multiple_of(512);
    assert_eq!((writes, longest), (5, expected));
}

#[test]
fn entries_that_come_together_are_in_one_batch_within_its_bound_or_come_one_by_one() {
    let mut session = session(1);
    let entry = |zxid, length: usize| {
        [&encode_entry_header(Zxid(zxid), length as u32)[..], &vec![1; length]].concat()
    };
    let bound = settings().max_batch_bytes as usize;
    let fits = bound - BATCH_HEADER_BYTES - ENTRY_HEADER_BYTES;
    let mut append =
        |zxid, length| session.writer.append_entries(Zxid(zxid), Zxid(zxid), 1, &entry(zxid, length), 0);
    assert_eq!(append(2, fits + 1), Ok(false));
    assert_eq!(append(2, 100), Ok(true));
    assert_eq!(append(3, fits), Ok(true), "in the next batch: with the one before they would be too many");
    assert_eq!(append(4, fits - 1), Ok(true));
    assert_eq!(append(5, 1), Ok(true));
    let mut batches = Vec::new();
    while session.writer.has_pending() {
        if let Some(write) = session.writer.take_write(0).unwrap() {
            let header = if write.begins_segment() { SEGMENT_HEADER_BYTES } else { 0 };
            batches.push(write.bytes().len() - header);
            let _ = session.writer.on_written(write, Ok(())).unwrap();
        } else {
            let step = session.writer.take_upkeep(0).unwrap().expect("a segment is prepared");
            session.disk.upkeep(step);
            session.writer.on_upkeep(step, Ok(()), 0).unwrap();
        }
    }
    let short = (BATCH_HEADER_BYTES + ENTRY_HEADER_BYTES + 100).next_multiple_of(512);
    assert_eq!(batches, [short, bound, bound, 512]);
}

#[test]
fn a_transaction_longer_than_a_segment_gets_one_that_fits() {
    let mut session = session(2);
    let long = vec![7; 5 * 4096];
    session.writer.append(Zxid(3), &long, 0).unwrap();
    session.append(4);
    session.settle();
    let mut found = Vec::new();
    let recovery = recover(&mut image(&session), DATABASE, Zxid(2), |zxid, bytes| {
        found.push((zxid.0, bytes.to_vec()));
        Ok(())
    })
    .unwrap();
    assert_eq!(recovery.verdict, Verdict::Clean);
    assert_eq!(found, [(3, long), (4, transaction(4))]);
}

/// What the log's own files tell of a lost newest segment. Until the next one has a file, only the data
/// directory's mark tells of it, which is asked for at the same moment.
#[test]
fn the_loss_of_the_newest_segment_shows_as_soon_as_the_next_one_has_a_file() {
    let mut session = Session::new(SimulatedDisk::default(), origin());
    let (mut shows, mut segments, mut unseen) = (0, 0, 0);
    for zxid in 1..=60 {
        session.append(zxid);
        while session.step(|_| {}) {
            let Some(newest) = session.writer.current_segment() else { continue };
            let image = image(&session);
            let begun = SegmentHeader::decode(&image.files[&newest]).ok().map(|(header, _)| header);
            // Something in it was acknowledged.
            if begun
                .is_none_or(|header| header.sequence != newest || header.first_zxid > session.acknowledged)
            {
                continue;
            }
            segments = newest.0;
            let (mut removed, mut emptied) = (image.clone(), image.clone());
            removed.files.remove(&newest);
            emptied.files.get_mut(&newest).unwrap().clear();
            if image.files.contains_key(&newest.next()) {
                assert_eq!(verdict(&removed), Verdict::Gap { missing: newest });
                let why = "the file ends here, yet a later segment was prepared".into();
                assert_eq!(verdict(&emptied), Verdict::Corrupt { segment: newest, offset: 0, why });
                shows += 1;
            } else {
                assert_eq!((verdict(&removed), verdict(&emptied)), (Verdict::Clean, Verdict::Clean));
                unseen += 1;
            }
        }
    }
    // To close the segment before and to create the next are the first steps beside the first write.
    assert!(unseen <= 2 * segments && shows > 10 * segments, "{unseen} of {shows}, {segments} segments");
}

#[test]
fn a_link_to_another_end_is_corruption() {
    let session = session(40);
    let mut image = image(&session);
    let bytes = file(&mut image, 2);
    let (mut header, _) = SegmentHeader::decode(bytes).unwrap();
    let link = header.previous.unwrap();
    header.previous = Some(Link { checksum: Checksum(link.checksum.0 ^ 1), ..link });
    header.encode(&mut bytes[..FIRST_BATCH]);
    assert!(!verdict(&image).is_sound());
}
