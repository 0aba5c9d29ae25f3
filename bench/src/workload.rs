//! What a run asks: its settings, its operations, and the templates of their requests.
//!
//! Nodes are `ROOT/DIRECTORY/NAME`, a hundred to a directory. What `create` makes lies under
//! `ROOT/s-SESSION/NAME`, so that runs and clients never collide.

use crate::failure::Failure;
use crate::wire::{NODES_MAX, Path, Template};
use ringkeeper_engine::jute::Write;
use ringkeeper_engine::jute::records::{
    Acl, CreateRequest, Id, PathVersion, PathWatchRequest, SetDataRequest,
};
use ringkeeper_engine::op::{OpCode, perms};
use serde::Serialize;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The most clients: more than a machine has ports for connections to one server.
const CLIENTS_MAX: usize = 60_000;
/// The most requests in flight per client.
const DEPTH_MAX: usize = 100_000;
/// ZooKeeper's own bound of a request (`jute.maxbuffer`), less room for path and header.
const VALUE_BYTES_MAX: usize = 1_000_000;
/// The longest warm-up or measurement.
const SECONDS_MAX: f64 = 86_400.0;

/// One kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// setData, any version.
    Set,
    /// create of a persistent node.
    Create,
    /// getData without a watch.
    Get,
    /// exists without a watch.
    Exists,
    /// getChildren of a directory.
    Children,
    /// What prepares and ends a run.
    Prepare,
    /// closeSession.
    Close,
}

impl Operation {
    /// Those that are measured, in the order of their numbers.
    pub const MEASURED: [Operation; 5] =
        [Operation::Set, Operation::Create, Operation::Get, Operation::Exists, Operation::Children];

    /// Its name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Operation::Set => "set",
            Operation::Create => "create",
            Operation::Get => "get",
            Operation::Exists => "exists",
            Operation::Children => "children",
            Operation::Prepare => "prepare",
            Operation::Close => "close",
        }
    }
}

/// Which operations a run measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    /// setData.
    Set,
    /// create.
    Create,
    /// getData.
    Get,
    /// exists.
    Exists,
    /// getChildren of directories of up to 100 nodes.
    Children,
    /// getData and setData, by --read-percent.
    Mix,
}

/// Everything that decides a run.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// The server's client port.
    pub server: SocketAddr,
    /// Sessions, each with a connection of its own.
    pub clients: usize,
    /// The most requests in flight per client.
    pub depth: usize,
    /// What is asked.
    pub workload: Workload,
    /// Share of reads in [`Workload::Mix`], 0 to 100.
    pub read_percent: u8,
    /// Bytes of each value written.
    pub value_bytes: usize,
    /// Nodes that set, get, exists and children choose from, evenly.
    pub keys: u64,
    /// Load before the measurement, in seconds.
    pub warmup_s: f64,
    /// The measurement, in seconds.
    pub duration_s: f64,
    /// Requests a second of all clients together; `None`: the next when one is answered.
    pub rate_per_s: Option<u64>,
    /// The server's process, if it runs on this machine and is to be looked at.
    pub pid: Option<i32>,
    /// Where the nodes lie.
    pub root: String,
    /// Leave the nodes when done.
    pub keep: bool,
    /// Seed of the choice of keys and operations.
    pub seed: u64,
    /// Where the report goes as JSON.
    #[serde(skip)]
    pub json: Option<PathBuf>,
    /// Where the percentile distributions go.
    #[serde(skip)]
    pub hgrm: Option<PathBuf>,
}

impl Settings {
    /// Checks every bound.
    ///
    /// # Errors
    /// Names the first option that is out of bounds.
    pub fn check(&self) -> Result<(), Failure> {
        let seconds = |s: f64| s.is_finite() && (0.0..=SECONDS_MAX).contains(&s);
        let wrong = if !(1..=CLIENTS_MAX).contains(&self.clients) {
            format!("--clients {}: expected 1 to {CLIENTS_MAX}", self.clients)
        } else if !(1..=DEPTH_MAX).contains(&self.depth) {
            format!("--depth {}: expected 1 to {DEPTH_MAX}", self.depth)
        } else if self.read_percent > 100 {
            format!("--read-percent {}: expected 0 to 100", self.read_percent)
        } else if self.value_bytes > VALUE_BYTES_MAX {
            format!("--value-bytes {}: expected 0 to {VALUE_BYTES_MAX}", self.value_bytes)
        } else if !(1..=NODES_MAX).contains(&self.keys) {
            format!("--keys {}: expected 1 to {NODES_MAX}", self.keys)
        } else if !seconds(self.warmup_s) {
            format!("--warmup-s {}: expected 0 to {SECONDS_MAX}", self.warmup_s)
        } else if !seconds(self.duration_s) || self.duration_s == 0.0 {
            format!("--duration-s {}: expected more than 0, at most {SECONDS_MAX}", self.duration_s)
        } else if self.rate_per_s.is_some_and(|rate| !(1..=100_000_000).contains(&rate)) {
            format!("--rate {}: expected 1 to 100000000", self.rate_per_s.unwrap_or(0))
        } else if !self.root.starts_with('/') || self.root.ends_with('/') || self.root.contains("//") {
            format!("--root {}: expected a path of ZooKeeper such as /bench", self.root)
        } else {
            return Ok(());
        };
        Err(Failure::Option(wrong))
    }

    /// Every prefix of the root that must exist, shortest first.
    pub fn root_prefixes(&self) -> impl Iterator<Item = &str> {
        let ends = self.root.match_indices('/').map(|(at, _)| at).skip(1);
        ends.chain([self.root.len()]).map(|end| &self.root[..end])
    }

    /// A path below the root.
    pub fn below_root(&self, text: &str) -> Path {
        Path::new(&format!("{}{text}", self.root))
    }

    /// Where a session's created nodes lie.
    pub fn session_directory(&self, session: i64) -> Path {
        self.below_root(&format!("/s-{session:016x}"))
    }
}

/// A create of a persistent node that anyone may change.
pub fn create(path: &Path, value: &[u8]) -> Template {
    Template::new(OpCode::Create, path, |path, out| {
        let anyone = Id { scheme: Some("world".into()), id: Some("anyone".into()) };
        let acl = vec![Acl { perms: perms::ALL, id: anyone }];
        CreateRequest { path: path.into(), data: Some(value), acl, flags: 0 }.write(out);
    })
}

/// A setData of any version.
pub fn set(path: &Path, value: &[u8]) -> Template {
    Template::new(OpCode::SetData, path, |path, out| {
        SetDataRequest { path: path.into(), data: Some(value), version: -1 }.write(out);
    })
}

/// A delete of any version.
pub fn delete(path: &Path) -> Template {
    Template::new(OpCode::Delete, path, |path, out| {
        PathVersion { path: path.into(), version: -1 }.write(out);
    })
}

/// A read without a watch.
pub fn read(op: OpCode, path: &Path) -> Template {
    Template::new(op, path, |path, out| PathWatchRequest { path: path.into(), watch: false }.write(out))
}

/// A value of `bytes` bytes that does not compress to nothing.
pub fn value(bytes: usize, seed: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..bytes).map(|_| rng.u8(..)).collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Settings of a short run.
    pub fn settings(server: SocketAddr) -> Settings {
        Settings {
            server,
            clients: 3,
            depth: 4,
            workload: Workload::Mix,
            read_percent: 50,
            value_bytes: 10,
            keys: 250,
            warmup_s: 0.0,
            duration_s: 0.05,
            rate_per_s: None,
            pid: None,
            root: "/bench".to_owned(),
            keep: false,
            seed: 1,
            json: None,
            hgrm: None,
        }
    }

    #[test]
    fn every_option_out_of_bounds_is_named() {
        let good = settings("127.0.0.1:1".parse().unwrap());
        good.check().unwrap();
        let bad = [
            ("--clients", Settings { clients: 0, ..good.clone() }),
            ("--depth", Settings { depth: 0, ..good.clone() }),
            ("--read-percent", Settings { read_percent: 101, ..good.clone() }),
            ("--value-bytes", Settings { value_bytes: VALUE_BYTES_MAX + 1, ..good.clone() }),
            ("--keys", Settings { keys: NODES_MAX + 1, ..good.clone() }),
            ("--warmup-s", Settings { warmup_s: f64::NAN, ..good.clone() }),
            ("--duration-s", Settings { duration_s: 0.0, ..good.clone() }),
            ("--rate", Settings { rate_per_s: Some(0), ..good.clone() }),
            ("--root", Settings { root: "/".to_owned(), ..good.clone() }),
        ];
        for (option, settings) in bad {
            let failure = settings.check().unwrap_err().to_string();
            assert!(failure.starts_with(&format!("{option} ")), "{failure}");
        }
    }

    #[test]
    fn the_roots_prefixes_come_shortest_first() {
        let deep = Settings { root: "/a/bc/d".to_owned(), ..settings("127.0.0.1:1".parse().unwrap()) };
        assert_eq!(deep.root_prefixes().collect::<Vec<_>>(), ["/a", "/a/bc", "/a/bc/d"]);
    }
}
