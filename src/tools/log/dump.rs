//! `ringkeeper log dump`: the transactions, one a line, and what is to be known of the files.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use ringkeeper_engine::error::OK;
use ringkeeper_engine::id::Zxid;
use serde::Serialize;

use super::{Batch, Damage, Doubt, End, Entry, Head, Item, Visitor};
use crate::tools::args::{DataAs, TransactionFilter};
use crate::tools::out::{Findings, Out};
use crate::tools::show::{self, AclEntry, DataFields, Hex, Plain};
use crate::tools::transaction::{Action, NodeMode, error_name};

pub(super) struct Dump<'f> {
    out: Out,
    filter: &'f TransactionFilter,
    data: Option<DataAs>,
    /// Whose head was printed last.
    file: PathBuf,
    /// What was printed last of what is committed.
    committed: Zxid,
}

impl<'f> Dump<'f> {
    pub fn new(out: Out, filter: &'f TransactionFilter, data: Option<DataAs>) -> Dump<'f> {
        Dump { out, filter, data, file: PathBuf::new(), committed: Zxid::ZERO }
    }

    fn head(&mut self, file: &Path, head: &Head) -> io::Result<()> {
        self.file = file.to_path_buf();
        if self.out.json() {
            return self.out.value(&head.json(file));
        }
        self.out.line(format_args!("# {}: {head}", show::name(file)))
    }

    /// What a batch says of the transactions before it, where that is news.
    fn batch(&mut self, batch: &Batch) -> io::Result<()> {
        let Batch { offset, bytes, entries, committed, .. } = *batch;
        if committed == self.committed {
            return Ok(());
        }
        self.committed = committed;
        match self.out.json() {
            true => self.out.value(&BatchJson {
                r#type: "batch",
                file: show::name(&self.file),
                offset,
                bytes,
                transactions: entries,
                committed: Hex(committed.0),
            }),
            false => self.out.line(format_args!("# batch at offset {offset}: committed up to {committed}")),
        }
    }

    fn entry(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        if !self.filter.takes(&entry.transaction) {
            return Ok(());
        }
        if self.out.json() {
            return self.out.value(&TransactionJson::new(entry, &self.file, self.data));
        }
        let mut text = String::new();
        write_entry(&mut text, entry, self.data);
        self.out.line(text.trim_end())
    }

    fn damage(&mut self, damage: &Damage) -> io::Result<()> {
        if self.out.json() {
            return self.out.value(&DamageJson { r#type: "damage", file: show::name(&self.file), damage });
        }
        self.out.line(format_args!("# {damage}"))
    }

    fn end(&mut self, offset: u64, end: End) -> io::Result<()> {
        if self.out.json() {
            return self.out.value(&EndJson::new(&self.file, offset, end));
        }
        self.out.line(format_args!("# ends at offset {offset}: {end}"))
    }
}

impl Visitor for Dump<'_> {
    fn visit(&mut self, file: &Path, item: Item<'_>) -> io::Result<()> {
        match item {
            Item::Record(_) => Ok(()),
            Item::Head(head) => self.head(file, &head),
            Item::Batch(batch) => self.batch(&batch),
            Item::Entry(entry) => self.entry(&entry),
            Item::Damage(damage) => self.damage(&damage),
            Item::End(offset, end) => self.end(offset, end),
        }
    }

    fn finish(&mut self, findings: Findings) -> io::Result<()> {
        self.out.flush()?;
        if findings.faults > 0 {
            eprintln!("error: {} damaged", show::count(findings.faults, "place is", "places are"));
        }
        Ok(())
    }
}

/// One line for the transaction, and one more for each operation of a multi.
fn write_entry(text: &mut String, entry: &Entry<'_>, data: Option<DataAs>) {
    let Entry { suspect, transaction, .. } = entry;
    let doubt = match suspect {
        None => "",
        Some(Doubt::Checksum) => "suspect (its checksum is wrong): ",
        Some(Doubt::Abandoned) => "not part of the log: ",
    };
    let (time, session) = (show::time(transaction.time_ms), transaction.session);
    let (cxid, zxid) = (transaction.cxid, transaction.zxid);
    // Writing to a string cannot fail.
    let _ = write!(text, "{doubt}{time} session {session} cxid 0x{cxid:x} zxid {zxid} ");
    write_action(text, &transaction.action, data);
    if let Some(digest) = transaction.digest {
        let _ = write!(text, " digest={}:{:x}", digest.version, digest.tree);
    }
    for action in &transaction.action.operations {
        text.push_str("\n    ");
        write_action(text, action, data);
    }
}

fn write_action(text: &mut String, action: &Action<'_>, data: Option<DataAs>) {
    text.push_str(action.kind.name());
    if !action.operations.is_empty() {
        let _ = write!(text, " operations={}", action.operations.len());
    }
    if let Some(path) = &action.path {
        let _ = write!(text, " {}", Plain(path));
    }
    match action.mode {
        None | Some(NodeMode::Persistent) => {}
        Some(NodeMode::Ephemeral) => text.push_str(" ephemeral"),
        Some(NodeMode::Container) => text.push_str(" container"),
        Some(NodeMode::Ttl(ms)) => {
            let _ = write!(text, " ttlMs={ms}");
        }
    }
    let mut number = |name: &str, value: Option<i32>| {
        if let Some(value) = value {
            let _ = write!(text, " {name}={value}");
        }
    };
    number("version", action.version);
    number("parentCversion", action.parent_cversion);
    number("timeoutMs", action.timeout_ms);
    if let Some(code) = action.error {
        // In a multi that failed, those before the one that failed have no error of their own.
        let name = if code == OK { Some("undone".to_owned()) } else { error_name(code) };
        let _ = write!(text, " {code}{}", name.map_or(String::new(), |name| format!(" ({name})")));
    }
    if let Some(acl) = &action.acl {
        let _ = write!(text, " acl={}", show::acl_text(&acl.iter().map(AclEntry::from).collect::<Vec<_>>()));
    }
    if let Some(deleted) = &action.deleted {
        let _ = write!(text, " deleted={}", deleted.len());
        deleted.iter().for_each(|path| {
            let _ = write!(text, " {}", Plain(path));
        });
    }
    if let Some(bytes) = action.data {
        let _ = match (bytes, data) {
            (_, Some(shown)) => write!(text, " data={}", show::data_text(bytes, shown)),
            (Some(bytes), None) => write!(text, " dataLength={}", bytes.len()),
            (None, None) => write!(text, " data=null"),
        };
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TransactionJson<'a> {
    r#type: &'static str,
    time: String,
    time_ms: i64,
    session: Hex,
    cxid: i32,
    zxid: Hex,
    #[serde(flatten)]
    action: ActionJson<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<DigestJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suspect: Option<Doubt>,
    file: String,
    offset: u64,
    bytes: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ActionJson<'a> {
    op: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_cversion: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acl: Option<Vec<AclEntry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<Vec<&'a str>>,
    #[serde(flatten)]
    data: Option<DataFields<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    operations: Vec<ActionJson<'a>>,
}

#[derive(Serialize)]
struct DigestJson {
    version: i32,
    tree: Hex,
}

impl<'a> TransactionJson<'a> {
    fn new(entry: &'a Entry<'_>, file: &Path, data: Option<DataAs>) -> TransactionJson<'a> {
        let Entry { offset, bytes, suspect, transaction } = entry;
        let digest = transaction.digest;
        TransactionJson {
            r#type: "transaction",
            time: show::time(transaction.time_ms),
            time_ms: transaction.time_ms,
            session: Hex(transaction.session.0 as u64),
            cxid: transaction.cxid,
            zxid: Hex(transaction.zxid.0),
            action: ActionJson::new(&transaction.action, data),
            digest: digest
                .map(|digest| DigestJson { version: digest.version, tree: Hex(digest.tree as u64) }),
            suspect: *suspect,
            file: show::name(file),
            offset: *offset,
            bytes: *bytes,
        }
    }
}

impl<'a> ActionJson<'a> {
    fn new(action: &'a Action<'_>, data: Option<DataAs>) -> ActionJson<'a> {
        let (mode, ttl_ms) = match action.mode {
            None => (None, None),
            Some(NodeMode::Persistent) => (Some("persistent"), None),
            Some(NodeMode::Ephemeral) => (Some("ephemeral"), None),
            Some(NodeMode::Container) => (Some("container"), None),
            Some(NodeMode::Ttl(ms)) => (Some("ttl"), Some(ms)),
        };
        ActionJson {
            op: action.kind.name(),
            path: action.path.as_deref(),
            mode,
            ttl_ms,
            version: action.version,
            parent_cversion: action.parent_cversion,
            timeout_ms: action.timeout_ms,
            error: action.error,
            error_name: action.error.and_then(error_name),
            acl: action.acl.as_ref().map(|acl| acl.iter().map(AclEntry::from).collect()),
            deleted: action.deleted.as_ref().map(|paths| paths.iter().map(AsRef::as_ref).collect()),
            data: action.data.map(|bytes| DataFields::new(bytes, data)),
            operations: action.operations.iter().map(|inner| ActionJson::new(inner, data)).collect(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchJson {
    r#type: &'static str,
    file: String,
    offset: u64,
    bytes: u64,
    transactions: u32,
    committed: Hex,
}

/// A damaged place as JSON.
#[derive(Serialize)]
pub(super) struct DamageJson<'a> {
    pub r#type: &'static str,
    pub file: String,
    #[serde(flatten)]
    pub damage: &'a Damage,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EndJson {
    r#type: &'static str,
    file: String,
    offset: u64,
    state: &'static str,
    what: String,
}

impl EndJson {
    fn new(file: &Path, offset: u64, end: End) -> EndJson {
        EndJson { r#type: "end", file: show::name(file), offset, state: end.name(), what: end.to_string() }
    }
}
