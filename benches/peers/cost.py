"""What a request costs a proxy: CPU time, instructions, system calls."""

import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from peers import Peer
from process import Process

SENDS = {"write", "writev", "send", "sendto", "sendmsg", "sendmmsg", "sendfile", "splice", "pwrite64"}
RECEIVES = {"read", "readv", "recv", "recvfrom", "recvmsg", "recvmmsg", "pread64"}


def cpu_us(process: Process, load: Callable[[], int]) -> float:
    """The CPU time of each of the requests that `load` makes and counts."""
    before = process.cpu_secs()
    requests = load()
    return (process.cpu_secs() - before) * 1e6 / requests


class Callgrind:
    """A proxy that runs in callgrind, which counts the instructions of its user space."""

    def __init__(self, peer: Peer, folder: Path):
        self.peer, self.out = peer, folder / f"callgrind.{peer.name}"
        self.dumps = 0
        command = ("valgrind", "--tool=callgrind", "--trace-children=yes", f"--callgrind-out-file={self.out}", "--cache-sim=no")
        self.process = peer.start(command)

    def dump(self) -> Path:
        """Writes down what was counted since the last time."""
        self.dumps += 1
        path = Path(f"{self.out}.{self.dumps}")
        done = subprocess.run(
            ["callgrind_control", "-d", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        for _ in range(200):
            if path.exists() and "totals:" in path.read_text(errors="replace")[-200:]:
                return path
            time.sleep(0.05)
        raise RuntimeError(f"callgrind writes no {path}: {done.stdout}{done.stderr}")

    def instructions(self, load: Callable[[int], None], requests: int) -> float:
        """The instructions of each request: of 2N requests less those of N, so that what goes before them goes out."""
        load(requests)
        load(requests)
        self.dump()
        load(requests)
        once = total(self.dump())
        load(2 * requests)
        return (total(self.dump()) - once) / requests

    def stop(self) -> None:
        self.peer.stop()


def total(dump: Path) -> int:
    found = re.search(r"^totals: (\d+)", dump.read_text(errors="replace"), re.MULTILINE)
    if not found:
        raise RuntimeError(f"{dump} has no totals")
    return int(found[1])


def system_calls(process: Process, load: Callable[[], int]) -> Counter:
    """The system calls of each request: `sends`, `receives` and `other`, and all by name."""
    pids = [part for pid in process.tree() for part in ("-p", str(pid))]
    strace = subprocess.Popen(["strace", "-c", "-f", *pids], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(0.5)
    requests = load()
    strace.send_signal(signal.SIGINT)
    _, table = strace.communicate(timeout=30)
    calls: Counter = Counter()
    for line in table.splitlines():
        row = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", line)
        if row and row[2] != "total":
            count = int(row[1]) / requests
            kind = "sends" if row[2] in SENDS else "receives" if row[2] in RECEIVES else "other"
            calls[kind] += count
            calls[row[2]] += count
    if not calls:
        raise RuntimeError(f"strace counted nothing: {table}")
    return calls
