#!/usr/bin/env python3
"""Prints which functions a request's instructions are in: `functions.py DUMP REQUESTS`, from a file of callgrind's."""

import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

SHOWN = 70


def read(dump: Path) -> tuple[Counter, Counter, dict[str, Counter]]:
    """Returns the instructions in each function, with what it calls, and in which files its inlined code is."""
    names: dict[str, dict[str, str]] = defaultdict(dict)
    own, inclusive, files = Counter(), Counter(), defaultdict(Counter)

    def named(kind: str, text: str) -> str:
        found = re.match(r"\((\d+)\)(?: (.*))?", text)
        if not found:
            return text
        number, name = found.groups()
        if name:
            names[kind][number] = name
        return names[kind].get(number, number)

    function, file, is_call = "", "", False
    for line in dump.read_text(errors="replace").splitlines():
        if match := re.match(r"(c?)(fn|fl|fi|fe|ob)=(.*)", line):
            called, key, text = match.groups()
            name = named({"fn": "fn", "ob": "ob"}.get(key, "fl"), text)
            if not called and key == "fn":
                function = name
            elif not called and key in ("fl", "fi", "fe"):
                file = name
        elif line.startswith("calls="):
            is_call = True
        elif match := re.match(r"[+*-]?\d* ?(\d+)$", line) if line[:1] in "+-*0123456789" else None:
            cost = int(line.split()[1])
            inclusive[function] += cost
            if not is_call:
                own[function] += cost
                files[function][file] += cost
            is_call = False
    return own, inclusive, files


def short(path: str) -> str:
    path = re.sub(r".*/(registry/src/[^/]+|rustc/[0-9a-f]+/library)/", "", path)
    return re.sub(r".*/(src|crates)/", r"\1/", path) if path.startswith("/") else path


def main() -> None:
    dump, requests = Path(sys.argv[1]), int(sys.argv[2])
    own, inclusive, files = read(dump)
    print(f"{sum(own.values()) / requests:,.0f} instructions a request\n")
    print("| own | with what it calls | function | files of its code, inlined |\n|---|---|---|---|")
    for function, cost in own.most_common(SHOWN):
        parts = ", ".join(f"{short(file)} {part / requests:,.0f}" for file, part in files[function].most_common(5))
        print(f"| {cost / requests:,.0f} | {inclusive[function] / requests:,.0f} | {function[:140]} | {parts} |")
    by_file = Counter()
    for parts in files.values():
        by_file.update(parts)
    print("\n| own | file |\n|---|---|")
    for file, cost in by_file.most_common(SHOWN):
        print(f"| {cost / requests:,.0f} | {short(file)} |")


if __name__ == "__main__":
    main()
