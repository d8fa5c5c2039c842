"""kill -9 of real processes under a real stream: the client sees a pause, not a failure."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.fleet import MODEL, Fleet, read_stream, temporary_fleet
from tests.living import alive

pytestmark = [pytest.mark.process, pytest.mark.torch, pytest.mark.timeout(170)]


def create(fleet: Fleet, **options: Any) -> Any:
    return fleet.client().chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Tell me about the history of the steam engine."}],
        max_tokens=48,
        stream=True,
        **options,
    )


@pytest.fixture(scope="module")
def divided(model_cache: Path) -> Iterator[Fleet]:
    with temporary_fleet(model_cache, devices="cpu:3", min_devices=3) as fleet:
        fleet.start()
        yield fleet


@pytest.fixture(params=["fleet", "divided"], ids=["tp1", "tp3"])
def group(request: pytest.FixtureRequest) -> Fleet:
    fleet: Fleet = request.getfixturevalue(request.param)
    return fleet


@pytest.mark.parametrize(
    "options", [{"temperature": 0}, {"temperature": 0.9, "seed": 11}], ids=["greedy", "seeded"]
)
def test_a_stream_survives_the_death_of_a_rank_with_the_same_text(
    group: Fleet, options: dict[str, Any]
) -> None:
    undisturbed, _ = read_stream(create(group, **options))
    ranks = group.ranks()

    stream = iter(create(group, **options))
    head = [next(stream) for _ in range(8)]
    ranks[-1].kill()
    text, finish = read_stream([*head, *stream])

    assert text == undisturbed
    assert finish in {"stop", "length"}
    assert not alive(ranks), "the whole group is replaced"


def test_a_stream_survives_the_death_of_its_engine_with_the_same_text(group: Fleet) -> None:
    undisturbed, _ = read_stream(create(group, temperature=0))

    stream = iter(create(group, temperature=0))
    head = [next(stream) for _ in range(8)]
    group.engine().send_signal(signal.SIGKILL)
    text, finish = read_stream([*head, *stream])

    assert text == undisturbed
    assert finish in {"stop", "length"}
    assert len({chunk.id for chunk in head}) == 1
