//! Directories, ports and files of an ensemble in one directory: `DIR/server-N/` with `zoo.cfg`, `data/`,
//! `data/myid` and `log`.

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use crate::cli::EnsembleArgs;

/// Between the ports of one use and those of the next; so many servers there may be.
const STRIDE: u16 = 100;

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Clients,
    Learners,
    Election,
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Use::Clients => "clients",
            Use::Learners => "learners",
            Use::Election => "election",
        })
    }
}

/// One server of the ensemble.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its number, from 1.
    pub id: u16,
    /// Whether it follows without a vote.
    pub observer: bool,
    /// Its directory.
    pub directory: PathBuf,
    base_port: u16,
}

impl Place {
    fn port(&self, of: Use) -> u16 {
        let block = match of {
            Use::Clients => 0,
            Use::Learners => 1,
            Use::Election => 2,
        };
        self.base_port + block * STRIDE + self.id - 1
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port(Use::Clients)))
    }

    /// Its configuration.
    pub fn config_path(&self) -> PathBuf {
        self.directory.join("zoo.cfg")
    }

    /// What it prints.
    pub fn log_path(&self) -> PathBuf {
        self.directory.join("log")
    }

    fn data_dir(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn line(&self) -> String {
        let role = if self.observer { "observer" } else { "participant" };
        let (learners, election) = (self.port(Use::Learners), self.port(Use::Election));
        format!("server.{}=127.0.0.1:{learners}:{election}:{role}", self.id)
    }
}

/// All servers of the ensemble.
#[derive(Clone, Debug)]
pub struct Layout {
    /// By number.
    pub places: Vec<Place>,
}

impl Layout {
    /// Places the servers that the command line asks for.
    ///
    /// # Errors
    ///
    /// There are too many, a port is too high, or the directory's name cannot stand in a configuration.
    pub fn new(args: &EnsembleArgs) -> Result<Self, String> {
        let (servers, observers) = (args.servers.get(), args.observers);
        let all = servers.saturating_add(observers);
        if all > STRIDE {
            return Err(format!("{all} servers are too many: {STRIDE} at most"));
        }
        if servers == 1 && observers > 0 {
            return Err("observers need --servers 2 or more: one server stands alone".to_owned());
        }
        let highest = u32::from(args.base_port) + u32::from(2 * STRIDE + all - 1);
        if args.base_port == 0 || highest > u32::from(u16::MAX) {
            return Err(format!("--base-port {}: ports up to {highest} are needed", args.base_port));
        }
        let directory = std::path::absolute(&args.dir)
            .map_err(|error| format!("--dir {}: {error}", args.dir.display()))?;
        let name = directory.to_str().ok_or_else(|| format!("--dir {}: not UTF-8", directory.display()))?;
        if name.contains(char::is_control) {
            return Err(format!("--dir {}: has a control character", name.escape_debug()));
        }
        let place = |id| Place {
            id,
            observer: id > servers,
            directory: directory.join(format!("server-{id}")),
            base_port: args.base_port,
        };
        Ok(Layout { places: (1..=all).map(place).collect() })
    }

    /// What a client is given to connect to.
    pub fn connect_string(&self) -> String {
        let addresses: Vec<String> = self.places.iter().map(|place| place.address().to_string()).collect();
        addresses.join(",")
    }

    /// Looks whether anybody listens where the servers shall.
    ///
    /// # Errors
    ///
    /// Which port is taken, and what it is for.
    pub fn check_ports(&self) -> Result<(), String> {
        for place in &self.places {
            for of in [Use::Clients, Use::Learners, Use::Election] {
                let port = place.port(of);
                TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| {
                    format!("port {port} ({of} of server {}): {error}; try another --base-port", place.id)
                })?;
            }
        }
        Ok(())
    }

    /// Writes what is missing, and each `zoo.cfg` anew.
    ///
    /// # Errors
    ///
    /// A file cannot be written, or the directory has the data of an ensemble of other servers: in a larger one
    /// those who know nothing could outvote those who know.
    pub fn write(&self) -> Result<(), String> {
        for place in &self.places {
            let path = place.config_path();
            let same = match fs::read_to_string(&path) {
                Ok(before) => members(&before) == members(&self.config(place)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => true,
                Err(error) => return Err(format!("{}: {error}", path.display())),
            };
            if !same {
                return Err(format!("{} names other servers; use another --dir", path.display()));
            }
        }
        for place in &self.places {
            let write = |path: &Path, text: &str| {
                fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
            };
            let data = place.data_dir();
            fs::create_dir_all(&data).map_err(|error| format!("{}: {error}", data.display()))?;
            write(&data.join("myid"), &format!("{}\n", place.id))?;
            write(&place.config_path(), &self.config(place))?;
        }
        Ok(())
    }

    fn config(&self, place: &Place) -> String {
        // Java's properties take a backslash for the beginning of an escape.
        let data = place.data_dir().display().to_string().replace('\\', "\\\\");
        let mut text = format!(
            "# Written by `ringkeeper ensemble` at each start.\n\
             tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={data}\n\
             clientPort={}\nclientPortAddress=127.0.0.1\n4lw.commands.whitelist=*\n",
            place.port(Use::Clients)
        );
        for place in &self.places {
            text.push_str(&place.line());
            text.push('\n');
        }
        text
    }
}

/// The servers that a configuration names, with their roles: what must not change under data.
fn members(config: &str) -> Vec<(&str, &str)> {
    let servers = config.lines().filter(|line| line.starts_with("server."));
    servers.filter_map(|line| Some((line.split_once('=')?.0, line.rsplit_once(':')?.1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::load_config;
    use crate::config::Role;
    use std::num::NonZeroU16;

    fn args(servers: u16, observers: u16, base_port: u16, dir: &Path) -> EnsembleArgs {
        let servers = NonZeroU16::new(servers).expect("a test has servers");
        EnsembleArgs { servers, observers, base_port, dir: dir.to_owned() }
    }

    #[test]
    fn each_server_reads_its_place_from_what_is_written() {
        let home = tempfile::tempdir().expect("a directory");
        let dir = home.path().join("with space=and\\backslash #1");
        let layout = Layout::new(&args(3, 1, 2181, &dir)).expect("it can be laid out");
        layout.write().expect("it can be written");
        assert_eq!(layout.connect_string(), "127.0.0.1:2181,127.0.0.1:2182,127.0.0.1:2183,127.0.0.1:2184");
        for place in &layout.places {
            let (config, notices) = load_config(Some(&place.config_path()), &[]).expect("it can be read");
            assert!(notices.is_empty(), "{notices:?}");
            assert_eq!(config.storage.data_dir, place.data_dir());
            assert_eq!(config.listen.address.to_string(), place.address().to_string());
            assert_eq!(config.ensemble.my_id.map(|id| id.0), Some(u64::from(place.id)));
            assert_eq!(config.ensemble.membership.count(Role::Participant), 3);
            assert_eq!(config.ensemble.membership.count(Role::Observer), 1);
        }
    }

    #[test]
    fn no_two_ports_are_the_same() {
        let layout = Layout::new(&args(90, 10, 2181, Path::new("d"))).expect("it can be laid out");
        let uses = [Use::Clients, Use::Learners, Use::Election];
        let ports = layout.places.iter().flat_map(|place| uses.map(|of| place.port(of)));
        assert_eq!(ports.collect::<std::collections::BTreeSet<_>>().len(), 300);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_reason() {
        let refused = |servers, observers, port, dir: &str| {
            Layout::new(&args(servers, observers, port, Path::new(dir))).expect_err("it cannot be")
        };
        assert!(refused(101, 0, 2181, "d").contains("too many"));
        assert!(refused(65_535, 65_535, 2181, "d").contains("too many"));
        assert!(refused(1, 1, 2181, "d").contains("--servers 2"));
        assert!(refused(3, 0, 65_400, "d").contains("--base-port 65400"));
        assert!(refused(3, 0, 0, "d").contains("--base-port 0"));
        assert!(refused(3, 0, 2181, "a\nb").contains("control character"));
    }

    #[test]
    fn data_of_other_servers_is_not_touched() {
        let home = tempfile::tempdir().expect("a directory");
        let layout = |servers, observers, port| {
            Layout::new(&args(servers, observers, port, home.path())).expect("it can be laid out")
        };
        layout(3, 0, 2181).write().expect("it can be written");
        layout(3, 0, 3181).write().expect("other ports are the same ensemble");
        for (servers, observers) in [(5, 0), (2, 0), (2, 1), (3, 1)] {
            let error = layout(servers, observers, 2181).write().expect_err("another ensemble");
            assert!(error.contains("names other servers"), "{error}");
        }
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        let home = tempfile::tempdir().expect("a directory");
        let taken = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = taken.local_addr().expect("it is bound").port();
        let layout = Layout::new(&args(1, 0, port - STRIDE, home.path())).expect("it can be laid out");
        let error = layout.check_ports().expect_err("one is taken");
        assert!(error.contains(&format!("port {port} (learners of server 1)")), "{error}");
    }
}
