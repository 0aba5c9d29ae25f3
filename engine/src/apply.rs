//! Applying a transaction: the only thing that changes the tree. What a leader, a follower and a
//! restart do with a transaction is the same, from the same bytes.

use crate::error::{self, ErrorCode};
use crate::id::{SessionId, Zxid};
use crate::jute::records::{
    CloseSessionTxn, CreateSessionTxn, ErrorTxn, MultiHeader, MultiTxn, PathRecord, PathVersion, SetDataTxn,
    Stat, TxnHeader,
};
use crate::jute::{self, Read, Reader, Write};
use crate::op::OpCode;
use crate::prep::path_bytes;
use crate::read::write_end_of_results;
use crate::tree::acl::RawAcl;
use crate::tree::node::{DataSet, NodeKind};
use crate::tree::{Batch, Changes, Found, NewNode, WARMED_AT_ONCE};
use crate::zookeeper::Fault;
use crate::zookeeper::transaction::{DIGEST_BYTES, Transaction};
use std::borrow::Cow;

/// What applying a transaction did, as far as its client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Nothing to tell but that it is done.
    Done,
    /// A node was created.
    Created {
        /// Where, with the number of a sequential one.
        path: Cow<'a, str>,
        /// Its Stat.
        stat: Stat,
    },
    /// A node was changed.
    Changed(Stat),
    /// The ensemble's configuration was changed.
    Reconfigured {
        /// Its text.
        text: Option<&'a [u8]>,
        /// The Stat of its node.
        stat: Stat,
    },
    /// The transaction records a failure, or could not be applied.
    Failed(i32),
    /// One outcome an operation.
    Multi(Vec<(OpCode, Outcome<'a>)>),
    /// A session began.
    SessionCreated {
        /// Its timeout, in milliseconds.
        timeout_ms: u32,
    },
    /// A session ended.
    SessionClosed,
}

/// A transaction that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied<'a> {
    /// Its number.
    pub zxid: Zxid,
    /// Whose it is.
    pub session: SessionId,
    /// The client's number for the request.
    pub cxid: i32,
    /// What it does.
    pub op: OpCode,
    /// What it did.
    pub outcome: Outcome<'a>,
}

/// Applies the transaction in `bytes`: a header and its record. `found` says where preparation found what it
/// touches first, in this tree.
///
/// # Errors
/// When the bytes are not a transaction. What a transaction fails at is an outcome, not an error:
/// every server must do the same with it.
pub fn apply<'a>(
    batch: &mut Batch<'_>,
    bytes: &'a [u8],
    found: Option<Found>,
    changes: &mut Changes,
) -> jute::Result<Applied<'a>> {
    let mut reader = Reader::new(bytes);
    let header: TxnHeader = reader.read()?;
    let unknown = jute::DecodeError::Unknown { at: reader.position(), value: header.op };
    let op = OpCode::from_code(header.op).ok_or(unknown)?;
    let mut work = Work { batch, changes, zxid: Zxid::from_jute(header.zxid), header };
    let outcome = match op {
        OpCode::Multi => work.multi(&mut reader)?,
        _ => work.single(op, &mut reader, found)?,
    };
    let (session, cxid) = (SessionId(header.client_id), header.cxid);
    Ok(Applied { zxid: Zxid::from_jute(header.zxid), session, cxid, op, outcome })
}

/// Whether `bytes` are the transaction of that number, and [`apply`] takes them. For what another server
/// made: once it is in the log, every start depends on it.
///
/// # Errors
/// What is wrong with them, and at which offset.
pub fn check(zxid: Zxid, bytes: &[u8]) -> Result<(), String> {
    let (own, is_current) = match Transaction::decode(bytes) {
        Ok(transaction) => (transaction.header.zxid, transaction.is_current()),
        Err(Fault { offset, what }) => (
            of_check(bytes)
                .ok_or_else(|| format!("transaction {zxid} cannot be read: at offset {offset}: {what}"))?,
            true,
        ),
    };
    let own = Zxid::from_jute(own);
    match own == zxid && is_current {
        true => Ok(()),
        false if own != zxid => Err(format!("transaction {zxid} says that it is {own}")),
        false => Err(format!("transaction {zxid} has the form of a release before 3.4")),
    }
}

/// The number of a check that stands alone. A ZooKeeper's leader proposes it, though no ZooKeeper can read it
/// again (ZOOKEEPER-2623), so it is in no file of theirs.
fn of_check(bytes: &[u8]) -> Option<i64> {
    let mut reader = Reader::new(bytes);
    let header: TxnHeader = reader.read().ok()?;
    let record: jute::Result<PathVersion<'_>> = reader.read();
    (header.op == OpCode::Check.code() && record.is_ok()).then_some(header.zxid)
}

/// The number of the transaction in `bytes`.
///
/// # Errors
/// When the bytes are too short for a header.
pub fn zxid_of(bytes: &[u8]) -> jute::Result<Zxid> {
    Ok(Zxid::from_jute(TxnHeader::read(&mut Reader::new(bytes))?.zxid))
}

struct Work<'w, 't> {
    batch: &'w mut Batch<'t>,
    changes: &'w mut Changes,
    zxid: Zxid,
    header: TxnHeader,
}

impl Work<'_, '_> {
    fn single<'a>(
        &mut self,
        op: OpCode,
        reader: &mut Reader<'a>,
        found: Option<Found>,
    ) -> jute::Result<Outcome<'a>> {
        Ok(match op {
            OpCode::Create | OpCode::Create2 => {
                let (path, data, acl) = (reader.read()?, reader.read()?, reader.read()?);
                let ephemeral: bool = reader.read()?;
                let parent_cversion = reader.read()?;
                let session = SessionId(self.header.client_id);
                let kind = if ephemeral { NodeKind::Ephemeral(session) } else { NodeKind::Persistent };
                self.create(path, data, acl, kind, (found, parent_cversion))?
            }
            OpCode::CreateContainer => {
                let (path, data, acl) = (reader.read()?, reader.read()?, reader.read()?);
                let parent_cversion = reader.read()?;
                self.create(path, data, acl, NodeKind::Container, (found, parent_cversion))?
            }
            OpCode::CreateTtl => {
                let (path, data, acl) = (reader.read()?, reader.read()?, reader.read()?);
                let (parent_cversion, ttl_ms) = (reader.read()?, reader.read()?);
                self.create(path, data, acl, NodeKind::Ttl { ttl_ms }, (found, parent_cversion))?
            }
            OpCode::Delete | OpCode::DeleteContainer => {
                let PathRecord { path } = reader.read()?;
                outcome(self.batch.delete(&path, self.zxid, self.changes).map(|()| Outcome::Done))
            }
            OpCode::SetData | OpCode::Reconfig => {
                let SetDataTxn { path, data, version } = reader.read()?;
                let set = DataSet { mzxid: self.zxid, mtime: self.header.time, version, data };
                let stat = self.batch.set_data(&path, found, &set, self.changes);
                outcome(stat.map(|stat| match op {
                    OpCode::Reconfig => Outcome::Reconfigured { text: data, stat },
                    _ => Outcome::Changed(stat),
                }))
            }
            OpCode::SetAcl => {
                let (path, acl, aversion): (Cow<'a, str>, _, _) =
                    (reader.read()?, reader.read()?, reader.read()?);
                let acl = self.batch.tree_mut().acls.intern(acl)?;
                outcome(self.batch.set_acl(&path, acl, aversion, self.zxid).map(Outcome::Changed))
            }
            OpCode::Check => {
                let _: PathVersion<'_> = reader.read()?;
                Outcome::Done
            }
            OpCode::CreateSession => {
                let CreateSessionTxn { time_out } = reader.read()?;
                Outcome::SessionCreated { timeout_ms: time_out.max(0) as u32 }
            }
            OpCode::CloseSession => {
                self.close_session(reader)?;
                Outcome::SessionClosed
            }
            OpCode::Error => Outcome::Failed(reader.read::<ErrorTxn>()?.err),
            OpCode::Multi
            | OpCode::Exists
            | OpCode::GetData
            | OpCode::GetAcl
            | OpCode::GetChildren
            | OpCode::Sync
            | OpCode::Ping
            | OpCode::GetChildren2
            | OpCode::CheckWatches
            | OpCode::RemoveWatches
            | OpCode::MultiRead
            | OpCode::Auth
            | OpCode::SetWatches
            | OpCode::Sasl
            | OpCode::GetEphemerals
            | OpCode::GetAllChildrenNumber
            | OpCode::SetWatches2
            | OpCode::AddWatch
            | OpCode::WhoAmI => {
                return Err(jute::DecodeError::Unknown { at: reader.position(), value: op.code() });
            }
        })
    }

    fn create<'a>(
        &mut self,
        path: Cow<'a, str>,
        data: Option<&[u8]>,
        acl: RawAcl<'_>,
        kind: NodeKind,
        (parent, parent_cversion): (Option<Found>, i32),
    ) -> jute::Result<Outcome<'a>> {
        let acl = self.batch.tree_mut().acls.intern(acl)?;
        let new = NewNode { path: &path, data, acl, kind, parent_cversion };
        let created = self.batch.create(&new, parent, self.zxid, self.header.time, self.changes);
        Ok(outcome(created.map(|stat| Outcome::Created { path, stat })))
    }

    /// Deletes what the transaction names, and what the session owns besides: those of ZooKeeper before 3.6
    /// name nothing, nor do those of a later one that is set so (`closeSessionTxn.enabled`), though it
    /// writes a digest in their place.
    fn close_session(&mut self, reader: &mut Reader<'_>) -> jute::Result<()> {
        let body = reader.rest();
        let named = match jute::from_bytes::<CloseSessionTxn<'_>>(body) {
            Ok(CloseSessionTxn { paths_to_delete }) => paths_to_delete,
            Err(_) if matches!(body.len(), 0 | DIGEST_BYTES) => Vec::new(),
            Err(error) => return Err(error),
        };
        let session = SessionId(self.header.client_id);
        for path in &named {
            // A path that is gone already was deleted between the checkpoint's walk and here.
            let _ = self.batch.delete(path, self.zxid, self.changes);
        }
        let owned: Vec<Box<str>> = self.batch.tree().ephemerals().of(session).map(Into::into).collect();
        for path in owned {
            let _ = self.batch.delete(&path, self.zxid, self.changes);
        }
        Ok(())
    }

    /// A part that failed fails them all, also where ZooKeeper's leader left the others as they would have
    /// been: those before it say that all was well, those behind it that they were not tried.
    fn multi<'a>(&mut self, reader: &mut Reader<'a>) -> jute::Result<Outcome<'a>> {
        let MultiTxn { txns } = reader.read()?;
        let failed = txns.iter().position(|txn| txn.op == OpCode::Error.code());
        let mut outcomes = Vec::with_capacity(txns.len());
        for (position, txn) in txns.iter().enumerate() {
            if position % WARMED_AT_ONCE == 0 {
                let next = txns[position..].iter().take(WARMED_AT_ONCE);
                self.batch.warm(next.filter_map(|txn| path_bytes(txn.data?)));
            }
            let unknown = jute::DecodeError::Unknown { at: reader.position(), value: txn.op };
            let op = OpCode::from_code(txn.op).ok_or(unknown)?;
            let outcome = match failed {
                Some(failed) if op != OpCode::Error => Outcome::Failed(match position < failed {
                    true => error::OK,
                    false => ErrorCode::RuntimeInconsistency.code(),
                }),
                _ => self.single(op, &mut Reader::new(txn.data.unwrap_or_default()), None)?,
            };
            outcomes.push((op, outcome));
        }
        Ok(Outcome::Multi(outcomes))
    }
}

fn outcome<'a>(result: Result<Outcome<'a>, ErrorCode>) -> Outcome<'a> {
    result.unwrap_or_else(|error| Outcome::Failed(error.code()))
}

impl Outcome<'_> {
    /// The error code of the reply header. A multi always says that all is well: its results say
    /// what failed.
    pub fn code(&self) -> i32 {
        match self {
            Outcome::Failed(code) => *code,
            _ => error::OK,
        }
    }

    /// Appends the reply's record, for a request of kind `op`.
    pub fn write_reply(&self, op: OpCode, out: &mut Vec<u8>) {
        match self {
            Outcome::Created { path, stat } => {
                path.write(out);
                if op != OpCode::Create {
                    stat.write(out);
                }
            }
            Outcome::Changed(stat) => stat.write(out),
            Outcome::Reconfigured { text, stat } => {
                text.write(out);
                stat.write(out);
            }
            Outcome::Multi(outcomes) => {
                for (op, outcome) in outcomes {
                    outcome.write_multi_result(*op, out);
                }
                write_end_of_results(out);
            }
            Outcome::Done | Outcome::Failed(_) | Outcome::SessionCreated { .. } | Outcome::SessionClosed => {}
        }
    }

    fn write_multi_result(&self, op: OpCode, out: &mut Vec<u8>) {
        if let Outcome::Failed(err) = *self {
            MultiHeader { op: OpCode::Error.code(), done: false, err }.write(out);
            err.write(out);
            return;
        }
        let shown = match op {
            OpCode::CreateContainer | OpCode::CreateTtl => OpCode::Create2,
            other => other,
        };
        MultiHeader { op: shown.code(), done: false, err: error::OK }.write(out);
        self.write_reply(shown, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Database;
    use crate::jute::Write;
    use crate::tree::acl::AclList;

    /// As ZooKeeper's leader makes it of a create, a delete that fails, and another operation.
    fn failed_multi() -> Vec<u8> {
        let header = TxnHeader { client_id: 1, cxid: 1, zxid: 1, time: 1, op: OpCode::Multi.code() };
        let mut create = Vec::new();
        "/part".write(&mut create);
        Some(&b""[..]).write(&mut create);
        create.extend_from_slice(&AclList::open().bytes);
        false.write(&mut create);
        1i32.write(&mut create);
        let mut bytes = jute::to_bytes(&header);
        3i32.write(&mut bytes);
        for (op, record) in [
            (OpCode::Create, create.clone()),
            (OpCode::Error, ErrorCode::NoNode.code().to_be_bytes().to_vec()),
            (OpCode::Create, create),
        ] {
            op.code().write(&mut bytes);
            Some(&record[..]).write(&mut bytes);
        }
        bytes
    }

    #[test]
    fn a_multi_of_which_a_part_failed_changes_nothing() {
        let mut database = Database::new(1);
        let (before, bytes, mut changes) = (database.tree.node_count(), failed_multi(), Changes::default());
        let mut batch = database.begin();
        let applied = batch.apply(&bytes, &mut changes).expect("a transaction");
        let Outcome::Multi(outcomes) = applied.outcome else { panic!("{:?}", applied.outcome) };
        let codes: Vec<i32> = outcomes.iter().map(|(_, outcome)| outcome.code()).collect();
        assert_eq!(codes, [0, ErrorCode::NoNode.code(), ErrorCode::RuntimeInconsistency.code()]);
        assert!(outcomes.iter().all(|(_, outcome)| matches!(outcome, Outcome::Failed(_))), "{outcomes:?}");
        batch.publish();
        assert_eq!((database.tree.node_count(), changes.len()), (before, 0));
    }

    /// One of that operation, with its number as the packet says it.
    fn transaction(op: OpCode, record: &[u8]) -> Vec<u8> {
        let header = TxnHeader { client_id: 7, cxid: 0, zxid: 2, time: 1, op: op.code() };
        [jute::to_bytes(&header), record.to_vec()].concat()
    }

    #[test]
    fn a_session_closes_though_only_a_digest_stands_where_its_nodes_would() {
        let mut database = Database::new(1);
        database.sessions.insert(SessionId(7), 5000);
        // Version 2, and a number whose bytes make a string of five that is not there.
        let digest = [0, 0, 0, 2, 0, 0, 0, 5, 0x9e, 0x37, 0x79, 0xb9];
        let bytes = transaction(OpCode::CloseSession, &digest);
        assert_eq!(check(Zxid(2), &bytes), Ok(()));
        database.replay(&bytes).expect("a transaction");
        assert!(database.sessions.is_empty());
    }

    #[test]
    fn what_cannot_be_applied_is_refused_before_it_is_logged() {
        let set = |op: OpCode, record: &[u8]| check(Zxid(2), &transaction(op, record));
        assert_eq!(set(OpCode::Delete, b"\0\0\0\x02/a"), Ok(()));
        assert!(set(OpCode::Delete, b"\0\0\0\x03/a").is_err(), "it is cut short");
        assert!(set(OpCode::GetData, b"\0\0\0\x02/a").is_err(), "it changes nothing");
        let other = transaction(OpCode::Delete, b"\0\0\0\x02/a");
        assert_eq!(check(Zxid(3), &other), Err("transaction 0x3 says that it is 0x2".into()));
        assert!(check(Zxid(2), b"").is_err());
    }
}
