//! What servers ask for, done: on the simulated disks and network, and under the oracle's eyes.

use super::Event;
use super::World;
use crate::sim::disk::LogOp;
use crate::sim::network::{Connection, Frame, Life, TO_LEADER, TO_LEARNER};
use crate::sim::oracle::value;
use ringkeeper_engine::id::{ServerId, Tick, Zxid};
use ringkeeper_quorum::message::{Batch, Notification, ToLeader, ToLearner, Transaction};
use ringkeeper_quorum::zab::{Attempt, Effect, Input, Link, Serving};

/// A learner introduces itself as a Java server does.
pub(crate) fn say_nothing_of_extensions(message: &mut ToLeader) {
    if let ToLeader::FollowerInfo { info, .. } | ToLeader::ObserverInfo { info, .. } = message {
        info.extended = false;
    }
}

/// What a learner is sent of a log: a Ringkeeper in batches of at most so many.
pub(crate) fn log_messages(log: &[Transaction], extended: bool, size: usize) -> Vec<ToLearner> {
    if extended {
        let batch = |part| ToLearner::Proposals(Batch::of(part).expect("no part is empty"));
        return log.chunks(size).map(batch).collect();
    }
    let messages = |entry: &Transaction| [ToLearner::Proposal(entry.clone()), ToLearner::Commit(entry.zxid)];
    log.iter().flat_map(messages).collect()
}

impl World {
    pub(super) fn input(&mut self, life: Life, input: Input) {
        if !self.is_alive(life) {
            return;
        }
        if !matches!(input, Input::Tick) {
            self.log(|| format!("{}: {input:?}", life.server + 1));
        }
        self.steps += 1;
        let now = Tick(self.now_ms());
        let mut out = Vec::new();
        self.servers[life.server].zab.as_mut().expect("alive").step(now, input, &mut out);
        self.effects(life.server, out);
    }

    pub(super) fn effects(&mut self, index: usize, out: Vec<Effect>) {
        for effect in out {
            self.log(|| format!("{}:     {effect:?}", index + 1));
            self.effect(index, effect);
        }
        self.schedule_disk(index);
    }

    /// A moment at which a crash hurts.
    fn is_delicate(effect: &Effect) -> bool {
        match effect {
            Effect::PersistEpochs(_) | Effect::Rewind(..) | Effect::Install(..) | Effect::Serve(_) => true,
            Effect::ToLeader(_, ToLeader::AckEpoch { .. }) => true,
            Effect::ToLeader(_, ToLeader::Ack(zxid)) => zxid.counter() == 0,
            Effect::ToLearner(_, ToLearner::NewLeader { .. } | ToLearner::UpToDate) => true,
            _ => false,
        }
    }

    /// Ends the server, or everything, and lets it come back soon; or breaks its connections.
    pub(super) fn ambush(&mut self, life: Life) {
        if !self.is_alive(life) || self.settings.ambush == 0 {
            return;
        }
        if self.rng.u8(0..3) == 0 {
            let own = |c: &&Connection| c.learner == life || c.leader == life;
            let connections = self.network.connections.iter();
            let links: Vec<_> = connections.filter(|(_, c)| own(c)).map(|(link, _)| *link).collect();
            return links.into_iter().for_each(|link| self.break_connection(link));
        }
        let silent = self.rng.bool();
        let all = self.rng.u8(0..3) == 0;
        for index in (0..self.servers.len()).filter(|index| all || *index == life.server) {
            self.crash(index, silent);
            self.restart_within_ms(index, 200);
        }
    }

    fn effect(&mut self, index: usize, effect: Effect) {
        let life = self.life(index);
        if self.settings.ambush > 0
            && Self::is_delicate(&effect)
            && self.rng.u32(0..self.settings.ambush) == 0
        {
            let delay = self.rng.u64(0..4000);
            self.after_us(delay, Event::Ambush(life));
        }
        match effect {
            Effect::Notify(to, notification) => {
                self.servers[index].round = notification.round;
                self.send_notification(life, to, &notification);
            }
            Effect::Connect(attempt, to) => {
                let delay = self.latency_us();
                self.after_us(delay, Event::Connect { from: life, attempt, to: usize::from(to.0) - 1 });
            }
            Effect::ToLeader(attempt, message) => self.send_to_leader(life, attempt, message),
            Effect::CloseLeader(attempt) => self.close_leader(life, attempt),
            Effect::ToLearner(link, message) => {
                let mut bytes = Vec::new();
                message.encode(&mut bytes);
                self.send(link, TO_LEARNER, Frame::Packet(bytes.into()));
            }
            Effect::SendTree(link, zxid) => {
                let tree = self.servers[index].tree.clone();
                assert_eq!(tree.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid), zxid);
                self.send(link, TO_LEARNER, Frame::Tree(tree));
            }
            Effect::SeekLog(link, last) => {
                let delay = self.disk_us(index);
                self.after_us(delay, Event::LogSought { at: life, link, last });
            }
            Effect::SendLog { link, after, upto, extended } => {
                self.send_log(index, link, (after, upto), extended)
            }
            Effect::CloseLearner(link) => {
                if let Some(connection) = self.network.connections.get_mut(&link) {
                    connection.open[TO_LEADER] = false;
                }
                self.send(link, TO_LEARNER, Frame::End);
            }
            Effect::FromLeader(ToLearner::Ping(zxid), _) => {
                let attempt = self.attempt_of(life);
                let message = ToLeader::Ping { zxid, touched: Vec::new() };
                attempt.into_iter().for_each(|attempt| self.send_to_leader(life, attempt, message.clone()));
            }
            Effect::PersistEpochs(epochs) => self.servers[index].disk.epoch_ops.push_back(epochs),
            Effect::Append(generation, batch) => {
                let server = &mut self.servers[index];
                let committed = server.zab.as_ref().expect("it runs").committed();
                let op = |transaction| LogOp::Append(generation, transaction, committed);
                server.disk.log_ops.extend(batch.into_transactions().map(op));
            }
            Effect::Rewind(generation, zxid) => {
                let server = &mut self.servers[index];
                server.tree.retain(|(applied, _)| *applied <= zxid);
                server.disk.log_ops.push_back(LogOp::Rewind(generation, zxid));
            }
            Effect::Install(generation, zxid) => {
                let server = &mut self.servers[index];
                server.tree = server.staged.take().expect("a tree was staged");
                self.oracle.on_tree(server.id, &server.tree);
                server.disk.log_ops.push_back(LogOp::Install(generation, zxid, server.tree.clone()));
            }
            Effect::Deliver(batches) => self.deliver(index, batches),
            Effect::Serve(serving) => self.serve(index, serving),
            Effect::FromLearner(..)
            | Effect::FromLeader(..)
            | Effect::MembersSeen(_)
            | Effect::Members(..) => {}
            Effect::Notice(text) => no_accusation(&text),
        }
    }

    fn send_notification(&mut self, from: Life, to: ServerId, notification: &Notification) {
        let to = usize::from(to.0) - 1;
        if self.settings.deaf {
            return;
        }
        let mut bytes = Vec::new();
        notification.encode(&mut bytes);
        let earliest = self.notified.get(&(from.server, to)).map_or(0, |(_, at)| *at);
        let at = (self.now_us + self.latency_us()).max(earliest);
        let number = self.next_event + 1;
        // A newer notification replaces one that has not left yet; one under way arrives before it.
        self.notified.insert((from.server, to), (number, at));
        self.after_us(at - self.now_us, Event::Notify { from, to, number, bytes: bytes.into() });
    }

    fn send_log(&mut self, index: usize, link: Link, (after, upto): (Zxid, Zxid), extended: bool) {
        let log = self.servers[index].disk.read(after, upto);
        let size = self.rng.usize(1..5);
        for message in log_messages(&log, extended, size) {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            self.send(link, TO_LEARNER, Frame::Packet(bytes.into()));
        }
    }

    fn attempt_of(&self, life: Life) -> Option<Attempt> {
        let mut own = self.network.connections.values().filter(|c| c.learner == life && c.open[TO_LEARNER]);
        own.next_back().map(|connection| connection.attempt)
    }

    fn send_to_leader(&mut self, life: Life, attempt: Attempt, mut message: ToLeader) {
        if self.settings.plain >> life.server & 1 == 1 {
            say_nothing_of_extensions(&mut message);
        }
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let mut connections = self.network.connections.iter();
        let link =
            connections.find(|(_, c)| (c.learner, c.attempt) == (life, attempt)).map(|(link, _)| *link);
        link.into_iter().for_each(|link| self.send(link, TO_LEADER, Frame::Packet(bytes.clone().into())));
    }

    fn close_leader(&mut self, life: Life, attempt: Attempt) {
        let mut connections = self.network.connections.iter_mut();
        let found = connections.find(|(_, c)| (c.learner, c.attempt) == (life, attempt));
        if let Some((link, connection)) = found {
            connection.open[TO_LEARNER] = false;
            let link = *link;
            self.send(link, TO_LEADER, Frame::End);
        }
    }

    fn deliver(&mut self, index: usize, batches: Vec<Batch>) {
        let server = &mut self.servers[index];
        for transaction in batches.into_iter().flat_map(Batch::into_transactions) {
            self.oracle.on_deliver(server.id, &mut server.tree, &transaction);
            if server.pending.remove(&transaction.zxid) == Some(value(&transaction)) {
                self.oracle.acked.insert(value(&transaction));
            }
        }
    }

    fn serve(&mut self, index: usize, serving: Serving) {
        let server = &mut self.servers[index];
        let committed = server.zab.as_ref().expect("it runs").committed();
        match serving {
            Serving::No => {
                server.pending.clear();
                self.interruptions += 1;
            }
            Serving::Leader(epoch) => {
                let weight = self.members.verifier().weight(server.id);
                assert!(weight > 0, "server {} leads without weight", server.id.0);
                self.oracle.on_established(server.id, epoch, committed);
            }
            Serving::Learner { leader, epoch, .. } => {
                self.oracle.on_serving(server.id, leader, epoch, committed);
            }
        }
    }
}

/// Here all servers keep to the protocol: one that says of another that it does not is wrong itself.
pub(crate) fn no_accusation(notice: &str) {
    assert!(!notice.contains("which it was not sent"), "{notice}");
}
