"""The catalogue (``models.yaml``): which models there are, where from, and their other names."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal, final

from pydantic import AfterValidator, BeforeValidator, Field

from cortex_actors.config.fields import Count, ModelId, Name, Seconds, Section, matching
from neuron_runtime.model_errors import SourceInvalid
from neuron_runtime.model_source import ModelSource
from transports.schemas.fleet import ModelSpec

Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Tokens = Annotated[int, Field(ge=1)]
Version = Annotated[str, matching(r"(\d+\.\d+)?", "should be a version, such as '8.0'")]


def _source(text: str) -> str:
    try:
        return str(ModelSource.parse(text))
    except SourceInvalid as error:
        raise ValueError(str(error)) from error


def _chain(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("should be a model or alias, or a list of them in order of preference")
    return tuple(value)


Chain = Annotated[tuple[ModelId, ...], BeforeValidator(_chain)]


@final
class Cost(Section):
    """Prices per million tokens. None is not known; 0.0 is free on purpose."""

    input: Price | None = None
    output: Price | None = None
    cache_read: Price | None = None
    cache_write: Price | None = None


@final
class Limit(Section):
    """Tokens that clients may count on; what a neuron reports of a loaded model goes before."""

    context: Tokens | None = None
    input: Tokens | None = None
    output: Tokens | None = None


@final
class CatalogueEntry(Section):
    """One model: what to load, what it takes, what becomes of it, and what clients are told.

    A ``pinned`` one is never unloaded to make room or for idleness, until an operator takes the pin
    away. ``pinned_on`` names the only neurons that may hold it (none: any may). A model never makes
    room for one of a lower ``residency_priority``. It is unloaded after ``keep_loaded_s`` without a
    request (None: never); ``keep_load`` finishes a load that nobody waits for any more. ``kv_mb``
    is for its keys and values, per device (None: as the neuron's configuration says).
    ``capabilities`` are what it is said to do until a neuron that has loaded it says so itself; a
    request for another kind of task is refused without a load.
    """

    id: ModelId
    source: Annotated[str, AfterValidator(_source)]
    harness: Literal["torch"] = "torch"
    quant: Literal["none", "int8", "int4"] = "none"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    min_devices: Annotated[int, Field(ge=1, le=64)] = 1
    vram_mb: Annotated[int, Field(ge=0)] = 0
    min_device_vram_mb: Annotated[int, Field(ge=0)] = 0
    kv_mb: Count | None = None
    min_compute_capability: Version = ""
    pinned: bool = False
    pinned_on: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    residency_priority: Annotated[int, Field(ge=0)] = 100
    keep_loaded_s: Seconds | None = None
    keep_load: bool = False
    cost: Cost | None = None
    limit: Limit | None = None
    capabilities: Annotated[tuple[Name, ...], Field(strict=False)] = ()

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
            kv_mb=self.kv_mb or 0,
        )


@final
class Catalogue(Section):
    """Every model and alias; the loader has checked that ids are unique and aliases lead to one.

    An alias stands for a chain of models and other aliases, the preferred one first.
    """

    models: Annotated[tuple[CatalogueEntry, ...], Field(strict=False)] = ()
    aliases: dict[str, Chain] = Field(default_factory=dict)

    def find(self, name: str) -> CatalogueEntry | None:
        """Return the entry that a model id or an alias stands for first, or None."""
        return self._entries.get(self.resolve(name))

    def resolve(self, name: str) -> str:
        """Return the model that ``name`` stands for first; unknown names come back as they are."""
        return next(iter(self.chain(name)), name)

    def chain(self, name: str) -> tuple[str, ...]:
        """Return every model that ``name`` stands for, the preferred one first, each once."""
        found: dict[str, None] = {}
        seen: set[str] = set()
        pending = [name]
        while pending:
            name = pending.pop()
            if name not in self.aliases:
                found[name] = None
            elif name not in seen:
                seen.add(name)
                pending += reversed(self.aliases[name])
        return tuple(found)

    def pinned(self) -> frozenset[str]:
        """Return the ids of the models that are pinned from the start."""
        return frozenset(entry.id for entry in self.models if entry.pinned)

    def ids(self) -> tuple[str, ...]:
        """Return all model ids, in the file's order."""
        return tuple(entry.id for entry in self.models)

    @cached_property
    def _entries(self) -> dict[str, CatalogueEntry]:
        # PERF: placement looks up every model of every neuron for each decision.
        return {entry.id: entry for entry in reversed(self.models)}
