#!/usr/bin/env python3
"""Prints where the cost of a shape of load goes, by function: `where.py download|threads [PEER…]` or `where.py check`.

perf (Debian: linux-perf) samples the CPU time of the first two, in the kernel and in user space. `check` has callgrind count the
instructions in user space by which a request with a token differs from one to a public route.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import cost
import functions
import load
import peers
import tokens
from shapes import Shapes

ROOT = Path(__file__).resolve().parents[2]
DOWNLOADS = 60
SHOWN = 25


def samples(pids: list[int], load: Callable[[], object], file: Path) -> str:
    """What perf reports of these processes while `load` runs."""
    perf = subprocess.Popen(
        ["perf", "record", "-q", "-F", "1999", "-o", str(file), "-p", ",".join(map(str, pids))],
        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        load()
    finally:
        perf.send_signal(2)
        perf.wait(30)
    report = ["perf", "report", "-q", "--no-children", "--sort", "symbol", "-i", str(file)]
    return subprocess.run(report, capture_output=True, text=True, check=True).stdout


def sleeps(pids: list[int]) -> int:
    """How often threads of these processes have waited so far."""
    statuses = (status.read_text() for pid in pids for status in Path(f"/proc/{pid}/task").glob("*/status"))
    return sum(int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", text, re.MULTILINE)[1]) for text in statuses)


def table(report: str, cpu_us: float) -> str:
    rows = []
    for line in report.splitlines():
        if found := re.match(r"\s*([\d.]+)%\s+\[(.)\] (.*)", line):
            rows.append((float(found[1]), {"k": "kernel", ".": "user"}.get(found[2], found[2]), re.sub(r"(\s+-)+\s*$", "", found[3])[:90]))
    kernel = sum(share for share, where, _ in rows if where == "kernel")
    text = [f"{cpu_us:,.1f} µs of CPU time each; {kernel:.0f} % in the kernel"]
    text += [f"{share:5.1f} %  {share * cpu_us / 100:9,.2f} µs  {where:6}  {name}" for share, where, name in rows[:SHOWN]]
    return "\n".join(text)


def check(bench: Shapes, folder: Path) -> None:
    """The instructions of a request, by function, on a protected route less those on a public one."""
    requests = 2000
    peer = bench.peer("Menshen")
    peer.stop()
    grind = cost.Callgrind(peer, folder)
    origin = f"http://127.0.0.1:{peer.port}"
    counted = []
    for target in (load.Target(f"{origin}/small", 128, bench.token), load.Target(f"{origin}/open/small", 128)):
        load.h2load(target, requests, http2=False, connections=8)
        grind.dump()
        load.h2load(target, requests, http2=False, connections=8)
        counted.append(functions.read(grind.dump())[0])
    grind.stop()
    protected, public = counted
    protected.subtract(public)
    print(f"== check: {sum(protected.values()) / requests:,.0f} instructions more than a public route")
    for name, more in sorted(protected.items(), key=lambda item: -abs(item[1]))[:SHOWN]:
        print(f"{more / requests:8,.0f}  {name[:110]}")


def main() -> None:
    shape, names = sys.argv[1], sys.argv[2:]
    folder = Path(tempfile.mkdtemp(prefix="menshen-where-"))
    try:
        with ExitStack() as running:
            program = ROOT / "target/release/menshen"
            site = peers.Site(folder, program, tokens.Keys(folder), tokens.Certificate(folder))
            bench = Shapes(site, ROOT / "benches/peers/pingora/target", running, quick=False)
            if shape == "check":
                check(bench, folder)
                return
            usual = {"download": ["Menshen", "nginx"], "threads": ["Menshen", "Menshen, 2 threads"]}[shape]
            for name in names or usual:
                process = bench.peer(name).process
                run = bench.download(name, DOWNLOADS) if shape == "download" else bench.wrk(name, bench.target(name))
                run()
                pids = process.tree()
                before, slept, counted = process.cpu_secs(), sleeps(pids), []
                report = samples(pids, lambda: counted.append(run()), folder / "perf.data")
                requests = counted[0].requests
                each, slept = (process.cpu_secs() - before) * 1e6 / requests, (sleeps(pids) - slept) / requests
                print(f"== {shape}, {name}: {slept:.3f} waits, {table(report, each)}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
