"""The proxies that are compared, each with one worker thread, and the backend behind them."""

import json
import os
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from configurations import ASK, AUTH_REQUEST, BACKEND, CLAIMS, HAPROXY, MENSHEN, NGINX, PASSING
from process import Process, free_port
from tokens import APP, APP_SECRET, APPID, Certificate, Keys

SMALL = "x" * 128
BODIES = {"/small": 128, "/16k": 16 << 10, "/64m": 64 << 20}

# A worker of its own user would not see the folder of root's.
USER = "user root;" if os.getuid() == 0 else ""
LOG_OFF, LOG_ON = "access = false", "access = true"


@dataclass
class Site:
    """Where everything is that the proxies share."""

    folder: Path
    program: Path
    keys: Keys
    certificate: Certificate
    backend: int = 0
    sockets: int = 0
    wechat: int = 0
    verify: int = 0


@dataclass
class Peer:
    """A proxy: how it is started, and what a request to it carries."""

    name: str
    command: list[str]
    port: int
    tls_port: int
    log: Path
    # Whether it verifies a token and says whose it is; None where it passes everything on.
    token: str | None = None
    identifies: bool = False
    env: dict = field(default_factory=dict)
    process: Process | None = None

    def start(self, before: tuple[str, ...] = ()) -> Process:
        """Starts it, by way of another program where one is named."""
        self.process = Process([*before, *self.command], self.port, self.log, self.env)
        return self.process

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()
            self.process = None


def folder_of(site: Site, name: str) -> Path:
    folder = site.folder / name
    folder.mkdir()
    return folder


def backend(site: Site) -> Process:
    folder, port = folder_of(site, "backend"), free_port()
    for path, length in BODIES.items():
        file = folder / "www" / path[1:]
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"x" * length)
    http = BACKEND.format(folder=folder, port=port, small=SMALL)
    conf = folder / "nginx.conf"
    conf.write_text(NGINX.format(user=USER, folder=folder, http=http))
    site.backend = port
    return Process([nginx_program(), "-c", str(conf)], port, folder / "log")


def sockets(site: Site) -> Process:
    site.sockets = free_port()
    program = str(Path(__file__).with_name("sockets.py"))
    return Process([sys.executable, program, str(site.sockets)], site.sockets, site.folder / "sockets.log")


def nginx_program() -> str:
    return "/usr/sbin/nginx"


def wechat(site: Site) -> Process:
    site.wechat = free_port()
    app = f"{APPID}:{APP_SECRET}"
    command = [str(site.program), "simulate", "--listen", f"127.0.0.1:{site.wechat}", "--app", app]
    return Process(command, site.wechat, site.folder / "wechat.log")


def menshen(
    site: Site, name: str, *, algorithm="HS256", log=LOG_OFF, tls=False, threads=1, trusted=""
) -> Peer:
    """Menshen on one listener: with TLS or without."""
    folder, port = folder_of(site, name), free_port()
    keys = site.keys.hs256 if algorithm == "HS256" else site.keys.es256
    pair = f'tls.cert_file = "{site.certificate.cert}"\ntls.key_file = "{site.certificate.key}"' if tls else ""
    conf = folder / "menshen.toml"
    conf.write_text(
        MENSHEN.format(
            port=port, threads=threads, trusted=trusted, tls=pair, wechat=site.wechat, app=APP, appid=APPID,
            algorithm=algorithm, keys=keys, folder=folder, backend=site.backend, sockets=site.sockets, log=log,
        )
    )  # fmt: skip
    return Peer(
        name, [str(site.program), "serve", "--config", str(conf)], port, port if tls else 0, folder / "log",
        identifies=True, env={"BENCH_APP_SECRET": APP_SECRET},
    )  # fmt: skip


def nginx(site: Site, name: str, *, asks=False) -> Peer:
    folder, port, tls_port = folder_of(site, name), free_port(), free_port()
    verify = f"upstream verify {{ server 127.0.0.1:{site.verify}; keepalive 512; }}\n" if asks else ""
    http = verify + PASSING.format(
        backend=site.backend, sockets=site.sockets, port=port, tls_port=tls_port, cert=site.certificate.cert,
        key=site.certificate.key, check=AUTH_REQUEST if asks else "", more=ASK.format() if asks else "",
    )  # fmt: skip
    conf = folder / "nginx.conf"
    conf.write_text(NGINX.format(user=USER, folder=folder, http=http))
    return Peer(name, [nginx_program(), "-c", str(conf)], port, tls_port, folder / "log", identifies=asks)


def haproxy(site: Site, name: str, *, algorithm="HS256", claims=False) -> Peer:
    """HAProxy that verifies a token's signature, or with `claims` does with it what Menshen does."""
    folder, port, tls_port = folder_of(site, name), free_port(), free_port()
    key = site.keys.secret if algorithm == "HS256" else site.keys.es256_public
    conf = folder / "haproxy.cfg"
    conf.write_text(
        HAPROXY.format(
            port=port, tls_port=tls_port, both=site.certificate.both, algorithm=algorithm, key=key,
            backend=site.backend, claims=CLAIMS.format(appid=APPID) if claims else "",
        )
    )  # fmt: skip
    return Peer(
        name, ["/usr/sbin/haproxy", "-db", "-f", str(conf)], port, tls_port, folder / "log", identifies=claims
    )


def bare(site: Site, name: str, program: Path, settings: str) -> Peer:
    """The smallest program on `pingora-proxy`."""
    port, tls_port = free_port(), free_port()
    pair = [str(site.certificate.cert), str(site.certificate.key)]
    command = [str(program), str(port), str(site.backend), settings, str(tls_port), *pair]
    return Peer(name, command, port, tls_port, site.folder / f"{name}.log")


def log_in(site: Site, peer: Peer) -> str:
    """Logs in at a running Menshen without TLS, and returns the token."""
    code = post(site.wechat, "/_sim/login", {"appid": APPID, "user": "alice"})["code"]
    return post(peer.port, "/_auth/login", {"code": code})["token"]


def post(port: int, path: str, body: dict) -> dict:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)
