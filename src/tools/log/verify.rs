//! `ringkeeper log verify`: one line a file, one a damaged place, and what it all comes to.

use std::fmt::{self, Display};
use std::io;
use std::path::Path;

use ringkeeper_engine::id::Zxid;
use serde::Serialize;

use super::dump::DamageJson;
use super::{Damage, End, Head, Item, Visitor};
use crate::tools::out::{Findings, Out};
use crate::tools::show::{self, Hex, count};

pub(super) struct Verify {
    out: Out,
    file: FileLine,
    files: u64,
    transactions: u64,
}

/// What is known of a file.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct FileLine {
    r#type: &'static str,
    file: String,
    format: &'static str,
    batches: u64,
    transactions: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_zxid: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_zxid: Option<Hex>,
    damaged: u64,
    ends_at: u64,
    state: &'static str,
    #[serde(skip)]
    what: String,
}

impl Display for FileLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FileLine { file, batches, transactions, ends_at, what, .. } = self;
        write!(f, "{file}: {}", count(*transactions, "transaction", "transactions"))?;
        if *batches > 0 {
            write!(f, " in {}", count(*batches, "batch", "batches"))?;
        }
        if let (Some(first), Some(last)) = (self.first_zxid, self.last_zxid) {
            write!(f, ", {first} to {last}")?;
        }
        write!(f, "; at offset {ends_at}: {what}")?;
        match self.damaged {
            0 => Ok(()),
            damaged => write!(f, "; {} damaged", count(damaged, "place", "places")),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TotalJson {
    r#type: &'static str,
    files: u64,
    transactions: u64,
    damaged: u64,
    unread: u64,
}

impl Verify {
    pub fn new(out: Out) -> Verify {
        Verify { out, file: FileLine::default(), files: 0, transactions: 0 }
    }

    fn head(&mut self, file: &Path, head: &Head) {
        let json = head.json(file);
        self.file = FileLine { r#type: "file", file: json.file, format: json.format, ..FileLine::default() };
        self.files += 1;
    }

    fn entry(&mut self, zxid: Zxid) {
        let zxid = Hex(zxid.0);
        self.file.transactions += 1;
        self.transactions += 1;
        self.file.first_zxid = self.file.first_zxid.or(Some(zxid));
        self.file.last_zxid = Some(zxid);
    }

    fn damage(&mut self, file: &Path, damage: &Damage) -> io::Result<()> {
        self.file.damaged += 1;
        let file = show::name(file);
        match self.out.json() {
            true => self.out.value(&DamageJson { r#type: "damage", file, damage }),
            false => self.out.line(format_args!("{file}: {damage}")),
        }
    }

    fn end(&mut self, offset: u64, end: End) -> io::Result<()> {
        (self.file.ends_at, self.file.state, self.file.what) = (offset, end.name(), end.to_string());
        self.out.either(&self.file)
    }
}

impl Visitor for Verify {
    fn visit(&mut self, file: &Path, item: Item<'_>) -> io::Result<()> {
        match item {
            Item::Record(record) => self.out.either(&record)?,
            Item::Head(head) => self.head(file, &head),
            Item::Batch(_) => self.file.batches += 1,
            Item::Entry(entry) if entry.suspect.is_none() => self.entry(entry.transaction.zxid),
            Item::Entry(_) => {}
            Item::Damage(damage) => self.damage(file, &damage)?,
            Item::End(offset, end) => self.end(offset, end)?,
        }
        Ok(())
    }

    fn finish(&mut self, findings: Findings) -> io::Result<()> {
        let Findings { faults: damaged, unread } = findings;
        let (files, transactions) = (self.files, self.transactions);
        if self.out.json() {
            self.out.value(&TotalJson { r#type: "total", files, transactions, damaged, unread })?;
        } else {
            let verdict = match (damaged, unread) {
                (0, 0) => "all is whole".to_owned(),
                (0, unread) => format!("{} not be read", count(unread, "file could", "files could")),
                (damaged, _) => format!("{} damaged", count(damaged, "place is", "places are")),
            };
            let (files, transactions) =
                (count(files, "file", "files"), count(transactions, "transaction", "transactions"));
            self.out.line(format_args!("{files}, {transactions}: {verdict}"))?;
        }
        self.out.flush()
    }
}
