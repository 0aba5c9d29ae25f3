//! See `ringkeeper_fuzz::checkpoint_bytes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringkeeper_fuzz::checkpoint_bytes::run(input));
