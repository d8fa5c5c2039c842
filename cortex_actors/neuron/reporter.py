"""The Reporter actor: keeps the neuron's one snapshot and tells everyone when it changes."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import final

import msgspec

from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.handlers import handles
from cortex_actors.kit.ref import ActorRef
from cortex_actors.neuron.memory_cap import capped, less_set_aside, less_used
from cortex_actors.neuron.messages import (
    ActivationPending,
    CyclesCounted,
    DevicesMeasured,
    ModelsChanged,
)
from cortex_actors.neuron.model_history import ModelHistory, Timeline
from cortex_actors.neuron.model_lifecycle import holding
from cortex_actors.neuron.record_file import RecordFile
from cortex_actors.serving.messages import FleetChanged, Tick
from cortex_actors.serving.state_board import StateBoard
from transports.clock import Clock, MonotonicClock
from transports.schemas.fleet import DeviceState, ModelState, NeuronState


def first_state(
    name: str, boot: int, warm_mb: int = 0, harnesses: tuple[str, ...] | None = None
) -> NeuronState:
    """The neuron's state before anything was measured or loaded."""
    return NeuronState(
        name=name,
        boot=boot,
        version=version("cortex"),
        hostname=platform.node(),
        uptime_s=0.0,
        devices=(),
        models=(),
        warm_mb=warm_mb,
        harnesses=harnesses,
    )


@final
class Reporter(SupervisedActor):
    """The only writer of ``board`` and ``timeline``.

    ``publishers`` push on every change; the router looks again. That a model has left is told with
    a measurement made since: an older one may show the memory free that it still holds, and whoever
    reads both would give it away. Under a cap the models themselves are the account.
    """

    def __init__(
        self,
        board: StateBoard[NeuronState],
        publishers: Sequence[ActorRef],
        find: Callable[[str], ActorRef | None],
        cap_mb: int | None = None,
        *,
        warm_mb: int = 0,
        timeline: StateBoard[Timeline] | None = None,
        record_file: RecordFile | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__()
        self._board = board
        self._publishers = tuple(publishers)
        self._find = find
        self._cap_mb = cap_mb
        self._warm_mb = warm_mb
        self._timeline = timeline
        self._record_file = record_file
        self._clock = clock or MonotonicClock()
        self._history = ModelHistory()
        self._measured: tuple[DeviceState, ...] = ()
        self._measured_at: Mapping[str, float] = {}
        self._models: tuple[ModelState, ...] = ()
        self._warm_used_mb = 0
        self._outdated = False

    def on_start(self) -> None:
        """Read what earlier runs have measured."""
        if self._record_file is not None:
            self._history = ModelHistory(self._record_file.read())
            self._board.write(
                msgspec.structs.replace(self._board.read(), records=self._history.records)
            )

    @handles(DevicesMeasured)
    def _devices_measured(self, message: DevicesMeasured) -> None:
        self._measured, self._outdated = message.devices, False
        self._measured_at = message.measured_at
        self._write_timeline()
        self._write(self._composed())

    @handles(ModelsChanged)
    def _models_changed(self, message: ModelsChanged) -> None:
        changed = self._history.observe(
            message.models,
            self._clock.now(),
            message.warm,
            message.weights_mb,
            message.sources,
        )
        if changed and self._record_file:
            self._record_file.write(self._history.records)
        self._write_timeline()
        if self._cap_mb is None and holding(self._models) - holding(message.models):
            self._outdated = True
        self._models, self._warm_used_mb = message.models, message.warm_used_mb
        if not self._outdated:
            self._write(self._composed())

    @handles(CyclesCounted)
    def _cycles_counted(self, message: CyclesCounted) -> None:
        self._write(msgspec.structs.replace(self._board.read(), cycles=message.cycles))

    @handles(ActivationPending)
    def _activation_pending(self, message: ActivationPending) -> None:
        self._write(msgspec.structs.replace(self._board.read(), pending=message.models))

    def _write_timeline(self) -> None:
        if self._timeline is not None:
            timeline = replace(self._history.timeline, measured=self._measured_at)
            self._timeline.write(timeline)

    def _composed(self) -> NeuronState:
        offered = less_set_aside(self._measured, self._warm_mb, self._warm_used_mb)
        return msgspec.structs.replace(
            self._board.read(),
            models=self._models,
            records=self._history.records,
            warm_used_mb=self._warm_used_mb,
            devices=less_used(capped(offered, self._cap_mb), self._models, self._cap_mb),
        )

    def _write(self, state: NeuronState) -> None:
        self._board.write(state)
        self._announce()

    def _announce(self) -> None:
        router = self._find("router")
        if router is not None:
            router.notify(FleetChanged())
        for publisher in self._publishers:
            publisher.notify(Tick())
