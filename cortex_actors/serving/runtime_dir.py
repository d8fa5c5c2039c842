"""The directory of one daemon's local sockets: private, short, and empty at the start."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import final


class RuntimeDirError(Exception):
    """The directory cannot be made, belongs to somebody else, or another daemon uses it."""


@final
class RuntimeDir:
    """``<parent>/<name>``, mode 0700. What a killed predecessor left in it is removed.

    It is locked for as long as this process lives or until it is removed: daemons that would have
    the same one, such as neurons with one port at two addresses, cannot take each other's sockets
    away.
    """

    def __init__(self, parent: Path, name: str) -> None:
        self.path = parent / name
        self._lock: int | None = None

    def create(self) -> Path:
        """Make it, or what there is of it, empty and ours; return it.

        Raises:
            RuntimeDirError: The directory cannot be made private and empty, or is in use.
        """
        self._unlock()
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = self._locked()
            os.fchmod(self._lock, 0o700)
            self._empty()
        except BlockingIOError as error:
            msg = f"another daemon uses the runtime directory {self.path}; set runtime_dir"
            raise RuntimeDirError(msg) from error
        except OSError as error:
            msg = f"cannot create the runtime directory {self.path}: {error.strerror}"
            raise RuntimeDirError(msg) from error
        return self.path

    def remove(self) -> None:
        """Delete it with all that is in it; nothing happens if it is not ours."""
        if self._lock is not None:
            shutil.rmtree(self.path, ignore_errors=True)
            self._unlock()

    def _locked(self) -> int:
        """Return the descriptor that holds the lock. Children do not inherit it."""
        while True:
            self.path.mkdir(mode=0o700, exist_ok=True)
            lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_still(lock):
                    return lock
            except OSError:
                os.close(lock)
                raise
            os.close(lock)

    def _is_still(self, lock: int) -> bool:
        """Whether the path leads to what was locked: its owner may just have removed that."""
        try:
            return os.path.samestat(os.fstat(lock), self.path.stat())
        except FileNotFoundError:
            return False

    def _empty(self) -> None:
        for left in self.path.iterdir():
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left)
            else:
                left.unlink()

    def _unlock(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)
