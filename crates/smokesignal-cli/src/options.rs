//! The options of every command that joins a network, from the command line or from
//! `SMOKESIGNAL_...` variables, and the warnings that such a command prints.
//!
//! [`JoinArgs::node`] turns the options into a node. It checks them first, so that an error names
//! the option and the value as they were written.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use smokesignal::{Event, Identity, Node, Pace, Preset, ReadFrom};

use crate::log;
use crate::outcome::Failure;

/// The longest message, in bytes: 16 MiB, the library's default.
pub(crate) const MAX_MESSAGE: usize = 16 << 20;
/// The fewest bytes that a node may retain: two messages of the largest size.
const RETENTION_MIN: usize = 2 * MAX_MESSAGE;
/// The shortest network secret, in bytes. A shorter one could be guessed.
const SECRET_MIN: usize = 16;
/// The longest network secret, in bytes. A longer file is probably a wrong one.
const SECRET_MAX: usize = 1024;

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct JoinArgs {
    /// Listen on this address, or on this machine's address in this subnet (such as 192.168.2.0/24)
    #[arg(long, value_name = "IP|SUBNET", env = "SMOKESIGNAL_ADDRESS", default_value = "127.0.0.1")]
    pub(crate) address: String,
    /// Listen on this port; 0 means any free port
    #[arg(long, value_name = "N", env = "SMOKESIGNAL_PORT", default_value_t = 0)]
    pub(crate) port: u16,
    /// Join the network through this node; repeatable
    ///
    /// The node is dialled again until it answers. The variable takes a list separated by commas.
    #[arg(long = "seed", value_name = "HOST:PORT", env = "SMOKESIGNAL_SEED", value_delimiter = ',')]
    pub(crate) seeds: Vec<String>,
    /// Look for more peers while there are fewer than this
    #[arg(long, value_name = "N", env = "SMOKESIGNAL_MIN_PEERS", default_value_t = 3)]
    pub(crate) min_peers: usize,
    /// Keep at most this many peers, --min-peers or more; `none` means no limit
    ///
    /// A node with this many peers still lets others join: it replaces one of its links. A node
    /// with 1 (and --min-peers 1) takes part and forwards nothing.
    #[arg(long, value_name = "N|none", env = "SMOKESIGNAL_MAX_PEERS", default_value = "5",
          value_parser = number_or_none)]
    pub(crate) max_peers: usize,
    /// Drop a peer that has been silent for this long, 100ms to 1h [default: 3s, or --preset's]
    #[arg(long, value_name = "TIME", env = "SMOKESIGNAL_PING_TIMEOUT", value_parser = ping_timeout)]
    pub(crate) ping_timeout: Option<Duration>,
    /// Start to read here when joining: `now`, `oldest`, or `last:N`
    ///
    /// `oldest` is everything that the neighbours retain, `last:N` the last N messages of each
    /// writer that they retain.
    #[arg(long, value_name = "now|oldest|last:N", env = "SMOKESIGNAL_READ_FROM", default_value = "now",
          value_parser = read_from)]
    pub(crate) read_from: ReadFrom,
    /// When leaving, wait this long without progress until others have read what was sent
    ///
    /// Messages sent before there was a peer wait for the first one. 0s does not wait.
    #[arg(long, value_name = "TIME", env = "SMOKESIGNAL_LEAVE_TIMEOUT", default_value = "30s",
          value_parser = leave_timeout)]
    pub(crate) leave_timeout: Duration,
    /// Do not look for peers that are near
    ///
    /// By default a node measures other nodes now and then and prefers near ones, so that messages
    /// arrive sooner.
    #[arg(long, env = "SMOKESIGNAL_NO_PREFER_NEAR_PEERS")]
    pub(crate) no_prefer_near_peers: bool,
    #[command(flatten)]
    tuning: TuningArgs,
    /// Read this node's key from this file, which is created if it does not exist
    ///
    /// The same key gives the same id. Without this option the node has a new key, and so a new id,
    /// at each start.
    #[arg(long, value_name = "FILE", env = "SMOKESIGNAL_KEY")]
    pub(crate) key: Option<PathBuf>,
    /// Connect only to nodes with the same secret, which is in this file
    ///
    /// The secret is one line of 16 to 1024 bytes, for example from `openssl rand -hex 32`.
    #[arg(long, value_name = "FILE", env = "SMOKESIGNAL_NETWORK_SECRET_FILE")]
    pub(crate) network_secret_file: Option<PathBuf>,
    #[command(flatten)]
    signing: SigningArgs,
    /// Log to stderr what happens; -vv adds details, -vvv adds everything else
    ///
    /// The default is to log warnings only. RUST_LOG overrides this option.
    #[arg(short, long, env = "SMOKESIGNAL_VERBOSE", action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// What a node is tuned to: distances, memory for those who have missed something, a share of the
/// line.
#[derive(Debug, Clone, Copy, clap::Args)]
struct TuningArgs {
    /// Tune the node to the distances in the network; all nodes of a network need the same preset
    #[arg(long, value_name = "PRESET", env = "SMOKESIGNAL_PRESET", default_value = "default", value_enum)]
    preset: PresetName,
    /// Retain at most this much of what all nodes wrote, 32MiB or more, such as 256MiB or 1GiB
    ///
    /// Other nodes repair from it what they have missed. The node may use that much memory; with
    /// more of it others may be cut off for longer before messages are lost to them.
    #[arg(long, value_name = "BYTES", env = "SMOKESIGNAL_RETENTION", default_value = "64MiB",
          value_parser = retention)]
    retention: usize,
    /// Retain messages for at most this long, 1s or more
    #[arg(long, value_name = "TIME", env = "SMOKESIGNAL_RETENTION_AGE", default_value = "60s",
          value_parser = retention_age)]
    retention_age: Duration,
    /// Send at most this many bytes per second, over all connections together, such as 500k or 2M
    ///
    /// k is 1000, M is 1000000. Streams of others that this node relays count, too. At least 43690
    /// with a ping timeout of 3s, less with a longer one. Without this option there is no limit.
    #[arg(long, value_name = "BYTES/S", env = "SMOKESIGNAL_UPLOAD_LIMIT", value_parser = bytes_per_second)]
    upload_limit: Option<u64>,
    /// Choose the readers that this node waits for when it sends
    #[arg(long, value_name = "PACE", env = "SMOKESIGNAL_PACE", default_value = "most", value_enum)]
    pace: PaceName,
    /// With --pace all, stop waiting for a reader that has confirmed nothing for this long
    ///
    /// It gets what is retained, and counts again once it has caught up. Without this option such a
    /// reader holds this node up as long as it lives. Without effect with another --pace.
    #[arg(long, value_name = "TIME", env = "SMOKESIGNAL_READER_TIMEOUT", value_parser = reader_timeout)]
    reader_timeout: Option<Duration>,
}

/// The library's paces, as they are written on the command line.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum PaceName {
    /// Waits for those that keep up. Slow ones cost half a second, and 5 % of the time after that,
    /// and miss what they cannot take.
    Most,
    /// Waits for every reader that lives, so that nothing is lost; any of them can hold this node
    /// up.
    All,
    /// Waits for no reader, only for this node's own links; slow readers miss more.
    None,
}

impl From<PaceName> for Pace {
    fn from(name: PaceName) -> Self {
        match name {
            PaceName::Most => Self::Most,
            PaceName::All => Self::All,
            PaceName::None => Self::None,
        }
    }
}

/// The library's presets, as they are written on the command line.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum PresetName {
    /// Suits networks near and far.
    Default,
    /// Suits nodes a millisecond or so apart: failures are noticed and repaired three times as
    /// fast, a peer that is silent for 1s is dropped, and idle links carry three times as much.
    Lan,
    /// Suits nodes a third of a second apart, on lines that stall: fewer links are lost without
    /// need, a peer is dropped after 6s of silence, and failures are noticed and repaired half as
    /// fast.
    Internet,
}

impl From<PresetName> for Preset {
    fn from(name: PresetName) -> Self {
        match name {
            PresetName::Default => Self::Default,
            PresetName::Lan => Self::Lan,
            PresetName::Internet => Self::Internet,
        }
    }
}

/// Whether messages are signed, under the option's name and under its old one.
#[derive(Debug, Clone, Copy, clap::Args)]
struct SigningArgs {
    /// Do not sign messages; all nodes of the network need this flag, and have to trust each other
    ///
    /// This saves processor time, but lets any member of the network forge messages of another one.
    #[arg(long, env = "SMOKESIGNAL_UNSIGNED_MESSAGES")]
    unsigned_messages: bool,
    /// The name of `--unsigned-messages` until 0.3; scripts that use it keep working.
    #[arg(long, env = "SMOKESIGNAL_TRUSTED", hide = true)]
    trusted: bool,
}

impl SigningArgs {
    /// Returns whether the flag was given under either name.
    fn unsigned(self) -> bool {
        self.unsigned_messages || self.trusted
    }
}

/// Parses a ping timeout. The library checks the range, too, but does not know how the user wrote
/// it.
fn ping_timeout(text: &str) -> Result<Duration, String> {
    let allowed = Duration::from_millis(100)..=Duration::from_secs(3600);
    match humantime::parse_duration(text) {
        Ok(timeout) if allowed.contains(&timeout) => Ok(timeout),
        _ => Err("write a time from 100ms to 1h, for example 3s or 500ms".to_owned()),
    }
}

/// Parses the time that a leaving node waits.
fn leave_timeout(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "write a time, for example 30s or 5m".to_owned())
}

/// Parses the time for which a writer waits for a reader that stands still.
fn reader_timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(timeout) if !timeout.is_zero() => Ok(timeout),
        Ok(_) => {
            let cure = "use a time above 0s, for example 60s, or leave it out for no limit";
            Err(format!("no reader is that fast; {cure}"))
        }
        Err(_) => Err("write a time, for example 60s or 5m".to_owned()),
    }
}

/// Parses where reading starts.
fn read_from(text: &str) -> Result<ReadFrom, String> {
    let last = || text.strip_prefix("last:")?.parse().ok().map(ReadFrom::Last);
    match text {
        "now" => Ok(ReadFrom::Now),
        "oldest" => Ok(ReadFrom::Oldest),
        _ => last().ok_or_else(|| "write now, oldest, or last:N, for example last:100".to_owned()),
    }
}

/// Parses the bytes that a node retains.
fn retention(text: &str) -> Result<usize, String> {
    match bytes(text) {
        Some(bytes) if bytes >= RETENTION_MIN => Ok(bytes),
        _ => Err("write 32MiB or more, for example 64MiB or 1GiB".to_owned()),
    }
}

/// Parses the age up to which a node retains messages.
fn retention_age(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(age) if age >= Duration::from_secs(1) => Ok(age),
        _ => Err("write a time of 1s or more, for example 60s or 10m".to_owned()),
    }
}

/// Parses an upload limit. The library checks the least value, which depends on other options.
fn bytes_per_second(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => Some(1),
        // Decimal, as lines are sold.
        "k" => Some(1_000),
        "M" => Some(1_000_000),
        "G" => Some(1_000_000_000),
        _ => None,
    };
    let limit = unit.and_then(|unit| digits.parse::<u64>().ok()?.checked_mul(unit));
    limit.ok_or_else(|| "write bytes per second, for example 500k or 2M".to_owned())
}

/// Parses a number of bytes, such as `64`, `1KiB`, `16MiB` or `2GiB`.
pub(crate) fn bytes(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        // Powers of two only: `k` and `M` mean 1 000 to some and 1 024 to others.
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}

impl JoinArgs {
    /// Returns for how long writes wait for a reader that stands still, if that has a limit.
    pub(crate) const fn reader_timeout(&self) -> Option<Duration> {
        self.tuning.reader_timeout
    }

    /// Starts the log and creates the node. The node is not started yet.
    pub(crate) fn node(&self) -> Result<Node, Failure> {
        log::start(self.verbose);
        let mut builder = Node::builder()
            .address(listening_address(&self.address)?)
            .port(self.port)
            .min_peers(self.min_peers)
            .max_peers(self.max_peers)
            .preset(self.tuning.preset.into())
            .retention(self.tuning.retention, self.tuning.retention_age)
            .pace(self.tuning.pace.into())
            .leave_timeout(self.leave_timeout)
            .read_from(self.read_from)
            .max_message(MAX_MESSAGE)
            .prefer_near_peers(!self.no_prefer_near_peers)
            .unsigned_messages(self.signing.unsigned());
        if let Some(timeout) = self.ping_timeout {
            builder = builder.ping_timeout(timeout);
        }
        if let Some(timeout) = self.tuning.reader_timeout {
            builder = builder.reader_timeout(timeout);
        }
        if let Some(limit) = self.tuning.upload_limit {
            builder = builder.upload_limit(limit);
        }
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

/// Returns where a started node listens.
pub(crate) fn listening(node: &Node) -> Result<SocketAddr, Failure> {
    node.local_addr().ok_or_else(Failure::node_stopped)
}

/// Prints events that need a person's attention: seeds that do not answer, nodes
/// of another version, lost events, netsplits, a second process with this node's key.
pub(crate) fn print_warning(event: &Event) {
    match event {
        Event::SeedUnreachable { seed, error } => notice!("{}", seed_unreachable(seed, error)),
        Event::Incompatible { address, versions } => {
            notice!("a node at {address} cannot connect: {versions}");
        }
        Event::Lagging { from, messages, bytes } => {
            notice!("this node is {messages} messages of {from} behind, about {bytes} bytes");
        }
        Event::CaughtUp { from } => notice!("this node has caught up with {from}"),
        Event::IdentityConflict { superseded, .. } => {
            let what =
                if *superseded { "was started later: this one can write no more" } else { "runs, too" };
            notice!("another process with this node's key {what}; give each process a key of its own");
        }
        Event::Missed(count) => notice!("{}", events_missed(*count)),
        Event::Netsplit { size, size_before, .. } => {
            notice!("netsplit: only {size} of {size_before} nodes are left on this side");
        }
        Event::NetsplitResolved { duration, size } => {
            let duration = humantime::format_duration(Duration::from_secs(duration.as_secs()));
            notice!("the network is whole again after {duration}: {size} nodes");
        }
        _ => {}
    }
}

/// Describes a seed that does not answer: "seed 10.0.0.9:13 refused the connection; is a node
/// running there? (trying again until it answers)".
pub(crate) fn seed_unreachable(seed: &str, error: &impl fmt::Display) -> String {
    let error = error.to_string();
    let named = if error.starts_with(seed) { String::new() } else { format!("{seed}: ") };
    format!("seed {named}{error} (trying again until it answers)")
}

/// Describes events that were lost because they were not read in time.
pub(crate) fn events_missed(count: u64) -> String {
    format!("{count} events were dropped because they came faster than they could be printed")
}

/// Parses a number, or `none` for no limit.
pub(crate) fn number_or_none(text: &str) -> Result<usize, String> {
    match text {
        "none" => Ok(usize::MAX),
        _ => text.parse().map_err(|_| "write a number, or `none` for no limit".to_owned()),
    }
}

/// Returns the address itself, or this machine's address in the subnet.
fn listening_address(text: &str) -> Result<IpAddr, Failure> {
    match text.parse() {
        Ok(address) => Ok(address),
        Err(_) => Ok(smokesignal::local_ip(text)?),
    }
}

/// Says how to keep other users of this machine from reading a secret file. They are not refused:
/// containers mount secrets so.
#[cfg(unix)]
fn warn_if_readable_by_others(file: &Path, content: &File) {
    use std::os::unix::fs::PermissionsExt as _;
    let Ok(metadata) = content.metadata() else { return };
    let mode = metadata.permissions().mode() & 0o777;
    if metadata.is_file() && mode & 0o077 != 0 {
        let file = file.display();
        notice!(
            "other users can use the network secret file {file} (mode {mode:03o}); run `chmod 600 {file}`"
        );
    }
}

#[cfg(not(unix))]
fn warn_if_readable_by_others(_file: &Path, _content: &File) {}

/// Reads a network secret: the content of the file without the newline at its end.
fn read_secret(file: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |text: String| Failure::Failed(format!("the network secret file {} {text}", file.display()));
    let mut secret = Vec::new();
    // Enough to notice that a secret is too long, with its newline, and bounded for any kind of
    // file.
    let limit = SECRET_MAX as u64 + 3;
    File::open(file)
        .and_then(|content| {
            warn_if_readable_by_others(file, &content);
            content.take(limit).read_to_end(&mut secret)
        })
        .map_err(|error| failed(format!("cannot be read: {error}; check its path and permissions")))?;
    if secret.last() == Some(&b'\n') {
        secret.pop();
        if secret.last() == Some(&b'\r') {
            secret.pop();
        }
    }
    let cure = "write one random line to it, for example with `openssl rand -hex 32`";
    match secret.len() {
        0 => Err(failed(format!("is empty; {cure}"))),
        size if size < SECRET_MIN => {
            Err(failed(format!("holds {size} bytes, but a secret needs at least {SECRET_MIN}; {cure}")))
        }
        size if size > SECRET_MAX => {
            Err(failed(format!("holds more than {SECRET_MAX} bytes, so it is probably a wrong file; {cure}")))
        }
        _ => Ok(secret),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_means_no_limit() {
        assert_eq!(number_or_none("none"), Ok(usize::MAX));
        assert_eq!(number_or_none("7"), Ok(7));
        assert!(number_or_none("many").unwrap_err().contains("none"));
    }

    #[test]
    fn reading_starts_now_at_the_oldest_or_at_the_last_few() {
        assert_eq!(read_from("now"), Ok(ReadFrom::Now));
        assert_eq!(read_from("oldest"), Ok(ReadFrom::Oldest));
        assert_eq!(read_from("last:7"), Ok(ReadFrom::Last(7)));
        for bad in ["", "first", "last", "last:", "last:-1"] {
            assert!(read_from(bad).unwrap_err().contains("last:N"), "{bad}");
        }
    }

    #[test]
    fn bytes_per_second_have_decimal_units() {
        for (text, number) in [("50000", 50_000), ("500k", 500_000), ("2M", 2_000_000), ("1G", 1_000_000_000)]
        {
            assert_eq!(bytes_per_second(text), Ok(number));
        }
        for text in ["", "k", "500K", "1.5M", "-1", "500kB", "2MiB", "99999999999999999999"] {
            assert!(bytes_per_second(text).unwrap_err().contains("500k"), "{text}");
        }
    }

    #[test]
    fn bytes_have_binary_units() {
        for (text, number) in [("64", 64), ("64B", 64), ("1KiB", 1024), ("2GiB", 2 << 30)] {
            assert_eq!(bytes(text), Some(number));
        }
        for text in ["", "KiB", "64k", "1.5KiB", "-1", "99999999999999999999", "18014398509481984KiB"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn a_retention_holds_two_messages_of_the_largest_size_for_a_second() {
        assert_eq!(retention("32MiB"), Ok(RETENTION_MIN));
        assert!(retention("33554431").unwrap_err().contains("32MiB"));
        assert_eq!(retention_age("1s"), Ok(Duration::from_secs(1)));
        assert!(retention_age("999ms").unwrap_err().contains("1s"));
    }

    #[test]
    fn a_seed_error_names_the_seed_once() {
        let refused = "10.0.0.9:13 refused the connection";
        assert!(seed_unreachable("10.0.0.9:13", &refused).starts_with("seed 10.0.0.9:13 refused"));
        assert!(seed_unreachable("10.0.0.9:13", &"no route").starts_with("seed 10.0.0.9:13: no route"));
    }

    #[test]
    fn a_secret_is_read_without_its_newline() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        for end in ["", "\n", "\r\n"] {
            std::fs::write(&file, format!("0123456789abcdef{end}")).unwrap();
            assert_eq!(read_secret(&file), Ok(b"0123456789abcdef".to_vec()));
        }
    }

    #[test]
    fn the_error_for_an_unusable_secret_names_the_file_and_the_cure() {
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
