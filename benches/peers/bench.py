"""A benchmark's processes and figures, and how proxies take turns."""

import statistics
import sys
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import load
import peers
from load import Target, WrongAnswer
from peers import LOG_ON, Peer, Site

ROUNDS, SECS = 5, 3
QUICK_ROUNDS, QUICK_SECS = 3, 1


class Bench:
    """A backend, a simulated WeChat and proxies that are started when they are first needed."""

    def __init__(self, site: Site, built: Path, running: ExitStack, quick: bool):
        self.site, self.built, self.running = site, built, running
        self.quick = quick
        self.rounds, self.secs = (QUICK_ROUNDS, QUICK_SECS) if quick else (ROUNDS, SECS)
        # Of each shape and proxy, the figures of each round.
        self.results: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.known: dict[str, Peer] = {}
        for start in (peers.backend, peers.sockets, peers.wechat):
            running.callback(start(site).stop)
        self.token = peers.log_in(site, self.peer("Menshen"))
        self.check("Menshen", self.peer("Menshen"))
        self.site.verify = self.peer("Menshen, for gateways").port

    def made(self, name: str) -> Peer:
        site = self.site
        match name:
            case "Menshen":
                return peers.menshen(site, "menshen")
            case "Menshen, access line":
                return peers.menshen(site, "menshen-line", log=LOG_ON)
            case "Menshen, ES256":
                return peers.menshen(site, "menshen-es256", algorithm="ES256")
            case "Menshen, TLS":
                return peers.menshen(site, "menshen-tls", tls=True)
            case "Menshen, 2 threads":
                return peers.menshen(site, "menshen-threads", threads=2)
            case "Menshen, for gateways":
                return peers.menshen(site, "menshen-verify", trusted='"127.0.0.1"')
            case "nginx":
                return peers.nginx(site, "nginx")
            case "nginx `auth_request`":
                return peers.nginx(site, "nginx-asks", asks=True)
            case "HAProxy HS256":
                return peers.haproxy(site, "haproxy")
            case "HAProxy HS256, all claims":
                return peers.haproxy(site, "haproxy-claims", claims=True)
            case "HAProxy ES256":
                return peers.haproxy(site, "haproxy-es256", algorithm="ES256")
            case "`pingora-proxy`, default":
                return peers.bare(site, "pingora", self.built / "release/bare", "default")
            case "`pingora-proxy`, best":
                return peers.bare(site, "pingora-best", self.built / "best/bare", "best")
        raise KeyError(name)

    def peer(self, name: str) -> Peer:
        """A running proxy that was found to answer as it should."""
        if name not in self.known:
            self.known[name] = self.made(name)
        peer = self.known[name]
        if peer.process is None:
            peer.start()
            self.running.callback(peer.stop)
            if hasattr(self, "token"):
                self.check(name, peer)
        return peer

    def token_for(self, name: str) -> str:
        if "ES256" not in name:
            return self.token
        if not hasattr(self, "es256_token"):
            self.es256_token = peers.log_in(self.site, self.peer("Menshen, ES256"))
        return self.es256_token

    def check(self, name: str, peer: Peer) -> None:
        """One answer of each path in full, and what the backend was told about the user."""
        origin = f"https://127.0.0.1:{peer.tls_port}" if peer.tls_port == peer.port else f"http://127.0.0.1:{peer.port}"
        headers = {"Authorization": f"Bearer {self.token_for(name)}"}
        for path, length in (("/small", 128), ("/16k", 16 << 10)):
            if load.body(origin + path, headers) != (200, b"x" * length):
                raise WrongAnswer(f"{name}: {path}: {load.body(origin + path, headers)}")
        status, openid = load.body(f"{origin}/openid", headers)
        if status != 200 or (len(openid) > 2) != peer.identifies:
            raise WrongAnswer(f"{name}: the backend saw the openid {openid!r}")
        verifies = "pingora" not in name and name != "nginx"
        if (load.body(f"{origin}/small", {})[0] != 200) != verifies:
            raise WrongAnswer(f"{name}: a request without a token is not treated as it should be")

    def target(self, name: str, path="/small", length=128, tls=False, **more) -> Target:
        peer = self.peer(name)
        origin = f"https://127.0.0.1:{peer.tls_port}" if tls else f"http://127.0.0.1:{peer.port}"
        return Target(origin + path, length, self.token_for(name), **more)

    def compare(
        self, shape: str, loads: dict[str, tuple[str, Callable[[], load.Run]]], scale=1.0, rounds: int | None = None
    ) -> None:
        """Has the proxies take turns, and notes the CPU time of a request and the requests a second of each."""
        for name, _ in loads.values():
            self.peer(name)
        for turn in range((rounds or self.rounds) + 1):
            for column, (name, make) in loads.items():
                process = self.peer(name).process
                before = process.cpu_secs()
                try:
                    run = make()
                except WrongAnswer as error:
                    raise WrongAnswer(f"{column}: {error}") from error
                cpu = process.cpu_secs() - before
                # The first turn warms up connections, caches and pools.
                if turn > 0:
                    self.results[shape][column].append(cpu * 1e6 / run.requests * scale)
                    self.results[f"{shape}: requests/s"][column].append(run.requests / run.secs)
        medians = {column: statistics.median(self.results[shape][column]) for column in loads}
        print(f"   {shape}: {medians}", file=sys.stderr, flush=True)

    def wrk(self, name: str, target: Target, **more) -> Callable[[], load.Run]:
        return lambda: load.wrk(target, self.secs, self.site.folder, **more)

    def by_wrk(self, shape: str, names: list[str], rounds: int | None = None, **target) -> None:
        loads = {name: (name, self.wrk(name, self.target(name, **target))) for name in names}
        self.compare(shape, loads, rounds=rounds)
