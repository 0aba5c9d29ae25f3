//! Every configuration key that ZooKeeper 3.9 knows, and our own: how ZooKeeper is given it, what its value
//! looks like, and what it means here.
//!
//! The list is that of ZooKeeper's administrator's guide, of `QuorumPeerConfig`, and of the system properties
//! that the server's source reads. A key without a meaning here is listed all the same: an operator's file is
//! taken as it is, and each such key gets one line that says why it changes nothing.

mod table;

pub(super) use table::TABLES;

/// Where ZooKeeper reads a setting. It decides which of two places wins, see [`super::sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    /// A zoo.cfg line that `QuorumPeerConfig` reads by name; a `-D` flag has no effect in ZooKeeper.
    File,
    /// The system property `zookeeper.NAME`, which the zoo.cfg line `NAME` sets too.
    Prefixed,
    /// The system property `NAME`: in ZooKeeper only a `-D` flag sets it.
    Bare,
    /// The system property `zookeeper.NAME`, or `NAME` where that is not set.
    Both,
    /// A key of this server, unknown to ZooKeeper.
    Own,
}

/// What a value looks like; bounds are inclusive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// `Integer.parseInt` or `Long.parseLong`.
    Integer { min: i64, max: i64 },
    /// `Integer.getInteger` or `Long.getLong`: also hexadecimal and octal.
    Decoded { min: i64, max: i64 },
    /// `true` or `false`, in any case.
    Switch,
    /// `yes` or `no`, lower case, as ZooKeeper compares them.
    YesNo,
    /// A decimal fraction.
    Fraction { min: f64, max: f64 },
    /// One of a few words, lower case.
    Word(&'static [&'static str]),
    /// Anything; checked by its reader where it has a form.
    Text,
    /// Anything, never printed.
    Secret,
}

/// What a key means to this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It does what it does in ZooKeeper.
    Used(&'static str),
    /// It concerns ensembles alone; without effect on a standalone server, in ZooKeeper as here.
    Ensemble(&'static str),
    /// It can have no effect here: why.
    Without(&'static str),
    /// It will have an effect one day; today it has none: what is missing.
    NotYet(&'static str),
    /// As `NotYet`, but to serve without it would open what the operator closed, so that any value but
    /// `harmless` refuses service.
    Guard {
        /// The value that asks for nothing.
        harmless: &'static str,
        /// What is missing.
        missing: &'static str,
    },
    /// A `Guard` of what passes between servers; without effect on a standalone server.
    PeersGuard {
        /// The value that asks for nothing.
        harmless: &'static str,
        /// What is missing.
        missing: &'static str,
    },
}

/// One known key. A name that ends in `.*` stands for a family (`server.*`: `server.1`, `server.2`, …).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Key {
    pub name: &'static str,
    pub carrier: Carrier,
    pub kind: Kind,
    pub meaning: Meaning,
    /// Names that the guide gives but that ZooKeeper's source does not read.
    pub aliases: &'static [&'static str],
}

impl Key {
    const fn also(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// The part of `name` that varies, where this key is a family and `name` belongs to it.
    fn member<'n>(&self, name: &'n str) -> Option<&'n str> {
        let family = self.name.strip_suffix('*')?;
        name.strip_prefix(family).filter(|rest| !rest.is_empty())
    }
}

/// A name looked up: its key, and whether it is only an alias of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub key: &'static Key,
    pub by_alias: bool,
}

/// All keys.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    TABLES.iter().copied().flatten()
}

/// Looks up a name without its `zookeeper.` prefix: an exact name first, then an alias, then a family.
pub(super) fn find(name: &str) -> Option<Found> {
    all()
        .find(|key| key.name == name)
        .map(|key| Found { key, by_alias: false })
        .or_else(|| all().find(|k| k.aliases.contains(&name)).map(|key| Found { key, by_alias: true }))
        .or_else(|| all().find(|k| k.member(name).is_some()).map(|key| Found { key, by_alias: false }))
}

/// The known name nearest to an unknown one, if any is near enough to be what was meant.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    // Beyond this length no known name is near, and the distance costs the product of the lengths.
    const NAME_CHARS_MAX: usize = 100;
    if name.len() > NAME_CHARS_MAX {
        return None;
    }
    let distance_max = 1 + name.len() / 5;
    let lower = name.to_ascii_lowercase();
    let length = lower.chars().count();
    // Names of very different lengths cannot be near, and most are: a distance costs far more than a length.
    let near = |known: &&'static str| known.len().abs_diff(length) <= distance_max;
    let names = all().flat_map(|k| k.aliases.iter().copied().chain([k.name])).filter(near);
    let distance = |known: &str| strsim::damerau_levenshtein(&known.to_ascii_lowercase(), &lower);
    let (distance, known) = names.map(|known| (distance(known), known)).min()?;
    (distance <= distance_max).then_some(known)
}

/// A key for people: its name, where it is written, what its value is, what it means here.
pub(super) fn describe(key: &Key) -> String {
    let place = match key.carrier {
        Carrier::File | Carrier::Own => "zoo.cfg".to_owned(),
        Carrier::Prefixed | Carrier::Both => format!("zoo.cfg or -Dzookeeper.{}", key.name),
        Carrier::Bare => format!("zoo.cfg or -D{}", key.name),
    };
    let meaning = match key.meaning {
        Meaning::Used(text) => text.to_owned(),
        Meaning::Ensemble(text) => format!("for ensembles: {text}"),
        Meaning::Without(text) => format!("accepted, no meaning here: {text}"),
        Meaning::NotYet(text) => format!("accepted, no effect yet: {text}"),
        Meaning::Guard { harmless, missing } => format!("only {harmless} is served: {missing}"),
        Meaning::PeersGuard { harmless, missing } => {
            format!("for ensembles: only {harmless} is served: {missing}")
        }
    };
    format!("{}  ({place}; {})\n    {meaning}", key.name, super::values::expected(key.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that `QuorumPeerConfig.parseProperties` compares with, in its order.
    const QUORUM_PEER_CONFIG: &[&str] = &[
        "dataDir",
        "dataLogDir",
        "clientPort",
        "localSessionsEnabled",
        "localSessionsUpgradingEnabled",
        "clientPortAddress",
        "secureClientPort",
        "secureClientPortAddress",
        "observerMasterPort",
        "clientPortListenBacklog",
        "tickTime",
        "maxClientCnxns",
        "minSessionTimeout",
        "maxSessionTimeout",
        "initLimit",
        "syncLimit",
        "connectToLearnerMasterLimit",
        "electionAlg",
        "quorumListenOnAllIPs",
        "peerType",
        "syncEnabled",
        "dynamicConfigFile",
        "autopurge.snapRetainCount",
        "autopurge.purgeInterval",
        "standaloneEnabled",
        "reconfigEnabled",
        "sslQuorum",
        "portUnification",
        "sslQuorumReloadCertFiles",
        "server.1",
        "group.1",
        "weight.1",
        "quorum.auth.enableSasl",
        "quorum.auth.serverRequireSasl",
        "quorum.auth.learnerRequireSasl",
        "quorum.auth.learner.saslLoginContext",
        "quorum.auth.server.saslLoginContext",
        "quorum.auth.kerberos.servicePrincipal",
        "quorum.cnxn.threads.size",
        "jvm.pause.info-threshold.ms",
        "jvm.pause.warn-threshold.ms",
        "jvm.pause.sleep.time.ms",
        "jvm.pause.monitor",
        "metricsProvider.className",
        "metricsProvider.httpPort",
        "multiAddress.enabled",
        "multiAddress.reachabilityCheckTimeoutMs",
        "multiAddress.reachabilityCheckEnabled",
        "oraclePath",
    ];

    /// The key names of the administrator's guide, and its system properties where they differ, one a line.
    const GUIDE: &str = include_str!("keys/guide.txt");

    #[test]
    fn every_key_of_quorum_peer_config_is_read_from_the_file() {
        for name in QUORUM_PEER_CONFIG {
            let found = find(name).unwrap_or_else(|| panic!("{name} is unknown"));
            // The fields of these start from the system property and a line overrides it.
            let from_property = name.starts_with("multiAddress.");
            let carrier = if from_property { Carrier::Prefixed } else { Carrier::File };
            assert_eq!(found.key.carrier, carrier, "{name}");
            assert!(!found.by_alias, "{name}");
        }
    }

    #[test]
    fn no_other_key_claims_to_be_read_by_quorum_peer_config() {
        for key in all().filter(|k| k.carrier == Carrier::File) {
            let known = QUORUM_PEER_CONFIG.iter().any(|name| *name == key.name || key.member(name).is_some());
            // Any name with this prefix is read there.
            assert!(known || key.name.starts_with("metricsProvider."), "{}", key.name);
        }
    }

    #[test]
    fn every_key_of_the_guide_is_known() {
        let missing: Vec<_> = GUIDE
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .filter(|name| find(name.strip_prefix("zookeeper.").unwrap_or(name)).is_none())
            .collect();
        assert_eq!(missing, [""; 0]);
    }

    #[test]
    fn names_are_unique_and_every_meaning_says_something() {
        let mut seen = std::collections::BTreeSet::new();
        for key in all() {
            for name in key.aliases.iter().copied().chain([key.name]) {
                assert!(seen.insert(name), "{name} is listed twice");
            }
            let text = match key.meaning {
                Meaning::Used(text) | Meaning::Ensemble(text) => text,
                Meaning::Without(text) | Meaning::NotYet(text) => text,
                Meaning::Guard { missing, .. } | Meaning::PeersGuard { missing, .. } => missing,
            };
            assert!(text.len() > 8, "{}: {text:?}", key.name);
            assert!(!text.ends_with('.'), "{}: the notice adds its own end", key.name);
        }
    }

    #[test]
    fn a_slip_of_the_pen_finds_the_name_that_was_meant() {
        assert_eq!(nearest("tickTme"), Some("tickTime"));
        assert_eq!(nearest("ticktime"), Some("tickTime"));
        assert_eq!(nearest("maxClientCnxn"), Some("maxClientCnxns"));
        assert_eq!(nearest("autopurge.snapRetainCounts"), Some("autopurge.snapRetainCount"));
        assert_eq!(nearest("log.groupCommit.maxDelayMs"), Some("log.groupCommit.maxDelayUs"));
        assert_eq!(nearest("colour"), None);
        assert_eq!(nearest(&"x".repeat(1 << 20)), None);
    }
}
