"""What ``neurond`` can be told besides ``serve`` and ``check``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from cortex_actors.cli import api_keys, chaos, keygen
from cortex_actors.cli.tables import device_table
from cortex_actors.config.api_key_settings import ApiKeySettings
from cortex_actors.config.devices import DeviceChoice, find_devices, parse_devices
from cortex_actors.config.loader import load_neuron_config

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
        print(json.dumps(msgspec.to_builtins(devices), indent=2))
    else:
        Console().print(device_table(devices))
    return 0


def _device_choice(text: str) -> DeviceChoice:
    try:
        return parse_devices(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
