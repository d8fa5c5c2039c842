"""Converted models on disk: each one is either complete or not there.

A model is written into a directory of its own that only gets its final name when everything in it
is on disk, its manifest last. A directory without a manifest, or with a file of another size than
the manifest says, is never used. Torch-free; the files of several processes may meet here.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from neuron_runtime.model_errors import ModelFilesError, NoDiskSpace
from neuron_runtime.model_files import Layout, ModelFiles
from transports.clock import Clock, MonotonicClock

CONVERTER_VERSION = 1
"""Part of the key: raise it when the converter's output changes."""

MANIFEST = "manifest.json"
_RETRY_S = 0.05
_UNSAFE = re.compile(r"[^\w.-]+")


class Manifest(msgspec.Struct, frozen=True):
    """The last file of a complete model: the size of each other one."""

    source: str
    files: dict[str, int]


class CacheBusy(ModelFilesError):
    """Another process has been converting the same file for too long."""


class ModelCache:
    """The converted models under one directory.

    Args:
        root: Created when first needed.
        clock: Monotonic time.
    """

    def __init__(self, root: Path, *, clock: Clock | None = None) -> None:
        self._root = root.expanduser() / "models"
        self._clock = clock or MonotonicClock()

    def find(self, files: ModelFiles) -> Path | None:
        """Return where the model can be loaded from now, or None if it must be converted first.

        Any thread; reads one small file.

        Raises:
            SourceNotFound: The source's file is gone.
        """
        if files.layout is Layout.DIRECTORY:
            return files.path
        place = self._place(files)
        return place if _is_complete(place) else None

    def prepare(
        self, files: ModelFiles, convert: Callable[[Path], None], *, wait_s: float = 1800.0
    ) -> Path:
        """Return where the model can be loaded from, converting it if nobody has.

        Args:
            files: Verified files.
            convert: Writes the model into the empty directory that it is given.
            wait_s: For how long to wait for another process that converts the same file.

        Raises:
            NoDiskSpace: The file system is too full.
            CacheBusy: The other process did not finish in time.
            ModelFilesError: As ``convert`` raises it.
        """
        found = self.find(files)
        if found is not None:
            return found
        place = self._place(files)
        self._check_space(files.converted_bytes())
        with self._locked(place.name, wait_s):
            self._remove_leftovers(place.name)
            if not _is_complete(place):
                self._fill(place, files, convert)
        return place

    def _place(self, files: ModelFiles) -> Path:
        digest = hashlib.sha256(f"{CONVERTER_VERSION}\0{files.identity()}".encode()).hexdigest()
        return self._root / f"{_UNSAFE.sub('-', files.path.stem)}-{digest[:16]}"

    def _check_space(self, needed: int) -> None:
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self._root).free
        except OSError as error:
            raise NoDiskSpace(f"the cache {self._root} cannot be used: {error.strerror}") from error
        if free < needed:
            raise NoDiskSpace(
                f"the cache {self._root} has {free >> 20} MB free,"
                f" the model needs {needed >> 20} MB"
            )

    def _fill(self, place: Path, files: ModelFiles, convert: Callable[[Path], None]) -> None:
        partial = Path(tempfile.mkdtemp(prefix=_partial_prefix(place.name), dir=self._root))
        try:
            convert(partial)
            _seal(partial, str(files.path))
            shutil.rmtree(place, ignore_errors=True)
            partial.rename(place)
            _sync(self._root)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoDiskSpace(f"the cache {self._root} is full") from error
            raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _remove_leftovers(self, name: str) -> None:
        """Remove what dead converters of this model left; safe because we hold its lock."""
        for leftover in self._root.glob(f"{_partial_prefix(name)}*"):
            shutil.rmtree(leftover, ignore_errors=True)

    @contextlib.contextmanager
    def _locked(self, name: str, wait_s: float) -> Iterator[None]:
        """Hold the model's lock, which the kernel releases if we die."""
        give_up_at = self._clock.now() + wait_s
        with (self._root / f".{name}.lock").open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if self._clock.now() >= give_up_at:
                        raise CacheBusy(
                            f"another process has been converting {name} for {wait_s:.0f} s"
                        ) from error
                    time.sleep(_RETRY_S)
            yield


def _partial_prefix(name: str) -> str:
    return f".{name}.partial-"


def _seal(directory: Path, source: str) -> None:
    paths = sorted(path for path in directory.iterdir() if path.is_file())
    for path in paths:
        _sync(path)
    manifest = Manifest(source, {path.name: path.stat().st_size for path in paths})
    (directory / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    _sync(directory / MANIFEST)
    _sync(directory)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_complete(directory: Path) -> bool:
    try:
        manifest = msgspec.json.decode((directory / MANIFEST).read_bytes(), type=Manifest)
        return all((directory / name).stat().st_size == n for name, n in manifest.files.items())
    except (OSError, msgspec.DecodeError):
        return False
