"""The next token depends on logits, parameters, seed and index; on nothing else."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.torch import naive_draw
from transports.schemas.group import SampledToken, SampleParams

torch = pytest.importorskip("torch")
from neuron_runtime.torch_backend.device_draw import draw_rows  # noqa: E402
from neuron_runtime.torch_backend.host_draw import draw_row  # noqa: E402
from neuron_runtime.torch_backend.sampler import DrawRequest, Sampler  # noqa: E402

pytestmark = pytest.mark.torch

SCORES = [0.0, 3.0, 1.0, 2.0, -1.0]
Draw = Callable[[Sequence[float], DrawRequest], int]


def on_host(row: Sequence[float], request: DrawRequest) -> int:
    return draw_row(np.array(row, dtype=np.float32), request)


def on_device(row: Sequence[float], request: DrawRequest) -> int:
    (token,) = draw_rows(torch.tensor([row], dtype=torch.float32), [request])
    return token


both = pytest.mark.parametrize("draw", [on_host, on_device])


def seen(draw: Draw, row: Sequence[float] = SCORES, count: int = 400, **params: Any) -> set[int]:
    requests = [DrawRequest(1, SampleParams(**params, index=index)) for index in range(count)]
    return {draw(row, request) for request in requests}


def mask_of(vocabulary: int, allowed: set[int]) -> bytes:
    words = [0] * ((vocabulary + 31) // 32)
    for token in allowed:
        words[token // 32] |= 1 << (token % 32)
    return b"".join(word.to_bytes(4, "little") for word in words)


# -- against the plain algorithm -----------------------------------------------------------------

# Multiples of a quarter: many ties, and sums and quotients without rounding.
quarters = st.integers(-20, 20).map(lambda number: number / 4)


@st.composite
def rows_and_requests(some: st.DrawFn) -> tuple[list[float], DrawRequest]:
    row = some(st.lists(quarters, min_size=1, max_size=40))
    token = st.integers(0, len(row) - 1)
    known = some(st.lists(token, max_size=12))
    params = SampleParams(
        temperature=some(st.sampled_from([0.0, 0.5, 1.0, 2.0])),
        top_p=some(st.sampled_from([1.0, 0.95, 0.5, 0.1, 0.0])),
        top_k=some(st.integers(0, 45)),
        seed=some(st.integers(0, 2**63 - 1)),
        index=some(st.integers(0, len(known))),
        min_p=some(st.sampled_from([0.0, 0.05, 0.5, 1.0])),
        frequency_penalty=some(st.sampled_from([0.0, 0.5, -1.0])),
        presence_penalty=some(st.sampled_from([0.0, 0.25, 2.0])),
        repetition_penalty=some(st.sampled_from([1.0, 2.0, 0.5])),
        logit_bias=tuple(some(st.dictionaries(token, quarters, max_size=3)).items()),
    )
    allowed = some(st.none() | st.sets(token, min_size=1))
    return row, DrawRequest(1, params, known, mask_of(len(row), allowed) if allowed else None)


def expected(scores: list[float], request: DrawRequest) -> int:
    if request.is_greedy:
        return scores.index(max(scores))
    row = np.array(scores, dtype=np.float32) / np.float32(request.temperature)
    return naive_draw.draw(torch.softmax(torch.from_numpy(row), dim=-1).tolist(), request)


@settings(max_examples=400, deadline=None)
@given(rows_and_requests())
def test_tokens_are_those_of_the_plain_algorithm(case: tuple[list[float], DrawRequest]) -> None:
    row, request = case
    scores = naive_draw.adjusted(row, request)
    assert on_host(row, request) == on_device(row, request) == expected(scores, request)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.1, 1.0, 4.0]),
    st.sampled_from([0.0, 0.3, 0.9, 0.999, 0.9999999, 1.0]),
    st.sampled_from([0, 1, 300, 4000]),
)
def test_large_rows_are_cut_no_differently(
    seed: int, spread: float, top_p: float, top_k: int
) -> None:
    row = (np.random.default_rng(seed).standard_normal(3000) * spread).astype(np.float32).tolist()
    request = DrawRequest(1, SampleParams(1.0, top_p, top_k, seed))
    assert on_host(row, request) == on_device(row, request) == expected(row, request)


# -- what the rules mean -------------------------------------------------------------------------


@both
def test_no_temperature_is_greedy_whatever_the_seed(draw: Draw) -> None:
    requests = [DrawRequest(1, SampleParams(seed=seed, index=seed)) for seed in range(9)]
    assert {draw(SCORES, request) for request in requests} == {1}


@both
def test_the_lowest_of_equal_scores_is_the_best(draw: Draw) -> None:
    assert draw([1.0, 5.0, 5.0, 5.0] * 20, DrawRequest(1, SampleParams())) == 1


@both
def test_draws_follow_the_distribution(draw: Draw) -> None:
    requests = [DrawRequest(1, SampleParams(1.0, seed=5, index=at)) for at in range(4000)]
    counts = Counter(draw(SCORES, request) for request in requests)
    for token, share in enumerate(torch.softmax(torch.tensor(SCORES), -1).tolist()):
        assert counts[token] / 4000 == pytest.approx(share, abs=0.03)


def test_the_same_seed_and_index_give_the_same_token_and_others_others() -> None:
    rows = [
        [on_host(SCORES, DrawRequest(1, SampleParams(1.0, seed=seed, index=n))) for n in range(40)]
        for seed in (1, 2, 1 << 62, 0, 1)
    ]
    assert rows[0] == rows[4]
    assert len({tuple(row) for row in rows}) == 4


def splitmix64(seed: int, steps: int) -> int:
    """Steele, Lea and Flood's generator, as published."""
    word = 2**64 - 1
    state = (seed + steps * 0x9E3779B97F4A7C15) & word
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & word
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & word
    return state ^ (state >> 31)


@pytest.mark.parametrize(("seed", "index"), [(0, 0), (0, 1), (7, 300), (2**63 - 1, 5)])
def test_a_seed_means_the_same_numbers_in_every_version(seed: int, index: int) -> None:
    assert splitmix64(0, 1) == 0xE220A8397B1DCDAF
    number = splitmix64(splitmix64(seed, 1) + index, 1) >> 11
    assert DrawRequest(1, SampleParams(seed=seed, index=index)).uniform() == number / 2**53


def test_scores_are_divided_by_the_temperature_unless_it_is_next_to_none() -> None:
    assert DrawRequest(1, SampleParams(0.01)).temperature == 0.01
    assert seen(on_host, temperature=1e-30) == seen(on_device, temperature=1e-30) == {1}


@pytest.mark.parametrize(
    "more",
    [
        {"temperature": 0.1},
        {"logit_bias": ((1, 2.0),)},
        {"repetition_penalty": 1.1},
        {"repetition_penalty": 2.0},
        {"frequency_penalty": 0.5},
        {"presence_penalty": 0.5},
    ],
)
def test_only_the_best_of_the_models_own_scores_is_plain(more: dict[str, Any]) -> None:
    assert DrawRequest(1, SampleParams()).is_plain
    assert not DrawRequest(1, SampleParams(), mask=mask_of(5, {1})).is_plain
    assert not DrawRequest(1, SampleParams(**more)).is_plain


def test_uniform_numbers_are_spread_over_the_interval() -> None:
    numbers = [
        DrawRequest(1, SampleParams(seed=seed, index=index)).uniform()
        for seed in range(100)
        for index in range(100)
    ]
    assert all(0 <= number < 1 for number in numbers)
    counts = Counter(int(number * 10) for number in numbers)
    assert all(900 < counts[tenth] < 1100 for tenth in range(10))
    assert len(set(numbers)) == len(numbers)


@both
def test_top_k_keeps_the_best(draw: Draw) -> None:
    assert seen(draw, temperature=5.0, top_k=2) == {1, 3}
    assert seen(draw, temperature=5.0, top_k=99) == {0, 1, 2, 3, 4}


@both
def test_top_p_keeps_the_smallest_set_that_reaches_it(draw: Draw) -> None:
    assert seen(draw, temperature=1.0, top_p=0.6) == {1}
    assert seen(draw, temperature=1.0, top_p=0.7) == {1, 3}
    assert seen(draw, temperature=1.0, top_p=0.0) == {1}


@both
def test_min_p_keeps_what_has_that_share_of_the_likeliest(draw: Draw) -> None:
    assert seen(draw, temperature=1.0, min_p=0.3) == {1, 3}
    assert seen(draw, temperature=1.0, min_p=1.0) == {1}


@both
def test_filters_may_be_on_together(draw: Draw) -> None:
    assert seen(draw, temperature=1.0, top_k=3, top_p=0.99) == {1, 2, 3}
    # Of the two best alone, the better has a mass of 0.73.
    assert seen(draw, temperature=1.0, top_k=2, top_p=0.7) == {1}
    assert seen(draw, temperature=1.0, min_p=0.3, top_p=0.7) == {1}


@both
def test_a_token_without_probability_is_never_drawn(draw: Draw) -> None:
    none = -math.inf
    row = [none, 0.0, none, 0.0, none]
    assert seen(draw, row, 200, temperature=1.0) == {1, 3}
    assert seen(draw, row, 200, temperature=1.0, top_k=4, top_p=0.999) == {1, 3}


@both
@pytest.mark.parametrize(("number", "token"), [(0.0, 1), (1 - 2**-53, 3)])
@pytest.mark.parametrize("top_p", [1.0, 0.99])
def test_the_ends_of_the_interval_are_tokens_that_may_be_drawn(
    draw: Draw, number: float, token: int, top_p: float
) -> None:
    class Edge(DrawRequest, frozen=True):
        def uniform(self) -> float:
            return number

    row = [-math.inf, 0.25, 0.5, 0.125, -math.inf]
    assert draw(row, Edge(1, SampleParams(1.0, top_p))) == token


@both
def test_the_lowest_temperatures_are_greedy(draw: Draw) -> None:
    assert seen(draw, [1e30, 2.0, 1e29], 50, temperature=1e-300) == {0}


@both
@pytest.mark.parametrize("row", [[-math.inf] * 4, [math.nan] * 4, [1.0, 2.0, math.inf, 0.0]])
@pytest.mark.parametrize("params", [{}, {"top_p": 0.9}, {"top_k": 2, "min_p": 0.1}])
def test_scores_that_are_no_numbers_still_give_a_token(
    draw: Draw, row: list[float], params: dict[str, Any]
) -> None:
    (token,) = seen(draw, row, 9, temperature=1.0, **params)
    assert 0 <= token < 4


@both
def test_a_mask_allows_what_it_has_a_bit_for(draw: Draw) -> None:
    row = [float(token) for token in range(70)]
    params = SampleParams(masked=True)
    assert draw(row, DrawRequest(1, params, mask=mask_of(70, {3, 40, 64}))) == 64
    assert draw(row, DrawRequest(1, params, mask=mask_of(64, {3, 40}))) == 40
    assert draw(row, DrawRequest(1, params, mask=mask_of(128, {3, 100}))) == 3


@both
def test_a_bias_for_no_token_of_the_model_is_ignored(draw: Draw) -> None:
    params = SampleParams(logit_bias=((-1, 100.0), (5, 100.0), (0, 9.0)))
    assert draw(SCORES, DrawRequest(1, params)) == 0


@both
def test_output_is_penalised_by_how_often_and_whether_it_came(draw: Draw) -> None:
    def token(known: Sequence[int], index: int, **penalties: Any) -> int:
        return draw(SCORES, DrawRequest(1, SampleParams(index=index, **penalties), known))

    assert token([1, 1, 1], 3, frequency_penalty=0.5) == 3
    assert token([1, 1, 1], 1, frequency_penalty=0.5) == 1
    assert token([1, 1, 1], 3, presence_penalty=0.5) == 1
    assert token([1], 1, presence_penalty=1.5) == 3
    assert token([1], 0, presence_penalty=1.5) == 1
    assert token([1], 0, repetition_penalty=2.0) == 3


def test_repetition_penalty_is_that_of_transformers() -> None:
    from transformers import RepetitionPenaltyLogitsProcessor

    generator = torch.Generator().manual_seed(1)
    scores = torch.randn((1, 50), generator=generator) * 3
    known = torch.randint(50, (1, 30), generator=generator)
    theirs = RepetitionPenaltyLogitsProcessor(1.3)(known, scores)[0].tolist()
    params = SampleParams(repetition_penalty=1.3)
    request = DrawRequest(1, params, known[0].tolist())
    assert naive_draw.adjusted(scores[0].tolist(), request) == pytest.approx(theirs)


# -- batches -------------------------------------------------------------------------------------


def mixed_requests(vocabulary: int) -> list[DrawRequest]:
    choices = [
        SampleParams(),
        SampleParams(0.8, 0.95, seed=1),
        SampleParams(1.0, seed=2, index=3, frequency_penalty=0.7, presence_penalty=0.1),
        SampleParams(0.7, 0.9, 40, seed=3),
        SampleParams(1.3, seed=4, min_p=0.02, logprobs=3),
        SampleParams(logprobs=0, repetition_penalty=1.2),
        SampleParams(1.0, seed=5, masked=True),
        SampleParams(1.0, 0.999, seed=6, logit_bias=((7, 4.0), (9, -100.0)), logprobs=5),
    ]
    known = [1, 5, 7, 5, 5, 8]
    mask = mask_of(vocabulary, set(range(0, vocabulary, 3)))
    return [
        DrawRequest(number, params, known, mask if params.masked else None)
        for number, params in enumerate(choices * 2)
    ]


@pytest.mark.parametrize("vocabulary", [40, 5003])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_row_alone_gives_what_it_gives_among_others(vocabulary: int, dtype: str) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = (torch.randn((16, vocabulary), generator=generator) * 2).to(getattr(torch, dtype))
    before = logits.clone()
    requests = mixed_requests(vocabulary)
    together = Sampler().draw(logits, requests)
    alone = [
        Sampler().draw(logits[row : row + 1], [request])[0] for row, request in enumerate(requests)
    ]
    assert together == alone
    assert torch.equal(logits, before)
    at_once = draw_rows(logits.float().clone(), requests)
    one_by_one = [on_device(logits[at].tolist(), each) for at, each in enumerate(requests)]
    assert at_once == one_by_one == [each.token for each in together]


def test_a_greedy_batch_is_answered_in_order() -> None:
    logits = torch.tensor([SCORES, SCORES[::-1]])
    requests = [DrawRequest(7, SampleParams()), DrawRequest(4, SampleParams())]
    assert Sampler().draw(logits, requests) == [SampledToken(7, 1), SampledToken(4, 3)]


# -- log probabilities ---------------------------------------------------------------------------


def test_log_probabilities_are_the_model_s_own() -> None:
    params = SampleParams(1.7, seed=3, logit_bias=((4, 100.0),), logprobs=2)
    (token,) = Sampler().draw(torch.tensor([SCORES]), [DrawRequest(1, params)])
    logprobs = torch.log_softmax(torch.tensor(SCORES), -1).tolist()
    assert token == SampledToken(1, 4, logprobs[4], ((1, logprobs[1]), (3, logprobs[3])))


def test_equal_alternatives_are_reported_in_order_of_ids() -> None:
    logits = torch.tensor([[1.0, 2.0] + [0.0] * 98, [0.0] * 100])
    requests = [DrawRequest(1, SampleParams(logprobs=4)), DrawRequest(2, SampleParams(logprobs=2))]
    first, second = Sampler().draw(logits, requests)
    assert [token for token, _ in first.top] == [1, 0, 2, 3]
    assert [token for token, _ in second.top] == [0, 1]


def test_only_those_who_ask_get_log_probabilities() -> None:
    requests = [DrawRequest(1, SampleParams()), DrawRequest(2, SampleParams(logprobs=0))]
    silent, asked = Sampler().draw(torch.tensor([SCORES, SCORES]), requests)
    assert (silent.logprob, silent.top, asked.top) == (None, (), ())
    assert asked.logprob == pytest.approx(torch.log_softmax(torch.tensor(SCORES), -1)[1].item())


def test_an_impossible_token_has_a_log_probability_that_json_can_hold() -> None:
    logits = torch.tensor([[0.0, -math.inf, -math.inf]])
    params = SampleParams(logprobs=9, masked=True)
    request = DrawRequest(1, params, mask=mask_of(3, {1}))
    (token,) = Sampler().draw(logits, [request])
    assert (token.token, token.logprob) == (0, 0.0) or token.logprob == -9999.0
    assert token.top == ((0, 0.0), (1, -9999.0), (2, -9999.0))


def test_scores_that_are_no_numbers_have_log_probabilities_that_json_can_hold() -> None:
    logits = torch.full((1, 4), math.nan)
    (token,) = Sampler().draw(logits, [DrawRequest(1, SampleParams(logprobs=2))])
    assert (token.logprob, token.top) == (-9999.0, ())
