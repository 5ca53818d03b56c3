"""Requires a token in HTTP requests and answers by RFC 6750 section 3: 401 without a valid one, 403 if it lacks a
role, 503 if it cannot be checked. The body of a refused request is not read."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from .verify import Claims, TokenRefused, Verifier

_BEARER = re.compile(r"bearer +([\w.~+/-]+=*)", re.IGNORECASE | re.ASCII)


class Denial(NamedTuple):
    """The answer to a request that must not pass."""

    status: HTTPStatus
    header: str
    value: str
    #: For people.
    message: str


_REFUSED = Denial(
    HTTPStatus.UNAUTHORIZED,
    "www-authenticate",
    'Bearer error="invalid_token"',
    "the token is refused",
)
_REQUIRED = _REFUSED._replace(value="Bearer", message="a token is required")
_LACKING = Denial(
    HTTPStatus.FORBIDDEN,
    "www-authenticate",
    'Bearer error="insufficient_scope"',
    "the user lacks the role",
)
_OUTAGE = Denial(HTTPStatus.SERVICE_UNAVAILABLE, "retry-after", "5", "the token cannot be checked")


class Demand:
    """:param roles: roles of which the user must have one; without them any user may pass"""

    def __init__(self, verifier: Verifier, roles: Sequence[str] = ()) -> None:
        self._verifier = verifier
        self._roles = frozenset(roles)

    def _check(self, authorization: str) -> Claims | Denial:
        found = _BEARER.fullmatch(authorization)
        if found is None:
            return _REQUIRED
        try:
            claims = self._verifier.verify(found.group(1))
        except TokenRefused as refusal:
            return _OUTAGE if refusal.is_outage else _REFUSED
        if self._roles and self._roles.isdisjoint(claims.roles):
            return _LACKING
        return claims


class WsgiDemand(Demand):
    """For WSGI applications, such as Flask and Django. They find the claims in `environ["latchkey.claims"]`."""

    def __init__(self, app: Any, verifier: Verifier, roles: Sequence[str] = ()) -> None:
        super().__init__(verifier, roles)
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        verdict = self._check(environ.get("HTTP_AUTHORIZATION", ""))
        if isinstance(verdict, Denial):
            headers = [(verdict.header, verdict.value), ("content-length", "0")]
            start_response(f"{verdict.status.value} {verdict.status.phrase}", headers)
            return []
        environ["latchkey.claims"] = verdict
        return self._app(environ, start_response)


class AsgiDemand(Demand):
    """For ASGI applications, such as FastAPI and Starlette. They find the claims in `scope["latchkey.claims"]`.
    Passes on lifespan events, and refuses websockets without a valid token."""

    def __init__(self, app: Any, verifier: Verifier, roles: Sequence[str] = ()) -> None:
        super().__init__(verifier, roles)
        self._app = app

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        values = [value for name, value in scope["headers"] if name == b"authorization"]
        authorization = values[0].decode("latin-1") if len(values) == 1 else ""
        verdict = await asyncio.to_thread(self._check, authorization)
        if isinstance(verdict, Claims):
            await self._app({**scope, "latchkey.claims": verdict}, receive, send)
        elif scope["type"] == "websocket":
            # A websocket that is closed before it is accepted is answered with 403.
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(verdict.header.encode(), verdict.value.encode()), (b"content-length", b"0")]
            start = {"type": "http.response.start", "status": verdict.status.value}
            await send({**start, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
