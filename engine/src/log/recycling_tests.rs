//! Crash images of a log whose old segments become its new ones: what a file held before is never taken
//! for what the log wrote.

use super::crash_tests::{DATABASE, Session, every_image, settings, transaction};
use super::format::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::recovery::{SegmentFile, Tail, recover};
use super::simulated_disk::SimulatedDisk;
use super::writer::LogWriter;
use super::{IoFailure, Sequence, Shortage, Upkeep};
use crate::id::Zxid;

/// Makes every segment a spare that holds nothing behind `checkpoint`.
fn retire(session: &mut Session, checkpoint: Zxid) {
    let image = session.disk.crash(|| super::simulated_disk::Fate::New);
    let headers: Vec<_> = image.files.values().filter_map(|file| SegmentHeader::decode(file).ok()).collect();
    let current = session.writer.current_segment();
    for pair in headers.windows(2) {
        let [(old, _), (next, _)] = pair else { unreachable!("windows of two") };
        if next.previous_zxid <= checkpoint && Some(old.sequence) < current {
            let spare = session.disk.retire(old.sequence);
            session.writer.add_spare(spare);
        }
    }
}

#[test]
fn recovery_reads_only_what_was_written_to_a_recycled_segment_at_every_crash_point() {
    let mut session = Session::new(SimulatedDisk::default(), Tail::origin(Zxid::ZERO, Sequence::FIRST));
    let (mut next, mut images, mut recycled) = (1, 0, 0);
    let mut checkpoint = Zxid::ZERO;
    while next < 40 {
        for _ in 0..1 + next % 3 {
            session.append(next);
            next += 1;
        }
        let mut check = |session: &Session| {
            every_image(&session.disk, next + images, |mut image| {
                images += 1;
                let mut found = Vec::new();
                let recovery = recover(&mut image, DATABASE, checkpoint, |zxid, bytes| {
                    assert_eq!(bytes, transaction(zxid.0), "{zxid} has its own bytes");
                    found.push(zxid.0);
                    Ok(())
                });
                let recovery = recovery.unwrap();
                assert!(recovery.verdict.is_sound(), "a crash is not corruption: {}", recovery.verdict);
                let last = found.last().copied().unwrap_or(checkpoint.0);
                assert!(found.iter().copied().eq(checkpoint.0 + 1..=last), "{found:?} behind {checkpoint}");
                assert!(last >= session.acknowledged.0 && last < next, "{last}");
            });
        };
        while session.step(&mut check) {
            check(&session);
        }
        checkpoint = Zxid(session.acknowledged.0.saturating_sub(7));
        retire(&mut session, checkpoint);
        let image = session.disk.crash(|| super::simulated_disk::Fate::New);
        let is_recycled =
            |file: &Vec<u8>| SegmentHeader::decode(file).is_ok_and(|(header, _)| header.recycled);
        recycled = recycled.max(image.files.values().filter(|file| is_recycled(file)).count());
    }
    assert!(images > 1500 && recycled > 1, "{images} images, {recycled} recycled segments at once");
}

#[test]
fn a_spare_that_found_no_space_for_its_new_name_is_still_one() {
    let sequence = Sequence(20);
    let mut writer = LogWriter::new(settings(), DATABASE, Tail::origin(Zxid::ZERO, sequence));
    writer.add_spare(SegmentFile { sequence: Sequence(1), bytes: settings().segment_bytes });
    let rename = Upkeep::Rename { spare: Sequence(1), sequence };
    for attempt in 0..3 {
        assert_eq!(writer.take_upkeep(attempt * 2_000_000), Ok(Some(rename)));
        let full = IoFailure { errno: Some(28), message: "renaming: no space".into() };
        writer.on_upkeep(rename, Err(full), attempt * 2_000_000).unwrap();
        assert_eq!(writer.shortage(), Some(Shortage::Space));
    }
    assert_eq!(writer.take_upkeep(8_000_000), Ok(Some(rename)));
    writer.on_upkeep(rename, Ok(()), 8_000_000).unwrap();
    assert_eq!(writer.take_upkeep(8_000_000), Ok(Some(Upkeep::Sync { sequence })));
}

#[test]
fn the_log_keeps_so_many_spares_and_removes_the_others() {
    let tail = Tail::origin(Zxid::ZERO, Sequence(20));
    let mut writer = LogWriter::new(settings(), DATABASE, tail);
    let bytes = settings().segment_bytes;
    assert!(bytes > SEGMENT_HEADER_BYTES as u64);
    for number in 1..=10 {
        writer.add_spare(SegmentFile { sequence: Sequence(number), bytes });
    }
    writer.add_spare(SegmentFile { sequence: Sequence(11), bytes: bytes + 4096 });
    writer.add_spare(SegmentFile { sequence: Sequence(20), bytes });
    let mut steps = Vec::new();
    while let Some(step) = writer.take_upkeep(0).unwrap() {
        writer.on_upkeep(step, Ok(()), 0).unwrap();
        steps.push(step);
    }
    let sequence = Sequence(20);
    assert_eq!(steps[0], Upkeep::Rename { spare: Sequence(1), sequence });
    assert_eq!(steps[1..3], [Upkeep::Sync { sequence }, Upkeep::SyncDirectory]);
    let removed = [9, 10, 11, 20].map(|number| Upkeep::Remove { spare: Sequence(number) });
    assert_eq!(steps[3..], removed, "too many, too long, or possibly with batches of the next segment");
}
