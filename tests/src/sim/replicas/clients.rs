//! Clients, and the cores that they are connected to: each has a session and a few requests on their way.
//! It checks what it is told: answers come in the order of its requests, and no zxid goes back.

use super::line;
use crate::sim::groups;
use fastrand::Rng;
use ringkeeper_engine::auth::AuthInfo;
use ringkeeper_engine::error::ErrorCode;
use ringkeeper_engine::id::{SessionId, Tick, Zxid};
use ringkeeper_engine::jute::records::ReplyHeader;
use ringkeeper_engine::jute::{Reader, Write};
use ringkeeper_engine::op::OpCode;
use ringkeeper_engine::session::password;
use ringkeeper_engine::tree::acl::AclList;
use ringkeeper_quorum::step::{ConnectionId, Request, RequestBatch, Service};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// Timeout of the sessions.
pub const TIMEOUT_MS: u32 = 3000;
/// Requests of a client that are on their way.
const IN_FLIGHT_MAX: usize = 4;

/// What a client was told of a request that it made.
#[derive(Clone, Debug)]
struct Asked {
    xid: i32,
    op: OpCode,
    /// The node that is there when it succeeds.
    creates: Option<(String, bool)>,
}

/// One client.
#[derive(Debug)]
pub struct Client {
    /// Its number, from 0.
    pub number: usize,
    /// Where it is connected: which server, and the connection there.
    pub at: Option<(usize, ConnectionId)>,
    /// Its session, once it was told one.
    pub session: Option<SessionId>,
    /// Whether the connection has the session.
    open: bool,
    /// Whether its server has no quorum.
    reads_only: bool,
    /// Whether it never makes an ephemeral node, so that a local session of it stays one.
    plain: bool,
    /// Whether it will never do anything again.
    pub dead: bool,
    xid: i32,
    seen: Zxid,
    asked: VecDeque<Asked>,
    /// Persistent nodes that it was told are there.
    pub created: BTreeSet<String>,
    /// Ephemeral nodes of the present session that it was told are there.
    pub ephemerals: BTreeSet<String>,
    /// Sessions that it had before.
    pub lost: Vec<SessionId>,
    next_node: u64,
    /// Requests that were answered with success.
    pub answered: u64,
    /// Requests that were refused since there was no quorum.
    pub refused_writes: u64,
    /// Changes the ensemble now and then, of servers up to this number.
    pub changes_servers: Option<u8>,
    /// Whether it changes groups and weights, too, which only a whole configuration can.
    pub changes_groups: bool,
    /// Makes all of them voters; until that is done.
    pub readmits: bool,
    /// Changes of the ensemble that were answered with success.
    pub changes: u64,
}

impl Client {
    /// A client that has done nothing yet.
    pub fn new(number: usize) -> Client {
        Client {
            number,
            at: None,
            session: None,
            open: false,
            reads_only: false,
            plain: false,
            dead: false,
            xid: 0,
            seen: Zxid::ZERO,
            asked: VecDeque::new(),
            created: BTreeSet::new(),
            ephemerals: BTreeSet::new(),
            lost: Vec::new(),
            next_node: 0,
            answered: 0,
            refused_writes: 0,
            changes_servers: None,
            changes_groups: false,
            readmits: false,
            changes: 0,
        }
    }

    /// The same, without ephemeral nodes.
    pub fn plain(number: usize) -> Client {
        Client { plain: true, ..Client::new(number) }
    }

    /// Connects to a server; what that server's core asks the replica.
    pub fn connect(&mut self, server: usize, connection: ConnectionId, service: Service) -> RequestBatch {
        self.reads_only = service == Service::ReadOnly;
        self.at = Some((server, connection));
        self.open = false;
        self.asked.clear();
        let (timeout_ms, last_seen) = (TIMEOUT_MS, self.seen);
        let item = match self.session {
            None => Request::Open { connection, timeout_ms, last_seen },
            Some(session) => {
                Request::Reopen { connection, session, password: password(session), timeout_ms, last_seen }
            }
        };
        RequestBatch { items: vec![item], ..RequestBatch::default() }
    }

    /// The connection ended.
    pub fn disconnected(&mut self) -> Option<Request> {
        let (_, connection) = self.at.take()?;
        let had = std::mem::take(&mut self.open);
        self.asked.clear();
        had.then_some(Request::Gone { connection, session: self.session? })
    }

    /// It has its session.
    pub fn opened(&mut self, session: SessionId) {
        assert!(self.session.is_none_or(|own| own == session), "another client's session");
        self.session = Some(session);
        self.open = true;
    }

    /// Its session is over.
    pub fn refused(&mut self) {
        self.lost.extend(self.session.take());
        self.ephemerals.clear();
    }

    /// Some requests, and a sign of life.
    pub fn ask(&mut self, now: Tick, rng: &mut Rng) -> Option<RequestBatch> {
        let ((_, connection), session) = (self.at?, self.session?);
        if !self.open {
            return None;
        }
        let mut batch = RequestBatch::default();
        batch.items.push(Request::Touch { session, at: now });
        while self.asked.len() < IN_FLIGHT_MAX && rng.u8(0..3) > 0 {
            self.xid += 1;
            let (op, record, creates) = self.operation(rng);
            let body = batch.body(&record);
            let nothing: AuthInfo = Arc::new([]);
            let auth = batch.auth(&nothing);
            self.asked.push_back(Asked { xid: self.xid, op, creates });
            batch.items.push(Request::Ordered { connection, session, xid: self.xid, op, body, auth });
        }
        Some(batch)
    }

    fn operation(&mut self, rng: &mut Rng) -> (OpCode, Vec<u8>, Option<(String, bool)>) {
        if let Some(servers) = self.changes_servers
            && (self.readmits || rng.u8(0..16) == 0)
        {
            return (OpCode::Reconfig, self.change(servers, rng), None);
        }
        self.next_node += 1;
        let path = format!("/c{}-{}", self.number, self.next_node);
        let mut body = Vec::new();
        match rng.u8(0..10) {
            0 => {
                "/".write(&mut body);
                (OpCode::Sync, body, None)
            }
            1 => {
                // A failure has its place in the order, too.
                "/never".write(&mut body);
                (-1i32).write(&mut body);
                (OpCode::Delete, body, None)
            }
            2 => {
                "/zookeeper/quota".write(&mut body);
                Some(&self.next_node.to_be_bytes()[..]).write(&mut body);
                (-1i32).write(&mut body);
                (OpCode::SetData, body, None)
            }
            kind => {
                let ephemeral = kind < 5 && !self.plain;
                path.as_str().write(&mut body);
                Some(&b"data"[..]).write(&mut body);
                body.extend_from_slice(&AclList::open().bytes);
                i32::from(ephemeral).write(&mut body);
                (OpCode::Create, body, Some((path, ephemeral)))
            }
        }
    }

    /// A change of the ensemble: one server, or all.
    fn change(&self, servers: u8, rng: &mut Rng) -> Vec<u8> {
        let any = |rng: &mut Rng| if rng.u8(0..3) == 0 { "observer" } else { "participant" };
        let id = rng.u8(1..=servers);
        let all =
            |rng: &mut Rng| (1..=servers).map(|id| line(id, any(rng), rng.bool())).collect::<Vec<String>>();
        let (joining, leaving, whole) = match rng.u8(0..3) {
            // Until it is one of which the present voters are a quorum.
            _ if self.changes_groups && self.readmits => {
                let lines: Vec<_> = (1..=servers).map(|id| line(id, "participant", rng.bool())).collect();
                let places = groups::lines(&groups::draw(rng, servers));
                (None, None, Some(lines.into_iter().chain(places).collect::<Vec<_>>().join(",")))
            }
            0..=1 if self.changes_groups => {
                let mut lines = all(rng);
                lines.extend(groups::lines(&groups::draw(rng, servers)));
                (None, None, Some(lines.join(",")))
            }
            // One after the other: a quorum of what comes must vote already.
            _ if self.readmits => (Some(line(id, "participant", rng.bool())), None, None),
            0 => (None, Some(id.to_string()), None),
            1 => (Some(line(id, any(rng), rng.bool())), None, None),
            _ => (None, None, Some(all(rng).join(","))),
        };
        let mut body = Vec::new();
        [joining, leaving, whole].iter().for_each(|text| text.write(&mut body));
        (-1i64).write(&mut body);
        body
    }

    /// What it is about, in a line.
    pub fn describe(&self) -> String {
        let Client { number, at, session, open, dead, .. } = self;
        let waits: Vec<(OpCode, i32)> = self.asked.iter().map(|asked| (asked.op, asked.xid)).collect();
        format!("client {number}: at {at:?} session {session:?} open {open} dead {dead} waits for {waits:?}")
    }

    /// An answer came.
    pub fn answered(&mut self, frame: &[u8]) {
        let header: ReplyHeader = Reader::new(&frame[4..]).read().expect("a reply");
        let asked = self.asked.pop_front().expect("it was asked for");
        assert_eq!(header.xid, asked.xid, "client {}: answers come in order", self.number);
        let zxid = Zxid::from_jute(header.zxid);
        assert!(zxid >= self.seen, "client {}: {zxid} after {}", self.number, self.seen);
        self.seen = zxid;
        if self.reads_only {
            let number = self.number;
            assert_eq!(
                header.err,
                ErrorCode::NotReadOnly.code(),
                "client {number}: {asked:?} without a quorum"
            );
            self.refused_writes += 1;
            return;
        }
        if header.err == 0 {
            self.answered += 1;
        }
        if header.err == 0 && asked.op == OpCode::Reconfig {
            self.changes += 1;
            let text = String::from_utf8_lossy(&frame[4..]);
            self.readmits &=
                text.matches(":participant").count() < self.changes_servers.map_or(0, usize::from);
        }
        if let Some((path, ephemeral)) = asked.creates {
            assert_eq!(header.err, 0, "client {}: {path}", self.number);
            if ephemeral {
                self.ephemerals.insert(path)
            } else {
                self.created.insert(path)
            };
        }
    }
}
