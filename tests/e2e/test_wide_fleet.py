"""Three neurons behind one address: a death that nobody notices, and models that take turns."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.fleet import read_stream
from tests.e2e.wide_fleet import WideFleet, entry
from tests.eventually import eventually
from tests.unit.engine.tiny_model import END, make_model_dir

pytestmark = [pytest.mark.process, pytest.mark.torch, pytest.mark.timeout(170)]

QUESTION = "Tell me about the history of the steam engine."
MEMORY_MB = {"left": 800, "middle": 800, "right": 800}
"""Room for one of the models on each."""
MODEL_MB = 500


def random_qwen3(directory: Path) -> str:
    """Save a small Qwen3 that says nothing sensible; return its source."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=320,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=512,
        eos_token_id=END,
    )
    make_model_dir(directory)
    torch.manual_seed(7)
    Qwen3ForCausalLM(config).save_pretrained(directory)
    return f"file://{directory}"


@pytest.fixture(scope="module")
def fleet(model_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WideFleet]:
    qwen3 = random_qwen3(tmp_path_factory.mktemp("models") / "qwen3")
    models = [
        entry("first", "int4", MODEL_MB),
        entry("second", "int8", MODEL_MB),
        {"id": "third", "source": qwen3, "vram_mb": MODEL_MB},
    ]
    # Not tmp_path: an ipc path has at most 100 bytes.
    with tempfile.TemporaryDirectory(prefix="cortex-") as directory:
        fleet = WideFleet(
            Path(directory), model_cache, MEMORY_MB, models, ("first",), bare=("right",)
        )
        try:
            fleet.start()
            yield fleet
        finally:
            fleet.stop()


def create(fleet: WideFleet, request_id: str, **options: Any) -> Any:
    return fleet.client(default_headers={"x-request-id": request_id}).chat.completions.create(
        model="first",
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=96,
        temperature=0,
        stream=True,
        **options,
    )


def test_a_stream_whose_neuron_is_killed_goes_on_at_another_with_the_same_text(
    fleet: WideFleet,
) -> None:
    undisturbed, _ = read_stream(create(fleet, "undisturbed"))

    stream = iter(create(fleet, "killed"))
    head = [next(stream) for _ in range(8)]
    (leased,) = fleet.explain("killed")["steps"]
    fleet.neurons[leased["neuron"]].kill()
    chunks = [*head, *stream]
    text, finish = read_stream(chunks)

    assert text == undisturbed
    assert finish in {"stop", "length"}
    assert len({chunk.id for chunk in chunks}) == 1
    eventually(lambda: fleet.explain("killed")["settled"], 5.0, "the request is settled")
    explained = fleet.explain("killed")
    went = [step["neuron"] for step in explained["steps"] if step["event"] == "leased"]
    assert went[0] == leased["neuron"]
    assert set(went[1:]) == {"left", "middle"} - {leased["neuron"]}
    assert explained["settled"]["outcome"] == "completed"


def answer(fleet: WideFleet, model: str) -> str:
    found = fleet.client().chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Hi"}],
        max_tokens=4,
        temperature=0,
    )
    assert found.usage is not None
    assert found.usage.completion_tokens > 0
    return found.choices[0].message.content or ""


def test_three_models_take_turns_where_two_have_room(fleet: WideFleet) -> None:
    """An evicted model is loaded again at once, however soon it is wanted (12.1.1)."""
    before = answer(fleet, "first")
    swaps = 0
    for model in ("second", "third", "first", "second"):
        swaps += not fleet.holders(model)
        said = answer(fleet, model)
        held = [fleet.holders(each) for each in ("first", "second", "third")]
        assert fleet.holders(model)
        assert len(set[str]().union(*held)) == sum(map(len, held)), "each holds one at most"
        assert model != "first" or said == before
    assert swaps >= 3
