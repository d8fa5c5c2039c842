"""The wall clock jumps by an hour, forth and back, on every process: nothing changes."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from tests.eventually import eventually
from tests.process.serving_fleet import READY_S, ServingFleet
from tests.soak.history import End

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

HOUR_S = 3600
SILENCE_S = 7.0
"""Longer than any link may be silent before it is given up."""


class Clock:
    """The wall clock of the fleet that is started with ``environment``."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "wall_clock"
        self.set(0)
        folder = Path(__file__).parent / "shifted_clock"
        known = os.environ.get("PYTHONPATH", "")
        self.environment = {
            "CORTEX_WALL_CLOCK": str(self._file),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.getcwd(), known))),
        }

    def set(self, shift_s: int) -> None:
        """Shift it, seen from the real one."""
        new = self._file.with_suffix(".new")
        new.write_text(str(shift_s))
        new.replace(self._file)


@pytest.fixture
def directory() -> Iterator[Path]:
    # Not below TMPDIR: an ipc path has at most 100 bytes.
    with tempfile.TemporaryDirectory(prefix="clock-", dir="/tmp") as directory:
        yield Path(directory)


def pids(fleet: ServingFleet) -> dict[str, list[int]]:
    return {
        role: sorted(process.pid for process in group)
        for role, group in fleet.fleet.processes().items()
    }


def restarts(fleet: ServingFleet) -> int:
    """How often any actor of either daemon has been restarted."""
    tables = [
        httpx.get(f"{url}/debug/actors", trust_env=False).json()["actors"]
        for url in fleet.fleet.urls.values()
    ]
    return sum(row["restarts"] for table in tables for row in table)


def believed_shift_s(log: Path) -> float:
    """How far the latest time in a daemon's log is from ours."""
    stamps = [line[:19] for line in log.read_text().splitlines() if line[:2] == "20"]
    return datetime.strptime(stamps[-1], "%Y-%m-%d %H:%M:%S").timestamp() - time.time()


def test_streams_links_and_processes_do_not_notice(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(directory)
    for name, value in clock.environment.items():
        monkeypatch.setenv(name, value)
    fleet = ServingFleet(directory)
    try:
        before = pids(fleet), restarts(fleet)
        for shift_s in (HOUR_S, -HOUR_S):
            streams = [fleet.stream(door) for door in fleet.doors]
            eventually(lambda: all(s.reading.pieces >= 5 for s in streams), READY_S)  # noqa: B023
            clock.set(shift_s)
            for stream in streams:
                stream.join(READY_S)
                assert stream.reading.ends == [End.FINISHED]
                assert stream.reading.text == stream.question.answer()
            threading.Event().wait(SILENCE_S)
            assert all(fleet.answers(door) for door in fleet.doors)
            for name in fleet.fleet.pids():
                assert believed_shift_s(directory / f"{name}.log") == pytest.approx(shift_s, abs=60)
        assert (pids(fleet), restarts(fleet)) == before
    finally:
        codes = fleet.fleet.stop()
    assert set(codes.values()) == {0}
    assert fleet.fleet.falls == []
