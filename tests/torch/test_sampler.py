"""The next token depends on logits, parameters, seed and index; on nothing else."""

from __future__ import annotations

from collections import Counter

import pytest

from transports.schemas.group import SampleParams

torch = pytest.importorskip("torch")
from neuron_runtime.torch_backend.sampler import sample_token  # noqa: E402

pytestmark = pytest.mark.torch

LOGITS = torch.tensor([0.0, 3.0, 1.0, 2.0, -1.0])


def draws(params: SampleParams, count: int = 400) -> Counter[int]:
    return Counter(
        sample_token(
            LOGITS,
            SampleParams(params.temperature, params.top_p, params.top_k, params.seed, index),
        )
        for index in range(count)
    )


def test_no_temperature_is_greedy_whatever_the_seed() -> None:
    assert {sample_token(LOGITS, SampleParams(seed=seed, index=seed)) for seed in range(9)} == {1}


def test_draws_follow_the_distribution() -> None:
    seen = draws(SampleParams(temperature=1.0, seed=5), 4000)
    for token, share in enumerate(torch.softmax(LOGITS, -1).tolist()):
        assert seen[token] / 4000 == pytest.approx(share, abs=0.03)


def test_the_same_seed_and_index_give_the_same_token() -> None:
    params = SampleParams(temperature=1.0, seed=-3)
    assert draws(params) == draws(params)
    tokens = [
        [sample_token(LOGITS, SampleParams(1.0, 1.0, 0, seed, n)) for n in range(40)]
        for seed in (1, 2, 1 << 63, -1)
    ]
    assert len({tuple(row) for row in tokens}) == 4


def test_dtype_and_neighbouring_rows_do_not_matter() -> None:
    params = SampleParams(temperature=0.7, seed=9, index=3)
    batch = torch.stack([LOGITS, LOGITS.flip(0)])
    assert sample_token(batch[0], params) == sample_token(LOGITS.bfloat16(), params)


def test_top_k_keeps_the_best() -> None:
    assert set(draws(SampleParams(temperature=5.0, top_k=2))) == {1, 3}
    assert set(draws(SampleParams(temperature=5.0, top_k=99))) == {0, 1, 2, 3, 4}


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    assert set(draws(SampleParams(temperature=1.0, top_p=0.6))) == {1}
    assert set(draws(SampleParams(temperature=1.0, top_p=0.7))) == {1, 3}
    assert set(draws(SampleParams(temperature=1.0, top_p=0.0))) == {1}


def test_both_filters_may_be_on() -> None:
    assert set(draws(SampleParams(temperature=1.0, top_k=3, top_p=0.99))) == {1, 2, 3}


def test_a_token_without_probability_is_never_drawn() -> None:
    logits = torch.tensor([float("-inf"), 0.0, float("-inf"), 0.0, float("-inf")])
    tokens = {sample_token(logits, SampleParams(1.0, 1.0, 0, 4, n)) for n in range(200)}
    assert tokens == {1, 3}
