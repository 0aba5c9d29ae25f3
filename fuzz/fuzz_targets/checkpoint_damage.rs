//! See `ringkeeper_fuzz::checkpoint_damage`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringkeeper_fuzz::checkpoint_damage::run(input));
