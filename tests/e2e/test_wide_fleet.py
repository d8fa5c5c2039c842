"""Two neurons behind one address: a death that nobody notices, and models that take turns."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.fleet import read_stream
from tests.e2e.wide_fleet import WideFleet, entry
from tests.eventually import eventually

pytestmark = [pytest.mark.process, pytest.mark.torch, pytest.mark.timeout(170)]

QUESTION = "Tell me about the history of the steam engine."


@pytest.fixture(scope="module")
def fleet(model_cache: Path) -> Iterator[WideFleet]:
    models = [entry("first", "int4", 500), entry("second", "int8", 500)]
    # Not tmp_path: an ipc path has at most 100 bytes.
    with tempfile.TemporaryDirectory(prefix="cortex-") as directory:
        fleet = WideFleet(
            Path(directory), model_cache, {"left": 800, "right": 800}, models, ("first",)
        )
        fleet.start()
        yield fleet
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
    assert set(went[1:]) == {"left", "right"} - {leased["neuron"]}
    assert explained["settled"]["outcome"] == "completed"


def test_two_models_take_turns_where_only_one_has_room(fleet: WideFleet) -> None:
    """An evicted model is loaded again at once, however soon it is wanted (12.1.1)."""
    (neuron,) = fleet.holders("first")
    for model, other in (("second", "first"), ("first", "second")):
        answer = fleet.client().chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Hi"}], max_tokens=2
        )
        assert answer.usage is not None
        assert answer.usage.completion_tokens > 0
        assert (fleet.holders(model), fleet.holders(other)) == ({neuron}, set())
