# Checks X-Menshen-Assertion: a line of MIDDLEWARE, above those that need the user.
import jwt
from django.conf import settings
from django.http import HttpResponse


def check_assertions(get_response):
    # Kept for five minutes, and fetched for an unknown kid, every 30 s at most.
    keys = jwt.PyJWKClient(settings.MENSHEN_JWKS, timeout=5)

    def check(request):
        token = request.headers.get("x-menshen-assertion", "")
        try:
            key = keys.get_signing_key_from_jwt(token)
            required = {"require": ["sub", "exp"]}
            audience = settings.MENSHEN_AUDIENCE
            request.assertion = jwt.decode(token, key, algorithms=["ES256"], audience=audience, issuer="menshen", options=required)
        except jwt.PyJWTError:
            return HttpResponse(status=401)
        return get_response(request)

    return check
