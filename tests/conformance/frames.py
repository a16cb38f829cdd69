"""An HTTP/2 client that sends what it is told, frame by frame, and says what came of it."""

import socket
import struct

from hpack import Decoder, Encoder
from hpack.exceptions import HPACKError

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CODES = (
    "NO_ERROR PROTOCOL_ERROR INTERNAL_ERROR FLOW_CONTROL_ERROR SETTINGS_TIMEOUT STREAM_CLOSED FRAME_SIZE_ERROR "
    "REFUSED_STREAM CANCEL COMPRESSION_ERROR CONNECT_ERROR ENHANCE_YOUR_CALM INADEQUATE_SECURITY HTTP_1_1_REQUIRED"
).split()


class Client:
    """One connection; `seen` has what came for each stream."""

    def __init__(self, port, token, tls=None, preface=True, settings=(), mark=""):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=3)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self.mark = mark
        self.token, self.encoder, self.decoder = token, Encoder(), Decoder()
        self.buffer, self.status, self.bodies, self.block = b"", {}, {}, b""
        self.settings, self.acks, self.pongs = {}, 0, []
        if preface:
            self.send_raw(PREFACE)
            self.send(SETTINGS, 0, 0, b"".join(struct.pack("!HI", *one) for one in settings))
            # Nothing is judged before both sides know the other's settings.
            self.until(lambda: self.acks and self.settings)

    def send_raw(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            # What made the other end close can still be read.
            pass

    def send(self, kind, flags, stream, payload=b""):
        self.send_raw(struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload)

    def fields(self, *more, leave=(), path=None, method="GET"):
        """Returns the fields of a good request with the token, without those to be left out."""
        path = f"/page?{self.mark}" if path is None else path
        first = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "localhost")]
        return [one for one in first if one[0] not in leave] + [("authorization", f"Bearer {self.token}"), *more]

    def encode(self, fields):
        return self.encoder.encode(fields, huffman=False)

    def request(self, stream=1, fields=None, flags=END_STREAM | END_HEADERS):
        self.send(HEADERS, flags, stream, self.encode(self.fields() if fields is None else fields))

    def post(self, stream=1, *more):
        """Starts a request whose body is still to come."""
        self.request(stream, self.fields(*more, method="POST"), END_HEADERS)

    def read(self):
        """Reads one frame, and notes what it says; None is the end of the connection."""
        while len(self.buffer) < 9 or len(self.buffer) < 9 + int.from_bytes(self.buffer[:3], "big"):
            part = self.socket.recv(65536)
            if not part:
                return None
            self.buffer += part
        length = int.from_bytes(self.buffer[:3], "big")
        kind, flags, stream = struct.unpack("!BBI", self.buffer[3:9])
        payload, self.buffer = self.buffer[9 : 9 + length], self.buffer[9 + length :]
        self.note(kind, flags, stream, payload)
        return kind, flags, stream, payload

    def note(self, kind, flags, stream, payload):
        if kind in (HEADERS, CONTINUATION):
            self.block += payload
            if flags & END_HEADERS:
                try:
                    fields = dict(self.decoder.decode(self.block))
                except HPACKError:
                    fields = {":status": "unreadable"}
                self.status.setdefault(stream, fields.get(":status", "trailers"))
                self.block = b""
        elif kind == DATA:
            self.bodies[stream] = self.bodies.get(stream, b"") + payload
        elif kind == SETTINGS and flags & ACK:
            self.acks += 1
        elif kind == SETTINGS:
            for at in range(0, len(payload), 6):
                name, value = struct.unpack("!HI", payload[at : at + 6])
                self.settings[name] = value
            self.settings.setdefault("seen", True)
            self.send(SETTINGS, ACK, 0)
        elif kind == PING and flags & ACK:
            self.pongs.append(payload)

    def until(self, true):
        try:
            while not true():
                if self.read() is None:
                    return False
        except OSError:
            return False
        return True

    def outcome(self, stream=None):
        """Returns what became of a stream, or of the connection where none is given."""
        marker = b"outcome?"
        if stream is None:
            self.send(PING, 0, 0, marker)
        while True:
            try:
                frame = self.read()
            except TimeoutError:
                return f"status {self.status[stream]}, unfinished" if stream in self.status else "nothing"
            except OSError:
                return "closed"
            if frame is None:
                return "closed"
            kind, flags, number, payload = frame
            if kind == GOAWAY and (code := struct.unpack("!I", payload[4:8])[0]):
                return f"GOAWAY {CODES[code]}"
            if kind == RST_STREAM and stream in (None, number):
                code = CODES[struct.unpack("!I", payload)[0]]
                # A whole answer may come before the word that the rest of the request is not wanted.
                return f"RST_STREAM {code}"
            if stream is None and marker in self.pongs:
                return "goes on"
            if stream == number and kind in (HEADERS, DATA) and flags & END_STREAM:
                return f"status {self.status.get(stream)}"

    def ended(self):
        """Returns whether the other end closes the connection, after what it still has to say."""
        return not self.until(lambda: False) and not self.timed_out()

    def timed_out(self):
        try:
            return bool(self.socket.recv(1)) and False
        except TimeoutError:
            return True
        except OSError:
            return False

    def close(self):
        self.socket.close()
