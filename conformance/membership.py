"""Who is a neighbour: joining, walks, the three steps to a link (docs/protocol.md, section 5).

A small node: it splits no links and moves none, ends no link that is one too many, dials no seed
twice to see whether it is there, and builds no bridges.
"""

import random
import time

from wire import EXPLICIT, HIGH, NEED, Malformed, clock

HANDSHAKE = 3.0
SESSION = 10.0
HELLO = 5.0
PING_TIMEOUT = 3.0
KEEPALIVE = 1.75
REFILL = (0.25, 10.0)
WALK_TTL = 6
REMEMBERED = 10.0
# Records in Welcome, and in Refuse and the like.
WELCOME, SOME = 16, 8


class Membership:
    def __init__(self, node):
        self.node = node
        # Neighbours by id, and records of all others that were heard of.
        self.links, self.known = {}, {}
        # The way back of walks that passed here, and until when it is remembered.
        self.walks = {}
        self.next_refill, self.wait = 0.0, REFILL[0]

    # Connections.

    def tick(self, now):
        self.walks = {walk: way for walk, way in self.walks.items() if way[1] > now}
        for conn in list(self.node.connections):
            reason = self._overdue(conn, now)
            if reason:
                conn.close(reason)
            elif conn.state in ("link", "streams") and now - conn.said > KEEPALIVE:
                if conn.state == "link":
                    self.node.beacon.ping(conn)
                else:
                    conn.say("Ping", 0, None, 0, [])
        if len(self.links) >= self.node.options.min_peers:
            self.wait = REFILL[0]
        elif now >= self.next_refill:
            self.next_refill, self.wait = now + self.wait, min(self.wait * 2, REFILL[1])
            self._look_for_peers()

    @staticmethod
    def _overdue(conn, now):
        if conn.state in ("link", "streams"):
            return "silent" if now - conn.heard > PING_TIMEOUT else None
        limits = {"hello": HELLO, "open": SESSION, "asked": HANDSHAKE, "accepted": HANDSHAKE}
        return "no use for it" if now - conn.since > limits[conn.state] else None

    def _look_for_peers(self):
        """One known node is asked for a link; a neighbour sends a walk; alone, all seeds."""
        node = self.node
        for record in self.sample(1, self.links):
            if record.where():
                priority = NEED if self.links else HIGH
                node.dial(record.where(), record.id, lambda conn: self.ask(conn, priority))
        if self.links:
            link = random.choice(list(self.links.values()))
            link.say("Walk", random.getrandbits(63), WALK_TTL, node.record)
        else:
            for seed in node.options.seed:
                node.dial(seed, None, self.join)

    def join(self, conn):
        """Asks a contact for places, and for a link of its own while this node is alone."""
        conn.say("Join", self.node.record, max(1, self.node.options.min_peers - len(self.links)))
        if not self.links:
            self.ask(conn, HIGH)

    def ask(self, conn, priority, token=None):
        if conn.state == "open" and conn.peer not in self.links:
            conn.enter("asked")
            conn.say("Neighbor", self.node.record, self.node.incarnation, priority, token)

    def closed(self, conn):
        if self.links.get(conn.peer) is conn:
            del self.links[conn.peer]
            self.next_refill = time.monotonic()
            self.node.link_down(conn)

    def _link(self, conn, sent):
        """The neighbour sent Accept or Active at that time of its clock.

        Of two connections between one pair the one stays that the smaller id has dialled.
        """
        other = self.links.get(conn.peer)
        if other:
            by_smaller = conn.dialler == (self.node.id < conn.peer)
            if by_smaller or time.monotonic() - other.since > HANDSHAKE:
                other.close("another connection stays")
            else:
                return conn.close("another connection stays")
        conn.enter("link")
        self.links[conn.peer] = conn
        self.node.link_up(conn, sent)

    def leave(self):
        for conn in list(self.links.values()):
            conn.say("Disconnect", 0, self.sample(SOME, (conn.peer,)))
        for conn in list(self.node.connections):
            conn.close("this node leaves")

    # Records.

    def learn(self, *records):
        for record in records:
            record.verify(self.node.network)
            known = self.known.get(record.id)
            if record.id != self.node.id and (not known or known.version < record.version):
                self.known[record.id] = record

    def sample(self, count, but=()):
        others = [record for record in self.known.values() if record.id not in but]
        return random.sample(others, min(count, len(others)))

    def _own_record(self, conn, record):
        if record.id != conn.peer:
            raise Malformed("somebody else's record")
        self.learn(record)
        conn.record = record

    # The three steps to a link.

    def on_neighbor(self, conn, record, incarnation, priority, token):
        self._own_record(conn, record)
        if conn.state == "asked" and self.node.id < conn.peer:
            return  # Both asked over one connection: the larger id answers.
        if conn.state in ("accepted", "link", "streams"):
            return
        extra = 2 if priority >= EXPLICIT else 0
        room = len(self.links) < self.node.options.max_peers + extra
        if room or conn.peer in self.links or (priority == HIGH and not self.links):
            conn.enter("accepted")
            conn.say("Accept", self.node.record, self.node.incarnation, clock())
        else:
            conn.enter("open")
            conn.say("Refuse", self.sample(SOME, (conn.peer,)))

    def on_accept(self, conn, record, incarnation, sent):
        self._own_record(conn, record)
        if conn.state == "asked":
            conn.say("Active", clock())
            self._link(conn, sent)

    def on_active(self, conn, sent):
        if conn.state == "accepted":
            self._link(conn, sent)

    def on_refuse(self, conn, records):
        self.learn(*records)
        if conn.state == "asked":
            conn.enter("open")

    def on_disconnect(self, conn, reason, records):
        self.learn(*records)
        conn.close("Disconnect %d" % reason)

    # Joins, walks and shuffles.

    def on_join(self, conn, record, want):
        self._own_record(conn, record)
        conn.say("Welcome", self.sample(WELCOME, (conn.peer,)))
        if len(self.links) < self.node.options.max_peers:
            conn.say("Offer", 0, self.node.record, None)
        for _ in range(min(8, (want + 1) // 2)):
            walk = random.getrandbits(63)
            way = self._way_on(conn, walk, record.id)
            if way:
                way.say("Walk", walk, WALK_TTL, record)

    def on_welcome(self, conn, records):
        self.learn(*records)

    def _way_on(self, source, walk, origin):
        """A random neighbour to pass a walk on to; remembers the way back."""
        ways = [link for link in self.links.values() if link is not source and link.peer != origin]
        self.walks[walk] = (source, time.monotonic() + REMEMBERED)
        return random.choice(ways) if ways else None

    def _back(self, walk):
        """The connection that a walk came from, if it passed here."""
        way, _ = self.walks.pop(walk, (None, None))
        return way if way and way.state in ("link", "open") else None

    def on_walk(self, conn, walk, ttl, record):
        self.learn(record)
        if record.id == self.node.id:
            return
        linked = record.id in self.links
        way = self._way_on(conn, walk, record.id) if ttl else None
        if way and (linked or len(self.links) >= self.node.options.min_peers):
            way.say("Walk", walk, ttl - 1, record)
        elif not linked and len(self.links) < self.node.options.max_peers:
            conn.say("Offer", walk, self.node.record, None)

    def on_offer(self, conn, walk, record, split):
        self.learn(record, *([split[0]] if split else []))
        back = self._back(walk)
        if back:
            return back.say("Offer", walk, record, split)
        wanted = len(self.links) < self.node.options.min_peers
        if not wanted or record.id in self.links or record.id == self.node.id:
            return
        priority, token = NEED if self.links else HIGH, split[1] if split else None
        if record.id == conn.peer:
            self.ask(conn, priority, token)
        elif record.where():
            self.node.dial(record.where(), record.id, lambda new: self.ask(new, priority, token))

    def on_shuffle(self, conn, walk, ttl, records):
        self.learn(*records)
        way = self._way_on(conn, walk, records[0].id) if ttl and records else None
        if way:
            way.say("Shuffle", walk, ttl - 1, records)
        else:
            conn.say("ShuffleReply", walk, [self.node.record, *self.sample(SOME - 1)])

    def on_shufflereply(self, conn, walk, records):
        self.learn(*records)
        back = self._back(walk)
        if back:
            back.say("ShuffleReply", walk, records)

    # What a small node may leave to others.

    def on_splitprepare(self, conn, token, joiner):
        conn.say("SplitAnswer", token, False)

    def on_splitanswer(self, conn, token, ok):
        pass

    def on_splitcommit(self, conn, token):
        pass

    def on_move(self, conn):
        conn.say("MoveAnswer", [link.record for link in self.links.values() if link.record][:SOME])

    def on_moveanswer(self, conn, records):
        self.learn(*records)

    def on_bridge(self, conn, ttl, records):
        self.learn(*records)
