"""How soon a dead neuron's traffic goes elsewhere, and whether anybody notices.

``python -m tests.benchmarks.bench_fleet`` starts a gateway and two neurons that serve the same
model, sends short requests all the time, and then strikes one neuron: kill -9 of its daemon or
SIGSTOP of all its processes (with SmolLM2), or a cut of its cable (in a network namespace, with the
fake backend; left out where there are none). The time is from the blow until the last request that
failed or took more than a second was over. Gates: 3 s after kill -9, 12 s after the others, and no
request fails.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import psutil

from tests.e2e.wide_fleet import WideFleet, entry
from tests.partition.divided_fleet import NEURONS, DividedFleet
from tests.partition.outpost import Cut, obstacle
from tests.soak import oracle

MODEL: Final = "first"
ASKERS, PROMPT_S = 4, 1.0
BEFORE_S, AFTER_S = 5.0, 25.0


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: when it was sent (monotonic), how long it took, and its status."""

    at: float
    took_s: float
    status: int


class Traffic:
    """So many askers, each one request after another, until stopped."""

    def __init__(self, url: str, model: str) -> None:
        self._url = url
        self._model = model
        self._over = threading.Event()
        self.asked: list[Asked] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(ASKERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": "Hi"}],
            "max_tokens": 4,
        }
        with httpx.Client(base_url=self._url, timeout=60.0, trust_env=False) as client:
            while not self._over.is_set():
                at = time.monotonic()
                status = client.post("/v1/chat/completions", json=body).status_code
                self.asked.append(Asked(at, time.monotonic() - at, status))


@dataclass(frozen=True, slots=True)
class Scene:
    """A fleet that serves, and how to strike one of its neurons."""

    url: str
    model: str
    strike: Callable[[], None]


@contextmanager
def smollm2(cache_dir: Path) -> Iterator[WideFleet]:
    models = [entry(MODEL, "int4", 500)]
    with tempfile.TemporaryDirectory(prefix="cortex-") as directory:
        fleet = WideFleet(Path(directory), cache_dir, {"left": 800, "right": 800}, models, (MODEL,))
        try:
            fleet.start()
            yield fleet
        finally:
            fleet.stop()


@contextmanager
def killed(cache_dir: Path) -> Iterator[Scene]:
    with smollm2(cache_dir) as fleet:
        yield Scene(fleet.url, MODEL, fleet.neurons["left"].kill)


@contextmanager
def stopped(cache_dir: Path) -> Iterator[Scene]:
    with smollm2(cache_dir) as fleet:
        family = fleet.neurons["left"].family()
        try:
            yield Scene(fleet.url, MODEL, lambda: _signal(family, signal.SIGSTOP))
        finally:
            _signal(family, signal.SIGCONT)


@contextmanager
def cut_off(_: Path) -> Iterator[Scene]:
    # Not below TMPDIR: an ipc path has at most 100 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="cut-", dir="/tmp") as directory,
        DividedFleet(Path(directory)) as fleet,
    ):
        outpost = fleet.outposts[NEURONS[0]]
        yield Scene(fleet.url, oracle.MODEL, lambda: outpost.cut(Cut.BOTH))


BARS_S: Final = {"kill -9": (killed, 3.0), "SIGSTOP": (stopped, 12.0), "partition": (cut_off, 12.0)}


def measure(scene: Scene) -> tuple[float, int, int]:
    """Return seconds until all is well again, failures, and requests in all."""
    traffic = Traffic(scene.url, scene.model)
    traffic.start()
    time.sleep(BEFORE_S)
    struck = time.monotonic()
    scene.strike()
    time.sleep(AFTER_S)
    traffic.stop()
    bad = [each for each in traffic.asked if each.status != httpx.codes.OK]
    slow = [each for each in traffic.asked if each.took_s > PROMPT_S]
    ends = [each.at + each.took_s for each in (*bad, *slow)]
    last = max((end for end in ends if end > struck), default=struck)
    return last - struck, len(bad), len(traffic.asked)


def _signal(processes: list[psutil.Process], signum: signal.Signals) -> None:
    for process in processes:
        if process.is_running():
            process.send_signal(signum)


def run(cache_dir: Path) -> bool:
    good = True
    for how, (scenery, bar_s) in BARS_S.items():
        reason = obstacle() if scenery is cut_off else ""
        if reason:
            print(f"skip  {how:9} {reason}")
            continue
        with scenery(cache_dir) as scene:
            seconds, failures, count = measure(scene)
        passed = seconds <= bar_s and not failures
        good &= passed
        verdict = "pass" if passed else "MISS"
        print(
            f"{verdict}  {how:9} all prompt again after {seconds:5.2f} s (bar {bar_s:g});"
            f" {failures} of {count} requests failed",
            flush=True,
        )
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache-dir", type=Path, metavar="DIR", help="of converted models")
    cache_dir = parser.parse_args().cache_dir
    with tempfile.TemporaryDirectory(prefix="bench-fleet-") as directory:
        return 0 if run(cache_dir or Path(directory)) else 1


if __name__ == "__main__":
    sys.exit(main())
