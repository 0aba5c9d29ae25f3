//! A disk for tests: it remembers what was synced and what was not, and makes the images that a crash
//! can leave. Each sector that was written and not synced is old, new or torn; a file that was created
//! without a sync of its directory is there or not; a length that was not synced is old or new.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::format::Sequence;
use super::preparation::Upkeep;
use super::recovery::{SegmentFile, SegmentSource};
use super::writer::LogWrite;

const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug, Default)]
struct File {
    synced: Vec<u8>,
    current: Vec<u8>,
    named: bool,
}

/// What a crash made of one thing that was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Old,
    New,
    Torn,
}

#[derive(Clone, Debug, Default)]
pub struct SimulatedDisk {
    files: BTreeMap<Sequence, File>,
    spares: BTreeMap<Sequence, File>,
}

/// A log's files as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    pub files: BTreeMap<Sequence, Vec<u8>>,
}

impl SegmentSource for Image {
    type Error = Infallible;

    fn segments(&self) -> Vec<SegmentFile> {
        let files = self.files.iter();
        files.map(|(&sequence, file)| SegmentFile { sequence, bytes: file.len() as u64 }).collect()
    }

    fn read_at(&mut self, sequence: Sequence, offset: u64, into: &mut [u8]) -> Result<(), Infallible> {
        let offset = offset as usize;
        into.copy_from_slice(&self.files[&sequence][offset..offset + into.len()]);
        Ok(())
    }
}

impl From<Image> for SimulatedDisk {
    fn from(image: Image) -> SimulatedDisk {
        let file = |bytes: Vec<u8>| File { synced: bytes.clone(), current: bytes, named: true };
        let files = image.files.into_iter().map(|(name, bytes)| (name, file(bytes))).collect();
        SimulatedDisk { files, spares: BTreeMap::new() }
    }
}

impl SimulatedDisk {
    fn file(&mut self, sequence: Sequence) -> &mut File {
        self.files.get_mut(&sequence).expect("an operation on a file that was created")
    }

    fn write_at(&mut self, sequence: Sequence, offset: u64, bytes: &[u8]) {
        let file = self.file(sequence);
        let (begin, end) = (offset as usize, offset as usize + bytes.len());
        if file.current.len() < end {
            file.current.resize(end, 0);
        }
        file.current[begin..end].copy_from_slice(bytes);
    }

    fn sync(&mut self, sequence: Sequence) {
        let file = self.file(sequence);
        file.synced = file.current.clone();
    }

    /// What retention does with a segment that is not needed: it is a spare from now on.
    pub fn retire(&mut self, sequence: Sequence) -> SegmentFile {
        let file = self.files.remove(&sequence).expect("a segment");
        let bytes = file.current.len() as u64;
        self.spares.insert(sequence, file);
        SegmentFile { sequence, bytes }
    }

    fn recycle(&mut self, spare: Sequence, sequence: Sequence) {
        let file = self.spares.remove(&spare).expect("a spare");
        self.files.insert(sequence, File { named: false, ..file });
    }

    /// Does a step of the upkeep lane.
    pub fn upkeep(&mut self, step: Upkeep) {
        match step {
            Upkeep::Create { sequence } => self.files.entry(sequence).or_default().current.clear(),
            Upkeep::Zero { sequence, offset, bytes } => {
                self.write_at(sequence, offset, &vec![0; bytes as usize]);
            }
            Upkeep::Sync { sequence } => self.sync(sequence),
            Upkeep::SyncDirectory => self.files.values_mut().for_each(|file| file.named = true),
            Upkeep::Close { sequence } => drop(self.file(sequence)),
            Upkeep::Rename { spare, sequence } => self.recycle(spare, sequence),
            Upkeep::Remove { spare } => drop(self.spares.remove(&spare)),
        }
    }

    /// Writes, without a sync.
    pub fn write(&mut self, write: &LogWrite) {
        assert!(
            self.file(write.segment).current.len() as u64 >= write.offset + write.bytes().len() as u64,
            "a write lies within what was filled with zeros"
        );
        self.write_at(write.segment, write.offset, write.bytes());
    }

    /// The sync that makes the write durable.
    pub fn sync_write(&mut self, write: &LogWrite) {
        self.sync(write.segment);
    }

    /// How many things have a fate: the questions that `crash` asks.
    pub fn open_fates(&self) -> usize {
        let mut count = 0;
        self.crash(|| {
            count += 1;
            Fate::New
        });
        count
    }

    /// The image after a crash at this moment.
    pub fn crash(&self, mut fate: impl FnMut() -> Fate) -> Image {
        let mut image = Image::default();
        for (&sequence, file) in &self.files {
            if !file.named && fate() != Fate::New {
                continue;
            }
            let mut bytes = file.current.clone();
            let sectors = file.current.len().max(file.synced.len()).div_ceil(SECTOR_BYTES);
            for sector in 0..sectors {
                let at = sector * SECTOR_BYTES;
                let end = (at + SECTOR_BYTES).min(bytes.len());
                let old = |byte: usize| file.synced.get(byte).copied().unwrap_or(0);
                if (at..end).all(|byte| bytes[byte] == old(byte)) {
                    continue;
                }
                // A torn sector has its new bytes up to the middle of what differs.
                let differing: Vec<usize> = (at..end).filter(|&byte| bytes[byte] != old(byte)).collect();
                let keep = match fate() {
                    Fate::New => end,
                    Fate::Old => at,
                    Fate::Torn => differing[differing.len() / 2],
                };
                (keep..end).for_each(|byte| bytes[byte] = old(byte));
            }
            if file.synced.len() != file.current.len() && fate() == Fate::Old {
                let kept = bytes.len().min(file.synced.len());
                bytes.truncate(kept);
                bytes.extend_from_slice(&file.synced[kept..]);
            }
            image.files.insert(sequence, bytes);
        }
        image
    }
}
