//! Where clients come in: an address that all cores share, until a reconfiguration names another.

use crate::listen::{Bound, ListenOptions};
use crate::moves::{Moves, Open, Opened, Opener};
use crate::peer::dial;
use crate::ring::Wake;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, channel};

/// What this server listens for on behalf of its client cores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients;

impl fmt::Display for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the port for clients")
    }
}

/// Where a core accepts from.
pub struct Doors {
    /// Sockets come here; the newest takes the place of the one before, which is closed.
    pub opened: Receiver<Opened>,
    /// Woken by each.
    pub wake: Wake,
}

/// Listens on `bound`, which was asked for as `asked`, for so many cores; `port` is always the one where clients
/// come in, or came in last.
///
/// # Errors
/// As [`Bound::listen`].
pub fn open(
    bound: Bound,
    (asked, options, cores): (SocketAddr, ListenOptions, u16),
    port: Arc<AtomicU16>,
) -> io::Result<(Moves<Clients>, Vec<Doors>)> {
    let mut doors = Vec::new();
    let mut cores_told = Vec::new();
    for _ in 0..cores {
        let ((tell, opened), wake) = (channel(), Wake::new());
        cores_told.push((tell, wake.clone()));
        doors.push(Doors { opened, wake });
    }
    let give = move |_, address: SocketAddr, opened: Vec<Opened>| {
        port.store(address.port(), Ordering::Relaxed);
        for (socket, (tell, wake)) in opened.into_iter().zip(&cores_told) {
            // A core that is gone takes nobody.
            _ = tell.send(socket);
            wake.wake();
        }
    };
    let address = SocketAddr::new(asked.ip(), bound.address().port());
    let (open, opened) = Open::new(Clients, address, bound.listen()?)?;
    give(Clients, address, opened);
    let opener = Opener {
        resolve: dial::by_system(),
        options,
        count: cores,
        everywhere: false,
        open: vec![open],
        give: Box::new(give),
    };
    Ok((Moves::new(opener, Vec::new()), doors))
}
