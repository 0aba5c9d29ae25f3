//! Crash images: a small workload is stopped after every step, every image that a crash can leave
//! there is recovered, and the log goes on from it.

use super::ending::{Ending, look_from_end};
use super::format::{Alignment, DatabaseId};
use super::recovery::{Recovery, SegmentFile, SegmentSource, Tail, Verdict, recover};
use super::simulated_disk::{Fate, Image, SimulatedDisk};
use super::writer::{LogWrite, LogWriter, Settings, SyncMode};
use crate::id::Zxid;
use crate::log::Sequence;
use std::convert::Infallible;

pub(super) const DATABASE: DatabaseId = DatabaseId(0x0123_4567_89ab_cdef);

pub(super) fn settings() -> Settings {
    Settings {
        segment_bytes: 3 * 4096,
        max_batch_bytes: 4096,
        alignment: Alignment::SECTOR,
        ..Settings::default()
    }
}

/// A transaction's bytes, told from any other's.
pub(super) fn transaction(zxid: u64) -> Vec<u8> {
    (0..40 + zxid as usize * 211 % 1200).map(|index| (zxid as usize * 31 + index) as u8 | 1).collect()
}

/// A writer on a simulated disk, step by step.
pub(super) struct Session {
    pub disk: SimulatedDisk,
    pub writer: LogWriter,
    sync: SyncMode,
    pub acknowledged: Zxid,
    in_flight: Option<LogWrite>,
    steps: u64,
}

impl Session {
    pub fn new(disk: SimulatedDisk, tail: Tail) -> Session {
        Session::with(disk, tail, SyncMode::Fdatasync)
    }

    pub fn with(disk: SimulatedDisk, tail: Tail, sync: SyncMode) -> Session {
        let acknowledged = tail.zxid();
        let writer = LogWriter::new(Settings { sync, ..settings() }, DATABASE, tail);
        Session { disk, writer, sync, acknowledged, in_flight: None, steps: 0 }
    }

    pub fn append(&mut self, zxid: u64) {
        self.writer.append(Zxid(zxid), &transaction(zxid), 0).unwrap();
    }

    /// Does one thing, `false` if there is nothing to do. `before_sync` sees the disk between a write
    /// and its sync.
    pub fn step(&mut self, mut before_sync: impl FnMut(&Session)) -> bool {
        self.steps += 1;
        // The lanes are independent: which one moves first changes all the time.
        if self.steps.is_multiple_of(3) && self.upkeep() {
            return true;
        }
        if let Some(write) = self.in_flight.take() {
            self.disk.write(&write);
            before_sync(self);

            if self.sync != SyncMode::None || write.begins_segment() {
                self.disk.sync_write(&write);
            }
            if let Some(durable) = self.writer.on_written(write, Ok(())).unwrap() {
                self.acknowledged = durable.upto();
            }
            return true;
        }
        self.in_flight = self.writer.take_write(0).unwrap();
        self.in_flight.is_some() || self.upkeep()
    }

    fn upkeep(&mut self) -> bool {
        let Some(step) = self.writer.take_upkeep(0).unwrap() else { return false };
        self.disk.upkeep(step);
        self.writer.on_upkeep(step, Ok(()), 0).unwrap();
        true
    }

    pub fn settle(&mut self) {
        while self.step(|_| ()) {}
    }
}

/// Files whose ends somebody looks at.
struct LookedAt<'i>(&'i mut Image);

impl SegmentSource for LookedAt<'_> {
    type Error = Infallible;

    fn segments(&self) -> Vec<SegmentFile> {
        self.0.segments()
    }

    fn read_at(&mut self, sequence: Sequence, offset: u64, into: &mut [u8]) -> Result<(), Infallible> {
        self.0.read_at(sequence, offset, into)
    }

    fn ending(&mut self, sequence: Sequence) -> Option<Ending> {
        let file = self.segments().into_iter().find(|file| file.sequence == sequence)?;
        let Ok(ending) = look_from_end(self.0, DATABASE, file);
        Some(ending)
    }
}

fn recover_all(source: &mut impl SegmentSource<Error = Infallible>) -> (Recovery, Vec<u64>) {
    let mut found = Vec::new();
    let Ok(recovery) = recover(source, DATABASE, Zxid::ZERO, |zxid, bytes| {
        assert_eq!(bytes, transaction(zxid.0), "{zxid} has its own bytes");
        found.push(zxid.0);
        Ok(())
    });
    (recovery, found)
}

/// Recovers as a server does, with the removal of what is not used. What somebody saw of the files' ends
/// must change nothing.
pub(super) fn recovered(image: &mut Image) -> (Verdict, Vec<u64>, Option<Tail>) {
    let (recovery, found) = recover_all(&mut LookedAt(image));
    assert_eq!((recovery.clone(), found.clone()), recover_all(image));
    let tail = recovery.tail().ok();
    for unused in recovery.unused() {
        image.files.remove(unused);
    }
    (recovery.verdict, found, tail)
}

pub(super) fn every_image(disk: &SimulatedDisk, seed: u64, mut check: impl FnMut(Image)) {
    const ALL_UP_TO: u64 = 3 * 3 * 3 * 3 * 3;
    let fates = [Fate::Old, Fate::New, Fate::Torn];
    let count = 3u64.checked_pow(disk.open_fates() as u32).filter(|count| *count <= ALL_UP_TO);
    let mut random = seed | 1;
    for number in 0..count.unwrap_or(ALL_UP_TO) {
        let mut digits = number;
        check(disk.crash(|| {
            if count.is_some() {
                let fate = fates[(digits % 3) as usize];
                digits /= 3;
                return fate;
            }
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            fates[(random >> 33) as usize % 3]
        }));
    }
}

/// Recovers an image, checks it against what was acknowledged, and returns what was found.
fn check_image(image: &mut Image, known: &[u64], acknowledged: Zxid) -> (Vec<u64>, Tail) {
    let (verdict, found, tail) = recovered(image);
    let tail = tail.unwrap_or_else(|| panic!("a crash is not corruption: {verdict}"));
    assert!(known.starts_with(&found), "{found:?} is no beginning of {known:?}");
    let last = found.last().copied().unwrap_or(0);
    assert!(last >= acknowledged.0, "{acknowledged} was acknowledged, {last} is the last found");
    (found, tail)
}

fn survives_every_crash(disk: SimulatedDisk, tail: Tail, before: &[u64], depth: u32) -> u64 {
    let mut images = 0;
    let mut known = before.to_vec();
    let mut session = Session::new(disk, tail);
    let first = known.last().copied().unwrap_or(0) + 1;
    let mut next = first;
    let mut seed = first;
    loop {
        // A rhythm that gathers one, two or three transactions, and rolls over segments.
        if next < first + [30, 6][depth as usize] && !session.writer.has_pending() {
            for _ in 0..1 + next % 3 {
                known.push(next);
                session.append(next);
                next += 1;
            }
        }
        let mut check = |session: &Session| {
            seed += 1;
            let acknowledged = session.acknowledged;
            every_image(&session.disk, seed, |image| {
                images += 1;
                let mut image = image;
                let (found, tail) = check_image(&mut image, &known, acknowledged);
                // Go on from some of the images, so that a crash after a crash is covered too.
                if depth == 0 && images % 211 == 0 {
                    survives_every_crash(image.into(), tail, &found, 1);
                }
            });
        };
        check(&session);
        if !session.step(&mut check) {
            return images;
        }
    }
}

#[test]
fn recovery_keeps_every_acked_transaction_at_every_crash_point() {
    let tail = Tail::origin(Zxid::ZERO, Sequence::FIRST);
    let images = survives_every_crash(SimulatedDisk::default(), tail, &[], 0);
    assert!(images > 2000, "{images}");
}

#[test]
fn without_syncs_a_power_failure_costs_an_end_and_is_no_corruption() {
    let mut session =
        Session::with(SimulatedDisk::default(), Tail::origin(Zxid::ZERO, Sequence::FIRST), SyncMode::None);
    let (mut known, mut images, mut holes) = (Vec::new(), 0, 0);
    for zxid in 1..=30 {
        known.push(zxid);
        session.append(zxid);
        session.settle();
        every_image(&session.disk, zxid, |mut image| {
            images += 1;
            let (verdict, found, _) = recovered(&mut image);
            assert!(verdict.is_sound(), "{verdict}");
            assert!(known.starts_with(&found), "{found:?} is no beginning of {known:?}");
            holes += u64::from(matches!(verdict, Verdict::Hole { .. }));
        });
    }
    assert!(images > 1000 && holes > 100, "{images} {holes}");
}
