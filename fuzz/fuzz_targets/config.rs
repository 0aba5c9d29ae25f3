//! See `ringkeeper_fuzz::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringkeeper_fuzz::config::run(input));
