"""The shapes of load, one method each."""

import json
import resource
import socket
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack

import cost
import load
import peers
import sockets
import tokens
from bench import Bench
from load import Target, WrongAnswer

FULL = [
    "requests", "public", "algorithms", "auth_request", "sixteen", "posts", "tls", "http2", "http2_posts", "large",
    "websockets", "different_tokens", "threads", "latency", "idle", "instructions", "system_calls",
]  # fmt: skip
# As many bodies of 64 MiB as a slow proxy passes on in a second.
LARGE_A_SEC = 5
# How many times as many rounds where rounds differ from one another by more than a target leaves room for.
CLOSE_TURNS = 4
QUICK = ["requests", "public", "sixteen", "http2", "instructions", "system_calls"]


class Shapes(Bench):
    """What is measured, each part by itself."""

    def requests(self) -> None:
        names = [
            "Menshen", "Menshen, access line", "nginx", "HAProxy HS256", "HAProxy HS256, all claims",
            "`pingora-proxy`, best", "`pingora-proxy`, default",
        ]  # fmt: skip
        loads = {name: (name, self.wrk(name, self.target(name))) for name in names}
        self.compare("128 bytes", loads)

    def public(self) -> None:
        """A route whose users need no token, and bring none."""
        public = Target(self.target("Menshen", path="/open/small").url, 128)
        loads = {
            "Menshen": ("Menshen", self.wrk("Menshen", self.target("Menshen"))),
            "Menshen, public route": ("Menshen", self.wrk("Menshen", public)),
        }
        self.compare("128 bytes, the check", loads, rounds=self.close_rounds())

    def close_rounds(self) -> int:
        return self.rounds if self.quick else CLOSE_TURNS * self.rounds

    def algorithms(self) -> None:
        self.by_wrk("128 bytes, ES256", ["Menshen, ES256", "HAProxy ES256"])

    def auth_request(self) -> None:
        """Of nginx that asks Menshen; the CPU time is that of both."""
        asking, verify = self.peer("nginx `auth_request`"), self.peer("Menshen, for gateways")
        target = self.target("nginx `auth_request`")
        for turn in range(self.rounds + 1):
            before = asking.process.cpu_secs(), verify.process.cpu_secs()
            run = load.wrk(target, self.secs, self.site.folder)
            after = asking.process.cpu_secs(), verify.process.cpu_secs()
            if turn > 0:
                shape = self.results["128 bytes"]
                nginx, own = ((b - a) * 1e6 / run.requests for a, b in zip(before, after))
                shape["nginx `auth_request`, both"].append(nginx + own)
                shape["Menshen's share of `auth_request`"].append(own)

    def sixteen(self) -> None:
        names = ["Menshen", "nginx", "HAProxy HS256", "`pingora-proxy`, best"]
        self.by_wrk("16 KiB", names, path="/16k", length=16 << 10)

    def posts(self) -> None:
        names = ["Menshen", "nginx", "HAProxy HS256", "`pingora-proxy`, best"]
        self.by_wrk("POST of 4 KiB", names, path="/post", method="POST", body_bytes=4096)

    def tls(self) -> None:
        names = ["Menshen, TLS", "nginx", "HAProxy HS256", "`pingora-proxy`, best"]
        self.by_wrk("128 bytes, TLS", names, tls=True)
        self.by_wrk("16 KiB, TLS", names, tls=True, path="/16k", length=16 << 10)

    def by_h2load(self, shape: str, names: list[str], more: tuple[str, ...] = (), **target) -> None:
        def make(name: str) -> Callable[[], load.Run]:
            aim, requests = self.target(name, tls=True, **target), 10_000 * self.secs
            return lambda: load.h2load(aim, requests, http2=True, connections=32, streams=4, more=more)

        self.compare(shape, {name: (name, make(name)) for name in names})

    def http2(self) -> None:
        names = ["Menshen, TLS", "nginx", "HAProxy HS256", "`pingora-proxy`, best"]
        self.by_h2load("128 bytes, HTTP/2", names)
        if not self.quick:
            self.by_h2load("16 KiB, HTTP/2", names, path="/16k", length=16 << 10)

    def http2_posts(self) -> None:
        body = self.site.folder / "4k"
        body.write_bytes(b"x" * 4096)
        names = ["Menshen, TLS", "nginx", "HAProxy HS256", "`pingora-proxy`, best"]
        self.by_h2load("POST of 4 KiB, HTTP/2", names, ("-d", str(body)), path="/post")

    def download(self, name: str, times: int) -> Callable[[], load.Run]:
        target = self.target(name, path="/64m", length=64 << 20)
        return lambda: load.curl(target, times)

    def large(self) -> None:
        file = self.site.folder / "backend/www/64m"
        names = ["Menshen", "nginx", "HAProxy HS256", "`pingora-proxy`, best"]
        times = LARGE_A_SEC * self.secs

        def up(name: str) -> Callable[[], load.Run]:
            target = self.target(name, path="/upload")
            return lambda: load.curl(target, times, file)

        downloads = {name: (name, self.download(name, times)) for name in names}
        self.compare("download of 64 MiB (ms)", downloads, scale=1e-3)
        self.compare("upload of 64 MiB (ms)", {name: (name, up(name)) for name in names}, scale=1e-3)

    def websockets(self) -> None:
        loads = {name: (name, self.echoes(name)) for name in ("Menshen", "nginx")}
        self.compare("WebSocket message and its echo", loads)

    def echoes(self, name: str) -> Callable[[], load.Run]:
        """Messages and their echoes on one WebSocket."""
        client, count = sockets.Client(self.peer(name).port, self.token), 10_000 * self.secs
        self.running.callback(client.sock.close)

        def make() -> load.Run:
            start = time.monotonic()
            return load.Run(client.echoes(count), time.monotonic() - start)

        return make

    def different_tokens(self) -> None:
        """Tokens that Menshen sees for the first time, then the same once more, then one alone."""
        count = 100_000 if self.quick else 1_000_000
        file = self.site.folder / "tokens"
        tokens.many(self.site.keys.secret, count, file)
        peer = peers.menshen(self.site, "menshen-tokens")
        process = peer.start()
        self.running.callback(peer.stop)
        target = Target(f"http://127.0.0.1:{peer.port}/small", 128)
        shape, memory = self.results[f"{count:,} tokens"], self.results["memory (MB)"]
        memory["before"].append(process.resident_bytes() / 1e6)
        for column in ("each for the first time", "in turn, verified before"):
            run = lambda: load.wrk(target, 600, self.site.folder, tokens=file, once=True).requests
            shape[column].append(cost.cpu_us(process, run))
        memory[f"with {count:,} tokens"].append(process.resident_bytes() / 1e6)
        one = Target(target.url, 128, file.open().readline().strip())
        for _ in range(self.rounds):
            run = lambda: load.wrk(one, self.secs, self.site.folder).requests
            shape["one of them"].append(cost.cpu_us(process, run))
        file.unlink()

    def threads(self) -> None:
        names = ["Menshen", "Menshen, 2 threads"]
        self.by_wrk("128 bytes, threads", names, rounds=self.close_rounds())

    def latency(self) -> None:
        names = ["Menshen", "nginx", "HAProxy HS256", "`pingora-proxy`, best"]
        self.by_wrk("128 bytes, peak", names)
        # A p99 differs from round to round more than anything else here.
        for _ in range(self.close_rounds()):
            for name in names:
                rate = statistics.median(self.results["128 bytes, peak: requests/s"][name]) / 2
                command = [
                    str(self.built / "best/paced"), str(self.peer(name).port), "/small", self.token, f"{rate:.0f}",
                    str(self.secs), "128",
                ]  # fmt: skip
                said = json.loads(load.run(command))
                if said["requests"] < 0.95 * rate * self.secs:
                    raise WrongAnswer(f"{name}: only {said['requests']} requests of {rate} a second")
                self.results["half the peak rate: p50 (µs)"][name].append(said["p50_us"])
                self.results["half the peak rate: p99 (µs)"][name].append(said["p99_us"])

    def idle(self) -> None:
        """The memory of connections that are kept after a request: what 2,000 more of them add to 2,000.

        The first fill what the allocator holds in reserve, which would make each look cheaper than it is.
        """
        count = 2000
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 3 * count)), hard))
        for name in ("Menshen", "nginx", "HAProxy HS256"):
            self.peer(name).stop()
            peer = self.peer(name)
            request = f"GET /small HTTP/1.1\r\nHost: bench.example\r\nAuthorization: Bearer {self.token}\r\n\r\n"
            with ExitStack() as open_sockets:
                occupied = []
                for _ in range(2):
                    for _ in range(count):
                        sock = open_sockets.enter_context(socket.create_connection(("127.0.0.1", peer.port), timeout=10))
                        self.ask(name, sock, request.encode())
                    occupied.append(peer.process.resident_bytes())
            self.results["idle connection (KB)"][name].append((occupied[1] - occupied[0]) / 1e3 / count)

    def ask(self, name: str, sock: socket.socket, request: bytes) -> None:
        sock.sendall(request)
        answer = b""
        while not answer.endswith(b"x" * 128):
            part = sock.recv(4096)
            if not part:
                raise WrongAnswer(f"{name}: {answer!r}")
            answer += part

    def instructions(self) -> None:
        """By callgrind, of small requests on kept connections."""
        requests = 400 if self.quick else 1000
        names = [
            "Menshen", "Menshen, access line", "Menshen, TLS", "nginx", "HAProxy HS256", "HAProxy HS256, all claims",
            "`pingora-proxy`, best", "`pingora-proxy`, default",
        ]  # fmt: skip
        for name in names:
            peer = self.peer(name)
            peer.stop()
            grind = cost.Callgrind(peer, self.site.folder)
            self.running.callback(grind.stop)
            http2 = name == "Menshen, TLS"
            column = "Menshen, HTTP/2 over TLS" if http2 else name
            shape = self.results["instructions"]
            origin = f"https://127.0.0.1:{peer.port}" if http2 else f"http://127.0.0.1:{peer.port}"
            target = Target(f"{origin}/small", 128, self.token)
            shape[column].append(
                grind.instructions(lambda n: load.h2load(target, n, http2=http2, connections=8), requests)
            )
            if name == "Menshen":
                public = Target(f"{origin}/open/small", 128)
                shape["Menshen, public route"].append(
                    grind.instructions(lambda n: load.h2load(public, n, http2=False, connections=8), requests)
                )
            grind.stop()

    def system_calls(self) -> None:
        for name in ("Menshen", "Menshen, access line", "nginx", "HAProxy HS256", "`pingora-proxy`, best"):
            target = self.target(name)
            load.wrk(target, 1, self.site.folder)
            calls = cost.system_calls(
                self.peer(name).process, lambda: load.wrk(target, 2, self.site.folder).requests
            )
            for kind in ("sends", "receives", "other"):
                self.results[f"system calls: {kind}"][name].append(calls[kind])
