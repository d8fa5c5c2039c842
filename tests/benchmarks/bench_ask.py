"""What supervision costs: ask and tell of a SupervisedActor against pykka's own, in the same run.

Run it as ``python -m tests.benchmarks.bench_ask``. Latencies here are bimodal (a hand-off between
threads is far cheaper on one core), so it reports ratios, pinned to one core and free.
"""

from __future__ import annotations

import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pykka

from cortex_actors.kit.actor import SupervisedActor
from cortex_actors.kit.handlers import handles

ROUNDS = 9
ASKS = 1500
TELLS = 20_000
MAX_ASK_RATIO = 1.5


@dataclass(frozen=True, slots=True)
class Ping:
    """Answered with itself."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Sets the event: everything told before has been handled."""

    event: threading.Event


class PlainActor(pykka.ThreadingActor):
    """Pykka's own way."""

    use_daemon_thread = True

    def on_receive(self, message: Any) -> Any:
        """Answer a ping."""
        if isinstance(message, Finish):
            message.event.set()
        return message


class KitActor(SupervisedActor):
    """The same with the kit."""

    mailbox_limit = TELLS + 1

    @handles(Ping)
    def ping(self, ping: Ping) -> Ping:
        """Answer a ping."""
        return ping

    @handles(Finish)
    def finish(self, finish: Finish) -> None:
        """Say that everything has been handled."""
        finish.event.set()


def ask_us(ask: Callable[[], Any]) -> float:
    """Return the microseconds of one ask."""
    begin = time.perf_counter()
    for _ in range(ASKS):
        ask()
    return (time.perf_counter() - begin) / ASKS * 1e6


def tells_per_s(tell: Callable[[Any], None]) -> float:
    """Return how many messages a second are told and handled."""
    event = threading.Event()
    ping = Ping()
    begin = time.perf_counter()
    for _ in range(TELLS):
        tell(ping)
    tell(Finish(event))
    event.wait(60)
    return TELLS / (time.perf_counter() - begin)


def measure() -> float:
    """Print one table and return the ratio of asks."""
    plain, kit = PlainActor.start(), KitActor.start()
    # Alternating, so that both see the same machine.
    rows = [
        (
            ask_us(lambda: plain.ask(Ping(), timeout=5)),
            ask_us(lambda: kit.ask(Ping(), 5)),
            tells_per_s(plain.tell),
            tells_per_s(kit.tell),
        )
        for _ in range(ROUNDS)
    ]
    plain.stop()
    kit.stop()
    columns: list[list[float]] = [list(column) for column in zip(*rows, strict=True)]
    plain_ask, kit_ask, plain_tell, kit_tell = map(statistics.median, columns)
    asks, tells = kit_ask / plain_ask, kit_tell / plain_tell
    print(f"  ask   pykka {plain_ask:7.1f} us   kit {kit_ask:7.1f} us   ratio {asks:.2f}")
    print(
        f"  tell  pykka {plain_tell / 1e6:7.2f} M/s  kit {kit_tell / 1e6:7.2f} M/s  x {tells:.2f}"
    )
    return asks


def main() -> int:
    """Measure free and pinned; 1 if an ask costs more than it may."""
    cores = os.sched_getaffinity(0)
    print(f"python {sys.version.split()[0]}, {len(cores)} cores, medians of {ROUNDS}")
    print("free")
    free = measure()
    os.sched_setaffinity(0, {min(cores)})
    print("pinned to one core")
    pinned = measure()
    os.sched_setaffinity(0, cores)
    return int(max(free, pinned) > MAX_ASK_RATIO)


if __name__ == "__main__":
    sys.exit(main())
