from __future__ import annotations

import json
from typing import Any

import pytest

from cortex_actors.cli import cortexd, explain
from cortex_actors.cli.gateway_client import GatewayClient

FOUND: dict[str, Any] = {
    "request_id": "r.1",
    "model": "m",
    "steps": [
        {"at_s": 0.0, "event": "waits", "neuron": "", "detail": "no replica is ready"},
        {"at_s": 4.0, "event": "leased", "neuron": "n1", "detail": "only"},
        {"at_s": 9.0, "event": "completed", "neuron": "n1", "detail": ""},
    ],
    "load_s": 4.0,
    "settled": {
        "outcome": "completed",
        "lease_s": 4.25,
        "queue_s": 0.5,
        "prefill_s": 1.0,
        "decode_s": 2.0,
        "duration_s": 9.0,
        "first_token_s": 6.0,
        "prompt_tokens": 10,
        "cached_tokens": 8,
        "completion_tokens": 5,
        "reasoning_tokens": 2,
    },
    "phases": {
        "lease": 0.25,
        "load": 4.0,
        "queue": 0.5,
        "prefill": 1.0,
        "decode": 2.0,
        "write": 1.25,
    },
}


def phases(
    found: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, str]:
    """Each row's first two columns, as ``cortexd explain`` prints them."""
    monkeypatch.setattr(GatewayClient, "explain", lambda _self, _id: found)
    assert cortexd.main(["explain", "r"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    return {row[0]: row[1] for row in rows if len(row) > 1}


def test_every_phase_is_shown_and_the_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = phases(FOUND, monkeypatch, capsys)

    assert [shown[name] for name in explain.PHASES] == [
        "0.250",
        "4.000",
        "0.500",
        "1.000",
        "2.000",
        "1.250",
    ]
    assert shown["total"] == "9.000"


def test_what_programs_read_has_the_same_phases(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(GatewayClient, "explain", lambda _self, _id: FOUND)
    assert cortexd.main(["explain", "--json", "r"]) == 0
    assert json.loads(capsys.readouterr().out)["phases"] == FOUND["phases"]


def test_a_request_that_still_runs_has_steps_and_no_phases(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = phases({**FOUND, "settled": None, "phases": None}, monkeypatch, capsys)

    assert "lease" not in shown
    assert shown["4.000"] == "s"
