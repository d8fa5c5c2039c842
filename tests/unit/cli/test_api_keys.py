"""``cortexd keys`` and ``neurond keys``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cortex_actors.cli import cortexd, neurond
from cortex_actors.cli.gateway_client import GatewayClient
from cortex_actors.config.api_keys import digest, read_api_keys
from tests.unit.cli.fake_gateway import FakeGateway
from tests.unit.config.files import ConfigFolder

Main = Callable[[Sequence[str]], int]
BOTH = pytest.mark.parametrize(
    ("main", "section", "name"),
    [(cortexd.main, "gateway", "cortex.yaml"), (neurond.main, "neuron", "neuron.yaml")],
)


@BOTH
def test_a_key_is_made_shown_once_listed_and_taken_away(
    main: Main, section: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(ConfigFolder(tmp_path).write(name, f"{section}: {{api_keys: {{file: k.yaml}}}}"))
    assert main(["keys", "list", "-c", config]) == 0
    capsys.readouterr()
    assert main(["keys", "add", "-c", config, "--operator", "ann"]) == 0
    shown = capsys.readouterr()
    # Only the key goes to the standard output, for $(...) to take.
    (secret,) = shown.out.splitlines()
    (key,) = read_api_keys(tmp_path / "k.yaml")
    assert (key.name, key.sha256, key.operator) == ("ann", digest(secret), True)
    assert secret not in shown.err
    assert main(["keys", "list", "-c", config]) == 0
    listed = capsys.readouterr().out
    assert ["ann", "yes"] in [line.split()[:2] for line in listed.splitlines()]
    assert secret not in listed
    assert main(["keys", "add", "-c", config, "ann"]) == 1
    assert capsys.readouterr().err == "keys: 'ann' has a key already; remove it first\n"
    assert main(["keys", "remove", "-c", config, "ann"]) == 0
    assert not read_api_keys(tmp_path / "k.yaml")


@BOTH
def test_without_a_file_to_write_to_it_says_what_to_set(
    main: Main, section: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ConfigFolder(tmp_path).write(name, f"{section}: {{}}")
    assert main(["keys", "add", "-c", str(config), "ann"]) == 1
    told = capsys.readouterr().err
    assert told == f"keys: {config} names no file for keys; set api_keys.file there\n"


def test_mistakes_in_the_configuration_are_told_as_ever(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ConfigFolder(tmp_path).write("cortex.yaml", "gateway: {api_key: {}}")
    assert cortexd.main(["keys", "list", "-c", str(config)]) == 1
    assert "did you mean 'api_keys'?" in capsys.readouterr().err


def test_a_key_that_cannot_be_one_is_told_politely(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CORTEX_API_KEY", "schlüssel")
    assert cortexd.main(["status"]) == 1
    assert capsys.readouterr().err.startswith("cortexd: CORTEX_API_KEY is no API key")


def test_who_needs_a_key_is_told_where_to_put_it(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.refuse("GET /admin/status", 401, "no API key was given")
    assert cortexd.main(["status", "--url", gateway.url]) == 1
    assert "takes the key from CORTEX_API_KEY" in capsys.readouterr().err


def test_commands_carry_the_operators_key(
    gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORTEX_API_KEY", "sk-cortex-mine")
    with GatewayClient(gateway.url) as client:
        client.status()
    assert gateway.headers["authorization"] == "Bearer sk-cortex-mine"
    monkeypatch.delenv("CORTEX_API_KEY")
    with GatewayClient(gateway.url) as client:
        client.status()
    assert "authorization" not in gateway.headers
