//! The test harness that the integration tests in `tests/tests` share.
//!
//! - `process`: a child process that ends with its value, and what it printed.
//! - `server`: real servers as child processes, Java's and ours.
//! - `wire`: a ZooKeeper client written for the tests alone. It shares no code with the server, so
//!   an error in our codec cannot cancel itself out.
//! - `body`: records of requests for that client.
//! - `script`: the language of the differential tests, and what runs it against a server.
//! - `transcript`: what a server answered, decoded and normalised so that two runs compare.
//! - `differences`: compares two transcripts, against the list of known differences.
//! - `differential`: plays a script against both servers and fails on a difference.
//! - `ensemble`: ensembles of real processes, clients that wander between them, and what must hold afterwards.
//! - `generate`: random operation sequences as scripts, from a seed.
//! - `peers`: ensembles of Java servers and of ours, on real sockets.
//! - `sim`: the simulator, whole ensembles in one thread.
//! - `mangle`: every request cut short and with its lengths and strings spoilt, as a script.
//!
//! Nothing here decides what a right answer is: that is the reference server's part.

pub mod body;
pub mod differences;
pub mod differential;
pub mod ensemble;
pub mod generate;
pub mod mangle;
pub mod peers;
pub mod process;
pub mod script;
pub mod server;
pub mod sim;
pub mod transcript;
pub mod wire;
