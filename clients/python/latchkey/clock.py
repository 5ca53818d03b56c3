"""The time as the client sees it, so that tests can move it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch."""

    def timer(self, delay: float, work: Callable[[], None]) -> Callable[[], None]:
        """Calls `work` in a thread of its own after `delay` seconds. Returns what cancels it."""

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
