//! Work that blocks and that no reply waits for, each kind on a thread of its own: the log's
//! upkeep (the next segment is prepared there), its marks, checkpoints and what else changes what recovery
//! finds, and the epochs.

use crate::disk::{self, CheckpointFile, CheckpointName, DataDirectory, DiskError, SegmentFiles};
use crate::log_lane::ReadySegment;
use crate::ring::Wake;
use crossbeam::queue::SegQueue;
use ringkeeper_engine::checkpoint;
use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::log::{SegmentFile, SyncMode, Upkeep};
use ringkeeper_engine::snap::CheckpointWriter;
use ringkeeper_engine::tree::TreeReader;
use ringkeeper_quorum::step::Input;
use ringkeeper_quorum::zab::Epochs;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// What background work brings back.
#[derive(Clone)]
pub struct Results {
    queue: Arc<SegQueue<Input>>,
    wake: Wake,
}

impl Results {
    /// Nothing yet; each result wakes `wake`.
    pub fn new(wake: Wake) -> Self {
        Results { queue: Arc::new(SegQueue::new()), wake }
    }

    /// The oldest result.
    pub fn take(&self) -> Option<Input> {
        self.queue.pop()
    }

    fn put(&self, input: Input) {
        self.queue.push(input);
        self.wake.wake();
    }
}

/// What one thread does, one after the other: no two of these at once.
pub enum DiskJob {
    /// A checkpoint, beside the server's work.
    Checkpoint(CheckpointJob),
    /// A tree that the leader sent, in the place of all that is newer.
    Install(CheckpointJob),
    /// Where the log is to be cut so that this is its last transaction.
    FindCut(Zxid),
}

/// A checkpoint to be written.
pub struct CheckpointJob {
    /// The tree.
    pub tree: TreeReader,
    /// Everything up to here is in the tree.
    pub first: Zxid,
    /// Sessions with their timeouts in milliseconds.
    pub sessions: Vec<(SessionId, u32)>,
    /// Nobody is served until it is done: as fast as the disk takes it.
    pub waited_for: bool,
}

/// Takes jobs for that thread. One that waits makes the one under way as fast as the disk takes it.
pub struct DiskJobs {
    jobs: Sender<DiskJob>,
    waiting: Arc<AtomicUsize>,
    thread: Thread,
}

impl DiskJobs {
    /// Takes a job; `false` if the thread has ended.
    pub fn send(&self, job: DiskJob) -> bool {
        self.hurry();
        self.jobs.send(job).is_ok()
    }

    /// From now on all that is under way goes as fast as the disk takes it, as if a job waited that is never
    /// taken.
    pub fn hurry(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.thread.unpark();
    }
}

/// How checkpoints are written and kept.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointPolicy {
    /// Share of the disk; zero is no limit.
    pub bytes_per_second_max: u64,
    /// Checkpoints to keep, two at least; `None` keeps all.
    pub keep: Option<usize>,
}

/// Starts the thread that writes the log's marks.
///
/// # Errors
/// When there can be no more threads.
pub fn start_marks(
    directory: Arc<DataDirectory>,
    sync: SyncMode,
    results: Results,
) -> std::io::Result<Sender<Zxid>> {
    let (jobs, work) = channel::<Zxid>();
    thread::Builder::new().name("log-mark".into()).spawn(move || {
        for upto in work {
            let marked = make_durable(&directory, sync).and_then(|()| directory.write_mark(upto));
            results.put(Input::Marked(marked.map_err(|error| error.to_failure())));
        }
    })?;
    Ok(jobs)
}

/// Where the log's writes are not made durable one by one, makes them so. What says that the log reaches
/// up to somewhere, a mark or a checkpoint, must be true after a power failure too.
fn make_durable(directory: &DataDirectory, sync: SyncMode) -> Result<(), DiskError> {
    match sync {
        SyncMode::None => SegmentFiles::new(directory, sync).sync_all(),
        SyncMode::Fdatasync | SyncMode::Dsync | SyncMode::Direct => Ok(()),
    }
}

/// Starts the thread of the log's upkeep, which opens each segment that it has prepared.
///
/// # Errors
/// When there can be no more threads.
pub fn start_upkeep(
    mut files: SegmentFiles,
    ready: ReadySegment,
    results: Results,
) -> std::io::Result<Sender<Upkeep>> {
    let (jobs, work) = channel::<Upkeep>();
    thread::Builder::new().name("log-upkeep".into()).spawn(move || {
        for step in work {
            let mut result = files.upkeep(step);
            if step == Upkeep::SyncDirectory && result.is_ok() {
                result = files.open_prepared().map(|(segment, file)| ready.put(segment, file));
            }
            results.put(Input::Upkeep(step, result));
        }
    })?;
    Ok(jobs)
}

/// Starts the thread that writes checkpoints.
///
/// # Errors
/// When there can be no more threads.
pub fn start_checkpoints(
    directory: Arc<DataDirectory>,
    policy: CheckpointPolicy,
    sync: SyncMode,
    results: Results,
) -> std::io::Result<DiskJobs> {
    let (jobs, work) = channel::<DiskJob>();
    let waiting = Arc::new(AtomicUsize::new(0));
    let taken = Arc::clone(&waiting);
    let thread = thread::Builder::new().name("checkpoint".into()).spawn(move || {
        let mut verified = BTreeSet::new();
        for job in work {
            taken.fetch_sub(1, Ordering::Relaxed);
            let pace = |waited_for| match waited_for {
                true => Pace::new(0, &taken),
                false => Pace::new(policy.bytes_per_second_max, &taken),
            };
            match job {
                DiskJob::Checkpoint(job) => {
                    let result =
                        write_checkpoint(&directory, pace(job.waited_for), sync, &job, Newest::AsSeen);
                    let result = result.map_err(|error| error.to_failure());
                    // It may have replaced one of the same name.
                    verified.remove(&job.first);
                    if result.is_ok() {
                        let spares =
                            remove_obsolete(&directory, policy.keep, pace(job.waited_for), &mut verified);
                        spares.into_iter().for_each(|spare| results.put(Input::Spare(spare)));
                    }
                    results.put(Input::Checkpointed(result));
                }
                DiskJob::Install(job) => {
                    let installed = install(&directory, pace(true), sync, &job);
                    verified.clear();
                    results.put(Input::Installed(installed.map_err(|error| error.to_failure())));
                }
                DiskJob::FindCut(last_kept) => {
                    let mut files = SegmentFiles::new(&directory, sync);
                    let found = directory.find_cut(&mut files, last_kept);
                    results.put(Input::CutFound(found.map_err(|error| error.to_failure())));
                }
            }
        }
    })?;
    Ok(DiskJobs { jobs, waiting, thread: thread.thread().clone() })
}

/// Starts the thread that writes the epochs.
///
/// # Errors
/// When there can be no more threads.
pub fn start_epochs(directory: Arc<DataDirectory>, results: Results) -> std::io::Result<Sender<Epochs>> {
    let (jobs, work) = channel::<Epochs>();
    thread::Builder::new().name("epochs".into()).spawn(move || {
        for epochs in work {
            let Epochs { accepted, current } = epochs;
            let written = directory.write_epochs(disk::Epochs { accepted, current });
            results.put(Input::EpochsPersisted(written.map(|()| epochs).map_err(|error| error.to_failure())));
        }
    })?;
    Ok(jobs)
}

/// Once the new checkpoint has its name, recovery begins with it: behind the log that there was, if that
/// ends before it; else with what that log has behind it, until the log has begun anew. Checkpoints that
/// have seen more would ask for more than the new log has.
fn install(
    directory: &DataDirectory,
    pace: Pace<'_>,
    sync: SyncMode,
    job: &CheckpointJob,
) -> Result<(), DiskError> {
    write_checkpoint(directory, pace, sync, job, Newest::AsNamed)?;
    directory.forget_behind(job.first)
}

/// What a checkpoint says that it has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Newest {
    /// The newest transaction that shows in it: a log that ends before it has lost that.
    AsSeen,
    /// Only what its name says. Of a tree that a leader sent while it went on: what shows of later
    /// transactions comes again before anybody is served, and no log of this server had it.
    AsNamed,
}

/// Writes a checkpoint so that it is there whole or not at all.
///
/// # Errors
/// As the disk says.
fn write_checkpoint(
    directory: &DataDirectory,
    mut pace: Pace<'_>,
    sync: SyncMode,
    job: &CheckpointJob,
    says: Newest,
) -> Result<Zxid, DiskError> {
    let begun = Instant::now();
    let mut file = CheckpointFile::create(directory, job.first, !job.waited_for)?;
    let mut writer = CheckpointWriter::new(directory.database(), job.first);
    let newest = checkpoint::write(&mut writer, job.first, &job.sessions, &job.tree, |writer| {
        pace.wait(file.drain(writer)?);
        Ok::<(), DiskError>(())
    })?;
    make_durable(directory, sync)?;
    let newest = if says == Newest::AsNamed { job.first } else { newest };
    let name = file.finish(writer, newest)?;
    info!("checkpoint {} written in {:?}", name.path.display(), begun.elapsed());
    Ok(job.first)
}

/// Keeps work on the disk to so many bytes a second, unless other work waits for it.
struct Pace<'w> {
    begun: Instant,
    bytes: u64,
    /// Zero is no limit.
    bytes_per_second: u64,
    /// How many wait.
    waiting: &'w AtomicUsize,
}

impl<'w> Pace<'w> {
    fn new(bytes_per_second: u64, waiting: &'w AtomicUsize) -> Pace<'w> {
        Pace { begun: Instant::now(), bytes: 0, bytes_per_second, waiting }
    }

    /// So many more were written or read.
    fn wait(&mut self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.bytes += bytes;
        loop {
            let pause = self.pause(self.begun.elapsed());
            if pause.is_zero() {
                return;
            }
            // [`DiskJobs::hurry`] ends it.
            thread::park_timeout(pause);
        }
    }

    /// How long to wait when so much time has passed.
    fn pause(&self, elapsed: Duration) -> Duration {
        if self.bytes_per_second == 0 || self.waiting.load(Ordering::Relaxed) > 0 {
            return Duration::ZERO;
        }
        let earliest = Duration::from_secs_f64(self.bytes as f64 / self.bytes_per_second as f64);
        earliest.saturating_sub(elapsed)
    }
}

/// Returns the files of the segments that recovery does not need, for the log to use again. A checkpoint is
/// read once to know that it is valid: `verified` are those that were.
fn remove_obsolete(
    directory: &DataDirectory,
    keep: Option<usize>,
    mut pace: Pace<'_>,
    verified: &mut BTreeSet<Zxid>,
) -> Vec<SegmentFile> {
    let Some(keep) = keep else { return Vec::new() };
    let is_valid = |name: &CheckpointName| {
        let valid = verified.contains(&name.first_zxid) || name.is_valid(|bytes| pace.wait(bytes));
        if valid {
            verified.insert(name.first_zxid);
        }
        valid
    };
    // Only its list and removals are used; no segment is written through it.
    let mut files = SegmentFiles::new(directory, SyncMode::None);
    match directory.remove_obsolete(&mut files, keep, is_valid) {
        Ok(removed) => {
            verified.retain(|zxid| !removed.checkpoints.contains(zxid));
            if !removed.checkpoints.is_empty() || !removed.segments.is_empty() {
                info!(
                    "removed {} checkpoints and {} segments that recovery does not need",
                    removed.checkpoints.len(),
                    removed.segments.len()
                );
            }
            removed.segments
        }
        Err(error) => {
            warn!("obsolete files were not removed: {error}");
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_on_the_disk_keeps_to_its_share_unless_other_work_waits() {
        let waiting = AtomicUsize::new(0);
        for (bytes_per_second, piece, seconds) in [(1000, 100, 10), (8 << 20, 256 << 10, 4), (7, 1, 9)] {
            let mut pace = Pace::new(bytes_per_second, &waiting);
            let (mut now, mut bytes) = (Duration::ZERO, 0);
            while now < Duration::from_secs(seconds) {
                // The disk takes no time for it.
                pace.bytes += piece;
                now += pace.pause(now);
                bytes += piece;
                assert!(
                    bytes as f64 <= now.as_secs_f64() * bytes_per_second as f64 + 0.5,
                    "{bytes} in {now:?}"
                );
            }
            assert!(bytes <= seconds * bytes_per_second + piece, "{bytes} bytes in {seconds} s");
        }
        let after = |bytes_per_second, bytes, seconds| {
            let pace = Pace { bytes, ..Pace::new(bytes_per_second, &waiting) };
            pace.pause(Duration::from_secs(seconds))
        };
        assert_eq!(after(1000, 100, 1), Duration::ZERO, "it is below its share anyway");
        assert_eq!(after(0, 1 << 40, 0), Duration::ZERO, "no limit");
        assert_eq!(after(1000, 6000, 0), Duration::from_secs(6));
        waiting.store(1, Ordering::Relaxed);
        assert_eq!(after(1000, 6000, 0), Duration::ZERO, "somebody waits for the thread");
    }
}
