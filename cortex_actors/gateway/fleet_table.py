"""Everything that is known of the neurons: what they said last, and what was decided since. Pure.

Nothing that a neuron says can make room where the rest of the table knows of none: numbers below
zero count as zero, models that nobody asked for count as residents, unknown states as busy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Final, final

import msgspec

from cortex_actors.gateway.room import Resident, Room
from cortex_actors.serving.routing import DRAINING, UP, is_servable
from transports.schemas.fleet import ModelRecord, ModelState, NeuronState

TOGETHER_S: Final = 5.0
FREEZE_S: Final = 30.0
FRESH_S: Final = 5.0
LAG_S: Final = 2.0
"""How much older than the answer to an unload a later report can be."""
_LEAST_FOR_DOUBT: Final = 3
_BYTES_A_SECOND_MB: Final = 200.0
"""How fast a model of unknown speed is taken to load."""

SUSPECT: Final = "suspect"
"""What a connection says of a neuron that is silent."""

COMING: Final = frozenset({"preparing", "starting", "recovering"})
_HOLDS_NOTHING: Final = frozenset({"failed", "unloaded"})


@dataclass(slots=True)
class _Neuron:
    """One neuron: ``changed`` since its last report, when memory may be on its way back.

    One that is only expected has no connection. ``heard_at`` is when it spoke last itself, not its
    connection of its silence. No two states of the table have the same ``version``.

    What it says of the ``departed`` until then may be older than their leaving, for answers
    overtake reports. What is ``reserved`` is so until the model is ``loaded`` and the neuron's own
    account has it.
    """

    state: NeuronState
    connection: int | None
    models: dict[str, ModelState]
    heard_at: float
    went_at: float | None = None
    leaving: set[str] = field(default_factory=set)
    departed: dict[str, float] = field(default_factory=dict)
    reserved: dict[str, Resident] = field(default_factory=dict)
    loaded: set[str] = field(default_factory=set)
    changed: bool = False
    version: int = 0


@final
@dataclass(frozen=True, slots=True)
class Standing:
    """What the catalogue and the operators say of a model, and what it would cost to miss it."""

    memory_mb: int = 0
    priority: int = 100
    pinned: bool = False
    probability: float = 1.0


@final
class FleetTable:
    """The neurons by name. ``connection`` is the incarnation of the actor that owns the link.

    ``doubtful`` says that so many neurons went at once that the fault is likelier ours than theirs;
    what they said last is kept for that time.
    """

    def __init__(self) -> None:
        self.doubtful = False
        self._neurons: dict[str, _Neuron] = {}
        self._in_use: Counter[tuple[str, str]] = Counter()
        self._used_at: dict[tuple[str, str], float] = {}
        self._fresh: dict[tuple[str, str], float] = {}
        self._measured_mb: dict[str, int] = {}
        self._versions = count(1)

    # -- what happens ---------------------------------------------------------------------------

    def expect(self, names: Iterable[str], now: float) -> None:
        """These neurons should answer; until one does it is down and nothing is known of it."""
        for name in names:
            state = NeuronState(name, 0, "", "", 0.0, (), (), state="down")
            self._neurons.setdefault(name, _Neuron(state, None, {}, now))

    def reported(self, state: NeuronState, connection: int, now: float) -> bool:
        """A neuron has said this; a new connection's word replaces all that was known.

        Returns:
            Whether it matters to routing, which need not look at every figure that moves.
        """
        known = self._neurons.get(state.name)
        before = None if known is None else _routed(known.state)
        models = {model.id: model for model in state.models}
        if known is None or known.connection != connection:
            known = self._neurons[state.name] = _Neuron(state, connection, models, now)
        if state.state != SUSPECT:
            known.heard_at = now
        known.departed = {
            model: until
            for model, until in known.departed.items()
            if model in models and until > now
        }
        if known.state is state or known.state.records != state.records:
            self._measured_mb.clear()
        known.state, known.models, known.changed = state, models, bool(known.departed)
        _hide(known, known.departed)
        # One that shuts down has said so; nobody has to suspect ourselves of that.
        here = state.state in (UP, DRAINING)
        known.went_at = None if here else known.went_at or now
        _settle(known)
        for model in models:
            self._used_at.setdefault((model, state.name), now)
        self._touch(state.name)
        self.look(now)
        return before != _routed(known.state)

    def lost(self, name: str, connection: int, now: float) -> None:
        """The connection is over, and with it what the neuron said of its models."""
        known = self._neurons.get(name)
        if known is not None and known.connection == connection:
            known.state = msgspec.structs.replace(known.state, state="down")
            known.went_at = known.went_at or now
            known.leaving.clear()
            known.reserved.clear()
            self._touch(name)
        self.look(now)

    def look(self, now: float) -> None:
        """Judge anew whether the neurons that are gone are gone indeed; call it every second."""
        self.doubtful = self._is_doubtful(now)
        for key in [key for key, until in self._fresh.items() if until <= now]:
            del self._fresh[key]
            self._touch(key[1])

    def loaded(self, model: str, neuron: str, now: float) -> None:
        """A replica has become ready for somebody, who must have the time to use it."""
        self._fresh[model, neuron] = now + FRESH_S
        self._neurons[neuron].loaded.add(model)
        _settle(self._neurons[neuron])
        self._touch(neuron)

    def in_use(self, model: str, neuron: str, leases: int, now: float) -> None:
        """So many leases are in force on this replica now."""
        self._in_use[model, neuron] = leases
        self._fresh.pop((model, neuron), None)
        self._used_at[model, neuron] = now
        self._touch(neuron)

    def reserve(self, neuron: str, resident: Resident) -> None:
        """Promise a model its memory until the neuron's own account shows it."""
        self._neurons[neuron].reserved[resident.model] = resident
        self._touch(neuron)

    def release(self, neuron: str, model: str) -> None:
        """Take the promise back."""
        known = self._neurons.get(neuron)
        if known is not None and known.reserved.pop(model, None) is not None:
            known.changed = True
            self._touch(neuron)

    def leaves(self, neuron: str, model: str) -> None:
        """From now on nothing is routed to this replica."""
        self._neurons[neuron].leaving.add(model)
        self._touch(neuron)

    def left(self, neuron: str, model: str, now: float, *, gone: bool) -> None:
        """Its unload has ended; what the neuron said of a model that is ``gone`` is out of date."""
        known = self._neurons.get(neuron)
        if known is None:
            return
        known.leaving.discard(model)
        known.changed = True
        self._touch(neuron)
        if gone:
            known.departed[model] = now + LAG_S
            _hide(known, (model,))

    # -- what is known --------------------------------------------------------------------------

    def states(self) -> tuple[NeuronState, ...]:
        """What routing and people are shown."""
        return tuple(self._shown(neuron) for neuron in self._neurons.values())

    @property
    def heard(self) -> dict[str, float]:
        """When each neuron last said something."""
        return {name: known.heard_at for name, known in self._neurons.items()}

    def connection(self, neuron: str) -> int | None:
        """The neuron's connection if it is up."""
        known = self._neurons.get(neuron)
        return known.connection if known and known.state.state == "up" else None

    def is_servable(self, model: str) -> bool:
        """Whether any replica may be routed to."""
        return any(
            model in known.models
            and model not in known.leaving
            and is_servable(known.models[model], known.state)
            for known in self._neurons.values()
        )

    def coming(self, model: str) -> str | None:
        """The neuron that is up and on which the model is on its way already, and to stay."""
        for name, known in self._neurons.items():
            state = known.models.get(model)
            if known.state.state != "up" or state is None or model in known.leaving:
                continue
            if state.state in COMING:
                return name
        return None

    def holders(self, model: str) -> list[str]:
        """The neurons that are up and have the model, in whatever state, or keep it warm."""
        return [
            name
            for name, known in self._neurons.items()
            if known.state.state == "up"
            and (model in known.models or self.record(model, name).warm)
        ]

    def state_of(self, model: str, neuron: str) -> ModelState | None:
        """What the neuron says of the model."""
        known = self._neurons.get(neuron)
        return known.models.get(model) if known else None

    def record(self, model: str, neuron: str) -> ModelRecord:
        """What the neuron has measured of the model."""
        known = self._neurons.get(neuron)
        records = known.state.records if known else ()
        return next((each for each in records if each.model == model), ModelRecord(model))

    def saved_s(self, model: str, neuron: str) -> float:
        """How much less than a cold load it takes there, because it is warm; all, if unmeasured."""
        record = self.record(model, neuron)
        return max(0.0, record.cold_load_s - record.warm_load_s) if record.warm else 0.0

    def measured_mb(self, model: str) -> int:
        """What the model takes as any neuron has measured it; 0 is not known."""
        known = self._measured_mb.get(model)
        if known is None:
            measured = (self.record(model, name).memory_mb for name in self._neurons)
            known = self._measured_mb[model] = max(measured, default=0)
        return known

    def is_accounted(self, neuron: str) -> bool:
        """Whether the neuron has said how much is free since the last model left it."""
        return not self._neurons[neuron].changed

    def is_idle(self, neuron: str) -> bool:
        """Whether nothing runs, loads or leaves there."""
        known = self._neurons[neuron]
        quiet = not known.leaving and not known.reserved
        return quiet and not any(
            self._is_busy(state, neuron) or state.state in COMING for state in known.models.values()
        )

    def idle_replicas(self, now: float) -> Iterator[tuple[str, str, float]]:
        """Yield model, neuron and seconds without a request of every ready replica."""
        for name, known in self._neurons.items():
            for model, state in known.models.items():
                ready = known.state.state == "up" and state.state == "ready"
                if ready and model not in known.leaving and not self._is_busy(state, name):
                    yield model, name, now - self._used_at[model, name]

    def rooms(self, standing: Callable[[str], Standing]) -> list[Room]:
        """Return every neuron as the policy sees it; ``standing`` tells of each model."""
        return [self.room(name, standing) for name in self._neurons]

    def versions(self) -> list[tuple[str, int]]:
        """Return every neuron with a number that changes whenever its room may have."""
        return [(name, known.version) for name, known in self._neurons.items()]

    def _is_doubtful(self, now: float) -> bool:
        met = [each for each in self._neurons.values() if each.connection is not None]
        gone = sorted(each.went_at for each in met if each.went_at is not None)
        if len(met) < _LEAST_FOR_DOUBT or 2 * len(gone) <= len(met):
            return False
        together = [at for at in gone if gone[-1] - at <= TOGETHER_S]
        return 2 * len(together) > len(met) and now - gone[-1] <= FREEZE_S

    def room(self, name: str, standing: Callable[[str], Standing]) -> Room:
        """Return one neuron as the policy sees it."""
        known = self._neurons[name]
        residents = dict(known.reserved)
        for model, state in known.models.items():
            if state.state not in _HOLDS_NOTHING:
                residents[model] = self._resident(state, name, standing(model))
        return Room(
            name,
            known.state.state == "up",
            known.state.devices,
            tuple(residents.values()),
            locked=bool(known.leaving or known.reserved or known.changed)
            or any(state.state in {*COMING, "unloading"} for state in known.models.values()),
            known=known.connection is not None,
            harnesses=known.state.harnesses,
        )

    def _touch(self, neuron: str) -> None:
        known = self._neurons.get(neuron)
        if known is not None:
            known.version = next(self._versions)

    def _resident(self, state: ModelState, neuron: str, standing: Standing) -> Resident:
        record, warm_mb = self.record(state.id, neuron), self._neurons[neuron].state.warm_mb
        # What the catalogue grants it is its to take, as the neuron's own account has it.
        memory_mb = max(state.memory_mb, record.memory_mb, standing.memory_mb, 0)
        # It would not go for good: where the warm tier has room for it, it comes back as a wake.
        stays_warm = record.warm_load_s > 0 and 0 < record.weights_mb <= warm_mb
        reload_s = record.warm_load_s if stays_warm else record.cold_load_s
        reload_s = reload_s if reload_s > 0 else 1.0 + memory_mb / _BYTES_A_SECOND_MB
        return Resident(
            model=state.id,
            devices=state.devices,
            memory_mb=memory_mb,
            settled=state.state == "ready",
            busy=self._is_busy(state, neuron),
            pinned=standing.pinned,
            priority=standing.priority,
            last_used=self._used_at[state.id, neuron],
            cost_s=(standing.probability + 0.01) * reload_s,
        )

    def _is_busy(self, state: ModelState, neuron: str) -> bool:
        key = state.id, neuron
        return state.running > 0 or state.waiting > 0 or self._in_use[key] > 0 or key in self._fresh

    def _shown(self, neuron: _Neuron) -> NeuronState:
        if neuron.state.state == "down" and not self.doubtful:
            return msgspec.structs.replace(neuron.state, models=())
        if not neuron.leaving:
            return neuron.state
        models = tuple(
            msgspec.structs.replace(model, state="unloading")
            if model.id in neuron.leaving
            else model
            for model in neuron.state.models
        )
        return msgspec.structs.replace(neuron.state, models=models)


def _routed(state: NeuronState) -> object:
    models = [(each.id, each.state, each.endpoint, each.capacity) for each in state.models]
    return state.state, state.boot, models


def _hide(neuron: _Neuron, models: Collection[str]) -> None:
    if models:
        shown = tuple(each for each in neuron.state.models if each.id not in models)
        neuron.state = msgspec.structs.replace(neuron.state, models=shown)
        neuron.models = {each.id: each for each in shown}


def _settle(neuron: _Neuron) -> None:
    for model in list(neuron.loaded):
        if model in neuron.models and neuron.models[model].state not in COMING:
            neuron.reserved.pop(model, None)
            neuron.loaded.discard(model)
