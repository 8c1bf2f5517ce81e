//! The documents name tests, files and invariants. These tests look up each of them in the
//! repository, so that a rename cannot leave a document behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use smokesignal_sim::Invariant;

/// The documents that explain the code, from the root of the repository.
const DOCUMENTS: [&str; 8] = [
    "ARCHITECTURE.md",
    "INVARIANTS.md",
    "docs/decisions.md",
    "docs/design/broadcast.md",
    "docs/design/membership.md",
    "docs/design/node-binding.md",
    "docs/design/partition.md",
    "docs/design/streams.md",
];

/// Where a path in a document may begin, besides the root.
const ROOTS: [&str; 7] = [
    "",
    "crates",
    "crates/smokesignal-proto/src",
    "crates/smokesignal/src",
    "crates/smokesignal-sim/src",
    "crates/smokesignal-cli/src",
    "bindings/node",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(document: &str) -> String {
    let path = root().join(document);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands between backticks on one line.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// The names of all functions in the Rust files below `folder`.
fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            functions(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a Rust file");
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            names.extend(text.split("fn ").skip(1).filter_map(|rest| {
                let name = rest.split(|c| !is_name(c)).next()?;
                (!name.is_empty()).then(|| name.to_owned())
            }));
        }
    }
}

#[test]
fn every_invariant_of_the_simulator_is_explained() {
    let text = read("INVARIANTS.md");
    let headings: Vec<_> = text.lines().filter(|line| line.starts_with("### ")).collect();
    let explained: BTreeSet<_> = headings.iter().flat_map(|heading| quoted(heading)).collect();
    let checked: BTreeSet<_> = Invariant::ALL.iter().map(|invariant| invariant.name()).collect();
    assert_eq!(explained, checked);
}

#[test]
fn every_test_that_a_document_names_exists() {
    let mut names = BTreeSet::new();
    functions(&root().join("crates"), &mut names);
    for document in ["INVARIANTS.md", "docs/streams.md", "CONTRIBUTING.md"] {
        let text = read(document);
        // A test's name is a sentence: shorter names are those of functions and options.
        let is_test = |name: &&str| {
            let is_name = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            is_name && name.matches('_').count() >= 4
        };
        for name in quoted(&text).filter(is_test) {
            assert!(names.contains(name), "{document} names the test `{name}`, which does not exist");
        }
    }
}

#[test]
fn every_file_that_a_document_names_exists() {
    let mut missing = Vec::new();
    for document in DOCUMENTS {
        let text = read(document);
        let files = quoted(&text).filter(|name| {
            let is_path = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
            is_path && (name.ends_with(".rs") || name.ends_with(".md") || name.ends_with('/'))
        });
        let exists = |file: &str| ROOTS.iter().any(|begin| root().join(begin).join(file).exists());
        missing.extend(files.filter(|file| !exists(file)).map(|file| format!("{document}: `{file}`")));
    }
    assert_eq!(missing, Vec::<String>::new(), "these files are named and do not exist");
}
