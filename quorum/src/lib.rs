//! Who decides the order.
//!
//! This crate is pure: inputs in, effects out; no file, socket, clock, thread or dice. `net` runs
//! the effects and brings the results back as inputs.
//!
//! | room | what lives there |
//! |---|---|
//! | `members`, `verifier` | who is in the ensemble; what a quorum is |
//! | `reconfig` | which change of the ensemble may be proposed, and the files that keep it |
//! | `message` | what servers say to each other, and its bytes |
//! | `election` | who is to lead |
//! | `history`, `sync` | the end of the log in memory; how a learner's log becomes its leader's |
//! | `broadcast` | proposals, acks, commits |
//! | `zab` | one server's part in all of it, as one state machine |
//! | `step` | inputs and effects of a replica, and the batches that it trades with client cores |
//! | `replica` | preparation, `zab`, log and application as one state machine; a standalone server is a quorum of one |

#![forbid(unsafe_code)]

pub mod broadcast;
pub mod election;
pub mod history;
pub mod members;
pub mod message;
pub mod reconfig;
pub mod replica;
pub mod step;
pub mod sync;
pub mod verifier;
pub mod zab;
