"""The TpEpoch actor: the last child of a group, which stands for the group as a whole.

It is started when every rank has been, so it can announce the complete membership to the engine;
and it exits when the engine calls the epoch broken, so that one_for_all replaces every rank.
"""

from __future__ import annotations

from typing import final

from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.handlers import handles
from cortex_actors.kit.reasons import ExitReason
from cortex_actors.kit.ref import ActorRef
from cortex_actors.neuron.group_roster import GroupRoster
from cortex_actors.neuron.messages import (
    EpochAsleep,
    EpochBroken,
    EpochEnded,
    EpochReady,
    GroupAnnounced,
)
from transports.schemas.daemon import GroupStart


@final
class TpEpoch(SupervisedActor):
    """Announces one epoch of the group and waits for the engine's verdict on it."""

    def __init__(
        self, roster: GroupRoster, engine: ActorRef, model: ActorRef, start_s: float
    ) -> None:
        super().__init__()
        self._roster = roster
        self._engine = engine
        self._model = model
        self._start_s = start_s
        self._epoch = roster.epoch
        self._state = "starting"

    def on_start(self) -> None:
        """Tell the engine whom to expect."""
        roster = self._roster
        start = GroupStart(
            epoch=roster.epoch,
            endpoint=roster.endpoint,
            members=roster.members,
            rendezvous=roster.rendezvous,
            start_s=self._start_s,
        )
        self._engine.notify(GroupAnnounced(start, self.ref, roster.refs))

    def on_stop(self, reason: ExitReason) -> None:
        """Tell the model that this epoch serves no more."""
        self._model.notify(EpochEnded(self._epoch, str(reason)))

    def summary(self) -> str:
        """Epoch and size."""
        return f"epoch={self._epoch} ranks={len(self._roster.members)} state={self._state}"

    @handles(EpochReady)
    def _ready(self, message: EpochReady) -> None:
        if message.ready.epoch == self._epoch:
            self._state = "ready"
            self._model.notify(message)

    @handles(EpochAsleep)
    def _asleep(self, message: EpochAsleep) -> None:
        if message.asleep.epoch == self._epoch:
            self._state = "asleep"
            self._model.notify(message)

    @handles(EpochBroken)
    def _broken(self, message: EpochBroken) -> None:
        if message.epoch == self._epoch:
            self._state = "broken"
            self._model.notify(message)
            self.leave(ExitReason.crash(message.code, message.message))
