//! Listening on this server's own addresses. In a cluster of containers a server often starts before its own
//! name has an address, or while the name still has that of the machine where it was before: then it tries
//! again (`QuorumCnxManager.Listener` does so for the election port). A port that somebody else has is
//! another matter, and ends the start.

use super::PeersConfig;
use super::events::Port;
use crate::listen::{ListenOptions, listen};
use crate::ring::Wake;
use ringkeeper_quorum::members::HostPort;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;
use tracing::warn;

/// Sockets with the port that each is for.
type Sockets = Vec<(Port, TcpListener)>;

/// Attempts that a thread makes.
pub struct Listening(Receiver<io::Result<Sockets>>);

impl Listening {
    /// What came of them, once.
    pub fn take(&mut self) -> Option<io::Result<Sockets>> {
        self.0.try_recv().ok()
    }
}

/// Listens on all of this server's addresses.
///
/// # Errors
/// This server is not in the configuration; an address of its own cannot be resolved or listened on.
pub fn listeners(config: &PeersConfig) -> io::Result<Sockets> {
    if !config.members.servers().contains_key(&config.me) {
        let what = format!("server.{} is not in the configuration", config.me.0);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let mut sockets = Vec::new();
    for port in [Port::Election, Port::Quorum] {
        let of_port = listeners_of(config, port)?;
        sockets.extend(of_port.into_iter().map(|socket| (port, socket)));
    }
    Ok(sockets)
}

fn listeners_of(config: &PeersConfig, port: Port) -> io::Result<Vec<TcpListener>> {
    let options = ListenOptions { backlog: config.backlog, keep_alive: config.keep_alive };
    let mut sockets: Vec<TcpListener> = Vec::new();
    for HostPort { host, port: number } in config.hosts(config.me, port) {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("{port:?} port {host}:{number}: {error}"))
        };
        if config.listen_on_all_ips {
            let taken = |socket: &TcpListener| socket.local_addr().is_ok_and(|at| at.port() == number);
            if !sockets.iter().any(taken) {
                let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, number));
                sockets.push(listen(everywhere, options, 1).map_err(named)?.remove(0));
            }
            continue;
        }
        // Java takes the first address that a name has, too.
        let address = (config.resolve)(&host, number).map_err(named)?.first().copied();
        let address = address.ok_or_else(|| named(io::ErrorKind::AddrNotAvailable.into()))?;
        sockets.push(listen(address, options, 1).map_err(named)?.remove(0));
    }
    Ok(sockets)
}

/// Whether another attempt may go better: a name may come to have another address.
fn may_pass(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrInUse, InvalidInput, PermissionDenied};
    !matches!(error.kind(), AddrInUse | InvalidInput | PermissionDenied)
}

/// Listens, as often as it takes and the configuration allows, `pause` after each attempt; then wakes.
///
/// # Errors
/// There can be no more threads.
pub fn listen_patiently(config: PeersConfig, pause: Duration, wake: Wake) -> io::Result<Listening> {
    let (done, listening) = sync_channel(1);
    let attempts = move || {
        let mut made = 0_u64;
        let ended = loop {
            made += 1;
            match listeners(&config) {
                Err(error) if may_pass(&error) => {
                    let max = u64::from(config.listen_attempts_max);
                    if made == max {
                        break Err(io::Error::new(error.kind(), format!("{error}, {made} times")));
                    }
                    warn!("{error}; tried again in {pause:?}");
                }
                ended => break ended,
            }
            thread::sleep(pause);
        };
        _ = done.send(ended);
        wake.wake();
    };
    thread::Builder::new().name("listen".into()).spawn(attempts)?;
    Ok(Listening(listening))
}
