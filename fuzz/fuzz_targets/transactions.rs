//! See `ringkeeper_fuzz::transactions`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringkeeper_fuzz::transactions::run(input));
