//! `ringkeeper log` and `ringkeeper snapshot`: what is on disk, shown, checked and counted, in our own
//! formats and in ZooKeeper's.
//!
//! | room | what lives there |
//! |---|---|
//! | `args` | the words of the commands, with their help |
//! | `find`, `bytes`, `live` | which files are meant; reading them piece by piece; whether a server runs on them |
//! | `transaction` | a transaction's bytes taken apart |
//! | `show`, `out` | times, data, ACLs as text and JSON; standard output, the progress bar, exit codes |
//! | `log` | dump, verify, stats |
//! | `snapshot` | dump, verify, summary, compare |
//!
//! Laws: nothing here writes, locks or mends a file. What is damaged is said, with its offset, and
//! reading goes on behind it as far as it can. A server that is running is not disturbed, and what it is
//! just writing is not called damaged.

pub mod args;
pub mod log;
pub mod snapshot;

mod bytes;
mod find;
mod live;
pub(crate) mod out;
pub(crate) mod show;
mod transaction;
