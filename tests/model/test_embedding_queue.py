"""The queue of embeddings satisfies its model; queues with one mistake each do not."""

from __future__ import annotations

import pytest

from neuron_runtime.engine.embedding_queue import EmbeddingQueue
from tests.model.embedding_machine import EmbeddingMachine
from tests.model.naive_embedding_queues import NAIVE
from tests.model.trials import holds, is_found_out

STEPS = 40


def machine_of(queue: type[EmbeddingQueue]) -> type[EmbeddingMachine]:
    return type(queue.__name__, (EmbeddingMachine,), {"queue_type": queue})


def test_every_job_ends_once_with_its_own_vectors() -> None:
    holds(EmbeddingMachine, examples=150, steps=STEPS)


@pytest.mark.parametrize("naive", NAIVE, ids=lambda naive: naive.__name__)
def test_a_naive_queue_is_found_out(naive: type[EmbeddingQueue]) -> None:
    is_found_out(machine_of(naive), steps=STEPS)
