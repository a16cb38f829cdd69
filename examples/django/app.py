"""A shop's backend in Django: it has no login code, and knows its user from the headers that Menshen sets."""

import json
import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.http import require_http_methods

MENSHEN_JWKS = os.environ.get("MENSHEN_JWKS")

settings.configure(
    # Menshen has looked at the host: it comes as the client sent it, and none of it is used here.
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    # With assertions, nobody but Menshen can say who the user is, even if others reach this server.
    MIDDLEWARE=["assertion.check_assertions"] if MENSHEN_JWKS else [],
    MENSHEN_JWKS=MENSHEN_JWKS,
    MENSHEN_AUDIENCE=os.environ.get("MENSHEN_AUDIENCE"),
)


def user(request):
    if hasattr(request, "assertion"):
        return request.assertion["sub"]
    # The rule of WeChat Cloud Run: only a request with a source is somebody's.
    if not request.headers.get("x-wx-source"):
        return None
    return request.headers.get("x-wx-openid")


def app_name(request):
    if hasattr(request, "assertion"):
        return request.assertion["app"]
    return request.headers.get("x-menshen-app")


@require_http_methods(["GET", "POST"])
def orders(request):
    answer = {"user": user(request), "app": app_name(request)}
    if request.method == "POST":
        try:
            answer["order"] = json.loads(request.body)
        except ValueError:
            answer["order"] = None
    return JsonResponse(answer)


def headers(request):
    # META, not request.headers: here it shows when a server reads X_WX_OPENID as X-WX-OPENID.
    return JsonResponse({k: v for k, v in request.META.items() if k.startswith("HTTP_")})


urlpatterns = [path("orders", orders), path("headers", headers)]

application = get_wsgi_application()
