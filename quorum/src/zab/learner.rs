//! A learner: FOLLOWING with a vote, OBSERVING without.

use super::core::Core;
use super::{Attempt, Effect, MembersBy, Quit, Serving};
use crate::members::Members;
use crate::message::{Batch, LearnerInfo, Notification, PeerState, ToLeader, ToLearner, Transaction};
use crate::sync::NOTHING_IN_COMMON;
use ringkeeper_engine::id::{Epoch, ServerId, Tick, Zxid};
use std::fmt;

/// Attempts to connect to a leader before another is looked for.
const CONNECTS_MAX: u32 = 10;
/// Longest wait between two of them.
const CONNECT_RETRY_MS_MAX: u64 = 200;
/// How long the election port of a leader that was named may be closed before it leads: a ZooKeeper closes and
/// opens it whenever another configuration is in force.
const NAMED_CLOSED_MS_MAX: u64 = 1000;

/// How far a learner is. Later stages come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Between two attempts to connect.
    Waiting,
    /// The connection is on its way.
    Connecting,
    /// Introduced; waits for LEADERINFO.
    Discovery,
    /// The leader's epoch goes to disk before it is acked.
    Accepting,
    /// ACKEPOCH sent; waits for DIFF, TRUNC or SNAP.
    Choosing,
    /// A whole tree is on its way.
    Staging,
    /// The leader's log comes.
    Receiving,
    /// NEWLEADER came; what came before it goes to disk.
    Persisting,
    /// The epoch goes to disk.
    Adopting,
    /// NEWLEADER is acked; waits for UPTODATE.
    Acked,
    /// Serves.
    Active,
}

/// A move to a later epoch, of a leader that this server follows already.
#[derive(Clone, Copy, Debug)]
struct Turn {
    epoch: Epoch,
    /// ACKEPOCH was sent.
    promised: bool,
    /// Where the log ended at NEWLEADER: what the epoch begins with.
    barrier: Option<Zxid>,
    /// NEWLEADER was acked.
    acked: bool,
    /// UPTODATE came.
    established: bool,
}

pub(super) struct Learning {
    leader: ServerId,
    /// Whether the leader before named it: it may not know yet that it leads.
    was_named: bool,
    /// Since when its election port cannot be reached, if it was named.
    closed_since: Option<Tick>,
    attempt: Attempt,
    stage: Stage,
    tries: u32,
    retry_at: Tick,
    heard: Tick,
    /// When the leader is to hear of this server again, while this server cannot hear it.
    ping_at: Tick,
    /// Whether the leader is a Ringkeeper.
    extended: bool,
    epoch: Epoch,
    /// Whether ACKEPOCH counts as a promise.
    promise: bool,
    /// Where the tree that is on its way ends.
    snapshot: Zxid,
    /// What the leader said is committed. That holds only once the epoch is established: until
    /// then, a leader says so of everything that it began with.
    commits: Zxid,
    /// What must be on disk before the epoch is.
    barrier: Zxid,
    /// The newest transaction whose ack the leader has, or does not need.
    acked: Zxid,
    turn: Option<Turn>,
    /// The configuration that NEWLEADER told of.
    members: Option<Members>,
}

impl Learning {
    pub(super) fn new(core: &mut Core, leader: ServerId, out: &mut Vec<Effect>) -> Self {
        let mut learning = Learning {
            leader,
            was_named: false,
            closed_since: None,
            attempt: Attempt(0),
            stage: Stage::Waiting,
            tries: 0,
            retry_at: core.now,
            heard: core.now,
            ping_at: core.now,
            extended: false,
            epoch: Epoch(0),
            promise: false,
            snapshot: Zxid::ZERO,
            commits: Zxid::ZERO,
            barrier: Zxid::ZERO,
            acked: Zxid::ZERO,
            turn: None,
            members: None,
        };
        learning.connect(core, out);
        learning
    }

    /// No election made the leader what it is.
    pub(super) fn leader_was_named(&mut self) {
        self.was_named = true;
    }

    pub(super) fn is_extended(&self) -> bool {
        self.extended
    }

    pub(super) fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// Leaves the leader for what it did.
    fn quit(&self, what: impl fmt::Display) -> Quit {
        Quit::because(format!("the leader, server {}, {what}", self.leader.0))
    }

    fn connect(&mut self, core: &mut Core, out: &mut Vec<Effect>) {
        core.attempts += 1;
        self.attempt = Attempt(core.attempts);
        self.stage = Stage::Connecting;
        self.tries += 1;
        out.push(Effect::Connect(self.attempt, self.leader));
    }

    fn send(&self, message: ToLeader, out: &mut Vec<Effect>) {
        out.push(Effect::ToLeader(self.attempt, message));
    }

    pub(super) fn connect_and_follower_send_followerinfo(
        &mut self,
        core: &mut Core,
        attempt: Attempt,
        out: &mut Vec<Effect>,
    ) {
        if (attempt, Stage::Connecting) != (self.attempt, self.stage) {
            return;
        }
        self.stage = Stage::Discovery;
        self.heard = core.now;
        let accepted = core.epochs.accepted;
        let config_version = core.config.members.version();
        let info = LearnerInfo { server: core.config.me, config_version, extended: true };
        let message = if core.is_observer() {
            ToLeader::ObserverInfo { accepted, info }
        } else {
            ToLeader::FollowerInfo { accepted, info }
        };
        self.send(message, out);
    }

    pub(super) fn on_lost(&mut self, core: &Core, attempt: Attempt) -> Result<(), Quit> {
        if attempt != self.attempt {
            return Ok(());
        }
        if self.stage > Stage::Connecting {
            return Err(self.quit("is connected no longer"));
        }
        // A leader that waits a little longer than this server, to hear better votes, refuses.
        if self.tries == CONNECTS_MAX {
            return Err(self.quit(format_args!("could not be reached {CONNECTS_MAX} times")));
        }
        let wait = core.config.timing.connect_retry_ms << (self.tries - 1).min(8);
        self.stage = Stage::Waiting;
        self.retry_at = core.now.plus_ms(wait.min(CONNECT_RETRY_MS_MAX));
        Ok(())
    }

    /// A server's election port was reached, or cannot be any more.
    pub(super) fn on_election_link(&mut self, now: Tick, peer: ServerId, up: bool) -> Result<(), Quit> {
        if peer != self.leader || self.stage > Stage::Connecting {
            return Ok(());
        }
        if !up && !self.was_named {
            return Err(self.unreachable());
        }
        self.closed_since = if up { None } else { self.closed_since.or(Some(now)) };
        Ok(())
    }

    fn unreachable(&self) -> Quit {
        self.quit("cannot be reached any more")
    }

    /// A voter said whom it stands for. If that is the leader, and it does not stand for itself, it does not
    /// lead: waiting for it would last as long as a leader may take to begin.
    pub(super) fn hear(
        &self,
        core: &Core,
        server: ServerId,
        notification: &Notification,
    ) -> Result<(), Quit> {
        if server != self.leader || self.stage > Stage::Discovery {
            return Ok(());
        }
        if self.was_named && self.stage <= Stage::Connecting {
            // It still says what it was before.
            return Ok(());
        }
        let still_looks = notification.state == PeerState::Looking && notification.round == core.round();
        let stands = still_looks || notification.state == PeerState::Leading;
        if stands && notification.vote.leader == Some(self.leader) {
            return Ok(());
        }
        Err(self.quit(match notification.vote.leader {
            Some(other) if other != self.leader => format!("stands for server {}", other.0),
            _ => format!("says that it is {:?}, in round {}", notification.state, notification.round.0),
        }))
    }

    pub(super) fn on_tick(&mut self, core: &mut Core, out: &mut Vec<Effect>) -> Result<(), Quit> {
        if self.stage == Stage::Waiting && self.retry_at <= core.now {
            self.connect(core, out);
        }
        let is_gone = |since: Tick| core.now.since(since) > NAMED_CLOSED_MS_MAX;
        if self.stage <= Stage::Connecting && self.closed_since.is_some_and(is_gone) {
            return Err(self.unreachable());
        }
        let limit = if self.stage >= Stage::Acked { core.sync_ms() } else { core.init_ms() };
        if core.now.since(self.heard) > limit {
            return Err(self.quit(format_args!("said nothing for {limit} ms")));
        }
        Ok(())
    }

    pub(super) fn receive(
        &mut self,
        core: &mut Core,
        attempt: Attempt,
        message: ToLearner,
        out: &mut Vec<Effect>,
    ) -> Result<(), Quit> {
        if attempt != self.attempt {
            return Ok(());
        }
        self.heard = core.now;
        let syncing = (Stage::Receiving..=Stage::Active).contains(&self.stage);
        match message {
            ToLearner::LeaderInfo { epoch, extended } if self.stage == Stage::Discovery => {
                self.follower_process_leaderinfo(core, epoch, extended, out)
            }
            ToLearner::LeaderInfo { epoch, .. }
                if self.stage == Stage::Active && self.extended && self.turn.is_none() =>
            {
                self.begin_turn(core, epoch, out)
            }
            ToLearner::NewLeader { epoch, .. } if self.stage == Stage::Active => {
                let turn = self.turn.filter(|turn| turn.epoch == epoch && turn.barrier.is_none());
                let Some(turn) = turn else { return Err(self.forbids(&message)) };
                self.turn = Some(Turn { barrier: Some(core.history.last()), ..turn });
                Ok(())
            }
            ToLearner::UpToDate if self.stage == Stage::Active => {
                let turn = self.turn.filter(|turn| turn.barrier.is_some());
                let Some(turn) = turn else { return Err(self.forbids(&message)) };
                self.turn = Some(Turn { established: true, ..turn });
                Ok(())
            }
            ToLearner::Diff(zxid) if self.stage == Stage::Choosing && !self.takes_tree(core) => {
                self.receive_log(core, zxid);
                Ok(())
            }
            ToLearner::Trunc(zxid) if self.stage == Stage::Choosing => self.truncate(core, zxid, out),
            ToLearner::Snap(zxid) if self.stage == Stage::Choosing => {
                // A log has nothing of an epoch that its server has not accepted.
                if zxid.epoch() > self.epoch {
                    let epoch = self.epoch.0;
                    return Err(
                        self.quit(format_args!("said {message}, which is later than its epoch {epoch}"))
                    );
                }
                self.snapshot = zxid;
                self.stage = Stage::Staging;
                Ok(())
            }
            ToLearner::NewLeader { epoch, members } if self.stage == Stage::Receiving => {
                self.follower_process_newleader(core, epoch, members.as_deref(), out)
            }
            ToLearner::UpToDate if self.stage == Stage::Acked => self.follower_process_uptodate(core, out),
            // A Java leader may tell an observer of a proposal; it hears again when it is committed.
            ToLearner::Proposal(_) if core.is_observer() && self.stage == Stage::Active => Ok(()),
            ToLearner::Proposal(transaction) if syncing => {
                self.follower_process_proposal(core, transaction, out)
            }
            ToLearner::Proposals(batch) if syncing && self.extended => {
                self.follower_process_proposals(core, batch, out)
            }
            ToLearner::Commit(zxid) if syncing => self.follower_process_commit(core, zxid),
            ToLearner::CommitAndActivate { zxid, leader } if syncing => {
                self.follower_process_commit(core, zxid)?;
                self.activate(core, zxid, leader, out)
            }
            ToLearner::Inform(transaction) if syncing && core.is_observer() => {
                let zxid = transaction.zxid;
                self.follower_process_proposal(core, transaction, out)?;
                self.follower_process_commit(core, zxid)
            }
            ToLearner::InformAndActivate { transaction, leader } if syncing && core.is_observer() => {
                let zxid = transaction.zxid;
                self.follower_process_proposal(core, transaction, out)?;
                self.follower_process_commit(core, zxid)?;
                self.activate(core, zxid, leader, out)
            }
            // A leader pings as soon as it has begun to synchronise. Java's hears the ack of NEWLEADER first, or
            // closes the connection.
            ToLearner::Ping(_) if !self.extended && (Stage::Choosing..Stage::Acked).contains(&self.stage) => {
                Ok(())
            }
            ToLearner::Ping(_) | ToLearner::Revalidate { .. } | ToLearner::Sync
                if self.stage >= Stage::Choosing =>
            {
                out.push(Effect::FromLeader(message, self.commits.max(core.committed)));
                Ok(())
            }
            message => Err(self.forbids(&message)),
        }
    }

    fn forbids(&self, message: &ToLearner) -> Quit {
        self.quit(format_args!("said {message}, which this server's state ({:?}) forbids", self.stage))
    }

    fn follower_process_leaderinfo(
        &mut self,
        core: &mut Core,
        epoch: Epoch,
        extended: bool,
        out: &mut Vec<Effect>,
    ) -> Result<(), Quit> {
        if epoch < core.epochs.accepted {
            let accepted = core.epochs.accepted.0;
            return Err(self.quit(format_args!("leads epoch {}, and epoch {accepted} was accepted", epoch.0)));
        }
        // A promise that its leader may not have heard of is said again; to another it is none.
        self.promise = epoch > core.epochs.accepted || core.promised == Some(self.leader);
        if epoch > core.epochs.accepted {
            core.accept(epoch, self.leader, out);
        }
        self.epoch = epoch;
        self.extended = extended;
        self.stage = Stage::Accepting;
        Ok(())
    }

    fn begin_turn(&mut self, core: &mut Core, epoch: Epoch, out: &mut Vec<Effect>) -> Result<(), Quit> {
        if epoch <= core.epochs.accepted {
            let accepted = core.epochs.accepted.0;
            return Err(
                self.quit(format_args!("moves to epoch {}, and epoch {accepted} was accepted", epoch.0))
            );
        }
        core.accept(epoch, self.leader, out);
        self.turn = Some(Turn { epoch, promised: false, barrier: None, acked: false, established: false });
        Ok(())
    }

    fn advance_turn(&mut self, core: &mut Core, out: &mut Vec<Effect>) {
        let Some(mut turn) = self.turn else { return };
        if !turn.promised && core.persisted.accepted >= turn.epoch {
            let current = Some(core.epochs.current);
            self.send(ToLeader::AckEpoch { current, last: core.history.last() }, out);
            turn.promised = true;
        }
        if turn.promised && turn.barrier.is_some_and(|barrier| core.is_durable(barrier)) {
            core.adopt(turn.epoch, out);
        }
        if !turn.acked && core.persisted.current >= turn.epoch {
            self.ack(core, turn.barrier, out);
            self.send(ToLeader::Ack(Zxid(u64::from(turn.epoch.0) << 32)), out);
            turn.acked = true;
        }
        self.turn = Some(turn);
        if turn.acked && turn.established {
            self.turn = None;
            self.epoch = turn.epoch;
            self.barrier = turn.barrier.unwrap_or(self.barrier);
            core.vote.epoch = self.epoch;
            let observer = core.is_observer();
            core.serve(Serving::Learner { leader: self.leader, epoch: self.epoch, observer }, out);
        }
    }

    /// The log is a prefix of the leader's; `committed` is the leader's newest committed.
    fn receive_log(&mut self, core: &Core, committed: Zxid) {
        self.commits = committed.min(core.history.last());
        self.stage = Stage::Receiving;
    }

    /// Whether this leader would cut the log where it cannot be cut.
    fn takes_tree(&self, core: &Core) -> bool {
        core.takes_tree_of == Some(self.leader)
    }

    fn truncate(&mut self, core: &mut Core, zxid: Zxid, out: &mut Vec<Effect>) -> Result<(), Quit> {
        let last = core.history.last();
        // What was applied is committed, and every leader has it; but for the end of a log that a ZooKeeper
        // left, of which nobody knows what was.
        let kept = core.history.newest_upto(zxid).filter(|kept| *kept >= core.delivered && zxid <= last);
        let Some(kept) = kept else {
            core.takes_tree_of = Some(self.leader);
            let applied = core.delivered;
            return Err(self.quit(format_args!(
                "cuts the log after {zxid}, which cannot be: it ends at {last}, applied up to {applied}"
            )));
        };
        if kept < last {
            core.rewind(kept, out);
        }
        // A Java leader does not look whether the learner has what it is to keep. What comes before
        // stays, and the leader that hears so sends the rest, or a whole tree.
        if kept != zxid {
            return Err(self.quit(format_args!("cuts the log after {zxid}, which is not in it")));
        }
        // A Java leader cuts after its newest committed transaction or an older one. A Ringkeeper
        // may keep what is only proposed, and says what is committed.
        self.receive_log(core, if self.extended { core.committed } else { zxid });
        Ok(())
    }

    /// More of the tree has come.
    pub(super) fn on_progress(&mut self, core: &Core, attempt: Attempt) {
        if (attempt, Stage::Staging) == (self.attempt, self.stage) {
            self.heard = core.now;
        }
    }

    /// What the leader says cannot be taken yet: a tree goes to disk, or a long cut. Until that is over this
    /// server serves nobody, and that the leader is not heard is no silence of the leader's. Nor is this
    /// server silent: a Ringkeeper, whose pings are not answered meanwhile, hears so. Java's leader bears no
    /// word before the ack of NEWLEADER, and waits as long for a learner of its own, which reads nothing while
    /// it writes a tree.
    pub(super) fn on_unheard(&mut self, core: &Core, out: &mut Vec<Effect>) {
        if self.stage >= Stage::Acked {
            return;
        }
        self.heard = core.now;
        if self.extended && self.stage >= Stage::Receiving && core.now >= self.ping_at {
            self.ping_at = core.now.plus_ms(core.config.timing.tick_ms / 2);
            let zxid = core.history.last().to_jute();
            self.send(ToLeader::Ping { zxid, touched: Vec::new() }, out);
        }
    }

    /// The whole tree has come.
    pub(super) fn on_staged(
        &mut self,
        core: &mut Core,
        attempt: Attempt,
        out: &mut Vec<Effect>,
    ) -> Result<(), Quit> {
        if (attempt, Stage::Staging) == (self.attempt, self.stage) {
            self.heard = core.now;
            core.install(self.snapshot, out);
            self.receive_log(core, self.snapshot);
        }
        Ok(())
    }

    /// A configuration was committed, and the leader names who is to lead from here on.
    fn activate(
        &mut self,
        core: &mut Core,
        zxid: Zxid,
        designated: ServerId,
        out: &mut Vec<Effect>,
    ) -> Result<(), Quit> {
        if core.seen.version() != zxid.0 {
            // Reconfigurations are disabled here, or NEWLEADER told of it before.
            return Ok(());
        }
        let (members, leader) = (core.seen.clone(), Some(self.leader));
        if core.activate(members, leader, Some(designated), MembersBy::Transaction, out) {
            return Err(self.quit(format_args!("committed another configuration, {zxid}")));
        }
        Ok(())
    }

    fn follower_process_newleader(
        &mut self,
        core: &mut Core,
        epoch: Epoch,
        members: Option<&[u8]>,
        out: &mut Vec<Effect>,
    ) -> Result<(), Quit> {
        if epoch != self.epoch {
            let own = self.epoch.0;
            return Err(self.quit(format_args!("said NEWLEADER of epoch {}, and leads epoch {own}", epoch.0)));
        }
        // Java takes a shorter text for none.
        if let Some(text) = members.filter(|text| text.len() > 1 && core.config.reconfig_enabled) {
            let unread = |why: &dyn fmt::Display| {
                self.quit(format_args!("said NEWLEADER of epoch {} with no configuration: {why}", epoch.0))
            };
            let text = std::str::from_utf8(text).map_err(|why| unread(&why))?;
            let members = Members::parse(text).map_err(|why| unread(&why))?;
            let version = Zxid(core.seen.version());
            let is_logged = core.history.newest_upto(version) == Some(version);
            if members.version() > version.0 || !is_logged {
                core.see(members.clone(), out);
            }
            self.members = Some(members);
        }
        self.barrier = core.history.last();
        self.acked = self.commits;
        self.stage = Stage::Persisting;
        Ok(())
    }

    fn follower_process_uptodate(&mut self, core: &mut Core, out: &mut Vec<Effect>) -> Result<(), Quit> {
        self.stage = Stage::Active;
        core.commit(self.commits);
        if let Some(members) = self.members.take()
            && core.activate(members, Some(self.leader), None, MembersBy::Word, out)
        {
            return Err(self.quit("began with another configuration"));
        }
        core.vote.epoch = self.epoch;
        let observer = core.is_observer();
        core.serve(Serving::Learner { leader: self.leader, epoch: self.epoch, observer }, out);
        Ok(())
    }

    fn follower_process_proposal(
        &mut self,
        core: &mut Core,
        transaction: Transaction,
        out: &mut Vec<Effect>,
    ) -> Result<(), Quit> {
        self.follower_process_proposals(core, Batch::one(transaction.zxid, &transaction.bytes), out)
    }

    fn follower_process_proposals(
        &mut self,
        core: &mut Core,
        batch: Batch,
        out: &mut Vec<Effect>,
    ) -> Result<(), Quit> {
        // After a SNAP that was written while transactions were applied, what it has comes again.
        let Some(batch) = batch.after(core.history.last()) else { return Ok(()) };
        if !core.history.continues_with(batch.first()) {
            let (first, last) = (batch.first(), core.history.last());
            return Err(self.quit(format_args!("proposed {first}, which does not follow {last}")));
        }
        let newest = self.turn.filter(|turn| turn.barrier.is_some()).map_or(self.epoch, |turn| turn.epoch);
        if batch.last().epoch() > newest {
            let (last, newest) = (batch.last(), newest.0);
            return Err(self.quit(format_args!("proposed {last}, and leads epoch {newest}")));
        }
        if core.config.reconfig_enabled {
            for (zxid, transaction) in batch.iter() {
                let seen = core.see_transaction(transaction, out);
                seen.map_err(|why| self.quit(format_args!("proposed {zxid}: {why}")))?;
            }
        }
        core.append(batch, out);
        Ok(())
    }

    fn follower_process_commit(&mut self, core: &mut Core, zxid: Zxid) -> Result<(), Quit> {
        if zxid > core.history.last() {
            let last = core.history.last();
            return Err(self.quit(format_args!("commits {zxid}, and has sent what ends at {last}")));
        }
        self.commits = self.commits.max(zxid);
        if self.stage == Stage::Active {
            core.commit(self.commits);
        }
        Ok(())
    }

    pub(super) fn advance(&mut self, core: &mut Core, out: &mut Vec<Effect>) -> Result<(), Quit> {
        if self.stage == Stage::Accepting && core.persisted.accepted >= self.epoch {
            // Who says less than it has must not count for what it has.
            let (current, last) = match self.takes_tree(core) {
                true => (None, NOTHING_IN_COMMON),
                false => (self.promise.then_some(core.epochs.current), core.history.last()),
            };
            self.send(ToLeader::AckEpoch { current, last }, out);
            self.stage = Stage::Choosing;
        }
        if self.stage == Stage::Persisting && core.is_durable(self.barrier) {
            core.adopt(self.epoch, out);
            self.stage = Stage::Adopting;
        }
        if self.stage == Stage::Adopting && core.persisted.current >= self.epoch {
            self.send(ToLeader::Ack(Zxid(u64::from(self.epoch.0) << 32)), out);
            self.stage = Stage::Acked;
        }
        self.advance_turn(core, out);
        if self.stage >= Stage::Acked {
            // The ack of NEWLEADER precedes those of what the epoch proposes.
            let limit = self.turn.filter(|turn| !turn.acked).and_then(|turn| turn.barrier);
            self.ack(core, limit, out);
        }
        Ok(())
    }

    /// Acks what has come to disk, up to `limit`. A Java leader counts an ack for one transaction
    /// alone.
    fn ack(&mut self, core: &Core, limit: Option<Zxid>, out: &mut Vec<Effect>) {
        if core.is_observer() {
            return;
        }
        let durable = core.durable.unwrap_or_default();
        let durable = limit.map_or(durable, |limit| limit.min(durable));
        let ack = |zxid| Effect::ToLeader(self.attempt, ToLeader::Ack(zxid));
        if self.extended {
            let newest = core.history.newest_upto(durable).filter(|newest| *newest > self.acked);
            out.extend(newest.map(ack));
        } else {
            out.extend(core.history.transactions(self.acked, durable).map(|entry| ack(entry.zxid)));
        }
        self.acked = self.acked.max(durable);
    }

    pub(super) fn follower_shutdown(&self, out: &mut Vec<Effect>) {
        if self.stage > Stage::Waiting {
            out.push(Effect::CloseLeader(self.attempt));
        }
    }

    pub(super) fn check(&self, core: &Core) {
        if self.stage >= Stage::Acked {
            assert!(core.is_durable(self.barrier), "NEWLEADER was acked before its log was on disk");
            assert!(core.persisted.current >= self.epoch, "NEWLEADER was acked before its epoch was on disk");
            let turned = self.turn.is_some_and(|turn| turn.epoch == core.epochs.current);
            assert!(turned || core.epochs.current == self.epoch);
        } else {
            assert_eq!(core.serving, Serving::No);
        }
        assert!(self.stage < Stage::Receiving || self.commits <= core.history.last());
    }
}
