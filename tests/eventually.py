"""Waiting for something that another thread or process will do, with a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_POLL_S = 0.005


def eventually(predicate: Callable[[], bool], within_s: float = 5.0, what: str = "") -> None:
    """Return as soon as ``predicate()`` is true.

    Raises:
        AssertionError: If it is still false after ``within_s`` seconds.
    """
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while not predicate():
        if time.monotonic() > deadline:
            msg = f"not true within {within_s} s: {what or predicate}"
            raise AssertionError(msg)
        pause.wait(_POLL_S)
