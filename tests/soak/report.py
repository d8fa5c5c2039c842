"""A soak's outcome in a few lines. Pure."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tests.soak.checker import Violation
from tests.soak.history import End, Exchange, History

_DROPPED = re.compile(r"message_dropped .* reason=(\S+)")
SHOWN = 30


def dropped(log: Iterable[str]) -> Counter[str]:
    """Count the messages that the fence refused, by reason, in the log of a daemon's processes."""
    return Counter(found[1] for line in log if (found := _DROPPED.search(line)))


def report(
    seed: int, history: History, drops: Mapping[str, int], violations: Sequence[Violation]
) -> str:
    """Return what to print."""
    return "\n".join(_lines(seed, history, drops, violations))


def _lines(
    seed: int, history: History, drops: Mapping[str, int], violations: Sequence[Violation]
) -> Iterator[str]:
    outcomes = Counter(map(_outcome, history.exchanges))
    blows = [blow for disturbance in history.disturbances for blow in disturbance.blows]
    yield f"seed {seed}"
    yield f"requests {len(history.exchanges)}: {_counts(outcomes)}"
    yield f"faults {len(blows)}: {_counts(Counter(f'{b.kind} {b.target}' for b in blows))}"
    ends = [d for d in history.disturbances if d.served is not None]
    recoveries = [max(0.0, (d.served or 0.0) - d.rested) for d in ends]
    if recoveries:
        yield (
            f"recoveries {len(recoveries)}: median {statistics.median(recoveries):.2f} s,"
            f" max {max(recoveries):.2f} s"
        )
    waits = [e.ended - e.began for e in history.exchanges if e.ended is not None]
    if waits:
        yield f"longest request {max(waits):.1f} s"
    wrong = sum(violation.rule == "wrong text" for violation in violations)
    yield f"stale replies dropped {sum(drops.values())}: {_counts(drops)}; accepted: {wrong}"
    yield f"violations {len(violations)}"
    yield from (f"  {violation}" for violation in violations[:SHOWN])


def _outcome(exchange: Exchange) -> str:
    if not exchange.ends:
        return "no end"
    end = exchange.ends[0]
    return f"failed {exchange.detail}" if end is End.FAILED else end.value


def _counts(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {count}" for name, count in ordered) or "none"
