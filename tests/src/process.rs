//! A server's process: a group of its own that is killed when the value is dropped, that the kernel kills if
//! the test itself dies, and whose output is kept.

use std::io::{self, BufRead, BufReader, PipeReader};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How long a process may take to end after SIGTERM.
const STOP_MAX: Duration = Duration::from_secs(30);

/// Pause between two looks at a condition that nothing announces.
pub(crate) const POLL_PAUSE: Duration = Duration::from_millis(10);

/// Waits for what nothing announces; `None` if it does not come in that time.
pub fn await_some<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        match look() {
            Some(found) => return Some(found),
            None if Instant::now() > deadline => return None,
            None => thread::sleep(POLL_PAUSE),
        }
    }
}

/// Below the ports of outgoing connections (`net.ipv4.ip_local_port_range`, from 32768).
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// Lines of output in an error message.
const TAIL_LINES: usize = 30;

/// What a server has printed, over all its starts; whoever waits for a line is woken by it.
#[derive(Debug, Default)]
pub struct Output {
    text: Mutex<String>,
    grown: Condvar,
}

impl Output {
    /// Reads to the end, which comes with the end of the process.
    fn collect(&self, pipe: PipeReader) {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            self.text.lock().expect("no holder panics").push_str(&String::from_utf8_lossy(&line));
            self.grown.notify_all();
            line.clear();
        }
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        self.text.lock().expect("no holder panics").clone()
    }

    /// The last lines, for an error message.
    pub fn tail(&self) -> String {
        let output = self.text();
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Waits until `text` has been printed.
    ///
    /// # Errors
    /// It is not in that time; the message has the tail of what was.
    pub fn wait_for(&self, text: &str, patience: Duration) -> io::Result<()> {
        let printed = self.text.lock().expect("no holder panics");
        let waited = self.grown.wait_timeout_while(printed, patience, |all| !all.contains(text));
        let timed_out = waited.expect("no holder panics").1.timed_out();
        if timed_out {
            return Err(io::Error::other(format!("never printed `{text}`:\n{}", self.tail())));
        }
        Ok(())
    }
}

/// A process that runs, or has ended by itself.
#[derive(Debug)]
pub struct Process {
    child: Child,
    collector: Option<JoinHandle<()>>,
}

impl Process {
    /// Runs a command; what it prints goes to `output`.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn spawn(inner: &Command, output: &Arc<Output>) -> io::Result<Self> {
        // setpriv asks the kernel to kill the server when the test dies without unwinding, then
        // becomes the server: same process id, nothing in between.
        let mut command = Command::new("setpriv");
        command.arg("--pdeathsig=KILL").arg("--").arg(inner.get_program()).args(inner.get_args());
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(directory) = inner.get_current_dir() {
            command.current_dir(directory);
        }
        let (reader, writer) = io::pipe()?;
        command.process_group(0).stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let child = command.spawn()?;
        // Ours of the writing ends; the reader ends with the process's.
        drop(command);
        let output = Arc::clone(output);
        Ok(Process { child, collector: Some(thread::spawn(move || output.collect(reader))) })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the whole group.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // A group that is gone already is what was wanted.
            let _ = kill_process_group(pid, signal);
        }
    }

    /// Asks it to end (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// It does not end in time; it is killed then.
    pub fn stop(mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + STOP_MAX;
        loop {
            if let Some(status) = self.exited() {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the server ignored SIGTERM"));
            }
            thread::sleep(POLL_PAUSE);
        }
    }

    /// The exit status if it has ended by itself.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().ok().flatten()?;
        self.end_output();
        Some(status)
    }

    /// After the process: takes what it printed last.
    fn end_output(&mut self) {
        if let Some(collector) = self.collector.take() {
            let _ = collector.join();
        }
    }
}

impl Drop for Process {
    /// Ends it at once (SIGKILL to its group).
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        // The group is dead: this only collects the exit status.
        let _ = self.child.wait();
        self.end_output();
    }
}

/// A port that is free now, and that neither this process nor another that asks here was given before: a
/// server that is to have that one may not have started yet. It lies below those that the kernel gives to
/// outgoing connections, so that none of those takes it while the server is down for a restart.
///
/// # Errors
/// None of a thousand is free.
pub fn free_port() -> io::Result<u16> {
    free_ports_from(&[0])
}

/// The port from which on all those at `offsets` are such ports.
///
/// # Errors
/// None of a thousand is.
pub fn free_ports_from(offsets: &[u16]) -> io::Result<u16> {
    let mut given = GIVEN.lock().expect("no holder panics");
    for _ in 0..1000 {
        let first = fastrand::u16(PORTS);
        let all: io::Result<Vec<UdpSocket>> = offsets.iter().map(|offset| reserve(first + offset)).collect();
        if let Ok(all) = all {
            given.extend(all);
            return Ok(first);
        }
    }
    Err(io::Error::other("no free port"))
}

/// What keeps the ports that were given: a server listens over TCP, so the port's UDP half tells other
/// processes that somebody has it in mind, and the kernel gives it back however this process ends.
static GIVEN: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());

fn reserve(port: u16) -> io::Result<UdpSocket> {
    let reservation = UdpSocket::bind((Ipv4Addr::LOCALHOST, port))?;
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    Ok(reservation)
}

#[test]
fn no_port_is_given_twice() {
    let ports: Vec<u16> = (0..100).map(|_| free_port().expect("a port is free")).collect();
    let first = free_ports_from(&[0, 1, 100]).expect("three are free");
    for port in ports.into_iter().chain([first, first + 1, first + 100]) {
        assert!(reserve(port).is_err(), "{port} is given");
    }
}
