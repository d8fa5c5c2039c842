"""The objects that this server answers with by itself."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType

from cortex_actors.dialects.answer_object import AnswerObject


class Replica(AnswerObject, kw_only=True):
    """A model on one neuron. By keyword, so that what it is called can stand before it."""

    neuron: str
    status: str
    progress: float
    devices: list[str]
    running: int
    waiting: int
    capacity: int
    context_length: int
    restarts: int
    memory_mb: int | UnsetType = UNSET
    eta_s: float | UnsetType = UNSET
    error: str | UnsetType = UNSET


class Model(AnswerObject):
    """A model or an alias, as OpenAI shows it, and how it is.

    ``limit`` is in tokens; ``max_…`` are the same under the names of other servers. ``pending_on``
    are the neurons that will load it by themselves when its turn has come.
    """

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    status: str
    loaded: bool
    progress: float
    context_length: int
    capabilities: list[str]
    pinned: bool
    feasible_on: list[str]
    replicas: list[Replica]
    eta_s: float | UnsetType = UNSET
    error: str | UnsetType = UNSET
    infeasible: dict[str, str] | UnsetType = UNSET
    quant: str | UnsetType = UNSET
    limit: dict[str, int] | UnsetType = UNSET
    max_model_len: int | UnsetType = UNSET
    max_input_tokens: int | UnsetType = UNSET
    max_output_tokens: int | UnsetType = UNSET
    cost: dict[str, float] | UnsetType = UNSET
    warm_on: list[str] | UnsetType = UNSET
    pending_on: list[str] | UnsetType = UNSET
    alias_of: str | UnsetType = UNSET
    chain: list[str] | UnsetType = UNSET


class ModelPage(AnswerObject):
    """All models, in the catalogue's order, then all aliases."""

    object: Literal["list"]
    data: list[Model]


class NodeCounts(AnswerObject):
    """How many neurons there are."""

    healthy: int
    total: int


class Unservable(AnswerObject):
    """A model that cannot serve where it is."""

    node: str
    model: str
    reason: str
    detail: str | UnsetType = UNSET


class HealthVerdict(AnswerObject):
    """How the fleet is."""

    status: Literal["ok", "impaired", "degraded"]
    nodes: NodeCounts | UnsetType = UNSET
    unservable: list[Unservable] | UnsetType = UNSET


class Readiness(AnswerObject):
    """Whether a request sent now can be expected to be served."""

    ready: bool
    reason: str


class BuildVersion(AnswerObject):
    """Which build serves."""

    version: str
    service: str | None
    daemon_version: str | None


class Welcome(AnswerObject):
    """What this is, and where to go on."""

    name: Literal["cortex"]
    version: str
    service: str | None
    links: dict[str, str]
