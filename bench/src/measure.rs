//! What a run is measured by: latencies by operation, the server's process, and the generator's
//! own share, which tells whether it was the limit.

use crate::failure::Failure;
use crate::workload::Operation;
use hdrhistogram::Histogram;
use procfs::process::Process;
use rustix::thread::gettid;
use std::collections::BTreeMap;
use std::time::Instant;

/// Latencies above are recorded as this.
const LATENCY_MAX_NS: u64 = 100_000_000_000;
/// A generator that works or waits for a core for this share of the time is the limit of what it measures.
const LIMIT_SHARE: f64 = 0.9;
/// Significant decimal digits that the histograms keep.
const DIGITS: u8 = 3;

/// A histogram of nanoseconds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_NS, DIGITS).expect("the bounds are valid")
}

/// The measured time, in nanoseconds of the generator's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// When the warm-up is over.
    pub begin_ns: u64,
    /// When the measurement is.
    pub end_ns: u64,
    /// Whether requests come by the clock.
    pub open_loop: bool,
}

impl Window {
    fn has(&self, moment_ns: u64) -> bool {
        (self.begin_ns..self.end_ns).contains(&moment_ns)
    }
}

/// One operation over the measurement.
pub struct Latencies {
    /// Which.
    pub operation: Operation,
    /// In nanoseconds; failed requests count too. Of a closed loop those that were answered in the window;
    /// of an open loop those whose time came in it, or those that a slow server answers late would be missing.
    pub histogram: Histogram<u64>,
    /// Requests answered in the window, whenever their time came: what the server did in it.
    pub answered: u64,
}

/// The servers' processes over the measurement, together. Times are in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServerUse {
    /// CPU time.
    pub cpu_s: f64,
    /// Bytes it sent to the disk.
    pub written_bytes: u64,
    /// Times that one of its threads slept of itself.
    pub waits: u64,
    /// Resident memory at the end.
    pub resident_bytes: u64,
}

/// A thread of the generator. Times are in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OwnUse {
    /// CPU time.
    pub cpu_s: f64,
    /// Ready to run while another had the core.
    pub delayed_s: f64,
}

/// How much of the time since it was made the calling thread worked, or was ready to.
pub struct Effort {
    begun: Instant,
    before: OwnUse,
}

impl Effort {
    /// From now on.
    ///
    /// # Errors
    /// This thread cannot be looked at.
    pub fn begin() -> Result<Effort, Failure> {
        Ok(Effort { begun: Instant::now(), before: own_use()? })
    }

    /// The share of the time until now; to be asked by the same thread.
    ///
    /// # Errors
    /// This thread cannot be looked at.
    pub fn share(&self) -> Result<f64, Failure> {
        let (OwnUse { cpu_s, delayed_s }, seconds) = (own_use()?, self.begun.elapsed().as_secs_f64());
        let spent_s = cpu_s + delayed_s - self.before.cpu_s - self.before.delayed_s;
        // The kernel's counters and its clock are not read at one moment.
        Ok((spent_s / seconds.max(1e-9)).min(1.0))
    }
}

/// Whether a generator that worked or waited for a core for this share of the time was the limit.
pub fn is_the_limit(share: f64) -> bool {
    share >= LIMIT_SHARE
}

/// A share for a table: percents, and an exclamation mark where the generator was the limit.
pub fn percent_of_generator(share: f64) -> String {
    format!("{:.0}{}", share * 100.0, if is_the_limit(share) { " !" } else { "" })
}

/// Says what the exclamation mark of a table means, if there is one.
pub fn explain_limit(mut shares: impl Iterator<Item = f64>) {
    if shares.any(is_the_limit) {
        println!("!: the generator was the limit, not the server");
    }
}

/// Collects over the measurement.
pub struct Recorder {
    window: Window,
    latencies: Vec<Latencies>,
    errors: BTreeMap<i32, u64>,
    lateness: Histogram<u64>,
    looked_ns: u64,
    probes: Vec<Process>,
    begun: Option<(u64, Sample)>,
    ended: Option<(u64, Sample)>,
}

/// Counters at one moment.
#[derive(Clone, Copy)]
struct Sample {
    server: Option<ServerUse>,
    own: OwnUse,
}

impl Recorder {
    /// Looks at these processes, too.
    pub fn new(pids: &[i32], window: Window) -> Recorder {
        Recorder {
            window,
            latencies: Operation::MEASURED
                .map(|operation| Latencies { operation, histogram: histogram(), answered: 0 })
                .into(),
            errors: BTreeMap::new(),
            lateness: histogram(),
            looked_ns: 0,
            // A process that is gone shows when it is sampled.
            probes: pids.iter().filter_map(|&pid| Process::new(pid).ok()).collect(),
            begun: None,
            ended: None,
        }
    }

    /// Whether the measurement has begun.
    pub fn is_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// The warm-up is over.
    ///
    /// # Errors
    /// The server's process or this thread cannot be looked at.
    pub fn begin(&mut self, now_ns: u64) -> Result<(), Failure> {
        self.lateness.clear();
        self.looked_ns = 0;
        self.begun = Some((now_ns, self.sample()?));
        Ok(())
    }

    /// The measurement is over.
    ///
    /// # Errors
    /// As [`Recorder::begin`].
    pub fn end(&mut self, now_ns: u64) -> Result<(), Failure> {
        self.ended = Some((now_ns, self.sample()?));
        Ok(())
    }

    /// A request that was to start at `intended_ns` was answered, with an error code or 0. What does not
    /// belong to the measurement is left out.
    pub fn record(&mut self, operation: Operation, intended_ns: u64, now_ns: u64, err: i32) {
        let answered = self.window.has(now_ns);
        let belongs = if self.window.open_loop { self.window.has(intended_ns) } else { answered };
        if let Some(latencies) = self.latencies.get_mut(operation as usize) {
            latencies.answered += u64::from(answered);
            if belongs {
                latencies.histogram.saturating_record(now_ns.saturating_sub(intended_ns).max(1));
            }
        }
        if belongs && err != 0 {
            *self.errors.entry(err).or_default() += 1;
        }
    }

    /// An open loop's request was looked at `late_ns` after its time.
    pub fn late(&mut self, late_ns: u64) {
        self.lateness.saturating_record(late_ns.max(1));
    }

    /// The generator looked for replies for so long where it could have slept: no work of its own.
    pub fn looked(&mut self, ns: u64) {
        if self.ended.is_none() {
            self.looked_ns += ns;
        }
    }

    /// Latencies of the operations that were answered.
    pub fn into_latencies(self) -> impl Iterator<Item = Latencies> {
        self.latencies.into_iter().filter(|latencies| !latencies.histogram.is_empty())
    }

    /// The same for many, found elsewhere.
    pub fn all_late(&mut self, lateness: Histogram<u64>) {
        self.lateness = lateness;
    }

    /// Requests whose latency is known.
    pub fn count(&self) -> u64 {
        self.latencies.iter().map(|latencies| latencies.histogram.len()).sum()
    }

    /// Requests answered in the window.
    pub fn answered(&self) -> u64 {
        self.latencies.iter().map(|latencies| latencies.answered).sum()
    }

    /// Failed requests, by error code.
    pub fn errors(&self) -> &BTreeMap<i32, u64> {
        &self.errors
    }

    /// How late the generator itself was in an open loop, in nanoseconds.
    pub fn lateness(&self) -> &Histogram<u64> {
        &self.lateness
    }

    /// How long the measurement took, in seconds.
    pub fn seconds(&self) -> f64 {
        match (self.begun, self.ended) {
            (Some((begun, _)), Some((ended, _))) => (ended - begun) as f64 / 1e9,
            _ => 0.0,
        }
    }

    /// The server's process, if it was looked at.
    pub fn server(&self) -> Option<ServerUse> {
        let before = self.begun?.1.server?;
        let after = self.ended?.1.server?;
        Some(ServerUse {
            cpu_s: after.cpu_s - before.cpu_s,
            written_bytes: after.written_bytes - before.written_bytes,
            // Threads that ended in between take their counts with them.
            waits: after.waits.saturating_sub(before.waits),
            resident_bytes: after.resident_bytes,
        })
    }

    /// The generator's own thread, without the time in which it looked rather than slept.
    pub fn own(&self) -> Option<OwnUse> {
        let (before, after) = (self.begun?.1.own, self.ended?.1.own);
        let worked_s = after.cpu_s - before.cpu_s - self.looked_ns as f64 / 1e9;
        Some(OwnUse { cpu_s: worked_s.max(0.0), delayed_s: after.delayed_s - before.delayed_s })
    }

    fn sample(&self) -> Result<Sample, Failure> {
        let servers = self.probes.iter().map(sample_server).collect::<procfs::ProcResult<Vec<_>>>();
        let servers = servers.map_err(|error| Failure::system("looking at the server's process", error))?;
        let server = servers.into_iter().reduce(|a, b| ServerUse {
            cpu_s: a.cpu_s + b.cpu_s,
            written_bytes: a.written_bytes + b.written_bytes,
            waits: a.waits + b.waits,
            resident_bytes: a.resident_bytes + b.resident_bytes,
        });
        Ok(Sample { server, own: own_use()? })
    }
}

fn sample_server(process: &Process) -> procfs::ProcResult<ServerUse> {
    let stat = process.stat()?;
    let mut waits = 0;
    for task in process.tasks()? {
        // A thread may end between the listing and the look.
        let status = task.and_then(|task| task.status());
        waits += status.ok().and_then(|status| status.voluntary_ctxt_switches).unwrap_or(0);
    }
    Ok(ServerUse {
        cpu_s: (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
        written_bytes: process.io()?.write_bytes,
        waits,
        resident_bytes: stat.rss * procfs::page_size(),
    })
}

/// The calling thread's, since it began.
fn own_use() -> Result<OwnUse, Failure> {
    let tid = gettid().as_raw_nonzero().get();
    let thread = Process::myself().and_then(|own| own.task_from_tid(tid)).and_then(|own| own.schedstat());
    let thread = thread.map_err(|error| Failure::system("looking at the own thread", error))?;
    Ok(OwnUse { cpu_s: thread.sum_exec_runtime as f64 / 1e9, delayed_s: thread.run_delay as f64 / 1e9 })
}
