//! A client core: its connections, its watches, its view of the tree, and what it is about to ask
//! the replica. Everything here is synchronous; `tasks` moves the bytes.

use super::admission::Admission;
use super::commands::{self, First, Step, Word};
use super::connection::{Connection, Stage};
use super::frame::first_frame;
use super::handshake::{self, Handshake};
use super::spare::SpareBuffers;
use crate::clock::Clock;
use crate::mailbox::{Mail, Sender};
use crate::ring::{Stream, Wake};
use crate::stages::{Stage as Hop, Stamps};
use foldhash::fast::RandomState;
use ringkeeper_engine::auth;
use ringkeeper_engine::id::{Now, SessionId, Tick, Zxid};
use ringkeeper_engine::jute::records::RequestHeader;
use ringkeeper_engine::jute::{Read, Reader};
use ringkeeper_engine::limits::Settings;
use ringkeeper_engine::op::OpCode;
use ringkeeper_engine::stats::{ConnectionReport, CoreReport, Inquiry, Traffic};
use ringkeeper_engine::tree::TreeReader;
use ringkeeper_engine::tree::index::pin;
use ringkeeper_engine::tree::watch::Watches;
use ringkeeper_quorum::step::{ConnectionId, Emptied, Request, RequestBatch, Service};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, info, warn};

/// Output of one connection above which its requests wait: a client that does not read its answers
/// is not read either.
pub const OUTPUT_BYTES_MAX: usize = 4 << 20;
/// Events for one connection that it does not take, above which it is closed: they cannot wait for
/// room as requests do, and a client that comes back asks what it missed.
pub const EVENT_BYTES_MAX: usize = 64 << 20;
/// Requests of one connection that wait for their turn above which no more are read, in bytes.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// How long a connection that is to be closed may take to read its last answers, in milliseconds.
const LINGER_MS_MAX: u64 = 10_000;
/// Requests of one connection without an answer above which no more are read.
const OUTSTANDING_MAX: usize = 4096;
/// Bytes of requests for the replica above which no more are read, on this whole core.
const OUTGOING_BYTES_MAX: usize = 8 << 20;
/// An input that has more memory than this is not used again.
const SPARE_INPUT_BYTES_MAX: usize = 512 << 10;
/// How long a connection may take until it has a session, in milliseconds.
pub const HANDSHAKE_MS_MAX: u64 = 10_000;
/// How often connections are looked at that take too long, in milliseconds. It is a walk over all of them,
/// which is most of what many idle ones cost.
const SWEEP_MS: u64 = 1000;

/// What a core knows besides its connections.
pub struct CoreState {
    /// Its number.
    pub number: u16,
    /// Bounds and switches.
    pub settings: Arc<Settings>,
    /// Words that operators may ask, and what the answers say of the configuration.
    pub commands: Arc<commands::Commands>,
    /// Its half of the tree.
    pub tree: TreeReader,
    /// The newest transaction whose events it has delivered.
    pub horizon: Zxid,
    /// What is done for clients; operators are always served.
    pub service: Service,
    /// Its connections' watches.
    pub watches: Watches<u64>,
    /// Memory of an input that was used up, for the next one.
    pub spare_input: Vec<u8>,
    /// Of connections that have nothing to send.
    pub spare_outputs: SpareBuffers,
    /// What the replica is asked next.
    pub outgoing: RequestBatch,
    /// Wakes the task that sends it.
    pub flush: Wake,
    /// Connections whose first waiting request met something newer than the horizon.
    pub later: Vec<u64>,
    /// The time, read once a turn.
    pub now: Now,
    /// How long batches are at each stage here.
    pub stamps: Stamps,
    /// When the first request in `outgoing` came, in microseconds since the server's start.
    pub outgoing_us: u64,
    /// Frames and latencies of all connections, gone ones included.
    pub traffic: Traffic,
    /// Connections that gave a sign of life since the replica was last told.
    pub touched: Vec<u64>,
    /// Requests that the replica has and has not answered.
    pub in_flight: u32,
    /// Connections that have one of them.
    pub asking: u32,
    /// In-flight requests above which a connection is read only as long as it has fewer than an equal part of so
    /// many: this core's share of `globalOutstandingLimit`.
    pub in_flight_max: u32,
    /// Takes operators' questions past the requests, which may have to wait for the disk.
    pub inquiries: Sender<Request>,
}

/// See the module.
pub struct Core {
    /// Everything but the connections.
    pub state: CoreState,
    /// By number; numbers are never used again.
    pub connections: HashMap<u64, Connection, RandomState>,
    clock: Clock,
    next_sweep: Tick,
    next_number: u64,
    to_replica: Sender<Mail<RequestBatch>>,
    /// Batches that came back.
    pub(super) emptied: Emptied,
    /// Connections that a mail answered; kept for its memory.
    pub(super) freed: Vec<u64>,
    admission: Arc<Admission>,
    rejected: u64,
}

impl Core {
    /// A core without connections.
    pub fn new(
        state: CoreState,
        clock: Clock,
        to_replica: Sender<Mail<RequestBatch>>,
        admission: Arc<Admission>,
    ) -> Self {
        Core {
            state,
            connections: HashMap::default(),
            clock,
            next_sweep: Tick::default(),
            next_number: 0,
            to_replica,
            emptied: Emptied::default(),
            freed: Vec::new(),
            admission,
            rejected: 0,
        }
    }

    /// Reads the clock; once a turn is enough.
    pub fn begin_turn(&mut self) {
        self.state.now = self.clock.now();
    }

    /// See [`Clock::until_multiple`].
    pub fn until_multiple(&self, period_ms: u64) -> Duration {
        self.clock.until_multiple(period_ms)
    }

    /// A connection came; `None` if it is turned away.
    pub fn accept(&mut self, stream: Stream, peer: SocketAddr) -> Option<u64> {
        self.begin_turn();
        if let Err(why) = self.admission.enter(peer.ip()) {
            warn!(%peer, "connection refused: {why}");
            self.rejected += 1;
            return None;
        }
        let number = self.next_number;
        self.next_number += 1;
        let now = self.state.now;
        let connection = Connection {
            id: ConnectionId { core: self.state.number, number },
            peer,
            stream,
            writer: Wake::new(),
            reader: Wake::new(),
            stage: Stage::New,
            auth: auth::from_address(peer.ip()),
            input: Vec::new(),
            output: Vec::new(),
            output_us: 0,
            order: Default::default(),
            sent: Default::default(),
            reads_sent: 0,
            closing: false,
            closing_since: None,
            waiting_bytes: 0,
            touched: None,
            since: now.tick,
            established_ms: now.wall_ms,
            traffic: Traffic::default(),
            last: None,
        };
        self.connections.insert(number, connection);
        Some(number)
    }

    /// A connection's reading ended: forgets it. Its session lives on.
    pub fn remove(&mut self, number: u64) {
        let Some(connection) = self.connections.remove(&number) else { return };
        self.admission.leave(connection.peer.ip());
        self.state.watches.remove_connection(number);
        self.state.in_flight -= connection.sent.len() as u32;
        self.state.asking -= u32::from(!connection.sent.is_empty());
        if let Some(session) = connection.session() {
            debug!(%session, "gone");
            self.state.ask(Request::Gone { connection: connection.id, session });
        }
        connection.writer.wake();
    }

    /// Bytes came.
    pub fn on_bytes(&mut self, number: u64, bytes: &[u8]) {
        self.begin_turn();
        let Some(connection) = self.connections.get_mut(&number) else { return };
        if connection.closing {
            return;
        }
        let output_before = connection.output.len();
        // Once, not for each of the requests.
        let _reading = pin();
        if connection.input.is_empty() {
            let used = self.state.consume(connection, bytes);
            if !connection.closing && used < bytes.len() {
                connection.input = std::mem::take(&mut self.state.spare_input);
                connection.input.extend_from_slice(&bytes[used..]);
            }
        } else {
            connection.input.extend_from_slice(bytes);
            self.state.consume_input(connection);
        }
        if connection.output.len() > output_before {
            self.state.stamps.add(Hop::Read, self.state.now.us, self.state.stamps.now_us());
            if output_before == 0 {
                connection.output_us = self.state.now.us;
            }
        }
        if !connection.output.is_empty() {
            connection.writer.wake();
        }
    }

    /// Whether more of a connection's bytes can be taken; if not, its reader waits to be woken.
    pub fn may_read(&self, number: u64) -> bool {
        let Some(connection) = self.connections.get(&number) else { return true };
        connection.closing || self.state.has_room(connection)
    }

    /// A connection's output, of which the first answer was made at `since_us`, was written, and its memory is
    /// free: what waited for room in it goes on.
    pub fn on_drained(&mut self, number: u64, since_us: u64, written: Vec<u8>) {
        self.begin_turn();
        self.state.spare_outputs.take_back(written);
        // What is no answer to a request is not stamped.
        if since_us > 0 {
            self.state.stamps.add(Hop::Send, since_us, self.state.now.us);
        }
        if let Some(connection) = self.connections.get_mut(&number) {
            self.state.resume(connection);
        }
    }

    /// Sends the replica what gathered.
    pub fn flush(&mut self) {
        if self.state.outgoing.is_empty() {
            return;
        }
        let was_full = self.state.outgoing.bytes.len() >= OUTGOING_BYTES_MAX;
        let sent_us = self.state.stamps.now_us();
        let next = self.emptied.take();
        let batch = std::mem::replace(&mut self.state.outgoing, next);
        if let Err(mail) = self.to_replica.send(Mail { batch, sent_us }) {
            let next = std::mem::replace(&mut self.state.outgoing, mail.batch);
            self.emptied.keep(next);
            return;
        }
        self.state.stamps.add(Hop::Gather, self.state.outgoing_us, sent_us);
        if !was_full {
            return;
        }
        // Any reader may have stopped for that, also one whose connection kept no input.
        for connection in self.connections.values_mut() {
            self.state.resume(connection);
        }
    }

    /// Time passed: tells the replica who is alive, and now and then closes who never said who it is.
    pub fn on_tick(&mut self) {
        self.begin_turn();
        let now = self.state.now.tick;
        for number in std::mem::take(&mut self.state.touched) {
            let Some(connection) = self.connections.get_mut(&number) else { continue };
            if let (Some(session), Some(at)) = (connection.session(), connection.touched.take()) {
                self.state.ask(Request::Touch { session, at });
            }
        }
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now.plus_ms(SWEEP_MS);
        for connection in self.connections.values_mut() {
            let late = now.since(connection.since) > HANDSHAKE_MS_MAX;
            if late && connection.session().is_none() && !connection.closing {
                debug!(peer = %connection.peer, "closed: no session within {HANDSHAKE_MS_MAX} ms");
                connection.abort();
            }
            if connection.closing && now.since(*connection.closing_since.get_or_insert(now)) > LINGER_MS_MAX {
                connection.abort();
            }
        }
    }

    /// The server stops: every connection is closed.
    pub fn close_all(&mut self) {
        self.connections.values_mut().for_each(Connection::abort);
    }

    /// What is done for clients from here on. If it is nothing their connections end, and only operators stay.
    pub fn set_service(&mut self, service: Service) {
        self.state.service = service;
        if service == Service::Nothing {
            let clients =
                self.connections.values_mut().filter(|connection| !connection.is_answering_command());
            clients.for_each(Connection::abort);
        }
    }

    /// This core's part of a report, and what the inquiry has count anew after it.
    pub fn report(&mut self, inquiry: Inquiry) -> CoreReport {
        let report = CoreReport {
            connection_count: self.connections.len(),
            connections: match inquiry {
                Inquiry::Connections | Inquiry::Sessions => {
                    self.connections.values().map(|connection| self.describe(connection)).collect()
                }
                _ => Vec::new(),
            },
            outstanding: self.connections.values().map(|connection| connection.order.outstanding()).sum(),
            traffic: self.state.traffic,
            watch_count: self.state.watches.len(),
            watches: match inquiry {
                Inquiry::Watches => self.watches(),
                _ => Vec::new(),
            },
            rejected: self.rejected,
        };
        match inquiry {
            Inquiry::ResetServer => self.state.traffic = Traffic::default(),
            Inquiry::ResetConnections => self.connections.values_mut().for_each(|connection| {
                connection.traffic = Traffic::default();
                connection.last = None;
            }),
            _ => {}
        }
        report
    }

    fn watches(&self) -> Vec<(SessionId, Vec<String>)> {
        let session = |number: u64| self.connections.get(&number)?.session();
        let of = self.state.watches.by_connection();
        of.filter_map(|(number, paths)| Some((session(number)?, paths.map(str::to_owned).collect())))
            .collect()
    }

    fn describe(&self, connection: &Connection) -> ConnectionReport {
        let timeout_ms = match connection.stage {
            Stage::Open { timeout_ms, .. } => timeout_ms,
            _ => 0,
        };
        let reads = u8::from(!connection.closing && self.state.has_room(connection));
        let writes = u8::from(!connection.output.is_empty()) << 2;
        ConnectionReport {
            peer: connection.peer,
            session: connection.session(),
            timeout_ms,
            outstanding: connection.order.outstanding(),
            interest: reads | writes,
            traffic: connection.traffic,
            established_ms: connection.established_ms,
            last: connection.last,
        }
    }
}

impl CoreState {
    /// Adds to what the replica is asked.
    pub fn ask(&mut self, request: Request) {
        if self.outgoing.is_empty() {
            self.flush.wake();
            self.outgoing_us = self.now.us;
        }
        self.outgoing.items.push(request);
    }

    /// Asks the replica something that must be answered also when it takes no requests.
    pub fn inquire(&mut self, request: Request) {
        if let Err(request) = self.inquiries.send(request) {
            self.ask(request);
        }
    }

    fn has_room(&self, connection: &Connection) -> bool {
        self.outgoing.bytes.len() < OUTGOING_BYTES_MAX
            && connection.output.len() < OUTPUT_BYTES_MAX
            && connection.waiting_bytes < WAITING_BYTES_MAX
            && connection.order.outstanding() < OUTSTANDING_MAX
            && (self.in_flight <= self.in_flight_max || self.has_its_part_left(connection))
            && !matches!(connection.stage, Stage::Opening { .. } | Stage::Command(_))
    }

    /// Who comes while others have all that may be in flight is not kept from it: after one request at a time it
    /// would be some hundred times as slow as they are.
    fn has_its_part_left(&self, connection: &Connection) -> bool {
        connection.order.outstanding() < (self.in_flight_max / self.asking.max(1)).max(1) as usize
    }

    /// What stopped a connection may be over: serves what waits, takes what came, reads on.
    pub fn resume(&mut self, connection: &mut Connection) {
        self.serve_waiting(connection);
        if !connection.input.is_empty() {
            self.consume_input(connection);
        }
        connection.reader.wake();
        if !connection.output.is_empty() {
            connection.writer.wake();
        }
    }

    /// Takes frames off a connection's kept input.
    pub fn consume_input(&mut self, connection: &mut Connection) {
        let input = std::mem::take(&mut connection.input);
        let used = self.consume(connection, &input);
        let mut input = input;
        input.drain(..used);
        if !connection.closing && !input.is_empty() {
            connection.input = input;
        } else if input.capacity() <= SPARE_INPUT_BYTES_MAX {
            // Idle connections have none; large frames that come in parts would grow one each time.
            input.clear();
            self.spare_input = input;
        }
    }

    /// Takes whole frames off `bytes`; returns how many bytes they have.
    fn consume(&mut self, connection: &mut Connection, bytes: &[u8]) -> usize {
        let mut used = 0;
        while !connection.closing && self.has_room(connection) {
            let rest = &bytes[used..];
            if connection.stage == Stage::New {
                match self.commands.first(rest) {
                    First::Frame => {}
                    First::Partial => break,
                    First::Word(word) => {
                        self.command(connection, word);
                        return bytes.len();
                    }
                }
            }
            match first_frame(rest, self.settings.jute_max_buffer) {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    used += 4 + frame.len();
                    self.frame(connection, frame);
                }
                Err(error) => {
                    warn!(peer = %connection.peer, session = ?connection.session(), "closed: {error}");
                    connection.abort();
                }
            }
        }
        used
    }

    fn frame(&mut self, connection: &mut Connection, frame: &[u8]) {
        connection.traffic.received += 1;
        self.traffic.received += 1;
        match connection.stage {
            Stage::New => self.shake_hands(connection, frame),
            Stage::Open { session, .. } => {
                let mut reader = Reader::new(frame);
                match RequestHeader::read(&mut reader) {
                    Ok(header) => self.request(connection, session, header, reader.rest()),
                    Err(error) => {
                        warn!(peer = %connection.peer, %session, "closed: a request without a header: {error}");
                        connection.abort();
                    }
                }
            }
            Stage::Opening { .. } | Stage::Command(_) => {}
        }
    }

    fn shake_hands(&mut self, connection: &mut Connection, frame: &[u8]) {
        if self.service == Service::Nothing {
            debug!(peer = %connection.peer, "closed: no client is served now");
            connection.abort();
            return;
        }
        let shake = match Handshake::decode(frame, &self.settings) {
            Ok(shake) => shake,
            Err(error) => {
                warn!(peer = %connection.peer, "closed: the first frame is no handshake: {error}");
                connection.abort();
                return;
            }
        };
        if self.service == Service::ReadOnly && shake.read_only != Some(true) {
            info!(peer = %connection.peer, "closed: only reads are served, and the client wants more");
            connection.abort();
            return;
        }
        let creating_since = shake.renews.is_none().then_some(self.now.tick);
        connection.stage = Stage::Opening { knows_read_only: shake.read_only.is_some(), creating_since };
        let (id, timeout_ms, last_seen) = (connection.id, shake.timeout_ms, shake.last_seen);
        self.ask(match shake.renews {
            None => Request::Open { connection: id, timeout_ms, last_seen },
            Some((session, password)) => {
                Request::Reopen { connection: id, session, password, timeout_ms, last_seen }
            }
        });
    }

    fn command(&mut self, connection: &mut Connection, word: Word) {
        connection.stage = Stage::Command(word);
        connection.traffic.received += 1;
        self.traffic.received += 1;
        info!(peer = %connection.peer, "{word}");
        match self.commands.begin(word, self.service) {
            Step::Say(text) => self.say(connection, &text),
            Step::Inquire(inquiry) => self.inquire(Request::Report { connection: connection.id, inquiry }),
        }
    }

    /// Answers an operator, and closes the connection behind it.
    pub fn say(&mut self, connection: &mut Connection, text: &str) {
        if !text.is_empty() {
            connection.output.extend_from_slice(text.as_bytes());
            connection.traffic.sent += 1;
            self.traffic.sent += 1;
        }
        connection.close_after_output();
    }

    /// The replica gave the connection its session, or none. What the client sent meanwhile is
    /// served when the whole batch is delivered.
    pub fn opened(&mut self, connection: &mut Connection, session: Option<(SessionId, u32)>, zxid: Zxid) {
        let Stage::Opening { knows_read_only, creating_since } = connection.stage else { return };
        let read_only = knows_read_only.then_some(self.service == Service::ReadOnly);
        self.spare_outputs.lend(&mut connection.output);
        handshake::write_response(session, read_only, &mut connection.output);
        if let (Some(at), Some(_)) = (creating_since, session) {
            self.answered(connection, OpCode::CreateSession, 0, zxid, at);
        } else {
            connection.traffic.sent += 1;
            self.traffic.sent += 1;
        }
        match session {
            Some((session, timeout_ms)) => {
                debug!(peer = %connection.peer, %session, timeout_ms, "session open");
                connection.stage = Stage::Open { session, timeout_ms };
            }
            None => {
                info!(peer = %connection.peer, "no such session, probably expired");
                connection.close_after_output();
            }
        }
    }

    /// The session gave a sign of life.
    pub fn touch(&mut self, connection: &mut Connection) {
        if connection.touched.replace(self.now.tick).is_none() {
            self.touched.push(connection.id.number);
        }
    }

    /// Milliseconds since `at`.
    pub fn since(&self, at: Tick) -> u64 {
        self.now.tick.since(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::commands::{Commands, Facts};
    use crate::mailbox::{Receiver, mailbox};
    use crate::ring::{self, Listener};
    use crate::stages::Stages;
    use ringkeeper_engine::database::Database;
    use ringkeeper_engine::jute::Write;
    use std::net::{Ipv4Addr, TcpStream};

    fn core() -> (Core, Receiver<Mail<RequestBatch>>) {
        let settings = Arc::new(Settings::default());
        let clock = Clock::start();
        let stages = Arc::new(Stages::new(1, true));
        let (requests, replica) = mailbox(1, Wake::new(), Wake::new());
        let state = CoreState {
            number: 0,
            commands: Arc::new(Commands::new(Facts::default(), Arc::clone(&stages))),
            tree: Database::new(1).tree.reader(),
            horizon: Zxid::ZERO,
            service: Service::Full,
            watches: Watches::new(1),
            spare_input: Vec::new(),
            spare_outputs: SpareBuffers::default(),
            outgoing: RequestBatch::default(),
            flush: Wake::new(),
            later: Vec::new(),
            now: clock.now(),
            stamps: Stamps::of_core(&stages, 0, clock),
            outgoing_us: 0,
            traffic: Default::default(),
            touched: Vec::new(),
            in_flight: 0,
            asking: 0,
            in_flight_max: 1000,
            inquiries: mailbox(1, Wake::new(), Wake::new()).0,
            settings,
        };
        (Core::new(state, clock, requests, Arc::new(Admission::new(0, 0))), replica)
    }

    /// Connects a client that has a session already; returns its number and its end.
    async fn connect(core: &mut Core, listener: &Listener, address: SocketAddr) -> (u64, TcpStream) {
        let client = TcpStream::connect(address).unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let number = core.accept(stream, peer).unwrap();
        let session = SessionId(number as i64 + 1);
        core.connections.get_mut(&number).unwrap().stage = Stage::Open { session, timeout_ms: 10_000 };
        (number, client)
    }

    fn frame(xid: i32, op: OpCode, body: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        (8 + body.len() as i32).write(&mut frame);
        xid.write(&mut frame);
        op.code().write(&mut frame);
        frame.extend_from_slice(body);
        frame
    }

    fn is_woken(wake: &Wake) -> bool {
        let mut woken = std::pin::pin!(wake.woken());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        woken.as_mut().poll(&mut context).is_ready()
    }

    #[test]
    fn who_comes_while_others_have_all_that_may_be_in_flight_has_a_part_of_it() {
        let run = async {
            let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let address = socket.local_addr().unwrap();
            let listener = Listener::new(socket);
            let (mut core, _replica) = core();
            core.state.in_flight_max = 10;
            let writes: Vec<u8> = (0..100).flat_map(|xid| frame(xid, OpCode::SetData, &[0; 8])).collect();
            let mut ends = Vec::new();
            for in_flight in [11, 5, 3] {
                let (number, end) = connect(&mut core, &listener, address).await;
                ends.push(end);
                core.on_bytes(number, &writes);
                assert_eq!(core.connections[&number].sent.len(), in_flight);
            }
            assert_eq!((core.state.in_flight, core.state.asking), (19, 3));
            core.connections
                .keys()
                .copied()
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|number| core.remove(number));
            assert_eq!((core.state.in_flight, core.state.asking), (0, 0));
        };
        ring::run(Default::default(), run).unwrap();
    }

    #[test]
    fn who_waited_for_room_in_the_mailbox_goes_on_when_there_is() {
        let run = async {
            let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let address = socket.local_addr().unwrap();
            let listener = Listener::new(socket);
            let (mut core, replica) = core();
            let (writer, _writer_end) = connect(&mut core, &listener, address).await;
            let (idle, _idle_end) = connect(&mut core, &listener, address).await;
            let (reader, _reader_end) = connect(&mut core, &listener, address).await;
            let write = frame(1, OpCode::SetData, &vec![0; 1_000_000]);
            while core.may_read(idle) {
                core.on_bytes(writer, &write);
            }
            core.on_bytes(reader, &frame(-2, OpCode::Ping, &[]));
            let wakes = |core: &Core, number| {
                let connection = &core.connections[&number];
                (connection.reader.clone(), connection.writer.clone())
            };
            let (idle_reader, _) = wakes(&core, idle);
            let (_, reader_writer) = wakes(&core, reader);
            assert!(!is_woken(&idle_reader) && !is_woken(&reader_writer));
            core.flush();
            assert!(replica.receive().is_some());
            assert!(core.may_read(idle));
            assert!(is_woken(&idle_reader), "its reader sleeps with no input kept");
            assert!(!core.connections[&reader].output.is_empty());
            assert!(is_woken(&reader_writer), "its reply lies in the output");
        };
        ring::run(Default::default(), run).unwrap();
    }
}
