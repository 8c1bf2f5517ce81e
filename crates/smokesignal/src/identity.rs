//! A node's key pair, and the file it is kept in.
//!
//! The file is one line of 64 hex digits, the seed of an ed25519 key. A new one is written to a
//! temporary file that only this user can read and then linked to its name, so it appears complete
//! or not at all and never replaces another identity.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::rand::{SecureRandom as _, SystemRandom};
use smokesignal_proto::Keypair;

use crate::error::IdentityError;
use smokesignal_proto::NodeId;

/// A node's ed25519 key pair. The holder of the pair is the node with this [`id`](Identity::id).
///
/// Cloning is cheap and gives the same identity. Nothing prints the private half.
///
/// ```
/// use smokesignal::{Identity, Node};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let file = folder.path().join("node.key");
/// let identity = Identity::load_or_create(&file)?; // Created with mode 0600 the first time.
/// let node = Node::builder().identity(identity).build()?;
/// assert_eq!(node.id(), Identity::load(&file)?.id()); // The same file is the same node.
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    seed: [u8; 32],
    id: NodeId,
    /// The file that the key comes from.
    file: Option<PathBuf>,
}

impl Identity {
    /// Generates a new random identity.
    ///
    /// # Panics
    ///
    /// If the operating system has no randomness: no safe key can be made then.
    pub fn generate() -> Self {
        Self::from_seed(random())
    }

    /// Returns the identity of this ed25519 seed. The same 32 bytes always give the same id.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self::from(seed, None)
    }

    fn from(seed: [u8; 32], file: Option<PathBuf>) -> Self {
        let id = Keypair::from_seed(&seed).id();
        Self(Arc::new(Inner { seed, id, file }))
    }

    /// Reads a key file: one line of 64 hex digits. Logs a warning if other users can read it.
    ///
    /// A node with this identity keeps the number of its last start beside it, in
    /// `FILE.incarnation`, so that each start is later than the one before even if the clock was
    /// set back. That file may be deleted; where it cannot be written, the node logs a warning, and
    /// learns the number from its neighbours.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, IdentityError> {
        let path = path.as_ref();
        read_seed(path).map(|seed| Self::from(seed, Some(path.into())))
    }

    /// Reads the key file, or creates one with a new random identity that only this user can read.
    ///
    /// The file appears complete or not at all. Two programs that create it at the same time get
    /// the same identity.
    pub fn load_or_create(path: impl AsRef<Path>) -> Result<Self, IdentityError> {
        let path = path.as_ref();
        match Self::load(path) {
            Err(IdentityError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            loaded_or_failed => return loaded_or_failed,
        }
        let seed = random();
        match create(path, &seed) {
            Ok(()) => Ok(Self::from(seed, Some(path.into()))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::load(path),
            Err(source) => Err(IdentityError::Io { path: path.into(), source }),
        }
    }

    /// Returns the public half, which is the node's id.
    pub fn id(&self) -> NodeId {
        self.0.id
    }

    /// Returns where the number of the last start is kept, if the key comes from a file.
    pub(crate) fn incarnation_file(&self) -> Option<PathBuf> {
        let mut path = self.0.file.clone()?.into_os_string();
        path.push(".incarnation");
        Some(path.into())
    }

    /// Returns the private half.
    pub(crate) fn seed(&self) -> &[u8; 32] {
        &self.0.seed
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?}, private half not shown)", self.id())
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Maximum number of bytes read from a key file, which has 65: the path may lead to anything.
const READ_MAX: u64 = 256;

fn read_seed(path: &Path) -> Result<[u8; 32], IdentityError> {
    let failed = |source| IdentityError::Io { path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    warn_if_readable_by_others(path, &file).map_err(failed)?;
    let mut text = Vec::new();
    file.take(READ_MAX).read_to_end(&mut text).map_err(failed)?;
    parse(&text).ok_or_else(|| IdentityError::Malformed { path: path.into() })
}

fn parse(text: &[u8]) -> Option<[u8; 32]> {
    let text = std::str::from_utf8(text).ok()?.trim_end();
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut seed = [0; 32];
    for (i, byte) in seed.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(seed)
}

#[cfg(unix)]
fn warn_if_readable_by_others(path: &Path, file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = file.metadata()?;
    let mode = metadata.permissions().mode() & 0o777;
    if metadata.is_file() && mode & 0o077 != 0 {
        let path = path.display();
        tracing::warn!("other users can use the key file {path} (mode {mode:03o}); run `chmod 600 {path}`");
    }
    Ok(())
}

#[cfg(not(unix))]
fn warn_if_readable_by_others(_path: &Path, _file: &File) -> io::Result<()> {
    Ok(())
}

/// Creates a file. Fails with `AlreadyExists` rather than replace one, because another program may
/// be using that identity already.
fn create(path: &Path, seed: &[u8; 32]) -> io::Result<()> {
    let draft = draft_beside(path)?;
    let done = write_private(&draft, seed).and_then(|()| publish(&draft, path));
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!("could not remove {}, which may hold a private key: {error}", draft.display());
        }
        _ => {}
    }
    done
}

/// Returns the path of a new file in the same directory.
pub(crate) fn draft_beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let draft = format!(".{}.{}.new", name.to_string_lossy(), hex(&random::<8>()));
    Ok(path.with_file_name(draft))
}

fn write_private(draft: &Path, seed: &[u8; 32]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(draft)?;
    writeln!(file, "{}", hex(seed))?;
    file.sync_all()
}

/// Moves the complete file to its name. A hard link never replaces a file, as a rename would; the
/// rename is for file systems without hard links.
fn publish(draft: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        Err(_) => fs::rename(draft, path),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_file(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        fs::write(&path, content).unwrap();
        (dir, path)
    }

    #[test]
    fn a_made_key_file_gives_the_same_node_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        let made = Identity::load_or_create(&path).unwrap();
        assert_eq!(Identity::load_or_create(&path).unwrap().id(), made.id());
        assert_eq!(Identity::load(&path).unwrap().id(), made.id());
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", hex(made.seed())));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "a draft was left behind");
    }

    #[cfg(unix)]
    #[test]
    fn a_made_key_file_belongs_to_its_user_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        Identity::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_and_left_alone() {
        for content in [&b""[..], b"abc\n", &[b'g'; 64], &[b'a'; 66], &[0xff; 64], &[b'1'; 10_000]] {
            let (_dir, path) = key_file(content);
            let error = Identity::load_or_create(&path).unwrap_err();
            assert!(matches!(error, IdentityError::Malformed { .. }), "{error}");
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }

    #[test]
    fn line_ends_of_every_editor_are_fine() {
        let digits = "0A".repeat(32);
        for end in ["", "\n", "\r\n"] {
            let (_dir, path) = key_file(format!("{digits}{end}").as_bytes());
            assert_eq!(Identity::load(&path).unwrap().id(), Identity::from_seed([10; 32]).id());
        }
    }

    #[test]
    fn a_missing_file_or_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for error in [
            Identity::load(dir.path().join("absent")).unwrap_err(),
            Identity::load_or_create(dir.path().join("absent/node.key")).unwrap_err(),
        ] {
            assert!(matches!(error, IdentityError::Io { .. }));
            assert!(error.to_string().contains("absent"), "{error}");
        }
    }

    #[test]
    fn making_a_key_file_never_replaces_one() {
        let (_dir, path) = key_file(b"somebody was faster");
        let error = create(&path, &[1; 32]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"somebody was faster");
    }

    #[test]
    fn the_private_half_is_not_printed() {
        let identity = Identity::from_seed([0xab; 32]);
        let text = format!("{identity:?}");
        assert!(!text.contains("abab") && !text.contains("171"), "{text}");
        assert_ne!(Identity::generate().id(), Identity::generate().id());
    }
}
