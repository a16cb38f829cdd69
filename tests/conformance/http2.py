"""Walks through what RFC 9113 and RFC 7541 ask of a server: http2.py BINARY prints what Menshen does of it."""

import collections
import datetime
import ipaddress
import pathlib
import ssl
import struct
import sys
import tempfile

from frames import (
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PREFACE, PRIORITY, PUSH_PROMISE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, WITH_PRIORITY, Client,
)
from stage import stage

CHECKS = []
# What is not as asked; README.md says why.
KNOWN = {
    ("3.4", "a preface without SETTINGS"),
    ("8.1", "a pseudo-header in the trailers"),
}
# What a malformed request may get (section 8.1.1): an error of the stream, or an answer that says so.
MALFORMED = ["RST_STREAM PROTOCOL_ERROR", "GOAWAY PROTOCOL_ERROR", "status 400"]
OK = ["status 200"]
ON = ["goes on"]


def connection(*codes):
    """An error of the connection; that it is told is a SHOULD, that the connection ends a MUST (5.4.1)."""
    return [f"GOAWAY {code}" for code in codes] + ["closed"]


def stream(*codes):
    """An error of the stream, which may be treated as one of the connection (5.4.2)."""
    return [f"{kind} {code}" for code in codes for kind in ("RST_STREAM", "GOAWAY")] + ["closed"]


def check(section, about, expected, forwarded=None, **options):
    """Adds a check: what it sends, the outcomes that the section allows, and whether the backend may see a request."""

    def add(play):
        CHECKS.append((section, about, expected, forwarded, options, play))
        return play

    return add


def raw(section, about, expected, *sent, watch=None, **options):
    """Adds a check that sends frames and looks at the connection, or at a stream."""

    @check(section, about, expected, **options)
    def _(c):
        for frame in sent:
            c.send(*frame)
        return c.outcome(watch)


def setting(name, value):
    return struct.pack("!HI", name, value)


def malformed(section, about, fields, **options):
    """Adds a check that sends one request with these fields."""

    @check(section, about, MALFORMED, forwarded=False, **options)
    def _(c):
        c.request(1, fields(c))
        return c.outcome(1)


def answered(section, about, fields):
    @check(section, about, OK, forwarded=True)
    def _(c):
        c.request(1, fields(c))
        return c.outcome(1)


# 3: starting

@check("3.4", "a preface that is none", connection("PROTOCOL_ERROR"), preface=False)
def _(c):
    c.send_raw(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + bytes(64))
    return c.outcome(1)


@check("3.4", "a preface without SETTINGS", connection("PROTOCOL_ERROR"), preface=False)
def _(c):
    c.send_raw(PREFACE)
    c.send(PING, 0, 0, bytes(8))
    return c.outcome(1)


@check("3.4", "the server's first frame is SETTINGS", ["SETTINGS"], preface=False)
def _(c):
    c.send_raw(PREFACE)
    c.send(SETTINGS, 0, 0)
    return "SETTINGS" if c.read()[:2] == (SETTINGS, 0) else "another"


# 4: frames

raw("4.1", "a frame of an unknown type is ignored", ON, (0xBB, 0, 0, b"whatever"))
raw("4.1", "unknown flags are ignored", ON, (PING, 0xFE, 0, bytes(8)))
raw("4.1", "the reserved bit is ignored", ON, (PING, 0, 1 << 31, bytes(8)))


@check("4.2", "a frame of the largest size", OK, forwarded=True)
def _(c):
    c.post(1)
    c.send(DATA, END_STREAM, 1, bytes(16384))
    return c.outcome(1)


@check("4.2", "DATA larger than SETTINGS_MAX_FRAME_SIZE", stream("FRAME_SIZE_ERROR"))
def _(c):
    c.post(1)
    c.send(DATA, END_STREAM, 1, bytes(c.settings.get(5, 16384) + 1))
    return c.outcome(1)


@check("4.2", "HEADERS larger than SETTINGS_MAX_FRAME_SIZE", connection("FRAME_SIZE_ERROR"), forwarded=False)
def _(c):
    block = c.encode(c.fields(("x-long", "x" * c.settings.get(5, 16384))))
    c.send(HEADERS, END_STREAM | END_HEADERS, 1, block)
    return c.outcome(1)


raw("4.3", "a field block that cannot be decoded", connection("COMPRESSION_ERROR"),
    (HEADERS, END_STREAM | END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff"), watch=1, forwarded=False)
raw("4.3", "PRIORITY inside a field block", connection("PROTOCOL_ERROR"),
    (HEADERS, END_STREAM, 1, b"\x82"), (PRIORITY, 0, 1, bytes(5)), watch=1, forwarded=False)
raw("4.3", "HEADERS of another stream inside a field block", connection("PROTOCOL_ERROR"),
    (HEADERS, END_STREAM, 1, b"\x82"), (HEADERS, END_STREAM | END_HEADERS, 3, b"\x82"), watch=1, forwarded=False)

# 5: streams

raw("5.1", "DATA on an idle stream", connection("PROTOCOL_ERROR"), (DATA, END_STREAM, 1, b"x"))
raw("5.1", "RST_STREAM on an idle stream", connection("PROTOCOL_ERROR"), (RST_STREAM, 0, 1, bytes(4)))
raw("5.1", "WINDOW_UPDATE on an idle stream", connection("PROTOCOL_ERROR"), (WINDOW_UPDATE, 0, 1, b"\0\0\0\1"))
raw("5.1", "CONTINUATION on an idle stream", connection("PROTOCOL_ERROR"), (CONTINUATION, END_HEADERS, 1, b"\x82"))


def after_end(kind, flags):
    def play(c):
        c.request(1)
        c.send(kind, flags, 1, c.encode(c.fields()) if kind == HEADERS else b"x")
        # The answer may come first.
        return outcome if not (outcome := c.outcome(1)).startswith("status") else c.outcome()

    return play


check("5.1", "DATA after END_STREAM", stream("STREAM_CLOSED"))(after_end(DATA, END_STREAM))
check("5.1", "HEADERS after END_STREAM", stream("STREAM_CLOSED"))(after_end(HEADERS, END_STREAM | END_HEADERS))
check("5.1", "CONTINUATION after END_STREAM", connection("PROTOCOL_ERROR", "STREAM_CLOSED"))(
    after_end(CONTINUATION, END_HEADERS))


def after_reset(kind, flags):
    def play(c):
        c.post(1)
        c.send(RST_STREAM, 0, 1, struct.pack("!I", 8))
        c.send(kind, flags, 1, c.encode(c.fields()) if kind == HEADERS else b"x")
        return c.outcome()

    return play


# Frames on a closed stream MAY be an error.
check("5.1", "DATA after the client's RST_STREAM", [*stream("STREAM_CLOSED"), *ON])(after_reset(DATA, END_STREAM))
check("5.1", "HEADERS after the client's RST_STREAM", stream("STREAM_CLOSED"))(
    after_reset(HEADERS, END_STREAM | END_HEADERS))


def after_answer(kind, flags):
    def play(c):
        c.request(1)
        c.outcome(1)
        c.send(kind, flags, 1, c.encode(c.fields()) if kind == HEADERS else b"x")
        return c.outcome()

    return play


check("5.1", "DATA on a stream that both ended", [*stream("STREAM_CLOSED"), *ON])(after_answer(DATA, END_STREAM))
check("5.1", "HEADERS on a stream that both ended", stream("STREAM_CLOSED", "PROTOCOL_ERROR"))(
    after_answer(HEADERS, END_STREAM | END_HEADERS))


@check("5.1", "WINDOW_UPDATE and RST_STREAM on a closed stream are ignored", ON)
def _(c):
    c.request(1)
    c.outcome(1)
    c.send(WINDOW_UPDATE, 0, 1, struct.pack("!I", 1))
    c.send(RST_STREAM, 0, 1, struct.pack("!I", 8))
    return c.outcome()


@check("5.1.1", "an even stream", connection("PROTOCOL_ERROR"), forwarded=False)
def _(c):
    c.request(2)
    return c.outcome(2)


@check("5.1.1", "a stream lower than one before", connection("PROTOCOL_ERROR"))
def _(c):
    c.request(5)
    c.outcome(5)
    c.request(3)
    return c.outcome(3)


@check("5.1.2", "more streams than SETTINGS_MAX_CONCURRENT_STREAMS",
       stream("REFUSED_STREAM", "PROTOCOL_ERROR", "ENHANCE_YOUR_CALM"))
def _(c):
    limit = c.settings.get(3)
    if limit is None:
        return "no limit announced"
    for number in range(limit + 1):
        c.post(1 + 2 * number)
    return c.outcome(1 + 2 * limit)


@check("5.4.1", "the connection is closed after an error", ["closed"])
def _(c):
    c.send(DATA, END_STREAM, 1, b"x")
    return "closed" if c.ended() else "open"


raw("5.5", "a frame of an unknown type inside a field block", connection("PROTOCOL_ERROR"),
    (HEADERS, END_STREAM, 1, b"\x82"), (0xBB, 0, 0, b"whatever"), watch=1, forwarded=False)

# 6.1: DATA

raw("6.1", "DATA on stream 0", connection("PROTOCOL_ERROR"), (DATA, END_STREAM, 0, b"x"))


@check("6.1", "DATA with padding", OK, forwarded=True)
def _(c):
    c.post(1)
    c.send(DATA, END_STREAM | PADDED, 1, b"\x04abcd" + bytes(4))
    return c.outcome(1)


@check("6.1", "padding longer than the DATA", connection("PROTOCOL_ERROR"))
def _(c):
    c.post(1)
    c.send(DATA, END_STREAM | PADDED, 1, b"\x0aabc")
    return c.outcome(1)


# 6.2: HEADERS

raw("6.2", "HEADERS on stream 0", connection("PROTOCOL_ERROR"), (HEADERS, END_STREAM | END_HEADERS, 0, b"\x82"))


@check("6.2", "HEADERS with padding and priority", OK, forwarded=True)
def _(c):
    flags = END_STREAM | END_HEADERS | PADDED | WITH_PRIORITY
    c.send(HEADERS, flags, 1, b"\x03" + struct.pack("!IB", 0, 15) + c.encode(c.fields()) + bytes(3))
    return c.outcome(1)


raw("6.2", "padding longer than the HEADERS", connection("PROTOCOL_ERROR"),
    (HEADERS, END_STREAM | END_HEADERS | PADDED, 1, b"\xff\x82"), forwarded=False)

# 6.3: PRIORITY

raw("6.3", "PRIORITY is ignored", ON, (PRIORITY, 0, 1, struct.pack("!IB", 0, 15)))
raw("6.3", "PRIORITY on stream 0", connection("PROTOCOL_ERROR"), (PRIORITY, 0, 0, bytes(5)))
raw("6.3", "PRIORITY of another length", stream("FRAME_SIZE_ERROR"), (PRIORITY, 0, 1, bytes(4)))

# 6.4: RST_STREAM

raw("6.4", "RST_STREAM on stream 0", connection("PROTOCOL_ERROR"), (RST_STREAM, 0, 0, bytes(4)))


@check("6.4", "RST_STREAM of another length", connection("FRAME_SIZE_ERROR"))
def _(c):
    c.post(1)
    c.send(RST_STREAM, 0, 1, bytes(3))
    return c.outcome()


# 6.5: SETTINGS

raw("6.5", "an acknowledgement with a payload", connection("FRAME_SIZE_ERROR"), (SETTINGS, ACK, 0, bytes(6)))
raw("6.5", "SETTINGS on a stream", connection("PROTOCOL_ERROR"), (SETTINGS, 0, 1, bytes(6)))
raw("6.5", "SETTINGS of another length", connection("FRAME_SIZE_ERROR"), (SETTINGS, 0, 0, bytes(5)))
raw("6.5.2", "SETTINGS_ENABLE_PUSH of 2", connection("PROTOCOL_ERROR"), (SETTINGS, 0, 0, setting(2, 2)))
raw("6.5.2", "SETTINGS_INITIAL_WINDOW_SIZE too large", connection("FLOW_CONTROL_ERROR"),
    (SETTINGS, 0, 0, setting(4, 1 << 31)))
raw("6.5.2", "SETTINGS_MAX_FRAME_SIZE too small", connection("PROTOCOL_ERROR"), (SETTINGS, 0, 0, setting(5, 16383)))
raw("6.5.2", "SETTINGS_MAX_FRAME_SIZE too large", connection("PROTOCOL_ERROR"), (SETTINGS, 0, 0, setting(5, 1 << 24)))
raw("6.5.2", "an unknown setting is ignored", ON, (SETTINGS, 0, 0, setting(0xFF, 1)))


@check("6.5.2", "the server does not announce SETTINGS_ENABLE_PUSH of 1", ["not announced"])
def _(c):
    return "announced" if c.settings.get(2) else "not announced"


@check("6.5.3", "SETTINGS are acknowledged", ["acknowledged"])
def _(c):
    before = c.acks
    c.send(SETTINGS, 0, 0, setting(3, 100))
    return "acknowledged" if c.until(lambda: c.acks > before) else "not acknowledged"


# 6.6 to 6.8: PUSH_PROMISE, PING, GOAWAY

raw("6.6", "PUSH_PROMISE from a client", connection("PROTOCOL_ERROR"),
    (PUSH_PROMISE, END_HEADERS, 1, struct.pack("!I", 2) + b"\x82"))


@check("6.7", "PING is answered with its payload", ["answered"])
def _(c):
    c.send(PING, 0, 0, b"12345678")
    return "answered" if c.until(lambda: b"12345678" in c.pongs) else "not answered"


@check("6.7", "an acknowledgement of PING is not answered", ["not answered"])
def _(c):
    c.send(PING, ACK, 0, b"12345678")
    c.outcome()
    return "answered" if b"12345678" in c.pongs else "not answered"


raw("6.7", "PING on a stream", connection("PROTOCOL_ERROR"), (PING, 0, 1, bytes(8)))
raw("6.7", "PING of another length", connection("FRAME_SIZE_ERROR"), (PING, 0, 0, bytes(6)))
raw("6.8", "GOAWAY on a stream", connection("PROTOCOL_ERROR"), (GOAWAY, 0, 1, bytes(8)))


@check("6.8", "streams before the client's GOAWAY are answered", OK, forwarded=True)
def _(c):
    c.post(1)
    c.send(GOAWAY, 0, 0, bytes(8))
    c.send(DATA, END_STREAM, 1, b"x")
    return c.outcome(1)


# 6.9: WINDOW_UPDATE and flow control

raw("6.9", "WINDOW_UPDATE of 0 for the connection", connection("PROTOCOL_ERROR"), (WINDOW_UPDATE, 0, 0, bytes(4)))
raw("6.9", "WINDOW_UPDATE of another length", connection("FRAME_SIZE_ERROR"), (WINDOW_UPDATE, 0, 0, bytes(3)))


@check("6.9", "WINDOW_UPDATE of 0 for a stream", stream("PROTOCOL_ERROR"))
def _(c):
    c.post(1)
    c.send(WINDOW_UPDATE, 0, 1, bytes(4))
    return c.outcome(1)


@check("6.9.1", "a body waits for the window", ["as much as it may"], settings=[(4, 1)])
def _(c):
    c.request(1)
    c.until(lambda: c.bodies.get(1))
    c.outcome()
    first = c.bodies[1]
    c.send(WINDOW_UPDATE, 0, 1, struct.pack("!I", 2))
    c.until(lambda: len(c.bodies[1]) >= 3)
    c.outcome()
    return "as much as it may" if (len(first), len(c.bodies[1])) == (1, 3) else f"{len(first)}, {len(c.bodies[1])}"


raw("6.9.1", "the connection's window overflows", connection("FLOW_CONTROL_ERROR"),
    (WINDOW_UPDATE, 0, 0, struct.pack("!I", (1 << 31) - 1)))


@check("6.9.1", "a stream's window overflows", stream("FLOW_CONTROL_ERROR"))
def _(c):
    c.post(1)
    c.send(WINDOW_UPDATE, 0, 1, struct.pack("!I", (1 << 31) - 1))
    return c.outcome(1)


@check("6.9.1", "DATA beyond the server's window", stream("FLOW_CONTROL_ERROR"))
def _(c):
    c.post(1)
    # More than any window that could have been opened meanwhile.
    for _ in range(c.settings.get(4, 65535) // 16384 * 3 + 3):
        c.send(DATA, 0, 1, bytes(16384))
    return c.outcome(1)


@check("6.9.2", "a later SETTINGS_INITIAL_WINDOW_SIZE opens the window", OK, settings=[(4, 0)])
def _(c):
    c.request(1)
    c.until(lambda: 1 in c.status)
    c.send(SETTINGS, 0, 0, setting(4, 65535))
    return c.outcome(1)


@check("6.9.2", "a window can be negative", ["as much as it may"], settings=[(4, 3)])
def _(c):
    c.request(1)
    c.until(lambda: len(c.bodies.get(1, b"")) == 3)
    c.send(SETTINGS, 0, 0, setting(4, 2))
    c.send(WINDOW_UPDATE, 0, 1, struct.pack("!I", 1))
    c.outcome()
    kept = len(c.bodies[1])
    c.send(WINDOW_UPDATE, 0, 1, struct.pack("!I", 1))
    c.until(lambda: len(c.bodies[1]) == 4)
    return "as much as it may" if kept == 3 else f"{kept} instead of 3"


@check("6.9.2", "SETTINGS that make a window overflow", connection("FLOW_CONTROL_ERROR"))
def _(c):
    c.post(1)
    c.send(WINDOW_UPDATE, 0, 1, struct.pack("!I", (1 << 31) - 1 - 65535))
    c.send(SETTINGS, 0, 0, setting(4, 65536))
    return c.outcome()


# 6.10: CONTINUATION

@check("6.10", "a field block in several frames", OK, forwarded=True)
def _(c):
    block = c.encode(c.fields())
    c.send(HEADERS, END_STREAM, 1, block[:5])
    c.send(CONTINUATION, 0, 1, block[5:9])
    c.send(CONTINUATION, END_HEADERS, 1, block[9:])
    return c.outcome(1)


@check("6.10", "CONTINUATION after END_HEADERS", connection("PROTOCOL_ERROR"))
def _(c):
    c.post(1)
    c.send(CONTINUATION, END_HEADERS, 1, b"\x84")
    return c.outcome()


raw("6.10", "CONTINUATION on stream 0", connection("PROTOCOL_ERROR"),
    (HEADERS, END_STREAM, 1, b"\x82"), (CONTINUATION, END_HEADERS, 0, b"\x84"), watch=1, forwarded=False)
raw("6.10", "CONTINUATION of another stream", connection("PROTOCOL_ERROR"),
    (HEADERS, END_STREAM, 1, b"\x82"), (CONTINUATION, END_HEADERS, 3, b"\x84"), watch=1, forwarded=False)
raw("6.10", "DATA inside a field block", connection("PROTOCOL_ERROR"),
    (HEADERS, 0, 1, b"\x82"), (DATA, END_STREAM, 1, b"x"), watch=1, forwarded=False)

# 8: requests

@check("8.1", "a second HEADERS without END_STREAM", MALFORMED)
def _(c):
    c.post(1)
    c.send(DATA, 0, 1, b"x")
    c.send(HEADERS, END_HEADERS, 1, c.encode([("x-trailer", "1")]))
    return c.outcome(1)


@check("8.1", "trailers", OK, forwarded=True)
def _(c):
    c.post(1)
    c.send(DATA, 0, 1, b"x")
    c.send(HEADERS, END_STREAM | END_HEADERS, 1, c.encode([("x-trailer", "1")]))
    return c.outcome(1)


@check("8.1", "a pseudo-header in the trailers", MALFORMED)
def _(c):
    c.post(1)
    c.send(DATA, 0, 1, b"x")
    c.send(HEADERS, END_STREAM | END_HEADERS, 1, c.encode([(":path", "/")]))
    return c.outcome(1)


def length(declared, *parts):
    def play(c):
        c.post(1, ("content-length", str(declared)))
        for number, part in enumerate(parts, 1):
            c.send(DATA, END_STREAM if number == len(parts) else 0, 1, part)
        return c.outcome(1)

    return play


check("8.1.1", "a content-length with as much DATA", OK, forwarded=True)(length(4, b"ab", b"cd"))
check("8.1.1", "a content-length with more DATA", MALFORMED)(length(1, b"abcd"))
check("8.1.1", "a content-length with less DATA", MALFORMED)(length(9, b"ab", b"cd"))
check("8.1.1", "a content-length without DATA", MALFORMED, forwarded=False)(
    lambda c: (c.request(1, c.fields(("content-length", "5"), method="POST")), c.outcome(1))[1])
check("8.1.1", "two content-lengths", MALFORMED, forwarded=False)(
    lambda c: (c.post(1, ("content-length", "4"), ("content-length", "5")), c.send(DATA, 1, 1, b"abcd"), c.outcome(1))[2])

for name, shown in [("X-Upper", "upper case"), ("x y", "a space"), ("x\x01", "a control character"), ("x:y", "a colon"),
                    ("x\x7f", "DEL"), (b"x\xe4", "a byte over 127"), ("", "nothing at all")]:
    malformed("8.2.1", f"a name with {shown}", lambda c, name=name: c.fields((name, "1")))
for value, shown in [("a\0b", "NUL"), ("a\rb", "CR"), ("a\nb", "LF"), (" a", "a space before"), ("a ", "a space after"),
                     ("\ta", "a tab before")]:
    malformed("8.2.1", f"a value with {shown}", lambda c, value=value: c.fields(("x-value", value)))
for name, value in [("connection", "keep-alive"), ("proxy-connection", "keep-alive"), ("keep-alive", "timeout=5"),
                    ("transfer-encoding", "chunked"), ("upgrade", "websocket"), ("te", "gzip"), ("te", "trailers, gzip")]:
    malformed("8.2.2", f"{name}: {value}", lambda c, field=(name, value): c.fields(field))
answered("8.2.2", "te: trailers", lambda c: c.fields(("te", "trailers")))
answered("8.2.3", "cookies in several fields", lambda c: c.fields(("cookie", "a=b"), ("cookie", "c=d")))
malformed("8.3", "an unknown pseudo-header", lambda c: [(":test", "1"), *c.fields()])
malformed("8.3", "a pseudo-header of responses", lambda c: [(":status", "200"), *c.fields()])
malformed("8.3", "a pseudo-header after a field", lambda c: [*c.fields(leave=[":path"]), (":path", "/page")])
for name in [":method", ":scheme", ":path"]:
    malformed("8.3.1", f"no {name}", lambda c, name=name: c.fields(leave=[name]))
    malformed("8.3.1", f"{name} twice", lambda c, name=name: [*c.fields()[:4], c.fields()[[":method", ":scheme", ":path"].index(name)], *c.fields()[4:]])
malformed("8.3.1", ":authority twice", lambda c: [*c.fields()[:4], (":authority", "localhost"), *c.fields()[4:]])
malformed("8.3.1", "an empty :path", lambda c: c.fields(path=""))
malformed("8.3.1", "a :path without its slash", lambda c: c.fields(path="page"))
malformed("8.3.1", "a host that is not the :authority", lambda c: c.fields(("host", "other.example")))
malformed("8.3.1", "user information in :authority", lambda c: [(":authority", "me@localhost"), *c.fields(leave=[":authority"])])
answered("8.3.1", "host instead of :authority", lambda c: c.fields(("host", "localhost"), leave=[":authority"]))
malformed("8.5", "CONNECT with :scheme and :path", lambda c: c.fields(method="CONNECT"))


@check("8.5", "CONNECT, which no route takes", [*MALFORMED, "status 405", "status 501"], forwarded=False)
def _(c):
    c.request(1, c.fields(method="CONNECT", leave=[":scheme", ":path"]))
    return c.outcome(1)


# RFC 7541: HPACK

def block(section, about, octets, before=False):
    @check(f"HPACK {section}", about, connection("COMPRESSION_ERROR"), forwarded=False)
    def _(c):
        whole = c.encode(c.fields())
        c.send(HEADERS, END_STREAM | END_HEADERS, 1, octets + whole if before else whole + octets)
        return c.outcome(1)


block("2.3.3", "an index beyond the table", b"\xff\x81\x01")
block("2.3.3", "a name's index beyond the table", b"\x7f\x81\x01\x01x")
block("4.2", "a new table size after a field", b"\x20")
block("5.1", "an integer that overflows", b"\xff" + b"\xff" * 12 + b"\x01")
block("5.2", "Huffman padding longer than 7 bits", b"\x00\x02xy\x82\x1f\xff")
block("5.2", "Huffman padding of zeros", b"\x00\x02xy\x81\x18")
block("5.2", "Huffman EOS", b"\x00\x02xy\x84\xff\xff\xff\xff")
block("5.2", "a string longer than its block", b"\x00\x02xy\x7fabc")
block("6.1", "index 0", b"\x80")
block("6.3", "a table size above the setting", b"\x3f\xe2\x1f\x3f\xff\xff\x03", before=True)


def certificate(folder):
    """Writes a certificate of its own for localhost."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=2)).add_extension(names, False)
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(pem))
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").touch(mode=0o600)
    (folder / "key.pem").write_bytes(key.private_bytes(pem, *plain))
    return f'tls.cert_file = "{folder}/cert.pem"\ntls.key_file = "{folder}/key.pem"'


def played(running, tls):
    """Plays every check and returns the outcomes, and which of them the RFCs do not allow."""
    wrong = []
    for number, (section, about, expected, forwarded, options, play) in enumerate(CHECKS):
        before = len(running.backend.received)
        client = Client(running.port, running.token, tls, mark=str(number), **options)
        try:
            outcome = play(client)
        finally:
            client.close()
        # One that an earlier check gave up may arrive only now.
        targets = [target for _, target, *_ in running.backend.received[before:]]
        reached = sum(target.partition("?")[2] in ("", str(number)) for target in targets)
        if forwarded is not None and outcome in expected and bool(reached) != forwarded:
            outcome += f" and {reached} requests at the backend"
        if outcome not in expected:
            wrong.append((section, about, outcome, expected[0]))
        if "-v" in sys.argv:
            print(section, about, outcome, "" if outcome in expected else f"WRONG, {expected}", sep=" | ", flush=True)
    return wrong


def main(binary):
    alive, results = True, {}
    with tempfile.TemporaryDirectory() as folder:
        lines = certificate(pathlib.Path(folder))
        trusting = ssl.create_default_context(cafile=f"{folder}/cert.pem")
        http2 = ssl.create_default_context(cafile=f"{folder}/cert.pem")
        http2.set_alpn_protocols(["h2"])
        for way, settings, tls in [("TLS", lines, (trusting, http2)), ("cleartext", "", (None, None))]:
            with stage(binary, f'client_timeout = "10s"\n{settings}', tls=tls[0]) as running:
                results[way] = played(running, tls[1])
                alive &= running.alive()
    report(results)
    unknown = {each[:2] for wrong in results.values() for each in wrong if not coded(each)} - KNOWN
    print(f"{len(CHECKS)} checks over TLS and in cleartext; {len(unknown)} not known; alive: {alive}")
    return 0 if alive and not unknown else 1


def coded(wrong):
    """Returns whether only the code of an error is another one."""
    _, _, outcome, expected = wrong
    kinds = ("GOAWAY", "RST_STREAM")
    return outcome.startswith(kinds) and expected.startswith(kinds) and "backend" not in outcome


def report(results):
    """Prints a table by section, and what is not as asked."""
    wrong = sorted({each for way in results.values() for each in way})
    checks, codes, others = (collections.Counter() for _ in range(3))
    for section, *_ in CHECKS:
        checks[major(section)] += 1
    for section, about in {each[:2] for each in wrong if coded(each)}:
        codes[major(section)] += 1
    for section, about in {each[:2] for each in wrong if not coded(each)}:
        others[major(section)] += 1
    print("| section | checks | as asked | refused with another code | otherwise |\n|---|---|---|---|---|")
    for section, count in checks.items():
        rest = count - codes[section] - others[section]
        print(f"| {section} | {count} | {rest} | {codes[section]} | {others[section]} |")
    for each in wrong:
        section, about, outcome, expected = each
        ways = " and ".join(way for way, found in results.items() if each in found)
        print(f"- {section}, {about}: {outcome} instead of {expected} ({ways})")


def major(section):
    return ".".join(section.split(".")[:2])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
