//! ZooKeeper's own files: its transaction logs and its snapshots, read and written byte for byte.
//!
//! | file | what lives there |
//! |---|---|
//! | `format` | what both have in common: the header, the names of files, a fault and its place |
//! | `transaction` | the bytes of one transaction: header, record, digest; every field checked |
//! | `log` | a log's bytes in, transactions with their offsets and faults out; and the way back |
//! | `stream` | plain, gzip and snappy: bytes as they are needed, with their running checksum |
//! | `snapshot` | a snapshot's bytes in, sessions, access control lists and nodes out; and the way back |
//! | `outlook` | the digest behind what is proposed and not applied |
//! | `replay` | transactions one after the other, and the digest of the tree behind each |
//! | `restore` | several files in, the tree and the sessions that they say out, or why not |
//! | `export` | a database as ZooKeeper's files |
//!
//! Every reader is total: it takes any bytes, and allocates in proportion to them. What it finds wrong
//! it names with its offset.

pub mod export;
pub mod format;
pub mod log;
pub mod outlook;
pub mod replay;
pub mod restore;
pub mod snapshot;
pub mod stream;
pub mod transaction;

#[cfg(test)]
mod tests;

pub use format::{Fault, FileName};
