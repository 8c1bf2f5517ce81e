mod made;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use smokesignal_proto::{
    CloseReason, Config, DialFailure, DialId, Features, Instant, Keypair, LinkId, MAX_SEGMENT, MessageKind,
    Node, NodeId, OtherEnd, Output, Pace, ReadFrom, RequestId, decode, encode,
};

use crate::input::Input;

const KIB: usize = 1024;
/// Keys of this node, its neighbours and all writers.
const KEYS: usize = 6;
/// Connections at the same time: what a node takes from strangers is the transport's limit.
const CONNECTIONS: usize = 12;
/// Outputs of one step at most.
const OUTPUTS: usize = 10_000;
/// Steps of one input at most.
const STEPS: usize = 1000;
/// Calls of `handle_timeout` in one step at most.
const TIMEOUTS: usize = 64;

/// Drives one node: the first bytes choose its configuration, and each step begins with a byte that
/// says what happens to it. After each step, all that the node holds is within its limits.
pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let mut driver = Driver::new(&mut input);
    for _ in 0..STEPS {
        let Some(step) = input.next() else { break };
        driver.step(step, &mut input);
        driver.perform_all();
        driver.check();
    }
}

/// The caller of one node: it keeps account of the connections, and of the dials that the node asks
/// for.
struct Driver {
    node: Node,
    config: Config,
    keys: Vec<Keypair>,
    now: Instant,
    connections: BTreeMap<LinkId, Connection>,
    last_link: u64,
    dials: Vec<DialId>,
    /// The number of the next message of each writer.
    next: BTreeMap<NodeId, u64>,
    /// Whether messages come in order: no writer can be forged, and none has to be forgotten.
    is_ordered: bool,
}

struct Connection {
    peer: OtherEnd,
    /// The cost of what was handed to it and not reported as sent.
    waiting: usize,
}

/// Small limits, so that a short input reaches them. The modes come from the input.
fn config(input: &mut Input<'_>) -> Config {
    let [modes, more] = [input.byte(), input.byte()];
    Config {
        incarnation: 5,
        signed: modes & 1 == 0,
        read_from: [ReadFrom::Now, ReadFrom::Last(3), ReadFrom::Oldest, ReadFrom::Now]
            [usize::from(modes >> 1 & 3)],
        pace: [Pace::Most, Pace::All, Pace::None, Pace::Most][usize::from(modes >> 3 & 3)],
        reader_timeout: (modes & 32 != 0).then_some(Duration::from_secs(5)),
        reorder: modes & 64 != 0,
        min_peers: 2,
        max_peers: 3,
        max_message: 8 * KIB,
        max_dials: 2,
        max_sessions: 4,
        lookups_per_tick: 4,
        max_walks: 4,
        passive_view: 4,
        graveyard: 2,
        budget_per_tick: 16,
        link_window: 8 * KIB,
        control_window: 16 * KIB,
        write_window: 16 * KIB,
        write_buffer: 16 * KIB,
        ring_bytes: 128 * KIB,
        ring_total: if more & 1 == 0 { 256 * KIB } else { 128 * KIB },
        partial_total: 32 * KIB,
        partial_room: 16 * KIB,
        max_streams: if more & 2 == 0 { 16 } else { 4 },
        max_tombstones: 8,
        ..Config::default()
    }
}

impl Driver {
    fn new(input: &mut Input<'_>) -> Self {
        let config = config(input);
        let keys: Vec<_> = (0..KEYS).map(|key| Keypair::from_seed(&[key as u8; 32])).collect();
        let own = Keypair::from_seed(&[input.below(KEYS) as u8; 32]);
        let now = Instant::from_micros(1_000_000);
        let mut node = Node::new(own, config.clone(), input.byte().into(), now);
        node.set_addresses(vec![([127, 0, 0, 1], 8495).into()]);
        Self {
            node,
            is_ordered: config.signed && config.max_streams > KEYS,
            config,
            keys,
            now,
            connections: BTreeMap::new(),
            last_link: 0,
            dials: Vec::new(),
            next: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: u8, input: &mut Input<'_>) {
        match step % 16 {
            0 | 1 => self.connect(input),
            2 | 3 => self.message(input),
            4..=7 => self.made_message(input),
            8 | 9 => self.pass_time(input),
            10 => self.write(input),
            11 => self.break_connection(input),
            12 | 13 => self.report_sent(input),
            14 => self.end_dial(input),
            _ => self.ask(input),
        }
    }

    fn connect(&mut self, input: &mut Input<'_>) {
        if self.connections.len() == CONNECTIONS {
            return;
        }
        let id = self.keys[input.below(KEYS)].id();
        let choice = input.byte();
        let features =
            if choice & 1 == 0 { Features::OURS } else { Features::from_bits(u64::from(choice >> 1 & 3)) };
        let peer = OtherEnd { id, features };
        self.last_link += 1;
        let link = LinkId(self.last_link);
        self.connections.insert(link, Connection { peer, waiting: 0 });
        if choice & 0xc0 == 0xc0 {
            return self.node.handle_relayed(link, peer, self.now);
        }
        let dial = (choice & 8 != 0).then(|| self.dials.pop()).flatten();
        self.node.handle_connected(link, peer, dial, self.now);
    }

    /// Returns one of the connections, and the node at its end.
    fn connection(&self, input: &mut Input<'_>) -> Option<(LinkId, OtherEnd)> {
        let at = input.below(CONNECTIONS) % self.connections.len().max(1);
        self.connections.iter().nth(at).map(|(link, connection)| (*link, connection.peer))
    }

    /// Feeds a message that stands in the input as it does on the wire.
    fn message(&mut self, input: &mut Input<'_>) {
        let Some((link, _)) = self.connection(input) else { return };
        match decode(Bytes::copy_from_slice(input.piece())) {
            Ok(message) => self.node.handle_message(link, message, self.now),
            Err(_) => self.node.violation(link, CloseReason::Malformed, self.now),
        }
    }

    /// Feeds a message that is made of the input's numbers: its ids are those of the keys, and its
    /// signatures are right.
    fn made_message(&mut self, input: &mut Input<'_>) {
        let Some((link, peer)) = self.connection(input) else { return };
        let message = made::message(&self.keys, peer.id, &self.config.network, input);
        // Only what can be sent arrives.
        let mut wire = Vec::new();
        encode(&message, &mut wire);
        if let Ok(message) = decode(wire.into()) {
            self.node.handle_message(link, message, self.now);
        }
    }

    fn pass_time(&mut self, input: &mut Input<'_>) {
        let short = input.short();
        // Up to 65 ms, or up to half a minute.
        let millis = if short & 1 == 0 { u64::from(short >> 10) } else { u64::from(short >> 1) };
        let end = self.now + Duration::from_millis(millis);
        for _ in 0..TIMEOUTS {
            let due = self.node.poll_timeout();
            if due > end {
                break;
            }
            self.now = self.now.max(due);
            self.node.handle_timeout(self.now);
            self.perform_all();
        }
        self.now = end;
        self.node.handle_timeout(self.now);
    }

    fn write(&mut self, input: &mut Input<'_>) {
        let size = usize::from(input.short()) % (self.config.max_message + 1);
        let is_query = input.byte() & 1 == 1;
        let kind = if is_query { MessageKind::Query } else { MessageKind::Application };
        let payload = Bytes::from(vec![7; if is_query { size.max(8) } else { size }]);
        let (fits, size) = (self.node.can_write(payload.len()), payload.len());
        let written = self.node.broadcast_as(kind, payload, self.now);
        assert_eq!(written.is_ok(), fits, "a message of {size} bytes");
    }

    fn break_connection(&mut self, input: &mut Input<'_>) {
        let Some((link, _)) = self.connection(input) else { return };
        self.connections.remove(&link);
        self.node.handle_disconnected(link, self.now);
    }

    /// Reports as sent what waits at a connection, all or a part.
    fn report_sent(&mut self, input: &mut Input<'_>) {
        let Some((link, _)) = self.connection(input) else { return };
        let share = input.byte();
        let Some(connection) = self.connections.get_mut(&link) else { return };
        let sent =
            if share & 1 == 0 { connection.waiting } else { connection.waiting * usize::from(share) / 256 };
        connection.waiting -= sent;
        self.node.handle_sent(link, sent, self.now);
    }

    fn end_dial(&mut self, input: &mut Input<'_>) {
        let Some(dial) = self.dials.pop() else { return };
        let failure = if input.byte() & 1 == 0 { DialFailure::Refused } else { DialFailure::Unanswered };
        self.node.handle_dial_failed(dial, failure, self.now);
    }

    /// Does what a user, or the library, asks a node for.
    fn ask(&mut self, input: &mut Input<'_>) {
        let (now, id) = (self.now, self.keys[input.below(KEYS)].id());
        match input.byte() % 14 {
            0 => self.node.join(format!("192.0.2.{}:8495", input.below(8)), now),
            1 => {
                let request = RequestId(input.number());
                self.node.request_peer(request, format!("192.0.2.{}:8495", input.below(8)), now);
            }
            2 => self.node.close_peer(&id, now),
            3 => self.node.reach(RequestId(input.number()), id, now),
            4 => self.node.set_reader_behind(input.byte() & 1 == 0, now),
            5 => self.node.note_missed(&id, input.number() >> 2, now),
            6 => self.node.leave(now),
            7 => self.node.advertise(vec![([192, 0, 2, input.byte()], input.short()).into()]),
            8 => drop((self.node.confirmed(now), self.node.stream_of(&id), self.node.network_size())),
            more => {
                let Some((link, peer)) = self.connection(input) else { return };
                match more {
                    9 => self.node.close_streams(link, now),
                    10 => drop(self.node.keep_for_streams(link, peer, input.byte() & 1 == 0, now)),
                    11 => drop(self.node.relay(link, input.number(), &id)),
                    12 => self.node.handle_sent(link, 0, now),
                    _ => self.node.handle_heard(link, now),
                }
            }
        }
    }

    /// Performs all that the node asks for, and checks it.
    fn perform_all(&mut self) {
        let mut count = 0;
        while let Some(output) = self.node.poll_output(self.now) {
            count += 1;
            assert!(count <= OUTPUTS, "outputs without an end, the last one is {output:?}");
            self.perform(output);
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Send { link, message } => {
                let Some(connection) = self.connections.get_mut(&link) else {
                    panic!("{link:?} is closed: {message:?}");
                };
                connection.waiting += message.cost();
                let most = self.config.link_window + self.config.control_window + 2 * MAX_SEGMENT;
                let waiting = connection.waiting;
                assert!(waiting <= most, "{waiting} bytes wait at {link:?}, {most} at most: {message:?}");
                // Its age is rounded where it is sent, so that the bytes are compared.
                let (mut wire, mut again) = (Vec::new(), Vec::new());
                encode(&message, &mut wire);
                match decode(wire.clone().into()) {
                    Ok(decoded) => encode(&decoded, &mut again),
                    Err(error) => panic!("{error}: {message:?}"),
                }
                assert_eq!(wire, again, "{message:?}");
            }
            Output::Close { link, .. } | Output::Demoted { link, .. } => {
                self.connections.remove(&link);
            }
            Output::Dial { dial, .. } | Output::DialRelayed { dial, .. } => {
                self.dials.push(dial);
                let distinct: BTreeSet<_> = self.dials.iter().collect();
                assert_eq!(distinct.len(), self.dials.len(), "{dial:?} is used twice");
            }
            Output::Deliver { from, seq, messages, .. } => {
                let next = self.next.entry(from).or_default();
                assert!(!self.is_ordered || seq >= *next, "{from:?}: {seq} comes behind {next}");
                *next = seq + messages.iter().count() as u64;
            }
            Output::Restarted { from } => {
                self.next.remove(&from);
            }
            _ => {}
        }
    }

    fn check(&self) {
        for held in self.node.held() {
            assert!(held.amount <= held.limit, "{held:?}");
        }
        let links = self.node.peers().count();
        assert!(links <= self.connections.len(), "{links} links over {} connections", self.connections.len());
    }
}
