"""WebSocket messages: a server that echoes those of one size, and a client that sends them."""

import base64
import hashlib
import os
import socket
import sys
import threading

from load import WrongAnswer

MESSAGE = 125  # The longest whose frame has one byte of length.
FROM_CLIENT, FROM_SERVER = 2 + 4 + MESSAGE, 2 + MESSAGE
ECHO = bytes([0x82, MESSAGE]) + b"x" * MESSAGE
MASK = bytes(4)
SENT = bytes([0x82, 0x80 | MESSAGE]) + MASK + b"x" * MESSAGE


def head(sock: socket.socket) -> bytes:
    read = b""
    while b"\r\n\r\n" not in read:
        part = sock.recv(4096)
        if not part:
            raise WrongAnswer(f"the connection ended in a head: {read!r}")
        read += part
    return read


def accept_key(request: bytes) -> str:
    key = next(line[18:].strip() for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()


def exactly(sock: socket.socket, length: int) -> bytes:
    return sock.recv(length, socket.MSG_WAITALL)


def echo(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    accept = accept_key(head(sock))
    sock.sendall(
        f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )
    while len(exactly(sock, FROM_CLIENT)) == FROM_CLIENT:
        sock.sendall(ECHO)


def serve(port: int) -> None:
    listener = socket.create_server(("127.0.0.1", port), backlog=64)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=echo, args=(sock,), daemon=True).start()


class Client:
    """One WebSocket through a proxy."""

    def __init__(self, port: int, token: str):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        self.sock.sendall(
            f"GET /ws HTTP/1.1\r\nHost: bench.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        answer = head(self.sock)
        if not answer.startswith(b"HTTP/1.1 101"):
            raise WrongAnswer(f"no WebSocket: {answer!r}")

    def echoes(self, count: int) -> int:
        """Sends messages, each when the one before has come back."""
        for _ in range(count):
            self.sock.sendall(SENT)
            if exactly(self.sock, FROM_SERVER) != ECHO:
                raise WrongAnswer("a message came back as another")
        return count


if __name__ == "__main__":
    serve(int(sys.argv[1]))
