//! Clients: a core's connections from handshake to goodbye.
//!
//! | file | what lives there |
//! |---|---|
//! | `admission` | how many connections there may be |
//! | `frame`, `handshake` | the first bytes of the protocol |
//! | `connection` | one connection as its core knows it |
//! | `doors` | where clients come in, and that it moves |
//! | `spare` | write buffers that no connection has |
//! | `core` | the core: connections, watches, horizon, what goes to the replica |
//! | `requests`, `mail` | requests served; answers and events delivered |
//! | `commands` | four-letter words |
//! | `tasks` | the bytes between the ring and the core |

pub mod admission;
pub mod commands;
pub mod connection;
pub mod core;
pub mod doors;
pub mod frame;
pub mod handshake;
mod mail;
mod requests;
pub mod spare;
pub mod tasks;
