//! Hostile nodes: real nodes whose messages are altered on the way out or ignored on the way in.
//!
//! Such a node runs the real core and therefore passes for a member. [`Hostile::alter`] decides
//! what leaves it in place of each message; [`Behaviour::ignores`] what it does not even read.
//!
//! Liars ([`Behaviour::LIARS`]) change digests only. A digest says how far its sender is in each
//! stream, and nothing in it is signed: a node that believes it lets one neighbour decide where it
//! begins to read, under which incarnation it writes, and which writers exist.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use smokesignal_proto::{
    Age, Config, Control, Keypair, LinkId, MAX_MARKS, Mark, Message, MessageKind, NodeId, Segment,
    SegmentKind, decode, encode,
};

use crate::kernel::{Rng, mix};
use crate::net::Relaying;

/// The most segments that a replaying node keeps; later ones are not kept.
const KEPT: usize = 64;
/// Share of the messages on which a forging or replaying node acts. A guess: enough to be felt
/// everywhere.
const SHARE: f64 = 0.2;
/// Segments by which a lying node exaggerates what it has.
const EXAGGERATION: u64 = 1 << 40;
/// The segment up to which a node claims to have every stream: far beyond what any writer writes,
/// and half of the largest number that nodes accept.
const CLAIMED: u64 = 1 << 61;
/// Segments by which a node overstates what it has: as few as a writer soon writes.
const OVERSTATED: u64 = 5;
/// The difference between a claimed incarnation and the one below it: with the wall clock in
/// milliseconds as the incarnation it is 17 years.
const INCARNATIONS: u64 = 1 << 39;
/// How many incarnations of a neighbour are claimed in one digest.
const CLAIMS: u64 = 3;
/// Writers that one node invents, so that the world stays fast.
const INVENTED: u64 = 4_000;
/// How many of them it names at a time, and how often to each neighbour: every second.
const NAMED: u64 = 200;
const NAMED_EVERY: u64 = 1_000_000;
/// Writers of which one node plays recordings, one message of each to every neighbour per second.
const RECORDED: u64 = 8;
/// Messages of each that were recorded, and when, in seconds since 1970.
const RECORDED_MESSAGES: u64 = 60;
const RECORDED_AT: u64 = 1_768_000_000;
/// Links that a liar remembers at most.
const LINKS: usize = 1_000;

/// The ways in which a node can harm others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Behaviour {
    /// Passes on no segment of another writer.
    Drop,
    /// Claims to have every segment.
    Lie,
    /// Passes on segments with a changed body, and segments of writers that do not exist.
    Forge,
    /// Sends old segments again and again.
    Replay,
    /// Takes as many links as it can get and answers no graft.
    Hoard,
    /// Claims to have every stream up to segment 2^61 and to be able to give none of it, and passes
    /// on none.
    ClaimPositions,
    /// Claims to have a few segments more of every stream than there are.
    Overstate,
    /// Claims that each neighbour has written under higher incarnations than it has, and the same
    /// of all other writers.
    ClaimIncarnations,
    /// Names writers that do not exist.
    InventWriters,
    /// Plays what was recorded a year ago of writers that have gone.
    PlayRecordings,
}

impl Behaviour {
    /// The behaviours that are drawn where none is chosen. With one more, all runs that draw would
    /// be other ones.
    pub const DRAWN: [Self; 5] = [Self::Drop, Self::Lie, Self::Forge, Self::Replay, Self::Hoard];
    /// The behaviours of nodes that lie about streams.
    pub const LIARS: [Self; 5] = [
        Self::ClaimPositions,
        Self::ClaimIncarnations,
        Self::InventWriters,
        Self::Overstate,
        Self::PlayRecordings,
    ];

    /// Changes a node's configuration: a hoarder looks for ten times as many links as others.
    pub(crate) fn adjust(self, config: &mut Config) {
        if self == Self::Hoard {
            config.min_peers *= 10;
            config.max_peers *= 10;
        }
    }

    /// Returns whether a message that arrives is not even read.
    pub(crate) fn ignores(self, message: &Message) -> bool {
        let Message::Control(control) = message else { return false };
        self == Self::Hoard && matches!(**control, Control::Graft { .. })
    }

    /// Returns how the node treats the connections that it relays.
    pub(crate) const fn relaying(self) -> Relaying {
        match self {
            Self::Drop | Self::Hoard => Relaying::Blocks,
            Self::Forge => Relaying::Tampers,
            _ => Relaying::Faithful,
        }
    }
}

/// A hostile node's behaviour, and what it has kept of the past.
#[derive(Debug)]
pub(crate) struct Hostile {
    behaviour: Behaviour,
    /// Segments to replay.
    kept: Vec<Arc<Segment>>,
    /// What a liar keeps about each of its links.
    links: BTreeMap<LinkId, LyingLink>,
    /// How many invented writers were named so far.
    named: u64,
    /// What was recorded: the next messages of all writers, by their number.
    recorded: Vec<Vec<Arc<Segment>>>,
}

/// What a liar keeps about a link.
#[derive(Debug, Clone, Copy, Default)]
struct LyingLink {
    /// When the neighbour is to hear of invented or recorded writers again, in virtual
    /// microseconds.
    due: u64,
    /// Recorded messages of each writer that were played to it.
    played: usize,
    /// Paced bytes that have left on top of what the core has sent, or less than that.
    extra: i64,
}

/// The way of a message that leaves a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    /// The node that it leaves, and the neighbour that it goes to.
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    /// The link that it takes.
    pub(crate) link: LinkId,
    /// The virtual time in microseconds.
    pub(crate) now: u64,
}

impl Hostile {
    pub(crate) const fn new(behaviour: Behaviour) -> Self {
        Self { behaviour, kept: Vec::new(), links: BTreeMap::new(), named: 0, recorded: Vec::new() }
    }

    pub(crate) const fn behaviour(&self) -> Behaviour {
        self.behaviour
    }

    pub(crate) const fn set_behaviour(&mut self, behaviour: Behaviour) {
        self.behaviour = behaviour;
    }

    /// Returns whether the node has played recordings of this writer.
    pub(crate) fn plays(&self, writer: &NodeId) -> bool {
        self.recorded.iter().flatten().any(|segment| segment.origin == *writer)
    }

    /// Returns the messages that leave the node in place of this one.
    pub(crate) fn alter(&mut self, way: Way, message: Message, rng: &mut Rng) -> Vec<Message> {
        if !Behaviour::LIARS.contains(&self.behaviour) {
            return self.altered(way, message, rng);
        }
        let sent = paced(&message);
        let messages = self.altered(way, message, rng);
        self.link(way.link).extra += messages.iter().map(paced).sum::<i64>() - sent;
        messages
    }

    /// Changes an acknowledgement that arrives at a liar into what it would be if the liar's core
    /// had sent all that left. Otherwise the core would take its neighbour for a liar.
    pub(crate) fn hear(&mut self, link: LinkId, mut message: Message) -> Message {
        if let Message::Control(control) = &mut message
            && let Control::Ack { read, limit, .. } = &mut **control
        {
            let extra = self.links.get(&link).map_or(0, |link| link.extra);
            *read = read.saturating_add_signed(-extra);
            *limit = limit.saturating_add_signed(-extra);
        }
        message
    }

    /// Returns what is kept about a link. The oldest link is forgotten where there are too many.
    fn link(&mut self, link: LinkId) -> &mut LyingLink {
        if self.links.len() > LINKS {
            self.links.pop_first();
        }
        self.links.entry(link).or_default()
    }

    fn altered(&mut self, way: Way, mut message: Message, rng: &mut Rng) -> Vec<Message> {
        let me = way.from;
        match (self.behaviour, &mut message) {
            (Behaviour::Drop | Behaviour::ClaimPositions, Message::Data(segment, _))
                if segment.origin != me =>
            {
                Vec::new()
            }
            (_, Message::Control(control)) => {
                let played = self.recordings(way, control);
                let invented = self.invented_writers(way, control);
                if let Control::Digest { marks, .. } = &mut **control {
                    self.behaviour.lie(way, marks);
                }
                played.into_iter().chain(invented).chain([message]).collect()
            }
            (Behaviour::Forge, Message::Data(segment, _)) if segment.origin != me && rng.happens(SHARE) => {
                let forged = if rng.happens(0.5) { altered_body(segment) } else { invented(segment, rng) };
                forged.into_iter().collect()
            }
            (Behaviour::Replay, Message::Data(segment, age)) => {
                if self.kept.len() < KEPT {
                    self.kept.push(Arc::clone(segment));
                }
                let replayed = rng
                    .happens(SHARE)
                    .then(|| Message::Data(Arc::clone(&self.kept[rng.below(self.kept.len())]), *age));
                std::iter::once(message).chain(replayed).collect()
            }
            _ => vec![message],
        }
    }

    /// Returns a digest that names some writers which do not exist, if one is due before this
    /// message: when the link is new, and then once per second.
    fn invented_writers(&mut self, way: Way, control: &Control) -> Option<Message> {
        if self.behaviour != Behaviour::InventWriters || !self.is_due(way, control) {
            return None;
        }
        let numbers = (self.named..self.named + NAMED).map(|number| number % INVENTED);
        self.named += NAMED;
        let marks = numbers.map(|number| invented_mark(&way.from, number)).collect();
        Some(Control::Digest { marks, end: None }.into())
    }

    /// Returns the next recorded message of each writer, if they are due before this message.
    fn recordings(&mut self, way: Way, control: &Control) -> Vec<Message> {
        if self.behaviour != Behaviour::PlayRecordings || !self.is_due(way, control) {
            return Vec::new();
        }
        let played = self.link(way.link).played;
        self.link(way.link).played = (played + 1) % RECORDED_MESSAGES as usize;
        if self.recorded.len() <= played {
            self.recorded.push((0..RECORDED).map(|number| recorded(&way.from, number, played)).collect());
        }
        let age = Age::default();
        self.recorded[played].iter().map(|segment| Message::Data(Arc::clone(segment), age)).collect()
    }

    /// Returns whether the neighbour is to hear of writers that are not there: when the link is
    /// new, and then once per second, before a message that is sent between neighbours only.
    fn is_due(&mut self, way: Way, control: &Control) -> bool {
        let opens = matches!(control, Control::Digest { .. } | Control::Ping { .. } | Control::Beacon { .. });
        let is_due = opens && self.link(way.link).due <= way.now;
        if is_due {
            self.link(way.link).due = way.now + NAMED_EVERY;
        }
        is_due
    }
}

impl Behaviour {
    /// Changes the marks of a digest.
    fn lie(self, way: Way, marks: &mut Vec<Mark>) {
        let of_others = marks.iter_mut().filter(|mark| mark.origin != way.from);
        match self {
            Self::Lie => of_others.for_each(|mark| mark.have += EXAGGERATION),
            Self::ClaimPositions => of_others.for_each(|mark| claim(mark, CLAIMED)),
            Self::Overstate => of_others.for_each(|mark| claim(mark, mark.have + OVERSTATED)),
            Self::ClaimIncarnations => {
                let of_neighbour = |mark: &&Mark| mark.origin == way.to;
                let real = marks.iter().find(of_neighbour).map_or(1, |mark| mark.incarnation);
                marks.retain(|mark| mark.origin != way.to);
                for mark in marks.iter_mut().filter(|mark| mark.origin != way.from) {
                    mark.incarnation = raised(mark.incarnation, 1);
                }
                let claims = (1..=CLAIMS).map(|step| claimed_start(way.to, raised(real, step)));
                marks.splice(0..0, claims);
                marks.truncate(MAX_MARKS);
            }
            Self::Drop
            | Self::Forge
            | Self::Replay
            | Self::Hoard
            | Self::InventWriters
            | Self::PlayRecordings => {}
        }
    }
}

/// Returns the bytes for which a message counts that the receiver acknowledges; 0 for others.
fn paced(message: &Message) -> i64 {
    let is_paced = match message {
        Message::Data(..) | Message::Part(_) => true,
        Message::Control(control) => matches!(**control, Control::Digest { .. }),
    };
    if is_paced { message.cost() as i64 } else { 0 }
}

/// Lets a mark say that all is there up to segment `have`, and that none of it can be given.
const fn claim(mark: &mut Mark, have: u64) {
    (mark.have, mark.floor, mark.next_message) = (have, have + 1, 0);
}

/// Returns an incarnation that is this many steps above another, below what no node accepts.
const fn raised(incarnation: u64, steps: u64) -> u64 {
    let raised = incarnation + steps * INCARNATIONS;
    if raised < CLAIMED { raised } else { CLAIMED }
}

/// Returns a mark by which a node has written a little under an incarnation.
const fn claimed_start(origin: NodeId, incarnation: u64) -> Mark {
    Mark { origin, incarnation, have: 5, floor: 6, floor_message: 1, next_message: 0 }
}

/// Returns the mark of one of the writers that a node invents.
fn invented_mark(by: &NodeId, number: u64) -> Mark {
    let mut rng = Rng::new(by.prefix() ^ mix(number));
    let mut id = [0; 32];
    id.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&rng.bits().to_be_bytes()));
    let origin = NodeId::from_bytes(id);
    Mark { origin, incarnation: 1, have: 5, floor: 1, floor_message: 1, next_message: 6 }
}

/// Returns the message after so many others that was recorded of a writer.
fn recorded(by: &NodeId, number: u64, before: usize) -> Arc<Segment> {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&mix(by.prefix() ^ mix(number)).to_be_bytes());
    let keypair = Keypair::from_seed(&seed);
    let seq = before as u64 + 1;
    let mut segment = Segment {
        origin: keypair.id(),
        incarnation: 1,
        seq,
        first_message: seq,
        kind: SegmentKind::Whole { messages: 1 },
        message_kind: MessageKind::Application,
        body: Bytes::from_static(b"\x03old"),
        seal: None,
    };
    segment.sign(&keypair, &Config::default().network, RECORDED_AT);
    Arc::new(segment)
}

// Forgeries pass through the codec, as a stranger's bytes would. What the core has noted in memory
// about the true segment, such as a verified signature, is lost on the way.

/// Returns the segment with one changed byte at the end of its body.
fn altered_body(segment: &Arc<Segment>) -> Option<Message> {
    let last = *segment.body.last()?;
    let mut bytes = encoded(segment);
    let at = find(&bytes, &segment.body)? + segment.body.len() - 1;
    bytes[at] = last.wrapping_add(1);
    decode(Bytes::from(bytes)).ok()
}

/// Returns the segment as one of a writer that does not exist.
fn invented(segment: &Arc<Segment>, rng: &mut Rng) -> Option<Message> {
    let mut bytes = encoded(segment);
    let at = find(&bytes, segment.origin.as_bytes())?;
    bytes[at] = rng.bits() as u8;
    bytes[at + 1] ^= 1;
    decode(Bytes::from(bytes)).ok()
}

fn encoded(segment: &Arc<Segment>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&Message::Data(Arc::clone(segment), Age::default()), &mut bytes);
    bytes
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The node that lies, its neighbour, and another writer.
    const LIAR: NodeId = NodeId::from_bytes([1; 32]);
    const NEIGHBOUR: NodeId = NodeId::from_bytes([2; 32]);
    const WRITER: NodeId = NodeId::from_bytes([3; 32]);

    fn way(link: u64, now: u64) -> Way {
        Way { from: LIAR, to: NEIGHBOUR, link: LinkId(link), now }
    }

    fn digest() -> Message {
        let mark =
            |origin| Mark { origin, incarnation: 7, have: 20, floor: 1, floor_message: 1, next_message: 21 };
        Control::Digest { marks: [LIAR, NEIGHBOUR, WRITER].map(mark).to_vec(), end: None }.into()
    }

    /// Returns the marks of all digests that leave in place of one.
    fn sent_by(hostile: &mut Hostile, way: Way) -> Vec<Mark> {
        let messages = hostile.alter(way, digest(), &mut Rng::new(1));
        let marks = messages.into_iter().map(|message| match message {
            Message::Control(control) => match *control {
                Control::Digest { marks, .. } => marks,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        });
        marks.flatten().collect()
    }

    fn marks_of(marks: &[Mark], writer: NodeId) -> Vec<Mark> {
        marks.iter().filter(|mark| mark.origin == writer).copied().collect()
    }

    #[test]
    fn a_position_liar_exaggerates_all_streams_but_its_own() {
        for (behaviour, have) in [(Behaviour::ClaimPositions, 1 << 61), (Behaviour::Overstate, 25)] {
            let marks = sent_by(&mut Hostile::new(behaviour), way(1, 0));
            let positions: Vec<_> = marks.iter().map(|mark| (mark.have, mark.floor)).collect();
            assert_eq!(positions, [(20, 1), (have, have + 1), (have, have + 1)], "{behaviour:?}");
        }
    }

    #[test]
    fn an_incarnation_liar_raises_that_of_its_neighbour_in_steps() {
        let marks = sent_by(&mut Hostile::new(Behaviour::ClaimIncarnations), way(1, 0));
        let of =
            |writer| -> Vec<_> { marks_of(&marks, writer).iter().map(|mark| mark.incarnation).collect() };
        assert_eq!(of(NEIGHBOUR), [1, 2, 3].map(|step| 7 + (step << 39)));
        assert_eq!((of(WRITER), of(LIAR)), (vec![7 + (1 << 39)], vec![7]));
    }

    #[test]
    fn invented_writers_are_named_once_per_second_and_link_and_are_bounded() {
        let mut hostile = Hostile::new(Behaviour::InventWriters);
        let mut named = std::collections::BTreeSet::new();
        for second in 0..30 {
            let marks = sent_by(&mut hostile, way(1, second * NAMED_EVERY));
            assert_eq!(marks.len() as u64, NAMED + 3);
            assert_eq!(sent_by(&mut hostile, way(1, second * NAMED_EVERY + 1)).len(), 3, "too soon");
            named.extend(marks.iter().map(|mark| mark.origin));
        }
        assert_eq!(named.len() as u64, INVENTED + 3);
        assert!(sent_by(&mut hostile, way(2, 29 * NAMED_EVERY + 2)).len() > 3, "another link");
    }

    #[test]
    fn a_liar_s_core_hears_of_no_bytes_that_it_has_not_sent() {
        let mut hostile = Hostile::new(Behaviour::InventWriters);
        let (sent, way) = (digest(), way(1, 0));
        let left = hostile.alter(way, sent.clone(), &mut Rng::new(1));
        let read = left.iter().map(|message| message.cost() as u64).sum();
        let (limit, held, soon, clock, echo) = (read + 1_000, false, false, 0, None);
        let ack = Control::Ack { read, limit, held, soon, clock, echo }.into();
        let Message::Control(heard) = hostile.hear(way.link, ack) else { panic!("no control message") };
        let cost = sent.cost() as u64;
        assert!(matches!(*heard, Control::Ack { read, limit, .. } if (read, limit) == (cost, cost + 1_000)));
    }
}
