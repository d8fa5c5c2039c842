"""Where the links of the daemon's own child processes end.

Only a process whose (boot, slot, incarnation) the daemon has just minted may connect; everything it
says goes to the actor that started it. Runs on the reactor's thread, hence only tells.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

from cortex_actors.kit.ref import ActorRef
from cortex_actors.neuron.messages import ChildDown, ChildNote, ChildUp
from cortex_actors.serving.drop_totals import DropTotals
from transports.failures import FailureCode
from transports.link import IncomingRequest, Link
from transports.schemas.body import Body
from transports.schemas.link import Failure, Hello, LinkDrops


@final
class ChildLinks:
    """A ``LinkHandler`` and admission rule for the children of one boot.

    ``expect``, ``starting`` and ``forget`` may be called from any thread.
    """

    def __init__(self, boot: int, drops: DropTotals) -> None:
        self._boot = boot
        self._drops = drops
        # SAFETY: actors write, the reactor reads; the lock covers single dictionary operations.
        self._lock = threading.Lock()
        self._owners: dict[tuple[int, int], ActorRef] = {}

    def expect(self, slot: int, inc: int, owner: ActorRef) -> None:
        """Admit this incarnation, and send what it says to ``owner``."""
        with self._lock:
            self._owners[slot, inc] = owner

    @contextmanager
    def starting(self, slot: int, inc: int, owner: ActorRef) -> Iterator[None]:
        """Like ``expect``, for a process that is started meanwhile, and no longer if it is not."""
        self.expect(slot, inc, owner)
        try:
            yield
        except BaseException:
            # An owner that fails to start is not stopped, so it would never say this itself.
            self.forget(slot, inc)
            raise

    def forget(self, slot: int, inc: int) -> None:
        """Refuse this incarnation from now on, and drop what it still says."""
        with self._lock:
            self._owners.pop((slot, inc), None)

    def admit(self, hello: Hello) -> str | None:
        """The listener's admission rule: a refusal word, or None."""
        if hello.boot != self._boot:
            return "foreign_boot"
        return None if self._owner(hello.slot, hello.inc) else "unknown_incarnation"

    def on_up(self, link: Link) -> None:
        """A child has connected."""
        self._tell(link, ChildUp(link))

    def on_request(self, request: IncomingRequest) -> None:
        """Children report; they have nothing to ask."""
        request.fail(Failure(FailureCode.INVALID_REQUEST, "the daemon answers no requests here"))

    def on_note(self, link: Link, body: Body, raw: tuple[bytes, ...]) -> None:
        """A child reports; counts of refused messages are nobody's but ours."""
        del raw
        if isinstance(body, LinkDrops):
            self._drops.add(body)
        else:
            self._tell(link, ChildNote(body))

    def on_suspect(self, link: Link) -> None:
        """Silence alone is no verdict: the process sentinel and the step deadlines judge."""

    def on_down(self, link: Link, reason: str, detail: str) -> None:
        """A child's link is gone."""
        self._tell(link, ChildDown(reason, detail))

    def _tell(self, link: Link, message: ChildUp | ChildNote | ChildDown) -> None:
        owner = self._owner(link.peer.slot, link.peer.inc)
        if owner is not None:
            owner.notify(message)

    def _owner(self, slot: int, inc: int) -> ActorRef | None:
        with self._lock:
            return self._owners.get((slot, inc))
