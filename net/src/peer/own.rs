//! Listening on this server's own addresses. In a cluster of containers a server often starts before its own
//! name has an address, or while the name still has that of the machine where it was before: then it tries
//! again (`QuorumCnxManager.Listener` does so for the election port). A port that somebody else has is
//! another matter, and ends the start. Where a reconfiguration moves a server that runs, neither ends it:
//! [`crate::moves`] tries again until it can listen there.

use super::PeersConfig;
use super::events::Port;
use crate::listen::{ListenOptions, listen};
use crate::moves::{Moves, Open, Opened, Opener, Place};
use crate::ring::Wake;
use ringkeeper_quorum::members::HostPort;
use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;
use tracing::warn;

/// Sockets with the port that each is for, and the address that was asked for.
type Sockets = Vec<(Port, SocketAddr, TcpListener)>;

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
        sockets.append(&mut listeners_of(config, port)?);
    }
    Ok(sockets)
}

/// What this server is to listen on by its configuration; nothing, if that does not name it.
pub fn places(config: &PeersConfig) -> Vec<Place<Port>> {
    let of_port = |key| config.hosts(config.me, key).into_iter().map(move |at| Place { key, at });
    [Port::Election, Port::Quorum].into_iter().flat_map(of_port).collect()
}

/// What moves sockets, and those that are open, to accept from.
type Movable = (Moves<Port>, Vec<(Port, Opened)>);

/// What moves these sockets when another configuration says so, and the sockets to accept from now; `give` is
/// told of later ones.
///
/// # Errors
/// There can be no more file descriptors.
pub fn moves(
    config: &PeersConfig,
    sockets: Sockets,
    mut give: impl FnMut(Port, Opened) + Send + 'static,
) -> io::Result<Movable> {
    let (mut open, mut opened) = (Vec::new(), Vec::new());
    for (port, address, socket) in sockets {
        let (its, sockets) = Open::new(port, address, vec![socket])?;
        open.push(its);
        opened.extend(sockets.into_iter().map(|socket| (port, socket)));
    }
    let opener = Opener {
        resolve: config.resolve.clone(),
        options: options(config),
        count: 1,
        everywhere: config.listen_on_all_ips,
        open,
        give: Box::new(move |port, _, opened| opened.into_iter().for_each(|socket| give(port, socket))),
    };
    Ok((Moves::new(opener, places(config)), opened))
}

fn options(config: &PeersConfig) -> ListenOptions {
    ListenOptions { backlog: config.backlog, keep_alive: config.keep_alive }
}

fn listeners_of(config: &PeersConfig, port: Port) -> io::Result<Sockets> {
    let mut sockets: Sockets = Vec::new();
    let mut open = |address| {
        let socket = listen(address, options(config), 1)?.remove(0);
        sockets.push((port, address, socket));
        Ok(())
    };
    let mut everywhere = BTreeSet::new();
    for HostPort { host, port: number } in config.hosts(config.me, port) {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("{port:?} port {host}:{number}: {error}"))
        };
        if config.listen_on_all_ips {
            if everywhere.insert(number) {
                open((Ipv4Addr::UNSPECIFIED, number).into()).map_err(named)?;
            }
            continue;
        }
        // Java takes the first address that a name has, too.
        let address = (config.resolve)(&host, number).map_err(named)?.first().copied();
        let address = address.ok_or_else(|| named(io::ErrorKind::AddrNotAvailable.into()))?;
        open(address).map_err(named)?;
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
