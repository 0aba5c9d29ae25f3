//! Every bound and switch that decides what a request may do, as one value.

/// ZooKeeper's default for the longest request, `jute.maxbuffer`.
pub const JUTE_MAX_BUFFER: usize = 0xf_ffff;

/// A multiRead whose results have more bytes is refused.
pub const REPLY_BYTES_MAX: usize = 64 << 20;

/// What configuration says of requests and sessions. Field names are ZooKeeper's, in snake case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Longest request, in bytes.
    pub jute_max_buffer: usize,
    /// Longest transaction, in bytes: what a ZooKeeper with the same `jute.maxbuffer` and
    /// `jute.maxbuffer.extrasize` reads back from its log and takes from its leader. It makes longer ones
    /// all the same, and does not start again (ZOOKEEPER-4306).
    pub transaction_bytes_max: usize,
    /// Length of a tick, in milliseconds: sessions expire at multiples of it.
    pub tick_ms: u32,
    /// Shortest session timeout that a client can get, in milliseconds.
    pub min_session_timeout_ms: u32,
    /// Longest session timeout that a client can get, in milliseconds.
    pub max_session_timeout_ms: u32,
    /// Whether TTL nodes can be made.
    pub extended_types_enabled: bool,
    /// Whether access control lists are ignored.
    pub skip_acl: bool,
    /// Whether hard quotas refuse requests.
    pub enforce_quota: bool,
    /// Whether `reconfig` is answered at all.
    pub reconfig_enabled: bool,
    /// Whether a leader tells ZooKeeper's servers what the tree is behind each transaction
    /// (`digest.enabled`).
    pub digest_enabled: bool,
    /// `leaderServes`: the leader of an ensemble serves clients.
    pub leader_serves: bool,
    /// Whether a server of an ensemble keeps new sessions to itself (`localSessionsEnabled`).
    pub local_sessions_enabled: bool,
    /// Whether such a session becomes one of the ensemble when it makes an ephemeral node
    /// (`localSessionsUpgradingEnabled`).
    pub local_sessions_upgrading_enabled: bool,
    /// Whether a server of an ensemble serves readers while there is no quorum (`readonlymode.enabled`).
    pub read_only_mode_enabled: bool,
    /// `user:base64(sha1(user:password))` of the super user.
    pub super_digest: Option<String>,
    /// Whether the digest scheme is offered.
    pub digest_auth_enabled: bool,
    /// How often containers and TTL nodes are looked at, in milliseconds.
    pub container_check_interval_ms: u32,
    /// Most containers and TTL nodes removed a minute.
    pub container_max_per_minute: u32,
    /// How long a container that never had a child stays; zero is for ever. Milliseconds.
    pub container_max_never_used_ms: u64,
    /// Requests under way at which a connection with one outstanding is no longer read.
    pub global_outstanding_limit: u32,
    /// Connections that one address may have; zero is no limit.
    pub max_client_cnxns: u32,
    /// Connections in all; zero is no limit.
    pub max_cnxns: u32,
    /// Transactions between two checkpoints; zero is no bound.
    pub snap_count: u32,
    /// Bytes of transactions between two checkpoints; zero is no bound.
    pub snap_log_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            jute_max_buffer: JUTE_MAX_BUFFER,
            transaction_bytes_max: 2 * JUTE_MAX_BUFFER,
            tick_ms: 3000,
            min_session_timeout_ms: 6000,
            max_session_timeout_ms: 60_000,
            extended_types_enabled: false,
            skip_acl: false,
            enforce_quota: false,
            reconfig_enabled: false,
            digest_enabled: true,
            leader_serves: true,
            local_sessions_enabled: false,
            local_sessions_upgrading_enabled: false,
            read_only_mode_enabled: false,
            super_digest: None,
            digest_auth_enabled: true,
            container_check_interval_ms: 60_000,
            container_max_per_minute: 10_000,
            container_max_never_used_ms: 0,
            global_outstanding_limit: 1000,
            max_client_cnxns: 60,
            max_cnxns: 0,
            snap_count: 0,
            snap_log_bytes: 256 << 20,
        }
    }
}
