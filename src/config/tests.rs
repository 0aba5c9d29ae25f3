//! Whole configurations, as operators write them, and what becomes of them.

use std::collections::BTreeMap;
use std::io;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::Path;

use proptest::prelude::*;

use super::*;

type Outcome = Result<(Config, Vec<String>), Vec<String>>;

/// A configuration in the making; the file is `zoo.cfg`, the machine has four cores.
#[derive(Default)]
struct Case {
    file: Option<Vec<u8>>,
    environment: BTreeMap<String, String>,
    overrides: Vec<Override>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Case {
    fn file(text: &str) -> Self {
        Self { file: Some(text.as_bytes().to_vec()), ..Self::default() }
    }

    fn with_file(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.to_owned(), text.as_bytes().to_vec());
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    fn set(mut self, option: &str, key: &str, value: &str) -> Self {
        self.overrides.push(Override { option: option.into(), key: key.into(), value: value.into() });
        self
    }

    fn load(&self) -> Outcome {
        let read = |path: &Path| {
            let contents = path.to_str().and_then(|p| self.files.get(p));
            contents.cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        };
        let input = Input {
            file: self.file.as_deref().map(|bytes| File { name: "zoo.cfg", bytes }),
            environment: &self.environment,
            overrides: &self.overrides,
            cores_available: NonZeroUsize::new(4).expect("4 is not 0"),
            read: &read,
        };
        let lines = |items: Vec<ConfigError>| items.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (config, notices) = load(&input).map_err(lines)?;
        Ok((config, notices.iter().map(ToString::to_string).collect()))
    }

    fn config(&self) -> Config {
        self.load().expect("the configuration is sound").0
    }

    fn errors(&self) -> Vec<String> {
        self.load().expect_err("the configuration is not sound")
    }
}

const MINIMAL: &str = "dataDir=/d\nclientPort=2181\n";

fn minimal(more: &str) -> Case {
    Case::file(&format!("{MINIMAL}{more}"))
}

#[test]
fn without_a_file_a_standalone_server_listens_on_loopback() {
    let (config, notices) = Case::default().load().expect("nothing is needed");
    assert_eq!(config.file, None);
    assert_eq!(config.listen.address.to_string(), "127.0.0.1:2181");
    assert_eq!(config.storage.data_dir, Path::new("ringkeeper-data"));
    assert_eq!(config.storage.data_log_dir, Path::new("ringkeeper-data"));
    assert_eq!(config.cores.get(), 3);
    assert!(config.unservable.is_empty());
    assert_eq!(notices, [""; 0]);
}

#[test]
fn defaults_are_zookeepers() {
    let config = minimal("").config();
    let sessions = Sessions { tick_ms: 3_000, timeout_min_ms: 6_000, timeout_max_ms: 60_000 };
    assert_eq!(config.sessions, sessions);
    assert_eq!(config.listen.address, HostPort { host: None, port: 2181 });
    assert_eq!(config.listen.connections_per_address_max, NonZeroU32::new(60));
    assert_eq!(config.listen.connections_max, None);
    assert_eq!(config.limits.request_bytes_max, 1_048_575);
    assert_eq!(config.limits.transaction_extra_bytes_max, 1_048_575);
    assert_eq!(config.limits.outstanding_requests_max, 1_000);
    assert_eq!(config.checkpoint.transactions_max, None);
    assert_eq!(config.checkpoint.log_bytes_max, NonZeroU64::new(256 << 20));
    assert_eq!(config.retention, Retention { checkpoints_kept: 3, purge: Purge::Default });
    assert_eq!(config.log.segment_bytes, 64 << 20);
    assert_eq!(config.nodes.container_check_interval_ms, 60_000);
    assert_eq!(config.nodes.container_removals_per_minute_max, 10_000);
    assert!(config.four_letter_words.allows("srvr") && !config.four_letter_words.allows("stat"));
    assert!(config.access.digest_scheme && !config.access.acl_skipped);
    assert!(!config.nodes.extended_types && !config.nodes.quota_enforced && config.nodes.digest);
}

#[test]
fn the_file_that_zookeeper_ships_is_taken_in_silence() {
    let text = "\
# a tick\r\ntickTime=2000\r\n# ticks\r\ninitLimit=10\r\nsyncLimit=5\r\ndataDir=/tmp/zookeeper\r\n\
clientPort=2181\r\n#maxClientCnxns=60\r\n#autopurge.snapRetainCount=3\r\n";
    let (config, notices) = Case::file(text).load().expect("it is sound");
    assert_eq!(notices, [""; 0]);
    assert_eq!(config.sessions.tick_ms, 2_000);
    assert_eq!(config.ensemble.init_ticks_max, 10);
}

#[test]
fn a_container_image_file_with_its_flags_is_taken() {
    let text = "\
dataDir=/data
dataLogDir=/datalog
tickTime=2000
initLimit=5
syncLimit=2
autopurge.snapRetainCount=3
autopurge.purgeInterval=0
maxClientCnxns=60
standaloneEnabled=true
admin.enableServer=true
4lw.commands.whitelist=srvr, mntr, ruok
server.1=localhost:2888:3888;2181
";
    let flags = "-Xmx512m -Djute.maxbuffer=0x400000 -Dzookeeper.extendedTypesEnabled=true";
    let case = Case::file(text).env("JVMFLAGS", flags).with_file("/data/myid", "1\n");
    let (config, notices) = case.load().expect("it is sound");
    assert_eq!(config.listen.address, HostPort { host: None, port: 2181 });
    assert_eq!(config.storage.data_log_dir, Path::new("/datalog"));
    assert_eq!(config.limits.request_bytes_max, 4 << 20);
    assert!(config.nodes.extended_types);
    assert!(config.four_letter_words.allows("mntr") && !config.four_letter_words.allows("dump"));
    assert_eq!(config.retention.purge, Purge::Never);
    assert!(config.unservable.is_empty());
    assert_eq!(
        notices,
        [
            "note: JVMFLAGS: flags for the Java virtual machine have no meaning here; left out: 1",
            "warning: zoo.cfg:10: admin.enableServer: accepted, no effect yet: the AdminServer is not there yet",
            "warning: zoo.cfg: one server alone is a standalone server; its server.N line is read for clients alone",
        ]
    );
}

#[test]
fn a_test_harness_file_is_taken() {
    let text = "\
dataDir=/tmp/kz/data
clientPort=20000
tickTime=2000
initLimit=10
maxClientCnxns=0
admin.serverPort=20001
authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider
4lw.commands.whitelist=*
reconfigEnabled=true
";
    let flags = "-Dzookeeper.DigestAuthenticationProvider.superDigest=super:x8DeKCNhJPkGbUQ6bCRbTEs3RQ0= \
        -Dreadonlymode.enabled=true -Djava.security.auth.login.config=/tmp/kz/jaas.conf \
        -Dznode.container.checkIntervalMs=250";
    let (config, notices) = Case::file(text).env("SERVER_JVMFLAGS", flags).load().expect("it is sound");
    assert_eq!(config.listen.connections_per_address_max, None);
    assert_eq!(config.four_letter_words, FourLetterWords::All);
    assert!(config.ensemble.reconfig_enabled && config.ensemble.read_only_mode);
    assert_eq!(config.nodes.container_check_interval_ms, 250);
    let digest = config.access.super_digest.as_ref().map(Secret::expose);
    assert_eq!(digest, Some("super:x8DeKCNhJPkGbUQ6bCRbTEs3RQ0="));
    assert!(!format!("{config:?}").contains("x8DeKC"), "a secret is never printed");
    assert_eq!(notices.len(), 3, "{notices:#?}");
}

#[test]
fn properties_that_zookeeper_takes_from_flags_alone_may_be_lines() {
    let table = [
        "jute.maxbuffer=0x10000",
        "zookeeper.jute.maxbuffer=65536",
        "jute.maxbuffer : 65_536\njute.maxbuffer\\\n = 65536",
    ];
    for lines in table {
        assert_eq!(minimal(lines).config().limits.request_bytes_max, 65_536, "{lines:?}");
    }
    let config =
        minimal("zookeeper.skipACL=yes\nzookeeper.enforceQuota=true\nreadonlymode.enabled=true").config();
    assert!(
        config.access.acl_skipped && config.nodes.quota_enforced && config.four_letter_words.allows("isro")
    );
}

#[test]
fn options_override_the_file_and_the_flags() {
    let case = minimal("snapCount=5\nclientPortAddress=10.0.0.1")
        .env("JVMFLAGS", "-Dzookeeper.snapCount=6")
        .set("--set", "zookeeper.snapCount", "7")
        .set("--client-port", "clientPort", "0")
        .set("--client-address", "clientPortAddress", "::1")
        .set("--data-dir", "dataDir", "/elsewhere")
        .set("--cores", "cores", "2");
    let config = case.config();
    assert_eq!(config.checkpoint.transactions_max, NonZeroU32::new(7));
    assert_eq!(config.listen.address.to_string(), "[::1]:0");
    assert_eq!(config.storage.data_dir, Path::new("/elsewhere"));
    assert_eq!(config.cores.get(), 2);
    assert_eq!(
        Case::default().set("--tick-time", "tickTime", "0").errors(),
        ["error: --tick-time: tickTime: expected an integer from 1 to 107374182, found `0`"]
    );
}

#[test]
fn session_timeouts_default_to_ticks() {
    let table = [
        ("", (6_000, 60_000)),
        ("tickTime=500", (1_000, 10_000)),
        ("minSessionTimeout=-1\nmaxSessionTimeout=-1", (6_000, 60_000)),
        ("minSessionTimeout=100", (100, 60_000)),
        ("maxSessionTimeout=7000", (6_000, 7_000)),
    ];
    for (lines, expected) in table {
        let sessions = minimal(lines).config().sessions;
        assert_eq!((sessions.timeout_min_ms, sessions.timeout_max_ms), expected, "{lines:?}");
    }
    assert_eq!(
        minimal("maxSessionTimeout=5000").errors(),
        ["error: zoo.cfg:3: minSessionTimeout: 6000 ms is more than maxSessionTimeout, 5000 ms"]
    );
}

#[test]
fn what_zookeeper_corrects_is_corrected_and_said() {
    let lines = "snapCount=1\nautopurge.snapRetainCount=1\njute.maxbuffer.extrasize=7\nsnapSizeLimitInKb=-1\n\
        autopurge.purgeInterval=24\nmaxCnxns=-5";
    let (config, notices) = minimal(lines).load().expect("it is sound");
    assert_eq!(config.checkpoint.transactions_max, NonZeroU32::new(2));
    assert_eq!(config.checkpoint.log_bytes_max, None);
    assert_eq!(config.retention.checkpoints_kept, 3);
    assert_eq!(config.retention.purge, Purge::EveryHours(NonZeroU32::new(24).expect("24 is not 0")));
    assert_eq!(config.limits.transaction_extra_bytes_max, 1_024);
    assert_eq!(config.listen.connections_max, None);
    assert_eq!(notices.len(), 3, "{notices:#?}");
    assert!(notices.iter().any(|n| n == "warning: zoo.cfg:3: snapCount: 1 is too little; 2 is used"));
}

#[test]
fn the_log_settings_are_read() {
    let log = minimal("").config().log;
    assert_eq!((log.sync, log.group_delay_us_max), (LogSync::DEFAULT, 0));
    let lines = "log.sync=dsync\nlog.groupCommit.maxDelayUs=200\nlog.groupCommit.maxBatchBytes=65536\n\
        log.segmentBytes=1048576\nsnapshot.bytesPerSecondMax=50000000\npreAllocSize=1024";
    let config = minimal(lines).config();
    let expected = Log {
        sync: LogSync::Dsync,
        group_delay_us_max: 200,
        group_bytes_max: 65_536,
        segment_bytes: 1 << 20,
        slow_sync_ms: 1_000,
    };
    assert_eq!(config.log, expected);
    assert_eq!(config.checkpoint.bytes_per_second_max, NonZeroU64::new(50_000_000));
    for (lines, bytes) in [
        ("snapshot.logBytes=7\nsnapSizeLimitInKb=1", Some(7)),
        ("snapSizeLimitInKb=1", Some(1024)),
        ("snapshot.logBytes=0", None),
    ] {
        let checkpoint = minimal(lines).config().checkpoint;
        assert_eq!(checkpoint.log_bytes_max, bytes.and_then(NonZeroU64::new), "{lines}");
    }
    let prefixed = lines.replace("log.", "zookeeper.log.");
    assert_eq!(minimal(&prefixed).config().log, expected);
    assert_eq!(minimal("forceSync=no").config().log.sync, LogSync::None);
    assert_eq!(minimal("forceSync=no\nlog.sync=direct").config().log.sync, LogSync::Direct);
    for (kib, bytes) in [("65536", 64 << 20), ("1", 64 << 10), ("65", 68 << 10), ("99999999999", 4 << 30)] {
        assert_eq!(minimal(&format!("preAllocSize={kib}")).config().log.segment_bytes, bytes, "{kib}");
    }
    for (line, fault) in [
        ("log.segmentBytes=65537", "log.segmentBytes: expected a multiple of 4096, found 65537"),
        ("log.segmentBytes=1", "log.segmentBytes: expected an integer from 65536 to 4294967296, found `1`"),
        (
            "log.groupCommit.maxDelayUs=-1",
            "log.groupCommit.maxDelayUs: expected an integer from 0 to 1000000, found `-1`",
        ),
        (
            "log.groupCommit.maxBatchBytes=1",
            "log.groupCommit.maxBatchBytes: expected an integer from 4096 to 1073741824, found `1`",
        ),
        ("log.sync=fsync", "log.sync: expected one of fdatasync, dsync, direct, none, found `fsync`"),
    ] {
        assert_eq!(minimal(line).errors(), [format!("error: zoo.cfg:3: {fault}")], "{line}");
    }
}

#[test]
fn every_fault_is_named_in_one_run() {
    let text = "tickTime=x\nclientPort=-1\n\\u00\nserver.1=here\nmaxSessionTimeout=1\n";
    assert_eq!(
        Case::file(text).errors(),
        [
            "error: zoo.cfg:1: tickTime: expected an integer from 1 to 107374182, found `x`",
            "error: zoo.cfg:2: clientPort: expected an integer from 0 to 65535, found `-1`",
            "error: zoo.cfg:3: a \\u escape needs four hexadecimal digits",
            "error: zoo.cfg:4: server.1: no host before a colon in `here`; expected host:port:port[:participant|observer], several joined by |, then ;[host:]port",
            "error: zoo.cfg:5: minSessionTimeout: 6000 ms is more than maxSessionTimeout, 1 ms",
            "error: zoo.cfg: dataDir is not set",
        ]
    );
}

#[test]
fn a_fault_is_one_line_whatever_the_files_are_called() {
    let text = "dataDir=/a\\nb\nclientPort=1\n";
    let errors = Case::file(text).with_file("/a\nb/myid", "none").errors();
    assert_eq!(errors, ["error: /a\\nb/myid: expected a server's number, found `none`"]);
}

#[test]
fn addresses_that_cannot_be_are_refused() {
    let table = [
        ("dataDir=/d", "clientPort is not set"),
        ("dataDir=/d\nclientPortAddress=a", "is set but clientPort is not set"),
        ("dataDir=/d\nsecureClientPort=2281", "TLS is not there yet"),
        ("dataDir=/d\nclientPort=1\nsecureClientPortAddress=a", "is set but secureClientPort is not set"),
        ("dataDir=/d\nclientPort=1\nclientPortAddress=a b", "expected a host name"),
        ("dataDir=/d\nclientPort=1\nclientPortAddress=", "expected a host name"),
        ("dataDir=\nclientPort=1", "expected a directory"),
    ];
    for (text, expected) in table {
        let errors = Case::file(text).errors();
        assert!(errors.iter().any(|e| e.contains(expected)), "{text:?}: {errors:?}");
    }
}

#[test]
fn an_ensemble_is_read() {
    let servers = "initLimit=5\nsyncLimit=2\nserver.1=a:2888:3888\nserver.2=b:2888:3888:observer;2191\n\
        server.3=c:2888:3888\n";
    let (config, _) = minimal(servers).with_file("/d/myid", "3").load().expect("it is sound");
    assert!(config.ensemble.is_distributed());
    assert_eq!(config.ensemble.my_id, Some(ServerId(3)));
    assert_eq!(config.ensemble.membership.members.len(), 3);
    assert!(config.unservable.is_empty());
    let errors = minimal("server.1=a:1:2\nserver.3=c:1:2").errors();
    assert_eq!(errors.len(), 3, "initLimit, syncLimit and myid are missing: {errors:?}");
}

#[test]
fn who_is_to_serve_readers_without_local_sessions_is_told_that_it_cannot() {
    let ensemble = "initLimit=5\nsyncLimit=2\nserver.1=a:1:2\nserver.2=b:1:2\nreadonlymode.enabled=true\n";
    let warnings = |more: &str| {
        let case = minimal(&format!("{ensemble}{more}")).with_file("/d/myid", "1");
        let (config, notices) = case.load().expect("it is sound");
        assert!(config.ensemble.read_only_mode);
        let of_readers = |notice: &String| notice.contains("readers get local sessions");
        notices.iter().map(ToString::to_string).filter(of_readers).count()
    };
    assert_eq!(warnings(""), 1);
    assert_eq!(warnings("localSessionsUpgradingEnabled=true"), 1);
    assert_eq!(warnings("localSessionsEnabled=true"), 0);
}

/// ZooKeeper logs that the two differ, and goes by the list.
#[test]
fn the_list_of_servers_decides_what_a_server_is_and_peer_type_may_only_agree() {
    let servers = "initLimit=5\nsyncLimit=2\nserver.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2:observer\n";
    let case = |id: &str, peer_type: &str| {
        minimal(&format!("{servers}peerType={peer_type}\n")).with_file("/d/myid", id)
    };
    for (id, peer_type, role, differs) in [
        ("1", "participant", Role::Participant, false),
        ("3", "observer", Role::Observer, false),
        ("1", "observer", Role::Participant, true),
        ("3", "participant", Role::Observer, true),
    ] {
        let (config, notices) = case(id, peer_type).load().expect("it is sound");
        assert_eq!(config.ensemble.role, role, "{id} {peer_type}");
        let warned = notices.iter().any(|notice| {
            notice.contains("peerType") && notice.contains("the list of servers says otherwise and decides")
        });
        assert_eq!(warned, differs, "{id} {peer_type}: {notices:?}");
    }
    let errors = case("1", "voter").errors();
    assert!(
        matches!(&errors[..], [error] if error.contains("peerType") && error.contains("participant or observer")),
        "{errors:?}"
    );
}

#[test]
fn standalone_enabled_decides_what_one_server_is() {
    let one = "server.1=a:1:2\ninitLimit=1\nsyncLimit=1\n";
    assert!(!minimal(one).config().ensemble.is_distributed());
    let replicated = minimal(&format!("{one}standaloneEnabled=false")).with_file("/d/myid", "1").config();
    assert!(replicated.ensemble.is_distributed());
    assert_eq!(minimal("standaloneEnabled=false").errors().len(), 1);
    assert_eq!(minimal("server.1=a:1:2:observer").errors().len(), 1);
    assert_eq!(minimal("server.1=a:1:2\nserver.2=b:1:2:observer").errors().len(), 1);
}

#[test]
fn the_dynamic_file_has_the_servers() {
    let text =
        "dataDir=/d\nstandaloneEnabled=true\nreconfigEnabled=true\ndynamicConfigFile=/c/zoo.cfg.dynamic.1f\n";
    let case = || Case::file(text).with_file("/d/myid", "1\n");
    let config =
        case().with_file("/c/zoo.cfg.dynamic.1f", "server.1=a:1:2:participant;127.0.0.1:2182").config();
    assert_eq!(config.listen.address.to_string(), "127.0.0.1:2182");
    assert_eq!(config.ensemble.version, 0x1f);
    assert_eq!(config.ensemble.proposed, None);
    let proposed = case()
        .with_file("/c/zoo.cfg.dynamic.1f", "server.1=a:1:2;5")
        .with_file("zoo.cfg.dynamic.next", "server.1=b:1:2;5\nversion=20")
        .config();
    let proposed = proposed.ensemble.proposed.map(|proposed| proposed.text);
    assert_eq!(proposed.as_deref(), Some("server.1=b:1:2;5\nversion=20"));
    // As ZooKeeper: a configuration that is all in zoo.cfg has none beside it.
    let proposed =
        minimal("").with_file("zoo.cfg.dynamic.next", "server.1=b:1:2;5").config().ensemble.proposed;
    assert_eq!(proposed, None);
    assert!(case().errors()[0].starts_with("error: zoo.cfg:4: dynamicConfigFile: /c/zoo.cfg.dynamic.1f: "));
    let errors = case().with_file("/c/zoo.cfg.dynamic.1f", "server.1=a:1:2;5\ntickTime=7").errors();
    assert_eq!(
        errors,
        ["error: /c/zoo.cfg.dynamic.1f:2: tickTime: expected server.N, group.N and weight.N alone"]
    );
    let both = format!("{text}server.1=a:1:2;5\n");
    let case = Case::file(&both).with_file("/c/zoo.cfg.dynamic.1f", "server.1=a:1:2;5");
    assert!(case.errors()[0].contains("must be in the file that dynamicConfigFile names"));
}

#[test]
fn a_static_client_port_must_not_contradict_the_list_of_servers() {
    let with = |lines: &str| Case::file(&format!("dataDir=/d\n{lines}")).with_file("/d/myid", "1");
    assert_eq!(with("server.1=a:1:2;5\nclientPort=5").config().listen.address.port, 5);
    assert_eq!(with("server.1=a:1:2;5\nclientPort=6").errors().len(), 1);
    assert_eq!(with("server.1=a:1:2;b:5\nclientPort=5\nclientPortAddress=c").errors().len(), 1);
    let bad = Case::file(MINIMAL).with_file("/d/myid", "one").errors();
    assert_eq!(bad, ["error: /d/myid: expected a server's number, found `one`"]);
}

#[test]
fn what_would_open_a_closed_server_is_not_served() {
    for line in [
        "enforce.auth.enabled=true",
        "zookeeper.sessionRequireClientSASLAuth=true",
        "DigestAuthenticationProvider.digestAlg=SHA-256",
    ] {
        assert_eq!(minimal(line).config().unservable.len(), 1, "{line}");
    }
    for line in ["enforce.auth.enabled=false", "DigestAuthenticationProvider.digestAlg=sha1"] {
        assert!(minimal(line).config().unservable.is_empty(), "{line}");
    }
    for line in ["sslQuorum=true", "quorum.auth.enableSasl=true", "db.autocreate=false"] {
        assert!(minimal(line).config().unservable.is_empty(), "{line}: a standalone server has no peers");
        let peers =
            format!("{line}\ninitLimit=5\nsyncLimit=2\nserver.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2");
        let config = minimal(&peers).with_file("/d/myid", "1").config();
        assert_eq!(config.unservable.len(), 1, "{line}");
    }
}

#[test]
fn a_key_without_a_meaning_gets_one_line_that_says_so() {
    let (_, notices) =
        minimal("serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\nflushDelay=5")
            .load()
            .expect("it is sound");
    assert_eq!(notices.len(), 2);
    assert!(minimal("admin.enableServer=false").load().expect("it is sound").1.is_empty());
    for notice in notices {
        assert!(notice.starts_with("note: zoo.cfg:"), "{notice}");
        assert!(notice.contains("accepted, no meaning here: "), "{notice}");
    }
}

#[test]
fn directories_may_be_kept_from_being_made() {
    assert!(minimal("").config().storage.directories_created);
    let off = minimal("").env("ZOO_DATADIR_AUTOCREATE_DISABLE", "1");
    assert!(!off.config().storage.directories_created);
}

#[test]
fn every_key_takes_a_good_value_and_refuses_a_bad_one() {
    use keys::Kind;
    for key in keys::all() {
        let name = key.name.replace('*', "1");
        let (good, bad) = match key.kind {
            Kind::Integer { min, max } | Kind::Decoded { min, max } => {
                (65_536.clamp(min, max).to_string(), Some("many"))
            }
            Kind::Switch => ("true".to_owned(), Some("perhaps")),
            Kind::YesNo => ("no".to_owned(), Some("NO")),
            Kind::Fraction { .. } => ("0.5".to_owned(), Some("half")),
            Kind::Word(words) => (words[0].to_owned(), Some("other")),
            Kind::Text | Kind::Secret => ("x".to_owned(), None),
        };
        let load = |value: &str| Case::default().set("--set", &name, value).load();
        // Some of these contradict the other settings; what counts is that the value itself is read.
        let complaint = load(&good).err().unwrap_or_default().join("\n");
        assert!(!complaint.contains(": expected an integer"), "{name}={good}: {complaint}");
        if let Some(bad) = bad {
            let errors = load(bad).expect_err("the value is bad");
            assert!(errors[0].contains(&format!("{name}: expected ")), "{name}={bad}: {errors:?}");
            assert!(errors[0].ends_with(&format!("found `{bad}`")), "{name}={bad}: {errors:?}");
        }
    }
}

proptest! {
    /// No file, flags or option can make the parser panic, nor any `myid` or dynamic file.
    #[test]
    fn any_input_has_an_outcome(
        file in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            "((server|group|weight)\\.[0-9a-z]{1,2}|[a-zA-Z.]{1,9})[=: ][-0-9a-z:;|.\\[\\]\\\\]{0,20}\n{1,5}"
                .prop_map(String::into_bytes),
        ],
        known in 0..1_000_usize,
        value in "[-0-9a-zA-Z:;|,*\\[\\]#.]{0,24}",
        flags in ".{0,60}",
        myid in proptest::collection::vec(any::<u8>(), 0..8),
    ) {
        let names: Vec<_> = keys::all().map(|k| k.name).collect();
        let name = names[known % names.len()].replace('*', "1");
        let mut case = Case::default().env("JVMFLAGS", &format!("{flags} -Dzookeeper.{name}={value}"));
        case.file = Some(file);
        case.files.insert("ringkeeper-data/myid".to_owned(), myid.clone());
        case.files.insert("/d/myid".to_owned(), myid);
        let _ = case.load();
        let case = case.set("--data-dir", "dataDir", "/d").set("--set", &name, &value);
        let _ = case.load();
    }
}
