//! Which process on this machine serves an address, so that its CPU, memory and writes can be read.

use procfs::net::{TcpNetEntry, TcpState, tcp, tcp6};
use procfs::process::{FDTarget, all_processes};
use std::collections::HashSet;
use std::net::SocketAddr;

/// The processes that listen on these addresses, if they are this machine's and may be looked at; else
/// none, and nothing is known about them then.
pub fn processes(servers: &[SocketAddr]) -> Vec<i32> {
    if !servers.iter().all(|server| server.ip().is_loopback()) {
        return Vec::new();
    }
    // A socket of IPv6 takes IPv4 as well.
    let sockets = tcp().into_iter().chain(tcp6()).flatten();
    let inodes: HashSet<u64> =
        sockets.filter(|entry| listens(entry, servers)).map(|entry| entry.inode).collect();
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

fn listens(entry: &TcpNetEntry, servers: &[SocketAddr]) -> bool {
    let ip = entry.local_address.ip();
    entry.state == TcpState::Listen
        && servers.iter().any(|server| server.port() == entry.local_address.port())
        && (ip.is_loopback() || ip.is_unspecified())
}
