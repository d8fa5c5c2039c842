"""What ``neurond`` can be told besides ``serve`` and ``check``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from cortex_actors.cli import api_keys, chaos, keygen
from cortex_actors.cli.tables import device_table, make_console
from cortex_actors.config.api_key_settings import ApiKeySettings
from cortex_actors.config.devices import DeviceChoice, find_devices, parse_devices
from cortex_actors.config.loader import load_neuron_config
from transports.schemas.fleet import DeviceState

_AFTER_KEYGEN = (
    "Set neuron.key_file to {secret}; copy {public} to each gateway and name it as the key_file"
    " of this neuron there."
)


def add_commands(commands: argparse._SubParsersAction[Any], default_config: Path) -> None:
    """Add them all."""
    devices = commands.add_parser("devices", help="list the devices that would be offered")
    devices.add_argument(
        "devices", nargs="?", type=_device_choice, default="auto", help="as in neuron.yaml"
    )
    devices.add_argument("--json", action="store_true", help="print JSON instead of a table")
    devices.set_defaults(command=_devices)
    chaos.add_command(commands)
    keygen.add_command(commands, _AFTER_KEYGEN)
    api_keys.add_command(commands, default_config, _api_key_settings)


def _api_key_settings(path: Path, environ: Mapping[str, str]) -> ApiKeySettings:
    return load_neuron_config(path, environ).neuron.api_keys


def _devices(args: argparse.Namespace) -> int:
    devices = find_devices(args.devices)
    if args.json:
        print(json.dumps([_plain(device) for device in devices], indent=2))
    else:
        make_console().print(device_table(devices))
    return 0


def _plain(device: DeviceState) -> dict[str, Any]:
    """Return what is known of it, without the tag that it has between processes."""
    known: dict[str, Any] = msgspec.to_builtins(device)
    return {name: value for name, value in known.items() if name != "t"}


def _device_choice(text: str) -> DeviceChoice:
    try:
        return parse_devices(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
