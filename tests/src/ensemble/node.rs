//! One server of an ensemble.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{Output, Process, free_port};
use crate::server::{Kind, Options, ringkeeper_binary};

/// How long a four-letter word waits for its answer: a server that is elected just now may hold it back.
const WORD_PATIENCE: Duration = Duration::from_secs(2);

/// What a server does in the ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Votes.
    Participant,
    /// Follows without a vote.
    Observer,
}

/// What a server says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It leads.
    Leader,
    /// It follows, and votes.
    Follower,
    /// It follows without a vote.
    Observer,
    /// It has no leader, and serves reads.
    ReadOnly,
}

/// The ports of a server on 127.0.0.1; it keeps them over all its starts.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// For clients.
    pub client: u16,
    /// For learners.
    pub quorum: u16,
    /// For votes.
    pub election: u16,
}

impl Ports {
    /// Three ports that are free now.
    ///
    /// # Errors
    /// There are none.
    pub fn free() -> io::Result<Self> {
        Ok(Ports { client: free_port()?, quorum: free_port()?, election: free_port()? })
    }

    /// The server's line in everyone's `zoo.cfg`, with the port for clients or without.
    pub fn line(&self, id: u8, role: Role, with_client: bool) -> String {
        let role = match role {
            Role::Participant => "participant",
            Role::Observer => "observer",
        };
        let client = if with_client { format!(";127.0.0.1:{}", self.client) } else { String::new() };
        format!("server.{id}=127.0.0.1:{}:{}:{role}{client}", self.quorum, self.election)
    }
}

/// What a server that takes another's place finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// The data directory of the one before, as it is.
    Kept,
    /// Nothing but its number.
    Empty,
    /// What `ringkeeper export` makes of the one before.
    Exported,
}

/// A server that runs, or may run again.
#[derive(Debug)]
pub struct Node {
    /// Its number in the ensemble.
    pub id: u8,
    /// Which implementation it is.
    pub kind: Kind,
    /// Whether it votes.
    pub role: Role,
    /// Where it is reached.
    pub ports: Ports,
    options: Options,
    home: TempDir,
    /// How many data directories it has had; the last is the current one.
    directories: usize,
    /// Whether the current one was empty when the others had data.
    began_empty: bool,
    process: Option<Process>,
    paused: bool,
    output: Arc<Output>,
}

impl Node {
    /// Makes its directory with `zoo.cfg` and `myid`; `options.config` has the lines of all servers.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn new(id: u8, kind: Kind, role: Role, ports: Ports, options: Options) -> io::Result<Self> {
        let home = tempfile::Builder::new().prefix(&format!("ringkeeper-test-{id}-")).tempdir()?;
        let output = Arc::default();
        let mut node = Node {
            id,
            kind,
            role,
            ports,
            options,
            home,
            directories: 0,
            began_empty: false,
            process: None,
            paused: false,
            output,
        };
        node.new_data_dir()?;
        Ok(node)
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.client))
    }

    /// Where `dataDir` points.
    pub fn data_dir(&self) -> PathBuf {
        self.home.path().join(format!("data-{}", self.directories))
    }

    /// The `zoo.cfg` that it is started with.
    pub fn config_path(&self) -> PathBuf {
        self.home.path().join("zoo.cfg")
    }

    /// Its directory: `zoo.cfg`, what ZooKeeper writes beside it, and the data directories.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Whether its process runs and is not paused.
    pub fn is_awake(&self) -> bool {
        self.process.is_some() && !self.paused
    }

    /// Whether its tree came from another server as a whole.
    pub fn began_empty(&self) -> bool {
        self.began_empty
    }

    /// Everything that it has printed, over all its starts.
    pub fn output(&self) -> String {
        self.output.text()
    }

    /// The end of its output, for an error message.
    pub fn output_tail(&self) -> String {
        self.output.tail()
    }

    /// Starts it, and waits for nothing.
    ///
    /// # Errors
    /// It runs already, or cannot be run.
    pub fn start(&mut self) -> io::Result<()> {
        if self.process.is_some() {
            return Err(io::Error::other("it runs already"));
        }
        let mut command = self.kind.command(&self.options, &self.config_path())?;
        command.current_dir(self.home.path());
        self.process = Some(Process::spawn(&command, &self.output)?);
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn stop(&mut self) -> io::Result<()> {
        self.paused = false;
        self.process.take().map_or(Ok(()), |process| process.stop().map(|_| ()))
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&mut self) {
        self.paused = false;
        self.process = None;
    }

    /// Takes the processor from it (SIGSTOP): its connections stay open and silent.
    pub fn pause(&mut self) {
        if let Some(process) = &self.process {
            process.signal(Signal::STOP);
            self.paused = true;
        }
    }

    /// Gives the processor back (SIGCONT).
    pub fn resume(&mut self) {
        if let Some(process) = &self.process {
            process.signal(Signal::CONT);
            self.paused = false;
        }
    }

    /// The exit status if it has ended by itself.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.process.as_mut()?.exited()
    }

    /// Puts a server of another kind in its place, which is to be started then. It must not run.
    ///
    /// # Errors
    /// Its data cannot be made.
    pub fn replace(&mut self, kind: Kind, data: Data) -> io::Result<()> {
        let before = self.data_dir();
        match data {
            Data::Kept => {}
            Data::Empty => self.new_data_dir()?,
            Data::Exported => {
                self.new_data_dir()?;
                let to = self.data_dir();
                let mut export = Command::new(ringkeeper_binary()?);
                let made = export.arg("export").arg(before).arg("--to").arg(to).output()?;
                if !made.status.success() {
                    return Err(io::Error::other(String::from_utf8_lossy(&made.stderr).into_owned()));
                }
            }
        }
        self.kind = kind;
        self.began_empty = match data {
            Data::Kept => self.began_empty,
            Data::Empty => true,
            Data::Exported => false,
        };
        Ok(())
    }

    /// What it says that it is; `None` while it does not serve.
    pub fn mode(&self) -> Option<Mode> {
        let answer = self.four_letter_word("srvr").ok()?;
        match answer.lines().find_map(|line| line.strip_prefix("Mode: "))?.trim() {
            "leader" => Some(Mode::Leader),
            "follower" => Some(Mode::Follower),
            "observer" => Some(Mode::Observer),
            "read-only" => Some(Mode::ReadOnly),
            _ => None,
        }
    }

    /// The newest transaction in its tree, as `srvr` has it.
    pub fn zxid(&self) -> Option<u64> {
        let answer = self.four_letter_word("srvr").ok()?;
        let zxid = answer.lines().find_map(|line| line.strip_prefix("Zxid: 0x"))?;
        u64::from_str_radix(zxid.trim(), 16).ok()
    }

    /// A line of `mntr`, such as `zk_synced_followers`.
    pub fn measure(&self, name: &str) -> Option<String> {
        let answer = self.four_letter_word("mntr").ok()?;
        let line = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('\t'))?;
        Some(line.trim().to_owned())
    }

    /// Sends a four-letter word and returns the answer.
    ///
    /// # Errors
    /// It is paused, or the connection is refused, breaks, or stays silent.
    pub fn four_letter_word(&self, word: &str) -> io::Result<String> {
        if !self.is_awake() {
            return Err(io::Error::other("it does not run"));
        }
        let mut stream = TcpStream::connect_timeout(&self.address(), WORD_PATIENCE)?;
        stream.set_read_timeout(Some(WORD_PATIENCE))?;
        stream.write_all(word.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn new_data_dir(&mut self) -> io::Result<()> {
        self.directories += 1;
        fs::create_dir(self.data_dir())?;
        fs::write(self.data_dir().join("myid"), format!("{}\n", self.id))?;
        self.write_config()
    }

    fn write_config(&self) -> io::Result<()> {
        let own = [
            format!("dataDir={}", self.data_dir().display()),
            "4lw.commands.whitelist=*".to_owned(),
            "admin.enableServer=false".to_owned(),
            "maxClientCnxns=0".to_owned(),
        ];
        let peer_type = (self.role == Role::Observer).then(|| "peerType=observer".to_owned());
        let members_have_it = self.options.config.contains(&self.ports.line(self.id, self.role, true));
        let client = (!members_have_it)
            .then(|| format!("clientPort={}\nclientPortAddress=127.0.0.1", self.ports.client));
        let given = self.options.config.iter().cloned();
        let lines: Vec<String> = own.into_iter().chain(peer_type).chain(client).chain(given).collect();
        fs::write(self.config_path(), lines.join("\n") + "\n")
    }
}

/// With `ENSEMBLE_KEEP` set, what a failed test leaves: its directory, with its output beside the data.
impl Drop for Node {
    fn drop(&mut self) {
        if !thread::panicking() || std::env::var_os("ENSEMBLE_KEEP").is_none() {
            return;
        }
        self.process = None;
        self.home.disable_cleanup(true);
        let output = self.home.path().join("output");
        if let Err(error) = fs::write(&output, self.output()) {
            eprintln!("{}: {error}", output.display());
        }
        eprintln!("server {} is kept: {}", self.id, self.home.path().display());
    }
}
