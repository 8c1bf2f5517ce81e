//! Hostile nodes: real nodes whose messages are altered on the way out or ignored on the way in.
//!
//! Such a node runs the real core and therefore passes for a member. [`Hostile::alter`] decides
//! what leaves it in place of each message; [`Behaviour::ignores`] what it does not even read.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use smokesignal_proto::{Age, Config, Control, Message, NodeId, Segment, decode, encode};

use crate::kernel::Rng;
use crate::net::Relaying;

/// The most segments that a replaying node keeps; later ones are not kept.
const KEPT: usize = 64;
/// Share of the messages on which a forging or replaying node acts. A guess: enough to be felt
/// everywhere.
const SHARE: f64 = 0.2;
/// Segments by which a lying node exaggerates what it has.
const EXAGGERATION: u64 = 1 << 40;

/// The ways in which a node can harm others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
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
}

impl Behaviour {
    /// All behaviours.
    pub const ALL: [Self; 5] = [Self::Drop, Self::Lie, Self::Forge, Self::Replay, Self::Hoard];

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
            Self::Lie | Self::Replay => Relaying::Faithful,
        }
    }
}

/// A hostile node's behaviour, and what it has kept of the past.
#[derive(Debug)]
pub(crate) struct Hostile {
    behaviour: Behaviour,
    /// Segments to replay.
    kept: Vec<Arc<Segment>>,
}

impl Hostile {
    pub(crate) const fn new(behaviour: Behaviour) -> Self {
        Self { behaviour, kept: Vec::new() }
    }

    pub(crate) const fn behaviour(&self) -> Behaviour {
        self.behaviour
    }

    pub(crate) const fn set_behaviour(&mut self, behaviour: Behaviour) {
        self.behaviour = behaviour;
    }

    /// Returns the messages that leave node `me` in place of this one.
    pub(crate) fn alter(&mut self, me: NodeId, mut message: Message, rng: &mut Rng) -> Vec<Message> {
        match (self.behaviour, &mut message) {
            (Behaviour::Drop, Message::Data(segment, _)) if segment.origin != me => Vec::new(),
            (Behaviour::Lie, Message::Control(control)) => {
                if let Control::Digest { marks, .. } = &mut **control {
                    let of_others = marks.iter_mut().filter(|mark| mark.origin != me);
                    of_others.for_each(|mark| mark.have += EXAGGERATION);
                }
                vec![message]
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
