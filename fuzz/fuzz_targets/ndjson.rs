//! Runs the target `ndjson` under libFuzzer: `cargo fuzz run ndjson`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| smokesignal_fuzz::ndjson::run(input));
