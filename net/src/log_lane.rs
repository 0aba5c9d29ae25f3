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

/// See the module.
pub struct LogLane {
    names: SegmentFiles,
    ready: ReadySegment,
    sync: SyncMode,
    slow_ms: u64,
    /// Open files with their paths, which nothing but a failure asks for.
    files: HashMap<Sequence, (File, Rc<Path>)>,
    written: Rc<RefCell<VecDeque<Written>>>,
    /// When a timer for a batch that waits for company rings.
    timer_at_us: u64,
}

impl LogLane {
    /// For these files, each of which is `ready` before it is written to. A write that takes longer than
    /// `slow_ms` is reported.
    pub fn new(names: SegmentFiles, ready: ReadySegment, sync: SyncMode, slow_ms: u64) -> Self {
        let written = Rc::default();
        LogLane { names, ready, sync, slow_ms, files: HashMap::new(), written, timer_at_us: 0 }
    }

    /// Begins a write; `wake` is woken when [`Self::take_written`] has it.
    pub fn write(&mut self, mut write: LogWrite, wake: &Wake) {
        let (written, wake) = (Rc::clone(&self.written), wake.clone());
        let synced_after = match self.sync {
            SyncMode::Fdatasync => true,
            SyncMode::None => write.begins_segment(),
            SyncMode::Dsync | SyncMode::Direct => false,
        };
        let opened = self.file(write.segment);
        let (begun, slow_ms) = (Instant::now(), u128::from(self.slow_ms));
        ring::spawn_urgent(async move {
            let failed = |path: &Path, error: io::Error| IoFailure {
                errno: error.raw_os_error(),
                message: format!("writing {}: {error}", path.display()),
            };
            let result = match opened {
                Ok((file, path)) => {
                    let buffer = std::mem::take(&mut write.buffer);
                    let (mut result, home) = file.write_at(buffer, write.range.clone(), write.offset).await;
                    write.buffer = home;
                    if result.is_ok() && synced_after {
                        result = file.sync_data().await;
                    }
                    result.map_err(|error| failed(&path, error))
                }
                Err((error, path)) => Err(failed(&path, error)),
            };
            let took = begun.elapsed();
            let took_ms = took.as_millis();
            if took_ms > slow_ms {
                warn!("a log write of {} bytes took {took_ms} ms to be durable", write.range.len());
            }
            written.borrow_mut().push_back((write, result, took));
            wake.wake();
        });
    }

    /// The oldest write that came back.
    pub fn take_written(&self) -> Option<Written> {
        self.written.borrow_mut().pop_front()
    }

    /// To be told of each step of the log's upkeep before it is done.
    pub fn before(&mut self, step: Upkeep) {
        if let Upkeep::Close { sequence } = step {
            self.files.remove(&sequence);
        }
    }

    fn file(&mut self, segment: Sequence) -> Result<(File, Rc<Path>), (io::Error, Rc<Path>)> {
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
