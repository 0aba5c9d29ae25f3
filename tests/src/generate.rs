//! Random operation sequences as scripts.
