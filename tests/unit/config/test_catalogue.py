"""models.yaml: what it may say, every mistake at once, and what a reload changes."""

from __future__ import annotations

import pytest

from cortex_actors.config.catalogue import Catalogue
from cortex_actors.config.catalogue_diff import compare
from cortex_actors.config.errors import ConfigError
from cortex_actors.config.loader import reload_catalogue
from tests.unit.config.files import ConfigFolder
from transports.schemas.operations import CatalogueReloaded, FieldChange

NEURONS = """
neurons:
  - {name: left, endpoint: "tcp://10.0.0.7:13132"}
  - {name: right, endpoint: "tcp://10.0.0.8:13132"}
"""


def catalogue(folder: ConfigFolder, text: str) -> Catalogue:
    folder.write("models.yaml", text)
    return folder.gateway(NEURONS).catalogue


def test_an_entry_says_what_a_model_takes_and_costs(folder: ConfigFolder) -> None:
    (entry,) = catalogue(
        folder,
        """
        models:
          - id: a
            source: file:///a
            pinned: true
            pinned_on: [left]
            residency_priority: 300
            keep_loaded_s: 60
            cost: {input: 0.0, output: 2}
            limit: {context: 4096}
            capabilities: [chat, tools]
        """,
    ).models
    assert (entry.pinned_on, entry.residency_priority, entry.keep_loaded_s) == (("left",), 300, 60)
    assert entry.cost is not None
    assert (entry.cost.input, entry.cost.output, entry.cost.cache_read) == (0.0, 2.0, None)
    assert entry.limit is not None
    assert (entry.limit.context, entry.limit.output) == (4096, None)
    assert entry.capabilities == ("chat", "tools")
    assert entry.pinned


def test_an_alias_is_a_chain_of_models_and_aliases(folder: ConfigFolder) -> None:
    found = catalogue(
        folder,
        """
        models:
          - {id: a, source: "file:///a"}
          - {id: b, source: "file:///b"}
          - {id: c, source: "file:///c"}
        aliases: {one: b, several: [a, one, c], all: [several, one]}
        """,
    )
    assert found.chain("one") == ("b",)
    assert found.chain("all") == ("a", "b", "c")
    assert found.resolve("all") == "a"
    assert found.chain("c") == ("c",)
    assert found.chain("nothing") == ("nothing",)


def test_every_mistake_comes_at_once_with_its_line(folder: ConfigFolder) -> None:
    folder.write(
        "models.yaml",
        """
        models:
          - id: a
            source: file:///a
            vram_mb: -1
            min_device_vram_mb: -2
            residency_priority: -3
            cost: {input: -0.5, outptu: 1}
            limit: {context: 0}
            harness: steam
            pinned_on: [left, middle]
          - id: a
            source: ftp://a
        aliases:
          a: a
          x: [y, a]
          y: [a, x]
          z: [a, nowhere, a]
          none: []
        """,
    )
    problems = [
        problem.removeprefix("models.yaml:") for problem in folder.gateway_problems(NEURONS)
    ]
    assert [problem.partition(": ")[0] for problem in problems] == [
        *("4", "5", "6", "7", "7", "8", "9", "10", "11", "12", "14", "15", "16", "17", "17", "18")
    ]
    text = "\n".join(problems)
    for complaint in (
        "4: models[0].vram_mb: should be greater than or equal to 0, not -1",
        "7: models[0].cost.outptu: unknown key; did you mean 'output'?",
        "9: models[0].harness: should be 'torch', not 'steam'",
        "10: models[0].pinned_on[1]: there is no neuron 'middle'; known: left, right",
        "11: models[1].id: 'a' is already in models[0]",
        "14: aliases.a: 'a' is already the id of a model",
        "15: aliases.x: goes in a circle: x -> y -> x",
        "17: aliases.z[1]: leads to 'nowhere', which is neither a model nor an alias",
        "17: aliases.z[2]: 'a' is in this chain already",
        "18: aliases.none: should be a model or alias",
    ):
        assert complaint in text


def test_a_neurons_own_catalogue_may_name_any_neuron(folder: ConfigFolder) -> None:
    folder.write("models.yaml", "models: [{id: a, source: 'file:///a', pinned_on: [elsewhere]}]\n")
    assert folder.neuron("").catalogue.ids() == ("a",)


def test_a_reload_reads_the_same_file_for_the_same_neurons(folder: ConfigFolder) -> None:
    config = folder.gateway(NEURONS)
    folder.write("models.yaml", "models: [{id: new, source: 'file:///a', pinned_on: [right]}]\n")
    assert reload_catalogue(config).ids() == ("new",)

    folder.write("models.yaml", "models: [{id: new, source: 'file:///a', pinned_on: [up]}]\n")
    with pytest.raises(ConfigError, match="there is no neuron 'up'"):
        reload_catalogue(config)


def test_a_diff_names_every_field_that_changed(folder: ConfigFolder) -> None:
    old = catalogue(
        folder,
        """
        models:
          - {id: same, source: "file:///same"}
          - {id: gone, source: "file:///gone"}
          - {id: other, source: "file:///a", vram_mb: 100, cost: {input: 1}}
        aliases: {kept: same, moved: same, dropped: same}
        """,
    )
    new = catalogue(
        folder,
        """
        models:
          - {id: other, source: "file:///a", vram_mb: 200, cost: {input: 0.0}, keep_load: true}
          - {id: same, source: "file:///same"}
          - {id: fresh, source: "file:///fresh"}
        aliases: {kept: same, moved: [other, same], more: same}
        """,
    )
    assert compare(old, old) == CatalogueReloaded()
    assert compare(old, new) == CatalogueReloaded(
        added=("fresh",),
        removed=("gone",),
        changed=(
            FieldChange("other", "vram_mb", "100", "200"),
            FieldChange("other", "keep_load", "false", "true"),
            FieldChange("other", "cost", "{input: 1.0}", "{input: 0.0}"),
        ),
        aliases=(
            FieldChange("moved", "", "[same]", "[other, same]"),
            FieldChange("dropped", "", "[same]", ""),
            FieldChange("more", "", "", "[same]"),
        ),
    )
