"""Bytes of docs/protocol.md: frames, messages, segments and records (its sections 2 to 4).

A message is a name and a list of values; `LAYOUT` is the table of section 3 in letters. Everything
that cannot be decoded raises `Malformed`, for which the connection is to be closed.
"""

import socket
import struct
import time

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

# Kinds of frames.
MESSAGE, DATA, DATA_END, CREDIT, FIN, OPEN, RESET, STOP, BLOCKED, CARRY = range(10)
MAX_FRAME = 65856
MAX_DATA = 16384

# Codes of RESET.
REFUSED, BUSY, BY_APPLICATION = range(3)

# Flags of a segment.
FRAGMENT, FIRST, LAST, SIGNED = 1, 2, 4, 8
# The kinds of messages, in bits 4 to 7 of a segment's flags. Segments of others are passed on.
APPLICATION, QUERY, CHANNEL, END = 0, 1, 2, 3
KIND = 4
MAX_CHANNEL = 32
MAX_BODY = 65536
MAX_MESSAGES = 4096
MAX_HASHES = 4
SIGNED_TOGETHER = 16
# A segment's age at most, in milliseconds.
MAX_AGE = 86_400_000

# Kinds of addresses, and how many bytes they have; all others are passed on as they are.
IPV4, IPV6 = 0, 1
IP_SIZES = {IPV4: 6, IPV6: 18}
MAX_ADDRESSES = 4
MAX_ADDRESS = 96

# Priorities of Neighbor.
LOW, NEED, HIGH, EXPLICIT, BRIDGE = range(5)

# States of a seed.
PRESENT, ABSENT, LOST, ELSEWHERE = range(4)

# Control messages in the order of their numbers, and what their fields are: u a varint, b a byte,
# ? a bool, i an id, R a record, B a beat, ("[", item) a list, ("o", item) an option, a tuple its
# items.
MARK = ("i", "u", "u", "u", "u", "u")
ASK = ("i", "u", "u", "?")
REPORT = ("u", "?", "b", ("o", "u"), "u")
CONFIRMATION = ("u",) * 11
# What is signed of a segment: writer, incarnation, seq, first message, flags, messages and the hash
# of the body; then the signature (two halves), the sides of the hashes, and the hashes.
PROOF = ("i", "u", "u", "u", "b", "u", "i", "i", "i", "u", "b", ("[", "i"))
LIFE_SIGN = ("i", "u", "u", "n", "i", "i")
RECORDS = ("[", "R")
LAYOUT = {
    "Join": ["R", "b"],
    "Welcome": [RECORDS],
    "Walk": ["u", "b", "R"],
    "Offer": ["u", "R", ("o", ("R", "u"))],
    "SplitPrepare": ["u", "i"],
    "SplitAnswer": ["u", "?"],
    "SplitCommit": ["u"],
    "Neighbor": ["R", "u", "u", ("o", "u")],
    "Accept": ["R", "u", "u"],
    "Refuse": [RECORDS],
    "Active": ["u"],
    "Disconnect": ["u", RECORDS],
    "Ping": ["u", ("o", "u"), "u", ("[", REPORT)],
    "Beacon": ["B", "u", "b"],
    "Probe": [],
    "Move": [],
    "MoveAnswer": [RECORDS],
    "Bridge": ["b", RECORDS],
    "Shuffle": ["u", "b", RECORDS],
    "ShuffleReply": ["u", RECORDS],
    "Digest": [("[", MARK), ("o", "?")],
    "Graft": [("[", ASK)],
    "Prune": ["i", "u"],
    "Streams": [],
    "Find": ["u", "i", "b"],
    "Located": ["u", "R"],
    "Sought": [("[", ("u", "u"))],
    "Turn": ["u"],
    "Ack": ["u", "u", "?", "?", "u", ("o", ("u", "u"))],
    "Confirm": [("[", CONFIRMATION)],
    "Pace": ["i", "u", "u", "?"],
    "Redirect": ["i", "u"],
    "Prove": [("[", "i")],
    "Proofs": [("[", PROOF)],
    "Twin": ["u", "u", "u"],
    "Challenge": ["i", "n"],
    "Alive": [LIFE_SIGN],
}
NAMES = list(LAYOUT)


class Malformed(Exception):
    """The bytes are not what the document says."""


def raw(public_key):
    """The 32 bytes of an ed25519 or x25519 public key."""
    return public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def verify(node_id, signature, text):
    """Raises `Malformed` unless `node_id` has signed `text`."""
    try:
        Ed25519PublicKey.from_public_bytes(node_id).verify(signature, text)
    except InvalidSignature:
        raise Malformed("a signature is wrong") from None


def frame(kind, payload):
    return bytes([kind]) + len(payload).to_bytes(3, "big") + payload


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])


class Reader:
    """Takes values off the front of `data`."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        if self.at + size > len(self.data):
            raise Malformed("too short")
        self.at += size
        return self.data[self.at - size : self.at]

    def varint(self):
        number = shift = 0
        while True:
            byte = self.take(1)[0]
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7
            if shift > 63:
                raise Malformed("a varint of more than ten bytes")

    def bool(self):
        byte = self.take(1)[0]
        if byte > 1:
            raise Malformed("a bool of %d" % byte)
        return byte == 1

    def get(self, kind):
        if isinstance(kind, list):
            return [self.get(item) for item in kind]
        if kind[0] == "[":
            return [self.get(kind[1]) for _ in range(self.varint())]
        if kind[0] == "o":
            return self.get(kind[1]) if self.bool() else None
        if isinstance(kind, tuple):
            return tuple(self.get(item) for item in kind)
        return {
            "u": self.varint,
            "b": lambda: self.take(1)[0],
            "?": self.bool,
            "i": lambda: self.take(32),
            "n": lambda: self.take(16),
            "R": lambda: Record.decode(self),
            "B": lambda: Beat.decode(self),
        }[kind]()


def put(kind, value):
    """The bytes of a value, of the kind that `LAYOUT` names."""
    if isinstance(kind, list):
        return b"".join(put(item, part) for item, part in zip(kind, value, strict=True))
    if kind[0] == "[":
        return varint(len(value)) + b"".join(put(kind[1], item) for item in value)
    if kind[0] == "o":
        return b"\0" if value is None else b"\1" + put(kind[1], value)
    if isinstance(kind, tuple):
        return b"".join(put(item, part) for item, part in zip(kind, value, strict=True))
    if kind == "u":
        return varint(value)
    if kind in "b?":
        return bytes([value])
    return value.encode() if kind in "RB" else value


def encode(name, *values):
    """The payload of a frame with this control message."""
    return b"\0" + varint(NAMES.index(name)) + put(LAYOUT[name], values)


def decode(payload):
    """The name and the values of a control message."""
    reader = Reader(payload)
    if reader.take(1) != b"\0":
        raise Malformed("no control message")
    index = reader.varint()
    if index >= len(NAMES):
        raise Malformed("message %d" % index)
    values = reader.get(LAYOUT[NAMES[index]])
    if reader.at != len(payload):
        raise Malformed("bytes behind %s" % NAMES[index])
    return NAMES[index], values


def known_message(payload):
    """Whether an optional message is one that this node knows; it is skipped if not."""
    if not payload:
        raise Malformed("an empty message")
    if payload[0] == 1:
        return True
    return payload[0] == 0 and Reader(payload[1:]).varint() < len(NAMES)


def ip_address(ip, port):
    """An address of IP, of its 4 or 16 bytes."""
    return (IPV6 if len(ip) == 16 else IPV4, ip + struct.pack(">H", port))


class Record:
    """Where a node listens, signed by it. An address is its kind and its bytes."""

    def __init__(self, node_id, addresses, version, signature=None):
        self.id, self.addresses = node_id, addresses
        self.version, self.signature = version, signature

    @classmethod
    def sign(cls, key, network, addresses, version):
        record = cls(raw(key.public_key()), addresses, version)
        record.signature = key.sign(record.signed_text(network))
        return record

    @classmethod
    def decode(cls, reader):
        node_id, addresses = reader.take(32), []
        for _ in range(reader.varint()):
            kind = reader.take(1)[0]
            address = reader.take(reader.varint())
            if len(address) != IP_SIZES.get(kind, len(address)) or len(address) > MAX_ADDRESS:
                raise Malformed("an address of kind %d has %d bytes" % (kind, len(address)))
            addresses.append((kind, address))
        others = sum(kind not in IP_SIZES for kind, _ in addresses)
        if max(others, len(addresses) - others) > MAX_ADDRESSES:
            raise Malformed("a record of %d addresses" % len(addresses))
        return cls(node_id, addresses, reader.varint(), reader.take(64))

    def encode(self):
        addresses = b"".join(
            bytes([kind]) + varint(len(address)) + address for kind, address in self.addresses
        )
        head = self.id + varint(len(self.addresses)) + addresses
        return head + varint(self.version) + self.signature

    def signed_text(self, network):
        text = b"smokesignal record 1\0" + network + self.id + struct.pack(">Q", self.version)
        return text + b"".join(bytes([kind, len(data)]) + data for kind, data in self.addresses)

    def verify(self, network):
        verify(self.id, self.signature, self.signed_text(network))

    def where(self):
        """The first address of IP, as sockets take it; None if there is none."""
        for kind, address in self.addresses:
            if kind in IP_SIZES:
                family = socket.AF_INET6 if kind == IPV6 else socket.AF_INET
                return socket.inet_ntop(family, address[:-2]), int.from_bytes(address[-2:], "big")
        return None


class Beat:
    """The heartbeat of a root. `seeds` is a list of (seed, state, size of the other component)."""

    def __init__(self, root, incarnation, number, size, seeds, signature=None):
        self.root, self.incarnation, self.number = root, incarnation, number
        self.size, self.seeds, self.signature = size, seeds, signature

    @classmethod
    def sign(cls, key, network, incarnation, number, size, seeds):
        beat = cls(raw(key.public_key()), incarnation, number, size, seeds)
        beat.signature = key.sign(beat.signed_text(network))
        return beat

    @classmethod
    def decode(cls, reader):
        root, incarnation, number, size = reader.take(32), *(reader.varint() for _ in range(3))
        seeds = []
        for _ in range(reader.varint()):
            seed, state = reader.varint(), reader.varint()
            if state > ELSEWHERE:
                raise Malformed("a seed in the state %d" % state)
            seeds.append((seed, state, reader.varint() if state == ELSEWHERE else 0))
        return cls(root, incarnation, number, size, seeds, reader.take(64))

    def encode(self):
        out = self.root + varint(self.incarnation) + varint(self.number) + varint(self.size)
        out += varint(len(self.seeds))
        for seed, state, size in self.seeds:
            out += varint(seed) + varint(state) + (varint(size) if state == ELSEWHERE else b"")
        return out + self.signature

    def signed_text(self, network):
        head = struct.pack(">QQI", self.incarnation, self.number, self.size)
        seeds = b"".join(struct.pack(">QBI", *status) for status in self.seeds)
        return b"smokesignal beat 1\0" + network + head + seeds

    def verify(self, network):
        verify(self.root, self.signature, self.signed_text(network))

    def is_of(self, other):
        """Whether both are the same beat of the same start of the same root."""
        return (self.root, *self.age_key()) == (other.root, *other.age_key())

    def age_key(self):
        """Orders the beats of one root."""
        return self.incarnation, self.number


class Segment:
    """One segment of a writer's stream, as it is on the wire.

    `age` is how old its sender says that it is, and `sent` when by its clock, both in milliseconds;
    `signed_part` is what stays the same on its way.
    """

    def __init__(self, payload, signed=True):
        reader = Reader(payload)
        if reader.take(1) != b"\1":
            raise Malformed("no segment")
        self.age, self.sent = min(reader.varint(), MAX_AGE), reader.varint()
        self.signed_part = payload[reader.at :]
        self.flags, self.writer = reader.take(1)[0], reader.take(32)
        numbers = [reader.varint() for _ in range(3)]
        self.incarnation, self.seq, self.first_message = numbers
        if not all(0 < number < 1 << 62 for number in numbers):
            raise Malformed("a number of a segment is out of range")
        self.kind = self.flags >> KIND
        if self.flags & (FIRST | LAST) and not self.flags & FRAGMENT:
            raise Malformed("flags of a segment")
        self.signature, self.signed_at, self.proof = b"", 0, []
        if self.flags & SIGNED:
            self.signature, self.signed_at = reader.take(64), reader.varint()
            shape = reader.take(1)[0]
            hashes = shape & 7
            if hashes > MAX_HASHES or shape >> 3 + hashes:
                raise Malformed("the shape of a seal")
            self.proof = [(reader.take(32), shape >> 3 + n & 1) for n in range(hashes)]
        elif signed:
            raise Malformed("a segment without a signature")
        self.body = payload[reader.at :]
        if len(self.body) > MAX_BODY:
            raise Malformed("a body of %d bytes" % len(self.body))
        self.messages = [] if self.flags & FRAGMENT else list(messages_in(self.body))
        if len(self.messages) > MAX_MESSAGES:
            raise Malformed("a segment of %d messages" % len(self.messages))
        heads = [self.body] if self.flags & FIRST else self.messages
        if not all(has_head(self.kind, message) for message in heads):
            raise Malformed("a message without the head of its kind")
        if self.kind == END and (self.flags & FRAGMENT or len(self.messages) != 1):
            raise Malformed("an end that is more than one empty message")

    def ended(self):
        """How many messages end in it."""
        if self.flags & FRAGMENT:
            return 1 if self.flags & LAST else 0
        return len(self.messages)

    def root(self, network):
        """The root of the hash tree that the seal signs."""
        return root_of(network, self.proven())

    def proven(self):
        """The proof that it was written, as Proofs carries it."""
        numbers = (self.incarnation, self.seq, self.first_message)
        said = (self.flags & ~SIGNED, len(self.messages), blake3(self.body).digest())
        left = sum(on_the_left << n for n, (_, on_the_left) in enumerate(self.proof))
        sealed = (self.signature[:32], self.signature[32:], self.signed_at)
        return (self.writer, *numbers, *said, *sealed, left, [other for other, _ in self.proof])


def root_of(network, proof):
    """The root that a proof leads to."""
    left, hashes = proof[10:]
    at = hash_of(network, *proof[:7])
    for n, other in enumerate(hashes):
        at = joined(other, at) if left >> n & 1 else joined(at, other)
    return at


def check_proof(network, proof):
    """Raises `Malformed` unless the writer has signed what the proof says."""
    writer, *numbers, flags, messages, _, first, second, signed_at, left, hashes = proof
    is_piece = flags & FRAGMENT != 0
    sane = all(0 < number < 1 << 62 for number in numbers)
    sane = sane and len(hashes) <= MAX_HASHES and not left >> len(hashes) and not flags & SIGNED
    sane = sane and messages <= MAX_MESSAGES
    if not sane or is_piece != (messages == 0) or (flags & (FIRST | LAST) and not is_piece):
        raise Malformed("a proof")
    verify(writer, first + second, seal_text(root_of(network, proof), signed_at))


def has_head(kind, message):
    """Whether a message, or its first piece, has what its kind demands."""
    if kind == QUERY:
        return len(message) >= 8
    if kind == CHANNEL:
        return message != b"" and 1 <= message[0] <= MAX_CHANNEL and message[0] < len(message)
    if kind == END:
        return message == b""
    return True


def messages_in(body):
    """The whole messages in a segment's body."""
    reader = Reader(body)
    if not body:
        raise Malformed("a segment without a message")
    while reader.at < len(body):
        yield reader.take(reader.varint())


def head(flags, writer, incarnation, seq, first_message):
    """What comes before the seal of a segment, and behind its age."""
    numbers = varint(incarnation) + varint(seq) + varint(first_message)
    return bytes([flags]) + writer + numbers


def clock():
    """The time of this node's clock, in milliseconds, as it is sent."""
    return int(time.monotonic() * 1000)


def aged(segment, age=0, sent=0):
    """A segment as it is handed over: this old at this time of the sender's clock, in ms."""
    return b"\1" + varint(min(age, MAX_AGE)) + varint(sent) + segment


def joined(left, right):
    return blake3(b"smokesignal pair 1\0" + left + right).digest()


def leaf(network, writer, incarnation, seq, first_message, flags, body):
    messages = 0 if flags & FRAGMENT else count(body)
    name = (writer, incarnation, seq, first_message)
    return hash_of(network, *name, flags, messages, blake3(body).digest())


def count(body):
    """How many whole messages a body begins with."""
    found = 0
    try:
        for _ in messages_in(body):
            found += 1
    except Malformed:
        pass
    return found


def hash_of(network, writer, incarnation, seq, first_message, flags, messages, body_hash):
    """The leaf of a segment, of which only the hash of the body is known."""
    text = b"smokesignal segment 1\0" + network + writer
    text += struct.pack(">QQQBI", incarnation, seq, first_message, flags, messages)
    return blake3(text + body_hash).digest()


def unix_time():
    """The seconds since 1970."""
    return int(time.time())


def seal_text(root, signed_at):
    return b"smokesignal seal 1\0" + root + struct.pack(">Q", signed_at)


def seal(signature, signed_at, proof):
    shape = len(proof) | sum(left << 3 + n for n, (_, left) in enumerate(proof))
    hashes = b"".join(other for other, _ in proof)
    return signature + varint(signed_at) + bytes([shape]) + hashes


def life_sign(key, network, incarnation, nonce, now=None):
    """What a writer answers to a challenge."""
    now = unix_time() if now is None else now
    signature = key.sign(life_text(network, incarnation, now, nonce))
    node_id = raw(key.public_key())
    return (node_id, incarnation, now, nonce, signature[:32], signature[32:])


def check_life_sign(network, sign):
    """Raises `Malformed` unless the writer has signed it."""
    writer, incarnation, now, nonce, first, second = sign
    verify(writer, first + second, life_text(network, incarnation, now, nonce))


def life_text(network, incarnation, now, nonce):
    return b"smokesignal alive 1\0" + network + struct.pack(">QQ", incarnation, now) + nonce


def tree(leaves):
    """The root over all leaves, and each leaf's proof: (hash, whether it is on the left)."""
    proofs = [[] for _ in leaves]
    level = [(hash_, [n]) for n, hash_ in enumerate(leaves)]
    while len(level) > 1:
        above = []
        for n in range(0, len(level) - 1, 2):
            (left, under_left), (right, under_right) = level[n : n + 2]
            for leaf_number in under_left:
                proofs[leaf_number].append((right, 0))
            for leaf_number in under_right:
                proofs[leaf_number].append((left, 1))
            above.append((joined(left, right), under_left + under_right))
        level = above + level[len(level) - len(level) % 2 :]
    return level[0][0], proofs
