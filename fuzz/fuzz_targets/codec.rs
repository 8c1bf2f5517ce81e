//! Runs the target `codec` under libFuzzer: `cargo fuzz run codec`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| smokesignal_fuzz::codec::run(input));
