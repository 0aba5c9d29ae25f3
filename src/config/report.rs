//! What the configuration has to say about itself: where a setting was written, notices, errors.
//!
//! Every message names its place (`zoo.cfg:12`, `JVMFLAGS`, `--client-port`) and its key, so that an operator
//! can go there without a search.

use std::fmt::{self, Write};
use std::sync::Arc;

/// Where a setting was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file; lines count from 1, and a continued line has the number of its first part.
    Line {
        /// The file's name as it was given.
        file: Arc<str>,
        /// The line's number.
        line: u32,
    },
    /// An environment variable.
    Environment(&'static str),
    /// An option of the command line, as it was written.
    CommandLine(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => {
                write_line(f, file)?;
                write!(f, ":{line}")
            }
            Self::Environment(variable) => f.write_str(variable),
            Self::CommandLine(option) => f.write_str(option),
        }
    }
}

/// The order in which people read: the environment, the lines from top to bottom, the command line, the rest.
pub(super) fn reading_order(origin: Option<&Origin>) -> (u8, u32) {
    match origin {
        Some(Origin::Environment(_)) => (0, 0),
        Some(Origin::Line { line, .. }) => (1, *line),
        Some(Origin::CommandLine(_)) => (2, 0),
        None => (3, 0),
    }
}

/// How much a notice matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know; nothing is wrong.
    Info,
    /// Probably not what was meant.
    Warning,
}

/// One line about a setting that does not stop the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// How much it matters.
    pub severity: Severity,
    /// Where the setting was written.
    pub origin: Option<Origin>,
    /// The key as it was written.
    pub key: Option<String>,
    /// What there is to say.
    pub text: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Info => "note",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: ")?;
        write_place(f, self.origin.as_ref(), self.key.as_deref())?;
        write_line(f, &self.text)
    }
}

/// One reason why the configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where the setting was written; `None` where something is missing.
    pub origin: Option<Origin>,
    /// The key as it was written.
    pub key: Option<String>,
    /// What is wrong and what was expected.
    pub text: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("error: ")?;
        write_place(f, self.origin.as_ref(), self.key.as_deref())?;
        write_line(f, &self.text)
    }
}

impl std::error::Error for ConfigError {}

fn write_place(f: &mut fmt::Formatter<'_>, origin: Option<&Origin>, key: Option<&str>) -> fmt::Result {
    if let Some(origin) = origin {
        write!(f, "{origin}: ")?;
    }
    if let Some(key) = key {
        write!(f, "{}: ", key.escape_debug())?;
    }
    Ok(())
}

/// Writes a text as one line: keys, values and the names of files that they give may hold anything that an
/// escape can spell, line ends among it.
fn write_line(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    text.chars()
        .try_for_each(|c| if c.is_control() { write!(f, "{}", c.escape_debug()) } else { f.write_char(c) })
}

/// Collects what is found while a configuration is read; reading goes on after an error, so that one run
/// names every fault.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub notices: Vec<Notice>,
    pub errors: Vec<ConfigError>,
}

impl Report {
    pub(super) fn info(&mut self, origin: Option<&Origin>, key: &str, text: impl Into<String>) {
        self.notice(Severity::Info, origin, key, text.into());
    }

    pub(super) fn warn(&mut self, origin: Option<&Origin>, key: &str, text: impl Into<String>) {
        self.notice(Severity::Warning, origin, key, text.into());
    }

    pub(super) fn error(&mut self, origin: Option<&Origin>, key: &str, text: impl Into<String>) {
        self.errors.push(ConfigError { origin: origin.cloned(), key: some_key(key), text: text.into() });
    }

    fn notice(&mut self, severity: Severity, origin: Option<&Origin>, key: &str, text: String) {
        self.notices.push(Notice { severity, origin: origin.cloned(), key: some_key(key), text });
    }
}

fn some_key(key: &str) -> Option<String> {
    (!key.is_empty()).then(|| key.to_owned())
}
