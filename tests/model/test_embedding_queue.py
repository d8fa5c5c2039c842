"""The queue of embeddings satisfies its model; queues with one mistake each do not."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from neuron_runtime.engine.embedding_queue import EmbeddingQueue
from tests.model.embedding_machine import EmbeddingMachine
from tests.model.naive_embedding_queues import NAIVE

THOROUGH = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
QUICK = settings(
    THOROUGH, max_examples=3000, phases=[Phase.generate], derandomize=True, database=None
)


def machine_of(queue: type[EmbeddingQueue]) -> type[EmbeddingMachine]:
    return type(queue.__name__, (EmbeddingMachine,), {"queue_type": queue})


def test_every_job_ends_once_with_its_own_vectors() -> None:
    run_state_machine_as_test(EmbeddingMachine, settings=THOROUGH)


@pytest.mark.parametrize("naive", NAIVE, ids=lambda naive: naive.__name__)
def test_a_naive_queue_is_found_out(naive: type[EmbeddingQueue]) -> None:
    with pytest.raises((AssertionError, KeyError)):
        run_state_machine_as_test(machine_of(naive), settings=QUICK)
