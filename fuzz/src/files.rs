use std::cell::RefCell;
use std::fs;

use smokesignal::{Identity, IdentityError, Node, NodeId};
use tempfile::TempDir;

thread_local! {
    /// The folder of the file that is read.
    static FOLDER: RefCell<TempDir> = RefCell::new(tempfile::tempdir().expect("a folder for the key file"));
}

/// Reads the input as a key file, and its text as an id, a secret, a seed and an address to be
/// advertised.
pub fn run(input: &[u8]) {
    key_file(input);
    let _secret = Node::builder().network_secret(input).build();
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(id) = text.parse::<NodeId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(text.eq_ignore_ascii_case(&id.to_string()), "{text} is {id}");
    }
    let _seed = Node::builder().seed(text).build();
    let _advertised = Node::builder().advertise(text).build();
}

/// A file is a key or is refused, and is left alone. A key is its 64 digits and the end of the
/// line.
fn key_file(content: &[u8]) {
    let path = FOLDER.with_borrow(|folder| folder.path().join("node.key"));
    fs::write(&path, content).expect("writing the key file");
    let (loaded, again) = (Identity::load(&path), Identity::load_or_create(&path));
    assert_eq!(fs::read(&path).expect("reading the key file"), content, "the file was changed");
    match (loaded, again) {
        (Ok(loaded), Ok(again)) => {
            let text = std::str::from_utf8(content).expect("a key file is text");
            let digits = text.trim_end();
            assert!(digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{text:?}");
            let mut seed = [0; 32];
            for (byte, digits) in seed.iter_mut().zip(digits.as_bytes().chunks(2)) {
                let digits = std::str::from_utf8(digits).expect("they are ASCII");
                *byte = u8::from_str_radix(digits, 16).expect("they are hex");
            }
            assert_eq!(loaded.id(), Identity::from_seed(seed).id());
            assert_eq!(loaded.id(), again.id());
        }
        (Err(IdentityError::Malformed { .. }), Err(IdentityError::Malformed { .. })) => {}
        other => panic!("{other:?}"),
    }
}
