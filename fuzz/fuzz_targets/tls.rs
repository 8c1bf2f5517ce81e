//! Runs the target `tls` under libFuzzer: `cargo fuzz run tls`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| smokesignal_fuzz::tls::run(input));
