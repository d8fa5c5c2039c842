"""Commits the planned faults, then lets the fleet rest until it serves again."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable

import httpx
import psutil

from tests.soak.faults import Strike
from tests.soak.fleet import SoakFleet
from tests.soak.history import Blow, Disturbance
from tests.soak.oracle import MODEL

GIVE_UP_S = 90.0
"""How long recovery is watched before the soak is given up."""
PROBE_PAUSE_S = 0.1


class Nemesis:
    """One thread's work: the caller's. ``probe`` says whether every door answers rightly now."""

    def __init__(self, fleet: SoakFleet, seed: int, probe: Callable[[], bool]) -> None:
        self.disturbances: list[Disturbance] = []
        self._fleet = fleet
        self._rng = random.Random(f"{seed}/victims")
        self._probe = probe
        self._pause = threading.Event()
        self._pauses: list[threading.Timer] = []
        self._http = httpx.Client(trust_env=False, timeout=6.0)

    def disturb(self, burst: tuple[Strike, ...]) -> bool:
        """Commit a burst of faults and rest; False when the fleet does not recover."""
        blows = [blow for strike in burst for blow in self._strike(strike)]
        for pause in self._pauses:
            pause.join()
        self._pauses.clear()
        if not blows:
            return True
        served = self.await_service(max(blow.judged for blow in blows) + GIVE_UP_S)
        self.disturbances.append(Disturbance(tuple(blows), served))
        self._pause.wait(self._rng.uniform(0.3, 3.0))
        return served is not None

    def await_service(self, until: float) -> float | None:
        """Return when every door answered, None if that takes too long."""
        while time.monotonic() < until:
            self._fleet.keep_up()
            if self._probe():
                return time.monotonic()
            self._pause.wait(PROBE_PAUSE_S)
        return None

    def can_arm(self) -> bool:
        """Whether this build's daemon passes armed faults on."""
        order = {"model": MODEL, "fault": "slow-step", "phase": "inside", "rank": 0}
        return self._arm(order)

    def close(self) -> None:
        """Let go of the sockets."""
        self._http.close()

    def _strike(self, strike: Strike) -> list[Blow]:
        """Commit one fault; nothing when its victim is not there now."""
        self._pause.wait(strike.after_s)
        fault, at = strike.fault, time.monotonic()
        if not (self._arm(strike.order(MODEL)) if fault.phases else self._signal(strike)):
            return []
        lasts_s = max(fault.judged_s, strike.seconds)
        kind = f"{fault.kind}@{strike.phase}" if strike.phase else fault.kind
        return [Blow(kind, fault.target, at, at + lasts_s)]

    def _signal(self, strike: Strike) -> bool:
        victims = self._fleet.processes().get(strike.fault.target)
        if not victims:
            return False
        victim = self._rng.choice(victims)
        kill = strike.fault.kind == "kill"
        if not _send(victim, signal.SIGKILL if kill else signal.SIGSTOP):
            return False
        if strike.fault.kind == "pause":
            self._pauses.append(threading.Timer(strike.seconds, _send, (victim, signal.SIGCONT)))
            self._pauses[-1].start()
        return True

    def _arm(self, order: dict[str, object]) -> bool:
        try:
            answer = self._http.post(f"{self._fleet.urls['neuron']}/chaos", json=order)
        except httpx.TransportError:
            return False
        return answer.status_code == 200


def _send(victim: psutil.Process, signum: signal.Signals) -> bool:
    """Send a signal; psutil makes sure that the pid is still the same process."""
    try:
        victim.send_signal(signum)
    except psutil.NoSuchProcess:
        return False
    return True
