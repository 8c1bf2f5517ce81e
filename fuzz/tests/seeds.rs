//! Feeds the seeds of each target to it: what a fuzzer starts from, and what it once found.

use std::fs;
use std::path::Path;

fn feed(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let entries = fs::read_dir(folder).expect("the folder of the target's seeds");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a seed").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{target} has no seeds");
    for file in files {
        println!("{}", file.display()); // The last one printed is the one that fails.
        run(&fs::read(file).expect("the seed"));
    }
}

#[test]
fn the_codec_takes_all_seeds() {
    feed("codec", smokesignal_fuzz::codec::run);
}

#[test]
fn the_core_takes_all_seeds() {
    feed("core", smokesignal_fuzz::node::run);
}

#[test]
fn files_and_texts_of_all_seeds_are_taken() {
    feed("files", smokesignal_fuzz::files::run);
}

#[test]
fn frames_of_all_seeds_are_taken() {
    feed("frames", smokesignal_fuzz::frames::run);
}

#[test]
fn json_lines_of_all_seeds_are_taken() {
    feed("ndjson", smokesignal_fuzz::ndjson::run);
}

#[test]
fn records_of_all_seeds_are_taken() {
    feed("records", smokesignal_fuzz::records::run);
}

#[test]
fn hellos_of_all_seeds_are_taken() {
    feed("hello", smokesignal_fuzz::hello::run);
}

#[test]
fn streams_take_the_frames_of_all_seeds() {
    feed("mux", smokesignal_fuzz::mux::run);
}

#[test]
fn tls_connections_take_all_seeds() {
    feed("tls", smokesignal_fuzz::tls::run);
}
