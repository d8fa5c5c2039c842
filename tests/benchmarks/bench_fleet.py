"""How soon a dead neuron's traffic goes elsewhere, and whether anybody notices.

``python -m tests.benchmarks.bench_fleet --cache-dir DIR`` starts a gateway and two neurons that
both serve SmolLM2, sends short requests all the time, and then kills one neuron (kill -9 of its
daemon) or stops it (SIGSTOP of all its processes). The time is from the signal until the last
request that failed or took more than a second was over. Gates: 3 s after kill -9, 12 s after
SIGSTOP, and no request fails.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import psutil

from tests.e2e.wide_fleet import WideFleet, entry

MODEL: Final = "first"
ASKERS, PROMPT_S = 4, 1.0
BEFORE_S, AFTER_S = 5.0, 25.0
BARS_S: Final = {"kill -9": 3.0, "SIGSTOP": 12.0}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: when it was sent (monotonic), how long it took, and its status."""

    at: float
    took_s: float
    status: int


class Traffic:
    """So many askers, each one request after another, until stopped."""

    def __init__(self, url: str) -> None:
        self._url = url
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
            "model": MODEL,
            "messages": [{"role": "user", "content": "Hi"}],
            "max_tokens": 4,
        }
        with httpx.Client(base_url=self._url, timeout=60.0, trust_env=False) as client:
            while not self._over.is_set():
                at = time.monotonic()
                status = client.post("/v1/chat/completions", json=body).status_code
                self.asked.append(Asked(at, time.monotonic() - at, status))


def measure(cache_dir: Path, how: str) -> tuple[float, int, int]:
    """Return seconds until all is well again, failures, and requests in all."""
    models = [entry(MODEL, "int4", 500)]
    with tempfile.TemporaryDirectory(prefix="cortex-") as directory:
        fleet = WideFleet(Path(directory), cache_dir, {"left": 800, "right": 800}, models, (MODEL,))
        fleet.start()
        traffic = Traffic(fleet.url)
        traffic.start()
        time.sleep(BEFORE_S)
        victim = fleet.neurons["left"]
        family = victim.family()
        struck = time.monotonic()
        if how == "kill -9":
            victim.kill()
        else:
            _signal(family, signal.SIGSTOP)
        time.sleep(AFTER_S)
        traffic.stop()
        if how != "kill -9":
            _signal(family, signal.SIGCONT)
        fleet.stop()
    asked = sorted(traffic.asked, key=lambda each: each.at)
    slow = [each for each in asked if each.took_s > PROMPT_S or each.status != httpx.codes.OK]
    late = [each.at + each.took_s for each in slow if each.at + each.took_s > struck]
    failures = sum(each.status != httpx.codes.OK for each in asked)
    return max(late, default=struck) - struck, failures, len(asked)


def _signal(processes: list[psutil.Process], signum: signal.Signals) -> None:
    for process in processes:
        if process.is_running():
            process.send_signal(signum)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache-dir", type=Path, required=True, metavar="DIR")
    cache_dir = parser.parse_args().cache_dir
    good = True
    for how, bar_s in BARS_S.items():
        seconds, failures, count = measure(cache_dir, how)
        passed = seconds <= bar_s and not failures
        good &= passed
        verdict = "pass" if passed else "MISS"
        print(
            f"{verdict}  {how:8} all prompt again after {seconds:5.2f} s (bar {bar_s:g});"
            f" {failures} of {count} requests failed"
        )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
