//! Runs the target `hello` under libFuzzer: `cargo fuzz run hello`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| smokesignal_fuzz::hello::run(input));
