"""What the tokens say is read while the ranks compute, unless it decides what they compute."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from neuron_runtime.engine.limits import Limits
from neuron_runtime.engine.output_text import OutputText
from tests.unit.engine.engine_bench import EngineBench
from transports.schemas.generate import Constraint, SamplingOptions, TextDelta
from transports.schemas.group import Step

_SCHEMA = Constraint("json_schema", json.dumps({"type": "array", "items": {"const": 1}}))


@pytest.mark.parametrize(
    ("options", "more", "ahead"),
    [
        ({}, {}, True),
        ({"logprobs": 1}, {}, True),
        ({"stop": ("never",)}, {}, False),
        ({}, {"constraint": _SCHEMA}, False),
    ],
    ids=["plain", "logprobs", "stop strings", "constraint"],
)
def test_the_next_step_waits_only_for_a_text_that_has_a_say_in_it(
    model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    more: dict[str, Any],
    ahead: bool,
) -> None:
    bench = EngineBench(model_dir, limits=Limits(max_running=4, max_queued=4, rounds=1))
    group = bench.start_group()
    group.hold = True
    client, _ = bench.client()
    answer = bench.ask(
        client, "hi", SamplingOptions(temperature=0.0, max_tokens=3, **options), **more
    )
    sent_when_read: list[int] = []
    push = OutputText.push

    def watched(self: OutputText, *args: Any) -> TextDelta | None:
        sent_when_read.append(len(group.steps))
        return push(self, *args)

    monkeypatch.setattr(OutputText, "push", watched)
    bench.step()
    bench.step()

    assert sent_when_read == ([2, 3] if ahead else [1, 2])
    assert not answer.ends


def test_the_last_token_is_read_though_no_step_follows(bench: EngineBench) -> None:
    bench.start_group()
    client, _ = bench.client()

    answer = bench.ask(client, "hi", SamplingOptions(temperature=0.0, max_tokens=1))

    assert answer.text == bench.right_text(1)
    assert answer.done.finish_reason == "length"


def test_one_that_stops_is_not_in_the_next_step_beside_one_that_is_read_later(
    bench: EngineBench,
) -> None:
    group = bench.start_group()
    group.hold = True
    client, _ = bench.client()
    first = bench.right_text(1, "a")
    plain = bench.ask(client, "b", SamplingOptions(temperature=0.0, max_tokens=2))
    bench.step()
    stopping = bench.ask(
        client, "a", SamplingOptions(temperature=0.0, max_tokens=5, stop=(first.strip() or first,))
    )
    group.hold = False
    bench.step()

    assert plain.text == bench.right_text(2, "b")
    assert stopping.done.finish_reason == "stop"
    assert sum(_feeds_the_second(step) for step in group.steps) == 1


def _feeds_the_second(step: Step) -> bool:
    return any(part.sequence == 2 for part in step.sequences)
