"""Processes that a benchmark starts, their CPU time and their memory."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

# A program under callgrind takes its time to start.
START_SECS = 60


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Process:
    """A server that accepts connections on `port` once it is made, and is ended by `stop`."""

    def __init__(self, command: list[str], port: int, log: Path, env: dict | None = None):
        self.command, self.port, self.log = command, port, log
        with log.open("ab") as output:
            self.child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **(env or {})}
            )
        until = time.monotonic() + START_SECS
        while not accepts(port):
            if self.child.poll() is not None or time.monotonic() > until:
                self.stop()
                raise RuntimeError(f"{command[0]} does not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        return self.child.pid

    def tree(self) -> list[int]:
        """The process and its descendants."""
        found, todo = [], [self.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                todo.extend(int(child) for child in children.read_text().split())
        return found

    def cpu_secs(self) -> float:
        """The time that its threads were on a CPU, in user space and in the kernel."""
        return sum(
            int(schedstat.read_text().split()[0])
            for pid in self.tree()
            for schedstat in Path(f"/proc/{pid}/task").glob("*/schedstat")
        ) / 1e9

    def resident_bytes(self) -> int:
        """The memory that it occupies, without what is another's too."""
        pages = 0
        for pid in self.tree():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    pages += int(line.split()[1])
        return pages * 1024

    def stop(self) -> None:
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


def accepts(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0
