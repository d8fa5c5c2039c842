"""The Preparation actor: has a model's files converted into the cache by a process of its own.

Conversion needs torch, which the daemon must not import, and may crash on a hostile file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

from cortex_actors.kit.handlers import handles
from cortex_actors.kit.process_actor import ProcessActor, ProcessSource
from cortex_actors.kit.reasons import ExitReason
from cortex_actors.kit.ref import ActorRef
from cortex_actors.neuron.child_links import ChildLinks
from cortex_actors.neuron.messages import (
    ChildDown,
    ChildNote,
    ChildUp,
    PreparationEnded,
    PreparationProgressed,
)
from neuron_runtime.exit_codes import ExitKind
from neuron_runtime.launcher import ProcessExit
from transports.failures import FailureCode
from transports.schemas.daemon import Prepared, PrepareProgress
from transports.schemas.link import Failure


@dataclass(frozen=True, slots=True)
class PreparationSettings:
    """What to convert, and where to."""

    model: str
    source: str
    cache_dir: Path
    parent: str
    nice: int


@final
class Preparation(ProcessActor):
    """Runs the converter once and tells the model how it ended; exactly one PreparationEnded."""

    judges_stopped = True

    def __init__(
        self,
        settings: PreparationSettings,
        model: ActorRef,
        links: ChildLinks,
        source: ProcessSource,
    ) -> None:
        super().__init__(source, f"model/{settings.model}/preparation")
        self._settings = settings
        self._model = model
        self._links = links
        self._reported = False

    def on_start(self) -> None:
        """Start the converter."""
        settings = self._settings
        args = (
            f"--boot={self.boot}",
            f"--parent={settings.parent}",
            f"--source={settings.source}",
            f"--cache-dir={settings.cache_dir}",
        )
        with self._links.starting(self.slot, self.inc, self.ref):
            self.spawn("neuron_runtime.converter_main", args, nice=settings.nice)

    def on_stop(self, reason: ExitReason) -> None:
        """End the converter; a half-written cache is never used."""
        self._links.forget(self.slot, self.inc)
        super().on_stop(reason)

    def process_ended(self, exit_: ProcessExit) -> None:
        """Report a converter that ended without a word."""
        cause = f"the converter ended early: {exit_.exit_reason}"
        self._report(PreparationEnded("", Failure(FailureCode.LOAD_FAILED, cause)))

    @handles(ChildUp)
    def _child_up(self, _: ChildUp) -> None:
        """The converter is at work; it will report."""

    @handles(ChildDown)
    def _child_down(self, _: ChildDown) -> None:
        """It has nobody to tell any more; the end of its process decides."""
        if not self._reported:
            self.kill(ExitKind.FENCED)

    @handles(ChildNote)
    def _child_note(self, message: ChildNote) -> None:
        match message.body:
            case PrepareProgress(fraction=fraction):
                self._model.notify(PreparationProgressed(fraction))
            case Prepared(model_dir=model_dir):
                self._report(PreparationEnded(model_dir, None))
            case Failure() as failure:
                self._report(PreparationEnded("", failure))
            case _:
                pass

    def _report(self, ended: PreparationEnded) -> None:
        if not self._reported:
            self._reported = True
            self._model.notify(ended)
