"""A soak's outcome in a few lines. Pure."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.soak.checker import Violation
from tests.soak.history import End, Exchange, History

_DROPPED = re.compile(r"message_dropped .* reason=(\S+)")
_EXPORTED = re.compile(r'(?m)^\w+_link_drops_total\{reason="(\w+)",role="\w+"\} (\S+)$')
SHOWN = 30


def dropped(log: Iterable[str]) -> Counter[str]:
    """Count the messages that the fence refused, by reason, in the log of a daemon's processes."""
    return Counter(found[1] for line in log if (found := _DROPPED.search(line)))


def exported(metrics: str) -> Counter[str]:
    """Count the refused messages that a daemon's metrics show, by reason."""
    counts: Counter[str] = Counter()
    for reason, count in _EXPORTED.findall(metrics):
        counts[reason] += int(float(count))
    return +counts


@dataclass(frozen=True, slots=True)
class Drops:
    """Refused messages by reason: of all processes, and as the daemons' last lives export them."""

    logged: Mapping[str, int]
    exported: Mapping[str, int]


def report(seed: int, history: History, drops: Drops, violations: Sequence[Violation]) -> str:
    """Return what to print."""
    blows = [blow for disturbance in history.disturbances for blow in disturbance.blows]
    wrong = sum(violation.rule == "wrong text" for violation in violations)
    lines = (
        f"seed {seed}",
        f"requests {len(history.exchanges)}: {_counts(map(_outcome, history.exchanges))}",
        f"faults {len(blows)}: {_counts(f'{blow.kind} {blow.target}' for blow in blows)}",
        *_times(history),
        f"stale replies accepted {wrong}, dropped {sum(drops.logged.values())}:"
        f" {_counts(drops.logged)}; in the daemons' metrics: {_counts(drops.exported)}",
        f"violations {len(violations)}",
        *(f"  {violation}" for violation in violations[:SHOWN]),
    )
    return "\n".join(lines)


def _times(history: History) -> Iterator[str]:
    recoveries = [
        max(0.0, disturbance.served - disturbance.rested)
        for disturbance in history.disturbances
        if disturbance.served is not None
    ]
    if recoveries:
        median, most = statistics.median(recoveries), max(recoveries)
        yield f"recoveries {len(recoveries)}: median {median:.2f} s, max {most:.2f} s"
    waits = [e.ended - e.began for e in history.exchanges if e.ended is not None]
    if waits:
        yield f"longest request {max(waits):.1f} s"


def _outcome(exchange: Exchange) -> str:
    if not exchange.ends:
        return "no end"
    end = exchange.ends[0]
    return f"failed {exchange.detail}" if end is End.FAILED else end.value


def _counts(found: Iterable[str] | Mapping[str, int]) -> str:
    ordered = sorted(Counter(found).items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {count}" for name, count in ordered) or "none"
