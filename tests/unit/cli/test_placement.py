"""``cortexd plan``, ``pin``, ``unpin`` and ``reload``, against a gateway with canned answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cortex_actors.cli import cortexd
from tests.unit.cli.fake_gateway import FakeGateway

PLAN: dict[str, Any] = {
    "model": "big",
    "memory_mb": 800,
    "chosen": "n1",
    "loaded_on": [],
    "neurons": [
        {
            "neuron": "n1",
            "verdict": "evict",
            "why": "it fits without old",
            "load_s": 2.0,
            "warm": True,
            "busy": False,
            "victims": [{"model": "old", "memory_mb": 600, "cost_s": 1.5}],
            "devices": [{"device": "cuda:0", "before_mb": 400, "after_mb": 200}],
        }
    ],
}


def answer(gateway: FakeGateway, route: str, body: dict[str, Any]) -> None:
    gateway.answers[route] = (200, json.dumps(body).encode())


def test_a_plan_is_a_sentence_and_a_table(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    answer(gateway, "POST /admin/plan", PLAN)
    assert cortexd.main(["plan", "load", "big", "--url", gateway.url]) == 0
    shown = capsys.readouterr().out
    assert "big would be loaded on n1 in place of old, which took 2.0 s before" in shown
    for part in ("n1 *", "evict", "old (1.5 s)", "2.0 s warm", "cuda:0: 400 > 200"):
        assert part in shown
    assert gateway.asked == [("POST /admin/plan", {"model": "big"})]


def test_a_model_that_cannot_be_loaded_is_exit_1(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(gateway, "POST /admin/plan", {**PLAN, "chosen": ""})
    assert cortexd.main(["plan", "load", "big", "--json", "--url", gateway.url]) == 1
    assert json.loads(capsys.readouterr().out)["chosen"] == ""


@pytest.mark.parametrize(("command", "pinned"), [("pin", True), ("unpin", False)])
def test_pins_are_set_and_taken_away(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str], command: str, pinned: bool
) -> None:
    answer(gateway, "POST /admin/pin", {"model": "big", "pinned": pinned})
    assert cortexd.main([command, "big", "--url", gateway.url]) == 0
    assert gateway.asked == [("POST /admin/pin", {"model": "big", "pinned": pinned})]
    assert capsys.readouterr().out == f"big is {'pinned' if pinned else 'not pinned'}\n"


def test_a_reload_prints_the_differences(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    change = {"name": "kept", "field": "vram_mb", "before": "1", "after": "2"}
    alias = {"name": "small", "field": "", "before": "", "after": "[kept]"}
    diff = {"added": ["new"], "removed": ["gone"], "changed": [change], "aliases": [alias]}
    answer(gateway, "POST /admin/reload", diff)
    assert cortexd.main(["reload", "--url", gateway.url]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "+ new",
        "- gone",
        "~ kept: vram_mb: 1 -> 2",
        "~ alias small: (not set) -> [kept]",
    ]


def test_a_reload_of_a_bad_file_prints_every_problem(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.refuse("POST /admin/reload", 400, "the catalogue stays as it was:\none\ntwo")
    assert cortexd.main(["reload", "--url", gateway.url]) == 1
    assert capsys.readouterr().err.splitlines()[-2:] == ["one", "two"]
