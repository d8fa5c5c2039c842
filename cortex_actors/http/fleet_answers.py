"""The objects that tell operators how a fleet is, or one neuron of it."""

from __future__ import annotations

from cortex_actors.dialects.answer_object import AnswerObject
from cortex_actors.http.answers import HealthVerdict, Model, Replica


class Device(AnswerObject):
    """A device that a neuron offers; its memory was measured ``age_s`` ago."""

    id: str
    kind: str
    name: str
    memory_total_mb: int
    memory_free_mb: int
    age_s: float


class HostedModel(Replica):
    """A model on one neuron, with its name."""

    id: str


class SleepingModel(AnswerObject):
    """A model in a neuron's warm tier: what it takes there, and how long its load would take."""

    id: str
    memory_mb: int
    wake_s: float


class Neuron(AnswerObject):
    """A neuron as it said ``age_s`` ago that it is.

    ``pending`` are the models that it will load by itself when their turn has come, ``harnesses``
    what it can run models with. ``warm_mb`` is the budget of its warm tier, 0 if it has none.
    """

    name: str
    state: str
    hostname: str
    version: str
    uptime_s: float
    age_s: float
    devices: list[Device]
    models: list[HostedModel]
    pending: list[str]
    harnesses: list[str]
    warm: list[SleepingModel]
    warm_mb: int
    warm_used_mb: int


class NeuronModels(AnswerObject):
    """The models of one neuron."""

    models: list[HostedModel]


class FleetStatus(AnswerObject):
    """The whole fleet as its gateway knows it.

    ``connected`` is whether the process that answers has its daemon now; ``aliases`` lead to the
    model that each stands for first.
    """

    service: str
    version: str
    ready: bool
    reason: str
    health: HealthVerdict
    uptime_s: float
    connected: bool
    neurons: list[Neuron]
    models: list[Model]
    aliases: dict[str, str]
