//! Runs the target `core` under libFuzzer: `cargo fuzz run core`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| smokesignal_fuzz::node::run(input));
