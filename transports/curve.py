"""CURVE keys: making, storing, loading, and who may connect.

Key files are those of ``zmq.auth`` (``NAME.key`` public, ``NAME.key_secret`` both), made with mode
0600; a secret that others may read is refused. There is no "any key" mode. Any thread.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import zmq
import zmq.auth

from transports.errors import KeyFileError

_Z85_BYTES = 40

#: Printed in libzmq's zmq_curve(7), secrets included: whoever uses them has no secret.
_DOCUMENTED = frozenset(
    {
        b"Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID",
        b"D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs",
        b"rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7",
        b"JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6",
    }
)


@dataclass(frozen=True, slots=True)
class CurveKeys:
    """One key pair, Z85-encoded."""

    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        return f"CurveKeys(public={self.public.decode()!r}, secret=...)"


@dataclass(frozen=True, slots=True)
class CurveServer:
    """A listener's keys and the public keys that it lets in, each with its owner's name.

    A peer's HELLO must carry the name that its key belongs to.
    """

    keys: CurveKeys
    allowed: Mapping[bytes, str]


@dataclass(frozen=True, slots=True)
class CurveClient:
    """A connecting end's keys, and the one server key that it accepts."""

    keys: CurveKeys
    server_public: bytes


def generate_keypair(directory: Path, name: str) -> CurveKeys:
    """Make a key pair and write ``NAME.key`` and ``NAME.key_secret`` (mode 0600) in ``directory``.

    Raises:
        KeyFileError: A file of that name exists, or cannot be written.
    """
    public, secret = zmq.curve_keypair()
    keys = CurveKeys(public, secret)
    public_line = f'    public-key = "{public.decode()}"\n'
    secret_line = f'    secret-key = "{secret.decode()}"\n'
    _write(directory / f"{name}.key_secret", f"metadata\ncurve\n{public_line}{secret_line}")
    _write(directory / f"{name}.key", f"metadata\ncurve\n{public_line}")
    return keys


def load_keys(path: Path) -> CurveKeys:
    """Return the key pair in a ``.key_secret`` file.

    Raises:
        KeyFileError: Missing, unreadable, readable for others, or not acceptable.
    """
    try:
        mode = path.stat().st_mode
    except OSError as ex:
        raise KeyFileError(f"cannot read {path}: {ex.strerror}") from ex
    if stat.S_IMODE(mode) & 0o077:
        raise KeyFileError(f"{path} may be read by others; run: chmod 600 {path}")
    public, secret = _load(path)
    if secret is None:
        raise KeyFileError(f"{path} has no secret key; use the .key_secret file")
    if zmq.curve_public(secret) != public:
        raise KeyFileError(f"{path}: the public key does not belong to the secret key")
    return CurveKeys(public, _checked(path, secret))


def load_public_key(path: Path) -> bytes:
    """Return the public key in a ``.key`` file. Raises like ``load_keys``."""
    return _load(path)[0]


def load_allow_list(directory: Path) -> dict[bytes, str]:
    """Return public key to name for every ``NAME.key`` in ``directory``.

    Raises:
        KeyFileError: No directory that can be read, an unacceptable key, or one key under two
            names.
    """
    if not directory.is_dir():
        raise KeyFileError(f"{directory} is no directory of public keys")
    try:
        # Not glob: what it may not list is empty to it.
        paths = sorted(path for path in directory.iterdir() if path.suffix == ".key")
    except OSError as ex:
        raise KeyFileError(f"cannot list {directory}: {ex.strerror}") from ex
    allowed: dict[bytes, str] = {}
    for path in paths:
        key = load_public_key(path)
        if key in allowed:
            raise KeyFileError(f"{path} holds the same key as {allowed[key]}.key")
        allowed[key] = path.stem
    return allowed


def _write(path: Path, text: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(text)
    except OSError as ex:
        raise KeyFileError(f"cannot write {path}: {ex.strerror}") from ex


def _load(path: Path) -> tuple[bytes, bytes | None]:
    try:
        public, secret = zmq.auth.load_certificate(path)
    except (OSError, ValueError) as ex:
        raise KeyFileError(f"cannot read a key from {path}: {ex}") from ex
    return _checked(path, public), secret


def _checked(path: Path, key: bytes) -> bytes:
    if len(key) != _Z85_BYTES:
        raise KeyFileError(f"{path}: a key has {_Z85_BYTES} characters, not {len(key)}")
    if key in _DOCUMENTED:
        raise KeyFileError(f"{path} holds a key from libzmq's manual, which everybody knows")
    return key
