//! A checkpoint that our writer wrote, then damaged. The input chooses the records and the damage.
//!
//! The laws: undamaged, it gives back what was written. Damaged, it says so: each byte is under a
//! checksum, so no changed file is read to its end without a fault; and what is salvaged of it is what was
//! written.

use crate::salvage::{line, salvage};
use arbitrary::{Result, Unstructured};
use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::log::DatabaseId;
use ringkeeper_engine::snap::{Checkpoint, CheckpointWriter, Fault, NodeRecord, Record, SessionRecord};
use ringkeeper_engine::tree::walk::Ordinal;

const NODES_MAX: usize = 20;
const DAMAGES_MAX: usize = 3;

/// Runs one input.
pub fn run(input: &[u8]) {
    let mut choices = Unstructured::new(input);
    // Running out of bytes only ends the choosing.
    let (file, written) = make(&mut choices);
    assert_eq!(read(&file).as_ref(), Ok(&written), "what was written is read");
    let mut damaged = file.clone();
    for _ in 0..DAMAGES_MAX {
        if choices.is_empty() || damage(&mut choices, &mut damaged).is_err() {
            break;
        }
    }
    if damaged != file {
        assert!(read(&damaged).is_err(), "damage that nobody sees");
        let Some(saved) = salvage(&damaged) else { return };
        assert!(!saved.whole, "damage that a salvage does not see");
        for record in &saved.records {
            assert!(
                written.iter().any(|line| line.starts_with(record)),
                "a salvaged record that was never written: {record}"
            );
        }
    }
}

/// What a file holds, as text: a line a record.
fn read(file: &[u8]) -> std::result::Result<Vec<String>, Fault> {
    let opened = Checkpoint::open(file)?;
    let mut lines = vec![format!("{} {}", opened.first_zxid(), opened.last_zxid())];
    opened.visit(|record| {
        let list = if let Record::Node(node) = &record { Some(opened.acl(node.acl)) } else { None };
        lines.push(line(&record, list));
    })?;
    Ok(lines)
}

fn make(choices: &mut Unstructured<'_>) -> (Vec<u8>, Vec<String>) {
    let first = Zxid(choices.int_in_range(0..=u64::MAX / 2).unwrap_or_default());
    let mut writer = CheckpointWriter::new(DatabaseId(7), first);
    let (mut nodes, mut sessions) = (Vec::new(), Vec::new());
    // Records of one kind keep their order; which kind comes first is the writer's choice.
    let _ = fill(choices, &mut writer, &mut nodes, &mut sessions);
    let file: Vec<u8> = writer.finish(Zxid(first.0 + 1)).flatten().collect();
    let read_back = read(&file).unwrap_or_default();
    let head = vec![format!("{first} {}", Zxid(first.0 + 1))];
    let nodes_first = read_back.get(1).is_some_and(|line| line.starts_with("Node"));
    let records = if nodes_first { [nodes, sessions] } else { [sessions, nodes] };
    (file, head.into_iter().chain(records.into_iter().flatten()).collect())
}

fn fill(
    choices: &mut Unstructured<'_>,
    writer: &mut CheckpointWriter,
    nodes: &mut Vec<String>,
    sessions: &mut Vec<String>,
) -> Result<()> {
    for number in 0..choices.int_in_range(0..=NODES_MAX)? {
        if choices.ratio(1u8, 4)? {
            let session =
                SessionRecord { id: SessionId(choices.arbitrary()?), timeout_ms: choices.arbitrary()? };
            writer.session(&session);
            sessions.push(line(&Record::Session(session), None));
            continue;
        }
        let list = [choices.int_in_range(0..=3u8)?];
        let acl = writer.intern_acl(&list);
        // Long data fill a block, so that there are several.
        let length = *choices.choose(&[0, 1, 7, 100, 100_000])?;
        let data = vec![number as u8; length];
        let path = format!("/{number}{}", choices.arbitrary::<char>()?);
        let czxid = Zxid(choices.arbitrary()?);
        let ctime = choices.arbitrary()?;
        let same = choices.arbitrary()?;
        // The highest number is no node's: a file says with it that there is no parent.
        let parent = choices.arbitrary::<Option<u32>>()?.filter(|&parent| parent != u32::MAX).map(Ordinal);
        let node = NodeRecord {
            path: &path,
            parent,
            data: choices.arbitrary::<bool>()?.then_some(&data),
            acl,
            czxid,
            mzxid: if same { czxid } else { Zxid(choices.arbitrary()?) },
            pzxid: if same { czxid } else { Zxid(choices.arbitrary()?) },
            ctime,
            mtime: if same { ctime } else { choices.arbitrary()? },
            version: choices.int_in_range(-1..=1)?,
            cversion: choices.int_in_range(-1..=1)?,
            aversion: choices.int_in_range(-1..=1)?,
            ephemeral_owner: choices.int_in_range(-1..=1)?,
        };
        writer.node(&node);
        nodes.push(line(&Record::Node(node), Some(&list)));
    }
    Ok(())
}

fn damage(choices: &mut Unstructured<'_>, file: &mut Vec<u8>) -> Result<()> {
    let start = choices.choose_index(file.len().max(1))?.min(file.len());
    let end = (start + choices.int_in_range(1..=64)?).min(file.len());
    match choices.int_in_range(0..=5)? {
        0 if start < end => file[start] ^= 1 << choices.int_in_range(0..=7)?,
        1 => file[start..end].fill(0),
        2 => {
            let bytes = choices.bytes((end - start).min(choices.len()))?;
            file[start..start + bytes.len()].copy_from_slice(bytes);
        }
        3 => file.truncate(start),
        4 => drop(file.drain(start..end)),
        _ => {
            let to = choices.choose_index(file.len().max(1))?;
            let copied = file[start..end.min(start + file.len() - to)].to_vec();
            file[to..to + copied.len()].copy_from_slice(&copied);
        }
    }
    Ok(())
}
