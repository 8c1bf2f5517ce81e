//! Runs the target `frames` under libFuzzer: `cargo fuzz run frames`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| smokesignal_fuzz::frames::run(input));
