//! Reads each setting's text by the kind of its key, once, so that the rest deals in typed values.

use std::collections::BTreeMap;

use super::java;
use super::keys::Kind;
use super::report::{Origin, Report};
use super::sources::{Setting, Settings};

/// A value as its kind has it.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Integer(i64),
    Switch(bool),
    Text(String),
    /// Read for its form alone: no setting of this kind has an effect so far.
    Fraction,
}

/// The typed values of all settings that could be read; the others were reported.
#[derive(Debug)]
pub(super) struct Values<'a> {
    settings: &'a Settings,
    by_name: BTreeMap<&'a str, Value>,
}

impl<'a> Values<'a> {
    pub(super) fn read(settings: &'a Settings, report: &mut Report) -> Self {
        let mut by_name = BTreeMap::new();
        for setting in settings.iter() {
            match value(setting.key.kind, &setting.value) {
                Some(value) => {
                    by_name.insert(setting.name.as_str(), value);
                }
                None => report.error(Some(&setting.origin), &setting.name, mismatch(setting)),
            }
        }
        Self { settings, by_name }
    }

    /// An integer; its bounds are those of the key's kind.
    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        match self.by_name.get(name)? {
            Value::Integer(value) => Some(*value),
            other => panic!("{name} is read as an integer but is {other:?}"),
        }
    }

    /// An integer as `u32`: what is below 0 counts as 0.
    pub(super) fn u32(&self, name: &str, default: u32) -> u32 {
        self.integer(name).map_or(default, |v| u32::try_from(v.max(0)).unwrap_or(u32::MAX))
    }

    /// An integer as `u64`: what is below 0 counts as 0.
    pub(super) fn u64(&self, name: &str, default: u64) -> u64 {
        self.integer(name).map_or(default, |v| v.max(0).unsigned_abs())
    }

    /// `true` or `false`, `yes` or `no`.
    pub(super) fn switch(&self, name: &str, default: bool) -> bool {
        match self.by_name.get(name) {
            None => default,
            Some(Value::Switch(value)) => *value,
            Some(other) => panic!("{name} is read as a switch but is {other:?}"),
        }
    }

    /// Text, a word or a secret.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.by_name.get(name)? {
            Value::Text(value) => Some(value),
            other => panic!("{name} is read as text but is {other:?}"),
        }
    }

    /// Where a setting was written.
    pub(super) fn origin(&self, name: &str) -> Option<&'a Origin> {
        self.settings.get(name).map(|s| &s.origin)
    }

    /// Whether a setting was given, readable or not.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.settings.get(name).is_some()
    }
}

fn value(kind: Kind, text: &str) -> Option<Value> {
    let within = |min, max| move |v: &i64| (min..=max).contains(v);
    match kind {
        Kind::Integer { min, max } => java::parse_long(text).filter(within(min, max)).map(Value::Integer),
        Kind::Decoded { min, max } => java::decode_long(text).filter(within(min, max)).map(Value::Integer),
        Kind::Switch if text.eq_ignore_ascii_case("true") => Some(Value::Switch(true)),
        Kind::Switch if text.eq_ignore_ascii_case("false") => Some(Value::Switch(false)),
        Kind::YesNo if text == "yes" => Some(Value::Switch(true)),
        Kind::YesNo if text == "no" => Some(Value::Switch(false)),
        Kind::Switch | Kind::YesNo => None,
        Kind::Fraction { min, max } => {
            text.parse().ok().filter(|v| (min..=max).contains(v)).map(|_| Value::Fraction)
        }
        Kind::Word(words) => words.contains(&text).then(|| Value::Text(text.to_owned())),
        Kind::Text | Kind::Secret => Some(Value::Text(text.to_owned())),
    }
}

fn mismatch(setting: &Setting) -> String {
    format!("expected {}, found `{}`", expected(setting.key.kind), setting.value.escape_debug())
}

/// What a kind accepts, in words.
pub(super) fn expected(kind: Kind) -> String {
    match kind {
        Kind::Integer { min, max } => bounds(min, max),
        Kind::Decoded { min, max } => format!("{}; 0x and 0 begin hexadecimal and octal", bounds(min, max)),
        Kind::Switch => "true or false".to_owned(),
        Kind::YesNo => "yes or no".to_owned(),
        Kind::Fraction { .. } => "a decimal fraction".to_owned(),
        Kind::Word(words) => format!("one of {}", words.join(", ")),
        Kind::Text | Kind::Secret => "text".to_owned(),
    }
}

fn bounds(min: i64, max: i64) -> String {
    match (min, max) {
        (i64::MIN, _) => "an integer".to_owned(),
        (min, i64::MAX) => format!("an integer from {min}"),
        (min, max) if min == max => format!("{min}"),
        (min, max) => format!("an integer from {min} to {max}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(line: &str) -> Vec<String> {
        let mut report = Report::default();
        let mut settings = Settings::default();
        settings.add_file(&"zoo.cfg".into(), line.as_bytes(), &mut report);
        Values::read(&settings, &mut report);
        report.errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_bad_value_names_file_line_key_and_what_was_expected() {
        let table = [
            (
                "\ntickTime=two",
                "error: zoo.cfg:2: tickTime: expected an integer from 1 to 107374182, found `two`",
            ),
            ("tickTime=0", "error: zoo.cfg:1: tickTime: expected an integer from 1 to 107374182, found `0`"),
            (
                "clientPort=65536",
                "error: zoo.cfg:1: clientPort: expected an integer from 0 to 65535, found `65536`",
            ),
            ("clientPort=", "error: zoo.cfg:1: clientPort: expected an integer from 0 to 65535, found ``"),
            ("skipACL=true", "error: zoo.cfg:1: skipACL: expected yes or no, found `true`"),
            ("reconfigEnabled=1", "error: zoo.cfg:1: reconfigEnabled: expected true or false, found `1`"),
            (
                "log.sync=fsync",
                "error: zoo.cfg:1: log.sync: expected one of fdatasync, dsync, direct, none, found `fsync`",
            ),
            ("electionAlg=2", "error: zoo.cfg:1: electionAlg: expected 3, found `2`"),
            (
                "snapshotSizeFactor=half",
                "error: zoo.cfg:1: snapshotSizeFactor: expected a decimal fraction, found `half`",
            ),
        ];
        for (line, expected) in table {
            assert_eq!(errors(line), [expected]);
        }
    }

    #[test]
    fn numbers_are_read_as_the_java_that_reads_them() {
        // parseInt against getInteger.
        assert_eq!(errors("tickTime=0x7d0").len(), 1);
        assert_eq!(errors("snapCount=0x7d0\njute.maxbuffer=#ff\nmaxCnxns=017"), [""; 0]);
        assert_eq!(errors("reconfigEnabled=TRUE"), [""; 0]);
    }
}
