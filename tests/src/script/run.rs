//! Plays a script against a server and records every frame that comes back.
//!
//! Nothing is decoded here beyond what the next request needs (headers, a granted session, a
//! created path): the record holds frames as they came, and `transcript` reads them later.
//!
//! After each step every connection asks for a sync and reads up to its answer. What a step caused
//! anywhere is so recorded with that step, without a wait: a reply that reflects a transaction
//! comes after the session's events of that transaction, and a sync reflects all before it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Action, Connect, EVENTS, Event, Field, Request, Script, Seen, SessionChoice, Step, Text};
use crate::server::Server;
use crate::wire::{Client, ConnectRequest, ConnectResponse, Decoder, Encoder, Received, Reply, op, xid};

/// How long a reply may take on a busy machine.
const REPLY_MAX: Duration = Duration::from_secs(20);

/// How long an event may take that a timer causes (expiry, a container's removal).
const EVENT_MAX: Duration = Duration::from_secs(60);

/// The xid of the sync after each step, which no script uses.
const BARRIER_XID: i32 = 0x7fff_0000;

/// What happened on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// The answer to a handshake; `new` if it asked for a new session.
    Connected {
        /// Whether a new session was asked for.
        new: bool,
        /// As it came.
        frame: Vec<u8>,
    },
    /// The zxid right after a new session was made: its own, where nothing else is under way.
    SessionMade(i64),
    /// The reply to a request.
    Reply {
        /// The request's operation.
        op: i32,
        /// The request's xid.
        xid: i32,
        /// As it came.
        frame: Vec<u8>,
    },
    /// A watch event.
    Event(Vec<u8>),
    /// The server ended the connection.
    Closed,
    /// Nothing came where something was due.
    Silence,
    /// A frame on a connection without a handshake.
    Frame(Vec<u8>),
    /// The server was killed and came back.
    Restarted,
}

/// One observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The step's index in the script.
    pub step: usize,
    /// Whose it is.
    pub connection: String,
    /// What it is.
    pub item: Item,
}

/// A script's whole record.
#[derive(Clone, Debug)]
pub struct Run {
    /// In the order of observation.
    pub records: Vec<Record>,
    /// Wall clock in milliseconds when the run began and ended.
    pub span_ms: (i64, i64),
    /// Why the run ended early: the server did what the rest of the script cannot go on from.
    pub broken_off: Option<String>,
}

impl Run {
    /// Plays `script` against `server`, which was started with the script's options, to its end or
    /// to the first step that cannot be played: a connection is refused or gone, an answer is due
    /// and does not come.
    pub fn play(script: &Script, server: &mut Server) -> Run {
        let began = now_ms();
        let mut player = Player {
            server,
            connections: BTreeMap::new(),
            records: Vec::new(),
            step: 0,
            ending: None,
            broken_off: None,
        };
        for (index, step) in script.steps.iter().enumerate() {
            player.step = index;
            // What is sent over a connection that ends may come too late, but no sync asks for it.
            let mut next = script.steps[index + 1..].iter();
            player.ending = next
                .find(|next| !matches!(next.action, Action::Send(_) | Action::SendFrame(_)))
                .filter(|next| matches!(next.action, Action::Closed))
                .map(|next| next.connection.clone());
            let first = player.records.len();
            let broken = match player.play(step) {
                Err(e) => Some(e),
                Ok(()) if player.records[first..].iter().any(|r| r.item == Item::Silence) => {
                    Some("an answer never came".to_owned())
                }
                Ok(()) => None,
            };
            if let Some(why) = broken {
                player.broken_off = Some(format!("line {}: `{}`: {why}", step.line, step.text));
                break;
            }
        }
        Run { records: player.records, span_ms: (began, now_ms()), broken_off: player.broken_off }
    }
}

/// Wall clock in milliseconds.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A connection with a session, and what its client would remember.
#[derive(Debug)]
struct Connection {
    client: Option<Client>,
    handshaken: bool,
    session: Option<(i64, Vec<u8>)>,
    last_zxid: i64,
    next_xid: i32,
    created: Vec<u8>,
    /// Recorded events that no `expect` has taken.
    events: VecDeque<Vec<u8>>,
}

struct Player<'a> {
    server: &'a mut Server,
    connections: BTreeMap<String, Connection>,
    records: Vec<Record>,
    step: usize,
    /// The connection whose end the next step waits for.
    ending: Option<String>,
    broken_off: Option<String>,
}

impl Player<'_> {
    fn play(&mut self, step: &Step) -> Result<(), String> {
        let name = step.connection.as_str();
        match &step.action {
            Action::Connect(connect) => self.connect(name, connect)?,
            Action::Disconnect => {
                self.connection(name)?.client = None;
                return Ok(());
            }
            Action::Requests(requests) => self.requests(name, requests)?,
            Action::Close => {
                self.requests(name, &[Request { op: op::CLOSE_SESSION, xid: None, fields: Vec::new() }])?;
                self.closed(name)?;
            }
            Action::Expect(event) => self.expect(name, event)?,
            Action::Closed => self.closed(name)?,
            Action::Walk(path) => self.walk(name, path)?,
            Action::Open => {
                let client = Client::open(self.server.address()).map_err(|e| e.to_string())?;
                self.connections.insert(name.to_owned(), Connection::new(client));
                return Ok(());
            }
            Action::Send(bytes) => {
                // A server that has closed already shows in what is received next.
                let _ = self.client(name)?.send_raw(bytes);
                return Ok(());
            }
            Action::SendFrame(bytes) => {
                let _ = self.client(name)?.send(std::slice::from_ref(bytes));
                return Ok(());
            }
            Action::Receive => match self.client(name)?.receive(REPLY_MAX) {
                Received::Frame(frame) => self.record(name, Item::Frame(frame)),
                Received::Closed => self.lost(name)?,
                Received::Silence => self.record(name, Item::Silence),
            },
            Action::Restart => {
                self.connections.values_mut().for_each(|c| c.client = None);
                self.server.restart().map_err(|e| e.to_string())?;
                self.record("", Item::Restarted);
            }
        }
        self.barrier()
    }

    fn record(&mut self, connection: &str, item: Item) {
        self.records.push(Record { step: self.step, connection: connection.to_owned(), item });
    }

    fn connection(&mut self, name: &str) -> Result<&mut Connection, String> {
        self.connections.get_mut(name).ok_or_else(|| format!("there is no connection {name}"))
    }

    fn client(&mut self, name: &str) -> Result<&mut Client, String> {
        self.connection(name)?.client.as_mut().ok_or_else(|| format!("{name} is not connected"))
    }

    /// The server ended this connection.
    fn lost(&mut self, name: &str) -> Result<(), String> {
        self.connection(name)?.client = None;
        self.record(name, Item::Closed);
        Ok(())
    }

    fn connect(&mut self, name: &str, connect: &Connect) -> Result<(), String> {
        let mut request = ConnectRequest::new_session(connect.timeout_ms);
        request.read_only = connect.read_only;
        if let Some(choice) = &connect.session {
            (request.session_id, request.password) = match choice {
                SessionChoice::Number(number) => (*number, vec![0; 16]),
                SessionChoice::Of(other) => self
                    .connection(other)?
                    .session
                    .clone()
                    .ok_or_else(|| format!("{other} has no session"))?,
            };
        }
        if let Some(password) = &connect.password {
            request.password.clone_from(password);
        }
        let known = self.connections.get(name).map_or(0, |c| c.last_zxid);
        request.last_zxid_seen = match (connect.seen, &connect.session) {
            (Seen::Number(number), _) => number,
            (Seen::Last, Some(SessionChoice::Of(other))) => self.connection(other)?.last_zxid,
            (Seen::Last, _) => known,
        };
        let mut client = Client::open(self.server.address()).map_err(|e| e.to_string())?;
        let sent = client.send(&[request.encode()]);
        let answer = if sent.is_ok() { client.receive(REPLY_MAX) } else { Received::Closed };
        let connection =
            self.connections.entry(name.to_owned()).or_insert_with(|| Connection::new_detached(known));
        connection.client = Some(client);
        connection.handshaken = false;
        connection.events.clear();
        match answer {
            Received::Closed => self.lost(name),
            Received::Silence => {
                self.record(name, Item::Silence);
                Ok(())
            }
            Received::Frame(frame) => {
                let granted = ConnectResponse::decode(&mut Decoder::new(&frame));
                let new = connect.session.is_none();
                self.record(name, Item::Connected { new, frame });
                match granted {
                    Ok(granted) if granted.timeout_ms > 0 => {
                        let connection = self.connection(name)?;
                        connection.handshaken = true;
                        connection.session = Some((granted.session_id, granted.password));
                        if new { self.learn_session_zxid(name) } else { Ok(()) }
                    }
                    // Refused: the server closes.
                    _ => self.closed(name),
                }
            }
        }
    }

    /// Pings, since no handshake says which transaction made the session.
    fn learn_session_zxid(&mut self, name: &str) -> Result<(), String> {
        let ping = Encoder::request(xid::PING, op::PING).bytes;
        let client = self.client(name)?;
        let sent = client.send(&[ping]);
        match if sent.is_ok() { client.receive(REPLY_MAX) } else { Received::Closed } {
            Received::Frame(frame) => match Reply::decode(&frame) {
                Ok(reply) => {
                    self.record(name, Item::SessionMade(reply.zxid));
                    Ok(())
                }
                Err(e) => Err(format!("ping: no {} at {}", e.what, e.at)),
            },
            Received::Closed => self.lost(name),
            Received::Silence => {
                self.record(name, Item::Silence);
                Ok(())
            }
        }
    }

    fn requests(&mut self, name: &str, requests: &[Request]) -> Result<(), String> {
        let mut due = VecDeque::new();
        let mut frames = Vec::new();
        for request in requests {
            let xid = match request.xid {
                Some(xid) => xid,
                None => {
                    let connection = self.connection(name)?;
                    connection.next_xid += 1;
                    connection.next_xid
                }
            };
            frames.push(self.encode(name, xid, request)?);
            due.push_back((request.op, xid));
        }
        if self.client(name)?.send(&frames).is_err() {
            return self.lost(name);
        }
        self.replies(name, due)
    }

    /// Reads until every due reply is there.
    fn replies(&mut self, name: &str, mut due: VecDeque<(i32, i32)>) -> Result<(), String> {
        while let Some(&(op, xid)) = due.front() {
            match self.client(name)?.receive(REPLY_MAX) {
                Received::Frame(frame) if is_event(&frame) => self.event(name, frame)?,
                Received::Frame(frame) => {
                    due.pop_front();
                    self.remember(name, op, &frame)?;
                    self.record(name, Item::Reply { op, xid, frame });
                }
                Received::Closed => return self.lost(name),
                Received::Silence => {
                    self.record(name, Item::Silence);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn event(&mut self, name: &str, frame: Vec<u8>) -> Result<(), String> {
        self.connection(name)?.events.push_back(frame.clone());
        self.record(name, Item::Event(frame));
        Ok(())
    }

    /// What a client keeps of a reply.
    fn remember(&mut self, name: &str, op: i32, frame: &[u8]) -> Result<(), String> {
        let Ok(reply) = Reply::decode(frame) else { return Ok(()) };
        let connection = self.connection(name)?;
        if reply.zxid > 0 {
            connection.last_zxid = reply.zxid;
        }
        let creates = [op::CREATE, op::CREATE2, op::CREATE_CONTAINER, op::CREATE_TTL];
        if reply.error == 0
            && creates.contains(&op)
            && let Ok(Some(path)) = Decoder::new(&reply.body).buffer("path")
        {
            connection.created = path.to_vec();
        }
        Ok(())
    }

    fn encode(&self, name: &str, xid: i32, request: &Request) -> Result<Vec<u8>, String> {
        let mut encoder = Encoder::request(xid, request.op);
        for field in &request.fields {
            match field {
                Field::Int(value) => encoder.int(*value),
                Field::Long(value) => encoder.long(*value),
                Field::Boolean(value) => encoder.boolean(*value),
                Field::Raw(bytes) => encoder.raw(bytes),
                Field::Text(text) => encoder.buffer(self.resolve(text)?.as_deref()),
                Field::Zxid(Seen::Number(zxid)) => encoder.long(*zxid),
                Field::Zxid(Seen::Last) => {
                    encoder.long(self.connections.get(name).map_or(0, |c| c.last_zxid))
                }
            };
        }
        Ok(encoder.bytes)
    }

    fn resolve(&self, text: &Text) -> Result<Option<Vec<u8>>, String> {
        let Some(creator) = &text.created_by else { return Ok(text.bytes.clone()) };
        let connection =
            self.connections.get(creator).ok_or_else(|| format!("there is no connection {creator}"))?;
        let mut path = connection.created.clone();
        path.extend_from_slice(text.bytes.as_deref().unwrap_or_default());
        Ok(Some(path))
    }

    fn expect(&mut self, name: &str, event: &Event) -> Result<(), String> {
        let path = self.resolve(&event.path)?;
        loop {
            let wanted = Some((event.kind, path.clone()));
            let events = &mut self.connection(name)?.events;
            if let Some(at) = events.iter().position(|frame| event_of(frame) == wanted) {
                events.remove(at);
                return Ok(());
            }
            match self.client(name)?.receive(EVENT_MAX) {
                Received::Frame(frame) if is_event(&frame) => self.event(name, frame)?,
                Received::Frame(frame) => return Err(format!("a frame that nobody asked for: {frame:02x?}")),
                Received::Closed => return self.lost(name),
                Received::Silence => {
                    let kind = EVENTS.iter().find(|(_, n)| *n == event.kind).map_or("?", |(n, _)| n);
                    let path = String::from_utf8_lossy(path.as_deref().unwrap_or_default()).into_owned();
                    eprintln!("{name} never got {kind} {path}");
                    self.record(name, Item::Silence);
                    return Ok(());
                }
            }
        }
    }

    /// Waits for the end of the connection, unless it is over already.
    fn closed(&mut self, name: &str) -> Result<(), String> {
        while self.connection(name)?.client.is_some() {
            match self.client(name)?.receive(EVENT_MAX) {
                Received::Frame(frame) if is_event(&frame) => self.event(name, frame)?,
                Received::Frame(frame) => self.record(name, Item::Frame(frame)),
                Received::Closed => self.lost(name)?,
                Received::Silence => {
                    self.record(name, Item::Silence);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Reads children, data and ACL of every node, parents first, siblings by name.
    fn walk(&mut self, name: &str, root: &[u8]) -> Result<(), String> {
        let mut left = vec![root.to_vec()];
        while let Some(path) = left.pop() {
            let request = |op, watch: bool| {
                let path = Field::Text(Text { created_by: None, bytes: Some(path.clone()) });
                let mut fields = vec![path];
                if watch {
                    fields.push(Field::Boolean(false));
                }
                Request { op, xid: None, fields }
            };
            let first = self.records.len();
            self.requests(
                name,
                &[request(op::GET_CHILDREN2, true), request(op::GET_DATA, true), request(op::GET_ACL, false)],
            )?;
            let mut children =
                self.records[first..].iter().find_map(|r| children_of(&r.item)).unwrap_or_default();
            children.sort();
            for child in children.into_iter().rev() {
                let mut next = if path == b"/" { Vec::new() } else { path.clone() };
                next.push(b'/');
                next.extend_from_slice(&child);
                left.push(next);
            }
        }
        Ok(())
    }

    /// Brings every connection up to this step, but one that the server is about to end: whether
    /// that still answers is left to chance.
    fn barrier(&mut self) -> Result<(), String> {
        let mut sync = Encoder::request(BARRIER_XID, op::SYNC);
        sync.string("/");
        let names: Vec<String> = self
            .connections
            .iter()
            .filter(|(name, c)| c.handshaken && c.client.is_some() && self.ending.as_ref() != Some(name))
            .map(|(name, _)| name.clone())
            .collect();
        let mut asked = Vec::new();
        for name in names {
            // A connection that cannot be written to may still hold events to read.
            let _ = self.client(&name)?.send(std::slice::from_ref(&sync.bytes));
            asked.push(name);
        }
        for name in asked {
            loop {
                match self.client(&name)?.receive(REPLY_MAX) {
                    Received::Frame(frame) if is_event(&frame) => self.event(&name, frame)?,
                    Received::Frame(frame) => match Reply::decode(&frame) {
                        Ok(reply) if reply.xid == BARRIER_XID => break,
                        _ => self.record(&name, Item::Frame(frame)),
                    },
                    Received::Closed => {
                        self.lost(&name)?;
                        break;
                    }
                    Received::Silence => {
                        self.record(&name, Item::Silence);
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Connection {
    fn new(client: Client) -> Self {
        Connection { client: Some(client), ..Connection::new_detached(0) }
    }

    fn new_detached(last_zxid: i64) -> Self {
        Connection {
            client: None,
            handshaken: false,
            session: None,
            last_zxid,
            next_xid: 0,
            created: Vec::new(),
            events: VecDeque::new(),
        }
    }
}

fn is_event(frame: &[u8]) -> bool {
    Reply::decode(frame).is_ok_and(|reply| reply.xid == xid::NOTIFICATION)
}

fn event_of(frame: &[u8]) -> Option<(i32, Option<Vec<u8>>)> {
    let reply = Reply::decode(frame).ok()?;
    let mut decoder = Decoder::new(&reply.body);
    let kind = decoder.int("type").ok()?;
    decoder.int("state").ok()?;
    Some((kind, decoder.buffer("path").ok()?.map(<[u8]>::to_vec)))
}

fn children_of(item: &Item) -> Option<Vec<Vec<u8>>> {
    let Item::Reply { op: op::GET_CHILDREN2, frame, .. } = item else { return None };
    let reply = Reply::decode(frame).ok().filter(|reply| reply.error == 0)?;
    let mut decoder = Decoder::new(&reply.body);
    let count = decoder.int("count").ok()?;
    (0..count).map(|_| decoder.buffer("child").ok().map(|c| c.unwrap_or_default().to_vec())).collect()
}
