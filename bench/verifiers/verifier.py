"""Verifiers for Python as their documentation sets them up; verifier.js tells the protocol."""

import os
import sys

import jwt
import requests
from authlib.integrations.base_client import BaseApp, OAuth2Mixin, OpenIDMixin
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from joserfc import jwt as jose_jwt
from joserfc.errors import InvalidKeyIdError
from joserfc.jwk import KeySet
from jwcrypto import jwk as jwcrypto_jwk
from jwcrypto import jwt as jwcrypto_jwt
from oic.oic import Client as OicClient

ISSUER = os.environ["ISSUER"]
JWKS_URL = os.environ["JWKS_URL"]
AUDIENCE = "api"


def pyjwt(url=JWKS_URL, **options):
    keys = jwt.PyJWKClient(url, **options)

    def verify(token):
        key = keys.get_signing_key_from_jwt(token)
        jwt.decode(token, key, algorithms=["RS256"], issuer=ISSUER, audience=AUDIENCE)

    return verify


class Authlib(OAuth2Mixin, OpenIDMixin, BaseApp):
    """What FlaskOAuth2App is made of, without Flask."""

    client_cls = OAuth2Session


CLAIMS = jose_jwt.JWTClaimsRegistry(
    leeway=10,
    iss={"essential": True, "value": ISSUER},
    aud={"essential": True, "value": AUDIENCE},
    exp={"essential": True},
)


def authlib():
    """The key set as Authlib's client keeps it, read again as in its `parse_id_token`."""
    app = Authlib(None, server_metadata_url=f"{ISSUER}/.well-known/openid-configuration")

    def verify(token):
        def decode(force):
            keys = KeySet.import_key_set(app.fetch_jwk_set(force=force))
            return jose_jwt.decode(token, keys, algorithms=["RS256"])

        try:
            found = decode(False)
        except (ValueError, InvalidKeyIdError):
            found = decode(True)
        CLAIMS.validate(found.claims)
        # The rest of its validation requires https, and endpoints that Latchkey does not have.
        AuthorizationServerMetadata(app.load_server_metadata()).validate_response_types_supported()

    return verify


def pyoidc():
    """A strict reader of provider metadata; what it has read leads PyJWT to the keys."""
    found = OicClient().provider_config(ISSUER)
    return pyjwt(found["jwks_uri"])


def jwcrypto():
    def verify(token):
        keys = jwcrypto_jwk.JWKSet.from_json(requests.get(JWKS_URL, timeout=10).text)
        claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": None}
        jwcrypto_jwt.JWT(jwt=token, key=keys, algs=["RS256"], check_claims=claims)

    return verify


LIBRARIES = {
    "PyJWT": pyjwt,
    "PyJWT set": lambda: pyjwt(lifespan=60, cooldown_duration=5),
    "PyJWT with cache_keys": lambda: pyjwt(cache_keys=True),
    "Authlib, discovery": authlib,
    "pyoidc, metadata": pyoidc,
    "jwcrypto": jwcrypto,
}


def main():
    verify = None
    for line in sys.stdin:
        if line.startswith("+"):
            print("ok", flush=True)
            continue
        try:
            verify = verify or LIBRARIES[sys.argv[1]]()
            verify(line.strip())
            print("ok", flush=True)
        except Exception as error:  # noqa: BLE001
            print(f"no {type(error).__name__} {error}".replace("\n", " "), flush=True)


main()
