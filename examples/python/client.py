"""Logs in to Latchkey, renews the token, and verifies it with the published key set."""

import os
import sys
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import jwt

sys.path.insert(0, str(Path(__file__).parent / "gen"))
from auth.v1 import auth_pb2, auth_pb2_grpc  # noqa: E402

URL = os.environ.get("LATCHKEY_URL", "http://127.0.0.1:8080")
KEY_SET_URL = os.environ.get("LATCHKEY_JWKS_URL", f"{URL}/.well-known/jwks.json")
ISSUER = "NomicGameManager.Api"
TIMEOUT_SECONDS = 10


def main() -> None:
    with grpc.insecure_channel(urlsplit(URL).netloc) as channel:
        service = auth_pb2_grpc.AuthServiceStub(channel)
        login = service.Login(
            auth_pb2.LoginRequest(
                username=os.environ.get("LATCHKEY_USERNAME", "TestUser"),
                password=os.environ.get("LATCHKEY_PASSWORD", "password"),
            ),
            timeout=TIMEOUT_SECONDS,
        )
        renewed = service.IssueToken(
            auth_pb2.IssueTokenRequest(),
            metadata=[("authorization", f"Bearer {login.access_token}")],
            timeout=TIMEOUT_SECONDS,
        )

    # Create it once per process: it caches the key set.
    keys = jwt.PyJWKClient(KEY_SET_URL, lifespan=300, timeout=TIMEOUT_SECONDS)
    claims = jwt.decode(
        renewed.access_token,
        keys.get_signing_key_from_jwt(renewed.access_token),
        algorithms=["RS256"],
        issuer=ISSUER,
        leeway=10,
        options={"require": ["sub", "exp"]},
    )
    until = datetime.fromtimestamp(claims["exp"], timezone.utc)
    print(f"subject {claims['sub']}, until {until.isoformat()}")


if __name__ == "__main__":
    main()
