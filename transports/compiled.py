"""Modules of this package that were compiled, and when they are used instead of their source.

``make compile`` has mypyc make extensions of ``MODULES``, in a folder of their own, and notes there
from which source. They come first on the package's path only while that is, byte for byte, the
source that is here now: after any change, and without a compiler, plain Python runs, with the same
behaviour. ``CORTEX_NO_EXTENSIONS=1`` asks for plain Python in any case.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import sysconfig
from pathlib import Path

#: What a message passes through, but for the loop itself, whose interpreter hears of signals, and
#: for msgspec's structs, which mypyc cannot compile.
MODULES = (
    "channel",
    "codec",
    "envelope",
    "fence",
    "framing",
    "listener",
    "liveness",
    "outbox",
    "poller",
    "reception",
    "sequence",
    "session",
    "timers",
    "turn",
    "zmq_link",
)
SHARED = "transports__mypyc"
"""The extension that has the code of all; those with the modules' names only point to it."""
SUFFIX = str(sysconfig.get_config_var("EXT_SUFFIX"))
_SOURCES = Path(__file__).parent
DIRECTORY = _SOURCES / "_compiled"
_NO_EXTENSIONS = "CORTEX_NO_EXTENSIONS"


def stamp() -> str:
    """Return what the sources are now, and what would run them."""
    digest = hashlib.sha256(SUFFIX.encode())
    for path in sorted(_SOURCES.rglob("*.py")):
        digest.update(path.relative_to(_SOURCES).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def prefer(path: list[str]) -> bool:
    """Put the compiled modules first on the package's ``path`` if they are of this source.

    Returns whether it has.
    """
    noted = DIRECTORY / "stamp"
    if os.environ.get(_NO_EXTENSIONS) or not noted.exists() or noted.read_text() != stamp():
        return False
    _load()
    path.insert(0, str(DIRECTORY))
    return True


def _load() -> None:
    """Have the extension that all of them need; it is in no folder of ``sys.path``."""
    where = DIRECTORY / f"{SHARED}{SUFFIX}"
    spec = importlib.util.spec_from_file_location(SHARED, where)
    if spec is None or spec.loader is None:
        raise ImportError(f"{where} is not an extension")
    sys.modules[SHARED] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[SHARED])
