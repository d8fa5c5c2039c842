"""The objects that answer an operator's commands."""

from __future__ import annotations

from typing import Literal

from cortex_actors.dialects.answer_object import AnswerObject


class LoadedModel(AnswerObject):
    """A model that is ready; its load took ``load_s``, 0 if it was ready before."""

    status: Literal["loaded"]
    model: str
    load_s: float


class UnloadedModel(AnswerObject):
    """A model whose processes are gone."""

    status: Literal["unloaded"]
    model: str


class PinnedModel(AnswerObject):
    """A model, and whether it is pinned now."""

    model: str
    pinned: bool


class ChangedField(AnswerObject):
    """One field of a model or one alias, before and after; empty is not there."""

    name: str
    field: str
    before: str
    after: str


class CatalogueChanges(AnswerObject):
    """What is different since the catalogue was read again."""

    added: list[str]
    removed: list[str]
    changed: list[ChangedField]
    aliases: list[ChangedField]


class PlannedVictim(AnswerObject):
    """A model that would be unloaded; ``cost_s`` is what missing it is expected to cost."""

    model: str
    memory_mb: int
    cost_s: float


class PlannedDevice(AnswerObject):
    """A device's free memory now and once the model is loaded."""

    device: str
    before_mb: int
    after_mb: int


class PlannedNeuron(AnswerObject):
    """What one neuron could do, and why."""

    neuron: str
    verdict: Literal["free", "evict", "wait", "held", "down", "never"]
    why: str
    load_s: float
    warm: bool
    busy: bool
    victims: list[PlannedVictim]
    devices: list[PlannedDevice]


class PlannedLoad(AnswerObject):
    """Where a model would be loaded now: on ``chosen``, nowhere if that is empty.

    ``memory_mb`` is over all devices, 0 where it is not known. ``loaded_on`` has it ready already.
    """

    model: str
    memory_mb: int
    chosen: str
    neurons: list[PlannedNeuron]
    loaded_on: list[str]


class ArmedFault(AnswerObject):
    """A fault that will happen in this rank of this model."""

    status: Literal["armed"]
    model: str
    rank: int
