//! `ringkeeper log`: dump, verify and stats, over both formats.
//!
//! | file | what lives there |
//! |---|---|
//! | `chain` | how the segments of one folder follow each other |
//! | `segment` | one of our segments, batch by batch, on behind damage |
//! | `zookeeper` | one of ZooKeeper's logs, record by record, on behind damage |
//! | `records` | what a data directory keeps twice beside its log: database, mark, epochs |
//! | `dump`, `verify`, `stats` | what the commands do with the items that those three deliver |

mod chain;
mod dump;
mod records;
mod segment;
mod stats;
mod verify;
mod zookeeper;

use std::fmt::{self, Display};
use std::io;
use std::path::Path;
use std::process::ExitCode;

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::log::Sequence;
use ringkeeper_engine::log::format::SegmentHeader;
use serde::Serialize;

use super::args::{LogCommand, LogFiles, TransactionFilter};
use super::bytes::{FileBytes, HeldName};
use super::find::{self, Format, Sort};
use super::out::{Findings, Out, Progress, Trouble, conclude};
use super::show::{Hex, Plain};
use super::transaction::{Transaction, decode};
use records::RecordLine;

/// Runs a command.
pub fn main(command: &LogCommand) -> ExitCode {
    conclude(match command {
        LogCommand::Dump(args) => run(&args.files, true, |out| dump::Dump::new(out, &args.filter, args.data)),
        LogCommand::Verify(files) => run(files, true, verify::Verify::new),
        LogCommand::Stats(args) => run(&args.files, false, |out| stats::Stats::new(out, &args.filter)),
    })
}

/// What a file's beginning says.
#[derive(Clone, Copy, Debug)]
enum Head {
    Segment(SegmentHeader),
    /// Our own, and its header is damaged.
    DamagedSegment,
    /// Our own, prepared and never written to.
    Unused,
    ZooKeeper {
        version: i32,
        dbid: i64,
    },
    /// ZooKeeper's, and its header is damaged.
    DamagedZooKeeper,
    /// ZooKeeper's, and empty: it was made and never written to.
    EmptyZooKeeper,
}

/// A whole batch of our log.
#[derive(Clone, Copy, Debug)]
struct Batch {
    /// In bytes from the file's beginning.
    offset: u64,
    /// Bytes of header and entries.
    bytes: u64,
    /// Up to the next one.
    padding: u64,
    entries: u32,
    /// The newest transaction that was known to be committed when it was written.
    committed: Zxid,
}

/// A transaction and its place.
#[derive(Debug)]
struct Entry<'a> {
    offset: u64,
    bytes: u64,
    /// Why it may not be believed.
    suspect: Option<Doubt>,
    transaction: Transaction<'a>,
}

/// Why a transaction may not be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Doubt {
    /// The checksum of what holds it is wrong.
    Checksum,
    /// The log does not go through its segment.
    Abandoned,
}

/// A damaged place.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Damage {
    /// In bytes from the file's beginning.
    offset: u64,
    what: String,
    /// Where reading goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    resumes_at: Option<u64>,
}

impl Damage {
    fn new(offset: u64, what: impl Display) -> Damage {
        Damage { offset, what: what.to_string(), resumes_at: None }
    }
}

impl Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "damaged at offset {}: {}", self.offset, Plain(&self.what))?;
        if let Some(at) = self.resumes_at.filter(|at| *at != self.offset) {
            write!(f, "; it goes on at offset {at}")?;
        }
        Ok(())
    }
}

/// What a file's written part ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Behind the last transaction there is nothing but zeros that were written in advance.
    Clean,
    /// Behind it there is what the file held before it was recycled.
    Recycled,
    /// The log goes from an earlier segment to a later one: this one was cut off.
    Abandoned,
    /// A later segment goes on from here; what is behind has no meaning.
    ContinuedBy { next: Sequence, unused_bytes: u64 },
    /// A write is under way.
    BeingWritten,
    /// A batch is missing among others, in a log that was written without syncs.
    Hole { lost_bytes: u64 },
    /// The last write did not complete.
    Torn { lost_bytes: u64 },
    /// Prepared, and not written to.
    Unused,
    /// Behind damage nothing more was found.
    Lost,
    /// A running server took the file out of the log while it was read, and may write over it.
    Retired,
}

impl End {
    fn name(self) -> &'static str {
        match self {
            End::Clean => "clean",
            End::Recycled => "recycled",
            End::Abandoned => "abandoned",
            End::ContinuedBy { .. } => "continued",
            End::BeingWritten => "beingWritten",
            End::Hole { .. } => "hole",
            End::Torn { .. } => "torn",
            End::Unused => "unused",
            End::Lost => "lost",
            End::Retired => "retired",
        }
    }
}

impl Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            End::Clean => f.write_str("clean end"),
            End::Recycled => f.write_str("clean end, before what the file held earlier"),
            End::Abandoned => f.write_str("the log does not go through this segment any more"),
            End::ContinuedBy { next, unused_bytes: 0 } => write!(f, "segment {next} goes on"),
            End::ContinuedBy { next, unused_bytes } => {
                write!(f, "segment {next} goes on; {unused_bytes} bytes behind count no more")
            }
            End::BeingWritten => f.write_str("the next batch is being written"),
            End::Hole { lost_bytes } => write!(
                f,
                "a hole in a log that was written without syncs: a start leaves out what is behind it \
                 ({lost_bytes} bytes here), in later segments too"
            ),
            End::Torn { lost_bytes } => write!(
                f,
                "the last write did not complete ({lost_bytes} bytes): it was never acknowledged, and a start \
                 leaves it out"
            ),
            End::Unused => f.write_str("prepared, not written to yet"),
            End::Lost => f.write_str("nothing more can be read"),
            End::Retired => f.write_str("a running server took it out of the log meanwhile"),
        }
    }
}

/// What a log consists of, in the order of the file.
#[derive(Debug)]
enum Item<'a> {
    /// A record beside the log; its file has nothing else in it.
    Record(RecordLine),
    /// The file begins.
    Head(Head),
    Batch(Batch),
    Entry(Entry<'a>),
    Damage(Damage),
    /// The file ends, at this offset.
    End(u64, End),
}

/// What a command does with the items.
trait Visitor {
    /// Takes the next item of `file`.
    fn visit(&mut self, file: &Path, item: Item<'_>) -> io::Result<()>;

    /// After the last file.
    fn finish(&mut self, findings: Findings) -> io::Result<()>;
}

/// Hands the items of one file on, counts the damage, and shows how far it has come.
struct Delivery<'v> {
    path: &'v Path,
    visitor: &'v mut dyn Visitor,
    progress: &'v mut Progress,
    damaged: u64,
    /// How far the file's transactions count.
    reach: Reach,
    /// A segment's file, as it was opened.
    segment: Option<HeldName>,
    retired: bool,
}

/// How far a file's transactions count.
#[derive(Clone, Copy, Debug, Default)]
struct Reach {
    last: Option<Zxid>,
    /// What comes behind does not, in later files either.
    ends_at_hole: bool,
}

impl<'v> Delivery<'v> {
    fn new(path: &'v Path, visitor: &'v mut dyn Visitor, progress: &'v mut Progress) -> Delivery<'v> {
        Delivery {
            path,
            visitor,
            progress,
            damaged: 0,
            reach: Reach::default(),
            segment: None,
            retired: false,
        }
    }
}

impl Delivery<'_> {
    fn item(&mut self, item: Item<'_>) -> io::Result<()> {
        self.damaged += u64::from(matches!(item, Item::Damage(_)));
        match &item {
            Item::Entry(Entry { suspect: None, transaction, .. }) => self.reach.last = Some(transaction.zxid),
            Item::End(_, End::Hole { .. }) => self.reach.ends_at_hole = true,
            _ => {}
        }
        self.visitor.visit(self.path, item)
    }

    /// Of a file that was taken out of the log in the meantime, what looks like damage is what was written
    /// over it; one that still has its name was not written over by then.
    fn damage(&mut self, damage: Damage) -> io::Result<()> {
        self.retired |= self.segment.as_ref().is_some_and(|segment| !segment.holds());
        if self.retired { Ok(()) } else { self.item(Item::Damage(damage)) }
    }

    fn end(&mut self, offset: u64, end: End) -> io::Result<()> {
        self.item(Item::End(offset, if self.retired { End::Retired } else { end }))
    }

    fn progress(&mut self, offset: u64) {
        self.progress.at(offset);
    }

    /// Takes a transaction apart and hands it on. `zxid`: what the log says that it is.
    fn transaction(
        &mut self,
        offset: u64,
        zxid: Option<Zxid>,
        bytes: &[u8],
        suspect: Option<Doubt>,
    ) -> io::Result<()> {
        let bytes_long = bytes.len() as u64;
        match decode(bytes) {
            Ok(transaction) if zxid.is_none_or(|zxid| zxid == transaction.zxid) => {
                self.item(Item::Entry(Entry { offset, bytes: bytes_long, suspect, transaction }))
            }
            // What a wrong checksum does not vouch for may be anything, and has been reported.
            _ if suspect.is_some() => Ok(()),
            Ok(transaction) => {
                let what = format!("the transaction says that it is {}", transaction.zxid);
                self.damage(Damage::new(offset, what))
            }
            Err(error) => {
                self.damage(Damage::new(offset, format!("the transaction cannot be read: {error}")))
            }
        }
    }

    fn unreadable(&mut self, file: &FileBytes) -> io::Result<()> {
        for place in file.unreadable() {
            let what = format!("{} bytes cannot be read from the disk: {}", place.bytes, place.error);
            self.damage(Damage::new(place.offset, what))?;
        }
        Ok(())
    }
}

impl TransactionFilter {
    fn takes(&self, transaction: &Transaction<'_>) -> bool {
        let Transaction { zxid, session, action, .. } = transaction;
        self.from.is_none_or(|from| from <= *zxid)
            && self.to.is_none_or(|to| *zxid <= to)
            && self.session.is_none_or(|wanted| wanted == *session)
            && self.path.as_ref().is_none_or(|path| action.touches(path))
            && (self.op.is_empty() || action.all().any(|action| self.op.contains(&action.kind)))
    }
}

/// Opens all files, delivers all items; a file that cannot be opened is said and passed over.
fn run<V: Visitor>(
    args: &LogFiles,
    prints_along: bool,
    visitor: impl FnOnce(Out) -> V,
) -> Result<Findings, Trouble> {
    let mut findings = Findings::default();
    let mut passed_over = |trouble: &Trouble| {
        eprintln!("error: {trouble}");
        findings.unread += 1;
    };
    let mut found = Vec::new();
    for path in &args.files {
        match find::files(path, Sort::Logs) {
            Ok(files) => found.extend(files),
            Err(trouble) => passed_over(&trouble),
        }
    }
    let mut files = Vec::new();
    for file in found {
        match FileBytes::open(&file.path) {
            Ok(bytes) => files.push((file.format, bytes)),
            // Retention may remove what a directory had when it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !args.files.contains(&file.path) => {}
            Err(error) => passed_over(&Trouble::Input(file.path, error)),
        }
    }
    // Before the log, which may go on meanwhile: what a mark says must hold of what is read after it.
    let mut beside = Vec::new();
    for path in args.files.iter().filter(|path| path.is_dir()) {
        match records::Records::read(path) {
            Ok(records) => beside.push(records),
            Err(trouble) => passed_over(&trouble),
        }
    }
    let mut progress = Progress::new(files.iter().map(|(_, file)| file.length()).sum(), prints_along);
    let mut visitor = visitor(Out::new(args.json));
    let mut chains = chain::Chains::default();
    for records in &beside {
        findings.faults += records.deliver(&mut visitor, &mut progress)?;
    }
    for (format, file) in &mut files {
        let path = file.path().to_path_buf();
        let mut delivery = Delivery::new(&path, &mut visitor, &mut progress);
        match format {
            Format::Ringkeeper => {
                delivery.segment = Some(file.held_name());
                segment::read(file, &mut chains, &mut delivery)?;
                let reach = delivery.reach;
                beside.iter_mut().for_each(|records| records.log_has(&path, reach));
            }
            Format::ZooKeeper => zookeeper::read(file, &mut delivery)?,
        }
        findings.faults += delivery.damaged;
        progress.file_done(file.length());
    }
    for records in &beside {
        findings.faults += records.deliver_end(&mut visitor, &mut progress)?;
    }
    drop(progress);
    visitor.finish(findings)?;
    Ok(findings)
}

/// A file's head as JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HeadJson {
    r#type: &'static str,
    file: String,
    format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_zxid: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_zxid: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alignment: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recycled: Option<bool>,
}

impl Head {
    fn json(&self, file: &Path) -> HeadJson {
        let own = matches!(self, Head::Segment(_) | Head::DamagedSegment | Head::Unused);
        let mut json = HeadJson {
            r#type: "file",
            file: super::show::name(file),
            format: if own { "ringkeeper" } else { "zookeeper" },
            version: None,
            database: None,
            sequence: None,
            first_zxid: None,
            previous_zxid: None,
            alignment: None,
            recycled: None,
        };
        match self {
            Head::Segment(header) => {
                json.version = Some(ringkeeper_engine::log::format::VERSION as i32);
                json.database = Some(header.database.to_string());
                json.sequence = Some(header.sequence.0);
                json.first_zxid = Some(Hex(header.first_zxid.0));
                json.previous_zxid = Some(Hex(header.previous_zxid.0));
                json.alignment = Some(header.alignment.bytes());
                json.recycled = Some(header.recycled);
            }
            Head::ZooKeeper { version, dbid } => {
                (json.version, json.database) = (Some(*version), Some(dbid.to_string()));
            }
            Head::DamagedSegment | Head::Unused | Head::DamagedZooKeeper | Head::EmptyZooKeeper => {}
        }
        json
    }
}

impl Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Head::Segment(header) => {
                let SegmentHeader { database, sequence, first_zxid, .. } = header;
                write!(f, "segment {sequence} of database {database}, from {first_zxid} on")?;
                match header.previous {
                    Some(link) => write!(f, ", behind segment {} at offset {}", link.sequence, link.end),
                    None => write!(f, ", a log's beginning"),
                }
            }
            Head::DamagedSegment => f.write_str("a segment with a damaged header"),
            Head::Unused => f.write_str("a segment without a header"),
            Head::ZooKeeper { version, dbid } => {
                write!(f, "ZooKeeper's log, format version {version}, dbid {dbid}")
            }
            Head::DamagedZooKeeper => f.write_str("a log with a damaged header"),
            Head::EmptyZooKeeper => f.write_str("an empty log of ZooKeeper"),
        }
    }
}
