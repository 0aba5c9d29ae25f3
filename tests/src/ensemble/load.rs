//! Clients that write under failures, one write at a time each, and record what was acknowledged.
//!
//! A client wanders as ZooKeeper's do: a server that it cannot reach, that closes, or that is silent for two
//! thirds of the session's timeout is left for the next of the list, where the session is renewed with the
//! newest zxid that it has seen. Like the C client it tries the next server at once and rests after a whole
//! round. A write whose outcome it does not know it sends again; all writes here can bear that.
//!
//! Below the load's own root, client S writes below `S` and holds the ephemeral node `alive-S`. Its writes are
//! numbered, and the number says what each does, see [`Write::of`].

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::body;
use crate::wire::{ConnectRequest, Decoder, Reply, Session, error_name, op};

/// Rest after a round in which no server took the session.
const ROUND_PAUSE_MS: std::ops::Range<u64> = 10..60;

/// After so long without any server that takes it a client gives up: one that has seen what no server has is
/// refused by all, and would come back for ever.
const UNREACHED_MAX: Duration = Duration::from_secs(30);

/// How long the load may take to go on, or to come to rest: longer than a client may be without a server.
const GO_ON_MAX: Duration = Duration::from_secs(60);

const EPHEMERAL: i32 = 1;
const SEQUENTIAL: i32 = 2;

const NO_NODE: i32 = -101;
const SESSION_EXPIRED: i32 = -112;
const NODE_EXISTS: i32 = -110;
const SESSION_MOVED: i32 = -118;

/// How much is written, and by whom.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Sessions, one write in flight each.
    pub sessions: u32,
    /// Writes a second of all together.
    pub writes_per_second: u32,
    /// The session timeout that is asked for.
    pub timeout_ms: i32,
}

impl Default for Rate {
    fn default() -> Self {
        Rate { sessions: 20, writes_per_second: 400, timeout_ms: 8_000 }
    }
}

/// What a write of a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Creates the node of its number.
    Create,
    /// Sets the session's node to its number.
    Set,
    /// Both, in one multi.
    Both,
    /// Deletes the node of this number.
    Delete(u32),
}

impl Write {
    /// The write of this number.
    pub fn of(number: u32) -> Self {
        match number % 16 {
            15 => Write::Delete(number - 8),
            3 | 11 => Write::Both,
            1 | 5 | 9 | 13 => Write::Set,
            _ => Write::Create,
        }
    }
}

/// A write that a server has acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Acked {
    /// When the reply came.
    pub at: Instant,
    /// Its number in the session.
    pub number: u32,
    /// The zxid of the reply.
    pub zxid: i64,
    /// Whether it was sent once: then the zxid of its transaction is not above that of the reply, and
    /// above that of the reply before.
    pub once: bool,
}

/// What a session has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Its id.
    pub session: i64,
    /// What was acknowledged, in order.
    pub acked: Vec<Acked>,
    /// How often it went to another connection.
    pub reconnects: u32,
    /// What must not happen: the session was lost, or a server gave an answer that no failure explains.
    pub faults: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Writing,
    Idle,
    Ending,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    acked: u64,
    /// Clients that hold a session and have no write in hand.
    resting: u32,
    /// Clients that have come to their end.
    ended: u32,
}

#[derive(Debug)]
struct Board {
    state: Mutex<State>,
    changed: Condvar,
}

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    fn wait(&self, what: &str, patience: Duration, holds: impl Fn(&State) -> bool) {
        let waited = self.changed.wait_timeout_while(self.state(), patience, |state| !holds(state));
        let (state, timeout) = waited.expect("no holder panics");
        let now = format!("{state:?}");
        drop(state);
        assert!(!timeout.timed_out(), "the load never {what}: {now}");
    }

    /// Waits for another phase until then; returns the phase.
    fn rest_until(&self, then: Instant, phase: Phase) -> Phase {
        let patience = then.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout_while(self.state(), patience, |state| state.phase == phase);
        waited.expect("no holder panics").0.phase
    }
}

/// A load that runs. Dropped, it ends without a check.
#[derive(Debug)]
pub struct Load {
    /// All its nodes are below this one.
    pub root: String,
    board: Arc<Board>,
    rate: Rate,
    seen: Vec<Arc<Mutex<Seen>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Begins all sessions on these servers and starts to write.
    ///
    /// # Panics
    /// The first server takes no session.
    pub fn start(servers: &[SocketAddr], rate: Rate) -> Self {
        let mut first = Session::begin(servers[0], rate.timeout_ms);
        let created = first.ask(op::CREATE, &body::create("/load-", b"", SEQUENTIAL));
        let root = Decoder::new(&created.body).buffer("path").expect("a path").unwrap_or_default().to_vec();
        let root = String::from_utf8(root).expect("a path");
        // The session has done its part; it expires if the server does not close it.
        let _ = first.request(op::CLOSE_SESSION, &[]);
        let state = State { phase: Phase::Writing, acked: 0, resting: 0, ended: 0 };
        let board = Arc::new(Board { state: Mutex::new(state), changed: Condvar::new() });
        let mut load = Load { root, board, rate, seen: Vec::new(), threads: Vec::new() };
        for number in 0..rate.sessions {
            let seen = Arc::default();
            let client = Client {
                number,
                home: format!("{}/{number}", load.root),
                alive: format!("{}/alive-{number}", load.root),
                servers: servers.to_vec(),
                next: number as usize,
                request: ConnectRequest::new_session(rate.timeout_ms),
                session: None,
                board: Arc::clone(&load.board),
                seen: Arc::clone(&seen),
                period: Duration::from_secs(1) * rate.sessions / rate.writes_per_second.max(1),
                timeout: Duration::from_millis(u64::from(rate.timeout_ms.unsigned_abs())),
            };
            load.seen.push(seen);
            load.threads.push(thread::spawn(move || client.run()));
        }
        load.await_more(u64::from(rate.sessions));
        load
    }

    /// Writes acknowledged so far.
    pub fn acked(&self) -> u64 {
        self.board.state().acked
    }

    /// Waits until so many more writes have been acknowledged.
    ///
    /// # Panics
    /// They are not within a minute.
    pub fn await_more(&self, writes: u64) {
        let goal = self.acked() + writes;
        self.board.wait("goes on", GO_ON_MAX, |state| state.acked >= goal);
    }

    /// Lets every session finish the write that it has in hand; the sessions stay, connected.
    ///
    /// # Panics
    /// They do not come to rest within a minute.
    pub fn rest(&self) {
        self.board.change(|state| state.phase = Phase::Idle);
        let all = self.rate.sessions;
        let rest = |state: &State| state.resting + state.ended == all;
        self.board.wait("comes to rest", GO_ON_MAX, rest);
    }

    /// What each session has seen.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.iter().map(|seen| seen.lock().expect("no holder panics").clone()).collect()
    }

    /// Closes all sessions.
    ///
    /// # Panics
    /// One of the clients has panicked.
    pub fn close(mut self) {
        self.board.change(|state| state.phase = Phase::Ending);
        for thread in self.threads.drain(..) {
            thread.join().expect("a client of the load does not panic");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.board.change(|state| state.phase = Phase::Ending);
    }
}

/// The longest time without an acknowledged write, of those between two moments; the moments count as writes.
pub fn longest_gap(seen: &[Seen], from: Instant, to: Instant) -> Duration {
    let mut moments: Vec<Instant> = seen.iter().flat_map(|s| s.acked.iter().map(|acked| acked.at)).collect();
    moments.retain(|at| (from..=to).contains(at));
    moments.extend([from, to]);
    moments.sort_unstable();
    moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// Why a client stops.
enum End {
    /// It was told to.
    Told,
    /// It has nothing to go on with.
    Fault(String),
}

struct Client {
    number: u32,
    home: String,
    alive: String,
    servers: Vec<SocketAddr>,
    next: usize,
    request: ConnectRequest,
    session: Option<Session>,
    board: Arc<Board>,
    seen: Arc<Mutex<Seen>>,
    period: Duration,
    timeout: Duration,
}

impl Client {
    fn run(mut self) {
        if let Err(End::Fault(fault)) = self.work() {
            let number = self.number;
            self.seen.lock().expect("no holder panics").faults.push(format!("client {number}: {fault}"));
        }
        if let Some(mut session) = self.session.take() {
            // A server that is gone expires the session by itself.
            let _ = session.request(op::CLOSE_SESSION, &[]);
        }
        self.board.change(|state| state.ended += 1);
    }

    fn work(&mut self) -> Result<(), End> {
        let (home, alive) = (self.home.clone(), self.alive.clone());
        self.until_done(op::CREATE, &body::create(&home, b"", 0), NODE_EXISTS)?;
        self.until_done(op::CREATE, &body::create(&alive, b"", EPHEMERAL), NODE_EXISTS)?;
        let mut due = Instant::now();
        for number in 0.. {
            let (op, body, done) = request(&home, number);
            let (reply, once) = self.until_done(op, &body, done)?;
            let acked = Acked { at: Instant::now(), number, zxid: reply.zxid, once };
            self.seen.lock().expect("no holder panics").acked.push(acked);
            self.board.change(|state| state.acked += 1);
            due = (due + self.period).max(Instant::now());
            if self.board.rest_until(due, Phase::Writing) != Phase::Writing {
                break;
            }
        }
        self.board.change(|state| state.resting += 1);
        let told = self.keep_alive();
        self.board.change(|state| state.resting -= 1);
        told
    }

    /// Pings until the end.
    fn keep_alive(&mut self) -> Result<(), End> {
        while self.board.rest_until(Instant::now() + self.timeout / 6, Phase::Idle) == Phase::Idle {
            self.until_done(op::PING, &[], 0)?;
        }
        Ok(())
    }

    /// Sends a request, and again over another connection until a server has answered it. Of one that is
    /// sent again the error `done` says that it has been done. Also says whether it was sent once.
    fn until_done(&mut self, op: i32, body: &[u8], done: i32) -> Result<(Reply, bool), End> {
        let mut once = true;
        loop {
            let session = self.connected()?;
            let fault = match session.request(op, body) {
                Ok(reply) => match result(op, &reply) {
                    0 => return self.answered(reply, once),
                    code if code == done && !once => return self.answered(reply, once),
                    // The session is elsewhere: what is left of an earlier try to connect.
                    SESSION_MOVED => None,
                    SESSION_EXPIRED => Some("its session has expired".to_owned()),
                    _ => Some(self.refused(op, body, &reply, once)),
                },
                Err(_) => None,
            };
            if let Some(fault) = fault {
                return Err(End::Fault(fault));
            }
            self.session = None;
            once = false;
        }
    }

    /// What an error says to which request, and where it stands among what the client has seen.
    fn refused(&self, op: i32, body: &[u8], reply: &Reply, once: bool) -> String {
        format!(
            "operation {op} \"{}\": {} in a reply of {:#x} after one of {:#x}, from {}, {}",
            body.escape_ascii(),
            error_name(result(op, reply)),
            reply.zxid,
            self.request.last_zxid_seen,
            self.servers[(self.next - 1) % self.servers.len()],
            if once { "sent once" } else { "sent again" },
        )
    }

    fn answered(&mut self, reply: Reply, once: bool) -> Result<(Reply, bool), End> {
        if reply.zxid < self.request.last_zxid_seen {
            let before = self.request.last_zxid_seen;
            return Err(End::Fault(format!("a reply of {:#x} after one of {before:#x}", reply.zxid)));
        }
        self.request.last_zxid_seen = reply.zxid;
        Ok((reply, once))
    }

    fn connected(&mut self) -> Result<&mut Session, End> {
        let (mut tries, begun) = (0, Instant::now());
        while self.session.is_none() {
            if begun.elapsed() > UNREACHED_MAX {
                return Err(End::Fault(format!("no server takes it for {UNREACHED_MAX:?}")));
            }
            if self.board.state().phase == Phase::Ending {
                return Err(End::Told);
            }
            let server = self.servers[self.next % self.servers.len()];
            self.next += 1;
            match self.connect(server) {
                Ok(session) => self.session = Some(session),
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    return Err(End::Fault(format!("its session is lost, says {server}")));
                }
                Err(_) => tries += 1,
            }
            if tries == self.servers.len() {
                tries = 0;
                let pause = Duration::from_millis(fastrand::u64(ROUND_PAUSE_MS));
                thread::sleep(pause);
            }
        }
        Ok(self.session.as_mut().expect("it was connected just now"))
    }

    fn connect(&mut self, server: SocketAddr) -> io::Result<Session> {
        let share = self.timeout / u32::try_from(self.servers.len()).expect("an ensemble is small");
        let mut session = Session::connect_within(server, &self.request, share)?;
        session.set_patience(self.timeout * 2 / 3);
        let last_zxid_seen = self.request.last_zxid_seen;
        self.request = ConnectRequest { last_zxid_seen, ..session.renewal() };
        let mut seen = self.seen.lock().expect("no holder panics");
        seen.reconnects += u32::from(seen.session != 0);
        seen.session = session.granted.session_id;
        Ok(session)
    }
}

/// A numbered write: its operation, its record, and the error that a second try gets if the first was done.
fn request(home: &str, number: u32) -> (i32, Vec<u8>, i32) {
    let text = number.to_string();
    let own = format!("{home}/{number}");
    let create = body::create(&own, text.as_bytes(), 0);
    let set = body::set_data(home, text.as_bytes());
    match Write::of(number) {
        Write::Create => (op::CREATE, create, NODE_EXISTS),
        Write::Set => (op::SET_DATA, set, 0),
        Write::Both => {
            (op::MULTI, body::multi([(op::CREATE, &create[..]), (op::SET_DATA, &set[..])]), NODE_EXISTS)
        }
        Write::Delete(other) => (op::DELETE, body::delete(&format!("{home}/{other}")), NO_NODE),
    }
}

/// The error of a reply; of a multi, that of its first operation, where the errors of others come from.
fn result(op: i32, reply: &Reply) -> i32 {
    if op != op::MULTI || reply.error != 0 {
        return reply.error;
    }
    let mut decoder = Decoder::new(&reply.body);
    let header = (decoder.int("type"), decoder.boolean("done"), decoder.int("err"));
    match header {
        (Ok(op::ERROR), Ok(_), Ok(_)) => decoder.int("err").unwrap_or(op::ERROR),
        (Ok(_), Ok(_), Ok(_)) => 0,
        _ => op::ERROR,
    }
}
