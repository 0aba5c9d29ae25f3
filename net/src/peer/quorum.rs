//! The quorum port: learners' connections to this server (`Leader.LearnerCnxAcceptor`, `LearnerHandler`),
//! and this server's to its leader (`Learner`).

use super::connection::{Connection, Overfull, READ_BYTES};
use super::dial::{Dial, Dialled};
use super::events::{Done, Key, Port};
use super::log::{self, Part};
use super::tree::{CHUNKS_MAX, Staging, Tree};
use super::{Context, STRANGERS_MAX};
use crate::ring::Stream;
use bytes::Bytes;
use ringkeeper_engine::id::{ServerId, Zxid};
use ringkeeper_engine::zookeeper::restore::Staged;
use ringkeeper_quorum::message::{MessageError, QuorumPacket, ToLeader, ToLearner};
use ringkeeper_quorum::zab::{Attempt, Input, Link};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::mpsc::Receiver;
use std::time::Instant;
use tracing::{debug, warn};

/// The longest packet of somebody who has not said who it is.
const INTRODUCTION_BYTES_MAX: usize = 4096;
/// Bytes that may wait for the leader: requests that were forwarded, and acks.
const TO_LEADER_BYTES_MAX: usize = 512 << 20;
/// A packet's type, zxid and length of data.
const PACKET_HEAD_BYTES: usize = 16;

struct Learner {
    connection: Connection,
    /// Once it has said who it is.
    server: Option<ServerId>,
    since: Instant,
    /// Bytes that are needed before there can be a whole packet.
    wanted: usize,
}

struct Leader {
    attempt: Attempt,
    server: ServerId,
    /// `None` while it is being connected to.
    connection: Option<Connection>,
    wanted: usize,
    /// While a whole tree comes.
    staging: Option<Staging>,
    /// Bytes came while none are taken.
    waits: bool,
}

/// See the module.
#[derive(Default)]
pub struct Quorum {
    learners: BTreeMap<Link, Learner>,
    next: u64,
    leader: Option<Leader>,
    /// Whether what comes from the leader is left where it is.
    is_deaf: bool,
    staged: Option<(Attempt, Box<Staged>)>,
}

impl Quorum {
    /// Learners that have not said who they are.
    pub fn strangers(&self) -> usize {
        self.learners.values().filter(|learner| learner.server.is_none()).count()
    }

    /// Somebody connected.
    pub fn accepted(&mut self, context: &Context, stream: Stream, address: SocketAddr) {
        debug_assert!(self.strangers() < STRANGERS_MAX);
        self.next += 1;
        let (link, events) = (Link(self.next), Rc::clone(&context.events));
        let bytes_max = context.config.learner_bytes_max;
        let connection = Connection::new(stream, address, Key::Learner(link), events, READ_BYTES, bytes_max);
        let learner = Learner { connection, server: None, since: Instant::now(), wanted: 1 };
        self.learners.insert(link, learner);
    }

    /// Ends the connections of those who do not say who they are.
    pub fn sweep(&mut self, context: &mut Context) {
        let timeout = context.config.election_timeout;
        let silent = |learner: &mut Learner| learner.server.is_none() && learner.since.elapsed() > timeout;
        for (_, learner) in self.learners.extract_if(.., |_, learner| silent(learner)) {
            let address = learner.connection.address();
            context.warnings.say(address, "it connected as a learner and did not say who it is");
        }
    }

    /// Bytes came from a learner, or its connection ended.
    pub fn learner_arrived(&mut self, context: &mut Context, link: Link) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        let packet_bytes_max = context.config.packet_bytes_max;
        let Learner { connection, server, wanted, .. } = learner;
        let mut fault = None;
        let bytes_max = if server.is_some() { packet_bytes_max } else { INTRODUCTION_BYTES_MAX };
        let taken = take_packets(connection, wanted, bytes_max, |packet, stream| {
            let message = ToLeader::decode(packet, stream)?;
            if server.is_none() {
                let (ToLeader::FollowerInfo { info, .. } | ToLeader::ObserverInfo { info, .. }) = &message
                else {
                    fault = Some("it did not say who it is".to_owned());
                    return Ok(ControlFlow::Break(()));
                };
                *server = Some(info.server);
                debug!("server {} at {} is a learner", info.server.0, connection.address());
            }
            context.ready.push_back(Input::FromLearner(link, message));
            Ok(ControlFlow::Continue(()))
        });
        if let Err(error) = taken {
            fault = Some(format!("no packet of a learner: {error}"));
        }
        let (known, address) = (server.is_some(), connection.address());
        match (fault, connection.ended()) {
            (Some(fault), _) => context.warnings.say(address, &format!("{}{fault}", named(*server))),
            (None, Some(why)) => debug!("{address}: {}the connection ended: {why}", named(*server)),
            (None, None) => return,
        }
        self.learners.remove(&link);
        if known {
            context.ready.push_back(Input::LearnerLost(link));
        }
    }

    /// Tells a learner.
    pub fn tell_learner(&mut self, context: &mut Context, link: Link, message: &ToLearner) {
        let Some(learner) = self.learners.get(&link) else { return };
        let sent = match message {
            ToLearner::Proposals(batch) => learner.connection.send_proposals(batch),
            message => learner.connection.send(|out| message.encode(out)),
        };
        if let Err(overfull) = sent {
            let Overfull { bytes, bytes_max } = overfull;
            let what = format!(
                "{}it does not keep up: {bytes} bytes wait for it, of at most {bytes_max}",
                named(learner.server)
            );
            self.lose_learner(context, link, &what);
        }
    }

    fn lose_learner(&mut self, context: &mut Context, link: Link, what: &str) {
        if let Some(learner) = self.learners.remove(&link) {
            context.warnings.say(learner.connection.address(), what);
            context.ready.push_back(Input::LearnerLost(link));
        }
    }

    /// Ends a learner's connection.
    pub fn close_learner(&mut self, link: Link) {
        self.learners.remove(&link);
    }

    /// Sends a whole tree; what is told the learner from here on follows it. As much of that may wait as the tree
    /// is long: with a bound that has nothing to do with it, a learner that is sent a large one under load would be
    /// given up, come again and be sent it anew, for ever. As it is, that takes more than a tree's bytes of
    /// transactions in the time of a tree, which nobody catches up with.
    pub fn send_tree(&mut self, context: &mut Context, link: Link, zxid: Zxid, tree: Tree) {
        let Some(learner) = self.learners.get(&link) else { return };
        let bytes = tree.bytes;
        if let Err(error) = tree.send(zxid, learner.connection.send_transfer(CHUNKS_MAX, bytes)) {
            self.lose_learner(context, link, &format!("the tree was not sent: {error}"));
        }
    }

    /// Sends a part of the log; what is told the learner from here on follows it.
    pub fn send_log(&mut self, context: &mut Context, link: Link, part: Part) {
        let Some(learner) = self.learners.get(&link) else { return };
        let sent = match &context.config.log {
            Some(log) => {
                let chunks = learner.connection.send_transfer(CHUNKS_MAX, 0);
                log::send(log.clone(), part, chunks).map_err(|error| error.to_string())
            }
            None => Err("this server keeps none".to_owned()),
        };
        if let Err(error) = sent {
            self.lose_learner(context, link, &format!("the log was not sent: {error}"));
        }
    }

    /// Searches the log for where a learner's ends.
    pub fn seek_log(&mut self, context: &mut Context, link: Link, last: Zxid) {
        let begun = match &context.config.log {
            Some(log) => log::seek(log.clone(), link, last, context.results.clone()).is_ok(),
            None => false,
        };
        if !begun {
            context.ready.push_back(Input::LogSought(link, None));
        }
    }

    /// Connects to a leader.
    pub fn connect(&mut self, context: &mut Context, attempt: Attempt, server: ServerId) {
        self.leader =
            Some(Leader { attempt, server, connection: None, wanted: 1, staging: None, waits: false });
        let config = &context.config;
        let hosts = config.hosts(server, Port::Quorum);
        let (timeout, keep_alive) = (config.leader_timeout, config.keep_alive);
        let resolve = config.resolve.clone();
        let dial = Dial { hosts, resolve, timeout, keep_alive, first_words: Vec::new() };
        let results = context.results.clone();
        if let Err(error) = dial.begin(move |dialled| results.put(Done::Leader(attempt, dialled))) {
            context.results.put(Done::Leader(attempt, Err(error)));
        }
    }

    /// A thread has reached the leader, or not.
    pub fn dialled(&mut self, context: &mut Context, attempt: Attempt, dialled: Dialled) {
        let Some(leader) = self.leader.as_mut().filter(|leader| leader.attempt == attempt) else { return };
        match dialled {
            Ok((stream, address)) => {
                let (key, events) = (Key::Leader(attempt), Rc::clone(&context.events));
                let stream = Stream::new(stream);
                let connection =
                    Connection::new(stream, address, key, events, READ_BYTES, TO_LEADER_BYTES_MAX);
                leader.connection = Some(connection);
                context.ready.push_back(Input::Connected(attempt));
            }
            Err(error) => {
                debug!("server {}, the leader, cannot be reached: {error}", leader.server.0);
                self.leader = None;
                context.ready.push_back(Input::LeaderLost(attempt));
            }
        }
    }

    /// Tells the leader.
    pub fn tell_leader(&mut self, context: &mut Context, attempt: Attempt, message: &ToLeader) {
        let Some(connection) = self.connection_of(attempt) else { return };
        if let Err(overfull) = connection.send(|out| message.encode(out)) {
            let what = format!("the leader does not keep up: {} bytes wait for it", overfull.bytes);
            context.warnings.say(connection.address(), &what);
            self.lose_leader(context, attempt);
        }
    }

    fn connection_of(&self, attempt: Attempt) -> Option<&Connection> {
        self.leader.as_ref().filter(|leader| leader.attempt == attempt)?.connection.as_ref()
    }

    fn lose_leader(&mut self, context: &mut Context, attempt: Attempt) {
        self.leader = None;
        context.ready.push_back(Input::LeaderLost(attempt));
    }

    /// Ends the connection to the leader.
    pub fn close_leader(&mut self, attempt: Attempt) {
        self.leader.take_if(|leader| leader.attempt == attempt);
        self.staged = None;
    }

    /// Whether there is room for what comes from the leader. Where there is none, the leader's writes wait.
    pub fn hear_leader(&mut self, context: &mut Context, has_room: bool) {
        self.is_deaf = !has_room;
        if has_room && let Some(leader) = self.leader.as_ref().filter(|leader| leader.waits) {
            self.leader_arrived(context, leader.attempt);
        }
    }

    /// Bytes came from the leader, or its connection ended.
    pub fn leader_arrived(&mut self, context: &mut Context, attempt: Attempt) {
        let Some(leader) = self.leader.as_mut().filter(|leader| leader.attempt == attempt) else { return };
        let Some(connection) = &leader.connection else { return };
        leader.waits = self.is_deaf && leader.staging.is_none();
        if leader.waits {
            // What it said before counts for nothing: none of it was acked.
            if let Some(why) = connection.ended() {
                debug!("the connection to server {}, the leader, ended: {why}", leader.server.0);
                self.lose_leader(context, attempt);
            }
            return;
        }
        let mut fault = None;
        if let Some(staging) = &leader.staging {
            give(connection, staging);
        } else {
            let mut snapshot = None;
            let bytes_max = context.config.packet_bytes_max;
            let taken = take_packets(connection, &mut leader.wanted, bytes_max, |packet, stream| {
                let message = ToLearner::decode(packet, stream)?;
                if let ToLearner::Snap(zxid) = message {
                    snapshot = Some(zxid);
                }
                context.ready.push_back(Input::FromLeader(attempt, message));
                Ok(if snapshot.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            });
            fault = taken.err().map(|error| format!("no packet of a leader: {error}"));
            if let Some(zxid) = snapshot {
                match Staging::begin(attempt, zxid, context.config.seed, context.results.clone()) {
                    Ok(staging) => give(connection, leader.staging.insert(staging)),
                    Err(error) => fault = Some(format!("its tree cannot be taken: {error}")),
                }
            }
        }
        match (fault, connection.ended()) {
            (Some(fault), _) => {
                let what = format!("server {}, the leader: {fault}", leader.server.0);
                context.warnings.say(connection.address(), &what);
            }
            (None, Some(why)) => {
                debug!("the connection to server {}, the leader, ended: {why}", leader.server.0)
            }
            (None, None) => return,
        }
        self.lose_leader(context, attempt);
    }

    /// There is room for more of the tree.
    pub fn stage_took(&mut self, context: &mut Context, attempt: Attempt) {
        let Some(leader) = self.leader.as_mut().filter(|leader| leader.attempt == attempt) else { return };
        if let (Some(connection), Some(staging)) = (&leader.connection, &leader.staging) {
            give(connection, staging);
            context.ready.push_back(Input::SnapshotProgress(attempt));
        }
    }

    /// The tree is whole, or damaged.
    pub fn staged(
        &mut self,
        context: &mut Context,
        attempt: Attempt,
        staged: Result<Box<Staged>, String>,
        chunks: &Receiver<Vec<u8>>,
    ) {
        let Some(leader) = self.leader.as_mut().filter(|leader| leader.attempt == attempt) else { return };
        leader.staging = None;
        let Some(connection) = &leader.connection else { return };
        match staged {
            Ok(mut staged) => {
                // What follows the tree has come with it.
                let mut rest = std::mem::take(&mut staged.rest);
                chunks.try_iter().for_each(|chunk| rest.extend_from_slice(&chunk));
                rest.extend_from_slice(&connection.take_input(0));
                connection.put_back(rest);
                leader.wanted = 1;
                self.staged = Some((attempt, staged));
                context.ready.push_back(Input::SnapshotStaged(attempt));
                self.leader_arrived(context, attempt);
            }
            Err(error) => {
                warn!(
                    "{}: the tree of server {}, the leader, is {error}",
                    connection.address(),
                    leader.server.0
                );
                self.lose_leader(context, attempt);
            }
        }
    }

    /// The tree that came, once.
    pub fn take_staged(&mut self, attempt: Attempt) -> Option<Box<Staged>> {
        self.staged.take_if(|(staged, _)| *staged == attempt).map(|(_, staged)| staged)
    }
}

fn named(server: Option<ServerId>) -> String {
    server.map_or_else(String::new, |server| format!("server {}: ", server.0))
}

/// Hands over what came, as far as there is room.
fn give(connection: &Connection, staging: &Staging) {
    let bytes = connection.take_input(1);
    if !bytes.is_empty() {
        connection.put_back(staging.give(bytes));
    }
}

/// Takes the whole packets of what came, until one breaks. `wanted` is how many bytes are needed before it
/// is worth while to look again.
fn take_packets(
    connection: &Connection,
    wanted: &mut usize,
    bytes_max: usize,
    mut take: impl FnMut(&QuorumPacket<'_>, &Bytes) -> Result<ControlFlow<()>, MessageError>,
) -> Result<(), MessageError> {
    let input = connection.take_input(*wanted);
    if input.is_empty() {
        return Ok(());
    }
    let stream = Bytes::from(input);
    let mut at = 0;
    while let Some((packet, length)) = QuorumPacket::decode(&stream[at..], bytes_max)? {
        at += length;
        if take(&packet, &stream)?.is_break() {
            connection.put_back(stream[at..].to_vec());
            *wanted = 1;
            return Ok(());
        }
    }
    *wanted = bytes_needed(&stream[at..]);
    connection.put_back(stream[at..].to_vec());
    Ok(())
}

/// How long a packet is at least, of which this is the beginning and not all.
fn bytes_needed(packet: &[u8]) -> usize {
    const IDENTITIES_COUNT_BYTES: usize = 4;
    let length = packet.get(PACKET_HEAD_BYTES - 4..PACKET_HEAD_BYTES);
    let length = length.and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_be_bytes);
    let least = PACKET_HEAD_BYTES + length.max(0) as usize + IDENTITIES_COUNT_BYTES;
    least.max(packet.len() + 1)
}
