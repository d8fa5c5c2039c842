"""Configuration files made for one test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from cortex_actors.config.errors import ConfigError
from cortex_actors.config.gateway_config import GatewayConfig
from cortex_actors.config.loader import load_gateway_config, load_neuron_config
from cortex_actors.config.neuron_config import NeuronConfig

MODELS = """
models:
  - id: tiny
    source: file:///models/tiny.gguf
  - id: large
    source: file:///models/large
    min_devices: 2
aliases:
  small: tiny
  smallest: small
"""


class ConfigFolder:
    """A folder with ``cortex.yaml``, ``neuron.yaml`` and ``models.yaml``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("models.yaml", MODELS)

    def write(self, name: str, text: str) -> Path:
        """Write one file; indentation that all lines share is dropped."""
        path = self.folder / name
        path.write_text(dedent(text).lstrip("\n"))
        return path

    def gateway(self, text: str = "", environ: Mapping[str, str] | None = None) -> GatewayConfig:
        """Load ``text`` as cortex.yaml."""
        return load_gateway_config(self.write("cortex.yaml", text), environ or {})

    def neuron(self, text: str = "", environ: Mapping[str, str] | None = None) -> NeuronConfig:
        """Load ``text`` as neuron.yaml."""
        return load_neuron_config(self.write("neuron.yaml", text), environ or {})

    def gateway_problems(self, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
        """Return what loading ``text`` as cortex.yaml complains of, without the folder's name."""
        try:
            self.gateway(text, environ)
        except ConfigError as error:
            return self._short(error)
        return []

    def neuron_problems(self, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
        """Return what loading ``text`` as neuron.yaml complains of, without the folder's name."""
        try:
            self.neuron(text, environ)
        except ConfigError as error:
            return self._short(error)
        return []

    def _short(self, error: ConfigError) -> list[str]:
        return [str(problem).replace(f"{self.folder}/", "") for problem in error.problems]
