"""Messages between the actors that serve requests, in both daemons.

Everything here is told, never asked: a question that came over a link carries its own way back
(``IncomingRequest``), so no actor ever waits for another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cortex_actors.kit.ref import ActorRef
from cortex_actors.serving.lease_table import Holder
from transports.link import IncomingRequest, Link
from transports.schemas.fleet import LeaseRequest, LeaseSettled, NeuronState
from transports.schemas.link import Failure


@dataclass(frozen=True, slots=True)
class NeuronChanged:
    """A neuron's latest state, whatever was known of it before."""

    state: NeuronState


@dataclass(frozen=True, slots=True)
class FleetChanged:
    """The snapshot on the board has changed; whoever decides by it looks again."""


@dataclass(frozen=True, slots=True)
class LeaseAsked:
    """A front end wants to know where a request goes; ``since`` when it waits, monotonic."""

    request: IncomingRequest
    wanted: LeaseRequest
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class ExplainAsked:
    """Somebody wants to know what became of a request."""

    request: IncomingRequest
    request_id: str


@dataclass(frozen=True, slots=True)
class LeasesReturned:
    """The holder says what became of the requests that used its leases."""

    holder: Holder
    settled: tuple[LeaseSettled, ...]


@dataclass(frozen=True, slots=True)
class HolderGone:
    """A front-end process is gone, and with it all of its leases."""

    holder: Holder


@dataclass(frozen=True, slots=True)
class WaiterGone:
    """The client of a request that waits for a model has left."""

    asked: LeaseAsked


@dataclass(frozen=True, slots=True)
class EnsureLoaded:
    """Router to loader: have this catalogue entry ready; ``reply_to`` is told ``LoadFinished``."""

    model: str
    reply_to: ActorRef


@dataclass(frozen=True, slots=True)
class LoadUnwanted:
    """Router to loader: none of its requests waits for this model any more."""

    model: str
    reply_to: ActorRef


@dataclass(frozen=True, slots=True)
class ReplicaInUse:
    """Router to loader: so many leases are in force on this replica; told from and to zero."""

    model: str
    neuron: str
    leases: int


@dataclass(frozen=True, slots=True)
class Requested:
    """Router to loader: how many requests have come for each model since it told last."""

    requests: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class LoadFinished:
    """Loader to router: the load has ended; ``failure`` is None when the model is ready."""

    model: str
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class NamesChanged:
    """Another catalogue is in force: each name that a client may use and the models it leads to."""

    names: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class SubscriberUp:
    """A link that wants to be told the state."""

    link: Link


@dataclass(frozen=True, slots=True)
class SubscriberGone:
    """That link is down."""

    link: Link


@dataclass(frozen=True, slots=True)
class OperatorAsked:
    """An operator's question or command: load, unload, metrics, actors, state."""

    request: IncomingRequest


@dataclass(frozen=True, slots=True)
class DrainStarted:
    """The daemon is shutting down: accept nothing new."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A second has passed."""
