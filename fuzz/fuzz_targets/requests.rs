//! See `ringkeeper_fuzz::requests`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringkeeper_fuzz::requests::run(input));
