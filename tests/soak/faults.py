"""Which faults there are and in which order they come: drawn from a seed. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

RANKS = ("rank0", "rank1")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault and how often it is drawn.

    ``kind`` is kill, pause (SIGSTOP and SIGCONT), stop (SIGSTOP until judged) or a word of
    ``neurond chaos``. ``seconds`` is how long it lasts, ``judged_s`` by when it has been noticed.
    """

    kind: str
    target: str
    weight: float
    seconds: tuple[float, float] = (0.0, 0.0)
    judged_s: float = 0.0
    phases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault to commit ``after_s`` seconds after the one before."""

    fault: Fault
    after_s: float
    seconds: float
    phase: str

    def order(self, model: str) -> dict[str, Any]:
        """The body for POST /chaos."""
        return {
            "model": model,
            "fault": self.fault.kind,
            "phase": self.phase,
            "rank": int(self.fault.target.removeprefix("rank")),
            "seconds": self.seconds,
        }


# A silent rank or engine is judged after 5 to 6.5 s; a step that holds a prompt after 60 s.
_SILENCE_S, _STEP_S = 7.0, 61.0

FAULTS = (
    *(Fault("kill", rank, 3) for rank in RANKS),
    *(Fault("pause", rank, 1.5, (0.05, 4.0)) for rank in RANKS),
    *(Fault("stop", rank, 0.6, judged_s=_SILENCE_S) for rank in RANKS),
    Fault("kill", "engine", 2),
    Fault("pause", "engine", 2, (0.05, 4.0)),
    Fault("stop", "engine", 0.6, judged_s=_SILENCE_S),
    Fault("kill", "gateway worker", 1.5),
    Fault("pause", "gateway worker", 1.5, (0.05, 4.0)),
    Fault("kill", "gateway arbiter", 0.8),
    Fault("pause", "gateway arbiter", 0.4, (0.05, 2.0)),
    Fault("kill", "neuron worker", 0.8),
    Fault("pause", "neuron worker", 0.8, (0.05, 4.0)),
    Fault("kill", "neuron arbiter", 0.6),
    Fault("pause", "neuron arbiter", 0.3, (0.05, 2.0)),
    Fault("pause", "neurond", 0.8, (0.05, 4.0)),
    Fault("pause", "cortexd", 0.8, (0.05, 4.0)),
    Fault("kill", "neurond", 0.3),
    Fault("kill", "cortexd", 0.3),
)
_PHASES = ("before", "inside", "replied")
ARMED = (
    *(Fault("kill-rank", rank, 2, phases=_PHASES) for rank in RANKS),
    *(Fault("stop-rank", rank, 0.4, judged_s=_SILENCE_S, phases=_PHASES) for rank in RANKS),
    *(Fault("oom", rank, 1, phases=("before", "inside")) for rank in RANKS),
    *(Fault("slow-step", rank, 1, (0.1, 3.0), phases=("inside",)) for rank in RANKS),
)
STALLS = (
    *(Fault("hang-collective", rank, 0.3, judged_s=_STEP_S, phases=("inside",)) for rank in RANKS),
    *(Fault("drop-replies", rank, 0.3, judged_s=_STEP_S, phases=("replied",)) for rank in RANKS),
)
"""These take a minute to be judged, too long for a short soak."""


def plan(seed: int, *, armed: bool, stalls: bool) -> Iterator[tuple[Strike, ...]]:
    """Yield bursts of one to three strikes, without end."""
    rng = random.Random(f"{seed}/nemesis")
    faults = FAULTS + (ARMED if armed else ()) + (STALLS if armed and stalls else ())
    weights = [fault.weight for fault in faults]
    while True:
        size = rng.choice((1, 1, 1, 2, 3))
        yield tuple(_strike(rng, fault) for fault in rng.choices(faults, weights, k=size))


def _strike(rng: random.Random, fault: Fault) -> Strike:
    phase = rng.choice(fault.phases) if fault.phases else ""
    return Strike(fault, rng.uniform(0.0, 1.5), rng.uniform(*fault.seconds), phase)
