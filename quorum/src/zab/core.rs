//! What a server keeps while its role changes: its epochs, its log's end, what is committed and
//! applied, and its part in elections.

use super::{Config, Effect, Epochs, Generation, MembersBy, Quit, Recovered, Serving};
use crate::election::{Decision, Election, Tell, View};
use crate::history::History;
use crate::members::{Members, Role};
use crate::message::{Batch, Notification, PeerState, Transaction, Vote};
use crate::reconfig;
use crate::verifier::Verifier;
use ringkeeper_engine::id::{Epoch, ServerId, Tick, Zxid};
use std::collections::BTreeSet;

pub(super) struct Core {
    pub(super) config: Config,
    pub(super) now: Tick,
    /// As they are to be; what is on disk may be older.
    pub(super) epochs: Epochs,
    pub(super) persisted: Epochs,
    /// Whom the accepted epoch was promised to, if that was since the start.
    pub(super) promised: Option<ServerId>,
    pub(super) history: History,
    pub(super) generation: Generation,
    /// How far the log is on disk; `None` until a cut or a replacement of it is.
    pub(super) durable: Option<Zxid>,
    pub(super) committed: Zxid,
    pub(super) delivered: Zxid,
    pub(super) serving: Serving,
    /// The vote that made the present leader.
    pub(super) vote: Vote,
    /// Servers that said something since this one started, or could be reached.
    known: BTreeSet<ServerId>,
    /// Those of them that cannot be reached any more.
    down: BTreeSet<ServerId>,
    pub(super) attempts: u64,
    /// About how long the tree is when it is sent whole, in bytes.
    pub(super) tree_bytes: u64,
    pub(super) role: Role,
    /// The newest configuration that was proposed; `config.members` is the one in force.
    pub(super) seen: Members,
    /// What a quorum is: of both, as long as they differ.
    pub(super) verifier: Verifier,
    /// Whom the last leader named to lead next.
    pub(super) designated: Option<ServerId>,
    election: Election,
    members_text: Box<str>,
}

impl Core {
    pub(super) fn new(config: Config, recovered: Recovered) -> Self {
        let history = History::new(recovered.floor, recovered.log);
        let members_text = config.members.to_string().into();
        let of_log = recovered_members(&config, history.transactions(history.floor(), history.last()));
        let listed = config.members.servers().get(&config.me);
        // A transaction may be on disk before the epoch that it belongs to: accepting that epoch goes
        // without saying.
        let accepted = recovered.epochs.accepted.max(history.last().epoch());
        let mut core = Core {
            now: Tick(0),
            epochs: Epochs { accepted, ..recovered.epochs },
            persisted: recovered.epochs,
            promised: None,
            generation: Generation(0),
            durable: Some(history.last()),
            history,
            committed: recovered.applied,
            delivered: recovered.applied,
            serving: Serving::No,
            vote: Vote::default(),
            known: BTreeSet::new(),
            down: BTreeSet::new(),
            attempts: 0,
            tree_bytes: u64::MAX,
            role: listed.map_or(Role::Participant, |member| member.role),
            seen: config.members.clone(),
            verifier: config.members.verifier().clone(),
            designated: None,
            election: Election::new(config.me, config.timing.election),
            members_text,
            config,
        };
        if let Some(members) = of_log {
            core.seen = members;
            core.judge();
        }
        core
    }

    pub(super) fn is_observer(&self) -> bool {
        self.role == Role::Observer
    }

    /// Whether another configuration was proposed than the one in force.
    pub(super) fn is_changing(&self) -> bool {
        self.seen.version() > self.config.members.version()
    }

    fn judge(&mut self) {
        let members = &self.config.members;
        let is_same = !self.is_changing() || members.verifier() == self.seen.verifier();
        self.verifier = match is_same {
            true => members.verifier().clone(),
            false => Verifier::both(members.verifier().clone(), self.seen.verifier().clone()),
        };
    }

    /// A configuration was proposed.
    pub(super) fn see(&mut self, members: Members, out: &mut Vec<Effect>) {
        if self.config.reconfig_enabled && members.version() != self.seen.version() {
            self.seen = members;
            self.judge();
            if self.is_changing() {
                out.push(Effect::MembersSeen(self.seen.clone()));
            }
        }
    }

    /// What the transaction proposes to make the configuration.
    pub(super) fn see_transaction(&mut self, transaction: &[u8], out: &mut Vec<Effect>) -> Result<(), Quit> {
        if !self.config.reconfig_enabled {
            return Ok(());
        }
        match reconfig::of_transaction(transaction) {
            None => {}
            Some(Ok(members)) => self.see(members, out),
            Some(Err(_)) => return Err(Quit("the leader's configuration cannot be read")),
        }
        Ok(())
    }

    /// A configuration that was only proposed does not come to be.
    fn unsee(&mut self) {
        self.seen = self.config.members.clone();
        self.judge();
    }

    /// A configuration is in force from here on; a leader says whom it designates to be the next. Returns
    /// whether this server is to look for a leader again.
    pub(super) fn activate(
        &mut self,
        members: Members,
        leader: Option<ServerId>,
        designated: Option<ServerId>,
        by: MembersBy,
        out: &mut Vec<Effect>,
    ) -> bool {
        let before = &self.config.members;
        if !self.config.reconfig_enabled || members.version() <= before.version() {
            return false;
        }
        let (me, role) = (self.config.me, self.role);
        let leader = leader.unwrap_or(me);
        let activation = reconfig::activate(me, role, before, &members, leader, designated);
        if self.seen.version() <= members.version() {
            self.seen = members.clone();
        }
        self.members_text = members.to_string().into();
        self.config.members = members;
        self.judge();
        out.push(Effect::Members(self.config.members.clone(), by));
        let Some(activation) = activation else { return false };
        self.role = activation.role;
        if let Some(client) = activation.client {
            let text = format!("clients are to connect to {client}, which takes a restart of this server");
            out.push(Effect::Notice(text));
        }
        self.designated = designated.filter(|designated| *designated != leader);
        activation.looks_again
    }

    /// Takes the configuration of a notification if it is newer.
    pub(super) fn hear_of_members(&mut self, text: Option<&str>, out: &mut Vec<Effect>) -> bool {
        let Some(text) = text.filter(|text| self.config.reconfig_enabled && **text != *self.members_text)
        else {
            return false;
        };
        let members = Members::parse(text).ok();
        let Some(members) = members.filter(|m| m.version() > self.config.members.version()) else {
            return false;
        };
        let is_other = members.servers() != self.config.members.servers()
            || members.verifier() != self.config.members.verifier();
        self.activate(members, self.vote.leader, None, MembersBy::Word, out);
        is_other
    }

    pub(super) fn init_ms(&self) -> u64 {
        self.config.timing.tick_ms * self.config.timing.init_limit
    }

    pub(super) fn sync_ms(&self) -> u64 {
        self.config.timing.tick_ms * self.config.timing.sync_limit
    }

    pub(super) fn look(&mut self) -> Option<Decision> {
        let own =
            Vote { epoch: self.epochs.current, zxid: self.history.last(), leader: Some(self.config.me) };
        let own = if self.config.members.is_voter(self.config.me) { own } else { Vote::default() };
        self.election.look(self.now, own, View { verifier: &self.verifier, down: &self.down })
    }

    pub(super) fn look_on(&mut self) -> (Option<Decision>, Tell) {
        let mut tell = Tell::Nobody;
        let view = View { verifier: &self.verifier, down: &self.down };
        (self.election.on_tick(self.now, view, &mut tell), tell)
    }

    pub(super) fn receive_notmsg(
        &mut self,
        from: ServerId,
        notification: &Notification,
    ) -> (Option<Decision>, Tell) {
        let mut tell = Tell::Nobody;
        self.known.insert(from);
        let view = View { verifier: &self.verifier, down: &self.down };
        (self.election.receive(self.now, from, notification, view, &mut tell), tell)
    }

    /// Takes in what a voter says when this server looks for no leader.
    pub(super) fn overhear(&mut self, from: ServerId, notification: &Notification) {
        self.known.insert(from);
        self.election.overhear(from, notification);
    }

    /// Whether a voter stands for somebody better than this server's leader, in the same election.
    pub(super) fn is_overtaken(&self, notification: &Notification) -> bool {
        self.election.is_overtaken(notification, View { verifier: &self.verifier, down: &self.down })
    }

    pub(super) fn resume(&mut self) -> Option<Decision> {
        self.election.resume(self.now, View { verifier: &self.verifier, down: &self.down })
    }

    /// A server's election port was reached, or cannot be any more.
    pub(super) fn note_link(&mut self, peer: ServerId, up: bool) {
        if up {
            self.known.insert(peer);
            self.down.remove(&peer);
        } else if self.known.contains(&peer) {
            self.down.insert(peer);
        }
    }

    pub(super) fn on_down(&mut self) -> Option<Decision> {
        self.election.on_down(self.now, View { verifier: &self.verifier, down: &self.down })
    }

    pub(super) fn round(&self) -> crate::message::Round {
        self.election.round()
    }

    /// Tells a server this one's vote.
    pub(super) fn tell(&self, to: ServerId, state: PeerState, out: &mut Vec<Effect>) {
        let looking = state == PeerState::Looking;
        let notification = Notification {
            vote: if looking { self.election.proposal() } else { self.vote },
            round: self.election.round(),
            state,
            version: crate::message::election::VERSION,
            members: Some(self.members_text.clone()),
        };
        out.push(Effect::Notify(to, notification));
    }

    /// Tells all voters which candidate this server knows.
    pub(super) fn tell_all(&self, out: &mut Vec<Effect>) {
        for voter in self.verifier.voters().filter(|voter| *voter != self.config.me) {
            self.tell(voter, PeerState::Looking, out);
        }
    }

    pub(super) fn serve(&mut self, serving: Serving, out: &mut Vec<Effect>) {
        self.serving = serving;
        out.push(Effect::Serve(serving));
    }

    /// Promises `leader` to accept no epoch before this one.
    pub(super) fn accept(&mut self, epoch: Epoch, leader: ServerId, out: &mut Vec<Effect>) {
        self.epochs.accepted = epoch;
        self.promised = Some(leader);
        out.push(Effect::PersistEpochs(self.epochs));
    }

    /// Takes on an epoch whose initial history is on disk.
    pub(super) fn adopt(&mut self, epoch: Epoch, out: &mut Vec<Effect>) {
        if self.epochs.current < epoch {
            self.epochs.current = epoch;
            out.push(Effect::PersistEpochs(self.epochs));
        }
    }

    pub(super) fn append(&mut self, batch: Batch, out: &mut Vec<Effect>) {
        self.history.push(batch.clone());
        out.push(Effect::Append(self.generation, batch));
    }

    /// Cuts the log.
    pub(super) fn rewind(&mut self, to: Zxid, out: &mut Vec<Effect>) {
        self.generation.0 += 1;
        self.durable = None;
        self.history.truncate_after(to);
        self.committed = self.committed.min(to);
        self.delivered = self.delivered.min(to);
        if self.seen.version() > to.0 {
            self.unsee();
        }
        out.push(Effect::Rewind(self.generation, to));
    }

    /// Replaces tree and log.
    pub(super) fn install(&mut self, zxid: Zxid, out: &mut Vec<Effect>) {
        self.generation.0 += 1;
        self.durable = None;
        self.history.reset(zxid);
        self.committed = zxid;
        self.delivered = zxid;
        self.unsee();
        out.push(Effect::Install(self.generation, zxid));
    }

    pub(super) fn on_durable(&mut self, generation: Generation, upto: Zxid) {
        if generation == self.generation {
            self.durable = self.durable.max(Some(upto));
        }
    }

    pub(super) fn is_durable(&self, zxid: Zxid) -> bool {
        self.durable.is_some_and(|durable| durable >= zxid)
    }

    /// Everything up to here is committed.
    pub(super) fn commit(&mut self, upto: Zxid) {
        self.committed = self.committed.max(upto);
    }

    /// Applies what is committed and on this server's disk.
    pub(super) fn deliver(&mut self, out: &mut Vec<Effect>) {
        let upto = self.durable.unwrap_or_default().min(self.committed);
        if upto > self.delivered {
            let batches: Vec<Batch> = self.history.range(self.delivered, upto).collect();
            self.delivered = batches.last().map_or(self.delivered, Batch::last);
            out.push(Effect::Deliver(batches));
        }
        self.history.trim(self.delivered, self.config.window_bytes);
    }

    pub(super) fn check(&self) {
        assert!(self.persisted.accepted <= self.epochs.accepted);
        assert!(self.persisted.current <= self.epochs.current);
        assert!(self.epochs.current <= self.epochs.accepted);
        assert!(self.history.last().epoch() <= self.epochs.accepted);
        assert!(self.history.floor() <= self.delivered);
        assert!(self.delivered <= self.committed);
        assert!(self.committed <= self.history.last());
        assert!(self.durable.is_none_or(|durable| durable <= self.history.last()));
        assert!(self.durable.is_none_or(|durable| self.delivered <= durable));
    }
}

/// The newest configuration that a log proposes.
fn recovered_members(config: &Config, log: impl Iterator<Item = Transaction>) -> Option<Members> {
    if !config.reconfig_enabled {
        return None;
    }
    let proposed = log.filter_map(|transaction| reconfig::of_transaction(&transaction.bytes)?.ok());
    proposed.last().filter(|members| members.version() > config.members.version())
}
