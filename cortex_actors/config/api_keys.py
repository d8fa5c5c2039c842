"""The file of API keys: who may ask a gateway. ``cortexd keys`` writes it.

Only digests are kept. A key is 256 random bits, so one pass of SHA-256 is as good as a slow hash.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, final

import yaml
from pydantic import BeforeValidator, Field

from cortex_actors.config.document import read_document
from cortex_actors.config.errors import ConfigError
from cortex_actors.config.fields import NAME, NAME_LETTERS, Name, Section
from cortex_actors.config.validation import validate

_PREFIX: Final = "sk-cortex-"
MOST: Final = 1000
"""So many are read in about a second."""

_HEADER: Final = "# API keys by their owners, made with the command `keys`.\n"


def _digest(value: object) -> object:
    # The value may be a key that somebody has taken for what belongs here: never show it.
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError("should be the SHA-256 of a key in 64 hexadecimal digits")
    return value


@final
class ApiKey(Section):
    """One key: whose it is, its digest, and whether it opens the operators' routes too."""

    name: Name
    sha256: Annotated[str, BeforeValidator(_digest)]
    operator: bool = False
    created: str = ""


@final
class _ApiKeyFile(Section):
    keys: Annotated[tuple[ApiKey, ...], Field(strict=False)] = ()


class ApiKeyError(Exception):
    """The change that was asked for cannot be made; says why."""


def digest(secret: str) -> str:
    """Return what is kept of a key."""
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()


def read_api_keys(path: Path) -> tuple[ApiKey, ...]:
    """Return the keys in the file.

    Raises:
        ConfigError: With everything that is wrong in it.
    """
    document = read_document(path)
    values, problems = validate(_ApiKeyFile, document.data, path.parent, document.problem)
    keys = () if values is None else values.keys
    twice = (document.problem(("keys", index), message) for index, message in _repeated(keys))
    wrong = [*document.problems, *problems, *twice]
    if wrong:
        raise ConfigError(wrong)
    return keys


def add_api_key(path: Path, name: str, *, operator: bool = False) -> str:
    """Make a key for ``name`` and return it; nobody can read it again.

    Raises:
        ApiKeyError: It is no name, or has a key already, or the file cannot be written.
        ConfigError: The file is there and has mistakes.
    """
    if not re.fullmatch(NAME, name):
        raise ApiKeyError(f"{name!r} is not a name ({NAME_LETTERS})")
    secret = _PREFIX + secrets.token_urlsafe(32)
    created = datetime.now(tz=UTC).date().isoformat()
    key = ApiKey(name=name, sha256=digest(secret), operator=operator, created=created)
    with _changing(path) as keys:
        if any(each.name == name for each in keys):
            raise ApiKeyError(f"'{name}' has a key already; remove it first")
        if len(keys) >= MOST:
            raise ApiKeyError(f"{path} has {MOST} keys, which is the limit")
        keys.append(key)
    return secret


def remove_api_key(path: Path, name: str) -> None:
    """Take a key away from its owner. Raises like ``add_api_key``, and if there is none."""
    with _changing(path) as keys:
        left = [each for each in keys if each.name != name]
        if len(left) == len(keys):
            raise ApiKeyError(f"'{name}' has no key")
        keys[:] = left


def _repeated(keys: Iterable[ApiKey]) -> Iterator[tuple[int, str]]:
    names: set[str] = set()
    owners: dict[str, str] = {}
    for index, key in enumerate(keys):
        if key.name in names:
            yield index, f"'{key.name}' has a key already"
        elif owners.setdefault(key.sha256, key.name) != key.name:
            yield index, f"is the same key as that of '{owners[key.sha256]}'"
        names.add(key.name)


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[list[ApiKey]]:
    """Lend the keys, and write what has become of them."""
    path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            keys = list(read_api_keys(path)) if path.exists() else []
            yield keys
            data = {"keys": [key.model_dump() for key in keys]}
            _replace(path, _HEADER + yaml.safe_dump(data, sort_keys=False))
    except OSError as error:
        raise ApiKeyError(f"{error.filename or path}: {error.strerror}") from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let nobody else change the file meanwhile."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _replace(path: Path, text: str) -> None:
    """Write the file anew; who reads it at the same time gets the old one or the new one."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        if path.exists():
            _make_alike(file.fileno(), path.stat())
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _make_alike(fd: int, status: os.stat_result) -> None:
    """Give a file the owner and the mode of another: a daemon must be able to read it still."""
    if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(fd, status.st_uid, status.st_gid)
    os.fchmod(fd, stat.S_IMODE(status.st_mode))
