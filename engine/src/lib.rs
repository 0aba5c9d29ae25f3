//! What a transaction is and does.
//!
//! This crate is pure: it opens no file or socket, reads no clock, starts no thread and rolls no
//! dice. Bytes, time and chance come in as arguments; effects go out as values. So everything here
//! can be simulated, fuzzed and replayed from a seed.
//!
//! | room | what lives there |
//! |---|---|
//! | `id`, `limits`, `error`, `op` | newtypes, bounds, client error codes, operations |
//! | `jute` | ZooKeeper's serialisation and its records |
//! | `tree` | the znodes: one writer, a reader a core, and the lock-free index between them |

pub mod auth;
pub mod error;
pub mod id;
pub mod jute;
pub mod limits;
pub mod log;
pub mod op;
pub mod session;
pub mod snap;
pub mod tree;
