//! What a data directory keeps twice beside its log: its database's id, its mark, its epochs. Shown and
//! checked, and never mended: that is a start's work.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::log::DatabaseId;
use ringkeeper_net::disk::{self, COPIES_AT, Record, RecordFile};
use serde::Serialize;

use super::{Damage, Delivery, Item, Reach, Visitor};
use crate::tools::out::{Progress, Trouble};
use crate::tools::show::{self, Hex};

/// Where the log of a data directory is, unless it has a disk of its own.
const LOG: &str = "log";

/// The records of a directory, and how far its log goes.
pub(super) struct Records {
    directory: PathBuf,
    files: Vec<RecordFile>,
    /// The last transaction of the log, or of what was imported and that it begins behind.
    last: Option<Zxid>,
    /// Whether there is a log of ours in it.
    has_log: bool,
    /// Whether what comes next of the log does not count.
    ends: bool,
}

/// A record, as it is printed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RecordLine {
    r#type: &'static str,
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zxid: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted_epoch: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_epoch: Option<u32>,
    whole_copies: usize,
    #[serde(skip)]
    what: String,
}

impl Display for RecordLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let copies = ["no copy is", "one copy is", "both copies are"][self.whole_copies];
        write!(f, "{}: {}{copies} whole", self.file, self.what)
    }
}

impl Records {
    /// Reads those of a directory; there may be none.
    pub fn read(directory: &Path) -> Result<Records, Trouble> {
        let found = disk::look_at_records(directory);
        let files = found.map_err(|(path, error)| Trouble::Input(path, error))?;
        // What was imported is in a checkpoint, and the log begins behind it. No other checkpoint stands in for a
        // log that does not reach the mark.
        let last = files.iter().find_map(|file| match file.copies[0].or(file.copies[1]) {
            Some(Record::Imported(zxid)) => Some(zxid),
            _ => None,
        });
        Ok(Records { directory: directory.into(), files, last, has_log: false, ends: false })
    }

    /// A segment was read, behind those before it.
    pub fn log_has(&mut self, segment: &Path, reach: Reach) {
        if segment.parent() == Some(&self.directory.join(LOG)) && !self.ends {
            (self.has_log, self.ends) = (true, reach.ends_at_hole);
            self.last = self.last.max(reach.last);
        }
    }

    /// Delivers each record, and what is damaged of it. Returns how many places are.
    pub fn deliver(&self, visitor: &mut dyn Visitor, progress: &mut Progress) -> Result<u64, Trouble> {
        let mut damaged = 0;
        for RecordFile { path, copies } in &self.files {
            let mut delivery = Delivery::new(path, visitor, progress);
            delivery.item(Item::Record(line(path, copies)))?;
            for (copy, offset) in copies.iter().zip(COPIES_AT) {
                if copy.is_none() {
                    delivery.damage(Damage::new(offset, "this copy of the record"))?;
                }
            }
            match copies {
                [Some(first), Some(second)] if first != second => {
                    delivery.damage(Damage::new(0, "the two copies are whole and contradict each other"))?;
                }
                _ => {}
            }
            if let Some(Record::Epochs(accepted, current)) = copies[0].or(copies[1])
                && current > accepted
            {
                let what = format!("epoch {} is current, though only {} was accepted", current.0, accepted.0);
                delivery.damage(Damage::new(0, what))?;
            }
            damaged += delivery.damaged;
        }
        Ok(damaged)
    }

    /// After the log: whether it goes as far as the mark says.
    pub fn deliver_end(&self, visitor: &mut dyn Visitor, progress: &mut Progress) -> Result<u64, Trouble> {
        let last = self.last.unwrap_or(Zxid::ZERO);
        for RecordFile { path, copies } in &self.files {
            let Some(Record::Mark(known)) = copies[0].or(copies[1]) else { continue };
            if !self.has_log || known <= last {
                continue;
            }
            let what = format!("the log ends at {last} and was durable up to {known}: transactions are lost");
            let mut delivery = Delivery::new(path, visitor, progress);
            delivery.damage(Damage::new(0, what))?;
            return Ok(delivery.damaged);
        }
        Ok(0)
    }
}

fn line(path: &Path, copies: &[Option<Record>; 2]) -> RecordLine {
    let mut line = RecordLine {
        r#type: "record",
        file: show::name(path),
        format: None,
        database: None,
        zxid: None,
        accepted_epoch: None,
        current_epoch: None,
        whole_copies: copies.iter().flatten().count(),
        what: String::new(),
    };
    match copies[0].or(copies[1]) {
        None => {}
        Some(Record::Database(manifest)) => {
            let database = DatabaseId(manifest.database).to_string();
            line.what = format!("database {database}, format {}; ", manifest.format);
            (line.format, line.database) = (Some(manifest.format), Some(database));
        }
        Some(Record::Imported(zxid)) => {
            line.what = format!("from ZooKeeper's files up to {zxid}; ");
            line.zxid = Some(Hex(zxid.0));
        }
        Some(Record::Mark(zxid)) => {
            line.what = format!("the log is durable up to {zxid}; ");
            line.zxid = Some(Hex(zxid.0));
        }
        Some(Record::Epochs(accepted, current)) => {
            line.what = format!("epoch {} accepted, {} current; ", accepted.0, current.0);
            (line.accepted_epoch, line.current_epoch) = (Some(accepted.0), Some(current.0));
        }
    }
    line
}
