"""What ten times too many requests do to a fleet: to its operators, its memory, its goodput.

``python -m tests.benchmarks.bench_overload`` starts both daemons with the fake backend, and asks
all the time: first with as many clients as there are seats and places in the queue, then with ten
times as many, most of which are refused (429) and ask again when Retry-After says. Meanwhile it
asks what operators ask: of the gateway alone, and of the neuron over the gateway's link to it.
Gates at 10x: the p99 of either is at most 50 ms, the processes together grow by less than 64 MiB,
every answer is right or a polite refusal, and as many are served as at 1x, less 10 %.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import httpx
import psutil

from cortex_actors.cli.bench_health import percentile
from tests.process.crowd import Client, Told
from tests.process.serving_fleet import ServingFleet
from tests.soak.oracle import Question

SEATS, QUEUE, TOKENS = 2, 4, 40
PROBE_EVERY_S, WARM_UP_S = 0.02, 2.0
PROBES: Final = {"admin": "/admin/status", "link": "/debug/actors?neuron=local"}
CONTROL_BAR_S, GROWTH_BAR_MIB, GOODPUT_BAR = 0.05, 64.0, 0.9


@dataclass(frozen=True, slots=True)
class Phase:
    """What so many clients met. ``growth_mib`` is of all processes' resident memory together."""

    clients: int
    good_per_s: float
    refused_share: float
    wrong: dict[str, int]
    growth_mib: float
    p50_ms: dict[str, float]
    p99_ms: dict[str, float]


class Load:
    """So many clients, each asking again and again, and one prober, for some seconds."""

    def __init__(self, fleet: ServingFleet, clients: int) -> None:
        self._fleet = fleet
        self._url = fleet.fleet.urls["gateway"]
        self._clients = clients
        self._told: list[Told] = []
        self._numbers = itertools.count()
        self._over = threading.Event()
        self._probed: dict[str, list[float]] = {name: [] for name in PROBES}

    def phase(self, seconds: float) -> Phase:
        """Ask for so long, after a moment to settle, and count."""
        bodies = (self._ask,) * self._clients + (self._probe,)
        threads = [threading.Thread(target=body) for body in bodies]
        for thread in threads:
            thread.start()
        self._over.wait(WARM_UP_S)
        before, skipped = self._resident_mib(), len(self._told)
        for samples in self._probed.values():
            samples.clear()
        began = time.monotonic()
        self._over.wait(seconds)
        took, told = time.monotonic() - began, self._told[skipped:]
        growth = self._resident_mib() - before
        self._over.set()
        for thread in threads:
            thread.join()
        return self._summary(told, took, growth)

    def _summary(self, told: list[Told], took: float, growth: float) -> Phase:
        kinds = Counter("right" if each.right else "refused" * each.refused for each in told)
        wrong = Counter(each.code for each in told if not each.right and not each.refused)
        marks = [
            {name: percentile(each, at) * 1e3 for name, each in self._probed.items()}
            for at in (50, 99)
        ]
        share = kinds["refused"] / max(1, len(told))
        good = kinds["right"] / took
        return Phase(self._clients, good, share, wrong, growth, *marks)

    def _ask(self) -> None:
        client = Client(self._url)
        while not self._over.is_set():
            told = client.ask(Question(f"load {next(self._numbers)}", TOKENS, None))
            self._told.append(told)
            self._over.wait(told.retry_after_s)
        client.close()

    def _probe(self) -> None:
        with httpx.Client(base_url=self._url, timeout=10.0, trust_env=False) as http:
            while not self._over.wait(PROBE_EVERY_S):
                for name, path in PROBES.items():
                    asked = time.monotonic()
                    http.get(path).raise_for_status()
                    self._probed[name].append(time.monotonic() - asked)

    def _resident_mib(self) -> float:
        groups = self._fleet.fleet.processes().values()
        return sum(_resident(process) for group in groups for process in group) / (1 << 20)


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def measure(seconds: float) -> dict[str, Phase]:
    """Return what 1x and 10x met."""
    # Not below TMPDIR: an ipc path has at most 100 bytes.
    with tempfile.TemporaryDirectory(prefix="overload-", dir="/tmp") as directory:
        fleet = ServingFleet(Path(directory), {"max_running": SEATS, "max_queued": QUEUE})
        try:
            sizes = {"1x": SEATS + QUEUE, "10x": 10 * (SEATS + QUEUE)}
            return {name: Load(fleet, size).phase(seconds) for name, size in sizes.items()}
        finally:
            fleet.fleet.stop()


def verdicts(phases: dict[str, Phase]) -> list[tuple[bool, str]]:
    """Return each gate and whether it was passed."""
    one, ten = phases["1x"], phases["10x"]
    bar_ms, ratio = CONTROL_BAR_S * 1e3, ten.good_per_s / max(one.good_per_s, 1e-9)
    return [
        *(
            (
                ten.p99_ms[name] <= bar_ms,
                f"p99 of {path}: {ten.p99_ms[name]:.1f} ms (bar {bar_ms:g})",
            )
            for name, path in PROBES.items()
        ),
        (
            ten.growth_mib < GROWTH_BAR_MIB,
            f"memory grew by {ten.growth_mib:+.1f} MiB (bar {GROWTH_BAR_MIB:g})",
        ),
        (not ten.wrong, f"neither right nor refused: {ten.wrong or 'none'}"),
        (ratio >= GOODPUT_BAR, f"goodput at 10x / 1x: {ratio:.2f} (bar {GOODPUT_BAR:g})"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each phase")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    phases = measure(arguments.seconds)
    gates = verdicts(phases)
    if arguments.json:
        found = {name: asdict(phase) for name, phase in phases.items()}
        print(json.dumps({"phases": found, "passed": {text: good for good, text in gates}}))
        return 0 if all(good for good, _ in gates) else 1
    for name, phase in phases.items():
        p50 = ", ".join(f"{probe} {each:.1f} ms" for probe, each in phase.p50_ms.items())
        print(
            f"{name:4} {phase.clients:3} clients: {phase.good_per_s:6.1f} served/s,"
            f" {phase.refused_share:.1%} refused; control p50: {p50}"
        )
    for good, text in gates:
        print(f"{'pass' if good else 'MISS'}  {text}")
    return 0 if all(good for good, _ in gates) else 1


if __name__ == "__main__":
    sys.exit(main())
