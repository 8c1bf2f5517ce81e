//! Reads `conformance/vectors.txt`, which has an entry of bytes for each message, frame, signature
//! and hash of `docs/protocol.md`. Tests compare them with what this crate sends and understands.

use std::collections::BTreeMap;
use std::fmt::Write as _;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/vectors.txt");

/// Returns all entries in hex, by name.
pub(crate) fn vectors() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(FILE).expect("conformance/vectors.txt of the repository");
    let (mut entries, mut name) = (BTreeMap::<String, String>::new(), String::new());
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with(' ') {
            entries.entry(name.clone()).or_default().push_str(line.trim());
        } else {
            line.clone_into(&mut name);
        }
    }
    entries
}

/// Returns the bytes in hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut hex = String::new();
    bytes.iter().for_each(|byte| write!(hex, "{byte:02x}").expect("a string takes all"));
    hex
}
