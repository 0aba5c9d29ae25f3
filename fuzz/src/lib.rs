//! What the fuzzer runs, a function a target, so that ordinary tests can run it too: `fuzz_targets/` is a
//! thin shell around this crate, and `tests/corpus.rs` runs the seeds on the stable toolchain.
//!
//! | target | what it is given |
//! |---|---|
//! | `log_bytes` | a log of any bytes, to recovery |
//! | `log_damage` | a log of our writer, damaged, to recovery |
//! | `checkpoint_bytes`, `checkpoint_damage` | the same for a checkpoint and its reader |
//! | `jute_records` | any bytes, to every record's decoder |
//! | `transactions` | transactions of any content, to a tree |
//! | `requests` | requests, to preparation and tree beside a model |
//! | `zookeeper_bytes`, `zookeeper_damage` | the same for ZooKeeper's own logs and snapshots, to import |
//! | `client_frames` | a connection's bytes, to the frame parser |
//! | `config` | any bytes as a zoo.cfg |
//!
//! A target panics when a law that its module states is broken, and for no other reason.

pub mod checkpoint_bytes;
pub mod checkpoint_damage;
pub mod client_frames;
pub mod config;
mod contents;
pub mod jute_records;
pub mod log_bytes;
pub mod log_damage;
mod log_files;
pub mod requests;
mod salvage;
pub mod transactions;
pub mod zookeeper_bytes;
pub mod zookeeper_damage;

/// A target's name, and what runs one input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 11] = [
    ("log_bytes", log_bytes::run),
    ("log_damage", log_damage::run),
    ("checkpoint_bytes", checkpoint_bytes::run),
    ("checkpoint_damage", checkpoint_damage::run),
    ("jute_records", jute_records::run),
    ("transactions", transactions::run),
    ("requests", requests::run),
    ("client_frames", client_frames::run),
    ("config", config::run),
    ("zookeeper_bytes", zookeeper_bytes::run),
    ("zookeeper_damage", zookeeper_damage::run),
];
