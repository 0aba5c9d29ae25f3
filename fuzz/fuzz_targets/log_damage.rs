//! See `ringkeeper_fuzz::log_damage`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringkeeper_fuzz::log_damage::run(input));
