//! One combination of settings, measured: the log's own writer, its upkeep and its ring, without a server.
//!
//! A fixed number of writers each append one transaction and append the next when that is durable. All of
//! them are on the ring's thread, as the replica is.

use crate::failure::Failure;
use crate::raw;
use hdrhistogram::Histogram;
use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::log::{
    Alignment, LogError, LogWriter, SegmentFile, Sequence, Settings, SyncMode, Tail,
};
use ringkeeper_net::background::{Results, start_upkeep};
use ringkeeper_net::clock::Clock;
use ringkeeper_net::disk::{DataDirectory, DiskError, SegmentFiles};
use ringkeeper_net::log_lane::{LogLane, ReadySegment};
use ringkeeper_net::ring::{self, Runtime, Wake};
use ringkeeper_quorum::step::Input;
use serde::Serialize;
use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// Latencies are kept with so many digits, up to a minute.
const DIGITS: u8 = 3;
const LATENCY_US_MAX: u64 = 60_000_000;
/// A log write that takes longer is reported, in milliseconds.
const SLOW_MS: u64 = 60_000;

/// How a measurement loads the log.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Transactions that wait for durability at any time.
    pub writers: usize,
    /// Bytes of each.
    pub transaction_bytes: usize,
    /// How long it is measured, after a tenth of that as warm-up.
    pub duration: Duration,
    /// Whether each write is to be kept, for a trace.
    pub traced: bool,
}

/// One write of the log, in microseconds since the measurement began.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Span {
    /// When it was handed to the ring.
    pub begin_us: u64,
    /// When the ring had it durable; the driver may see that later.
    pub end_us: u64,
    /// Its bytes, padding included.
    pub bytes: usize,
    /// Transactions in it.
    pub transactions: u64,
}

impl Span {
    /// Of a write that was handed over at `since_us` and `took` so long, as far as it lies in a measurement
    /// that began at `origin_us`.
    fn of(since_us: u64, took: Duration, origin_us: u64, bytes: usize, transactions: u64) -> Span {
        let end_us = (since_us + took.as_micros() as u64).saturating_sub(origin_us);
        Span { begin_us: since_us.saturating_sub(origin_us), end_us, bytes, transactions }
    }

    /// How long it was in flight.
    pub fn in_flight_us(&self) -> u64 {
        self.end_us - self.begin_us
    }
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Measured {
    /// From append to durable, in microseconds.
    pub latency_us: Histogram<u64>,
    /// How long was measured.
    pub seconds: f64,
    /// Writes that came back durable.
    pub writes: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What each was padded to.
    pub alignment: Alignment,
    /// Time in which a write was in flight.
    pub in_flight_us: u64,
    /// The writes, if they were to be kept.
    pub spans: Vec<Span>,
}

impl Measured {
    fn new(alignment: Alignment) -> Measured {
        let latency_us = Histogram::new_with_bounds(1, LATENCY_US_MAX, DIGITS).expect("valid bounds");
        let spans = Vec::new();
        Measured { latency_us, seconds: 0.0, writes: 0, bytes: 0, alignment, in_flight_us: 0, spans }
    }

    /// The mean length of a write, padded as writes are: the disk takes no other by `direct`.
    pub fn write_bytes(&self) -> usize {
        self.alignment.round_up(self.bytes.div_ceil(self.writes.max(1)).max(1)) as usize
    }

    /// Transactions that became durable.
    pub fn transactions(&self) -> u64 {
        self.latency_us.len()
    }

    /// Adds what another round found.
    pub fn add(&mut self, other: Measured) {
        self.latency_us.add(other.latency_us).expect("the same bounds");
        self.seconds += other.seconds;
        self.writes += other.writes;
        self.bytes += other.bytes;
        self.in_flight_us += other.in_flight_us;
        self.spans = other.spans;
    }
}

/// Files of segments that there are before the first measurement.
const SPARES: u64 = 4;

/// Where a log is written again and again. What one measurement wrote, the next one uses again, as a server
/// does behind its checkpoints: zeros that are written beside the log would share the disk with it, and the
/// disk alone has none beside it.
pub struct Ground {
    data: DataDirectory,
    next: Sequence,
    /// Kept for its end: it removes the directory.
    _home: TempDir,
}

impl Ground {
    /// Makes a directory of its own below `directory`, and the first files, of `segment_bytes` each.
    ///
    /// # Errors
    /// As the disk says.
    pub fn create(directory: &Path, segment_bytes: u64) -> Result<Ground, Failure> {
        let home = tempfile::Builder::new().prefix("group-commit-").tempdir_in(directory);
        let home = home.map_err(|error| Failure::system("making a directory", error))?;
        let data = DataDirectory::open(home.path(), home.path());
        let data = data.map_err(|error| Failure::system("making a data directory", error))?;
        let files = SegmentFiles::new(&data, SyncMode::None);
        for number in 1..=SPARES {
            raw::fill(&files.path(Sequence(number)), segment_bytes)?;
        }
        Ok(Ground { data, next: Sequence(SPARES + 1), _home: home })
    }

    fn files(&self, sync: SyncMode) -> SegmentFiles {
        SegmentFiles::new(&self.data, sync)
    }

    /// Takes everything out of the log, and returns the files that it left.
    fn clear(&mut self) -> Result<Vec<SegmentFile>, DiskError> {
        let mut files = self.files(SyncMode::None);
        let written: Vec<Sequence> = files.list()?.into_iter().map(|file| file.sequence).collect();
        self.next = self.next.max(written.last().map_or(self.next, |last| last.next()));
        files.retire(&written)?;
        files.spares(self.next, self.data.database())
    }
}

/// Measures a log that begins.
///
/// # Errors
/// As the disk and the ring say.
pub fn measure(ground: &mut Ground, settings: Settings, load: Load) -> Result<Measured, Failure> {
    let spares = ground.clear().map_err(|error| Failure::system("clearing a data directory", error))?;
    let files = || ground.files(settings.sync);
    let settings = match settings.sync {
        SyncMode::Direct => {
            let alignment = files().probe_direct();
            let alignment =
                alignment.map_err(|error| Failure::system("the file system refuses O_DIRECT", error))?;
            Settings { alignment, ..settings }
        }
        _ => settings,
    };
    let tail = Tail::origin(Zxid::ZERO, ground.next);
    let mut writer = LogWriter::new(settings, ground.data.database(), tail);
    spares.into_iter().for_each(|spare| writer.add_spare(spare));
    let ready = ReadySegment::default();
    let lane = LogLane::new(files(), ready.clone(), settings.sync, SLOW_MS);
    let measured = Measured::new(settings.alignment);
    let ran = ring::run(Runtime::default(), drive(files(), ready, lane, writer, load, measured));
    ran.map_err(|error| Failure::system("starting a ring", error))?
        .map_err(|error| Failure::system("the log", error))
}

async fn drive(
    files: SegmentFiles,
    ready: ReadySegment,
    mut lane: LogLane,
    mut log: LogWriter,
    load: Load,
    mut measured: Measured,
) -> Result<Measured, LogError> {
    let (clock, wake) = (Clock::start(), Wake::new());
    let results = Results::new(wake.clone());
    let upkeep = start_upkeep(files, ready, results.clone()).expect("a thread");
    let transaction = vec![0x5a; load.transaction_bytes];
    let mut waiting: VecDeque<(Zxid, u64)> = VecDeque::new();
    let (mut last, mut begun_us, mut in_flight_since) = (Zxid::ZERO, None, 0);
    let mut upkeep_under_way = false;
    let warm_up_us = load.duration.as_micros() as u64 / 10;
    loop {
        let now_us = clock.now().us;
        let measuring = begun_us.is_some_and(|begun: u64| now_us >= begun + warm_up_us);
        while let Some((write, result, took)) = lane.take_written() {
            let bytes = write.bytes().len();
            let Some(durable) = log.on_written(write, result)? else { continue };
            // The first write shows that the first segment is there.
            let origin = *begun_us.get_or_insert(now_us) + warm_up_us;
            let before = waiting.len();
            while let Some((_, since)) = waiting.pop_front_if(|(zxid, _)| *zxid <= durable.upto()) {
                if measuring {
                    measured.latency_us.saturating_record((now_us - since).max(1));
                }
            }
            if measuring {
                measured.writes += 1;
                measured.bytes += bytes as u64;
                let transactions = (before - waiting.len()) as u64;
                let span = Span::of(in_flight_since, took, origin, bytes, transactions);
                measured.in_flight_us += span.in_flight_us();
                if load.traced {
                    measured.spans.push(span);
                }
            }
        }
        while let Some(input) = results.take() {
            if let Input::Upkeep(step, result) = input {
                upkeep_under_way = false;
                log.on_upkeep(step, result, now_us)?;
            }
        }
        let end_us = begun_us.map_or(u64::MAX, |begun| begun + warm_up_us + load.duration.as_micros() as u64);
        // The files are somebody else's then.
        if now_us >= end_us && !log.is_writing() && !upkeep_under_way {
            measured.seconds = (now_us - begun_us.unwrap_or(now_us) - warm_up_us) as f64 / 1e6;
            return Ok(measured);
        }
        while waiting.len() < load.writers && now_us < end_us {
            last = last.next();
            log.append(last, &transaction, now_us)?;
            waiting.push_back((last, now_us));
        }
        if now_us < end_us
            && let Some(step) = log.take_upkeep(now_us)?
        {
            lane.before(step);
            upkeep.send(step).expect("the thread lives as long as this end");
            upkeep_under_way = true;
        }
        if let Some(write) = log.take_write(now_us)? {
            in_flight_since = clock.now().us;
            lane.write(write, &wake);
        }
        lane.plan(now_us, &log, &wake);
        wake.woken().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_in_flight_until_the_ring_has_it_and_within_the_measurement() {
        let took = Duration::from_micros(120);
        for (since_us, origin_us, begin_us, end_us) in
            [(1000, 400, 600, 720), (350, 400, 0, 70), (400, 400, 0, 120), (100, 400, 0, 0)]
        {
            let span = Span::of(since_us, took, origin_us, 512, 3);
            assert_eq!((span.begin_us, span.end_us), (begin_us, end_us));
            assert_eq!(span.in_flight_us(), end_us - begin_us);
        }
    }

    #[test]
    fn a_write_of_mean_length_is_one_that_the_disk_takes() {
        for (alignment, unit) in [(Alignment::SECTOR, 512), (Alignment::PAGE, 4096)] {
            let mut measured = Measured::new(alignment);
            // A full one and the rest.
            (measured.writes, measured.bytes) = (3, 2 * 65_536 + 4096);
            assert_eq!(measured.write_bytes() % unit, 0);
            assert_eq!(measured.write_bytes() / unit, 45_056_usize.div_ceil(unit));
            (measured.writes, measured.bytes) = (0, 0);
            assert_eq!(measured.write_bytes(), unit);
        }
    }

    #[test]
    fn what_the_driver_does_between_two_writes_is_no_flight() {
        let directory = tempfile::tempdir().expect("a directory");
        // So many answers behind each write that the driver is busy with them.
        let load =
            Load { writers: 4000, transaction_bytes: 100, duration: Duration::from_millis(60), traced: true };
        let settings = Settings { sync: SyncMode::None, segment_bytes: 1 << 20, ..Settings::default() };
        let ground = Ground::create(directory.path(), settings.segment_bytes);
        let mut ground = ground.unwrap_or_else(|e| panic!("{e}"));
        let measured = measure(&mut ground, settings, load).unwrap_or_else(|e| panic!("{e}"));
        let spans = &measured.spans;
        assert!(spans.len() > 2 && spans.len() as u64 == measured.writes, "{}", measured.writes);
        assert!(spans.is_sorted_by(|one, next| one.end_us <= next.begin_us), "one write at a time");
        let between: u64 = spans.windows(2).map(|two| two[1].begin_us - two[0].end_us).sum();
        assert!(between > 0, "the driver takes time for {} transactions", measured.transactions());
        let of_all = measured.in_flight_us + between;
        assert!(of_all as f64 <= measured.seconds * 1e6 + 1.0, "{of_all} us of {} s", measured.seconds);
    }
    #[test]
    fn what_one_measurement_wrote_the_next_uses_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let load =
            Load { writers: 8, transaction_bytes: 3000, duration: Duration::from_millis(20), traced: false };
        let settings = Settings { sync: SyncMode::None, segment_bytes: 1 << 18, ..Settings::default() };
        let ground = Ground::create(directory.path(), settings.segment_bytes);
        let mut ground = ground.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(ground.clear().expect("the first files").len() as u64, SPARES);
        let first = ground.next;
        for _ in 0..3 {
            let measured = measure(&mut ground, settings, load).unwrap_or_else(|e| panic!("{e}"));
            assert!(measured.writes > 0);
            let left = ground.clear().expect("the files that it left");
            assert!(ground.next > first);
            // One that was not prepared to its end is none: the log has it removed.
            let whole = left.iter().filter(|file| file.bytes == settings.segment_bytes).count() as u64;
            assert!(whole >= SPARES && left.len() as u64 - whole <= 1, "{left:?}");
        }
    }
}
