//! The kernel: the only crate that makes system calls, the disk's included.
//!
//! | room | what lives there |
//! |---|---|
//! | `ring` | io_uring: the only file that names the runtime |
//! | `clock` | where time comes from |
//! | `mailbox` | bounded queues between threads, a batch a message |
//! | `client` | a core's connections |
//! | `disk` | the data directory |

pub mod client;
pub mod clock;
pub mod disk;
pub mod mailbox;
pub mod ring;
