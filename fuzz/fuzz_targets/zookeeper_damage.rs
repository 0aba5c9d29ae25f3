//! See `ringkeeper_fuzz::zookeeper_damage`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringkeeper_fuzz::zookeeper_damage::run(input));
