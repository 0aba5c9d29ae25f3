//! A client that holds what it receives against the laws that every session has, whatever the test:
//! replies in the order of the requests, zxids that never go back, and no event behind a reply that
//! already reflects it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use ringkeeper_tests::wire::{
    Client as Wire, ConnectRequest, Decoder, Encoder, Received, Reply, Session, error_name, op, xid,
};

/// How long a client waits for a frame that is due.
const PATIENCE: Duration = Duration::from_secs(30);
/// Long enough for a machine that is busy with other tests.
const SESSION_TIMEOUT_MS: i32 = 60_000;

/// `KeeperException.Code`.
pub const NO_NODE: i32 = -101;
pub const NODE_EXISTS: i32 = -110;

/// `EventType`.
pub const CREATED: i32 = 1;
pub const DELETED: i32 = 2;
pub const DATA_CHANGED: i32 = 3;
pub const CHILDREN_CHANGED: i32 = 4;

/// A request without its xid.
#[derive(Clone, Debug)]
pub struct Request {
    pub op: i32,
    body: Vec<u8>,
}

fn request(op: i32, write: impl FnOnce(&mut Encoder)) -> Request {
    let mut body = Encoder::default();
    write(&mut body);
    Request { op, body: body.bytes }
}

/// A persistent node, open to all.
pub fn create(path: &str, data: &str) -> Request {
    request(op::CREATE, |body| {
        body.string(path).string(data).open_acl().int(0);
    })
}

/// Whatever the version.
pub fn delete(path: &str) -> Request {
    request(op::DELETE, |body| {
        body.string(path).int(-1);
    })
}

/// Whatever the version.
pub fn set(path: &str, data: &str) -> Request {
    request(op::SET_DATA, |body| {
        body.string(path).string(data).int(-1);
    })
}

/// getData, exists or getChildren2, with or without a watch.
pub fn read(op: i32, path: &str, watch: bool) -> Request {
    request(op, |body| {
        body.string(path).boolean(watch);
    })
}

pub fn get(path: &str) -> Request {
    read(op::GET_DATA, path, false)
}

pub fn get_acl(path: &str) -> Request {
    request(op::GET_ACL, |body| {
        body.string(path);
    })
}

pub fn sync(path: &str) -> Request {
    request(op::SYNC, |body| {
        body.string(path);
    })
}

/// Mode 0 is persistent, 1 persistent recursive.
pub fn add_watch(path: &str, mode: i32) -> Request {
    request(op::ADD_WATCH, |body| {
        body.string(path).int(mode);
    })
}

fn sequence(op: i32, parts: &[Request]) -> Request {
    request(op, |body| {
        for part in parts {
            body.int(part.op).boolean(false).int(-1).raw(&part.body);
        }
        body.int(-1).boolean(true).int(-1);
    })
}

pub fn multi(parts: &[Request]) -> Request {
    sequence(op::MULTI, parts)
}

/// Of getData and getChildren.
pub fn multi_read(parts: &[Request]) -> Request {
    sequence(op::MULTI_READ, parts)
}

/// A watch event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub zxid: i64,
    pub kind: i32,
    pub path: String,
}

/// What the laws need of a Stat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    pub mzxid: i64,
    pub version: i32,
    pub cversion: i32,
    pub num_children: i32,
    pub pzxid: i64,
}

/// Reads a reply's record.
pub struct Record<'a>(Decoder<'a>);

impl<'a> Record<'a> {
    pub fn of(body: &'a [u8]) -> Self {
        Record(Decoder::new(body))
    }

    pub fn int(&mut self) -> i32 {
        self.0.int("int").expect("an int")
    }

    pub fn text(&mut self) -> &'a str {
        let bytes = self.0.buffer("string").expect("a string").expect("no null");
        std::str::from_utf8(bytes).expect("UTF-8")
    }

    pub fn texts(&mut self) -> Vec<&'a str> {
        (0..self.int()).map(|_| self.text()).collect()
    }

    pub fn stat(&mut self) -> Stat {
        let long = |record: &mut Self| record.0.long("long").expect("a long");
        let _czxid = long(self);
        let mzxid = long(self);
        let (_ctime, _mtime) = (long(self), long(self));
        let (version, cversion, _aversion) = (self.int(), self.int(), self.int());
        let _ephemeral_owner = long(self);
        let (_data_length, num_children) = (self.int(), self.int());
        Stat { mzxid, version, cversion, num_children, pzxid: long(self) }
    }

    /// The header of a multi's next result: its operation and error; `None` behind the last.
    pub fn result(&mut self) -> Option<(i32, i32)> {
        let op = self.int();
        let done = self.0.boolean("done").expect("a boolean");
        let error = self.int();
        (!done).then_some((op, error))
    }
}

/// Data and Stat of a getData's reply.
pub fn data_of(reply: &Reply) -> (&str, Stat) {
    assert_eq!(reply.error, 0, "getData: {}", error_name(reply.error));
    let mut record = Record::of(&reply.body);
    (record.text(), record.stat())
}

/// One session, on one connection after the other.
pub struct Client {
    address: SocketAddr,
    wire: Wire,
    id: i64,
    password: Vec<u8>,
    next_xid: i32,
    /// Sent, not answered.
    due: VecDeque<i32>,
    /// The newest zxid of a reply.
    pub newest: i64,
    newest_event: i64,
    /// Events that came before the reply that was returned last.
    pub events: VecDeque<Event>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let Session { client, granted, .. } =
            Session::connect(address, &ConnectRequest::new_session(SESSION_TIMEOUT_MS)).expect("a session");
        Client {
            address,
            wire: client,
            id: granted.session_id,
            password: granted.password,
            next_xid: 1,
            due: VecDeque::new(),
            newest: 0,
            newest_event: 0,
            events: VecDeque::new(),
        }
    }

    /// Takes the session to a new connection; answers that are due are lost.
    pub fn reconnect(&mut self) {
        let request = ConnectRequest {
            last_zxid_seen: self.newest,
            session_id: self.id,
            password: self.password.clone(),
            ..ConnectRequest::new_session(SESSION_TIMEOUT_MS)
        };
        let Session { client, granted, .. } = Session::connect(self.address, &request).expect("renewed");
        assert_eq!(granted.session_id, self.id, "the session is renewed, not replaced");
        self.wire = client;
        self.due.clear();
    }

    /// Ends our direction of the connection, so that a reconnect does not move a live session.
    pub fn hang_up(&mut self) {
        self.wire.shut_write();
    }

    /// Sends requests in one piece.
    pub fn send(&mut self, requests: &[Request]) {
        let frames: Vec<Vec<u8>> = requests
            .iter()
            .map(|request| {
                let mut frame = Encoder::request(self.next_xid, request.op);
                self.due.push_back(self.next_xid);
                self.next_xid += 1;
                frame.raw(&request.body);
                frame.bytes
            })
            .collect();
        self.wire.send(&frames).expect("the server takes requests");
    }

    /// The next reply; events before it are in `events`.
    pub fn reply(&mut self) -> Reply {
        loop {
            if let Some(reply) = self.frame() {
                return reply;
            }
        }
    }

    /// One request and its reply.
    pub fn ask(&mut self, request: Request) -> Reply {
        self.send(&[request]);
        self.reply()
    }

    /// One request that must succeed.
    pub fn must(&mut self, request: Request) -> Reply {
        let op = request.op;
        let reply = self.ask(request);
        assert_eq!(reply.error, 0, "operation {op}: {}", error_name(reply.error));
        reply
    }

    /// The next event.
    pub fn event(&mut self) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            let reply = self.frame();
            assert_eq!(reply, None, "no reply is due");
        }
    }

    /// Requests that are not answered yet.
    pub fn due(&self) -> usize {
        self.due.len()
    }

    /// Takes one frame; an event goes to `events`.
    fn frame(&mut self) -> Option<Reply> {
        let frame = match self.wire.receive(PATIENCE) {
            Received::Frame(frame) => frame,
            other => panic!("{other:?} where {:?} are due", self.due.front()),
        };
        let reply = Reply::decode(&frame).expect("a reply header");
        if reply.xid == xid::NOTIFICATION {
            let mut record = Record::of(&reply.body);
            let (kind, _state, path) = (record.int(), record.int(), record.text().to_owned());
            let event = Event { zxid: reply.zxid, kind, path };
            assert!(event.zxid > self.newest, "{event:?} is behind a reply that reflects {}", self.newest);
            assert!(event.zxid >= self.newest_event, "{event:?} is behind an event of {}", self.newest_event);
            self.newest_event = event.zxid;
            self.events.push_back(event);
            return None;
        }
        assert_eq!(Some(reply.xid), self.due.pop_front(), "replies come in the order of the requests");
        assert!(reply.zxid >= self.newest, "the session went from {} back to {}", self.newest, reply.zxid);
        assert!(reply.zxid >= self.newest_event, "{} behind an event of {}", reply.zxid, self.newest_event);
        self.newest = reply.zxid;
        Some(reply)
    }
}

/// Sends `count` requests with at most `depth` unanswered, and hands each reply on with its number.
pub fn pipeline(
    client: &mut Client,
    count: usize,
    depth: usize,
    mut make: impl FnMut(usize) -> Request,
    mut take: impl FnMut(usize, Reply),
) {
    let (mut sent, mut answered) = (0, 0);
    while answered < count {
        let room = (depth - client.due()).min(count - sent);
        if room > 0 && (room >= depth / 2 || sent + room == count) {
            let batch: Vec<Request> = (sent..sent + room).map(&mut make).collect();
            client.send(&batch);
            sent += room;
        }
        take(answered, client.reply());
        answered += 1;
    }
}
