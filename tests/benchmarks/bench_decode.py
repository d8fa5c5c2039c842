"""Decode steps of a model with random weights, with and without graphs, beside what memory allows.

    python -m tests.benchmarks.bench_decode --device cuda:0 [--shape 8b] [--rows 1,32,128]

A step is the rank's own pass over the model and the choice of the best tokens; its time is the
median of all, in turns of ten steps without and with graphs. The limit is the time in which this
device reads the weights, at the bandwidth that it copies with. No prompt is fed: the sequences
begin with ``--context`` tokens whose keys and values are zeros, which takes as long.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from transformers import LlamaConfig

from neuron_runtime.torch_backend import model_builder
from neuron_runtime.torch_backend.batch import Batch, Span
from neuron_runtime.torch_backend.collectives import Alone
from neuron_runtime.torch_backend.device import open_device
from neuron_runtime.torch_backend.model_builder import BuiltModel, build_model
from neuron_runtime.torch_backend.parallel_plan import Cut
from neuron_runtime.torch_backend.transformers_runner import TransformersRunner
from transports.schemas.group import LoadShard

BLOCK_TOKENS = 16
TURN = 10
SHAPES = {
    "8b": LlamaConfig(
        vocab_size=128256,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
    ),
    "tiny": LlamaConfig(
        vocab_size=1000,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
    ),
}


class RandomWeights:
    """Implements ``Weights``: small random numbers, made on the device."""

    def __init__(self, model: torch.nn.Module, device: torch.device) -> None:
        named = model.named_parameters(remove_duplicate=False)
        self._shapes = {name: tuple(parameter.shape) for name, parameter in named}
        self._device = device

    def __contains__(self, tensor: str) -> bool:
        return tensor in self._shapes

    def shape(self, tensor: str) -> tuple[int, ...]:
        return self._shapes[tensor]

    def read(self, tensor: str, cut: Cut | None = None) -> torch.Tensor:
        made = torch.empty(self._shapes[tensor], dtype=torch.bfloat16, device=self._device)
        return made.normal_(0, 0.02)


def build(shape: str, device: torch.device) -> BuiltModel:
    @contextmanager
    def weights(model: torch.nn.Module, *_: object) -> Iterator[RandomWeights]:
        yield RandomWeights(model, device)

    with tempfile.TemporaryDirectory() as place:
        config = SHAPES[shape]
        config.architectures = ["LlamaForCausalLM"]
        config.save_pretrained(place)
        kv_bytes = 0 if device.type == "cuda" else 256 << 20
        shard = LoadShard(
            place, 0, 1, str(device), "bfloat16", "", 2, "none", BLOCK_TOKENS, kv_bytes
        )
        with mock.patch.object(model_builder, "_weights", weights):
            return build_model(shard, Alone(), device, torch.bfloat16, 2)


def batch(rows: int, context: int, blocks: int) -> Batch:
    """One token of each sequence; where blocks do not suffice, sequences share them."""
    spans = tuple(Span(row, row + 1, context, row) for row in range(rows))
    width = context // BLOCK_TOKENS + 1
    tables = (torch.arange(rows * width, dtype=torch.int32) % blocks).view(rows, width)
    return Batch.of(spans, [5] * rows, list(range(rows)), tables)


def step_s(runner: TransformersRunner, fed: Batch) -> float:
    started = time.perf_counter()
    with torch.inference_mode():
        runner.forward(fed).argmax(-1).tolist()
    return time.perf_counter() - started


def compare(model: BuiltModel, rows: int, context: int, turns: int) -> tuple[float, float | None]:
    """Return the seconds of a step without graphs and with, None if there are none."""
    runner = model.runner
    assert isinstance(runner, TransformersRunner)
    fed, graphs = batch(rows, context, model.cache.blocks), runner._graphs
    taken: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(turns):
        for is_recorded in (False, True) if graphs is not None else (False,):
            runner._graphs = graphs if is_recorded else None
            # The first one of a turn may still have to record, or to fill caches.
            taken[is_recorded] += [step_s(runner, fed) for _ in range(1 + TURN)][1:]
    runner._graphs = graphs
    plain, recorded = (statistics.median(each) if each else None for each in taken.values())
    assert plain is not None
    return plain, recorded


def bytes_per_s(device: torch.device) -> float:
    """Return how fast the device reads and writes, as a large copy shows it."""
    size = (2 << 30) if device.type == "cuda" else (64 << 20)
    source, target = (torch.empty(size, dtype=torch.uint8, device=device) for _ in range(2))
    taken = []
    for _ in range(10):
        started = time.perf_counter()
        target.copy_(source)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - started)
    return 2 * size / statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--shape", choices=SHAPES, default="8b")
    parser.add_argument("--rows", default="1,32,128")
    parser.add_argument("--context", type=int, default=500)
    parser.add_argument("--turns", type=int, default=5)
    chosen = parser.parse_args()
    device = open_device(chosen.device)
    speed = bytes_per_s(device)
    model = build(chosen.shape, device)
    limit = model.runner.weight_bytes / speed
    print(
        f"{model.runner.weight_bytes / 1e9:.1f} GB at {speed / 1e9:.0f} GB/s: {limit * 1e3:.2f} ms"
    )
    print("| rows | step, ms | with graphs, ms | tokens/s | limit / step |")
    print("| --- | --- | --- | --- | --- |")
    for rows in map(int, chosen.rows.split(",")):
        plain, recorded = compare(model, rows, chosen.context, chosen.turns)
        best = plain if recorded is None else recorded
        shown = "-" if recorded is None else f"{recorded * 1e3:.2f}"
        print(f"| {rows} | {plain * 1e3:.2f} | {shown} | {rows / best:.0f} | {limit / best:.0%} |")
    model.runner.close()


if __name__ == "__main__":
    main()
