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
use ringkeeper_engine::zookeeper::log::{
    self, Entries, LogFile, RECORD_HEADER_BYTES, is_unwritten, write_log_header,
};

use super::{Damage, Delivery, Doubt, End, Head, Item};
use crate::tools::bytes::FileBytes;
use crate::tools::out::Trouble;

/// So often, and so long, an incomplete record is looked at again.
const LOOKS: u32 = 10;
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Delivers a log's items.
pub(super) fn read(file: &mut FileBytes, delivery: &mut Delivery<'_>) -> Result<(), Trouble> {
    let path = file.path().to_path_buf();
    let length = file.length();
    let bytes = file.read(0, length).map_err(Trouble::input(&path))?;
    if is_unwritten(bytes) {
        delivery.item(Item::Head(Head::EmptyZooKeeper))?;
        return Ok(delivery.item(Item::End(0, End::Unused))?);
    }
    let mut walk = Walk { delivery, last: Zxid::ZERO };
    let (mut offset, mut end) = match LogFile::open(bytes) {
        Ok(log) => {
            let header = log.header();
            let head = Head::ZooKeeper { version: header.version, dbid: header.dbid };
            walk.delivery.item(Item::Head(head))?;
            walk.check_name(&path, log.entries())?;
            walk.entries(bytes, log.entries(), 0)?
        }
        Err(fault) => {
            walk.delivery.item(Item::Head(Head::DamagedZooKeeper))?;
            walk.delivery.damage(Damage::new(fault.offset, fault.what))?;
            // Records do not depend on the header: it is put right in memory, to read them.
            let mut mended = Vec::with_capacity(bytes.len());
            write_log_header(&mut mended);
            mended.extend_from_slice(bytes.get(HEADER_BYTES..).unwrap_or_default());
            match LogFile::open(&mended) {
                Ok(log) => walk.entries(&mended, log.entries(), 0)?,
                Err(_) => (0, End::Lost),
            }
        }
    };
    let before = bytes.get(offset as usize..).unwrap_or_default().to_vec();
    if let End::Torn { .. } = end
        && let Some(grown) = look_again(&path, offset, &before).map_err(Trouble::input(&path))?
    {
        let entries = LogFile::open(&grown).ok().map(|log| log.entries());
        let (grown_to, grown_end) = match entries {
            Some(entries) => walk.entries(&grown, entries, offset)?,
            None => (offset, end),
        };
        (offset, end) = match grown_end {
            End::Torn { .. } => (grown_to, End::BeingWritten),
            other => (grown_to, other),
        };
    }
    delivery.unreadable(file)?;
    Ok(delivery.item(Item::End(offset, end))?)
}

/// The file's bytes once they are others than `before` from `offset` on; `None` if they stay.
fn look_again(path: &Path, offset: u64, before: &[u8]) -> io::Result<Option<Vec<u8>>> {
    for _ in 0..LOOKS {
        std::thread::sleep(LOOK_PAUSE);
        let mut file = FileBytes::open(path)?;
        let length = file.length();
        let bytes = file.read(0, length)?;
        if bytes.get(offset as usize..).is_some_and(|now| now != before) {
            return Ok(Some(bytes.to_vec()));
        }
    }
    Ok(None)
}

struct Walk<'w, 'd> {
    delivery: &'w mut Delivery<'d>,
    /// The last zxid so far.
    last: Zxid,
}

impl Walk<'_, '_> {
    /// A log is called after its first transaction.
    fn check_name(&mut self, path: &Path, mut entries: Entries<'_>) -> io::Result<()> {
        let named = path.file_name().and_then(|name| name.to_str()).and_then(FileName::parse);
        let (Some(FileName::Log(named)), Some(Ok(first))) = (named, entries.next()) else { return Ok(()) };
        let zxid = Zxid::from_jute(first.transaction.header.zxid);
        if first.offset == HEADER_BYTES as u64 && zxid != named {
            let what = format!("the first transaction is {zxid}, the name says {named}");
            self.delivery.damage(Damage::new(first.offset, what))?;
        }
        Ok(())
    }

    /// Delivers the records from offset `from` on, and returns where they end, and how.
    fn entries(&mut self, file: &[u8], mut entries: Entries<'_>, from: u64) -> io::Result<(u64, End)> {
        for entry in entries.by_ref() {
            match entry {
                Ok(entry) if entry.offset < from => {}
                Ok(entry) => {
                    self.delivery.progress(entry.offset);
                    let zxid = Zxid::from_jute(entry.transaction.header.zxid);
                    if zxid <= self.last {
                        let what = format!("transaction {zxid} comes behind {}", self.last);
                        self.delivery.damage(Damage::new(entry.offset, what))?;
                    }
                    self.last = self.last.max(zxid);
                    self.delivery.transaction(entry.offset, None, entry.transaction.bytes, None)?;
                }
                Err(fault) if fault.offset < from => {}
                Err(fault) => {
                    self.delivery.damage(Damage::new(fault.offset, fault.what))?;
                    self.suspect(file, fault.offset)?;
                }
            }
        }
        Ok(match entries.end() {
            Some(log::End::Whole { offset }) => (offset, End::Clean),
            Some(log::End::Torn { offset, bytes, .. }) => (offset, End::Torn { lost_bytes: bytes }),
            None => (file.len() as u64, End::Lost),
        })
    }

    /// What a record with a wrong checksum still says.
    fn suspect(&mut self, file: &[u8], offset: u64) -> io::Result<()> {
        let record = file.get(offset as usize..).unwrap_or_default();
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
