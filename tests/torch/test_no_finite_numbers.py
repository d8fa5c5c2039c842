"""A token that makes no finite numbers harms its own sequence, and nobody who comes after it."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")
import torch
from transformers import AutoModelForCausalLM

from neuron_runtime.torch_backend.attention.kernel_attention import KernelAttention
from neuron_runtime.torch_backend.attention.rules import AttentionRules
from neuron_runtime.torch_backend.backend import TorchBackend
from neuron_runtime.torch_backend.batch import Batch, Span
from neuron_runtime.torch_backend.native.library import Threads, kernels
from neuron_runtime.torch_backend.paged_cache import CacheShape, PagedCache
from tests.torch.conftest import MakeModel
from tests.torch.feeder import GREEDY
from tests.torch.like_a_gpu import compute_like_a_gpu
from tests.torch.tape_recorder import TapeRecorder
from transports.schemas.group import LoadShard, SequenceStep, Step

pytestmark = pytest.mark.torch

BROKEN = 200
PREFIX = tuple(range(3, 19))
BLOCK = len(PREFIX)
NEW_TOKENS = 4
#: How the model's files store it, the precision it computes in, and how its weights are held.
FORMS = {
    "kernels": (torch.float32, "float32", "none"),
    "decoder": (torch.bfloat16, "float32", "none"),
    "rounded": (torch.float32, "float32", "int8"),
    "gathered": (torch.float32, "bfloat16", "none"),
}


@pytest.fixture(scope="module")
def broken(make_model: MakeModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model with a token whose embedding is no number, stored in each way."""
    whole = AutoModelForCausalLM.from_pretrained(make_model())
    with torch.no_grad():
        whole.get_input_embeddings().weight[BROKEN] = math.nan
    places = {}
    for stored in {stored for stored, _, _ in FORMS.values()}:
        places[str(stored)] = tmp_path_factory.mktemp("broken")
        copy.deepcopy(whole).to(stored).save_pretrained(places[str(stored)])
    return places


@pytest.fixture
def backend() -> Iterator[TorchBackend]:
    backend = TorchBackend(on_collective=lambda: None)
    yield backend
    backend.close()


def load(backend: TorchBackend, broken: dict[str, Path], form: str) -> None:
    stored, dtype, quant = FORMS[form]
    backend.load(
        LoadShard(
            model_dir=str(broken[str(stored)]),
            rank=0,
            world_size=1,
            device="cpu",
            dtype=dtype,
            rendezvous="",
            quant=quant,
            threads=1,
            kv_bytes=8 << 20,
            block_tokens=BLOCK,
        )
    )


def answer(
    backend: TorchBackend, tokens: tuple[int, ...], blocks: tuple[int, ...], known: int = 0
) -> list[int]:
    """Go on after ``tokens``, of which the first ``known`` are in their blocks already."""
    part = SequenceStep(1, known, tokens[known:], GREEDY, blocks, True, tokens[:known])
    output = [backend.step(Step(1, (part,))).tokens[0].token]
    while len(output) < NEW_TOKENS:
        place = len(tokens) + len(output) - 1
        part = SequenceStep(1, place, tuple(output[-1:]), GREEDY)
        output.append(backend.step(Step(1, (part,))).tokens[0].token)
    return output


def see_that_it_harms_nobody_else(backend: TorchBackend) -> None:
    sound = (*PREFIX, 30, 31)
    wanted = answer(backend, sound, (0, 1))
    assert any(wanted)
    # Fills what is left of the second block after it, and is fed with the prefix at once.
    answer(backend, (*PREFIX, BROKEN, *range(40, 51)), (0, 1))

    assert answer(backend, sound, (0, 1), BLOCK) == wanted
    assert answer(backend, sound, (1, 0)) == wanted


@pytest.mark.parametrize("form", FORMS)
def test_neither_who_gets_its_blocks_nor_who_shares_them_is_harmed(
    form: str, broken: dict[str, Path], backend: TorchBackend
) -> None:
    load(backend, broken, form)
    see_that_it_harms_nobody_else(backend)


@pytest.mark.parametrize("recorded", [False, True])
def test_nor_where_it_is_computed_as_on_a_gpu(
    broken: dict[str, Path],
    backend: TorchBackend,
    monkeypatch: pytest.MonkeyPatch,
    *,
    recorded: bool,
) -> None:
    compute_like_a_gpu(monkeypatch, TapeRecorder() if recorded else None)
    load(backend, broken, "kernels")
    see_that_it_harms_nobody_else(backend)


@pytest.mark.skipif(kernels() is None, reason="the kernels are for x86 with AVX2")
@pytest.mark.parametrize(
    ("kept_as", "given", "kept"),
    [
        (torch.float32, math.nan, 0.0),
        (torch.float32, -math.inf, 0.0),
        (torch.float32, 7e4, 7e4),
        (torch.float16, math.nan, 0.0),
        (torch.float16, 7e4, 65504.0),
        (torch.float16, -7e4, -65504.0),
    ],
)
def test_the_kernels_keep_finite_numbers_only(
    kept_as: torch.dtype, given: float, kept: float
) -> None:
    cache = PagedCache((CacheShape(1, 8),), 1, 8, kept_as, torch.device("cpu"))
    batch = Batch.of((Span(0, 1, 0, 0),), [0], [0], torch.zeros((1, 1), dtype=torch.int32))
    threads = Threads(kernels(), 1)
    row = torch.full((1, 1, 8), given)
    rules = AttentionRules(1.0, 0, None, None)
    attention = KernelAttention(kernels(), threads, cache, batch)
    attention.attend(0, torch.ones(1, 1, 8), row, row, rules)
    threads.close()
    assert cache.keys[0][0, 0, :, 0].tolist() == [kept] * 8
    assert cache.values[0][0, 0, 0].tolist() == [kept] * 8
