//! What a server of real replicas has on disk: the bytes of its log's segments, its checkpoints, mark and
//! epochs. What is under way when the server ends is there, or not, or the beginning of it is.

use fastrand::Rng;
use ringkeeper_engine::checkpoint;
use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::log::recovery::find_cut;
use ringkeeper_engine::log::{
    self, Cut, DatabaseId, LogWrite, LogWriter, Replay, SegmentFile, SegmentSource, Sequence, Upkeep, replay,
};
use ringkeeper_engine::snap::{Checkpoint, CheckpointWriter};
use ringkeeper_engine::tree::TreeReader;
use ringkeeper_engine::tree::kept::KeptFault;
use ringkeeper_net::disk::Restore;
use ringkeeper_net::restore::{Apply, Restart, Restored};
use ringkeeper_quorum::members::Members;
use ringkeeper_quorum::message::Transaction;
use ringkeeper_quorum::zab::Epochs;
use std::collections::BTreeMap;
use std::convert::Infallible;

const DATABASE: DatabaseId = DatabaseId(7);
const SECTOR_BYTES: usize = 512;

/// One disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    segments: BTreeMap<Sequence, Vec<u8>>,
    /// By the zxid that their replay begins behind.
    checkpoints: BTreeMap<Zxid, Vec<u8>>,
    /// What the log is known to reach.
    pub mark: Zxid,
    /// What was promised.
    pub epochs: Epochs,
    /// The configuration that took the place of the first one.
    pub members: Option<Members>,
    /// What was proposed to take its place, kept beside it.
    pub next: Option<Members>,
}

impl SegmentSource for Disk {
    type Error = Infallible;

    fn segments(&self) -> Vec<SegmentFile> {
        let files = self.segments.iter();
        files.map(|(sequence, file)| SegmentFile { sequence: *sequence, bytes: file.len() as u64 }).collect()
    }

    fn read_at(&mut self, sequence: Sequence, offset: u64, into: &mut [u8]) -> Result<(), Infallible> {
        let offset = offset as usize;
        into.copy_from_slice(&self.segments[&sequence][offset..offset + into.len()]);
        Ok(())
    }
}

struct Behind<'r>(&'r mut Restored);

impl Replay for Behind<'_> {
    fn transaction(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<(), String> {
        self.0.transaction(zxid, bytes)
    }

    fn committed(&mut self, upto: Zxid) -> Result<(), String> {
        self.0.committed(upto)
    }
}

impl Disk {
    /// Settings of a log whose segments are short.
    pub fn log_settings() -> log::Settings {
        log::Settings { segment_bytes: 16 << 12, max_batch_bytes: 4 << 10, ..log::Settings::default() }
    }

    /// What a server that starts finds, its log, and whether the log's files reach where it goes on.
    pub fn recover(&mut self, seed: u64) -> (Restart, LogWriter, bool) {
        let mut restored = Restored::new(seed, false, Apply::Committed);
        let mut after = Zxid::ZERO;
        if let Some((zxid, bytes)) = self.checkpoints.last_key_value() {
            let checkpoint = Checkpoint::open(bytes).expect("it was written whole");
            restored.checkpoint(&checkpoint).expect("it was written whole");
            after = *zxid;
        }
        let Ok(found) = replay(self, DATABASE, after, &mut Behind(&mut restored));
        let tail = found.tail().expect("a crash never damages what was durable");
        let reached = found.reached.unwrap_or(Zxid::ZERO);
        assert!(reached >= self.mark, "the log ends at {reached}, its mark says {}", self.mark);
        self.segments.retain(|sequence, _| *sequence < tail.next_sequence());
        (restored.finish(), LogWriter::new(Self::log_settings(), DATABASE, tail), tail.is_in_log())
    }

    /// A write of the log is durable.
    pub fn write(&mut self, write: &LogWrite) {
        self.write_beginning(write, usize::MAX);
    }

    /// The server ended during a write: some beginning of it is there.
    pub fn tear(&mut self, write: &LogWrite, rng: &mut Rng) {
        self.write_beginning(write, rng.usize(0..=write.bytes().len().div_ceil(SECTOR_BYTES)));
    }

    fn write_beginning(&mut self, write: &LogWrite, sectors: usize) {
        let file = self.segments.get_mut(&write.segment).expect("it was prepared");
        let bytes = &write.bytes()[..write.bytes().len().min(sectors.saturating_mul(SECTOR_BYTES))];
        let at = write.offset as usize;
        file[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// A step of the log's upkeep is done.
    pub fn upkeep(&mut self, step: Upkeep) {
        match step {
            Upkeep::Create { sequence } => _ = self.segments.insert(sequence, Vec::new()),
            Upkeep::Zero { sequence, offset, bytes } => {
                let file = self.segments.get_mut(&sequence).expect("it was created");
                file.resize((offset + bytes) as usize, 0);
            }
            Upkeep::Sync { .. } | Upkeep::SyncDirectory | Upkeep::Close { .. } => {}
            Upkeep::Rename { .. } | Upkeep::Remove { .. } => unreachable!("nothing is handed over"),
        }
    }

    /// A checkpoint of the tree as it is now, of what was asked for at `first`.
    pub fn checkpoint(&mut self, tree: &TreeReader, first: Zxid, sessions: &[(SessionId, u32)]) {
        self.write_checkpoint(tree, first, sessions, false);
        // The newest two stay, and the log stays: it is short.
        while self.checkpoints.len() > 2 {
            self.checkpoints.pop_first();
        }
    }

    fn write_checkpoint(
        &mut self,
        tree: &TreeReader,
        first: Zxid,
        sessions: &[(SessionId, u32)],
        as_named: bool,
    ) {
        let mut writer = CheckpointWriter::new(DATABASE, first);
        let newest = checkpoint::write(&mut writer, first, sessions, tree, |_| Ok::<(), KeptFault>(()));
        let newest = newest.expect("what is in memory stays as it is");
        let newest = if as_named { first } else { newest };
        let bytes = writer.finish(newest).collect::<Vec<_>>().concat();
        self.checkpoints.insert(first, bytes);
    }

    /// The tree that a leader sent takes the place of all that is newer. A server that ends meanwhile has
    /// taken some of the steps.
    pub fn install(&mut self, tree: &TreeReader, zxid: Zxid, sessions: &[(SessionId, u32)], steps: usize) {
        if steps > 0 {
            self.write_checkpoint(tree, zxid, sessions, true);
        }
        if steps > 1 {
            self.forget_behind(zxid);
        }
    }

    fn forget_behind(&mut self, last_kept: Zxid) {
        self.mark = self.mark.min(last_kept);
        self.checkpoints.retain(|_, bytes| {
            Checkpoint::open(bytes).expect("it was written whole").last_zxid() <= last_kept
        });
    }

    /// Where the log is to be cut.
    pub fn find_cut(&mut self, last_kept: Zxid) -> Cut {
        self.forget_behind(last_kept);
        let after = self.checkpoints.last_key_value().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
        let Ok(found) = find_cut(self, DATABASE, after, last_kept);
        found.expect("a log that was written whole")
    }

    /// What the log has behind the newest checkpoint, and where that ends.
    pub fn transactions(&self) -> (Zxid, Vec<Transaction>) {
        let after = self.checkpoints.last_key_value().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
        let mut found = Vec::new();
        let Ok(_) = log::recover(&mut self.clone(), DATABASE, after, |zxid, bytes| {
            found.push(Transaction { zxid, bytes: bytes.to_vec().into() });
            Ok(())
        });
        (after, found)
    }
}
