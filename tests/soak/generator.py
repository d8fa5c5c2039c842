"""The traffic: threads that ask, read, and sometimes leave."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import httpx

from tests.soak.checker import DEADLINE_S
from tests.soak.history import Exchange
from tests.soak.oracle import Question
from tests.soak.reading import Reading

PAUSE_S = 0.25
PATIENCE_S = DEADLINE_S + 10.0


@dataclass(frozen=True, slots=True)
class Manner:
    """How a question is asked. ``leaves_after`` counts a stream's pieces, or tenths of a second."""

    door: str
    streamed: bool
    leaves_after: int | None = None

    @classmethod
    def drawn(cls, rng: random.Random) -> Manner:
        """Draw one: mostly the gateway, mostly streams, one in seven leaves."""
        door = "neuron" if rng.random() < 0.2 else "gateway"
        leaves_after = rng.randrange(1, 12) if rng.random() < 0.15 else None
        return cls(door, rng.random() < 0.7, leaves_after)


class Client:
    """Asks one question at a time, each over a connection of its own. One thread."""

    def __init__(self, doors: Mapping[str, str]) -> None:
        self._doors = doors
        limits = httpx.Limits(max_keepalive_connections=0)
        # There is no TLS here, and reading all certificates takes longer than a request.
        self._http = httpx.Client(limits=limits, trust_env=False, verify=False)

    def ask(self, question: Question, manner: Manner, reading: Reading | None = None) -> Reading:
        """Return all that came, however it ended; ``reading`` is filled while it comes."""
        reading = Reading() if reading is None else reading
        try:
            if manner.streamed:
                self._stream(question, manner, reading)
            else:
                self._whole(question, manner, reading)
        except httpx.ReadTimeout:
            # Without leave to leave, nobody has ended it: the checker will say so.
            if manner.leaves_after is not None:
                reading.left()
        except httpx.TransportError as error:
            reading.cut(f"{type(error).__name__} {error}")
        return reading

    def close(self) -> None:
        """Let go of the sockets."""
        self._http.close()

    def _stream(self, question: Question, manner: Manner, reading: Reading) -> None:
        url = self._doors[manner.door]
        body = question.body(stream=True)
        timeout = httpx.Timeout(PATIENCE_S, connect=5.0)
        with self._http.stream("POST", url, json=body, timeout=timeout) as answer:
            if answer.status_code != 200:
                answer.read()
                reading.error(_error(answer))
                return
            for line in answer.iter_lines():
                reading.line(line)
                if not reading.ends and _has_enough(manner, reading):
                    reading.left()
                    return
        if not reading.ends:
            reading.cut("the stream ended without a word")

    def _whole(self, question: Question, manner: Manner, reading: Reading) -> None:
        url = self._doors[manner.door]
        read_s = PATIENCE_S if manner.leaves_after is None else manner.leaves_after / 10
        timeout = httpx.Timeout(read_s, connect=5.0)
        answer = self._http.post(url, json=question.body(stream=False), timeout=timeout)
        if answer.status_code == 200:
            reading.whole(answer.json())
        else:
            reading.error(_error(answer))


def _has_enough(manner: Manner, reading: Reading) -> bool:
    return manner.leaves_after is not None and reading.pieces >= manner.leaves_after


def _error(answer: httpx.Response) -> dict[str, Any]:
    try:
        body: dict[str, Any] = answer.json()
    except ValueError:
        body = {"error": {"code": f"no JSON, status {answer.status_code}"}}
    return body


class Generator:
    """Several clients at once, all drawn from one seed. ``doors`` maps names to URLs."""

    def __init__(self, doors: Mapping[str, str], seed: int, clients: int) -> None:
        self._doors = doors
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._exchanges: dict[int, Exchange] = {}
        self._threads = [
            threading.Thread(
                target=self._run,
                args=(index, random.Random(f"{seed}/client/{index}")),
                name=f"client-{index}",
                daemon=True,
            )
            for index in range(clients)
        ]

    def start(self) -> None:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> tuple[Exchange, ...]:
        """Ask nothing more, wait for what runs, and return everything."""
        self._stop.set()
        until = time.monotonic() + PATIENCE_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        with self._lock:
            return tuple(self._exchanges.values())

    def _run(self, index: int, rng: random.Random) -> None:
        client = Client(self._doors)
        for number in itertools.count(index * 1_000_000):
            if self._stop.is_set():
                break
            exchange = self._exchange(client, number, rng)
            self._stop.wait(PAUSE_S if exchange.counted is None else rng.random() * 0.05)
        client.close()

    def _exchange(self, client: Client, number: int, rng: random.Random) -> Exchange:
        question, manner = Question.drawn(rng, number), Manner.drawn(rng)
        exchange = Exchange(
            number, manner.door, manner.streamed, "", question.tokens, time.monotonic()
        )
        with self._lock:
            self._exchanges[number] = exchange
        reading = client.ask(question, manner)
        exchange = replace(
            exchange,
            expected=question.answer(),
            ended=time.monotonic(),
            ends=tuple(reading.ends),
            text=reading.text,
            finish=reading.finish,
            counted=reading.counted,
            detail=reading.detail,
            closing=reading.closing,
            late=reading.late,
        )
        with self._lock:
            self._exchanges[number] = exchange
        return exchange
