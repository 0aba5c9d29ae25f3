//! The replica core: drains inputs, steps the replica, runs its effects.

use crate::background::{CheckpointJob, DiskJob, DiskJobs, Results};
use crate::client::doors::Clients;
use crate::client::tasks;
use crate::clock::Clock;
use crate::log_lane::LogLane;
use crate::mailbox::{Mail, Receiver, Sender};
use crate::members_file;
use crate::moves::{Moves, Place};
use crate::peer::Peers;
use crate::peer::tree::Tree;
use crate::ring::{self, Wake};
use crate::stages::{Stage, Stamps};
use ringkeeper_engine::id::{Now, ServerId, SessionId, Tick, Zxid};
use ringkeeper_engine::log::{IoFailure, LogError, Sequence, Upkeep};
use ringkeeper_engine::zookeeper::restore::Staged;
use ringkeeper_quorum::replica::Replica;
use ringkeeper_quorum::step::{Effect, Input, ReplyBatch, Request, RequestBatch, StagedTree};
use ringkeeper_quorum::zab::{self, Epochs};
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use tracing::{error, info, warn};

/// How often the replica of an ensemble looks at its peers and sessions, in milliseconds.
const TICK_MS: u64 = 20;
/// The same of one that is alone: its sessions expire in seconds.
const TICK_ALONE_MS: u64 = tasks::TICK_MS;

/// One client core, as the replica core sees it.
pub struct CoreLink {
    /// What its connections ask for.
    pub requests: Receiver<Mail<RequestBatch>>,
    /// What operators ask over them.
    pub inquiries: Receiver<Request>,
    /// What they are told.
    pub replies: Sender<Mail<ReplyBatch>>,
    /// Told, but there was no room yet.
    pub undelivered: VecDeque<Mail<ReplyBatch>>,
}

/// See the module.
pub struct Drive {
    /// The state machine.
    pub replica: Replica,
    /// The client cores.
    pub cores: Vec<CoreLink>,
    /// Whose requests are taken first.
    pub first_core: usize,
    /// The time.
    pub clock: Clock,
    /// How long batches are at each stage here.
    pub stamps: Stamps,
    /// When the oldest transaction was made that no write of the log has yet.
    pub prepared_us: Option<u64>,
    /// Up to where the log had been given transactions, and when, that no quorum has yet.
    pub proposed: VecDeque<(Zxid, u64)>,
    /// Woken by requests, completions, background work and the stop.
    pub wake: Wake,
    /// What background threads bring back.
    pub results: Results,
    /// The log's upkeep.
    pub upkeep: mpsc::Sender<Upkeep>,
    /// The log's marks.
    pub marks: mpsc::Sender<Zxid>,
    /// Checkpoints, and what else changes what recovery finds.
    pub checkpoints: DiskJobs,
    /// The epochs.
    pub epochs: mpsc::Sender<Epochs>,
    /// The log's files.
    pub log: LogLane,
    /// The other servers of the ensemble, if there is one.
    pub peers: Option<Peers>,
    /// Where clients come in.
    pub clients: Moves<Clients>,
    /// Where the ensemble's configuration is kept, if it is.
    pub config_file: Option<PathBuf>,
    /// This server.
    pub server: ServerId,
    /// Set when the server is to stop.
    pub stop: Arc<AtomicBool>,
}

impl Drive {
    /// Runs until the server is to stop or cannot go on; returns the segment that the log ends in, if it was
    /// begun by this server.
    ///
    /// # Errors
    /// Why it cannot go on: a write or a sync failed, so what the disk holds is unknown.
    pub async fn run(mut self) -> Result<Option<Sequence>, LogError> {
        let (wake, clock, tick_ms) = (self.wake.clone(), self.clock, self.tick_ms());
        ring::spawn(async move {
            loop {
                ring::sleep(clock.until_multiple(tick_ms)).await;
                wake.wake();
            }
        });
        let mut next_tick = Tick::default();
        let mut effects = Vec::new();
        if self.peers.is_some() {
            self.replica.start(self.clock.now(), &mut effects);
        }
        while !self.stop.load(Ordering::Acquire) {
            self.turn(&mut next_tick, &mut effects)?;
            self.wake.woken().await;
        }
        self.finish(effects).await
    }

    fn tick_ms(&self) -> u64 {
        if self.peers.is_some() { TICK_MS } else { TICK_ALONE_MS }
    }

    fn turn(&mut self, next_tick: &mut Tick, effects: &mut Vec<Effect>) -> Result<(), LogError> {
        let (now, appended) = (self.clock.now(), self.replica.log().last_appended());
        self.take_results(effects);
        self.take_peers(now, effects);
        // Each core gets what it can take, also behind one that can take nothing.
        let behind = self.cores.iter_mut().filter_map(|core| (!core.deliver()).then_some(())).count();
        let delivered = behind == 0;
        // A full disk stops requests, and makes operators ask.
        for core in &self.cores {
            while let Some(inquiry) = core.inquiries.receive() {
                let batch = RequestBatch { items: vec![inquiry], ..RequestBatch::default() };
                self.replica.step(now, Input::Requests(batch), effects);
            }
        }
        // Another core is first each time: the window may be full before the last one's turn.
        self.first_core = (self.first_core + 1) % self.cores.len();
        let (last, first) = self.cores.split_at(self.first_core);
        let mut took_requests = false;
        for core in first.iter().chain(last).filter(|_| delivered) {
            while self.replica.can_take()
                && let Some(Mail { batch, sent_us }) = core.requests.receive()
            {
                self.stamps.add(Stage::Request, sent_us, now.us);
                took_requests = true;
                self.replica.step(now, Input::Requests(batch), effects);
            }
        }
        if took_requests {
            let prepared_us = self.stamps.now_us();
            self.stamps.add(Stage::Prepare, now.us, prepared_us);
            self.prepared_us.get_or_insert(prepared_us);
        }
        if now.tick >= *next_tick {
            *next_tick = Tick((now.tick.0 / self.tick_ms() + 1) * self.tick_ms());
            let heard_all = delivered && self.replica.can_take();
            self.replica.step(now, Input::Tick { heard_all }, effects);
        }
        self.replica.flush(now, effects);
        self.log.plan(now.us, self.replica.log(), &self.wake);
        self.run_effects(effects)?;
        // Nothing of what was asked for needed the log.
        if !self.replica.log().has_pending() {
            self.prepared_us = None;
        }
        self.expect_quorum(appended);
        Ok(())
    }

    fn take_results(&mut self, effects: &mut Vec<Effect>) {
        let now = self.clock.now();
        loop {
            if let Some((write, result, took)) = self.log.take_written() {
                self.stamps.add(Stage::LogWrite, 0, took.as_micros() as u64);
                self.step(now, Input::Written(write, result), effects);
                continue;
            }
            let Some(input) = self.results.take() else { return };
            self.replica.step(now, input, effects);
        }
    }

    fn take_peers(&mut self, now: Now, effects: &mut Vec<Effect>) {
        while let Some(input) = self.peer_input() {
            self.step(now, input, effects);
        }
    }

    fn peer_input(&mut self) -> Option<Input> {
        let peers = self.peers.as_mut()?;
        loop {
            peers.hear_leader(self.replica.can_log());
            match peers.take()? {
                zab::Input::SnapshotStaged(attempt) => {
                    let Some(staged) = peers.take_staged(attempt) else { continue };
                    let Staged { database, newest, .. } = *staged;
                    return Some(Input::Staged(attempt, Box::new(StagedTree { database, newest })));
                }
                input => return Some(Input::Peer(input)),
            }
        }
    }

    /// A step that may let transactions be applied.
    fn step(&mut self, now: Now, input: Input, effects: &mut Vec<Effect>) {
        let (begun_us, applied) = (self.stamps.now_us(), self.replica.applied());
        self.replica.step(now, input, effects);
        let applied_now = self.replica.applied();
        if applied_now > applied {
            self.stamps.add(Stage::Apply, begun_us, self.stamps.now_us());
            while let Some((_, since_us)) = self.proposed.pop_front_if(|(upto, _)| *upto <= applied_now) {
                self.stamps.add(Stage::Quorum, since_us, begun_us);
            }
        }
    }

    /// The log has been given what follows `before`.
    fn expect_quorum(&mut self, before: Zxid) {
        let upto = self.replica.log().last_appended();
        if self.peers.is_none() || upto <= before {
            return;
        }
        // What a former leader proposed may never have one.
        if self.proposed.back().is_some_and(|(last, _)| last.epoch() != upto.epoch()) {
            self.proposed.clear();
        }
        self.proposed.push_back((upto, self.stamps.now_us()));
    }

    fn run_peer(&mut self, effect: zab::Effect) {
        let Some(peers) = &mut self.peers else { return };
        match effect {
            zab::Effect::SendTree(link, zxid) => {
                let bytes = usize::try_from(self.replica.tree_bytes()).unwrap_or(usize::MAX);
                let (reader, sessions) = (self.replica.reader(), self.replica.sessions_on_disk());
                let tree = Tree { reader, sessions, bytes };
                peers.send_tree(link, zxid, tree);
            }
            zab::Effect::MembersSeen(members) => {
                if let Some(file) = &self.config_file {
                    report(members_file::keep_next(file, &members));
                }
                peers.set_next_members(members);
            }
            zab::Effect::Members(members, _) => {
                info!("the ensemble is another: {}", members.to_string().replace('\n', ", "));
                if let Some(file) = &self.config_file {
                    report(members_file::keep(file, &members, self.server));
                }
                // Where the configuration does not say, that stays as it is.
                let own = members.servers().get(&self.server);
                if let Some(at) = own.and_then(|member| member.client.clone()) {
                    self.clients.want(vec![Place { key: Clients, at }]);
                }
                peers.set_members(members);
            }
            effect => assert!(peers.run(effect).is_none(), "an effect that is not the network's"),
        }
    }

    fn run_effects(&mut self, effects: &mut Vec<Effect>) -> Result<(), LogError> {
        for effect in effects.drain(..) {
            match effect {
                Effect::Write(write) => {
                    if let Some(prepared_us) = self.prepared_us.take() {
                        self.stamps.add(Stage::LogWait, prepared_us, self.stamps.now_us());
                    }
                    self.log.write(write, &self.wake);
                }
                Effect::Upkeep(step) => {
                    self.log.before(step);
                    self.upkeep.send(step).map_err(|_| thread_gone("log upkeep"))?;
                }
                Effect::Deliver { core, batch } => {
                    let core = &mut self.cores[core as usize];
                    core.undelivered.push_back(Mail { batch, sent_us: self.stamps.now_us() });
                    core.deliver();
                }
                Effect::Checkpoint { first, sessions } => {
                    let job = self.checkpoint_job(first, sessions, false);
                    self.send_disk_job(DiskJob::Checkpoint(job))?;
                }
                Effect::Mark(upto) => self.marks.send(upto).map_err(|_| thread_gone("log mark"))?,
                Effect::Install { zxid, sessions } => {
                    let job = self.checkpoint_job(zxid, sessions, true);
                    self.send_disk_job(DiskJob::Install(job))?;
                }
                Effect::FindCut(last_kept) => self.send_disk_job(DiskJob::FindCut(last_kept))?,
                Effect::PersistEpochs(epochs) => {
                    self.epochs.send(epochs).map_err(|_| thread_gone("epochs"))?;
                }
                Effect::Peer(effect) => self.run_peer(effect),
                Effect::Notice(text) => warn!("{text}"),
                Effect::Fatal(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Lets what was proposed reach the disk, marks the end of the log, and writes a checkpoint where the
    /// next start would have much to replay.
    async fn finish(mut self, mut effects: Vec<Effect>) -> Result<Option<Sequence>, LogError> {
        // They notice at once, and need not wait for what follows.
        self.peers = None;
        self.checkpoints.hurry();
        let mut marked = false;
        loop {
            self.take_results(&mut effects);
            let now = self.clock.now();
            if self.replica.is_settled() {
                if marked {
                    let last = self.replica.log().current_segment();
                    self.last_checkpoint().await?;
                    return Ok(last);
                }
                self.replica.mark_end(now, &mut effects);
                marked = true;
            }
            self.replica.flush(now, &mut effects);
            // Nobody listens any more.
            effects.retain(|effect| !matches!(effect, Effect::Deliver { .. }));
            self.run_effects(&mut effects)?;
            let log = self.replica.log();
            let waits = log.has_pending() && log.shortage().is_some() || self.replica.waits_for_space();
            if waits && !log.is_writing() {
                // Nobody was told that it was done, so nothing is lost.
                if !self.replica.is_settled() {
                    warn!("the log cannot go on now: what waited for it is dropped");
                }
                return Ok(None);
            }
            if !(marked && self.replica.is_settled()) {
                self.wake.woken().await;
            }
        }
    }
}

impl Drive {
    fn checkpoint_job(
        &self,
        first: Zxid,
        sessions: Vec<(SessionId, u32)>,
        waited_for: bool,
    ) -> CheckpointJob {
        CheckpointJob { tree: self.replica.reader(), first, sessions, waited_for }
    }

    fn send_disk_job(&self, job: DiskJob) -> Result<(), LogError> {
        self.checkpoints.send(job).then_some(()).ok_or_else(|| thread_gone("checkpoint"))
    }

    /// One that is under way is completed, unless the tree is large; and where the log has gone on far since it
    /// was begun, there is another.
    async fn last_checkpoint(mut self) -> Result<(), LogError> {
        let mut effects = Vec::new();
        loop {
            if let Some((first, sessions)) = self.replica.checkpoint_at_stop() {
                let job = self.checkpoint_job(first, sessions, true);
                self.send_disk_job(DiskJob::Checkpoint(job))?;
            }
            if !self.replica.is_checkpointing_at_stop() {
                return Ok(());
            }
            self.wake.woken().await;
            self.take_results(&mut effects);
            for effect in effects.drain(..) {
                match effect {
                    Effect::Notice(text) => warn!("{text}"),
                    Effect::Fatal(error) => return Err(error),
                    // The mark is at the log's end already.
                    _ => {}
                }
            }
        }
    }
}

/// A configuration that is not kept is told again when the server comes back: no reason to end.
fn report(kept: io::Result<()>) {
    if let Err(error) = kept {
        error!("the configuration of the ensemble could not be written to its file: {error}");
    }
}

fn thread_gone(name: &str) -> LogError {
    LogError::Failed(IoFailure { errno: None, message: format!("the {name} thread has ended") })
}

impl CoreLink {
    /// Delivers what waits; returns whether nothing is left.
    fn deliver(&mut self) -> bool {
        while let Some(batch) = self.undelivered.pop_front() {
            if let Err(batch) = self.replies.send(batch) {
                self.undelivered.push_front(batch);
                return false;
            }
        }
        true
    }
}
