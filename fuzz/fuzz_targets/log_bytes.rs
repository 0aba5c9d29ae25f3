//! See `ringkeeper_fuzz::log_bytes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringkeeper_fuzz::log_bytes::run(input));
