//! What every experiment has in common: which servers it measures, for how long, and where its results go.

use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::servers::{self, Kind};
use crate::workload::Settings;
use clap::{Args, ValueEnum};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// The most servers of an ensemble on one machine.
const SERVERS_MAX: usize = 9;

/// A server that an experiment can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// This project's, of `--binary`.
    Ringkeeper,
    /// A Java ZooKeeper, of `--peer-class-path`.
    Zookeeper,
    /// Another build of this project's, of `--peer-binary`.
    Other,
    /// The ceiling.
    Hollow,
}

/// What every experiment is asked.
#[derive(Args)]
#[group(id = "common")]
pub struct Options {
    /// Measure servers that run already, instead of starting any. Their CPU and memory are known on loopback
    /// addresses only.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', conflicts_with = "subjects")]
    server: Vec<String>,
    /// Which servers are started and measured, in turn; hollow is left out where it can do nothing. Without
    /// it: ringkeeper, zookeeper (with --peer-binary: other) and hollow.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SERVERS")]
    subjects: Vec<Which>,
    /// Each measurement.
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    pub seconds: f64,
    /// Load before each.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub warmup: f64,
    /// Turns of each server; 5 in compare, 3 in failover, else 1.
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Write all figures as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    #[command(flatten)]
    pub start: servers::Options,
}

/// Servers of one kind.
#[derive(Clone, Debug)]
pub enum Subject {
    /// They run already.
    Running(Vec<SocketAddr>),
    /// They are started.
    Start(Kind),
}

impl Subject {
    /// Its name in a table.
    pub fn name(&self) -> String {
        match self {
            Subject::Running(addresses) => {
                addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
            }
            Subject::Start(kind) => kind.name().to_owned(),
        }
    }

    /// `count` servers of it.
    ///
    /// # Errors
    /// They do not start.
    pub fn start(&self, count: usize, options: &Options) -> Result<Cluster, Failure> {
        match self {
            Subject::Running(addresses) => Ok(Cluster::Running(addresses.clone())),
            Subject::Start(kind) => Cluster::start(kind, count, &options.start),
        }
    }
}

impl Options {
    /// Turns of each server, where nobody says `usual` ones.
    pub fn rounds(&self, usual: usize) -> usize {
        self.rounds.unwrap_or(usual)
    }

    /// The servers to measure. `hollow`: whether the ceiling makes sense here.
    ///
    /// # Errors
    /// Names the option that makes no sense.
    pub fn subjects(&self, hollow: bool) -> Result<Vec<Subject>, Failure> {
        if self.rounds == Some(0) {
            return Err(Failure::Option("--rounds 0: expected 1 or more".into()));
        }
        Settings {
            warmup_s: self.warmup,
            duration_s: self.seconds,
            ..Settings::of(vec![([0; 4], 0).into()])
        }
        .check()?;
        if !self.server.is_empty() {
            let addresses = self.server.iter().map(|server| resolve(server)).collect::<Result<_, _>>()?;
            return Ok(vec![Subject::Running(addresses)]);
        }
        if self.subjects.is_empty() {
            let kinds = self.start.kinds().into_iter().chain(hollow.then_some(Kind::Hollow));
            return Ok(kinds.map(Subject::Start).collect());
        }
        let mut subjects = Vec::new();
        for which in &self.subjects {
            subjects.push(Subject::Start(match which {
                Which::Ringkeeper => self.start.ringkeeper(),
                Which::Zookeeper => self.start.zookeeper(),
                Which::Other => self.start.other().ok_or_else(|| {
                    Failure::Option("--subjects other: expected --peer-binary with its file".into())
                })?,
                Which::Hollow if !hollow => continue,
                Which::Hollow => Kind::Hollow,
            }));
        }
        match subjects.is_empty() {
            true => Err(Failure::Option("--subjects: hollow alone can do nothing here".into())),
            false => Ok(subjects),
        }
    }

    /// An experiment that starts servers of its own choice can measure no others.
    ///
    /// # Errors
    /// `--server` or `--subjects` is given; `instead` tells what to give.
    pub fn no_choice(&self, instead: &str) -> Result<(), Failure> {
        let given = [("--server", self.server.is_empty()), ("--subjects", self.subjects.is_empty())];
        given.into_iter().find(|(_, is_empty)| !is_empty).map_or(Ok(()), |(option, _)| {
            Err(Failure::Option(format!("{option}: the servers are started here, and are {instead}")))
        })
    }

    /// Numbers of servers that an experiment is asked for; servers that run already are as many as they are.
    ///
    /// # Errors
    /// Names what makes no sense.
    pub fn check_counts(&self, option: &str, counts: &[usize]) -> Result<(), Failure> {
        if !self.server.is_empty() && counts.len() > 1 {
            let counts: Vec<String> = counts.iter().map(ToString::to_string).collect();
            return Err(Failure::Option(format!(
                "{option} {}: with --server the servers run already; expected one number, theirs",
                counts.join(",")
            )));
        }
        check_counts(option, counts)
    }

    /// Settings of a measurement.
    pub fn settings(&self, cluster: &Cluster) -> Settings {
        Settings {
            warmup_s: self.warmup,
            duration_s: self.seconds,
            pids: cluster.pids(),
            ..Settings::of(cluster.addresses())
        }
    }
}

/// Numbers of servers that an experiment is asked for.
///
/// # Errors
/// Names the first that makes no sense.
pub fn check_counts(option: &str, counts: &[usize]) -> Result<(), Failure> {
    let wrong = counts.iter().find(|count| !(1..=SERVERS_MAX).contains(*count));
    wrong.map_or(Ok(()), |count| {
        Err(Failure::Option(format!("{option} {count}: expected 1 to {SERVERS_MAX} servers")))
    })
}

/// The address of a server.
///
/// # Errors
/// It is none, or its host has no address.
pub fn resolve(server: &str) -> Result<SocketAddr, Failure> {
    let mut found = server
        .to_socket_addrs()
        .map_err(|error| Failure::Option(format!("--server {server}: expected HOST:PORT ({error})")))?;
    found.next().ok_or_else(|| Failure::Option(format!("--server {server}: the host has no address")))
}
