//! What a node asks of its caller: one list of outputs, made by the organs and handed out as they
//! were made.
//!
//! An organ never calls another. It appends an [`Output`] to the [`Outputs`] it is given, or a
//! [`Fact`] where other organs have to learn of something before the caller does. The node works
//! through the list in order: it keeps account of what it sends, passes the facts on to the other
//! organs, and hands out all else unchanged.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::id::NodeId;
use crate::ids::{DialId, LinkId, RequestId, Target};
use crate::message::{Control, DisconnectReason, Message};
use crate::messages::Messages;
use crate::segment::MessageKind;

/// Something the caller has to do or should know.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this, and report its [`Message::cost`] by
    /// [`Node::handle_sent`](crate::Node::handle_sent) once it is written.
    Send {
        /// The connection to send it over.
        link: LinkId,
        /// The message.
        message: Message,
    },
    /// Connect, and report by [`Node::handle_connected`](crate::Node::handle_connected) or
    /// [`Node::handle_dial_failed`](crate::Node::handle_dial_failed).
    Dial {
        /// Names the attempt.
        dial: DialId,
        /// The address to dial.
        target: Target,
        /// The node that must answer there, if it is known.
        expect: Option<NodeId>,
        /// Fail after this long at the latest; `None`: after the caller's own time-outs.
        timeout: Option<Duration>,
    },
    /// Connect to a node through other nodes: ask the neighbour at `via` to relay a connection.
    /// Report as for [`Output::Dial`]. See [`Node::relay`](crate::Node::relay) for the other side.
    DialRelayed {
        /// Names the attempt.
        dial: DialId,
        /// The link to the neighbour that the node's answer came from.
        via: LinkId,
        /// The number of the lookup that found the node, which the nodes on the way know it by.
        query: u64,
        /// The node to connect to, which must answer at the other end.
        id: NodeId,
    },
    /// Close the connection once everything sent before is written. Do not report the closure back.
    Close {
        /// The connection.
        link: LinkId,
        /// Why it is closed. Where [`CloseReason::is_violation`] holds the other side has broken
        /// the rules.
        reason: CloseReason,
    },
    /// A link was demoted in favour of others, on both sides. Close the connection once everything
    /// sent before is written; or, if streams use it, call
    /// [`Node::keep_for_streams`](crate::Node::keep_for_streams).
    Demoted {
        /// The former link.
        link: LinkId,
        /// Why it was demoted.
        reason: CloseReason,
    },
    /// A link to a neighbour has come up.
    PeerUp {
        /// The connection that is the link.
        link: LinkId,
        /// The neighbour.
        peer: NodeId,
        /// Where the neighbour listens, if it has published an address.
        address: Option<SocketAddr>,
    },
    /// A neighbour is gone.
    PeerDown {
        /// The connection that was the link.
        link: LinkId,
        /// Why the link ended.
        reason: CloseReason,
    },
    /// The next messages of a writer.
    Deliver {
        /// The writer.
        from: NodeId,
        /// The number of the first message, from 1 in each start of the writer.
        seq: u64,
        /// Whom they are for; all are of one kind.
        kind: MessageKind,
        /// The payloads.
        messages: Messages,
        /// How long ago the first of them was written, as well as this node can know, in
        /// milliseconds; see [`Age`](crate::Age).
        age_ms: u32,
    },
    /// Messages of a writer that are of a kind which this program does not know. They were checked,
    /// are passed on to other nodes, and count as read.
    Unknown {
        /// The writer.
        from: NodeId,
        /// The number of the kind.
        kind: u8,
        /// The number of messages.
        messages: u64,
    },
    /// Messages of a writer that can no longer be had.
    Gap {
        /// The writer.
        from: NodeId,
        /// The number of messages that are missing.
        missed: u64,
    },
    /// A seed has left this node's partition: it does not answer, or answers from another one.
    /// [`Output::NetsplitResolved`] follows before there is another.
    Netsplit {
        /// The seed.
        seed: NodeId,
        /// Nodes on this side, this one included.
        size: u32,
        /// Nodes in the partition when it was whole.
        size_before: u32,
        /// Nodes on the side of the seed, if a node there could be asked.
        other_size: Option<u32>,
    },
    /// All seeds that were lost are part of this node's partition again.
    NetsplitResolved {
        /// The time since the seed was last known to be part of the partition.
        duration: Duration,
        /// Nodes in the partition now, as far as they have been counted.
        size: u32,
    },
    /// The answer to [`Node::request_peer`](crate::Node::request_peer).
    Requested {
        /// The request that this answers.
        request: RequestId,
        /// The neighbour, or why there is none.
        outcome: Result<NodeId, RequestFailure>,
    },
    /// The answer to [`Node::reach`](crate::Node::reach).
    Reached {
        /// The request that this answers.
        request: RequestId,
        /// The connection that streams may use, or why there is none.
        outcome: Result<LinkId, Unreachable>,
    },
    /// Streams may use this connection, which is not a link; the side that dialled it is about to.
    StreamOnly {
        /// The connection.
        link: LinkId,
    },
    /// A writer whose stream was being read has started again: its next message is number 1.
    Restarted {
        /// The writer.
        from: NodeId,
    },
    /// Another live process has this node's key. Told once.
    IdentityConflict {
        /// Whether this process was started first: readers follow the other one, and the caller
        /// refuses what is written here from now on. Nodes that have not
        /// read anything of the other one yet still read what this one wrote before.
        superseded: bool,
    },
    /// This node has been more than a second behind in a writer's stream, by what its neighbours
    /// report.
    Lagging {
        /// The writer.
        from: NodeId,
        /// Messages that it lacks.
        messages: u64,
        /// Their size in bytes, an estimate.
        bytes: u64,
    },
    /// This writer's clock is not this node's, and one of them is wrong. Writers and readers whose
    /// clocks are right read each other immediately, others after a round trip to the writer.
    ClockDiffers {
        /// The writer.
        of: NodeId,
        /// By how much its clock is ahead of this node's, in seconds.
        ahead_by: i64,
    },
    /// The node is less than 200 ms behind again.
    CaughtUp {
        /// The writer.
        from: NodeId,
    },
    /// A reader has confirmed nothing for [`Config::reader_timeout`](crate::Config): the writes do
    /// not wait for it any more.
    ReaderTimedOut {
        /// The first bytes of its id.
        reader: u64,
    },
    /// The node has left: nothing more will come.
    Left(Farewell),
}

/// What a node that has left knows of those who read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Farewell {
    /// Nodes that are known to have read all that it wrote.
    pub confirmed: usize,
    /// Nodes that are not known to have.
    pub behind: usize,
    /// Messages that the one that is farthest behind may lack, as far as is known.
    pub missing: u64,
    /// Messages that were accepted and could be handed to no neighbour; if no neighbour is left,
    /// all that nobody is known to have read.
    pub unsent: u64,
    /// Whether nothing had moved for the node's patience, while readers that it waits for lacked
    /// something, or there was nobody.
    pub timed_out: bool,
}

/// Why a dial produced no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialFailure {
    /// The host answered: nothing listens at that port, or another node does. The host is
    /// reachable, so a seed that is dialled there is down, and that is not a netsplit.
    Refused,
    /// No answer came in time, or the handshake failed.
    Unanswered,
}

/// Why a requested link was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestFailure {
    /// This dial failed; the caller knows why.
    Dial(DialId),
    /// The address is the node's own.
    Myself,
    /// The other node has no room.
    Full,
    /// The connection ended before the link was up.
    Closed,
}

/// Why there is no connection to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable {
    /// It is this node itself.
    Myself,
    /// No node with this id has answered in time.
    NotFound,
    /// It has answered, and can neither be dialled nor be reached through other nodes.
    NoWay,
    /// Too many lookups are under way.
    Busy,
}

/// What to do with a connection that a neighbour wants relayed to some node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relay {
    /// It is for this node: accept it.
    Accept,
    /// Pass it on over this link.
    Forward(LinkId),
    /// Refuse it: no lookup for that node has come this way.
    Refuse,
}

/// The message was not accepted: the node's links are full.
/// [`Node::can_write`](crate::Node::can_write) says when to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node's links are full")]
pub struct Full;

/// Why a connection, or a link, ends. `Display` gives the text for a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The connection broke.
    Broken,
    /// Nothing was heard for longer than the ping timeout.
    Silent,
    /// The connection did not become a link, and nothing else needs it.
    Unused,
    /// Data was waiting for the connection, and it took none for the stall timeout.
    Stalled,
    /// More control messages were waiting than a connection may queue.
    ControlOverflow,
    /// This node ended the link, for this reason.
    Ended(DisconnectReason),
    /// The other node ended the link, for this reason.
    EndedByPeer(DisconnectReason),
    /// The node has dialled itself.
    Myself,
    /// A link to this node exists already.
    AlreadyLinked,
    /// A newer connection to the same node has taken its place.
    Replaced,
    /// Other nodes that were asked at the same time had agreed before.
    EnoughPeers,
    /// There were too many connections that are not links; this was the oldest.
    TooManySessions,
    /// There were too many connections for streams.
    TooManyStreams,
    /// No stream has used the connection for a while.
    NoStreams,
    /// The node that was dialled to find a nearer neighbour is not nearer.
    NotNearer,
    /// The node that was probed is part of the same partition.
    SamePartition,
    /// This node does not accept a relayed connection now.
    RelayRefused,
    /// Violation: the node sent the record of another node as its own.
    SpokeForAnother,
    /// Violation: the node sent a record whose signature is wrong.
    ForgedRecord,
    /// Violation: the node sent a beat whose signature is wrong.
    ForgedBeat,
    /// Violation: the node sent a segment whose signature is wrong or missing.
    ForgedSegment,
    /// Violation: the node sent bytes that are not a message.
    Malformed,
}

impl CloseReason {
    /// Returns whether one of the two nodes wanted the end of the link, and the other one learned
    /// of it.
    pub const fn is_agreed(self) -> bool {
        matches!(self, Self::Ended(_) | Self::EndedByPeer(_) | Self::Replaced)
    }

    /// Returns whether the other side broke the rules.
    pub const fn is_violation(self) -> bool {
        matches!(
            self,
            Self::SpokeForAnother
                | Self::ForgedRecord
                | Self::ForgedBeat
                | Self::ForgedSegment
                | Self::Malformed
        )
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broken => "the connection broke",
            Self::Silent => "nothing was heard for longer than the ping timeout",
            Self::Unused => "the connection is not needed",
            Self::Stalled => "send stalled: no progress for the stall timeout",
            Self::ControlOverflow => "control queue overflow",
            Self::Ended(reason) => match reason {
                DisconnectReason::Leaving => "this node leaves the network",
                DisconnectReason::Split => "a joiner was let in between",
                DisconnectReason::Surplus => "this node has more peers than it needs",
                DisconnectReason::Closed => "closed by this node's user",
                DisconnectReason::Nearer => "this node has found a nearer peer",
            },
            Self::EndedByPeer(reason) => match reason {
                DisconnectReason::Leaving => "the peer left the network",
                DisconnectReason::Split => "the peer let a joiner in between",
                DisconnectReason::Surplus => "the peer has more peers than it needs",
                DisconnectReason::Closed => "closed by the peer's user",
                DisconnectReason::Nearer => "the peer has found a nearer peer",
            },
            Self::Myself => "the node dialled itself",
            Self::AlreadyLinked => "a link to this node exists already",
            Self::Replaced => "replaced by a newer connection",
            Self::EnoughPeers => "enough other peers agreed first",
            Self::TooManySessions => "too many connections that are not links",
            Self::TooManyStreams => "too many connections for streams",
            Self::NoStreams => "no stream has used it for a while",
            Self::NotNearer => "the node is not nearer",
            Self::SamePartition => "the node is part of the same partition",
            Self::RelayRefused => "this node does not accept a relayed connection now",
            Self::SpokeForAnother => "it sent another node's record as its own",
            Self::ForgedRecord => "it sent a record with a wrong signature",
            Self::ForgedBeat => "it sent a beat that its root has not signed",
            Self::ForgedSegment => "it sent a segment that its writer has not signed",
            Self::Malformed => "it sent malformed bytes",
        })
    }
}

/// What has happened in one organ and concerns others, before the caller learns of it.
#[derive(Debug)]
pub(crate) enum Fact {
    /// A link has come up.
    Up(LinkId),
    /// A link has ended.
    Down(LinkId, CloseReason),
    /// A neighbour is to be sent a ping: nothing was sent to it for a while, or this node's degree
    /// has changed.
    KeepAlive(LinkId),
    /// Streams may use this connection from now on.
    StreamOnly(LinkId),
    /// A dial for streams to this node has failed, directly or through other nodes.
    NotReached {
        /// The node.
        peer: NodeId,
        /// Whether the dial went through other nodes.
        relayed: bool,
    },
    /// The partition has merged with another.
    Merged,
    /// A connection is up whose other end has this node's own id.
    OwnId(LinkId),
    /// A neighbour's beat is of another partition: the link joins the two.
    Met {
        link: LinkId,
        /// The neighbours that know this node's former root, if it is this node that takes the
        /// other one's.
        former: Option<Vec<LinkId>>,
    },
}

/// An entry of [`Outputs`].
#[derive(Debug)]
pub(crate) enum Entry {
    Output(Output),
    Fact(Fact),
}

/// The decisions of the organs that the node has not yet performed, in order. Bounded by what one
/// input causes.
#[derive(Debug, Default)]
pub(crate) struct Outputs(VecDeque<Entry>);

impl Outputs {
    pub(crate) fn push(&mut self, output: Output) {
        self.0.push_back(Entry::Output(output));
    }

    pub(crate) fn note(&mut self, fact: Fact) {
        self.0.push_back(Entry::Fact(fact));
    }

    pub(crate) fn send(&mut self, link: LinkId, control: Control) {
        self.push(Output::Send { link, message: control.into() });
    }

    pub(crate) fn close(&mut self, link: LinkId, reason: CloseReason) {
        self.push(Output::Close { link, reason });
    }

    pub(crate) fn pop(&mut self) -> Option<Entry> {
        self.0.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_broken_rules_are_violations() {
        assert!(CloseReason::ForgedSegment.is_violation());
        assert!(!CloseReason::Stalled.is_violation());
        assert_eq!(
            CloseReason::EndedByPeer(DisconnectReason::Closed).to_string(),
            "closed by the peer's user"
        );
    }
}
