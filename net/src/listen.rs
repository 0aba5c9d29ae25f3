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

/// Listens on `address`, `count` times. Port 0 is some free port, the same for all.
///
/// # Errors
/// As the kernel says; also when somebody else listens there, whom SO_REUSEPORT would let us share
/// the address with.
pub fn listen(address: SocketAddr, options: ListenOptions, count: u16) -> io::Result<Vec<TcpListener>> {
    let alone = patiently(|| socket(address, options, false))?;
    if count == 1 {
        return Ok(vec![alone]);
    }
    let address = alone.local_addr()?;
    drop(alone);
    (0..count).map(|_| socket(address, options, true)).collect()
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

/// A socket that listens on the address. All addresses of IPv4 are those of IPv6 too, as Java's are; where there
/// is no IPv6, they are alone.
fn socket(address: SocketAddr, options: ListenOptions, shared: bool) -> io::Result<TcpListener> {
    if address.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
        match socket_at((Ipv6Addr::UNSPECIFIED, address.port()).into(), options, shared) {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {}
            done => return done,
        }
    }
    socket_at(address, options, shared)
}

fn socket_at(address: SocketAddr, options: ListenOptions, shared: bool) -> io::Result<TcpListener> {
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
    socket.listen(options.backlog)?;
    Ok(socket.into())
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
