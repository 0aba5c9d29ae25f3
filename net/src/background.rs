//! Work that blocks and that no reply waits for, each kind on a thread of its own: the log's
//! upkeep (the next segment is prepared there), its marks, and checkpoints.

use crate::disk::{CheckpointFile, CheckpointName, DataDirectory, DiskError, SegmentFiles};
use crate::ring::Wake;
use crossbeam::queue::SegQueue;
use ringkeeper_engine::checkpoint;
use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::log::{SegmentFile, SyncMode, Upkeep};
use ringkeeper_engine::snap::CheckpointWriter;
use ringkeeper_engine::tree::TreeReader;
use ringkeeper_quorum::step::Input;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
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

/// A checkpoint to be written.
pub struct CheckpointJob {
    /// Everything up to here is in the tree.
    pub first: Zxid,
    /// Sessions with their timeouts in milliseconds.
    pub sessions: Vec<(SessionId, u32)>,
    /// The server stops and waits for it: as fast as the disk takes it.
    pub at_stop: bool,
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

/// Starts the thread of the log's upkeep.
///
/// # Errors
/// When there can be no more threads.
pub fn start_upkeep(mut files: SegmentFiles, results: Results) -> std::io::Result<Sender<Upkeep>> {
    let (jobs, work) = channel::<Upkeep>();
    thread::Builder::new().name("log-upkeep".into()).spawn(move || {
        for step in work {
            let result = files.upkeep(step);
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
    tree: TreeReader,
    policy: CheckpointPolicy,
    sync: SyncMode,
    results: Results,
) -> std::io::Result<Sender<CheckpointJob>> {
    let (jobs, work) = channel::<CheckpointJob>();
    thread::Builder::new().name("checkpoint".into()).spawn(move || {
        let mut verified = BTreeSet::new();
        for job in work {
            let result = write_checkpoint(&directory, &tree, policy, sync, &job);
            let result = result.map_err(|error| error.to_failure());
            // It may have replaced one of the same name.
            verified.remove(&job.first);
            if result.is_ok() {
                let spares = remove_obsolete(&directory, policy, &mut verified);
                spares.into_iter().for_each(|spare| results.put(Input::Spare(spare)));
            }
            results.put(Input::Checkpointed(result));
        }
    })?;
    Ok(jobs)
}

/// Writes a checkpoint so that it is there whole or not at all.
///
/// # Errors
/// As the disk says.
pub fn write_checkpoint(
    directory: &DataDirectory,
    tree: &TreeReader,
    policy: CheckpointPolicy,
    sync: SyncMode,
    job: &CheckpointJob,
) -> Result<Zxid, DiskError> {
    let begun = Instant::now();
    let mut pace = Pace::new(if job.at_stop { 0 } else { policy.bytes_per_second_max });
    let mut file = CheckpointFile::create(directory, job.first, !job.at_stop)?;
    let mut writer = CheckpointWriter::new(directory.database(), job.first);
    let newest = checkpoint::write(&mut writer, job.first, &job.sessions, tree, |writer| {
        pace.wait(file.drain(writer)?);
        Ok::<(), DiskError>(())
    })?;
    make_durable(directory, sync)?;
    let name = file.finish(writer, newest)?;
    info!("checkpoint {} written in {:?}", name.path.display(), begun.elapsed());
    Ok(job.first)
}

/// Keeps work on the disk to so many bytes a second.
struct Pace {
    begun: Instant,
    bytes: u64,
    /// Zero is no limit.
    bytes_per_second: u64,
}

impl Pace {
    fn new(bytes_per_second: u64) -> Pace {
        Pace { begun: Instant::now(), bytes: 0, bytes_per_second }
    }

    /// So many more were written or read.
    fn wait(&mut self, bytes: u64) {
        self.bytes += bytes;
        if bytes > 0 && self.bytes_per_second > 0 {
            let earliest = Duration::from_secs_f64(self.bytes as f64 / self.bytes_per_second as f64);
            thread::sleep(earliest.saturating_sub(self.begun.elapsed()));
        }
    }
}

/// Returns the files of the segments that recovery does not need, for the log to use again. A checkpoint is
/// read once to know that it is valid: `verified` are those that were.
fn remove_obsolete(
    directory: &DataDirectory,
    policy: CheckpointPolicy,
    verified: &mut BTreeSet<Zxid>,
) -> Vec<SegmentFile> {
    let Some(keep) = policy.keep else { return Vec::new() };
    let mut pace = Pace::new(policy.bytes_per_second_max);
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
