//! The configuration: ZooKeeper's own `zoo.cfg`, Java flags of the environment and the command line, parsed
//! once into a value.
//!
//! [`load`] is a function of its input: the file's bytes, the environment as a map, the command line's
//! settings, and a reader for the files that belong to a zoo.cfg (`myid`, the one that `dynamicConfigFile` names,
//! `zoo.cfg.dynamic.next`). Nothing later asks the environment or a file for a setting.
//!
//! - `properties`: Java's file syntax. `java`: Java's numbers.
//! - `keys`: every known key, its kind of value and its meaning here.
//! - `sources`: from where settings come, and which one wins.
//! - `values`: text to typed values. `members`: the servers of an ensemble.
//! - `build`: typed values to [`Config`], with ZooKeeper's defaults and cross-checks. `value`: the result.
//! - `report`: notices and errors, each with its place.

mod build;
mod java;
mod keys;
mod members;
mod properties;
mod report;
mod sources;
#[cfg(test)]
mod tests;
mod value;
mod values;

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;

pub use members::{HostPort, Member, Membership, PeerAddress, Role, ServerId};
pub use report::{ConfigError, Notice, Origin, Severity};
pub use sources::Override;
pub use value::{
    Access, Checkpoint, Config, Ensemble, FourLetterWords, Limits, Listen, Log, LogSync, Nodes, Proposed,
    Purge, Retention, RingRuntime, Secret, Sessions, Storage,
};

/// A configuration file.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// Its name as it was given, for messages.
    pub name: &'a str,
    /// Its contents.
    pub bytes: &'a [u8],
}

/// All that a configuration is made from.
pub struct Input<'a> {
    /// The file; without one, a standalone server on 127.0.0.1:2181 with its data in `ringkeeper-data`.
    pub file: Option<File<'a>>,
    /// The environment; `JVMFLAGS`, `SERVER_JVMFLAGS` and `ZOO_DATADIR_AUTOCREATE_DISABLE` are looked at.
    pub environment: &'a BTreeMap<String, String>,
    /// The command line's settings; a later one overrides an earlier one.
    pub overrides: &'a [Override],
    /// The cores that the machine lets us use.
    pub cores_available: NonZeroUsize,
    /// Reads a file that the configuration names.
    pub read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
}

/// Makes the configuration, with what is worth saying about it, or every reason why there is none.
///
/// # Errors
///
/// One [`ConfigError`] for each bad value, missing setting and contradiction. A configuration that is sound but
/// that this version cannot serve is no error: it says so in [`Config::unservable`].
pub fn load(input: &Input<'_>) -> Result<(Config, Vec<Notice>), Vec<ConfigError>> {
    build::load(input)
}

/// Every known key with its kind of value and its meaning, for people: a line for each key whose name contains
/// `pattern`, in the table's order.
pub fn describe_keys(pattern: &str) -> impl Iterator<Item = String> {
    let pattern = pattern.to_ascii_lowercase();
    keys::all().filter(move |key| key.name.to_ascii_lowercase().contains(&pattern)).map(keys::describe)
}
