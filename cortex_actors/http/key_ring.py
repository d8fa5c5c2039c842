"""The API keys that a front end knows, as the file has them now."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from cortex_actors.config.api_keys import digest, read_api_keys
from cortex_actors.config.errors import ConfigError
from cortex_actors.http.log_line import log_line
from transports.clock import Clock, MonotonicClock

_LOG = logging.getLogger("cortex.http")

LOOK_S: Final = 1.0
"""A key that was taken away may open for so long."""


@final
@dataclass(frozen=True, slots=True)
class KeyOwner:
    """Whose key it is; an operator's opens all routes."""

    name: str
    operator: bool = False


@final
class KeyRing:
    """For any thread. A file that has become unreadable leaves the keys as they were.

    It is read when the ring is made, and when it has changed since.
    """

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self._path = path
        self._now = (clock or MonotonicClock()).now
        self._look_at = self._now() + LOOK_S
        self._version: tuple[int, ...] | None = None
        self._owners: Mapping[str, KeyOwner] = {}
        # SAFETY: who reads slowly must not put old keys over the newer ones of another.
        self._looking = threading.Lock()
        self._look()

    def owner(self, secret: str) -> KeyOwner | None:
        """Return whose key this is, or None."""
        if self._now() >= self._look_at and self._looking.acquire(blocking=False):
            try:
                self._look_at = self._now() + LOOK_S
                self._look()
            finally:
                self._looking.release()
        return self._owners.get(digest(secret))

    def _look(self) -> None:
        version = _version_of(self._path)
        if version == self._version:
            return
        self._version = version
        try:
            keys = read_api_keys(self._path)
        except ConfigError as error:
            _LOG.error("%s", log_line("api_keys", {"file": self._path, "unusable": error}))
            return
        self._owners = {key.sha256: KeyOwner(key.name, key.operator) for key in keys}
        _LOG.info("api_keys file=%s count=%d", self._path, len(keys))


def _version_of(path: Path) -> tuple[int, ...]:
    """Return what differs when the file does; empty if it cannot be found."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    # The time of change is another when only its owner or its mode is.
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size)
