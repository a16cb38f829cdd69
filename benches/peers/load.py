"""Clients that put load on a proxy and make sure that each answer was the expected one."""

import http.client
import json
import re
import signal
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 32

# What wrk cannot say on the command line. `tokens` is a file with a token in each line, used in turn; `once` is a file that
# is made when all of them were used, upon which the run is ended.
WRK = """
local tokens, once, path = %(tokens)s, %(once)s, nil
wrk.method = "%(method)s"
wrk.body = %(body)s
for name, value in pairs({%(headers)s}) do wrk.headers[name] = value end
if tokens then
    local file
    function init(args) file, path = io.open(tokens), wrk.path end
    function request()
        local token = file:read("*l")
        if not token then
            if once then io.open(once, "w"):close() once = nil end
            file:seek("set")
            token = file:read("*l")
        end
        return "GET " .. path .. " HTTP/1.1\\r\\nHost: bench.example\\r\\nAuthorization: Bearer " .. token .. "\\r\\n\\r\\n"
    end
end
function done(summary, latency)
    local e = summary.errors
    io.write(string.format(
        '\\nJSON {"requests":%%d,"us":%%d,"bytes":%%d,"errors":%%d,"timeouts":%%d,"p50_us":%%d,"p99_us":%%d}\\n',
        summary.requests, summary.duration, summary.bytes, e.connect + e.read + e.write + e.status, e.timeout,
        latency:percentile(50), latency:percentile(99)))
end
"""


class WrongAnswer(RuntimeError):
    """An answer in a measured run was not the expected one, so that the figure says nothing."""


@dataclass
class Target:
    """What is asked for, and what every answer must be."""

    url: str
    length: int
    token: str | None = None
    method: str = "GET"
    body_bytes: int = 0

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


@dataclass
class Run:
    """What a client saw."""

    requests: int
    secs: float


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)[:300]}: {done.stdout}{done.stderr}")
    return done.stdout


def run_until(file: Path, command: list[str]) -> str:
    """Interrupts a command once it has made a file."""
    file.unlink(missing_ok=True)
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while child.poll() is None:
        if file.exists():
            child.send_signal(signal.SIGINT)
        time.sleep(0.02)
    out = child.stdout.read()
    if child.returncode != 0 or not file.exists():
        raise RuntimeError(f"{' '.join(command)[:300]}: {out}")
    return out


def wrk(target: Target, secs: float, folder: Path, tokens: Path | None = None, once=False, connections=CONNECTIONS) -> Run:
    """As many requests as go, over kept connections of HTTP/1.1."""
    script, all_used = folder / "wrk.lua", folder / "all-used"
    headers = ",".join(f'["{name}"]="{value}"' for name, value in target.headers().items())
    body = f'string.rep("x", {target.body_bytes})' if target.body_bytes else "nil"
    script.write_text(
        WRK
        % {
            "tokens": f'"{tokens}"' if tokens else "nil",
            "once": f'"{all_used}"' if once else "nil",
            "method": target.method,
            "body": body,
            "headers": headers,
        }
    )
    size = size_of_answer(target, tokens.open().readline().strip() if tokens else None)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{secs}s", "--timeout", "20s", "-s", str(script), target.url]
    out = run_until(all_used, command) if once else run(command)
    found = re.search(r"^JSON (.*)$", out, re.MULTILINE)
    said = json.loads(found[1]) if found else {}
    if not found or said["errors"] or said["timeouts"] or said["requests"] == 0:
        raise WrongAnswer(f"{target.url}: {out}")
    # wrk counts no status below 400 as an error, and heads and bodies together. The last answers of each connection may be missing.
    if abs(said["bytes"] - said["requests"] * size) > connections * size:
        raise WrongAnswer(f"{target.url}: answers are not of {size} bytes each: {out}")
    return Run(said["requests"], said["us"] / 1e6)


def size_of_answer(target: Target, token: str | None = None) -> int:
    """The bytes of an answer with its head, once it is the expected one."""
    token = token or target.token
    credential = f"Authorization: Bearer {token}\r\n" if token else ""
    length = f"Content-Length: {target.body_bytes}\r\n" if target.body_bytes else ""
    scheme, rest = target.url.split("://")
    host, path = rest.split("/", 1)
    name, port = host.split(":")
    request = f"{target.method} /{path} HTTP/1.1\r\nHost: {host}\r\n{credential}{length}\r\n{'x' * target.body_bytes}"
    with socket.create_connection((name, int(port)), timeout=5) as stream:
        if scheme == "https":
            stream = ssl._create_unverified_context().wrap_socket(stream)
        stream.sendall(request.encode())
        answer = b""
        while not (complete := answer.partition(b"\r\n\r\n"))[1] or len(complete[2]) < target.length:
            try:
                part = stream.recv(65536)
            except TimeoutError:
                break
            if not part:
                break
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 ") or body != b"x" * target.length:
        raise WrongAnswer(f"{target.url}: {head.decode(errors='replace')}, and a body of {len(body)} bytes")
    return len(answer)


def h2load(target: Target, requests: int, *, http2: bool, connections: int, streams=1, more: tuple[str, ...] = ()) -> Run:
    """So many requests, over either protocol."""
    protocol = ["--npn-list=h2"] if http2 else ["--h1"]
    headers = [f"-H{name}: {value}" for name, value in target.headers().items()]
    count = [f"-n{requests}"] if requests else []
    out = run(
        ["h2load", *count, "-t1", f"-c{connections}", f"-m{streams}", *protocol, *headers, *more, target.url]
    )  # fmt: skip
    return checked(target, out, requests, http2)


def checked(target: Target, out: str, requests: int, http2: bool) -> Run:
    took = re.search(r"finished in ([\d.]+)(us|ms|s|m),", out)
    counts = re.search(r"requests: (\d+) total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", out)
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", out)
    data = re.search(r"\((\d+)\) data", out)
    if not (took and counts and codes and data):
        raise WrongAnswer(f"{target.url}: {out}")
    done = int(counts[3])
    protocol = re.search(r"Application protocol: (\S+)", out)
    if http2 and (protocol is None or not protocol[1].startswith("h2")):
        raise WrongAnswer(f"{target.url} does not speak HTTP/2: {out}")
    if (requests and done != requests) or int(counts[4]) or int(codes[1]) != done or done == 0:
        raise WrongAnswer(f"{target.url}: {out}")
    if int(data[1]) < done * target.length:
        raise WrongAnswer(f"{target.url}: answers are shorter than {target.length} bytes: {out}")
    unit = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[took[2]]
    return Run(done, float(took[1]) * unit)


def curl(target: Target, times: int, upload: Path | None = None) -> Run:
    """Whole messages one after the other, each on a connection of its own."""
    headers = [part for name, value in target.headers().items() for part in ("-H", f"{name}: {value}")]
    body = ["-X", "POST", "-H", "Expect:", "-T", str(upload)] if upload else []
    secs = 0.0
    for _ in range(times):
        out = run(
            ["curl", "-sk", "--max-time", "60", "-o", "/dev/null", "-w", "%{http_code} %{size_download} %{size_upload} %{time_total}",
             *headers, *body, target.url]
        )  # fmt: skip
        status, down, up, took = out.split()
        if status != "200" or int(down) != target.length or (upload and int(up) != upload.stat().st_size):
            raise WrongAnswer(f"{target.url}: {out}")
        secs += float(took)
    return Run(times, secs)


def body(url: str, headers: dict[str, str]) -> tuple[int, bytes]:
    """One answer over HTTP/1.1, in full."""
    scheme, rest = url.split("://")
    host, path = rest.split("/", 1)
    if scheme == "https":
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(host, timeout=30, context=context)
    else:
        connection = http.client.HTTPConnection(host, timeout=30)
    try:
        connection.request("GET", f"/{path}", headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
