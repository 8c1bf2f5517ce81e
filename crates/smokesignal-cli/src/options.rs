//! What all commands that join a network share: options, start, signals, failures.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgAction, Args};
use smokesignal::{Builder, Event, Identity, LocalIpError, Node};
use tokio::signal::unix::{SignalKind, signal};

/// Why a command ends without success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Exit 1.
    Failed(String),
    /// Exit 2.
    Usage(String),
    /// Exit 130.
    Interrupted,
}

impl Failure {
    pub(crate) fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Interrupted => 130,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed(text) | Self::Usage(text) => f.write_str(text),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// Runs a command to its end. Whatever then still hangs (a read of stdin) is left behind.
pub(crate) fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::failed)?;
    let outcome = runtime.block_on(command);
    runtime.shutdown_background();
    outcome
}

/// How to join a network. Each option is also an environment variable.
#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// Where to listen: an address, or a subnet such as 192.168.2.0/24 or 192.168.2.0/255.255.255.0.
    #[arg(long, env = "SMOKESIGNAL_ADDRESS", default_value = "127.0.0.1", value_name = "IP|SUBNET")]
    address: String,
    /// On which port; 0 is any free one.
    #[arg(long, env = "SMOKESIGNAL_PORT", default_value_t = 0, value_name = "N")]
    port: u16,
    /// A node to enter the network through; repeatable (in the variable: separated by commas).
    #[arg(long = "seed", env = "SMOKESIGNAL_SEED", value_delimiter = ',', value_name = "HOST:PORT")]
    seeds: Vec<String>,
    /// Look for more peers below this number.
    #[arg(long, env = "SMOKESIGNAL_MIN_PEERS", default_value_t = 3, value_name = "N")]
    min_peers: usize,
    /// Peers at most.
    #[arg(long, env = "SMOKESIGNAL_MAX_PEERS", default_value = "5", value_name = "N|none", value_parser = limit)]
    max_peers: usize,
    /// A peer silent for this long is dead.
    #[arg(long, env = "SMOKESIGNAL_PING_TIMEOUT", default_value = "3s", value_name = "TIME",
          value_parser = ping_timeout)]
    ping_timeout: Duration,
    /// The node's key; made if it is not there. Without it each start is a new node.
    #[arg(long, env = "SMOKESIGNAL_KEY", value_name = "FILE")]
    key: Option<PathBuf>,
    /// Only nodes with the same secret in such a file are let in (16 bytes at least).
    #[arg(long, env = "SMOKESIGNAL_NETWORK_SECRET_FILE", value_name = "FILE")]
    network_secret_file: Option<PathBuf>,
    /// Say more on stderr: -v what happens, -vv details, -vvv everything.
    #[arg(short, long, env = "SMOKESIGNAL_VERBOSE", action = ArgAction::Count)]
    verbose: u8,
}

fn ping_timeout(text: &str) -> Result<Duration, String> {
    let allowed = Duration::from_millis(100)..=Duration::from_secs(3600);
    let timeout =
        humantime::parse_duration(text).map_err(|error| format!("{error}; write for example 3s or 500ms"))?;
    if allowed.contains(&timeout) { Ok(timeout) } else { Err("it is outside 100ms to 1h".to_owned()) }
}

fn limit(text: &str) -> Result<usize, String> {
    if text == "none" {
        return Ok(usize::MAX);
    }
    text.parse().map_err(|_| "expected a number of at least 2, or `none` for no limit".to_owned())
}

impl JoinArgs {
    /// The node these options describe, not started.
    pub(crate) fn node(&self) -> Result<Node, Failure> {
        log_to_stderr(self.verbose);
        let mut builder = Node::builder()
            .address(address(&self.address)?)
            .port(self.port)
            .min_peers(self.min_peers)
            .max_peers(self.max_peers)
            .ping_timeout(self.ping_timeout);
        for seed in self.seeds.iter().filter(|seed| !seed.is_empty()) {
            builder = builder.seed(seed);
        }
        if let Some(path) = &self.key {
            builder = builder.identity(Identity::load_or_create(path).map_err(Failure::failed)?);
        }
        if let Some(path) = &self.network_secret_file {
            builder = with_secret(builder, path)?;
        }
        builder.build().map_err(|error| Failure::Usage(error.to_string()))
    }
}

fn with_secret(builder: Builder, path: &Path) -> Result<Builder, Failure> {
    let file = path.display();
    let bytes = std::fs::read(path)
        .map_err(|error| Failure::Failed(format!("cannot read the network secret file {file}: {error}")))?;
    let secret = bytes.trim_ascii_end();
    if secret.len() < 16 {
        let length = secret.len();
        return Err(Failure::Failed(format!(
            "the network secret in {file} has {length} bytes; at least 16 are needed, better 32 random ones \
             (head -c 32 /dev/urandom | base64 > {file})"
        )));
    }
    Ok(builder.network_secret(secret))
}

fn address(text: &str) -> Result<IpAddr, Failure> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    smokesignal::local_ip(text).map_err(|error| match error {
        LocalIpError::BadSubnet(_) => Failure::Usage(error.to_string()),
        error => Failure::failed(error),
    })
}

fn log_to_stderr(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).compact();
    if log.try_init().is_err() {
        eprintln!("smokesignal: a log was set up before; that one is used");
    }
}

/// Starts the node and says where it listens.
pub(crate) async fn start(node: &Node) -> Result<(), Failure> {
    node.start().await.map_err(Failure::failed)?;
    if let Some(address) = node.local_addr() {
        eprintln!("smokesignal: listening on {address} as {}", node.id());
    }
    Ok(())
}

/// Resolves at the first SIGINT or SIGTERM. A second one ends the process at once.
pub(crate) async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::warn!("signals cannot be handled here; the node will not leave properly when interrupted");
        return std::future::pending().await;
    };
    tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    tokio::spawn(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        std::process::exit(130);
    });
}

/// What people should hear of an event, if anything.
pub(crate) fn describe(event: &Event) -> Option<String> {
    Some(match event {
        Event::PeerAdded(peer) => format!("peer {} at {} is there", peer.id().short(), peer.remote_addr()),
        Event::PeerRemoved(peer) => format!("peer {} is gone", peer.id().short()),
        Event::Disconnect => "no peers left; trying to get back".to_owned(),
        Event::SeedUnreachable { error, .. } => format!("{error} (trying again)"),
        Event::Missed(count) => format!("{count} events were missed"),
        _ => return None,
    })
}
