"""The directory of one daemon's local sockets: private, short, and empty at the start."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import final


class RuntimeDirError(Exception):
    """The directory cannot be made, or belongs to somebody else."""


@final
class RuntimeDir:
    """``<parent>/<name>``, mode 0700. What a killed predecessor left in it is removed.

    The caller must hold the daemon's listening address by then, or two daemons could take each
    other's sockets away.
    """

    def __init__(self, parent: Path, name: str) -> None:
        self.path = parent / name

    def create(self) -> Path:
        """Make it anew and return it.

        Raises:
            RuntimeDirError: The directory cannot be made private and empty.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.remove()
            self.path.mkdir(mode=0o700)
        except OSError as error:
            msg = f"cannot create the runtime directory {self.path}: {error.strerror}"
            raise RuntimeDirError(msg) from error
        return self.path

    def remove(self) -> None:
        """Delete it with all that is in it; nothing happens if it is not there."""
        shutil.rmtree(self.path, ignore_errors=True)
