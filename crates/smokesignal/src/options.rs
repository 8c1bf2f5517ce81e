//! A node's options, their defaults and their limits.
//!
//! The setters only store a value; `build`, which is in the node's module, has [`check`] refuse
//! what makes no sense, so that the order of the setters does not matter.
//!
//! [`check`]: NodeBuilder::check

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use smokesignal_proto::{Config, MAX_ADDRESSES, Pace, ReadFrom};

use crate::error::BuildError;
use crate::identity::Identity;
use crate::transport::{TcpTransport, Transport};
use crate::upload;

const MIB: usize = 1024 * 1024;
/// Retained bytes at least: two messages of the largest size, or of this one. A writer may be 1 MiB
/// ahead of its own links, which take what they have not sent yet from what is retained.
const LEAST_RETAINED: usize = MIB;

/// The distances that a node's times are made for, see [`NodeBuilder::preset`].
///
/// ```
/// use smokesignal::{Node, Preset};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let node = Node::builder().preset(Preset::Lan).build()?;
/// # let _ = node;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Preset {
    /// Suits networks near and far: what each option's documentation calls its default.
    #[default]
    Default,
    /// Suits nodes on one local network, a millisecond or so apart.
    Lan,
    /// Suits nodes all over the world, a third of a second apart and on lines that stall.
    Internet,
}

impl Preset {
    /// Returns the core's numbers for these distances.
    pub(crate) fn config(self) -> Config {
        match self {
            Self::Default => Config::default(),
            Self::Lan => Config::lan(),
            Self::Internet => Config::internet(),
        }
    }
}

/// Options of a node, from [`Node::builder`](crate::Node::builder). All have a default.
///
/// ```
/// use std::time::Duration;
///
/// use smokesignal::{Node, ReadFrom};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let node = Node::builder()
///     .port(8495)
///     .seed("192.168.2.100:8495")
///     .seed("seed.example:8495")
///     .max_peers(8)
///     .ping_timeout(Duration::from_secs(2))
///     .read_from(ReadFrom::Last(100))
///     .network_secret("32 random bytes, base64 or binary")
///     .build()?; // Nothing happens before start().
/// # let _ = node;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct NodeBuilder {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) seeds: Vec<String>,
    pub(crate) advertise: Vec<String>,
    pub(crate) min_peers: usize,
    pub(crate) max_peers: usize,
    pub(crate) preset: Preset,
    ping_timeout: Option<Duration>,
    pub(crate) leave_timeout: Duration,
    pub(crate) reader_timeout: Option<Duration>,
    pub(crate) max_message: usize,
    retention: Option<Retention>,
    pub(crate) upload_limit: Option<u64>,
    pub(crate) pace: Pace,
    pub(crate) identity: Option<Identity>,
    pub(crate) secret: Option<Secret>,
    pub(crate) unsigned_messages: bool,
    pub(crate) read_from: ReadFrom,
    pub(crate) prefer_near_peers: bool,
    pub(crate) relay_only: bool,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) rng_seed: Option<u64>,
}

/// How much a node retains of what all writers wrote, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retention {
    pub(crate) bytes: usize,
    pub(crate) age: Duration,
}

/// The network secret, which is redacted in `Debug` output.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Default for NodeBuilder {
    fn default() -> Self {
        Self {
            address: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            seeds: Vec::new(),
            advertise: Vec::new(),
            min_peers: 3,
            max_peers: 5,
            preset: Preset::Default,
            ping_timeout: None,
            leave_timeout: Duration::from_secs(30),
            reader_timeout: None,
            max_message: 16 * MIB,
            retention: None,
            upload_limit: None,
            pace: Pace::Most,
            identity: None,
            secret: None,
            unsigned_messages: false,
            read_from: ReadFrom::Now,
            prefer_near_peers: true,
            relay_only: false,
            transport: Arc::new(TcpTransport::new()),
            rng_seed: None,
        }
    }
}

impl NodeBuilder {
    /// Sets the address to listen at. Default: 127.0.0.1.
    ///
    /// [`local_ip`](crate::local_ip()) finds this machine's address in a subnet. With 0.0.0.0 or
    /// `::` the node publishes all addresses of this machine, loopback ones last.
    pub fn address(mut self, address: IpAddr) -> Self {
        self.address = address;
        self
    }

    /// Sets the port to listen at. Default: 0, any free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Adds a seed: a node to enter the network through, as `HOST:PORT`. Repeatable; seeds are
    /// tried for ever.
    ///
    /// A partition is detected by its seeds, so give all nodes the same few. With more seeds more
    /// of them may be down before a new node cannot join, and each node dials more addresses.
    pub fn seed(mut self, seed: impl Into<String>) -> Self {
        self.seeds.push(seed.into());
        self
    }

    /// Adds an address that others are to dial, as `HOST:PORT`, in place of the one where the node
    /// listens: that of a router with a forwarded port, or of a container's host.
    ///
    /// Port 0 stands for the port where the node listens. Repeatable, at most four times, the best
    /// address first. A host name is resolved at each [`start`](crate::Node::start).
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.advertise.push(address.into());
        self
    }

    /// Sets the number of peers below which the node looks for more. Default: 3.
    ///
    /// With more peers a message has more paths, so the failure of a neighbour is repaired sooner
    /// and the network has a smaller diameter; each peer costs a connection, and up to 200 B/s
    /// while the network is idle.
    pub fn min_peers(mut self, count: usize) -> Self {
        self.min_peers = count;
        self
    }

    /// Sets the maximum number of peers. Default: 5; `usize::MAX` means no limit.
    ///
    /// Two more may exist while a joiner is let in, or because [`add_peer`](crate::Node::add_peer)
    /// asked for them. A higher limit admits joiners faster and makes the load of the nodes less
    /// even; a node with a limit of 1 takes part but forwards nothing.
    pub fn max_peers(mut self, count: usize) -> Self {
        self.max_peers = count;
        self
    }

    /// Sets the distances that the node's times are made for. Default: [`Preset::Default`].
    ///
    /// | | `Lan` | `Default` | `Internet` |
    /// | --- | --- | --- | --- |
    /// | [`ping_timeout`](Self::ping_timeout) | 1 s | 3 s | 6 s |
    /// | a missing message is requested after, depending on the round trip | 50 to 300 ms | 150 ms to 1 s | 400 ms to 2 s |
    /// | a gap is reported after, and with fewer than `min_peers` peers after | 1 s, 5 s | 2 s, 10 s | 4 s, 15 s |
    /// | a link that makes no progress is closed after | 2 s | 3 s | 6 s |
    /// | a handshake that takes longer is aborted after | 1 s | 3 s | 6 s |
    /// | traffic of an idle link | three times as much | up to 200 B/s | half as much |
    ///
    /// With `Lan` failures are noticed and repaired about three times as fast, and a process that
    /// is suspended for more than a second counts as dead. With `Internet` fewer links are lost to
    /// pauses of a line, and failures are noticed and repaired half as fast.
    ///
    /// All nodes of a network need the same preset: the heartbeat of a network is as fast as its
    /// root's, and too slow for nodes with shorter times. An explicit `ping_timeout` replaces that
    /// of the preset, in whichever order the two are set.
    pub fn preset(mut self, preset: Preset) -> Self {
        self.preset = preset;
        self
    }

    /// Sets how long a peer may be silent before it counts as dead; 100 ms to 1 h. Default: 3 s, or
    /// that of the [`preset`](Self::preset).
    ///
    /// A shorter timeout replaces a dead peer sooner and detects a partition sooner. It also sends
    /// more pings, and drops more peers that are only slow or suspended. The interval of the
    /// network's heartbeat follows it, so all nodes need about the same.
    pub fn ping_timeout(mut self, timeout: Duration) -> Self {
        self.ping_timeout = Some(timeout);
        self
    }

    /// Sets how long [`stop`](crate::Node::stop) waits where nothing moves. Default: 30 s; zero
    /// does not wait at all.
    ///
    /// A node that stops waits for a first peer if it has written before there was one, and until
    /// its neighbours have read what it wrote. With a longer timeout it waits for a seed that comes
    /// up late and for readers that pause; with a shorter one it ends sooner, and reports more of
    /// what it wrote as not read. A node that has written nothing does not wait, nor does one that
    /// is alone and knows nobody to dial, or whose last neighbour has left the network.
    pub fn leave_timeout(mut self, timeout: Duration) -> Self {
        self.leave_timeout = timeout;
        self
    }

    /// Sets the maximum length of one message in bytes. Default: 16 MiB; 1 byte to 1 GiB.
    ///
    /// A higher limit lets every handle, every stream and the core assemble larger messages: a
    /// reader that stalls holds up to four of them. A node with a lower limit than the writer
    /// reports larger messages as gaps.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// Sets how much the node retains of what all writers together wrote, itself included, and for
    /// how long: others repair from it what they have missed, and late joiners
    /// [begin earlier](Self::read_from) with it. Default: 64 MiB, or two messages of the largest
    /// size if that is more, and 60 s.
    ///
    /// The oldest is dropped once it is older than `age`, 1 s at least. Above `bytes`, the writer
    /// with the most retained bytes loses its oldest; a single writer may fill all of it. Each
    /// segment of up to 64 KiB counts 128 bytes beside its content. `bytes` is at least two
    /// messages of the largest size, and at least 2 MiB.
    ///
    /// With more, a reader may be cut off or suspended for longer before it is handed a gap, and
    /// late joiners read more; the node may use that much memory. Each node retains for its own
    /// neighbours, so what a reader can still get depends on the settings of the nodes around it.
    pub fn retention(mut self, bytes: usize, age: Duration) -> Self {
        self.retention = Some(Retention { bytes, age });
        self
    }

    /// Sets how many bytes per second the node sends at most, over all its connections together.
    /// Default: no limit.
    ///
    /// Streams of others that this node relays count, and so do TLS records; handshakes do not, nor
    /// do the headers of TCP and IP, which are some 4 % on top. Connections that are busy get equal
    /// shares, and the small messages that keep links alive go first. The limit holds over seconds;
    /// single tenths of a second may exceed it.
    ///
    /// With a lower limit this node's own messages, and those that it forwards, arrive later at
    /// others; a neighbour to which it is too slow gets them over other links. The lowest limit
    /// lets the largest frame, 64 KiB, leave in half the [`ping_timeout`](Self::ping_timeout): 43
    /// 690 bytes per second with that of 3 s; 16 000 in any case.
    ///
    /// ```
    /// use smokesignal::{BuildError, Node};
    ///
    /// assert!(Node::builder().upload_limit(500_000).build().is_ok());
    /// let error = Node::builder().upload_limit(500).build().unwrap_err();
    /// assert!(matches!(error, BuildError::UploadLimitTooLow { limit: 500, least: 43_690, .. }));
    /// ```
    pub fn upload_limit(mut self, bytes_per_second: u64) -> Self {
        self.upload_limit = Some(bytes_per_second);
        self
    }

    /// Sets which readers this node's own writes wait for. Default: [`Pace::Most`].
    ///
    /// | | `Pace::Most` | `Pace::All` | `Pace::None` |
    /// | --- | --- | --- | --- |
    /// | a write waits for | the readers that keep up | every reader that lives | this node's own links |
    /// | one slow or frozen reader costs the writer | half a second, and 5 % of the time after that, all such readers together | all but the pace of that reader | nothing |
    /// | that reader gets | as much as its line carries, and a counted gap for the rest | every message | a gap once it is behind by more than others retain |
    ///
    /// With `All`, any member of the network can hold up this writer: use it for files and
    /// replication, in networks whose members are known, or with a
    /// [`reader_timeout`](Self::reader_timeout). A reader that is silent for the
    /// [`ping_timeout`](Self::ping_timeout), or cut off, has left, and gets a gap if it returns.
    /// With `None` a fast writer loses more at slow readers. Each writer chooses for itself. A
    /// reader keeps up while its program is less than 8 MiB behind; a handle that was never read
    /// holds up nobody.
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// Limits how long this node's writes wait for one reader that stands still, with
    /// [`Pace::All`]; without effect otherwise. It has to be above zero. Default: no limit, they
    /// wait as long as the reader lives.
    ///
    /// Once the slowest reader has confirmed nothing for this long, although there is something for
    /// it to read, an [`Event::ReaderTimedOut`](crate::Event) names it, and it counts as gone. Once
    /// it goes on it gets what is retained and a counted gap for the rest, and writes wait for it
    /// again when it has caught up. Of several readers that stand still at different places the
    /// slowest goes first, and the next one after as long again.
    ///
    /// ```
    /// use std::time::Duration;
    /// use smokesignal::{Node, Pace};
    ///
    /// let node = Node::builder().pace(Pace::All).reader_timeout(Duration::from_secs(60)).build();
    /// assert!(node.is_ok());
    /// ```
    pub fn reader_timeout(mut self, timeout: Duration) -> Self {
        self.reader_timeout = Some(timeout);
        self
    }

    /// Sets the node's key pair. Default: a new one, and thus a new id, for each node that is
    /// built.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Sets the secret that a node must prove to hold before it is let in. At least 16 bytes; 32
    /// random ones are better. Default: none, any node may join.
    pub fn network_secret(mut self, secret: impl AsRef<[u8]>) -> Self {
        self.secret = Some(Secret(secret.as_ref().to_vec()));
        self
    }

    /// Sets whether messages go unsigned. Default: false, every writer signs its messages.
    ///
    /// Without signatures every member of the network must be trusted: any of them can write in
    /// the name of another. It saves two ed25519 operations (about 0.1 ms) for each batch of up to
    /// 16 segments. All nodes of a network need the same setting; a node with the other one is
    /// refused.
    pub fn unsigned_messages(mut self, on: bool) -> Self {
        self.unsigned_messages = on;
        self
    }

    /// Sets where this node, when it joins, starts to read what others write. Default
    /// [`ReadFrom::Now`].
    ///
    /// Its neighbours retain what is at most 60 s old, 64 MiB in all, unless their
    /// [`retention`](Self::retention) is another one; with several writers, the one with the most
    /// retained bytes loses its oldest first.
    pub fn read_from(mut self, start: ReadFrom) -> Self {
        self.read_from = start;
        self
    }

    /// Sets whether streams to nodes other than neighbours are always relayed. Default: false, a
    /// node is dialled for a stream, and relayed to only if it cannot be dialled.
    ///
    /// With true this node never dials for a stream; other nodes relay it and pay with their
    /// bandwidth. Use it in networks that allow no connections except to the seeds.
    pub fn relay_only(mut self, on: bool) -> Self {
        self.relay_only = on;
        self
    }

    /// Sets whether this node looks for peers that are near, by their round trip. Default: true. It
    /// keeps at least two random peers all the same, and near ones give way to nodes that need a
    /// place.
    ///
    /// Messages cross long distances less often: in simulations half of them arrive 22 % sooner in
    /// three regions, and 29 % in twelve cities (`smokesignal sim reorder`). False saves a dial
    /// now and then to measure a node, and peers change less.
    pub fn prefer_near_peers(mut self, on: bool) -> Self {
        self.prefer_near_peers = on;
        self
    }

    /// Sets the transport, for example a [`MemoryNetwork`](crate::transport::MemoryNetwork) in
    /// tests. Default: TCP with TLS.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transport = Arc::new(transport);
        self
    }

    /// Sets the seed of the node's random choices, for tests: which nodes it links to and when it
    /// retries. Default: the system's randomness.
    ///
    /// With it and the same [identity](Self::identity), a run in a simulated network can be
    /// repeated, see [`MemoryNetwork`](crate::transport::MemoryNetwork). Keys do not depend on it.
    pub fn rng_seed(mut self, seed: u64) -> Self {
        self.rng_seed = Some(seed);
        self
    }

    /// Returns an error for the first option that makes no sense.
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        if self.max_peers == 0 {
            return Err(BuildError::MaxPeersZero);
        }
        if self.min_peers == 0 {
            return Err(BuildError::MinPeersZero);
        }
        if self.min_peers > self.max_peers {
            return Err(BuildError::MinAboveMax { min: self.min_peers, max: self.max_peers });
        }
        if let Some(bad) = self.seeds.iter().find(|seed| !is_host_and_port(seed)) {
            return Err(BuildError::BadSeed(bad.clone()));
        }
        if self.advertise.len() > MAX_ADDRESSES {
            return Err(BuildError::TooManyAdvertised(self.advertise.len()));
        }
        if let Some(bad) = self.advertise.iter().find(|address| !is_dialable(address)) {
            return Err(BuildError::BadAdvertise(bad.clone()));
        }
        let timeout = self.effective_ping_timeout();
        if !(Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&timeout) {
            return Err(BuildError::BadPingTimeout(timeout));
        }
        if self.reader_timeout == Some(Duration::ZERO) {
            return Err(BuildError::ReaderTimeoutZero);
        }
        if !(1..=1024 * MIB).contains(&self.max_message) {
            return Err(BuildError::BadMaxMessage(self.max_message));
        }
        self.check_retention()?;
        self.check_upload_limit()?;
        if let Some(Secret(secret)) = self.secret.as_ref().filter(|Secret(secret)| secret.len() < 16) {
            return Err(BuildError::SecretTooShort(secret.len()));
        }
        Ok(())
    }

    fn check_retention(&self) -> Result<(), BuildError> {
        let Retention { bytes, age } = self.effective_retention();
        let least = self.least_retained();
        if bytes < least {
            return Err(BuildError::RetentionTooSmall { bytes, least, max_message: self.max_message });
        }
        if age < Duration::from_secs(1) {
            return Err(BuildError::RetentionTooShort(age));
        }
        Ok(())
    }

    fn check_upload_limit(&self) -> Result<(), BuildError> {
        let ping_timeout = self.effective_ping_timeout();
        let least = upload::least(ping_timeout);
        match self.upload_limit {
            Some(limit) if limit < least => Err(BuildError::UploadLimitTooLow { limit, least, ping_timeout }),
            _ => Ok(()),
        }
    }

    /// Returns the ping timeout that was set, or that of the preset.
    pub(crate) fn effective_ping_timeout(&self) -> Duration {
        self.ping_timeout.unwrap_or_else(|| self.preset.config().ping_timeout)
    }

    /// Returns the retention that was set, or the default for the largest message.
    pub(crate) fn effective_retention(&self) -> Retention {
        self.retention.unwrap_or_else(|| {
            let Config { ring_total, ring_age, .. } = self.preset.config();
            Retention { bytes: ring_total.max(self.least_retained()), age: ring_age }
        })
    }

    fn least_retained(&self) -> usize {
        self.max_message.max(LEAST_RETAINED).saturating_mul(2)
    }
}

/// Returns whether this `HOST:PORT`, whose port may be 0, can be published for others to dial.
fn is_dialable(text: &str) -> bool {
    let with_port = text.strip_suffix(":0").map_or_else(|| text.to_owned(), |host| format!("{host}:1"));
    let never = |address: SocketAddr| address.ip().is_unspecified() || address.ip().is_multicast();
    is_host_and_port(&with_port) && !with_port.parse().is_ok_and(never)
}

/// Returns whether the text is `HOST:PORT` with a port from 1; an IPv6 address stands in brackets.
pub(crate) fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_fits = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
    };
    host_fits && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Node;

    #[test]
    fn senseless_options_are_refused_with_value_and_cure() {
        let refused = |builder: NodeBuilder, words: &[&str]| {
            let error = builder.build().unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        };
        refused(Node::builder().max_peers(0).min_peers(1), &["max_peers is 0", "1 or more"]);
        refused(Node::builder().min_peers(6), &["min_peers 6", "max_peers 5", "lower", "raise"]);
        refused(Node::builder().min_peers(0), &["min_peers is 0", "1 or more"]);
        refused(Node::builder().seed("nowhere"), &["`nowhere`", "HOST:PORT"]);
        for bad in ["nowhere", "0.0.0.0:1", "[::]:0", "224.0.0.1:8495", "host:", ":0"] {
            refused(Node::builder().advertise(bad), &[bad, "HOST:PORT"]);
        }
        let five =
            (1..=5).fold(Node::builder(), |builder, host| builder.advertise(format!("10.0.0.{host}:1")));
        refused(five, &["5 addresses", "4"]);
        refused(Node::builder().ping_timeout(Duration::ZERO), &["0ns", "100 ms"]);
        refused(
            Node::builder().reader_timeout(Duration::ZERO),
            &["reader_timeout is 0", "above 0", "leave it out"],
        );
        refused(Node::builder().max_message(0), &["max_message 0"]);
        let minute = Duration::from_secs(60);
        refused(
            Node::builder().retention(MIB, minute),
            &["1048576 bytes", "33554432", "max_message 16777216"],
        );
        refused(Node::builder().max_message(1).retention(2 * MIB - 1, minute), &["2097151", "2097152"]);
        refused(Node::builder().retention(64 * MIB, Duration::from_millis(999)), &["999ms", "1 s or more"]);
        refused(
            Node::builder().upload_limit(43_689),
            &["43689 bytes", "43690", "ping_timeout", "3s", "or leave it out"],
        );
        refused(Node::builder().upload_limit(100_000).preset(Preset::Lan), &["131072", "1s"]);
        refused(Node::builder().network_secret("short"), &["5 bytes", "at least 16"]);
        assert!(Node::builder().max_peers(usize::MAX).seed("host.example:1").build().is_ok());
        assert!(Node::builder().max_peers(1).min_peers(1).advertise("host.example:0").build().is_ok());
        assert!(Node::builder().max_message(1).retention(2 * MIB, Duration::from_secs(1)).build().is_ok());
        assert!(Node::builder().reader_timeout(Duration::from_nanos(1)).build().is_ok());
        assert!(Node::builder().upload_limit(43_690).build().is_ok());
        assert!(Node::builder().upload_limit(u64::MAX).build().is_ok());
        assert!(Node::builder().retention(usize::MAX, Duration::MAX).build().is_ok());
    }

    #[test]
    fn the_default_retention_grows_with_the_largest_message_only() {
        let retained = |builder: NodeBuilder| builder.effective_retention().bytes;
        assert_eq!(retained(Node::builder()), 64 * MIB);
        assert_eq!(retained(Node::builder().max_message(1)), 64 * MIB);
        assert_eq!(retained(Node::builder().max_message(100 * MIB)), 200 * MIB);
        let minute = Duration::from_secs(60);
        assert_eq!(retained(Node::builder().retention(40 * MIB, minute)), 40 * MIB);
    }

    #[test]
    fn seeds_are_host_and_port() {
        for good in ["10.0.0.1:1", "a-b.example:65535", "[::1]:8495", "localhost:13"] {
            assert!(is_host_and_port(good), "{good}");
        }
        for bad in [
            "",
            ":",
            "host",
            "host:",
            "host:0",
            "host:65536",
            "host:+1",
            ":1",
            "::1:1",
            "[::1]",
            "a b:1",
            "[x]:1",
        ] {
            assert!(!is_host_and_port(bad), "{bad}");
        }
    }
}
