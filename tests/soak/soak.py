"""One soak from start to verdict."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.living import command_line
from tests.soak.checker import CENSUS, Violation, check
from tests.soak.faults import plan
from tests.soak.fleet import SoakFleet
from tests.soak.generator import Client, Generator, Manner
from tests.soak.history import History, Remains, Size
from tests.soak.nemesis import Nemesis
from tests.soak.oracle import Question
from tests.soak.report import Drops, dropped, exported, report

START_S = 60.0
WARM_UP_S = 2.0
IDLE_S = 15.0
LEAVE_S = 10.0
CLIENTS = 8
STALLS_FROM_S = 300.0
_LEASES = re.compile(r"(leases|parked)=(\d+)")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What happened, and everything that must not have."""

    violations: tuple[Violation, ...]
    text: str


class Soak:
    """Runs ``seconds`` of faults on a fleet of its own in ``directory`` (a short path)."""

    def __init__(self, directory: Path, seconds: float, seed: int) -> None:
        self._seconds = seconds
        self._seed = seed
        self._fleet = SoakFleet(directory)
        self._nemesis = Nemesis(self._fleet, seed, self._serves)
        self._generator = Generator(self._doors, seed, CLIENTS)
        self._sizes: dict[int, Size] = {}
        self._exported: Counter[str] = Counter()

    def run(self) -> Verdict:
        """Start, disturb, check, stop."""
        try:
            history = self._disturb()
        finally:
            codes = self._fleet.stop()
            self._nemesis.close()
        remains = self._left_behind(history.remains, codes)
        history = History(history.exchanges, history.disturbances, history.falls, remains)
        violations = check(history)
        drops = Drops(self._logged(), self._exported)
        return Verdict(violations, report(self._seed, history, drops, violations))

    @property
    def _doors(self) -> dict[str, str]:
        return {door: f"{url}/v1/chat/completions" for door, url in self._fleet.urls.items()}

    def _disturb(self) -> History:
        started = self._nemesis.await_service(time.monotonic() + START_S)
        if started is None:
            raise AssertionError(f"the fleet does not start; see {self._fleet.directory}")
        self._generator.start()
        threading.Event().wait(WARM_UP_S)
        self._measure()
        armed = self._nemesis.can_arm()
        if not armed:
            print("armed faults are not available here", flush=True)
        bursts = plan(self._seed, armed=armed, stalls=self._seconds >= STALLS_FROM_S)
        until = time.monotonic() + self._seconds
        well = True
        while well and time.monotonic() < until:
            well = self._nemesis.disturb(next(bursts))
            if well:
                self._measure()
        exchanges = self._generator.stop()
        remains = self._at_rest() if well else Remains(census=self._fleet.census())
        return History(
            exchanges, tuple(self._nemesis.disturbances), tuple(self._fleet.falls), remains
        )

    def _at_rest(self) -> Remains:
        """Look at a fleet that serves, once nobody asks it anything any more."""
        busy, census = self._idle(), self._settled()
        for url in self._fleet.metrics_urls:
            self._exported += exported(httpx.get(url, timeout=10.0, trust_env=False).text)
        return Remains(busy=busy, census=census, sizes=self._growth())

    def _serves(self) -> bool:
        """Ask every door one short question."""
        client = Client(self._doors)
        try:
            question = Question(f"probe {time.monotonic()}", 2, None)
            return all(
                client.ask(question, Manner(door, streamed=False)).text == question.answer()
                for door in self._fleet.urls
            )
        finally:
            client.close()

    def _measure(self) -> None:
        """Note the size of each daemon that has not been measured since its start."""
        for name, pid in self._fleet.pids().items():
            if pid not in self._sizes:
                self._sizes[pid] = self._fleet.size(name)

    def _growth(self) -> dict[str, tuple[Size, Size]]:
        return {
            name: (self._sizes.get(pid, now), now)
            for name, pid in self._fleet.pids().items()
            for now in [self._fleet.size(name)]
        }

    def _idle(self) -> dict[str, int]:
        """Wait for all that was granted to be given back; return what was not."""
        busy: dict[str, int] = {}

        def quiet() -> bool:
            busy.clear()
            busy.update(self._busy())
            return not any(busy.values())

        _within(IDLE_S, quiet)
        return busy

    def _busy(self) -> dict[str, int]:
        figures: dict[str, int] = {}
        with httpx.Client(trust_env=False, timeout=10.0) as http:
            for door, url in self._fleet.urls.items():
                for actor in http.get(f"{url}/debug/actors").json()["actors"]:
                    if actor["name"] == "router":
                        found = _LEASES.findall(actor["detail"])
                        figures |= {f"{door} {name}": int(count) for name, count in found}
            for model in http.get(f"{self._fleet.urls['neuron']}/models").json()["models"]:
                figures |= {name: int(model[name]) for name in ("running", "waiting")}
        return figures

    def _settled(self) -> dict[str, int]:
        """The census, once it is as it should be or has had time to get there."""
        _within(IDLE_S, lambda: self._fleet.census() == CENSUS)
        return self._fleet.census()

    def _left_behind(self, remains: Remains, codes: dict[str, int | None]) -> Remains:
        _within(LEAVE_S, lambda: not self._fleet.orphans())
        orphans = self._fleet.orphans()
        names = tuple(" ".join(command_line(process)) for process in orphans)
        for process in orphans:
            process.kill()
        return Remains(
            remains.busy, remains.census, remains.sizes, codes, names, self._fleet.ipc_files()
        )

    def _logged(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for log in self._fleet.directory.glob("*.log"):
            with log.open(errors="replace") as lines:
                counts += dropped(lines)
        return counts


def _within(seconds: float, holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + seconds
    pause = threading.Event()
    while not holds():
        if time.monotonic() > until:
            return False
        pause.wait(0.1)
    return True
