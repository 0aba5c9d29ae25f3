//! The command line: what can be asked, and how it turns into the configuration's input.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{self, Config, ConfigError, Notice, Override};
use crate::tools::args::{LogCommand, SnapshotCommand};

/// A server for ZooKeeper's clients and ensembles.
#[derive(Debug, Parser)]
#[command(
    name = "ringkeeper",
    version,
    about,
    after_help = "Examples:\n  \
        ringkeeper serve                     a standalone server on 127.0.0.1:2181\n  \
        ringkeeper serve /etc/zookeeper/zoo.cfg\n  \
        ringkeeper status --server 127.0.0.1:2181\n  \
        ringkeeper keys timeout              the configuration keys about time-outs"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a server until SIGTERM or SIGINT.
    #[command(
        long_about = "Run a server until SIGTERM or SIGINT.\n\n\
            Without a file: standalone on 127.0.0.1:2181, data in ./ringkeeper-data. With a file: ZooKeeper's \
            own zoo.cfg, as it is. Java's -D flags in JVMFLAGS and SERVER_JVMFLAGS are read as zkServer.sh \
            would pass them. Options override the file and the flags.",
        after_help = "Examples:\n  \
            ringkeeper serve\n  \
            ringkeeper serve zoo.cfg\n  \
            ringkeeper serve zoo.cfg --client-port 2182 --data-dir /var/lib/ringkeeper\n  \
            ringkeeper serve --set maxClientCnxns=0 --set '4lw.commands.whitelist=*'\n  \
            JVMFLAGS=-Djute.maxbuffer=4194304 ringkeeper serve zoo.cfg"
    )]
    Serve(ServeArgs),
    /// Run an ensemble of servers in this terminal, to try things out.
    #[command(
        long_about = "Run an ensemble of servers in this terminal, to try things out.\n\n\
            The servers are children of this process, on 127.0.0.1, and end with it; Ctrl-C stops them in order. \
            Server N takes clients at port P+N-1; learners and votes come in at P+99+N and P+199+N. Each has its \
            zoo.cfg, data and log in D/server-N; the next start goes on with the data. On a terminal there is a \
            line a server with its role, newest transaction and clients; elsewhere a line for each change.",
        after_help = "Examples:\n  \
            ringkeeper ensemble                          three servers, from port 2181\n  \
            ringkeeper ensemble --servers 5 --observers 1 --base-port 3181 --dir /tmp/five"
    )]
    Ensemble(EnsembleArgs),
    /// Ask a server for its mode; exit code 0 only if it answers.
    #[command(
        long_about = "Ask a server for its mode, as `zkServer.sh status` does; exit code 0 only if it answers.\n\n\
            The server is asked srvr, then stat, then isro, until one of them is answered.",
        after_help = "Examples:\n  \
            ringkeeper status                          127.0.0.1:2181\n  \
            ringkeeper status zoo.cfg                  the address that zoo.cfg has\n  \
            ringkeeper status --server '[::1]:2181'"
    )]
    Status(StatusArgs),
    /// Make a data directory of ours from a ZooKeeper's, which stays as it is.
    #[command(
        long_about = "Make a data directory of ours from a ZooKeeper's, which stays as it is.\n\n\
            The newest snapshot that is whole is read, then the logs behind it, as ZooKeeper itself would. \
            What would lose a transaction is refused: damage in the middle of a log, transactions that are \
            missing, no whole snapshot. `serve` does the same by itself where it finds a ZooKeeper's data.",
        after_help = "Examples:\n  \
            ringkeeper import /var/lib/zookeeper --to /var/lib/ringkeeper\n  \
            ringkeeper import /var/lib/zookeeper --log-dir /log/zookeeper --to /var/lib/ringkeeper"
    )]
    Import(ImportArgs),
    /// Write a data directory of ours as a ZooKeeper's.
    #[command(
        long_about = "Write a data directory of ours, on which no server runs, as a ZooKeeper's: a snapshot, and \
            a log of the transactions behind our newest checkpoint. ZooKeeper 3.5 and later start on it.",
        after_help = "Examples:\n  \
            ringkeeper export /var/lib/ringkeeper --to /var/lib/zookeeper\n  \
            ringkeeper export /var/lib/ringkeeper --to /var/lib/zookeeper --compression gzip"
    )]
    Export(ExportArgs),
    /// List the configuration keys: where each is written, its values, its meaning here.
    #[command(after_help = "Examples:\n  \
            ringkeeper keys                all keys\n  \
            ringkeeper keys autopurge      those whose names contain `autopurge`")]
    Keys {
        /// Part of a name; upper and lower case are the same.
        #[arg(default_value = "", hide_default_value = true)]
        pattern: String,
    },
    /// Show, check or count what is in transaction logs, ours or ZooKeeper's.
    #[command(
        subcommand,
        after_help = "Examples:\n  \
            ringkeeper log dump ringkeeper-data\n  \
            ringkeeper log verify /var/lib/zookeeper/version-2\n  \
            ringkeeper log stats --json ringkeeper-data"
    )]
    Log(LogCommand),
    /// Show, check, count or compare what is in checkpoints and ZooKeeper's snapshots.
    #[command(
        subcommand,
        after_help = "Examples:\n  \
            ringkeeper snapshot dump ringkeeper-data\n  \
            ringkeeper snapshot verify version-2/snapshot.100000005\n  \
            ringkeeper snapshot summary --depth 3 ringkeeper-data\n  \
            ringkeeper snapshot compare old/version-2 ringkeeper-data"
    )]
    Snapshot(SnapshotCommand),
}

/// Options of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// ZooKeeper's configuration file.
    #[arg(value_name = "ZOO.CFG")]
    pub file: Option<PathBuf>,
    /// Port for clients; 0 takes a free one.
    #[arg(long, value_name = "N")]
    pub client_port: Option<u16>,
    /// Address or host name to listen on.
    #[arg(long, value_name = "A")]
    pub client_address: Option<String>,
    /// Directory of the checkpoints, and of the log unless that has its own.
    #[arg(long, value_name = "D")]
    pub data_dir: Option<PathBuf>,
    /// Directory of the log.
    #[arg(long, value_name = "D")]
    pub data_log_dir: Option<PathBuf>,
    /// Length of a tick in milliseconds.
    #[arg(long, value_name = "MS")]
    pub tick_time: Option<u32>,
    /// Threads that serve clients; by default one less than the machine has cores.
    #[arg(long, value_name = "N")]
    pub cores: Option<NonZeroUsize>,
    /// Any configuration key; may be given several times. See `ringkeeper keys`.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,
    /// End when this process, which must be our parent, ends; `ringkeeper ensemble` says so to its servers.
    #[arg(long, value_name = "PID", hide = true)]
    pub end_with: Option<u32>,
}

/// Options of `ensemble`.
#[derive(Debug, Args)]
pub struct EnsembleArgs {
    /// Servers that vote; an odd number bears as many failures as the even one above it.
    #[arg(long, value_name = "N", default_value = "3")]
    pub servers: NonZeroU16,
    /// Servers that follow without a vote.
    #[arg(long, value_name = "N", default_value_t)]
    pub observers: u16,
    /// The port of the first server's clients.
    #[arg(long, value_name = "P", default_value_t = 2181)]
    pub base_port: u16,
    /// Where configurations, data and logs are kept.
    #[arg(long, value_name = "D", default_value = "ringkeeper-ensemble")]
    pub dir: PathBuf,
}

/// Options of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The configuration file of the server to ask.
    #[arg(value_name = "ZOO.CFG", conflicts_with = "server")]
    pub file: Option<PathBuf>,
    /// The server to ask; an IPv6 address stands in brackets.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    pub server: Option<(String, u16)>,
}

/// Options of `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// ZooKeeper's dataDir, which has a directory version-2.
    #[arg(value_name = "DATADIR")]
    pub from: PathBuf,
    /// ZooKeeper's dataLogDir, if it has one.
    #[arg(long, value_name = "D")]
    pub log_dir: Option<PathBuf>,
    /// The dataDir to make.
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// The dataLogDir to make, if the log is to have its own.
    #[arg(long, value_name = "D")]
    pub to_log_dir: Option<PathBuf>,
    /// Print what was done as a JSON value.
    #[arg(long)]
    pub json: bool,
}

/// Options of `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Our dataDir.
    #[arg(value_name = "DIR")]
    pub from: PathBuf,
    /// Our dataLogDir, if the log has its own.
    #[arg(long, value_name = "D")]
    pub log_dir: Option<PathBuf>,
    /// The dataDir for ZooKeeper.
    #[arg(long, value_name = "DATADIR")]
    pub to: PathBuf,
    /// The dataLogDir for ZooKeeper, if it is to have one.
    #[arg(long, value_name = "D")]
    pub to_log_dir: Option<PathBuf>,
    /// How the snapshot is packed; ZooKeeper reads gzip and snappy from 3.6 on.
    #[arg(long, value_enum, default_value_t)]
    pub compression: Packing,
    /// Leave the tree's digest out, for a ZooKeeper with zookeeper.digest.enabled=false: from 3.9 on it reads
    /// no snapshot that has one, and a ZooKeeper with digests none that has none.
    #[arg(long)]
    pub no_digest: bool,
    /// Print what was done as a JSON value.
    #[arg(long)]
    pub json: bool,
}

/// How a snapshot is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Packing {
    /// Not at all.
    #[default]
    None,
    /// As gzip does.
    Gzip,
    /// As snappy-java does.
    Snappy,
}

impl ServeArgs {
    /// The settings that override the file's; those of an option's own override those of `--set`.
    ///
    /// # Errors
    ///
    /// A directory's name that is not UTF-8.
    pub fn overrides(&self) -> Result<Vec<Override>, String> {
        let path = |option: &str, path: &Option<PathBuf>| {
            let text = path.as_ref().map(|p| p.to_str().ok_or(p)).transpose();
            text.map_err(|p| format!("{option}: {}: not UTF-8", p.display())).map(|p| p.map(str::to_owned))
        };
        let own = [
            ("--client-port", "clientPort", self.client_port.map(|n| n.to_string())),
            ("--client-address", "clientPortAddress", self.client_address.clone()),
            ("--data-dir", "dataDir", path("--data-dir", &self.data_dir)?),
            ("--data-log-dir", "dataLogDir", path("--data-log-dir", &self.data_log_dir)?),
            ("--tick-time", "tickTime", self.tick_time.map(|n| n.to_string())),
            ("--cores", "cores", self.cores.map(|n| n.to_string())),
        ];
        let set = self.set.iter().map(|(key, value)| Override {
            option: "--set".to_owned(),
            key: key.clone(),
            value: value.clone(),
        });
        let own = own.into_iter().filter_map(|(option, key, value)| {
            Some(Override { option: option.to_owned(), key: key.to_owned(), value: value? })
        });
        Ok(set.chain(own).collect())
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    if key.trim().is_empty() {
        return Err("expected KEY=VALUE".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}

fn host_port(text: &str) -> Result<(String, u16), String> {
    let expected = || format!("expected HOST:PORT or [ADDRESS]:PORT, found `{text}`");
    let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host = match bare {
        Some(address) if address.parse::<IpAddr>().is_ok() => address,
        None if !host.is_empty() && !host.contains([':', '[', ']']) => host,
        _ => return Err(expected()),
    };
    let port = port.parse().ok().filter(|&port| port != 0).ok_or_else(expected)?;
    Ok((host.to_owned(), port))
}

/// Reads the configuration from this process's surroundings: the file, the environment, the machine's cores.
///
/// # Errors
///
/// Every reason why there is no configuration.
pub fn load_config(
    file: Option<&Path>,
    overrides: &[Override],
) -> Result<(Config, Vec<Notice>), Vec<ConfigError>> {
    let contents = match file {
        None => None,
        Some(path) => {
            let name = path.display().to_string();
            let text = |error: io::Error| format!("{name}: {error}");
            let bytes = read_bounded(path)
                .map_err(|error| vec![ConfigError { origin: None, key: None, text: text(error) }])?;
            Some((name, bytes))
        }
    };
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
        .collect();
    config::load(&config::Input {
        file: contents.as_ref().map(|(name, bytes)| config::File { name, bytes }),
        environment: &environment,
        overrides,
        cores_available: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        read: &read_bounded,
    })
}

/// Reads a configuration file; one beyond any sensible length is refused.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    const FILE_BYTES_MAX: u64 = 1 << 20;
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let text = format!("longer than {FILE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn serve(words: &[&str]) -> ServeArgs {
        let words = ["ringkeeper", "serve"].iter().chain(words);
        match Cli::try_parse_from(words).expect("the words are valid").command {
            Command::Serve(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_becomes_its_key() {
        let args = serve(&[
            "--client-port=1",
            "--client-address=::1",
            "--data-dir=/d",
            "--data-log-dir=/l",
            "--tick-time=5",
            "--cores=2",
            "--set=a=b=c",
        ]);
        let overrides: Vec<_> = args
            .overrides()
            .expect("the paths are UTF-8")
            .into_iter()
            .map(|o| format!("{} {}={}", o.option, o.key, o.value))
            .collect();
        assert_eq!(
            overrides,
            [
                "--set a=b=c",
                "--client-port clientPort=1",
                "--client-address clientPortAddress=::1",
                "--data-dir dataDir=/d",
                "--data-log-dir dataLogDir=/l",
                "--tick-time tickTime=5",
                "--cores cores=2",
            ]
        );
    }

    #[test]
    fn malformed_options_are_refused() {
        for words in [
            &["serve", "--set", "novalue"][..],
            &["serve", "--set", "=v"],
            &["serve", "--client-port", "65536"],
            &["serve", "--cores", "0"],
            &["status", "--server", "localhost"],
            &["status", "--server", "::1:2181"],
            &["status", "--server", ":2181"],
            &["status", "--server", "localhost:0"],
            &["status", "zoo.cfg", "--server", "localhost:2181"],
        ] {
            let words = ["ringkeeper"].iter().chain(words);
            assert!(Cli::try_parse_from(words.clone()).is_err(), "{words:?}");
        }
        assert_eq!(host_port("[::1]:2181"), Ok(("::1".to_owned(), 2181)));
    }
}
