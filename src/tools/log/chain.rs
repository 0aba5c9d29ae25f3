//! How the segments of one folder follow each other: what recovery goes by, from their headers alone.
//!
//! A segment's header says where the log before it ends. So whether a segment ends well, and whether it
//! is part of the log at all, is known from those behind it. A segment is never judged by itself if it
//! lies among others.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use ringkeeper_engine::log::format::{Link, SEGMENT_HEADER_BYTES, SegmentHeader};
use ringkeeper_engine::log::reader::header_in_place;
use ringkeeper_engine::log::{DatabaseId, Sequence};
use ringkeeper_net::disk;

use crate::tools::bytes::FileBytes;

/// The chains of the folders that were looked at.
#[derive(Debug, Default)]
pub(super) struct Chains(HashMap<PathBuf, Chain>);

impl Chains {
    /// Of the folder that `file` is in, as far as it can be read.
    pub fn of(&mut self, file: &Path) -> &Chain {
        self.0.entry(folder_of(file)).or_insert_with_key(|folder| Chain::read(folder))
    }
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// What continues a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    /// The header of the segment that does.
    pub header: SegmentHeader,
    /// Where it goes on.
    pub link: Link,
}

/// A segment's place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The newest one, or one that no other is known to follow.
    Last,
    /// Another follows.
    Before(Next),
    /// The log goes from an earlier segment to a later one.
    Abandoned,
}

/// The segments of a folder.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// Those that were written to, with their headers.
    written: BTreeMap<Sequence, SegmentHeader>,
    /// All files.
    files: Vec<Sequence>,
    databases: Vec<DatabaseId>,
}

impl Chain {
    /// Of the folder that `file` is in, as it is now.
    pub fn now(file: &Path) -> Chain {
        Chain::read(&folder_of(file))
    }

    fn read(folder: &Path) -> Chain {
        let mut chain = Chain::default();
        let Ok(entries) = fs::read_dir(folder) else { return chain };
        for entry in entries.flatten() {
            let Some(sequence) = entry.file_name().to_str().and_then(disk::parse_segment_name) else {
                continue;
            };
            chain.files.push(sequence);
            let Ok(mut file) = FileBytes::open(&entry.path()) else { continue };
            let beginning = (SEGMENT_HEADER_BYTES * 2) as u64;
            let Ok(bytes) = file.read(0, beginning) else { continue };
            let Ok((header, _)) = SegmentHeader::decode(bytes) else { continue };
            let first = bytes.get(SEGMENT_HEADER_BYTES..).unwrap_or_default();
            let batch =
                header_in_place(header.database, sequence, SEGMENT_HEADER_BYTES as u64, first).is_some();
            if !chain.databases.contains(&header.database) {
                chain.databases.push(header.database);
            }
            // Header and first batch are one write: with half of it, the segment continues nothing.
            if header.sequence == sequence && batch {
                chain.written.insert(sequence, header);
            }
        }
        chain.files.sort_unstable();
        chain
    }

    /// The databases that the folder's segments name.
    pub fn databases(&self) -> &Vec<DatabaseId> {
        &self.databases
    }

    /// The segment that `header` names as the one before its own, if that is missing although an earlier
    /// one is there. Retention removes the oldest first.
    pub fn missing_before(&self, header: &SegmentHeader) -> Option<Sequence> {
        let link = header.previous?;
        let earlier = self.files.first().is_some_and(|first| *first < link.sequence);
        (earlier && self.files.binary_search(&link.sequence).is_err()).then_some(link.sequence)
    }

    /// Whether no later segment proves, by being synced, that this one was durable by then.
    pub fn none_synced_behind(&self, sequence: Sequence) -> bool {
        self.written.range(sequence.next()..).all(|(_, header)| header.unsynced)
    }

    /// Where a segment is in the log, by the links from the newest one back.
    pub fn place(&self, sequence: Sequence) -> Place {
        let Some((_, newest)) = self.written.last_key_value() else { return Place::Last };
        let mut at = newest;
        while at.sequence > sequence {
            let Some(link) = at.previous else { return Place::Abandoned };
            if link.sequence == sequence {
                return Place::Before(Next { header: *at, link });
            }
            if link.sequence < sequence {
                return Place::Abandoned;
            }
            match self.written.get(&link.sequence) {
                Some(header) => at = header,
                // Behind a damaged header, the nearest that names this segment is the best guess.
                None => return self.named_by(sequence),
            }
        }
        Place::Last
    }

    fn named_by(&self, sequence: Sequence) -> Place {
        let naming = self.written.range(sequence.next()..).find_map(|(_, header)| {
            let link = header.previous.filter(|link| link.sequence == sequence)?;
            Some(Next { header: *header, link })
        });
        naming.map_or(Place::Last, Place::Before)
    }
}
