"""A shop's backend in Flask: it has no login code, and knows its user from the headers that Menshen sets."""

from flask import Flask, jsonify, request

app = Flask(__name__)


def user():
    # The rule of WeChat Cloud Run: only a request with a source is somebody's.
    if not request.headers.get("x-wx-source"):
        return None
    return request.headers.get("x-wx-openid")


@app.get("/orders")
def orders():
    return jsonify(user=user(), app=request.headers.get("x-menshen-app"))


@app.post("/orders")
def order():
    return jsonify(
        user=user(),
        app=request.headers.get("x-menshen-app"),
        order=request.get_json(silent=True),
    )


@app.get("/headers")
def headers():
    # The environ, not request.headers: here it shows when a server reads X_WX_OPENID as X-WX-OPENID.
    return jsonify({k: v for k, v in request.environ.items() if k.startswith("HTTP_")})
