//! What an experiment measures: servers that run already, or one or several that it starts for itself, all
//! of one kind.

use crate::failure::Failure;
use crate::local;
use crate::servers::{Kind, Options, Server};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long an ensemble may take to elect a leader that serves.
const ELECTION_MAX: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);
/// How long a server may take to say what it is.
const PATIENCE: Duration = Duration::from_secs(2);

/// One server, or an ensemble.
pub enum Cluster {
    /// Started by somebody else.
    Running(Vec<SocketAddr>),
    /// Started here, and ended with this value.
    Started(Vec<Server>),
}

impl Cluster {
    /// Starts `count` servers: one alone, or an ensemble.
    ///
    /// # Errors
    /// A server does not start, or they elect no leader.
    pub fn start(kind: &Kind, count: usize, options: &Options) -> Result<Cluster, Failure> {
        if count > 1 && *kind == Kind::Hollow {
            return Err(Failure::Option("hollow: it knows no ensemble; expected one server".into()));
        }
        let config = options.config_of(kind);
        let prepare = |_| Server::prepare(kind.clone(), &options.dir, &config);
        let mut servers = (0..count).map(prepare).collect::<Result<Vec<_>, _>>()?;
        if count > 1 {
            Server::join(&mut servers)?;
        }
        servers.iter_mut().try_for_each(Server::spawn)?;
        servers.iter_mut().try_for_each(|server| server.wait("/"))?;
        let cluster = Cluster::Started(servers);
        if count > 1 {
            cluster.await_leader()?;
        }
        Ok(cluster)
    }

    /// Client ports.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        match self {
            Cluster::Running(addresses) => addresses.clone(),
            Cluster::Started(servers) => servers.iter().map(Server::address).collect(),
        }
    }

    /// Processes, as far as they are known.
    pub fn pids(&self) -> Vec<i32> {
        match self {
            Cluster::Running(addresses) => local::processes(addresses),
            Cluster::Started(servers) => servers.iter().filter_map(Server::pid).collect(),
        }
    }

    /// Resident bytes of all processes.
    ///
    /// # Errors
    /// A process cannot be looked at, or none is known.
    pub fn resident(&self) -> Result<u64, Failure> {
        let doing = "looking at a server's memory";
        let pids = self.pids();
        if pids.is_empty() {
            return Err(Failure::system(doing, "its process is not known on this machine"));
        }
        let resident = |pid| {
            let stat = procfs::process::Process::new(pid).and_then(|process| process.stat());
            stat.map(|stat| stat.rss * procfs::page_size()).map_err(|error| Failure::system(doing, error))
        };
        pids.into_iter().map(resident).sum()
    }

    /// Which server leads, by its own word.
    ///
    /// # Errors
    /// None does for a long time.
    pub fn await_leader(&self) -> Result<usize, Failure> {
        let (addresses, begun) = (self.addresses(), Instant::now());
        while begun.elapsed() < ELECTION_MAX {
            let leads = |&address: &SocketAddr| mode(address).is_ok_and(|mode| mode == "leader");
            if let Some(leader) = addresses.iter().position(leads) {
                return Ok(leader);
            }
            std::thread::sleep(PAUSE);
        }
        Err(Failure::system("waiting for a leader", "no server says that it is"))
    }

    /// Ends a server at once, as a crash would.
    ///
    /// # Errors
    /// It is none that was started here.
    pub fn kill(&mut self, number: usize) -> Result<(), Failure> {
        self.started(number).map(Server::kill)
    }

    /// Starts a server again that was killed; it may take a while until it answers.
    ///
    /// # Errors
    /// It is none that was started here, or cannot be started.
    pub fn spawn(&mut self, number: usize) -> Result<(), Failure> {
        self.started(number)?.spawn()
    }

    /// Halts a server, as if its machine had stopped.
    ///
    /// # Errors
    /// It is none that was started here, or does not run.
    pub fn halt(&mut self, number: usize) -> Result<(), Failure> {
        self.started(number)?.signal(Signal::STOP)
    }

    /// Lets a halted server go on.
    ///
    /// # Errors
    /// It is none that was started here, or does not run.
    pub fn resume(&mut self, number: usize) -> Result<(), Failure> {
        self.started(number)?.signal(Signal::CONT)
    }

    /// The port that a server's learners connect to.
    ///
    /// # Errors
    /// It is none that was started here.
    pub fn quorum_port(&mut self, number: usize) -> Result<u16, Failure> {
        Ok(self.started(number)?.quorum_port())
    }

    fn started(&mut self, number: usize) -> Result<&mut Server, Failure> {
        match self {
            Cluster::Started(servers) => Ok(&mut servers[number]),
            Cluster::Running(_) => {
                Err(Failure::Option("--server: a server that runs already is not touched".into()))
            }
        }
    }
}

/// What a server calls itself, by its answer to `srvr`.
fn mode(server: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"srvr")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let mode = answer.lines().find_map(|line| line.strip_prefix("Mode: "));
    mode.map(str::to_owned).ok_or_else(|| std::io::Error::other("no mode"))
}
