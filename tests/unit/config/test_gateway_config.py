"""cortex.yaml, as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.config.files import ConfigFolder


def test_empty_file_gives_every_default(folder: ConfigFolder) -> None:
    config = folder.gateway()
    assert str(config.gateway.listen) == "127.0.0.1:31313"
    assert str(config.gateway.metrics_listen) == "127.0.0.1:31314"
    assert (config.gateway.workers, config.gateway.max_body_mb) == (2, 32)
    assert (config.eviction.strategy, config.eviction.defrag_after_cycles) == ("cost", 50)
    assert config.neurons == ()
    assert config.catalogue.ids() == ("tiny", "large")


def test_values_are_read(folder: ConfigFolder) -> None:
    config = folder.gateway(
        """
        gateway: {listen: "[::1]:80", drain_s: 2, runtime_dir: run}
        neurons:
          - {name: a, endpoint: "tcp://10.0.0.7:13132"}
          - {name: b, endpoint: "ipc:///run/b.sock"}
        """
    )
    assert (config.gateway.listen.host, config.gateway.listen.port) == ("::1", 80)
    assert config.gateway.listen.url == "http://[::1]:80"
    assert config.gateway.drain_s == 2.0
    assert config.gateway.runtime_dir == folder.folder / "run"
    assert [neuron.endpoint for neuron in config.neurons] == [
        "tcp://10.0.0.7:13132",
        "ipc:///run/b.sock",
    ]


def test_every_problem_of_both_files_comes_at_once(folder: ConfigFolder) -> None:
    folder.write(
        "models.yaml",
        """
        models:
          - {id: a, source: "file:///a", quan: int8}
          - {id: a, source: "file:///b"}
        aliases: {x: y, y: x, z: nowhere, a: a}
        """,
    )
    problems = folder.gateway_problems(
        """
        gateway:
          listen: localhost
          worker: 3
          workers: many
          workers: 4
          drain_s: true
          log_level: loud
        evictions: {}
        neurons:
          - {name: one, endpoint: "tcp://127.0.0.1:*"}
          - {name: one, endpoint: "http://127.0.0.1"}
          - {name: two}
        """
    )
    assert problems == [
        "cortex.yaml:2: gateway.listen: should be HOST:PORT, such as 127.0.0.1:8080,"
        " not 'localhost'",
        "cortex.yaml:3: gateway.worker: unknown key; did you mean 'workers'?",
        "cortex.yaml:5: gateway.workers: the key is here twice (first in line 4)",
        "cortex.yaml:6: gateway.drain_s: should be a number, not True",
        "cortex.yaml:7: gateway.log_level: should be 'debug', 'info', 'warning' or 'error',"
        " not 'loud'",
        "cortex.yaml:8: evictions: unknown key; did you mean 'eviction'?",
        "cortex.yaml:10: neurons[0].endpoint: cannot connect to tcp://127.0.0.1:*:"
        " it names no single host and port",
        "cortex.yaml:11: neurons[1].endpoint: 'http://127.0.0.1' is no endpoint:"
        " use tcp://HOST:PORT or ipc:///PATH",
        "cortex.yaml:11: neurons[1].name: 'one' is already in neurons[0]",
        "cortex.yaml:12: neurons[2].endpoint: is missing",
        "models.yaml:2: models[0].quan: unknown key; did you mean 'quant'?",
        "models.yaml:3: models[1].id: 'a' is already in models[0]",
        "models.yaml:4: aliases.x: goes in a circle: x -> y -> x",
        "models.yaml:4: aliases.y: goes in a circle: y -> x -> y",
        "models.yaml:4: aliases.z: leads to 'nowhere', which is neither a model nor an alias",
        "models.yaml:4: aliases.a: 'a' is already the id of a model",
    ]


@pytest.mark.parametrize(
    "listen",
    [
        "80",
        ":80",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:*",
        "127.0.0.1:65536",
        "127.0.0.1:http",
        "::1:80",
        "[::1:80",
        "http://127.0.0.1:80",
        "a b:80",
    ],
)
def test_bad_addresses_are_refused(folder: ConfigFolder, listen: str) -> None:
    (problem,) = folder.gateway_problems(f'gateway: {{listen: "{listen}"}}')
    assert problem.startswith("cortex.yaml:1: gateway.listen: should be HOST:PORT")
    assert problem.endswith(f"not '{listen}'")


@pytest.mark.parametrize(
    ("written", "origins"),
    [
        ("[]", ()),
        ('"*"', ("*",)),
        ('["*"]', ("*",)),
        (
            "[https://chat.example, 'tauri://localhost']",
            ("https://chat.example", "tauri://localhost"),
        ),
    ],
)
def test_origins_are_a_list_or_all(
    folder: ConfigFolder, written: str, origins: tuple[str, ...]
) -> None:
    assert folder.gateway(f"gateway: {{cors_origins: {written}}}").gateway.cors_origins == origins


@pytest.mark.parametrize("written", ["chat.example", '["https://a", "*"]', '["https://a/b"]', "3"])
def test_what_is_no_origin_is_refused(folder: ConfigFolder, written: str) -> None:
    (problem,) = folder.gateway_problems(f"gateway: {{cors_origins: {written}}}")
    assert "cors_origins" in problem


@pytest.mark.parametrize("everywhere", ["0.0.0.0:31314", "[::]:31314"])
def test_a_listener_on_all_addresses_takes_the_others_too(
    folder: ConfigFolder, everywhere: str
) -> None:
    (problem,) = folder.gateway_problems(f"gateway: {{listen: '{everywhere}'}}")
    assert problem == (
        "cortex.yaml:1: gateway: listen and metrics_listen are the same address"
        f" ({everywhere}, 127.0.0.1:31314)"
    )
    elsewhere = "gateway: {listen: 127.0.0.2:31314}"
    assert folder.gateway_problems(elsewhere) == []


def test_two_listeners_cannot_share_an_address(folder: ConfigFolder) -> None:
    (problem,) = folder.gateway_problems("gateway: {listen: 127.0.0.1:31314}")
    assert problem == (
        "cortex.yaml:1: gateway: listen and metrics_listen are the same address (127.0.0.1:31314)"
    )


@pytest.mark.parametrize("section", ["gateway", "gateway:", "gateway: 3", "gateway: [1]"])
def test_section_that_is_no_mapping_is_refused(folder: ConfigFolder, section: str) -> None:
    text = section if ":" in section else f"{section}: text"
    (problem,) = folder.gateway_problems(text)
    assert problem.startswith("cortex.yaml:1: gateway: should be a mapping of keys")


def test_keys_that_are_not_text_are_refused(folder: ConfigFolder) -> None:
    (problem,) = folder.gateway_problems("8080: yes\n")
    assert problem == "cortex.yaml:1: 8080: the key should be text, not 8080"


def test_missing_catalogue_is_one_problem_beside_the_others(folder: ConfigFolder) -> None:
    problems = folder.gateway_problems("models: absent.yaml\nneurons: 3\n")
    assert problems == [
        "cortex.yaml:2: neurons: should be a list, not 3",
        "absent.yaml: no such file",
    ]


def test_paths_are_relative_to_the_file_and_home_expands(
    folder: ConfigFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    config = folder.gateway("gateway: {runtime_dir: ~/run}")
    assert config.gateway.runtime_dir == tmp_path / "home" / "run"


def test_empty_home_falls_back_to_the_user_database(
    folder: ConfigFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "")
    config = folder.gateway("gateway: {runtime_dir: ~/run}")
    assert config.gateway.runtime_dir.is_absolute()
    assert config.gateway.runtime_dir.name == "run"


def test_runtime_dir_is_the_sessions_or_one_of_our_own(
    folder: ConfigFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert folder.gateway().gateway.runtime_dir == Path("/run/user/7/cortex")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert folder.gateway().gateway.runtime_dir.name.startswith("cortex-")


def test_what_contradicts_itself_is_told_beside_what_is_wrong_by_itself(
    folder: ConfigFolder,
) -> None:
    text = "gateway: {threads: 0, listen: 127.0.0.1:31314, api_keys: {required: true}}"
    assert folder.gateway_problems(text) == [
        "cortex.yaml:1: gateway.threads: should be greater than or equal to 1, not 0",
        "cortex.yaml:1: gateway: listen and metrics_listen are the same address (127.0.0.1:31314)",
        "cortex.yaml:1: gateway.api_keys: required needs a file of keys",
    ]
