"""Is the peer alive? Judged by silence on our own monotonic clock (pure).

Any valid message is proof of life; PING is sent only into silence. A peer that has a question of
ours to answer may be exempt: it is judged by that question's deadline. And we suspect ourselves
first: when our own tick comes late by more than one interval, the silence was ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import final


@dataclass(frozen=True, slots=True)
class LivenessPolicy:
    """Seconds of silence before a PING, before SUSPECT, and before the link is given up.

    ``busy_exempt`` leaves a peer that owes us an answer to the deadline of the question.
    """

    ping_s: float
    suspect_s: float
    down_s: float
    busy_exempt: bool

    @property
    def tick_s(self) -> float:
        """How often ``Liveness.tick`` wants to be called."""
        return self.ping_s / 2


#: A process on this host whose main loop may be inside a long operation of ours.
LOCAL = LivenessPolicy(ping_s=1.0, suspect_s=3.0, down_s=5.0, busy_exempt=True)

#: A process that must keep its loop free, seen over a network.
REMOTE = LivenessPolicy(ping_s=2.0, suspect_s=6.0, down_s=10.0, busy_exempt=False)


class Sign(Enum):
    """What a tick concluded."""

    PING = "ping"
    SUSPECT = "suspect"
    DOWN = "down"


@final
class Liveness:
    """Watches the silence of one peer."""

    __slots__ = ("_heard", "_policy", "_ticked", "suspect")

    def __init__(self, policy: LivenessPolicy, now: float) -> None:
        self._policy = policy
        self._heard = now
        self._ticked = now
        self.suspect = False

    def heard(self, now: float) -> None:
        """Note a valid message."""
        self._heard = now
        self.suspect = False

    def tick(self, now: float, *, busy: bool) -> tuple[Sign, ...]:
        """Judge the silence; to be called every ``tick_s``. ``busy``: the peer owes an answer."""
        policy = self._policy
        late = now - self._ticked - policy.tick_s > policy.ping_s
        self._ticked = now
        if late:
            self._heard = now
            return (Sign.PING,)
        if busy and policy.busy_exempt:
            self._heard = now
            return ()
        silent = now - self._heard
        if silent >= policy.down_s:
            return (Sign.DOWN,)
        if silent >= policy.suspect_s and not self.suspect:
            self.suspect = True
            return (Sign.SUSPECT, Sign.PING)
        return (Sign.PING,) if silent >= policy.ping_s else ()
