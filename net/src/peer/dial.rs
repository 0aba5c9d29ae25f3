//! Reaching another server: its name is resolved anew at each attempt, and all addresses are tried at once,
//! each by a thread of its own, so that neither a slow name server nor a dead address holds up anything.

use ringkeeper_quorum::members::HostPort;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// Most addresses that are tried.
const ADDRESSES_MAX: usize = 16;

/// How to connect.
#[derive(Clone, Debug)]
pub struct Dial {
    /// Where to; any of them will do.
    pub hosts: Vec<HostPort>,
    /// How long an address may take.
    pub timeout: Duration,
    /// TCP keep-alive on the connection.
    pub keep_alive: bool,
    /// What is said at once.
    pub first_words: Vec<u8>,
}

/// What came of it.
pub type Dialled = io::Result<(TcpStream, SocketAddr)>;

impl Dial {
    /// Connects on a thread of its own, which calls `done`.
    ///
    /// # Errors
    /// There can be no more threads; `done` is not called then.
    pub fn begin(self, done: impl FnOnce(Dialled) + Send + 'static) -> io::Result<()> {
        thread::Builder::new().name("dial".into()).spawn(move || done(self.run())).map(drop)
    }

    fn run(&self) -> Dialled {
        let (mut stream, address) = self.reach()?;
        // The fastest address alone: the others are not to be taken for newer connections.
        stream.write_all(&self.first_words)?;
        Ok((stream, address))
    }

    fn reach(&self) -> Dialled {
        let mut addresses = Vec::new();
        let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for HostPort { host, port } in &self.hosts {
            match (host.as_str(), *port).to_socket_addrs() {
                Ok(found) => addresses.extend(found),
                Err(error) => failure = io::Error::new(error.kind(), format!("{host}: {error}")),
            }
        }
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(ADDRESSES_MAX);
        if let [address] = addresses[..] {
            return self.connect(address);
        }
        let (found, attempts) = channel();
        for address in addresses {
            let (found, dial) = (found.clone(), self.clone());
            let attempt = move || _ = found.send(dial.connect(address));
            if let Err(error) = thread::Builder::new().name("dial".into()).spawn(attempt) {
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
