//! Reaching another server: its names are resolved anew at each attempt, and all addresses are tried at once,
//! each name and each address by a thread of its own, so that neither a slow name server nor a dead address
//! holds up anything.

use ringkeeper_quorum::members::HostPort;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Most names, and most addresses, that are tried.
const ADDRESSES_MAX: usize = 16;

/// How a name and a port become addresses. It may take its time.
pub type Resolve = Arc<dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// As the machine does it.
pub fn by_system() -> Resolve {
    Arc::new(|host, port| (host, port).to_socket_addrs().map(Iterator::collect))
}

/// How to connect.
#[derive(Clone)]
pub struct Dial {
    /// Where to; any of them will do.
    pub hosts: Vec<HostPort>,
    /// How their names become addresses.
    pub resolve: Resolve,
    /// How long an address may take.
    pub timeout: Duration,
    /// TCP keep-alive on the connection.
    pub keep_alive: bool,
    /// What is said at once.
    pub first_words: Vec<u8>,
}

/// What came of it.
pub type Dialled = io::Result<(TcpStream, SocketAddr)>;

/// The attempts of one dial.
struct Race {
    dial: Dial,
    /// Addresses that are tried already.
    tried: Mutex<BTreeSet<SocketAddr>>,
}

impl Dial {
    /// Connects on a thread of its own, which calls `done`.
    ///
    /// # Errors
    /// There can be no more threads; `done` is not called then.
    pub fn begin(self, done: impl FnOnce(Dialled) + Send + 'static) -> io::Result<()> {
        on_thread(move || done(self.run()))
    }

    fn run(self) -> Dialled {
        let first_words = self.first_words.clone();
        let (mut stream, address) = self.reach()?;
        // The fastest address alone: the others are not to be taken for newer connections.
        stream.write_all(&first_words)?;
        Ok((stream, address))
    }

    fn reach(self) -> Dialled {
        let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
        let (found, attempts) = channel();
        let race = Arc::new(Race { dial: self, tried: Mutex::default() });
        for host in 0..race.dial.hosts.len().min(ADDRESSES_MAX) {
            let (race, found) = (Arc::clone(&race), found.clone());
            if let Err(error) = on_thread(move || race.try_host(host, &found)) {
                failure = error;
            }
        }
        drop(found);
        for attempt in attempts {
            match attempt {
                Ok(connected) => return Ok(connected),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn connect(&self, address: SocketAddr) -> Dialled {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{address}: {error}"));
        let stream = TcpStream::connect_timeout(&address, self.timeout).map_err(named)?;
        // A server that connects to a free port of its own may meet itself.
        if stream.local_addr().ok() == Some(address) {
            return Err(named(io::ErrorKind::ConnectionRefused.into()));
        }
        stream.set_nodelay(true).map_err(named)?;
        socket2::SockRef::from(&stream).set_keepalive(self.keep_alive).map_err(named)?;
        Ok((stream, address))
    }
}

impl Race {
    /// Tries every address of one of the names that no other name had before. Nobody listens to `found` any
    /// more once one was reached.
    fn try_host(self: Arc<Self>, host: usize, found: &Sender<Dialled>) {
        let HostPort { host, port } = &self.dial.hosts[host];
        let resolved = (self.dial.resolve)(host, *port);
        let addresses = resolved.unwrap_or_else(|error| {
            _ = found.send(Err(io::Error::new(error.kind(), format!("{host}: {error}"))));
            Vec::new()
        });
        for address in addresses {
            let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
            if tried.len() >= ADDRESSES_MAX || !tried.insert(address) {
                continue;
            }
            drop(tried);
            let (race, from_thread) = (Arc::clone(&self), found.clone());
            if let Err(error) = on_thread(move || _ = from_thread.send(race.dial.connect(address))) {
                _ = found.send(Err(error));
            }
        }
    }
}

fn on_thread(run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name("dial".into()).spawn(run).map(drop)
}
