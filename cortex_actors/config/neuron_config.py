"""Schema of ``neuron.yaml``. ``conf/neuron.yaml`` explains every key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, final

from pydantic import Field

from cortex_actors.config.api_key_settings import ApiKeySettings
from cortex_actors.config.catalogue import Catalogue
from cortex_actors.config.fields import (
    Count,
    Devices,
    FilePath,
    ListenAddress,
    ListenEndpoint,
    LogLevel,
    ModelId,
    Name,
    OptionalFilePath,
    Origins,
    RuntimeDirectory,
    Seconds,
    Section,
    StallSeconds,
)
from cortex_actors.config.restart_settings import RestartSettings
from cortex_actors.config.stored_responses import StoredResponses
from cortex_actors.config.telemetry import TelemetrySettings


@final
class NeuronSettings(Section):
    """The ``neuron`` section. Durations in seconds, ``..._mb`` in MiB, limits per model.

    ``memory_mb`` caps what each device offers; None is all that it has.
    ``warm_mb`` is host memory for the weights of models that have been unloaded to make room.
    ``kv_mb`` is for the keys and values of each model whose catalogue entry does not say, per
    device; None is by what is free.
    """

    name: Name = "local"
    listen: ListenAddress = Field(default="127.0.0.1:13131", validate_default=True)
    link: ListenEndpoint = "tcp://127.0.0.1:13132"
    key_file: OptionalFilePath = None
    gateway_keys: OptionalFilePath = None
    devices: Devices = Field(default="auto", validate_default=True)
    memory_mb: Count | None = None
    kv_mb: Count | None = None
    cache_dir: FilePath = Field(default="~/.cache/cortex", validate_default=True)
    models: FilePath = Field(default="models.yaml", validate_default=True)
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    threads: Annotated[int, Field(ge=1, le=1024)] = 64
    max_body_mb: Count = 32
    cors_origins: Origins = Field(default=[], validate_default=True)
    api_keys: ApiKeySettings = Field(default={}, validate_default=True)
    max_running: Count = 16
    max_queued: Annotated[int, Field(ge=0, le=1_000_000)] = 64
    load_deadline_s: Seconds = 600.0
    preload: bool = True
    stall_s: StallSeconds = 300.0
    warm_mb: Annotated[int, Field(ge=0)] = 0
    drain_s: Seconds = 5.0
    stored_responses: StoredResponses = Field(default={}, validate_default=True)
    telemetry: TelemetrySettings = Field(default={}, validate_default=True)
    runtime_dir: RuntimeDirectory = Field(default="auto", validate_default=True)
    chaos: bool = False
    log_level: LogLevel = "info"


@final
class NeuronFile(Section):
    """The whole file."""

    neuron: NeuronSettings = Field(default={}, validate_default=True)
    restart: RestartSettings = Field(default={}, validate_default=True)
    default_models: Annotated[tuple[ModelId, ...], Field(strict=False)] = ()


@final
@dataclass(frozen=True, slots=True)
class NeuronConfig:
    """What neurond runs with: ``neuron.yaml`` (``path``), the environment, and the catalogue.

    ``default_models`` are model ids of the catalogue (aliases followed), loaded at start in order.
    """

    path: Path
    neuron: NeuronSettings
    restart: RestartSettings
    default_models: tuple[str, ...]
    catalogue: Catalogue
