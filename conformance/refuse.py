"""What docs/protocol.md refuses, and what it takes: cases against a node of this implementation.

A case does something to the node and says what is to follow: `@closed`, `@stays`, or `@checks`
where the case itself looks. Whether a connection stays is not found out by waiting: a question is
sent behind what the case has sent, and its answer, or the end of the connection, is the event.
"""

import json
import socket
import struct
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from connection import HELLO_BODY, HELLO_HEAD, HELLO_MAX, OPTIONAL
from tls13 import ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, Tls, TlsError, message
from wire import (
    BRIDGE,
    BUSY,
    BY_APPLICATION,
    CHANNEL,
    END,
    CREDIT,
    DATA,
    DATA_END,
    EXPLICIT,
    FIN,
    FIRST,
    FRAGMENT,
    HIGH,
    IPV4,
    KIND,
    LAST,
    LAYOUT,
    MAX_ADDRESS,
    MAX_BODY,
    MAX_MESSAGES,
    MAX_DATA,
    MAX_FRAME,
    MESSAGE,
    NEED,
    OPEN,
    QUERY,
    REFUSED,
    RESET,
    SIGNED,
    Beat,
    Malformed,
    Record,
    Segment,
    aged,
    check_life_sign,
    clock,
    decode,
    encode,
    frame,
    head,
    ip_address,
    joined,
    leaf,
    life_sign,
    raw,
    seal_text,
    unix_time,
    varint,
    verify,
)

NETWORK = bytes(32)


def hello(oldest=1, newest=1, body=bytes(HELLO_BODY), size=None):
    """A HELLO of a node without a secret; without `size` it says the true one."""
    return bytes([oldest, newest]) + struct.pack(">H", len(body) if size is None else size) + body


HELLO = hello()
# Nothing takes longer on a busy machine, timers apart.
PATIENCE = 20.0
AT_ONCE = 16
# What a TLS record adds to the data in it.
OVERHEAD = 5 + 1 + 16


class Program:
    """A node of this implementation."""

    def __init__(self, program):
        command = [program, "run", "--json", "--max-peers", "none"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, **pipes)
        listening = json.loads(self.process.stdout.readline())
        self.port, self.id = listening["port"], bytes.fromhex(listening["id"])
        self.events, self.news = [], threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self.process.stdout:
            with self.news:
                self.events.append(json.loads(line))
                self.news.notify_all()

    def say(self, **command):
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()

    def read_of(self, writer, last):
        """What the application was told of a writer, up to the message with the number `last`."""

        def told():
            found = []
            for event in self.events:
                if event.get("from") == writer.hex():
                    found.append((event["event"], event.get("seq", event.get("missed"))))
                if found and found[-1] == ("message", last):
                    return found
            return None

        with self.news:
            assert self.news.wait_for(told, PATIENCE), "message %d was not read" % last
            return told()

    def told(self, name, holds):
        """The first event of this name for which `holds`; waits for it."""

        def found():
            return next((e for e in self.events if e["event"] == name and holds(e)), None)

        with self.news:
            assert self.news.wait_for(found, PATIENCE), "no event %s" % name
            return found()

    def stop(self):
        self.process.kill()
        self.process.wait()


class Stranger:
    """One connection to the node, made by hand. With `link` it is a neighbour."""

    def __init__(self, program, hello=HELLO, link=True, key=None):
        self.program, self.key = program, key or Ed25519PrivateKey.generate()
        self.id = raw(self.key.public_key())
        self.is_link, self.ended, self.sent, self.pings = link, False, 0, True
        self.inbox, self.frames, self.got_hello = b"", [], False
        self.incarnation = int(time.time() * 1000)
        self.record = self.make_record()
        self.began = self.said = time.monotonic()
        self.socket = socket.create_connection(("127.0.0.1", program.port))
        self.tls = Tls(self.key, server=False)
        self.flush()
        self.until("the handshake", lambda: self.tls.done)
        if hello is not None:
            self.tls.write(hello)
            self.flush()
        if link:
            self.ask_for_link(EXPLICIT)
            self.until("Accept", lambda: self.said_to_us("Accept"))
            self.say("Active", clock())
            self.say("Digest", [], True)

    def ask_for_link(self, priority):
        self.say("Neighbor", self.record, self.incarnation, priority, None)

    # What is sent.

    def make_record(self, key=None, addresses=(ip_address(b"\x7f\0\0\1", 9),), network=NETWORK):
        return Record.sign(key or self.key, network, list(addresses), self.incarnation)

    def flush(self):
        self.said = time.monotonic()
        self.sent += len(self.tls.out)
        try:
            self.socket.sendall(bytes(self.tls.out))
        except OSError:
            self.ended = True
        self.tls.out.clear()

    def frame(self, kind, payload):
        self.tls.write(frame(kind, payload))
        self.flush()

    def stream(self, kind, number, rest=b""):
        self.frame(kind, struct.pack(">I", number) + rest)

    def open(self, number=1, name=b"direct"):
        self.stream(OPEN, number, name)

    def say(self, name, *values):
        self.frame(MESSAGE, encode(name, *values))

    def segment(self, seq, body=b"\5hello", first=None, flags=0, **wrong):
        """Sends a segment that is signed; `wrong` says in which way it is not right."""
        incarnation, key = wrong.get("incarnation", self.incarnation), wrong.get("key", self.key)
        hashes, flags = wrong.get("hashes", []), flags | wrong.get("sealed", SIGNED)
        name = (raw(key.public_key()), incarnation, seq, seq if first is None else first)
        root = leaf(wrong.get("network", NETWORK), *name, flags & ~SIGNED, body)
        for other in hashes:
            root = joined(root, other)
        signed_at = wrong.get("signed_at", unix_time())
        signature = key.sign(seal_text(root, signed_at) + wrong.get("behind", b""))
        shape = varint(signed_at) + bytes([wrong.get("shape", len(hashes))])
        seal = signature + shape + b"".join(hashes) if flags & SIGNED else b""
        handed = aged(head(flags, *name) + seal + body, *wrong.get("age", (0, clock())))
        self.frame(MESSAGE, handed)

    # What arrives.

    def said_to_us(self, name):
        """The values of all messages of this name so far."""
        payloads = [payload for kind, payload in self.frames if kind == MESSAGE]
        decoded = [decode(payload) for payload in payloads if payload[0] == 0]
        return [values for found, values in decoded if found == name]

    def of_streams(self, kind):
        return [payload for found, payload in self.frames if found == kind]

    def segments(self):
        payloads = [payload for kind, payload in self.frames if kind == MESSAGE]
        return [Segment(payload) for payload in payloads if payload[0] == 1]

    def until(self, what, holds, patience=PATIENCE):
        """Reads until `holds()`; fails if the connection ends, or time does."""
        self.read(holds, patience)
        assert holds(), "%s %s" % ("closed before" if self.ended else "never saw", what)

    def read(self, holds, patience=PATIENCE):
        deadline = time.monotonic() + patience
        while not self.ended and not holds() and time.monotonic() < deadline:
            if self.pings and self.got_hello and time.monotonic() - self.said > 1:
                self.say("Ping", 1, None, 0, [])
            self._read_some()

    def _read_some(self):
        self.socket.settimeout(0.1)
        try:
            data = self.socket.recv(65536)
            self.ended = not data
            self.inbox += b"".join(self.tls.feed(data))
            self.ended |= self.tls.closed
            if self.tls.out:
                self.flush()
        except TimeoutError:
            return
        except (OSError, TlsError):
            self.ended = True
        if not self.got_hello and len(self.inbox) >= HELLO_HEAD:
            size = HELLO_HEAD + int.from_bytes(self.inbox[2:4], "big")
            if len(self.inbox) >= size:
                self.got_hello, self.inbox = True, self.inbox[size:]
        while self.got_hello and len(self.inbox) >= 4:
            size = 4 + int.from_bytes(self.inbox[1:4], "big")
            if len(self.inbox) < size:
                return
            self.frames.append((self.inbox[0], self.inbox[4:size]))
            self.inbox = self.inbox[size:]

    def answered(self):
        """Whether the node has read all that was sent, and the connection is open."""
        if self.is_link:
            query = int.from_bytes(self.id[:7], "big") + len(self.frames)
            self.say("Find", query, self.program.id, 1)
            return self._answer(lambda: any(v[0] == query for v in self.said_to_us("Located")))
        known = len(self.said_to_us("Beacon"))
        self.say("Probe")
        return self._answer(lambda: len(self.said_to_us("Beacon")) > known)

    def _answer(self, holds):
        self.read(holds)
        assert self.ended or holds(), "neither closed nor answered"
        return not self.ended

    def closed_within(self, least, most):
        """Without a word from this side the connection is closed, after this many seconds."""
        self.pings = False
        self.read(lambda: False, most + PATIENCE)
        after = time.monotonic() - self.began
        assert self.ended and least <= after <= most, "closed after %.1f s" % after


# The cases. A function's docstring says more than its name.

CASES = []


def case(expected, link=True, hello=HELLO, alone=False):
    """`alone`: against a node of its own. It is called with the function of the case."""

    def add(function):
        CASES.append((function, expected, {"link": link, "hello": hello}, alone))
        return function

    return add


def closed(function=None, **how):
    return case("closed", **how)(function) if function else case("closed", **how)


def stays(function=None, **how):
    return case("stays", **how)(function) if function else case("stays", **how)


def checks(function=None, **how):
    return case("checked", **how)(function) if function else case("checked", **how)


# Section 1: TLS and HELLO.


@stays(hello=hello(newest=255))
def hello_of_a_node_that_speaks_later_versions_too(_):
    pass


@checks(link=False, hello=hello(2, 3))
def hello_of_later_versions_only(stranger):
    """Both sides know which node is to be upgraded: from HELLO, and the application by an event."""
    turned_away(stranger, 2, 3, "this")


@checks(link=False, hello=hello(0, 0, b"", 65535))
def hello_of_an_earlier_version(stranger):
    """Of its HELLO the head alone is understood."""
    turned_away(stranger, 0, 0, "other")


def turned_away(stranger, oldest, newest, upgrade):
    assert not stranger.answered(), "not closed"
    assert stranger.got_hello, "closed without a HELLO, which says why"
    theirs = {"oldest": oldest, "newest": newest}
    said = stranger.program.told("incompatible", lambda event: event["theirs"] == theirs)
    assert (said["address"], said["upgrade"]) == ("127.0.0.1", upgrade), said


@checks(link=False)
def a_dialled_node_of_later_versions_only(stranger):
    """The error of the command says which node is to be upgraded."""
    program, key = stranger.program, Ed25519PrivateKey.generate()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        port = server.getsockname()[1]
        program.say(cmd="add_peer", address="127.0.0.1", port=port)
        dialler, _ = server.accept()
    with dialler:
        dialler.settimeout(PATIENCE)
        tls = Tls(key, server=True)
        while not tls.done:
            list(tls.feed(dialler.recv(65536)))  # Its HELLO may be among it.
            dialler.sendall(bytes(tls.out))
            tls.out.clear()
        tls.write(hello(2, 3))
        dialler.sendall(bytes(tls.out))
        named = "127.0.0.1:%d is a node of another version" % port
        said = program.told("error", lambda event: named in event["message"])
    assert said["message"].endswith("upgrade this node"), said


@closed(link=False, hello=hello(2, 1))
def hello_of_an_impossible_range(_):
    pass


@closed(link=False, hello=hello(body=bytes(HELLO_BODY - 1)))
def hello_without_all_of_version_1(_):
    pass


@stays(hello=hello(body=bytes(HELLO_BODY) + b"\xff" * (HELLO_MAX - HELLO_BODY)))
def hello_with_more_than_version_1(_):
    """What is behind the known parts is ignored, up to 512 bytes in all."""


@closed(link=False, hello=hello(body=bytes(HELLO_MAX + 1)))
def hello_beyond_512_bytes(_):
    pass


@closed(link=False, hello=hello(body=b"\1" + bytes(HELLO_BODY - 1)))
def hello_with_a_secret_where_there_is_none(_):
    pass


@stays(hello=hello(body=b"\xfe" + b"\xff" * 8 + bytes(HELLO_BODY - 9)))
def hello_with_unknown_flags_and_features(_):
    """They are ignored."""


@closed(link=False, hello=hello(body=bytes(HELLO_BODY - 1) + b"\1"))
def hello_without_a_secret_is_zeros(_):
    pass


def hello_of(stranger, total):
    """HELLO and data of stream 0 in one record, with which the dialler has sent `total` bytes."""
    room = total - stranger.sent - OVERHEAD - len(HELLO) - 4
    stranger.tls.write(HELLO + frame(DATA_END, bytes(room)))
    stranger.flush()
    assert stranger.sent == total


@stays(link=False, hello=None)
def hello_within_4096_bytes(stranger):
    hello_of(stranger, 4096)


@closed(link=False, hello=None)
def hello_beyond_4096_bytes(stranger):
    hello_of(stranger, 4097)


@checks(link=False, hello=None)
def no_hello(stranger):
    stranger.closed_within(4, 8)


@checks(link=False)
def a_connection_that_is_no_link(stranger):
    stranger.closed_within(9, 13)


@checks
def a_silent_link(stranger):
    stranger.closed_within(2.5, 6)


@stays
def key_updates_32_in_a_row(stranger):
    for _ in range(32):
        stranger.tls.update_key(0)


@closed
def key_updates_33_in_a_row(stranger):
    for _ in range(33):
        stranger.tls.update_key(0)


@closed
def empty_records_33_in_a_row(stranger):
    for _ in range(33):
        stranger.tls.record(APPLICATION_DATA, b"")


@closed
def a_message_in_two_records(stranger):
    stranger.tls.record(HANDSHAKE, b"\x18\0\0")
    stranger.tls.record(HANDSHAKE, b"\1\0")


@closed
def two_key_updates_in_one_record(stranger):
    stranger.tls.record(HANDSHAKE, message(24, b"\0") * 2)


@closed
def a_key_update_with_request_2(stranger):
    stranger.tls.record(HANDSHAKE, message(24, b"\2"))


@checks
def a_key_update_is_answered_before_the_next_data(stranger):
    stranger.tls.update_key(1)
    assert stranger.answered()
    assert "key update 0" in stranger.tls.notes


@stays
def a_ticket(stranger):
    stranger.tls.record(HANDSHAKE, message(4, bytes(8) + b"\1\0" + b"\0\4abcd" + b"\0\0"))


@stays
def user_canceled(stranger):
    stranger.tls.record(ALERT, b"\1\x5a")


@closed
def another_alert(stranger):
    stranger.tls.record(ALERT, b"\1\x64")


@closed
def a_broken_record(stranger):
    stranger.socket.sendall(b"\x17\3\3\0\x20" + bytes(32))


@closed
def an_unencrypted_record(stranger):
    stranger.socket.sendall(bytes([ALERT]) + b"\3\3\0\2\1\0")


@closed
def change_cipher_spec_behind_the_handshake(stranger):
    stranger.socket.sendall(bytes([CHANGE_CIPHER_SPEC]) + b"\3\3\0\1\1")


PING = frame(MESSAGE, encode("Ping", 3, None, 0, [])) + bytes([APPLICATION_DATA])


@stays
def a_padded_record(stranger):
    stranger.tls.seal(PING + bytes(300))


@stays
def a_record_padded_to_the_limit(stranger):
    stranger.tls.seal(PING + bytes(16385 - len(PING)))


@closed
def a_record_beyond_the_limit(stranger):
    stranger.tls.seal(bytes(16385) + bytes([APPLICATION_DATA]))


@closed
def a_record_without_a_kind(stranger):
    stranger.tls.seal(bytes(10))


@closed
def a_record_of_kind_24(stranger):
    stranger.tls.seal(b"x\x18")


@stays
def the_version_of_a_record_is_ignored(stranger):
    stranger.tls.seal(PING, b"\3\1")


@stays
def a_frame_byte_by_byte(stranger):
    for byte in PING[:-1]:
        stranger.tls.record(APPLICATION_DATA, bytes([byte]))


@closed
def nothing_is_read_behind_close_notify(stranger):
    stranger.tls.record(ALERT, b"\1\0")


# Section 2: frames and streams.


@closed
def a_frame_of_kind_10(stranger):
    stranger.frame(10, b"\0\0\0\1")


@closed
def a_frame_of_kind_127(stranger):
    """The last one that is not optional."""
    stranger.frame(127, b"")


@stays
def optional_frames_of_unknown_kinds(stranger):
    for kind in (OPTIONAL + 1, 200, 255):
        stranger.frame(kind, b"")
        stranger.frame(kind, bytes(MAX_FRAME))


@closed
def an_optional_frame_beyond_the_limit(stranger):
    stranger.tls.write(bytes([OPTIONAL + 1]) + (MAX_FRAME + 1).to_bytes(3, "big"))


@stays
def optional_messages_that_are_unknown(stranger):
    stranger.frame(OPTIONAL, b"\0" + varint(100) + b"anything")
    stranger.frame(OPTIONAL, b"\0" + varint(1 << 40))
    stranger.frame(OPTIONAL, b"\3" + b"anything")


@checks
def an_optional_message_that_is_known_counts(stranger):
    stranger.frame(OPTIONAL, encode("Find", 7, stranger.program.id, 1))
    stranger.until("Located", lambda: stranger.said_to_us("Located"))


@closed
def an_optional_message_that_is_known_and_malformed(stranger):
    stranger.frame(OPTIONAL, encode("Find", 7, stranger.program.id, 1)[:-1])


@closed
def an_empty_optional_message(stranger):
    stranger.frame(OPTIONAL, b"")


@closed
def a_frame_beyond_the_limit(stranger):
    stranger.tls.write(bytes([MESSAGE]) + (MAX_FRAME + 1).to_bytes(3, "big"))


@closed
def data_of_a_stream_that_was_never_opened(stranger):
    stranger.stream(DATA, 7, b"abc")


@checks
def a_name_that_nobody_accepts(stranger):
    """RESET refused; what comes later is dropped."""
    stranger.open(name=b"nobody")
    stranger.stream(DATA, 1, b"abc")
    stranger.stream(FIN, 1)
    stranger.until("a RESET", lambda: stranger.of_streams(RESET))
    assert stranger.answered()
    assert stranger.of_streams(RESET) == [b"\0\0\0\1" + bytes([REFUSED])]


@closed
def open_with_a_number_of_the_other_side(stranger):
    stranger.open(2)


@closed
def open_with_a_falling_number(stranger):
    stranger.open(5)
    stranger.open(3)


@stays
def open_with_a_gap(stranger):
    stranger.open(1)
    stranger.open(101)


@stays
def a_number_that_was_skipped_is_over(stranger):
    stranger.open(5)
    stranger.stream(DATA, 3, b"abc")
    stranger.stream(FIN, 3)


@closed
def open_with_stream_0(stranger):
    stranger.open(0)


@closed
def a_name_of_256_bytes(stranger):
    stranger.open(name=b"n" * 256)


@closed
def a_name_that_is_not_utf8(stranger):
    stranger.open(name=b"\xff\xfe")


@stays(link=False)
def a_stream_on_a_connection_that_is_no_link(stranger):
    stranger.open()
    stranger.stream(DATA_END, 1, b"hi")
    stranger.until("CREDIT", lambda: stranger.of_streams(CREDIT))


@stays
def data_of_16384_bytes(stranger):
    stranger.open()
    stranger.stream(DATA, 1, bytes(MAX_DATA))


@closed
def data_of_16385_bytes(stranger):
    stranger.open()
    stranger.stream(DATA, 1, bytes(MAX_DATA + 1))


@closed
def credit_of_three_bytes(stranger):
    stranger.stream(CREDIT, 0, b"\0\0\1")


@closed
def fin_with_data(stranger):
    stranger.open()
    stranger.stream(FIN, 1, b"x")


@closed
def reset_with_an_unknown_code(stranger):
    stranger.open()
    stranger.stream(RESET, 1, b"\3")


@closed
def reset_refused_with_a_text(stranger):
    stranger.open()
    stranger.stream(RESET, 1, bytes([REFUSED]) + b"why")


@closed
def reset_busy_with_a_text(stranger):
    stranger.open()
    stranger.stream(RESET, 1, bytes([BUSY]) + b"why")


@stays
def reset_with_a_text_of_255_bytes(stranger):
    stranger.open()
    stranger.stream(RESET, 1, bytes([BY_APPLICATION]) + b"n" * 255)


@closed
def reset_with_a_text_of_256_bytes(stranger):
    stranger.open()
    stranger.stream(RESET, 1, bytes([BY_APPLICATION]) + b"n" * 256)


@closed
def data_beyond_the_credit(stranger):
    stranger.open()
    stranger.tls.write(frame(DATA, b"\0\0\0\1" + bytes(MAX_DATA)) * 400)


@closed
def a_byte_of_data_costs_64(stranger):
    stranger.open()
    stranger.tls.write(frame(DATA, b"\0\0\0\1x") * 1800)


@closed
def data_after_fin(stranger):
    """Of stream 0: others may be over by then, and what comes for those is dropped."""
    stranger.stream(FIN, 0)
    stranger.stream(DATA, 0, b"abc")


@closed
def a_second_fin(stranger):
    stranger.stream(FIN, 0)
    stranger.stream(FIN, 0)


@stays
def credit_up_to_4_mib(stranger):
    """Stream 0 has 256 KiB from the beginning."""
    stranger.stream(CREDIT, 0, struct.pack(">I", (4 << 20) - (256 << 10)))


@closed
def credit_beyond_4_mib(stranger):
    stranger.stream(CREDIT, 0, struct.pack(">I", (4 << 20) - (256 << 10) + 1))


@stays
def fin_of_stream_0(stranger):
    stranger.stream(FIN, 0)


@stays
def reset_of_stream_0(stranger):
    stranger.stream(RESET, 0, bytes([REFUSED]))


@checks
def more_streams_than_are_taken(stranger):
    """The others are refused with `busy`."""
    for number in range(1, 2201, 2):
        stranger.open(number)
    stranger.until("a RESET", lambda: stranger.of_streams(RESET))
    assert stranger.answered()
    assert {payload[4] for payload in stranger.of_streams(RESET)} == {BUSY}


# Section 3: messages.


@closed
def a_message_of_kind_2(stranger):
    stranger.frame(MESSAGE, b"\2abc")


@closed
def an_empty_message(stranger):
    stranger.frame(MESSAGE, b"")


@closed
def an_unknown_control_message(stranger):
    stranger.frame(MESSAGE, b"\0" + varint(len(LAYOUT)))


@closed
def bytes_behind_a_message(stranger):
    stranger.frame(MESSAGE, encode("Ping", 1, None, 0, []) + b"\0")


@closed
def half_a_message(stranger):
    stranger.frame(MESSAGE, encode("Ping", 1, None, 0, [])[:-1])


@closed
def a_bool_of_2(stranger):
    stranger.frame(MESSAGE, b"\0\x14\0\1\2")


@stays
def a_varint_need_not_be_the_shortest(stranger):
    stranger.frame(MESSAGE, b"\0\x0c\x81\0\0\0\0")


@closed
def a_u16_of_70000(stranger):
    stranger.frame(MESSAGE, b"\0\x0c" + varint(70000) + b"\0\0\0")


@closed
def marks_257(stranger):
    stranger.say("Digest", [(stranger.id, 1, 0, 1, 1, 1)] * 257, None)


@closed
def records_33(stranger):
    stranger.say("Refuse", [stranger.record] * 33)


@closed
def reports_9(stranger):
    stranger.say("Ping", 1, None, 0, [(seed, True, 0, None, 1) for seed in range(9)])


@closed
def priority_5(stranger):
    stranger.ask_for_link(BRIDGE + 1)


@closed
def disconnect_reason_5(stranger):
    stranger.say("Disconnect", 5, [])


@stays
def the_highest_degree(stranger):
    stranger.say("Ping", 65535, None, 0, [])


@closed
def a_segment_without_a_signature(stranger):
    stranger.segment(1, sealed=0)


@closed
def a_segment_with_a_wrong_signature(stranger):
    stranger.segment(1, behind=b"x")


@closed
def a_segment_of_another_network(stranger):
    stranger.segment(1, network=bytes([255]) * 32)


@checks
def a_segment_is_read(stranger):
    stranger.segment(1)
    assert stranger.program.read_of(stranger.id, 1) == [("message", 1)]


@stays(link=False)
def a_segment_counts_between_neighbours_only(stranger):
    stranger.segment(1, sealed=0)


@stays(link=False)
def digests_count_between_neighbours_only(stranger):
    stranger.say("Digest", [(stranger.id, stranger.incarnation, 1, 1, 1, 2)], True)
    stranger.say("Graft", [(stranger.id, 1, 1, False)])
    stranger.say("Prune", stranger.id, 1)


@stays
def the_signature_of_a_known_segment_is_not_looked_at(stranger):
    stranger.segment(1)
    stranger.segment(1, behind=b"x")


@stays
def the_signature_of_a_later_segment_is_not_looked_at(stranger):
    stranger.segment(1)
    stranger.segment(9, behind=b"x")
    stranger.segment(9, sealed=0)


@closed
def segment_0(stranger):
    stranger.segment(0, first=1)


@closed
def segment_2_to_the_62(stranger):
    stranger.segment(1 << 62, first=1)


@closed
def incarnation_0(stranger):
    stranger.segment(1, incarnation=0)


@checks
def a_recording_is_read_once_its_writer_has_signed_a_number(stranger):
    key = Ed25519PrivateKey.generate()
    writer = raw(key.public_key())
    stranger.segment(1, key=key, signed_at=1000)
    stranger.until("a challenge", lambda: stranger.said_to_us("Challenge"))
    asked, nonce = stranger.said_to_us("Challenge")[0]
    assert asked == writer, asked.hex()
    # A sign of somebody else changes nothing, and closes nothing.
    stranger.say("Alive", life_sign(stranger.key, NETWORK, stranger.incarnation, nonce))
    assert stranger.answered(), "closed"
    stranger.say("Alive", life_sign(key, NETWORK, stranger.incarnation, nonce))
    grafts = lambda: [ask for (asks,) in stranger.said_to_us("Graft") for ask in asks]
    stranger.until("a graft", lambda: any(ask[0] == writer for ask in grafts()))
    stranger.segment(1, key=key, signed_at=1000)
    assert stranger.program.read_of(writer, 1) == [("message", 1)]


@closed
def a_forged_sign_of_life(stranger):
    key = Ed25519PrivateKey.generate()
    stranger.segment(1, key=key, signed_at=1000)
    stranger.until("a challenge", lambda: stranger.said_to_us("Challenge"))
    _, nonce = stranger.said_to_us("Challenge")[0]
    sign = life_sign(key, NETWORK, stranger.incarnation, nonce)
    stranger.say("Alive", (*sign[:2], sign[2] + 1, *sign[3:]))


@checks
def a_neighbour_with_a_wrong_clock_is_read(stranger):
    stranger.segment(1, signed_at=0)
    stranger.segment(2, signed_at=1 << 60)
    told = stranger.program.read_of(stranger.id, 2)
    assert told == [("message", 1), ("message", 2)], told


@checks
def a_challenge_is_answered(stranger):
    nonce = bytes(range(16))
    stranger.say("Challenge", stranger.program.id, nonce)
    stranger.until("an answer", lambda: stranger.said_to_us("Alive"))
    (sign,) = stranger.said_to_us("Alive")[0]
    check_life_sign(NETWORK, sign)
    assert (sign[0], sign[3]) == (stranger.program.id, nonce)
    assert abs(sign[2] - time.time()) < 60, sign[2]


@checks
def segments_of_unknown_kinds_are_neither_read_nor_a_gap(stranger):
    stranger.segment(1)
    stranger.segment(2, flags=12 << KIND)
    stranger.segment(3, flags=15 << KIND, body=b"\0\0\0")
    stranger.segment(4, first=6)
    stranger.segment(5, first=7, flags=9 << KIND | FRAGMENT | FIRST, body=b"large")
    stranger.segment(6, first=7, flags=9 << KIND | FRAGMENT | LAST, body=b"large")
    stranger.segment(7, first=8)
    told = stranger.program.read_of(stranger.id, 8)
    assert told == [("message", 1), ("message", 6), ("message", 8)], told


@checks(alone=True)
def a_segment_of_an_unknown_kind_is_passed_on_as_it_is(stranger):
    other = Stranger(stranger.program)
    try:
        assert other.answered(), "the other one is no neighbour"
        stranger.segment(1, flags=9 << KIND)
        other.until("the segment", other.segments)
        segment = other.segments()[0]
        assert (segment.writer, segment.flags) == (stranger.id, 9 << KIND | SIGNED)
        verify(stranger.id, segment.signature, seal_text(segment.root(NETWORK), segment.signed_at))
    finally:
        other.socket.close()


@checks(alone=True)
def the_age_of_a_segment_grows_on_its_way(stranger):
    other = Stranger(stranger.program)
    try:
        assert other.answered(), "the other one is no neighbour"
        stranger.segment(1, age=(5_000, clock()))
        # 20 s older when it comes, by a clock that has gone on since the first one, which may have
        # been some milliseconds longer on its way.
        stranger.segment(2, age=(0, clock() - 20_000))
        other.until("the segments", lambda: len(other.segments()) == 2)
        ages = [segment.age for segment in other.segments()]
        assert 5_000 <= ages[0] < 15_000 and 19_000 <= ages[1] < 30_000, ages
    finally:
        other.socket.close()
    read = [stranger.program.told("message", lambda event, n=n: event["seq"] == n) for n in (1, 2)]
    ages = [event["age_ms"] for event in read]
    assert 5_000 <= ages[0] < 15_000 and 19_000 <= ages[1] < 30_000, ages


@checks
def the_first_segment_of_a_link_is_compared_with_what_made_the_link(stranger):
    """As if the program had been frozen for 20 s with the segment in front of it."""
    stranger.segment(1, age=(0, clock() - 20_000))
    me = stranger.id.hex()
    event = stranger.program.told("message", lambda event: event["from"] == me)
    assert 19_000 <= event["age_ms"] < 30_000, event


@checks
def an_age_beyond_all_bounds_is_a_day(stranger):
    most = (1 << 64) - 1
    for seq, age in enumerate([(most, most), (0, 0), (most, 0), (0, most)], 1):
        stranger.segment(seq, age=age)
    stranger.program.read_of(stranger.id, 4)
    me = stranger.id.hex()
    event = stranger.program.told("message", lambda event: event["from"] == me)
    # A day, and what it has waited for this program.
    assert 86_400_000 <= event["age_ms"] < 86_460_000, event


@closed
def an_age_that_is_no_number(stranger):
    stranger.frame(MESSAGE, b"\1" + b"\xff" * 11)


@closed
def a_segment_of_an_unknown_kind_with_a_wrong_signature(stranger):
    stranger.segment(1, flags=9 << KIND, behind=b"!")


@closed
def a_segment_of_an_unknown_kind_that_is_not_made_of_messages(stranger):
    stranger.segment(1, flags=9 << KIND, body=b"\x09hello")


@closed
def an_end_that_is_not_empty(stranger):
    stranger.segment(1, flags=END << KIND, body=b"\1a")


@closed
def two_ends_in_one_segment(stranger):
    stranger.segment(1, flags=END << KIND, body=b"\0\0")


@closed
def a_piece_of_an_end(stranger):
    stranger.segment(1, flags=END << KIND | FRAGMENT | FIRST, body=b"")


@checks
def the_end_of_a_stream_is_told_once_and_answered_with_a_mark(stranger):
    stranger.segment(1)
    stranger.segment(2, flags=END << KIND, body=b"\0")
    stranger.segment(3, flags=END << KIND, body=b"\0")
    marks = lambda: [mark for marks, _ in stranger.said_to_us("Digest") for mark in marks]
    answered = lambda: any(mark[0] == stranger.id and mark[2] >= 2 for mark in marks())
    stranger.until("the answer to an end", answered)
    stranger.segment(4)
    told = stranger.program.read_of(stranger.id, 4)
    assert told == [("message", 1), ("end", None), ("message", 4)], told


@stays
def a_query_with_its_number(stranger):
    stranger.segment(1, flags=QUERY << KIND, body=b"\x0812345678")


@closed
def a_query_of_7_bytes(stranger):
    stranger.segment(1, flags=QUERY << KIND, body=b"\x071234567")


@closed
def a_query_whose_first_piece_has_7_bytes(stranger):
    stranger.segment(1, flags=QUERY << KIND | FRAGMENT | FIRST, body=b"1234567")


@closed
def a_channel_whose_name_is_cut_off(stranger):
    stranger.segment(1, flags=CHANNEL << KIND, body=b"\4\4one")


@closed
def a_channel_without_a_name(stranger):
    stranger.segment(1, flags=CHANNEL << KIND, body=b"\5\0text")


@checks
def the_application_is_given_its_own_kind_of_messages_only(stranger):
    stranger.segment(1)
    stranger.segment(2, flags=CHANNEL << KIND, body=b"\6\4chath")
    stranger.segment(3)
    told = stranger.program.read_of(stranger.id, 3)
    assert told == [("message", 1), ("message", 3)], told


@checks
def a_message_whose_pieces_are_of_two_kinds_is_a_gap(stranger):
    stranger.segment(1, flags=FRAGMENT | FIRST, body=b"12345678")
    stranger.segment(2, first=1, flags=QUERY << KIND | FRAGMENT | LAST, body=b"who")
    stranger.segment(3, first=2)
    told = stranger.program.read_of(stranger.id, 2)
    assert told == [("gap", 1), ("message", 2)], told


@closed
def the_last_piece_of_no_fragment(stranger):
    stranger.segment(1, flags=LAST)


@stays
def a_seal_of_4_hashes(stranger):
    stranger.segment(1, hashes=[bytes(32)] * 4)


@closed
def a_seal_of_5_hashes(stranger):
    stranger.segment(1, hashes=[bytes(32)] * 5)


@closed
def a_seal_with_a_bit_too_many(stranger):
    stranger.segment(1, shape=8)


@closed
def a_segment_without_a_message(stranger):
    stranger.segment(1, body=b"")


@closed
def a_message_longer_than_its_segment(stranger):
    stranger.segment(1, body=b"\x09hello")


@stays
def a_body_of_65536_bytes(stranger):
    stranger.segment(1, flags=FRAGMENT | FIRST, body=bytes(MAX_BODY))


@closed
def a_body_of_65537_bytes(stranger):
    stranger.segment(1, flags=FRAGMENT | FIRST, body=bytes(MAX_BODY + 1))


@stays
def a_segment_of_4096_messages(stranger):
    stranger.segment(1, body=bytes(MAX_MESSAGES))


@closed
def a_segment_of_4097_messages(stranger):
    stranger.segment(1, body=bytes(MAX_MESSAGES + 1))


@checks
def a_later_segment_is_dropped(stranger):
    stranger.segment(1)
    stranger.segment(3)
    stranger.segment(2)
    stranger.segment(3)
    told = stranger.program.read_of(stranger.id, 3)
    assert told == [("message", 1), ("message", 2), ("message", 3)], told


@checks
def numbers_that_were_left_out_are_a_gap(stranger):
    stranger.segment(1)
    stranger.segment(2, first=7)
    told = stranger.program.read_of(stranger.id, 7)
    assert told == [("message", 1), ("gap", 5), ("message", 7)], told


@checks
def a_message_that_was_read_is_dropped_and_its_segment_counts(stranger):
    stranger.segment(1, first=10)
    stranger.segment(2, first=3)
    stranger.segment(3, first=11)
    told = stranger.program.read_of(stranger.id, 11)
    assert told == [("gap", 9), ("message", 10), ("message", 11)], told


@checks
def of_two_segments_with_one_number_the_first_counts(stranger):
    stranger.segment(1)
    stranger.segment(1, body=b"\1a\1b")
    stranger.segment(2)
    told = stranger.program.read_of(stranger.id, 2)
    assert told == [("message", 1), ("message", 2)], told


@checks
def first_and_last_piece_in_one(stranger):
    stranger.segment(1, flags=FRAGMENT | FIRST | LAST, body=b"abc")
    stranger.segment(2)
    told = stranger.program.read_of(stranger.id, 2)
    assert told == [("message", 1), ("message", 2)], told


@checks
def a_piece_without_the_first_is_a_gap(stranger):
    stranger.segment(1, flags=FRAGMENT, body=b"abc")
    stranger.segment(2, first=1, flags=FRAGMENT | LAST, body=b"def")
    stranger.segment(3, first=2)
    told = stranger.program.read_of(stranger.id, 2)
    assert told == [("gap", 1), ("message", 2)], told


@checks
def a_first_piece_without_the_rest_is_a_gap(stranger):
    stranger.segment(1, flags=FRAGMENT | FIRST, body=b"abc")
    stranger.segment(2)
    told = stranger.program.read_of(stranger.id, 2)
    assert told == [("gap", 1), ("message", 2)], told


@closed
def a_beat_with_a_wrong_signature(stranger):
    key = smaller_than(stranger.program.id)
    beat = Beat.sign(key, bytes([255]) * 32, stranger.incarnation, 1, 1, [])
    stranger.say("Beacon", beat, 0, 0)


def smaller_than(node_id):
    """A key whose id is smaller: a root that is worse than the node's own is not looked at."""
    while raw((key := Ed25519PrivateKey.generate()).public_key()) >= node_id:
        pass
    return key


@closed
def a_beat_with_9_seeds(stranger):
    seeds = [(seed, 0, 0) for seed in range(9)]
    beat = Beat.sign(stranger.key, NETWORK, stranger.incarnation, 1, 1, seeds)
    stranger.say("Beacon", beat, 0, 0)


NOBODY = bytes(31) + b"\1"


@stays
def a_mark_with_a_floor_beyond_the_end_is_ignored(stranger):
    stranger.say("Digest", [(NOBODY, 1, 5, 9, 1, 1)], None)


@stays
def a_mark_with_numbers_out_of_range_is_ignored(stranger):
    stranger.say("Digest", [(NOBODY, 1, *[2**64 - 1] * 4)], None)


@checks
def a_higher_incarnation_of_the_node_itself_is_a_claim(stranger):
    stranger.say("Digest", [(stranger.program.id, 1 << 60, 5, 1, 1, 6)], None)
    assert stranger.answered()
    asked = [writer for (asks,) in stranger.said_to_us("Graft") for writer, *_ in asks]
    assert stranger.program.id not in asked


# Section 4: records.


@closed
def the_record_of_another_in_join(stranger):
    stranger.say("Join", stranger.make_record(Ed25519PrivateKey.generate()), 1)


@closed
def the_record_of_another_in_neighbor(stranger):
    record = stranger.make_record(Ed25519PrivateKey.generate())
    stranger.say("Neighbor", record, 1, HIGH, None)


@closed
def a_record_with_a_wrong_signature(stranger):
    stranger.say("Join", stranger.make_record(network=bytes([255]) * 32), 1)


@closed
def a_wrong_record_of_a_third_node(stranger):
    third = Ed25519PrivateKey.generate()
    stranger.say("Refuse", [stranger.make_record(third, network=bytes([255]) * 32)])


@stays
def a_record_without_an_address(stranger):
    stranger.say("Join", stranger.make_record(addresses=[]), 1)


@closed
def a_record_with_5_addresses(stranger):
    addresses = [ip_address(b"\x7f\0\0\1", port) for port in range(1, 6)]
    stranger.say("Join", stranger.make_record(addresses=addresses), 1)


@closed
def an_address_of_ip_with_a_byte_too_many(stranger):
    address = (IPV4, b"\x7f\0\0\1\0\x09\0")
    stranger.say("Join", stranger.make_record(addresses=[address]), 1)


@checks(alone=True)
def addresses_of_unknown_kinds_are_passed_on(stranger):
    """The only other neighbour gets the walk, with the record as it was signed."""
    addresses = [(200, b"x" * MAX_ADDRESS), ip_address(b"\x7f\0\0\1", 9)]
    addresses += [(kind, b"") for kind in (2, 100, 255)]
    record = stranger.make_record(addresses=addresses)
    other = Stranger(stranger.program)

    def passed_on():
        return [found for _, _, found in other.said_to_us("Walk") if found.id == stranger.id]

    try:
        assert other.answered(), "the other one is no neighbour"
        stranger.say("Walk", 7, 3, record)
        other.until("the walk", passed_on)
        assert passed_on()[0].encode() == record.encode()
        passed_on()[0].verify(NETWORK)
    finally:
        other.socket.close()


@closed
def addresses_of_unknown_kinds_beyond_4(stranger):
    addresses = [(200, b"x")] * 5
    stranger.say("Join", stranger.make_record(addresses=addresses), 1)


@closed
def an_address_of_97_bytes(stranger):
    addresses = [(200, b"x" * (MAX_ADDRESS + 1))]
    stranger.say("Join", stranger.make_record(addresses=addresses), 1)


@closed
def an_address_of_an_unknown_kind_is_signed(stranger):
    record = stranger.make_record(addresses=[(200, b"x")])
    record.addresses = [(200, b"y")]
    stranger.say("Join", record, 1)


# Section 5: flows.


@stays
def accept_that_was_not_asked_for(stranger):
    stranger.say("Accept", stranger.record, stranger.incarnation, clock())


@stays(link=False)
def active_without_accept(stranger):
    stranger.say("Active", clock())


@checks
def neighbor_over_a_link(stranger):
    """It is not answered again."""
    stranger.ask_for_link(HIGH)
    assert stranger.answered()
    assert len(stranger.said_to_us("Accept")) == 1 and not stranger.said_to_us("Refuse")


@checks(link=False)
def neighbor_after_streams(stranger):
    """It is not answered."""
    stranger.say("Streams")
    stranger.ask_for_link(EXPLICIT)
    assert stranger.answered()
    assert not stranger.said_to_us("Accept") and not stranger.said_to_us("Refuse")


@checks(link=False)
def a_walk_is_heeded_from_links_only(stranger):
    stranger.say("Walk", 77, 0, stranger.record)
    assert stranger.answered()
    assert not stranger.said_to_us("Offer")


@checks
def a_pair_whose_user_has_closed_the_link_stays_apart(stranger):
    """Except if a user asks for the link."""
    assert stranger.answered(), "it is no link"
    stranger.program.say(cmd="close_peer", id=stranger.id.hex())
    stranger.read(lambda: False)
    assert [values[0] for values in stranger.said_to_us("Disconnect")] == [3]
    again = Stranger(stranger.program, link=False, key=stranger.key)
    again.ask_for_link(NEED)
    again.until("Refuse", lambda: again.said_to_us("Refuse"))
    again.ask_for_link(EXPLICIT)
    again.until("Accept", lambda: again.said_to_us("Accept"))
    again.socket.close()


@checks
def disconnect_is_answered_by_an_end_in_good_order(stranger):
    stranger.say("Disconnect", 0, [])
    stranger.read(lambda: False)
    assert stranger.ended and stranger.tls.closed


@checks
def a_search_is_answered_once(stranger):
    for query in (5, 6, 5):
        stranger.say("Find", query, stranger.program.id, 20)
    assert stranger.answered()
    assert [values[0] for values in stranger.said_to_us("Located")][:2] == [5, 6]
    assert len(stranger.said_to_us("Located")) == 3


@checks(alone=True)
def a_pruned_stream_is_only_told_of(stranger):
    own = stranger.program.id
    stranger.program.say(cmd="broadcast", data="one")
    stranger.until("a segment", lambda: stranger.segments())
    stranger.say("Prune", own, stranger.segments()[0].incarnation)
    assert stranger.answered()
    stranger.program.say(cmd="broadcast", data="two")
    digests = lambda: [mark for marks, _ in stranger.said_to_us("Digest") for mark in marks]
    stranger.until("a digest", lambda: any(m[0] == own and m[2] == 2 for m in digests()))
    assert len(stranger.segments()) == 1


@checks(link=False, alone=True)
def a_lonely_node_joins_through_its_caller_ever_more_rarely(stranger):
    """0.25 s doubling: 0.25, 0.5, 1 and 2 s lie between five Joins."""
    stranger.until("Join", lambda: stranger.said_to_us("Join"))
    began = time.monotonic()
    stranger.until("five Joins", lambda: len(stranger.said_to_us("Join")) >= 5)
    took = time.monotonic() - began
    assert took >= 3.5, "five within %.1f s" % took


def outcome(stranger, function):
    """What has become of the connection."""
    function(stranger)
    stranger.flush()
    return "stays" if stranger.answered() else "closed"


def try_case(program, function, expected, how):
    """The failure of one case, or None."""
    try:
        stranger = Stranger(program, **how)
    except AssertionError as failure:
        return "no connection: %s" % failure
    try:
        if expected == "checked":
            function(stranger)
            return None
        found = outcome(stranger, function)
        return None if found == expected else "expected %s, found %s" % (expected, found)
    except (AssertionError, Malformed, OSError) as failure:
        return "%s: %s" % (type(failure).__name__, failure)
    finally:
        stranger.socket.close()


def run(path, names=()):
    """Tries all cases, or those named; returns how many there were, and the failures."""
    shared = Program(path)

    def one(case):
        function, expected, how, alone = case
        program = Program(path) if alone else shared
        try:
            return function.__name__, try_case(program, function, expected, how)
        finally:
            if alone:
                program.stop()

    cases = [case for case in CASES if not names or case[0].__name__ in names]
    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            results = list(pool.map(one, cases))
    finally:
        shared.stop()
    return len(cases), [(name, failure) for name, failure in results if failure]
