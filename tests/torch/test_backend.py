"""A single rank answers as transformers' own generate does, and refuses what it cannot run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

from neuron_runtime.backends.base import BackendError
from neuron_runtime.torch_backend.backend import TorchBackend
from tests.torch.conftest import MakeModel
from tests.torch.feeder import Feeder, opening
from transports.failures import FailureCode
from transports.schemas.group import LoadShard, SampleParams, SequenceStep, Step

pytestmark = pytest.mark.torch

PROMPT = (1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 2, 198, 1, 4093, 198, 1780, 314)
SMALL_PROMPT = (5, 17, 101, 44, 9, 170)


def shard(at: Path, **changes: object) -> LoadShard:
    fields: dict[str, object] = {
        "model_dir": str(at),
        "rank": 0,
        "world_size": 1,
        "device": "cpu",
        "dtype": "float32",
        "rendezvous": "",
        "threads": 1,
        "kv_bytes": 64 << 20,
    }
    return LoadShard(**(fields | changes))  # type: ignore[arg-type]


@pytest.fixture
def backend() -> Iterator[TorchBackend]:
    backend = TorchBackend(on_collective=lambda: None)
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def small(make_model: MakeModel) -> Path:
    return make_model()


def generate(
    backend: TorchBackend,
    prompt: Sequence[int],
    count: int,
    params: SampleParams | None = None,
    sequence: int = 1,
) -> list[int]:
    wanted = params or SampleParams()
    fed, position, answer = tuple(prompt), 0, list[int]()
    for index in range(count):
        sample = SampleParams(
            wanted.temperature, wanted.top_p, wanted.top_k, wanted.seed, wanted.index + index
        )
        part = SequenceStep(sequence, position, fed, sample) if index else None
        done = backend.step(Step(index, (part or opening(sequence, fed, sample),)))
        position += len(fed)
        answer.append(done.tokens[0].token)
        fed = (answer[-1],)
    return answer


@cache
def reference(model_dir: Path, prompt: tuple[int, ...], count: int) -> list[int]:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    output = model.generate(
        torch.tensor([list(prompt)]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=count,
        do_sample=False,
        eos_token_id=-1,
        pad_token_id=0,
    )
    tokens: list[int] = output[0, len(prompt) :].tolist()
    return tokens


def test_smollm2_answers_greedily_as_generate_does(backend: TorchBackend, smollm2: Path) -> None:
    loaded = backend.load(shard(smollm2))
    assert loaded.context_length == 8192
    assert loaded.eos_token_ids == (2,)
    assert generate(backend, PROMPT, 16) == reference(smollm2, PROMPT, 16)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_random_models_answer_greedily_as_generate_does(
    backend: TorchBackend, make_model: MakeModel, kind: str, tied: bool
) -> None:
    model_dir = make_model(kind, tie_word_embeddings=tied)
    backend.load(shard(model_dir))
    assert generate(backend, SMALL_PROMPT, 24) == reference(model_dir, SMALL_PROMPT, 24)


@pytest.mark.parametrize("block_tokens", [4, 12, 24])
def test_blocks_of_any_size_hold_the_same(
    backend: TorchBackend, make_model: MakeModel, block_tokens: int
) -> None:
    model_dir = make_model()
    backend.load(shard(model_dir, block_tokens=block_tokens))
    assert Feeder(backend, block_tokens).generate([SMALL_PROMPT], 24) == [
        reference(model_dir, SMALL_PROMPT, 24)
    ]


def test_long_rope_frequencies_are_computed_as_transformers_does(
    backend: TorchBackend, make_model: MakeModel
) -> None:
    rope = {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
    model_dir = make_model(rope_parameters=rope)
    backend.load(shard(model_dir))
    assert generate(backend, SMALL_PROMPT, 12) == reference(model_dir, SMALL_PROMPT, 12)


@pytest.mark.parametrize("quant", ["none", "int8"])
def test_a_model_may_know_no_limit_of_its_context(
    quant: str, backend: TorchBackend, make_model: MakeModel
) -> None:
    backend.load(shard(make_model(max_position_embeddings=256), quant=quant))
    wanted = generate(backend, SMALL_PROMPT, 8)
    backend.close()
    loaded = backend.load(shard(make_model(max_position_embeddings=0), quant=quant))
    assert loaded.context_length == 0
    assert generate(backend, SMALL_PROMPT, 8) == wanted


def test_a_chunked_prefill_gives_the_same_answer(backend: TorchBackend, small: Path) -> None:
    backend.load(shard(small))
    whole = generate(backend, SMALL_PROMPT, 8)
    backend.step(Step(0, (opening(2, SMALL_PROMPT[:4]),)))
    rest = SequenceStep(2, 4, SMALL_PROMPT[4:], SampleParams())
    assert backend.step(Step(1, (rest,))).tokens[0].token == whole[0]


def test_sequences_of_one_step_do_not_disturb_each_other(
    backend: TorchBackend, small: Path
) -> None:
    backend.load(shard(small))
    alone = [generate(backend, prompt, 1, sequence=9 + n)[0] for n, prompt in enumerate(_PROMPTS)]
    parts = tuple(
        opening(sequence, prompt, SampleParams()) for sequence, prompt in enumerate(_PROMPTS)
    )
    together = backend.step(Step(7, parts))
    assert [(token.sequence, token.token) for token in together.tokens] == list(enumerate(alone))
    assert (together.step, together.rank) == (7, 0)


_PROMPTS = (SMALL_PROMPT, (3, 3, 90), (180,))


def test_a_forgotten_sequence_starts_afresh(backend: TorchBackend, small: Path) -> None:
    backend.load(shard(small))
    first = generate(backend, SMALL_PROMPT, 1)
    again = opening(1, SMALL_PROMPT, SampleParams())
    assert backend.step(Step(1, (again,), forget=(1,))).tokens[0].token == first[0]
    backend.clear()
    assert backend.step(Step(2, (again,))).tokens[0].token == first[0]


def test_seeded_sampling_is_the_same_after_a_replay(backend: TorchBackend, small: Path) -> None:
    backend.load(shard(small))
    params = SampleParams(temperature=1.0, seed=11)
    undisturbed = generate(backend, SMALL_PROMPT, 10, params)
    replayed = SampleParams(temperature=1.0, seed=11, index=4)
    rest = generate(backend, (*SMALL_PROMPT, *undisturbed[:4]), 6, replayed, sequence=2)
    assert rest == undisturbed[4:]
    other = SampleParams(temperature=1.0, seed=12)
    assert generate(backend, SMALL_PROMPT, 10, other, sequence=3) != undisturbed


@pytest.mark.parametrize(
    ("part", "code"),
    [
        (SequenceStep(1, 3, (5,)), FailureCode.STEP_FAILED),
        (SequenceStep(1, 0, (5,), begin=True), FailureCode.STEP_FAILED),
        (SequenceStep(1, 0, (5,), blocks=(10**6,), begin=True), FailureCode.STEP_FAILED),
        (SequenceStep(1, 0, (5,), blocks=(1,)), FailureCode.STEP_FAILED),
        (opening(1, ()), FailureCode.STEP_FAILED),
        (opening(1, (203,)), FailureCode.INVALID_REQUEST),
        (opening(1, (-1,)), FailureCode.INVALID_REQUEST),
        (opening(1, (5,) * 257), FailureCode.CONTEXT_LENGTH_EXCEEDED),
    ],
)
def test_a_step_that_cannot_be_run_is_refused_and_changes_nothing(
    backend: TorchBackend, small: Path, part: SequenceStep, code: FailureCode
) -> None:
    backend.load(shard(small))
    good = opening(2, SMALL_PROMPT)
    with pytest.raises(BackendError) as refusal:
        backend.step(Step(0, (good, part)))
    assert refusal.value.code == code
    backend.step(Step(1, (good,)))


def test_the_collective_hook_is_called_in_every_step(small: Path) -> None:
    calls: list[None] = []
    backend = TorchBackend(on_collective=lambda: calls.append(None))
    backend.load(shard(small))
    generate(backend, SMALL_PROMPT, 3)
    assert len(calls) == 3
    backend.close()


def test_nothing_can_be_done_before_load_or_after_close(small: Path) -> None:
    backend = TorchBackend(on_collective=lambda: None)
    with pytest.raises(BackendError):
        backend.step(Step(0, ()))
    backend.load(shard(small))
    backend.close()
    backend.close()
    with pytest.raises(BackendError):
        backend.step(Step(1, ()))


@pytest.mark.parametrize(
    ("changes", "code", "named"),
    [
        ({"device": "cuda:99"}, FailureCode.INSUFFICIENT_DEVICES, "cuda:99"),
        ({"device": "tpu"}, FailureCode.INSUFFICIENT_DEVICES, "tpu"),
        ({"dtype": "int3"}, FailureCode.LOAD_FAILED, "int3"),
        ({"quant": "int3"}, FailureCode.LOAD_FAILED, "int3"),
        ({"kv_bytes": 100}, FailureCode.LOAD_FAILED, "100 bytes"),
        ({"model_dir": "/nowhere"}, FailureCode.SOURCE_NOT_FOUND, "/nowhere"),
        ({"world_size": 2, "rendezvous": "smoke://x"}, FailureCode.LOAD_FAILED, "smoke://x"),
    ],
)
def test_a_load_that_cannot_work_names_the_culprit(
    backend: TorchBackend, small: Path, changes: dict[str, object], code: FailureCode, named: str
) -> None:
    with pytest.raises(BackendError, match=named) as refusal:
        backend.load(shard(small, **changes))
    assert refusal.value.code == code


def test_a_truncated_shard_is_refused_by_name(backend: TorchBackend, make_model: MakeModel) -> None:
    model_dir = make_model()
    weights = model_dir / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(BackendError, match=r"rank 0: .*model\.safetensors") as refusal:
        backend.load(shard(model_dir))
    assert refusal.value.code == FailureCode.SOURCE_CORRUPT


def test_weights_of_another_model_are_refused(backend: TorchBackend, make_model: MakeModel) -> None:
    model_dir, other = make_model(), make_model(hidden_size=128)
    (model_dir / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(BackendError, match="embed_tokens") as refusal:
        backend.load(shard(model_dir))
    assert refusal.value.code == FailureCode.SOURCE_CORRUPT


def test_a_config_that_contradicts_itself_is_refused(
    backend: TorchBackend, make_model: MakeModel
) -> None:
    model_dir = make_model()
    config = model_dir / "config.json"
    config.write_text(
        config.read_text().replace('"num_attention_heads": 8', '"num_attention_heads": 7')
    )
    with pytest.raises(BackendError) as refusal:
        backend.load(shard(model_dir))
    assert refusal.value.code == FailureCode.LOAD_FAILED
