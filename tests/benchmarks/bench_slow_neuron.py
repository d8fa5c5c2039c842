"""What one slow neuron costs those whose requests are served by others.

``python -m tests.benchmarks.bench_slow_neuron`` starts a gateway and four mock neurons that need
half a second for each answer and no processor, so that they take nothing from each other, and asks
all the time. In every other phase one neuron is stopped for three quarters of the time (SIGSTOP and
SIGCONT): everything about it is slow, and nothing dead. Gate: the p99 of what the others served
changes by less than 5 %.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx
import psutil

from cortex_actors.cli.bench.mock_script import SLOW
from cortex_actors.cli.bench.mock_stack import HOST, MockStack
from cortex_actors.cli.bench_health import percentile
from tests.eventually import eventually

NEURONS, ASKERS = 4, 24
PHASE_S, START_S = 10.0, 30.0
STOPPED_S, RUNNING_S = 1.5, 0.5
BAR: Final = 0.05


class Traffic:
    """So many askers for ``PHASE_S``; then who served each request, and in how many seconds."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=60.0, trust_env=False)
        self._numbers = itertools.count()
        self._seconds: dict[str, float] = {}

    def phase(self) -> dict[str, list[float]]:
        """Ask, and return the seconds by neuron."""
        self._seconds = {}
        until = time.monotonic() + PHASE_S
        askers = [threading.Thread(target=self._ask, args=(until,)) for _ in range(ASKERS)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        served: dict[str, list[float]] = {}
        for request_id, seconds in self._seconds.items():
            served.setdefault(self._served_by(request_id), []).append(seconds)
        return served

    def close(self) -> None:
        self._http.close()

    def _ask(self, until: float) -> None:
        body = {"model": SLOW, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        while (began := time.monotonic()) < until:
            request_id = f"bench-{next(self._numbers)}"
            headers = {"x-request-id": request_id}
            self._http.post("/v1/chat/completions", json=body, headers=headers).raise_for_status()
            self._seconds[request_id] = time.monotonic() - began

    def _served_by(self, request_id: str) -> str:
        steps = self._http.get(f"/admin/requests/{request_id}").json()["steps"]
        return str(next(step["neuron"] for step in steps if step["event"] == "completed"))


@contextmanager
def slowed_down(pid: int) -> Iterator[None]:
    """Stop the process again and again as long as the context lasts."""
    over = threading.Event()

    def body() -> None:
        process = psutil.Process(pid)
        while not over.is_set():
            process.suspend()
            over.wait(STOPPED_S)
            process.resume()
            over.wait(RUNNING_S)

    thread = threading.Thread(target=body)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def all_up(url: str) -> bool:
    rows = httpx.get(f"{url}/admin/status", trust_env=False).json()["neurons"]
    return len(rows) == NEURONS and all(row["state"] == "up" for row in rows)


def measure(rounds: int) -> tuple[list[float], list[float], list[float]]:
    """Return the seconds of the others' answers beside four well ones, and beside a slow one."""
    calm: list[float] = []
    disturbed: list[float] = []
    slow: list[float] = []
    with MockStack(workers=2, threads=64, neurons=NEURONS) as stack:
        url = f"http://{HOST}:{stack.gateway_port}"
        eventually(lambda: all_up(url), START_S, "all neurons are up")
        victim, process = next(iter(stack.neurons.items()))
        traffic = Traffic(url)
        for _ in range(rounds):
            found = traffic.phase()
            found.pop(victim, None)
            calm += itertools.chain(*found.values())
            with slowed_down(process.pid):
                found = traffic.phase()
            slow += found.pop(victim, [])
            disturbed += itertools.chain(*found.values())
        traffic.close()
    return calm, disturbed, slow


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    marks = {}
    names = ("others, all well", "others, one slow", "the slow one")
    for name, seconds in zip(names, measure(parser.parse_args().rounds), strict=True):
        marks[name] = [percentile(sorted(seconds), each) for each in (50, 99)]
        p50, p99 = (each * 1e3 for each in marks[name])
        print(f"{name:16}  p50 {p50:6.1f} ms  p99 {p99:6.1f} ms  of {len(seconds)}")
    change = marks[names[1]][1] / marks[names[0]][1] - 1
    print(f"{'pass' if change < BAR else 'MISS'}  p99 of the others {change:+.1%} (bar {BAR:.0%})")
    return 0 if change < BAR else 1


if __name__ == "__main__":
    sys.exit(main())
