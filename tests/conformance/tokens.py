"""Plays PyJWT and its tests' data against Menshen: tokens.py BINARY PYJWT-SOURCE prints what was taken and refused."""

import ast
import base64
import collections
import json
import pathlib
import re
import sys
import time

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from stage import APPID, stage

SIGNERS = [("ES256", "testkey_ec.priv"), ("EdDSA", "testkey_ed25519.pem"), ("RS256", "testkey_rsa.priv")]


def private(path):
    return load_pem_private_key(path.read_bytes(), None)


def claims(**changed):
    now = int(time.time())
    usual = {
        "iss": "menshen", "aud": APPID, "sub": "pyjwt", "app": "shop", "src": "wx_client",
        "sid": "AAAAAAAAAAAAAAAAAAAAAA", "iat": now, "nbf": now, "exp": now + 600,
    }
    usual.update(changed)
    return {name: value for name, value in usual.items() if value is not None}


def unsigned(header, payload):
    part = lambda data: base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()
    return f"{part(header)}.{part(payload)}."


def found(tests):
    """Returns whatever in the tests' sources looks like a token."""
    tokens = set()
    for file in tests.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            value = getattr(node, "value", None) if isinstance(node, ast.Constant) else None
            value = value.decode("latin-1") if isinstance(value, bytes) else value
            if isinstance(value, str) and re.fullmatch(r"[\w-]{3,}\.[\w-]*(\.[\w-]*)?", value, re.ASCII):
                tokens.add(value)
    return sorted(tokens)


def forged(keys):
    """Yields tokens that must not pass, each with what is wrong."""
    for algorithm, name in SIGNERS:
        key, kid = private(keys / name), f"0-{algorithm}"
        sign = lambda payload, **header: jwt.encode(payload, key, algorithm, {"kid": kid, **header})
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        yield "no signature", unsigned({"alg": "none", "kid": kid}, claims())
        yield "no signature", unsigned({"alg": algorithm, "kid": kid}, claims())
        # PyJWT itself refuses to use a public key as a secret, so this is made by hand.
        head = unsigned({"alg": "HS256", "kid": kid}, claims())[:-1]
        mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(head.encode(), public)
        yield "public key as secret", f"{head}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
        yield "unknown kid", jwt.encode(claims(), key, algorithm, {"kid": "other"})
        yield "no kid", jwt.encode(claims(), key, algorithm)
        other = next(kid for a, _ in SIGNERS if a != algorithm for kid in [f"0-{a}"])
        yield "another key's kid", jwt.encode(claims(), key, algorithm, {"kid": other})
        yield "unknown crit", sign(claims(), crit=["x"], x=1)
        now = int(time.time())
        for what, changed in [
            ("expired", {"exp": now - 1}), ("exp missing", {"exp": None}), ("exp no number", {"exp": "soon"}),
            ("exp infinite", {"exp": 1e400}), ("nbf ahead", {"nbf": now + 300}), ("nbf no number", {"nbf": "now"}),
            ("aud other", {"aud": "other"}), ("aud missing", {"aud": None}), ("aud list of others", {"aud": ["a", "b"]}),
            ("iss other", {"iss": "other"}), ("iss missing", {"iss": None}), ("iss list", {"iss": ["other"]}),
            ("sub missing", {"sub": None}), ("sub no text", {"sub": 7}), ("app unknown", {"app": "other"}),
        ]:
            yield what, jwt.api_jws.encode(json.dumps(claims(**changed)).encode(), key, algorithm, {"kid": kid})
    for file in sorted(keys.glob("jwk_*key_*.json")):
        jwk = jwt.PyJWK(json.loads(file.read_text()))
        yield f"key {file.name}", jwt.encode(claims(), jwk.key, jwk.algorithm_name, {"kid": "0-ES256"})


def main(binary, source):
    tests = pathlib.Path(source) / "tests"
    pkcs8 = lambda name: private(tests / "keys" / name).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key_files = {f"0-{algorithm}.{algorithm}.pem": pkcs8(name) for algorithm, name in SIGNERS}
    table, wrong = collections.Counter(), []
    with stage(binary, keys=key_files) as running:

        def tried(kind, token, wanted):
            before = len(running.backend.received)
            headers = {"Authorization": f"Bearer {token}"}
            status, body = running.ask(running.port, "GET", "/orders", headers=headers)
            got = len(running.backend.received) - before
            error = "" if status == 200 else " " + json.loads(body)["error"]
            table[kind, f"{status}{error}"] += 1
            if (status, got) != ((200, 1) if wanted == 200 else (401, 0)):
                wrong.append((kind, status, got, token))

        for algorithm, name in SIGNERS:
            token = jwt.encode(claims(), private(tests / "keys" / name), algorithm, {"kid": f"0-{algorithm}"})
            tried(f"signed by PyJWT with {algorithm}", token, 200)
            user = dict(running.backend.received[-1][2])["x-wx-openid"]
            wrong += [] if user == "pyjwt" else [("user", user)]
        for token in found(tests):
            tried("a token in PyJWT's tests", token, 401)
        for kind, token in forged(tests / "keys"):
            tried(kind, token, 401)
        keys = jwt.PyJWKSet.from_json(running.ask(running.port, "GET", "/_auth/jwks.json")[1])
        key = keys[jwt.get_unverified_header(running.token)["kid"]]
        said = jwt.decode(running.token, key, [key.algorithm_name], audience=APPID, issuer="menshen")
        table["signed by Menshen, verified by PyJWT", "valid" if said["app"] == "shop" else "?"] += 1
        alive = running.alive()
    print("| token | outcome | cases |\n|---|---|---|")
    for (kind, outcome), cases in sorted(table.items()):
        print(f"| {kind} | {outcome} | {cases} |")
    for what in wrong:
        print("wrong:", *what)
    print(f"{sum(table.values())} cases; {len(wrong)} wrong; alive: {alive}")
    return 0 if alive and not wrong else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
