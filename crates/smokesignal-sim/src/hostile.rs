//! Hostile nodes: real nodes whose messages are altered on the way out or in, so that they pass for members.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use smokesignal_proto::{Config, Control, Message, NodeId, Segment, decode, encode};

use crate::chance::Chance;

/// What a hostile node does to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Behaviour {
    /// Passes on nothing of others.
    Drop,
    /// Claims to have everything, and to be able to give it.
    Lie,
    /// Passes on segments with another body, and segments of writers that do not exist.
    Forge,
    /// Sends old segments again and again.
    Replay,
    /// Takes all the links it can get and never answers a graft.
    Hoard,
}

impl Behaviour {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Drop, Self::Lie, Self::Forge, Self::Replay, Self::Hoard];

    /// A hoarder looks for ten times as many links as others.
    pub(crate) fn adjust(self, config: &mut Config) {
        if self == Self::Hoard {
            config.min_peers *= 10;
            config.max_peers *= 10;
        }
    }

    /// Whether a message that arrives is not even read.
    pub(crate) fn ignores(self, message: &Message) -> bool {
        let Message::Control(control) = message else { return false };
        self == Self::Hoard && matches!(**control, Control::Graft { .. })
    }
}

/// What a hostile node keeps.
#[derive(Debug, Default)]
pub(crate) struct Loot {
    old: Vec<Arc<Segment>>,
}

/// Segments that a replaying node keeps at most; later ones are not kept.
const LOOT: usize = 64;
/// Share of the messages on which a forging or replaying node acts. A guess: enough to be felt everywhere.
const SHARE: f64 = 0.2;

/// What really leaves the node in place of this message.
pub(crate) fn alter(
    behaviour: Behaviour,
    me: NodeId,
    mut message: Message,
    loot: &mut Loot,
    chance: &mut Chance,
) -> Vec<Message> {
    match (behaviour, &mut message) {
        (Behaviour::Drop, Message::Data(segment)) if segment.origin != me => Vec::new(),
        (Behaviour::Lie, Message::Control(control)) => {
            if let Control::Digest { marks, .. } = &mut **control {
                for mark in marks.iter_mut().filter(|mark| mark.origin != me) {
                    mark.have += 1 << 40;
                }
            }
            vec![message]
        }
        (Behaviour::Forge, Message::Data(segment)) if segment.origin != me && chance.with(SHARE) => {
            let forged = if chance.with(0.5) { altered_body(segment) } else { invented(segment, chance) };
            forged.into_iter().collect()
        }
        (Behaviour::Replay, Message::Data(segment)) => {
            if loot.old.len() < LOOT {
                loot.old.push(Arc::clone(segment));
            }
            let again = chance
                .with(SHARE)
                .then(|| Message::Data(Arc::clone(&loot.old[chance.below(loot.old.len())])));
            std::iter::once(message).chain(again).collect()
        }
        _ => vec![message],
    }
}

// Forgeries go through the codec, as a stranger's bytes would: nothing that the core noted in memory about
// the true segment comes with them.

fn altered_body(segment: &Arc<Segment>) -> Option<Message> {
    let last = *segment.body.last()?;
    let mut bytes = encoded(segment);
    let at = find(&bytes, &segment.body)? + segment.body.len() - 1;
    bytes[at] = last.wrapping_add(1);
    decode(Bytes::from(bytes)).ok()
}

fn invented(segment: &Arc<Segment>, chance: &mut Chance) -> Option<Message> {
    let mut bytes = encoded(segment);
    let at = find(&bytes, segment.origin.as_bytes())?;
    bytes[at] = chance.bits() as u8;
    bytes[at + 1] ^= 1;
    decode(Bytes::from(bytes)).ok()
}

fn encoded(segment: &Arc<Segment>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&Message::Data(Arc::clone(segment)), &mut bytes);
    bytes
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
