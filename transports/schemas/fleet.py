"""Bodies of the control plane: gateway to neuron, and front end to its daemon."""

from __future__ import annotations

import msgspec

from transports.schemas.body import Body
from transports.schemas.text_gaps import TextGaps


class ModelSpec(Body, frozen=True):
    """One catalogue entry, as the neuron needs it to load the model.

    ``min_device_vram_mb`` is the least memory that each device used must have in total; ``kv_mb``
    is for keys and values on each, 0 as the neuron sees fit.
    """

    id: str
    source: str
    quant: str = "none"
    dtype: str = "auto"
    min_devices: int = 1
    vram_mb: int = 0
    min_device_vram_mb: int = 0
    kv_mb: int = 0


class DeviceState(Body, frozen=True):
    """One device a neuron offers; ``compute_capability`` (CUDA's, as "9.0") is empty on others.

    ``age_s`` is how long ago its memory was measured, seconds.
    """

    id: str
    kind: str
    name: str
    memory_total_mb: int
    memory_free_mb: int
    compute_capability: str = ""
    age_s: float = 0.0


class ModelState(Body, frozen=True):
    """One model on one neuron.

    ``state`` is one of: unloaded, preparing, starting, ready, recovering, unloading, failed.
    ``endpoint`` is the engine's data-plane address when ready. ``memory_mb`` is what it takes as
    measured, over all of its devices, and until then as the catalogue says; ``idle_s`` how long it
    has had no request; ``eta_s`` how long its load will still take, as far as earlier loads tell.
    0 is not known, for all three. ``capabilities`` are what it can do, as its own files say.
    """

    id: str
    state: str
    neuron: str = ""
    endpoint: str = ""
    devices: tuple[str, ...] = ()
    running: int = 0
    waiting: int = 0
    capacity: int = 0
    context_length: int = 0
    progress: float = 0.0
    restarts: int = 0
    error: str = ""
    created: int = 0
    memory_mb: int = 0
    idle_s: float = 0.0
    eta_s: float = 0.0
    capabilities: tuple[str, ...] = ()


class ModelRecord(Body, frozen=True):
    """What a neuron has measured of a model that it has loaded before, this boot or an earlier.

    Seconds to load it from disk and from the warm tier, 0 if never done; ``memory_mb`` over all
    devices, of which ``weights_mb`` would stay in the warm tier; ``warm`` says that this holds it
    now. ``capabilities`` are those of what it was loaded from then, its ``source``.
    """

    model: str
    cold_load_s: float = 0.0
    warm_load_s: float = 0.0
    memory_mb: int = 0
    warm: bool = False
    weights_mb: int = 0
    source: str = ""
    capabilities: tuple[str, ...] = ()


class NeuronState(Body, frozen=True):
    """What a gateway needs to know of a neuron; pushed on change and at least every second.

    ``state`` is up or, while it shuts down, draining; a gateway says suspect or down of it.
    ``cycles`` counts the loads since its fork server was last renewed. ``warm_mb`` is the
    budget of its warm tier, 0 if it has none, and ``warm_used_mb`` what the models there take.
    ``age_s`` is how long ago the neuron said all this, as whoever passes it on has counted;
    ``harnesses`` are what it can run models with, None where it does not say; ``pending`` the
    models that it will load by itself when their turn has come.
    ``boot`` is 0 of one that has never said anything, and then that is how long it was awaited.
    """

    name: str
    boot: int
    version: str
    hostname: str
    uptime_s: float
    devices: tuple[DeviceState, ...]
    models: tuple[ModelState, ...]
    state: str = "up"
    age_s: float = 0.0
    records: tuple[ModelRecord, ...] = ()
    cycles: int = 0
    warm_mb: int = 0
    warm_used_mb: int = 0
    harnesses: tuple[str, ...] | None = None
    pending: tuple[str, ...] = ()


class ModelCard(Body, frozen=True):
    """What the catalogue says of a model, and where in the fleet it could be.

    ``cost`` is per million tokens, by kind; ``limit`` in tokens, by kind: what is not there is not
    known. ``feasible_on`` are the neurons that could hold it, ``infeasible`` those that could not,
    with the reason. ``error`` says why it was given up, ``created`` when it came (Unix seconds).
    """

    id: str
    created: int = 0
    harness: str = ""
    quant: str = ""
    cost: dict[str, float] = msgspec.field(default_factory=dict)
    limit: dict[str, int] = msgspec.field(default_factory=dict)
    capabilities: tuple[str, ...] = ()
    pinned: bool = False
    feasible_on: tuple[str, ...] = ()
    infeasible: dict[str, str] = msgspec.field(default_factory=dict)
    error: str = ""


class ServiceState(Body, frozen=True):
    """What a daemon's front-end processes answer reads from; pushed on change and every second.

    ``aliases`` lead to the model that each stands for first, ``chains`` to all of them.
    """

    service: str
    version: str
    ready: bool
    reason: str
    uptime_s: float
    neurons: tuple[NeuronState, ...] = ()
    models: tuple[ModelState, ...] = ()
    aliases: dict[str, str] = msgspec.field(default_factory=dict)
    cards: tuple[ModelCard, ...] = ()
    chains: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)


class LeaseRequest(Body, frozen=True):
    """Front end to router: where does this request go? Loads the model when it must.

    The engines at the endpoints of ``avoid`` have failed it already: others go first. Without
    ``wait`` it is refused when no other can take it at once. ``tokens`` is about what it will cost;
    ``prefix`` are hashes of the prompt's leading blocks, each over all before the block's end.
    ``task`` is what the model must be able to do: generate or embed; empty is not said.
    """

    request_id: str
    model: str
    principal: str = ""
    avoid: tuple[str, ...] = ()
    wait: bool = True
    tokens: int = 1
    prefix: tuple[int, ...] = ()
    task: str = ""


class Lease(Body, frozen=True):
    """The router's answer: this engine, until settled or until the front end's link is gone.

    ``server_key`` is the CURVE public key (Z85) that the engine must prove to have; empty is plain.
    For ``keep_s`` seconds it may serve further requests for the same name and task, one after the
    other; 0 it is for one request.
    """

    lease: int
    model: str
    neuron: str
    endpoint: str
    server_key: str = ""
    keep_s: float = 0.0


class LeaseSettled(Body, frozen=True):
    """Exactly once per request and lease: what became of it. The lease ends unless it is ``kept``.

    Times are in seconds: ``lease_s`` until there was a lease, with the load of the model if it had
    to wait for one; queue, prefill and decode as the engine told; ``cancel_s`` from the client's
    leaving until the engine had let go of the request, 0 if it stayed; ``retry_after_s`` for how
    long an engine that was full wants to be left alone. A request that goes on elsewhere has
    several leases: figures of the whole request are those of the ``last``, but for
    ``completion_tokens`` and ``gaps``. ``request_id`` and ``prefix`` are, as in a LeaseRequest,
    those of a request that used a kept lease; of the one that it was granted to they are known.
    """

    lease: int
    outcome: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_token_s: float = 0.0
    duration_s: float = 0.0
    lease_s: float = 0.0
    queue_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cancel_s: float = 0.0
    last: bool = True
    gaps: TextGaps | None = None
    retry_after_s: float = 0.0
    kept: bool = False
    request_id: str = ""
    prefix: tuple[int, ...] = ()


class LeasesSettled(Body, frozen=True):
    """Front end to router, a NOTE: what became of requests, in the order of each lease's."""

    items: tuple[LeaseSettled, ...]


class HttpResponses(Body, frozen=True):
    """Front end to daemon, a NOTE: how many responses it gave since it last said so.

    By the template of the path, then by status.
    """

    counts: dict[str, dict[str, int]]


class QueryExplain(Body, frozen=True):
    """Ask what became of a request; its id as the client was told it will do."""

    request_id: str


class TrailStep(Body, frozen=True):
    """One thing that happened to a request, ``at_s`` seconds after it came."""

    at_s: float
    event: str
    neuron: str = ""
    detail: str = ""


class Explanation(Body, frozen=True):
    """The steps of a request; ``settled`` is how its last lease ended, if it has.

    ``load_s`` is how much of that lease's ``lease_s`` went by until a replica was ready, seconds.
    """

    request_id: str
    model: str
    steps: tuple[TrailStep, ...]
    settled: LeaseSettled | None = None
    load_s: float = 0.0


class LoadModel(Body, frozen=True):
    """Load this model and answer when it is ready or has failed."""

    spec: ModelSpec


class ModelLoaded(Body, frozen=True):
    """The model is ready to serve."""

    model: str
    load_s: float


class UnloadModel(Body, frozen=True):
    """Drain and unload this model; ``keep_warm`` if the neuron has a warm tier with room for it."""

    model: str
    keep_warm: bool = False


class ModelUnloaded(Body, frozen=True):
    """The model's processes are gone."""

    model: str


class RenewStandby(Body, frozen=True):
    """Gateway to neuron: replace the processes that only wait, when nothing is loading."""


class StandbyRenewed(Body, frozen=True):
    """The neuron's standing processes are new, or will be as soon as it is idle."""


class LoadModelById(Body, frozen=True):
    """Operator to gateway or neuron: load a catalogue entry by its id."""

    model: str


class QueryMetrics(Body, frozen=True):
    """Ask for the Prometheus exposition."""


class MetricsText(Body, frozen=True):
    """Prometheus text exposition."""

    text: str
    content_type: str


class QueryActors(Body, frozen=True):
    """Ask for the actor table; of a gateway, also for the table of one of its neurons."""

    neuron: str = ""


class ActorRow(Body, frozen=True):
    """One actor as operators see it."""

    name: str
    kind: str
    state: str
    restarts: int
    mailbox: int
    handled: int
    detail: str = ""


class ActorTable(Body, frozen=True):
    """Every live actor of a daemon."""

    rows: tuple[ActorRow, ...]


class QueryState(Body, frozen=True):
    """Ask for the ServiceState now."""
