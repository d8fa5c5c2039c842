"""The DeviceMonitor actor: measures the devices every few seconds and notices those that vanish."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import final

from cortex_actors.config.devices import DeviceError
from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.handlers import handles
from cortex_actors.neuron.messages import DevicesMeasured, ModelsChanged
from cortex_actors.neuron.model_lifecycle import holding
from cortex_actors.serving.messages import Tick
from transports.clock import Clock, MonotonicClock
from transports.schemas.fleet import DeviceState

_log = logging.getLogger("cortex.devices")

INTERVAL_S = 5.0
# A driver may give the memory of a process that has ended back a little later.
AGAIN_S = 1.0


@final
class DeviceMonitor(SupervisedActor):
    """Calls ``measure`` and passes the devices that are there to ``on_measured``.

    A device is gone when two measurements in a row lack it; until then its last figures stand. One
    that is measured again is there again. When a model has left, its memory should be back: that is
    measured at once, and once more a little later, because a placement waits for it. ``measure``
    may take long (nvidia-smi); that is why it has an actor of its own.
    """

    def __init__(
        self,
        known: tuple[DeviceState, ...],
        measure: Callable[[], tuple[DeviceState, ...]],
        on_measured: Callable[[DevicesMeasured], None],
        clock: Clock | None = None,
    ) -> None:
        super().__init__()
        self._clock = clock or MonotonicClock()
        self._measured_at: dict[str, float] = {}
        self._last = {device.id: device for device in known}
        self._measure = measure
        self._on_measured = on_measured
        self._missing: frozenset[str] = frozenset()
        self._gone: frozenset[str] = frozenset()
        self._resident: frozenset[str] = frozenset()

    def on_start(self) -> None:
        """Measure now and then regularly."""
        self._look()
        self.tell_every(INTERVAL_S, Tick())

    def summary(self) -> str:
        """How many devices there are, and which are gone."""
        gone = ",".join(sorted(self._gone)) or "none"
        return f"devices={len(self._last) - len(self._gone)} gone={gone}"

    @handles(Tick)
    def _tick(self, _: Tick) -> None:
        self._look()

    @handles(ModelsChanged)
    def _models_changed(self, message: ModelsChanged) -> None:
        before = self._resident
        self._resident = holding(message.models)
        if before - self._resident:
            self._look()
            self.tell_later(AGAIN_S, Tick())

    def _look(self) -> None:
        began = self._clock.now()
        try:
            found = {device.id: device for device in self._measure()}
        except DeviceError as error:
            # The last figures stand: a restart here would take every model along.
            _log.warning("not measured: %s", error)
        else:
            self._judge(found)
            self._measured_at.update(dict.fromkeys(found, began))
        present = tuple(d for id_, d in self._last.items() if id_ not in self._gone)
        self._on_measured(DevicesMeasured(present, dict(self._measured_at)))

    def _judge(self, found: dict[str, DeviceState]) -> None:
        self._last.update(found)
        missing = frozenset(self._last).difference(found)
        gone = (missing & self._missing) | (missing & self._gone)
        for device in sorted(gone - self._gone):
            _log.error("device gone id=%s", device)
        for device in sorted(self._gone - gone):
            _log.warning("device back id=%s", device)
        self._missing, self._gone = missing, gone
