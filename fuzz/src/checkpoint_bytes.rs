//! The checkpoint's reader on arbitrary files: raw bytes, and blocks of any content, numbers and counts
//! under right checksums, since no fuzzer guesses a checksum.
//!
//! The laws: reading ends without a panic; what can be read is written and read again to the same, and not
//! with a bit of it flipped; a salvage of it finds no damage, and ends on any other; and a database that is
//! made of it can be walked, and is the same whether its values were copied or left in the file.

use crate::contents::Contents;
use crate::salvage::salvage;
use arbitrary::{Result, Unstructured};
use ringkeeper_engine::checkpoint;
use ringkeeper_engine::database::Database;
use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::snap::{AclIndex, Checkpoint, CheckpointWriter, Held, NodeRecord, Record};
use ringkeeper_engine::tree::walk::Caught;
use std::sync::Arc;

const MAGIC: &[u8] = b"RKSN";
const END_MAGIC: &[u8] = b"RKSE";
const BLOCKS_MAX: usize = 5;

/// Runs one input.
pub fn run(input: &[u8]) {
    let Some((&kind, rest)) = input.split_first() else { return };
    match kind % 4 {
        0 => read(rest),
        _ => {
            // Running out of bytes ends the making: what there is then is the shorter input's.
            let _ = make(&mut Unstructured::new(rest)).map(|file| read(&file));
        }
    }
}

fn read(file: &[u8]) {
    let saved = salvage(file);
    let Ok(opened) = Checkpoint::open(file) else { return };
    let mut records = Vec::new();
    let visited = opened.visit(|record| records.push(record));
    let mut database = Database::new(1);
    let restored = checkpoint::read(&mut database, &opened, true);
    left_in_place(file, &database, restored.as_ref());
    let walked = database.tree.reader().walk(Zxid(u64::MAX), |caught: Caught<'_>| {
        assert!(caught.newest() >= caught.node.czxid());
        Ok::<(), ()>(())
    });
    assert_eq!(walked, Ok(()));
    if visited.is_err() {
        assert!(restored.is_err(), "a database is made of all records or of none");
        return;
    }
    assert!(saved.is_some_and(|saved| saved.whole), "nothing is damaged");
    let mut flipped = file.to_vec();
    let at = crc32c::crc32c(file) as usize % file.len();
    flipped[at] ^= 1 << (file.len() % 8);
    let unseen = Checkpoint::open(&flipped).and_then(|opened| opened.visit(|_| ()));
    assert!(unseen.is_err(), "a flipped bit at {at} that nobody sees");
    // The order between nodes and sessions is the writer's choice.
    records.sort_by_key(is_session);
    let again = write(&opened, &records);
    let reopened = Checkpoint::open(&again).expect("what was just written");
    let mut read_again = Vec::new();
    reopened.visit(|record| read_again.push(record)).expect("what was just written");
    read_again.sort_by_key(is_session);
    assert_eq!(records.len(), read_again.len(), "written and read again");
    for (written, read) in records.iter().zip(&read_again) {
        assert!(same(&opened, written, &reopened, read), "{written:?}, read {read:?}");
    }
}

/// What reading does that leaves the values where they are.
fn left_in_place(file: &[u8], copied: &Database, restored: std::result::Result<&(), &String>) {
    let held: Arc<dyn Held> = Arc::new(file.to_vec());
    let opened = Checkpoint::open_held(&held).expect("it was opened before");
    let mut left = Database::new(1);
    assert_eq!(checkpoint::read(&mut left, &opened, true).as_ref(), restored);
    if restored.is_ok() {
        Contents::of(&left).is(&Contents::of(copied), "values left where they are");
    }
}

fn is_session(record: &Record<'_>) -> bool {
    matches!(record, Record::Session(_))
}

/// The same record, with the numbers of the lists that each file has.
fn same(left: &Checkpoint<'_>, a: &Record<'_>, right: &Checkpoint<'_>, b: &Record<'_>) -> bool {
    match (a, b) {
        (Record::Node(a), Record::Node(b)) => {
            let unnumbered =
                |node: &NodeRecord<'_>| format!("{:?}", NodeRecord { acl: AclIndex(0), ..*node });
            left.acl(a.acl) == right.acl(b.acl) && unnumbered(a) == unnumbered(b)
        }
        (a, b) => a == b,
    }
}

/// Writes the records, nodes behind sessions as the reader found them.
fn write(opened: &Checkpoint<'_>, records: &[Record<'_>]) -> Vec<u8> {
    let mut writer = CheckpointWriter::new(opened.database(), opened.first_zxid());
    for record in records {
        match record {
            Record::Node(node) => {
                let acl = writer.intern_acl(opened.acl(node.acl));
                writer.node(&NodeRecord { acl, ..*node });
            }
            Record::Session(session) => writer.session(session),
        }
    }
    writer.finish(opened.last_zxid().max(opened.first_zxid())).flatten().collect()
}

/// Mostly what fits.
fn near(choices: &mut Unstructured<'_>, fits: u64) -> Result<u64> {
    Ok(match choices.int_in_range(0..=31)? {
        0 => choices.arbitrary()?,
        1 => fits.wrapping_add(1),
        _ => fits,
    })
}

fn make(choices: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&(near(choices, 1)? as u32).to_le_bytes());
    file.extend_from_slice(&choices.arbitrary::<[u64; 2]>()?.map(u64::to_le_bytes).concat());
    file.extend_from_slice(&0u32.to_le_bytes());
    let seed = crc32c::crc32c(&file);
    file.extend_from_slice(&seed.to_le_bytes());
    let mut index = Vec::new();
    let (mut blocks, mut counts) = (0, [0; 3]);
    for _ in 0..choices.int_in_range(0..=BLOCKS_MAX)? {
        block(choices, seed, &mut file, &mut index, &mut counts)?;
        blocks += 1;
    }
    let index_at = near(choices, file.len() as u64)?;
    file.extend_from_slice(&index);
    let mut footer = Vec::new();
    let fields = [choices.arbitrary()?, index_at, near(choices, blocks)?];
    let counts = [near(choices, counts[0])?, near(choices, counts[1])?, near(choices, counts[2])?];
    for number in fields.into_iter().chain(counts).chain([choices.arbitrary()?]) {
        footer.extend_from_slice(&number.to_le_bytes());
    }
    let checksum = crc32c::crc32c_append(crc32c::crc32c_append(seed, &index), &footer);
    file.extend_from_slice(&footer);
    file.extend_from_slice(&checksum.to_le_bytes());
    file.extend_from_slice(END_MAGIC);
    Ok(file)
}

fn block(
    choices: &mut Unstructured<'_>,
    seed: u32,
    file: &mut Vec<u8>,
    index: &mut Vec<u8>,
    counts: &mut [u64; 3],
) -> Result<()> {
    let kind = choices.int_in_range(1..=3)?;
    let mut records = Vec::new();
    let mut count = 0;
    for _ in 0..choices.int_in_range(0..=4)? {
        record(choices, kind, &mut records)?;
        count += 1;
    }
    let count = near(choices, count)?;
    counts[kind as usize - 1] += u64::from(count as u32);
    let offset = near(choices, file.len() as u64)?;
    let bytes = near(choices, records.len() as u64)? as u32;
    let kind = near(choices, u64::from(kind))? as u32;
    let mut header = Vec::new();
    header.extend_from_slice(&[bytes, kind, count as u32].map(u32::to_le_bytes).concat());
    header.extend_from_slice(&offset.to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c_append(seed, &header), &records);
    file.extend_from_slice(&checksum.to_le_bytes());
    file.extend_from_slice(&header);
    file.extend_from_slice(&records);
    index.extend_from_slice(&offset.to_le_bytes());
    index.extend_from_slice(&[bytes, checksum, kind, count as u32].map(u32::to_le_bytes).concat());
    Ok(())
}

fn record(choices: &mut Unstructured<'_>, kind: u32, out: &mut Vec<u8>) -> Result<()> {
    match kind {
        1 => {
            let flags = choices.int_in_range(0..=32)?;
            let path = *choices.choose(&["/", "/a", "/a/b", "/a", "", "a", "/a/", "/zookeeper", "//"])?;
            out.push(flags);
            out.extend_from_slice(&(near(choices, path.len() as u64)? as u32).to_le_bytes());
            out.extend_from_slice(&(choices.int_in_range(0..=2)? as u32).to_le_bytes());
            out.extend_from_slice(&choices.arbitrary::<[u64; 2]>()?.map(u64::to_le_bytes).concat());
            // What each flag adds: mzxid, mtime and version; pzxid and cversion; aversion; owner.
            for (flag, bytes) in [(1, 20), (2, 12), (4, 4), (8, 8)] {
                if flags & flag != 0 {
                    out.extend_from_slice(choices.bytes(bytes)?);
                }
            }
            let data = choices.int_in_range(0..=3)?;
            if flags & 16 != 0 {
                out.extend_from_slice(&(near(choices, data as u64)? as u32).to_le_bytes());
            }
            out.extend_from_slice(path.as_bytes());
            if flags & 16 != 0 {
                out.extend_from_slice(choices.bytes(data)?);
            }
        }
        2 => out.extend_from_slice(choices.bytes(12)?),
        _ => {
            // A list of no entries, mostly.
            let list = if choices.ratio(7u8, 8)? { &[0; 4] } else { choices.bytes(4)? };
            out.extend_from_slice(&(near(choices, list.len() as u64)? as u32).to_le_bytes());
            out.extend_from_slice(list);
        }
    }
    Ok(())
}
