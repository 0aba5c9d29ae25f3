//! A tree of znodes as simple as can be: a map from paths to nodes, changed by the rules of ZooKeeper's
//! `PrepRequestProcessor` and `DataTree`, one request after the other. It shares the codec with the engine
//! and nothing else.

use ringkeeper_engine::auth::AuthId;
use ringkeeper_engine::jute::records::{
    Acl, CreateRequest, CreateSessionTxn, CreateTtlRequest, MultiHeader, PathRecord, PathVersion,
    SetAclRecord, SetDataRequest, Stat,
};
use ringkeeper_engine::jute::{self, DecodeError, Read, Reader, Write};
use ringkeeper_engine::op::OpCode;
use std::collections::BTreeMap;

/// What a client can do with a node, by bits.
const READ: i32 = 1;
const WRITE: i32 = 2;
const CREATE: i32 = 4;
const DELETE: i32 = 8;
const ADMIN: i32 = 16;

/// Error codes, as the protocol has them.
const RUNTIME_INCONSISTENCY: i32 = -2;
const MARSHALLING: i32 = -5;
const UNIMPLEMENTED: i32 = -6;
const BAD_ARGUMENTS: i32 = -8;
const NO_NODE: i32 = -101;
const NO_AUTH: i32 = -102;
const BAD_VERSION: i32 = -103;
const NO_CHILDREN_FOR_EPHEMERALS: i32 = -108;
const NODE_EXISTS: i32 = -110;
const NOT_EMPTY: i32 = -111;
const INVALID_ACL: i32 = -114;

/// The longest time to live, in milliseconds.
const TTL_MAX: i64 = (1 << 40) - 1;

/// One entry of a list: what, and who by scheme and id.
pub type Entry = (i32, String, String);

/// What `ephemeralOwner` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Persistent,
    Ephemeral(i64),
    Container,
    Ttl(i64),
}

/// A znode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub data: Option<Vec<u8>>,
    pub acl: Vec<Entry>,
    pub kind: Kind,
    czxid: i64,
    mzxid: i64,
    pzxid: i64,
    ctime: i64,
    mtime: i64,
    version: i32,
    creations: i32,
    aversion: i32,
}

/// What a request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Done,
    Created(String, Stat),
    Changed(Stat),
    Failed(i32),
    Multi(Vec<(OpCode, Answer)>),
    SessionCreated(u32),
    SessionClosed,
}

/// What a watch would be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Created(String),
    Deleted(String),
    Data(String),
}

/// Who asks, and the transaction that it would be.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    pub session: i64,
    pub ids: &'a [AuthId],
    pub zxid: i64,
    pub time: i64,
    pub internal: bool,
}

type Outcome<T> = Result<T, i32>;

/// The tree and the sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    pub nodes: BTreeMap<String, Node>,
    pub sessions: BTreeMap<i64, u32>,
    pub events: Vec<Event>,
}

impl Model {
    /// Of a new server.
    pub fn new() -> Model {
        let mut nodes = BTreeMap::new();
        for path in ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"] {
            let config = path == "/zookeeper/config";
            let perms = if config { READ } else { 31 };
            let acl = vec![(perms, "world".to_owned(), "anyone".to_owned())];
            let aversion = if config { -1 } else { 0 };
            nodes.insert(
                path.to_owned(),
                Node { aversion, ..Node::new(Some(Vec::new()), acl, Kind::Persistent, 0, 0) },
            );
        }
        Model { nodes, sessions: BTreeMap::new(), events: Vec::new() }
    }

    /// Does a request, or nothing of it. `Err` is a request that becomes no transaction.
    pub fn execute(&mut self, caller: Caller<'_>, op: OpCode, body: &[u8]) -> Outcome<Answer> {
        self.events.clear();
        match op {
            OpCode::Multi => self.multi(caller, body),
            OpCode::CreateSession => {
                let timeout = read::<CreateSessionTxn>(body)?.time_out.max(0) as u32;
                self.sessions.insert(caller.session, timeout);
                Ok(Answer::SessionCreated(timeout))
            }
            OpCode::CloseSession => {
                let owned = |node: &&Node| node.kind == Kind::Ephemeral(caller.session);
                let paths = self.nodes.iter().filter(|(_, node)| owned(node)).map(|(path, _)| path.clone());
                for path in paths.collect::<Vec<_>>() {
                    self.remove(&path, caller.zxid);
                }
                self.sessions.remove(&caller.session);
                Ok(Answer::SessionClosed)
            }
            _ => self.single(caller, op, body),
        }
    }

    fn single(&mut self, caller: Caller<'_>, op: OpCode, body: &[u8]) -> Outcome<Answer> {
        match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => {
                let CreateRequest { path, data, acl, flags } = read(body)?;
                self.create(caller, op, CreateTtlRequest { path, data, acl, flags, ttl: -1 })
            }
            OpCode::CreateTtl => self.create(caller, op, read(body)?),
            OpCode::Delete => {
                let PathVersion { path, version } = read(body)?;
                let parent = parent_to_delete(&path)?;
                self.allow(parent, DELETE, caller)?;
                expect(self.node(&path)?.version, version)?;
                self.delete(caller, &path)
            }
            OpCode::DeleteContainer => {
                let PathRecord { path } = read(body)?;
                if !caller.internal {
                    return Err(NO_AUTH);
                }
                let parent = parent_to_delete(&path)?;
                if !matches!(self.node(&path)?.kind, Kind::Container | Kind::Ttl(_)) {
                    return Err(BAD_VERSION);
                }
                self.node(parent)?;
                self.delete(caller, &path)
            }
            OpCode::SetData => {
                let SetDataRequest { path, data, version } = read_validated(body)?;
                self.allow(&path, WRITE, caller)?;
                let next = expect(self.node(&path)?.version, version)?;
                let node = self.node_mut(&path);
                node.data = data.map(<[u8]>::to_vec);
                (node.version, node.mzxid, node.mtime) = (next, caller.zxid, caller.time);
                self.events.push(Event::Data(path.to_string()));
                Ok(Answer::Changed(self.stat(&path)))
            }
            OpCode::SetAcl => {
                let SetAclRecord { path, acl, version } = read_validated(body)?;
                let acl = fix_up(&acl, caller.ids)?;
                self.allow(&path, ADMIN, caller)?;
                let next = expect(self.node(&path)?.aversion, version)?;
                let node = self.node_mut(&path);
                (node.acl, node.aversion) = (acl, next);
                Ok(Answer::Changed(self.stat(&path)))
            }
            OpCode::Check => {
                let PathVersion { path, version } = read_validated(body)?;
                self.allow(&path, READ, caller)?;
                expect(self.node(&path)?.version, version)?;
                Ok(Answer::Done)
            }
            _ => Err(UNIMPLEMENTED),
        }
    }

    fn create(&mut self, caller: Caller<'_>, op: OpCode, request: CreateTtlRequest<'_>) -> Outcome<Answer> {
        let ttl_mode = matches!(request.flags, 5 | 6);
        let ttl_fits = if ttl_mode { (1..=TTL_MAX).contains(&request.ttl) } else { request.ttl < 0 };
        // ZooKeeper stops at the transaction of a createTTL with a plain flag; we refuse it.
        if !(0..=6).contains(&request.flags) || !ttl_fits || (op == OpCode::CreateTtl && !ttl_mode) {
            return Err(BAD_ARGUMENTS);
        }
        let parent_path = parent_to_change(&request.path)?;
        let acl = fix_up(&request.acl, caller.ids)?;
        self.allow(parent_path, CREATE, caller)?;
        let parent = self.node(parent_path)?;
        let number = parent.creations;
        let path = match request.flags {
            2 | 3 | 6 => format!("{}{number:010}", request.path),
            _ => request.path.to_string(),
        };
        if !is_valid(&path) {
            return Err(BAD_ARGUMENTS);
        }
        if self.node(&path).is_ok() {
            return Err(NODE_EXISTS);
        }
        if matches!(parent.kind, Kind::Ephemeral(_)) {
            return Err(NO_CHILDREN_FOR_EPHEMERALS);
        }
        let kind = match op {
            OpCode::CreateContainer => Kind::Container,
            OpCode::CreateTtl => Kind::Ttl(request.ttl),
            _ if matches!(request.flags, 1 | 3) => Kind::Ephemeral(caller.session),
            _ => Kind::Persistent,
        };
        let parent = self.node_mut(parent_path);
        parent.creations = number.wrapping_add(1);
        parent.pzxid = caller.zxid;
        let data = request.data.map(<[u8]>::to_vec);
        self.nodes.insert(path.clone(), Node::new(data, acl, kind, caller.zxid, caller.time));
        self.events.push(Event::Created(path.clone()));
        let stat = self.stat(&path);
        Ok(Answer::Created(path, stat))
    }

    fn delete(&mut self, caller: Caller<'_>, path: &str) -> Outcome<Answer> {
        if self.children(path).next().is_some() {
            return Err(NOT_EMPTY);
        }
        self.remove(path, caller.zxid);
        Ok(Answer::Done)
    }

    fn remove(&mut self, path: &str, zxid: i64) {
        self.nodes.remove(path);
        self.node_mut(parent_of(path)).pzxid = zxid;
        self.events.push(Event::Deleted(path.to_owned()));
    }

    fn multi(&mut self, caller: Caller<'_>, body: &[u8]) -> Outcome<Answer> {
        let operations = operations(body)?;
        let before = self.clone();
        let mut answers = Vec::new();
        for (op, body) in &operations {
            match self.single(caller, *op, body) {
                Ok(answer) => answers.push((*op, answer)),
                Err(code) => {
                    let failed = answers.len();
                    *self = before;
                    let code_at = |position: usize| match position.cmp(&failed) {
                        std::cmp::Ordering::Less => 0,
                        std::cmp::Ordering::Equal => code,
                        std::cmp::Ordering::Greater => RUNTIME_INCONSISTENCY,
                    };
                    let codes = (0..operations.len()).map(code_at);
                    let failures = codes.map(|code| (OpCode::Error, Answer::Failed(code)));
                    return Ok(Answer::Multi(failures.collect()));
                }
            }
        }
        Ok(Answer::Multi(answers))
    }

    /// The node of a path; the root is known as the empty path too.
    pub fn node(&self, path: &str) -> Outcome<&Node> {
        self.nodes.get(if path.is_empty() { "/" } else { path }).ok_or(NO_NODE)
    }

    fn node_mut(&mut self, path: &str) -> &mut Node {
        self.nodes.get_mut(if path.is_empty() { "/" } else { path }).expect("looked up before")
    }

    /// Paths of the nodes right under one.
    pub fn children(&self, path: &str) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str).filter(move |child| *child != "/" && parent_of(child) == path)
    }

    /// Whether the caller may do that to the node.
    pub fn allow(&self, path: &str, perm: i32, caller: Caller<'_>) -> Outcome<()> {
        let acl = &self.node(path)?.acl;
        let grants = |(perms, scheme, id): &Entry| {
            let everyone = scheme == "world" && id == "anyone";
            perms & perm != 0
                && (everyone || caller.ids.iter().any(|own| *own.scheme == **scheme && *own.id == **id))
        };
        if acl.iter().any(grants) { Ok(()) } else { Err(NO_AUTH) }
    }

    /// A node's Stat as clients see it.
    pub fn stat(&self, path: &str) -> Stat {
        let path = if path.is_empty() { "/" } else { path };
        let node = &self.nodes[path];
        let children = self.children(path).count() as i32;
        Stat {
            czxid: node.czxid,
            mzxid: node.mzxid,
            ctime: node.ctime,
            mtime: node.mtime,
            version: node.version,
            // Creations and deletions.
            cversion: node.creations.wrapping_mul(2).wrapping_sub(children),
            aversion: node.aversion,
            ephemeral_owner: if let Kind::Ephemeral(session) = node.kind { session } else { 0 },
            data_length: node.data.as_ref().map_or(0, Vec::len) as i32,
            num_children: children,
            pzxid: node.pzxid,
        }
    }
}

impl Node {
    fn new(data: Option<Vec<u8>>, acl: Vec<Entry>, kind: Kind, zxid: i64, time: i64) -> Node {
        Node {
            data,
            acl,
            kind,
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: time,
            mtime: time,
            version: 0,
            creations: 0,
            aversion: 0,
        }
    }
}

/// A list as jute's vector of ACL.
pub fn acl_bytes(acl: &[Entry]) -> Vec<u8> {
    let mut bytes = jute::to_bytes(&(acl.len() as i32));
    for (perms, scheme, id) in acl {
        perms.write(&mut bytes);
        scheme.write(&mut bytes);
        id.write(&mut bytes);
    }
    bytes
}

fn read<'a, T: Read<'a>>(body: &'a [u8]) -> Outcome<T> {
    jute::from_bytes(body).map_err(|_| MARSHALLING)
}

/// Of requests whose path is validated first: a null path is a bad one, if the rest can be read.
fn read_validated<'a, T: Read<'a> + PathOf>(body: &'a [u8]) -> Outcome<T> {
    match jute::from_bytes::<T>(body) {
        Ok(request) if is_valid(request.path()) => Ok(request),
        Ok(_) => Err(BAD_ARGUMENTS),
        Err(DecodeError::Null { at: 0 }) => {
            let rest_is_whole = T::read(&mut Reader::with_null_as_empty(body)).is_ok();
            Err(if rest_is_whole { BAD_ARGUMENTS } else { MARSHALLING })
        }
        Err(_) => Err(MARSHALLING),
    }
}

trait PathOf {
    fn path(&self) -> &str;
}

impl PathOf for SetDataRequest<'_> {
    fn path(&self) -> &str {
        &self.path
    }
}

impl PathOf for SetAclRecord<'_> {
    fn path(&self) -> &str {
        &self.path
    }
}

impl PathOf for PathVersion<'_> {
    fn path(&self) -> &str {
        &self.path
    }
}

/// The operations of a multi, with their records.
fn operations(body: &[u8]) -> Outcome<Vec<(OpCode, Vec<u8>)>> {
    let mut reader = Reader::new(body);
    let mut operations = Vec::new();
    loop {
        let header: MultiHeader = reader.read().map_err(|_| MARSHALLING)?;
        if header.done {
            return Ok(operations);
        }
        let rest = reader;
        let mut op = OpCode::from_code(header.op).ok_or(MARSHALLING)?;
        let read = match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => {
                reader.read::<CreateRequest<'_>>().and_then(|create| match create.flags {
                    4 => {
                        op = OpCode::CreateContainer;
                        Ok(())
                    }
                    0..=3 => Ok(()),
                    value => Err(DecodeError::Unknown { at: 0, value }),
                })
            }
            OpCode::CreateTtl => reader.read::<CreateTtlRequest<'_>>().map(drop),
            OpCode::Delete | OpCode::Check => reader.read::<PathVersion<'_>>().map(drop),
            OpCode::SetData => reader.read::<SetDataRequest<'_>>().map(drop),
            other => Err(DecodeError::Unknown { at: 0, value: other.code() }),
        };
        read.map_err(|_| MARSHALLING)?;
        let taken = reader.position() - rest.position();
        operations.push((op, rest.rest()[..taken].to_vec()));
    }
}

fn expect(current: i32, expected: i32) -> Outcome<i32> {
    if expected == -1 || expected == current { Ok(current.wrapping_add(1)) } else { Err(BAD_VERSION) }
}

/// Where a child's parent is in the map.
pub fn parent_of(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(slash) => &path[..slash],
    }
}

fn parent_to_change(path: &str) -> Outcome<&str> {
    let slash = path.rfind('/').filter(|_| !path.contains('\0')).ok_or(BAD_ARGUMENTS)?;
    Ok(&path[..slash])
}

fn parent_to_delete(path: &str) -> Outcome<&str> {
    if ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"].contains(&path) {
        return Err(BAD_ARGUMENTS);
    }
    parent_to_change(path)
}

/// `PathUtils.validatePath`, over UTF-16 as Java sees it.
fn is_valid(path: &str) -> bool {
    let units: Vec<u16> = path.encode_utf16().collect();
    let forbidden = |unit: &u16| matches!(unit, 0..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..=0xffff);
    path == "/"
        || path.starts_with('/')
            && path.split('/').skip(1).all(|name| !["", ".", ".."].contains(&name))
            && !units.iter().any(forbidden)
}

/// `fixupACL`.
fn fix_up(acl: &[Acl<'_>], ids: &[AuthId]) -> Outcome<Vec<Entry>> {
    let mut unique: Vec<&Acl<'_>> = Vec::new();
    for entry in acl {
        if !unique.contains(&entry) {
            unique.push(entry);
        }
    }
    let mut fixed = Vec::new();
    for entry in unique {
        let scheme = entry.id.scheme.as_deref().ok_or(INVALID_ACL)?;
        let digests = ids.iter().filter(|own| &*own.scheme == "digest");
        match (scheme, entry.id.id.as_deref()) {
            ("auth", _) => {
                let before = fixed.len();
                fixed.extend(digests.map(|own| (entry.perms, own.scheme.to_string(), own.id.to_string())));
                if fixed.len() == before {
                    return Err(INVALID_ACL);
                }
            }
            ("world" | "digest" | "ip", None) => return Err(MARSHALLING),
            ("world", Some("anyone")) | ("ip", Some(_)) => {
                fixed.push((
                    entry.perms,
                    scheme.to_owned(),
                    entry.id.id.as_deref().unwrap_or_default().to_owned(),
                ));
            }
            ("digest", Some(id)) if id.trim_end_matches(':').matches(':').count() == 1 => {
                fixed.push((entry.perms, scheme.to_owned(), id.to_owned()));
            }
            _ => return Err(INVALID_ACL),
        }
    }
    if fixed.is_empty() { Err(INVALID_ACL) } else { Ok(fixed) }
}
