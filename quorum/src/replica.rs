//! The replica: the one thread that prepares, orders, logs and applies. It owns everything that a
//! transaction decides; cores read the tree beside it.
//!
//! A step takes one batch in and leaves effects. Between two steps everything is a batch: requests
//! that came together share a log write, a sync, a publication of the tree and one delivery a core.
//!
//! | file | what lives there |
//! |---|---|
//! | `order` | its [`Zab`]: what it is told, and what of its effects is done where |
//! | `lent` | memory of batches that is used again |
//! | `requests`, `prepared` | requests of clients of a leader; transactions before they are proposed |
//! | `forwarded`, `learner` | a leader's part for its learners' clients; a learner's part |
//! | `local` | sessions of this server alone |
//! | `roles`, `read_only` | what starts and stops serving; readers without a quorum |
//! | `log_queue`, `marking`, `space` | what is done to the log, in order; its mark; what waits for a full disk |
//! | `apply`, `answers` | what is committed, and who is told |
//! | `checkpoints`, `containers`, `reports` | when a checkpoint is due; nodes that are over; questions |

mod answers;
mod apply;
mod checkpoints;
mod containers;
mod digests;
mod forwarded;
mod learner;
mod lent;
mod local;
mod log_queue;
mod marking;
mod members;
mod order;
mod prepared;
mod read_only;
mod reads;
mod reports;
mod requests;
mod roles;
mod space;

pub use reads::is_read;

use crate::members::Members;
use crate::message::{ToLeader, Transaction};
use crate::reconfig::Rules;
use crate::step::{ConnectionId, Effect, Emptied, Input, RequestBatch, Service, StagedTree};
use crate::zab::{self, Epochs, Link, Recovered, Serving, Timing, Zab};
use answers::{Outbox, Pending};
use checkpoints::Checkpoints;
use containers::Containers;
use digests::Digests;
use learner::Learner;
use lent::Lent;
use log_queue::LogQueue;
use marking::Marking;
use prepared::Prepared;
use reports::Reports;
use ringkeeper_engine::database::Database;
use ringkeeper_engine::id::{Now, ServerId, SessionId, Tick, Zxid};
use ringkeeper_engine::limits::Settings;
use ringkeeper_engine::log::{IoFailure, LogError, LogWrite, LogWriter, Upkeep};
use ringkeeper_engine::prep::Prep;
use ringkeeper_engine::session::Sessions;
use ringkeeper_engine::tree::{Changes, TreeReader};
use space::{Refused, Space};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Bytes of proposals under way at which no more requests are taken.
const WINDOW_BYTES_MAX: usize = 32 << 20;

/// [`ReplicaConfig::logged_bytes_max`] of a server: a few writes of its log.
pub const LOGGED_BYTES_MAX: u64 = 4 << 20;

/// How long a sign of life may wait in its core before the replica hears of it. A session expires
/// this much later than its deadline, so never while one is on its way.
const TOUCH_LAG_MS: u64 = 200;

/// How often soft quotas may be spoken of.
const QUOTA_NOTICE_MS: u64 = 1000;

/// What a replica is made of besides its data.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// Bounds and switches.
    pub settings: Arc<Settings>,
    /// This server.
    pub server: ServerId,
    /// Client cores.
    pub cores: u16,
    /// The first session id to give out.
    pub first_session: SessionId,
    /// What reconfigurations may do.
    pub rules: Rules,
    /// Bytes that wait for the log at which the leader is not listened to.
    pub logged_bytes_max: u64,
    /// Keys hashes and staggers checkpoints.
    pub seed: u64,
}

/// A session that changes cores. The new connection is told that the session is its own when the old
/// one is gone: until then the other core may still be answering it.
#[derive(Clone, Copy, Debug)]
struct Move {
    from: ConnectionId,
    to: ConnectionId,
}

/// Who speaks for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// A connection to this server.
    Here(ConnectionId),
    /// A connection to a learner of this leader.
    Learner(Link),
}

/// See the module.
pub struct Replica {
    settings: Arc<Settings>,
    rules: Rules,
    logged_bytes_max: u64,
    /// Whether this server is, and always will be, a quorum of its own.
    standalone: bool,
    serving: Serving,
    /// What the cores know to be done for clients.
    service: Service,
    /// Since when there is no leader, where readers are served then.
    looking_since: Option<Tick>,
    database: Database,
    prep: Prep,
    /// Of the ensemble: all of them as a leader, those of its connections as a learner.
    sessions: Sessions<Owner>,
    /// Of this server alone.
    local: Sessions<Owner>,
    next_session: SessionId,
    moves: BTreeMap<SessionId, Move>,
    zab: Zab,
    /// What the last step of `zab` asks for; kept for its memory.
    asked: Vec<zab::Effect>,
    prepared: Prepared,
    /// The configuration among what was prepared, until it is in force.
    members_prepared: Option<Members>,
    /// Requests that wait until proposals can be made again.
    held: VecDeque<RequestBatch>,
    /// The same of learners' clients.
    held_forwarded: VecDeque<(Link, ToLeader)>,
    /// Sessions that are to be closed then.
    to_close: VecDeque<SessionId>,
    /// SYNCs of learners, and what is to be committed before they are answered.
    syncs: VecDeque<(Zxid, Link)>,
    /// Learners that were told of commits since the last flush, while somebody waits for SYNC.
    told: Vec<(Link, Zxid)>,
    learner: Learner,
    /// What is to be told to other servers.
    messages: Vec<zab::Effect>,
    /// The tree that the leader sent.
    staged: Option<Box<StagedTree>>,
    /// From here on the tree is as it was at one moment.
    fuzzy_until: Zxid,
    log: LogWriter,
    log_queue: LogQueue,
    /// Bytes of transactions that are not applied.
    window_bytes: usize,
    pending: VecDeque<Pending>,
    outboxes: Vec<Outbox>,
    /// The zxid of the last delivery.
    delivered: Zxid,
    changes: Changes,
    lent_changes: Lent<Changes>,
    /// Batches that were taken.
    emptied: Emptied,
    containers: Containers,
    reports: Reports,
    checkpoints: Checkpoints,
    digests: Digests,
    marking: Marking,
    space: Space,
    /// When a soft quota may be spoken of again.
    next_quota_notice: Tick,
    /// When requests last had to be left where they were.
    deaf_at: Tick,
    failed: bool,
}

impl Replica {
    /// A standalone server: a quorum of one that leads from the start. Every session gets its full
    /// timeout again.
    pub fn new(config: ReplicaConfig, database: Database, log: LogWriter, now: Now) -> Self {
        let zab_config = zab::Config {
            me: config.server,
            members: Members::standalone(config.server),
            next_members: None,
            timing: Timing::default(),
            window_bytes: 0,
            reconfig_enabled: false,
            epoch_transactions_max: u32::MAX,
        };
        let (applied, mut asked) = (database.last, Vec::new());
        let recovered = Recovered { applied, floor: applied, ..Recovered::default() };
        let zab = Zab::standalone(zab_config, recovered, &mut asked);
        let mut replica = Replica::with(config, zab, database, log, now);
        replica.standalone = true;
        replica.service = Service::Full;
        replica.asked = asked;
        let begun = replica.ask(now, zab::Input::Tick, &mut Vec::new());
        begun.expect("nothing is appended before the first request");
        replica
    }

    /// A server of an ensemble, which looks for a leader once it is started. `held` is the end of its log,
    /// of which it is not known whether it is committed.
    pub fn in_ensemble(
        config: ReplicaConfig,
        zab_config: zab::Config,
        epochs: Epochs,
        (database, held): (Database, Vec<Transaction>),
        log: LogWriter,
        now: Now,
    ) -> Self {
        let applied = database.last;
        let recovered = Recovered { epochs, applied, floor: applied, log: held };
        let mut replica = Replica::with(config, Zab::new(zab_config, recovered), database, log, now);
        replica.show_members(now.wall_ms);
        replica
    }

    /// Looks for a leader.
    pub fn start(&mut self, now: Now, out: &mut Vec<Effect>) {
        let mut asked = std::mem::take(&mut self.asked);
        self.zab.start(now.tick, &mut asked);
        self.asked = asked;
        self.step(now, Input::Tick { heard_all: true }, out);
    }

    fn with(config: ReplicaConfig, zab: Zab, database: Database, log: LogWriter, now: Now) -> Self {
        let ReplicaConfig { settings, server: _, cores, first_session, rules, logged_bytes_max, seed } =
            config;
        let mut replica = Replica {
            prep: Prep::new(Arc::clone(&settings), seed),
            rules,
            logged_bytes_max,
            standalone: false,
            serving: Serving::No,
            service: Service::Nothing,
            looking_since: None,
            window_bytes: zab.undelivered_bytes(),
            zab,
            asked: Vec::new(),
            prepared: Prepared::default(),
            members_prepared: None,
            held: VecDeque::new(),
            held_forwarded: VecDeque::new(),
            to_close: VecDeque::new(),
            syncs: VecDeque::new(),
            told: Vec::new(),
            learner: Learner::default(),
            messages: Vec::new(),
            staged: None,
            fuzzy_until: Zxid::ZERO,
            containers: Containers::new(&settings, now),
            delivered: database.last,
            sessions: Sessions::new(settings.tick_ms),
            local: Sessions::new(settings.tick_ms),
            settings,
            database,
            next_session: first_session,
            moves: BTreeMap::new(),
            log,
            log_queue: LogQueue::default(),
            pending: VecDeque::new(),
            outboxes: (0..cores).map(|_| Outbox::default()).collect(),
            changes: Changes::default(),
            lent_changes: Lent::default(),
            emptied: Emptied::default(),
            reports: Reports::default(),
            checkpoints: Checkpoints::new(seed),
            digests: Digests::default(),
            marking: Marking::new(now.tick),
            space: Space::default(),
            next_quota_notice: now.tick,
            deaf_at: now.tick,
            failed: false,
        };
        replica.plan_checkpoint();
        replica
    }

    /// The tree, for a core.
    pub fn reader(&self) -> TreeReader {
        self.database.tree.reader()
    }

    /// The newest transaction in the tree.
    pub fn applied(&self) -> Zxid {
        self.database.last
    }

    /// Whether requests can be taken: else the caller leaves them where they are, and back-pressure
    /// reaches the sockets.
    pub fn can_take(&self) -> bool {
        let waiting = self.window_bytes + self.prepared.bytes();
        !self.failed && waiting < WINDOW_BYTES_MAX && self.held.is_empty()
    }

    /// Whether more is to be heard from the leader: else what comes is left where it is, and back-pressure
    /// reaches the leader's socket. What the disk cannot take yet is better kept there than in memory here:
    /// while a tree that the leader sent goes to disk, that is all that is proposed meanwhile. Nothing that
    /// this waits for needs to be heard.
    pub fn can_log(&self) -> bool {
        self.failed || self.log.pending_bytes() + self.log_queue.bytes() < self.logged_bytes_max
    }

    /// Whether nothing waits for the log, and nothing for its mark.
    pub fn is_settled(&self) -> bool {
        let written = self.prepared.is_empty() && self.log_queue.is_empty() && !self.log.has_pending();
        written && !self.log.is_writing() && !self.marking.is_under_way()
    }

    /// The log, for its settings and deadlines.
    pub fn log(&self) -> &LogWriter {
        &self.log
    }

    /// Takes one input. Call [`Self::flush`] after the last of those that came together.
    pub fn step(&mut self, now: Now, input: Input, out: &mut Vec<Effect>) {
        if self.failed {
            return;
        }
        let result = match input {
            Input::Requests(batch) => {
                self.on_requests(now, batch);
                Ok(())
            }
            Input::Written(write, result) => self.on_written(now, write, result, out),
            Input::Upkeep(step, result) => self.on_upkeep(now, step, result, out),
            Input::Spare(spare) => {
                self.log.add_spare(spare);
                Ok(())
            }
            Input::Checkpointed(result) => self.on_checkpointed(result, out),
            Input::Peer(input) => self.order(now, input, out),
            Input::Staged(attempt, tree) => {
                let shown = members::shown(&tree.database);
                self.staged = Some(tree);
                let staged = self.order(now, zab::Input::SnapshotStaged(attempt), out);
                // What is left is of an attempt that is over.
                match self.staged.take() {
                    Some(_) => staged,
                    None => staged.and_then(|()| {
                        shown.map_or(Ok(()), |members| self.order(now, zab::Input::TreeShows(members), out))
                    }),
                }
            }
            Input::EpochsPersisted(Ok(epochs)) => {
                if epochs == self.space.epochs {
                    self.on_found_space(Refused::Epochs, out);
                }
                self.order(now, zab::Input::EpochsPersisted(epochs), out)
            }
            Input::EpochsPersisted(Err(failure)) => self.on_refused(now.tick, Refused::Epochs, failure, out),
            Input::CutFound(Err(failure)) | Input::Installed(Err(failure)) => {
                self.on_refused(now.tick, Refused::Change, failure, out)
            }
            Input::CutFound(Ok(cut)) => {
                self.on_found_space(Refused::Change, out);
                self.on_cut_found(now, cut)
            }
            Input::Installed(Ok(())) => {
                self.on_found_space(Refused::Change, out);
                self.on_installed(now)
            }
            Input::Marked(result) => {
                let marked = self.marking.on_marked(now.tick, result);
                self.mark_when_asked(out);
                marked.map_err(LogError::Failed)
            }
            Input::Tick { heard_all } => self.on_tick(now, heard_all, out),
        };
        self.note(result, out);
        self.mind_quorum(now);
    }

    /// Hands out what the inputs since the last flush call for.
    pub fn flush(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.failed {
            return;
        }
        self.take_held(now);
        self.take_held_forwarded(now);
        let result = self.propose(now, out).and_then(|()| self.feed_log(now, out));
        self.note(result, out);
        self.release_pending(self.applied());
        self.release_waiting();
        self.release_syncs();
        out.extend(self.messages.drain(..).map(|message| match message {
            zab::Effect::Notice(text) => Effect::Notice(text),
            message => Effect::Peer(message),
        }));
        self.announce(now.tick);
        self.deliver(out);
        if let Some(line) = self.prep.take_soft_quota()
            && now.tick >= self.next_quota_notice
        {
            self.next_quota_notice = now.tick.plus_ms(QUOTA_NOTICE_MS);
            out.push(Effect::Notice(line));
        }
        self.check();
    }

    /// An orderly stop: marks the end of the log, so that damage to what is before it cannot be
    /// taken for a crash's. Run the writes that the next flush hands out.
    pub fn mark_end(&mut self, now: Now, out: &mut Vec<Effect>) {
        let marked = self.log.mark(now.us);
        self.note(marked, out);
        out.extend(self.marking.at_end(self.log.durable()).map(Effect::Mark));
    }

    fn note(&mut self, result: Result<(), LogError>, out: &mut Vec<Effect>) {
        if let Err(error) = result {
            self.failed = true;
            out.push(Effect::Fatal(error));
        }
    }

    /// Says of what there is not enough, and when that is over.
    fn on_upkeep(
        &mut self,
        now: Now,
        step: Upkeep,
        result: Result<(), IoFailure>,
        out: &mut Vec<Effect>,
    ) -> Result<(), LogError> {
        let before = self.log.shortage();
        let failure = result.as_ref().err().map(ToString::to_string);
        self.log.on_upkeep(step, result, now.us)?;
        match (before, self.log.shortage()) {
            (None, Some(shortage)) => out.push(Effect::Notice(format!(
                "{shortage} ({}): writes wait when the log's segment is used up, and go on when that is \
                 over; reads go on",
                failure.unwrap_or_default()
            ))),
            (Some(shortage), None) => out.push(Effect::Notice(format!("{}: writes go on", shortage.over()))),
            _ => {}
        }
        Ok(())
    }

    fn on_written(
        &mut self,
        now: Now,
        write: LogWrite,
        result: Result<(), IoFailure>,
        out: &mut Vec<Effect>,
    ) -> Result<(), LogError> {
        let begins_segment = write.begins_segment();
        let written = self.log.on_written(write, result)?;
        self.marking.on_written(now.tick, begins_segment, written.is_some());
        self.mark_when_asked(out);
        let Some(durable) = written else { return Ok(()) };
        self.order(now, zab::Input::Durable(self.log_queue.generation, durable.upto()), out)
    }

    fn on_tick(&mut self, now: Now, heard_all: bool, out: &mut Vec<Effect>) -> Result<(), LogError> {
        if !self.can_log() {
            self.order(now, zab::Input::LeaderUnheard, out)?;
        }
        self.order(now, zab::Input::Tick, out)?;
        self.database.tree.reclaim();
        if !heard_all {
            self.deaf_at = now.tick;
        }
        self.end_local_sessions(now.tick);
        if matches!(self.serving, Serving::Leader(_)) {
            self.end_what_is_over(now);
        }
        self.ask_for_space_when_due(now.tick, out);
        self.mark_when_asked(out);
        if !self.log.is_writing() && !self.log_queue.is_changing() {
            out.extend(self.marking.when_idle(now.tick, self.log.durable()).map(Effect::Mark));
        }
        Ok(())
    }

    /// Proposes to close the sessions, and to delete the containers, whose time is over.
    fn end_what_is_over(&mut self, now: Now) {
        if let Some(heard_until) = self.heard_until(now.tick) {
            self.to_close.extend(self.sessions.expired(heard_until));
        }
        while self.next_zxid().is_some()
            && let Some(session) = self.to_close.pop_front()
        {
            self.prepare_close(now, session);
        }
        for path in self.containers.due(now, &self.database.tree) {
            self.prepare_delete_container(now, &path);
        }
    }

    /// The moment up to which every sign of life was heard. `None`: they wait behind requests that cannot be
    /// taken while the disk is slow or full.
    fn heard_until(&self, now: Tick) -> Option<Tick> {
        (now.since(self.deaf_at) > TOUCH_LAG_MS).then(|| Tick(now.0.saturating_sub(TOUCH_LAG_MS)))
    }

    /// What must hold between two steps.
    fn check(&self) {
        assert_eq!(self.applied(), self.zab.delivered());
        assert!(self.prepared.is_empty() || self.failed);
        if self.log_queue.is_empty() {
            assert_eq!(self.log.last_appended(), self.zab.last());
        }
    }
}

#[cfg(test)]
mod ensemble_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::{Reply, Request};
    use ringkeeper_engine::log::{self, DatabaseId, Sequence, Tail};
    use ringkeeper_engine::op::OpCode;
    use ringkeeper_engine::session::password;

    fn at(ms: u64) -> Now {
        Now { tick: Tick(ms), us: ms * 1000, wall_ms: ms as i64 }
    }

    const SESSION: SessionId = SessionId(7);

    /// A replica that knows one session.
    fn replica(cores: u16) -> Replica {
        replica_behind(cores, Zxid::ZERO)
    }

    /// The same, whose log ends at `last`.
    fn replica_behind(cores: u16, last: Zxid) -> Replica {
        let mut database = Database::new(1);
        database.sessions.insert(SESSION, 5000);
        database.last = last;
        let log = LogWriter::new(log::Settings::default(), DatabaseId(1), Tail::origin(last, Sequence(1)));
        let config = ReplicaConfig {
            settings: Arc::new(Settings::default()),
            server: ServerId(1),
            cores,
            first_session: SessionId(1),
            rules: Rules::default(),
            logged_bytes_max: LOGGED_BYTES_MAX,
            seed: 1,
        };
        Replica::new(config, database, log, at(0))
    }

    /// Asks for a session, and does what that calls for up to its write.
    fn write_of_a_session(replica: &mut Replica) -> LogWrite {
        let connection = ConnectionId { core: 0, number: 1 };
        let open = Request::Open { connection, timeout_ms: 5000, last_seen: Zxid::ZERO };
        let batch = RequestBatch { items: vec![open], ..RequestBatch::default() };
        replica.step(at(1), Input::Requests(batch), &mut Vec::new());
        for ms in 2.. {
            let mut out = Vec::new();
            replica.flush(at(ms), &mut out);
            for effect in out {
                match effect {
                    Effect::Upkeep(step) => {
                        replica.step(at(ms), Input::Upkeep(step, Ok(())), &mut Vec::new())
                    }
                    Effect::Write(write) => return write,
                    other => panic!("{other:?} before the transaction is durable"),
                }
            }
        }
        unreachable!("the range has no end")
    }

    /// The write is done, and the mark that it calls for; returns that.
    fn written(replica: &mut Replica, write: LogWrite) -> Option<Zxid> {
        let mut out = Vec::new();
        replica.step(at(500), Input::Written(write, Ok(())), &mut out);
        marked(replica, &out)
    }

    fn marked(replica: &mut Replica, out: &[Effect]) -> Option<Zxid> {
        let [Effect::Mark(upto)] = out else { return None };
        replica.step(at(501), Input::Marked(Ok(())), &mut Vec::new());
        Some(*upto)
    }

    #[test]
    fn a_log_that_is_never_idle_is_marked_behind_a_begun_segment_and_a_checkpoint() {
        let mut replica = replica(1);
        let write = write_of_a_session(&mut replica);
        assert_eq!(written(&mut replica, write), Some(replica.applied()));
        let write = write_of_a_session(&mut replica);
        assert_eq!(written(&mut replica, write), None, "the segment was begun before");
        let mut out = Vec::new();
        replica.step(at(510), Input::Checkpointed(Ok(Zxid(1))), &mut out);
        assert_eq!(marked(&mut replica, &out), Some(replica.applied()));
    }

    #[test]
    fn a_failed_write_or_sync_is_fatal_at_once_and_nobody_is_told_that_it_was_done() {
        let mut replica = replica(1);
        let write = write_of_a_session(&mut replica);
        let failure = IoFailure { errno: Some(5), message: "writing segment 1: Input/output error".into() };
        let mut out = Vec::new();
        replica.step(at(500), Input::Written(write, Err(failure.clone())), &mut out);
        replica.flush(at(501), &mut out);
        replica.step(at(9000), Input::Tick { heard_all: true }, &mut out);
        assert!(matches!(&out[..], [Effect::Fatal(LogError::Failed(why))] if *why == failure), "{out:?}");
        assert_eq!(replica.applied(), Zxid::ZERO);
        assert!(!replica.can_take());
    }

    #[test]
    fn a_standalone_server_whose_zxids_run_out_goes_on_in_a_later_epoch() {
        for (last, epochs) in [(0x7_7fff_0000, [7, 7]), (0x7_ffff_fffe, [8, 8]), (0x7_bfff_ffff, [7, 8])] {
            let mut replica = replica_behind(1, Zxid(last));
            for epoch in epochs {
                let before = replica.applied();
                let write = write_of_a_session(&mut replica);
                assert_eq!((replica.applied(), replica.is_settled()), (before, false));
                written(&mut replica, write);
                assert_eq!(replica.applied().epoch().0, epoch, "{last:x}");
                assert!(replica.is_settled() && replica.can_take());
            }
        }
    }

    #[test]
    fn a_shortage_is_said_once_and_its_end_too() {
        for (errno, is, over) in [
            (28, "the disk is full", "there is space on the disk again"),
            (24, "no more files can be opened", "files can be opened again"),
        ] {
            let notices = notices_of_a_shortage(errno);
            assert_eq!(notices.len(), 2, "{notices:?}");
            assert!(notices[0].starts_with(&format!("{is} (preparing segment 1: why)")), "{notices:?}");
            assert!(notices[1].starts_with(over), "{notices:?}");
        }
    }

    fn notices_of_a_shortage(errno: i32) -> Vec<String> {
        let mut replica = replica(1);
        let short = || IoFailure { errno: Some(errno), message: "preparing segment 1: why".into() };
        let (mut notices, mut attempts) = (Vec::new(), 0);
        for ms in (0..60_000).step_by(10) {
            let mut out = Vec::new();
            replica.flush(at(ms), &mut out);
            for effect in std::mem::take(&mut out) {
                let Effect::Upkeep(step) = effect else { continue };
                let is_zeros = matches!(step, Upkeep::Zero { .. });
                attempts += u64::from(is_zeros);
                let result = if is_zeros && attempts <= 5 { Err(short()) } else { Ok(()) };
                replica.step(at(ms), Input::Upkeep(step, result), &mut out);
            }
            notices.extend(out.into_iter().filter_map(|effect| match effect {
                Effect::Notice(text) => Some(text),
                _ => None,
            }));
        }
        notices
    }

    #[test]
    fn a_checkpoint_without_space_is_tried_again_and_one_that_fails_ends_the_server() {
        for (errno, ends) in [(28, false), (24, false), (5, true)] {
            let mut replica = replica(1);
            let failure = IoFailure { errno: Some(errno), message: "writing a checkpoint: why".into() };
            let mut out = Vec::new();
            replica.step(at(1), Input::Checkpointed(Err(failure.clone())), &mut out);
            match &out[..] {
                [Effect::Notice(text)] => assert!(!ends && text.contains("writing a checkpoint: why")),
                [Effect::Fatal(LogError::Failed(why))] => assert!(ends && *why == failure),
                other => panic!("{other:?}"),
            }
            assert_eq!(replica.can_take(), !ends);
        }
    }

    #[test]
    fn nobody_expires_while_signs_of_life_cannot_be_heard() {
        let mut replica = replica(1);
        let mut tick = |ms, heard_all| {
            let mut out = Vec::new();
            replica.step(at(ms), Input::Tick { heard_all }, &mut out);
            replica.sessions.get(SESSION).is_some_and(|session| session.closing)
        };
        assert!(!tick(9_000, false), "its requests are still in the mailbox");
        assert!(!tick(9_020, true), "what its core could not send is on its way");
        assert!(tick(9_220, true));
    }

    /// Asks, and returns what each core is told.
    fn tell(replica: &mut Replica, request: Request) -> Vec<(u16, String)> {
        tell_batch(replica, RequestBatch { items: vec![request], ..RequestBatch::default() })
    }

    fn tell_batch(replica: &mut Replica, batch: RequestBatch) -> Vec<(u16, String)> {
        let mut out = Vec::new();
        replica.step(at(0), Input::Requests(batch), &mut out);
        replica.flush(at(0), &mut out);
        let mut told = Vec::new();
        for effect in out {
            let Effect::Deliver { core, batch } = effect else { continue };
            told.extend(batch.items.iter().map(|item| match item {
                Reply::Opened { connection, .. } => (core, format!("opened {}", connection.number)),
                Reply::Refused { connection } => (core, format!("refused {}", connection.number)),
                Reply::Close { connection, reason } => (core, format!("{reason:?} {}", connection.number)),
                other => panic!("{other:?}"),
            }));
        }
        told
    }

    #[test]
    fn a_session_is_answered_over_one_connection_at_a_time() {
        let connection = |core, number| ConnectionId { core, number };
        let reopen = |connection| Request::Reopen {
            connection,
            session: SESSION,
            password: password(SESSION),
            timeout_ms: 5000,
            last_seen: Zxid::ZERO,
        };
        let gone = |connection| Request::Gone { connection, session: SESSION };
        let said = |core: u16, what: &str| (core, what.to_owned());
        let mut replica = replica(3);
        let replica = &mut replica;

        assert_eq!(tell(replica, reopen(connection(0, 1))), [said(0, "opened 1")]);
        // One core takes what it is told in order.
        let told = tell(replica, reopen(connection(0, 2)));
        assert_eq!(told, [said(0, "Moved 1"), said(0, "opened 2")]);
        assert_eq!(tell(replica, gone(connection(0, 1))), []);
        // Another core might answer the new connection while the old one is still served.
        assert_eq!(tell(replica, reopen(connection(1, 3))), [said(0, "Moved 2")]);
        // Whoever comes meanwhile waits for the same; who waited is not told that it has the session.
        assert_eq!(tell(replica, reopen(connection(2, 4))), [said(1, "Moved 3")]);
        assert_eq!(tell(replica, gone(connection(0, 1))), []);
        assert_eq!(tell(replica, gone(connection(0, 2))), [said(2, "opened 4")]);
        // A late request over an old connection is not answered.
        let late = Request::Ordered {
            connection: connection(0, 2),
            session: SESSION,
            xid: 1,
            op: OpCode::Sync,
            body: 0..0,
            auth: 0,
        };
        let batch = RequestBatch { items: vec![late], auths: vec![Arc::new([])], ..Default::default() };
        assert_eq!(tell_batch(replica, batch), [said(0, "Moved 2")]);
        assert_eq!(tell(replica, gone(connection(2, 4))), []);
        assert_eq!(tell(replica, reopen(connection(1, 5))), [said(1, "opened 5")]);
        // It goes to a learner while it moves.
        assert_eq!(tell(replica, reopen(connection(0, 6))), [said(1, "Moved 5")]);
        let asks = ToLeader::Revalidate { session: SESSION, timeout_ms: 5000 };
        replica.on_from_learner(at(0), Link(9), asks);
        assert_eq!(tell(replica, gone(connection(1, 5))), [said(0, "Moved 6")]);
        assert_eq!(tell(replica, reopen(connection(1, 7))), [said(1, "opened 7")]);
        // The session ends while it moves.
        assert_eq!(tell(replica, reopen(connection(0, 8))), [said(1, "Moved 7")]);
        replica.sessions.remove(SESSION);
        assert_eq!(tell(replica, gone(connection(1, 7))), [said(0, "refused 8")]);
    }
}
