"""The queue of long prompts satisfies its model; queues with one mistake each do not."""

from __future__ import annotations

import pytest

from neuron_runtime.engine.prompt_queue import PromptQueue
from tests.model.naive_prompt_queues import NAIVE
from tests.model.prompt_machine import PromptMachine
from tests.model.trials import holds, is_found_out

STEPS = 30


def machine_of(queue: type[PromptQueue]) -> type[PromptMachine]:
    return type(queue.__name__, (PromptMachine,), {"queue_type": queue})


def test_every_prompt_ends_once_and_one_is_made_at_a_time() -> None:
    holds(PromptMachine, examples=150, steps=STEPS)


@pytest.mark.parametrize("naive", NAIVE, ids=lambda naive: naive.__name__)
def test_a_naive_queue_is_found_out(naive: type[PromptQueue]) -> None:
    is_found_out(machine_of(naive), steps=STEPS)
