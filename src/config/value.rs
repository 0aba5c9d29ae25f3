//! The configuration as a value: every setting with its type, unit and default, nothing left to parse.

use std::collections::BTreeSet;
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use super::members::{HostPort, Membership, Role, ServerId};
use super::report::ConfigError;

/// Everything that the server is told. Made by [`super::load`].
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file it was read from; `None` where there was none.
    pub file: Option<PathBuf>,
    /// Where clients are heard.
    pub listen: Listen,
    /// Ticks and session timeouts.
    pub sessions: Sessions,
    /// What clients may ask for at most.
    pub limits: Limits,
    /// Where the data is.
    pub storage: Storage,
    /// The transaction log.
    pub log: Log,
    /// When checkpoints are taken.
    pub checkpoint: Checkpoint,
    /// Which old files are kept.
    pub retention: Retention,
    /// Kinds of nodes, quotas, containers.
    pub nodes: Nodes,
    /// Access control.
    pub access: Access,
    /// The four-letter words that are answered.
    pub four_letter_words: FourLetterWords,
    /// The ensemble, and what `QuorumPeerConfig` says about it.
    pub ensemble: Ensemble,
    /// Client cores.
    pub cores: NonZeroUsize,
    /// `ring`.
    pub runtime: RingRuntime,
    /// `ring.spinUs`.
    pub spin_us: u32,
    /// `trace.stages`.
    pub stage_trace: bool,
    /// Why this version cannot serve this configuration although it is well formed; empty where it can.
    pub unservable: Vec<ConfigError>,
}

/// Where clients are heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// `clientPortAddress` and `clientPort`, or what this server's own `server.N` line says.
    pub address: HostPort,
    /// `clientPortListenBacklog`; `None`, which is -1, leaves it to the server.
    pub backlog: Option<NonZeroU32>,
    /// `clientTcpKeepAlive`.
    pub tcp_keep_alive: bool,
    /// `maxCnxns`: connections in all; `None` is no limit.
    pub connections_max: Option<NonZeroU32>,
    /// `maxClientCnxns`: connections from one address; `None` is no limit.
    pub connections_per_address_max: Option<NonZeroU32>,
}

/// Ticks and session timeouts, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sessions {
    /// `tickTime`.
    pub tick_ms: u32,
    /// `minSessionTimeout`, by default two ticks.
    pub timeout_min_ms: u32,
    /// `maxSessionTimeout`, by default twenty ticks.
    pub timeout_max_ms: u32,
}

/// What clients may ask for at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// `jute.maxbuffer`: the longest request, in bytes.
    pub request_bytes_max: u32,
    /// `jute.maxbuffer.extrasize`: what a transaction may be longer than its request, in bytes.
    pub transaction_extra_bytes_max: u32,
    /// `globalOutstandingLimit`: requests in flight before sockets are no longer read.
    pub outstanding_requests_max: u32,
}

/// Where the data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// `dataDir`.
    pub data_dir: PathBuf,
    /// `dataLogDir`, by default `dataDir`.
    pub data_log_dir: PathBuf,
    /// `datadir.autocreate`: a missing directory is created.
    pub directories_created: bool,
}

/// How the log reaches the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSync {
    /// A write, then fdatasync.
    Fdatasync,
    /// A file opened with O_DSYNC.
    Dsync,
    /// A file opened with O_DIRECT and O_DSYNC.
    Direct,
    /// Nothing is awaited: what a crash of the machine loses was acknowledged.
    None,
}

/// What runs the tasks of a thread, on io_uring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RingRuntime {
    /// Our own.
    Own,
    /// tokio-uring.
    TokioUring,
}

impl LogSync {
    /// The default: the fastest safe one. Where the file system refuses O_DIRECT, the server takes
    /// [`Self::Dsync`] and says so.
    pub const DEFAULT: Self = Self::Direct;
}

/// The transaction log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `log.sync`; where that is not given, `forceSync=no` is [`LogSync::None`].
    pub sync: LogSync,
    /// `log.groupCommit.maxDelayUs`: microseconds that a batch waits for more writes.
    pub group_delay_us_max: u32,
    /// `log.groupCommit.maxBatchBytes`: bytes after which a batch is written without more waiting.
    pub group_bytes_max: u32,
    /// `log.segmentBytes`, or `preAllocSize`: a multiple of 4096.
    pub segment_bytes: u64,
    /// `fsync.warningthresholdms`: milliseconds after which a sync is reported as slow.
    pub slow_sync_ms: u64,
}

/// When checkpoints are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// `snapCount`: transactions from one to the next, 2 at least; `None` is no limit.
    pub transactions_max: Option<NonZeroU32>,
    /// `snapshot.logBytes` or `snapSizeLimitInKb`: bytes of log from one to the next; `None` is no limit.
    pub log_bytes_max: Option<NonZeroU64>,
    /// `snapshot.bytesPerSecondMax`; `None` is no limit.
    pub bytes_per_second_max: Option<NonZeroU64>,
}

/// When old files are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purge {
    /// `autopurge.purgeInterval` is not given: the server's own choice.
    Default,
    /// 0 or less was given: never.
    Never,
    /// Each so many hours.
    EveryHours(NonZeroU32),
}

/// Which old files are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// `autopurge.snapRetainCount`: checkpoints that are kept; 3 at least.
    pub checkpoints_kept: u32,
    /// `autopurge.purgeInterval`.
    pub purge: Purge,
}

/// Kinds of nodes, quotas, containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nodes {
    /// `extendedTypesEnabled`: TTL nodes.
    pub extended_types: bool,
    /// `enforceQuota`: hard quotas refuse a write.
    pub quota_enforced: bool,
    /// `digest.enabled`: the tree's digest is kept and compared.
    pub digest: bool,
    /// `znode.container.checkIntervalMs`.
    pub container_check_interval_ms: u32,
    /// `znode.container.maxPerMinute`.
    pub container_removals_per_minute_max: u32,
    /// `znode.container.maxNeverUsedIntervalMs`; `None` keeps a container that never had a child for ever.
    pub container_unused_ms_max: Option<NonZeroU64>,
}

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(super) fn new(value: String) -> Self {
        Self(value)
    }

    /// The value itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Access control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// `skipACL=yes`: ACLs are not checked.
    pub acl_skipped: bool,
    /// `DigestAuthenticationProvider.enabled`: the scheme digest is there.
    pub digest_scheme: bool,
    /// `DigestAuthenticationProvider.superDigest`: `super:` and the base64 digest.
    pub super_digest: Option<Secret>,
}

/// The four-letter words that are answered: `4lw.commands.whitelist`, always `srvr`, and `isro` where
/// `readonlymode.enabled` is true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FourLetterWords {
    /// `*`: all of them.
    All,
    /// These.
    Only(BTreeSet<String>),
}

impl FourLetterWords {
    /// Whether `word` is answered.
    pub fn allows(&self, word: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(words) => words.contains(word),
        }
    }
}

/// A configuration of the ensemble that is not in force, as the file `zoo.cfg.dynamic.next` has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposed {
    /// The file, for messages.
    pub file: String,
    /// Its text, not yet read.
    pub text: String,
}

/// The ensemble. A standalone server ignores all but `reconfig_enabled`.
#[derive(Debug, Clone, PartialEq)]
pub struct Ensemble {
    /// The number in the file `myid` of `dataDir`.
    pub my_id: Option<ServerId>,
    /// The servers, from zoo.cfg or from the file that `dynamicConfigFile` names.
    pub membership: Membership,
    /// The version in the name of that file (`zoo.cfg.dynamic.100000000`), hexadecimal; 0 without one.
    pub version: u64,
    /// `dynamicConfigFile`.
    pub dynamic_file: Option<PathBuf>,
    /// What was proposed to take that file's place when the server was last at work.
    pub proposed: Option<Proposed>,
    /// `standaloneEnabled`: one participant is a standalone server, not an ensemble of one.
    pub standalone_enabled: bool,
    /// `reconfigEnabled`.
    pub reconfig_enabled: bool,
    /// `leaderServes`: the leader takes clients.
    pub leader_serves: bool,
    /// `digest.enabled`: a leader tells ZooKeeper's servers what the tree is behind each transaction.
    pub digest: bool,
    /// `multiAddress.enabled`: a server may have several addresses.
    pub multi_address: bool,
    /// `readonlymode.enabled`.
    pub read_only_mode: bool,
    /// `localSessionsEnabled`.
    pub local_sessions: bool,
    /// `localSessionsUpgradingEnabled`.
    pub local_sessions_upgraded: bool,
    /// `peerType`, or what the list of servers says.
    pub role: Role,
    /// `initLimit`, in ticks; 0 where it is not given.
    pub init_ticks_max: u32,
    /// `syncLimit`, in ticks; 0 where it is not given.
    pub sync_ticks_max: u32,
    /// `connectToLearnerMasterLimit`, in ticks, by default `initLimit`.
    pub connect_ticks_max: u32,
    /// `quorumListenOnAllIPs`.
    pub listen_on_all: bool,
    /// `electionPortBindRetry`: attempts to listen on this server's own addresses; 0 is without end.
    pub listen_attempts_max: u32,
    /// `cnxTimeout`, in milliseconds.
    pub election_connect_ms_max: u32,
    /// `fastleader.minNotificationInterval`, in milliseconds.
    pub notification_interval_min_ms: u32,
    /// `fastleader.maxNotificationInterval`, in milliseconds.
    pub notification_interval_max_ms: u32,
    /// `leader.epochTransactionsMax`: transactions that an epoch may have.
    pub epoch_transactions_max: u32,
    /// `tcpKeepAlive`.
    pub tcp_keep_alive: bool,
}

impl Ensemble {
    /// Whether ZooKeeper would run this as an ensemble: `QuorumPeerConfig.isDistributed`.
    pub fn is_distributed(&self) -> bool {
        !self.standalone_enabled || self.membership.count(Role::Participant) > 1
    }
}
