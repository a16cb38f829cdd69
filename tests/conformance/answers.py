"""Lets REDbot look at answers with and without Menshen in between: answers.py BINARY prints what it notes about each."""

import collections
import configparser
import subprocess
import sys

from stage import stage

PATHS = ["/page", "/orders", "/large"]


def notes(url, token):
    """Returns the notes about one resource, from the checks that belong to it as well."""
    import thor
    from redbot.resource import HttpResource

    config = configparser.ConfigParser()
    config.read_dict({"redbot": {"enable_local_access": "True"}})
    resource = HttpResource(config["redbot"])
    resource.set_request(url, headers=[("Authorization", f"Bearer {token}")])
    resource.on("check_done", thor.stop)
    resource.check()
    thor.run()
    checks = [resource, *resource.subreqs.values()]
    status = resource.response.status_code
    return [f"status {status}"] + [
        f"{note.level.name.lower()}: {note.__class__.__name__}" for check in checks for note in check.response.notes
    ]


def main(binary):
    worse = 0
    print("| path | note | without | with |\n|---|---|---|---|")
    with stage(binary) as running:
        for path in PATHS:
            seen = []
            for port in (running.backend.server_port, running.port):
                # One process for each, since REDbot's event loop ends with its first use.
                look = [sys.executable, __file__, "--notes", f"http://127.0.0.1:{port}{path}", running.token]
                said = subprocess.run(look, stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout
                seen.append(collections.Counter(said.splitlines()))
            without, through = seen
            for note in sorted(without | through):
                print(f"| {path} | {note} | {without[note]} | {through[note]} |")
                worse += note.startswith(("bad", "warn")) and through[note] > without[note]
        alive = running.alive()
    print(f"{len(PATHS)} resources; {worse} notes that only Menshen earns; alive: {alive}")
    return 0 if alive and not worse else 1


if __name__ == "__main__":
    if sys.argv[1] == "--notes":
        print(*notes(*sys.argv[2:4]), sep="\n")
    else:
        sys.exit(main(sys.argv[1]))
