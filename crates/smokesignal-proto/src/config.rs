//! Every number of the core: unit, default, source, and what rises and falls when it is turned.

use std::time::Duration;

/// Payload of one segment at most: 64 KiB. Larger messages travel as fragments, so that no message
/// holds up others on a link for longer than one segment takes.
pub const MAX_SEGMENT: usize = 64 * 1024;
/// Messages in one segment at most: 4096, so that only messages below 15 bytes fill no segment. An
/// empty message takes one byte there, and each reader does as much for it as for another one.
pub(crate) const MAX_MESSAGES: u32 = 4096;

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

/// Whom a writer waits for.
///
/// ```
/// use smokesignal_proto::{Config, Pace};
///
/// assert_eq!(Config::default().pace, Pace::Most);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pace {
    /// Waits for all readers that keep up. It waits half a second in ten for a minority that falls
    /// behind. After that each of them gets what its line can carry, and a counted gap for what no
    /// other node retains.
    #[default]
    Most,
    /// Waits for the slowest reader that lives. Nothing is lost as long as it lives, and any member
    /// of the network can hold up the writer.
    All,
    /// Waits for this node's own links only. A reader that falls behind by more than what is
    /// retained reads a gap.
    None,
}

/// The numbers a node runs by. [`Config::default`] is what the library ships; [`Config::lan`] and
/// [`Config::internet`] differ from it where distance matters.
///
/// The doc of each number says what rises and what falls when it is turned up.
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
    /// uses unix milliseconds. The node raises its own number where an earlier start had a higher
    /// one.
    pub incarnation: u64,
    /// The network that signatures hold for; what is signed for another one is not believed.
    /// Default zeros; the library derives it from the network secret.
    pub network: [u8; 32],
    /// Whether segments carry their writer's signature, which every node checks before it believes
    /// them, delivers them or passes them on. The same in all nodes of a network. Default true.
    /// False saves two ed25519 operations for each batch of segments, and every member can forge
    /// the messages of every other.
    pub signed: bool,
    /// Where a joiner starts to read. Default [`ReadFrom::Now`]. Earlier: more is read, and more
    /// has to be transferred before a joiner has caught up.
    pub read_from: ReadFrom,
    /// Peers below which the node looks for more. Default 3 (the npm package's `minPeerNo`). Up:
    /// more nodes may die at the same time before others are cut off; the traffic of digests and
    /// beats, and the copies of a writer's first segment, rise with it.
    pub min_peers: usize,
    /// Peers at most, not counting up to two for the moment of a link split or for pinned ones.
    /// Default 5 (the npm package's `maxPeerNo`). Up: joiners find a place sooner and paths become
    /// shorter; idle traffic rises with the number of links.
    pub max_peers: usize,
    /// A link without any byte for this long is dead. Default 3 s (the npm package's
    /// `pingTimeout`). Up: fewer links are lost to pauses of a process or a line; a dead node is
    /// noticed later, and what it was to pass on comes later. Set it by
    /// [`Config::with_ping_timeout`], which sets what depends on it as well.
    pub ping_timeout: Duration,
    /// Bytes of one message at most. Default 16 MiB. Up: larger messages pass; a reader may hold
    /// that much for each writer while one arrives.
    pub max_message: usize,

    /// A neighbour that nothing was sent to for this long is sent a ping. Default 7/12 of the ping
    /// timeout: on a link that carries the beats that never happens. Down: more idle traffic, and
    /// fewer false deaths.
    pub keepalive: Duration,
    /// A partition's root beats this often, give or take 5 %. Default 1.65 s: with a ping timeout
    /// of 3 s an idle link then carries less than 200 B/s, headers included. Up: less idle traffic;
    /// the count and netsplits lag behind for longer.
    pub beat_period: Duration,
    /// A root without a beat for this long is dead. Default 4.5 s: a beat may be lost, and the next
    /// one late. Up: fewer false netsplits on bad lines; a real one is noticed later.
    pub root_max_age: Duration,
    /// A partition sends out three probes of known nodes in such a time. Default 5 s. Up: less
    /// traffic; two partitions find each other later.
    pub probe_period: Duration,
    /// A link that joins two partitions is not ended for the sake of others for this long. Default
    /// 60 s. Up: a merged network hangs on few links with less risk; full nodes stay above
    /// `max_peers` for longer.
    pub bridge_hold: Duration,

    /// Upkeep runs this often, give or take 30 %. Default 250 ms: a jittered rhythm instead of
    /// reactions, so that a mass failure causes no thundering herd. Up: less work while idle;
    /// time-outs and repairs of the overlay come later.
    pub tick: Duration,
    /// Wait between two contacts that an isolated node tries. Default 250 ms (as Happy Eyeballs,
    /// RFC 8305, section 5). Up: fewer joins in vain; an isolated node stays so for longer.
    pub contact_stagger: Duration,
    /// First and last wait before an isolated node tries a failed seed again, from the beginning of
    /// one dial to the next; doubles in between, with jitter. Default 500 ms and 2.4 s: it meets a
    /// seed that comes up late within 5 s, and dials a dead one three times in 5 s at most. Up:
    /// fewer dials to a dead seed; nodes come back later once it lives again.
    pub seed_backoff: (Duration, Duration),
    /// First and last wait between two attempts to find more peers. Default 250 ms and 10 s (a
    /// network smaller than `min_peers` + 1 must not search at full speed for ever). Up: fewer
    /// requests to nodes that have no room; a node short of links stays so for longer.
    pub refill_backoff: (Duration, Duration),
    /// Connections being made at the same time at most. Default 8. Up: an isolated node finds a
    /// living one sooner; after a mass failure more dials burden those that live.
    pub max_dials: usize,
    /// An isolated node gives each known node this long at first. Default 1 s: three round trips of
    /// a third of a second; after a mass failure nineteen of twenty do not answer at all. Up: far
    /// nodes are reached at the first try; the dead hold up the search for longer.
    pub dial_hurry: Duration,
    /// Connections that are not links (joiners, refused nodes) at most; the oldest loses. Default
    /// 64. Up: more nodes may join through one seed at the same time; more memory for those that
    /// only connect.
    pub max_sessions: usize,
    /// A connection that is not a link is closed after this long. Default 10 s. Up: joiners on slow
    /// lines find a place over their first connection; strangers hold places and memory for longer.
    pub session_timeout: Duration,
    /// A link that is not active on both sides after this long exists on neither. Default 3 s. Up:
    /// slow lines manage it; a place is held for longer for a node that died on the way.
    pub handshake_timeout: Duration,
    /// A split not committed after this long lapses. Default 5 s. Up: splits succeed over slow
    /// lines; a place promised to a joiner that died stays empty for longer.
    pub split_timeout: Duration,
    /// Hops of a join walk at least. Default 6 (HyParView's active random walk length, p. 9). Up:
    /// joiners are spread more evenly; each join costs more messages.
    pub walk_ttl: u8,
    /// Lookups of all neighbours that are served in one tick, in equal shares; what they leave of
    /// their shares is there for the others in the next tick. More are dropped. Default 32 (128 a
    /// second, which is what the whole network can look for, because all nodes are asked: 6 KB/s on
    /// each link). Up: more lookups at the same time succeed; a member that floods the network
    /// costs every node more.
    pub lookups_per_tick: u32,
    /// Hops of a lookup. Default 20 (the diameter of 100 000 nodes is 15 or less). Up: nodes are
    /// found in larger networks, and over longer detours; each query lives longer where no node
    /// knows it any more.
    pub find_ttl: u8,
    /// A node that was not found by then is not there. Default 5 s. Up: far nodes are found over
    /// bad lines; `open` waits for longer for one that does not exist.
    pub find_timeout: Duration,
    /// Whether nodes that are not neighbours are dialled for streams; without it, connections to
    /// them are relayed by others. Default true. False: fewer connections, and nodes behind a
    /// firewall are not dialled in vain; streams cost those in between their bandwidth, and are
    /// slower.
    pub dial_for_streams: bool,
    /// Walks and shuffles whose way back is remembered; the oldest loses. Default 1024. Up: more
    /// joins and lookups may be under way at the same time; more memory (about 100 bytes each).
    pub max_walks: usize,
    /// The way back of a walk is forgotten after this long. Default 10 s. Up: answers over slow
    /// paths still find back; more paths are kept, and a busy node reaches `max_walks` sooner.
    pub walk_timeout: Duration,
    /// Nodes remembered but not connected; a random one loses. Default 192: at a loss of 95 % of
    /// the nodes 30 leave a sixth of the survivors without a living contact, 192 leave none. Up:
    /// more memory, and more dead nodes to try after a failure.
    pub passive_view: usize,
    /// Nodes that do not answer any more, kept as a last resort; the oldest loses. Default 256. Up:
    /// longer partitions heal by themselves without a seed; more memory, and more dials in vain.
    pub graveyard: usize,
    /// After its links have changed a node exchanges passive entries with another after this long,
    /// and then after twice as long each time, up to `shuffle_calm`. Default 2.5 s (HyParView:
    /// always 10 s, which on an idle link costs more than everything else together). Up: less
    /// traffic after a change; passive views are older.
    pub shuffle: Duration,
    /// The longest wait between two exchanges, in a network that does not change; see `shuffle`.
    /// Default 160 s. Up: less idle traffic; passive views of a calm network are older.
    pub shuffle_calm: Duration,
    /// Whether places that random links leave free are used for links to near nodes. Default true.
    /// On: messages cross long distances less often and arrive sooner; nodes have up to
    /// `max_peers` links, which costs idle traffic, and dial a node to measure it now and then.
    pub reorder: bool,
    /// First and last wait between two attempts to find a near node; grows by half as long as
    /// nothing is gained. Default 10 s and 10 min. Up: fewer dials; near links come later.
    pub reorder_wait: (Duration, Duration),
    /// After a refusal or a close by the user the pair leaves each other alone for this long.
    /// Default 30 s. Up: less churn between nodes that do not suit each other; in a small network a
    /// pair that could be linked again stays apart for longer.
    pub pair_backoff: Duration,
    /// Joins served per second; a burst of twice as many passes. Default 100. Up: a network gathers
    /// sooner through one seed; its neighbours have to pass on more walks.
    pub joins_per_second: u32,

    /// Walks, joins and the like served from one connection per tick; more are dropped, and the
    /// sender asks again. Default 50 (a guess: 200 joins a second through one seed send about as
    /// many to a neighbour). Up: a storm of joins is served sooner; one neighbour may make this
    /// node work and send more.
    pub budget_per_tick: u32,

    /// A link with data waiting and no progress is closed after this long. Default 3 s. Up: links
    /// survive longer stalls of a line; a frozen reader is dropped later.
    pub stall_timeout: Duration,
    /// Bytes handed to one link and not yet written by it. Default 128 KiB. Up: fast long lines are
    /// filled better; control messages wait behind more data.
    pub link_window: usize,
    /// Bytes of control messages on top of the window; above it the link is closed. Default 256
    /// KiB. Up: a slow link survives a burst of joins or lookups; a neighbour that does not read
    /// holds more memory.
    pub control_window: usize,
    /// Bytes of the node's own stream that no link was handed yet; with [`Pace::None`], bytes that
    /// it may be ahead of the slowest of its links. Default 1 MiB, and less on a slow line. Up: a
    /// writer waits less for its links, and more waits inside the node.
    pub write_window: usize,
    /// Bytes accepted from the application and not yet sent. Default 1 MiB, less on a slow line,
    /// and always one message. Up: an application may run further ahead of the network; more
    /// memory, and what was accepted last is sent later.
    pub write_buffer: usize,
    /// Signatures that a writer makes in a row; then it may make one more each `sign_every`, and
    /// what is written meanwhile shares the next one. Default 8. Up: a burst of small writes goes
    /// out without a wait; more work for every reader.
    pub sign_burst: u32,
    /// Time until a writer may make one more signature; see `sign_burst`. Default 4 ms: to check
    /// 250 a second takes 1 % of a core (46 µs each). Up: less work for every reader; steady small
    /// writes wait for longer.
    pub sign_every: Duration,
    /// This many waiting bytes are signed without a wait. Default 256 KiB: for that much a check
    /// costs a tenth of passing the data on. Up: fewer signatures at a high rate of small messages;
    /// they wait for longer where a burst has used up the signatures.
    pub sign_bytes: usize,
    /// Whom the node's own writes wait for. Default [`Pace::Most`]. [`Pace::All`]: no reader that
    /// lives misses anything, and each can hold up the writer. [`Pace::None`]: the writer is never
    /// held up by a reader; slow readers miss more.
    pub pace: Pace,
    /// A minority of the readers may hold up the node's writes for this long, with one budget for
    /// all of them, refilled at 5 % of passing time. Default 500 ms: they cost the others 5 % at
    /// most.
    /// Up: readers survive longer pauses without a gap; the others wait for longer.
    pub slow_budget: Duration,
    /// With [`Pace::All`], a reader that has confirmed nothing for this long, while something waits
    /// for it to be read, counts as gone until it goes on. Default `None`: the writer waits for as
    /// long as the reader lives.
    pub reader_timeout: Option<Duration>,
    /// A node reports how far it is, and all behind it, after this long where much has arrived, or
    /// nothing was reported for a while; and at least after the second one. Default 10 ms and 250
    /// ms. Up: fewer reports; a writer needs a larger window for the same rate, and learns later
    /// that all have read.
    pub confirm_every: (Duration, Duration),
    /// Bytes retained of one writer; the oldest loses. Default 64 MiB, all there is: four messages
    /// of the largest size, and a reader that has to find another path may be that far behind.
    /// Where there are several writers the largest ring loses anyway. Down: less memory, more gaps.
    pub ring_bytes: usize,
    /// Bytes retained of all writers; the largest ring loses its oldest, where the rings of all
    /// writers with 16 segments or less count as one. Default 64 MiB. Down: less memory, more gaps.
    pub ring_total: usize,
    /// Retained no longer than this. Default 60 s. Down: less memory; who was away for longer gets
    /// a gap.
    pub ring_age: Duration,
    /// Bytes of half-arrived large messages; the one begun first loses. Default 256 MiB, 16
    /// messages of the largest size. Up: more memory that writers which never finish can hold.
    /// Down: more gaps where many send large messages to a node that does not confirm positions.
    pub partial_total: usize,
    /// A large message arrives at full speed while the half-arrived ones of writers with smaller
    /// ids have fewer bytes than this; the others go on by 64 KiB at a time. Default 32 MiB, two
    /// messages of the largest size. Up: more memory for half-arrived messages. Down: large
    /// messages arrive one after another.
    pub partial_room: usize,
    /// Writers known at the same time; the one silent for longest loses and leaves a tombstone.
    /// Default 16 384. Up: fewer writers have to be forgotten and met again; more memory (about 300
    /// bytes each, on each link as well).
    pub max_streams: usize,
    /// Marks of forgotten writers, so that nothing is read twice; the oldest loses. Default 65 536.
    /// Up: a writer that was silent for long is still recognised; more memory (about 100 bytes
    /// each).
    pub max_tombstones: usize,
    /// Wait before a node asks for a missing range. Default 150 ms: the parent may still bring it.
    /// Up: fewer copies; a broken path is noticed later by those behind it.
    pub graft_after: Duration,
    /// Wait before it asks elsewhere. Default 300 ms. Up: fewer copies from slow neighbours; a
    /// repair over one that does not answer takes longer.
    pub graft_again: Duration,
    /// Both waits grow with the link's round trip, up to this. Default 1 s. Up: fewer copies over
    /// very long lines; a neighbour that claims a long round trip delays repairs for longer.
    pub graft_latest: Duration,
    /// A neighbour that is not sent a stream is sent a digest after two round trips, but not sooner
    /// or later than this. Default 100 ms and 200 ms. Down (20 ms was tried): a third of what a
    /// quiet network writes are digests then; up: lost links are noticed later.
    pub digest_delay: (Duration, Duration),
    /// A link that brings a stream sooner than its parent takes the parent's place, but not more
    /// often than this. Default 1 s. Up: calmer trees; a slow path stays for longer.
    pub switch_after: Duration,
    /// Wait before a range that no neighbour retains is reported as a gap: with enough peers, and
    /// with fewer than `min_peers`. Default 2 s and 10 s (a new link may still bring it). Up: fewer
    /// gaps; a reader waits for longer for what is lost.
    pub gap_after: (Duration, Duration),
    /// A node counts as new until a neighbour that is not new has named all streams, or for this
    /// long after its first link; writers met meanwhile start at now. Default 1 s: several round
    /// trips, and what two nodes wait that are each other's only seed. Up: a joiner on slow lines
    /// hears of all writers before it reads new ones from their beginning; it is reported as
    /// connected later if its neighbours are new as well.
    pub settle_after: Duration,
    /// A writer's former incarnation may finish for this long once a newer one is seen. Default 5
    /// s. Up: less of the former start is lost to slow neighbours; the first messages of the new
    /// one come later.
    pub drain_timeout: Duration,
    /// A leaving node waits for this long after the last progress: for a first neighbour that takes
    /// what was written, and for its neighbours to have read it. Default 30 s: a seed is dialled
    /// every 15 s at least. Up: slow readers and late seeds get everything; a stop takes longer
    /// where nobody takes anything.
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
            bridge_hold: s(60),
            max_message: 16 * MIB,
            tick: ms(250),
            contact_stagger: ms(250),
            seed_backoff: (ms(500), ms(2400)),
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
            reorder: true,
            reorder_wait: (s(10), s(600)),
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
            pace: Pace::Most,
            slow_budget: ms(500),
            reader_timeout: None,
            confirm_every: (ms(10), ms(250)),
            ring_bytes: 64 * MIB,
            ring_total: 64 * MIB,
            ring_age: s(60),
            partial_total: 256 * MIB,
            partial_room: 32 * MIB,
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
            leave_timeout: s(30),
        }
    }
}

impl Config {
    /// For nodes on one local network, a millisecond or so apart: failures are noticed and repaired
    /// about three times as fast, and idle links carry three times as much. A process that is
    /// stopped for more than a second is taken for dead.
    ///
    /// ```
    /// use smokesignal_proto::Config;
    ///
    /// assert!(Config::lan().ping_timeout < Config::default().ping_timeout);
    /// ```
    pub fn lan() -> Self {
        let ms = Duration::from_millis;
        Self {
            dial_hurry: ms(300),
            handshake_timeout: ms(1000),
            stall_timeout: ms(2000),
            graft_after: ms(50),
            graft_again: ms(100),
            graft_latest: ms(300),
            digest_delay: (ms(40), ms(80)),
            gap_after: (ms(1000), ms(5000)),
            settle_after: ms(500),
            ..Self::default()
        }
        .with_ping_timeout(ms(1000))
    }

    /// For nodes all over the world, a third of a second apart and on lines that stall: fewer links
    /// are lost without need, idle links carry half as much, and failures are noticed and repaired
    /// half as fast.
    ///
    /// ```
    /// use smokesignal_proto::Config;
    ///
    /// assert!(Config::internet().ping_timeout > Config::default().ping_timeout);
    /// ```
    pub fn internet() -> Self {
        let ms = Duration::from_millis;
        Self {
            dial_hurry: ms(2000),
            handshake_timeout: ms(6000),
            split_timeout: ms(10_000),
            find_timeout: ms(10_000),
            stall_timeout: ms(6000),
            graft_after: ms(400),
            graft_again: ms(800),
            graft_latest: ms(2000),
            gap_after: (ms(4000), ms(15_000)),
            settle_after: ms(2000),
            ..Self::default()
        }
        .with_ping_timeout(ms(6000))
    }

    /// The same with another ping timeout, and all that has to fit to it.
    pub fn with_ping_timeout(self, timeout: Duration) -> Self {
        let (keepalive, beat_period, root_max_age) = (timeout * 7 / 12, timeout * 11 / 20, timeout * 3 / 2);
        // The tick looks at keepalives: with a longer one they would come too late. 1/12 is the
        // default's share.
        let tick = self.tick.min(timeout / 12);
        Self { ping_timeout: timeout, keepalive, beat_period, root_max_age, tick, ..self }
    }

    /// Returns the maximum number of automatic (unpinned) links. With "no limit" (`usize::MAX`)
    /// every joiner's first link would go to its seed and make it the centre of a star, so it is
    /// twice `min_peers` then, 8 at least; pinned links come on top.
    pub(crate) fn automatic_max(&self) -> usize {
        if self.max_peers == usize::MAX { (2 * self.min_peers).max(8) } else { self.max_peers }
    }

    /// Returns the maximum number of links, transient and pinned ones included.
    pub(crate) fn hard_max(&self) -> usize {
        self.max_peers.saturating_add(2)
    }
}
