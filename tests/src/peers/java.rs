//! Java servers of an ensemble, as child processes.

use super::{POLL_PAUSE, free_ports, wait_for};
use crate::wire::Session;
use ringkeeper_engine::id::ServerId;
use ringkeeper_quorum::members::{Members, Role};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Debian's ZooKeeper, or what the environment names.
const DEBIAN_CLASS_PATH: &str = "/usr/share/java/zookeeper.jar";

/// One of them; it ends when it is dropped.
pub struct Java {
    /// Its number.
    pub id: ServerId,
    client_port: u16,
    home: TempDir,
    child: Option<Child>,
}

impl Java {
    /// Starts it on an empty directory, and does not wait.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn start(id: u8, members: &Members) -> Java {
        let home = tempfile::Builder::new().prefix("ringkeeper-java-").tempdir().expect("a directory");
        let client_port = free_ports(1)[0];
        let data = home.path().join("data");
        fs::create_dir(&data).expect("a directory");
        fs::write(data.join("myid"), id.to_string()).expect("myid");
        let id = ServerId(id);
        let observer = members.servers()[&id].role == Role::Observer;
        let servers = members.to_string();
        let servers: Vec<&str> = servers.lines().filter(|line| !line.starts_with("version=")).collect();
        let text = format!(
            "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort={client_port}\n\
             clientPortAddress=127.0.0.1\nadmin.enableServer=false\n4lw.commands.whitelist=*\n\
             maxClientCnxns=0\n{}{}\n",
            data.display(),
            if observer { "peerType=observer\n" } else { "" },
            servers.join("\n"),
        );
        fs::write(home.path().join("zoo.cfg"), text).expect("zoo.cfg");
        let mut java = Java { id, client_port, home, child: None };
        java.restart();
        java
    }

    /// Starts it again on the data that it left.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn restart(&mut self) {
        self.kill();
        let class_path = std::env::var("REFERENCE_CLASS_PATH").unwrap_or_else(|_| DEBIAN_CLASS_PATH.into());
        let log = fs::File::options().create(true).append(true).open(self.log_path()).expect("a log");
        // Killed by the kernel when the test dies without unwinding, as crate::server does it.
        let child = Command::new("setpriv")
            .args(["--pdeathsig=KILL", "--", "java", "-Xmx192m", "-XX:+UseSerialGC"])
            .args(["-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Djava.awt.headless=true"])
            .args(["-cp", &class_path, "org.apache.zookeeper.server.quorum.QuorumPeerMain", "zoo.cfg"])
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("java"));
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn log_path(&self) -> PathBuf {
        self.home.path().join("log")
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Where its clients connect.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.client_port))
    }

    /// What it says to `srvr`, if it serves: mode and zxid.
    pub fn status(&self) -> Option<(String, u64)> {
        let ask = || -> io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&self.address(), Duration::from_secs(1))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(b"srvr")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = ask().ok()?;
        let field = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name));
        let zxid = u64::from_str_radix(field("Zxid: 0x")?, 16).ok()?;
        Some((field("Mode: ")?.to_owned(), zxid))
    }

    /// Waits until it serves in this mode: `leader`, `follower` or `observer`.
    ///
    /// # Panics
    /// It does not in time.
    pub fn wait_for_mode(&self, mode: &str) {
        wait_for(&format!("server {} as {mode}:\n{}", self.id.0, self.log_tail()), || {
            self.status().filter(|(found, _)| found == mode)
        });
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// A session with it.
    ///
    /// # Panics
    /// It grants none in time.
    pub fn session(&self) -> Session {
        let new = crate::wire::ConnectRequest::new_session(30_000);
        wait_for(&format!("a session with server {}", self.id.0), || {
            let session = Session::connect(self.address(), &new).ok();
            if session.is_none() {
                std::thread::sleep(POLL_PAUSE);
            }
            session
        })
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        self.kill();
    }
}
