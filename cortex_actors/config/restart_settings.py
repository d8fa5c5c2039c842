"""The ``restart`` section of ``neuron.yaml``: how often and how soon processes are restarted.

More than ``intensity`` restarts within ``period_s`` and the model is failed. The first restart
waits ``backoff_s``, each further one twice as long up to ``max_backoff_s``; ``healthy_s`` of being
up starts over. Durations in seconds.
"""

from __future__ import annotations

from typing import Annotated, final

from pydantic import Field

from cortex_actors.config.fields import Seconds, Section

Intensity = Annotated[int, Field(ge=0, le=1_000_000)]


@final
class EngineRestart(Section):
    """How a model's engine process is restarted; its group goes with it."""

    intensity: Intensity = 5
    period_s: Seconds = 600.0
    backoff_s: Seconds = 0.5
    max_backoff_s: Seconds = 30.0
    healthy_s: Seconds = 60.0


@final
class GroupRestart(Section):
    """How a model's tensor-parallel group is restarted, always as a whole."""

    intensity: Intensity = 5
    period_s: Seconds = 300.0
    backoff_s: Seconds = 0.1
    max_backoff_s: Seconds = 30.0
    healthy_s: Seconds = 120.0


@final
class RestartSettings(Section):
    """The whole section."""

    engine: EngineRestart = Field(default={}, validate_default=True)
    group: GroupRestart = Field(default={}, validate_default=True)
