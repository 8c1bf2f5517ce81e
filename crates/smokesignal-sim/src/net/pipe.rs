//! One direction of a connection that runs over a line: all that lies between the core and it.
//!
//! What a node sends passes through the same stations as in the library. The link's task takes all
//! that is queued as one *train*, writes it to the socket, and reports its cost to the core once
//! the socket has taken the last byte; each part before that is reported as progress, with a cost
//! of 0. The socket holds up to 256 KiB that it has not sent
//! (`TCP_NOTSENT_LOWAT`), and together with what is under way no more than its buffer, which grows
//! as in Linux. From there chunks go to the lines, as far as those have room and the receiver has
//! read what came before.
//!
//! All positions count bytes on the wire from the beginning of the connection. For example, a
//! segment of 64 KiB is pushed behind 1 MB: it ends at 1 068 k. It arrives when the chunk that
//! holds its last byte has passed both lines.

use std::collections::VecDeque;

use crate::kernel::Parcel;

/// Bytes that a socket takes without having sent them (`NOT_SENT_MAX` of the library).
const UNSENT: u64 = 256 * 1024;
/// Bytes that a socket's buffer holds at least, those included that are under way. Linux begins
/// with less, but slow start raises it so far on any line (measured: 124 kB for three connections
/// on 1 Mbit/s).
const BUFFER: u64 = 124_000;
/// Bytes that a receiver's socket takes without having been read, at least. Linux lets the amount
/// grow with what its process reads.
const WINDOW: u64 = 256 * 1024;
/// A chunk takes this long on the slower of its lines, so that others have their turns: 4 ms, in
/// microseconds, but not less than a packet and not more than 64 KiB.
const CHUNK_TIME: u64 = 4_000;
const CHUNK_MOST: u64 = 64 * 1024;
/// Shares of a full line that its connections have, in percent of an equal share. TCP's are equal
/// only in the mean; with exactly equal ones all links of a node would be at the same segment all
/// the time, which they never are in reality. A guess.
const SHARES: (u64, u64) = (80, 120);
/// Payload of a packet, and the bytes of Ethernet, IP and TCP around it.
const PACKET: u64 = 1448;
const HEADERS: u64 = 66;
/// Length and TLS around a message.
const FRAME: u64 = 4 + 22;
/// What the dialler sends last in its handshake: certificate, proof and HELLO, about 1.2 kB.
const HELLO: u64 = 1_250;
/// Bytes that arrive without ending a message are reported this often, as in the library: 200 ms.
const HEARD_EVERY: u64 = 200_000;

/// One direction.
#[derive(Debug)]
pub(super) struct Pipe {
    /// What has not passed the lines yet.
    parcels: VecDeque<Queued>,
    /// How far the node has queued, the present train goes, and the socket has taken.
    queued: u64,
    train: u64,
    taken: u64,
    /// How far the socket has sent, the lines have brought, and the receiver has read.
    sent: u64,
    arrived: u64,
    read: u64,
    /// Bytes that the socket's buffer holds: twice the most that was ever under way.
    buffer: u64,
    /// The cost of the messages of the present train, and of those behind it.
    train_cost: usize,
    next_cost: usize,
    /// Whether the task waits until a good part of the socket's bytes is gone.
    is_full: bool,
    /// Whether the direction waits for its turn at a line.
    pub(super) waits: bool,
    /// Whether the sending process has dropped the connection and reads nothing any more.
    pub(super) is_dropped: bool,
    window: u64,
    /// The size of its chunks, in percent.
    share: u64,
    /// When something was last reported to the receiver.
    heard_at: u64,
}

/// A parcel, and the position of its end.
#[derive(Debug)]
struct Queued {
    end: u64,
    hops: u8,
    parcel: Parcel,
}

impl Pipe {
    /// Creates a direction over ways of which the slowest has this many bytes per second. A queue
    /// and a round trip of this many microseconds can be under way. The direction's share of a full
    /// line follows from a random number.
    pub(super) fn new(rate: u64, round_trip: u64, random: u64) -> Self {
        Self {
            parcels: VecDeque::new(),
            queued: 0,
            train: 0,
            taken: 0,
            sent: 0,
            arrived: 0,
            read: 0,
            buffer: BUFFER,
            train_cost: 0,
            next_cost: 0,
            is_full: false,
            waits: false,
            is_dropped: false,
            window: WINDOW.max(2 * rate * round_trip / 1_000_000),
            share: SHARES.0 + random % (SHARES.1 - SHARES.0),
            heard_at: 0,
        }
    }

    /// Queues a parcel; `cost` is reported when the socket has taken it.
    pub(super) fn push(&mut self, parcel: Parcel, hops: u8, cost: usize) {
        self.queued += size(&parcel);
        self.next_cost += cost;
        self.parcels.push_back(Queued { end: self.queued, hops, parcel });
    }

    /// Fills the socket. Returns the cost of the trains that it has taken completely, or `None` if
    /// it has taken nothing.
    pub(super) fn fill_socket(&mut self) -> Option<usize> {
        let mut taken = None;
        loop {
            if self.taken == self.train {
                let cost = std::mem::take(&mut self.train_cost);
                if cost > 0 {
                    taken = Some(taken.unwrap_or(0) + cost);
                }
                if self.train == self.queued {
                    return taken;
                }
                self.train = self.queued;
                self.train_cost = std::mem::take(&mut self.next_cost);
            }
            let (unsent, held) = (self.taken - self.sent, self.taken - self.arrived);
            // Linux reports a socket as writable when half of the one and a third of the other are
            // free.
            if self.is_full && (2 * unsent >= UNSENT || 3 * held > 2 * self.buffer) {
                return taken;
            }
            let room = UNSENT.saturating_sub(unsent).min(self.buffer.saturating_sub(held));
            let before = self.taken;
            self.taken = self.train.min(before + room);
            self.is_full = self.taken < self.train;
            if self.taken > before {
                taken = taken.or(Some(0));
            }
        }
    }

    /// Returns whether there is something to be sent, and the direction waits for no turn.
    pub(super) const fn is_held_up(&self) -> bool {
        self.sent < self.queued && !self.waits
    }

    /// Returns how many bytes the socket can send next over a line of this rate: a chunk, or
    /// nothing.
    pub(super) fn next_chunk(&self, rate: u64) -> u64 {
        if self.sent - self.read >= self.window {
            return 0;
        }
        let chunk = (rate * CHUNK_TIME / 1_000_000).clamp(PACKET + HEADERS, CHUNK_MOST);
        (chunk * self.share / 100).min(self.taken - self.sent)
    }

    pub(super) fn send(&mut self, bytes: u64) {
        self.sent += bytes;
        self.buffer = self.buffer.max(2 * (self.sent - self.arrived));
    }

    /// Notes that bytes have passed the lines.
    pub(super) fn bring(&mut self, bytes: u64) {
        self.arrived += bytes;
    }

    /// Returns the next parcel that has passed the lines completely.
    pub(super) fn next_arrived(&mut self) -> Option<(Parcel, u8)> {
        let ended = self.parcels.front().is_some_and(|first| first.end <= self.arrived);
        ended.then(|| self.parcels.pop_front()).flatten().map(|first| (first.parcel, first.hops))
    }

    /// Notes that a parcel is read, which makes room for others.
    pub(super) fn note_read(&mut self, cost: usize) {
        self.read += message_size(cost);
    }

    /// Returns whether to report to the receiver now that bytes arrive.
    pub(super) fn is_heard(&mut self, now: u64, always: bool) -> bool {
        let is_due = always || now >= self.heard_at + HEARD_EVERY;
        if is_due {
            self.heard_at = now;
        }
        is_due
    }

    /// Drops what the socket has not taken; a farewell comes after what it has.
    pub(super) fn cut(&mut self) {
        self.parcels.retain(|one| one.end <= self.taken);
        (self.queued, self.train) = (self.taken, self.taken);
        (self.train_cost, self.next_cost) = (0, 0);
        if !self.parcels.back().is_some_and(|last| matches!(last.parcel, Parcel::Bye)) {
            self.push(Parcel::Bye, 0, 0);
        }
        (self.train, self.taken) = (self.queued, self.queued);
    }
}

/// Returns the bytes of a parcel on the wire.
fn size(parcel: &Parcel) -> u64 {
    match parcel {
        Parcel::Hello => HELLO,
        Parcel::Message(message) => message_size(message.cost()),
        Parcel::Bye => HEADERS,
    }
}

/// Returns the bytes of a message of this cost on the wire.
const fn message_size(cost: usize) -> u64 {
    let bytes = cost as u64 + FRAME;
    bytes + bytes.div_ceil(PACKET) * HEADERS
}

#[cfg(test)]
mod tests {
    use smokesignal_proto::Control;

    use super::*;

    /// A message of 192 bytes.
    fn message() -> Parcel {
        Parcel::Message(Control::SplitCommit { token: 1 }.into())
    }

    fn filled(messages: usize) -> Pipe {
        let mut pipe = Pipe::new(125_000, 0, 0);
        (0..messages).for_each(|_| pipe.push(message(), 0, 192));
        pipe
    }

    #[test]
    fn a_train_is_reported_once_the_socket_has_taken_its_last_byte_and_its_parts_before() {
        let mut pipe = filled(3);
        assert_eq!(pipe.fill_socket(), Some(3 * 192));
        assert_eq!(pipe.fill_socket(), None);
        let mut pipe = filled(800);
        let all = pipe.queued;
        assert!(all > BUFFER && all < 2 * BUFFER);
        assert_eq!(pipe.fill_socket(), Some(0), "as much as its buffer holds");
        assert_eq!((pipe.taken, pipe.fill_socket()), (BUFFER, None));
        pipe.send(BUFFER / 4);
        pipe.bring(BUFFER / 4);
        assert_eq!(pipe.fill_socket(), None, "a third of the buffer has to be free");
        pipe.send(BUFFER / 4);
        pipe.bring(BUFFER / 4);
        pipe.push(message(), 0, 192);
        assert_eq!(pipe.fill_socket(), Some(0));
        pipe.send(BUFFER);
        pipe.bring(BUFFER);
        assert_eq!(pipe.fill_socket(), Some(801 * 192), "the train, and what was queued behind it");
        assert_eq!(pipe.taken, pipe.queued);
    }

    #[test]
    fn a_parcel_arrives_with_its_last_byte() {
        let mut pipe = filled(2);
        pipe.fill_socket();
        let size = message_size(192);
        pipe.send(2 * size);
        pipe.bring(size - 1);
        assert!(pipe.next_arrived().is_none());
        pipe.bring(1);
        assert!(pipe.next_arrived().is_some() && pipe.next_arrived().is_none());
        pipe.bring(size);
        assert!(pipe.next_arrived().is_some());
    }

    #[test]
    fn a_receiver_that_reads_nothing_stops_the_sender_at_its_window() {
        let mut pipe = filled(2_000);
        let mut sent = 0;
        loop {
            pipe.fill_socket();
            let chunk = pipe.next_chunk(125_000);
            if chunk == 0 {
                break;
            }
            pipe.send(chunk);
            pipe.bring(chunk);
            sent += chunk;
        }
        assert!((WINDOW..WINDOW + CHUNK_MOST).contains(&sent), "{sent}");
        (0..500).for_each(|_| pipe.note_read(192));
        assert!(pipe.next_chunk(125_000) > 0);
    }

    #[test]
    fn a_connection_that_is_dropped_still_sends_what_its_socket_has() {
        let mut pipe = filled(1_000);
        pipe.fill_socket();
        pipe.cut();
        assert_eq!(pipe.taken, BUFFER + HEADERS);
        pipe.bring(pipe.taken);
        let mut arrived = Vec::new();
        while let Some((parcel, _)) = pipe.next_arrived() {
            arrived.push(parcel);
        }
        assert_eq!(arrived.len() as u64, BUFFER / message_size(192) + 1);
        assert!(matches!(arrived.last(), Some(Parcel::Bye)));
    }
}
