//! Collects settings from where operators put them, and decides which of several wins.
//!
//! Places: the command line; lines of zoo.cfg; `-D` flags of the environment variables `SERVER_JVMFLAGS` and
//! `JVMFLAGS`, which zkServer.sh passes to Java in this order, the last one winning;
//! `ZOO_DATADIR_AUTOCREATE_DISABLE`, which zkServer.sh turns into a flag before them.
//!
//! Precedence, highest first:
//!
//! 1. The command line.
//! 2. What ZooKeeper itself would use: a zoo.cfg line before a `-D` flag, because ZooKeeper sets the property
//!    `zookeeper.NAME` from the line `NAME` after Java has read the flags. For the few properties that ZooKeeper
//!    reads without its prefix (`jute.maxbuffer`) only the flag counts there, so it wins here too.
//! 3. What ZooKeeper would silently ignore: another spelling (`zookeeper.snapCount` or `jute.maxbuffer` as a
//!    line, `-DsnapCount`), a line before a flag. It is taken, with a note, where nothing above is given.
//!
//! So a file and flags that ran ZooKeeper mean the same here, and what they meant to say is heard. Within one
//! rank the later one wins, as in Java. Our own keys are lines with or without the prefix. Keys that `QuorumPeerConfig` reads by name (`tickTime`) have that one
//! spelling; another is ignored with a warning, as ZooKeeper ignores it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::keys::{self, Carrier, Key};
use super::properties;
use super::report::{Origin, Report};

/// The prefix of ZooKeeper's system properties.
const PREFIX: &str = "zookeeper.";

/// A setting of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The option as it was written, for messages: `--client-port`, `--set`.
    pub option: String,
    /// The key, with or without `zookeeper.`.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// How strongly a setting binds; the order is that of the module's precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    IgnoredFlag,
    IgnoredLine,
    /// `-DNAME` where ZooKeeper prefers `-Dzookeeper.NAME`.
    OldFlag,
    Flag,
    Line,
    CommandLine,
}

/// One setting, its value trimmed but not yet read.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub key: &'static Key,
    /// The canonical name, without prefix; for a member of a family the member's.
    pub name: String,
    pub value: String,
    pub origin: Origin,
    rank: Rank,
}

/// The winning setting of each key.
#[derive(Debug, Default)]
pub(super) struct Settings {
    by_name: BTreeMap<String, Setting>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Line,
    Flag,
}

impl Settings {
    pub(super) fn get(&self, name: &str) -> Option<&Setting> {
        self.by_name.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.by_name.values()
    }

    /// The members of the family `prefix` (`server.`), with what follows the prefix.
    pub(super) fn family<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Setting)> {
        self.iter().filter_map(move |s| Some((s.name.strip_prefix(prefix)?, s)))
    }

    /// Takes the lines of a properties file.
    pub(super) fn add_file(&mut self, file: &Arc<str>, bytes: &[u8], report: &mut Report) {
        let (entries, malformed) = properties::parse(bytes);
        let at = |line| Origin::Line { file: Arc::clone(file), line };
        for bad in malformed {
            report.error(Some(&at(bad.line)), "", bad.what);
        }
        if let Some(before) = bytes.iter().position(|b| !b.is_ascii()) {
            let line = 1 + bytes[..before].iter().filter(|&&b| b == b'\n').count();
            let text = "not ASCII; the file is read as ISO-8859-1, as Java reads it (use \\uXXXX escapes)";
            report.info(Some(&at(u32::try_from(line).unwrap_or(u32::MAX))), "", text);
        }
        for entry in entries {
            self.add(Place::Line, entry.key.trim(), &entry.value, at(entry.line), report);
        }
    }

    /// Takes the `-D` flags of the environment.
    pub(super) fn add_environment(&mut self, environment: &BTreeMap<String, String>, report: &mut Report) {
        const AUTOCREATE_OFF: &str = "ZOO_DATADIR_AUTOCREATE_DISABLE";
        if environment.get(AUTOCREATE_OFF).is_some_and(|v| !v.is_empty()) {
            let origin = Origin::Environment(AUTOCREATE_OFF);
            self.add(Place::Flag, "zookeeper.datadir.autocreate", "false", origin, report);
        }
        for variable in ["SERVER_JVMFLAGS", "JVMFLAGS"] {
            if let Some(flags) = environment.get(variable) {
                self.add_flags(variable, flags, report);
            }
        }
    }

    fn add_flags(&mut self, variable: &'static str, flags: &str, report: &mut Report) {
        let origin = Origin::Environment(variable);
        let words = shlex::split(flags).unwrap_or_else(|| {
            report.warn(Some(&origin), "", "a quote is not closed; the flags are split at blanks");
            flags.split_whitespace().map(str::to_owned).collect()
        });
        let mut for_java_alone = 0;
        for word in words {
            let Some(definition) = word.strip_prefix("-D") else {
                for_java_alone += 1;
                continue;
            };
            let (name, value) = definition.split_once('=').unwrap_or((definition, ""));
            let ours = name.starts_with(PREFIX)
                || keys::find(name).is_some_and(|f| !matches!(f.key.carrier, Carrier::File | Carrier::Own));
            if ours {
                self.add(Place::Flag, name, value, origin.clone(), report);
            } else {
                for_java_alone += 1;
            }
        }
        if for_java_alone > 0 {
            let text = format!(
                "flags for the Java virtual machine have no meaning here; left out: {for_java_alone}"
            );
            report.info(Some(&origin), "", text);
        }
    }

    /// Takes the command line's settings.
    pub(super) fn add_overrides(&mut self, overrides: &[Override], report: &mut Report) {
        for Override { option, key, value } in overrides {
            let origin = Origin::CommandLine(option.clone());
            let name = key.trim();
            let bare = name.strip_prefix(PREFIX).unwrap_or(name);
            let Some(found) = keys::find(bare) else {
                // A typing error on a command line is seen at once: it may stop the server.
                report.error(Some(&origin), name, unknown(bare));
                continue;
            };
            let name = if found.by_alias { found.key.name } else { bare };
            self.insert(Setting::new(found.key, name, value, origin, Rank::CommandLine), report);
        }
    }

    fn add(&mut self, place: Place, written: &str, value: &str, origin: Origin, report: &mut Report) {
        let bare = written.strip_prefix(PREFIX).unwrap_or(written);
        let prefixed = bare.len() < written.len();
        let Some(found) = keys::find(bare) else {
            report.warn(Some(&origin), written, unknown(bare));
            return;
        };
        let name = if found.by_alias { found.key.name } else { bare };
        let rank = match rank(found.key.carrier, place, prefixed, found.by_alias) {
            Some(rank) => rank,
            None => {
                let text = format!("ignored, as ZooKeeper ignores it: it is the line {name} of zoo.cfg");
                report.warn(Some(&origin), written, text);
                return;
            }
        };
        if rank <= Rank::IgnoredLine {
            let text =
                format!("taken as {name}, though ZooKeeper reads it only as {}", as_read(found.key, name));
            report.info(Some(&origin), written, text);
        }
        self.insert(Setting::new(found.key, name, value, origin, rank), report);
    }

    /// Keeps the stronger of two settings; says which one was left, unless the command line meant to.
    fn insert(&mut self, new: Setting, report: &mut Report) {
        let Some(old) = self.by_name.get_mut(&new.name) else {
            self.by_name.insert(new.name.clone(), new);
            return;
        };
        let by_intent = new.rank == Rank::CommandLine && old.rank != Rank::CommandLine;
        let loser = if new.rank >= old.rank { std::mem::replace(old, new) } else { new };
        if loser.value != old.value && !by_intent {
            report.warn(Some(&loser.origin), &loser.name, format!("overridden by {}", old.origin));
        }
    }
}

impl Setting {
    fn new(key: &'static Key, name: &str, value: &str, origin: Origin, rank: Rank) -> Self {
        Self { key, name: name.to_owned(), value: value.trim().to_owned(), origin, rank }
    }
}

/// `None` where ZooKeeper ignores the spelling and so do we.
fn rank(carrier: Carrier, place: Place, prefixed: bool, by_alias: bool) -> Option<Rank> {
    if by_alias {
        return Some(ignored(place));
    }
    Some(match (carrier, place, prefixed) {
        // Nobody has used our own keys without a prefix yet, so neither spelling is wrong.
        (Carrier::File, Place::Line, false) | (Carrier::Own, Place::Line, _) => Rank::Line,
        (Carrier::File | Carrier::Own, _, _) => return None,
        (Carrier::Prefixed | Carrier::Both, Place::Line, false) => Rank::Line,
        (Carrier::Prefixed | Carrier::Both, Place::Flag, true) | (Carrier::Bare, Place::Flag, false) => {
            Rank::Flag
        }
        (Carrier::Both, Place::Flag, false) => Rank::OldFlag,
        _ => ignored(place),
    })
}

fn ignored(place: Place) -> Rank {
    match place {
        Place::Line => Rank::IgnoredLine,
        Place::Flag => Rank::IgnoredFlag,
    }
}

/// The spellings that ZooKeeper reads.
fn as_read(key: &Key, name: &str) -> String {
    match key.carrier {
        Carrier::File | Carrier::Own => format!("the line {name}"),
        Carrier::Prefixed | Carrier::Both => format!("the line {name} or the flag -Dzookeeper.{name}"),
        Carrier::Bare => format!("the flag -D{name}"),
    }
}

fn unknown(name: &str) -> String {
    match keys::nearest(name) {
        Some(known) => format!("unknown key; did you mean {known}?"),
        None => "unknown key".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(file: &str, flags: &[(&str, &str)], overrides: &[(&str, &str)]) -> (Settings, Report) {
        let mut settings = Settings::default();
        let mut report = Report::default();
        let environment = flags.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        settings.add_environment(&environment, &mut report);
        settings.add_file(&"zoo.cfg".into(), file.as_bytes(), &mut report);
        let overrides: Vec<_> = overrides
            .iter()
            .map(|&(key, value)| Override { option: "--set".into(), key: key.into(), value: value.into() })
            .collect();
        settings.add_overrides(&overrides, &mut report);
        (settings, report)
    }

    fn value<'a>(settings: &'a Settings, name: &str) -> Option<&'a str> {
        settings.get(name).map(|s| s.value.as_str())
    }

    #[test]
    fn precedence_is_what_zookeeper_would_use() {
        // Name, zoo.cfg, JVMFLAGS, command line, and the value that wins.
        let table: &[(&str, &str, &str, Option<&str>, &str)] = &[
            ("snapCount", "snapCount=1", "-Dzookeeper.snapCount=2", None, "1"),
            ("snapCount", "snapCount=1", "-Dzookeeper.snapCount=2", Some("3"), "3"),
            ("snapCount", "zookeeper.snapCount=1", "-Dzookeeper.snapCount=2", None, "2"),
            ("snapCount", "zookeeper.snapCount=1", "-DsnapCount=2", None, "1"),
            ("snapCount", "zookeeper.snapCount=1\nsnapCount=2", "", None, "2"),
            ("snapCount", "snapCount=2\nzookeeper.snapCount=1", "", None, "2"),
            ("snapCount", "snapCount=1\nsnapCount=2", "", None, "2"),
            ("snapCount", "", "-Dzookeeper.snapCount=1 -Dzookeeper.snapCount=2", None, "2"),
            ("jute.maxbuffer", "jute.maxbuffer=1", "-Djute.maxbuffer=2", None, "2"),
            ("jute.maxbuffer", "jute.maxbuffer=1", "-Dzookeeper.jute.maxbuffer=2", None, "1"),
            ("jute.maxbuffer", "zookeeper.jute.maxbuffer=1", "", None, "1"),
            (
                "learner.asyncSending",
                "",
                "-Dlearner.asyncSending=a -Dzookeeper.learner.asyncSending=b",
                None,
                "b",
            ),
            (
                "learner.asyncSending",
                "",
                "-Dzookeeper.learner.asyncSending=b -Dlearner.asyncSending=a",
                None,
                "b",
            ),
            ("connection_throttle_tokens", "connectionMaxTokens=1", "", None, "1"),
            (
                "connection_throttle_tokens",
                "connectionMaxTokens=1\nconnection_throttle_tokens=2",
                "",
                None,
                "2",
            ),
        ];
        for (name, file, flags, command_line, expected) in table {
            let overrides: Vec<_> = command_line.iter().map(|&v| (*name, v)).collect();
            let (settings, _) = collect(file, &[("JVMFLAGS", flags)], &overrides);
            assert_eq!(value(&settings, name), Some(*expected), "{file:?} {flags:?} {command_line:?}");
        }
    }

    #[test]
    fn jvmflags_come_after_server_jvmflags() {
        let flags = [("JVMFLAGS", "-Dzookeeper.snapCount=1"), ("SERVER_JVMFLAGS", "-Dzookeeper.snapCount=2")];
        assert_eq!(value(&collect("", &flags, &[]).0, "snapCount"), Some("1"));
    }

    #[test]
    fn flags_are_split_as_a_shell_splits() {
        let flags =
            r#"-Xmx1g "-Dzookeeper.superUser=CN=a b" -Dzookeeper.4lw.commands.whitelist='ruok, srvr'"#;
        let (settings, report) = collect("", &[("JVMFLAGS", flags)], &[]);
        assert_eq!(value(&settings, "superUser"), Some("CN=a b"));
        assert_eq!(value(&settings, "4lw.commands.whitelist"), Some("ruok, srvr"));
        assert_eq!(report.notices.len(), 1, "{:?}", report.notices);
        let (settings, report) = collect("", &[("JVMFLAGS", "-Dzookeeper.snapCount=7 '-Dopen")], &[]);
        assert_eq!(value(&settings, "snapCount"), Some("7"));
        assert!(report.notices[0].text.contains("quote"));
    }

    #[test]
    fn a_key_of_the_file_has_one_spelling() {
        let (settings, report) =
            collect("zookeeper.tickTime=5", &[("JVMFLAGS", "-Dzookeeper.clientPort=1")], &[]);
        assert!(settings.get("tickTime").is_none() && settings.get("clientPort").is_none());
        let lines: Vec<_> = report.notices.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "warning: JVMFLAGS: zookeeper.clientPort: ignored, as ZooKeeper ignores it: it is the line clientPort of zoo.cfg",
                "warning: zoo.cfg:1: zookeeper.tickTime: ignored, as ZooKeeper ignores it: it is the line tickTime of zoo.cfg",
            ]
        );
    }

    #[test]
    fn what_was_overridden_is_said() {
        let (_, report) = collect("snapCount=1\nsnapCount=2\n", &[], &[("snapCount", "3")]);
        let lines: Vec<_> = report.notices.iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["warning: zoo.cfg:1: snapCount: overridden by zoo.cfg:2"]);
    }

    #[test]
    fn unknown_names_get_the_nearest_known_one() {
        let (_, report) = collect("\ntickTme=1\ncolour=2", &[("JVMFLAGS", "-Dzookeeper.snapCnt=3")], &[]);
        let lines: Vec<_> = report.notices.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "warning: JVMFLAGS: zookeeper.snapCnt: unknown key; did you mean snapCount?",
                "warning: zoo.cfg:2: tickTme: unknown key; did you mean tickTime?",
                "warning: zoo.cfg:3: colour: unknown key",
            ]
        );
        let (_, report) = collect("", &[], &[("tickTme", "1")]);
        assert_eq!(
            report.errors[0].to_string(),
            "error: --set: tickTme: unknown key; did you mean tickTime?"
        );
    }
}
