"""The test vectors: `vectors.txt` has the bytes, and this module the values that they stand for.

An entry is a name and, indented below it, bytes in hex. `run` compares each entry with what this
implementation makes of the values, and decodes the messages again. `python3 vectors.py --write`
writes the file anew; a changed byte in it is a change of the wire.
"""

import struct
import sys
import textwrap
from pathlib import Path

from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import connection
import wire
from node import network_id
from wire import (
    ABSENT,
    BLOCKED,
    BUSY,
    BY_APPLICATION,
    CARRY,
    CHANNEL,
    END,
    CREDIT,
    DATA,
    DATA_END,
    ELSEWHERE,
    FIN,
    FIRST,
    FRAGMENT,
    KIND,
    LAST,
    LOST,
    LOW,
    MESSAGE,
    NEED,
    OPEN,
    PRESENT,
    QUERY,
    REFUSED,
    RESET,
    SIGNED,
    STOP,
    aged,
    frame,
    head,
    leaf,
    life_sign,
    raw,
    seal,
    seal_text,
    tree,
)

FILE = Path(__file__).with_name("vectors.txt")
SECRET = b"the secret of our network"
FLOW, CONFIRM = 1, 2
INCARNATION = 1_700_000_000_000
WALK, TOKEN, LOOKUP = 300, 1 << 40, 1 << 41
BODY = b"\5hello\0\2hi"
# The age of all segments, and the time of their sender, in milliseconds.
AGE, SENT = 300, 70_000
# When all segments were signed, in seconds since 1970.
SIGNED_AT = 1_800_000_000
NONCE = bytes(range(16))

KEY, OTHER_KEY = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (7, 8))
ID, OTHER_ID = raw(KEY.public_key()), raw(OTHER_KEY.public_key())
SEED, OTHER_SEED = (int.from_bytes(node_id[:8], "big") for node_id in (ID, OTHER_ID))
ADDRESS = int.from_bytes(blake3(b"127.0.0.1:8495").digest(length=8), "big")
OPEN_NETWORK = bytes(32)
LOOPBACK, LOOPBACK_V6 = bytes([127, 0, 0, 1]), bytes(15) + b"\1"


class Exporter:
    """Stands for a TLS connection whose exporter gives 32 bytes of 5."""

    @staticmethod
    def exporter(_label):
        return bytes([5]) * 32


def ids_and_hello():
    yield "node id", ID
    yield "other node id", OTHER_ID
    yield "network id: open", network_id(None, False)
    yield "network id: secret", network_id(SECRET, False)
    yield "network id: open, unsigned", network_id(None, True)
    yield "network id: secret, unsigned", network_id(SECRET, True)
    yield "HELLO: open", hello(None, connection.DIALLER)
    yield "HELLO: secret, dialler", hello(SECRET, connection.DIALLER)
    yield "HELLO: secret, acceptor", hello(SECRET, connection.ACCEPTOR)


def hello(secret, role):
    """With *flow* and *confirm*, a bit that means nothing, which the exporter chooses, and five such bytes."""
    return connection.hello(secret, role, Exporter, FLOW | CONFIRM | 1 << 48 + 5 + role[0], bytes(5))


def stream_frames():
    def of_stream(kind, number, rest=b""):
        return frame(kind, struct.pack(">I", number) + rest)

    yield "DATA", of_stream(DATA, 0, b"hello")
    yield "DATA_END", of_stream(DATA_END, 7, b"hello")
    yield "CREDIT", of_stream(CREDIT, 7, struct.pack(">I", 8192))
    yield "FIN", of_stream(FIN, 7)
    yield "OPEN", of_stream(OPEN, 7, b"direct")
    yield "OPEN: an answer", of_stream(OPEN, 7)
    yield "RESET: refused", of_stream(RESET, 7, bytes([REFUSED]))
    yield "RESET: busy", of_stream(RESET, 7, bytes([BUSY]))
    yield "RESET: by the application", of_stream(RESET, 7, bytes([BY_APPLICATION]) + b"enough")
    yield "STOP", of_stream(STOP, 7)
    yield "BLOCKED", of_stream(BLOCKED, 7)
    yield "CARRY", of_stream(CARRY, 8, struct.pack(">Q", LOOKUP) + OTHER_ID)


def control_messages():
    """The name of an entry, then the message and its values."""
    addresses = [wire.ip_address(LOOPBACK, 8495), wire.ip_address(LOOPBACK_V6, 8495)]
    record = wire.Record.sign(KEY, OPEN_NETWORK, addresses, 7)
    other = wire.Record.sign(OTHER_KEY, OPEN_NETWORK, [wire.ip_address(LOOPBACK, 8496)], 8)
    later = [(200, bytes(range(96))), wire.ip_address(LOOPBACK, 8495), (255, b"")]
    later = wire.Record.sign(KEY, OPEN_NETWORK, later, 7)
    beat = wire.Beat.sign(
        KEY, OPEN_NETWORK, INCARNATION, 5, 8, [(1, ELSEWHERE, 300), (SEED, PRESENT, 0)]
    )
    states = [(1, ABSENT, 0), (2, LOST, 0)]
    absent = wire.Beat.sign(KEY, OPEN_NETWORK, INCARNATION, 6, 1, states)
    report = (SEED, False, 2, 300, 5)
    mark = (ID, 1, 9, 4, 6, 12)
    root_tag = int.from_bytes(ID[:4], "big")
    return [
        ("Join", "Join", record, 3),
        ("Join: addresses of other kinds", "Join", later, 3),
        ("Welcome", "Welcome", [record]),
        ("Walk", "Walk", WALK, 6, record),
        ("Offer", "Offer", WALK, record, None),
        ("Offer: with a split", "Offer", WALK, record, (other, TOKEN)),
        ("SplitPrepare", "SplitPrepare", TOKEN, OTHER_ID),
        ("SplitAnswer", "SplitAnswer", TOKEN, True),
        ("SplitCommit", "SplitCommit", TOKEN),
        ("Neighbor", "Neighbor", record, INCARNATION, NEED, None),
        ("Neighbor: with a token", "Neighbor", record, INCARNATION, LOW, TOKEN),
        ("Accept", "Accept", record, INCARNATION, SENT),
        ("Refuse", "Refuse", [record, other]),
        ("Active", "Active", SENT),
        ("Disconnect", "Disconnect", 2, [other]),
        ("Ping", "Ping", 3, None, 0, []),
        ("Ping: a child", "Ping", 300, root_tag, 9, [report]),
        ("Beacon", "Beacon", beat, 200, 2),
        ("Beacon: absent and lost seeds", "Beacon", absent, 0, 0),
        ("Probe", "Probe"),
        ("Move", "Move"),
        ("MoveAnswer", "MoveAnswer", [other]),
        ("Bridge", "Bridge", 6, [record, other]),
        ("Shuffle", "Shuffle", WALK, 6, [record, other]),
        ("ShuffleReply", "ShuffleReply", WALK, [other]),
        ("Digest", "Digest", [mark], True),
        ("Digest: without an end", "Digest", [mark], None),
        ("Graft", "Graft", [(ID, INCARNATION, 5, False)]),
        ("Prune", "Prune", ID, INCARNATION),
        ("Streams", "Streams"),
        ("Find", "Find", LOOKUP, OTHER_ID, 20),
        ("Located", "Located", LOOKUP, record),
        ("Sought", "Sought", [(ADDRESS, 300)]),
        ("Turn", "Turn", ADDRESS),
        ("Ack", "Ack", 70_000, 135_536, True, True, 40_000, (1_000, 30)),
        ("Confirm", "Confirm", [(SEED, 1, 38, 40, 30, 20, 2, 1, 7, 32_768, OTHER_SEED)]),
        ("Pace", "Pace", ID, 1, 37, True),
        ("Redirect", "Redirect", ID, 1),
        ("Prove", "Prove", [ID, OTHER_ID]),
        ("Proofs", "Proofs", proofs()),
        ("Twin", "Twin", 2**63, INCARNATION, 70_000),
        ("Challenge", "Challenge", ID, NONCE),
        ("Alive", "Alive", life_sign(KEY, OPEN_NETWORK, INCARNATION, NONCE, SIGNED_AT)),
    ]


def proofs():
    """The proofs of a signed pair of segments, and of a fragment."""
    named = ("2 of a signed pair", "3 of a signed pair", "fragment 1 of 3")
    frames = dict(segments())
    return [wire.Segment(frames["segment: " + name][4:]).proven() for name in named]


def segments():
    """Frames with segments, and the hashes that the seals of a pair sign."""
    whole, alone = (ID, 1, 2, 3), leaf(OPEN_NETWORK, ID, 1, 2, 3, 0, BODY)
    yield "part", frame(MESSAGE, b"\2\0hello")
    yield "part: the last one", frame(MESSAGE, b"\2\1hi")
    yield "segment: unsigned", of_age(head(0, *whole) + BODY)
    yield "segment: signed", of_age(head(SIGNED, *whole) + seal(sign(alone), SIGNED_AT, []) + BODY)

    second = leaf(OPEN_NETWORK, ID, 1, 3, 6, 0, BODY)
    root, proofs = tree([alone, second])
    yield "leaf: segment 2", alone
    yield "leaf: segment 3", second
    yield "root: segments 2 and 3", root
    for seq, first, proof in ((2, 3, proofs[0]), (3, 6, proofs[1])):
        payload = head(SIGNED, ID, 1, seq, first) + seal(sign(root), SIGNED_AT, proof) + BODY
        yield "segment: %d of a signed pair" % seq, of_age(payload)

    query, channel = struct.pack(">Q", 7) + b"who?", b"\4chathi"
    kinds = [("query", QUERY, query), ("channel", CHANNEL, channel), ("end", END, b"")]
    for name, kind, message in kinds:
        flags, body = kind << KIND, bytes([len(message)]) + message
        signature = sign(leaf(OPEN_NETWORK, ID, 1, 7, 10, flags, body))
        payload = head(flags | SIGNED, ID, 1, 7, 10) + seal(signature, SIGNED_AT, []) + body
        yield "segment: " + name, of_age(payload)

    flags, body = 9 << KIND, b"\x07unknown\0"
    signature = sign(leaf(OPEN_NETWORK, ID, 1, 7, 10, flags, body))
    payload = head(flags | SIGNED, ID, 1, 7, 10) + seal(signature, SIGNED_AT, []) + body
    yield "segment: of an unknown kind", of_age(payload)

    pieces = [(FIRST, b"a large message"), (0, b", "), (LAST, b"in three pieces")]
    for seq, (ends, body) in enumerate(pieces, 4):
        flags = FRAGMENT | ends
        signature = sign(leaf(OPEN_NETWORK, ID, 1, seq, 9, flags, body))
        payload = head(flags | SIGNED, ID, 1, seq, 9) + seal(signature, SIGNED_AT, []) + body
        yield "segment: fragment %d of 3" % (seq - 3), of_age(payload)


def of_age(segment):
    return frame(MESSAGE, aged(segment, AGE, SENT))


def sign(root):
    return KEY.sign(seal_text(root, SIGNED_AT))


def entries():
    """All names and bytes, in the order of the file."""
    yield from ids_and_hello()
    yield from stream_frames()
    for name, message, *values in control_messages():
        yield name, frame(MESSAGE, wire.encode(message, *values))
    yield from segments()


def read():
    """The entries of the file."""
    found, name = {}, None
    for line in FILE.read_text().splitlines():
        if line.startswith(" "):
            found[name] += bytes.fromhex(line)
        elif line and not line.startswith("#"):
            name = line
            if name in found:
                raise SystemExit("%s has two entries `%s`" % (FILE.name, name))
            found[name] = b""
    return found


def write():
    """The file anew, with the comment that it begins with."""
    lines = [line for line in FILE.read_text().splitlines() if line.startswith("#")]
    for name, data in entries():
        lines += ["", name, *("  " + part for part in textwrap.wrap(data.hex(), 96))]
    FILE.write_text("\n".join(lines) + "\n")


def check(name, data, file):
    """What is wrong with an entry, or None."""
    if name not in file:
        return "%s has no such entry" % FILE.name
    if file[name] != data:
        return "is %s, and in %s %s" % (data.hex(), FILE.name, file[name].hex())
    is_message = (
        data[0] == MESSAGE and len(data) >= 5 and data[1:4] == struct.pack(">I", len(data) - 4)[1:]
    )
    if not is_message:
        return None
    try:
        if data[4] == 1:
            wire.Segment(data[4:], signed=name != "segment: unsigned")
        elif data[4] == 0:
            message, values = wire.decode(data[4:])
            for proof in values[0] if message == "Proofs" else ():
                wire.check_proof(OPEN_NETWORK, proof)
            if frame(MESSAGE, wire.encode(message, *values)) != data:
                return "is something else when it is encoded again"
    except wire.Malformed as error:
        return "cannot be decoded: %s" % error
    return None


def run():
    """Compares all; returns how many there are, and the failures."""
    file, ours = read(), dict(entries())
    failures = [(name, check(name, data, file)) for name, data in ours.items()]
    failures += [(name, "nobody knows what it stands for") for name in file if name not in ours]
    return len(file), [(name, failure) for name, failure in failures if failure]


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write()
    else:
        print(run())
