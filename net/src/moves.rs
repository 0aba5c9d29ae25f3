//! Listening where a reconfiguration says, while the server runs: a thread closes what the configuration names
//! no longer, and opens what it names now.
//!
//! Laws, which are those of `NIOServerCnxnFactory.reconfigure`: who is connected stays so; the old address is
//! free as soon as the new one is known, whether that can be had or not. What cannot be had is tried again until
//! it can, or another is named: ZooKeeper does so for the election port, three times by default, and ends then;
//! for the other ports it waits for another reconfiguration. No name server holds up anybody but this thread.

use crate::listen::{ListenOptions, listen_once};
use crate::peer::dial::Resolve;
use ringkeeper_quorum::members::HostPort;
use socket2::SockRef;
use std::fmt::Display;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};
use tracing::{error, info};

/// Pause before the second attempt; it doubles with each.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// But it grows no longer than this, which is ZooKeeper's.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// What fails no longer than this is not reported: a socket that is closed is there for a moment more.
const GRACE: Duration = Duration::from_millis(500);

/// A socket to accept connections from, until it is closed.
pub struct Opened {
    /// It listens.
    pub socket: TcpListener,
    /// Whether that has come to an end, which accepting fails at.
    pub closed: Closed,
}

/// Whether a socket was closed.
#[derive(Clone, Debug, Default)]
pub struct Closed(Arc<AtomicBool>);

impl Closed {
    /// Whether it was.
    pub fn is_so(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Sockets of one address, which are closed with it.
pub struct Open<K> {
    key: K,
    /// As it was asked for.
    address: SocketAddr,
    copies: Vec<TcpListener>,
    closed: Closed,
}

impl<K> Open<K> {
    /// Of these, which listen on this address.
    ///
    /// # Errors
    /// There can be no more file descriptors.
    pub fn new(key: K, address: SocketAddr, sockets: Vec<TcpListener>) -> io::Result<(Open<K>, Vec<Opened>)> {
        let closed = Closed::default();
        let copies = sockets.iter().map(TcpListener::try_clone).collect::<io::Result<_>>()?;
        let opened = |socket| Opened { socket, closed: closed.clone() };
        let opened = sockets.into_iter().map(opened).collect();
        Ok((Open { key, address, copies, closed }, opened))
    }
}

impl<K> Drop for Open<K> {
    fn drop(&mut self) {
        self.closed.0.store(true, Ordering::Release);
        for copy in &self.copies {
            // It listens no more, and whoever waits for a connection there is told.
            _ = SockRef::from(copy).shutdown(Shutdown::Read);
        }
    }
}

/// Something that this server listens for, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<K> {
    /// What for.
    pub key: K,
    /// Where.
    pub at: HostPort,
}

/// How to open places.
pub struct Opener<K> {
    /// How names become addresses.
    pub resolve: Resolve,
    /// How to listen.
    pub options: ListenOptions,
    /// Sockets an address.
    pub count: u16,
    /// Whether hosts do not count: every address of this machine is listened on.
    pub everywhere: bool,
    /// What is open.
    pub open: Vec<Open<K>>,
    /// Told of an address that was opened.
    pub give: Box<dyn FnMut(K, SocketAddr, Vec<Opened>) + Send>,
}

/// See the module. What is open is closed with it.
pub struct Moves<K> {
    /// Until there is something to do.
    idle: Option<Opener<K>>,
    wanted: Vec<Place<K>>,
    tell: Option<Sender<Vec<Place<K>>>>,
}

impl<K: Clone + Display + Eq + Send + 'static> Moves<K> {
    /// These places are open; none, if it is not known what they were asked for as.
    pub fn new(opener: Opener<K>, wanted: Vec<Place<K>>) -> Moves<K> {
        Moves { idle: Some(opener), wanted, tell: None }
    }

    /// From here on these places alone are to be open.
    pub fn want(&mut self, places: Vec<Place<K>>) {
        if places == self.wanted {
            return;
        }
        self.wanted.clone_from(&places);
        if let Some(opener) = self.idle.take() {
            let (tell, told) = channel();
            let thread = thread::Builder::new().name("moves".into());
            match thread.spawn(move || opener.run(&told)) {
                Ok(_) => self.tell = Some(tell),
                Err(error) => error!("this server listens nowhere: there can be no more threads: {error}"),
            }
        }
        if let Some(tell) = &self.tell {
            _ = tell.send(places);
        }
    }
}

impl<K: Clone + Display + Eq> Opener<K> {
    fn run(mut self, wanted: &Receiver<Vec<Place<K>>>) {
        while let Ok(mut places) = wanted.recv() {
            let (mut begun, mut pause, mut told) = (Instant::now(), PAUSE_MIN, Vec::new());
            loop {
                let failures = self.settle(&places);
                if failures.is_empty() {
                    break;
                }
                if begun.elapsed() > GRACE && failures != told {
                    failures.iter().for_each(|failure| error!("{failure}; it is tried again and again"));
                    told = failures;
                }
                match wanted.recv_timeout(pause) {
                    Ok(newer) => {
                        (places, begun, pause) = (newer, Instant::now(), PAUSE_MIN);
                        told.clear();
                    }
                    Err(RecvTimeoutError::Timeout) => pause = (pause * 2).min(PAUSE_MAX),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        }
    }

    /// Closes what is not among these places, and opens what is not open; what cannot be, and why.
    fn settle(&mut self, places: &[Place<K>]) -> Vec<String> {
        let (mut targets, mut unknown, mut failures) = (Vec::new(), Vec::new(), Vec::new());
        for Place { key, at } in places {
            match self.resolved(at) {
                Ok(address) if targets.contains(&(key, address)) => {}
                Ok(address) => targets.push((key, address)),
                Err(error) => {
                    failures.push(format!("{key} {at}: {error}"));
                    unknown.push(key);
                }
            }
        }
        self.open
            .retain(|Open { key, address, .. }| unknown.contains(&key) || targets.contains(&(key, *address)));
        for (key, address) in targets {
            let is_it = |open: &Open<K>| open.key == *key && open.address == address;
            if self.open.iter().any(is_it) {
                continue;
            }
            match self.open_one(key, address) {
                Ok(()) => info!("{key} is {address} from here on"),
                Err(error) => failures.push(format!("{key} {address}: {error}")),
            }
        }
        failures
    }

    fn open_one(&mut self, key: &K, address: SocketAddr) -> io::Result<()> {
        let sockets = listen_once(address, self.options, self.count)?;
        let (open, opened) = Open::new(key.clone(), address, sockets)?;
        self.open.push(open);
        (self.give)(key.clone(), address, opened);
        Ok(())
    }

    fn resolved(&self, at: &HostPort) -> io::Result<SocketAddr> {
        if self.everywhere {
            return Ok((Ipv4Addr::UNSPECIFIED, at.port).into());
        }
        // Java takes the first address that a name has, too.
        let found = (self.resolve)(&at.host, at.port)?.first().copied();
        found.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    const OPTIONS: ListenOptions = ListenOptions { backlog: 16, keep_alive: false };
    const PATIENCE: Duration = Duration::from_secs(30);

    type Given = (&'static str, SocketAddr, Vec<Opened>);

    /// Knows one name, and addresses.
    fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let host = if host == "here" { "127.0.0.1" } else { host };
        host.parse().map(|ip| vec![SocketAddr::new(ip, port)]).map_err(|_| io::ErrorKind::NotFound.into())
    }

    fn moves(count: u16) -> (Moves<&'static str>, Receiver<Given>) {
        let (given, gets) = channel();
        let give = Box::new(move |key, address, opened| given.send((key, address, opened)).unwrap());
        let (open, resolve) = (Vec::new(), Arc::new(resolve));
        let opener = Opener { resolve, options: OPTIONS, count, everywhere: false, open, give };
        (Moves::new(opener, Vec::new()), gets)
    }

    fn place(at: SocketAddr) -> Place<&'static str> {
        Place { key: "the port", at: HostPort { host: at.ip().to_string(), port: at.port() } }
    }

    fn free() -> SocketAddr {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
    }

    #[test]
    fn what_is_no_longer_wanted_is_closed_at_once_and_who_is_connected_stays() {
        for count in [1, 3] {
            let (mut moves, gets) = moves(count);
            let (old, new) = (free(), free());
            moves.want(vec![place(old)]);
            let (_, at, opened) = gets.recv_timeout(PATIENCE).unwrap();
            assert_eq!((at, opened.len()), (old, usize::from(count)));
            let connected = TcpStream::connect(old).unwrap();
            let accepted = opened.iter().find_map(|opened| {
                opened.socket.set_nonblocking(count > 1).unwrap();
                opened.socket.accept().ok()
            });
            let (accepted, _) = accepted.expect("one of them has it");
            moves.want(vec![place(new)]);
            let (_, at, _opened) = gets.recv_timeout(PATIENCE).unwrap();
            assert_eq!(at, new);
            for one in &opened {
                assert!(one.closed.is_so());
                one.socket.set_nonblocking(false).unwrap();
                assert_eq!(one.socket.accept().unwrap_err().kind(), io::ErrorKind::InvalidInput);
            }
            drop(opened);
            TcpListener::bind(old).expect("the old one is free");
            TcpStream::connect(new).expect("somebody listens");
            assert_eq!(accepted.peer_addr().unwrap(), connected.local_addr().unwrap());
        }
    }

    #[test]
    fn a_port_that_somebody_has_is_tried_until_it_is_free_or_another_is_named() {
        let (mut moves, gets) = moves(2);
        let (old, free) = (free(), free());
        moves.want(vec![place(old)]);
        let (_, _, opened) = gets.recv_timeout(PATIENCE).unwrap();
        let blocker = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = blocker.local_addr().unwrap();
        moves.want(vec![place(taken)]);
        while !opened[0].closed.is_so() {
            thread::sleep(Duration::from_millis(1));
        }
        moves.want(vec![place(free)]);
        assert_eq!(gets.recv_timeout(PATIENCE).unwrap().1, free);
        moves.want(vec![place(taken)]);
        drop(blocker);
        assert_eq!(gets.recv_timeout(PATIENCE).unwrap().1, taken);
    }

    #[test]
    fn what_is_there_already_under_another_name_stays_as_it_is() {
        let (mut moves, gets) = moves(1);
        let (one, other) = (free(), free());
        moves.want(vec![place(one)]);
        let (_, _, opened) = gets.recv_timeout(PATIENCE).unwrap();
        let named = Place { key: "the port", at: HostPort { host: "here".into(), port: one.port() } };
        let unknown = Place { key: "another", at: HostPort { host: "nowhere".into(), port: 1 } };
        moves.want(vec![named, unknown, place(other)]);
        assert_eq!(gets.recv_timeout(PATIENCE).unwrap().1, other);
        assert!(!opened[0].closed.is_so());
    }
}
