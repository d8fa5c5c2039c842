"""A faulty network between real sockets, for tests: drops, duplicates, delays, reorders, cuts.

The same seed makes the same decisions for the same messages. Handshake messages are spared, so that
a test starts from links that are up; ``partition`` spares nothing.
"""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, final

import zmq

from transports.endpoints import parse
from transports.envelope import Kind, unpack
from transports.errors import ProtocolError
from transports.zmq_link import set_options

_HANDSHAKE = (Kind.HELLO, Kind.WELCOME, Kind.READY)
_TICK_MS = 2
_JOIN_S = 5.0


class Direction(Enum):
    """Which way messages go."""

    UP = "up"
    """From the connecting end to the listener."""
    DOWN = "down"
    """From the listener to the connecting end."""


@dataclass(frozen=True, slots=True)
class Faults:
    """Probabilities (0 to 1) per message; a delay is up to ``delay_s`` seconds."""

    drop: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    reorder: float = 0.0
    delay_s: float = 0.02


@final
class Lane:
    """One direction of the faulty network (pure)."""

    def __init__(self, faults: Faults, rng: random.Random) -> None:
        self._faults = faults
        self._rng = rng
        self._order = itertools.count()
        self._held: list[tuple[float, int, list[bytes]]] = []
        self._last = 0.0

    def offer(self, frames: list[bytes], now: float) -> None:
        """Take a message; it comes out once, twice, later, out of order, or not at all."""
        faults, chance = self._faults, self._rng.random
        drop, duplicate = chance() < faults.drop, chance() < faults.duplicate
        late, reorder = chance() < faults.delay, chance() < faults.reorder
        delay_s = chance() * faults.delay_s
        if drop:
            return
        at = max(self._last, now)
        if late or reorder:
            at += delay_s
        if not reorder:
            # What comes behind a delayed message waits for it; a reordered one is overtaken.
            self._last = at
        for _ in range(1 + duplicate):
            heapq.heappush(self._held, (at, next(self._order), frames))

    def due(self, now: float) -> list[list[bytes]]:
        """Return the messages that come out by now."""
        messages = []
        while self._held and self._held[0][0] <= now:
            messages.append(heapq.heappop(self._held)[2])
        return messages


@final
class FaultProxy:
    """Stands between connecting ends and one listener, on a thread of its own. Any thread."""

    def __init__(self, listen: str, upstream: str, *, seed: int, faults: Faults) -> None:
        self._upstream = parse(upstream)
        self._faults = faults
        self._rng = random.Random(seed)  # noqa: S311 -- reproducible, not secret
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._front: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        set_options(self._front, parse(listen))
        self._front.bind(listen)
        self.endpoint = self._front.getsockopt_string(zmq.LAST_ENDPOINT)
        self._backs: dict[bytes, zmq.Socket[bytes]] = {}
        self._lanes: dict[tuple[bytes, Direction], Lane] = {}
        self._cut: frozenset[Direction] = frozenset()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self._thread.start()

    def half_close(self, direction: Direction) -> None:
        """Lose everything that goes this way from now on."""
        self._cut = self._cut | {direction}

    def partition(self) -> None:
        """Lose everything from now on, without breaking a connection."""
        self._cut = frozenset(Direction)

    def heal(self) -> None:
        """Lose nothing more but what the faults take."""
        self._cut = frozenset()

    def close(self) -> None:
        """Break every connection and end."""
        self._stopping.set()
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._front, zmq.POLLIN)
        while not self._stopping.is_set():
            for socket, _ in poller.poll(_TICK_MS):
                self._take(socket, poller)
            self._give(time.monotonic())
        for socket in (self._front, *self._backs.values()):
            socket.close(0)
        self._context.term()

    def _take(self, socket: Any, poller: zmq.Poller) -> None:
        frames = socket.recv_multipart()
        if socket is self._front:
            routing_id, *frames = frames
            if routing_id not in self._backs:
                self._backs[routing_id] = self._dial(routing_id)
                poller.register(self._backs[routing_id], zmq.POLLIN)
            self._pass(routing_id, Direction.UP, frames)
        else:
            self._pass(socket.getsockopt(zmq.ROUTING_ID), Direction.DOWN, frames)

    def _dial(self, routing_id: bytes) -> zmq.Socket[bytes]:
        back: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        set_options(back, self._upstream)
        back.setsockopt(zmq.IMMEDIATE, 0)
        back.setsockopt(zmq.ROUTING_ID, routing_id)
        back.connect(str(self._upstream))
        for direction in Direction:
            self._lanes[routing_id, direction] = Lane(self._faults, self._rng)
        return back

    def _pass(self, routing_id: bytes, direction: Direction, frames: list[bytes]) -> None:
        if direction in self._cut:
            return
        if _is_handshake(frames):
            self._send(routing_id, direction, frames)
        else:
            self._lanes[routing_id, direction].offer(frames, time.monotonic())

    def _give(self, now: float) -> None:
        for (routing_id, direction), lane in self._lanes.items():
            for frames in lane.due(now):
                self._send(routing_id, direction, frames)

    def _send(self, routing_id: bytes, direction: Direction, frames: Sequence[bytes]) -> None:
        if direction is Direction.UP:
            self._backs[routing_id].send_multipart(frames)
        else:
            self._front.send_multipart([routing_id, *frames])


def _is_handshake(frames: Sequence[bytes]) -> bool:
    try:
        return unpack(frames[0]).kind in _HANDSHAKE
    except (ProtocolError, IndexError):
        return False
