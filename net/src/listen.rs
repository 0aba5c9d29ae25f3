//! Listening sockets: one a core, on the same address, so that the kernel spreads the clients.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

/// How to listen.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// Connections that the kernel keeps until they are accepted.
    pub backlog: i32,
    /// TCP keep-alive on the connections.
    pub keep_alive: bool,
}

/// An address that this server may have, and does not listen on yet: who connects is refused at once, and
/// need not wait for a server that is still reading its data.
pub struct Bound {
    address: SocketAddr,
    /// Of one alone, also if many share the address later.
    socket: Socket,
    options: ListenOptions,
    count: u16,
}

impl Bound {
    /// The address, with its port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens from here on.
    ///
    /// # Errors
    /// As the kernel says; also when somebody else listens there by now, whom SO_REUSEPORT would let us
    /// share the address with.
    pub fn listen(self) -> io::Result<Vec<TcpListener>> {
        let listening = |socket: Socket| socket.listen(self.options.backlog).map(|()| socket.into());
        let alone: TcpListener = listening(self.socket)?;
        if self.count == 1 {
            return Ok(vec![alone]);
        }
        drop(alone);
        (0..self.count).map(|_| listening(socket(self.address, self.options, true)?)).collect()
    }
}

/// Takes `address` for `count` listeners. Port 0 is some free port, the same for all.
///
/// # Errors
/// As the kernel says; also when somebody else listens there.
pub fn bind(address: SocketAddr, options: ListenOptions, count: u16) -> io::Result<Bound> {
    patiently(|| bind_once(address, options, count))
}

fn bind_once(address: SocketAddr, options: ListenOptions, count: u16) -> io::Result<Bound> {
    let socket = socket(address, options, false)?;
    let address = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok(Bound { address, socket, options, count })
}

/// Takes an address and listens on it.
///
/// # Errors
/// As [`bind`] and [`Bound::listen`].
pub fn listen(address: SocketAddr, options: ListenOptions, count: u16) -> io::Result<Vec<TcpListener>> {
    bind(address, options, count)?.listen()
}

/// The same, and does not wait for whoever has the address.
///
/// # Errors
/// As [`bind`] and [`Bound::listen`].
pub fn listen_once(address: SocketAddr, options: ListenOptions, count: u16) -> io::Result<Vec<TcpListener>> {
    bind_once(address, options, count)?.listen()
}

/// Tries again while the address is taken, for a moment: the kernel takes the ring of a process that
/// was killed apart after the process is gone, and until then its listening socket is there.
fn patiently<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let begun = Instant::now();
    loop {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && begun.elapsed() < PATIENCE => {
                std::thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
}

/// A socket that has the address. All addresses of IPv4 are those of IPv6 too, as Java's are; where there
/// is no IPv6, they are alone.
fn socket(address: SocketAddr, options: ListenOptions, shared: bool) -> io::Result<Socket> {
    if address.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
        match socket_at((Ipv6Addr::UNSPECIFIED, address.port()).into(), options, shared) {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {}
            done => return done,
        }
    }
    socket_at(address, options, shared)
}

fn socket_at(address: SocketAddr, options: ListenOptions, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    if let SocketAddr::V6(v6) = address {
        // The wildcard of IPv6 takes IPv4 too, as Java's does.
        socket.set_only_v6(!v6.ip().is_unspecified())?;
    }
    // Connections inherit both. A reply waits for no other.
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(options.keep_alive)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn an_address_that_is_taken_is_refused_also_when_cores_share_one() {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = ListenOptions { backlog: 16, keep_alive: false };
        let first = listen(loopback, options, 3).unwrap();
        assert_eq!(first.len(), 3);
        let taken = first[0].local_addr().unwrap();
        assert!(first.iter().all(|listener| listener.local_addr().unwrap() == taken));
        assert_eq!(listen(taken, options, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(listen(taken, options, 2).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn who_comes_before_the_server_is_ready_is_refused_at_once() {
        let options = ListenOptions { backlog: 16, keep_alive: false };
        for count in [1, 3] {
            let bound = bind(SocketAddr::from(([127, 0, 0, 1], 0)), options, count).unwrap();
            let address = bound.address();
            assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
            let listening = bound.listen().unwrap();
            assert_eq!(listening.len(), usize::from(count));
            TcpStream::connect(address).expect("somebody listens");
        }
    }

    #[test]
    fn of_two_that_have_an_address_one_listens() {
        let options = ListenOptions { backlog: 16, keep_alive: false };
        for count in [1, 3] {
            let first = bind(SocketAddr::from(([127, 0, 0, 1], 0)), options, count).unwrap();
            // Neither listens yet, so the kernel lets both have it.
            let second = bind(first.address(), options, count).unwrap();
            let _listening = first.listen().unwrap();
            assert_eq!(second.listen().unwrap_err().kind(), io::ErrorKind::AddrInUse);
        }
    }

    #[test]
    fn every_address_of_ipv4_is_every_address_of_ipv6_too_as_javas_is() {
        let options = ListenOptions { backlog: 16, keep_alive: false };
        let all = listen(SocketAddr::from(([0, 0, 0, 0], 0)), options, 1).unwrap();
        let port = all[0].local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("IPv4");
        // Where there is no IPv6, nobody comes over it.
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).expect("IPv6");
        }
    }
}
