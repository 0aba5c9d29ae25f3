//! What a server keeps while its role changes: its epochs, its log's end, what is committed and
//! applied, and its part in elections.

use super::{Config, Effect, Epochs, Generation, Recovered, Serving};
use crate::election::{Decision, Election, Tell, View};
use crate::history::History;
use crate::message::{Notification, PeerState, Transaction, Vote};
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
    pub(super) down: BTreeSet<ServerId>,
    pub(super) attempts: u64,
    election: Election,
    members_text: Box<str>,
}

impl Core {
    pub(super) fn new(config: Config, recovered: Recovered) -> Self {
        let history = History::new(recovered.floor, recovered.log);
        let members_text = config.members.to_string().into();
        // A transaction may be on disk before the epoch that it belongs to: accepting that epoch goes
        // without saying.
        let accepted = recovered.epochs.accepted.max(history.last().epoch());
        Core {
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
            down: BTreeSet::new(),
            attempts: 0,
            election: Election::new(config.me, config.timing.election),
            members_text,
            config,
        }
    }

    pub(super) fn is_observer(&self) -> bool {
        !self.config.members.is_voter(self.config.me)
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
        let own = if self.is_observer() { Vote::default() } else { own };
        self.election.look(self.now, own, View { verifier: self.config.members.verifier(), down: &self.down })
    }

    pub(super) fn look_on(&mut self) -> (Option<Decision>, Tell) {
        let mut tell = Tell::Nobody;
        let view = View { verifier: self.config.members.verifier(), down: &self.down };
        (self.election.on_tick(self.now, view, &mut tell), tell)
    }

    pub(super) fn receive_notmsg(
        &mut self,
        from: ServerId,
        notification: &Notification,
    ) -> (Option<Decision>, Tell) {
        let mut tell = Tell::Nobody;
        let view = View { verifier: self.config.members.verifier(), down: &self.down };
        (self.election.receive(self.now, from, notification, view, &mut tell), tell)
    }

    pub(super) fn on_down(&mut self) -> Option<Decision> {
        self.election.on_down(self.now, View { verifier: self.config.members.verifier(), down: &self.down })
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
        for voter in self.config.members.verifier().voters().filter(|voter| *voter != self.config.me) {
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

    pub(super) fn append(&mut self, transactions: Vec<Transaction>, out: &mut Vec<Effect>) {
        transactions.iter().for_each(|transaction| self.history.push(transaction.clone()));
        out.push(Effect::Append(self.generation, transactions));
    }

    /// Cuts the log.
    pub(super) fn rewind(&mut self, to: Zxid, out: &mut Vec<Effect>) {
        self.generation.0 += 1;
        self.durable = None;
        self.history.truncate_after(to);
        self.committed = self.committed.min(to);
        self.delivered = self.delivered.min(to);
        out.push(Effect::Rewind(self.generation, to));
    }

    /// Replaces tree and log.
    pub(super) fn install(&mut self, zxid: Zxid, out: &mut Vec<Effect>) {
        self.generation.0 += 1;
        self.durable = None;
        self.history.reset(zxid);
        self.committed = zxid;
        self.delivered = zxid;
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
            let transactions = self.history.deliver(self.delivered, upto, self.config.window_bytes);
            self.delivered = transactions.last().map_or(self.delivered, |last| last.zxid);
            out.push(Effect::Deliver(transactions));
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
