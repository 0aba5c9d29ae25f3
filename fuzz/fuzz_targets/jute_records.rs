//! See `ringkeeper_fuzz::jute_records`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringkeeper_fuzz::jute_records::run(input));
