#!/usr/bin/env python3
"""A second node of smokesignal's network, written from docs/protocol.md alone.

It takes commands and prints events as `smokesignal run --json` does, one JSON object a line:

    in:  {"cmd":"broadcast","data":"hello"}       with "count":N N messages, the number behind each
         {"cmd":"direct","to":"<id>","data":"hello"}
         {"cmd":"peers"}   {"cmd":"stop"}
    out: listening, connect, peer_added, peer_removed, message, gap, direct, peers, error
"""

import argparse
import asyncio
import base64
import hmac
import json
import random
import socket
import sys
import time

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from beacon import Beacon
from broadcast import Broadcast
from connection import Connection
from membership import Membership
from streams import Streams
from wire import MESSAGE, Record, Segment, decode, ip_address, raw

TICK = 0.25
# Messages about streams, between neighbours only.
STREAMS = ("Digest", "Graft", "Prune", "Prove", "Proofs", "Challenge", "Alive")
TCP_TIMEOUT = 2.0


def network_id(secret, unsigned):
    """The 32 bytes that all signatures of a network contain."""
    network = hmac.digest(secret, b"smokesignal network id", "sha256") if secret else bytes(32)
    return bytes(255 - byte for byte in network) if unsigned else network


class Node:
    """One node. It owns the connections, and passes on what arrives over them."""

    def __init__(self, options):
        self.options = options
        self.key = Ed25519PrivateKey.generate()
        if options.key:
            self.key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(options.key))
        self.id = raw(self.key.public_key())
        self.secret = options.secret.encode() if options.secret else None
        self.network = network_id(self.secret, options.unsigned_messages)
        self.incarnation = int(time.time() * 1000)
        self.record, self.connections, self.tasks, self.dialling = None, set(), set(), set()
        self.membership, self.broadcast = Membership(self), Broadcast(self)
        self.beacon, self.streams = Beacon(self), Streams(self)

    def event(self, name, **fields):
        print(json.dumps({"event": name, **fields}), flush=True)

    def log(self, way, conn, name, values=()):
        if self.options.verbose:
            peer = conn.peer.hex()[:8] if conn and conn.peer else "-"
            text = ", ".join(short(value) for value in values)
            now = time.strftime("%H:%M:%S")
            print(now, way, peer, name, text, file=sys.stderr, flush=True)

    # Connections.

    async def start(self):
        server = await asyncio.start_server(self.accepted, "127.0.0.1", self.options.port)
        port = server.sockets[0].getsockname()[1]
        address = ip_address(socket.inet_aton("127.0.0.1"), 9 if self.options.hidden else port)
        self.record = Record.sign(self.key, self.network, [address], self.incarnation)
        self.event("listening", id=self.id.hex(), address="127.0.0.1", port=port)
        self.spawn(self._ticks())

    def spawn(self, work):
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def accepted(self, reader, writer):
        """Somebody has dialled this node, or has reached it through others."""
        conn = Connection(self, reader, writer, dialler=False)
        self.connections.add(conn)
        self.spawn(conn.run())

    def connect(self, reader, writer, expect, purpose, failed=None):
        """This node has reached another one. `purpose` is called when it is known who that is,
        `failed` if it never is."""
        conn = Connection(self, reader, writer, dialler=True, expect=expect)
        conn.purpose, conn.failed = purpose, failed
        self.connections.add(conn)
        self.spawn(conn.run())

    def dial(self, address, expect, purpose, failed=None):
        if failed or address not in self.dialling:
            self.dialling.add(address)
            self.spawn(self._dial(address, expect, purpose, failed))

    async def _dial(self, address, expect, purpose, failed):
        try:
            socket_ = await asyncio.wait_for(asyncio.open_connection(*address), TCP_TIMEOUT)
            self.connect(*socket_, expect, purpose, failed)
        except (OSError, asyncio.TimeoutError) as error:
            self.log("!", None, "dial", [address, error])
            if failed:
                failed()
        finally:
            self.dialling.discard(address)

    def opened(self, conn):
        """HELLO was right."""
        conn.enter("open")
        conn.heard, conn.failed = conn.since, None
        self.log("+", conn, "connected")
        if conn.purpose:
            conn.purpose(conn)
        elif conn.is_carried():
            conn.enter("streams")

    def closed(self, conn, reason):
        self.connections.discard(conn)
        self.log("-", conn, "closed", [reason])
        self.membership.closed(conn)
        if conn.failed:
            conn.failed()

    def link_up(self, link, sent):
        self.event("peer_added", id=link.peer.hex())
        self.broadcast.link_up(link, sent)
        self.beacon.link_up(link)
        self.beacon.ping(link)

    def link_down(self, link):
        self.event("peer_removed", id=link.peer.hex())
        self.broadcast.link_down(link)
        self.beacon.link_down(link)

    async def _ticks(self):
        while True:
            await asyncio.sleep(TICK * random.uniform(0.7, 1.3))
            now = time.monotonic()
            for part in (self.membership, self.beacon, self.broadcast, self.streams):
                part.tick(now)

    # Messages.

    def received(self, conn, kind, payload):
        if kind != MESSAGE:
            return self.streams.on_frame(conn, kind, payload)
        if payload[:1] == b"\1":
            segment = Segment(payload, signed=not self.options.unsigned_messages)
            if conn.state == "link":
                self.broadcast.on_segment(conn, segment)
            return
        name, values = decode(payload)
        self.log("<", conn, name, values)
        between_neighbours = name in (*STREAMS, "Beacon", "Sought", "Turn")
        if between_neighbours and conn.state != "link":
            return
        if name in STREAMS:
            part = self.broadcast
        elif name in ("Beacon", "Sought", "Turn"):
            part = self.beacon
        elif name in ("Streams", "Find", "Located"):
            part = self.streams
        elif name == "Ping":
            return self._on_ping(conn, *values)
        elif name == "Twin":
            return None  # It counts between two nodes of one id only.
        elif name == "Probe":
            return self.beacon.tell(conn)
        else:
            part = self.membership
        getattr(part, "on_" + name.lower())(conn, *values)

    def _on_ping(self, conn, _degree, child, subtree, reports):
        if conn.state == "link":
            self.beacon.on_ping(conn, child, subtree, reports)

    # Commands.

    def command(self, line):
        """Does what a line says; returns False when the node is to end."""
        command = json.loads(line)
        name = command["cmd"]
        if name == "broadcast":
            data, count = payload_of(command), command.get("count")
            numbered = [data + b" %d" % n for n in range(count or 0)]
            self.broadcast.write([data] if count is None else numbered)
        elif name == "direct":
            self.streams.send(bytes.fromhex(command["to"]), payload_of(command))
        elif name == "peers":
            peers = [{"id": peer.hex()} for peer in self.membership.links]
            self.event("peers", peers=peers, size=self.beacon.size())
        elif name == "stop":
            self.broadcast.end()
            self.membership.leave()
            return False
        else:
            raise ValueError("no command `%s`" % name)
        return True


def payload_of(command):
    if "base64" in command:
        return base64.b64decode(command["base64"])
    return command["data"].encode()


def short(value):
    """A value in a log line."""
    if isinstance(value, Record):
        return "record of " + value.id.hex()[:8]
    return value.hex()[:8] if isinstance(value, bytes) else str(value)[:200]


def host_and_port(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=host_and_port, action="append", default=[])
    parser.add_argument("--secret", help="the network's secret")
    parser.add_argument("--key", help="the seed of the node's key, 64 hex digits")
    parser.add_argument("--min-peers", type=int, default=3)
    parser.add_argument("--max-peers", type=int, default=5)
    parser.add_argument("--unsigned-messages", action="store_true", help="segments are not signed")
    parser.add_argument("--carried", action="store_true", help="never dial for a stream")
    parser.add_argument("--hidden", action="store_true", help="tell an address nobody listens at")
    parser.add_argument("-v", "--verbose", action="store_true", help="log each message to stderr")
    return parser.parse_args()


async def main():
    node = Node(parse_options())
    await node.start()
    lines = asyncio.StreamReader(limit=64 * 1024 * 1024)
    protocol = asyncio.StreamReaderProtocol(lines)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while line := await lines.readline():
        try:
            if not node.command(line):
                return
        except (KeyError, ValueError) as error:
            node.event("error", message=repr(error))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
