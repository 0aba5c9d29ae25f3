//! From settings to [`Config`]: ZooKeeper's defaults, its corrections and its cross-checks.
//!
//! Where ZooKeeper corrects a value and says so (`snapCount` below 2), so do we. Where it would fall back to a
//! default in silence, the value is an error.

use std::collections::BTreeSet;
use std::io;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringkeeper_quorum::reconfig::next_dynamic_file_name;

use super::keys::{Kind, Meaning};
use super::members::{self, HostPort, Membership, Role, ServerId};
use super::report::{self, ConfigError, Notice, Report};
use super::sources::{Setting, Settings};
use super::value::{
    Access, Checkpoint, Config, Ensemble, FourLetterWords, Limits, Listen, Log, LogSync, Nodes, Proposed,
    Purge, Retention, RingRuntime, Secret, Sessions, Storage,
};
use super::values::Values;
use super::{Input, java};

/// ZooKeeper's defaults, and where they would not do, our own.
mod default {
    pub const SNAPSHOT_LOG_BYTES: u64 = 256 << 20;
    pub const SNAPSHOT_BYTES_PER_SECOND: u64 = 64 << 20;
    pub const TICK_MS: u32 = 3_000;
    pub const CONNECTIONS_PER_ADDRESS_MAX: u32 = 60;
    pub const REQUEST_BYTES_MAX: u32 = 0xf_ffff;
    pub const OUTSTANDING_REQUESTS_MAX: u32 = 1_000;
    pub const SPIN_US: u32 = 50;
    pub const SLOW_SYNC_MS: u64 = 1_000;
    pub const CONTAINER_CHECK_INTERVAL_MS: u32 = 60_000;
    pub const CONTAINERS_PER_MINUTE_MAX: u32 = 10_000;
    pub const CNX_TIMEOUT_MS: u32 = 5_000;
    /// ZooKeeper's 3 are over before a name server forgets that a name had no address.
    pub const LISTEN_ATTEMPTS: u32 = 60;
    pub const NOTIFICATION_MIN_MS: u32 = 200;
    /// ZooKeeper's is 60,000: a minute of silence would be a minute of outage.
    pub const NOTIFICATION_MAX_MS: u32 = 2_000;
}

/// The least that ZooKeeper corrects a setting to.
mod least {
    pub const SNAP_COUNT: i64 = 2;
    pub const SNAP_RETAIN_COUNT: i64 = 3;
    pub const EXTRA_BYTES: i64 = 1_024;
}

/// Without a file.
const DATA_DIR: &str = "ringkeeper-data";
const CLIENT_HOST: &str = "127.0.0.1";
const CLIENT_PORT: u16 = 2181;

const SEGMENT_BYTES: u64 = 64 << 20;
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
const SEGMENT_BYTES_MAX: u64 = 4 << 30;
/// Segments are written in pages.
const PAGE_BYTES: u64 = 4_096;
const GROUP_BYTES_MAX: u32 = 4 << 20;

pub(super) fn load(input: &Input<'_>) -> Result<(Config, Vec<Notice>), Vec<ConfigError>> {
    let mut report = Report::default();
    let mut settings = Settings::default();
    settings.add_environment(input.environment, &mut report);
    if let Some(file) = &input.file {
        settings.add_file(&Arc::from(file.name), file.bytes, &mut report);
    }
    settings.add_overrides(input.overrides, &mut report);
    let values = Values::read(&settings, &mut report);
    let config = Builder { input, settings: &settings, values, report: &mut report }.config();
    let Report { mut notices, mut errors } = report;
    notices.sort_by_key(|notice| report::reading_order(notice.origin.as_ref()));
    errors.sort_by_key(|error| report::reading_order(error.origin.as_ref()));
    if errors.is_empty() { Ok((config, notices)) } else { Err(errors) }
}

struct Builder<'a> {
    input: &'a Input<'a>,
    settings: &'a Settings,
    values: Values<'a>,
    report: &'a mut Report,
}

impl Builder<'_> {
    fn config(mut self) -> Config {
        let storage = self.storage();
        let ensemble = self.ensemble(&storage.data_dir);
        let unservable = self.meanings(ensemble.is_distributed());
        let static_address = self.client_address();
        let address = self.own_address(static_address, &ensemble);
        Config {
            file: self.input.file.map(|f| PathBuf::from(f.name)),
            listen: self.listen(address),
            sessions: self.sessions(),
            limits: self.limits(),
            log: self.log(),
            checkpoint: self.checkpoint(),
            retention: self.retention(),
            nodes: self.nodes(),
            access: self.access(),
            four_letter_words: self.four_letter_words(ensemble.read_only_mode),
            cores: self.cores(),
            runtime: match self.values.text("ring") {
                Some("tokio-uring") => RingRuntime::TokioUring,
                _ => RingRuntime::Own,
            },
            spin_us: self.values.u32("ring.spinUs", default::SPIN_US),
            stage_trace: self.values.switch("trace.stages", true),
            storage,
            ensemble,
            unservable,
        }
    }

    /// Says which settings have no effect here; returns those that must not be ignored.
    fn meanings(&mut self, is_distributed: bool) -> Vec<ConfigError> {
        let mut refused = Vec::new();
        for Setting { key, name, value, origin, .. } in self.settings.iter() {
            match key.meaning {
                Meaning::Used(_) | Meaning::Ensemble(_) => {}
                Meaning::Without(why) => {
                    self.report.info(Some(origin), name, format!("accepted, no meaning here: {why}"));
                }
                // It asks for what is so.
                Meaning::NotYet(_) if key.kind == Kind::Switch && value.eq_ignore_ascii_case("false") => {}
                Meaning::NotYet(why) => {
                    self.report.warn(Some(origin), name, format!("accepted, no effect yet: {why}"));
                }
                Meaning::PeersGuard { .. } if !is_distributed => {}
                Meaning::Guard { harmless, .. } | Meaning::PeersGuard { harmless, .. }
                    if value.eq_ignore_ascii_case(harmless) => {}
                Meaning::Guard { harmless, missing } | Meaning::PeersGuard { harmless, missing } => refused
                    .push(ConfigError {
                        origin: Some(origin.clone()),
                        key: Some(name.clone()),
                        text: format!("only {harmless} can be served: {missing}"),
                    }),
            }
        }
        refused
    }

    fn storage(&mut self) -> Storage {
        let data_dir = match self.values.text("dataDir") {
            Some("") => {
                let origin = self.values.origin("dataDir");
                self.report.error(origin, "dataDir", "expected a directory, found nothing");
                PathBuf::new()
            }
            Some(dir) => PathBuf::from(dir),
            None => {
                if let Some(file) = self.input.file {
                    self.missing(file.name, "dataDir is not set");
                }
                PathBuf::from(DATA_DIR)
            }
        };
        let data_log_dir = self.values.text("dataLogDir").filter(|dir| !dir.is_empty());
        Storage {
            data_log_dir: data_log_dir.map_or_else(|| data_dir.clone(), PathBuf::from),
            data_dir,
            directories_created: self.values.switch("datadir.autocreate", true),
        }
    }

    /// What zoo.cfg or the command line say; with a file a missing port is no error yet.
    fn client_address(&mut self) -> Option<HostPort> {
        let host = self.values.text("clientPortAddress").map(|host| {
            let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
            if bare.is_empty() || bare.contains(|c: char| c.is_whitespace() || "/[]".contains(c)) {
                let origin = self.values.origin("clientPortAddress");
                let text = format!("expected a host name or an address, found `{}`", host.escape_debug());
                self.report.error(origin, "clientPortAddress", text);
            }
            bare.to_owned()
        });
        let port = self.values.integer("clientPort").and_then(|p| u16::try_from(p).ok());
        match (self.input.file, port) {
            (_, None) if self.values.is_given("clientPort") => None,
            (None, port) => Some(HostPort {
                host: host.or_else(|| Some(CLIENT_HOST.to_owned())),
                port: port.unwrap_or(CLIENT_PORT),
            }),
            (Some(_), Some(port)) => Some(HostPort { host, port }),
            (Some(_), None) => {
                if host.is_some() {
                    let origin = self.values.origin("clientPortAddress");
                    self.report.error(origin, "clientPortAddress", "is set but clientPort is not set");
                }
                None
            }
        }
    }

    /// This server's own `server.N` line may say where it takes clients; a static setting must not contradict.
    fn own_address(&mut self, static_address: Option<HostPort>, ensemble: &Ensemble) -> HostPort {
        let own = ensemble.my_id.and_then(|id| ensemble.membership.members.get(&id));
        if let (Some(stated), Some(listed)) = (&static_address, own.and_then(|m| m.client.as_ref())) {
            let same = if stated.is_wildcard() { stated.port == listed.port } else { stated == listed };
            if !same {
                let origin = self.values.origin("clientPort");
                let text = format!("{stated} differs from {listed}, which this server's server.N line has");
                self.report.error(origin, "clientPort", text);
            }
        }
        let address = own.and_then(|m| m.client.clone()).or(static_address);
        let secure = self.values.is_given("secureClientPort");
        if self.values.is_given("secureClientPortAddress") && !secure {
            let origin = self.values.origin("secureClientPortAddress");
            self.report.error(origin, "secureClientPortAddress", "is set but secureClientPort is not set");
        }
        if let (None, Some(file), false) = (&address, self.input.file, self.values.is_given("clientPort")) {
            let hint = if secure { " (secureClientPort is, but TLS is not there yet)" } else { "" };
            self.missing(file.name, &format!("clientPort is not set{hint}"));
        }
        address.unwrap_or(HostPort { host: Some(CLIENT_HOST.to_owned()), port: CLIENT_PORT })
    }

    fn listen(&self, address: HostPort) -> Listen {
        let per_address = self.values.u32("maxClientCnxns", default::CONNECTIONS_PER_ADDRESS_MAX);
        Listen {
            address,
            backlog: NonZeroU32::new(self.values.u32("clientPortListenBacklog", 0)),
            tcp_keep_alive: self.values.switch("clientTcpKeepAlive", false),
            connections_max: NonZeroU32::new(self.values.u32("maxCnxns", 0)),
            connections_per_address_max: NonZeroU32::new(per_address),
        }
    }

    fn sessions(&mut self) -> Sessions {
        let tick_ms = self.values.u32("tickTime", default::TICK_MS);
        let timeout = |name, ticks: u32| match self.values.integer(name) {
            None | Some(-1) => tick_ms.saturating_mul(ticks),
            Some(_) => self.values.u32(name, 0),
        };
        let (min, max) = (timeout("minSessionTimeout", 2), timeout("maxSessionTimeout", 20));
        if min > max {
            let origin = self.values.origin("minSessionTimeout");
            let origin = origin.or_else(|| self.values.origin("maxSessionTimeout"));
            let text = format!("{min} ms is more than maxSessionTimeout, {max} ms");
            self.report.error(origin, "minSessionTimeout", text);
        }
        Sessions { tick_ms, timeout_min_ms: min, timeout_max_ms: max }
    }

    fn limits(&mut self) -> Limits {
        let request_bytes_max = self.values.u32("jute.maxbuffer", default::REQUEST_BYTES_MAX);
        self.at_least("jute.maxbuffer.extrasize", least::EXTRA_BYTES);
        let extra = self.values.u32("jute.maxbuffer.extrasize", request_bytes_max);
        Limits {
            request_bytes_max,
            transaction_extra_bytes_max: extra.max(least::EXTRA_BYTES as u32),
            outstanding_requests_max: self
                .values
                .u32("globalOutstandingLimit", default::OUTSTANDING_REQUESTS_MAX),
        }
    }

    fn log(&mut self) -> Log {
        Log {
            sync: self.log_sync(),
            group_delay_us_max: self.values.u32("log.groupCommit.maxDelayUs", 0),
            group_bytes_max: self.values.u32("log.groupCommit.maxBatchBytes", GROUP_BYTES_MAX),
            segment_bytes: self.segment_bytes(),
            slow_sync_ms: self.values.u64("fsync.warningthresholdms", default::SLOW_SYNC_MS),
        }
    }

    fn log_sync(&mut self) -> LogSync {
        let forced = self.values.switch("forceSync", true);
        let sync = match self.values.text("log.sync") {
            Some("dsync") => LogSync::Dsync,
            Some("direct") => LogSync::Direct,
            Some("fdatasync") => LogSync::Fdatasync,
            Some("none") => LogSync::None,
            _ if forced => LogSync::DEFAULT,
            _ => LogSync::None,
        };
        if !forced && sync != LogSync::None {
            self.report.warn(self.values.origin("forceSync"), "forceSync", "overridden by log.sync");
        }
        if sync == LogSync::None {
            let key = if self.values.is_given("log.sync") { "log.sync" } else { "forceSync" };
            let text = "replies do not wait for the disk: a crash of the machine loses acknowledged writes";
            self.report.warn(self.values.origin(key), key, text);
        }
        sync
    }

    fn segment_bytes(&mut self) -> u64 {
        if self.values.is_given("log.segmentBytes") {
            let bytes = self.values.u64("log.segmentBytes", SEGMENT_BYTES);
            if !bytes.is_multiple_of(PAGE_BYTES) {
                let text = format!("expected a multiple of {PAGE_BYTES}, found {bytes}");
                self.report.error(self.values.origin("log.segmentBytes"), "log.segmentBytes", text);
            }
            return bytes;
        }
        let Some(kib) = self.values.integer("preAllocSize") else { return SEGMENT_BYTES };
        let asked = kib.unsigned_abs() * 1_024;
        let bytes = asked.next_multiple_of(PAGE_BYTES).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        if bytes != asked {
            let text = format!("log segments have {bytes} bytes instead of {asked}");
            self.report.info(self.values.origin("preAllocSize"), "preAllocSize", text);
        }
        bytes
    }

    /// ZooKeeper's defaults, 100,000 transactions or 4 GiB, would be a checkpoint every half second at this
    /// server's rates, or a long replay of large transactions: its own default is one of bytes.
    fn checkpoint(&mut self) -> Checkpoint {
        self.at_least("snapCount", least::SNAP_COUNT);
        let given = self.values.is_given("snapCount");
        let count = self.values.u32("snapCount", 0).max(least::SNAP_COUNT as u32);
        let kib = self.values.integer("snapSizeLimitInKb").map(|kib| kib.max(0).unsigned_abs());
        let limit = kib.map_or(default::SNAPSHOT_LOG_BYTES, |kib| kib * 1_024);
        Checkpoint {
            transactions_max: given.then_some(count).and_then(NonZeroU32::new),
            log_bytes_max: NonZeroU64::new(self.values.u64("snapshot.logBytes", limit)),
            bytes_per_second_max: NonZeroU64::new(
                self.values.u64("snapshot.bytesPerSecondMax", default::SNAPSHOT_BYTES_PER_SECOND),
            ),
        }
    }

    fn retention(&mut self) -> Retention {
        self.at_least("autopurge.snapRetainCount", least::SNAP_RETAIN_COUNT);
        let least = least::SNAP_RETAIN_COUNT as u32;
        let purge = match self.values.is_given("autopurge.purgeInterval") {
            false => Purge::Default,
            true => NonZeroU32::new(self.values.u32("autopurge.purgeInterval", 0))
                .map_or(Purge::Never, Purge::EveryHours),
        };
        let checkpoints_kept = self.values.u32("autopurge.snapRetainCount", least).max(least);
        Retention { checkpoints_kept, purge }
    }

    fn nodes(&self) -> Nodes {
        let values = &self.values;
        Nodes {
            extended_types: values.switch("extendedTypesEnabled", false),
            quota_enforced: values.switch("enforceQuota", false),
            digest: values.switch("digest.enabled", true),
            container_check_interval_ms: values
                .u32("znode.container.checkIntervalMs", default::CONTAINER_CHECK_INTERVAL_MS),
            container_removals_per_minute_max: values
                .u32("znode.container.maxPerMinute", default::CONTAINERS_PER_MINUTE_MAX),
            container_unused_ms_max: NonZeroU64::new(values.u64("znode.container.maxNeverUsedIntervalMs", 0)),
        }
    }

    fn access(&mut self) -> Access {
        let key = "DigestAuthenticationProvider.superDigest";
        let acl_skipped = self.values.switch("skipACL", false);
        if acl_skipped {
            self.report.warn(self.values.origin("skipACL"), "skipACL", "ACLs are not checked");
        }
        Access {
            acl_skipped,
            digest_scheme: self.values.switch("DigestAuthenticationProvider.enabled", true),
            super_digest: self.values.text(key).map(|digest| Secret::new(digest.to_owned())),
        }
    }

    fn four_letter_words(&mut self, read_only_mode: bool) -> FourLetterWords {
        const KEY: &str = "4lw.commands.whitelist";
        const KNOWN: &[&str] = &[
            "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr", "ruok", "srst",
            "srvr", "stat", "stmk", "wchc", "wchp", "wchs",
        ];
        let mut words = BTreeSet::from(["srvr".to_owned()]);
        if read_only_mode {
            words.insert("isro".to_owned());
        }
        for word in self.values.text(KEY).unwrap_or("").split(',').map(str::trim) {
            match word {
                "*" => return FourLetterWords::All,
                "" => {}
                word if KNOWN.contains(&word) => {
                    words.insert(word.to_owned());
                }
                word => {
                    let text = format!("`{}` is no four-letter word", word.escape_debug());
                    self.report.warn(self.values.origin(KEY), KEY, text);
                }
            }
        }
        FourLetterWords::Only(words)
    }

    fn cores(&self) -> NonZeroUsize {
        let spare = NonZeroUsize::new(self.input.cores_available.get() - 1).unwrap_or(NonZeroUsize::MIN);
        let given = self.values.integer("cores").and_then(|n| usize::try_from(n).ok());
        given.and_then(NonZeroUsize::new).unwrap_or(spare)
    }

    fn ensemble(&mut self, data_dir: &Path) -> Ensemble {
        let my_id = self.my_id(data_dir);
        let dynamic_file = self.values.text("dynamicConfigFile").map(PathBuf::from);
        let membership = self.membership(dynamic_file.as_deref());
        let role = self.role(&membership, my_id);
        let proposed = dynamic_file.as_ref().and_then(|_| self.proposed());
        let values = &self.values;
        let init_ticks_max = values.u32("initLimit", 0);
        let connect = NonZeroU32::new(values.u32("connectToLearnerMasterLimit", 0));
        let ensemble = Ensemble {
            my_id,
            membership,
            version: dynamic_file.as_deref().map_or(0, version_in_name),
            dynamic_file,
            proposed,
            standalone_enabled: values.switch("standaloneEnabled", true),
            reconfig_enabled: values.switch("reconfigEnabled", false),
            leader_serves: values.switch("leaderServes", true),
            digest: values.switch("digest.enabled", true),
            multi_address: values.switch("multiAddress.enabled", false),
            read_only_mode: values.switch("readonlymode.enabled", false),
            local_sessions: values.switch("localSessionsEnabled", false),
            local_sessions_upgraded: values.switch("localSessionsUpgradingEnabled", false),
            role,
            init_ticks_max,
            sync_ticks_max: values.u32("syncLimit", 0),
            connect_ticks_max: connect.map_or(init_ticks_max, NonZeroU32::get),
            listen_on_all: values.switch("quorumListenOnAllIPs", false),
            listen_attempts_max: values.u32("electionPortBindRetry", default::LISTEN_ATTEMPTS),
            election_connect_ms_max: values.u32("cnxTimeout", default::CNX_TIMEOUT_MS),
            notification_interval_min_ms: values
                .u32("fastleader.minNotificationInterval", default::NOTIFICATION_MIN_MS),
            notification_interval_max_ms: values
                .u32("fastleader.maxNotificationInterval", default::NOTIFICATION_MAX_MS),
            epoch_transactions_max: values.u32("leader.epochTransactionsMax", u32::MAX),
            tcp_keep_alive: values.switch("tcpKeepAlive", false),
        };
        self.check_ensemble(&ensemble);
        ensemble
    }

    /// The first line of `myid`; a server without that file has no number.
    fn my_id(&mut self, data_dir: &Path) -> Option<ServerId> {
        let path = data_dir.join("myid");
        let place = path.display().to_string();
        let bytes = match (self.input.read)(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                use io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
                if !matches!(error.kind(), NotFound | NotADirectory | IsADirectory) {
                    self.missing(&place, &format!("cannot be read: {error}"));
                }
                return None;
            }
        };
        let text = String::from_utf8_lossy(&bytes);
        let line = text.lines().next().unwrap_or("").trim();
        let id = line.parse().ok();
        if id.is_none() {
            let text = format!("expected a server's number, found `{}`", line.escape_debug());
            self.missing(&place, &text);
        }
        id
    }

    fn membership(&mut self, dynamic_file: Option<&Path>) -> Membership {
        let multi_address = self.values.switch("multiAddress.enabled", false);
        let Some(path) = dynamic_file else {
            return members::membership(self.settings, multi_address, self.report);
        };
        if path.as_os_str().is_empty() {
            let origin = self.values.origin("dynamicConfigFile");
            self.report.error(origin, "dynamicConfigFile", "expected the path of a file");
            return Membership::default();
        }
        for setting in self.settings.iter().filter(|s| names_members(s)) {
            let text = "must be in the file that dynamicConfigFile names";
            self.report.error(Some(&setting.origin), &setting.name, text);
        }
        let bytes = match (self.input.read)(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                let text = format!("{}: {error}", path.display());
                self.report.error(self.values.origin("dynamicConfigFile"), "dynamicConfigFile", text);
                return Membership::default();
            }
        };
        let mut settings = Settings::default();
        settings.add_file(&Arc::from(path.display().to_string()), &bytes, self.report);
        for setting in settings.iter().filter(|s| !names_members(s)) {
            let text = "expected server.N, group.N and weight.N alone";
            self.report.error(Some(&setting.origin), &setting.name, text);
        }
        Values::read(&settings, self.report);
        members::membership(&settings, multi_address, self.report)
    }

    /// What the server was told of a change of the ensemble before it ended. Like ZooKeeper, it goes by that if
    /// the file is there, and without it if that cannot be read.
    fn proposed(&mut self) -> Option<Proposed> {
        let file = next_dynamic_file_name(self.input.file?.name);
        match (self.input.read)(Path::new(&file)) {
            Ok(bytes) => Some(Proposed { file, text: String::from_utf8_lossy(&bytes).into_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                self.report.warn(None, "", format!("{file}: {error}; it counts for nothing"));
                None
            }
        }
    }

    /// The list of servers decides; a `peerType` that differs is a mistake, and ZooKeeper goes on.
    fn role(&mut self, membership: &Membership, my_id: Option<ServerId>) -> Role {
        let listed = my_id.and_then(|id| membership.members.get(&id)).map_or(Role::Participant, |m| m.role);
        let origin = self.values.origin("peerType");
        match self.values.text("peerType").map(str::parse::<Role>) {
            Some(Err(())) => {
                self.report.error(origin, "peerType", "expected participant or observer");
            }
            Some(Ok(role)) if role != listed => {
                self.report.warn(origin, "peerType", "the list of servers says otherwise and decides");
            }
            _ => {}
        }
        listed
    }

    /// `QuorumPeerConfig`'s checks of what several settings say together.
    fn check_ensemble(&mut self, ensemble: &Ensemble) {
        let on = |name| self.values.switch(name, false);
        let (sasl, server, learner) = (
            on("quorum.auth.enableSasl"),
            on("quorum.auth.serverRequireSasl"),
            on("quorum.auth.learnerRequireSasl"),
        );
        let contradictions = [
            (!sasl && server, "quorum.auth.serverRequireSasl", "needs quorum.auth.enableSasl=true"),
            (!sasl && learner, "quorum.auth.learnerRequireSasl", "needs quorum.auth.enableSasl=true"),
            (
                !learner && server,
                "quorum.auth.serverRequireSasl",
                "needs quorum.auth.learnerRequireSasl=true",
            ),
        ];
        for (wrong, key, text) in contradictions {
            if wrong {
                self.report.error(self.values.origin(key), key, text);
            }
        }
        let participants = ensemble.membership.count(Role::Participant);
        let observers = ensemble.membership.count(Role::Observer);
        let place = self.input.file.map_or("command line", |f| f.name);
        if participants == 0 && !ensemble.standalone_enabled {
            self.missing(place, "standaloneEnabled=false needs a server.N line for a participant");
        }
        if observers > 0 && (participants == 0 || participants == 1 && ensemble.standalone_enabled) {
            self.missing(place, "observers need an ensemble of participants");
        }
        if participants > 0 && ensemble.is_distributed() {
            for (name, ticks) in
                [("initLimit", ensemble.init_ticks_max), ("syncLimit", ensemble.sync_ticks_max)]
            {
                if ticks == 0 {
                    self.missing(place, &format!("{name} is not set, and an ensemble needs it"));
                }
            }
            if ensemble.read_only_mode && !ensemble.local_sessions {
                let key = "readonlymode.enabled";
                let text = "readers get local sessions: without localSessionsEnabled=true none is served";
                self.report.warn(self.values.origin(key), key, text.to_owned());
            }
            if ensemble.my_id.is_none() {
                self.missing(place, "the file myid of dataDir is missing, and an ensemble needs it");
            }
        } else if participants == 1 {
            let text = "one server alone is a standalone server; its server.N line is read for clients alone";
            self.report.warn(None, "", format!("{place}: {text}"));
        }
    }

    /// ZooKeeper raises these to their least value, and says so.
    fn at_least(&mut self, name: &str, least: i64) {
        if let Some(value) = self.values.integer(name).filter(|v| *v < least) {
            let text = format!("{value} is too little; {least} is used");
            self.report.warn(self.values.origin(name), name, text);
        }
    }

    fn missing(&mut self, place: &str, text: &str) {
        self.report.error(None, "", format!("{place}: {text}"));
    }
}

fn names_members(setting: &Setting) -> bool {
    ["server.", "group.", "weight."].iter().any(|family| setting.name.starts_with(family))
}

/// The version that ends a dynamic file's name (`zoo.cfg.dynamic.100000000`), in hexadecimal; 0 without one.
fn version_in_name(path: &Path) -> u64 {
    let extension = path.extension().and_then(|e| e.to_str());
    extension.and_then(java::parse_hex_long).unwrap_or(0)
}
