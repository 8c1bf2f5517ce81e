//! Runs the target `records` under libFuzzer: `cargo fuzz run records`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| smokesignal_fuzz::records::run(input));
