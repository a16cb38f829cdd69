"""Plays Autobahn's cases as a client or as a server: fuzz.py SUITE SPEC, and leaves the outcomes where SPEC says."""

import binascii
import json
import pathlib
import sys


def octets(text):
    """The suite's text is what it was in Python 2, bytes: each character stands for the byte of its number."""
    return text.encode("latin-1") if isinstance(text, str) else text


def bytes_for_text():
    """Lets what takes bytes take the suite's text; to be called before the suite is imported."""
    from autobahn.websocket import utf8validator

    hexlify, validator = binascii.hexlify, utf8validator.Utf8Validator
    binascii.b2a_hex = lambda data: hexlify(octets(data)).decode()

    class Utf8Validator(validator):
        def validate(self, data):
            return super().validate(octets(data))

    utf8validator.Utf8Validator = Utf8Validator


class Bytes:
    """Comes before the suite's protocols: gives bytes to Autobahn, and text to the suite."""

    def sendFrame(self, opcode, payload="", payload_len=None, **more):
        payload = octets(payload)
        if payload_len is not None:
            payload = (payload * (payload_len // len(payload) + 1))[:payload_len]
        super().sendFrame(opcode, payload, **more)

    def sendMessage(self, payload, *more, **named):
        super().sendMessage(octets(payload), *more, **named)

    def sendMessageFrameData(self, payload, *more, **named):
        return super().sendMessageFrameData(octets(payload), *more, **named)

    def sendCloseFrame(self, code=None, reasonUtf8=None, isReply=False):
        super().sendCloseFrame(code, octets(reasonUtf8), isReply)

    def onMessage(self, payload, isBinary):
        # The cases of compression work on bytes, the others on text.
        text = payload if hasattr(self.runCase, "TESTDATA") else payload.decode("latin-1")
        super().onMessage(text, isBinary)

    def onPong(self, payload):
        super().onPong(payload.decode("latin-1"))

    def killAfter(self, delay):
        # Half a second is short on busy cores; an end that comes in time is not waited for.
        super().killAfter(delay * 10)

    # The wire is not kept, but a case counts frames.
    def logRxOctets(self, *_):
        pass

    logTxOctets = logRxOctets

    def logRxFrame(self, header, _):
        self.rxFrameStats[header.opcode] = self.rxFrameStats.get(header.opcode, 0) + 1

    def logTxFrame(self, header, *_):
        self.txFrameStats[header.opcode] = self.txFrameStats.get(header.opcode, 0) + 1


def factory(fuzzing, base, spec):
    """Returns the suite's factory, but with headers of ours and without its reports."""

    class Factory(base):
        def setSessionParameters(self, *more, **named):
            super().setSessionParameters(*more, **({"headers": spec["headers"]} | named if named else {}))

        def createReports(self):
            keys = ["behavior", "behaviorClose", "remoteCloseCode"]
            outcomes = {
                agent: {name: {key: result[key] for key in keys} for name, result in results.items()}
                for agent, results in self.agents.items()
            }
            pathlib.Path(spec["outcomes"]).write_text(json.dumps(outcomes))

    return Factory(spec)


def main(suite, spec):
    sys.path.insert(0, suite)
    bytes_for_text()
    from autobahntestsuite import fuzzing
    from autobahntestsuite.case import case
    from twisted.internet import reactor

    # Pickles of equal things can differ.
    case.Case.compare = lambda _, one, other: one == other
    for each in fuzzing.Cases:
        if hasattr(each, "COUNT"):
            each.COUNT = min(each.COUNT, spec["messages"])
    fuzzing.asciiLogData = lambda data, **_: repr(data)
    if "servers" in spec:
        fuzzing.FuzzingClientProtocol = type("Client", (Bytes, fuzzing.FuzzingClientProtocol), {})
        factory(fuzzing, fuzzing.FuzzingClientFactory, spec)
    else:
        playing = factory(fuzzing, fuzzing.FuzzingServerFactory, spec)
        playing.protocol = type("Server", (Bytes, fuzzing.FuzzingServerProtocol), {})
        port = reactor.listenTCP(0, playing, interface="127.0.0.1").getHost().port
        print(f"listens on {port}", flush=True)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
