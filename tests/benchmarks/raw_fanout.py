"""The least that a fan-out over ZeroMQ can be: a ROUTER, k echoing DEALERs, no rules."""

from __future__ import annotations

import subprocess
import sys
import time

import zmq


class RawFanout:
    """k echo processes behind one ROUTER. ``frames`` are what a real step sends."""

    def __init__(self, endpoint: str, world: int, frames: list[bytes]) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.bind(endpoint)
        command = [sys.executable, "-m", "tests.benchmarks.raw_fanout", endpoint]
        self._echoes = [subprocess.Popen([*command, f"{rank}"]) for rank in range(world)]
        self._peers = [self._socket.recv_multipart()[0] for _ in range(world)]
        self._frames = frames

    def run(self, steps: int) -> list[float]:
        """Return the seconds that each of ``steps`` fan-outs took."""
        took = []
        for _ in range(steps):
            begun = time.perf_counter()
            for peer in self._peers:
                self._socket.send_multipart([peer, *self._frames])
            for _ in self._peers:
                self._socket.recv_multipart()
            took.append(time.perf_counter() - begun)
        return took

    def close(self) -> None:
        """End the echoes."""
        for echo in self._echoes:
            echo.kill()
            echo.wait()
        self._context.destroy(0)


def _echo(endpoint: str, name: str) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.ROUTING_ID, name.encode())
    socket.connect(endpoint)
    socket.send(b"")
    while True:
        socket.send_multipart(socket.recv_multipart())


if __name__ == "__main__":
    _echo(sys.argv[1], sys.argv[2])
