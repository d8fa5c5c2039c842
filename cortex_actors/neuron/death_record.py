"""How often a model's processes have ended, and of what. Pure; owned by the Model actor."""

from __future__ import annotations

from typing import final

from cortex_actors.kit.reasons import NORMAL, SHUTDOWN
from cortex_actors.neuron.messages import EngineEnded, EpochBroken
from transports.failures import FailureCode
from transports.schemas.link import Failure


@final
class DeathRecord:
    """The ends of one model's epochs and engines.

    Supervisors count restarts by time, and a load that fails in the end may take longer than they
    remember. So ``most_in_vain`` is how many epochs in a row may end without having served.
    """

    def __init__(self, most_in_vain: int) -> None:
        self._most_in_vain = most_in_vain
        self._in_vain = 0
        self._epochs = 0
        self._engines = 0
        self._engine_end = ""
        self._refusal: Failure | None = None
        self._broken: EpochBroken | None = None
        self._times_ready = 0

    @property
    def restarts(self) -> int:
        """How often an epoch took the place of one that had served."""
        return max(self._times_ready - 1, 0)

    @property
    def served(self) -> bool:
        """Whether any epoch ever has."""
        return self._times_ready > 0

    @property
    def hopeless(self) -> bool:
        """Whether too many have ended in a row without having served."""
        return self._in_vain > self._most_in_vain

    @property
    def code(self) -> str:
        """What the last cause is called."""
        last = self._refusal or self._broken
        return FailureCode.LOAD_FAILED if last is None else last.code

    def ready(self, *, woken: bool) -> None:
        """An epoch serves; one that was only asleep is no new one."""
        self._times_ready += 0 if woken else 1
        self._in_vain = 0
        self._broken = self._refusal = None

    def broke(self, message: EpochBroken) -> None:
        """The engine says why an epoch must be replaced."""
        self._broken = message

    def epoch_ended(self) -> None:
        """An epoch has been ended."""
        self._epochs += 1
        self._in_vain += 1

    def engine_ended(self, message: EngineEnded) -> None:
        """The engine process has."""
        if message.reason not in (str(NORMAL), str(SHUTDOWN)):
            self._engines += 1
            self._engine_end = message.reason

    def refused(self, failure: Failure) -> None:
        """An engine says why it cannot serve the model's files."""
        self._refusal = failure

    def last_words(self, otherwise: str) -> str:
        """Say why it is not started again: how often it ended, and how the last time."""
        cause, times = otherwise, self._epochs
        if self._refusal is not None:
            cause, times = self._refusal.message, self._engines
        elif self._broken is not None:
            cause = self._broken.message
        elif self._engine_end:
            cause, times = f"engine: {self._engine_end}", self._engines
        often = f"{times} times" if times > 1 else "once"
        return f"its processes ended {often} and are not started again; the last time: {cause}"
