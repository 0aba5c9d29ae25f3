//! Who decides the order.
//!
//! This crate is pure: inputs in, effects out; no file, socket, clock, thread or dice. `net` runs
//! the effects and brings the results back as inputs.
//!
//! | room | what lives there |
//! |---|---|
//! | `members`, `verifier` | who is in the ensemble; what a quorum is |
//! | `message` | what servers say to each other, and its bytes |
//! | `broadcast` | proposals, acks, commits |
//! | `step` | inputs and effects of a replica, and the batches that it trades with client cores |
//! | `replica` | preparation, order, log and application as one state machine; a standalone server is a quorum of one |

#![forbid(unsafe_code)]

pub mod broadcast;
pub mod members;
pub mod message;
pub mod replica;
pub mod step;
pub mod verifier;
