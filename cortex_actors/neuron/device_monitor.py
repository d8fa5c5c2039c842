"""The DeviceMonitor actor: measures the devices' memory every few seconds."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import final

from cortex_actors.config.devices import DeviceError
from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.handlers import handles
from cortex_actors.serving.messages import Tick
from transports.schemas.fleet import DeviceState

_log = logging.getLogger("cortex.devices")

INTERVAL_S = 5.0


@final
class DeviceMonitor(SupervisedActor):
    """Calls ``measure`` and passes what it returns to ``on_measured``.

    ``measure`` may take long (nvidia-smi); that is why it has an actor of its own.
    """

    def __init__(
        self,
        measure: Callable[[], tuple[DeviceState, ...]],
        on_measured: Callable[[tuple[DeviceState, ...]], None],
    ) -> None:
        super().__init__()
        self._measure = measure
        self._on_measured = on_measured

    def on_start(self) -> None:
        """Measure now and then regularly."""
        self._on_measured(self._measure())
        self.tell_every(INTERVAL_S, Tick())

    @handles(Tick)
    def _tick(self, _: Tick) -> None:
        try:
            self._on_measured(self._measure())
        except DeviceError as error:
            # The last figures stand: a restart here would take every model along.
            _log.warning("not measured: %s", error)
