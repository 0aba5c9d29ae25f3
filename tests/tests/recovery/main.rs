//! Recovery on real files: what the server does with each damage, and what it says.
//!
//! - `run`: the binary as a child, until it serves or refuses.
//! - `data`: a data directory that a real server filled, and ways to damage a copy of it.
//! - `table`: the decision table, a row a case.
//! - `corruptions`: a thousand targeted damages, none of which may lose a transaction in silence.
//! - `disk_full`: a disk without space, in each phase.
//! - `disk_full_moves`: the same while data goes from ZooKeeper's files to ours and back.
//! - `own_disk`: a file system of a test's own.
//! - `no_direct`: a file system that refuses O_DIRECT.
//! - `retention`: what is removed behind checkpoints.
//! - `kept_values`: large values that stay in the checkpoint's map.
//! - `stop`: what an orderly stop leaves for the next start.
//! - `failures`: a failed write or sync ends the server.

mod corruptions;
mod data;
mod disk_full;
mod disk_full_moves;
mod failures;
mod kept_values;
mod no_direct;
mod own_disk;
mod retention;
mod run;
mod stop;
mod table;
