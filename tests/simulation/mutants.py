"""The daemons with one mistake each; some schedule must find out every one.

A mistake is a piece of product code that is replaced while a schedule runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from cortex_actors.gateway import placement_policy
from cortex_actors.gateway.fleet_table import FleetTable, Standing
from cortex_actors.gateway.messages import LinkLost
from cortex_actors.gateway.neuron_connection import NeuronConnection
from cortex_actors.gateway.placement_effects import Effects
from cortex_actors.gateway.placement_machine import PlacementMachine
from cortex_actors.http import generation_flow
from cortex_actors.http.generation_flow import GenerationFlow
from cortex_actors.neuron import reporter
from cortex_actors.neuron.models import Models
from cortex_actors.serving.lease_table import LeaseTable
from cortex_actors.serving.messages import LoadFinished
from cortex_actors.serving.router import Router
from transports import session
from transports.envelope import Header
from transports.fence import DropReason, Expectation, judge
from transports.outbox import Commands
from transports.schemas.fleet import ModelSpec
from transports.schemas.link import Failure


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake; ``made`` puts it into the code while it is entered.

    Only one schedule in a thousand tells a rare one: ``first_seed`` is near such a one.
    """

    name: str
    made: Callable[[], AbstractContextManager[Any]]
    first_seed: int = 0


def _instead(owner: Any, name: str, value: Any, first_seed: int = 0) -> Mutant:
    where = getattr(owner, "__name__", str(owner)).rpartition(".")[2]
    return Mutant(f"{where}.{name}", lambda: patch.object(owner, name, value), first_seed)


def _ignores(actor: Any, message: type) -> Mutant:
    handlers: Mapping[type, Any] = {message: lambda self, told: None}
    name = f"{actor.__name__} ignores {message.__name__}"
    return Mutant(name, lambda: patch.dict(actor._handlers, handlers))


def _nothing(*args: Any, **more: Any) -> None:
    pass


def _no_effects(*args: Any, **more: Any) -> tuple[()]:
    return ()


# -- the gateway ----------------------------------------------------------------------------------


def _only_notes_the_loss(
    self: PlacementMachine, neuron: str, connection: int, now: float
) -> Effects:
    self.fleet.lost(neuron, connection, now)
    return []


def _starts_anew_for_everyone(
    self: PlacementMachine, model: str, waiter: Any, now: float, *, insist: bool = False
) -> Effects:
    self._jobs.pop(model, None)
    return _WANT(self, model, waiter, now, insist=insist)


def _knows_no_classes(self: PlacementMachine, model: str, now: float) -> Standing:
    return Standing(_STANDING(self, model, now).memory_mb, priority=0)


_WANT = PlacementMachine.want
_STANDING = PlacementMachine._standing


# -- the front end --------------------------------------------------------------------------------


def _begins_again(self: GenerationFlow, failure: Failure, now: float) -> Any:
    self._next.clear()
    self._output.clear()
    return _GO_ELSEWHERE(self, failure, now)


def _tells_before_it_retries(self: GenerationFlow, failure: Failure, now: float) -> Any:
    return (generation_flow.Emit(failure), *_GO_ELSEWHERE(self, failure, now))


def _resumes_one_late(self: GenerationFlow, *args: Any) -> Any:
    effects = _LEASED(self, *args)
    return tuple(
        generation_flow.AskEngine(each.lease, each.resume[:-1])
        if isinstance(each, generation_flow.AskEngine)
        else each
        for each in effects
    )


_GO_ELSEWHERE = GenerationFlow._go_elsewhere
_LEASED = GenerationFlow.leased


# -- neurons and links ----------------------------------------------------------------------------


def _loads_whatever_it_has(self: Models, spec: ModelSpec) -> Failure | None:
    known = self._residents.get(spec.id)
    if known is not None and known.state.state != "ready":
        self._devices.release(spec.id)
        del self._residents[spec.id]
    return _LOAD(self, spec)


def _takes_the_turn_for_nothing(self: Commands, command: Any, args: Any) -> bool:
    if not self._enter():
        return False
    self._leave()
    return True


def _asks_no_incarnation(header: Header, expectation: Expectation) -> DropReason | None:
    return judge(header._replace(inc=expectation.inc), expectation)


_LOAD = Models._load

MUTANTS = (
    _instead(FleetTable, "reserve", _nothing),
    _instead(FleetTable, "_is_busy", lambda *_: False),
    _instead(FleetTable, "is_accounted", lambda *_: True),
    _instead(placement_policy, "may_displace", lambda *_: True),
    _instead(PlacementMachine, "_standing", _knows_no_classes),
    _instead(PlacementMachine, "want", _starts_anew_for_everyone),
    _instead(PlacementMachine, "lost", _only_notes_the_loss),
    _instead(PlacementMachine, "_has_room", lambda *_: True),
    _instead(LeaseTable, "release_all", _no_effects),
    _instead(GenerationFlow, "_settle", lambda *_, **__: ()),
    _instead(GenerationFlow, "lost", _no_effects),
    _instead(GenerationFlow, "_go_elsewhere", _begins_again),
    Mutant(
        "GenerationFlow tells before it retries",
        lambda: patch.object(GenerationFlow, "_go_elsewhere", _tells_before_it_retries),
    ),
    _instead(GenerationFlow, "leased", _resumes_one_late),
    _ignores(Router, LoadFinished),
    _ignores(NeuronConnection, LinkLost),
    _instead(Models, "_load", _loads_whatever_it_has),
    _instead(Models, "_tell_cancelled", _nothing),
    # Rare, for what a neuron tells within 50 ms reaches placement as one: the next measurement too.
    _instead(reporter, "holding", lambda _: frozenset(), first_seed=460),
    _instead(session, "judge", _asks_no_incarnation),
    _instead(Commands, "_run_here", _takes_the_turn_for_nothing),
)
