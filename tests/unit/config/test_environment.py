"""Environment variables over the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.unit.config.files import ConfigFolder

SHIPPED: Final = Path(__file__).parents[3] / "conf"


def test_variable_wins_over_the_file(folder: ConfigFolder) -> None:
    config = folder.gateway(
        "gateway: {listen: 127.0.0.1:1, workers: 4}",
        {"CORTEX__GATEWAY__LISTEN": "127.0.0.1:2", "CORTEX__EVICTION__DEFRAG_AFTER_CYCLES": "0"},
    )
    assert str(config.gateway.listen) == "127.0.0.1:2"
    assert config.gateway.workers == 4
    assert config.eviction.defrag_after_cycles == 0


def test_neurons_own_section_may_be_left_out(folder: ConfigFolder) -> None:
    config = folder.neuron("", {"NEURON__DEVICES": "cpu:3", "NEURON__NEURON__NAME": "n1"})
    assert (config.neuron.devices.cpus, config.neuron.name) == (3, "n1")


def test_port_replaces_only_the_port_of_listen(folder: ConfigFolder) -> None:
    config = folder.neuron("neuron: {listen: '[::1]:1'}", {"NEURON__PORT": "2"})
    assert str(config.neuron.listen) == "[::1]:2"
    assert str(folder.neuron("", {"NEURON__PORT": "2"}).neuron.listen) == "127.0.0.1:2"
    gateway = folder.gateway("", {"CORTEX__GATEWAY__PORT": "3"})
    assert str(gateway.gateway.listen) == "127.0.0.1:3"


def test_lists_are_yaml(folder: ConfigFolder) -> None:
    environ = {"NEURON__DEFAULT_MODELS": "[tiny, large]"}
    assert folder.neuron("", environ).default_models == ("tiny", "large")
    neurons = {"CORTEX__NEURONS": "[{name: a, endpoint: 'tcp://127.0.0.1:9'}]"}
    assert folder.gateway("", neurons).neurons[0].name == "a"


def test_switches_and_numbers_that_may_be_missing_are_yaml(folder: ConfigFolder) -> None:
    environ = {
        "NEURON__CHAOS": "true",
        "NEURON__PRELOAD": "false",
        "NEURON__KV_MB": "100",
        "NEURON__MEMORY_MB": "null",
        "NEURON__API_KEYS__REQUIRED": "true",
        "NEURON__API_KEYS__FILE": "/keys.yaml",
        "NEURON__STORED_RESPONSES__FILE": "null",
        "NEURON__CORS_ORIGINS": "['https://chat.example']",
    }
    neuron = folder.neuron("neuron: {memory_mb: 5}", environ).neuron
    assert (neuron.chaos, neuron.preload, neuron.api_keys.required) == (True, False, True)
    assert (neuron.kv_mb, neuron.memory_mb, neuron.stored_responses.file) == (100, None, None)
    assert neuron.cors_origins == ("https://chat.example",)
    assert folder.neuron("", {"NEURON__CORS_ORIGINS": "'*'"}).neuron.cors_origins == ("*",)


def test_every_key_can_be_set_to_its_default(folder: ConfigFolder) -> None:
    """What conf/ writes for a key is what a variable may say."""
    for prefix, name, load in (
        ("CORTEX", "cortex.yaml", folder.gateway),
        ("NEURON", "neuron.yaml", folder.neuron),
    ):
        written = (SHIPPED / name).read_text()
        variables = dict(_variables(prefix, yaml.safe_load(written)))
        folder.write("models.yaml", (SHIPPED / "models.yaml").read_text())
        variables[f"{prefix}{'' if prefix == 'CORTEX' else '__NEURON'}__MODELS"] = str(
            folder.folder / "models.yaml"
        )
        plain, varied = load(written), load("", variables)
        for section in ("gateway", "eviction", "neurons", "neuron", "restart", "default_models"):
            assert getattr(varied, section, None) == getattr(plain, section, None)


def _variables(prefix: str, values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = f"{prefix}__{key.upper()}"
        if isinstance(value, dict):
            yield from _variables(name, value)
        else:
            yield name, value if isinstance(value, str) else json.dumps(value)


def test_text_that_looks_like_a_number_stays_text(folder: ConfigFolder) -> None:
    assert folder.neuron("", {"NEURON__NAME": "007"}).neuron.name == "007"


def test_relative_path_is_relative_to_the_working_directory(
    folder: ConfigFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    environ = {"NEURON__CACHE_DIR": "cache", "NEURON__RUNTIME_DIR": "auto"}
    config = folder.neuron("", environ)
    assert config.neuron.cache_dir == tmp_path / "elsewhere" / "cache"
    assert config.neuron.runtime_dir.name.startswith("cortex")


def test_catalogue_named_by_a_variable_is_read(
    folder: ConfigFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder.write("other.yaml", "models: [{id: other, source: 'file:///o'}]")
    assert folder.neuron("", {"NEURON__MODELS": "other.yaml"}).catalogue.ids() == ("other",)
    assert folder.gateway("", {"CORTEX__MODELS": "other.yaml"}).catalogue.ids() == ("other",)


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("CORTEX__GATEWAY__WORKERS", "many", "should be a whole number, not 'many'"),
        ("CORTEX__GATEWAY__WORKRS", "4", "unknown key; did you mean 'workers'?"),
        ("CORTEX__GATEWAY__PORT", "http", "should be HOST:PORT, such as 127.0.0.1:8080,"),
        ("CORTEX__GATE__WORKERS", "4", "there is no section 'gate'"),
        ("CORTEX__PORT", "4", "unknown key; known here: gateway"),
        ("CORTEX__NEURONS", "[", "while parsing a flow node"),
        ("CORTEX__NEURONS__NAME", "a", "there is no section 'neurons'"),
        ("CORTEX__GATEWAY", "{}", "should be a mapping of keys"),
        ("CORTEX__GATEWAY__API_KEYS__REQUIRED", "1", "should be true or false, not 1"),
    ],
)
def test_problem_names_the_variable(
    folder: ConfigFolder, variable: str, value: str, complaint: str
) -> None:
    (problem,) = folder.gateway_problems("", {variable: value})
    assert problem.startswith(f"environment: {variable}: {complaint}")


def test_other_variables_are_left_alone(folder: ConfigFolder) -> None:
    environ = {"CORTEX": "1", "CORTEX_GATEWAY_LISTEN": "x", "NEURON__PORT": "x"}
    assert folder.gateway_problems("", environ) == []
