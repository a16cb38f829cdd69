"""A shop's backend in Flask: it has no login code, and knows its user from the headers that Menshen sets."""

import os

from flask import Flask, g, jsonify, request

app = Flask(__name__)

# With assertions, nobody but Menshen can say who the user is, even if others reach this server.
if os.environ.get("MENSHEN_JWKS"):
    from assertion import check_assertions

    check_assertions(app, os.environ["MENSHEN_JWKS"], os.environ["MENSHEN_AUDIENCE"])


def user():
    if "assertion" in g:
        return g.assertion["sub"]
    # The rule of WeChat Cloud Run: only a request with a source is somebody's.
    if not request.headers.get("x-wx-source"):
        return None
    return request.headers.get("x-wx-openid")


def app_name():
    return g.assertion["app"] if "assertion" in g else request.headers.get("x-menshen-app")


@app.get("/orders")
def orders():
    return jsonify(user=user(), app=app_name())


@app.post("/orders")
def order():
    return jsonify(
        user=user(),
        app=app_name(),
        order=request.get_json(silent=True),
    )


@app.get("/headers")
def headers():
    # The environ, not request.headers: here it shows when a server reads X_WX_OPENID as X-WX-OPENID.
    return jsonify({k: v for k, v in request.environ.items() if k.startswith("HTTP_")})
