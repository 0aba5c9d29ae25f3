//! One of ZooKeeper's logs, record by record, on behind damage.
//!
//! ZooKeeper holds no lock while it writes, so a record that lacks its end is looked at again a moment
//! later before it is called torn.

use std::io;
use std::path::Path;
use std::time::Duration;

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::zookeeper::FileName;
use ringkeeper_engine::zookeeper::format::HEADER_BYTES;
use ringkeeper_engine::zookeeper::log::{self, LogPieces, RECORD_HEADER_BYTES};

use super::{Damage, Delivery, Doubt, End, Head, Item};
use crate::tools::bytes::FileBytes;
use crate::tools::out::Trouble;

/// So often, and so long, an incomplete record is looked at again.
const LOOKS: u32 = 10;
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Delivers a log's items.
pub(super) fn read(file: &mut FileBytes, delivery: &mut Delivery<'_>) -> Result<(), Trouble> {
    let path = file.path().to_path_buf();
    let mut pieces = file.pieces();
    let mut log = LogPieces::new(&mut pieces);
    match log.header() {
        Ok(None) => {
            delivery.item(Item::Head(Head::EmptyZooKeeper))?;
            return Ok(delivery.item(Item::End(0, End::Unused))?);
        }
        Ok(Some(header)) => {
            let head = Head::ZooKeeper { version: header.version, dbid: header.dbid };
            delivery.item(Item::Head(head))?;
        }
        // Records do not depend on the header.
        Err(fault) => {
            delivery.item(Item::Head(Head::DamagedZooKeeper))?;
            delivery.damage(Damage::new(fault.offset, fault.what))?;
        }
    }
    let named = path.file_name().and_then(|name| name.to_str()).and_then(FileName::parse);
    let mut walk = Walk { delivery, named, last: Zxid::ZERO };
    let (mut offset, mut end) = walk.entries(&mut log, 0)?;
    let before = log.held_from(offset).to_vec();
    pieces.finish().map_err(Trouble::input(&path))?;
    if let End::Torn { .. } = end
        && let Some(mut grown) = look_again(&path, offset, &before).map_err(Trouble::input(&path))?
    {
        let mut pieces = grown.pieces();
        let (grown_to, grown_end) = walk.entries(&mut LogPieces::new(&mut pieces), offset)?;
        pieces.finish().map_err(Trouble::input(&path))?;
        (offset, end) = match grown_end {
            End::Torn { .. } => (grown_to, End::BeingWritten),
            other => (grown_to, other),
        };
    }
    delivery.unreadable(file)?;
    Ok(delivery.item(Item::End(offset, end))?)
}

/// The file anew, once its bytes are others than `before` from `offset` on; `None` if they stay.
fn look_again(path: &Path, offset: u64, before: &[u8]) -> io::Result<Option<FileBytes>> {
    for _ in 0..LOOKS {
        std::thread::sleep(LOOK_PAUSE);
        let mut file = FileBytes::open(path)?;
        let length = file.length();
        if file.read(offset, length)? != before {
            file.forget();
            return Ok(Some(file));
        }
    }
    Ok(None)
}

struct Walk<'w, 'd> {
    delivery: &'w mut Delivery<'d>,
    /// What the file's name says.
    named: Option<FileName>,
    /// The last zxid so far.
    last: Zxid,
}

impl Walk<'_, '_> {
    /// A log is called after its first transaction.
    fn check_name(&mut self, offset: u64, first: Zxid) -> io::Result<()> {
        let Some(FileName::Log(named)) = self.named.take() else { return Ok(()) };
        if offset == HEADER_BYTES as u64 && first != named {
            let what = format!("the first transaction is {first}, the name says {named}");
            self.delivery.damage(Damage::new(offset, what))?;
        }
        Ok(())
    }

    /// Delivers the records from offset `from` on, and returns where they end, and how.
    fn entries(&mut self, log: &mut LogPieces<'_>, from: u64) -> io::Result<(u64, End)> {
        let mut behind = 0;
        while let Some(entry) = log.next_entry() {
            match entry {
                Ok(entry) if entry.offset < from => {}
                Ok(entry) => {
                    self.delivery.progress(entry.offset);
                    let zxid = Zxid::from_jute(entry.transaction.header.zxid);
                    self.check_name(entry.offset, zxid)?;
                    if zxid <= self.last {
                        let what = format!("transaction {zxid} comes behind {}", self.last);
                        self.delivery.damage(Damage::new(entry.offset, what))?;
                    }
                    self.last = self.last.max(zxid);
                    let bytes = entry.transaction.bytes;
                    behind = entry.offset + (RECORD_HEADER_BYTES + bytes.len()) as u64;
                    self.delivery.transaction(entry.offset, None, bytes, None)?;
                }
                Err(fault) if fault.offset < from => {}
                Err(fault) => {
                    let offset = fault.offset;
                    self.delivery.damage(Damage::new(offset, fault.what))?;
                    self.suspect(log.held_from(offset), offset)?;
                }
            }
        }
        Ok(match log.end() {
            Some(log::End::Whole { offset }) => (offset, End::Clean),
            Some(log::End::Torn { offset, bytes, .. }) => (offset, End::Torn { lost_bytes: bytes }),
            None => (behind, End::Lost),
        })
    }

    /// What a record with a wrong checksum still says.
    fn suspect(&mut self, record: &[u8], offset: u64) -> io::Result<()> {
        let length = record.get(8..RECORD_HEADER_BYTES).and_then(|bytes| bytes.try_into().ok());
        let length = length.map_or(0, u32::from_be_bytes) as usize;
        match record.get(RECORD_HEADER_BYTES..).and_then(|rest| rest.get(..length)) {
            Some(bytes) if length > 0 => {
                self.delivery.transaction(offset, None, bytes, Some(Doubt::Checksum))
            }
            _ => Ok(()),
        }
    }
}
