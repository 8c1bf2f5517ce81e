"""Three Rust nodes and two Python nodes in one private network: all write, one of each is killed.
Then one of each in an open network of unsigned messages.

Every message is counted: each node has to read all that each other one wrote, in order and
without a gap, and what the two that are killed had written is read by all survivors alike.
"""

import itertools
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
# No step takes longer on a busy machine.
PATIENCE = 30.0
SMALL, LARGE = 1000, 200_000
FIRST_BATCH, SECOND_BATCH, KILL_AT = 2000, 4000, 500
DIRECT = 200
SECRET = "the secret of this network"


class Failed(Exception):
    """Something did not hold."""


class Member:
    """A node's process, and all that it has said."""

    # Notified at each event of any member.
    news = threading.Condition()

    def __init__(self, name, command, log=subprocess.DEVNULL):
        self.name = name
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log}
        self.process = subprocess.Popen(command, **pipes)
        self.id = self.port = None
        self.connected, self.size = False, 1
        # By the id of the sender.
        self.read, self.direct = defaultdict(list), defaultdict(list)
        self.gaps, self.errors = [], []
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self):
        for line in self.process.stdout:
            if not line.endswith(b"\n"):
                return  # It was killed in the middle of it.
            event = json.loads(line)
            with self.news:
                self._on_event(event)
                self.news.notify_all()

    def _on_event(self, event):
        kind = event["event"]
        if kind == "listening":
            self.id, self.port = event["id"], event["port"]
        elif kind == "connect":
            self.connected = True
        elif kind == "peers":
            self.size = event["size"]
        elif kind == "message":
            self.read[event["from"]].append(event["data"])
            if not 0 <= event["age_ms"] < PATIENCE * 1000:
                self.errors.append("a message of this age: %s" % event)
        elif kind == "direct":
            self.direct[event["from"]].append(event["data"])
        elif kind == "gap":
            self.gaps.append(event)
        elif kind == "error":
            self.errors.append(event["message"])

    def say(self, **command):
        self.process.stdin.write(json.dumps(command).encode() + b"\n")

    def flush(self):
        self.process.stdin.flush()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def wait_until(what, holds):
    """Waits until `holds()` returns a true value, which is looked at after each event."""
    deadline = time.monotonic() + PATIENCE
    with Member.news:
        while not (result := holds()):
            left = deadline - time.monotonic()
            if left <= 0:
                raise Failed("not within %d s: %s" % (PATIENCE, what))
            Member.news.wait(left)
    return result


def wait_until_counted(members, size):
    """Waits until all members are connected and count `size` nodes, which they say when asked."""
    deadline = time.monotonic() + PATIENCE
    while not all(member.connected and member.size == size for member in members):
        if time.monotonic() > deadline:
            sizes = ", ".join("%s counts %d" % (member.name, member.size) for member in members)
            raise Failed("not within %d s: a network of %d; %s" % (PATIENCE, size, sizes))
        for member in members:
            member.say(cmd="peers")
            member.flush()
        with Member.news:
            Member.news.wait(0.25)


def text(member, batch, number):
    """Message `number` of a batch; some of the first one are large, and so are cut in pieces."""
    name = "%s %d %d " % (member.name, batch, number)
    large = batch == 1 and number % 500 == 499
    return name + "x" * (LARGE if large else number % SMALL)


def write(member, batch, count=None):
    """Writes a batch; without `count` until the member is killed."""
    numbers = itertools.count() if count is None else range(count)
    try:
        for number in numbers:
            member.say(cmd="broadcast", data=text(member, batch, number))
        member.flush()
    except (BrokenPipeError, ValueError):
        pass  # It was killed: `ValueError` where its pipe was closed in the middle of a line.


def in_background(work):
    """Calls each function in a thread of its own, and returns when all have returned."""
    threads = [threading.Thread(target=call, daemon=True) for call in work]
    for thread in threads:
        thread.start()
    return threads


def expect(what, holds):
    if not holds:
        raise Failed(what)


def check_order(reader, writer, messages):
    """`messages` is what `reader` has read of `writer`: all, from the first on, in order."""
    for number, message in enumerate(messages):
        right = number - FIRST_BATCH
        expected = text(writer, 1, number) if right < 0 else text(writer, 2, right)
        if message != expected:
            found = (reader.name, number, writer.name, message[:40])
            raise Failed("%s read as message %d of %s: %s" % found)


def pairs(members):
    return [(a, b) for a in members for b in members if a is not b]


def run(program):
    """Both scenarios; returns what they have counted, as lines for people."""
    began, members = time.monotonic(), []
    try:
        with tempfile.NamedTemporaryFile("w") as secret:
            secret.write(SECRET + "\n")
            secret.flush()
            counted = five_nodes(program, members, secret.name)
        counted += two_nodes(program, members)
        return counted + ["%.0f s" % (time.monotonic() - began)]
    finally:
        for member in members:
            if member.process.poll() is None:
                member.kill()


def rust_node(program):
    return [program, "run", "--json"]


def python_node():
    return [sys.executable, str(HERE / "node.py")]


def two_nodes(program, all_members):
    """A Rust and a Python node in an open network whose messages are not signed."""
    rust = Member("Rust", [*rust_node(program), "--unsigned-messages"])
    all_members.append(rust)
    wait_until("it listens", lambda: rust.port)
    seed = ["--seed", "127.0.0.1:%d" % rust.port]
    python = Member("Python", [*python_node(), "--unsigned-messages", *seed])
    all_members.append(python)
    members = [rust, python]
    wait_until_counted(members, 2)
    in_background([lambda m=m: write(m, 1, FIRST_BATCH) for m in members])
    for reader, writer in pairs(members):
        what = "%s reads all of %s, unsigned" % (reader.name, writer.name)
        wait_until(what, lambda: len(reader.read[writer.id]) >= FIRST_BATCH)
        check_order(reader, writer, reader.read[writer.id])
        expect("%s: %s" % (reader.name, reader.gaps[:3]), not reader.gaps)
    return ["%d unsigned messages read in order by 2 nodes" % (2 * FIRST_BATCH)]


def five_nodes(program, members, secret):
    """Three Rust and two Python nodes in a private network, of which one each is killed."""

    def start(name, *command):
        seeds = ["--seed", "127.0.0.1:%d" % members[0].port] if members else []
        member = Member(name, [*command, "--min-peers", "2", "--max-peers", "3", *seeds])
        members.append(member)
        wait_until("%s listens" % name, lambda: member.port)
        return member

    rust = [*rust_node(program), "--network-secret-file", secret]
    python = [*python_node(), "--secret", SECRET]
    start("Rust 1", *rust)
    start("Python 1", *python)
    rust_victim = start("Rust 2", *rust)
    # Its address leads nowhere: nodes that are not its neighbours reach it through others.
    python_victim = start("Python 2", *python, "--hidden")
    start("Rust 3", *rust)
    wait_until_counted(members, len(members))

    in_background([lambda m=m: write(m, 1, FIRST_BATCH) for m in members])
    for reader, writer in pairs(members):
        what = "%s reads all of %s" % (reader.name, writer.name)
        wait_until(what, lambda: len(reader.read[writer.id]) >= FIRST_BATCH)

    # Streams between all pairs, neighbours or not, both ways at the same time.
    for sender, receiver in pairs(members):
        for number in range(DIRECT):
            size = LARGE if number == DIRECT // 2 else number
            data = "%s to %s %d " % (sender.name, receiver.name, number) + "y" * size
            sender.say(cmd="direct", to=receiver.id, data=data)
        sender.flush()
    for sender, receiver in pairs(members):
        what = "%s has what %s sent to it" % (receiver.name, sender.name)
        wait_until(what, lambda: len(receiver.direct[sender.id]) >= DIRECT)
        numbers = [int(data.split()[5]) for data in receiver.direct[sender.id]]
        expect(what + ", in order", numbers == list(range(DIRECT)))

    victims = [rust_victim, python_victim]
    survivors = [member for member in members if member not in victims]
    in_background([lambda m=m: write(m, 2) for m in victims])
    in_background([lambda m=m: write(m, 2, SECOND_BATCH) for m in survivors])
    for reader in survivors:
        for victim in victims:
            what = "%s reads %s" % (reader.name, victim.name)
            wait_until(what, lambda: len(reader.read[victim.id]) >= FIRST_BATCH + KILL_AT)
    for victim in victims:
        victim.kill()
    for reader, writer in pairs(survivors):
        what = "%s reads the rest of %s" % (reader.name, writer.name)
        wait_until(what, lambda: len(reader.read[writer.id]) >= FIRST_BATCH + SECOND_BATCH)
    for victim in victims:
        what = "all read as much of %s" % victim.name
        wait_until(what, lambda: len({len(m.read[victim.id]) for m in survivors}) == 1)
    wait_until_counted(survivors, len(survivors))

    for member in survivors:
        member.say(cmd="stop")
        member.flush()
    for member in survivors:
        expect("%s ends with 0" % member.name, member.process.wait(PATIENCE) == 0)
        member.thread.join(PATIENCE)
    total = 0
    for reader in survivors:
        expect("%s: %s" % (reader.name, reader.gaps[:3]), not reader.gaps)
        expect("%s: %s" % (reader.name, reader.errors[:3]), not reader.errors)
        for writer in members:
            if writer is not reader:
                check_order(reader, writer, reader.read[writer.id])
                total += len(reader.read[writer.id])
    for reader, writer in pairs(survivors):
        exact = len(reader.read[writer.id]) == FIRST_BATCH + SECOND_BATCH
        expect("%s read too much of %s" % (reader.name, writer.name), exact)
    streams = len(pairs(members))
    read_of_victims = [len(survivors[0].read[victim.id]) for victim in victims]
    return [
        "%d messages read in order by %d survivors of 5, 0 gaps" % (total, len(survivors)),
        "of the killed ones %d and %d, by all alike" % tuple(read_of_victims),
        "%d direct messages over %d streams in order" % (streams * DIRECT, streams),
    ]
