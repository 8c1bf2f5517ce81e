"""Broadcast: each writer's stream of segments, its tree and its repair (docs/protocol.md, section 5).

A small node: it has no windows and never makes a writer wait, retains a number of segments in
place of bytes and time, and asks for what is missing after one fixed wait.
"""

import base64
import math
import os
import time

from wire import (
    APPLICATION,
    END,
    FIRST,
    FRAGMENT,
    KIND,
    LAST,
    MAX_BODY,
    SIGNED,
    SIGNED_TOGETHER,
    Segment,
    aged,
    check_life_sign,
    check_proof,
    clock,
    head,
    leaf,
    life_sign,
    seal,
    seal_text,
    tree,
    unix_time,
    varint,
    verify,
)

RETAINED = 4096
MAX_MARKS = 256
MAX_PROOFS = 64
# Questions to one neighbour that are open.
MAX_OPEN = 4
# The parent may take this long to bring what another neighbour has announced.
ASK_AFTER = 0.5
# A node looks for a range that nobody retains for this long.
SKIP_AFTER = 2.0
PRUNE_AGAIN = 1.0
SWITCH_AFTER = 1.0
DIGEST_DELAY = 0.1
VERIFIED_ROOTS = 64
WINDOW = 30.0
# Segments that were signed longer ago than this may be recordings.
RECORDED_AFTER = 120
CHALLENGE_AGAIN = 1.0


class WriterStream:
    """What one writer has written in one incarnation, as far as this node has read it.

    `next_message` is None as long as a late joiner has not seen a segment. A stream that is not
    `proven` is a neighbour's claim, and named to nobody; `proof` is the last proof of it.
    """

    def __init__(self, writer, incarnation, have, next_message, proven=True):
        self.proven, self.proof, self.read = proven, None, False
        self.writer, self.incarnation = writer, incarnation
        self.have, self.next_message = have, next_message
        self.retained, self.floor = {}, have + 1
        self.parent, self.switched = None, 0.0
        # Since when a neighbour is known to be ahead, and when the last segment came.
        self.behind_since, self.changed = None, 0.0
        # The pieces of a message of which the beginning has arrived, its kind, and when it was written.
        self.pieces, self.kind, self.born = None, APPLICATION, 0.0
        # The end was the last that the application got.
        self.ended = False
        self.verified = set()

    def mark(self):
        oldest = self.retained.get(self.floor)
        floor_message = oldest.first_message if oldest else self.next_message or 1
        numbers = (self.have, self.floor, floor_message, self.next_message or 0)
        return (self.writer, self.incarnation, *numbers)

    def retain(self, segment):
        self.have = segment.seq
        self.proven = self.read = True
        self.proof = segment.proven() if segment.flags & SIGNED else None
        self.retained[segment.seq] = segment
        if len(self.retained) > RETAINED:
            del self.retained[self.floor]
            self.floor += 1


class Side:
    """What is known of one neighbour. All tables are by writer."""

    def __init__(self, told, now, ahead):
        # The next segment to be sent unasked: the link is eager for these writers, and lazy for
        # all others.
        self.eager = {}
        # The neighbour's last mark: incarnation, have, floor.
        self.marks = {}
        # When it was sent Prune.
        self.pruned = {}
        # This node's position when it last announced it to the neighbour, and in its first digest.
        self.told = told
        self.first_told = dict(told)
        # What the neighbour has named in its first digest, and whether that has ended.
        self.named, self.heard_all = set(), False
        # Whether this node has sent it a settled end.
        self.told_settled = False
        # The least difference of the two clocks at the arrival of a segment, or of what made the
        # link, in this half minute and in the last one in which any came; and when this one began.
        self.least, self.least_before, self.since = ahead, math.inf, now

    def born(self, segment, now):
        """When a segment was written, by this node's clock, in seconds.

        It was on its way for as long as it came later than the quickest one lately. (This node
        measures no round trip.)
        """
        difference = now - segment.sent / 1000
        if now - self.since >= WINDOW:
            self.least_before, self.least, self.since = self.least, difference, now
        self.least = min(self.least, difference)
        return now - segment.age / 1000 - (difference - min(self.least, self.least_before))


class Broadcast:
    def __init__(self, node):
        self.node = node
        self.own = WriterStream(node.id, node.incarnation, 0, 1)
        self.streams = {node.id: self.own}
        self.sides = {}
        # No joiner any more: a writer met now is read from its first segment.
        self.settled, self.settle_at = False, None
        # The writers that each neighbour was asked to prove, one list for each question.
        self.asked = {}
        # Writers that may be recordings, and the incarnations of those that were none.
        self.doubts, self.alive = {}, set()
        # Challenges of neighbours on their way: the link that wants each answer.
        self.passed_on = {}

    # Links.

    def link_up(self, link, sent):
        now = time.monotonic()
        self.settle_at = self.settle_at or now + 1
        named = [s for s in self.streams.values() if s.proven]
        told = {s.writer: s.have for s in named}
        self.sides[link] = Side(told, now, now - sent / 1000)
        marks = [s.mark() for s in named]
        parts = [marks[at : at + MAX_MARKS] for at in range(0, len(marks), MAX_MARKS)]
        for part in parts[:-1]:
            link.say("Digest", part, None)
        settled = self.settled and not self.asked
        link.say("Digest", parts[-1], settled)
        self.sides[link].told_settled = settled

    def link_down(self, link):
        self.sides.pop(link, None)
        self._answered(link, len(self.asked.get(link, [])))
        for stream in self.streams.values():
            if stream.parent is link:
                stream.parent = None
                stream.behind_since = stream.behind_since or time.monotonic()

    def tick(self, now):
        if self.settle_at and now >= self.settle_at:
            self._settle()
        for stream in self.streams.values():
            self._repair(stream, now)
        for link, side in self.sides.items():
            self._announce(link, side, now)

    def _settle(self):
        if not self.settled:
            self.settled = True
            self._tell_all_settled()
            self.node.event("connect")

    def _tell_all_settled(self):
        for link, side in self.sides.items():
            self._tell_settled(link, side)

    def _tell_settled(self, link, side):
        """Names the streams met since the first digest: a joiner takes all others for new."""
        if side.told_settled or not side.heard_all or self.asked:
            return
        side.told_settled = True
        met = [s for s in self.streams.values() if s.writer not in side.first_told and s.proven]
        marks = [s.mark() for s in met if s.writer not in side.marks]
        parts = [marks[at : at + MAX_MARKS] for at in range(0, len(marks), MAX_MARKS)] or [[]]
        for part in parts[:-1]:
            link.say("Digest", part, None)
        link.say("Digest", parts[-1], True)

    def _announce(self, link, side, now):
        """Tells a lazy neighbour that may be behind how far this node is."""
        if not side.heard_all:
            return
        grown = []
        for stream in self.streams.values():
            told = side.told.get(stream.writer, 0) >= stream.have
            has = side.marks.get(stream.writer, (0, 0, 0))[:2]
            ahead = has >= (stream.incarnation, stream.have)
            waits = now - stream.changed < DIGEST_DELAY or not stream.proven
            if stream.writer in side.eager or told or ahead or waits:
                continue
            side.told[stream.writer] = stream.have
            grown.append(stream.mark())
        if grown:
            link.say("Digest", grown[:MAX_MARKS], None)

    # Digests, grafts and prunes.

    def on_digest(self, link, marks, end):
        side = self.sides[link]
        known = set(self.streams)
        for mark in marks:
            if is_sane(mark) and mark[0] != self.node.id:
                self._on_mark(link, side, *mark)
            elif mark[0] == self.node.id and mark[1] == self.node.incarnation:
                side.named.add(self.node.id)
                side.marks[self.node.id] = mark[1:4]
                if not side.heard_all:
                    self._push_from(link, self.own, min(mark[2], self.own.have) + 1)
        if end is not None and not side.heard_all:
            side.heard_all = True
            # The neighbour is sent all that it does not know, from where this node's digest began.
            for stream in self.streams.values():
                if stream.writer not in side.named:
                    begin = side.first_told.get(stream.writer, stream.have)
                    self._push_from(link, stream, max(begin + 1, stream.floor))
        claimed = [w for w in self.streams if w not in known and not self.streams[w].proven]
        for at in range(0, len(claimed), MAX_PROOFS):
            self.asked.setdefault(link, []).append(claimed[at : at + MAX_PROOFS])
            if len(self.asked[link]) <= MAX_OPEN:
                link.say("Prove", self.asked[link][-1])
        if end:
            self._settle()
        if end is not None and self.settled:
            self._tell_settled(link, side)

    def _on_mark(self, link, side, writer, incarnation, have, floor, _first, _next):
        side.marks[writer] = (incarnation, have, floor)
        side.named.add(writer)
        stream = self.streams.get(writer)
        if stream is None:
            if self.settled:
                stream = WriterStream(writer, incarnation, 0, 1)
            else:
                # A large message may have begun before: that its first pieces are missing is not a gap.
                proven = self.node.options.unsigned_messages
                stream = WriterStream(writer, incarnation, have, None, proven)
            self._meet(stream, None)
        elif incarnation > stream.incarnation:
            # A claim; a segment of it is the proof.
            return link.say("Graft", [(writer, incarnation, 1, True)])
        if incarnation != stream.incarnation:
            return
        if not stream.proven:
            # The smallest claim decides.
            stream.have = min(stream.have, have)
            stream.floor = stream.have + 1
        if have > stream.have:
            stream.behind_since = stream.behind_since or time.monotonic()
        if not side.heard_all and stream.parent is None:
            self._graft(stream, link)

    def _meet(self, stream, source):
        """A stream that is new to this node is eager on all links that have not named it."""
        self.streams[stream.writer] = stream
        for link, side in self.sides.items():
            if link is not source and side.heard_all and stream.writer not in side.named:
                side.eager[stream.writer] = stream.have + 1

    def _graft(self, stream, link, or_later=False):
        stream.parent = link
        link.say("Graft", [(stream.writer, stream.incarnation, stream.have + 1, or_later)])

    def _repair(self, stream, now):
        """Asks the neighbour that is farthest ahead for what is missing."""
        if stream.behind_since is None or now - stream.behind_since < ASK_AFTER:
            return
        ahead = []
        for link, side in self.sides.items():
            incarnation, have, floor = side.marks.get(stream.writer, (0, 0, 0))
            if incarnation == stream.incarnation and have > stream.have:
                ahead.append((have, floor, link))
        can_give = [way for way in ahead if way[1] <= stream.have + 1]
        if not ahead:
            stream.behind_since = None
        elif can_give:
            stream.behind_since = now
            self._graft(stream, max(can_give, key=lambda way: way[0])[2])
        elif now - stream.behind_since > SKIP_AFTER:
            stream.behind_since = now
            self._graft(stream, min(ahead, key=lambda way: way[1])[2], or_later=True)

    def on_prove(self, link, writers):
        known = [self.streams[writer] for writer in writers if writer in self.streams]
        link.say("Proofs", [stream.proof for stream in known if stream.proof])

    def on_proofs(self, link, proofs):
        """Begins where the claims say, but not later than after the segment that is proven."""
        asked = self.asked.get(link, [[]])[0]
        for proof in proofs:
            writer, incarnation, seq = proof[:3]
            stream = self.streams.get(writer)
            if writer not in asked or stream is None or stream.read:
                continue
            if stream.proven and incarnation < stream.incarnation:
                continue  # What was before is of interest only while it is read.
            check_proof(self.node.network, proof)
            if incarnation != stream.incarnation:
                stream.incarnation, stream.have = incarnation, seq
            stream.have, stream.proven, stream.proof = min(stream.have, seq), True, proof
            stream.floor = stream.have + 1
        self._answered(link, 1)

    def _answered(self, link, questions):
        """Takes answers, or their end: what is not proven is not named."""
        open_ones = self.asked.pop(link, [])[questions:]
        if open_ones:
            self.asked[link] = open_ones
            if len(open_ones) >= MAX_OPEN:
                link.say("Prove", open_ones[MAX_OPEN - 1])
        if self.settled:
            self._tell_all_settled()

    def on_graft(self, link, asks):
        for writer, incarnation, begin, or_later in asks:
            stream = self.streams.get(writer)
            if stream is None or stream.incarnation != incarnation:
                continue
            self._push_from(link, stream, max(begin, stream.floor) if or_later else begin)

    def _push_from(self, link, stream, begin):
        """Makes the link eager, from this segment on."""
        side = self.sides[link]
        if begin < stream.floor:
            # That segment is not retained: the neighbour learns where it can begin, and asks elsewhere.
            side.eager.pop(stream.writer, None)
            return link.say("Digest", [stream.mark()], None)
        for seq in range(begin, stream.have + 1):
            link.frame(0, handed(stream.retained[seq]))
        side.eager[stream.writer] = max(begin, stream.have + 1)

    def on_prune(self, link, writer, incarnation):
        side, stream = self.sides[link], self.streams.get(writer)
        if stream and stream.incarnation == incarnation:
            side.eager.pop(writer, None)
            side.named.add(writer)
            side.told[writer] = stream.have

    def _prune(self, link, stream, now):
        side = self.sides[link]
        if now - side.pruned.get(stream.writer, -PRUNE_AGAIN) >= PRUNE_AGAIN:
            side.pruned[stream.writer] = now
            link.say("Prune", stream.writer, stream.incarnation)

    # Segments.

    def on_segment(self, link, segment):
        now, side = time.monotonic(), self.sides[link]
        segment.born = side.born(segment, now)
        if segment.writer == self.node.id:
            return self._prune(link, self.own, now)
        stream = self.streams.get(segment.writer)
        self._check_signature(stream, segment)
        if self._may_be_recorded(stream, segment, link):
            return self._challenge(link, segment, now)
        if stream is None or segment.incarnation > stream.incarnation:
            stream = self._begin(link, stream, segment)
        if segment.incarnation < stream.incarnation:
            return
        incarnation, have, floor = side.marks.get(segment.writer, (0, 0, 1))
        have = have if incarnation == segment.incarnation else 0
        side.marks[segment.writer] = (segment.incarnation, max(have, segment.seq), floor)
        if segment.seq <= stream.have and not stream.read:
            # The place where it began was only a claim.
            stream.have, stream.floor = segment.seq - 1, segment.seq
        if segment.seq <= stream.have:
            if stream.parent is not link:
                self._prune(link, stream, now)
            return
        if segment.seq > stream.have + 1 and not self._may_skip(link, stream, segment):
            stream.behind_since = stream.behind_since or now
            return
        self._choose_parent(link, stream, now)
        stream.behind_since = None
        self._deliver(stream, segment)
        if segment.seq > stream.have + 1:
            stream.retained, stream.floor = {}, segment.seq
        stream.retain(segment)
        self._push(stream, segment, link)
        if segment.kind == END:
            self._confirm_end(stream)

    def _confirm_end(self, stream):
        """A writer that is a neighbour may wait for this before it leaves."""
        for link in self.sides:
            if link.peer == stream.writer:
                link.say("Digest", [stream.mark()], None)

    def _check_signature(self, stream, segment):
        if self.node.options.unsigned_messages:
            return
        root = segment.root(self.node.network)
        proof = (root, segment.signed_at, segment.signature)
        known = stream.verified if stream else set()
        if proof not in known:
            verify(segment.writer, segment.signature, seal_text(root, segment.signed_at))
        if len(known) >= VERIFIED_ROOTS:
            known.clear()
        known.add(proof)

    # Recordings.

    def _may_be_recorded(self, stream, segment, link):
        """Whether the writer of a stream that begins here has to show first that it lives."""
        is_known = stream and stream.read and stream.incarnation >= segment.incarnation
        if self.node.options.unsigned_messages or is_known or link.peer == segment.writer:
            return False
        is_new = abs(unix_time() - segment.signed_at) <= RECORDED_AFTER
        return not is_new and (segment.writer, segment.incarnation) not in self.alive

    def _challenge(self, link, segment, now):
        nonce, asked_at = self.doubts.get(segment.writer, (os.urandom(16), -CHALLENGE_AGAIN))
        if now - asked_at >= CHALLENGE_AGAIN:
            self.doubts[segment.writer] = (nonce, now)
            self._towards(segment.writer, link).say("Challenge", segment.writer, nonce)

    def _towards(self, writer, default):
        """The link to the writer, if it is a neighbour."""
        return next((link for link in self.sides if link.peer == writer), default)

    def on_challenge(self, link, writer, nonce):
        if writer == self.node.id:
            node = self.node
            sign = life_sign(node.key, node.network, node.incarnation, nonce)
            return link.say("Alive", sign)
        stream = self.streams.get(writer)
        onwards = self._towards(writer, stream.parent if stream and stream.read else None)
        if onwards and onwards is not link:
            self.passed_on[nonce] = link
            onwards.say("Challenge", writer, nonce)

    def on_alive(self, link, sign):
        check_life_sign(self.node.network, sign)
        writer, incarnation, _, nonce = sign[:4]
        back = self.passed_on.pop(nonce, None)
        if back in self.sides:
            return back.say("Alive", sign)
        if self.doubts.get(writer, (None,))[0] == nonce:
            del self.doubts[writer]
            self.alive.add((writer, incarnation))
            link.say("Graft", [(writer, incarnation, 1, True)])

    def _begin(self, link, former, segment):
        """The first segment of a writer, or of its next start."""
        from_start = self.settled or former or segment.seq == 1
        have, next_message = (0, 1) if from_start else (segment.seq - 1, None)
        stream = WriterStream(segment.writer, segment.incarnation, have, next_message)
        stream.parent = link
        for side in self.sides.values():
            side.eager.pop(segment.writer, None)
            if former:
                side.named.discard(segment.writer)
                side.marks.pop(segment.writer, None)
        self._meet(stream, link)
        return stream

    def _may_skip(self, link, stream, segment):
        """Whether the segment is the oldest that anybody retains, asked for by `or_later`."""
        floors = [side.marks.get(stream.writer, (0, 0, 0)) for side in self.sides.values()]
        floors = [floor for incarnation, _, floor in floors if incarnation == stream.incarnation]
        return stream.parent is link and all(floor >= segment.seq for floor in floors)

    def _choose_parent(self, link, stream, now):
        parent = stream.parent
        if parent is None or parent.state != "link":
            stream.parent = link
        elif parent is not link and now - stream.switched > SWITCH_AFTER:
            stream.parent, stream.switched = link, now
            self._prune(parent, stream, now)

    def _deliver(self, stream, segment):
        """Gives the application what is new in the segment; what was read before is dropped."""
        first, expected = segment.first_message, stream.next_message
        missed = first - expected if expected is not None and first > expected else 0
        if missed:
            stream.pieces = None
        if not segment.flags & FRAGMENT:
            self._gap(stream, missed)
            for number, data in enumerate(segment.messages, first):
                if expected is None or number >= expected:
                    self._message(stream, segment.kind, number, data, segment.born)
            stream.pieces = None
            stream.next_message = max(expected or 0, first + len(segment.messages))
            return
        if expected is not None and first < expected:
            return
        if segment.flags & FIRST and segment.kind > END:
            # Nobody here knows the kind: the message counts as read, and nothing of it is kept.
            self._gap(stream, missed)
            stream.pieces, stream.next_message = None, first + 1
            return
        if segment.flags & FIRST:
            stream.pieces, stream.kind, stream.born = [], segment.kind, segment.born
        if stream.pieces is None or stream.kind != segment.kind:
            # Its beginning is lost, or it is of two kinds, and so is all of it.
            self._gap(stream, missed + (expected is not None))
            stream.pieces, stream.next_message = None, first + 1
            return
        self._gap(stream, missed)
        stream.pieces.append(segment.body)
        stream.next_message = first
        if segment.flags & LAST:
            self._message(stream, segment.kind, first, b"".join(stream.pieces), stream.born)
            stream.pieces, stream.next_message = None, first + 1

    def _gap(self, stream, missed):
        if missed:
            self.node.event("gap", **{"from": stream.writer.hex(), "missed": missed})

    def _message(self, stream, kind, number, data, born):
        if kind == END and not stream.ended:
            self.node.event("end", **{"from": stream.writer.hex()})
        if kind in (APPLICATION, END):
            stream.ended = kind == END
        if kind != APPLICATION:
            return
        age = int((time.monotonic() - born) * 1000)
        message = {"from": stream.writer.hex(), "seq": number, "age_ms": age}
        self.node.event("message", **message, **text_or_base64(data))

    def _push(self, stream, segment, source):
        """Passes a new segment on to all eager neighbours."""
        stream.changed = time.monotonic()
        for link, side in self.sides.items():
            wanted = side.eager.get(stream.writer)
            if wanted is None:
                continue
            if link is not source and wanted == segment.seq:
                link.frame(0, handed(segment))
            side.eager[stream.writer] = max(wanted, segment.seq + 1)

    # Writing.

    def write(self, messages):
        """Writes messages, as many of them together as fit, and signs up to 16 segments at once."""
        self._write(list(self._drafts(messages)))

    def end(self):
        """Ends the stream, if something was written."""
        if self.own.next_message > 1:
            self._write([(END << KIND, self.own.next_message, b"\0")])

    def _write(self, drafts):
        for at in range(0, len(drafts), SIGNED_TOGETHER):
            for segment in self._signed(drafts[at : at + SIGNED_TOGETHER]):
                self.own.retain(segment)
                self.own.next_message = segment.first_message + segment.ended()
                self._push(self.own, segment, None)

    def _drafts(self, messages):
        """Cuts and packs: (flags, number of the first message, body) of each segment."""
        number, body, first = self.own.next_message, b"", self.own.next_message
        for data in messages:
            whole = varint(len(data)) + data
            if body and len(body) + len(whole) > MAX_BODY:
                yield 0, first, body
                body, first = b"", number
            if len(whole) > MAX_BODY:
                pieces = [data[at : at + MAX_BODY] for at in range(0, len(data), MAX_BODY)]
                for n, piece in enumerate(pieces):
                    ends = FIRST * (n == 0) | LAST * (n == len(pieces) - 1)
                    yield FRAGMENT | ends, number, piece
                first = number + 1
            else:
                body += whole
            number += 1
        if body:
            yield 0, first, body

    def _signed(self, drafts):
        node, numbered = self.node, list(enumerate(drafts, self.own.have + 1))
        names = [(node.id, node.incarnation, seq, first) for seq, (_, first, _) in numbered]
        if node.options.unsigned_messages:
            for name, (flags, _, body) in zip(names, drafts):
                yield written(head(flags, *name) + body, signed=False)
            return
        leaves = [
            leaf(node.network, *name, flags, body) for name, (flags, _, body) in zip(names, drafts)
        ]
        root, proofs = tree(leaves)
        now = unix_time()
        signature = node.key.sign(seal_text(root, now))
        for name, (flags, _, body), proof in zip(names, drafts, proofs):
            yield written(head(flags | SIGNED, *name) + seal(signature, now, proof) + body)


def written(segment, signed=True):
    """A segment of this node, written now."""
    segment = Segment(aged(segment), signed)
    segment.born = time.monotonic()
    return segment


def handed(segment):
    """The segment as it is handed over now."""
    return aged(segment.signed_part, int((time.monotonic() - segment.born) * 1000), clock())


def is_sane(mark):
    _, incarnation, have, floor, floor_message, next_message = mark
    at_least_1 = all(0 < number < 1 << 62 for number in (incarnation, floor, floor_message))
    return at_least_1 and have < 1 << 62 and next_message < 1 << 62 and floor <= have + 1


def text_or_base64(data):
    try:
        return {"data": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}
