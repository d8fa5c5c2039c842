"""Messages between the actors of a neuron."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cortex_actors.kit.ref import ActorRef
from transports.link import IncomingRequest, Link
from transports.schemas.body import Body
from transports.schemas.daemon import GroupAsleep, GroupReady, GroupStart, MemberDown
from transports.schemas.fleet import DeviceState, ModelSpec, ModelState
from transports.schemas.link import Failure


@dataclass(frozen=True, slots=True)
class ChildUp:
    """A child process has connected."""

    link: Link


@dataclass(frozen=True, slots=True)
class ChildNote:
    """A child process says something."""

    body: Body


@dataclass(frozen=True, slots=True)
class ChildDown:
    """A child's link is gone; its process may not be yet."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class StartOverdue:
    """By now the process should have connected."""


@dataclass(frozen=True, slots=True)
class GroupAnnounced:
    """A group epoch has been started; ``members`` are its rank actors by incarnation."""

    start: GroupStart
    epoch_actor: ActorRef
    members: dict[int, ActorRef] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MemberEnded:
    """A rank's process is gone for certain."""

    down: MemberDown


@dataclass(frozen=True, slots=True)
class KillAsked:
    """The engine judged this rank: it missed its deadline."""

    reason: str


@dataclass(frozen=True, slots=True)
class EpochReady:
    """Every rank of the epoch has loaded."""

    ready: GroupReady


@dataclass(frozen=True, slots=True)
class EpochEnded:
    """The epoch is being replaced or ended."""

    epoch: int
    reason: str


@dataclass(frozen=True, slots=True)
class EpochBroken:
    """The engine says that this epoch must be replaced."""

    epoch: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class EpochAsleep:
    """Every rank of the epoch sleeps."""

    asleep: GroupAsleep


@dataclass(frozen=True, slots=True)
class EngineUp:
    """The engine's data plane listens at ``endpoint``; the model has these ``capabilities``."""

    endpoint: str
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineRefused:
    """The engine cannot serve the model's files, and is about to end for that."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class EngineEnded:
    """The engine process is gone; ``hopeless`` if another would not come any further."""

    reason: str
    hopeless: bool = False


@dataclass(frozen=True, slots=True)
class PreparationEnded:
    """The model's files are complete in ``model_dir``, or cannot be made so."""

    model_dir: str
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class PreparationProgressed:
    """How far the conversion has come."""

    fraction: float


@dataclass(frozen=True, slots=True)
class DrainAsked:
    """Finish what runs within ``grace_s`` and say when nothing runs any more.

    ``number`` tells a model's drains apart: it may wake between two.
    """

    grace_s: float
    number: int = 1


@dataclass(frozen=True, slots=True)
class Drained:
    """Nothing runs in the engine any more, or its time for that is over."""

    number: int = 1


@dataclass(frozen=True, slots=True)
class LoadAsked:
    """Load this model; ``request`` is answered with ModelLoaded or a Failure."""

    spec: ModelSpec
    request: IncomingRequest


@dataclass(frozen=True, slots=True)
class LoadCancelled:
    """Whoever asked for this model no longer waits for it."""

    model: str
    request: IncomingRequest


@dataclass(frozen=True, slots=True)
class UnloadAsked:
    """Drain and unload this model; ``request`` is answered with ModelUnloaded or a Failure.

    ``keep_warm``: it may sleep instead if the warm tier has room for it.
    """

    model: str
    request: IncomingRequest
    keep_warm: bool = False


@dataclass(frozen=True, slots=True)
class Unload:
    """Models to Model: go, in an orderly manner; ``keep_warm`` only falls asleep."""

    keep_warm: bool = False


@dataclass(frozen=True, slots=True)
class Wake:
    """Models to Model: serve again; the devices are reserved."""


@dataclass(frozen=True, slots=True)
class Renew:
    """Models to Model: start your processes anew, if nothing runs in them."""


@dataclass(frozen=True, slots=True)
class SleepOverdue:
    """By now the model should be asleep."""

    number: int


@dataclass(frozen=True, slots=True)
class ModelChanged:
    """A Model actor's latest state; ``failure`` says why when it is failed.

    ``warm`` while it sleeps and until it is awake; ``weights_mb`` is what it would keep asleep, 0
    if not known yet.
    """

    state: ModelState
    failure: Failure | None = None
    warm: bool = False
    weights_mb: int = 0


@dataclass(frozen=True, slots=True)
class DeviceLost:
    """Models to Model: the device of this rank is not there any more."""

    rank: int
    device: str


@dataclass(frozen=True, slots=True)
class DevicesMeasured:
    """Memory figures of all devices that are there; ``measured_at`` by device, monotonic."""

    devices: tuple[DeviceState, ...]
    measured_at: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RenewAsked:
    """Replace every process that only waits: the fork server, and those of idle models.

    As soon as no model is on its way. The ForkServer passes it on to Models.
    """


@dataclass(frozen=True, slots=True)
class ActivationPending:
    """The default models that wait for their turn to be loaded."""

    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CyclesCounted:
    """How many loads have begun since the fork server was last renewed."""

    cycles: int


@dataclass(frozen=True, slots=True)
class ModelsChanged:
    """The states of all resident models, but for those that sleep.

    ``warm`` are those and what is being woken; ``weights_mb`` is what each model keeps in host
    memory then, or would. ``sources`` are what each was loaded from.
    """

    models: tuple[ModelState, ...]
    weights_mb: Mapping[str, int] = field(default_factory=dict)
    warm: frozenset[str] = frozenset()
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def warm_used_mb(self) -> int:
        """What the warm tier holds."""
        return sum(self.weights_mb[model] for model in self.warm)
