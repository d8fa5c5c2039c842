"""How long an engine goes on for a client that left, as the rules of a generation time it."""

from __future__ import annotations

import pytest

from cortex_actors.http.generation_flow import Effects, GenerationFlow, Settle
from transports.schemas.fleet import Lease
from transports.schemas.generate import GenerateDone, TextDelta
from transports.schemas.link import Failure


def cancel_s(*steps: tuple[str, float]) -> list[float]:
    """How long each lease's engine took to let go, as it is settled; ``steps`` are at seconds."""
    flow = GenerationFlow("tiny", 0.0)
    settled: list[float] = []
    for name, now in steps:
        effects: Effects = ()
        match name:
            case "leased":
                effects = flow.leased(Lease(1, "tiny", "local", "tcp://x"), now)
            case "piece":
                effects = flow.piece(TextDelta("a", 0, (1,)), now)
            case "leaves":
                effects = flow.cancel(None, now)
            case "drained":
                effects = flow.cancel(Failure("shutting_down", "bye"), now)
            case "let go":
                effects = flow.failed(Failure("cancelled", "client_gone"), now)
            case "done":
                effects = flow.done(GenerateDone("stop", 1, 1), now)
            case "lost":
                effects = flow.lost("peer_lost", "", now)
        settled += [each.settled.cancel_s for each in effects if isinstance(each, Settle)]
    return settled


@pytest.mark.parametrize("end", ["let go", "done", "lost"])
def test_it_is_timed_how_long_an_engine_goes_on_for_a_client_that_left(end: str) -> None:
    assert cancel_s(("leased", 1.0), ("piece", 2.0), ("leaves", 4.0), (end, 4.25)) == [0.25]
    assert cancel_s(("leased", 1.0), ("leaves", 4.0), (end, 4.5)) == [0.5]


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((("leased", 1.0), ("done", 3.0)), id="nobody left"),
        pytest.param((("leased", 1.0), ("drained", 2.0), ("let go", 3.0)), id="the server ends it"),
        pytest.param((("leaves", 1.0), ("leased", 9.0)), id="no engine had it"),
    ],
)
def test_nothing_is_timed_where_no_client_left_an_engine(
    steps: tuple[tuple[str, float], ...],
) -> None:
    assert cancel_s(*steps) == [0.0]
