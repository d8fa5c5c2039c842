"""The FrontEnd actor: owns the gunicorn process tree that speaks HTTP for a daemon."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

from cortex_actors.config.api_key_settings import ApiKeySettings
from cortex_actors.config.stored_responses import StoredResponses
from cortex_actors.kit.process_actor import ProcessActor, ProcessSource


@dataclass(frozen=True, slots=True)
class FrontEndSettings:
    """How the HTTP server is started; ``drain_s`` bounds its graceful end."""

    service: str
    listen: str
    metrics_listen: str | None
    daemon_endpoint: str
    workers: int
    threads: int
    max_body_mb: int
    cors_origins: tuple[str, ...]
    api_keys: ApiKeySettings
    load_deadline_s: float
    stall_s: float
    drain_s: float
    log_level: str
    key_file: Path | None
    responses_file: Path
    stored_responses: StoredResponses
    otlp_endpoint: str | None


@final
class FrontEnd(ProcessActor):
    """Runs ``cortex_actors.http.server``; when that ends, its supervisor starts it anew."""

    term_s: float = 2.0

    def __init__(self, settings: FrontEndSettings, source: ProcessSource) -> None:
        super().__init__(source, "front_end")
        self._settings = settings
        self.grace_s = settings.drain_s

    def on_start(self) -> None:
        """Start the server."""
        settings = self._settings
        args: tuple[str, ...] = (
            f"--service={settings.service}",
            f"--listen={settings.listen}",
            f"--daemon-endpoint={settings.daemon_endpoint}",
            f"--workers={settings.workers}",
            f"--threads={settings.threads}",
            f"--max-body-mb={settings.max_body_mb}",
            *(f"--cors-origin={origin}" for origin in settings.cors_origins),
            f"--load-deadline-s={settings.load_deadline_s}",
            f"--stall-s={settings.stall_s}",
            f"--drain-s={settings.drain_s}",
            f"--log-level={settings.log_level}",
            f"--responses-file={settings.responses_file}",
            f"--responses-max-count={settings.stored_responses.max_count}",
            f"--responses-max-mb={settings.stored_responses.max_mb}",
            f"--responses-max-age-h={settings.stored_responses.max_age_h}",
        )
        if settings.api_keys.file is not None:
            args += (f"--api-keys={settings.api_keys.file}",)
        if settings.api_keys.required:
            args += ("--require-api-key",)
        if settings.key_file is not None:
            args += (f"--key-file={settings.key_file}",)
        if settings.otlp_endpoint is not None:
            args += (f"--otlp-endpoint={settings.otlp_endpoint}",)
        if settings.metrics_listen is not None:
            args += (f"--metrics-listen={settings.metrics_listen}",)
        self.spawn("cortex_actors.http.server", args)

    def summary(self) -> str:
        """The server's address and process."""
        return f"listen={self._settings.listen} pid={self.pid}"
