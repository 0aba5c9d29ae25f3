//! Newest valid checkpoint, then the log behind it.
//!
//! | found | what happens |
//! |---|---|
//! | a damaged or unreadable checkpoint | the one before serves, and this is said |
//! | no checkpoint, a log from its beginning | the log alone is replayed |
//! | no valid checkpoint, a log that begins later | refused: never an empty tree |
//! | a log that ends before the mark, or before what shows in a checkpoint beyond its name | refused: transactions are lost |
//! | no log, though the mark says that there was one | the same |
//! | a log that ends before the name of the checkpoint that serves, and no mark says more | it begins anew there, as behind a tree that a leader sent |
//! | a checkpoint of another version or database | refused |
//! | a torn end of the log, which no checkpoint or mark knows of | cut, and this is said |
//! | a hole in a log without syncs, of which the same is true | cut, and this is said |
//! | any other damage of the log | refused |
//! | one damaged copy of a record that is kept twice | mended from the other one, and this is said |
//! | both copies damaged, or whole and different | refused |
//!
//! The mark (`DIR/mark`) is what tells damage to the log's end from a crash's, and a log that is lost from
//! one that was never begun. It is written when a segment was begun, when a checkpoint was completed, when
//! the log has been idle for a moment, and at an orderly stop. Damage to what was written since then, at the
//! very end of the log, is taken for a crash's, said and cut. Until a segment's mark is durable, only the
//! file of the next segment tells that a whole newest one is lost: its name is made beside the first write to
//! the one before. What is lost before both are there, a few milliseconds, nothing tells of.

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::log::{self, Cut, Recovery, Replay, Tail, Verdict};
use ringkeeper_engine::snap::{Checkpoint, Fault};
use std::sync::Arc;

use super::ahead::read_ahead;
use super::checkpoints::{self, CheckpointName, MappedCheckpoint};
use super::layout::DataDirectory;
use super::refusal::{Located, Refusal};
use super::segments::SegmentFiles;
use super::{DiskError, changes, sync_directory};

/// Who takes what recovery reads.
pub trait Restore {
    /// Takes a whole checkpoint, in the place of anything taken before: when it fails, an older one
    /// comes. Blocks are verified as they are asked for; a fault of one is a reason to fail.
    fn checkpoint(&mut self, checkpoint: &Checkpoint<'_>) -> Result<(), String>;

    /// Takes the next transaction. One that was there when the checkpoint passed by comes again.
    fn transaction(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<(), String>;

    /// The same with transactions that follow each other; says at which it failed.
    fn transactions<'b>(
        &mut self,
        mut all: impl Iterator<Item = (Zxid, &'b [u8])> + Clone,
    ) -> Result<(), (Zxid, String)> {
        all.try_for_each(|(zxid, bytes)| self.transaction(zxid, bytes).map_err(|why| (zxid, why)))
    }

    /// The log knows that everything up to `upto` was committed. Said before what was logged later, and
    /// perhaps before some of what it is said of. Who runs alone need not hear it: all that its log has is.
    fn committed(&mut self, upto: Zxid) -> Result<(), String> {
        let _ = upto;
        Ok(())
    }
}

/// The log behind a checkpoint.
struct Behind<'r, R>(&'r mut R);

impl<R: Restore> Replay for Behind<'_, R> {
    fn transaction(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<(), String> {
        self.0.transaction(zxid, bytes)
    }

    fn committed(&mut self, upto: Zxid) -> Result<(), String> {
        self.0.committed(upto)
    }
}

/// What recovery found.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The checkpoint that served; `None` if the log alone did.
    pub checkpoint: Option<CheckpointName>,
    /// Newer checkpoints that are damaged, and how.
    pub damaged: Vec<(CheckpointName, String)>,
    /// What was found of the log: clean, or a torn end.
    pub log: Verdict,
    /// How many transactions were replayed.
    pub transactions: u64,
    /// Where the log goes on.
    pub tail: Tail,
}

impl Recovered {
    /// What an operator is to know of what was passed over, a line each.
    pub fn notices(&self, directory: &DataDirectory) -> Vec<String> {
        let damaged = self.damaged.iter().map(|(name, why)| {
            format!("checkpoint {} is damaged, the one before it serves: {why}", name.path.display())
        });
        let log = directory.log();
        let torn =
            (self.log != Verdict::Clean).then(|| Located { verdict: &self.log, log: &log }.to_string());
        damaged.chain(torn).collect()
    }
}

impl DataDirectory {
    /// Reads everything back: the newest checkpoint that is whole, then the log behind it.
    ///
    /// # Errors
    /// `Refused` where going on would lose or invent a transaction; what `restore` has taken by then is
    /// to be thrown away.
    pub fn recover(
        &self,
        files: &mut SegmentFiles,
        restore: &mut impl Restore,
    ) -> Result<Recovered, DiskError> {
        let mut damaged = Vec::new();
        let (mut served, mut found) = (None, None);
        // What the log has to reach: a checkpoint holds parts of its last transactions, and its name
        // alone says that there was a log up to there.
        let mark = self.read_mark()?;
        let mut known = mark.map(|zxid| (zxid, self.mark_path()));
        for name in checkpoints::list(self)?.into_iter().rev() {
            if known.as_ref().is_none_or(|(zxid, _)| *zxid < name.first_zxid) {
                known = Some((name.first_zxid, name.path.clone()));
            }
            // The log is verified while the checkpoint is read.
            let take = |restore: &mut _| self.take_checkpoint(&name, restore);
            match self.read_log(files, name.first_zxid, restore, take)? {
                Ok((last_zxid, log)) => {
                    found = Some(log);
                    if known.as_ref().is_none_or(|(zxid, _)| *zxid < last_zxid) {
                        known = Some((last_zxid, name.path.clone()));
                    }
                    served = Some(name);
                    break;
                }
                Err(why) => damaged.push((name, why)),
            }
        }
        let found = match found {
            Some(found) => found,
            None => {
                let nothing = |_: &mut _| Ok(Ok(()));
                let read = self.read_log(files, Zxid::ZERO, restore, nothing)?;
                read.expect("nothing is not damaged").1
            }
        };
        let tail = found.tail().map_err(|verdict| Refusal::Log {
            verdict: verdict.clone(),
            log: self.log(),
            checkpoint: served.as_ref().map(|name| name.path.clone()),
            damaged: damaged.iter().map(|(name, why)| (name.path.clone(), why.clone())).collect(),
        })?;
        // The mark is about the log alone: a checkpoint that reaches as far does not stand in for what was
        // written behind both. What an import brought in is in its checkpoint alone.
        let reached = found.reached.max(self.imported()?).unwrap_or(Zxid::ZERO);
        let of_log = mark.map(|mark| (reached, mark, self.mark_path()));
        let of_all = known.map(|(known, path)| (tail.zxid(), known, path));
        let lost = of_all.into_iter().chain(of_log).find(|(last, known, _)| last < known);
        if let Some((last, known, path)) = lost {
            let (verdict, log) = (found.verdict, self.log());
            return Err(Refusal::LogEndsEarly { last, path, known, log, verdict }.into());
        }
        files.settle(found.unused())?;
        Ok(Recovered { checkpoint: served, damaged, log: found.verdict, transactions: found.entries, tail })
    }

    /// Has `begin` restore what the log is behind, and replays the log behind `after` upon that. The log is
    /// read and verified meanwhile, by a thread of its own. Where `begin` finds damage, that is all.
    fn read_log<R: Restore, T>(
        &self,
        files: &mut SegmentFiles,
        after: Zxid,
        restore: &mut R,
        begin: impl Fn(&mut R) -> Result<Result<T, String>, DiskError>,
    ) -> Result<Result<(T, Recovery), String>, DiskError> {
        let database = self.database();
        let read = read_ahead(files, database, after, |ahead| match begin(restore) {
            Ok(Ok(begun)) => Ok(Ok((begun, ahead.deliver(restore)))),
            Ok(Err(damage)) => Ok(Err(damage)),
            Err(error) => Err(error),
        })?;
        let (begun, found) = match read {
            Some((done, found)) => match done? {
                Ok((begun, Ok(()))) => (begun, found),
                // Where that is in the log, only the log's reader can say.
                Ok((begun, Err(mut refused))) => {
                    (begun, log::replay(&mut files.reader()?, database, after, &mut refused)?)
                }
                Err(damage) => return Ok(Err(damage)),
            },
            None => match begin(restore)? {
                Ok(begun) => {
                    (begun, log::replay(&mut files.reader()?, database, after, &mut Behind(restore))?)
                }
                Err(damage) => return Ok(Err(damage)),
            },
        };
        Ok(Ok((begun, found)))
    }

    /// Restores one checkpoint and returns its last zxid, or what is damaged.
    fn take_checkpoint(
        &self,
        name: &CheckpointName,
        restore: &mut impl Restore,
    ) -> Result<Result<Zxid, String>, DiskError> {
        let map = match MappedCheckpoint::open(&name.path) {
            Ok(map) => Arc::new(map),
            Err(error) => return unreadable(error).map(Err),
        };
        map.read_ahead();
        let kept = map.kept(&name.path);
        let opened = kept.as_ref().map_or_else(|| map.checkpoint(), Checkpoint::open_held);
        let checkpoint = match opened {
            Ok(checkpoint) => checkpoint,
            Err(Fault::UnknownVersion(version)) => {
                return Err(Refusal::UnknownCheckpoint { path: name.path.clone(), version }.into());
            }
            Err(fault) => return Ok(Err(fault.to_string())),
        };
        if checkpoint.database() != self.database() {
            let found = checkpoint.database();
            return Err(Refusal::ForeignCheckpoint { path: name.path.clone(), found }.into());
        }
        if checkpoint.first_zxid() != name.first_zxid {
            return Ok(Err(format!("it begins behind {}, not as its name says", checkpoint.first_zxid())));
        }
        Ok(restore.checkpoint(&checkpoint).map(|()| checkpoint.last_zxid()))
    }

    /// Where to cut the log so that `last_kept` is the last transaction that is left. Checkpoints and mark
    /// have forgotten what is behind it by then, durably. To be called while nothing is written to the log,
    /// and no checkpoint or mark is.
    ///
    /// # Errors
    /// `Refused` if the log is damaged, or does not reach there.
    pub fn find_cut(&self, files: &mut SegmentFiles, last_kept: Zxid) -> Result<Cut, DiskError> {
        self.forget_behind(last_kept)?;
        let after = checkpoints::list(self)?.last().map_or(Zxid::ZERO, |name| name.first_zxid);
        let found = log::find_cut(&mut files.reader()?, self.database(), after, last_kept)?;
        let refused =
            |verdict| Refusal::Log { verdict, log: self.log(), checkpoint: None, damaged: Vec::new() };
        Ok(found.map_err(refused)?)
    }

    /// Makes checkpoints and mark forget what is behind `last_kept`, durably: removes the checkpoints
    /// that have seen anything of it, damaged ones too. To be done before the log is cut there, while no
    /// checkpoint or mark is being written.
    pub fn forget_behind(&self, last_kept: Zxid) -> Result<(), DiskError> {
        self.lower_mark(last_kept)?;
        for name in checkpoints::list(self)? {
            let keeps = match MappedCheckpoint::open(&name.path) {
                Ok(map) => map.checkpoint().is_ok_and(|checkpoint| checkpoint.last_zxid() <= last_kept),
                Err(error) => unreadable(error).map(|_| false)?,
            };
            if keeps {
                continue;
            }
            changes::remove(&name.path).map_err(DiskError::io("removing", &name.path))?;
        }
        sync_directory(&self.snap())
    }
}

/// How a checkpoint is damaged that cannot be opened.
///
/// # Errors
/// It may be whole: what the machine has not enough of now says nothing of the file.
fn unreadable(error: DiskError) -> Result<String, DiskError> {
    const SHORT: [i32; 5] = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EAGAIN, libc::EINTR];
    match &error {
        DiskError::Io { error: why, .. }
            if why.raw_os_error().is_some_and(|errno| !SHORT.contains(&errno)) =>
        {
            Ok(format!("it cannot be opened: {why}"))
        }
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::path::Path;

    #[test]
    fn a_checkpoint_is_given_up_for_what_is_wrong_with_it_and_not_for_what_the_machine_lacks() {
        for (errno, damaged) in [
            (libc::EIO, true),
            (libc::EACCES, true),
            (libc::ELOOP, true),
            (libc::ENODEV, true),
            (libc::EUCLEAN, true),
            (libc::EMFILE, false),
            (libc::ENFILE, false),
            (libc::ENOMEM, false),
        ] {
            let error = DiskError::io("mapping", Path::new("a"))(io::Error::from_raw_os_error(errno));
            match unreadable(error) {
                Ok(why) => assert!(damaged && why.starts_with("it cannot be opened: "), "{errno}: {why}"),
                Err(error) => assert!(!damaged, "{error}"),
            }
        }
    }
}
