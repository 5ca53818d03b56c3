"""Verifies access tokens by the published key set, without a call per token (RFC 7519, RFC 8725)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import httpx
import jwt

RefusalCode = Literal[
    "malformed",
    "algorithm",
    "type",
    "unknown_key",
    "signature",
    "issuer",
    "audience",
    "claims",
    "expired",
    "not_yet_valid",
    "revoked",
    "keys_unavailable",
    "revocations_unavailable",
]

_TOKEN_BYTES_MAX = 8192
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_REVOCATIONS_TYPE = "latchkey-revocations+jwt"
#: The age after which the list of revocations is read again before a token is verified.
_REVOCATIONS_AGE_SECONDS = 5.0
_READ_AHEAD_AT = 0.8
_BACK_OFF_MAX_SECONDS = 30.0


class TokenRefused(Exception):
    """The only error of a verifier; `code` gives the reason. With `is_outage` the token could not be checked and may be
    valid: answer 503 then, not 401."""

    def __init__(self, code: RefusalCode) -> None:
        super().__init__(f"token refused: {code.replace('_', ' ')}")
        self.code = code

    @property
    def is_outage(self) -> bool:
        return self.code in ("keys_unavailable", "revocations_unavailable")


@dataclass(frozen=True)
class Claims:
    """The claims of a verified token. `exp`, `iat` and `auth_time` are in seconds since 1970."""

    sub: str
    iss: str
    exp: float
    iat: float
    jti: str | None
    auth_time: float | None
    roles: tuple[str, ...]
    #: All claims as they stand in the token.
    all: dict[str, Any]


class Verifier:
    """Verifies access tokens; safe to use from several threads.

    :param issuer: `iss` of the tokens, compared exactly
    :param jwks_url: the address of the key set
    :param audience: the `aud` that a token must have; of several, one. Without it `aud` is not checked
    :param leeway: allowed clock difference in seconds, from 0 to 300
    :param types: accepted values of the header's `typ`
    :param unknown_key_pause: shortest time in seconds between two reads because of unknown `kid`s, from 1 to 3600
    :param revocations_url: the address of the list of revocations
    :param revocations_max_age: how old, in seconds, a list may be that cannot be read again, from 10
    :param without_revocations: whether tokens are accepted (`open`) or refused (`closed`) without such a list
    :param timeout: seconds for one read, from .1 to 60
    :param now: returns the time in seconds since 1970
    """

    def __init__(
        self,
        issuer: str,
        jwks_url: str,
        *,
        audience: str | Sequence[str] | None = None,
        leeway: float = 10.0,
        types: Sequence[str] = ("JWT", "at+jwt"),
        unknown_key_pause: float = 10.0,
        revocations_url: str | None = None,
        revocations_max_age: float = 60.0,
        without_revocations: Literal["open", "closed"] = "closed",
        timeout: float = 5.0,
        now: Callable[[], float] = time.time,
        http: httpx.Client | None = None,
    ) -> None:
        for name, value, least, most in (
            ("leeway", leeway, 0, 300),
            ("unknown_key_pause", unknown_key_pause, 1, 3600),
            ("revocations_max_age", revocations_max_age, 10, 86_400),
            ("timeout", timeout, 0.1, 60),
        ):
            if not least <= value <= most:
                raise ValueError(f"{name} must be a number from {least} to {most}")
        self._issuer = issuer
        self._audiences = {audience} if isinstance(audience, str) else set(audience or ())
        self._leeway = leeway
        self._types = {_type_name(each) for each in types}
        self._unknown_key_pause = unknown_key_pause
        self._without_revocations = without_revocations
        self._now = now
        client = http or httpx.Client(follow_redirects=False)
        self._keys = _CachedDocument(client, jwks_url, timeout, now, _read_keys, 300, 86_400, None)
        self._revocations: _CachedDocument[_Revocations] | None = None
        if revocations_url is not None:
            stale = revocations_max_age - _REVOCATIONS_AGE_SECONDS
            age = _REVOCATIONS_AGE_SECONDS
            self._revocations = _CachedDocument(
                client, revocations_url, timeout, now, self._read_revocations, age, age, stale
            )

    def verify(self, token: str) -> Claims:
        """Returns the token's claims. :raises TokenRefused:"""
        if len(token) > _TOKEN_BYTES_MAX or not _COMPACT.fullmatch(token):
            raise TokenRefused("malformed")
        header = _header_of(token)
        if "crit" in header or not self._accepts_type(header.get("typ")):
            raise TokenRefused("type")
        if header.get("alg") != "RS256":
            raise TokenRefused("algorithm")
        kid = header.get("kid")
        payload = self._verify_signature(token, kid)
        claims = self._claims_of(payload)
        revocations = self._current_revocations()
        if revocations is not None and revocations.has(claims, kid):
            raise TokenRefused("revoked")
        return claims

    def _accepts_type(self, typ: Any) -> bool:
        return typ is None or _type_name(typ) in self._types

    def _verify_signature(self, token: str, kid: Any) -> dict[str, Any]:
        candidates = _candidates(self._key_set(), kid)
        if not candidates and self._keys.refresh(self._unknown_key_pause):
            # The key may be newer than the cached set. Limited, so that a flood of made-up ids causes no requests.
            candidates = _candidates(self._key_set(), kid)
        if not candidates:
            raise TokenRefused("unknown_key")
        return _verify_by(token, candidates)

    def _key_set(self) -> dict[str, Any]:
        try:
            return self._keys.value()
        except Exception as error:
            raise TokenRefused("keys_unavailable") from error

    def _claims_of(self, payload: dict[str, Any]) -> Claims:
        if payload.get("iss") != self._issuer:
            raise TokenRefused("issuer")
        audience = payload.get("aud")
        given = set(audience) if isinstance(audience, list) else {audience}
        if self._audiences and not self._audiences & given:
            raise TokenRefused("audience")
        sub, roles = payload.get("sub"), payload.get("roles", [])
        exp, iat, nbf = (payload.get(name) for name in ("exp", "iat", "nbf"))
        are_roles = isinstance(roles, list) and all(isinstance(role, str) for role in roles)
        if not isinstance(sub, str) or sub == "" or not are_roles:
            raise TokenRefused("claims")
        if not _is_number(exp) or not _is_number(iat) or not (nbf is None or _is_number(nbf)):
            raise TokenRefused("claims")
        now = self._now()
        if max(iat, nbf if nbf is not None else iat) > now + self._leeway:
            raise TokenRefused("not_yet_valid")
        if exp <= now - self._leeway:
            raise TokenRefused("expired")
        auth_time = payload.get("auth_time")
        return Claims(
            sub=sub,
            iss=self._issuer,
            exp=exp,
            iat=iat,
            jti=payload.get("jti"),
            auth_time=auth_time if _is_number(auth_time) else None,
            roles=tuple(roles),
            all=payload,
        )

    def _current_revocations(self) -> _Revocations | None:
        if self._revocations is None:
            return None
        try:
            return self._revocations.value()
        except Exception as error:
            if self._without_revocations == "open":
                return None
            raise TokenRefused("revocations_unavailable") from error

    def _read_revocations(self, text: str) -> _Revocations:
        token = text.strip()
        header = _header_of(token)
        if header.get("typ") != _REVOCATIONS_TYPE or header.get("alg") != "RS256":
            raise TokenRefused("type")
        payload = self._verify_signature(token, header.get("kid"))
        if payload["iss"] != self._issuer or payload["exp"] <= self._now() - 60:
            raise TokenRefused("expired")
        return _Revocations(payload["salt"], payload["users"], frozenset(payload["keys"]))


@dataclass(frozen=True)
class _Revocations:
    salt: str
    users: dict[str, float]
    keys: frozenset[str]

    def has(self, claims: Claims, kid: Any) -> bool:
        if kid in self.keys:
            return True
        if not self.users:
            return False
        mac = hmac.new(self.salt.encode(), claims.sub.encode(), hashlib.sha256).digest()
        digest = base64.urlsafe_b64encode(mac).decode()[:22]
        return claims.iat <= self.users.get(digest, float("-inf"))


def _read_keys(text: str) -> dict[str, Any]:
    keys = json.loads(text)["keys"]
    return {
        each["kid"]: jwt.PyJWK(each, algorithm="RS256")
        for each in keys
        if each.get("kty") == "RSA" and each.get("use", "sig") == "sig"
    }


def _candidates(keys: dict[str, Any], kid: Any) -> list[Any]:
    """The keys that may have signed a token. Without a `kid`, as in tokens of old servers, that is any key."""
    if kid is None:
        return list(keys.values())
    return [keys[kid]] if isinstance(kid, str) and kid in keys else []


def _verify_by(token: str, candidates: list[Any]) -> dict[str, Any]:
    for key in candidates:
        try:
            payload = jwt.api_jws.decode(token, key, algorithms=["RS256"])
        except jwt.InvalidSignatureError:
            continue
        except jwt.PyJWTError as error:
            raise TokenRefused("malformed") from error
        try:
            claims = json.loads(payload)
        except ValueError as error:
            raise TokenRefused("malformed") from error
        if not isinstance(claims, dict):
            raise TokenRefused("malformed")
        return claims
    raise TokenRefused("signature")


def _header_of(token: str) -> dict[str, Any]:
    """The header, which is NOT verified yet."""
    part = token.split(".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError as error:
        raise TokenRefused("malformed") from error
    if not isinstance(header, dict):
        raise TokenRefused("malformed")
    return header


def _type_name(typ: Any) -> str:
    """RFC 7515 section 4.1.9: `application/` may be missing, and the type is not case-sensitive."""
    return str(typ).lower().removeprefix("application/")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


T = TypeVar("T")


class _CachedDocument(Generic[T]):
    """A document fetched over HTTP and cached by its `Cache-Control` (RFC 9111). While its server fails, the cached one
    is used for the time of `stale-if-error` (RFC 5861)."""

    def __init__(
        self,
        http: httpx.Client,
        url: str,
        timeout: float,
        now: Callable[[], float],
        parse: Callable[[str], T],
        max_age: float,
        max_age_most: float,
        stale: float | None,
    ) -> None:
        self._http, self._url, self._timeout, self._now = http, url, timeout, now
        self._parse, self._max_age, self._max_age_most, self._stale = parse, max_age, max_age_most, stale
        self._lock = threading.Lock()
        self._value: T | None = None
        self._has_value = False
        self._etag: str | None = None
        self._ahead_at = self._fresh_until = self._stale_until = float("-inf")
        self._refreshed_at = self._failed_until = float("-inf")
        self._failures = 0
        self._reads = 0
        self._is_reading_ahead = False

    def value(self) -> T:
        """Returns the value, if it is fresh or may be stale. :raises Exception: the error of the last read"""
        now = self._now()
        if self._has_value and now < self._fresh_until:
            if now >= self._ahead_at:
                self._read_ahead()
            return self._value  # type: ignore[return-value]
        try:
            self._read(self._reads)
        except Exception:
            if self._has_value and self._now() < self._stale_until:
                return self._value  # type: ignore[return-value]
            raise
        return self._value  # type: ignore[return-value]

    def refresh(self, pause: float) -> bool:
        """Reads the document again, but not twice within `pause` seconds. Returns whether it did."""
        seen = self._reads
        now = self._now()
        with self._lock:
            if now < self._refreshed_at + pause:
                return self._reads != seen
            self._refreshed_at = now
        try:
            self._read(seen)
        except Exception:  # noqa: BLE001 - nothing was read
            return False
        return True

    def _read_ahead(self) -> None:
        if self._is_reading_ahead:
            return
        self._is_reading_ahead = True

        def work() -> None:
            try:
                self._read(self._reads)
            except Exception:  # noqa: BLE001, S110 - what is cached lasts for a while
                pass
            finally:
                self._is_reading_ahead = False

        threading.Thread(target=work, daemon=True).start()

    def _read(self, seen: int) -> None:
        """Reads once for all callers that wait; after a failure, pauses first."""
        with self._lock:
            if self._reads != seen:
                return
            if self._now() < self._failed_until:
                raise ConnectionError(f"{self._url} could not be read a moment ago")
            try:
                self._read_once()
            except Exception:
                back_off = 2.0 ** min(self._failures, 10)
                pause = min(_BACK_OFF_MAX_SECONDS, self._max_age_most, back_off)
                self._failures += 1
                self._failed_until = self._now() + pause
                raise
            self._failures = 0
            self._failed_until = float("-inf")
            self._reads += 1

    def _read_once(self) -> None:
        sent_at = self._now()
        headers = {"if-none-match": self._etag} if self._etag else {}
        response = self._http.get(self._url, headers=headers, timeout=self._timeout)
        is_same = response.status_code == 304 and self._has_value
        if not is_same:
            if response.status_code != 200:
                raise ConnectionError(f"{self._url} answers {response.status_code}")
            self._value = self._parse(response.text)
            self._has_value = True
            self._etag = response.headers.get("etag")
        max_age, stale = self._life_of(response)
        self._ahead_at = sent_at + _READ_AHEAD_AT * max_age
        self._fresh_until = sent_at + max_age
        self._stale_until = sent_at + max_age + stale

    def _life_of(self, response: httpx.Response) -> tuple[float, float]:
        directives = response.headers.get("cache-control", "")

        def seconds(name: str) -> float | None:
            found = re.search(rf'(?:^|[\s,]){name}\s*=\s*"?(\d+)', directives, re.IGNORECASE)
            return float(found.group(1)) if found else None

        given = seconds("max-age")
        max_age = min(self._max_age if given is None else given, self._max_age_most)
        if re.search(r"(?:^|[\s,])no-(?:store|cache)\b", directives, re.IGNORECASE):
            max_age = 0.0
        age = response.headers.get("age", "0")
        max_age -= float(age) if age.isdigit() else 0.0
        stale = self._stale if self._stale is not None else seconds("stale-if-error") or 0.0
        return max(0.0, max_age), stale
