"""A rank whose device is lost ends, and its death is the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from neuron_runtime.backends.base import BackendError, DeviceLost
from neuron_runtime.exit_codes import ExitCode
from neuron_runtime.faults import Faults
from neuron_runtime.worker_loop import WorkerLoop
from transports.failures import FailureCode
from transports.link import Identity
from transports.reactor import Reactor
from transports.schemas.body import Body
from transports.schemas.group import Step
from transports.schemas.link import Failure


class Turns:
    """In place of a reactor: turns are taken when told to."""

    def __init__(self) -> None:
        self.stopped = False
        self._soon: list[Callable[[], None]] = []

    def now(self) -> float:
        return 0.0

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def stop(self) -> None:
        self.stopped = True

    def run(self) -> None:
        while self._soon:
            self._soon.pop(0)()


class Question:
    """A step's request, and what it was answered with."""

    seq = 1
    raw: tuple[bytes, ...] = ()

    def __init__(self, rounds: int) -> None:
        self.body = Step(1, (), (), rounds)
        self.answers: list[Body | Failure] = []

    def on_cancel(self, callback: Callable[[str], None]) -> None:
        pass

    def complete(self, body: Body, raw: tuple[bytes, ...] = ()) -> None:
        self.answers.append(body)

    def fail(self, failure: Failure) -> None:
        self.answers.append(failure)


class Raising:
    """A backend whose every step raises this."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def step(self, step: Step, masks: bytes = b"") -> Any:
        raise self._error


def asked(error: Exception, rounds: int) -> tuple[WorkerLoop, Turns, list[Body | Failure]]:
    turns, question = Turns(), Question(rounds)
    me = Identity(1, 1, 1, 1, "rank", "m/0")
    backend = cast("Any", Raising(error))
    loop = WorkerLoop(cast("Reactor", turns), me, backend, Faults(), connect_s=1.0)
    loop.on_request(cast("Any", question))
    turns.run()
    return loop, turns, question.answers


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_rank_that_has_lost_its_device_ends_without_an_answer(rounds: int) -> None:
    """An answer would fail the request, and leave a group in which every other fails, too."""
    loop, turns, answers = asked(DeviceLost("gone"), rounds)
    assert turns.stopped
    assert loop.exit_code is ExitCode.DEVICE_LOST
    assert not answers


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_rank_that_cannot_do_a_step_goes_on(rounds: int) -> None:
    refused = BackendError(FailureCode.STEP_FAILED, "no")
    loop, turns, answers = asked(refused, rounds)
    assert not turns.stopped
    assert loop.exit_code is ExitCode.OK
    assert answers == [Failure(FailureCode.STEP_FAILED, "no")]
