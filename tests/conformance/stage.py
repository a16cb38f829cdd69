"""Starts Menshen with a simulated WeChat and a backend that remembers what it got, and logs a user in."""

import contextlib
import http.client
import http.server
import json
import pathlib
import re
import subprocess
import tempfile
import threading

APPID = "wx0123456789abcdef"
SECRET = "0123456789abcdef0123456789abcdef"


class Backend(http.server.BaseHTTPRequestHandler):
    """Answers every request with what it received; `server.received` holds all of them."""

    protocol_version = "HTTP/1.1"
    timeout = 30

    def answer(self):
        body = self.body()
        self.server.received.append((self.command, self.path, self.headers.items(), body))
        if self.path.startswith("/page"):
            content = b"<!doctype html><title>page</title><p>Hello.</p>" * 20
            kind = "text/html; charset=utf-8"
        elif self.path == "/large":
            content, kind = b"x" * 4_000_000, "application/octet-stream"
        else:
            content, kind = json.dumps({"path": self.path}).encode(), "application/json"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "max-age=60")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return body
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    """Does not complain about connections that end, which is what some of the tests are about."""

    request_queue_size = 1024

    def handle_error(self, *_):
        pass


class Stage:
    """Everything that runs: its addresses, the token, and what the backend received."""

    def __init__(self, folder, binary, tls=None):
        self.folder, self.binary, self.tls, self.port, self.processes = folder, binary, tls, None, []

    def start(self, server_lines="", keys=(), backend=None):
        # With these there, Menshen makes none of its own.
        for name, key in dict(keys).items():
            (self.folder / "keys").mkdir(mode=0o700, exist_ok=True)
            (self.folder / "keys" / name).touch(mode=0o600)
            (self.folder / "keys" / name).write_bytes(key)
        self.backend = Server(("127.0.0.1", 0), Backend)
        self.backend.received = []
        threading.Thread(target=self.backend.serve_forever, daemon=True).start()
        self.wechat = self.run("simulate", "--listen", "127.0.0.1:0", "--app", f"{APPID}:{SECRET}")
        (self.folder / "menshen.toml").write_text(
            f"""[server]
listen = ["127.0.0.1:0"]
{server_lines}
[control]
listen = ""
[wechat]
api_base = "http://127.0.0.1:{self.wechat}"
[[app]]
name = "shop"
kind = "mini_program"
appid = "{APPID}"
secret_env = "SHOP_APP_SECRET"
[[upstream]]
name = "api"
servers = ["127.0.0.1:{backend or self.backend.server_port}"]
[[route]]
path = "/"
upstream = "api"
"""
        )
        self.serve()
        code = self.post(self.wechat, "/_sim/login", {"appid": APPID, "user": "alice"})["code"]
        self.token = self.post(self.port, "/_auth/login", {"code": code})["token"]

    def serve(self):
        self.port = self.run("serve", "-c", "menshen.toml")
        self.menshen = self.processes[-1]

    def run(self, *arguments):
        process = subprocess.Popen(
            [self.binary, *arguments],
            cwd=self.folder,
            env={"SHOP_APP_SECRET": SECRET},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes.append(process)
        for line in process.stdout:
            if found := re.search(r"listen.*127\.0\.0\.1:(\d+)", line):
                threading.Thread(target=process.stdout.read, daemon=True).start()
                return int(found[1])
        raise SystemExit(f"menshen {arguments[0]} did not start")

    def post(self, port, path, body):
        return json.loads(self.ask(port, "POST", path, json.dumps(body))[1])

    def ask(self, port, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        if self.tls and port == self.port:
            connection = http.client.HTTPSConnection("localhost", port, timeout=10, context=self.tls)
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        return reply.status, reply.read()

    def alive(self):
        return self.menshen.poll() is None and self.ask(self.port, "GET", "/_auth/session")[0] == 200


@contextlib.contextmanager
def stage(binary, server_lines="", keys=(), backend=None, tls=None):
    with tempfile.TemporaryDirectory() as folder:
        running = Stage(pathlib.Path(folder), str(pathlib.Path(binary).resolve()), tls)
        try:
            running.start(server_lines, keys, backend)
            yield running
        finally:
            for process in running.processes:
                process.terminate()
            for process in running.processes:
                process.wait(timeout=30)
