//! The servers that an experiment starts, one or an ensemble: this project's binary, a Java ZooKeeper, the
//! hollow server. The first two get the same `zoo.cfg` but for the lines that the experiment is about.

use crate::etcd;
use crate::failure::Failure;
use crate::java;
use crate::wire;
use clap::Args;
use ringkeeper_engine::jute::records::{GetDataResponse, PathWatchRequest, RequestHeader};
use ringkeeper_engine::jute::{Write as _, from_bytes};
use ringkeeper_engine::op::OpCode;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to answer; a large tree takes a JVM a while.
const READY_MAX: Duration = Duration::from_secs(120);
/// How long a server may take to end after SIGTERM.
const STOP_MAX: Duration = Duration::from_secs(60);
/// Between two looks at a server that does not answer yet.
const PAUSE: Duration = Duration::from_millis(1);
/// More than this in answer to a read is no answer.
const ANSWER_BYTES_MAX: usize = 2 << 20;
/// Below the ports that the kernel gives to outgoing connections.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// Which server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This project's binary.
    Ringkeeper(PathBuf),
    /// Another build of it.
    Other(PathBuf),
    /// A Java ZooKeeper.
    ZooKeeper {
        /// As `java -cp` takes it.
        class_path: String,
        /// The most of the heap, in megabytes.
        heap_mb: u32,
    },
    /// The ceiling: this program's own `hollow`.
    Hollow,
    /// etcd, which `compare` alone has a load for.
    Etcd(PathBuf),
}

impl Kind {
    /// Its name in a table.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Ringkeeper(_) => "Ringkeeper",
            Kind::Other(_) => "other build",
            Kind::ZooKeeper { .. } => "ZooKeeper",
            Kind::Hollow => "hollow",
            Kind::Etcd(_) => "etcd",
        }
    }
}

/// The servers that an experiment starts itself.
#[derive(Args)]
#[group(id = "started-servers")]
pub struct Options {
    /// This project's server.
    #[arg(long, value_name = "FILE", default_value = "target/release/ringkeeper")]
    binary: PathBuf,
    /// Another build of it, to compare with, in the place of ZooKeeper.
    #[arg(long, value_name = "FILE")]
    peer_binary: Option<PathBuf>,
    /// The ZooKeeper to compare with, as `java -cp` takes it; empty for none.
    #[arg(long, value_name = "JARS", default_value = "/usr/share/java/zookeeper.jar")]
    peer_class_path: String,
    /// The most of ZooKeeper's heap, in megabytes.
    #[arg(long, value_name = "MB", default_value_t = 2000)]
    peer_heap_mb: u32,
    /// Where the data directories are made.
    #[arg(long, value_name = "DIRECTORY", default_value = ".")]
    pub dir: PathBuf,
    /// A further line of this project's zoo.cfg, another build's included; may be given again.
    #[arg(long, value_name = "KEY=VALUE")]
    pub config: Vec<String>,
    /// A further line of the peer's zoo.cfg, another build's or ZooKeeper's; may be given again. For another
    /// build it is in the place of --config of the same key, so the same build can be compared under two
    /// settings.
    #[arg(long, value_name = "KEY=VALUE")]
    peer_config: Vec<String>,
}

impl Options {
    /// The servers to take turns, this project's first.
    pub fn kinds(&self) -> Vec<Kind> {
        let peer = match (&self.peer_binary, &self.peer_class_path[..]) {
            (Some(_), _) => self.other(),
            (None, "") => None,
            (None, _) => Some(self.zookeeper()),
        };
        std::iter::once(self.ringkeeper()).chain(peer).collect()
    }

    /// This project's server.
    pub fn ringkeeper(&self) -> Kind {
        Kind::Ringkeeper(self.binary.clone())
    }

    /// Another build of it, if one is given.
    pub fn other(&self) -> Option<Kind> {
        self.peer_binary.clone().map(Kind::Other)
    }

    /// Further lines of a server's zoo.cfg.
    pub fn config_of(&self, kind: &Kind) -> Vec<String> {
        let key = |line: &str| line.split('=').next().unwrap_or("").trim().to_owned();
        let replaced = |line: &String| self.peer_config.iter().any(|other| key(other) == key(line));
        match kind {
            Kind::Ringkeeper(_) => self.config.clone(),
            Kind::Other(_) => {
                let kept = self.config.iter().filter(|line| !replaced(line));
                kept.chain(&self.peer_config).cloned().collect()
            }
            Kind::ZooKeeper { .. } => self.peer_config.clone(),
            Kind::Hollow | Kind::Etcd(_) => Vec::new(),
        }
    }

    /// ZooKeeper.
    pub fn zookeeper(&self) -> Kind {
        Kind::ZooKeeper { class_path: self.peer_class_path.clone(), heap_mb: self.peer_heap_mb }
    }
}

/// Resident memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// What it allocated.
    pub anonymous: u64,
    /// Pages of files that it maps, its own program's included.
    pub of_files: u64,
}

/// A server with a data directory of its own; it is killed when the value is dropped.
pub struct Server {
    kind: Kind,
    address: SocketAddr,
    /// Where its learners connect; zero of a server alone.
    quorum_port: u16,
    home: TempDir,
    child: Option<Child>,
}

impl Server {
    /// Makes a directory under `parent` and its `zoo.cfg` with the further lines `config`; starts nothing.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn prepare(kind: Kind, parent: &Path, config: &[String]) -> Result<Server, Failure> {
        let doing = |error| Failure::system("making a server's directory", error);
        let home = tempfile::Builder::new().prefix("ringkeeper-bench-").tempdir_in(parent).map_err(doing)?;
        // The server runs there, so a relative path would name another place.
        let data = home.path().join("data");
        fs::create_dir(&data).map_err(doing)?;
        let data = data.canonicalize().map_err(doing)?;
        let port = free_port()?;
        let mut text = format!(
            "tickTime=2000\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n\
             admin.enableServer=false\nmaxClientCnxns=0\n4lw.commands.whitelist=mntr\n",
            data.display()
        );
        config.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        fs::write(home.path().join("zoo.cfg"), text).map_err(doing)?;
        if matches!(kind, Kind::ZooKeeper { .. }) {
            java::write_logging(home.path())?;
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Server { kind, address, quorum_port: 0, home, child: None })
    }

    /// Makes an ensemble of servers that do not run yet.
    ///
    /// # Errors
    /// A file cannot be written, or no port is free.
    pub fn join(servers: &mut [Server]) -> Result<(), Failure> {
        let doing = |error| Failure::system("writing a server's configuration", error);
        // As zoo_sample.cfg has them.
        let mut members = "initLimit=10\nsyncLimit=5\n".to_owned();
        for (number, server) in (1..).zip(servers.iter_mut()) {
            let (peers, elections) = (free_port()?, free_port()?);
            server.quorum_port = peers;
            members.push_str(&format!("server.{number}=127.0.0.1:{peers}:{elections}\n"));
        }
        for (number, server) in (1..).zip(servers) {
            let path = server.home.path();
            fs::write(path.join("data/myid"), format!("{number}\n")).map_err(doing)?;
            let mut file = File::options().append(true).open(path.join("zoo.cfg")).map_err(doing)?;
            file.write_all(members.as_bytes()).map_err(doing)?;
        }
        Ok(())
    }

    /// Starts the process and returns how long it took until it answered a read of `path`.
    ///
    /// # Errors
    /// It cannot be started, ends, or does not answer in time.
    pub fn start(&mut self, path: &str) -> Result<Duration, Failure> {
        let begun = Instant::now();
        self.spawn()?;
        self.wait(path)?;
        Ok(begun.elapsed())
    }

    /// Starts the process.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&mut self) -> Result<(), Failure> {
        let log = File::options().create(true).append(true).open(self.home.path().join("server.log"));
        let log = log.map_err(|error| Failure::system("opening a server's output", error))?;
        let errors = log.try_clone().map_err(|error| Failure::system("opening a server's output", error))?;
        // setpriv has the kernel kill the server when this process dies, then becomes the server.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig=KILL", "--"]);
        let found = |binary: &Path| {
            let doing = || format!("looking for {}", binary.display());
            binary.canonicalize().map_err(|error| Failure::system(doing(), error))
        };
        match &self.kind {
            Kind::Ringkeeper(binary) | Kind::Other(binary) => {
                command.arg(found(binary)?).args(["serve", "zoo.cfg"]);
            }
            Kind::ZooKeeper { class_path, heap_mb } => {
                command.arg("java").arg(format!("-Xmx{heap_mb}m"));
                command.args(["-cp", &java::class_path(class_path)?]);
                command.args(["org.apache.zookeeper.server.quorum.QuorumPeerMain", "zoo.cfg"]);
            }
            Kind::Hollow => {
                let own = std::env::current_exe();
                command.arg(own.map_err(|error| Failure::system("looking for the own program", error))?);
                command.args(["hollow", "--port", &self.address.port().to_string()]);
            }
            Kind::Etcd(binary) => {
                let clients = format!("http://{}", self.address);
                let peers = format!("http://127.0.0.1:{}", free_port()?);
                command.arg(found(binary)?).args(["--name", "one", "--data-dir", "data"]);
                command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
                command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
                command.args(["--initial-cluster", &format!("one={peers}")]);
            }
        }
        command.current_dir(self.home.path()).stdin(Stdio::null()).stdout(log).stderr(errors);
        self.child = Some(command.spawn().map_err(|error| Failure::system("starting a server", error))?);
        Ok(())
    }

    /// Waits until it answers a read of `path`.
    ///
    /// # Errors
    /// It ends, or does not answer in time.
    pub fn wait(&mut self, path: &str) -> Result<(), Failure> {
        let begun = Instant::now();
        while begun.elapsed() < READY_MAX {
            let answers = match &self.kind {
                Kind::Etcd(_) => etcd::is_ready(self.address),
                _ => read_once(self.address, path).is_ok(),
            };
            if answers {
                return Ok(());
            }
            if self.child.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|end| end.is_some())) {
                return Err(Failure::system(format!("starting {}", self.kind.name()), self.output()));
            }
            std::thread::sleep(PAUSE);
        }
        Err(Failure::system(format!("waiting for {}", self.kind.name()), self.output()))
    }

    /// Ends the process at once.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; either way only its status is left to collect.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends the process in order.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn stop(&mut self) -> Result<(), Failure> {
        if self.child.is_none() {
            return Ok(());
        }
        self.signal(Signal::TERM)?;
        let Some(child) = &mut self.child else { return Ok(()) };
        let doing = |error: io::Error| Failure::system("stopping a server", error);
        let begun = Instant::now();
        while child.try_wait().map_err(doing)?.is_none() {
            if begun.elapsed() > STOP_MAX {
                return Err(Failure::system("stopping a server", "it ignores SIGTERM"));
            }
            std::thread::sleep(PAUSE);
        }
        self.child = None;
        Ok(())
    }

    /// Sends its process a signal.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let doing = "sending a signal to a server";
        let pid = self.pid().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Failure::system(doing, "it does not run"))?;
        kill_process(pid, signal).map_err(|error| Failure::system(doing, error))
    }

    /// The port that its learners connect to; zero of a server alone.
    pub fn quorum_port(&self) -> u16 {
        self.quorum_port
    }

    /// Its client port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process, while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok())
    }

    /// Its resident memory now.
    ///
    /// # Errors
    /// It does not run.
    pub fn resident(&self) -> Result<Resident, Failure> {
        let doing = "looking at a server's memory";
        let pid = self.pid().ok_or_else(|| Failure::system(doing, "it does not run"))?;
        let status = procfs::process::Process::new(pid).and_then(|process| process.status());
        let status = status.map_err(|error| Failure::system(doing, error))?;
        let bytes = |kib: Option<u64>| kib.unwrap_or(0) * 1024;
        Ok(Resident { anonymous: bytes(status.rssanon), of_files: bytes(status.rssfile) })
    }

    /// Checkpoints that it said it has written; only this project's server says so.
    pub fn checkpoints(&self) -> usize {
        let text = fs::read_to_string(self.home.path().join("server.log")).unwrap_or_default();
        text.lines().filter(|line| line.contains("checkpoint") && line.contains("written in")).count()
    }

    /// The last lines that it printed.
    pub fn output(&self) -> String {
        let text = fs::read_to_string(self.home.path().join("server.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that is free now, and that neither this process nor another of this program was given before.
fn free_port() -> Result<u16, Failure> {
    /// What keeps them: servers listen over TCP, so the port's UDP half tells other processes that somebody
    /// has it in mind.
    static GIVEN: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    for _ in 0..1000 {
        let port = fastrand::u16(PORTS);
        let Ok(reservation) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) else { continue };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            GIVEN.lock().expect("no holder panics").push(reservation);
            return Ok(port);
        }
    }
    Err(Failure::system("finding a port", "none is free"))
}

#[test]
fn no_port_is_given_twice() {
    let ports: Vec<u16> = (0..100).map(|_| free_port().expect("a port is free")).collect();
    for port in ports {
        assert!(UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_err(), "{port} is given");
    }
}

/// Opens a session and reads a node; returns the zxid of its last change.
///
/// # Errors
/// The server does not answer, or has no such node.
pub fn read_once(server: SocketAddr, path: &str) -> io::Result<i64> {
    let mut stream = TcpStream::connect_timeout(&server, Duration::from_secs(1))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(&wire::handshake(10_000))?;
    wire::read_handshake(&mut stream).map_err(|error| io::Error::other(error.to_string()))?;
    let mut frame = vec![0; 4];
    RequestHeader { xid: 1, op: OpCode::GetData.code() }.write(&mut frame);
    PathWatchRequest { path: path.into(), watch: false }.write(&mut frame);
    let length = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    stream.write_all(&frame)?;
    // Length, xid, zxid, error.
    let mut head = [0; 20];
    stream.read_exact(&mut head)?;
    let word = |at: usize| i32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if word(16) != 0 {
        return Err(io::Error::other(format!("error {}", word(16))));
    }
    let body = usize::try_from(word(0)).ok().and_then(|length| length.checked_sub(head.len() - 4));
    let body = body.filter(|bytes| *bytes <= ANSWER_BYTES_MAX);
    let mut body = vec![0; body.ok_or_else(|| io::Error::other("no node in the answer"))?];
    stream.read_exact(&mut body)?;
    let answer =
        from_bytes::<GetDataResponse<'_>>(&body).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(answer.stat.mzxid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peers_own_settings_are_in_the_place_of_those_of_both_builds() {
        let lines = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
        let options = Options {
            binary: "a".into(),
            peer_binary: Some("a".into()),
            peer_class_path: String::new(),
            peer_heap_mb: 1,
            dir: ".".into(),
            config: lines(&["cores=1", "log.groupCommit.maxDelayUs=0"]),
            peer_config: lines(&["log.groupCommit.maxDelayUs = 200"]),
        };
        assert_eq!(options.config_of(&options.ringkeeper()), options.config);
        let other = options.config_of(&options.other().unwrap());
        assert_eq!(other, lines(&["cores=1", "log.groupCommit.maxDelayUs = 200"]));
        assert_eq!(options.config_of(&options.zookeeper()), options.peer_config);
        assert!(options.config_of(&Kind::Hollow).is_empty());
    }
}
