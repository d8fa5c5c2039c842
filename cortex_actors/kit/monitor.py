"""Learning of another actor's death, exactly once (semantics 5.9)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, final

from pykka._envelope import Envelope

from cortex_actors.kit.asking import Future
from cortex_actors.kit.errors import ActorDead
from cortex_actors.kit.inbox import Inbox
from cortex_actors.kit.reasons import NOPROC, ExitReason
from cortex_actors.kit.ref import ActorRef


class Claim(Protocol):
    """What decides, when a message is taken from the inbox, whether it is still wanted."""

    def take(self) -> bool:
        """Whether to deliver; asked once per message, on the actor's own thread."""
        ...


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message that is delivered only if its claim still stands when its turn comes."""

    claim: Claim
    message: object


@final
class Monitor:
    """A wish to be told of one actor's end; also the tag of the ``Down`` that answers it."""

    def __init__(self, inbox: Inbox, dependents: set[Any], target: ActorRef) -> None:
        self._inbox = inbox
        self._dependents = dependents
        self._target = target
        self._wanted = True
        dependents.add(self)
        if target.exit.done:
            self._send(NOPROC)
        else:
            target.exit.on_done(self._ended)

    def __repr__(self) -> str:
        return f"<Monitor of {self._target.name}#{self._target.inc}>"

    @property
    def cause(self) -> ExitReason:
        """How the target has ended: what its ``Down`` says, or what ``noproc`` does not say."""
        return self._target.exit.result()

    def cancel(self) -> None:
        """Have no Down delivered, even if it is in the inbox already."""
        self._wanted = False
        self._dependents.discard(self)
        self._target.exit.forget(self._ended)

    def take(self) -> bool:
        """Whether the Down is still wanted."""
        self._dependents.discard(self)
        return self._wanted

    def _ended(self, exited: Future[ExitReason]) -> None:
        self._send(exited.result())

    def _send(self, reason: ExitReason) -> None:
        down = Down(self, self._target.name, self._target.inc, reason)
        # Behind what the dead actor said while it lived, hence not in the control lane; and never
        # refused, hence not bounded.
        with suppress(ActorDead):
            self._inbox.put_in_order(Envelope(Claimed(self, down)))


@dataclass(frozen=True, slots=True)
class Down:
    """The one notice that a monitored actor has ended; ``noproc`` if it was dead already."""

    tag: Monitor
    name: str
    inc: int
    reason: ExitReason
