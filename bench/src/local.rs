//! Which process on this machine serves an address, so that its CPU, memory and writes can be read.

use procfs::net::{TcpState, tcp, tcp6};
use procfs::process::{FDTarget, all_processes};
use std::collections::HashSet;
use std::net::SocketAddr;

/// The processes that listen on these addresses, if all are loopback addresses and the processes may be looked
/// at; else none, and nothing is known about them then. This machine's other addresses are not looked for.
pub fn processes(servers: &[SocketAddr]) -> Vec<i32> {
    if !servers.iter().all(|server| server.ip().is_loopback()) {
        return Vec::new();
    }
    // A socket of IPv6 takes IPv4 as well.
    let sockets = tcp().into_iter().chain(tcp6()).flatten();
    let inodes: HashSet<u64> = sockets
        .filter(|entry| entry.state == TcpState::Listen && serves(entry.local_address, servers))
        .map(|entry| entry.inode)
        .collect();
    let own = std::process::id() as i32;
    let mut found = Vec::new();
    for process in all_processes().into_iter().flatten().flatten() {
        let Ok(open) = process.fd() else { continue };
        let mut targets = open.flatten().map(|open| open.target);
        if process.pid != own
            && targets.any(|target| matches!(target, FDTarget::Socket(inode) if inodes.contains(&inode)))
        {
            found.push(process.pid);
        }
    }
    found
}

/// How many connections this machine's end of a port has, on loopback.
pub fn connections_to(port: u16) -> usize {
    let sockets = tcp().into_iter().chain(tcp6()).flatten();
    let is_one = |entry: &procfs::net::TcpNetEntry| {
        entry.state == TcpState::Established
            && entry.local_address.port() == port
            && entry.local_address.ip().to_canonical().is_loopback()
    };
    sockets.filter(is_one).count()
}

/// Whether a socket that listens there takes connections to one of the servers, all on loopback.
fn serves(local: SocketAddr, servers: &[SocketAddr]) -> bool {
    // Java has its IPv4 sockets among those of IPv6.
    let ip = local.ip().to_canonical();
    (ip.is_loopback() || ip.is_unspecified()) && servers.iter().any(|server| server.port() == local.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_server_is_known_by_its_port_in_either_family() {
        let servers = ["127.0.0.1:2181".parse().unwrap()];
        for local in ["127.0.0.1:2181", "0.0.0.0:2181", "[::]:2181", "[::ffff:127.0.0.1]:2181"] {
            assert!(serves(local.parse().unwrap(), &servers), "{local}");
        }
        assert!(!serves("127.0.0.1:2182".parse().unwrap(), &servers));
        assert!(!serves("10.0.0.5:2181".parse().unwrap(), &servers));
    }
}
