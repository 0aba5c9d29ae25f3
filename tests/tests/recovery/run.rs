//! The binary as a child: it serves, or it ends with a code and a message.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ringkeeper_tests::server::ringkeeper_binary;
use ringkeeper_tests::wire::{ConnectRequest, Session};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;

/// Between two looks at what nothing announces.
pub const PAUSE: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until a new server's second segment has its whole length.
pub fn until_prepared(data: &Path, bytes: u64) {
    let next = data.join("log/000000000002.rklog");
    until(|| fs::metadata(&next).is_ok_and(|file| file.len() == bytes), "a segment is prepared");
}

/// Waits until something is so that nothing announces.
pub fn until(is_so: impl Fn() -> bool, what: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it was waited for: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// A server that runs. It is killed when this is dropped.
pub struct Running {
    child: Child,
    pub address: SocketAddr,
    said: NamedTempFile,
    /// Kept open: a server may write to it.
    _output: BufReader<std::process::ChildStdout>,
}

/// How a start went.
pub enum Started {
    Serves(Running),
    Ended { code: Option<i32>, said: String },
}

/// Starts `serve` on a data directory, with more arguments.
pub fn start(data: &Path, more: &[&str]) -> Started {
    let binary = ringkeeper_binary().expect("the binary is there, or can be built");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig=KILL", "--"]).arg(binary);
    command.args(["serve", "--client-port", "0", "--data-dir"]).arg(data).args(more);
    start_command(command)
}

/// Starts a command that ends in `serve`, and waits until it serves or is gone.
pub fn start_command(mut command: Command) -> Started {
    let said = NamedTempFile::new().expect("a temporary file");
    let messages = said.reopen().expect("a second handle");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(messages);
    let mut child = command.spawn().expect("the server runs");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    output.read_line(&mut line).expect("what the server prints");
    let address = line.strip_prefix("serving ZooKeeper clients on ").and_then(|rest| rest.split(',').next());
    match address {
        Some(address) => {
            let address = address.parse().expect("an address");
            Started::Serves(Running { child, address, said, _output: output })
        }
        None => {
            let code = child.wait().expect("it ends").code();
            Started::Ended { code, said: read(&said) }
        }
    }
}

impl Started {
    /// The server, which must serve.
    #[track_caller]
    pub fn serves(self) -> Running {
        match self {
            Started::Serves(running) => running,
            Started::Ended { code, said } => panic!("it ended with {code:?}: {said}"),
        }
    }
}

impl Running {
    /// Everything that it has said on standard error.
    pub fn said(&self) -> String {
        read(&self.said)
    }

    pub fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// A new session.
    pub fn session(&self) -> io::Result<Session> {
        Session::connect(self.address, &ConnectRequest::new_session(10_000))
    }

    /// SIGTERM; returns the exit code and all that it said.
    pub fn stop(mut self) -> (Option<i32>, String) {
        kill_process(self.id(), Signal::TERM).expect("it runs");
        let code = self.child.wait().expect("it ends").code();
        (code, self.said())
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Waits for it to end by itself.
    pub fn ended(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().expect("it ends").code();
        (code, self.said())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(file: &NamedTempFile) -> String {
    String::from_utf8_lossy(&fs::read(file.path()).expect("its messages")).into_owned()
}
