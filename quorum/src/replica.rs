//! The replica: the one thread that prepares, orders, logs and applies. It owns everything that a
//! transaction decides; cores read the tree beside it.
//!
//! A step takes one batch in and leaves effects. Between two steps everything is a batch: requests
//! that came together share a log write, a sync, a publication of the tree and one delivery a core.

mod answers;
mod containers;
mod marking;
mod requests;

use crate::broadcast::Broadcast;
use crate::step::{CloseReason, ConnectionId, Effect, Input, Reply};
use crate::verifier::Majority;
use answers::{Outbox, Pending};
use containers::Containers;
use marking::Marking;
use ringkeeper_engine::apply::Outcome;
use ringkeeper_engine::database::Database;
use ringkeeper_engine::id::{Now, ServerId, SessionId, Tick, Zxid};
use ringkeeper_engine::limits::Settings;
use ringkeeper_engine::log::{IoFailure, LogError, LogWrite, LogWriter, Upkeep};
use ringkeeper_engine::prep::Prep;
use ringkeeper_engine::session::Sessions;
use ringkeeper_engine::stats::{CoreReport, Inquiry, ReplicaReport, Report};
use ringkeeper_engine::tree::{Changes, TreeReader};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// Bytes of proposals under way at which no more requests are taken.
const WINDOW_BYTES_MAX: usize = 32 << 20;

/// How long a sign of life may wait in its core before the replica hears of it. A session expires
/// this much later than its deadline, so never while one is on its way.
const TOUCH_LAG_MS: u64 = 200;

/// Log behind the newest checkpoint from which on an orderly stop writes another.
const STOP_LOG_BYTES_MIN: u64 = 8 << 20;

/// Paths and data up to which an orderly stop does: a larger tree would make it slow.
const STOP_TREE_BYTES_MAX: i64 = 1 << 30;

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
    /// Keys hashes and staggers checkpoints.
    pub seed: u64,
}

/// A proposal that is not applied yet.
#[derive(Clone, Debug)]
struct Proposal {
    zxid: Zxid,
    /// Its place in `Replica::bytes`, counted from `Replica::bytes_start`.
    place: Range<u64>,
}

/// A session that changes cores. The new connection is told that the session is its own when the old
/// one is gone: until then the other core may still be answering it.
#[derive(Clone, Copy, Debug)]
struct Move {
    from: ConnectionId,
    to: ConnectionId,
}

/// How far the log has gone on since a checkpoint.
#[derive(Clone, Copy, Debug, Default)]
struct Distance {
    transactions: u64,
    bytes: u64,
}

impl Distance {
    fn reaches(self, limit: Distance) -> bool {
        self.transactions >= limit.transactions || self.bytes >= limit.bytes
    }
}

/// See the module.
pub struct Replica {
    settings: Arc<Settings>,
    server: ServerId,
    database: Database,
    prep: Prep,
    sessions: Sessions<ConnectionId>,
    next_session: SessionId,
    moves: BTreeMap<SessionId, Move>,
    broadcast: Broadcast,
    log: LogWriter,
    /// Transactions of the window, one after the other.
    bytes: Vec<u8>,
    /// What was dropped from the front of `bytes` so far.
    bytes_start: u64,
    window: VecDeque<Proposal>,
    /// Proposals of the window, from the front, that the log has taken.
    logged: usize,
    pending: VecDeque<Pending>,
    outboxes: Vec<Outbox>,
    /// The zxid of the last delivery.
    delivered: Zxid,
    changes: Changes,
    containers: Containers,
    reports: BTreeMap<u64, (ConnectionId, Inquiry, Vec<CoreReport>)>,
    next_ticket: u64,
    random: u64,
    since_checkpoint: Distance,
    checkpoint_at: Distance,
    checkpointing: bool,
    marking: Marking,
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
        let ReplicaConfig { settings, server, cores, first_session, seed } = config;
        let mut sessions = Sessions::new(settings.tick_ms);
        for (session, timeout_ms) in &database.sessions {
            sessions.track(*session, *timeout_ms, now.tick);
        }
        let mut replica = Replica {
            prep: Prep::new(Arc::clone(&settings), seed),
            broadcast: Broadcast::new(Majority::new([server]), database.last),
            containers: Containers::new(&settings, now),
            delivered: database.last,
            settings,
            server,
            database,
            sessions,
            next_session: first_session,
            moves: BTreeMap::new(),
            log,
            bytes: Vec::new(),
            bytes_start: 0,
            window: VecDeque::new(),
            logged: 0,
            pending: VecDeque::new(),
            outboxes: (0..cores).map(|_| Outbox::default()).collect(),
            changes: Changes::default(),
            reports: BTreeMap::new(),
            next_ticket: 0,
            random: seed | 1,
            since_checkpoint: Distance::default(),
            checkpoint_at: Distance::default(),
            checkpointing: false,
            marking: Marking::new(now.tick),
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
        !self.failed && self.bytes.len() < WINDOW_BYTES_MAX
    }

    /// Whether nothing proposed waits for the log, and nothing for its mark.
    pub fn is_settled(&self) -> bool {
        self.window.is_empty() && !self.log.is_writing() && !self.marking.is_under_way()
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
            Input::Written(write, result) => {
                self.marking.on_written(now.tick);
                self.on_written(write, result)
            }
            Input::Upkeep(step, result) => self.on_upkeep(now, step, result, out),
            Input::Spare(spare) => {
                self.log.add_spare(spare);
                Ok(())
            }
            Input::Checkpointed(result) => {
                self.on_checkpointed(result.err().map(|failure| failure.message), out);
                Ok(())
            }
            Input::Marked(result) => self.marking.on_marked(now.tick, result).map_err(LogError::Failed),
            Input::Tick { heard_all } => {
                self.on_tick(now, heard_all);
                if !self.log.is_writing() {
                    out.extend(self.marking.when_idle(now.tick, self.log.durable()).map(Effect::Mark));
                }
                Ok(())
            }
        };
        self.note(result, out);
    }

    /// Hands out what the inputs since the last flush call for.
    pub fn flush(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.failed {
            return;
        }
        let result = self.feed_log(now, out);
        self.note(result, out);
        self.release_pending(self.applied());
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

    fn feed_log(&mut self, now: Now, out: &mut Vec<Effect>) -> Result<(), LogError> {
        while let Some(proposal) = self.window.get(self.logged) {
            let transaction = &self.bytes[self.place_of(proposal)];
            match self.log.append(proposal.zxid, transaction, now.us) {
                Ok(()) => self.logged += 1,
                Err(LogError::Full) => break,
                Err(error) => return Err(error),
            }
        }
        if let Some(step) = self.log.take_upkeep(now.us)? {
            out.push(Effect::Upkeep(step));
        }
        if let Some(write) = self.log.take_write(now.us)? {
            out.push(Effect::Write(write));
        }
        Ok(())
    }

    /// Says when the disk is full, and when that is over.
    fn on_upkeep(
        &mut self,
        now: Now,
        step: Upkeep,
        result: Result<(), IoFailure>,
        out: &mut Vec<Effect>,
    ) -> Result<(), LogError> {
        let was_full = self.log.disk_is_full();
        let failure = result.as_ref().err().map(ToString::to_string);
        self.log.on_upkeep(step, result, now.us)?;
        match (was_full, self.log.disk_is_full()) {
            (false, true) => out.push(Effect::Notice(format!(
                "the disk is full ({}): writes wait when the log's segment is used up, and go on when there \
                 is space; reads go on",
                failure.unwrap_or_default()
            ))),
            (true, false) => {
                out.push(Effect::Notice("there is space on the disk again: writes go on".into()))
            }
            _ => {}
        }
        Ok(())
    }

    fn on_written(&mut self, write: LogWrite, result: Result<(), IoFailure>) -> Result<(), LogError> {
        let Some(durable) = self.log.on_written(write, result)? else { return Ok(()) };
        let committed = self.broadcast.ack(self.server, durable.upto());
        self.apply_until(committed);
        Ok(())
    }

    fn place_of(&self, proposal: &Proposal) -> Range<usize> {
        let index = |at: u64| (at - self.bytes_start) as usize;
        index(proposal.place.start)..index(proposal.place.end)
    }

    /// Applies what is committed, and answers it.
    fn apply_until(&mut self, committed: Zxid) {
        let mut batch = self.database.begin();
        while let Some(proposal) = self.window.pop_front_if(|proposal| proposal.zxid <= committed) {
            self.logged -= 1;
            let index = |at: u64| (at - self.bytes_start) as usize;
            let transaction = &self.bytes[index(proposal.place.start)..index(proposal.place.end)];
            let before = self.changes.len() as u32;
            let applied = batch.apply(transaction, &mut self.changes).expect("we made it ourselves");
            let changes = before..self.changes.len() as u32;
            if !changes.is_empty() {
                self.outboxes.iter_mut().for_each(|outbox| outbox.changed(changes.clone()));
            }
            self.since_checkpoint.transactions += 1;
            self.since_checkpoint.bytes += transaction.len() as u64;
            let mut answered = None;
            while let Some(pending) = self.pending.pop_front_if(|pending| pending.after <= proposal.zxid) {
                let outbox = &mut self.outboxes[pending.connection.core as usize];
                answered = Some(pending.connection).filter(|_| pending.is_transaction()).or(answered);
                pending.answer(outbox, batch.tree(), proposal.zxid, Some(&applied.outcome));
            }
            if applied.outcome == Outcome::SessionClosed {
                let owner = self.sessions.remove(applied.session).and_then(|session| session.owner);
                // Who asked for it has its answer, after which its connection closes anyway.
                if let Some(owner) = owner.filter(|owner| answered != Some(*owner)) {
                    self.outboxes[owner.core as usize].close(owner, CloseReason::Expired);
                }
            }
        }
        batch.publish();
        self.prep.applied(self.applied());
        let kept_from =
            self.window.front().map_or(self.bytes_start + self.bytes.len() as u64, |p| p.place.start);
        self.drop_bytes(kept_from);
    }

    /// Forgets transaction bytes before `kept_from`, when that is worth a move.
    fn drop_bytes(&mut self, kept_from: u64) {
        let gone = (kept_from - self.bytes_start) as usize;
        if gone * 2 >= self.bytes.len() {
            self.bytes.drain(..gone);
            self.bytes_start = kept_from;
        }
    }

    fn release_pending(&mut self, applied: Zxid) {
        while let Some(pending) = self.pending.pop_front_if(|pending| pending.after <= applied) {
            let outbox = &mut self.outboxes[pending.connection.core as usize];
            pending.answer(outbox, &self.database.tree, applied, None);
        }
    }

    fn deliver(&mut self, out: &mut Vec<Effect>) {
        let zxid = self.applied();
        let advanced = zxid != self.delivered;
        if !advanced && self.outboxes.iter().all(Outbox::is_empty) {
            return;
        }
        let changes = Arc::new(std::mem::take(&mut self.changes));
        for (core, outbox) in self.outboxes.iter_mut().enumerate() {
            if advanced || !outbox.is_empty() {
                let batch = outbox.take(zxid, Arc::clone(&changes));
                out.push(Effect::Deliver { core: core as u16, batch });
            }
        }
        self.delivered = zxid;
        if self.since_checkpoint.reaches(self.checkpoint_at) && !self.checkpointing {
            let (first, sessions) = self.begin_checkpoint();
            out.push(Effect::Checkpoint { first, sessions });
        }
    }

    /// As ZooKeeper staggers them: somewhere in the second half of what may lie between two, so
    /// that the servers of an ensemble do not all write at once.
    fn plan_checkpoint(&mut self) {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let stagger = |all: u64| match all {
            0 => u64::MAX,
            all => (all / 2 + self.random % (all / 2).max(1)).max(1),
        };
        self.since_checkpoint = Distance::default();
        self.checkpoint_at = Distance {
            transactions: stagger(u64::from(self.settings.snap_count)),
            bytes: stagger(self.settings.snap_log_bytes),
        };
    }

    /// After a restart: how much log was replayed, which the next checkpoint saves the restart after it.
    pub fn replayed(&mut self, transactions: u64, bytes: u64) {
        self.since_checkpoint = Distance { transactions, bytes };
    }

    /// What a checkpoint at an orderly stop holds, if a restart would be slow without one.
    pub fn checkpoint_at_stop(&mut self) -> Option<(Zxid, Vec<(SessionId, u32)>)> {
        let small = self.database.tree.data_bytes() < STOP_TREE_BYTES_MAX;
        let worth = !self.checkpointing && small && self.since_checkpoint.bytes >= STOP_LOG_BYTES_MIN;
        worth.then(|| self.begin_checkpoint())
    }

    /// Whether a checkpoint is being written.
    pub fn is_checkpointing(&self) -> bool {
        self.checkpointing
    }

    fn begin_checkpoint(&mut self) -> (Zxid, Vec<(SessionId, u32)>) {
        self.checkpointing = true;
        self.plan_checkpoint();
        let sessions = self.database.sessions.iter().map(|(id, timeout)| (*id, *timeout)).collect();
        (self.applied(), sessions)
    }

    fn on_checkpointed(&mut self, failure: Option<String>, out: &mut Vec<Effect>) {
        self.checkpointing = false;
        if let Some(message) = failure {
            out.push(Effect::Notice(format!("checkpoint not written, the log is kept: {message}")));
        }
    }

    fn on_tick(&mut self, now: Now, heard_all: bool) {
        self.database.tree.reclaim();
        if !heard_all {
            self.deaf_at = now.tick;
        }
        // Signs of life wait behind requests that cannot be taken while the disk is slow or full.
        if now.tick.since(self.deaf_at) > TOUCH_LAG_MS {
            let heard_until = Tick(now.tick.0.saturating_sub(TOUCH_LAG_MS));
            for session in self.sessions.expired(heard_until) {
                self.propose_close(now, session);
            }
        }
        for path in self.containers.due(now, &self.database.tree) {
            self.propose_delete_container(now, &path);
        }
    }

    fn begin_report(&mut self, connection: ConnectionId, inquiry: Inquiry) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.reports.insert(ticket, (connection, inquiry, Vec::new()));
        self.outboxes.iter_mut().for_each(|outbox| outbox.push(Reply::Collect { ticket, inquiry }));
    }

    fn collect(&mut self, now: Now, ticket: u64, part: CoreReport) {
        let Some((_, _, parts)) = self.reports.get_mut(&ticket) else { return };
        parts.push(part);
        if parts.len() < self.outboxes.len() {
            return;
        }
        let Some((connection, inquiry, cores)) = self.reports.remove(&ticket) else { return };
        let report = Box::new(Report { replica: self.report(now, inquiry), cores });
        self.outboxes[connection.core as usize].push(Reply::Report { connection, report });
    }

    fn report(&self, now: Now, inquiry: Inquiry) -> ReplicaReport {
        let tree = &self.database.tree;
        let owned =
            |paths: &std::collections::BTreeSet<Box<str>>| paths.iter().map(|p| p.to_string()).collect();
        let mut report = ReplicaReport {
            state: "standalone",
            zxid: self.applied(),
            node_count: tree.node_count(),
            data_bytes: tree.data_bytes(),
            ephemeral_count: tree.ephemerals().count(),
            ephemerals: Vec::new(),
            expiry: Vec::new(),
            session_count: self.sessions.len(),
            outstanding: self.pending.len(),
            at: now.tick,
        };
        if inquiry == Inquiry::Sessions {
            report.ephemerals =
                tree.ephemerals().iter().map(|(session, paths)| (session, owned(paths))).collect();
            report.expiry =
                self.sessions.buckets().map(|(at, ids)| (at, ids.iter().copied().collect())).collect();
        }
        report
    }

    /// What must hold between two steps.
    fn check(&self) {
        assert!(self.applied() <= self.broadcast.committed());
        assert!(self.broadcast.committed() <= self.broadcast.proposed());
        assert!(self.log.last_appended() <= self.broadcast.proposed());
        assert!(self.logged <= self.window.len());
        assert!(self.window.back().is_none_or(|last| last.zxid == self.broadcast.proposed()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::{Request, RequestBatch};
    use ringkeeper_engine::log::{self, DatabaseId, Sequence, Tail};
    use ringkeeper_engine::op::OpCode;
    use ringkeeper_engine::session::password;

    fn at(ms: u64) -> Now {
        Now { tick: Tick(ms), us: ms * 1000, wall_ms: ms as i64 }
    }

    const SESSION: SessionId = SessionId(7);

    /// A replica that knows one session.
    fn replica(cores: u16) -> Replica {
        let mut database = Database::new(1);
        database.sessions.insert(SESSION, 5000);
        let log =
            LogWriter::new(log::Settings::default(), DatabaseId(1), Tail::origin(Zxid::ZERO, Sequence(1)));
        let config = ReplicaConfig {
            settings: Arc::new(Settings::default()),
            server: ServerId(1),
            cores,
            first_session: SessionId(1),
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
    fn a_full_disk_is_said_once_and_its_end_too() {
        let mut replica = replica(1);
        let full = || IoFailure { errno: Some(28), message: "preparing segment 1: No space".into() };
        let (mut notices, mut attempts) = (Vec::new(), 0);
        for ms in (0..60_000).step_by(10) {
            let mut out = Vec::new();
            replica.flush(at(ms), &mut out);
            for effect in std::mem::take(&mut out) {
                let Effect::Upkeep(step) = effect else { continue };
                let is_zeros = matches!(step, Upkeep::Zero { .. });
                attempts += u64::from(is_zeros);
                let result = if is_zeros && attempts <= 5 { Err(full()) } else { Ok(()) };
                replica.step(at(ms), Input::Upkeep(step, result), &mut out);
            }
            notices.extend(out.into_iter().filter_map(|effect| match effect {
                Effect::Notice(text) => Some(text),
                _ => None,
            }));
        }
        assert_eq!(notices.len(), 2, "{notices:?}");
        assert!(notices[0].starts_with("the disk is full (preparing segment 1: No space)"), "{notices:?}");
        assert!(notices[1].starts_with("there is space on the disk again"), "{notices:?}");
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
        // The session ends while it moves.
        assert_eq!(tell(replica, reopen(connection(0, 6))), [said(1, "Moved 5")]);
        replica.sessions.remove(SESSION);
        assert_eq!(tell(replica, gone(connection(1, 5))), [said(0, "refused 6")]);
    }
}
