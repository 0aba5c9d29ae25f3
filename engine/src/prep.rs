//! Preparation: a request, the tree and what is proposed so far become a transaction, or an error
//! (`PrepRequestProcessor`; its checks, in its order).
//!
//! The transaction's jute bytes are made here once, and used as they are in the log and on the
//! wire.

use crate::auth::{self, AuthId};
use crate::error::ErrorCode;
use crate::id::{SessionId, Zxid};
use crate::jute::records::{
    Acl, CreateRequest, CreateSessionTxn, ErrorTxn, Id, MultiHeader, PathRecord, PathVersion,
    ReconfigRequest, SetDataRequest, TxnHeader,
};
use crate::jute::{self, Read, Reader, Write};
use crate::limits::Settings;
use crate::log::ENTRY_BYTES_MAX;
use crate::op::{OpCode, perms};
use crate::overlay::{Finds, Overlay, Record, Spot};
use crate::stats::QuotaRefusals;
use crate::tree::acl::{AclRef, RawAcl};
use crate::tree::index::{Guard, pin};
use crate::tree::node::{NodeKind, TTL_MS_MAX};
use crate::tree::path;
use crate::tree::quota::{self, StatsTrack};
use crate::tree::{TreeWriter, WARMED_AT_ONCE};
use std::borrow::Cow;
use std::sync::Arc;

/// A request that changes something.
#[derive(Clone, Copy, Debug)]
pub struct WriteRequest<'a> {
    /// Whose it is.
    pub session: SessionId,
    /// The client's number for it.
    pub xid: i32,
    /// What it asks for.
    pub op: OpCode,
    /// Its record, as the client sent it.
    pub body: &'a [u8],
    /// What the client has proved.
    pub auth: &'a [AuthId],
    /// Whether the server itself asks, which may delete containers.
    pub internal: bool,
    /// What the creation of an ephemeral node fails with, for a session that can have none.
    pub no_ephemerals: Option<ErrorCode>,
}

/// What a transaction gets besides its request.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// Its number.
    pub zxid: Zxid,
    /// Milliseconds since 1970.
    pub time: i64,
}

type Prepared = Result<(), ErrorCode>;

impl From<jute::DecodeError> for ErrorCode {
    fn from(_: jute::DecodeError) -> Self {
        ErrorCode::MarshallingError
    }
}

/// Prepares requests against one tree.
pub struct Prep {
    overlay: Overlay,
    settings: Arc<Settings>,
    soft_quota: Option<String>,
    quota_refusals: QuotaRefusals,
    /// The last list for everyone that a request gave: most nodes have the same.
    for_everyone: Option<AclRef>,
    /// Longest transaction that the log takes, and that a ZooKeeper reads back: one above it would be
    /// the server's end.
    transaction_bytes_max: usize,
}

/// How a node is created (`CreateMode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CreateMode {
    ephemeral: bool,
    sequential: bool,
    container: bool,
    ttl: bool,
}

/// A create of any kind (`CreateRequest`, `CreateTTLRequest`). Its list is taken apart if need be.
struct Creation<'a> {
    path: Cow<'a, str>,
    data: Option<&'a [u8]>,
    acl: RawAcl<'a>,
    flags: i32,
    ttl: i64,
}

impl<'a> Creation<'a> {
    fn read(
        reader: &mut Reader<'a>,
        ttl: impl FnOnce(&mut Reader<'a>) -> jute::Result<i64>,
    ) -> jute::Result<Self> {
        let (path, data, acl, flags) = (reader.read()?, reader.read()?, reader.read()?, reader.read()?);
        Ok(Creation { path, data, acl, flags, ttl: ttl(reader)? })
    }
}

/// setACL (`SetACLRequest`).
struct NewAcl<'a> {
    path: Cow<'a, str>,
    acl: RawAcl<'a>,
    version: i32,
}

impl<'a> Read<'a> for NewAcl<'a> {
    fn read(reader: &mut Reader<'a>) -> jute::Result<Self> {
        Ok(NewAcl { path: reader.read()?, acl: reader.read()?, version: reader.read()? })
    }
}

impl CreateMode {
    fn from_flags(flags: i32) -> Result<Self, ErrorCode> {
        let mode =
            |ephemeral, sequential, container, ttl| CreateMode { ephemeral, sequential, container, ttl };
        Ok(match flags {
            0 => mode(false, false, false, false),
            1 => mode(true, false, false, false),
            2 => mode(false, true, false, false),
            3 => mode(true, true, false, false),
            4 => mode(false, false, true, false),
            5 => mode(false, false, false, true),
            6 => mode(false, true, false, true),
            _ => return Err(ErrorCode::BadArguments),
        })
    }
}

impl Prep {
    /// Prepares under these settings; `seed` keys the overlay's hash.
    pub fn new(settings: Arc<Settings>, seed: u64) -> Self {
        let transaction_bytes_max = settings.transaction_bytes_max.min(ENTRY_BYTES_MAX);
        let overlay = Overlay::new(seed);
        Prep {
            overlay,
            settings,
            soft_quota: None,
            quota_refusals: QuotaRefusals::default(),
            for_everyone: None,
            transaction_bytes_max,
        }
    }

    /// The tree has every transaction up to `zxid` now.
    pub fn applied(&mut self, zxid: Zxid) {
        self.overlay.applied(zxid);
    }

    /// Where the nodes that proposals touch were found, for applying them to the same tree.
    pub fn finds(&self) -> Finds<'_> {
        self.overlay.finds()
    }

    /// Proposals that are not applied were discarded.
    pub fn discard_proposals(&mut self) {
        self.overlay.clear();
    }

    /// The last soft quota that a request went over, as a line for the operator.
    pub fn take_soft_quota(&mut self) -> Option<String> {
        self.soft_quota.take()
    }

    /// Requests that a hard quota refused.
    pub fn quota_refusals(&self) -> &QuotaRefusals {
        &self.quota_refusals
    }

    /// They count from zero.
    pub fn reset_quota_refusals(&mut self) {
        self.quota_refusals.reset();
    }

    /// Paths that proposals touch.
    pub fn outstanding(&self) -> usize {
        self.overlay.len()
    }

    /// Appends the transaction of `request` to `out`. On an error `out` and the overlay are as
    /// they were.
    ///
    /// # Errors
    /// What the client is to be told.
    pub fn prepare(
        &mut self,
        tree: &TreeWriter,
        request: &WriteRequest<'_>,
        stamp: Stamp,
        out: &mut Vec<u8>,
    ) -> Prepared {
        self.transaction(tree, request, stamp, out, |work, out| work.write(request.op, request.body, out))
    }

    /// Appends the transaction that makes `text` the ensemble's configuration, as `request` asks for it.
    /// Whether that change is possible is not looked at here.
    ///
    /// # Errors
    /// The client may not write the configuration's node, or the text is too long.
    pub fn prepare_reconfig(
        &mut self,
        tree: &TreeWriter,
        request: &WriteRequest<'_>,
        text: &str,
        stamp: Stamp,
        out: &mut Vec<u8>,
    ) -> Prepared {
        self.transaction(tree, request, stamp, out, |work, out| work.set_config(text, out))
    }

    fn transaction(
        &mut self,
        tree: &TreeWriter,
        request: &WriteRequest<'_>,
        stamp: Stamp,
        out: &mut Vec<u8>,
        record: impl FnOnce(&mut Work<'_>, &mut Vec<u8>) -> Prepared,
    ) -> Prepared {
        let start = out.len();
        let header = TxnHeader {
            client_id: request.session.0,
            cxid: request.xid,
            zxid: stamp.zxid.to_jute(),
            time: stamp.time,
            op: request.op.code(),
        };
        header.write(out);
        let mut work = Work {
            overlay: &mut self.overlay,
            settings: &self.settings,
            soft_quota: &mut self.soft_quota,
            quota_refusals: &mut self.quota_refusals,
            for_everyone: &mut self.for_everyone,
            tree,
            guard: pin(),
            session: request.session,
            auth: request.auth,
            internal: request.internal,
            no_ephemerals: request.no_ephemerals,
            stamp,
            end_max: start + self.transaction_bytes_max,
        };
        let prepared = record(&mut work, out);
        if prepared.is_err() {
            out.truncate(start);
        }
        prepared
    }
}

/// Whether a request is to make an ephemeral node (`QuorumZooKeeperServer.checkUpgradeSession`): what cannot
/// be decoded is not.
pub fn creates_ephemeral(op: OpCode, body: &[u8]) -> bool {
    match op {
        OpCode::Create | OpCode::Create2 => {
            let flags = jute::from_bytes::<CreateRequest<'_>>(body).map(|create| create.flags);
            flags.is_ok_and(|flags| CreateMode::from_flags(flags).is_ok_and(|mode| mode.ephemeral))
        }
        OpCode::Multi => {
            let creates = |(op, body): &(OpCode, &[u8])| *op != OpCode::Multi && creates_ephemeral(*op, body);
            multi_operations(body).is_ok_and(|operations| operations.iter().any(creates))
        }
        _ => false,
    }
}

/// One request at work.
struct Work<'w> {
    overlay: &'w mut Overlay,
    settings: &'w Settings,
    soft_quota: &'w mut Option<String>,
    quota_refusals: &'w mut QuotaRefusals,
    for_everyone: &'w mut Option<AclRef>,
    tree: &'w TreeWriter,
    guard: Guard,
    session: SessionId,
    auth: &'w [AuthId],
    internal: bool,
    no_ephemerals: Option<ErrorCode>,
    stamp: Stamp,
    /// Where in the output the transaction must end.
    end_max: usize,
}

impl Work<'_> {
    fn write(&mut self, op: OpCode, body: &[u8], out: &mut Vec<u8>) -> Prepared {
        match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => {
                let mut reader = Reader::new(body);
                let create = Creation::read(&mut reader, |_| Ok(-1))?;
                self.create(op, &create, out)
            }
            OpCode::CreateTtl => self.create(op, &Creation::read(&mut Reader::new(body), Reader::read)?, out),
            OpCode::Delete => self.delete(&jute::from_bytes(body)?, out),
            OpCode::DeleteContainer => self.delete_container(&jute::from_bytes(body)?, out),
            OpCode::SetData => self.set_data(&decode_validated(body)?, out),
            OpCode::SetAcl => self.set_acl(&decode_validated(body)?, out),
            OpCode::Check => self.check(&decode_validated(body)?, out),
            OpCode::Multi => self.multi(body, out),
            OpCode::Reconfig => self.reconfig(&jute::from_bytes(body)?),
            OpCode::CreateSession => {
                jute::from_bytes::<CreateSessionTxn>(body)?.write(out);
                Ok(())
            }
            OpCode::CloseSession => {
                self.close_session(out);
                Ok(())
            }
            OpCode::Error => {
                jute::from_bytes::<ErrorTxn>(body)?.write(out);
                Ok(())
            }
            OpCode::Exists
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
            | OpCode::WhoAmI => Err(ErrorCode::Unimplemented),
        }
    }

    /// A node, and where to put its next version.
    fn record(&self, path: &str) -> Result<(Spot, Record), ErrorCode> {
        let spot = self.overlay.spot(path, self.tree);
        let record = self.overlay.get(path, spot, self.tree, &self.guard);
        Ok((spot, record.ok_or(ErrorCode::NoNode)?))
    }

    /// The same, where ZooKeeper validates the path first. No node was created at a path that is not valid,
    /// so only one that leads to none has to be looked at; the empty one leads to the root.
    fn valid_record(&self, path: &str) -> Result<(Spot, Record), ErrorCode> {
        let found = self.record(path);
        let is_bad = path.is_empty() || found.is_err() && !path::is_valid(path);
        if is_bad { Err(ErrorCode::BadArguments) } else { found }
    }

    fn allow(&self, acl: &AclRef, perm: i32) -> Prepared {
        auth::check(acl, perm, self.auth, self.settings)
    }

    /// Whether the transaction, written as far as `out`, is not too long. Each byte of a request that is
    /// no UTF-8 becomes three, and each entry for `auth` a list: so it can be long behind a short request.
    ///
    /// # Errors
    /// [`ErrorCode::MarshallingError`].
    fn check_length(&self, out: &[u8]) -> Prepared {
        if out.len() > self.end_max { Err(ErrorCode::MarshallingError) } else { Ok(()) }
    }

    /// The list of a create or setACL, checked and with what the client has proved.
    fn fix_up(&mut self, acl: RawAcl<'_>) -> Result<AclRef, ErrorCode> {
        // What is for everyone is what its bytes say, whoever asks.
        if let Some(list) = self.for_everyone.as_ref().filter(|list| *list.bytes == *acl.0) {
            return Ok(Arc::clone(list));
        }
        let acl: Vec<Acl<'_>> = jute::from_bytes(acl.0)?;
        let is_for_everyone = match &acl[..] {
            [Acl { id: Id { scheme: Some(scheme), id: Some(id) }, .. }] => {
                scheme == "world" && id == "anyone"
            }
            _ => false,
        };
        let list = Arc::new(auth::fix_up(&acl, self.auth, self.settings)?);
        if is_for_everyone {
            *self.for_everyone = Some(Arc::clone(&list));
        }
        Ok(list)
    }

    fn put(&mut self, path: &str, spot: Spot, record: Option<Record>) {
        self.overlay.put(self.stamp.zxid, path, spot, record);
    }

    fn create(&mut self, op: OpCode, request: &Creation<'_>, out: &mut Vec<u8>) -> Prepared {
        let mode = CreateMode::from_flags(request.flags)?;
        if mode.ttl && !self.settings.extended_types_enabled {
            return Err(ErrorCode::Unimplemented);
        }
        let ttl_fits = if mode.ttl { (1..=TTL_MS_MAX).contains(&request.ttl) } else { request.ttl < 0 };
        // ZooKeeper lets createTTL with a plain flag through, and stops when it applies it.
        if !ttl_fits || (op == OpCode::CreateTtl && !mode.ttl) {
            return Err(ErrorCode::BadArguments);
        }
        if mode.ephemeral
            && let Some(error) = self.no_ephemerals
        {
            return Err(error);
        }
        let (parent_path, _) = split_for_change(&request.path)?;
        let acl = self.fix_up(request.acl)?;
        let (parent_spot, mut parent) = self.record(parent_path)?;
        self.allow(&parent.acl, perms::CREATE)?;
        let sequential;
        let node_path = if mode.sequential {
            sequential = sequential_path(&request.path, parent.cversion)?;
            sequential.as_str()
        } else {
            &request.path
        };
        if !path::is_valid(node_path) {
            return Err(ErrorCode::BadArguments);
        }
        let spot = self.overlay.spot(node_path, self.tree);
        if self.overlay.is_there(node_path, spot, self.tree, &self.guard) {
            return Err(ErrorCode::NodeExists);
        }
        if matches!(parent.kind, NodeKind::Ephemeral(_)) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        let length = request.data.map_or(0, <[u8]>::len);
        self.check_quota(node_path, length as i64, 1)?;
        parent.cversion = parent.cversion.saturating_add(1);
        let parent_cversion = parent.cversion.cast_signed();
        parent.children += 1;
        node_path.write(out);
        request.data.write(out);
        out.extend_from_slice(&acl.bytes);
        let kind = match op {
            OpCode::CreateContainer => {
                parent_cversion.write(out);
                NodeKind::Container
            }
            OpCode::CreateTtl => {
                parent_cversion.write(out);
                request.ttl.write(out);
                NodeKind::Ttl { ttl_ms: request.ttl }
            }
            _ => {
                mode.ephemeral.write(out);
                parent_cversion.write(out);
                if mode.ephemeral { NodeKind::Ephemeral(self.session) } else { NodeKind::Persistent }
            }
        };
        self.check_length(out)?;
        self.put(parent_path, parent_spot, Some(parent));
        let record = Record {
            version: 0,
            cversion: 0,
            aversion: 0,
            children: 0,
            kind,
            acl,
            data_length: length,
            found: None,
        };
        self.put(node_path, spot, Some(record));
        Ok(())
    }

    fn delete(&mut self, request: &PathVersion<'_>, out: &mut Vec<u8>) -> Prepared {
        let (parent_path, _) = split_for_delete(&request.path)?;
        let parent = self.record(parent_path)?;
        self.allow(&parent.1.acl, perms::DELETE)?;
        let node = self.record(&request.path)?;
        next_version(node.1.version, request.version)?;
        self.delete_checked(parent_path, parent, &request.path, &node, out)
    }

    fn delete_container(&mut self, request: &PathRecord<'_>, out: &mut Vec<u8>) -> Prepared {
        if !self.internal {
            return Err(ErrorCode::NoAuth);
        }
        let (parent_path, _) = split_for_delete(&request.path)?;
        let node = self.record(&request.path)?;
        if !matches!(node.1.kind, NodeKind::Container | NodeKind::Ttl { .. }) {
            return Err(ErrorCode::BadVersion);
        }
        let parent = self.record(parent_path)?;
        self.delete_checked(parent_path, parent, &request.path, &node, out)
    }

    fn delete_checked(
        &mut self,
        parent_path: &str,
        (parent_spot, mut parent): (Spot, Record),
        node_path: &str,
        (spot, node): &(Spot, Record),
        out: &mut Vec<u8>,
    ) -> Prepared {
        if node.children > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        node_path.write(out);
        parent.children -= 1;
        self.put(parent_path, parent_spot, Some(parent));
        self.put(node_path, *spot, None);
        Ok(())
    }

    fn set_data(&mut self, request: &SetDataRequest<'_>, out: &mut Vec<u8>) -> Prepared {
        let (spot, mut node) = self.valid_record(&request.path)?;
        self.allow(&node.acl, perms::WRITE)?;
        let length = request.data.map_or(0, <[u8]>::len);
        self.check_quota(&request.path, length as i64 - node.data_length as i64, 0)?;
        node.version = next_version(node.version, request.version)?;
        node.data_length = length;
        SetDataRequest { version: node.version, ..request.clone() }.write(out);
        self.check_length(out)?;
        self.put(&request.path, spot, Some(node));
        Ok(())
    }

    fn set_acl(&mut self, request: &NewAcl<'_>, out: &mut Vec<u8>) -> Prepared {
        if !path::is_valid(&request.path) {
            return Err(ErrorCode::BadArguments);
        }
        let acl = self.fix_up(request.acl)?;
        let (spot, mut node) = self.record(&request.path)?;
        self.allow(&node.acl, perms::ADMIN)?;
        node.aversion = next_version(node.aversion, request.version)?;
        request.path.write(out);
        out.extend_from_slice(&acl.bytes);
        node.aversion.write(out);
        self.check_length(out)?;
        node.acl = acl;
        self.put(&request.path, spot, Some(node));
        Ok(())
    }

    fn check(&mut self, request: &PathVersion<'_>, out: &mut Vec<u8>) -> Prepared {
        let (_, node) = self.valid_record(&request.path)?;
        self.allow(&node.acl, perms::READ)?;
        let version = next_version(node.version, request.version)?;
        PathVersion { version, path: request.path.clone() }.write(out);
        Ok(())
    }

    fn set_config(&mut self, text: &str, out: &mut Vec<u8>) -> Prepared {
        let (spot, mut node) = self.record(path::CONFIG)?;
        self.allow(&node.acl, perms::WRITE)?;
        let record = SetDataRequest { path: path::CONFIG.into(), data: Some(text.as_bytes()), version: -1 };
        record.write(out);
        self.check_length(out)?;
        (node.version, node.data_length) = (-1, text.len());
        self.put(path::CONFIG, spot, Some(node));
        Ok(())
    }

    /// A standalone ZooKeeper knows the request and does not do it.
    fn reconfig(&self, _: &ReconfigRequest<'_>) -> Prepared {
        if self.settings.reconfig_enabled {
            Err(ErrorCode::Unimplemented)
        } else {
            Err(ErrorCode::ReconfigDisabled)
        }
    }

    /// All operations become one transaction; the first that fails makes it a transaction of
    /// errors, which changes nothing.
    fn multi(&mut self, body: &[u8], out: &mut Vec<u8>) -> Prepared {
        let operations = multi_operations(body)?;
        (operations.len() as i32).write(out);
        let first = out.len();
        self.overlay.begin_multi();
        let failure = operations.iter().enumerate().find_map(|(position, (op, body))| {
            if position % WARMED_AT_ONCE == 0 {
                let next = operations[position..].iter().take(WARMED_AT_ONCE);
                self.tree.warm(next.filter_map(|(_, body)| path_bytes(body)), &self.guard);
            }
            let error = self.multi_operation(*op, body, out).err()?;
            Some((position, error))
        });
        let Some((failed, error)) = failure else {
            self.overlay.keep_multi();
            return Ok(());
        };
        self.overlay.roll_back_multi();
        out.truncate(first);
        for position in 0..operations.len() {
            let code = match position.cmp(&failed) {
                std::cmp::Ordering::Less => crate::error::OK,
                std::cmp::Ordering::Equal => error.code(),
                std::cmp::Ordering::Greater => ErrorCode::RuntimeInconsistency.code(),
            };
            OpCode::Error.code().write(out);
            code.to_be_bytes()[..].write(out);
        }
        Ok(())
    }

    fn multi_operation(&mut self, op: OpCode, body: &[u8], out: &mut Vec<u8>) -> Prepared {
        op.code().write(out);
        let length_at = out.len();
        0i32.write(out);
        self.write(op, body, out)?;
        self.check_length(out)?;
        let length = (out.len() - length_at - 4) as i32;
        out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// Every ephemeral node that the session has now, or will have by what is proposed.
    fn close_session(&mut self, out: &mut Vec<u8>) {
        let paths = self.overlay.ephemerals_of(self.session, self.tree);
        // More names than a transaction can hold are left out: applying it deletes what the session
        // owns, named or not.
        let bytes: usize = paths.iter().map(|path| 4 + path.len()).sum();
        let named = out.len() + 4 + bytes <= self.end_max;
        (if named { paths.len() as i32 } else { 0 }).write(out);
        for node_path in &paths {
            if named {
                (**node_path).write(out);
            }
            if let Some((parent_path, _)) = path::split(node_path)
                && let Ok((spot, mut parent)) = self.record(parent_path)
            {
                parent.children -= 1;
                self.put(parent_path, spot, Some(parent));
            }
            let spot = self.overlay.spot(node_path, self.tree);
            self.put(node_path, spot, None);
        }
    }

    /// Whether a hard quota allows `bytes` and `nodes` more; going over a soft one is noted. Both are
    /// judged by what is committed, as ZooKeeper judges them.
    fn check_quota(&mut self, path: &str, bytes: i64, nodes: i64) -> Prepared {
        if !self.settings.enforce_quota {
            return Ok(());
        }
        let Some(subject) = self.tree.quota_of(path) else { return Ok(()) };
        let track = |path: &str| {
            let node = self.tree.get(path, &self.guard)?;
            Some(StatsTrack::parse(self.tree.value(&node.data(), &self.guard)))
        };
        let (Some(limits), Some(counts)) =
            (track(&quota::limit_path(subject)), track(&quota::stat_path(subject)))
        else {
            return Ok(());
        };
        let kinds = [
            ("nodes", nodes, counts.count(), limits.count(), limits.count_hard_limit()),
            ("bytes", bytes, counts.bytes(), limits.bytes(), limits.byte_hard_limit()),
        ];
        for (unit, more, now, soft, hard) in kinds {
            // What a client wrote as the count may be any number.
            let then = now.wrapping_add(more);
            let exceeds = |limit: i64| more != 0 && limit > -1 && then > limit;
            if exceeds(hard) {
                self.quota_refusals.add(path);
                return Err(ErrorCode::QuotaExceeded);
            }
            if hard == -1 && exceeds(soft) {
                let line = format!("{subject} has {} {unit}, its soft quota is {soft}", then);
                *self.soft_quota = Some(line);
            }
        }
        Ok(())
    }
}

/// A request whose path ZooKeeper validates before it looks at it: a null path is a bad one, where
/// other requests fail on it.
fn decode_validated<'a, T: Read<'a>>(body: &'a [u8]) -> Result<T, ErrorCode> {
    let error = match jute::from_bytes(body) {
        Ok(request) => return Ok(request),
        Err(error) => error,
    };
    if error != (jute::DecodeError::Null { at: 0 }) {
        return Err(error.into());
    }
    // What follows the null must be whole all the same: read as if an empty path stood there.
    let mut reader = Reader::with_null_as_empty(body);
    T::read(&mut reader)?;
    Err(ErrorCode::BadArguments)
}

/// The version after a change that expects `expected`; −1 expects any.
fn next_version(current: i32, expected: i32) -> Result<i32, ErrorCode> {
    if expected != -1 && expected != current {
        return Err(ErrorCode::BadVersion);
    }
    Ok(current.wrapping_add(1))
}

/// The path of a sequential node: what was asked for, and the parent's counter in ten digits.
///
/// # Errors
/// [`ErrorCode::BadArguments`] once the counter has come to its end: under this parent no path is left
/// to be made of it, and asking again does not help. It is not `NodeExists`, which clients take for a
/// sign that they should try the next number, or that an earlier try of theirs succeeded.
fn sequential_path(prefix: &str, counter: u32) -> Result<String, ErrorCode> {
    if counter == u32::MAX {
        return Err(ErrorCode::BadArguments);
    }
    let mut path = String::with_capacity(prefix.len() + 10);
    path.push_str(prefix);
    path.extend((0..10).rev().map(|place| char::from(b'0' + (counter / 10u32.pow(place) % 10) as u8)));
    Ok(path)
}

fn split_for_change(path: &str) -> Result<(&str, &str), ErrorCode> {
    if path.contains('\0') {
        return Err(ErrorCode::BadArguments);
    }
    path::split(path).ok_or(ErrorCode::BadArguments)
}

fn split_for_delete(path: &str) -> Result<(&str, &str), ErrorCode> {
    if path::is_special(path) {
        return Err(ErrorCode::BadArguments);
    }
    split_for_change(path)
}

/// The path of an operation: every record of one, a multi apart, begins with it.
pub fn path_bytes(record: &[u8]) -> Option<&[u8]> {
    Reader::new(record).read().ok()?
}

/// Passes over a create's record and returns its flags. What it holds is decoded, or refused, when its
/// turn comes; here it has to end where one ends.
fn pass_create(reader: &mut Reader<'_>) -> jute::Result<i32> {
    let path: Option<&[u8]> = reader.read()?;
    reader.require(path)?;
    let _data: Option<&[u8]> = reader.read()?;
    for _ in 0..i32::read(reader)? {
        let _perms: i32 = reader.read()?;
        let _scheme: Option<&[u8]> = reader.read()?;
        let _id: Option<&[u8]> = reader.read()?;
    }
    reader.read()
}

/// The operations of a multi, each with its record's bytes. As in ZooKeeper, a create whose flags
/// say container or TTL is one, whatever its operation.
pub(crate) fn multi_operations(body: &[u8]) -> Result<Vec<(OpCode, &[u8])>, ErrorCode> {
    let mut reader = Reader::new(body);
    let mut operations = Vec::new();
    loop {
        let header: MultiHeader = reader.read()?;
        if header.done {
            return Ok(operations);
        }
        let rest = reader.rest();
        let start = reader.position();
        let op = match OpCode::from_code(header.op) {
            Some(op @ (OpCode::Create | OpCode::Create2 | OpCode::CreateContainer)) => {
                let mode = CreateMode::from_flags(pass_create(&mut reader)?)
                    .map_err(|_| ErrorCode::MarshallingError)?;
                match mode {
                    CreateMode { container: true, .. } => OpCode::CreateContainer,
                    CreateMode { ttl: true, .. } => return Err(ErrorCode::MarshallingError),
                    _ => op,
                }
            }
            Some(OpCode::CreateTtl) => {
                pass_create(&mut reader)?;
                let _ttl: i64 = reader.read()?;
                OpCode::CreateTtl
            }
            Some(op @ (OpCode::Delete | OpCode::Check)) => {
                let _: PathVersion<'_> = reader.read()?;
                op
            }
            Some(OpCode::SetData) => {
                let _: SetDataRequest<'_> = reader.read()?;
                OpCode::SetData
            }
            _ => return Err(ErrorCode::MarshallingError),
        };
        operations.push((op, &rest[..reader.position() - start]));
    }
}

#[cfg(test)]
mod tests;
