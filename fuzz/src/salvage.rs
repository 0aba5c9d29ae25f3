//! What can be read of a damaged checkpoint, beside its reader: what the targets of the checkpoint share.

use ringkeeper_engine::snap::Record;
use ringkeeper_engine::snap::salvage::{Salvage, Source};
use std::convert::Infallible;

/// A file in memory.
struct Bytes<'a>(&'a [u8]);

impl Source for Bytes<'_> {
    type Error = Infallible;

    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    /// Panics on a read outside of the file: the trait forbids those.
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Infallible> {
        let offset = offset as usize;
        into.copy_from_slice(&self.0[offset..offset + into.len()]);
        Ok(())
    }
}

/// What was saved of a file.
pub struct Saved {
    /// Whether nothing is damaged.
    pub whole: bool,
    /// The records of the blocks that are not damaged, as text, with their lists.
    pub records: Vec<String>,
}

/// A record, and behind it its list if it is known, as text.
pub fn line(record: &Record<'_>, list: Option<&[u8]>) -> String {
    format!("{record:?}{}", list.map(|list| format!(" {list:?}")).unwrap_or_default())
}

/// Reads all that can be read; `None` for a version that is not known.
pub fn salvage(file: &[u8]) -> Option<Saved> {
    let mut source = Bytes(file);
    let salvage = Salvage::open(&mut source).ok()?;
    let mut saved = Saved { whole: salvage.damage().is_empty(), records: Vec::new() };
    for number in 0..salvage.block_count() {
        let Ok(block) = salvage.read_block(&mut source, number);
        assert!(block.offset() < block.end(), "a block has bytes");
        let count = block.iter().count();
        assert!(count <= file.len(), "a record has bytes");
        if block.damage().is_some() {
            saved.whole = false;
            continue;
        }
        for record in block.iter() {
            let list = if let Record::Node(node) = &record { salvage.acl(node.acl) } else { None };
            saved.records.push(line(&record, list));
        }
    }
    Some(saved)
}
