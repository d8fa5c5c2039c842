"""Work that would hold up the engine's thread, done on another one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar, final

from neuron_runtime.engine.refused import Refused
from transports.failures import FailureCode
from transports.loop import Loop
from transports.schemas.link import Failure

_log = logging.getLogger("cortex.engine")

Result = TypeVar("Result")
Start = Callable[[Callable[[], None]], None]


def start_thread(work: Callable[[], None]) -> None:
    """Do ``work`` on a thread of its own, which holds up nobody's end.

    Raises:
        RuntimeError: The process may have no more threads.
    """
    threading.Thread(target=work, name="prompt", daemon=True).start()


@final
class OtherThread(Generic[Result]):
    """Does what it is given, and says on the engine's thread what came of it, always.

    Args:
        what: What is tokenized, for people: a prompt, an input.
        failed: What its asker is told of a fault of ours.
        start: Does something on another thread.
    """

    def __init__(self, loop: Loop, what: str, failed: str, start: Start) -> None:
        self._loop = loop
        self._what, self._failed = what, failed
        self._start = start

    def run(
        self,
        work: Callable[[], Result],
        on_done: Callable[[Result | Failure], None],
        request_id: str,
    ) -> None:
        """Begin ``work``, which may raise ``Refused``; ``on_done`` follows, never at once."""
        try:
            self._start(partial(self._work, work, on_done, request_id))
        except RuntimeError as error:
            _log.warning("no thread for a long %s: %s", self._what, error)
            message = f"there is no thread to prepare a long {self._what}; try again later"
            busy = Failure(FailureCode.OVERLOADED, message, retry_after_s=1.0)
            self._loop.call_soon(partial(on_done, busy))

    def _work(
        self,
        work: Callable[[], Result],
        on_done: Callable[[Result | Failure], None],
        request_id: str,
    ) -> None:
        made: Result | Failure = Failure(FailureCode.INTERNAL, self._failed)
        try:
            made = work()
        except Refused as refused:
            made = refused.failure
        except Exception:  # noqa: BLE001 -- its asker hears of it
            _log.exception("%s failed request=%s", self._what, request_id)
        finally:
            # Whatever was raised: who is never told that this one is over never begins another.
            self._loop.call_soon(partial(on_done, made))
