//! The events that can be scheduled.
//!
//! An event is small and names everything by number, because millions of them are in the queue of a
//! large world. Messages are the exception: they travel inside of their events.

use smokesignal_proto::{DialFailure, DialId, LinkId, Message};

use crate::net::Step;

/// Something that happens at a time. Nodes, connections and rules are named by number: by the time
/// an event is due, what it names may be gone, and its handler has to look.
#[derive(Debug)]
pub(crate) enum Event {
    /// A node's own timer fires.
    Wake(u32),
    /// A parcel arrives over a connection; `from` is the sending side.
    Parcel {
        slot: u32,
        from: u8,
        hops: u8,
        parcel: Parcel,
    },
    /// A line of limited speed has taken a message of this cost.
    Sent {
        slot: u32,
        from: u8,
        cost: u32,
    },
    /// Bytes of one direction of a connection reach the line of their receiver.
    Chunk {
        slot: u32,
        from: u8,
        bytes: u32,
    },
    /// Bytes of one direction of a connection have passed the lines of both ends.
    Arrived {
        slot: u32,
        from: u8,
        bytes: u32,
    },
    /// A way of a node's line may have room for those that wait for it.
    Room {
        ix: u32,
        down: bool,
    },
    /// A direction that was held up goes on.
    Resume {
        slot: u32,
        from: u8,
    },
    /// A closed connection has had its time to write what was queued.
    Lingered {
        slot: u32,
        from: u8,
    },
    /// A packet of a handshake.
    Shake {
        slot: u32,
        step: Step,
        start: u64,
        dial: DialId,
    },
    /// A handshake has to be complete, or at least to have come so far.
    Deadline {
        slot: u32,
        start: u64,
        dial: DialId,
    },
    /// The dialler has its connection, unless it has been started anew since.
    Dialled {
        slot: u32,
        start: u64,
        dial: DialId,
    },
    /// A dial failed.
    DialFailed {
        ix: u32,
        start: u64,
        dial: DialId,
        failure: DialFailure,
    },
    /// A new node starts.
    Join(u32),
    /// The writer with this number writes its next message.
    Write(u32),
    /// A rule begins, does its next step, or ends.
    RuleBegins(u32),
    RuleContinues(u32),
    RuleEnds(u32),
    /// A stream-only connection is not used any longer.
    StreamsEnd {
        ix: u32,
        link: LinkId,
    },
    /// A second has passed: the checks look at all nodes.
    Second,
}

/// A thing that travels over one direction of a connection.
#[derive(Debug)]
pub(crate) enum Parcel {
    /// The last step of the handshake: from here on the dialled side has the connection.
    Hello,
    /// A message of the protocol.
    Message(Message),
    /// The sender has closed its side.
    Bye,
}
