//! Quotas: which subtrees have one, and the text in which limits and counts are kept
//! (`StatsTrack`). The nodes themselves live under `/zookeeper/quota`.

use super::path::{self, QUOTA};
use std::collections::{BTreeMap, BTreeSet};

/// Name of the node that holds a subtree's limits.
pub const LIMIT_NODE: &str = "zookeeper_limits";
/// Name of the node that holds a subtree's counts.
pub const STAT_NODE: &str = "zookeeper_stats";

/// Limits or counts of one subtree; −1 is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatsTrack {
    values: BTreeMap<String, i64>,
}

impl StatsTrack {
    /// Parses `count=1,bytes=2=;byteHardLimit=3;countHardLimit=4`. A pair that is no pair, or no
    /// number, is passed over.
    pub fn parse(data: Option<&[u8]>) -> Self {
        let text = String::from_utf8_lossy(data.unwrap_or_default());
        let pairs = text.split([',', ';']).filter_map(|pair| {
            let mut halves = pair.split('=');
            let (key, value) = (halves.next()?, halves.next()?);
            let value = if value.is_empty() { -1 } else { value.parse().ok()? };
            Some((key.to_owned(), value))
        });
        StatsTrack { values: pairs.collect() }
    }

    /// Counts of a subtree.
    pub fn counts(count: i64, bytes: i64) -> Self {
        let mut track = StatsTrack::default();
        track.values.insert("count".into(), count);
        track.values.insert("bytes".into(), bytes);
        track
    }

    fn get(&self, key: &str) -> i64 {
        self.values.get(key).copied().unwrap_or(-1)
    }

    /// Nodes.
    pub fn count(&self) -> i64 {
        self.get("count")
    }

    /// Bytes of data.
    pub fn bytes(&self) -> i64 {
        self.get("bytes")
    }

    /// The limit on nodes that is enforced.
    pub fn count_hard_limit(&self) -> i64 {
        self.get("countHardLimit")
    }

    /// The limit on bytes that is enforced.
    pub fn byte_hard_limit(&self) -> i64 {
        self.get("byteHardLimit")
    }

    /// The text, count and bytes first; the extra `=` makes old parsers ignore what follows it.
    pub fn to_text(&self) -> String {
        let mut text = format!("count={},bytes={}", self.count(), self.bytes());
        let others = self.values.iter().filter(|(key, _)| *key != "count" && *key != "bytes");
        for (position, (key, value)) in others.enumerate() {
            if position == 0 {
                text.push('=');
            }
            text.push_str(&format!(";{key}={value}"));
        }
        text
    }
}

/// The node that holds the limits of the subtree at `path`.
pub fn limit_path(path: &str) -> String {
    format!("{QUOTA}{path}/{LIMIT_NODE}")
}

/// The node that holds the counts of the subtree at `path`.
pub fn stat_path(path: &str) -> String {
    format!("{QUOTA}{path}/{STAT_NODE}")
}

/// The subtree that `path` holds limits for, if it is such a node.
pub fn limited_by(path: &str) -> Option<&str> {
    subject_of(path, LIMIT_NODE)
}

/// The subtree that `path` holds counts for, if it is such a node.
pub fn counted_by(path: &str) -> Option<&str> {
    subject_of(path, STAT_NODE)
}

fn subject_of<'a>(path: &'a str, name: &str) -> Option<&'a str> {
    let subject = path.strip_prefix(QUOTA)?.strip_suffix(name)?.strip_suffix('/')?;
    subject.starts_with('/').then_some(subject)
}

/// The subtrees that have limits.
#[derive(Debug, Default)]
pub struct Quotas {
    limited: BTreeSet<Box<str>>,
}

impl Quotas {
    /// A limit node was created.
    pub fn add(&mut self, subject: &str) {
        self.limited.insert(subject.into());
    }

    /// A limit node was deleted.
    pub fn remove(&mut self, subject: &str) {
        self.limited.remove(subject);
    }

    /// Every subtree that has limits.
    pub fn subjects(&self) -> impl Iterator<Item = &str> {
        self.limited.iter().map(|subject| &**subject)
    }

    /// The innermost subtree with limits that `path` belongs to.
    pub fn innermost<'a>(&self, path: &'a str) -> Option<&'a str> {
        if self.limited.is_empty() {
            return None;
        }
        path::self_and_ancestors(path).find(|ancestor| self.limited.contains(*ancestor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_in_zookeepers_form() {
        let text = "count=5,bytes=-1=;byteHardLimit=10;countHardLimit=7";
        let track = StatsTrack::parse(Some(text.as_bytes()));
        assert_eq!((track.count(), track.bytes()), (5, -1));
        assert_eq!((track.count_hard_limit(), track.byte_hard_limit()), (7, 10));
        assert_eq!(track.to_text(), text);
        assert_eq!(StatsTrack::counts(1, 0).to_text(), "count=1,bytes=0");
        assert_eq!(StatsTrack::parse(Some(b"nonsense")).count(), -1);
    }

    #[test]
    fn the_innermost_quota_counts() {
        let mut quotas = Quotas::default();
        quotas.add("/a");
        quotas.add("/a/b");
        assert_eq!(quotas.innermost("/a/b/c"), Some("/a/b"));
        assert_eq!(quotas.innermost("/a/bc"), Some("/a"));
        assert_eq!(quotas.innermost("/b"), None);
        assert_eq!(limited_by("/zookeeper/quota/a/b/zookeeper_limits"), Some("/a/b"));
        assert_eq!(counted_by("/zookeeper/quota/zookeeper_stats"), None);
    }
}
