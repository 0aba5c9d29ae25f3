//! Where a request's time goes: each hop of a write and of a read, in histograms that operators read.
//!
//! What moves between the hops are batches, so a batch is what is stamped: the clock is read once a batch
//! and hop, never once a request, and the oldest of the batch stands for all. Memory is fixed. Each thread
//! has a set of its own, which it alone adds to; whoever reports reads all of them.

use crate::clock::Clock;
use std::sync::atomic::{AtomicU64, Ordering};

/// A hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From the read of the socket until the batch is sent to the replica.
    Gather,
    /// Until the replica takes it.
    Request,
    /// Until its transactions are made.
    Prepare,
    /// Until the log's write that has them begins: another may be under way.
    LogWait,
    /// Until that write is durable.
    LogWrite,
    /// In an ensemble: from when transactions are given to the log here until a quorum has them.
    Quorum,
    /// Until the transactions are in the tree and the answers made.
    Apply,
    /// Until the core takes the answers.
    Reply,
    /// From the read of the socket until the answers of the reads in it are made, from the tree.
    Read,
    /// From the first answer in a connection's buffer until the socket has taken them.
    Send,
}

impl Stage {
    /// All of them, in the order of a request.
    pub const ALL: [Stage; 10] = [
        Stage::Gather,
        Stage::Request,
        Stage::Prepare,
        Stage::LogWait,
        Stage::LogWrite,
        Stage::Quorum,
        Stage::Apply,
        Stage::Reply,
        Stage::Read,
        Stage::Send,
    ];

    /// What operators read.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Gather => "gather",
            Stage::Request => "request",
            Stage::Prepare => "prepare",
            Stage::LogWait => "log_wait",
            Stage::LogWrite => "log_write",
            Stage::Quorum => "quorum",
            Stage::Apply => "apply",
            Stage::Reply => "reply",
            Stage::Read => "read",
            Stage::Send => "send",
        }
    }
}

/// Buckets that each doubling of the value is divided into: a percentile is wrong by an eighth at most.
const PARTS: u64 = 8;
/// Values from here on share the last bucket: 71 minutes.
const US_MAX: u64 = u32::MAX as u64;
const BUCKETS: usize = bucket_of(US_MAX) + 1;

/// The bucket of a value: itself below [`PARTS`], then [`PARTS`] to a doubling.
const fn bucket_of(us: u64) -> usize {
    if us < PARTS {
        return us as usize;
    }
    let doublings = us.ilog2() - PARTS.ilog2();
    ((doublings as u64 + 1) * PARTS + (us >> doublings) - PARTS) as usize
}

/// The largest value of a bucket.
const fn largest_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PARTS {
        return bucket;
    }
    let (doublings, part) = (bucket / PARTS - 1, bucket % PARTS);
    ((PARTS + part + 1) << doublings) - 1
}

/// Microseconds, counted by size.
struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
    max_us: AtomicU64,
}

impl Histogram {
    fn new() -> Histogram {
        let zero = || AtomicU64::new(0);
        Histogram { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum_us: zero(), max_us: zero() }
    }

    fn add(&self, us: u64) {
        let us = us.min(US_MAX);
        self.buckets[bucket_of(us)].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
        self.max_us.fetch_max(us, Ordering::Relaxed);
    }

    fn reset(&self) {
        for number in self.buckets.iter().chain([&self.sum_us, &self.max_us]) {
            number.store(0, Ordering::Relaxed);
        }
    }
}

/// What is known of a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Batches.
    pub count: u64,
    /// Of all of them together, in microseconds.
    pub sum_us: u64,
    /// Half of them took no longer, in microseconds.
    pub p50_us: u64,
    /// 99 of 100 took no longer.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

impl Summary {
    /// The mean in microseconds; zero of none.
    pub fn average_us(self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum_us as f64 / self.count as f64 }
    }

    fn of(histograms: &[&Histogram]) -> Summary {
        let sum = |of: &dyn Fn(&Histogram) -> u64| histograms.iter().map(|h| of(h)).sum::<u64>();
        let buckets: Vec<u64> =
            (0..BUCKETS).map(|bucket| sum(&|h| h.buckets[bucket].load(Ordering::Relaxed))).collect();
        let count: u64 = buckets.iter().sum();
        let max_us = histograms.iter().map(|h| h.max_us.load(Ordering::Relaxed)).max().unwrap_or(0);
        let quantile = |of_100: u64| {
            let rank = (count * of_100).div_ceil(100);
            let mut seen = 0;
            let reaches = |(_, n): &(usize, &u64)| {
                seen += **n;
                seen >= rank
            };
            let bucket = buckets.iter().enumerate().find(reaches).map_or(0, |(bucket, _)| bucket);
            largest_of(bucket).min(max_us)
        };
        let sum_us = sum(&|h| h.sum_us.load(Ordering::Relaxed));
        Summary { count, sum_us, p50_us: quantile(50), p99_us: quantile(99), max_us }
    }
}

/// The histograms of one thread, on lines of the cache that no other thread's are on.
#[repr(align(128))]
struct Set([Histogram; Stage::ALL.len()]);

/// Those of all threads.
pub struct Stages {
    sets: Box<[Set]>,
}

impl Stages {
    /// For the replica and so many client cores; without `on` nothing is stamped.
    pub fn new(cores: u16, on: bool) -> Stages {
        let threads = if on { usize::from(cores) + 1 } else { 0 };
        let set = |_| Set(std::array::from_fn(|_| Histogram::new()));
        Stages { sets: (0..threads).map(set).collect() }
    }

    /// Each stage, over all threads; nothing if nothing is stamped.
    pub fn summaries(&self) -> impl Iterator<Item = (Stage, Summary)> {
        let stages = if self.sets.is_empty() { &[][..] } else { &Stage::ALL };
        stages.iter().map(|stage| {
            let histograms: Vec<&Histogram> = self.sets.iter().map(|set| &set.0[*stage as usize]).collect();
            (*stage, Summary::of(&histograms))
        })
    }

    /// Forgets what was counted.
    pub fn reset(&self) {
        self.sets.iter().flat_map(|set| &set.0).for_each(Histogram::reset);
    }
}

/// A thread's stamps.
#[derive(Clone)]
pub struct Stamps {
    stages: std::sync::Arc<Stages>,
    thread: usize,
    clock: Clock,
}

impl Stamps {
    /// Those of the replica's thread.
    pub fn of_replica(stages: &std::sync::Arc<Stages>, clock: Clock) -> Stamps {
        Stamps { stages: std::sync::Arc::clone(stages), thread: 0, clock }
    }

    /// Those of a client core.
    pub fn of_core(stages: &std::sync::Arc<Stages>, core: u16, clock: Clock) -> Stamps {
        Stamps { thread: usize::from(core) + 1, ..Stamps::of_replica(stages, clock) }
    }

    /// This moment, in microseconds since the server's start; zero if nothing is stamped.
    pub fn now_us(&self) -> u64 {
        if self.stages.sets.is_empty() { 0 } else { self.clock.us() }
    }

    /// A batch came to a stage at one moment and left it at another.
    pub fn add(&self, stage: Stage, from_us: u64, to_us: u64) {
        if let Some(set) = self.stages.sets.get(self.thread) {
            set.0[stage as usize].add(to_us.saturating_sub(from_us));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn every_value_has_one_bucket_that_is_an_eighth_of_it_wide_at_most() {
        let mut first = 0;
        for bucket in 0..BUCKETS {
            let last = largest_of(bucket);
            assert!(bucket_of(first) == bucket && bucket_of(last) == bucket, "{first} to {last}");
            assert!((last - first) * PARTS <= first, "{first} to {last}");
            first = last + 1;
        }
        assert_eq!(first, US_MAX + 1);
    }

    #[test]
    fn a_summary_is_over_all_threads_and_a_reset_forgets_it() {
        let stages = Arc::new(Stages::new(1, true));
        let clock = Clock::start();
        let (replica, core) = (Stamps::of_replica(&stages, clock), Stamps::of_core(&stages, 0, clock));
        (0..98).for_each(|_| replica.add(Stage::Apply, 10, 15));
        core.add(Stage::Apply, 0, 1000);
        core.add(Stage::Apply, 3, 2);
        let summary = || stages.summaries().find(|(stage, _)| *stage == Stage::Apply).unwrap().1;
        let expected = Summary { count: 100, sum_us: 1490, p50_us: 5, p99_us: 5, max_us: 1000 };
        assert_eq!(summary(), expected);
        core.add(Stage::Apply, 0, u64::MAX);
        let p99 = summary();
        assert_eq!((p99.p99_us, p99.max_us), (1023, US_MAX), "the bucket that ends there");
        stages.reset();
        assert_eq!(summary(), Summary::default());
        let off = Arc::new(Stages::new(3, false));
        Stamps::of_core(&off, 2, clock).add(Stage::Read, 0, 1);
        assert_eq!((off.summaries().count(), Stamps::of_replica(&off, clock).now_us()), (0, 0));
    }
}
