//! The keys themselves, one a line: name, carrier, kind of value, meaning.
//!
//! Facts are those of ZooKeeper 3.9.5's source, and of its administrator's guide where that names more.

use super::{Carrier, Key, Kind, Meaning};

use Carrier::{Bare, Both, File, Own, Prefixed};
use Kind::{Secret, Switch, Text, YesNo};
use Meaning::{Ensemble, NotYet, Used, Without};

const INT_MAX: i64 = i32::MAX as i64;
const INT_MIN: i64 = i32::MIN as i64;

const fn key(name: &'static str, carrier: Carrier, kind: Kind, meaning: Meaning) -> Key {
    Key { name, carrier, kind, meaning, aliases: &[] }
}

/// `Integer.parseInt` within bounds.
const fn int(min: i64, max: i64) -> Kind {
    Kind::Integer { min, max }
}

/// `Integer.getInteger` within bounds.
const fn dec(min: i64, max: i64) -> Kind {
    Kind::Decoded { min, max }
}

const fn guard(harmless: &'static str, missing: &'static str) -> Meaning {
    Meaning::Guard { harmless, missing }
}

/// A guard of ensembles alone: a standalone server has no peers.
const fn peers(missing: &'static str) -> Meaning {
    Meaning::PeersGuard { harmless: "false", missing }
}

const PORT: Kind = int(0, 65_535);
const ANY_INT: Kind = int(INT_MIN, INT_MAX);
const ANY_LONG: Kind = int(i64::MIN, i64::MAX);
const ANY_DEC: Kind = dec(INT_MIN, INT_MAX);
const ANY_DEC_LONG: Kind = dec(i64::MIN, i64::MAX);
const ANY_FRACTION: Kind = Kind::Fraction { min: f64::MIN, max: f64::MAX };

/// So that twenty ticks, the default longest session timeout, are still an `int`.
const TICK: Kind = int(1, INT_MAX / 20);

/// All tables, by topic.
pub(in crate::config) const TABLES: &[&[Key]] = &[SERVER, STORAGE, OWN, ENSEMBLE, ACCESS, TLS, ADMIN, JAVA];

const NO_TLS: Meaning = NotYet("TLS is not there yet");
const NO_SASL: Meaning = NotYet("SASL is not there yet");
const NO_HTTP: Meaning = NotYet("the AdminServer is not there yet");
const NO_METRICS: Meaning =
    NotYet("metrics are not exported over HTTP yet; the four-letter word mntr has them");
const NO_CONNECTION_THROTTLE: Meaning =
    NotYet("connections are not throttled by rate yet; maxCnxns and maxClientCnxns limit their number");
const NO_REQUEST_THROTTLE: Meaning =
    NotYet("requests are not throttled this way yet; globalOutstandingLimit stops the reading of sockets");
const OWN_CORES: Meaning = Without("a fixed set of cores serves connections, see the key cores");
const OWN_WATCHES: Meaning = Without("the watch table here has one form and needs no cleaner");
const OWN_NETWORK: Meaning = Without("there is one network stack, on io_uring");
const OWN_GROUP_COMMIT: Meaning = Without(
    "writes gather while a sync is in flight; log.groupCommit.maxDelayUs and log.groupCommit.maxBatchBytes widen that",
);
const OWN_DIFFERENCE: Meaning = Without(
    "a learner gets its difference from memory or from the log on disk, wherever that reaches back far enough",
);
const OWN_PAUSES: Meaning = Without("a server tries again after a pause of its own, which begins at 20 ms");
const NO_OBSERVER_MASTER: Meaning = NotYet("observers follow the leader alone");
const NO_SYNC_THROTTLE: Meaning =
    NotYet("learners are synchronised as they come, without a limit of their number");
/// With `false` ZooKeeper counts no vote of a server whose data is gone.
const EMPTY_VOTES: Meaning = Meaning::PeersGuard {
    harmless: "true",
    missing: "a server without data votes with an empty tree, and cannot be kept from it yet",
};
const OWN_CACHE: Meaning = Without("replies are made straight from the tree, without a cache");
const OWN_LOGGING: Meaning = Without("messages go to standard error, see the variable RUST_LOG");
const NO_JVM: Meaning = Without("there is no Java virtual machine");
const CLIENTS: Meaning = Without("it is a setting of ZooKeeper's clients");

#[rustfmt::skip]
const SERVER: &[Key] = &[
    key("clientPort", File, PORT, Used("the port for clients; 0 takes a free one")),
    key("clientPortAddress", File, Text, Used("the address for clients; without it, all")),
    key("clientPortListenBacklog", File, int(-1, INT_MAX), Used("connections that wait to be accepted; -1 is 4096, as far as net.core.somaxconn allows")),
    key("clientTcpKeepAlive", Prefixed, Switch, Used("TCP keep-alive on clients' connections")),
    key("tickTime", File, TICK, Used("the length of a tick in milliseconds")),
    key("minSessionTimeout", File, int(-1, INT_MAX), Used("the shortest session timeout in milliseconds; -1 is two ticks")),
    key("maxSessionTimeout", File, int(-1, INT_MAX), Used("the longest session timeout in milliseconds; -1 is twenty ticks")),
    key("maxClientCnxns", File, ANY_INT, Used("connections from one address; 0 or less is no limit")),
    key("maxCnxns", Prefixed, ANY_DEC, Used("connections in all; 0 or less is no limit")),
    key("globalOutstandingLimit", Prefixed, dec(0, INT_MAX), Used("requests in flight before sockets are no longer read")),
    key("jute.maxbuffer", Bare, dec(1, INT_MAX), Used("the longest request in bytes, of which 268435456 are possible")),
    key("jute.maxbuffer.extrasize", Prefixed, ANY_DEC, Used("bytes that a transaction may have more than jute.maxbuffer; a longer one is refused")),
    key("largeRequestMaxBytes", Prefixed, ANY_DEC, NotYet("large requests are not counted apart yet; jute.maxbuffer bounds each")),
    key("largeRequestThreshold", Prefixed, ANY_DEC, NotYet("large requests are not counted apart yet; jute.maxbuffer bounds each")),
    key("readonlymode.enabled", Bare, Switch, Ensemble("a server without a quorum serves readers, if localSessionsEnabled lets it give them sessions; adds isro to the four-letter words")),
    key("4lw.commands.whitelist", Prefixed, Text, Used("the four-letter words that are answered; * is all")),
    key("extendedTypesEnabled", Prefixed, Switch, Used("TTL nodes")),
    key("emulate353TTLNodes", Prefixed, Switch, NotYet("TTL nodes have the form of 3.5.4 and later alone")),
    key("enforceQuota", Prefixed, Switch, Used("hard quotas refuse a write")),
    key("znode.container.checkIntervalMs", Bare, dec(1, INT_MAX), Used("milliseconds between two searches for empty containers and expired TTL nodes")),
    key("znode.container.maxPerMinute", Bare, dec(1, INT_MAX), Used("container and TTL nodes removed a minute at most")),
    key("znode.container.maxNeverUsedIntervalMs", Bare, dec(0, i64::MAX), Used("milliseconds that a container without any child so far is kept; 0 is for ever")),
    key("localSessionsEnabled", File, Switch, Ensemble("a new session is known to its server alone, and costs no transaction")),
    key("localSessionsUpgradingEnabled", File, Switch, Ensemble("a local session that makes an ephemeral node becomes one of the ensemble")),
    key("connection_throttle_tokens", Prefixed, ANY_DEC, NO_CONNECTION_THROTTLE).also(&["connectionMaxTokens"]),
    key("connection_throttle_fill_time", Prefixed, ANY_DEC, NO_CONNECTION_THROTTLE).also(&["connectionTokenFillTime"]),
    key("connection_throttle_fill_count", Prefixed, ANY_DEC, NO_CONNECTION_THROTTLE).also(&["connectionTokenFillCount"]),
    key("connection_throttle_freeze_time", Prefixed, ANY_DEC, NO_CONNECTION_THROTTLE).also(&["connectionFreezeTime"]),
    key("connection_throttle_drop_increase", Prefixed, ANY_FRACTION, NO_CONNECTION_THROTTLE).also(&["connectionDropIncrease"]),
    key("connection_throttle_drop_decrease", Prefixed, ANY_FRACTION, NO_CONNECTION_THROTTLE).also(&["connectionDropDecrease"]),
    key("connection_throttle_decrease_ratio", Prefixed, ANY_FRACTION, NO_CONNECTION_THROTTLE).also(&["connectionDecreaseRatio"]),
    key("connection_throttle_weight_enabled", Prefixed, Switch, NO_CONNECTION_THROTTLE),
    key("connection_throttle_global_session_weight", Prefixed, ANY_DEC, NO_CONNECTION_THROTTLE),
    key("connection_throttle_local_session_weight", Prefixed, ANY_DEC, NO_CONNECTION_THROTTLE),
    key("connection_throttle_renew_session_weight", Prefixed, ANY_DEC, NO_CONNECTION_THROTTLE),
    key("request_throttle_max_requests", Prefixed, ANY_DEC, NO_REQUEST_THROTTLE).also(&["requestThrottleLimit"]),
    key("request_throttle_stall_time", Prefixed, ANY_DEC, NO_REQUEST_THROTTLE).also(&["requestThrottleStallTime"]),
    key("request_throttle_drop_stale", Prefixed, Switch, NO_REQUEST_THROTTLE).also(&["requestThrottleDropStale"]),
    key("request_stale_latency_check", Prefixed, Switch, NO_REQUEST_THROTTLE).also(&["requestStaleLatencyCheck"]),
    key("request_stale_connection_check", Prefixed, Switch, NO_REQUEST_THROTTLE).also(&["requestStaleConnectionCheck"]),
    key("request_throttler.shutdownTimeout", Prefixed, ANY_DEC, NO_REQUEST_THROTTLE),
    key("throttled_op_wait_time", Prefixed, ANY_DEC, NO_REQUEST_THROTTLE).also(&["throttledOpWaitTime"]),
    key("serverCnxnFactory", Prefixed, Text, OWN_NETWORK),
    key("netty.advancedFlowControl.enabled", Prefixed, Switch, OWN_NETWORK).also(&["advancedFlowControlEnabled"]),
    key("nio.numSelectorThreads", Prefixed, ANY_DEC, OWN_CORES),
    key("nio.numWorkerThreads", Prefixed, ANY_DEC, OWN_CORES),
    key("nio.directBufferBytes", Prefixed, ANY_DEC, OWN_NETWORK),
    key("nio.sessionlessCnxnTimeout", Prefixed, ANY_DEC, NotYet("a connection without a session has a fixed time-out")),
    key("nio.shutdownTimeout", Prefixed, ANY_DEC_LONG, OWN_CORES),
    key("commitProcessor.numWorkerThreads", Prefixed, ANY_DEC, OWN_CORES),
    key("commitProcessor.maxReadBatchSize", Prefixed, ANY_DEC, OWN_CORES),
    key("commitProcessor.maxCommitBatchSize", Prefixed, ANY_DEC, OWN_CORES),
    key("commitProcessor.shutdownTimeout", Prefixed, ANY_DEC_LONG, OWN_CORES),
    key("intBufferStartingSizeBytes", Prefixed, ANY_DEC, OWN_NETWORK),
    key("maxResponseCacheSize", Prefixed, ANY_DEC, OWN_CACHE),
    key("maxGetChildrenResponseCacheSize", Prefixed, ANY_DEC, OWN_CACHE),
    key("watchManagerName", Prefixed, Text, OWN_WATCHES),
    key("watcherCleanThreadsNum", Prefixed, ANY_DEC, OWN_WATCHES),
    key("watcherCleanThreshold", Prefixed, ANY_DEC, OWN_WATCHES),
    key("watcherCleanIntervalInSeconds", Prefixed, ANY_DEC, OWN_WATCHES),
    key("maxInProcessingDeadWatchers", Prefixed, ANY_DEC, OWN_WATCHES),
    key("bitHashCacheSize", Prefixed, ANY_DEC, OWN_WATCHES),
];

#[rustfmt::skip]
const STORAGE: &[Key] = &[
    key("dataDir", File, Text, Used("the directory of the checkpoints")),
    key("dataLogDir", File, Text, Used("the directory of the log; without it, dataDir")),
    key("datadir.autocreate", Prefixed, Switch, Used("a missing data directory is created")),
    key("db.autocreate", Prefixed, Switch, EMPTY_VOTES),
    key("snapCount", Prefixed, ANY_DEC, Used("transactions from one checkpoint to the next; 2 at least; no limit where it is not given")),
    key("snapSizeLimitInKb", Prefixed, dec(i64::MIN, i64::MAX / 1024), Used("KiB of log from one checkpoint to the next, where snapshot.logBytes is not given; 0 or less is no limit")),
    key("preAllocSize", Prefixed, int(1, i64::MAX / 1024), Used("the size of a log segment in KiB, where log.segmentBytes is not given")),
    key("forceSync", Prefixed, YesNo, Used("no: a reply does not wait for the disk, as log.sync=none")),
    key("fsync.warningthresholdms", Both, dec(0, i64::MAX), Used("milliseconds after which a sync is reported as slow")),
    key("autopurge.snapRetainCount", File, ANY_INT, Used("checkpoints that are kept; 3 at least")),
    key("autopurge.purgeInterval", File, ANY_INT, Used("0 or less: old files are never removed; else they are after each checkpoint")),
    key("digest.enabled", Prefixed, Switch, Used("a leader tells ZooKeeper's servers the digest of the tree behind each transaction, as long as it has no more than 1,000,000 nodes")),
    key("txnLogSizeLimitInKb", Prefixed, ANY_DEC_LONG, Without("log segments have a fixed size, see log.segmentBytes")),
    key("flushDelay", Prefixed, ANY_DEC_LONG, OWN_GROUP_COMMIT),
    key("maxWriteQueuePollTime", Prefixed, ANY_DEC_LONG, OWN_GROUP_COMMIT),
    key("maxBatchSize", Prefixed, ANY_DEC, OWN_GROUP_COMMIT),
    key("snapshot.compression.method", Prefixed, Text, Without("checkpoints are mapped into memory and are not compressed")),
    key("snapshot.trust.empty", Prefixed, Switch, Without("a log without its checkpoint is never taken for a whole tree")),
    key("serializeLastProcessedZxid.enabled", Prefixed, Switch, Without("a checkpoint always carries its zxid")),
    key("closeSessionTxn.enabled", Prefixed, Switch, Without("a closed session's transaction always lists its ephemeral nodes")),
    key("test.allowDiscontinuousProposals", Prefixed, Switch, Without("it exists for ZooKeeper's own tests")),
    key("testingonly.initialZxid", Prefixed, Text, Without("it exists for ZooKeeper's own tests")),
];

/// Smallest log segment, so that a header and some batches fit; largest, so that one is written soon.
const SEGMENT: Kind = int(65_536, 4 << 30);

#[rustfmt::skip]
const OWN: &[Key] = &[
    key("cores", Own, int(1, 1_024), Used("client cores; by default one less than the machine has, 1 at least")),
    key("ring", Own, Kind::Word(&["own", "tokio-uring"]), Used("what runs the threads' tasks on io_uring; own, unless given")),
    key("ring.spinUs", Own, int(0, 10_000), Used("microseconds for which a thread looks for work before it sleeps, where that nearly always finds some")),
    key("trace.stages", Own, Switch, Used("false: it is not counted how long requests are at each stage (zk_stage_ in mntr)")),
    key("log.sync", Own, Kind::Word(&["fdatasync", "dsync", "direct", "none"]), Used("how the log reaches the disk")),
    key("log.groupCommit.maxDelayUs", Own, int(0, 1_000_000), Used("microseconds that a batch waits for more writes; 0 gathers only while a sync is in flight")),
    key("log.groupCommit.maxBatchBytes", Own, int(4_096, 1 << 30), Used("bytes after which a batch is written without more waiting")),
    key("log.segmentBytes", Own, SEGMENT, Used("the size of a log segment, a multiple of 4096")),
    key("snapshot.logBytes", Own, int(0, i64::MAX), Used("bytes of log from one checkpoint to the next; 0 is no limit; 268435456 where nothing is given")),
    key("leader.epochTransactionsMax", Own, int(1_000, u32::MAX as i64), Ensemble("transactions that an epoch may have; at three quarters of them the leader moves to the next, which no client notices; 4294967295, all that a zxid can tell, where it is not given")),
    key("snapshot.bytesPerSecondMax", Own, int(0, i64::MAX), Used("the disk share of a checkpoint; 0 is no limit; 67108864 where it is not given")),
];

#[rustfmt::skip]
const ENSEMBLE: &[Key] = &[
    key("server.*", File, Text, Ensemble("a server of the ensemble")),
    key("group.*", File, Text, Ensemble("servers that form a group of a hierarchical quorum")),
    key("weight.*", File, int(0, i64::MAX), Ensemble("a server's weight in votes")),
    key("dynamicConfigFile", File, Text, Ensemble("the file that lists the servers")),
    key("standaloneEnabled", File, Switch, Ensemble("false: a single server is an ensemble of one")),
    key("reconfigEnabled", File, Switch, Used("reconfiguration by clients is allowed")),
    key("initLimit", File, int(0, INT_MAX), Ensemble("ticks that a follower may take to connect and synchronise")),
    key("syncLimit", File, int(0, INT_MAX), Ensemble("ticks that a follower may lag")),
    key("connectToLearnerMasterLimit", File, int(0, INT_MAX), Ensemble("ticks that a follower may take to connect; 0 is initLimit")),
    key("electionAlg", File, int(3, 3), Ensemble("the election; 3 is the only one left")),
    key("peerType", File, Text, Ensemble("participant or observer")),
    key("quorumListenOnAllIPs", File, Switch, Ensemble("peers are heard on all addresses")),
    key("observerMasterPort", File, int(INT_MIN, 65_535), NO_OBSERVER_MASTER),
    key("syncEnabled", File, Switch, Without("an observer always writes its log")),
    key("observer.syncEnabled", Prefixed, Switch, Without("an observer always writes its log")),
    key("leaderServes", Prefixed, YesNo, Ensemble("no: the leader takes no clients")),
    key("commitLogCount", Prefixed, ANY_INT, OWN_DIFFERENCE),
    key("snapshotSizeFactor", Prefixed, Kind::Fraction { min: f64::MIN, max: f64::MAX }, OWN_DIFFERENCE),
    key("cnxTimeout", Prefixed, int(0, INT_MAX), Ensemble("milliseconds to open an election connection")),
    key("quorumCnxnTimeoutMs", Prefixed, dec(-1, INT_MAX), Without("an election connection may be silent; a peer that is gone shows in its heartbeats")),
    key("electionPortBindRetry", Prefixed, dec(0, INT_MAX), Ensemble("attempts to listen on its own addresses, a second apart, while their names have none of this machine's; 0 is without end, by default 60; a port that is taken ends the start at once")),
    key("fastleader.minNotificationInterval", Prefixed, dec(1, INT_MAX), Ensemble("milliseconds between two election notifications at first")),
    key("fastleader.maxNotificationInterval", Prefixed, dec(1, INT_MAX), Ensemble("milliseconds between two election notifications at last")),
    key("leader.maxTimeToWaitForEpoch", Prefixed, ANY_DEC, Without("a new leader waits initLimit ticks for a quorum, and ends the wait when its voters are known to look elsewhere")).also(&["maxTimeToWaitForEpoch"]),
    key("leader.maxConcurrentSnapSyncs", Prefixed, dec(1, INT_MAX), NO_SYNC_THROTTLE).also(&["maxConcurrentSnapSyncs"]),
    key("leader.maxConcurrentDiffSyncs", Prefixed, dec(1, INT_MAX), NO_SYNC_THROTTLE).also(&["maxConcurrentDiffSyncs"]),
    key("observer.reconnectDelayMs", Prefixed, dec(0, i64::MAX), OWN_PAUSES),
    key("observer.election.DelayMs", Prefixed, dec(0, i64::MAX), OWN_PAUSES),
    key("tcpKeepAlive", Prefixed, Switch, Ensemble("TCP keep-alive on election connections")),
    key("multiAddress.enabled", Prefixed, Switch, Ensemble("a server may have several addresses")),
    key("multiAddress.reachabilityCheckTimeoutMs", Prefixed, int(1, INT_MAX), Without("all addresses of a peer are tried, each for cnxTimeout")),
    key("multiAddress.reachabilityCheckEnabled", Prefixed, Switch, Without("all addresses of a peer are tried, each for cnxTimeout")),
    key("oraclePath", File, Text, NotYet("there is no oracle: of two servers both must be there")),
    key("quorum.cnxn.threads.size", File, ANY_INT, OWN_NETWORK),
    key("enableEagerACLCheck", Prefixed, Switch, Without("the leader checks the ACL of a forwarded write")),
    key("follower.skipLearnerRequestToNextProcessor", Prefixed, Switch, OWN_NETWORK),
    key("forward_learner_requests_to_commit_processor_disabled", Prefixed, Switch, OWN_NETWORK),
    key("forceSnapshotSync", Prefixed, Switch, NotYet("a follower gets the difference wherever there is one")),
    key("observerMaster.sizeLimit", Prefixed, ANY_DEC, NO_OBSERVER_MASTER),
    key("leader.ackLoggingFrequency", Prefixed, ANY_DEC, Without("an ack's latency is not logged")),
    key("leader.closeSocketAsync", Both, Switch, OWN_NETWORK),
    key("learner.closeSocketAsync", Both, Switch, OWN_NETWORK),
    key("learner.asyncSending", Both, Switch, OWN_NETWORK),
    key("leaderConnectDelayDuringRetryMs", Prefixed, ANY_DEC, OWN_PAUSES),
    key("leader.nodelay", Bare, Switch, Without("TCP_NODELAY is always set")),
    key("follower.nodelay", Bare, Switch, Without("TCP_NODELAY is always set")),
    key("messageTracker.BufferSize", Prefixed, ANY_DEC, NotYet("messages between leader and follower are not kept")),
    key("messageTracker.Enabled", Prefixed, Switch, NotYet("messages between leader and follower are not kept")),
    key("quorum.auth.enableSasl", File, Switch, peers("SASL between servers is not there yet, so anybody would get in")),
    key("quorum.auth.serverRequireSasl", File, Switch, peers("SASL between servers is not there yet, so anybody would get in")),
    key("quorum.auth.learnerRequireSasl", File, Switch, peers("SASL between servers is not there yet, so anybody would get in")),
    key("quorum.auth.learner.saslLoginContext", File, Text, NO_SASL),
    key("quorum.auth.server.saslLoginContext", File, Text, NO_SASL),
    key("quorum.auth.kerberos.servicePrincipal", File, Text, NO_SASL),
    key("kerberos.canonicalizeHostNames", Prefixed, Switch, NO_SASL),
    key("sslQuorum", File, Switch, peers("TLS between servers is not there yet, so all would be sent in the clear")),
    key("portUnification", File, Switch, Without("peers are heard without TLS alone, which is not there yet")),
    key("sslQuorumReloadCertFiles", File, Switch, NO_TLS),
];

#[rustfmt::skip]
const ACCESS: &[Key] = &[
    key("skipACL", Prefixed, YesNo, Used("yes: ACLs are not checked")),
    key("DigestAuthenticationProvider.superDigest", Prefixed, Secret, Used("user and digest of the super user")),
    key("DigestAuthenticationProvider.enabled", Prefixed, Switch, Used("the scheme digest is there")),
    key("DigestAuthenticationProvider.digestAlg", Prefixed, Text, guard("SHA1", "SHA1 is the only digest algorithm so far")),
    key("enforce.auth.enabled", Prefixed, Switch, guard("false", "authentication cannot be enforced yet, so clients without it would get in")),
    key("enforce.auth.schemes", Prefixed, Text, NotYet("authentication cannot be enforced yet")),
    key("sessionRequireClientSASLAuth", Prefixed, Switch, guard("false", "SASL is not there yet, so clients without it would get in")),
    key("allowSaslFailedClients", Prefixed, Switch, NO_SASL),
    key("authProvider.*", Prefixed, Text, NotYet("the schemes are world, auth, digest and ip; others, SASL and X.509 among them, are refused to clients")).also(&["authProvider"]),
    key("superUser", Prefixed, Text, NotYet("the super user is digest's alone; SASL and X.509 are not there yet")),
    key("superUser.*", Prefixed, Text, NotYet("the super user is digest's alone; SASL and X.509 are not there yet")),
    key("X509AuthenticationProvider.superUser", Prefixed, Text, NotYet("the super user is digest's alone; SASL and X.509 are not there yet")),
    key("SASLAuthenticationProvider.superPassword", Prefixed, Secret, NO_SASL),
    key("ensembleAuthName", Prefixed, Text, NotYet("the scheme ensemble is not there yet and is refused to clients")),
    key("IPAuthenticationProvider.usexforwardedfor", Prefixed, Switch, NO_HTTP),
    key("java.security.auth.login.config", Bare, Text, NO_SASL),
    key("java.security.krb5.conf", Bare, Text, NO_SASL),
    key("sasl.serverconfig", Prefixed, Text, NO_SASL),
    key("letAnySaslUserDoX", Prefixed, Text, NO_SASL),
    key("kerberos.removeHostFromPrincipal", Prefixed, Switch, NO_SASL),
    key("kerberos.removeRealmFromPrincipal", Prefixed, Switch, NO_SASL),
    key("kerberos.minReLoginTimeMs", Prefixed, ANY_DEC_LONG, NO_SASL),
    key("requireKerberosConfig", Prefixed, Switch, NO_SASL),
    key("security.auth_to_local", Prefixed, Text, NO_SASL),
    key("server.principal", Prefixed, Text, NO_SASL),
    key("server.realm", Prefixed, Text, NO_SASL),
    key("kinit", Prefixed, Text, NO_SASL),
    key("sun.security.jgss.native", Bare, Switch, NO_SASL),
    key("audit.enable", Prefixed, Switch, NotYet("the audit log is not there yet")),
    key("audit.impl.class", Prefixed, Text, NotYet("the audit log is not there yet")),
];

#[rustfmt::skip]
const TLS: &[Key] = &[
    key("secureClientPort", File, PORT, NotYet("TLS is not there yet, so this port is not opened")),
    key("secureClientPortAddress", File, Text, NotYet("TLS is not there yet, so this port is not opened")),
    key("client.portUnification", Prefixed, Switch, NotYet("TLS is not there yet, so clientPort takes plain connections alone")),
    key("client.certReload", Prefixed, Switch, NO_TLS),
    key("fips-mode", Prefixed, Switch, NO_TLS),
    key("netty.server.outstandingHandshake.limit", Prefixed, ANY_DEC, NO_TLS).also(&["outstandingHandshake.limit"]),
    key("netty.server.earlyDropSecureConnectionHandshakes", Prefixed, Switch, NO_TLS),
    key("ssl.authProvider", Prefixed, Text, NO_TLS),
    key("ssl.sslProvider", Prefixed, Text, NO_TLS),
    key("ssl.keyStore.password", Prefixed, Secret, NO_TLS),
    key("ssl.trustStore.password", Prefixed, Secret, NO_TLS),
    key("ssl.keyStore.location", Prefixed, Text, NO_TLS),
    key("ssl.keyStore.passwordPath", Prefixed, Text, NO_TLS),
    key("ssl.keyStore.type", Prefixed, Text, NO_TLS),
    key("ssl.trustStore.location", Prefixed, Text, NO_TLS),
    key("ssl.trustStore.passwordPath", Prefixed, Text, NO_TLS),
    key("ssl.trustStore.type", Prefixed, Text, NO_TLS),
    key("ssl.protocol", Prefixed, Text, NO_TLS),
    key("ssl.enabledProtocols", Prefixed, Text, NO_TLS),
    key("ssl.ciphersuites", Prefixed, Text, NO_TLS),
    key("ssl.context.supplier.class", Prefixed, Text, NO_TLS),
    key("ssl.hostnameVerification", Prefixed, Switch, NO_TLS),
    key("ssl.clientHostnameVerification", Prefixed, Switch, NO_TLS),
    key("ssl.allowReverseDnsLookup", Prefixed, Switch, NO_TLS),
    key("ssl.crl", Prefixed, Switch, NO_TLS),
    key("ssl.ocsp", Prefixed, Switch, NO_TLS),
    key("ssl.clientAuth", Prefixed, Text, NO_TLS),
    key("ssl.handshakeDetectionTimeoutMillis", Prefixed, ANY_INT, NO_TLS),
    key("ssl.quorum.keyStore.location", Prefixed, Text, NO_TLS),
    key("ssl.quorum.keyStore.password", Prefixed, Secret, NO_TLS),
    key("ssl.quorum.keyStore.passwordPath", Prefixed, Text, NO_TLS),
    key("ssl.quorum.keyStore.type", Prefixed, Text, NO_TLS),
    key("ssl.quorum.trustStore.location", Prefixed, Text, NO_TLS),
    key("ssl.quorum.trustStore.password", Prefixed, Secret, NO_TLS),
    key("ssl.quorum.trustStore.passwordPath", Prefixed, Text, NO_TLS),
    key("ssl.quorum.trustStore.type", Prefixed, Text, NO_TLS),
    key("ssl.quorum.protocol", Prefixed, Text, NO_TLS),
    key("ssl.quorum.enabledProtocols", Prefixed, Text, NO_TLS),
    key("ssl.quorum.ciphersuites", Prefixed, Text, NO_TLS),
    key("ssl.quorum.context.supplier.class", Prefixed, Text, NO_TLS),
    key("ssl.quorum.hostnameVerification", Prefixed, Switch, NO_TLS),
    key("ssl.quorum.clientHostnameVerification", Prefixed, Switch, NO_TLS),
    key("ssl.quorum.allowReverseDnsLookup", Prefixed, Switch, NO_TLS),
    key("ssl.quorum.crl", Prefixed, Switch, NO_TLS),
    key("ssl.quorum.ocsp", Prefixed, Switch, NO_TLS),
    key("ssl.quorum.clientAuth", Prefixed, Text, NO_TLS),
    key("ssl.quorum.handshakeDetectionTimeoutMillis", Prefixed, ANY_INT, NO_TLS),
];

#[rustfmt::skip]
const ADMIN: &[Key] = &[
    key("admin.enableServer", Prefixed, Switch, NO_HTTP),
    key("admin.serverAddress", Prefixed, Text, NO_HTTP),
    key("admin.serverPort", Prefixed, dec(0, 65_535), NO_HTTP),
    key("admin.idleTimeout", Prefixed, ANY_DEC, NO_HTTP),
    key("admin.httpVersion", Prefixed, ANY_DEC, NO_HTTP),
    key("admin.commandURL", Prefixed, Text, NO_HTTP),
    key("admin.rateLimiterIntervalInMS", Prefixed, ANY_INT, NO_HTTP),
    key("admin.snapshot.enabled", Prefixed, Switch, NO_HTTP),
    key("admin.restore.enabled", Prefixed, Switch, NO_HTTP),
    key("admin.needClientAuth", Prefixed, Switch, NO_HTTP),
    key("admin.forceHttps", Prefixed, Switch, NO_HTTP),
    key("admin.portUnification", Prefixed, Switch, NO_HTTP),
    key("metricsProvider.className", File, Text, NO_METRICS),
    key("metricsProvider.httpHost", File, Text, NO_METRICS),
    key("metricsProvider.httpPort", File, PORT, NO_METRICS),
    key("metricsProvider.exportJvmInfo", File, Switch, NO_JVM),
    key("metricsProvider.numWorkerThreads", File, ANY_INT, NO_METRICS),
    key("metricsProvider.maxQueueSize", File, ANY_INT, NO_METRICS),
    key("metricsProvider.workerShutdownTimeoutMs", File, ANY_LONG, NO_METRICS),
    key("metricsProvider.*", File, Text, NO_METRICS),
    key("controllerPort", Prefixed, PORT, Without("it exists for ZooKeeper's own tests")),
    key("pathStats.*", Prefixed, Text, NotYet("requests are not counted by path yet")),
];

#[rustfmt::skip]
const JAVA: &[Key] = &[
    key("jvm.pause.monitor", File, Switch, NO_JVM),
    key("jvm.pause.sleep.time.ms", File, ANY_LONG, NO_JVM),
    key("jvm.pause.warn-threshold.ms", File, ANY_LONG, NO_JVM),
    key("jvm.pause.info-threshold.ms", File, ANY_LONG, NO_JVM),
    key("jmx.log4j.disable", Prefixed, Switch, NO_JVM),
    key("jmx.log4j.mbean", Prefixed, Text, NO_JVM),
    key("log.dir", Prefixed, Text, OWN_LOGGING),
    key("log.file", Prefixed, Text, OWN_LOGGING),
    key("log.threshold", Prefixed, Text, OWN_LOGGING),
    key("log.maxfilesize", Prefixed, Text, OWN_LOGGING),
    key("log.maxbackupindex", Prefixed, Text, OWN_LOGGING),
    key("root.logger", Prefixed, Text, OWN_LOGGING),
    key("console.threshold", Prefixed, Text, OWN_LOGGING),
    key("tracelog.dir", Prefixed, Text, OWN_LOGGING),
    key("tracelog.file", Prefixed, Text, OWN_LOGGING),
    key("auditlog.file", Prefixed, Text, OWN_LOGGING),
    key("auditlog.threshold", Prefixed, Text, OWN_LOGGING),
    key("audit.logger", Prefixed, Text, OWN_LOGGING),
    key("sasl.client", Prefixed, Text, CLIENTS),
    key("sasl.client.*", Prefixed, Text, CLIENTS),
    key("sasl.clientconfig", Prefixed, Text, CLIENTS),
    key("client.secure", Prefixed, Text, CLIENTS),
    key("clientCnxnSocket", Prefixed, Text, CLIENTS),
    key("request.timeout", Prefixed, Text, CLIENTS),
    key("disableAutoWatchReset", Prefixed, Text, CLIENTS),
];
