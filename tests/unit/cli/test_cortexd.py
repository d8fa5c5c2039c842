"""The cortexd command, against a gateway with canned answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cortex_actors.cli import cortexd
from cortex_actors.cli.gateway_client import GatewayClient
from tests.unit.cli.fake_gateway import STATUS, FakeGateway


def test_status_shows_neurons_and_models(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cortexd.main(["status", "--url", gateway.url]) == 0
    shown = capsys.readouterr().out
    assert "cortexd 1.2.3, ready, up 1:02:05" in shown
    rows = [line.split() for line in shown.splitlines()]
    memory = ["2.0", "of", "4.0", "GiB"]
    assert ["local", "up", "box", "cpu:0", *memory, "tiny", "nap", "1:00:00", "0.2", "s"] in rows
    assert ["tiny", "local", "ready", "cpu:0", "1/16", "2", "3"] in rows


def test_json_is_the_same_as_data(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    assert cortexd.main(["status", "--json", "--url", gateway.url]) == 0
    assert json.loads(capsys.readouterr().out) == STATUS
    assert cortexd.main(["models", "--json", "--url", gateway.url]) == 0
    assert json.loads(capsys.readouterr().out)["data"][0]["id"] == "tiny"


def test_models_are_a_table(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    assert cortexd.main(["models", "--url", f"{gateway.url}/"]) == 0
    assert "tiny" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["load", "unload"])
def test_load_and_unload_name_the_model(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert cortexd.main([command, "tiny", "--url", gateway.url]) == 0
    assert gateway.asked == [(f"POST /admin/{command}", {"model": "tiny"})]
    assert capsys.readouterr().out == f"tiny is {command}ed\n"


def test_refusal_is_one_line(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.refuse("POST /admin/load", 404, "there is no model 'x'")
    assert cortexd.main(["load", "x", "--url", gateway.url]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"cortexd: {gateway.url} answered 404: there is no model 'x'"
    )


@pytest.mark.parametrize("command", [["status"], ["models"], ["load", "x"], ["unload", "x"]])
def test_daemon_that_does_not_run_is_one_polite_line(
    silent_url: str, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert cortexd.main([*command, "--url", silent_url]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"cortexd: nothing answers at {silent_url}; start it with")


@pytest.mark.parametrize("url", ["http://host:abc", "http://[::1", "127.0.0.1:31313", "http://"])
@pytest.mark.parametrize(
    "command",
    [
        ["status", "--url"],
        ["bench", "serve", "--model", "m", "--url"],
        ["bench", "health", "--model", "m", "--probe"],
        ["conformance"],
    ],
)
def test_what_is_no_address_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], command: list[str], url: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cortexd.main([*command, url])
    assert f"'{url}' is no address" in capsys.readouterr().err


@pytest.mark.parametrize("error", ["cannot read [/a/b]", "one of [cpu, cuda] :x:"])
def test_what_a_model_says_is_shown_as_it_is(
    gateway: FakeGateway,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: str,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    model = {"id": "tiny", "status": "failed", "error": error}
    gateway.answers["GET /v1/models"] = (200, json.dumps({"data": [model]}).encode())
    neuron = {**STATUS["neurons"][0], "models": [model]}
    gateway.answers["GET /admin/status"] = (200, json.dumps({"neurons": [neuron]}).encode())
    gateway.answers["GET /debug/actors"] = actors()
    gateway.answers["GET /debug/actors?neuron=local"] = actors()
    for command in (["models"], ["status"], ["top", "--once"]):
        assert cortexd.main([*command, "--url", gateway.url]) == 0
        assert f"failed: {error}" in capsys.readouterr().out


def test_a_models_name_is_no_markup(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cortexd.main(["load", "[/tiny]", "--url", gateway.url]) == 0
    assert capsys.readouterr().out == "[/tiny] is loaded\n"


def test_something_else_at_the_address_is_named(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.answers["GET /admin/status"] = (200, b"<html>")
    assert cortexd.main(["status", "--url", gateway.url]) == 1
    assert "answered something that is not JSON" in capsys.readouterr().err


def test_check_lists_problems_and_exits_78(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "cortex.yaml"
    config.write_text("gateway: {workers: 0, listn: x}\n")
    assert cortexd.main(["check", "-c", str(config)]) == 78
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "cortexd: 3 problems:"
    assert "gateway.workers" in lines[1]
    assert "did you mean 'listen'?" in lines[2]
    assert "models.yaml: no such file" in lines[3]


def test_keygen_writes_a_private_pair_and_never_overwrites(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cortexd.main(["keygen", "front", "-d", str(tmp_path)]) == 0
    secret = tmp_path / "front.key_secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert f"Set gateway.key_file to {secret}" in capsys.readouterr().out
    assert cortexd.main(["keygen", "front", "-d", str(tmp_path)]) == 1
    assert "cannot write" in capsys.readouterr().err


def test_coldload_unloads_then_measures_to_the_first_token(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bench", "coldload", "--url", gateway.url, "--model", "tiny", "-n", "2"]
    assert cortexd.main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["runs"]) == 2
    assert 0 < report["median_s"]["first token"] <= report["median_s"]["last token"]
    routes = [route for route, _ in gateway.asked if route.startswith("POST")]
    assert routes == ["POST /admin/unload", "POST /v1/chat/completions"] * 2


def test_coldload_of_a_model_that_is_cold_already(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.refuse("POST /admin/unload", 404, "model 'tiny' is not loaded on any neuron")
    arguments = ["bench", "coldload", "--url", gateway.url, "--model", "tiny", "-n", "1"]
    assert cortexd.main([*arguments, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 1


def test_coldload_of_a_model_that_does_not_unload_is_an_error(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.refuse("POST /admin/unload", 503, "neuron 'local' does not answer")
    assert cortexd.main(["bench", "coldload", "--url", gateway.url, "--model", "tiny"]) == 1
    assert "does not answer" in capsys.readouterr().err


def test_coldload_without_an_answer_is_an_error(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    failure = 'data: {"error": {"message": "worker died"}}\n\n'
    gateway.answers["POST /v1/chat/completions"] = (200, failure.encode())
    assert cortexd.main(["bench", "coldload", "--url", gateway.url, "--model", "tiny"]) == 1
    assert "the stream failed: worker died" in capsys.readouterr().err


def test_health_is_not_measured_beside_a_load_that_cannot_be(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.refuse("POST /admin/load", 404, "model 'tiny' is not in the catalogue")
    arguments = ["bench", "health", "--url", gateway.url, "--model", "tiny"]
    assert cortexd.main([*arguments, "--seconds", "0.2"]) == 1
    assert "is not in the catalogue" in capsys.readouterr().err


def test_health_is_measured_under_load(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bench", "health", "--url", gateway.url, "--model", "tiny"]
    assert cortexd.main([*arguments, "--seconds", "0.2", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["answers"] > 0
    assert row["p50_ms"] <= row["p99_ms"] <= row["max_ms"]
    assert ("POST /admin/unload", {"model": "tiny"}) in gateway.asked


@pytest.mark.parametrize(
    ("health", "code", "shown"),
    [
        ({"status": "ok"}, 0, ", ok, ready"),
        (
            {
                "status": "impaired",
                "unservable": [{"node": "a", "model": "m", "reason": "failed"}],
            },
            0,
            ", impaired (m on a is failed), ready",
        ),
        ({"status": "degraded"}, 1, ", degraded, ready"),
    ],
)
def test_status_says_how_the_fleet_is(
    health: dict[str, object],
    code: int,
    shown: str,
    gateway: FakeGateway,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = GatewayClient(gateway.url).status()
    monkeypatch.setattr(GatewayClient, "status", lambda _self: {**told, "health": health})
    assert cortexd.main(["status", "--url", gateway.url]) == code
    assert shown in capsys.readouterr().out


def actors(*rows: tuple[str, int]) -> tuple[int, bytes]:
    made = [
        {
            "name": name,
            "state": "running",
            "restarts": restarts,
            "mailbox": 4,
            "handled": 9,
            "detail": "",
        }
        for name, restarts in rows
    ]
    return 200, json.dumps({"actors": made}).encode()


@pytest.fixture
def top(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> FakeGateway:
    monkeypatch.setenv("COLUMNS", "200")
    gateway.answers["GET /debug/actors"] = actors(("router", 0))
    gateway.answers["GET /debug/actors?neuron=local"] = actors(("model/tiny/engine", 3))
    return gateway


def test_top_shows_the_actors_of_the_gateway_and_of_its_neurons(
    top: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cortexd.main(["top", "--once", "--url", top.url]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["cortexd", "router", "running", "0", "4", "9"] in rows
    assert ["local", "model/tiny/engine", "running", "3", "4", "9"] in rows


def test_top_leaves_out_the_actors_of_a_neuron_that_does_not_answer(
    top: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    top.refuse("GET /debug/actors?neuron=local", 503, "neuron 'local' does not answer")
    assert cortexd.main(["top", "--json", "--url", top.url]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in shown["actors"]["cortexd"]] == ["router"]
    assert shown["actors"]["local"] == []


def test_top_prints_its_json_once(top: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    assert cortexd.main(["top", "--json", "--url", top.url]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["status"] == STATUS
    assert shown["actors"]["local"][0]["restarts"] == 3


def test_top_of_a_neurons_own_address_shows_the_neuron(
    top: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    del top.answers["GET /admin/status"]
    neuron = {**STATUS["neurons"][0], "version": "1.2.3"}
    top.answers["GET /discovery"] = (200, json.dumps(neuron).encode())
    top.answers["GET /ready"] = (503, b'{"ready": false, "reason": "tiny is loading"}')
    assert cortexd.main(["top", "--once", "--url", top.url]) == 0
    shown = capsys.readouterr().out
    assert "neurond 1.2.3, not ready: tiny is loading, up 1:00:00" in shown
    rows = [line.split() for line in shown.splitlines()]
    assert ["neurond", "router", "running", "0", "4", "9"] in rows


def test_top_of_something_else_is_refused_in_one_line(
    top: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    top.answers.clear()
    assert cortexd.main(["top", "--once", "--url", top.url]) == 1
    assert capsys.readouterr().err.startswith(f"cortexd: {top.url} answered 404")
