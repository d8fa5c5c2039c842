"""Messages between the actors of the gateway."""

from __future__ import annotations

from dataclasses import dataclass

from cortex_actors.config.catalogue import Catalogue
from transports.link import CallEvent, IncomingRequest, Link
from transports.schemas.fleet import ModelSpec


@dataclass(frozen=True, slots=True)
class LinkUp:
    """The neuron has welcomed us."""

    link: Link


@dataclass(frozen=True, slots=True)
class LinkSuspect:
    """The neuron has been silent for a while."""


@dataclass(frozen=True, slots=True)
class LinkLost:
    """The connection is over; this incarnation of it never comes back."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class NeuronSaid:
    """The neuron has told its state, or had time to tell another."""


@dataclass(frozen=True, slots=True)
class NeuronLost:
    """Nothing that was known of this neuron, or asked over this connection, holds any more.

    ``connection`` is the incarnation of the connection's actor.
    """

    name: str
    connection: int


@dataclass(frozen=True, slots=True)
class LoadOn:
    """Placement to a connection: have the neuron load this; answered by ``LoadEnded``."""

    spec: ModelSpec


@dataclass(frozen=True, slots=True)
class UnloadOn:
    """Placement to a connection: have the neuron unload this; answered by ``UnloadEnded``.

    ``keep_warm``: the neuron may keep it in its warm tier.
    """

    model: str
    keep_warm: bool = False


@dataclass(frozen=True, slots=True)
class LoadEnded:
    """A connection to Placement: the one terminal event of a load."""

    model: str
    neuron: str
    connection: int
    event: CallEvent


@dataclass(frozen=True, slots=True)
class UnloadEnded:
    """A connection to Placement: the one terminal event of an unload."""

    model: str
    neuron: str
    connection: int
    event: CallEvent


@dataclass(frozen=True, slots=True)
class OperatorLoad:
    """An operator wants this model loaded; ``request`` is answered when it is."""

    model: str
    request: IncomingRequest


@dataclass(frozen=True, slots=True)
class OperatorUnload:
    """An operator wants this model unloaded everywhere; ``request`` is answered when it is."""

    model: str
    request: IncomingRequest


@dataclass(frozen=True, slots=True)
class CancelLoadOn:
    """Placement to a connection: nobody waits for this load; its ``LoadEnded`` still comes."""

    model: str


@dataclass(frozen=True, slots=True)
class ActorsAsked:
    """An operator to a connection: which actors has the neuron? It answers ``request``."""

    request: IncomingRequest


@dataclass(frozen=True, slots=True)
class RenewOn:
    """Placement to a connection: have the neuron replace its standing processes."""


@dataclass(frozen=True, slots=True)
class Pin:
    """An operator wants this model never to be unloaded, or no longer so."""

    model: str
    pinned: bool
    request: IncomingRequest


@dataclass(frozen=True, slots=True)
class Plan:
    """An operator wants to know where this model would go."""

    model: str
    request: IncomingRequest


@dataclass(frozen=True, slots=True)
class ReloadAsked:
    """The catalogue is to be read again; ``request`` is None when a signal asks."""

    request: IncomingRequest | None = None


@dataclass(frozen=True, slots=True)
class CatalogueChanged:
    """Another catalogue is in force."""

    catalogue: Catalogue
