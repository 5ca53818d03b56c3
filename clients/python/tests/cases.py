"""Runs the cases of ../../cases.json on the client and the verifier.

LATCHKEY_CONTROL is the address of the test that controls the server; ../../README.md describes the steps.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))
from latchkey import (  # noqa: E402
    AsgiDemand,
    Credentials,
    TokenRefused,
    TokenSource,
    TokenSourceError,
    Verifier,
    WsgiDemand,
)
from latchkey.grpc import CLAIMS, AsyncGrpcDemand, GrpcDemand  # noqa: E402

CONTROL = os.environ["LATCHKEY_CONTROL"]
TABLE = json.loads((Path(__file__).parents[2] / "cases.json").read_text())
WAIT_SECONDS = 30.0
HTTP = httpx.Client(timeout=60)

OPTIONS = {
    "renewAt": ("renew_at", 1),
    "timeoutMs": ("timeout", 0.001),
    "leewaySeconds": ("leeway", 1),
    "audience": ("audience", None),
    "withoutRevocations": ("without_revocations", None),
}


def command(name: str, value: Any = None) -> Any:
    response = HTTP.post(f"{CONTROL}/{name}", content="" if value is None else json.dumps(value))
    assert response.status_code == 200, response.text
    return response.json()


def translated(options: dict[str, Any]) -> dict[str, Any]:
    pairs = ((OPTIONS[name], value) for name, value in options.items() if name in OPTIONS)
    return {name: value if scale is None else value * scale for (name, scale), value in pairs}


class MovedClock:
    """A clock that only the test moves."""

    def __init__(self, now: float) -> None:
        self._now = now
        self._moved = threading.Condition()
        self._due: list[tuple[float, Any]] = []

    def now(self) -> float:
        return self._now

    def timer(self, delay: float, work: Any) -> Any:
        entry = (self._now + delay, work)
        self._due.append(entry)
        return lambda: self._due.remove(entry) if entry in self._due else None

    def sleep(self, delay: float, closing: threading.Event) -> None:
        until = self._now + delay
        with self._moved:
            while self._now < until and not closing.is_set():
                self._moved.wait(0.05)

    def advance(self, seconds: float) -> None:
        with self._moved:
            self._now += seconds
            self._moved.notify_all()
        due = [entry for entry in self._due if entry[0] <= self._now]
        for entry in due:
            self._due.remove(entry)
            entry[1]()


def expect_counts(wanted: dict[str, int]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        command("settle")
        counts = {name: count for name, count in command("counts").items() if name in wanted}
        is_short = any(counts[name] < count for name, count in wanted.items())
        if not is_short or time.monotonic() > deadline:
            break
    assert counts == wanted, f"{counts} instead of {wanted}"
    command("clear")


class Run:
    """Runs the steps that concern the server."""

    def __init__(self, start: dict[str, Any]) -> None:
        self.start = start
        self.clock = MovedClock(start["nowMs"] / 1000)

    def close(self) -> None:
        pass

    def advance(self, seconds: float) -> None:
        command("advance", seconds)
        self.clock.advance(seconds)
        command("settle")

    def skew(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def calls(self, wanted: dict[str, int]) -> None:
        expect_counts(wanted)

    reads = calls

    def move(self, name: str, value: Any) -> None:
        before = command("advance", 0)["nowMs"]
        command(name, value)
        # Some of these steps advance the server's clock.
        self.clock.advance((command("advance", 0)["nowMs"] - before) / 1000)

    def server(self, value: Any) -> None:
        self.move("server", value)

    def fault(self, value: Any) -> None:
        self.move("fault", value)

    def user(self, value: Any) -> None:
        self.move("user", value)

    def keys(self, value: Any) -> None:
        self.move("keys", value)


class ClientRun(Run):
    def __init__(self, start: dict[str, Any], options: dict[str, Any]) -> None:
        super().__init__(start)
        self.password = start["password"]
        self.last = ""
        self.pool = ThreadPoolExecutor(32)
        self.begun: list[Any] = []
        http2 = None
        if options.get("http2"):
            trusted = ssl.create_default_context(cadata=start["certificate"])
            http2 = httpx.Client(http1=False, http2=True, verify=trusted)
        self.source = TokenSource(
            start["http2Url"] if http2 else start["baseUrl"],
            lambda: Credentials(start["username"], self.password),
            clock=self.clock,
            random=lambda: 0.5,
            http=http2,
            **translated(options),
        )

    def close(self, _: Any = None) -> None:
        self.source.close()

    def token(self, wanted: Any) -> None:
        if isinstance(wanted, dict):
            try:
                self.source.token()
            except TokenSourceError as error:
                assert error.code == wanted["error"], error.code
                return
            raise AssertionError("a token came")
        token = self.source.token()
        deadline = time.monotonic() + WAIT_SECONDS
        while wanted == "other" and token == self.last and time.monotonic() < deadline:
            command("settle")
            token = self.source.token()
        assert wanted != "same" or token == self.last, "another token"
        assert wanted != "other" or token != self.last, "the same token"
        self.last = token

    def tokens(self, count: int) -> None:
        found = set(self.pool.map(lambda _: self.source.token(), range(count)))
        assert len(found) == 1, f"{len(found)} tokens"
        self.last = found.pop()

    def begin(self, wanted: Any) -> None:
        self.begun.append(self.pool.submit(self.token, wanted))

    def finish(self, _: Any) -> None:
        # What was begun may fail yet, and then waits for the clock.
        deadline = time.monotonic() + WAIT_SECONDS
        while wait(self.begun, 0.5).not_done and time.monotonic() < deadline:
            self.advance(1)
        for each in self.begun:
            each.result(0)

    def cancel(self, _: Any) -> None:
        try:
            self.source.token(wait=0)
        except TimeoutError:
            return
        raise AssertionError("nobody gave up")

    def replace(self, wanted: str) -> None:
        other = self.source.replace(self.last)
        if wanted == "none":
            assert other is None, "another token"
            return
        assert other is not None and other != self.last, "no other token"
        self.last = other

    def retry(self, _: Any) -> None:
        self.source.retry()

    def credentials(self, which: str) -> None:
        known = {"right": "password", "new": "newPassword"}
        self.password = self.start[known[which]] if which in known else "a wrong one"

    def deadline(self, most: int) -> None:
        assert 0 < command("deadline")["ms"] <= most


class VerifierRun(Run):
    def __init__(self, start: dict[str, Any], options: dict[str, Any]) -> None:
        super().__init__(start)
        self.text = ""
        url = start["revocationsUrl"] if options.get("revocations") else None
        self.verifier = Verifier(
            start["issuer"],
            start["jwksUrl"],
            revocations_url=url,
            now=self.clock.now,
            **translated(options),
        )

    def issue(self, _: Any) -> None:
        self.text = command("issue")["token"]

    def mint(self, parts: Any) -> None:
        self.text = command("mint", parts)["token"]

    def raw(self, text: str) -> None:
        self.text = text

    def tokenAsList(self, _: Any) -> None:  # noqa: N802 - the table's name
        fault = {"on": "revocations", "status": 200, "headers": {}, "body": self.text}
        command("fault", fault)

    def verify(self, wanted: str) -> None:
        assert self.verdict(self.text) == wanted, self.verdict(self.text)

    def flood(self, count: int) -> None:
        _, claims, signature = self.text.split(".")

        def attempt(index: int) -> str:
            header = json.dumps({"alg": "RS256", "kid": f"nobody {index}"}).encode()
            encoded = base64.urlsafe_b64encode(header).decode().rstrip("=")
            return self.verdict(f"{encoded}.{claims}.{signature}")

        with ThreadPoolExecutor(16) as pool:
            assert set(pool.map(attempt, range(count))) == {"unknown_key"}

    def demand(self, demanded: dict[str, Any]) -> None:
        sent = demanded.get("authorization", demanded.get("scheme", "Bearer ") + self.text)
        roles = demanded.get("roles", ())

        def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            start_response("200 OK" if environ["latchkey.claims"].sub else "500 x", [])
            return []

        async def async_hello(scope: Any, _: Any, send: Any) -> None:
            status = 200 if scope["latchkey.claims"].sub else 500
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        async def ask_async() -> httpx.Response:
            transport = httpx.ASGITransport(AsgiDemand(async_hello, self.verifier, roles))
            async with httpx.AsyncClient(transport=transport) as client:
                return await client.get("http://orders/", headers=headers)

        headers = {"authorization": sent} if sent else {}
        transport = httpx.WSGITransport(WsgiDemand(hello, self.verifier, roles))
        with httpx.Client(transport=transport) as client:
            answers = [client.get("http://orders/", headers=headers), asyncio.run(ask_async())]
        for answer in answers:
            fields = answer.headers
            detail = fields.get("www-authenticate", fields.get("retry-after", ""))
            text = f"{answer.status_code} {detail}".strip()
            assert text == demanded["answers"], text
        code = GRPC_CODES[demanded["answers"][:3]]
        for server in (GrpcServer(), AsyncGrpcServer()):
            codes = server.ask(sent, self.verifier, roles)
            assert codes == [code] * 4, codes

    def verdict(self, token: str) -> str:
        try:
            self.verifier.verify(token)
        except TokenRefused as refusal:
            return refusal.code
        return "ok"


GRPC_CODES = {
    "200": grpc.StatusCode.OK,
    "401": grpc.StatusCode.UNAUTHENTICATED,
    "403": grpc.StatusCode.PERMISSION_DENIED,
    "503": grpc.StatusCode.UNAVAILABLE,
}


class GrpcServer:
    """A gRPC server with a method of each kind, such as `unary_stream`, that answers with its message."""

    kinds = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")

    def __init__(self) -> None:
        self.is_called = self.is_read = False
        self.has_claims = True

    def handler(self) -> Any:
        def method(kind: str) -> Any:
            make = getattr(grpc, f"{kind}_rpc_method_handler")
            return make(getattr(self, kind), request_deserializer=self.read)

        methods = {kind: method(kind) for kind in self.kinds}
        return grpc.method_handlers_generic_handler("test.Orders", methods)

    def read(self, message: bytes) -> bytes:
        self.is_read = True
        return message

    def seen(self) -> None:
        self.is_called = True
        assert (CLAIMS.get(None) is not None) == self.has_claims

    def unary_unary(self, request: bytes, _: Any) -> bytes:
        self.seen()
        return request

    def unary_stream(self, request: bytes, _: Any) -> Iterator[bytes]:
        self.seen()
        yield request

    def stream_unary(self, requests: Iterator[bytes], _: Any) -> bytes:
        self.seen()
        return b"".join(requests)

    def stream_stream(self, requests: Iterator[bytes], _: Any) -> Iterator[bytes]:
        self.seen()
        yield from requests

    def ask(self, authorization: str, *demand: Any) -> list[grpc.StatusCode]:
        """Calls each method and returns the codes."""
        with ThreadPoolExecutor(4) as pool:
            server = grpc.server(pool, interceptors=[GrpcDemand(*demand)])
            server.add_generic_rpc_handlers([self.handler()])
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            try:
                return self.codes(port, authorization)
            finally:
                server.stop(None).wait()

    def codes(self, port: int, authorization: str) -> list[grpc.StatusCode]:
        metadata = [("authorization", authorization)] if authorization else []
        codes = []
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            for kind in self.kinds:
                self.is_called = self.is_read = False
                call = getattr(channel, kind)(f"/test.Orders/{kind}")
                message = b"one" if kind.startswith("unary") else iter([b"one"])
                try:
                    answer = call(message, metadata=metadata, timeout=WAIT_SECONDS)
                    assert (answer if kind.endswith("unary") else next(answer)) == b"one"
                    codes.append(grpc.StatusCode.OK)
                except grpc.RpcError as error:
                    codes.append(error.code())
                is_ok = codes[-1] == grpc.StatusCode.OK
                assert (self.is_called, self.is_read) == (is_ok, is_ok), f"{kind}: {codes[-1]}"
        return codes


class AsyncGrpcServer(GrpcServer):
    async def unary_unary(self, request: bytes, _: Any) -> bytes:
        self.seen()
        return request

    async def unary_stream(self, request: bytes, _: Any) -> AsyncIterator[bytes]:
        self.seen()
        yield request

    async def stream_unary(self, requests: AsyncIterator[bytes], _: Any) -> bytes:
        self.seen()
        return b"".join([request async for request in requests])

    async def stream_stream(self, requests: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
        self.seen()
        async for request in requests:
            yield request

    def ask(self, authorization: str, *demand: Any) -> list[grpc.StatusCode]:
        async def serve() -> list[grpc.StatusCode]:
            server = grpc.aio.server(interceptors=[AsyncGrpcDemand(*demand)])
            server.add_generic_rpc_handlers([self.handler()])
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            try:
                return await asyncio.to_thread(self.codes, port, authorization)
            finally:
                await server.stop(None)

        return asyncio.run(serve())


def check_open_methods() -> None:
    """Calls a gRPC server without a token."""
    verifier = Verifier("nobody", "http://127.0.0.1:1")
    for is_open in ([True, False, False, False], [True] * 4):
        methods = ["/test.Orders/" if all(is_open) else "/test.Orders/unary_unary"]
        wanted = [
            grpc.StatusCode.OK if each else grpc.StatusCode.UNAUTHENTICATED for each in is_open
        ]
        for server in (GrpcServer(), AsyncGrpcServer()):
            server.has_claims = False
            codes = server.ask("", verifier, (), methods)
            assert codes == wanted, codes


def run_case(kind: Any, case: dict[str, Any]) -> str | None:
    run = kind(command("case"), case.get("options", {}))
    try:
        for step in case["steps"]:
            for name, value in step.items():
                try:
                    getattr(run, name)(value)
                except Exception:  # noqa: BLE001 - every error is reported
                    return f"at {json.dumps(step)}: {traceback.format_exc(limit=-3)}"
    finally:
        run.close()
    return None


def main() -> int:
    check_open_methods()
    failed = passed = 0
    for kind, cases in ((ClientRun, TABLE["clients"]), (VerifierRun, TABLE["verifiers"])):
        for case in cases:
            fault = run_case(kind, case)
            failed += fault is not None
            passed += fault is None
            if fault is not None:
                print(f"FAILED {case['id']}: {fault}")
    print(f"{passed} passed, {failed} failed")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
