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
//! | `auth`, `session` | who a client is and what it may do; who is alive, until when |
//! | `overlay`, `prep` | what is proposed; a request becomes a transaction or an error |
//! | `apply`, `database`, `checkpoint` | a transaction changes tree and sessions; all of it into a file and back |
//! | `read`, `order` | reads at one moment of the tree; a session's requests in order |
//! | `log`, `snap` | what is on disk: group-committed segments, checkpoints |
//! | `zookeeper` | ZooKeeper's own log and snapshot files, read and written |
//! | `stats` | plain counters, and the report that an operator gets |

pub mod apply;
pub mod auth;
pub mod checkpoint;
pub mod database;
pub mod error;
pub mod id;
pub mod jute;
pub mod limits;
pub mod log;
pub mod op;
pub mod order;
pub mod overlay;
pub mod prep;
pub mod read;
pub mod session;
pub mod snap;
pub mod stats;
pub mod tree;
pub mod zookeeper;
