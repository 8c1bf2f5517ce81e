"""Twelve nodes are upgraded one after another while all write: `upgrade.py PROGRAM NEXT`.

`NEXT` is built from the same tree with `--cfg smokesignal_next`: it speaks one version more, offers
a feature, and sends an optional frame, an optional message, a kind of address and a kind of segments
that `PROGRAM` does not know. A Python node, which knows none of that either, is in the network from
beginning to end. After the last node one goes a step back.

Every message is counted. A node reads all that is written from the moment that it has connected: of
a writer that was started later everything from its first message on, of one that has left everything
up to its last one; and nobody reads a gap. No node warns of another one.
"""

import json
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

from network import Failed, Member, expect, python_node, wait_until, wait_until_counted

NODES = 12
SEEDS = 2
# Between two messages of one writer. Each 20th is large, so that it is cut in pieces.
PAUSE = 0.05
LARGE, EACH = 150_000, 20
# How many messages each node writes while one program meets the other, at least.
SETTLED = 10


class Life(Member):
    """One start of a node. It writes from the moment that it has connected until it is stopped."""

    def __init__(self, name, start, command):
        self.start, self.written, self.writing = start, 0, True
        # The starts of others that had begun when this one was connected.
        self.began_before = set()
        self.metrics = None
        self.pipe = threading.Lock()
        self.log = tempfile.TemporaryFile("w+")
        super().__init__(name, command, self.log)

    def _on_event(self, event):
        if event["event"] == "metrics":
            self.metrics = event
        elif event["event"] == "incompatible":
            self.errors.append("incompatible: %s" % event)
        elif event["event"] == "error" and event["message"].startswith("seed "):
            return  # It dialled one that is just being replaced.
        super()._on_event(event)

    def say(self, **command):
        with self.pipe:
            super().say(**command)
            self.flush()

    def write(self):
        wait_until("%s is connected" % self, lambda: self.connected)
        while self.writing:
            text = "%s %d %d " % (self.name, self.start, self.written)
            padding = LARGE if self.written % EACH == EACH - 1 else 20
            self.say(cmd="broadcast", data=text + "x" * padding)
            self.written += 1
            time.sleep(PAUSE)

    def begin(self):
        self.writer = threading.Thread(target=self.write, daemon=True)
        self.writer.start()

    def end_writing(self):
        self.writing = False
        self.writer.join()

    def leave(self):
        self.end_writing()
        self.say(cmd="stop")
        self.thread.join()
        expect("%s ends with 0" % self, self.process.wait() == 0)

    def measured(self):
        self.metrics = None
        self.say(cmd="metrics")
        wait_until("%s says its metrics" % self, lambda: self.metrics)
        return self.metrics

    def warnings(self):
        """What it has warned of: a neighbour that breaks the rules, or that is of another version."""
        self.log.seek(0)
        return self.log.readlines()

    def __str__(self):
        return "%s, start %d" % (self.name, self.start)


class Network:
    """The nodes that run, and all starts that there were."""

    def __init__(self, folder):
        self.folder, self.running, self.lives = Path(folder), {}, []
        self.ports, self.starts = {}, defaultdict(int)

    def start(self, name, command):
        """Starts a node, at the port where it was before, and waits until it is connected."""
        seeds = [n for n in range(SEEDS) if n in self.ports and n != name]
        if isinstance(name, int):
            command = [*command, "--key", str(self.folder / ("key-%d" % name))]
        command = [*command, "--port", str(self.ports.get(name, 0))]
        for seed in seeds:
            command += ["--seed", "127.0.0.1:%d" % self.ports[seed]]
        self.starts[name] += 1
        life = Life("node-%s" % name, self.starts[name], command)
        self.lives.append(life)
        wait_until("%s listens" % life, lambda: life.port)
        self.ports[name], self.running[name] = life.port, life
        if len(self.running) > 1:
            wait_until("%s is connected" % life, lambda: life.connected)
        # Of these it may have missed the beginning.
        life.began_before = {(other.name, other.start) for other in self.lives if other is not life}
        life.begin()

    def replace(self, name, command):
        """Stops a node and starts another program in its place."""
        life = self.running.pop(name)
        life.leave()
        readers = list(self.running.values())
        self.start(name, command)
        # All that were there read its last message.
        for reader in readers:
            wait_until("%s reads the last of %s" % (reader, life), lambda: has_last(reader, life))

    def all_write(self):
        """Waits until each node has written for a while."""
        goals = [(life, life.written + SETTLED) for life in self.running.values()]
        for life, goal in goals:
            while life.written < goal:
                time.sleep(PAUSE)

    def finish(self):
        """Stops writing, waits until all have read all, and stops."""
        lives = list(self.running.values())
        for life in lives:
            life.end_writing()
        for reader in lives:
            for writer in lives:
                if writer is not reader:
                    what = "%s reads the last of %s" % (reader, writer)
                    wait_until(what, lambda: has_last(reader, writer))
        wait_until_counted(lives, len(lives))
        for life in lives:
            life.leave()


def number(text):
    """The node, the start and the number in a message."""
    name, start, written, _ = text.split(" ", 3)
    return name, int(start), int(written)


def has_last(reader, writer):
    read = reader.read[writer.id]
    return bool(read) and number(read[-1]) >= (writer.name, writer.start, writer.written - 1)


def check(reader, writers):
    """What `reader` has read of all starts of one node; returns how many messages there are."""
    read = [number(text) for text in reader.read[writers[0].id]]
    by_start = defaultdict(list)
    for _, start, written in read:
        by_start[start].append(written)
    expect("%s reads the starts of %s in order" % (reader, writers[0].name), read == sorted(read))
    for writer in writers:
        found = by_start[writer.start]
        if not found:
            continue
        in_a_row = found == list(range(found[0], found[-1] + 1))
        expect("%s reads %s in a row: %s" % (reader, writer, holes(found)), in_a_row)
        met_later = (writer.name, writer.start) not in reader.began_before
        expect("%s reads %s from %d on" % (reader, writer, found[0]), found[0] == 0 or not met_later)
    return len(read)


def holes(found):
    return [(a, b) for a, b in zip(found, found[1:]) if b != a + 1][:3]


def run(program, following):
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        network = Network(folder)
        try:
            lines = upgrade(network, [program, "run", "--json"], [following, "run", "--json"])
        finally:
            for life in network.lives:
                if life.process.poll() is None:
                    life.kill()
    total = 0
    for reader in network.lives:
        expect("%s: %s" % (reader, reader.gaps[:3]), not reader.gaps)
        expect("%s: %s" % (reader, reader.errors[:3]), not reader.errors)
        warnings = reader.warnings()
        expect("%s: %s" % (reader, warnings[:3]), not warnings)
        for name in {life.name for life in network.lives} - {reader.name}:
            writers = [life for life in network.lives if life.name == name]
            total += check(reader, writers)
    read = "%d messages read in order in %d starts, 0 gaps" % (total, len(network.lives))
    return [read, *lines, "%.0f s" % (time.monotonic() - began)]


def upgrade(network, program, following):
    """Returns what is to be told of the two programs."""
    for name in range(NODES):
        network.start(name, program)
    network.start("python", python_node())
    network.all_write()
    for name in range(NODES):
        network.replace(name, following)
        network.all_write()
        if name == NODES // 2:
            unknown = skipped_by([network.running[n] for n in range(name + 1, NODES)])
    known = network.running[NODES - 1].measured()
    nothing = known["messages_unknown"] == known["frames_unknown"] == 0
    expect("the next program knows what it sends: %s" % known, nothing)
    network.replace(0, program)
    network.all_write()
    back = skipped_by([network.running[0]])
    network.finish()
    return ["skipped by nodes that are not upgraded yet: " + unknown, "after a step back: " + back]


def skipped_by(lives):
    """What nodes that are not upgraded have met and not understood, for people."""
    found = [life.measured() for life in lives]
    messages, frames = (sum(m[what] for m in found) for what in ("messages_unknown", "frames_unknown"))
    expect("old nodes meet what they do not know: %s" % found, messages > 0 and frames > 0)
    return "%d messages and %d frames" % (messages, frames)


if __name__ == "__main__":
    try:
        print("upgrade: %d nodes, one after another" % NODES)
        for line in run(*sys.argv[1:]):
            print("  " + line)
    except Failed as failure:
        sys.exit("  failed: %s" % failure)
