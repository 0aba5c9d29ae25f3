//! Transactions of any content, as a log or an import may hold them, applied to a tree.
//!
//! The laws: none panics; the tree stays a tree, in which each node is found by its path, has a parent
//! that lists it, and is counted once; and a checkpoint of it can be read, into a tree.

use crate::contents::{Contents, Walk, read_checkpoint};
use arbitrary::{Result, Unstructured};
use ringkeeper_engine::database::Database;
use ringkeeper_engine::jute::records::{
    Acl, CloseSessionTxn, CreateContainerTxn, CreateSessionTxn, CreateTtlTxn, CreateTxn, ErrorTxn, Id,
    MultiTxn, PathRecord, PathVersion, SetAclRecord, SetDataTxn, Txn, TxnHeader,
};
use ringkeeper_engine::jute::{self, Write};
use ringkeeper_engine::op::OpCode;

const TRANSACTIONS_MAX: usize = 64;
const PATHS: [&str; 14] = [
    "/a",
    "/a/b",
    "/a/b/c",
    "/d",
    "/a/e",
    "/",
    "",
    "a",
    "/a/",
    "//",
    "/zookeeper",
    "/zookeeper/config",
    "/zookeeper/quota/a/zookeeper_limits",
    "/zookeeper/quota/a/zookeeper_stats",
];
const OPS: [OpCode; 12] = [
    OpCode::Create,
    OpCode::Create2,
    OpCode::CreateContainer,
    OpCode::CreateTtl,
    OpCode::Delete,
    OpCode::DeleteContainer,
    OpCode::SetData,
    OpCode::SetAcl,
    OpCode::Check,
    OpCode::CreateSession,
    OpCode::CloseSession,
    OpCode::Error,
];

/// Runs one input.
pub fn run(input: &[u8]) {
    let mut choices = Unstructured::new(input);
    let mut database = Database::new(1);
    let mut zxid = 0;
    for _ in 0..TRANSACTIONS_MAX {
        let Ok(bytes) = transaction(&mut choices, &mut zxid) else { break };
        let _ = database.replay(&bytes);
    }
    database.replayed();
    Contents::of(&database).is_a_tree();
    Contents::of(&read_checkpoint(&Walk::of(&database).write(|| ()))).is_a_tree();
}

/// Mostly the next zxid, sometimes one that goes back or anywhere.
fn transaction(choices: &mut Unstructured<'_>, last: &mut i64) -> Result<Vec<u8>> {
    *last = match choices.int_in_range(0..=15)? {
        0 => choices.arbitrary()?,
        1 => i64::from(choices.arbitrary::<u8>()?),
        _ => last.wrapping_add(1),
    };
    let multi = choices.ratio(1u8, 8)?;
    let op = if multi { OpCode::Multi } else { *choices.choose(&OPS)? };
    let client_id = *choices.choose(&[1, 2, 0, i64::MIN, -1])?;
    let header = TxnHeader { client_id, cxid: 0, zxid: *last, time: choices.arbitrary()?, op: op.code() };
    let mut bytes = jute::to_bytes(&header);
    if multi {
        let mut parts = Vec::new();
        for _ in 0..choices.int_in_range(0..=4)? {
            let op = *choices.choose(&OPS)?;
            parts.push((op.code(), record(choices, op)?));
        }
        let txns = parts.iter().map(|(op, data)| Txn { op: *op, data: Some(data) }).collect();
        MultiTxn { txns }.write(&mut bytes);
    } else {
        bytes.extend(record(choices, op)?);
    }
    if choices.ratio(1u8, 32)? {
        let at = choices.choose_index(bytes.len())?;
        bytes[at] = choices.arbitrary()?;
    }
    Ok(bytes)
}

fn path(choices: &mut Unstructured<'_>) -> Result<String> {
    let path = (*choices.choose(&PATHS)?).to_owned();
    let tail = choices.ratio(1u8, 16)?.then(|| choices.arbitrary::<char>()).transpose()?;
    Ok(path + &tail.map(String::from).unwrap_or_default())
}

fn record(choices: &mut Unstructured<'_>, op: OpCode) -> Result<Vec<u8>> {
    let (path, other) = (path(choices)?, path(choices)?);
    let numbers = [0, 1, 2, -1, i32::MAX, i32::MIN];
    let version = *choices.choose(&numbers)?;
    let length = choices.int_in_range(0..=8)?;
    let data = choices.bytes(length.min(choices.len()))?;
    let data = (length != 8).then_some(data);
    let open = Acl { perms: 31, id: Id { scheme: Some("world".into()), id: Some("anyone".into()) } };
    let acl = vec![open; choices.int_in_range(0..=2)?];
    let ttl = *choices.choose(&[1, 0, -1, i64::MAX])?;
    let path = path.into();
    Ok(match op {
        OpCode::CreateContainer => {
            jute::to_bytes(&CreateContainerTxn { path, data, acl, parent_cversion: version })
        }
        OpCode::CreateTtl => jute::to_bytes(&CreateTtlTxn { path, data, acl, parent_cversion: version, ttl }),
        OpCode::Delete | OpCode::DeleteContainer => jute::to_bytes(&PathRecord { path }),
        OpCode::SetData => jute::to_bytes(&SetDataTxn { path, data, version }),
        OpCode::SetAcl => jute::to_bytes(&SetAclRecord { path, acl, version }),
        OpCode::Check => jute::to_bytes(&PathVersion { path, version }),
        OpCode::CreateSession => jute::to_bytes(&CreateSessionTxn { time_out: version }),
        OpCode::CloseSession => {
            jute::to_bytes(&CloseSessionTxn { paths_to_delete: vec![path, other.into()] })
        }
        OpCode::Error => jute::to_bytes(&ErrorTxn { err: version }),
        _ => {
            let ephemeral = ttl == 1;
            jute::to_bytes(&CreateTxn { path, data, acl, ephemeral, parent_cversion: version })
        }
    })
}
