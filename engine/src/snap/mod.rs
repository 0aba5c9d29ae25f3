//! Checkpoints: the whole tree and the sessions in one file, as they were while transactions went on
//! being applied. Replay of the log from the checkpoint's first zxid makes them one moment.
//!
//! | file | what lives there |
//! |---|---|
//! | `format` | the layout, byte by byte, and the records |
//! | `writer` | records in, finished blocks of bytes out |
//! | `reader` | a file's bytes in (a map or a buffer), verified records out, borrowing from it |
//! | `salvage` | what can be read of a damaged file, piece by piece; for tools, never for a server |

pub mod format;
pub mod reader;
pub mod salvage;
pub mod writer;

#[cfg(test)]
mod tests;

pub use format::{AclIndex, BlockKind, NodeRecord, SessionRecord};
pub use reader::{Block, Checkpoint, Fault, Fetch, Held, Nodes, Record, Sessions};
pub use writer::CheckpointWriter;
