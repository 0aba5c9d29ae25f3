//! The servers as child processes.
//!
//! Each is a process group of its own, so that Ctrl-C in the terminal reaches us alone and we end them in
//! order; and each has asked the kernel to be killed when we end without that.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getppid, kill_process_group, set_parent_process_death_signal};

use super::layout::{Layout, Place};
use crate::status;

/// How long a server may take to say what it does; one that is paused or elects just now says nothing.
const ANSWER_TIME_MAX: Duration = Duration::from_millis(500);

/// How long a server may take to stop before it is killed.
const STOP_TIME_MAX: Duration = Duration::from_secs(20);

/// Between two looks at processes that are about to end.
const POLL_PAUSE: Duration = Duration::from_millis(20);

/// Of a log, where its last line is looked for.
const TAIL_BYTES: u64 = 4096;

/// What a server does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs and does not serve.
    Waiting,
    /// It serves.
    Serving {
        /// `leader`, `follower`, `observer`, `read-only` or `standalone`.
        role: String,
        /// The newest transaction in its tree, as it writes it: `0x100000003`.
        zxid: String,
        /// Connections other than the one that asked.
        clients: u64,
    },
    /// It has ended by itself.
    Ended {
        /// How.
        status: ExitStatus,
        /// The last line that it printed.
        last_words: String,
    },
}

/// Lets this process end when `parent` ends, which must be its parent.
///
/// # Errors
///
/// It is not, or the kernel cannot.
pub fn end_with(parent: u32) -> Result<(), String> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("asking the kernel to end with process {parent}: {error}"))?;
    // It may have ended before we asked.
    if getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs()) != Some(parent) {
        return Err(format!("process {parent}, to end with, is gone"));
    }
    Ok(())
}

struct Running {
    address: SocketAddr,
    log: PathBuf,
    process: Child,
    ended: Option<ExitStatus>,
}

impl Running {
    fn start(place: &Place) -> Result<Self, String> {
        let path = place.log_path();
        let name = path.display().to_string();
        let log = || OpenOptions::new().create(true).append(true).open(&path);
        let spawn = || {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("serve").arg(place.config_path());
            command.arg("--end-with").arg(std::process::id().to_string());
            command.process_group(0).stdin(Stdio::null()).stdout(log()?).stderr(log()?).spawn()
        };
        let process = spawn().map_err(|error| format!("server {} ({name}): {error}", place.id))?;
        Ok(Running { address: place.address(), log: path, process, ended: None })
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw)
            && self.ended.is_none()
        {
            // One that has ended just now needs no signal.
            let _ = kill_process_group(pid, signal);
        }
    }

    fn has_ended(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.process.try_wait().ok().flatten();
        }
        self.ended.is_some()
    }

    fn state(&mut self) -> State {
        if self.has_ended()
            && let Some(status) = self.ended
        {
            return State::Ended { status, last_words: last_line(&self.log).unwrap_or_default() };
        }
        let answer = status::ask("127.0.0.1", self.address.port(), "srvr", ANSWER_TIME_MAX);
        answer.ok().as_deref().and_then(serving).unwrap_or(State::Waiting)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        // The group is dead or has ended: this only collects the exit status.
        let _ = self.process.wait();
    }
}

/// All servers. They are killed when this is dropped.
pub struct Children {
    running: Vec<Running>,
}

impl Children {
    /// Starts all servers. The thread that calls must live as long as this process, for the kernel ends the
    /// servers with it.
    ///
    /// # Errors
    ///
    /// One cannot be started; those that were are killed.
    pub fn start(layout: &Layout) -> Result<Self, String> {
        let mut children = Children { running: Vec::new() };
        for place in &layout.places {
            children.running.push(Running::start(place)?);
        }
        Ok(children)
    }

    /// What each does, all asked at once.
    pub fn look(&mut self) -> Vec<State> {
        thread::scope(|scope| {
            let asked: Vec<_> =
                self.running.iter_mut().map(|child| scope.spawn(move || child.state())).collect();
            asked.into_iter().map(|state| state.join().unwrap_or(State::Waiting)).collect()
        })
    }

    /// Whether none runs any more.
    pub fn all_ended(&mut self) -> bool {
        self.running.iter_mut().all(Running::has_ended)
    }

    /// Stops all in order (SIGTERM) and waits for them; kills them (SIGKILL) if that takes too long or somebody
    /// asks again. Returns whether all came to their end in order.
    pub fn stop(mut self, again: &Receiver<()>) -> bool {
        let failed_before = self.running.iter_mut().any(Running::has_ended);
        self.running.iter().for_each(|child| child.signal(Signal::TERM));
        let deadline = Instant::now() + STOP_TIME_MAX;
        while !self.all_ended() {
            let asked_again = again.recv_timeout(POLL_PAUSE).is_ok();
            if asked_again || Instant::now() > deadline {
                return false;
            }
        }
        !failed_before && self.running.iter().all(|child| child.ended.is_some_and(|status| status.success()))
    }
}

/// What `srvr` says.
fn serving(answer: &str) -> Option<State> {
    let value = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let clients: u64 = value("Connections: ")?.parse().ok()?;
    Some(State::Serving {
        role: value("Mode: ")?.to_owned(),
        zxid: value("Zxid: ")?.to_owned(),
        // The connection that asks is one of them.
        clients: clients.saturating_sub(1),
    })
}

/// The last line of a file that is not empty.
fn last_line(path: &PathBuf) -> Option<String> {
    let bytes = fs::metadata(path).ok()?.len();
    let mut file = File::open(path).ok()?;
    file.seek(SeekFrom::Start(bytes.saturating_sub(TAIL_BYTES))).ok()?;
    let mut tail = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut tail).ok()?;
    let tail = String::from_utf8_lossy(&tail);
    tail.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn srvr_tells_role_zxid_and_clients() {
        let answer = "Zookeeper version: 3.9.5\nConnections: 3\nOutstanding: 0\nZxid: 0x1f\nMode: leader\n";
        let state = State::Serving { role: "leader".into(), zxid: "0x1f".into(), clients: 2 };
        assert_eq!(serving(answer), Some(state));
        assert_eq!(serving("This ZooKeeper instance is not currently serving requests\n"), None);
    }

    #[test]
    fn the_last_words_are_the_last_line_that_says_something() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("log");
        fs::write(&path, format!("{}\nerror: no\n\n", "x".repeat(9000))).expect("it can be written");
        assert_eq!(last_line(&path).as_deref(), Some("error: no"));
        fs::write(&path, "").expect("it can be written");
        assert_eq!(last_line(&path), None);
    }
}
