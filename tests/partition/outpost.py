"""A network namespace joined to this one by two virtual cables, one of which can be cut.

The namespace has no name: it lives as long as the processes and connections in it, and the cables
with it, so that nothing stays behind however a test run ends.
"""

from __future__ import annotations

import os
import subprocess
from enum import Enum
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.eventually import eventually

_NETWORK: Final = IPv4Address("198.18.0.0")
"""Set apart for measurements (RFC 2544): it leads nowhere."""
_PAIRS: Final = 1 << 14
_CUT, _SIDE = "cut", "side"
_NOBODY: Final = "02:00:00:00:00:01"
_STOP_S: Final = 5.0


class Cut(Enum):
    """Which way the cable is dead. Frames are lost without a word, as behind a broken switch."""

    BOTH = "both ways"
    TO_IT = "to the outpost"
    FROM_IT = "from the outpost"


class Outpost:
    """A context. ``number`` (0 to 3) tells the outposts of one test run apart.

    ``address`` is its end of the cable that can be cut, ``side_door`` that of the one that cannot.
    """

    def __init__(self, number: int) -> None:
        self._place = (os.getpid() * 8 + number * 2) % _PAIRS
        self._here, self.address = _ends(self._place)
        self.side_door = _ends(self._place + 1)[1]
        self._holder: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Make the namespace and both cables.

        Raises:
            OSError: A program is missing.
            subprocess.CalledProcessError: We may not.
        """
        # It ends when its input does, at the latest when we do.
        self._holder = subprocess.Popen(
            ("unshare", "--net", "cat"), stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        try:
            eventually(self._is_apart, _STOP_S, "there is a namespace")
            self._lay(_CUT, self._place)
            self._lay(_SIDE, self._place + 1)
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()

    def command(self, *argv: str) -> tuple[str, ...]:
        """Return the command that runs ``argv`` in the namespace, as the same process."""
        return ("nsenter", f"--net=/proc/{self._pid}/ns/net", *argv)

    def cut(self, how: Cut) -> None:
        """From now on lose everything that goes that way."""
        if how is not Cut.FROM_IT:
            _run(*_misdirect(self.address, _device(self._place)))
        if how is not Cut.TO_IT:
            _run(*self.command(*_misdirect(self._here, _CUT)))

    def heal(self) -> None:
        """Mend the cable."""
        flush = ("ip", "neigh", "flush", "nud", "permanent", "dev")
        _run(*flush, _device(self._place))
        _run(*self.command(*flush, _CUT))

    @property
    def _pid(self) -> int:
        assert self._holder is not None
        return self._holder.pid

    def _is_apart(self) -> bool:
        namespaces = {Path(f"/proc/{who}/ns/net").readlink() for who in ("self", self._pid)}
        return len(namespaces) > 1

    def _lay(self, inside: str, place: int) -> None:
        device, (here, there) = _device(place), _ends(place)
        peer = ("peer", "name", inside, "netns", str(self._pid))
        _run("ip", "link", "add", device, "type", "veth", *peer)
        _run("ip", "addr", "add", f"{here}/30", "dev", device)
        _run("ip", "link", "set", device, "up")
        _run(*self.command("ip", "addr", "add", f"{there}/30", "dev", inside))
        _run(*self.command("ip", "link", "set", inside, "up"))

    def _leave(self) -> None:
        assert self._holder is not None
        self._holder.communicate(timeout=_STOP_S)
        # Whoever is still in there keeps the namespace, and no cable.
        for place in (self._place, self._place + 1):
            argv = ("ip", "link", "del", _device(place))
            subprocess.run(argv, check=False, capture_output=True)


def obstacle() -> str:
    """Why this host lets us have no outposts; empty if it does."""
    try:
        with Outpost(0) as outpost:
            outpost.cut(Cut.BOTH)
            outpost.heal()
    except subprocess.CalledProcessError as error:
        return f"{' '.join(error.cmd[:3])}: {error.stderr.decode(errors='replace').strip()}"
    except (OSError, AssertionError) as error:
        return str(error)
    return ""


def _ends(place: int) -> tuple[str, str]:
    """Our address and the outpost's, of a network of two."""
    first = _NETWORK + 4 * place
    return str(first + 1), str(first + 2)


def _device(place: int) -> str:
    return f"cx{place}"


def _misdirect(address: str, device: str) -> tuple[str, ...]:
    """Have what is meant for ``address`` sent to a card that nobody has."""
    entry = ("lladdr", _NOBODY, "nud", "permanent")
    return ("ip", "neigh", "replace", address, "dev", device, *entry)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)
