//! The incarnation of a start: the number by which others tell it from an earlier start with the
//! same key.
//!
//! It is the wall clock in milliseconds, and always more than the last one. For a key that comes
//! from a file the last one is kept beside it, as `FILE.incarnation`: the clock may have been set
//! back since, and no node may be left that remembers the start before.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::identity::{Identity, draft_beside};

/// No incarnation is as large as this: what the wire can carry.
const LIMIT: u64 = 1 << 62;
/// Maximum number of bytes read from the file, which has 20.
const READ_MAX: u64 = 64;

/// Returns the incarnation of a new start, and notes it beside the key's file, if there is one. A
/// start does not fail for that file: the node also learns from the network which start was the
/// latest.
pub(crate) fn next(identity: &Identity) -> u64 {
    let Some(path) = identity.incarnation_file() else { return after(0) };
    let last = match read(&path) {
        Ok(last) => last,
        Err(error) => {
            tracing::warn!(
                "cannot use {}: {error}; it is replaced, and the network says which start was the last",
                path.display()
            );
            0
        }
    };
    let incarnation = after(last);
    if let Err(error) = write(&path, incarnation) {
        tracing::warn!(
            "cannot write {}: {error}; should the clock be set back, a restart depends on the network",
            path.display()
        );
    }
    incarnation
}

/// Returns the time since 1970 by the machine's clock, which may be wrong.
pub(crate) fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Returns the milliseconds since 1970, or a later number if another start has used that one: one
/// in this process, because an identity may be started again within the same millisecond, in
/// virtual time above all, or an earlier one, which had the `last` number.
fn after(last: u64) -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let unix = unix_time().as_millis() as u64;
    let next = |before: u64| unix.max(before + 1).max(last + 1);
    let before = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |before| Some(next(before)));
    next(before.unwrap_or_else(|before| before))
}

/// Returns the number in the file; 0 if there is no file yet.
fn read(path: &Path) -> io::Result<u64> {
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        file => file?,
    };
    let mut text = String::new();
    file.take(READ_MAX).read_to_string(&mut text)?;
    let number = text.trim_end().parse().ok().filter(|number| number + 1 < LIMIT);
    number.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is not a number below 2^62"))
}

/// Replaces the file, completely or not at all.
fn write(path: &Path, incarnation: u64) -> io::Result<()> {
    let draft = draft_beside(path)?;
    let written = fs::File::create_new(&draft).and_then(|mut file| {
        writeln!(file, "{incarnation}")?;
        file.sync_all()?;
        fs::rename(&draft, path)
    });
    if written.is_err() {
        // It may never have been there.
        let _removed = fs::remove_file(&draft);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> (tempfile::TempDir, Identity, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::load_or_create(dir.path().join("node.key")).unwrap();
        let file = dir.path().join("node.key.incarnation");
        (dir, identity, file)
    }

    #[test]
    fn each_start_is_later_than_the_last_one_whatever_the_clock_says() {
        let (dir, identity, file) = key();
        let first = next(&identity);
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{first}\n"));
        // The clock was ahead, and has been set right.
        let ahead = first + 1_000_000_000_000;
        fs::write(&file, format!("{ahead}\n")).unwrap();
        assert_eq!(next(&identity), ahead + 1);
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{}\n", ahead + 1));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2, "a draft was left behind");
    }

    #[test]
    fn a_damaged_file_is_replaced() {
        for damaged in [&b"x"[..], b"", b"-1", &[0xff; 8], b"4611686018427387903\n", &[b'1'; 1000]] {
            let (_dir, identity, file) = key();
            fs::write(&file, damaged).unwrap();
            let incarnation = next(&identity);
            assert!(incarnation < LIMIT / 2);
            assert_eq!(fs::read_to_string(&file).unwrap(), format!("{incarnation}\n"));
        }
    }

    #[test]
    fn where_nothing_can_be_written_the_node_starts_all_the_same() {
        let (dir, identity, file) = key();
        fs::create_dir(&file).unwrap();
        assert!(next(&identity) > 0);
        drop(dir);
        assert!(next(&identity) > 0);
        assert!(next(&Identity::from_seed([1; 32])) > 0);
    }
}
