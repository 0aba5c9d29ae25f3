//! What replicas ask for, done: on the simulated disks and network, and at the clients.

use super::{Connection, Ensemble, Event, Frame, Life, Work};
use crate::sim::network::JavaFollower;
use crate::sim::world::effects::{log_messages, no_accusation, say_nothing_of_extensions};
use bytes::Bytes;
use ringkeeper_engine::id::{ServerId, SessionId, Zxid};
use ringkeeper_engine::log::IoFailure;
use ringkeeper_engine::tree::TreeReader;
use ringkeeper_engine::tree::digest::TreeDigest;
use ringkeeper_engine::tree::kept::KeptFault;
use ringkeeper_engine::zookeeper::export::write_stream;
use ringkeeper_engine::zookeeper::restore::{Staged, stage};
use ringkeeper_engine::zookeeper::transaction::Transaction;
use ringkeeper_quorum::message::{Notification, QuorumPacket, ToLeader, ToLearner};
use ringkeeper_quorum::step::{Effect, Input, Reply, ReplyBatch, Service, StagedTree};
use ringkeeper_quorum::zab::{self, Attempt, Link};
use std::collections::VecDeque;

/// How long what there is no room for is left where it is.
const DEAF_US: u64 = 200;

impl Ensemble {
    pub(super) fn effects(&mut self, index: usize, out: Vec<Effect>) {
        for effect in out {
            match effect {
                Effect::Write(write) => self.work(index, Work::Write(write)),
                Effect::Upkeep(step) => self.work(index, Work::Upkeep(step)),
                Effect::Checkpoint { first, sessions } => self.work(index, Work::Checkpoint(first, sessions)),
                Effect::Mark(upto) => self.work(index, Work::Mark(upto)),
                Effect::PersistEpochs(epochs) => self.work(index, Work::Epochs(epochs)),
                Effect::FindCut(last_kept) => self.work(index, Work::FindCut(last_kept)),
                Effect::Install { zxid, sessions } => self.work(index, Work::Install(zxid, sessions)),
                Effect::Deliver { batch, .. } => self.deliver(index, &batch),
                Effect::Peer(effect) => {
                    self.log(|| format!("{}:     {effect:?}", index + 1));
                    self.peer(index, effect);
                }
                Effect::Notice(text) => {
                    no_accusation(&text);
                    self.log(|| format!("{}:     notes: {text}", index + 1));
                }
                Effect::Fatal(error) => panic!("server {}: {error}", index + 1),
            }
        }
    }

    /// Work on the disk, done in a while; of each kind in the order asked for.
    fn work(&mut self, index: usize, work: Work) {
        let life = self.life(index);
        let same = |other: &Work| std::mem::discriminant(other) == std::mem::discriminant(&work);
        let before = self.servers[index].working.iter().filter(|other| same(other)).count() as u64;
        let delay = before * 3000 + self.rng.u64(50..2500);
        let again = match &work {
            Work::Upkeep(step) => Work::Upkeep(*step),
            Work::Checkpoint(first, sessions) => Work::Checkpoint(*first, sessions.clone()),
            Work::Install(zxid, sessions) => Work::Install(*zxid, sessions.clone()),
            Work::Mark(upto) => Work::Mark(*upto),
            Work::Epochs(epochs) => Work::Epochs(*epochs),
            Work::FindCut(last_kept) => Work::FindCut(*last_kept),
            Work::Sought(link, last) => Work::Sought(*link, *last),
            // The write itself is with the disk; the event only names the kind.
            Work::Write(_) => Work::Mark(Zxid(u64::MAX)),
        };
        self.servers[index].working.push(work);
        self.after_us(delay, Event::Done(life, again));
    }

    pub(super) fn done(&mut self, life: Life, work: Work) {
        if !self.is_alive(life) {
            return;
        }
        let is_write = matches!(work, Work::Mark(Zxid(u64::MAX)));
        let server = &mut self.servers[life.server];
        let kind = std::mem::discriminant(&work);
        let position = server.working.iter().position(|other| match other {
            Work::Write(_) => is_write,
            other => !is_write && std::mem::discriminant(other) == kind,
        });
        let work = server.working.remove(position.expect("it was asked for"));
        let reader = server.replica.as_ref().expect("alive").reader();
        let disk = &mut server.disk;
        let may_be_full = matches!(work, Work::Install(..) | Work::Epochs(_) | Work::FindCut(_));
        let full_in = if self.raging && may_be_full { self.plan.full_in } else { 0 };
        let is_full = full_in > 0 && self.rng.u8(0..full_in) == 0;
        let full = || IoFailure { errno: Some(28), message: "No space left on device".to_owned() };
        let input = match work {
            Work::Install(zxid, sessions) if is_full => {
                // Its checkpoint may be there before anything behind it is forgotten.
                let steps = self.rng.usize(0..2);
                disk.install(&reader, zxid, &sessions, steps);
                Input::Installed(Err(full()))
            }
            Work::Epochs(_) if is_full => Input::EpochsPersisted(Err(full())),
            Work::FindCut(_) if is_full => Input::CutFound(Err(full())),
            Work::Write(write) => {
                disk.write(&write);
                Input::Written(write, Ok(()))
            }
            Work::Upkeep(step) => {
                disk.upkeep(step);
                Input::Upkeep(step, Ok(()))
            }
            Work::Checkpoint(first, sessions) => {
                disk.checkpoint(&reader, first, &sessions);
                Input::Checkpointed(Ok(first))
            }
            Work::Install(zxid, sessions) => {
                disk.install(&reader, zxid, &sessions, 2);
                Input::Installed(Ok(()))
            }
            Work::Mark(upto) => {
                disk.mark = upto;
                Input::Marked(Ok(()))
            }
            Work::Epochs(epochs) => {
                disk.epochs = epochs;
                Input::EpochsPersisted(Ok(epochs))
            }
            Work::FindCut(last_kept) => Input::CutFound(Ok(disk.find_cut(last_kept))),
            Work::Sought(link, last) => {
                let (after, log) = disk.transactions();
                let found = log.iter().rev().map(|entry| entry.zxid).find(|zxid| *zxid <= last);
                let common = found.or((after <= last).then_some(after));
                Input::Peer(zab::Input::LogSought(link, common))
            }
        };
        self.input(life, input);
    }

    fn deliver(&mut self, index: usize, batch: &ReplyBatch) {
        for item in &batch.items {
            match item {
                Reply::Answer { connection, frame, .. } => {
                    if let Some(client) = self.servers[index].connections.get(&connection.number) {
                        self.clients[*client].answered(&batch.bytes[frame.clone()]);
                    }
                }
                Reply::Opened { connection, session, .. } => {
                    if let Some(client) = self.servers[index].connections.get(&connection.number) {
                        self.clients[*client].opened(*session);
                    } else {
                        self.gone(index, *connection, *session);
                    }
                }
                Reply::Refused { connection } => {
                    if let Some(client) = self.servers[index].connections.remove(&connection.number) {
                        self.clients[client].disconnected();
                        self.clients[client].refused();
                    }
                }
                Reply::Close { connection, .. } => {
                    if let Some(client) = self.servers[index].connections.get(&connection.number).copied() {
                        self.leave(client);
                    }
                }
                Reply::Serving(service) => {
                    let ends = *service == Service::Nothing;
                    self.servers[index].service = *service;
                    let clients: Vec<usize> = self.servers[index].connections.values().copied().collect();
                    clients.into_iter().filter(|_| ends).for_each(|client| self.leave(client));
                }
                Reply::Changes(_) | Reply::Tree(_) | Reply::Collect { .. } | Reply::Report { .. } => {}
            }
        }
    }

    fn gone(&mut self, index: usize, connection: super::ConnectionId, session: SessionId) {
        let gone = super::Request::Gone { connection, session };
        self.ask(index, super::RequestBatch { items: vec![gone], ..super::RequestBatch::default() });
    }

    fn peer(&mut self, index: usize, effect: zab::Effect) {
        let life = self.life(index);
        match effect {
            zab::Effect::Notify(to, notification) => {
                let mut bytes = Vec::new();
                notification.encode(&mut bytes);
                let (to, delay) = (usize::from(to.0) - 1, self.latency_us());
                self.after_us(delay, Event::Notified { from: life, to, bytes });
            }
            zab::Effect::Connect(attempt, leader) => {
                let (to, delay) = (usize::from(leader.0) - 1, self.latency_us());
                self.after_us(delay, Event::Connects { from: life, attempt, to });
            }
            zab::Effect::ToLeader(attempt, mut message) => {
                if self.plan.plain >> index & 1 == 1 {
                    say_nothing_of_extensions(&mut message);
                }
                let mut bytes = Vec::new();
                message.encode(&mut bytes);
                if let Some(link) = self.link_of(life, attempt) {
                    self.send(link, true, Frame::Packet(bytes));
                }
            }
            zab::Effect::CloseLeader(attempt) => {
                if let Some(link) = self.link_of(life, attempt) {
                    self.send(link, true, Frame::End);
                }
            }
            zab::Effect::ToLearner(link, message) => {
                if matches!(message, ToLearner::NewLeader { .. }) && !self.plan.reconfigures {
                    let weight = self.members.verifier().weight(ServerId(index as u8 + 1));
                    assert!(weight > 0, "server {} leads without weight", index + 1);
                }
                let mut bytes = Vec::new();
                message.encode(&mut bytes);
                self.send(link, false, Frame::Packet(bytes));
            }
            zab::Effect::SendTree(link, zxid) => self.send(link, false, Frame::Tree(zxid)),
            zab::Effect::SendLog { link, after, upto, extended } => {
                self.send_log(index, link, (after, upto), extended);
            }
            zab::Effect::SeekLog(link, last) => self.work(index, Work::Sought(link, last)),
            zab::Effect::CloseLearner(link) => self.send(link, false, Frame::End),
            // A server does nothing else while it writes them.
            zab::Effect::Members(members, _) => {
                self.servers[index].disk.members = Some(members);
                if self.rng.bool() {
                    self.reopen_election(index);
                }
            }
            zab::Effect::MembersSeen(members) => self.servers[index].disk.next = Some(members),
            zab::Effect::Notice(_) => {}
            other => unreachable!("{other:?} is not for the network"),
        }
    }

    fn send_log(&mut self, index: usize, link: Link, (after, upto): (Zxid, Zxid), extended: bool) {
        let (_, log) = self.servers[index].disk.transactions();
        let part = log.into_iter().filter(|entry| entry.zxid > after && entry.zxid <= upto);
        let part: Vec<_> = part.collect();
        if part.last().map(|last| last.zxid) != Some(upto) {
            // A checkpoint was written meanwhile: the learner comes again.
            return self.break_link(link);
        }
        let size = self.rng.usize(1..5);
        for message in log_messages(&part, extended, size) {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            self.send(link, false, Frame::Packet(bytes));
        }
    }

    /// Whether a learner has no room for what its leader says. That the connection ends it hears all the same,
    /// and a tree is not for the log.
    fn leaves_it_there(&self, connection: &Connection) -> bool {
        let replica = self.servers[connection.learner.server].replica.as_ref();
        let is_packet = matches!(connection.to_learner.front(), Some(Frame::Packet(_)));
        is_packet && self.is_alive(connection.learner) && replica.is_some_and(|replica| !replica.can_log())
    }

    fn link_of(&self, learner: Life, attempt: Attempt) -> Option<Link> {
        let mut links = self.links.iter();
        links.find(|(_, c)| (c.learner, c.attempt) == (learner, attempt)).map(|(link, _)| *link)
    }

    fn send(&mut self, link: Link, to_leader: bool, frame: Frame) {
        let (now, latency) = (self.now_us, self.latency_us());
        let Some(connection) = self.links.get_mut(&link) else { return };
        let busy = &mut connection.busy_until[usize::from(to_leader)];
        *busy = (now + latency).max(*busy + 1);
        let delay = *busy - now;
        let frames = if to_leader { &mut connection.to_leader } else { &mut connection.to_learner };
        frames.push_back(frame);
        self.after_us(delay, Event::Frame { link, to_leader });
    }

    pub(super) fn frame_arrives(&mut self, link: Link, to_leader: bool) {
        if !to_leader && self.links.get(&link).is_some_and(|link| self.leaves_it_there(link)) {
            return self.after_us(DEAF_US, Event::Frame { link, to_leader });
        }
        let Some(connection) = self.links.get_mut(&link) else { return };
        let frames = if to_leader { &mut connection.to_leader } else { &mut connection.to_learner };
        let Some(frame) = frames.pop_front() else { return };
        let (learner, leader, attempt) = (connection.learner, connection.leader, connection.attempt);
        match (frame, to_leader) {
            (Frame::End, _) => self.break_link(link),
            (Frame::Packet(bytes), true) => {
                let bytes = Bytes::from(bytes);
                let (packet, _) = QuorumPacket::decode(&bytes, 1 << 20).expect("a packet").expect("whole");
                let message = ToLeader::decode(&packet, &bytes).expect("our own packet");
                self.input(leader, Input::Peer(zab::Input::FromLearner(link, message)));
            }
            (Frame::Packet(bytes), false) => {
                let bytes = Bytes::from(bytes);
                let (packet, _) = QuorumPacket::decode(&bytes, 1 << 20).expect("a packet").expect("whole");
                let message = ToLearner::decode(&packet, &bytes).expect("our own packet");
                if self.plan.plain >> learner.server & 1 == 1 {
                    connection.java.hear(&message);
                }
                if let ToLearner::Proposal(proposed) | ToLearner::Inform(proposed) = &message
                    && let Ok(Transaction { digest: Some(digest), .. }) = Transaction::decode(&proposed.bytes)
                {
                    self.same_digest(learner.server, proposed.zxid, TreeDigest(digest.tree_digest));
                }
                self.input(learner, Input::Peer(zab::Input::FromLeader(attempt, message)));
            }
            (Frame::Tree(zxid), _) => {
                if !self.is_alive(leader) {
                    return self.break_link(link);
                }
                let replica = self.servers[leader.server].replica.as_ref().expect("alive");
                let bytes = stream(&replica.reader(), &replica.sessions_on_disk(), zxid);
                let server = &mut self.servers[learner.server];
                server.staged_seed += 1;
                let staged = stage(&mut Some(bytes), zxid, server.staged_seed).expect("what was written");
                let Staged { database, newest, .. } = staged;
                let tree = Box::new(StagedTree { database, newest });
                self.input(learner, Input::Staged(attempt, tree));
            }
        }
    }

    pub(super) fn notified(&mut self, from: Life, to: usize, bytes: &[u8]) {
        let sender = ServerId(from.server as u8 + 1);
        if !self.reaches(from.server, to) || self.servers[to].replica.is_none() {
            return self.tell_unreachable(from.server, to);
        }
        if self.is_alive(from) {
            let notification = Notification::decode(bytes).expect("our own notification");
            for (at, peer) in [(to, from.server), (from.server, to)] {
                if self.servers[at].contacts.insert(peer) {
                    let peer = ServerId(peer as u8 + 1);
                    self.input(self.life(at), Input::Peer(zab::Input::ElectionLink { peer, up: true }));
                }
            }
            let told = zab::Input::Notification { from: sender, notification };
            self.input(self.life(to), Input::Peer(told));
        }
    }

    /// Ends the election connections of a server, as a ZooKeeper does to listen where it is from here on.
    fn reopen_election(&mut self, at: usize) {
        for peer in 0..self.servers.len() {
            if self.servers[at].contacts.contains(&peer) {
                self.tell_unreachable(at, peer);
                self.tell_unreachable(peer, at);
            }
        }
    }

    pub(super) fn connects(&mut self, from: Life, attempt: Attempt, to: usize) {
        if !self.reaches(from.server, to) || self.servers[to].replica.is_none() {
            return self.input(from, Input::Peer(zab::Input::LeaderLost(attempt)));
        }
        if self.is_alive(from) {
            self.next_link += 1;
            let connection = Connection {
                learner: from,
                attempt,
                leader: self.life(to),
                java: JavaFollower::default(),
                to_leader: VecDeque::new(),
                to_learner: VecDeque::new(),
                busy_until: [0; 2],
            };
            self.links.insert(Link(self.next_link), connection);
            self.input(from, Input::Peer(zab::Input::Connected(attempt)));
        }
    }
}

fn stream(tree: &TreeReader, sessions: &[(SessionId, u32)], zxid: Zxid) -> Vec<u8> {
    let mut bytes = Vec::new();
    let written = write_stream(tree, sessions, zxid, 1 << 16, |chunk| {
        bytes.extend_from_slice(&chunk);
        Ok::<(), KeptFault>(())
    });
    written.expect("what is in memory stays as it is");
    bytes
}
