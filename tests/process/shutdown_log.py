"""In which order a daemon that is told to stop takes itself down, by its own log."""

from __future__ import annotations

import re
from pathlib import Path

_STAGE = re.compile(
    r"cortex\.daemon (?P<daemon>stopping|stopped)"
    r"|event=child_exited name=(?!fleet )\S+ child=(?P<child>\S+) reason=shutdown"
)
ORDER = {
    "neurond": (
        *("stopping", "activation", "front_end", "gateway_links", "front_desk"),
        *("operations", "router", "model/soak/epoch", "model/soak/rank1", "model/soak/rank0"),
        *("model/soak/group", "model/soak/engine", "model/soak", "models/loaded", "models"),
        *("fork_server", "children", "devices", "reporter"),
        *("publisher/gateways", "publisher/front_ends", "stopped"),
    ),
    "cortexd": (
        *("stopping", "front_end", "front_desk", "operations", "router"),
        *("fleet", "catalogue", "placement", "publisher", "stopped"),
    ),
}
"""Whoever refers to another ends before it, the processes of a model before their links.

A gateway's connection to a neuron is left out: it may have ended with the neuron.
"""


def stages(log: Path) -> tuple[str, ...]:
    """The stages of the last stop in this log, in order."""
    found = [
        match["daemon"] or match["child"]
        for line in log.read_text().splitlines()
        if (match := _STAGE.search(line))
    ]
    last = len(found) - 1 - found[::-1].index("stopping")
    return tuple(found[last:])
