#!/usr/bin/env python3
"""Sends a build that counts what it runs the requests for which the release build is to be optimised.

Everything runs on 127.0.0.1. Each process writes its counts when it is stopped.
"""

import argparse
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import load
import peers
import tokens
from load import Target
from shapes import Shapes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path, help="the build that counts")
    program = parser.parse_args().program.resolve()
    folder = Path(tempfile.mkdtemp(prefix="menshen-train-"))
    try:
        with ExitStack() as running:
            site = peers.Site(folder, program, tokens.Keys(folder), tokens.Certificate(folder))
            train(Shapes(site, Path(), running, quick=True))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def train(bench: Shapes) -> None:
    public = Target(bench.target("Menshen", path="/open/small").url, 128)
    over_wrk = [
        bench.target("Menshen"), bench.target("Menshen, access line"), bench.target("Menshen, ES256"), public,
        bench.target("Menshen", path="/16k", length=16 << 10), bench.target("Menshen, TLS", tls=True),
        bench.target("Menshen, access line", path="/post", method="POST", body_bytes=4096),
    ]  # fmt: skip
    for target in over_wrk:
        load.wrk(target, 3, bench.site.folder)
    body = bench.site.folder / "4k"
    body.write_bytes(b"x" * 4096)
    for path, more in (("/small", ()), ("/post", ("-d", str(body)))):
        target = bench.target("Menshen, TLS", tls=True, path=path)
        load.h2load(target, 20_000, http2=True, connections=32, streams=4, more=more)
    load.curl(bench.target("Menshen", path="/64m", length=64 << 20), 2)
    load.curl(bench.target("Menshen", path="/upload"), 2, bench.site.folder / "backend/www/64m")
    bench.echoes("Menshen")()


if __name__ == "__main__":
    main()
