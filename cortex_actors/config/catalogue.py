"""The catalogue (``models.yaml``): which models there are, where from, and their other names."""

from __future__ import annotations

from typing import Annotated, Literal, final

from pydantic import AfterValidator, Field

from cortex_actors.config.fields import ModelId, Name, Seconds, Section
from neuron_runtime.model_errors import SourceInvalid
from neuron_runtime.model_source import ModelSource
from transports.schemas.fleet import ModelSpec


def _source(text: str) -> str:
    try:
        return str(ModelSource.parse(text))
    except SourceInvalid as error:
        raise ValueError(str(error)) from error


@final
class CatalogueEntry(Section):
    """One model: what to load, what it takes, and what becomes of it.

    ``pinned_on`` names the only neurons that may hold it (none: any may). A model never makes room
    for one of a lower ``residency_priority``. It is unloaded after ``keep_loaded_s`` without a
    request (None: never); ``keep_load`` finishes a load that nobody waits for any more.
    """

    id: ModelId
    source: Annotated[str, AfterValidator(_source)]
    quant: Literal["none", "int8", "int4"] = "none"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    min_devices: Annotated[int, Field(ge=1, le=64)] = 1
    vram_mb: Annotated[int, Field(ge=0)] = 0
    min_device_vram_mb: Annotated[int, Field(ge=0)] = 0
    min_compute_capability: Annotated[str, Field(pattern=r"^(\d+\.\d+)?$")] = ""
    pinned_on: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    residency_priority: int = 100
    keep_loaded_s: Seconds | None = None
    keep_load: bool = False

    def spec(self) -> ModelSpec:
        """Return the entry as it travels to a neuron."""
        return ModelSpec(
            id=self.id,
            source=self.source,
            quant=self.quant,
            dtype=self.dtype,
            min_devices=self.min_devices,
            vram_mb=self.vram_mb,
            min_device_vram_mb=self.min_device_vram_mb,
        )


@final
class Catalogue(Section):
    """Every model and alias; the loader has checked that ids are unique and aliases lead to one."""

    models: Annotated[tuple[CatalogueEntry, ...], Field(strict=False)] = ()
    aliases: dict[str, ModelId] = Field(default_factory=dict)

    def find(self, name: str) -> CatalogueEntry | None:
        """Return the entry that a model id or an alias stands for, or None."""
        target = self.resolve(name)
        return next((entry for entry in self.models if entry.id == target), None)

    def resolve(self, name: str) -> str:
        """Return what ``name`` leads to along the aliases; unknown names come back as they are."""
        for _ in self.aliases:
            name = self.aliases.get(name, name)
        return name

    def ids(self) -> tuple[str, ...]:
        """Return all model ids, in the file's order."""
        return tuple(entry.id for entry in self.models)
