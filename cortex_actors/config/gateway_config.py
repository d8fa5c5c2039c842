"""Schema of ``cortex.yaml``. ``conf/cortex.yaml`` explains every key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, final

from pydantic import Field

from cortex_actors.config.api_key_settings import ApiKeySettings
from cortex_actors.config.catalogue import Catalogue
from cortex_actors.config.fields import (
    ConnectEndpoint,
    Count,
    FilePath,
    ListenAddress,
    LogLevel,
    Name,
    OptionalFilePath,
    Origins,
    RuntimeDirectory,
    Seconds,
    Section,
    StallSeconds,
)
from cortex_actors.config.stored_responses import StoredResponses
from cortex_actors.config.telemetry import TelemetrySettings


@final
class GatewaySettings(Section):
    """The ``gateway`` section. Durations in seconds; ``max_body_mb`` in MiB."""

    listen: ListenAddress = Field(default="127.0.0.1:31313", validate_default=True)
    metrics_listen: ListenAddress = Field(default="127.0.0.1:31314", validate_default=True)
    key_file: OptionalFilePath = None
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    threads: Annotated[int, Field(ge=1, le=1024)] = 64
    max_body_mb: Count = 32
    cors_origins: Origins = Field(default=[], validate_default=True)
    api_keys: ApiKeySettings = Field(default={}, validate_default=True)
    load_deadline_s: Seconds = 600.0
    stall_s: StallSeconds = 300.0
    drain_s: Seconds = 5.0
    stored_responses: StoredResponses = Field(default={}, validate_default=True)
    telemetry: TelemetrySettings = Field(default={}, validate_default=True)
    runtime_dir: RuntimeDirectory = Field(default="auto", validate_default=True)
    log_level: LogLevel = "info"


@final
class EvictionSettings(Section):
    """The ``eviction`` section: what to unload when a model needs room."""

    strategy: Literal["cost", "lru", "priority"] = "cost"
    defrag_after_cycles: Annotated[int, Field(ge=0)] = 50


@final
class NeuronEntry(Section):
    """One neuron of the fleet: where its link listens, and its public key."""

    name: Name
    endpoint: ConnectEndpoint
    key_file: OptionalFilePath = None


@final
class GatewayFile(Section):
    """The whole file."""

    gateway: GatewaySettings = Field(default={}, validate_default=True)
    eviction: EvictionSettings = Field(default={}, validate_default=True)
    neurons: Annotated[tuple[NeuronEntry, ...], Field(strict=False)] = ()
    models: FilePath = Field(default="models.yaml", validate_default=True)


@final
@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """What cortexd runs with: ``cortex.yaml`` (``path``), the environment, and the catalogue.

    ``catalogue`` is what ``models`` (a file) said at the start.
    """

    path: Path
    gateway: GatewaySettings
    eviction: EvictionSettings
    neurons: tuple[NeuronEntry, ...]
    catalogue: Catalogue
    models: Path
