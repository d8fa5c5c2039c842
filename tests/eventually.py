"""Waiting for something that another thread or process will do, with a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_FIRST_POLL_S, _LAST_POLL_S = 0.005, 0.1
# What is looked at takes a processor from what is waited for.
_LATE = 0.05


def eventually(predicate: Callable[[], bool], within_s: float = 5.0, what: str = "") -> None:
    """Return when ``predicate()`` is true, or a twentieth of the time that it took later.

    Raises:
        AssertionError: If it is still false after ``within_s`` seconds.
    """
    began = time.monotonic()
    pause = threading.Event()
    while not predicate():
        waited = time.monotonic() - began
        if waited > within_s:
            msg = f"not true within {within_s} s: {what or predicate}"
            raise AssertionError(msg)
        pause.wait(min(max(_FIRST_POLL_S, waited * _LATE), _LAST_POLL_S))
