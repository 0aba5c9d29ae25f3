//! The kernel: the only crate that makes system calls.

pub mod disk;
