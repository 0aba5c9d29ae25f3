//! The log's writes, through the ring of the thread that runs the replica.

use crate::disk::SegmentFiles;
use crate::ring::{self, File, Wake};
use ringkeeper_engine::log::{IoFailure, LogWrite, LogWriter, Sequence, SyncMode, Upkeep};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::warn;

/// A write that came back, whether it is durable, and how long it took.
pub type Written = (LogWrite, Result<(), IoFailure>, Duration);

/// The segment that is ready to be written to, open: the thread that prepared it opened it, so that the one
/// that writes it waits for no file system, and so that what keeps it from being opened is met before
/// anything is written.
#[derive(Clone, Default)]
pub struct ReadySegment(Arc<Mutex<Option<(Sequence, std::fs::File)>>>);

impl ReadySegment {
    /// Puts it there, in the place of one that was there.
    pub fn put(&self, segment: Sequence, file: std::fs::File) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((segment, file));
    }

    fn take(&self, segment: Sequence) -> Option<std::fs::File> {
        let mut ready = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ready.take_if(|(number, _)| *number == segment).map(|(_, file)| file)
    }
}

/// An open file with its path, or why it is none.
type Opened = Result<(File, Rc<Path>), (io::Error, Rc<Path>)>;

/// A write that was asked for.
struct Asked {
    write: LogWrite,
    opened: Opened,
    synced_after: bool,
    begun: Instant,
    /// Who waits for it.
    wake: Wake,
}

/// What the log's owner and the one task that writes share.
#[derive(Default)]
struct Lane {
    asked: RefCell<VecDeque<Asked>>,
    /// Something was asked for.
    more: Wake,
    written: RefCell<VecDeque<Written>>,
}

impl Lane {
    /// Does what is asked for, one write after the other, as long as the runtime lives.
    async fn run(self: Rc<Self>, slow_ms: u64) {
        loop {
            let Some(asked) = self.asked.borrow_mut().pop_front() else {
                self.more.woken().await;
                continue;
            };
            let Asked { mut write, opened, synced_after, begun, wake } = asked;
            let failed = |path: &Path, error: io::Error| IoFailure {
                errno: error.raw_os_error(),
                message: format!("writing {}: {error}", path.display()),
            };
            let result = match opened {
                Ok((file, path)) => {
                    let (buffer, range) = (std::mem::take(&mut write.buffer), write.range.clone());
                    let (result, home) = match synced_after {
                        true => file.write_and_sync_at(buffer, range, write.offset).await,
                        false => file.write_at(buffer, range, write.offset).await,
                    };
                    write.buffer = home;
                    result.map_err(|error| failed(&path, error))
                }
                Err((error, path)) => Err(failed(&path, error)),
            };
            let took = begun.elapsed();
            let took_ms = took.as_millis();
            if took_ms > u128::from(slow_ms) {
                warn!("a log write of {} bytes took {took_ms} ms to be durable", write.range.len());
            }
            self.written.borrow_mut().push_back((write, result, took));
            wake.wake();
        }
    }
}

/// See the module.
pub struct LogLane {
    names: SegmentFiles,
    ready: ReadySegment,
    sync: SyncMode,
    slow_ms: u64,
    /// Open files with their paths, which nothing but a failure asks for.
    files: HashMap<Sequence, (File, Rc<Path>)>,
    lane: Rc<Lane>,
    /// Its task was begun.
    runs: bool,
    /// When a timer for a batch that waits for company rings.
    timer_at_us: u64,
}

impl LogLane {
    /// For these files, each of which is `ready` before it is written to. A write that takes longer than
    /// `slow_ms` is reported.
    pub fn new(names: SegmentFiles, ready: ReadySegment, sync: SyncMode, slow_ms: u64) -> Self {
        let lane = Rc::default();
        LogLane { names, ready, sync, slow_ms, files: HashMap::new(), lane, runs: false, timer_at_us: 0 }
    }

    /// Begins a write; `wake` is woken when [`Self::take_written`] has it.
    pub fn write(&mut self, write: LogWrite, wake: &Wake) {
        let opened = self.file(write.segment);
        let synced_after = match self.sync {
            SyncMode::Fdatasync => true,
            SyncMode::None => write.begins_segment(),
            SyncMode::Dsync | SyncMode::Direct => false,
        };
        let asked = Asked { write, opened, synced_after, begun: Instant::now(), wake: wake.clone() };
        self.lane.asked.borrow_mut().push_back(asked);
        self.lane.more.wake();
        if !self.runs {
            self.runs = true;
            ring::spawn_urgent(Rc::clone(&self.lane).run(self.slow_ms));
        }
    }

    /// The oldest write that came back.
    pub fn take_written(&self) -> Option<Written> {
        self.lane.written.borrow_mut().pop_front()
    }

    /// To be told of each step of the log's upkeep before it is done.
    pub fn before(&mut self, step: Upkeep) {
        if let Upkeep::Close { sequence } = step {
            self.files.remove(&sequence);
        }
    }

    fn file(&mut self, segment: Sequence) -> Opened {
        if let Some(opened) = self.files.get(&segment) {
            return Ok(opened.clone());
        }
        let path: Rc<Path> = self.names.path(segment).into();
        let file = match self.ready.take(segment) {
            Some(file) => file,
            None => self.names.open_for_writes(segment).map_err(|error| (error, Rc::clone(&path)))?,
        };
        let opened = (File::new(file), path);
        self.files.insert(segment, opened.clone());
        Ok(opened)
    }

    /// A batch that waits for company is written when its time has come, also if nothing happens.
    pub fn plan(&mut self, now_us: u64, log: &LogWriter, wake: &Wake) {
        let Some(due) = log.write_due_at_us() else { return };
        if log.is_writing() || due <= now_us || due == self.timer_at_us {
            return;
        }
        self.timer_at_us = due;
        let wake = wake.clone();
        ring::spawn(async move {
            ring::sleep(Duration::from_micros(due - now_us)).await;
            wake.wake();
        });
    }
}
