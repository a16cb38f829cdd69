#!/usr/bin/env python3
"""Compares what a request costs Menshen and other proxies, and writes the tables of benches/README.md.

Everything runs on 127.0.0.1 with one worker thread each. A figure of CPU time is the median of rounds in which the
proxies take turns. The run fails when an answer was not the expected one.
"""

import argparse
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import peers
import report
import tokens
from shapes import FULL, QUICK, Shapes

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "benches" / "README.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/menshen", help="the binary to measure")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds of the most telling shapes")
    parser.add_argument("--write", action="store_true", help="put the tables in benches/README.md")
    parser.add_argument("parts", nargs="*", help=f"only these parts: {' '.join(FULL)}")
    options = parser.parse_args()
    parts = options.parts or (QUICK if options.quick else FULL)
    whole = not options.quick and set(parts) == set(FULL) and options.program.resolve() == parser.get_default("program").resolve()
    if options.write and not whole:
        print("benches/README.md stays as it is: it has all parts of the release build", file=sys.stderr)
    if unknown := [part for part in parts if part not in FULL]:
        parser.error(f"there is no part {', '.join(unknown)}")

    folder = Path(tempfile.mkdtemp(prefix="menshen-bench-"))
    try:
        with ExitStack() as running:
            site = peers.Site(folder, options.program.resolve(), tokens.Keys(folder), tokens.Certificate(folder))
            bench = Shapes(site, ROOT / "benches/peers/pingora/target", running, quick=options.quick)
            for part in parts:
                print(f"== {part}", file=sys.stderr, flush=True)
                getattr(bench, part)()
    finally:
        shutil.rmtree(folder, ignore_errors=True)

    command = "make bench-quick" if options.quick else "make bench"
    text = report.tables(bench.results, command)
    print(text)
    if options.write and whole:
        report.write(README, text)


if __name__ == "__main__":
    main()
