//! What a server keeps while its role changes: its epochs, its log's end, what is committed and
//! applied, and its part in elections.

use super::{Config, Effect, Epochs, Generation, MembersBy, Recovered, Serving};
use crate::election::{Decision, Election, Tell, View};
use crate::history::History;
use crate::members::{Members, MembersError, Role};
use crate::message::{Batch, Notification, PeerState, Transaction, Vote};
use crate::reconfig;
use crate::verifier::Verifier;
use ringkeeper_engine::id::{Epoch, ServerId, Tick, Zxid};
use std::collections::BTreeSet;

/// Learners that no configuration names and that may be connected at once; as many as on the election port.
const UNKNOWN_LEARNERS_MAX: usize = 16;

pub(super) struct Core {
    pub(super) config: Config,
    pub(super) now: Tick,
    /// As they are to be; what is on disk may be older.
    pub(super) epochs: Epochs,
    pub(super) persisted: Epochs,
    /// The leader that would cut what is in the tree: a whole tree is taken from it.
    pub(super) takes_tree_of: Option<ServerId>,
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
        let seen = seen_members(&config, history.transactions(history.floor(), history.last()));
        let listed = config.members.servers().get(&config.me);
        // A transaction may be on disk before the epoch that it belongs to: accepting that epoch goes
        // without saying.
        let accepted = recovered.epochs.accepted.max(history.last().epoch());
        let mut core = Core {
            now: Tick(0),
            epochs: Epochs { accepted, ..recovered.epochs },
            persisted: recovered.epochs,
            takes_tree_of: None,
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
            seen: seen.unwrap_or_else(|| config.members.clone()),
            verifier: config.members.verifier().clone(),
            designated: None,
            election: Election::new(config.me, config.timing.election),
            members_text,
            config,
        };
        core.judge();
        core
    }

    pub(super) fn is_observer(&self) -> bool {
        self.role == Role::Observer
    }

    /// Whether another configuration was proposed than the one in force.
    pub(super) fn is_changing(&self) -> bool {
        self.seen.version() > self.config.members.version()
    }

    /// Whether a server is of the ensemble, or of what is about to be.
    pub(super) fn is_member(&self, server: ServerId) -> bool {
        [&self.config.members, &self.seen].iter().any(|members| members.servers().contains_key(&server))
    }

    /// Whether a learner may have a connection beside those of `others`: a member always; of the rest a few,
    /// each of which may be about to join.
    pub(super) fn has_room_for(&self, server: ServerId, others: impl Iterator<Item = ServerId>) -> bool {
        let strangers = others.filter(|other| !self.is_member(*other) && *other != server);
        self.is_member(server) || strangers.count() < UNKNOWN_LEARNERS_MAX
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
            let was_changing = self.is_changing();
            self.seen = members;
            self.judge();
            // What comes to nothing is to be kept no longer either.
            if was_changing || self.is_changing() {
                out.push(Effect::MembersSeen(self.seen.clone()));
            }
        }
    }

    /// What the transaction proposes to make the configuration.
    ///
    /// # Errors
    /// Why that is none.
    pub(super) fn see_transaction(
        &mut self,
        transaction: &[u8],
        out: &mut Vec<Effect>,
    ) -> Result<(), MembersError> {
        let proposed = reconfig::of_transaction(transaction).filter(|_| self.config.reconfig_enabled);
        if let Some(members) = proposed.transpose()? {
            self.see(members, out);
        }
        Ok(())
    }

    /// A configuration that was only proposed does not come to be.
    fn unsee(&mut self, out: &mut Vec<Effect>) {
        self.see(self.config.members.clone(), out);
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

    /// Whether somebody without a vote is answered. If two without one answered each other they would never
    /// come to an end; but who lost its vote and has not heard of it yet is told by anybody.
    pub(super) fn answers_strangers(&self, notification: &Notification) -> bool {
        let votes = self.verifier.is_voter(self.config.me);
        let version = |text: &str| Members::parse(text).ok().map(|members| members.version());
        let theirs = || notification.members.as_deref().and_then(version);
        votes || self.config.reconfig_enabled && theirs() < Some(self.config.members.version())
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

    /// Says what a start found beside what it was told. The log may say that a later epoch was accepted: a
    /// leader of that one is acked once it is on disk, and nothing else would bring it there.
    pub(super) fn start(&self, out: &mut Vec<Effect>) {
        if self.epochs != self.persisted {
            out.push(Effect::PersistEpochs(self.epochs));
        }
        if self.is_changing() {
            out.push(Effect::MembersSeen(self.seen.clone()));
        }
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
        out.push(Effect::Rewind(self.generation, to));
        if self.seen.version() > to.0 {
            self.unsee(out);
        }
    }

    /// Replaces tree and log.
    pub(super) fn install(&mut self, zxid: Zxid, out: &mut Vec<Effect>) {
        self.generation.0 += 1;
        self.durable = None;
        self.history.reset(zxid);
        self.takes_tree_of = None;
        self.committed = zxid;
        self.delivered = zxid;
        out.push(Effect::Install(self.generation, zxid));
        self.unsee(out);
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

/// The newest configuration that was proposed, by the log or by what is kept of it, if that is not in force.
fn seen_members(config: &Config, log: impl Iterator<Item = Transaction>) -> Option<Members> {
    if !config.reconfig_enabled {
        return None;
    }
    let proposed = log.filter_map(|transaction| reconfig::of_transaction(&transaction.bytes)?.ok());
    let newest = proposed.chain(config.next_members.clone()).max_by_key(Members::version);
    newest.filter(|members| members.version() > config.members.version())
}

#[cfg(test)]
mod tests {
    use super::super::{Input, Quit, Timing, Zab};
    use super::*;
    use crate::message::Round;

    fn members(ids: [u8; 3], version: u64) -> Members {
        let lines = ids.map(|id| format!("server.{id}=localhost:200{id}:300{id}\n")).concat();
        Members::parse(&format!("{lines}version={version:x}")).expect("a configuration")
    }

    fn config(next_members: Option<Members>) -> Config {
        Config {
            me: ServerId(1),
            members: members([1, 2, 3], 1 << 32),
            next_members,
            timing: Timing::default(),
            window_bytes: 0,
            reconfig_enabled: true,
            epoch_transactions_max: u32::MAX,
        }
    }

    fn seen(out: &[Effect]) -> Vec<u64> {
        let seen = out.iter().filter_map(|effect| match effect {
            Effect::MembersSeen(members) => Some(members.version()),
            _ => None,
        });
        seen.collect()
    }

    /// The voters that it takes until a leader is found, in this order.
    fn needed(zab: &mut Zab) -> Vec<u8> {
        let mut heard = Vec::new();
        for from in [2, 3, 4, 5] {
            let (vote, round, state) = (zab.core.election.proposal(), zab.core.round(), PeerState::Looking);
            assert_eq!(round, Round(1));
            let notification = Notification { vote, round, state, version: 2, members: None };
            let mut out = Vec::new();
            zab.step(Tick(0), Input::Notification { from: ServerId(from), notification }, &mut out);
            zab.step(Tick(1000), Input::Tick, &mut out);
            heard.push(from);
            if !zab.is_looking() {
                break;
            }
        }
        heard
    }

    /// Of a change that is in no log of its own, since it took a whole tree over, a server knows by what was
    /// kept beside the configuration in force. Those who had a vote before must not elect it alone.
    #[test]
    fn who_was_told_of_other_members_needs_a_quorum_of_both_after_a_restart() {
        let next = members([1, 4, 5], 1 << 32 | 5);
        for (kept, quorum, told) in [
            (None, vec![2], vec![]),
            (Some(next.clone()), vec![2, 3, 4], vec![next.version()]),
            (Some(next.with_version(7)), vec![2], vec![]),
        ] {
            let mut zab = Zab::new(config(kept), Recovered::default());
            let mut out = Vec::new();
            zab.start(Tick(0), &mut out);
            assert_eq!((seen(&out), needed(&mut zab)), (told, quorum));
        }
        let mut zab = Zab::new(config(None), Recovered::default());
        let mut out = Vec::new();
        zab.start(Tick(0), &mut out);
        zab.step(Tick(0), Input::TreeShows(next.clone()), &mut out);
        assert_eq!((seen(&out), needed(&mut zab)), (vec![next.version()], vec![2, 3, 4]), "by a tree");
    }

    /// What two servers say to each other once the first has spoken.
    fn talk(mut servers: [Zab; 2]) -> usize {
        let mut out = Vec::new();
        servers.iter_mut().for_each(|zab| zab.start(Tick(0), &mut out));
        let (mut said, state) = (0, PeerState::Looking);
        servers[0].core.tell(ServerId(2), state, &mut out);
        let to_other = |effect| match effect {
            Effect::Notify(to, notification) if to.0 <= 2 => Some((to, notification)),
            _ => None,
        };
        loop {
            let last = std::mem::take(&mut out).into_iter().rev().find_map(to_other);
            let Some((to, notification)) = last else { break };
            let (from, hears) = if to.0 == 1 { (2, 0) } else { (1, 1) };
            let input = Input::Notification { from: ServerId(from), notification };
            servers[hears].step(Tick(0), input, &mut out);
            said += 1;
            assert!(said < 100, "they answer each other for ever");
        }
        said
    }

    #[test]
    fn two_without_a_vote_do_not_answer_each_other_for_ever() {
        let server = |me, voters: [u8; 3], version: u64| {
            let me = ServerId(me);
            Zab::new(Config { me, members: members(voters, version), ..config(None) }, Recovered::default())
        };
        let voters = [3, 4, 5];
        assert_eq!(talk([server(1, voters, 5), server(2, voters, 5)]), 1);
        // The first is told that it has no vote any more.
        assert_eq!(talk([server(1, [1, 3, 4], 4), server(2, voters, 5)]), 2);
    }

    /// A ZooKeeper closes its election port, and opens it again, whenever another configuration is in force.
    #[test]
    fn a_leader_that_was_named_is_waited_for_though_its_election_port_is_closed_for_a_moment() {
        let (mut zab, mut out) = (Zab::new(config(None), Recovered::default()), Vec::new());
        zab.start(Tick(0), &mut out);
        zab.core.designated = Some(ServerId(2));
        zab.zab_timeout(Quit::because("another was named"), &mut out);
        let mut at = |ms, up: Option<bool>| {
            let link = |up| Input::ElectionLink { peer: ServerId(2), up };
            zab.step(Tick(ms), up.map_or(Input::Tick, link), &mut out);
            zab.is_looking()
        };
        let moments = [
            (0, Some(true)),
            (10, Some(false)),
            (1000, None),
            (1005, Some(true)),
            (1500, None),
            (2000, Some(false)),
            (3000, None),
        ];
        assert!(moments.into_iter().all(|(ms, up)| !at(ms, up)));
        assert!(at(3001, None), "a second is no moment");
    }

    #[test]
    fn members_that_were_cut_off_are_kept_no_longer() {
        let mut core = Core::new(config(None), Recovered::default());
        let mut out = Vec::new();
        core.see(members([1, 4, 5], 1 << 32 | 5), &mut out);
        core.rewind(Zxid(1 << 32 | 4), &mut out);
        assert_eq!(seen(&out), [1 << 32 | 5, 1 << 32]);
        assert!(!core.is_changing());
        core.rewind(Zxid(1 << 31), &mut out);
        assert_eq!(seen(&out).len(), 2, "there is nothing to forget");
    }
}
