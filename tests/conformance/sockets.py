"""Plays Autobahn's WebSocket cases: sockets.py BINARY SUITE prints how both ends behave with and without Menshen."""

import asyncio
import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from stage import stage

# Cases that repeat a message a thousand times repeat it so often.
MESSAGES = 50
DIRECT, HEADER, SUBPROTOCOL = "without Menshen", "token in Authorization", "token in the sub-protocol"
GROUPS = {
    1: "framing",
    2: "pings and pongs",
    3: "reserved bits",
    4: "opcodes",
    5: "fragmentation",
    6: "UTF-8",
    7: "closing",
    9: "limits: up to 16 MiB, fragments from 64 bytes",
    10: "automatic fragmentation",
    12: "compression, payloads",
    13: "compression, parameters",
}
KEYS = ["behavior", "behaviorClose", "remoteCloseCode"]
FUZZ = str(pathlib.Path(__file__).with_name("fuzz.py"))
# What the suite counts as right; the others are FAILED, WRONG CODE, UNCLEAN and the like.
RIGHT = {"OK", "NON-STRICT", "INFORMATIONAL"}


def echo():
    """Serves an echo of every message, and prints its port."""
    from websockets.asyncio.server import serve

    async def answer(connection):
        async for message in connection:
            await connection.send(message)

    async def run():
        options = {"max_size": 2**26, "ping_interval": None, "select_subprotocol": lambda *_: None}
        async with serve(answer, "127.0.0.1", 0, **options) as running:
            print(f"listens on {running.sockets[0].getsockname()[1]}", flush=True)
            await running.serve_forever()

    asyncio.run(run())


def play(url, agent, headers, subprotocols):
    """Is the client of a fuzzing server, for every case that it has."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import WebSocketException

    options = {"additional_headers": headers, "subprotocols": subprotocols, "max_size": 2**26, "ping_interval": None}

    async def run():
        async with connect(f"{url}/getCaseCount", **options) as connection:
            count = int(await connection.recv())
        for case in range(1, count + 1):
            with contextlib.suppress(WebSocketException, OSError):
                async with connect(f"{url}/runCase?case={case}&agent={agent}", **options) as connection:
                    async for message in connection:
                        await connection.send(message)

    asyncio.run(run())


@contextlib.contextmanager
def beside(*arguments):
    """Runs another process of these scripts, and gives it and the port that it prints."""
    environment = os.environ | {"WEBSOCKETS_MAX_FRAGMENTS": "1000000"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True, "env": environment}
    process = subprocess.Popen([sys.executable, *arguments], **options)
    try:
        port = next((found[1] for line in process.stdout if (found := re.match(r"listens on (\d+)", line))), None)
        yield process, port
    finally:
        process.terminate()
        process.wait(timeout=30)


def ways(running, direct):
    """Returns how to reach the other end: its port, the headers and the sub-protocols."""
    token = running.token
    return {
        DIRECT: (direct, {}, []),
        HEADER: (running.port, {"Authorization": f"Bearer {token}"}, []),
        SUBPROTOCOL: (running.port, {}, [f"menshen.bearer.{token}"]),
    }


def as_client(binary, suite, folder):
    """The suite is the client, an echo the server."""
    players, outcomes = [], {}
    with beside(__file__, "--echo") as (_, direct), stage(binary, backend=direct) as running:
        for number, (agent, (port, headers, subprotocols)) in enumerate(ways(running, direct).items()):
            server = {"agent": agent, "url": f"ws://127.0.0.1:{port}/chat", "protocols": subprotocols}
            file = folder / f"client-{number}.json"
            spec = {"servers": [server], "cases": ["*"], "headers": headers, "messages": MESSAGES, "outcomes": str(file)}
            command = [sys.executable, FUZZ, suite, json.dumps(spec)]
            players.append((file, subprocess.Popen(command, stdout=subprocess.DEVNULL)))
        for file, player in players:
            player.wait(timeout=1800)
            outcomes |= json.loads(file.read_text())
        return outcomes, running.alive()


def as_server(binary, suite, folder):
    """The suite is the server, a client echoes."""
    file = folder / "server.json"
    spec = {"url": None, "cases": ["*"], "headers": {}, "messages": MESSAGES, "outcomes": str(file)}
    with beside(FUZZ, suite, json.dumps(spec)) as (fuzzing, direct), stage(binary, backend=direct) as running:
        # It says what it plays.
        drained = subprocess.Popen(["cat"], stdin=fuzzing.stdout, stdout=subprocess.DEVNULL)
        players = []
        for agent, (port, headers, subprotocols) in ways(running, direct).items():
            how = json.dumps([f"ws://127.0.0.1:{port}", agent.replace(" ", "+"), headers, subprotocols])
            players.append(subprocess.Popen([sys.executable, __file__, "--play", how]))
        for player in players:
            player.wait(timeout=1800)
        report(direct)
        alive = running.alive()
    drained.wait(timeout=30)
    return json.loads(file.read_text()), alive


def report(port):
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect

    with connect(f"ws://127.0.0.1:{port}/updateReports?agent=all") as connection:
        with contextlib.suppress(WebSocketException):
            connection.recv()


def table(title, outcomes):
    """Prints how many of each group went right each way; returns what went otherwise than without Menshen."""
    direct = outcomes[DIRECT]
    print(f"\n| {title} | cases | " + " | ".join(outcomes) + " |\n|---" + "|---" * (len(outcomes) + 1) + "|")
    for group, name in GROUPS.items():
        cases = [case for case in direct if case.split(".")[0] == str(group)]
        right = [sum(results.get(case, {}).get("behavior") in RIGHT for case in cases) for results in outcomes.values()]
        print(f"| {group}: {name} | {len(cases)} | " + " | ".join(map(str, right)) + " |")
    print()
    different = []
    for case, expected in direct.items():
        if expected["behavior"] not in RIGHT:
            print(f"- {case} {DIRECT}: {brief(expected)}")
        for agent, results in outcomes.items():
            got = results.get(case, {"behavior": "NOT PLAYED"})
            if brief(got) == brief(expected):
                continue
            told = f"{case}, {agent}: {brief(got)} instead of {brief(expected)}"
            different.append(told)
            print(f"- {told}")
    return different


def brief(outcome):
    # Whether a server sees what is wrong before or after it echoes what was right depends on how octets arrive.
    return ", ".join(str(outcome.get(key)).replace("NON-STRICT", "OK") for key in KEYS)


def main(binary, suite):
    different, played, all_alive = [], 0, True
    with tempfile.TemporaryDirectory() as folder:
        for title, side in [("Autobahn as the client", as_client), ("Autobahn as the server", as_server)]:
            outcomes, alive = side(binary, suite, pathlib.Path(folder))
            different += table(title, outcomes)
            played += sum(map(len, outcomes.values())) - len(outcomes[DIRECT])
            all_alive &= alive
    print(f"{played} played through Menshen; {len(different)} differences; alive: {all_alive}")
    return 0 if all_alive and played and not different else 1


if __name__ == "__main__":
    if sys.argv[1] == "--echo":
        echo()
    elif sys.argv[1] == "--play":
        play(*json.loads(sys.argv[2]))
    else:
        sys.exit(main(*sys.argv[1:3]))
