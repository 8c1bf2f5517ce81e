//! Runs the target `files` under libFuzzer: `cargo fuzz run files`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| smokesignal_fuzz::files::run(input));
