//! A transaction's bytes, taken apart to be shown: the same in Ringkeeper's log and in ZooKeeper's.

use std::borrow::Cow;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use ringkeeper_engine::error::ErrorCode;
use ringkeeper_engine::id::{SessionId, Zxid};
use ringkeeper_engine::jute::records::{
    Acl, CloseSessionTxn, CreateSessionTxn, ErrorTxn, MultiTxn, PathRecord, PathVersion, SetAclRecord,
    SetDataTxn, TxnHeader,
};
use ringkeeper_engine::jute::{DecodeError, Reader, Result};
use ringkeeper_engine::op::OpCode;

/// Bytes of a `TxnDigest`, which ZooKeeper writes behind a transaction since 3.6.
const DIGEST_BYTES: usize = 12;

/// The operations that transactions have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind(usize);

/// Each with the name that ZooKeeper prints.
const KINDS: [(OpCode, &str); 14] = [
    (OpCode::Create, "create"),
    (OpCode::Create2, "create2"),
    (OpCode::CreateContainer, "createContainer"),
    (OpCode::CreateTtl, "createTTL"),
    (OpCode::Delete, "delete"),
    (OpCode::DeleteContainer, "deleteContainer"),
    (OpCode::SetData, "setData"),
    (OpCode::SetAcl, "setACL"),
    (OpCode::Check, "check"),
    (OpCode::Multi, "multi"),
    (OpCode::Reconfig, "reconfig"),
    (OpCode::CreateSession, "createSession"),
    (OpCode::CloseSession, "closeSession"),
    (OpCode::Error, "error"),
];

const ALL_KINDS: [Kind; KINDS.len()] = {
    let mut all = [Kind(0); KINDS.len()];
    let mut index = 0;
    while index < all.len() {
        all[index] = Kind(index);
        index += 1;
    }
    all
};

impl Kind {
    fn of(code: i32) -> Option<Kind> {
        ALL_KINDS.into_iter().find(|kind| kind.code().code() == code)
    }

    fn code(self) -> OpCode {
        KINDS[self.0].0
    }

    /// As ZooKeeper prints it.
    pub fn name(self) -> &'static str {
        KINDS[self.0].1
    }
}

impl ValueEnum for Kind {
    fn value_variants<'a>() -> &'a [Kind] {
        &ALL_KINDS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

/// What a node is that was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeMode {
    /// Lives until it is deleted.
    Persistent,
    /// Goes with the session.
    Ephemeral,
    /// Goes with its last child.
    Container,
    /// Goes when nothing happens to it for so many milliseconds.
    Ttl(i64),
}

/// One change, or the failure to make it. What does not belong to the operation is absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action<'a> {
    /// Which operation.
    pub kind: Kind,
    /// Of which node.
    pub path: Option<Cow<'a, str>>,
    /// The data of a node; null is not empty.
    pub data: Option<Option<&'a [u8]>>,
    /// Its access control list.
    pub acl: Option<Vec<Acl<'a>>>,
    /// What was created.
    pub mode: Option<NodeMode>,
    /// The new version, or for a check the one that was expected.
    pub version: Option<i32>,
    /// The new cversion of the parent.
    pub parent_cversion: Option<i32>,
    /// Of a session, in milliseconds.
    pub timeout_ms: Option<i32>,
    /// The ephemeral nodes that went with a session; absent if the transaction does not name them.
    pub deleted: Option<Vec<Cow<'a, str>>>,
    /// Why it failed.
    pub error: Option<i32>,
    /// Of a multi.
    pub operations: Vec<Action<'a>>,
}

/// The digest of the tree that ZooKeeper had after a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Of the way in which it is computed.
    pub version: i32,
    /// The sum.
    pub tree: i64,
}

/// A transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction<'a> {
    /// Whose it is.
    pub session: SessionId,
    /// The request's number in that session.
    pub cxid: i32,
    /// Its own number.
    pub zxid: Zxid,
    /// When it was made, in milliseconds since 1970.
    pub time_ms: i64,
    /// What it does.
    pub action: Action<'a>,
    /// What stands behind it.
    pub digest: Option<Digest>,
}

/// Takes a transaction apart: header, record, and ZooKeeper's digest if there is one.
///
/// # Errors
/// Which byte is wrong and how.
pub fn decode(bytes: &[u8]) -> Result<Transaction<'_>> {
    let mut reader = Reader::new(bytes);
    let header: TxnHeader = reader.read()?;
    let kind = known(&reader, header.op)?;
    let (action, digest) = match kind.code() {
        // Before 3.6 nothing was named, and a switch of later releases has that too: a digest may follow
        // at once, and looks like a list.
        OpCode::CloseSession => {
            let with_list = read_last(kind, reader);
            match with_list {
                Ok(read) => read,
                Err(error) => (Action::new(kind), end(&mut reader).map_err(|_| error)?),
            }
        }
        // ZooKeeper's first releases did not write the last field.
        OpCode::Create => match read_last(kind, reader) {
            Ok(read) => read,
            Err(error @ DecodeError::Truncated { .. }) => {
                let action = read_create_v0(kind, &mut reader).map_err(|_| error)?;
                let digest = end(&mut reader).map_err(|_| error)?;
                (action, digest)
            }
            Err(error) => return Err(error),
        },
        _ => read_last(kind, reader)?,
    };
    Ok(Transaction {
        session: SessionId(header.client_id),
        cxid: header.cxid,
        zxid: Zxid::from_jute(header.zxid),
        time_ms: header.time,
        action,
        digest,
    })
}

fn known(reader: &Reader<'_>, code: i32) -> Result<Kind> {
    Kind::of(code).ok_or(DecodeError::Unknown { at: reader.position(), value: code })
}

fn read_last<'a>(kind: Kind, mut reader: Reader<'a>) -> Result<(Action<'a>, Option<Digest>)> {
    let action = Action::read(kind, &mut reader)?;
    let digest = end(&mut reader)?;
    Ok((action, digest))
}

/// Behind the record there is a digest or nothing.
fn end(reader: &mut Reader<'_>) -> Result<Option<Digest>> {
    match reader.rest().len() {
        0 => Ok(None),
        DIGEST_BYTES => Ok(Some(Digest { version: reader.read()?, tree: reader.read()? })),
        _ => Err(DecodeError::Unknown { at: reader.position(), value: i32::from(reader.rest()[0]) }),
    }
}

fn read_create_v0<'a>(kind: Kind, reader: &mut Reader<'a>) -> Result<Action<'a>> {
    let path = reader.read()?;
    let (data, acl) = (reader.read()?, reader.read()?);
    let ephemeral: bool = reader.read()?;
    let mode = if ephemeral { NodeMode::Ephemeral } else { NodeMode::Persistent };
    Ok(Action { path: Some(path), data: Some(data), acl: Some(acl), mode: Some(mode), ..Action::new(kind) })
}

impl<'a> Action<'a> {
    fn new(kind: Kind) -> Action<'a> {
        Action {
            kind,
            path: None,
            data: None,
            acl: None,
            mode: None,
            version: None,
            parent_cversion: None,
            timeout_ms: None,
            deleted: None,
            error: None,
            operations: Vec::new(),
        }
    }

    fn read(kind: Kind, reader: &mut Reader<'a>) -> Result<Action<'a>> {
        let mut action = Action::new(kind);
        match kind.code() {
            OpCode::Create | OpCode::Create2 => {
                action = read_create_v0(kind, reader)?;
                action.parent_cversion = Some(reader.read()?);
            }
            OpCode::CreateContainer | OpCode::CreateTtl => {
                action.path = Some(reader.read()?);
                (action.data, action.acl) = (Some(reader.read()?), Some(reader.read()?));
                action.parent_cversion = Some(reader.read()?);
                let ttl = kind.code() == OpCode::CreateTtl;
                action.mode = Some(if ttl { NodeMode::Ttl(reader.read()?) } else { NodeMode::Container });
            }
            OpCode::Delete | OpCode::DeleteContainer => {
                action.path = Some(reader.read::<PathRecord<'a>>()?.path);
            }
            OpCode::SetData | OpCode::Reconfig => {
                let SetDataTxn { path, data, version } = reader.read()?;
                (action.path, action.data, action.version) = (Some(path), Some(data), Some(version));
            }
            OpCode::SetAcl => {
                let SetAclRecord { path, acl, version } = reader.read()?;
                (action.path, action.acl, action.version) = (Some(path), Some(acl), Some(version));
            }
            OpCode::Check => {
                let PathVersion { path, version } = reader.read()?;
                (action.path, action.version) = (Some(path), Some(version));
            }
            OpCode::CreateSession => {
                action.timeout_ms = Some(reader.read::<CreateSessionTxn>()?.time_out);
            }
            OpCode::CloseSession => {
                action.deleted = Some(reader.read::<CloseSessionTxn<'a>>()?.paths_to_delete);
            }
            OpCode::Error => action.error = Some(reader.read::<ErrorTxn>()?.err),
            OpCode::Multi => {
                for txn in reader.read::<MultiTxn<'a>>()?.txns {
                    let kind = known(reader, txn.op)?;
                    if kind.code() == OpCode::Multi {
                        return Err(DecodeError::Unknown { at: reader.position(), value: txn.op });
                    }
                    let mut inner = Reader::new(txn.data.unwrap_or_default());
                    action.operations.push(Action::read(kind, &mut inner)?);
                }
            }
            _ => unreachable!("no kind has another operation"),
        }
        Ok(action)
    }

    /// This one and those inside it.
    pub fn all(&self) -> impl Iterator<Item = &Action<'a>> {
        std::iter::once(self).chain(&self.operations)
    }

    /// Whether it names `path` or a path below it.
    pub fn touches(&self, prefix: &str) -> bool {
        self.all().any(|action| {
            action.path.iter().chain(action.deleted.iter().flatten()).any(|path| is_below(path, prefix))
        })
    }
}

/// Whether `path` is `prefix` or below it.
pub fn is_below(path: &str, prefix: &str) -> bool {
    prefix == "/" || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The name of an error code, where it has one.
pub fn error_name(code: i32) -> Option<String> {
    const CODES: [ErrorCode; 23] = [
        ErrorCode::RuntimeInconsistency,
        ErrorCode::MarshallingError,
        ErrorCode::Unimplemented,
        ErrorCode::BadArguments,
        ErrorCode::UnknownSession,
        ErrorCode::NewConfigNoQuorum,
        ErrorCode::ReconfigInProgress,
        ErrorCode::NoNode,
        ErrorCode::NoAuth,
        ErrorCode::BadVersion,
        ErrorCode::NoChildrenForEphemerals,
        ErrorCode::NodeExists,
        ErrorCode::NotEmpty,
        ErrorCode::SessionExpired,
        ErrorCode::InvalidAcl,
        ErrorCode::AuthFailed,
        ErrorCode::SessionMoved,
        ErrorCode::NotReadOnly,
        ErrorCode::EphemeralOnLocalSession,
        ErrorCode::NoWatcher,
        ErrorCode::ReconfigDisabled,
        ErrorCode::QuotaExceeded,
        ErrorCode::ThrottledOp,
    ];
    CODES.into_iter().find(|known| known.code() == code).map(|known| format!("{known:?}"))
}
