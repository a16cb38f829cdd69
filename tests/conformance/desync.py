"""Sends the corpus of http_desync_guardian: desync.py BINARY CORPUS prints what became of each kind of case."""

import collections
import pathlib
import socket
import sys

import yaml

from stage import stage

# Sent as the body, so that a second request is seen where one is read from it.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: shop.example\r\n\r\n"


def encoded(text):
    text = "" if text is None else str(text)
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def request(case, token):
    headers = [(encoded(h["name"]), encoded(h["value"])) for h in case.get("headers") or []]
    names = [name.strip().lower() for name, _ in headers]
    if b"host" not in names:
        headers.insert(0, (b"Host", b"shop.example"))
    # Always with a valid token, so that a 401 hides nothing; a case that brings another keeps it.
    if b"authorization" not in names:
        headers.append((b"Authorization", b"Bearer " + token.encode()))
    line = b" ".join(filter(None, [encoded(case["method"]), encoded(case["uri"]), encoded(case["version"])]))
    head = b"\r\n".join([line, *(name + b": " + value for name, value in headers)]) + b"\r\n\r\n"
    lengths = [v.strip() for n, v in headers if n.strip().lower() == b"content-length"]
    if lengths and lengths[0].isdigit() and int(lengths[0]) <= 10_000_000:
        return head + SMUGGLED.ljust(int(lengths[0]), b"x")[: int(lengths[0])]
    if any(n.strip().lower() == b"transfer-encoding" for n, _ in headers):
        return head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
    return head


def answer(port, sent):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        got = b""
        try:
            connection.sendall(sent)
            while b"\r\n\r\n" not in got and (part := connection.recv(65536)):
                got += part
        except (ConnectionError, TimeoutError):
            pass
    return int(got.split(b" ")[1]) if got.startswith(b"HTTP/1.1 ") else 0


def main(binary, corpus):
    table = collections.Counter()
    odd = []
    files = sorted(pathlib.Path(corpus).glob("*.yaml"))
    with stage(binary, 'client_timeout = "2s"') as running:
        for file in files:
            for case in yaml.safe_load(file.read_text()) or []:
                tier, reason = case["expected"]["tier"], case["expected"]["reason"]
                before = len(running.backend.received)
                status = answer(running.port, request(case, running.token))
                got = running.backend.received[before:]
                if status == 200 and len(got) == 1:
                    outcome = "forwarded"
                elif 400 <= status < 500 and not got:
                    outcome = f"refused {status}"
                else:
                    outcome = f"ODD status {status}, {len(got)} requests"
                    odd.append((case["name"], outcome))
                odd += [(case["name"], "smuggled") for one in got if one[1] == "/smuggled"]
                table[tier, reason, outcome] += 1
                if "-v" in sys.argv:
                    print(file.name, tier, reason, outcome, case["name"], sep=" | ")
        alive = running.alive()
    print("| tier | reason | outcome | cases |\n|---|---|---|---|")
    for (tier, reason, outcome), cases in sorted(table.items()):
        print(f"| {tier} | {reason} | {outcome} | {cases} |")
    for name, outcome in odd:
        print(f"odd: {name}: {outcome}")
    severe = sum(n for (tier, _, outcome), n in table.items() if tier == "Severe" and outcome == "forwarded")
    print(f"{sum(table.values())} cases; {severe} severe ones forwarded; {len(odd)} odd; alive: {alive}")
    return 0 if not odd and not severe and alive else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
