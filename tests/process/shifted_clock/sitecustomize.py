"""Shifts the wall clock of every Python process that is started with this folder in PYTHONPATH.

By as many seconds as the file named by ``CORTEX_WALL_CLOCK`` says at the moment; monotonic time is
left alone.
"""

from __future__ import annotations

import datetime
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

_FILE = Path(os.environ["CORTEX_WALL_CLOCK"])
_time, _localtime, _gmtime, _clock_gettime = (
    time.time,
    time.localtime,
    time.gmtime,
    time.clock_gettime,
)


def _shift() -> float:
    return float(_FILE.read_text())


def _shifted() -> float:
    return _time() + _shift()


def _broken_down(how: Any, seconds: float | None = None) -> time.struct_time:
    parts: time.struct_time = how(_shifted() if seconds is None else seconds)
    return parts


def _shifted_clock_gettime(clock: int) -> float:
    return _clock_gettime(clock) + (_shift() if clock == time.CLOCK_REALTIME else 0.0)


class _Datetime(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return super().now(tz) + datetime.timedelta(seconds=_shift())

    @classmethod
    def utcnow(cls) -> Any:
        return cls.now(datetime.UTC).replace(tzinfo=None)


time.time = _shifted
time.time_ns = lambda: int(_shifted() * 1e9)
# No functions: logging keeps one as an attribute of a class, where it would become a method.
time.localtime = partial(_broken_down, _localtime)
time.gmtime = partial(_broken_down, _gmtime)
time.clock_gettime = _shifted_clock_gettime
datetime.datetime = _Datetime  # type: ignore[misc]
