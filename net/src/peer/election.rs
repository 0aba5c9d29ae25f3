//! The election port (`QuorumCnxManager`). For each pair of servers there is one connection, opened by the
//! one with the higher number: the other one connects only to say that it is there, and hangs up.

use super::connection::Connection;
use super::dial::{Dial, Dialled};
use super::events::{Done, Event, Key, Port};
use super::{Context, STRANGERS_MAX};
use crate::ring::{self, Stream};
use ringkeeper_engine::id::ServerId;
use ringkeeper_quorum::members::{HostPort, Members};
use ringkeeper_quorum::message::election::MESSAGE_BYTES_MAX;
use ringkeeper_quorum::message::{InitialMessage, MessageError, Notification};
use ringkeeper_quorum::zab::Input;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tracing::debug;

/// Read buffer of a connection.
const READ_BYTES: usize = 16 << 10;
/// Only the newest message waits, with a configuration in it.
const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// A handshake is shorter.
const HANDSHAKE_BYTES_MAX: usize = 4096;
/// Bytes of a message's length.
const LENGTH_BYTES: usize = 4;
/// Pause before a server is tried again; it doubles with each attempt.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// But it grows no longer than this.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// A connection that ends sooner did not work: the next attempt waits. And whoever says so soon that it is
/// there said so before it had the connection.
const YOUNG: Duration = Duration::from_millis(500);

/// Most attempts to reach one server that are under way: what the first one tries may be known for wrong.
const DIALS_MAX: usize = 2;
/// An attempt that takes longer has another one beside it, if there is a reason for that.
const DIAL_SLOW: Duration = Duration::from_millis(200);
/// Servers that the configuration does not name, and that may be about to join it.
const UNKNOWN_MAX: usize = 16;

struct Connected {
    number: u64,
    connection: Connection,
    since: Instant,
}

/// Another server, as this one sees its election port.
#[derive(Default)]
struct Peer {
    connected: Option<Connected>,
    /// Attempts to reach it that are under way.
    dials: usize,
    /// When the newest of them began, and where it looks.
    dialled: Option<(Instant, Vec<HostPort>)>,
    /// It said that it is there since that began: perhaps at another address.
    called: bool,
    /// It is tried again after a pause.
    pausing: bool,
    pause: Duration,
    /// The newest message, with its length in front. It is told again over a new connection, since the old
    /// one may have ended before the peer read it.
    newest: Option<Vec<u8>>,
    /// Where it says that it is.
    hosts: Vec<HostPort>,
    /// What was told of it.
    told_up: Option<bool>,
    /// Since when it was told in vain that this server is there.
    knocking_since: Option<Instant>,
}

struct Stranger {
    connection: Connection,
    since: Instant,
}

/// See the module.
#[derive(Default)]
pub struct Election {
    peers: BTreeMap<ServerId, Peer>,
    strangers: BTreeMap<u64, Stranger>,
    /// Whose connections these are.
    owners: BTreeMap<u64, ServerId>,
    next: u64,
}

impl Election {
    /// Connections that have not said whose they are.
    pub fn strangers(&self) -> usize {
        self.strangers.len()
    }

    /// Tells a server; connects to it if need be.
    pub fn notify(&mut self, context: &mut Context, to: ServerId, notification: &Notification) {
        let mut message = vec![0; LENGTH_BYTES];
        notification.encode(&mut message);
        let length = (message.len() - LENGTH_BYTES) as u32;
        message[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        debug!("to server {} for the election: {notification:?}", to.0);
        let peer = self.peers.entry(to).or_default();
        peer.newest = Some(message.clone());
        match &peer.connected {
            Some(connected) => connected.connection.send_newest(message),
            None => peer.reach(context, to),
        }
    }

    /// The ensemble is another. Where somebody said that it is counts no more if the configuration says that it
    /// has moved since: another server may be there by now.
    pub fn members_changed(&mut self, before: &Members, after: &Members) {
        let addresses = |members: &Members, server: &ServerId| {
            members.servers().get(server).map(|member| member.addresses.clone())
        };
        for (server, peer) in &mut self.peers {
            if addresses(before, server) != addresses(after, server) {
                peer.hosts.clear();
            }
        }
    }

    /// Somebody connected.
    pub fn accepted(&mut self, context: &Context, stream: Stream, address: SocketAddr) {
        debug_assert!(self.strangers.len() < STRANGERS_MAX);
        let (number, connection) = self.connection(context, stream, address);
        self.strangers.insert(number, Stranger { connection, since: Instant::now() });
    }

    fn connection(&mut self, context: &Context, stream: Stream, address: SocketAddr) -> (u64, Connection) {
        self.next += 1;
        let (key, events) = (Key::Election(self.next), Rc::clone(&context.events));
        (self.next, Connection::new(stream, address, key, events, READ_BYTES, OUTPUT_BYTES_MAX))
    }

    /// A thread has reached a server, or not.
    pub fn dialled(&mut self, context: &mut Context, server: ServerId, dialled: Dialled) {
        let Some(peer) = self.peers.get_mut(&server) else { return };
        peer.dials = peer.dials.saturating_sub(1);
        match dialled {
            Err(error) => {
                debug!("server {} cannot be reached for an election: {error}", server.0);
                // Another attempt goes on, or has come further.
                if peer.dials > 0 || peer.connected.is_some() {
                    return;
                }
                peer.knocking_since = None;
                peer.tell(context, server, false);
                if context.config.is_member(server) {
                    peer.reach_later(context, server);
                } else {
                    self.peers.remove(&server);
                }
            }
            Ok(_) if server > context.config.me => {
                // It knows now, and connects.
                if peer.connected.is_none() {
                    let since = *peer.knocking_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > context.config.election_timeout {
                        peer.tell(context, server, false);
                    }
                    peer.reach_later(context, server);
                }
            }
            Ok((stream, address)) => {
                let (number, connection) = self.connection(context, Stream::new(stream), address);
                self.adopt(context, server, number, connection);
            }
        }
    }

    /// From here on this is the server's connection.
    fn adopt(&mut self, context: &mut Context, server: ServerId, number: u64, connection: Connection) {
        let peer = self.peers.entry(server).or_default();
        if let Some(newest) = &peer.newest {
            connection.send_newest(newest.clone());
        }
        let connected = Connected { number, connection, since: Instant::now() };
        if let Some(older) = peer.connected.replace(connected) {
            self.owners.remove(&older.number);
        }
        peer.knocking_since = None;
        peer.tell(context, server, true);
        self.owners.insert(number, server);
    }

    /// Bytes came, or the connection ended.
    pub fn arrived(&mut self, context: &mut Context, number: u64) {
        if self.strangers.contains_key(&number) {
            return self.introduced(context, number);
        }
        let Some(server) = self.owners.get(&number).copied() else { return };
        let Some(peer) = self.peers.get_mut(&server) else { return };
        let Some(connected) = &peer.connected else { return };
        let why = match take_notifications(&connected.connection, server, context) {
            Ok(()) => match connected.connection.ended() {
                Some(why) => why,
                None => return,
            },
            Err(error) => {
                let what = format!("server {} sent no notification: {error}", server.0);
                context.warnings.say(connected.connection.address(), &what);
                error.to_string()
            }
        };
        debug!("the election connection with server {} ended: {why}", server.0);
        let lived = connected.since.elapsed();
        peer.connected = None;
        self.owners.remove(&number);
        peer.tell(context, server, false);
        if !context.config.is_member(server) {
            // It comes back if it wants something.
            self.peers.remove(&server);
        } else if lived < YOUNG {
            peer.reach_later(context, server);
        } else {
            peer.pause = Duration::ZERO;
            peer.reach(context, server);
        }
    }

    /// Somebody who connected says who it is.
    fn introduced(&mut self, context: &mut Context, number: u64) {
        let Some(stranger) = self.strangers.remove(&number) else { return };
        let connection = stranger.connection;
        let (input, address) = (connection.take_input(1), connection.address());
        match InitialMessage::decode(&input) {
            Err(error) => context.warnings.say(address, &format!("no election handshake: {error}")),
            Ok(None) if input.len() >= HANDSHAKE_BYTES_MAX => {
                context.warnings.say(address, "an election handshake without end");
            }
            Ok(None) => {
                if connection.ended().is_none() {
                    connection.put_back(input);
                    self.strangers.insert(number, Stranger { connection, ..stranger });
                }
            }
            Ok(Some((message, length))) => {
                connection.put_back(input[length..].to_vec());
                self.known(context, number, connection, message);
            }
        }
    }

    fn known(&mut self, context: &mut Context, number: u64, connection: Connection, message: InitialMessage) {
        let address = connection.address();
        let me = context.config.me;
        let Some(server) = message.server else {
            return context.warnings.say(address, "an observer without a number cannot take part");
        };
        if server == me {
            return context.warnings.say(address, &format!("another server has the number {}, too", me.0));
        }
        let member = |server: &ServerId| context.config.is_member(*server);
        let unknown = self.peers.keys().filter(|server| !member(server)).count();
        if !member(&server) && unknown >= UNKNOWN_MAX && !self.peers.contains_key(&server) {
            let what = format!("server {} is not in the configuration, as too many others", server.0);
            return context.warnings.say(address, &what);
        }
        let peer = self.peers.entry(server).or_default();
        let everywhere = |host: &str| host.parse().is_ok_and(|address: IpAddr| address.is_unspecified());
        peer.hosts = message.addresses.into_iter().filter(|at| !everywhere(&at.host)).collect();
        if server > me {
            self.adopt(context, server, number, connection);
            return self.arrived(context, number);
        }
        // It has no connection, whatever this server believes, unless that is younger than its call.
        if peer.connected.as_ref().is_some_and(|connected| connected.since.elapsed() < YOUNG) {
            return;
        }
        if let Some(stale) = peer.connected.take() {
            self.owners.remove(&stale.number);
        }
        peer.pause = Duration::ZERO;
        peer.called = true;
        peer.dial(context, server);
    }

    /// A pause is over.
    pub fn retry(&mut self, context: &mut Context, server: ServerId) {
        let Some(peer) = self.peers.get_mut(&server) else { return };
        peer.pausing = false;
        if peer.connected.is_none() && (peer.newest.is_some() || peer.called) {
            peer.dial(context, server);
        }
    }

    /// Ends the connections of those who do not say who they are.
    pub fn sweep(&mut self, context: &mut Context) {
        let timeout = context.config.election_timeout;
        for (_, stranger) in self.strangers.extract_if(.., |_, stranger| stranger.since.elapsed() > timeout) {
            let address = stranger.connection.address();
            context.warnings.say(address, "it connected for an election and did not say who it is");
        }
    }
}

impl Peer {
    /// Says, once, whether the server can be reached.
    fn tell(&mut self, context: &mut Context, server: ServerId, up: bool) {
        if self.told_up.replace(up) != Some(up) {
            context.ready.push_back(Input::ElectionLink { peer: server, up });
        }
    }

    /// Tries to reach it, unless that is under way or waits for its time.
    fn reach(&mut self, context: &mut Context, server: ServerId) {
        if !self.pausing {
            self.dial(context, server);
        }
    }

    fn reach_later(&mut self, context: &Context, server: ServerId) {
        self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        if std::mem::replace(&mut self.pausing, true) {
            return;
        }
        let (events, pause) = (Rc::clone(&context.events), self.pause);
        ring::spawn(async move {
            ring::sleep(pause).await;
            events.push(Event::Retry(server));
        });
    }

    /// Tries to reach it where it is known to be. If that is under way, and slow, it is tried once more
    /// beside, if something was heard of it since.
    fn dial(&mut self, context: &mut Context, server: ServerId) {
        let config = &context.config;
        let mut hosts = config.hosts(server, Port::Election);
        hosts.extend(self.hosts.iter().filter(|host| !hosts.contains(host)).cloned().collect::<Vec<_>>());
        if let Some((begun, there)) = self.dialled.as_ref().filter(|_| self.dials > 0) {
            let is_news = self.called || hosts != *there;
            if self.dials >= DIALS_MAX || !is_news {
                return;
            }
            if begun.elapsed() < DIAL_SLOW {
                return self.reach_later(context, server);
            }
        }
        self.called = false;
        self.dialled = Some((Instant::now(), hosts.clone()));
        let addresses = context.own.clone();
        let mut first_words = Vec::new();
        InitialMessage { server: Some(config.me), addresses }.encode(&mut first_words);
        let (timeout, keep_alive) = (config.election_timeout, config.keep_alive);
        let resolve = config.resolve.clone();
        let dial = Dial { hosts, resolve, timeout, keep_alive, first_words };
        let results = context.results.clone();
        self.dials += 1;
        if let Err(error) = dial.begin(move |dialled| results.put(Done::Election(server, dialled))) {
            context.results.put(Done::Election(server, Err(error)));
        }
    }
}

/// Takes the whole notifications of what came.
fn take_notifications(
    connection: &Connection,
    from: ServerId,
    context: &mut Context,
) -> Result<(), MessageError> {
    let input = connection.take_input(1);
    let mut rest = &input[..];
    while let Some((length, message)) = rest.split_first_chunk::<LENGTH_BYTES>() {
        let length = i32::from_be_bytes(*length);
        let length = usize::try_from(length).ok().filter(|length| (1..=MESSAGE_BYTES_MAX).contains(length));
        let length = length.ok_or_else(|| {
            let value = i32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]);
            MessageError::Value { field: "length of a notification", value: value.into() }
        })?;
        let Some((message, behind)) = message.split_at_checked(length) else { break };
        let notification = Notification::decode(message)?;
        debug!("from server {} for the election: {notification:?}", from.0);
        context.ready.push_back(Input::Notification { from, notification });
        rest = behind;
    }
    connection.put_back(rest.to_vec());
    Ok(())
}
