//! Crash images.
