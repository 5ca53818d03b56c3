"""A token source and a verifier for services that use Latchkey."""

from .client import Credentials, TokenSource, TokenSourceError
from .clock import Clock, SystemClock
from .demand import AsgiDemand, WsgiDemand
from .verify import Claims, TokenRefused, Verifier

__all__ = [
    "AsgiDemand",
    "Claims",
    "Clock",
    "Credentials",
    "SystemClock",
    "TokenRefused",
    "TokenSource",
    "TokenSourceError",
    "Verifier",
    "WsgiDemand",
]
