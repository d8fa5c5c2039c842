"""The backend that makes crossed answers and wrong blocks visible."""

from __future__ import annotations

import pytest

from neuron_runtime.backends.base import BackendError
from neuron_runtime.backends.fake import FakeBackend, fake_token
from transports.failures import FailureCode
from transports.schemas.group import (
    LoadShard,
    SampledToken,
    SampleParams,
    SequenceStep,
    Step,
    StepDone,
)

GREEDY = SampleParams()
SIZE = 4


def loaded(rank: int = 0) -> FakeBackend:
    backend = FakeBackend(on_collective=lambda: None)
    shard = LoadShard("", rank, 2, "cpu", "float32", "", 1, block_tokens=SIZE, kv_bytes=8 * SIZE)
    loaded = backend.load(shard)
    assert (loaded.rank, loaded.kv_blocks) == (rank, 8)
    return backend


def begin(
    sequence: int,
    tokens: tuple[int, ...],
    sample: SampleParams | None = GREEDY,
    *,
    position: int = 0,
    blocks: tuple[int, ...] = (),
    history: tuple[int, ...] = (),
) -> SequenceStep:
    return SequenceStep(
        sequence, position, tokens, sample, blocks or (sequence,), begin=True, history=history
    )


def more(
    sequence: int, position: int, tokens: tuple[int, ...], blocks: tuple[int, ...] = ()
) -> SequenceStep:
    return SequenceStep(sequence, position, tokens, GREEDY, blocks)


def run(backend: FakeBackend, *parts: SequenceStep, masks: bytes = b"") -> list[int]:
    return [each.token for each in backend.step(Step(1, parts), masks).tokens]


def test_rank_0_samples_and_the_others_acknowledge() -> None:
    step = Step(4, (begin(1, (5, 6)), begin(2, (7,), None)))

    assert loaded(0).step(step) == StepDone(4, 0, (SampledToken(1, fake_token((5, 6))),))
    assert loaded(1).step(step) == StepDone(4, 1)


def test_a_replay_of_what_was_fed_continues_with_the_same_token() -> None:
    first, second = loaded(), loaded()
    (token,) = run(first, begin(1, (5, 6)))
    again = run(first, more(1, 2, (token,)))

    assert token == fake_token((5, 6))
    assert run(second, begin(1, (5, 6, token))) == again


def test_a_seed_changes_the_draw_and_repeats_it() -> None:
    seeded = SampleParams(temperature=1.0, seed=1)

    assert fake_token((5,), seeded) == fake_token((5,), seeded)
    assert fake_token((5,), seeded) != fake_token((5,), SampleParams(temperature=1.0, seed=2))
    assert fake_token((5,), seeded) != fake_token((5,), GREEDY)


def test_blocks_that_hold_a_prefix_go_on_with_it() -> None:
    backend = loaded()
    run(backend, begin(1, (1, 2, 3, 4), blocks=(6, 3)), begin(2, (9, 9, 9, 9)))
    run(backend, more(1, 4, (5,)))

    right = begin(3, (7,), position=4, blocks=(6, 5), history=(1, 2, 3, 4))
    wrong = begin(4, (7,), position=4, blocks=(2, 4))
    assert run(backend, right) == [fake_token((1, 2, 3, 4, 7))]
    assert run(backend, wrong) == [fake_token((9, 9, 9, 9, 7))]


@pytest.mark.parametrize(
    ("part", "complaint"),
    [
        (more(9, 3, (1,)), "sequence 9 is at 0, fed at 3, and has not begun"),
        (more(1, 1, (1,)), "sequence 1 is at 4, fed at 1"),
        (more(1, 4, (1,)), "sequence 1 has 1 blocks, too few"),
        (more(1, 4, (1,), (8,)), "given block 8, which there is not"),
        (more(1, 4, (1,), (2,)), "writes to block 2, which others hold too"),
        (begin(3, (1,), position=5, blocks=(1, 7)), "begins at 5, but has 4 in its blocks"),
        (begin(3, (1,), position=4, blocks=(1, 7), history=(0,)), "another history"),
        (begin(3, (1,), position=5, blocks=(1, 2, 7)), "blocks of another past"),
    ],
    ids=str,
)
def test_a_part_that_does_not_continue_its_blocks_is_refused(
    part: SequenceStep, complaint: str
) -> None:
    backend = loaded()
    run(backend, begin(1, (1, 2, 3, 4)), begin(2, (5,)))

    with pytest.raises(BackendError, match=complaint) as caught:
        run(backend, part)
    assert caught.value.code == FailureCode.STEP_FAILED


def test_a_mask_moves_the_draw_to_what_is_allowed() -> None:
    masked = SampleParams(masked=True)
    rows = [(1 << allowed).to_bytes(4000, "little") for allowed in (7, 12)]

    parts = (begin(1, (5,), masked), begin(2, (6,)), begin(3, (7,), masked))
    assert run(loaded(), *parts, masks=b"".join(rows)) == [7, fake_token((6,)), 12]
    with pytest.raises(BackendError, match="allows no token"):
        run(loaded(), parts[0], masks=bytes(4))
    with pytest.raises(BackendError, match="the frame has 0 bytes"):
        run(loaded(), parts[0])


def test_log_probabilities_come_if_they_are_asked_for() -> None:
    asked = SampleParams(logprobs=2)
    token = fake_token((5,))

    (sampled,) = loaded().step(Step(1, (begin(1, (5,), asked),))).tokens

    assert sampled == SampledToken(1, token, -0.5, ((token, -0.5), (token + 1, -1.0)))


def test_forgotten_and_cleared_sequences_begin_again() -> None:
    backend = loaded()
    first = begin(1, (5,))
    backend.step(Step(1, (first,)))
    backend.step(Step(2, (begin(2, (6,), blocks=(1,)),), forget=(1, 77)))
    backend.clear()

    assert backend.step(Step(3, (first,))).tokens == (SampledToken(1, fake_token((5,))),)
    backend.close()
