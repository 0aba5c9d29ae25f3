//! Reads, as ZooKeeper answers them: which checks, in which order, and the reply's record.
//!
//! A read may meet something newer than its core's horizon; then it is `Later`, and is done again
//! from its start. Replies are encoded straight into the buffer that the caller gives.

use crate::auth::{self, AuthId};
use crate::error::ErrorCode;
use crate::jute::records::{Acl, GetDataResponse, Id, MultiHeader, PathRecord};
use crate::jute::{self, Reader, Write};
use crate::limits::{REPLY_BYTES_MAX, Settings};
use crate::op::{OpCode, perms};
use crate::prep;
use crate::tree::acl::AclList;
use crate::tree::node::Node;
use crate::tree::{NotYet, View};
use std::borrow::Cow;

/// Why a read has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The horizon is too old; deliver events, then do the read again.
    Later,
    /// The client's mistake.
    Client(ErrorCode),
    /// A list that breaks off at something senseless: a marshalling error, but what was done and
    /// written up to there stays, as in ZooKeeper.
    Broken,
}

impl From<NotYet> for ReadError {
    fn from(_: NotYet) -> Self {
        ReadError::Later
    }
}

impl From<ErrorCode> for ReadError {
    fn from(code: ErrorCode) -> Self {
        ReadError::Client(code)
    }
}

impl From<jute::DecodeError> for ReadError {
    fn from(_: jute::DecodeError) -> Self {
        ReadError::Client(ErrorCode::MarshallingError)
    }
}

type Answer<T> = Result<T, ReadError>;

/// One client's reads.
pub struct ReadContext<'c> {
    /// The tree.
    pub view: &'c View<'c>,
    /// What the client has proved.
    pub auth: &'c [AuthId],
    /// Switches.
    pub settings: &'c Settings,
}

impl ReadContext<'_> {
    fn find(&self, path: &str) -> Answer<Node<'_>> {
        Ok(self.view.node(path)?.map_err(|_| ErrorCode::NoNode)?)
    }

    fn readable(&self, path: &str) -> Answer<Node<'_>> {
        let node = self.find(path)?;
        self.allow(node, perms::READ)?;
        Ok(node)
    }

    fn allow(&self, node: Node<'_>, perm: i32) -> Answer<()> {
        let acl = self.view.acl(self.view.data(node)?.acl);
        Ok(auth::check(acl, perm, self.auth, self.settings)?)
    }

    /// exists. A node that is absent can be watched: the caller sets that watch on `NoNode`.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn exists(&self, path: &str, out: &mut Vec<u8>) -> Answer<()> {
        if path.contains('\0') {
            return Err(ErrorCode::BadArguments.into());
        }
        let node = self.readable(path)?;
        self.view.stat(node)?.write(out);
        Ok(())
    }

    /// getData.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn get_data(&self, path: &str, out: &mut Vec<u8>) -> Answer<()> {
        let node = self.readable(path)?;
        let data = self.view.data(node)?;
        let stat = node.stat(&data, self.view.children(node)?);
        GetDataResponse { data: self.view.value(&data), stat }.write(out);
        Ok(())
    }

    /// getChildren, and getChildren2 `with_stat`.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn get_children(&self, path: &str, with_stat: bool, out: &mut Vec<u8>) -> Answer<()> {
        let node = self.readable(path)?;
        let data = self.view.data(node)?;
        let children = self.view.children(node)?;
        (children.map_or(0, |children| children.set.len()) as i32).write(out);
        let mut gone = false;
        if let Some(children) = children {
            children.set.for_each(|id| match self.view.child(id) {
                Some(child) => child.name().write(out),
                None => gone = true,
            });
        }
        assert!(!gone, "a children set names a node that is gone");
        if with_stat {
            node.stat(&data, children).write(out);
        }
        Ok(())
    }

    /// getACL: whoever may read but not administer the node sees digests without their hash.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn get_acl(&self, path: &str, out: &mut Vec<u8>) -> Answer<()> {
        let node = self.find(path)?;
        self.allow(node, perms::READ | perms::ADMIN)?;
        let acl = self.view.acl(self.view.data(node)?.acl);
        match self.allow(node, perms::ADMIN) {
            Ok(()) => out.extend_from_slice(&acl.bytes),
            Err(ReadError::Later) => return Err(ReadError::Later),
            Err(_) => write_masked(acl, out),
        }
        self.view.stat(node)?.write(out);
        Ok(())
    }

    /// getAllChildrenNumber: every node under one.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn count_descendants(&self, path: &str, out: &mut Vec<u8>) -> Answer<()> {
        let mut open = vec![self.readable(path)?];
        // ZooKeeper counts the paths that begin with this one and a slash: with the empty path the
        // root is one of them.
        let mut count = if path.is_empty() { 0i32 } else { -1 };
        while let Some(node) = open.pop() {
            count += 1;
            let Some(children) = self.view.children(node)? else { continue };
            children.set.for_each(|id| open.extend(self.view.child(id)));
        }
        count.write(out);
        Ok(())
    }

    /// multiRead: getData and getChildren, all of one moment.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn multi_read(&self, body: &[u8], out: &mut Vec<u8>) -> Answer<()> {
        let end_max = out.len() + REPLY_BYTES_MAX;
        for (op, path) in decode_multi_read(body)? {
            let Some(path) = path else {
                write_end_of_results(out);
                return Err(ReadError::Broken);
            };
            let start = out.len();
            // Many reads of one large node: a short request must not become a reply of any length.
            if start > end_max {
                return Err(ErrorCode::MarshallingError.into());
            }
            MultiHeader { op: op.code(), done: false, err: crate::error::OK }.write(out);
            let answer = match op {
                OpCode::GetData => self.get_data(&path, out),
                _ => self.get_children(&path, false, out),
            };
            match answer {
                Ok(()) => {}
                Err(error @ (ReadError::Later | ReadError::Broken)) => return Err(error),
                Err(ReadError::Client(error)) => {
                    out.truncate(start);
                    let err = error.code();
                    MultiHeader { op: OpCode::Error.code(), done: false, err }.write(out);
                    err.write(out);
                }
            }
        }
        write_end_of_results(out);
        Ok(())
    }
}

type ReadOperation<'a> = (OpCode, Option<Cow<'a, str>>);

/// The reads of a multiRead. One of writes is as senseless as one of a null path.
fn decode_multi_read(body: &[u8]) -> Answer<Vec<ReadOperation<'_>>> {
    let mut reader = Reader::new(body);
    let mut reads = Vec::new();
    loop {
        let header: MultiHeader = reader.read()?;
        if header.done {
            return Ok(reads);
        }
        match OpCode::from_code(header.op) {
            Some(op @ (OpCode::GetData | OpCode::GetChildren)) => {
                let (path, _watch): (_, bool) = (reader.read()?, reader.read()?);
                reads.push((op, path));
            }
            // Reads and writes do not mix.
            _ if !reads.is_empty() => return Err(ErrorCode::MarshallingError.into()),
            _ => {
                prep::multi_operations(body)?;
                return Ok(vec![(OpCode::GetData, None)]);
            }
        }
    }
}

/// Ends the results of a multi.
pub fn write_end_of_results(out: &mut Vec<u8>) {
    MultiHeader { op: -1, done: true, err: -1 }.write(out);
}

/// A list without the hashes of its digests.
fn write_masked(acl: &AclList, out: &mut Vec<u8>) {
    let masked = |entry: &crate::tree::acl::AclEntry| {
        let id = match entry.id.split_once(':') {
            Some((user, _)) if &*entry.scheme == "digest" => format!("{user}:x"),
            _ => entry.id.to_string(),
        };
        let scheme = Some(entry.scheme.to_string().into());
        Acl { perms: entry.perms, id: Id { scheme, id: Some(id.into()) } }
    };
    acl.entries.iter().map(masked).collect::<Vec<_>>().write(out);
}

/// whoAmI: what the client has proved, without its secrets.
pub fn write_who_am_i(ids: &[AuthId], out: &mut Vec<u8>) {
    (ids.len() as i32).write(out);
    for id in ids {
        (*id.scheme).write(out);
        let user = if &*id.scheme == "digest" { id.id.split(':').next().unwrap_or_default() } else { &id.id };
        // `super` belongs to no provider, so ZooKeeper knows no name for it.
        if &*id.scheme == "super" { "" } else { user }.write(out);
    }
}

/// The path that a request of one path asks about.
///
/// # Errors
/// A marshalling error.
pub fn path_of(body: &[u8]) -> Result<PathRecord<'_>, ErrorCode> {
    Ok(jute::from_bytes(body)?)
}
