"""What is looked at on the host before a daemon starts."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cortex_actors.config import preflight, preflight_models
from cortex_actors.config.preflight import check_gateway_host, check_neuron_host
from tests.unit.config.files import ConfigFolder
from transports.curve import generate_keypair


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen(1)
        yield holder.getsockname()[1]


def _free_ports(count: int) -> list[int]:
    holders = [socket.socket() for _ in range(count)]
    for holder in holders:
        holder.bind(("127.0.0.1", 0))
    ports = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()
    return ports


class Host:
    """Both daemons' configuration on free ports; the keys given say what is wrong."""

    def __init__(self, folder: ConfigFolder, runtime_dir: Path) -> None:
        self.folder = folder
        self.root = folder.folder
        self.runtime_dir = runtime_dir

    def neuron(self, *, rest: str = "", **given: str) -> list[str]:
        """Return the problems of a neuron with these ``neuron`` keys."""
        listen, link = _free_ports(2)
        keys = {
            "listen": f"127.0.0.1:{listen}",
            "link": f"tcp://127.0.0.1:{link}",
            "devices": "cpu",
            "cache_dir": "cache",
            "runtime_dir": str(self.runtime_dir),
            **given,
        }
        config = self.folder.neuron(_section("neuron", keys) + rest)
        return [str(problem) for problem in check_neuron_host(config)]

    def gateway(self, *, rest: str = "", **given: str) -> list[str]:
        """Return the problems of a gateway with these ``gateway`` keys."""
        listen, metrics = _free_ports(2)
        keys = {
            "listen": f"127.0.0.1:{listen}",
            "metrics_listen": f"127.0.0.1:{metrics}",
            "runtime_dir": str(self.runtime_dir),
            **given,
        }
        config = self.folder.gateway(_section("gateway", keys) + rest)
        return [str(problem) for problem in check_gateway_host(config)]


def _section(name: str, keys: dict[str, str]) -> str:
    return "".join([f"{name}:\n", *(f"  {key}: '{value}'\n" for key, value in keys.items())])


@pytest.fixture
def host(folder: ConfigFolder) -> Iterator[Host]:
    # pytest's own folders have names that are too long for sockets.
    with tempfile.TemporaryDirectory() as short:
        yield Host(folder, Path(short) / "run")


def test_sound_hosts_have_no_problems_and_nothing_stays_open(host: Host) -> None:
    before = len(os.listdir("/proc/self/fd"))
    assert host.neuron() == []
    assert host.gateway() == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_ports_in_use_are_named(host: Host, taken_port: int) -> None:
    taken = f"127.0.0.1:{taken_port}"
    (listen,) = host.neuron(listen=taken)
    assert f"neuron.listen: cannot listen on {taken}: Address already in use" in listen
    (link,) = host.neuron(link=f"tcp://{taken}")
    assert f"neuron.link: cannot listen on {taken}: Address already in use" in link
    (metrics,) = host.gateway(metrics_listen=taken)
    assert f"gateway.metrics_listen: cannot listen on {taken}" in metrics


@pytest.mark.parametrize("missing", ["nothing_of_it", "json.no_such_part"])
def test_a_collector_without_the_packages_for_it_is_a_problem(
    host: Host, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr(preflight, "_TRACING_PACKAGES", ("json", missing))
    asked = "  telemetry: {otlp_endpoint: 'http://10.0.0.9:4318'}\n"
    for name, problems in (
        ("neuron", host.neuron(rest=asked)),
        ("gateway", host.gateway(rest=asked)),
    ):
        (problem,) = problems
        assert f"{name}.telemetry.otlp_endpoint: opentelemetry is not installed" in problem
        assert problem.endswith("pip install 'cortex[telemetry]'")
    assert host.gateway() == []
    monkeypatch.setattr(preflight, "_TRACING_PACKAGES", ("json",))
    assert host.gateway(rest=asked) == []


def test_every_problem_comes_at_once(host: Host, taken_port: int) -> None:
    (host.root / "occupied").write_text("a file")
    problems = host.neuron(
        listen=f"127.0.0.1:{taken_port}",
        devices="cuda:77",
        cache_dir="occupied",
        rest="default_models: [tiny]\n",
    )
    keys = [problem.split(": ")[1] for problem in problems]
    assert keys == ["neuron.listen", "neuron.devices", "neuron.cache_dir", "default_models"]


def test_addresses_of_other_hosts_are_refused(host: Host) -> None:
    (problem,) = host.gateway(listen="192.0.2.1:8080")
    assert "cannot listen on 192.0.2.1:8080: Cannot assign requested address" in problem


def test_names_that_do_not_resolve_are_refused(host: Host) -> None:
    (problem,) = host.gateway(listen="nowhere.invalid:8080")
    assert "cannot resolve 'nowhere.invalid'" in problem


def test_link_beyond_loopback_needs_keys(host: Host) -> None:
    port = _free_ports(1)[0]
    (problem,) = host.neuron(link=f"tcp://0.0.0.0:{port}")
    assert "without CURVE keys" in problem
    generate_keypair(host.root, "here")
    (host.root / "allowed").mkdir()
    keys = {"key_file": "here.key_secret", "gateway_keys": "allowed"}
    assert host.neuron(link=f"tcp://0.0.0.0:{port}", **keys) == []


def test_key_files_are_read_before_start(host: Host) -> None:
    (host.root / "allowed").mkdir()
    (problem,) = host.neuron(key_file="absent.key_secret", gateway_keys="allowed")
    assert "neuron.key_file: cannot read" in problem
    generate_keypair(host.root, "gateway")
    fleet = "neurons: [{name: a, endpoint: 'tcp://10.0.0.1:1', key_file: absent.key}]\n"
    (problem,) = host.gateway(key_file="gateway.key_secret", rest=fleet)
    assert "neurons[0].key_file: cannot read a key" in problem


def test_too_few_devices_for_a_default_model(host: Host) -> None:
    problems = host.neuron(rest="default_models: [large]\n")
    assert any("'large' needs 2 devices; this neuron has 1" in problem for problem in problems)


def test_missing_and_corrupt_model_files_are_named(host: Host, folder: ConfigFolder) -> None:
    broken = host.root / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\x00" * 4)
    folder.write(
        "models.yaml",
        f"""
        models:
          - {{id: gone, source: "file:///nowhere/gone.gguf"}}
          - {{id: broken, source: "file://{broken}"}}
          - {{id: absent, source: "package://no_such_package/a.gguf"}}
          - {{id: hub, source: "hf://nobody/nothing"}}
        """,
    )
    problems = host.neuron(rest="default_models: [gone, broken, absent, hub]\n")
    assert "default_models: 'gone': there is no file /nowhere/gone.gguf" in problems[0]
    assert "'broken': " in problems[1]
    assert "no_such_package is not installed" in problems[2]
    assert len(problems) == 3


def test_full_disk_is_a_problem_of_the_cache(
    host: Host, folder: ConfigFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write("models.yaml", "models: [{id: big, source: 'file:///big.gguf'}]\n")
    monkeypatch.setattr(preflight_models, "_bytes_to_convert", lambda *_: 1 << 60)
    (problem,) = host.neuron(rest="default_models: [big]\n")
    assert "neuron.cache_dir: " in problem
    assert "the default models need" in problem


def test_runtime_dir_that_others_may_write_to_is_refused(host: Host) -> None:
    host.runtime_dir.mkdir()
    host.runtime_dir.chmod(0o777)
    (problem,) = host.gateway()
    assert "gateway.runtime_dir: " in problem
    assert "is writable for others" in problem


def test_runtime_dir_too_long_for_sockets_is_refused(host: Host) -> None:
    (problem,) = host.gateway(runtime_dir="/tmp/" + "x" * 56)
    assert "is too long for local sockets" in problem


def test_a_warm_tier_larger_than_the_host_is_refused(host: Host) -> None:
    (problem,) = host.neuron(rest=f"  warm_mb: {1 << 40}\n")
    assert "neuron.warm_mb" in problem
    assert "this host has" in problem
    assert host.neuron(rest="  warm_mb: 100\n") == []
