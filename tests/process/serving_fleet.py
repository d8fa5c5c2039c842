"""A fleet of both real daemons with the fake backend, and streams that can be watched."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import psutil

from tests.eventually import eventually
from tests.soak.checker import CENSUS
from tests.soak.fleet import SoakFleet
from tests.soak.generator import Client, Manner
from tests.soak.oracle import Question
from tests.soak.reading import Reading

READY_S = 60.0
LONG, SHORT = 300, 8


class Stream(threading.Thread):
    """One stream through a door; ``reading`` grows while it runs."""

    def __init__(self, doors: dict[str, str], door: str, number: int, tokens: int) -> None:
        super().__init__(name=f"stream-{number}", daemon=True)
        self.question = Question(f"stream {number}", tokens, None)
        self.reading = Reading()
        self._client = Client(doors)
        self._manner = Manner(door, streamed=True)
        self.start()

    def run(self) -> None:
        self._client.ask(self.question, self._manner, self.reading)
        self._client.close()


class ServingFleet:
    """It serves from the start; its files are in ``directory`` (a short path)."""

    def __init__(
        self,
        directory: Path,
        limits: Mapping[str, int] | None = None,
        api_keys: Path | None = None,
    ) -> None:
        self.fleet = SoakFleet(directory, limits, api_keys)
        self.doors = {name: f"{url}/v1/chat/completions" for name, url in self.fleet.urls.items()}
        self._numbers = iter(range(10_000))
        self.await_service()

    def stream(self, door: str, tokens: int = LONG) -> Stream:
        return Stream(self.doors, door, next(self._numbers), tokens)

    def answers(self, door: str) -> bool:
        """Whether the right answer comes through this door now."""
        client = Client(self.doors)
        question = Question(f"probe {next(self._numbers)}", SHORT, None)
        try:
            return client.ask(question, Manner(door, streamed=False)).text == question.answer()
        finally:
            client.close()

    def await_service(self) -> None:
        """Keep the daemons running until both doors answer rightly and every process is there."""

        def serves() -> bool:
            self.fleet.keep_up()
            return all(self.answers(door) for door in self.doors)

        eventually(serves, READY_S)
        eventually(lambda: self.fleet.census() == CENSUS, READY_S)

    def victim(self, role: str) -> psutil.Process:
        (process,) = self.fleet.processes()[role]
        return process
