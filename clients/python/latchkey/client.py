"""A source of access tokens: logs in once, keeps the token fresh, goes on with it while Latchkey is unavailable."""

from __future__ import annotations

import asyncio
import base64
import json
import random as system_random
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from .clock import Clock, SystemClock

ErrorCode = Literal["refused", "rate_limited", "unavailable", "closed", "protocol"]

_REPLACE_PAUSE_SECONDS = 10.0
_BACK_OFF_SECONDS = 1.0
_BACK_OFF_MAX_SECONDS = 60.0
_ANSWER_BYTES_MAX = 65_536


@dataclass(frozen=True)
class Credentials:
    username: str
    password: str


class TokenSourceError(Exception):
    """The only error of a token source. Holds no password and no token.

    `code` is `refused` (username, password or token), `rate_limited` (too many failed logins),
    `unavailable` (Latchkey does not answer, or answers that it cannot serve now), `protocol` (the answer is not
    Latchkey's) or `closed`.
    """

    def __init__(self, code: ErrorCode, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        #: Seconds that Latchkey asks to wait; None if it does not.
        self.retry_after = retry_after

    @property
    def is_retryable(self) -> bool:
        """Whether the same call may succeed later."""
        return self.code in ("rate_limited", "unavailable")


@dataclass(frozen=True)
class _Held:
    token: str
    renew_at: float
    expires_at: float


class TokenSource:
    """A token source, safe to use from several threads.

    :param base_url: address of Latchkey, such as `https://auth.example.com`
    :param credentials: username and password, or a function that is called before each login
    :param renew_at: part of a token's lifetime after which it is renewed, from .1 to .95
    :param jitter: renewals come earlier by a random part of the lifetime, up to this one; from 0 to .1
    :param timeout: seconds for one `token()` that has to call Latchkey, retries included, from .1
    :param refused_pause: seconds during which refused credentials are not sent again, from 60
    :param on_event: called with `logged_in`, `renewed` and `failed`, the last with the error
    """

    def __init__(
        self,
        base_url: str,
        credentials: Credentials | Callable[[], Credentials],
        *,
        renew_at: float = 0.8,
        jitter: float = 0.05,
        timeout: float = 10.0,
        refused_pause: float = 300.0,
        on_event: Callable[[str, TokenSourceError | None], None] | None = None,
        clock: Clock | None = None,
        random: Callable[[], float] = system_random.random,
        http: httpx.Client | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._credentials = credentials
        self._renew_at = _in_range("renew_at", renew_at, 0.1, 0.95)
        self._jitter = _in_range("jitter", jitter, 0, 0.1)
        self._timeout = _in_range("timeout", timeout, 0.1, 600)
        self._refused_pause = _in_range("refused_pause", refused_pause, 60, 86_400)
        self._on_event = on_event
        self._clock: Clock = clock or SystemClock()
        self._random = random
        # Credentials must go to the configured address only.
        self._http = http or httpx.Client(follow_redirects=False)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._held: _Held | None = None
        self._flight: Future[_Held] | None = None
        self._cancel_timer: Callable[[], None] = lambda: None
        self._failure: TokenSourceError | None = None
        self._failed_until = float("-inf")
        self._failures = 0
        self._replaced_at = float("-inf")

    def token(self, wait: float | None = None) -> str:
        """Returns the access token, which all callers share until it is renewed.

        :param wait: seconds after which this caller stops waiting
        :raises TokenSourceError: if no token can be had within `timeout`
        :raises TimeoutError: after `wait`
        """
        with self._lock:
            if self._closing.is_set():
                raise _closed()
            now = self._clock.now()
            held = self._held
            if held is not None and now < held.expires_at:
                if now >= held.renew_at and now >= self._failed_until:
                    self._acquire()
                return held.token
            if self._failure is not None and now < self._failed_until:
                raise self._failure
            flight = self._acquire()
        return flight.result(wait).token

    def replace(self, refused: str) -> str | None:
        """Returns another token in place of `refused`, which a service has refused. Returns None if Latchkey is
        unavailable, or if this was called less than ten seconds ago."""
        with self._lock:
            if self._held is not None and self._held.token != refused:
                return self._held.token
            now = self._clock.now()
            is_paused = self._failure is not None and now < self._failed_until
            if now < self._replaced_at + _REPLACE_PAUSE_SECONDS or is_paused:
                return None
            self._replaced_at = now
            flight = self._acquire()
        try:
            return flight.result().token
        except TokenSourceError:
            return None

    def retry(self) -> None:
        """Forgets that credentials were refused, so that the next `token()` logs in."""
        with self._lock:
            self._failure = None
            self._failures = 0

    def auth(self) -> httpx.Auth:
        """For httpx, sync or async: sends the token, and repeats a request once with another token after a 401."""
        return _HttpxAuth(self)

    def call_credentials(self) -> Any:
        """For grpcio: call credentials that send the token, to combine with the channel's TLS credentials."""
        import grpc

        source = self

        class Plugin(grpc.AuthMetadataPlugin):  # type: ignore[misc]
            def __call__(self, context: Any, callback: Any) -> None:
                try:
                    callback((("authorization", f"Bearer {source.token()}"),), None)
                except Exception as error:  # noqa: BLE001 - grpcio wants every error
                    callback((), error)

        return grpc.metadata_call_credentials(Plugin(), name="latchkey")

    def close(self) -> None:
        """Ends the renewals. After this, `token()` raises."""
        self._closing.set()
        with self._lock:
            self._cancel_timer()
            flight = self._flight
        if flight is not None:
            flight.exception()
        self._http.close()

    def __enter__(self) -> TokenSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _acquire(self) -> Future[_Held]:
        """Gets a new token; all callers share one call. The caller holds the lock."""
        if self._flight is None:
            flight: Future[_Held] = Future()
            self._flight = flight
            deadline = self._clock.now() + self._timeout
            threading.Thread(target=self._fly, args=(flight, deadline), daemon=True).start()
        return self._flight

    def _fly(self, flight: Future[_Held], deadline: float) -> None:
        held: _Held | None = None
        failure: BaseException | None = None
        try:
            held = self._attempt(deadline)
        except BaseException as error:  # noqa: BLE001 - it belongs to those who wait
            failure = error
        with self._lock:
            self._flight = None
        if held is not None:
            flight.set_result(held)
        else:
            flight.set_exception(failure)

    def _attempt(self, deadline: float) -> _Held:
        """Calls Latchkey until there is a token, the time is over, or another call cannot help."""
        while True:
            sent_at = self._clock.now()
            try:
                return self._hold(sent_at, *self._ask(max(0.001, deadline - sent_at)))
            except Exception as thrown:
                if self._closing.is_set():
                    raise _closed() from thrown
                error = _error_from(thrown)
                wait = self._fail(error)
                # While the current token is valid nobody waits, so the timer makes the next attempt.
                may_wait = error.is_retryable and not self._is_holding()
                if not may_wait or self._clock.now() + wait >= deadline:
                    raise error from thrown
                self._clock.sleep(wait, self._closing)

    def _ask(self, timeout: float) -> tuple[str, str]:
        """Renews the token if there is a valid one. Otherwise, or if that is refused, logs in by the password."""
        held = self._held
        if held is not None and self._clock.now() < held.expires_at:
            try:
                return "renewed", self._call("IssueToken", {}, timeout, held.token)
            except TokenSourceError as error:
                if error.code != "refused":
                    raise
        given = self._credentials() if callable(self._credentials) else self._credentials
        message = {"username": given.username, "password": given.password}
        return "logged_in", self._call("Login", message, timeout)

    def _call(
        self, method: str, message: dict[str, str], timeout: float, bearer: str | None = None
    ) -> str:
        headers = {
            "content-type": "application/json",
            "connect-protocol-version": "1",
            "connect-timeout-ms": str(max(1, round(timeout * 1000))),
        }
        if bearer is not None:
            headers["authorization"] = f"Bearer {bearer}"
        url = f"{self._base_url}/auth.v1.AuthService/{method}"
        response = self._http.post(url, content=json.dumps(message), headers=headers, timeout=timeout)
        try:
            body: Any = json.loads(response.content[:_ANSWER_BYTES_MAX])
        except ValueError:
            body = None
        if not response.is_success:
            raise _error_of(response, body)
        token = body.get("accessToken") if isinstance(body, dict) else None
        if not isinstance(token, str) or _life_of(token) is None:
            raise TokenSourceError("protocol", f"{url} answers with no token")
        return token

    def _is_holding(self) -> bool:
        return self._held is not None and self._clock.now() < self._held.expires_at

    def _hold(self, sent_at: float, event: str, token: str) -> _Held:
        life = _life_of(token) or 0.0
        part = self._renew_at - self._jitter * self._random()
        held = _Held(token, sent_at + life * part, sent_at + life)
        with self._lock:
            self._held = held
            self._failure = None
            self._failures = 0
            self._schedule(held.renew_at - self._clock.now())
        self._tell(event, None)
        return held

    def _fail(self, error: TokenSourceError) -> float:
        with self._lock:
            back_off = min(_BACK_OFF_MAX_SECONDS, _BACK_OFF_SECONDS * 2 ** min(self._failures, 10))
            self._failures += 1
            spread = back_off * (1 + 0.2 * self._random())
            wait = max(error.retry_after or 0, spread) if error.is_retryable else self._refused_pause
            self._failure = error
            self._failed_until = self._clock.now() + wait
            if self._is_holding():
                self._schedule(wait)
        self._tell("failed", error)
        return wait

    def _schedule(self, delay: float) -> None:
        """Renews the token after `delay` seconds. The caller holds the lock."""
        self._cancel_timer()
        if not self._closing.is_set():
            self._cancel_timer = self._clock.timer(max(0.0, delay), self._renew)

    def _renew(self) -> None:
        with self._lock:
            if not self._closing.is_set():
                self._acquire()

    def _tell(self, event: str, error: TokenSourceError | None) -> None:
        if self._on_event is None:
            return
        try:
            self._on_event(event, error)
        except Exception:  # noqa: BLE001, S110 - the listener's fault is not the token's
            pass


class _HttpxAuth(httpx.Auth):
    def __init__(self, source: TokenSource) -> None:
        self._source = source

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        token = self._source.token()
        response = yield _with_token(request, token)
        if response.status_code == 401 and _is_repeatable(request):
            other = self._source.replace(token)
            if other is not None:
                yield _with_token(request, other)

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        token = await asyncio.to_thread(self._source.token)
        response = yield _with_token(request, token)
        if response.status_code == 401 and _is_repeatable(request):
            other = await asyncio.to_thread(self._source.replace, token)
            if other is not None:
                yield _with_token(request, other)


def _with_token(request: httpx.Request, token: str) -> httpx.Request:
    request.headers["authorization"] = f"Bearer {token}"
    return request


def _is_repeatable(request: httpx.Request) -> bool:
    """Whether the body can be sent again, which one that was streamed cannot."""
    return isinstance(request.stream, httpx.ByteStream)


def _in_range(name: str, value: float, least: float, most: float) -> float:
    if not least <= value <= most:
        raise ValueError(f"{name} must be a number from {least} to {most}")
    return value


def _closed() -> TokenSourceError:
    return TokenSourceError("closed", "the token source is closed")


def _error_from(thrown: Exception) -> TokenSourceError:
    if isinstance(thrown, TokenSourceError):
        return thrown
    return TokenSourceError("unavailable", "Latchkey cannot be asked")


def _error_of(response: httpx.Response, body: Any) -> TokenSourceError:
    code = body.get("code") if isinstance(body, dict) else None
    try:
        retry_after = max(0.0, float(response.headers["retry-after"]))
    except (KeyError, ValueError):
        retry_after = _retry_info_of(body.get("details")) if isinstance(body, dict) else None
    if code == "unauthenticated":
        return TokenSourceError("refused", "Latchkey refuses the credentials", retry_after)
    if code == "resource_exhausted" or response.status_code == 429:
        message = "Latchkey has had too many failed logins"
        return TokenSourceError("rate_limited", message, retry_after)
    if code in ("invalid_argument", "unimplemented") or response.status_code == 404:
        return TokenSourceError("protocol", "Latchkey does not understand the request", retry_after)
    message = f"Latchkey answers {response.status_code}"
    return TokenSourceError("unavailable", message, retry_after)


def _retry_info_of(details: Any) -> float | None:
    """Seconds of a google.rpc.RetryInfo among the details of a Connect error."""
    for detail in details if isinstance(details, list) else []:
        if not isinstance(detail, dict) or detail.get("type") != "google.rpc.RetryInfo":
            continue
        value = str(detail.get("value")).rstrip("=")
        try:
            # After the tag and the length of the duration: its seconds (1) and nanoseconds (2), as varints.
            rest = iter(base64.b64decode(value + "=" * (-len(value) % 4))[2:])
        except ValueError:
            return None
        seconds = 0.0
        for tag in rest:
            number, shift = 0, 0
            for byte in rest:
                number |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    break
            seconds += number if tag >> 3 == 1 else number / 1e9
        return seconds
    return None


def _life_of(token: str) -> float | None:
    """`exp - iat` in seconds. The claims are read but NOT verified, because the token came from Latchkey itself."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        life = float(claims["exp"]) - float(claims["iat"])
    except (IndexError, KeyError, TypeError, ValueError):
        return None
    return life if life > 0 else None
