"""Where a model comes from: ``package://pkg/file.gguf``, ``file:///path`` or ``hf://org/name``.

A package or a path may hold a GGUF file or a folder of safetensors.

Torch-free. Nothing here imports the package that carries a model: it is only looked up.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from neuron_runtime.model_errors import SourceInvalid, SourceNotFound
from neuron_runtime.model_files import CONFIG, Layout, ModelFiles

_PACKAGE = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)/(.+)")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FETCHED = ("*.safetensors", "*.json", "*.jinja", "*.txt", "tokenizer.model")


class Scheme(Enum):
    """How a source is written."""

    PACKAGE = "package"
    FILE = "file"
    HUB = "hf"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A source that is well written; whether anything is there is for ``locate`` to say.

    ``place`` is the package, the directory or the repository; ``file`` the path inside a package.
    """

    scheme: Scheme
    place: str
    file: str = ""

    @classmethod
    def parse(cls, text: str) -> ModelSource:
        """Parse a source as it stands in ``models.yaml``.

        Raises:
            SourceInvalid: It has none of the three forms.
        """
        scheme, separator, rest = text.partition("://")
        if separator and scheme == Scheme.PACKAGE.value:
            match = _PACKAGE.fullmatch(rest)
            if match and ".." not in Path(match[2]).parts:
                return cls(Scheme.PACKAGE, match[1], match[2])
        elif separator and scheme == Scheme.FILE.value and rest.startswith(("/", "~/")):
            return cls(Scheme.FILE, rest)
        elif separator and scheme == Scheme.HUB.value and _REPOSITORY.fullmatch(rest):
            return cls(Scheme.HUB, rest)
        raise SourceInvalid(
            f"{text!r} is no model source; write package://package/file.gguf, file:///path"
            " or hf://organisation/name"
        )

    def __str__(self) -> str:
        tail = f"/{self.file}" if self.file else ""
        return f"{self.scheme.value}://{self.place}{tail}"

    def locate(self, *, download: bool = False) -> ModelFiles:
        """Find the files on this host.

        Args:
            download: Fetch a hub repository that is not here; takes minutes, so never in a daemon.

        Raises:
            SourceNotFound: Nothing is there, and it cannot or may not be downloaded.
        """
        if self.scheme is Scheme.PACKAGE:
            return self._in_package()
        if self.scheme is Scheme.FILE:
            return _files_at(Path(self.place).expanduser())
        return _files_at(self._in_hub_cache(download=download))

    def _in_package(self) -> ModelFiles:
        # find_spec imports the parents of a dotted name, so only the first part is looked up.
        top, *inner = self.place.split(".")
        spec = importlib.util.find_spec(top)
        if spec is None:
            raise SourceNotFound(f"{self}: the package {top} is not installed")
        for root in spec.submodule_search_locations or ():
            path = Path(root, *inner, self.file)
            if path.exists():
                return _files_at(path)
        raise SourceNotFound(f"{self}: the package {self.place} has no file {self.file}")

    def _in_hub_cache(self, *, download: bool) -> Path:
        try:
            import huggingface_hub as hub  # noqa: PLC0415 - slow to import and only for this scheme
            from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError  # noqa: PLC0415
        except ImportError as error:
            raise SourceNotFound(f"{self}: the package huggingface_hub is not installed") from error
        try:
            found = hub.snapshot_download(
                self.place, local_files_only=not download, allow_patterns=list(_FETCHED)
            )
        except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
            why = "cannot be downloaded" if download else "is not in the local Hugging Face cache"
            raise SourceNotFound(f"{self} {why}: {_first_line(error)}") from error
        return Path(found)


def _files_at(path: Path) -> ModelFiles:
    try:
        return _layout_of(path)
    except PermissionError as error:
        name = error.filename or path
        raise SourceNotFound(f"{name} cannot be read: {error.strerror}") from error


def _layout_of(path: Path) -> ModelFiles:
    if path.is_dir():
        if not (path / CONFIG).is_file():
            raise SourceNotFound(f"the directory {path} has no {CONFIG}")
        return ModelFiles(path.resolve(), Layout.DIRECTORY)
    if path.is_file():
        return ModelFiles(path.resolve(), Layout.GGUF)
    raise SourceNotFound(f"there is no file {path}")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
