"""A step fanned out to k ranks with the fake backend, against a raw ZeroMQ fan-out.

``python -m tests.benchmarks.bench_fanout``; both run in turns in the same run. Gate: ratio <= 2.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from neuron_runtime.outcome import Ok, Outcome
from tests.benchmarks.raw_fanout import RawFanout
from tests.process.neuron import Epoch, Neuron
from transports import codec
from transports.schemas.group import SampleParams, SequenceStep, Step

ROUNDS, STEPS, BATCH = 7, 500, 8
GATE = 2.0


class FencedFanout:
    """Steps through ``GroupDriver``, one after the other, on the reactor's thread."""

    def __init__(self, epoch: Epoch) -> None:
        self._epoch = epoch
        self._position = 0

    def run(self, steps: int) -> list[float]:
        """Return the seconds that each of ``steps`` operations took."""
        took: list[float] = []
        finished = threading.Event()
        driver = self._epoch.driver

        def begin() -> None:
            step = decode_step(self._position)
            self._position += 1
            begun = time.perf_counter()

            def closed(outcome: Outcome) -> None:
                took.append(time.perf_counter() - begun)
                assert isinstance(outcome, Ok), outcome
                if len(took) == steps:
                    finished.set()
                else:
                    begin()

            driver.execute(step, 10.0, closed)

        self._epoch.neuron.on_reactor(begin)
        assert finished.wait(120.0)
        return took


def decode_step(position: int) -> Step:
    """A decode step: one token for each of a batch of sequences."""
    sequences = (
        SequenceStep(
            sequence,
            position,
            (sequence,),
            SampleParams(),
            blocks=(position // 16 * BATCH + sequence,) if position % 16 == 0 else (),
            begin=position == 0,
        )
        for sequence in range(BATCH)
    )
    return Step(position, tuple(sequences))


def compare(directory: Path, world: int) -> float:
    """Print the medians for ``world`` ranks; return fenced / raw."""
    frames = [bytes(48), codec.encode_body(decode_step(100))]
    neuron = Neuron(directory)
    epoch = neuron.ready_group(world)
    raw = RawFanout(f"ipc://{directory}/raw-{world}.ipc", world, frames)
    fenced = FencedFanout(epoch)
    raw.run(200)
    fenced.run(200)
    rounds = [(median_us(raw.run(STEPS)), median_us(fenced.run(STEPS))) for _ in range(ROUNDS)]
    raw.close()
    epoch.end()
    neuron.close()
    raw_us, fenced_us = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(fenced / plain for plain, fenced in rounds)
    print(f"k={world}: raw {raw_us:.0f} us, fenced {fenced_us:.0f} us, ratio {ratio:.2f}")
    return ratio


def median_us(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1e6


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="cortex-") as directory:
        ratios = [compare(Path(directory), world) for world in (2, 4)]
    return int(max(ratios) > GATE)


if __name__ == "__main__":
    sys.exit(main())
