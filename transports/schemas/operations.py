"""Bodies of what operators ask a gateway: pins, the catalogue, and plans of loads."""

from __future__ import annotations

from transports.schemas.body import Body


class PinModel(Body, frozen=True):
    """Operator to gateway: never unload this model to make room or for idleness, or again do."""

    model: str
    pinned: bool = True


class ModelPinned(Body, frozen=True):
    """The pin is set or taken away."""

    model: str
    pinned: bool


class ReloadCatalogue(Body, frozen=True):
    """Operator to gateway: read the catalogue again and put it in force if it is sound."""


class FieldChange(Body, frozen=True):
    """One field of a model or one alias, before and after; empty is not there."""

    name: str
    field: str
    before: str
    after: str


class CatalogueReloaded(Body, frozen=True):
    """What is different now. With ``problems`` nothing is: the old catalogue stays in force."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[FieldChange, ...] = ()
    aliases: tuple[FieldChange, ...] = ()
    problems: tuple[str, ...] = ()


class PlanLoad(Body, frozen=True):
    """Operator to gateway: where would this model go now, and what would that take?"""

    model: str


class DevicePlan(Body, frozen=True):
    """One device's free memory now and once the model is loaded, in MB."""

    device: str
    before_mb: int
    after_mb: int


class VictimPlan(Body, frozen=True):
    """A model that would be unloaded; ``cost_s`` is what missing it is expected to cost."""

    model: str
    memory_mb: int
    cost_s: float


class NeuronPlan(Body, frozen=True):
    """What one neuron could do; ``verdict`` is free, evict, wait, held, down or never."""

    neuron: str
    verdict: str
    why: str
    load_s: float = 0.0
    warm: bool = False
    busy: bool = False
    victims: tuple[VictimPlan, ...] = ()
    devices: tuple[DevicePlan, ...] = ()


class LoadPlan(Body, frozen=True):
    """``chosen`` is the neuron that would load the model now; empty if none would.

    ``memory_mb`` is over all devices, 0 where not known. ``loaded_on`` has it ready already.
    """

    model: str
    memory_mb: int
    chosen: str
    neurons: tuple[NeuronPlan, ...] = ()
    loaded_on: tuple[str, ...] = ()
