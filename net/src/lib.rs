//! The kernel: the only crate that makes system calls.
