//! The event loop: one thread, epoll, every client's requests written and replies read in batches.
//! What is asked, and what becomes of the answers, is a [`Load`]'s matter.

use crate::client::{Client, Pending, Received};
use crate::failure::Failure;
use ringkeeper_engine::jute::records::ReplyHeader;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{Timespec, epoll::Event};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Bytes read at a time; small enough to stay in a core's cache.
const READ_BYTES: usize = 64 * 1024;
/// Bytes of requests from which on they are written; as [`READ_BYTES`].
const WRITE_BYTES: usize = 64 * 1024;
/// Handshakes at a time where nobody says how many: less than a server's listening socket keeps (50 with
/// Java's default).
pub const HANDSHAKES_MAX: usize = 32;
/// How long no handshake at all may be answered.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// A moment so near is not slept for: setting a timer takes a virtual machine's processor some 8 µs, more than
/// all else that an open loop's request costs here.
const LOOK_MAX_NS: u64 = 20_000;
/// How long requests may be in flight with no reply at all.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Decides what the clients ask.
pub trait Load {
    /// Called before each wait. Appends the clients that have something new to ask to `due`.
    /// Returns when it wants to be called next even if no reply comes, in nanoseconds of the
    /// generator's clock.
    ///
    /// # Errors
    /// The run cannot go on.
    fn tick(&mut self, now_ns: u64, due: &mut Vec<usize>) -> Result<Option<u64>, Failure>;

    /// The next request of `client`, of which `depth` are in flight; `None` until a reply or `due`
    /// makes the generator ask again. It is given to `Client::push`.
    fn request(&mut self, client: usize, now_ns: u64, to: &mut Client) -> bool;

    /// A request was answered.
    fn reply(&mut self, pending: Pending, reply: ReplyHeader, now_ns: u64);

    /// The generator looked for replies for so long where it could have slept.
    fn looked(&mut self, _ns: u64) {}

    /// A watch of `client` fired.
    fn event(&mut self, _client: usize, _now_ns: u64) {}

    /// Whether nothing more will be asked. The generator then waits for what is in flight.
    fn is_over(&self) -> bool;
}

/// All clients of a run.
pub struct Generator {
    epoll: OwnedFd,
    clients: Vec<Client>,
    /// Clients whose socket was full: their readiness to write is waited for.
    blocked: Vec<bool>,
    depth_max: usize,
    base: Instant,
    read: Vec<u8>,
    events: Vec<Event>,
}

impl Generator {
    /// Opens `count` sessions, spread over the servers, each with at most `depth_max` requests in flight.
    ///
    /// # Errors
    /// The server cannot be reached or refuses a session.
    pub fn open(servers: &[SocketAddr], count: usize, depth_max: usize) -> Result<Generator, Failure> {
        Generator::open_within(servers, count, depth_max, HANDSHAKES_MAX)
    }

    /// The same with at most `window` handshakes at a time, of which none waits for another.
    ///
    /// # Errors
    /// As [`Generator::open`]; also a server that answers no handshake for 10 s.
    pub fn open_within(
        servers: &[SocketAddr],
        count: usize,
        depth_max: usize,
        window: usize,
    ) -> Result<Generator, Failure> {
        // Sleeping until a request's intended start is otherwise late by the default slack of 50 µs.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))
            .map_err(|error| Failure::system("setting the timer slack", error))?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|error| Failure::system("opening an epoll", error))?;
        let mut generator = Generator {
            epoll,
            blocked: vec![false; count],
            events: Vec::with_capacity(count),
            clients: Vec::with_capacity(count),
            depth_max,
            base: Instant::now(),
            read: vec![0; READ_BYTES],
        };
        let mut opened = 0;
        while opened < count {
            while generator.clients.len() < count.min(opened + window) {
                generator.begin(servers[generator.clients.len() % servers.len()])?;
            }
            let until = generator.now_ns() + HANDSHAKE_PATIENCE.as_nanos() as u64;
            if !generator.wait(Some(until))? {
                let seconds = HANDSHAKE_PATIENCE.as_secs();
                return Err(Failure::Handshake { why: format!("it has not answered for {seconds} s") });
            }
            opened += generator.open_those_answered()?;
        }
        Ok(generator)
    }

    /// Begins the handshake of one more client.
    fn begin(&mut self, server: SocketAddr) -> Result<(), Failure> {
        let (client, index) = (Client::connect(server)?, self.clients.len());
        self.blocked[index] = !client.has_sent_all();
        let flags = flags(self.blocked[index]);
        epoll::add(&self.epoll, &client, EventData::new_u64(index as u64), flags)
            .map_err(|error| Failure::system("watching a socket", error))?;
        self.clients.push(client);
        Ok(())
    }

    /// Goes on with the handshakes that have an event; returns how many ended.
    fn open_those_answered(&mut self) -> Result<usize, Failure> {
        let mut opened = 0;
        for at in 0..self.events.len() {
            let index = self.events[at].data.u64() as usize;
            if self.blocked[index] {
                let blocked = !self.clients[index].send_handshake()?;
                self.set_blocked(index, blocked)?;
                continue;
            }
            let client = &mut self.clients[index];
            if client.is_open() {
                // Nothing is in flight, so it is the end of it.
                client.receive(&mut self.read)?;
            } else {
                opened += usize::from(client.open_session()?);
            }
        }
        Ok(opened)
    }

    /// The sessions' ids, by client.
    pub fn sessions(&self) -> impl Iterator<Item = i64> + '_ {
        self.clients.iter().map(Client::session)
    }

    /// Now, in nanoseconds.
    pub fn now_ns(&self) -> u64 {
        self.base.elapsed().as_nanos() as u64
    }

    /// Runs a load until it is over and every request is answered.
    ///
    /// # Errors
    /// A connection breaks, replies are not in order, or none comes for 30 s.
    pub fn drive(&mut self, load: &mut impl Load) -> Result<(), Failure> {
        let mut due: Vec<usize> = (0..self.clients.len()).collect();
        let mut heard_ns = self.now_ns();
        loop {
            let now_ns = self.now_ns();
            let wake_ns = load.tick(now_ns, &mut due)?;
            for index in due.drain(..) {
                self.refill(load, index, now_ns, !self.blocked[index])?;
            }
            if load.is_over() && self.in_flight() == 0 {
                return Ok(());
            }
            let silent = Duration::from_nanos(now_ns.saturating_sub(heard_ns));
            if silent > SILENCE_MAX && self.in_flight() > 0 {
                return Err(Failure::Silence { in_flight: self.in_flight(), seconds: silent.as_secs() });
            }
            let near = wake_ns.filter(|&ns| ns < now_ns + LOOK_MAX_NS);
            let heard = match near {
                Some(until_ns) => self.look(load, until_ns)?,
                None => self.wait(wake_ns)?,
            };
            if heard {
                heard_ns = now_ns;
                self.serve(load)?;
            }
        }
    }

    /// Closes every session and waits until the server has.
    ///
    /// # Errors
    /// As [`Generator::drive`].
    pub fn close(mut self) -> Result<(), Failure> {
        let count = self.clients.len();
        self.drive(&mut Closing { asked: vec![false; count] })
    }

    fn in_flight(&self) -> usize {
        self.clients.iter().map(Client::depth).sum()
    }

    /// Waits for events or the clock. `false`: the clock.
    fn wait(&mut self, wake_ns: Option<u64>) -> Result<bool, Failure> {
        let until = wake_ns.map_or(SILENCE_MAX, |ns| Duration::from_nanos(ns.saturating_sub(self.now_ns())));
        self.poll(until.min(SILENCE_MAX))
    }

    /// The same without sleeping, and tells the load.
    fn look(&mut self, load: &mut impl Load, until_ns: u64) -> Result<bool, Failure> {
        let mut since_ns = self.now_ns();
        loop {
            let heard = self.poll(Duration::ZERO)?;
            let now_ns = self.now_ns();
            if heard {
                return Ok(true);
            }
            // Longer is another thread's turn, which the kernel counts.
            load.looked((now_ns - since_ns).min(LOOK_MAX_NS));
            if now_ns >= until_ns {
                return Ok(false);
            }
            since_ns = now_ns;
            // The kernel's threads that complete a server's writes may want the processor, which is theirs
            // otherwise with the next tick only, some ms later.
            std::thread::yield_now();
        }
    }

    fn poll(&mut self, until: Duration) -> Result<bool, Failure> {
        let timeout = Timespec { tv_sec: until.as_secs() as i64, tv_nsec: until.subsec_nanos().into() };
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(count) => Ok(count > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(Failure::system("waiting for events", error)),
        }
    }

    /// Reads and refills every client that has an event.
    fn serve(&mut self, load: &mut impl Load) -> Result<(), Failure> {
        for at in 0..self.events.len() {
            let event = self.events[at];
            let index = event.data.u64() as usize;
            let client = &mut self.clients[index];
            if let Some(bytes) = client.receive(&mut self.read)? {
                let now_ns = self.base.elapsed().as_nanos() as u64;
                client.replies(&self.read[..bytes], |received| match received {
                    Received::Reply(pending, reply) => load.reply(pending, reply, now_ns),
                    Received::Event => load.event(index, now_ns),
                })?;
            }
            let writable = !self.blocked[index] || { event.flags }.contains(EventFlags::OUT);
            self.refill(load, index, self.now_ns(), writable)?;
        }
        Ok(())
    }

    /// Asks what the load wants asked, as long as the socket takes it. A full one is left alone, and what is
    /// due stays the load's: trying it would be a call for each request whose time comes, and keeping them
    /// encoded would be fresh memory, just when the generator has most to do.
    fn refill(
        &mut self,
        load: &mut impl Load,
        index: usize,
        now_ns: u64,
        mut writable: bool,
    ) -> Result<(), Failure> {
        let client = &mut self.clients[index];
        if !writable {
            return Ok(());
        }
        let mut more = true;
        while writable && more {
            while more && client.unsent() < WRITE_BYTES {
                more = client.depth() < self.depth_max && load.request(index, now_ns, client);
            }
            writable = client.flush()?;
        }
        self.set_blocked(index, !writable)
    }

    /// Waits for room in a client's socket, or no more.
    fn set_blocked(&mut self, index: usize, blocked: bool) -> Result<(), Failure> {
        if blocked != self.blocked[index] {
            let data = EventData::new_u64(index as u64);
            epoll::modify(&self.epoll, &self.clients[index], data, flags(blocked))
                .map_err(|error| Failure::system("watching a socket", error))?;
            self.blocked[index] = blocked;
        }
        Ok(())
    }
}

/// What is waited for of a client.
fn flags(blocked: bool) -> EventFlags {
    if blocked { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN }
}

/// The end of every session: which clients have asked for theirs.
struct Closing {
    asked: Vec<bool>,
}

impl Load for Closing {
    fn tick(&mut self, _now_ns: u64, _due: &mut Vec<usize>) -> Result<Option<u64>, Failure> {
        Ok(None)
    }

    fn request(&mut self, client: usize, _now_ns: u64, to: &mut Client) -> bool {
        if self.asked[client] {
            return false;
        }
        self.asked[client] = true;
        to.push_close();
        true
    }

    fn reply(&mut self, _pending: Pending, _reply: ReplyHeader, _now_ns: u64) {}

    fn is_over(&self) -> bool {
        self.asked.iter().all(|&asked| asked)
    }
}
