"""The neurond command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cortex_actors.cli import neurond
from tests.unit.cli.fake_gateway import FakeGateway


def test_devices_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert neurond.main(["devices", "cpu:2", "--json"]) == 0
    assert [row["id"] for row in json.loads(capsys.readouterr().out)] == ["cpu:0", "cpu:1"]
    assert neurond.main(["devices", "cpu"]) == 0
    assert "cpu:0" in capsys.readouterr().out


def test_devices_that_are_not_there_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert neurond.main(["devices", "cuda:77"]) == 1
    assert capsys.readouterr().err.startswith("neurond: ")


def test_words_that_are_no_devices_are_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        neurond.main(["devices", "tpu"])
    assert "should be auto, cpu, cpu:3 or cuda:0,1, not 'tpu'" in capsys.readouterr().err


def test_check_of_the_file_alone_does_not_look_at_the_host(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "neuron.yaml"
    config.write_text("neuron: {devices: 'cuda:77'}\n")
    (tmp_path / "models.yaml").write_text("")
    assert neurond.main(["check", "--config-only", "-c", str(config)]) == 0
    assert capsys.readouterr().out == f"neurond: {config} is sound\n"


def test_serve_refuses_a_missing_file_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert neurond.main(["serve", "-c", str(tmp_path / "absent.yaml")]) == 78
    error = capsys.readouterr().err
    assert "absent.yaml: no such file" in error
    assert "Traceback" not in error


def test_chaos_orders_one_fault_in_one_rank(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.answers["POST /chaos"] = (200, b'{"status": "armed", "model": "tiny", "rank": 1}')
    options = ["--rank", "1", "--phase", "inside", "--after", "2", "--seconds", "0.5"]
    assert neurond.main(["chaos", "oom", "--model", "tiny", *options, "--url", gateway.url]) == 0
    order = {"fault": "oom", "model": "tiny", "rank": 1, "phase": "inside"}
    assert gateway.asked == [("POST /chaos", {**order, "after": 2, "times": 1, "seconds": 0.5})]
    assert capsys.readouterr().out == "oom is armed in rank 1 of tiny\n"


def test_chaos_that_is_switched_off_is_one_line(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.refuse("POST /chaos", 400, "faults are off here; set neuron.chaos: true")
    assert neurond.main(["chaos", "oom", "--model", "tiny", "--url", gateway.url]) == 1
    assert capsys.readouterr() == (
        "",
        f"neurond: {gateway.url} answered 400: faults are off here; set neuron.chaos: true\n",
    )


def test_chaos_offers_only_faults_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        neurond.main(["chaos", "explode", "--model", "tiny"])
    assert "kill-rank" in capsys.readouterr().err


def test_chaos_names_the_daemon_that_is_not_there(
    silent_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert neurond.main(["chaos", "oom", "--model", "tiny", "--url", silent_url]) == 1
    assert "start it with 'bin/neurond serve'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--seconds", "nan"),
        ("--seconds", "-1"),
        ("--times", "0"),
        ("--after", "-1"),
        ("--rank", "-1"),
    ],
)
def test_chaos_refuses_numbers_that_mean_nothing(
    capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        neurond.main(["chaos", "oom", "--model", "tiny", option, value])
    assert f"argument {option}" in capsys.readouterr().err


def test_devices_for_programs_have_no_tags_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    assert neurond.main(["devices", "cpu:2", "--json"]) == 0
    first, _ = json.loads(capsys.readouterr().out)
    assert list(first) == ["id", "kind", "name", "memory_total_mb", "memory_free_mb"]
