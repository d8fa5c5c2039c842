"""What this process still does when it is to end at once, its main thread being stuck perhaps.

The thread of the death pipe performs it. A communicator of NCCL is aborted here, so that its
kernels leave the device before the process is killed.
"""

from __future__ import annotations

import faulthandler
import logging
from collections.abc import Callable
from typing import Final

_log = logging.getLogger("cortex.child")

LIMIT_S: Final = 0.5
"""Whoever takes longer is killed in the midst of it."""

_acts: list[Callable[[], None]] = []


def at_end(act: Callable[[], None]) -> None:
    """Have ``act`` called when this process is to end at once. It must be fit for any thread."""
    _acts.append(act)


def perform() -> None:
    """Do what ``at_end`` was told; returns within ``LIMIT_S``, or never, the process being gone."""
    if not _acts:
        return
    # Unlike a timer's thread this one needs no GIL, which a native call may hold for ever.
    faulthandler.dump_traceback_later(LIMIT_S, exit=True)
    while _acts:
        try:
            _acts.pop()()
        except Exception:  # noqa: BLE001 - the end comes all the same
            _log.exception("last act failed")
    faulthandler.cancel_dump_traceback_later()
