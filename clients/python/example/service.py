"""A service with the kit: it requires a token of its callers, and calls each of its PEERS ten times a second with its
own. `/counts` shows the results."""

import json
import os
import threading
import time
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import httpx

from latchkey import Credentials, TokenSource, Verifier, WsgiDemand

URL = os.environ.get("LATCHKEY_URL", "http://127.0.0.1:8080")
COUNTS = {"calls": 0, "failed": 0, "lastFailure": "", "renewals": 0, "failedRenewals": 0}
LOCK = threading.Lock()
EVENTS = {"renewed": "renewals", "failed": "failedRenewals"}


def count(name: str, failure: str = "") -> None:
    with LOCK:
        COUNTS[name] += 1
        COUNTS["lastFailure"] = failure or COUNTS["lastFailure"]


source = TokenSource(
    URL,
    Credentials(
        os.environ.get("LATCHKEY_USERNAME", "TestUser"),
        os.environ.get("LATCHKEY_PASSWORD", "password"),
    ),
    renew_at=float(os.environ.get("RENEW_AT", "0.8")),
    on_event=lambda event, _: count(EVENTS[event]) if event in EVENTS else None,
)
verifier = Verifier(
    os.environ.get("LATCHKEY_ISSUER", "NomicGameManager.Api"),
    f"{URL}/.well-known/jwks.json",
    revocations_url=f"{URL}/.well-known/revocations",
    # How long an outage of Latchkey has no effect.
    revocations_max_age=120,
)


def hello(environ, start_response):
    start_response("200 OK", [])
    return [f"hello {environ['latchkey.claims'].sub}".encode()]


demanded = WsgiDemand(hello, verifier)


def app(environ, start_response):
    if environ["PATH_INFO"] != "/counts":
        return demanded(environ, start_response)
    start_response("200 OK", [])
    return [json.dumps(COUNTS).encode()]


def call_for_ever(peer: str) -> None:
    client = httpx.Client(auth=source.auth(), timeout=10)
    while True:
        started = time.monotonic()
        count("calls")
        try:
            client.get(peer).raise_for_status()
        except Exception as error:
            count("failed", f"{peer}: {error!r}")
        time.sleep(max(0, started + 0.1 - time.monotonic()))


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


for each in filter(None, os.environ.get("PEERS", "").split(",")):
    threading.Thread(target=call_for_ever, args=(each,), daemon=True).start()
port = int(os.environ.get("PORT", "3000"))
make_server("127.0.0.1", port, app, server_class=Server, handler_class=Quiet).serve_forever()
