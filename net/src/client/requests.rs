//! Serving requests: reads here, from the tree; everything that must be ordered by the replica.

use super::connection::{Connection, Sent, Waiting};
use super::core::{CoreState, OUTPUT_BYTES_MAX};
use ringkeeper_engine::auth::{self, AuthId};
use ringkeeper_engine::error::{self, ErrorCode};
use ringkeeper_engine::id::{SessionId, Tick, Zxid};
use ringkeeper_engine::jute::records::{
    AddWatchRequest, AuthPacket, PathWatchRequest, ReplyHeader, RequestHeader, SaslToken, WatchTypeRequest,
    WatcherEvent,
};
use ringkeeper_engine::jute::{self, Reader, Write};
use ringkeeper_engine::op::{NOTIFICATION_XID, OpCode, PING_XID};
use ringkeeper_engine::order::Turn;
use ringkeeper_engine::read::{ReadContext, ReadError, path_of, write_who_am_i};
use ringkeeper_engine::stats::LastOperation;
use ringkeeper_engine::tree::watch::{EventKind, WatchMode, WatchType, Watches};
use ringkeeper_engine::tree::{TreeReader, View};
use ringkeeper_quorum::replica::is_read;
use ringkeeper_quorum::step::Request;
use std::borrow::Cow;
use tracing::{info, warn};

/// `KeeperState.SyncConnected`, the state that every event carries.
const SYNC_CONNECTED: i32 = 3;
/// The zxid of what no transaction made: events that setWatches makes up for, and refusals.
const NO_ZXID: i64 = -1;

/// Who serves a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The replica, in order.
    Ordered,
    /// This core, at the request's turn.
    Here,
    /// This core, as soon as it comes.
    AtOnce,
    /// Nobody.
    Nowhere,
}

fn place(op: OpCode) -> Place {
    match op {
        OpCode::Create
        | OpCode::Delete
        | OpCode::SetData
        | OpCode::SetAcl
        | OpCode::Sync
        | OpCode::Multi
        | OpCode::Create2
        | OpCode::Reconfig
        | OpCode::CreateContainer
        | OpCode::DeleteContainer
        | OpCode::CreateTtl
        | OpCode::GetEphemerals
        | OpCode::CloseSession => Place::Ordered,
        OpCode::Exists
        | OpCode::GetData
        | OpCode::GetAcl
        | OpCode::GetChildren
        | OpCode::Ping
        | OpCode::GetChildren2
        | OpCode::CheckWatches
        | OpCode::RemoveWatches
        | OpCode::MultiRead
        | OpCode::SetWatches
        | OpCode::GetAllChildrenNumber
        | OpCode::SetWatches2
        | OpCode::AddWatch
        | OpCode::WhoAmI => Place::Here,
        OpCode::Auth | OpCode::Sasl => Place::AtOnce,
        // A check stands in a multi alone: on its own it has corrupted databases. Sessions begin
        // with a handshake.
        OpCode::Check | OpCode::CreateSession | OpCode::Error => Place::Nowhere,
    }
}

/// Whether a request may go to the replica while earlier ones of its session are there. The answer
/// to getEphemerals can be large, so a connection has one of them made at a time.
fn follows(op: OpCode) -> bool {
    place(op) == Place::Ordered && op != OpCode::GetEphemerals
}

/// The most reads of one connection that the replica has at a time.
const READS_MAX: u32 = 256;
/// A read with a longer record waits: those that the replica has are small together.
const READ_REQUEST_BYTES_MAX: usize = 1024;
/// A read of a node with more data is answered by its core: so many of those would be large together.
const READ_DATA_BYTES_MAX: usize = 16 * 1024;
/// The same of children.
const READ_CHILDREN_MAX: usize = 256;

/// Whether a read behind a write of its session can be answered by the replica too.
fn goes_along(tree: &TreeReader, reads_sent: u32, op: OpCode, body: &[u8]) -> bool {
    if !is_read(op) || reads_sent >= READS_MAX || body.len() > READ_REQUEST_BYTES_MAX {
        return false;
    }
    // Its path comes first in each of them.
    let Ok(path) = Reader::new(body).read::<Cow<'_, str>>() else { return false };
    let view = tree.view(Zxid(u64::MAX));
    let Ok(Ok(node)) = view.node(&path) else { return true };
    let data = view.data(node).map_or(0, |data| data.data_length());
    let children = view.children(node).ok().flatten().map_or(0, |children| children.set.len());
    data <= READ_DATA_BYTES_MAX && (children <= READ_CHILDREN_MAX || !lists_children(op))
}

fn lists_children(op: OpCode) -> bool {
    matches!(op, OpCode::GetChildren | OpCode::GetChildren2)
}

/// The node that a read wants watched.
fn watch_of(op: OpCode, body: &[u8]) -> Option<Box<str>> {
    if !is_read(op) || op == OpCode::GetAcl {
        return None;
    }
    let PathWatchRequest { path, watch } = jute::from_bytes(body).ok()?;
    watch.then(|| path.into())
}

impl CoreState {
    /// A request came.
    pub fn request(
        &mut self,
        connection: &mut Connection,
        session: SessionId,
        header: RequestHeader,
        body: &[u8],
    ) {
        self.touch(connection);
        let RequestHeader { xid, op } = header;
        let known = OpCode::from_code(op).filter(|op| place(*op) != Place::Nowhere);
        let Some(op) = known else {
            warn!(peer = %connection.peer, %session, "closed: unknown request type {op}");
            let err = ErrorCode::Unimplemented.code();
            self.reply(connection, ReplyHeader { xid, zxid: NO_ZXID, err }, |_| {});
            connection.close_after_output();
            return;
        };
        let at = self.now.tick;
        match place(op) {
            Place::AtOnce if op == OpCode::Auth => self.authenticate(connection, xid, body),
            Place::AtOnce => self.refuse_sasl(connection, xid, body),
            place => {
                let behind_writes = connection.order.in_flight() > 0;
                let goes_along = behind_writes && goes_along(&self.tree, connection.reads_sent, op, body);
                if connection.order.turn(follows(op) || goes_along) == Turn::Wait {
                    connection.wait(Waiting { xid, op, body: body.into(), at });
                } else if place == Place::Ordered || goes_along {
                    self.send(connection, session, xid, op, body, at);
                } else if !self.serve(connection, xid, op, body, at) {
                    connection.wait(Waiting { xid, op, body: body.into(), at });
                    self.later.push(connection.id.number);
                }
            }
        }
    }

    /// Serves what waits and can go now.
    pub fn serve_waiting(&mut self, connection: &mut Connection) {
        let Some(session) = connection.session() else { return };
        while !connection.closing
            && connection.output.len() < OUTPUT_BYTES_MAX
            && connection.order.next_can_go(|waiting| {
                let Waiting { op, body, .. } = waiting;
                follows(*op) || goes_along(&self.tree, connection.reads_sent, *op, body)
            })
            && let Some(waiting) = connection.order.pop()
        {
            connection.waiting_bytes -= waiting.body.len();
            if place(waiting.op) == Place::Ordered || connection.order.in_flight() > 0 {
                self.send(connection, session, waiting.xid, waiting.op, &waiting.body, waiting.at);
            } else if !self.serve(connection, waiting.xid, waiting.op, &waiting.body, waiting.at) {
                connection.waiting_bytes += waiting.body.len();
                connection.order.wait_first(waiting);
                self.later.push(connection.id.number);
                break;
            }
        }
    }

    fn send(
        &mut self,
        connection: &mut Connection,
        session: SessionId,
        xid: i32,
        op: OpCode,
        body: &[u8],
        at: Tick,
    ) {
        let watch = watch_of(op, body);
        let auth = self.outgoing.auth(&connection.auth);
        let body = self.outgoing.body(body);
        self.ask(Request::Ordered { connection: connection.id, session, xid, op, body, auth });
        connection.order.sent();
        self.in_flight += 1;
        self.asking += u32::from(connection.sent.is_empty());
        connection.reads_sent += u32::from(is_read(op));
        connection.sent.push_back(Sent { xid, op, at, watch });
    }

    /// The replica answered a read that wants its node watched.
    pub fn watch_answered(&mut self, connection: &Connection, op: OpCode, path: &str, frame: &[u8]) {
        let err = &frame[HEADER_BYTES - 4..HEADER_BYTES];
        let found = *err == error::OK.to_be_bytes();
        let absent = op == OpCode::Exists && *err == ErrorCode::NoNode.code().to_be_bytes();
        match op {
            OpCode::GetChildren | OpCode::GetChildren2 if found => {
                self.watches.add_children(path, connection.id.number);
            }
            _ if found || absent => self.watches.add_data(path, connection.id.number),
            _ => {}
        }
    }

    /// Answers a request from the tree. False: it met something newer than the horizon.
    fn serve(&mut self, connection: &mut Connection, xid: i32, op: OpCode, body: &[u8], at: Tick) -> bool {
        self.spare_outputs.lend(&mut connection.output);
        let start = connection.output.len();
        write_header(&mut connection.output, xid_of_reply(op, xid), self.horizon.to_jute(), error::OK);
        let view = self.tree.view(self.horizon);
        let mut job = Job {
            view: &view,
            state: JobState { settings: &self.settings, watches: &mut self.watches },
            number: connection.id.number,
            auth: &connection.auth,
            out: &mut connection.output,
        };
        let answer = job.answer(op, body, start);
        drop(view);
        match answer {
            Ok(()) => {}
            Err(ReadError::Later) => {
                connection.output.truncate(start);
                return false;
            }
            Err(ReadError::Client(code)) => {
                connection.output.truncate(start);
                write_header(&mut connection.output, xid, self.horizon.to_jute(), code.code());
            }
            Err(ReadError::Broken) => {
                let err_at = last_frame_start(&connection.output, start) + HEADER_BYTES - 4;
                let code = ErrorCode::MarshallingError.code();
                connection.output[err_at..err_at + 4].copy_from_slice(&code.to_be_bytes());
            }
        }
        // Events that setWatches made up for are frames of their own, before this one.
        let frame = last_frame_start(&connection.output, start);
        close_frame(&mut connection.output, frame);
        self.answered(connection, op, xid, self.horizon, at);
        true
    }

    /// Books an answer.
    pub fn answered(&mut self, connection: &mut Connection, op: OpCode, xid: i32, zxid: Zxid, at: Tick) {
        let latency_ms = self.since(at);
        connection.traffic.sent += 1;
        self.traffic.sent += 1;
        connection.traffic.latency.add(latency_ms);
        self.traffic.latency.add(latency_ms);
        let xid = if xid < 0 { connection.last.map_or(-1, |last| last.xid) } else { xid };
        connection.last =
            Some(LastOperation { name: short_name(op), xid, zxid, at_ms: self.now.wall_ms, latency_ms });
    }

    /// Answers what has nothing to do with the tree.
    fn reply(&mut self, connection: &mut Connection, header: ReplyHeader, record: impl FnOnce(&mut Vec<u8>)) {
        self.spare_outputs.lend(&mut connection.output);
        let start = connection.output.len();
        write_header(&mut connection.output, header.xid, header.zxid, header.err);
        record(&mut connection.output);
        close_frame(&mut connection.output, start);
        connection.traffic.sent += 1;
        self.traffic.sent += 1;
    }

    fn authenticate(&mut self, connection: &mut Connection, xid: i32, body: &[u8]) {
        let packet: AuthPacket<'_> = match jute::from_bytes(body) {
            Ok(packet) => packet,
            Err(error) => {
                warn!(peer = %connection.peer, "closed: an auth packet that is none: {error}");
                connection.abort();
                return;
            }
        };
        let scheme = packet.scheme.unwrap_or_default();
        let (known, address) = (&connection.auth, connection.peer.ip());
        let proved = auth::authenticate(known, &scheme, packet.auth, address, &self.settings);
        match proved {
            Ok(ids) => {
                connection.auth = ids;
                self.reply(connection, ReplyHeader { xid, zxid: 0, err: error::OK }, |_| {});
            }
            Err(error) => {
                info!(peer = %connection.peer, "closed: authentication failed ({error:?})");
                let err = ErrorCode::AuthFailed.code();
                self.reply(connection, ReplyHeader { xid, zxid: 0, err }, |_| {});
                connection.close_after_output();
            }
        }
    }

    /// A server without SASL set up answers with no token, as ZooKeeper's does.
    fn refuse_sasl(&mut self, connection: &mut Connection, xid: i32, body: &[u8]) {
        let closed_for = match jute::from_bytes::<SaslToken<'_>>(body) {
            Ok(SaslToken { token: Some(_) }) => {
                let header = ReplyHeader { xid, zxid: 0, err: error::OK };
                self.reply(connection, header, |out| SaslToken { token: None }.write(out));
                return;
            }
            Ok(SaslToken { token: None }) => "it is null".to_owned(),
            Err(error) => error.to_string(),
        };
        warn!(peer = %connection.peer, "closed: a SASL token that is none: {closed_for}");
        connection.abort();
    }
}

/// The parts of a core that answering needs.
struct JobState<'j> {
    settings: &'j ringkeeper_engine::limits::Settings,
    watches: &'j mut Watches<u64>,
}

/// One request being answered.
struct Job<'j> {
    view: &'j View<'j>,
    state: JobState<'j>,
    number: u64,
    auth: &'j [AuthId],
    /// Ends with the reply's header; the record follows.
    out: &'j mut Vec<u8>,
}

type Answer = Result<(), ReadError>;

impl Job<'_> {
    fn answer(&mut self, op: OpCode, body: &[u8], start: usize) -> Answer {
        let reads = ReadContext { view: self.view, auth: self.auth, settings: self.state.settings };
        match op {
            OpCode::Ping => Ok(()),
            OpCode::Exists => {
                let PathWatchRequest { path, watch } = jute::from_bytes(body)?;
                let answer = reads.exists(&path, self.out);
                let watchable = matches!(answer, Ok(()) | Err(ReadError::Client(ErrorCode::NoNode)));
                if watch && watchable {
                    self.state.watches.add_data(&path, self.number);
                }
                answer
            }
            OpCode::GetData => {
                let PathWatchRequest { path, watch } = jute::from_bytes(body)?;
                reads.get_data(&path, self.out)?;
                if watch {
                    self.state.watches.add_data(&path, self.number);
                }
                Ok(())
            }
            OpCode::GetChildren | OpCode::GetChildren2 => {
                let PathWatchRequest { path, watch } = jute::from_bytes(body)?;
                reads.get_children(&path, op == OpCode::GetChildren2, self.out)?;
                if watch {
                    self.state.watches.add_children(&path, self.number);
                }
                Ok(())
            }
            OpCode::GetAcl => reads.get_acl(&path_of(body)?.path, self.out),
            OpCode::GetAllChildrenNumber => reads.count_descendants(&path_of(body)?.path, self.out),
            OpCode::MultiRead => reads.multi_read(body, self.out),
            OpCode::WhoAmI => {
                write_who_am_i(self.auth, self.out);
                Ok(())
            }
            OpCode::CheckWatches | OpCode::RemoveWatches => self.watch_type(op, body),
            OpCode::AddWatch => self.add_watch(body),
            OpCode::SetWatches => self.set_watches(body, false, start),
            OpCode::SetWatches2 => self.set_watches(body, true, start),
            other => unreachable!("{other:?} is not served by a core"),
        }
    }

    fn watch_type(&mut self, op: OpCode, body: &[u8]) -> Answer {
        let WatchTypeRequest { path, kind } = jute::from_bytes(body)?;
        let kind = WatchType::from_code(kind).ok_or(ErrorCode::MarshallingError)?;
        let found = match op {
            OpCode::CheckWatches => self.state.watches.contains(&path, self.number, kind),
            _ => self.state.watches.remove(&path, self.number, kind),
        };
        if found { Ok(()) } else { Err(ErrorCode::NoWatcher.into()) }
    }

    fn add_watch(&mut self, body: &[u8]) -> Answer {
        let AddWatchRequest { path, mode } = jute::from_bytes(body)?;
        let mode = match mode {
            0 => WatchMode::Persistent,
            1 => WatchMode::Recursive,
            _ => return Err(ErrorCode::MarshallingError.into()),
        };
        self.state.watches.add(&path, self.number, mode);
        error::OK.write(self.out);
        Ok(())
    }

    /// Sets the watches that a client held elsewhere. What happened since its last zxid is told at
    /// once, before the reply.
    fn set_watches(&mut self, body: &[u8], with_persistent: bool, start: usize) -> Answer {
        let mut reader = Reader::new(body);
        let since = Zxid::from_jute(reader.read()?);
        let mut lists: Vec<Option<PathList<'_>>> = Vec::new();
        for _ in 0..if with_persistent { 5 } else { 3 } {
            lists.push(read_paths(&mut reader)?);
        }
        let mut missed: Vec<(EventKind, &str)> = Vec::new();
        let (mut data, mut children) = (Vec::new(), Vec::new());
        let mut persistent = Vec::new();
        let mut whole = true;
        'lists: for (kind, list) in lists.iter().enumerate() {
            for path in list.iter().flatten() {
                let Some(path) = path.as_deref() else {
                    whole = false;
                    break 'lists;
                };
                match kind {
                    0 => self
                        .data_since(path, since)?
                        .map_or_else(|| data.push(path), |e| missed.push((e, path))),
                    1 if self.view.node(path)?.is_ok() => missed.push((EventKind::Created, path)),
                    1 => data.push(path),
                    2 => {
                        let event = self.children_since(path, since)?;
                        event.map_or_else(|| children.push(path), |event| missed.push((event, path)));
                    }
                    3 => persistent.push((path, WatchMode::Persistent)),
                    _ => persistent.push((path, WatchMode::Recursive)),
                }
            }
            if list.is_none() {
                whole = false;
                break;
            }
        }
        let watches = &mut self.state.watches;
        data.iter().for_each(|path| watches.add_data(path, self.number));
        children.iter().for_each(|path| watches.add_children(path, self.number));
        persistent.iter().for_each(|(path, mode)| watches.add(path, self.number, *mode));
        let header = self.out.split_off(start);
        for (kind, path) in missed {
            write_event(self.out, NO_ZXID, kind, path);
        }
        self.out.extend_from_slice(&header);
        if whole { Ok(()) } else { Err(ReadError::Broken) }
    }

    /// What a data watch set at `since` would have told by now.
    fn data_since(&self, path: &str, since: Zxid) -> Result<Option<EventKind>, ReadError> {
        let Ok(node) = self.view.node(path)? else { return Ok(Some(EventKind::Deleted)) };
        let changed = self.view.data(node)?.mzxid > since;
        Ok(changed.then_some(EventKind::DataChanged))
    }

    /// What a child watch set at `since` would have told by now.
    fn children_since(&self, path: &str, since: Zxid) -> Result<Option<EventKind>, ReadError> {
        let Ok(node) = self.view.node(path)? else { return Ok(Some(EventKind::Deleted)) };
        let changed = Zxid::from_jute(self.view.stat(node)?.pzxid) > since;
        Ok(changed.then_some(EventKind::ChildrenChanged))
    }
}

type PathList<'a> = Vec<Option<Cow<'a, str>>>;

/// A list of paths, each of which may be null. ZooKeeper breaks off at a null path and at a null
/// list, but not at one of another negative length.
fn read_paths<'a>(reader: &mut Reader<'a>) -> jute::Result<Option<PathList<'a>>> {
    let mut ahead = *reader;
    if ahead.read::<i32>()? == -1 {
        *reader = ahead;
        return Ok(None);
    }
    reader.read().map(Some)
}

/// Appends an event as a whole frame.
pub fn write_event(out: &mut Vec<u8>, zxid: i64, kind: EventKind, path: &str) {
    let start = out.len();
    0i32.write(out);
    ReplyHeader { xid: NOTIFICATION_XID, zxid, err: error::OK }.write(out);
    WatcherEvent { kind: kind as i32, state: SYNC_CONNECTED, path: path.into() }.write(out);
    close_frame(out, start);
}

/// Bytes of a frame's length and a reply's header.
const HEADER_BYTES: usize = 4 + 4 + 8 + 4;

/// Appends a frame's length, still zero, and its header.
fn write_header(out: &mut Vec<u8>, xid: i32, zxid: i64, err: i32) {
    0i32.write(out);
    ReplyHeader { xid, zxid, err }.write(out);
}

/// Fills in the length of the frame that starts at `start` and ends with `out`.
fn close_frame(out: &mut [u8], start: usize) {
    let length = (out.len() - start - 4) as i32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Where the frame whose length is still open starts: behind the closed ones from `start` on.
fn last_frame_start(out: &[u8], start: usize) -> usize {
    let mut at = start;
    loop {
        let length = i32::from_be_bytes([out[at], out[at + 1], out[at + 2], out[at + 3]]);
        if length == 0 {
            debug_assert!(out.len() >= at + HEADER_BYTES);
            return at;
        }
        at += 4 + length as usize;
    }
}

fn xid_of_reply(op: OpCode, xid: i32) -> i32 {
    if op == OpCode::Ping { PING_XID } else { xid }
}

/// ZooKeeper's name for the last operation of a connection.
fn short_name(op: OpCode) -> &'static str {
    match op {
        OpCode::Ping => "PING",
        OpCode::CreateSession => "SESS",
        OpCode::Multi => "MULT",
        OpCode::MultiRead => "MLTR",
        OpCode::Create | OpCode::Create2 | OpCode::CreateTtl | OpCode::CreateContainer => "CREA",
        OpCode::Delete | OpCode::DeleteContainer => "DELE",
        OpCode::SetData => "SETD",
        OpCode::Reconfig => "RECO",
        OpCode::SetAcl => "SETA",
        OpCode::CloseSession => "CLOS",
        OpCode::Sync => "SYNC",
        OpCode::Check => "CHEC",
        OpCode::Exists => "EXIS",
        OpCode::GetData => "GETD",
        OpCode::SetWatches => "SETW",
        OpCode::SetWatches2 => "STW2",
        OpCode::AddWatch => "ADDW",
        OpCode::GetAcl => "GETA",
        OpCode::GetChildren | OpCode::GetChildren2 => "GETC",
        OpCode::GetAllChildrenNumber => "GETACN",
        OpCode::CheckWatches => "CHKW",
        OpCode::RemoveWatches => "REMW",
        OpCode::WhoAmI => "HOMI",
        OpCode::GetEphemerals => "GETE",
        OpCode::Auth | OpCode::Sasl | OpCode::Error => "NA",
    }
}
