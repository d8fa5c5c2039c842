"""A neuron that is there and cannot be reached: behind a real network that is cut and mended.

Nothing is restarted; clients notice a pause at most.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.eventually import eventually
from tests.partition.divided_fleet import NEURONS, Asked, DividedFleet
from tests.partition.outpost import Cut, obstacle
from tests.soak.history import End

pytestmark = [pytest.mark.process, pytest.mark.timeout(170)]

BRIEF, LONG, ENDLESS = 4, 300, 4000
"""Tokens. The endless one would take longer than anything here is waited for."""
SOON_S, JUDGED_S, BACK_S, DONE_S = 5.0, 20.0, 60.0, 60.0


@pytest.fixture(scope="module")
def fleet() -> Iterator[DividedFleet]:
    reason = obstacle()
    if reason:
        pytest.skip(f"needs network namespaces: {reason}")
    # Not below TMPDIR: an ipc path has at most 100 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="cut-", dir="/tmp") as directory,
        DividedFleet(Path(directory)) as fleet,
    ):
        yield fleet


def begun(fleet: DividedFleet, tokens: int) -> Asked:
    asked = fleet.ask(tokens)
    eventually(lambda: asked.reading.pieces >= 5, DONE_S, "it streams")
    return asked


def assert_answered_once(fleet: DividedFleet, asked: Asked) -> None:
    """The client got the one right answer, and each lease was given back, the last one with it."""
    asked.join(DONE_S)
    reading = asked.reading
    assert reading.ends == [End.FINISHED], (asked.request_id, reading.detail)
    assert reading.text == asked.question.answer()
    assert reading.counted == asked.question.tokens
    assert (reading.closing, reading.late) == (True, False)
    eventually(lambda: bool(fleet.explain(asked).get("settled")), SOON_S, "it is settled")
    moves = len(fleet.went(asked)) - 1
    events = [step["event"] for step in fleet.explain(asked)["steps"]]
    assert events == [*["leased", "link_lost"] * moves, "leased", "completed"]


@pytest.mark.parametrize("cut", Cut, ids=lambda cut: cut.name.lower())
def test_a_neuron_that_is_cut_off_is_done_without_until_it_is_back(
    fleet: DividedFleet, cut: Cut
) -> None:
    everybody = fleet.processes()
    endless = [begun(fleet, ENDLESS) for _ in NEURONS]
    streams = [begun(fleet, LONG) for _ in NEURONS]
    ((victim,), (other,)) = map(fleet.went, streams)
    assert {victim, other} == set(NEURONS)

    fleet.outposts[victim].cut(cut)
    brief = [fleet.ask(BRIEF) for _ in range(6)]
    eventually(lambda: fleet.state(victim) == "suspect", JUDGED_S, "it is suspect")
    avoiding = fleet.ask(BRIEF)
    assert_answered_once(fleet, avoiding)
    assert fleet.went(avoiding) == [other]
    eventually(lambda: fleet.state(victim) == "down", JUDGED_S, "it is down")

    for asked in (*streams, *brief):
        assert_answered_once(fleet, asked)
    assert [fleet.went(asked) for asked in streams] == [[victim, other], [other]]
    assert [victim, other] in [fleet.went(asked) for asked in brief]

    # Both go on elsewhere by now; the cut-off neuron drops its own long before it has ended.
    assert all(asked.is_alive() for asked in endless)
    eventually(lambda: fleet.running(victim) == 0, JUDGED_S, "the neuron has let go of it")
    assert fleet.leases() == "leases=2 parked=0"
    eventually(lambda: fleet.running(other) == 2, SOON_S, "both run here")

    fleet.outposts[victim].heal()
    eventually(lambda: fleet.state(victim) == "up", BACK_S, "it is back")
    returned = [fleet.ask(BRIEF) for _ in range(4)]
    for asked in returned:
        assert_answered_once(fleet, asked)
    assert [victim] in [fleet.went(asked) for asked in returned]

    for asked in endless:
        asked.leave()
        assert asked.question.answer().startswith(asked.reading.text)
    eventually(lambda: fleet.leases() == "leases=0 parked=0", SOON_S, "no lease is left")
    eventually(lambda: not any(map(fleet.running, NEURONS)), SOON_S, "nothing runs")
    assert fleet.processes() == everybody
    assert fleet.complaints() == []
