//! A server's life in ZooKeeper's files, then damaged: transactions in one log or two, snapshots at any
//! moment, packed or not. The input chooses all of it.
//!
//! The laws: undamaged, import makes the tree of the last transaction. Damaged, it makes a tree that the
//! server went through, or refuses; and if that is an earlier one, the first transaction that is missing is
//! damaged.

use crate::contents::Contents;
use arbitrary::{Result, Unstructured};
use ringkeeper_engine::auth::AuthId;
use ringkeeper_engine::database::Database;
use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::jute;
use ringkeeper_engine::jute::records::{
    Acl, CreateRequest, CreateSessionTxn, Id, PathVersion, SetAclRecord, SetDataRequest,
};
use ringkeeper_engine::limits::Settings;
use ringkeeper_engine::op::OpCode;
use ringkeeper_engine::prep::{Prep, Stamp, WriteRequest};
use ringkeeper_engine::zookeeper::FileName;
use ringkeeper_engine::zookeeper::export::{DigestFields, write_snapshot, write_transaction};
use ringkeeper_engine::zookeeper::format::HEADER_BYTES;
use ringkeeper_engine::zookeeper::log::write_log_header;
use ringkeeper_engine::zookeeper::replay::Replay;
use ringkeeper_engine::zookeeper::restore::restore;
use ringkeeper_engine::zookeeper::stream::Compression;
use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;

const TRANSACTIONS_MAX: usize = 24;
const PATHS: [&str; 8] = ["/a", "/b", "/a/c", "/a/c/d", "/b/e", "/s-", "/a/s-", "/b/ephemeral"];

/// Runs one input.
pub fn run(input: &[u8]) {
    let mut choices = Unstructured::new(input);
    let mut life = Life::new();
    // Running out of bytes only ends the choosing.
    let _ = life.live(&mut choices);
    let whole = life.files.clone();
    life.judge(&whole);
    let damaged = (0..2).any(|_| damage(&mut choices, &mut life.files).is_ok_and(|done| done));
    if damaged {
        life.judge(&whole);
    }
}

type File = (FileName, Vec<u8>);

struct Life {
    prep: Prep,
    replay: Replay,
    files: Vec<File>,
    /// The log that is written to, by its place in `files`.
    log: usize,
    /// Behind each transaction, with the place of its record; the first is the empty tree.
    states: Vec<(Contents, usize, Range<usize>)>,
}

impl Life {
    fn new() -> Life {
        let replay = Replay::new(Database::new(1), Zxid::ZERO);
        let empty = Contents::of(&replay.database);
        let prep = Prep::new(Arc::new(Settings::default()), 1);
        Life { prep, replay, files: Vec::new(), log: 0, states: vec![(empty, 0, 0..0)] }
    }

    fn live(&mut self, choices: &mut Unstructured<'_>) -> Result<()> {
        self.transact(OpCode::CreateSession, &jute::to_bytes(&CreateSessionTxn { time_out: 9000 }));
        for _ in 0..choices.int_in_range(1..=TRANSACTIONS_MAX)? {
            match choices.int_in_range(0..=15)? {
                0 => self.begin_log(),
                1 => self.snapshot(*choices.choose(&[
                    Compression::None,
                    Compression::Gzip,
                    Compression::Snappy,
                ])?),
                _ => {
                    let (op, body) = request(choices)?;
                    self.transact(op, &body);
                }
            }
        }
        Ok(())
    }

    fn begin_log(&mut self) {
        if self.files.get(self.log).is_some_and(|(_, file)| file.len() == HEADER_BYTES) {
            return;
        }
        let mut file = Vec::new();
        write_log_header(&mut file);
        self.files.push((FileName::Log(self.replay.database.last.next()), file));
        self.log = self.files.len() - 1;
    }

    fn snapshot(&mut self, compression: Compression) {
        let name = FileName::Snapshot(self.replay.database.last);
        if self.files.iter().any(|(other, _)| *other == name) {
            return;
        }
        let mut file = Vec::new();
        let Ok(_) = write_snapshot(&self.replay.database, compression, DigestFields::Written, |bytes| {
            file.extend_from_slice(bytes);
            Ok::<(), Infallible>(())
        });
        self.files.push((name, file));
    }

    fn transact(&mut self, op: OpCode, body: &[u8]) {
        let zxid = self.replay.database.last.next();
        let none: &[AuthId] = &[];
        let request = WriteRequest {
            session: SessionId(1),
            xid: 1,
            op,
            body,
            auth: none,
            internal: false,
            no_ephemerals: None,
        };
        let stamp = Stamp { zxid, time: zxid.0 as i64 };
        let mut transaction = Vec::new();
        if self.prep.prepare(&self.replay.database.tree, &request, stamp, &mut transaction).is_err() {
            return;
        }
        let next = FileName::Log(zxid);
        // A log is named by its first transaction, so one that has none yet takes this one.
        if self.files.is_empty()
            || self.files.get(self.log).is_none_or(|(name, _)| matches!(name, FileName::Snapshot(_)))
        {
            self.begin_log();
        }
        let (name, file) = &mut self.files[self.log];
        if file.len() == HEADER_BYTES {
            *name = next;
        }
        let begin = file.len();
        write_transaction(&mut self.replay, &transaction, file).expect("a transaction that we made");
        self.prep.applied(zxid);
        self.states.push((Contents::of(&self.replay.database), self.log, begin..file.len()));
    }

    fn judge(&self, whole: &[File]) {
        let names: Vec<FileName> = self.files.iter().map(|(name, _)| *name).collect();
        let Ok(restored) = restore(&names, 2, |number| Ok::<_, Infallible>(self.files[number].1.clone()));
        let restored = match restored {
            Ok(restored) => restored,
            Err(refusal) => {
                let said = refusal.display(|number| format!("{:?}", names[number]));
                assert!(self.files != whole, "undamaged, and refused: {said}");
                return;
            }
        };
        let found = Contents::of(&restored.database);
        let last = restored.database.last.0 as usize;
        let Some((expected, _, _)) = self.states.get(last) else {
            panic!("transaction {last} was never made")
        };
        found.is(expected, "what was imported");
        if let Some((_, log, place)) = self.states.get(last + 1) {
            let record = |files: &[File]| files[*log].1.get(place.clone()).map(<[u8]>::to_vec);
            assert!(
                record(&self.files) != record(whole),
                "transaction {} is lost and was not damaged",
                last + 1
            );
        }
        assert_eq!(restored.digests.different, 0, "the digests are ours");
    }
}

fn request(choices: &mut Unstructured<'_>) -> Result<(OpCode, Vec<u8>)> {
    let path = (*choices.choose(&PATHS)?).into();
    let data = Some(choices.bytes(4.min(choices.len()))?);
    let perms = choices.int_in_range(16..=31)?;
    let acl = vec![Acl { perms, id: Id { scheme: Some("world".into()), id: Some("anyone".into()) } }];
    Ok(match choices.int_in_range(0..=7)? {
        0 => (OpCode::Delete, jute::to_bytes(&PathVersion { path, version: -1 })),
        1 => (OpCode::SetData, jute::to_bytes(&SetDataRequest { path, data, version: -1 })),
        2 => (OpCode::SetAcl, jute::to_bytes(&SetAclRecord { path, acl, version: -1 })),
        _ => {
            let flags = if path == "/b/ephemeral" { 1 } else { 2 * i32::from(path.ends_with('-')) };
            (OpCode::Create2, jute::to_bytes(&CreateRequest { path, data, acl, flags }))
        }
    })
}

/// One thing that a disk can do; whether it changed something.
fn damage(choices: &mut Unstructured<'_>, files: &mut [File]) -> Result<bool> {
    let number = choices.choose_index(files.len())?;
    let file = &mut files[number].1;
    let before = file.clone();
    let start = choices.choose_index(file.len().max(1))?.min(file.len());
    let end = (start + choices.int_in_range(1..=64)?).min(file.len());
    match choices.int_in_range(0..=3)? {
        0 if start < end => file[start] ^= 1 << choices.int_in_range(0..=7)?,
        1 => file[start..end].fill(0),
        2 => file.truncate(start),
        _ => drop(file.drain(start..end)),
    }
    Ok(*file != before)
}
