"""The answer to a question: set exactly once, by whoever comes first.

An answer can come from the actor that was asked, from its death, or from the deadline; each may
happen on another thread. The first wins and the others have no effect, so a late answer can never
be taken for anything.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, final

import pykka

from cortex_actors.kit.errors import AskTimeout
from transports.clock import MonotonicClock

_log = logging.getLogger("cortex.actors")
_clock = MonotonicClock()

T = TypeVar("T")
ExcInfo = tuple[Any, Any, Any]


@final
class Future(pykka.Future[T]):
    """An answer that will come. All methods may be called from any thread.

    A handler may return one instead of the answer itself, and resolve it later: the actor goes on
    with its next message meanwhile.
    """

    def __init__(self) -> None:
        super().__init__()
        self._claim = threading.Lock()
        self._latch = threading.Lock()
        self._latch.acquire()
        self._value: Any = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Future[T]], None]] = []
        self.done = False
        """Whether the answer is there."""

    def resolve(self, value: T) -> bool:
        """Answer with a value; returns False when it had been answered before."""
        return self._settle(value, None)

    def fail(self, error: BaseException) -> bool:
        """Answer with an error; returns False when it had been answered before."""
        return self._settle(None, error)

    def wait(self, timeout_s: float) -> bool:
        """Wait up to ``timeout_s`` seconds; returns whether the answer is there."""
        if self.done:
            return True
        if not self._latch.acquire(timeout=max(timeout_s, 0.0)):
            return False
        self._latch.release()
        return True

    def result(self) -> T:
        """Return the answer that is there, or raise it when it is an error.

        Raises:
            AskTimeout: If there is none yet.
            BaseException: The error that it was answered with.
        """
        if not self.done:
            raise AskTimeout("not answered yet")
        if self._error is not None:
            raise self._error
        value: T = self._value
        return value

    @property
    def error(self) -> BaseException | None:
        """The error that it was answered with, if it was."""
        return self._error

    def on_done(self, callback: Callable[[Future[T]], None]) -> None:
        """Have ``callback(self)`` run once, on the thread that answers, or now if that is over.

        It must be quick; an actor uses ``when_done``, which runs it on the actor's own thread.
        """
        self._callbacks.append(callback)
        if self.done:
            self._run_callbacks()

    def forget(self, callback: Callable[[Future[T]], None]) -> None:
        """Undo ``on_done`` if it has not run yet."""
        try:
            self._callbacks.remove(callback)
        except ValueError:
            return

    def get(self, *, timeout: float | None = None) -> T:
        """Wait for the answer (pykka's interface); ``timeout`` is in seconds.

        Raises:
            AskTimeout: If there is none within ``timeout``.
            BaseException: The error that it was answered with.
        """
        if self._get_hook is not None:
            return super().get(timeout=timeout)
        if not self.wait(threading.TIMEOUT_MAX if timeout is None else timeout):
            msg = f"no answer within {timeout} s"
            raise AskTimeout(msg)
        return self.result()

    def set(self, value: T | None = None) -> None:
        """Answer with a value (pykka's interface)."""
        self._settle(value, None)

    def set_exception(self, exc_info: ExcInfo | None = None) -> None:
        """Answer with an error (pykka's interface)."""
        self._settle(None, (exc_info or sys.exc_info())[1])

    def _settle(self, value: T | None, error: BaseException | None) -> bool:
        # Never released: taking it is what "first" means.
        if not self._claim.acquire(blocking=False):
            return False
        self._value = value
        self._error = error
        self.done = True
        self._latch.release()
        if self._callbacks:
            self._run_callbacks()
        return True

    def _run_callbacks(self) -> None:
        # SAFETY: on_done appends before it looks at ``done`` and _settle sets ``done`` before it
        # looks at the list, so one of them sees each callback; pop gives it to only one.
        while self._callbacks:
            try:
                callback = self._callbacks.pop(0)
            except IndexError:
                return
            try:
                callback(self)
            except Exception:  # noqa: BLE001 - must not harm the thread that happens to answer
                _log.exception("event=callback_failed callback=%r", callback)


def collect(futures: Iterable[Future[T]], deadline_s: float) -> list[T]:
    """Wait for all answers, together no longer than ``deadline_s`` seconds.

    Raises:
        AskTimeout: If one is missing by then.
        BaseException: The first error, in the order of ``futures``.
    """
    end = _clock.now() + deadline_s
    answers: list[T] = []
    for index, future in enumerate(futures):
        if not future.wait(end - _clock.now()):
            msg = f"answer {index} did not come within {deadline_s} s"
            raise AskTimeout(msg)
        answers.append(future.result())
    return answers
