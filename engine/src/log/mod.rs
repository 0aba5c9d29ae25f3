//! The transaction log: what is on stable storage before a reply to a write leaves.
//!
//! | file | what lives there |
//! |---|---|
//! | `format` | the layout, byte by byte |
//! | `batch` | a batch while it gathers, in a buffer that O_DIRECT takes |
//! | `preparation` | how a segment's file comes to be before it is needed: a spare, or filled with zeros |
//! | `writer` | group commit: operations out, completions in, durability as a token |
//! | `reader` | total decoding of batches |
//! | `recovery` | the log after a crash: what is read, what is cut, what is refused |
//! | `ending` | what lies at a segment's end, looked at from there |
//! | `retention` | what of it may be removed |
//!
//! Nothing here touches a file. The writer hands out operations as values and takes their
//! completions; recovery reads through the trait `SegmentSource`.

pub mod ending;
pub mod format;
pub mod preparation;
pub mod reader;
pub mod recovery;
pub mod retention;
pub mod writer;

mod batch;
#[cfg(test)]
mod commit_tests;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod recovery_tests;
#[cfg(test)]
mod recycling_tests;
#[cfg(test)]
mod simulated_disk;

pub use ending::{Ending, look_from_end};
pub use format::{Alignment, DatabaseId, ENTRY_BYTES_MAX, Sequence};
pub use preparation::{Upkeep, may_become};
pub use recovery::{
    Cut, Recovery, Replay, SegmentFile, SegmentSource, Tail, Verdict, find_cut, recover, replay,
};
pub use writer::{Durable, IoFailure, LogError, LogWrite, LogWriter, Settings, Shortage, SyncMode};
