"""Every way to attend sees what plain sums over each row's past give."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

pytest.importorskip("torch")
import torch

from neuron_runtime.torch_backend.attention import decode_attention, gathered_attention
from neuron_runtime.torch_backend.attention.attention import Attention
from neuron_runtime.torch_backend.attention.decode_attention import DecodeAttention
from neuron_runtime.torch_backend.attention.decode_places import DecodePlaces
from neuron_runtime.torch_backend.attention.fused_attention import FusedAttention
from neuron_runtime.torch_backend.attention.gathered_attention import GatheredAttention
from neuron_runtime.torch_backend.attention.kernel_attention import KernelAttention
from neuron_runtime.torch_backend.attention.places import Places
from neuron_runtime.torch_backend.attention.rules import AttentionRules
from neuron_runtime.torch_backend.batch import Batch, Span
from neuron_runtime.torch_backend.native.library import Threads, kernels
from neuron_runtime.torch_backend.paged_cache import CacheShape, PagedCache

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
BLOCK, BLOCKS, WIDTH = 8, 64, 12
KV_HEADS, GROUP, DIM = 2, 3, 16
HEADS = KV_HEADS * GROUP

#: Position and number of rows of each sequence.
STEPS: dict[str, list[tuple[int, int]]] = {
    "decode": [(0, 1), (7, 1), (8, 1), (31, 1), (60, 1)],
    "prompts": [(0, 5), (0, 33), (13, 9), (40, 24)],
    "mixed": [(21, 1), (0, 17), (55, 1), (30, 2), (8, 1)],
}
RULES = {
    "plain": AttentionRules(0.25, 0, None, None),
    "window": AttentionRules(0.25, 10, None, None),
    "window of a block": AttentionRules(0.25, 8, None, None),
    "window of one": AttentionRules(0.25, 1, None, None),
    "wide window": AttentionRules(0.25, 500, None, None),
    "softcap": AttentionRules(0.25, 10, 2.0, None),
    "sinks": AttentionRules(0.25, 10, None, torch.linspace(-1, 2, HEADS)),
}
PLAIN = [name for name, rules in RULES.items() if rules.softcap is None and rules.sinks is None]


@dataclass
class Scene:
    """A batch with a past, and queries, keys and values [heads, rows, dim] of its rows."""

    cache: PagedCache
    batch: Batch
    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor

    @classmethod
    def of(cls, step: str) -> Scene:
        made = torch.Generator().manual_seed(5)
        cache = PagedCache((CacheShape(KV_HEADS, DIM),), BLOCKS, BLOCK, torch.float32, CPU)
        for tensor in (*cache.keys, *cache.values):
            tensor.copy_(torch.randn(tensor.shape, generator=made))
        tables = torch.randperm(BLOCKS, generator=made, dtype=torch.int32)[: 5 * WIDTH]
        spans, rows = [], 0
        for number, (position, count) in enumerate(STEPS[step]):
            # Slots are taken in another order than sequences come in.
            spans.append(Span(rows, rows + count, position, 4 - number))
            rows += count
        batch = Batch.of(tuple(spans), [0] * rows, [rows - 1], tables.view(5, WIDTH))
        sizes = ((HEADS, rows, DIM), (KV_HEADS, rows, DIM), (KV_HEADS, rows, DIM))
        return cls(cache, batch, *(torch.randn(size, generator=made) for size in sizes))

    def places(self) -> Places:
        return Places.of(self.batch, BLOCK, CPU)

    def attend(self, attention: Attention, rules: AttentionRules) -> torch.Tensor:
        return attention.attend(0, self.query, self.key, self.value, rules)

    def by_hand(self, rules: AttentionRules) -> torch.Tensor:
        """One row and one head at a time, over the cache as ``attend`` has left it."""
        out = torch.empty(self.query.shape[1], HEADS, DIM)
        for row, (slot, position) in enumerate(
            zip(self.batch.slots.tolist(), self.batch.positions.tolist(), strict=True)
        ):
            first = max(0, position - rules.window + 1) if rules.window else 0
            table = self.batch.tables[slot].tolist()
            homes = [(table[at // BLOCK], at % BLOCK) for at in range(first, position + 1)]
            for head in range(HEADS):
                keys = [self.cache.keys[0][block, head // GROUP, :, at] for block, at in homes]
                values = [self.cache.values[0][block, head // GROUP, at] for block, at in homes]
                scores = torch.stack(keys) @ self.query[head, row] * rules.scale
                if rules.softcap is not None:
                    scores = torch.tanh(scores / rules.softcap) * rules.softcap
                total = scores.exp().sum()
                if rules.sinks is not None:
                    total = total + math.exp(float(rules.sinks[head]))
                out[row, head] = (scores.exp() / total) @ torch.stack(values)
        return out


def is_close(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    return torch.allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("score_bytes", [1 << 30, 4000])
@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("step", STEPS)
def test_gathered_blocks(
    step: str, rules: str, score_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathered_attention, "SCORE_BYTES", score_bytes)
    scene = Scene.of(step)
    found = scene.attend(GatheredAttention(scene.cache, scene.places()), RULES[rules])
    assert is_close(found, scene.by_hand(RULES[rules]))


@pytest.mark.parametrize("rules", PLAIN)
@pytest.mark.parametrize("step", STEPS)
def test_torchs_fused_attention(step: str, rules: str) -> None:
    scene = Scene.of(step)
    with torch.inference_mode():
        found = scene.attend(FusedAttention(scene.cache, scene.places()), RULES[rules])
    assert is_close(found, scene.by_hand(RULES[rules]))


@pytest.mark.parametrize("rules", PLAIN)
@pytest.mark.parametrize("step", STEPS)
def test_the_kernels(step: str, rules: str) -> None:
    library = kernels()
    if library is None:
        pytest.skip("no kernels on this host")
    scene, threads = Scene.of(step), Threads(library, 2)
    found = scene.attend(KernelAttention(library, threads, scene.cache, scene.batch), RULES[rules])
    threads.close()
    assert is_close(found, scene.by_hand(RULES[rules]))


def decode_places(scene: Scene, width: int, beyond: int) -> DecodePlaces:
    """What a decode graph is given: ``width`` blocks a row, ``beyond`` where it has none."""
    tables = torch.full((len(scene.batch.spans), width), beyond)
    for row, span in enumerate(scene.batch.spans):
        reached = span.position // BLOCK + 1
        tables[row, :reached] = scene.batch.tables[span.slot, :reached].long()
    return DecodePlaces(scene.batch.positions.long(), tables, BLOCK)


@pytest.mark.parametrize("gathered_bytes", [1 << 30, 1])
@pytest.mark.parametrize("width", [8, 16])
@pytest.mark.parametrize("rules", RULES)
def test_single_tokens_with_static_shapes(
    rules: str, width: int, gathered_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode_attention, "GATHERED_BYTES", gathered_bytes)
    scene = Scene.of("decode")
    attention = DecodeAttention(scene.cache, decode_places(scene, width, 3))
    assert is_close(scene.attend(attention, RULES[rules]), scene.by_hand(RULES[rules]))


@pytest.mark.parametrize("rules", RULES)
def test_what_is_beyond_a_row_is_not_seen(rules: str) -> None:
    outputs = []
    for beyond in (3, 50):
        scene = Scene.of("decode")
        attention = DecodeAttention(scene.cache, decode_places(scene, 16, beyond))
        outputs.append(scene.attend(attention, RULES[rules]))
    assert torch.equal(*outputs)


@pytest.mark.parametrize("way", [GatheredAttention, FusedAttention])
def test_only_the_rows_own_places_are_written(way: type[Attention]) -> None:
    scene = Scene.of("mixed")
    before = [tensor.clone() for tensor in (scene.cache.keys[0], scene.cache.values[0])]
    with torch.inference_mode():
        scene.attend(way(scene.cache, scene.places()), RULES["plain"])  # type: ignore[call-arg]
    rows = zip(scene.batch.slots.tolist(), scene.batch.positions.tolist(), strict=True)
    for row, (slot, at) in enumerate(rows):
        block = int(scene.batch.tables[slot, at // BLOCK])
        before[0][block, :, :, at % BLOCK] = scene.key[:, row]
        before[1][block, :, at % BLOCK] = scene.value[:, row]
    assert torch.equal(scene.cache.keys[0], before[0])
    assert torch.equal(scene.cache.values[0], before[1])
