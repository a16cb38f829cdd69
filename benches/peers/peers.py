"""The proxies that are compared, each with one worker thread, and the backend behind them."""

import json
import os
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from process import Process, free_port
from tokens import APP, APP_SECRET, APPID, Certificate, Keys

SMALL = "x" * 128
BODIES = {"/small": 128, "/16k": 16 << 10, "/64m": 64 << 20}

NGINX = """
{user}
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 8192; multi_accept on; }}
http {{
    access_log off;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    client_body_temp_path {folder}/client_body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {http}
}}
"""

BACKEND = """
    sendfile on;
    tcp_nopush on;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {folder}/www;
        default_type text/plain;
        location = /small {{ return 200 "{small}"; }}
        location = /open/small {{ return 200 "{small}"; }}
        location = /post {{ client_max_body_size 0; return 200 "{small}"; }}
        location = /openid {{ return 200 "[$http_x_wx_openid]"; }}
        location = /open/openid {{ return 200 "[$http_x_wx_openid]"; }}
    }}
"""

PASSING = """
    upstream backend {{ server 127.0.0.1:{backend}; keepalive 512; keepalive_requests 1000000000; keepalive_timeout 600s; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        listen 127.0.0.1:{tls_port} ssl http2 backlog=4096;
        ssl_certificate {cert};
        ssl_certificate_key {key};
        location / {{
            {check}
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
        location = /ws {{
            proxy_pass http://127.0.0.1:{sockets};
            proxy_http_version 1.1;
            proxy_set_header Connection "upgrade";
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Host $host;
            proxy_read_timeout 600s;
        }}
        {more}
    }}
"""

AUTH_REQUEST = """
            auth_request /_menshen;
            auth_request_set $openid $upstream_http_x_wx_openid;
            proxy_set_header X-WX-OPENID $openid;
            proxy_set_header Authorization "";
"""

ASK = """
        location = /_menshen {{
            internal;
            proxy_pass http://verify/_auth/verify;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-Method $request_method;
            proxy_set_header X-Forwarded-Uri $request_uri;
            proxy_set_header X-Forwarded-Host $host;
        }}
"""

HAPROXY = """
global
    nbthread 1
    maxconn 4000
    tune.ssl.default-dh-param 2048
defaults
    mode http
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    timeout http-keep-alive 600s
    timeout http-request 30s
frontend public
    bind 127.0.0.1:{port} backlog 4096
    bind 127.0.0.1:{tls_port} ssl crt {both} alpn h2,http/1.1 backlog 4096
    http-request set-var(txn.bearer) http_auth_bearer
    http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')
    http-request deny unless {{ var(txn.alg) -m str {algorithm} }}
    http-request deny unless {{ var(txn.bearer),jwt_verify(txn.alg,"{key}") 1 }}
{claims}
    default_backend all
backend all
    server one 127.0.0.1:{backend}
"""

# What Menshen checks and does as well.
CLAIMS = """
    http-request set-var(txn.exp) var(txn.bearer),jwt_payload_query('$.exp','int')
    http-request set-var(txn.now) date()
    http-request deny unless {{ var(txn.bearer),jwt_payload_query('$.iss') -m str menshen }}
    http-request deny unless {{ var(txn.bearer),jwt_payload_query('$.aud') -m str {appid} }}
    http-request deny if {{ var(txn.exp),sub(txn.now) -m int lt 0 }}
    http-request set-header X-WX-OPENID %[var(txn.bearer),jwt_payload_query('$.sub')]
    http-request del-header Authorization
    http-request set-header X-Forwarded-For %[src]
"""

MENSHEN = """
[server]
listen = ["127.0.0.1:{port}"]
threads = {threads}
keepalive = "10m"
trusted_proxies = [{trusted}]
{tls}
[control]
listen = ""
[wechat]
api_base = "http://127.0.0.1:{wechat}"
[[app]]
name = "{app}"
kind = "mini_program"
appid = "{appid}"
secret_env = "BENCH_APP_SECRET"
[token]
algorithm = "{algorithm}"
keys_dir = "{keys}"
[session]
path = "{folder}/data"
[[upstream]]
name = "backend"
servers = ["127.0.0.1:{backend}"]
keepalive = "10m"
[[upstream]]
name = "sockets"
servers = ["127.0.0.1:{sockets}"]
read_timeout = "10m"
[[route]]
path = "/"
upstream = "backend"
auth = "required"
max_body = "1GiB"
[[route]]
path = "/ws"
upstream = "sockets"
auth = "required"
[[route]]
path = "/open"
upstream = "backend"
auth = "public"
[log]
{log}
"""

# A worker of its own user would not see the folder of root's.
USER = "user root;" if os.getuid() == 0 else ""
LOG_OFF, LOG_ON = 'level = "warn"', 'level = "info"'


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
    port = free_port()
    command = [str(program), str(port), str(site.backend), settings]
    return Peer(name, command, port, 0, site.folder / f"{name}.log")


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
