//! The bytes of one transaction as ZooKeeper logs and proposes it: header, record, digest. Releases
//! differ: before 3.4 a create has no `parentCVersion`, before 3.6 a closeSession has no paths and
//! nothing has a digest.

use std::borrow::Cow;

use super::format::Fault;
use crate::jute::records::{
    CloseSessionTxn, CreateSessionTxn, ErrorTxn, MultiTxn, PathRecord, PathVersion, SetDataTxn, TxnDigest,
    TxnHeader,
};
use crate::jute::{self, Reader, Write};
use crate::op::OpCode;
use crate::tree::acl::RawAcl;
use crate::tree::{digest, path};
use std::collections::BTreeSet;

/// Bytes of a transaction's header.
pub const HEADER_BYTES: usize = 8 + 4 + 8 + 8 + 4;
/// Bytes of a digest.
pub(crate) const DIGEST_BYTES: usize = 4 + 8;

/// A whole transaction; every field of its record has been looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction<'a> {
    /// All of it, as it is checksummed.
    pub bytes: &'a [u8],
    /// Whose it is, its number and its time.
    pub header: TxnHeader,
    /// What it does.
    pub op: OpCode,
    /// Its record, in the form of its release.
    pub record: &'a [u8],
    /// The digest of the tree that it leads to, if its release wrote one.
    pub digest: Option<TxnDigest>,
    form: Form,
}

/// How a record differs from what this server applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// It does not.
    Current,
    /// A create without `parentCVersion`: one more than the parent has.
    OldCreate,
    /// A multi that failed. Its operations stand there, those before the failed one as if they had
    /// been done; none was.
    FailedMulti(i32),
}

/// What is wrong with a record, and where in it.
struct Wrong(usize, String);

impl From<jute::DecodeError> for Wrong {
    fn from(error: jute::DecodeError) -> Wrong {
        Wrong(0, error.to_string())
    }
}

impl<'a> Transaction<'a> {
    /// Decodes the bytes of one transaction.
    ///
    /// # Errors
    /// What is wrong, with the offset within the bytes.
    pub fn decode(bytes: &'a [u8]) -> Result<Transaction<'a>, Fault> {
        let mut reader = Reader::new(bytes);
        let header: TxnHeader =
            reader.read().map_err(|error| Fault::new(0, format!("no transaction's header: {error}")))?;
        let op = OpCode::from_code(header.op).filter(|op| is_logged(*op)).ok_or_else(|| {
            Fault::new((HEADER_BYTES - 4) as u64, format!("no transaction has the type {}", header.op))
        })?;
        let body = reader.rest();
        let (length, form) = record_length(op, body)
            .map_err(|Wrong(at, what)| Fault::new((HEADER_BYTES + at) as u64, format!("{op:?}: {what}")))?;
        let (record, behind) = body.split_at(length);
        let digest = match behind.len() {
            0 => None,
            _ => Some(jute::from_bytes(behind).map_err(|error| {
                Fault::new((HEADER_BYTES + length) as u64, format!("no digest: {error}"))
            })?),
        };
        Ok(Transaction { bytes, header, op, record, digest, form })
    }

    /// Whether this server applies the bytes as they are.
    pub(crate) fn is_current(&self) -> bool {
        self.form != Form::OldCreate
    }

    /// Header and record as this server applies them.
    pub fn to_apply(&self) -> Cow<'a, [u8]> {
        match self.form {
            Form::Current => Cow::Borrowed(&self.bytes[..HEADER_BYTES + self.record.len()]),
            Form::OldCreate => {
                let mut out = self.bytes[..HEADER_BYTES + self.record.len()].to_vec();
                (-1i32).write(&mut out);
                Cow::Owned(out)
            }
            Form::FailedMulti(err) => {
                let mut out = Vec::with_capacity(HEADER_BYTES + 4);
                TxnHeader { op: OpCode::Error.code(), ..self.header }.write(&mut out);
                ErrorTxn { err }.write(&mut out);
                Cow::Owned(out)
            }
        }
    }
}

impl Transaction<'_> {
    /// The nodes that it may change, from a session that owns the nodes `owned`.
    ///
    /// # Errors
    /// None for a transaction that was decoded.
    pub fn touches<'e>(&self, owned: impl Iterator<Item = &'e str>) -> jute::Result<BTreeSet<String>> {
        let mut paths = BTreeSet::new();
        let mut with_parent = |path: &str| paths.extend(digest::with_parent(path).map(str::to_owned));
        match self.op {
            OpCode::CloseSession => {
                if !self.record.is_empty() {
                    let CloseSessionTxn { paths_to_delete } = jute::from_bytes(self.record)?;
                    paths_to_delete.iter().for_each(|path| with_parent(path));
                }
                owned.for_each(with_parent);
            }
            OpCode::Multi if self.form == Form::Current => {
                let MultiTxn { txns } = jute::from_bytes(self.record)?;
                for txn in txns {
                    // A type without a number was refused when it was decoded.
                    let Some(op) = OpCode::from_code(txn.op) else { continue };
                    touched_by(op, txn.data.unwrap_or_default(), &mut with_parent)?;
                }
            }
            _ => touched_by(self.op, self.record, &mut with_parent)?,
        }
        Ok(paths)
    }
}

fn touched_by(op: OpCode, record: &[u8], touch: &mut impl FnMut(&str)) -> jute::Result<()> {
    use OpCode::*;
    let creates = matches!(op, Create | Create2 | CreateTtl | CreateContainer);
    if creates || matches!(op, Delete | DeleteContainer | SetData | Reconfig | SetAcl) {
        // All of them begin with the path.
        let PathRecord { path } = jute::from_bytes(record)?;
        touch(&path);
    }
    Ok(())
}

/// What a log may hold (`SerializeUtils.deserializeTxn`).
fn is_logged(op: OpCode) -> bool {
    use OpCode::*;
    is_part_of_multi(op) && op != Check
        || matches!(op, CreateSession | CloseSession | SetAcl | Reconfig | Multi)
}

/// What a multi may hold (`DataTree.processTxn`).
fn is_part_of_multi(op: OpCode) -> bool {
    use OpCode::*;
    let creates = matches!(op, Create | Create2 | CreateTtl | CreateContainer);
    creates || matches!(op, Delete | DeleteContainer | SetData | Error | Check)
}

/// How many of the bytes behind a header are the record's; the others are a digest or none.
fn record_length(op: OpCode, body: &[u8]) -> Result<(usize, Form), Wrong> {
    let ended = |length: usize| matches!(body.len() - length, 0 | DIGEST_BYTES);
    let mut reader = Reader::new(body);
    let read = match op {
        OpCode::CloseSession => return Ok((close_session_length(body)?, Form::Current)),
        OpCode::Multi => multi(&mut reader),
        _ => single(op, &mut reader).map(|()| Form::Current),
    };
    match read {
        Ok(form) if ended(reader.position()) => Ok((reader.position(), form)),
        Ok(_) => {
            let at = reader.position();
            Err(Wrong(at, format!("{} bytes behind the record", body.len() - at)))
        }
        Err(_) if op == OpCode::Create && old_create(body).is_ok() => Ok((body.len(), Form::OldCreate)),
        Err(wrong) => Err(wrong),
    }
}

/// A closeSession has no record before 3.6 and in servers that are set so, though these may write a
/// digest.
fn close_session_length(body: &[u8]) -> Result<usize, Wrong> {
    let mut reader = Reader::new(body);
    let read = reader.read::<CloseSessionTxn<'_>>();
    let rest = reader.rest().len();
    match read {
        _ if body.is_empty() => Ok(0),
        Ok(_) if matches!(rest, 0 | DIGEST_BYTES) => Ok(reader.position()),
        _ if body.len() == DIGEST_BYTES => Ok(0),
        Ok(_) => Err(Wrong(reader.position(), format!("{rest} bytes behind the record"))),
        Err(error) => Err(error.into()),
    }
}

fn old_create(body: &[u8]) -> Result<(), Wrong> {
    let mut reader = Reader::new(body);
    new_node(&mut reader)?;
    let _ephemeral: bool = reader.read()?;
    if reader.rest().is_empty() { Ok(()) } else { Err(Wrong(reader.position(), "it goes on".into())) }
}

/// Path, data and list: the beginning of every create.
fn new_node(reader: &mut Reader<'_>) -> Result<(), Wrong> {
    let path: Cow<'_, str> = reader.read()?;
    if !path::is_valid(&path) {
        return Err(Wrong(0, format!("{path:?} is no path")));
    }
    let _data: Option<&[u8]> = reader.read()?;
    list(reader)
}

fn list(reader: &mut Reader<'_>) -> Result<(), Wrong> {
    let at = reader.position();
    let acl: RawAcl<'_> = reader.read()?;
    if acl.0.first().is_some_and(|byte| *byte >= 0x80) {
        return Err(Wrong(at, "no access control list".into()));
    }
    Ok(())
}

fn single(op: OpCode, reader: &mut Reader<'_>) -> Result<(), Wrong> {
    match op {
        OpCode::Create | OpCode::Create2 => {
            new_node(reader)?;
            let _ephemeral: bool = reader.read()?;
            let _parent_cversion: i32 = reader.read()?;
        }
        OpCode::CreateContainer => {
            new_node(reader)?;
            let _parent_cversion: i32 = reader.read()?;
        }
        OpCode::CreateTtl => {
            new_node(reader)?;
            let _parent_cversion: i32 = reader.read()?;
            let _ttl: i64 = reader.read()?;
        }
        OpCode::Delete | OpCode::DeleteContainer => {
            reader.read::<PathRecord<'_>>()?;
        }
        OpCode::SetData | OpCode::Reconfig => {
            reader.read::<SetDataTxn<'_>>()?;
        }
        OpCode::SetAcl => {
            let _path: Cow<'_, str> = reader.read()?;
            list(reader)?;
            let _version: i32 = reader.read()?;
        }
        OpCode::Check => {
            reader.read::<PathVersion<'_>>()?;
        }
        OpCode::CreateSession => {
            reader.read::<CreateSessionTxn>()?;
        }
        OpCode::Error => {
            reader.read::<ErrorTxn>()?;
        }
        _ => return Err(Wrong(0, "it is no single transaction".into())),
    }
    Ok(())
}

fn multi(reader: &mut Reader<'_>) -> Result<Form, Wrong> {
    let MultiTxn { txns } = reader.read()?;
    let mut form = Form::Current;
    for (number, txn) in txns.iter().enumerate() {
        let wrong = |what: &str| Wrong(0, format!("operation {number}: {what}"));
        let op = OpCode::from_code(txn.op).filter(|op| is_part_of_multi(*op));
        let op = op.ok_or_else(|| wrong(&format!("no multi holds the type {}", txn.op)))?;
        let mut part = Reader::new(txn.data.ok_or_else(|| wrong("no record"))?);
        if op == OpCode::Error {
            let ErrorTxn { err } = part.read()?;
            // The first says why; those behind it only that they were not tried.
            if form == Form::Current {
                form = Form::FailedMulti(err);
            }
        } else {
            single(op, &mut part).map_err(|Wrong(_, what)| wrong(&what))?;
        }
        if !part.rest().is_empty() {
            return Err(wrong("bytes behind the record"));
        }
    }
    Ok(form)
}
