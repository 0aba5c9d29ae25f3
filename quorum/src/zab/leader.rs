//! A leader: LEADING.
//!
//! | file | what lives there |
//! |---|---|
//! | here | discovery and synchronisation; who follows, and who is given up |
//! | `proposals` | broadcast |
//! | `turn` | a later epoch in place |

mod proposals;
mod turn;

mod report;

use super::core::Core;
use super::{Effect, Link, MembersBy, Quit, Serving};
use crate::broadcast::Broadcast;
use crate::message::{Batch, LearnerInfo, Notification, PeerState, ToLeader, ToLearner};
use crate::reconfig::designated_leader;
use crate::sync::{NOTHING_IN_COMMON, Plan, plan};
use bytes::Bytes;
use ringkeeper_engine::id::{Epoch, ServerId, Tick, Zxid};
use std::collections::{BTreeMap, BTreeSet};

/// How far the leader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Waits for a quorum's FOLLOWERINFO.
    Discovery,
    /// Its new epoch goes to disk.
    Accepting,
    /// Waits for a quorum's ACKEPOCH.
    Electing,
    /// Waits for a quorum's ack of NEWLEADER, its own among them.
    Synchronization,
    /// Proposes.
    Broadcast,
}

/// Numbers of servers, for a text.
fn list<'s>(servers: impl IntoIterator<Item = &'s ServerId>) -> String {
    let numbers: Vec<String> = servers.into_iter().map(|server| server.0.to_string()).collect();
    match numbers.is_empty() {
        true => "none".to_owned(),
        false => numbers.join(", "),
    }
}

/// How far a learner is, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LearnerStage {
    /// Introduced; the leader has no epoch yet.
    Waiting,
    /// LEADERINFO sent.
    Accepting,
    /// ACKEPOCH came; the leader does not know yet that it has the newest log.
    Ready,
    /// The log on disk is searched for where the learner's ends.
    Seeking,
    /// The log was sent, and NEWLEADER; proposals follow.
    Syncing,
    /// NEWLEADER was acked; the epoch is not established.
    Synced,
    /// UPTODATE sent.
    Active,
}

struct Learner {
    server: ServerId,
    /// What it came as. A voter of the proposed configuration may be an observer by the one in force, or by what
    /// it has heard of: until the epoch begins it promises and holds the history as any other, so it counts, as
    /// with ZooKeeper. Then the configuration is committed, and it comes again.
    observer: bool,
    /// Whether it is a Ringkeeper.
    extended: bool,
    stage: LearnerStage,
    /// Where its log ended when it came.
    last: Zxid,
    heard: Tick,
    /// The newest transaction that it was sent.
    sent: Zxid,
    /// The newest transaction that it was told is committed.
    told: Zxid,
    acked: Zxid,
    /// Since when it owes acks and has not sent one.
    owes_since: Option<Tick>,
    /// Whether it was told of an epoch that this leader moves to in place, and has not acked its
    /// NEWLEADER.
    turning: bool,
    /// Commits that wait for its UPTODATE, see [`Learner::commit`].
    withheld: Vec<ToLearner>,
}

impl Learner {
    /// Tells a follower of ZooKeeper's that one transaction is committed: between NEWLEADER and UPTODATE not
    /// yet. At NEWLEADER ZooKeeper 3.8 moves what it was proposed out of the list in which it looks for what is
    /// committed, ends over a COMMIT that comes then (ZOOKEEPER-4394), half synchronised, and may lose
    /// transactions when it comes again. No release needs a COMMIT sooner: it serves nobody, and what is
    /// proposed to it meanwhile it logs behind UPTODATE only.
    fn commit(&mut self, commit: ToLearner, send: impl FnOnce(ToLearner)) {
        if self.stage == LearnerStage::Active {
            send(commit);
        } else {
            self.withheld.push(commit);
        }
    }

    /// Proposes to it as it takes proposals.
    fn propose(&self, batch: Batch, mut send: impl FnMut(ToLearner)) {
        if self.extended {
            send(ToLearner::Proposals(batch));
        } else {
            batch.into_transactions().for_each(|transaction| send(ToLearner::Proposal(transaction)));
        }
    }

    /// Whether it is on its way into the present epoch.
    fn joins(&self) -> bool {
        self.turning || !matches!(self.stage, LearnerStage::Waiting | LearnerStage::Active)
    }
}

pub(super) struct Leading {
    stage: Stage,
    /// From [`Stage::Accepting`] on.
    epoch: Epoch,
    /// Whether the leader moves to `epoch` while it serves in an earlier one: it goes through the
    /// stages again with the learners that it has, and proposes on until the last but one.
    turning: bool,
    learners: BTreeMap<Link, Learner>,
    /// The newest epoch that anybody who introduced itself has accepted.
    accepted: Epoch,
    connecting: BTreeSet<ServerId>,
    electing: BTreeSet<ServerId>,
    /// Voters that promised this epoch to another leader.
    refused: BTreeSet<ServerId>,
    /// Voters that look for a leader again, or stand for another.
    disloyal: BTreeSet<ServerId>,
    synced: BTreeSet<ServerId>,
    /// Where the history ends that the epoch begins with.
    initial: Zxid,
    broadcast: Broadcast,
    started: Tick,
    ping_at: Tick,
    /// Since when the epoch's zxids run out.
    used_up_since: Option<Tick>,
    /// Since when this server's own disk owes and has not gone on.
    owes_since: Option<Tick>,
    /// The proposal of another configuration that is not committed.
    change: Option<Zxid>,
    /// Since when another is designated to lead: nothing is proposed or committed any more, and its
    /// learners leave when they have heard of it.
    retires_since: Option<Tick>,
}

/// A tree is sent instead of so many times as much of the log.
const LOG_PER_TREE_MAX: u64 = 4;
/// But not instead of so little.
const LOG_BYTES_MIN: u64 = 1 << 20;

/// Whether a whole tree is much less than what the log has after `common`: then it is sent and taken sooner,
/// though the learner has to write a checkpoint of it.
fn is_tree_shorter(core: &Core, common: Zxid) -> bool {
    let log = core.history.range(common, core.history.last()).map(|batch| batch.transaction_bytes() as u64);
    let log = log.sum::<u64>();
    log > LOG_BYTES_MIN && log / LOG_PER_TREE_MAX > core.tree_bytes
}

impl Leading {
    pub(super) fn new(core: &Core) -> Self {
        Leading {
            stage: Stage::Discovery,
            epoch: Epoch(0),
            turning: false,
            learners: BTreeMap::new(),
            accepted: core.epochs.accepted,
            connecting: BTreeSet::from([core.config.me]),
            electing: BTreeSet::new(),
            refused: BTreeSet::new(),
            disloyal: BTreeSet::new(),
            synced: BTreeSet::new(),
            initial: Zxid::ZERO,
            broadcast: Broadcast::new(core.verifier.clone(), Zxid::ZERO),
            started: core.now,
            ping_at: core.now,
            used_up_since: None,
            owes_since: None,
            change: None,
            retires_since: None,
        }
    }

    /// Of a quorum of one, which proposes at once.
    pub(super) fn standalone(core: &Core) -> Self {
        let verifier = &core.verifier;
        assert!(Self::is_alone(core), "others have a vote");
        Leading {
            stage: Stage::Broadcast,
            epoch: core.epochs.current,
            synced: BTreeSet::from([core.config.me]),
            broadcast: Broadcast::new(verifier.clone(), core.history.last()),
            ..Leading::new(core)
        }
    }

    /// Whether this server is a quorum by itself.
    fn is_alone(core: &Core) -> bool {
        core.verifier.is_quorum(|voter| voter == core.config.me)
    }

    fn epoch_zxid(&self) -> Zxid {
        Zxid(u64::from(self.epoch.0) << 32)
    }

    /// Whether an epoch is established.
    fn serves(&self) -> bool {
        self.turning || self.stage == Stage::Broadcast
    }

    /// The zxid of the proposal that comes behind as many others of its epoch.
    pub(super) fn zxid_behind(&self, core: &Core, others: usize) -> Option<Zxid> {
        let proposes = self.serves() && self.stage != Stage::Synchronization && self.retires_since.is_none();
        let proposed = proposes.then(|| self.broadcast.proposed())?;
        let counter = u64::from(proposed.counter()) + 1 + others as u64;
        let is_left = counter <= u64::from(core.config.epoch_transactions_max);
        is_left.then(|| Zxid(u64::from(proposed.epoch().0) << 32 | counter))
    }

    pub(super) fn takes_changes(&self) -> bool {
        self.stage == Stage::Broadcast && self.change.is_none() && self.retires_since.is_none()
    }

    /// Whether a follower has all that this leader has.
    pub(super) fn is_synced(&self, server: ServerId) -> bool {
        let follows = |learner: &Learner| {
            !learner.observer && learner.stage == LearnerStage::Active && !learner.turning
        };
        self.learners.values().any(|learner| learner.server == server && follows(learner))
    }

    fn is_quorum(core: &Core, servers: &BTreeSet<ServerId>) -> bool {
        servers.contains(&core.config.me) && core.verifier.is_quorum(|voter| servers.contains(&voter))
    }

    fn can_win(core: &Core, without: &BTreeSet<ServerId>) -> bool {
        core.verifier.is_quorum(|voter| !without.contains(&voter))
    }

    /// Whether a quorum is connected.
    fn is_supported(&self, core: &Core) -> bool {
        let connected =
            |voter| voter == core.config.me || self.learners.values().any(|learner| learner.server == voter);
        core.verifier.is_quorum(connected)
    }

    pub(super) fn receive(
        &mut self,
        core: &mut Core,
        link: Link,
        message: ToLeader,
        out: &mut Vec<Effect>,
    ) -> Result<(), Quit> {
        let stage = self.learners.get_mut(&link).map(|learner| {
            learner.heard = core.now;
            learner.stage
        });
        match (message, stage) {
            (ToLeader::FollowerInfo { accepted, info }, None) => {
                self.leader_process_followerinfo(core, link, accepted, info, false, out)
            }
            (ToLeader::ObserverInfo { accepted, info }, None) => {
                self.leader_process_followerinfo(core, link, accepted, info, true, out)
            }
            (ToLeader::AckEpoch { current, last }, Some(LearnerStage::Accepting)) => {
                self.leader_process_ackepoch(core, link, current, last, out)
            }
            (ToLeader::AckEpoch { current, .. }, Some(LearnerStage::Active))
                if self.learners[&link].turning =>
            {
                self.elect(core, link, current)
            }
            (ToLeader::Ack(zxid), Some(LearnerStage::Syncing)) if zxid == self.epoch_zxid() => {
                self.leader_process_ackld(core, link, out);
                Ok(())
            }
            // Java's learners ack UPTODATE as they acked NEWLEADER.
            (ToLeader::Ack(zxid), Some(LearnerStage::Synced | LearnerStage::Active))
                if zxid == self.epoch_zxid() =>
            {
                self.leader_process_turn_ack(core, link);
                Ok(())
            }
            // A Java learner's ack of a proposal may overtake that of NEWLEADER: ZOOKEEPER-4685.
            (ToLeader::Ack(zxid), stage) if stage >= Some(LearnerStage::Syncing) => {
                self.leader_process_ack(core, link, zxid, out)
            }
            (message @ ToLeader::Ping { .. }, stage) if stage >= Some(LearnerStage::Syncing) => {
                out.push(Effect::FromLearner(link, self.learners[&link].server, message));
                Ok(())
            }
            (
                message @ (ToLeader::Request { .. } | ToLeader::Requests(_) | ToLeader::Revalidate { .. }),
                Some(LearnerStage::Active),
            ) => {
                out.push(Effect::FromLearner(link, self.learners[&link].server, message));
                Ok(())
            }
            (message, stage) => {
                let who = self.learners.get(&link).map(|learner| learner.server.0);
                out.push(Effect::Notice(match (who, stage) {
                    (Some(server), Some(stage)) => {
                        format!("server {server} said {message}, which its state ({stage:?}) forbids")
                    }
                    _ => format!("a learner began with {message}"),
                }));
                self.close(core, link, out)
            }
        }
    }

    fn close(&mut self, core: &Core, link: Link, out: &mut Vec<Effect>) -> Result<(), Quit> {
        out.push(Effect::CloseLearner(link));
        self.on_lost(core, link)
    }

    pub(super) fn on_lost(&mut self, core: &Core, link: Link) -> Result<(), Quit> {
        let gone = self.learners.remove(&link);
        if self.serves() && !self.is_supported(core) {
            let gone = list(gone.iter().map(|learner| &learner.server));
            return Err(Quit::because(format!("a quorum is not connected without server {gone}")));
        }
        Ok(())
    }

    fn leader_process_followerinfo(
        &mut self,
        core: &mut Core,
        link: Link,
        accepted: Epoch,
        info: LearnerInfo,
        observer: bool,
        out: &mut Vec<Effect>,
    ) -> Result<(), Quit> {
        let (server, version) = (info.server, core.config.members.version());
        let fault = if info.config_version > version {
            Some(format!(
                "has a newer configuration, {:x} where {version:x} is in force",
                info.config_version
            ))
        } else if accepted.0 == u32::MAX {
            Some("accepted the last epoch that there is".to_owned())
        } else if !core.has_room_for(server, self.learners.values().map(|learner| learner.server)) {
            Some("is not in the configuration, as too many others".to_owned())
        } else {
            None
        };
        if let Some(fault) = fault {
            out.push(Effect::Notice(format!("server {} is refused: it {fault}", server.0)));
            out.push(Effect::CloseLearner(link));
            return Ok(());
        }
        // A server has one connection: the newer.
        let older = self.learners.extract_if(.., |_, learner| learner.server == server);
        out.extend(older.map(|(older, _)| Effect::CloseLearner(older)));
        let learner = Learner {
            server,
            observer,
            extended: info.extended,
            stage: LearnerStage::Waiting,
            last: Zxid::ZERO,
            heard: core.now,
            sent: Zxid::ZERO,
            told: Zxid::ZERO,
            acked: Zxid::ZERO,
            owes_since: None,
            turning: false,
            withheld: Vec::new(),
        };
        self.learners.insert(link, learner);
        self.disloyal.remove(&server);
        if self.stage == Stage::Discovery {
            // Of a stranger anything may come, and 32 bits of epochs are soon used up.
            if core.is_member(server) {
                self.accepted = self.accepted.max(accepted);
            }
            if core.verifier.is_voter(server) {
                self.connecting.insert(server);
            }
        } else if accepted > self.epoch && core.is_member(server) {
            // It can never follow in this epoch, but in one that begins now.
            if self.stage != Stage::Broadcast {
                let (server, accepted, own) = (server.0, accepted.0, self.epoch.0);
                let why = format!("server {server} accepted epoch {accepted}, this one began {own}");
                return Err(Quit::because(why));
            }
            if self.change.is_some() || self.retires_since.is_some() {
                // It comes again.
                return self.close(core, link, out);
            }
            self.accepted = accepted;
            return self.turn(core, out);
        } else if self.stage >= Stage::Electing {
            self.send_leaderinfo(link, out);
        }
        Ok(())
    }

    fn send_leaderinfo(&mut self, link: Link, out: &mut Vec<Effect>) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        learner.stage = LearnerStage::Accepting;
        let message = ToLearner::LeaderInfo { epoch: self.epoch, extended: learner.extended };
        out.push(Effect::ToLearner(link, message));
    }

    fn leader_process_ackepoch(
        &mut self,
        core: &mut Core,
        link: Link,
        current: Option<Epoch>,
        last: Zxid,
        out: &mut Vec<Effect>,
    ) -> Result<(), Quit> {
        let Some(learner) = self.learners.get_mut(&link) else { return Ok(()) };
        learner.last = last;
        learner.stage = LearnerStage::Ready;
        let newer =
            current.is_some_and(|current| (current, last) > (core.epochs.current, core.history.last()));
        if self.stage >= Stage::Synchronization {
            self.sync_follower(core, link, out);
            return Ok(());
        }
        // Whoever weighs nothing cannot be elected for what it knows, and no quorum has what it alone has.
        if newer && core.verifier.weight(learner.server) > 0 {
            let server = learner.server.0;
            let epoch = current.unwrap_or_default().0;
            let why = format!("server {server} has a newer log, of epoch {epoch} up to {last}");
            return Err(Quit::because(why));
        }
        self.elect(core, link, current)
    }

    /// Whether a learner is no Ringkeeper.
    pub(super) fn has_plain_learner(&self) -> bool {
        self.learners.values().any(|learner| !learner.extended)
    }

    /// Counts the promise of a voter.
    fn elect(&mut self, core: &Core, link: Link, current: Option<Epoch>) -> Result<(), Quit> {
        let Some(learner) = self.learners.get(&link) else { return Ok(()) };
        let server = learner.server;
        if !core.verifier.is_voter(server) {
            return Ok(());
        }
        match current {
            Some(_) => _ = self.electing.insert(server),
            None => _ = self.refused.insert(server),
        }
        if !Self::can_win(core, &self.refused) {
            let (epoch, refused) = (self.epoch.0, list(&self.refused));
            let why = format!("too many promised epoch {epoch} to another leader: servers {refused}");
            return Err(Quit::because(why));
        }
        Ok(())
    }

    /// More of a tree or of the log was sent to a learner. While that goes on, a quorum may yet follow.
    pub(super) fn on_progress(&mut self, core: &Core, link: Link) {
        if let Some(learner) = self.learners.get_mut(&link) {
            learner.heard = core.now;
            if core.verifier.is_voter(learner.server) {
                self.started = core.now;
            }
        }
    }

    /// The log on disk was searched.
    pub(super) fn on_sought(&mut self, core: &Core, link: Link, common: Option<Zxid>, out: &mut Vec<Effect>) {
        if self.learners.get(&link).is_some_and(|learner| learner.stage == LearnerStage::Seeking) {
            self.queue_log(core, link, common, out);
        }
    }

    /// Makes a learner's log this leader's: from memory, or from disk, or by a whole tree.
    fn sync_follower(&mut self, core: &Core, link: Link, out: &mut Vec<Effect>) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        match core.history.newest_upto(learner.last) {
            _ if learner.last == NOTHING_IN_COMMON => self.queue_log(core, link, None, out),
            None => {
                learner.stage = LearnerStage::Seeking;
                out.push(Effect::SeekLog(link, learner.last));
            }
            Some(common) if is_tree_shorter(core, common) => self.queue_log(core, link, None, out),
            common => self.queue_log(core, link, common, out),
        }
    }

    /// Queues for a learner what its log lacks, and NEWLEADER; proposals follow.
    fn queue_log(&mut self, core: &Core, link: Link, common: Option<Zxid>, out: &mut Vec<Effect>) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        let history = &core.history;
        // What an epoch begins with is committed with it.
        let committed = if self.stage == Stage::Broadcast { core.committed } else { history.last() };
        let mut send = |message| out.push(Effect::ToLearner(link, message));
        let after = match plan(common, committed, learner.last, learner.extended) {
            Plan::Diff { after } => {
                send(ToLearner::Diff(committed));
                after
            }
            Plan::Trunc { to } => {
                send(ToLearner::Trunc(to));
                to
            }
            Plan::Snap => {
                send(ToLearner::Snap(core.delivered));
                out.push(Effect::SendTree(link, core.delivered));
                core.delivered
            }
        };
        if after < history.floor() {
            let (upto, extended) = (history.floor(), learner.extended);
            out.push(Effect::SendLog { link, after, upto, extended });
        }
        let mut send = |message| out.push(Effect::ToLearner(link, message));
        if learner.extended {
            history.range(after, committed).for_each(|batch| send(ToLearner::Proposals(batch)));
        } else {
            for transaction in history.transactions(after, committed) {
                let zxid = transaction.zxid;
                send(ToLearner::Proposal(transaction));
                send(ToLearner::Commit(zxid));
            }
        }
        // What it had already it may ack, too.
        learner.sent = committed.max(after);
        if !learner.observer {
            for batch in history.range(after.max(committed), history.last()) {
                learner.sent = batch.last();
                learner.propose(batch, &mut send);
            }
        }
        if learner.extended {
            learner.told = committed;
            send(ToLearner::Commit(committed));
        }
        learner.stage = LearnerStage::Syncing;
        self.broadcast.forget(learner.server);
        self.send_newleader(core, link, out);
    }

    fn send_newleader(&self, core: &Core, link: Link, out: &mut Vec<Effect>) {
        // What was proposed before the epoch begins with it. Of what is proposed in it a Ringkeeper hears
        // when it is committed; Java's leader says it here all the same.
        let extended = self.learners.get(&link).is_some_and(|learner| learner.extended);
        let in_force = extended && self.stage == Stage::Broadcast;
        let members = if in_force { &core.config.members } else { &core.seen };
        let members = Some(Bytes::from(members.to_string()));
        out.push(Effect::ToLearner(link, ToLearner::NewLeader { epoch: self.epoch, members }));
    }

    fn leader_process_ackld(&mut self, core: &Core, link: Link, out: &mut Vec<Effect>) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        learner.stage = LearnerStage::Synced;
        // What it was proposed before, it could not ack.
        learner.owes_since = learner.owes_since.map(|_| core.now);
        let (acked, server) = (learner.acked, learner.server);
        if core.verifier.is_voter(server) {
            self.synced.insert(server);
            self.broadcast.ack(server, acked);
        }
        if self.stage == Stage::Broadcast {
            self.send_uptodate(link, out);
        }
    }

    fn send_uptodate(&mut self, link: Link, out: &mut Vec<Effect>) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        learner.stage = LearnerStage::Active;
        let withheld = std::mem::take(&mut learner.withheld);
        let messages = std::iter::once(ToLearner::UpToDate).chain(withheld);
        out.extend(messages.map(|message| Effect::ToLearner(link, message)));
    }

    fn leader_process_ack(
        &mut self,
        core: &Core,
        link: Link,
        zxid: Zxid,
        out: &mut Vec<Effect>,
    ) -> Result<(), Quit> {
        let Some(learner) = self.learners.get_mut(&link) else { return Ok(()) };
        if zxid > learner.sent {
            out.push(Effect::Notice(format!(
                "server {} acked {zxid}, which it was not sent",
                learner.server.0
            )));
            return self.close(core, link, out);
        }
        learner.acked = learner.acked.max(zxid);
        learner.owes_since = (learner.acked < learner.sent).then_some(core.now);
        if learner.stage > LearnerStage::Syncing && !learner.observer {
            self.broadcast.ack(learner.server, zxid);
        }
        Ok(())
    }

    pub(super) fn advance(&mut self, core: &mut Core, out: &mut Vec<Effect>) -> Result<(), Quit> {
        let me = core.config.me;
        if self.stage == Stage::Discovery && Self::is_quorum(core, &self.connecting) {
            let Some(epoch) = self.accepted.0.checked_add(1) else {
                return Err(Quit::because("the last epoch that there is was accepted"));
            };
            self.epoch = Epoch(epoch);
            core.accept(self.epoch, me, out);
            self.stage = Stage::Accepting;
            if core.seen.version() == 0 {
                // A file's configuration gets a version when an epoch begins with it, and precedes the
                // files of servers that are yet to join (ZOOKEEPER-1783).
                core.see(core.seen.with_version(self.epoch_zxid().0), out);
            }
        }
        if self.stage == Stage::Accepting && core.persisted.accepted >= self.epoch {
            self.stage = Stage::Electing;
            self.electing.insert(me);
            self.introduce(core, out)?;
        }
        if self.stage == Stage::Electing && Self::is_quorum(core, &self.electing) {
            self.initial = core.history.last();
            self.stage = Stage::Synchronization;
            let turned = self.learners.iter().filter(|(_, learner)| learner.turning);
            let links: Vec<Link> = turned.map(|(link, _)| *link).collect();
            links.into_iter().for_each(|link| self.send_newleader(core, link, out));
            let ready = self.learners.iter().filter(|(_, learner)| learner.stage == LearnerStage::Ready);
            let links: Vec<Link> = ready.map(|(link, _)| *link).collect();
            links.into_iter().for_each(|link| self.sync_follower(core, link, out));
        }
        if self.stage == Stage::Synchronization {
            if core.is_durable(self.initial) {
                core.adopt(self.epoch, out);
            }
            if core.persisted.current >= self.epoch {
                self.synced.insert(me);
            }
            if Self::is_quorum(core, &self.synced) {
                if !self.is_supported(core) {
                    let why =
                        format!("of servers {}, which acked the epoch, some are gone", list(&self.synced));
                    return Err(Quit::because(why));
                }
                self.establish(core, out);
            }
        }
        if self.stage == Stage::Broadcast && self.is_epoch_used_up(core) {
            self.turn(core, out)?;
        }
        if self.serves() {
            let durable = core.durable.unwrap_or_default();
            // Under load there is no moment at which nothing is owed.
            if durable > self.broadcast.acked(me) {
                self.owes_since = (durable < core.history.last()).then_some(core.now);
            }
            self.broadcast.ack(me, durable);
            self.commit(core, out);
            self.commit_with_follower(core, out);
        }
        Ok(())
    }

    /// A quorum has the initial history on disk: it is committed, and proposals may follow.
    fn establish(&mut self, core: &mut Core, out: &mut Vec<Effect>) {
        self.stage = Stage::Broadcast;
        let before = core.committed;
        core.commit(self.initial);
        core.vote.epoch = self.epoch;
        if core.is_changing() {
            // It is completed with the initial history (ZOOKEEPER-1324).
            let (me, now) = (core.config.me, &core.config.members);
            let acked = |server| if self.synced.contains(&server) { Zxid(u64::MAX) } else { Zxid::ZERO };
            let designated = designated_leader(me, now, &core.seen, acked).unwrap_or(me);
            core.activate(core.seen.clone(), Some(me), Some(designated), MembersBy::Word, out);
            self.retires_since = (designated != me).then_some(core.now);
        }
        self.broadcast = Broadcast::new(core.verifier.clone(), self.epoch_zxid());
        core.serve(Serving::Leader(self.epoch), out);
        let synced = self.learners.iter().filter(|(_, learner)| learner.stage == LearnerStage::Synced);
        let links: Vec<Link> = synced.map(|(link, _)| *link).collect();
        if std::mem::take(&mut self.turning) {
            self.send_commits(core, before, self.initial, LearnerStage::Active, out);
            self.end_turn(core, out);
        }
        links.into_iter().for_each(|link| self.send_uptodate(link, out));
    }

    pub(super) fn on_tick(&mut self, core: &mut Core, out: &mut Vec<Effect>) -> Result<(), Quit> {
        let now = core.now;
        if self.stage < Stage::Broadcast && now.since(self.started) > core.init_ms() {
            let (stage, ms) = (self.stage, core.init_ms());
            let heard = match stage {
                Stage::Discovery | Stage::Accepting => &self.connecting,
                Stage::Electing => &self.electing,
                Stage::Synchronization | Stage::Broadcast => &self.synced,
            };
            let why = format!("no quorum followed within {ms} ms: in {stage:?} servers {}", list(heard));
            return Err(Quit::because(why));
        }
        if self.retires_since.is_some_and(|since| now.since(since) > core.sync_ms()) {
            return Err(Quit::because("another is to lead"));
        }
        // Another could lead instead, unless nobody can.
        let owes = self.owes_since.is_some_and(|since| now.since(since) > core.sync_ms());
        if owes && !Self::is_alone(core) {
            return Err(Quit::because(format!(
                "this server's disk did not keep up for {} ms",
                core.sync_ms()
            )));
        }
        let silent = |learner: &Learner| {
            let limit = match learner.stage {
                LearnerStage::Synced | LearnerStage::Active => core.sync_ms(),
                _ => core.init_ms() + core.sync_ms(),
            };
            let owes = learner.owes_since.filter(|_| learner.stage == LearnerStage::Active);
            now.since(learner.heard) > limit || owes.is_some_and(|since| now.since(since) > core.sync_ms())
        };
        let mut given_up = Vec::new();
        for (link, learner) in self.learners.extract_if(.., |_, learner| silent(learner)) {
            given_up.push(learner.server);
            out.push(Effect::CloseLearner(link));
        }
        if !given_up.is_empty() {
            let servers = list(&given_up);
            out.push(Effect::Notice(format!(
                "given up as silent, or for acks that they owe: servers {servers}"
            )));
        }
        if self.serves() && !self.is_supported(core) {
            return Err(Quit::because(format!("a quorum is silent: servers {}", list(&given_up))));
        }
        if now >= self.ping_at {
            self.ping_at = now.plus_ms(core.config.timing.tick_ms / 2);
            for (link, learner) in &self.learners {
                if learner.stage >= LearnerStage::Syncing {
                    let zxid = self.broadcast.proposed().to_jute();
                    out.push(Effect::ToLearner(*link, ToLearner::Ping(zxid)));
                }
            }
        }
        Ok(())
    }

    /// A voter said whom it stands for. If too many look for a leader in a later round, or have gone over to
    /// another one, this leader waits in vain.
    pub(super) fn hear(
        &mut self,
        core: &Core,
        server: ServerId,
        notification: &Notification,
    ) -> Result<(), Quit> {
        if self.serves() || notification.round < core.round() {
            return Ok(());
        }
        let leaves = match notification.state {
            // What is worse than its leader it said before it heard of that; and what it said of this election
            // before it came to follow may be read after that.
            PeerState::Looking => {
                let follows = || self.learners.values().any(|learner| learner.server == server);
                notification.round > core.round() || core.is_overtaken(notification) && !follows()
            }
            PeerState::Following | PeerState::Leading => notification.vote.leader != Some(core.config.me),
            PeerState::Observing => return Ok(()),
        };
        if leaves {
            self.disloyal.insert(server);
        } else {
            self.disloyal.remove(&server);
        }
        if !Self::can_win(core, &self.disloyal) {
            let why = format!("too many look for another leader: servers {}", list(&self.disloyal));
            return Err(Quit::because(why));
        }
        Ok(())
    }

    pub(super) fn leader_shutdown(&self, out: &mut Vec<Effect>) {
        out.extend(self.learners.keys().copied().map(Effect::CloseLearner));
    }

    pub(super) fn check(&self, core: &Core) {
        assert!(self.connecting.contains(&core.config.me));
        if self.stage >= Stage::Accepting {
            assert_eq!(core.epochs.accepted, self.epoch);
        }
        if self.stage >= Stage::Synchronization {
            assert!(core.epochs.current < self.epoch || core.is_durable(self.initial));
            // A standalone server begins no epoch at its start.
            assert!(self.initial == Zxid::ZERO || self.initial.epoch() < self.epoch);
        }
        if self.serves() {
            assert!(self.turning || core.committed >= self.initial);
            assert!(core.history.last() <= self.broadcast.proposed());
            let has = core.committed.max(core.durable.unwrap_or_default()).max(self.initial);
            assert!(self.learners.values().all(|learner| learner.told <= has));
            assert!(core.persisted.current == self.epoch || !self.synced.contains(&core.config.me));
        } else {
            assert_eq!(core.serving, Serving::No);
        }
    }
}
