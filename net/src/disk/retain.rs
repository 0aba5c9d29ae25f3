//! Retention: gathers the facts, lets the engine decide, removes.

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::log::format::{SEGMENT_HEADER_BYTES, SegmentHeader};
use ringkeeper_engine::log::retention::{CheckpointFacts, Obsolete, SegmentFacts, obsolete};
use ringkeeper_engine::log::{SegmentFile, SegmentSource};

use super::checkpoints::{self, CheckpointName};
use super::layout::{DataDirectory, SPARE_CHECKPOINT};
use super::segments::SegmentFiles;
use super::{DiskError, changes, sync_directory};

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Checkpoints, by the zxid in their name.
    pub checkpoints: Vec<Zxid>,
    /// Segments: their files are spares now.
    pub segments: Vec<SegmentFile>,
}

impl DataDirectory {
    /// Removes what recovery does not need, durably: all but the newest `keep` valid checkpoints (two at
    /// least) and the log behind the oldest of them. `is_valid` knows which are; may run while the log is
    /// written.
    pub fn remove_obsolete(
        &self,
        files: &mut SegmentFiles,
        keep: usize,
        mut is_valid: impl FnMut(&CheckpointName) -> bool,
    ) -> Result<Removed, DiskError> {
        let names = checkpoints::list(self)?;
        let mut facts = Vec::with_capacity(names.len());
        for name in &names {
            facts.push(CheckpointFacts { first_zxid: name.first_zxid, valid: is_valid(name) });
        }
        let Obsolete { checkpoints, segments } = obsolete(&facts, &self.segment_facts(files)?, keep);
        for name in names.iter().filter(|name| checkpoints.contains(&name.first_zxid)) {
            // The next checkpoint is written over it: to free so much space at once stalls the log's writes
            // on some disks. Of several, one is left in the end.
            let spare = self.snap().join(SPARE_CHECKPOINT);
            changes::rename(&name.path, &spare).map_err(DiskError::io("removing", &name.path))?;
        }
        if !checkpoints.is_empty() {
            sync_directory(&self.snap())?;
        }
        let segments = match segments.is_empty() {
            true => Vec::new(),
            false => files.retire(&segments)?,
        };
        Ok(Removed { checkpoints, segments })
    }

    fn segment_facts(&self, files: &mut SegmentFiles) -> Result<Vec<SegmentFacts>, DiskError> {
        let mut reader = files.reader()?;
        let mut facts = Vec::new();
        for file in reader.segments() {
            let mut bytes = vec![0; SEGMENT_HEADER_BYTES.min(file.bytes as usize)];
            reader.read_at(file.sequence, 0, &mut bytes)?;
            let header = SegmentHeader::decode(&bytes).ok().map(|(header, _)| header);
            let own = header
                .filter(|header| header.sequence == file.sequence && header.database == self.database());
            let header = own.map(|header| (header.previous_zxid, header.previous));
            facts.push(SegmentFacts { sequence: file.sequence, header });
        }
        Ok(facts)
    }
}
