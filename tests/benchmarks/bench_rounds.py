"""What a rank wins by going on by itself, where computing takes no time of the host's processors.

``python -m tests.benchmarks.bench_rounds`` prints the median time of a pass, with one round a step
and with eight, in turn. The rank is a real process behind a real link; its pass is a sleep, as the
host sees a device at work. The engine's scheduler and text are left out.
"""

from __future__ import annotations

import logging
import queue
import statistics
import tempfile
import time
from pathlib import Path

from neuron_runtime.outcome import Ok, Outcome
from tests.process.neuron import WAIT_S, Epoch, Neuron
from transports.schemas.group import InjectFault, SampleParams, SequenceStep, Step, StepDone

PASSES = 240
TURNS = 8
ROUNDS = (1, 8)
BLOCKS = PASSES // 16 + 1


def main() -> None:
    """Measure and print."""
    logging.disable(logging.CRITICAL)
    for pass_s in (0.001, 0.002, 0.005):
        with tempfile.TemporaryDirectory(prefix="cx-") as directory:
            neuron = Neuron(Path(directory))
            epoch = neuron.ready_group(1)
            epoch.inject(
                InjectFault("slow-step", "inside", rank=0, times=1_000_000, seconds=pass_s)
            )
            spans: dict[int, list[float]] = {rounds: [] for rounds in ROUNDS}
            for turn in range(TURNS):
                for place, rounds in enumerate(ROUNDS):
                    number = 1 + turn * len(ROUNDS) + place
                    spans[rounds].append(_seconds_a_pass(epoch, number, rounds))
            epoch.end()
            neuron.close()
        shown = ", ".join(
            f"{rounds} round(s) {statistics.median(taken) * 1e3:.2f} ms"
            for rounds, taken in spans.items()
        )
        print(f"a pass that sleeps {pass_s * 1e3:.0f} ms: {shown}")


def _seconds_a_pass(epoch: Epoch, number: int, rounds: int) -> float:
    """Decode one sequence, ``number``, and return how long each of its passes took."""
    first = number % 2 * BLOCKS
    blocks, forget = tuple(range(first, first + BLOCKS)), (number - 1,) if number > 1 else ()
    token, position = 5, 0
    began = time.perf_counter()
    while position < PASSES:
        begins = position == 0
        part = SequenceStep(
            number,
            position,
            (token,),
            SampleParams(index=position),
            blocks if begins else (),
            begins,
        )
        step = Step(number * PASSES + position, (part,), forget if begins else (), rounds)
        token = _execute(epoch, step)
        position += rounds
    return (time.perf_counter() - began) / PASSES


def _execute(epoch: Epoch, step: Step) -> int:
    """Return the token of the last round."""
    outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    epoch.neuron.reactor.call_soon(
        lambda: epoch.driver.execute(step, WAIT_S, outcomes.put, (), lambda _: None)
    )
    outcome = outcomes.get(timeout=WAIT_S)
    if isinstance(outcome, Ok) and isinstance(done := outcome.results[0], StepDone):
        return done.tokens[0].token
    raise RuntimeError(outcome)


if __name__ == "__main__":
    main()
