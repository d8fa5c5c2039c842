"""The CURVE keys that the configuration names, as links take them. Reads files; any thread."""

from __future__ import annotations

from cortex_actors.config.gateway_config import GatewayConfig, NeuronEntry
from cortex_actors.config.neuron_config import NeuronSettings
from transports.curve import (
    CurveClient,
    CurveServer,
    load_allow_list,
    load_keys,
    load_public_key,
)


def server_keys(settings: NeuronSettings) -> CurveServer | None:
    """Return what a neuron's link listens with; None without keys.

    Raises:
        KeyFileError: A key file is missing, unreadable, or readable for others.
    """
    if settings.key_file is None or settings.gateway_keys is None:
        return None
    return CurveServer(load_keys(settings.key_file), load_allow_list(settings.gateway_keys))


def client_keys(config: GatewayConfig, neuron: NeuronEntry) -> CurveClient | None:
    """Return what a gateway connects to ``neuron`` with; None without keys.

    Raises:
        KeyFileError: A key file is missing, unreadable, or readable for others.
    """
    if config.gateway.key_file is None or neuron.key_file is None:
        return None
    return CurveClient(load_keys(config.gateway.key_file), load_public_key(neuron.key_file))


def public_key(settings: NeuronSettings) -> str:
    """Return the neuron's own public key (Z85); empty without keys. Raises like ``server_keys``."""
    keys = server_keys(settings)
    return "" if keys is None else keys.keys.public.decode()
