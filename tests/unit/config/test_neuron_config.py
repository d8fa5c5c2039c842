"""neuron.yaml, as a whole."""

from __future__ import annotations

import pytest

from cortex_actors.config.devices import DeviceChoice
from tests.unit.config.files import ConfigFolder


def test_empty_file_gives_every_default(folder: ConfigFolder) -> None:
    config = folder.neuron()
    assert (config.neuron.name, config.neuron.link) == ("local", "tcp://127.0.0.1:13132")
    assert str(config.neuron.listen) == "127.0.0.1:13131"
    assert config.neuron.devices == DeviceChoice("auto")
    assert config.default_models == ()


def test_default_models_may_be_aliases(folder: ConfigFolder) -> None:
    config = folder.neuron("default_models: [smallest, large]")
    assert config.default_models == ("tiny", "large")


def test_default_models_must_be_in_the_catalogue(folder: ConfigFolder) -> None:
    problems = folder.neuron_problems("default_models: [tiny, tinny, 3]\n")
    assert problems == [
        "neuron.yaml:1: default_models[2]: should be text, not 3",
        "neuron.yaml:1: default_models[1]: 'tinny' is not in the catalogue",
    ]


@pytest.mark.parametrize("link", ["tcp://127.0.0.1:13131", "tcp://0.0.0.0:13131"])
def test_the_link_cannot_have_the_address_of_the_front_end(folder: ConfigFolder, link: str) -> None:
    (problem,) = folder.neuron_problems(f"neuron: {{link: '{link}'}}")
    assert problem.startswith("neuron.yaml:1: neuron: listen and link are the same address")


def test_any_free_port_may_be_asked_for_on_the_link(folder: ConfigFolder) -> None:
    assert folder.neuron('neuron: {link: "tcp://127.0.0.1:*"}').neuron.link.endswith(":*")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{name: a b}", "neuron.name: 'a b' is not a name"),
        ("{name: ''}", "neuron.name: '' is not a name"),
        (
            "{cors_origins: [chat]}",
            "neuron.cors_origins[0]: should be an origin, such as https://chat.example, not 'chat'",
        ),
        (
            "{telemetry: {otlp_endpoint: collector}}",
            "neuron.telemetry.otlp_endpoint: should be a URL, such as http://127.0.0.1:4318, not",
        ),
        ("{link: inproc://x}", "neuron.link: should start with tcp:// or ipc://, not"),
        ("{link: 'ipc://relative'}", "neuron.link: 'ipc://relative' needs an absolute path"),
        ("{link: 7}", "neuron.link: should be text, such as tcp://"),
        ("{devices: gpu}", "neuron.devices: should be auto, cpu, cpu:3 or cuda:0,1, not 'gpu'"),
        ("{devices: cpu:0}", "neuron.devices: the number of CPU devices must be from 1 to 64"),
        ("{devices: 'cuda:1,1'}", "neuron.devices: 'cuda:1,1' names a device twice"),
        ("{devices: 2}", "neuron.devices: should be text, such as auto"),
        ("{cache_dir: 5}", "neuron.cache_dir: should be text, such as"),
        ("{max_running: 0}", "neuron.max_running: should be greater than or equal to 1, not 0"),
        ("{max_queued: -1}", "neuron.max_queued: should be greater than or equal to 0, not -1"),
        ("{max_running: '4'}", "neuron.max_running: should be a whole number, not '4'"),
        ("{max_running: 1.5}", "neuron.max_running: should be a whole number, not 1.5"),
        ("{speed: 1}", "neuron.speed: unknown key; known here: name, listen, link"),
        ("{drain_s: .inf}", "neuron.drain_s: should be"),
        ("{drain_s: 0}", "neuron.drain_s: should be greater than 0, not 0"),
        ("{default_models: []}", "neuron.default_models: unknown key; did you mean 'models'?"),
    ],
)
def test_bad_values_are_refused(folder: ConfigFolder, text: str, complaint: str) -> None:
    (problem,) = folder.neuron_problems(f"neuron: {text}\n")
    assert problem.startswith(f"neuron.yaml:1: {complaint}")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("models: [{id: a}]", "models[0].source: is missing"),
        ("models: [{source: 'file:///a'}]", "models[0].id: is missing"),
        ("models: [{id: '../a', source: 'file:///a'}]", "models[0].id: '../a' is not a name"),
        (
            "models: [{id: a, source: 'file:///a', min_compute_capability: x}]",
            "models[0].min_compute_capability: should be a version, such as '8.0', not 'x'",
        ),
        (
            "models: [{id: a, source: 'http://x'}]",
            "models[0].source: 'http://x' is no model source;",
        ),
        ("models: [7]", "models[0]: should be a mapping of keys"),
        ("models: {a: 1}", "models: should be a list, not"),
        ("aliases: [a]", "aliases: should be a mapping of keys, not ['a']"),
        ("aliases: {a: 3}", "aliases.a: should be a model or alias, or a list of them"),
        (
            "models: [{id: a, source: 'file:///a', quant: q4}]",
            "models[0].quant: should be 'none', 'int8' or 'int4', not 'q4'",
        ),
        (
            "models: [{id: a, source: 'file:///a', min_devices: 0}]",
            "models[0].min_devices: should be greater than or equal to 1, not 0",
        ),
    ],
)
def test_bad_catalogues_are_refused(folder: ConfigFolder, text: str, complaint: str) -> None:
    folder.write("models.yaml", f"{text}\n")
    (problem,) = folder.neuron_problems("")
    assert problem.startswith(f"models.yaml:1: {complaint}")


def test_entries_travel_as_specs(folder: ConfigFolder) -> None:
    entry = folder.neuron().catalogue.find("small")
    assert entry is not None
    spec = entry.spec()
    assert (spec.id, spec.source, spec.quant) == ("tiny", "file:///models/tiny.gguf", "none")


def test_room_for_keys_and_values_travels_with_the_spec(folder: ConfigFolder) -> None:
    folder.write(
        "models.yaml",
        "models: [{id: a, source: 'file:///a', kv_mb: 96}, {id: b, source: 'file:///b'}]\n",
    )
    entries = folder.neuron("").catalogue.models
    assert [entry.spec().kv_mb for entry in entries] == [96, 0]


@pytest.mark.parametrize("value", ["0", "-1", "much"])
def test_no_room_for_keys_and_values_is_refused(folder: ConfigFolder, value: str) -> None:
    folder.write("models.yaml", f"models: [{{id: a, source: 'file:///a', kv_mb: {value}}}]\n")
    (problem,) = folder.neuron_problems("")
    assert problem.startswith("models.yaml:1: models[0].kv_mb: ")


def test_unknown_names_resolve_to_themselves(folder: ConfigFolder) -> None:
    catalogue = folder.neuron().catalogue
    assert catalogue.resolve("absent") == "absent"
    assert catalogue.find("absent") is None


def test_what_contradicts_itself_is_told_beside_what_is_wrong_by_itself(
    folder: ConfigFolder,
) -> None:
    text = """
        neuron:
          threads: 0
          link: tcp://127.0.0.1:13131
          key_file: a.key_secret
          api_keys: {required: true}
    """
    assert folder.neuron_problems(text) == [
        "neuron.yaml:1: neuron: listen and link are the same address (127.0.0.1:13131)",
        "neuron.yaml:1: neuron: key_file and gateway_keys are set together or not at all",
        "neuron.yaml:2: neuron.threads: should be greater than or equal to 1, not 0",
        "neuron.yaml:5: neuron.api_keys: required needs a file of keys",
    ]


def test_a_first_wait_that_is_longer_than_the_longest_is_refused(folder: ConfigFolder) -> None:
    text = "restart: {group: {backoff_s: 40}, engine: {backoff_s: 2, max_backoff_s: 1}}"
    assert folder.neuron_problems(text) == [
        "neuron.yaml:1: restart.engine.backoff_s: is more than max_backoff_s (1)",
        "neuron.yaml:1: restart.group.backoff_s: is more than max_backoff_s (30.0)",
    ]
