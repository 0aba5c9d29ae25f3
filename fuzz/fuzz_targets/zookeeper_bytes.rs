//! See `ringkeeper_fuzz::zookeeper_bytes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringkeeper_fuzz::zookeeper_bytes::run(input));
