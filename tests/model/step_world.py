"""What fan-outs are made of, and what collects their answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from neuron_runtime.outcome import Member
from neuron_runtime.step import StepEffect, StepLimits
from transports.fence import DropCounters
from transports.schemas.body import Body
from transports.schemas.group import StepDone
from transports.schemas.link import Failure


class Collector(Protocol):
    """What the machine drives: ``StepCollector`` and the mutants."""

    drops: DropCounters

    @property
    def closed(self) -> bool: ...
    def sent(self, slot: int, corr: int) -> None: ...
    def answered(
        self, slot: int, inc: int, corr: int, answer: Body | Failure, now: float
    ) -> tuple[StepEffect, ...]: ...
    def lost(self, slot: int, inc: int, detail: str) -> tuple[StepEffect, ...]: ...
    def died(self, slot: int, inc: int, detail: str) -> tuple[StepEffect, ...]: ...
    def progressed(self, slot: int, inc: int, corr: int, now: float) -> bool: ...
    def cancel(self, now: float) -> None: ...
    def tick(self, now: float) -> tuple[StepEffect, ...]: ...


class NewCollector(Protocol):
    def __call__(self, members: tuple[Member, ...], limits: StepLimits) -> Collector: ...


@dataclass(frozen=True)
class Frame:
    """An answer on its way. ``operation`` is the truth, which no header carries."""

    member: Member
    corr: int
    operation: int
    answer: StepDone | Failure


class Process:
    """One life of one rank, with the numbering of its own link."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.alive = True
        self.stopped = False
        self.last_seq = 0
        self.asked: tuple[int, int] | None = None
