//! ZAB: one server's part in agreeing on one order of transactions. A pure state machine: what
//! happened goes in as an [`Input`], what is to be done comes out as [`Effect`]s, and after every
//! step [`Zab::check`] asserts what must hold. Actions carry the names of ZooKeeper's TLA+
//! specification (`zookeeper-specifications/system-spec`).
//!
//! | file | what lives there |
//! |---|---|
//! | `core` | what outlives a role: epochs, log, what is committed and applied |
//! | `counters` | what an operator is told |
//! | `leader` | discovery, synchronisation and broadcast as the leader sees them, and its move to a later epoch |
//! | `learner` | the same as followers and observers see it |
//!
//! What is around it owes it this. The log's operations are done in the order in which they were asked
//! for; so are the epochs' writes, but not between the two. [`Effect::Append`] is the log writer's
//! `append`; [`Effect::Rewind`] its `find_cut` and `truncate`, and a tree that has more is made anew from
//! checkpoint and log; [`Effect::Install`] writes a checkpoint and begins a log behind it. What the
//! writer's durable token says goes in as [`Input::Durable`], with the generation of the effect that
//! began that log. Transactions are applied by [`Effect::Deliver`] alone: a server that starts applies
//! what its checkpoint has, and the rest of its log when it hears that it is committed. A checkpoint
//! that was written while transactions were applied says which was the newest: [`Recovered::applied`]
//! is not before it. Requests are prepared only between [`Serving::Leader`] and [`Serving::No`], from
//! [`Zab::next_zxid`] on, and their replies leave with the delivery.
//!
//! Laws, each of which ZooKeeper broke once (the numbers are its issues):
//! - A learner's transactions are on disk before it takes on the epoch; the epoch is on disk before
//!   it acks NEWLEADER; that ack precedes its acks of proposals (4643, 4646, 4785, 4685, 3911).
//! - A log has no hole: a transaction that does not follow the last one ends the connection (4925).
//! - What a server applies is committed, and on its own disk. So cutting a log never has to undo
//!   anything in the tree (5094, 2845).
//! - A message that the learner's state forbids ends the connection (3023).
//! - A write that an earlier log, since cut, has under way is told by its generation (4712).

mod core;
mod counters;
mod leader;
mod learner;

use self::core::Core;
use self::counters::Counters;
use crate::election::{Decision, ElectionTiming, Tell};
use crate::members::Members;
use crate::message::{Batch, Notification, PeerState, ToLeader, ToLearner, Transaction, Vote};
use leader::Leading;
use learner::Learning;
use ringkeeper_engine::id::{Epoch, ServerId, Tick, Zxid};
use ringkeeper_engine::stats::{EnsembleReport, LeaderReport};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A connection of a learner to this server, numbered by the driver; a number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link(pub u64);

/// A connection of this server to its leader, numbered by [`Zab`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u64);

/// A log that was cut or replaced is another one. Completions of its predecessor are void.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// `tickTime`, in milliseconds.
    pub tick_ms: u64,
    /// `initLimit`: ticks to find a quorum and to synchronise.
    pub init_limit: u64,
    /// `syncLimit`: ticks of silence after which a server is given up.
    pub sync_limit: u64,
    /// Wait before the second attempt to connect to the leader; it doubles with each.
    pub connect_retry_ms: u64,
    /// Elections.
    pub election: ElectionTiming,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            tick_ms: 2000,
            init_limit: 10,
            sync_limit: 5,
            connect_retry_ms: 20,
            election: ElectionTiming::default(),
        }
    }
}

/// What a server is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// This server.
    pub me: ServerId,
    /// The ensemble.
    pub members: Members,
    /// What was proposed to take its place, as it was kept beside it: whoever has taken over a whole tree has
    /// the proposal in no log. An older one than `members` counts for nothing.
    pub next_members: Option<Members>,
    /// Limits of time.
    pub timing: Timing,
    /// Bytes of applied transactions that are kept for learners.
    pub window_bytes: usize,
    /// `reconfigEnabled`: the ensemble may change while it runs. Else its members are those of the file.
    pub reconfig_enabled: bool,
    /// Most transactions in an epoch, of which a zxid can tell 2³² − 1.
    pub epoch_transactions_max: u32,
}

/// The two epochs that a server keeps on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    /// No leader of an earlier epoch is accepted (`acceptedEpoch`, f.p).
    pub accepted: Epoch,
    /// The newest epoch whose initial history this server has on disk (`currentEpoch`, f.a).
    pub current: Epoch,
}

/// What was on disk.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The epochs.
    pub epochs: Epochs,
    /// The newest transaction in the tree. It was committed: from a checkpoint, or what the log
    /// knew to be committed when it was written.
    pub applied: Zxid,
    /// The newest transaction before `log`; not newer than `applied`.
    pub floor: Zxid,
    /// The end of the log, without a gap; everything after `applied` at least.
    pub log: Vec<Transaction>,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time passed.
    Tick,
    /// An election notification came.
    Notification {
        /// From whom, by the connection's handshake.
        from: ServerId,
        /// What it says.
        notification: Notification,
    },
    /// A server's election port was reached, or its connection broke or was refused.
    ElectionLink {
        /// Which server.
        peer: ServerId,
        /// Whether it can be reached.
        up: bool,
    },
    /// The connection to the leader stands.
    Connected(Attempt),
    /// It broke, or never came about.
    LeaderLost(Attempt),
    /// The leader said something.
    FromLeader(Attempt, ToLearner),
    /// The whole tree that SNAP announced has come, and is ready to be installed.
    SnapshotStaged(Attempt),
    /// The tree that was just installed shows this configuration. The transaction that made it is in no log of
    /// this server, which is to know of it before NEWLEADER says so: else it could be elected, and lead, by
    /// those alone who had a vote before.
    TreeShows(Members),
    /// More of that tree has come: it is long, but the leader is not silent.
    SnapshotProgress(Attempt),
    /// What the leader says is left at its socket, since the log cannot take more yet.
    LeaderUnheard,
    /// A learner said something. The first message on a link introduces it.
    FromLearner(Link, ToLeader),
    /// A learner's connection broke.
    LearnerLost(Link),
    /// More of the tree, or of the log on disk, was sent to a learner, which says nothing meanwhile.
    TransferProgress(Link),
    /// What [`Effect::SeekLog`] asked for: the newest transaction of the log on disk that is not newer
    /// than the learner's last, if everything after it is there, and is worth less than a whole tree.
    LogSought(Link, Option<Zxid>),
    /// The log of this generation is on disk up to here. After [`Effect::Rewind`] and
    /// [`Effect::Install`] the first one says that they are done.
    Durable(Generation, Zxid),
    /// The epochs are on disk.
    EpochsPersisted(Epochs),
    /// The leader's replica prepared these, one after the other from [`Zab::next_zxid`] on, of one epoch.
    Propose(Batch),
}

/// What a server does for its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// Nothing: it has no leader, or is not up to date.
    No,
    /// It leads this epoch, and may propose.
    Leader(Epoch),
    /// It follows, or observes.
    Learner {
        /// Whom.
        leader: ServerId,
        /// In which epoch.
        epoch: Epoch,
        /// Whether it has no vote.
        observer: bool,
    },
}

/// What is to be done. Effects on one connection, and those on the log, keep their order.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Tell a server about the election; connect to it if need be. Only the newest notification to
    /// a server matters.
    Notify(ServerId, Notification),
    /// Connect to the quorum port of the leader.
    Connect(Attempt, ServerId),
    /// Tell the leader.
    ToLeader(Attempt, ToLeader),
    /// End the connection to the leader.
    CloseLeader(Attempt),
    /// Tell a learner.
    ToLearner(Link, ToLearner),
    /// Send the learner a whole tree that has everything up to here, and may have more: it follows
    /// SNAP, and what follows it are all transactions after this zxid.
    SendTree(Link, Zxid),
    /// Find the transaction in the log on disk, or the newest before it: a learner's log ends there. The
    /// answer is [`Input::LogSought`]. ZooKeeper takes a tree instead when the log would be longer than
    /// a third of it (`snapshotSizeFactor`); how much is read to find out is for the driver to bound.
    SeekLog(Link, Zxid),
    /// Send the learner what the log on disk has after the first of these zxids, up to the second.
    SendLog {
        /// To whom.
        link: Link,
        /// What the learner has.
        after: Zxid,
        /// The last one to send.
        upto: Zxid,
        /// Whether the learner is a Ringkeeper, which takes PROPOSALS. To another each transaction goes in
        /// PROPOSAL, and COMMIT behind it.
        extended: bool,
    },
    /// End a learner's connection.
    CloseLearner(Link),
    /// Something that a learner asks of the replica: REQUEST, REVALIDATE, or an answered PING.
    FromLearner(Link, ServerId, ToLeader),
    /// Something that the leader says to the replica: PING, SYNC, or an answered REVALIDATE; what
    /// it is about includes everything up to this zxid.
    FromLeader(ToLearner, Zxid),
    /// Write the epochs to disk.
    PersistEpochs(Epochs),
    /// Write transactions to the log.
    Append(Generation, Batch),
    /// Cut the log after this transaction. If the tree has more, make it anew from disk.
    Rewind(Generation, Zxid),
    /// The staged tree replaces tree and log, which both end at this transaction: at once or, if the
    /// server ends before, not at all.
    Install(Generation, Zxid),
    /// Apply these.
    Deliver(Vec<Batch>),
    /// What the server does for its clients from here on.
    Serve(Serving),
    /// Another configuration of the ensemble was proposed: its servers are reached from here on, too, and
    /// it is kept beside the one in force.
    MembersSeen(Members),
    /// Another configuration of the ensemble is in force.
    Members(Members, MembersBy),
    /// Something for the operator.
    Notice(String),
}

/// How a server hears of the configuration that is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembersBy {
    /// By a transaction of its log, whose application shows it to clients.
    Transaction,
    /// By a leader that begins, or another server: no transaction of this server's log has it.
    Word,
}

/// Why a server gives up its role: who did what.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Quit(Cow<'static, str>);

impl Quit {
    fn because(why: impl Into<Cow<'static, str>>) -> Self {
        Quit(why.into())
    }
}

enum Phase {
    /// LOOKING.
    Looking,
    /// FOLLOWING or OBSERVING.
    Learning(Box<Learning>),
    /// LEADING.
    Leading(Box<Leading>),
}

/// One server.
pub struct Zab {
    core: Core,
    phase: Phase,
    /// Learners that introduced themselves before this server knew that it leads, each once.
    early: BTreeMap<Link, ToLeader>,
    counters: Counters,
}

impl Zab {
    /// A server as its disk has it; it starts with [`Zab::start`].
    pub fn new(config: Config, recovered: Recovered) -> Self {
        Zab {
            core: Core::new(config, recovered),
            phase: Phase::Looking,
            early: BTreeMap::new(),
            counters: Counters::default(),
        }
    }

    /// A standalone server: a quorum of one that leads from the start. It goes on in the epoch of its
    /// log, as ZooKeeper's does, so it keeps no epochs on disk; all that its log has is committed.
    ///
    /// # Panics
    /// If others have a vote.
    pub fn standalone(config: Config, recovered: Recovered, out: &mut Vec<Effect>) -> Self {
        let mut zab = Zab::new(config, recovered);
        let core = &mut zab.core;
        let epoch = core.history.last().epoch();
        core.epochs = Epochs { accepted: epoch, current: epoch };
        core.persisted = core.epochs;
        core.commit(core.history.last());
        core.serve(Serving::Leader(epoch), out);
        zab.phase = Phase::Leading(Box::new(Leading::standalone(core)));
        zab.settle(out);
        zab
    }

    /// Starts to look for a leader.
    pub fn start(&mut self, now: Tick, out: &mut Vec<Effect>) {
        self.core.now = now;
        let from = out.len();
        self.core.start(out);
        self.zab_timeout(Quit::because("started"), out);
        self.settle(out);
        self.counters.on_effects(now, &out[from..]);
    }

    /// Takes in what happened.
    pub fn step(&mut self, now: Tick, input: Input, out: &mut Vec<Effect>) {
        self.core.now = now;
        let from = out.len();
        if let Err(quit) = self.take(input, out) {
            self.zab_timeout(quit, out);
        }
        self.settle(out);
        self.counters.on_effects(now, &out[from..]);
    }

    /// Lets follow what follows without more input.
    fn settle(&mut self, out: &mut Vec<Effect>) {
        loop {
            let advanced = match &mut self.phase {
                Phase::Looking => Ok(()),
                Phase::Learning(learning) => learning.advance(&mut self.core, out),
                Phase::Leading(leading) => leading.advance(&mut self.core, out),
            };
            match advanced {
                Ok(()) => break,
                Err(quit) => self.zab_timeout(quit, out),
            }
        }
        self.core.deliver(out);
        self.check();
    }

    fn take(&mut self, input: Input, out: &mut Vec<Effect>) -> Result<(), Quit> {
        let core = &mut self.core;
        match (input, &mut self.phase) {
            (Input::Tick, Phase::Looking) => self.look_on(out),
            (Input::Tick, Phase::Learning(learning)) => return learning.on_tick(core, out),
            (Input::Tick, Phase::Leading(leading)) => return leading.on_tick(core, out),
            (Input::Notification { from, notification }, _) => {
                return self.receive_notmsg(from, &notification, out);
            }
            (Input::ElectionLink { peer, up }, _) => return self.on_election_link(peer, up, out),
            (Input::Connected(attempt), Phase::Learning(learning)) => {
                learning.connect_and_follower_send_followerinfo(core, attempt, out);
            }
            (Input::LeaderLost(attempt), Phase::Learning(learning)) => {
                return learning.on_lost(core, attempt);
            }
            (Input::FromLeader(attempt, message), Phase::Learning(learning)) => {
                return learning.receive(core, attempt, message, out);
            }
            (Input::SnapshotStaged(attempt), Phase::Learning(learning)) => {
                return learning.on_staged(core, attempt, out);
            }
            (Input::SnapshotProgress(attempt), Phase::Learning(learning)) => {
                learning.on_progress(core, attempt);
            }
            (Input::LeaderUnheard, Phase::Learning(learning)) => learning.on_unheard(core, out),
            (Input::TransferProgress(link), Phase::Leading(leading)) => leading.on_progress(core, link),
            (Input::LogSought(link, common), Phase::Leading(leading)) => {
                leading.on_sought(core, link, common, out);
            }
            (Input::FromLearner(link, message), Phase::Leading(leading)) => {
                return leading.receive(core, link, message, out);
            }
            (Input::FromLearner(link, message), phase) => {
                let again = self.early.remove(&link).is_some();
                let server = introduced(&message).filter(|_| matches!(phase, Phase::Looking) && !again);
                let others = self.early.values().filter_map(introduced);
                match server {
                    Some(server) if core.has_room_for(server, others) => {
                        // A server has one connection: the newer.
                        let older = self.early.extract_if(.., |_, early| introduced(early) == Some(server));
                        out.extend(older.map(|(older, _)| Effect::CloseLearner(older)));
                        self.early.insert(link, message);
                    }
                    _ => out.push(Effect::CloseLearner(link)),
                }
            }
            (Input::LearnerLost(link), Phase::Leading(leading)) => return leading.on_lost(core, link),
            (Input::LearnerLost(link), _) => drop(self.early.remove(&link)),
            (Input::Durable(generation, upto), _) => core.on_durable(generation, upto),
            (Input::EpochsPersisted(epochs), _) => core.persisted = epochs,
            (Input::TreeShows(members), _) if members.version() > core.seen.version() => {
                core.see(members, out);
            }
            (Input::TreeShows(_), _) => {}
            (Input::Propose(batch), Phase::Leading(leading)) => {
                leading.leader_process_requests(core, batch, out);
            }
            (Input::Propose(_), _) => panic!("proposed by no leader"),
            // Of a role that is over.
            (
                Input::Connected(_)
                | Input::LeaderLost(_)
                | Input::FromLeader(..)
                | Input::SnapshotStaged(_)
                | Input::SnapshotProgress(_)
                | Input::LeaderUnheard
                | Input::TransferProgress(_)
                | Input::LogSought(..),
                _,
            ) => {}
        }
        Ok(())
    }

    /// Leaves a role, and looks for a leader.
    fn zab_timeout(&mut self, quit: Quit, out: &mut Vec<Effect>) {
        self.leave(out);
        out.push(Effect::Notice(format!("looking for a leader: {}", quit.0)));
        let decision = self.core.look();
        if let Some(leader) = self.core.designated.take() {
            // All that follow the last leader know whom it named: no election is held.
            let core = &self.core;
            let vote = Vote { epoch: core.epochs.current, zxid: core.history.last(), leader: Some(leader) };
            self.decided(Some(Decision { vote, leader }), out);
            if let Phase::Learning(learning) = &mut self.phase {
                learning.leader_was_named();
            }
            return;
        }
        self.core.tell_all(out);
        self.decided(decision, out);
    }

    fn leave(&mut self, out: &mut Vec<Effect>) {
        match &self.phase {
            Phase::Looking => {}
            Phase::Learning(learning) => learning.follower_shutdown(out),
            Phase::Leading(leading) => leading.leader_shutdown(out),
        }
        if self.core.serving != Serving::No {
            self.core.serve(Serving::No, out);
        }
        self.phase = Phase::Looking;
        self.counters.on_look(self.core.now);
    }

    fn look_on(&mut self, out: &mut Vec<Effect>) {
        let (decision, tell) = self.core.look_on();
        if tell == Tell::All {
            self.core.tell_all(out);
        }
        self.decided(decision, out);
    }

    fn receive_notmsg(
        &mut self,
        from: ServerId,
        notification: &Notification,
        out: &mut Vec<Effect>,
    ) -> Result<(), Quit> {
        let core = &mut self.core;
        if matches!(self.phase, Phase::Looking) && core.hear_of_members(notification.members.as_deref(), out)
        {
            return Err(Quit::because(format!("another configuration is in force, server {} says", from.0)));
        }
        if !core.verifier.is_voter(from) {
            if core.answers_strangers(notification) {
                core.tell(from, self.phase.state(core), out);
            }
            return Ok(());
        }
        if matches!(self.phase, Phase::Looking) {
            let (decision, tell) = core.receive_notmsg(from, notification);
            match tell {
                Tell::Nobody => {}
                Tell::Sender => core.tell(from, PeerState::Looking, out),
                Tell::All => core.tell_all(out),
            }
            self.decided(decision, out);
            return Ok(());
        }
        core.overhear(from, notification);
        let stands = match &mut self.phase {
            Phase::Looking => Ok(()),
            Phase::Learning(learning) => learning.hear(core, from, notification),
            Phase::Leading(leading) => {
                let heard = leading.hear(core, from, notification);
                self.counters.totals.quit_leading_due_to_disloyal_voter += u64::from(heard.is_err());
                heard
            }
        };
        match stands {
            Err(_) if core.is_overtaken(notification) => self.resume(out),
            Err(quit) => return Err(quit),
            Ok(()) if notification.state == PeerState::Looking => {
                core.tell(from, self.phase.state(core), out);
            }
            Ok(()) => {}
        }
        Ok(())
    }

    /// Goes back into the election that this server left for a leader that does not come to lead.
    fn resume(&mut self, out: &mut Vec<Effect>) {
        self.leave(out);
        out.push(Effect::Notice("looking for a leader: the others stand for a better one".to_owned()));
        let decision = self.core.resume();
        self.core.tell_all(out);
        self.decided(decision, out);
    }

    fn on_election_link(&mut self, peer: ServerId, up: bool, out: &mut Vec<Effect>) -> Result<(), Quit> {
        let core = &mut self.core;
        core.note_link(peer, up);
        match &mut self.phase {
            Phase::Looking if up => core.tell(peer, PeerState::Looking, out),
            Phase::Looking => {
                let decision = core.on_down();
                self.decided(decision, out);
            }
            Phase::Learning(learning) => return learning.on_election_link(core.now, peer, up),
            Phase::Leading(_) => {}
        }
        Ok(())
    }

    /// The election is over.
    fn decided(&mut self, decision: Option<Decision>, out: &mut Vec<Effect>) {
        let Some(Decision { vote, leader }) = decision else { return };
        let core = &mut self.core;
        core.vote = vote;
        self.counters.on_decision(core.now, core.is_observer());
        let early = std::mem::take(&mut self.early);
        if leader == core.config.me {
            let mut leading = Box::new(Leading::new(core));
            for (link, message) in early {
                if leading.receive(core, link, message, out).is_err() {
                    out.push(Effect::CloseLearner(link));
                }
            }
            self.phase = Phase::Leading(leading);
        } else {
            out.extend(early.into_keys().map(Effect::CloseLearner));
            self.phase = Phase::Learning(Box::new(Learning::new(core, leader, out)));
        }
    }

    /// About how long the tree is when it is sent whole, in bytes: learners that miss much more of the log are
    /// sent the tree. Nobody is, where nobody says so.
    pub fn set_tree_bytes(&mut self, bytes: u64) {
        self.core.tree_bytes = bytes;
    }

    /// What this server is doing.
    pub fn state(&self) -> PeerState {
        self.phase.state(&self.core)
    }

    /// What it does for its clients.
    pub fn serving(&self) -> Serving {
        self.core.serving
    }

    /// Whether it has no leader and is none.
    pub fn is_looking(&self) -> bool {
        matches!(self.phase, Phase::Looking)
    }

    /// The zxid of the next proposal; `None` unless this server leads, and while it moves to a later
    /// epoch.
    pub fn next_zxid(&self) -> Option<Zxid> {
        self.zxid_behind(0)
    }

    /// The zxid of the proposal that comes behind as many others, `None` where it would be none.
    pub fn zxid_behind(&self, others: usize) -> Option<Zxid> {
        match &self.phase {
            Phase::Leading(leading) => leading.zxid_behind(&self.core, others),
            Phase::Looking | Phase::Learning(_) => None,
        }
    }

    /// The configuration in force.
    pub fn members(&self) -> &Members {
        &self.core.config.members
    }

    /// The newest configuration that was proposed.
    pub fn members_seen(&self) -> &Members {
        &self.core.seen
    }

    /// Whether this server leads, and can propose another configuration. While it moves to a later epoch
    /// it cannot: what that epoch begins with has no commit of its own.
    pub fn takes_changes(&self) -> bool {
        matches!(&self.phase, Phase::Leading(leading) if leading.takes_changes())
    }

    /// Whether a server has all that this leader has, or is this leader.
    pub fn is_synced(&self, server: ServerId) -> bool {
        server == self.core.config.me
            || matches!(&self.phase, Phase::Leading(leading) if leading.is_synced(server))
    }

    /// Whether this server leads one that is no Ringkeeper.
    pub fn leads_zookeepers(&self) -> bool {
        matches!(&self.phase, Phase::Leading(leading) if leading.has_plain_learner())
    }

    /// Whether this server is a learner of a Ringkeeper.
    pub fn has_extended_leader(&self) -> bool {
        matches!(&self.phase, Phase::Learning(learning) if learning.is_extended())
    }

    /// The connection to the leader, if this server is a learner.
    pub fn attempt(&self) -> Option<Attempt> {
        match &self.phase {
            Phase::Learning(learning) => Some(learning.attempt()),
            Phase::Looking | Phase::Leading(_) => None,
        }
    }

    /// What an operator is told; syncs are the replica's to count.
    pub fn report(&self) -> EnsembleReport {
        let Core { config, serving, now, .. } = &self.core;
        let observed = match serving {
            Serving::Learner { leader, observer: true, .. } => Some(*leader),
            _ => None,
        };
        let counters = &self.counters;
        let leader = match (&self.phase, counters.leading_since) {
            (Phase::Leading(leading), Some(since)) => {
                let (uptime_ms, proposal_bytes) = (now.since(since), counters.proposal_bytes);
                Some(LeaderReport { uptime_ms, proposal_bytes, ..leading.report(&self.core) })
            }
            _ => None,
        };
        EnsembleReport {
            quorum_size: config.members.verifier().voters().count(),
            peer_state: match serving {
                Serving::No => "looking",
                Serving::Leader(_) => "leading - broadcast",
                Serving::Learner { observer: false, .. } => "following - broadcast",
                Serving::Learner { observer: true, .. } => "observing - broadcast",
            },
            observed,
            leader,
            counters: counters.totals,
        }
    }

    /// The transactions that were not delivered.
    pub fn undelivered(&self) -> impl Iterator<Item = Batch> {
        self.core.history.range(self.core.delivered, self.core.history.last())
    }

    /// Bytes of the transactions that were not delivered.
    pub fn undelivered_bytes(&self) -> usize {
        self.undelivered().map(|batch| batch.transaction_bytes()).sum()
    }

    /// The newest transaction of the log.
    pub fn last(&self) -> Zxid {
        self.core.history.last()
    }

    /// The newest transaction that is known to be committed.
    pub fn committed(&self) -> Zxid {
        self.core.committed
    }

    /// The newest transaction that was delivered.
    pub fn delivered(&self) -> Zxid {
        self.core.delivered
    }

    /// The epochs, as they are or are on their way to disk.
    pub fn epochs(&self) -> Epochs {
        self.core.epochs
    }

    /// Asserts what must hold between two steps.
    pub fn check(&self) {
        self.core.check();
        match &self.phase {
            Phase::Looking => assert_eq!(self.core.serving, Serving::No),
            Phase::Learning(learning) => learning.check(&self.core),
            Phase::Leading(leading) => leading.check(&self.core),
        }
    }
}

/// Who introduces itself so.
fn introduced(message: &ToLeader) -> Option<ServerId> {
    match message {
        ToLeader::FollowerInfo { info, .. } | ToLeader::ObserverInfo { info, .. } => Some(info.server),
        _ => None,
    }
}

impl Phase {
    fn state(&self, core: &Core) -> PeerState {
        match self {
            Phase::Looking => PeerState::Looking,
            Phase::Learning(_) if core.is_observer() => PeerState::Observing,
            Phase::Learning(_) => PeerState::Following,
            Phase::Leading(_) => PeerState::Leading,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn transaction(zxid: u64) -> Transaction {
        Transaction { zxid: Zxid(zxid), bytes: Bytes::from_static(b"t") }
    }

    #[test]
    fn a_standalone_server_goes_on_where_its_log_ends() {
        let config = Config {
            me: ServerId(1),
            members: Members::parse("server.1=localhost:2001:3001").expect("a configuration"),
            next_members: None,
            timing: Timing::default(),
            window_bytes: 0,
            reconfig_enabled: false,
            epoch_transactions_max: u32::MAX,
        };
        let log = vec![transaction(1), transaction(2)];
        let recovered = Recovered { applied: Zxid(1), log, ..Recovered::default() };
        let mut out = Vec::new();
        let mut zab = Zab::standalone(config, recovered, &mut out);
        let delivered = |out: &[Effect]| {
            let delivers = out.iter().filter_map(|effect| match effect {
                Effect::Deliver(batches) => {
                    Some(batches.iter().flat_map(|batch| batch.iter()).map(|(zxid, _)| zxid.0))
                }
                _ => None,
            });
            delivers.flatten().collect::<Vec<_>>()
        };
        assert!(matches!(out[0], Effect::Serve(Serving::Leader(Epoch(0)))));
        assert_eq!(delivered(&out), [2], "what its log has is committed");
        out.clear();
        zab.step(
            Tick(1),
            Input::Propose(Batch::of(&[transaction(3), transaction(4)]).expect("two")),
            &mut out,
        );
        assert_eq!(delivered(&out), [0; 0]);
        // There is nobody who could lead instead while the disk is slow.
        zab.step(Tick(60_000), Input::Tick, &mut out);
        zab.step(Tick(60_001), Input::Durable(Generation(0), Zxid(3)), &mut out);
        assert_eq!((delivered(&out), zab.next_zxid()), (vec![3], Some(Zxid(5))));
    }
}
