"""Signing keys, a TLS certificate, and tokens as Menshen issues them."""

import base64
import hashlib
import hmac
import json
import os
import subprocess
import time
from pathlib import Path

# Ids of keys begin with the time in milliseconds; `now` has them sign at once.
KID = "0000000001000-00000001-now"
ISSUER = "menshen"
APP = "bench"
APPID = "wx00000000000000aa"
APP_SECRET = "0123456789abcdef0123456789abcdef"


def write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


class Keys:
    """Both kinds of key, in Menshen's folders and as HAProxy wants them."""

    def __init__(self, folder: Path):
        self.secret = base64.urlsafe_b64encode(os.urandom(36)).decode()
        self.hs256 = folder / "keys-hs256"
        self.es256 = folder / "keys-es256"
        for keys in (self.hs256, self.es256):
            keys.mkdir(mode=0o700)
        encoded = base64.b64encode(self.secret.encode()).decode()
        write_private(self.hs256 / f"{KID}.HS256.secret", encoded)
        private = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        key_file = self.es256 / f"{KID}.ES256.pem"
        write_private(key_file, private)
        self.es256_public = folder / "es256.pub.pem"
        self.es256_public.write_text(openssl("pkey", "-in", str(key_file), "-pubout"))


class Certificate:
    """A self-signed certificate for 127.0.0.1."""

    def __init__(self, folder: Path):
        self.cert, self.key, self.both = folder / "cert.pem", folder / "key.pem", folder / "both.pem"
        openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout", str(self.key), "-out", str(self.cert),
        )  # fmt: skip
        self.key.chmod(0o600)
        write_private(self.both, self.cert.read_text() + self.key.read_text())


def openssl(*arguments: str) -> str:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr}")
    return done.stdout


def encode(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def many(secret: str, count: int, path: Path) -> None:
    """Writes `count` tokens of as many users to a file, one a line."""
    now = int(time.time())
    header = encode(json.dumps({"typ": "JWT", "alg": "HS256", "kid": KID}).encode())
    keyed = hmac.new(secret.encode(), digestmod=hashlib.sha256)
    with path.open("wb", buffering=1 << 20) as file:
        for number in range(count):
            claims = (
                f'{{"iss":"{ISSUER}","aud":"{APPID}","sub":"o{number:027}","app":"{APP}","unionid":"u{number:027}",'
                f'"sid":"{encode(number.to_bytes(16, "big")).decode()}","src":"wx_client","iat":{now},"nbf":{now},'
                f'"exp":{now + 7200}}}'
            )
            signed = header + b"." + encode(claims.encode())
            mac = keyed.copy()
            mac.update(signed)
            file.write(signed + b"." + encode(mac.digest()) + b"\n")
