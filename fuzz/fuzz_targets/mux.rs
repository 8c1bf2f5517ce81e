//! Runs the target `mux` under libFuzzer: `cargo fuzz run mux`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| smokesignal_fuzz::mux::run(input));
