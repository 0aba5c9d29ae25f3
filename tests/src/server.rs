//! Real servers as child processes: a Java ZooKeeper and our own binary behind one type.
//!
//! Both get the same `zoo.cfg` on a free loopback port and a data directory of their own, so that
//! whatever differs between two runs is the server and nothing else. A server ends with its value.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::{Output, POLL_PAUSE, Process, free_port};
use crate::wire::{Client, ConnectRequest, Received};

/// Debian's ZooKeeper (packages `zookeeper` and `libzookeeper-java`); its manifest names the rest.
const DEBIAN_CLASS_PATH: &str = "/usr/share/java/zookeeper.jar";

/// How long a server may take to answer; generous, for a busy machine that starts a JVM.
const READY_MAX: Duration = Duration::from_secs(90);

/// How long a handshake waits; a server that is not quite up may take it and never answer.
const HANDSHAKE_PATIENCE: Duration = Duration::from_millis(200);

/// Which server to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A Java ZooKeeper from this class path.
    ZooKeeper {
        /// Colon-separated jars, as `java -cp` takes them.
        class_path: String,
    },
    /// Our own binary, `ringkeeper serve zoo.cfg`.
    Ringkeeper,
}

impl Kind {
    /// Debian's ZooKeeper 3.8.0.
    pub fn debian() -> Self {
        Kind::ZooKeeper { class_path: DEBIAN_CLASS_PATH.to_owned() }
    }

    /// What runs a server of this kind on a `zoo.cfg`.
    ///
    /// # Errors
    /// Our own binary cannot be built.
    pub fn command(&self, options: &Options, config: &Path) -> io::Result<Command> {
        let flags = options.properties.iter().map(|p| format!("-D{p}"));
        let mut command = match self {
            Kind::ZooKeeper { class_path } => {
                let mut command = Command::new("java");
                command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
                command.args(["-XX:-UsePerfData", "-Djava.awt.headless=true"]).args(flags);
                command.args(["-cp", class_path, "org.apache.zookeeper.server.quorum.QuorumPeerMain"]);
                command
            }
            Kind::Ringkeeper => {
                let mut command = Command::new(ringkeeper_binary()?);
                command.arg("serve").env("SERVER_JVMFLAGS", flags.collect::<Vec<_>>().join(" "));
                if let Some(messages) = &options.messages {
                    command.env("RUST_LOG", messages);
                }
                command
            }
        };
        command.arg(config);
        Ok(command)
    }
}

/// What a server is started with beyond the defaults that every test shares.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Lines appended to `zoo.cfg`; a key given here replaces the harness's own line.
    pub config: Vec<String>,
    /// Java system properties, `name=value`; our server reads them from `SERVER_JVMFLAGS`.
    pub properties: Vec<String>,
    /// What our server says beyond its notices, as `RUST_LOG` filters it.
    pub messages: Option<String>,
}

/// A server that runs, or ran: its data directory outlives the process until the value is dropped.
#[derive(Debug)]
pub struct Server {
    /// Which implementation this is.
    pub kind: Kind,
    /// The client port on 127.0.0.1; a restart keeps it.
    pub port: u16,
    /// Where `dataDir` points.
    pub data_dir: PathBuf,
    options: Options,
    home: TempDir,
    process: Option<Process>,
    output: Arc<Output>,
}

impl Server {
    /// Starts a server on an empty data directory and waits until it serves.
    ///
    /// # Errors
    /// The process cannot be spawned, ends early, or answers no handshake in time; the message
    /// carries the tail of the server's output.
    pub fn start(kind: Kind, options: Options) -> io::Result<Self> {
        let home = tempfile::Builder::new().prefix("ringkeeper-test-").tempdir()?;
        let data_dir = home.path().join("data");
        fs::create_dir(&data_dir)?;
        let port = free_port()?;
        let output = Arc::default();
        let mut server = Server { kind, port, data_dir, options, home, process: None, output };
        server.write_config()?;
        server.launch()?;
        Ok(server)
    }

    /// The address that clients connect to.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The process id while the server runs.
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// The `zoo.cfg` that the server was started with.
    pub fn config_path(&self) -> PathBuf {
        self.home.path().join("zoo.cfg")
    }

    /// Everything that the server has printed so far.
    pub fn output(&self) -> String {
        self.output.text()
    }

    /// Waits until the server has printed `text`.
    ///
    /// # Errors
    /// It does not in that time; the message has the tail of what it printed.
    pub fn await_output(&self, text: &str, patience: Duration) -> io::Result<()> {
        self.output.wait_for(text, patience)
    }

    /// Asks the server to end (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// It does not end in time; it is killed then.
    pub fn stop(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.take().map(Process::stop).transpose()
    }

    /// Ends the server at once (SIGKILL to its process group).
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts the server again on the data that it left.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn restart(&mut self) -> io::Result<()> {
        self.kill();
        self.launch()
    }

    /// The exit status if the process has ended by itself.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.process.as_mut()?.exited()
    }

    /// Sends a four-letter word and returns the answer.
    ///
    /// # Errors
    /// The connection is refused or breaks.
    pub fn four_letter_word(&self, word: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.address(), Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(word.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// The process's resident set in KiB, from `/proc/PID/status`.
    ///
    /// # Errors
    /// The server does not run, or the kernel's file lacks the line.
    pub fn resident_kib(&self) -> io::Result<u64> {
        self.memory_kib("VmRSS:")
    }

    /// The largest that the process's resident set has been, in KiB: what [`Self::resident_kib`] would
    /// miss between two looks.
    ///
    /// # Errors
    /// As [`Self::resident_kib`].
    pub fn peak_resident_kib(&self) -> io::Result<u64> {
        self.memory_kib("VmHWM:")
    }

    fn memory_kib(&self, line: &str) -> io::Result<u64> {
        let id = self.process_id().ok_or_else(|| io::Error::other("the server does not run"))?;
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        status
            .lines()
            .find_map(|candidate| candidate.strip_prefix(line))
            .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse().ok())
            .ok_or_else(|| io::Error::other(format!("no line {line}")))
    }

    fn write_config(&self) -> io::Result<()> {
        let own = [
            ("tickTime", "2000".to_owned()),
            ("dataDir", self.data_dir.display().to_string()),
            ("clientPort", self.port.to_string()),
            ("clientPortAddress", "127.0.0.1".to_owned()),
            ("4lw.commands.whitelist", "*".to_owned()),
            ("admin.enableServer", "false".to_owned()),
        ];
        let given: Vec<&str> =
            self.options.config.iter().filter_map(|l| l.split('=').next()).map(str::trim).collect();
        let mut text = String::new();
        for (key, value) in own.iter().filter(|(key, _)| !given.contains(key)) {
            text.push_str(&format!("{key}={value}\n"));
        }
        for line in &self.options.config {
            text.push_str(line);
            text.push('\n');
        }
        fs::write(self.config_path(), text)
    }

    fn launch(&mut self) -> io::Result<()> {
        let mut command = self.kind.command(&self.options, &self.config_path())?;
        command.current_dir(self.home.path());
        self.process = Some(Process::spawn(&command, &self.output)?);
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + READY_MAX;
        loop {
            if let Some(status) = self.exited() {
                let code =
                    status.code().map_or_else(|| format!("signal {:?}", status.signal()), |c| c.to_string());
                return Err(io::Error::other(format!("server ended with {code}:\n{}", self.output_tail())));
            }
            if self.answers_handshakes() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("server never became ready:\n{}", self.output_tail())));
            }
            std::thread::sleep(POLL_PAUSE);
        }
    }

    /// Whether a handshake gets an answer. It asks for a session that does not exist, which is
    /// refused without a transaction; `ruok` would not do, for ZooKeeper answers it before it serves.
    fn answers_handshakes(&self) -> bool {
        let mut request = ConnectRequest::new_session(10_000);
        request.session_id = 1;
        Client::open(self.address()).is_ok_and(|mut client| {
            client.send(&[request.encode()]).is_ok()
                && matches!(client.receive(HANDSHAKE_PATIENCE), Received::Frame(_))
        })
    }

    /// The last lines of the output, for an error message.
    pub fn output_tail(&self) -> String {
        self.output.tail()
    }
}

/// Our server's binary: `RINGKEEPER_BIN`, or built once by cargo.
///
/// # Errors
/// The build fails; the message is the compiler's.
pub fn ringkeeper_binary() -> io::Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = BINARY.get_or_init(|| match std::env::var_os("RINGKEEPER_BIN") {
        Some(path) => Ok(PathBuf::from(path)),
        None => build_ringkeeper(),
    });
    found.as_deref().map_err(|message| io::Error::other(message.clone()))
}

fn build_ringkeeper() -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--package", "ringkeeper", "--bin", "ringkeeper"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .map_err(|e| format!("cargo: {e}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    // One JSON object a line; the artifact's carries "executable":"PATH".
    let text = String::from_utf8_lossy(&output.stdout);
    let key = "\"executable\":\"";
    text.lines()
        .filter_map(|line| line.split_once(key))
        .filter_map(|(_, rest)| rest.split_once('"'))
        .map(|(path, _)| PathBuf::from(path))
        .next_back()
        .ok_or_else(|| "cargo named no executable".to_owned())
}
