"""Traps in every Python process that is started with this folder in PYTHONPATH.

SIGUSR2 has a process read its orders from the file named by ``CORTEX_TRAP``. The method ``where``
then does what ``how`` says, once, before its own work: raise, kill or stop its process. Without
``where`` that is done at once. ``at_start`` maps words of a command line to methods of processes
that are yet to start. What is copied from a process has its traps. Whoever is caught is written
down beside the file.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

_FILE = Path(os.environ["CORTEX_TRAP"])
_CAUGHT = _FILE.with_suffix(".caught")
_clear: list[Callable[[], None]] = []


def _spring(how: str) -> None:
    with _CAUGHT.open("a") as caught:
        caught.write(f"{os.getpid()}\n")
    match how:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case _:
            raise RuntimeError("a trap of the tests")


def _set(where: str, how: str) -> None:
    module, _, path = where.partition(":")
    *outer, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for each in outer:
        owner = getattr(owner, each)
    original = getattr(owner, name)

    @wraps(original)
    def trapped(*args: Any, **kwargs: Any) -> Any:
        setattr(owner, name, original)
        _spring(how)
        return original(*args, **kwargs)

    setattr(owner, name, trapped)
    _clear.append(lambda: setattr(owner, name, original))


def _obey(*_: object) -> None:
    orders = json.loads(_FILE.read_text())
    while _clear:
        _clear.pop()()
    if orders.get("where"):
        _set(orders["where"], orders["how"])
    elif orders.get("how"):
        _spring(orders["how"])


signal.signal(signal.SIGUSR2, _obey)
_orders = json.loads(_FILE.read_text())
for _word, _where in _orders.get("at_start", {}).items():
    if _word in sys.orig_argv:
        _set(_where, _orders["how"])
