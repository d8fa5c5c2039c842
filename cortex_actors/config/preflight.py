"""What must be so on this host before a daemon starts; looked at all together, before any process.

Each check returns problems placed at the key that could mend them. They touch the file system and
bind ports for a moment; nothing is left behind but directories that the daemon needs anyway.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cortex_actors.config.address import Address
from cortex_actors.config.api_key_settings import ApiKeySettings
from cortex_actors.config.api_keys import read_api_keys
from cortex_actors.config.devices import DeviceError, find_devices
from cortex_actors.config.errors import ConfigError, KeyedMessage, Problem
from cortex_actors.config.gateway_config import GatewayConfig
from cortex_actors.config.link_keys import client_keys, server_keys
from cortex_actors.config.neuron_config import NeuronConfig, NeuronSettings
from cortex_actors.config.preflight_models import check_default_models
from cortex_actors.config.telemetry import TelemetrySettings
from transports import endpoints
from transports.errors import EndpointError, KeyFileError

_RUNTIME_DIR_BYTES = 60  # socket paths below it must fit into endpoints.IPC_PATH_BYTES
_TRACING_PACKAGES = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
_NEEDED_PACKAGES = ("torch", "transformers", "safetensors", "gguf")


def check_gateway_host(config: GatewayConfig) -> tuple[Problem, ...]:
    """Return everything on this host that would keep cortexd from starting."""
    settings = config.gateway
    return _placed(
        config.path,
        _check_listen("gateway.listen", settings.listen),
        _check_listen("gateway.metrics_listen", settings.metrics_listen),
        _check_gateway_keys(config),
        _check_runtime_dir("gateway.runtime_dir", settings.runtime_dir),
        _check_api_keys("gateway.api_keys.file", settings.api_keys),
        _check_telemetry("gateway.telemetry.otlp_endpoint", settings.telemetry),
    )


def check_neuron_host(config: NeuronConfig) -> tuple[Problem, ...]:
    """Return everything on this host that would keep neurond from starting."""
    settings = config.neuron
    return _placed(
        config.path,
        _check_listen("neuron.listen", settings.listen),
        _check_link(settings),
        _check_devices(config),
        _check_warm_tier(settings),
        _check_writable("neuron.cache_dir", settings.cache_dir),
        _check_runtime_dir("neuron.runtime_dir", settings.runtime_dir),
        _check_api_keys("neuron.api_keys.file", settings.api_keys),
        _check_telemetry("neuron.telemetry.otlp_endpoint", settings.telemetry),
        _check_packages(),
        check_default_models(config),
    )


def _placed(path: Path, *checks: Iterator[KeyedMessage]) -> tuple[Problem, ...]:
    return tuple(Problem(str(path), message, key) for check in checks for key, message in check)


def _check_listen(key: str, address: Address) -> Iterator[KeyedMessage]:
    try:
        family, kind, protocol, _, sockaddr = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        yield key, f"cannot resolve '{address.host}': {error.strerror}"
        return
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(sockaddr)
            probe.listen(1)
        except OSError as error:
            yield key, f"cannot listen on {address}: {os.strerror(error.errno or 0)}"


def _check_link(settings: NeuronSettings) -> Iterator[KeyedMessage]:
    try:
        has_keys = server_keys(settings) is not None
    except KeyFileError as error:
        yield "neuron.key_file", str(error)
        return
    endpoint = endpoints.parse(settings.link)
    try:
        endpoints.check_listen(endpoint, has_keys=has_keys)
    except EndpointError as error:
        yield "neuron.link", str(error)
        return
    if endpoint.scheme == "tcp" and endpoint.port:
        yield from _check_listen("neuron.link", Address(endpoint.host, endpoint.port))


def _check_gateway_keys(config: GatewayConfig) -> Iterator[KeyedMessage]:
    for index, neuron in enumerate(config.neurons):
        try:
            client_keys(config, neuron)
        except KeyFileError as error:
            yield f"neurons[{index}].key_file", str(error)


def _check_devices(config: NeuronConfig) -> Iterator[KeyedMessage]:
    try:
        devices = find_devices(config.neuron.devices)
    except DeviceError as error:
        yield "neuron.devices", str(error)
        return
    for name in config.default_models:
        entry = config.catalogue.find(name)
        if entry is not None and entry.min_devices > len(devices):
            message = f"'{name}' needs {entry.min_devices} devices; this neuron has {len(devices)}"
            yield "default_models", message


def _check_api_keys(key: str, settings: ApiKeySettings) -> Iterator[KeyedMessage]:
    if settings.file is None:
        return
    try:
        read_api_keys(settings.file)
    except ConfigError as error:
        for problem in error.problems:
            yield key, str(problem)


def _check_telemetry(key: str, settings: TelemetrySettings) -> Iterator[KeyedMessage]:
    if settings.otlp_endpoint is None:
        return
    if any(not _is_importable(name) for name in _TRACING_PACKAGES):
        yield key, "opentelemetry is not installed; pip install 'cortex[telemetry]'"


def _is_importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _check_warm_tier(settings: NeuronSettings) -> Iterator[KeyedMessage]:
    total_mb = (os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) >> 20
    if settings.warm_mb >= total_mb:
        yield "neuron.warm_mb", f"{settings.warm_mb} MiB are not there; this host has {total_mb}"


def _check_packages() -> Iterator[KeyedMessage]:
    """Only worker processes import these, so nothing else would miss them before the first load."""
    missing = [name for name in _NEEDED_PACKAGES if not _is_importable(name)]
    if missing:
        yield "", f"not installed: {', '.join(missing)}; install the extra 'cortex[neuron]'"


def _check_writable(key: str, directory: Path) -> Iterator[KeyedMessage]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        yield key, f"cannot write in {directory}: {error.strerror}"


def _check_runtime_dir(key: str, directory: Path) -> Iterator[KeyedMessage]:
    """Sockets in it are trusted, so nobody else may be able to put one there."""
    if len(os.fsencode(directory)) > _RUNTIME_DIR_BYTES:
        yield key, f"{directory} is too long for local sockets (limit: {_RUNTIME_DIR_BYTES} bytes)"
        return
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
    except OSError as error:
        yield key, f"cannot make {directory}: {error.strerror}"
        return
    if status.st_uid != os.getuid():
        yield key, f"{directory} belongs to another user"
    elif stat.S_IMODE(status.st_mode) & 0o022:
        yield key, f"{directory} is writable for others; make it 0700"
    else:
        yield from _check_writable(key, directory)
