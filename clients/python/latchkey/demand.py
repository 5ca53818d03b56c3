"""Requires a token in HTTP requests and answers by RFC 6750 section 3: 401 without a valid one, 403 if it lacks a
role, 503 if it cannot be checked. The body of a refused request is not read."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any

from .verify import Claims, TokenRefused, Verifier

_BEARER = re.compile(r"bearer +([\w.~+/-]+=*)", re.IGNORECASE | re.ASCII)

_Headers = list[tuple[str, str]]


class _Demand:
    """:param roles: roles of which the user must have one; without them any user may pass"""

    def __init__(self, app: Any, verifier: Verifier, roles: Sequence[str] = ()) -> None:
        self._app = app
        self._verifier = verifier
        self._roles = frozenset(roles)

    def _check(self, authorization: str) -> Claims | tuple[HTTPStatus, _Headers]:
        found = _BEARER.fullmatch(authorization)
        if found is None:
            return HTTPStatus.UNAUTHORIZED, [("www-authenticate", "Bearer")]
        try:
            claims = self._verifier.verify(found.group(1))
        except TokenRefused as refusal:
            if refusal.is_outage:
                return HTTPStatus.SERVICE_UNAVAILABLE, [("retry-after", "5")]
            challenge = 'Bearer error="invalid_token"'
            return HTTPStatus.UNAUTHORIZED, [("www-authenticate", challenge)]
        if self._roles and self._roles.isdisjoint(claims.roles):
            challenge = 'Bearer error="insufficient_scope"'
            return HTTPStatus.FORBIDDEN, [("www-authenticate", challenge)]
        return claims


class WsgiDemand(_Demand):
    """For WSGI applications, such as Flask and Django. They find the claims in `environ["latchkey.claims"]`."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        verdict = self._check(environ.get("HTTP_AUTHORIZATION", ""))
        if not isinstance(verdict, Claims):
            status, headers = verdict
            start_response(f"{status.value} {status.phrase}", [*headers, ("content-length", "0")])
            return []
        environ["latchkey.claims"] = verdict
        return self._app(environ, start_response)


class AsgiDemand(_Demand):
    """For ASGI applications, such as FastAPI and Starlette. They find the claims in `scope["latchkey.claims"]`.
    Passes on lifespan events, and refuses websockets without a valid token."""

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
            status, headers = verdict
            raw = [(name.encode(), value.encode()) for name, value in headers]
            start = {"type": "http.response.start", "status": status.value}
            await send({**start, "headers": [*raw, (b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
