"""Gunicorn's settings as plain attributes."""

from __future__ import annotations

from typing import Any, final


@final
class WorkerSettings:
    """What a worker's settings are when they are first asked for; for a worker never changes them.

    Any thread. Raises AttributeError for what gunicorn does not know.
    """

    # PERF: gunicorn looks each of them up by its name in two steps, twenty times a request.

    def __init__(self, settings: Any) -> None:
        self._settings = settings

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._settings, name)
        setattr(self, name, value)
        return value
