"""The client's clock, which tests can replace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """The time in seconds since 1970."""

    def timer(self, delay: float, work: Callable[[], None]) -> Callable[[], None]:
        """Calls `work` in a thread of its own after `delay` seconds. The returned function cancels it."""

    def sleep(self, delay: float, closing: threading.Event) -> None:
        """Waits for `delay` seconds, or until `closing` is set."""


class SystemClock:
    def now(self) -> float:
        return time.time()

    def timer(self, delay: float, work: Callable[[], None]) -> Callable[[], None]:
        timer = threading.Timer(min(delay, threading.TIMEOUT_MAX), work)
        timer.daemon = True
        timer.start()
        return timer.cancel

    def sleep(self, delay: float, closing: threading.Event) -> None:
        closing.wait(delay)
