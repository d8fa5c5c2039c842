"""The Reporter actor: keeps the neuron's one snapshot and tells everyone when it changes."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import final

import msgspec

from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.handlers import handles
from cortex_actors.kit.ref import ActorRef
from cortex_actors.neuron.messages import DevicesMeasured, ModelsChanged
from cortex_actors.serving.messages import FleetChanged, Tick
from cortex_actors.serving.state_board import StateBoard
from transports.schemas.fleet import NeuronState


def first_state(name: str, boot: int) -> NeuronState:
    """The neuron's state before anything was measured or loaded."""
    return NeuronState(
        name=name,
        boot=boot,
        version=version("cortex"),
        hostname=platform.node(),
        uptime_s=0.0,
        devices=(),
        models=(),
    )


@final
class Reporter(SupervisedActor):
    """The only writer of ``board``. ``publishers`` push on every change; the router looks again."""

    def __init__(
        self,
        board: StateBoard[NeuronState],
        publishers: Sequence[ActorRef],
        find: Callable[[str], ActorRef | None],
    ) -> None:
        super().__init__()
        self._board = board
        self._publishers = tuple(publishers)
        self._find = find

    @handles(DevicesMeasured)
    def _devices_measured(self, message: DevicesMeasured) -> None:
        self._write(msgspec.structs.replace(self._board.read(), devices=message.devices))

    @handles(ModelsChanged)
    def _models_changed(self, message: ModelsChanged) -> None:
        self._write(msgspec.structs.replace(self._board.read(), models=message.models))

    def _write(self, state: NeuronState) -> None:
        self._board.write(state)
        self._announce()

    def _announce(self) -> None:
        router = self._find("router")
        if router is not None:
            router.notify(FleetChanged())
        for publisher in self._publishers:
            publisher.notify(Tick())
