# Checks X-Menshen-Assertion before every request of an application.
import jwt
from flask import abort, g, request


def check_assertions(app, jwks, audience):
    # Kept for five minutes, and fetched for an unknown kid, every 30 s at most.
    keys = jwt.PyJWKClient(jwks, timeout=5)

    @app.before_request
    def check():
        token = request.headers.get("x-menshen-assertion", "")
        try:
            key = keys.get_signing_key_from_jwt(token)
            required = {"require": ["sub", "exp"]}
            g.assertion = jwt.decode(token, key, algorithms=["ES256"], audience=audience, issuer="menshen", options=required)
        except jwt.PyJWTError:
            abort(401)
