//! What recovery reads, as a database: a checkpoint by as many threads as there are cores, then the log
//! behind it by one.

use crate::disk::Restore;
use bytes::Bytes;
use ringkeeper_engine::checkpoint::Reading;
use ringkeeper_engine::database::Database;
use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::jute::DecodeError;
use ringkeeper_engine::snap::Checkpoint;
use ringkeeper_quorum::message::Transaction;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// More threads than this wait for the memory rather than for each other.
const THREADS_MAX: usize = 16;
/// Blocks that a thread takes at a time.
const BLOCKS: usize = 4;
/// Runs of children that a thread takes at a time.
const RUNS: usize = 1024;

/// How far a log is applied at a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apply {
    /// A standalone server decides alone, so all that its log has is committed.
    All,
    /// In an ensemble: what the log says is committed. The rest may have been discarded meanwhile.
    Committed,
}

/// Takes what recovery reads.
pub struct Restored {
    apply: Apply,
    /// Not known to be committed so far.
    held: VecDeque<Transaction>,
    /// Known to be.
    committed: Zxid,

    database: Database,
    seed: u64,
    extended_types: bool,
    threads: usize,
    /// Bytes of transactions that were read.
    log_bytes: u64,
}

impl Restored {
    /// Nothing yet; `seed` keys the hashes.
    pub fn new(seed: u64, extended_types: bool, apply: Apply) -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        Restored {
            apply,
            held: VecDeque::new(),
            committed: Zxid::ZERO,
            database: Database::new(seed),
            seed,
            extended_types,
            threads,
            log_bytes: 0,
        }
    }

    /// All that was read.
    pub fn finish(mut self) -> Restart {
        self.database.replayed();
        Restart { database: self.database, held: self.held.into(), log_bytes: self.log_bytes }
    }

    fn replay(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<(), String> {
        let replayed = self.database.replay_unseen(bytes);
        replayed.map_err(|error| unreadable(zxid, &error))
    }
}

fn unreadable(zxid: Zxid, error: &DecodeError) -> String {
    format!("transaction {zxid} cannot be read: {error}")
}

/// What a server starts with.
pub struct Restart {
    /// Its tree and sessions.
    pub database: Database,
    /// The end of its log, of which it is not known whether it is committed.
    pub held: Vec<Transaction>,
    /// Bytes of transactions that were read from the log.
    pub log_bytes: u64,
}

impl Restore for Restored {
    fn checkpoint(&mut self, checkpoint: &Checkpoint<'_>) -> Result<(), String> {
        // What a damaged checkpoint left is dropped before the one before it is read.
        self.database = Database::new(self.seed);
        let reading = Reading::begin(self.seed, checkpoint, self.extended_types)?;
        let blocks = |range| reading.blocks(range);
        let mut taken = in_parallel(self.threads, checkpoint.block_count(), BLOCKS, blocks)?;
        let index = |range| reading.index(&taken, range);
        let over = in_parallel(self.threads, reading.partitions(), 1, index)?;
        reading.index_rest(over.concat())?;
        let runs = reading.runs(&mut taken);
        in_parallel(self.threads, runs.len(), RUNS, |range| reading.children(&runs, range))?;
        drop(runs);
        self.database = reading.finish(taken);
        // What a checkpoint was written beside was applied, so it was committed.
        self.committed = checkpoint.last_zxid();
        Ok(())
    }

    fn transaction(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<(), String> {
        self.log_bytes += bytes.len() as u64;
        if self.apply == Apply::All || zxid <= self.committed {
            return self.replay(zxid, bytes);
        }
        self.held.push_back(Transaction { zxid, bytes: Bytes::copy_from_slice(bytes) });
        Ok(())
    }

    fn transactions<'b>(
        &mut self,
        all: impl Iterator<Item = (Zxid, &'b [u8])> + Clone,
    ) -> Result<(), (Zxid, String)> {
        let known = match self.apply {
            Apply::All => Zxid(u64::MAX),
            Apply::Committed => self.committed,
        };
        let now = all.clone().take_while(|(zxid, _)| *zxid <= known);
        let replayed = self.database.replay_all_unseen(now.clone().map(|(_, bytes)| bytes));
        replayed.map_err(|(at, error)| {
            let zxid = now.clone().nth(at).map_or(known, |(zxid, _)| zxid);
            (zxid, unreadable(zxid, &error))
        })?;
        self.log_bytes += now.map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
        let mut held = all.skip_while(|(zxid, _)| *zxid <= known);
        held.try_for_each(|(zxid, bytes)| self.transaction(zxid, bytes).map_err(|why| (zxid, why)))
    }

    fn committed(&mut self, upto: Zxid) -> Result<(), String> {
        self.committed = self.committed.max(upto);
        while let Some(held) = self.held.pop_front_if(|held| held.zxid <= self.committed) {
            self.replay(held.zxid, &held.bytes)?;
        }
        Ok(())
    }
}

/// Has threads take ranges of `0..count`, `at_once` numbers at a time, until all are taken or one fails.
fn in_parallel<T: Send>(
    threads: usize,
    count: usize,
    at_once: usize,
    work: impl Fn(Range<usize>) -> Result<T, String> + Sync,
) -> Result<Vec<T>, String> {
    let next = AtomicUsize::new(0);
    let one = || {
        let mut done = Vec::new();
        loop {
            let start = next.fetch_add(at_once, Ordering::Relaxed);
            if start >= count {
                return Ok(done);
            }
            match work(start..(start + at_once).min(count)) {
                Ok(taken) => done.push(taken),
                Err(error) => {
                    // The others need not go on.
                    next.store(count, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    };
    let threads = threads.min(count.div_ceil(at_once));
    let results: Vec<Result<Vec<T>, String>> = thread::scope(|scope| {
        // A thread that cannot be started leaves its share to the others.
        let started: Vec<_> = (1..threads)
            .map_while(|_| thread::Builder::new().name("recovery".into()).spawn_scoped(scope, one).ok())
            .collect();
        let own = one();
        let others = started.into_iter().map(|thread| thread.join().expect("a panic ends the process"));
        std::iter::once(own).chain(others.collect::<Vec<_>>()).collect()
    });
    Ok(results.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_taken_once_and_a_failure_ends_all() {
        for (threads, count, at_once) in [(1, 10, 3), (4, 1000, 7), (3, 0, 5), (2, 1, 100)] {
            let taken = in_parallel(threads, count, at_once, |range| Ok(range.collect::<Vec<_>>())).unwrap();
            let mut taken: Vec<usize> = taken.into_iter().flatten().collect();
            taken.sort_unstable();
            assert_eq!(taken, (0..count).collect::<Vec<_>>());
        }
        let fails = |range: Range<usize>| if range.contains(&500) { Err("500".to_owned()) } else { Ok(()) };
        assert_eq!(in_parallel(4, 1_000_000, 3, fails), Err("500".to_owned()));
    }
}
