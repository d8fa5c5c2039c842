"""Where traces of requests go."""

from __future__ import annotations

from typing import Annotated, final

from cortex_actors.config.fields import Section, matching

Url = Annotated[str, matching(r"https?://\S+", "should be a URL, such as http://127.0.0.1:4318")]


@final
class TelemetrySettings(Section):
    """The ``telemetry`` section: the base URL of an OTLP/HTTP collector; null sends nothing."""

    otlp_endpoint: Url | None = None
