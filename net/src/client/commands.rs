//! The four-letter words: what an operator asks a server over its client port.

use ringkeeper_engine::id::Now;
use ringkeeper_engine::stats::Report;

/// What the answers say besides the report.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Words that may be asked (`4lw.commands.whitelist`).
    pub whitelist: Vec<String>,
    /// The server's version line.
    pub version: String,
    /// The configuration as `conf` prints it.
    pub configuration: String,
}

/// Answers the words.
pub struct Commands {
    facts: Facts,
}

const WORDS: [&str; 1] = ["ruok"];

/// The word that `bytes` begin with.
pub fn word(bytes: &[u8]) -> Option<&'static str> {
    WORDS.into_iter().find(|word| bytes.starts_with(word.as_bytes()))
}

impl Commands {
    /// For this server.
    pub fn new(facts: Facts) -> Self {
        Commands { facts }
    }

    /// The answer, if it needs no report.
    pub fn answer_at_once(&self, word: &str) -> Option<String> {
        (word == "ruok").then(|| "imok".to_owned())
    }

    /// The answer from a report.
    pub fn answer(&self, word: &str, report: &Report, now: Now) -> String {
        let _ = (word, report, now);
        self.facts.version.clone()
    }
}
