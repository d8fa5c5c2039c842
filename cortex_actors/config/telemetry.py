"""Where traces of requests go."""

from __future__ import annotations

from typing import Annotated, final

from pydantic import Field

from cortex_actors.config.fields import Section


@final
class TelemetrySettings(Section):
    """The ``telemetry`` section: the base URL of an OTLP/HTTP collector; null sends nothing."""

    otlp_endpoint: Annotated[str, Field(pattern=r"^https?://[^\s]+$")] | None = None
