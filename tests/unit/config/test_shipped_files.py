"""The files in ``conf/`` and the schemas say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from cortex_actors.config.catalogue import CatalogueEntry
from cortex_actors.config.gateway_config import GatewayFile
from cortex_actors.config.loader import load_gateway_config, load_neuron_config
from cortex_actors.config.neuron_config import NeuronFile
from cortex_actors.serving.daemon_runner import THREAD_STOP_S, TREE_STOP_S

CONF = Path(__file__).parents[3] / "conf"
EXAMPLES = {"neurons", "default_models"}
"""Keys whose shipped value is this host's, not the default."""


@pytest.mark.parametrize(("name", "schema"), [("cortex", GatewayFile), ("neuron", NeuronFile)])
def test_every_key_is_written_out_with_its_default(name: str, schema: type[BaseModel]) -> None:
    shipped = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    assert _differences(schema, shipped, "") == []


def test_catalogue_entry_shows_every_key() -> None:
    (entry,) = yaml.safe_load((CONF / "models.yaml").read_text())["models"]
    assert set(entry) == set(CatalogueEntry.model_fields)


def test_shipped_files_load_together() -> None:
    gateway = load_gateway_config(CONF / "cortex.yaml", {})
    neuron = load_neuron_config(CONF / "neuron.yaml", {})
    assert gateway.neurons[0].endpoint == neuron.neuron.link
    assert gateway.catalogue == neuron.catalogue
    assert neuron.default_models == ("smollm2-135m",)


@pytest.mark.parametrize("name", ["cortexd", "neurond"])
def test_units_let_a_daemon_write_where_it_must(name: str) -> None:
    """All else is read-only there, temporary files (gunicorn's, torch's) included."""
    unit = _unit(name)
    assert (unit["ProtectSystem"], unit["PrivateTmp"]) == ("strict", "true")
    assert unit["Environment"][0] == f"XDG_RUNTIME_DIR=/run/{unit['RuntimeDirectory']}"
    if name == "neurond":
        cache = f"/var/cache/{unit['CacheDirectory']}"
        assert unit["Environment"][1:] == [f"NEURON__CACHE_DIR={cache}", f"HF_HOME={cache}/hub"]


@pytest.mark.parametrize("name", ["cortexd", "neurond"])
def test_units_wait_for_an_ordered_stop(name: str) -> None:
    assert int(_unit(name)["TimeoutStopSec"]) > TREE_STOP_S + 2 * THREAD_STOP_S


def test_parity_check_notices_what_is_missing_extra_or_different() -> None:
    shipped = yaml.safe_load((CONF / "cortex.yaml").read_text())
    shipped["gateway"]["workers"] = 3
    shipped["gateway"]["extra"] = 1
    del shipped["eviction"]["strategy"]
    assert _differences(GatewayFile, shipped, "") == [
        "gateway.workers",
        "gateway.extra",
        "eviction.strategy",
    ]


def _unit(name: str) -> dict[str, Any]:
    lines = (CONF / "systemd" / f"{name}.service").read_text().splitlines()
    pairs = [line.split("=", 1) for line in lines if "=" in line and not line.startswith("#")]
    values: dict[str, Any] = dict(pairs)
    return {**values, "Environment": [value for key, value in pairs if key == "Environment"]}


def _differences(schema: type[BaseModel], shipped: dict[str, Any], at: str) -> list[str]:
    found: list[str] = []
    for key in dict.fromkeys([*schema.model_fields, *shipped]):
        field, here = schema.model_fields.get(key), f"{at}{key}"
        inner = None if field is None else field.annotation
        if key in EXAMPLES:
            continue
        if field is None or key not in shipped:
            found.append(here)
        elif isinstance(inner, type) and issubclass(inner, BaseModel):
            found += _differences(inner, shipped[key], f"{here}.")
        elif shipped[key] != field.default:
            found.append(here)
    return found
