//! What every command that joins a network takes, from the command line or from `SMOKESIGNAL_...` variables.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use smokesignal::{Event, Identity, Node};

use crate::log;
use crate::outcome::Failure;

/// Bytes in one message at most: 16 MiB, the library's default.
pub(crate) const MAX_MESSAGE: usize = 16 << 20;
/// Bytes in a network secret: below 16 it could be guessed, above 1 KiB it is some other file.
const SECRET_MIN: usize = 16;
const SECRET_MAX: usize = 1024;

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct JoinArgs {
    /// Listen here: an address of this machine, or a subnet it has an address in (192.168.2.0/24)
    #[arg(long, value_name = "IP|SUBNET", env = "SMOKESIGNAL_ADDRESS", default_value = "127.0.0.1")]
    pub(crate) address: String,
    /// Listen on this port; 0 is any free one
    #[arg(long, value_name = "N", env = "SMOKESIGNAL_PORT", default_value_t = 0)]
    pub(crate) port: u16,
    /// A node to join through, repeatable; in the variable separated by commas
    #[arg(long = "seed", value_name = "HOST:PORT", env = "SMOKESIGNAL_SEED", value_delimiter = ',')]
    pub(crate) seeds: Vec<String>,
    /// Look for more peers below this number
    #[arg(long, value_name = "N", env = "SMOKESIGNAL_MIN_PEERS", default_value_t = 3)]
    pub(crate) min_peers: usize,
    /// Keep at most this many peers, 2 or more; `none` is no limit
    #[arg(long, value_name = "N|none", env = "SMOKESIGNAL_MAX_PEERS", default_value = "5",
          value_parser = number_or_none)]
    pub(crate) max_peers: usize,
    /// A peer that is silent for so long is taken for dead
    #[arg(long, value_name = "TIME", env = "SMOKESIGNAL_PING_TIMEOUT", default_value = "3s",
          value_parser = ping_timeout)]
    pub(crate) ping_timeout: Duration,
    /// The file with this node's key, made if it is not there; without it the id is new each time
    #[arg(long, value_name = "FILE", env = "SMOKESIGNAL_KEY")]
    pub(crate) key: Option<PathBuf>,
    /// The file with the secret that all nodes of a private network share
    #[arg(long, value_name = "FILE", env = "SMOKESIGNAL_NETWORK_SECRET_FILE")]
    pub(crate) network_secret_file: Option<PathBuf>,
    #[command(flatten)]
    signing: SigningArgs,
    /// Log more to stderr: -v what happens, -vv details, -vvv everything
    #[arg(short, long, env = "SMOKESIGNAL_VERBOSE", action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// Whether messages are signed, under the option's name and under its old one.
#[derive(Debug, Clone, Copy, clap::Args)]
struct SigningArgs {
    /// Do not sign messages; every member must be trusted, and all nodes of the network need this flag
    #[arg(long, env = "SMOKESIGNAL_UNSIGNED_MESSAGES")]
    unsigned_messages: bool,
    /// The name of `--unsigned-messages` until 0.3; scripts that use it keep working.
    #[arg(long, env = "SMOKESIGNAL_TRUSTED", hide = true)]
    trusted: bool,
}

impl SigningArgs {
    fn unsigned(self) -> bool {
        self.unsigned_messages || self.trusted
    }
}

/// Checked here too, so that the error names the time as it was written.
fn ping_timeout(text: &str) -> Result<Duration, String> {
    let allowed = Duration::from_millis(100)..=Duration::from_secs(3600);
    let timeout =
        humantime::parse_duration(text).map_err(|error| format!("{error}; write for example 3s or 500ms"))?;
    if allowed.contains(&timeout) { Ok(timeout) } else { Err("outside 100ms to 1h".to_owned()) }
}

impl JoinArgs {
    /// Starts the log and makes the node, which is not started yet.
    pub(crate) fn node(&self) -> Result<Node, Failure> {
        log::start(self.verbose);
        let mut builder = Node::builder()
            .address(listening_address(&self.address)?)
            .port(self.port)
            .min_peers(self.min_peers)
            .max_peers(self.max_peers)
            .ping_timeout(self.ping_timeout)
            .max_message(MAX_MESSAGE)
            .unsigned_messages(self.signing.unsigned());
        for seed in self.seeds.iter().filter(|seed| !seed.is_empty()) {
            builder = builder.seed(seed);
        }
        if let Some(file) = &self.key {
            builder = builder.identity(Identity::load_or_create(file)?);
        }
        if let Some(file) = &self.network_secret_file {
            builder = builder.network_secret(read_secret(file)?);
        }
        Ok(builder.build()?)
    }
}

/// Where a started node listens.
pub(crate) fn listening(node: &Node) -> Result<SocketAddr, Failure> {
    node.local_addr().ok_or_else(|| Failure::Failed("the node stopped by itself".to_owned()))
}

/// What people want to know besides data: seeds that do not answer, lost events, netsplits.
pub(crate) fn tell_trouble(event: &Event) {
    match event {
        Event::SeedUnreachable { seed, error } => notice!("{}", seed_unreachable(seed, error)),
        Event::Missed(count) => notice!("{}", events_missed(*count)),
        Event::Netsplit { size, size_before, .. } => {
            notice!("netsplit: {size} of {size_before} nodes are left on this side");
        }
        Event::NetsplitResolved { duration, size } => {
            let duration = humantime::format_duration(Duration::from_secs(duration.as_secs()));
            notice!("the network is whole again after {duration}: {size} nodes");
        }
        _ => {}
    }
}

/// "seed 10.0.0.9:13 refused the connection; is a node running there? (trying again until it answers)"
pub(crate) fn seed_unreachable(seed: &str, error: &impl fmt::Display) -> String {
    let error = error.to_string();
    let named = if error.starts_with(seed) { String::new() } else { format!("{seed}: ") };
    format!("seed {named}{error} (trying again until it answers)")
}

pub(crate) fn events_missed(count: u64) -> String {
    format!("{count} events came faster than they could be shown and were dropped")
}

pub(crate) fn number_or_none(text: &str) -> Result<usize, String> {
    match text {
        "none" => Ok(usize::MAX),
        _ => text.parse().map_err(|_| "write a number, or `none` for no limit".to_owned()),
    }
}

fn listening_address(text: &str) -> Result<IpAddr, Failure> {
    match text.parse() {
        Ok(address) => Ok(address),
        Err(_) => Ok(smokesignal::local_ip(text)?),
    }
}

/// The file's content without the newline at its end.
fn read_secret(file: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |text: String| Failure::Failed(format!("the network secret file {} {text}", file.display()));
    let mut secret = Vec::new();
    // Room for one byte too many and for the newline; never more, whatever the file is.
    let limit = SECRET_MAX as u64 + 3;
    File::open(file)
        .and_then(|content| content.take(limit).read_to_end(&mut secret))
        .map_err(|error| failed(format!("cannot be read: {error}; name a file you may read")))?;
    if secret.last() == Some(&b'\n') {
        secret.pop();
        if secret.last() == Some(&b'\r') {
            secret.pop();
        }
    }
    let cure = "write one line of 32 random bytes, for example from `openssl rand -hex 32`";
    match secret.len() {
        0 => Err(failed(format!("is empty; {cure}"))),
        size if size < SECRET_MIN => {
            Err(failed(format!("holds {size} bytes, at least {SECRET_MIN} are needed; {cure}")))
        }
        size if size > SECRET_MAX => Err(failed(format!("holds more than {SECRET_MAX} bytes; {cure}"))),
        _ => Ok(secret),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_has_a_word() {
        assert_eq!(number_or_none("none"), Ok(usize::MAX));
        assert_eq!(number_or_none("7"), Ok(7));
        assert!(number_or_none("many").unwrap_err().contains("none"));
    }

    #[test]
    fn a_seed_is_named_once() {
        let refused = "10.0.0.9:13 refused the connection";
        assert!(seed_unreachable("10.0.0.9:13", &refused).starts_with("seed 10.0.0.9:13 refused"));
        assert!(seed_unreachable("10.0.0.9:13", &"no route").starts_with("seed 10.0.0.9:13: no route"));
    }

    #[test]
    fn a_secret_is_one_line_without_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        for end in ["", "\n", "\r\n"] {
            std::fs::write(&file, format!("0123456789abcdef{end}")).unwrap();
            assert_eq!(read_secret(&file), Ok(b"0123456789abcdef".to_vec()));
        }
    }

    #[test]
    fn a_useless_secret_is_refused_with_its_file_and_the_cure() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        let long = "x".repeat(2000);
        for (content, why) in [("\n", "is empty"), ("short\n", "5 bytes"), (&long, "more than 1024")] {
            std::fs::write(&file, content).unwrap();
            let Err(Failure::Failed(text)) = read_secret(&file) else { panic!("{content} was accepted") };
            assert!(text.contains(why) && text.contains("secret") && text.contains("openssl"), "{text}");
        }
        let Err(Failure::Failed(text)) = read_secret(&folder.path().join("absent")) else { panic!() };
        assert!(text.contains("absent") && text.contains("cannot be read"), "{text}");
    }
}
