//! What a run asks: its settings, its operations, and the templates of their requests.
//!
//! Nodes are `ROOT/DIRECTORY/NAME`, a hundred to a directory. What a session creates lies under
//! `ROOT/s-SESSION`, so that runs and clients never collide; its sequential nodes have a directory to
//! themselves, so that their numbers are known without looking at replies.

use crate::failure::Failure;
use crate::mix::Mix;
use crate::wire::{NODES_MAX, Path, Template};
use ringkeeper_engine::jute::Write;
use ringkeeper_engine::jute::records::{
    Acl, CreateRequest, Id, PathVersion, PathWatchRequest, SetDataRequest,
};
use ringkeeper_engine::op::{OpCode, perms};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// The most clients: more than a machine has ports for connections to one server.
const CLIENTS_MAX: usize = 60_000;
/// The most requests in flight per client.
const DEPTH_MAX: usize = 100_000;
/// ZooKeeper's own bound of a request (`jute.maxbuffer`), less room for path and header.
const VALUE_BYTES_MAX: usize = 1_000_000;
/// The longest warm-up or measurement.
const SECONDS_MAX: f64 = 86_400.0;
/// The most operations of a multi.
const MULTI_MAX: u64 = 10_000;

/// `CreateMode` of a persistent node.
pub const PERSISTENT: i32 = 0;
/// `CreateMode` of a node that goes with its session.
pub const EPHEMERAL: i32 = 1;
/// `CreateMode` of a persistent node whose name the server completes with a number.
pub const SEQUENTIAL: i32 = 2;

/// One kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// multi of several setData.
    Multi,
    /// delete of a node that the same client created.
    Delete,
    /// create of a sequential node.
    Sequential,
    /// create of an ephemeral node.
    Ephemeral,
    /// What prepares and ends a run.
    Prepare,
    /// closeSession.
    Close,
}

impl Operation {
    /// Those that are measured, in the order of their numbers.
    pub const MEASURED: [Operation; 9] = [
        Operation::Set,
        Operation::Create,
        Operation::Get,
        Operation::Exists,
        Operation::Children,
        Operation::Multi,
        Operation::Delete,
        Operation::Sequential,
        Operation::Ephemeral,
    ];

    /// Its name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Operation::Set => "set",
            Operation::Create => "create",
            Operation::Get => "get",
            Operation::Exists => "exists",
            Operation::Children => "children",
            Operation::Multi => "multi",
            Operation::Delete => "delete",
            Operation::Sequential => "sequential",
            Operation::Ephemeral => "ephemeral",
            Operation::Prepare => "prepare",
            Operation::Close => "close",
        }
    }

    /// Whether it is asked of the nodes that are there from the beginning.
    pub const fn needs_nodes(self) -> bool {
        matches!(
            self,
            Operation::Set | Operation::Get | Operation::Exists | Operation::Children | Operation::Multi
        )
    }
}

/// How often each node is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// All alike.
    Uniform,
    /// The i-th most popular in proportion to 1 / i^exponent.
    Zipf,
}

/// Everything that decides a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// The servers' client ports; clients are spread over them.
    pub servers: Vec<SocketAddr>,
    /// Sessions, each with a connection of its own.
    pub clients: usize,
    /// The most requests in flight per client.
    pub depth: usize,
    /// What is asked.
    pub mix: Mix,
    /// Operations of a multi.
    pub multi_operations: u64,
    /// Bytes of each value written.
    pub value_bytes: usize,
    /// Nodes that set, get, exists, children and multi choose from.
    pub keys: u64,
    /// How they choose.
    pub distribution: Distribution,
    /// The exponent of [`Distribution::Zipf`].
    pub zipf_exponent: f64,
    /// Load before the measurement, in seconds.
    pub warmup_s: f64,
    /// The measurement, in seconds.
    pub duration_s: f64,
    /// Requests a second of all clients together; `None`: the next when one is answered.
    pub rate_per_s: Option<u64>,
    /// The servers' processes, if they run on this machine and are to be looked at.
    pub pids: Vec<i32>,
    /// Where the nodes lie.
    pub root: String,
    /// Leave the nodes when done.
    pub keep: bool,
    /// Seed of the choice of keys and operations.
    pub seed: u64,
}

impl Settings {
    /// The defaults of `run`, against these servers.
    pub fn of(servers: Vec<SocketAddr>) -> Settings {
        Settings {
            servers,
            clients: 16,
            depth: 64,
            mix: Mix::one(Operation::Set),
            multi_operations: 3,
            value_bytes: 100,
            keys: 1000,
            distribution: Distribution::Uniform,
            zipf_exponent: 0.99,
            warmup_s: 1.0,
            duration_s: 5.0,
            rate_per_s: None,
            pids: Vec::new(),
            root: "/ringkeeper-bench".to_owned(),
            keep: false,
            seed: 1,
        }
    }

    /// Checks every bound.
    ///
    /// # Errors
    /// Names the first option that is out of bounds.
    pub fn check(&self) -> Result<(), Failure> {
        let seconds = |s: f64| s.is_finite() && (0.0..=SECONDS_MAX).contains(&s);
        let wrong = if self.servers.is_empty() {
            "--server: expected HOST:PORT".to_owned()
        } else if !(1..=CLIENTS_MAX).contains(&self.clients) {
            format!("--clients {}: expected 1 to {CLIENTS_MAX}", self.clients)
        } else if !(1..=DEPTH_MAX).contains(&self.depth) {
            format!("--depth {}: expected 1 to {DEPTH_MAX}", self.depth)
        } else if !(1..=MULTI_MAX).contains(&self.multi_operations) {
            format!("--multi-operations {}: expected 1 to {MULTI_MAX}", self.multi_operations)
        } else if self.value_bytes > VALUE_BYTES_MAX {
            format!("--value-bytes {}: expected 0 to {VALUE_BYTES_MAX}", self.value_bytes)
        } else if !(1..=NODES_MAX).contains(&self.keys) {
            format!("--keys {}: expected 1 to {NODES_MAX}", self.keys)
        } else if !(self.zipf_exponent > 0.0 && self.zipf_exponent <= 10.0) {
            format!("--zipf-exponent {}: expected more than 0, at most 10", self.zipf_exponent)
        } else if !seconds(self.warmup_s) {
            format!("--warmup {}: expected 0 to {SECONDS_MAX} seconds", self.warmup_s)
        } else if !seconds(self.duration_s) || self.duration_s == 0.0 {
            format!("--seconds {}: expected more than 0, at most {SECONDS_MAX}", self.duration_s)
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

    /// Where a session's sequential nodes lie.
    pub fn sequence_directory(&self, session: i64) -> Path {
        self.session_directory(session).then("/q")
    }
}

/// What a session created and did not delete: numbers in the names of its nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Persistent nodes created.
    pub created: u64,
    /// How many of them, from the first on, were deleted.
    pub deleted: u64,
    /// Sequential nodes created.
    pub sequential: u64,
    /// Ephemeral nodes created.
    pub ephemeral: u64,
}

/// Requests about the nodes that one session creates.
pub struct OwnTemplates {
    /// Creates a persistent one.
    pub create: Template,
    /// Deletes it.
    pub delete: Template,
    /// Creates a sequential one.
    pub sequential: Template,
    /// Deletes it.
    pub delete_sequential: Template,
    /// Creates an ephemeral one.
    pub ephemeral: Template,
    /// Deletes it.
    pub delete_ephemeral: Template,
}

impl OwnTemplates {
    /// Of a session.
    pub fn new(settings: &Settings, session: i64, value: &[u8]) -> OwnTemplates {
        let persistent = settings.session_directory(session).name("");
        let ephemeral = settings.session_directory(session).name("e-");
        let sequence = settings.sequence_directory(session);
        OwnTemplates {
            create: create(&persistent, value, PERSISTENT),
            delete: delete(&persistent),
            sequential: create(&sequence.clone().then("/n-"), value, SEQUENTIAL),
            // The server's numbers have ten digits.
            delete_sequential: delete(&sequence.name("n-0")),
            ephemeral: create(&ephemeral, value, EPHEMERAL),
            delete_ephemeral: delete(&ephemeral),
        }
    }
}

/// A create of a node that anyone may change.
pub fn create(path: &Path, value: &[u8], flags: i32) -> Template {
    Template::new(OpCode::Create, path, |path, out| {
        let anyone = Id { scheme: Some("world".into()), id: Some("anyone".into()) };
        let acl = vec![Acl { perms: perms::ALL, id: anyone }];
        CreateRequest { path: path.into(), data: Some(value), acl, flags }.write(out);
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

/// A read, with a watch or without.
pub fn read(op: OpCode, path: &Path, watch: bool) -> Template {
    Template::new(op, path, |path, out| PathWatchRequest { path: path.into(), watch }.write(out))
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
            clients: 3,
            depth: 4,
            mix: Mix::read_write(50).unwrap(),
            value_bytes: 10,
            keys: 250,
            warmup_s: 0.0,
            duration_s: 0.05,
            root: "/bench".to_owned(),
            ..Settings::of(vec![server])
        }
    }

    #[test]
    fn every_option_out_of_bounds_is_named() {
        let good = settings("127.0.0.1:1".parse().unwrap());
        good.check().unwrap();
        let bad = [
            ("--server:", Settings { servers: Vec::new(), ..good.clone() }),
            ("--clients", Settings { clients: 0, ..good.clone() }),
            ("--depth", Settings { depth: 0, ..good.clone() }),
            ("--multi-operations", Settings { multi_operations: 0, ..good.clone() }),
            ("--value-bytes", Settings { value_bytes: VALUE_BYTES_MAX + 1, ..good.clone() }),
            ("--keys", Settings { keys: NODES_MAX + 1, ..good.clone() }),
            ("--zipf-exponent", Settings { zipf_exponent: f64::NAN, ..good.clone() }),
            ("--warmup", Settings { warmup_s: f64::NAN, ..good.clone() }),
            ("--seconds", Settings { duration_s: 0.0, ..good.clone() }),
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
