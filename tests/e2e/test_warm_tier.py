"""Two models of which one has room, and host memory where the other sleeps."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.wide_fleet import WideFleet, entry
from tests.eventually import eventually

pytestmark = [pytest.mark.process, pytest.mark.torch, pytest.mark.timeout(170)]

SOON_S = 10.0


@pytest.fixture(scope="module")
def fleet(model_cache: Path) -> Iterator[WideFleet]:
    models = [entry("first", "int4", 500), entry("second", "int8", 500)]
    # Not tmp_path: an ipc path has at most 100 bytes.
    with tempfile.TemporaryDirectory(prefix="cortex-") as directory:
        fleet = WideFleet(Path(directory), model_cache, {"only": 800}, models, warm_mb=600)
        fleet.start()
        yield fleet
        fleet.stop()


def text(fleet: WideFleet, model: str) -> str:
    """The greedy answer, for which the model takes the other's place."""
    answer = fleet.client().chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Name three rivers in Europe."}],
        max_tokens=24,
        temperature=0,
    )
    content = answer.choices[0].message.content
    assert content
    return content


def pids(fleet: WideFleet, model: str) -> set[int]:
    return {process.pid for process in fleet.processes("only", model).values()}


def listed(fleet: WideFleet, model: str) -> dict[str, Any]:
    found: dict[str, Any] = fleet.http.get(f"/v1/models/{model}").json()
    return found


def planned(fleet: WideFleet, model: str) -> dict[str, Any]:
    (row,) = fleet.http.post("/admin/plan", json={"model": model}).json()["neurons"]
    return dict(row)


def test_an_evicted_model_wakes_with_the_same_text(fleet: WideFleet) -> None:
    texts = {model: text(fleet, model) for model in ("first", "second")}
    processes = {model: pids(fleet, model) for model in texts}
    assert len(processes["first"]) == 2
    eventually(lambda: fleet.warm("only") == {"first"}, SOON_S)
    assert (listed(fleet, "first")["status"], listed(fleet, "first")["warm_on"]) == (
        "unloaded",
        ["only"],
    )
    assert planned(fleet, "first")["warm"]

    for model in ("first", "second", "first", "second"):
        assert text(fleet, model) == texts[model]
        assert fleet.holders(model) == {"only"}
    assert {model: pids(fleet, model) for model in texts} == processes
    eventually(lambda: "warm_on" not in listed(fleet, "second"), SOON_S)
    assert planned(fleet, "first")["load_s"] > 0

    # Its last lease may be settled a little after its answer is there.
    def would_leave() -> bool:
        return [each["model"] for each in planned(fleet, "first")["victims"]] == ["second"]

    eventually(would_leave, SOON_S)


def test_a_sleeper_whose_rank_is_killed_loads_cold_and_right(fleet: WideFleet) -> None:
    wanted = text(fleet, "first")
    text(fleet, "second")
    eventually(lambda: fleet.warm("only") == {"first"}, SOON_S)
    before = pids(fleet, "first")
    fleet.processes("only", "first")["rank0"].kill()

    eventually(lambda: fleet.warm("only") == set(), SOON_S)
    assert text(fleet, "first") == wanted
    assert not pids(fleet, "first") & before


def test_what_an_operator_unloads_does_not_sleep(fleet: WideFleet) -> None:
    text(fleet, "second")
    eventually(lambda: fleet.warm("only") == {"first"}, SOON_S)
    for model in ("first", "second"):
        fleet.http.post("/admin/unload", json={"model": model}).raise_for_status()

    eventually(lambda: fleet.warm("only") == set(), SOON_S)
    assert pids(fleet, "first") == pids(fleet, "second") == set()
