"""What the Models actor knows of one model."""

from __future__ import annotations

from dataclasses import dataclass, field

from cortex_actors.kit.ref import ActorRef
from transports.link import IncomingRequest
from transports.schemas.fleet import ModelSpec, ModelState
from transports.schemas.link import Failure


@dataclass(slots=True)
class Resident:
    """A model from its first load until it is unloaded; ``ref`` is its actor while that lives.

    A model that has failed has no actor; it is kept to say why, and until somebody tries again.
    One that sleeps is ``warm`` until it is awake; ``then`` is what to load if it ends before.
    ``cancelled`` are told when it is gone, for only then can whoever asked count on its devices.
    ``since`` is monotonic; ``weights_mb`` is what it keeps, or would, in the warm tier.
    """

    spec: ModelSpec
    since: float
    state: ModelState
    ref: ActorRef | None = None
    failure: Failure | None = None
    asked: list[IncomingRequest] = field(default_factory=list)
    unload_asked: list[IncomingRequest] = field(default_factory=list)
    cancelled: list[IncomingRequest] = field(default_factory=list)
    unwanted: bool = False
    weights_mb: int = 0
    warm: bool = False
    then: ModelSpec | None = None
