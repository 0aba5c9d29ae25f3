//! Protocol stories: scripts in `testdata/zab/` in which one server hears what the script says, and
//! all that it does stands below, indented. What the server has on disk is simulated, and outlives
//! a crash.
//!
//! | a line of a script | what it does |
//! |---|---|
//! | `server 1 of 3 [observers 1] [weightless 3] [java] [window BYTES] [transactions N]` | who it is; whose vote weighs nothing; whether the others are Java's; what it keeps for learners; most transactions in an epoch |
//! | `disk accepted 1 current 1 applied 1:2 log 1:1 1:2 1:3` | what it finds at its first start |
//! | `start`, `crash [keeping log\|epochs]` | a life begins, or ends: with what was under way to disk, or without |
//! | `elected 3` | all others vote for server 3 |
//! | `votes` | what it tells about elections is shown from here on |
//! | `hear 2 LOOKING round 1 vote 3 epoch 1 zxid 1:3` | an election notification |
//! | `unreachable 2` | an election port cannot be reached |
//! | `leader connects`, `leader breaks`, `leader PROPOSAL 2:1` | the connection to its leader, and what that says |
//! | `tree flows`, `tree comes` | some, or all of the tree that SNAP announced |
//! | `tree flows to 2` | some of the tree was sent to a learner |
//! | `found 1:1 for 2`, `nothing found for 2` | where a learner's log ends in the log on disk |
//! | `from 2 ACK 2:1`, `from 2 breaks` | a learner; FOLLOWERINFO and OBSERVERINFO connect it |
//! | `log synced [2]`, `epochs synced` | the disk has everything, or the oldest so many writes |
//! | `late completion 0 1:3` | the disk's word for a log of an earlier generation |
//! | `propose [N]` | the next transaction, or the next N at once |
//! | `wait 500`, `deaf 500` | milliseconds; in which what the leader says is left at its socket |

use super::disk::{Disk, LogOp};
use super::oracle::{Tree, value};
use bytes::Bytes;
use ringkeeper_engine::id::{Epoch, ServerId, Tick, Zxid};
use ringkeeper_quorum::election::ElectionTiming;
use ringkeeper_quorum::members::Members;
use ringkeeper_quorum::message::{
    Batch, LearnerInfo, Notification, PeerState, Round, ToLeader, ToLearner, Transaction, Vote,
};
use ringkeeper_quorum::zab::{Attempt, Config, Effect, Epochs, Input, Link, Serving, Timing, Zab};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The script, with what happens in it.
///
/// # Panics
/// On a line that is none of the above.
pub fn retell(script: &str) -> String {
    let mut story = Story::default();
    for line in script.lines().filter(|line| !line.starts_with("  ")) {
        story.text.push_str(line);
        story.text.push('\n');
        if !line.is_empty() && !line.starts_with('#') {
            let words: Vec<&str> = line.split_whitespace().collect();
            story.play(&words);
        }
    }
    story.text
}

#[derive(Default)]
struct Story {
    text: String,
    me: u8,
    voters: u8,
    observers: u8,
    weightless: Option<u8>,
    java: bool,
    window_bytes: usize,
    epoch_transactions_max: u32,
    zab: Option<Zab>,
    disk: Disk,
    tree: Tree,
    snapshot: Zxid,
    now_ms: u64,
    round: Round,
    votes: bool,
    attempt: Option<Attempt>,
    /// Learners' connections.
    links: BTreeMap<u64, u8>,
}

fn transaction(zxid: Zxid) -> Transaction {
    Transaction { zxid, bytes: Bytes::copy_from_slice(&zxid.0.to_be_bytes()) }
}

fn batch(first: Zxid, last: Zxid) -> Batch {
    let zxids = std::iter::successors(Some(first), |zxid| Some(zxid.next()).filter(|next| *next <= last));
    let transactions: Vec<Transaction> = zxids.map(transaction).collect();
    Batch::of(&transactions).expect("a transaction")
}

fn number<T: std::str::FromStr>(word: &str) -> T {
    word.parse().unwrap_or_else(|_| panic!("{word} is no number"))
}

fn zxid(word: &str) -> Zxid {
    let (epoch, counter) = word.split_once(':').unwrap_or_else(|| panic!("{word} is no zxid"));
    Zxid(number::<u64>(epoch) << 32 | number::<u64>(counter))
}

fn show(zxid: Zxid) -> String {
    format!("{}:{}", zxid.epoch().0, zxid.counter())
}

/// The words behind a keyword, up to the next of `keywords`.
fn after<'w>(words: &'w [&'w str], keyword: &str) -> &'w [&'w str] {
    let start = words.iter().position(|word| *word == keyword).map_or(words.len(), |at| at + 1);
    let keywords = ["accepted", "current", "applied", "log", "last", "round", "vote", "epoch", "zxid"];
    let end = words[start..].iter().position(|word| keywords.contains(word));
    &words[start..end.map_or(words.len(), |end| start + end)]
}

fn epoch_after(words: &[&str], keyword: &str) -> Epoch {
    Epoch(after(words, keyword).first().map_or(0, |word| number(word)))
}

impl Story {
    fn play(&mut self, words: &[&str]) {
        match words {
            ["server", me, "of", voters, options @ ..] => self.introduce(number(me), number(voters), options),
            ["disk", rest @ ..] => self.found(rest),
            ["start"] => self.start(),
            ["crash", kept @ ..] => self.crash(kept),
            ["votes"] => self.votes = true,
            ["elected", leader] => self.elected(number(leader)),
            ["hear", from, state, rest @ ..] => self.hear(number(from), state, rest),
            ["unreachable", peer] => {
                self.input(Input::ElectionLink { peer: ServerId(number(peer)), up: false });
            }
            ["leader", "connects"] => self.input(Input::Connected(self.attempt())),
            ["leader", "breaks"] => self.input(Input::LeaderLost(self.attempt())),
            ["leader", message @ ..] => {
                let message = self.leader_says(message);
                self.input(Input::FromLeader(self.attempt(), message));
            }
            ["tree", "comes"] => self.input(Input::SnapshotStaged(self.attempt())),
            ["tree", "flows"] => self.input(Input::SnapshotProgress(self.attempt())),
            ["tree", "flows", "to", learner] => {
                let link = self.link(number(learner));
                self.input(Input::TransferProgress(link));
            }
            ["found", common, "for", learner] => {
                let link = self.link(number(learner));
                self.input(Input::LogSought(link, Some(zxid(common))));
            }
            ["nothing", "found", "for", learner] => {
                let link = self.link(number(learner));
                self.input(Input::LogSought(link, None));
            }
            ["from", learner, rest @ ..] => self.learner_says(number(learner), rest),
            ["log", "synced"] => self.log_synced(usize::MAX),
            ["log", "synced", writes] => self.log_synced(number(writes)),
            ["epochs", "synced"] => {
                while let Some(epochs) = self.disk.sync_epochs() {
                    self.input(Input::EpochsPersisted(epochs));
                }
            }
            ["late", "completion", generation, upto] => {
                let generation = ringkeeper_quorum::zab::Generation(number(generation));
                self.input(Input::Durable(generation, zxid(upto)));
            }
            ["propose", count] => {
                let first = self.zab().next_zxid().expect("it may propose");
                self.input(Input::Propose(batch(first, Zxid(first.0 + number::<u64>(count) - 1))));
            }
            ["propose"] => match self.zab().next_zxid() {
                Some(zxid) => self.input(Input::Propose(batch(zxid, zxid))),
                None => self.say("may not propose"),
            },
            ["wait", ms] => self.wait(number(ms), false),
            ["deaf", ms] => self.wait(number(ms), true),
            _ => panic!("no line of a story: {}", words.join(" ")),
        }
    }

    fn wait(&mut self, ms: u64, deaf: bool) {
        let end = self.now_ms + ms;
        while self.now_ms < end {
            self.now_ms += 10;
            if deaf {
                self.input(Input::LeaderUnheard);
            }
            self.input(Input::Tick);
        }
    }

    fn zab(&self) -> &Zab {
        self.zab.as_ref().expect("the server runs")
    }

    fn attempt(&self) -> Attempt {
        self.attempt.expect("it connects to a leader")
    }

    fn say(&mut self, text: &str) {
        writeln!(self.text, "  {text}").expect("a string");
    }

    fn introduce(&mut self, me: u8, voters: u8, options: &[&str]) {
        (self.me, self.voters) = (me, voters);
        self.java = options.contains(&"java");
        self.observers = after_word(options, "observers").map_or(0, number);
        self.weightless = after_word(options, "weightless").map(number);
        self.window_bytes = after_word(options, "window").map_or(1 << 20, number);
        self.epoch_transactions_max = after_word(options, "transactions").map_or(u32::MAX, number);
    }

    fn found(&mut self, words: &[&str]) {
        let (accepted, current) = (epoch_after(words, "accepted"), epoch_after(words, "current"));
        let applied = after(words, "applied").first().map_or(Zxid::ZERO, |word| zxid(word));
        for word in after(words, "log") {
            let zxid = zxid(word);
            let known = applied.min(zxid);
            let generation = ringkeeper_quorum::zab::Generation(0);
            self.disk.log_ops.push_back(LogOp::Append(generation, transaction(zxid), known));
        }
        self.disk.epoch_ops.push_back(Epochs { accepted, current });
        while self.disk.sync_log().is_some() {}
        while self.disk.sync_epochs().is_some() {}
    }

    fn start(&mut self) {
        let mut members = String::new();
        for id in 1..=self.voters + self.observers {
            let role = if id > self.voters { ":observer" } else { "" };
            let (quorum, election) = (2000 + u16::from(id), 3000 + u16::from(id));
            writeln!(members, "server.{id}=localhost:{quorum}:{election}{role}").expect("a string");
        }
        if let Some(weightless) = self.weightless {
            let voters: Vec<String> = (1..=self.voters).map(|id| id.to_string()).collect();
            writeln!(members, "group.1={}\nweight.{weightless}=0", voters.join(":")).expect("a string");
        }
        let (recovered, tree) = self.disk.recover();
        let Epochs { accepted, current } = recovered.epochs;
        let log: Vec<String> = recovered.log.iter().map(|entry| show(entry.zxid)).collect();
        self.say(&format!(
            "finds accepted {} current {} applied {} log {}",
            accepted.0,
            current.0,
            show(recovered.applied),
            if log.is_empty() { "empty".to_owned() } else { log.join(" ") }
        ));
        self.tree = tree;
        let config = Config {
            me: ServerId(self.me),
            members: Members::parse(&members).expect("a configuration"),
            next_members: None,
            timing: Timing {
                tick_ms: 100,
                init_limit: 10,
                sync_limit: 5,
                election: ElectionTiming::default(),
                ..Timing::default()
            },
            window_bytes: self.window_bytes,
            reconfig_enabled: false,
            epoch_transactions_max: self.epoch_transactions_max,
        };
        self.zab = Some(Zab::new(config, recovered));
        let mut out = Vec::new();
        self.zab.as_mut().expect("just made").start(Tick(self.now_ms), &mut out);
        self.effects(out);
    }

    fn crash(&mut self, kept: &[&str]) {
        while kept.contains(&"log") && self.disk.sync_log().is_some() {}
        while kept.contains(&"epochs") && self.disk.sync_epochs().is_some() {}
        self.disk.log_ops.clear();
        self.disk.epoch_ops.clear();
        self.zab = None;
        self.links.clear();
    }

    fn elected(&mut self, leader: u8) {
        let zab = self.zab();
        let own = Vote { epoch: zab.epochs().current, zxid: zab.last(), leader: Some(ServerId(self.me)) };
        let better = Vote { epoch: Epoch(99), zxid: Zxid::ZERO, leader: Some(ServerId(leader)) };
        let vote = if leader == self.me { own } else { better };
        for from in 1..=self.voters {
            if from != self.me && self.zab().state() == PeerState::Looking {
                let state = if self.me > self.voters { PeerState::Following } else { PeerState::Looking };
                let state = if from == leader && self.me > self.voters { PeerState::Leading } else { state };
                self.notify(from, state, self.round, vote);
            }
        }
    }

    fn notify(&mut self, from: u8, state: PeerState, round: Round, vote: Vote) {
        let notification = Notification { vote, round, state, version: 2, members: None };
        self.input(Input::Notification { from: ServerId(from), notification });
    }

    fn hear(&mut self, from: u8, state: &str, words: &[&str]) {
        let state = match state {
            "LOOKING" => PeerState::Looking,
            "FOLLOWING" => PeerState::Following,
            "LEADING" => PeerState::Leading,
            "OBSERVING" => PeerState::Observing,
            other => panic!("no state: {other}"),
        };
        let vote = Vote {
            epoch: epoch_after(words, "epoch"),
            zxid: after(words, "zxid").first().map_or(Zxid::ZERO, |word| zxid(word)),
            leader: after(words, "vote").first().map(|word| ServerId(number(word))),
        };
        self.notify(from, state, Round(after(words, "round").first().map_or(0, |word| number(word))), vote);
    }

    fn leader_says(&mut self, words: &[&str]) -> ToLearner {
        match words {
            ["LEADERINFO", epoch] => {
                ToLearner::LeaderInfo { epoch: Epoch(number(epoch)), extended: !self.java }
            }
            ["DIFF", upto] => ToLearner::Diff(zxid(upto)),
            ["TRUNC", upto] => ToLearner::Trunc(zxid(upto)),
            ["SNAP", upto] => {
                self.snapshot = zxid(upto);
                ToLearner::Snap(self.snapshot)
            }
            ["NEWLEADER", epoch] => ToLearner::NewLeader { epoch: Epoch(number(epoch)), members: None },
            ["UPTODATE"] => ToLearner::UpToDate,
            ["PROPOSAL", of] => ToLearner::Proposal(transaction(zxid(of))),
            ["PROPOSALS", of] => ToLearner::Proposals(batch(zxid(of), zxid(of))),
            ["PROPOSALS", first, "to", last] => ToLearner::Proposals(batch(zxid(first), zxid(last))),
            ["COMMIT", upto] => ToLearner::Commit(zxid(upto)),
            ["INFORM", of] => ToLearner::Inform(transaction(zxid(of))),
            ["PING"] => ToLearner::Ping(0),
            ["SYNC"] => ToLearner::Sync,
            _ => panic!("no leader says: {}", words.join(" ")),
        }
    }

    fn learner_says(&mut self, learner: u8, words: &[&str]) {
        let info = LearnerInfo { server: ServerId(learner), config_version: 0, extended: !self.java };
        let message = match words {
            ["breaks"] => None,
            ["FOLLOWERINFO", rest @ ..] => {
                Some(ToLeader::FollowerInfo { accepted: epoch_after(rest, "accepted"), info })
            }
            ["OBSERVERINFO", rest @ ..] => {
                Some(ToLeader::ObserverInfo { accepted: epoch_after(rest, "accepted"), info })
            }
            ["ACKEPOCH", rest @ ..] => Some(ToLeader::AckEpoch {
                current: after(rest, "current").first().map(|word| Epoch(number(word))),
                last: zxid(after(rest, "last").first().expect("last ZXID")),
            }),
            ["ACK", upto] => Some(ToLeader::Ack(zxid(upto))),
            ["PING"] => Some(ToLeader::Ping { zxid: 0, touched: Vec::new() }),
            _ => panic!("no learner says: {}", words.join(" ")),
        };
        if matches!(message, Some(ToLeader::FollowerInfo { .. } | ToLeader::ObserverInfo { .. })) {
            let number = self.links.last_key_value().map_or(1, |(number, _)| number + 1);
            self.links.insert(number, learner);
        }
        let link = self.link(learner);
        self.input(message.map_or(Input::LearnerLost(link), |message| Input::FromLearner(link, message)));
    }

    fn link(&self, learner: u8) -> Link {
        let newest = self.links.iter().rev().find(|(_, server)| **server == learner);
        Link(*newest.unwrap_or_else(|| panic!("{learner} is not connected")).0)
    }

    fn log_synced(&mut self, writes: usize) {
        for _ in 0..writes {
            let Some(op) = self.disk.sync_log() else { break };
            let (generation, upto) = op.done();
            self.input(Input::Durable(generation, upto));
        }
    }

    fn input(&mut self, input: Input) {
        let mut out = Vec::new();
        self.zab.as_mut().expect("the server runs").step(Tick(self.now_ms), input, &mut out);
        self.effects(out);
    }

    fn effects(&mut self, out: Vec<Effect>) {
        for effect in out {
            if let Some(line) = self.effect(effect) {
                self.say(&line);
            }
        }
    }

    fn server_of(&self, link: Link) -> u8 {
        self.links.get(&link.0).copied().unwrap_or_default()
    }

    fn effect(&mut self, effect: Effect) -> Option<String> {
        Some(match effect {
            Effect::Notify(to, told) => {
                self.round = told.round;
                if !self.votes {
                    return None;
                }
                let Vote { epoch, zxid, leader } = told.vote;
                let leader = leader.map_or("nobody".to_owned(), |leader| leader.0.to_string());
                let (to, round, state) = (to.0, told.round.0, format!("{:?}", told.state).to_uppercase());
                format!(
                    "tells {to}: {state} round {round} vote {leader} epoch {} zxid {}",
                    epoch.0,
                    show(zxid)
                )
            }
            Effect::Connect(attempt, leader) => {
                self.attempt = Some(attempt);
                format!("connects to {}", leader.0)
            }
            Effect::ToLeader(_, message) => format!("to leader: {}", said_to_leader(&message)),
            Effect::CloseLeader(_) => "ends the connection to the leader".to_owned(),
            Effect::ToLearner(_, ToLearner::Ping(_)) => return None,
            Effect::ToLearner(link, message) => {
                format!("to {}: {}", self.server_of(link), said_to_learner(&message))
            }
            Effect::SendTree(link, upto) => {
                format!("to {}: the tree, up to {}", self.server_of(link), show(upto))
            }
            Effect::SeekLog(link, last) => {
                format!("searches the log on disk for {}, of {}", show(last), self.server_of(link))
            }
            Effect::SendLog { link, after, upto, .. } => {
                format!(
                    "to {}: the log on disk after {}, up to {}",
                    self.server_of(link),
                    show(after),
                    show(upto)
                )
            }
            Effect::CloseLearner(link) => format!("ends the connection of {}", self.server_of(link)),
            Effect::FromLearner(link, _, message) => {
                format!("of {}, for the replica: {}", self.server_of(link), said_to_leader(&message))
            }
            Effect::FromLeader(message, upto) => {
                format!("for the replica, once it has {}: {}", show(upto), said_to_learner(&message))
            }
            Effect::PersistEpochs(epochs) => {
                self.disk.epoch_ops.push_back(epochs);
                format!("to disk: accepted {} current {}", epochs.accepted.0, epochs.current.0)
            }
            Effect::Append(generation, batch) => {
                let zxids: Vec<String> = batch.iter().map(|(zxid, _)| show(zxid)).collect();
                let committed = self.zab().committed();
                let op = |transaction| LogOp::Append(generation, transaction, committed);
                self.disk.log_ops.extend(batch.into_transactions().map(op));
                format!("to disk: {}", zxids.join(" "))
            }
            Effect::Rewind(generation, to) => {
                self.tree.retain(|(applied, _)| *applied <= to);
                self.disk.log_ops.push_back(LogOp::Rewind(generation, to));
                format!("to disk: the log ends after {}", show(to))
            }
            Effect::Install(generation, upto) => {
                self.tree = vec![(upto, upto.0)];
                self.disk.log_ops.push_back(LogOp::Install(generation, upto, self.tree.clone()));
                format!("to disk: the tree, up to {}, for all there was", show(upto))
            }
            Effect::Deliver(batches) => {
                let transactions = batches.into_iter().flat_map(Batch::into_transactions);
                let transactions: Vec<Transaction> = transactions.collect();
                self.tree.extend(transactions.iter().map(|entry| (entry.zxid, value(entry))));
                let zxids: Vec<String> = transactions.iter().map(|entry| show(entry.zxid)).collect();
                format!("applies {}", zxids.join(" "))
            }
            Effect::Serve(Serving::No) => "serves nobody".to_owned(),
            Effect::Serve(Serving::Leader(epoch)) => format!("serves, leading epoch {}", epoch.0),
            Effect::Serve(Serving::Learner { leader, epoch, observer }) => {
                let role = if observer { "observing" } else { "following" };
                format!("serves, {role} {} in epoch {}", leader.0, epoch.0)
            }
            Effect::MembersSeen(members) => format!("hears of members {}", one_line(&members)),
            Effect::Members(members, by) => format!("has members by {by:?}: {}", one_line(&members)),
            Effect::Notice(text) => format!("notes: {text}"),
        })
    }
}

fn after_word<'w>(words: &[&'w str], keyword: &str) -> Option<&'w str> {
    let at = words.iter().position(|word| *word == keyword)?;
    words.get(at + 1).copied()
}

fn said_to_leader(message: &ToLeader) -> String {
    match message {
        ToLeader::FollowerInfo { accepted, .. } => format!("FOLLOWERINFO accepted {}", accepted.0),
        ToLeader::ObserverInfo { accepted, .. } => format!("OBSERVERINFO accepted {}", accepted.0),
        ToLeader::AckEpoch { current: Some(current), last } => {
            format!("ACKEPOCH current {} last {}", current.0, show(*last))
        }
        ToLeader::AckEpoch { current: None, last } => format!("ACKEPOCH, no promise, last {}", show(*last)),
        ToLeader::Ack(upto) => format!("ACK {}", show(*upto)),
        ToLeader::Ping { .. } => "PING".to_owned(),
        ToLeader::Revalidate { .. } => "REVALIDATE".to_owned(),
        ToLeader::Request { .. } => "REQUEST".to_owned(),
        ToLeader::Requests(_) => "REQUESTS".to_owned(),
    }
}

fn said_to_learner(message: &ToLearner) -> String {
    match message {
        ToLearner::LeaderInfo { epoch, .. } => format!("LEADERINFO {}", epoch.0),
        ToLearner::Diff(upto) => format!("DIFF {}", show(*upto)),
        ToLearner::Trunc(to) => format!("TRUNC {}", show(*to)),
        ToLearner::Snap(upto) => format!("SNAP {}", show(*upto)),
        ToLearner::NewLeader { epoch, .. } => format!("NEWLEADER {}", epoch.0),
        ToLearner::UpToDate => "UPTODATE".to_owned(),
        ToLearner::Proposal(of) => format!("PROPOSAL {}", show(of.zxid)),
        ToLearner::Proposals(batch) if batch.first() == batch.last() => {
            format!("PROPOSALS {}", show(batch.last()))
        }
        ToLearner::Proposals(batch) => {
            format!("PROPOSALS {} to {}", show(batch.first()), show(batch.last()))
        }
        ToLearner::Commit(upto) => format!("COMMIT {}", show(*upto)),
        ToLearner::CommitAndActivate { zxid, .. } => format!("COMMITANDACTIVATE {}", show(*zxid)),
        ToLearner::Inform(of) => format!("INFORM {}", show(of.zxid)),
        ToLearner::InformAndActivate { transaction, .. } => {
            format!("INFORMANDACTIVATE {}", show(transaction.zxid))
        }
        ToLearner::Ping(_) => "PING".to_owned(),
        ToLearner::Revalidate { .. } => "REVALIDATE".to_owned(),
        ToLearner::Sync => "SYNC".to_owned(),
    }
}

/// A configuration, its lines joined by commas.
fn one_line(members: &Members) -> String {
    members.to_string().replace('\n', ", ")
}
