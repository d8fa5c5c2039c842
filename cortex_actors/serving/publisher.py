"""The Publisher actor: pushes one snapshot to everyone who listens, on change and every second.

What is pushed is what front ends answer reads from, so no read ever waits for an actor (G7).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.handlers import handles
from cortex_actors.serving.messages import SubscriberGone, SubscriberUp, Tick
from transports.errors import TransportError
from transports.link import Link
from transports.schemas.body import Body

PUSH_INTERVAL_S = 1.0


@final
class Publisher(SupervisedActor):
    """Sends ``snapshot()`` to every subscribed link; a ``Tick`` from anyone makes it push now."""

    def __init__(self, snapshot: Callable[[], Body]) -> None:
        super().__init__()
        self._snapshot = snapshot
        self._subscribers: dict[int, Link] = {}

    def on_start(self) -> None:
        """Begin the regular pushes."""
        self.tell_every(PUSH_INTERVAL_S, Tick())

    def summary(self) -> str:
        """How many listen."""
        return f"subscribers={len(self._subscribers)}"

    @handles(SubscriberUp)
    def _up(self, message: SubscriberUp) -> None:
        self._subscribers[id(message.link)] = message.link
        self._push(message.link, self._snapshot())

    @handles(SubscriberGone)
    def _gone(self, message: SubscriberGone) -> None:
        self._subscribers.pop(id(message.link), None)

    @handles(Tick)
    def _tick(self, _: Tick) -> None:
        body = self._snapshot()
        for link in list(self._subscribers.values()):
            self._push(link, body)

    def _push(self, link: Link, body: Body) -> None:
        try:
            link.note(body)
        except TransportError:
            # Its SubscriberGone is on the way, or the next push replaces this one.
            return
