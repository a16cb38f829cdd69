"""Lets slowhttptest loose on Menshen: slow.py BINARY prints what became of slow clients and of another one meanwhile."""

import os
import re
import subprocess
import sys
import time

from stage import stage

CONNECTIONS, SECONDS = 500, 8
LIMITS = 'client_timeout = "2s"\nhead_timeout = "2s"\nkeepalive = "2s"'
# What each does, the tool's options, and whether Menshen should have ended every connection before the time was over.
MODES = [
    ("heads that never end", ["-H", "-i", "1"], "/page", True),
    ("bodies that pause longer than client_timeout", ["-B", "-i", "4", "-s", "8192"], "/page", True),
    ("bodies that pause shorter", ["-B", "-i", "1", "-s", "8192"], "/page", False),
    ("many ranges", ["-R", "-a", "10", "-b", "3000", "-t", "GET"], "/page", True),
    ("answers read byte by byte", ["-X", "-w", "1", "-y", "1", "-n", "4", "-z", "1"], "/large", True),
]


def resident_mib(running):
    status = open(f"/proc/{running.menshen.pid}/status").read()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) // 1024


def open_files(running):
    return len(os.listdir(f"/proc/{running.menshen.pid}/fd"))


def attack(running, options, path):
    """Returns how long the attack took, what was held late in it, another client's slowest answer, the memory, the failures."""
    # The tool has no option for a header, but puts this one in as it is.
    accept = f"*/*\r\nAuthorization: Bearer {running.token}"
    tool = subprocess.Popen(
        ["slowhttptest", *options, "-c", str(CONNECTIONS), "-r", str(CONNECTIONS), "-x", "8",
         "-l", str(SECONDS), "-p", "2", "-m", accept, "-u", f"http://127.0.0.1:{running.port}{path}"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    worst, memory, failed, held, idle = 0.0, 0, 0, None, open_files(running)
    late = time.monotonic() + SECONDS * 0.8
    headers = {"Authorization": f"Bearer {running.token}"}
    while tool.poll() is None:
        started = time.monotonic()
        try:
            status, _ = running.ask(running.port, "GET", "/orders", headers=headers)
        except OSError:
            status = 0
        failed += status != 200
        worst = max(worst, time.monotonic() - started)
        memory = max(memory, resident_mib(running))
        # The tool does not see a connection's end behind an answer that it has not read.
        if held is None and time.monotonic() > late and tool.poll() is None:
            held = open_files(running) - idle
        time.sleep(0.1)
    said = re.sub(r"\x1b\[[0-9;]*m", "", tool.stdout.read())
    end = re.search(r"Test ended on (\d+)th second\s+Exit status:\s+(.*)", said)
    return int(end[1]), max(held or 0, 0), worst, memory, failed


def main(binary):
    bad = 0
    print("| attack | ended after | held shortly before | another client's slowest answer | memory |\n|---|---|---|---|---|")
    with stage(binary, LIMITS) as running:
        for name, options, path, ends in MODES:
            after, held, worst, memory, failed = attack(running, options, path)
            bad += failed + (worst > 1) + (ends != (held < CONNECTIONS // 10))
            print(f"| {name} | {after} s | {held} | {worst * 1000:.0f} ms | {memory} MiB |", flush=True)
        alive = running.alive()
    print(f"{len(MODES)} attacks of {CONNECTIONS} connections; {bad} bad outcomes; alive: {alive}")
    return 0 if alive and not bad else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
