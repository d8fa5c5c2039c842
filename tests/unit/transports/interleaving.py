"""Runs threads one at a time and changes between them where a seed says.

Code of the files named is interrupted between any two bytecodes, as the interpreter might; other
code where it calls ``point``. What would block must be replaced by something that calls ``point``
with a condition. The schedule ends when no thread can go on.
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Collection
from types import FrameType, TracebackType
from typing import Any, Self

STUCK_S = 10.0
STAYS = (0.8, 0.95, 0.99, 0.997)
"""How likely a thread goes on where it could be interrupted; each schedule has one of them."""


class _Over(BaseException):
    """The schedule is over, though this thread waits."""


def _always() -> bool:
    return True


class _Task:
    def __init__(self, thread: threading.Thread) -> None:
        self.thread = thread
        self.go = threading.Semaphore(0)
        self.ready: Callable[[], bool] = _always
        self.done = False


class Interleaving:
    """One schedule."""

    def __init__(self, seed: int, files: Collection[str]) -> None:
        self._draw = random.Random(seed)
        self._stay = self._draw.choice(STAYS)
        self._files = frozenset(files)
        self._tasks: list[_Task] = []
        self._back = threading.Semaphore(0)
        self._running: _Task | None = None
        self._error: BaseException | None = None
        self._over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over = True
        for task in self._tasks:
            task.go.release()
            task.thread.join(STUCK_S)

    def spawn(self, fn: Callable[[], None]) -> int | None:
        """Add a thread that does ``fn``; return its identifier."""
        task = _Task(threading.Thread(target=lambda: self._live(task, fn), daemon=True))
        self._tasks.append(task)
        task.thread.start()
        return task.thread.ident

    def run(self) -> None:
        """Go on until nobody can; raise what a thread has raised."""
        while self._error is None:
            ready = [task for task in self._tasks if not task.done and task.ready()]
            if not ready:
                return
            self._running = self._draw.choice(ready)
            self._running.go.release()
            assert self._back.acquire(timeout=STUCK_S), "a thread blocks"
            self._running = None
        raise self._error

    def point(self, ready: Callable[[], bool] | None = None) -> None:
        """Perhaps let others go first, and in any case until ``ready``."""
        task = self._running
        if task is None or task.thread is not threading.current_thread():
            return  # not one of ours
        if ready is None and self._draw.random() < self._stay:
            return
        task.ready = ready or _always
        self._back.release()
        task.go.acquire()
        if self._over:
            raise _Over

    def _live(self, task: _Task, fn: Callable[[], None]) -> None:
        task.go.acquire()
        try:
            if not self._over:
                sys.settrace(self._enter_frame)
                fn()
        except _Over:
            return
        except BaseException as ex:  # noqa: BLE001 -- raised again by run()
            self._error = ex
        finally:
            sys.settrace(None)
            task.done = True
            if not self._over:
                self._back.release()

    def _enter_frame(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in self._files:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._in_frame

    def _in_frame(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode":
            self.point()
        return self._in_frame


class TurnsLock:
    """A lock whose waiting is part of the schedule."""

    def __init__(self, schedule: Interleaving, *, held: bool) -> None:
        self._schedule = schedule
        self._held = held

    def acquire(self, blocking: bool = True) -> bool:
        while self._held:
            if not blocking:
                return False
            self._schedule.point(lambda: not self._held)
        self._held = True
        return True

    def release(self) -> None:
        assert self._held
        self._held = False
