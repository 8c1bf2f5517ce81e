"""Named streams to any node, the search for it, and what is carried for others (section 5)."""

import random
import struct
import time

from connection import FIRST_WINDOW, Carried, Stream
from wire import (
    BLOCKED,
    CARRY,
    CREDIT,
    DATA,
    DATA_END,
    FIN,
    OPEN,
    RESET,
    STOP,
    Malformed,
)
from broadcast import text_or_base64

# The stream of `smokesignal run --json`: one write is one message.
DIRECT = "direct"
FIND_TTL = 20
# Searches for one node, each with another number.
TRIES = 3
REMEMBERED = 10.0
CREDIT_MAX = 4 * 1024 * 1024
LENGTHS = {CREDIT: 4, FIN: 0, STOP: 0, BLOCKED: 0, CARRY: 40}


class Streams:
    def __init__(self, node):
        self.node = node
        # Searches that passed here: number -> (where it came from, until when); own ones are a
        # function in the place of a connection. Then where the answer came from.
        self.searches, self.answers = {}, {}
        # The streams that direct messages are written to, and what waits for one of them.
        self.direct, self.unsent = {}, {}

    def tick(self, now):
        self.searches = {query: way for query, way in self.searches.items() if way[1] > now}
        self.answers = {query: way for query, way in self.answers.items() if way[2] > now}

    # Direct messages.

    def send(self, to, data):
        """Writes a message to any node, over a stream that is opened for the first one."""
        stream = self.direct.get(to)
        if stream and stream.connection.state != "closed":
            return stream.write(data)
        waiting = self.unsent.setdefault(to, [])
        waiting.append(data)
        if len(waiting) == 1:
            self.reach(to, lambda conn: self._open_direct(conn, to))

    def _open_direct(self, conn, to):
        stream = self.direct[to] = conn.open_stream(OPEN, DIRECT, DIRECT.encode())
        for data in self.unsent.pop(to, []):
            stream.write(data)

    # Reaching a node.

    def reach(self, node_id, then):
        """Calls `then` with a connection to that node: a link, a dialled or a carried one."""
        for conn in self.node.connections:
            if conn.peer == node_id and conn.state in ("link", "streams"):
                return then(conn)
        record = self.node.membership.known.get(node_id)
        self._dial(record, then, lambda: self._find(node_id, then, TRIES))

    def _dial(self, record, then, otherwise):
        def opened(conn):
            conn.enter("streams")
            conn.say("Streams")
            then(conn)

        if record and record.where() and not self.node.options.carried:
            self.node.dial(record.where(), record.id, opened, otherwise)
        else:
            otherwise()

    def _find(self, node_id, then, tries):
        """Asks all nodes. What answers is dialled, and if that fails reached through others."""
        if not tries:
            self.unsent.pop(node_id, None)
            return self.node.event("error", message="no way to %s" % node_id.hex())

        def found(record, way):
            self._dial(record, then, lambda: carry(way))

        def carry(way):
            if way.state != "link":
                return self._find(node_id, then, tries - 1)
            carried, again = Carried(way.carry(query, node_id)), tries - 1
            retry = lambda: self._find(node_id, then, again)
            self.node.connect(carried.reader, carried, node_id, opened, retry)

        def opened(conn):
            conn.enter("streams")
            then(conn)

        query = random.getrandbits(63)
        self.searches[query] = (found, time.monotonic() + REMEMBERED)
        for link in self.node.membership.links.values():
            link.say("Find", query, node_id, FIND_TTL)

    def on_find(self, conn, query, node_id, ttl):
        if conn.state != "link" or query in self.searches:
            return
        self.searches[query] = (conn, time.monotonic() + REMEMBERED)
        if node_id == self.node.id:
            return conn.say("Located", query, self.node.record)
        links = self.node.membership.links
        ways = list(links.values())
        if node_id in links and links[node_id] is not conn:
            ways = [links[node_id]]
        for link in ways:
            if ttl and link is not conn:
                link.say("Find", query, node_id, ttl - 1)

    def on_located(self, conn, query, record):
        self.node.membership.learn(record)
        way, _ = self.searches.pop(query, (None, None))
        if callable(way):
            way(record, conn)
        elif way and way.state == "link":
            self.answers[query] = (way, conn, time.monotonic() + REMEMBERED)
            way.say("Located", query, record)

    def on_streams(self, conn):
        conn.enter("streams")

    # Frames.

    def on_frame(self, conn, kind, payload):
        if len(payload) < 4 or LENGTHS.get(kind, len(payload) - 4) != len(payload) - 4:
            raise Malformed("a frame of a stream of %d bytes" % len(payload))
        number, rest = int.from_bytes(payload[:4], "big"), payload[4:]
        if kind in (OPEN, CARRY):
            return self._opened(conn, kind, number, rest)
        stream = conn.streams.get(number)
        if stream is None:
            ours = number % 2 == conn.next_stream % 2
            if number >= conn.next_stream if ours else number > conn.last_stream:
                raise Malformed("a stream that was never opened")
            return  # It is over.
        if kind in (DATA, DATA_END):
            stream.has_read(rest)
        elif kind == CREDIT:
            stream.credit += int.from_bytes(rest, "big")
            if stream.credit > CREDIT_MAX:
                raise Malformed("more credit than a stream may have")
            return stream.flush()
        elif kind == BLOCKED:
            return stream.return_credit()
        if stream.carried:
            stream.carried.on_frame(kind, rest)
        elif kind in (DATA, DATA_END):
            stream.chunk += rest
            if kind == DATA_END:
                self._direct(stream)
        elif kind == FIN:
            stream.finish()
        if kind == RESET:
            del conn.streams[number]
        if kind == STOP:
            stream.waiting.clear()

    def _direct(self, stream):
        chunk, stream.chunk = stream.chunk, b""
        if stream.name == DIRECT:
            sender = stream.connection.peer.hex()
            self.node.event("direct", **{"from": sender, **text_or_base64(chunk)})

    def _opened(self, conn, kind, number, rest):
        if number % 2 == conn.next_stream % 2 or number <= conn.last_stream:
            raise Malformed("a stream cannot have the number %d" % number)
        conn.last_stream = number
        name = rest.decode() if kind == OPEN else None
        stream = conn.streams[number] = Stream(conn, number, name, FIRST_WINDOW)
        if kind == CARRY:
            taken = self._carry(stream, *struct.unpack(">Q32s", rest))
        else:
            taken = name == DIRECT
        if taken:
            stream.say(CREDIT, struct.pack(">I", 0))
        else:
            del conn.streams[number]
            stream.refuse()

    def _carry(self, stream, query, node_id):
        """Takes the stream for a connection, or ties it to one that leads on."""
        conn = stream.connection
        if node_id == self.node.id:
            carried = Carried(stream)
            self.node.accepted(carried.reader, carried)
            return True
        came_from, answered_by, _ = self.answers.get(query, (None, None, 0))
        if came_from is not conn or answered_by.state != "link":
            return False
        here, there = Carried(stream), Carried(answered_by.carry(query, node_id))
        here.other, there.other = there, here
        return True
