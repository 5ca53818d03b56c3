"""A token source and a verifier for services that use Latchkey."""

from .client import Credentials, TokenSource, TokenSourceError
from .clock import Clock, SystemClock
from .verify import Claims, TokenRefused, Verifier

__all__ = [
    "Claims",
    "Clock",
    "Credentials",
    "SystemClock",
    "TokenRefused",
    "TokenSource",
    "TokenSourceError",
    "Verifier",
]
