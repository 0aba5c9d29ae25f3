//! See `ringkeeper_fuzz::client_frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringkeeper_fuzz::client_frames::run(input));
