//! Ringkeeper, a ZooKeeper server: its configuration and its commands.
//!
//! The binary is a thin shell around this library, so that tests can reach what it does: [`config`] parses
//! ZooKeeper's `zoo.cfg` into a value, [`cli`] is the command line, [`serve`], [`ensemble`], [`status`], [`import`],
//! [`export`] and [`tools`] are its commands.

pub mod cli;
pub mod config;
pub mod ensemble;
pub mod export;
pub mod import;
pub mod serve;
pub mod status;
pub mod tools;
