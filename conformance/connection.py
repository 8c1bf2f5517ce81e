"""A connection: HELLO, frames, and streams with credit (docs/protocol.md, sections 1 and 2).

A `Connection` runs over a socket, or over a stream that other nodes carry: `Carried` then stands
in the place of the socket. What the frames mean is the business of the `Node` that owns it.
"""

import asyncio
import hmac
import socket
import struct
import time

from tls13 import Tls, TlsError
from wire import (
    BLOCKED,
    CARRY,
    CREDIT,
    DATA,
    DATA_END,
    FIN,
    MAX_DATA,
    MAX_FRAME,
    MESSAGE,
    REFUSED,
    RESET,
    STOP,
    Malformed,
    encode,
    frame,
    known_message,
)

# The versions of the protocol that this node speaks, and the features that it understands: none.
OLDEST, NEWEST, FEATURES = 1, 1, 0
HELLO_HEAD, HELLO_BODY, HELLO_MAX = 4, 41, 512
# From this kind on a frame that is not known is skipped.
OPTIONAL = 0x80
NEIGHBOUR_WINDOW = 256 * 1024
FIRST_WINDOW = 32 * 1024
LEAST_COST = 64
EXPORTER = b"EXPORTER-smokesignal-secret"
DIALLER, ACCEPTOR = b"\0", b"\1"


def hello(secret, role, tls, features=FEATURES, tail=b""):
    """The HELLO of one side; `secret` is the network's, or None."""
    body = bytes([secret is not None]) + struct.pack(">Q", features) + proof(secret, role, tls) + tail
    return bytes([OLDEST, NEWEST]) + struct.pack(">H", len(body)) + body


def proof(secret, role, tls):
    if secret is None:
        return bytes(32)
    text = b"smokesignal network secret" + role + tls.exporter(EXPORTER)
    return hmac.digest(secret, text, "sha256")


def common_version(oldest, newest):
    """The version that both speak; if there is none, the text says which side is to be upgraded."""
    if oldest > newest:
        raise Malformed("HELLO is wrong")
    if newest < OLDEST or oldest > NEWEST:
        theirs, ours = "versions %d to %d" % (oldest, newest), "%d to %d" % (OLDEST, NEWEST)
        which = "this node" if oldest > NEWEST else "the other node"
        raise Malformed("it speaks %s, and this node %s; upgrade %s" % (theirs, ours, which))
    return min(newest, NEWEST)


class Stream:
    """One stream of a connection; number 0 is that of two neighbours. Its window stays as it is."""

    def __init__(self, connection, number, name, window):
        self.connection, self.number, self.name = connection, number, name
        self.credit = self.window = window
        # Frames that wait for credit, and what was read and not returned as credit yet.
        self.waiting, self.consumed = [], 0
        # The head of a write that has not arrived whole.
        self.chunk = b""
        # What takes the frames in the place of the application.
        self.carried = None

    def say(self, kind, rest=b""):
        self.connection.frame(kind, struct.pack(">I", self.number) + rest)

    def write(self, data, end=DATA_END):
        """Sends `data`, in as many frames as it takes; the last one is of the kind `end`."""
        for at in range(0, max(len(data), 1), MAX_DATA):
            kind = end if at + MAX_DATA >= len(data) else DATA
            self.waiting.append((kind, data[at : at + MAX_DATA]))
        self.flush()

    def finish(self):
        """The end, behind all that was written."""
        self.waiting.append((FIN, b""))
        self.flush()

    def flush(self):
        while self.waiting:
            kind, data = self.waiting[0]
            cost = 0 if kind == FIN else max(LEAST_COST, len(data))
            if cost > self.credit:
                return self.say(BLOCKED)
            self.waiting.pop(0)
            self.credit -= cost
            self.say(kind, data)

    def has_read(self, data):
        """Returns credit, a quarter of the window at a time."""
        self.consumed += max(LEAST_COST, len(data))
        if self.consumed >= self.window // 4:
            self.return_credit()

    def return_credit(self):
        self.say(CREDIT, struct.pack(">I", self.consumed))
        self.consumed = 0

    def refuse(self):
        self.say(RESET, bytes([REFUSED]))


class Carried:
    """A stream in the place of a socket, or the two streams that a carrier ties together.

    With `other` set it passes all frames on to that one; else it is reader and writer of a
    connection.
    """

    def __init__(self, stream):
        self.stream, self.reader = stream, asyncio.StreamReader()
        self.other, self.over = None, False
        stream.carried = self

    def on_frame(self, kind, rest):
        if self.other:
            self._pass_on(self.other.stream, kind, rest)
        elif kind in (DATA, DATA_END):
            self.reader.feed_data(rest)
        elif kind in (FIN, RESET):
            self.reader.feed_eof()

    @staticmethod
    def _pass_on(stream, kind, rest):
        if kind in (DATA, DATA_END):
            stream.write(rest, kind)
        elif kind == FIN:
            stream.finish()
        elif kind in (RESET, STOP):
            stream.say(kind, rest)

    # What `Connection` needs of an asyncio.StreamWriter.

    def get_extra_info(self, _):
        return None

    def is_closing(self):
        return self.over or self.stream.connection.state == "closed"

    def write(self, data):
        self.stream.write(data, DATA)

    def close(self):
        if not self.is_closing():
            self.over = True
            self.stream.finish()


class Connection:
    """One connection, link or not. `state` is one of

    hello     nothing is known of the other side yet
    open      no link: a joiner, a contact, somebody who was refused
    asked     this node has sent Neighbor
    accepted  this node has sent Accept
    link      the other node is a neighbour
    streams   for streams only
    closed
    """

    def __init__(self, node, reader, writer, dialler, expect=None):
        self.node, self.reader, self.writer, self.dialler = node, reader, writer, dialler
        self.tls = Tls(node.key, server=not dialler, expect=expect)
        self.peer = self.record = None
        self.state = "hello"
        self.since = self.heard = self.said = time.monotonic()
        # Called once the connection is open, and if it never is; see `Node.connect`.
        self.purpose = self.failed = None
        self.streams = {0: Stream(self, 0, None, NEIGHBOUR_WINDOW)}
        # The next stream that this side opens, and the last one that the other side has opened.
        self.next_stream, self.last_stream = 1 if dialler else 2, 0

    def enter(self, state):
        self.state, self.since = state, time.monotonic()

    def is_carried(self):
        return isinstance(self.writer, Carried)

    def frame(self, kind, payload):
        self.said = time.monotonic()
        self.tls.write(frame(kind, payload))
        self.flush()

    def say(self, name, *values):
        self.node.log(">", self, name, values)
        self.frame(MESSAGE, encode(name, *values))

    def flush(self):
        if self.tls.out and not self.writer.is_closing():
            self.writer.write(bytes(self.tls.out))
            self.tls.out.clear()

    def open_stream(self, kind, name, rest):
        """Opens a stream by OPEN or CARRY."""
        stream = Stream(self, self.next_stream, name, FIRST_WINDOW)
        self.streams[stream.number] = stream
        self.next_stream += 2
        stream.say(kind, rest)
        return stream

    def carry(self, query, node_id):
        return self.open_stream(CARRY, None, struct.pack(">Q", query) + node_id)

    async def run(self):
        """Reads until the connection ends."""
        reason = "it ended"
        try:
            tcp = self.writer.get_extra_info("socket")
            if tcp is not None:
                tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.flush()
            await self._read()
        except (TlsError, Malformed, OSError, asyncio.IncompleteReadError) as error:
            reason = repr(error)
        finally:
            self.close(reason)

    async def _read(self):
        inbox, greeted = bytearray(), False
        while not self.tls.closed:
            data = await self.reader.read(65536)
            if not data:
                return
            for piece in self.tls.feed(data):
                inbox += piece
            self.flush()
            if self.tls.done and not greeted:
                greeted = True
                self._greet()
            if self.state == "hello":
                self._take_hello(inbox)
            while self.state not in ("hello", "closed") and self._take_frame(inbox):
                pass

    def _greet(self):
        self.peer = self.tls.peer
        if self.peer == self.node.id:
            raise Malformed("this is the node itself")
        role = DIALLER if self.dialler else ACCEPTOR
        self.tls.write(hello(self.node.secret, role, self.tls))
        self.flush()

    def _take_hello(self, inbox):
        """Checks the other side's HELLO once it is there. What is behind the known parts is ignored."""
        if len(inbox) < HELLO_HEAD:
            return
        common_version(inbox[0], inbox[1])
        size = int.from_bytes(inbox[2:4], "big")
        if not HELLO_BODY <= size <= HELLO_MAX:
            raise Malformed("a HELLO of %d bytes" % size)
        if len(inbox) < HELLO_HEAD + size:
            return
        body = bytes(inbox[HELLO_HEAD : HELLO_HEAD + size])
        del inbox[: HELLO_HEAD + size]
        secret, role = self.node.secret, ACCEPTOR if self.dialler else DIALLER
        same_kind = body[0] & 1 == (secret is not None)
        if not same_kind or not hmac.compare_digest(body[9:41], proof(secret, role, self.tls)):
            raise Malformed("HELLO is wrong")
        self.node.opened(self)

    def _take_frame(self, inbox):
        """Hands the next frame to the node; returns whether there was one."""
        if len(inbox) < 4:
            return False
        kind, size = inbox[0], int.from_bytes(inbox[1:4], "big")
        if size > MAX_FRAME or CARRY < kind < OPTIONAL:
            raise Malformed("a frame of kind %d and %d bytes" % (kind, size))
        if len(inbox) < 4 + size:
            return False
        payload = bytes(inbox[4 : 4 + size])
        del inbox[: 4 + size]
        self.heard = time.monotonic()
        # This node knows no optional message and no optional frame.
        if kind == OPTIONAL and known_message(payload):
            kind = MESSAGE
        if kind < OPTIONAL:
            self.node.received(self, kind, payload)
        return True

    def close(self, reason):
        if self.state != "closed":
            self.state = "closed"
            self.tls.close()
            self.flush()
            self.writer.close()
            self.node.closed(self, reason)
