"""What a seed stands for: a fleet, its models, who asks for what and when, and what goes wrong."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from cortex_actors.config.catalogue import Catalogue, CatalogueEntry
from cortex_actors.gateway.victims import Strategy

# Measured by the mistakes of mutants.py that are found per second of CPU time: time in which little
# happens and neurons that nobody lacks cost most and find least.
_QUIET_S = (2.0, 2.5, 3.0, 3.0, 3.5, 4.0, 4.0, 5.0, 6.0, 20.0)
"""Mostly short; in the long ones links are given up for silence and fleets are in doubt."""

_NEURONS = (2, 2, 2, 2, 2, 2, 3, 3, 4, 5)
_MODELS = (2, 3, 4, 4, 5, 5, 6, 6)
_LEAST_REQUESTS, _MOST_REQUESTS = 8, 18
LONGEST_LOAD_S = 3.0
_LOAD_S = (0.2, 0.5, 1.0, LONGEST_LOAD_S)
_RELEASE_S = (0.0, 0.0, 0.1, 0.25)
"""A driver gives memory back before the next model has loaded; placement relies on that."""

FaultKind = Literal[
    "kill_neuron",
    "lose_machine",
    "kill_engine",
    "kill_front_end",
    "kill_gateway",
    "cut",
    "cut_to",
    "cut_from",
    "snap",
    "lossy",
    "slow",
    "still",
    "replay",
    "fail_loads",
]

_KINDS: tuple[tuple[FaultKind, int], ...] = (
    ("kill_neuron", 4),
    ("lose_machine", 3),
    ("kill_engine", 4),
    ("kill_front_end", 2),
    ("kill_gateway", 1),
    ("cut", 3),
    ("cut_to", 1),
    ("cut_from", 1),
    ("snap", 2),
    ("lossy", 1),
    ("slow", 2),
    ("still", 2),
    ("replay", 2),
    ("fail_loads", 1),
)


@dataclass(frozen=True, slots=True)
class NeuronPlan:
    """One neuron: how much each device holds, how long a model takes, and how long memory stays."""

    name: str
    devices_mb: tuple[int, ...]
    load_s: float
    step_s: float
    release_s: float


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """One request: ``leaves_after_s`` when its client does not wait for the end."""

    at: float
    model: str
    tokens: int
    front_end: int
    leaves_after_s: float | None = None
    wait_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong at a time, for a time."""

    at: float
    kind: FaultKind
    target: str
    for_s: float


@dataclass(frozen=True, slots=True)
class Pinning:
    """An operator pins a model and takes the pin away again."""

    at: float
    model: str
    until: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """All of it; from ``quiet_s`` on nothing goes wrong any more."""

    seed: int
    quiet_s: float
    catalogue: Catalogue
    strategy: Strategy
    neurons: tuple[NeuronPlan, ...]
    front_ends: int
    requests: tuple[RequestPlan, ...]
    faults: tuple[Fault, ...]
    pinnings: tuple[Pinning, ...] = ()

    def feasible(self) -> tuple[str, ...]:
        """The models that some neuron has the devices for."""
        return tuple(each.id for each in self.catalogue.models if self._fits(each))

    def _fits(self, entry: CatalogueEntry) -> bool:
        each_mb = -(-entry.vram_mb // entry.min_devices)
        return any(
            sum(size >= each_mb for size in neuron.devices_mb) >= entry.min_devices
            and (not entry.pinned_on or neuron.name in entry.pinned_on)
            for neuron in self.neurons
        )


def draw(
    seed: int,
    *,
    neurons: int | None = None,
    models: int | None = None,
    requests: int | None = None,
) -> Schedule:
    """Return the schedule of ``seed``; the sizes are drawn too unless they are given."""
    rng = random.Random(f"schedule {seed}")
    quiet_s = rng.choice(_QUIET_S)
    size = neurons or rng.choice(_NEURONS)
    fleet = tuple(_neuron(rng, number) for number in range(1, size + 1))
    catalogue = _catalogue(rng, models or rng.choice(_MODELS), fleet)
    ids = catalogue.ids()
    front_ends = rng.choice((1, 1, 2))
    many = requests or rng.randint(_LEAST_REQUESTS, _MOST_REQUESTS)
    return Schedule(
        seed=seed,
        quiet_s=quiet_s,
        catalogue=catalogue,
        strategy=rng.choice(("cost", "lru", "priority")),
        neurons=fleet,
        front_ends=front_ends,
        requests=tuple(
            sorted(
                (_request(rng, quiet_s, ids, front_ends) for _ in range(many)),
                key=lambda each: each.at,
            )
        ),
        faults=_faults(rng, quiet_s, fleet, front_ends),
        pinnings=_pinnings(rng, quiet_s, ids),
    )


def _neuron(rng: random.Random, number: int) -> NeuronPlan:
    devices = (1000,) * rng.choice((1, 1, 1, 2))
    return NeuronPlan(
        name=f"n{number}",
        devices_mb=devices,
        load_s=rng.choice(_LOAD_S),
        step_s=rng.choice((0.05, 0.1, 0.2)),
        release_s=rng.choice(_RELEASE_S),
    )


def _catalogue(rng: random.Random, many: int, fleet: tuple[NeuronPlan, ...]) -> Catalogue:
    wide = any(len(each.devices_mb) > 1 for each in fleet)
    classes = rng.choice(((100,), (100,), (100, 100, 200)))
    entries = []
    for number in range(1, many + 1):
        devices = 2 if wide and rng.random() < 0.15 else 1
        entries.append(
            CatalogueEntry(
                id=f"m{number}",
                source=f"file:///m{number}.gguf",
                vram_mb=devices * rng.choice((300, 400, 600, 900)),
                min_devices=devices,
                residency_priority=rng.choice(classes),
                pinned_on=(rng.choice(fleet).name,) if rng.random() < 0.1 else (),
                keep_loaded_s=rng.choice((None, None, 3.0)),
                keep_load=rng.random() < 0.2,
            )
        )
    return Catalogue(models=tuple(entries))


def _request(
    rng: random.Random, quiet_s: float, models: tuple[str, ...], front_ends: int
) -> RequestPlan:
    return RequestPlan(
        at=rng.random() * quiet_s,
        model=rng.choice(models),
        tokens=rng.choice((1, 4, 8, 16)),
        front_end=rng.randrange(front_ends),
        leaves_after_s=rng.random() * 3.0 if rng.random() < 0.2 else None,
        wait_s=rng.choice((3.0, 60.0, 60.0)),
    )


def _faults(
    rng: random.Random, quiet_s: float, fleet: tuple[NeuronPlan, ...], front_ends: int
) -> tuple[Fault, ...]:
    names, weights = zip(*_KINDS, strict=True)
    faults: list[Fault] = []
    for kind in rng.choices(names, weights, k=rng.randint(0, 5 + len(fleet))):
        target = rng.choice(fleet).name
        if kind == "kill_front_end":
            target = f"f{rng.randrange(front_ends)}"
        elif kind == "kill_gateway":
            target = "gateway"
        if target in {each.target for each in faults if each.kind.startswith("kill_")}:
            continue
        at = rng.random() * (quiet_s - 0.5)
        faults.append(Fault(at, kind, target, min(rng.choice((0.5, 2.0, quiet_s)), quiet_s - at)))
    return tuple(sorted(faults, key=lambda each: each.at))


def _pinnings(rng: random.Random, quiet_s: float, models: tuple[str, ...]) -> tuple[Pinning, ...]:
    if rng.random() > 0.2:
        return ()
    at = rng.random() * quiet_s / 2
    return (Pinning(at, rng.choice(models), at + rng.random() * quiet_s / 2),)
