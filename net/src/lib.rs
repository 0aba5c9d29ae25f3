//! The kernel: the only crate that makes system calls, the disk's included.
//!
//! | room | what lives there |
//! |---|---|
//! | `ring` | io_uring: the only file that names the runtime |
//! | `clock` | where time comes from |
//! | `stages` | how long requests are at each hop |
//! | `mailbox` | bounded queues between threads, a batch a message |
//! | `client` | a core's connections |
//! | `peer` | the connections to the other servers of the ensemble |
//! | `listen` | listening sockets |
//! | `moves` | listening elsewhere, when a reconfiguration says so |
//! | `disk` | the data directory |
//! | `restore` | what recovery reads, as a database |
//! | `background` | the log's upkeep, checkpoints, cuts and epochs, on threads of their own |
//! | `log_lane` | the log's writes through the ring |
//! | `members_file` | the files that keep the ensemble's configuration |
//! | `drive` | the replica core |
//! | `serve` | a whole server |

pub mod background;
pub mod client;
pub mod clock;
pub mod disk;
pub mod drive;
pub mod listen;
pub mod log_lane;
pub mod mailbox;
mod members_file;
mod moves;
pub mod peer;
pub mod restore;
pub mod ring;
pub mod serve;
pub mod stages;
