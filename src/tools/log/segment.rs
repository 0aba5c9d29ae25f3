//! One of our segments, batch by batch, on behind damage.
//!
//! What recovery refuses is shown here as far as it goes: a batch carries its segment and its place, so
//! behind damage the next one can be found, and a header's checksum vouches for the length of a batch
//! whose entries are damaged. What counts as damage is recovery's decision table: a last write that did
//! not complete is none.

use std::io;
use std::time::Duration;

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::log::format::{
    Alignment, BATCH_HEADER_BYTES, BatchHeader, Checksum, ENTRY_HEADER_BYTES, HeaderFault,
    SEGMENT_HEADER_BYTES, SegmentHeader, decode_entry_header,
};
use ringkeeper_engine::log::reader::{BatchFault, Position, entries, header_in_place};
use ringkeeper_engine::log::{DatabaseId, Sequence};
use ringkeeper_net::disk;

use super::chain::{Chain, Chains, Next, Place};
use super::{Batch, Damage, Delivery, Doubt, End, Head, Item};
use crate::tools::bytes::FileBytes;
use crate::tools::live;
use crate::tools::out::Trouble;
use crate::tools::show::count;

const FIRST_BATCH_AT: u64 = SEGMENT_HEADER_BYTES as u64;
/// Where batches can begin.
const SECTOR_BYTES: u64 = 512;
/// Bytes searched at a time.
const SEARCH_BYTES: u64 = 1 << 20;
/// A write that is under way is there whole a moment later: so often and so long it is waited for.
const LOOKS: u32 = 10;
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Delivers a segment's items.
pub(super) fn read(
    file: &mut FileBytes,
    chains: &mut Chains,
    delivery: &mut Delivery<'_>,
) -> Result<(), Trouble> {
    let path = file.path().to_path_buf();
    let named = path.file_name().and_then(|name| name.to_str()).and_then(disk::parse_segment_name);
    let chain = chains.of(&path);
    let (decoded, peeked) = header(file).map_err(Trouble::input(&path))?;
    let headless = match decoded {
        Err(HeaderFault::UnknownVersion(version)) => {
            delivery.item(Item::Head(Head::DamagedSegment))?;
            let what = format!("format version {version}, which this release does not know");
            delivery.damage(Damage::new(0, what))?;
            return Ok(delivery.end(0, End::Lost)?);
        }
        // What the file was before it was recycled.
        Ok((header, _)) if named.is_some_and(|named| header.sequence < named) => {
            let databases = vec![header.database];
            let why = "it is an earlier segment's";
            Headless { named, databases, place: place(chain, named), why, recycled: true }
        }
        Ok((header, checksum)) => return walk(header, checksum, named, chain, file, delivery),
        Err(HeaderFault::Damaged(why)) => {
            let databases = chain.databases().iter().copied().chain(peeked).collect();
            Headless { named, databases, place: place(chain, named), why, recycled: false }
        }
    };
    match headless.read(file, delivery)? {
        Some((header, checksum)) => walk(header, checksum, named, chain, file, delivery),
        None => Ok(()),
    }
}

type Decoded = Result<(SegmentHeader, Checksum), HeaderFault>;

/// The header as the file has it, and the database that it names in any case.
fn header(file: &mut FileBytes) -> io::Result<(Decoded, Option<DatabaseId>)> {
    let bytes = file.read(0, FIRST_BATCH_AT)?;
    Ok((SegmentHeader::decode(bytes), SegmentHeader::peek_database(bytes)))
}

fn walk(
    header: SegmentHeader,
    checksum: Checksum,
    named: Option<Sequence>,
    chain: &Chain,
    file: &mut FileBytes,
    delivery: &mut Delivery<'_>,
) -> Result<(), Trouble> {
    delivery.item(Item::Head(Head::Segment(header)))?;
    let place = say_place(&header, named, chain, delivery)?;
    say_length(&header, file, delivery)?;
    let walk = Walk {
        unsynced: header.unsynced && named.is_none_or(|named| chain.none_synced_behind(named)),
        database: header.database,
        alignment: Some(header.alignment),
        recycled: header.recycled,
        position: Position::begin(&header, checksum),
        place,
        looks: LOOKS,
        file,
        delivery,
    };
    walk.run()
}

fn place(chain: &Chain, named: Option<Sequence>) -> Place {
    named.map_or(Place::Last, |sequence| chain.place(sequence))
}

/// Says what is wrong with a segment's place among the others.
fn say_place(
    header: &SegmentHeader,
    named: Option<Sequence>,
    chain: &Chain,
    delivery: &mut Delivery<'_>,
) -> io::Result<Place> {
    let Some(named) = named else { return Ok(Place::Last) };
    if header.sequence != named {
        delivery.damage(Damage::new(0, format!("the file holds segment {}", header.sequence)))?;
        return Ok(Place::Last);
    }
    if let Some(first) = chain.databases().first().filter(|first| **first != header.database) {
        let what = format!("it belongs to database {}, others here to {first}", header.database);
        delivery.damage(Damage::new(0, what))?;
    }
    // Of segments that a server retires while their folder is listed, the later ones may be gone alone.
    let still = |_| Chain::now(delivery.path).missing_before(header);
    if let Some(missing) = chain.missing_before(header).and_then(still) {
        delivery.damage(Damage::new(0, format!("segment {missing}, which it follows, is missing")))?;
    }
    Ok(chain.place(named))
}

/// A file keeps the length that it was prepared with.
fn say_length(header: &SegmentHeader, file: &FileBytes, delivery: &mut Delivery<'_>) -> io::Result<()> {
    match file.length() < header.capacity {
        true => {
            let what = format!("the file ends here and was {} bytes long", header.capacity);
            delivery.damage(Damage::new(file.length(), what))
        }
        false => Ok(()),
    }
}

/// A segment whose header is not its own.
struct Headless {
    named: Option<Sequence>,
    /// Those that it may belong to.
    databases: Vec<DatabaseId>,
    place: Place,
    why: &'static str,
    recycled: bool,
}

impl Headless {
    /// Header and first batch are one write, so only a batch behind the first proves that the header was
    /// whole once. That may be because a server has begun the segment since the header was read: then its
    /// header, which was whole before any batch behind the first, is returned.
    fn read(
        self,
        file: &mut FileBytes,
        delivery: &mut Delivery<'_>,
    ) -> Result<Option<(SegmentHeader, Checksum)>, Trouble> {
        let path = file.path().to_path_buf();
        let input = || Trouble::input(&path);
        for database in self.databases {
            let Some(first) = find(file, database, self.named, FIRST_BATCH_AT).map_err(input())? else {
                continue;
            };
            let behind = first.at.max(FIRST_BATCH_AT + SECTOR_BYTES);
            let later = find(file, database, self.named, behind).map_err(input())?;
            if later.is_none() && self.place == Place::Last {
                break;
            }
            file.forget();
            if let (Ok((header, checksum)), _) = header(file).map_err(input())?
                && self.named == Some(header.sequence)
            {
                return Ok(Some((header, checksum)));
            }
            delivery.item(Item::Head(Head::DamagedSegment))?;
            let what = format!("the segment's header is damaged ({})", self.why);
            delivery.damage(Damage { resumes_at: Some(first.at), ..Damage::new(0, what) })?;
            let position = Position {
                sequence: first.header.sequence,
                offset: first.at,
                previous: first.header.previous,
                last_zxid: Zxid(first.header.first_zxid.0.saturating_sub(1)),
            };
            let (place, recycled) = (self.place, true);
            let (unsynced, looks, alignment) = (false, LOOKS, None);
            let walk =
                Walk { database, alignment, unsynced, recycled, position, place, looks, file, delivery };
            return walk.run().map(|()| None);
        }
        delivery.item(Item::Head(Head::Unused))?;
        let nonzero = nonzero_from(file, 0).map_err(input())?;
        let end = match self.place {
            Place::Before(Next { header, .. }) => {
                let what = format!(
                    "the segment's header is damaged ({}), yet segment {} follows it",
                    self.why, header.sequence
                );
                delivery.damage(Damage::new(0, what))?;
                End::Lost
            }
            Place::Abandoned => End::Abandoned,
            Place::Last if nonzero == 0 || self.recycled => End::Unused,
            Place::Last if live::is_served(&path) => End::BeingWritten,
            Place::Last => End::Torn { lost_bytes: nonzero },
        };
        delivery.unreadable(file)?;
        delivery.end(0, end)?;
        Ok(None)
    }
}

/// A batch that is in its place; its entries were not looked at.
#[derive(Clone, Copy)]
struct InPlace {
    at: u64,
    header: BatchHeader,
    checksum: Checksum,
}

/// The first batch at or behind `from`.
fn find(
    file: &mut FileBytes,
    database: DatabaseId,
    sequence: Option<Sequence>,
    from: u64,
) -> io::Result<Option<InPlace>> {
    let mut offset = from;
    while offset < file.length() {
        let piece = file.read(offset, SEARCH_BYTES)?;
        if piece.is_empty() {
            break;
        }
        for (sector, at) in piece.chunks(SECTOR_BYTES as usize).zip((offset..).step_by(SECTOR_BYTES as usize))
        {
            let found = match sequence {
                Some(sequence) => header_in_place(database, sequence, at, sector),
                None => BatchHeader::decode(database, sector).filter(|(header, _)| header.offset == at),
            };
            if let Some((header, checksum)) = found {
                return Ok(Some(InPlace { at, header, checksum }));
            }
        }
        offset += piece.len() as u64;
    }
    Ok(None)
}

/// Bytes from `from` up to the last that is not zero.
fn nonzero_from(file: &mut FileBytes, from: u64) -> io::Result<u64> {
    let mut end = from;
    let mut offset = from;
    while offset < file.length() {
        let piece = file.read(offset, SEARCH_BYTES)?;
        if piece.is_empty() {
            break;
        }
        if let Some(last) = piece.iter().rposition(|byte| *byte != 0) {
            end = offset + last as u64 + 1;
        }
        offset += piece.len() as u64;
    }
    Ok(end - from)
}

type BatchResult = Result<(), (BatchFault, Option<InPlace>)>;

struct Walk<'w, 'd> {
    database: DatabaseId,
    /// Of the batches; unknown if the header is damaged.
    alignment: Option<Alignment>,
    /// Neither its batches nor a later segment's were made durable one by one.
    unsynced: bool,
    recycled: bool,
    place: Place,
    position: Position,
    /// How often damage may yet be waited for to be none.
    looks: u32,
    file: &'w mut FileBytes,
    delivery: &'w mut Delivery<'d>,
}

impl Walk<'_, '_> {
    fn run(mut self) -> Result<(), Trouble> {
        let end = self.batches()?;
        self.delivery.unreadable(self.file)?;
        let end = match (self.place, end) {
            (Place::Abandoned, End::Clean | End::Recycled | End::Torn { .. }) => End::Abandoned,
            (_, end) => end,
        };
        Ok(self.delivery.end(self.position.offset, end)?)
    }

    fn next(&self) -> Option<Next> {
        match self.place {
            Place::Before(next) => Some(next),
            Place::Last | Place::Abandoned => None,
        }
    }

    fn batches(&mut self) -> Result<End, Trouble> {
        loop {
            self.delivery.progress(self.position.offset);
            if let Some(next) = self.next().filter(|next| self.position.offset >= next.link.end) {
                return self.continued(next);
            }
            if let Err((fault, in_place)) = self.batch()?
                && let Some(end) = self.fault(fault, in_place)?
            {
                return Ok(end);
            }
        }
    }

    fn read(&mut self, offset: u64, bytes: u64) -> Result<&[u8], Trouble> {
        let path = self.delivery.path;
        self.file.read(offset, bytes).map_err(Trouble::input(path))
    }

    fn find(&mut self, from: u64) -> Result<Option<InPlace>, Trouble> {
        let (database, sequence) = (self.database, self.position.sequence);
        find(self.file, database, Some(sequence), from).map_err(Trouble::input(self.delivery.path))
    }

    fn nonzero(&mut self) -> Result<u64, Trouble> {
        nonzero_from(self.file, self.position.offset).map_err(Trouble::input(self.delivery.path))
    }

    /// Delivers the batch at the present position, and goes behind it.
    fn batch(&mut self) -> Result<BatchResult, Trouble> {
        let Position { sequence, offset, previous, .. } = self.position;
        let database = self.database;
        let sector = self.read(offset, SECTOR_BYTES)?;
        let Some((header, checksum)) = header_in_place(database, sequence, offset, sector) else {
            return Ok(Err((BatchFault::NoBatch, None)));
        };
        let in_place = InPlace { at: offset, header, checksum };
        if header.previous != previous {
            return Ok(Err((BatchFault::BrokenChain, Some(in_place))));
        }
        let behind = self.behind(&in_place);
        let suspect = (self.place == Place::Abandoned).then_some(Doubt::Abandoned);
        let bytes =
            self.file.read(offset, header.bytes.into()).map_err(Trouble::input(self.delivery.path))?;
        let entries = match entries(&header, &self.position, bytes) {
            Ok(entries) => entries,
            Err(fault) => return Ok(Err((fault, Some(in_place)))),
        };
        let padding = behind.offset - offset - u64::from(header.bytes);
        let BatchHeader { bytes: length, entries: count, committed, .. } = header;
        let batch = Batch { offset, bytes: length.into(), padding, entries: count, committed };
        if suspect.is_none() {
            self.delivery.item(Item::Batch(batch))?;
        }
        let mut at = offset + BATCH_HEADER_BYTES as u64;
        for (zxid, transaction) in entries {
            self.delivery.transaction(at, Some(zxid), transaction, suspect)?;
            at += (ENTRY_HEADER_BYTES + transaction.len()) as u64;
        }
        self.position = behind;
        Ok(Ok(()))
    }

    /// The same once more, where there is a later batch: a server may have written both since the bytes were
    /// read. It begins a write when the one before it is done, so what is then not whole is damaged.
    fn batch_now(&mut self) -> Result<BatchResult, Trouble> {
        loop {
            self.file.forget();
            let again = self.batch()?;
            if again.is_ok() || self.looks == 0 || !live::is_served(self.delivery.path) {
                return Ok(again);
            }
            self.looks -= 1;
            std::thread::sleep(LOOK_PAUSE);
        }
    }

    fn behind(&self, batch: &InPlace) -> Position {
        let end = batch.at + u64::from(batch.header.bytes);
        Position {
            sequence: self.position.sequence,
            offset: self.alignment.unwrap_or(Alignment::SECTOR).round_up(end),
            previous: batch.checksum,
            last_zxid: batch.header.last_zxid,
        }
    }

    /// What it means that there is no whole batch here: the end, or `None` if it goes on behind.
    fn fault(
        &mut self,
        mut fault: BatchFault,
        mut in_place: Option<InPlace>,
    ) -> Result<Option<End>, Trouble> {
        let offset = self.position.offset;
        let later = self.find(offset + SECTOR_BYTES)?;
        if later.is_some() {
            match self.batch_now()? {
                Ok(()) => return Ok(None),
                Err(now) => (fault, in_place) = now,
            }
        }
        // The newest segment's first batch was synced with its header.
        let begins_last = self.next().is_none() && offset == FIRST_BATCH_AT;
        let goes_on = later.is_some() || self.next().is_some();
        if self.unsynced && fault.can_be_torn() && goes_on && !begins_last {
            return Ok(Some(End::Hole { lost_bytes: self.nonzero()? }));
        }
        let Some(batch) = in_place else {
            let end = self.next().map_or(u64::MAX, |next| next.link.end);
            let Some(later) = later.filter(|later| later.at < end) else { return self.tail(fault) };
            let padded = self.alignment.is_none() && later.at <= Alignment::PAGE.round_up(offset);
            self.position.offset = later.at;
            if !padded {
                self.delivery.damage(Damage { resumes_at: Some(later.at), ..Damage::new(offset, fault) })?;
                self.position.previous = later.header.previous;
            }
            return Ok(None);
        };
        if fault == BatchFault::BrokenChain {
            self.delivery.damage(Damage { resumes_at: Some(offset), ..Damage::new(offset, fault) })?;
            self.position.previous = batch.header.previous;
            return Ok(None);
        }
        if later.is_none() && self.next().is_none() && fault.can_be_torn() {
            return self.tail(fault);
        }
        let BatchHeader { entries, first_zxid, last_zxid, .. } = batch.header;
        let lost = count(entries.into(), "transaction", "transactions");
        let what = format!("{fault}: {lost}, {first_zxid} to {last_zxid}");
        let behind = self.behind(&batch);
        let resumes_at = (behind.offset < self.file.length()).then_some(behind.offset);
        self.delivery.damage(Damage { resumes_at, ..Damage::new(offset, what) })?;
        self.suspects(&batch)?;
        self.position = behind;
        Ok(resumes_at.is_none().then_some(End::Lost))
    }

    /// What a damaged batch still says.
    fn suspects(&mut self, batch: &InPlace) -> Result<(), Trouble> {
        let BatchHeader { bytes, first_zxid, last_zxid, .. } = batch.header;
        let path = self.delivery.path;
        let found = self.file.read(batch.at, bytes.into()).map_err(Trouble::input(path))?;
        let mut rest = found.get(BATCH_HEADER_BYTES..).unwrap_or_default();
        let mut last = Zxid(first_zxid.0.saturating_sub(1));
        while let Some((zxid, length)) = decode_entry_header(rest) {
            let Some(transaction) = rest.get(ENTRY_HEADER_BYTES..).and_then(|rest| rest.get(..length)) else {
                break;
            };
            if zxid <= last || zxid > last_zxid {
                break;
            }
            last = zxid;
            let offset = batch.at + (found.len() - rest.len()) as u64;
            self.delivery.transaction(offset, Some(zxid), transaction, Some(Doubt::Checksum))?;
            rest = &rest[ENTRY_HEADER_BYTES + length..];
        }
        Ok(())
    }

    /// Where a later segment goes on.
    fn continued(&mut self, next: Next) -> Result<End, Trouble> {
        let Position { offset, previous, last_zxid, .. } = self.position;
        let sequence = next.header.sequence;
        if (offset, previous, last_zxid) != (next.link.end, next.link.checksum, next.header.previous_zxid) {
            let what = format!(
                "segment {sequence} goes on behind offset {} and {}, which is another end than this one",
                next.link.end, next.header.previous_zxid
            );
            self.delivery.damage(Damage::new(offset, what))?;
        }
        // What a recycled file held before is not this segment's.
        let more = !self.recycled || self.find(offset)?.is_some();
        let unused_bytes = if more { self.nonzero()? } else { 0 };
        Ok(End::ContinuedBy { next: sequence, unused_bytes })
    }

    /// What it means that no batch follows; `None` if one does, a moment later.
    fn tail(&mut self, fault: BatchFault) -> Result<Option<End>, Trouble> {
        let offset = self.position.offset;
        if let Some(next) = self.next() {
            let what = format!(
                "{fault}, and none follows, yet segment {} goes on behind offset {}",
                next.header.sequence, next.link.end
            );
            self.delivery.damage(Damage::new(offset, what))?;
            return Ok(Some(End::Lost));
        }
        let lost_bytes = self.nonzero()?;
        if lost_bytes == 0 {
            return Ok(Some(End::Clean));
        }
        if self.recycled && fault == BatchFault::NoBatch {
            return Ok(Some(End::Recycled));
        }
        for _ in 0..LOOKS {
            std::thread::sleep(LOOK_PAUSE);
            self.file.forget();
            if self.batch()?.is_ok() {
                return Ok(None);
            }
        }
        let served = live::is_served(self.delivery.path);
        Ok(Some(if served { End::BeingWritten } else { End::Torn { lost_bytes } }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::log::Visitor;
    use crate::tools::out::{Findings, Progress};
    use ringkeeper_engine::jute::{self, Write, records::TxnHeader};
    use ringkeeper_engine::log::{LogWriter, Settings, Tail};
    use ringkeeper_engine::op::OpCode;
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt;
    use std::path::{Path, PathBuf};

    const SEGMENT_BYTES: u64 = 4 << 20;
    /// More than is read of a file at once.
    const LONG: usize = 1200 << 10;

    /// What a server writes to a segment, in its order: for each of the transactions, with so many bytes of
    /// data, one write.
    fn writes(sequence: u64, transactions: &[usize]) -> Vec<(u64, Vec<u8>)> {
        let settings = Settings { segment_bytes: SEGMENT_BYTES, ..Settings::default() };
        let tail = Tail::origin(Zxid(100 * sequence), Sequence(sequence));
        let mut writer = LogWriter::new(settings, DatabaseId(7), tail);
        let mut writes = Vec::new();
        for (zxid, bytes) in (100 * sequence + 1..).zip(transactions) {
            let (time, op) = (0, OpCode::SetData.code());
            let mut transaction =
                jute::to_bytes(&TxnHeader { client_id: 1, cxid: 1, zxid: zxid as i64, time, op });
            "/node".write(&mut transaction);
            Some(&vec![1u8; *bytes][..]).write(&mut transaction);
            1i32.write(&mut transaction);
            writer.append(Zxid(zxid), &transaction, 0).unwrap();
            loop {
                if let Some(write) = writer.take_write(0).unwrap() {
                    writes.push((write.offset, write.bytes().to_vec()));
                    writer.on_written(write, Ok(())).unwrap();
                    break;
                }
                let step = writer.take_upkeep(0).unwrap().expect("it gets the segment ready");
                writer.on_upkeep(step, Ok(()), 0).unwrap();
            }
        }
        writes
    }

    fn write(path: &Path, writes: &[(u64, Vec<u8>)]) {
        let file = File::options().write(true).create(true).truncate(false).open(path).unwrap();
        file.set_len(SEGMENT_BYTES).unwrap();
        writes.iter().for_each(|(offset, bytes)| file.write_all_at(bytes, *offset).unwrap());
    }

    #[derive(Default)]
    struct Seen {
        transactions: usize,
        damage: Vec<String>,
        end: Option<End>,
    }

    impl Visitor for Seen {
        fn visit(&mut self, _: &Path, item: Item<'_>) -> io::Result<()> {
            match item {
                Item::Entry(_) => self.transactions += 1,
                Item::Damage(damage) => self.damage.push(damage.to_string()),
                Item::End(_, end) => self.end = Some(end),
                _ => {}
            }
            Ok(())
        }

        fn finish(&mut self, _: Findings) -> io::Result<()> {
            Ok(())
        }
    }

    /// Reads a segment of which the beginning was looked at before `meanwhile`.
    fn seen(before: &[(u64, Vec<u8>)], meanwhile: impl FnOnce(&PathBuf)) -> Seen {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("000000000002.rklog");
        write(&path, before);
        let mut file = FileBytes::open(&path).unwrap();
        file.read(0, 1).unwrap();
        meanwhile(&path);
        let (mut seen, mut progress) = (Seen::default(), Progress::new(0, false));
        let mut delivery = Delivery::new(&path, &mut seen, &mut progress);
        delivery.segment = Some(file.held_name());
        read(&mut file, &mut Chains::default(), &mut delivery).unwrap();
        seen
    }

    #[test]
    fn what_a_server_writes_while_it_is_read_is_no_damage() {
        let all = writes(2, &[10, LONG, 10, 10]);
        for done in 0..all.len() {
            let seen = seen(&all[..done], |path| write(path, &all));
            assert_eq!((seen.transactions, seen.end), (4, Some(End::Clean)), "{done}: {:?}", seen.damage);
            assert_eq!(seen.damage, [""; 0], "{done}");
        }
        // Over what the file held before.
        let all = writes(2, &[LONG, 10, 10]);
        let seen = seen(&writes(1, &[10, 10]), |path| write(path, &all));
        assert_eq!((seen.transactions, &seen.damage[..]), (3, &[][..]));
    }

    #[test]
    fn a_segment_that_a_server_takes_out_of_its_log_while_it_is_read_is_not_damaged() {
        let own = writes(2, &[10, LONG, LONG, 10]);
        let retire = |path: &PathBuf| {
            let spare = path.with_extension("rkspare");
            fs::rename(path, &spare).unwrap();
            write(&spare, &writes(9, &[10, LONG, 10]));
        };
        let retired = seen(&own, retire);
        assert_eq!((&retired.damage[..], retired.end), (&[][..], Some(End::Retired)));
        // The same bytes in a file that still has its name.
        let damaged = seen(&own, |path| write(path, &writes(9, &[10, LONG, 10])));
        assert!(!damaged.damage.is_empty());
    }
}
