//! The two loads: a sweep, which prepares and removes nodes, and the measured one.

use crate::client::{Client, Pending};
use crate::failure::Failure;
use crate::generator::Load;
use crate::measure::{Recorder, Window};
use crate::mix::Chooser;
use crate::progress::Progress;
use crate::wire::Template;
use crate::workload::{self, Operation, Own, OwnTemplates, Settings};
use ringkeeper_engine::jute::records::ReplyHeader;
use ringkeeper_engine::op::OpCode;
use std::collections::VecDeque;

/// Requests made of one template: for the nodes `first`, `first` + `step` and so on, `count` of them.
pub struct Batch {
    /// The request.
    pub template: Template,
    /// The first node's number.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// From one node's number to the next.
    pub step: u64,
}

/// Batches of requests, spread over the clients.
pub struct Sweep {
    what: &'static str,
    batches: VecDeque<Batch>,
    /// Requests of the first batch that were sent.
    sent: u64,
    accepted: &'static [i32],
    refused: u64,
    failure: Option<i32>,
}

impl Sweep {
    /// `what` names the step in a failure. Error codes in `accepted` are counted, others end the
    /// run.
    pub fn new(
        what: &'static str,
        batches: impl IntoIterator<Item = Batch>,
        accepted: &'static [i32],
    ) -> Sweep {
        let batches = batches.into_iter().collect();
        Sweep { what, batches, sent: 0, accepted, refused: 0, failure: None }
    }

    /// How many requests had an accepted error.
    ///
    /// # Errors
    /// A request failed otherwise.
    pub fn refused(&self) -> Result<u64, Failure> {
        self.failure.map_or(Ok(self.refused), |code| Err(Failure::Preparation { what: self.what, code }))
    }
}

impl Load for Sweep {
    fn tick(&mut self, _now_ns: u64, _due: &mut Vec<usize>) -> Result<Option<u64>, Failure> {
        self.refused().map(|_| None)
    }

    fn request(&mut self, _client: usize, now_ns: u64, to: &mut Client) -> bool {
        while let Some(batch) = self.batches.front() {
            if self.sent < batch.count {
                let pending = Pending { operation: Operation::Prepare, intended_ns: now_ns };
                to.push(pending, |xid, out| {
                    batch.template.encode(xid, batch.first + self.sent * batch.step, out)
                });
                self.sent += 1;
                return true;
            }
            self.batches.pop_front();
            self.sent = 0;
        }
        false
    }

    fn reply(&mut self, _pending: Pending, reply: ReplyHeader, _now_ns: u64) {
        if self.accepted.contains(&reply.err) {
            self.refused += 1;
        } else if reply.err != 0 {
            self.failure.get_or_insert(reply.err);
        }
    }

    fn is_over(&self) -> bool {
        self.batches.is_empty()
    }
}

/// When requests are to start in an open loop: request *i* at `start + i / rate`, by client
/// *i* mod `clients`. What a client cannot send yet, since its depth is reached, stays due: its
/// latency counts from its intended start.
struct Schedule {
    start_ns: u64,
    rate_per_s: u64,
    total: u64,
    /// Requests whose time has come.
    released: u64,
    /// By client: how many of its requests were sent.
    sent: Vec<u64>,
}

impl Schedule {
    fn intended_ns(&self, request: u64) -> u64 {
        self.start_ns + (u128::from(request) * 1_000_000_000 / u128::from(self.rate_per_s)) as u64
    }

    /// Releases what is due. Tells which clients and how late. Returns when the next one is.
    fn release(&mut self, now_ns: u64, due: &mut Vec<usize>, mut late_ns: impl FnMut(u64)) -> Option<u64> {
        while self.released < self.total {
            let intended = self.intended_ns(self.released);
            if intended > now_ns {
                return Some(intended);
            }
            late_ns(now_ns - intended);
            due.push((self.released % self.sent.len() as u64) as usize);
            self.released += 1;
        }
        None
    }

    /// The intended start of a client's next request, if its time has come; it then counts as sent.
    fn take(&mut self, client: usize) -> Option<u64> {
        let clients = self.sent.len() as u64;
        let request = client as u64 + self.sent[client] * clients;
        if request >= self.released {
            return None;
        }
        self.sent[client] += 1;
        Some(self.intended_ns(request))
    }

    fn is_over(&self) -> bool {
        self.released == self.total && self.sent.iter().sum::<u64>() == self.total
    }
}

/// The load that is measured.
pub struct Measured {
    chooser: Chooser,
    set: Template,
    get: Template,
    exists: Template,
    children: Template,
    multi: Template,
    /// By client: requests about what it creates itself, and how far it is.
    own: Vec<(OwnTemplates, Own)>,
    schedule: Option<Schedule>,
    window: Window,
    over: bool,
    recorder: Recorder,
    progress: Progress,
}

impl Measured {
    /// Starts at `start_ns` with the warm-up.
    pub fn new(settings: &Settings, sessions: &[i64], start_ns: u64) -> Measured {
        let value = workload::value(settings.value_bytes, settings.seed);
        let directory = settings.below_root("").directory();
        let node = directory.clone().name("");
        let begin_ns = start_ns + (settings.warmup_s * 1e9) as u64;
        let end_ns = begin_ns + (settings.duration_s * 1e9) as u64;
        let schedule = settings.rate_per_s.map(|rate_per_s| Schedule {
            start_ns,
            rate_per_s,
            total: (u128::from(end_ns - start_ns) * u128::from(rate_per_s) / 1_000_000_000) as u64,
            released: 0,
            sent: vec![0; settings.clients],
        });
        let window = Window { begin_ns, end_ns, open_loop: schedule.is_some() };
        let own = |&session| (OwnTemplates::new(settings, session, &value), Own::default());
        let what = format!("{} {} × {}", settings.mix, settings.clients, settings.depth);
        Measured {
            chooser: Chooser::new(settings),
            set: workload::set(&node, &value),
            get: workload::read(OpCode::GetData, &node, false),
            exists: workload::read(OpCode::Exists, &node, false),
            children: workload::read(OpCode::GetChildren, &directory, false),
            multi: Template::multi(&node, settings.multi_operations, settings.keys, &value),
            own: sessions.iter().map(own).collect(),
            schedule,
            window,
            over: false,
            recorder: Recorder::new(&settings.pids, window),
            progress: Progress::new(&what, start_ns, end_ns - start_ns),
        }
    }

    /// What was measured, and by client what it created.
    pub fn finish(self) -> (Recorder, Vec<Own>) {
        (self.recorder, self.own.into_iter().map(|(_, own)| own).collect())
    }

    /// Puts the next request into the client's buffer.
    fn ask(&mut self, client: usize, intended_ns: u64, to: &mut Client) {
        let (templates, own) = &mut self.own[client];
        let operation = match self.chooser.operation() {
            // Nothing of its own is left, so it makes something to delete.
            Operation::Delete if own.deleted == own.created => Operation::Create,
            operation => operation,
        };
        let next = |count: &mut u64| {
            *count += 1;
            *count - 1
        };
        let (template, node) = match operation {
            Operation::Set => (&self.set, self.chooser.node()),
            Operation::Exists => (&self.exists, self.chooser.node()),
            Operation::Children => (&self.children, self.chooser.node()),
            Operation::Multi => (&self.multi, self.chooser.node()),
            Operation::Create => (&templates.create, next(&mut own.created)),
            Operation::Delete => (&templates.delete, next(&mut own.deleted)),
            Operation::Sequential => (&templates.sequential, next(&mut own.sequential)),
            Operation::Ephemeral => (&templates.ephemeral, next(&mut own.ephemeral)),
            Operation::Get | Operation::Prepare | Operation::Close => (&self.get, self.chooser.node()),
        };
        to.push(Pending { operation, intended_ns }, |xid, out| template.encode(xid, node, out));
    }
}

impl Load for Measured {
    fn tick(&mut self, now_ns: u64, due: &mut Vec<usize>) -> Result<Option<u64>, Failure> {
        let Window { begin_ns, end_ns, .. } = self.window;
        if now_ns >= begin_ns && !self.recorder.is_begun() {
            self.recorder.begin(now_ns)?;
        }
        if now_ns >= end_ns && !self.over {
            self.over = true;
            self.recorder.end(now_ns)?;
        }
        let recorder = &self.recorder;
        self.progress.show(now_ns, || recorder.count());
        let boundary = [begin_ns, end_ns].into_iter().find(|&at| at > now_ns);
        let Some(schedule) = &mut self.schedule else { return Ok(boundary) };
        let recorder = &mut self.recorder;
        let next = schedule.release(now_ns, due, |late_ns| recorder.late(late_ns));
        Ok(next.into_iter().chain(boundary).min())
    }

    fn request(&mut self, client: usize, now_ns: u64, to: &mut Client) -> bool {
        let intended_ns = match &mut self.schedule {
            Some(schedule) => match schedule.take(client) {
                Some(intended_ns) => intended_ns,
                None => return false,
            },
            None if now_ns >= self.window.end_ns => return false,
            None => now_ns,
        };
        self.ask(client, intended_ns, to);
        true
    }

    fn reply(&mut self, pending: Pending, reply: ReplyHeader, now_ns: u64) {
        self.recorder.record(pending.operation, pending.intended_ns, now_ns, reply.err);
    }

    fn looked(&mut self, ns: u64) {
        self.recorder.looked(ns);
    }

    fn is_over(&self) -> bool {
        self.over && self.schedule.as_ref().is_none_or(Schedule::is_over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_counts_from_the_intended_start_of_each_request() {
        let mut schedule =
            Schedule { start_ns: 1000, rate_per_s: 1_000_000, total: 5, released: 0, sent: vec![0; 2] };
        let (mut due, mut late) = (Vec::new(), Vec::new());
        assert_eq!(schedule.take(0), None, "nothing before its time");
        let next = schedule.release(3500, &mut due, |ns| late.push(ns));
        assert_eq!((next, &due[..], &late[..]), (Some(4000), &[0, 1, 0][..], &[2500, 1500, 500][..]));
        let taken: Vec<_> = [0, 0, 0, 1, 1].into_iter().map(|client| schedule.take(client)).collect();
        assert_eq!(taken, [Some(1000), Some(3000), None, Some(2000), None]);
        assert!(!schedule.is_over());
        assert_eq!(schedule.release(9000, &mut due, |_| ()), None);
        assert_eq!((schedule.take(1), schedule.take(0), schedule.take(1)), (Some(4000), Some(5000), None));
        assert!(schedule.is_over());
    }

    #[test]
    fn an_open_loop_has_the_latency_of_what_is_answered_after_its_end_but_not_in_its_rate() {
        let server = "127.0.0.1:1".parse().unwrap();
        let closed = Settings { duration_s: 1.0, ..workload::tests::settings(server) };
        let open = Settings { rate_per_s: Some(10), ..closed.clone() };
        for (settings, counted) in [(&closed, 1), (&open, 2)] {
            let mut load = Measured::new(settings, &[1, 2, 3], 0);
            let (inside, outside) = (999_999_999, 1_000_000_000);
            for (intended_ns, now_ns) in [(5, inside), (5, outside), (outside, outside)] {
                let pending = Pending { operation: Operation::Get, intended_ns };
                load.reply(pending, ReplyHeader::default(), now_ns);
            }
            let recorder = load.finish().0;
            assert_eq!((recorder.count(), recorder.answered()), (counted, 1));
        }
    }
}
