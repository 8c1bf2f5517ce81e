//! Every number of the core: its unit, its default, the source of the default, and what changes
//! when it is turned.
//!
//! [`Config`] is given to the node once and never changes. Some times depend on each other:
//! [`Config::with_ping_timeout`] changes them together.

use std::time::Duration;

/// Maximum payload of one segment: 64 KiB. Larger messages travel as fragments, so that no message
/// holds up others on a link for longer than one segment takes.
pub const MAX_SEGMENT: usize = 64 * 1024;

/// Where a node that joins starts to read the streams it finds.
///
/// ```
/// use smokesignal_proto::{Config, ReadFrom};
///
/// assert_eq!(Config::default().read_from, ReadFrom::Now);
/// let config = Config { read_from: ReadFrom::Last(100), ..Config::default() };
/// # let _ = config;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadFrom {
    /// Reads what is written from now on.
    #[default]
    Now,
    /// Reads this number of messages of each writer from before now, as far as its neighbours still
    /// retain them.
    Last(u64),
    /// Reads everything that its neighbours still retain.
    Oldest,
}

/// The numbers a node runs by. [`Config::default`] is what the library ships.
///
/// ```
/// use std::time::Duration;
///
/// use smokesignal_proto::Config;
///
/// // Everything that depends on the ping timeout follows it.
/// let config = Config { min_peers: 4, ..Config::default().with_ping_timeout(Duration::from_secs(1)) };
/// assert!(config.beat_period < config.ping_timeout);
/// ```
#[derive(Debug, Clone)]
pub struct Config {
    /// The incarnation of this start of the node; each start must have a higher one. Default 1; the
    /// library uses unix milliseconds.
    pub incarnation: u64,
    /// The network that records and signatures belong to; those of another network are refused.
    /// Default zeros; the library derives it from the network secret.
    pub network: [u8; 32],
    /// Whether segments carry their writer's signature, which every node checks before it believes,
    /// delivers or forwards them. It must be the same in all nodes of a network. Default true.
    /// False saves the signatures, 20 to 50 % of the throughput under load, and lets every member
    /// write in another's name.
    pub signed: bool,
    /// Where a joiner starts to read. Default [`ReadFrom::Now`].
    pub read_from: ReadFrom,
    /// Number of peers below which the node looks for more. Default 3 (the npm package's
    /// `minPeerNo`). Higher: more failures at the same time leave the network whole, and idle
    /// traffic rises with each link. Below 3 a few failures may part the network.
    pub min_peers: usize,
    /// Maximum number of peers, not counting up to two for the moment of a link split or for pinned
    /// links. Default 5 (the npm package's `maxPeerNo`). Higher: fewer hops and lower latency, but
    /// a writer and each node near it send more copies at the same time. 1: the node forwards
    /// nothing.
    pub max_peers: usize,
    /// A link without any byte for this long is dead. Default 3 s (the npm package's
    /// `pingTimeout`). Shorter: failures and netsplits are noticed sooner, idle traffic rises, and
    /// a stalled process or a slow line loses links that were alive. Use
    /// [`Config::with_ping_timeout`], which adapts the times that depend on it.
    pub ping_timeout: Duration,
    /// Maximum size of one message, in bytes. Default 16 MiB. Higher: one message may occupy the
    /// retained bytes of many small ones, so `ring_bytes` and `partial_total` have to rise with it.
    pub max_message: usize,

    /// A neighbour that was sent nothing for this long is sent a ping. Default 7/12 of the ping
    /// timeout, so that one late tick does not matter; a link that carries the beats never needs
    /// it. Shorter: more idle traffic.
    pub keepalive: Duration,
    /// The root of a partition beats this often, give or take 5 %. Default 1.65 s: with a ping
    /// timeout of 3 s an idle link then carries less than 200 B/s, headers included. Shorter: the
    /// size and netsplits are known sooner, and every link carries more.
    pub beat_period: Duration,
    /// A root without a beat for this long is dead. Default 4.5 s: one beat may be lost, and the
    /// next one late. Shorter: a slow line makes its nodes take a living root for dead.
    pub root_max_age: Duration,
    /// A partition sends out three probes in this time. Default 5 s. Shorter: separated partitions
    /// find each other sooner, and seeds answer more dials.
    pub probe_period: Duration,
    /// The same while a seed is missing for an unknown reason. Default 1 s.
    pub probe_hurry: Duration,
    /// A link that joins two partitions is not dropped for others for this long. Default 60 s.
    /// Shorter: a merge may come apart before other links join the two. Longer: nodes keep a link
    /// too many for longer.
    pub bridge_hold: Duration,

    /// Upkeep runs this often, give or take 30 %. Default 250 ms: a fixed rhythm and not a
    /// reaction, so that a mass failure causes no thundering herd. Shorter: quicker refill, and
    /// more processor time of idle nodes.
    pub tick: Duration,
    /// Wait between two contacts that an isolated node tries. Default 250 ms (as Happy Eyeballs,
    /// RFC 8305, section 5). Shorter: quicker joins, and more dials to seeds that are busy.
    pub contact_stagger: Duration,
    /// First and last wait before a failed seed is tried again; doubles in between, with full
    /// jitter. Default 500 ms and 15 s: no node may stay alone for 30 s while a seed lives. A
    /// longer last wait spares dead seeds and delays the return of a network.
    pub seed_backoff: (Duration, Duration),
    /// First and last wait between two attempts to find more peers; doubles in between. Default 250
    /// ms and 10 s: a network smaller than `min_peers` + 1 must not search at full speed for ever.
    pub refill_backoff: (Duration, Duration),
    /// Maximum number of connections being made at the same time, requests of the user not counted.
    /// Default 8, one of them reserved for seeds. Higher: quicker recovery from a mass failure, at
    /// the price of a storm of dials.
    pub max_dials: usize,
    /// How long an isolated node gives each known node at first. Default 1 s: three round trips of
    /// a third of a second; after a mass failure nineteen of twenty nodes do not answer at all.
    /// Longer: nodes behind slow lines are reached, and the survivors find together later.
    pub dial_hurry: Duration,
    /// Maximum number of connections that are not links (joiners, refused ones); the oldest loses.
    /// Default 64. Higher: more joiners are served at the same time, and strangers may cost more
    /// memory.
    pub max_sessions: usize,
    /// A connection that is not a link is closed after this long. Default 10 s.
    pub session_timeout: Duration,
    /// A link that is not active on both sides after this long exists on neither. Default 3 s.
    /// Shorter: slow lines cannot make links.
    pub handshake_timeout: Duration,
    /// A split that was not committed after this long lapses. Default 5 s. Longer: a joiner that
    /// vanishes blocks the link for longer.
    pub split_timeout: Duration,
    /// Minimum number of hops of a join walk. Default 6 (HyParView's active random walk length, p.
    /// 9). Higher: a more random graph, and slower joins.
    pub walk_ttl: u8,
    /// Maximum number of lookups from one neighbour that are forwarded in one tick; more are
    /// dropped. Default 32 (128 a second, which is what the whole network can look up, because all
    /// nodes are asked: 6 KB/s on each link).
    pub lookups_per_tick: u32,
    /// Maximum number of hops of a lookup. Default 20 (the diameter of 100 000 nodes is 15 or
    /// less).
    pub find_ttl: u8,
    /// A node that has not answered a lookup by then is reported as not found. Default 5 s.
    /// Shorter: errors come sooner, and large or slow networks fail to find nodes that are there.
    pub find_timeout: Duration,
    /// Whether nodes that are not neighbours are dialled for streams; otherwise other nodes relay
    /// streams to them. Default true.
    pub dial_for_streams: bool,
    /// Maximum number of walks and shuffles whose way back is remembered; the oldest loses. Default
    /// 1024. Lower: in a busy network joins fail and are repeated.
    pub max_walks: usize,
    /// The way back of a walk is forgotten after this long. Default 10 s.
    pub walk_timeout: Duration,
    /// Maximum number of nodes that are remembered and not connected; a random one loses. Default
    /// 192: after the loss of 95 % of the network, 30 would leave a sixth of the survivors without
    /// a live contact, and 192 leave none. Higher: more memory.
    pub passive_view: usize,
    /// Maximum number of nodes that no longer answer and are kept as a last resort; the oldest
    /// loses. Default 256.
    pub graveyard: usize,
    /// A node exchanges known nodes with another one this long after its links have changed, and
    /// then after twice as long each time, up to `shuffle_calm`. Default 2.5 s and 160 s
    /// (HyParView: always 10 s, which on an idle link costs more than all else together). Shorter:
    /// fresher views, more traffic.
    pub shuffle: Duration,
    /// The longest wait between two shuffles, see `shuffle`. Default 160 s.
    pub shuffle_calm: Duration,
    /// Whether links to far neighbours are exchanged for links to nearer ones. Default false: in
    /// simulations of twelve cities messages arrive 4 to 14 % sooner, and it is not shown that
    /// reach after a mass failure never suffers.
    pub reorder: bool,
    /// First and last wait between two attempts to do so; doubles as long as nothing is gained.
    /// Default 30 s and 10 min.
    pub reorder_wait: (Duration, Duration),
    /// After a close by the user the pair leaves each other alone for this long, and for a part of
    /// it after other ends of a link. Default 30 s.
    pub pair_backoff: Duration,
    /// Number of joins served per second; a burst of twice as many passes. Default 100. Higher: a
    /// large network rejoins sooner through one seed, which sends as many walks. More joiners than
    /// that get addresses only.
    pub joins_per_second: u32,

    /// Maximum number of requests (walks, joins and the like) that are served from one connection
    /// per tick; more are dropped, and their senders ask again. Default 50 (a guess: 200 joins a
    /// second through one seed send about as many to a neighbour).
    pub budget_per_tick: u32,

    /// A link with unsent data and no progress is closed after this long. Default 3 s. Shorter: a
    /// slow line loses its links under load. Longer: a frozen neighbour holds up a writer for
    /// longer.
    pub stall_timeout: Duration,
    /// Maximum number of bytes handed to one link and not yet written by it. Default 128 KiB: more
    /// would queue control messages behind data. Lower: fast links wait for the driver.
    pub link_window: usize,
    /// Bytes of control messages on top of the window; above it the link is closed. Default 256
    /// KiB.
    pub control_window: usize,
    /// Maximum number of bytes that the node's own stream may be ahead of the slowest neighbour
    /// that counts. Default 1 MiB. Higher: fuller links over long distances, and a slow neighbour
    /// falls out of the ring sooner.
    pub write_window: usize,
    /// Maximum number of bytes accepted from the application and not yet sent, beyond one message.
    /// Default 1 MiB. Higher: writes wait later, and more is lost when the process dies.
    pub write_buffer: usize,
    /// Number of signatures that a writer makes without a pause. Default 8. See `sign_every`.
    pub sign_burst: u32,
    /// Time until a writer that has used up `sign_burst` may make another signature; messages
    /// written meanwhile share it. Default 4 ms: a reader that checks 250 a second spends 1 % of a
    /// core on it (46 us each). Shorter: lower latency of a busy writer, more processor time at all
    /// readers.
    pub sign_every: Duration,
    /// This number of waiting bytes does not wait for `sign_every`. Default 256 KiB: for that much,
    /// checking a signature is a tenth of the cost of forwarding.
    pub sign_bytes: usize,
    /// A neighbour may hold up the node's writes for this long while all others wait; the debt is
    /// forgiven at 5 % of passing time. Default 500 ms (a slow peer costs others at most 5 %).
    /// Higher: slow neighbours miss less, fast ones wait more.
    pub slow_budget: Duration,
    /// Maximum number of bytes retained of one writer; the oldest segments lose. Default 64 MiB,
    /// all there is: four messages of the largest size, and a reader that has to find another path
    /// may be that far behind. If there are several writers, the largest ring loses first.
    pub ring_bytes: usize,
    /// Maximum number of bytes retained of all writers; the largest ring loses its oldest segments.
    /// Default 64 MiB. Higher: longer stalls without a gap, more memory. Lower: less memory, and 4
    /// to 10 % less processor time.
    pub ring_total: usize,
    /// Segments are retained no longer than this. Default 60 s. Longer: nodes that were cut off for
    /// longer miss nothing, if `ring_total` suffices.
    pub ring_age: Duration,
    /// Maximum number of bytes of half-arrived large messages; the message that was begun first
    /// loses. Default 64 MiB.
    pub partial_total: usize,
    /// Maximum number of writers known at the same time; the one silent for longest loses and
    /// leaves a tombstone. Default 16 384.
    pub max_streams: usize,
    /// Maximum number of marks of forgotten writers, so that nothing is read twice; the oldest
    /// loses. Default 65 536.
    pub max_tombstones: usize,
    /// Minimum wait before a missing range is requested: four round trips, and no less than this.
    /// Default 150 ms. Shorter: quicker repair, and more segments that arrive twice.
    pub graft_after: Duration,
    /// Minimum wait before it is requested from another neighbour. Default 300 ms.
    pub graft_again: Duration,
    /// Maximum of both waits, which grow with the link's round trip. Default 1 s.
    pub graft_latest: Duration,
    /// Least and most wait before a lazy neighbour gets a digest of what has grown; two round trips
    /// in between. Default 100 ms and 200 ms. Shorter: a silent failure is noticed sooner, and at
    /// 20 ms a third of what a quiet network writes are digests.
    pub digest_delay: (Duration, Duration),
    /// A link that brings a stream sooner than its parent replaces the parent, but no more often
    /// than this. Default 1 s. Shorter: better trees sooner, and more copies while they change.
    pub switch_after: Duration,
    /// Wait before a range that no neighbour retains is reported as a gap: with enough peers, and
    /// with fewer than `min_peers`. Default 2 s and 10 s (a new link may still bring it). Longer:
    /// fewer gaps, and a longer pause before each.
    pub gap_after: (Duration, Duration),
    /// A node counts as new until a neighbour that is not new has sent all its marks, or for this
    /// long after its first link; writers met meanwhile start at now. Default 1 s: several round
    /// trips, and the wait of two nodes that are each other's only seed.
    pub settle_after: Duration,
    /// A writer's former incarnation may finish for this long once a newer one is seen. Default 5
    /// s.
    pub drain_timeout: Duration,
    /// A leaving node tries to hand over accepted writes for this long. Default 5 s.
    pub leave_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        const KIB: usize = 1024;
        const MIB: usize = 1024 * KIB;
        let ms = Duration::from_millis;
        let s = Duration::from_secs;
        Self {
            incarnation: 1,
            network: [0; 32],
            signed: true,
            read_from: ReadFrom::Now,
            min_peers: 3,
            max_peers: 5,
            ping_timeout: s(3),
            keepalive: ms(1750),
            beat_period: ms(1650),
            root_max_age: ms(4500),
            probe_period: s(5),
            probe_hurry: s(1),
            bridge_hold: s(60),
            max_message: 16 * MIB,
            tick: ms(250),
            contact_stagger: ms(250),
            seed_backoff: (ms(500), s(15)),
            refill_backoff: (ms(250), s(10)),
            max_dials: 8,
            dial_hurry: s(1),
            max_sessions: 64,
            session_timeout: s(10),
            handshake_timeout: s(3),
            split_timeout: s(5),
            walk_ttl: 6,
            lookups_per_tick: 32,
            find_ttl: 20,
            find_timeout: s(5),
            dial_for_streams: true,
            max_walks: 1024,
            walk_timeout: s(10),
            passive_view: 192,
            graveyard: 256,
            shuffle: ms(2500),
            shuffle_calm: s(160),
            reorder: false,
            reorder_wait: (s(30), s(600)),
            pair_backoff: s(30),
            joins_per_second: 100,
            budget_per_tick: 50,
            stall_timeout: s(3),
            link_window: 128 * KIB,
            control_window: 256 * KIB,
            write_window: MIB,
            write_buffer: MIB,
            sign_burst: 8,
            sign_every: ms(4),
            sign_bytes: 256 * KIB,
            slow_budget: ms(500),
            ring_bytes: 64 * MIB,
            ring_total: 64 * MIB,
            ring_age: s(60),
            partial_total: 64 * MIB,
            max_streams: 16_384,
            max_tombstones: 65_536,
            graft_after: ms(150),
            graft_again: ms(300),
            graft_latest: s(1),
            digest_delay: (ms(100), ms(200)),
            switch_after: s(1),
            gap_after: (s(2), s(10)),
            settle_after: s(1),
            drain_timeout: s(5),
            leave_timeout: s(5),
        }
    }
}

impl Config {
    /// Returns the same with another ping timeout, and with the times that depend on it.
    pub fn with_ping_timeout(self, timeout: Duration) -> Self {
        let (keepalive, beat_period, root_max_age) = (timeout * 7 / 12, timeout * 11 / 20, timeout * 3 / 2);
        // Keepalives are looked at by the tick: with a longer one they would come too late. 1/12 is
        // the default's share.
        let tick = self.tick.min(timeout / 12);
        Self { ping_timeout: timeout, keepalive, beat_period, root_max_age, tick, ..self }
    }

    /// Returns the maximum number of automatic links. With "no limit" (`usize::MAX`) every joiner's
    /// first link would go to its seed and make it the centre of a star, so it is twice `min_peers`
    /// then, 8 at least; pinned links come on top.
    pub(crate) fn automatic_max(&self) -> usize {
        if self.max_peers == usize::MAX { (2 * self.min_peers).max(8) } else { self.max_peers }
    }

    /// Returns the maximum number of links, transient and pinned ones included.
    pub(crate) fn hard_max(&self) -> usize {
        self.max_peers.saturating_add(2)
    }
}
