"""TLS 1.3 with raw public keys (RFC 8446, RFC 7250), as far as docs/protocol.md, section 1, needs it.

Both roles, ed25519 and x25519 only, without I/O: `Tls.feed` takes what the socket has read and
yields data, and `Tls.out` is to be written to the socket. A fault of the other side is a
`TlsError`. One message of the handshake follows another; `Tls.stage` is the one that is expected.
"""

import hashlib
import hmac
import os
import struct

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from wire import raw

# An ed25519 SubjectPublicKeyInfo is this and the 32 bytes of the key.
SPKI = bytes.fromhex("302a300506032b6570032100")
# Hash, size of the key, cipher; in the order in which a dialler offers them.
SUITES = {
    0x1302: ("sha384", 32, AESGCM),
    0x1301: ("sha256", 16, AESGCM),
    0x1303: ("sha256", 32, ChaCha20Poly1305),
}
X25519 = struct.pack(">H", 29)
ED25519 = b"\x08\x07"
VERSION = b"\x03\x04"
RAW_PUBLIC_KEY = b"\x02"
ALPN = b"smokesignal"
SERVER_NAME = b"smokesignal"

# Records.
CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA = 20, 21, 22, 23
MAX_PLAIN, MAX_SEALED = 16384, 16384 + 256
CLOSE_NOTIFY, USER_CANCELED = 0, 90

# Handshake messages.
CLIENT_HELLO, SERVER_HELLO, NEW_SESSION_TICKET, ENCRYPTED_EXTENSIONS = 1, 2, 4, 8
CERTIFICATE, CERTIFICATE_REQUEST, CERTIFICATE_VERIFY, FINISHED, KEY_UPDATE = 11, 13, 15, 20, 24

# Extensions.
EXT_SERVER_NAME, EXT_GROUPS, EXT_SIGNATURES, EXT_ALPN = 0, 10, 13, 16
EXT_CLIENT_CERTIFICATE, EXT_SERVER_CERTIFICATE, EXT_VERSIONS, EXT_KEY_SHARE = 19, 20, 43, 51

# The `random` of a ServerHello that asks for another key share.
HELLO_RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")


class TlsError(Exception):
    """The other side broke the rules, or ended the connection with an alert."""


def vector(size, data):
    """`data` after its length in `size` bytes."""
    return len(data).to_bytes(size, "big") + data


def extension(kind, data):
    return struct.pack(">H", kind) + vector(2, data)


def extensions(data):
    found, at = {}, 0
    while at < len(data):
        kind, size = struct.unpack_from(">HH", data, at)
        found[kind] = data[at + 4 : at + 4 + size]
        at += 4 + size
    return found


def message(kind, body):
    return bytes([kind]) + vector(3, body)


def expand_label(hash_name, secret, label, context, size):
    """HKDF-Expand-Label of RFC 8446, section 7.1."""
    info = struct.pack(">H", size) + vector(1, b"tls13 " + label) + vector(1, context)
    out = block = b""
    while len(out) < size:
        block = hmac.digest(secret, block + info + bytes([len(out) // len(secret) + 1]), hash_name)
        out += block
    return out[:size]


class Keys:
    """One direction's key, and the number of the next record."""

    def __init__(self, suite, secret):
        self.hash_name, size, cipher = SUITES[suite]
        self.suite, self.secret, self.number = suite, secret, 0
        self.cipher = cipher(expand_label(self.hash_name, secret, b"key", b"", size))
        self.iv = int.from_bytes(expand_label(self.hash_name, secret, b"iv", b"", 12), "big")

    def nonce(self):
        self.number += 1
        return (self.iv ^ (self.number - 1)).to_bytes(12, "big")

    def updated(self):
        size = len(self.secret)
        secret = expand_label(self.hash_name, self.secret, b"traffic upd", b"", size)
        return Keys(self.suite, secret)


class Tls:
    """One end of a connection. `expect` is the id of the node that a dialler wants to meet."""

    def __init__(self, key, server, expect=None):
        self.key, self.server, self.expect = key, server, expect
        self.out, self.inbox, self.handshake_bytes = bytearray(), bytearray(), bytearray()
        self.transcript = b""
        self.read_keys = self.write_keys = None
        self.peer, self.done, self.closed = None, False, False
        # What the other side has said beside data, for tests.
        self.notes = []
        self.stage = CLIENT_HELLO if server else SERVER_HELLO
        if not server:
            self.share = X25519PrivateKey.generate()
            self._say(CLIENT_HELLO, self._client_hello())

    # Records.

    def record(self, kind, data):
        """Appends a record to `out`."""
        if self.write_keys is None:
            self.out += bytes([kind]) + b"\x03\x03" + vector(2, data)
        else:
            self.seal(data + bytes([kind]))

    def seal(self, inner, version=b"\x03\x03"):
        """Appends an encrypted record with this content, its kind and padding included."""
        head = bytes([APPLICATION_DATA]) + version + struct.pack(">H", len(inner) + 16)
        sealed = self.write_keys.cipher.encrypt(self.write_keys.nonce(), inner, head)
        self.out += head + sealed

    def write(self, data):
        for at in range(0, len(data), MAX_PLAIN):
            self.record(APPLICATION_DATA, bytes(data[at : at + MAX_PLAIN]))

    def close(self):
        if not self.closed and self.done:
            self.record(ALERT, bytes([1, CLOSE_NOTIFY]))

    def update_key(self, ask):
        """Takes the next key for this direction; `ask` = 1 asks the other side to do the same."""
        self.record(HANDSHAKE, message(KEY_UPDATE, bytes([ask])))
        self.write_keys = self.write_keys.updated()

    def feed(self, data):
        """Takes bytes from the socket and yields the data in them."""
        self.inbox += data
        while len(self.inbox) >= 5 and not self.closed:
            kind, size = self.inbox[0], int.from_bytes(self.inbox[3:5], "big")
            if size > MAX_SEALED:
                raise TlsError("a record of %d bytes" % size)
            if len(self.inbox) < 5 + size:
                return
            head, body = bytes(self.inbox[:5]), bytes(self.inbox[5 : 5 + size])
            del self.inbox[: 5 + size]
            if kind == CHANGE_CIPHER_SPEC:
                continue
            if self.read_keys and kind == APPLICATION_DATA:
                kind, body = self._open(head, body)
            if kind == APPLICATION_DATA and self.done:
                yield body
            elif kind == ALERT:
                self._alert(body)
            elif kind == HANDSHAKE:
                self._handshake_record(body)
            else:
                raise TlsError("a record of kind %d" % kind)

    def _open(self, head, sealed):
        try:
            inner = self.read_keys.cipher.decrypt(self.read_keys.nonce(), sealed, head)
        except InvalidTag:
            raise TlsError("a record cannot be decrypted") from None
        inner = inner.rstrip(b"\0")
        if not inner:
            raise TlsError("a record without a kind")
        return inner[-1], inner[:-1]

    def _alert(self, body):
        if len(body) != 2:
            raise TlsError("no alert")
        self.notes.append("alert %d" % body[1])
        if body[1] == CLOSE_NOTIFY:
            self.closed = True
        elif body[1] != USER_CANCELED:
            raise TlsError("alert %d" % body[1])

    def _handshake_record(self, body):
        self.handshake_bytes += body
        while len(self.handshake_bytes) >= 4:
            size = 4 + int.from_bytes(self.handshake_bytes[1:4], "big")
            if len(self.handshake_bytes) < size:
                return
            whole = bytes(self.handshake_bytes[:size])
            del self.handshake_bytes[:size]
            if self.done:
                self._after_handshake(whole[0], whole[4:])
            else:
                self._in_handshake(whole[0], whole[4:], whole)

    def _after_handshake(self, kind, body):
        if kind == KEY_UPDATE:
            self.notes.append("key update %d" % body[0])
            self.read_keys = self.read_keys.updated()
            if body[0] == 1:
                self.update_key(0)
        elif kind == NEW_SESSION_TICKET:
            self.notes.append("ticket")
        else:
            raise TlsError("message %d after the handshake" % kind)

    # Keys (RFC 8446, section 7.1).

    def _transcript_hash(self):
        return hashlib.new(self.hash_name, self.transcript).digest()

    def _derive(self, secret, label, context):
        return expand_label(self.hash_name, secret, label, context, self.hash_size)

    def _handshake_keys(self, suite, shared):
        self.suite, self.hash_name = suite, SUITES[suite][0]
        self.hash_size = hashlib.new(self.hash_name).digest_size
        self.empty_hash = hashlib.new(self.hash_name).digest()
        early = hmac.digest(bytes(self.hash_size), bytes(self.hash_size), self.hash_name)
        derived = self._derive(early, b"derived", self.empty_hash)
        secret = hmac.digest(derived, shared, self.hash_name)
        self.client_secret = self._derive(secret, b"c hs traffic", self._transcript_hash())
        self.server_secret = self._derive(secret, b"s hs traffic", self._transcript_hash())
        derived = self._derive(secret, b"derived", self.empty_hash)
        self.master = hmac.digest(derived, bytes(self.hash_size), self.hash_name)
        secrets = [self.client_secret, self.server_secret]
        read, write = secrets if self.server else reversed(secrets)
        self.read_keys, self.write_keys = Keys(suite, read), Keys(suite, write)

    def _application_keys(self):
        """The transcript ends with the server's Finished."""
        transcript = self._transcript_hash()
        client = self._derive(self.master, b"c ap traffic", transcript)
        server = self._derive(self.master, b"s ap traffic", transcript)
        self.client_keys, self.server_keys = Keys(self.suite, client), Keys(self.suite, server)
        self.exporter_secret = self._derive(self.master, b"exp master", transcript)

    def exporter(self, label, size=32):
        """Bytes that only the two ends of this connection can compute (RFC 8446, section 7.5)."""
        secret = self._derive(self.exporter_secret, label, self.empty_hash)
        return expand_label(self.hash_name, secret, b"exporter", self.empty_hash, size)

    def _finished(self, secret):
        key = self._derive(secret, b"finished", b"")
        return hmac.digest(key, self._transcript_hash(), self.hash_name)

    def _signed_text(self, by_server):
        role = b"server" if by_server else b"client"
        text = b" " * 64 + b"TLS 1.3, " + role + b" CertificateVerify\0"
        return text + self._transcript_hash()

    # Handshake.

    def _say(self, kind, body):
        whole = message(kind, body)
        self.transcript += whole
        self.record(HANDSHAKE, whole)

    def _client_hello(self):
        suites = b"".join(struct.pack(">H", suite) for suite in SUITES)
        body = b"\x03\x03" + os.urandom(32) + vector(1, os.urandom(32)) + vector(2, suites)
        share = X25519 + vector(2, raw(self.share.public_key()))
        found = [
            extension(EXT_VERSIONS, vector(1, VERSION)),
            extension(EXT_GROUPS, vector(2, X25519)),
            extension(EXT_SIGNATURES, vector(2, ED25519)),
            extension(EXT_KEY_SHARE, vector(2, share)),
            extension(EXT_ALPN, vector(2, vector(1, ALPN))),
            extension(EXT_SERVER_NAME, vector(2, b"\0" + vector(2, SERVER_NAME))),
            extension(EXT_CLIENT_CERTIFICATE, vector(1, RAW_PUBLIC_KEY)),
            extension(EXT_SERVER_CERTIFICATE, vector(1, RAW_PUBLIC_KEY)),
        ]
        return body + b"\x01\0" + vector(2, b"".join(found))

    def _show_key(self, context):
        """Certificate and CertificateVerify."""
        key = SPKI + raw(self.key.public_key())
        self._say(CERTIFICATE, vector(1, context) + vector(3, vector(3, key) + vector(2, b"")))
        signature = self.key.sign(self._signed_text(self.server))
        self._say(CERTIFICATE_VERIFY, ED25519 + vector(2, signature))

    def _in_handshake(self, kind, body, whole):
        if kind != self.stage:
            raise TlsError("message %d in place of %d" % (kind, self.stage))
        if kind == FINISHED:
            secret = self.client_secret if self.server else self.server_secret
            if not hmac.compare_digest(body, self._finished(secret)):
                raise TlsError("Finished is wrong")
        if kind == CERTIFICATE_VERIFY:
            self._check_signature(body)
        self.transcript += whole
        {
            CLIENT_HELLO: self._on_client_hello,
            SERVER_HELLO: self._on_server_hello,
            ENCRYPTED_EXTENSIONS: self._on_encrypted_extensions,
            CERTIFICATE_REQUEST: self._on_certificate_request,
            CERTIFICATE: self._on_certificate,
            CERTIFICATE_VERIFY: lambda _: None,
            FINISHED: self._on_finished,
        }[kind](body)

    def _on_client_hello(self, body):
        at = 35 + body[34]
        session = body[35:at]
        size = int.from_bytes(body[at : at + 2], "big")
        offered = [struct.unpack_from(">H", body, n)[0] for n in range(at + 2, at + 2 + size, 2)]
        at += 2 + size
        found = extensions(body[at + 1 + body[at] + 2 :])
        shares, data = {}, found[EXT_KEY_SHARE][2:]
        while data:
            size = int.from_bytes(data[2:4], "big")
            shares[data[:2]] = data[4 : 4 + size]
            data = data[4 + size :]
        suite = next((suite for suite in offered if suite in SUITES), None)
        common = suite is not None and X25519 in shares
        common = common and vector(1, ALPN) in found.get(EXT_ALPN, b"")
        if not common or RAW_PUBLIC_KEY not in found.get(EXT_SERVER_CERTIFICATE, b"")[1:]:
            raise TlsError("a ClientHello with nothing in common")
        share = X25519PrivateKey.generate()
        own = extension(EXT_KEY_SHARE, X25519 + vector(2, raw(share.public_key())))
        reply = b"\x03\x03" + os.urandom(32) + vector(1, session) + struct.pack(">H", suite)
        self._say(SERVER_HELLO, reply + b"\0" + vector(2, extension(EXT_VERSIONS, VERSION) + own))
        self._change_cipher_spec()
        self._handshake_keys(
            suite, share.exchange(X25519PublicKey.from_public_bytes(shares[X25519]))
        )
        own = extension(EXT_ALPN, vector(2, vector(1, ALPN)))
        own += extension(EXT_CLIENT_CERTIFICATE, RAW_PUBLIC_KEY)
        own += extension(EXT_SERVER_CERTIFICATE, RAW_PUBLIC_KEY)
        self._say(ENCRYPTED_EXTENSIONS, vector(2, own))
        signatures = extension(EXT_SIGNATURES, vector(2, ED25519))
        self._say(CERTIFICATE_REQUEST, vector(1, b"") + vector(2, signatures))
        self._show_key(b"")
        self._say(FINISHED, self._finished(self.server_secret))
        self._application_keys()
        self.write_keys, self.stage = self.server_keys, CERTIFICATE

    def _on_server_hello(self, body):
        if body[2:34] == HELLO_RETRY:
            raise TlsError("it asks for another key share")
        at = 35 + body[34]
        found = extensions(body[at + 5 :])
        if found.get(EXT_VERSIONS) != VERSION or found[EXT_KEY_SHARE][:2] != X25519:
            raise TlsError("a ServerHello of another version or group")
        share = X25519PublicKey.from_public_bytes(found[EXT_KEY_SHARE][4:])
        self._handshake_keys(struct.unpack_from(">H", body, at)[0], self.share.exchange(share))
        self.stage = ENCRYPTED_EXTENSIONS

    def _on_encrypted_extensions(self, body):
        found = extensions(body[2:])
        raw_keys = found.get(EXT_CLIENT_CERTIFICATE) == found.get(EXT_SERVER_CERTIFICATE)
        if not raw_keys or found.get(EXT_SERVER_CERTIFICATE) != RAW_PUBLIC_KEY:
            raise TlsError("no raw public keys")
        if found.get(EXT_ALPN) != vector(2, vector(1, ALPN)):
            raise TlsError("another ALPN")
        self.stage = CERTIFICATE_REQUEST

    def _on_certificate_request(self, body):
        self.context = body[1 : 1 + body[0]]
        self.stage = CERTIFICATE

    def _on_certificate(self, body):
        at = 1 + body[0] + 3
        if body[at : at + 3] != b"\0\0\x2c" or body[at + 3 : at + 15] != SPKI:
            raise TlsError("not a raw ed25519 key")
        self.peer = body[at + 15 : at + 47]
        if self.expect and self.peer != self.expect:
            raise TlsError("another node answers")
        self.stage = CERTIFICATE_VERIFY

    def _check_signature(self, body):
        try:
            key = Ed25519PublicKey.from_public_bytes(self.peer)
            key.verify(body[4:], self._signed_text(not self.server))
        except InvalidSignature:
            raise TlsError("CertificateVerify is wrong") from None
        if body[:4] != ED25519 + b"\0\x40":
            raise TlsError("CertificateVerify is of another kind")
        self.stage = FINISHED

    def _on_finished(self, _):
        if self.server:
            self.read_keys = self.client_keys
        else:
            self._application_keys()
            self._change_cipher_spec()
            self._show_key(self.context)
            self._say(FINISHED, self._finished(self.client_secret))
            self.read_keys, self.write_keys = self.server_keys, self.client_keys
        self.done = True

    def _change_cipher_spec(self):
        """Means nothing, for boxes on the way that know TLS 1.2 only."""
        self.out += bytes([CHANGE_CIPHER_SPEC]) + b"\x03\x03\0\x01\x01"
