//! The Ringkeeper server.
fn main() {}
