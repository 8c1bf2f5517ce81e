"""The beacon: who is the root, how many nodes there are, which seeds are among them.

docs/protocol.md, section 5. This node is given no seeds to watch: what it knows of them comes from
the nodes below it in the tree of beats. The turns to dial missing seeds it passes on.
"""

import random
import time

from wire import ABSENT, ELSEWHERE, LOST, PRESENT, Beat

PERIOD = 1.65
ROOT_MAX_AGE = 4.5
LATE_COPY = 0.5
ANSWER_PAUSE = 0.25
MAX_SEEDS = 8
# Between two turns for a missing seed, and how many there are at first.
TURN, FIRST_TURNS = 2.8, 2
# After this number of beats bad news are void.
NEWS = 6
FAILURES = 2


class Side:
    """What is known of one neighbour, and what it was told."""

    def __init__(self):
        # The contents of its last Ping.
        self.child, self.subtree, self.reports = None, 0, []
        # The seeds that it and all nodes below it miss, and how many of them do.
        self.sought = {}
        # The last beat that came from it, and its distance to the root then.
        self.number, self.hops = None, None
        # The last beat that it was sent, when it was answered last, and the last report.
        self.sent, self.answered, self.told = None, 0.0, None


class Beacon:
    def __init__(self, node):
        self.node, self.sides = node, {}
        self.up, self.count, self.dead = None, 0, {}
        # The last report of missing seeds, and its receiver; when the next turns are due.
        self.reported, self.next_turns = (None, {}), {}
        self.next_beat = 0.0
        self._live_by(self._own_beat(1, []), 0.0)

    def is_root(self):
        return self.beat.root == self.node.id

    def size(self):
        return self._below()[0] if self.is_root() else self.beat.size

    def link_up(self, link):
        self.sides[link] = Side()
        self.tell(link)

    def link_down(self, link):
        self.sides.pop(link, None)
        if self.up is link:
            self.up = None

    def tell(self, link):
        """Sends the beat that this node lives by; also to nodes that are no neighbours."""
        if link in self.sides:
            self.sides[link].sent = self._number()
        age = self.age + time.monotonic() - self.since
        link.say("Beacon", self.beat, min(int(age * 1000), 2**32 - 1), self._hops())

    def on_beacon(self, link, beat, age_ms, hops):
        now, ours = time.monotonic(), self.beat
        age = age_ms / 1000
        dead = self.dead.get(beat.root, (0, 0)) >= beat.age_key()
        if beat.root == self.node.id or age > ROOT_MAX_AGE or dead:
            return
        side = self.sides[link]
        if beat.root > ours.root:
            if now - side.answered >= ANSWER_PAUSE:
                side.answered = now
                self.tell(link)
            return
        same_root = beat.root == ours.root
        if same_root and beat.age_key() <= ours.age_key():
            if beat.is_of(ours) and now - self.since < LATE_COPY:
                self.age = min(self.age, age - (now - self.since))
            return self._came_from(link, beat, hops)
        beat.verify(self.node.network)
        urgent = not same_root or beat.seeds != ours.seeds
        if not same_root or beat.incarnation != ours.incarnation:
            self._forget_the_tree()
        self._live_by(beat, age)
        self._came_from(link, beat, hops)
        self._pass_on(urgent)

    def on_ping(self, link, child, subtree, reports):
        side = self.sides[link]
        side.child, side.subtree, side.reports = child, subtree, reports
        if child is not None and self.up is link:
            self.up = None
        self._tell_up()

    def on_sought(self, link, seeds):
        self.sides[link].sought = dict(seeds)
        self._report_sought()

    def on_turn(self, link, seed):
        if link is self.up:
            self._give_turn(seed)

    def _sought(self):
        """The missing seeds of all nodes below: how many of them miss each."""
        total = {}
        for side in self._children():
            for seed, by in side.sought.items():
                total[seed] = min(total.get(seed, 0) + by, 2**32 - 1)
        return dict(sorted(total.items())[:MAX_SEEDS])

    def _report_sought(self):
        to, last = self.reported
        sought = self._sought()
        if self.up and sought != (last if to is self.up else {}):
            self.up.say("Sought", list(sought.items()))
        self.reported = (self.up, sought)

    def _give_turns(self, now):
        """As the root: two for each missing seed at first, and then one after the other."""
        sought = self._sought()
        kept = self.next_turns.items()
        self.next_turns = {seed: at for seed, at in kept if at > now or seed in sought}
        for seed in sought:
            if self.next_turns.get(seed, 0) <= now:
                for _ in range(1 if seed in self.next_turns else FIRST_TURNS):
                    self._give_turn(seed)
                self.next_turns[seed] = now + TURN * random.uniform(0.96, 1.04)

    def _give_turn(self, seed):
        """To a child, in proportion to the nodes below it that miss the seed."""
        tag = self._tag()
        ways = {
            link: side.sought.get(seed, 0)
            for link, side in self.sides.items()
            if side.child == tag
        }
        if any(ways.values()):
            link = random.choices(list(ways), list(ways.values()))[0]
            link.say("Turn", seed)

    def ping(self, link):
        """Keeps the link alive, and tells the neighbour nearer to the root what is below."""
        report = self._report_for(link)
        self.sides[link].told = report
        link.say("Ping", len(self.sides), *report)

    def tick(self, now):
        if not self.is_root() and self.age + now - self.since > ROOT_MAX_AGE:
            self.dead[self.beat.root] = self.beat.age_key()
            self._forget_the_tree()
            self._live_by(self._own_beat(1, []), 0.0)
            self.next_beat = now
        if self.is_root() and now >= self.next_beat:
            self.next_beat = now + PERIOD
            size, reports = self._below()
            self._live_by(self._own_beat(size, [judged(report) for report in reports]), 0.0)
        self._pass_on(True)
        self._tell_up()
        self._report_sought()
        if self.is_root():
            self._give_turns(now)

    def _own_beat(self, size, seeds):
        self.count += 1
        node = self.node
        return Beat.sign(node.key, node.network, node.incarnation, self.count, size, seeds)

    def _live_by(self, beat, age):
        self.beat, self.age, self.since = beat, age, time.monotonic()

    def _forget_the_tree(self):
        self.up = None
        for side in self.sides.values():
            side.number = side.sent = None

    def _number(self):
        return (self.beat.root, *self.beat.age_key())

    def _came_from(self, link, beat, hops):
        """The way to the root is the link with the fewest hops, unless it lags by two beats."""
        side = self.sides[link]
        if not side.number or beat.age_key() >= side.number[1:]:
            side.number, side.hops = (beat.root, *beat.age_key()), hops
        up = self.sides.get(self.up)
        lags = up is None or up.number is None or up.number[2] + 1 < self.beat.number
        if beat.is_of(self.beat) and (lags or hops < up.hops):
            self.up = link
            self._tell_up()

    def _hops(self):
        if self.is_root():
            return 0
        return min(255, self.sides[self.up].hops + 1) if self.up else 255

    def _tag(self):
        return int.from_bytes(self.beat.root[:4], "big")

    def _pass_on(self, urgent):
        """To those who get their beats from here, or to all that have not got this one."""
        number = self._number()
        for link, side in self.sides.items():
            has = number in (side.number, side.sent)
            if link is not self.up and not has and (urgent or side.child == self._tag()):
                self.tell(link)

    def _tell_up(self):
        for link, side in self.sides.items():
            if self._report_for(link) != (side.told or (None, 0, [])):
                self.ping(link)

    def _report_for(self, link):
        if link is not self.up or self.is_root():
            return None, 0, []
        return self._tag(), *self._below()

    def _children(self):
        tag = self._tag()
        return [side for side in self.sides.values() if side.child == tag]

    def _below(self):
        """This node and all nodes below it: how many they are, and their reports, merged."""
        children = self._children()
        merged = {}
        for side in children:
            for report in side.reports:
                merge(merged, report, self.beat.number)
        me = int.from_bytes(self.node.id[:8], "big")
        if me in merged or any(seed == me for seed, _, _ in self.beat.seeds):
            merged[me] = (me, True, 0, None, 0)
        size = 1 + sum(side.subtree for side in children)
        return size, [merged[seed] for seed in sorted(merged)][:MAX_SEEDS]


def merge(merged, report, beat):
    """Adds a report about a seed to the reports of others."""
    seed, present, unreachable, other_size, found_at = report
    if abs(beat - found_at) > NEWS:
        unreachable, other_size, found_at = 0, None, 0
    if not unreachable and other_size is None:
        found_at = 0
    _, was_present, sum_, largest, latest = merged.get(seed, (seed, False, 0, None, 0))
    sizes = [size for size in (other_size, largest) if size is not None]
    merged[seed] = (
        seed,
        present or was_present,
        min(unreachable + sum_, FAILURES),
        max(sizes, default=None),
        max(found_at, latest),
    )


def judged(report):
    """The root's word on a seed."""
    seed, present, unreachable, other_size, _ = report
    if present:
        return seed, PRESENT, 0
    if other_size is not None:
        return seed, ELSEWHERE, other_size
    return seed, LOST if unreachable >= FAILURES else ABSENT, 0
