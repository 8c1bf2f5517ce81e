//! Every number of the core: unit, default, source.

use std::time::Duration;

/// Payload of one segment at most: 64 KiB. Larger messages travel as fragments, so that no message
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
    /// Which start of this node this is; each start must have a higher one. Default 1; the library
    /// uses unix milliseconds.
    pub incarnation: u64,
    /// Which network the records belong to; records of another one are not believed. Default zeros;
    /// the library derives it from the network secret.
    pub network: [u8; 32],
    /// Segments carry their writer's signature, checked by every node before it believes, delivers
    /// or passes on. The same in all nodes of a network. Default true; false saves two ed25519
    /// operations a segment where all members are trusted.
    pub signed: bool,
    /// Where a joiner starts to read. Default [`ReadFrom::Now`].
    pub read_from: ReadFrom,
    /// Peers below which the node looks for more. Default 3 (the npm package's `minPeerNo`).
    pub min_peers: usize,
    /// Peers at most, not counting up to two for the moment of a link split or for explicit ones.
    /// Default 5 (the npm package's `maxPeerNo`).
    pub max_peers: usize,
    /// A link without any byte for this long is dead. Default 3 s (the npm package's
    /// `pingTimeout`).
    pub ping_timeout: Duration,
    /// Bytes of one message at most. Default 16 MiB.
    pub max_message: usize,

    /// A neighbour that was told nothing for this long is sent a ping. Default 7/12 of the ping
    /// timeout: on a link that carries the beats that is never.
    pub keepalive: Duration,
    /// A component's root beats this often, give or take 5 %. Default 1.65 s: with a ping timeout
    /// of 3 s an idle link then carries less than 200 B/s, headers included.
    pub beat_period: Duration,
    /// A root without a beat for this long is dead. Default 4.5 s: a beat may be lost, and the next
    /// one late.
    pub root_max_age: Duration,
    /// A component sends out three probes in such a time. Default 5 s (design B: 4.2).
    pub probe_period: Duration,
    /// While a seed is missing and nobody knows why, this much. Default 1 s.
    pub probe_hurry: Duration,
    /// A link that joins two components is not given up for others for this long. Default 60 s.
    pub bridge_hold: Duration,

    /// Upkeep runs this often, give or take 30 %. Default 250 ms (design C: fixed rhythm, not
    /// reaction, so that a mass failure makes no herd).
    pub tick: Duration,
    /// Wait between two contacts that are tried while isolated. Default 250 ms (as Happy Eyeballs,
    /// RFC 8305, section 5).
    pub contact_stagger: Duration,
    /// First and last wait before a failed seed is tried again; doubles in between, full jitter.
    /// Default 500 ms and 15 s (C5: nobody may stay alone for 30 s while a seed lives).
    pub seed_backoff: (Duration, Duration),
    /// First and last wait between two attempts to find more peers. Default 250 ms and 10 s (a
    /// network smaller than `min_peers` + 1 must not search at full speed for ever).
    pub refill_backoff: (Duration, Duration),
    /// Connections being made at once at most. Default 8 (C7).
    pub max_dials: usize,
    /// A node that is alone gives each known node this long at first. Default 1 s: three round
    /// trips of a third of a second; after a mass failure nineteen of twenty do not answer at all.
    pub dial_hurry: Duration,
    /// Connections that are no links (joiners, refused ones) at most; the oldest loses. Default 64.
    pub max_sessions: usize,
    /// A connection that is no link is closed after this long. Default 10 s.
    pub session_timeout: Duration,
    /// A link that is not active on both sides after this long exists on neither. Default 3 s.
    pub handshake_timeout: Duration,
    /// A split not committed after this long lapses. Default 5 s.
    pub split_timeout: Duration,
    /// Hops of a join walk at least. Default 6 (HyParView's active random walk length, p. 9).
    pub walk_ttl: u8,
    /// Searches for nodes by id from one neighbour that are heeded in one tick; more are dropped.
    /// Default 32 (128 a second, which is what the whole network can look for, because all are
    /// asked: 6 KB/s on each link).
    pub lookups_per_tick: u32,
    /// Hops of a search for a node by its id. Default 20 (the diameter of 100 000 nodes is 15 or
    /// less).
    pub find_ttl: u8,
    /// A node that was not found by then is not there. Default 5 s.
    pub find_timeout: Duration,
    /// Nodes that are no neighbours are dialled for streams; without it, streams to them are
    /// carried by others. Default true.
    pub dial_for_streams: bool,
    /// Walks and shuffles whose way back is remembered; the oldest loses. Default 1024.
    pub max_walks: usize,
    /// The way back of a walk is forgotten after this long. Default 10 s.
    pub walk_timeout: Duration,
    /// Peers remembered but not connected; a random one loses. Default 192 (design C: at a 95 %
    /// loss 30 leaves a sixth of the survivors without a live contact, 192 leaves none).
    pub passive_view: usize,
    /// Peers not answering any more, kept as a last resort; the oldest loses. Default 256.
    pub graveyard: usize,
    /// After its links have changed a node exchanges passive entries with another after this long,
    /// and then after twice as long each time, up to `shuffle_calm`. Default 2.5 s and 160 s
    /// (HyParView: always 10 s, which on an idle link costs more than all else together).
    pub shuffle: Duration,
    /// See `shuffle`.
    pub shuffle_calm: Duration,
    /// Links to far neighbours are exchanged for links to nearer ones. Default: see
    /// `Config::default`.
    pub reorder: bool,
    /// First and last wait between two attempts to do so; doubles as long as nothing is gained.
    /// Default 30 s and 10 min.
    pub reorder_wait: (Duration, Duration),
    /// After a refusal or a close by the user the pair leaves each other alone for this long.
    /// Default 30 s.
    pub pair_backoff: Duration,
    /// Joins answered per second; a burst of twice as many passes. Default 100.
    pub joins_per_second: u32,

    /// Walks, joins and the like heeded from one connection per tick; what comes on top is dropped,
    /// and whoever asked asks again. Default 50 (a guess: 200 joins a second through one seed send
    /// about as many to a neighbour).
    pub budget_per_tick: u32,

    /// A link with data waiting and no progress is closed after this long. Default 3 s.
    pub stall_timeout: Duration,
    /// Bytes handed to one link and not yet written by it. Default 128 KiB: more would put control
    /// messages behind data.
    pub link_window: usize,
    /// Bytes of control messages on top of the window; above it the link is closed. Default 256
    /// KiB.
    pub control_window: usize,
    /// Bytes an own write may be ahead of the slowest of the node's links. Default 1 MiB.
    pub write_window: usize,
    /// Bytes accepted from the application and not yet sent. Default 1 MiB, and always one message.
    pub write_buffer: usize,
    /// Signatures that a writer makes at once, and how long it takes until it may make one more;
    /// what is written meanwhile comes under one. Default 8, and 4 ms: who checks 250 a second
    /// spends 1 % of a core on it (46 us each).
    pub sign_burst: u32,
    /// See `sign_burst`.
    pub sign_every: Duration,
    /// So many bytes are not kept waiting for it. Default 256 KiB: for so much, checking is a tenth
    /// of the passing.
    pub sign_bytes: usize,
    /// A link may hold up the node's writes for this long while all others wait; the debt is
    /// forgiven at 5 % of passing time. Default 500 ms (interface: a slow peer costs others at most
    /// 5 %).
    pub slow_budget: Duration,
    /// Bytes retained of one writer; the oldest loses. Default 64 MiB, all there is: four messages
    /// of the largest size, and a reader that has to find another path may be so far behind. Where
    /// there are several, the largest ring loses anyway.
    pub ring_bytes: usize,
    /// Bytes retained of all writers; the largest ring loses its oldest. Default 64 MiB.
    pub ring_total: usize,
    /// Retained no longer than this. Default 60 s.
    pub ring_age: Duration,
    /// Bytes of half-arrived large messages; the one that grows past it loses. Default 64 MiB.
    pub partial_total: usize,
    /// Writers known at once; the one silent for longest loses and leaves a tombstone. Default 16
    /// 384.
    pub max_streams: usize,
    /// Marks of forgotten writers, so that nothing is read twice; the oldest loses. Default 65 536.
    pub max_tombstones: usize,
    /// Wait before a missing range is asked for. Default 150 ms (design A, T1).
    pub graft_after: Duration,
    /// Wait before it is asked for elsewhere. Default 300 ms (design A, T2).
    pub graft_again: Duration,
    /// Both waits grow with the link's round trip, up to this. Default 1 s.
    pub graft_latest: Duration,
    /// A neighbour that is not sent a stream is told how far it is after two round trips, but not
    /// sooner or later than this. Default 100 ms and 200 ms (design A: 20 ms, but then a third of
    /// what a quiet network writes are digests).
    pub digest_delay: (Duration, Duration),
    /// A link that brings a stream sooner than its parent takes the parent's place, but not more
    /// often than this. Default 1 s.
    pub switch_after: Duration,
    /// Wait before a range that nobody retains is reported as a gap: with enough peers, and with
    /// fewer than `min_peers`. Default 2 s (design A, T_gap) and 10 s (a new link may still bring
    /// it).
    pub gap_after: (Duration, Duration),
    /// A node counts as new until a neighbour that is not new has told it all streams, or for this
    /// long after its first link; writers met meanwhile start at now. Default 1 s: several round
    /// trips, and what two nodes wait that are each other's only seed.
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
    /// The same with another ping timeout, and all that has to fit to it.
    pub fn with_ping_timeout(self, timeout: Duration) -> Self {
        let (keepalive, beat_period, root_max_age) = (timeout * 7 / 12, timeout * 11 / 20, timeout * 3 / 2);
        // Keepalives are looked at by the tick: with a longer one they would come too late. 1/12 is
        // the default's share.
        let tick = self.tick.min(timeout / 12);
        Self { ping_timeout: timeout, keepalive, beat_period, root_max_age, tick, ..self }
    }

    /// Links that come about by themselves at most. With "no limit" (`usize::MAX`) every joiner's
    /// first link would go to its seed and make it the centre of a star, so it is twice `min_peers`
    /// then, 8 at least; links that a user asks for come on top.
    pub(crate) fn automatic_max(&self) -> usize {
        if self.max_peers == usize::MAX { (2 * self.min_peers).max(8) } else { self.max_peers }
    }

    /// Links at most, transient and explicit ones included.
    pub(crate) fn hard_max(&self) -> usize {
        self.max_peers.saturating_add(2)
    }
}
