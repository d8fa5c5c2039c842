"""What a neuron has measured of its models, and what that says of those on their way. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, final

import msgspec

from cortex_actors.neuron.model_lifecycle import ModelPhase
from transports.schemas.fleet import DeviceState, ModelRecord, ModelState

MOST_RECORDS: Final = 256
# A load that takes longer than the last one did is not finished because of that.
_NEARLY: Final = 0.99
_LOADING = frozenset({ModelPhase.PREPARING, ModelPhase.STARTING})


@final
@dataclass(frozen=True, slots=True)
class Timeline:
    """When each model began to start or became idle, and how long its start should take (s).

    ``measured`` is when each device was. Times are monotonic.
    """

    starting: Mapping[str, float] = field(default_factory=dict)
    idle: Mapping[str, float] = field(default_factory=dict)
    expected_s: Mapping[str, float] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)

    def at(self, models: Iterable[ModelState], now: float) -> tuple[ModelState, ...]:
        """Return the models with ``idle_s``, ``eta_s`` and ``progress`` as they are ``now``."""
        return tuple(self._timed(model, now) for model in models)

    def devices_at(self, devices: Iterable[DeviceState], now: float) -> tuple[DeviceState, ...]:
        """Return the devices with ``age_s`` as it is ``now``."""
        return tuple(
            msgspec.structs.replace(each, age_s=max(0.0, now - self.measured.get(each.id, now)))
            for each in devices
        )

    def _timed(self, model: ModelState, now: float) -> ModelState:
        if model.id in self.idle:
            return msgspec.structs.replace(model, idle_s=max(0.0, now - self.idle[model.id]))
        expected_s = self.expected_s.get(model.id, 0.0)
        if expected_s <= 0.0:
            return model
        if model.id not in self.starting:
            return msgspec.structs.replace(model, eta_s=expected_s)
        gone_s = max(0.0, now - self.starting[model.id])
        return msgspec.structs.replace(
            model,
            eta_s=max(0.0, expected_s - gone_s),
            progress=min(_NEARLY, gone_s / expected_s),
        )


@final
class ModelHistory:
    """Follows the models' states and keeps a bounded number of records, the latest used last.

    ``records`` are those of an earlier run. Loads are timed from the start of their processes: what
    a download or a conversion takes is paid once and says nothing of the next load. Those that come
    from the warm tier are timed apart.
    """

    def __init__(self, records: Iterable[ModelRecord] = ()) -> None:
        self._records = {record.model: record for record in records}
        self._bound()
        self._known: dict[str, ModelState] = {}
        self._warm: frozenset[str] = frozenset()
        self.timeline = Timeline()

    @property
    def records(self) -> tuple[ModelRecord, ...]:
        """One record per model, the one that was measured last at the end."""
        return tuple(
            msgspec.structs.replace(each, warm=True) if each.model in self._warm else each
            for each in self._records.values()
        )

    def observe(
        self,
        models: Sequence[ModelState],
        now: float,
        warm: frozenset[str] = frozenset(),
        weights_mb: Mapping[str, int] | None = None,
        sources: Mapping[str, str] | None = None,
    ) -> bool:
        """Take note of all models' states; returns whether a record has changed.

        ``warm`` are those in the warm tier or on their way from it, ``weights_mb`` is what each
        model takes there, ``sources`` what each was loaded from.
        """
        changed = False
        starting: dict[str, float] = {}
        idle: dict[str, float] = {}
        expected_s: dict[str, float] = {}
        for model in models:
            before = self._known.get(model.id)
            woken = model.id in self._warm
            if before is not None and before.state == ModelPhase.STARTING:
                began = self.timeline.starting[model.id]
                if model.state == ModelPhase.READY:
                    self._measure(
                        model,
                        now - began,
                        (weights_mb or {}).get(model.id, 0),
                        woken,
                        (sources or {}).get(model.id, ""),
                    )
                    changed = True
            if model.state in _LOADING:
                wakes = model.id in warm
                expected_s[model.id] = self.expected_s(model.id, model.memory_mb, warm=wakes)
            if model.state == ModelPhase.STARTING:
                # A load that was to be a wake and is none any more begins anew.
                same = woken == (model.id in warm)
                starting[model.id] = self.timeline.starting.get(model.id, now) if same else now
            elif model.state == ModelPhase.READY and not model.running and not model.waiting:
                idle[model.id] = self.timeline.idle.get(model.id, now)
        self._known = {model.id: model for model in models}
        self._warm = warm
        self.timeline = Timeline(starting, idle, expected_s)
        return changed

    def expected_s(self, model: str, memory_mb: int, *, warm: bool = False) -> float:
        """Return how long a load should take: as before, else as others for their size; 0: unknown.

        ``memory_mb`` is what the model takes as far as is known; ``warm`` if it need only wake.
        """
        record = self._records.get(model)
        if record is not None and warm and record.warm_load_s > 0.0:
            return record.warm_load_s
        if record is not None and record.cold_load_s > 0.0:
            return record.cold_load_s
        rates = [
            each.cold_load_s / each.memory_mb
            for each in self._records.values()
            if each.cold_load_s > 0.0 and each.memory_mb > 0
        ]
        return memory_mb * statistics.median(rates) if rates and memory_mb > 0 else 0.0

    def _measure(
        self, model: ModelState, load_s: float, weights_mb: int, woken: bool, source: str
    ) -> None:
        known, seconds = self._records.pop(model.id, ModelRecord(model.id)), round(load_s, 6)
        self._records[model.id] = ModelRecord(
            model.id,
            cold_load_s=known.cold_load_s if woken else seconds,
            warm_load_s=seconds if woken else known.warm_load_s,
            memory_mb=model.memory_mb,
            weights_mb=weights_mb,
            source=source,
            capabilities=model.capabilities,
        )
        self._bound()

    def _bound(self) -> None:
        for model in list(self._records)[: max(0, len(self._records) - MOST_RECORDS)]:
            del self._records[model]
