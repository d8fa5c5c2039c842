"""In which order a daemon that is told to stop takes itself down, by its own log."""

from __future__ import annotations

import re
from pathlib import Path

_STAGE = re.compile(
    r"cortex\.daemon event=stop stage=(?P<daemon>\S+)"
    r"|event=child_exited name=(?!fleet )\S+ child=(?P<child>\S+) reason=shutdown"
)
_LAST = ("processes_gone", "sockets_closed", "stopped")
ORDER = {
    "neurond": (
        *("draining", "activation", "front_end", "gateway_links", "front_desk"),
        *("operations", "router", "model/soak/epoch", "model/soak/rank1", "model/soak/rank0"),
        *("model/soak/group", "model/soak/engine", "model/soak", "models/loaded", "models"),
        *("fork_server", "children", "devices", "reporter"),
        *("publisher/gateways", "publisher/front_ends", *_LAST),
    ),
    "cortexd": (
        *("draining", "front_end", "front_desk", "operations", "router"),
        *("fleet", "catalogue", "placement", "publisher", *_LAST),
    ),
}
"""Whoever refers to another ends before it, the processes of a model before their links.

A gateway's connection to a neuron is left out: it may have ended with the neuron.
"""


LATE = re.compile(r"child_abandoned|unkillable|(?:not|never) end\w* within|not every")
"""What a daemon says when somebody has not ended by the deadline that is set for it."""


def last_stop(log: Path) -> list[str]:
    """The lines of this log since the daemon was last told to stop; none if it never was."""
    before, first, after = log.read_text().rpartition("event=stop stage=draining")
    return [before.rpartition("\n")[2] + first, *after.splitlines()[1:]] if first else []


def stages(log: Path) -> tuple[str, ...]:
    """The stages of the last stop in this log, in order."""
    matches = map(_STAGE.search, last_stop(log))
    return tuple(match["daemon"] or match["child"] for match in matches if match)


def place(log: Path, pattern: str) -> int:
    """On which line of the last stop this is said first.

    Raises:
        StopIteration: It is not.
    """
    return next(at for at, line in enumerate(last_stop(log)) if re.search(pattern, line))
