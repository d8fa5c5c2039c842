"""Bodies between a neuron daemon and the processes that it started."""

from __future__ import annotations

from transports.schemas.body import Body


class Member(Body, frozen=True):
    """One rank of a group epoch, as the Launcher minted it."""

    rank: int
    slot: int
    inc: int
    device: str


class GroupStart(Body, frozen=True):
    """Daemon to engine: expect these ranks at ``endpoint`` and load the model on them."""

    epoch: int
    endpoint: str
    members: tuple[Member, ...]
    rendezvous: str
    start_s: float


class GroupReady(Body, frozen=True):
    """Engine to daemon: every rank of the epoch has loaded; bytes are over all ranks."""

    epoch: int
    load_s: float
    weight_bytes: int
    kv_bytes: int = 0


class GroupBroken(Body, frozen=True):
    """Engine to daemon: this epoch must be replaced; ``failure`` names every rank that failed."""

    epoch: int
    code: str
    message: str


class SleepGroup(Body, frozen=True):
    """Daemon to engine: have this epoch's ranks give up their devices within ``sleep_s``.

    The engine has been drained. GroupAsleep or GroupBroken follows.
    """

    epoch: int
    sleep_s: float


class GroupAsleep(Body, frozen=True):
    """Engine to daemon: every rank of the epoch sleeps; ``device_bytes`` is what they still hold.

    Bytes are over all ranks.
    """

    epoch: int
    device_bytes: int = 0


class WakeGroup(Body, frozen=True):
    """Daemon to engine: serve again with this epoch, which sleeps; it must be ready in ``wake_s``.

    GroupReady or GroupBroken follows, as after GroupStart.
    """

    epoch: int
    wake_s: float


class MemberDown(Body, frozen=True):
    """Daemon to engine: this incarnation is gone for certain.

    ``stopped`` says that the daemon ended it in good order and nothing has gone wrong.
    """

    epoch: int
    slot: int
    inc: int
    reason: str
    stopped: bool = False


class KillMember(Body, frozen=True):
    """Engine to daemon: this incarnation missed its deadline; its death notice ends the step."""

    epoch: int
    slot: int
    inc: int
    reason: str


class EngineReady(Body, frozen=True):
    """Engine to daemon: the data plane listens.

    ``capabilities`` are what the model can do, as its own files say: completions, chat, tools,
    reasoning; or embeddings.
    """

    endpoint: str
    capabilities: tuple[str, ...] = ()


class EngineLoad(Body, frozen=True):
    """Engine to daemon, on change: how busy the engine is."""

    running: int
    waiting: int
    capacity: int
    context_length: int
    prompt_tokens_total: int = 0
    completion_tokens_total: int = 0


class Prepared(Body, frozen=True):
    """Converter to daemon: the model's files are complete in ``model_dir``."""

    model_dir: str


class PrepareProgress(Body, frozen=True):
    """Converter to daemon: how far the conversion has come (0 to 1)."""

    fraction: float
    phase: str
